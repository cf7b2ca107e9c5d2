//! The phone at the other end: what one app on one device shows, and what waits for it while it is off.
//!
//! Apple promises little: one notification is kept for an app on a device that is off, normally the newest, until its
//! expiration; notifications with the same collapse id take each other's place on the screen.

use std::collections::VecDeque;

use carillon_core::time::{Now, Span, Time};

/// One app on one device.
#[derive(Debug, Default)]
pub struct Device {
    offline: bool,
    stored: Option<Box<Stored>>,
    shown: Vec<Shown>,
    badge: Option<u32>,
    recent: VecDeque<Recent>,
    background: VecDeque<Time>,
    /// What happened to the pushes accepted for it.
    pub counts: DeviceCounts,
}

/// What happened to the pushes that were accepted for a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounts {
    /// Reached the device.
    pub delivered: u32,
    /// Took the place of one that waited, which never arrived.
    pub coalesced: u32,
    /// Never arrived: expired, or not to be stored while the device was off.
    pub expired: u32,
    /// Came again under an `apns-id` already accepted.
    pub duplicates: u32,
    /// Background pushes beyond what the device is woken for.
    pub background_dropped: u32,
}

/// One push, as far as a device minds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// `apns-id`.
    pub apns_id: u128,
    /// `apns-collapse-id`; without one it never takes another's place.
    pub collapse_id: Option<Box<str>>,
    /// `apns-expiration`.
    pub expiration_s: Option<u64>,
    /// `background` push type.
    pub background: bool,
    /// Whether there is something to put on the screen.
    pub alert: bool,
    /// The number for the icon.
    pub badge: Option<u32>,
    /// How many mails it tells of.
    pub n: u32,
    /// Which.
    pub items: Vec<u64>,
    /// Texts of a mail stand in it.
    pub details: bool,
}

/// One notification on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its name: the push that brought it first.
    pub apns_id: u128,
    /// What takes its place.
    pub collapse_id: Option<Box<str>>,
    /// How many mails it tells of.
    pub n: u32,
    /// Which.
    pub items: Vec<u64>,
    /// Texts of a mail stand in it.
    pub details: bool,
}

#[derive(Debug)]
struct Stored {
    arrival: Arrival,
}

#[derive(Debug)]
struct Recent {
    apns_id: u128,
    collapse_id: u64,
    n: u32,
}

/// How an `apns-id` that comes again relates to its first coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// Mails told of under this id before.
    pub n: u32,
    /// Whether the collapse id is the same. If not, the phone would show it twice.
    pub same_collapse_id: bool,
}

/// `apns-id`s that a device remembers.
pub const RECENT_IDS_MAX: usize = 64;
/// Notifications on one screen; older ones fall off.
pub const SHOWN_MAX: usize = 32;
/// How often an app is woken by background pushes (Apple: "two or three an hour").
pub const BACKGROUND_PER_HOUR: usize = 3;
/// How long APNs keeps a notification without expiration: 30 days.
const STORAGE_S: u64 = 30 * 86_400;

impl Device {
    /// Takes an accepted push. Says if its `apns-id` was there before.
    pub fn take(&mut self, now: Now, arrival: Arrival) -> Option<Again> {
        let again = self.recognise(&arrival);
        if again.is_some() {
            self.counts.duplicates += 1;
        }
        if expired(now, arrival.expiration_s) {
            self.counts.expired += 1;
        } else if !self.offline {
            self.deliver(now, arrival);
        } else if arrival.expiration_s == Some(0) {
            self.counts.expired += 1;
        } else {
            let waited = self.stored.replace(Box::new(Stored { arrival }));
            self.counts.coalesced += u32::from(waited.is_some() && again.is_none());
        }
        again
    }

    /// Turns the device on or off. Coming back it gets what was stored, if that has not expired.
    pub fn set_online(&mut self, now: Now, online: bool) {
        self.offline = !online;
        if online && let Some(stored) = self.stored.take() {
            match expired(now, stored.arrival.expiration_s.or(Some(now.unix.as_secs() + STORAGE_S))) {
                true => self.counts.expired += 1,
                false => self.deliver(now, stored.arrival),
            }
        }
    }

    /// Whether it is on.
    pub fn is_online(&self) -> bool {
        !self.offline
    }

    /// Whether something waits for it.
    pub fn has_stored(&self) -> bool {
        self.stored.is_some()
    }

    /// The number on the icon; `None` while no push set one.
    pub fn badge(&self) -> Option<u32> {
        self.badge
    }

    /// What is on the screen, oldest first.
    pub fn shown(&self) -> &[Shown] {
        &self.shown
    }

    /// The user has looked: the screen is empty.
    pub fn clear_screen(&mut self) {
        self.shown.clear();
    }

    fn recognise(&mut self, arrival: &Arrival) -> Option<Again> {
        let collapse_id = arrival.collapse_id.as_deref().map_or(0, collapse_hash);
        if let Some(known) = self.recent.iter_mut().rev().find(|known| known.apns_id == arrival.apns_id) {
            let again = Again { n: known.n, same_collapse_id: known.collapse_id == collapse_id };
            known.n = known.n.max(arrival.n);
            return Some(again);
        }
        if self.recent.len() == RECENT_IDS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { apns_id: arrival.apns_id, collapse_id, n: arrival.n });
        None
    }

    /// A push that comes again replaces itself, and its badge counts: that is what makes a late resend of an old state
    /// visible.
    fn deliver(&mut self, now: Now, arrival: Arrival) {
        if arrival.background {
            let hour = Span::from_secs(3_600);
            self.background.retain(|at| now.time.since(*at) < hour);
            if self.background.len() >= BACKGROUND_PER_HOUR {
                self.counts.background_dropped += 1;
                return;
            }
            self.background.push_back(now.time);
        }
        self.counts.delivered += 1;
        if arrival.badge.is_some() {
            self.badge = arrival.badge;
        }
        if !arrival.alert {
            return;
        }
        let Arrival { apns_id, collapse_id, n, items, details, .. } = arrival;
        self.shown.retain(|shown| {
            let same_place = collapse_id.is_some() && shown.collapse_id == collapse_id;
            !same_place && shown.apns_id != apns_id
        });
        if self.shown.len() == SHOWN_MAX {
            self.shown.remove(0);
        }
        self.shown.push(Shown { apns_id, collapse_id, n, items, details });
    }
}

fn expired(now: Now, expiration_s: Option<u64>) -> bool {
    expiration_s.is_some_and(|at| at != 0 && at < now.unix.as_secs())
}

fn collapse_hash(id: &str) -> u64 {
    carillon_core::user::item_hash(b"collapse  ids ..", id)
}
