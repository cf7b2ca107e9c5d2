//! What the two processes say to each other: one JSON object a line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::profile::Plan;

/// From `loadgen run` to the peers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The first one.
    Setup(Box<Setup>),
    /// `carillon serve` runs under this process id. Should `loadgen run` die, the peers end it.
    Service {
        /// Process id.
        pid: u32,
        /// From `/proc/<pid>/stat`: tells the process from a later one with the same id.
        started: u64,
    },
    /// The key of the hashes that name mails in payloads, in hex.
    ItemKey(String),
    /// Every mailbox is watched: let the mail come.
    Play,
    /// Let mail come at this rate for so long; answered with [`Note::Stepped`].
    Step {
        /// Mails a second, at random times.
        mails_per_s: f64,
        /// How long.
        seconds: f64,
    },
    /// It is over: audit, answer with [`Note::Result`], end.
    Finish,
}

/// How the peers begin.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// All numbers.
    pub plan: Plan,
    /// Everything random comes from it.
    pub seed: u64,
    /// When the run began, in milliseconds since 1970.
    pub start_unix_ms: u64,
    /// The run's folder. Should `loadgen run` die, the peers remove it.
    pub folder: std::path::PathBuf,
    /// Exchange's log-in name.
    pub exchange_user: String,
    /// Exchange's password.
    pub exchange_password: String,
    /// Apple's team id.
    pub team: String,
    /// Apple's key id.
    pub key_id: String,
    /// The public key of the signing key: an uncompressed P-256 point.
    pub public_key: Vec<u8>,
}

/// From the peers to `loadgen run`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Note {
    /// Both listen.
    Ready {
        /// Port of the simulated Exchange.
        exchange_port: u16,
        /// Port of the simulated APNs.
        apns_port: u16,
    },
    /// Twice a second.
    Tick(Tick),
    /// A fault that only `loadgen run` can make: kill `carillon serve` and start it again.
    KillService,
    /// The last mail has come.
    Played,
    /// A step is over.
    Stepped(Stepped),
    /// The account.
    Result(Box<Outcome>),
}

/// What came of [`Order::Step`].
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stepped {
    /// Mails that came.
    pub mails: u64,
    /// Pushes accepted.
    pub pushes: u64,
    /// Latencies.
    pub latency: Percentiles,
    /// How much later than planned a mail came, at most.
    pub late_ms: f64,
}

/// Where the peers are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tick {
    /// Mails that came.
    pub mails: u64,
    /// Mails that are planned.
    pub mails_planned: u64,
    /// Pushes accepted.
    pub pushes: u64,
    /// Pushes refused.
    pub refused: u64,
    /// Streaming connections open at the simulated Exchange.
    pub streams: u64,
    /// Of them, those that went silent on purpose and are still open.
    pub silent: u64,
    /// Users of whose phones none has the app any more: nobody need watch their mailboxes.
    pub phoneless: u64,
    /// Mailboxes that some stream watches.
    pub watched: u64,
    /// Milliseconds since the last push or call came.
    pub quiet_ms: u64,
    /// Latencies since the last tick.
    pub now: Percentiles,
    /// Latencies since the start.
    pub all: Percentiles,
    /// Faults made.
    pub faults: u64,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// Notices measured.
    pub count: u64,
    /// Half of them were faster.
    pub p50: f64,
    /// 90 of 100 were faster.
    pub p90: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// 999 of 1,000 were faster.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

/// What the peers have seen, and the audit's verdict.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Mails that came while the phones were registered.
    pub mails: u64,
    /// Mails read elsewhere.
    pub reads: u64,
    /// Mails deleted.
    pub deletes: u64,
    /// Pairs of mail and phone that had to be told.
    pub tellings_owed: u64,
    /// Told by name.
    pub told_by_name: u64,
    /// Told by number alone.
    pub told_by_number: u64,
    /// Pushes that were accepted, those that came again included.
    pub pushes: u64,
    /// Pushes accepted, by what they showed.
    pub shown: BTreeMap<String, u64>,
    /// Pushes that came again under an `apns-id` that had been accepted: recognised, not shown twice.
    pub duplicates_recognised: u64,
    /// Everything that ought not to be, by name.
    pub findings: BTreeMap<String, Finding>,
    /// Latencies.
    pub latency: Percentiles,
    /// Streaming connections at one time, at most.
    pub streams_max: u64,
    /// From the last mail to the last accepted push.
    pub accepted_after_last_mail_ms: f64,
    /// Faults made, by name.
    pub faults: BTreeMap<String, u64>,
    /// What the peers counted, by name.
    pub peers: BTreeMap<String, u64>,
    /// What clients did that they must never do, by peer: the first few of each, and how often.
    pub misbehaviour: BTreeMap<String, u64>,
    /// What happened to the first few users in whose account something is wrong.
    pub histories: BTreeMap<String, Vec<String>>,
}

/// One kind of thing that ought not to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// How often.
    pub count: u64,
    /// The first few.
    pub examples: Vec<String>,
}
