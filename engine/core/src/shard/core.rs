//! The shard itself: its parts, and the way in and out.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::cohort::{Cohort, CohortId};
use super::conn::Conn;
use super::flight::Flight;
use super::openings::Openings;
use super::queue::Places;
use super::server::Server;
use super::service::Service;
use super::{
    ConnId, ConnMark, Effects, Input, MailServer, MailServerId, PushService, PushServiceId, Report,
    ShardConfig, ShardStats,
};
use crate::arena::Arena;
use crate::names::UserKey;
use crate::rng::Rng;
use crate::time::{Now, Span, Time};
use crate::user::{Device, User, UserId};
use crate::wheel::Wheel;

/// One core's share of users, with their streams, fetches, lanes and timers.
#[derive(Debug)]
pub struct ShardCore {
    pub(super) config: ShardConfig,
    pub(super) rng: Rng,
    pub(super) wheel: Wheel<TimerKey>,
    pub(super) users: Arena<User>,
    pub(super) by_key: HashMap<UserKey, UserId>,
    pub(super) devices: Arena<Device>,
    pub(super) cohorts: Arena<Cohort>,
    pub(super) openings: Openings,
    pub(super) conns: Arena<Conn, ConnMark>,
    pub(super) servers: Vec<Server>,
    pub(super) services: Vec<Service>,
    pub(super) flights: Arena<Flight>,
    pub(super) places: Places,
    /// Users to be told now; each stands here at most once.
    pub(super) ready: VecDeque<UserId>,
    pub(super) stats: ShardStats,
    pub(super) draining: bool,
    pub(super) drained: bool,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerKey {
    User(UserId),
    Cohort(CohortId),
    Conn(ConnId),
    Server(MailServerId),
    Pace(MailServerId),
    Service(PushServiceId),
}

/// How much one call of [`ShardCore::work`] may do.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Users taken from the ready ring.
    pub users: u32,
    /// Timers fired.
    pub timers: u32,
}

/// Whether [`ShardCore::work`] left something for another turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Nothing is due before [`ShardCore::next_deadline`].
    No,
    /// The budget ran dry: poll without waiting, then call again.
    Yes,
}

impl Budget {
    /// One ordinary turn.
    pub const TURN: Budget =
        Budget { users: crate::limits::USERS_PER_TURN, timers: crate::limits::TIMERS_PER_TURN };
}

impl ShardCore {
    /// An empty shard.
    pub fn new(now: Now, config: ShardConfig) -> ShardCore {
        let mut wheel = Wheel::new(now.time);
        let mut server_id = 0;
        let servers = config.mail_servers.iter().map(|server| {
            let timer = wheel.slot(TimerKey::Server(MailServerId(server_id)));
            let pace_timer = wheel.slot(TimerKey::Pace(MailServerId(server_id)));
            server_id += 1;
            Server::new(server.calls_max, timer, pace_timer)
        });
        let servers = servers.collect();
        let mut service_id = 0;
        let services = config.push_services.iter().map(|_| {
            let timer = wheel.slot(TimerKey::Service(PushServiceId(service_id)));
            service_id += 1;
            Service::new(timer)
        });
        let services = services.collect();
        ShardCore {
            rng: Rng::new(config.seed),
            config,
            wheel,
            users: Arena::new(),
            by_key: HashMap::new(),
            devices: Arena::new(),
            cohorts: Arena::new(),
            openings: Openings::default(),
            conns: Arena::new(),
            servers,
            services,
            flights: Arena::new(),
            places: Places::default(),
            ready: VecDeque::new(),
            stats: ShardStats::default(),
            draining: false,
            drained: false,
        }
    }

    /// Takes one input in.
    pub fn handle(&mut self, now: Now, input: Input<'_>, fx: &mut Effects) {
        match input {
            Input::Opened { conn } => self.conn_opened(now, conn, fx),
            Input::Bytes { conn, data } => self.conn_bytes(now, conn, data, fx),
            Input::Room { conn } => self.conn_room(conn, fx),
            Input::Closed { conn, reason } => self.conn_closed(now, conn, &reason, fx),
            Input::Command(command) => self.command(now, command, fx),
            Input::Account { server, news } => self.hear_of_account(now, server, news, fx),
        }
    }

    /// Does what is due: fires timers, tells users. Called once per turn after the inputs.
    pub fn work(&mut self, now: Now, budget: Budget, fx: &mut Effects) -> More {
        let mut timers = budget.timers;
        while timers > 0 {
            let Some(key) = self.wheel.pop_expired(now.time) else { break };
            timers -= 1;
            match key {
                TimerKey::User(user) => self.user_timer(now, user, fx),
                TimerKey::Cohort(cohort) => self.step_cohort(now, cohort, fx),
                TimerKey::Conn(conn) => self.conn_timer(now, conn, fx),
                TimerKey::Server(server) => self.server_timer(now, server, fx),
                TimerKey::Pace(server) => self.pump_calls(now, server, fx),
                TimerKey::Service(service) => self.service_timer(now, service, fx),
            }
        }
        let mut users = budget.users;
        loop {
            if self.ready.is_empty() {
                // Whom room was given may have left it: his mail was read, or he waits for its details.
                self.use_room_left(now, fx);
            }
            if users == 0 {
                break;
            }
            let Some(user) = self.ready.pop_front() else { break };
            users -= 1;
            self.tell(now, user, fx);
        }
        self.stats.users_ready = self.ready.len() as u64;
        if self.draining && !self.drained && self.ready.is_empty() && self.stats.pushes_in_flight == 0 {
            self.drained = true;
            fx.report(Report::Drained);
        }
        if timers == 0 || !self.ready.is_empty() { More::Yes } else { More::No }
    }

    /// When [`ShardCore::work`] is to be called next, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Time> {
        self.wheel.next_deadline()
    }

    /// Appends at most `bytes_max` bytes for `conn` to `out`. True: there is more, ask again when these are written.
    pub fn drain(&mut self, conn_id: ConnId, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        let Some(conn) = self.conns.get_mut(conn_id) else { return false };
        conn.flush_asked = false;
        conn.more = conn.drain(out, bytes_max);
        conn.more
    }

    /// The shard's numbers.
    pub fn stats(&self) -> &ShardStats {
        &self.stats
    }

    /// What it was built with.
    pub fn config(&self) -> &ShardConfig {
        &self.config
    }

    pub(super) fn mail_server(&self, id: MailServerId) -> &MailServer {
        &self.config.mail_servers[usize::from(id.0)]
    }

    pub(super) fn push_service(&self, id: PushServiceId) -> &PushService {
        &self.config.push_services[usize::from(id.0)]
    }

    /// Exponential back-off of which the upper half is drawn by chance: `first · 2ⁿ`, at most `longest`. The lower half is
    /// not drawn: those who fail together are spread by the upper one, and whoever is in trouble gets that much rest at
    /// least, however the draw falls.
    pub(super) fn jittered(&mut self, first: Span, longest: Span, failures: u8) -> Span {
        let doubled = first.0.saturating_mul(1 << failures.min(20));
        let whole = doubled.min(longest.0);
        Span(whole / 2 + self.rng.below(whole / 2 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAIL_BACK_OFF;
    use crate::shard::Timing;
    use crate::time::UnixMillis;

    #[test]
    fn of_a_pause_that_doubles_the_upper_half_is_drawn_evenly() {
        let config = ShardConfig {
            shard: 0,
            seed: 1,
            endpoints: Vec::new(),
            mail_servers: Vec::new(),
            push_services: Vec::new(),
            timing: Timing::default(),
            item_key: [7; 16],
        };
        let mut shard = ShardCore::new(Now { time: Time(0), unix: UnixMillis(0) }, config);
        for (failures, whole_s) in [(0, 5), (1, 10), (2, 20), (5, 160), (6, 300), (255, 300)] {
            let half = whole_s * 500_000;
            let mut quarters = [0; 4];
            for _ in 0..4_000 {
                let drawn = shard.jittered(MAIL_BACK_OFF.0, MAIL_BACK_OFF.1, failures).0;
                assert!((half..=2 * half).contains(&drawn), "{drawn} µs of {whole_s} s");
                quarters[usize::try_from((drawn - half) * 4 / (half + 1)).unwrap()] += 1;
            }
            assert!(quarters.iter().all(|drawn| (900..1_100).contains(drawn)), "{whole_s} s: {quarters:?}");
        }
    }
}
