//! A notification stream from bytes to events: HTTP chunks, envelopes, events.

use std::hint::black_box;
use std::time::Duration;

use carillon_benches::exchange::{STREAM_HEAD, one_mail, push_chunk};
use carillon_core::ews::{StreamConn, StreamEvent, parse_stream_message};
use carillon_core::limits::READ_BYTES_PER_TURN;
use carillon_core::time::{Span, Time};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Mails in one go.
const MAILS: u64 = 200;

fn stream(c: &mut Criterion) {
    let mut group = c.benchmark_group("ews stream");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));

    let mut bytes = STREAM_HEAD.as_bytes().to_vec();
    for mail in 0..MAILS {
        push_chunk(&mut bytes, &one_mail("JwBtYng=", mail));
    }
    let listen = |piece_bytes: usize| {
        let mut conn = StreamConn::open(Time(0), Vec::new(), Span::from_secs(120), Span::from_secs(1_800));
        let mut events = 0;
        for piece in bytes.chunks(piece_bytes) {
            conn.feed(Time(1), piece);
            while let Some(event) = conn.poll() {
                events += u64::from(matches!(event, StreamEvent::Notification { .. }));
            }
        }
        assert_eq!(events, MAILS);
    };
    group.throughput(Throughput::Elements(MAILS));
    group.bench_function("mails, read by turns", |b| b.iter(|| listen(black_box(READ_BYTES_PER_TURN))));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("bytes, read by turns", |b| b.iter(|| listen(black_box(READ_BYTES_PER_TURN))));
    group.bench_function("bytes, read by packets", |b| b.iter(|| listen(black_box(1_400))));

    let envelope = one_mail("JwBtYng=", 1);
    group.throughput(Throughput::Bytes(envelope.len() as u64));
    group.bench_function("the event parser alone", |b| {
        b.iter(|| parse_stream_message(black_box(envelope.as_bytes())).expect("an envelope"))
    });
}

criterion_group!(benches, stream);
criterion_main!(benches);
