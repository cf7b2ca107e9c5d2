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

/// Characters of a preview that is made from a body: as many as Exchange's own has.
pub const PREVIEW_CHARS_MAX: usize = 256;

/// Folders of one mailbox that are watched beside the inbox: each costs calls at every catch-up.
pub const USER_FOLDERS_MAX: usize = 16;

/// One `SyncState`. Exchange's have some kilobytes; with a longer one the folder is walked through anew.
pub const SYNC_STATE_BYTES_MAX: usize = 64 * 1024;

/// Changes on one page of a synchronisation: the most that Exchange allows. They come from its table of changes alone.
pub const SYNC_PAGE: u16 = 512;

/// Pages of one synchronisation of a folder: half a million mails. A server that goes on after that goes in circles.
pub const SYNC_PAGES_MAX: u32 = 1_000;

/// A pause that a server asks for counts up to here: real ones end at about five minutes.
pub const BACK_OFF_MS_MAX: u64 = 3_600_000;

/// And from here: "busy" without a pause would be asked again as fast as it is answered.
pub const BACK_OFF_MS_MIN: u64 = 1_000;

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

/// Connects in flight per shard: a restart of Exchange must not make us a flood. Each endpoint has an equal share of them, so
/// that one that does not answer keeps no other waiting.
pub const CONNECTS_IN_FLIGHT_MAX: usize = 32;

/// The newest mails of a user whose ids are kept until they are told. Older ones are only counted.
pub const PENDING_ITEMS_MAX: usize = 4;

/// Mails already dealt with that a user's row remembers, so that a catch-up tells none twice.
pub const TOLD_ITEMS_MAX: usize = 64;

/// The same while a catch-up is outstanding, when nothing may be covered by its time stamp: of so many mails of one gap none
/// is told twice, whether looks or events tell of them first. More than [`CATCH_UP_MAIL_MAX`] in each of some folders, and
/// more than one [`SYNC_PAGE`]; 24 bytes for each, for as long as it takes.
pub const TOLD_ITEMS_GAP_MAX: usize = 1_000;

/// Of these, how many may be dated in the future: their dates cover nothing, so that they are remembered until then.
pub const FUTURE_ITEMS_MAX: usize = 16;

/// Mails dated in the future that one catch-up passes over, before it comes to the others: they are on top of a folder
/// that is read newest first.
pub const CATCH_UP_FUTURE_MAX: u32 = 2_000;

/// Of these, the newest that are remembered whatever their time stamps: events can come twice.
pub const SEEN_ITEMS_MIN: usize = 8;

/// Alerts for VIP mail of one user that do not wait for the interval, at once; then one more for each interval.
pub const VIP_ALERTS_MAX: u64 = 4;

/// How far a catch-up looks behind the newest mail dealt with: time stamps of events and of mails differ by seconds.
pub const KNOWN_LOOK_BACK: Span = Span::from_secs(60);

/// A call without an answer for so long is slow, unless most calls to its server take a third of that: its place may be
/// needed. Exchange answers within some tenths of a second.
pub const SLOW_CALL: Span = Span::from_secs(1);

/// One in so many call places of a server, and at least one, is kept for mailboxes that answer promptly.
pub const PROMPT_SHARE: u16 = 4;

/// Slow calls that are given up for others at once, as long as no call is answered promptly: so many mailboxes may hang
/// and get mail at the same moment before others wait for them.
pub const YIELDS_FREE: u8 = 16;

/// After [`YIELDS_FREE`], the longest time from one slow call that is given up to the next.
pub const YIELD_BACK_OFF_MAX: Span = Span::from_secs(64);

/// A call for which others wait without being able to go past it: the one that tries a credential that has worked, and the
/// first subscription of a cohort, which has twice as long each time. If it has no answer by then, another mailbox tries.
pub const LEADING_CALL_TIMEOUT: Span = Span::from_secs(20);

/// How long a mailbox may be without a stream before it is looked into by ordinary calls: a little longer than
/// [`STREAM_OPEN_TIMEOUT`], so that it is known by then what became of the first.
pub const POLL_AFTER: Span = Span::from_secs(33);

/// Between two such looks, at most. The last sixth is drawn by chance, so that cohorts do not look together.
pub const POLL_EVERY: Span = Span::from_secs(60);

/// Mailboxes that one shard looks into per second at one mail server while there is no stream: 10,000 in 500 s, with two
/// calls for each.
pub const POLLS_PER_S: u32 = 20;

/// Streams in a row that fell silent right after their opening, after which an opening shows nothing any more.
pub const MUTE_STREAMS_MAX: u8 = 2;

/// Streams of one server in a row that told nothing, or nothing but their opening, after which something stands in their
/// way.
pub const STREAMS_LOST_MAX: u8 = 2;

/// Streams that are being opened at a time where none has come through lately: each hangs for [`STREAM_OPEN_TIMEOUT`].
pub const STREAM_PROBES_MAX: usize = 4;

/// Devices of one user.
pub const USER_DEVICES_MAX: usize = 16;

/// The longest detail cut-off that can be set: three days (`pushDowngradeCutoffSec`).
pub const DETAIL_CUTOFF_S_MAX: u32 = 259_200;

/// How long a TCP connect with its TLS handshake may take.
pub const CONNECT_TIMEOUT: Span = Span::from_secs(10);

/// Fetches of one mail's details that may fail before it is told without them.
pub const FETCH_TRIES_MAX: u8 = 2;

/// How long a notice that is due waits for details before it goes without them.
pub const FETCH_WAIT_MAX: Span = Span::from_secs(5);

/// From an event that tells how many mails of a folder are unread, and of no new one, to a look at the folder itself: some
/// servers tell how many there were before the change. What people do with their mail in so long is looked at once.
pub const RECOUNT_AFTER: Span = Span::from_secs(5);

/// Mails on one page of a catch-up. Exchange allows 1,000; a page of this size with previews is about 40 KiB.
pub const CATCH_UP_PAGE: u16 = 25;

/// Mails that one catch-up looks at. After a longer outage the phone is told "200 new messages", not more.
pub const CATCH_UP_MAIL_MAX: u32 = 200;

/// Between two takings of new mailboxes into an open stream: ids cannot be added to one, it has to be replaced.
pub const STREAM_JOIN_INTERVAL: Span = Span::from_secs(10);

/// How long a new cohort gathers members before its first request, so that its anchor is the first of many.
pub const COHORT_GATHER: Span = Span::from_millis(50);

/// The shortest id that has room for a GUID, in base64. A server that gives out shorter ones counts, and may count from the
/// beginning again after a restart.
pub const UNIQUE_ID_CHARS_MIN: usize = 22;

/// A stream that the server ends earlier than this before its time was not ended because of its time. Its time runs from the
/// moment in which we asked for it, so that only a coarse timer ends it before; the shortest one lasts for a minute.
pub const EARLY_CLOSE: Span = Span::from_secs(5);

/// Streams of several mailboxes in a row that a server refuses for some of them, after which it is served with a stream for
/// each. After its restart the first is refused for subscriptions that are gone; a mailbox that moves at that moment spoils
/// another.
pub const GROUP_REFUSALS_MAX: u8 = 3;

/// Streams in a row that did not last, after which subscriptions whose stream is ended early once more are made anew.
pub const EARLY_CLOSES_MAX: u8 = 2;

/// Subscriptions in a row that are made anew because they brought events of foreign folders. After that, such events only
/// have the mailbox looked into.
pub const FOREIGN_RENEWALS_MAX: u8 = 3;

/// How long a subscribed mailbox waits for its neighbours' subscriptions before the stream is opened.
pub const STREAM_JOIN_WAIT: Span = Span::from_secs(1);

/// Streams that end together open again spread over so long.
pub const REOPEN_SPREAD: Span = Span::from_secs(2);

/// A detachment after which the server's queue of events is no longer trusted (exchange-ews: gap rule).
pub const DETACHED_TRUST: Span = Span::from_secs(60);

/// The first and the longest back-off after a transient failure of a mail server.
pub const MAIL_BACK_OFF: (Span, Span) = (Span::from_secs(5), Span::from_secs(300));

/// A version of EWS that a server has refused is tried again with one call, after this at first if it had worked there: the
/// refusal may have been one stray answer.
pub const NEWER_VERSION_WORKED_RETRY: Span = Span::from_secs(60);

/// As [`NEWER_VERSION_WORKED_RETRY`], if it never worked there: the server is probably older.
pub const NEWER_VERSION_UNPROVEN_RETRY: Span = Span::from_secs(3_600);

/// The longest of both, which double.
pub const NEWER_VERSION_RETRY_MAX: Span = Span::from_secs(86_400);

/// As [`MAIL_BACK_OFF`], after a mailbox moved or its server could not be reached by the front end.
pub const MOVE_BACK_OFF: (Span, Span) = (Span::from_secs(10), Span::from_secs(300));

/// The first and the longest back-off before connecting again.
pub const CONNECT_BACK_OFF: (Span, Span) = (Span::from_secs(1), Span::from_secs(60));

/// The first and the longest back-off of one device or provider after a refusal that may pass.
pub const PUSH_BACK_OFF: (Span, Span) = (Span::from_secs(1), Span::from_secs(60));

/// The longest back-off where a permission is missing that an administrator must give.
pub const ALARM_RETRY: Span = Span::from_secs(30 * 60);

/// The longest back-off of a mailbox that cannot be watched until something changes.
pub const TERMINAL_RETRY: Span = Span::from_secs(60 * 60);

/// The longest back-off while whoever asks a server is turned away.
pub const CLOSED_RETRY: Span = Span::from_secs(5 * 60);

/// Before a refused credential is tried once more: slow enough that no account gets locked.
pub const REFUSED_RETRY: Span = Span::from_secs(15 * 60);

/// The pauses before a credential that has worked is tried again after a refusal; after the last it counts as refused. The
/// restart of a front end lasts some seconds, one bad back end among several is met by chance.
pub const REFUSED_TRIES: [Span; 3] = [Span::from_secs(5), Span::from_secs(15), Span::from_secs(40)];

/// Refusals since a credential last worked after which it counts as refused, whatever is left of [`REFUSED_TRIES`]: answers
/// to requests that were under way count, too. Directories lock an account after ten wrong passwords; some are left for a
/// person.
pub const REFUSALS_MAX: u8 = 8;

/// The longest back-off of a mailbox that is not there any more.
pub const MAILBOX_GONE_RETRY: Span = Span::from_secs(24 * 60 * 60);

/// Trouble of a mailbox within this time after the last, or after the pause for it, is trouble in a row.
pub const SETBACK_MEMORY: Span = Span::from_secs(10 * 60);

/// A mailbox of which a stream has told for so long works: what happened before is over. Longer than a stream that opens and
/// then breaks again and again.
pub const SETBACK_CALM: Span = Span::from_secs(120);

/// Doublings of the pause for a mailbox's database (10 s … 3 min) before the mailbox is looked for elsewhere.
pub const STORE_TRIES_MAX: u8 = 5;

/// Before mailboxes whose stream another owner took are taken back, if nobody says before whose they are. Long enough
/// that two owners who do not know of each other disturb each other little.
pub const STEP_ASIDE_RETRY: Span = Span::from_secs(15 * 60);

/// Before the owner is told that mailboxes are not watched whose stream ended in good order: most are back within
/// [`REOPEN_SPREAD`].
pub const UNSTREAMED_TOLD: Span = Span::from_secs(10);

/// A stream that has been open for so long has proven itself: Exchange sends a heartbeat every 45 s.
pub const STREAM_STEADY: Span = Span::from_secs(45);

/// Streams that one shard opens per second to one mail server. When all streams break at once, 50 cohorts (10,000
/// mailboxes) are back within seconds, and the server is not flooded.
pub const STREAM_OPENS_PER_S: u64 = 20;

/// `ErrorInternalServerError` for a stream in a row after which the one subscription is looked for that causes it.
pub const BISECT_AFTER: u8 = 3;

/// Subscriptions of one server that wait to be given back: a whole office that leaves at once, in some megabytes. Those
/// beyond end by themselves.
pub const FAREWELLS_MAX: usize = 4_096;

/// How long after a mailbox was given up its subscription may still be there: the stream that names it lives for 30 minutes
/// at most, and Exchange is said to keep a subscription for 30 more that no stream names.
pub const FAREWELL_AGE_MAX: Span = Span::from_secs(60 * 60);

/// Mailboxes in a row whose own budget is exhausted after which one that has just worked is asked whether it is the server
/// that is busy.
pub const BUSY_IN_A_ROW_MAX: u8 = 3;

/// Refusals for lack of rights in a row after which one that has just worked is asked whether it is the account's own.
pub const ALARMS_IN_A_ROW_MAX: u8 = 5;

/// Answers without SOAP in a row after which one that has just worked is asked whether it is the server.
pub const FAILURES_IN_A_ROW_MAX: u8 = 5;

/// Answers 500 and 503 in a row after which a provider is left alone for a while.
pub const SERVICE_FAILURES_MAX: u8 = 8;

/// 410 answers older than the registration, in a row, after which a notice is given up.
pub const STALE_GONE_MAX: u8 = 3;

/// Reports in a minute of pushes to one provider that were given up. More are counted.
pub const GIVEN_UP_PER_MINUTE: u8 = 10;

/// Between two openings of lanes to one provider.
pub const LANE_STAGGER: Span = Span::from_secs(1);

/// How far the clocks of two well-kept machines are apart at most (Kerberos, RFC 4120 §1.6, recommends the same).
pub const CLOCK_SKEW_MS_MAX: u64 = 5 * 60 * 1_000;

/// The shortest life of an alert that a provider is to keep, by its own clock: an hour, by which a host is off whose time
/// zone is not set right, and [`CLOCK_SKEW_MS_MAX`].
pub const ALERT_EXPIRY_S_MIN: u32 = 65 * 60;

/// Another lane is opened when more waits than those that are open carry in this time: less is gone before the other
/// stands, and delays nobody noticeably.
pub const LANE_BACKLOG: Span = Span::from_millis(100);

/// Apps (topics) of one provider that have a breaker of their own. Configurations name a handful; devices of further ones
/// are judged one by one.
pub const APPS_MAX: usize = 64;

/// Users of one app whose device tokens are refused as unknown, one after the other and without an accepted push between
/// them, after which it is not these devices but the environment or the app, and whoever was not seen to have a good token
/// waits. Users are counted: one can have many devices and make their tokens up. Apps are removed one by one, and APNs answers
/// 410 for those: eight such users in a row are no accident, and few enough that APNs does not drop the connection for them.
pub const DOUBTED_USERS_MAX: usize = 8;

/// Device tokens of one user that are refused as unknown, with none between them that turned out to be good, after which the
/// user's tokens are tried one at a time, with the first of [`BREAKER_BACK_OFF`] between them.
pub const USER_DOUBTS_MAX: u8 = 2;

/// The longest that a device whose token was refused as unknown waits for the verdict whether it is the only one.
pub const DOUBT_TIME: Span = Span::from_secs(60);

/// The first and the longest time between two pushes that try whether an app's tokens are known again: it takes a person
/// to put it right, and APNs minds who pushes to bad tokens.
pub const BREAKER_BACK_OFF: (Span, Span) = (Span::from_secs(30), Span::from_secs(300));

/// Up to this age a provider token may be used. Apple refuses it after an hour; five minutes are for clocks that differ.
pub const PROVIDER_TOKEN_AGE_MAX: Span = Span::from_secs(55 * 60);
