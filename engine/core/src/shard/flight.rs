//! Pushes on their way.

use std::sync::Arc;

use super::ConnId;
use super::config::PushServiceId;
use super::stats::PushTimes;
use crate::arena::Id;
use crate::notice::Composed;
use crate::time::Time;
use crate::user::{DeviceId, UserId};

/// Names a flight.
pub type FlightId = Id<Flight>;

/// One push that was handed to a lane, or that must go out again just as it was.
#[derive(Debug)]
pub struct Flight {
    pub(super) user: UserId,
    pub(super) device: DeviceId,
    pub(super) service: PushServiceId,
    /// The lane that carries it; `None` while it waits to be sent again.
    pub(super) lane: Option<ConnId>,
    pub(super) apns_id: u128,
    /// How many mails it tells of; 0 for a badge alone.
    pub(super) mails: u32,
    /// The device's [`crate::user::Device::told_seq`] before it, for the case that it comes back.
    pub(super) from_seq: u32,
    /// The number of the newest mail that it covers.
    pub(super) to_seq: u32,
    /// For a notice of an earlier life: the newest mail that it told of.
    pub(super) newest: Option<u64>,
    pub(super) badge: Option<u32>,
    pub(super) times: PushTimes,
    /// The provider token that it presented.
    pub(super) jwt: Option<Arc<str>>,
    pub(super) composed: Composed,
    pub(super) payload: Vec<u8>,
    pub(super) expiration_s: u64,
    /// Times that it was sent without anybody knowing what became of it.
    pub(super) ambiguous: u8,
    /// It is not sent again before.
    pub(super) not_before: Time,
    /// The device's settings have changed since it was worded.
    pub(super) words_stale: bool,
    /// The device has registered again since it was sent.
    pub(super) registered_since: bool,
    /// The device has another token now than the one that it was sent to.
    pub(super) token_stale: bool,
    /// An earlier attempt went to another token than the last one.
    pub(super) token_changed: bool,
}
