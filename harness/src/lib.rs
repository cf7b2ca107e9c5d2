//! Strict peers, the reference model of a phone, and the ledger's checks.
//!
//! The peers are sans-IO servers behind one face, [`peer::Peer`]: the deterministic world steps them in virtual time,
//! `loadgen` puts them behind real TLS sockets.

pub mod apns;
pub mod audit;
pub mod exchange;
pub mod peer;
pub mod phone;
pub mod swarm;
pub mod world;
