//! Payloads.

use carillon_core::limits::APNS_PAYLOAD_BYTES_MAX;
use carillon_core::notice::{MailDetails, Notice, Text, compose_apns};

use super::*;

fn read(text: &str) -> (Payload, Option<PayloadFault>) {
    Payload::read(text.as_bytes(), false)
}

fn details(title: &str, subtitle: &str, body: &str) -> AlertKind {
    AlertKind::Details { title: title.into(), subtitle: subtitle.into(), body: body.into() }
}

#[test]
fn what_the_engine_composes_is_read_as_it_was_meant() {
    let mail = MailDetails {
        sender: "Jane \"J\" Doe".into(),
        subject: "Größe 🎉".into(),
        preview: "a\nb".into(),
        ..MailDetails::default()
    };
    let cases = [
        (Text::BadgeOnly, AlertKind::None, 0),
        (Text::Mail { mail: &mail, localized: false }, details("Jane \"J\" Doe", "Größe 🎉", "a b"), 1),
        (Text::Generic { localized: true }, AlertKind::Generic, 1),
        (Text::Generic { localized: false }, AlertKind::Generic, 1),
        (Text::Several { mails: 5, localized: true }, AlertKind::Several, 5),
        (Text::Several { mails: 5, localized: false }, AlertKind::Several, 5),
    ];
    for (text, alert, n) in cases {
        let items: &[u64] = if n > 1 { &[1, u64::MAX] } else { &[u64::MAX] };
        let sound = Some("default");
        let notice = Notice { text, badge: Some(9), sound, vip: true, account: 7, user: 8, items };
        let mut bytes = Vec::new();
        let composed = compose_apns(&mut bytes, &notice, APNS_PAYLOAD_BYTES_MAX);
        let (payload, fault) = Payload::read(&bytes, false);
        let told = n > 0;
        assert_eq!(fault, None, "{}", String::from_utf8_lossy(&bytes));
        assert_eq!((payload.n, payload.badge, payload.has_details()), (n, Some(9), composed.details));
        assert_eq!(payload.account, told.then_some(7));
        assert_eq!(payload.items, if told { items } else { &[] });
        match (&payload.alert, &alert) {
            (
                AlertKind::Details { title, subtitle, .. },
                AlertKind::Details { title: t, subtitle: s, .. },
            ) => {
                assert_eq!((title, subtitle), (t, s));
            }
            (read, meant) => assert_eq!(read, meant),
        }
    }
}

#[test]
fn any_text_that_is_not_known_to_be_generic_is_details() {
    let alerts = [
        (r#""Lunch on Friday?""#, details("", "", "Lunch on Friday?")),
        (r#""New mail from Jane""#, details("", "", "New mail from Jane")),
        (r#""x new messages""#, details("", "", "x new messages")),
        (r#"{"title":"Jane","body":"Lunch"}"#, details("Jane", "", "Lunch")),
        (r#"{"body":"Lunch"}"#, details("", "", "Lunch")),
        (r#"{"loc-key":"NEW_MAIL_FROM","loc-args":["Jane"]}"#, details("", "", "")),
        (r#"{"loc-key":"NEW_MAILS","loc-args":["Jane"]}"#, details("", "", "")),
        (r#"{"loc-key":"NEW_MAIL","subtitle":"Lunch"}"#, details("", "Lunch", "")),
        (r#"{"loc-key":"NEW_MAIL","title-loc-key":"Lunch"}"#, details("", "", "")),
        (r#""12 new messages""#, AlertKind::Several),
        (r#"{"body":"New mail"}"#, AlertKind::Generic),
    ];
    for (alert, kind) in alerts {
        let text = format!(
            r#"{{"aps":{{"alert":{alert}}},"m":{{"a":"0000000000000001","n":1,"i":["0000000000000002"]}}}}"#
        );
        let by_key = alert.contains(r#""loc-key""#);
        let payload =
            Payload { alert: kind, account: Some(1), n: 1, items: vec![2], by_key, ..Payload::default() };
        assert_eq!(read(&text), (payload, None));
    }
}

#[test]
fn faults_of_payloads_are_told_apart() {
    let m = r#""m":{"a":"0000000000000001","n":1,"i":["0000000000000002"]}"#;
    let cases = [
        (r#"{"aps":{"badge":0}}"#.to_owned(), None),
        ("".into(), Some(PayloadFault::NotJson)),
        ("[".into(), Some(PayloadFault::NotJson)),
        (r#"{"aps":{"badge":1}}{"#.into(), Some(PayloadFault::NotJson)),
        ("{\"aps\":{\"alert\":\"\n\"}}".into(), Some(PayloadFault::NotJson)),
        ("\u{feff}{\"aps\":{}}".into(), Some(PayloadFault::NotJson)),
        ("[]".into(), Some(PayloadFault::Shape)),
        (r#"{"x":1}"#.into(), Some(PayloadFault::Shape)),
        (r#"{"aps":{"badge":"1"}}"#.into(), Some(PayloadFault::Shape)),
        (r#"{"aps":{"badge":-1}}"#.into(), Some(PayloadFault::Shape)),
        (r#"{"aps":{"badge":1,"badge":2}}"#.into(), Some(PayloadFault::Shape)),
        (r#"{"aps":{"n":1}}"#.into(), Some(PayloadFault::Shape)),
        (r#"{"aps":{"interruption-level":"loud"}}"#.into(), Some(PayloadFault::Shape)),
        (r#"{"aps":{"content-available":2}}"#.into(), Some(PayloadFault::Shape)),
        (r#"{"aps":{"mutable-content":1}}"#.into(), Some(PayloadFault::Contradiction)),
        (r#"{"aps":{"alert":"New mail"}}"#.into(), Some(PayloadFault::Mails)),
        (format!(r#"{{"aps":{{"badge":1}},{m}}}"#), Some(PayloadFault::Mails)),
        (
            format!(r#"{{"aps":{{"alert":"New mail"}},{}}}"#, m.replace(":1,", ":0,")),
            Some(PayloadFault::Mails),
        ),
        (
            format!(r#"{{"aps":{{"alert":"New mail"}},{}}}"#, m.replace("02\"", "0G\"")),
            Some(PayloadFault::Shape),
        ),
        (format!(r#"{{"aps":{{"alert":"New mail"}},{m}}}"#), None),
    ];
    for (text, fault) in cases {
        assert_eq!(read(&text).1, fault, "{text}");
    }
    assert_eq!(Payload::read(br#"{"aps":{"badge":1}}"#, true).1, Some(PayloadFault::Contradiction));
    assert_eq!(Payload::read(br#"{"aps":{"content-available":1}}"#, true).1, None);
}

#[test]
fn details_are_seen_even_in_a_payload_that_breaks_the_rules() {
    let (payload, fault) = read(r#"{"aps":{"alert":{"title":"Jane","titel":"x"},"badge":2}}"#);
    assert_eq!(fault, Some(PayloadFault::Shape));
    assert_eq!((payload.alert, payload.badge), (details("Jane", "", ""), Some(2)));
}
