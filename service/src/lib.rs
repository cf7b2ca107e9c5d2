//! The Carillon service around the engine: configuration, store, API, keys and the process itself.
//!
//! How it hangs together: [`config`] reads one TOML file; [`store`] keeps registrations; [`app`] is what the running parts
//! share; [`writer`] makes what callers ask for durable and tells the engine; [`bridge`] carries the engine's reports
//! the other way; [`reload`] takes up passwords, certificates and settings that change meanwhile.

pub mod api;
pub mod app;
pub mod audit_log;
pub mod auth;
pub mod blocking;
pub mod bridge;
pub mod check;
pub mod clock;
pub mod config;
pub mod directory;
pub mod engine;
pub mod few;
pub mod files;
pub mod ids;
pub mod import;
pub mod keys;
pub mod metrics;
pub mod open_files;
pub mod private;
pub mod reload;
pub mod seal;
pub mod serve;
pub mod store;
pub mod writer;

#[cfg(test)]
mod testing;
