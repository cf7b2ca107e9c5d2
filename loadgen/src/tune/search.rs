//! Which rate is tried next: a pure function of what was measured so far, so that a search that was stopped goes on
//! where it was.

use serde::{Deserialize, Serialize};

/// A rate that was held for some time, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// Mails a second.
    pub rate: f64,
    /// For so many seconds.
    pub seconds: f64,
    /// Latency added, half of the notices.
    pub latency_p50_ms: f64,
    /// Latency added, 99 of 100 notices.
    pub latency_p99_ms: f64,
    /// Notices whose latency was measured.
    pub notices: u64,
    /// Pushes accepted, each second.
    pub pushes_per_s: f64,
    /// CPU of `carillon serve`, in percent of one core.
    pub cpu_percent: f64,
    /// CPU of `carillon serve` for each push, in microseconds.
    pub cpu_us_per_push: f64,
    /// CPU of the simulated servers, in percent of one core.
    pub peers_cpu_percent: f64,
    /// CPU that neither of the two used and that was not idle (other processes, the hypervisor), in percent of one core.
    pub other_cpu_percent: f64,
    /// Resident memory of `carillon serve` at the end.
    pub rss_mib: f64,
    /// What came of it.
    pub verdict: Verdict,
}

/// Whether a rate was held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Within the budget.
    #[default]
    Held,
    /// The 99th percentile was above the budget.
    Latency,
    /// More memory than the budget.
    Memory,
    /// The mail did not come at the rate that was asked for, or the simulated servers had no processor time left: the
    /// limit is theirs, not Carillon's.
    Peers,
    /// What had come was not told within a minute after the step.
    Backlog,
}

impl Verdict {
    /// For people.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Verdict::Held => "held",
            Verdict::Latency => "too slow",
            Verdict::Memory => "too much memory",
            Verdict::Peers => "limit of the simulated servers",
            Verdict::Backlog => "fell behind",
        }
    }
}

/// What is to be tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Probe {
    /// Mails a second.
    pub rate: f64,
    /// How long.
    pub seconds: f64,
}

/// What the search has found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Knee {
    /// The highest rate that was held for [`HOLD_S`].
    pub rate: f64,
    /// The lowest rate above it that was not held; none if none was tried.
    pub broke_at: Option<f64>,
    /// Whether it broke because of the simulated servers.
    pub peers_limit: bool,
}

impl Knee {
    /// How much higher the true knee may be, in percent.
    pub(crate) fn error_percent(&self) -> Option<f64> {
        self.broke_at.map(|broke| (broke / self.rate - 1.0) * 100.0)
    }
}

/// The next rate to try; `None` when the knee is known well enough, or there is nothing lower to try.
pub(crate) fn next(steps: &[Step]) -> Option<Probe> {
    let held = |step: &&Step| step.verdict == Verdict::Held;
    let Some(broke) = lowest_broken(steps) else {
        // Nothing broke yet: up, in short steps.
        let rate = highest(steps.iter().filter(held)).map_or(FIRST_RATE, |rate| rate * RAMP);
        return (rate <= RATE_MAX).then_some(Probe { rate, seconds: PROBE_S });
    };
    let below = |step: &&Step| step.rate < broke;
    let long = highest(steps.iter().filter(held).filter(below).filter(|step| step.seconds >= HOLD_S));
    let short = highest(steps.iter().filter(held).filter(below));
    match (long, short) {
        (Some(rate), _) if broke / rate <= PRECISION => None,
        // What was held for long: halve the gap, as the steps go by factors, in the middle of the factors.
        (Some(rate), _) => Some(Probe { rate: (rate * broke).sqrt(), seconds: HOLD_S }),
        // Held in passing only: the middle is tried first; when the gap is small, what was held is.
        (None, Some(rate)) if broke / rate <= PRECISION => Some(Probe { rate, seconds: HOLD_S }),
        (None, Some(rate)) => Some(Probe { rate: (rate * broke).sqrt(), seconds: HOLD_S }),
        (None, None) => {
            let rate = broke / RAMP;
            (rate >= RATE_MIN).then_some(Probe { rate, seconds: HOLD_S })
        }
    }
}

/// What is worth the last minute, if nothing was held for long yet: what was held in passing.
pub(crate) fn last(steps: &[Step]) -> Option<Probe> {
    let broke = lowest_broken(steps).unwrap_or(f64::INFINITY);
    let held = steps.iter().filter(|step| step.verdict == Verdict::Held && step.rate < broke);
    let rate = highest(held)?;
    knee(steps).is_none().then_some(Probe { rate, seconds: HOLD_S })
}

/// The knee, as far as it is known.
pub(crate) fn knee(steps: &[Step]) -> Option<Knee> {
    let broke = lowest_broken(steps);
    let rate = highest(steps.iter().filter(|step| {
        step.verdict == Verdict::Held && step.seconds >= HOLD_S && broke.is_none_or(|broke| step.rate < broke)
    }))?;
    let mut first = steps.iter().filter(|step| Some(step.rate) == broke);
    let peers_limit = first.next_back().is_some_and(|step| step.verdict == Verdict::Peers);
    Some(Knee { rate, broke_at: broke, peers_limit })
}

fn lowest_broken(steps: &[Step]) -> Option<f64> {
    let broken = steps.iter().filter(|step| step.verdict != Verdict::Held);
    broken.map(|step| step.rate).min_by(f64::total_cmp)
}

fn highest<'a>(steps: impl Iterator<Item = &'a Step>) -> Option<f64> {
    steps.map(|step| step.rate).max_by(f64::total_cmp)
}

/// How long a rate must hold to count, in seconds.
pub(crate) const HOLD_S: f64 = 30.0;
/// How long a rate on the way up is tried.
pub(crate) const PROBE_S: f64 = 8.0;
/// The knee lies between two rates that are no further apart than this.
const PRECISION: f64 = 1.08;
/// The first rate, in mails a second.
const FIRST_RATE: f64 = 500.0;
/// From one rate to the next on the way up.
const RAMP: f64 = 2.0;
/// Where the search gives up.
const RATE_MIN: f64 = 1.0;
const RATE_MAX: f64 = 1e6;

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays the search against a machine whose knee is known.
    fn search(knee_at: f64, short_bonus: f64) -> (Vec<Step>, Option<Knee>) {
        let mut steps = Vec::new();
        while let Some(probe) = next(&steps) {
            let limit = if probe.seconds < HOLD_S { knee_at * short_bonus } else { knee_at };
            let verdict = if probe.rate <= limit { Verdict::Held } else { Verdict::Latency };
            steps.push(Step { rate: probe.rate, seconds: probe.seconds, verdict, ..Step::default() });
            assert!(steps.len() < 50, "the search does not end: {steps:?}");
        }
        let found = knee(&steps);
        (steps, found)
    }

    #[test]
    fn the_knee_is_found_within_its_error_wherever_it_lies() {
        for knee_at in [3.0, 90.0, 251.0, 1_000.0, 4_321.0, 77_000.0] {
            let (steps, found) = search(knee_at, 1.0);
            let found = found.unwrap_or_else(|| panic!("{knee_at}: {steps:?}"));
            assert!(found.rate <= knee_at && found.rate * PRECISION >= knee_at, "{knee_at}: {found:?}");
            assert!(found.error_percent().unwrap() <= 8.001);
        }
    }

    #[test]
    fn a_rate_that_held_only_in_passing_is_not_the_knee() {
        let (steps, found) = search(1_000.0, 1.3);
        let found = found.unwrap();
        assert!(found.rate <= 1_000.0, "{steps:?}");
        assert!(found.rate > 900.0, "{steps:?}");
    }

    #[test]
    fn five_minutes_are_enough() {
        for knee_at in [400.0, 2_500.0, 9_000.0] {
            let seconds: f64 = search(knee_at, 1.0).0.iter().map(|step| step.seconds).sum();
            assert!(seconds < 230.0, "{knee_at}: {seconds} s of load");
        }
    }

    #[test]
    fn the_last_minute_is_for_a_rate_that_counts() {
        let step = |rate, seconds, verdict| Step { rate, seconds, verdict, ..Step::default() };
        let mut steps = vec![step(500.0, PROBE_S, Verdict::Held), step(1_000.0, PROBE_S, Verdict::Held)];
        assert_eq!(last(&steps), Some(Probe { rate: 1_000.0, seconds: HOLD_S }));
        steps.push(step(1_000.0, HOLD_S, Verdict::Held));
        assert_eq!(last(&steps), None);
        assert_eq!(last(&[]), None);
    }

    #[test]
    fn a_machine_that_holds_nothing_has_no_knee() {
        assert_eq!(search(0.0, 1.0).1, None);
    }

    #[test]
    fn a_stopped_search_goes_on_where_it_was() {
        let (steps, _) = search(1_700.0, 1.0);
        for done in 0..steps.len() {
            let probe = next(&steps[..done]).unwrap();
            assert_eq!((probe.rate, probe.seconds), (steps[done].rate, steps[done].seconds));
        }
    }

    #[test]
    fn a_limit_of_the_simulated_servers_is_said() {
        let step = |rate, verdict| Step { rate, seconds: HOLD_S, verdict, ..Step::default() };
        let steps = [step(100.0, Verdict::Held), step(105.0, Verdict::Peers)];
        assert!(knee(&steps).unwrap().peers_limit);
        let steps = [step(100.0, Verdict::Held), step(105.0, Verdict::Latency)];
        assert!(!knee(&steps).unwrap().peers_limit);
    }
}
