//! Frame heads, and a scanner that finds them in a byte stream cut anywhere (RFC 9113 §4.1).

/// Frame types (RFC 9113 §6).
pub mod kind {
    /// Request or response content.
    pub const DATA: u8 = 0x0;
    /// A field section.
    pub const HEADERS: u8 = 0x1;
    /// Deprecated; a client of APNs sends none.
    pub const PRIORITY: u8 = 0x2;
    /// One stream ends at once.
    pub const RST_STREAM: u8 = 0x3;
    /// Parameters of the connection.
    pub const SETTINGS: u8 = 0x4;
    /// Are you there?
    pub const PING: u8 = 0x6;
    /// No more streams.
    pub const GOAWAY: u8 = 0x7;
    /// More flow-control credit.
    pub const WINDOW_UPDATE: u8 = 0x8;
}

/// Error codes (RFC 9113 §7).
pub mod code {
    /// All is well.
    pub const NO_ERROR: u32 = 0x0;
    /// The other side broke a rule.
    pub const PROTOCOL_ERROR: u32 = 0x1;
    /// We broke down.
    pub const INTERNAL_ERROR: u32 = 0x2;
    /// More DATA than the window allowed.
    pub const FLOW_CONTROL_ERROR: u32 = 0x3;
    /// The stream was not processed.
    pub const REFUSED_STREAM: u32 = 0x7;
    /// Nobody waits for this any more.
    pub const CANCEL: u32 = 0x8;
    /// Too much of something.
    pub const ENHANCE_YOUR_CALM: u32 = 0xb;
}

/// END_STREAM of DATA and HEADERS; ACK of SETTINGS and PING.
pub(super) const FLAG_END_STREAM: u8 = 0x1;
/// See [`FLAG_END_STREAM`].
pub(super) const FLAG_ACK: u8 = 0x1;

/// SETTINGS_MAX_CONCURRENT_STREAMS.
pub(super) const SETTING_MAX_CONCURRENT_STREAMS: u16 = 0x3;

/// The flow-control window that every connection begins with, whatever SETTINGS say (RFC 9113 §6.9.2).
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 65_535;

/// Octets that a client sends first (RFC 9113 §3.4).
pub(super) const PREFACE_BYTES: usize = 24;

/// Payload bytes of a frame that the scanner keeps: all of a WINDOW_UPDATE, 42 settings, most of a GOAWAY's debug data.
const KEPT_BYTES_MAX: usize = 256;

/// The nine octets before every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Payload bytes that follow; 24 bits.
    pub length: u32,
    /// One of [`kind`], or a type that nobody knows.
    pub kind: u8,
    /// Flags, by type.
    pub flags: u8,
    /// The stream, without the reserved bit; 0 is the connection.
    pub stream: u32,
}

impl FrameHead {
    /// As on the wire.
    pub fn encode(self) -> [u8; 9] {
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [l0, l1, l2, self.kind, self.flags, s0, s1, s2, s3]
    }

    /// From the wire.
    pub fn decode(bytes: [u8; 9]) -> FrameHead {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        FrameHead {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    /// Whether the frame is of this type with this flag set.
    pub(super) fn is(self, kind: u8, flag: u8) -> bool {
        self.kind == kind && self.flags & flag != 0
    }
}

/// What the scanner found next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Bytes of the client's preface.
    Preface(&'a [u8]),
    /// A frame begins; its nine octets are complete.
    Head(FrameHead),
    /// Bytes of the payload.
    Payload(&'a [u8]),
    /// The frame is complete; [`Scanner::kept`] has the first bytes of its payload.
    End(FrameHead),
}

/// Cuts a byte stream into frames without holding more than a few bytes of it.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    preface_left: usize,
    head: [u8; 9],
    head_len: usize,
    current: Option<FrameHead>,
    payload_left: usize,
    kept: Vec<u8>,
}

impl Scanner {
    /// For bytes that a server sends.
    pub(super) fn of_server() -> Scanner {
        Scanner::default()
    }

    /// For bytes that a client sends: frames after the preface.
    pub(super) fn of_client() -> Scanner {
        Scanner { preface_left: PREFACE_BYTES, ..Scanner::default() }
    }

    /// The next piece of `input`, which is shortened by it. `None`: all is taken.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        if self.preface_left > 0 {
            let taken = take(input, self.preface_left)?;
            self.preface_left -= taken.len();
            return Some(Piece::Preface(taken));
        }
        let Some(head) = self.current else {
            let taken = take(input, self.head.len() - self.head_len)?;
            self.head[self.head_len..self.head_len + taken.len()].copy_from_slice(taken);
            self.head_len += taken.len();
            if self.head_len < self.head.len() {
                return None;
            }
            let head = FrameHead::decode(self.head);
            self.head_len = 0;
            self.payload_left = head.length as usize;
            self.current = Some(head);
            self.kept.clear();
            return Some(Piece::Head(head));
        };
        if self.payload_left == 0 {
            self.current = None;
            return Some(Piece::End(head));
        }
        let taken = take(input, self.payload_left)?;
        self.payload_left -= taken.len();
        let room = KEPT_BYTES_MAX - self.kept.len();
        self.kept.extend_from_slice(&taken[..taken.len().min(room)]);
        Some(Piece::Payload(taken))
    }

    /// The first bytes of the present frame's payload, as far as they were seen.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Whether another frame could be put in here.
    pub(super) fn at_boundary(&self) -> bool {
        self.preface_left == 0 && self.current.is_none() && self.head_len == 0
    }
}

/// The `index`th 32-bit word of a payload.
pub(super) fn word(payload: &[u8], index: usize) -> Option<u32> {
    let bytes = payload.get(index * 4..index * 4 + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// A whole frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = FrameHead { length: payload.len() as u32, kind, flags, stream };
    let mut bytes = Vec::with_capacity(9 + payload.len());
    bytes.extend_from_slice(&head.encode());
    bytes.extend_from_slice(payload);
    bytes
}

fn take<'a>(input: &mut &'a [u8], bytes_max: usize) -> Option<&'a [u8]> {
    if input.is_empty() {
        return None;
    }
    let (taken, rest) = input.split_at(bytes_max.min(input.len()));
    *input = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_wherever_the_bytes_are_cut() {
        let mut bytes = vec![b'p'; PREFACE_BYTES];
        let frames = [
            (kind::SETTINGS, 0, 0, vec![0, 3, 0, 0, 0, 1]),
            (kind::SETTINGS, FLAG_ACK, 0, vec![]),
            (kind::DATA, FLAG_END_STREAM, 5, vec![7; 1_000]),
            (0xee, 0xff, 0x7fff_ffff, vec![1]),
        ];
        for (kind, flags, stream, payload) in &frames {
            bytes.extend(frame(*kind, *flags, *stream, payload));
        }
        for cut in [1, 2, 3, 8, 9, 10, 25, 4_000] {
            let mut scanner = Scanner::of_client();
            let mut ends = Vec::new();
            let mut payload_bytes = 0;
            for mut chunk in bytes.chunks(cut) {
                while let Some(piece) = scanner.next(&mut chunk) {
                    match piece {
                        Piece::Preface(part) => assert!(part.iter().all(|b| *b == b'p')),
                        Piece::Head(_) => {}
                        Piece::Payload(part) => payload_bytes += part.len(),
                        Piece::End(head) => ends.push((head, scanner.kept().to_vec())),
                    }
                }
            }
            assert!(scanner.at_boundary());
            assert_eq!(payload_bytes, 6 + 1_000 + 1);
            assert_eq!(ends.len(), frames.len());
            for ((head, kept), (kind, flags, stream, payload)) in ends.iter().zip(&frames) {
                assert_eq!((head.kind, head.flags, head.stream), (*kind, *flags, *stream));
                assert_eq!(kept[..], payload[..payload.len().min(KEPT_BYTES_MAX)]);
            }
        }
    }
}
