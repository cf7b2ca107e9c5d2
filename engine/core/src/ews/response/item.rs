//! One mail in an answer: its id, and what an alert shows of it.

use std::borrow::Cow;

use super::boolean;
use crate::ews::datetime::parse_date_time;
use crate::ews::xml::{Walk, XmlError};
use crate::limits::{DETAIL_TEXT_BYTES_MAX, PREVIEW_CHARS_MAX};
use crate::names::{FolderId, ItemId};
use crate::notice::MailDetails;
use crate::time::UnixMillis;

#[derive(Default)]
pub(super) struct Item {
    pub(super) id: Option<ItemId>,
    pub(super) parent: Option<FolderId>,
    pub(super) received: Option<UnixMillis>,
    pub(super) details: MailDetails,
}

#[derive(Default)]
struct Mailbox {
    name: Box<str>,
    address: Box<str>,
}

/// Goes through an item of any kind: `Message`, `MeetingRequest`, `PostItem`…
pub(super) fn read_item(walk: &mut Walk<'_>) -> Result<Item, XmlError> {
    let (mut item, mut from, mut sender) = (Item::default(), Mailbox::default(), Mailbox::default());
    let details = &mut item.details;
    while let Some(tag) = walk.child()? {
        match tag.name() {
            "ItemId" => {
                item.id = tag.attribute("Id")?.and_then(|id| ItemId::parse(&id).ok());
                walk.skip()?;
            }
            "ParentFolderId" => {
                item.parent = tag.attribute("Id")?.and_then(|id| FolderId::parse(&id).ok());
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
    if !smtp || !mailbox.address.contains('@') || is_directory_name(&mailbox.address) {
        mailbox.address = Box::default();
    }
    // Where a colleague is gone, Exchange gives the name in the directory for want of another one.
    if is_directory_name(&mailbox.name) {
        mailbox.name = Box::default();
    }
    Ok(mailbox)
}

/// Whether this is a name in the directory, which tells nobody anything: a legacy distinguished name (`/o=…/cn=…`), also as an
/// X.500 address, in quotes, or wrapped into an SMTP address (`IMCEAEX-_O=…`).
fn is_directory_name(text: &str) -> bool {
    let text = text.trim_start_matches(['\'', '"', '<', ' ']);
    let begins =
        |text: &str, with: &str| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    let bare = if begins(text, "x500:") || begins(text, "ex:") {
        text.split_once(':').map_or("", |(_, rest)| rest)
    } else {
        text
    };
    ["/o=", "/cn=", "/ou=", "imceaex-_", "imceax500-_"].iter().any(|start| begins(bare, start))
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
