//! What APNs answers. Input: status, whether the body came whole, `retry-after`, then the body: as it is, or as reason and
//! time stamp from which JSON is made.

use carillon_core::push::{Certainty, ConnectionFate, Outcome, Reason, RetryScope, classify};
use serde_json::{Map, Value};

use crate::input::Input;

/// Every answer goes by its status; reason, time stamp and `retry-after` are what was said, within their bounds.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let status = STATUSES.get(usize::from(input.u8())).copied().unwrap_or(100 + input.u16() % 900);
    let (whole, made) = (!input.u8().is_multiple_of(8), input.flag());
    let retry_after = input.flag().then(|| input.text());
    let mut said = None;
    let body = if made {
        let (timestamp, behind) = (input.u64(), input.below(4));
        let reason = input.text();
        let mut object = Map::new();
        for (at, name) in ["a", "Reason", "z"][..behind.min(3)].iter().enumerate() {
            object.insert(
                (*name).to_owned(),
                [Value::Null, Value::from(-1), Value::from(vec!["x"])][at].clone(),
            );
        }
        object.insert("reason".to_owned(), reason.as_str().into());
        object.insert("timestamp".to_owned(), timestamp.into());
        said = Some((reason, timestamp));
        Value::Object(object).to_string().into_bytes()
    } else {
        input.rest().to_vec()
    };

    let classified = classify(status, whole.then_some(&body), retry_after.as_deref());
    goes_by_its_status(status, whole, &classified.outcome, classified.connection);
    if let Some(reason) = reason_of(&classified.outcome) {
        let reason = reason.as_str();
        assert!(!reason.is_empty() && reason.len() <= 64, "{reason}");
        assert!(reason.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{reason}");
        let kept =
            |(text, _): &(String, u64)| text.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
        let kept: String = said.as_ref().filter(|_| whole).map(kept).unwrap_or_default();
        if said.is_some() || !whole {
            assert_eq!(reason, if kept.is_empty() { format!("Http{status}") } else { kept });
        }
    }
    if let (Outcome::TokenGone { since }, Some((_, timestamp))) = (&classified.outcome, &said) {
        assert_eq!(since.map(|since| since.0), Some(*timestamp));
    }
    if let Outcome::Throttled { retry_ms } = classified.outcome {
        assert_eq!(retry_ms, retry_after.as_deref().and_then(seconds).map(|seconds| seconds * 1_000));
    }
    // Whoever sends the same again is told the same.
    assert_eq!(classify(status, whole.then_some(&body), retry_after.as_deref()), classified);
}

/// What the first byte chooses from; with any other, two more are the status.
const STATUSES: [u16; 12] = [200, 400, 403, 404, 405, 410, 413, 421, 429, 500, 503, 599];

/// What each status may mean, whatever else was said.
fn goes_by_its_status(status: u16, whole: bool, outcome: &Outcome, connection: ConnectionFate) {
    let fits = match outcome {
        Outcome::Accepted => status == 200,
        Outcome::TokenGone { .. } => status == 410 && whole,
        Outcome::TokenSuspect(_) => status == 400,
        Outcome::AuthStale(_) => status == 403 && connection == ConnectionFate::Replace,
        Outcome::TooManyTokens(_) | Outcome::Throttled { .. } => status == 429,
        Outcome::ServiceRefused(_) => matches!(status, 400 | 403),
        Outcome::TooLarge => status == 413,
        Outcome::Retry { certainty: Certainty::Safe, scope: RetryScope::Lane } => {
            status == 410 && !whole || matches!(status, 400 | 503) && connection == ConnectionFate::Replace
        }
        Outcome::Retry { certainty: Certainty::Safe, scope: RetryScope::Service } => status == 503,
        Outcome::Retry { certainty: Certainty::Ambiguous, .. } => {
            (500..600).contains(&status) && status != 503 && connection == ConnectionFate::Doubt
        }
        Outcome::Rejected(_) => !matches!(status, 200 | 403 | 410 | 413 | 429 | 500..600),
    };
    assert!(fits, "{status}: {outcome:?}, {connection:?}");
}

fn reason_of(outcome: &Outcome) -> Option<&Reason> {
    match outcome {
        Outcome::TokenSuspect(reason)
        | Outcome::AuthStale(reason)
        | Outcome::TooManyTokens(reason)
        | Outcome::ServiceRefused(reason)
        | Outcome::Rejected(reason) => Some(reason),
        Outcome::Accepted
        | Outcome::TokenGone { .. }
        | Outcome::Throttled { .. }
        | Outcome::TooLarge
        | Outcome::Retry { .. } => None,
    }
}

/// RFC 9110 §10.2.3: nothing but digits. What is more than a century is no answer.
fn seconds(text: &str) -> Option<u64> {
    let digits = text.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = digits
        .bytes()
        .fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    (seconds <= u64::from(u32::MAX)).then_some(seconds)
}
