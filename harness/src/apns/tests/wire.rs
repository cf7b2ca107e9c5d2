//! The service behind its face, spoken to by an HTTP/2 client.

use std::collections::BTreeMap;

use bytes::Bytes;
use carillon_core::h2pump::{ClientConfig, ClientEvent, ClientPump, Failure, OpenError};
use proptest::prelude::*;

use super::*;
use crate::audit::Audit;
use crate::peer::{Close, Hello, Peer};
use crate::phone::{Rules, Wants};

const CONN: PeerConn = PeerConn(1);

/// The service with one client, in virtual time.
struct Wire {
    apns: Apns,
    client: ClientPump<u64>,
    now: Now,
    jwt: String,
    device: DeviceIx,
    closed: Option<Close>,
    /// Status and reason of each answer, by tag.
    answers: BTreeMap<u64, (u16, String)>,
    /// Tags in the order of their answers.
    order: Vec<u64>,
    failures: BTreeMap<u64, Failure>,
    last_stream: Option<u32>,
    debug: Vec<u8>,
    pongs: u32,
}

impl Wire {
    fn new(knobs: Knobs) -> Wire {
        Wire::with_hello(knobs, Hello { alpn: Some(b"h2".to_vec()), ..Hello::default() })
    }

    fn with_hello(knobs: Knobs, hello: Hello) -> Wire {
        let (now, random) = (start(), SystemRandom::new());
        let key = ProviderKey::generate(&random);
        let mut apns = Apns::new(Environment::Production, knobs, 7);
        apns.add_key(team_key(&key, TEAM, KID));
        apns.add_app(now, BUNDLE, TEAM);
        apns.add_certificate(Certificate {
            der: b"DER".to_vec(),
            topics: vec![BUNDLE.into()],
            environment: None,
        });
        let environment = Environment::Production;
        let device = apns.register(&TokenSpec { token: TOKEN, bundle: BUNDLE, environment, tag: 42 });
        apns.accepted(now, CONN, hello);
        let mut wire = Wire {
            apns,
            client: client(),
            now,
            jwt: key.sign(TEAM, KID, now.unix, &random),
            device,
            closed: None,
            answers: BTreeMap::new(),
            order: Vec::new(),
            failures: BTreeMap::new(),
            last_stream: None,
            debug: Vec::new(),
            pongs: 0,
        };
        wire.run();
        wire
    }

    /// A connection that is past its first push.
    fn warm(knobs: Knobs) -> Wire {
        let mut wire = Wire::new(Knobs::default());
        wire.open(u64::MAX).unwrap();
        wire.advance(Span::from_secs(1));
        assert_eq!(wire.answers.remove(&u64::MAX), Some((200, String::new())));
        wire.order.clear();
        wire.apns.set_knobs(wire.now, knobs);
        wire.run();
        wire
    }

    fn open(&mut self, tag: u64) -> Result<u32, OpenError> {
        self.open_with(tag, |_| {})
    }

    fn open_with(&mut self, tag: u64, spoil: impl FnOnce(&mut Push)) -> Result<u32, OpenError> {
        let mut push = Push {
            method: "POST",
            path: format!("/3/device/{TOKEN}"),
            headers: HeaderMap::new(),
            body: BODY.into(),
        };
        push.set("authorization", &format!("bearer {}", self.jwt));
        push.set("apns-topic", BUNDLE);
        push.set("apns-push-type", "alert");
        spoil(&mut push);
        let mut head = http::Request::builder()
            .method(push.method)
            .uri(format!("https://api.push.apple.com{}", push.path))
            .body(())
            .unwrap();
        *head.headers_mut() = push.headers;
        self.client.open(head, Bytes::from(push.body), tag)
    }

    /// Opens as many as are allowed; says how many.
    fn open_all(&mut self, first_tag: u64, n: u64) -> u64 {
        (first_tag..first_tag + n).take_while(|tag| self.open(*tag).is_ok()).count() as u64
    }

    /// Carries bytes to and fro until nothing moves.
    fn run(&mut self) {
        loop {
            let mut moved = false;
            let mut bytes = Vec::new();
            while self.client.drain(&mut bytes, 16 * 1024) {}
            if !bytes.is_empty() && self.closed.is_none() {
                moved = true;
                // Cut small, so that nothing depends on frames arriving whole.
                for piece in bytes.chunks(1_000) {
                    self.apns.received(self.now, CONN, piece);
                }
            }
            while let Some(conn) = self.apns.poll_ready() {
                let mut bytes = Vec::new();
                loop {
                    let output = self.apns.drain(self.now, conn, &mut bytes, 999);
                    if conn == CONN && output.close.is_some() {
                        self.closed = output.close;
                    }
                    if !output.more {
                        break;
                    }
                }
                if conn != CONN {
                    continue;
                }
                moved |= !bytes.is_empty();
                self.client.feed(&bytes);
                if self.closed.is_some() {
                    self.client.closed();
                }
            }
            while let Some(event) = self.client.poll() {
                self.note(event);
            }
            if !moved {
                return;
            }
        }
    }

    fn note(&mut self, event: ClientEvent<u64>) {
        match event {
            ClientEvent::Answered { flight, response } => {
                let body = String::from_utf8(response.body).unwrap();
                assert!(response.headers.contains_key("apns-id"));
                self.answers.insert(flight.tag, (response.status, body));
                self.order.push(flight.tag);
            }
            ClientEvent::Failed { flight, failure } => {
                self.failures.insert(flight.tag, failure);
            }
            ClientEvent::Pong => self.pongs += 1,
            ClientEvent::GoAway { last_stream, debug, .. } => {
                self.last_stream = Some(last_stream);
                self.debug = debug.into();
            }
            ClientEvent::Closed { .. } => {}
        }
    }

    /// Lets time pass, from deadline to deadline.
    fn advance(&mut self, span: Span) {
        let end = later(self.now, span);
        self.run();
        while let Some(at) = self.apns.next_deadline()
            && at <= end.time
        {
            assert!(at >= self.now.time, "a deadline in the past would never let time pass");
            self.now = later(self.now, at.since(self.now.time));
            self.apns.tick(self.now);
            self.run();
        }
        self.now = end;
    }

    fn deliveries(&mut self) -> usize {
        std::iter::from_fn(|| self.apns.poll_delivery()).count()
    }

    fn statuses(&self) -> Vec<u16> {
        self.answers.values().map(|(status, _)| *status).collect()
    }
}

fn client() -> ClientPump<u64> {
    ClientPump::new(ClientConfig {
        initial_streams_max: 1,
        streams_max: 2_000,
        answer_bytes_max: 4_096,
        output_bytes_max: 256 * 1024,
        input_bytes_max: 256 * 1024,
    })
}

fn slow(ms: u64) -> Knobs {
    Knobs { latency: Latency::Fixed(Span::from_millis(ms)), ..Knobs::default() }
}

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
fn lost_requests_are_not_processed_and_lost_answers_are() {
    for (knobs, delivered) in [
        (Knobs { requests_lost: Share::percent(100), ..Knobs::default() }, 0),
        (Knobs { answers_lost: Share::percent(100), ..Knobs::default() }, 5),
    ] {
        let mut wire = Wire::warm(Knobs::default());
        wire.deliveries();
        wire.apns.set_knobs(wire.now, knobs);
        wire.open_all(0, 5);
        wire.advance(Span::from_secs(60));
        assert!(wire.answers.is_empty() && wire.failures.is_empty());
        assert_eq!((wire.deliveries(), wire.client.in_flight()), (delivered, 5));
    }
}

#[test]
fn resets_before_are_not_processed_and_resets_after_are() {
    let (before, after) = (Share::percent(100), Share::percent(100));
    for (knobs, failure, delivered) in [
        (Knobs { resets_before: before, reset_code: 7, ..Knobs::default() }, Failure::Reset(7), 0),
        (Knobs { resets_before: before, reset_code: 2, ..Knobs::default() }, Failure::Reset(2), 0),
        (Knobs { resets_after: after, reset_code: 2, ..Knobs::default() }, Failure::Reset(2), 1),
        (Knobs { resets_after: after, reset_code: 7, ..Knobs::default() }, Failure::Reset(8), 1),
    ] {
        let mut wire = Wire::warm(Knobs::default());
        wire.deliveries();
        wire.apns.set_knobs(wire.now, knobs);
        wire.open(1).unwrap();
        wire.run();
        assert_eq!((wire.failures.remove(&1), wire.deliveries()), (Some(failure), delivered));
    }
}

#[test]
fn streams_that_wait_are_reset_on_command() {
    let mut wire = Wire::warm(slow(100));
    wire.open_all(0, 3);
    wire.run();
    wire.apns.reset_streams(CONN, 2);
    wire.run();
    assert_eq!(wire.failures.len(), 3);
    wire.open(9).unwrap();
    wire.advance(Span::from_secs(1));
    assert_eq!(wire.statuses(), [200]);
}

#[test]
fn a_goaway_lets_what_is_on_its_way_be_answered_and_then_closes() {
    let mut wire = Wire::warm(slow(3_000));
    wire.open_all(0, 3);
    wire.run();
    wire.apns.goaway(wire.now, CONN, Goaway::default());
    wire.run();
    assert_eq!(wire.debug, br#"{"reason":"Shutdown"}"#);
    assert!(wire.open(9).is_err());
    wire.advance(Span::from_secs(2));
    assert_eq!((wire.answers.len(), wire.closed), (0, None));
    wire.advance(Span::from_secs(2));
    assert_eq!((wire.statuses(), wire.closed), (vec![200; 3], Some(Close::Orderly)));
    assert!(wire.apns.connections().is_empty());
    assert_eq!(wire.apns.next_deadline(), None);
}

#[test]
fn a_goaway_leaves_as_many_unprocessed_as_was_said() {
    let mut wire = Wire::warm(slow(100));
    wire.deliveries();
    wire.open_all(0, 4);
    wire.run();
    wire.apns.goaway(wire.now, CONN, Goaway { unprocessed: 3, ..Goaway::default() });
    assert_eq!(wire.open_all(10, 5), 5);
    wire.advance(Span::from_millis(200));
    assert_eq!(wire.deliveries(), 4);
    assert_eq!(wire.answers.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(wire.failures.len(), 5);
    assert!(wire.failures.values().all(|failure| *failure == Failure::NotProcessed));
}

#[test]
fn a_goaway_does_not_wait_for_ever_for_requests_to_leave_out() {
    let mut wire = Wire::warm(Knobs::default());
    wire.apns.goaway(wire.now, CONN, Goaway { unprocessed: 3, ..Goaway::default() });
    wire.open(1).unwrap();
    wire.advance(Span::from_millis(499));
    assert_eq!(wire.last_stream, None);
    wire.advance(Span::from_millis(1));
    assert_eq!(wire.failures[&1], Failure::NotProcessed);
    wire.advance(Span::from_secs(1));
    assert_eq!(wire.closed, Some(Close::Orderly));
}

#[test]
fn a_graceful_goaway_comes_twice() {
    let mut wire = Wire::warm(slow(1_000));
    wire.open(1).unwrap();
    wire.run();
    wire.apns.goaway(wire.now, CONN, Goaway { twice: true, ..Goaway::default() });
    wire.run();
    assert_eq!(wire.last_stream, Some((1 << 31) - 1));
    wire.advance(Span::from_millis(200));
    assert_eq!(wire.last_stream, Some(3));
    wire.advance(Span::from_secs(2));
    assert_eq!((wire.statuses(), wire.closed), (vec![200], Some(Close::Orderly)));
}

#[test]
fn a_goaway_comes_by_itself_after_so_many_streams() {
    let mut wire = Wire::warm(Knobs::default());
    wire.deliveries();
    wire.apns.turn(wire.now, |knobs| {
        knobs.goaway_after_streams = Some(11);
        knobs.goaway_unprocessed = 2;
    });
    wire.open_all(0, 20);
    wire.advance(Span::from_secs(2));
    // Bodies do not come in the order of their streams: one below the last may be processed after the others.
    let (answered, failed) = (wire.answers.len(), wire.failures.len());
    assert!(answered >= 10 && failed >= 2 && answered + failed == 20, "{answered} {failed}");
    assert_eq!(wire.deliveries(), answered);
    assert!(wire.failures.values().all(|failure| *failure == Failure::NotProcessed));
    assert_eq!(wire.apns.stats().goaways, 1);
}

#[test]
fn a_silent_connection_stays_open_and_says_nothing() {
    let mut wire = Wire::warm(slow(10));
    wire.open(1).unwrap();
    wire.run();
    wire.apns.go_silent(CONN);
    wire.client.ping();
    wire.open(2).unwrap();
    wire.deliveries();
    wire.advance(Span::from_secs(600));
    assert_eq!((wire.answers.len(), wire.pongs, wire.closed), (0, 0, None));
    assert_eq!(wire.deliveries(), 0);
}

#[test]
fn a_reset_connection_is_gone_at_once() {
    let mut wire = Wire::warm(slow(10));
    wire.open(1).unwrap();
    wire.run();
    wire.apns.reset_connection(CONN);
    wire.run();
    assert_eq!((wire.closed, wire.failures[&1]), (Some(Close::Reset), Failure::Lost));
    assert_eq!(wire.apns.next_deadline(), None);
}

#[test]
fn pings_are_answered_unless_they_are_not() {
    let mut wire = Wire::warm(Knobs::default());
    wire.client.ping();
    wire.run();
    assert_eq!(wire.pongs, 1);
    wire.apns.turn(wire.now, |knobs| knobs.ping_unanswered = true);
    wire.client.ping();
    wire.run();
    wire.open(1).unwrap();
    wire.run();
    assert_eq!((wire.pongs, wire.statuses()), (1, vec![200]));
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

#[test]
fn an_answer_in_pieces_is_the_same_answer() {
    let mut wire = Wire::warm(Knobs { split_answers: true, ..Knobs::default() });
    wire.apns.set_gone(wire.device, UnixMillis(17));
    wire.open(1).unwrap();
    wire.run();
    assert_eq!(wire.answers[&1], (410, r#"{"reason":"Unregistered","timestamp":17}"#.into()));
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

#[test]
fn what_arrives_whole_is_seen_whatever_becomes_of_it() {
    let seen = |knobs: Knobs, gone: bool| {
        let mut wire = Wire::warm(knobs);
        while wire.apns.poll_arrived().is_some() {}
        wire.deliveries();
        if gone {
            wire.apns.set_gone(wire.device, UnixMillis(17));
        }
        wire.open(1).unwrap();
        wire.run();
        assert_eq!(wire.deliveries(), 0);
        std::iter::from_fn(|| wire.apns.poll_arrived()).map(|push| (push.tag, push.payload.badge)).collect()
    };
    let lost = Share(1_000_000);
    let cases: [Vec<(u64, Option<u32>)>; 3] = [
        seen(Knobs::default(), true),
        seen(Knobs { requests_lost: lost, ..Knobs::default() }, false),
        seen(Knobs { unavailable_until: Time::NEVER, ..Knobs::default() }, false),
    ];
    assert!(cases.iter().all(|case| *case == [(42, Some(3))]), "{cases:?}");
}

/// A request whose body stops after so many of its bytes, when the connection ends; what is seen of it.
fn broken_off_after(body: &'static str, bytes: usize) -> Option<Arrived> {
    let mut wire = Wire::warm(Knobs::default());
    while wire.apns.poll_arrived().is_some() {}
    wire.open_with(1, |push| push.body = body.into()).unwrap();
    let mut request = Vec::new();
    while wire.client.drain(&mut request, 16 * 1024) {}
    let cut = request.len() - body.len() + bytes;
    for piece in request[..cut].chunks(7) {
        wire.apns.received(wire.now, CONN, piece);
    }
    wire.apns.closed(wire.now, CONN);
    let arrived = wire.apns.poll_arrived();
    assert!(wire.apns.poll_arrived().is_none());
    arrived
}

#[test]
fn details_of_a_request_that_is_broken_off_are_seen_as_far_as_they_came() {
    const BODY: &str = r#"{"aps":{"badge":3,"alert":{"title":"Jane","subtitle":"Lunch","body":"At noon?"}}}"#;
    let first = BODY.find("Jane").unwrap() + 1;
    for bytes in 0..BODY.len() {
        let seen = broken_off_after(BODY, bytes);
        assert_eq!(seen.is_some(), bytes >= first, "{bytes} bytes");
        if let Some(seen) = seen {
            assert!(seen.tag == 42 && seen.payload.has_details());
        }
    }
    let whole = broken_off_after(BODY, BODY.len()).expect("it came whole");
    let details = |title: &str, subtitle: &str, body: &str| AlertKind::Details {
        title: title.into(),
        subtitle: subtitle.into(),
        body: body.into(),
    };
    assert_eq!(whole.payload.alert, details("Jane", "Lunch", "At noon?"));
    let at = BODY.find("nch").unwrap();
    assert_eq!(broken_off_after(BODY, at).unwrap().payload.alert, details("Jane", "Lu", ""));
}

#[test]
fn what_is_broken_off_without_details_is_nobodys_business() {
    for body in [
        r#"{"aps":{"badge":3,"alert":"New mail","sound":"default"},"m":{"a":"00000000000000aa","n":1,"i":[]}}"#,
        r#"{"aps":{"badge":3,"alert":"12 new messages"},"m":{"a":"00000000000000aa","n":12,"i":[]}}"#,
        r#"{"aps":{"alert":{"loc-key":"NEW_MAIL"}},"m":{"a":"00000000000000aa","n":1,"i":[]}}"#,
    ] {
        for bytes in 0..body.len() {
            assert_eq!(broken_off_after(body, bytes), None, "{}", &body[..bytes]);
        }
    }
}

#[test]
fn the_audit_notices_details_past_the_cut_off_in_half_a_request() {
    let rules = Rules {
        detail_cutoff: Span::from_secs(60),
        wait_max: Span::from_secs(20),
        crossing_max: Span::from_secs(1),
        look_max: Span::ZERO,
        transit_max: Span::from_secs(1),
    };
    for (used_s_ago, faults) in [(10, 0), (100, 1)] {
        let body = r#"{"aps":{"alert":{"title":"Jane","subtitle":"Lunch","body":"At noon?"}}}"#;
        let seen = broken_off_after(body, body.find("nch").unwrap()).expect("details");
        let mut audit = Audit::new(rules);
        let user = audit.add_user(0);
        let active = UnixMillis(seen.at.unix.0 - used_s_ago * 1_000);
        let phone = audit.add_phone(user, Time(0), active, Wants::default());
        audit.left(phone, seen.at, &seen.payload);
        assert_eq!(audit.finish(seen.at).details_after_cutoff.count, faults);
    }
}

#[test]
fn a_request_that_crosses_with_goaway_is_seen() {
    const BODY: &str = r#"{"aps":{"alert":{"title":"Jane","subtitle":"Lunch","body":"At noon?"}},"m":{"a":"00000000000000aa","n":1,"i":[]}}"#;
    let mut wire = Wire::warm(Knobs::default());
    while wire.apns.poll_arrived().is_some() {}
    // A GOAWAY that the client has not heard of yet.
    wire.apns.goaway(wire.now, CONN, Goaway::default());
    wire.open_with(1, |push| push.body = BODY.into()).unwrap();
    wire.run();
    let seen = wire.apns.poll_arrived().expect("it came whole");
    assert!(seen.payload.has_details());
    assert!(wire.apns.poll_arrived().is_none());
}
