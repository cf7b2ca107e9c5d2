//! The framer that cuts a stream into SOAP envelopes. Input: how to cut (1 byte), then bytes of a stream.

use carillon_core::soap::{FrameError, Framer};

use crate::input::{Input, cut};

/// Cut in pieces or not, the envelopes are the same; each looks like one, and is one by itself.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.u8();
    let bytes = input.rest();
    let (envelopes, error) = frame(&[bytes]);
    assert_eq!((envelopes.clone(), error), frame(&cut(how, bytes)));
    let framed: usize = envelopes.iter().map(Vec::len).sum();
    assert!(framed <= bytes.len(), "no byte belongs to two envelopes");
    for envelope in envelopes {
        assert!(envelope.starts_with(b"<") && envelope.ends_with(b">"));
        assert_eq!(frame(&[&envelope]), (vec![envelope.clone()], None));
    }
}

fn frame(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Option<FrameError>) {
    let (mut framer, mut envelopes) = (Framer::new(), Vec::new());
    for piece in pieces {
        framer.feed(piece);
        loop {
            match framer.next() {
                Ok(Some(envelope)) => envelopes.push(envelope.to_vec()),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(framer.next().err(), Some(error), "an error stays");
                    return (envelopes, Some(error));
                }
            }
        }
    }
    (envelopes, None)
}
