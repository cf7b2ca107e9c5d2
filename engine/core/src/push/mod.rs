//! How notices leave: requests, lanes that carry them, and what became of them.

mod apns;
mod classify;
mod lane;
mod window;

pub use classify::{Classified, ConnectionFate, classify};
pub use lane::{Blocked, Lane, LaneConfig, LaneError, LaneEvent, NoRoom};

use crate::names::{DeviceToken, Topic};
use crate::time::UnixMillis;

/// Apple's `apns-push-type`, as far as mail needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushType {
    /// Anything that the user notices: alert, badge or sound.
    Alert,
}

/// One request to APNs, borrowed from where its parts live.
///
/// Source: Apple, "Sending notification requests to APNs".
#[derive(Clone, Copy, Debug)]
pub struct PushRequest<'a> {
    /// `:path` is `/3/device/<token>`.
    pub token: &'a DeviceToken,
    /// `apns-topic`.
    pub topic: &'a Topic,
    /// `authorization: bearer <jwt>`; `None` with a client certificate.
    pub jwt: Option<&'a str>,
    /// `apns-id`, as a canonical lower-case UUID on the wire.
    pub apns_id: u128,
    /// `apns-push-type`.
    pub push_type: PushType,
    /// `apns-priority`: 10 or 5.
    pub priority: u8,
    /// `apns-expiration`, in seconds since the epoch; 0 for one attempt.
    pub expiration_s: u64,
    /// `apns-collapse-id`, at most 64 bytes.
    pub collapse_id: Option<&'a str>,
    /// The body: one JSON object of at most [`crate::limits::APNS_PAYLOAD_BYTES_MAX`] bytes.
    pub payload: &'a [u8],
}

/// What became of a push. The only thing about a provider's answer that leaves the provider's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider has it (not: the phone has it).
    Accepted,
    /// This registration is gone, since the given time where the provider tells. Believe it only if newer than the
    /// registration.
    TokenGone {
        /// The provider's time stamp.
        since: Option<UnixMillis>,
    },
    /// The token does not fit this app or environment (`BadDeviceToken`, `DeviceTokenNotForTopic`): suspect, and
    /// perhaps our configuration. Never sent again as it is.
    TokenSuspect(Reason),
    /// The provider token is stale or unwelcome; the push was not processed. Park the lane, ask for another token, resend.
    AuthStale(Reason),
    /// The provider has seen too many provider tokens of ours lately and takes this one not yet: the one before it may
    /// still do, otherwise wait. The push was not processed.
    TooManyTokens(Reason),
    /// The provider refuses our configuration as a whole (certificate, topic, key): pause the service, tell a person.
    ServiceRefused(Reason),
    /// Too many pushes to this device: wait, then send the newest state.
    Throttled {
        /// `retry-after` in milliseconds, where the provider says.
        retry_ms: Option<u64>,
    },
    /// Our mistake: count it, shorten, never loop.
    TooLarge,
    /// Not accepted, perhaps later; how sure we are that it was not processed.
    Retry {
        /// Safe or ambiguous.
        certainty: Certainty,
        /// Whose fault it is, as far as the answer tells.
        scope: RetryScope,
    },
    /// Refused for good: our mistake, or an answer that nobody knows.
    Rejected(Reason),
}

/// How sure it is that a push was not processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// Provably not processed: a newer notice may take its place.
    Safe,
    /// Perhaps processed: send again with the same `apns-id`, or not at all.
    Ambiguous,
}

/// What has to get better before a retry makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryScope {
    /// This connection: another lane at once.
    Lane,
    /// The service (500, 503): back off.
    Service,
}

/// A provider's reason, as text: providers add reasons without notice. At most 64 bytes, ASCII letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(pub Box<str>);

impl Reason {
    /// What can be kept of a provider's text: its ASCII letters and digits, at most 64 of them.
    pub fn new(text: &str) -> Reason {
        let kept: String = text.chars().filter(char::is_ascii_alphanumeric).take(REASON_BYTES_MAX).collect();
        Reason(kept.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The longest reason that Apple documents has 27 letters.
const REASON_BYTES_MAX: usize = 64;
