//! The HTTP around an answer: whether there is SOAP in it, and what is said instead.

use crate::ews::code::ResponseCode;
use crate::ews::error::EwsError;
use crate::ews::message::find_fault;
use crate::http1::{Head, Response};

/// The SOAP in an HTTP answer, or what the answer says instead. To be asked before the functions that read an answer
/// by its operation. A fault with status 200 (Gromox sends such) passes and is found by them.
///
/// # Errors
/// Any other status (a fault in its body is read whatever the status), or a page in HTML. `Retry-After` is taken for
/// the pause where the fault asks for none.
pub fn http(response: &Response) -> Result<&[u8], EwsError> {
    let (head, body) = (&response.head, &response.body);
    let is_page = head.content_type.contains("html") || begins_html(body);
    let code = match head.status {
        200 if is_page => ResponseCode::NotSoap,
        200 => return Ok(body),
        201..=299 => ResponseCode::NotSoap,
        300..=399 => ResponseCode::Redirect,
        401 if !offers_what_we_have(head) => ResponseCode::AuthOffer,
        401 | 440 | 456 => ResponseCode::Auth,
        403 => ResponseCode::Forbidden,
        status => ResponseCode::Http(status),
    };
    let pause_ms = head.retry_after_s.map(|s| u64::from(s) * 1_000);
    let tells_by_status = matches!(
        code,
        ResponseCode::Auth | ResponseCode::AuthOffer | ResponseCode::Forbidden | ResponseCode::Redirect
    );
    if let Some(mut fault) = find_fault(body).filter(|_| !is_page && !tells_by_status) {
        fault.back_off_ms = fault.back_off_ms.or(pause_ms);
        return Err(EwsError::new(fault.code, &fault.message, fault.back_off_ms));
    }
    Err(EwsError::new(code, &words(response), pause_ms))
}

/// Whether a 401 offers Basic or Bearer. One that offers nothing at all leaves that open.
fn offers_what_we_have(head: &Head) -> bool {
    let ours = |offer: &str| {
        // Several offers may share a line; parameters have a `=` and never these names.
        let mut words = offer.split([' ', ',']);
        words.any(|word| word.eq_ignore_ascii_case("basic") || word.eq_ignore_ascii_case("bearer"))
    };
    head.www_authenticate.is_empty() || head.www_authenticate.iter().any(|offer| ours(offer))
}

/// The ways of logging on that a 401 offers, each once. Several may share a line, with parameters in between
/// (RFC 9110 §11.6.1).
fn schemes(head: &Head) -> Vec<&str> {
    const SCHEMES_MAX: usize = 8;
    let plain =
        |word: &&str| word.len() <= 24 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let mut schemes: Vec<&str> = Vec::new();
    for offer in head.www_authenticate.iter().flat_map(|line| line.split(',')) {
        // A parameter has a `=` in its first word, and the rest of a quoted text a quote.
        if let Some(scheme) = offer.split_whitespace().next().filter(plain)
            && schemes.len() < SCHEMES_MAX
            && !schemes.contains(&scheme)
        {
            schemes.push(scheme);
        }
    }
    schemes
}

/// What the head says for a person.
fn words(response: &Response) -> String {
    let head = &response.head;
    let mut words = format!("HTTP {}", head.status);
    if let Some(request) = &head.request_id {
        words.push_str(&format!(" request-id {request}"));
    }
    let schemes = schemes(head);
    if !schemes.is_empty() {
        words.push_str(&format!(" offers {}", schemes.join(", ")));
    }
    for (name, value) in &head.diagnostics {
        words.push_str(&format!(" {name} {value}"));
    }
    words
}

fn begins_html(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    [&b"<!doctype html"[..], b"<html"]
        .iter()
        .any(|mark| body.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark)))
}
