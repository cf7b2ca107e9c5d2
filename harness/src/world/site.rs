//! One shard with what its shell would keep for it.

use std::collections::HashMap;

use carillon_core::limits::OUTPUT_BYTES_MAX;
use carillon_core::shard::{Budget, ConnId, Effect, Effects, Input, More, Protocol, ShardConfig, ShardCore};
use carillon_core::time::{Now, Time};

use super::World;
use crate::peer::Hello;

/// For so many users a turn passes between two looks through the whole shard.
const USERS_PER_LOOK: u64 = 16;

/// A shard and its connections.
pub(super) struct Site {
    pub(super) core: ShardCore,
    pub(super) fx: Effects,
    /// Looked up by name only, never walked.
    pub(super) links: HashMap<ConnId, usize>,
    more: bool,
    pub(super) born: Time,
    /// Turns since it was looked through.
    unchecked: u64,
}

impl Site {
    pub(super) fn new(now: Now, config: ShardConfig) -> Site {
        Site {
            core: ShardCore::new(now, config),
            fx: Effects::new(),
            links: HashMap::new(),
            more: true,
            born: now.time,
            unchecked: 0,
        }
    }

    /// When the shard wants its next turn without any input.
    pub(super) fn next_turn(&self) -> Time {
        if self.more {
            return self.born;
        }
        self.core.next_deadline().unwrap_or(Time::NEVER)
    }
}

impl World {
    pub(super) fn input(&mut self, shard: usize, input: Input<'_>) {
        let site = &mut self.sites[shard];
        site.core.handle(self.now, input, &mut site.fx);
        self.turn(shard);
    }

    /// One turn of a shard's shell.
    pub(super) fn turn(&mut self, shard: usize) {
        let site = &mut self.sites[shard];
        site.more = site.core.work(self.now, Budget::TURN, &mut site.fx) == More::Yes;
        self.apply(shard);
        if self.vigilant {
            self.look_through(shard);
        }
    }

    fn look_through(&mut self, shard: usize) {
        let site = &mut self.sites[shard];
        site.unchecked += 1;
        if site.unchecked * USERS_PER_LOOK < site.core.stats().users {
            return;
        }
        site.unchecked = 0;
        if let Err(why) = site.core.check() {
            panic!("at {:?}: {why}", self.now.time);
        }
    }

    fn apply(&mut self, shard: usize) {
        // Applying an effect never makes another: the shard is not asked for anything but bytes.
        let effects: Vec<Effect> = self.sites[shard].fx.drain().collect();
        for effect in effects {
            match effect {
                Effect::Open { conn, endpoint } => {
                    let spec = &self.sites[shard].core.config().endpoints[usize::from(endpoint.0)];
                    let alpn: &[u8] = match spec.protocol {
                        Protocol::Http1 => b"http/1.1",
                        Protocol::Http2 => b"h2",
                    };
                    let hello = Hello {
                        client: client_name(shard),
                        sni: Some(spec.host.to_string()),
                        alpn: Some(alpn.to_vec()),
                        certificate: self.certificate.clone(),
                    };
                    let peer = self.routes[usize::from(endpoint.0)];
                    self.connect(shard, conn, peer, hello);
                }
                Effect::Flush { conn } => {
                    let mut bytes = Vec::new();
                    self.sites[shard].core.drain(conn, &mut bytes, OUTPUT_BYTES_MAX);
                    let index = self.sites[shard].links.get(&conn).copied();
                    if let Some(index) = index.filter(|_| !bytes.is_empty()) {
                        self.send_to_peer(index, bytes);
                    }
                }
                Effect::Close { conn } => {
                    if let Some(index) = self.sites[shard].links.remove(&conn) {
                        self.hang_up(index);
                    }
                }
                Effect::Report(report) => {
                    let text = format!("{report:?}");
                    self.record(8, shard, text.as_bytes());
                    self.store.note_report(self.now.time, shard, &report);
                    self.reports.push((self.now.time, report));
                }
                Effect::Account { server, word } => {
                    self.accounts.tell(shard as u16, server, word);
                    self.ring_for_news();
                }
                Effect::Sent(_) | Effect::Accepted(_) => {}
            }
        }
    }
}

/// What peers call a shard.
pub(super) fn client_name(shard: usize) -> String {
    format!("node{shard}")
}
