//! Push providers: their lanes, their tokens, and who waits for room.

use std::collections::VecDeque;
use std::sync::Arc;

use super::config::{PushAuth, PushServiceId, TeamId};
use super::conn::Kind;
use super::core::ShardCore;
use super::flight::FlightId;
use super::input::CloseReason;
use super::{ConnId, Effects, Report, Trouble};
use crate::limits::{CONNECT_BACK_OFF, LANE_STAGGER, PUSH_BACK_OFF, SERVICE_FAILURES_MAX};
use crate::push::{Lane, LaneConfig, LaneError, LaneEvent, Reason};
use crate::time::{Now, Time, UnixMillis};
use crate::user::UserId;
use crate::wheel::TimerSlot;

/// What the shard knows of one provider.
#[derive(Debug)]
pub(super) struct Service {
    lanes: Vec<ConnId>,
    pub(super) jwt: Option<Arc<str>>,
    pub(super) jwt_issued: UnixMillis,
    /// The token was refused; nothing is sent until another is handed in.
    pub(super) jwt_stale: bool,
    /// A device was registered: lanes are worth having.
    pub(super) used: bool,
    /// No lane is opened before.
    connect_not_before: Time,
    connect_failures: u8,
    /// Nothing is sent before: the provider fails, or refuses our configuration.
    pub(super) paused_until: Time,
    /// One push at a time goes out until one is accepted.
    pub(super) probing: bool,
    pub(super) failures_in_a_row: u8,
    pauses: u8,
    pub(super) troubled: bool,
    /// Users with something to tell and no room; each at most once.
    pub(super) waiting: VecDeque<UserId>,
    /// Pushes whose fate is unknown: they go first, as they were.
    pub(super) resend: VecDeque<FlightId>,
    blocked_since: Option<Time>,
    pub(super) timer: TimerSlot,
}

impl Service {
    pub(super) fn new(timer: TimerSlot) -> Service {
        Service {
            lanes: Vec::new(),
            jwt: None,
            jwt_issued: UnixMillis(0),
            jwt_stale: false,
            used: false,
            connect_not_before: Time(0),
            connect_failures: 0,
            paused_until: Time(0),
            probing: false,
            failures_in_a_row: 0,
            pauses: 0,
            troubled: false,
            waiting: VecDeque::new(),
            resend: VecDeque::new(),
            blocked_since: None,
            timer,
        }
    }

    pub(super) fn forget_lane(&mut self, conn: ConnId) {
        self.lanes.retain(|known| *known != conn);
    }
}

impl ShardCore {
    /// A device of this provider exists.
    pub(super) fn use_service(&mut self, now: Now, service_id: PushServiceId, fx: &mut Effects) {
        self.services[usize::from(service_id.0)].used = true;
        self.keep_lanes(now, service_id, fx);
    }

    /// Opens a lane where one is missing: the first at once, further ones when somebody had to wait.
    pub(super) fn keep_lanes(&mut self, now: Now, service_id: PushServiceId, fx: &mut Effects) {
        let config = self.push_service(service_id);
        let (endpoint, lanes_max, auth) = (config.endpoint, usize::from(config.lanes.max(1)), config.auth);
        let service = &self.services[usize::from(service_id.0)];
        let authorised = matches!(auth, PushAuth::Certificate) || service.jwt.is_some();
        if !service.used || !authorised {
            return;
        }
        let usable = service.lanes.iter().filter(|conn| !self.is_leaving(**conn)).count();
        let wanted = if service.waiting.is_empty() { 1 } else { lanes_max };
        if usable >= wanted {
            return;
        }
        if service.connect_not_before > now.time {
            self.wheel.arm(&service.timer, service.connect_not_before);
            return;
        }
        let conn = self.open_conn(endpoint, Kind::Lane { service: service_id, machine: None }, fx);
        let service = &mut self.services[usize::from(service_id.0)];
        service.lanes.push(conn);
        service.connect_not_before = now.time + LANE_STAGGER;
    }

    fn is_leaving(&self, conn: ConnId) -> bool {
        match self.conns.get(conn).map(|conn| &conn.kind) {
            Some(Kind::Lane { machine: Some(lane), .. }) => !lane.is_open(),
            Some(_) => false,
            None => true,
        }
    }

    pub(super) fn lane_connected(
        &mut self,
        now: Now,
        conn_id: ConnId,
        service_id: PushServiceId,
        fx: &mut Effects,
    ) {
        let config = self.push_service(service_id);
        let endpoint = &self.config.endpoints[usize::from(config.endpoint.0)];
        let authority = if endpoint.port == 443 {
            endpoint.host.to_string()
        } else {
            format!("{}:{}", endpoint.host, endpoint.port)
        };
        let mut lane_config = LaneConfig::apns(&authority, matches!(config.auth, PushAuth::Team(_)));
        lane_config.window_max = config.lane_window_max;
        if let Some(Kind::Lane { machine, .. }) = self.conns.get_mut(conn_id).map(|conn| &mut conn.kind) {
            *machine = Some(Box::new(Lane::new(now.time, lane_config)));
            self.stats.lanes += 1;
        }
        self.touch_conn(conn_id, fx);
        self.pump_lane(now, conn_id, fx);
    }

    /// Takes everything that a lane has to say, then uses the room that it has.
    pub(super) fn pump_lane(&mut self, now: Now, conn_id: ConnId, fx: &mut Effects) {
        let service_id = loop {
            let Some(conn) = self.conns.get_mut(conn_id) else { return };
            let Kind::Lane { service, machine: Some(lane), .. } = &mut conn.kind else { return };
            let service_id = *service;
            match lane.poll(now.time) {
                None => break service_id,
                Some(LaneEvent::Settled { flight, outcome, .. }) => {
                    self.settle(now, FlightId::from_bits(flight), outcome, fx);
                }
                Some(LaneEvent::GoingAway { reason, refused }) => {
                    if refused {
                        self.refuse_service(now, service_id, &reason, fx);
                    } else {
                        self.services[usize::from(service_id.0)].connect_not_before = now.time;
                    }
                    self.keep_lanes(now, service_id, fx);
                }
                Some(LaneEvent::Lost(error)) => {
                    let orderly = error == LaneError::Finished;
                    self.lane_lost(now, conn_id, service_id, orderly, &lane_trouble(&error), fx);
                    return;
                }
            }
        };
        self.use_room(now, service_id, fx);
    }

    pub(super) fn lane_closed(
        &mut self,
        now: Now,
        conn_id: ConnId,
        service_id: PushServiceId,
        reason: &CloseReason,
        fx: &mut Effects,
    ) {
        let orderly = match self.conns.get(conn_id).map(|conn| &conn.kind) {
            Some(Kind::Lane { machine: Some(lane), .. }) => !lane.is_open(),
            _ => false,
        };
        self.lane_lost(now, conn_id, service_id, orderly, &reason.trouble(), fx);
    }

    /// A lane is gone: what it carried is settled as safe or ambiguous, another takes its place.
    fn lane_lost(
        &mut self,
        now: Now,
        conn_id: ConnId,
        service_id: PushServiceId,
        orderly: bool,
        trouble: &Trouble,
        fx: &mut Effects,
    ) {
        let Some(conn) = self.conns.get_mut(conn_id) else { return };
        let Kind::Lane { machine, .. } = &mut conn.kind else { return };
        let mut settled = Vec::new();
        let stood = machine.is_some();
        if let Some(lane) = machine {
            lane.closed(now.time);
            while let Some(event) = lane.poll(now.time) {
                if let LaneEvent::Settled { flight, outcome, .. } = event {
                    settled.push((FlightId::from_bits(flight), outcome));
                }
            }
            self.stats.lanes -= 1;
        }
        self.close_conn(conn_id, fx);
        let service = &mut self.services[usize::from(service_id.0)];
        if !orderly {
            let failures = service.connect_failures;
            service.connect_failures = failures.saturating_add(1);
            // One loss of a lane that worked is repaired at once.
            if failures > 0 || !stood {
                let wait = self.jittered(CONNECT_BACK_OFF.0, CONNECT_BACK_OFF.1, failures);
                let service = &mut self.services[usize::from(service_id.0)];
                service.connect_not_before = now.time + wait;
                if service.lanes.is_empty() && !std::mem::replace(&mut service.troubled, true) {
                    fx.report(Report::PushServiceTrouble { service: service_id, trouble: trouble.clone() });
                }
            } else {
                service.connect_not_before = now.time;
            }
        }
        for (flight, outcome) in settled {
            self.settle(now, flight, outcome, fx);
        }
        self.keep_lanes(now, service_id, fx);
    }

    /// The lane with the most room, if the provider may be used now.
    pub(super) fn choose_lane(&self, now: Now, service_id: PushServiceId) -> Option<ConnId> {
        let service = &self.services[usize::from(service_id.0)];
        if service.jwt_stale || service.paused_until > now.time {
            return None;
        }
        let room = |conn: &ConnId| match self.conns.get(*conn).map(|conn| &conn.kind) {
            Some(Kind::Lane { machine: Some(lane), .. }) if !service.probing || lane.in_flight() == 0 => {
                lane.room()
            }
            _ => 0,
        };
        let best =
            service.lanes.iter().map(|conn| (room(conn), *conn)).max_by_key(|(room, conn)| (*room, *conn));
        best.filter(|(room, _)| *room > 0).map(|(_, conn)| conn)
    }

    fn room(&self, service_id: PushServiceId) -> usize {
        let room = |conn: &ConnId| match self.conns.get(*conn).map(|conn| &conn.kind) {
            Some(Kind::Lane { machine: Some(lane), .. }) => lane.room(),
            _ => 0,
        };
        self.services[usize::from(service_id.0)].lanes.iter().map(room).sum()
    }

    /// Gives room to those who wait for it: first what must go out again, then users in the order of their coming.
    pub(super) fn use_room(&mut self, now: Now, service_id: PushServiceId, fx: &mut Effects) {
        while self.choose_lane(now, service_id).is_some() {
            let service = &mut self.services[usize::from(service_id.0)];
            let Some(flight_id) = service.resend.pop_front() else { break };
            let Some(flight) = self.flights.get(flight_id) else { continue };
            if flight.not_before > now.time {
                let at = flight.not_before;
                let service = &mut self.services[usize::from(service_id.0)];
                service.resend.push_front(flight_id);
                self.wheel.arm(&service.timer, at);
                break;
            }
            self.launch(now, flight_id, fx);
        }
        if self.choose_lane(now, service_id).is_none() {
            return self.note_blocked(now, service_id, fx);
        }
        let service = &mut self.services[usize::from(service_id.0)];
        if let Some(since) = service.blocked_since.take() {
            self.stats.blocked_us += now.time.since(since).0;
        }
        // No more than there is room for: the rest would only come back.
        for _ in 0..self.room(service_id) {
            let Some(user_id) = self.services[usize::from(service_id.0)].waiting.pop_front() else { break };
            if let Some(user) = self.users.get_mut(user_id) {
                user.parked = false;
                if !planted!(LostWake) {
                    self.enqueue(user_id);
                }
            }
        }
    }

    /// Somebody waits and no lane has room: keep the time, and perhaps open another lane.
    pub(super) fn note_blocked(&mut self, now: Now, service_id: PushServiceId, fx: &mut Effects) {
        let service = &mut self.services[usize::from(service_id.0)];
        if service.waiting.is_empty() && service.resend.is_empty() {
            return;
        }
        service.blocked_since.get_or_insert(now.time);
        if service.paused_until > now.time {
            self.wheel.arm(&service.timer, service.paused_until);
        } else {
            self.keep_lanes(now, service_id, fx);
        }
    }

    pub(super) fn service_timer(&mut self, now: Now, service_id: PushServiceId, fx: &mut Effects) {
        self.keep_lanes(now, service_id, fx);
        self.use_room(now, service_id, fx);
    }

    /// The provider took a push: it is well.
    pub(super) fn service_worked(&mut self, service_id: PushServiceId, fx: &mut Effects) {
        let service = &mut self.services[usize::from(service_id.0)];
        service.connect_failures = 0;
        service.failures_in_a_row = 0;
        service.pauses = 0;
        service.probing = false;
        if std::mem::take(&mut service.troubled) {
            fx.report(Report::PushServiceWell { service: service_id });
        }
    }

    /// The provider answered 500 or 503. A few are noise; many in a row, and it is left alone for a while.
    pub(super) fn service_failed(&mut self, now: Now, service_id: PushServiceId, fx: &mut Effects) {
        let service = &mut self.services[usize::from(service_id.0)];
        service.failures_in_a_row = service.failures_in_a_row.saturating_add(1);
        if service.failures_in_a_row < SERVICE_FAILURES_MAX && !service.probing {
            return;
        }
        let trouble = Trouble {
            code: "provider_unavailable".into(),
            text: "The provider answers 500 or 503 to every push. Pushes wait and are tried again by themselves.".into(),
        };
        self.pause_service(now, service_id, trouble, fx);
    }

    /// The provider refuses our configuration as a whole: no storm of reconnects, and a person must look.
    pub(super) fn refuse_service(
        &mut self,
        now: Now,
        service_id: PushServiceId,
        reason: &Reason,
        fx: &mut Effects,
    ) {
        let text = format!(
            "The provider refuses this configuration ({}): check key or certificate, team, topic and environment.",
            reason.0
        );
        let trouble = Trouble { code: reason.0.clone(), text: text.into() };
        self.pause_service(now, service_id, trouble, fx);
        let service = &mut self.services[usize::from(service_id.0)];
        service.connect_not_before = service.connect_not_before.max(service.paused_until);
    }

    /// Nothing is sent for a while, then one push to see.
    pub(super) fn pause_service(
        &mut self,
        now: Now,
        service_id: PushServiceId,
        trouble: Trouble,
        fx: &mut Effects,
    ) {
        let service = &self.services[usize::from(service_id.0)];
        if service.paused_until > now.time {
            return;
        }
        let wait = self.jittered(PUSH_BACK_OFF.0, PUSH_BACK_OFF.1, service.pauses);
        let service = &mut self.services[usize::from(service_id.0)];
        service.pauses = service.pauses.saturating_add(1);
        service.probing = true;
        service.paused_until = now.time + wait;
        self.wheel.arm(&service.timer, service.paused_until);
        if !std::mem::replace(&mut service.troubled, true) {
            fx.report(Report::PushServiceTrouble { service: service_id, trouble });
        }
    }

    /// The provider does not take the team's token: everything waits for another.
    pub(super) fn token_refused(&mut self, service_id: PushServiceId, used: &str, fx: &mut Effects) {
        let PushAuth::Team(team) = self.push_service(service_id).auth else { return };
        let service = &mut self.services[usize::from(service_id.0)];
        if service.jwt.as_deref() != Some(used) || std::mem::replace(&mut service.jwt_stale, true) {
            return;
        }
        fx.report(Report::TeamTokenStale { team, issued: service.jwt_issued });
    }

    /// A provider token was handed in.
    pub(super) fn set_team_token(
        &mut self,
        now: Now,
        team: TeamId,
        jwt: &Arc<str>,
        issued: UnixMillis,
        fx: &mut Effects,
    ) {
        for at in 0..self.services.len() {
            if self.config.push_services[at].auth != PushAuth::Team(team) {
                continue;
            }
            let service_id = PushServiceId(at as u16);
            let service = &mut self.services[at];
            let same = service.jwt.as_ref() == Some(jwt);
            let was_stale = std::mem::take(&mut service.jwt_stale);
            service.jwt = Some(jwt.clone());
            service.jwt_issued = issued;
            if same && was_stale {
                // The owner has no better one: try again, slowly.
                let trouble = Trouble {
                    code: "provider_token_refused".into(),
                    text: "The provider refuses the token and no newer one may be made yet: check key, key id, team id and the clock."
                        .into(),
                };
                self.pause_service(now, service_id, trouble, fx);
            }
            self.keep_lanes(now, service_id, fx);
            self.use_room(now, service_id, fx);
        }
    }
}

fn lane_trouble(error: &LaneError) -> Trouble {
    let code = match error {
        LaneError::Finished => "lane_finished",
        LaneError::Protocol(_) => "lane_protocol",
        LaneError::NoSettings => "lane_no_settings",
        LaneError::Silent => "lane_silent",
        LaneError::BadAuthority => "lane_bad_authority",
    };
    Trouble { code: code.into(), text: error.to_string().into() }
}
