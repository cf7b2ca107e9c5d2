//! The service below HTTP/2: takes one whole request, says what becomes of it.
//!
//! Apple does not publish the order of its checks. This one is fixed, so that a test can rely on it where it has to:
//! method and path; headers that stand there twice; authorisation; id, type, priority, expiration, collapse id; topic;
//! token; body; rate of the device.

use std::collections::VecDeque;
use std::sync::Arc;

use carillon_core::limits::CLOCK_SKEW_MS_MAX;
use carillon_core::rng::Rng;
use carillon_core::time::{Now, UnixMillis};

use super::answer::{Reason, Refusal};
use super::arrived::Arrived;
use super::auth::{Accounts, Binding, Environment};
use super::device::Arrival;
use super::knobs::Knobs;
use super::payload::{Payload, PayloadFault};
use super::registry::{DeviceIx, Registry};
use super::request::{Fields, Head, PushType, header, no_duplicates, route};
use super::stats::{ApnsStats, StrictFault};
use crate::peer::PeerConn;

/// A push that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When.
    pub at: Now,
    /// On which connection.
    pub conn: PeerConn,
    /// For which device.
    pub device: DeviceIx,
    /// The number that the device was registered with.
    pub tag: u64,
    /// Its token.
    pub token: Arc<str>,
    /// The bundle id of its app.
    pub topic: Arc<str>,
    /// `apns-id`, given by the service when the push had none.
    pub apns_id: u128,
    /// The device had accepted this `apns-id` before: nothing is shown twice.
    pub duplicate: bool,
    /// Mails told of under this `apns-id` before; 0 when it is new.
    pub n_before: u32,
    /// `apns-push-type`.
    pub push_type: PushType,
    /// `apns-priority`.
    pub priority: u8,
    /// `apns-expiration`.
    pub expiration_s: Option<u64>,
    /// `apns-collapse-id`.
    pub collapse_id: Option<Box<str>>,
    /// What it says.
    pub payload: Payload,
    /// What is wrong with it.
    pub fault: Option<PayloadFault>,
    /// Length of the body.
    pub bytes: u32,
}

/// The simulated service without its connections.
#[derive(Debug)]
pub struct Service {
    /// Which of Apple's worlds this is.
    pub environment: Environment,
    /// The `:authority` that clients are to use; `None` lets any pass.
    pub authority: Option<Box<str>>,
    /// Keys, apps, certificates.
    pub accounts: Accounts,
    /// Device tokens.
    pub registry: Registry,
    /// What can be turned.
    pub knobs: Knobs,
    /// What was counted.
    pub stats: ApnsStats,
    /// So far its clock is ahead of its clients'.
    pub clock_ahead_ms: i64,
    pub(super) rng: Rng,
    pub(super) deliveries: VecDeque<Delivery>,
    pub(super) arrived: VecDeque<Arrived>,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The connection.
    pub conn: PeerConn,
    /// The client's address.
    pub client: &'a str,
}

/// A token that is gone, and since when: it may come back, and be gone again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoneSince {
    /// The token's row.
    pub device: DeviceIx,
    /// The time stamp of the answer.
    pub since: UnixMillis,
}

/// The answer to a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Echoed or given.
    pub apns_id: u128,
    /// Accepted or refused.
    pub result: Result<(), Refusal>,
    /// The push showed a valid provider token.
    pub authenticated: bool,
    /// The answer says that this token is gone. Who hands it to a client says so ([`super::registry::Row::set_told`]).
    pub gone: Option<GoneSince>,
}

/// A client whom a 410 tells of a token that is gone since a moment more than so far ahead by its own clock, need not
/// believe it: [`CLOCK_SKEW_MS_MAX`], without what its clock may drift and the answer may take.
const COMPARABLE_AHEAD_MS: u64 = CLOCK_SKEW_MS_MAX - 30_000;

/// The largest header list of the live service, in bytes (RFC 9113 §6.5.2: 32 for each field beside its text).
pub const HEADER_LIST_BYTES_MAX: usize = 8_000;

impl Service {
    /// A service that knows nobody yet.
    pub fn new(environment: Environment, knobs: Knobs, seed: u64) -> Service {
        Service {
            environment,
            authority: None,
            accounts: Accounts::default(),
            registry: Registry::default(),
            knobs,
            stats: ApnsStats::default(),
            clock_ahead_ms: 0,
            rng: Rng::new(seed),
            deliveries: VecDeque::new(),
            arrived: VecDeque::new(),
        }
    }

    /// The next accepted push that was not asked for yet.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    /// Judges one push.
    pub fn push(
        &mut self,
        now: Now,
        origin: Origin<'_>,
        binding: &mut Binding,
        head: &Head<'_>,
        body: &[u8],
    ) -> Verdict {
        self.stats.requests += 1;
        let mut progress = Progress::default();
        let result = self.judge(now, origin, binding, head, body, &mut progress);
        match result {
            Ok(()) => self.stats.accepted += 1,
            Err(Refusal { reason, .. }) => *self.stats.refused.entry(reason).or_default() += 1,
        }
        let apns_id = progress.apns_id.unwrap_or_else(|| self.rng.uuid_v4());
        Verdict { apns_id, result, authenticated: progress.authenticated, gone: progress.gone }
    }

    fn judge(
        &mut self,
        now: Now,
        origin: Origin<'_>,
        binding: &mut Binding,
        head: &Head<'_>,
        body: &[u8],
        progress: &mut Progress,
    ) -> Result<(), Refusal> {
        self.look_strictly(head, binding);
        let token = route(head)?;
        no_duplicates(head.headers)?;
        if now.time < self.knobs.unavailable_until {
            return Err(Reason::ServiceUnavailable.into());
        }
        if self.knobs.internal_errors.draw(&mut self.rng) {
            return Err(Reason::InternalServerError.into());
        }
        let grant = self.accounts.authorise(
            now,
            self.environment,
            &self.knobs.tokens,
            origin.client,
            binding,
            header(head.headers, "authorization"),
        )?;
        progress.authenticated = true;
        let fields = Fields::parse(head.headers)?;
        progress.apns_id = fields.apns_id;
        if fields.apns_id_unusual {
            self.stats.strict.note(StrictFault::ApnsIdUnusual);
        }
        if fields.push_type.is_none() {
            self.stats.strict.note(StrictFault::PushTypeMissing);
        }
        let push_type = fields.push_type.unwrap_or(PushType::Alert);
        let bundle = self.accounts.bundle(grant, binding, push_type, header(head.headers, "apns-topic"))?;
        let device = find_device(&self.registry, &mut self.stats, self.environment, bundle, token)?;
        let row = self.registry.row_mut(device);
        if let Err((gone, told)) = row.check_alive(token) {
            if told {
                self.stats.strict.note(StrictFault::PushedAfterGone);
            }
            if !self.knobs.gone_stamps {
                return Err(gone.reason.into());
            }
            let client_now = UnixMillis(now.unix.0.saturating_add_signed(-self.clock_ahead_ms));
            let comparable = |since: &UnixMillis| since.millis_since(client_now) < COMPARABLE_AHEAD_MS;
            progress.gone = gone.since.filter(comparable).map(|since| GoneSince { device, since });
            return Err(gone);
        }
        if body.is_empty() {
            return Err(Reason::PayloadEmpty.into());
        }
        if body.len() > push_type.payload_bytes_max() {
            return Err(Reason::PayloadTooLarge.into());
        }
        row.check_rate(now, self.knobs.device_rate)?;
        if self.knobs.refusals.draw(&mut self.rng) {
            return Err(self.knobs.refusal.into());
        }
        let apns_id = fields.apns_id.unwrap_or_else(|| self.rng.uuid_v4());
        progress.apns_id = Some(apns_id);
        self.accept(now, origin.conn, device, apns_id, push_type, &fields, body);
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // Each is another thing, and the only caller names them all.
    fn accept(
        &mut self,
        now: Now,
        conn: PeerConn,
        device: DeviceIx,
        apns_id: u128,
        push_type: PushType,
        fields: &Fields<'_>,
        body: &[u8],
    ) {
        let background = push_type == PushType::Background;
        let (payload, fault) = Payload::read(body, background);
        if let Some(fault) = fault {
            self.stats.strict.note(StrictFault::Payload(fault));
        }
        self.stats.payload_bytes += body.len() as u64;
        let row = self.registry.row_mut(device);
        let again = row.device.take(
            now,
            Arrival {
                apns_id,
                collapse_id: fields.collapse_id.map(Into::into),
                expiration_s: fields.expiration_s,
                background,
                alert: payload.is_alert(),
                badge: payload.badge,
                n: payload.n,
                items: payload.items.clone(),
                details: payload.has_details(),
            },
        );
        if let Some(again) = again {
            self.stats.duplicates += 1;
            if !again.same_collapse_id {
                self.stats.strict.note(StrictFault::ResendOtherCollapseId);
            }
        }
        self.deliveries.push_back(Delivery {
            at: now,
            conn,
            device,
            tag: row.tag,
            token: row.token.clone(),
            topic: row.bundle.clone(),
            apns_id,
            duplicate: again.is_some(),
            n_before: again.map_or(0, |again| again.n),
            push_type,
            priority: fields.priority,
            expiration_s: fields.expiration_s,
            collapse_id: fields.collapse_id.map(Into::into),
            payload,
            fault,
            bytes: body.len() as u32,
        });
    }

    fn look_strictly(&mut self, head: &Head<'_>, binding: &Binding) {
        let strict = &mut self.stats.strict;
        match (&self.authority, head.authority) {
            (Some(ours), Some(theirs)) if **ours != *theirs => strict.note(StrictFault::AuthorityWrong),
            (_, None) => strict.note(StrictFault::AuthorityMissing),
            (Some(_) | None, Some(_)) => {}
        }
        if head.headers.contains_key("content-encoding") {
            strict.note(StrictFault::ContentEncoding);
        }
        if matches!(binding, Binding::Certificate(_)) && head.headers.contains_key("authorization") {
            strict.note(StrictFault::TwoCredentials);
        }
        let fields: usize =
            head.headers.iter().map(|(name, value)| 32 + name.as_str().len() + value.len()).sum();
        if fields + 4 * 32 + head.path.len() + head.authority.map_or(0, str::len) > HEADER_LIST_BYTES_MAX {
            strict.note(StrictFault::HeaderListTooLarge);
        }
    }

    /// Makes a share of the live tokens answer 410 from now on, chosen by the seed; says which.
    pub fn churn(&mut self, share: super::knobs::Share, since: UnixMillis) -> Vec<DeviceIx> {
        let mut gone = Vec::new();
        for at in 0..self.registry.len() {
            let at = DeviceIx(at as u32);
            let row = self.registry.row_mut(at);
            if !row.is_gone() && share.draw(&mut self.rng) {
                row.set_gone(Reason::Unregistered, since);
                gone.push(at);
            }
        }
        gone
    }
}

/// How far a push came before it was refused.
#[derive(Default)]
struct Progress {
    apns_id: Option<u128>,
    authenticated: bool,
    gone: Option<GoneSince>,
}

fn find_device(
    registry: &Registry,
    stats: &mut ApnsStats,
    here: Environment,
    bundle: &str,
    token: &str,
) -> Result<DeviceIx, Reason> {
    let is_token = !token.is_empty()
        && token.len().is_multiple_of(2)
        && token.len() <= 200
        && token.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_token {
        return Err(Reason::BadDeviceToken);
    }
    let found = if token.bytes().any(|b| b.is_ascii_uppercase()) {
        stats.strict.note(StrictFault::TokenUpperCase);
        registry.find(&token.to_ascii_lowercase())
    } else {
        registry.find(token)
    };
    let Some(device) = found else {
        stats.unknown_tokens += 1;
        return Err(Reason::BadDeviceToken);
    };
    let (home, environment) = registry.row(device).home_of(token);
    if environment != here {
        return Err(Reason::BadDeviceToken);
    }
    if *home != *bundle {
        return Err(Reason::DeviceTokenNotForTopic);
    }
    Ok(device)
}
