//! The client's role.

mod slot;
mod types;
mod wire;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong, Reason};
use hashbrown::HashMap;

pub use self::types::{ClientConfig, ClientEvent, Failure, Flight, OpenError, Response};

use self::slot::{Slot, State};
use self::wire::Wire;
use super::pipe::Pipe;
use super::wake::{Flag, ReadySet};
use super::words::words;

/// An HTTP/2 client connection that is fed, drained and polled.
#[derive(Debug)]
pub struct ClientPump<T> {
    pipe: Pipe,
    connection: Option<Connection<Pipe, Bytes>>,
    requests: Option<SendRequest<Bytes>>,
    pings: Option<PingPong>,
    connection_due: Arc<Flag>,
    pong_due: Arc<Flag>,
    ping_sent: bool,
    ready: ReadySet,
    slots: Vec<Option<Slot<T>>>,
    free: Vec<usize>,
    by_stream: HashMap<u32, usize>,
    wire: Wire,
    events: VecDeque<ClientEvent<T>>,
    config: ClientConfig,
}

impl<T: Copy> ClientPump<T> {
    /// A connection whose TLS handshake is done. The preface and our SETTINGS wait to be drained.
    pub fn new(config: ClientConfig) -> ClientPump<T> {
        let pipe = Pipe::new(config.output_bytes_max);
        let handshake = builder(&config).handshake::<_, Bytes>(pipe.clone());
        // All that the handshake waits for is room for the preface, and the pipe has it.
        let done = pin!(handshake).poll(&mut Context::from_waker(Waker::noop()));
        let (requests, mut connection) = match done {
            Poll::Ready(Ok((requests, connection))) => (Some(requests), Some(connection)),
            Poll::Ready(Err(_)) | Poll::Pending => (None, None),
        };
        let mut events = VecDeque::new();
        if connection.is_none() {
            events.push_back(ClientEvent::Closed { error: Some("no room for the preface".into()) });
        }
        let pings = connection.as_mut().and_then(Connection::ping_pong);
        let mut pump = ClientPump {
            pipe,
            connection,
            requests,
            pings,
            connection_due: Arc::default(),
            pong_due: Arc::default(),
            ping_sent: false,
            ready: ReadySet::new(config.streams_max),
            slots: Vec::new(),
            free: Vec::new(),
            by_stream: HashMap::new(),
            wire: Wire::new(),
            events,
            config,
        };
        pump.connection_due.raise();
        pump.run();
        pump
    }

    /// Takes bytes from the wire, cut anywhere.
    pub fn feed(&mut self, data: &[u8]) {
        if self.connection.is_none() {
            return;
        }
        if let Some(event) = self.wire.see_input(data) {
            self.events.push_back(event);
        }
        self.pipe.lock().input.extend_from_slice(data);
        self.connection_due.raise();
        self.run();
        if self.pipe.lock().input.len() > self.config.input_bytes_max {
            self.close(Some("the peer sends without reading".into()));
        }
    }

    /// Appends at most `bytes_max` bytes for the wire to `out`. True: there is more.
    pub fn drain(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        let was_blocked = {
            let mut buffers = self.pipe.lock();
            let taken = buffers.output.len().min(bytes_max);
            out.extend_from_slice(&buffers.output[..taken]);
            buffers.output.advance(taken);
            self.wire.drained += taken as u64;
            self.wire.scanned_at -= taken;
            std::mem::take(&mut buffers.blocked)
        };
        while let Some((position, stream)) = self.wire.ends.front().copied()
            && position <= self.wire.drained
        {
            self.wire.ends.pop_front();
            if let Some(slot) = self.slot_of(stream) {
                slot.left = true;
            }
        }
        if was_blocked {
            self.connection_due.raise();
            self.run();
        }
        !self.pipe.lock().output.is_empty()
    }

    /// Sends a request with its whole body. It is buffered at once and leaves through [`ClientPump::drain`].
    pub fn open(&mut self, head: http::Request<()>, body: Bytes, tag: T) -> Result<u32, OpenError> {
        if self.in_flight() >= self.streams_max() {
            return Err(OpenError::Streams);
        }
        if (body.len() as i64) > self.send_window() {
            return Err(OpenError::Window);
        }
        if self.wire.last_stream.is_some() {
            return Err(OpenError::Closed);
        }
        let requests = self.requests.as_mut().ok_or(OpenError::Closed)?;
        let unsent = body.len();
        let sent = requests.send_request(head, body.is_empty());
        let (response, mut sender) = sent.map_err(|_| OpenError::Malformed)?;
        let stream = response.stream_id().as_u32();
        if !body.is_empty() {
            sender.send_data(body, true).map_err(|_| OpenError::Closed)?;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let state = State::Waiting(response);
        self.slots[index] = Some(Slot { tag, stream, sender, state, unsent, left: false });
        self.by_stream.insert(stream, index);
        self.wire.unsent += unsent;
        self.ready.raise(index);
        self.run();
        Ok(stream)
    }

    /// Gives a request up: RST_STREAM with CANCEL. A late answer is swallowed. `None`: it was settled before.
    pub fn cancel(&mut self, stream: u32) -> Option<Flight<T>> {
        let index = *self.by_stream.get(&stream)?;
        if let Some(slot) = self.slots[index].as_mut() {
            slot.sender.send_reset(Reason::CANCEL);
        }
        let flight = self.release(index);
        self.run();
        flight
    }

    /// The next event.
    pub fn poll(&mut self) -> Option<ClientEvent<T>> {
        self.events.pop_front()
    }

    /// Sends a PING, unless one is still unanswered.
    pub fn ping(&mut self) {
        if let Some(pings) = self.pings.as_mut()
            && !self.ping_sent
            && pings.send_ping(Ping::opaque()).is_ok()
        {
            self.ping_sent = true;
            self.pong_due.raise();
            self.connection_due.raise();
            self.run();
        }
    }

    /// Requests without an answer.
    pub fn in_flight(&self) -> usize {
        self.by_stream.len()
    }

    /// Streams that may be open at once now: the peer's newest SETTINGS, within our own bound.
    pub fn streams_max(&self) -> usize {
        let peer = self.requests.as_ref().map_or(0, SendRequest::current_max_send_streams);
        peer.min(self.config.streams_max)
    }

    /// Bytes of the connection's send window that no request has claimed. Negative after an early answer at worst.
    pub fn send_window(&self) -> i64 {
        self.wire.send_window - self.wire.unsent as i64
    }

    /// Whether the peer's first SETTINGS have arrived.
    pub fn has_settings(&self) -> bool {
        self.wire.settings_seen
    }

    /// Whether so much waits to be drained that `h2` is held back.
    pub fn is_clogged(&self) -> bool {
        self.unsent_bytes() >= self.config.output_bytes_max
    }

    /// Bytes that wait to be drained.
    pub fn unsent_bytes(&self) -> usize {
        self.pipe.lock().output.len()
    }

    /// Whether this request has no answer yet.
    pub fn is_waiting(&self, stream: u32) -> bool {
        self.by_stream.contains_key(&stream)
    }

    /// Nothing more will be sent: says GOAWAY once nothing is open, then [`ClientEvent::Closed`].
    pub fn finish(&mut self) {
        self.requests = None;
        self.connection_due.raise();
        self.run();
    }

    /// The transport is gone. Every open request fails; [`ClientEvent::Closed`] is the last event.
    pub fn closed(&mut self) {
        if self.connection.is_some() {
            // Bytes that came before the end may still hold answers; then h2 sees the end.
            self.pipe.lock().eof = true;
            self.connection_due.raise();
            self.run();
        }
        self.close(None);
    }

    /// Polls whatever has its bit set until nothing has.
    fn run(&mut self) {
        loop {
            let mut idle = true;
            if self.connection_due.take() {
                idle = false;
                self.poll_connection();
            }
            while let Some(index) = self.ready.take() {
                idle = false;
                self.poll_slot(index);
            }
            if self.ping_sent && self.pong_due.take() {
                idle = false;
                self.poll_pong();
            }
            if idle {
                return;
            }
        }
    }

    fn poll_connection(&mut self) {
        let Some(connection) = self.connection.as_mut() else { return };
        let waker = Waker::from(Arc::clone(&self.connection_due));
        let done = Pin::new(connection).poll(&mut Context::from_waker(&waker));
        {
            let buffers = self.pipe.lock();
            self.wire.see_output(&buffers.output, &mut self.slots, &self.by_stream);
        }
        match done {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.close(None),
            Poll::Ready(Err(error)) => self.close(Some(words(&error))),
        }
    }

    fn poll_slot(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else { return };
        let waker = self.ready.waker(index);
        let mut cx = Context::from_waker(&waker);
        let Poll::Ready(done) = slot.poll(&mut cx, self.config.answer_bytes_max) else { return };
        let Some(flight) = self.release(index) else { return };
        self.events.push_back(match done {
            Ok(response) => ClientEvent::Answered { flight, response },
            Err(error) => ClientEvent::Failed { flight, failure: self.wire.failure(flight.stream, &error) },
        });
    }

    fn poll_pong(&mut self) {
        let Some(pings) = self.pings.as_mut() else { return };
        let waker = Waker::from(Arc::clone(&self.pong_due));
        match pings.poll_pong(&mut Context::from_waker(&waker)) {
            Poll::Pending => {}
            Poll::Ready(Ok(_)) => {
                self.ping_sent = false;
                self.events.push_back(ClientEvent::Pong);
            }
            // The connection says why.
            Poll::Ready(Err(_)) => self.ping_sent = false,
        }
    }

    /// Fails what is open and says so, once.
    fn close(&mut self, error: Option<Box<str>>) {
        if self.connection.take().is_none() {
            return;
        }
        self.requests = None;
        self.pings = None;
        // Answers that h2 had already taken in come first.
        while let Some(index) = self.ready.take() {
            self.poll_slot(index);
        }
        for index in 0..self.slots.len() {
            if let Some(flight) = self.release(index) {
                let failure = self.wire.lost(flight.stream);
                self.events.push_back(ClientEvent::Failed { flight, failure });
            }
        }
        self.events.push_back(ClientEvent::Closed { error });
    }

    fn slot_of(&mut self, stream: u32) -> Option<&mut Slot<T>> {
        self.slots[*self.by_stream.get(&stream)?].as_mut()
    }

    fn release(&mut self, index: usize) -> Option<Flight<T>> {
        let slot = self.slots[index].take()?;
        self.by_stream.remove(&slot.stream);
        self.free.push(index);
        // What h2 had not framed yet, it frames no more.
        self.wire.unsent -= slot.unsent;
        Some(Flight { tag: slot.tag, stream: slot.stream, left: slot.left })
    }
}

fn builder(config: &ClientConfig) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_max_send_streams(config.initial_streams_max)
        // h2 reads a clock for streams that were reset; a time that never comes makes it of no effect.
        .reset_stream_duration(Duration::from_secs(u64::from(u32::MAX)))
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        // Late answers to requests given up are not the peer's fault.
        .max_local_error_reset_streams(None)
        .enable_push(false)
        .initial_window_size(ANSWER_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_ANSWER_WINDOW_BYTES)
        .max_header_list_size(ANSWER_HEADER_LIST_BYTES_MAX);
    builder
}

/// Requests given up whose late answers are swallowed; later ones are reset one by one.
const RESET_STREAMS_MAX: usize = 1_024;

/// Window for one answer. Answers are below 200 bytes; a giant one is cut off long before.
const ANSWER_WINDOW_BYTES: u32 = 65_535;

/// Window for all answers together: never the bottleneck.
const CONNECTION_ANSWER_WINDOW_BYTES: u32 = 1 << 20;

/// Decoded size of an answer's header fields.
const ANSWER_HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
