//! The service with its connections.

use std::collections::{BTreeMap, VecDeque};

use carillon_core::h2pump::{Answer, Request, ServerEvent, Violation};
use carillon_core::time::{Now, Span, Time, UnixMillis};

use super::answer::Reason;
use super::arrived::Arrived;
use super::auth::{Certificate, Environment, TeamKey};
use super::conn::{Conn, Waiting};
use super::knobs::{Knobs, Share};
use super::registry::{DeviceIx, Registry, Row, TokenSpec};
use super::request::{Head, format_uuid};
use super::service::{Delivery, Origin, Service, Verdict};
use super::stats::{ApnsStats, StrictFault};
use crate::peer::{Close, Hello, Output, Peer, PeerConn};

/// The simulated APNs, one environment of it.
#[derive(Debug)]
pub struct Apns {
    service: Service,
    conns: BTreeMap<PeerConn, Conn>,
    ready: VecDeque<PeerConn>,
    /// Answers that wait for their time, in the order of it.
    waiting: BTreeMap<(Time, u64), Waiting>,
    serial: u64,
}

/// How a connection is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goaway {
    /// In the debug data, as Apple does.
    pub reason: Reason,
    /// So many requests that come next are left unprocessed: their streams are above the last stream id.
    pub unprocessed: u32,
    /// First a `GOAWAY` with the highest id, then the real one (RFC 9113 §6.8). Not together with `unprocessed`.
    pub twice: bool,
}

impl Default for Goaway {
    /// "That server is going away."
    fn default() -> Goaway {
        Goaway { reason: Reason::Shutdown, unprocessed: 0, twice: false }
    }
}

impl Apns {
    /// A service that knows nobody yet. Equal seeds and inputs give equal answers.
    pub fn new(environment: Environment, knobs: Knobs, seed: u64) -> Apns {
        Apns {
            service: Service::new(environment, knobs, seed),
            conns: BTreeMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            serial: 0,
        }
    }

    /// What can be turned.
    pub fn knobs(&self) -> &Knobs {
        &self.service.knobs
    }

    /// Turns the knobs; open connections feel it at once.
    pub fn set_knobs(&mut self, now: Now, knobs: Knobs) {
        self.service.knobs = knobs;
        for (name, conn) in &mut self.conns {
            conn.turn(now.time, &self.service.knobs);
            mark_ready(&mut self.ready, *name, conn);
        }
    }

    /// Turns one or two knobs.
    pub fn turn(&mut self, now: Now, change: impl FnOnce(&mut Knobs)) {
        let mut knobs = self.service.knobs.clone();
        change(&mut knobs);
        self.set_knobs(now, knobs);
    }

    /// Its clock is set, so far ahead of its clients'.
    pub fn set_clock_ahead(&mut self, ahead_ms: i64) {
        self.service.clock_ahead_ms = ahead_ms;
    }

    /// What was counted.
    pub fn stats(&self) -> &ApnsStats {
        &self.service.stats
    }

    /// The next accepted push that was not asked for yet. The owner asks after each turn: they are kept until then.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.service.poll_delivery()
    }

    /// The next push that arrived and was not asked for yet, whatever became of it: whole, or as much of its details as
    /// came before its stream or the connection ended. The owner asks after each turn: they are kept until then.
    pub fn poll_arrived(&mut self) -> Option<Arrived> {
        self.service.arrived.pop_front()
    }

    /// The `:authority` that clients are to use.
    pub fn expect_authority(&mut self, authority: &str) {
        self.service.authority = Some(authority.into());
    }

    /// Takes in a signing key.
    pub fn add_key(&mut self, key: TeamKey) {
        self.service.accounts.add_key(key);
    }

    /// Forgets a signing key: its tokens are `InvalidProviderToken` from now on.
    pub fn revoke_key(&mut self, kid: &str) {
        self.service.accounts.revoke_key(kid);
    }

    /// Takes in an app of a team.
    pub fn add_app(&mut self, now: Now, bundle: &str, team: &str) {
        self.service.accounts.add_app(now, bundle, team);
    }

    /// Takes in a client certificate.
    pub fn add_certificate(&mut self, certificate: Certificate) {
        self.service.accounts.add_certificate(certificate);
    }

    /// A phone registers, or registers again after its token was gone.
    pub fn register(&mut self, spec: &TokenSpec<'_>) -> DeviceIx {
        self.service.registry.register(spec)
    }

    /// The app is gone from the phone: 410 `Unregistered` with this time stamp from now on.
    pub fn set_gone(&mut self, device: DeviceIx, since: UnixMillis) {
        self.service.registry.row_mut(device).set_gone(Reason::Unregistered, since);
    }

    /// A live token answers 410 with this time stamp, so many times: what the service believes of it is older than its
    /// registration.
    pub fn distrust(&mut self, device: DeviceIx, since: UnixMillis, answers: u32) {
        self.service.registry.row_mut(device).distrust(since, answers);
    }

    /// The token was replaced by another: 410 `ExpiredToken` with this time stamp from now on.
    pub fn set_expired(&mut self, device: DeviceIx, since: UnixMillis) {
        self.service.registry.row_mut(device).set_gone(Reason::ExpiredToken, since);
    }

    /// An app gets another token. The one before answers 410 `ExpiredToken` since then; without `since` it stays good.
    pub fn renew(&mut self, device: DeviceIx, token: &str, since: Option<UnixMillis>) {
        self.service.registry.renew(device, token, since);
    }

    /// A token turns out to be one of another environment, or of another app, until it is registered again.
    pub fn misplace(&mut self, device: DeviceIx, environment: Environment, bundle: &str) {
        self.service.registry.row_mut(device).misplace(environment, bundle);
    }

    /// Makes a share of the live tokens answer 410 from now on; says which.
    pub fn churn(&mut self, share: Share, since: UnixMillis) -> Vec<DeviceIx> {
        self.service.churn(share, since)
    }

    /// 429 for one device until then.
    pub fn throttle(&mut self, device: DeviceIx, until: Time) {
        self.service.registry.row_mut(device).throttle(until, false);
    }

    /// As [`Apns::throttle`], and each 429 tells in `retry-after` how long that is.
    pub fn throttle_aloud(&mut self, device: DeviceIx, until: Time) {
        self.service.registry.row_mut(device).throttle(until, true);
    }

    /// What was said last on this connection never reached the client, or not before it gave up waiting: it need not know
    /// which tokens are gone.
    pub fn unheard(&mut self, now: Time, conn: PeerConn) {
        if let Some(found) = self.conns.get_mut(&conn) {
            found.takes_back(now, &mut self.service.registry);
        }
    }

    /// Turns a phone on or off.
    pub fn set_online(&mut self, now: Now, device: DeviceIx, online: bool) {
        self.service.registry.row_mut(device).device.set_online(now, online);
    }

    /// The phones and their tokens.
    pub fn registry(&self) -> &Registry {
        &self.service.registry
    }

    /// A phone and its token.
    pub fn row(&self, device: DeviceIx) -> &Row {
        self.service.registry.row(device)
    }

    /// 503 for everything for so long.
    pub fn fail_for(&mut self, now: Now, span: Span) {
        self.service.knobs.unavailable_until = now.time + span;
    }

    /// The open connections, in the order of their names.
    pub fn connections(&self) -> Vec<PeerConn> {
        self.conns.keys().copied().collect()
    }

    /// Sends one connection away. It is closed when its last answer has left, a second later at the earliest.
    pub fn goaway(&mut self, now: Now, conn: PeerConn, how: Goaway) {
        let Some(found) = self.conns.get_mut(&conn) else { return };
        self.service.stats.goaways += 1;
        found.begin_exit(now.time, how);
        mark_ready(&mut self.ready, conn, found);
    }

    /// Goes silent on one connection: nothing is read, nothing answered, nothing closed.
    pub fn go_silent(&mut self, conn: PeerConn) {
        if let Some(found) = self.conns.get_mut(&conn) {
            found.silent = true;
        }
    }

    /// Resets one connection (RST).
    pub fn reset_connection(&mut self, conn: PeerConn) {
        if let Some(found) = self.conns.get_mut(&conn) {
            found.reset = true;
            mark_ready(&mut self.ready, conn, found);
        }
    }

    /// Resets all streams of one connection that wait for an answer. Their requests were processed: `REFUSED_STREAM`
    /// would be a lie.
    pub fn reset_streams(&mut self, conn: PeerConn, code: u32) {
        let Some(found) = self.conns.get_mut(&conn) else { return };
        for waiting in self.waiting.values().filter(|waiting| waiting.conn == conn) {
            self.service.stats.resets += u64::from(found.pump.reset(waiting.stream, code));
        }
        self.waiting.retain(|_, waiting| waiting.conn != conn);
        found.waiting = 0;
        mark_ready(&mut self.ready, conn, found);
    }

    /// Sends SETTINGS with these entries (identifier, value), in the middle of everything.
    pub fn announce(&mut self, conn: PeerConn, entries: &[(u16, u32)]) {
        if let Some(found) = self.conns.get_mut(&conn) {
            found.pump.send_settings(entries);
            mark_ready(&mut self.ready, conn, found);
        }
    }

    /// Sends a frame or other bytes that HTTP/2 does not foresee, between two frames.
    pub fn send_raw(&mut self, conn: PeerConn, bytes: &[u8]) {
        if let Some(found) = self.conns.get_mut(&conn) {
            found.pump.raw(bytes);
            mark_ready(&mut self.ready, conn, found);
        }
    }

    fn take_events(&mut self, now: Now, name: PeerConn) {
        let Some(conn) = self.conns.get_mut(&name) else { return };
        while let Some(event) = conn.pump.poll() {
            mark_ready(&mut self.ready, name, conn);
            let stats = &mut self.service.stats;
            match event {
                ServerEvent::Request(request) => {
                    if let Some((due, waiting)) = take_request(&mut self.service, now, name, conn, *request) {
                        if due <= now.time {
                            answer(&self.service, conn, &waiting);
                        } else {
                            conn.waiting += 1;
                            self.serial += 1;
                            self.waiting.insert((due, self.serial), waiting);
                        }
                    }
                }
                ServerEvent::Dropped(request) => note_arrived(&mut self.service, now, name, &request),
                ServerEvent::Violation(Violation::TooManyStreams { .. }) => {
                    stats.strict.note(StrictFault::StreamOverLimit);
                }
                ServerEvent::Violation(Violation::Priority) => stats.strict.note(StrictFault::PriorityFrame),
                ServerEvent::Violation(Violation::WindowOverrun) => {
                    stats.connections_broken += 1;
                    conn.over = true;
                }
                ServerEvent::Closed { error } => {
                    stats.connections_broken += u64::from(error.is_some());
                    conn.over = true;
                }
                // An answer to a stream that is gone goes nowhere by itself.
                ServerEvent::Cancelled { .. } => stats.cancelled += 1,
                ServerEvent::Pong | ServerEvent::WentAway { .. } => {}
            }
        }
        if conn.give_credit(&self.service.knobs) {
            mark_ready(&mut self.ready, name, conn);
        }
    }
}

impl Peer for Apns {
    fn accepted(&mut self, now: Now, name: PeerConn, hello: Hello) {
        let stats = &mut self.service.stats;
        stats.connections += 1;
        let binding = self.service.accounts.bind(hello.certificate.as_deref());
        let mut conn = Conn::new(now.time, hello.client, binding, &self.service.knobs);
        match hello.alpn.as_deref() {
            Some(b"h2") => {}
            None => stats.strict.note(StrictFault::AlpnMissing),
            Some(_) => conn.over = true,
        }
        mark_ready(&mut self.ready, name, &mut conn);
        self.conns.insert(name, conn);
    }

    fn received(&mut self, now: Now, name: PeerConn, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(&name) else { return };
        if !conn.silent && !conn.reset {
            conn.feed(bytes);
            mark_ready(&mut self.ready, name, conn);
            self.take_events(now, name);
        }
    }

    fn closed(&mut self, now: Now, name: PeerConn) {
        if let Some(mut conn) = self.conns.remove(&name) {
            conn.takes_back(now.time, &mut self.service.registry);
            conn.pump.closed();
            while let Some(event) = conn.pump.poll() {
                if let ServerEvent::Request(request) | ServerEvent::Dropped(request) = event {
                    note_arrived(&mut self.service, now, name, &request);
                }
            }
        }
        self.waiting.retain(|_, waiting| waiting.conn != name);
    }

    fn drain(&mut self, now: Now, name: PeerConn, out: &mut Vec<u8>, bytes_max: usize) -> Output {
        let Some(conn) = self.conns.get_mut(&name) else { return Output::default() };
        if conn.reset {
            self.closed(now, name);
            return Output { more: false, close: Some(Close::Reset) };
        }
        if conn.silent {
            return Output::default();
        }
        let more = conn.pump.drain(out, bytes_max);
        if !more {
            conn.has_told(now.time, &mut self.service.registry);
        }
        let over = conn.over;
        if over && !more {
            self.closed(now, name);
            return Output { more, close: Some(Close::Orderly) };
        }
        // Room on the wire may have let requests in that were held back.
        self.take_events(now, name);
        Output { more, close: None }
    }

    fn tick(&mut self, now: Now) {
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= now.time
        {
            let waiting = entry.remove();
            if let Some(conn) = self.conns.get_mut(&waiting.conn) {
                conn.waiting -= 1;
                if !conn.silent {
                    answer(&self.service, conn, &waiting);
                    mark_ready(&mut self.ready, waiting.conn, conn);
                }
            }
        }
        for (name, conn) in &mut self.conns {
            if conn.silent {
                continue;
            }
            let gave_up = conn.gives_up(now.time);
            self.service.stats.connections_broken += u64::from(gave_up);
            let wrote = conn.go_on(now.time) | conn.give_credit_in_time(now.time, &self.service.knobs);
            if gave_up || wrote {
                mark_ready(&mut self.ready, *name, conn);
            }
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let answers = self.waiting.keys().map(|(due, _)| *due).next();
        let conns = self.conns.values().map(Conn::next_deadline).filter(|at| *at != Time::NEVER);
        answers.into_iter().chain(conns).min()
    }

    fn poll_ready(&mut self) -> Option<PeerConn> {
        while let Some(name) = self.ready.pop_front() {
            if let Some(conn) = self.conns.get_mut(&name) {
                conn.is_ready = false;
                return Some(name);
            }
        }
        None
    }
}

/// What becomes of one request: an answer and its time, or nothing.
fn take_request(
    service: &mut Service,
    now: Now,
    name: PeerConn,
    conn: &mut Conn,
    request: Request,
) -> Option<(Time, Waiting)> {
    let stream = request.stream;
    let head = head_of(&request);
    let arrived = Arrived::read(&service.registry, now, name, &head, &request.body);
    let is_known = arrived.is_some();
    service.arrived.extend(arrived);
    conn.requests += 1;
    if service.knobs.goaway_after_streams == Some(conn.requests - 1) {
        let how = Goaway { unprocessed: service.knobs.goaway_unprocessed, ..Goaway::default() };
        service.stats.goaways += 1;
        conn.begin_exit(now.time, how);
    }
    if conn.swallows(now.time, stream) || service.knobs.requests_lost.draw(&mut service.rng) {
        service.stats.unprocessed += 1;
        return None;
    }
    if service.knobs.resets_before.draw(&mut service.rng) {
        service.stats.resets += 1;
        conn.pump.reset(stream, service.knobs.reset_code);
        return None;
    }
    conn.processed_stream = conn.processed_stream.max(stream);
    let origin = Origin { conn: name, client: &conn.client };
    let verdict = service.push(now, origin, &mut conn.binding, &head, &request.body);
    if let Some(arrived) = service.arrived.back_mut().filter(|_| is_known) {
        arrived.refused = verdict.result.err().map(|refusal| refusal.reason);
    }
    conn.faults += u32::from(verdict.result.is_err_and(|refusal| refusal.reason.status() == 400));
    if service.knobs.faults_max.is_some_and(|faults_max| conn.faults > faults_max) {
        // What is on its way is still answered.
        conn.begin_exit(now.time, Goaway { reason: Reason::BadDeviceToken, ..Goaway::default() });
    }
    if service.knobs.answers_lost.draw(&mut service.rng) {
        service.stats.unanswered += 1;
        return None;
    }
    if service.knobs.resets_after.draw(&mut service.rng) {
        let code = if service.knobs.reset_code == REFUSED_STREAM { CANCEL } else { service.knobs.reset_code };
        service.stats.resets += 1;
        conn.pump.reset(stream, code);
        return None;
    }
    let age_s = now.time.since(conn.opened).as_millis() / 1_000;
    let growth = Span(age_s * u64::from(service.knobs.latency_growth_us_per_s));
    let mut due = now.time + service.knobs.latency.draw(&mut service.rng) + growth;
    if service.knobs.in_order {
        due = due.max(conn.last_due);
        conn.last_due = due;
    }
    let Verdict { apns_id, result, authenticated, gone } = verdict;
    Some((due, Waiting { conn: name, stream, apns_id, result, authenticated, gone }))
}

/// Takes down what has come of a request that nobody will answer.
fn note_arrived(service: &mut Service, now: Now, name: PeerConn, request: &Request) {
    let arrived = Arrived::read_dropped(&service.registry, now, name, &head_of(request), request);
    service.arrived.extend(arrived);
}

fn head_of(request: &Request) -> Head<'_> {
    Head {
        method: request.head.method.as_str(),
        path: request.head.uri.path_and_query().map_or("", |path| path.as_str()),
        authority: request.head.uri.authority().map(|authority| authority.as_str()),
        headers: &request.head.headers,
    }
}

fn answer(service: &Service, conn: &mut Conn, waiting: &Waiting) {
    let id = format_uuid(waiting.apns_id);
    let mut unique_id = String::new();
    if service.environment == Environment::Sandbox && waiting.result.is_ok() {
        // Only a name for the push console: any number that differs from the apns-id does.
        unique_id = format_uuid(waiting.apns_id.rotate_left(64));
    }
    let mut headers = vec![("apns-id", id.as_str())];
    if !unique_id.is_empty() {
        headers.push(("apns-unique-id", unique_id.as_str()));
    }
    let retry_after = waiting.result.err().and_then(|refusal| refusal.retry_after_s);
    let retry_after = retry_after.map(|seconds| seconds.to_string());
    headers.extend(retry_after.as_deref().map(|seconds| ("retry-after", seconds)));
    let split = service.knobs.split_answers;
    let (status, body) = match &waiting.result {
        Ok(()) => (200, String::new()),
        Err(refusal) => (refusal.reason.status(), refusal.body()),
    };
    let answer = Answer {
        status,
        headers: &headers,
        body: body.as_bytes(),
        data_bytes_max: if split { 16 } else { 0 },
        empty_tail: split,
    };
    // The client may have reset the stream meanwhile; then nobody waits for the answer.
    if conn.pump.respond(waiting.stream, &answer).is_ok()
        && let Some(gone) = waiting.gone
    {
        conn.tells_gone(gone);
    }
    conn.answered(waiting.result.is_ok(), waiting.authenticated, &service.knobs);
}

fn mark_ready(ready: &mut VecDeque<PeerConn>, name: PeerConn, conn: &mut Conn) {
    if !std::mem::replace(&mut conn.is_ready, true) {
        ready.push_back(name);
    }
}

const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
