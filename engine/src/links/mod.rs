//! All connections of a shard: who waits to connect, who is connected, who may be read, who is to be written.

mod connecting;

use std::collections::VecDeque;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

use carillon_core::arena::{Arena, Id};
use carillon_core::limits::OUTPUT_BYTES_MAX;
use carillon_core::shard::{CloseReason, ConnId, EndpointId, Input};
use carillon_core::time::{Span, Time};
use mio::Registry;
use mio::net::TcpStream;

use crate::link::{Arrival, ReadEnd, Wire, io_reason};
use crate::mailbox::Mailbox;
use crate::resolve::Resolver;
use crate::stats::ShellStats;
use crate::tls::Target;

/// The connections of one shard.
#[derive(Debug)]
pub(crate) struct Links {
    registry: Registry,
    targets: Vec<Target>,
    resolver: Resolver,
    mailbox: Arc<Mailbox>,
    connect_timeout: Span,
    links: Arena<Link>,
    /// The link of each of the core's connections, by the connection's index.
    by_conn: Vec<Option<Id<Link>>>,
    /// By endpoint: connects that wait for their turn. May name links that are gone.
    waiting: Vec<VecDeque<Id<Link>>>,
    /// Connects under way, from look-up to the end of the handshake; at most
    /// [`carillon_core::limits::CONNECTS_IN_FLIGHT_MAX`], of which each endpoint has its share.
    connecting: Vec<Id<Link>>,
    /// By endpoint: how its name is being looked up.
    lookups: Vec<Lookups>,
    /// By endpoint: the address that last took a connection and then failed to shake hands. It is tried after the others.
    avoided: Vec<Option<SocketAddr>>,
    /// Links with an event, or with more to read than one turn allows. Each at most once.
    ready: Vec<Id<Link>>,
    /// Links with something to write. Each at most once.
    unflushed: Vec<Id<Link>>,
    /// Links that the core closed in this turn.
    unclosed: Vec<Id<Link>>,
    /// Closing links, in order of their deadlines. May name links that are gone.
    lingering: VecDeque<(Time, Id<Link>)>,
    /// Connections whose bytes are all written, and whose core was not told yet.
    rooms: Vec<ConnId>,
    /// An empty list whose memory is used again.
    spare: Vec<Id<Link>>,
    read_buffer: Box<[u8]>,
    write_buffer: Vec<u8>,
    pub(crate) stats: ShellStats,
}

#[derive(Debug)]
struct Link {
    conn: ConnId,
    endpoint: EndpointId,
    stage: Stage,
    /// When the connect is given up.
    deadline: Time,
    /// Not read to WouldBlock since the last event.
    readable: bool,
    in_ready: bool,
    in_unflushed: bool,
    /// The core may have bytes.
    undrained: bool,
    /// Bytes of the core were taken since it was last told of room.
    owes_room: bool,
    /// Writing failed: read what is left, then close.
    doomed: Option<CloseReason>,
    /// The core is done with it: what waits is written, nothing more is read.
    closing: bool,
    /// The core has forgotten it, and is told nothing more of it.
    forgotten: bool,
    /// The peer sends no more.
    peer_done: bool,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    Resolving,
    Connecting {
        /// One for each address that is being tried; the first that comes through is taken.
        attempts: Vec<(SocketAddr, TcpStream)>,
        /// When the next address is tried beside them.
        next: Time,
        /// Addresses not tried yet, in reverse order.
        others: Vec<SocketAddr>,
    },
    Wired(Box<Wire>),
}

/// Look-ups of one name.
#[derive(Clone, Copy, Debug, Default)]
struct Lookups {
    /// When the last one began.
    begun: Time,
    /// How many have not been answered; at most [`LOOKUPS_MAX`].
    running: usize,
}

impl Links {
    pub(crate) fn new(
        registry: Registry,
        targets: Vec<Target>,
        resolver: Resolver,
        mailbox: Arc<Mailbox>,
        connect_timeout: Span,
        read_bytes_per_turn: usize,
    ) -> Links {
        Links {
            registry,
            lookups: vec![Lookups::default(); targets.len()],
            avoided: vec![None; targets.len()],
            waiting: vec![VecDeque::new(); targets.len()],
            targets,
            resolver,
            mailbox,
            connect_timeout,
            links: Arena::new(),
            by_conn: Vec::new(),
            connecting: Vec::new(),
            ready: Vec::new(),
            unflushed: Vec::new(),
            unclosed: Vec::new(),
            lingering: VecDeque::new(),
            rooms: Vec::new(),
            spare: Vec::new(),
            read_buffer: vec![0; read_bytes_per_turn].into(),
            write_buffer: Vec::new(),
            stats: ShellStats::default(),
        }
    }

    /// Whether there is work that no event will announce.
    pub(crate) fn has_work(&self) -> bool {
        self.next_to_connect().is_some()
            || !self.ready.is_empty()
            || !self.unflushed.is_empty()
            || !self.rooms.is_empty()
    }

    pub(crate) fn none_left(&self) -> bool {
        self.links.is_empty()
    }

    /// Takes note of an event. Nothing is done yet: events may be spurious, and their flags but hints.
    pub(crate) fn on_event(&mut self, event: &mio::event::Event) {
        let id = Id::from_bits(event.token().0 as u64);
        // An event of a link that was closed in the meantime finds no row.
        let Some(link) = self.links.get_mut(id) else { return };
        // "Readiness operations": an error or close is always announced as readable or writable, too.
        if event.is_readable() || event.is_error() {
            link.readable = true;
        }
        list(&mut self.ready, &mut link.in_ready, id);
        // Once our FIN is out, a socket is writable for ever, and says so at each change.
        if event.is_writable() && matches!(&link.stage, Stage::Wired(wire) if !wire.is_finished()) {
            list(&mut self.unflushed, &mut link.in_unflushed, id);
        }
    }

    /// The core wants a connection. It waits for its turn.
    pub(crate) fn open(&mut self, conn: ConnId, endpoint: EndpointId) {
        let id = self.links.insert(Link {
            conn,
            endpoint,
            stage: Stage::Waiting,
            deadline: Time::NEVER,
            readable: false,
            in_ready: false,
            in_unflushed: false,
            undrained: false,
            owes_room: false,
            doomed: None,
            closing: false,
            forgotten: false,
            peer_done: false,
        });
        let index = conn.index() as usize;
        if self.by_conn.len() <= index {
            self.by_conn.resize(index + 1, None);
        }
        self.by_conn[index] = Some(id);
        self.waiting[usize::from(endpoint.0)].push_back(id);
    }

    /// The core has bytes for a connection: [`Links::flush`] will ask for them.
    pub(crate) fn wants_flush(&mut self, conn: ConnId) {
        if let Some(id) = self.find(conn)
            && let Some(link) = self.links.get_mut(id)
        {
            link.undrained = true;
            list(&mut self.unflushed, &mut link.in_unflushed, id);
        }
    }

    /// The core is done with a connection: [`Links::flush`] writes what it still gave, then says good-bye.
    pub(crate) fn wants_close(&mut self, conn: ConnId) {
        if let Some(id) = self.find(conn) {
            self.forget(id);
            self.unclosed.push(id);
        }
    }

    /// Goes on with every link that had an event or was not read to the end.
    pub(crate) fn progress(&mut self, now: Time, feed: &mut impl FnMut(Input<'_>)) {
        let mut batch = mem::replace(&mut self.ready, mem::take(&mut self.spare));
        for id in batch.drain(..) {
            let Some(link) = self.links.get_mut(id) else { continue };
            link.in_ready = false;
            match &mut link.stage {
                Stage::Waiting | Stage::Resolving => {}
                Stage::Connecting { .. } => self.check_connect(id, now, feed),
                Stage::Wired(_) if link.closing => self.discard(id),
                Stage::Wired(_) => self.read(id, feed),
            }
        }
        self.spare = batch;
    }

    /// Writes what waits. `drain` is [`carillon_core::shard::ShardCore::drain`].
    pub(crate) fn flush(&mut self, now: Time, drain: &mut impl FnMut(ConnId, &mut Vec<u8>, usize) -> bool) {
        let mut batch = mem::replace(&mut self.unflushed, mem::take(&mut self.spare));
        for id in batch.drain(..) {
            self.flush_link(id, drain);
        }
        self.spare = batch;
        while let Some(id) = self.unclosed.pop() {
            self.close(id, now);
            self.flush_link(id, drain);
        }
    }

    /// Moves the connections whose bytes were all written into `rooms`, which is empty.
    pub(crate) fn take_rooms(&mut self, rooms: &mut Vec<ConnId>) {
        mem::swap(&mut self.rooms, rooms);
    }

    pub(crate) fn has_rooms(&self) -> bool {
        !self.rooms.is_empty()
    }

    /// Closes all links at the next [`Links::flush`]; the core is not asked any more.
    pub(crate) fn close_all(&mut self) {
        self.unclosed.extend(self.links.iter().map(|(id, _)| id));
    }

    /// Brings the gauges up to date.
    pub(crate) fn count(&mut self) {
        self.stats.connects_in_flight = self.connecting.len() as u64;
        self.stats.connects_waiting = self.waiting.iter().map(VecDeque::len).sum::<usize>() as u64;
    }

    fn find(&self, conn: ConnId) -> Option<Id<Link>> {
        let id = (*self.by_conn.get(conn.index() as usize)?)?;
        // Another connection may have the place by now.
        (self.links.get(id)?.conn == conn).then_some(id)
    }

    fn read(&mut self, id: Id<Link>, feed: &mut impl FnMut(Input<'_>)) {
        let Some(link) = self.links.get_mut(id) else { return };
        let Stage::Wired(wire) = &mut link.stage else { return };
        if !link.readable {
            return;
        }
        let conn = link.conn;
        let was_open = wire.is_open();
        let target = &self.targets[usize::from(link.endpoint.0)];
        let end =
            wire.read(target, &mut self.read_buffer, &mut self.stats.bytes_read, |arrival| match arrival {
                Arrival::Opened => feed(Input::Opened { conn }),
                Arrival::Bytes(data) => feed(Input::Bytes { conn, data }),
            });
        self.stats.socket_calls += wire.take_calls();
        if wire.is_open() && !was_open {
            self.connecting.retain(|other| *other != id);
            self.stats.links_open += 1;
        }
        // The handshake's next message, or an answer to a key update; with the handshake's end, what the core has.
        if wire.wants_write() || link.undrained {
            list(&mut self.unflushed, &mut link.in_unflushed, id);
        }
        match end {
            ReadEnd::WouldBlock => {
                link.readable = false;
                if let Some(reason) = link.doomed.take() {
                    self.ended(id, reason, feed);
                }
            }
            ReadEnd::Budget => list(&mut self.ready, &mut link.in_ready, id),
            ReadEnd::Closed(CloseReason::Eof) if link.doomed.is_none() => {
                link.peer_done = true;
                link.undrained = false;
                self.forget(id);
                self.unclosed.push(id);
                feed(Input::Closed { conn, reason: CloseReason::Eof });
            }
            ReadEnd::Closed(reason) => {
                let reason = match (link.doomed.take(), reason) {
                    // What TLS says, an alert above all, is why the peer has closed.
                    (_, said @ (CloseReason::Tls(_) | CloseReason::Untrusted(_))) => said,
                    // After a failed write, reading ends with a bare end of file: the write knew better.
                    (Some(doomed), _) => doomed,
                    (None, reason) => reason,
                };
                self.ended(id, reason, feed);
            }
        }
    }

    fn discard(&mut self, id: Id<Link>) {
        let Some(link) = self.links.get_mut(id) else { return };
        let Stage::Wired(wire) = &mut link.stage else { return };
        let end = wire.discard(&mut self.read_buffer);
        self.stats.socket_calls += wire.take_calls();
        match end {
            ReadEnd::WouldBlock => {}
            ReadEnd::Budget => list(&mut self.ready, &mut link.in_ready, id),
            ReadEnd::Closed(_) => self.remove(id),
        }
    }

    fn flush_link(&mut self, id: Id<Link>, drain: &mut impl FnMut(ConnId, &mut Vec<u8>, usize) -> bool) {
        let Some(link) = self.links.get_mut(id) else { return };
        link.in_unflushed = false;
        let Stage::Wired(wire) = &mut link.stage else { return };
        for rounds_left in (0..=FLUSH_ROUNDS).rev() {
            let result = wire.write();
            self.stats.socket_calls += wire.take_calls();
            match result {
                Ok((all, written)) => {
                    self.stats.bytes_written += written as u64;
                    if !all {
                        return;
                    }
                }
                Err(error) => {
                    if link.closing {
                        return self.remove(id);
                    }
                    // The peer may have said why before it closed: read that first.
                    link.doomed = Some(io_reason(&error));
                    link.readable = true;
                    return list(&mut self.ready, &mut link.in_ready, id);
                }
            }
            if link.closing || !wire.is_open() || !link.undrained {
                break;
            }
            if rounds_left == 0 {
                // Others have their turn; no event will come, as the socket is not full.
                return list(&mut self.unflushed, &mut link.in_unflushed, id);
            }
            self.write_buffer.clear();
            link.undrained = drain(link.conn, &mut self.write_buffer, OUTPUT_BYTES_MAX);
            if self.write_buffer.is_empty() {
                link.undrained = false;
                break;
            }
            wire.put(&self.write_buffer);
            link.owes_room = true;
        }
        if link.closing {
            wire.finish();
            self.stats.socket_calls += wire.take_calls();
            if link.peer_done {
                self.remove(id);
            }
        } else if mem::take(&mut link.owes_room) && !link.forgotten {
            self.rooms.push(link.conn);
        }
    }

    /// Says good-bye and lingers a moment; what is not connected yet is dropped.
    fn close(&mut self, id: Id<Link>, now: Time) {
        let Some(link) = self.links.get_mut(id) else { return };
        match &mut link.stage {
            Stage::Wired(wire) if wire.is_open() => {
                if !mem::replace(&mut link.closing, true) {
                    wire.put_close_notify();
                    self.lingering.push_back((now + LINGER, id));
                    // What is still unread was announced already.
                    list(&mut self.ready, &mut link.in_ready, id);
                }
            }
            Stage::Waiting | Stage::Resolving | Stage::Connecting { .. } | Stage::Wired(_) => self.remove(id),
        }
    }

    /// The core knows it no more: its name may go to another link at once.
    fn forget(&mut self, id: Id<Link>) {
        if let Some(link) = self.links.get_mut(id) {
            link.forgotten = true;
            self.by_conn[link.conn.index() as usize] = None;
        }
    }

    /// The connection is over, and there is nobody to say good-bye to.
    fn ended(&mut self, id: Id<Link>, reason: CloseReason, feed: &mut impl FnMut(Input<'_>)) {
        let Some(link) = self.links.get(id) else { return };
        let conn = link.conn;
        if !link.is_open() {
            self.stats.connects_failed += 1;
            if let Stage::Wired(wire) = &link.stage {
                self.avoided[usize::from(link.endpoint.0)] = Some(wire.address);
            }
        }
        self.remove(id);
        feed(Input::Closed { conn, reason });
    }

    fn remove(&mut self, id: Id<Link>) {
        let Some(mut link) = self.links.remove(id) else { return };
        let index = link.conn.index() as usize;
        if self.by_conn[index] == Some(id) {
            self.by_conn[index] = None;
        }
        self.connecting.retain(|other| *other != id);
        if link.is_open() {
            self.stats.links_open -= 1;
        }
        match &mut link.stage {
            Stage::Waiting | Stage::Resolving => {}
            // Fails only for what is not registered; closing the socket takes it out of epoll in any case.
            Stage::Connecting { attempts, .. } => {
                attempts.iter_mut().for_each(|(_, socket)| drop(self.registry.deregister(socket)));
            }
            Stage::Wired(wire) => drop(self.registry.deregister(&mut wire.socket)),
        }
    }
}

impl Link {
    fn is_open(&self) -> bool {
        matches!(&self.stage, Stage::Wired(wire) if wire.is_open())
    }

    fn connect_deadline(&self) -> Time {
        match &self.stage {
            Stage::Connecting { next, .. } => self.deadline.min(*next),
            Stage::Waiting | Stage::Resolving | Stage::Wired(_) => self.deadline,
        }
    }
}

/// Puts a link on a list on which it stands at most once.
fn list(list: &mut Vec<Id<Link>>, listed: &mut bool, id: Id<Link>) {
    if !std::mem::replace(listed, true) {
        list.push(id);
    }
}

/// Look-ups of one name that may be under way in a shard: the one that others wait for, and those that never returned.
pub(crate) const LOOKUPS_MAX: usize = 4;

/// Times that one link may fill the socket in one turn, if the socket takes it: 1 MiB.
const FLUSH_ROUNDS: u32 = 4;

/// How long a closed connection may take to write its rest and to see the peer's end.
const LINGER: Span = Span::from_secs(2);
