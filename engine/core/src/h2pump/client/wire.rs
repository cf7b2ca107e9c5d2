//! What passes between `h2` and the wire, on the client's side.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::slot::Slot;
use super::{ClientEvent, Failure};
use crate::h2pump::frame::{
    CONNECTION_WINDOW_BYTES, FLAG_ACK, FLAG_END_STREAM, FrameHead, Piece, Scanner, code, kind, word,
};

/// What the scanners saw pass by.
#[derive(Debug)]
pub(super) struct Wire {
    input: Scanner,
    output: Scanner,
    /// Output bytes that were drained since the beginning.
    pub(super) drained: u64,
    /// How far into the waiting output the scanner has looked.
    pub(super) scanned_at: usize,
    /// Where requests end: position since the beginning, stream. Only what is not yet drained.
    pub(super) ends: VecDeque<(u64, u32)>,
    /// The connection's window for DATA (RFC 9113 §6.9), without what is not yet framed.
    pub(super) send_window: i64,
    pub(super) unsent: usize,
    pub(super) settings_seen: bool,
    pub(super) last_stream: Option<u32>,
}

impl Wire {
    pub(super) fn new() -> Wire {
        Wire {
            input: Scanner::of_server(),
            output: Scanner::of_client(),
            drained: 0,
            scanned_at: 0,
            ends: VecDeque::new(),
            send_window: i64::from(CONNECTION_WINDOW_BYTES),
            unsent: 0,
            settings_seen: false,
            last_stream: None,
        }
    }

    /// Whether a rule was broken in them is for `h2` to say, which sees the same bytes.
    pub(super) fn see_input<T>(&mut self, mut data: &[u8]) -> Option<ClientEvent<T>> {
        let mut event = None;
        while let Some(piece) = self.input.next(&mut data) {
            let Piece::End(head) = piece else { continue };
            let payload = self.input.kept();
            match head.kind {
                kind::SETTINGS if head.flags & FLAG_ACK == 0 => self.settings_seen = true,
                kind::WINDOW_UPDATE if head.stream == 0 => {
                    self.send_window += i64::from(word(payload, 0).unwrap_or(0) & 0x7fff_ffff);
                }
                kind::GOAWAY => {
                    // A peer may lower its last stream, never raise it.
                    let named = word(payload, 0).unwrap_or(0) & 0x7fff_ffff;
                    let last_stream = self.last_stream.map_or(named, |before| before.min(named));
                    self.last_stream = Some(last_stream);
                    let code = word(payload, 1).unwrap_or(code::PROTOCOL_ERROR);
                    let debug = payload.get(8..).unwrap_or_default().into();
                    event = Some(ClientEvent::GoAway { last_stream, code, debug });
                }
                _ => {}
            }
        }
        event
    }

    pub(super) fn see_output<T>(
        &mut self,
        output: &[u8],
        slots: &mut [Option<Slot<T>>],
        by_stream: &HashMap<u32, usize>,
    ) {
        let mut rest = &output[self.scanned_at..];
        while let Some(piece) = self.output.next(&mut rest) {
            match piece {
                Piece::Head(head) => self.see_head(head, slots, by_stream),
                Piece::End(head) => {
                    let data = head.is(kind::DATA, FLAG_END_STREAM);
                    if data || head.is(kind::HEADERS, FLAG_END_STREAM) {
                        let position = self.drained + (output.len() - rest.len()) as u64;
                        self.ends.push_back((position, head.stream));
                    }
                }
                Piece::Preface(_) | Piece::Payload(_) => {}
            }
        }
        self.scanned_at = output.len();
    }

    fn see_head<T>(
        &mut self,
        head: FrameHead,
        slots: &mut [Option<Slot<T>>],
        by_stream: &HashMap<u32, usize>,
    ) {
        if head.kind == kind::DATA {
            self.send_window -= i64::from(head.length);
            let slot = by_stream.get(&head.stream).and_then(|index| slots[*index].as_mut());
            if let Some(slot) = slot {
                let framed = (head.length as usize).min(slot.unsent);
                slot.unsent -= framed;
                self.unsent -= framed;
            }
        }
    }

    pub(super) fn failure(&self, stream: u32, error: &h2::Error) -> Failure {
        match error.reason() {
            Some(reason) if error.is_reset() && error.is_remote() => Failure::Reset(reason.into()),
            Some(_) | None => self.lost(stream),
        }
    }

    pub(super) fn lost(&self, stream: u32) -> Failure {
        match self.last_stream {
            Some(last_stream) if stream > last_stream => Failure::NotProcessed,
            Some(_) | None => Failure::Lost,
        }
    }
}
