//! One request that wants an answer.

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;

use super::Request;

/// A stream that the client opened.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) stream: u32,
    pub(super) content: RecvStream,
    pub(super) responder: SendResponse<Bytes>,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    /// The body is coming.
    Reading(Box<Request>),
    /// The request was handed out.
    Handed,
    /// Opened after our GOAWAY.
    Ignoring,
}

impl Slot {
    pub(super) fn take_part(&mut self, part: &[u8], bytes_max: usize) -> Option<Box<Request>> {
        let State::Reading(request) = &mut self.state else { return None };
        let room = bytes_max - request.body.len();
        request.body.extend_from_slice(&part[..part.len().min(room)]);
        request.whole = part.len() <= room;
        if request.whole { None } else { self.take_request() }
    }

    pub(super) fn take_request(&mut self) -> Option<Box<Request>> {
        match std::mem::replace(&mut self.state, State::Handed) {
            State::Reading(request) => Some(request),
            State::Handed => None,
            State::Ignoring => {
                self.state = State::Ignoring;
                None
            }
        }
    }
}
