//! The characters of an answer: what is not UTF-8 is made so, where it says what it is, or where its texts do not matter.

use std::borrow::Cow;

use crate::http1::{Head, is_latin1};

/// What the characters from 0x80 to 0x9f are in windows-1252, which many call Latin-1; `U+FFFD` where there is none.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{fffd}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{fffd}', 'Ž', '\u{fffd}',
    '\u{fffd}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{fffd}', 'ž', 'Ÿ',
];

/// The body as UTF-8, as far as that can be told. Microsoft's servers send nothing else, but what stands before them may.
///
/// `texts_matter`: without, what is no UTF-8 is replaced character by character, since only ids and dates are asked for.
/// With, such a body stays as it is, and is refused by whoever reads it: a text that was guessed belongs on no screen.
pub fn decoded<'a>(head: &Head, body: &'a [u8], texts_matter: bool) -> Cow<'a, [u8]> {
    if std::str::from_utf8(body).is_ok() {
        return Cow::Borrowed(body);
    }
    if head.latin1 || declares_latin1(body) {
        let char = |byte: &u8| match byte {
            0x80..0xa0 => WINDOWS_1252[usize::from(byte - 0x80)],
            byte => char::from(*byte),
        };
        return Cow::Owned(body.iter().map(char).collect::<String>().into_bytes());
    }
    match texts_matter {
        true => Cow::Borrowed(body),
        false => Cow::Owned(String::from_utf8_lossy(body).into_owned().into_bytes()),
    }
}

/// By its XML declaration (XML 1.0 §4.3.3).
fn declares_latin1(body: &[u8]) -> bool {
    const DECLARATION_BYTES_MAX: usize = 128;
    let start = body.get(..DECLARATION_BYTES_MAX.min(body.len())).unwrap_or_default();
    let start = String::from_utf8_lossy(start).to_ascii_lowercase();
    let declaration = start.trim_start().strip_prefix("<?xml").and_then(|rest| rest.split_once("?>"));
    let encoding = declaration.and_then(|(inside, _)| inside.split_once("encoding="));
    encoding.is_some_and(|(_, name)| is_latin1(name.trim_start_matches(['"', '\''])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf8(head: &Head, body: &[u8], texts_matter: bool) -> Option<String> {
        String::from_utf8(decoded(head, body, texts_matter).into_owned()).ok()
    }

    #[test]
    fn a_body_in_latin1_that_says_so_is_read_as_that() {
        let declared = b"<?xml version='1.0' encoding='ISO-8859-1'?><a>Gr\xfc\xdfe \x80</a>";
        assert!(utf8(&Head::default(), declared, true).unwrap().ends_with("<a>Grüße €</a>"));
        let head = Head { latin1: true, ..Head::default() };
        assert_eq!(utf8(&head, b"<a>\xe9</a>", true).unwrap(), "<a>é</a>");
        assert_eq!(utf8(&head, "<a>é</a>".as_bytes(), true).unwrap(), "<a>é</a>", "it says so and is none");
    }

    #[test]
    fn a_body_that_is_no_utf8_and_says_nothing_else_is_read_only_where_its_texts_do_not_matter() {
        let bad = b"<?xml version='1.0' encoding='utf-8'?><a>\xe9</a>";
        assert_eq!(utf8(&Head::default(), bad, true), None);
        assert!(utf8(&Head::default(), bad, false).unwrap().ends_with("<a>\u{fffd}</a>"));
    }
}
