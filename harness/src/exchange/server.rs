//! Connections: bytes in, requests answered one after the other, bytes out. The [`Peer`] face.

use carillon_core::time::{Now, Span, Time};

use super::budget::BudgetKey;
use super::deadline::Due;
use super::faults::{Cut, GivenUp, Override, Proxy, Silence, Transfer};
use super::front::{Answer, HttpReply};
use super::state::Exchange;
use super::stats::Operation;
use super::stream::Ending;
use super::subscription::Subscription;
use super::wire::{HttpRequest, Intake, LAST_CHUNK, push_chunk, reason};
use crate::peer::{Close, Hello, Output, Peer, PeerConn};

/// Bytes that a client may send ahead of the answer.
const AHEAD_BYTES_MAX: usize = 1024 * 1024 + 32 * 1024;

/// Connections of one client that may end within [`UNASKED_SPAN`] without having brought a request: a pause that begins while
/// they are made, or a network that breaks them, makes some superfluous.
const UNASKED_MAX: u32 = 100;

/// See [`UNASKED_MAX`].
const UNASKED_SPAN: Span = Span::from_secs(60);

/// Bytes that are gone may stay at the front of the output up to this many.
const SENT_BYTES_MAX: usize = 32 * 1024;

#[derive(Debug)]
pub(super) struct Conn {
    pub hello: Hello,
    pub intake: Intake,
    pub out: Vec<u8>,
    /// Bytes of `out` that are gone already.
    pub sent: usize,
    pub phase: Phase,
    /// It has something to say and was not drained since.
    pub ready: bool,
    /// It stands in the ready list.
    pub queued: bool,
    /// Close when all is out.
    pub close: Option<Close>,
    pub cut: Option<Cut>,
    /// An ordinary connection that hangs.
    pub silent: bool,
    pub idle_since: Time,
    pub idle_timer: bool,
    /// The last `client-request-id`: each call has a new one.
    pub last_request_id: String,
    /// Its next request was held up on the way.
    pub late: bool,
    /// It has brought a request.
    pub asked: bool,
    /// What is asked next is not looked at: something in between has forgotten the connection.
    pub given_up: Option<GivenUp>,
}

#[derive(Debug)]
pub(super) enum Phase {
    Idle,
    /// The answer is ready at some time.
    Working {
        reply: HttpReply,
        charged: Option<(BudgetKey, Operation)>,
    },
    Streaming(u64),
}

impl Peer for Exchange {
    fn accepted(&mut self, now: Now, conn: PeerConn, hello: Hello) {
        self.stats.connections += 1;
        if hello.alpn.as_deref().is_some_and(|alpn| alpn != b"http/1.1") {
            self.violations.add("a connection asks for another protocol than http/1.1".to_owned());
        }
        let row = Conn {
            hello,
            intake: Intake::default(),
            out: Vec::new(),
            sent: 0,
            phase: Phase::Idle,
            ready: false,
            queued: false,
            close: None,
            cut: None,
            silent: false,
            idle_since: now.time,
            idle_timer: false,
            last_request_id: String::new(),
            late: false,
            asked: false,
            given_up: None,
        };
        self.conns.insert(conn, row);
        self.become_idle(now.time, conn);
    }

    fn received(&mut self, now: Now, conn: PeerConn, bytes: &[u8]) {
        let Some(row) = self.conns.get_mut(&conn) else { return };
        if row.close.is_some() {
            return;
        }
        if let Some(how) = row.given_up {
            self.stats.given_up += 1;
            match how {
                GivenUp::Ends => self.cut(conn, Cut { after_bytes: 0, how: Close::Orderly }),
                GivenUp::Resets => self.cut(conn, Cut { after_bytes: 0, how: Close::Reset }),
                GivenUp::Says408 => {
                    let reply = HttpReply { body: Vec::new(), ..HttpReply::page(408, "") }.closing();
                    self.send_reply(now, conn, reply);
                }
            }
            return;
        }
        row.intake.feed(bytes);
        match row.phase {
            Phase::Idle => {}
            Phase::Working { .. } => {
                self.violations.add("bytes arrive while a call is being answered".to_owned())
            }
            Phase::Streaming(_) => self.violations.add("bytes arrive on a streaming connection".to_owned()),
        }
        self.serve_waiting(now, conn);
        let ahead = self.conns.get(&conn).is_some_and(|row| row.intake.waiting() > AHEAD_BYTES_MAX);
        if ahead {
            self.cut(conn, Cut { after_bytes: 0, how: Close::Reset });
        }
    }

    fn closed(&mut self, now: Now, conn: PeerConn) {
        self.note_unasked(now.time, conn);
        self.forget(now.time, conn);
    }

    fn drain(&mut self, now: Now, conn: PeerConn, out: &mut Vec<u8>, bytes_max: usize) -> Output {
        let Some(row) = self.conns.get_mut(&conn) else { return Output::default() };
        row.ready = false;
        let cut_now = row.cut.filter(|cut| cut.after_bytes == 0);
        let mut output = Output::default();
        if cut_now.is_none() && !self.is_silent(conn) {
            let max = bytes_max.min(self.faults.drain_bytes_max.unwrap_or(usize::MAX));
            output.more = self.write_out(now, conn, out, max);
        }
        let Some(row) = self.conns.get_mut(&conn) else { return output };
        if let Some(cut) = row.cut.filter(|cut| cut.after_bytes == 0) {
            output = Output { more: false, close: Some(cut.how) };
        } else if row.sent == row.out.len() && !output.more {
            output.close = row.close;
        }
        if output.close.is_some() {
            self.forget(now.time, conn);
        }
        output
    }

    fn tick(&mut self, now: Now) {
        while let Some((_, due)) = self.deadlines.pop(now.time) {
            match due {
                Due::Heartbeat(key) => self.heartbeat(now.time, key),
                Due::StreamEnd(key) => self.stream_is_over(now, key),
                Due::StreamCut(key) => {
                    self.cut_stream(key, Cut { after_bytes: 0, how: Close::Orderly });
                }
                Due::Reply(conn) => {
                    self.release_reply(now, conn);
                    self.serve_waiting(now, conn);
                }
                Due::Detached(key) => {
                    let ttl = self.config.detached_ttl;
                    let over = |one: &Subscription| one.stream.is_none() && one.detached + ttl <= now.time;
                    if self.subscriptions.get(&key).is_some_and(over) {
                        self.forget_subscription(now.time, key);
                    }
                }
                Due::Idle(conn) => self.idle_is_over(now.time, conn),
            }
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.deadlines.next()
    }

    fn poll_ready(&mut self) -> Option<PeerConn> {
        while let Some(conn) = self.ready.pop_front() {
            let Some(row) = self.conns.get_mut(&conn) else { continue };
            row.queued = false;
            if row.ready {
                return Some(conn);
            }
        }
        None
    }
}

impl Exchange {
    /// A client that opens connections and closes them without having asked for anything does so again and again.
    fn note_unasked(&mut self, now: Time, conn: PeerConn) {
        let Some(row) = self.conns.get(&conn).filter(|row| !row.asked) else { return };
        let client = row.hello.client.clone();
        let (since, count) = self.unasked.entry(client).or_insert((now, 0));
        if now.since(*since) >= UNASKED_SPAN {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count == UNASKED_MAX {
            self.violations.add(format!("{count} connections within a minute brought no request"));
        }
    }

    fn is_silent(&self, conn: PeerConn) -> bool {
        self.conns.get(&conn).is_some_and(|row| row.silent)
    }

    /// Copies at most `max` bytes; true if more is left.
    fn write_out(&mut self, now: Now, conn: PeerConn, out: &mut Vec<u8>, max: usize) -> bool {
        let Some(row) = self.conns.get(&conn) else { return false };
        let stream = match row.phase {
            Phase::Streaming(key) => Some(key),
            Phase::Idle | Phase::Working { .. } => None,
        };
        let waiting = row.out.len() - row.sent;
        if let Some(key) = stream
            && waiting < max
        {
            self.pump(now, key, max - waiting);
        }
        let Some(row) = self.conns.get_mut(&conn) else { return false };
        let mut n = (row.out.len() - row.sent).min(max);
        if let Some(cut) = &mut row.cut {
            n = n.min(usize::try_from(cut.after_bytes).unwrap_or(usize::MAX));
            cut.after_bytes -= n as u64;
        }
        out.extend_from_slice(&row.out[row.sent..row.sent + n]);
        row.sent += n;
        if row.sent == row.out.len() {
            row.out.clear();
            row.sent = 0;
        } else if row.sent >= SENT_BYTES_MAX {
            row.out.drain(..row.sent);
            row.sent = 0;
        }
        let left = row.sent < row.out.len();
        left || stream.is_some_and(|key| self.stream_has_news(key))
    }

    /// Answers requests that are whole, as long as the connection is free.
    pub(super) fn serve_waiting(&mut self, now: Now, conn: PeerConn) {
        loop {
            let Some(row) = self.conns.get_mut(&conn) else { return };
            if !matches!(row.phase, Phase::Idle) || row.close.is_some() {
                return;
            }
            let taken = row.intake.take(&self.config.limits);
            if std::mem::take(&mut row.intake.owes_continue) {
                row.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                self.wake(conn);
            }
            match taken {
                Ok(None) => return,
                Ok(Some(request)) => self.serve(now, conn, &request),
                Err(bad) => {
                    let reply = HttpReply::page(bad.status, bad.reason).closing();
                    self.send_reply(now, conn, reply);
                }
            }
        }
    }

    fn serve(&mut self, now: Now, conn: PeerConn, request: &HttpRequest) {
        if let Some(row) = self.conns.get_mut(&conn) {
            row.asked = true;
        }
        let answer = self.answer(now, conn, request);
        if let Some(row) = self.conns.get_mut(&conn) {
            row.late = false;
        }
        match answer {
            Answer::Never { charge } => {
                if let Some((budget, operation)) = charge {
                    self.charge(budget, operation);
                }
                if let Some(row) = self.conns.get_mut(&conn) {
                    row.phase = Phase::Working { reply: HttpReply::page(500, ""), charged: charge };
                }
            }
            Answer::Reply { mut reply, charge, late } => {
                reply.close |= request.close;
                let takes = self.config.call_time + late;
                match charge.filter(|_| takes > Span::ZERO) {
                    Some((budget, operation)) => {
                        self.charge(budget, operation);
                        self.deadlines.push(now.time + takes, Due::Reply(conn));
                        if let Some(row) = self.conns.get_mut(&conn) {
                            row.phase = Phase::Working { reply, charged: Some((budget, operation)) };
                        }
                    }
                    None => self.send_reply(now, conn, reply),
                }
            }
            Answer::Stream { key, headers } if self.faults.proxy == Some(Proxy::Empties) => {
                self.obstruct(now.time, key);
                self.end_stream(now.time, key, Ending::Gone);
                let reply = HttpReply { body: Vec::new(), headers, ..HttpReply::page(200, "") };
                self.send_reply(now, conn, HttpReply { content_type: "text/xml; charset=utf-8", ..reply });
            }
            Answer::Stream { key, headers } => {
                self.obstruct(now.time, key);
                let head = self.head(now, 200, "text/xml; charset=utf-8", &headers);
                if let Some(row) = self.conns.get_mut(&conn) {
                    row.out.extend_from_slice(head.as_bytes());
                    row.out.extend_from_slice(b"X-NoBuffering: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
                    row.phase = Phase::Streaming(key);
                }
                *self.stats.statuses.entry(200).or_default() += 1;
                self.wake(conn);
            }
        }
    }

    fn release_reply(&mut self, now: Now, conn: PeerConn) {
        let Some(row) = self.conns.get_mut(&conn) else { return };
        if let Phase::Working { reply, charged } = std::mem::replace(&mut row.phase, Phase::Idle) {
            if let Some((budget, operation)) = charged {
                self.release(budget, operation);
                self.note_answer(conn);
            }
            self.send_reply(now, conn, reply);
        }
    }

    pub(super) fn send_reply(&mut self, now: Now, conn: PeerConn, reply: HttpReply) {
        *self.stats.statuses.entry(reply.status).or_default() += 1;
        let head = self.head(now, reply.status, reply.content_type, &reply.headers);
        let transfer = if reply.body.is_empty() { Transfer::Length } else { self.faults.transfer };
        let Some(row) = self.conns.get_mut(&conn) else { return };
        row.out.extend_from_slice(head.as_bytes());
        let close = reply.close || transfer == Transfer::Close;
        if close {
            row.out.extend_from_slice(b"Connection: close\r\n");
        }
        match transfer {
            Transfer::Chunked => {
                row.out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                push_chunk(&mut row.out, &reply.body);
                row.out.extend_from_slice(LAST_CHUNK);
            }
            Transfer::Length => {
                row.out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", reply.body.len()).as_bytes());
                row.out.extend_from_slice(&reply.body);
            }
            Transfer::Close => {
                row.out.extend_from_slice(b"\r\n");
                row.out.extend_from_slice(&reply.body);
            }
        }
        if close {
            row.close = Some(Close::Orderly);
        }
        self.become_idle(now.time, conn);
        self.wake(conn);
    }

    /// A head without its last lines, which say how the body is delimited.
    fn head(
        &mut self,
        now: Now,
        status: u16,
        content_type: &str,
        headers: &[(&'static str, String)],
    ) -> String {
        let mut head = format!("HTTP/1.1 {status} {}\r\nCache-Control: private\r\n", reason(status));
        if !content_type.is_empty() {
            head.push_str(&format!("Content-Type: {content_type}\r\n"));
        }
        head.push_str("Server: Microsoft-IIS/10.0\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("X-FEServer: EXFE1\r\nDate: {}\r\n", super::stamp::http_date(now.unix)));
        head
    }

    pub(super) fn become_idle(&mut self, now: Time, conn: PeerConn) {
        let Some(keep_alive) = self.config.keep_alive else { return };
        let Some(row) = self.conns.get_mut(&conn) else { return };
        row.idle_since = now;
        if !std::mem::replace(&mut row.idle_timer, true) {
            self.deadlines.push(now + keep_alive, Due::Idle(conn));
        }
    }

    fn idle_is_over(&mut self, now: Time, conn: PeerConn) {
        let Some(keep_alive) = self.config.keep_alive else { return };
        let Some(row) = self.conns.get_mut(&conn) else { return };
        row.idle_timer = false;
        if !matches!(row.phase, Phase::Idle) {
            return;
        }
        if row.idle_since + keep_alive > now {
            row.idle_timer = true;
            let at = row.idle_since + keep_alive;
            self.deadlines.push(at, Due::Idle(conn));
        } else if row.close.is_none() {
            row.close = Some(Close::Orderly);
            self.wake(conn);
        }
    }

    fn stream_is_over(&mut self, now: Now, key: u64) {
        let Some(stream) = self.streams.get(&key).filter(|stream| stream.closes <= now.time) else { return };
        let conn = stream.conn;
        let stalled = stream.silence.is_some();
        self.end_stream(now.time, key, if stalled { Ending::Gone } else { Ending::Closed });
        if !stalled {
            self.serve_waiting(now, conn);
        }
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, now: Time, conn: PeerConn) {
        let Some(row) = self.conns.remove(&conn) else { return };
        match row.phase {
            Phase::Idle => {}
            Phase::Working { charged, .. } => {
                if let Some((budget, operation)) = charged {
                    self.release(budget, operation);
                }
            }
            Phase::Streaming(key) => self.end_stream(now, key, Ending::Gone),
        }
    }

    /// Lets a connection hang: nothing more comes out of it, and it stays open.
    pub(super) fn hang(&mut self, conn: PeerConn, silence: Silence) {
        let Some(row) = self.conns.get_mut(&conn) else { return };
        row.silent = true;
        if silence == Silence::Blackhole {
            row.out.clear();
            row.sent = 0;
        }
    }

    /// The answer that a standing order gives, if there is one for this request.
    pub(super) fn take_override(&mut self, now: Time, operation: Option<Operation>) -> Option<Override> {
        self.overrides.retain(|order| order.until > now);
        let at = self.overrides.iter().position(|order| order.only == operation)?;
        let order = &mut self.overrides[at];
        order.left -= 1;
        let answer = order.answer.clone();
        if order.left == 0 {
            self.overrides.remove(at);
        }
        Some(answer)
    }
}
