//! Clients that break a rule: they are blamed when they could know better, sent away or closed, and harm nobody else.

use proptest::prelude::*;

use super::*;

#[test]
fn a_client_that_breaks_http2_is_closed() {
    let mut wire = Wire::warm(Knobs::default());
    // A DATA frame on the connection's own stream (RFC 9113 §6.1).
    wire.apns.received(wire.now, CONN, &[0, 0, 1, 0, 0, 0, 0, 0, 0, 7]);
    wire.run();
    assert_eq!((wire.closed, wire.apns.stats().connections_broken), (Some(Close::Orderly), 1));
}

#[test]
fn a_client_of_another_protocol_is_closed() {
    let hello = Hello { alpn: Some(b"http/1.1".to_vec()), ..Hello::default() };
    let wire = Wire::with_hello(Knobs::default(), hello);
    assert_eq!(wire.closed, Some(Close::Orderly));
}

#[test]
fn a_client_that_never_acknowledges_settings_is_given_up() {
    let mut apns = Apns::new(Environment::Production, Knobs::default(), 7);
    apns.accepted(start(), CONN, Hello { alpn: Some(b"h2".to_vec()), ..Hello::default() });
    let due = apns.next_deadline().unwrap();
    assert_eq!(due, start().time + Span::from_secs(10));
    apns.tick(later(start(), Span::from_secs(10)));
    assert_eq!(apns.poll_ready(), Some(CONN));
    let output = apns.drain(later(start(), Span::from_secs(10)), CONN, &mut Vec::new(), 1_000);
    assert_eq!((output.close, apns.stats().connections_broken), (Some(Close::Orderly), 1));
}

#[test]
fn a_client_that_pushes_to_bad_tokens_is_sent_away() {
    let mut wire = Wire::warm(Knobs { faults_max: Some(3), ..Knobs::default() });
    for tag in 0..4 {
        wire.open_with(tag, |push| push.path = "/3/device/abcd".into()).unwrap();
        wire.run();
    }
    assert_eq!(wire.debug, br#"{"reason":"BadDeviceToken"}"#);
    assert!(wire.open(9).is_err());
}

#[test]
fn a_priority_frame_stands_in_the_strict_report() {
    let mut wire = Wire::warm(Knobs::default());
    wire.apns.received(wire.now, CONN, &[0, 0, 5, 2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 1]);
    wire.run();
    assert_eq!(wire.apns.stats().strict.count(StrictFault::PriorityFrame), 1);
    wire.open(1).unwrap();
    wire.run();
    assert_eq!(wire.statuses(), [200]);
}

#[test]
fn who_pushes_to_a_gone_token_is_blamed_when_he_could_know() {
    // How long the connection lives on after the answer; whether the next push is a fault.
    let cases = [(None, true), (Some(999), false), (Some(1_000), true)];
    for (lived_ms, blamed) in cases {
        let mut wire = Wire::warm(Knobs::default());
        wire.apns.set_gone(wire.device, UnixMillis(17));
        wire.open(1).unwrap();
        wire.run();
        assert_eq!(wire.statuses(), [410]);
        if let Some(lived_ms) = lived_ms {
            wire.advance(Span::from_millis(lived_ms));
            // Killed, and started again.
            wire.apns.closed(wire.now, CONN);
            wire.apns.accepted(wire.now, CONN, Hello { alpn: Some(b"h2".to_vec()), ..Hello::default() });
            wire.client = client();
            wire.run();
        }
        wire.open(2).unwrap();
        wire.run();
        assert_eq!(wire.statuses(), [410, 410]);
        let faults = wire.apns.stats().strict.count(StrictFault::PushedAfterGone);
        assert_eq!(faults, u64::from(blamed), "{lived_ms:?}");
    }
}

#[test]
fn an_answer_that_never_left_tells_nobody() {
    let mut wire = Wire::warm(Knobs { answers_lost: Share(1_000_000), ..Knobs::default() });
    wire.apns.set_gone(wire.device, UnixMillis(17));
    for tag in [1, 2] {
        wire.open(tag).unwrap();
        wire.advance(Span::from_secs(20));
    }
    assert!(wire.answers.is_empty());
    assert_eq!(wire.apns.stats().refused_for(Reason::Unregistered), 2);
    assert!(wire.apns.stats().strict.is_clean());
}

proptest! {
    /// Whatever comes from a client, the service goes on, and other clients do not notice.
    #[test]
    fn bytes_that_went_wrong_harm_nobody_else(
        spoiled in prop::collection::vec((0usize..2_000, any::<u8>()), 1..20),
        cut in 0usize..2_000,
    ) {
        let mut wire = Wire::warm(Knobs::default());
        let (bad, mut bytes) = (PeerConn(2), Vec::new());
        let mut client: ClientPump<u64> = ClientPump::new(ClientConfig {
            initial_streams_max: 8,
            streams_max: 8,
            answer_bytes_max: 4_096,
            output_bytes_max: 256 * 1024,
            input_bytes_max: 256 * 1024,
        });
        for tag in 0..8 {
            let uri = format!("https://api.push.apple.com/3/device/{TOKEN}");
            let head = http::Request::post(uri).header("apns-topic", BUNDLE).body(()).unwrap();
            client.open(head, Bytes::from_static(BODY.as_bytes()), tag).unwrap();
        }
        while client.drain(&mut bytes, 1_000) {}
        for (at, byte) in spoiled {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        wire.apns.accepted(wire.now, bad, Hello { alpn: Some(b"h2".to_vec()), ..Hello::default() });
        wire.apns.received(wire.now, bad, &bytes);
        wire.apns.received(wire.now, bad, &bytes[..cut.min(bytes.len())]);
        wire.open(1).unwrap();
        wire.advance(Span::from_secs(20));
        prop_assert_eq!(wire.statuses(), vec![200]);
    }
}
