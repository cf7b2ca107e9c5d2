//! One connection of the shard, as its shell and its peer see it.

use carillon_core::h2pump::{ServerConfig, ServerEvent, ServerPump};
use carillon_core::shard::ConnId;

/// A connection that the shard asked for and has not closed.
pub(super) struct Link {
    pub(super) conn: ConnId,
    pub(super) open: bool,
    pub(super) peer: Peer,
}

pub(super) enum Peer {
    /// What the mail server has received of the request now being sent.
    Exchange { request: Vec<u8>, subscriptions: Vec<String>, streaming: bool },
    /// The provider, and the streams that it has not answered.
    Apns { pump: Box<ServerPump>, requests: Vec<u32> },
}

impl Link {
    pub(super) fn new(conn: ConnId, http2: bool) -> Link {
        let peer = if http2 {
            let pump = Box::new(ServerPump::new(ServerConfig::default()));
            Peer::Apns { pump, requests: Vec::new() }
        } else {
            Peer::Exchange { request: Vec::new(), subscriptions: Vec::new(), streaming: false }
        };
        Link { conn, open: false, peer }
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self.peer, Peer::Apns { .. })
    }

    /// Bytes of the shard arrive at the peer.
    pub(super) fn received(&mut self, bytes: &[u8]) {
        match &mut self.peer {
            Peer::Exchange { request, .. } => request.extend_from_slice(bytes),
            Peer::Apns { pump, requests } => {
                pump.feed(bytes);
                while let Some(event) = pump.poll() {
                    if let ServerEvent::Request(request) = event {
                        requests.push(request.stream);
                    }
                }
            }
        }
    }

    /// What the provider has to say.
    pub(super) fn provider_says(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Peer::Apns { pump, .. } = &mut self.peer {
            pump.drain(&mut bytes, usize::MAX);
        }
        bytes
    }
}
