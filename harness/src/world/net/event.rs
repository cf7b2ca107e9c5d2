//! What is to happen on the network, and in which order.

use std::cmp::Ordering;

use carillon_core::shard::CloseReason;
use carillon_core::time::Time;

use crate::world::World;

#[derive(Debug)]
pub(in super::super) struct Event {
    pub(in super::super) at: Time,
    pub(in super::super) order: u64,
    pub(in super::super) what: What,
}

#[derive(Clone, Debug)]
pub(in super::super) enum What {
    Connect(usize),
    ConnectFails(usize, CloseReason),
    /// Bytes, and when they left.
    ToPeer(usize, Vec<u8>, Time),
    ToShard(usize, Vec<u8>),
    PeerHungUp(usize, CloseReason),
    ShardHungUp(usize),
    /// Other shards said something for this one to hear.
    News(usize),
    /// A connection that stood still goes on.
    Resumes(usize),
    /// A peer closes a connection on which nothing comes any more.
    PeerGivesUp(usize),
}

impl What {
    /// On which connection it happens.
    pub(super) fn link(&self) -> Option<usize> {
        match self {
            What::News(_) => None,
            What::Connect(link)
            | What::ConnectFails(link, _)
            | What::ToPeer(link, ..)
            | What::ToShard(link, _)
            | What::PeerHungUp(link, _)
            | What::ShardHungUp(link)
            | What::Resumes(link)
            | What::PeerGivesUp(link) => Some(*link),
        }
    }
}

impl World {
    /// Between whom it happens.
    pub(in super::super) fn whose(&self, what: &What) -> String {
        match (what, what.link()) {
            (_, Some(index)) => {
                let link = &self.links[index];
                format!("shard {} and {:?}", link.shard, link.peer)
            }
            (What::News(shard), None) => format!("shard {shard}"),
            (_, None) => "nobody".to_owned(),
        }
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Event) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    /// The earliest is the greatest: the heap gives the greatest first.
    fn cmp(&self, other: &Event) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}
