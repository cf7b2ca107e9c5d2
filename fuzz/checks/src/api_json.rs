//! The JSON of the API, and lines of an import. Input: which type and how to cut (2 bytes), then the text.

use carillon::api::error::Complaint;
use carillon::api::lines::{Line, Lines};
use carillon::api::types::{ActiveRequest, RegisterRequest, SettingsRequest, VipRequest};
use carillon::api::{registration, strict};
use carillon_core::names::{DeviceToken, SmtpAddress, Topic};
use carillon_core::time::UnixMillis;

use crate::input::{Input, cut};

/// Complaints are short, and what was understood means the same when it is written again.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let (kind, how) = (input.u8(), input.u8());
    let text = input.rest();
    match kind % 5 {
        0 => {
            if let Some(request) = parsed::<RegisterRequest>(text) {
                names(&request);
            }
        }
        1 => drop(parsed::<SettingsRequest>(text)),
        2 => drop(parsed::<VipRequest>(text)),
        3 => {
            if let Some(request) = parsed::<ActiveRequest>(text) {
                let now = UnixMillis(1_767_600_000_000);
                let at = registration::time("at_ms", now, request.at_ms);
                assert!(at.is_ok_and(|at| at <= now) || request.at_ms.is_some());
            }
        }
        _ => assert_eq!(lines(&[text]), lines(&cut(how, text))),
    }
}

fn parsed<T: serde::de::DeserializeOwned + serde::Serialize>(json: &[u8]) -> Option<T> {
    let written = |value: &T| serde_json::to_string(value).expect("a request is plain data");
    match strict::parse::<T>(json) {
        Ok(one) => {
            let text = written(&one);
            let again = strict::parse::<T>(text.as_bytes()).expect("what was written can be read");
            assert_eq!(text, written(&again));
            Some(one)
        }
        Err(complaint) => {
            look_at(&complaint);
            None
        }
    }
}

/// A complaint repeats at most the beginning of a member's name.
fn look_at(complaint: &Complaint) {
    assert!(complaint.field.as_ref().is_none_or(|field| field.len() <= 64), "{complaint:?}");
    assert!(!complaint.message.is_empty() && complaint.message.len() <= 400, "{complaint:?}");
}

/// A name that was parsed parses to itself.
fn names(request: &RegisterRequest) {
    if let Ok(address) = SmtpAddress::parse(&request.address) {
        assert_eq!(SmtpAddress::parse(address.as_str()), Ok(address));
    }
    if let Ok(token) = DeviceToken::parse(&request.token) {
        assert_eq!(DeviceToken::parse(token.as_str()), Ok(token));
    }
    if let Some(Ok(topic)) = request.topic.as_deref().map(Topic::parse) {
        assert_eq!(Topic::parse(topic.as_str()), Ok(topic));
    }
}

/// Numbers and texts of lines; no text for one that is too long.
fn lines(pieces: &[&[u8]]) -> Vec<(u64, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut each = |number, line: Line<'_>| match line {
        Line::Whole(text) => found.push((number, Some(text.to_vec()))),
        Line::TooLong => found.push((number, None)),
    };
    let mut lines = Lines::new(LINE_BYTES_MAX);
    pieces.iter().for_each(|piece| lines.feed(piece, &mut each));
    lines.finish(&mut each);
    found
}

/// Short, so that the fuzzer meets the bound.
const LINE_BYTES_MAX: usize = 24;
