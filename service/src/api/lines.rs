//! Cuts a stream of bytes into lines of bounded length.

/// A line of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// The whole line, without its end.
    Whole(&'a [u8]),
    /// A line longer than the bound; its bytes were thrown away.
    TooLong,
}

/// Collects bytes until a line is whole.
#[derive(Debug)]
pub struct Lines {
    bytes_max: usize,
    partial: Vec<u8>,
    too_long: bool,
    number: u64,
}

impl Lines {
    /// Lines of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Lines {
        Lines { bytes_max, partial: Vec::new(), too_long: false, number: 0 }
    }

    /// Takes the next bytes and hands out the lines that end in them, with their numbers from 1.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(u64, Line<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (head, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.partial.is_empty() && !self.too_long {
                self.number += 1;
                each(self.number, self.whole(head));
            } else {
                self.keep(head);
                self.end(&mut each);
            }
        }
        self.keep(bytes);
    }

    /// The stream has ended: hands out a last line without an end.
    pub fn finish(mut self, mut each: impl FnMut(u64, Line<'_>)) {
        if self.too_long || !self.partial.is_empty() {
            self.end(&mut each);
        }
    }

    fn end(&mut self, each: &mut impl FnMut(u64, Line<'_>)) {
        self.number += 1;
        if self.too_long {
            each(self.number, Line::TooLong);
        } else {
            each(self.number, self.whole(&self.partial));
        }
        self.partial.clear();
        self.too_long = false;
    }

    fn keep(&mut self, bytes: &[u8]) {
        // One byte more than the bound, for the carriage return that does not count.
        if self.too_long || self.partial.len() + bytes.len() > self.bytes_max + 1 {
            self.too_long = true;
            self.partial.clear();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    fn whole<'a>(&self, line: &'a [u8]) -> Line<'a> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.bytes_max { Line::TooLong } else { Line::Whole(line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &[u8], piece: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut out = Vec::new();
        let mut each = |number, line: Line<'_>| {
            out.push((
                number,
                match line {
                    Line::Whole(line) => Some(line.to_vec()),
                    Line::TooLong => None,
                },
            ));
        };
        let mut lines = Lines::new(4);
        for bytes in text.chunks(piece) {
            lines.feed(bytes, &mut each);
            assert!(lines.partial.len() <= 5);
        }
        lines.finish(&mut each);
        out
    }

    #[test]
    fn lines_are_the_same_however_the_stream_is_cut() {
        let text = b"abcd\n\r\nabcd\r\nabcde\nx\n\nabcdefghijkl\r\nend";
        let whole = |line: &str| Some(line.as_bytes().to_vec());
        let expected = vec![
            (1, whole("abcd")),
            (2, whole("")),
            (3, whole("abcd")),
            (4, None),
            (5, whole("x")),
            (6, whole("")),
            (7, None),
            (8, whole("end")),
        ];
        for piece in 1..=text.len() {
            assert_eq!(cut(text, piece), expected, "pieces of {piece}");
        }
        assert_eq!(cut(b"abcdefg", 2), vec![(1, None)]);
        assert_eq!(cut(b"", 1), vec![]);
    }
}
