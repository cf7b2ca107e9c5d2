//! A walk down an XML document, by local names.

use std::borrow::Cow;
use std::fmt;

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

use crate::limits::XML_DEPTH_MAX;

/// Why an answer could not be read. The fault is the server's, or of something between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XmlError {
    /// Not well-formed XML, or not UTF-8.
    Malformed,
    /// It ends in the middle.
    Truncated,
    /// A document type.
    Doctype,
    /// More than [`XML_DEPTH_MAX`] elements inside one another.
    TooDeep,
    /// Well-formed, but this part is missing or makes no sense.
    Unexpected(&'static str),
}

/// Walks a document in its order. Whoever is given an element by [`Walk::child`] goes through it to its end: by
/// [`Walk::text`], [`Walk::skip`], or [`Walk::child`] until it says that there are no more.
///
/// Elements go by local name: real servers mix prefixes and even namespaces (`m:Notification`, whose type lives in
/// `t:`; `MessageXml` in `t:` or `e:`; children of `ErrorSubscriptionIds` in any or none).
pub(super) struct Walk<'a> {
    reader: Reader<&'a [u8]>,
    depth: usize,
}

/// An element's start tag.
pub(super) struct Tag<'a>(BytesStart<'a>);

impl<'a> Walk<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Walk<'a> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = Reader::from_reader(bytes);
        reader.config_mut().expand_empty_elements = true;
        Walk { reader, depth: 0 }
    }

    /// The next child of the element that the walk is in, or nothing at that element's end (at the document's end, for
    /// the root). Text between children is passed over.
    pub(super) fn child(&mut self) -> Result<Option<Tag<'a>>, XmlError> {
        loop {
            match self.event()? {
                Event::Start(tag) => return Ok(Some(Tag(tag))),
                Event::End(_) | Event::Eof => return Ok(None),
                _ => {}
            }
        }
    }

    /// The next child with this local name; others are skipped.
    pub(super) fn child_named(&mut self, name: &str) -> Result<Option<Tag<'a>>, XmlError> {
        while let Some(tag) = self.child()? {
            if tag.name() == name {
                return Ok(Some(tag));
            }
            self.skip()?;
        }
        Ok(None)
    }

    /// Goes to the end of the element that the walk is in.
    pub(super) fn skip(&mut self) -> Result<(), XmlError> {
        let outside = self.depth.saturating_sub(1);
        while self.depth > outside {
            self.event()?;
        }
        Ok(())
    }

    /// Goes to the end of the document.
    pub(super) fn finish(&mut self) -> Result<(), XmlError> {
        while !matches!(self.event()?, Event::Eof) {}
        Ok(())
    }

    /// The text of the element that the walk is in, without that of its children, with its entities resolved.
    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, XmlError> {
        let mut text = Cow::Borrowed("");
        // The first half of a character that is written as two references, as UTF-16 has it.
        let mut half = None;
        loop {
            let event = self.event()?;
            let before = half.take();
            match event {
                Event::Start(_) => self.skip()?,
                Event::End(_) | Event::Eof => return Ok(text),
                Event::Text(more) => append(&mut text, more.xml10_content()),
                Event::CData(more) => append(&mut text, more.xml10_content()),
                Event::GeneralRef(entity) => match char_number(&entity) {
                    Some(number) => half = push_char(text.to_mut(), before, number),
                    // One that only a document type could define, such as `&nbsp;`, stays as it is written: it comes with
                    // a text that somebody has put in without looking, and nothing is looked up for it.
                    None => match quick_xml::escape::resolve_xml_entity(&entity) {
                        Some(known) => text.to_mut().push_str(known),
                        None if &*entity == "nbsp" => text.to_mut().push('\u{a0}'),
                        None => text.to_mut().extend(["&", &*entity, ";"]),
                    },
                },
                _ => {}
            }
        }
    }

    fn event(&mut self) -> Result<Event<'a>, XmlError> {
        let event = self.reader.read_event().map_err(|_| XmlError::Malformed)?;
        match &event {
            Event::Start(_) => {
                self.depth += 1;
                if self.depth > XML_DEPTH_MAX {
                    return Err(XmlError::TooDeep);
                }
            }
            Event::End(_) => self.depth = self.depth.saturating_sub(1),
            Event::Eof if self.depth > 0 => return Err(XmlError::Truncated),
            Event::DocType(_) => return Err(XmlError::Doctype),
            _ => {}
        }
        Ok(event)
    }
}

/// The number of a character reference; `None` for any other entity. One without a sensible number is of no character.
fn char_number(entity: &str) -> Option<u32> {
    let number = entity.strip_prefix('#')?;
    let parsed = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    Some(parsed.unwrap_or(u32::MAX))
}

/// Appends a character that was given by its number; `half`: what [`push_char`] returned for the reference right before it.
/// Exchange writes `&#x0;` and other characters that XML does not have, and one beyond U+FFFF as the two halves that UTF-16
/// makes of it: one bad character in a subject is no reason to lose the mail.
fn push_char(text: &mut String, half: Option<u32>, number: u32) -> Option<u32> {
    if let (Some(high), 0xdc00..0xe000) = (half, number) {
        // It stands there as a character that is none.
        text.pop();
        let whole = 0x1_0000 + ((high - 0xd800) << 10) + (number - 0xdc00);
        text.push(char::from_u32(whole).unwrap_or(char::REPLACEMENT_CHARACTER));
        return None;
    }
    let char = char::from_u32(number).filter(|char| *char != '\0');
    text.push(char.unwrap_or(char::REPLACEMENT_CHARACTER));
    (0xd800..0xdc00).contains(&number).then_some(number)
}

fn append<'a>(text: &mut Cow<'a, str>, more: Cow<'a, str>) {
    if text.is_empty() { *text = more } else { text.to_mut().push_str(&more) }
}

impl Tag<'_> {
    /// The local name.
    pub(super) fn name(&self) -> &str {
        let name = self.0.name().into_inner();
        name.rsplit_once(':').map_or(name, |(_, local)| local)
    }

    /// An attribute's value by its local name.
    pub(super) fn attribute(&self, name: &str) -> Result<Option<Cow<'_, str>>, XmlError> {
        for attribute in self.0.attributes().with_checks(false) {
            let attribute = attribute.map_err(|_| XmlError::Malformed)?;
            if attribute.key.local_name().into_inner() == name {
                let value =
                    attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| XmlError::Malformed)?;
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            XmlError::Malformed => f.write_str("the mail server's answer is no well-formed XML"),
            XmlError::Truncated => f.write_str("the mail server's answer ends in the middle"),
            XmlError::Doctype => {
                f.write_str("the mail server's answer has a document type, which SOAP forbids")
            }
            XmlError::TooDeep => f.write_str("the mail server's answer is nested beyond every bound"),
            XmlError::Unexpected(part) => write!(f, "the mail server's answer has no usable {part}"),
        }
    }
}

impl std::error::Error for XmlError {}
