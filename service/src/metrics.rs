//! `/metrics`: every number that Carillon shows to Prometheus, each named once.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use carillon_core::ledger::Suppressed;
use carillon_core::shard::{ANSWERS, BLOCKED};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::api::places::{Closed, Places};
use crate::app::App;
use crate::bridge::{Keeper, KeeperStats};
use crate::clock;
use crate::directory::{Counts, Health};
use crate::engine::{LATENCY_BOUNDS_US, Latency, Numbers};

/// Declares the metrics: variant, type, name without unit suffixes that the encoder adds, help text.
macro_rules! metrics {
    ($($variant:ident: $kind:ident $name:literal, $help:literal;)*) => {
        /// The names of all metrics. Nothing else can create a series, and the list is the documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// All of them.
            pub const ALL: &'static [Metric] = &[$(Metric::$variant),*];

            /// The name. Counters get `_total` when they are written.
            pub const fn name(self) -> &'static str {
                match self { $(Metric::$variant => $name),* }
            }

            /// What it says.
            pub const fn help(self) -> &'static str {
                match self { $(Metric::$variant => $help),* }
            }

            /// Its type.
            pub const fn kind(self) -> MetricType {
                match self { $(Metric::$variant => MetricType::$kind),* }
            }
        }
    };
}

metrics! {
    Build: Gauge "carillon_build_info", "Always 1; the version stands in the label";
    Uptime: Gauge "carillon_uptime_seconds", "Seconds since the service started";
    Users: Gauge "carillon_users", "Users";
    UsersLive: Gauge "carillon_users_live", "Users whose mailbox is on an open stream and caught up";
    UsersPolling: Gauge "carillon_users_polling", "Users whose mailbox is looked into about once a minute, as no stream tells of it";
    CallsGivenUp: Counter "carillon_calls_given_up", "Calls given up because they were slow and others waited for their places";
    UsersUnwatched: Gauge "carillon_users_unwatched", "Users whose mailbox is not watched because something is wrong";
    UsersStopped: Gauge "carillon_users_stopped", "Users whose notifications are stopped";
    UsersReady: Gauge "carillon_users_ready", "Users that are due and wait for their turn";
    Devices: Gauge "carillon_devices", "Devices";
    EngineTurns: Counter "carillon_engine_turns", "Turns of the engine's threads: events, commands or timers that woke them";
    SocketCalls: Counter "carillon_engine_socket_calls", "System calls on the engine's sockets: reads, writes and shutdowns";
    Shards: Gauge "carillon_shards", "Threads of the engine";
    Cohorts: Gauge "carillon_cohorts", "Groups of users that share a streaming connection";
    Streams: Gauge "carillon_streams", "Streaming connections that are open";
    Lanes: Gauge "carillon_lanes", "Connections to push services that are open";
    PushesInFlight: Gauge "carillon_pushes_in_flight", "Pushes without an answer";
    CallsInFlight: Gauge "carillon_calls_in_flight", "Ordinary EWS calls without an answer";
    PushesSent: Counter "carillon_pushes_sent", "Pushes handed to lanes";
    Answers: Counter "carillon_push_answers", "Answers of push services, by kind";
    Resends: Counter "carillon_push_resends", "Pushes sent again, by whether it was certain that the first was not processed";
    Downgraded: Counter "carillon_notices_downgraded", "Notices without details because the app was not used for the cut-off";
    TokensKept: Counter "carillon_tokens_kept", "Answers 410 that were older than the registration";
    Blocked: Counter "carillon_lanes_blocked_seconds", "Time in which notices were due and no lane had room, by what was lacking";
    Subscribes: Counter "carillon_subscribes", "Subscriptions made";
    CatchUps: Counter "carillon_catch_ups", "Mailboxes caught up";
    StreamsBroken: Counter "carillon_streams_broken", "Streams that ended other than in good order";
    Connects: Counter "carillon_connects", "Connections that the engine asked for";
    Mails: Counter "carillon_mails", "Mails, by station: signalled, duplicate, fetched";
    Tellings: Counter "carillon_tellings", "Tellings (one mail for one device), by station";
    TellingsSuppressed: Counter "carillon_tellings_suppressed", "Tellings not made, by reason";
    TellingsOpen: Gauge "carillon_tellings_open", "Tellings that wait or are in flight";
    MailToWritten: Histogram "carillon_mail_to_written_seconds", "From the mail's bytes to the push's bytes";
    DueToWritten: Histogram "carillon_due_to_written_seconds", "As carillon_mail_to_written_seconds, less the settling and intervals that applied";
    MailToAccepted: Histogram "carillon_mail_to_accepted_seconds", "From the mail's bytes to the push service's acceptance";
    LatencyQuantile: Gauge "carillon_latency_quantile_seconds", "Quantiles of the latencies since the start; quantile 1 is the longest";
    MailServerUp: Gauge "carillon_mail_server_up", "Whether a mail server works: 1, or 0 while it is in trouble or refuses the credential";
    PushServiceUp: Gauge "carillon_push_service_up", "Whether a push service works: 1, or 0 while it is in trouble or refuses the credential";
    StoreUp: Gauge "carillon_store_up", "Whether the store takes changes";
    StoreWaiting: Gauge "carillon_store_waiting_rows", "Reports of the engine that wait to be stored";
    StoreBatches: Counter "carillon_store_batches", "Batches of reports stored";
    StoreFailures: Counter "carillon_store_failures", "Batches of reports that could not be stored at the first try";
    JournalUp: Gauge "carillon_journal_up", "Whether all that must survive a kill is in the engine's journal or stored";
    JournalBytes: Counter "carillon_journal_bytes", "Bytes put into the engine's journal";
    JournalFailures: Counter "carillon_journal_failures", "Writes into the engine's journal that failed";
    JournalGivenUp: Counter "carillon_journal_given_up", "Times that the engine's journal gave up what was not stored yet";
    TokenAge: Gauge "carillon_provider_token_age_seconds", "Age of the provider token, by signing key";
    ApiConnections: Gauge "carillon_api_connections", "Open connections of the API, by caller: known (showed a token), stranger";
    ApiConnectionsClosed: Counter "carillon_api_connections_closed", "Connections of the API that were refused or closed against their maker's will, by reason";
    ProcessCpu: Counter "process_cpu_seconds", "Processor time of the process, user and system";
    ProcessMemory: Gauge "process_resident_memory_bytes", "Resident memory of the process";
    ProcessThreads: Gauge "process_threads", "Threads of the process";
}

/// The labels of an API request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

/// Collects and writes all metrics.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    sources: Arc<Sources>,
}

/// Where the numbers come from.
struct Sources {
    app: Arc<App>,
    keeper: Option<Arc<Keeper>>,
    places: Option<Places>,
    /// Signing keys with the age of their tokens in seconds, as of the last look into the store.
    token_ages_s: Mutex<Vec<(String, u64)>>,
}

impl Metrics {
    /// The metrics of `app`, of the one who writes the engine's reports behind, and of the API's connections.
    pub fn new(app: Arc<App>, keeper: Option<Arc<Keeper>>, places: Option<Places>) -> Metrics {
        let mut registry = Registry::default();
        let requests = Family::<RequestLabels, Counter>::default();
        registry.register(
            "carillon_api_requests",
            "API requests, by method, route and status",
            requests.clone(),
        );
        let sources = Arc::new(Sources { app, keeper, places, token_ages_s: Mutex::default() });
        registry.register_collector(Box::new(AppCollector(sources.clone())));
        Metrics { registry, requests, sources }
    }

    /// Counts a request. `route` must be one of the table's, or a fixed word: each is a series.
    pub fn count_request(&self, method: &'static str, route: &str, status: u16) {
        self.requests.get_or_create(&RequestLabels { method, route: route.to_owned(), status }).inc();
    }

    /// All metrics as OpenMetrics text.
    pub async fn read(&self) -> String {
        let ages = self.sources.look_up_token_ages().await;
        *self.sources.token_ages_s.lock().unwrap_or_else(PoisonError::into_inner) = ages;
        self.encode()
    }

    fn encode(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a `String` does not fail.
            Err(fmt::Error) => String::new(),
        }
    }
}

impl Sources {
    /// The tokens stand in the store. One that cannot be read now has no age in this scrape.
    async fn look_up_token_ages(&self) -> Vec<(String, u64)> {
        let mut ages = Vec::new();
        for team in &self.app.config().teams {
            if let Ok(Some(token)) = self.app.store().team_token(&team.team_id, &team.key_id).await {
                ages.push((team.key_id.to_string(), clock::now().millis_since(token.issued) / 1_000));
            }
        }
        ages
    }
}

/// Looks at the running service at each scrape.
struct AppCollector(Arc<Sources>);

impl fmt::Debug for AppCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppCollector")
    }
}

impl Collector for AppCollector {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        encode(&Sample::take(&self.0), encoder)
    }
}

/// All numbers at one moment.
struct Sample {
    uptime_s: f64,
    counts: Counts,
    numbers: Numbers,
    mail_servers: Vec<(String, bool)>,
    push_services: Vec<(String, bool)>,
    store_up: bool,
    store: StoreNumbers,
    token_ages_s: Vec<(String, u64)>,
    connections: (usize, usize),
    connections_closed: [u64; Closed::ALL.len()],
    process: Process,
}

/// The write-behind's numbers.
#[derive(Clone, Copy, Debug, Default)]
struct StoreNumbers {
    waiting: u64,
    batches: u64,
    failures: u64,
}

impl StoreNumbers {
    fn take(stats: &KeeperStats) -> StoreNumbers {
        StoreNumbers {
            waiting: stats.waiting.load(Ordering::Relaxed),
            batches: stats.batches.load(Ordering::Relaxed),
            failures: stats.failures.load(Ordering::Relaxed),
        }
    }
}

impl Sample {
    fn take(sources: &Sources) -> Sample {
        let app = &sources.app;
        let (config, directory) = (app.config(), app.directory());
        Sample {
            uptime_s: app.started().elapsed().as_secs_f64(),
            counts: directory.counts(),
            numbers: app.engine().numbers(),
            mail_servers: up(config.exchange.iter().map(|one| &*one.name), directory.mail_servers()),
            push_services: up(config.push.iter().map(|one| &*one.name), directory.push_services()),
            store_up: directory.store_trouble().is_none(),
            store: sources
                .keeper
                .as_ref()
                .map(|keeper| StoreNumbers::take(keeper.stats()))
                .unwrap_or_default(),
            token_ages_s: sources.token_ages_s.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            connections: sources.places.as_ref().map(Places::open).unwrap_or_default(),
            connections_closed: sources.places.as_ref().map(Places::closed).unwrap_or_default(),
            process: Process::read(),
        }
    }
}

fn up<'a>(names: impl Iterator<Item = &'a str>, healths: Vec<Health>) -> Vec<(String, bool)> {
    names.zip(healths).map(|(name, health)| (name.to_owned(), health == Health::Well)).collect()
}

/// What a metric shows.
enum Shown<'a> {
    /// One number.
    One(f64),
    /// A number for each value of one label.
    By(&'static str, Vec<(String, f64)>),
    /// A number for each pair of values of two labels.
    ByTwo([&'static str; 2], Vec<([String; 2], f64)>),
    /// A distribution.
    Times(&'a Latency),
}

#[expect(clippy::cast_precision_loss, reason = "a metric of 2^53 may be one off")]
fn shown(metric: Metric, sample: &Sample) -> Shown<'_> {
    let (numbers, total) = (&sample.numbers, &sample.numbers.total);
    let ledger = &total.ledger;
    let one = |n: u64| Shown::One(n as f64);
    let seconds = |us: u64| us as f64 / 1e6;
    let table = |pairs: &[(&str, u64)]| {
        pairs.iter().map(|(name, n)| ((*name).to_owned(), *n as f64)).collect::<Vec<_>>()
    };
    let health = |all: &[(String, bool)]| {
        all.iter().map(|(name, up)| (name.clone(), f64::from(u8::from(*up)))).collect::<Vec<_>>()
    };
    match metric {
        Metric::Build => Shown::By("version", vec![(env!("CARGO_PKG_VERSION").to_owned(), 1.0)]),
        Metric::Uptime => Shown::One(sample.uptime_s),
        Metric::Users => one(sample.counts.users),
        Metric::UsersLive => one(sample.counts.live),
        Metric::UsersPolling => one(sample.counts.polling),
        Metric::CallsGivenUp => one(total.calls_given_up),
        Metric::UsersUnwatched => one(sample.counts.unwatched),
        Metric::UsersStopped => one(total.users_stopped),
        Metric::UsersReady => one(total.users_ready),
        Metric::Devices => one(sample.counts.devices),
        Metric::EngineTurns => one(numbers.turns),
        Metric::SocketCalls => one(numbers.socket_calls),
        Metric::Shards => one(numbers.shards.len() as u64),
        Metric::Cohorts => one(total.cohorts),
        Metric::Streams => one(total.streams),
        Metric::Lanes => one(total.lanes),
        Metric::PushesInFlight => one(total.pushes_in_flight),
        Metric::CallsInFlight => one(total.calls_in_flight),
        Metric::PushesSent => one(total.pushes_sent),
        Metric::Answers => Shown::By(
            "kind",
            ANSWERS.iter().zip(total.answers).map(|(kind, n)| ((*kind).to_owned(), n as f64)).collect(),
        ),
        Metric::Resends => Shown::By(
            "certainty",
            table(&[("safe", total.resends_safe), ("ambiguous", total.resends_ambiguous)]),
        ),
        Metric::Downgraded => one(total.downgraded),
        Metric::TokensKept => one(total.tokens_kept),
        Metric::Blocked => Shown::By(
            "cause",
            BLOCKED
                .iter()
                .zip(total.blocked_us)
                .map(|(cause, us)| ((*cause).to_owned(), seconds(us)))
                .collect(),
        ),
        Metric::Subscribes => one(total.subscribes),
        Metric::CatchUps => one(total.catch_ups),
        Metric::StreamsBroken => one(total.streams_broken),
        Metric::Connects => one(total.connects),
        Metric::Mails => Shown::By(
            "station",
            table(&[
                ("signalled", ledger.signalled),
                ("duplicate", ledger.duplicate),
                ("fetched", ledger.fetched),
            ]),
        ),
        Metric::Tellings => Shown::By(
            "station",
            table(&[
                ("folded", ledger.folded),
                ("offered", ledger.offered),
                ("returned", ledger.returned),
                ("accepted", ledger.accepted),
                ("superseded", ledger.superseded),
                ("expired", ledger.expired),
            ]),
        ),
        Metric::TellingsSuppressed => Shown::By(
            "reason",
            Suppressed::ALL
                .iter()
                .zip(ledger.suppressed)
                .map(|(why, n)| (why.name().to_owned(), n as f64))
                .collect(),
        ),
        Metric::TellingsOpen => {
            Shown::By("station", table(&[("waiting", ledger.waiting), ("in_flight", ledger.in_flight)]))
        }
        Metric::MailToWritten => Shown::Times(&numbers.mail_to_written),
        Metric::DueToWritten => Shown::Times(&numbers.due_to_written),
        Metric::MailToAccepted => Shown::Times(&numbers.mail_to_accepted),
        Metric::LatencyQuantile => {
            let quantiles = |latency: &'static str, at: &Latency| {
                [
                    ("0.5", at.p50_us),
                    ("0.9", at.p90_us),
                    ("0.99", at.p99_us),
                    ("0.999", at.p999_us),
                    ("1", at.max_us),
                ]
                .map(|(quantile, us)| ([latency.to_owned(), quantile.to_owned()], seconds(us)))
            };
            let all = [
                quantiles("mail_to_written", &numbers.mail_to_written),
                quantiles("due_to_written", &numbers.due_to_written),
                quantiles("mail_to_accepted", &numbers.mail_to_accepted),
            ];
            Shown::ByTwo(["latency", "quantile"], all.into_iter().flatten().collect())
        }
        Metric::MailServerUp => Shown::By("exchange", health(&sample.mail_servers)),
        Metric::PushServiceUp => Shown::By("push", health(&sample.push_services)),
        Metric::StoreUp => one(u64::from(sample.store_up)),
        Metric::StoreWaiting => one(sample.store.waiting),
        Metric::StoreBatches => one(sample.store.batches),
        Metric::StoreFailures => one(sample.store.failures),
        Metric::JournalUp => one(u64::from(numbers.journal.trouble.is_none())),
        Metric::JournalBytes => one(numbers.journal.bytes),
        Metric::JournalFailures => one(numbers.journal.failures),
        Metric::JournalGivenUp => one(numbers.journal.given_up),
        Metric::TokenAge => Shown::By(
            "key",
            sample.token_ages_s.iter().map(|(key, age_s)| (key.clone(), *age_s as f64)).collect(),
        ),
        Metric::ApiConnections => {
            let (known, strangers) = sample.connections;
            Shown::By("caller", table(&[("known", known as u64), ("stranger", strangers as u64)]))
        }
        Metric::ApiConnectionsClosed => Shown::By(
            "reason",
            Closed::ALL
                .iter()
                .zip(sample.connections_closed)
                .map(|(why, n)| (why.name().to_owned(), n as f64))
                .collect(),
        ),
        Metric::ProcessCpu => Shown::One(sample.process.cpu_s),
        Metric::ProcessMemory => one(sample.process.resident_bytes),
        Metric::ProcessThreads => one(sample.process.threads),
    }
}

#[expect(clippy::cast_precision_loss, reason = "times are shown in seconds")]
fn encode(sample: &Sample, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
    for &metric in Metric::ALL {
        let kind = metric.kind();
        let mut at = encoder.encode_descriptor(metric.name(), metric.help(), None, kind)?;
        match shown(metric, sample) {
            Shown::One(value) => number(&mut at, kind, value)?,
            Shown::By(label, values) => {
                for (name, value) in values {
                    number(&mut at.encode_family(&[(label, name.as_str())])?, kind, value)?;
                }
            }
            Shown::ByTwo([first, second], values) => {
                for ([one, two], value) in values {
                    let labels = [(first, one.as_str()), (second, two.as_str())];
                    number(&mut at.encode_family(&labels)?, kind, value)?;
                }
            }
            Shown::Times(latency) => {
                let mut below = 0;
                let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(LATENCY_BOUNDS_US.len() + 1);
                for (bound_us, at_most) in LATENCY_BOUNDS_US.iter().zip(latency.at_most) {
                    // The encoder sums the buckets up; ours are sums already.
                    buckets.push((*bound_us as f64 / 1e6, at_most.saturating_sub(below)));
                    below = below.max(at_most);
                }
                buckets.push((f64::INFINITY, latency.count.saturating_sub(below)));
                at.encode_histogram::<NoLabelSet>(
                    latency.sum_us as f64 / 1e6,
                    latency.count.max(below),
                    &buckets,
                    None,
                )?;
            }
        }
    }
    Ok(())
}

fn number(
    at: &mut prometheus_client::encoding::MetricEncoder<'_>,
    kind: MetricType,
    value: f64,
) -> Result<(), fmt::Error> {
    match kind {
        MetricType::Counter => at.encode_counter::<NoLabelSet, f64, u64>(&value, None),
        MetricType::Gauge | MetricType::Histogram | MetricType::Info | MetricType::Unknown => {
            at.encode_gauge(&value)
        }
    }
}

/// What the operating system says of this process.
#[derive(Clone, Copy, Debug, Default)]
struct Process {
    cpu_s: f64,
    resident_bytes: u64,
    threads: u64,
}

impl Process {
    /// Reads `/proc/self` (Linux); zeros elsewhere.
    fn read() -> Process {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        // proc(5): the name of the program stands in parentheses and may hold blanks; utime is field 14, stime 15.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        let line = |name: &str| {
            let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        };
        Process {
            // USER_HZ is 100 on every Linux that Rust's tier 1 and 2 know.
            cpu_s: f64::from(u32::try_from(ticks).unwrap_or(u32::MAX)) / 100.0,
            resident_bytes: line("VmRSS:").unwrap_or(0) * 1_024,
            threads: line("Threads:").unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use carillon_core::ledger::Ledger;
    use carillon_core::shard::ShardStats;

    use super::*;
    use crate::engine::JournalStats;

    fn sample(numbers: Numbers) -> Sample {
        Sample {
            uptime_s: 1.5,
            counts: Counts { users: 3, devices: 4, live: 2, polling: 0, unwatched: 1 },
            numbers,
            mail_servers: vec![("main".to_owned(), true)],
            push_services: vec![("apns".to_owned(), false)],
            store_up: true,
            store: StoreNumbers { waiting: 5, ..StoreNumbers::default() },
            token_ages_s: vec![("KEY1234567".to_owned(), 60)],
            connections: (11, 12),
            connections_closed: [13, 14, 15, 16],
            process: Process::read(),
        }
    }

    #[derive(Debug)]
    struct Fixed(Numbers);

    impl Collector for Fixed {
        fn encode(&self, encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
            encode(&sample(self.0.clone()), encoder)
        }
    }

    fn text(numbers: Numbers) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Fixed(numbers)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn every_metric_is_written_under_its_name() {
        let text = text(Numbers::default());
        for metric in Metric::ALL {
            assert!(text.contains(&format!("# TYPE {} ", metric.name())), "{metric:?} is missing");
            assert!(!metric.name().ends_with("_total"), "{metric:?}: the encoder adds _total");
        }
        assert!(text.contains("carillon_users 3.0\n"), "{text}");
        assert!(text.contains("carillon_push_service_up{push=\"apns\"} 0.0\n"), "{text}");
        assert!(text.contains("carillon_tellings_suppressed_total{reason=\"alerts_off\"} 0.0\n"), "{text}");
        for (metric, number) in [
            ("carillon_api_connections{caller=\"known\"}", "11.0"),
            ("carillon_api_connections{caller=\"stranger\"}", "12.0"),
            ("carillon_api_connections_closed_total{reason=\"full\"}", "13.0"),
            ("carillon_api_connections_closed_total{reason=\"displaced\"}", "14.0"),
            ("carillon_api_connections_closed_total{reason=\"not_read\"}", "15.0"),
            ("carillon_api_connections_closed_total{reason=\"stranger\"}", "16.0"),
        ] {
            assert!(text.contains(&format!("{metric} {number}\n")), "{metric}: {text}");
        }
        assert!(text.contains("process_cpu_seconds_total "), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_journals_numbers_are_shown_each_under_its_name() {
        let trouble = Some("full".to_owned());
        let journal = JournalStats { bytes: 11, failures: 12, given_up: 13, trouble };
        let text = text(Numbers { journal, ..Numbers::default() });
        for line in [
            "carillon_journal_up 0.0",
            "carillon_journal_bytes_total 11.0",
            "carillon_journal_failures_total 12.0",
            "carillon_journal_given_up_total 13.0",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} is missing in\n{text}");
        }
        assert!(self::text(Numbers::default()).contains("carillon_journal_up 1.0\n"));
    }

    #[test]
    fn buckets_are_sums_and_end_in_the_count() {
        let mut latency = Latency { count: 10, sum_us: 5_000_000, ..Latency::default() };
        for (at, bound) in LATENCY_BOUNDS_US.iter().enumerate() {
            latency.at_most[at] = match bound {
                0..1_000 => 0,
                1_000..100_000 => 4,
                _ => 9,
            };
        }
        let text = text(Numbers { mail_to_written: latency, ..Numbers::default() });
        for line in [
            "carillon_mail_to_written_seconds_sum 5.0",
            "carillon_mail_to_written_seconds_count 10",
            "carillon_mail_to_written_seconds_bucket{le=\"0.0005\"} 0",
            "carillon_mail_to_written_seconds_bucket{le=\"0.001\"} 4",
            "carillon_mail_to_written_seconds_bucket{le=\"0.1\"} 9",
            "carillon_mail_to_written_seconds_bucket{le=\"60.0\"} 9",
            "carillon_mail_to_written_seconds_bucket{le=\"+Inf\"} 10",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn the_process_has_memory_and_threads() {
        let process = Process::read();
        assert!(process.resident_bytes > 1_000_000 && process.threads >= 1, "{process:?}");
    }

    /// No two of its numbers are the same.
    fn distinct() -> Sample {
        let mut next = 1_000;
        let mut number = || {
            next += 1;
            next
        };
        let latency = |scale: u64| Latency {
            count: scale + 20,
            sum_us: scale * 1_000,
            p50_us: scale + 1,
            p90_us: scale + 2,
            p99_us: scale + 3,
            p999_us: scale + 4,
            max_us: scale + 5,
            at_most: std::array::from_fn(|at| scale + at as u64),
        };
        let latencies = [latency(100), latency(200), latency(300)];
        let [mail_to_written, due_to_written, mail_to_accepted] = latencies;
        let ledger = Ledger {
            signalled: number(),
            duplicate: number(),
            folded: number(),
            fetched: number(),
            offered: number(),
            returned: number(),
            accepted: number(),
            suppressed: std::array::from_fn(|_| number()),
            superseded: number(),
            expired: number(),
            waiting: number(),
            in_flight: number(),
        };
        let total = ShardStats {
            users: number(),
            users_live: number(),
            users_stopped: number(),
            devices: number(),
            cohorts: number(),
            streams: number(),
            lanes: number(),
            pushes_in_flight: number(),
            calls_in_flight: number(),
            users_ready: number(),
            pushes_sent: number(),
            answers: std::array::from_fn(|_| number()),
            resends_ambiguous: number(),
            resends_safe: number(),
            downgraded: number(),
            second_look: number(),
            calls_given_up: 2_001,
            tokens_kept: number(),
            blocked_us: std::array::from_fn(|_| number() * 1_000_000),
            subscribes: number(),
            catch_ups: number(),
            streams_broken: number(),
            connects: number(),
            ledger,
        };
        Sample {
            uptime_s: 1.5,
            counts: Counts {
                users: number(),
                devices: number(),
                live: number(),
                polling: 2_002,
                unwatched: number(),
            },
            numbers: Numbers {
                shards: vec![ShardStats::default(); 7],
                total,
                turns: number(),
                socket_calls: number(),
                journal: JournalStats {
                    bytes: 3_001,
                    failures: 3_002,
                    given_up: 3_003,
                    trouble: Some("full".to_owned()),
                },
                mail_to_written,
                due_to_written,
                mail_to_accepted,
            },
            mail_servers: vec![("main".to_owned(), true), ("other".to_owned(), false)],
            push_services: vec![("apns".to_owned(), false), ("sandbox".to_owned(), true)],
            store_up: true,
            store: StoreNumbers { waiting: number(), batches: number(), failures: number() },
            token_ages_s: vec![("KEY1234567".to_owned(), number()), ("KEY7654321".to_owned(), number())],
            connections: (3_001, 3_002),
            connections_closed: [3_003, 3_004, 3_005, 3_006],
            process: Process { cpu_s: 2.5, resident_bytes: number(), threads: number() },
        }
    }

    #[derive(Debug)]
    struct Distinct;

    impl Collector for Distinct {
        fn encode(&self, encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
            encode(&distinct(), encoder)
        }
    }

    /// The whole page, as it was read once line by line, beside the sample above. Who adds a metric gives its source a number
    /// there, runs this with `WRITE_METRICS=1`, and reads what changed in the file.
    #[test]
    fn each_metric_shows_the_number_of_its_name() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Distinct));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        if std::env::var_os("WRITE_METRICS").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/metrics.txt"), &text).unwrap();
        }
        let expected =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/metrics.txt")).unwrap();
        for (at, (line, expected)) in text.lines().zip(expected.lines()).enumerate() {
            assert_eq!(line, expected, "line {} of service/src/metrics.txt", at + 1);
        }
        assert_eq!(text.lines().count(), expected.lines().count());
    }
}
