//! What push services and phones can do, in days: limits and windows that change, refusals of each kind, outages, and apps
//! whose users want other things than they did before.
//!
//! A day draws only some of it. What is turned at a push service is turned back after a while, each thing by itself.

mod draw;
mod play;
mod turned;

use carillon_core::shard::DeviceSettings;
use carillon_core::time::Span;

use crate::apns::Goaway;

pub use turned::Turned;

/// One thing that happens to phones or at push services. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names of the parts say it")]
pub enum PhoneAct {
    /// An app registers again, with other settings.
    Choose { user: usize, phone: usize, settings: DeviceSettings },
    /// 429 for one phone.
    Throttle { user: usize, phone: usize, length: Span },
    /// Something is turned at the push services for a while.
    Turn { turned: Turned, length: Span },
    /// SETTINGS in mid-flight, on all connections.
    Announce { entries: Vec<(u16, u32)> },
    /// All connections get GOAWAY.
    SendAway { how: Goaway },
    /// All pushes that wait for an answer get RST_STREAM with this code.
    ResetStreams { code: u32 },
    /// Everybody gets mail in the same moment, with much to tell.
    AllHands,
    /// An app's token is not good any more.
    Expire { user: usize, phone: usize },
    /// An app registers with another token; the one before may stay good.
    Renew { user: usize, phone: usize, stays_good: bool },
    /// A token turns out to be one of the other environment, or of another app, until the app registers again.
    Misplace { user: usize, phone: usize, environment: bool },
    /// A user says which mails go first.
    Prefer { user: usize, importance: bool, sender: bool },
    /// A burst of mail for one user, some of it from a sender who may go first.
    Mixed { user: usize, mails: u64 },
    /// A frame of a kind that nobody knows, on all connections.
    StrangeFrame { kind: u8 },
    /// A user begins to register so many made-up tokens, others after each `every`; or, with a long one, the tokens of
    /// so many test builds. That goes on while the day is examined.
    MakeTokensUp { user: usize, tokens: u64, every: Span },
}

impl PhoneAct {
    /// Whether the engine may not hear, from then on, what happens in mailboxes.
    pub(super) fn deafens(&self) -> bool {
        match self {
            PhoneAct::Choose { .. }
            | PhoneAct::Throttle { .. }
            | PhoneAct::Turn { .. }
            | PhoneAct::Announce { .. }
            | PhoneAct::SendAway { .. }
            | PhoneAct::ResetStreams { .. }
            | PhoneAct::AllHands
            | PhoneAct::Expire { .. }
            | PhoneAct::Renew { .. }
            | PhoneAct::Misplace { .. }
            | PhoneAct::Prefer { .. }
            | PhoneAct::Mixed { .. }
            | PhoneAct::StrangeFrame { .. }
            | PhoneAct::MakeTokensUp { .. } => false,
        }
    }
}
