//! The reader of HTTP/1.1 answers and the chunked decoder. Input: how to cut (1 byte), then bytes of a server.

use carillon_core::http1::{ChunkedDecoder, Decoded, Head, HttpError, ResponseReader, Step};

use crate::input::{Input, cut};

/// Cut in pieces or not, the answer is the same: head, body, end and error.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.u8();
    let bytes = input.rest();
    assert_eq!(read(&[bytes]), read(&cut(how, bytes)));
    assert_eq!(decode(&[bytes]), decode(&cut(how, bytes)));
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    head: Option<Box<Head>>,
    body: Vec<u8>,
    /// What came behind the answer.
    left: Vec<u8>,
    keep_alive: bool,
    ended: bool,
    error: Option<HttpError>,
}

fn read(pieces: &[&[u8]]) -> Answer {
    let (mut reader, mut answer) = (ResponseReader::new(), Answer::default());
    for piece in pieces {
        let mut input = *piece;
        loop {
            match reader.step(&mut input) {
                Ok(Step::Head(head)) => {
                    assert!(answer.head.is_none(), "one answer has one head");
                    assert!((200..=999).contains(&head.status));
                    answer.head = Some(head);
                }
                Ok(Step::Body(bytes)) => {
                    assert!(!bytes.is_empty() && answer.head.is_some());
                    answer.body.extend_from_slice(bytes);
                }
                Ok(Step::More) => {
                    assert!(input.is_empty(), "more was asked for with input left");
                    break;
                }
                Ok(Step::End) => {
                    answer.ended = true;
                    answer.left.extend_from_slice(input);
                    break;
                }
                Err(error) => {
                    answer.error = Some(error);
                    return answer;
                }
            }
        }
    }
    answer.keep_alive = reader.keep_alive();
    // The connection ends here.
    answer.error = reader.finish().err();
    assert!(!answer.ended || answer.error.is_none(), "an answer that ended is whole");
    answer
}

/// Body, what came behind it, whether it ended, what was wrong.
fn decode(pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>, bool, Option<HttpError>) {
    let (mut decoder, mut body, mut left, mut ended) = (ChunkedDecoder::new(), Vec::new(), Vec::new(), false);
    for piece in pieces {
        let mut input = *piece;
        loop {
            match decoder.decode(&mut input) {
                Ok(Decoded::Data(bytes)) => {
                    assert!(!bytes.is_empty());
                    body.extend_from_slice(bytes);
                }
                Ok(Decoded::More) => {
                    assert!(input.is_empty(), "more was asked for with input left");
                    break;
                }
                Ok(Decoded::End) => {
                    ended = true;
                    left.extend_from_slice(input);
                    break;
                }
                Err(error) => return (body, left, ended, Some(error)),
            }
        }
    }
    (body, left, ended, None)
}
