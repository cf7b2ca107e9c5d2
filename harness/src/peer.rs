//! The face that every peer shows to whoever owns its connections.

use carillon_core::time::{Now, Time};

/// A connection to a peer, named by whoever accepted it. Never used again after [`Peer::closed`] or [`Output::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerConn(pub u64);

/// What the TLS handshake told about a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The address it came from: budgets are kept per address.
    pub client: String,
    /// Server name that it asked for.
    pub sni: Option<String>,
    /// Protocol agreed on.
    pub alpn: Option<Vec<u8>>,
    /// Its certificate in DER, verified by the TLS stack.
    pub certificate: Option<Vec<u8>>,
}

/// What a peer wants done with one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// More bytes are ready than were taken: ask again when there is room.
    pub more: bool,
    /// Close after these bytes.
    pub close: Option<Close>,
}

/// How a peer ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// `close_notify` and FIN after the bytes.
    Orderly,
    /// RST at once; bytes not yet sent are lost.
    Reset,
}

/// A simulated server. It owns no socket and reads no clock.
pub trait Peer {
    /// A client connected; TLS is done.
    fn accepted(&mut self, now: Now, conn: PeerConn, hello: Hello);

    /// Bytes from the client, decrypted.
    fn received(&mut self, now: Now, conn: PeerConn, bytes: &[u8]);

    /// The client is gone. Not called after the peer itself asked to close.
    fn closed(&mut self, now: Now, conn: PeerConn);

    /// Appends at most `bytes_max` bytes for the client to `out`.
    fn drain(&mut self, now: Now, conn: PeerConn, out: &mut Vec<u8>, bytes_max: usize) -> Output;

    /// Does what time alone brings: heartbeats, expiries, planned faults.
    fn tick(&mut self, now: Now);

    /// When [`Peer::tick`] is due next.
    fn next_deadline(&self) -> Option<Time>;

    /// The next connection for which [`Peer::drain`] has something to say, each at most once until drained.
    fn poll_ready(&mut self) -> Option<PeerConn>;
}
