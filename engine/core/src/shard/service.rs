//! Push providers: their lanes, their tokens, and how they are doing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::app::App;
use super::config::{PushAuth, PushServiceId, TeamId};
use super::conn::Kind;
use super::core::ShardCore;
use super::flight::FlightId;
use super::input::CloseReason;
use super::queue::{Place, Queue};
use super::room::WaitsFor;
use super::{ConnId, Effects, Report, Trouble};
use crate::limits::{
    CONNECT_BACK_OFF, GIVEN_UP_PER_MINUTE, LANE_STAGGER, PROVIDER_TOKEN_AGE_MAX, PUSH_BACK_OFF,
    SERVICE_FAILURES_MAX,
};
use crate::push::{Lane, LaneConfig, LaneError, LaneEvent, Reason};
use crate::time::{Now, Span, Time, UnixMillis};
use crate::user::{DeviceId, UserId};
use crate::wheel::TimerSlot;

/// What the shard knows of one provider.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) lanes: Vec<ConnId>,
    pub(super) jwt: Option<Arc<str>>,
    pub(super) jwt_issued: UnixMillis,
    /// The token before, which APNs goes on taking while it is young.
    jwt_before: Option<(Arc<str>, UnixMillis)>,
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
    /// Its apps, as far as anything became of their pushes; at most [`crate::limits::APPS_MAX`].
    pub(super) apps: Vec<App>,
    /// Devices with something to be told and no room.
    pub(super) waiting: Queue,
    /// Pushes whose fate is unknown, by the time from which they may go again: they go first, as they were.
    pub(super) resend: BinaryHeap<Reverse<(Time, FlightId)>>,
    /// What those who wait lack, and since when that was last counted.
    pub(super) blocked: Option<(WaitsFor, Time)>,
    /// Reports of pushes that were given up, lately.
    given_up: GivenUp,
    pub(super) timer: TimerSlot,
}

/// Keeps reports of pushes that were given up to [`GIVEN_UP_PER_MINUTE`].
#[derive(Debug, Default)]
struct GivenUp {
    minute: Time,
    reports: u8,
    unreported: u32,
}

impl GivenUp {
    /// One more. How many before it were not reported, if this one may be.
    fn count(&mut self, now: Time) -> Option<u32> {
        if now >= self.minute + Span::from_secs(60) {
            (self.minute, self.reports) = (now, 0);
        }
        if self.reports == GIVEN_UP_PER_MINUTE {
            self.unreported = self.unreported.saturating_add(1);
            return None;
        }
        self.reports += 1;
        Some(std::mem::take(&mut self.unreported))
    }
}

impl Service {
    pub(super) fn new(timer: TimerSlot) -> Service {
        Service {
            lanes: Vec::new(),
            jwt: None,
            jwt_issued: UnixMillis(0),
            jwt_before: None,
            jwt_stale: false,
            used: false,
            connect_not_before: Time(0),
            connect_failures: 0,
            paused_until: Time(0),
            probing: false,
            failures_in_a_row: 0,
            pauses: 0,
            troubled: false,
            apps: Vec::new(),
            waiting: Queue::new(),
            resend: BinaryHeap::new(),
            blocked: None,
            given_up: GivenUp::default(),
            timer,
        }
    }

    /// Devices that stand in its queues.
    pub(super) fn parked(&self) -> impl Iterator<Item = (Place, DeviceId)> {
        let waiting = self.waiting.iter().map(|(place, device)| (*place, *device));
        waiting.chain(self.apps.iter().flat_map(App::parked))
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

    /// Opens a lane where one is missing: the first at once, further ones when more waits than the open ones carry.
    pub(super) fn keep_lanes(&mut self, now: Now, service_id: PushServiceId, fx: &mut Effects) {
        let config = self.push_service(service_id);
        let (endpoint, lanes_max, auth) = (config.endpoint, usize::from(config.lanes.max(1)), config.auth);
        let service = &self.services[usize::from(service_id.0)];
        let authorised = matches!(auth, PushAuth::Certificate) || service.jwt.is_some();
        if !service.used || !authorised {
            return;
        }
        let usable = self.usable_lanes(service_id);
        if usable >= lanes_max || (usable > 0 && !self.needs_another_lane(now, service_id)) {
            return;
        }
        if service.connect_not_before > now.time {
            return self.wake_service(service_id, service.connect_not_before);
        }
        let conn = self.open_conn(endpoint, Kind::Lane { service: service_id, machine: None }, fx);
        let service = &mut self.services[usize::from(service_id.0)];
        service.lanes.push(conn);
        service.connect_not_before = now.time + LANE_STAGGER;
    }

    /// Lanes that take pushes, or will when they stand.
    pub(super) fn usable_lanes(&self, service_id: PushServiceId) -> usize {
        let lanes = &self.services[usize::from(service_id.0)].lanes;
        lanes.iter().filter(|conn| !self.is_leaving(**conn)).count()
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
        let mut lane = Box::new(Lane::new(now.time, lane_config));
        if self.services[usize::from(service_id.0)].probing {
            // It may be the one on which the first push after the outage is accepted.
            lane.slow_down();
        }
        if let Some(Kind::Lane { machine, .. }) = self.conns.get_mut(conn_id).map(|conn| &mut conn.kind) {
            *machine = Some(lane);
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

    pub(super) fn service_timer(&mut self, now: Now, service_id: PushServiceId, fx: &mut Effects) {
        self.keep_lanes(now, service_id, fx);
        self.use_room(now, service_id, fx);
        self.step_apps(now, service_id, fx);
    }

    /// The provider took a push: it is well.
    pub(super) fn service_worked(&mut self, service_id: PushServiceId, fx: &mut Effects) {
        let service = &mut self.services[usize::from(service_id.0)];
        service.connect_failures = 0;
        service.failures_in_a_row = 0;
        service.pauses = 0;
        service.probing = false;
        if service.troubled && !service.apps.iter().any(App::is_broken) {
            service.troubled = false;
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
            "The provider refuses this configuration ({}): check key or certificate, team, topic and environment, and this \
             host's clock.",
            reason.0
        );
        let trouble = Trouble { code: reason.0.clone(), text: text.into() };
        self.pause_service(now, service_id, trouble, fx);
        let service = &mut self.services[usize::from(service_id.0)];
        service.connect_not_before = service.connect_not_before.max(service.paused_until);
    }

    /// What a device of this user was to be told is given up. A person can find out why a phone stays silent.
    pub(super) fn report_given_up(
        &mut self,
        now: Now,
        user_id: UserId,
        device_id: DeviceId,
        code: &str,
        why: &str,
        fx: &mut Effects,
    ) {
        let (Some(user), Some(device)) = (self.users.get(user_id), self.devices.get(device_id)) else {
            return;
        };
        let service = device.service;
        if let Some(unreported) = self.services[usize::from(service.0)].given_up.count(now.time) {
            let trouble = Trouble { code: code.into(), text: why.into() };
            let (user, device) = (user.key, device.key);
            fx.report(Report::GivenUp { user, device, service, trouble, unreported });
        }
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
        let (until, lanes) = (service.paused_until, service.lanes.clone());
        if !std::mem::replace(&mut service.troubled, true) {
            fx.report(Report::PushServiceTrouble { service: service_id, trouble });
        }
        for conn in lanes {
            if let Some(Kind::Lane { machine: Some(lane), .. }) =
                self.conns.get_mut(conn).map(|conn| &mut conn.kind)
            {
                lane.slow_down();
            }
        }
        self.wake_service(service_id, until);
    }

    /// The provider does not take the team's token: everything waits for another.
    pub(super) fn token_refused(
        &mut self,
        now: Now,
        service_id: PushServiceId,
        used: &str,
        reason: &Reason,
        fx: &mut Effects,
    ) {
        let PushAuth::Team(team) = self.push_service(service_id).auth else { return };
        let service = &mut self.services[usize::from(service_id.0)];
        if service.jwt.as_deref() != Some(used) || std::mem::replace(&mut service.jwt_stale, true) {
            return;
        }
        service.jwt_before = None;
        fx.report(Report::TeamTokenStale { team, issued: service.jwt_issued });
        let ahead_ms = service.jwt_issued.millis_since(now.unix);
        let age_ms = now.unix.millis_since(service.jwt_issued);
        let in_time = ahead_ms == 0 && age_ms > PROVIDER_TOKEN_AGE_MAX.as_millis();
        if !in_time && !std::mem::replace(&mut service.troubled, true) {
            let text = format!(
                "The provider calls a token expired that was made {} minutes ago by this host's clock: the clock is wrong. \
                 Set it, and pushes go on with the next token.",
                age_ms / 60_000
            );
            let trouble = Trouble { code: reason.0.clone(), text: text.into() };
            fx.report(Report::PushServiceTrouble { service: service_id, trouble });
        }
    }

    /// The provider has seen too many tokens lately. The one before is still good while it is young; without one, the same
    /// is tried again, slowly: another one would make it worse.
    pub(super) fn token_over_budget(
        &mut self,
        now: Now,
        service_id: PushServiceId,
        used: &str,
        reason: &Reason,
        fx: &mut Effects,
    ) {
        let PushAuth::Team(team) = self.push_service(service_id).auth else { return };
        let service = &mut self.services[usize::from(service_id.0)];
        if service.jwt.as_deref() != Some(used) {
            return;
        }
        let young = |issued: UnixMillis| now.unix.millis_since(issued) < PROVIDER_TOKEN_AGE_MAX.as_millis();
        if let Some((jwt, issued)) = service.jwt_before.take().filter(|(_, issued)| young(*issued)) {
            fx.report(Report::TeamTokenStale { team, issued: service.jwt_issued });
            (service.jwt, service.jwt_issued) = (Some(jwt), issued);
            return;
        }
        let text = "The provider has seen too many tokens of this team in the last minutes: does another process mint them \
                    too? Pushes wait and are tried again by themselves.";
        let trouble = Trouble { code: reason.0.clone(), text: text.into() };
        self.pause_service(now, service_id, trouble, fx);
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
            let before = service.jwt.replace(jwt.clone());
            if !same {
                service.jwt_before = before.filter(|_| !was_stale).map(|jwt| (jwt, service.jwt_issued));
            }
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
