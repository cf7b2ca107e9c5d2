//! Answers: what they say, how long they take and in which order they come.

use super::*;

#[test]
fn a_push_is_answered_with_its_id() {
    let mut wire = Wire::new(Knobs::default());
    wire.open_with(1, |push| push.set("apns-id", APNS_ID)).unwrap();
    wire.run();
    assert_eq!(wire.answers[&1], (200, String::new()));
    let delivery = wire.apns.poll_delivery().unwrap();
    assert_eq!((delivery.tag, super::super::request::format_uuid(delivery.apns_id).as_str()), (42, APNS_ID));
    assert!(wire.apns.stats().strict.is_clean());
    assert_eq!(wire.apns.row(wire.device).device.badge(), Some(3));
}

#[test]
fn a_refusal_carries_its_reason() {
    let mut wire = Wire::warm(Knobs::default());
    wire.apns.set_gone(wire.device, UnixMillis(17));
    wire.open(1).unwrap();
    wire.open_with(2, |push| push.body = vec![b' '; 20_000]).unwrap();
    wire.open_with(3, |push| push.body.clear()).unwrap();
    wire.open_with(4, |push| push.method = "GET").unwrap();
    wire.run();
    assert_eq!(wire.answers[&1], (410, r#"{"reason":"Unregistered","timestamp":17}"#.into()));
    assert_eq!(wire.statuses(), [410, 410, 410, 405]);
    wire.apns.register(&TokenSpec {
        token: TOKEN,
        bundle: BUNDLE,
        environment: Environment::Production,
        tag: 0,
    });
    wire.open_with(5, |push| push.body = vec![b' '; 20_000]).unwrap();
    wire.open_with(6, |push| push.body.clear()).unwrap();
    wire.run();
    assert_eq!(wire.answers[&5], (413, r#"{"reason":"PayloadTooLarge"}"#.into()));
    assert_eq!(wire.answers[&6], (400, r#"{"reason":"PayloadEmpty"}"#.into()));
}

#[test]
fn an_unavailable_service_comes_back() {
    let mut wire = Wire::warm(Knobs::default());
    wire.apns.fail_for(wire.now, Span::from_secs(5));
    wire.open(1).unwrap();
    wire.advance(Span::from_secs(5));
    wire.open(2).unwrap();
    wire.run();
    assert_eq!(wire.answers[&1], (503, r#"{"reason":"ServiceUnavailable"}"#.into()));
    assert_eq!(wire.answers[&2].0, 200);
}

#[test]
fn an_answer_in_pieces_is_the_same_answer() {
    let mut wire = Wire::warm(Knobs { split_answers: true, ..Knobs::default() });
    wire.apns.set_gone(wire.device, UnixMillis(17));
    wire.open(1).unwrap();
    wire.run();
    assert_eq!(wire.answers[&1], (410, r#"{"reason":"Unregistered","timestamp":17}"#.into()));
}

#[test]
fn answers_take_their_time() {
    let mut wire = Wire::warm(slow(250));
    wire.open(1).unwrap();
    wire.advance(Span::from_millis(249));
    assert!(wire.answers.is_empty());
    assert_eq!(wire.deliveries(), 2, "the phone does not wait for the answer");
    wire.advance(Span::from_millis(1));
    assert_eq!(wire.statuses(), [200]);
}

#[test]
fn answers_come_out_of_order_when_they_may() {
    let jitter = Latency::Between(Span::from_millis(1), Span::from_millis(500));
    let knobs = Knobs { latency: jitter, ..Knobs::default() };
    let order = |in_order: bool| {
        let mut wire = Wire::warm(Knobs { in_order, ..knobs.clone() });
        assert_eq!(wire.open_all(0, 50), 50);
        wire.advance(Span::from_secs(1));
        wire.order
    };
    let ascending: Vec<u64> = (0..50).collect();
    assert_eq!(order(true), ascending);
    let mixed = order(false);
    assert_ne!(mixed, ascending);
    assert_eq!(mixed, order(false), "equal seeds give equal orders");
}

#[test]
fn answers_grow_slower_with_the_age_of_the_connection() {
    let mut wire = Wire::warm(Knobs { latency_growth_us_per_s: 1_000, ..Knobs::default() });
    wire.advance(Span::from_secs(99));
    wire.open(1).unwrap();
    wire.advance(Span::from_millis(99));
    assert!(wire.answers.is_empty());
    wire.advance(Span::from_millis(1));
    assert_eq!(wire.statuses(), [200]);
}

#[test]
fn many_pushes_to_many_phones_are_all_accounted_for() {
    let mut wire = Wire::warm(Knobs { device_rate: None, ..Knobs::default() });
    wire.deliveries();
    let tokens: Vec<String> = (0..500u64).map(|n| format!("{n:064x}")).collect();
    for (tag, token) in tokens.iter().enumerate() {
        let environment = Environment::Production;
        wire.apns.register(&TokenSpec { token, bundle: BUNDLE, environment, tag: tag as u64 });
    }
    for (tag, token) in tokens.iter().enumerate() {
        while wire.open_with(tag as u64, |push| push.path = format!("/3/device/{token}")).is_err() {
            wire.run();
        }
    }
    wire.run();
    assert_eq!(wire.statuses(), [200; 500]);
    let mut tags: Vec<u64> = std::iter::from_fn(|| wire.apns.poll_delivery()).map(|push| push.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..500).collect::<Vec<_>>());
}
