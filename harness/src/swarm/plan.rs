//! A day drawn from a seed: who lives in the town, how its servers behave, what happens when.

use std::collections::BTreeMap;

use carillon_core::rng::Rng;
use carillon_core::shard::{BadgeCount, CatchUp, Timing};
use carillon_core::time::{Span, Time};

use super::folders::FolderAct;
use super::mailboxes::MailboxAct;
use super::owner::OwnerAct;
use super::phones::PhoneAct;
use super::profile::{self, Day, Habits, Profile, Range};
use crate::apns::{Knobs, Latency, WindowPolicy};
use crate::exchange::{BusyShape, Chunks, EnvelopeStyle, Lead, Limits, Transfer};
use crate::world::POWER_LOSS_MAX;

/// [`Act::PushTrouble`] of this kind: all provider tokens count as expired.
pub(super) const TOKENS_EXPIRED: u8 = 8;

/// Everything that a run needs; equal plans give equal runs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Seeds the world.
    pub seed: u64,
    /// Mailboxes.
    pub users: usize,
    /// Phones of each user.
    pub phones: usize,
    /// Shards.
    pub shards: usize,
    /// Back ends of the mail server.
    pub back_ends: usize,
    /// Mailboxes on one stream.
    pub cohort_users_max: u16,
    /// `ConnectionTimeout`.
    pub stream_minutes: u8,
    /// Calls in flight.
    pub calls_max: u16,
    /// How mailboxes are caught up.
    pub catch_up: CatchUp,
    /// Some phones are registered with a second push service.
    pub sandbox: bool,
    /// Every other phone has the second app.
    pub two_apps: bool,
    /// The account has full access to all mailboxes and impersonates nobody.
    pub full_access: bool,
    /// Users who have chosen a folder beside the inbox.
    pub choosers: Vec<usize>,
    /// What the badge counts.
    pub badge: BadgeCount,
    /// Times of the engine.
    pub timing: Timing,
    /// How the mail server writes.
    pub manners: Manners,
    /// How the push service behaves on a good day.
    pub knobs: Knobs,
    /// The network: delay, jitter, fragments.
    pub delay: Span,
    /// Added to `delay`, drawn for each message.
    pub jitter: Span,
    /// Messages come in pieces of up to so many bytes.
    pub fragment_bytes_max: Option<u64>,
    /// Each piece arrives up to so much after the one before.
    pub piece_gap_max: Span,
    /// When the faults end.
    pub length: Span,
    /// Mail servers.
    pub mail_servers: usize,
    /// Provider tokens are renewed after so long; without, pushes go with a client certificate.
    pub tokens: Option<Span>,
    /// The engine logs in to mail servers by bearer tokens.
    pub mail_tokens: bool,
    /// How long it takes until somebody mends a credential that a mail server refuses.
    pub patience: Span,
    /// How far the mail server's clock is ahead of the engine's; negative when it is behind.
    pub mail_clock_ahead_ms: i64,
    /// How far the push service's clock is behind the engine's.
    pub push_clock_behind_ms: i64,
    /// By how many millionths both run fast; negative when they run slow.
    pub drift_ppm: i64,
    /// What happens, in order.
    pub acts: Vec<(Time, Act)>,
}

/// How the mail server writes, and how patient it is.
#[derive(Clone, Debug)]
pub struct Manners {
    /// Time between heartbeats.
    pub heartbeat: Span,
    /// Time for an ordinary call.
    pub call_time: Span,
    /// Life of a subscription that nobody reads.
    pub detached_ttl: Span,
    /// Numbers of its throttling policy.
    pub limits: Limits,
    /// How envelopes become chunks.
    pub chunks: Chunks,
    /// Prefixes.
    pub style: EnvelopeStyle,
    /// What stands before an envelope.
    pub lead: Lead,
    /// How ordinary replies end.
    pub transfer: Transfer,
}

/// One thing that happens. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names of the parts say it")]
pub enum Act {
    /// So many mails for one user at once.
    Mail { user: usize, mails: u64, vip: bool },
    /// A rule puts a user's mail into another folder as it arrives.
    RuledMail { user: usize, to: Place },
    /// A user moves one of his mails elsewhere; one from the inbox as soon as it is there is what a program's rule does.
    Move { user: usize, mail: usize, to: Place },
    /// As `Move`, of the mail that came last.
    MoveLast { user: usize, to: Place },
    /// A user reads one of his mails elsewhere.
    Read { user: usize, mail: usize },
    /// A user deletes one of his mails elsewhere.
    Delete { user: usize, mail: usize },
    /// An app is used.
    UseApp { user: usize, phone: usize },
    /// An app registers again.
    Register { user: usize, phone: usize },
    /// An app is removed from its phone.
    Uninstall { user: usize, phone: usize },
    /// Notifications of a user are stopped.
    Stop { user: usize },
    /// A shard's process dies and starts again.
    Crash { shard: usize },
    /// A stream is cut after so many bytes.
    CutStream { stream: usize, after_bytes: u64, reset: bool },
    /// A stream says nothing any more.
    SilenceStream { stream: usize, blackhole: bool },
    /// A stream is closed in good order before its time.
    CloseStream { stream: usize },
    /// A back end restarts: its subscriptions are gone.
    RestartBackEnd { back_end: usize },
    /// The mail server is busy.
    Busy { length: Span, shape: BusyShape },
    /// The next requests get an answer that is no answer.
    Nonsense { requests: u32, kind: u8 },
    /// A mailbox's subscription dies.
    LoseSubscription { user: usize, kind: u8 },
    /// The stream of a user says nothing any more, and what it would have said is lost.
    Deafen { user: usize },
    /// The push service takes a live token for gone since yesterday, in so many answers.
    Distrust { user: usize, phone: usize, answers: u32 },
    /// A push connection gets GOAWAY.
    Goaway { unprocessed: u32 },
    /// A push connection is reset.
    ResetLane,
    /// A push connection goes silent.
    SilenceLane,
    /// Something is wrong with the push service for a while.
    PushTrouble { kind: u8, share: u32, length: Span },
    /// The network resets connections and refuses new ones for a while.
    BadNetwork { resets: u64, refused: u64, length: Span },
    /// Something else is wrong with the network for a while, in so many of a million cases; slow connections are slower
    /// by up to so many microseconds.
    Network { kind: NetTrouble, share: u64, length: Span },
    /// The power of the engine's machine fails: what was written within the last `tail` is gone.
    PowerFailure { tail: Span },
    /// The mail server's clock is set.
    MailClock { ahead_ms: i64 },
    /// The push service's clock is set.
    PushClock { ahead_ms: i64 },
    /// Something happens to phones or at push services.
    Phones(PhoneAct),
    /// A mail server does not understand its earlier states of synchronisation any more.
    ForgetSyncStates { server: usize },
    /// The owner of the engine does something.
    Owner(OwnerAct),
    /// Something happens to a mailbox, or a mail server says so.
    Mailboxes(MailboxAct),
    /// Something happens to people's own folders.
    Folders(FolderAct),
}

/// Where a mail can lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the inbox.
    Inbox,
    /// In the folder that its owner has chosen to be watched, too.
    Chosen,
    /// In a folder that nobody watches.
    Elsewhere,
}

/// What a network can do besides resetting and refusing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetTrouble {
    /// Connections stand still without a word, some of them for ever.
    Stalls,
    /// The far end's last word is lost: it ends its side, goes on reading for a while.
    HalfCloses,
    /// Connects end with a name that does not resolve, a certificate nobody trusts, a broken handshake.
    FailedHandshakes,
    /// New connections are slow, each in its own way: what is said on one overtakes what was said on another.
    SlowConnections,
    /// Messages come byte by byte, each up to so many microseconds after the one before.
    Crumbs,
}

impl Act {
    /// Whether a shard's process dies of it.
    pub(super) fn kills(&self) -> bool {
        match self {
            Act::Owner(act) => act.kills(),
            other => matches!(other, Act::Crash { .. } | Act::PowerFailure { .. }),
        }
    }

    /// Whether the engine may not hear, from then on, what happens in mailboxes.
    pub(super) fn deafens(&self) -> bool {
        match self {
            Act::Mailboxes(act) => act.deafens(),
            Act::Folders(act) => act.deafens(),
            Act::Crash { .. }
            | Act::CutStream { .. }
            | Act::SilenceStream { .. }
            | Act::CloseStream { .. }
            | Act::RestartBackEnd { .. }
            | Act::Busy { .. }
            | Act::Nonsense { .. }
            | Act::LoseSubscription { .. }
            | Act::Deafen { .. }
            | Act::BadNetwork { .. }
            | Act::Network { .. }
            | Act::PowerFailure { .. } => true,
            Act::Owner(act) => act.deafens(),
            Act::Phones(act) => act.deafens(),
            Act::Mail { .. }
            | Act::RuledMail { .. }
            | Act::Move { .. }
            | Act::MoveLast { .. }
            | Act::Read { .. }
            | Act::Delete { .. }
            | Act::UseApp { .. }
            | Act::Register { .. }
            | Act::Uninstall { .. }
            | Act::Stop { .. }
            | Act::Distrust { .. }
            | Act::Goaway { .. }
            | Act::ResetLane
            | Act::SilenceLane
            | Act::PushTrouble { .. }
            | Act::MailClock { .. }
            | Act::PushClock { .. }
            | Act::ForgetSyncStates { .. } => false,
        }
    }
}

impl Place {
    const ALL: [Place; 3] = [Place::Inbox, Place::Chosen, Place::Elsewhere];
}

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
        plan.draw_mailboxes(&profile.mailboxes);
        plan.draw_scenes();
        plan.draw_owner(profile);
        plan.draw_phones(&profile.phones);
        plan.draw_own_folders(&profile.folders);
        plan.acts.sort_by_key(|(at, _)| *at);
        plan
    }

    fn draw_life(&mut self, rng: &mut Rng, day: &Day, habits: Habits) {
        let hours_us = 3_600_000_000;
        let deliveries = self.length.0 / 1_000 * day.deliveries_per_user_hour.draw(rng) * self.users as u64
            / (hours_us / 1_000);
        for _ in 0..deliveries.max(3) {
            let user = rng.below(self.users as u64) as usize;
            let at = match day.office_percent > 0 && rng.chance(day.office_percent, 100) {
                true => self.moment_before(rng, Span::from_secs(day.office_hours * 3_600)),
                false => self.moment(rng),
            };
            let mails = day.mails_per_delivery.draw(rng);
            self.acts.push((at, Act::Mail { user, mails, vip: rng.chance(1, 10) }));
            let (mail, phone) = (rng.below(1 << 20) as usize, rng.below(4) as usize);
            let later = at + Span(rng.below(day.react_s * 1_000_000));
            let mut roll = rng.below(habits.sum());
            let mut falls_on = |weight: u64| {
                let hit = roll < weight;
                roll = roll.wrapping_sub(weight);
                hit
            };
            if falls_on(habits.read) {
                self.acts.push((later, Act::Read { user, mail }));
            } else if falls_on(habits.delete) {
                self.acts.push((later, Act::Delete { user, mail }));
            } else if falls_on(habits.use_app) {
                self.acts.push((later, Act::UseApp { user, phone }));
            } else if falls_on(habits.register) {
                self.acts.push((self.moment(rng), Act::Register { user, phone }));
            } else if falls_on(habits.uninstall) {
                if rng.chance(1, 3) {
                    self.acts.push((later, Act::Uninstall { user, phone }));
                    self.acts.push((later + Span(rng.below(60_000_000)), Act::Register { user, phone }));
                }
            } else if falls_on(habits.stop) && rng.chance(1, 3) {
                self.acts.push((later, Act::Stop { user }));
                self.acts.push((later + Span(rng.below(200_000_000)), Act::Register { user, phone }));
            }
        }
    }

    fn draw_faults(&mut self, rng: &mut Rng, per_hour: &Range) {
        let faults = per_hour.draw(rng) * self.length.0 / 3_600_000_000;
        for _ in 0..faults {
            let at = self.moment(rng);
            let length = Span(rng.below(90_000_000));
            let stream = rng.below(1 << 20) as usize;
            let act = match rng.below(16) {
                0 | 1 => Act::CutStream { stream, after_bytes: rng.below(2_000), reset: rng.chance(1, 2) },
                2 => Act::SilenceStream { stream, blackhole: rng.chance(1, 2) },
                3 => Act::CloseStream { stream },
                4 => Act::RestartBackEnd { back_end: stream },
                5 => Act::Busy {
                    length,
                    shape: pick(
                        rng,
                        &[BusyShape::Fault, BusyShape::Message, BusyShape::Inner, BusyShape::Rotate],
                    ),
                },
                6 => Act::Nonsense { requests: 1 + rng.below(4) as u32, kind: rng.below(6) as u8 },
                7 => Act::LoseSubscription { user: stream, kind: rng.below(4) as u8 },
                8 => Act::Goaway { unprocessed: rng.below(4) as u32 },
                9 => Act::ResetLane,
                10 => Act::SilenceLane,
                11..=13 => {
                    let share = pick(rng, &[20_000, 200_000, 1_000_000]);
                    Act::PushTrouble { kind: rng.below(8) as u8, share, length }
                }
                14 => Act::BadNetwork { resets: rng.below(20_000), refused: rng.below(500_000), length },
                _ => Act::Crash { shard: stream },
            };
            self.acts.push((at, act));
        }
    }

    fn draw_clocks(&mut self, rng: &mut Rng, profile: &Profile) {
        self.mail_clock_ahead_ms = sign(rng, &profile.exchange.clock_ahead_ms);
        self.push_clock_behind_ms = profile.apns.clock_behind_ms.draw(rng) as i64;
        self.drift_ppm = sign(rng, &profile.faults.drift_ppm);
        let jumps = profile.faults.clock_jumps_per_hour.draw(rng) * self.length.0 / 3_600_000_000;
        for _ in 0..jumps {
            let jump = sign(rng, &profile.exchange.clock_jump_ms);
            let ahead_ms = self.mail_clock_ahead_ms + jump;
            self.acts.push((self.moment(rng), Act::MailClock { ahead_ms }));
        }
        let jumps = profile.faults.clock_jumps_per_hour.draw(rng) * self.length.0 / 3_600_000_000;
        for _ in 0..jumps {
            let ahead_ms = sign(rng, &profile.apns.clock_jump_ms);
            self.acts.push((self.moment(rng), Act::PushClock { ahead_ms }));
        }
    }

    fn draw_network(&mut self, rng: &mut Rng, per_hour: &Range) {
        let faults = per_hour.draw(rng) * self.length.0 / 3_600_000_000;
        for _ in 0..faults {
            let at = self.moment(rng);
            let length = Span(rng.below(90_000_000));
            let (kind, share_max) = pick(
                rng,
                &[
                    (NetTrouble::Stalls, 50_000),
                    (NetTrouble::HalfCloses, 50_000),
                    (NetTrouble::FailedHandshakes, 600_000),
                    (NetTrouble::SlowConnections, 1_000_000),
                ],
            );
            self.acts.push((at, Act::Network { kind, share: rng.below(share_max), length }));
        }
    }

    fn draw_pieces(&mut self, rng: &mut Rng, network: &profile::Network) {
        self.piece_gap_max = Span(network.piece_gap_us.draw(rng));
        if chance(rng, &network.crumbs_percent) {
            let length = Span(rng.below(3_000_000));
            let crumbs = Act::Network { kind: NetTrouble::Crumbs, share: rng.below(500), length };
            self.acts.push((self.moment(rng), crumbs));
        }
    }

    fn draw_tokens(&mut self, rng: &mut Rng, apns: &profile::Apns) {
        if !chance(rng, &apns.tokens_percent) {
            return;
        }
        self.tokens = Some(Span::from_secs(60 * apns.renew_minutes.draw(rng)));
        // An hour off, the clocks of the two make every token look expired.
        if rng.chance(1, 3) {
            let at = self.moment(rng);
            let length = Span(rng.below(90_000_000));
            self.acts.push((at, Act::PushTrouble { kind: TOKENS_EXPIRED, share: 0, length }));
        }
    }

    fn draw_power(&mut self, rng: &mut Rng, per_hour: &Range) {
        let failures = per_hour.draw(rng) * self.length.0 / 3_600_000_000;
        for _ in 0..failures {
            let act = Act::PowerFailure { tail: below(rng, POWER_LOSS_MAX) };
            self.acts.push((self.moment(rng), act));
        }
    }

    fn draw_catch_up(&mut self, rng: &mut Rng, engine: &profile::Engine) {
        if !chance(rng, &engine.sync_percent) {
            return;
        }
        self.catch_up = CatchUp::Sync;
        for _ in 0..rng.below(3) {
            let act = Act::ForgetSyncStates { server: rng.below(1 << 20) as usize };
            self.acts.push((self.moment(rng), act));
        }
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

    /// One budget for all: there must be room in it for all streams, each twice as one takes over from another, and for all
    /// calls.
    fn draw_access(&mut self, rng: &mut Rng, exchange: &profile::Exchange) {
        if !chance(rng, &exchange.full_access_percent) {
            return;
        }
        self.full_access = true;
        let limits = &mut self.manners.limits;
        let streams = self.shards * self.users.div_ceil(usize::from(self.cohort_users_max)).max(1);
        limits.hanging_connections_max = limits.hanging_connections_max.max(2 * streams as u32);
        limits.concurrency_max = limits.concurrency_max.max(self.shards as u32 * u32::from(self.calls_max));
    }

    /// How much longer than on a good day an answer, and what was sent before it was heard, may take together.
    pub(super) fn way_and_back_max(&self) -> Span {
        let lag = |act: &Act| match act {
            Act::Network { kind: NetTrouble::SlowConnections, share, .. } => *share,
            _ => 0,
        };
        Span(2 * self.acts.iter().map(|(_, act)| lag(act)).max().unwrap_or(0))
    }

    /// Some moment of the day, after a minute in which everybody settles.
    pub(super) fn moment(&self, rng: &mut Rng) -> Time {
        self.moment_before(rng, self.length)
    }

    fn moment_before(&self, rng: &mut Rng, end: Span) -> Time {
        let end = end.min(self.length);
        Time(0) + Span::from_secs(60) + below(rng, Span(end.0.saturating_sub(60_000_000)))
    }
}

impl std::fmt::Display for Plan {
    /// The drawn configuration; of a long day, how often each thing happens instead of all that happens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Plan {
            seed,
            users,
            phones,
            shards,
            back_ends,
            cohort_users_max,
            stream_minutes,
            calls_max,
            catch_up,
            ..
        } = self;
        writeln!(
            f,
            "seed {seed}: {users} users with {phones} phones each, {shards} shards, {} mail servers with {back_ends} back ends",
            self.mail_servers
        )?;
        writeln!(f, "  {:.0} s, then calm; {:?}", self.length.0 as f64 / 1e6, self.timing)?;
        writeln!(
            f,
            "  cohorts of {cohort_users_max}, streams of {stream_minutes} min, {calls_max} calls in flight, catch-up by {catch_up:?}"
        )?;
        writeln!(f, "  {:?}", self.manners)?;
        writeln!(f, "  {:?}", self.knobs)?;
        writeln!(
            f,
            "  network: {:?} and up to {:?} more, pieces of {:?} bytes, up to {:?} apart",
            self.delay, self.jitter, self.fragment_bytes_max, self.piece_gap_max
        )?;
        writeln!(
            f,
            "  clocks: mail server {} ms ahead, push service {} ms behind, both {} ppm fast",
            self.mail_clock_ahead_ms, self.push_clock_behind_ms, self.drift_ppm
        )?;
        writeln!(
            f,
            "  a folder beside the inbox: users {:?}; the badge counts {:?}",
            self.choosers, self.badge
        )?;
        if self.sandbox {
            writeln!(f, "  two push services")?;
        }
        if self.mail_tokens {
            writeln!(f, "  bearer tokens for mail")?;
        }
        if self.two_apps {
            writeln!(f, "  two apps")?;
        }
        if self.full_access {
            writeln!(f, "  full access to all mailboxes, no impersonation")?;
        }
        match self.tokens {
            Some(after) => {
                writeln!(f, "  provider tokens, renewed after {} min", after.as_millis() / 60_000)?
            }
            None => writeln!(f, "  a client certificate for pushes")?,
        }
        if self.acts.len() <= ACTS_SHOWN_MAX {
            for (at, act) in &self.acts {
                writeln!(f, "{:12.6} s  {act:?}", at.0 as f64 / 1e6)?;
            }
            return Ok(());
        }
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for (_, act) in &self.acts {
            let text = format!("{act:?}");
            let name = text.split([' ', '{']).next().unwrap_or_default();
            *counts.entry(name.to_owned()).or_default() += 1;
        }
        let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
        writeln!(f, "  {} things happen: {}", self.acts.len(), counts.join(", "))
    }
}

/// A day of up to so many things is shown with all of them.
const ACTS_SHOWN_MAX: usize = 60;

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

pub(super) fn draw_timing(rng: &mut Rng, engine: &profile::Engine) -> Timing {
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

/// Ahead or behind.
fn sign(rng: &mut Rng, range: &Range) -> i64 {
    let number = range.draw(rng) as i64;
    if rng.chance(1, 2) { number } else { -number }
}

/// In so many of a hundred cases.
pub(super) fn chance(rng: &mut Rng, percent: &Range) -> bool {
    let percent = percent.draw(rng);
    rng.chance(percent, 100)
}

pub(super) fn below(rng: &mut Rng, span: Span) -> Span {
    Span(rng.below(span.0.max(1)))
}

pub(super) fn pick<T: Clone>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.below(of.len() as u64) as usize].clone()
}
