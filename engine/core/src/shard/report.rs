//! What a shard tells its owner. Every report is small, and none carries a mail's text.

use super::command::UnsettledNotice;
use super::config::{MailServerId, PushServiceId, TeamId};
use crate::names::{DeviceKey, FolderId, SmtpAddress, SubscriptionId, UserKey};
use crate::time::UnixMillis;

/// A report.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// The mailbox is subscribed under this record, or what was stored is about something else by now: store it.
    Watched {
        /// Whose.
        user: UserKey,
        /// What to hand back at the next start.
        watch: WatchRecord,
    },
    /// The user's mailbox is on an open stream and caught up.
    Live {
        /// Whose.
        user: UserKey,
    },
    /// No stream tells of the user's mailbox. It is looked into about once a minute instead, and what has come is told; streams
    /// are tried all the while.
    Polled {
        /// Whose.
        user: UserKey,
        /// What the last stream failed of, and what to do.
        trouble: Trouble,
    },
    /// The user's mailbox is not watched at the moment.
    Unwatched {
        /// Whose.
        user: UserKey,
        /// Why, and what to do.
        trouble: Trouble,
    },
    /// Something in the user's mailbox cannot be read: it is told, but without sender, subject and preview. The mailbox is
    /// watched all the same.
    Unreadable {
        /// Whose.
        user: UserKey,
        /// What could not be read, and what to do; `None` when everything can be read again.
        trouble: Option<Trouble>,
    },
    /// The user's mailbox is not where it was looked for: discover its server anew (at most every 15 minutes for one
    /// mailbox), and assign the user again if it is elsewhere. Meanwhile it is tried where it was.
    Misplaced {
        /// Whose.
        user: UserKey,
        /// What the server said, and what to do.
        trouble: Trouble,
    },
    /// Another owner took the stream of the user's mailbox over. Nothing more is asked for this mailbox until
    /// [`super::Command::AssignUser`] says that it is still this shard's own, or [`crate::limits::STEP_ASIDE_RETRY`] is
    /// over. If it is not: [`super::Command::DropUser`], which then leaves the subscription alone.
    Taken {
        /// Whose.
        user: UserKey,
        /// What happened, and what to do.
        trouble: Trouble,
    },
    /// The user's notices moved on: store it.
    Noticed {
        /// Whose.
        user: UserKey,
        /// What to hand back at the next start.
        notices: NoticeRecord,
    },
    /// Up to where a user's folders were synchronised ([`super::CatchUp::Sync`]), and all mail up to there dealt with:
    /// store it in place of what was stored.
    Synced {
        /// Whose.
        user: UserKey,
        /// What to hand back at the next start.
        folders: Vec<FolderSync>,
    },
    /// A notice leaves for a device, or has been settled: store it. It is written to the shard's journal before the push.
    Device {
        /// Whose.
        user: UserKey,
        /// Which.
        device: DeviceKey,
        /// The badge that the provider last accepted.
        badge: Option<u32>,
        /// The notice now on its way.
        unsettled: Option<UnsettledNotice>,
    },
    /// The provider says that this registration is gone, and it is not older than that news: delete it.
    DeviceGone {
        /// Whose.
        user: UserKey,
        /// Which.
        device: DeviceKey,
        /// Since when, where the provider says so.
        since: Option<UnixMillis>,
    },
    /// A push was given up, or a device's token is not known: these mails are not told to this device. At most
    /// [`crate::limits::GIVEN_UP_PER_MINUTE`] of these for each provider.
    GivenUp {
        /// Whose.
        user: UserKey,
        /// Which.
        device: DeviceKey,
        /// At which provider.
        service: PushServiceId,
        /// What the provider said, or why we gave up.
        trouble: Trouble,
        /// Pushes that were given up before without a report: there were too many at once.
        unreported: u32,
    },
    /// The provider calls the team's token stale or wants none newer: mint or wait ([`crate::push::Outcome::AuthStale`]).
    TeamTokenStale {
        /// Which team.
        team: TeamId,
        /// The `iat` of the token that was refused.
        issued: UnixMillis,
    },
    /// A mail server refuses the credential. Nothing more is sent there until another one comes.
    MailCredentialRefused {
        /// Which server.
        server: MailServerId,
        /// The server's own words, bounded.
        trouble: Trouble,
    },
    /// A mail server no longer takes a bearer token that has worked: hand in another one
    /// ([`super::Command::SetMailCredential`]). Until then streams that live go on, and nothing new is asked. A token
    /// that has never worked is a [`Report::MailCredentialRefused`].
    MailTokenStale {
        /// Which server.
        server: MailServerId,
        /// The server's own words, bounded.
        trouble: Trouble,
    },
    /// A mail server works again after a [`Report::MailCredentialRefused`], [`Report::MailTokenStale`] or
    /// [`Report::MailServerTrouble`].
    MailServerWell {
        /// Which.
        server: MailServerId,
    },
    /// Folders beside the inbox that are chosen and cannot be watched: all of the user's, until they are chosen anew.
    FoldersDropped {
        /// Whose.
        user: UserKey,
        /// Which, and why.
        folders: Vec<DroppedFolder>,
    },
    /// A mail server has a peculiarity that it is served by from now on, until the shard starts anew. Nothing is wrong.
    MailServerNoted {
        /// Which.
        server: MailServerId,
        /// What was noticed, and how it is served.
        note: Trouble,
    },
    /// A mail server cannot be reached, or misbehaves; it is tried again by itself.
    MailServerTrouble {
        /// Which.
        server: MailServerId,
        /// What is wrong.
        trouble: Trouble,
    },
    /// A provider cannot be reached or refuses everything; it is tried again by itself.
    PushServiceTrouble {
        /// Which.
        service: PushServiceId,
        /// What is wrong.
        trouble: Trouble,
    },
    /// A provider works again.
    PushServiceWell {
        /// Which.
        service: PushServiceId,
    },
    /// After [`super::Command::Drain`]: nothing is in flight any more.
    Drained,
}

/// A folder that cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedFolder {
    /// Which.
    pub id: FolderId,
    /// Why, and what to do.
    pub trouble: Trouble,
}

/// Who is at fault, what happened, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// A stable name for metrics and alarms, such as `ErrorServerBusy` or `tls_untrusted`.
    pub code: Box<str>,
    /// One sentence for a person: what happened and what to do. Without secrets and mail texts.
    pub text: Box<str>,
}

/// What is stored of a user's subscription. Handed back, it spares a new one if the server still knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRecord {
    /// The subscription; `None` while there is none (the user was seen, but must be subscribed anew).
    pub subscription: Option<SubscriptionId>,
    /// The mailbox that the cohort's connection is routed by.
    pub anchor: SmtpAddress,
    /// Of the cohort's cookies (`name=value; name=value`) those that lead to the server that holds the subscription; no sessions.
    pub cookie: Box<str>,
}

/// Up to where a folder was synchronised.
#[derive(Clone, PartialEq, Eq)]
pub struct FolderSync {
    /// Which; `None` is the inbox.
    pub folder: Option<FolderId>,
    /// The mail server's `SyncState`, at most [`crate::limits::SYNC_STATE_BYTES_MAX`] bytes that only it understands.
    pub state: Box<str>,
}

/// Without the state, which is long and tells nothing.
impl std::fmt::Debug for FolderSync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FolderSync({:?}, {} bytes)", self.folder, self.state.len())
    }
}

/// What is stored of a user's notices: enough that a mail is neither lost nor told twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoticeRecord {
    /// Every mail received before this was dealt with, by the mail server's clock. Zero as long as that is not known.
    pub sync_point: UnixMillis,
    /// When the user was registered, by the clock of this service, as long as nobody has looked into his mailbox.
    pub began: Option<UnixMillis>,
    /// Mails after that which were dealt with, at most [`crate::limits::TOLD_ITEMS_GAP_MAX`], in the order of learning. Before
    /// them there may be one whose hash is all ones, which is no mail: of mails dated in the future, those up to its date were
    /// dealt with, too.
    pub told: Vec<ToldMail>,
    /// Unread mails in the inbox, as last heard.
    pub unread: Option<u32>,
}

/// A mail that was dealt with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToldMail {
    /// Its name ([`crate::user::item_hash`]).
    pub hash: u64,
    /// When the mail server received it.
    pub received: UnixMillis,
}

impl ToldMail {
    /// Both parts, little-endian, for stores and journals.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.hash) | u128::from(self.received.0) << 64).to_le_bytes()
    }

    /// The inverse of [`ToldMail::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> ToldMail {
        let both = u128::from_le_bytes(bytes);
        ToldMail { hash: both as u64, received: UnixMillis((both >> 64) as u64) }
    }
}
