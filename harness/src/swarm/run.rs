//! Lives through a plan and judges it: the town and its time are in `life`, what happens in `acts`, what breaks in `faults`,
//! and how it ends in `rest`.

mod acts;
mod faults;
mod life;
mod rest;

use std::collections::BTreeMap;

use carillon_core::time::{Span, Time};

use super::exam;
use super::owner::OwnerAct;
use super::plan::{Act, Plan};

pub(super) use life::{Life, Trouble};

/// What came of a run.
#[derive(Debug)]
pub struct Verdict {
    /// Hash over everything that crossed the network.
    pub trace: u64,
    /// Things that happened.
    pub steps: u64,
    /// Virtual time that passed.
    pub passed: Span,
    /// Mails that arrived.
    pub mails: u64,
    /// Pushes that phones got.
    pub pushes: u64,
    /// How often each fault struck, by name: of the world ([`crate::world::Fault`]), `mail server: …` and `push service: …`.
    pub struck: BTreeMap<String, u64>,
    /// What is wrong; empty for a good run.
    pub failures: Vec<String>,
}

impl Verdict {
    /// Of a run that a broken invariant ended.
    pub fn of_panic(panic: &(dyn std::any::Any + Send)) -> Verdict {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let failures = vec![text.unwrap_or_else(|| "a panic".to_owned())];
        Verdict {
            trace: 0,
            steps: 0,
            passed: Span::ZERO,
            mails: 0,
            pushes: 0,
            struck: BTreeMap::new(),
            failures,
        }
    }
}

/// Lives through the plan.
pub fn run(plan: &Plan) -> Verdict {
    live(plan).judge()
}

/// As [`run`], with the story of one user: what he did, what the engine reported of him, what his phones were told.
pub fn tell(plan: &Plan, user: usize) -> (Vec<(Time, String)>, Verdict) {
    let life = live(plan);
    // Others have come in the course of the day.
    let user = user.min(life.town.people.len() - 1);
    let mut story: Vec<(Time, String)> = Vec::new();
    let name = format!("UserKey({user})");
    for (at, act) in &plan.acts {
        story.push((*at, format!("{act:?}")));
    }
    for (at, report) in &life.town.world.reports {
        let text = format!("{report:?}");
        if text.contains(&name) || !text.contains("UserKey") {
            story.push((*at, format!("    engine: {text}")));
        }
    }
    let phones: Vec<_> = life.town.people[user].phones.iter().map(|phone| phone.key.0).collect();
    for push in life.town.deliveries.iter().filter(|push| phones.contains(&push.tag)) {
        let (payload, id) = (&push.payload, push.apns_id);
        let text = format!(
            "    phone {}: {:?} n={} badge={:?} items={:x?} id={id:x} again={}",
            push.tag, payload.alert, payload.n, payload.badge, payload.items, push.duplicate
        );
        story.push((push.at.time, text));
    }
    story.sort_by_key(|(at, _)| *at);
    (story, life.judge())
}

fn live(plan: &Plan) -> Life {
    let mut life = Life::new(plan);
    for (at, act) in &plan.acts {
        life.run_to(*at);
        life.act(act);
    }
    life.run_to(Time(0) + plan.length);
    life.end_faults();
    life.calm_down();
    if !life.failures.is_empty() {
        return life;
    }
    // Whoever makes tokens up goes on, and it is the others who must notice nothing.
    let makers_up: Vec<usize> = life.makers_up.iter().map(|(person, ..)| *person).collect();
    let Some(person) = life.somebody_but(&makers_up, plan.seed as usize) else { return life };
    for (maker, tokens, every) in life.makers_up.clone() {
        life.town.make_tokens_up(maker, tokens, every);
    }
    match exam::examine(&mut life.town, &life.timing, person) {
        Ok(mails) => life.mails += mails,
        Err(why) => life.failures.push(why),
    }
    life.town.stop_making_tokens_up();
    life.calm_down();
    let drains = |act: &Act| matches!(act, Act::Owner(OwnerAct::Drain { .. }));
    if life.failures.is_empty() && plan.acts.iter().any(|(_, act)| drains(act)) {
        life.drain_in_peace();
        life.calm_down();
    }
    if life.failures.is_empty() {
        life.odd_answers_in_peace(plan.seed);
        life.calm_down();
    }
    life
}
