//! What can happen to single mailboxes of a mail server, and what its front end can say.

mod draw;
mod owner;
mod play;
mod slow;

use carillon_core::time::Span;

use crate::exchange::{BusyShape, Code, Operation, Override, Proxy, Version};

pub(super) use owner::Discovery;

/// One thing that happens to a mailbox, a stream or a whole mail server. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names of the parts say it")]
pub enum MailboxAct {
    /// A mailbox moves to another back end of its server.
    MoveBackEnd { user: usize, back_end: usize },
    /// A mailbox is on its way to another server for a while; from then on `code` is said of it where it was.
    MoveServer { user: usize, server: usize, length: Span, code: Code },
    /// A mailbox cannot be reached for a while.
    Offline { user: usize, code: Code, length: Span },
    /// A mailbox has no owner for a while: its address is nobody's.
    Disconnect { user: usize, length: Span },
    /// A mailbox gets another address. Those who look it up hear of it so much later.
    Rename { user: usize, number: u64, told_after: Span },
    /// The budget of one mailbox is exhausted. `mute`: for how long is not said.
    Busy { user: usize, length: Span, shape: BusyShape, mute: bool },
    /// Events of a mailbox are lost, and its reader is told so.
    MissEvents { user: usize },
    /// A stream names one mailbox's subscription with a code.
    FailSubscription { user: usize, code: Code },
    /// A stream ends with a code.
    FailStream { stream: usize, code: Code },
    /// Calls on one mailbox are refused.
    Refuse { user: usize, operation: Operation, times: u32, code: Code, fault: bool },
    /// The next requests are answered by something that stands before the mail server.
    FrontEnd { server: usize, requests: u32, only: Option<Operation>, answer: Override },
    /// A mail server speaks in another manner for a while.
    Speak { server: usize, manner: Manner, length: Span },
    /// A stream gets no heartbeats any more.
    StopHeartbeats { stream: usize },
    /// Bytes that are no answer stand in a stream.
    Garbage { stream: usize, kind: Garbage },
    /// A mail that the mail server cannot read itself.
    CorruptMail { user: usize },
    /// A user marks one of his mails as unread again.
    UnreadAgain { user: usize, mail: usize },
    /// A user copies one of his mails into a folder.
    Copy { user: usize, mail: usize, to: super::plan::Place },
    /// Another owner of the same account takes a stream over.
    TakeOver { stream: usize },
    /// A mailbox's database hangs for a while: calls are answered so much later, or never.
    Hang { user: usize, answer_after: Option<Span>, length: Span },
    /// Something before a mail server does not let streams through for a while.
    Obstruct { server: usize, proxy: Proxy, length: Span },
    /// From the day's begin a mail server is older than others.
    Age { server: usize, version: Version },
}

/// How a mail server can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Faults come in SOAP 1.2.
    Soap12,
    /// A stream with a bad id ends, in place of keeping silent.
    EndsOnBadIds,
    /// What is said comes in small writes.
    SmallWrites,
    /// Quiet streams get no heartbeats.
    NoHeartbeats,
    /// Who is impersonated by `PrimarySmtpAddress` is told nothing.
    MutePrimary,
}

/// What can stand in a stream that does not belong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Garbage {
    NotXml,
    NotSoap,
    UnknownSubscription,
    Oversized,
}

/// What ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// A mailbox can be reached again.
    Online { user: usize },
    /// A mailbox arrives at another server.
    Arrival { user: usize, server: usize, code: Code },
    /// A mailbox has an owner again.
    Reconnected { user: usize },
    /// The owner hears of a mailbox's new address.
    Heard { user: usize },
    /// A mailbox's calls are answered as ever.
    Prompt { user: usize },
    /// Streams of a mail server pass again.
    Free { server: usize },
    /// A mail server speaks as ever.
    Manner { server: usize, manner: Manner },
}

impl MailboxAct {
    /// How long it lasts, if what it deafens may seem to hear.
    pub(super) fn deafens_for(&self) -> Span {
        match self {
            MailboxAct::Obstruct { length, .. } => *length,
            _ => Span::ZERO,
        }
    }

    /// Whether the engine may not hear, from then on, what happens in mailboxes.
    pub(super) fn deafens(&self) -> bool {
        match self {
            MailboxAct::MoveBackEnd { .. }
            | MailboxAct::MoveServer { .. }
            | MailboxAct::Offline { .. }
            | MailboxAct::Disconnect { .. }
            | MailboxAct::Rename { .. }
            | MailboxAct::Busy { .. }
            | MailboxAct::MissEvents { .. }
            | MailboxAct::FailSubscription { .. }
            | MailboxAct::FailStream { .. }
            | MailboxAct::Refuse { .. }
            | MailboxAct::FrontEnd { .. }
            | MailboxAct::Speak { .. }
            | MailboxAct::StopHeartbeats { .. }
            | MailboxAct::Garbage { .. }
            | MailboxAct::Hang { .. }
            | MailboxAct::Obstruct { .. }
            | MailboxAct::TakeOver { .. } => true,
            MailboxAct::CorruptMail { .. }
            | MailboxAct::UnreadAgain { .. }
            | MailboxAct::Copy { .. }
            | MailboxAct::Age { .. } => false,
        }
    }
}
