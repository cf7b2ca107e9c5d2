//! What a shard counts: plain numbers, copied out once a turn by the shell.

use crate::ledger::Ledger;
use crate::time::Time;

/// Gauges and counters of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Users assigned.
    pub users: u64,
    /// Users whose mailbox is on an open stream and caught up.
    pub users_live: u64,
    /// Users whose notifications are stopped.
    pub users_stopped: u64,
    /// Devices.
    pub devices: u64,
    /// Cohorts.
    pub cohorts: u64,
    /// Streaming connections that are open.
    pub streams: u64,
    /// Lanes that are open.
    pub lanes: u64,
    /// Pushes without an answer.
    pub pushes_in_flight: u64,
    /// Ordinary EWS calls without an answer.
    pub calls_in_flight: u64,
    /// Calls given up because they were slow and others waited for their places.
    pub calls_given_up: u64,
    /// Users in the ready ring.
    pub users_ready: u64,
    /// Pushes handed to lanes.
    pub pushes_sent: u64,
    /// Answers by kind, in the order of [`ANSWERS`].
    pub answers: [u64; ANSWERS.len()],
    /// Pushes sent again because nobody knows what became of them (same `apns-id`).
    pub resends_ambiguous: u64,
    /// Pushes sent again that were certainly not processed.
    pub resends_safe: u64,
    /// Notices without details because the app was not used for the cut-off.
    pub downgraded: u64,
    /// Details that only the look at the finished bytes kept back.
    pub second_look: u64,
    /// 410 answers that were older than the registration.
    pub tokens_kept: u64,
    /// Microseconds in which notices were due and no lane had room, by what was lacking, in the order of [`BLOCKED`].
    pub blocked_us: [u64; BLOCKED.len()],
    /// Subscriptions made.
    pub subscribes: u64,
    /// Mailboxes caught up.
    pub catch_ups: u64,
    /// Streams that ended other than by `Closed`.
    pub streams_broken: u64,
    /// Connections that the shard asked for.
    pub connects: u64,
    /// What became of every mail.
    pub ledger: Ledger,
}

impl ShardStats {
    /// Adds the numbers of another shard.
    pub fn add(&mut self, other: &ShardStats) {
        let ShardStats {
            users,
            users_live,
            users_stopped,
            devices,
            cohorts,
            streams,
            lanes,
            pushes_in_flight,
            calls_in_flight,
            calls_given_up,
            users_ready,
            pushes_sent,
            answers,
            resends_ambiguous,
            resends_safe,
            downgraded,
            second_look,
            tokens_kept,
            blocked_us,
            subscribes,
            catch_ups,
            streams_broken,
            connects,
            ledger,
        } = other;
        self.users += users;
        self.users_live += users_live;
        self.users_stopped += users_stopped;
        self.devices += devices;
        self.cohorts += cohorts;
        self.streams += streams;
        self.lanes += lanes;
        self.pushes_in_flight += pushes_in_flight;
        self.calls_in_flight += calls_in_flight;
        self.calls_given_up += calls_given_up;
        self.users_ready += users_ready;
        self.pushes_sent += pushes_sent;
        self.resends_ambiguous += resends_ambiguous;
        self.resends_safe += resends_safe;
        self.downgraded += downgraded;
        self.second_look += second_look;
        self.tokens_kept += tokens_kept;
        self.subscribes += subscribes;
        self.catch_ups += catch_ups;
        self.streams_broken += streams_broken;
        self.connects += connects;
        for (mine, theirs) in self.answers.iter_mut().zip(answers) {
            *mine += theirs;
        }
        for (mine, theirs) in self.blocked_us.iter_mut().zip(blocked_us) {
            *mine += theirs;
        }
        self.ledger.add(ledger);
    }
}

/// Names of the kinds of answers that providers give, for [`ShardStats::answers`].
pub const ANSWERS: [&str; 9] = [
    "accepted",
    "token_gone",
    "token_suspect",
    "auth_stale",
    "service_refused",
    "throttled",
    "too_large",
    "retry",
    "rejected",
];

/// Names of what notices waited for, for [`ShardStats::blocked_us`]: the provider's limit of streams, our own adaptive
/// window, the send window of connections, the network, the answer to a PING, a connection, and the end of a pause (the
/// provider fails, refuses the configuration, or has no valid provider token).
pub const BLOCKED: [&str; 7] = ["streams", "window", "bytes", "network", "silence", "connecting", "paused"];

/// The times of one push, for the latency histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushTimes {
    /// When the bytes that told of the oldest mail in it were read.
    pub signalled: Time,
    /// When settling and intervals allowed it to go.
    pub due: Time,
}
