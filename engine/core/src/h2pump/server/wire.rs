//! What is done between `h2` and the wire, on the server's side.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::{ServerConfig, ServerEvent, Violation, WindowPolicy};
use crate::h2pump::frame::{
    CONNECTION_WINDOW_BYTES, FLAG_ACK, FrameHead, Piece, SETTING_MAX_CONCURRENT_STREAMS, Scanner, code,
    frame, kind, word,
};

/// What is done on the frames between `h2` and the wire.
#[derive(Debug)]
pub(super) struct Wire {
    output: Scanner,
    dropping_output: bool,
    /// Appended to the first SETTINGS.
    first_streams_max: Option<u32>,
    pub(super) settings_written: bool,
    pub(super) unacknowledged: VecDeque<SettingsSent>,
    /// The limit that the client has acknowledged; none before.
    acknowledged_streams_max: u32,
    /// Frames of ours that wait for a frame's end.
    pub(super) inserts: VecDeque<(Vec<u8>, Option<SettingsSent>)>,
    policy: WindowPolicy,
    /// What the client may still send on the connection.
    window: i64,
    pub(super) owed: u32,
    pub(super) last_stream: u32,
    pub(super) last_allowed: u32,
    pub(super) ping_sent: bool,
    pub(super) answers_pings: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SettingsSent {
    pub(super) by_h2: bool,
    pub(super) streams_max: Option<u32>,
}

impl Wire {
    pub(super) fn new(config: &ServerConfig) -> Wire {
        Wire {
            output: Scanner::of_server(),
            dropping_output: false,
            first_streams_max: config.streams_max,
            settings_written: false,
            unacknowledged: VecDeque::new(),
            acknowledged_streams_max: u32::MAX,
            inserts: VecDeque::new(),
            policy: config.window,
            window: i64::from(CONNECTION_WINDOW_BYTES),
            owed: 0,
            last_stream: 0,
            last_allowed: u32::MAX,
            ping_sent: false,
            answers_pings: true,
        }
    }

    /// The limit that the client can be held to: the highest that it may still believe in.
    pub(super) fn streams_max(&self) -> u32 {
        let sent = self.unacknowledged.iter().filter_map(|sent| sent.streams_max);
        sent.chain([self.acknowledged_streams_max]).max().unwrap_or(u32::MAX)
    }

    /// True: `h2` is not to see this frame.
    pub(super) fn see_input_head(&mut self, head: FrameHead, events: &mut VecDeque<ServerEvent>) -> bool {
        match head.kind {
            kind::SETTINGS if head.flags & FLAG_ACK != 0 => {
                let Some(sent) = self.unacknowledged.pop_front() else { return false };
                if let Some(streams_max) = sent.streams_max {
                    self.acknowledged_streams_max = streams_max;
                }
                !sent.by_h2
            }
            kind::HEADERS => {
                self.last_stream = self.last_stream.max(head.stream);
                false
            }
            kind::DATA => {
                self.window -= i64::from(head.length);
                if self.window < 0 {
                    let payload = [self.last_stream, code::FLOW_CONTROL_ERROR].map(u32::to_be_bytes);
                    self.inserts.push_back((frame(kind::GOAWAY, 0, 0, &payload.concat()), None));
                    events.push_back(ServerEvent::Violation(Violation::WindowOverrun));
                }
                false
            }
            kind::PRIORITY => {
                events.push_back(ServerEvent::Violation(Violation::Priority));
                false
            }
            _ => false,
        }
    }

    pub(super) fn see_input_end(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        events: &mut VecDeque<ServerEvent>,
    ) {
        match head.kind {
            kind::DATA => {
                self.owed += head.length;
                let credit = match self.policy {
                    WindowPolicy::Immediate => self.owed,
                    WindowPolicy::AtHalf if self.owed >= CONNECTION_WINDOW_BYTES / 2 => self.owed,
                    WindowPolicy::AtHalf | WindowPolicy::Manual => 0,
                };
                if credit > 0 {
                    self.grant(credit);
                }
            }
            kind::PING if head.flags & FLAG_ACK != 0 && self.ping_sent => {
                self.ping_sent = false;
                events.push_back(ServerEvent::Pong);
            }
            kind::GOAWAY => {
                let code = word(payload, 1).unwrap_or(code::PROTOCOL_ERROR);
                events.push_back(ServerEvent::WentAway { code });
            }
            _ => {}
        }
    }

    pub(super) fn grant(&mut self, bytes: u32) {
        self.owed = self.owed.saturating_sub(bytes);
        self.window += i64::from(bytes);
        let update = frame(kind::WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes());
        self.inserts.push_back((update, None));
    }

    /// Moves what `h2` wrote to the wire, with our changes.
    pub(super) fn write(&mut self, mut written: &[u8], wire: &mut BytesMut) {
        while let Some(piece) = self.output.next(&mut written) {
            match piece {
                Piece::Preface(_) => {}
                Piece::Head(head) => self.write_head(head, wire),
                Piece::Payload(bytes) => {
                    if !self.dropping_output {
                        wire.extend_from_slice(bytes);
                    }
                }
                Piece::End(head) => {
                    if head.kind == kind::SETTINGS && head.flags & FLAG_ACK == 0 {
                        if let Some(streams_max) = self.first_streams_max.take() {
                            wire.extend_from_slice(&SETTING_MAX_CONCURRENT_STREAMS.to_be_bytes());
                            wire.extend_from_slice(&streams_max.to_be_bytes());
                        }
                        self.settings_written = true;
                    }
                    self.write_inserts(wire);
                }
            }
        }
        if self.output.at_boundary() {
            self.write_inserts(wire);
        }
    }

    fn write_head(&mut self, mut head: FrameHead, wire: &mut BytesMut) {
        self.dropping_output = match head.kind {
            // The connection's window is ours.
            kind::WINDOW_UPDATE => head.stream == 0,
            kind::PING => head.flags & FLAG_ACK != 0 && !self.answers_pings,
            _ => false,
        };
        if head.kind == kind::SETTINGS && head.flags & FLAG_ACK == 0 {
            let streams_max = self.first_streams_max;
            self.unacknowledged.push_back(SettingsSent { by_h2: true, streams_max });
            if streams_max.is_some() {
                head.length += 6;
            }
        }
        if !self.dropping_output {
            wire.extend_from_slice(&head.encode());
        }
    }

    fn write_inserts(&mut self, wire: &mut BytesMut) {
        if !self.settings_written {
            return;
        }
        for (bytes, settings) in self.inserts.drain(..) {
            wire.extend_from_slice(&bytes);
            self.unacknowledged.extend(settings);
        }
    }
}
