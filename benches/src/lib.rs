//! What the benches measure with: a provider in memory, a shard with users, and mails as Exchange tells of them.
//!
//! `cargo bench -p carillon-benches` runs all of them in about a minute. Each bench is one part of a mail's way:
//! `ews_stream` (bytes to events), `shard` (signal to accepted push), `notice`, `lane`, `wheel`; `pace` (a first start);
//! and `bytes_per_user`.

pub mod exchange;
pub mod provider;
pub mod samples;
pub mod subscribing;
pub mod users;
