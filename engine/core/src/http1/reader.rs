//! Answers out of bytes, one after the other, without keeping their bodies.

use std::fmt;

use memchr::memchr;

use crate::http1::HttpError;
use crate::http1::chunked::Decoded;
use crate::http1::head::{Framing, Head, parse};
use crate::limits::HEAD_BYTES_MAX;

/// Reads one answer. Bodies pass through it piece by piece; only an unfinished head is kept.
pub struct ResponseReader {
    state: State,
    /// The unfinished head.
    head: Vec<u8>,
    /// Where its last line begins.
    line: usize,
    /// Bytes of heads so far, interim ones and blank lines included.
    head_bytes: usize,
    keep_alive: bool,
}

#[derive(Debug)]
enum State {
    Head,
    Body(Framing),
    End,
}

/// What a call of [`ResponseReader::step`] found.
#[derive(Debug)]
pub enum Step<'a> {
    /// The input is used up; the answer goes on.
    More,
    /// The head.
    Head(Box<Head>),
    /// Bytes of the body, never none.
    Body(&'a [u8]),
    /// The answer is over; what is left of the input is not part of it.
    End,
}

impl ResponseReader {
    /// Before the first byte of an answer.
    pub fn new() -> ResponseReader {
        ResponseReader { state: State::Head, head: Vec::new(), line: 0, head_bytes: 0, keep_alive: false }
    }

    /// Takes what it can from the front of `input`. To be called until it says [`Step::More`] or [`Step::End`].
    ///
    /// # Errors
    /// The answer breaks a rule or a bound. The connection is of no use after that.
    pub fn step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Step<'a>, HttpError> {
        loop {
            match &mut self.state {
                State::Head => {
                    if !self.take_head(input)? {
                        return Ok(Step::More);
                    }
                    let parsed = parse(&self.head)?;
                    self.head.clear();
                    self.line = 0;
                    if let Some(parsed) = parsed {
                        self.head = Vec::new();
                        self.keep_alive = parsed.keep_alive;
                        self.state = State::Body(parsed.framing);
                        return Ok(Step::Head(Box::new(parsed.head)));
                    }
                }
                State::Body(Framing::Length(0)) => self.state = State::End,
                State::Body(Framing::Length(left)) => {
                    if input.is_empty() {
                        return Ok(Step::More);
                    }
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= len as u64;
                    return Ok(Step::Body(take(input, len)));
                }
                State::Body(Framing::Chunked(decoder)) => match decoder.decode(input)? {
                    Decoded::Data(data) => return Ok(Step::Body(data)),
                    Decoded::More => return Ok(Step::More),
                    Decoded::End => self.state = State::End,
                },
                State::Body(Framing::Close) => {
                    if input.is_empty() {
                        return Ok(Step::More);
                    }
                    return Ok(Step::Body(take(input, input.len())));
                }
                State::End => return Ok(Step::End),
            }
        }
    }

    /// The connection ended. Fine after the answer, and for a body that ends with the connection.
    ///
    /// # Errors
    /// [`HttpError::NoAnswer`] before the answer's first byte, [`HttpError::Truncated`] in its middle.
    pub fn finish(&mut self) -> Result<(), HttpError> {
        match self.state {
            State::Head if self.head_bytes == 0 => Err(HttpError::NoAnswer),
            State::Head | State::Body(Framing::Length(1..) | Framing::Chunked(_)) => {
                Err(HttpError::Truncated)
            }
            State::Body(Framing::Length(0) | Framing::Close) | State::End => {
                self.state = State::End;
                Ok(())
            }
        }
    }

    /// Whether the server keeps the connection after this answer (false until its head was read).
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Moves lines of the head out of `input`; true after the empty line that ends it. Empty lines before it are read
    /// over. Each byte is looked at once, however the head is cut in pieces.
    fn take_head(&mut self, input: &mut &[u8]) -> Result<bool, HttpError> {
        while !input.is_empty() {
            let (len, whole_line) = match memchr(b'\n', input) {
                Some(at) => (at + 1, true),
                None => (input.len(), false),
            };
            self.head_bytes += len;
            if self.head_bytes > HEAD_BYTES_MAX {
                return Err(HttpError::HeadTooLarge);
            }
            self.head.extend_from_slice(take(input, len));
            if !whole_line {
                break;
            }
            let blank = matches!(&self.head[self.line..], b"\n" | b"\r\n");
            if blank && self.line > 0 {
                return Ok(true);
            }
            if blank {
                self.head.clear();
            }
            self.line = self.head.len();
        }
        Ok(false)
    }
}

impl fmt::Debug for ResponseReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The unfinished head may have cookies.
        write!(f, "ResponseReader({:?}, {} bytes of head)", self.state, self.head_bytes)
    }
}

impl Default for ResponseReader {
    fn default() -> ResponseReader {
        ResponseReader::new()
    }
}

fn take<'a>(input: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (front, rest) = input.split_at(len);
    *input = rest;
    front
}
