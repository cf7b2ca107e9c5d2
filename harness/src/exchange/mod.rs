//! A simulated Exchange server: the EWS operations that Carillon uses, as strict as the real one.
//!
//! [`Exchange`] is a value behind the [`Peer`](crate::peer::Peer) face: it owns no socket and reads no clock. The workload
//! drives it by plain methods ([`Exchange::deliver`], [`Exchange::mark_read`], …), faults are data ([`Faults`]) and
//! methods ([`Exchange::cut`], [`Exchange::restart_back_end`], …), and what a test wants to know is asked for
//! ([`Exchange::stats`], [`Exchange::violations`], [`Exchange::streams`], …).
//!
//! How a request travels: `wire` cuts it out of the bytes, `server` keeps the connection, `front` authenticates and
//! routes it to a back end, `xml` and `request` turn it into a typed call with every namespace and the order of elements
//! checked, `budget` throttles, `operations` answer, `reply` writes. Nothing here shares code with the client that it
//! tests.
//!
//! Its own numbers (heartbeats, limits, queue depth) are those of Microsoft's documentation where it has some, and
//! [`ExchangeConfig`] says which are a guess.

mod account;
mod away;
mod budget;
mod code;
mod config;
mod control;
mod deadline;
mod event;
mod faults;
mod fetch;
mod find;
mod front;
mod ids;
mod mailbox;
mod operations;
mod order;
mod property;
mod reply;
mod request;
mod rush;
mod server;
mod stamp;
mod state;
mod stats;
mod stream;
mod strict;
mod subscription;
mod sync;
#[cfg(test)]
mod tests;
mod version;
mod wire;
mod xml;

pub use account::{Account, AccountKey, ImpersonationRight, TokenKind};
pub use away::Removal;
pub use code::Code;
pub use config::{CertificateRule, ExchangeConfig, Limits, StrictRules, SubscriptionIds};
pub use control::{OnWire, Station, StreamView, SubscriptionView};
pub use faults::{
    BadIdMix, BusyScope, BusyShape, Chunks, Cut, EnvelopeStyle, Faults, GivenUp, Lead, Override, Proxy,
    Silence, Transfer,
};
pub use mailbox::{
    DELETED_ITEMS, FolderKey, INBOX, Importance, Item, JUNK_EMAIL, Mail, MailboxKey, MailboxSpec, Routing,
    Sender, Sensitivity,
};
pub use order::Asked;
pub use state::Exchange;
pub use stats::{Operation, Stats};
pub use version::Version;
