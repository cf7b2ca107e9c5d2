//! What is odd about single mails and clocks: dates in the future, texts that are no XML, mails that the mail server cannot give
//! out, clocks that are far off for a while, events that tell old counts.

use carillon_core::rng::Rng;
use carillon_core::shard::Report;
use carillon_core::time::{Span, UnixMillis};

use super::plan::{Act, Plan, below, chance, pick};
use super::profile;
use super::run::{Life, Trouble};
use crate::exchange::Code;
use crate::world::{Clock, PeerAt};

/// Oddities have a generator of their own: the rest of a day is what it would be without them.
const ODDITIES: u64 = 0x0dd1_7e50_0000_0009;

/// They end within this time.
const LENGTH_MAX: Span = Span::from_secs(600);

/// Subjects as they stand on the wire (see [`Mail::subject_on_wire`](crate::exchange::Mail::subject_on_wire)).
const TEXTS: [&str; 8] = [
    "caf\u{e000}",
    "R&D",
    "a < b",
    "<t:b>",
    "A&nbsp;B",
    "Inv&#x1A;oice",
    "Hi &#xD83D;&#xDE00;!",
    "half &#xD83D; a",
];

/// What a mail server says of a mail that it cannot give out. Most stand in no table of the engine's.
const CODES: [Code; 6] = [
    Code::ErrorCorruptData,
    Code::ErrorContentConversionFailed,
    Code::ErrorMimeContentConversionFailed,
    Code::ErrorMessageSizeExceeded,
    Code::ErrorInternalServerError,
    Code::ErrorItemCorrupt,
];

/// By so many seconds a clock is off, besides what it is off on this day.
const JUMPS_S: [i64; 5] = [-10_800, -900, 900, 3_600, 86_400];

/// One odd thing. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names of the parts say it")]
pub enum OddAct {
    /// A mail arrives that says that it was received so many days from now.
    FutureMail { user: usize, days: u64 },
    /// A mail arrives that does not stand on the wire as XML has it.
    OddText { user: usize, text: usize },
    /// A mail arrives that the mail server cannot give out.
    RefusedMail { user: usize, code: Code },
    /// A mail server's clock is far off for a while.
    ClockOff { server: usize, by_s: i64, length: Span },
    /// The events of a mail server tell how many mails were unread before what happened, for a while.
    StaleCounts { server: usize, length: Span },
}

/// What ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OddEnding {
    Clock { server: usize, mails: u64 },
    Counts { server: usize },
}

impl Plan {
    /// On some days a few odd things happen.
    pub(super) fn draw_oddities(&mut self, profile: &profile::Oddities) {
        let mut rng = Rng::new(!self.seed ^ ODDITIES);
        let rng = &mut rng;
        if !chance(rng, &profile.percent) {
            return;
        }
        for _ in 0..1 + rng.below(3) {
            let kind = rng.below(5);
            let times = 1 + profile.per_hour.draw(rng) * self.length.0 / 3_600_000_000;
            // A clock that jumps about all the time can be told from none.
            let times = if kind == 3 { 1 } else { times };
            for _ in 0..times {
                let at = self.moment(rng);
                let any = rng.below(1 << 20) as usize;
                let length = below(rng, LENGTH_MAX);
                let act = match kind {
                    0 => OddAct::FutureMail { user: any, days: 1 + rng.below(4_000) },
                    1 => OddAct::OddText { user: any, text: rng.below(TEXTS.len() as u64) as usize },
                    2 => OddAct::RefusedMail { user: any, code: pick(rng, &CODES) },
                    3 => OddAct::ClockOff { server: any, by_s: pick(rng, &JUMPS_S), length },
                    _ => OddAct::StaleCounts { server: any, length },
                };
                self.acts.push((at, Act::Odd(act)));
            }
        }
    }
}

impl Life {
    pub(super) fn odd_act(&mut self, act: &OddAct) {
        let now = self.town.world.now().time;
        let servers = self.town.world.exchanges.len();
        match act {
            OddAct::FutureMail { user, days } => {
                let user = user % self.town.people.len();
                let server = PeerAt::Exchange(self.town.people[user].server);
                let mut mail = self.town.mail();
                mail.received = Some(UnixMillis(self.town.world.now_of(server).unix.0 + days * 86_400_000));
                let hash = self.town.deliver_mail(user, mail);
                // An event does not tell the date: who was told of it and never fetched it, cannot know it again.
                self.town.audit.may_come_again(hash);
                if !self.looked_into(user) {
                    // It may have lain there at the registration.
                    self.town.audit.may_be_from_before(self.town.people[user].user, hash);
                }
                self.mails += 1;
            }
            OddAct::OddText { user, text } => {
                let mut mail = self.town.mail();
                mail.subject_on_wire = Some(TEXTS[*text].to_owned());
                self.town.deliver_mail(user % self.town.people.len(), mail);
                self.mails += 1;
            }
            OddAct::RefusedMail { user, code } => {
                let user = user % self.town.people.len();
                let mail = self.town.mail();
                self.town.deliver_mail(user, mail);
                self.mails += 1;
                let person = &self.town.people[user];
                let id = person.mails.last().cloned().unwrap_or_default();
                self.town.world.exchanges[person.server].refuse_item(person.mailbox, &id, *code);
            }
            OddAct::ClockOff { server, by_s, length } => {
                let server = server % servers;
                self.set_mail_clock(server, *by_s * 1_000);
                self.town.audit.clock_off(now, now + *length);
                let ending = OddEnding::Clock { server, mails: self.mails };
                self.until.push((now + *length, Trouble::Odd(ending)));
            }
            OddAct::StaleCounts { server, length } => {
                let server = server % servers;
                self.town.world.exchanges[server].faults.stale_counts = true;
                self.until.push((now + *length, Trouble::Odd(OddEnding::Counts { server })));
            }
        }
        self.town.world.collect();
    }

    pub(super) fn odd_ending(&mut self, ending: OddEnding) {
        match ending {
            OddEnding::Clock { server, mails } => {
                self.clocks_off += u64::from(self.mails > mails);
                self.set_mail_clock(server, 0);
            }
            OddEnding::Counts { server } => self.town.world.exchanges[server].faults.stale_counts = false,
        }
        self.town.world.collect();
    }

    /// Whether the engine has looked through a mailbox since its owner was registered.
    fn looked_into(&self, user: usize) -> bool {
        let key = self.town.people[user].key;
        let mut reports = self.town.world.reports.iter().rev();
        let looked = reports.find_map(|(_, report)| match report {
            Report::Live { user } if *user == key => Some(true),
            Report::Noticed { user, notices } if *user == key => Some(notices.began.is_none()),
            _ => None,
        });
        looked.unwrap_or(false)
    }

    /// A mail server's clock is off by so much more than it is on this day anyway.
    fn set_mail_clock(&mut self, server: usize, off_ms: i64) {
        let peer = PeerAt::Exchange(server);
        let before = self.town.world.now_of(peer).unix;
        let clock = Clock { ahead_ms: self.mail_clock_ahead_ms + off_ms, drift_ppm: self.drift_ppm };
        self.town.world.set_clock(peer, clock);
        if self.town.world.now_of(peer).unix < before {
            self.town.audit.clock_set_back(self.town.world.now().time);
        }
    }
}

/// By how much the clocks of mail servers are set on a day, at most, beside its other acts.
pub(super) fn clock_set_max<'a>(acts: impl Iterator<Item = &'a Act>) -> Span {
    let off = acts.filter_map(|act| match act {
        Act::Odd(OddAct::ClockOff { by_s, .. }) => Some(Span::from_secs(by_s.unsigned_abs())),
        _ => None,
    });
    off.max().unwrap_or(Span::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::Profile;

    #[test]
    fn what_is_odd_leaves_the_rest_of_a_day_as_it_was() {
        let profile = Profile::load("swarm").unwrap();
        let mut plain = profile.clone();
        plain.oddities.percent = profile::Range::Number(0);
        let rest = |plan: &Plan| {
            let acts = plan.acts.iter().filter(|(_, act)| !matches!(act, Act::Odd(_)));
            acts.map(|(at, act)| format!("{at:?} {act:?}")).collect::<Vec<String>>()
        };
        let mut odd = 0;
        for seed in 0..40 {
            let (with, without) = (Plan::draw(seed, &profile), Plan::draw(seed, &plain));
            assert_eq!(rest(&with), rest(&without), "seed {seed}");
            odd += usize::from(with.acts.len() > without.acts.len());
        }
        assert!((8..32).contains(&odd), "{odd} odd days of 40");
    }

    #[test]
    fn a_clock_is_off_by_as_much_as_is_drawn() {
        let off = Act::Odd(OddAct::ClockOff { server: 0, by_s: -900, length: Span::ZERO });
        assert_eq!(clock_set_max([&off, &Act::ResetLane].into_iter()), Span::from_secs(900));
    }
}
