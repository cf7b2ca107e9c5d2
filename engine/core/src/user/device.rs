//! One registration: where it is reached, what it is owed, what is on its way.

use super::UserId;
use crate::names::{DeviceKey, DeviceToken, Topic};
use crate::shard::{DeviceSettings, DeviceSpec, FlightId, Place, PushServiceId, UnsettledNotice};
use crate::time::{Time, UnixMillis};

/// A device's row.
#[derive(Debug)]
pub struct Device {
    /// Whose it is.
    pub user: UserId,
    /// Its stable id.
    pub key: DeviceKey,
    /// Its provider.
    pub service: PushServiceId,
    /// Its token.
    pub token: DeviceToken,
    /// Its app.
    pub topic: Topic,
    /// When the token was last registered.
    pub registered: UnixMillis,
    /// When the app was last used.
    pub active: UnixMillis,
    /// What its user wants to see.
    pub settings: DeviceSettings,
    /// Nothing is sent to it until it registers again.
    pub stopped: bool,
    /// The badge that the provider last accepted.
    pub badge: Option<u32>,
    /// Mails that it has to be told of and that are not in flight.
    pub owed: u32,
    /// Mails up to this number were told or are in flight ([`super::Item::seq`]).
    pub told_seq: u32,
    /// The notice that was put down for it and has not been accepted yet.
    pub unsettled: Option<Unsettled>,
    /// The push on its way: one at a time, so that an older state never overtakes a newer one.
    pub flight: Option<FlightId>,
    /// Nothing is sent to it before.
    pub not_before: Time,
    /// Refusals in a row.
    pub failures: u8,
    /// Answers in a row that the token is gone since before its registration.
    pub stale_gones: u8,
    /// The provider does not know the token for this app and environment: nothing is sent until it registers again.
    pub suspect: bool,
    /// Its token was refused while those of its whole app were: the next refusal is its own.
    pub pardoned: bool,
    /// A push to it was accepted under its present token, in this life: it never waits for its app's breaker.
    pub proven: bool,
    /// Its place in the one queue that it stands in, for room in a lane or for its app's breaker: somebody will wake it.
    pub parked: Option<Place>,
}

/// A notice put down, not yet accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsettled {
    /// Its id, how many mails, the newest of them.
    pub notice: UnsettledNotice,
    /// It may have been accepted in an earlier life of the engine: it must go out again as it was, under its own id,
    /// before anything newer.
    pub frozen: bool,
    /// The mail it tells of has been looked up again, or cannot be.
    pub resolved: bool,
}

impl Device {
    /// A row for a new registration.
    pub fn new(user: UserId, spec: DeviceSpec, told_seq: u32) -> Device {
        let unsettled = spec
            .unsettled
            .filter(|notice| notice.mails > 0 && spec.settings.alerts && !spec.stopped)
            .map(|notice| Unsettled { notice, frozen: true, resolved: false });
        Device {
            user,
            key: spec.device,
            service: spec.service,
            token: spec.token,
            topic: spec.topic,
            registered: spec.registered,
            active: spec.active,
            settings: spec.settings,
            stopped: spec.stopped,
            badge: spec.badge,
            owed: unsettled.map_or(0, |unsettled| u32::from(unsettled.notice.mails)),
            told_seq,
            unsettled,
            flight: None,
            not_before: Time(0),
            failures: 0,
            stale_gones: 0,
            suspect: false,
            pardoned: false,
            proven: false,
            parked: None,
        }
    }

    /// Whether alerts for new mail are to reach it.
    pub fn wants_alerts(&self) -> bool {
        self.settings.alerts && !self.suspect && !self.stopped
    }

    /// Whether nothing goes out to it for now: a notice of an earlier life must be looked up first.
    pub fn is_held(&self) -> bool {
        self.unsettled.is_some_and(|unsettled| unsettled.frozen && !unsettled.resolved)
    }

    /// Whether a notice of an earlier life has to go out to it before anything newer.
    pub fn is_frozen(&self) -> bool {
        self.unsettled.is_some_and(|unsettled| unsettled.frozen)
    }

    /// Whether it is owed mails of which its frozen notice does not tell, and that are put down nowhere until that one is
    /// settled.
    pub fn owes_beyond_frozen(&self) -> bool {
        let frozen = self.unsettled.filter(|unsettled| unsettled.frozen && !self.suspect);
        frozen.is_some_and(|unsettled| self.owed > u32::from(unsettled.notice.mails))
    }

    /// Whether it has to be told anything: of mails, or a badge.
    pub fn is_owed(&self, unread: Option<u32>) -> bool {
        self.owed > 0 || self.badge_due(unread).is_some()
    }

    /// The badge that it must still be told, if any.
    pub fn badge_due(&self, unread: Option<u32>) -> Option<u32> {
        let unread = unread?;
        let wanted = self.settings.badge && !self.suspect && !self.stopped;
        (wanted && self.badge != Some(unread)).then_some(unread)
    }
}
