//! Our chunked decoder and framer beside what libraries offer, over the same bytes in one run.

use std::hint::black_box;
use std::io::Read;
use std::time::Duration;

use carillon_benches::exchange::{one_mail, push_chunk};
use carillon_core::http1::{ChunkedDecoder, Decoded};
use carillon_core::limits::READ_BYTES_PER_TURN;
use carillon_core::soap::Framer;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quick_xml::Reader;
use quick_xml::events::Event;

/// Mails in one go: some half a megabyte.
const MAILS: u64 = 200;

/// What one packet of a network brings.
const PACKET_BYTES: usize = 1_400;

fn chunks(c: &mut Criterion) {
    let mut group = c.benchmark_group("chunks off");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    let (mut bytes, mut body_bytes) = (Vec::new(), 0);
    for mail in 0..MAILS {
        let envelope = one_mail("JwBtYng=", mail);
        body_bytes += envelope.len();
        push_chunk(&mut bytes, &envelope);
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let ours = |piece_bytes: usize| {
        let (mut decoder, mut body) = (ChunkedDecoder::new(), Vec::with_capacity(body_bytes));
        for mut piece in bytes.chunks(piece_bytes) {
            while let Decoded::Data(data) = decoder.decode(&mut piece).expect("chunks") {
                body.extend_from_slice(data);
            }
        }
        assert_eq!(body.len(), body_bytes);
    };
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("ours, read by turns", |b| b.iter(|| ours(black_box(READ_BYTES_PER_TURN))));
    group.bench_function("ours, read by packets", |b| b.iter(|| ours(black_box(PACKET_BYTES))));
    group.bench_function("chunked_transfer, all at once", |b| {
        b.iter(|| {
            let mut body = Vec::with_capacity(body_bytes);
            chunked_transfer::Decoder::new(black_box(&*bytes)).read_to_end(&mut body).expect("chunks");
            assert_eq!(body.len(), body_bytes);
        });
    });
}

fn envelopes(c: &mut Criterion) {
    let mut group = c.benchmark_group("envelopes cut");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    let small: String = (0..MAILS).map(|mail| one_mail("JwBtYng=", mail)).collect();
    // As after a restart of the mail server: the notifications of many mailboxes in one.
    let large = {
        let one = one_mail("JwBtYng=", 1);
        let (head, rest) = one.split_once("<m:Notification>").expect("one");
        let (notification, tail) = rest.split_once("</m:Notification>").expect("its end");
        let all = format!("<m:Notification>{notification}</m:Notification>").repeat(MAILS as usize);
        format!("{head}{all}{tail}")
    };
    for (what, stream, count) in [("200 envelopes", &small, MAILS), ("one of 200 mails", &large, 1)] {
        let bytes = stream.as_bytes();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("{what}: ours, by packets"), |b| {
            b.iter(|| assert_eq!(cut_by_framer(black_box(bytes)), count));
        });
        group.bench_function(format!("{what}: quick-xml, all at once"), |b| {
            b.iter(|| assert_eq!(cut_by_reader(&mut black_box(bytes).to_vec()), count));
        });
        group.bench_function(format!("{what}: quick-xml, by packets"), |b| {
            b.iter(|| {
                let (mut waiting, mut cut) = (Vec::new(), 0);
                for packet in black_box(bytes).chunks(PACKET_BYTES) {
                    waiting.extend_from_slice(packet);
                    cut += cut_by_reader(&mut waiting);
                }
                assert_eq!(cut, count);
            });
        });
    }
}

fn cut_by_framer(bytes: &[u8]) -> u64 {
    let (mut framer, mut cut) = (Framer::new(), 0);
    for packet in bytes.chunks(PACKET_BYTES) {
        framer.feed(packet);
        while let Some(envelope) = framer.next().expect("envelopes") {
            cut += u64::from(!black_box(envelope).is_empty());
        }
    }
    cut
}

/// Takes whole envelopes off the front. A reader cannot go on in the middle of one: with more bytes, it begins again.
fn cut_by_reader(waiting: &mut Vec<u8>) -> u64 {
    let mut reader = Reader::from_reader(waiting.as_slice());
    let (mut cut, mut taken, mut depth) = (0, 0, 0);
    loop {
        match reader.read_event() {
            Ok(Event::Start(_)) => depth += 1,
            Ok(Event::End(_)) => {
                depth -= 1;
                if depth == 0 {
                    taken = reader.buffer_position() as usize;
                    cut += 1;
                }
            }
            // A tag cut in two is an error to it.
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    waiting.drain(..taken);
    cut
}

criterion_group!(benches, chunks, envelopes);
criterion_main!(benches);
