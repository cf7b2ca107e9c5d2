//! Apps at a provider, and the breaker that opens when the provider knows none of an app's device tokens.
//!
//! A token that the provider does not know (`BadDeviceToken`, `DeviceTokenNotForTopic`) is either one device's mistake or
//! everybody's: the wrong environment, the wrong app. So the first such answers are held in doubt. An accepted push of the
//! same app shows that they were mistakes of their own. Without one, the breaker opens, the owner is told, and the devices
//! stay. Tokens come from phones, and anybody can make them up: users are counted, not devices, and a device with an
//! accepted push under its present token is never held back.

use super::config::PushServiceId;
use super::core::ShardCore;
use super::flight::FlightId;
use super::queue::{Place, Queue};
use super::tell::{shows_details, with_details};
use super::{Effects, Report, Trouble};
use crate::ledger::{Station, Suppressed};
use crate::limits::{
    APPS_MAX, BREAKER_BACK_OFF, DOUBT_TIME, DOUBTED_USERS_MAX, PUSH_BACK_OFF, USER_DOUBTS_MAX,
};
use crate::names::Topic;
use crate::push::Reason;
use crate::time::{Now, Span, Time, UnixMillis};
use crate::user::{Device, DeviceId, User, UserId};

/// One app at one provider.
#[derive(Debug)]
pub(super) struct App {
    topic: Topic,
    /// A push to it was accepted in this life.
    worked: bool,
    /// Devices whose tokens were refused since the last accepted push: parked until it is clear whose fault it is.
    doubted: Queue,
    /// Their users, each once, and those refused while the breaker is open: at most [`DOUBTED_USERS_MAX`].
    refused: Vec<UserId>,
    /// When that is decided at the latest.
    decide_at: Time,
    breaker: Option<Breaker>,
}

/// Nothing is sent to devices whose tokens were refused but one push now and then, to see. With [`DOUBTED_USERS_MAX`] users
/// refused, it holds back all devices of which nobody has seen that their tokens are good.
#[derive(Debug)]
struct Breaker {
    opened: UnixMillis,
    /// Devices that registered since it opened, and perhaps have the right token.
    registered: Queue,
    /// Devices that were not tried yet.
    untried: Queue,
    /// Devices that were refused.
    refused: Queue,
    /// The device whose push may go.
    probe: Option<DeviceId>,
    /// When the next one may.
    probe_at: Time,
    failures: u8,
}

impl Breaker {
    fn queues(&self) -> [&Queue; 3] {
        [&self.registered, &self.untried, &self.refused]
    }

    fn queues_mut(&mut self) -> [&mut Queue; 3] {
        [&mut self.registered, &mut self.untried, &mut self.refused]
    }

    fn is_empty(&self) -> bool {
        self.queues().into_iter().all(Queue::is_empty)
    }

    /// The next to try. Every other time one that registered since: many may, with the right token or with a made-up one,
    /// and neither keeps the others waiting.
    fn next(&mut self) -> Option<DeviceId> {
        let registered_first = self.failures.is_multiple_of(2) || planted!(BreakerForAll);
        let [registered, untried, refused] = self.queues_mut();
        let order =
            if registered_first { [registered, untried, refused] } else { [untried, registered, refused] };
        order.into_iter().find_map(Queue::pop_first).map(|(_, device_id)| device_id)
    }
}

impl App {
    /// Devices that stand here.
    pub(super) fn parked(&self) -> impl Iterator<Item = (Place, DeviceId)> {
        let waiting = self.breaker.iter().flat_map(Breaker::queues).flatten();
        self.doubted.iter().chain(waiting).map(|(place, device)| (*place, *device))
    }

    pub(super) fn forget(&mut self, place: Place) {
        self.doubted.remove(&place);
        for queue in self.breaker.iter_mut().flat_map(Breaker::queues_mut) {
            queue.remove(&place);
        }
    }

    /// Whether it is not yet clear whose fault it is that this device was refused.
    pub(super) fn doubts(&self, place: Place) -> bool {
        self.doubted.contains_key(&place)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.breaker.is_some()
    }

    /// A token of this user was refused.
    fn note_refused(&mut self, user_id: UserId) {
        if self.refused.len() < DOUBTED_USERS_MAX && !self.refused.contains(&user_id) {
            self.refused.push(user_id);
        }
    }

    /// So many users were refused that it is everybody's trouble.
    fn refuses_everybody(&self) -> bool {
        if planted!(BreakerForAll) {
            return self.doubted.len() >= DOUBTED_USERS_MAX;
        }
        self.refused.len() >= DOUBTED_USERS_MAX
    }
}

impl ShardCore {
    /// The provider does not know this push's token. It was not processed.
    pub(super) fn token_doubted(&mut self, now: Now, flight_id: FlightId, reason: &Reason, fx: &mut Effects) {
        let Some(flight) = self.flights.get(flight_id) else { return };
        let (device_id, service_id) = (flight.device, flight.service);
        let app = self.app_of(device_id);
        let Some(device) = self.devices.get_mut(device_id) else {
            return self.come_back(now, flight_id, Span::ZERO, fx);
        };
        let Some(app) = app.filter(|_| device.service == service_id) else {
            return self.refuse_push(now, device_id, flight_id, fx);
        };
        device.proven = false;
        if let Some(user) = self.users.get_mut(device.user) {
            user.tokens_refused = user.tokens_refused.saturating_add(1);
            if user.tokens_refused >= USER_DOUBTS_MAX {
                user.token_try_at = now.time + BREAKER_BACK_OFF.0;
            }
        }
        let app = &mut self.services[usize::from(service_id.0)].apps[app];
        if app.refused.is_empty() {
            // Whoever registers again leaves the queue of the doubted: that must not put the decision off.
            app.decide_at = now.time + DOUBT_TIME;
        }
        app.note_refused(device.user);
        if let Some(breaker) = &mut app.breaker {
            device.pardoned = true;
            if breaker.probe == Some(device_id) {
                breaker.probe = None;
                let failures = breaker.failures;
                breaker.failures = failures.saturating_add(1);
                let at = now.time + self.jittered(BREAKER_BACK_OFF.0, BREAKER_BACK_OFF.1, failures);
                if let Some((_, breaker)) = self.breaker_of(device_id) {
                    breaker.probe_at = at;
                }
                self.wake_service(service_id, at);
            }
            return self.never_taken(now, flight_id, fx);
        }
        if device.pardoned {
            return self.refuse_push(now, device_id, flight_id, fx);
        }
        let place = self.places.last();
        device.parked = Some(place);
        app.doubted.insert(place, device_id);
        let (decide_at, many) = (app.decide_at, app.refuses_everybody());
        let topic = app.topic.clone();
        self.wake_service(service_id, decide_at);
        self.never_taken(now, flight_id, fx);
        if many {
            self.open_breaker(now, service_id, &topic, reason.as_str(), fx);
        }
    }

    /// The provider knows no such token, so it has taken none of this push's attempts, whatever became of the other answers.
    /// Its mails are told anew, with what came since: by another notice, which needs an id of its own. What was sent to
    /// another token before may have been taken: it stays under its id.
    pub(super) fn never_taken(&mut self, now: Now, flight_id: FlightId, fx: &mut Effects) {
        let Some(flight) = self.flights.get(flight_id) else { return };
        let (user_id, device_id) = (flight.user, flight.device);
        let in_doubt = flight.ambiguous > 0 && !flight.token_changed;
        self.come_back(now, flight_id, Span::ZERO, fx);
        let (Some(user), Some(device)) = (self.users.get(user_id), self.devices.get_mut(device_id)) else {
            return;
        };
        if let Some(unsettled) = device.unsettled.as_mut().filter(|unsettled| in_doubt && !unsettled.frozen) {
            let details = shows_details(unsettled.notice.apns_id);
            unsettled.notice.apns_id = with_details(self.rng.uuid_v4(), details);
            let (key, badge, notice) = (device.key, device.badge, unsettled.notice);
            fx.report(Report::Device { user: user.key, device: key, badge, unsettled: Some(notice) });
        }
    }

    /// An app's push was accepted, and the device's token is still the one that it went to (`proves`): the app's tokens are
    /// those of this provider, and each that was refused is at fault itself.
    pub(super) fn app_worked(
        &mut self,
        now: Now,
        service_id: PushServiceId,
        device_id: DeviceId,
        proves: bool,
        fx: &mut Effects,
    ) {
        let Some(at) = self.app_of(device_id) else { return };
        let Some(device) = self.devices.get_mut(device_id).filter(|device| device.service == service_id)
        else {
            return;
        };
        let service = &mut self.services[usize::from(service_id.0)];
        let app = &mut service.apps[at];
        app.worked = true;
        app.refused.clear();
        let doubted = std::mem::take(&mut app.doubted);
        if let Some(mut breaker) = app.breaker.take() {
            breaker.queues_mut().into_iter().for_each(|queue| service.waiting.append(queue));
        }
        device.pardoned &= !proves;
        if proves
            && !std::mem::replace(&mut device.proven, true)
            && let Some(user) = self.users.get_mut(device.user)
        {
            (user.tokens_refused, user.token_try_at) = (0, Time(0));
        }
        for device_id in doubted.into_values() {
            self.refuse_device(now, device_id, fx);
        }
    }

    /// Whether the device waits for its app's breaker. Who was seen to have a good token never does.
    pub(super) fn is_held_back(&self, device_id: DeviceId) -> bool {
        let for_all = planted!(BreakerForAll);
        let waits = |device: &&Device| for_all || !device.proven;
        let Some(device) = self.devices.get(device_id).filter(waits) else { return false };
        let apps = &self.services[usize::from(device.service.0)].apps;
        let Some(app) = apps.iter().find(|app| app.topic == device.topic) else { return false };
        let held = for_all || device.pardoned || app.refuses_everybody();
        app.breaker.as_ref().is_some_and(|breaker| held && breaker.probe != Some(device_id))
    }

    /// The device waits for its app's breaker.
    pub(super) fn hold_back(&mut self, now: Now, device_id: DeviceId) {
        let place = self.places.last();
        let Some((device, breaker)) = self.breaker_of(device_id) else { return };
        let service_id = device.service;
        device.parked = Some(place);
        let queue = if device.pardoned {
            &mut breaker.refused
        } else if device.registered > breaker.opened {
            &mut breaker.registered
        } else {
            &mut breaker.untried
        };
        queue.insert(place, device_id);
        let at = breaker.probe_at.max(now.time);
        self.wake_service(service_id, at);
    }

    /// Tokens of the user were refused time and again: of those of which nobody has seen that they are good, one is tried at
    /// a time, and the others wait. Who makes tokens up does not fill lanes with refusals.
    pub(super) fn try_one_at_a_time(&mut self, now: Now, user_id: UserId, devices: &mut Vec<DeviceId>) {
        let often = |user: &&mut User| user.tokens_refused >= USER_DOUBTS_MAX && !planted!(BreakerForAll);
        let user = self.users.get_mut(user_id).filter(often);
        let Some(user) = user else { return };
        devices.retain(|device_id| match self.devices.get_mut(*device_id) {
            Some(device) if !device.proven => {
                let may = user.token_try_at <= now.time;
                if may {
                    user.token_try_at = now.time + BREAKER_BACK_OFF.0;
                } else {
                    device.not_before = user.token_try_at;
                }
                may
            }
            Some(_) | None => true,
        });
    }

    /// A device registered again: perhaps with the token that the provider knows.
    pub(super) fn try_app_soon(&mut self, now: Now, device_id: DeviceId) {
        let Some((device, breaker)) = self.breaker_of(device_id) else { return };
        let service_id = device.service;
        breaker.probe_at = breaker.probe_at.min(now.time + BREAKER_BACK_OFF.0);
        let at = breaker.probe_at;
        self.wake_service(service_id, at);
    }

    /// Decides what was in doubt for too long, and lets the next device of a broken app try.
    pub(super) fn step_apps(&mut self, now: Now, service_id: PushServiceId, fx: &mut Effects) {
        for at in 0..self.services[usize::from(service_id.0)].apps.len() {
            let room = self.choose_lane(now, service_id).is_some();
            let app = &mut self.services[usize::from(service_id.0)].apps[at];
            if !app.doubted.is_empty() {
                if app.decide_at > now.time {
                    let at = app.decide_at;
                    self.wake_service(service_id, at);
                } else if app.worked && app.refused.len() == 1 {
                    app.refused.clear();
                    for device_id in std::mem::take(&mut app.doubted).into_values() {
                        self.refuse_device(now, device_id, fx);
                    }
                } else {
                    let topic = app.topic.clone();
                    self.open_breaker(now, service_id, &topic, "BadDeviceToken", fx);
                }
                continue;
            }
            let Some(breaker) = app.breaker.as_mut().filter(|breaker| !breaker.is_empty()) else {
                continue;
            };
            if breaker.probe_at > now.time {
                let at = breaker.probe_at;
                self.wake_service(service_id, at);
            } else if !room {
                self.wake_service(service_id, now.time + PUSH_BACK_OFF.0);
            } else {
                // If nothing comes of it, another tries. Who has nothing to be told is no try.
                breaker.probe_at = now.time + BREAKER_BACK_OFF.0;
                let next = breaker.probe_at;
                while let Some(device_id) = self.next_probe(service_id, at) {
                    if self.wake(now, device_id, fx) || self.will_be_told(device_id) {
                        break;
                    }
                }
                self.wake_service(service_id, next);
            }
        }
    }

    /// Whether there is something for the device, now or when it has settled.
    fn will_be_told(&self, device_id: DeviceId) -> bool {
        let Some(device) = self.devices.get(device_id) else { return false };
        let user = self.users.get(device.user).filter(|user| !user.stopped);
        user.is_some_and(|user| device.is_owed(user.unread))
    }

    fn next_probe(&mut self, service_id: PushServiceId, at: usize) -> Option<DeviceId> {
        let breaker = self.services[usize::from(service_id.0)].apps[at].breaker.as_mut()?;
        breaker.probe = breaker.next();
        breaker.probe
    }

    /// A device and its app's breaker, if that is open.
    fn breaker_of(&mut self, device_id: DeviceId) -> Option<(&mut Device, &mut Breaker)> {
        let device = self.devices.get_mut(device_id)?;
        let apps = &mut self.services[usize::from(device.service.0)].apps;
        let app = apps.iter_mut().find(|app| app.topic == device.topic)?;
        Some((device, app.breaker.as_mut()?))
    }

    fn open_breaker(
        &mut self,
        now: Now,
        service_id: PushServiceId,
        topic: &Topic,
        reason: &str,
        fx: &mut Effects,
    ) {
        let wait = self.jittered(BREAKER_BACK_OFF.0, BREAKER_BACK_OFF.1, 0);
        let service = &mut self.services[usize::from(service_id.0)];
        let Some(app) = service.apps.iter_mut().find(|app| app.topic == *topic) else { return };
        let doubted = std::mem::take(&mut app.doubted);
        for device_id in doubted.values() {
            if let Some(device) = self.devices.get_mut(*device_id) {
                device.pardoned = true;
            }
        }
        app.breaker = Some(Breaker {
            opened: now.unix,
            registered: Queue::new(),
            untried: Queue::new(),
            refused: doubted,
            probe: None,
            probe_at: now.time + wait,
            failures: 1,
        });
        service.troubled = true;
        let users = app.refused.len();
        let (many, times) = if users < DOUBTED_USERS_MAX { ("", users) } else { ("at least ", users) };
        let text = format!(
            "The provider knows none of the device tokens of {} that it saw lately, those of {many}{times} of its users: they \
             belong to the other environment (sandbox or production) or to another app. Check environment and topics of this \
             push service. The devices are kept, and one push at a time is tried.",
            topic.as_str()
        );
        fx.report(Report::PushServiceTrouble {
            service: service_id,
            trouble: Trouble { code: reason.into(), text: text.into() },
        });
        self.wake_service(service_id, now.time + wait);
    }

    /// The place of the device's app among those of its provider; `None` if there are too many.
    fn app_of(&mut self, device_id: DeviceId) -> Option<usize> {
        let device = self.devices.get(device_id)?;
        let apps = &mut self.services[usize::from(device.service.0)].apps;
        let known = apps.iter().position(|app| app.topic == device.topic);
        if known.is_none() && apps.len() < APPS_MAX {
            apps.push(App {
                topic: device.topic.clone(),
                worked: false,
                doubted: Queue::new(),
                refused: Vec::new(),
                decide_at: Time(0),
                breaker: None,
            });
            return Some(apps.len() - 1);
        }
        known
    }

    fn refuse_push(&mut self, now: Now, device_id: DeviceId, flight_id: FlightId, fx: &mut Effects) {
        self.come_back(now, flight_id, Span::ZERO, fx);
        self.refuse_device(now, device_id, fx);
    }

    /// The provider does not know this device: nothing more is sent to it until it registers again.
    fn refuse_device(&mut self, now: Now, device_id: DeviceId, fx: &mut Effects) {
        let Some(user_id) = self.devices.get(device_id).map(|device| device.user) else { return };
        self.report_given_up(now, user_id, device_id, "BadDeviceToken", UNKNOWN, fx);
        let Some(device) = self.devices.get_mut(device_id) else { return };
        device.parked = None;
        device.suspect = true;
        device.unsettled = None;
        let owed = std::mem::take(&mut device.owed);
        self.stats.ledger.enter(Station::Suppressed(Suppressed::Rejected), u64::from(owed));
        let (key, badge) = (device.key, device.badge);
        if let Some(user) = self.users.get(user_id) {
            device.told_seq = user.pending.seq();
            fx.report(Report::Device { user: user.key, device: key, badge, unsettled: None });
        }
        self.tidy(user_id);
        self.look_due(now, user_id, fx);
    }
}

const UNKNOWN: &str = "The provider does not know this device's token for this app and environment, and knows those of others: \
                       nothing more is sent to it until the app registers again. Is it a test build?";
