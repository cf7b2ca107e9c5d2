//! Folders that are watched beside the inbox.

use super::User;
use crate::names::FolderId;
use crate::shard::Trouble;
use crate::time::Time;

/// A folder that is watched beside the inbox.
#[derive(Debug)]
pub struct Folder {
    /// As it was chosen: its id, or the name of a well-known one.
    pub id: FolderId,
    /// Hash of its id as events have it. Known when it was counted.
    pub hash: Option<u64>,
    /// Unread mails in it.
    pub unread: Option<u32>,
    /// When an event last told it.
    pub heard: Option<Time>,
    /// It cannot be watched: not asked for until folders are chosen anew.
    pub gone: bool,
    /// Why it cannot.
    pub why: Option<Box<Trouble>>,
    /// Left out for now: one of the folders is refused, and nobody says which.
    pub held: bool,
    /// It has been subscribed to beside the inbox since that was so.
    pub proven: bool,
    /// Up to where it was synchronised.
    pub sync: Option<Box<str>>,
    /// A look has gone through it, here or in an earlier life.
    pub looked_into: bool,
}

impl Folder {
    /// A folder of which nothing is known yet.
    pub fn new(id: FolderId, sync: Option<Box<str>>) -> Folder {
        Folder {
            id,
            hash: None,
            unread: None,
            heard: None,
            gone: false,
            why: None,
            held: false,
            proven: false,
            sync,
            looked_into: true,
        }
    }

    /// Whether it is asked for.
    pub fn is_watched(&self) -> bool {
        !self.gone && !self.held
    }

    /// It cannot be watched.
    pub fn drop_for(&mut self, why: Trouble) {
        (self.gone, self.held) = (true, false);
        self.why = Some(Box::new(why));
    }
}

/// Whose a folder is that an event or a mail names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The mailbox's own, and watched (or it was).
    Own,
    /// Not all folders of the mailbox are known yet: perhaps it is one of them.
    Unknown,
    /// None of those that are watched in this mailbox.
    Foreign,
}

impl User {
    /// Whose the folder is whose id has this hash.
    pub fn whose(&self, folder: u64) -> Whose {
        let own = self.inbox == Some(folder) || self.folders.iter().any(|row| row.hash == Some(folder));
        let known =
            self.inbox.is_some() && self.folders.iter().all(|row| !row.is_watched() || row.hash.is_some());
        match (own, known) {
            (true, _) => Whose::Own,
            (false, false) => Whose::Unknown,
            (false, true) => Whose::Foreign,
        }
    }

    /// The folders are to be learned anew before anything that is told of them counts.
    pub fn forget_folder_hashes(&mut self) {
        self.inbox = None;
        self.folders.iter_mut().filter(|row| !row.gone).for_each(|row| row.hash = None);
    }

    /// The ids of the folders that are asked for beside the inbox.
    pub fn folder_ids(&self) -> Vec<FolderId> {
        self.folders.iter().filter(|folder| folder.is_watched()).map(|folder| folder.id.clone()).collect()
    }

    /// All are left out, to be subscribed to one after the other.
    pub fn begin_trial(&mut self) {
        self.folders_on_trial = true;
        (self.catch_up_at, self.catch_up_offset) = (0, 0);
        for folder in self.folders.iter_mut().filter(|folder| folder.is_watched()) {
            (folder.held, folder.proven) = (true, false);
        }
    }

    /// The next that was left out takes part. False if there is none any more.
    pub fn next_on_trial(&mut self) -> bool {
        let next = self.folders.iter_mut().find(|folder| folder.held && !folder.gone);
        self.folders_on_trial = next.is_some();
        next.map(|folder| folder.held = false).is_some()
    }

    /// The folder that a catch-up looks into now; nothing for the inbox.
    pub fn folder_now(&self) -> Option<&Folder> {
        self.folders.get(usize::from(self.catch_up_at).checked_sub(1)?)
    }

    /// As [`User::folder_now`].
    pub fn folder_now_mut(&mut self) -> Option<&mut Folder> {
        self.folders.get_mut(usize::from(self.catch_up_at).checked_sub(1)?)
    }

    /// Up to where the folder that a catch-up looks into now was synchronised.
    pub fn sync_now(&self) -> Option<&str> {
        match self.folder_now() {
            Some(folder) => folder.sync.as_deref(),
            None => self.sync.as_deref(),
        }
    }

    /// The folder that a catch-up looks into now was synchronised up to here; `None` starts over.
    pub fn set_sync_now(&mut self, state: Option<Box<str>>) {
        self.sync_unsaved = true;
        match self.folder_now_mut() {
            Some(folder) => folder.sync = state,
            None => self.sync = state,
        }
    }

    /// Whether the look into the present folder is the first: what came before it cannot be told from what came since by
    /// dates that lie in the future.
    pub fn looks_first(&self) -> bool {
        self.first_look || self.folder_now().is_some_and(|folder| !folder.looked_into)
    }

    /// A catch-up begins with the inbox.
    pub fn begin_catch_up(&mut self) {
        (self.catch_up_at, self.catch_up_offset, self.catch_up_future) = (0, 0, 0);
        self.ids_alone = false;
    }

    /// Goes on with the next folder. False if that was the last one.
    pub fn next_folder(&mut self) -> bool {
        if let Some(folder) = self.folder_now_mut() {
            folder.looked_into = true;
        }
        (self.catch_up_offset, self.catch_up_future) = (0, 0);
        let after = self.folders.iter().enumerate().skip(usize::from(self.catch_up_at));
        let next = after.filter(|(_, folder)| folder.is_watched()).map(|(at, _)| at as u8 + 1).next();
        self.catch_up_at = next.unwrap_or(0);
        next.is_some()
    }
}
