//! A GetStreamingEvents connection as a whole. Input: how to cut (1 byte), then bytes of the server, HTTP head included.

use carillon_core::ews::{StreamConn, StreamEvent};
use carillon_core::time::{Span, Time};

use crate::input::{Input, cut};

/// Cut in pieces or not, the stream tells the same, has one last event, and ends with the connection or with time.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.u8();
    let bytes = input.rest();
    assert_eq!(listen(&[bytes], true), listen(&cut(how, bytes), true));
    listen(&[bytes], false);
}

fn listen(pieces: &[&[u8]], eof: bool) -> Vec<StreamEvent> {
    let (idle, lifetime) = (Span::from_secs(120), Span::from_secs(1_800));
    let mut conn = StreamConn::open(Time(0), b"POST / HTTP/1.1\r\n\r\n".to_vec(), idle, lifetime);
    let mut events = Vec::new();
    for piece in pieces {
        conn.feed(Time(1), piece);
        events.extend(std::iter::from_fn(|| conn.poll()));
    }
    if eof {
        conn.feed_eof();
        events.extend(std::iter::from_fn(|| conn.poll()));
    }
    // Each deadline either ends the stream or is followed by a later one.
    let mut now = Time(1);
    while let Some(due) = conn.next_deadline() {
        assert!(due > now && due <= Time(0) + lifetime, "{due:?} at {now:?}");
        now = due;
        conn.on_deadline(now);
        events.extend(std::iter::from_fn(|| conn.poll()));
    }
    assert!(conn.is_over(), "the connection is gone, or its time is over");
    conn.feed(now, b"more");
    conn.feed_eof();
    conn.on_deadline(now + lifetime);
    assert_eq!(conn.poll(), None, "nothing comes after the last event");
    let ends = events.iter().filter(|event| matches!(event, StreamEvent::Closed | StreamEvent::Broken(_)));
    assert!(ends.count() <= 1);
    let opened = events.iter().filter(|event| **event == StreamEvent::Opened).count();
    assert!(opened <= 1 && !events.is_empty());
    events
}
