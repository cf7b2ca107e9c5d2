//! A JSON writer for the few shapes of a payload. It sets the commas; braces are the caller's.

/// A JSON text in the making. Texts of mails enter through [`super::fit`] only.
pub(super) struct Json {
    text: String,
}

impl Json {
    /// Begins anew in `buffer`, whose capacity is used again.
    pub(super) fn within(mut buffer: Vec<u8>) -> Json {
        buffer.clear();
        // An empty buffer is valid UTF-8.
        Json { text: String::from_utf8(buffer).unwrap_or_default() }
    }

    /// The finished bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }

    /// What stands there, for those who cut and measure.
    pub(super) fn text(&mut self) -> &mut String {
        &mut self.text
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// JSON that is right as it is.
    pub(super) fn raw(&mut self, json: &str) {
        self.text.push_str(json);
    }

    /// A member's name, with the comma before it where one is due.
    pub(super) fn key(&mut self, name: &str) {
        if !self.text.ends_with('{') {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    pub(super) fn number(&mut self, number: u32) {
        self.text.push_str(itoa::Buffer::new().format(number));
    }

    /// A string of 16 hex digits.
    pub(super) fn hash(&mut self, hash: u64) {
        self.text.push('"');
        push_hex(&mut self.text, hash);
        self.text.push('"');
    }
}

/// Appends 16 hex digits.
pub(super) fn push_hex(text: &mut String, number: u64) {
    for digit in (0..16).rev() {
        let nibble = (number >> (4 * digit) & 0xf) as u8;
        text.push(char::from(if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble }));
    }
}
