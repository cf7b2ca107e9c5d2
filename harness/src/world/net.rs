//! The network: links with delay and fragmentation, and what happens on them.

use std::cmp::Ordering;

use carillon_core::limits::OUTPUT_BYTES_MAX;
use carillon_core::shard::{CloseReason, ConnId, Input};
use carillon_core::time::{Span, Time};

use super::World;
use crate::apns::Arrived;
use crate::peer::{Close, Hello, PeerConn};

/// From one shard's word to the other's turn that hears it.
const SHARD_TO_SHARD: Span = Span(20);

/// Where an endpoint leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerAt {
    /// The Exchange organisation of this index.
    Exchange(usize),
    /// The push service of this index.
    Apns(usize),
}

/// How the network behaves. Each number is a bound below which every single case is drawn.
#[derive(Clone, Debug)]
pub struct Net {
    /// Every message takes at least this long.
    pub delay: Span,
    /// And up to so much more.
    pub jitter: Span,
    /// Messages arrive in pieces of up to so many bytes; `None` leaves them whole.
    pub fragment_bytes_max: Option<u64>,
    /// Each piece of a message arrives up to so much after the one before; the last at most [`SPREAD_MAX`] after the first.
    pub piece_gap_max: Span,
    /// Connects that are refused, in millionths.
    pub refused: u64,
    /// Messages on which the connection breaks instead, in millionths: mostly by a reset, sometimes because TLS or the
    /// socket fails.
    pub resets: u64,
    /// Connects that end with an unknown name, an untrusted certificate or a broken handshake, in millionths.
    pub failed_handshakes: u64,
    /// Messages on which the connection falls silent without closing, in millionths. Two thirds go on after up to
    /// `stall_max`, the others never: the peer gives up after [`GIVES_UP_AFTER`].
    pub stalls: u64,
    /// See `stalls`.
    pub stall_max: Span,
    /// Messages of a peer instead of which its side ends in good order, in millionths. It goes on reading for a while.
    pub half_closes: u64,
    /// Each connection is slower than the others by up to so much: what is said on one overtakes what was said on another.
    pub lag_max: Span,
}

/// So far apart the first and the last piece of a message are at most.
const SPREAD_MAX: Span = Span::from_secs(1);

/// A message is cut in so many pieces at most; then comes the rest.
const PIECES_MAX: usize = 4_096;

/// A peer gives up a connection on which nothing has come through for so long.
const GIVES_UP_AFTER: Span = Span::from_secs(600);

/// A peer whose side has ended goes on reading for up to so long.
const HALF_CLOSED_MAX: Span = Span::from_secs(30);

impl Default for Net {
    fn default() -> Net {
        Net {
            delay: Span(200),
            jitter: Span(100),
            fragment_bytes_max: None,
            piece_gap_max: Span::ZERO,
            refused: 0,
            resets: 0,
            failed_handshakes: 0,
            stalls: 0,
            stall_max: Span::from_secs(60),
            half_closes: 0,
            lag_max: Span::ZERO,
        }
    }
}

/// One connection between a shard and a peer. Its index names it at the peer.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) shard: usize,
    pub(super) conn: ConnId,
    pub(super) peer: PeerAt,
    pub(super) hello: Hello,
    pub(super) index: usize,
    pub(super) accepted: bool,
    /// Nothing on it reaches anybody any more.
    pub(super) dead: bool,
    /// The peer's side has ended, the shard's still carries what is under way.
    pub(super) half_closed: bool,
    /// The shard's process died: its kernel still delivers what was written, and nobody hears an answer.
    orphaned: bool,
    /// It stands still: what arrives meanwhile, in order.
    held: Option<Vec<What>>,
    /// On top of every message's delay.
    lag: Span,
    /// When the last message of each direction arrives: later ones never overtake it.
    pub(super) to_peer_at: Time,
    pub(super) to_shard_at: Time,
    /// When the last of what has arrived at the peer had left the shard.
    left_at: Time,
}

impl Link {
    pub(super) fn peer_conn(&self) -> PeerConn {
        PeerConn(self.index as u64)
    }
}

#[derive(Debug)]
pub(super) struct Event {
    pub(super) at: Time,
    pub(super) order: u64,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Connect(usize),
    ConnectFails(usize, CloseReason),
    /// Bytes, and when they left.
    ToPeer(usize, Vec<u8>, Time),
    ToShard(usize, Vec<u8>),
    PeerHungUp(usize, CloseReason),
    ShardHungUp(usize),
    /// Other shards said something for this one to hear.
    News(usize),
    /// A connection that stood still goes on.
    Resumes(usize),
    /// A peer closes a connection on which nothing comes any more.
    PeerGivesUp(usize),
}

impl What {
    /// On which connection it happens.
    fn link(&self) -> Option<usize> {
        match self {
            What::News(_) => None,
            What::Connect(link)
            | What::ConnectFails(link, _)
            | What::ToPeer(link, ..)
            | What::ToShard(link, _)
            | What::PeerHungUp(link, _)
            | What::ShardHungUp(link)
            | What::Resumes(link)
            | What::PeerGivesUp(link) => Some(*link),
        }
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Event) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    /// The earliest is the greatest: the heap gives the greatest first.
    fn cmp(&self, other: &Event) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl World {
    fn delay(&mut self, lag: Span) -> Span {
        self.net.delay + Span(self.rng.below(self.net.jitter.0 + 1)) + lag
    }

    /// Draws only when there is something to decide, so that a fault that is off does not shift the others.
    fn happens(&mut self, share: u64) -> bool {
        share > 0 && self.rng.chance(share, 1_000_000)
    }

    /// Whoever has something to hear from other shards hears it soon: it goes from thread to thread.
    pub(super) fn ring_for_news(&mut self) {
        let at = self.now.time + SHARD_TO_SHARD;
        let waiting: Vec<u16> = self.accounts.waiting().collect();
        waiting.into_iter().for_each(|shard| self.push(at, What::News(shard.into())));
    }

    /// A shard asks for a connection.
    pub(super) fn connect(&mut self, shard: usize, conn: ConnId, peer: PeerAt, hello: Hello) {
        let index = self.links.len();
        let lag = match self.net.lag_max {
            Span::ZERO => Span::ZERO,
            max => Span(self.rng.below(max.0 + 1)),
        };
        self.links.push(Link {
            shard,
            conn,
            peer,
            hello,
            index,
            accepted: false,
            dead: false,
            half_closed: false,
            orphaned: false,
            held: None,
            lag,
            to_peer_at: Time(0),
            to_shard_at: Time(0),
            left_at: Time(0),
        });
        self.sites[shard].links.insert(conn, index);
        // TCP and TLS take two round trips.
        let at = self.now.time + self.delay(lag) + self.delay(lag) + self.delay(lag) + self.delay(lag);
        let what = if self.rng.chance(self.net.refused, 1_000_000) {
            What::ConnectFails(index, CloseReason::Refused)
        } else if self.happens(self.net.failed_handshakes) {
            What::ConnectFails(index, self.handshake_failure())
        } else {
            What::Connect(index)
        };
        self.push(at, what);
    }

    fn handshake_failure(&mut self) -> CloseReason {
        match self.rng.below(5) {
            0 => CloseReason::Untrusted("unknown issuer".into()),
            1 => CloseReason::Tls("handshake failure".into()),
            2 => CloseReason::NameNotFound("no address for the name".into()),
            3 => CloseReason::ConnectTimeout,
            _ => CloseReason::Io("no route to host".into()),
        }
    }

    /// Bytes of a shard go on their way.
    pub(super) fn send_to_peer(&mut self, index: usize, bytes: Vec<u8>) {
        let at = self.now.time + self.delay(self.links[index].lag);
        let link = &mut self.links[index];
        link.to_peer_at = link.to_peer_at.max(at);
        let (at, left) = (link.to_peer_at, self.now.time);
        let last = self.send_pieces(at, bytes, |piece| What::ToPeer(index, piece, left));
        self.links[index].to_peer_at = last;
    }

    pub(super) fn hang_up(&mut self, index: usize) {
        let at = self.now.time + self.delay(self.links[index].lag);
        let link = &mut self.links[index];
        link.to_peer_at = link.to_peer_at.max(at);
        let at = link.to_peer_at;
        self.push(at, What::ShardHungUp(index));
    }

    /// Sends a message off, of which the first piece arrives at `first`. Returns when the last does.
    fn send_pieces(&mut self, first: Time, bytes: Vec<u8>, what: impl Fn(Vec<u8>) -> What) -> Time {
        let Some(max) = self.net.fragment_bytes_max else {
            self.push(first, what(bytes));
            return first;
        };
        let mut rest = bytes.as_slice();
        let (mut at, mut pieces) = (first, 0);
        loop {
            pieces += 1;
            let mut length = (1 + self.rng.below(max)).min(rest.len() as u64) as usize;
            if pieces == PIECES_MAX {
                length = rest.len();
            }
            let (piece, tail) = rest.split_at(length);
            self.push(at, what(piece.to_vec()));
            rest = tail;
            if rest.is_empty() {
                return at;
            }
            if self.net.piece_gap_max > Span::ZERO {
                at = (at + Span(self.rng.below(self.net.piece_gap_max.0 + 1))).min(first + SPREAD_MAX);
            }
        }
    }

    /// Takes everything that a peer has to say.
    pub(super) fn collect_from(&mut self, peer: PeerAt) {
        let now = self.now_of(peer);
        while let Some(conn) = self.peer(peer).poll_ready() {
            let index = conn.0 as usize;
            loop {
                let mut bytes = Vec::new();
                let output = self.peer(peer).drain(now, conn, &mut bytes, OUTPUT_BYTES_MAX);
                let lag = self.links.get(index).map_or(Span::ZERO, |link| link.lag);
                let at = now.time + self.delay(lag);
                let Some(link) = self.links.get_mut(index) else { break };
                link.to_shard_at = link.to_shard_at.max(at);
                let at = link.to_shard_at;
                let reset = output.close == Some(Close::Reset);
                if !bytes.is_empty() && !link.dead && !reset {
                    let last = self.send_pieces(at, bytes, |piece| What::ToShard(index, piece));
                    self.links[index].to_shard_at = last;
                }
                if let Some(close) = output.close {
                    let reason = match close {
                        Close::Orderly => CloseReason::Eof,
                        Close::Reset => CloseReason::Reset,
                    };
                    let at = self.links[index].to_shard_at;
                    self.push(at, What::PeerHungUp(index, reason));
                    break;
                }
                if !output.more {
                    break;
                }
            }
        }
        self.collect_pushes(peer);
    }

    /// Takes down what a push service has got, and when it left.
    fn collect_pushes(&mut self, peer: PeerAt) {
        let PeerAt::Apns(service) = peer else { return };
        while let Some(push) = self.apns[service].poll_arrived() {
            let at = self.at(self.links[push.conn.0 as usize].left_at);
            self.pushes.push_back((service, Arrived { at, ..push }));
        }
    }

    pub(super) fn happen(&mut self, what: What) {
        if let Some(index) = what.link()
            && self.links[index].held.is_some()
        {
            return self.hold(index, what);
        }
        let now = what.link().map_or(self.now, |index| self.now_of(self.links[index].peer));
        match what {
            What::Connect(index) => {
                let link = &mut self.links[index];
                if link.dead {
                    return;
                }
                link.accepted = true;
                let (shard, conn, peer, peer_conn) = (link.shard, link.conn, link.peer, link.peer_conn());
                let hello = link.hello.clone();
                self.record(1, index, &[]);
                self.peer(peer).accepted(now, peer_conn, hello);
                self.collect_from(peer);
                self.input(shard, Input::Opened { conn });
            }
            What::ConnectFails(index, reason) => {
                let link = &mut self.links[index];
                if std::mem::replace(&mut link.dead, true) {
                    return;
                }
                let (shard, conn) = (link.shard, link.conn);
                self.record(2, index, &[]);
                self.input(shard, Input::Closed { conn, reason });
            }
            What::ToPeer(index, bytes, left) => {
                if self.links[index].dead || self.strike(index) {
                    return;
                }
                if self.happens(self.net.stalls) {
                    return self.stall(index, What::ToPeer(index, bytes, left));
                }
                let (peer, conn) = (self.links[index].peer, self.links[index].peer_conn());
                let (shard, shard_conn) = (self.links[index].shard, self.links[index].conn);
                self.links[index].left_at = left;
                self.record(3, index, &bytes);
                self.peer(peer).received(now, conn, &bytes);
                self.collect_from(peer);
                if !self.links[index].orphaned {
                    self.input(shard, Input::Room { conn: shard_conn });
                }
            }
            What::ToShard(index, bytes) => {
                let link = &self.links[index];
                if link.dead || link.half_closed || link.orphaned {
                    return self.unheard(index);
                }
                if !self.sites[self.links[index].shard].links.contains_key(&self.links[index].conn) {
                    // The shard has closed it, and its hanging up is on the way.
                    self.unheard(index);
                }
                if self.strike(index) {
                    return;
                }
                if self.happens(self.net.stalls) {
                    return self.stall(index, What::ToShard(index, bytes));
                }
                if self.happens(self.net.half_closes) {
                    return self.half_close(index);
                }
                let (shard, conn) = (self.links[index].shard, self.links[index].conn);
                self.record(4, index, &bytes);
                self.input(shard, Input::Bytes { conn, data: &bytes });
            }
            What::PeerHungUp(index, reason) => {
                let link = &mut self.links[index];
                if std::mem::replace(&mut link.dead, true) || link.half_closed || link.orphaned {
                    return;
                }
                let (shard, conn) = (link.shard, link.conn);
                self.record(5, index, &[]);
                self.input(shard, Input::Closed { conn, reason });
            }
            What::News(shard) => {
                for (server, news) in self.accounts.hear(shard as u16) {
                    self.input(shard, Input::Account { server, news });
                }
            }
            What::ShardHungUp(index) => {
                let link = &mut self.links[index];
                if std::mem::replace(&mut link.dead, true) {
                    return;
                }
                let (peer, conn, accepted) = (link.peer, link.peer_conn(), link.accepted);
                self.record(6, index, &[]);
                if accepted {
                    self.peer(peer).closed(now, conn);
                    self.collect_from(peer);
                }
            }
            What::Resumes(_) => {}
            What::PeerGivesUp(index) => self.give_up(index),
        }
    }

    /// A connection falls silent without a word to anybody.
    fn stall(&mut self, index: usize, what: What) {
        self.record(9, index, &[]);
        self.links[index].held = Some(Vec::new());
        let (at, end) = match self.rng.below(3) {
            0 => (self.now.time + GIVES_UP_AFTER, What::PeerGivesUp(index)),
            _ => (self.now.time + Span(self.rng.below(self.net.stall_max.0 + 1)), What::Resumes(index)),
        };
        self.push(at, end);
        self.hold(index, what);
    }

    /// Something arrives at a connection that stands still.
    fn hold(&mut self, index: usize, what: What) {
        match what {
            What::Resumes(_) => {
                let held = self.links[index].held.take().unwrap_or_default();
                self.record(10, index, &[]);
                for (place, what) in held.iter().enumerate() {
                    if self.links[index].held.is_some() {
                        // It stalls again.
                        let rest = held[place..].iter().cloned();
                        self.links[index].held.get_or_insert_default().extend(rest);
                        return;
                    }
                    self.happen(what.clone());
                }
            }
            What::PeerGivesUp(_) => {
                self.links[index].held = None;
                self.give_up(index);
            }
            What::ShardHungUp(_) => {
                // What its kernel could not deliver goes with the connection.
                let held = self.links[index].held.get_or_insert_default();
                held.retain(|held| !matches!(held, What::ToPeer(..)));
                held.push(what);
            }
            What::ToPeer(..) => {
                if let (PeerAt::Exchange(exchange), conn) =
                    (self.links[index].peer, self.links[index].peer_conn())
                {
                    self.exchanges[exchange].comes_late(conn);
                }
                self.links[index].held.get_or_insert_default().push(what);
            }
            What::ToShard(..) => {
                self.unheard(index);
                self.links[index].held.get_or_insert_default().push(what);
            }
            What::Connect(_) | What::ConnectFails(..) | What::PeerHungUp(..) | What::News(_) => {
                self.links[index].held.get_or_insert_default().push(what);
            }
        }
    }

    /// The peer's side ends in good order; what the shard has sent still arrives, until the peer closes.
    fn half_close(&mut self, index: usize) {
        self.unheard(index);
        let link = &mut self.links[index];
        link.half_closed = true;
        let (shard, conn) = (link.shard, link.conn);
        let at = self.now.time + Span(self.rng.below(HALF_CLOSED_MAX.0));
        self.push(at, What::PeerGivesUp(index));
        self.record(11, index, &[]);
        self.input(shard, Input::Closed { conn, reason: CloseReason::Eof });
    }

    /// The peer closes for itself; the shard hears nothing of it.
    fn give_up(&mut self, index: usize) {
        let link = &mut self.links[index];
        if std::mem::replace(&mut link.dead, true) {
            return;
        }
        let (peer, conn, accepted) = (link.peer, link.peer_conn(), link.accepted);
        self.record(12, index, &[]);
        self.unheard(index);
        if accepted {
            let now = self.now_of(peer);
            self.peer(peer).closed(now, conn);
            self.collect_from(peer);
        }
    }

    /// Perhaps the connection breaks instead of carrying the message.
    fn strike(&mut self, index: usize) -> bool {
        if !self.rng.chance(self.net.resets, 1_000_000) {
            return false;
        }
        let reason = match self.rng.below(4) {
            0 => CloseReason::Tls("decryption failed or bad record MAC".into()),
            1 => CloseReason::Io("connection timed out".into()),
            _ => CloseReason::Reset,
        };
        self.break_link(index, reason);
        true
    }

    /// What the peer said last on this connection did not get through, or not in time: it may not hold anybody to it.
    pub(super) fn unheard(&mut self, index: usize) {
        let (peer, conn) = (self.links[index].peer, self.links[index].peer_conn());
        let now = self.now_of(peer).time;
        match peer {
            PeerAt::Exchange(at) => self.exchanges[at].unheard(conn),
            PeerAt::Apns(at) => self.apns[at].unheard(now, conn),
        }
    }

    /// The shard's process dies. What it had written its kernel may still deliver (`kernel_sends`), before it hangs up.
    pub(super) fn orphan(&mut self, index: usize, kernel_sends: bool) {
        // Who starts again does not know what was asked of his predecessor.
        self.unheard(index);
        let link = &mut self.links[index];
        if link.dead || link.orphaned {
            return;
        }
        link.orphaned = true;
        if link.accepted && kernel_sends {
            return self.hang_up(index);
        }
        link.dead = true;
        let (peer, conn, accepted) = (link.peer, link.peer_conn(), link.accepted);
        if accepted {
            let now = self.now_of(peer);
            self.peer(peer).closed(now, conn);
        }
    }

    /// Ends a connection for both sides.
    fn break_link(&mut self, index: usize, reason: CloseReason) {
        let link = &mut self.links[index];
        if std::mem::replace(&mut link.dead, true) {
            return;
        }
        let (shard, conn, peer, peer_conn, accepted) =
            (link.shard, link.conn, link.peer, link.peer_conn(), link.accepted);
        self.record(7, index, &[]);
        if accepted {
            let now = self.now_of(peer);
            self.unheard(index);
            self.peer(peer).closed(now, peer_conn);
            self.collect_from(peer);
        }
        if !self.links[index].orphaned {
            self.input(shard, Input::Closed { conn, reason });
        }
    }
}
