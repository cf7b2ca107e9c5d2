//! XML of requests as a small tree with resolved namespaces, and a walk over it that insists on the schema's order.

use quick_xml::NsReader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;

pub(super) const SOAP11: &str = "http://schemas.xmlsoap.org/soap/envelope/";
pub(super) const SOAP12: &str = "http://www.w3.org/2003/05/soap-envelope";
pub(super) const MESSAGES: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";
pub(super) const TYPES: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
pub(super) const ERRORS: &str = "http://schemas.microsoft.com/exchange/services/2006/errors";

/// Nothing that a client sends is deeper.
const DEPTH_MAX: usize = 32;
/// Elements in one request.
const ELEMENTS_MAX: usize = 20_000;

/// The namespaces that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ns {
    Soap11,
    Soap12,
    Messages,
    Types,
    Other,
}

/// Not well-formed, or beyond a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Well-formed, and not what the schema says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invalid(pub String);

#[derive(Clone, Debug)]
pub(super) struct Element {
    pub ns: Ns,
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    pub text: String,
    /// `mustUnderstand="1"` in the SOAP namespace.
    pub must_understand: bool,
}

/// Reads a whole document. A document type is refused: it can only be an attack.
pub(super) fn parse(text: &str) -> Result<Element, Malformed> {
    let mut reader = NsReader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    let mut count = 0;
    loop {
        let event = reader.read_event().map_err(|_| Malformed)?;
        let mut finished = None;
        match event {
            Event::Start(_) | Event::Empty(_) if root.is_some() => return Err(Malformed),
            Event::Start(start) => {
                count += 1;
                if open.len() >= DEPTH_MAX || count > ELEMENTS_MAX {
                    return Err(Malformed);
                }
                open.push(element(&reader, &start)?);
            }
            Event::Empty(start) => {
                count += 1;
                if count > ELEMENTS_MAX {
                    return Err(Malformed);
                }
                finished = Some(element(&reader, &start)?);
            }
            Event::End(_) => finished = open.pop(),
            Event::Text(text) => append(&mut open, &text.xml10_content())?,
            Event::CData(data) => append(&mut open, &data.xml10_content())?,
            Event::GeneralRef(reference) => {
                let resolved = match reference.resolve_char_ref().map_err(|_| Malformed)? {
                    Some(c) => c,
                    None => match &*reference.xml10_content() {
                        "lt" => '<',
                        "gt" => '>',
                        "amp" => '&',
                        "quot" => '"',
                        "apos" => '\'',
                        _ => return Err(Malformed),
                    },
                };
                append(&mut open, resolved.encode_utf8(&mut [0; 4]))?;
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::DocType(_) => return Err(Malformed),
            Event::Eof => return if open.is_empty() { root.ok_or(Malformed) } else { Err(Malformed) },
        }
        if let Some(done) = finished {
            match open.last_mut() {
                Some(parent) => parent.children.push(done),
                None => root = Some(done),
            }
        }
    }
}

fn append(open: &mut [Element], text: &str) -> Result<(), Malformed> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(Malformed),
    }
    Ok(())
}

fn namespace(uri: &str) -> Ns {
    match uri {
        SOAP11 => Ns::Soap11,
        SOAP12 => Ns::Soap12,
        MESSAGES => Ns::Messages,
        TYPES => Ns::Types,
        _ => Ns::Other,
    }
}

fn element(reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<Element, Malformed> {
    let (resolved, local) = reader.resolver().resolve_element(start.name());
    let ns = match resolved {
        ResolveResult::Bound(uri) => namespace(uri.as_ref()),
        ResolveResult::Unbound => Ns::Other,
        ResolveResult::Unknown(_) => return Err(Malformed),
    };
    let mut element = Element {
        ns,
        name: local.as_ref().to_owned(),
        attributes: Vec::new(),
        children: Vec::new(),
        text: String::new(),
        must_understand: false,
    };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| Malformed)?;
        if attribute.key.as_namespace_binding().is_some() {
            continue;
        }
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| Malformed)?.into_owned();
        let (resolved, local) = reader.resolver().resolve_attribute(attribute.key);
        match resolved {
            ResolveResult::Unbound => element.attributes.push((local.as_ref().to_owned(), value)),
            ResolveResult::Bound(uri) => {
                let soap = namespace(uri.as_ref()) == Ns::Soap11;
                if soap && local.as_ref() == "mustUnderstand" {
                    element.must_understand = value == "1" || value == "true";
                }
            }
            ResolveResult::Unknown(_) => return Err(Malformed),
        }
    }
    Ok(element)
}

impl Element {
    pub(super) fn is(&self, ns: Ns, name: &str) -> bool {
        self.ns == ns && self.name == name
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// An attribute that the schema demands.
    pub(super) fn need(&self, name: &str) -> Result<&str, Invalid> {
        self.attribute(name)
            .ok_or_else(|| Invalid(format!("The required attribute '{name}' of '{}' is missing.", self.name)))
    }

    /// Refuses attributes that the schema does not have.
    pub(super) fn only(&self, allowed: &[&str]) -> Result<&Element, Invalid> {
        match self.attributes.iter().find(|(key, _)| !allowed.contains(&&**key)) {
            Some((key, _)) => {
                Err(Invalid(format!("The '{key}' attribute is not declared on '{}'.", self.name)))
            }
            None => Ok(self),
        }
    }

    /// Its text; no elements within.
    pub(super) fn leaf(&self) -> Result<&str, Invalid> {
        self.children().end()?;
        Ok(self.text.trim())
    }

    /// Walks over its children in the schema's order.
    pub(super) fn children(&self) -> Children<'_> {
        Children { parent: self, rest: &self.children }
    }
}

/// The children of an element, taken in order.
#[derive(Clone)]
pub(super) struct Children<'a> {
    parent: &'a Element,
    rest: &'a [Element],
}

impl<'a> Children<'a> {
    pub(super) fn peek(&self) -> Option<&'a Element> {
        self.rest.first()
    }

    pub(super) fn any(&mut self) -> Option<&'a Element> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The next child, if it is this one.
    pub(super) fn maybe(&mut self, ns: Ns, name: &str) -> Option<&'a Element> {
        let first = self.peek()?;
        if first.is(ns, name) { self.any() } else { None }
    }

    /// The next child, which has to be this one.
    pub(super) fn need(&mut self, ns: Ns, name: &str) -> Result<&'a Element, Invalid> {
        self.maybe(ns, name).ok_or_else(|| self.unexpected(name))
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Invalid> {
        match self.peek() {
            Some(_) => Err(self.unexpected("the end")),
            None => Ok(()),
        }
    }

    /// What to say about the next child.
    pub(super) fn unexpected(&self, expected: &str) -> Invalid {
        let parent = &self.parent.name;
        Invalid(match self.peek() {
            Some(found) => format!(
                "The element '{parent}' has invalid child element '{}' ({:?}). Expected: '{expected}'.",
                found.name, found.ns
            ),
            None => format!("The element '{parent}' has incomplete content. Expected: '{expected}'."),
        })
    }
}

/// Appends `text` as character data or attribute value. Control characters become references, as Exchange writes them.
pub(super) fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(c),
            '\0' => out.push('\u{fffd}'),
            c if c < ' ' => out.push_str(&format!("&#x{:X};", u32::from(c))),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_resolved_and_order_is_insisted_on() {
        let text = format!(
            "<x:A xmlns:x='{MESSAGES}' xmlns='{TYPES}'><B C='1&amp;2'>t&#x41;&lt;</B><!-- c --><D/></x:A>"
        );
        let root = parse(&text).unwrap();
        assert!(root.is(Ns::Messages, "A"));
        let mut children = root.children();
        assert!(children.clone().need(Ns::Types, "D").is_err(), "D stands after B");
        let b = children.need(Ns::Types, "B").unwrap();
        assert_eq!((b.attribute("C"), b.text.as_str()), (Some("1&2"), "tA<"));
        assert!(children.end().is_err());
        children.need(Ns::Types, "D").unwrap();
        children.end().unwrap();
    }

    #[test]
    fn what_is_not_xml_is_refused() {
        for bad in [
            "",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>text",
            "<!DOCTYPE a><a/>",
            "<x:a/>",
            "<a>&foo;</a>",
            "<a b=1/>",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&"<a>".repeat(100)).is_err());
    }
}
