//! What breaks at mail servers and push services, breaks here.

use carillon_core::time::Span;

use super::super::plan::{Act, TOKENS_EXPIRED};
use super::{Life, Trouble};
use crate::apns::{Goaway, Share};
use crate::exchange::{BusyScope, Code, Cut, Override, Silence};
use crate::peer::Close;
use crate::world::PeerAt;

impl Life {
    pub(super) fn mail_fault(&mut self, act: &Act) {
        let people = self.town.people.len();
        let mailboxes: Vec<_> = self.town.people.iter().map(|person| person.mailbox).collect();
        let servers = self.town.world.exchanges.len();
        let server = match act {
            Act::LoseSubscription { user, .. } | Act::Deafen { user } => {
                self.town.people[user % people].server
            }
            Act::CutStream { stream: number, .. }
            | Act::SilenceStream { stream: number, .. }
            | Act::CloseStream { stream: number }
            | Act::RestartBackEnd { back_end: number } => number % servers,
            Act::Busy { length, .. } => length.0 as usize % servers,
            Act::Nonsense { requests, .. } => *requests as usize % servers,
            _ => 0,
        };
        let now = self.town.world.now_of(PeerAt::Exchange(server));
        let exchange = &mut self.town.world.exchanges[server];
        let streams = exchange.stream_keys();
        let some = |index: usize| (!streams.is_empty()).then(|| streams[index % streams.len()]);
        match act {
            Act::CutStream { stream, after_bytes, reset } => {
                if let Some(key) = some(*stream) {
                    let how = if *reset { Close::Reset } else { Close::Orderly };
                    exchange.cut_stream(key, Cut { after_bytes: *after_bytes, how });
                }
            }
            Act::SilenceStream { stream, blackhole } => {
                if let Some(key) = some(*stream) {
                    exchange.go_silent(key, if *blackhole { Silence::Blackhole } else { Silence::Stall });
                }
            }
            Act::Deafen { user } => {
                if let Some(key) = exchange.stream_of(mailboxes[user % people]) {
                    exchange.go_silent(key, Silence::Blackhole);
                }
            }
            Act::CloseStream { stream } => {
                if let Some(key) = some(*stream) {
                    exchange.close_stream(now, key);
                }
            }
            Act::RestartBackEnd { back_end } => {
                exchange.restart_back_end(now, back_end % self.back_ends);
            }
            Act::Busy { length, shape } => exchange.set_busy(now, BusyScope::All, *length, *shape, false),
            Act::Nonsense { requests, kind } => {
                let answer = match kind {
                    0 => Override::Unavailable { retry_after_s: Some(5) },
                    1 => Override::InternalError { retry_after_s: None },
                    2 => Override::LogonRedirect,
                    3 => Override::Html,
                    4 => Override::MalformedXml,
                    _ => Override::Oversized(3 << 20),
                };
                exchange.answer_next(*requests, None, answer);
            }
            Act::LoseSubscription { user, kind } => {
                let code = match kind {
                    0 => Code::ErrorSubscriptionNotFound,
                    1 => Code::ErrorExpiredSubscription,
                    2 => Code::ErrorReadEventsFailed,
                    _ => Code::ErrorMailboxStoreUnavailable,
                };
                exchange.fail_subscriptions(now, &[mailboxes[user % people]], code, None);
            }
            _ => {}
        }
        self.town.world.collect();
    }

    pub(super) fn push_fault(&mut self, act: &Act) {
        let service = self.town.world.now().time.0 as usize % self.town.world.apns.len();
        let now = self.town.world.now_of(PeerAt::Apns(service));
        let apns = &mut self.town.world.apns[service];
        let lanes = apns.connections();
        match act {
            Act::Goaway { unprocessed } => {
                if let Some(lane) = lanes.first() {
                    apns.goaway(now, *lane, Goaway { unprocessed: *unprocessed, ..Goaway::default() });
                }
            }
            Act::ResetLane => {
                if let Some(lane) = lanes.first() {
                    apns.reset_connection(*lane);
                }
            }
            Act::SilenceLane => {
                if let Some(lane) = lanes.first() {
                    apns.go_silent(*lane);
                }
            }
            Act::PushTrouble { kind, share, length } => {
                let until = now.time + *length;
                let share = Share(*share);
                apns.turn(now, |knobs| match *kind {
                    0 => knobs.requests_lost = share,
                    1 => knobs.answers_lost = share,
                    2 => knobs.resets_before = share,
                    3 => knobs.resets_after = share,
                    4 => knobs.internal_errors = share,
                    5 => knobs.unavailable_until = until,
                    6 => knobs.streams_max = 1,
                    TOKENS_EXPIRED => knobs.tokens.age_max = Span::ZERO,
                    _ => knobs.ping_unanswered = true,
                });
                self.until.push((until, Trouble::Push));
            }
            _ => {}
        }
        self.town.world.collect();
    }
}
