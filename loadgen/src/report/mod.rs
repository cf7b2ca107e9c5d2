//! What a run has shown: as data, as a table, as a page.

mod html;
mod table;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::control::{Finding, Percentiles};
use crate::profile::{Budget, Plan, Profile};
use crate::run::{Driven, Ledger, Sample};

pub(crate) use html::{STYLE, escape, html};
pub(crate) use table::{number, table};

/// `report.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The profile's name.
    pub profile: String,
    /// What it is about.
    pub about: String,
    /// Everything random came from it.
    pub seed: u64,
    /// Whether the ledger balances and every line of the budget held.
    pub passed: bool,
    /// Users.
    pub users: u64,
    /// Devices.
    pub devices: u64,
    /// Streaming connections to Exchange at one time, at most.
    pub streams: u64,
    /// Mails that came.
    pub signals: u64,
    /// Tellings (one mail for one device) that the engine opened.
    pub folded: u64,
    /// Tellings that APNs accepted, by name or by number alone, each counted once: the peers' account.
    pub accepted: u64,
    /// Of them, those by number alone ("5 new mails", some of them named).
    pub accepted_by_number: u64,
    /// Tellings that the engine did not make, by reason.
    pub suppressed: BTreeMap<String, u64>,
    /// Tellings that were not needed any more: the mail was read or deleted before.
    pub superseded: u64,
    /// Tellings too late to be news.
    pub expired: u64,
    /// Tellings that were owed and not made.
    pub lost: u64,
    /// Tellings that were made twice.
    pub duplicates: u64,
    /// Details on a phone whose app was not used for the cut-off.
    pub details_after_cutoff: u64,
    /// From a mail's first byte on the wire to the push's arrival, less the settling and intervals that applied.
    pub latency_ms: Percentiles,
    /// The engine's process.
    pub engine: Engine,
    /// Each line of the profile's budget.
    pub budget: Vec<BudgetLine>,
    /// The whole run.
    pub duration_s: f64,
    /// Whether every mail is accounted for, and by whom not.
    pub ledger: LedgerCheck,
    /// Pushes that APNs accepted, by what they showed; `all` counts those that came again, too.
    pub pushes: BTreeMap<String, u64>,
    /// Pushes that came again under their old `apns-id`, and were recognised.
    pub duplicates_recognised: u64,
    /// Pairs of mail and phone that had to be told.
    pub tellings_owed: u64,
    /// Mails read elsewhere, and mails deleted.
    pub mails_read: u64,
    /// As above.
    pub mails_deleted: u64,
    /// From the last mail to the last accepted alert.
    pub accepted_after_last_mail_ms: f64,
    /// From the first registration to the last.
    pub registered_s: f64,
    /// From the start until every mailbox was watched.
    pub live_s: f64,
    /// From the start with all users stored until every mailbox was watched again, if the run had that.
    pub restart_live_s: Option<f64>,
    /// How long the service took to end on SIGTERM, the slower of both times; none if it had to be killed.
    pub shutdown_s: Option<f64>,
    /// The slowest answer of `/v1/status` under load.
    pub status_ms: f64,
    /// The slowest answer of `/metrics` under load.
    pub metrics_ms: f64,
    /// Faults that the run made, by kind.
    pub faults: BTreeMap<String, u64>,
    /// What clients did that they must never do, as the strict peers saw it.
    pub misbehaviour: BTreeMap<String, u64>,
    /// What happened to the first few users in whose account something is wrong.
    pub histories: BTreeMap<String, Vec<String>>,
    /// What the peers counted.
    pub peers: BTreeMap<String, u64>,
    /// The profile with its ranges drawn.
    pub plan: Plan,
    /// Phases with their begin, in seconds.
    pub phases: Vec<(&'static str, f64)>,
    /// Twice a second.
    pub samples: Vec<Sample>,
}

/// What the engine's process took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Engine {
    /// From its start to its end; all of them together, if it was killed.
    pub cpu_seconds: f64,
    /// Under load, for each push accepted under load.
    pub cpu_us_per_push: f64,
    /// Under load, in percent of one core: from the first mail until nothing was open any more.
    pub cpu_percent_load: f64,
    /// Its peak resident memory.
    pub rss_bytes_peak: u64,
    /// By how much its resident memory grew until every mailbox was watched, for each user.
    pub bytes_per_user: f64,
    /// By how much its resident memory grew under load.
    pub rss_growth_percent: f64,
    /// Its threads, at most.
    pub threads: u64,
    /// How often it was killed and started again.
    pub restarts: u64,
    /// Its own latencies in microseconds, by name and quantile.
    pub latency_us: BTreeMap<String, BTreeMap<String, u64>>,
}

/// The account of every mail, from both sides.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LedgerCheck {
    /// Everything below is as it ought to be.
    pub balances: bool,
    /// What is not, in words.
    pub complaints: Vec<String>,
    /// The engine's own account; with what it had ended before, if it was killed.
    pub engine: Ledger,
    /// What the audit found, by kind.
    pub findings: BTreeMap<String, Finding>,
}

/// A line of the budget.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BudgetLine {
    /// Its key in the profile.
    pub name: &'static str,
    /// What the profile allows.
    pub limit: f64,
    /// What it was.
    pub figure: f64,
    /// Whether it held.
    pub held: bool,
}

impl Report {
    /// Draws the sums.
    pub(crate) fn new(
        name: &str,
        seed: u64,
        profile: &Profile,
        plan: &Plan,
        driven: Driven,
        duration_s: f64,
    ) -> Report {
        let outcome = driven.outcome;
        let found = |name: &str| outcome.findings.get(name).map_or(0, |finding| finding.count);
        let mut pushes = outcome.shown.clone();
        pushes.insert("all".to_owned(), outcome.pushes);
        let engine = Engine {
            cpu_seconds: driven.cpu_s,
            cpu_us_per_push: driven.cpu_load_s * 1e6 / (driven.pushes_load.max(1)) as f64,
            cpu_percent_load: driven.cpu_load_s / driven.load_s.max(0.001) * 100.0,
            rss_bytes_peak: driven.rss_bytes_peak,
            bytes_per_user: driven.bytes_per_user,
            rss_growth_percent: driven.rss_growth_percent,
            threads: driven.threads,
            restarts: driven.restarts,
            latency_us: driven.engine_latency_us,
        };
        let told = outcome.told_by_name + outcome.told_by_number;
        let ledger = LedgerCheck::new(
            driven.ledger,
            outcome.findings.clone(),
            driven.unsettled,
            (driven.restarts == 0 && outcome.faults.is_empty()).then_some((outcome.mails, told)),
        );
        let mut report = Report {
            profile: name.to_owned(),
            about: profile.about.clone(),
            seed,
            passed: false,
            users: u64::from(plan.people.users),
            devices: u64::from(plan.people.devices),
            streams: outcome.streams_max,
            signals: outcome.mails,
            folded: ledger.engine.folded,
            accepted: told,
            accepted_by_number: outcome.told_by_number,
            suppressed: ledger.engine.suppressed.clone(),
            superseded: ledger.engine.superseded,
            expired: ledger.engine.expired,
            lost: found("lost"),
            duplicates: found("duplicates"),
            details_after_cutoff: found("details_after_cutoff"),
            latency_ms: outcome.latency,
            engine,
            budget: Vec::new(),
            duration_s,
            ledger,
            pushes,
            duplicates_recognised: outcome.duplicates_recognised,
            tellings_owed: outcome.tellings_owed,
            mails_read: outcome.reads,
            mails_deleted: outcome.deletes,
            accepted_after_last_mail_ms: outcome.accepted_after_last_mail_ms,
            registered_s: driven.registered_s,
            live_s: driven.live_s,
            restart_live_s: driven.restart.map(|restart| restart.live_s),
            shutdown_s: match driven.restart {
                None => driven.shutdown_s,
                Some(first) => {
                    first.shutdown_s.zip(driven.shutdown_s).map(|(first, last)| f64::max(first, last))
                }
            },
            status_ms: driven.slowest.status_ms,
            metrics_ms: driven.slowest.metrics_ms,
            faults: outcome.faults,
            misbehaviour: outcome.misbehaviour,
            histories: outcome.histories,
            peers: outcome.peers,
            plan: plan.clone(),
            phases: driven.phases,
            samples: driven.samples,
        };
        report.budget = report.judge(&profile.budget);
        report.passed = report.ledger.balances && report.budget.iter().all(|line| line.held);
        report
    }

    fn judge(&self, budget: &Budget) -> Vec<BudgetLine> {
        let most = |name, limit: Option<f64>, figure: f64| {
            limit.map(|limit| BudgetLine { name, limit, figure, held: figure <= limit })
        };
        let least = |name, limit: Option<f64>, figure: f64| {
            limit.map(|limit| BudgetLine { name, limit, figure, held: figure >= limit })
        };
        // A run in which nothing was measured has not held a latency.
        let measured = |figure: f64| if self.latency_ms.count > 0 { figure } else { f64::MAX };
        let asked = |figure: f64| if figure > 0.0 { figure } else { f64::MAX };
        let rss_mib = self.engine.rss_bytes_peak as f64 / 1_048_576.0;
        let misbehaviour = self.misbehaviour.values().sum::<u64>() as f64;
        [
            least("users_min", budget.users_min, self.users as f64),
            most("streams_max", budget.streams_max, self.streams as f64),
            most("lost_max", budget.lost_max, self.lost as f64),
            most("duplicates_max", budget.duplicates_max, self.duplicates as f64),
            most(
                "details_after_cutoff_max",
                budget.details_after_cutoff_max,
                self.details_after_cutoff as f64,
            ),
            most("misbehaviour_max", budget.misbehaviour_max, misbehaviour),
            most("latency_p50_ms_max", budget.latency_p50_ms_max, measured(self.latency_ms.p50)),
            most("latency_p99_ms_max", budget.latency_p99_ms_max, measured(self.latency_ms.p99)),
            most("engine_cpu_percent_max", budget.engine_cpu_percent_max, self.engine.cpu_percent_load),
            most(
                "engine_cpu_us_per_push_max",
                budget.engine_cpu_us_per_push_max,
                self.engine.cpu_us_per_push,
            ),
            most("engine_rss_mib_max", budget.engine_rss_mib_max, rss_mib),
            most(
                "accepted_after_last_mail_ms_max",
                budget.accepted_after_last_mail_ms_max,
                self.accepted_after_last_mail_ms,
            ),
            most("live_s_max", budget.live_s_max, self.live_s),
            most("duration_s_max", budget.duration_s_max, self.duration_s),
            most("restart_live_s_max", budget.restart_live_s_max, self.restart_live_s.unwrap_or(f64::MAX)),
            most("shutdown_s_max", budget.shutdown_s_max, self.shutdown_s.unwrap_or(f64::MAX)),
            most("api_ms_max", budget.api_ms_max, asked(f64::max(self.status_ms, self.metrics_ms))),
            most(
                "engine_rss_growth_percent_max",
                budget.engine_rss_growth_percent_max,
                self.engine.rss_growth_percent,
            ),
            most("engine_bytes_per_user_max", budget.engine_bytes_per_user_max, self.engine.bytes_per_user),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl LedgerCheck {
    /// `seen`: the mails that the engine must have been told of, and the tellings that must have been accepted. Only
    /// where nothing breaks is either certain.
    fn new(
        engine: Ledger,
        findings: BTreeMap<String, Finding>,
        unsettled: bool,
        seen: Option<(u64, u64)>,
    ) -> LedgerCheck {
        let mut complaints = Vec::new();
        if unsettled || !engine.is_settled() {
            complaints.push(format!(
                "the engine did not settle: {} tellings wait, {} are in flight",
                engine.waiting, engine.in_flight
            ));
        }
        if !engine.balances() {
            complaints.push("the engine's own sums do not agree".to_owned());
        }
        if let Some((mails, _)) = seen.filter(|(mails, _)| *mails != engine.signalled) {
            complaints.push(format!("{mails} mails came, the engine counts {}", engine.signalled));
        }
        if let Some((_, told)) = seen.filter(|(_, told)| *told != engine.accepted) {
            complaints.push(format!("{told} tellings were accepted, the engine counts {}", engine.accepted));
        }
        for (name, finding) in &findings {
            // The budget judges these; and a mail told after it was read is right where the news of it came late.
            let elsewhere =
                ["duplicates", "details_after_cutoff", "told_after_gone"].contains(&name.as_str());
            if finding.count > 0 && !elsewhere {
                let example =
                    finding.examples.first().map_or_else(String::new, |text| format!(", first: {text}"));
                let complaint = format!("{}: {}{example}", name.replace('_', " "), finding.count);
                // One user's mail on another's phone goes before everything else.
                let at = if name == "foreign" { 0 } else { complaints.len() };
                complaints.insert(at, complaint);
            }
        }
        LedgerCheck { balances: complaints.is_empty(), complaints, engine, findings }
    }
}

#[cfg(test)]
pub(crate) mod tests;
