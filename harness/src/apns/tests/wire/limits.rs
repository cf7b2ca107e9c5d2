//! How much a client may have on its way: streams, and bytes of the window.

use super::*;

#[test]
fn with_a_token_one_stream_is_open_until_the_first_push_was_answered() {
    let mut wire = Wire::new(slow(100));
    assert_eq!(wire.client.streams_max(), 1);
    assert_eq!(wire.open_all(0, 10), 1);
    wire.run();
    assert_eq!(wire.client.streams_max(), 1, "not answered yet");
    wire.advance(Span::from_millis(100));
    assert_eq!(wire.client.streams_max(), 1_000);
    assert_eq!(wire.open_all(10, 1_000), 1_000);
}

#[test]
fn a_push_without_valid_token_does_not_raise_the_limit() {
    let mut wire = Wire::new(Knobs::default());
    wire.open_with(1, |push| push.set("authorization", "bearer nonsense")).unwrap();
    wire.run();
    assert_eq!((wire.answers[&1].0, wire.client.streams_max()), (403, 1));
}

#[test]
fn with_a_certificate_the_limit_is_full_from_the_start() {
    let hello = Hello { alpn: Some(b"h2".to_vec()), certificate: Some(b"DER".to_vec()), ..Hello::default() };
    let mut wire = Wire::with_hello(Knobs::default(), hello);
    assert_eq!(wire.client.streams_max(), 1_000);
    wire.open_with(1, |push| push.without("authorization")).unwrap();
    wire.run();
    assert_eq!(wire.answers[&1].0, 200);
}

#[test]
fn the_limit_changes_at_run_time() {
    let mut wire = Wire::warm(slow(100));
    for limit in [1, 500, 7] {
        wire.apns.turn(wire.now, |knobs| knobs.streams_max = limit);
        wire.run();
        assert_eq!(wire.client.streams_max(), limit as usize);
    }
    assert_eq!(wire.open_all(0, 100), 7);
    wire.advance(Span::from_secs(1));
    assert_eq!(wire.statuses(), [200; 7]);
}

#[test]
fn a_refusal_may_bring_the_limit_down_until_the_next_success() {
    let knobs = Knobs { streams_drop_on_refusal: true, ..Knobs::default() };
    let mut wire = Wire::warm(knobs);
    wire.open_with(1, |push| push.set("apns-priority", "3")).unwrap();
    wire.run();
    assert_eq!(wire.client.streams_max(), 1);
    wire.open(2).unwrap();
    wire.run();
    assert_eq!(wire.client.streams_max(), 1_000);
}

#[test]
fn the_window_opens_as_the_policy_says() {
    // 16 payloads of 4,096 bytes fill the window of 65,535.
    let fill = |wire: &mut Wire| {
        let big = format!(r#"{{"aps":{{}},"x":"{}"}}"#, "x".repeat(4_000)).into_bytes();
        let sent = (0..100).take_while(|tag| wire.open_with(*tag, |push| push.body = big.clone()).is_ok());
        sent.count()
    };
    for (policy, after_answers) in [
        (WindowPolicy::Immediate, 16),
        (WindowPolicy::AtHalf, 9),
        (WindowPolicy::Never, 0),
        (WindowPolicy::Every(Span::from_secs(10)), 0),
    ] {
        let mut wire = Wire::warm(Knobs { window: policy, device_rate: None, ..slow(1) });
        assert_eq!(fill(&mut wire), 16, "{policy:?}");
        wire.advance(Span::from_secs(1));
        assert_eq!(wire.answers.len(), 16);
        assert_eq!(fill(&mut wire), after_answers, "{policy:?}");
        wire.advance(Span::from_secs(10));
        let every = matches!(policy, WindowPolicy::Every(_));
        if after_answers == 0 {
            assert_eq!(fill(&mut wire), if every { 16 } else { 0 });
        }
        // The knob can be turned while the client is stuck.
        wire.advance(Span::from_secs(1));
        wire.apns.turn(wire.now, |knobs| knobs.window = WindowPolicy::Immediate);
        wire.run();
        assert_eq!(fill(&mut wire), 16, "{policy:?}");
    }
}
