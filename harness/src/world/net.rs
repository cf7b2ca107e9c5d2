//! The network: links with delay and fragmentation, and what happens on them.

use std::cmp::Ordering;

use carillon_core::limits::OUTPUT_BYTES_MAX;
use carillon_core::shard::{CloseReason, ConnId, Input};
use carillon_core::time::{Span, Time};

use super::World;
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
    /// Connects that are refused, in millionths.
    pub refused: u64,
    /// Messages on which the connection is reset instead, in millionths.
    pub resets: u64,
    /// Connects that end with a certificate nobody trusts, in millionths.
    pub untrusted: u64,
}

impl Default for Net {
    fn default() -> Net {
        Net {
            delay: Span(200),
            jitter: Span(100),
            fragment_bytes_max: None,
            refused: 0,
            resets: 0,
            untrusted: 0,
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
    /// When the last message of each direction arrives: later ones never overtake it.
    pub(super) to_peer_at: Time,
    pub(super) to_shard_at: Time,
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

#[derive(Debug)]
pub(super) enum What {
    Connect(usize),
    ConnectFails(usize, CloseReason),
    ToPeer(usize, Vec<u8>),
    ToShard(usize, Vec<u8>),
    PeerHungUp(usize, CloseReason),
    ShardHungUp(usize),
    /// Other shards said something for this one to hear.
    News(usize),
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
    pub(super) fn delay(&mut self) -> Span {
        self.net.delay + Span(self.rng.below(self.net.jitter.0 + 1))
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
        self.links.push(Link {
            shard,
            conn,
            peer,
            hello,
            index,
            accepted: false,
            dead: false,
            to_peer_at: Time(0),
            to_shard_at: Time(0),
        });
        self.sites[shard].links.insert(conn, index);
        // TCP and TLS take two round trips.
        let at = self.now.time + self.delay() + self.delay() + self.delay() + self.delay();
        let what = if self.rng.chance(self.net.refused, 1_000_000) {
            What::ConnectFails(index, CloseReason::Refused)
        } else if self.rng.chance(self.net.untrusted, 1_000_000) {
            What::ConnectFails(index, CloseReason::Untrusted("unknown issuer".into()))
        } else {
            What::Connect(index)
        };
        self.push(at, what);
    }

    /// Bytes of a shard go on their way.
    pub(super) fn send_to_peer(&mut self, index: usize, bytes: Vec<u8>) {
        let at = self.now.time + self.delay();
        let link = &mut self.links[index];
        link.to_peer_at = link.to_peer_at.max(at);
        let at = link.to_peer_at;
        self.send_pieces(bytes, |piece| (at, What::ToPeer(index, piece)));
    }

    pub(super) fn hang_up(&mut self, index: usize) {
        let at = self.now.time + self.delay();
        let link = &mut self.links[index];
        link.to_peer_at = link.to_peer_at.max(at);
        let at = link.to_peer_at;
        self.push(at, What::ShardHungUp(index));
    }

    fn send_pieces(&mut self, bytes: Vec<u8>, what: impl Fn(Vec<u8>) -> (Time, What)) {
        match self.net.fragment_bytes_max {
            None => {
                let (at, what) = what(bytes);
                self.push(at, what);
            }
            Some(max) => {
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let length = (1 + self.rng.below(max)).min(rest.len() as u64) as usize;
                    let (piece, tail) = rest.split_at(length);
                    let (at, what) = what(piece.to_vec());
                    self.push(at, what);
                    rest = tail;
                }
            }
        }
    }

    /// Takes everything that a peer has to say.
    pub(super) fn collect_from(&mut self, peer: PeerAt) {
        let now = self.now;
        while let Some(conn) = self.peer(peer).poll_ready() {
            let index = conn.0 as usize;
            loop {
                let mut bytes = Vec::new();
                let output = self.peer(peer).drain(now, conn, &mut bytes, OUTPUT_BYTES_MAX);
                let at = now.time + self.delay();
                let Some(link) = self.links.get_mut(index) else { break };
                link.to_shard_at = link.to_shard_at.max(at);
                let at = link.to_shard_at;
                let reset = output.close == Some(Close::Reset);
                if !bytes.is_empty() && !link.dead && !reset {
                    self.send_pieces(bytes, |piece| (at, What::ToShard(index, piece)));
                }
                if let Some(close) = output.close {
                    let reason = match close {
                        Close::Orderly => CloseReason::Eof,
                        Close::Reset => CloseReason::Reset,
                    };
                    self.push(at, What::PeerHungUp(index, reason));
                    break;
                }
                if !output.more {
                    break;
                }
            }
        }
    }

    pub(super) fn happen(&mut self, what: What) {
        let now = self.now;
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
            What::ToPeer(index, bytes) => {
                if self.links[index].dead || self.strike(index) {
                    return;
                }
                let (peer, conn) = (self.links[index].peer, self.links[index].peer_conn());
                let (shard, shard_conn) = (self.links[index].shard, self.links[index].conn);
                self.record(3, index, &bytes);
                self.peer(peer).received(now, conn, &bytes);
                self.collect_from(peer);
                self.input(shard, Input::Room { conn: shard_conn });
            }
            What::ToShard(index, bytes) => {
                if self.links[index].dead || self.strike(index) {
                    return;
                }
                let (shard, conn) = (self.links[index].shard, self.links[index].conn);
                self.record(4, index, &bytes);
                self.input(shard, Input::Bytes { conn, data: &bytes });
            }
            What::PeerHungUp(index, reason) => {
                let link = &mut self.links[index];
                if std::mem::replace(&mut link.dead, true) {
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
        }
    }

    /// Perhaps the network resets the connection instead of carrying the message.
    fn strike(&mut self, index: usize) -> bool {
        if !self.rng.chance(self.net.resets, 1_000_000) {
            return false;
        }
        self.break_link(index);
        true
    }

    /// What the mail server said last on this connection did not get through: it may not hold anybody to it.
    pub(super) fn unheard(&mut self, index: usize) {
        if let (PeerAt::Exchange(exchange), conn) = (self.links[index].peer, self.links[index].peer_conn()) {
            self.exchanges[exchange].unheard(conn);
        }
    }

    /// Resets a connection for both sides.
    pub(super) fn break_link(&mut self, index: usize) {
        let link = &mut self.links[index];
        if std::mem::replace(&mut link.dead, true) {
            return;
        }
        let (shard, conn, peer, peer_conn, accepted) =
            (link.shard, link.conn, link.peer, link.peer_conn(), link.accepted);
        self.record(7, index, &[]);
        if accepted {
            let now = self.now;
            self.unheard(index);
            self.peer(peer).closed(now, peer_conn);
            self.collect_from(peer);
        }
        self.input(shard, Input::Closed { conn, reason: CloseReason::Reset });
    }
}
