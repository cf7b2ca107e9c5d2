//! What arrives: at a peer, or at a shard.

use carillon_core::shard::Input;

use super::What;
use crate::world::{Fault, World};

impl World {
    pub(in super::super) fn happen(&mut self, what: What) {
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
                self.struck.note(Fault::of_connect(&reason));
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
                self.note_arrival(index, left);
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
}
