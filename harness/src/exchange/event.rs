//! What happens in a mailbox, and how it stands in a notification (reference §3.3).

use carillon_core::time::UnixMillis;

use super::mailbox::{FolderKey, MESSAGE_ROOT, Mailbox};
use super::stamp;

/// A set of event types that a subscription asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventMask(pub u8);

/// One event in a subscription's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub at: UnixMillis,
    pub kind: EventKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventKind {
    Created { item: u64, folder: FolderKey },
    NewMail { item: u64, folder: FolderKey, tag: u64 },
    Deleted { item: u64, folder: FolderKey },
    ItemModified { item: u64, folder: FolderKey },
    FolderModified { folder: FolderKey, unread: u32 },
    FolderDeleted { folder: FolderKey },
    Moved { item: u64, folder: FolderKey, old_item: u64, old_folder: FolderKey },
    Copied { item: u64, folder: FolderKey, old_item: u64, old_folder: FolderKey },
}

const TYPES: [&str; 7] = [
    "CopiedEvent",
    "CreatedEvent",
    "DeletedEvent",
    "ModifiedEvent",
    "MovedEvent",
    "NewMailEvent",
    "FreeBusyChangedEvent",
];

impl EventMask {
    /// The set with the type that `literal` names; `StatusEvent` cannot be asked for.
    pub(super) fn parse(literal: &str) -> Option<EventMask> {
        TYPES.iter().position(|&name| name == literal).map(|bit| EventMask(1 << bit))
    }
}

impl EventKind {
    fn type_index(&self) -> usize {
        match self {
            EventKind::Copied { .. } => 0,
            EventKind::Created { .. } => 1,
            EventKind::Deleted { .. } | EventKind::FolderDeleted { .. } => 2,
            EventKind::ItemModified { .. } | EventKind::FolderModified { .. } => 3,
            EventKind::Moved { .. } => 4,
            EventKind::NewMail { .. } => 5,
        }
    }

    /// Whether a subscription that asked for `mask` is told.
    pub(super) fn is_in(&self, mask: EventMask) -> bool {
        mask.0 >> self.type_index() & 1 == 1
    }

    /// The folders of which a subscription watches one to be told.
    pub(super) fn folders(&self) -> (FolderKey, Option<FolderKey>) {
        match *self {
            EventKind::Created { folder, .. }
            | EventKind::NewMail { folder, .. }
            | EventKind::Deleted { folder, .. }
            | EventKind::ItemModified { folder, .. }
            | EventKind::FolderModified { folder, .. }
            | EventKind::FolderDeleted { folder } => (folder, None),
            EventKind::Moved { folder, old_folder, .. } | EventKind::Copied { folder, old_folder, .. } => {
                (folder, Some(old_folder))
            }
        }
    }
}

impl Event {
    /// Appends the event's element. `ChangeKey` is a stub, as on the wire.
    pub(super) fn push(&self, out: &mut String, mailbox: &Mailbox, legacy_ids: bool) {
        let name = TYPES[self.kind.type_index()];
        let item = |out: &mut String, name: &str, folder: FolderKey, counter: u64| {
            out.push_str("<t:");
            out.push_str(name);
            out.push_str(" Id=\"");
            let id = mailbox.item_id(folder, counter);
            if legacy_ids {
                id.push_legacy(out);
            } else {
                id.push(out);
            }
            out.push_str("\" ChangeKey=\"CQAAAA==\"/>");
        };
        let folder = |out: &mut String, name: &str, folder: FolderKey| {
            out.push_str("<t:");
            out.push_str(name);
            out.push_str(" Id=\"");
            mailbox.folder_id(folder).push(out);
            out.push_str("\" ChangeKey=\"AQAAAA==\"/>");
        };
        out.push_str("<t:");
        out.push_str(name);
        out.push_str("><t:TimeStamp>");
        stamp::push_iso(out, self.at);
        out.push_str("</t:TimeStamp>");
        match self.kind {
            EventKind::Created { item: id, folder: parent }
            | EventKind::NewMail { item: id, folder: parent, .. }
            | EventKind::Deleted { item: id, folder: parent }
            | EventKind::ItemModified { item: id, folder: parent } => {
                item(out, "ItemId", parent, id);
                folder(out, "ParentFolderId", parent);
            }
            EventKind::FolderModified { folder: id, unread } => {
                folder(out, "FolderId", id);
                folder(out, "ParentFolderId", MESSAGE_ROOT);
                out.push_str(&format!("<t:UnreadCount>{unread}</t:UnreadCount>"));
            }
            EventKind::FolderDeleted { folder: id } => {
                folder(out, "FolderId", id);
                folder(out, "ParentFolderId", MESSAGE_ROOT);
            }
            EventKind::Moved { item: id, folder: parent, old_item, old_folder }
            | EventKind::Copied { item: id, folder: parent, old_item, old_folder } => {
                item(out, "ItemId", parent, id);
                folder(out, "ParentFolderId", parent);
                item(out, "OldItemId", old_folder, old_item);
                folder(out, "OldParentFolderId", old_folder);
            }
        }
        out.push_str("</t:");
        out.push_str(name);
        out.push('>');
    }
}
