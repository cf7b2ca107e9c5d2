//! What can be changed about the simulated service while it runs.

use carillon_core::rng::Rng;
use carillon_core::time::{Span, Time};

use super::answer::Reason;
use super::auth::TokenRules;

/// Everything that can be turned. The default is the service on a good day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// Streams allowed until the first push with a valid provider token was answered.
    pub streams_before_auth: u32,
    /// Streams allowed afterwards, and from the start with a certificate.
    pub streams_max: u32,
    /// A refused push brings the limit down to 1 until the next accepted one (seen on the live service).
    pub streams_drop_on_refusal: bool,
    /// When the connection's window is opened again.
    pub window: WindowPolicy,
    /// How long an answer takes.
    pub latency: Latency,
    /// Microseconds that each second of the connection's age adds to an answer.
    pub latency_growth_us_per_s: u32,
    /// Answers of one connection leave in the order of the requests, however long each takes.
    pub in_order: bool,
    /// Requests never processed and never answered.
    pub requests_lost: Share,
    /// Requests processed, the answer lost.
    pub answers_lost: Share,
    /// Streams reset before the request is processed.
    pub resets_before: Share,
    /// Streams reset after the request was processed.
    pub resets_after: Share,
    /// With this code (RFC 9113 §7). `REFUSED_STREAM` (7) promises that nothing was processed: `resets_after` never uses
    /// it.
    pub reset_code: u32,
    /// `GOAWAY` on each connection after so many streams.
    pub goaway_after_streams: Option<u32>,
    /// How many further requests such a `GOAWAY` leaves unprocessed.
    pub goaway_unprocessed: u32,
    /// A connection with more answers of status 400 than this is sent away: Apple drops those who push to bad tokens.
    pub faults_max: Option<u32>,
    /// 500 `InternalServerError`.
    pub internal_errors: Share,
    /// Pushes refused without a reason of their own,
    pub refusals: Share,
    /// with this one.
    pub refusal: Reason,
    /// 503 `ServiceUnavailable` for everything until then.
    pub unavailable_until: Time,
    /// Pushes that one device takes.
    pub device_rate: Option<Rate>,
    /// PINGs stay unanswered.
    pub ping_unanswered: bool,
    /// Answers come as HEADERS, DATA and an empty DATA, each in its own frame.
    pub split_answers: bool,
    /// Every 410 has its time stamp, as Apple documents it.
    pub gone_stamps: bool,
    /// Limits of provider tokens.
    pub tokens: TokenRules,
}

/// A share of cases, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(pub u32);

/// How many in which time: so many at once, then `per_s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Per second.
    pub per_s: u32,
    /// At once.
    pub burst: u32,
}

/// How long an answer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Always so long.
    Fixed(Span),
    /// Anything between the two, evenly.
    Between(Span, Span),
}

/// When the window that a client spends on DATA is opened again. APNs has never been seen to make it larger than
/// 65,535 bytes, so this caps what a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowPolicy {
    /// As soon as a request is whole.
    Immediate,
    /// When half of it is spent.
    AtHalf,
    /// At this interval.
    Every(Span),
    /// Never.
    Never,
}

impl Default for Knobs {
    fn default() -> Knobs {
        Knobs {
            streams_before_auth: 1,
            streams_max: 1_000,
            streams_drop_on_refusal: false,
            window: WindowPolicy::AtHalf,
            latency: Latency::Fixed(Span::ZERO),
            latency_growth_us_per_s: 0,
            in_order: true,
            requests_lost: Share(0),
            answers_lost: Share(0),
            resets_before: Share(0),
            resets_after: Share(0),
            reset_code: 2,
            goaway_after_streams: None,
            goaway_unprocessed: 0,
            faults_max: None,
            internal_errors: Share(0),
            refusals: Share(0),
            refusal: Reason::Forbidden,
            unavailable_until: Time(0),
            device_rate: Some(Rate { per_s: 200, burst: 200 }),
            ping_unanswered: false,
            split_answers: false,
            gone_stamps: true,
            tokens: TokenRules::default(),
        }
    }
}

impl Share {
    /// `percent` of cases.
    pub const fn percent(percent: u32) -> Share {
        Share(percent * 10_000)
    }

    /// Whether this case is one of them. Draws only when there is something to decide, so that a fault that is off does
    /// not shift the others.
    pub fn draw(self, rng: &mut Rng) -> bool {
        self.0 > 0 && rng.chance(u64::from(self.0), 1_000_000)
    }
}

impl Latency {
    /// One answer's time.
    pub fn draw(self, rng: &mut Rng) -> Span {
        match self {
            Latency::Fixed(span) => span,
            Latency::Between(from, to) => Span(from.0 + rng.below(to.0.saturating_sub(from.0) + 1)),
        }
    }
}
