//! What can happen on a day.

use carillon_core::time::Span;

use super::super::disk::DiskAct;
use super::super::folders::FolderAct;
use super::super::mailboxes::MailboxAct;
use super::super::oddities::OddAct;
use super::super::owner::OwnerAct;
use super::super::phones::PhoneAct;
use super::super::registrations::RegistrationAct;
use super::super::strays::StrayAct;
use crate::exchange::BusyShape;

/// One thing that happens. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names of the parts say it")]
pub enum Act {
    /// So many mails for one user at once.
    Mail { user: usize, mails: u64, vip: bool },
    /// A rule puts a user's mail into another folder as it arrives.
    RuledMail { user: usize, to: Place },
    /// A user moves one of his mails elsewhere; one from the inbox as soon as it is there is what a program's rule does.
    Move { user: usize, mail: usize, to: Place },
    /// As `Move`, of the mail that came last.
    MoveLast { user: usize, to: Place },
    /// A user reads one of his mails elsewhere.
    Read { user: usize, mail: usize },
    /// A user deletes one of his mails elsewhere.
    Delete { user: usize, mail: usize },
    /// An app is used.
    UseApp { user: usize, phone: usize },
    /// An app registers again.
    Register { user: usize, phone: usize },
    /// An app is removed from its phone.
    Uninstall { user: usize, phone: usize },
    /// Notifications of a user are stopped.
    Stop { user: usize },
    /// A shard's process dies and starts again.
    Crash { shard: usize },
    /// A stream is cut after so many bytes.
    CutStream { stream: usize, after_bytes: u64, reset: bool },
    /// A stream says nothing any more.
    SilenceStream { stream: usize, blackhole: bool },
    /// A stream is closed in good order before its time.
    CloseStream { stream: usize },
    /// A back end restarts: its subscriptions are gone.
    RestartBackEnd { back_end: usize },
    /// The mail server is busy.
    Busy { length: Span, shape: BusyShape },
    /// The next requests get an answer that is no answer.
    Nonsense { requests: u32, kind: u8 },
    /// A mailbox's subscription dies.
    LoseSubscription { user: usize, kind: u8 },
    /// The stream of a user says nothing any more, and what it would have said is lost.
    Deafen { user: usize },
    /// The push service takes a live token for gone since yesterday, in so many answers.
    Distrust { user: usize, phone: usize, answers: u32 },
    /// A push connection gets GOAWAY.
    Goaway { unprocessed: u32 },
    /// A push connection is reset.
    ResetLane,
    /// A push connection goes silent.
    SilenceLane,
    /// Something is wrong with the push service for a while.
    PushTrouble { kind: u8, share: u32, length: Span },
    /// The network resets connections and refuses new ones for a while.
    BadNetwork { resets: u64, refused: u64, length: Span },
    /// Something else is wrong with the network for a while, in so many of a million cases; slow connections are slower
    /// by up to so many microseconds.
    Network { kind: NetTrouble, share: u64, length: Span },
    /// The power of the engine's machine fails: what was written within the last `tail` is gone.
    PowerFailure { tail: Span },
    /// The mail server's clock is set.
    MailClock { ahead_ms: i64 },
    /// The push service's clock is set.
    PushClock { ahead_ms: i64 },
    /// Something happens to phones or at push services.
    Phones(PhoneAct),
    /// A mail server does not understand its earlier states of synchronisation any more.
    ForgetSyncStates { server: usize },
    /// The owner of the engine does something.
    Owner(OwnerAct),
    /// Something happens to a mailbox, or a mail server says so.
    Mailboxes(MailboxAct),
    /// Something happens to people's own folders.
    Folders(FolderAct),
    /// Something odd happens.
    Odd(OddAct),
    /// Something happens to the disk on which the engine writes down what must survive.
    Disk(DiskAct),
    /// Registrations contradict each other.
    Registrations(RegistrationAct),
    /// A mail server gives odd answers for a moment.
    Strays(StrayAct),
}

/// Where a mail can lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the inbox.
    Inbox,
    /// In the folder that its owner has chosen to be watched, too.
    Chosen,
    /// In a folder that nobody watches.
    Elsewhere,
}

/// What a network can do besides resetting and refusing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetTrouble {
    /// Connections stand still without a word, some of them for ever.
    Stalls,
    /// The far end's last word is lost: it ends its side, goes on reading for a while.
    HalfCloses,
    /// Connects end with a name that does not resolve, a certificate nobody trusts, a broken handshake.
    FailedHandshakes,
    /// New connections are slow, each in its own way: what is said on one overtakes what was said on another.
    SlowConnections,
    /// Messages come byte by byte, each up to so many microseconds after the one before.
    Crumbs,
}

impl Act {
    /// Whether a shard's process dies of it.
    pub(in super::super) fn kills(&self) -> bool {
        match self {
            Act::Owner(act) => act.kills(),
            Act::Disk(act) => act.kills(),
            other => matches!(other, Act::Crash { .. } | Act::PowerFailure { .. }),
        }
    }

    /// Whether a mail server may say of something, because of it, that it will last: the engine waits for up to an hour then.
    pub(in super::super) fn lasts(&self) -> bool {
        match self {
            Act::Mailboxes(act) => act.deafens() || matches!(act, MailboxAct::Age { .. }),
            other => matches!(other, Act::Owner(act) if act.lasts()),
        }
    }

    /// Whether the engine may not hear, from then on, what happens in mailboxes.
    pub(in super::super) fn deafens(&self) -> bool {
        match self {
            Act::Mailboxes(act) => act.deafens(),
            Act::Folders(act) => act.deafens(),
            Act::Disk(act) => act.kills(),
            Act::Crash { .. }
            | Act::CutStream { .. }
            | Act::SilenceStream { .. }
            | Act::CloseStream { .. }
            | Act::RestartBackEnd { .. }
            | Act::Busy { .. }
            | Act::Nonsense { .. }
            | Act::LoseSubscription { .. }
            | Act::Deafen { .. }
            | Act::BadNetwork { .. }
            | Act::Network { .. }
            | Act::Strays(_)
            | Act::PowerFailure { .. } => true,
            Act::Owner(act) => act.deafens(),
            Act::Phones(act) => act.deafens(),
            Act::Registrations(act) => act.deafens(),
            Act::Mail { .. }
            | Act::RuledMail { .. }
            | Act::Move { .. }
            | Act::MoveLast { .. }
            | Act::Read { .. }
            | Act::Delete { .. }
            | Act::UseApp { .. }
            | Act::Register { .. }
            | Act::Uninstall { .. }
            | Act::Stop { .. }
            | Act::Distrust { .. }
            | Act::Goaway { .. }
            | Act::ResetLane
            | Act::SilenceLane
            | Act::PushTrouble { .. }
            | Act::Odd(_)
            | Act::MailClock { .. }
            | Act::PushClock { .. }
            | Act::ForgetSyncStates { .. } => false,
        }
    }
}

impl Place {
    pub(super) const ALL: [Place; 3] = [Place::Inbox, Place::Chosen, Place::Elsewhere];
}
