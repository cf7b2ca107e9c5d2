//! What kind of server this is. Everything that may change while it runs is in [`Faults`](super::Faults).

use carillon_core::time::Span;

use super::code::Code;
use super::version::Version;

/// The settings of a simulated Exchange organisation.
#[derive(Clone, Debug)]
pub struct ExchangeConfig {
    /// Ids, cookies and request ids are drawn from it: equal seeds and equal calls give equal bytes.
    pub seed: u64,
    /// The public host name; it stands in the realm of a 401 and in redirects.
    pub host: String,
    /// Lower-case names of the back-end servers. With several, affinity matters. At least one.
    pub back_ends: Vec<String>,
    /// The newest schema version that this server knows. It decides the reported build as well.
    pub version_max: Version,
    /// What a request with a schema literal that is newer than `version_max` gets (reference: not confirmed; a schema
    /// validation error is also possible).
    pub version_too_new: Code,
    /// Time between heartbeats on a quiet stream. 45 s is what Microsoft's library counts on.
    pub heartbeat: Span,
    /// How long a minute of `ConnectionTimeout` takes. Shorter in tests with real clocks.
    pub minute: Span,
    /// How long the server works on an ordinary call. Zero answers at once, and then no call is ever "in flight".
    pub call_time: Span,
    /// Idle keep-alive connections are closed after this; `None` keeps them. IIS: 120 s.
    pub keep_alive: Option<Span>,
    /// How long a subscription lives while no stream reads it. Undocumented; 30 min is quoted in the field.
    pub detached_ttl: Span,
    /// Events that a subscription keeps while nobody reads. More are dropped all together, and the reader is told
    /// `ErrorMissedNotificationEvents`. Undocumented.
    pub queue_events_max: usize,
    /// Events older than this are dropped while nobody reads, without a word: the subscription stays good. `None`: they are
    /// kept as long as the subscription lives. Undocumented.
    pub queue_age_max: Option<Span>,
    /// How subscriptions are named, and to whom they belong.
    pub subscription_ids: SubscriptionIds,
    /// What a call gets that names a subscription of another back end: `ErrorSubscriptionNotFound` or
    /// `ErrorProxyRequestNotAllowed`.
    pub wrong_back_end: Code,
    /// What GetStreamingEvents gets with more ids than `limits.stream_ids_max` (not confirmed).
    pub too_many_ids: Code,
    /// Numbers of the throttling policy.
    pub limits: Limits,
    /// Basic is offered and accepted.
    pub basic: bool,
    /// Bearer tokens are offered and accepted.
    pub bearer: bool,
    /// Negotiate and NTLM are offered. Nobody can log in by them here.
    pub windows_auth: bool,
    /// What a TLS client certificate is for.
    pub certificate: CertificateRule,
    /// Wrong passwords in a row after which the account is locked and even the right one gets a 401.
    pub lockout_failures: Option<u32>,
    /// What counts as a client's misbehaviour.
    pub strict: StrictRules,
    /// Keep a record of each mail's first appearance on the wire ([`Exchange::take_on_wire`](super::Exchange::take_on_wire)).
    pub record_on_wire: bool,
    /// Keep a record of all calls ([`Exchange::take_asked`](super::Exchange::take_asked)).
    pub record_asked: bool,
}

/// What a TLS client certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateRule {
    /// Nobody looks at it.
    Ignored,
    /// Every connection needs one (403 otherwise); who calls is still said by Basic or Bearer.
    Required,
    /// A known certificate is a log-in (IIS certificate mapping). Without one, Basic or Bearer.
    Mapped,
}

/// How subscriptions are named, and to whom they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionIds {
    /// By a GUID. They belong to the account that made them, whomever it impersonated: Exchange.
    Unique,
    /// By a number, from 1 again after each restart, in ids of 12 characters: Gromox. They belong to the effective user: the
    /// mailbox that is impersonated, or the account. So without impersonation a stale id is accepted, whomever it was given
    /// to meanwhile. A second stream for a subscription ends the first with `Closed`. A stream that names an id that is
    /// unknown or another's ends at once, and the streams that read the other ids end with it.
    Numbered,
    /// As [`SubscriptionIds::Numbered`], in ids as long as Exchange's.
    NumberedLong,
}

/// Numbers of the throttling policy and of the protocol.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Ids in one GetStreamingEvents: 200.
    pub stream_ids_max: usize,
    /// `HangingConnectionLimit` per budget: 3 on Exchange 2013, 10 on 2016 and later.
    pub hanging_connections_max: u32,
    /// `EWSMaxConcurrency` per budget: 27.
    pub concurrency_max: u32,
    /// `EWSMaxSubscriptions`, charged to the target mailbox: 20 on Exchange Online, 5000 by default on-premises.
    pub subscriptions_max: usize,
    /// `ConcurrentSyncCalls` per budget: 5.
    pub sync_calls_max: u32,
    /// `EWSFindCountLimit`: 1000.
    pub find_count_max: u32,
    /// Events in one `Notification`: 50.
    pub events_per_notification: usize,
    /// Events in one envelope, over all its notifications. Keeps an envelope below half a megabyte.
    pub events_per_envelope: usize,
    /// Bytes of a request's head. IIS: 16 KiB.
    pub head_bytes_max: usize,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
}

/// What counts as a client's misbehaviour although a real server might let it pass. Times allow for what was under way.
#[derive(Clone, Debug)]
pub struct StrictRules {
    /// Record `X-AnchorMailbox` missing or naming another mailbox, affinity headers missing or misplaced, `gzip` on a
    /// stream, a `client-request-id` that is missing or used twice.
    pub headers: bool,
    /// After the first `BackOffMilliseconds` of a budget, calls within this time were under way and are forgiven.
    pub back_off_grace: Span,
    /// Added to the back-off by each call that comes too early.
    pub back_off_penalty: Span,
    /// Calls that each client has in flight at most, where that is known: after a back-off it must come with half as
    /// many, until as many were answered.
    pub calls_max: Option<u16>,
    /// A refused credential must rest this long before it is tried again.
    pub refused_credential_rest: Span,
    /// Requests with a refused credential within this time after the first refusal were under way.
    pub refused_credential_grace: Span,
}

impl Default for ExchangeConfig {
    fn default() -> Self {
        ExchangeConfig {
            seed: 1,
            host: "mail.example.com".to_owned(),
            back_ends: vec!["ex1.example.com".to_owned()],
            version_max: Version::V2017_07_11,
            version_too_new: Code::ErrorInvalidServerVersion,
            heartbeat: Span::from_secs(45),
            minute: Span::from_secs(60),
            call_time: Span::ZERO,
            keep_alive: Some(Span::from_secs(120)),
            detached_ttl: Span::from_secs(30 * 60),
            queue_events_max: 4_000,
            queue_age_max: None,
            subscription_ids: SubscriptionIds::Unique,
            wrong_back_end: Code::ErrorSubscriptionNotFound,
            too_many_ids: Code::ErrorInvalidRequest,
            limits: Limits::default(),
            basic: true,
            bearer: true,
            windows_auth: false,
            certificate: CertificateRule::Ignored,
            lockout_failures: None,
            strict: StrictRules::default(),
            record_on_wire: false,
            record_asked: false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            stream_ids_max: 200,
            hanging_connections_max: 10,
            concurrency_max: 27,
            subscriptions_max: 5_000,
            sync_calls_max: 5,
            find_count_max: 1_000,
            events_per_notification: 50,
            events_per_envelope: 500,
            head_bytes_max: 16 * 1024,
            body_bytes_max: 1024 * 1024,
        }
    }
}

impl Default for StrictRules {
    fn default() -> Self {
        StrictRules {
            headers: true,
            back_off_grace: Span::from_secs(1),
            back_off_penalty: Span::from_secs(1),
            calls_max: None,
            refused_credential_rest: Span::from_secs(30),
            refused_credential_grace: Span::from_secs(2),
        }
    }
}
