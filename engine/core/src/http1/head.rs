//! The head of an answer: what the protocol needs of it, and what a person may need.

use std::fmt;

use crate::http1::HttpError;
use crate::http1::chunked::ChunkedDecoder;
use crate::http1::cookies::can_be_sent;
use crate::http1::date::imf_fixdate;
use crate::limits::{HEADER_LINES_MAX, HEADER_VALUE_BYTES_MAX};

/// The head of an answer, as far as EWS uses it. Texts are cut at [`HEADER_VALUE_BYTES_MAX`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Status code, 200 to 999.
    pub status: u16,
    /// `Set-Cookie`s, only `name=value` of each. A value that is empty takes the cookie back (Exchange does so with a
    /// date in the past).
    pub set_cookies: Vec<Box<str>>,
    /// `Date`: the server's clock, in seconds since 1970.
    pub date_s: Option<u64>,
    /// `Retry-After` in seconds; a date is counted from the answer's own `Date`.
    pub retry_after_s: Option<u32>,
    /// `Content-Type`, in lower case, without parameters.
    pub content_type: Box<str>,
    /// The body is said to be in Latin-1 (`charset` of the `Content-Type`).
    pub latin1: bool,
    /// `Location`. Shown to people, never followed.
    pub location: Option<Box<str>>,
    /// `WWW-Authenticate`s: the schemes that a 401 offers.
    pub www_authenticate: Vec<Box<str>>,
    /// `request-id`: what Exchange's own logs call this request.
    pub request_id: Option<Box<str>>,
    /// Further headers that Microsoft's support asks for, by name: which servers the request passed, and why it failed.
    pub diagnostics: Vec<(&'static str, Box<str>)>,
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Cookies are sessions, and a location may carry a token.
        f.debug_struct("Head")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// Where the body ends (RFC 9112 §6.3).
#[derive(Debug)]
pub(super) enum Framing {
    /// After so many further bytes.
    Length(u64),
    /// Where the chunks say.
    Chunked(ChunkedDecoder),
    /// With the connection.
    Close,
}

/// A head with what only its reader needs.
pub(super) struct ParsedHead {
    pub(super) head: Head,
    pub(super) framing: Framing,
    /// Whether the server keeps the connection for another request.
    pub(super) keep_alive: bool,
}

const DIAGNOSTICS: [&str; 9] = [
    "X-FEServer",
    "X-BEServer",
    "X-TargetBEServer",
    "X-CalculatedBETarget",
    "X-DiagInfo",
    "X-BackEndHttpStatus",
    "x-EwsHandler",
    "X-CasErrorCode",
    "x-ms-diagnostics",
];

/// Reads one head that ends with an empty line. Nothing for an interim answer (1xx), which is read over.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<ParsedHead>, HttpError> {
    let mut lines = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
    let mut parsed = httparse::Response::new(&mut lines);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HttpError::HeadTooLarge),
        Ok(_) | Err(_) => return Err(HttpError::HeadMalformed),
    }
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
        return Err(HttpError::HeadMalformed);
    };
    match status {
        0..100 => return Err(HttpError::HeadMalformed),
        101 => return Err(HttpError::Upgrade),
        100..200 => return Ok(None),
        _ => {}
    }

    let mut head = Head { status, ..Head::default() };
    let (mut length, mut chunked, mut close) = (None, false, version == 0);
    let mut retry_after = None;
    for line in parsed.headers.iter() {
        let value = line.value.trim_ascii();
        let is = |name: &str| line.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            length = Some(content_length(length, value)?);
        } else if is("transfer-encoding") {
            // Also `chunked, chunked` and `gzip, chunked` end here: nobody asked for either.
            if chunked || version == 0 || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HttpError::TransferCoding);
            }
            chunked = true;
        } else if is("content-encoding") {
            if !value.is_empty() && !value.eq_ignore_ascii_case(b"identity") {
                return Err(HttpError::ContentCoding);
            }
        } else if is("connection") {
            close |= value
                .split(|byte| *byte == b',')
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"));
        } else if is("set-cookie") {
            head.set_cookies.extend(set_cookie(value));
        } else if is("retry-after") {
            retry_after = Some(text(value));
        } else if is("date") {
            head.date_s = imf_fixdate(&text(value));
        } else if is("content-type") {
            let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
            head.content_type = text(kind.trim_ascii()).to_ascii_lowercase().into();
            let parameters = text(&value[kind.len()..]).to_ascii_lowercase();
            let charset = parameters.split_once("charset=").map(|(_, name)| name.trim_start_matches('"'));
            head.latin1 = charset.is_some_and(is_latin1);
        } else if is("location") {
            head.location = Some(text(value));
        } else if is("www-authenticate") {
            head.www_authenticate.push(text(value));
        } else if is("request-id") {
            head.request_id = Some(text(value));
        } else if let Some(name) = DIAGNOSTICS.iter().find(|name| is(name)) {
            head.diagnostics.push((name, text(value)));
        }
    }
    head.retry_after_s = retry_after.and_then(|value| retry_after_s(&value, head.date_s));

    if chunked && length.is_some() {
        return Err(HttpError::LengthAndCoding);
    }
    let framing = match length {
        _ if matches!(status, 204 | 304) => Framing::Length(0),
        _ if chunked => Framing::Chunked(ChunkedDecoder::new()),
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    };
    let keep_alive = !close && !matches!(framing, Framing::Close);
    Ok(Some(ParsedHead { head, framing, keep_alive }))
}

/// RFC 9110 §8.6: digits only; the same number twice, also in one line with a comma, is that number.
fn content_length(before: Option<u64>, value: &[u8]) -> Result<u64, HttpError> {
    let mut length = before;
    for number in value.split(|byte| *byte == b',') {
        let number = number.trim_ascii();
        if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
            return Err(HttpError::LengthMalformed);
        }
        let number: u64 = text(number).parse().map_err(|_| HttpError::LengthMalformed)?;
        if length.is_some_and(|length| length != number) {
            return Err(HttpError::LengthMalformed);
        }
        length = Some(number);
    }
    length.ok_or(HttpError::LengthMalformed)
}

/// `name=value` of a cookie (RFC 6265 §5.2), or nothing where there is none. What cannot stand in a `Cookie` header is
/// left out whole: half a cookie leads nowhere.
fn set_cookie(value: &[u8]) -> Option<Box<str>> {
    let mut parts = value.split(|byte| *byte == b';');
    let pair = std::str::from_utf8(parts.next()?).ok()?;
    let (name, value) = pair.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    if !can_be_sent(name, value) || pair.len() > HEADER_VALUE_BYTES_MAX {
        return None;
    }
    let expired = parts.any(|part| {
        let part = part.trim_ascii();
        part.len() > 8
            && part[..8].eq_ignore_ascii_case(b"max-age=")
            && (part[8] == b'-' || part[8..].iter().all(|byte| *byte == b'0'))
    });
    Some(format!("{name}={}", if expired { "" } else { value }).into())
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after_s(value: &str, date: Option<u64>) -> Option<u32> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().unwrap_or(u32::MAX));
    }
    let wait_s = imf_fixdate(value)?.saturating_sub(date?);
    Some(u32::try_from(wait_s).unwrap_or(u32::MAX))
}

fn text(value: &[u8]) -> Box<str> {
    let cut = &value[..value.len().min(HEADER_VALUE_BYTES_MAX)];
    String::from_utf8_lossy(cut).into()
}

/// Whether the name of an encoding that begins here, in lower case, is of Latin-1 or of what Windows calls so.
pub(crate) fn is_latin1(name: &str) -> bool {
    ["iso-8859-1", "iso_8859-1", "latin1", "windows-1252", "us-ascii"].iter().any(|latin1| {
        name.strip_prefix(latin1).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    })
}
