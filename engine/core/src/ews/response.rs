//! The answers to ordinary calls.

use std::borrow::Cow;

use super::code::ResponseCode;
use super::datetime::parse_date_time;
use super::error::EwsError;
use super::message::{find_fault, number, read, read_one};
use super::xml::{Walk, XmlError};
use crate::http1::{Head, Response};
use crate::limits::{DETAIL_TEXT_BYTES_MAX, PREVIEW_CHARS_MAX, SYNC_STATE_BYTES_MAX};
use crate::names::{FolderId, ItemId, SubscriptionId};
use crate::notice::MailDetails;
use crate::time::UnixMillis;

/// A mail that [`super::request::get_item`] asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct FetchedItem {
    /// Its id.
    pub id: ItemId,
    /// When it arrived, where the server says so.
    pub received: Option<UnixMillis>,
    /// What an alert shows of it.
    pub details: MailDetails,
}

/// A mail in the answer to [`super::request::find_item_newest`].
#[derive(Clone, PartialEq, Eq)]
pub struct FoundItem {
    /// Its id.
    pub id: ItemId,
    /// When it arrived.
    pub received: UnixMillis,
    /// Whether it was read.
    pub read: bool,
    /// What an alert shows of it, where that was asked for.
    pub details: Option<MailDetails>,
}

/// A page of mails, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundPage {
    /// The mails. What has no id or was never received (a draft in the inbox) is left out.
    pub items: Vec<FoundItem>,
    /// Whether the folder has no older ones.
    pub last: bool,
    /// The offset of the next page.
    pub next_offset: Option<u32>,
    /// All that is in the folder.
    pub total: Option<u32>,
}

/// A page of what changed in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncPage {
    /// What to ask with the next time. `None` when it is longer than [`SYNC_STATE_BYTES_MAX`].
    pub state: Option<Box<str>>,
    /// Whether there is nothing more.
    pub last: bool,
    /// Mails that are new or were changed.
    pub found: Vec<FoundItem>,
    /// Mails that were read, deleted or moved away.
    pub gone: Vec<ItemId>,
}

/// A folder in the answer to [`super::request::get_folder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderCounts {
    /// The folder's id, by which its events go.
    pub folder: FolderId,
    /// Unread mails in it.
    pub unread: u32,
    /// All mails in it.
    pub total: Option<u32>,
}

/// The SOAP in an HTTP answer, or what the answer says instead. To be asked before the functions below. A fault with
/// status 200 (Gromox sends such) passes and is found by them.
///
/// # Errors
/// Any other status (a fault in its body is read whatever the status), or a page in HTML. `Retry-After` is taken for
/// the pause where the fault asks for none.
pub fn http(response: &Response) -> Result<&[u8], EwsError> {
    let (head, body) = (&response.head, &response.body);
    let is_page = head.content_type.contains("html") || begins_html(body);
    let code = match head.status {
        200 if is_page => ResponseCode::NotSoap,
        200 => return Ok(body),
        201..=299 => ResponseCode::NotSoap,
        300..=399 => ResponseCode::Redirect,
        401 if !offers_what_we_have(head) => ResponseCode::AuthOffer,
        401 | 440 | 456 => ResponseCode::Auth,
        403 => ResponseCode::Forbidden,
        status => ResponseCode::Http(status),
    };
    let pause_ms = head.retry_after_s.map(|s| u64::from(s) * 1_000);
    let tells_by_status = matches!(
        code,
        ResponseCode::Auth | ResponseCode::AuthOffer | ResponseCode::Forbidden | ResponseCode::Redirect
    );
    if let Some(mut fault) = find_fault(body).filter(|_| !is_page && !tells_by_status) {
        fault.back_off_ms = fault.back_off_ms.or(pause_ms);
        return Err(EwsError::new(fault.code, &fault.message, fault.back_off_ms));
    }
    Err(EwsError::new(code, &words(response), pause_ms))
}

/// Whether a 401 offers Basic or Bearer. One that offers nothing at all leaves that open.
fn offers_what_we_have(head: &Head) -> bool {
    let ours = |offer: &str| {
        // Several offers may share a line; parameters have a `=` and never these names.
        let mut words = offer.split([' ', ',']);
        words.any(|word| word.eq_ignore_ascii_case("basic") || word.eq_ignore_ascii_case("bearer"))
    };
    head.www_authenticate.is_empty() || head.www_authenticate.iter().any(|offer| ours(offer))
}

/// What the head says for a person.
fn words(response: &Response) -> String {
    let head = &response.head;
    let mut words = format!("HTTP {}", head.status);
    if let Some(request) = &head.request_id {
        words.push_str(&format!(" request-id {request}"));
    }
    let schemes = head.www_authenticate.iter().filter_map(|offer| offer.split_whitespace().next());
    let schemes = schemes.collect::<Vec<_>>().join(" ");
    if !schemes.is_empty() {
        words.push_str(&format!(" offers {schemes}"));
    }
    for (name, value) in &head.diagnostics {
        words.push_str(&format!(" {name} {value}"));
    }
    words
}

fn begins_html(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    [&b"<!doctype html"[..], b"<html"]
        .iter()
        .any(|mark| body.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark)))
}

/// The id of the new subscription.
///
/// # Errors
/// Exchange refused, or the answer cannot be read.
pub fn subscribe(body: &[u8]) -> Result<SubscriptionId, EwsError> {
    let id = read_one(body, |walk, tag, id: &mut Option<SubscriptionId>| {
        match tag.name() {
            "SubscriptionId" => *id = SubscriptionId::parse(walk.text()?.trim()).ok(),
            _ => walk.skip()?,
        }
        Ok(())
    })?;
    id.ok_or(XmlError::Unexpected("SubscriptionId").into())
}

/// The subscription is gone. That it was gone before is as good.
///
/// # Errors
/// Exchange refused, or the answer cannot be read.
pub fn unsubscribe(body: &[u8]) -> Result<(), EwsError> {
    match read_one(body, |walk, _, (): &mut ()| walk.skip()) {
        Err(EwsError {
            code:
                ResponseCode::ErrorSubscriptionNotFound
                | ResponseCode::ErrorExpiredSubscription
                | ResponseCode::ErrorSubscriptionUnsubscribed,
            ..
        }) => Ok(()),
        other => other,
    }
}

/// One result for each id asked for, in that order. A server that stops early may answer fewer: the rest was not looked
/// at.
///
/// # Errors
/// The answer as a whole is an error, or cannot be read.
pub fn get_item(body: &[u8]) -> Result<Vec<Result<FetchedItem, EwsError>>, EwsError> {
    let messages = read(body, |walk, tag, item: &mut Option<Item>| {
        if tag.name() != "Items" {
            return walk.skip();
        }
        while walk.child()?.is_some() {
            *item = Some(read_item(walk)?);
        }
        Ok(())
    })?;
    let fetched = messages.into_iter().map(|(verdict, item)| {
        verdict?;
        let item = item.ok_or(XmlError::Unexpected("item"))?;
        let id = item.id.ok_or(XmlError::Unexpected("ItemId"))?;
        Ok(FetchedItem { id, received: item.received, details: item.details })
    });
    Ok(fetched.collect())
}

/// A page of the inbox.
///
/// # Errors
/// Exchange refused, or the answer cannot be read.
pub fn find_item(body: &[u8]) -> Result<FoundPage, EwsError> {
    read_one(body, |walk, tag, page: &mut FoundPage| {
        if tag.name() != "RootFolder" {
            return walk.skip();
        }
        let small = |name| -> Result<Option<u32>, XmlError> {
            Ok(tag.attribute(name)?.and_then(|text| small(&text)))
        };
        page.next_offset = small("IndexedPagingOffset")?;
        page.total = small("TotalItemsInView")?;
        page.last = tag.attribute("IncludesLastItemInRange")?.is_some_and(|text| boolean(&text));
        while let Some(tag) = walk.child()? {
            if tag.name() != "Items" {
                walk.skip()?;
                continue;
            }
            while walk.child()?.is_some() {
                let Item { id, received, details } = read_item(walk)?;
                if let (Some(id), Some(received)) = (id, received) {
                    page.items.push(FoundItem { id, received, read: details.read, details: Some(details) });
                }
            }
        }
        Ok(())
    })
}

/// Id and counts of the first folder that was asked for: the inbox.
///
/// # Errors
/// Exchange refused, or the answer cannot be read.
pub fn get_folder(body: &[u8]) -> Result<FolderCounts, EwsError> {
    let first = get_folders(body)?.into_iter().next();
    first.unwrap_or_else(|| Err(XmlError::Unexpected("response message").into()))
}

/// Ids and counts, in the order of the request.
///
/// # Errors
/// The answer as a whole is an error, or cannot be read.
pub fn get_folders(body: &[u8]) -> Result<Vec<Result<FolderCounts, EwsError>>, EwsError> {
    #[derive(Default)]
    struct Counts {
        folder: Option<FolderId>,
        unread: Option<u32>,
        total: Option<u32>,
    }
    let messages = read(body, |walk, tag, counts: &mut Counts| {
        if tag.name() != "Folders" {
            return walk.skip();
        }
        while walk.child()?.is_some() {
            while let Some(tag) = walk.child()? {
                match tag.name() {
                    "FolderId" => {
                        counts.folder = tag.attribute("Id")?.and_then(|id| FolderId::parse(&id).ok());
                        walk.skip()?;
                    }
                    "UnreadCount" => counts.unread = small(&walk.text()?),
                    "TotalCount" => counts.total = small(&walk.text()?),
                    _ => walk.skip()?,
                }
            }
        }
        Ok(())
    })?;
    let counted = messages.into_iter().map(|(verdict, counts)| {
        verdict?;
        Ok(FolderCounts {
            folder: counts.folder.ok_or(XmlError::Unexpected("FolderId"))?,
            unread: counts.unread.ok_or(XmlError::Unexpected("UnreadCount"))?,
            total: counts.total,
        })
    });
    Ok(counted.collect())
}

/// What changed in a folder.
///
/// # Errors
/// Exchange refused, or the answer cannot be read.
pub fn sync_folder_items(body: &[u8]) -> Result<SyncPage, EwsError> {
    read_one(body, |walk, tag, page: &mut SyncPage| {
        match tag.name() {
            "SyncState" => {
                let state = walk.text()?;
                let usable = !state.is_empty() && state.len() <= SYNC_STATE_BYTES_MAX;
                page.state = usable.then(|| state.into());
            }
            "IncludesLastItemInRange" => page.last = boolean(&walk.text()?),
            "Changes" => {
                while let Some(tag) = walk.child()? {
                    change(walk, tag.name(), page)?;
                }
            }
            _ => walk.skip()?,
        }
        Ok(())
    })
}

/// Goes through a change.
fn change(walk: &mut Walk<'_>, kind: &str, page: &mut SyncPage) -> Result<(), XmlError> {
    match kind {
        "Create" | "Update" => {
            while walk.child()?.is_some() {
                let Item { id, received, details } = read_item(walk)?;
                if let (Some(id), Some(received)) = (id, received) {
                    page.found.push(FoundItem { id, received, read: details.read, details: None });
                }
            }
        }
        "Delete" | "ReadFlagChange" => {
            let (mut id, mut gone) = (None, kind == "Delete");
            while let Some(tag) = walk.child()? {
                match tag.name() {
                    "ItemId" => {
                        id = tag.attribute("Id")?.and_then(|id| ItemId::parse(&id).ok());
                        walk.skip()?;
                    }
                    "IsRead" => gone |= boolean(&walk.text()?),
                    _ => walk.skip()?,
                }
            }
            page.gone.extend(id.filter(|_| gone));
        }
        _ => walk.skip()?,
    }
    Ok(())
}

/// One id for each that [`super::request::convert_id`] gave, in that order.
///
/// # Errors
/// The answer as a whole is an error, or cannot be read.
pub fn convert_id(body: &[u8]) -> Result<Vec<Result<ItemId, EwsError>>, EwsError> {
    let messages = read(body, |walk, tag, id: &mut Option<ItemId>| {
        if tag.name() == "AlternateId" {
            *id = tag.attribute("Id")?.and_then(|id| ItemId::parse(&id).ok());
        }
        walk.skip()
    })?;
    let converted = messages.into_iter().map(|(verdict, id)| {
        verdict?;
        id.ok_or_else(|| XmlError::Unexpected("AlternateId").into())
    });
    Ok(converted.collect())
}

#[derive(Default)]
struct Item {
    id: Option<ItemId>,
    received: Option<UnixMillis>,
    details: MailDetails,
}

#[derive(Default)]
struct Mailbox {
    name: Box<str>,
    address: Box<str>,
}

/// Goes through an item of any kind: `Message`, `MeetingRequest`, `PostItem`…
fn read_item(walk: &mut Walk<'_>) -> Result<Item, XmlError> {
    let (mut item, mut from, mut sender) = (Item::default(), Mailbox::default(), Mailbox::default());
    let details = &mut item.details;
    while let Some(tag) = walk.child()? {
        match tag.name() {
            "ItemId" => {
                item.id = tag.attribute("Id")?.and_then(|id| ItemId::parse(&id).ok());
                walk.skip()?;
            }
            "ItemClass" => details.protected |= is_protected_class(&walk.text()?),
            "Subject" => details.subject = cut(walk.text()?),
            "Sensitivity" => details.protected |= walk.text()?.trim() != "Normal",
            "Importance" => details.high_importance = walk.text()?.trim() == "High",
            "DateTimeReceived" => item.received = parse_date_time(&walk.text()?),
            "IsRead" => details.read = boolean(&walk.text()?),
            "Preview" => details.preview = cut(walk.text()?),
            // Asked for as text; what comes in another form is not for reading.
            "Body" if tag.attribute("BodyType")?.as_deref() == Some("Text") => {
                details.preview = beginning(&walk.text()?);
            }
            "From" => from = read_mailbox(walk)?,
            "Sender" => sender = read_mailbox(walk)?,
            _ => walk.skip()?,
        }
    }
    // Who speaks (From) goes before who typed (Sender).
    let who = if from.name.is_empty() && from.address.is_empty() { sender } else { from };
    details.sender = if who.name.is_empty() { who.address.clone() } else { who.name };
    details.sender_address = who.address;
    Ok(item)
}

/// Goes through `From` or `Sender`. Only SMTP addresses count: with routing type `EX` the address is a name in the
/// directory (`/O=…/CN=…`) that tells nobody anything.
fn read_mailbox(walk: &mut Walk<'_>) -> Result<Mailbox, XmlError> {
    let (mut mailbox, mut smtp) = (Mailbox::default(), true);
    while let Some(outer) = walk.child()? {
        if outer.name() != "Mailbox" {
            walk.skip()?;
            continue;
        }
        while let Some(tag) = walk.child()? {
            match tag.name() {
                "Name" => mailbox.name = cut(walk.text()?),
                "EmailAddress" => mailbox.address = cut(walk.text()?),
                "RoutingType" => smtp = walk.text()?.trim().eq_ignore_ascii_case("SMTP"),
                _ => walk.skip()?,
            }
        }
    }
    if !smtp || !mailbox.address.contains('@') || mailbox.address.starts_with('/') {
        mailbox.address = Box::default();
    }
    Ok(mailbox)
}

/// Encrypted or rights-protected mail. Clear-signed mail has a class of this family too, and is treated alike: what its
/// preview shows depends on the server.
fn is_protected_class(class: &str) -> bool {
    ["IPM.Note.SMIME", "IPM.Note.rpmsg"].iter().any(|family| {
        class.trim().get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family))
    })
}

/// Bounded at [`DETAIL_TEXT_BYTES_MAX`], without blanks around it.
fn cut(text: Cow<'_, str>) -> Box<str> {
    let text = text.trim();
    let mut end = text.len().min(DETAIL_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

/// The beginning of a body, as Exchange 2013 and later make a preview: one line.
fn beginning(body: &str) -> Box<str> {
    let mut text = String::new();
    // What is cut away in the middle of a word or character is not missed.
    let words = body.split_whitespace().take(PREVIEW_CHARS_MAX);
    for (at, word) in words.enumerate() {
        let room = PREVIEW_CHARS_MAX.saturating_sub(text.chars().count() + usize::from(at > 0));
        if room == 0 {
            break;
        }
        if at > 0 {
            text.push(' ');
        }
        text.extend(word.chars().take(room));
    }
    text.into()
}

/// A count; too large a one is the largest, a negative one is none.
pub(super) fn small(text: &str) -> Option<u32> {
    number(text).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

/// `xs:boolean`.
fn boolean(text: &str) -> bool {
    matches!(text.trim(), "true" | "1")
}

/// Shows no mail text.
impl std::fmt::Debug for FetchedItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetchedItem")
            .field("id", &self.id)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// Shows no mail text.
impl std::fmt::Debug for FoundItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FoundItem")
            .field("id", &self.id)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}
