//! A lane to APNs against a provider that may do anything. Input: a script of one-byte steps with their arguments.

use std::collections::BTreeSet;

use carillon_core::h2pump::{Answer, ServerConfig, ServerEvent, ServerPump};
use carillon_core::limits::{APNS_PAYLOAD_BYTES_MAX, OUTPUT_BYTES_MAX};
use carillon_core::names::{DeviceToken, Topic};
use carillon_core::push::{Lane, LaneConfig, LaneEvent, PushRequest, PushType};
use carillon_core::time::{Span, Time};

use crate::input::{Input, cut};

/// Every push that was taken is settled exactly once, room is room, and time always moves on.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let mut rig = Rig::new(input.flag());
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        rig.step(&mut input);
        rig.hear();
    }
    rig.lane.closed(rig.now);
    rig.hear();
    assert!(rig.unsettled.is_empty(), "never settled: {:?}", rig.unsettled);
    assert_eq!((rig.lane.in_flight(), rig.lane.room(), rig.lane.next_deadline()), (0, 0, None));
}

const STEPS_MAX: usize = 512;

struct Rig {
    now: Time,
    lane: Lane,
    apns: ServerPump,
    requests: Vec<u32>,
    token: DeviceToken,
    topic: Topic,
    flights: u64,
    unsettled: BTreeSet<u64>,
    lost: bool,
}

impl Rig {
    fn new(provider_token: bool) -> Rig {
        let now = Time(1_000_000);
        Rig {
            now,
            lane: Lane::new(now, LaneConfig::apns("api.push.test", provider_token)),
            apns: ServerPump::new(ServerConfig::default()),
            requests: Vec::new(),
            token: DeviceToken::parse("00112233445566778899aabbccddeeff").expect("hex"),
            topic: Topic::parse("com.example.mail").expect("a bundle id"),
            flights: 0,
            unsettled: BTreeSet::new(),
            lost: false,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 12 {
            0 => self.push(input),
            1 => self.carry_up(usize::from(input.u16())),
            2 => self.carry_down(usize::from(input.u16()), input.u8()),
            3 => self.answer(input),
            4 => self.disturb(input),
            5 => self.raw_frame(input),
            6 => {
                let len = input.below(64);
                self.lane.feed(self.now, input.bytes(len));
            }
            7 => self.pass(Span::from_millis(1 << (input.u8() % 18))),
            8 => self.due(),
            9 => self.lane.retire(self.now),
            10 => self.lane.closed(self.now),
            _ => {
                // All that either side has to say.
                for _ in 0..4 {
                    self.carry_up(usize::MAX);
                    self.carry_down(usize::MAX, 0);
                }
            }
        }
        assert!(self.lane.in_flight() <= self.unsettled.len());
    }

    fn push(&mut self, input: &mut Input<'_>) {
        let had_room = self.lane.room() > 0;
        self.flights += 1;
        let payload = vec![b'x'; usize::from(input.u8()) * 17];
        let push = PushRequest {
            token: &self.token,
            topic: &self.topic,
            jwt: input.flag().then_some("head.claims.signature"),
            apns_id: u128::from(self.flights),
            push_type: PushType::Alert,
            priority: 10,
            expiration_s: input.u8().into(),
            collapse_id: Some("m0011223344556677"),
            payload: &payload,
        };
        assert!(payload.len() <= APNS_PAYLOAD_BYTES_MAX + 4_096);
        match self.lane.send(self.now, self.flights, &push) {
            Ok(()) => assert!(self.unsettled.insert(self.flights)),
            Err(_) => assert!(!had_room, "there was room for a push of any size"),
        }
    }

    fn carry_up(&mut self, bytes_max: usize) {
        let mut bytes = Vec::new();
        let more = self.lane.drain(&mut bytes, bytes_max);
        assert!(bytes.len() <= bytes_max && bytes.len() <= 2 * OUTPUT_BYTES_MAX, "output is bounded");
        assert!(bytes_max > 0 || bytes.is_empty());
        // Behind a clogged pipe more may have waited than it holds.
        assert!(
            !more || bytes.len() >= bytes_max.min(OUTPUT_BYTES_MAX),
            "more bytes were ready than were taken"
        );
        self.apns.feed(&bytes);
        while let Some(event) = self.apns.poll() {
            if let ServerEvent::Request(request) = event {
                self.requests.push(request.stream);
            }
        }
    }

    fn carry_down(&mut self, bytes_max: usize, how: u8) {
        let mut bytes = Vec::new();
        self.apns.drain(&mut bytes, bytes_max);
        for piece in cut(how, &bytes) {
            self.lane.feed(self.now, piece);
        }
    }

    fn answer(&mut self, input: &mut Input<'_>) {
        const ANSWERS: [(u16, &str); 14] = [
            (200, ""),
            (400, "BadDeviceToken"),
            (400, "PayloadTooLarge"),
            (403, "ExpiredProviderToken"),
            (403, "BadCertificate"),
            (404, "BadPath"),
            (410, "Unregistered"),
            (413, "PayloadTooLarge"),
            (421, "InternalServerError"),
            (429, "TooManyRequests"),
            (429, "TooManyProviderTokenUpdates"),
            (500, "InternalServerError"),
            (503, "Shutdown"),
            (999, "\\u0000"),
        ];
        if self.requests.is_empty() {
            return;
        }
        let stream = self.requests.remove(input.below(self.requests.len()));
        let (status, reason) = ANSWERS[input.below(ANSWERS.len())];
        let len = input.below(32);
        let body = match input.u8() % 3 {
            0 => format!(r#"{{"reason":"{reason}","timestamp":1767600000000}}"#).into_bytes(),
            1 => Vec::new(),
            _ => input.bytes(len).to_vec(),
        };
        let headers = [("retry-after", "7"), ("apns-id", "not-looked-at")];
        let headers = &headers[..input.below(3)];
        let answer = Answer {
            status,
            headers,
            body: &body,
            data_bytes_max: input.below(16),
            empty_tail: input.flag(),
        };
        // The stream may be gone, or the connection.
        let _ = self.apns.respond(stream, &answer);
    }

    fn disturb(&mut self, input: &mut Input<'_>) {
        match input.u8() % 6 {
            0 => self.apns.set_streams_max(input.u8().into()),
            1 => self.apns.goaway(input.u8().into(), input.u8().into(), br#"{"reason":"Shutdown"}"#),
            2 => {
                self.apns.reset(input.u8().into(), input.u8().into());
            }
            3 => self.apns.send_settings(&[(input.u8().into(), input.u32())]),
            4 => self.apns.ping(),
            _ => self.apns.closed(),
        }
    }

    /// A frame with a head that makes sense as far as its length goes.
    fn raw_frame(&mut self, input: &mut Input<'_>) {
        let (kind, flags, stream, len) = (input.u8() % 12, input.u8(), input.u8(), input.below(48));
        let payload = input.bytes(len);
        let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
        frame.extend_from_slice(payload);
        self.lane.feed(self.now, &frame);
    }

    fn pass(&mut self, span: Span) {
        self.now = self.now + span;
        self.due();
    }

    fn due(&mut self) {
        let now = self.now;
        if self.lane.next_deadline().is_some_and(|due| due <= now) {
            self.lane.on_deadline(now);
            let next = self.lane.next_deadline();
            assert!(next.is_none_or(|next| next > now), "{next:?} is still due at {now:?}");
        }
    }

    fn hear(&mut self) {
        while let Some(event) = self.lane.poll(self.now) {
            assert!(!self.lost, "{event:?} after the last event");
            match event {
                LaneEvent::Settled { flight, .. } => {
                    assert!(self.unsettled.remove(&flight), "{flight} was not sent, or settled before");
                }
                LaneEvent::GoingAway { .. } => assert!(!self.lane.is_open()),
                LaneEvent::Lost(_) => {
                    self.lost = true;
                    assert!(self.unsettled.is_empty(), "lost before all was settled");
                }
            }
        }
    }
}
