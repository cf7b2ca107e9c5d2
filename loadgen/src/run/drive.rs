//! The phases of a run, in order.

mod steps;

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use carillon_core::time::UnixMillis;

use super::api::{Api, Ledger, Status};
use super::carillon::{self, Secrets};
use super::child::{NoLine, Process};
use super::progress::Progress;
use super::sampler::{Sample, Sampler};
use super::stop::Stop;
use crate::control::{Note, Order, Outcome, Setup, Stepped, Tick};
use crate::people::People;
use crate::process::{self, Usage};
use crate::profile::Plan;
use crate::tls::{self, CA_CERT};

pub(crate) use steps::{Limits, steps};

/// What is to be done.
pub(crate) struct Job<'a> {
    pub plan: &'a Plan,
    pub seed: u64,
    pub start_unix_ms: u64,
    pub carillon: &'a Path,
    pub folder: &'a Path,
    pub begun: Instant,
    /// Keys of `carillon.toml` that are to have other values.
    pub overrides: &'a toml::Table,
    /// Carillon on the first core, everything else on the second one.
    pub pin: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Driven {
    /// The peers' side.
    pub outcome: Outcome,
    /// The engine's own account; with what it had ended before, if it was killed.
    pub ledger: Ledger,
    /// The engine's own latencies, in microseconds, by name and quantile.
    pub engine_latency_us: std::collections::BTreeMap<String, std::collections::BTreeMap<String, u64>>,
    /// Whether the service was killed and started again.
    pub restarts: u64,
    /// CPU seconds of all of the engine's processes, from start to end.
    pub cpu_s: f64,
    /// CPU seconds while there was load, the settling of the last mails included.
    pub cpu_load_s: f64,
    /// How long that was.
    pub load_s: f64,
    /// Peak resident memory.
    pub rss_bytes_peak: u64,
    /// Threads, at most.
    pub threads: u64,
    /// From the first registration to the last.
    pub registered_s: f64,
    /// From the start until every mailbox was watched.
    pub live_s: f64,
    /// How it was ended and started again with all users stored.
    pub restart: Option<Restart>,
    /// Pushes accepted while there was load.
    pub pushes_load: u64,
    /// By how much its resident memory grew until every mailbox was watched, for each user.
    pub bytes_per_user: f64,
    /// By how much its resident memory grew under load.
    pub rss_growth_percent: f64,
    /// The slowest answers of its API under load.
    pub slowest: Slowest,
    /// How long the service took to end on SIGTERM; none if it had to be killed.
    pub shutdown_s: Option<f64>,
    /// The account did not settle in time.
    pub unsettled: bool,
    /// For the charts.
    pub samples: Vec<Sample>,
    /// Phases with their begin, in seconds from the start.
    pub phases: Vec<(&'static str, f64)>,
}

/// The service was ended and started again before the first mail.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Restart {
    /// From SIGTERM to its end; none if it had to be killed.
    pub shutdown_s: Option<f64>,
    /// From its start until every mailbox was watched again.
    pub live_s: f64,
}

/// The slowest answers under load.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Slowest {
    /// Of `/v1/status`, in milliseconds.
    pub status_ms: f64,
    /// Of `/metrics`, in milliseconds.
    pub metrics_ms: f64,
}

/// How it was before the first mail.
struct Before {
    at: Instant,
    cpu_s: f64,
    pushes: u64,
    rss_bytes: u64,
}

/// A run under way.
struct Drive<'a> {
    job: &'a Job<'a>,
    stop: &'a Stop,
    progress: Progress,
    peers: Process,
    carillon: Process,
    api: Api,
    admin_token: String,
    sampler: Sampler,
    phase: &'static str,
    tick: Tick,
    samples: Vec<Sample>,
    phases: Vec<(&'static str, f64)>,
    /// CPU of processes that are no more, and the last look at the present one.
    cpu_before_s: f64,
    usage: Usage,
    rss_bytes_peak: u64,
    threads: u64,
    restarts: u64,
    ledgers_before: Vec<Ledger>,
    registered_s: f64,
    rss_bytes_ready: u64,
    bytes_per_user: f64,
    slowest: Slowest,
    played: bool,
    stepped: Option<Stepped>,
    /// Carillon was asked to end.
    ending: bool,
    outcome: Option<Box<Outcome>>,
}

/// Does it all. Whatever happens, no process is left.
pub(super) fn drive(job: &Job<'_>, stop: &Stop) -> Result<Driven, String> {
    let mut drive = start(job, stop)?;
    let driven = drive.all();
    drive.progress.end();
    driven
}

/// Starts the processes.
fn start<'a>(job: &'a Job<'a>, stop: &'a Stop) -> Result<Drive<'a>, String> {
    let mut progress = Progress::new(job.begun);
    progress.phase("start", 1);
    tls::write_all(job.folder)?;
    let secrets = carillon::write_secrets(job.folder, job.seed)?;
    if job.pin {
        process::stay_on(PEERS_CORE)?;
    }
    let (peers, exchange_port, apns_port) = start_peers(job, &secrets, stop)?;
    carillon::write_config(job.folder, job.plan, &secrets, (exchange_port, apns_port), job.overrides)?;
    let (process, address) = start_carillon(job, stop)?;
    let api = Api::new(&address, &job.folder.join(CA_CERT), &secrets.admin_token)?;
    Ok(Drive {
        job,
        stop,
        progress,
        peers,
        carillon: process,
        api,
        admin_token: secrets.admin_token,
        sampler: Sampler::default(),
        phase: "start",
        tick: Tick::default(),
        samples: Vec::new(),
        phases: vec![("start", 0.0)],
        cpu_before_s: 0.0,
        usage: Usage::default(),
        rss_bytes_peak: 0,
        threads: 0,
        restarts: 0,
        ledgers_before: Vec::new(),
        registered_s: 0.0,
        rss_bytes_ready: 0,
        bytes_per_user: 0.0,
        slowest: Slowest::default(),
        played: false,
        stepped: None,
        ending: false,
        outcome: None,
    })
}

/// Starts `carillon serve`, on a core of its own if that is wanted.
fn start_carillon(job: &Job<'_>, stop: &Stop) -> Result<(Process, String), String> {
    if !job.pin {
        return carillon::start(job.carillon, job.folder, job.plan.people.users, stop);
    }
    process::stay_on(CARILLON_CORE)?;
    let started = carillon::start(job.carillon, job.folder, job.plan.people.users, stop);
    process::stay_on(PEERS_CORE)?;
    started
}

impl Drive<'_> {
    fn all(&mut self) -> Result<Driven, String> {
        self.begin()?;
        let live_s = self.elapsed();
        let mut restart = None;
        for _ in 0..self.job.plan.service.restarts {
            restart = Some(self.restart()?);
        }
        let before = self.before();
        self.play()?;
        self.finish_run(live_s, restart, &before)
    }

    /// Until every mailbox is watched.
    fn begin(&mut self) -> Result<(), String> {
        self.tell_of_service()?;
        self.look();
        self.rss_bytes_ready = self.usage.rss_bytes;
        self.register()?;
        self.wait_live()?;
        self.look();
        let grown = self.usage.rss_bytes.saturating_sub(self.rss_bytes_ready);
        self.bytes_per_user = grown as f64 / f64::from(self.job.plan.people.users);
        Ok(())
    }

    /// Ends the service and starts it again, and waits until every mailbox is watched.
    fn restart(&mut self) -> Result<Restart, String> {
        self.enter("restart", 1);
        self.look();
        self.ledgers_before.push(self.api.status()?.ledger);
        let shutdown_s = self.carillon.terminate(SHUTDOWN_TIME).map(|took| took.as_secs_f64());
        self.cpu_before_s += self.usage.cpu_s;
        self.usage = Usage::default();
        let begun = Instant::now();
        self.start_again()?;
        self.wait_live()?;
        Ok(Restart { shutdown_s, live_s: begun.elapsed().as_secs_f64() })
    }

    fn before(&mut self) -> Before {
        self.look();
        Before {
            at: Instant::now(),
            cpu_s: self.cpu_s(),
            pushes: self.tick.pushes,
            rss_bytes: self.usage.rss_bytes,
        }
    }

    /// From the last mail to the end of the processes. `live_s`, `restart`, `before`: how it was before the first mail.
    fn finish_run(
        &mut self,
        live_s: f64,
        restart: Option<Restart>,
        before: &Before,
    ) -> Result<Driven, String> {
        let unsettled = !self.drain()?;
        self.look();
        let (cpu_load_s, load_s) = (self.cpu_s() - before.cpu_s, before.at.elapsed().as_secs_f64());
        let pushes_load = self.tick.pushes - before.pushes;
        let rss_growth = self.usage.rss_bytes as f64 / before.rss_bytes.max(1) as f64 - 1.0;
        let mut status = self.api.status()?;
        for before in &self.ledgers_before {
            status.ledger.add_ended(before);
        }
        self.enter("end", 1);
        let cpu_s = self.cpu_s();
        let shutdown_s = self.carillon.terminate(SHUTDOWN_TIME).map(|took| took.as_secs_f64());
        self.ending = true;
        let outcome = self.finish()?;
        Ok(Driven {
            outcome,
            ledger: status.ledger,
            engine_latency_us: status.latency_us,
            restarts: self.restarts,
            cpu_s,
            cpu_load_s,
            load_s,
            rss_bytes_peak: self.rss_bytes_peak,
            threads: self.threads,
            registered_s: self.registered_s,
            live_s,
            restart,
            pushes_load,
            bytes_per_user: self.bytes_per_user,
            rss_growth_percent: rss_growth * 100.0,
            slowest: self.slowest,
            shutdown_s,
            unsettled,
            samples: std::mem::take(&mut self.samples),
            phases: std::mem::take(&mut self.phases),
        })
    }

    fn register(&mut self) -> Result<(), String> {
        let job = self.job;
        let people = People::draw(job.plan, job.seed, UnixMillis(job.start_unix_ms));
        self.enter("register", people.phones.len() as u64);
        let begun = Instant::now();
        for from in (0..people.phones.len()).step_by(IMPORT_LINES) {
            let to = (from + IMPORT_LINES).min(people.phones.len());
            self.api.import(&people, from..to)?;
            self.progress.at(to as u64);
            self.turn(Duration::ZERO)?;
        }
        self.registered_s = begun.elapsed().as_secs_f64();
        // Once more, one by one as a gateway does it: that answer tells the key of the hashes.
        let key = self.api.register(&people, 0)?;
        self.order(&Order::ItemKey(key))
    }

    fn wait_live(&mut self) -> Result<(), String> {
        let users = u64::from(self.job.plan.people.users);
        self.enter("watch", users);
        let (mut most, mut most_at) = (0, Instant::now());
        loop {
            self.turn(Duration::from_millis(100))?;
            let status = self.api.status()?;
            self.progress.at(status.live);
            if status.live >= users && status.lanes > 0 {
                return Ok(());
            }
            if status.live > most {
                (most, most_at) = (status.live, Instant::now());
            }
            if most_at.elapsed() > LIVE_TIME {
                return Err(format!(
                    "only {} of {users} mailboxes are watched, and no more for {} s{}",
                    status.live,
                    LIVE_TIME.as_secs(),
                    troubles(&status)
                ));
            }
        }
    }

    fn play(&mut self) -> Result<(), String> {
        self.enter("load", 1);
        self.order(&Order::Play)?;
        let mut asked = Instant::now();
        while !self.played {
            self.turn(Duration::from_millis(100))?;
            self.progress.of(self.tick.mails, self.tick.mails_planned);
            if asked.elapsed() >= ASK_EVERY {
                asked = Instant::now();
                self.ask()?;
            }
        }
        Ok(())
    }

    /// Measures how long the API takes for what people and monitoring ask it.
    fn ask(&mut self) -> Result<(), String> {
        let ms = |begun: Instant| begun.elapsed().as_secs_f64() * 1e3;
        let begun = Instant::now();
        self.api.status()?;
        self.slowest.status_ms = self.slowest.status_ms.max(ms(begun));
        let begun = Instant::now();
        self.api.metrics()?;
        self.slowest.metrics_ms = self.slowest.metrics_ms.max(ms(begun));
        Ok(())
    }

    /// Waits until nothing is open any more. False: it took too long.
    fn drain(&mut self) -> Result<bool, String> {
        let service = &self.job.plan.service;
        // Badges settle and keep the interval, too, and no account tells of them.
        let quiet_ms = u64::from(service.settle_ms) + u64::from(service.min_interval_ms) + 500;
        let users = u64::from(self.job.plan.people.users);
        self.enter("drain", quiet_ms);
        let begun = Instant::now();
        loop {
            self.turn(Duration::from_millis(100))?;
            let status = self.api.status()?;
            let watched = status.live + self.tick.phoneless >= users;
            let open = !status.ledger.is_settled() || status.users_ready > 0 || !watched;
            let silent = self.tick.silent > 0;
            self.progress.at(self.tick.quiet_ms.min(quiet_ms));
            if !open && !silent && self.tick.quiet_ms >= quiet_ms {
                return Ok(true);
            }
            if begun.elapsed() > DRAIN_TIME {
                self.progress.say(&format!(
                    "it does not settle: {} of {users} mailboxes are watched, {} tellings wait, {} are in flight{}",
                    status.live,
                    status.ledger.waiting,
                    status.ledger.in_flight,
                    troubles(&status)
                ));
                return Ok(false);
            }
        }
    }

    fn finish(&mut self) -> Result<Outcome, String> {
        self.order(&Order::Finish)?;
        while self.outcome.is_none() {
            self.turn(Duration::from_millis(100))?;
        }
        self.peers.wait(SHUTDOWN_TIME);
        self.outcome.take().map(|outcome| *outcome).ok_or_else(|| "the peers gave no account".to_owned())
    }

    /// Takes what the peers say for so long, and watches both processes.
    fn turn(&mut self, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        loop {
            self.stop.check()?;
            match self.peers.line(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.hear(&line)?,
                Err(NoLine::Timeout) => break,
                Err(NoLine::Ended) if self.outcome.is_some() => break,
                Err(NoLine::Ended) => return Err(format!("the peers ended{}", peers_log(self.job.folder))),
            }
        }
        match self.carillon.ended() {
            Some(_) if self.ending => Ok(()),
            Some(status) => Err(format!("carillon serve ended by itself ({status})")),
            None => Ok(()),
        }
    }

    fn hear(&mut self, line: &str) -> Result<(), String> {
        let note = serde_json::from_str(line).map_err(|error| format!("the peers said {line:?}: {error}"))?;
        match note {
            Note::Ready { .. } => {}
            Note::Tick(tick) => {
                self.tick = tick;
                self.look();
                let usage = Some((self.carillon.pid(), self.usage));
                let row = self.sampler.row(self.elapsed(), self.phase, &self.tick, usage);
                self.progress.sample(&row, &self.tick);
                self.samples.push(row);
            }
            Note::KillService => self.kill_and_restart()?,
            Note::Played => self.played = true,
            Note::Stepped(stepped) => self.stepped = Some(stepped),
            Note::Result(outcome) => self.outcome = Some(outcome),
        }
        Ok(())
    }

    fn kill_and_restart(&mut self) -> Result<(), String> {
        self.look();
        // What it does from here to its end is in no account; the audit sees it all the same.
        self.ledgers_before.push(self.api.status()?.ledger);
        self.progress.say("carillon serve is killed (SIGKILL) and started again");
        self.carillon.kill();
        self.cpu_before_s += self.usage.cpu_s;
        self.usage = Usage::default();
        self.restarts += 1;
        self.start_again()
    }

    fn start_again(&mut self) -> Result<(), String> {
        let (process, address) = start_carillon(self.job, self.stop)?;
        self.carillon = process;
        self.api = Api::new(&address, &self.job.folder.join(CA_CERT), &self.admin_token)?;
        self.tell_of_service()
    }

    fn tell_of_service(&mut self) -> Result<(), String> {
        let pid = self.carillon.pid();
        let started = process::started(pid).ok_or("carillon serve is gone")?;
        self.order(&Order::Service { pid, started })
    }

    fn order(&mut self, order: &Order) -> Result<(), String> {
        let line = serde_json::to_vec(order).map_err(|error| error.to_string())?;
        self.peers.say(line)
    }

    fn enter(&mut self, phase: &'static str, steps: u64) {
        self.phase = phase;
        self.phases.push((phase, self.elapsed()));
        self.progress.phase(phase, steps);
    }

    /// Looks at the engine's process.
    fn look(&mut self) {
        if let Some(usage) = process::usage(self.carillon.pid()) {
            self.usage = usage;
            self.rss_bytes_peak = self.rss_bytes_peak.max(usage.rss_bytes_peak);
            self.threads = self.threads.max(usage.threads);
        }
    }

    fn cpu_s(&self) -> f64 {
        self.cpu_before_s + self.usage.cpu_s
    }

    fn elapsed(&self) -> f64 {
        self.job.begun.elapsed().as_secs_f64()
    }
}

fn start_peers(job: &Job<'_>, secrets: &Secrets, stop: &Stop) -> Result<(Process, u16, u16), String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find my own program: {error}"))?;
    let log = File::create(job.folder.join(PEERS_LOG))
        .map_err(|error| format!("cannot write {PEERS_LOG}: {error}"))?;
    let mut peers = Process::start("the peers", Command::new(own).arg("peers").stderr(log))?;
    let order = Order::Setup(Box::new(Setup {
        plan: job.plan.clone(),
        seed: job.seed,
        start_unix_ms: job.start_unix_ms,
        folder: job.folder.to_owned(),
        exchange_user: secrets.exchange_user.clone(),
        exchange_password: secrets.exchange_password.clone(),
        team: secrets.team.clone(),
        key_id: secrets.key_id.clone(),
        public_key: secrets.public_key.clone(),
    }));
    peers.say(serde_json::to_vec(&order).map_err(|error| error.to_string())?)?;
    let patience = PEERS_TIME + Duration::from_millis(u64::from(job.plan.people.users) / PEERS_USERS_PER_MS);
    let begun = Instant::now();
    loop {
        stop.check()?;
        match peers.line(Duration::from_millis(100)) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(Note::Ready { exchange_port, apns_port }) => return Ok((peers, exchange_port, apns_port)),
                Ok(_) | Err(_) => return Err(format!("the peers said {line:?} before they were ready")),
            },
            Err(NoLine::Timeout) if begun.elapsed() < patience => {}
            Err(NoLine::Timeout) => return Err("the peers do not start".to_owned()),
            Err(NoLine::Ended) => return Err(format!("the peers ended{}", peers_log(job.folder))),
        }
    }
}

fn peers_log(folder: &Path) -> String {
    match std::fs::read_to_string(folder.join(PEERS_LOG)) {
        Ok(text) if !text.trim().is_empty() => format!(":\n{}", text.trim()),
        Ok(_) | Err(_) => String::new(),
    }
}

fn troubles(status: &Status) -> String {
    let all = status.mail_servers.iter().chain(&status.push_services);
    let texts = all.filter_map(|part| {
        let trouble = part.trouble.as_ref()?;
        Some(format!("\n  {} ({}): {}: {}", part.name, part.state, trouble.code, trouble.text))
    });
    texts.collect()
}

/// Where processes run that have a core of their own.
const CARILLON_CORE: usize = 0;
const PEERS_CORE: usize = 1;
const PEERS_LOG: &str = "peers.log";
/// How long the peers may take to fill their mailboxes.
const PEERS_TIME: Duration = Duration::from_secs(60);
/// ... and beyond that a millisecond for so many.
const PEERS_USERS_PER_MS: u64 = 10;
/// Registrations in one request.
const IMPORT_LINES: usize = 5_000;
/// How long it may take until one mailbox more is watched.
const LIVE_TIME: Duration = Duration::from_secs(120);
/// Between two looks at status and metrics under load.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long the end may take: longer than any silence or back-off that a profile makes.
const DRAIN_TIME: Duration = Duration::from_secs(180);
/// How long a process may take to end.
const SHUTDOWN_TIME: Duration = Duration::from_secs(10);
