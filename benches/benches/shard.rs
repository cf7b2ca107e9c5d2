//! A signal's whole way through a shard: folded, told, worded, pushed, accepted. HTTP/2 on both sides is part of it.

use std::time::Duration;

use carillon_benches::users::Town;
use carillon_core::rng::Rng;
use carillon_core::time::Span;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Mails in one go, to as many users.
const MAILS: u64 = 100;

fn shard(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard, signal to accepted");
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements(MAILS));
    for users in [10_000, 200_000] {
        let mut town = Town::with_users(users);
        let mut rng = Rng::new(1);
        group.bench_function(format!("{users} users"), |b| {
            b.iter(|| {
                let before = town.core.stats().ledger.accepted;
                for number in 0..MAILS {
                    // Different users, from anywhere in memory.
                    let share = users / MAILS;
                    town.mail(number * share + rng.below(share));
                }
                town.pass(Span::from_millis(5));
                town.turn();
                assert_eq!(town.core.stats().ledger.accepted - before, MAILS);
            })
        });
    }
}

criterion_group!(benches, shard);
criterion_main!(benches);
