//! The network: links with delay and fragmentation, and what leaves on them. What is under way stands in `event`, what
//! becomes of it in `arrival`, or in `mishap`.

mod arrival;
mod event;
mod mishap;

use carillon_core::limits::OUTPUT_BYTES_MAX;
use carillon_core::shard::{CloseReason, ConnId};
use carillon_core::time::{Span, Time};

use super::{Fault, World};
use crate::apns::Arrived;
use crate::peer::{Close, Hello, PeerConn};

pub(super) use event::{Event, What};

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
    /// Each piece of a message arrives up to so much after the one before; the last at most a second after the first.
    pub piece_gap_max: Span,
    /// Connects that are refused, in millionths.
    pub refused: u64,
    /// Messages on which the connection breaks instead, in millionths: mostly by a reset, sometimes because TLS or the
    /// socket fails.
    pub resets: u64,
    /// Connects that end with an unknown name, an untrusted certificate or a broken handshake, in millionths.
    pub failed_handshakes: u64,
    /// Messages on which the connection falls silent without closing, in millionths. Two thirds go on after up to
    /// `stall_max`, the others never: the peer gives up after ten minutes.
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
                self.note_pieces(pieces, bytes.len(), at > first);
                return at;
            }
            if self.net.piece_gap_max > Span::ZERO {
                at = (at + Span(self.rng.below(self.net.piece_gap_max.0 + 1))).min(first + SPREAD_MAX);
            }
        }
    }

    fn note_pieces(&mut self, pieces: usize, bytes: usize, apart: bool) {
        let kinds = [
            (Fault::Pieces, pieces > 1),
            (Fault::PiecesApart, apart),
            (Fault::SingleBytes, pieces > 1 && pieces == bytes.min(PIECES_MAX)),
        ];
        kinds.into_iter().filter(|(_, struck)| *struck).for_each(|(fault, _)| self.struck.note(fault));
    }

    /// Something has arrived that left its shard at `left`. Whether a slow connection brought it, and what left later on
    /// another has come before.
    fn note_arrival(&mut self, index: usize, left: Time) {
        let Link { shard, peer, lag, .. } = self.links[index];
        let last = self.left_last.entry((shard, peer)).or_insert(left);
        let overtaken = *last > left && lag > Span::ZERO;
        *last = left.max(*last);
        if overtaken {
            self.struck.note(Fault::Overtaken);
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
}
