//! A keep-alive connection for ordinary calls.

use crate::http1::{Head, HttpError, ResponseReader, Step};
use crate::limits::BODY_BYTES_MAX;
use crate::time::{Span, Time};

/// One HTTP/1.1 connection on which one call at a time is made.
///
/// The owner feeds it what the socket gives, writes what [`CallConn::drain`] gives, and closes the socket after an error,
/// or after an answer when the connection is no longer [`CallConn::reusable`].
#[derive(Default)]
pub struct CallConn {
    out: Vec<u8>,
    out_sent: usize,
    call: Option<Call>,
    ready: Option<Response>,
    /// Answers that it has brought.
    answers: u32,
    spent: bool,
}

struct Call {
    reader: ResponseReader,
    head: Option<Box<Head>>,
    body: Vec<u8>,
    sent: Time,
    /// Bytes of an answer have come.
    begun: bool,
    /// When bytes last came.
    heard: Time,
    deadline: Time,
}

/// A whole answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Its head.
    pub head: Head,
    /// Its body, at most [`BODY_BYTES_MAX`].
    pub body: Vec<u8>,
    /// From [`CallConn::send`] to the answer's last byte.
    pub took: Span,
}

impl CallConn {
    /// A connection just opened.
    pub fn new() -> CallConn {
        CallConn::default()
    }

    /// Makes a call: `request` is head and body ([`super::Request::encode`]).
    ///
    /// # Panics
    /// When a call is under way, or the connection is used up: the owner has lost count.
    pub fn send(&mut self, now: Time, request: Vec<u8>, timeout: Span) {
        assert!(self.is_idle(), "one call at a time");
        assert!(self.reusable(), "this connection is used up");
        self.out = request;
        self.out_sent = 0;
        self.call = Some(Call {
            reader: ResponseReader::new(),
            head: None,
            body: Vec::new(),
            sent: now,
            begun: false,
            heard: now,
            deadline: now + timeout,
        });
    }

    /// Whether no call is under way and no answer waits to be polled.
    pub fn is_idle(&self) -> bool {
        self.call.is_none() && self.ready.is_none()
    }

    /// Bytes from the server.
    ///
    /// # Errors
    /// They are no answer that can be used. Close the connection; the call under way has failed with this error.
    pub fn feed(&mut self, now: Time, data: &[u8]) -> Result<(), HttpError> {
        let mut input = data;
        while let Some(call) = &mut self.call {
            call.heard = now;
            call.begun |= !data.is_empty();
            match call.reader.step(&mut input) {
                Ok(Step::More) => return Ok(()),
                Ok(Step::Head(head)) => call.head = Some(head),
                Ok(Step::Body(bytes)) if call.body.len() + bytes.len() > BODY_BYTES_MAX => {
                    return self.fail(HttpError::BodyTooLarge);
                }
                Ok(Step::Body(bytes)) => call.body.extend_from_slice(bytes),
                Ok(Step::End) => self.finish(),
                Err(error) => return self.fail(error),
            }
        }
        if input.is_empty() {
            return Ok(());
        }
        self.spent = true;
        // A whole answer is still an answer, whatever comes after it.
        if self.ready.is_some() { Ok(()) } else { Err(HttpError::Unsolicited) }
    }

    /// The server ended its side. Fine when idle, and for an answer that ends so.
    ///
    /// # Errors
    /// An answer was under way: [`HttpError::NoAnswer`] or [`HttpError::Truncated`].
    pub fn feed_eof(&mut self) -> Result<(), HttpError> {
        self.spent = true;
        let Some(call) = &mut self.call else { return Ok(()) };
        match call.reader.finish() {
            Ok(()) => {
                self.finish();
                Ok(())
            }
            Err(error) => self.fail(error),
        }
    }

    /// The answer, once.
    pub fn poll(&mut self) -> Option<Response> {
        self.ready.take()
    }

    /// Bytes of the request that wait to be drained.
    pub fn unsent_bytes(&self) -> usize {
        self.out.len() - self.out_sent
    }

    /// Appends at most `max` bytes of the request to `out`. True: there is more.
    pub fn drain(&mut self, out: &mut Vec<u8>, max: usize) -> bool {
        drain(&mut self.out, &mut self.out_sent, out, max)
    }

    /// When the call under way was made.
    pub fn sent(&self) -> Option<Time> {
        self.call.as_ref().map(|call| call.sent)
    }

    /// When the call under way has taken too long.
    pub fn next_deadline(&self) -> Option<Time> {
        self.call.as_ref().map(|call| call.deadline)
    }

    /// Looks at the time.
    ///
    /// # Errors
    /// [`HttpError::Timeout`]: close the connection; the call has failed.
    pub fn on_deadline(&mut self, now: Time) -> Result<(), HttpError> {
        match &self.call {
            Some(call) if call.deadline <= now => self.fail(HttpError::Timeout),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether another call may be made on it: false after `Connection: close`, HTTP/1.0, a body that ended with the
    /// connection, an answer that came before the request was written, or an error.
    pub fn reusable(&self) -> bool {
        !self.spent
    }

    /// Whether an end of the connection now would only say that the server had given it up while it was idle: it has
    /// brought answers before, and not a byte of one to the call under way. To be asked before the end is fed.
    pub fn may_be_stale(&self) -> bool {
        self.answers > 0 && self.call.as_ref().is_some_and(|call| !call.begun)
    }

    /// As [`CallConn::may_be_stale`], for an answer: that nobody has sent a request in time (408), as some servers say of
    /// a connection that was idle for too long, and that crossed our request.
    pub fn is_stale_answer(&self, response: &Response) -> bool {
        self.answers > 1 && response.head.status == 408
    }

    fn finish(&mut self) {
        let Some(call) = self.call.take() else { return };
        self.spent |= !call.reader.keep_alive() || self.out_sent < self.out.len();
        self.out = Vec::new();
        self.out_sent = 0;
        let head = call.head.map(|head| *head).unwrap_or_default();
        self.answers = self.answers.saturating_add(1);
        self.ready = Some(Response { head, body: call.body, took: call.heard.since(call.sent) });
    }

    fn fail(&mut self, error: HttpError) -> Result<(), HttpError> {
        self.spent = true;
        self.call = None;
        self.out = Vec::new();
        self.out_sent = 0;
        Err(error)
    }
}

impl std::fmt::Debug for CallConn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The request has credentials, the answer mail texts.
        f.debug_struct("CallConn")
            .field("unsent_bytes", &self.unsent_bytes())
            .field("deadline", &self.next_deadline())
            .field("ready", &self.ready)
            .field("spent", &self.spent)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Bodies hold mail texts, cookies hold sessions.
        write!(f, "Response({}, {} bytes, {:?})", self.head.status, self.body.len(), self.took)
    }
}

/// Moves at most `max` bytes of `from`, of which `sent` are gone already; frees it after the last. True: there is more.
pub(crate) fn drain(from: &mut Vec<u8>, sent: &mut usize, out: &mut Vec<u8>, max: usize) -> bool {
    let end = from.len().min(sent.saturating_add(max));
    out.extend_from_slice(&from[*sent..end]);
    *sent = end;
    if end < from.len() {
        return true;
    }
    *from = Vec::new();
    *sent = 0;
    false
}
