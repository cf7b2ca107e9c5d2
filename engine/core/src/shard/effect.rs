//! What comes out of a shard.

use super::account::AccountWord;
use super::config::{EndpointId, MailServerId};
use super::input::ConnId;
use super::report::Report;
use super::stats::PushTimes;

/// One thing that the shell is to do.
#[derive(Debug)]
pub enum Effect {
    /// Connect to `endpoint` (resolve, TCP, TLS, ALPN), then say [`super::Input::Opened`] or [`super::Input::Closed`].
    Open {
        /// The name that the connection will go by.
        conn: ConnId,
        /// Where to.
        endpoint: EndpointId,
    },
    /// The connection has bytes to write: call [`super::ShardCore::drain`].
    Flush {
        /// Which.
        conn: ConnId,
    },
    /// Close the connection, after writing what was drained. The shard has forgotten it.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Tell the owner of the engine.
    Report(Report),
    /// Tell the other shards, by way of [`super::Accounts::tell`].
    Account {
        /// Whose account.
        server: MailServerId,
        /// What.
        word: AccountWord,
    },
    /// A push that alerts of mail was handed to a lane this turn: its bytes follow with the next flush.
    Sent(PushTimes),
    /// The provider accepted a push that alerts of mail.
    Accepted(PushTimes),
}

/// The effects of one turn, in order. The shell applies and clears them; the buffer is kept.
#[derive(Debug, Default)]
pub struct Effects {
    list: Vec<Effect>,
}

impl Effects {
    /// None yet.
    pub fn new() -> Effects {
        Effects::default()
    }

    /// Adds one.
    pub fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }

    /// Adds a report.
    pub fn report(&mut self, report: Report) {
        self.list.push(Effect::Report(report));
    }

    /// Takes them all out, in order, keeping the buffer.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Effect> {
        self.list.drain(..)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
