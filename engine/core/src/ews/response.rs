//! The answers to ordinary calls, each by its operation; `http` and `text` are asked before, and `item` reads the mails in
//! them.

mod http;
mod item;
mod text;

use super::code::ResponseCode;
use super::error::EwsError;
use super::message::{number, read, read_one};
use super::xml::{Walk, XmlError};
use crate::limits::SYNC_STATE_BYTES_MAX;
use crate::names::{FolderId, ItemId, SubscriptionId};
use crate::notice::MailDetails;
use crate::time::UnixMillis;
use item::{Item, read_item};

pub use http::http;
pub use text::decoded;

/// A mail that [`super::request::get_item`] asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct FetchedItem {
    /// Its id.
    pub id: ItemId,
    /// The folder that it is in, where the server says so.
    pub parent: Option<FolderId>,
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
    /// The folder that it is in, where that was asked for.
    pub parent: Option<FolderId>,
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
        Ok(FetchedItem { id, parent: item.parent, received: item.received, details: item.details })
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
                let Item { id, parent, received, details } = read_item(walk)?;
                if let (Some(id), Some(received)) = (id, received) {
                    let (read, details) = (details.read, Some(details));
                    page.items.push(FoundItem { id, parent, received, read, details });
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
                let Item { id, parent, received, details } = read_item(walk)?;
                if let (Some(id), Some(received)) = (id, received) {
                    page.found.push(FoundItem { id, parent, received, read: details.read, details: None });
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
