//! The words in which a lane is spoken to.

use crate::push::{Outcome, Reason};
use crate::time::Span;

/// What a lane is built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneConfig {
    /// `:authority` of requests: the host, with its port where that is not 443.
    pub authority: Box<str>,
    /// Pushes in flight at most, whatever the provider allows. Worst-case memory is this times 9 KiB.
    pub window_max: u16,
    /// Pushes in flight until the first answer: 1 with a provider token (Apple allows a single one until it has been
    /// seen to be valid).
    pub first_window: u16,
    /// How long a push may go without an answer.
    pub response_timeout: Span,
    /// How long the provider may take to send its SETTINGS.
    pub settings_timeout: Span,
    /// Silence after which a PING asks whether the connection still lives.
    pub ping_idle: Span,
    /// As [`LaneConfig::ping_idle`], while pushes wait for their answers: a lane that died must not keep them long.
    pub ping_busy: Span,
    /// How long the answer to a PING may take.
    pub ping_timeout: Span,
    /// Pushes after which the lane retires: stream ids end at 2^30 requests (RFC 9113 §5.1.1).
    pub pushes_max: u64,
}

impl LaneConfig {
    /// The usual times for APNs. `provider_token`: authorised by a token, not by a client certificate.
    pub fn apns(authority: &str, provider_token: bool) -> LaneConfig {
        LaneConfig {
            authority: authority.into(),
            window_max: 1_000,
            first_window: if provider_token { 1 } else { 100 },
            response_timeout: Span::from_secs(15),
            settings_timeout: Span::from_secs(5),
            ping_idle: Span::from_secs(60),
            ping_busy: Span::from_secs(5),
            ping_timeout: Span::from_secs(5),
            pushes_max: (1 << 30) - (1 << 16),
        }
    }
}

/// What happened on a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneEvent {
    /// The fate of a push is known, as far as it ever will be. Comes once for each push that was sent.
    Settled {
        /// The name that [`Lane::send`](super::Lane::send) was given.
        flight: u64,
        /// What became of it.
        outcome: Outcome,
        /// From sending to here.
        took: Span,
    },
    /// The lane takes no more pushes; those in flight may still be answered. Open another. Comes at most once.
    GoingAway {
        /// The provider's reason, or ours.
        reason: Reason,
        /// The provider refuses our configuration: back off before connecting again, or it is a storm.
        refused: bool,
    },
    /// The lane is over and all of its pushes are settled: write what [`Lane::drain`](super::Lane::drain)
    /// still gives, then close the connection. The last event. Does not come after [`Lane::closed`](super::Lane::closed).
    Lost(LaneError),
}

/// Why a lane is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneError {
    /// Nobody's fault: it had gone away, and nothing is in flight any more.
    Finished,
    /// The provider's: bytes that are not HTTP/2, or break its rules, or an error that it declared. With the words of
    /// the HTTP/2 library.
    Protocol(Box<str>),
    /// The network's, most likely: no SETTINGS within [`LaneConfig::settings_timeout`].
    NoSettings,
    /// The network's, most likely: no answer to a PING within [`LaneConfig::ping_timeout`].
    Silent,
    /// Ours: [`LaneConfig::authority`] is no host.
    BadAuthority,
}

impl std::fmt::Display for LaneError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LaneError::Finished => f.write_str("the connection was closed in good order"),
            LaneError::Protocol(text) => write!(f, "the provider breaks HTTP/2: {text}"),
            LaneError::NoSettings => f.write_str(
                "the provider sent no SETTINGS: it is not there, or is no HTTP/2 server; check host, port and proxy",
            ),
            LaneError::Silent => {
                f.write_str("the connection is dead: no answer to a PING; check firewalls that drop idle connections")
            }
            LaneError::BadAuthority => f.write_str("the provider's host name is not valid; correct the configuration"),
        }
    }
}

impl std::error::Error for LaneError {}

/// The lane takes no push now: ask [`Lane::room`](super::Lane::room) first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Why a lane that is open has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The provider's limit of streams (SETTINGS_MAX_CONCURRENT_STREAMS): more connections help.
    Streams,
    /// Our own adaptive window: the provider is to be given no more for now, on whatever connection.
    Window,
    /// The connection's send window: more connections help, or shorter payloads.
    Bytes,
    /// The network does not take the bytes that wait.
    Output,
    /// Pushes wait and nothing is heard: a PING asks whether the connection lives.
    Silence,
}
