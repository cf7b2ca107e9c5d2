//! What a shard is built with.

use std::fmt;

use super::command::MailCredential;
use crate::limits::COHORT_USERS_MAX;
use crate::names::FolderId;

/// A place to connect to: an index into [`ShardConfig::endpoints`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u16);

/// A mail server: an index into [`ShardConfig::mail_servers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailServerId(pub u16);

/// A push provider with its credential: an index into [`ShardConfig::push_services`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PushServiceId(pub u16);

/// A signing key of a developer team. All services of one team and key share one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TeamId(pub u16);

/// Everything that does not change while the shard lives. The same for all shards of an engine, but for `shard`.
#[derive(Clone)]
pub struct ShardConfig {
    /// This shard's number, from 0.
    pub shard: u16,
    /// Seeds the shard's jitter.
    pub seed: u64,
    /// Where connections can lead.
    pub endpoints: Vec<Endpoint>,
    /// Exchange servers.
    pub mail_servers: Vec<MailServer>,
    /// Providers.
    pub push_services: Vec<PushService>,
    /// Times and intervals; can be changed by a command.
    pub timing: Timing,
    /// Key of the hashes that name mails in payloads and collapse ids, so that an item id never leaves in clear.
    pub item_key: [u8; 16],
}

impl fmt::Debug for ShardConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShardConfig { shard, seed, endpoints, mail_servers, push_services, timing, item_key: _ } = self;
        f.debug_struct("ShardConfig")
            .field("shard", shard)
            .field("seed", seed)
            .field("endpoints", endpoints)
            .field("mail_servers", mail_servers)
            .field("push_services", push_services)
            .field("timing", timing)
            .finish_non_exhaustive()
    }
}

/// Where a connection leads, as far as the core needs to know. The shell pairs it with TLS settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address, for resolution, SNI and `Host`.
    pub host: Box<str>,
    /// TCP port.
    pub port: u16,
    /// What to agree on in the TLS handshake.
    pub protocol: Protocol,
}

/// The application protocol of a connection (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `http/1.1`: EWS. A server that selects no ALPN is accepted.
    Http1,
    /// `h2`: providers. A server that selects nothing else is required.
    Http2,
}

/// An Exchange server, or the front of many.
#[derive(Clone, Debug)]
pub struct MailServer {
    /// Where it is.
    pub endpoint: EndpointId,
    /// Path of the EWS service, usually `/EWS/Exchange.asmx`.
    pub path: Box<str>,
    /// Who we are.
    pub credential: MailCredential,
    /// Whether requests name the mailbox's owner (`ExchangeImpersonation`). Off for an account that watches its own
    /// mailbox, or mailboxes to which it has full access.
    pub impersonate: bool,
    /// `User-Agent`: administrators allow or deny by it.
    pub user_agent: Box<str>,
    /// Further folders to watch in each mailbox, besides the inbox: names of well-known ones
    /// ([`crate::ews::request::WELL_KNOWN_FOLDERS`]), or ids, which belong to one mailbox.
    pub folders: Vec<FolderId>,
    /// How a mailbox is caught up.
    pub catch_up: CatchUp,
    /// What the badge counts.
    pub badge: BadgeCount,
    /// Mailboxes on one streaming connection; at most [`crate::limits::COHORT_USERS_MAX`]. 1 for servers (Gromox) whose
    /// subscriptions belong to the impersonated user.
    pub cohort_users_max: u16,
    /// `ConnectionTimeout` of streams, in minutes (1..=30); each is opened with up to 10 % less.
    pub stream_minutes: u8,
    /// Silence on a stream after which it is taken for dead, in seconds (60..=300). Exchange sends a heartbeat every 45 s.
    pub stream_idle_s: u16,
    /// Connections for ordinary calls, per shard.
    pub calls_max: u16,
    /// How long an ordinary call may take, in seconds.
    pub call_timeout_s: u16,
    /// New subscriptions per second, per shard.
    pub subscribes_per_s: u32,
}

impl MailServer {
    /// One with the usual limits, for an account that may impersonate.
    pub fn new(endpoint: EndpointId, credential: MailCredential) -> MailServer {
        MailServer {
            endpoint,
            path: "/EWS/Exchange.asmx".into(),
            credential,
            impersonate: true,
            user_agent: concat!("Carillon/", env!("CARGO_PKG_VERSION_MAJOR")).into(),
            folders: Vec::new(),
            catch_up: CatchUp::default(),
            badge: BadgeCount::default(),
            cohort_users_max: COHORT_USERS_MAX as u16,
            stream_minutes: 29,
            stream_idle_s: 120,
            calls_max: 8,
            call_timeout_s: 100,
            subscribes_per_s: 20,
        }
    }
}

/// How what was missed is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// By date: the newest mails of a folder, until one is reached that is known (`FindItem`).
    #[default]
    Find,
    /// By what changed since the last time (`SyncFolderItems`). Finds mails whatever their dates, and each reading and
    /// deletion. Costs a walk through each folder once, and memory and storage for its state: often some kilobytes, at
    /// most [`crate::limits::SYNC_STATE_BYTES_MAX`].
    Sync,
}

/// What the badge counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadgeCount {
    /// Unread mails in the inbox, as Outlook's.
    #[default]
    Inbox,
    /// Unread mails in all watched folders together.
    Watched,
}

/// A push provider, one environment, one credential.
#[derive(Clone, Debug)]
pub struct PushService {
    /// Where it is.
    pub endpoint: EndpointId,
    /// How requests are authorised.
    pub auth: PushAuth,
    /// Connections per shard.
    pub lanes: u8,
    /// Requests in flight on one lane at most, whatever the peer allows.
    pub lane_window_max: u16,
}

/// How requests to a provider are authorised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushAuth {
    /// A provider token, handed in by [`super::Command::SetTeamToken`]. Until it comes, pushes wait.
    Team(TeamId),
    /// The TLS client certificate of the endpoint.
    Certificate,
}

/// Times that decide when a phone rings. All in the unit of their name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Quiet after the first mail before a device is told: Exchange sends three events for one mail, and server-side
    /// rules may still move it.
    pub settle_ms: u32,
    /// As `settle_ms`, for VIP mail.
    pub vip_settle_ms: u32,
    /// Between two notices for one user.
    pub min_interval_ms: u32,
    /// The longest that a mail may be held back by settling and intervals together.
    pub max_delay_ms: u32,
    /// Without use of the app for so long, alerts carry no details.
    pub detail_cutoff_s: u32,
    /// How long the provider may keep an alert for a phone that is off; 0: not at all. Otherwise it is told at least
    /// [`crate::limits::ALERT_EXPIRY_S_MIN`]. After so long, no alert is sent again.
    pub alert_expiry_s: u32,
    /// A mail found by a catch-up that is older than this is not news any more: it changes the badge only.
    pub news_max_s: u32,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            settle_ms: 2_000,
            vip_settle_ms: 200,
            min_interval_ms: 5_000,
            max_delay_ms: 15_000,
            detail_cutoff_s: 43_200,
            alert_expiry_s: 86_400,
            news_max_s: 86_400,
        }
    }
}
