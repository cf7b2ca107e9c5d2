//! What goes into a shard.

use super::account::AccountNews;
use super::command::Command;
use super::config::MailServerId;
use crate::arena::Id;

/// Marks ids of connections. The shard's own arena holds what stands behind one.
#[derive(Debug)]
pub enum ConnMark {}

/// A connection, named by the shard when it asks for it. Ids of closed connections never come back (generation), so a
/// late event of the shell is recognised and ignored.
pub type ConnId = Id<ConnMark>;

/// One thing that happened to a shard.
#[derive(Debug)]
pub enum Input<'a> {
    /// A connection that [`super::Effect::Open`] asked for is established, TLS and ALPN included.
    Opened {
        /// Which.
        conn: ConnId,
    },
    /// Bytes arrived, already decrypted.
    Bytes {
        /// On which connection.
        conn: ConnId,
        /// At most what one connection may bring in one turn ([`crate::limits::READ_BYTES_PER_TURN`] by default).
        data: &'a [u8],
    },
    /// Everything drained from this connection was written to the socket; there is room for more.
    Room {
        /// Which.
        conn: ConnId,
    },
    /// The connection is gone, or could not be had. The last input about it. Not sent for what the shard closed itself.
    Closed {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// The owner of the engine wants something.
    Command(Command),
    /// Other shards said something ([`super::Accounts::hear`]).
    Account {
        /// Of which server's account.
        server: MailServerId,
        /// What.
        news: AccountNews,
    },
}

/// Why a connection ended or never came to be, as far as the shell can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer ended its side in good order (FIN, with TLS `close_notify` where it sends one).
    Eof,
    /// The peer reset the connection, or the network did.
    Reset,
    /// Nobody listens there.
    Refused,
    /// Connect or handshake took longer than [`crate::limits::CONNECT_TIMEOUT`].
    ConnectTimeout,
    /// The name does not resolve. With the resolver's words.
    NameNotFound(Box<str>),
    /// The peer's certificate does not verify: unknown issuer, expired, wrong name. With the TLS library's words.
    Untrusted(Box<str>),
    /// Any other TLS failure: no common version, no common ALPN, an alert, a bad record. With the library's words.
    Tls(Box<str>),
    /// Any other failure of the operating system. With its words.
    Io(Box<str>),
}
