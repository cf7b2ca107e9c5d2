//! What the fuzz targets check: plain functions of bytes that panic when a promise is broken.
//!
//! `cargo fuzz` calls them with what it makes up (`fuzz/fuzz_targets/`); ordinary tests call them with the seeds that are
//! kept in `fuzz/seeds/` and with mutations of these (`tests/replay.rs`). Most hold a machine to the same promise:
//! however its input is cut in pieces, it says the same.

#[cfg(feature = "api")]
pub mod api_json;
#[cfg(feature = "api")]
pub mod api_request;
pub mod apns_answer;
pub mod apns_peer;
#[cfg(feature = "api")]
pub mod config;
pub mod dates;
pub mod ews_answer;
pub mod ews_stream;
pub mod exchange_peer;
pub mod http_response;
mod input;
pub mod journal;
pub mod lane;
pub mod notice;
pub mod shard;
pub mod soap_envelope;
#[cfg(feature = "api")]
pub mod stored;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the binary in `fuzz/fuzz_targets/`, and of its folder of seeds.
    pub name: &'static str,
    /// Its body. Any bytes may be given to it.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    #[cfg(feature = "api")]
    Target { name: "api_json", check: api_json::check },
    #[cfg(feature = "api")]
    Target { name: "api_request", check: api_request::check },
    Target { name: "apns_answer", check: apns_answer::check },
    Target { name: "apns_peer", check: apns_peer::check },
    #[cfg(feature = "api")]
    Target { name: "config", check: config::check },
    Target { name: "dates", check: dates::check },
    Target { name: "ews_answer", check: ews_answer::check },
    Target { name: "ews_stream", check: ews_stream::check },
    Target { name: "exchange_peer", check: exchange_peer::check },
    Target { name: "http_response", check: http_response::check },
    Target { name: "journal", check: journal::check },
    Target { name: "lane", check: lane::check },
    Target { name: "notice", check: notice::check },
    Target { name: "shard", check: shard::check },
    Target { name: "soap_envelope", check: soap_envelope::check },
    #[cfg(feature = "api")]
    Target { name: "stored", check: stored::check },
];
