//! The SOAP bodies that we send. Children stand in the order of Microsoft's schema (`Messages.xsd`, `Types.xsd`), and all
//! that comes from outside is escaped.

use crate::limits::COHORT_USERS_MAX;
use crate::names::{FolderId, ItemId, SmtpAddress, SubscriptionId};
use crate::soap::push_escaped;

/// The version of the schema that a request is written in (`RequestServerVersion`). The lowest that gives what is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SchemaVersion {
    /// For servers that refuse the other one: no previews.
    Exchange2010Sp2,
    /// What is asked for first: streaming, and previews.
    #[default]
    Exchange2013Sp1,
}

/// Who asks, for whom, in which version.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Remembered per mail server.
    pub version: SchemaVersion,
    /// The mailbox that is meant.
    pub mailbox: &'a SmtpAddress,
    /// Its owner is named in `ExchangeImpersonation` as `SmtpAddress` (a subscription made with `PrimarySmtpAddress` has
    /// been seen never to deliver). Otherwise the account asks as itself, and names the mailbox beside `inbox`: its own,
    /// or one to which it has full access. All calls of one credential do it alike, GetStreamingEvents and Unsubscribe
    /// too.
    pub impersonate: bool,
}

impl SchemaVersion {
    /// The next lower one, for [`super::Action::LowerVersion`].
    pub const fn lower(self) -> Option<SchemaVersion> {
        match self {
            SchemaVersion::Exchange2013Sp1 => Some(SchemaVersion::Exchange2010Sp2),
            SchemaVersion::Exchange2010Sp2 => None,
        }
    }

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            SchemaVersion::Exchange2010Sp2 => "Exchange2010_SP2",
            SchemaVersion::Exchange2013Sp1 => "Exchange2013_SP1",
        }
    }

    /// `item:Preview` exists from Exchange 2013 on.
    pub const fn has_preview(self) -> bool {
        match self {
            SchemaVersion::Exchange2010Sp2 => false,
            SchemaVersion::Exchange2013Sp1 => true,
        }
    }
}

/// `Subscribe` to the streaming events of the inbox and of `folders` of one mailbox. Explicit folders only: with
/// `SubscribeToAllFolders` a hidden search folder reports everything twice.
pub fn subscribe(caller: &Caller<'_>, folders: &[FolderId]) -> Vec<u8> {
    let mut body = Body::new(caller);
    body.raw("<m:Subscribe><m:StreamingSubscriptionRequest><t:FolderIds>").folder(caller, None);
    for folder in folders {
        body.folder(caller, Some(folder));
    }
    body.raw("</t:FolderIds><t:EventTypes>");
    for event in ["NewMailEvent", "CreatedEvent", "ModifiedEvent", "MovedEvent", "DeletedEvent"] {
        body.raw("<t:EventType>").raw(event).raw("</t:EventType>");
    }
    body.raw("</t:EventTypes></m:StreamingSubscriptionRequest></m:Subscribe>");
    body.finish()
}

/// `Unsubscribe`. Under the same impersonation and affinity as the subscription was made.
pub fn unsubscribe(caller: &Caller<'_>, subscription: &SubscriptionId) -> Vec<u8> {
    let mut body = Body::new(caller);
    body.raw("<m:Unsubscribe><m:SubscriptionId>").text(subscription.as_str());
    body.raw("</m:SubscriptionId></m:Unsubscribe>");
    body.finish()
}

/// `GetStreamingEvents` for the subscriptions of one cohort, for `minutes`.
///
/// # Panics
/// With no id, more than [`COHORT_USERS_MAX`], or minutes outside 1..=30, which the schema does not allow.
pub fn get_streaming_events(caller: &Caller<'_>, ids: &[&SubscriptionId], minutes: u8) -> Vec<u8> {
    assert!(
        (1..=COHORT_USERS_MAX).contains(&ids.len()),
        "a stream has 1 to {COHORT_USERS_MAX} subscriptions"
    );
    assert!((1..=30).contains(&minutes), "ConnectionTimeout is 1 to 30 minutes");
    let mut body = Body::new(caller);
    body.raw("<m:GetStreamingEvents><m:SubscriptionIds>");
    for id in ids {
        body.raw("<t:SubscriptionId>").text(id.as_str()).raw("</t:SubscriptionId>");
    }
    body.raw("</m:SubscriptionIds><m:ConnectionTimeout>").number(u32::from(minutes));
    body.raw("</m:ConnectionTimeout></m:GetStreamingEvents>");
    body.finish()
}

/// `GetItem` for what an alert shows, of mails of one mailbox. The id alone: the `ChangeKey` of an event is a stub.
///
/// # Panics
/// With no id: there is nothing to ask.
pub fn get_item(caller: &Caller<'_>, items: &[&ItemId]) -> Vec<u8> {
    assert!(!items.is_empty(), "GetItem asks for at least one item");
    let mut body = Body::new(caller);
    // Without a preview, the beginning of the body is one. Exchange 2010 cannot be asked for a part of it
    // (`MaximumBodySize` is of 2013); the bound is that of the whole answer.
    let (body_type, preview) = match caller.version.has_preview() {
        true => ("", Some("item:Preview")),
        false => ("<t:BodyType>Text</t:BodyType>", Some("item:Body")),
    };
    body.raw("<m:GetItem>").shape(body_type, details(preview)).raw("<m:ItemIds>");
    for item in items {
        body.raw("<t:ItemId Id=\"").text(item.as_str()).raw("\"/>");
    }
    body.raw("</m:ItemIds></m:GetItem>");
    body.finish()
}

/// `FindItem` for a page of a folder (`None`: the inbox), newest first, with what [`get_item`] asks for, or with the ids, dates
/// and read flags alone. Without a restriction, which would cost the server an index: whoever catches up stops at the first
/// mail that is known.
///
/// # Panics
/// With `max` outside 1..=1000 (`EWSFindCountLimit`).
pub fn find_item_newest(
    caller: &Caller<'_>,
    folder: Option<&FolderId>,
    max: u16,
    offset: u32,
    ids_alone: bool,
) -> Vec<u8> {
    assert!((1..=1_000).contains(&max), "a page has 1 to 1000 items");
    let mut body = Body::new(caller);
    // Bodies cannot be asked for here.
    let preview = caller.version.has_preview().then_some("item:Preview");
    body.raw("<m:FindItem Traversal=\"Shallow\">");
    match ids_alone {
        true => body.shape("", DATES),
        false => body.shape("", details(preview)),
    };
    body.raw("<m:IndexedPageItemView MaxEntriesReturned=\"").number(u32::from(max));
    body.raw("\" Offset=\"").number(offset);
    body.raw("\" BasePoint=\"Beginning\"/><m:SortOrder><t:FieldOrder Order=\"Descending\">");
    body.raw("<t:FieldURI FieldURI=\"item:DateTimeReceived\"/></t:FieldOrder></m:SortOrder>");
    body.raw("<m:ParentFolderIds>").folder(caller, folder).raw("</m:ParentFolderIds></m:FindItem>");
    body.finish()
}

/// `SyncFolderItems`: what changed in a folder (`None`: the inbox) since `state`; without one, all that is in it. Of
/// each mail when it came and whether it was read, no more.
///
/// # Panics
/// With `max` outside 1..=512.
pub fn sync_folder_items(
    caller: &Caller<'_>,
    folder: Option<&FolderId>,
    state: Option<&str>,
    max: u16,
) -> Vec<u8> {
    assert!((1..=512).contains(&max), "a page has 1 to 512 changes");
    let mut body = Body::new(caller);
    body.raw("<m:SyncFolderItems>").shape("", DATES);
    body.raw("<m:SyncFolderId>").folder(caller, folder).raw("</m:SyncFolderId>");
    if let Some(state) = state {
        body.raw("<m:SyncState>").text(state).raw("</m:SyncState>");
    }
    body.raw("<m:MaxChangesReturned>").number(max.into()).raw("</m:MaxChangesReturned></m:SyncFolderItems>");
    body.finish()
}

/// `GetFolder` for ids and counts: of the inbox, then of each of `folders`.
pub fn get_folder(caller: &Caller<'_>, folders: &[FolderId]) -> Vec<u8> {
    let mut body = Body::new(caller);
    body.raw("<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>");
    body.raw("<t:FieldURI FieldURI=\"folder:UnreadCount\"/><t:FieldURI FieldURI=\"folder:TotalCount\"/>");
    body.raw("</t:AdditionalProperties></m:FolderShape><m:FolderIds>").folder(caller, None);
    for folder in folders {
        body.folder(caller, Some(folder));
    }
    body.raw("</m:FolderIds></m:GetFolder>");
    body.finish()
}

/// `ConvertId` from the old id format to the present one, for ids of events that GetItem called malformed
/// ([`super::Action::ConvertId`]; seen on Exchange Online in 2023).
///
/// # Panics
/// With no id: there is nothing to ask.
pub fn convert_id(caller: &Caller<'_>, items: &[&ItemId]) -> Vec<u8> {
    assert!(!items.is_empty(), "ConvertId asks for at least one id");
    let mut body = Body::new(caller);
    body.raw("<m:ConvertId DestinationFormat=\"EwsId\"><m:SourceIds>");
    for item in items {
        body.raw("<t:AlternateId Format=\"EwsLegacyId\" Id=\"").text(item.as_str());
        body.raw("\" Mailbox=\"").text(caller.mailbox.as_str()).raw("\"/>");
    }
    body.raw("</m:SourceIds></m:ConvertId>");
    body.finish()
}

/// Folders for mail that go by a name in every mailbox (`DistinguishedFolderIdNameType`). No real id looks like one.
pub const WELL_KNOWN_FOLDERS: [&str; 5] =
    ["archiveinbox", "deleteditems", "drafts", "junkemail", "sentitems"];

/// What tells whether a mail is new.
const DATES: [&str; 2] = ["item:DateTimeReceived", "message:IsRead"];

/// What an alert shows of a mail.
fn details(preview: Option<&'static str>) -> impl Iterator<Item = &'static str> {
    // The folder, because it shows whose mail it is.
    let fields = ["item:ParentFolderId", "item:Subject", "message:From", "message:Sender"];
    let more =
        ["item:Importance", "item:Sensitivity", "message:IsRead", "item:DateTimeReceived", "item:ItemClass"];
    fields.into_iter().chain(preview).chain(more)
}

struct Body {
    bytes: Vec<u8>,
}

impl Body {
    fn new(caller: &Caller<'_>) -> Body {
        let mut body = Body { bytes: Vec::with_capacity(1_024) };
        body.raw("<?xml version=\"1.0\" encoding=\"utf-8\"?>");
        body.raw("<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"");
        body.raw(" xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\"");
        body.raw(" xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\">");
        body.raw("<s:Header><t:RequestServerVersion Version=\"").raw(caller.version.name()).raw("\"/>");
        if caller.impersonate {
            body.raw("<t:ExchangeImpersonation><t:ConnectingSID><t:SmtpAddress>")
                .text(caller.mailbox.as_str());
            body.raw("</t:SmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>");
        }
        body.raw("</s:Header><s:Body>");
        body
    }

    fn raw(&mut self, xml: &str) -> &mut Body {
        self.bytes.extend_from_slice(xml.as_bytes());
        self
    }

    fn text(&mut self, text: &str) -> &mut Body {
        push_escaped(&mut self.bytes, text);
        self
    }

    fn number(&mut self, number: u32) -> &mut Body {
        self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self
    }

    /// A folder of the caller's mailbox; `None` is the inbox. A name means that mailbox under impersonation; otherwise it
    /// would be the account's own ("explicit access" of Microsoft's "Delegate access and EWS in Exchange").
    fn folder(&mut self, caller: &Caller<'_>, folder: Option<&FolderId>) -> &mut Body {
        let name = match folder.map(FolderId::as_str) {
            Some(id) if !WELL_KNOWN_FOLDERS.contains(&id) => {
                return self.raw("<t:FolderId Id=\"").text(id).raw("\"/>");
            }
            Some(name) => name,
            None => "inbox",
        };
        self.raw("<t:DistinguishedFolderId Id=\"").raw(name);
        if caller.impersonate {
            return self.raw("\"/>");
        }
        self.raw("\"><t:Mailbox><t:EmailAddress>").text(caller.mailbox.as_str());
        self.raw("</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId>")
    }

    fn shape(&mut self, body_type: &str, fields: impl IntoIterator<Item = &'static str>) -> &mut Body {
        self.raw("<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape>").raw(body_type);
        self.raw("<t:AdditionalProperties>");
        for field in fields {
            self.raw("<t:FieldURI FieldURI=\"").raw(field).raw("\"/>");
        }
        self.raw("</t:AdditionalProperties></m:ItemShape>")
    }

    fn finish(&mut self) -> Vec<u8> {
        self.raw("</s:Body></s:Envelope>");
        std::mem::take(&mut self.bytes)
    }
}
