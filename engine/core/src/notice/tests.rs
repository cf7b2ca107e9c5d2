//! What phones are shown, template by template; and whatever a mail says, a payload stays within its limit and whole.

use proptest::prelude::*;
use serde_json::{Value, json};
use unicode_segmentation::UnicodeSegmentation;

use super::fit::Cleaned;
use super::*;
use crate::limits::{ALERT_SENDER_CHARS_MAX, ALERT_SUBJECT_CHARS_MAX, APNS_PAYLOAD_BYTES_MAX};

const ACCOUNT: u64 = 0x00c0_ffee_0000_0001;
const USER: u64 = 0x0123_4567_89ab_cdef;
const ITEM: u64 = 0xfeed_0000_0000_00aa;

fn mail(sender: &str, subject: &str, preview: &str) -> MailDetails {
    MailDetails {
        sender: sender.into(),
        subject: subject.into(),
        preview: preview.into(),
        ..MailDetails::default()
    }
}

fn notice(text: Text<'_>) -> Notice<'_> {
    Notice {
        text,
        badge: Some(7),
        sound: Some("default"),
        vip: false,
        account: ACCOUNT,
        user: USER,
        items: &[ITEM],
    }
}

fn compose(notice: &Notice<'_>) -> (String, Composed) {
    compose_within(notice, APNS_PAYLOAD_BYTES_MAX)
}

fn compose_within(notice: &Notice<'_>, bytes_max: usize) -> (String, Composed) {
    let mut out = b"left over from the last one".to_vec();
    let composed = compose_apns(&mut out, notice, bytes_max);
    (String::from_utf8(out).unwrap(), composed)
}

fn alert_of(payload: &str) -> Value {
    serde_json::from_str::<Value>(payload).unwrap()["aps"]["alert"].clone()
}

/// The alert for one mail, in a full-sized payload.
fn alert(sender: &str, subject: &str, preview: &str) -> Value {
    alert_of(&compose(&notice(Text::Mail { mail: &mail(sender, subject, preview), localized: false })).0)
}

mod templates {
    use super::*;

    #[test]
    fn one_mail_with_details() {
        let details = mail("Jane Doe", "Lunch?", "At noon, the usual place.");
        let (payload, composed) = compose(&notice(Text::Mail { mail: &details, localized: false }));
        assert_eq!(
            payload,
            concat!(
                r#"{"m":{"a":"00c0ffee00000001","n":1,"i":["feed0000000000aa"]},"#,
                r#""aps":{"badge":7,"sound":"default","thread-id":"00c0ffee00000001","category":"MAIL","#,
                r#""alert":{"title":"Jane Doe","subtitle":"Lunch?","body":"At noon, the usual place."},"mutable-content":1}}"#
            )
        );
        assert_eq!(
            composed,
            Composed {
                push_type: PushType::Alert,
                priority: 10,
                collapse_id: "mfeed0000000000aa".into(),
                details: true
            }
        );
        assert!(carries_details(payload.as_bytes()));
    }

    #[test]
    fn vip_mail_is_time_sensitive() {
        let details = mail("Jane Doe", "Lunch?", "");
        let vip = Notice {
            vip: true,
            sound: Some("vip.caf"),
            ..notice(Text::Mail { mail: &details, localized: false })
        };
        let payload: Value = serde_json::from_str(&compose(&vip).0).unwrap();
        assert_eq!(payload["aps"]["interruption-level"], "time-sensitive");
        assert_eq!(payload["aps"]["sound"], "vip.caf");
        let (payload, _) = compose(&Notice { text: Text::Generic { localized: true }, ..vip });
        assert!(payload.contains("time-sensitive"));
        assert!(!carries_details(payload.as_bytes()));
    }

    #[test]
    fn several_mails() {
        let (payload, composed) = compose(&Notice {
            items: &[ITEM, 2, 3, 4, 5],
            ..notice(Text::Several { mails: 30, localized: true })
        });
        assert_eq!(
            payload,
            concat!(
                r#"{"m":{"a":"00c0ffee00000001","n":30,"#,
                r#""i":["feed0000000000aa","0000000000000002","0000000000000003","0000000000000004"]},"#,
                r#""aps":{"badge":7,"sound":"default","thread-id":"00c0ffee00000001","category":"MAIL","#,
                r#""alert":{"loc-key":"NEW_MAILS","loc-args":["30"]}}}"#
            )
        );
        assert_eq!((composed.priority, &*composed.collapse_id), (10, "a0123456789abcdef"));
        assert!(!composed.details && !carries_details(payload.as_bytes()));

        let (payload, _) = compose(&notice(Text::Several { mails: 3, localized: false }));
        assert_eq!(alert_of(&payload), "3 new messages");
        assert!(!carries_details(payload.as_bytes()));
    }

    #[test]
    fn several_that_are_one_are_worded_as_one() {
        let (payload, _) = compose(&notice(Text::Several { mails: 1, localized: false }));
        assert_eq!(alert_of(&payload), "New mail");
    }

    #[test]
    fn one_mail_without_details() {
        let (payload, composed) = compose(&notice(Text::Generic { localized: true }));
        assert_eq!(
            payload,
            concat!(
                r#"{"m":{"a":"00c0ffee00000001","n":1,"i":["feed0000000000aa"]},"#,
                r#""aps":{"badge":7,"sound":"default","thread-id":"00c0ffee00000001","category":"MAIL","#,
                r#""alert":{"loc-key":"NEW_MAIL"}}}"#
            )
        );
        assert_eq!(&*composed.collapse_id, "a0123456789abcdef");
        assert!(!composed.details && !carries_details(payload.as_bytes()));

        let silent =
            Notice { sound: None, badge: None, items: &[], ..notice(Text::Generic { localized: false }) };
        let (payload, _) = compose_within(&silent, 256);
        assert_eq!(payload, r#"{"m":{"a":"00c0ffee00000001","n":1,"i":[]},"aps":{"alert":"New mail"}}"#);
        assert!(!carries_details(payload.as_bytes()));
    }

    #[test]
    fn a_badge_alone() {
        let (payload, composed) = compose(&Notice { badge: Some(6), vip: true, ..notice(Text::BadgeOnly) });
        assert_eq!(payload, r#"{"aps":{"badge":6}}"#);
        assert_eq!((composed.priority, &*composed.collapse_id), (5, "b0123456789abcdef"));
        assert!(!composed.details && !carries_details(payload.as_bytes()));
    }
}

mod details {
    use super::*;

    #[test]
    fn of_protected_mail_never_leave() {
        let details = MailDetails { protected: true, ..mail("Jane", "Canary", "Canary") };
        let (payload, composed) = compose(&notice(Text::Mail { mail: &details, localized: false }));
        assert_eq!(alert_of(&payload), "New mail");
        assert_eq!(&*composed.collapse_id, "a0123456789abcdef");
        assert!(!composed.details && !carries_details(payload.as_bytes()));
        // As any mail without details, for this app.
        let (payload, _) = compose(&notice(Text::Mail { mail: &details, localized: true }));
        assert_eq!(alert_of(&payload), json!({"loc-key": "NEW_MAIL"}));
    }

    #[test]
    fn that_are_missing_leave_no_empty_line() {
        assert_eq!(alert("Jane", "Lunch?", " \r\n "), json!({"title": "Jane", "subtitle": "Lunch?"}));
        let nameless = MailDetails { sender_address: "jane@example.com".into(), ..mail("", "Lunch?", "") };
        let (payload, _) = compose(&notice(Text::Mail { mail: &nameless, localized: false }));
        assert_eq!(alert_of(&payload), json!({"title": "jane@example.com", "subtitle": "Lunch?"}));

        let (payload, composed) =
            compose(&notice(Text::Mail { mail: &mail("\u{feff}", "", "\0"), localized: false }));
        assert_eq!(alert_of(&payload), "New mail");
        assert!(!composed.details && !carries_details(payload.as_bytes()));
    }

    #[test]
    fn without_a_sender_have_a_title_all_the_same() {
        let says = |subject: &str, localized| {
            let details = mail("", subject, "At noon");
            let (payload, composed) = compose(&notice(Text::Mail { mail: &details, localized }));
            assert!(composed.details && carries_details(payload.as_bytes()));
            alert_of(&payload)
        };
        assert_eq!(says("Lunch?", true), json!({"title": "Lunch?", "body": "At noon"}));
        assert_eq!(says("", false), json!({"title": "New mail", "body": "At noon"}));
        assert_eq!(says("", true), json!({"title-loc-key": "NEW_MAIL", "body": "At noon"}));
    }

    #[test]
    fn do_not_show_when_debugged() {
        let details = MailDetails { sender_address: "canary".into(), ..mail("canary", "canary", "canary") };
        assert!(!format!("{:?}", notice(Text::Mail { mail: &details, localized: false })).contains("canary"));
    }

    #[test]
    fn are_allowed_until_exactly_the_cut_off() {
        let active = UnixMillis(1_700_000_000_000);
        let after = |ms: u64| UnixMillis(active.0 + ms);
        assert!(details_allowed(active, active, 43_200));
        assert!(details_allowed(after(43_199_999), active, 43_200));
        assert!(!details_allowed(after(43_200_000), active, 43_200));
        assert!(!details_allowed(active, active, 0));
        assert!(details_allowed(after(259_199_999), active, u32::MAX));
        assert!(!details_allowed(after(259_200_000), active, u32::MAX));
        assert!(!details_allowed(active, UnixMillis(0), u32::MAX));
    }

    #[test]
    fn are_not_allowed_by_a_clock_that_is_far_ahead() {
        let now = UnixMillis(1_700_000_000_000);
        assert!(details_allowed(now, UnixMillis(now.0 + 300_000), 60));
        assert!(!details_allowed(now, UnixMillis(now.0 + 300_001), 60));
        assert!(!details_allowed(now, UnixMillis(now.0 + 1), 0));
        assert!(!details_allowed(now, UnixMillis(u64::MAX), 60));
    }

    #[test]
    fn are_found_wherever_they_stand() {
        for payload in [
            r#"{"aps":{"alert":{"title":"x"}}}"#,
            r#"{"aps":{"alert":{"subtitle":"x"}}}"#,
            r#"{"aps":{"alert":{"body":""}}}"#,
            r#"{"aps":{"alert":"x"}}"#,
            r#"{"aps":{"alert":"Lunch? new messages"}}"#,
            r#"{"aps":{"alert":" new messages"}}"#,
            r#"{"aps":{"alert":"New mail from Jane"}}"#,
            r#"{"aps":{"alert":{"loc-key":"NEW_MAILS","loc-args":["Jane"]}}}"#,
            r#"{"aps":{"alert":{"loc-key":"Jane"}}}"#,
            r#"{"aps":{"badge":6,"thread-id":"Inbox of Jane"}}"#,
            r#"{"aps":{"badge":6},"m":{"s":"Jane"}}"#,
            r#"{"aps":{"badge":6},"m":{"i":["Jane"]}}"#,
            r#"{"aps":{"badge":6},"title":"Jane"}"#,
            r#"{"aps":{"badge":6}}Jane"#,
            r#"{"aps":{"badge":6,}}"#,
            r#"{"aps":{"badge":}}"#,
            r#"{"aps":{"sound":"a\u0041"}}"#,
            r#"{"aps":"#,
            "",
        ] {
            assert!(carries_details(payload.as_bytes()), "{payload}");
        }
        assert!(!carries_details(b"{}"));
    }
}

mod texts {
    use super::*;

    #[test]
    fn are_escaped() {
        assert_eq!(
            alert(r#""J" \o/"#, "{}", "/ü</script>\u{2028}x"),
            json!({
                "title": r#""J" \o/"#, "subtitle": "{}", "body": "/ü</script> x"
            })
        );
    }

    #[test]
    fn lose_what_does_not_belong_on_a_screen() {
        let body = |preview: &str| alert("", "", preview)["body"].as_str().unwrap().to_owned();
        assert_eq!(body("  Dear\r\n\r\n\tJane,\u{a0}\u{a0}how "), "Dear Jane, how");
        assert_eq!(body("a\0b\u{1b}[31mc\u{7f}\u{85}d"), "ab[31mc d");
        assert_eq!(body("annex\u{202e}fdp.exe\u{2066}\u{2069}"), "annexfdp.exe");
        assert_eq!(body("Sale!\u{34f} \u{200c} \u{ad}\u{34f} \u{200c}\u{feff}\u{200b}"), "Sale!");
        assert_eq!(
            body("\u{200d}می\u{200c}خواهم 👨\u{200d}👩\u{200d}👧"),
            "می\u{200c}خواهم 👨\u{200d}👩\u{200d}👧"
        );
    }

    #[test]
    fn are_shortened_to_the_characters_that_a_phone_shows() {
        let long = "x".repeat(1_000);
        let alert = alert(&long, &long, &long);
        assert_eq!(alert["title"], format!("{}…", "x".repeat(ALERT_SENDER_CHARS_MAX - 1)));
        assert_eq!(alert["subtitle"], format!("{}…", "x".repeat(ALERT_SUBJECT_CHARS_MAX - 1)));
        assert_eq!(alert["body"], long);

        let fitting = "x".repeat(ALERT_SENDER_CHARS_MAX);
        assert_eq!(super::alert(&fitting, "", "")["title"], fitting);
    }

    #[test]
    fn fill_the_payload_to_the_last_byte() {
        for bytes_max in [256, 257, 511, 512, 1_000, 4_096] {
            let long = "x".repeat(5_000);
            let (payload, _) = compose_within(
                &notice(Text::Mail { mail: &mail("Jane", "Lunch?", &long), localized: false }),
                bytes_max,
            );
            assert_eq!(payload.len(), bytes_max);
        }
    }

    #[test]
    fn are_never_cut_within_an_emoji() {
        let family = "👨\u{200d}👩\u{200d}👧\u{200d}👦";
        for pad in 0..40 {
            let sender = format!("{}{}", "x".repeat(ALERT_SENDER_CHARS_MAX - 40 + pad), family.repeat(6));
            let alert = alert(&sender, "", "");
            let shown = alert["title"].as_str().unwrap().strip_suffix('…').unwrap();
            assert!(
                shown.trim_start_matches('x').graphemes(true).all(|cluster| cluster == family),
                "{shown}"
            );
        }
    }

    #[test]
    fn do_not_end_in_a_blank_or_half_an_escape() {
        let words = "abc ".repeat(40);
        let shown = alert(&words, "", "")["title"].as_str().unwrap().to_owned();
        assert!(shown.ends_with("abc…"), "{shown}");
        // The accent belongs to the escaped quote before it: both stay or both go.
        for subject in [r#"\""#.repeat(60), "\"\u{301}".repeat(60)] {
            for bytes_max in 256..300 {
                let (payload, _) = compose_within(
                    &notice(Text::Mail { mail: &mail("", &subject, ""), localized: false }),
                    bytes_max,
                );
                let alert = alert_of(&payload);
                check_shown(&alert["subtitle"], &subject).unwrap();
            }
        }
    }

    #[test]
    fn that_are_hostile_cost_no_more_than_long_ones() {
        let accents = format!("a{}", "\u{301}".repeat(500_000));
        let blanks = " ".repeat(1_000_000) + "x";
        let flags = "🇩".repeat(250_000);
        let backslashes = "\\".repeat(1_000_000);
        for hostile in [&accents, &blanks, &flags, &backslashes] {
            for bytes_max in [256, 4_096] {
                let details = mail(hostile, hostile, hostile);
                let (payload, _) =
                    compose_within(&notice(Text::Mail { mail: &details, localized: false }), bytes_max);
                assert!(payload.len() <= bytes_max);
                assert!(!alert_of(&payload).is_null());
            }
        }
    }
}

/// Text out of the pieces that make cutting hard.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z ]{1,12}",
        2 => prop::sample::select(vec![
            "\"", "\\", "\\\\\"", "\n", "\r\n", "\t", "\0", "\u{1f}", "\u{7f}", "  ", "…", "\u{202e}", "\u{2067}", "\u{200b}",
        ]).prop_map(str::to_owned),
        2 => prop::sample::select(vec![
            "👨\u{200d}👩\u{200d}👧\u{200d}👦", "🇩🇪", "🇩", "👍🏽", "❤\u{fe0f}", "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}", "1\u{fe0f}\u{20e3}",
        ]).prop_map(str::to_owned),
        2 => prop::sample::select(vec![
            "e\u{301}", "\u{301}\u{302}", "\u{200d}", "\u{200c}", "\u{600}", "क्ष", "क\u{94d}\u{200d}", "한", "\u{1112}\u{1161}\u{11ab}", "می\u{200c}خ",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..200).prop_map(|pieces| pieces.concat())
}

fn any_notice_text() -> impl Strategy<Value = (u8, MailDetails, u32, bool)> {
    let details = (any_text(), any_text(), any_text(), any_text(), prop::bool::weighted(0.1)).prop_map(
        |(sender, sender_address, subject, preview, protected)| MailDetails {
            sender_address: sender_address.into(),
            protected,
            ..mail(&sender, &subject, &preview)
        },
    );
    (0u8..8, details, any::<u32>(), any::<bool>())
}

/// Checks that `shown` is `text`, or that it is a beginning of it, cut between two clusters.
fn check_shown(shown: &Value, text: &str) -> Result<(), TestCaseError> {
    let Some(shown) = shown.as_str() else { return Ok(()) };
    let text: String = Cleaned::new(text).collect();
    if shown == text {
        return Ok(());
    }
    let cut = shown.strip_suffix('…');
    prop_assert!(cut.is_some(), "{:?} is shortened without a sign of it", shown);
    let cut = cut.unwrap_or_default();
    prop_assert!(text.starts_with(cut), "{:?} is no beginning of {:?}", cut, text);
    prop_assert!(
        text.grapheme_indices(true).any(|(at, _)| at == cut.len()),
        "{:?} is cut within a cluster",
        cut
    );
    Ok(())
}

proptest! {
    #[test]
    fn any_notice_fits_and_parses_and_tells_the_truth_about_its_details(
        (kind, details, mails, localized) in any_notice_text(),
        badge in any::<Option<u32>>(),
        sound in prop::option::of(any_text()),
        vip in any::<bool>(),
        items in prop::collection::vec(any::<u64>(), 0..6),
        bytes_max in 256usize..=4_096,
    ) {
        let text = match kind {
            0 => Text::BadgeOnly,
            1 => Text::Generic { localized },
            2 => Text::Several { mails, localized },
            _ => Text::Mail { mail: &details, localized },
        };
        let notice = Notice { text, badge, sound: sound.as_deref(), vip, account: ACCOUNT, user: USER, items: &items };
        let (payload, composed) = compose_within(&notice, bytes_max);
        prop_assert!(payload.len() <= bytes_max, "{} > {}", payload.len(), bytes_max);
        prop_assert!(composed.collapse_id.len() <= 64);
        prop_assert_eq!(carries_details(payload.as_bytes()), composed.details);

        let parsed: Value = serde_json::from_str(&payload).unwrap();
        prop_assert_eq!(parsed["aps"]["badge"].as_u64(), badge.map(u64::from));
        let told = parsed["m"]["n"].as_u64();
        prop_assert_eq!(told, (kind != 0).then_some(u64::from(text.mails())));

        let alert = &parsed["aps"]["alert"];
        prop_assert_eq!(alert.is_null(), kind == 0);
        if composed.details {
            prop_assert!(kind > 2 && !details.protected);
            // A name whose first cluster is too large for a small payload gives way to the address.
            let by_name = check_shown(&alert["title"], &details.sender);
            let by_address = by_name.or_else(|_| check_shown(&alert["title"], &details.sender_address));
            let subject = if alert["subtitle"].is_string() { &alert["subtitle"] } else { &alert["title"] };
            match (&alert["title"], &alert["title-loc-key"]) {
                (Value::Null, key) => prop_assert!(localized && key == "NEW_MAIL", "an alert has a title"),
                (title, _) if title == "New mail" && !localized => {}
                _ => by_address.or_else(|_| check_shown(subject, &details.subject))?,
            }
            check_shown(&alert["subtitle"], &details.subject)?;
            check_shown(&alert["body"], &details.preview)?;
        }
    }
}
