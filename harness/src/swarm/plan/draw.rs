//! Draws a day: who lives in the town, and how its servers and its network are.

use carillon_core::rng::Rng;
use carillon_core::shard::{BadgeCount, CatchUp, Timing};
use carillon_core::time::Span;

use super::super::profile::{self, Day, Profile};
use super::dice::{chance, pick};
use super::{Act, Manners, Place, Plan};
use crate::apns::{Knobs, Latency, WindowPolicy};
use crate::exchange::{Chunks, EnvelopeStyle, Lead, Limits, SubscriptionIds, Transfer};

/// What is drawn with it has a generator of its own: the rest of a day is what it would be without.
const NUMBERED: u64 = 0x5ab5_c41b_e500_0209;

impl Plan {
    /// Draws everything.
    pub fn draw(seed: u64, profile: &Profile) -> Plan {
        let Profile { people, engine, exchange, apns, network, day, .. } = profile;
        let mut drawn = Rng::new(seed);
        let rng = &mut drawn;
        let length = day.length_s.draw_seconds(rng);
        let users = people.users.draw(rng) as usize;
        let timing = draw_timing(rng, engine);
        let mut plan = Plan {
            seed,
            users,
            phones: people.phones.draw(rng) as usize,
            shards: engine.shards.draw(rng) as usize,
            back_ends: exchange.back_ends.draw(rng) as usize,
            cohort_users_max: engine.cohort_users_max.draw(rng) as u16,
            stream_minutes: engine.stream_minutes.draw(rng) as u8,
            calls_max: engine.calls_max.draw(rng) as u16,
            catch_up: CatchUp::Find,
            sandbox: false,
            two_apps: false,
            full_access: false,
            subscription_ids: SubscriptionIds::Unique,
            choosers: Vec::new(),
            badge: BadgeCount::Inbox,
            timing,
            manners: Manners::draw(rng, exchange),
            knobs: draw_knobs(rng, apns),
            delay: Span(network.delay_us.draw(rng)),
            jitter: Span(network.jitter_us.draw(rng)),
            fragment_bytes_max: Some(network.fragment_bytes_max.draw(rng)).filter(|bytes| *bytes > 0),
            piece_gap_max: Span::ZERO,
            length,
            mail_servers: 1,
            tokens: None,
            mail_tokens: false,
            patience: Span::ZERO,
            mail_clock_ahead_ms: 0,
            push_clock_behind_ms: 0,
            drift_ppm: 0,
            journal_room: None,
            acts: Vec::new(),
        };
        plan.draw_life(rng, day, profile.habits);
        plan.draw_faults(rng, &profile.faults.per_hour);
        // A stream of its own: what is drawn from it leaves the rest of a seed's day as it was.
        let mut rng = Rng::new(!seed);
        plan.draw_clocks(&mut rng, profile);
        plan.draw_network(&mut rng, &profile.faults.network_per_hour);
        plan.draw_tokens(&mut rng, &profile.apns);
        plan.mail_servers = profile.exchange.servers.draw(&mut rng) as usize;
        plan.draw_power(&mut rng, &profile.faults.power_failures_per_hour);
        plan.draw_catch_up(&mut rng, &profile.engine);
        plan.draw_folders(&mut rng, &profile.people, &profile.day);
        plan.draw_access(&mut rng, &profile.exchange);
        plan.sandbox = chance(&mut rng, &profile.apns.sandbox_percent);
        plan.draw_pieces(&mut rng, &profile.network);
        plan.draw_numbered(&profile.exchange);
        plan.draw_mailboxes(&profile.mailboxes);
        plan.draw_scenes();
        plan.draw_owner(profile);
        plan.draw_phones(&profile.phones);
        plan.draw_forgotten();
        plan.draw_made_up(&profile.phones);
        plan.draw_own_folders(&profile.folders);
        plan.draw_slow(&profile.mailboxes);
        plan.draw_oddities(&profile.oddities);
        plan.draw_disk(&profile.disk);
        plan.draw_registrations();
        plan.draw_strays();
        plan.draw_renumbered();
        plan.acts.sort_by_key(|(at, _)| *at);
        plan
    }

    fn draw_folders(&mut self, rng: &mut Rng, people: &profile::People, day: &Day) {
        let percent = people.choosers_percent.draw(rng);
        self.choosers = (0..self.users).filter(|_| rng.chance(percent, 100)).collect();
        if self.choosers.is_empty() {
            return;
        }
        if rng.chance(1, 2) {
            self.badge = BadgeCount::Watched;
        }
        let mut moves = Vec::new();
        for (at, act) in &self.acts {
            let Act::Mail { user, .. } = act else { continue };
            let user = *user;
            if !self.choosers.contains(&user) {
                continue;
            }
            let to = pick(rng, &[Place::Chosen, Place::Chosen, Place::Elsewhere]);
            match rng.below(6) {
                0 => moves.push((*at, Act::RuledMail { user, to })),
                1 => moves.push((*at + Span(rng.below(4_000_000)), Act::MoveLast { user, to })),
                2 | 3 => {
                    let (mail, to) = (rng.below(1 << 20) as usize, pick(rng, &Place::ALL));
                    moves
                        .push((*at + Span(rng.below(day.react_s * 1_000_000)), Act::Move { user, mail, to }));
                }
                _ => {}
            }
        }
        self.acts.extend(moves);
    }

    /// A server that numbers its subscriptions is one machine, and restarts.
    fn draw_numbered(&mut self, exchange: &profile::Exchange) {
        let mut rng = Rng::new(!self.seed ^ NUMBERED);
        if !chance(&mut rng, &exchange.numbered_percent) {
            return;
        }
        self.subscription_ids = pick(&mut rng, &[SubscriptionIds::Numbered, SubscriptionIds::NumberedLong]);
        self.back_ends = 1;
        if rng.chance(2, 3) {
            // Its ids are accepted from whoever asks; several streams can come to ask for one.
            self.cohort_users_max = self.cohort_users_max.min(1 + rng.below(3) as u16);
            self.give_full_access();
        }
        for _ in 0..=rng.below(3) {
            let back_end = rng.below(1 << 20) as usize;
            self.acts.push((self.moment(&mut rng), Act::RestartBackEnd { back_end }));
        }
    }

    /// One budget for all: there must be room in it for all streams, each twice as one takes over from another, and for all
    /// calls.
    fn draw_access(&mut self, rng: &mut Rng, exchange: &profile::Exchange) {
        if !chance(rng, &exchange.full_access_percent) {
            return;
        }
        self.give_full_access();
    }

    fn give_full_access(&mut self) {
        self.full_access = true;
        let limits = &mut self.manners.limits;
        let streams = self.shards * self.users.div_ceil(usize::from(self.cohort_users_max)).max(1);
        limits.hanging_connections_max = limits.hanging_connections_max.max(2 * streams as u32);
        limits.concurrency_max = limits.concurrency_max.max(self.shards as u32 * u32::from(self.calls_max));
    }
}

impl Manners {
    fn draw(rng: &mut Rng, exchange: &profile::Exchange) -> Manners {
        Manners {
            heartbeat: Span::from_secs(exchange.heartbeat_s.draw(rng)),
            call_time: Span::from_millis(exchange.call_ms.draw(rng)),
            detached_ttl: Span::from_secs(exchange.detached_ttl_s.draw(rng)),
            limits: Limits {
                hanging_connections_max: exchange.hanging_connections_max.draw(rng) as u32,
                concurrency_max: exchange.concurrency_max.draw(rng) as u32,
                ..Limits::default()
            },
            chunks: pick(rng, &[Chunks::Envelope, Chunks::Bytes(7), Chunks::Glued]),
            style: pick(
                rng,
                &[EnvelopeStyle::Default, EnvelopeStyle::S, EnvelopeStyle::Soap11, EnvelopeStyle::Soap],
            ),
            lead: pick(rng, &[Lead::Nothing, Lead::Declaration, Lead::Bom, Lead::Blank]),
            transfer: pick(rng, &[Transfer::Chunked, Transfer::Length, Transfer::Close]),
        }
    }
}

pub(in super::super) fn draw_timing(rng: &mut Rng, engine: &profile::Engine) -> Timing {
    let settle_ms = engine.settle_ms.draw(rng) as u32;
    let min_interval_ms = engine.min_interval_ms.draw(rng) as u32;
    Timing {
        settle_ms,
        vip_settle_ms: settle_ms / 4,
        min_interval_ms,
        max_delay_ms: settle_ms.max(min_interval_ms) + engine.max_delay_more_ms.draw(rng) as u32,
        detail_cutoff_s: engine.detail_cutoff_s.draw(rng) as u32,
        ..Timing::default()
    }
}

fn draw_knobs(rng: &mut Rng, apns: &profile::Apns) -> Knobs {
    let fast = Span::from_millis(apns.answer_ms_min.draw(rng));
    Knobs {
        streams_max: apns.streams_max.draw(rng) as u32,
        streams_drop_on_refusal: rng.chance(1, 3),
        window: pick(rng, &[WindowPolicy::Immediate, WindowPolicy::AtHalf]),
        latency: Latency::Between(fast, fast + Span::from_millis(apns.answer_more_ms.draw(rng))),
        in_order: rng.chance(1, 2),
        split_answers: rng.chance(1, 2),
        ..Knobs::default()
    }
}
