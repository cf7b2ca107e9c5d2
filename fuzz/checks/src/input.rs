//! The fuzzer's bytes, taken apart.

use carillon_core::rng::Rng;

/// Takes values off the front. What is not there any more is zero.
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Input<'a> {
        Input { rest }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from(self.u32()) << 32 | u64::from(self.u32())
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.u8()) % bound
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// At most `bytes_max` bytes.
    pub(crate) fn bytes(&mut self, bytes_max: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(bytes_max.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// A text whose length comes first, in two bytes. What is no UTF-8 is replaced.
    pub(crate) fn text(&mut self) -> String {
        let len = usize::from(self.u16());
        String::from_utf8_lossy(self.bytes(len)).into_owned()
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }
}

/// Cuts `bytes` into pieces. 0 leaves them whole, 1 cuts after each byte, everything else seeds pieces of all sizes.
pub(crate) fn cut(how: u8, bytes: &[u8]) -> Vec<&[u8]> {
    let mut rng = Rng::new(how.into());
    let (mut rest, mut pieces) = (bytes, Vec::new());
    while !rest.is_empty() {
        let len = match how {
            0 => rest.len(),
            1 => 1,
            _ => {
                let magnitude = rng.below(8);
                1 + rng.below(1 << magnitude) as usize
            }
        };
        let (piece, behind) = rest.split_at(len.min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}
