//! What Carillon remembers over restarts: the store's face and its rows.
//!
//! [`Store`] is all that the rest of the service knows of a database. [`sqlite`] stands behind it on one node.

pub mod sqlite;

use std::future::Future;
use std::pin::Pin;

use carillon_core::names::{DeviceKey, DeviceToken, FolderId, SmtpAddress, Topic, UserKey};
use carillon_core::shard::{
    DeviceSettings, FolderSync, NoticeRecord, UnsettledNotice, VipRules, WatchRecord,
};
use carillon_core::time::UnixMillis;

use crate::ids::{DeviceId, UserId};

/// What a store's verb gives: boxed, so that the store behind `dyn Store` is chosen at run time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A database of registrations and of what the engine wants kept.
///
/// Every verb is all or nothing. What [`Store::write`] answered survives the end of the process at once, and a loss of
/// power after the next [`Store::sync`].
pub trait Store: Send + Sync {
    /// Does all of `batch`, in order, in one transaction; one answer each. On an error nothing of it was done.
    fn write<'a>(&'a self, batch: &'a [Write]) -> Answer<'a, Vec<Wrote>>;

    /// Keeps what the engine reported, with the journal positions that it covers, in one transaction. Returns the devices
    /// that were deleted because the provider calls them gone.
    fn save<'a>(&'a self, batch: &'a Keep) -> Answer<'a, Vec<RemovedDevice>>;

    /// One user with his devices.
    fn user<'a>(&'a self, id: &'a UserId) -> Answer<'a, Option<UserRow>>;

    /// At most `limit` users with keys above `after`, in order of key.
    fn page(&self, after: UserKey, limit: u32) -> Answer<'_, Vec<UserRow>>;

    /// How far the engine's journal is stored.
    fn positions(&self) -> Answer<'_, Vec<Position>>;

    /// The journal was emptied: forgets all positions.
    fn forget_positions(&self) -> Answer<'_, ()>;

    /// The provider token last minted for this signing key, sealed ([`crate::seal`]).
    fn team_token<'a>(&'a self, team_id: &'a str, key_id: &'a str) -> Answer<'a, Option<TokenRow>>;

    /// Keeps a provider token.
    fn put_team_token<'a>(&'a self, token: &'a TokenRow) -> Answer<'a, ()>;

    /// Whether the store can be read and written right now.
    fn probe(&self) -> Answer<'_, ()>;

    /// Brings everything committed so far onto the disk, so that a loss of power takes none of it.
    fn sync(&self) -> Answer<'_, ()>;

    /// Ends the use of the store, leaving it tidy.
    fn close(&self) -> Answer<'_, ()>;
}

/// A change that somebody asked for and waits for.
#[derive(Clone, Debug)]
pub enum Write {
    /// Adds or refreshes a device, and its user if he is new.
    Register(Box<RegisterWrite>),
    /// The device's app was used; an older time than the stored one changes nothing.
    Touch {
        /// Whose.
        user: UserId,
        /// Which.
        device: DeviceId,
        /// When.
        at: UnixMillis,
    },
    /// Removes a device, and its user if it was his last.
    RemoveDevice {
        /// Whose.
        user: UserId,
        /// Which.
        device: DeviceId,
    },
    /// Stops all notifications of the user: each device that he has now gets nothing until it registers again.
    StopUser {
        /// Whom.
        user: UserId,
    },
    /// Removes the user with all his devices.
    RemoveUser {
        /// Whom.
        user: UserId,
    },
}

/// A registration with all names resolved.
#[derive(Clone, Debug)]
pub struct RegisterWrite {
    /// The caller's id of the user.
    pub user: UserId,
    /// The caller's id of the device.
    pub device: DeviceId,
    /// The mailbox.
    pub address: SmtpAddress,
    /// Name of the `[[exchange]]` that serves it; `None` where none is configured.
    pub exchange: Option<Box<str>>,
    /// Exchange's `GroupingInformation`; `None` leaves the one that is there.
    pub grouping: Option<Box<str>>,
    /// New VIP rules; `None` leaves those that are there.
    pub vip: Option<VipRules>,
    /// Folders to watch beside the inbox; `None` leaves those that are there.
    pub folders: Option<Vec<FolderId>>,
    /// Name of the `[[push]]` through which the device is reached.
    pub push: Box<str>,
    /// Its token.
    pub token: DeviceToken,
    /// Its app.
    pub topic: Topic,
    /// The present.
    pub registered: UnixMillis,
    /// When the app was last used.
    pub active: UnixMillis,
    /// What its user wants to see.
    pub settings: DeviceSettings,
    /// Whether this is the device's own word, which ends a stop. An import is not.
    pub revives: bool,
}

/// What became of a [`Write`].
#[derive(Clone, Debug)]
pub enum Wrote {
    /// Registered.
    Registered(Box<RegisteredRow>),
    /// The app's use was noted.
    Touched {
        /// Whose.
        user: UserKey,
        /// Which.
        device: DeviceKey,
        /// The time now stored.
        at: UnixMillis,
    },
    /// The device is gone.
    DeviceRemoved {
        /// Whose.
        user: UserKey,
        /// Which.
        device: DeviceKey,
        /// Whether the user went with it.
        last: bool,
    },
    /// The user is stopped.
    Stopped {
        /// Whom.
        user: UserKey,
        /// Whether all devices were before.
        already: bool,
    },
    /// The user is gone.
    UserRemoved {
        /// Whom.
        user: UserKey,
        /// How many devices went with him.
        devices: u32,
    },
    /// There is no such user or device: nothing changed.
    NotFound,
}

/// What a registration changed.
#[derive(Clone, Debug)]
pub struct RegisteredRow {
    /// The device as it is now.
    pub device: DeviceRow,
    /// Whether the device was not there before.
    pub new_device: bool,
    /// Whether the user was not there before.
    pub new_user: bool,
    /// Whether a user who was there has another address or Exchange now.
    pub moved: bool,
    /// The user's key.
    pub user: UserKey,
    /// The whole user, where he is new or his own facts (address, server, grouping, VIP) changed.
    pub assign: Option<Box<UserRow>>,
    /// Devices that gave way: the same token under another name (a phone has one owner), or one too many.
    pub removed: Vec<RemovedDevice>,
}

/// A device that gave way to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedDevice {
    /// Whose it was.
    pub user: UserKey,
    /// Which it was.
    pub device: DeviceKey,
    /// Whether its user went with it.
    pub last: bool,
}

/// A user with all that is kept of him.
#[derive(Clone, Debug)]
pub struct UserRow {
    /// The engine's name for him; never used again for another.
    pub key: UserKey,
    /// The caller's id.
    pub id: UserId,
    /// His mailbox.
    pub address: SmtpAddress,
    /// Name of the `[[exchange]]` that serves it; `None` where none is configured.
    pub exchange: Option<Box<str>>,
    /// Exchange's `GroupingInformation`.
    pub grouping: Box<str>,
    /// Which mails go first.
    pub vip: VipRules,
    /// Folders that are watched beside the inbox.
    pub folders: Vec<FolderId>,
    /// Up to where his folders were synchronised.
    pub sync: Vec<FolderSync>,
    /// His subscription.
    pub watch: Option<WatchRecord>,
    /// How far his mail was dealt with.
    pub notices: NoticeRecord,
    /// His devices, in order of key.
    pub devices: Vec<DeviceRow>,
}

impl UserRow {
    /// Whether nothing is sent to any device.
    pub fn is_stopped(&self) -> bool {
        !self.devices.is_empty() && self.devices.iter().all(|device| device.stopped)
    }
}

/// A device with all that is kept of it.
#[derive(Clone, Debug)]
pub struct DeviceRow {
    /// The engine's name for it; never used again for another.
    pub key: DeviceKey,
    /// The caller's id.
    pub id: DeviceId,
    /// Name of the `[[push]]` through which it is reached.
    pub push: Box<str>,
    /// Its token.
    pub token: DeviceToken,
    /// Its app.
    pub topic: Topic,
    /// When it was last registered.
    pub registered: UnixMillis,
    /// When its app was last used.
    pub active: UnixMillis,
    /// What its user wants to see.
    pub settings: DeviceSettings,
    /// Its user was stopped, and it has not registered since.
    pub stopped: bool,
    /// The badge that the provider last accepted.
    pub badge: Option<u32>,
    /// A notice whose fate is unknown.
    pub unsettled: Option<UnsettledNotice>,
}

impl DeviceRow {
    /// As it stands right after this registration: nothing was sent to it yet.
    pub fn new(key: DeviceKey, register: &RegisterWrite) -> DeviceRow {
        DeviceRow {
            key,
            id: register.device.clone(),
            push: register.push.clone(),
            token: register.token.clone(),
            topic: register.topic.clone(),
            registered: register.registered,
            active: register.active,
            settings: register.settings.clone(),
            stopped: false,
            badge: None,
            unsettled: None,
        }
    }
}

/// What the engine wants kept, at most one of each kind for one user or device: the last word wins.
#[derive(Clone, Debug, Default)]
pub struct Keep {
    /// Subscriptions.
    pub watches: Vec<(UserKey, WatchRecord)>,
    /// How far mail was dealt with.
    pub notices: Vec<(UserKey, NoticeRecord)>,
    /// Up to where folders were synchronised.
    pub syncs: Vec<(UserKey, Vec<FolderSync>)>,
    /// Badge and notice on its way.
    pub devices: Vec<(DeviceKey, Option<u32>, Option<UnsettledNotice>)>,
    /// Registrations that the provider calls gone. Each is deleted only if it was not renewed after the given time.
    pub gone: Vec<(DeviceKey, UnixMillis)>,
    /// How far the journal is covered by all this.
    pub positions: Vec<Position>,
}

impl Keep {
    /// How many rows it changes.
    pub fn rows(&self) -> usize {
        self.watches.len() + self.notices.len() + self.syncs.len() + self.devices.len() + self.gone.len()
    }

    /// Adds `more`.
    pub fn extend(&mut self, more: Keep) {
        self.watches.extend(more.watches);
        self.notices.extend(more.notices);
        self.syncs.extend(more.syncs);
        self.devices.extend(more.devices);
        self.gone.extend(more.gone);
        self.positions.extend(more.positions);
    }

    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0 && self.positions.is_empty()
    }
}

/// A place in the engine's journal: everything of this epoch and shard up to `seq` is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Which life of the engine.
    pub epoch: u64,
    /// Which shard.
    pub shard: u16,
    /// Up to which report.
    pub seq: u64,
}

/// A provider token as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// The developer team.
    pub team_id: Box<str>,
    /// The signing key.
    pub key_id: Box<str>,
    /// The token's `iat`.
    pub issued: UnixMillis,
    /// The JWT, sealed.
    pub sealed: Vec<u8>,
}

/// Why the store failed. The text names the file and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Somebody else holds the database: another process works on it. Tried again by itself.
    #[error("{0}")]
    Locked(String),
    /// No room on the disk. Tried again by itself.
    #[error("{0}")]
    Full(String),
    /// What is stored cannot be understood: the file is damaged, or of a newer version.
    #[error("{0}")]
    Damaged(String),
    /// Reading or writing failed in another way (permissions, a missing folder, an I/O error).
    #[error("{0}")]
    Failed(String),
}
