//! The shard with its shell and a model of who is assigned.

use std::collections::{BTreeMap, BTreeSet};

use carillon_core::limits::OUTPUT_BYTES_MAX;
use carillon_core::names::{DeviceKey, UserKey};
use carillon_core::shard::{
    Accounts, BadgeCount, Budget, CatchUp, CloseReason, Command, ConnId, Effect, Effects, Endpoint,
    EndpointId, Input as ShardInput, MailCredential, MailServer, More, Protocol, PushAuth, PushService,
    Report, ShardConfig, ShardCore, TeamId, Timing,
};
use carillon_core::time::{Now, Span, Time, UnixMillis};

use super::link::{Link, Peer};
use crate::input::Input;

/// A user as the model has him.
#[derive(Default)]
pub(super) struct Person {
    pub(super) devices: Vec<DeviceKey>,
    pub(super) stopped: BTreeSet<DeviceKey>,
}

pub(super) struct Rig {
    pub(super) now: Now,
    core: ShardCore,
    fx: Effects,
    accounts: Accounts,
    pub(super) links: Vec<Link>,
    /// Connections that are gone: what is said about them later means nothing.
    pub(super) gone: Vec<ConnId>,
    pub(super) people: BTreeMap<UserKey, Person>,
    /// Answers given, for names of subscriptions.
    pub(super) answers: u64,
}

/// 2026-01-05T08:00:00Z.
const START: UnixMillis = UnixMillis(1_767_600_000_000);

/// Turns without any input after which a shard must have come to rest.
const TURNS_MAX: usize = 2_000;

/// Connections that eight users, two kinds of servers and their limits can explain.
const LINKS_MAX: usize = 8 + 2 * 3 + 2 * 2 * 4;

impl Rig {
    pub(super) fn new(input: &mut Input<'_>) -> Rig {
        let now = Now { time: Time(5_000_000), unix: START };
        let kind = input.u8();
        Rig {
            now,
            core: ShardCore::new(now, config(kind)),
            fx: Effects::new(),
            accounts: Accounts::new(1, 2),
            links: Vec::new(),
            gone: Vec::new(),
            people: BTreeMap::new(),
            answers: 0,
        }
    }

    pub(super) fn command(&mut self, command: Command) {
        self.core.handle(self.now, ShardInput::Command(command), &mut self.fx);
    }

    pub(super) fn opened(&mut self, at: usize) {
        let link = &mut self.links[at];
        if !std::mem::replace(&mut link.open, true) {
            self.core.handle(self.now, ShardInput::Opened { conn: link.conn }, &mut self.fx);
        }
    }

    /// Bytes for the shard; the connection must be open.
    pub(super) fn bytes(&mut self, conn: ConnId, data: &[u8]) {
        self.core.handle(self.now, ShardInput::Bytes { conn, data }, &mut self.fx);
    }

    pub(super) fn closed(&mut self, at: usize, reason: CloseReason) {
        let link = self.links.remove(at);
        self.gone.push(link.conn);
        self.core.handle(self.now, ShardInput::Closed { conn: link.conn, reason }, &mut self.fx);
    }

    pub(super) fn late(&mut self, conn: ConnId, input: ShardInput<'_>) {
        assert!(self.gone.contains(&conn));
        self.core.handle(self.now, input, &mut self.fx);
    }

    pub(super) fn pass(&mut self, span: Span) {
        self.now.time = self.now.time + span;
        self.now.unix.0 += span.as_millis();
    }

    /// Turns until nothing is due any more, as a shell does them; then everything is looked at.
    pub(super) fn settle(&mut self) {
        let mut turns = 0;
        loop {
            let more = self.core.work(self.now, Budget { users: 3, timers: 5 }, &mut self.fx);
            let wrote = self.apply();
            let due = self.core.next_deadline().is_some_and(|at| at <= self.now.time);
            if more == More::No && !due && !wrote {
                break;
            }
            turns += 1;
            assert!(turns < TURNS_MAX, "the shard finds no rest at {:?}", self.now);
        }
        self.look();
    }

    /// Does what the shard wants. True: something was written to a peer, or given to the shard.
    fn apply(&mut self) -> bool {
        let effects: Vec<Effect> = self.fx.drain().collect();
        let mut wrote = false;
        for effect in effects {
            match effect {
                Effect::Open { conn, endpoint } => {
                    assert!(self.position(conn).is_none() && !self.gone.contains(&conn), "{conn:?} twice");
                    let config = self.core.config();
                    let http2 = config.endpoints[usize::from(endpoint.0)].protocol == Protocol::Http2;
                    self.links.push(Link::new(conn, http2));
                    assert!(self.links.len() <= LINKS_MAX, "{} connections", self.links.len());
                }
                // A connection closed later in the same turn may still be named before.
                Effect::Flush { conn } => wrote |= self.flush(conn),
                Effect::Close { conn } => match self.position(conn) {
                    Some(at) => {
                        self.links.remove(at);
                        self.gone.push(conn);
                    }
                    // The shell was faster.
                    None => assert!(self.gone.contains(&conn), "{conn:?} was never asked for"),
                },
                Effect::Report(report) => self.report(&report),
                Effect::Account { server, word } => self.accounts.tell(0, server, word),
                Effect::Sent(times) => {
                    assert!(times.signalled <= self.now.time && times.due <= self.now.time)
                }
                Effect::Accepted(times) => assert!(times.signalled <= self.now.time),
            }
        }
        for (server, news) in self.accounts.hear(0) {
            self.core.handle(self.now, ShardInput::Account { server, news }, &mut self.fx);
            wrote = true;
        }
        wrote
    }

    pub(super) fn position(&self, conn: ConnId) -> Option<usize> {
        self.links.iter().position(|link| link.conn == conn)
    }

    fn flush(&mut self, conn: ConnId) -> bool {
        let mut bytes = Vec::new();
        while self.core.drain(conn, &mut bytes, 4_096) {
            assert!(bytes.len() <= 2 * OUTPUT_BYTES_MAX, "output is bounded");
        }
        let Some(at) = self.position(conn) else {
            assert!(bytes.is_empty(), "bytes for a connection that is gone");
            return false;
        };
        assert!(bytes.is_empty() || self.links[at].open, "bytes before the connection stands");
        self.links[at].received(&bytes);
        self.core.handle(self.now, ShardInput::Room { conn }, &mut self.fx);
        !bytes.is_empty()
    }

    fn report(&mut self, report: &Report) {
        match report {
            Report::DeviceGone { user, device, .. } => {
                let person = self.people.get_mut(user).expect("a known user's device");
                let before = person.devices.len();
                person.devices.retain(|known| known != device);
                person.stopped.remove(device);
                assert_eq!(person.devices.len() + 1, before, "a known device");
            }
            Report::Synced { folders, .. } => {
                assert!(folders.len() <= carillon_core::limits::USER_FOLDERS_MAX + 1);
            }
            Report::Noticed { notices, .. } => {
                assert!(notices.told.len() <= carillon_core::limits::TOLD_ITEMS_GAP_MAX + 1);
            }
            Report::Unwatched { trouble, .. }
            | Report::Misplaced { trouble, .. }
            | Report::Unreadable { trouble: Some(trouble), .. }
            | Report::Taken { trouble, .. }
            | Report::GivenUp { trouble, .. }
            | Report::MailCredentialRefused { trouble, .. }
            | Report::MailTokenStale { trouble, .. }
            | Report::MailServerTrouble { trouble, .. }
            | Report::PushServiceTrouble { trouble, .. } => {
                assert!(!trouble.code.is_empty() && trouble.text.len() <= 1_024);
                assert!(!trouble.text.contains("correct horse"), "a secret in a report");
            }
            Report::Watched { .. }
            | Report::Live { .. }
            | Report::Unreadable { trouble: None, .. }
            | Report::Polled { .. }
            | Report::Device { .. }
            | Report::TeamTokenStale { .. }
            | Report::MailServerWell { .. }
            | Report::MailServerNoted { .. }
            | Report::FoldersDropped { .. }
            | Report::PushServiceWell { .. }
            | Report::Drained => {}
        }
    }

    /// The gauges are those of the model, the sums agree.
    fn look(&self) {
        if let Err(wrong) = self.core.check() {
            panic!("{wrong}");
        }
        let stats = self.core.stats();
        assert_eq!(stats.users, self.people.len() as u64);
        let all_stopped = |person: &&Person| {
            !person.devices.is_empty() && person.devices.iter().all(|device| person.stopped.contains(device))
        };
        assert_eq!(stats.users_stopped, self.people.values().filter(all_stopped).count() as u64);
        let devices: usize = self.people.values().map(|person| person.devices.len()).sum();
        assert_eq!(stats.devices, devices as u64);
        assert!(stats.users_live <= stats.users);
        assert_eq!(stats.users_ready, 0, "at rest nobody is ready");
        let open =
            |http2: bool| self.links.iter().filter(|link| link.open && link.is_http2() == http2).count();
        assert!(stats.streams <= open(false) as u64, "{} streams", stats.streams);
        assert!(stats.lanes <= open(true) as u64, "{} lanes", stats.lanes);
        assert!(stats.calls_in_flight <= 2 * 3, "{} calls", stats.calls_in_flight);
        assert!(stats.cohorts <= 2 * stats.users, "{} cohorts", stats.cohorts);
        assert!(stats.pushes_in_flight > 0 || stats.ledger.in_flight == 0);
    }

    /// All users go, all connections break: no gauge may remember anybody.
    pub(super) fn everybody_leaves(&mut self) {
        for user in std::mem::take(&mut self.people).into_keys() {
            self.command(Command::DropUser { user });
        }
        self.settle();
        for _ in 0..2 * LINKS_MAX {
            if self.links.is_empty() {
                break;
            }
            self.closed(0, CloseReason::Reset);
            self.settle();
        }
        assert!(self.links.is_empty(), "connections for nobody");
        let stats = self.core.stats();
        assert_eq!(
            (stats.users, stats.users_live, stats.devices, stats.streams, stats.lanes),
            (0, 0, 0, 0, 0)
        );
        assert_eq!(stats.ledger.waiting, 0);
    }

    /// What waits for an answer on this connection.
    pub(super) fn provider_speaks(&mut self, at: usize) {
        let link = &mut self.links[at];
        let (conn, bytes) = (link.conn, link.provider_says());
        if link.open && !bytes.is_empty() {
            self.bytes(conn, &bytes);
        }
    }

    pub(super) fn apns_at(
        &mut self,
        at: usize,
    ) -> Option<(&mut carillon_core::h2pump::ServerPump, &mut Vec<u32>)> {
        match &mut self.links[at].peer {
            Peer::Apns { pump, requests } => Some((pump, requests)),
            Peer::Exchange { .. } => None,
        }
    }
}

fn config(kind: u8) -> ShardConfig {
    let team = kind & 1 == 1;
    let credential =
        || MailCredential::Basic { user: "EX\\carillon".into(), password: "correct horse".into() };
    let mail_server = |endpoint| MailServer {
        impersonate: kind & 2 == 0,
        catch_up: if kind & 16 == 0 { CatchUp::Find } else { CatchUp::Sync },
        badge: if kind & 32 == 0 { BadgeCount::Inbox } else { BadgeCount::Watched },
        cohort_users_max: if kind & 4 == 0 { 200 } else { 1 },
        calls_max: 3,
        subscribes_per_s: if kind & 8 == 0 { 1_000 } else { 1 },
        ..MailServer::new(endpoint, credential())
    };
    let push_service = |auth| PushService { endpoint: EndpointId(1), auth, lanes: 2, lane_window_max: 16 };
    ShardConfig {
        shard: 0,
        seed: kind.into(),
        endpoints: vec![
            Endpoint { host: "mail.example.com".into(), port: 443, protocol: Protocol::Http1 },
            Endpoint { host: "api.push.apple.com".into(), port: 443, protocol: Protocol::Http2 },
        ],
        mail_servers: vec![mail_server(EndpointId(0)), mail_server(EndpointId(0))],
        push_services: vec![
            push_service(if team { PushAuth::Team(TeamId(0)) } else { PushAuth::Certificate }),
            push_service(PushAuth::Certificate),
        ],
        timing: Timing::default(),
        item_key: *b"a key for tests!",
    }
}
