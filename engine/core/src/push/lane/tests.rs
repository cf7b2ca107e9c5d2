//! The lane against the server's side of the pump.

use proptest::prelude::*;

use super::*;
use crate::h2pump::{Answer, ServerConfig, ServerEvent, ServerPump, WindowPolicy, kind};
use crate::names::{DeviceToken, Topic};
use crate::push::PushType;
use crate::time::{Span, UnixMillis};

const MS: u64 = 1_000;
const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A lane, a provider, the wire between them, and a clock that is turned by hand.
struct World {
    now: Time,
    lane: Lane,
    apns: ServerPump,
    cut: usize,
    requests: Vec<u32>,
    events: Vec<LaneEvent>,
}

impl World {
    fn new(lane: LaneConfig, apns: ServerConfig) -> World {
        let mut world = World {
            now: Time(1_000 * MS),
            lane: Lane::new(Time(1_000 * MS), lane),
            apns: ServerPump::new(apns),
            cut: 4_096,
            requests: vec![],
            events: vec![],
        };
        world.carry();
        world
    }

    fn usual() -> World {
        World::new(LaneConfig::apns("api.push.test:2197", false), ServerConfig::default())
    }

    fn pass(&mut self, span: Span) {
        self.now = self.now + span;
        while let Some(due) = self.lane.next_deadline()
            && due <= self.now
        {
            self.lane.on_deadline(self.now);
            self.collect();
            if self.lane.next_deadline().is_some_and(|next| next <= due) {
                break;
            }
        }
    }

    fn carry(&mut self) {
        let mut bytes = Vec::new();
        loop {
            let mut idle = true;
            self.lane.drain(&mut bytes, self.cut);
            if !bytes.is_empty() {
                idle = false;
                self.apns.feed(&bytes);
                bytes.clear();
            }
            self.apns.drain(&mut bytes, self.cut);
            if !bytes.is_empty() {
                idle = false;
                self.lane.feed(self.now, &bytes);
                bytes.clear();
            }
            self.collect();
            if idle {
                return;
            }
        }
    }

    fn collect(&mut self) {
        while let Some(event) = self.apns.poll() {
            match event {
                ServerEvent::Request(request) => self.requests.push(request.stream),
                ServerEvent::Violation(violation) => panic!("{violation:?}"),
                ServerEvent::Dropped(_)
                | ServerEvent::Cancelled { .. }
                | ServerEvent::Pong
                | ServerEvent::WentAway { .. }
                | ServerEvent::Closed { .. } => {}
            }
        }
        while let Some(event) = self.lane.poll(self.now) {
            self.events.push(event);
        }
    }

    fn send(&mut self, flight: u64, payload: &[u8]) -> Result<(), NoRoom> {
        self.send_as(flight, None, payload)
    }

    fn send_as(&mut self, flight: u64, jwt: Option<&str>, payload: &[u8]) -> Result<(), NoRoom> {
        let token = DeviceToken::parse(TOKEN).unwrap();
        let topic = Topic::parse("com.example.mail").unwrap();
        let push = PushRequest {
            token: &token,
            topic: &topic,
            jwt,
            apns_id: u128::from(flight),
            push_type: PushType::Alert,
            priority: 10,
            expiration_s: 0,
            collapse_id: Some("inbox"),
            payload,
        };
        self.lane.send(self.now, flight, &push)
    }

    fn answer(&mut self, status: u16, body: &str) {
        for stream in std::mem::take(&mut self.requests) {
            let answer =
                Answer { status, headers: &[], body: body.as_bytes(), data_bytes_max: 0, empty_tail: false };
            self.apns.respond(stream, &answer).unwrap();
        }
        self.carry();
    }

    fn settled(&mut self) -> Vec<(u64, Outcome)> {
        let mut settled = vec![];
        self.events.retain(|event| match event {
            LaneEvent::Settled { flight, outcome, .. } => {
                settled.push((*flight, outcome.clone()));
                false
            }
            LaneEvent::GoingAway { .. } | LaneEvent::Lost(_) => true,
        });
        settled
    }
}

fn going_away(reason: &str, refused: bool) -> LaneEvent {
    LaneEvent::GoingAway { reason: Reason::new(reason), refused }
}

const SAFE: Outcome = Outcome::Retry { certainty: Certainty::Safe, scope: RetryScope::Lane };
const AMBIGUOUS: Outcome = Outcome::Retry { certainty: Certainty::Ambiguous, scope: RetryScope::Lane };

#[test]
fn a_push_is_settled_with_its_answer_and_its_time() {
    let mut world = World::usual();
    world.send(7, b"{}").unwrap();
    world.carry();
    world.now = world.now + Span(40 * MS);
    world.answer(200, "");
    assert_eq!(
        world.events,
        [LaneEvent::Settled { flight: 7, outcome: Outcome::Accepted, took: Span(40 * MS) }]
    );
    world.events.clear();
    world.send(8, b"{}").unwrap();
    world.carry();
    world.answer(410, r#"{"reason":"Unregistered","timestamp":5}"#);
    let gone = Outcome::TokenGone { since: Some(UnixMillis(5)) };
    assert_eq!(world.settled(), [(8, gone)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_push_is_settled_once_however_bytes_are_cut_and_answers_ordered(
        cut in 1..300usize,
        pushes in prop::collection::vec((0..4_096usize, 0..5u8, 0..300usize), 1..40),
        seed: u64,
    ) {
        let apns = ServerConfig { window: WindowPolicy::Immediate, ..ServerConfig::default() };
        let mut world = World::new(LaneConfig::apns("push.test", false), apns);
        world.cut = cut;
        let mut rng = crate::rng::Rng::new(seed);
        let mut next = 0;
        let mut settled = vec![];
        for _ in 0..400 {
            while next < pushes.len() && world.lane.room() > 0 {
                world.send(next as u64, &vec![b'x'; pushes[next].0]).unwrap();
                next += 1;
                if rng.chance(1, 4) { break; }
            }
            world.carry();
            while !world.requests.is_empty() && rng.chance(3, 4) {
                let pick = rng.below(world.requests.len() as u64) as usize;
                let stream = world.requests.swap_remove(pick);
                // Streams are odd numbers from 1 in the order of sending.
                let (_, kind, piece) = pushes[(stream / 2) as usize];
                let (status, body) = [
                    (200, ""),
                    (400, r#"{"reason":"BadDeviceToken"}"#),
                    (429, r#"{"reason":"TooManyRequests"}"#),
                    (503, r#"{"reason":"ServiceUnavailable"}"#),
                    (413, r#"{"reason":"PayloadTooLarge"}"#),
                ][kind as usize];
                let answer = Answer {
                    status, headers: &[("apns-id", "x")], body: body.as_bytes(), data_bytes_max: piece, empty_tail: piece % 2 == 0,
                };
                world.apns.respond(stream, &answer).unwrap();
                world.carry();
            }
            settled.extend(world.settled());
            if settled.len() == pushes.len() { break; }
        }
        settled.sort_by_key(|(flight, _)| *flight);
        prop_assert_eq!(settled.len(), pushes.len());
        for (index, (flight, outcome)) in settled.into_iter().enumerate() {
            prop_assert_eq!(flight, index as u64);
            let expected = match pushes[index].1 {
                0 => Outcome::Accepted,
                1 => Outcome::TokenSuspect(Reason::new("BadDeviceToken")),
                2 => Outcome::Throttled { retry_ms: None },
                3 => Outcome::Retry { certainty: Certainty::Safe, scope: RetryScope::Service },
                _ => Outcome::TooLarge,
            };
            prop_assert_eq!(outcome, expected);
        }
        prop_assert_eq!(world.lane.in_flight(), 0);
        prop_assert!(world.events.is_empty());
    }
}

#[test]
fn one_push_until_settings_and_with_a_token_until_the_first_answer() {
    let mut lane = Lane::new(Time(0), LaneConfig::apns("push.test", false));
    assert_eq!(lane.room(), 1);
    assert!(lane.poll(Time(0)).is_none());

    let mut world = World::new(LaneConfig::apns("push.test", true), ServerConfig::default());
    assert_eq!(world.lane.room(), 1);
    world.send(1, b"{}").unwrap();
    assert_eq!(world.lane.room(), 0);
    assert_eq!(world.send(2, b"{}"), Err(NoRoom));
    world.carry();
    // An unwelcome token proves nothing.
    world.answer(429, r#"{"reason":"TooManyProviderTokenUpdates"}"#);
    assert_eq!(world.lane.room(), 1);
    world.send(2, b"{}").unwrap();
    world.carry();
    world.answer(200, "");
    assert!(world.lane.room() > 1);
}

#[test]
fn the_newest_limit_of_streams_is_obeyed_at_once_up_and_down() {
    let mut world = World::new(
        LaneConfig { first_window: 1_000, ..LaneConfig::apns("push.test", false) },
        ServerConfig { streams_max: Some(1), ..ServerConfig::default() },
    );
    assert_eq!(world.lane.room(), 1);
    world.apns.set_streams_max(1_000);
    world.carry();
    let mut flight = 0;
    while world.lane.room() > 0 && flight < 300 {
        world.send(flight, b"{}").unwrap();
        flight += 1;
    }
    assert_eq!(flight, 300);
    world.carry();
    world.apns.set_streams_max(1);
    world.carry();
    assert_eq!(world.lane.room(), 0);
    assert_eq!(world.send(999, b"{}"), Err(NoRoom));
    // Violations would panic in `collect`: the lane opens none until it is below the new limit.
    for left in (1..300).rev() {
        let stream = world.requests.pop().unwrap();
        let answer = Answer { status: 200, headers: &[], body: b"", data_bytes_max: 0, empty_tail: false };
        world.apns.respond(stream, &answer).unwrap();
        world.carry();
        assert_eq!((world.lane.room(), world.lane.in_flight()), (0, left));
    }
    world.now = world.now + Span(10 * MS);
    world.answer(200, "");
    assert_eq!(world.lane.room(), 1);
    assert_eq!(world.lane.blocked(), None);
    world.send(1_000, b"{}").unwrap();
    assert_eq!(world.lane.blocked(), Some(Blocked::Streams));
    world.now = world.now + Span(10 * MS);
    world.apns.set_streams_max(1_000);
    world.carry();
    assert!(world.lane.room() > 1);
    assert_eq!(world.lane.blocked(), None);
}

#[test]
fn goaway_hands_back_what_was_not_processed_and_waits_for_the_rest() {
    let mut world = World::usual();
    for flight in 0..10 {
        world.send(flight, b"{}").unwrap();
    }
    world.carry();
    let streams = world.requests.clone();
    // Graceful first, then twice with lower last streams: the lowest counts.
    world.apns.goaway(u32::MAX >> 1, code::NO_ERROR, b"");
    world.apns.goaway(streams[6], code::NO_ERROR, br#"{"reason":"Shutdown"}"#);
    world.apns.goaway(streams[3], code::NO_ERROR, br#"{"reason":"Shutdown"}"#);
    world.cut = 20;
    world.carry();
    let mut handed_back = world.settled();
    handed_back.sort_by_key(|(flight, _)| *flight);
    assert_eq!(handed_back, (4..10).map(|flight| (flight, SAFE)).collect::<Vec<_>>());
    assert_eq!(world.events, [going_away("NoError", false)]);
    assert_eq!((world.lane.room(), world.lane.in_flight()), (0, 4));
    assert_eq!(world.send(99, b"{}"), Err(NoRoom));
    world.requests.truncate(3);
    world.answer(200, "");
    assert_eq!(world.settled().len(), 3);
    // The transport ends before the last one's answer.
    world.lane.closed(world.now);
    world.collect();
    assert_eq!(world.settled(), [(3, AMBIGUOUS)]);
    assert!(!world.events.iter().any(|event| matches!(event, LaneEvent::Lost(_))));
}

#[test]
fn a_lane_that_went_away_is_over_when_its_last_push_is_settled() {
    let mut world = World::usual();
    world.send(1, b"{}").unwrap();
    world.carry();
    world.apns.goaway(world.requests[0], code::NO_ERROR, br#"{"reason":"Shutdown"}"#);
    world.carry();
    assert_eq!(world.events, [going_away("Shutdown", false)]);
    world.answer(200, "");
    assert_eq!(world.settled(), [(1, Outcome::Accepted)]);
    assert_eq!(world.events[1..], [LaneEvent::Lost(LaneError::Finished)]);
    assert_eq!(world.lane.next_deadline(), None);
}

#[test]
fn a_farewell_that_refuses_us_says_so() {
    let mut world = World::usual();
    world.apns.goaway(0, code::NO_ERROR, br#"{"reason":"BadCertificate"}"#);
    world.carry();
    let lost = LaneEvent::Lost(LaneError::Finished);
    assert_eq!(world.events, [going_away("BadCertificate", true), lost]);
}

#[test]
fn a_refused_stream_is_safe_and_shrinks_the_window_and_other_resets_are_ambiguous() {
    let mut world = World::usual();
    for flight in 0..3 {
        world.send(flight, b"{}").unwrap();
    }
    world.carry();
    let before = world.lane.window.limit();
    let streams = std::mem::take(&mut world.requests);
    world.apns.reset(streams[0], code::REFUSED_STREAM);
    world.apns.reset(streams[1], code::INTERNAL_ERROR);
    world.apns.reset(streams[2], code::CANCEL);
    world.carry();
    assert_eq!(world.settled(), [(0, SAFE), (1, AMBIGUOUS), (2, AMBIGUOUS)]);
    assert_eq!(world.lane.window.limit(), before / 2);
    assert!(world.lane.is_open());
}

#[test]
fn a_push_without_an_answer_is_given_up_and_several_end_the_lane() {
    let mut world = World::usual();
    world.send(1, b"{}").unwrap();
    world.carry();
    assert_eq!(world.lane.next_deadline(), Some(world.now + Span::from_secs(5)), "a PING");
    for _ in 0..2 {
        world.pass(Span::from_secs(5));
        assert_eq!(world.lane.blocked(), Some(Blocked::Silence));
        world.carry();
        assert_eq!(world.lane.blocked(), None, "it lives");
    }
    world.pass(Span::from_millis(4_999));
    assert!(world.events.is_empty());
    world.pass(Span::from_millis(1));
    assert_eq!(
        world.events,
        [LaneEvent::Settled { flight: 1, outcome: AMBIGUOUS, took: Span::from_secs(15) }]
    );
    world.events.clear();
    // The server hears of it; its late answer is swallowed; the PING is answered.
    world.carry();
    assert_eq!(world.lane.in_flight(), 0);
    assert!(world.events.is_empty() && world.lane.is_open());
    world.requests.clear();
    for flight in 2..4 {
        world.send(flight, b"{}").unwrap();
        world.carry();
        for _ in 0..3 {
            world.pass(Span::from_secs(5));
            world.carry();
        }
    }
    assert_eq!(world.settled(), [(2, AMBIGUOUS), (3, AMBIGUOUS)]);
    let lost = LaneEvent::Lost(LaneError::Finished);
    assert_eq!(world.events, [going_away("Unanswered", false), lost]);
}

#[test]
fn an_answer_in_between_forgives_a_push_without_one() {
    let mut world = World::usual();
    for flight in 0..10 {
        world.send(flight, b"{}").unwrap();
        world.carry();
        if flight % 2 == 0 {
            world.requests.clear();
            for _ in 0..3 {
                world.pass(Span::from_secs(5));
                world.carry();
            }
        } else {
            world.answer(200, "");
        }
    }
    assert!(world.lane.is_open());
    assert_eq!(world.settled().len(), 10);
}

#[test]
fn a_silent_connection_is_found_dead() {
    let mut world = World::usual();
    // Idle: a PING after a minute, answered.
    world.pass(Span::from_secs(60));
    world.carry();
    assert_eq!(world.lane.next_deadline(), Some(world.now + Span::from_secs(60)));
    world.apns.set_answers_pings(false);
    world.send(1, b"{}").unwrap();
    world.carry();
    world.send(2, b"{}").unwrap();
    world.pass(Span::from_secs(5));
    assert_eq!(world.send(3, b"{}"), Err(NoRoom), "perhaps it is dead");
    world.pass(Span::from_secs(5));
    assert_eq!(world.settled(), [(1, AMBIGUOUS), (2, SAFE)], "the bytes of one never left");
    assert_eq!(world.events, [LaneEvent::Lost(LaneError::Silent)]);
    assert_eq!(world.lane.room(), 0);
}

#[test]
fn a_server_without_settings_is_given_up() {
    let mut lane = Lane::new(Time(0), LaneConfig::apns("push.test", false));
    assert_eq!(lane.next_deadline(), Some(Time(0) + Span::from_secs(5)));
    lane.on_deadline(Time(5_000 * MS));
    assert_eq!(lane.poll(Time(5_000 * MS)), Some(LaneEvent::Lost(LaneError::NoSettings)));
    assert_eq!(lane.poll(Time(5_000 * MS)), None);
}

#[test]
fn the_send_window_holds_pushes_back_until_the_provider_gives_credit() {
    let apns = ServerConfig { window: WindowPolicy::Manual, ..ServerConfig::default() };
    let lane = LaneConfig { first_window: 1_000, ..LaneConfig::apns("push.test", false) };
    let mut world = World::new(lane, apns);
    let mut flight = 0;
    while world.lane.room() > 0 {
        world.send(flight, &[b'x'; 2_000]).unwrap();
        flight += 1;
    }
    // 31 × 2,000 leave 3,535 bytes: less than the largest push.
    assert_eq!(flight, 31);
    world.carry();
    world.pass(Span(30 * MS));
    world.answer(200, "");
    assert_eq!((world.lane.room(), world.lane.in_flight()), (0, 0), "answers are no credit");
    assert_eq!(world.lane.blocked(), Some(Blocked::Bytes));
    world.apns.grant(2_000);
    world.carry();
    assert_eq!(world.lane.room(), 1);
    world.send(flight, &[b'x'; 4_096]).unwrap();
    world.carry();
    assert_eq!(world.requests.len(), 1, "HEADERS and DATA arrived together");
    world.answer(200, "");
    // No credit ever: the lane makes way for another.
    world.pass(Span::from_secs(15));
    let lost = LaneEvent::Lost(LaneError::Finished);
    assert_eq!(world.events[32..], [going_away("Starved", false), lost]);
}

#[test]
fn slow_credit_slows_pushes_and_loses_none() {
    let apns = ServerConfig { window: WindowPolicy::Manual, ..ServerConfig::default() };
    let lane = LaneConfig { first_window: 1_000, ..LaneConfig::apns("push.test", false) };
    let mut world = World::new(lane, apns);
    let mut flight = 0;
    let mut accepted = 0;
    let mut spent = 0;
    while accepted < 500 {
        while world.lane.room() > 0 && flight < 500 {
            world.send(flight, &[b'x'; 1_000]).unwrap();
            flight += 1;
        }
        world.carry();
        spent += u32::from(world.lane.blocked() == Some(Blocked::Bytes));
        world.now = world.now + Span(10 * MS);
        let credit = world.apns.owed().min(5_000);
        world.apns.grant(credit);
        world.answer(200, "");
        accepted += world.settled().len();
    }
    assert_eq!((flight, accepted), (500, 500));
    assert!(spent > 50, "{spent} of its steps");
}

#[test]
fn it_carries_streams_by_the_time_of_answers_and_bytes_by_the_time_of_their_credit() {
    let apns =
        ServerConfig { streams_max: Some(100), window: WindowPolicy::Manual, ..ServerConfig::default() };
    let lane = LaneConfig { first_window: 1_000, ..LaneConfig::apns("push.test", false) };
    let mut world = World::new(lane, apns);
    let moment = Span::from_millis(100);
    assert_eq!(world.lane.carries(moment), None, "nothing has been answered");
    world.send(0, &[b'x'; 1_000]).unwrap();
    world.carry();
    world.pass(Span(20 * MS));
    world.answer(200, "");
    // 65 payloads fit in a send window, 100 streams in an answer's time.
    assert_eq!(world.lane.carries(moment), Some(65 * 5));
    assert_eq!(world.lane.carries(Span::from_millis(40)), Some(65 * 2));
    world.apns.set_streams_max(10);
    world.carry();
    assert_eq!(world.lane.carries(moment), Some(10 * 5), "streams are the less");
    world.apns.set_streams_max(100);
    world.carry();
    let mut flight = 1;
    while world.lane.room() > 0 {
        world.send(flight, &[b'x'; 1_000]).unwrap();
        flight += 1;
    }
    assert_eq!(world.lane.blocked(), Some(Blocked::Bytes));
    world.carry();
    world.pass(Span(20 * MS));
    world.answer(200, "");
    assert_eq!(world.lane.carries(moment), Some(65 * 5), "no credit has come yet");
    world.pass(Span(180 * MS));
    world.apns.grant(60_000);
    world.carry();
    assert_eq!(world.lane.carries(moment), Some(65 / 2), "a send window each 200 ms");
    assert_eq!(world.lane.check(), Ok(()));
}

#[test]
fn a_cut_connection_tells_safe_from_ambiguous() {
    let mut world = World::usual();
    world.send(1, b"{}").unwrap();
    world.carry();
    world.send(2, b"{}").unwrap();
    world.send(3, b"{}").unwrap();
    let mut bytes = Vec::new();
    let before = world.lane.in_flight();
    // All but the last byte leaves: the third push is not whole.
    while world.lane.drain(&mut bytes, 1) {}
    let len = bytes.len();
    assert_eq!(before, 3);

    for (left, outcomes) in [
        (0, [AMBIGUOUS, SAFE, SAFE]),
        (len - 1, [AMBIGUOUS, AMBIGUOUS, SAFE]),
        (len, [AMBIGUOUS, AMBIGUOUS, AMBIGUOUS]),
    ] {
        let mut world = World::usual();
        world.send(1, b"{}").unwrap();
        world.carry();
        world.send(2, b"{}").unwrap();
        world.send(3, b"{}").unwrap();
        world.lane.drain(&mut Vec::new(), left);
        world.lane.closed(world.now);
        world.collect();
        let expected: Vec<_> = (1..4).zip(outcomes).collect();
        assert_eq!(world.settled(), expected);
        assert!(world.events.is_empty());
        assert_eq!((world.lane.room(), world.lane.next_deadline()), (0, None));
    }
}

#[test]
fn answers_that_arrived_before_the_cut_count() {
    let mut world = World::usual();
    world.send(1, b"{}").unwrap();
    world.send(2, b"{}").unwrap();
    world.carry();
    world.requests.truncate(1);
    let answer = Answer { status: 200, headers: &[], body: b"", data_bytes_max: 0, empty_tail: false };
    world.apns.respond(world.requests[0], &answer).unwrap();
    let mut bytes = Vec::new();
    world.apns.drain(&mut bytes, usize::MAX);
    world.lane.feed(world.now, &bytes);
    world.lane.closed(world.now);
    world.collect();
    assert_eq!(world.settled(), [(1, Outcome::Accepted), (2, AMBIGUOUS)]);
}

#[test]
fn bytes_that_are_no_http2_end_the_lane_with_their_pushes_settled() {
    let mut world = World::usual();
    world.send(1, b"{}").unwrap();
    world.carry();
    world.apns.raw(&[0, 0, 1, kind::DATA, 0, 0, 0, 0, 0, 1]);
    world.carry();
    assert_eq!(world.settled(), [(1, AMBIGUOUS)]);
    match &world.events[..] {
        [LaneEvent::Lost(LaneError::Protocol(text))] => assert!(!text.is_empty()),
        other => panic!("{other:?}"),
    }
    let mut out = Vec::new();
    world.lane.drain(&mut out, usize::MAX);
    world.lane.closed(world.now);
    assert_eq!(world.lane.poll(world.now), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_bytes_from_the_provider_do_harm(
        noise in prop::collection::vec(any::<u8>(), 1..200),
        frames in prop::collection::vec((0..12u8, any::<u8>(), 0..6u32, prop::collection::vec(any::<u8>(), 0..40)), 0..6),
    ) {
        let mut world = World::usual();
        for flight in 0..3 {
            world.send(flight, b"{}").unwrap();
        }
        world.carry();
        for (kind, flags, stream, payload) in frames {
            let head = crate::h2pump::FrameHead { length: payload.len() as u32, kind, flags, stream };
            world.lane.feed(world.now, &head.encode());
            world.lane.feed(world.now, &payload);
        }
        world.lane.feed(world.now, &noise);
        world.collect();
        world.pass(Span::from_secs(60));
        world.lane.closed(world.now);
        world.collect();
        let mut flights: Vec<u64> = world.settled().into_iter().map(|(flight, _)| flight).collect();
        flights.sort_unstable();
        prop_assert_eq!(flights, [0, 1, 2]);
        prop_assert_eq!(world.lane.in_flight(), 0);
    }
}

#[test]
fn a_giant_answer_goes_by_its_status() {
    let mut world = World::usual();
    for flight in 0..2 {
        world.send(flight, b"{}").unwrap();
    }
    world.carry();
    let giant = format!(r#"{{"reason":"{}"}}"#, "x".repeat(1 << 20));
    world.answer(400, &giant);
    let rejected = Outcome::Rejected(Reason::new("Http400"));
    assert_eq!(world.settled(), [(0, rejected.clone()), (1, rejected)]);
    world.send(3, b"{}").unwrap();
    world.carry();
    world.answer(200, "");
    assert_eq!(world.settled(), [(3, Outcome::Accepted)]);
}

#[test]
fn a_stale_token_ends_the_lane_and_hands_its_pushes_back() {
    let mut world = World::usual();
    for flight in 0..2 {
        world.send(flight, b"{}").unwrap();
    }
    world.carry();
    world.answer(403, r#"{"reason":"ExpiredProviderToken"}"#);
    let stale = Outcome::AuthStale(Reason::new("ExpiredProviderToken"));
    assert_eq!(world.settled(), [(0, stale.clone()), (1, stale)]);
    let lost = LaneEvent::Lost(LaneError::Finished);
    assert_eq!(world.events, [going_away("ExpiredProviderToken", false), lost]);
}

#[test]
fn internal_errors_in_a_row_end_the_lane() {
    let mut world = World::usual();
    for flight in 0..3 {
        assert!(world.lane.is_open());
        world.send(flight, b"{}").unwrap();
        world.carry();
        world.answer(500, r#"{"reason":"InternalServerError"}"#);
    }
    assert_eq!(world.events[2], going_away("Http500", false));
}

#[test]
fn a_good_answer_in_between_forgives_internal_errors() {
    let mut world = World::usual();
    for round in 0..4 {
        for flight in 0..DOUBTS_MAX - 1 {
            world.send(u64::from(round * 10 + flight), b"{}").unwrap();
            world.carry();
            world.answer(500, r#"{"reason":"InternalServerError"}"#);
        }
        assert!(world.lane.is_open(), "round {round}");
        world.send(u64::from(round * 10 + 9), b"{}").unwrap();
        world.carry();
        world.answer(200, "");
    }
    assert!(world.lane.is_open());
}

#[test]
fn a_lane_retires_before_stream_ids_run_out() {
    let config = LaneConfig { pushes_max: 2, ..LaneConfig::apns("push.test", false) };
    let mut world = World::new(config, ServerConfig::default());
    world.send(1, b"{}").unwrap();
    world.send(2, b"{}").unwrap();
    assert_eq!(world.send(3, b"{}"), Err(NoRoom));
    world.carry();
    world.answer(200, "");
    assert_eq!(world.settled().len(), 2);
    let lost = LaneEvent::Lost(LaneError::Finished);
    assert_eq!(world.events, [going_away("Retired", false), lost]);
}

#[test]
fn our_own_mistakes_are_settled_without_touching_the_wire() {
    let mut world = World::usual();
    world.send(1, &[b'x'; 4_097]).unwrap();
    world.collect();
    assert_eq!(world.settled(), [(1, Outcome::TooLarge)]);
    assert_eq!(world.lane.in_flight(), 0);

    let mut lane = Lane::new(Time(0), LaneConfig::apns("not a host", false));
    assert_eq!(lane.room(), 0);
    assert_eq!(lane.poll(Time(0)), Some(LaneEvent::Lost(LaneError::BadAuthority)));
}

#[test]
fn a_provider_that_allows_no_stream_for_long_is_left() {
    let mut world = World::usual();
    world.apns.set_streams_max(0);
    world.carry();
    assert_eq!(world.lane.room(), 0);
    world.pass(Span::from_secs(14));
    assert!(world.lane.is_open());
    world.pass(Span::from_secs(1));
    assert!(!world.lane.is_open());
    assert_eq!(world.events[0], going_away("Starved", false));
}

#[test]
fn equal_inputs_give_equal_bytes_and_events() {
    let run = || {
        let mut world = World::usual();
        let mut bytes = Vec::new();
        for flight in 0..100 {
            world.send(flight, &vec![b'x'; flight as usize * 7]).unwrap();
            world.lane.drain(&mut bytes, 100);
        }
        let mut rest = Vec::new();
        while world.lane.drain(&mut rest, 1_000) {}
        world.apns.feed(&bytes);
        world.apns.feed(&rest);
        world.collect();
        world.apns.reset(world.requests[50], code::REFUSED_STREAM);
        world.apns.goaway(world.requests[70], code::NO_ERROR, b"");
        world.carry();
        world.pass(Span::from_secs(20));
        bytes.extend(rest);
        (bytes, world.events)
    };
    let (first, second) = (run(), run());
    assert_eq!(first.1.len(), 102);
    assert_eq!(first, second);
}

#[test]
fn a_network_that_takes_nothing_blocks_and_is_found_dead() {
    let lane = LaneConfig { first_window: 1_000, ..LaneConfig::apns("push.test", false) };
    let mut world = World::new(lane, ServerConfig::default());
    let mut sent = 0;
    while world.lane.room() > 0 && sent < 2_000 {
        world.send(sent, b"{}").unwrap();
        sent += 1;
    }
    assert_eq!(sent, 1_000);
    let mut out = Vec::new();
    assert!(world.lane.drain(&mut out, 10));
    world.pass(Span::from_secs(15));
    world.pass(Span::from_secs(5));
    assert_eq!(world.settled(), (0..1_000).map(|flight| (flight, SAFE)).collect::<Vec<_>>());
}

#[test]
fn what_waits_to_be_written_has_its_bound() {
    let lane = LaneConfig { first_window: 1_000, ..LaneConfig::apns("push.test", false) };
    let mut world = World::new(lane, ServerConfig::default());
    let jwt = "j".repeat(1_000);
    let mut sent = 0;
    while world.lane.room() > 0 {
        world.send_as(sent, Some(&jwt), b"{}").unwrap();
        sent += 1;
    }
    assert_eq!(world.lane.blocked(), Some(Blocked::Output), "{sent} pushes");
    let waits = world.lane.unsent_bytes();
    assert!((OUTPUT_BYTES_MAX..=OUTPUT_BYTES_MAX + 16 * 1024 + 9).contains(&waits), "{waits}");
    world.carry();
    assert_eq!((world.lane.unsent_bytes(), world.requests.len() as u64), (0, sent));
}
