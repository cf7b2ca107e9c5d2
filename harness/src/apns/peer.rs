//! The service with its connections.

use std::collections::{BTreeMap, VecDeque};

use carillon_core::time::{Now, Span, Time, UnixMillis};

use super::answer::Reason;
use super::auth::{Binding, Certificate, Environment, TeamKey};
use super::knobs::{Knobs, Share};
use super::registry::{DeviceIx, Row, TokenSpec};
use super::service::{Delivery, Service};
use super::stats::ApnsStats;
use crate::peer::{Hello, Output, Peer, PeerConn};

/// The simulated APNs, one environment of it.
#[derive(Debug)]
pub struct Apns {
    service: Service,
    conns: BTreeMap<PeerConn, Conn>,
    ready: VecDeque<PeerConn>,
}

#[derive(Debug)]
struct Conn {
    client: String,
    binding: Binding,
}

/// How connections are sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goaway {
    /// In the debug data, as Apple does.
    pub reason: Reason,
    /// So many requests that come next are left unprocessed: their streams are above the last stream id.
    pub unprocessed: u32,
    /// First a `GOAWAY` with the highest id, then the real one (RFC 9113 §6.8).
    pub twice: bool,
}

impl Apns {
    /// A service that knows nobody yet. Equal seeds and inputs give equal answers.
    pub fn new(environment: Environment, knobs: Knobs, seed: u64) -> Apns {
        Apns {
            service: Service::new(environment, knobs, seed),
            conns: BTreeMap::new(),
            ready: VecDeque::new(),
        }
    }

    /// What can be turned.
    pub fn knobs(&self) -> &Knobs {
        &self.service.knobs
    }

    /// Turns the knobs; open connections feel it at once.
    pub fn set_knobs(&mut self, _now: Now, knobs: Knobs) {
        self.service.knobs = knobs;
    }

    /// What was counted.
    pub fn stats(&self) -> &ApnsStats {
        &self.service.stats
    }

    /// The next accepted push that was not asked for yet.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.service.poll_delivery()
    }

    /// The `:authority` that clients are to use.
    pub fn expect_authority(&mut self, authority: &str) {
        self.service.authority = Some(authority.into());
    }

    /// Takes in a signing key.
    pub fn add_key(&mut self, key: TeamKey) {
        self.service.accounts.add_key(key);
    }

    /// Takes in an app of a team.
    pub fn add_app(&mut self, now: Now, bundle: &str, team: &str) {
        self.service.accounts.add_app(now, bundle, team);
    }

    /// Takes in a client certificate.
    pub fn add_certificate(&mut self, certificate: Certificate) {
        self.service.accounts.add_certificate(certificate);
    }

    /// A phone registers, or registers again.
    pub fn register(&mut self, spec: &TokenSpec<'_>) -> DeviceIx {
        self.service.registry.register(spec)
    }

    /// The app is gone from the phone: 410 `Unregistered` with this time stamp from now on.
    pub fn set_gone(&mut self, device: DeviceIx, since: UnixMillis) {
        self.service.registry.row_mut(device).set_gone(Reason::Unregistered, since);
    }

    /// Makes a share of the live tokens answer 410 from now on; says which.
    pub fn churn(&mut self, share: Share, since: UnixMillis) -> Vec<DeviceIx> {
        self.service.churn(share, since)
    }

    /// 429 for one device until then.
    pub fn throttle(&mut self, device: DeviceIx, until: Time) {
        self.service.registry.row_mut(device).throttle(until);
    }

    /// Turns a phone on or off.
    pub fn set_online(&mut self, now: Now, device: DeviceIx, online: bool) {
        self.service.registry.row_mut(device).device.set_online(now, online);
    }

    /// A phone and its token.
    pub fn row(&self, device: DeviceIx) -> &Row {
        self.service.registry.row(device)
    }

    /// 503 for everything for so long.
    pub fn fail_for(&mut self, now: Now, span: Span) {
        self.service.knobs.unavailable_until = now.time + span;
    }

    /// The open connections.
    pub fn connections(&self) -> Vec<PeerConn> {
        self.conns.keys().copied().collect()
    }

    /// Sends one connection away.
    pub fn goaway(&mut self, _now: Now, _conn: PeerConn, _how: Goaway) {}

    /// Goes silent on one connection: nothing is read, nothing answered, nothing closed.
    pub fn go_silent(&mut self, _conn: PeerConn) {}

    /// Resets one connection (RST).
    pub fn reset_connection(&mut self, _conn: PeerConn) {}

    /// Resets all streams of one connection that wait for an answer.
    pub fn reset_streams(&mut self, _now: Now, _conn: PeerConn, _code: u32) {}
}

impl Peer for Apns {
    fn accepted(&mut self, _now: Now, conn: PeerConn, hello: Hello) {
        let binding = self.service.accounts.bind(hello.certificate.as_deref());
        self.conns.insert(conn, Conn { client: hello.client, binding });
    }

    fn received(&mut self, _now: Now, _conn: PeerConn, _bytes: &[u8]) {}

    fn closed(&mut self, _now: Now, conn: PeerConn) {
        self.conns.remove(&conn);
    }

    fn drain(&mut self, _now: Now, _conn: PeerConn, _out: &mut Vec<u8>, _bytes_max: usize) -> Output {
        Output::default()
    }

    fn tick(&mut self, _now: Now) {}

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn poll_ready(&mut self) -> Option<PeerConn> {
        self.ready.pop_front()
    }
}
