//! Texts of mails, made fit for a phone's screen: cleaned, escaped and cut in one pass.
//!
//! Whoever wrote the mail chose its texts; nothing he writes may break the JSON, spoof the screen or cost more than
//! [`ALERT_SOURCE_BYTES_MAX`] bytes of work.

use std::str::Chars;

use unicode_segmentation::GraphemeCursor;

use crate::limits::ALERT_SOURCE_BYTES_MAX;

/// Appends `text` as the inside of a JSON string: at most `chars_max` characters and `bytes_max` bytes, both counting the
/// `…` that a shortened text ends with. A text is shortened between two grapheme clusters (Unicode Standard Annex 29), so
/// that no emoji and no accent is torn. False: nothing was left to say, and nothing is appended.
pub(super) fn push_fitted(out: &mut String, text: &str, chars_max: usize, bytes_max: usize) -> bool {
    let source = beginning(text, ALERT_SOURCE_BYTES_MAX);
    let start = out.len();
    let mut chars = 0;
    // Where to shorten at the latest: as much as leaves room for the `…`. A character always follows it, by which
    // the boundary can be told.
    let mut keep = start;
    let mut whole = source.len() == text.len();
    for c in Cleaned::new(source) {
        let used = out.len() - start;
        if chars < chars_max && used + ELLIPSIS.len_utf8() <= bytes_max {
            keep = out.len();
        }
        push_escaped(out, c);
        chars += 1;
        if chars > chars_max || out.len() - start > bytes_max {
            whole = false;
            break;
        }
    }
    if !whole {
        let end = start + last_boundary(&out[start..], keep - start);
        out.truncate(end);
        if end > start {
            out.push(ELLIPSIS);
        }
    }
    out.len() > start
}

/// The last place in an escaped text, not after `at`, where it can be cut: between two clusters, not within an escape, not
/// behind a blank.
fn last_boundary(escaped: &str, mut at: usize) -> usize {
    loop {
        let mut cursor = GraphemeCursor::new(at, escaped.len(), true);
        // The whole text is at hand, so the cursor never lacks context.
        if cursor.is_boundary(escaped, 0) != Ok(true) {
            at = cursor.prev_boundary(escaped, 0).ok().flatten().unwrap_or(0);
        }
        let before = &escaped.as_bytes()[..at];
        let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
        if backslashes % 2 == 0 && before.last() != Some(&b' ') {
            return at;
        }
        at -= 1;
    }
}

/// RFC 8259 §7. Control characters never come here: [`Cleaned`] lets none through.
fn push_escaped(out: &mut String, c: char) {
    if matches!(c, '"' | '\\') {
        out.push('\\');
    }
    out.push(c);
}

/// The first `bytes_max` bytes of a text, or up to three fewer.
fn beginning(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The characters of a text that belong on a screen: each run of blanks and line ends as one space, none at either end;
/// no control characters; nothing that turns the direction of the text around it; none of the invisible padding with
/// which newsletters fill their previews.
pub(super) struct Cleaned<'a> {
    chars: Chars<'a>,
    /// The character before which a space was given out.
    held: Option<char>,
    begun: bool,
}

impl<'a> Cleaned<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Cleaned { chars: text.chars(), held: None, begun: false }
    }
}

impl Iterator for Cleaned<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if let Some(c) = self.held.take() {
            return Some(c);
        }
        let mut blank = false;
        for c in self.chars.by_ref() {
            match kind(c) {
                Kind::Blank => blank = true,
                Kind::Invisible => {}
                Kind::Joiner if blank || !self.begun => {}
                Kind::Visible if blank && self.begun => {
                    self.held = Some(c);
                    return Some(' ');
                }
                Kind::Joiner | Kind::Visible => {
                    self.begun = true;
                    return Some(c);
                }
            }
        }
        None
    }
}

enum Kind {
    Visible,
    Blank,
    /// Joins or parts its neighbours, within emoji and in the scripts of Persia and India. Without a neighbour, padding.
    Joiner,
    Invisible,
}

fn kind(c: char) -> Kind {
    match c {
        '!'..='~' => Kind::Visible,
        // ZWNJ, ZWJ.
        '\u{200c}' | '\u{200d}' => Kind::Joiner,
        // Embeddings, overrides and isolates: a name that reads backwards is a trick, and a cut would leave them open.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Kind::Invisible,
        // Soft hyphen, grapheme joiner, zero-width space, word joiner, byte order mark.
        '\u{ad}' | '\u{34f}' | '\u{200b}' | '\u{2060}' | '\u{feff}' => Kind::Invisible,
        // Interlinear annotations, and the place of a picture.
        '\u{fff9}'..='\u{fffc}' => Kind::Invisible,
        // Line ends and tabs are blanks before they are control characters.
        c if c.is_whitespace() => Kind::Blank,
        c if c.is_control() => Kind::Invisible,
        _ => Kind::Visible,
    }
}

const ELLIPSIS: char = '…';
