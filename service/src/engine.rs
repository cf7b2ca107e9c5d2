//! The engine as the rest of the service sees it: commands in, numbers out. Tests put their own behind it.

use carillon_core::names::UserKey;
use carillon_core::shard::{Command, ShardStats};

/// Takes commands and tells its numbers.
pub trait Engine: Send + Sync {
    /// Hands a command over: to the shard of `user`, or to all shards where there is none.
    fn command(&self, user: Option<UserKey>, command: Command) -> Result<(), Refused>;

    /// Counters and latencies, as last published by the shards.
    fn numbers(&self) -> Numbers;
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The shard's queue is full: try again in a moment.
    #[error("the engine is busy")]
    Busy,
    /// The engine has ended.
    #[error("the engine has stopped")]
    Stopped,
}

/// The engine's numbers.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Of each shard.
    pub shards: Vec<ShardStats>,
    /// Of all shards together.
    pub total: ShardStats,
    /// From the bytes that told of a mail being readable to its push being written.
    pub mail_to_written: Latency,
    /// As `mail_to_written`, less the settling and intervals that applied.
    pub due_to_written: Latency,
    /// From the bytes that told of a mail being readable to the provider's acceptance.
    pub mail_to_accepted: Latency,
}

/// A distribution of times since the start, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Their sum.
    pub sum_us: u64,
    /// Median.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
    /// How many took at most each of [`LATENCY_BOUNDS_US`].
    pub at_most: [u64; LATENCY_BOUNDS_US.len()],
}

/// Upper bounds of the buckets in [`Latency::at_most`]: from what the engine adds by itself to what settling adds.
pub const LATENCY_BOUNDS_US: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000,
    10_000_000, 60_000_000,
];
