//! The faults end, everything comes to rest, and is judged.

use carillon_core::time::{Span, Time};

use super::{Life, Trouble, Verdict};
use crate::apns::StrictFault;
use crate::swarm::Plan;
use crate::swarm::struck::struck;
use crate::world::{Clock, PeerAt};

/// How long the world may take to come to rest on a day on which a mail server may have said of something that it will
/// last ([`Act::lasts`]). The engine's pauses then are between a quarter of an hour and one hour.
pub(super) const CALM_MAX: Span = Span::from_secs(8_000);

/// As [`CALM_MAX`], on every other day: nothing makes the engine pause for longer than five minutes.
const CALM_SHORT_MAX: Span = Span::from_secs(20 * 60);

/// When the silence of a stream has surely been noticed (120 s), and its cohort caught up.
const SILENCE_NOTICED: Span = Span::from_secs(240);

/// How often a long calm looks whether everything has come to rest.
const LOOK: Span = Span::from_secs(10);

/// How long the world may take to come to rest after this day: twice what such days have been seen to need.
pub(super) fn calm_max(plan: &Plan) -> Span {
    if plan.acts.iter().any(|(_, act)| act.lasts()) { CALM_MAX } else { CALM_SHORT_MAX }
}

impl Life {
    pub(super) fn end_faults(&mut self) {
        self.turned.clear();
        self.town.stop_making_tokens_up();
        for (_, trouble) in std::mem::take(&mut self.until) {
            match trouble {
                Trouble::Mailbox(ending) => self.mailbox_ending(ending),
                Trouble::Odd(ending) => self.odd_ending(ending),
                Trouble::Elsewhere(person) => self.town.go_home(person),
                Trouble::Push | Trouble::Turned | Trouble::Network | Trouble::Disk | Trouble::Rights(_) => {}
            }
        }
        self.put_tokens_right();
        self.end_trouble(Trouble::Push);
        self.end_trouble(Trouble::Network);
        self.end_trouble(Trouble::Disk);
        (0..self.town.world.exchanges.len()).for_each(|server| self.end_trouble(Trouble::Rights(server)));
        self.town.put_credentials_right();
        self.restart_all();
        self.town.world.exchanges.iter_mut().for_each(|exchange| exchange.clear_orders());
        // A mail server's clock stays as it is: that it is off is no fault, and setting it would be one.
        for number in 0..self.town.world.apns.len() {
            self.town.world.set_clock(PeerAt::Apns(number), Clock::default());
        }
    }

    /// With the faults off, everything must come to rest by itself.
    pub(super) fn calm_down(&mut self) {
        let end = self.town.world.now().time + self.calm_max;
        // A stream that fell silent without a word is only noticed by its silence.
        self.run_for(SILENCE_NOTICED);
        loop {
            self.run_for(LOOK);
            let people = self.town.watched() as u64;
            let live: u64 = (0..self.shards).map(|shard| self.town.world.stats(shard).users_live).sum();
            if live == people && self.town.is_quiet() && self.town.badges_are_right() {
                return;
            }
            if self.town.world.now().time >= end {
                let stats: Vec<_> = (0..self.shards).map(|shard| self.town.world.stats(shard)).collect();
                self.failures.push(format!("did not come to rest: {live} of {people} live; {stats:?}"));
                return;
            }
        }
    }

    pub(super) fn judge(mut self) -> Verdict {
        for shard in 0..self.shards {
            if let Err(why) = self.town.world.check(shard) {
                self.failures.push(why);
            }
            let second_look = self.town.world.stats(shard).second_look;
            let resent = self.town.world.stats(shard).resends_ambiguous;
            if second_look > resent {
                self.failures
                    .push(format!("{second_look} notices were worded with details past the cut-off"));
            }
        }
        self.judge_accounts();
        let violations = self.town.world.exchanges.iter().flat_map(|exchange| exchange.violations());
        self.failures.extend(violations.map(|violation| format!("mail server: {violation}")));
        // Where the push service's clock is behind, a token that is gone seems to have been so before it was registered.
        // So does one that was, where a kill took the news of it.
        let excused = self.push_clock_behind || self.town.world.gone_forgotten();
        let excused = excused.then_some(StrictFault::PushedAfterGone);
        let strict = self.town.world.apns.iter().flat_map(|apns| apns.stats().strict.counts.iter());
        let strict = strict.filter(|(fault, _)| excused != Some(**fault));
        self.failures.extend(strict.map(|(fault, times)| format!("push service: {fault:?}, {times} times")));
        let (trace, steps) = (self.town.world.trace(), self.town.world.steps());
        let mut struck = struck(&self.town.world);
        if self.clocks_off > 0 {
            struck.insert("mail server: clock far off".to_owned(), self.clocks_off);
        }
        let passed = self.town.world.now().time.since(Time(0));
        let report = self.town.finish();
        for (name, finding) in report.findings() {
            if finding.count > 0 {
                let failure = format!("{name}: {} ({:?})", finding.count, finding.examples.first());
                // Before everything else that went wrong.
                let at = if name == "foreign" { 0 } else { self.failures.len() };
                self.failures.insert(at, failure);
            }
        }
        let (mails, pushes, failures) = (self.mails, report.pushes, self.failures);
        Verdict { trace, steps, passed, mails, pushes, struck, failures }
    }
}
