//! Requests as types. What the schema does not allow never becomes one.

use carillon_core::time::UnixMillis;

use super::event::EventMask;
use super::property::{FolderProperty, ItemShape, parse_folder_shape, parse_item_shape};
use super::stamp;
use super::stats::Operation;
use super::version::Version;
use super::xml::{self, Children, Element, Invalid, Ns};

/// A SOAP request.
#[derive(Debug)]
pub(super) struct Call {
    pub version: Option<Version>,
    pub impersonation: Option<Impersonation>,
    pub body: Body,
}

/// As whom (`t:ConnectingSID`).
#[derive(Debug)]
pub(super) enum Impersonation {
    PrincipalName(String),
    Sid,
    PrimarySmtpAddress(String),
    SmtpAddress(String),
}

#[derive(Debug)]
pub(super) enum Body {
    Subscribe(Subscribe),
    Unsubscribe {
        id: String,
    },
    GetStreamingEvents {
        ids: Vec<String>,
        minutes: u64,
    },
    GetItem {
        shape: ItemShape,
        ids: Vec<ItemRef>,
    },
    GetFolder {
        properties: Vec<FolderProperty>,
        folders: Vec<FolderRef>,
    },
    FindItem(FindItem),
    SyncFolderItems(SyncFolderItems),
    /// Ids of the old format (`EwsLegacyId` to `EwsId` only), each with the address of its mailbox.
    ConvertId {
        ids: Vec<(String, String)>,
    },
}

#[derive(Debug)]
pub(super) struct Subscribe {
    pub all_folders: bool,
    pub folders: Vec<FolderRef>,
    pub events: EventMask,
}

#[derive(Debug)]
pub(super) enum FolderRef {
    Id(String),
    Distinguished { literal: String, mailbox: Option<String> },
}

#[derive(Debug)]
pub(super) struct ItemRef {
    pub id: String,
    pub change_key: Option<String>,
}

#[derive(Debug)]
pub(super) struct FindItem {
    pub shape: ItemShape,
    pub entries_max: Option<u32>,
    pub offset: u32,
    pub from_end: bool,
    pub restriction: Option<Restriction>,
    pub ascending: bool,
    pub folders: Vec<FolderRef>,
    /// Only `Shallow` finds ordinary items.
    pub shallow: bool,
}

/// The restrictions that this server can answer.
#[derive(Debug)]
pub(super) enum Restriction {
    ReceivedAfter(UnixMillis),
    ReceivedAtOrAfter(UnixMillis),
    IsRead(bool),
    /// Valid, and beyond this server.
    Unsupported,
}

#[derive(Debug)]
pub(super) struct SyncFolderItems {
    pub shape: ItemShape,
    pub folder: FolderRef,
    pub state: Option<String>,
    pub ignore: Vec<String>,
    pub changes_max: usize,
}

/// Why a request is none.
#[derive(Debug)]
pub(super) enum BadCall {
    /// Not well-formed: HTTP 400.
    Malformed,
    /// The envelope is of another SOAP version.
    VersionMismatch,
    /// A header that must be understood and is not.
    MustUnderstand,
    /// No such operation here.
    UnknownOperation(String),
    /// Against the schema.
    Schema(String),
    /// `SerializedSecurityContext` beside `ExchangeImpersonation`.
    TwoAccessModes,
}

impl From<Invalid> for BadCall {
    fn from(invalid: Invalid) -> BadCall {
        BadCall::Schema(invalid.0)
    }
}

impl Call {
    pub(super) fn parse(body: &[u8]) -> Result<Call, BadCall> {
        let text = std::str::from_utf8(body).map_err(|_| BadCall::Malformed)?;
        let root = xml::parse(text).map_err(|_| BadCall::Malformed)?;
        if root.name != "Envelope" || root.ns != Ns::Soap11 {
            let soap12 = root.is(Ns::Soap12, "Envelope");
            return Err(if soap12 { BadCall::VersionMismatch } else { BadCall::Malformed });
        }
        let mut parts = root.children();
        let header = parts.maybe(Ns::Soap11, "Header");
        let body = parts.need(Ns::Soap11, "Body")?;
        parts.end()?;
        let (version, impersonation) = header.map(parse_header).transpose()?.unwrap_or((None, None));
        let mut bodies = body.children();
        let request = bodies.any().ok_or_else(|| Invalid("The body is empty.".to_owned()))?;
        bodies.end()?;
        let operation = Operation::parse(&request.name)
            .filter(|_| request.ns == Ns::Messages)
            .ok_or_else(|| BadCall::UnknownOperation(request.name.clone()))?;
        Ok(Call { version, impersonation, body: parse_body(operation, request)? })
    }
}

impl Body {
    pub(super) fn operation(&self) -> Operation {
        match self {
            Body::Subscribe(_) => Operation::Subscribe,
            Body::Unsubscribe { .. } => Operation::Unsubscribe,
            Body::GetStreamingEvents { .. } => Operation::GetStreamingEvents,
            Body::GetItem { .. } => Operation::GetItem,
            Body::GetFolder { .. } => Operation::GetFolder,
            Body::FindItem(_) => Operation::FindItem,
            Body::SyncFolderItems(_) => Operation::SyncFolderItems,
            Body::ConvertId { .. } => Operation::ConvertId,
        }
    }
}

type Header = (Option<Version>, Option<Impersonation>);

fn parse_header(header: &Element) -> Result<Header, BadCall> {
    let mut version = None;
    let mut impersonation = None;
    let mut serialized = false;
    for entry in &header.children {
        match (entry.ns, entry.name.as_str()) {
            (Ns::Types, "RequestServerVersion") => {
                let literal = entry.only(&["Version"])?.need("Version")?;
                let parsed = Version::parse(literal);
                version =
                    Some(parsed.ok_or_else(|| {
                        Invalid(format!("The Enumeration constraint failed: '{literal}'."))
                    })?);
            }
            (Ns::Types, "ExchangeImpersonation") => impersonation = Some(parse_impersonation(entry)?),
            (Ns::Types, "SerializedSecurityContext") => serialized = true,
            (Ns::Types, "MailboxCulture" | "TimeZoneContext" | "DateTimePrecision" | "ManagementRole") => {}
            _ if entry.must_understand => return Err(BadCall::MustUnderstand),
            _ => {}
        }
    }
    if serialized && impersonation.is_some() {
        return Err(BadCall::TwoAccessModes);
    }
    Ok((version, impersonation))
}

fn parse_impersonation(element: &Element) -> Result<Impersonation, Invalid> {
    let mut outer = element.children();
    let sid = outer.need(Ns::Types, "ConnectingSID")?;
    outer.end()?;
    let mut inner = sid.children();
    let one = inner.any().filter(|one| one.ns == Ns::Types).ok_or_else(|| inner.unexpected("SmtpAddress"))?;
    inner.end()?;
    let text = one.leaf()?.to_owned();
    match one.name.as_str() {
        "PrincipalName" => Ok(Impersonation::PrincipalName(text)),
        "SID" => Ok(Impersonation::Sid),
        "PrimarySmtpAddress" => Ok(Impersonation::PrimarySmtpAddress(text)),
        "SmtpAddress" => Ok(Impersonation::SmtpAddress(text)),
        other => Err(Invalid(format!("'{other}' is no child of 'ConnectingSID'."))),
    }
}

fn parse_body(operation: Operation, request: &Element) -> Result<Body, Invalid> {
    match operation {
        Operation::Subscribe => parse_subscribe(request).map(Body::Subscribe),
        Operation::Unsubscribe => {
            let mut parts = request.only(&[])?.children();
            let id = parts.need(Ns::Messages, "SubscriptionId")?.leaf()?.to_owned();
            parts.end()?;
            Ok(Body::Unsubscribe { id })
        }
        Operation::GetStreamingEvents => parse_streaming(request),
        Operation::GetItem => {
            let mut parts = request.only(&[])?.children();
            let shape = parse_item_shape(parts.need(Ns::Messages, "ItemShape")?)?;
            let ids = parse_item_ids(parts.need(Ns::Messages, "ItemIds")?)?;
            parts.end()?;
            Ok(Body::GetItem { shape, ids })
        }
        Operation::GetFolder => {
            let mut parts = request.only(&[])?.children();
            let properties = parse_folder_shape(parts.need(Ns::Messages, "FolderShape")?)?;
            let folders = parse_folders(parts.need(Ns::Messages, "FolderIds")?)?;
            parts.end()?;
            Ok(Body::GetFolder { properties, folders })
        }
        Operation::FindItem => parse_find(request).map(Body::FindItem),
        Operation::SyncFolderItems => parse_sync(request).map(Body::SyncFolderItems),
        Operation::ConvertId => parse_convert(request),
    }
}

fn parse_subscribe(request: &Element) -> Result<Subscribe, Invalid> {
    let mut parts = request.only(&[])?.children();
    let streaming = parts.need(Ns::Messages, "StreamingSubscriptionRequest")?;
    parts.end()?;
    let all_folders = parse_bool(
        streaming.only(&["SubscribeToAllFolders"])?.attribute("SubscribeToAllFolders").unwrap_or("false"),
    )?;
    let mut inner = streaming.children();
    let folders = inner.maybe(Ns::Types, "FolderIds").map(parse_folders).transpose()?.unwrap_or_default();
    let types = inner.need(Ns::Types, "EventTypes")?;
    inner.end()?;
    let mut events = EventMask(0);
    let mut list = types.children();
    loop {
        let literal = list.need(Ns::Types, "EventType")?.leaf()?;
        let one = EventMask::parse(literal).ok_or_else(|| {
            Invalid(format!("The Enumeration constraint failed: '{literal}' is no event type."))
        })?;
        events.0 |= one.0;
        if list.peek().is_none() {
            return Ok(Subscribe { all_folders, folders, events });
        }
    }
}

fn parse_streaming(request: &Element) -> Result<Body, Invalid> {
    let mut parts = request.only(&[])?.children();
    let list = parts.need(Ns::Messages, "SubscriptionIds")?;
    let minutes = parts.need(Ns::Messages, "ConnectionTimeout")?.leaf()?;
    parts.end()?;
    let minutes = minutes
        .parse()
        .ok()
        .filter(|minutes| (1..=30).contains(minutes))
        .ok_or_else(|| Invalid(format!("ConnectionTimeout is '{minutes}' and must be from 1 to 30.")))?;
    let mut ids = Vec::new();
    let mut inner = list.children();
    // The schema has the ids in `t:`; a published sample has them in `m:`, and both are taken.
    while let Some(id) =
        inner.maybe(Ns::Types, "SubscriptionId").or_else(|| inner.maybe(Ns::Messages, "SubscriptionId"))
    {
        ids.push(id.leaf()?.to_owned());
    }
    inner.end()?;
    if ids.is_empty() {
        return Err(inner.unexpected("SubscriptionId"));
    }
    Ok(Body::GetStreamingEvents { ids, minutes })
}

fn parse_item_ids(list: &Element) -> Result<Vec<ItemRef>, Invalid> {
    let mut inner = list.children();
    let mut ids = Vec::new();
    while let Some(id) = inner.maybe(Ns::Types, "ItemId") {
        ids.push(parse_item_ref(id)?);
    }
    inner.end()?;
    if ids.is_empty() { Err(inner.unexpected("ItemId")) } else { Ok(ids) }
}

fn parse_item_ref(id: &Element) -> Result<ItemRef, Invalid> {
    id.only(&["Id", "ChangeKey"])?.leaf()?;
    Ok(ItemRef { id: id.need("Id")?.to_owned(), change_key: id.attribute("ChangeKey").map(str::to_owned) })
}

fn parse_folders(list: &Element) -> Result<Vec<FolderRef>, Invalid> {
    let mut inner = list.children();
    let mut folders = Vec::new();
    while inner.peek().is_some() {
        folders.push(parse_folder(&mut inner)?);
    }
    if folders.is_empty() { Err(inner.unexpected("FolderId")) } else { Ok(folders) }
}

/// Literals of `DistinguishedFolderIdNameType` up to Exchange 2013.
const DISTINGUISHED: [&str; 30] = [
    "calendar",
    "contacts",
    "deleteditems",
    "drafts",
    "inbox",
    "journal",
    "notes",
    "outbox",
    "sentitems",
    "tasks",
    "msgfolderroot",
    "publicfoldersroot",
    "root",
    "junkemail",
    "searchfolders",
    "voicemail",
    "recoverableitemsroot",
    "recoverableitemsdeletions",
    "recoverableitemsversions",
    "recoverableitemspurges",
    "archiveroot",
    "archivemsgfolderroot",
    "archivedeleteditems",
    "archiveinbox",
    "syncissues",
    "conflicts",
    "localfailures",
    "serverfailures",
    "recipientcache",
    "quickcontacts",
];

fn parse_folder(inner: &mut Children<'_>) -> Result<FolderRef, Invalid> {
    if let Some(id) = inner.maybe(Ns::Types, "FolderId") {
        id.only(&["Id", "ChangeKey"])?.leaf()?;
        return Ok(FolderRef::Id(id.need("Id")?.to_owned()));
    }
    let folder = inner.need(Ns::Types, "DistinguishedFolderId")?;
    let literal = folder.only(&["Id", "ChangeKey"])?.need("Id")?;
    if !DISTINGUISHED.contains(&literal) {
        return Err(Invalid(format!(
            "The Enumeration constraint failed: '{literal}' is no distinguished folder."
        )));
    }
    let mut parts = folder.children();
    let mut mailbox = None;
    if let Some(owner) = parts.maybe(Ns::Types, "Mailbox") {
        let mut fields = owner.children();
        fields.maybe(Ns::Types, "Name");
        mailbox = Some(fields.need(Ns::Types, "EmailAddress")?.leaf()?.to_owned());
        fields.maybe(Ns::Types, "RoutingType");
        fields.maybe(Ns::Types, "MailboxType");
        fields.end()?;
    }
    parts.end()?;
    Ok(FolderRef::Distinguished { literal: literal.to_owned(), mailbox })
}

fn parse_find(request: &Element) -> Result<FindItem, Invalid> {
    let traversal = request.only(&["Traversal"])?.need("Traversal")?;
    if !["Shallow", "SoftDeleted", "Associated"].contains(&traversal) {
        return Err(Invalid(format!("The Enumeration constraint failed: '{traversal}' is no traversal.")));
    }
    let mut parts = request.children();
    let shape = parse_item_shape(parts.need(Ns::Messages, "ItemShape")?)?;
    let (mut entries_max, mut offset, mut from_end) = (None, 0, false);
    if let Some(view) = parts.maybe(Ns::Messages, "IndexedPageItemView") {
        view.only(&["MaxEntriesReturned", "Offset", "BasePoint"])?.leaf()?;
        entries_max = view.attribute("MaxEntriesReturned").map(|text| parse_number(text, 1)).transpose()?;
        offset = parse_number(view.need("Offset")?, 0)?;
        from_end = match view.need("BasePoint")? {
            "Beginning" => false,
            "End" => true,
            other => return Err(Invalid(format!("'{other}' is no base point."))),
        };
    }
    let restriction = parts.maybe(Ns::Messages, "Restriction").map(parse_restriction).transpose()?;
    let ascending = match parts.maybe(Ns::Messages, "SortOrder") {
        Some(order) => parse_sort(order)?,
        None => false,
    };
    let folders = parse_folders(parts.need(Ns::Messages, "ParentFolderIds")?)?;
    parts.maybe(Ns::Messages, "QueryString");
    parts.end()?;
    Ok(FindItem {
        shape,
        entries_max,
        offset,
        from_end,
        restriction,
        ascending,
        folders,
        shallow: traversal == "Shallow",
    })
}

fn parse_sort(order: &Element) -> Result<bool, Invalid> {
    let mut parts = order.children();
    let field = parts.need(Ns::Types, "FieldOrder")?;
    parts.end()?;
    let ascending = match field.only(&["Order"])?.need("Order")? {
        "Ascending" => true,
        "Descending" => false,
        other => return Err(Invalid(format!("'{other}' is no sort direction."))),
    };
    let mut inner = field.children();
    let uri = inner.need(Ns::Types, "FieldURI")?.only(&["FieldURI"])?.need("FieldURI")?;
    inner.end()?;
    if uri == "item:DateTimeReceived" {
        Ok(ascending)
    } else {
        Err(Invalid(format!("This server sorts by 'item:DateTimeReceived' only, not by '{uri}'.")))
    }
}

fn parse_restriction(restriction: &Element) -> Result<Restriction, Invalid> {
    let mut parts = restriction.children();
    let operator = parts.any().ok_or_else(|| parts.unexpected("IsGreaterThan"))?;
    parts.end()?;
    if operator.ns != Ns::Types {
        return Err(restriction.children().unexpected("IsGreaterThan"));
    }
    if !["IsGreaterThan", "IsGreaterThanOrEqualTo", "IsEqualTo"].contains(&operator.name.as_str()) {
        return Ok(Restriction::Unsupported);
    }
    let mut inner = operator.children();
    let uri = inner.need(Ns::Types, "FieldURI")?.need("FieldURI")?;
    let holder = inner.need(Ns::Types, "FieldURIOrConstant")?;
    inner.end()?;
    let mut constants = holder.children();
    let value = constants.need(Ns::Types, "Constant")?.need("Value")?;
    constants.end()?;
    let instant = || {
        stamp::parse_iso(value)
            .ok_or_else(|| Invalid(format!("The value '{value}' is no xs:dateTime with a zone.")))
    };
    Ok(match (operator.name.as_str(), uri) {
        ("IsGreaterThan", "item:DateTimeReceived") => Restriction::ReceivedAfter(instant()?),
        ("IsGreaterThanOrEqualTo", "item:DateTimeReceived") => Restriction::ReceivedAtOrAfter(instant()?),
        ("IsEqualTo", "message:IsRead") => Restriction::IsRead(parse_bool(value)?),
        _ => Restriction::Unsupported,
    })
}

fn parse_sync(request: &Element) -> Result<SyncFolderItems, Invalid> {
    let mut parts = request.only(&[])?.children();
    let shape = parse_item_shape(parts.need(Ns::Messages, "ItemShape")?)?;
    let holder = parts.need(Ns::Messages, "SyncFolderId")?;
    let mut one = holder.children();
    let folder = parse_folder(&mut one)?;
    one.end()?;
    let state =
        parts.maybe(Ns::Messages, "SyncState").map(|state| state.leaf().map(str::to_owned)).transpose()?;
    let ignore = match parts.maybe(Ns::Messages, "Ignore") {
        Some(list) => parse_item_ids(list)?.into_iter().map(|item| item.id).collect(),
        None => Vec::new(),
    };
    let count = parts.need(Ns::Messages, "MaxChangesReturned")?.leaf()?;
    let changes_max = count
        .parse()
        .ok()
        .filter(|count| (1..=512).contains(count))
        .ok_or_else(|| Invalid(format!("MaxChangesReturned is '{count}' and must be from 1 to 512.")))?;
    if let Some(scope) = parts.maybe(Ns::Messages, "SyncScope") {
        let scope = scope.leaf()?;
        if !["NormalItems", "NormalAndAssociatedItems"].contains(&scope) {
            return Err(Invalid(format!("'{scope}' is no scope.")));
        }
    }
    parts.end()?;
    Ok(SyncFolderItems { shape, folder, state: state.filter(|s| !s.is_empty()), ignore, changes_max })
}

fn parse_convert(request: &Element) -> Result<Body, Invalid> {
    let to = request.only(&["DestinationFormat"])?.need("DestinationFormat")?;
    if to != "EwsId" {
        return Err(Invalid(format!("This server converts to 'EwsId' only, not to '{to}'.")));
    }
    let mut parts = request.children();
    let list = parts.need(Ns::Messages, "SourceIds")?;
    parts.end()?;
    let mut inner = list.children();
    let mut ids = Vec::new();
    while let Some(id) = inner.maybe(Ns::Types, "AlternateId") {
        let from = id.only(&["Format", "Id", "Mailbox", "IsArchive"])?.need("Format")?;
        let mailbox = id.need("Mailbox")?.to_owned();
        if from != "EwsLegacyId" {
            return Err(Invalid(format!("This server converts from 'EwsLegacyId' only, not from '{from}'.")));
        }
        ids.push((id.need("Id")?.to_owned(), mailbox));
    }
    inner.end()?;
    if ids.is_empty() { Err(inner.unexpected("AlternateId")) } else { Ok(Body::ConvertId { ids }) }
}

pub(super) fn parse_bool(text: &str) -> Result<bool, Invalid> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(Invalid(format!("The value '{other}' is no xs:boolean."))),
    }
}

pub(super) fn parse_number(text: &str, min: u32) -> Result<u32, Invalid> {
    text.parse()
        .ok()
        .filter(|number| *number >= min)
        .ok_or_else(|| Invalid(format!("The value '{text}' is no number of at least {min}.")))
}
