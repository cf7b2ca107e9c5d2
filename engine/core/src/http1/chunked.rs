//! The chunked transfer coding (RFC 9112 §7.1), decoded without copying.

use crate::http1::HttpError;
use crate::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// Decodes one chunked body that arrives in pieces of any size. Chunk boundaries mean nothing to the reader of the body.
///
/// Strict where leniency would only help an attacker: line ends are CRLF, sizes are 1 to 15 hex digits, extension and
/// trailer are bounded and thrown away.
#[derive(Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    /// Of the current chunk: size read so far, then data still to come.
    size: u64,
    /// Of the current chunk line or trailer section.
    line_bytes: usize,
}

/// What a call of [`ChunkedDecoder::decode`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// Bytes of the body, never none.
    Data(&'a [u8]),
    /// The input is used up; the body goes on.
    More,
    /// The body is over; what is left of the input is not part of it.
    End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    #[default]
    SizeStart,
    /// After `n` digits.
    Size(u8),
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a trailer line.
    TrailerStart,
    TrailerLine,
    TrailerLineLf,
    EndLf,
    End,
}

impl ChunkedDecoder {
    /// At the beginning of a body.
    pub fn new() -> ChunkedDecoder {
        ChunkedDecoder::default()
    }

    /// Takes what it can from the front of `input`. To be called until it says [`Decoded::More`] or [`Decoded::End`].
    ///
    /// # Errors
    /// [`HttpError::ChunkMalformed`], [`HttpError::ChunkLineTooLong`], [`HttpError::TrailerTooLarge`]. The decoder is of
    /// no use after one.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Decoded<'a>, HttpError> {
        loop {
            if self.state == State::Data {
                if input.is_empty() {
                    return Ok(Decoded::More);
                }
                let len = usize::try_from(self.size).unwrap_or(usize::MAX).min(input.len());
                let (data, rest) = input.split_at(len);
                *input = rest;
                self.size -= len as u64;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Decoded::Data(data));
            }
            if self.state == State::End {
                return Ok(Decoded::End);
            }
            let Some((&byte, rest)) = input.split_first() else { return Ok(Decoded::More) };
            *input = rest;
            self.state = self.step(byte)?;
        }
    }

    /// One byte outside of chunk data.
    fn step(&mut self, byte: u8) -> Result<State, HttpError> {
        const DIGITS_MAX: u8 = 15;
        match self.state {
            State::SizeStart => {
                self.size = 0;
                self.line_bytes = 0;
                self.digit(byte).ok_or(HttpError::ChunkMalformed)?;
                Ok(State::Size(1))
            }
            State::Size(digits) => {
                self.count_line()?;
                match byte {
                    b'\r' => Ok(State::SizeLf),
                    b';' | b' ' | b'\t' => Ok(State::Extension),
                    _ if digits < DIGITS_MAX => {
                        self.digit(byte).ok_or(HttpError::ChunkMalformed)?;
                        Ok(State::Size(digits + 1))
                    }
                    _ => Err(HttpError::ChunkMalformed),
                }
            }
            State::Extension => {
                self.count_line()?;
                match byte {
                    b'\r' => Ok(State::SizeLf),
                    b'\n' | 0 => Err(HttpError::ChunkMalformed),
                    _ => Ok(State::Extension),
                }
            }
            State::SizeLf => {
                let after = if self.size == 0 { State::TrailerStart } else { State::Data };
                self.line_bytes = 0;
                expect(byte, b'\n', after)
            }
            State::DataCr => expect(byte, b'\r', State::DataLf),
            State::DataLf => expect(byte, b'\n', State::SizeStart),
            State::TrailerStart => {
                self.count_trailer()?;
                match byte {
                    b'\r' => Ok(State::EndLf),
                    b'\n' | 0 => Err(HttpError::ChunkMalformed),
                    _ => Ok(State::TrailerLine),
                }
            }
            State::TrailerLine => {
                self.count_trailer()?;
                match byte {
                    b'\r' => Ok(State::TrailerLineLf),
                    b'\n' | 0 => Err(HttpError::ChunkMalformed),
                    _ => Ok(State::TrailerLine),
                }
            }
            State::TrailerLineLf => {
                self.count_trailer()?;
                expect(byte, b'\n', State::TrailerStart)
            }
            State::EndLf => expect(byte, b'\n', State::End),
            State::Data | State::End => Ok(self.state),
        }
    }

    fn digit(&mut self, byte: u8) -> Option<()> {
        let digit = (byte as char).to_digit(16)?;
        self.size = self.size << 4 | u64::from(digit);
        Some(())
    }

    fn count_line(&mut self) -> Result<(), HttpError> {
        self.line_bytes += 1;
        if self.line_bytes > CHUNK_LINE_BYTES_MAX { Err(HttpError::ChunkLineTooLong) } else { Ok(()) }
    }

    fn count_trailer(&mut self) -> Result<(), HttpError> {
        self.line_bytes += 1;
        if self.line_bytes > TRAILER_BYTES_MAX { Err(HttpError::TrailerTooLarge) } else { Ok(()) }
    }
}

fn expect(byte: u8, wanted: u8, then: State) -> Result<State, HttpError> {
    if byte == wanted { Ok(then) } else { Err(HttpError::ChunkMalformed) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode_in(pieces: impl IntoIterator<Item = Vec<u8>>) -> Result<(Vec<u8>, bool, Vec<u8>), HttpError> {
        let (mut decoder, mut body, mut left, mut ended) =
            (ChunkedDecoder::new(), Vec::new(), Vec::new(), false);
        for piece in pieces {
            let mut input = &piece[..];
            loop {
                match decoder.decode(&mut input)? {
                    Decoded::Data(data) => body.extend_from_slice(data),
                    Decoded::More => break,
                    Decoded::End => {
                        ended = true;
                        left.extend_from_slice(input);
                        break;
                    }
                }
            }
        }
        Ok((body, ended, left))
    }

    fn decode(bytes: &[u8]) -> Result<(Vec<u8>, bool, Vec<u8>), HttpError> {
        decode_in([bytes.to_vec()])
    }

    #[test]
    fn extensions_and_trailers_are_read_over() {
        let body = b"4;a=\"b\"\r\nwiki\r\n00005 \r\npedia\r\n0;last\r\nX-A: b\r\nX-C: d\r\n\r\nnext";
        assert_eq!(decode(body).unwrap(), (b"wikipedia".to_vec(), true, b"next".to_vec()));
    }

    #[test]
    fn a_size_that_is_none_is_refused() {
        for bad in [
            &b"ZZ\r\n"[..],
            b"\r\n",
            b"-1\r\n",
            b"+4\r\n",
            b"0x4\r\n",
            b" 4\r\n",
            b"4\nwiki\r\n",
            b"4\rx",
            b"1000000000000000\r\n",
            b"ffffffffffffffff\r\n",
            b"4;\n",
        ] {
            assert_eq!(decode(bad), Err(HttpError::ChunkMalformed), "{bad:?}");
        }
    }

    #[test]
    fn a_chunk_that_is_longer_than_it_says_is_refused() {
        assert_eq!(decode(b"4\r\nwikipedia"), Err(HttpError::ChunkMalformed));
        assert_eq!(decode(b"4\r\nwiki\n"), Err(HttpError::ChunkMalformed));
    }

    #[test]
    fn a_chunk_line_without_end_is_refused_at_its_bound() {
        let ok = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(CHUNK_LINE_BYTES_MAX - 2));
        assert_eq!(decode(ok.as_bytes()).unwrap().0, b"x");
        let over = format!("1;{}", "e".repeat(CHUNK_LINE_BYTES_MAX));
        assert_eq!(decode(over.as_bytes()), Err(HttpError::ChunkLineTooLong));
        let zeros = "0".repeat(16);
        assert_eq!(decode(zeros.as_bytes()), Err(HttpError::ChunkMalformed));
    }

    #[test]
    fn a_trailer_without_end_is_refused_at_its_bound() {
        let over = format!("0\r\n{}", "a: b\r\n".repeat(TRAILER_BYTES_MAX / 6 + 1));
        assert_eq!(decode(over.as_bytes()), Err(HttpError::TrailerTooLarge));
        assert_eq!(decode(b"0\r\na: b\n\r\n"), Err(HttpError::ChunkMalformed));
    }

    proptest! {
        #[test]
        fn any_split_of_any_chunks_gives_the_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in prop::collection::vec(1usize..9, 0..200),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let mut pieces = Vec::new();
            let mut rest = &wire[..];
            for cut in cuts {
                let (piece, tail) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece.to_vec());
                rest = tail;
            }
            pieces.push(rest.to_vec());
            let (body, ended, left) = decode_in(pieces).unwrap();
            prop_assert_eq!(body, chunks.concat());
            prop_assert!(ended && left.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
