//! What is due when: one heap for the whole server. An entry that has become pointless is found out when it is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use carillon_core::time::Time;

use crate::peer::PeerConn;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A stream may need a heartbeat.
    Heartbeat(u64),
    /// A stream's `ConnectionTimeout` is over.
    StreamEnd(u64),
    /// Something on the way cuts a stream.
    StreamCut(u64),
    /// The answer of a call is ready.
    Reply(PeerConn),
    /// A subscription may have been detached for too long.
    Detached(u64),
    /// A connection may have been idle for too long.
    Idle(PeerConn),
}

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Time, u64, Due)>>,
    next: u64,
}

impl Deadlines {
    /// Equal times fire in the order in which they were set.
    pub(super) fn push(&mut self, at: Time, due: Due) {
        self.heap.push(Reverse((at, self.next, due)));
        self.next += 1;
    }

    pub(super) fn pop(&mut self, now: Time) -> Option<(Time, Due)> {
        if self.heap.peek()?.0.0 > now {
            return None;
        }
        self.heap.pop().map(|Reverse((at, _, due))| (at, due))
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }
}
