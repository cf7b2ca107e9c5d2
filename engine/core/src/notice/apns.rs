//! The body and headers of a push to APNs (Apple, "Generating a remote notification").
//!
//! The texts of a mail come last in the body: what they may take is then simply what is left.

use super::fit::push_fitted;
use super::json::{Json, push_hex};
use super::{Composed, MailDetails, Notice, Text};
use crate::limits::{
    ALERT_SENDER_CHARS_MAX, ALERT_SUBJECT_CHARS_MAX, APNS_PAYLOAD_BYTES_MIN, PENDING_ITEMS_MAX,
    SOUND_BYTES_MAX,
};
use crate::push::PushType;

/// Words `notice` into `out`, in place of what was there: at most `bytes_max` bytes of JSON. Texts are shortened to fit,
/// JSON never. A `bytes_max` below [`APNS_PAYLOAD_BYTES_MIN`] counts as that.
///
/// The caller has asked [`super::details_allowed`] before he hands in details; protected mails are worded without them
/// in any case.
///
/// On the screen an alert with details stands for its mail. All alerts without details of one user share one line: the
/// newest takes the place of the one before. A badge takes the place of neither.
pub fn compose_apns(out: &mut Vec<u8>, notice: &Notice<'_>, bytes_max: usize) -> Composed {
    let bytes_max = bytes_max.max(APNS_PAYLOAD_BYTES_MIN);
    let mut json = Json::within(std::mem::take(out));
    json.raw("{");
    let (details, priority, collapse_id) = match wording(&notice.text) {
        None => {
            json.key("aps");
            json.raw("{");
            write_badge(&mut json, notice.badge);
            (false, PRIORITY_POWER_SAVING, collapse_id('b', notice.user))
        }
        Some(wording) => {
            let size = if bytes_max < COMPACT_BELOW_BYTES { Size::Compact } else { Size::Full };
            write_app_keys(&mut json, notice, size);
            json.key("aps");
            json.raw("{");
            write_badge(&mut json, notice.badge);
            write_alert_keys(&mut json, notice, size);
            let details = write_alert(&mut json, wording, bytes_max);
            let collapse_id = match notice.items.first() {
                Some(item) if details => collapse_by_mail(*item),
                Some(_) | None => collapse_id('a', notice.user),
            };
            (details, PRIORITY_AT_ONCE, collapse_id)
        }
    };
    json.raw(END);
    *out = json.into_bytes();
    Composed { push_type: PushType::Alert, priority, collapse_id, details }
}

/// An alert's text as it will be written, with the corner cases of [`Text`] taken out.
#[derive(Clone, Copy)]
enum Wording<'a> {
    Mail { mail: &'a MailDetails, localized: bool },
    Generic { localized: bool },
    Several { mails: u32, localized: bool },
}

fn wording<'a>(text: &Text<'a>) -> Option<Wording<'a>> {
    Some(match *text {
        Text::BadgeOnly => return None,
        Text::Mail { mail, localized } if mail.protected => Wording::Generic { localized },
        Text::Mail { mail, localized } => Wording::Mail { mail, localized },
        Text::Generic { localized } | Text::Several { mails: 0 | 1, localized } => {
            Wording::Generic { localized }
        }
        Text::Several { mails, localized } => Wording::Several { mails, localized },
    })
}

/// A payload below [`COMPACT_BELOW_BYTES`] does without what only arranges the screen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Full,
    Compact,
}

/// What the app learns beside the alert: account, number of mails, and by which hashes it finds the newest.
fn write_app_keys(json: &mut Json, notice: &Notice<'_>, size: Size) {
    let items_max = match size {
        Size::Full => PENDING_ITEMS_MAX,
        Size::Compact => 1,
    };
    json.key("m");
    json.raw("{");
    json.key("a");
    json.hash(notice.account);
    json.key("n");
    json.number(if planted!(MailsMiscounted) { notice.text.mails() - 1 } else { notice.text.mails() });
    json.key("i");
    json.raw("[");
    for (at, item) in notice.items.iter().take(items_max).enumerate() {
        if at > 0 {
            json.raw(",");
        }
        json.hash(*item);
    }
    json.raw("]}");
}

fn write_badge(json: &mut Json, badge: Option<u32>) {
    if let Some(badge) = badge {
        json.key("badge");
        json.number(badge);
    }
}

fn write_alert_keys(json: &mut Json, notice: &Notice<'_>, size: Size) {
    if let Some(sound) = notice.sound {
        json.key("sound");
        json.raw("\"");
        json.raw(if is_sound_name(sound) { sound } else { "default" });
        json.raw("\"");
    }
    if size == Size::Compact {
        return;
    }
    json.key("thread-id");
    json.hash(notice.account);
    json.raw(r#","category":"MAIL""#);
    if notice.vip {
        json.raw(r#","interruption-level":"time-sensitive""#);
    }
}

/// Whether this can be the name of a file in the app. Of a file that it does not have, a phone plays `default` too.
fn is_sound_name(sound: &str) -> bool {
    let plain = |c: char| !c.is_control() && c != '"' && c != '\\';
    !sound.is_empty() && sound.len() <= SOUND_BYTES_MAX && sound.chars().all(plain)
}

/// Writes the alert and what depends on it. True: with details.
fn write_alert(json: &mut Json, wording: Wording<'_>, bytes_max: usize) -> bool {
    json.key("alert");
    match wording {
        Wording::Mail { mail, localized } => {
            if write_details(json, mail, localized, bytes_max) {
                return true;
            }
            json.raw(NEW_MAIL_ENGLISH);
        }
        Wording::Generic { localized } => write_generic(json, localized),
        Wording::Several { mails, localized: true } => {
            json.raw(r#"{"loc-key":"NEW_MAILS","loc-args":[""#);
            json.number(mails);
            json.raw(r#""]}"#);
        }
        Wording::Several { mails, localized: false } => {
            json.raw("\"");
            json.number(mails);
            json.raw(r#" new messages""#);
        }
    }
    false
}

fn write_generic(json: &mut Json, localized: bool) {
    json.raw(if localized { r#"{"loc-key":"NEW_MAIL"}"# } else { NEW_MAIL_ENGLISH });
}

/// Writes what fits of sender, subject and preview, in this order. Where nobody is named, the subject is the title; without
/// either, the title says that it is a mail. False: nothing was left of them, and nothing is written.
fn write_details(json: &mut Json, mail: &MailDetails, localized: bool, bytes_max: usize) -> bool {
    let start = json.len();
    let end = bytes_max - DETAILS_END.len() - END.len();
    json.raw("{");
    // In a small payload a long sender leaves half of the room to the subject.
    let sender_end = json.len() + end.saturating_sub(json.len()) / 2;
    let named = write_text(json, "title", &mail.sender, ALERT_SENDER_CHARS_MAX, sender_end)
        || write_text(json, "title", &mail.sender_address, ALERT_SENDER_CHARS_MAX, sender_end);
    let end = if named { end } else { end - NAMELESS_BYTES };
    let told = [
        named,
        write_text(
            json,
            if named { "subtitle" } else { "title" },
            &mail.subject,
            ALERT_SUBJECT_CHARS_MAX,
            end,
        ),
        write_text(json, "body", &mail.preview, usize::MAX, end),
    ];
    if told == [false; 3] {
        json.text().truncate(start);
        return false;
    }
    if !(told[0] || told[1]) {
        json.key(if localized { "title-loc-key" } else { "title" });
        json.raw(if localized { r#""NEW_MAIL""# } else { NEW_MAIL_ENGLISH });
    }
    json.raw(DETAILS_END);
    true
}

/// Writes a member whose text ends before the payload's byte `end`. False: nothing is left of the text, and nothing is written.
fn write_text(json: &mut Json, key: &str, text: &str, chars_max: usize, end: usize) -> bool {
    let start = json.len();
    json.key(key);
    json.raw("\"");
    let bytes_max = end.saturating_sub(json.len() + 1);
    if push_fitted(json.text(), text, chars_max, bytes_max) {
        json.raw("\"");
        return true;
    }
    json.text().truncate(start);
    false
}

/// The collapse id of an alert that stands for this mail alone.
pub(crate) fn collapse_by_mail(item: u64) -> Box<str> {
    collapse_id('m', item)
}

/// `apns-collapse-id`: 17 bytes of the 64 that it may have, and nothing of a mail in clear.
fn collapse_id(of: char, what: u64) -> Box<str> {
    let mut id = String::with_capacity(17);
    id.push(of);
    push_hex(&mut id, what);
    id.into_boxed_str()
}

/// The longer one of the two titles of a mail without a sender, with its comma.
const NAMELESS_BYTES: usize = r#","title-loc-key":"NEW_MAIL""#.len();

/// For an app without texts of its own.
const NEW_MAIL_ENGLISH: &str = r#""New mail""#;

/// Closes an alert with texts; the app's extension may look at the mail before it is shown.
const DETAILS_END: &str = r#"},"mutable-content":1"#;

/// Closes `aps` and the whole.
const END: &str = "}}";

/// `apns-priority` of what is to be seen now.
const PRIORITY_AT_ONCE: u8 = 10;

/// `apns-priority` of what may wait until the phone is awake.
const PRIORITY_POWER_SAVING: u8 = 5;

/// Below this the full set of keys (at most 360 bytes) would leave too little for the texts.
const COMPACT_BELOW_BYTES: usize = 512;
