use proptest::prelude::*;

use super::*;
use crate::limits::{ENVELOPE_BYTES_MAX, XML_DEPTH_MAX};

fn frames_of(pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Vec<String>, FrameError> {
    let (mut framer, mut envelopes) = (Framer::new(), Vec::new());
    for piece in pieces {
        framer.feed(piece.as_ref());
        while let Some(envelope) = framer.next()? {
            envelopes.push(String::from_utf8(envelope.to_vec()).unwrap());
        }
    }
    Ok(envelopes)
}

fn frames(text: &str) -> Result<Vec<String>, FrameError> {
    let whole = frames_of([text]);
    let bytewise = frames_of(text.as_bytes().chunks(1));
    assert_eq!(whole, bytewise, "{text}");
    whole
}

const EXCHANGE: &str = concat!(
    r#"<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><soap11:Header xmlns:soap11="http://schemas.xmlsoap.org/soap/envelope/">"#,
    r#"<ServerVersionInfo MajorVersion="15" xmlns="http://schemas.microsoft.com/exchange/services/2006/types" /></soap11:Header>"#,
    r#"<soap11:Body xmlns:soap11="http://schemas.xmlsoap.org/soap/envelope/"><m:A/></soap11:Body></Envelope>"#
);

#[test]
fn envelopes_without_separator_come_out_one_by_one() {
    let glued = format!("{EXCHANGE}{EXCHANGE}<s:Envelope a='1'>x</s:Envelope><Envelope/>");
    assert_eq!(
        frames(&glued).unwrap(),
        [EXCHANGE, EXCHANGE, "<s:Envelope a='1'>x</s:Envelope>", "<Envelope/>"]
    );
}

#[test]
fn any_prefix_will_do_and_blanks_in_tags_too() {
    for envelope in [
        "<SOAP:Envelope></SOAP:Envelope>",
        "<soap11:Envelope\n a = \"b\"\t>x</soap11:Envelope\r\n>",
        "<ünï:Envelope/>",
        "<_:Envelope />",
    ] {
        assert_eq!(frames(envelope).unwrap(), [envelope]);
    }
}

#[test]
fn declarations_marks_blanks_and_comments_between_envelopes_are_read_over() {
    let text = "\u{feff}<?xml version=\"1.0\" encoding='utf-8'?>\r\n <Envelope>1</Envelope>\n\u{feff}<?xml?><!-- > -->\
                <?a >?><Envelope>2</Envelope> <!---->";
    assert_eq!(frames(text).unwrap(), ["<Envelope>1</Envelope>", "<Envelope>2</Envelope>"]);
}

#[test]
fn an_end_of_tag_inside_of_something_is_none() {
    for envelope in [
        r#"<Envelope a="></Envelope>" b='">'><c d="/"/></Envelope>"#,
        "<Envelope><![CDATA[</Envelope>]]]]><![CDATA[>]]></Envelope>",
        "<Envelope><!-- </Envelope> -> -- ></Envelope>--></Envelope>",
        "<Envelope><!--></Envelope>--></Envelope>",
        "<Envelope><?a </Envelope> ? > ?></Envelope>",
        "<Envelope>&gt;/Envelope> > </Envelope>",
        "<Envelope><Envelope></Envelope></Envelope>",
    ] {
        assert_eq!(frames(envelope).unwrap(), [envelope]);
    }
}

#[test]
fn a_document_type_is_refused_anywhere() {
    for text in [
        "<!DOCTYPE html><html></html>",
        "<!doctype html>",
        "<Envelope><!DOCTYPE a [<!ENTITY b 'c'>]></Envelope>",
        "<Envelope><!ELEMENT a></Envelope>",
        "<Envelope><!-x",
        "<Envelope><![IGNORE[",
        "<![CDATA[",
    ] {
        assert_eq!(frames(text), Err(FrameError::Doctype), "{text}");
    }
}

#[test]
fn what_is_no_envelope_is_refused() {
    for (text, error) in [
        ("<html><body>Service unavailable</body></html>", FrameError::NotAnEnvelope),
        ("<Envelopes>", FrameError::NotAnEnvelope),
        ("<envelope>", FrameError::NotAnEnvelope),
        ("<a:b:c>", FrameError::NotAnEnvelope),
        ("Service unavailable", FrameError::TextOutside),
        ("<Envelope></Envelope>x", FrameError::TextOutside),
        ("\u{feff}x", FrameError::TextOutside),
        ("\0", FrameError::TextOutside),
        ("\u{2028}", FrameError::TextOutside),
        ("</Envelope>", FrameError::Malformed),
        ("< Envelope>", FrameError::Malformed),
        ("<>", FrameError::Malformed),
        ("<Envelope><1/></Envelope>", FrameError::Malformed),
    ] {
        assert_eq!(frames(text), Err(error), "{text}");
    }
    assert_eq!(frames_of([b"\xef\xbbx"]), Err(FrameError::TextOutside));
}

#[test]
fn depth_has_its_bound() {
    let nest = |depth: usize| format!("<Envelope>{}{}</Envelope>", "<a>".repeat(depth), "</a>".repeat(depth));
    assert_eq!(frames(&nest(XML_DEPTH_MAX - 1)).unwrap().len(), 1);
    assert_eq!(frames(&nest(XML_DEPTH_MAX)), Err(FrameError::TooDeep));
    assert_eq!(frames_of([b"<Envelope>".repeat(1_000_000)]), Err(FrameError::TooDeep));
}

#[test]
fn size_has_its_bound_wherever_the_bytes_are() {
    let filler = "x".repeat(ENVELOPE_BYTES_MAX - "<Envelope></Envelope>".len());
    let largest = format!("<Envelope>{filler}</Envelope>");
    assert_eq!(frames_of([&largest, &largest]).unwrap().len(), 2);
    for endless in [
        format!("<Envelope>x{filler}</Envelope>"),
        format!("<Envelope {filler}{filler}"),
        format!("<Envelope a='{filler}{filler}"),
        format!("<!--{filler}{filler}"),
        format!("<?x{filler}{filler}"),
        format!("<Envelope><![CDATA[{filler}{filler}"),
        " ".repeat(ENVELOPE_BYTES_MAX + 1),
        "<!---->".repeat(ENVELOPE_BYTES_MAX / 7 + 1),
    ] {
        assert_eq!(frames_of([&endless]), Err(FrameError::TooLarge), "{}", &endless[..20]);
        assert_eq!(
            frames_of(endless.as_bytes().chunks(1_000)),
            Err(FrameError::TooLarge),
            "{}",
            &endless[..20]
        );
    }
}

#[test]
fn what_stands_between_envelopes_counts_for_the_next_one_only() {
    let blanks = " ".repeat(ENVELOPE_BYTES_MAX / 2);
    assert_eq!(frames_of([format!("{blanks}<Envelope/>").repeat(3)]).unwrap().len(), 3);
}

#[test]
fn an_error_stays() {
    let mut framer = Framer::new();
    framer.feed(b"<Envelope/>x");
    assert_eq!(framer.next(), Ok(Some(&b"<Envelope/>"[..])));
    assert_eq!(framer.next(), Err(FrameError::TextOutside));
    framer.feed(b"<Envelope/>");
    assert_eq!(framer.next(), Err(FrameError::TextOutside));
}

#[test]
fn it_knows_whether_the_stream_may_end_here() {
    let mut framer = Framer::new();
    for (piece, between) in
        [("", true), ("<Env", false), ("elope>", false), ("</Envelope>", true), (" ", true)]
    {
        framer.feed(piece.as_bytes());
        while framer.next().unwrap().is_some() {}
        assert_eq!(framer.is_between(), between, "{piece}");
    }
}

#[test]
fn each_error_has_a_name_of_its_own() {
    let mut names: Vec<&str> = FrameError::ALL.iter().map(|error| error.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FrameError::ALL.len());
}

/// An envelope out of parts that each could mislead the framer.
fn envelope() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "text",
        " ",
        "\n",
        "ü",
        "𝄞",
        "&lt;",
        ">",
        "]]>",
        "--",
        "/>",
        "<a/>",
        "<a b='>'/>",
        "<a b=\"'>\">x</a>",
        "<!-- </Envelope> -->",
        "<!---->",
        "<![CDATA[</Envelope>]]>",
        "<![CDATA[]]]]>",
        "<?p > ?>",
        "<x:Envelope/>",
        "<Envelope></Envelope>",
        "<b><c>d</c></b >",
    ]);
    let name = prop::sample::select(vec!["Envelope", "s:Envelope", "SOAP-ENV:Envelope"]);
    (name, prop::collection::vec(part, 0..12))
        .prop_map(|(name, parts)| format!("<{name} xmlns:s=\"u\">{}</{name}>", parts.concat()))
}

proptest! {
    #[test]
    fn any_split_of_any_envelopes_gives_the_same_envelopes(
        envelopes in prop::collection::vec(envelope(), 0..6),
        between in prop::sample::select(vec!["", " \r\n", "\u{feff}", "<?xml version='1.0'?>", "<!-- x -->"]),
        cuts in prop::collection::vec(0usize..30, 0..80),
    ) {
        let wire = envelopes.iter().map(|envelope| format!("{between}{envelope}")).collect::<String>();
        let (mut pieces, mut rest) = (Vec::new(), wire.as_bytes());
        for cut in cuts {
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        pieces.push(rest);
        prop_assert_eq!(frames_of(pieces).unwrap(), envelopes);
    }

    #[test]
    fn no_bytes_make_it_panic_and_no_split_changes_what_comes_out(
        soup in prop::collection::vec(prop::sample::select(vec![
            "<", ">", "/", "!", "-", "--", "[CDATA[", "]]>", "?", "\"", "'", "Envelope", " ", "a", ":", "\u{feff}", "<Envelope>",
            "</Envelope>", "<!--", "-->",
        ]), 0..40),
        cut in 1usize..9,
    ) {
        let wire = soup.concat();
        prop_assert_eq!(frames_of([&wire]), frames_of(wire.as_bytes().chunks(cut)));
    }
}

#[test]
fn a_tag_that_is_missing_inside_does_not_swallow_the_envelopes_after_it() {
    for bad in
        ["<s:Envelope><oops></s:Envelope>", "<s:Envelope></oops></s:Envelope>", "<a:Envelope></b:Envelope>"]
    {
        let mut framer = Framer::default();
        framer.feed(bad.as_bytes());
        framer.feed(b"<s:Envelope></s:Envelope>");
        assert_eq!(framer.next(), Err(FrameError::Malformed), "{bad}");
    }
}
