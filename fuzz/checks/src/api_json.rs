//! The JSON of the API, lines of an import, and a file of them. Input: which type and how to cut (2 bytes), then the text.

use carillon::api::error::Complaint;
use carillon::api::lines::{Line, Lines};
use carillon::api::types::{ActiveRequest, RegisterRequest, SettingsRequest, VipRequest};
use carillon::api::{registration, strict};
use carillon::import::{PartBounds, Parts};
use carillon_core::names::{DeviceToken, SmtpAddress, Topic};
use carillon_core::time::UnixMillis;

use crate::input::{Input, cut};

/// Complaints are short, and what was understood means the same when it is written again.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let (kind, how) = (input.u8(), input.u8());
    let text = input.rest();
    match kind % 6 {
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
        4 => assert_eq!(lines(&[text]), lines(&cut(how, text))),
        _ => file(how, text),
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

/// A file is sent whole, in parts that begin where a line does, up to a line that is too long; the service reads the
/// same lines.
fn file(how: u8, text: &[u8]) {
    let bounds = PartBounds {
        lines_max: 1 + u64::from(how % 4),
        bytes_enough: 1 + usize::from(how),
        line_bytes_max: LINE_BYTES_MAX,
    };
    let mut parts = Parts::new(text, bounds);
    let mut sent = Vec::new();
    let refused = loop {
        match parts.next_part() {
            Ok(Some((before, part))) => {
                assert_eq!(before, sent.iter().filter(|byte| **byte == b'\n').count() as u64);
                assert!(sent.is_empty() || sent.ends_with(b"\n"), "a part begins where a line does");
                let (count, _) = lines_of(&part);
                assert!(count <= bounds.lines_max);
                assert!(part.len() <= bounds.bytes_enough + LINE_BYTES_MAX);
                sent.extend(part);
            }
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(text.starts_with(&sent));
    assert_eq!(refused, sent.len() < text.len());
    let (_, longest) = lines_of(text);
    assert_eq!(refused, longest > LINE_BYTES_MAX);
    assert!(refused || lines(&[text]).iter().all(|(_, line)| line.is_some()));
}

/// How many lines there are, and how long the longest is.
fn lines_of(text: &[u8]) -> (u64, usize) {
    let all = text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n');
    all.fold((0, 0), |(count, longest), line| (count + 1, longest.max(line.len())))
}

/// Short, so that the fuzzer meets the bound.
const LINE_BYTES_MAX: usize = 24;
