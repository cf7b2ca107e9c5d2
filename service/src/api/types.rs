//! The JSON of the API, in and out. Requests are strict: a member that is not named here is an error.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// A registration of a device. Also one line of an import.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// The user's id. Needed in an import; elsewhere it stands in the path, and must be the same if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "jane")]
    pub user: Option<String>,
    /// The device's id. Needed in an import; elsewhere it stands in the path, and must be the same if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "phone-1")]
    pub device: Option<String>,
    /// SMTP address of the mailbox.
    #[schema(example = "jane@example.com", max_length = 320)]
    pub address: String,
    /// Name of a configured push service; may be left out when there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<String>,
    /// Name of a configured Exchange; may be left out when there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// The device token in hex.
    #[schema(example = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0")]
    pub token: String,
    /// The app's bundle id, one of the push service's topics; may be left out when there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "com.example.mail")]
    pub topic: Option<String>,
    /// Exchange's `GroupingInformation` of the mailbox (Autodiscover), at most 256 bytes. Left out: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grouping: Option<String>,
    /// What the device's user wants to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsRequest>,
    /// Which mails go first, for all of the user's devices. Left out: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<VipRequest>,
    /// Folders whose mail is told beside the inbox's, for all of the user's devices: EWS folder ids of this mailbox, or
    /// `archiveinbox`, `deleteditems`, `drafts`, `junkemail`, `sentitems`; at most 16. Left out: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folders: Option<Vec<String>>,
    /// When the app was last used, in milliseconds since 1970. Left out: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_at_ms: Option<u64>,
}

/// Settings of a device. What is left out has its default.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsRequest {
    /// Alerts for new mail; without, the device gets badges only. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<bool>,
    /// Sender, subject and preview in alerts. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<bool>,
    /// The number on the app's icon. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub badge: Option<bool>,
    /// The app has texts for `loc-key`s. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub localized: Option<bool>,
    /// Sound of alerts: a file name in the app, `default`, or null for none. Default `default`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 64)]
    pub sound: Option<Option<String>>,
    /// Sound of VIP alerts; null or left out: the same as `sound`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub vip_sound: Option<String>,
}

/// Which mails go first.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VipRequest {
    /// Mails that the sender marked with high importance.
    #[serde(default)]
    pub high_importance: bool,
    /// Mails from these addresses, at most 100.
    #[serde(default)]
    pub senders: Vec<String>,
}

/// "The app was used."
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActiveRequest {
    /// When, in milliseconds since 1970. Left out: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
}

/// The answer to a registration.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct RegisterAnswer {
    /// The user's id.
    pub user: String,
    /// The device's id.
    pub device: String,
    /// When it was registered, in milliseconds since 1970.
    pub registered_at_ms: u64,
    /// Key (32 hex digits) of the hashes (SipHash-2-4) by which payloads name mails: hash an Exchange item id with it to
    /// find the mail. The same for all users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_key: Option<String>,
}

/// A user.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct UserView {
    /// The id.
    pub user: String,
    /// The number by which the log calls the user.
    pub number: u64,
    /// SMTP address of his mailbox.
    pub address: String,
    /// The Exchange that it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// Whether nothing is sent to any of the devices.
    pub stopped: bool,
    /// How his mailbox is watched.
    pub watch: WatchView,
    /// Which mails go first.
    pub vip: VipRequest,
    /// Folders whose mail is told beside the inbox's.
    pub folders: Vec<String>,
    /// Of those, the ones that cannot be watched, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped_folders: Vec<DroppedFolderView>,
    /// His devices.
    pub devices: Vec<DeviceView>,
}

/// A chosen folder that cannot be watched.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct DroppedFolderView {
    /// Its id, as it was chosen.
    pub id: String,
    /// Why, and what to do.
    pub trouble: TroubleView,
}

/// How a mailbox is watched.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct WatchView {
    /// `waiting` (nothing heard yet), `live` (on an open stream and caught up), `polling` (looked into about once a minute,
    /// as no stream tells of it) or `unwatched`.
    pub state: String,
    /// Why it is not watched, or not by a stream; or what cannot be read in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<TroubleView>,
}

/// What is wrong.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct TroubleView {
    /// A stable word for alarms.
    pub code: String,
    /// What happened and what to do.
    pub text: String,
}

impl TroubleView {
    /// The engine's word, as the API says it.
    pub fn new(trouble: &carillon_core::shard::Trouble) -> TroubleView {
        TroubleView { code: trouble.code.to_string(), text: trouble.text.to_string() }
    }
}

/// A device of a user. The token itself is never given out.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct DeviceView {
    /// Its id.
    pub device: String,
    /// The number by which the log calls it.
    pub number: u64,
    /// The push service that reaches it.
    pub push: String,
    /// The app.
    pub topic: String,
    /// The first four digits of its token, to compare by.
    pub token_start: String,
    /// When it was last registered, in milliseconds since 1970.
    pub registered_at_ms: u64,
    /// When the app was last used, in milliseconds since 1970.
    pub active_at_ms: u64,
    /// Nothing is sent to it: its user was stopped, and it has not registered since.
    pub stopped: bool,
    /// What its user wants to see.
    pub settings: SettingsView,
}

/// Settings of a device, all of them.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct SettingsView {
    /// Alerts for new mail.
    pub alerts: bool,
    /// Sender, subject and preview in alerts.
    pub details: bool,
    /// The number on the app's icon.
    pub badge: bool,
    /// The app has texts for `loc-key`s.
    pub localized: bool,
    /// Sound of alerts, null for none.
    pub sound: Option<String>,
    /// Sound of VIP alerts, null for the same as `sound`.
    pub vip_sound: Option<String>,
}

/// The state of the whole.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct StatusView {
    /// Users.
    pub users: u64,
    /// Their devices.
    pub devices: u64,
    /// Users whose mailbox is on an open stream and caught up.
    pub live: u64,
    /// Users whose mailbox is looked into about once a minute, as no stream tells of it.
    #[serde(default)]
    pub polling: u64,
    /// Users whose mailbox is not watched because something is wrong.
    pub unwatched: u64,
    /// The first ten of those, by number.
    pub unwatched_first: Vec<UnwatchedView>,
    /// Users all of whose devices are stopped.
    pub stopped: u64,
    /// Streaming connections to mail servers.
    pub streams: u64,
    /// Connections to push services.
    pub lanes: u64,
    /// Pushes without an answer.
    pub pushes_in_flight: u64,
    /// Users that are due and wait for their turn.
    pub users_ready: u64,
    /// What became of every mail.
    pub ledger: LedgerView,
    /// Answers of push services, by kind.
    pub answers: BTreeMap<String, u64>,
    /// Latencies in microseconds.
    pub latency_us: LatenciesView,
    /// The mail servers.
    pub mail_servers: Vec<PartView>,
    /// The push services.
    pub push_services: Vec<PartView>,
    /// What is wrong with the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<TroubleView>,
    /// What is wrong with the engine's journal, which keeps what the store does not have yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<TroubleView>,
    /// Seconds since the service started.
    pub uptime_s: u64,
}

/// A user whose mailbox is in trouble.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct UnwatchedView {
    /// The id; left out while the store cannot tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The number by which the log calls the user.
    pub number: u64,
    /// What is wrong.
    pub trouble: TroubleView,
}

/// The ledger: each mail is in exactly one place.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct LedgerView {
    /// Mails that the sources reported.
    pub signalled: u64,
    /// Reports of a mail already known.
    pub duplicate: u64,
    /// Tellings (one mail for one device) opened.
    pub folded: u64,
    /// Mails whose details were fetched.
    pub fetched: u64,
    /// Tellings handed to a lane.
    pub offered: u64,
    /// Tellings that came back from a lane.
    pub returned: u64,
    /// Tellings that the provider accepted.
    pub accepted: u64,
    /// Tellings not made, by reason.
    pub suppressed: BTreeMap<String, u64>,
    /// Tellings not needed any more.
    pub superseded: u64,
    /// Tellings too late to be news.
    pub expired: u64,
    /// Tellings that wait.
    pub waiting: u64,
    /// Tellings in pushes without an answer.
    pub in_flight: u64,
}

/// The latencies of pushes since the start.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct LatenciesView {
    /// From the mail's bytes to the push's bytes.
    pub mail_to_written: LatencyView,
    /// From when settling allowed it to the push's bytes.
    pub due_to_written: LatencyView,
    /// From the mail's bytes to the provider's answer.
    pub mail_to_accepted: LatencyView,
}

/// One latency, in microseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct LatencyView {
    /// Pushes that were measured.
    pub count: u64,
    /// Half of them were faster.
    pub p50: u64,
    /// 90 of 100 were faster.
    pub p90: u64,
    /// 99 of 100 were faster.
    pub p99: u64,
    /// 999 of 1,000 were faster.
    pub p999: u64,
    /// The slowest.
    pub max: u64,
}

/// A mail server or a push service.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct PartView {
    /// Its name in the configuration.
    pub name: String,
    /// `well`, `trouble` (it is tried again by itself) or `refused` (our credential; a person has to act).
    pub state: String,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<TroubleView>,
    /// Peculiarities that were noticed, and how it is served because of them. Nothing is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<TroubleView>,
}

/// `/healthz`
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct HealthView {
    /// Always true.
    pub alive: bool,
}

/// `/readyz`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct ReadyView {
    /// Whether the service can do its work.
    pub ready: bool,
    /// The parts that keep it from it: `store`, `engine`.
    pub not_ready: Vec<String>,
}

/// The result of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct ImportAnswer {
    /// Lines that were not blank.
    pub lines: u64,
    /// Devices that are new.
    pub created: u64,
    /// Devices that were known and are refreshed.
    pub refreshed: u64,
    /// Lines that were refused.
    pub refused: u64,
    /// The first of the refused lines.
    pub errors: Vec<ImportError>,
    /// Refused lines that `errors` has no room for.
    pub errors_left_out: u64,
}

/// Why a line of an import was refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct ImportError {
    /// Number of the line, from 1.
    pub line: u64,
    /// The member that is to blame, where it is one.
    pub field: Option<String>,
    /// Why, and what is expected.
    pub message: String,
}

/// The body of every answer that is an error.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct ErrorAnswer {
    /// The error.
    pub error: ErrorView,
}

/// An error.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct ErrorView {
    /// A stable word for programs, such as `bad_request`.
    pub code: String,
    /// The member of the request that is to blame, null where it is none.
    pub field: Option<String>,
    /// A sentence for people.
    pub message: String,
}

/// Tells `null` (given, and nothing) from a member that is left out.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
