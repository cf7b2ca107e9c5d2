//! Wording a notice, and fitting its texts.

use std::hint::black_box;
use std::time::Duration;

use carillon_benches::samples::{mail, usual_mail};
use carillon_core::limits::APNS_PAYLOAD_BYTES_MAX;
use carillon_core::notice::{Notice, Text, carries_details, compose_apns};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn notice(c: &mut Criterion) {
    let mut group = c.benchmark_group("notice");
    group.sample_size(30).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let usual = usual_mail();
    let huge = mail(&"RE: AW: \"long\" ".repeat(500), &"👨‍👩‍👧 família — ".repeat(2_000));
    let items = [0x1122_3344_5566_7788];
    let texts = [
        ("badge", Text::BadgeOnly),
        ("generic", Text::Generic { localized: true }),
        ("details", Text::Mail { mail: &usual, localized: false }),
        ("details, cut to 4 KiB", Text::Mail { mail: &huge, localized: false }),
    ];
    for (name, text) in texts {
        let notice = Notice {
            text,
            badge: Some(7),
            sound: Some("default"),
            vip: false,
            account: 42,
            user: 43,
            items: &items,
        };
        let mut payload = Vec::new();
        compose_apns(&mut payload, &notice, APNS_PAYLOAD_BYTES_MAX);
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| compose_apns(&mut payload, black_box(&notice), APNS_PAYLOAD_BYTES_MAX))
        });
    }
    let notice = Notice {
        text: Text::Mail { mail: &usual, localized: false },
        badge: Some(7),
        sound: None,
        vip: false,
        account: 42,
        user: 43,
        items: &items,
    };
    let mut payload = Vec::new();
    compose_apns(&mut payload, &notice, APNS_PAYLOAD_BYTES_MAX);
    group.throughput(Throughput::Elements(1));
    group.bench_function("the second look", |b| b.iter(|| carries_details(black_box(&payload))));
}

criterion_group!(benches, notice);
criterion_main!(benches);
