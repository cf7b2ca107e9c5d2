//! Text made safe to stand in XML.

/// Appends `text` so that it reads back as itself in element content and in a quoted attribute (XML 1.0 §2.4). Control
/// characters, which XML 1.0 §2.2 does not allow in any spelling, are left out.
pub fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escaped: &[u8] = match byte {
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'&' => b"&amp;",
            b'"' => b"&quot;",
            b'\'' => b"&apos;",
            // In an attribute they would be read back as blanks (XML 1.0 §3.3.3).
            b'\t' => b"&#9;",
            b'\n' => b"&#10;",
            b'\r' => b"&#13;",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain..at]);
        out.extend_from_slice(escaped);
        plain = at + 1;
    }
    out.extend_from_slice(&bytes[plain..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quick_xml::Reader;
    use quick_xml::events::Event;

    use super::*;

    proptest! {
        #[test]
        fn any_text_reads_back_as_itself(text in "\\PC*[<>&\"'\t\r\n]?\\PC*") {
            let mut xml = b"<a b=\"".to_vec();
            push_escaped(&mut xml, &text);
            xml.extend_from_slice(b"\"/>");
            let mut reader = Reader::from_reader(&xml[..]);
            let Event::Empty(tag) = reader.read_event().unwrap() else { panic!("one empty element") };
            let value = tag.try_get_attribute("b").unwrap().unwrap();
            prop_assert_eq!(value.normalized_value(quick_xml::XmlVersion::Implicit1_0).unwrap(), text);
            prop_assert_eq!(reader.read_event().unwrap(), Event::Eof);
        }
    }

    #[test]
    fn control_characters_are_left_out() {
        let mut out = Vec::new();
        push_escaped(&mut out, "a\0b\u{1b}c");
        assert_eq!(out, b"abc");
    }
}
