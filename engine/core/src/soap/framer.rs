//! Whole envelopes out of a stream of bytes.

use std::fmt;

use memchr::{memchr, memchr3};

use crate::limits::{ENVELOPE_BYTES_MAX, XML_DEPTH_MAX};

/// Cuts a stream into SOAP envelopes.
///
/// The body of a streaming answer is one envelope after the other: without separator on Exchange, with an XML
/// declaration before the first on Gromox, with any prefix or none, cut by HTTP in the middle of a tag or a character.
/// So the framer reads bytes, follows tags only as far as it must to know their depth, and cuts where the root's end tag
/// brings it back to zero. No byte is looked at twice, however the stream is cut.
///
/// Between envelopes it reads over blanks, byte order marks, declarations, processing instructions and comments. A
/// document type is refused anywhere: it is how entities explode, and HTML begins with one.
#[derive(Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Before this, the buffer has been handed out or is of no interest.
    kept: usize,
    /// Before this, the buffer has been looked at.
    scanned: usize,
    /// Where the markup being read begins (its `<`).
    markup: usize,
    /// Bytes since the last envelope that belong to none.
    between_bytes: usize,
    depth: usize,
    /// Hashes of the names of the open elements, prefixes included. With a tag missing inside, the depth alone would never
    /// come back to 0, and every later envelope be swallowed while the stream looks alive.
    open_names: Vec<u32>,
    state: State,
    failed: Option<FrameError>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Outside of markup.
    #[default]
    Text,
    /// After one (1) or two (2) bytes of a byte order mark.
    Mark(u8),
    /// After `<`.
    Open,
    /// After `<!`, before it is known which kind.
    Bang,
    Comment,
    CData,
    /// In `<?…?>`.
    Instruction,
    StartTag,
    /// In an attribute's value, which this quote ends.
    Quoted(u8),
    EndTag,
}

/// Why a stream is no sequence of envelopes. The fault is the server's, or of something between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// An envelope, or what stands between two, is longer than [`ENVELOPE_BYTES_MAX`].
    TooLarge,
    /// More than [`XML_DEPTH_MAX`] elements inside one another.
    TooDeep,
    /// `<!DOCTYPE`, or other markup that only stands in one.
    Doctype,
    /// Text between envelopes.
    TextOutside,
    /// The root element is none called `Envelope`.
    NotAnEnvelope,
    /// Not XML: an end tag without a start or out of its order, a tag without a name.
    Malformed,
}

/// What an idle stream's buffer may keep: ten thousand streams on one node must stay small.
const IDLE_BUFFER_BYTES_MAX: usize = 8 * 1024;

impl Framer {
    /// Before the first byte.
    pub fn new() -> Framer {
        Framer::default()
    }

    /// Takes bytes in. All envelopes ought to be taken out with [`Framer::next`] before the next call: what is complete
    /// is bounded only by what was fed.
    pub fn feed(&mut self, data: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        self.forget();
        self.buffer.extend_from_slice(data);
    }

    /// The next whole envelope, from its `<` to its `>`.
    ///
    /// # Errors
    /// The stream is no sequence of envelopes; it stays so.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its buffer")]
    pub fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.scan() {
            Ok(Some(end)) => {
                let start = std::mem::replace(&mut self.kept, end);
                Ok(Some(&self.buffer[start..end]))
            }
            Ok(None) => {
                if self.kept == self.buffer.len() {
                    self.forget();
                }
                Ok(None)
            }
            Err(error) => {
                self.failed = Some(error);
                self.buffer = Vec::new();
                Err(error)
            }
        }
    }

    /// Whether the stream may end here: no envelope is unfinished.
    pub fn is_between(&self) -> bool {
        self.depth == 0 && self.state == State::Text
    }

    /// Goes on to the end of an envelope, or of the bytes.
    fn scan(&mut self) -> Result<Option<usize>, FrameError> {
        while self.scanned < self.buffer.len() {
            let at = self.scanned;
            let rest = &self.buffer[at..];
            match self.state {
                State::Text if self.depth > 0 => match memchr(b'<', rest) {
                    Some(skip) => self.open(at + skip),
                    None => self.scanned = self.buffer.len(),
                },
                State::Text => match rest[0] {
                    b'<' => self.open(at),
                    b' ' | b'\t' | b'\r' | b'\n' => self.pass_over(at + 1),
                    0xef => self.mark(at, 1),
                    _ => return Err(FrameError::TextOutside),
                },
                State::Mark(1) if rest[0] == 0xbb => self.mark(at, 2),
                State::Mark(2) if rest[0] == 0xbf => {
                    self.state = State::Text;
                    self.pass_over(at + 1);
                }
                State::Mark(_) => return Err(FrameError::TextOutside),
                State::Open => {
                    self.state = match rest[0] {
                        b'/' if self.depth > 0 => State::EndTag,
                        b'?' => State::Instruction,
                        b'!' => State::Bang,
                        byte if byte.is_ascii_alphabetic()
                            || byte == b'_'
                            || byte == b':'
                            || byte >= 0x80 =>
                        {
                            State::StartTag
                        }
                        _ => return Err(FrameError::Malformed),
                    };
                    self.scanned = at + 1;
                }
                State::Bang => {
                    let seen = &self.buffer[self.markup + 2..=at];
                    self.state = match seen {
                        b"-" => State::Bang,
                        b"--" => State::Comment,
                        b"[CDATA[" if self.depth > 0 => State::CData,
                        _ if self.depth > 0 && b"[CDATA[".starts_with(seen) => State::Bang,
                        _ => return Err(FrameError::Doctype),
                    };
                    self.scanned = at + 1;
                }
                State::Comment => self.end_of(at, 4, b"-->"),
                State::CData => self.end_of(at, 9, b"]]>"),
                State::Instruction => self.end_of(at, 2, b"?>"),
                State::StartTag => match memchr3(b'>', b'"', b'\'', rest) {
                    Some(skip) if rest[skip] == b'>' => {
                        self.scanned = at + skip + 1;
                        self.state = State::Text;
                        if self.start_tag(at + skip)? {
                            return self.envelope().map(Some);
                        }
                    }
                    Some(skip) => {
                        self.state = State::Quoted(rest[skip]);
                        self.scanned = at + skip + 1;
                    }
                    None => self.scanned = self.buffer.len(),
                },
                State::Quoted(quote) => match memchr(quote, rest) {
                    Some(skip) => {
                        self.state = State::StartTag;
                        self.scanned = at + skip + 1;
                    }
                    None => self.scanned = self.buffer.len(),
                },
                State::EndTag => match memchr(b'>', rest) {
                    Some(skip) => {
                        self.scanned = at + skip + 1;
                        self.state = State::Text;
                        self.depth -= 1;
                        let name = self.buffer[self.markup + 2..at + skip].trim_ascii_end();
                        if self.open_names.pop() != Some(name_hash(name)) {
                            return Err(FrameError::Malformed);
                        }
                        if self.depth == 0 {
                            return self.envelope().map(Some);
                        }
                    }
                    None => self.scanned = self.buffer.len(),
                },
            }
        }
        if self.between_bytes + (self.scanned - self.kept) > ENVELOPE_BYTES_MAX {
            return Err(FrameError::TooLarge);
        }
        Ok(None)
    }

    fn open(&mut self, at: usize) {
        self.markup = at;
        self.scanned = at + 1;
        self.state = State::Open;
    }

    fn mark(&mut self, at: usize, seen: u8) {
        self.state = State::Mark(seen);
        self.scanned = at + 1;
    }

    /// What ends before `end` stands between envelopes and is of no interest.
    fn pass_over(&mut self, end: usize) {
        self.between_bytes += end - self.kept;
        self.kept = end;
        self.scanned = end;
    }

    /// Looks for the next `>` from `from` on; the markup ends there if it is the last byte of `mark`, whose first byte
    /// stands at least `head` bytes after the markup's `<`.
    fn end_of(&mut self, from: usize, head: usize, mark: &[u8]) {
        let Some(skip) = memchr(b'>', &self.buffer[from..]) else {
            self.scanned = self.buffer.len();
            return;
        };
        let end = from + skip + 1;
        self.scanned = end;
        if end - self.markup >= head + mark.len() && self.buffer[..end].ends_with(mark) {
            self.state = State::Text;
            if self.depth == 0 {
                self.pass_over(end);
            }
        }
    }

    /// A start tag ends at the `>` at `close`. True if it is a whole envelope by itself.
    fn start_tag(&mut self, close: usize) -> Result<bool, FrameError> {
        let tag = &self.buffer[self.markup + 1..close];
        let is_end = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'/');
        let name = tag.split(is_end).next().unwrap_or_default();
        if self.depth == 0 {
            let local = name.rsplit(|byte| *byte == b':').next().unwrap_or_default();
            if local != b"Envelope" {
                return Err(FrameError::NotAnEnvelope);
            }
            self.open_names.clear();
            self.kept = self.markup;
        }
        if tag.ends_with(b"/") {
            return Ok(self.depth == 0);
        }
        self.depth += 1;
        self.open_names.push(name_hash(name));
        if self.depth > XML_DEPTH_MAX { Err(FrameError::TooDeep) } else { Ok(false) }
    }

    /// The envelope from `kept` to `scanned` is whole.
    fn envelope(&mut self) -> Result<usize, FrameError> {
        if self.between_bytes + (self.scanned - self.kept) > ENVELOPE_BYTES_MAX {
            return Err(FrameError::TooLarge);
        }
        self.between_bytes = 0;
        Ok(self.scanned)
    }

    /// Gives up the part of the buffer that nobody needs any more.
    fn forget(&mut self) {
        if self.kept == 0 {
            return;
        }
        self.buffer.drain(..self.kept);
        self.scanned -= self.kept;
        self.markup = self.markup.saturating_sub(self.kept);
        self.kept = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.buffer = Vec::new();
        }
    }
}

/// FNV-1a. Names that collide by chance are told apart by the parser of the whole envelope.
fn name_hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl fmt::Debug for Framer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is in the buffer is somebody's mail.
        let held = self.buffer.len() - self.kept;
        write!(f, "Framer({held} bytes, depth {}, {:?}, {:?})", self.depth, self.state, self.failed)
    }
}

impl FrameError {
    /// All of them, for tables.
    pub const ALL: [FrameError; 6] = [
        FrameError::TooLarge,
        FrameError::TooDeep,
        FrameError::Doctype,
        FrameError::TextOutside,
        FrameError::NotAnEnvelope,
        FrameError::Malformed,
    ];

    /// A stable name for metrics and alarms.
    pub const fn name(self) -> &'static str {
        match self {
            FrameError::TooLarge => "soap_too_large",
            FrameError::TooDeep => "soap_too_deep",
            FrameError::Doctype => "soap_doctype",
            FrameError::TextOutside => "soap_text_outside",
            FrameError::NotAnEnvelope => "soap_not_an_envelope",
            FrameError::Malformed => "soap_malformed",
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FrameError::TooLarge => "the mail server's SOAP envelope is beyond every bound",
            FrameError::TooDeep => "the mail server's SOAP envelope is nested beyond every bound",
            FrameError::Doctype => "the mail server's answer has a document type, which SOAP forbids",
            FrameError::TextOutside => "the mail server's answer has text outside of SOAP envelopes",
            FrameError::NotAnEnvelope => "the mail server's answer is XML but no SOAP envelope",
            FrameError::Malformed => "the mail server's answer is no well-formed XML",
        })
    }
}

impl std::error::Error for FrameError {}
