//! The shard itself.

use super::{ConnId, Effects, Input, ShardConfig, ShardStats};
use crate::time::{Now, Time};

/// One core's share of users, with their streams, fetches, lanes and timers.
#[derive(Debug)]
pub struct ShardCore {
    config: ShardConfig,
    stats: ShardStats,
}

/// How much one call of [`ShardCore::work`] may do.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Users taken from the ready ring.
    pub users: u32,
    /// Timers fired.
    pub timers: u32,
}

/// Whether [`ShardCore::work`] left something for another turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Nothing is due before [`ShardCore::next_deadline`].
    No,
    /// The budget ran dry: poll without waiting, then call again.
    Yes,
}

impl Budget {
    /// One ordinary turn.
    pub const TURN: Budget =
        Budget { users: crate::limits::USERS_PER_TURN, timers: crate::limits::TIMERS_PER_TURN };
}

impl ShardCore {
    /// An empty shard.
    pub fn new(_now: Now, config: ShardConfig) -> ShardCore {
        ShardCore { config, stats: ShardStats::default() }
    }

    /// Takes one input in.
    pub fn handle(&mut self, _now: Now, _input: Input<'_>, _fx: &mut Effects) {}

    /// Does what is due: fires timers, tells users. Called once per turn after the inputs.
    pub fn work(&mut self, _now: Now, _budget: Budget, _fx: &mut Effects) -> More {
        More::No
    }

    /// When [`ShardCore::work`] is to be called next, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Time> {
        None
    }

    /// Appends at most `bytes_max` bytes for `conn` to `out`. True: there is more, ask again when these are written.
    pub fn drain(&mut self, _conn: ConnId, _out: &mut Vec<u8>, _bytes_max: usize) -> bool {
        false
    }

    /// The shard's numbers.
    pub fn stats(&self) -> &ShardStats {
        &self.stats
    }

    /// What it was built with.
    pub fn config(&self) -> &ShardConfig {
        &self.config
    }
}
