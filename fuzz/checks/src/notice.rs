//! The composer of notices. Input: flags, numbers and texts of a mail.

use carillon_core::limits::{
    ALERT_SENDER_CHARS_MAX, ALERT_SUBJECT_CHARS_MAX, APNS_PAYLOAD_BYTES_MAX, APNS_PAYLOAD_BYTES_MIN,
};
use carillon_core::notice::{MailDetails, Notice, Text, carries_details, compose_apns};
use serde_json::Value;

use crate::input::Input;

/// Whatever the texts: valid JSON within the limit, details only where they may be, no tricks on the screen.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let (kind, flags) = (input.u8(), input.u8());
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let bytes_max = usize::from(input.u16()) % (APNS_PAYLOAD_BYTES_MAX + 1);
    let (account, mails, badge) = (input.u64(), input.u32(), input.u32());
    let items: Vec<u64> = (0..input.below(8)).map(|_| input.u64()).collect();
    let sound = input.text();
    let mail = MailDetails {
        sender: input.text().into(),
        sender_address: input.text().into(),
        subject: input.text().into(),
        protected: flag(0),
        high_importance: flag(1),
        read: false,
        preview: String::from_utf8_lossy(input.rest()).into(),
    };
    let text = match kind % 4 {
        0 => Text::BadgeOnly,
        1 => Text::Mail { mail: &mail, localized: false },
        2 => Text::Generic { localized: flag(2) },
        _ => Text::Several { mails, localized: flag(2) },
    };
    let notice = Notice {
        text,
        badge: flag(3).then_some(badge),
        sound: flag(4).then_some(&sound),
        vip: flag(5),
        account,
        user: account,
        items: &items,
    };

    let mut payload = b"from before".to_vec();
    let composed = compose_apns(&mut payload, &notice, bytes_max);
    assert!(payload.len() <= bytes_max.max(APNS_PAYLOAD_BYTES_MIN), "{} bytes", payload.len());
    assert!(composed.collapse_id.len() <= 64);
    assert_eq!(carries_details(&payload), composed.details, "the two looks agree");
    assert!(!composed.details || (kind % 4 == 1 && !mail.protected));

    let json: Value = serde_json::from_slice(&payload).expect("a payload is JSON");
    assert_eq!(json["aps"]["badge"].as_u64(), notice.badge.map(u64::from));
    let alert = &json["aps"]["alert"];
    assert_eq!(alert["title"].is_string() || alert["subtitle"].is_string() || alert["body"].is_string(), {
        composed.details
    });
    for (part, chars_max) in [
        // The subject, where nobody can be named.
        ("title", ALERT_SENDER_CHARS_MAX.max(ALERT_SUBJECT_CHARS_MAX)),
        ("subtitle", ALERT_SUBJECT_CHARS_MAX),
        ("body", APNS_PAYLOAD_BYTES_MAX),
    ] {
        let Some(text) = alert[part].as_str() else { continue };
        assert!(!text.is_empty() && text.chars().count() <= chars_max);
        let harmless = |c: char| !c.is_control() && !('\u{202a}'..='\u{202e}').contains(&c);
        assert!(text.chars().all(harmless), "{text:?}");
    }
}
