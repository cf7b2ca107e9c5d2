//! Puts a sans-IO peer behind a listening socket with TLS.
//!
//! Edge-triggered: a socket is read and written until it says WouldBlock. What a peer has to say is gathered: all of a
//! drain goes through TLS at once and out with as few writes as the socket allows.

use std::io::{self, BufRead, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use carillon_core::time::{Span, Time};
use carillon_engine::Clock;
use carillon_harness::peer::{Close, Hello, Output, Peer, PeerConn};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustls::{ServerConfig, ServerConnection};

/// A peer and its connections.
pub(crate) struct Server<P> {
    /// The peer itself.
    pub(crate) peer: P,
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    /// Token of the listener; those of connections follow.
    base: usize,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    serial: u64,
    /// Connections with something to read. Each at most once.
    readable: Vec<usize>,
    scratch: Box<[u8]>,
    out: Vec<u8>,
    /// Closed by us, waiting for the other side to see it.
    lingering: Vec<(Time, usize, u64)>,
}

struct Conn {
    serial: u64,
    socket: TcpStream,
    tls: ServerConnection,
    /// The peer knows of it.
    accepted: bool,
    in_readable: bool,
    /// The socket took all that we had: no writable event is awaited.
    unblocked: bool,
    closing: bool,
}

/// How a connection goes on after it was served.
enum Next {
    Keep,
    ReadMore,
    Gone,
    Reset,
}

impl<P: Peer> Server<P> {
    /// Listens on a free loopback port. Tokens from `base` on belong to this server, up to the next one's base.
    pub(crate) fn listen(
        peer: P,
        tls: Arc<ServerConfig>,
        base: usize,
        registry: &Registry,
    ) -> io::Result<Server<P>> {
        let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
        registry.register(&mut listener, Token(base), Interest::READABLE)?;
        Ok(Server {
            peer,
            listener,
            tls,
            base,
            conns: Vec::new(),
            free: Vec::new(),
            serial: 0,
            readable: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES].into(),
            out: Vec::with_capacity(DRAIN_BYTES_MAX),
            lingering: Vec::new(),
        })
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Whether an event with this token is for this server.
    pub(crate) fn owns(&self, token: Token) -> bool {
        (self.base..self.base + TOKENS_PER_SERVER).contains(&token.0)
    }

    /// Takes an event. What is readable is read by [`Server::read`].
    pub(crate) fn on_event(&mut self, clock: &Clock, event: &Event, registry: &Registry) {
        let Some(slot) = event.token().0.checked_sub(self.base + 1) else {
            self.accept(registry);
            return;
        };
        let Some(conn) = self.conns.get_mut(slot).and_then(Option::as_mut) else { return };
        if (event.is_readable() || event.is_error()) && !std::mem::replace(&mut conn.in_readable, true) {
            self.readable.push(slot);
        }
        if event.is_writable() && !conn.unblocked {
            self.flush(clock, slot);
        }
    }

    /// Reads what is there, a bounded amount of each connection. True: there is more.
    pub(crate) fn read(&mut self, clock: &Clock) -> bool {
        for slot in std::mem::take(&mut self.readable) {
            match self.read_one(clock, slot) {
                Next::Keep => {
                    if let Some(conn) = self.conns[slot].as_mut() {
                        conn.in_readable = false;
                    }
                }
                Next::ReadMore => self.readable.push(slot),
                Next::Gone => self.remove(clock, slot, true),
                Next::Reset => self.remove(clock, slot, true),
            }
            // Handshakes and alerts of TLS.
            self.write_tls(clock, slot);
        }
        !self.readable.is_empty()
    }

    /// Writes what the peer has to say.
    pub(crate) fn write(&mut self, clock: &Clock) {
        while let Some(conn) = self.peer.poll_ready() {
            let slot = (conn.0 & SLOT_MASK) as usize;
            let current = self.conns.get(slot).and_then(Option::as_ref);
            if current.is_some_and(|found| found.name(slot) == conn && found.unblocked && !found.closing) {
                self.flush(clock, slot);
            }
        }
    }

    /// Does what time alone brings.
    pub(crate) fn tick(&mut self, clock: &Clock) {
        let now = clock.now();
        if self.peer.next_deadline().is_some_and(|at| at <= now.time) {
            self.peer.tick(now);
        }
        if self.lingering.first().is_some_and(|(at, ..)| *at <= now.time) {
            for (at, slot, serial) in std::mem::take(&mut self.lingering) {
                let same = self.conns[slot].as_ref().is_some_and(|conn| conn.serial == serial);
                if same && at <= now.time {
                    self.remove(clock, slot, false);
                } else if same {
                    self.lingering.push((at, slot, serial));
                }
            }
        }
    }

    /// When [`Server::tick`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.peer.next_deadline().into_iter().chain(self.lingering.first().map(|(at, ..)| *at)).min()
    }

    fn accept(&mut self, registry: &Registry) {
        loop {
            let (mut socket, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A client that was gone again before we looked.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    eprintln!("loadgen peers: cannot accept a connection: {error}");
                    return;
                }
            };
            let slot = self.free.pop().unwrap_or(self.conns.len());
            let tls = match ServerConnection::new(Arc::clone(&self.tls)) {
                Ok(mut tls) => {
                    tls.set_buffer_limit(None);
                    tls
                }
                Err(error) => {
                    eprintln!("loadgen peers: TLS: {error}");
                    return;
                }
            };
            // Both fail only for a socket that is gone already; reading will tell.
            let _ = socket.set_nodelay(true);
            let interest = Interest::READABLE | Interest::WRITABLE;
            let _ = registry.register(&mut socket, Token(self.base + 1 + slot), interest);
            self.serial += 1;
            let conn = Conn {
                serial: self.serial,
                socket,
                tls,
                accepted: false,
                in_readable: false,
                unblocked: true,
                closing: false,
            };
            if slot == self.conns.len() {
                self.conns.push(Some(conn));
            } else {
                self.conns[slot] = Some(conn);
            }
        }
    }

    fn read_one(&mut self, clock: &Clock, slot: usize) -> Next {
        let Some(conn) = self.conns[slot].as_mut() else { return Next::Keep };
        let name = conn.name(slot);
        for _ in 0..READS_PER_TURN {
            let mut bytes = match conn.socket.read(&mut self.scratch) {
                Ok(0) => return Next::Gone,
                Ok(len) => &self.scratch[..len],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Keep,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Next::Reset,
            };
            if conn.closing {
                continue;
            }
            while !bytes.is_empty() {
                let (Ok(_), Ok(state)) = (conn.tls.read_tls(&mut bytes), conn.tls.process_new_packets())
                else {
                    let _ = conn.tls.write_tls(&mut conn.socket);
                    return Next::Reset;
                };
                if !conn.accepted && !conn.tls.is_handshaking() {
                    conn.accepted = true;
                    let client =
                        conn.socket.peer_addr().map_or_else(|_| String::new(), |at| at.ip().to_string());
                    let hello = Hello {
                        client,
                        sni: conn.tls.server_name().map(str::to_owned),
                        alpn: conn.tls.alpn_protocol().map(<[u8]>::to_vec),
                        certificate: None,
                    };
                    self.peer.accepted(clock.now(), name, hello);
                }
                let mut reader = conn.tls.reader();
                while let Ok(plain) = reader.fill_buf()
                    && !plain.is_empty()
                {
                    let len = plain.len();
                    self.peer.received(clock.now(), name, plain);
                    reader.consume(len);
                }
                if state.peer_has_closed() {
                    return Next::Gone;
                }
            }
        }
        Next::ReadMore
    }

    /// Asks the peer for bytes and writes them, until there are none or the socket is full.
    fn flush(&mut self, clock: &Clock, slot: usize) {
        loop {
            if !self.write_tls(clock, slot) {
                return;
            }
            let Some(conn) = self.conns[slot].as_mut().filter(|conn| conn.accepted && !conn.closing) else {
                return;
            };
            self.out.clear();
            let now = clock.now();
            let Output { more, close } =
                self.peer.drain(now, conn.name(slot), &mut self.out, DRAIN_BYTES_MAX);
            if close == Some(Close::Reset) {
                // RST: the kernel drops what it has not sent yet.
                let _ = socket2::SockRef::from(&conn.socket).set_linger(Some(Duration::ZERO));
                self.remove(clock, slot, false);
                return;
            }
            let _ = conn.tls.writer().write_all(&self.out);
            if close == Some(Close::Orderly) {
                conn.tls.send_close_notify();
                conn.closing = true;
                self.lingering.push((now.time + LINGER, slot, conn.serial));
            } else if self.out.is_empty() && !more {
                return;
            }
        }
    }

    /// Writes what TLS has. False: the socket is full, or the connection is gone.
    fn write_tls(&mut self, clock: &Clock, slot: usize) -> bool {
        let Some(conn) = self.conns.get_mut(slot).and_then(Option::as_mut) else { return false };
        while conn.tls.wants_write() {
            match conn.tls.write_tls(&mut conn.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    conn.unblocked = false;
                    return false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.remove(clock, slot, true);
                    return false;
                }
            }
        }
        conn.unblocked = true;
        if conn.closing {
            let _ = conn.socket.shutdown(Shutdown::Write);
        }
        true
    }

    /// Drops a connection; closing the socket takes it out of the poll. `tell`: the peer did not ask for it.
    fn remove(&mut self, clock: &Clock, slot: usize, tell: bool) {
        let Some(conn) = self.conns[slot].take() else { return };
        self.free.push(slot);
        if tell && conn.accepted && !conn.closing {
            self.peer.closed(clock.now(), conn.name(slot));
        }
    }
}

impl Conn {
    fn name(&self, slot: usize) -> PeerConn {
        PeerConn(self.serial << SLOT_BITS | slot as u64)
    }
}

/// Tokens that each server has: more connections than a process may have sockets.
pub(crate) const TOKENS_PER_SERVER: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 24;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
/// One read. Four TLS records.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Reads of one connection before the others have their turn.
const READS_PER_TURN: usize = 4;
/// Bytes asked of a peer at once.
const DRAIN_BYTES_MAX: usize = 128 * 1024;
/// How long a closed connection may take to see it.
const LINGER: Span = Span::from_secs(2);

#[cfg(test)]
mod tests;
