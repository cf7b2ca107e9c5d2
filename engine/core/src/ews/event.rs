//! One envelope of a stream: notifications, errors, and whether the stream goes on.

use super::datetime::parse_date_time;
use super::error::EwsError;
use super::message::read;
use super::response::small;
use super::xml::{Tag, Walk, XmlError};
use crate::names::{FolderId, ItemId, SubscriptionId};
use crate::time::UnixMillis;

/// What happened in a mailbox. `at` is the server's time stamp; `parent` the folder in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailEvent {
    /// An item was made or delivered in the folder. One delivered mail gives this and [`MailEvent::NewMail`].
    Created {
        /// The item.
        item: ItemId,
        /// Its folder.
        parent: FolderId,
        /// When.
        at: UnixMillis,
    },
    /// A mail was delivered.
    NewMail {
        /// The mail.
        item: ItemId,
        /// Its folder.
        parent: FolderId,
        /// When.
        at: UnixMillis,
    },
    /// An item was deleted from the folder.
    Deleted {
        /// The item.
        item: ItemId,
        /// The folder it was in.
        parent: FolderId,
    },
    /// An item's properties changed: read, flagged, edited.
    ItemModified {
        /// The item.
        item: ItemId,
        /// Its folder.
        parent: FolderId,
    },
    /// A folder's own properties changed, mostly its counts.
    FolderModified {
        /// The folder.
        folder: FolderId,
        /// The folder it is in.
        parent: FolderId,
        /// Unread items in it now.
        unread: Option<u32>,
    },
    /// An item was moved, and has another id since.
    Moved {
        /// The item's new id.
        item: ItemId,
        /// Its old id.
        old_item: ItemId,
        /// The folder it is in now.
        parent: FolderId,
        /// The folder it was in.
        old_parent: FolderId,
    },
    /// An item was copied.
    Copied {
        /// The copy.
        item: ItemId,
        /// The original.
        old_item: ItemId,
        /// The folder of the copy.
        parent: FolderId,
        /// The folder of the original.
        old_parent: FolderId,
    },
    /// A folder was made, deleted, moved or copied.
    FolderOther,
    /// Nothing happened (Gromox says so every 45 seconds): a heartbeat.
    Status,
    /// Something happened that cannot be read: an id or a time stamp is missing or makes no sense. Only a look at the
    /// mailbox tells what; the other mailboxes of the stream are not disturbed.
    Unclear,
}

/// What happened in the mailbox of one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Whose.
    pub subscription: SubscriptionId,
    /// In the server's order.
    pub events: Vec<MailEvent>,
}

/// Whether the stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionStatus {
    /// It does.
    Ok,
    /// Nothing more will come.
    Closed,
}

/// All that one envelope says. Exchange says one thing at a time, other servers several at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamMessage {
    /// News, by subscription.
    pub notifications: Vec<Notification>,
    /// What is wrong.
    pub error: Option<EwsError>,
    /// The subscriptions that the error is about; none when it is about the whole connection. Ids that are no ids are
    /// left out.
    pub bad_ids: Vec<SubscriptionId>,
    /// Whether the stream goes on, where the envelope says so.
    pub status: Option<ConnectionStatus>,
}

/// Reads one envelope of a GetStreamingEvents answer.
///
/// # Errors
/// It is a SOAP fault, or cannot be read ([`super::ResponseCode::Malformed`]).
pub fn parse_stream_message(envelope: &[u8]) -> Result<StreamMessage, EwsError> {
    let mut whole = StreamMessage::default();
    let messages = read(envelope, |walk, tag, message: &mut StreamMessage| {
        match tag.name() {
            "Notifications" => {
                while let Some(tag) = walk.child()? {
                    match tag.name() {
                        "Notification" => message.notifications.push(notification(walk)?),
                        _ => walk.skip()?,
                    }
                }
            }
            "ErrorSubscriptionIds" => {
                while walk.child()?.is_some() {
                    message.bad_ids.extend(SubscriptionId::parse(walk.text()?.trim()).ok());
                }
            }
            "ConnectionStatus" => {
                message.status = match walk.text()?.trim() {
                    "OK" => Some(ConnectionStatus::Ok),
                    "Closed" => Some(ConnectionStatus::Closed),
                    _ => return Err(XmlError::Unexpected("ConnectionStatus")),
                };
            }
            _ => walk.skip()?,
        }
        Ok(())
    })?;
    for (verdict, message) in messages {
        whole.notifications.extend(message.notifications);
        whole.bad_ids.extend(message.bad_ids);
        whole.status = whole.status.max_by_end(message.status);
        whole.error = whole.error.or(verdict.err());
    }
    Ok(whole)
}

trait ByEnd {
    fn max_by_end(self, other: Self) -> Self;
}

impl ByEnd for Option<ConnectionStatus> {
    /// `Closed` goes before `OK`, and both before nothing.
    fn max_by_end(self, other: Option<ConnectionStatus>) -> Option<ConnectionStatus> {
        match (self, other) {
            (Some(ConnectionStatus::Closed), _) | (_, Some(ConnectionStatus::Closed)) => {
                Some(ConnectionStatus::Closed)
            }
            (status, None) => status,
            (_, status) => status,
        }
    }
}

fn notification(walk: &mut Walk<'_>) -> Result<Notification, XmlError> {
    let (mut subscription, mut events) = (None, Vec::new());
    while let Some(tag) = walk.child()? {
        if tag.name() == "SubscriptionId" {
            subscription = SubscriptionId::parse(walk.text()?.trim()).ok();
            continue;
        }
        if let Some(event) = event(walk, &tag)? {
            // One look tells as much as many.
            if event != MailEvent::Unclear || events.last() != Some(&MailEvent::Unclear) {
                events.push(event);
            }
        }
    }
    let subscription = subscription.ok_or(XmlError::Unexpected("SubscriptionId"))?;
    Ok(Notification { subscription, events })
}

#[derive(Default)]
struct Parts {
    at: Option<UnixMillis>,
    item: Option<ItemId>,
    folder: bool,
    folder_id: Option<FolderId>,
    parent: Option<FolderId>,
    old_item: Option<ItemId>,
    old_parent: Option<FolderId>,
    unread: Option<u32>,
}

/// Goes through an event. Nothing for what is none, or is of no interest: watermarks, `MoreEvents`, free/busy changes.
fn event(walk: &mut Walk<'_>, tag: &Tag<'_>) -> Result<Option<MailEvent>, XmlError> {
    let make: fn(Parts) -> Option<MailEvent> = match tag.name() {
        "NewMailEvent" => {
            |parts| Some(MailEvent::NewMail { item: parts.item?, parent: parts.parent?, at: parts.at? })
        }
        "CreatedEvent" => {
            |parts| Some(MailEvent::Created { item: parts.item?, parent: parts.parent?, at: parts.at? })
        }
        "DeletedEvent" => |parts| Some(MailEvent::Deleted { item: parts.item?, parent: parts.parent? }),
        "ModifiedEvent" => |parts| match parts.folder {
            true => Some(MailEvent::FolderModified {
                folder: parts.folder_id?,
                parent: parts.parent?,
                unread: parts.unread,
            }),
            false => Some(MailEvent::ItemModified { item: parts.item?, parent: parts.parent? }),
        },
        "MovedEvent" => |parts| {
            Some(MailEvent::Moved {
                item: parts.item?,
                old_item: parts.old_item?,
                parent: parts.parent?,
                old_parent: parts.old_parent?,
            })
        },
        "CopiedEvent" => |parts| {
            Some(MailEvent::Copied {
                item: parts.item?,
                old_item: parts.old_item?,
                parent: parts.parent?,
                old_parent: parts.old_parent?,
            })
        },
        "StatusEvent" => {
            walk.skip()?;
            return Ok(Some(MailEvent::Status));
        }
        _ => {
            walk.skip()?;
            return Ok(None);
        }
    };
    let modified = tag.name() == "ModifiedEvent";
    let parts = parts(walk)?;
    if parts.folder && !modified {
        return Ok(Some(MailEvent::FolderOther));
    }
    Ok(Some(make(parts).unwrap_or(MailEvent::Unclear)))
}

fn parts(walk: &mut Walk<'_>) -> Result<Parts, XmlError> {
    let mut parts = Parts::default();
    while let Some(tag) = walk.child()? {
        let item =
            || -> Result<_, XmlError> { Ok(tag.attribute("Id")?.and_then(|id| ItemId::parse(&id).ok())) };
        let folder =
            || -> Result<_, XmlError> { Ok(tag.attribute("Id")?.and_then(|id| FolderId::parse(&id).ok())) };
        match tag.name() {
            "TimeStamp" => {
                parts.at = parse_date_time(&walk.text()?);
                continue;
            }
            "UnreadCount" => {
                parts.unread = small(&walk.text()?);
                continue;
            }
            "ItemId" => parts.item = item()?,
            "OldItemId" => parts.old_item = item()?,
            "ParentFolderId" => parts.parent = folder()?,
            "OldParentFolderId" => parts.old_parent = folder()?,
            "FolderId" => {
                parts.folder = true;
                parts.folder_id = folder()?;
            }
            _ => {}
        }
        walk.skip()?;
    }
    Ok(parts)
}
