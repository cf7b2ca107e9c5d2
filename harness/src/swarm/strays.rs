//! Odd answers of mail servers that pass: what worked a moment ago works again a moment later.

use carillon_core::ews::{Action, EwsError, ResponseCode};
use carillon_core::rng::Rng;
use carillon_core::time::Span;

use super::plan::{Act, Plan, chance};
use super::profile::Range;
use super::run::Life;
use crate::exchange::{Code, Cut, GivenUp, Override};
use crate::peer::Close;

/// Odd answers have a generator of their own: the rest of a day is what it would be without it.
const STRAYS: u64 = 0x57a7_0000_0000_0003;

/// As [`STRAYS`], for the odd answers at the end of a day.
const IN_PEACE: u64 = 0x57a7_0000_0000_0004;

/// How soon everything is well again after some seconds of odd answers.
const WELL_AGAIN: Span = Span::from_secs(60);

/// As [`WELL_AGAIN`], where the server was said to be busy: a minute's pause without a word of how long.
const WELL_AFTER_BUSY: Span = Span::from_secs(75);

/// One thing that passes. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names of the parts say it")]
pub enum StrayAct {
    /// The next requests are answered so.
    Answers { server: usize, answer: usize, requests: u32 },
    /// For a while all requests are answered so, and perhaps all streams are cut as it begins.
    Seconds { server: usize, answer: usize, length: Span, cut: bool },
    /// A load balancer forgets all connections that are idle.
    GiveUp { server: usize, how: usize },
}

/// All that may be answered in place of what is right.
fn answers() -> Vec<Override> {
    let statuses = [400, 401, 403, 404, 405, 407, 410, 413, 415, 429, 440, 456, 500, 502, 503, 504];
    let mut answers: Vec<Override> = statuses.map(Override::Status).to_vec();
    // As often as all statuses together that are about something else.
    answers.extend((0..8).map(|_| Override::Unauthorized));
    answers.extend([Override::LogonRedirect, Override::Html, Override::MalformedXml]);
    // Another owner of the subscriptions is obeyed for long, and that is right.
    let passes =
        |code: &&ResponseCode| EwsError::new((*code).clone(), "", None).action() != Action::StepAside;
    let codes = ResponseCode::NAMED.iter().filter(passes).filter_map(|code| Code::parse(code.name()));
    answers.extend(codes.map(Override::Fault));
    answers
}

fn answer(number: usize) -> Override {
    let mut answers = answers();
    let at = number % answers.len();
    answers.remove(at)
}

impl Plan {
    /// On some days mail servers give odd answers.
    pub(super) fn draw_strays(&mut self) {
        let mut rng = Rng::new(!self.seed ^ STRAYS);
        let rng = &mut rng;
        if !chance(rng, &Range::Number(40)) {
            return;
        }
        for _ in 0..1 + rng.below(3) {
            let (server, number) = (rng.below(1 << 20) as usize, rng.below(1 << 20) as usize);
            let act = match rng.below(6) {
                0..=2 => StrayAct::Answers { server, answer: number, requests: 1 + rng.below(2) as u32 },
                3 | 4 => {
                    let (length, cut) = (Span(1_000_000 + rng.below(7_000_000)), rng.chance(1, 2));
                    StrayAct::Seconds { server, answer: number, length, cut }
                }
                _ => StrayAct::GiveUp { server, how: number },
            };
            let at = self.moment(rng);
            self.acts.push((at, Act::Strays(act)));
        }
    }
}

impl Life {
    pub(super) fn stray_act(&mut self, act: &StrayAct) {
        let servers = self.town.world.exchanges.len();
        let now = self.town.world.now();
        match act {
            StrayAct::Answers { server, answer: number, requests } => {
                self.town.world.exchanges[server % servers].answer_next(*requests, None, answer(*number));
            }
            StrayAct::Seconds { server, answer: number, length, cut } => {
                let exchange = &mut self.town.world.exchanges[server % servers];
                exchange.answer_for(now, *length, None, answer(*number));
                if *cut {
                    self.cut_all_streams(server % servers);
                }
            }
            StrayAct::GiveUp { server, how } => {
                let how = [GivenUp::Ends, GivenUp::Resets, GivenUp::Says408][how % 3];
                self.town.world.exchanges[server % servers].give_up_idle(how);
            }
        }
    }

    fn cut_all_streams(&mut self, server: usize) {
        let exchange = &mut self.town.world.exchanges[server];
        for stream in exchange.stream_keys() {
            exchange.cut_stream(stream, Cut { after_bytes: 0, how: Close::Orderly });
        }
        self.town.world.collect();
    }

    /// With nothing else wrong, all mail servers give odd answers for some seconds and all streams end. Within a minute
    /// everybody is watched again.
    pub(super) fn odd_answers_in_peace(&mut self, seed: u64) {
        let mut rng = Rng::new(!seed ^ IN_PEACE);
        let answer = answer(rng.below(1 << 20) as usize);
        let length = Span(500_000 + rng.below(8_000_000));
        let now = self.town.world.now();
        // How long a minute is must not hang on how fast the network is.
        let slow = self.town.world.net.clone();
        let net = &mut self.town.world.net;
        (net.fragment_bytes_max, net.piece_gap_max) = (None, Span::ZERO);
        (net.delay, net.jitter) = (Span::from_millis(1), Span::from_millis(2));
        for server in 0..self.town.world.exchanges.len() {
            self.town.world.exchanges[server].answer_for(now, length, None, answer.clone());
            self.cut_all_streams(server);
        }
        self.run_for(length);
        for person in 0..self.town.people.len() {
            self.town.deliver(person, "as the odd answers end");
            self.mails += 1;
        }
        let wait =
            if answer == Override::Fault(Code::ErrorServerBusy) { WELL_AFTER_BUSY } else { WELL_AGAIN };
        self.run_for(wait);
        self.town.world.net = slow;
        let people = self.town.watched() as u64;
        let live: u64 = (0..self.shards).map(|shard| self.town.world.stats(shard).users_live).sum();
        if live != people {
            self.failures.push(format!("{live} of {people} live {wait:?} after {length:?} of {answer:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_answer_can_be_drawn() {
        let all = answers();
        assert!(all.len() > 80 && (0..all.len()).all(|number| answer(number + all.len()) == all[number]));
        assert!(
            all.contains(&Override::Unauthorized) && all.contains(&Override::Fault(Code::ErrorAccessDenied))
        );
    }
}
