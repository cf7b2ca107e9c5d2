//! Carillon's push engine around [`carillon_core`]: one thread a core, each with its connections and its share of
//! users. Commands go in through an [`EngineHandle`], [`Reports`] come out; nothing else is shared.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use carillon_core::shard::{Report, ShardConfig, Timing};
//! use carillon_engine::{Engine, EngineConfig};
//!
//! // Endpoints, mail servers and push services go here, and as many TLS settings as endpoints.
//! let shard = ShardConfig {
//!     shard: 0,
//!     seed: 1,
//!     endpoints: Vec::new(),
//!     mail_servers: Vec::new(),
//!     push_services: Vec::new(),
//!     timing: Timing::default(),
//!     item_key: [7; 16],
//! };
//! let (engine, mut reports) = Engine::start(EngineConfig::new(shard, Vec::new()))?;
//!
//! // engine.assign(…), engine.register_device(…), engine.signal(…); then, on a thread of its own:
//! engine.drain()?;
//! let mut drained = 0;
//! while drained < engine.shards() {
//!     for numbered in reports.recv(Duration::from_secs(1)) {
//!         // Store what has a number, then let the engine's journal go of it.
//!         engine.stored(numbered.shard, numbered.seq);
//!         drained += usize::from(numbered.report == Report::Drained);
//!     }
//! }
//! println!("{} pushes", engine.stats().total().pushes_sent);
//! engine.shutdown(Duration::from_secs(2))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `engine/examples/embed.rs` is a whole program.

mod accounts;
mod clock;
mod crc32;
mod handle;
pub mod journal;
mod link;
mod links;
mod mailbox;
mod parking;
mod resolve;
mod settings;
mod shard;
mod start;
mod stats;
mod tls;

pub use clock::Clock;
pub use handle::{EngineHandle, Refused, StillRunning};
pub use mailbox::{Numbered, Reports};
pub use rustls_pki_types as pki_types;
pub use settings::{EngineConfig, StartError, TlsSettings};
pub use start::Engine;
pub use stats::{EngineStats, JournalStats, ShellStats};
pub use tls::certificate_fault;

/// For tests of the shell: what it drives can be something else than [`carillon_core::shard::ShardCore`].
#[doc(hidden)]
pub mod shell {
    pub use crate::resolve::{Resolve, system as resolve};
    pub use crate::shard::Core;
    pub use crate::start::start_with;
}

/// What [`parking`] is built on; its model check builds it on loom's.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicBool, Ordering, fence};
    pub(crate) use std::sync::{Condvar, Mutex};
}

const _: () = assert!(
    !carillon_core::planted::COMPILED_IN,
    "the feature `planted` is for simulations: an engine that serves people is never built with it"
);
