//! What can be read of a running engine: plain numbers, published by each shard once a turn.

use carillon_core::shard::ShardStats;
use carillon_core::time::Time;
use hdrhistogram::Histogram;

/// What the shell of one shard counts, beside the core's own numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShellStats {
    /// Turns taken.
    pub turns: u64,
    /// Turns not taken because the owner's reports were not received ([`crate::Reports`]).
    pub turns_paused: u64,
    /// Commands handed to the core.
    pub commands: u64,
    /// Commands that wait, as of the last turn: it may be out of date by what came since.
    pub commands_waiting: u64,
    /// Reports that found no room in the queue.
    pub reports_waiting: u64,
    /// Bytes read from sockets, still encrypted.
    pub bytes_read: u64,
    /// Bytes written to sockets, encrypted.
    pub bytes_written: u64,
    /// System calls on sockets: reads, writes and shutdowns. Turns and calls that grow while no bytes do are a busy loop.
    pub socket_calls: u64,
    /// Connections that are established.
    pub links_open: u64,
    /// Connects under way, of at most [`carillon_core::limits::CONNECTS_IN_FLIGHT_MAX`].
    pub connects_in_flight: u64,
    /// Connects that wait for their turn.
    pub connects_waiting: u64,
    /// Connects that failed.
    pub connects_failed: u64,
    /// Bytes appended to the journal.
    pub journal_bytes: u64,
    /// Appends to the journal that failed. Pushes go on; what was not written would be told twice after a kill.
    pub journal_failures: u64,
    /// How often the journal gave up what was not stored yet: because it was full, or could not be written for so long.
    pub journal_given_up: u64,
    /// What is wrong with the journal; none while all that must survive is in it or stored.
    pub journal_trouble: Option<String>,
}

/// The journals of all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// [`ShellStats::journal_bytes`].
    pub bytes: u64,
    /// [`ShellStats::journal_failures`].
    pub failures: u64,
    /// [`ShellStats::journal_given_up`].
    pub given_up: u64,
    /// [`ShellStats::journal_trouble`] of the first shard that has any.
    pub trouble: Option<String>,
}

impl JournalStats {
    /// Adds one shard's.
    pub(crate) fn add(&mut self, shell: &ShellStats) {
        self.bytes += shell.journal_bytes;
        self.failures += shell.journal_failures;
        self.given_up += shell.journal_given_up;
        self.trouble = self.trouble.take().or_else(|| shell.journal_trouble.clone());
    }
}

/// A snapshot of all shards.
#[derive(Clone, Debug)]
pub struct EngineStats {
    /// What each core counts.
    pub shards: Vec<ShardStats>,
    /// What each shell counts.
    pub shells: Vec<ShellStats>,
    /// Microseconds from the turn in which the bytes that told of a mail were read to the end of the turn that wrote
    /// its push. Settling and intervals are part of it.
    pub mail_to_written: Histogram<u64>,
    /// Microseconds from the moment at which settling and intervals allowed a push to the end of the turn that wrote it.
    pub due_to_written: Histogram<u64>,
    /// Microseconds from the turn in which the bytes that told of a mail were read to the turn in which the provider's
    /// answer was.
    pub mail_to_accepted: Histogram<u64>,
}

impl EngineStats {
    /// The journals of all shards.
    pub fn journal(&self) -> JournalStats {
        let mut journal = JournalStats::default();
        self.shells.iter().for_each(|shell| journal.add(shell));
        journal
    }

    /// The sums of all shards.
    pub fn total(&self) -> ShardStats {
        let mut total = ShardStats::default();
        for shard in &self.shards {
            total.add(shard);
        }
        total
    }
}

/// What one shard shows to the outside.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) core: ShardStats,
    pub(crate) shell: ShellStats,
    pub(crate) latency: Latency,
}

/// The histograms of one shard. Recorded in place under the lock that publishes: copying them each turn would cost more.
#[derive(Debug)]
pub(crate) struct Latency {
    pub(crate) mail_to_written: Histogram<u64>,
    pub(crate) due_to_written: Histogram<u64>,
    pub(crate) mail_to_accepted: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { mail_to_written: histogram(), due_to_written: histogram(), mail_to_accepted: histogram() }
    }
}

/// Counts the microseconds from `from` to `to`, at most [`LATENCY_US_MAX`].
pub(crate) fn record(histogram: &mut Histogram<u64>, from: Time, to: Time) {
    histogram.saturating_record(to.since(from).0);
}

pub(crate) fn snapshot<'a>(shards: impl Iterator<Item = &'a std::sync::Mutex<Published>>) -> EngineStats {
    let mut stats = EngineStats {
        shards: Vec::new(),
        shells: Vec::new(),
        mail_to_written: histogram(),
        due_to_written: histogram(),
        mail_to_accepted: histogram(),
    };
    for shard in shards {
        let shard = shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        stats.shards.push(shard.core);
        stats.shells.push(shard.shell.clone());
        let same_bounds = "all histograms have the same bounds";
        stats.mail_to_written.add(&shard.latency.mail_to_written).expect(same_bounds);
        stats.due_to_written.add(&shard.latency.due_to_written).expect(same_bounds);
        stats.mail_to_accepted.add(&shard.latency.mail_to_accepted).expect(same_bounds);
    }
    stats
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("bounds and digits that hdrhistogram can have")
}

/// Ten minutes. Longer delays are an outage, not a latency, and count as this.
const LATENCY_US_MAX: u64 = 600_000_000;
