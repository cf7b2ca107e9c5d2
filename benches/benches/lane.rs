//! Pushes over one lane: HTTP/2 on both sides, in memory.

use std::time::Duration;

use carillon_benches::provider::Provider;
use carillon_benches::samples::push;
use carillon_core::names::{DeviceToken, Topic};
use carillon_core::push::{Lane, LaneConfig, LaneEvent, Outcome};
use carillon_core::time::Time;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Pushes in one go.
const PUSHES: u64 = 100;

struct Wire {
    lane: Lane,
    provider: Provider,
    bytes: Vec<u8>,
    replies: Vec<u8>,
    accepted: u64,
}

impl Wire {
    fn new() -> Wire {
        let lane = Lane::new(Time(0), LaneConfig::apns("api.push.apple.com", false));
        let mut wire =
            Wire { lane, provider: Provider::new(), bytes: Vec::new(), replies: Vec::new(), accepted: 0 };
        wire.carry();
        wire
    }

    fn carry(&mut self) {
        loop {
            self.bytes.clear();
            self.replies.clear();
            while self.lane.drain(&mut self.bytes, usize::MAX) {}
            self.provider.exchange(&self.bytes, &mut self.replies);
            if self.bytes.is_empty() && self.replies.is_empty() {
                return;
            }
            self.lane.feed(Time(1), &self.replies);
            while let Some(event) = self.lane.poll(Time(1)) {
                match event {
                    LaneEvent::Settled { outcome: Outcome::Accepted, .. } => self.accepted += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

fn lane(c: &mut Criterion) {
    let mut group = c.benchmark_group("lane");
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let token = DeviceToken::parse(&"00112233".repeat(8)).expect("hex");
    let topic = Topic::parse("com.example.mail").expect("a bundle id");
    let payload = [b'x'; 254];

    let mut wire = Wire::new();
    // The window opens with answers.
    for _ in 0..4 {
        send(&mut wire, &token, &topic, &payload, 16);
    }
    group.throughput(Throughput::Elements(PUSHES));
    group.bench_function("254 bytes, both sides", |b| {
        b.iter(|| send(&mut wire, &token, &topic, &payload, PUSHES))
    });
}

fn send(wire: &mut Wire, token: &DeviceToken, topic: &Topic, payload: &[u8], pushes: u64) {
    let before = wire.accepted;
    for number in 0..pushes {
        let push = push(token, topic, payload, number);
        while wire.lane.send(Time(1), number, &push).is_err() {
            wire.carry();
        }
    }
    wire.carry();
    assert_eq!(wire.accepted - before, pushes);
}

criterion_group!(benches, lane);
criterion_main!(benches);
