//! A day drawn from a seed: who lives in the town, how its servers behave, what happens when.
//!
//! What can happen is in `act`; it is drawn in `draw` (the town) and `hours` (what happens in it) with the `dice`, and
//! shown by `show`.

mod act;
mod dice;
mod draw;
mod hours;
mod show;

use carillon_core::rng::Rng;
use carillon_core::shard::{BadgeCount, CatchUp, Timing};
use carillon_core::time::{Span, Time};

use crate::apns::Knobs;
use crate::exchange::{Chunks, EnvelopeStyle, Lead, Limits, SubscriptionIds, Transfer};

pub(super) use act::Place;
pub use act::{Act, NetTrouble};
pub(super) use dice::{below, chance, pick};
pub(super) use draw::draw_timing;

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
    /// How the mail servers name subscriptions, and whose they are.
    pub subscription_ids: SubscriptionIds,
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
    /// So many reports of a shard its journal has room for; without, there is room for all.
    pub journal_room: Option<usize>,
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

impl Plan {
    /// By how much a mail server's clock is set on this day, at most.
    pub(super) fn clock_set_max(&self) -> Span {
        let set = self.acts.iter().filter_map(|(_, act)| match act {
            Act::MailClock { ahead_ms } => Some(*ahead_ms),
            _ => None,
        });
        let clocks: Vec<i64> = set.chain([self.mail_clock_ahead_ms]).collect();
        let (least, most) = (clocks.iter().min(), clocks.iter().max());
        let set = Span::from_millis(most.zip(least).map_or(0, |(most, least)| most.abs_diff(*least)));
        set + super::oddities::clock_set_max(self.acts.iter().map(|(_, act)| act))
    }

    /// How much longer than on a good day an answer, and what was sent before it was heard, may take together.
    pub(super) fn way_and_back_max(&self) -> Span {
        let lag = |act: &Act| match act {
            Act::Network { kind: NetTrouble::SlowConnections, share, .. } => *share,
            _ => 0,
        };
        Span(2 * self.acts.iter().map(|(_, act)| lag(act)).max().unwrap_or(0))
    }

    /// How often a shard's process dies on this day.
    pub(super) fn kills(&self) -> u32 {
        self.acts.iter().filter(|(_, act)| act.kills()).count() as u32
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
