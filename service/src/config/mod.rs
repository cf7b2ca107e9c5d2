//! What `carillon.toml` says.

mod echo;
mod load;
mod read;
mod secret;

pub use read::ConfigError;
pub use secret::{Secret, read_secret};

use std::net::SocketAddr;
use std::path::PathBuf;

use carillon_core::names::{FolderId, Topic};
use carillon_core::shard::{BadgeCount, CatchUp, MailCredential, Timing};

use crate::auth::Role;

/// A commented configuration with every key: what `carillon config example` prints.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The whole configuration: every path absolute, every secret read, every number within its range.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// `[api]`
    pub api: Api,
    /// `[store]`
    pub store: StoreConfig,
    /// `[engine]`
    pub engine: EngineConfig,
    /// `[timing]`
    pub timing: Timing,
    /// `[log]`
    pub log: Log,
    /// Each `[[exchange]]`, in order of [`carillon_core::shard::MailServerId`].
    pub exchange: Vec<Exchange>,
    /// Each `[[push]]`, in order of [`carillon_core::shard::PushServiceId`].
    pub push: Vec<Push>,
    /// Signing keys, in order of [`carillon_core::shard::TeamId`]; services of one team and key share one.
    pub teams: Vec<Team>,
}

/// `[api]`: the HTTPS API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Address and port to listen on; port 0 takes any free one.
    pub listen: SocketAddr,
    /// PEM certificate chain, the server's own first.
    pub cert_file: PathBuf,
    /// PEM private key.
    pub key_file: PathBuf,
    /// Who may call: no two have the same name or secret.
    pub tokens: Vec<ApiToken>,
    /// Connections at one time.
    pub connections_max: usize,
    /// The largest request body, in bytes (imports are streamed, and bounded by line).
    pub body_bytes_max: usize,
    /// Requests per second for one token.
    pub requests_per_s: u32,
    /// Whether `/metrics` is served without a token.
    pub metrics_open: bool,
}

impl Api {
    /// The first token of this role.
    pub fn token(&self, role: Role) -> Option<&ApiToken> {
        self.tokens.iter().find(|token| token.role == role)
    }
}

/// A bearer token of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Who has it, for the log.
    pub name: Box<str>,
    /// What it is good for.
    pub role: Role,
    /// The token.
    pub secret: Secret,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The SQLite file. Its key (`<path>.key`) and the engine's journal (`<path>.journal/`) live beside it.
    pub path: PathBuf,
}

/// `[engine]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Shard threads; 0 for one a core.
    pub shards: usize,
    /// Whether each is pinned to its core.
    pub pin: bool,
    /// The most that one connection may bring in one turn, in bytes.
    pub read_bytes_per_turn: usize,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level (`info`) or directives (`info,carillon=debug`).
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// One `[[exchange]]`: a server, or the front of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its name in registrations, logs and metrics.
    pub name: Box<str>,
    /// Host of the EWS URL.
    pub host: Box<str>,
    /// Port of the EWS URL.
    pub port: u16,
    /// Path of the EWS URL.
    pub path: Box<str>,
    /// How Carillon logs on.
    pub credential: MailCredential,
    /// The file that the password or token came from, if it came from one.
    pub secret_file: Option<PathBuf>,
    /// PEM certificate and key, for logging on by TLS.
    pub client: Option<ClientCertificate>,
    /// Whether requests impersonate the mailbox's owner.
    pub impersonate: bool,
    /// PEM file of further roots to trust.
    pub ca_file: Option<PathBuf>,
    /// Domains of the addresses that may be registered, in lower case; empty for all.
    pub domains: Vec<Box<str>>,
    /// Further folders to watch besides the inbox.
    pub folders: Vec<FolderId>,
    /// How what was missed is looked for.
    pub catch_up: CatchUp,
    /// What the badge counts.
    pub badge: BadgeCount,
    /// Mailboxes on one streaming connection.
    pub cohort_users_max: u16,
    /// `ConnectionTimeout` of streams, in minutes.
    pub stream_minutes: u8,
    /// Silence after which a stream is taken for dead, in seconds.
    pub stream_idle_s: u16,
    /// Connections for ordinary calls, per shard.
    pub calls_max: u16,
    /// How long an ordinary call may take, in seconds.
    pub call_timeout_s: u16,
    /// New subscriptions per second, per shard.
    pub subscribes_per_s: u32,
}

/// One `[[push]]`: a provider, an environment, a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Its name in registrations, logs and metrics.
    pub name: Box<str>,
    /// Host of the provider.
    pub host: Box<str>,
    /// Port of the provider.
    pub port: u16,
    /// PEM file of further roots to trust.
    pub ca_file: Option<PathBuf>,
    /// Apps that may be registered.
    pub topics: Vec<Topic>,
    /// How pushes are authorised.
    pub auth: PushCredential,
    /// Connections per shard.
    pub lanes: u8,
    /// Requests in flight on one lane at most.
    pub lane_window_max: u16,
}

/// How pushes are authorised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushCredential {
    /// By provider tokens of this signing key: an index into [`Config::teams`].
    Team(u16),
    /// By a TLS client certificate.
    Certificate(ClientCertificate),
}

/// A signing key for provider tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// The developer team: 10 characters.
    pub team_id: Box<str>,
    /// The key: 10 characters.
    pub key_id: Box<str>,
    /// The `.p8` file.
    pub key_file: PathBuf,
}

/// A certificate with its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain, own certificate first.
    pub cert_file: PathBuf,
    /// The key.
    pub key_file: PathBuf,
}

#[cfg(test)]
mod tests;
