//! The server's role: the ground that simulated providers stand on.
//!
//! `h2` parses, checks and answers; what a strict or faulty provider needs beyond it is done on the frames between `h2`
//! and the wire: SETTINGS in mid-connection (and the limit of streams that follows from them), GOAWAY with any last
//! stream and debug data, the connection's flow-control window under a policy of ours, unanswered PINGs, raw bytes.

mod slot;
mod types;
mod wire;

pub use self::types::{Answer, Request, RespondError, ServerConfig, ServerEvent, Violation, WindowPolicy};

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use hashbrown::HashMap;

use self::slot::{Slot, State};
use self::wire::{SettingsSent, Wire};
use super::frame::{FLAG_ACK, Piece, SETTING_MAX_CONCURRENT_STREAMS, Scanner, code, frame, kind};
use super::pipe::Pipe;
use super::wake::{Flag, ReadySet};
use super::words::words;

/// An HTTP/2 server connection that is fed, drained and polled.
#[derive(Debug)]
pub struct ServerPump {
    pipe: Pipe,
    stage: Stage,
    connection_due: Arc<Flag>,
    ready: ReadySet,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    by_stream: HashMap<u32, usize>,
    input: Scanner,
    /// What has come of the present DATA frame, and its stream: `h2` hands out whole frames only.
    part: (u32, Vec<u8>),
    dropping_input: bool,
    wire: Wire,
    output: BytesMut,
    events: VecDeque<ServerEvent>,
    config: ServerConfig,
}

enum Stage {
    Handshaking(Handshake<Pipe, Bytes>),
    Open(Connection<Pipe, Bytes>),
    Closed,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Handshaking(_) => "Handshaking",
            Stage::Open(_) => "Open",
            Stage::Closed => "Closed",
        })
    }
}

impl ServerPump {
    /// A connection whose TLS handshake is done. Our SETTINGS wait to be drained.
    pub fn new(config: ServerConfig) -> ServerPump {
        let pipe = Pipe::new(config.output_bytes_max);
        let mut pump = ServerPump {
            stage: Stage::Handshaking(builder(&config).handshake(pipe.clone())),
            pipe,
            connection_due: Arc::default(),
            ready: ReadySet::new(SLOTS_MAX),
            slots: Vec::new(),
            free: Vec::new(),
            by_stream: HashMap::new(),
            input: Scanner::of_client(),
            part: (0, Vec::new()),
            dropping_input: false,
            wire: Wire::new(&config),
            output: BytesMut::new(),
            events: VecDeque::new(),
            config,
        };
        pump.connection_due.raise();
        pump.run();
        pump
    }

    /// Takes bytes from the wire, cut anywhere.
    pub fn feed(&mut self, mut data: &[u8]) {
        while let Some(piece) = self.input.next(&mut data) {
            match piece {
                Piece::Preface(bytes) => self.pipe.lock().input.extend_from_slice(bytes),
                Piece::Head(head) => {
                    if head.is(kind::SETTINGS, FLAG_ACK) {
                        // Requests before it were opened within the earlier limits.
                        self.connection_due.raise();
                        self.run();
                    }
                    let pong = head.is(kind::PING, FLAG_ACK) && self.wire.ping_sent;
                    self.dropping_input = pong || self.wire.see_input_head(head, &mut self.events);
                    if !self.dropping_input {
                        self.pipe.lock().input.extend_from_slice(&head.encode());
                    }
                    self.part.0 = if head.kind == kind::DATA { head.stream } else { 0 };
                }
                Piece::Payload(bytes) => {
                    if !self.dropping_input {
                        self.pipe.lock().input.extend_from_slice(bytes);
                    }
                    if self.part.0 > 0 {
                        let room = self.config.body_bytes_max.saturating_sub(self.part.1.len());
                        self.part.1.extend_from_slice(&bytes[..bytes.len().min(room)]);
                    }
                }
                Piece::End(head) => {
                    self.part.0 = 0;
                    self.part.1.clear();
                    self.wire.see_input_end(head, self.input.kept(), &mut self.events);
                }
            }
        }
        self.connection_due.raise();
        self.run();
        if self.pipe.lock().input.len() > self.config.output_bytes_max {
            self.close(Some("the client sends without reading".into()));
        }
    }

    /// Appends at most `bytes_max` bytes for the wire to `out`. True: there is more.
    pub fn drain(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        let taken = self.output.len().min(bytes_max);
        out.extend_from_slice(&self.output[..taken]);
        self.output.advance(taken);
        self.connection_due.raise();
        self.run();
        !self.output.is_empty()
    }

    /// The next event.
    pub fn poll(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    /// Answers a request. When its body has not wholly come, `h2` ends the stream with RST_STREAM NO_ERROR after the
    /// answer.
    ///
    /// # Errors
    /// See [`RespondError`].
    pub fn respond(&mut self, stream: u32, answer: &Answer<'_>) -> Result<(), RespondError> {
        let head = answer_head(answer).ok_or(RespondError::Malformed)?;
        let index = *self.by_stream.get(&stream).ok_or(RespondError::Gone)?;
        let Some(mut slot) = self.release(index) else { return Err(RespondError::Gone) };
        let end = answer.body.is_empty() && !answer.empty_tail;
        let sent = slot.responder.send_response(head, end);
        let mut sender = sent.map_err(|_| RespondError::Gone)?;
        if !end {
            let piece_bytes = match answer.data_bytes_max {
                0 => answer.body.len().max(1),
                bytes_max => bytes_max,
            };
            let pieces = answer.body.len().div_ceil(piece_bytes);
            for (index, piece) in answer.body.chunks(piece_bytes).enumerate() {
                let last = index + 1 == pieces && !answer.empty_tail;
                sender.send_data(Bytes::copy_from_slice(piece), last).map_err(|_| RespondError::Gone)?;
            }
            if answer.empty_tail {
                sender.send_data(Bytes::new(), true).map_err(|_| RespondError::Gone)?;
            }
        }
        drop(sender);
        drop(slot);
        self.run();
        Ok(())
    }

    /// Ends a stream with RST_STREAM. False: it was gone.
    pub fn reset(&mut self, stream: u32, code: u32) -> bool {
        let Some(index) = self.by_stream.get(&stream).copied() else { return false };
        if let Some(mut slot) = self.release(index) {
            slot.responder.send_reset(Reason::from(code));
        }
        self.run();
        true
    }

    /// Sends GOAWAY. Later streams are ignored; earlier ones may still be answered. `2^31 - 1` and NO_ERROR begin a
    /// graceful close (RFC 9113 §6.8), a second call with [`ServerPump::last_stream`] completes it. Closing the
    /// transport is the caller's.
    pub fn goaway(&mut self, last_stream: u32, code: u32, debug: &[u8]) {
        let mut payload = Vec::with_capacity(8 + debug.len());
        payload.extend_from_slice(&last_stream.to_be_bytes());
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(debug);
        self.wire.last_allowed = self.wire.last_allowed.min(last_stream);
        self.raw(&frame(kind::GOAWAY, 0, 0, &payload));
    }

    /// The newest stream that the client has opened; 0 before the first.
    pub fn last_stream(&self) -> u32 {
        self.wire.last_stream
    }

    /// Changes SETTINGS_MAX_CONCURRENT_STREAMS. The client is held to it once it has acknowledged.
    pub fn set_streams_max(&mut self, streams_max: u32) {
        self.send_settings(&[(SETTING_MAX_CONCURRENT_STREAMS, streams_max)]);
    }

    /// Sends SETTINGS with these entries (identifier, value).
    pub fn send_settings(&mut self, entries: &[(u16, u32)]) {
        let mut payload = Vec::with_capacity(entries.len() * 6);
        let mut streams_max = None;
        for (id, value) in entries {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
            if *id == SETTING_MAX_CONCURRENT_STREAMS {
                streams_max = Some(*value);
            }
        }
        let sent = SettingsSent { by_h2: false, streams_max };
        self.wire.inserts.push_back((frame(kind::SETTINGS, 0, 0, &payload), Some(sent)));
        self.run();
    }

    /// Gives the client credit on the connection's window, in bytes, whatever the policy.
    pub fn grant(&mut self, bytes: u32) {
        if bytes > 0 {
            self.wire.grant(bytes);
            self.run();
        }
    }

    /// Bytes received that the client has got no credit for.
    pub fn owed(&self) -> u32 {
        self.wire.owed
    }

    /// Sends a PING.
    pub fn ping(&mut self) {
        self.wire.ping_sent = true;
        self.raw(&frame(kind::PING, 0, 0, b"carillon"));
    }

    /// Whether the client's PINGs are answered; they are from the beginning.
    pub fn set_answers_pings(&mut self, answers: bool) {
        self.wire.answers_pings = answers;
    }

    /// Puts bytes on the wire between two frames: frames that `h2` would never send, or no frames at all.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.wire.inserts.push_back((bytes.to_vec(), None));
        self.run();
    }

    /// Requests without an answer.
    pub fn streams_open(&self) -> usize {
        self.by_stream.len()
    }

    /// Whether the client has acknowledged all of our SETTINGS.
    pub fn is_acknowledged(&self) -> bool {
        self.wire.unacknowledged.is_empty() && self.wire.settings_written
    }

    /// The transport is gone.
    pub fn closed(&mut self) {
        self.pipe.lock().eof = true;
        self.connection_due.raise();
        self.run();
        self.close(None);
    }

    fn run(&mut self) {
        loop {
            let mut idle = true;
            if self.connection_due.take() {
                idle = false;
                self.poll_connection();
            }
            idle &= !self.poll_slots();
            if self.output.len() < self.config.output_bytes_max {
                let mut buffers = self.pipe.lock();
                let written = buffers.output.split();
                if std::mem::take(&mut buffers.blocked) {
                    self.connection_due.raise();
                    idle = false;
                }
                drop(buffers);
                self.wire.write(&written, &mut self.output);
            }
            if idle {
                return;
            }
        }
    }

    fn poll_connection(&mut self) {
        let waker = Waker::from(Arc::clone(&self.connection_due));
        let mut cx = Context::from_waker(&waker);
        if let Stage::Handshaking(handshake) = &mut self.stage {
            match Pin::new(handshake).poll(&mut cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(connection)) => self.stage = Stage::Open(connection),
                Poll::Ready(Err(error)) => return self.close(Some(words(&error))),
            }
        }
        while let Stage::Open(connection) = &mut self.stage {
            match connection.poll_accept(&mut cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok((request, responder)))) => self.accept(request, responder),
                Poll::Ready(Some(Err(error))) => self.close(Some(words(&error))),
                Poll::Ready(None) => self.close(None),
            }
        }
    }

    fn accept(&mut self, request: http::Request<RecvStream>, mut responder: SendResponse<Bytes>) {
        let stream = responder.stream_id().as_u32();
        let limit = self.wire.streams_max();
        let ignored = stream > self.wire.last_allowed;
        if self.by_stream.len() >= limit as usize {
            // Streams that the client has reset before it opened this one.
            self.poll_slots();
        }
        if !ignored && self.by_stream.len() >= limit as usize {
            responder.send_reset(Reason::REFUSED_STREAM);
            let violation = Violation::TooManyStreams { stream, limit };
            self.events.push_back(ServerEvent::Violation(violation));
            return;
        }
        let (head, content) = request.into_parts();
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < SLOTS_MAX => {
                self.slots.push(None);
                self.slots.len() - 1
            }
            None => return responder.send_reset(Reason::REFUSED_STREAM),
        };
        let request = Box::new(Request { stream, head, body: Vec::new(), whole: true });
        let state = if ignored { State::Ignoring(request) } else { State::Reading(request) };
        self.slots[index] = Some(Slot { stream, content, responder, state });
        if !ignored {
            self.by_stream.insert(stream, index);
        }
        self.ready.raise(index);
    }

    /// True if there was one to be polled.
    fn poll_slots(&mut self) -> bool {
        let mut any = false;
        while let Some(index) = self.ready.take() {
            any = true;
            self.poll_slot(index);
        }
        any
    }

    fn poll_slot(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else { return };
        let waker = self.ready.waker(index);
        let mut cx = Context::from_waker(&waker);
        loop {
            match slot.content.poll_data(&mut cx) {
                Poll::Ready(Some(Ok(part))) => {
                    let _ = slot.content.flow_control().release_capacity(part.len());
                    self.events.extend(slot.take_part(&part, self.config.body_bytes_max));
                }
                Poll::Ready(Some(Err(error))) => return self.cancelled(index, &error),
                Poll::Pending if !slot.content.is_end_stream() => return,
                Poll::Pending | Poll::Ready(None) => break,
            }
        }
        self.events.extend(slot.take_request());
        match slot.responder.poll_reset(&mut cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(reason)) => self.cancelled(index, &reason.into()),
            Poll::Ready(Err(error)) => self.cancelled(index, &error),
        }
    }

    fn cancelled(&mut self, index: usize, error: &h2::Error) {
        let Some(mut slot) = self.release(index) else { return };
        self.events.extend(slot.break_off(&self.part));
        let code = error.reason().map_or(code::INTERNAL_ERROR, u32::from);
        if slot.stream <= self.wire.last_allowed {
            self.events.push_back(ServerEvent::Cancelled { stream: slot.stream, code });
        }
    }

    fn release(&mut self, index: usize) -> Option<Slot> {
        let slot = self.slots[index].take()?;
        self.by_stream.remove(&slot.stream);
        self.free.push(index);
        Some(slot)
    }

    fn close(&mut self, error: Option<Box<str>>) {
        if matches!(self.stage, Stage::Closed) {
            return;
        }
        self.stage = Stage::Closed;
        for slot in self.slots.iter_mut().flatten() {
            self.events.extend(slot.break_off(&self.part));
        }
        self.slots.clear();
        self.free.clear();
        self.by_stream.clear();
        self.events.push_back(ServerEvent::Closed { error });
    }
}

fn builder(config: &ServerConfig) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(config.stream_window_bytes)
        // Larger than any client can use: the wire's own account is the one that counts.
        .initial_connection_window_size((1 << 31) - 1)
        .max_header_list_size(config.header_list_bytes_max)
        .reset_stream_duration(Duration::from_secs(u64::from(u32::MAX)))
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(None);
    if let Some(bytes) = config.header_table_bytes {
        builder.header_table_size(bytes);
    }
    builder
}

fn answer_head(answer: &Answer<'_>) -> Option<http::Response<()>> {
    let mut head = http::Response::builder().status(answer.status).version(http::Version::HTTP_2);
    for (name, value) in answer.headers {
        head = head.header(*name, *value);
    }
    head.body(()).ok()
}

/// Streams of one connection that a simulated server keeps at once, with those that it ignores.
const SLOTS_MAX: usize = 4_096;

/// Streams that were reset and about which late frames are swallowed.
const RESET_STREAMS_MAX: usize = 4_096;
