//! What must hold in every shard at every moment: for the deterministic world, and for whoever looks for a mistake.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::config::PushServiceId;
use super::conn::{Conn, Kind};
use super::core::ShardCore;
use super::queue::Place;
use super::server::Turn;
use crate::limits::{
    COHORT_USERS_MAX, FAREWELLS_MAX, OUTPUT_BYTES_MAX, PENDING_ITEMS_MAX, TOLD_ITEMS_GAP_MAX,
    USER_DEVICES_MAX, USER_FOLDERS_MAX,
};
use crate::time::{Now, Time, UnixMillis};
use crate::user::{DeviceId, UserId};

impl ShardCore {
    /// Looks at everything. Walks all rows: not for production.
    ///
    /// # Errors
    /// Names the first thing that is not as it must be.
    pub fn check(&self) -> Result<(), String> {
        self.check_ring()?;
        self.check_sums()?;
        self.check_flights()?;
        self.check_queues()?;
        self.check_room()?;
        self.check_openings()?;
        self.check_connections()?;
        self.check_holders()?;
        self.check_bounds()
    }

    /// A user stands in the ready ring at most once, and knows it.
    fn check_ring(&self) -> Result<(), String> {
        let mut places: BTreeMap<UserId, u32> = BTreeMap::new();
        for user in &self.ready {
            *places.entry(*user).or_default() += 1;
        }
        for (id, user) in self.users.iter() {
            let standing = places.get(&id).copied().unwrap_or(0);
            if standing != u32::from(user.queued) {
                return Err(format!(
                    "{:?} stands {standing} times in the ring, queued is {}",
                    user.key, user.queued
                ));
            }
        }
        Ok(())
    }

    /// The ledger balances, and its gauges are the sums of the rows.
    fn check_sums(&self) -> Result<(), String> {
        let ledger = &self.stats.ledger;
        if !ledger.balances() {
            return Err(format!("the ledger does not balance: {ledger:?}"));
        }
        let owed: u64 = self.devices.iter().map(|(_, device)| u64::from(device.owed)).sum();
        let flying: u64 = self.flights.iter().map(|(_, flight)| u64::from(flight.mails)).sum();
        if (owed, flying) != (ledger.waiting, ledger.in_flight) {
            return Err(format!(
                "rows hold {owed} tellings and {flying} in flight, the ledger says {ledger:?}"
            ));
        }
        let live = self.users.iter().filter(|(_, user)| user.live).count() as u64;
        let mut mailboxes = vec![0; self.servers.len()];
        for server in self.users.iter().filter_map(|(_, user)| user.server) {
            mailboxes[usize::from(server.0)] += 1;
        }
        for (at, (server, mailboxes)) in self.servers.iter().zip(mailboxes).enumerate() {
            if server.mailboxes != mailboxes {
                return Err(format!("server {at} has {mailboxes} mailboxes and counts {}", server.mailboxes));
            }
        }
        let counts = [
            ("users", self.users.len() as u64, self.stats.users),
            ("devices", self.devices.len() as u64, self.stats.devices),
            ("cohorts", self.cohorts.len() as u64, self.stats.cohorts),
            ("flights", self.flights.len() as u64, self.stats.pushes_in_flight),
            ("live users", live, self.stats.users_live),
        ];
        for (what, counted, gauge) in counts {
            if counted != gauge {
                return Err(format!("{counted} {what}, the gauge says {gauge}"));
            }
        }
        Ok(())
    }

    /// Each flight and its device know each other, and a user knows how many of his are out.
    fn check_flights(&self) -> Result<(), String> {
        let mut out: BTreeMap<UserId, u32> = BTreeMap::new();
        for (id, flight) in self.flights.iter() {
            *out.entry(flight.user).or_default() += 1;
            if let Some(device) = self.devices.get(flight.device)
                && device.flight != Some(id)
            {
                return Err(format!("flight {id:?} is not the one that its device knows"));
            }
        }
        for (id, user) in self.users.iter() {
            let flying = out.get(&id).copied().unwrap_or(0);
            if flying != u32::from(user.flights) {
                return Err(format!("{:?} has {flying} pushes out and counts {}", user.key, user.flights));
            }
            // Behind a notice of an earlier life the others wait with it.
            let frozen_first = self.frozen_first(id);
            let waits = user.devices.iter().filter_map(|id| self.devices.get(*id)).any(|device| {
                device.owed > 0
                    && (!frozen_first || device.is_frozen())
                    && !device.suspect
                    && device.flight.is_none()
                    && !device.is_held()
                    && device.parked.is_none()
            });
            let awake = user.queued
                || user.flights > 0
                || user.stopped
                || self.draining
                || self.wheel.deadline(&user.timer).is_some();
            if waits && !awake {
                return Err(format!("{:?} is owed something and nothing will wake him", user.key));
            }
        }
        Ok(())
    }

    /// A device stands in at most one queue, once, and knows it.
    fn check_queues(&self) -> Result<(), String> {
        let mut places: BTreeMap<DeviceId, Vec<Place>> = BTreeMap::new();
        for (place, device) in self.services.iter().flat_map(|service| service.parked()) {
            places.entry(device).or_default().push(place);
        }
        for (id, device) in self.devices.iter() {
            let standing = places.remove(&id).unwrap_or_default();
            if standing != Vec::from_iter(device.parked) {
                return Err(format!(
                    "{:?} stands in queues at {standing:?}, and knows of {:?}",
                    device.key, device.parked
                ));
            }
        }
        match places.keys().next() {
            Some(gone) => Err(format!("{gone:?} stands in a queue and is gone")),
            None => Ok(()),
        }
    }

    /// Nobody waits for room that is there: by the end of a turn he is in the ready ring. Or what keeps him ends by itself: a
    /// pause, or the time before which a push may not go again, by the timer; and else by the answer of a push that is out.
    fn check_room(&self) -> Result<(), String> {
        let after_pauses = Now { time: Time::NEVER, unix: UnixMillis(0) };
        for (at, service) in self.services.iter().enumerate() {
            let service_id = PushServiceId(at as u16);
            let again = service.resend.peek().map(|Reverse((at, _))| *at);
            let from = match (service.waiting.is_empty(), again) {
                (true, None) => continue,
                (true, Some(again)) => again.max(service.paused_until),
                (false, _) => service.paused_until,
            };
            let timer = self.wheel.deadline(&service.timer).is_some_and(|at| at <= from);
            let flying = self.lanes(service_id).any(|(_, lane)| lane.in_flight() > 0);
            let room = self.choose_lane(after_pauses, service_id).is_some();
            if room && self.ready.is_empty() && !timer && !flying {
                return Err(format!(
                    "{service_id:?} has room, and nothing gives it to {} devices and {} pushes that wait",
                    service.waiting.len(),
                    service.resend.len()
                ));
            }
        }
        Ok(())
    }

    /// Newcomers find each cohort that has room, and no other.
    fn check_openings(&self) -> Result<(), String> {
        let with_room = self.cohorts.iter().filter(|(_, cohort)| self.has_room(cohort));
        let mut places = 0;
        for (id, cohort) in with_room {
            if !self.openings.knows(id, cohort) {
                return Err(format!("newcomers do not find cohort {id:?}, which has room"));
            }
            places += 1;
        }
        let (with_room, stored) = self.openings.counts();
        if with_room != places || stored > self.cohorts.len() {
            return Err(format!(
                "newcomers find {with_room} cohorts with room of {places}, {stored} by an anchor"
            ));
        }
        Ok(())
    }

    /// Calls in flight are those that connections carry, that of the turn among them.
    fn check_connections(&self) -> Result<(), String> {
        let carried = |conn: &Conn| matches!(conn.kind, Kind::Call { job: Some(_), .. });
        let calls = self.conns.iter().filter(|(_, conn)| carried(conn)).count() as u64;
        for server in &self.servers {
            match server.turn {
                Turn::None | Turn::Wanted => {}
                Turn::Ours => return Err("the turn to try a credential is kept without a call".to_owned()),
                Turn::Used(conn) if self.conns.get(conn).is_some_and(carried) => {}
                Turn::Used(conn) => return Err(format!("the call of the turn is not on {conn:?}")),
            }
        }
        let counted: u64 = self.servers.iter().map(|server| u64::from(server.in_flight)).sum();
        if (calls, calls) != (counted, self.stats.calls_in_flight) {
            return Err(format!(
                "connections carry {calls} calls, servers count {counted}, the gauge says {}",
                self.stats.calls_in_flight
            ));
        }
        Ok(())
    }

    /// Nothing outgrows its bound. That a user has at most one deadline needs no look: his row has one slot in the wheel,
    /// and arming it anew moves it.
    fn check_bounds(&self) -> Result<(), String> {
        for (_, cohort) in self.cohorts.iter() {
            let most =
                usize::from(self.mail_server(cohort.server).cohort_users_max).clamp(1, COHORT_USERS_MAX);
            within("mailboxes of a cohort", cohort.members.len(), most)?;
        }
        for (server, settings) in self.servers.iter().zip(&self.config.mail_servers) {
            server.check_window(settings.calls_max)?;
            within("subscriptions to be given back", server.farewells.len(), FAREWELLS_MAX)?;
        }
        for (at, settings) in self.config.push_services.iter().enumerate() {
            let lanes = self.usable_lanes(PushServiceId(at as u16));
            within("lanes of a push service", lanes, usize::from(settings.lanes.max(1)))?;
        }
        for (_, conn) in self.conns.iter() {
            within(
                "bytes that wait on a connection",
                conn.unsent_bytes(),
                OUTPUT_BYTES_MAX + WRITE_BYTES_MAX,
            )?;
            if let Kind::Lane { machine: Some(lane), .. } = &conn.kind {
                lane.check()?;
            }
        }
        for (_, user) in self.users.iter() {
            within("devices of a user", user.devices.len(), USER_DEVICES_MAX)?;
            within("folders of a user", user.folders.len(), USER_FOLDERS_MAX)?;
            within("mails that wait in a row", user.pending.items().len(), PENDING_ITEMS_MAX)?;
            within("mails that a row knows", user.known.kept(), TOLD_ITEMS_GAP_MAX)?;
        }
        Ok(())
    }
}

/// A lane is held back once so much waits ([`OUTPUT_BYTES_MAX`]); the write under way, of one frame, goes through.
const WRITE_BYTES_MAX: usize = 16 * 1024 + 9;

fn within(what: &str, counted: usize, most: usize) -> Result<(), String> {
    if counted <= most { Ok(()) } else { Err(format!("{counted} {what}, {most} is the most")) }
}
