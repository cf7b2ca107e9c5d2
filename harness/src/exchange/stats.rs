//! What the server counted.

use std::collections::BTreeMap;

use super::code::Code;

/// An EWS operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Operation {
    Subscribe,
    Unsubscribe,
    GetStreamingEvents,
    GetItem,
    GetFolder,
    FindItem,
    SyncFolderItems,
    ConvertId,
}

/// Counters since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections accepted.
    pub connections: u64,
    /// HTTP requests by status of the answer.
    pub statuses: BTreeMap<u16, u64>,
    /// Response messages by operation and code. A batch counts each of its items.
    pub responses: BTreeMap<(Operation, Code), u64>,
    /// SOAP faults by code.
    pub faults: BTreeMap<Code, u64>,
    /// Mails delivered.
    pub mails: u64,
    /// Envelopes written to streams.
    pub envelopes: u64,
    /// Of those, heartbeats.
    pub heartbeats: u64,
    /// Notifications written to streams.
    pub notifications: u64,
    /// Events written to streams.
    pub events: u64,
    /// Events lost in a black hole or with an overflowing queue.
    pub events_lost: u64,
    /// Streams that were opened.
    pub streams_opened: u64,
    /// Streams that something on the way held back, cut or emptied.
    pub streams_obstructed: u64,
    /// Calls that were never answered, because the mailbox's database hangs.
    pub calls_hung: u64,
    /// Calls that were answered late for the same reason.
    pub calls_slow: u64,
    /// Streams that ended because their ids went to another.
    pub streams_taken_over: u64,
    /// Subscription ids that were given out before the last restart, too.
    pub ids_given_again: u64,
    /// Ids in requests for streams that had been given to another mailbox meanwhile, and were accepted.
    pub stale_ids: u64,
    /// Mails that say that they were received later than they were.
    pub from_the_future: u64,
    /// Answers with a byte that is no UTF-8.
    pub not_utf8: u64,
    /// Events of folders that told how many mails were unread before what happened.
    pub stale_counts: u64,
    /// Requests on connections that had been given up while they were idle.
    pub given_up: u64,
    /// Log-ins that were refused.
    pub refused: u64,
    /// The most calls that were in flight on one budget at a time.
    pub concurrency_peak: u32,
}

impl Operation {
    /// The local name of the request element.
    pub const fn as_str(self) -> &'static str {
        match self {
            Operation::Subscribe => "Subscribe",
            Operation::Unsubscribe => "Unsubscribe",
            Operation::GetStreamingEvents => "GetStreamingEvents",
            Operation::GetItem => "GetItem",
            Operation::GetFolder => "GetFolder",
            Operation::FindItem => "FindItem",
            Operation::SyncFolderItems => "SyncFolderItems",
            Operation::ConvertId => "ConvertId",
        }
    }

    /// The operation that a request element names.
    pub(super) fn parse(local: &str) -> Option<Operation> {
        [
            Operation::Subscribe,
            Operation::Unsubscribe,
            Operation::GetStreamingEvents,
            Operation::GetItem,
            Operation::GetFolder,
            Operation::FindItem,
            Operation::SyncFolderItems,
            Operation::ConvertId,
        ]
        .into_iter()
        .find(|operation| operation.as_str() == local)
    }

    /// Whether it needs the group's back end.
    pub(super) const fn needs_affinity(self) -> bool {
        match self {
            Operation::Subscribe | Operation::Unsubscribe | Operation::GetStreamingEvents => true,
            Operation::GetItem
            | Operation::GetFolder
            | Operation::FindItem
            | Operation::SyncFolderItems
            | Operation::ConvertId => false,
        }
    }
}

impl Stats {
    pub(super) fn respond(&mut self, operation: Operation, code: Code) {
        *self.responses.entry((operation, code)).or_default() += 1;
    }

    /// Response messages of `operation` with `code`.
    pub fn count(&self, operation: Operation, code: Code) -> u64 {
        self.responses.get(&(operation, code)).copied().unwrap_or(0)
    }

    /// Response messages of `operation` with any code.
    pub fn count_all(&self, operation: Operation) -> u64 {
        self.responses.iter().filter(|((of, _), _)| *of == operation).map(|(_, n)| n).sum()
    }
}
