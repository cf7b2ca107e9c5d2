//! What the owner of the engine can ask of a shard.

use std::sync::Arc;

use super::config::{MailServerId, PushServiceId, TeamId, Timing};
use super::report::{FolderSync, NoticeRecord, WatchRecord};
use crate::names::{DeviceKey, DeviceToken, FolderId, SmtpAddress, Topic, UserKey};
use crate::signal::MailSignal;
use crate::time::UnixMillis;

/// A command. Commands about a user that the shard does not know are answered by silence: the owner may have dropped
/// him a moment ago.
#[derive(Clone, Debug)]
pub enum Command {
    /// Watch this user's mailbox from now on. For a user already assigned: his address, server, grouping, folders and rules
    /// are replaced, what waits is kept, and a mailbox that could not be watched is tried at once.
    AssignUser(Box<AssignUser>),
    /// Forget the user and his devices; unsubscribe.
    DropUser {
        /// Whom.
        user: UserKey,
    },
    /// Add or refresh a device. A refresh renews token, settings, `registered`, `active` and `stopped`; of the user's other
    /// devices nothing changes.
    RegisterDevice {
        /// Whose.
        user: UserKey,
        /// What.
        device: Box<DeviceSpec>,
    },
    /// Forget a device.
    RemoveDevice {
        /// Whose.
        user: UserKey,
        /// Which.
        device: DeviceKey,
    },
    /// The device's app was used: details may be shown again, and `unseen` begins anew.
    TouchDevice {
        /// Whose.
        user: UserKey,
        /// Which.
        device: DeviceKey,
        /// When.
        at: UnixMillis,
    },
    /// Stop all notifications of the user at once: each device that he has now gets nothing until it registers again.
    StopUser {
        /// Whom.
        user: UserKey,
    },
    /// A mail source outside the engine (Graph, an embedder) tells of a change.
    Signal {
        /// Whose mailbox.
        user: UserKey,
        /// What changed.
        signal: MailSignal,
    },
    /// The provider token that all lanes of this team present from now on.
    SetTeamToken {
        /// Which team.
        team: TeamId,
        /// The JWT, without `bearer`.
        jwt: Arc<str>,
        /// Its `iat`.
        issued: UnixMillis,
    },
    /// The credential for a mail server, new or corrected. Work that an authentication failure stopped starts again.
    SetMailCredential {
        /// Which server.
        server: MailServerId,
        /// The credential.
        credential: MailCredential,
    },
    /// New times and intervals.
    SetTiming(Timing),
    /// Send what is due, take no more on, and report [`super::Report::Drained`] when nothing is in flight.
    Drain,
}

/// A user with all that the engine keeps of him.
#[derive(Clone, Debug)]
pub struct AssignUser {
    /// His stable id.
    pub user: UserKey,
    /// His mailbox's address.
    pub address: SmtpAddress,
    /// Where his mailbox is; `None` when only signals from outside tell of it.
    pub server: Option<MailServerId>,
    /// Exchange's `GroupingInformation`: only users with the same one share a streaming connection.
    pub grouping: Box<str>,
    /// Folders to watch beside the inbox and those that the server's configuration names: at most
    /// [`crate::limits::USER_FOLDERS_MAX`] together.
    pub folders: Vec<FolderId>,
    /// What was last stored of his folders' states ([`super::Report::Synced`]).
    pub sync: Vec<FolderSync>,
    /// What was last stored of his watch; `None` for a new user, whose mailbox is watched from now on, and for one who comes
    /// from another shard: the one that was told to drop him gives his subscription back.
    pub watch: Option<WatchRecord>,
    /// What was last stored of his notices.
    pub notices: NoticeRecord,
    /// Which mails go first.
    pub vip: VipRules,
    /// His devices.
    pub devices: Vec<DeviceSpec>,
}

impl AssignUser {
    /// Somebody of whom nothing is stored yet, without devices and wishes.
    pub fn new(user: UserKey, address: SmtpAddress, server: Option<MailServerId>) -> AssignUser {
        AssignUser {
            user,
            address,
            server,
            grouping: "".into(),
            folders: Vec::new(),
            sync: Vec::new(),
            watch: None,
            notices: NoticeRecord::default(),
            vip: VipRules::default(),
            devices: Vec::new(),
        }
    }
}

/// Which mails are important enough to shorten the wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipRules {
    /// Mails that the sender marked with high importance.
    pub high_importance: bool,
    /// Mails from these addresses, in lower case.
    pub senders: Box<[Box<str>]>,
}

impl VipRules {
    /// Whether no rule is set.
    pub fn is_empty(&self) -> bool {
        !self.high_importance && self.senders.is_empty()
    }
}

/// One registration.
#[derive(Clone, Debug)]
pub struct DeviceSpec {
    /// Its stable id.
    pub device: DeviceKey,
    /// Through which provider, environment and credential it is reached.
    pub service: PushServiceId,
    /// Its token.
    pub token: DeviceToken,
    /// The app.
    pub topic: Topic,
    /// When the token was last registered: a provider's "gone since" from before does not count.
    pub registered: UnixMillis,
    /// When the app was last used.
    pub active: UnixMillis,
    /// What its user wants to see.
    pub settings: DeviceSettings,
    /// Nothing is sent to it: its user was stopped, and it has not registered since.
    pub stopped: bool,
    /// The badge that the provider last accepted for it.
    pub badge: Option<u32>,
    /// A notice that was on its way when the engine last stopped.
    pub unsettled: Option<UnsettledNotice>,
}

/// A notice whose fate is unknown: it may have been accepted. It is sent again with the same `apns-id`, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsettledNotice {
    /// The id under which it was sent.
    pub apns_id: u128,
    /// How many mails it tells of.
    pub mails: u16,
    /// The newest of them ([`crate::user::item_hash`]).
    pub newest: u64,
}

/// What the user of a device wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSettings {
    /// Alerts for new mail; without, the device gets badges only.
    pub alerts: bool,
    /// Sender, subject and preview in alerts (within the detail cut-off).
    pub details: bool,
    /// The number on the app's icon.
    pub badge: bool,
    /// Whether the app has texts for `loc-key`s; otherwise generic texts are sent in English.
    pub localized: bool,
    /// The sound of alerts: a file name in the app, `default`, or none.
    pub sound: Option<Box<str>>,
    /// The sound of VIP alerts; as `sound` when there is none.
    pub vip_sound: Option<Box<str>>,
}

impl Default for DeviceSettings {
    fn default() -> DeviceSettings {
        DeviceSettings {
            alerts: true,
            details: true,
            badge: true,
            localized: true,
            sound: Some("default".into()),
            vip_sound: None,
        }
    }
}

/// How the engine shows a mail server who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum MailCredential {
    /// HTTP Basic over TLS (RFC 7617).
    Basic {
        /// `DOMAIN\user` or a UPN.
        user: Box<str>,
        /// The password.
        password: Box<str>,
    },
    /// An OAuth access token (RFC 6750).
    Bearer {
        /// The token.
        token: Box<str>,
    },
    /// Nothing in HTTP: the TLS client certificate of the endpoint says it.
    ClientCertificate,
}

impl std::fmt::Debug for MailCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            MailCredential::Basic { .. } => "Basic(…)",
            MailCredential::Bearer { .. } => "Bearer(…)",
            MailCredential::ClientCertificate => "ClientCertificate",
        })
    }
}
