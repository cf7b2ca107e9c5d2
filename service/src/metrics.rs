//! What `/metrics` shows.

use carillon_core::shard::ShardStats;

use crate::api::types::PartView;

/// All numbers at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Sums over all shards.
    pub engine: ShardStats,
    /// Threads of the engine.
    pub shards: usize,
    /// From the mail's bytes to the push's bytes, in microseconds. `None` before the first push.
    pub mail_to_written_us: Option<hdrhistogram::Histogram<u64>>,
    /// From when settling allowed it to the push's bytes, in microseconds.
    pub due_to_written_us: Option<hdrhistogram::Histogram<u64>>,
    /// From the mail's bytes to the provider's answer, in microseconds.
    pub mail_to_accepted_us: Option<hdrhistogram::Histogram<u64>>,
    /// The store's writer.
    pub store: StoreNumbers,
    /// Provider tokens in use: name of the signing key, and the token's age in seconds.
    pub team_tokens: Vec<(String, u64)>,
    /// The mail servers.
    pub mail_servers: Vec<PartView>,
    /// The push services.
    pub push_services: Vec<PartView>,
}

/// How the store keeps up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreNumbers {
    /// Reports of the engine that wait to be written.
    pub waiting: u64,
    /// Age of the oldest of them, in milliseconds.
    pub lag_ms: u64,
    /// Batches written.
    pub batches: u64,
    /// Batches that could not be written at the first try.
    pub failures: u64,
}
