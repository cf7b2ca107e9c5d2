//! Makes a failing day small.

use std::collections::BTreeSet;
use std::str::FromStr;

use carillon_core::shard::{BadgeCount, CatchUp, Timing};
use carillon_core::time::{Span, Time};

use super::plan::{Manners, Plan};
use super::run::{Verdict, run};
use crate::apns::Knobs;
use crate::exchange::{ExchangeConfig, Faults, SubscriptionIds};
use crate::world::Net;

type Ease = fn(&mut Plan);

/// What a drawn day can do without, by name.
const EASES: [(&str, Ease); 26] = [
    ("phones", |plan| plan.phones = 1),
    ("shards", |plan| plan.shards = 1),
    ("servers", |plan| plan.mail_servers = 1),
    ("back-ends", |plan| plan.back_ends = 1),
    ("pieces", |plan| (plan.fragment_bytes_max, plan.piece_gap_max) = (None, Span::ZERO)),
    ("jitter", |plan| plan.jitter = Span::ZERO),
    ("delay", |plan| plan.delay = Net::default().delay),
    ("apps", |plan| plan.two_apps = false),
    ("sandbox", |plan| plan.sandbox = false),
    ("full-access", |plan| plan.full_access = false),
    ("numbered", |plan| plan.subscription_ids = SubscriptionIds::Unique),
    ("choosers", |plan| plan.choosers.clear()),
    ("badge", |plan| plan.badge = BadgeCount::Inbox),
    ("tokens", |plan| plan.tokens = None),
    ("mail-tokens", |plan| plan.mail_tokens = false),
    ("patience", |plan| plan.patience = Span::ZERO),
    ("clocks", |plan| (plan.mail_clock_ahead_ms, plan.push_clock_behind_ms) = (0, 0)),
    ("drift", |plan| plan.drift_ppm = 0),
    ("knobs", |plan| plan.knobs = Knobs::default()),
    ("manners", |plan| plan.manners = Manners::plain()),
    ("timing", |plan| plan.timing = Timing::default()),
    ("sync", |plan| plan.catch_up = CatchUp::Find),
    ("cohorts", |plan| plan.cohort_users_max = 200),
    ("streams", |plan| plan.stream_minutes = 29),
    ("calls", |plan| plan.calls_max = 8),
    ("rest", |plan| plan.length = plan.acts.last().map_or(Time(0), |(at, _)| *at).since(Time(0)) + MINUTE),
];

const MINUTE: Span = Span::from_secs(60);

/// What was taken away from a day. Its text (`phones,drift,users=2,acts=3+17`) is what `harness run --without` takes: with
/// the seed and the profile it is the whole of the small day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Without {
    eases: BTreeSet<&'static str>,
    /// So many are left.
    users: Option<usize>,
    /// Of all that is drawn, only these happen, by number.
    acts: Option<Vec<usize>>,
}

impl Without {
    fn with(&self, ease: &'static str) -> Without {
        let mut more = self.clone();
        more.eases.insert(ease);
        more
    }

    /// What is left of a drawn day.
    pub fn apply(&self, drawn: &Plan) -> Plan {
        let mut plan = drawn.clone();
        if let Some(acts) = &self.acts {
            plan.acts = acts.iter().filter_map(|act| drawn.acts.get(*act).cloned()).collect();
        }
        if let Some(users) = self.users {
            plan.users = users.clamp(1, plan.users);
        }
        for (_, ease) in EASES.iter().filter(|(name, _)| self.eases.contains(name)) {
            ease(&mut plan);
        }
        plan
    }
}

impl std::fmt::Display for Without {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut words: Vec<String> = self.eases.iter().map(|name| (*name).to_owned()).collect();
        words.extend(self.users.map(|users| format!("users={users}")));
        if let Some(acts) = &self.acts {
            let acts: Vec<String> = acts.iter().map(usize::to_string).collect();
            words.push(format!("acts={}", acts.join("+")));
        }
        f.write_str(&words.join(","))
    }
}

impl FromStr for Without {
    type Err = String;

    fn from_str(text: &str) -> Result<Without, String> {
        let mut without = Without::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let number =
                |text: &str| text.parse::<usize>().map_err(|_| format!("{word}: {text} is no number"));
            if let Some(users) = word.strip_prefix("users=") {
                without.users = Some(number(users)?);
            } else if let Some(acts) = word.strip_prefix("acts=") {
                let acts = acts.split('+').filter(|act| !act.is_empty()).map(number);
                without.acts = Some(acts.collect::<Result<_, _>>()?);
            } else {
                let known = EASES.iter().find(|(name, _)| *name == word);
                let names = || EASES.map(|(name, _)| name).join(", ");
                let unknown = || format!("{word} is none of {}, users=N, acts=N+N+…", names());
                without.eases.insert(known.ok_or_else(unknown)?.0);
            }
        }
        Ok(without)
    }
}

impl Manners {
    /// As a mail server behaves by default.
    fn plain() -> Manners {
        let (config, faults) = (ExchangeConfig::default(), Faults::default());
        Manners {
            heartbeat: config.heartbeat,
            call_time: config.call_time,
            detached_ttl: config.detached_ttl,
            limits: config.limits,
            chunks: faults.chunks,
            style: faults.style,
            lead: faults.lead,
            transfer: faults.transfer,
        }
    }
}

/// Takes away whatever the failure does not need, until nothing more can go: halves, quarters, … of what happens, then
/// single things; users; all that can be made plain. Tries at most `runs_max` days. Returns what was taken away of the
/// smallest that still fails in the same way, and its verdict; `None` if `drawn` is fine.
pub fn shrink(
    drawn: &Plan,
    runs_max: usize,
    progress: impl FnMut(usize, &Plan),
) -> Option<(Without, Verdict)> {
    let verdict = live(drawn);
    let kind = kind_of(verdict.failures.first()?);
    let best = Without { acts: Some((0..drawn.acts.len()).collect()), ..Without::default() };
    let mut search = Search { drawn, kind, best, verdict, runs: 1, runs_max, progress };
    while search.plainer() | search.fewer_acts() | search.fewer_users() {}
    Some((search.best, search.verdict))
}

struct Search<'a, P> {
    drawn: &'a Plan,
    kind: String,
    best: Without,
    verdict: Verdict,
    runs: usize,
    runs_max: usize,
    progress: P,
}

impl<P: FnMut(usize, &Plan)> Search<'_, P> {
    /// True: it still fails so, and is the best by now.
    fn try_without(&mut self, without: Without) -> bool {
        if self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        let plan = without.apply(self.drawn);
        let verdict = live(&plan);
        let same = verdict.failures.iter().any(|failure| kind_of(failure) == self.kind);
        if same {
            (self.best, self.verdict) = (without, verdict);
            (self.progress)(self.runs, &plan);
        }
        same
    }

    fn fewer_acts(&mut self) -> bool {
        let mut smaller = false;
        let mut piece = self.acts().len().div_ceil(2).max(1);
        loop {
            let (mut at, mut gone) = (0, false);
            while at < self.acts().len() {
                let mut acts = self.acts().to_vec();
                acts.drain(at..(at + piece).min(acts.len()));
                if self.try_without(Without { acts: Some(acts), ..self.best.clone() }) {
                    gone = true;
                } else {
                    at += piece;
                }
            }
            smaller |= gone;
            if piece == 1 && !gone {
                return smaller;
            }
            piece = (piece / 2).max(1);
        }
    }

    fn acts(&self) -> &[usize] {
        self.best.acts.as_deref().unwrap_or_default()
    }

    fn fewer_users(&mut self) -> bool {
        let mut smaller = false;
        loop {
            let users = self.best.users.unwrap_or(self.drawn.users);
            let tries = [1, users / 2, users - 1];
            let fewer = tries.into_iter().find(|fewer| {
                (1..users).contains(fewer)
                    && self.try_without(Without { users: Some(*fewer), ..self.best.clone() })
            });
            if fewer.is_none() {
                return smaller;
            }
            smaller = true;
        }
    }

    fn plainer(&mut self) -> bool {
        let shown = |without: &Without| format!("{:?}", without.apply(self.drawn));
        let mut left: Vec<&'static str> = EASES.iter().map(|(name, _)| *name).collect();
        // What is plain already need not be named.
        let best = self.best.clone();
        left.retain(|name| shown(&best.with(name)) != shown(&best));
        // Most days fail in the plainest town, too.
        if left.len() > 1 && self.try_without(left.iter().fold(best, |without, name| without.with(name))) {
            return true;
        }
        let mut smaller = false;
        for name in left {
            smaller |= self.try_without(self.best.with(name));
        }
        smaller
    }
}

/// The failure without what differs from one day to another: numbers, and the case that serves as an example.
fn kind_of(failure: &str) -> String {
    let words = failure.split(" (").next().unwrap_or_default();
    let words = words.split([';', '{']).next().unwrap_or_default();
    let mut kind = String::new();
    for c in words.chars() {
        match c.is_ascii_digit() {
            true if kind.ends_with('#') => {}
            true => kind.push('#'),
            false => kind.push(c),
        }
    }
    kind
}

fn live(plan: &Plan) -> Verdict {
    // A broken invariant is a panic in the middle of the run: the plan that brings it about is what we look for.
    std::panic::catch_unwind(|| run(plan)).unwrap_or_else(|panic| Verdict::of_panic(panic.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::Profile;

    #[test]
    fn what_was_taken_away_can_be_written_down_and_read_again() {
        let text = "drift,phones,users=2,acts=0+3";
        let without: Without = text.parse().unwrap();
        assert_eq!(without.to_string(), text);
        let drawn = Plan::draw(3, &Profile::load("swarm").unwrap());
        let plan = without.apply(&drawn);
        assert_eq!((plan.phones, plan.drift_ppm, plan.users.min(2), plan.acts.len()), (1, 0, plan.users, 2));
        assert!("phones,elephants".parse::<Without>().unwrap_err().contains("elephants is none of"));
    }

    #[test]
    fn failures_of_one_kind_differ_in_numbers_and_examples_only() {
        let lost = kind_of("lost: 3 (Some(Example { user: None }))");
        assert_eq!(lost, kind_of("lost: 12 (Some(Example { user: Some(UserIx(7)) }))"));
        assert_ne!(lost, kind_of("duplicates: 3 (None)"));
        let nobody = "UserKey(3) is owed something and nothing will wake him";
        assert_eq!(kind_of(&format!("at Time(12): {nobody}")), kind_of(&format!("at Time(9945): {nobody}")));
    }
}
