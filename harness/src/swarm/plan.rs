//! A day drawn from a seed: who lives in the town, how its servers behave, what happens when.

use carillon_core::rng::Rng;
use carillon_core::shard::Timing;
use carillon_core::time::{Span, Time};

use crate::apns::{Knobs, Latency, WindowPolicy};
use crate::exchange::{BusyShape, Chunks, EnvelopeStyle, Lead, Limits, Transfer};

/// The ranges from which a plan is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Ranges {
    /// Mailboxes at most.
    pub users_max: u64,
    /// Length of the day at most, without the calm at its end.
    pub length_max: Span,
    /// Mails of one user in an hour at most.
    pub mails_per_hour_max: u64,
    /// Faults in an hour at most.
    pub faults_per_hour_max: u64,
}

impl Default for Ranges {
    fn default() -> Ranges {
        Ranges {
            users_max: 12,
            length_max: Span::from_secs(40 * 60),
            mails_per_hour_max: 40,
            faults_per_hour_max: 60,
        }
    }
}

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
    /// When the faults end.
    pub length: Span,
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
}

impl Plan {
    /// Draws everything.
    pub fn draw(seed: u64, ranges: &Ranges) -> Plan {
        let mut rng = Rng::new(seed);
        let length = Span::from_secs(120) + below(&mut rng, ranges.length_max);
        let users = 1 + rng.below(ranges.users_max) as usize;
        let settle_ms = pick(&mut rng, &[0, 1, 100, 1_000, 2_000, 3_000]);
        let min_interval_ms = pick(&mut rng, &[0, 500, 5_000, 20_000]);
        let timing = Timing {
            settle_ms,
            vip_settle_ms: settle_ms / 4,
            min_interval_ms,
            max_delay_ms: settle_ms.max(min_interval_ms) + pick(&mut rng, &[0, 1_000, 10_000]),
            detail_cutoff_s: pick(&mut rng, &[60, 300, 1_200, 43_200]),
            ..Timing::default()
        };
        let mut plan = Plan {
            seed,
            users,
            phones: pick(&mut rng, &[1, 1, 1, 2, 3]),
            shards: pick(&mut rng, &[1, 1, 2]),
            back_ends: pick(&mut rng, &[1, 1, 2, 3]),
            cohort_users_max: pick(&mut rng, &[1, 2, 5, 200]),
            stream_minutes: pick(&mut rng, &[1, 3, 10, 29]),
            calls_max: pick(&mut rng, &[1, 2, 8]),
            timing,
            manners: Manners::draw(&mut rng),
            knobs: draw_knobs(&mut rng),
            delay: pick(&mut rng, &[Span(50), Span(1_000), Span(40_000)]),
            jitter: pick(&mut rng, &[Span(1), Span(2_000), Span(80_000)]),
            fragment_bytes_max: pick(&mut rng, &[None, None, Some(1_400), Some(100)]),
            length,
            acts: Vec::new(),
        };
        plan.draw_life(&mut rng, ranges);
        plan.draw_faults(&mut rng, ranges);
        plan.draw_scenes();
        plan.acts.sort_by_key(|(at, _)| *at);
        plan
    }

    fn draw_life(&mut self, rng: &mut Rng, ranges: &Ranges) {
        let hours_us = 3_600_000_000;
        let mails = (self.length.0 / 1_000 * (1 + rng.below(ranges.mails_per_hour_max)) * self.users as u64)
            / (hours_us / 1_000);
        for _ in 0..mails.max(3) {
            let user = rng.below(self.users as u64) as usize;
            let at = self.moment(rng);
            let burst = pick(rng, &[1, 1, 1, 1, 2, 5, 12]);
            self.acts.push((at, Act::Mail { user, mails: burst, vip: rng.chance(1, 10) }));
            let (mail, phone) = (rng.below(1 << 20) as usize, rng.below(4) as usize);
            let later = at + Span(rng.below(20_000_000));
            match rng.below(12) {
                0 | 1 => self.acts.push((later, Act::Read { user, mail })),
                2 => self.acts.push((later, Act::Delete { user, mail })),
                3 => self.acts.push((later, Act::UseApp { user, phone })),
                4 => self.acts.push((self.moment(rng), Act::Register { user, phone })),
                5 if rng.chance(1, 3) => {
                    self.acts.push((later, Act::Uninstall { user, phone }));
                    self.acts.push((later + Span(rng.below(60_000_000)), Act::Register { user, phone }));
                }
                6 if rng.chance(1, 3) => {
                    self.acts.push((later, Act::Stop { user }));
                    self.acts.push((later + Span(rng.below(200_000_000)), Act::Register { user, phone }));
                }
                _ => {}
            }
        }
    }

    fn draw_faults(&mut self, rng: &mut Rng, ranges: &Ranges) {
        let faults = rng.below(ranges.faults_per_hour_max + 1) * self.length.0 / 3_600_000_000;
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

    /// Some moment of the day, after a minute in which everybody settles.
    fn moment(&self, rng: &mut Rng) -> Time {
        Time(0) + Span::from_secs(60) + below(rng, Span(self.length.0 - 60_000_000))
    }
}

impl Manners {
    fn draw(rng: &mut Rng) -> Manners {
        Manners {
            heartbeat: pick(rng, &[Span::from_secs(10), Span::from_secs(45)]),
            call_time: pick(rng, &[Span::ZERO, Span::from_millis(20), Span::from_millis(300)]),
            detached_ttl: pick(rng, &[Span::from_secs(90), Span::from_secs(1_800)]),
            limits: Limits {
                hanging_connections_max: pick(rng, &[3, 10]),
                concurrency_max: pick(rng, &[10, 27]),
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

fn draw_knobs(rng: &mut Rng) -> Knobs {
    let fast = Span::from_millis(rng.below(50));
    Knobs {
        streams_max: pick(rng, &[1, 2, 10, 1_000]),
        streams_drop_on_refusal: rng.chance(1, 3),
        window: pick(rng, &[WindowPolicy::Immediate, WindowPolicy::AtHalf]),
        latency: Latency::Between(fast, fast + Span::from_millis(rng.below(400))),
        in_order: rng.chance(1, 2),
        split_answers: rng.chance(1, 2),
        ..Knobs::default()
    }
}

fn below(rng: &mut Rng, span: Span) -> Span {
    Span(rng.below(span.0.max(1)))
}

fn pick<T: Clone>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.below(of.len() as u64) as usize].clone()
}
