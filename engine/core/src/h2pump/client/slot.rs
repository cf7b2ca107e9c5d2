//! One request and the answer to it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};

use super::Response;

/// One request without an answer.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) tag: T,
    pub(super) stream: u32,
    pub(super) sender: SendStream<Bytes>,
    pub(super) state: State,
    /// Body bytes that `h2` has not put into frames yet.
    pub(super) unsent: usize,
    pub(super) left: bool,
}

#[derive(Debug)]
pub(super) enum State {
    Waiting(ResponseFuture),
    Reading { content: RecvStream, response: Response },
    Settled,
}

impl<T> Slot<T> {
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<Result<Response, h2::Error>> {
        loop {
            match &mut self.state {
                State::Waiting(future) => {
                    let head = std::task::ready!(Pin::new(future).poll(cx))?;
                    let (head, content) = head.into_parts();
                    let response = Response {
                        status: head.status.as_u16(),
                        headers: head.headers,
                        body: Vec::new(),
                        whole: false,
                    };
                    self.state = State::Reading { content, response };
                }
                State::Reading { content, response } => {
                    let part = match content.poll_data(cx) {
                        Poll::Pending if content.is_end_stream() => None,
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(part) => part,
                    };
                    let go_on = match part {
                        Some(Ok(part)) => {
                            // Read at once and credited at once: the peer never waits for us.
                            let _ = content.flow_control().release_capacity(part.len());
                            let room = bytes_max - response.body.len();
                            response.body.extend_from_slice(&part[..part.len().min(room)]);
                            part.len() <= room
                        }
                        // A server that needs no more of the request ends it so after its answer (RFC 9113 §8.1).
                        Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => {
                            response.whole = true;
                            false
                        }
                        // The status has come: that much is known.
                        Some(Err(_)) => false,
                        None => {
                            response.whole = true;
                            false
                        }
                    };
                    if !go_on {
                        return Poll::Ready(self.answer());
                    }
                }
                State::Settled => return Poll::Pending,
            }
        }
    }

    fn answer(&mut self) -> Result<Response, h2::Error> {
        match std::mem::replace(&mut self.state, State::Settled) {
            State::Reading { response, .. } => Ok(response),
            State::Waiting(_) | State::Settled => Err(Reason::INTERNAL_ERROR.into()),
        }
    }
}
