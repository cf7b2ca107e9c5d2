//! The engine as the rest of the service sees it: commands in, numbers out. Tests put their own behind it.

use carillon_core::shard::{Command, ShardStats};
use carillon_engine::{EngineHandle, EngineStats};
pub use carillon_engine::{JournalStats, Refused};
use hdrhistogram::Histogram;

/// Takes commands and tells its numbers.
pub trait Engine: Send + Sync {
    /// Hands a command over: to the shard of the user whom it is about, or to all shards.
    fn command(&self, command: Command) -> Result<(), Refused>;

    /// Counters and latencies, as last published by the shards.
    fn numbers(&self) -> Numbers;

    /// Whether it still takes commands.
    fn is_running(&self) -> bool;

    /// Everything that a shard reported up to this number is stored: its journal, if it has one, may let go of it.
    fn stored(&self, _shard: u16, _seq: u64) {}

    /// How the journal does, if there is one.
    fn journal(&self) -> JournalStats {
        JournalStats::default()
    }
}

/// The engine's numbers.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Of each shard.
    pub shards: Vec<ShardStats>,
    /// Of all shards together.
    pub total: ShardStats,
    /// Turns that the shards' threads took.
    pub turns: u64,
    /// System calls on the engine's sockets.
    pub socket_calls: u64,
    /// Of the journals of all shards.
    pub journal: JournalStats,
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

impl Engine for EngineHandle {
    fn command(&self, command: Command) -> Result<(), Refused> {
        match command {
            Command::AssignUser(user) => self.assign(*user),
            Command::DropUser { user } => self.drop_user(user),
            Command::RegisterDevice { user, device } => self.register_device(user, *device),
            Command::RemoveDevice { user, device } => self.remove_device(user, device),
            Command::TouchDevice { user, device, at } => self.touch_device(user, device, at),
            Command::StopUser { user } => self.stop_user(user),
            Command::Signal { user, signal } => self.signal(user, signal),
            Command::SetTeamToken { team, jwt, issued } => self.set_team_token(team, jwt, issued),
            Command::SetMailCredential { server, credential } => self.set_mail_credential(server, credential),
            Command::SetTiming(timing) => self.set_timing(timing),
            Command::Drain => self.drain(),
        }
    }

    fn numbers(&self) -> Numbers {
        Numbers::of(self.stats())
    }

    fn is_running(&self) -> bool {
        EngineHandle::is_running(self)
    }

    fn stored(&self, shard: u16, seq: u64) {
        EngineHandle::stored(self, shard, seq);
    }

    fn journal(&self) -> JournalStats {
        EngineHandle::journal(self)
    }
}

impl Numbers {
    fn of(stats: EngineStats) -> Numbers {
        Numbers {
            total: stats.total(),
            turns: stats.shells.iter().map(|shell| shell.turns).sum(),
            socket_calls: stats.shells.iter().map(|shell| shell.socket_calls).sum(),
            journal: stats.journal(),
            mail_to_written: latency(&stats.mail_to_written),
            due_to_written: latency(&stats.due_to_written),
            mail_to_accepted: latency(&stats.mail_to_accepted),
            shards: stats.shards,
        }
    }
}

fn latency(times: &Histogram<u64>) -> Latency {
    let mut at_most = [0; LATENCY_BOUNDS_US.len()];
    let mut seen = 0;
    let mut bounds = 0;
    for step in times.iter_recorded() {
        while bounds < at_most.len() && step.value_iterated_to() > LATENCY_BOUNDS_US[bounds] {
            at_most[bounds] = seen;
            bounds += 1;
        }
        seen += step.count_since_last_iteration();
    }
    at_most[bounds..].fill(seen);
    Latency {
        count: times.len(),
        sum_us: (times.mean() * times.len() as f64) as u64,
        p50_us: times.value_at_quantile(0.5),
        p90_us: times.value_at_quantile(0.9),
        p99_us: times.value_at_quantile(0.99),
        p999_us: times.value_at_quantile(0.999),
        max_us: times.max(),
        at_most,
    }
}

#[cfg(test)]
mod tests {
    use carillon_engine::ShellStats;

    use super::*;

    #[test]
    fn buckets_are_cumulative_and_end_with_the_count() {
        let mut times = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
        for us in [10, 60, 60, 900, 70_000, 90_000_000] {
            times.record(us).unwrap();
        }
        let latency = latency(&times);
        assert_eq!(latency.count, 6);
        assert_eq!(latency.at_most, [1, 3, 3, 3, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5]);
        let none: Histogram<u64> = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
        assert_eq!(super::latency(&none), Latency::default());
    }

    #[test]
    fn each_number_of_the_engine_is_taken_under_its_name() {
        let times = |count: u64, us: u64| {
            let mut times = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
            times.record_n(us, count).unwrap();
            times
        };
        let shell = |turns, socket_calls| ShellStats { turns, socket_calls, ..ShellStats::default() };
        let numbers = Numbers::of(EngineStats {
            shards: vec![
                ShardStats { users: 1, ..ShardStats::default() },
                ShardStats { users: 2, ..ShardStats::default() },
            ],
            shells: vec![
                ShellStats {
                    journal_bytes: 1,
                    journal_failures: 20,
                    journal_given_up: 300,
                    ..shell(10, 300)
                },
                ShellStats { journal_bytes: 2, journal_trouble: Some("full".to_owned()), ..shell(20, 400) },
            ],
            mail_to_written: times(4, 1_000),
            due_to_written: times(5, 100),
            mail_to_accepted: times(6, 10),
        });
        assert_eq!((numbers.shards.len(), numbers.total.users), (2, 3));
        assert_eq!((numbers.turns, numbers.socket_calls), (30, 700));
        let trouble = Some("full".to_owned());
        assert_eq!(numbers.journal, JournalStats { bytes: 3, failures: 20, given_up: 300, trouble });
        let of = |latency: &Latency| (latency.count, latency.sum_us, latency.max_us);
        assert_eq!(of(&numbers.mail_to_written), (4, 4_000, 1_000));
        assert_eq!(of(&numbers.due_to_written), (5, 500, 100));
        assert_eq!(of(&numbers.mail_to_accepted), (6, 60, 10));
    }

    #[test]
    fn each_quantile_is_the_one_of_its_name() {
        let mut times = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
        (1..=1_000).for_each(|us| times.record(us).unwrap());
        let Latency { p50_us, p90_us, p99_us, p999_us, max_us, .. } = latency(&times);
        assert_eq!([p50_us, p90_us, p99_us, p999_us, max_us], [500, 900, 990, 999, 1_000]);
    }
}
