//! The heart of Carillon: a push engine that is a value.
//!
//! Nothing in this crate opens a socket, starts a thread, reads a clock or draws entropy. A [`shard::ShardCore`] takes
//! inputs (bytes that arrived, commands) and the present time as arguments and answers with effects (open this
//! connection, this connection has bytes to write, here is a report). Whoever owns sockets drives it: the mio shell in
//! `carillon-engine`, or the deterministic world in `carillon-harness`.
//!
//! How a mail travels: [`ews`] turns bytes of a streaming connection into [`signal::MailSignal`]s, [`user`] folds them
//! into one row per mailbox, [`notice`] words what a phone is told, [`push`] carries it over a lane to the provider,
//! and [`ledger`] accounts for every mail on the way.

#[macro_use]
pub mod planted;

pub mod arena;
pub mod ews;
pub mod h2pump;
pub mod http1;
pub mod ledger;
pub mod limits;
pub mod names;
pub mod notice;
pub mod push;
pub mod rng;
pub mod shard;
pub mod signal;
pub mod soap;
pub mod time;
pub mod user;
pub mod wheel;
