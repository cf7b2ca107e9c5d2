//! A user's turn: what each of his phones is told, and the lane that takes it.

use super::core::ShardCore;
use super::fetch::wants_fetch;
use super::flight::{Flight, FlightId};
use super::stats::PushTimes;
use super::{Effect, Effects, PushAuth, Report, UnsettledNotice};
use crate::ledger::Station;
use crate::limits::{ALERT_EXPIRY_S_MIN, APNS_PAYLOAD_BYTES_MAX, FETCH_WAIT_MAX};
use crate::notice::{Notice, Text, carries_details, collapse_by_mail, compose_apns, details_allowed};
use crate::push::PushRequest;
use crate::time::{Now, Span, Time};
use crate::user::{Calling, Device, DeviceId, IdForm, Item, Needs, Unsettled, UserId, is_after};

impl ShardCore {
    /// Takes a user from the ready ring.
    pub(super) fn tell(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        user.queued = false;
        let Some(due) = user.due.filter(|due| *due <= now.time) else {
            return self.look_due(now, user_id, fx);
        };
        if user.stopped || user.flights > 0 || self.draining {
            return self.look_due(now, user_id, fx);
        }
        if self.waits_for_details(now, user_id, due, fx) {
            return;
        }
        let mut devices = self.devices_to_tell(now, user_id);
        self.try_one_at_a_time(now, user_id, &mut devices);
        if !devices.iter().any(|id| self.can_take(now, *id)) {
            for device_id in devices {
                self.park(now, device_id, fx);
            }
            return self.look_due(now, user_id, fx);
        }
        self.put_down(now, user_id, fx);
        let waiting_since = self.users.get(user_id).and_then(|user| user.pending.since());
        let signalled = waiting_since.unwrap_or(now.time);
        let Some(user) = self.users.get_mut(user_id) else { return };
        let before = (user.told_at, user.badge_told_at, user.badge_since);
        let vip = |id: &DeviceId| {
            let device = self.devices.get(*id).filter(|device| device.owed > 0);
            device.is_some_and(|device| user.pending.has_vip(device.told_seq, user.pending.seq()))
        };
        if devices.iter().any(vip) {
            user.note_vip_told(now.time, Span::from_millis(self.config.timing.min_interval_ms.into()));
        }
        match waiting_since {
            Some(_) => user.told_at = Some(now.time),
            None => user.badge_told_at = Some(now.time),
        }
        user.badge_since = None;
        user.pending.mark_told();
        let times = PushTimes { signalled, due };
        let (told, left): (Vec<DeviceId>, Vec<DeviceId>) =
            devices.into_iter().partition(|device_id| self.offer(now, user_id, *device_id, times, fx));
        if !left.is_empty() {
            // Who was told rests by itself, and who got no place waits as it did.
            let rested = now.time + Span::from_millis(self.config.timing.min_interval_ms.into());
            for device_id in told {
                if let Some(device) = self.devices.get_mut(device_id) {
                    device.not_before = device.not_before.max(rested);
                }
            }
            if let Some(user) = self.users.get_mut(user_id) {
                (user.told_at, user.badge_told_at, user.badge_since) = before;
                if let Some(since) = waiting_since {
                    user.pending.mark_waiting(since);
                }
            }
            for device_id in left {
                self.park(now, device_id, fx);
            }
        }
        self.tidy(user_id);
        self.look_due(now, user_id, fx);
    }

    /// Whether the round must wait for a fetch. It does not wait for long: late news without details beats none.
    fn waits_for_details(&mut self, now: Now, user_id: UserId, due: Time, fx: &mut Effects) -> bool {
        let Some(user) = self.users.get(user_id) else { return false };
        if user.server.is_none() || now.time >= due + FETCH_WAIT_MAX {
            return false;
        }
        // What changed since it came, or goes by an id that looks into the folder do not give.
        let unsure = |item: &&Item| item.touched || item.id_form == IdForm::Old;
        let touched = user.pending.items().iter().filter(unsure).any(wants_fetch);
        // Whether any of them goes first nobody has looked yet. One look will do: more mail may come meanwhile.
        let unseen = user.looks_for_vip() && user.pending.items().iter().all(wants_fetch);
        let newest = user.pending.items().last();
        let wanted = newest.is_some_and(wants_fetch)
            && user.devices.iter().filter_map(|id| self.devices.get(*id)).any(|device| {
                device.owed == 1
                    && device.wants_alerts()
                    && device.settings.details
                    && self.details_allowed(now.unix, device.active)
            });
        if !touched && !unseen && !wanted {
            return false;
        }
        let Some(user) = self.users.get_mut(user_id) else { return false };
        user.needs.add(Needs::FETCH);
        self.request_call(now, user_id, fx);
        let Some(user) = self.users.get(user_id) else { return false };
        // A call that may not be made yet sets the timer to when the notice was due: that is over.
        let call = Some(user.call_not_before).filter(|at| user.calling == Calling::No && *at > now.time);
        let wait = due + FETCH_WAIT_MAX;
        self.wheel.arm(&user.timer, call.map_or(wait, |at| at.min(wait)));
        true
    }

    /// Who was told longest ago comes first ([`ShardCore::offer`]).
    fn devices_to_tell(&self, now: Now, user_id: UserId) -> Vec<DeviceId> {
        let Some(user) = self.users.get(user_id) else { return Vec::new() };
        let frozen_first = self.frozen_first(user_id);
        let ready = |id: &DeviceId| {
            let Some(device) = self.devices.get(*id) else { return false };
            device.is_owed(user.unread)
                && (!frozen_first || device.is_frozen())
                && !device.is_held()
                && !device.suspect
                && device.parked.is_none()
                && device.flight.is_none()
                && device.not_before <= now.time
        };
        user.devices.iter().copied().filter(ready).collect()
    }

    /// Whether only notices of an earlier life may go out. One notice at a time is put down for a device: as long as it is
    /// a frozen one, newer mails that the device is owed stand nowhere, and the row must not count them as dealt with,
    /// which it would if the user's other devices were told of them now.
    pub(super) fn frozen_first(&self, user_id: UserId) -> bool {
        let Some(user) = self.users.get(user_id) else { return false };
        user.devices.iter().filter_map(|id| self.devices.get(*id)).any(Device::owes_beyond_frozen)
    }

    /// Writes down, before anything is sent, which notice each phone gets: after a crash it goes out again under the
    /// same id or not at all, and no mail is lost between "told" in the row and the push on the wire.
    fn put_down(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        let (frozen_first, cutoff_s) = (self.frozen_first(user_id), self.config.timing.detail_cutoff_s);
        let Some(user) = self.users.get_mut(user_id) else { return };
        let newest = user.pending.items().last().map_or(0, |item| item.hash);
        let detailed = user.pending.items().last().is_some_and(|item| item.details.is_some());
        let mut any = false;
        for device_id in &user.devices {
            let Some(device) = self.devices.get_mut(*device_id) else { continue };
            if device.flight.is_some() || device.suspect || (frozen_first && !device.is_frozen()) {
                continue;
            }
            let before = (device.badge, device.unsettled);
            if device.badge_due(user.unread).is_some() {
                // Until the answer comes nobody knows which badge the phone shows.
                device.badge = None;
            }
            any |= device.owed > 0;
            if device.owed > 0 && !device.is_frozen() {
                let known = device.unsettled.map(|unsettled| unsettled.notice.apns_id);
                let apns_id = known.unwrap_or_else(|| self.rng.uuid_v4());
                let details = detailed
                    && device.owed == 1
                    && device.settings.details
                    && details_allowed(now.unix, device.active, cutoff_s);
                let apns_id = with_details(apns_id, details);
                let mails = u16::try_from(device.owed).unwrap_or(u16::MAX);
                let notice = UnsettledNotice { apns_id, mails, newest };
                device.unsettled = Some(Unsettled { notice, frozen: false, resolved: true });
            }
            if before != (device.badge, device.unsettled) && !planted!(NotPutDown) {
                fx.report(Report::Device {
                    user: user.key,
                    device: device.key,
                    badge: device.badge,
                    unsettled: device.unsettled.map(|unsettled| unsettled.notice),
                });
            }
        }
        if any && !frozen_first {
            user.settle_known();
            self.report_noticed(user_id, fx);
        }
    }

    /// Composes the notice for one device and hands it to a lane. False if no lane had room.
    fn offer(
        &mut self,
        now: Now,
        user_id: UserId,
        device_id: DeviceId,
        times: PushTimes,
        fx: &mut Effects,
    ) -> bool {
        let Some(device) = self.devices.get(device_id) else { return true };
        let service = device.service;
        if !self.can_take(now, device_id) {
            return false;
        }
        let frozen = device.unsettled.filter(|unsettled| unsettled.frozen).map(|unsettled| unsettled.notice);
        let mails = match frozen {
            Some(notice) => u32::from(notice.mails).min(device.owed),
            None => device.owed.min(u16::MAX.into()),
        };
        let apns_id = match device.unsettled {
            Some(unsettled) if mails > 0 => unsettled.notice.apns_id,
            _ => self.rng.uuid_v4(),
        };
        let Some(user) = self.users.get_mut(user_id) else { return true };
        let Some(device) = self.devices.get_mut(device_id) else { return true };
        let from_seq = device.told_seq;
        // A notice of an earlier life tells of nothing that was folded in this one.
        let to_seq = if frozen.is_some() { from_seq } else { user.pending.seq() };
        device.told_seq = to_seq;
        device.owed -= mails;
        let badge = if device.settings.badge { user.unread } else { None };
        user.flights += 1;
        // The others come first next time: with fewer places than phones, and mail that keeps coming in, one would take
        // another's place in each round.
        if let Some(at) = user.devices.iter().position(|id| *id == device_id) {
            user.devices[at..].rotate_left(1);
        }
        let expiration_s = expiration_s(now, self.config.timing.alert_expiry_s);
        let composed = crate::notice::Composed {
            push_type: crate::push::PushType::Alert,
            priority: 10,
            collapse_id: "".into(),
            details: false,
        };
        let flight_id = self.flights.insert(Flight {
            user: user_id,
            device: device_id,
            service,
            lane: None,
            apns_id,
            mails,
            from_seq,
            to_seq,
            newest: frozen.map(|notice| notice.newest),
            badge,
            times,
            jwt: None,
            composed,
            payload: Vec::new(),
            expiration_s,
            ambiguous: 0,
            not_before: Time(0),
            words_stale: false,
            registered_since: false,
            token_stale: false,
            token_changed: false,
        });
        device.flight = Some(flight_id);
        self.stats.pushes_in_flight += 1;
        self.stats.ledger.enter(Station::Offered, u64::from(mails));
        self.word(now, flight_id, true);
        self.launch(now, flight_id, fx);
        true
    }

    /// Makes the flight's bytes from the rows as they are now.
    fn word(&mut self, now: Now, flight_id: FlightId, first: bool) {
        let Some(flight) = self.flights.get(flight_id) else { return };
        let (Some(user), Some(device)) = (self.users.get(flight.user), self.devices.get(flight.device))
        else {
            return;
        };
        let badge = flight.badge.filter(|_| device.settings.badge);
        let told = |seq: u32| is_after(seq, flight.from_seq) && !is_after(seq, flight.to_seq);
        let covered = user.pending.items().iter().rev().filter(|item| match flight.newest {
            Some(newest) => item.hash == newest,
            None => told(item.seq),
        });
        let items: Vec<u64> = covered.clone().map(|item| item.hash).take(flight.mails as usize).collect();
        let localized = device.settings.localized;
        let allowed = self.details_allowed(now.unix, device.active);
        let text = match flight.mails {
            0 => Text::BadgeOnly,
            1 => match covered.clone().next().and_then(|item| item.details.as_deref()) {
                Some(details) if shows_details(flight.apns_id) && device.settings.details && allowed => {
                    Text::Mail { mail: details, localized }
                }
                Some(_) | None => Text::Generic { localized },
            },
            mails => Text::Several { mails, localized },
        };
        let vip = match flight.newest {
            Some(_) => covered.clone().any(|item| item.vip),
            None => user.pending.has_vip(flight.from_seq, flight.to_seq),
        };
        let vip_sound = device.settings.vip_sound.as_deref().filter(|_| vip);
        let sound = vip_sound.or(device.settings.sound.as_deref()).filter(|_| flight.mails > 0);
        let notice =
            Notice { text, badge, sound, vip, account: user.account, user: user.key.0, items: &items };
        let mut payload = Vec::new();
        let mut composed = compose_apns(&mut payload, &notice, APNS_PAYLOAD_BYTES_MAX);
        if planted!(ResendMoves) {
            // As if it were worded for the first time.
        } else if !first {
            // It keeps its place on the screen, whatever became of the mail.
            composed.collapse_id.clone_from(&flight.composed.collapse_id);
        } else if flight.mails == 1
            && shows_details(flight.apns_id)
            && let Some(mail) = flight.newest.or(items.first().copied())
        {
            // Even if they have to be left out by now.
            composed.collapse_id = collapse_by_mail(mail);
        }
        if planted!(PlaceOfItsOwn) && flight.mails > 0 {
            composed.collapse_id = format!("{:032x}", flight.apns_id).into();
        }
        if first && device.settings.details && !allowed && flight.mails == 1 {
            self.stats.downgraded += 1;
        }
        if let Some(flight) = self.flights.get_mut(flight_id) {
            flight.payload = payload;
            flight.composed = composed;
            flight.badge = badge;
        }
    }

    /// Hands a worded flight to a lane; without room it waits to be sent again.
    pub(super) fn launch(&mut self, now: Now, flight_id: FlightId, fx: &mut Effects) {
        let Some(flight) = self.flights.get_mut(flight_id) else { return };
        if std::mem::take(&mut flight.words_stale) {
            self.word(now, flight_id, false);
        }
        // The second look, at the finished bytes: time may have passed since they were worded.
        let Some(flight) = self.flights.get(flight_id) else { return };
        let Some(device) = self.devices.get(flight.device) else { return };
        let detailed = carries_details(&flight.payload) && !planted!(NoSecondLook);
        if detailed && !self.details_allowed(now.unix, device.active) {
            self.stats.second_look += 1;
            self.word(now, flight_id, false);
        }
        let Some(flight) = self.flights.get_mut(flight_id) else { return };
        let Some(device) = self.devices.get(flight.device) else { return };
        let service_id = flight.service;
        let service = &self.services[usize::from(service_id.0)];
        let with_token =
            matches!(self.config.push_services[usize::from(service_id.0)].auth, PushAuth::Team(_));
        flight.jwt = if with_token { service.jwt.clone() } else { None };
        let Some(lane_id) = self.choose_lane(now, service_id) else {
            return self.wait_for_lane(flight_id);
        };
        let Some(flight) = self.flights.get_mut(flight_id) else { return };
        let first_of_all = self.devices.iter().next().filter(|_| planted!(TokenOfAnother));
        let request = PushRequest {
            token: first_of_all.map_or(&device.token, |(_, first)| &first.token),
            topic: &device.topic,
            jwt: flight.jwt.as_deref(),
            apns_id: flight.apns_id,
            push_type: flight.composed.push_type,
            priority: flight.composed.priority,
            expiration_s: flight.expiration_s,
            collapse_id: Some(&flight.composed.collapse_id),
            payload: &flight.payload,
        };
        let Some(super::conn::Kind::Lane { machine: Some(lane), .. }) =
            self.conns.get_mut(lane_id).map(|conn| &mut conn.kind)
        else {
            return;
        };
        if lane.send(now.time, flight_id.to_bits(), &request).is_err() {
            return self.wait_for_lane(flight_id);
        }
        flight.lane = Some(lane_id);
        flight.token_changed |= std::mem::take(&mut flight.token_stale);
        flight.registered_since = false;
        self.stats.pushes_sent += 1;
        if flight.mails > 0 && flight.ambiguous == 0 {
            fx.push(Effect::Sent(flight.times));
        }
        self.touch_conn(lane_id, fx);
    }
}

/// `apns-expiration`: the end of an alert's life. It is read by the provider's clock, of which we are told nothing, and a
/// push that has expired by it is accepted and never shown: so the end is never near. 0, which no clock can mistake, for
/// one that is not to be kept at all.
fn expiration_s(now: Now, alert_expiry_s: u32) -> u64 {
    match alert_expiry_s {
        0 => 0,
        expiry_s => now.unix.as_secs() + u64::from(expiry_s.max(ALERT_EXPIRY_S_MIN)),
    }
}

/// A notice's id with a note whether it is worded with details, in its last bit. Sent again, perhaps in another life, it
/// has to take its own place on the screen, and which one that is hangs on the first wording.
pub(super) fn with_details(apns_id: u128, details: bool) -> u128 {
    apns_id & !1 | u128::from(details)
}

pub(super) fn shows_details(apns_id: u128) -> bool {
    apns_id & 1 == 1
}
