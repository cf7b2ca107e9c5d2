//! Name resolution. The system's resolver blocks, so it runs on one helper thread for all shards; one lookup that
//! hangs delays the others, and [`carillon_core::limits::CONNECT_TIMEOUT`] covers the wait.

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use carillon_core::shard::EndpointId;

use crate::mailbox::{Addresses, Mailbox};

/// One question.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) endpoint: EndpointId,
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    pub(crate) asker: Arc<Mailbox>,
}

/// The way to the helper thread, which ends when the last shard has dropped it.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    lookups: SyncSender<Lookup>,
}

impl Resolver {
    /// `lookups_max`: each shard asks once at a time for each endpoint, so that many are enough.
    pub(crate) fn start(lookups_max: usize) -> std::io::Result<Resolver> {
        let (sender, receiver) = sync_channel(lookups_max);
        // Never joined: the system's resolver cannot be interrupted, and holds nothing that needs closing.
        thread::Builder::new().name("carillon-resolve".into()).spawn(move || answer(receiver))?;
        Ok(Resolver { lookups: sender })
    }

    /// Asks; [`Mailbox::take_resolved`] brings the answer.
    pub(crate) fn ask(&self, lookup: Lookup) -> Result<(), Box<str>> {
        self.lookups.try_send(lookup).map_err(|_| "the resolver's queue is full".into())
    }
}

fn answer(lookups: Receiver<Lookup>) {
    for Lookup { endpoint, host, port, asker } in lookups {
        asker.answer_lookup(endpoint, resolve(&host, port));
    }
}

fn resolve(host: &str, port: u16) -> Addresses {
    let addresses: Vec<_> = (host, port).to_socket_addrs().map_err(|error| error.to_string())?.collect();
    if addresses.is_empty() {
        return Err("the name has no addresses".into());
    }
    Ok(addresses)
}
