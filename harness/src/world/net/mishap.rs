//! What goes wrong on the way: connections that fail, stand still, break, end on one side, or lose their process.

use carillon_core::shard::{CloseReason, Input};
use carillon_core::time::Span;

use super::{PeerAt, What};
use crate::world::{Fault, World};

/// A peer gives up a connection on which nothing has come through for so long.
const GIVES_UP_AFTER: Span = Span::from_secs(600);

/// A peer whose side has ended goes on reading for up to so long.
const HALF_CLOSED_MAX: Span = Span::from_secs(30);

impl World {
    /// Why a connection does not come about.
    pub(super) fn handshake_failure(&mut self) -> CloseReason {
        match self.rng.below(5) {
            0 => CloseReason::Untrusted("unknown issuer".into()),
            1 => CloseReason::Tls("handshake failure".into()),
            2 => CloseReason::NameNotFound("no address for the name".into()),
            3 => CloseReason::ConnectTimeout,
            _ => CloseReason::Io("no route to host".into()),
        }
    }

    /// A connection falls silent without a word to anybody.
    pub(super) fn stall(&mut self, index: usize, what: What) {
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
    pub(super) fn hold(&mut self, index: usize, what: What) {
        match what {
            What::Resumes(_) => {
                let held = self.links[index].held.take().unwrap_or_default();
                self.record(10, index, &[]);
                self.struck.note(Fault::Stall);
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
                self.struck.note(Fault::StallForEver);
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
    pub(super) fn half_close(&mut self, index: usize) {
        self.unheard(index);
        let link = &mut self.links[index];
        link.half_closed = true;
        let (shard, conn) = (link.shard, link.conn);
        let at = self.now.time + Span(self.rng.below(HALF_CLOSED_MAX.0));
        self.push(at, What::PeerGivesUp(index));
        self.record(11, index, &[]);
        self.struck.note(Fault::HalfClose);
        self.input(shard, Input::Closed { conn, reason: CloseReason::Eof });
    }

    /// The peer closes for itself; the shard hears nothing of it.
    pub(super) fn give_up(&mut self, index: usize) {
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
    pub(super) fn strike(&mut self, index: usize) -> bool {
        if !self.rng.chance(self.net.resets, 1_000_000) {
            return false;
        }
        let reason = match self.rng.below(4) {
            0 => CloseReason::Tls("decryption failed or bad record MAC".into()),
            1 => CloseReason::Io("connection timed out".into()),
            _ => CloseReason::Reset,
        };
        self.struck.note(Fault::of_break(&reason));
        self.break_link(index, reason);
        true
    }

    /// What the peer said last on this connection did not get through, or not in time: it may not hold anybody to it.
    pub(in super::super) fn unheard(&mut self, index: usize) {
        let (peer, conn) = (self.links[index].peer, self.links[index].peer_conn());
        let now = self.now_of(peer).time;
        match peer {
            PeerAt::Exchange(at) => self.exchanges[at].unheard(conn),
            PeerAt::Apns(at) => self.apns[at].unheard(now, conn),
        }
    }

    /// The shard's process dies. What it had written its kernel may still deliver (`kernel_sends`), before it hangs up.
    pub(in super::super) fn orphan(&mut self, index: usize, kernel_sends: bool) {
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
