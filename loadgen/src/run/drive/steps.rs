//! Rates that are held one after the other by one running Carillon: what `loadgen tune` measures.

use std::time::{Duration, Instant};

use super::{Drive, Driven, Job, start};
use crate::control::{Order, Stepped};
use crate::process;
use crate::run::stop::Stop;
use crate::tune::search::{Probe, Step, Verdict};

/// What a step must hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The 99th percentile of the latency added.
    pub latency_p99_ms: f64,
    /// Resident memory.
    pub rss_mib: f64,
}

/// Starts everything, and holds the rates that `next` asks for, given what was measured so far. At the end the ledger is
/// checked as after any run.
pub(crate) fn steps(
    job: &Job<'_>,
    limits: Limits,
    next: &mut dyn FnMut(Option<Step>) -> Option<Probe>,
    stop: &Stop,
) -> Result<Driven, String> {
    let mut drive = start(job, stop)?;
    let driven = drive.all_steps(limits, next);
    drive.progress.end();
    driven
}

impl Drive<'_> {
    fn all_steps(
        &mut self,
        limits: Limits,
        next: &mut dyn FnMut(Option<Step>) -> Option<Probe>,
    ) -> Result<Driven, String> {
        self.begin()?;
        let live_s = self.elapsed();
        let before = self.before();
        let mut probe = next(None);
        while let Some(now) = probe {
            let mut step = self.step(now, limits)?;
            if !self.settle_step()? {
                step.verdict = Verdict::Backlog;
            }
            self.progress.say(&format!(
                "{:>6.0} mails/s for {:>2.0} s: p50 {:.1}, p99 {:.1} ms, CPU {:.0} % of a core ({:.0} µs a push), {:.0} MiB; \
                 simulated servers {:.0} %: {}",
                step.rate,
                step.seconds,
                step.latency_p50_ms,
                step.latency_p99_ms,
                step.cpu_percent,
                step.cpu_us_per_push,
                step.rss_mib,
                step.peers_cpu_percent,
                step.verdict.text()
            ));
            probe = next(Some(step));
        }
        self.finish_run(live_s, None, &before)
    }

    /// Holds one rate.
    fn step(&mut self, probe: Probe, limits: Limits) -> Result<Step, String> {
        self.enter("step", probe.seconds.ceil() as u64);
        self.order(&Order::Step { mails_per_s: probe.rate, seconds: probe.seconds })?;
        let begun = Instant::now();
        let (cpu, peers, machine) = (self.cpu_now(), self.peers_cpu_s(), process::machine_busy_s());
        self.stepped = None;
        while self.stepped.is_none() {
            self.turn(Duration::from_millis(50))?;
            self.progress.at(begun.elapsed().as_secs());
            if begun.elapsed().as_secs_f64() > probe.seconds * 2.0 + STEP_PATIENCE_S {
                return Err("the simulated servers did not come to the end of a step".to_owned());
            }
        }
        let Stepped { mails, pushes, latency, late_ms } = self.stepped.take().unwrap_or_default();
        let seconds = begun.elapsed().as_secs_f64();
        let (cpu, peers) = (self.cpu_now() - cpu, self.peers_cpu_s() - peers);
        let percent = |cpu: f64| cpu / seconds * 100.0;
        let other = process::machine_busy_s()
            .zip(machine)
            .map_or(0.0, |(after, before)| (after - before - cpu - peers).max(0.0));
        let mut step = Step {
            rate: probe.rate,
            seconds: probe.seconds,
            latency_p50_ms: latency.p50,
            latency_p99_ms: latency.p99,
            notices: latency.count,
            pushes_per_s: pushes as f64 / seconds,
            cpu_percent: percent(cpu),
            cpu_us_per_push: cpu * 1e6 / pushes.max(1) as f64,
            peers_cpu_percent: percent(peers),
            other_cpu_percent: percent(other),
            rss_mib: self.usage.rss_bytes as f64 / 1_048_576.0,
            verdict: Verdict::Held,
        };
        let asked = probe.rate * probe.seconds;
        step.verdict = if step.rss_mib > limits.rss_mib {
            Verdict::Memory
        } else if late_ms > PEERS_LATE_MS || (mails as f64) < asked * 0.98 {
            Verdict::Peers
        } else if latency.count == 0 || latency.p99 > limits.latency_p99_ms {
            if step.peers_cpu_percent > PEERS_BUSY_PERCENT && step.cpu_percent < step.peers_cpu_percent {
                Verdict::Peers
            } else {
                Verdict::Latency
            }
        } else {
            Verdict::Held
        };
        Ok(step)
    }

    /// Waits until what has come is told. False: it takes too long.
    fn settle_step(&mut self) -> Result<bool, String> {
        let begun = Instant::now();
        loop {
            self.turn(Duration::from_millis(100))?;
            let status = self.api.status()?;
            if status.ledger.is_settled() {
                return Ok(true);
            }
            if begun.elapsed() > SETTLE_STEP {
                return Ok(false);
            }
        }
    }

    fn cpu_now(&mut self) -> f64 {
        self.look();
        self.cpu_s()
    }

    fn peers_cpu_s(&self) -> f64 {
        process::usage(self.peers.pid()).map_or(0.0, |usage| usage.cpu_s)
    }
}

/// Mail that comes later than it was to come says that the simulated servers are out of processor time.
const PEERS_LATE_MS: f64 = 250.0;
/// Above this the simulated servers may be what is slow.
const PEERS_BUSY_PERCENT: f64 = 90.0;
/// How long what has come in a step may take to be told.
const SETTLE_STEP: Duration = Duration::from_secs(60);
/// Seconds that a step may take beyond twice its length.
const STEP_PATIENCE_S: f64 = 60.0;
