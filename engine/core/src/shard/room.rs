//! Room in lanes: who gets it, who waits for it, and what is lacking.

use std::cmp::Reverse;

use super::config::{PushAuth, PushServiceId};
use super::conn::Kind;
use super::core::ShardCore;
use super::flight::FlightId;
use super::{ConnId, Effects};
use crate::limits::LANE_BACKLOG;
use crate::push::{Blocked, Lane};
use crate::time::{Now, Time};
use crate::user::{DeviceId, UserId};

/// What notices wait for, in the order of [`super::BLOCKED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitsFor {
    Streams,
    Window,
    Bytes,
    Network,
    Silence,
    Connecting,
    Paused,
}

impl ShardCore {
    /// The lane with the most room, if the provider may be used now.
    pub(super) fn choose_lane(&self, now: Now, service_id: PushServiceId) -> Option<ConnId> {
        if self.is_paused(now, service_id) || self.is_trying(service_id) {
            return None;
        }
        let lanes = self.lanes(service_id).map(|(conn, lane)| (lane.room(), conn));
        lanes.max_by_key(|(room, conn)| (*room, *conn)).filter(|(room, _)| *room > 0).map(|(_, conn)| conn)
    }

    /// How many pushes may be handed in now.
    fn room(&self, now: Now, service_id: PushServiceId) -> usize {
        if self.choose_lane(now, service_id).is_none() {
            return 0;
        }
        if self.services[usize::from(service_id.0)].probing {
            return 1;
        }
        self.lanes(service_id).map(|(_, lane)| lane.room()).sum()
    }

    fn is_paused(&self, now: Now, service_id: PushServiceId) -> bool {
        let service = &self.services[usize::from(service_id.0)];
        let with_token = matches!(self.push_service(service_id).auth, PushAuth::Team(_));
        service.jwt_stale || (with_token && service.jwt.is_none()) || service.paused_until > now.time
    }

    /// Whether one push is out to see whether the provider works again, and nothing goes before its answer.
    fn is_trying(&self, service_id: PushServiceId) -> bool {
        self.services[usize::from(service_id.0)].probing
            && self.lanes(service_id).any(|(_, lane)| lane.in_flight() > 0)
    }

    /// The lanes that stand, those that are on their way out included.
    pub(super) fn lanes(&self, service_id: PushServiceId) -> impl Iterator<Item = (ConnId, &Lane)> {
        let lanes = self.services[usize::from(service_id.0)].lanes.iter();
        lanes.filter_map(|conn| match self.conns.get(*conn).map(|conn| &conn.kind) {
            Some(Kind::Lane { machine: Some(lane), .. }) => Some((*conn, &**lane)),
            Some(_) | None => None,
        })
    }

    /// Whether another lane would help: more waits than the open ones carry in a moment, in bytes and streams per answer
    /// time, and what holds them up is a limit of the connection.
    pub(super) fn needs_another_lane(&self, now: Now, service_id: PushServiceId) -> bool {
        let service = &self.services[usize::from(service_id.0)];
        let backlog = (service.waiting.len() + service.resend.len()) as u64;
        if backlog == 0 || service.probing || self.is_paused(now, service_id) {
            return false;
        }
        let mut carried = 0;
        for (_, lane) in self.lanes(service_id).filter(|(_, lane)| lane.is_open()) {
            match (lane.blocked(), lane.carries(LANE_BACKLOG)) {
                (Some(Blocked::Streams | Blocked::Bytes), Some(pushes)) => carried += pushes,
                (Some(Blocked::Silence), _) => {}
                // It has not answered yet, has room, or is to be given no more whatever its limits are.
                (Some(Blocked::Streams | Blocked::Bytes), None)
                | (Some(Blocked::Window | Blocked::Output) | None, _) => return false,
            }
        }
        backlog > carried
    }

    /// Whether a push for this device could go now.
    pub(super) fn can_take(&self, now: Now, device_id: DeviceId) -> bool {
        let Some(device) = self.devices.get(device_id) else { return false };
        !self.is_held_back(device_id) && self.choose_lane(now, device.service).is_some()
    }

    /// Nobody can take it now: the device waits, and its notice goes on folding.
    pub(super) fn park(&mut self, now: Now, device_id: DeviceId, fx: &mut Effects) {
        if self.is_held_back(device_id) {
            return self.hold_back(now, device_id);
        }
        let Some(device) = self.devices.get_mut(device_id) else { return };
        let service_id = device.service;
        if device.parked.is_none() {
            let place = self.places.last();
            device.parked = Some(place);
            self.services[usize::from(service_id.0)].waiting.insert(place, device_id);
        }
        self.note_blocked(now, service_id, fx);
    }

    /// Takes a device out of the queue that it stands in.
    pub(super) fn unpark(&mut self, device_id: DeviceId) {
        let Some(device) = self.devices.get_mut(device_id) else { return };
        let Some(place) = device.parked.take() else { return };
        let service = &mut self.services[usize::from(device.service.0)];
        if service.waiting.remove(&place).is_none() {
            service.apps.iter_mut().for_each(|app| app.forget(place));
        }
    }

    /// Takes those of a user's devices out of their queues that have nothing more to be told: they would keep room from
    /// others, or a try from their app. A token in doubt stays so.
    pub(super) fn unpark_told(&mut self, user_id: UserId) {
        let Some(user) = self.users.get(user_id) else { return };
        let told = |id: &DeviceId| {
            let Some(device) = self.devices.get(*id) else { return false };
            let Some(place) = device.parked else { return false };
            let apps = &self.services[usize::from(device.service.0)].apps;
            (user.stopped || !device.is_owed(user.unread)) && !apps.iter().any(|app| app.doubts(place))
        };
        let told: Vec<DeviceId> = user.devices.iter().copied().filter(told).collect();
        told.into_iter().for_each(|device_id| self.unpark(device_id));
    }

    /// A device has come out of its queue: its user is looked at. Whether he is to be told now.
    pub(super) fn wake(&mut self, now: Now, device_id: DeviceId, fx: &mut Effects) -> bool {
        let Some(device) = self.devices.get_mut(device_id) else { return false };
        device.parked = None;
        let user_id = device.user;
        if planted!(LostWake) {
            return true;
        }
        self.look_due(now, user_id, fx);
        let due = self.users.get(user_id).and_then(|user| user.due);
        let now_due = due.is_some_and(|due| due <= now.time);
        if now_due {
            self.enqueue(user_id);
        }
        now_due
    }

    /// Gives room to those who wait for it: first what must go out again, then devices in the order of their coming.
    pub(super) fn use_room(&mut self, now: Now, service_id: PushServiceId, fx: &mut Effects) {
        while self.choose_lane(now, service_id).is_some() {
            let resend = &mut self.services[usize::from(service_id.0)].resend;
            let Some(Reverse((at, flight_id))) = resend.peek().copied() else { break };
            if at > now.time {
                self.wake_service(service_id, at);
                break;
            }
            resend.pop();
            self.launch(now, flight_id, fx);
        }
        // No more than there is room for: the rest would only come back.
        let mut room = self.room(now, service_id);
        if room == 0 {
            return self.note_blocked(now, service_id, fx);
        }
        self.count_blocked(now, service_id, None);
        while room > 0 {
            let waiting = &mut self.services[usize::from(service_id.0)].waiting;
            let Some((_, device_id)) = waiting.pop_first() else { break };
            // Who is not to be told just now takes no room.
            room -= usize::from(self.wake(now, device_id, fx));
        }
    }

    /// Nobody is in the ready ring: room that is left is for those who wait.
    pub(super) fn use_room_left(&mut self, now: Now, fx: &mut Effects) {
        for at in 0..self.services.len() {
            let service_id = PushServiceId(at as u16);
            if !self.services[at].waiting.is_empty() && self.choose_lane(now, service_id).is_some() {
                self.use_room(now, service_id, fx);
            }
        }
    }

    /// The flight goes out again when it may and a lane has room.
    pub(super) fn wait_for_lane(&mut self, flight_id: FlightId) {
        let Some(flight) = self.flights.get(flight_id) else { return };
        let again = Reverse((flight.not_before, flight_id));
        self.services[usize::from(flight.service.0)].resend.push(again);
    }

    /// Somebody waits and no lane has room: keep the time, and perhaps open another lane.
    pub(super) fn note_blocked(&mut self, now: Now, service_id: PushServiceId, fx: &mut Effects) {
        let service = &self.services[usize::from(service_id.0)];
        if service.waiting.is_empty() && service.resend.is_empty() {
            return self.count_blocked(now, service_id, None);
        }
        let paused_until = service.paused_until;
        self.count_blocked(now, service_id, Some(self.waits_for(now, service_id)));
        if paused_until > now.time {
            self.wake_service(service_id, paused_until);
        } else {
            self.keep_lanes(now, service_id, fx);
        }
    }

    fn waits_for(&self, now: Now, service_id: PushServiceId) -> WaitsFor {
        if self.is_paused(now, service_id) || self.is_trying(service_id) {
            return WaitsFor::Paused;
        }
        match self.lanes(service_id).find_map(|(_, lane)| lane.blocked()) {
            Some(Blocked::Streams) => WaitsFor::Streams,
            Some(Blocked::Window) => WaitsFor::Window,
            Some(Blocked::Bytes) => WaitsFor::Bytes,
            Some(Blocked::Output) => WaitsFor::Network,
            Some(Blocked::Silence) => WaitsFor::Silence,
            None => WaitsFor::Connecting,
        }
    }

    fn count_blocked(&mut self, now: Now, service_id: PushServiceId, waits_for: Option<WaitsFor>) {
        let blocked = &mut self.services[usize::from(service_id.0)].blocked;
        if let Some((waited_for, since)) = blocked.take() {
            self.stats.blocked_us[waited_for as usize] += now.time.since(since).0;
        }
        *blocked = waits_for.map(|waits_for| (waits_for, now.time));
    }

    /// The service's timer fires at this time at the latest.
    pub(super) fn wake_service(&mut self, service_id: PushServiceId, at: Time) {
        let timer = &self.services[usize::from(service_id.0)].timer;
        if self.wheel.deadline(timer).is_none_or(|armed| armed > at) {
            self.wheel.arm(timer, at);
        }
    }
}
