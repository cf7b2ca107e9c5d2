use proptest::prelude::*;

use super::*;
use crate::ews::{Action, MailEvent, ResponseCode, StreamBreak, StreamConn, StreamEvent};
use crate::http1::HttpError;
use crate::limits::STREAM_OPEN_TIMEOUT;
use crate::soap::FrameError;
use crate::time::{Span, Time};

const T0: Time = Time(5_000_000);
const IDLE: Span = Span::from_secs(120);
const LIFETIME: Span = Span::from_secs(30 * 60);

const HEAD: &str = "HTTP/1.1 200 OK\r\nCache-Control: private\r\nTransfer-Encoding: chunked\r\n\
    Content-Type: text/xml; charset=utf-8\r\nX-NoBuffering: 1\r\n\
    Set-Cookie: exchangecookie=a1; path=/\r\n\r\n";

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

fn stream() -> StreamConn {
    StreamConn::open(T0, b"POST /EWS/Exchange.asmx HTTP/1.1\r\n\r\n".to_vec(), IDLE, LIFETIME)
}

fn polled(stream: &mut StreamConn) -> Vec<StreamEvent> {
    std::iter::from_fn(|| stream.poll()).collect()
}

/// What the stream tells when these bytes come.
fn fed(stream: &mut StreamConn, bytes: &str) -> Vec<StreamEvent> {
    stream.feed(T0, bytes.as_bytes());
    polled(stream)
}

/// A stream that was opened.
fn open() -> StreamConn {
    let mut stream = stream();
    assert_eq!(fed(&mut stream, &format!("{HEAD}{}", chunk(&heartbeat()))), [StreamEvent::Opened]);
    stream
}

/// The kinds of the events, for tests that are about their order.
fn kinds(events: &[StreamEvent]) -> Vec<&'static str> {
    let kind = |event: &StreamEvent| match event {
        StreamEvent::Opened => "opened",
        StreamEvent::Heartbeat => "heartbeat",
        StreamEvent::Notification { .. } => "news",
        StreamEvent::Failed { .. } => "failed",
        StreamEvent::Closed => "closed",
        StreamEvent::Broken(_) => "broken",
    };
    events.iter().map(kind).collect()
}

fn only_failure(events: Vec<StreamEvent>) -> (ResponseCode, Action) {
    let [StreamEvent::Failed { error, bad_ids }] = &events[..] else { panic!("{events:?}") };
    assert!(bad_ids.is_empty());
    (error.code.clone(), error.action())
}

#[test]
fn the_request_is_written_and_the_first_envelope_opens_the_stream() {
    let mut stream = stream();
    let mut out = Vec::new();
    assert!(stream.drain(&mut out, 4) && !stream.drain(&mut out, 1_000));
    assert!(out.starts_with(b"POST /EWS"));
    assert_eq!(fed(&mut stream, HEAD), []);
    assert_eq!(&*stream.head().unwrap().set_cookies[0], "exchangecookie=a1");
    assert!(!stream.is_open());
    assert_eq!(fed(&mut stream, &chunk(&heartbeat())), [StreamEvent::Opened]);
    assert!(stream.is_open());
    assert_eq!(fed(&mut stream, &chunk(&heartbeat())), [StreamEvent::Heartbeat]);
}

#[test]
fn credentials_do_not_show() {
    let stream = StreamConn::open(T0, b"Authorization: secret".to_vec(), IDLE, LIFETIME);
    assert!(!format!("{stream:?}").contains("115, 101, 99"), "{stream:?}");
}

#[test]
fn an_event_is_told_with_its_last_byte_and_not_when_the_stream_ends() {
    let mut stream = open();
    let mail = success(ONE_MAIL);
    let (all_but_one, last) = mail.split_at(mail.len() - 1);
    assert_eq!(fed(&mut stream, &chunk(all_but_one)), []);
    let told = fed(&mut stream, &format!("1\r\n{last}"));
    let [StreamEvent::Notification { subscription, events }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(subscription.as_str(), "JwBtYng=");
    assert!(matches!(&events[1], MailEvent::NewMail { item, .. } if item.as_str() == "AAMkA1"));
}

#[test]
fn several_envelopes_in_one_chunk_are_told_in_order() {
    let mut stream = stream();
    let bytes = format!("{HEAD}{}", chunk(&[heartbeat(), success(ONE_MAIL), heartbeat(), closed()].concat()));
    assert_eq!(kinds(&fed(&mut stream, &bytes)), ["opened", "news", "heartbeat", "closed"]);
    assert!(stream.is_over());
}

#[test]
fn closed_is_the_end_although_the_socket_stays_open() {
    let mut stream = open();
    assert_eq!(fed(&mut stream, &chunk(&closed())), [StreamEvent::Closed]);
    assert!(stream.is_over() && stream.next_deadline().is_none());
    assert_eq!(fed(&mut stream, &chunk(&success(ONE_MAIL))), []);
    stream.feed_eof();
    stream.on_deadline(T0 + LIFETIME);
    assert_eq!(polled(&mut stream), []);
}

#[test]
fn an_end_without_closed_is_a_break_however_it_comes() {
    let mut by_last_chunk = open();
    assert_eq!(fed(&mut by_last_chunk, "0\r\n\r\n"), [StreamEvent::Broken(StreamBreak::Ended)]);
    let mut by_fin = open();
    by_fin.feed_eof();
    assert_eq!(polled(&mut by_fin), [StreamEvent::Broken(StreamBreak::Ended)]);
    by_fin.feed_eof();
    assert_eq!(polled(&mut by_fin), []);
    let mut before_the_head = stream();
    before_the_head.feed_eof();
    assert_eq!(polled(&mut before_the_head), [StreamEvent::Broken(StreamBreak::Http(HttpError::NoAnswer))]);
}

#[test]
fn what_came_before_the_end_is_told_before_it() {
    let mut stream = open();
    let told = fed(&mut stream, &format!("{}0\r\n\r\n", chunk(&success(ONE_MAIL))));
    assert_eq!(kinds(&told), ["news", "broken"]);
    let mut stream = open();
    let told = fed(&mut stream, &format!("{}ZZ\r\n", chunk(&success(ONE_MAIL))));
    assert_eq!(told[1..], [StreamEvent::Broken(StreamBreak::Http(HttpError::ChunkMalformed))]);
    assert_eq!(told.len(), 2);
}

#[test]
fn an_answer_with_a_length_is_read_as_well() {
    let body = [heartbeat(), closed()].concat();
    let mut stream = stream();
    let bytes =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(kinds(&fed(&mut stream, &bytes)), ["opened", "closed"]);
}

#[test]
fn a_stream_that_does_not_begin_is_given_up() {
    let mut stream = stream();
    assert_eq!(stream.next_deadline(), Some(T0 + STREAM_OPEN_TIMEOUT));
    stream.feed(T0 + Span::from_secs(29), HEAD.as_bytes());
    stream.on_deadline(T0 + Span::from_secs(29));
    assert_eq!(polled(&mut stream), []);
    stream.on_deadline(T0 + STREAM_OPEN_TIMEOUT);
    assert_eq!(polled(&mut stream), [StreamEvent::Broken(StreamBreak::NotOpened)]);
}

#[test]
fn silence_is_measured_on_bytes() {
    let mut stream = open();
    assert_eq!(stream.next_deadline(), Some(T0 + IDLE));
    let later = T0 + Span::from_secs(100);
    stream.feed(later, b"1");
    assert_eq!(stream.next_deadline(), Some(later + IDLE));
    stream.on_deadline(T0 + IDLE);
    assert_eq!(polled(&mut stream), []);
    stream.on_deadline(later + IDLE);
    assert_eq!(polled(&mut stream), [StreamEvent::Broken(StreamBreak::Silent)]);
    assert_eq!(stream.next_deadline(), None);
}

#[test]
fn heartbeats_do_not_keep_a_stream_beyond_its_lifetime() {
    let mut stream = open();
    let mut now = T0;
    while now + Span::from_secs(45) < T0 + LIFETIME {
        now = now + Span::from_secs(45);
        stream.feed(now, chunk(&heartbeat()).as_bytes());
        assert_eq!(polled(&mut stream), [StreamEvent::Heartbeat]);
        stream.on_deadline(now);
    }
    assert_eq!(stream.next_deadline(), Some(T0 + LIFETIME));
    stream.on_deadline(T0 + LIFETIME);
    assert_eq!(polled(&mut stream), [StreamEvent::Broken(StreamBreak::Overdue)]);
}

#[test]
fn bad_ids_are_named_and_the_stream_goes_on() {
    let mut stream = stream();
    let ids = "<m:ErrorSubscriptionIds><m:SubscriptionId>Bad=</m:SubscriptionId></m:ErrorSubscriptionIds>";
    let told = fed(&mut stream, &format!("{HEAD}{}", chunk(&failure("ErrorInvalidSubscription", ids))));
    let [StreamEvent::Failed { error, bad_ids }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((error.action(), bad_ids[0].as_str()), (Action::Resubscribe, "Bad="));
    assert!(!stream.is_over() && !stream.is_open());
    assert_eq!(fed(&mut stream, &chunk(&heartbeat())), [StreamEvent::Opened]);
}

#[test]
fn missed_notifications_leave_the_stream_as_it_is() {
    let mut stream = open();
    let ids = "<m:ErrorSubscriptionIds><m:SubscriptionId>A=</m:SubscriptionId></m:ErrorSubscriptionIds>";
    let told = fed(&mut stream, &chunk(&failure("ErrorMissedNotificationEvents", ids)));
    assert!(matches!(&told[..], [StreamEvent::Failed { error, .. }] if error.action() == Action::CatchUp));
    assert_eq!(kinds(&fed(&mut stream, &chunk(&success(ONE_MAIL)))), ["news"]);
}

#[test]
fn an_error_that_closes_is_told_with_its_close() {
    let mut stream = stream();
    let rest = "<m:ErrorSubscriptionIds><SubscriptionId>A</SubscriptionId></m:ErrorSubscriptionIds>\
                <m:ConnectionStatus>Closed</m:ConnectionStatus>";
    let told = fed(&mut stream, &format!("{HEAD}{}", chunk(&failure("ErrorInvalidSubscription", rest))));
    assert_eq!(kinds(&told), ["failed", "closed"]);
}

#[test]
fn a_second_connection_on_the_same_ids_tells_the_first_to_step_aside() {
    let mut stream = open();
    let told = fed(&mut stream, &chunk(&failure("ErrorNewEventStreamConnectionOpened", "")));
    assert_eq!(only_failure(told).1, Action::StepAside);
}

#[test]
fn news_and_status_of_gromox_are_both_told() {
    let both = ONE_MAIL.to_owned() + "<m:ConnectionStatus>OK</m:ConnectionStatus>";
    let mut stream = stream();
    let first = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n{}", success(&both));
    assert_eq!(kinds(&fed(&mut stream, &format!("{HEAD}{}", chunk(&first)))), ["opened", "news"]);
    assert_eq!(kinds(&fed(&mut stream, &chunk(&success(&both)))), ["news"]);
}

#[test]
fn an_answer_that_is_no_stream_says_why() {
    let refused = |head: &str, body: &str| {
        let mut stream = stream();
        let bytes = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let told = fed(&mut stream, &bytes);
        assert!(stream.is_over());
        only_failure(told)
    };
    let busy = fault("ErrorServerBusy", "e", "<t:Value Name=\"BackOffMilliseconds\">9000</t:Value>");
    let xml = "\r\nContent-Type: text/xml";
    assert_eq!(
        refused(&format!("500 Internal Server Error{xml}"), &busy),
        (ResponseCode::ErrorServerBusy, Action::BackOffAccount { ms: 9_000 })
    );
    assert_eq!(refused(&format!("200 OK{xml}"), &busy).0, ResponseCode::ErrorServerBusy);
    assert_eq!(refused("401 Unauthorized", ""), (ResponseCode::Auth, Action::AuthFailed));
    assert_eq!(refused("302 Found\r\nLocation: /owa", "").0, ResponseCode::Redirect);
    assert_eq!(refused("503 Busy", "<html>").0, ResponseCode::Http(503));
    assert_eq!(refused("200 OK\r\nContent-Type: text/html", "<!DOCTYPE html>").0, ResponseCode::NotSoap);
}

#[test]
fn a_refusal_that_breaks_off_keeps_what_its_status_says() {
    let start = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 100\r\n\r\nAccess";
    let mut by_fin = stream();
    assert_eq!(fed(&mut by_fin, start), []);
    by_fin.feed_eof();
    assert_eq!(only_failure(polled(&mut by_fin)).0, ResponseCode::Auth);
    let mut by_time = stream();
    assert_eq!(fed(&mut by_time, start), []);
    by_time.on_deadline(T0 + STREAM_OPEN_TIMEOUT);
    assert_eq!(only_failure(polled(&mut by_time)).0, ResponseCode::Auth);
}

#[test]
fn what_is_no_soap_breaks_the_stream() {
    let broken = |body: &str| {
        let told = fed(&mut open(), &chunk(body));
        let [StreamEvent::Broken(why)] = &told[..] else { panic!("{told:?}") };
        assert!(!why.trouble().text.is_empty());
        why.clone()
    };
    assert_eq!(broken("<html>"), StreamBreak::Frame(FrameError::NotAnEnvelope));
    assert_eq!(broken("Service Unavailable"), StreamBreak::Frame(FrameError::TextOutside));
    assert_eq!(broken("<Envelope><!DOCTYPE a>"), StreamBreak::Frame(FrameError::Doctype));
    assert_eq!(broken("<Envelope><Body></Envelope></Body>"), StreamBreak::Frame(FrameError::Malformed));
    assert!(matches!(broken("<Envelope/>"), StreamBreak::Malformed(_)));
    let mut zipped = stream();
    let head = HEAD.replace("X-NoBuffering: 1", "Content-Encoding: gzip");
    assert_eq!(fed(&mut zipped, &head), [StreamEvent::Broken(StreamBreak::Http(HttpError::ContentCoding))]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_chunks_and_any_split_tell_the_same(
        chunk_len in 1usize..900,
        cuts in prop::collection::vec(1usize..700, 0..40),
        which in prop::collection::vec(0usize..3, 1..8),
    ) {
        let envelopes = [heartbeat(), success(ONE_MAIL), failure("ErrorMissedNotificationEvents", "")];
        let body = which.iter().map(|at| envelopes[*at].as_str()).collect::<String>() + "<!-- ü -->" + &closed();
        let mut wire = HEAD.as_bytes().to_vec();
        for piece in body.as_bytes().chunks(chunk_len) {
            wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            wire.extend_from_slice(piece);
            wire.extend_from_slice(b"\r\n");
        }
        let mut whole = stream();
        whole.feed(T0, &wire);
        let expected = polled(&mut whole);
        prop_assert_eq!(expected.last(), Some(&StreamEvent::Closed));

        let mut split = stream();
        let (mut told, mut rest) = (Vec::new(), &wire[..]);
        for cut in cuts {
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            split.feed(T0, piece);
            told.extend(polled(&mut split));
            rest = tail;
        }
        split.feed(T0, rest);
        told.extend(polled(&mut split));
        prop_assert_eq!(told, expected);
    }
}
