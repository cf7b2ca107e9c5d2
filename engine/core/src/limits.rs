//! Every bound of the engine that is not a setting: one name with its unit, and the reason for its value.

use crate::time::Span;

/// Bytes that the shell reads from one connection in one turn. Two TLS records: enough to keep a busy stream flowing,
/// little enough that a flood on one connection delays its neighbours by microseconds.
pub const READ_BYTES_PER_TURN: usize = 32 * 1024;

/// Bytes that one connection may have waiting to be written before its machine is asked for no more.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// One SOAP envelope. Notifications have at most 50 events (≈ 25 KiB); a catch-up page is the largest reply we ask for.
pub const ENVELOPE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The head of an HTTP/1.1 response, all header lines together.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// The body of an ordinary (not streaming) HTTP response.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One chunk-size line with its extension (RFC 9112 §7.1.1 asks recipients to bound it).
pub const CHUNK_LINE_BYTES_MAX: usize = 256;

/// The trailer section after the last chunk.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Header lines of one HTTP/1.1 response. Exchange sends some 25.
pub const HEADER_LINES_MAX: usize = 96;

/// What is kept of one header's value. Affinity cookies, the longest that matter, have a few hundred bytes.
pub const HEADER_VALUE_BYTES_MAX: usize = 4 * 1024;

/// The cookies of one cohort, all together: half of what IIS takes in a request head by default (16 KiB).
pub const COOKIES_BYTES_MAX: usize = 8 * 1024;

/// Elements inside one another in XML from a mail server. A notification has 9 levels.
pub const XML_DEPTH_MAX: usize = 64;

/// A mail server's own words in an error: enough to find them in its documentation.
pub const ERROR_TEXT_BYTES_MAX: usize = 256;

/// What is kept of a subject, a name or a preview. Exchange cuts subjects at 255 and previews at 256 characters.
pub const DETAIL_TEXT_BYTES_MAX: usize = 2 * 1024;

/// A pause that a server asks for counts up to here: real ones end at about five minutes.
pub const BACK_OFF_MS_MAX: u64 = 3_600_000;

/// From the request for a stream to its opening envelope, which Exchange sends at once.
pub const STREAM_OPEN_TIMEOUT: Span = Span::from_secs(30);

/// The body of a provider's answer. APNs answers are below 200 bytes.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// The payload of an ordinary push (Apple: 4 KB; "Generating a remote notification").
pub const APNS_PAYLOAD_BYTES_MAX: usize = 4_096;

/// The smallest payload limit that a device can ask for (the binary APNs protocol's, until 2014). Everything but the texts
/// fits in.
pub const APNS_PAYLOAD_BYTES_MIN: usize = 256;

/// Characters of a sender in an alert: a lock screen shows about 30.
pub const ALERT_SENDER_CHARS_MAX: usize = 64;

/// Characters of a subject in an alert: a lock screen shows about 40, an opened alert about 120.
pub const ALERT_SUBJECT_CHARS_MAX: usize = 128;

/// Bytes of one text of a mail that the composer looks at, so that a huge subject costs no more than a long one. Twice
/// the largest payload: room for blanks that collapse.
pub const ALERT_SOURCE_BYTES_MAX: usize = 8 * 1024;

/// The name of a sound file in the app.
pub const SOUND_BYTES_MAX: usize = 64;

/// Mailboxes on one streaming connection (Microsoft: "How to maintain affinity between a group of subscriptions and the
/// Mailbox server").
pub const COHORT_USERS_MAX: usize = 200;

/// Users that one turn takes from the ready ring.
pub const USERS_PER_TURN: u32 = 256;

/// Timers that one turn fires.
pub const TIMERS_PER_TURN: u32 = 1_024;

/// Commands that one turn takes from the queue.
pub const COMMANDS_PER_TURN: usize = 256;

/// Connects in flight per shard: a restart of Exchange must not make us a flood.
pub const CONNECTS_IN_FLIGHT_MAX: usize = 32;

/// The newest mails of a user whose ids are kept until they are told. Older ones are only counted.
pub const PENDING_ITEMS_MAX: usize = 4;

/// Mails already dealt with that a user's row remembers, so that a catch-up tells none twice.
pub const TOLD_ITEMS_MAX: usize = 16;

/// Devices of one user.
pub const USER_DEVICES_MAX: usize = 16;

/// The longest detail cut-off that can be set: three days (`pushDowngradeCutoffSec`).
pub const DETAIL_CUTOFF_S_MAX: u32 = 259_200;

/// How long a TCP connect with its TLS handshake may take.
pub const CONNECT_TIMEOUT: Span = Span::from_secs(10);
