//! Name resolution. The system's resolver blocks, and hangs for a minute when a name server is silent. So each look-up
//! has a thread of its own, for as long as it lasts: one that hangs holds up nobody who asks for another name.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
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

/// What a host and a port mean: [`system`], or what a test of the shell says.
pub type Resolve = dyn Fn(&str, u16) -> Addresses + Send + Sync;

/// Answers questions.
#[derive(Clone)]
pub(crate) struct Resolver(Arc<Resolve>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    pub(crate) fn new(resolve: Arc<Resolve>) -> Resolver {
        Resolver(resolve)
    }

    /// Asks; [`Mailbox::take_resolved`] brings the answer. Whoever asks sees to it that threads do not pile up.
    pub(crate) fn ask(&self, lookup: Lookup) -> Result<(), Box<str>> {
        let resolve = Arc::clone(&self.0);
        // Never joined: the system's resolver cannot be interrupted, and holds nothing that needs closing.
        let thread = thread::Builder::new().name("carillon-resolve".into()).spawn(move || {
            let Lookup { endpoint, host, port, asker } = lookup;
            asker.answer_lookup(endpoint, resolve(&host, port));
        });
        thread.map(drop).map_err(|error| format!("no thread to look the name up with: {error}").into())
    }
}

/// Asks the system's resolver.
pub fn system(host: &str, port: u16) -> Addresses {
    let addresses = (host, port).to_socket_addrs().map_err(|error| error.to_string())?;
    let addresses: Vec<SocketAddr> = addresses.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() {
        return Err("the name has no addresses".into());
    }
    Ok(addresses)
}

/// Addresses of a name that are tried. With [`super::links`]' pace the last one has some seconds left.
const ADDRESSES_MAX: usize = 16;
