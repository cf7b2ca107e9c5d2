//! The timer wheel with a million timers: arm, cancel, and fire.

use std::hint::black_box;
use std::time::Duration;

use carillon_benches::samples::delay;
use carillon_core::rng::Rng;
use carillon_core::time::Time;
use carillon_core::wheel::{TimerSlot, Wheel};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const TIMERS: u32 = 1_000_000;

fn full() -> (Wheel<u32>, Vec<TimerSlot>, Rng) {
    let (mut wheel, mut rng) = (Wheel::new(Time(0)), Rng::new(1));
    let slots: Vec<TimerSlot> = (0..TIMERS).map(|key| wheel.slot(key)).collect();
    for slot in &slots {
        wheel.arm(slot, Time(0) + delay(&mut rng));
    }
    (wheel, slots, rng)
}

fn wheel(c: &mut Criterion) {
    let mut group = c.benchmark_group("wheel with 1,000,000 timers");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));

    let (mut timers, slots, mut rng) = full();
    group.throughput(Throughput::Elements(1));
    group.bench_function("arm again", |b| {
        b.iter(|| {
            let slot = &slots[rng.below(TIMERS.into()) as usize];
            timers.arm(slot, Time(0) + delay(&mut rng));
        })
    });
    group.bench_function("cancel and arm", |b| {
        b.iter(|| {
            let slot = &slots[rng.below(TIMERS.into()) as usize];
            timers.cancel(slot);
            timers.arm(slot, Time(0) + delay(&mut rng));
        })
    });

    group.sample_size(10).throughput(Throughput::Elements(TIMERS.into()));
    group.bench_function("fire all", |b| {
        b.iter_batched(
            full,
            |(mut timers, slots, _)| {
                let mut now = Time(0);
                while let Some(at) = timers.next_deadline() {
                    now = now.max(at);
                    while let Some(key) = timers.pop_expired(now) {
                        black_box(key);
                    }
                }
                (timers, slots)
            },
            BatchSize::PerIteration,
        )
    });
}

criterion_group!(benches, wheel);
criterion_main!(benches);
