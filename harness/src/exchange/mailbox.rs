//! Mailboxes, folders and items: what lies in the store.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use carillon_core::time::UnixMillis;

use super::code::Code;
use super::ids::StoreId;

/// A mailbox of this organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxKey(pub u32);

/// A folder within its mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderKey(pub u16);

/// The root that every other folder hangs below (`msgfolderroot`).
pub(super) const MESSAGE_ROOT: FolderKey = FolderKey(0);
/// The inbox of every mailbox.
pub const INBOX: FolderKey = FolderKey(1);
/// Deleted Items of every mailbox.
pub const DELETED_ITEMS: FolderKey = FolderKey(2);
/// Junk E-mail of every mailbox.
pub const JUNK_EMAIL: FolderKey = FolderKey(3);

/// What a mailbox is made from.
#[derive(Clone, Debug, Default)]
pub struct MailboxSpec {
    /// Its primary SMTP address.
    pub address: String,
    /// Its other addresses.
    pub proxies: Vec<String>,
    /// Its owner's user principal name; the primary address if `None`.
    pub principal_name: Option<String>,
    /// Index of the back end on which its database is active.
    pub back_end: usize,
    /// `GroupingInformation` as Autodiscover tells it.
    pub grouping: String,
}

/// What `t:Importance` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Importance {
    Low,
    #[default]
    Normal,
    High,
}

/// What `t:Sensitivity` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Sensitivity {
    #[default]
    Normal,
    Personal,
    Private,
    Confidential,
}

/// What kind of address a sender has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// An SMTP address.
    #[default]
    Smtp,
    /// A legacy distinguished name: a colleague within the organisation.
    Ex,
}

/// Who a mail is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// Display name.
    pub name: String,
    /// Address, of the kind that `routing` says.
    pub address: String,
    /// What kind of address it is.
    pub routing: Routing,
}

/// A mail that arrives.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The workload's own name for it, handed back by [`Exchange::take_on_wire`](super::Exchange::take_on_wire).
    pub tag: u64,
    /// Who it is from.
    pub sender: Sender,
    /// Its subject.
    pub subject: String,
    /// What stands on the wire in place of its subject, as it is: references and entities that XML does not have, or what is
    /// no XML at all. `U+E000` in it becomes a byte that is no UTF-8.
    pub subject_on_wire: Option<String>,
    /// Its body as plain text.
    pub body: String,
    /// What `item:Preview` says; the first 256 characters of the body if `None`.
    pub preview: Option<String>,
    /// Its importance.
    pub importance: Importance,
    /// Its sensitivity.
    pub sensitivity: Sensitivity,
    /// Its message class, such as `IPM.Note`.
    pub class: String,
    /// The folder in which it arrives: a server-side rule may choose another than the inbox.
    pub folder: FolderKey,
    /// It has attachments.
    pub has_attachments: bool,
    /// When it says that it was received; `None`: now. Whoever imports mail chooses that (IMAP's INTERNALDATE).
    pub received: Option<UnixMillis>,
}

/// A mail that lies in a folder.
#[derive(Clone, Debug)]
pub struct Item {
    /// What arrived.
    pub mail: Mail,
    /// When.
    pub received: UnixMillis,
    /// Its owner has read it.
    pub read: bool,
    /// The folder in which it lies now.
    pub folder: FolderKey,
    /// GetItem answers with this in place of the item.
    pub refused: Option<Code>,
    /// The id, which changes when the item moves.
    pub(super) counter: u64,
    /// Sequence numbers of its mailbox at its arrival here, its last change, its last change of the read flag.
    pub(super) created_seq: u64,
    pub(super) changed_seq: u64,
    pub(super) read_seq: u64,
}

/// An item that is no longer in its folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub seq: u64,
    pub counter: u64,
    pub created_seq: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    pub name: Cow<'static, str>,
    /// Its literal in `DistinguishedFolderId`, if it is a well-known one.
    pub distinguished: Option<&'static str>,
    pub unread: u32,
    /// Its items, oldest first.
    pub order: BTreeSet<(UnixMillis, u64)>,
    /// What left it, for SyncFolderItems.
    pub gone: Vec<Gone>,
    /// It is deleted itself.
    pub deleted: bool,
}

#[derive(Debug)]
pub(super) struct Mailbox {
    pub key: MailboxKey,
    pub spec: MailboxSpec,
    pub guid: u128,
    pub folders: Vec<Folder>,
    /// Boxed: a map has room for eleven from its first entry on, and most mailboxes have few.
    pub items: BTreeMap<u64, Box<Item>>,
    pub next_item: u64,
    pub seq: u64,
    /// States of synchronisations from before this are not understood any more.
    pub sync_since: u64,
    /// Subscriptions that watch it.
    pub subscriptions: Vec<u64>,
    /// Of those, the ones that a stream reads.
    pub attached: u32,
    /// What whoever asks for it is told while it cannot be reached here.
    pub away: Option<Code>,
    /// What whoever lists a folder with texts is told.
    pub no_texts: Option<Code>,
}

impl Default for Mail {
    fn default() -> Self {
        Mail {
            tag: 0,
            sender: Sender::default(),
            subject: String::new(),
            subject_on_wire: None,
            body: String::new(),
            preview: None,
            importance: Importance::Normal,
            sensitivity: Sensitivity::Normal,
            class: "IPM.Note".to_owned(),
            folder: INBOX,
            has_attachments: false,
            received: None,
        }
    }
}

impl Mail {
    /// What `item:Preview` says: text for people, empty for encrypted mail.
    pub(super) fn preview(&self) -> &str {
        if self.class.starts_with("IPM.Note.SMIME") || self.class.starts_with("IPM.Note.rpmsg") {
            return "";
        }
        let text = self.preview.as_deref().unwrap_or(&self.body);
        match text.char_indices().nth(256) {
            Some((end, _)) => &text[..end],
            None => text,
        }
    }
}

impl Mailbox {
    pub(super) fn new(key: MailboxKey, guid: u128, spec: MailboxSpec) -> Mailbox {
        const WELL_KNOWN: [(&str, &str); 6] = [
            ("Top of Information Store", "msgfolderroot"),
            ("Inbox", "inbox"),
            ("Deleted Items", "deleteditems"),
            ("Junk Email", "junkemail"),
            ("Drafts", "drafts"),
            ("Sent Items", "sentitems"),
        ];
        let folders = WELL_KNOWN
            .map(|(name, literal)| Folder {
                name: name.into(),
                distinguished: Some(literal),
                ..Folder::default()
            })
            .into();
        Mailbox {
            key,
            spec,
            guid,
            folders,
            items: BTreeMap::new(),
            next_item: 1,
            seq: 0,
            sync_since: 0,
            subscriptions: Vec::new(),
            attached: 0,
            away: None,
            no_texts: None,
        }
    }

    pub(super) fn item_id(&self, folder: FolderKey, counter: u64) -> StoreId {
        StoreId { mailbox: self.guid, folder, item: Some(counter) }
    }

    pub(super) fn folder_id(&self, folder: FolderKey) -> StoreId {
        StoreId { mailbox: self.guid, folder, item: None }
    }

    pub(super) fn folder(&self, key: FolderKey) -> Option<&Folder> {
        self.folders.get(usize::from(key.0)).filter(|folder| !folder.deleted)
    }

    /// The item that `id` names, if it still lies where the id says.
    pub(super) fn item(&self, id: &StoreId) -> Option<&Item> {
        let item = self.items.get(&id.item?)?;
        (id.mailbox == self.guid && item.folder == id.folder).then_some(item)
    }

    /// Puts a new item into its folder.
    pub(super) fn insert(&mut self, mail: Mail, received: UnixMillis, folder: FolderKey, read: bool) -> u64 {
        let counter = self.next_item;
        self.next_item += 1;
        self.seq += 1;
        let seq = self.seq;
        let place = &mut self.folders[usize::from(folder.0)];
        place.order.insert((received, counter));
        place.unread += u32::from(!read);
        let item = Item {
            mail,
            received,
            read,
            folder,
            refused: None,
            counter,
            created_seq: seq,
            changed_seq: seq,
            read_seq: seq,
        };
        self.items.insert(counter, Box::new(item));
        counter
    }

    /// Takes an item out of its folder.
    pub(super) fn remove(&mut self, counter: u64) -> Option<Item> {
        let item = *self.items.remove(&counter)?;
        self.seq += 1;
        let place = &mut self.folders[usize::from(item.folder.0)];
        place.order.remove(&(item.received, counter));
        place.unread -= u32::from(!item.read);
        place.gone.push(Gone { seq: self.seq, counter, created_seq: item.created_seq });
        Some(item)
    }

    /// Sets the read flag; `None` if there is no such item or nothing changes.
    pub(super) fn set_read(&mut self, counter: u64, read: bool) -> Option<FolderKey> {
        let item = self.items.get_mut(&counter).filter(|item| item.read != read)?;
        self.seq += 1;
        item.read = read;
        item.read_seq = self.seq;
        let unread = &mut self.folders[usize::from(item.folder.0)].unread;
        *unread = if read { *unread - 1 } else { *unread + 1 };
        Some(item.folder)
    }
}
