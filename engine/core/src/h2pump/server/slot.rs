//! One request that wants an answer.

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;

use super::{Request, ServerEvent};

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
    /// Opened after our GOAWAY. The body is coming.
    Ignoring(Box<Request>),
}

impl Slot {
    pub(super) fn take_part(&mut self, part: &[u8], bytes_max: usize) -> Option<ServerEvent> {
        let (State::Reading(request) | State::Ignoring(request)) = &mut self.state else { return None };
        let room = bytes_max - request.body.len();
        request.body.extend_from_slice(&part[..part.len().min(room)]);
        request.whole = part.len() <= room;
        if request.whole { None } else { self.take_request() }
    }

    /// The body has come, or as much of it as is kept.
    pub(super) fn take_request(&mut self) -> Option<ServerEvent> {
        match std::mem::replace(&mut self.state, State::Handed) {
            State::Reading(request) => Some(ServerEvent::Request(request)),
            State::Ignoring(request) => Some(ServerEvent::Dropped(request)),
            State::Handed => None,
        }
    }

    /// The stream ends before the body has come; `part` is what has come of a last frame, and its stream.
    pub(super) fn break_off(&mut self, part: &(u32, Vec<u8>)) -> Option<ServerEvent> {
        match std::mem::replace(&mut self.state, State::Handed) {
            State::Reading(mut request) | State::Ignoring(mut request) => {
                if part.0 == self.stream {
                    request.body.extend_from_slice(&part.1);
                }
                request.whole = false;
                Some(ServerEvent::Dropped(request))
            }
            State::Handed => None,
        }
    }
}
