//! Properties of items and folders: which a shape asks for, since which version, and how they are written in the
//! schema's order.

use super::mailbox::{FolderKey, Importance, Item, MESSAGE_ROOT, Mailbox, Routing, Sensitivity};
use super::request::{parse_bool, parse_number};
use super::stamp;
use super::version::Version;
use super::xml::{Element, Invalid, Ns, push_escaped};

/// Which properties of items an answer has.
#[derive(Debug)]
pub(super) struct ItemShape {
    /// In the schema's order.
    pub properties: Vec<ItemProperty>,
    /// The oldest version that has all that the shape names.
    pub version_min: Version,
    pub body_text: bool,
    pub body_bytes_max: Option<u32>,
    /// A folder's property in an item's shape, or one that this server does not have.
    pub misplaced: bool,
}

macro_rules! properties {
    ($(#[$doc:meta])* $type:ident: $($name:ident = $uri:literal),* $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum $type { $($name),* }

        impl $type {
            pub(super) fn parse(uri: &str) -> Option<$type> {
                match uri { $($uri => Some($type::$name),)* _ => None }
            }

            const ALL: &[$type] = &[$($type::$name),*];
        }
    };
}

properties! {
    /// Properties of items, in the order of `ItemType` and `MessageType` (types.xsd). The id is always there.
    ItemProperty:
    ItemId = "item:ItemId",
    ParentFolderId = "item:ParentFolderId",
    ItemClass = "item:ItemClass",
    Subject = "item:Subject",
    Sensitivity = "item:Sensitivity",
    Body = "item:Body",
    DateTimeReceived = "item:DateTimeReceived",
    Size = "item:Size",
    Importance = "item:Importance",
    DateTimeSent = "item:DateTimeSent",
    DateTimeCreated = "item:DateTimeCreated",
    HasAttachments = "item:HasAttachments",
    ConversationId = "item:ConversationId",
    Preview = "item:Preview",
    Sender = "message:Sender",
    From = "message:From",
    InternetMessageId = "message:InternetMessageId",
    IsRead = "message:IsRead",
}

properties! {
    /// Properties of folders, in the order of `BaseFolderType` and `FolderType`.
    FolderProperty:
    FolderId = "folder:FolderId",
    ParentFolderId = "folder:ParentFolderId",
    FolderClass = "folder:FolderClass",
    DisplayName = "folder:DisplayName",
    TotalCount = "folder:TotalCount",
    ChildFolderCount = "folder:ChildFolderCount",
    UnreadCount = "folder:UnreadCount",
}

enum Base {
    IdOnly,
    Default,
    AllProperties,
}

fn parse_base(element: &Element) -> Result<Base, Invalid> {
    match element.leaf()? {
        "IdOnly" => Ok(Base::IdOnly),
        "Default" => Ok(Base::Default),
        "AllProperties" => Ok(Base::AllProperties),
        other => Err(Invalid(format!("The Enumeration constraint failed: '{other}' is no base shape."))),
    }
}

/// The URIs of `AdditionalProperties`. Indexed and extended ones are valid; objects here do not have them.
fn parse_paths(list: &Element) -> Result<Vec<&str>, Invalid> {
    let mut inner = list.children();
    let mut paths = Vec::new();
    while let Some(path) = inner.any() {
        match (path.ns, path.name.as_str()) {
            (Ns::Types, "FieldURI") => paths.push(path.only(&["FieldURI"])?.need("FieldURI")?),
            (Ns::Types, "IndexedFieldURI" | "ExtendedFieldURI") => {}
            _ => return Err(list.children().unexpected("FieldURI")),
        }
    }
    if list.children.is_empty() { Err(list.children().unexpected("FieldURI")) } else { Ok(paths) }
}

pub(super) fn parse_item_shape(shape: &Element) -> Result<ItemShape, Invalid> {
    let mut parts = shape.children();
    let base = parse_base(parts.need(Ns::Types, "BaseShape")?)?;
    if let Some(mime) = parts.maybe(Ns::Types, "IncludeMimeContent") {
        parse_bool(mime.leaf()?)?;
    }
    let mut version_min = Version::Exchange2007;
    let mut body_text = false;
    if let Some(kind) = parts.maybe(Ns::Types, "BodyType") {
        body_text = match kind.leaf()? {
            "Text" => true,
            "Best" | "HTML" => false,
            other => {
                return Err(Invalid(format!(
                    "The Enumeration constraint failed: '{other}' is no body type."
                )));
            }
        };
    }
    for newer in ["UniqueBodyType", "NormalizedBodyType"] {
        if parts.maybe(Ns::Types, newer).is_some() {
            version_min = Version::Exchange2013;
        }
    }
    for older in ["FilterHtmlContent", "ConvertHtmlCodePageToUTF8"] {
        parts.maybe(Ns::Types, older);
    }
    for newer in ["InlineImageUrlTemplate", "BlockExternalImages", "AddBlankTargetToLinks"] {
        if parts.maybe(Ns::Types, newer).is_some() {
            version_min = Version::Exchange2013;
        }
    }
    let mut body_bytes_max = None;
    if let Some(size) = parts.maybe(Ns::Types, "MaximumBodySize") {
        version_min = Version::Exchange2013;
        body_bytes_max = Some(parse_number(size.leaf()?, 0)?);
    }
    let mut properties = match base {
        Base::IdOnly => Vec::new(),
        Base::Default => vec![
            ItemProperty::Subject,
            ItemProperty::Sensitivity,
            ItemProperty::Size,
            ItemProperty::DateTimeSent,
            ItemProperty::DateTimeCreated,
            ItemProperty::HasAttachments,
            ItemProperty::From,
            ItemProperty::IsRead,
        ],
        Base::AllProperties => {
            ItemProperty::ALL.iter().copied().filter(|one| *one != ItemProperty::Preview).collect()
        }
    };
    let mut misplaced = false;
    if let Some(list) = parts.maybe(Ns::Types, "AdditionalProperties") {
        for uri in parse_paths(list)? {
            match (ItemProperty::parse(uri), FolderProperty::parse(uri)) {
                (Some(property), _) => {
                    if property == ItemProperty::Preview {
                        version_min = version_min.max(Version::Exchange2013);
                    }
                    properties.push(property);
                }
                (None, Some(_)) => misplaced = true,
                (None, None) => {
                    return Err(Invalid(format!(
                        "The Enumeration constraint failed: '{uri}' is no field URI here."
                    )));
                }
            }
        }
    }
    parts.end()?;
    properties.sort_unstable();
    properties.dedup();
    Ok(ItemShape { properties, version_min, body_text, body_bytes_max, misplaced })
}

pub(super) fn parse_folder_shape(shape: &Element) -> Result<Vec<FolderProperty>, Invalid> {
    let mut parts = shape.children();
    let mut properties = match parse_base(parts.need(Ns::Types, "BaseShape")?)? {
        Base::IdOnly => Vec::new(),
        Base::Default => vec![
            FolderProperty::DisplayName,
            FolderProperty::TotalCount,
            FolderProperty::ChildFolderCount,
            FolderProperty::UnreadCount,
        ],
        Base::AllProperties => FolderProperty::ALL.to_vec(),
    };
    if let Some(list) = parts.maybe(Ns::Types, "AdditionalProperties") {
        for uri in parse_paths(list)? {
            let property = FolderProperty::parse(uri).ok_or_else(|| {
                Invalid(format!("The Enumeration constraint failed: '{uri}' is no field URI here."))
            })?;
            properties.push(property);
        }
    }
    parts.end()?;
    properties.sort_unstable();
    properties.dedup();
    Ok(properties)
}

fn leaf(out: &mut String, name: &str, text: &str) {
    out.push_str("<t:");
    out.push_str(name);
    out.push('>');
    push_escaped(out, text);
    out.push_str("</t:");
    out.push_str(name);
    out.push('>');
}

fn boolean(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Whose shape it is: the find table of the store has no bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    GetItem,
    Table,
}

/// Appends the item's element, such as `t:Message`.
pub(super) fn push_item(out: &mut String, mailbox: &Mailbox, item: &Item, shape: &ItemShape, source: Source) {
    let element = match item.mail.class.as_str() {
        class if class.starts_with("IPM.Note") => "Message",
        class if class.starts_with("IPM.Schedule.Meeting.Request") => "MeetingRequest",
        class if class.starts_with("IPM.Schedule.Meeting.Canceled") => "MeetingCancellation",
        class if class.starts_with("IPM.Schedule.Meeting.Resp") => "MeetingResponse",
        class if class.starts_with("IPM.Post") => "PostItem",
        _ => "Item",
    };
    out.push_str("<t:");
    out.push_str(element);
    out.push_str("><t:ItemId Id=\"");
    mailbox.item_id(item.folder, item.counter).push(out);
    out.push_str(&format!("\" ChangeKey=\"CQAAABYAAAC{:020}\"/>", item.changed_seq.max(item.read_seq)));
    for property in &shape.properties {
        push_item_property(out, mailbox, item, *property, shape, source);
    }
    out.push_str("</t:");
    out.push_str(element);
    out.push('>');
}

fn push_item_property(
    out: &mut String,
    mailbox: &Mailbox,
    item: &Item,
    property: ItemProperty,
    shape: &ItemShape,
    source: Source,
) {
    let mail = &item.mail;
    match property {
        ItemProperty::ItemId => {}
        ItemProperty::ParentFolderId => {
            out.push_str("<t:ParentFolderId Id=\"");
            mailbox.folder_id(item.folder).push(out);
            out.push_str("\" ChangeKey=\"AQAAAA==\"/>");
        }
        ItemProperty::ItemClass => leaf(out, "ItemClass", &mail.class),
        ItemProperty::Subject => {
            // An item without a subject has no such property.
            if let Some(raw) = &mail.subject_on_wire {
                out.push_str("<t:Subject>");
                out.push_str(raw);
                out.push_str("</t:Subject>");
            } else if !mail.subject.is_empty() {
                leaf(out, "Subject", &mail.subject);
            }
        }
        ItemProperty::Sensitivity => leaf(
            out,
            "Sensitivity",
            match mail.sensitivity {
                Sensitivity::Normal => "Normal",
                Sensitivity::Personal => "Personal",
                Sensitivity::Private => "Private",
                Sensitivity::Confidential => "Confidential",
            },
        ),
        ItemProperty::Body => {
            if source == Source::GetItem {
                push_body(out, &mail.body, shape);
            }
        }
        ItemProperty::DateTimeReceived | ItemProperty::DateTimeSent | ItemProperty::DateTimeCreated => {
            let name = match property {
                ItemProperty::DateTimeSent => "DateTimeSent",
                ItemProperty::DateTimeCreated => "DateTimeCreated",
                _ => "DateTimeReceived",
            };
            let mut text = String::with_capacity(20);
            stamp::push_iso(&mut text, item.received);
            leaf(out, name, &text);
        }
        ItemProperty::Size => leaf(out, "Size", &(mail.body.len() + mail.subject.len() + 2_000).to_string()),
        ItemProperty::Importance => leaf(
            out,
            "Importance",
            match mail.importance {
                Importance::Low => "Low",
                Importance::Normal => "Normal",
                Importance::High => "High",
            },
        ),
        ItemProperty::HasAttachments => leaf(out, "HasAttachments", boolean(mail.has_attachments)),
        ItemProperty::ConversationId => {
            out.push_str(&format!("<t:ConversationId Id=\"AAQkAD{:026}=\"/>", item.counter));
        }
        ItemProperty::Preview => {
            if !mail.preview().is_empty() {
                leaf(out, "Preview", mail.preview());
            }
        }
        ItemProperty::Sender | ItemProperty::From => {
            if mail.sender.address.is_empty() && mail.sender.name.is_empty() {
                return;
            }
            let name = if property == ItemProperty::Sender { "Sender" } else { "From" };
            out.push_str(&format!("<t:{name}><t:Mailbox>"));
            leaf(out, "Name", &mail.sender.name);
            leaf(out, "EmailAddress", &mail.sender.address);
            let (routing, kind) = match mail.sender.routing {
                Routing::Smtp => ("SMTP", "OneOff"),
                Routing::Ex => ("EX", "Mailbox"),
            };
            leaf(out, "RoutingType", routing);
            leaf(out, "MailboxType", kind);
            out.push_str(&format!("</t:Mailbox></t:{name}>"));
        }
        ItemProperty::InternetMessageId => {
            leaf(
                out,
                "InternetMessageId",
                &format!("<{:x}.{}@example.net>", mailbox.guid as u32, item.counter),
            );
        }
        ItemProperty::IsRead => leaf(out, "IsRead", boolean(item.read)),
    }
}

fn push_body(out: &mut String, body: &str, shape: &ItemShape) {
    let end = match shape.body_bytes_max {
        Some(max) => body.floor_char_boundary(max as usize),
        None => body.len(),
    };
    let text = &body[..end];
    if shape.body_text {
        out.push_str("<t:Body BodyType=\"Text\">");
        push_escaped(out, text);
    } else {
        out.push_str("<t:Body BodyType=\"HTML\">");
        let mut html = "<html><body>".to_owned();
        push_escaped(&mut html, text);
        html.push_str("</body></html>");
        push_escaped(out, &html);
    }
    out.push_str("</t:Body>");
}

/// Appends `t:Folder`.
pub(super) fn push_folder(
    out: &mut String,
    mailbox: &Mailbox,
    key: FolderKey,
    properties: &[FolderProperty],
) {
    let Some(folder) = mailbox.folder(key) else { return };
    out.push_str("<t:Folder><t:FolderId Id=\"");
    mailbox.folder_id(key).push(out);
    out.push_str(&format!("\" ChangeKey=\"AQAAABYAAAC{:020}\"/>", mailbox.seq));
    for property in properties {
        match property {
            FolderProperty::FolderId => {}
            FolderProperty::ParentFolderId => {
                out.push_str("<t:ParentFolderId Id=\"");
                mailbox.folder_id(MESSAGE_ROOT).push(out);
                out.push_str("\" ChangeKey=\"AQAAAA==\"/>");
            }
            FolderProperty::FolderClass => leaf(out, "FolderClass", "IPF.Note"),
            FolderProperty::DisplayName => leaf(out, "DisplayName", &folder.name),
            FolderProperty::TotalCount => leaf(out, "TotalCount", &folder.order.len().to_string()),
            FolderProperty::ChildFolderCount => {
                let count = if key == MESSAGE_ROOT { mailbox.folders.len() - 1 } else { 0 };
                leaf(out, "ChildFolderCount", &count.to_string());
            }
            FolderProperty::UnreadCount => leaf(out, "UnreadCount", &folder.unread.to_string()),
        }
    }
    out.push_str("</t:Folder>");
}
