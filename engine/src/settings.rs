//! What an engine is built with.

use std::fmt;
use std::path::PathBuf;

use carillon_core::limits::{CONNECT_TIMEOUT, READ_BYTES_PER_TURN};
use carillon_core::shard::ShardConfig;
use carillon_core::time::Span;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Everything that [`crate::Engine::start`] needs.
#[derive(Debug)]
pub struct EngineConfig {
    /// The template of all shards: `shard` is set for each, and `seed` is derived for each.
    pub shard: ShardConfig,
    /// How to trust each endpoint: parallel to `shard.endpoints`.
    pub endpoints_tls: Vec<TlsSettings>,
    /// Shard threads; 0 for one a core.
    pub shards: usize,
    /// Pin each shard's thread to one core. Worth it on a machine that does nothing else.
    pub pin: bool,
    /// Where durable reports are kept until they are stored; `None` for embedders that can do without.
    pub journal_dir: Option<PathBuf>,
    /// Names this run in the journal. Must be higher at each start: a counter in the owner's store, or the time.
    pub epoch: u64,
    /// The most that one connection may bring in one turn, in bytes: what comes after it waits until the others had
    /// their turn. Each shard has one buffer of this size.
    pub read_bytes_per_turn: usize,
    /// How long a connect may take, from look-up to the end of the handshake.
    pub connect_timeout: Span,
    /// Commands that may wait for one shard; when they are used up, callers get [`crate::Refused::Busy`].
    ///
    /// Worst case: 64 bytes each, and what they carry (a user with two devices: about 1 KiB).
    pub commands_waiting_max: usize,
    /// Reports of all shards that may wait for [`crate::Reports::recv`]; when they are used up, shards pause.
    ///
    /// Worst case: 128 bytes each, and what they carry (a cookie: below 1 KiB), plus those of one turn of each shard.
    pub reports_waiting_max: usize,
}

impl EngineConfig {
    /// The defaults around these.
    pub fn new(shard: ShardConfig, endpoints_tls: Vec<TlsSettings>) -> EngineConfig {
        EngineConfig {
            shard,
            endpoints_tls,
            shards: 0,
            pin: false,
            journal_dir: None,
            epoch: 1,
            read_bytes_per_turn: READ_BYTES_PER_TURN,
            connect_timeout: CONNECT_TIMEOUT,
            commands_waiting_max: 4_096,
            reports_waiting_max: 8_192,
        }
    }
}

/// Whom an endpoint's TLS trusts, and who we are to it. Verification cannot be switched off.
pub struct TlsSettings {
    /// Trust the public web's authorities (Mozilla's list, built in).
    pub web_roots: bool,
    /// Trust these authorities too.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// The certificate chain, leaf first, and key that we show when asked.
    pub client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// The name to ask for (SNI) and to find in the certificate, if it is not the endpoint's host.
    pub server_name: Option<String>,
}

impl Default for TlsSettings {
    fn default() -> TlsSettings {
        TlsSettings { web_roots: true, extra_roots: Vec::new(), client: None, server_name: None }
    }
}

impl Clone for TlsSettings {
    fn clone(&self) -> TlsSettings {
        TlsSettings {
            web_roots: self.web_roots,
            extra_roots: self.extra_roots.clone(),
            client: self.client.as_ref().map(|(chain, key)| (chain.clone(), key.clone_key())),
            server_name: self.server_name.clone(),
        }
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("web_roots", &self.web_roots)
            .field("extra_roots", &self.extra_roots.len())
            .field("client", &self.client.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}

/// Why an engine did not start. All of them are for the owner to put right.
#[derive(Debug)]
pub enum StartError {
    /// The configuration contradicts itself.
    Config(String),
    /// An endpoint's name or certificates cannot be used.
    Tls {
        /// Its host.
        host: Box<str>,
        /// What is wrong.
        text: String,
    },
    /// The journal's folder or a file in it cannot be made.
    Journal(PathBuf, std::io::Error),
    /// The operating system gave no thread, or no `Poll`.
    System(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config(text) => f.write_str(text),
            StartError::Tls { host, text } => write!(f, "TLS settings for {host}: {text}"),
            StartError::Journal(path, error) => write!(f, "journal {}: {error}", path.display()),
            StartError::System(error) => write!(f, "starting a shard: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Config(_) | StartError::Tls { .. } => None,
            StartError::Journal(_, error) | StartError::System(error) => Some(error),
        }
    }
}
