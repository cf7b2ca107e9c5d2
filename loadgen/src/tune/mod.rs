//! `loadgen tune`: how much mail this machine holds, and with which settings.
//!
//! One running Carillon, on a core of its own, is given mail at a rate that rises until the budget breaks; then the gap
//! between the last rate that held and the first that did not is halved ([`search`]). With time left, each setting that
//! matters is tried with other values at the knee. What was measured is written down after each step, so that a run that
//! was stopped goes on where it was.

mod page;
pub(crate) mod search;
mod settings;
mod table;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::profile::{Plan, Profile};
use crate::run::{self, Failure, Job, Limits, Stop};
use search::{HOLD_S, Knee, Step};
use settings::{Candidate, Trial};

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where everything is written.
    pub report: PathBuf,
    /// How long all of it may take.
    pub minutes: u32,
    /// Mailboxes.
    pub users: u32,
    /// Goes on with what is in the report's folder.
    pub resume: bool,
    /// The program under test.
    pub carillon: Option<PathBuf>,
    /// Keys of `carillon.toml` in place of the defaults.
    pub config: Option<PathBuf>,
}

/// `tune.json`: everything that was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tuned {
    /// Mailboxes.
    pub users: u32,
    /// Phones.
    pub devices: u32,
    /// Everything random came from it.
    pub seed: u64,
    /// The budget: milliseconds for the 99th percentile of the latency added.
    pub latency_p99_ms_max: f64,
    /// The budget: resident memory.
    pub rss_mib_max: f64,
    /// Keys of `carillon.toml` that had other values than the defaults.
    pub config: toml::Table,
    /// Rates, in the order in which they were held.
    pub steps: Vec<Step>,
    /// Resident memory with all mailboxes watched, before any mail.
    pub idle_rss_mib: f64,
    /// From the start until every mailbox was watched.
    pub live_s: f64,
    /// Mails that were lost or told twice in all steps, and other complaints of the ledger, in words.
    pub complaints: Vec<String>,
    /// Settings that were tried at the knee.
    pub trials: Vec<Trial>,
    /// The knee's rate with more mailboxes.
    #[serde(default)]
    pub more_users: Vec<MoreUsers>,
    /// Settings and numbers of mailboxes for which there was no time.
    pub not_tried: Vec<String>,
    /// Processor cores of this machine.
    pub cores: usize,
}

/// The knee's rate, held with more mailboxes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct MoreUsers {
    /// Mailboxes.
    pub users: u32,
    /// The budget for so many: resident memory.
    pub rss_mib_max: f64,
    /// Resident memory with all of them watched, before any mail.
    pub idle_rss_mib: f64,
    /// From the start until every mailbox was watched.
    pub live_s: f64,
    /// What came of the rate.
    pub step: Step,
    /// What the ledger complained of.
    pub complaints: Vec<String>,
}

impl MoreUsers {
    /// Within the budget.
    pub(crate) fn held(&self) -> bool {
        self.step.verdict == search::Verdict::Held && self.complaints.is_empty()
    }
}

impl Tuned {
    /// The most mailboxes with which the knee's rate was held.
    pub(crate) fn users_held(&self) -> u32 {
        self.more_users.iter().filter(|more| more.held()).map(|more| more.users).max().unwrap_or(self.users)
    }

    /// Memory that each further mailbox with its phones takes, in bytes, from the smallest and the largest number.
    pub(crate) fn bytes_per_user(&self) -> Option<f64> {
        let most = self.more_users.iter().max_by_key(|more| more.users)?;
        let mib = most.idle_rss_mib - self.idle_rss_mib;
        Some(mib * 1_048_576.0 / f64::from(most.users - self.users))
    }

    /// The knee at the present settings, if one was found.
    pub(crate) fn knee(&self) -> Option<Knee> {
        search::knee(&self.steps)
    }

    /// Whether other work on the machine disturbed the measurement: how much of a core, in percent, at the worst step.
    pub(crate) fn noise_percent(&self) -> f64 {
        let long = self.steps.iter().filter(|step| step.seconds >= HOLD_S);
        long.map(|step| step.other_cpu_percent).fold(0.0, f64::max)
    }

    /// Other work takes so much that the figures cannot be relied on.
    pub(crate) fn is_noisy(&self) -> bool {
        self.noise_percent() > NOISE_PERCENT_MAX
    }
}

/// Runs it. True: a knee was found, and nothing was lost.
pub(crate) fn tune(options: &Options) -> Result<bool, Failure> {
    let begun = Instant::now();
    let until = begun + Duration::from_secs(u64::from(options.minutes) * 60);
    std::fs::create_dir_all(&options.report)
        .map_err(|error| format!("cannot make {}: {error}", options.report.display()))?;
    let carillon = run::find_carillon(options.carillon.as_deref())?;
    let stop = Stop::watch()?;
    let mut tuned = begin(options)?;
    let tuner = Tuner { options, carillon: &carillon, stop: &stop, until };
    let result = tuner.all(&mut tuned);
    if result.is_err() && stop.asked() {
        tuner.save(&tuned)?;
        eprintln!("stopped; `--resume` goes on with what is in {}", options.report.display());
        return Err(Failure::Stopped);
    }
    result?;
    tuner.save(&tuned)?;
    print!("{}", table::table(&tuned));
    for name in [TUNE_JSON, TUNE_HTML, SETTINGS_TOML] {
        println!("wrote {}", options.report.join(name).display());
    }
    Ok(tuned.knee().is_some() && tuned.complaints.is_empty())
}

/// What was measured before, or nothing yet.
fn begin(options: &Options) -> Result<Tuned, String> {
    let config = match &options.config {
        None => toml::Table::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let config: toml::Table = text.parse().map_err(|error| format!("{}: {error}", path.display()))?;
            run::overlay(&mut toml::Table::new(), &config)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            config
        }
    };
    let path = options.report.join(TUNE_JSON);
    if options.resume {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("nothing to resume: cannot read {}: {error}", path.display()))?;
        let tuned: Tuned =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        if tuned.users != options.users || tuned.config != config {
            return Err(format!(
                "{} is of another run: {} users, or other settings. Give the same --users and --config, or another --report",
                path.display(),
                tuned.users
            ));
        }
        return Ok(tuned);
    }
    Ok(Tuned {
        users: options.users,
        devices: devices(options.users),
        seed: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
        latency_p99_ms_max: LATENCY_P99_MS_MAX,
        rss_mib_max: rss_mib_max(options.users),
        config,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        ..Tuned::default()
    })
}

struct Tuner<'a> {
    options: &'a Options,
    carillon: &'a Path,
    stop: &'a Stop,
    until: Instant,
}

impl Tuner<'_> {
    fn all(&self, tuned: &mut Tuned) -> Result<(), Failure> {
        if tuned.cores < 2 {
            return Err(Failure::Broken(
                "tuning takes two processor cores: one for Carillon, one for the simulated servers".into(),
            ));
        }
        if search::next(&tuned.steps).is_some() {
            println!(
                "{} mailboxes: searching for the highest rate with p99 at most {} ms and {:.0} MiB",
                tuned.users, tuned.latency_p99_ms_max, tuned.rss_mib_max
            );
            self.find_knee(tuned)?;
        }
        let Some(knee) = tuned.knee() else { return Ok(()) };
        let candidates = settings::candidates(&tuned.config);
        let wanted = self.options.minutes >= SETTINGS_FROM_MINUTES;
        let begin = tuned.trials.len();
        tuned.not_tried.clear();
        for factor in USERS_FACTORS.into_iter().skip(tuned.more_users.len()) {
            let users = tuned.users * factor;
            if tuned.more_users.last().is_some_and(|more| !more.held()) {
                break;
            }
            // Watching so many takes as much longer.
            let takes = TRIAL + Duration::from_secs_f64(tuned.live_s * f64::from(factor));
            if !wanted || self.left() < takes {
                tuned.not_tried.push(format!("{users} mailboxes"));
                continue;
            }
            println!("trying {users} mailboxes");
            let more = self.try_users(tuned, users, knee)?;
            tuned.more_users.push(more);
            self.save(tuned)?;
        }
        for candidate in candidates.into_iter().skip(begin) {
            if !wanted || self.left() < TRIAL {
                tuned.not_tried.push(candidate.label());
                continue;
            }
            println!("trying {}", candidate.label());
            let trial = self.try_setting(tuned, &candidate, knee)?;
            tuned.trials.push(trial);
            self.save(tuned)?;
        }
        Ok(())
    }

    fn find_knee(&self, tuned: &mut Tuned) -> Result<(), Failure> {
        let plan = plan(tuned, &toml::Table::new())?;
        let mut steps = tuned.steps.clone();
        let config = tuned.config.clone();
        let driven = self.drive(tuned, &plan, &config, &mut |step| {
            if let Some(step) = step {
                steps.push(step);
                // Half of it is worth keeping: the next step may be the one that is interrupted.
                let so_far = Tuned { steps: steps.clone(), ..tuned.clone() };
                if let Err(error) = self.save(&so_far) {
                    eprintln!("loadgen: {error}");
                }
            }
            let left = self.left().as_secs_f64();
            let fits = |probe: &search::Probe| left > probe.seconds + STEP_OVERHEAD_S;
            if left < HOLD_S + search::PROBE_S + 2.0 * STEP_OVERHEAD_S {
                return search::last(&steps).filter(fits);
            }
            search::next(&steps).filter(fits)
        });
        tuned.steps = steps;
        let driven = driven?;
        tuned.idle_rss_mib = idle_rss_mib(&driven);
        tuned.live_s = driven.live_s;
        tuned.complaints = complaints(&driven);
        self.save(tuned)?;
        Ok(())
    }

    /// The knee's rate with one setting changed.
    fn try_setting(&self, tuned: &Tuned, candidate: &Candidate, knee: Knee) -> Result<Trial, Failure> {
        let mut config = tuned.config.clone();
        candidate.put(&mut config);
        let plan = plan(tuned, &config)?;
        let mut steps: Vec<Step> = Vec::new();
        let driven = self.drive(tuned, &plan, &config, &mut |step| {
            steps.extend(step);
            let rate = match steps.as_slice() {
                // The first second of a fresh process is no measure.
                [] => return Some(search::Probe { rate: knee.rate / 2.0, seconds: 4.0 }),
                [_] => knee.rate,
                [_, at_knee] if at_knee.verdict == search::Verdict::Held => knee.rate * 1.15,
                [..] => return None,
            };
            Some(search::Probe { rate, seconds: TRIAL_S })
        })?;
        steps.remove(0);
        Ok(Trial { candidate: candidate.clone(), steps, complaints: complaints(&driven) })
    }

    /// The knee's rate with more mailboxes.
    fn try_users(&self, tuned: &Tuned, users: u32, knee: Knee) -> Result<MoreUsers, Failure> {
        let more = Tuned { users, devices: devices(users), rss_mib_max: rss_mib_max(users), ..tuned.clone() };
        let plan = plan(&more, &toml::Table::new())?;
        let mut steps: Vec<Step> = Vec::new();
        let driven = self.drive(&more, &plan, &tuned.config, &mut |step| {
            steps.extend(step);
            match steps.as_slice() {
                // The first second of a fresh process is no measure.
                [] => Some(search::Probe { rate: knee.rate / 2.0, seconds: 4.0 }),
                [_] => Some(search::Probe { rate: knee.rate, seconds: HOLD_S }),
                [..] => None,
            }
        })?;
        Ok(MoreUsers {
            users,
            rss_mib_max: more.rss_mib_max,
            idle_rss_mib: idle_rss_mib(&driven),
            live_s: driven.live_s,
            step: steps.pop().unwrap_or_default(),
            complaints: complaints(&driven),
        })
    }

    fn drive(
        &self,
        tuned: &Tuned,
        plan: &Plan,
        config: &toml::Table,
        next: &mut dyn FnMut(Option<Step>) -> Option<search::Probe>,
    ) -> Result<run::Driven, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("loadgen-")
            .tempdir()
            .map_err(|error| format!("cannot make a temporary folder: {error}"))?;
        let start_unix_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let job = Job {
            plan,
            seed: tuned.seed,
            start_unix_ms,
            carillon: self.carillon,
            folder: folder.path(),
            begun: Instant::now(),
            overrides: config,
            pin: true,
        };
        let limits = Limits { latency_p99_ms: tuned.latency_p99_ms_max, rss_mib: tuned.rss_mib_max };
        let driven = run::steps(&job, limits, next, self.stop);
        let log = driven.is_err().then(|| run::log_tail(folder.path()));
        run::keep_log(folder.path(), &self.options.report);
        folder.close().map_err(|error| format!("cannot remove the temporary folder: {error}"))?;
        driven.map_err(|error| Failure::Broken(format!("{error}{}", log.unwrap_or_default())))
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    fn save(&self, tuned: &Tuned) -> Result<(), String> {
        let json = serde_json::to_string_pretty(tuned).map_err(|error| error.to_string())?;
        let files = [
            (TUNE_JSON, json + "\n"),
            (TUNE_HTML, page::page(tuned)),
            (SETTINGS_TOML, settings::recommended(tuned)),
        ];
        for (name, text) in files {
            let path = self.options.report.join(name);
            std::fs::write(&path, text)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(())
    }
}

/// The load of node-10k, without bursts, for so many users.
fn plan(tuned: &Tuned, config: &toml::Table) -> Result<Plan, String> {
    let mut plan = Profile::find("node-10k")?.1.draw(tuned.seed);
    plan.people.users = tuned.users;
    plan.people.devices = tuned.devices;
    plan.load.burst_every_s = Default::default();
    let timing = |key: &str| {
        let value = config.get("timing").or_else(|| tuned.config.get("timing"))?.get(key)?.as_integer()?;
        u32::try_from(value).ok()
    };
    // What the simulated servers take off as waiting time has to be what Carillon is told to wait.
    let service = &mut plan.service;
    for (key, value) in [
        ("settle_ms", &mut service.settle_ms),
        ("vip_settle_ms", &mut service.vip_settle_ms),
        ("min_interval_ms", &mut service.min_interval_ms),
        ("max_delay_ms", &mut service.max_delay_ms),
    ] {
        *value = timing(key).unwrap_or(*value);
    }
    Ok(plan)
}

/// Phones of so many users: some have two.
fn devices(users: u32) -> u32 {
    users + users * 3 / 10
}

/// The budget for the memory of so many.
fn rss_mib_max(users: u32) -> f64 {
    RSS_MIB_BASE + f64::from(users) * RSS_KIB_PER_USER / 1_024.0
}

/// Memory with all mailboxes watched, before any mail.
fn idle_rss_mib(driven: &run::Driven) -> f64 {
    driven.samples.iter().rfind(|row| row.phase == "watch").and_then(|row| row.rss_mib).unwrap_or(0.0)
}

fn complaints(driven: &run::Driven) -> Vec<String> {
    let mut found: Vec<String> = driven
        .outcome
        .findings
        .iter()
        .filter(|(name, finding)| finding.count > 0 && *name != "told_after_gone")
        .map(|(name, finding)| format!("{}: {}", name.replace('_', " "), finding.count))
        .collect();
    if driven.unsettled || !driven.ledger.balances() {
        found.push("the engine's account does not balance".into());
    }
    found
}

/// Files in the report's folder.
const TUNE_JSON: &str = "tune.json";
const TUNE_HTML: &str = "tune.html";
const SETTINGS_TOML: &str = "recommended.toml";
/// The budget for the 99th percentile.
const LATENCY_P99_MS_MAX: f64 = 50.0;
/// The budget for memory: what the process has without users, and for each mailbox with its phones.
const RSS_MIB_BASE: f64 = 96.0;
const RSS_KIB_PER_USER: f64 = 4.0;
/// How many times as many mailboxes are tried.
const USERS_FACTORS: [u32; 2] = [3, 10];
/// More mailboxes and settings are tried from here on.
const SETTINGS_FROM_MINUTES: u32 = 20;
/// How long a setting is measured at one rate.
const TRIAL_S: f64 = 15.0;
/// What a setting takes in all.
const TRIAL: Duration = Duration::from_secs(100);
/// What a step takes beside its length: waiting for the last notices, and the end of the run.
const STEP_OVERHEAD_S: f64 = 15.0;
/// Other work on the machine, in percent of a core, from which on figures are not to be relied on.
const NOISE_PERCENT_MAX: f64 = 10.0;
