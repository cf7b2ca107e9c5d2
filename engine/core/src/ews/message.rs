//! What all answers have in common: the envelope, faults, and the verdict at the head of each response message.

use super::code::ResponseCode;
use super::error::EwsError;
use super::xml::{Tag, Walk, XmlError};

/// A response message: the verdict on it, and what it brought.
pub(super) type Message<T> = (Result<(), EwsError>, T);

/// Reads an answer: for each response message the verdict on it, and what `payload` put together from the children that
/// are not part of the verdict. `payload` goes through each child that it is given to its end ([`Walk`]).
///
/// # Errors
/// The answer as a whole is a SOAP fault, or cannot be read.
pub(super) fn read<'a, T: Default>(
    bytes: &'a [u8],
    mut payload: impl FnMut(&mut Walk<'a>, &Tag<'a>, &mut T) -> Result<(), XmlError>,
) -> Result<Vec<Message<T>>, EwsError> {
    let mut walk = Walk::new(bytes);
    enter_body(&mut walk)?;
    let Some(root) = walk.child()? else { return Err(XmlError::Unexpected("body").into()) };
    if root.name() == "Fault" {
        return Err(fault(&mut walk)?);
    }
    walk.child_named("ResponseMessages")?.ok_or(XmlError::Unexpected("response"))?;
    let mut messages = Vec::new();
    while let Some(message) = walk.child()? {
        let mut verdict = Verdict::new(&message)?;
        let mut value = T::default();
        while let Some(tag) = walk.child()? {
            if !verdict.take(&mut walk, &tag)? {
                payload(&mut walk, &tag, &mut value)?;
            }
        }
        messages.push((verdict.finish(), value));
    }
    // The rest must be well-formed, too: half an answer is none.
    walk.finish()?;
    Ok(messages)
}

/// As [`read`], for operations that answer with one message.
pub(super) fn read_one<'a, T: Default>(
    bytes: &'a [u8],
    payload: impl FnMut(&mut Walk<'a>, &Tag<'a>, &mut T) -> Result<(), XmlError>,
) -> Result<T, EwsError> {
    match read(bytes, payload)?.into_iter().next() {
        Some((verdict, value)) => verdict.map(|()| value),
        None => Err(XmlError::Unexpected("response message").into()),
    }
}

/// The SOAP fault in these bytes, if they hold one.
pub(super) fn find_fault(bytes: &[u8]) -> Option<EwsError> {
    let mut walk = Walk::new(bytes);
    enter_body(&mut walk).ok()?;
    let root = walk.child().ok()??;
    if root.name() == "Fault" { fault(&mut walk).ok() } else { None }
}

fn enter_body(walk: &mut Walk<'_>) -> Result<(), XmlError> {
    let root = walk.child()?.ok_or(XmlError::Truncated)?;
    if root.name() != "Envelope" {
        return Err(XmlError::Unexpected("SOAP envelope"));
    }
    walk.child_named("Body")?.ok_or(XmlError::Unexpected("body"))?;
    Ok(())
}

/// What a response message, or a fault, says about success.
#[derive(Default)]
struct Verdict {
    failed: bool,
    code: Option<ResponseCode>,
    text: String,
    back_off_ms: Option<u64>,
    /// A code inside of `MessageXml`: the reason behind the reason.
    inner: Option<ResponseCode>,
}

impl Verdict {
    fn new(message: &Tag<'_>) -> Result<Verdict, XmlError> {
        let failed = message.attribute("ResponseClass")?.is_some_and(|class| class == "Error");
        Ok(Verdict { failed, ..Verdict::default() })
    }

    /// Reads a child of the message if it belongs to the verdict.
    fn take(&mut self, walk: &mut Walk<'_>, tag: &Tag<'_>) -> Result<bool, XmlError> {
        match tag.name() {
            "MessageText" => self.text = walk.text()?.into_owned(),
            "ResponseCode" => self.code = ResponseCode::parse(&walk.text()?),
            "MessageXml" => self.message_xml(walk)?,
            "DescriptiveLinkKey" => walk.skip()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `MessageXml` holds named values, and sometimes a whole error of another server.
    fn message_xml(&mut self, walk: &mut Walk<'_>) -> Result<(), XmlError> {
        let mut depth = 0;
        loop {
            match walk.child()? {
                Some(tag) if tag.name() == "Value" => self.value(walk, &tag)?,
                Some(tag) if tag.name() == "ResponseCode" => self.inner = ResponseCode::parse(&walk.text()?),
                Some(_) => depth += 1,
                None if depth == 0 => return Ok(()),
                None => depth -= 1,
            }
        }
    }

    fn value(&mut self, walk: &mut Walk<'_>, tag: &Tag<'_>) -> Result<(), XmlError> {
        let name = tag.attribute("Name")?.unwrap_or_default();
        let text = walk.text()?;
        match &*name {
            "BackOffMilliseconds" => self.back_off_ms = number(&text),
            "InnerErrorResponseCode" => self.inner = ResponseCode::parse(&text),
            "InnerErrorMessageText" | "ErrorMessage" if self.text.is_empty() => self.text = text.into_owned(),
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<(), EwsError> {
        let code = match (self.code, self.inner) {
            // The documented form of throttling: a server behind the server is busy.
            (Some(ResponseCode::ErrorInternalServerError), Some(ResponseCode::ErrorServerBusy)) => {
                ResponseCode::ErrorServerBusy
            }
            (Some(code), _) => code,
            (None, _) if self.failed => ResponseCode::Malformed,
            (None, _) => return Ok(()),
        };
        Err(EwsError::new(code, &self.text, self.back_off_ms))
    }
}

/// Reads the `Fault` that the walk is in, of SOAP 1.1 or 1.2. The code in `detail` is trusted more than the fault's own.
fn fault(walk: &mut Walk<'_>) -> Result<EwsError, XmlError> {
    let mut verdict = Verdict { failed: true, ..Verdict::default() };
    let (mut own_code, mut own_text) = (String::new(), String::new());
    let mut depth = 0;
    loop {
        let Some(tag) = walk.child()? else {
            if depth == 0 {
                break;
            }
            depth -= 1;
            continue;
        };
        match tag.name() {
            "ResponseCode" if verdict.code.is_none() => verdict.code = ResponseCode::parse(&walk.text()?),
            "Message" => verdict.text = walk.text()?.into_owned(),
            "MessageXml" => verdict.message_xml(walk)?,
            // SOAP 1.1.
            "faultcode" => own_code = walk.text()?.into_owned(),
            "faultstring" => own_text = walk.text()?.into_owned(),
            // SOAP 1.2: `Code/Value`, then the more exact `Code/Subcode/Value`.
            "Value" if tag.attribute("Name")?.is_none() => own_code = walk.text()?.into_owned(),
            "Value" => verdict.value(walk, &tag)?,
            "Text" => own_text = walk.text()?.into_owned(),
            _ => depth += 1,
        }
    }
    if verdict.text.is_empty() {
        verdict.text = own_text;
    }
    if verdict.code.is_none() {
        let local = own_code.rsplit(':').next().unwrap_or_default();
        verdict.code = Some(match local.trim() {
            // SOAP itself (1.1 §4.4.1, 1.2 §5.4.6) says only whose fault it is.
            "" | "Server" | "Receiver" => ResponseCode::Http(500),
            "Client" | "Sender" | "MustUnderstand" | "VersionMismatch" => ResponseCode::Http(400),
            name => ResponseCode::parse(name).unwrap_or(ResponseCode::Http(500)),
        });
    }
    match verdict.finish() {
        Err(error) => Ok(error),
        Ok(()) => Err(XmlError::Unexpected("fault code")),
    }
}

/// Digits as a number; too many count as the largest.
pub(super) fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| text.parse().unwrap_or(u64::MAX))
}
