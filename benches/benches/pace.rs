//! One subscription at the pace of a first start, among few and among many mailboxes: the cost must not grow with them.

use std::hint::black_box;
use std::time::Duration;

use carillon_benches::subscribing::Start;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

/// Subscriptions in one go.
const SUBSCRIPTIONS: u64 = 400;

fn pace(c: &mut Criterion) {
    let mut group = c.benchmark_group("first start, 400 paced subscriptions");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for users in [1_000, 16_000, 64_000] {
        group.bench_function(format!("{users} users"), |b| {
            b.iter_batched_ref(
                || Start::with_users(users),
                |start| {
                    let before = start.subscribed();
                    for _ in 0..SUBSCRIPTIONS {
                        start.tick();
                    }
                    assert_eq!(black_box(start.subscribed()) - before, SUBSCRIPTIONS);
                },
                BatchSize::PerIteration,
            )
        });
    }
}

criterion_group!(benches, pace);
criterion_main!(benches);
