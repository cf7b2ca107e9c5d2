//! What an answer of APNs means. The one table from status and reason to [`Outcome`].

use serde_json::Value;

use super::{Certainty, Outcome, Reason, RetryScope};
use crate::time::UnixMillis;

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    /// For the push.
    pub outcome: Outcome,
    /// For the connection on which it came.
    pub connection: ConnectionFate,
}

/// What an answer means for the connection on which it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionFate {
    /// Nothing.
    Keep,
    /// It takes no more pushes: another one at once, or after the cause is mended.
    Replace,
    /// APNs answers so on connections that have gone bad, and in passing troubles: replace it when it goes on.
    Doubt,
}

/// Classifies an answer.
///
/// `body` is the whole body, or `None` when it was cut off. `retry_after` is the header's text.
///
/// Source: Apple, "Handling notification responses from APNs"; what is retried and what is not, there as well. Reasons
/// that nobody knows yet go by their status and are kept as text.
pub fn classify(status: u16, body: Option<&[u8]>, retry_after: Option<&str>) -> Classified {
    use ConnectionFate::{Doubt, Keep, Replace};
    let told = body.map(Told::parse).unwrap_or_default();
    let reason = || told.reason.clone().unwrap_or_else(|| Reason::new(&format!("Http{status}")));
    let retry = |certainty, scope| Outcome::Retry { certainty, scope };
    let name = told.reason.as_ref().map_or("", Reason::as_str);

    let (outcome, connection) = match (status, name) {
        (200, _) => (Outcome::Accepted, Keep),

        (400, "BadDeviceToken" | "DeviceTokenNotForTopic") => (Outcome::TokenSuspect(reason()), Keep),
        (400, "BadTopic" | "TopicDisallowed") => (Outcome::ServiceRefused(reason()), Keep),
        (400, "IdleTimeout") => (retry(Certainty::Safe, RetryScope::Lane), Replace),

        (403, "ExpiredProviderToken") => (Outcome::AuthStale(reason()), Replace),
        // The topic is not this key's or certificate's; the connection is sound.
        (403, "Forbidden") => (Outcome::ServiceRefused(reason()), Keep),
        // The connection is bound to the key or certificate that it began with.
        (403, _) => (Outcome::ServiceRefused(reason()), Replace),

        // Cut off before its time stamp: nothing that a registration may be deleted for.
        (410, _) if body.is_none() => (retry(Certainty::Safe, RetryScope::Lane), Keep),
        (410, _) => (Outcome::TokenGone { since: told.timestamp }, Keep),
        (413, _) => (Outcome::TooLarge, Keep),

        (429, "TooManyProviderTokenUpdates") => (Outcome::TooManyTokens(reason()), Keep),
        (429, _) => (Outcome::Throttled { retry_ms: retry_after.and_then(seconds_to_ms) }, Keep),

        (503, "Shutdown") => (retry(Certainty::Safe, RetryScope::Lane), Replace),
        (503, _) => (retry(Certainty::Safe, RetryScope::Service), Keep),
        // An internal error may have come after the push was taken on.
        (500..=599, _) => (retry(Certainty::Ambiguous, RetryScope::Service), Doubt),

        (_, _) => (Outcome::Rejected(reason()), Keep),
    };
    Classified { outcome, connection }
}

/// The reason in the debug data of a GOAWAY, and whether it says that our configuration is refused, so that connecting
/// again at once would be a storm.
pub(super) fn farewell(debug: &[u8]) -> Option<(Reason, bool)> {
    let reason = Told::parse(debug).reason?;
    let refused = matches!(
        reason.as_str(),
        "BadCertificate"
            | "BadCertificateEnvironment"
            | "BadEnvironmentKeyIdInToken"
            | "BadEnvironmentKeyInToken"
            | "Forbidden"
            | "InvalidProviderToken"
            | "MissingProviderToken"
            | "TooManyProviderTokenUpdates"
            | "UnrelatedKeyIdInToken"
    );
    Some((reason, refused))
}

/// What a body tells: `{"reason": …, "timestamp": …}`, everything else ignored.
#[derive(Debug, Default)]
struct Told {
    reason: Option<Reason>,
    timestamp: Option<UnixMillis>,
}

impl Told {
    fn parse(body: &[u8]) -> Told {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return Told::default() };
        let reason = fields.get("reason").and_then(Value::as_str).map(Reason::new);
        let timestamp = fields.get("timestamp").and_then(Value::as_u64).map(UnixMillis);
        Told { reason: reason.filter(|reason| !reason.as_str().is_empty()), timestamp }
    }
}

/// `retry-after` in its form of seconds, which is digits and nothing else (RFC 9110 §10.2.3). The form of a date is not
/// used by APNs.
fn seconds_to_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let seconds: u32 = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(u64::from(seconds) * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(status: u16, reason: &str) -> Classified {
        let body = format!(r#"{{"reason":"{reason}"}}"#);
        classify(status, Some(body.as_bytes()), None)
    }

    /// Apple's table, whole, in its order.
    #[test]
    fn every_documented_answer_has_its_outcome() {
        use Certainty::{Ambiguous, Safe};
        use ConnectionFate::{Doubt, Keep, Replace};
        use RetryScope::{Lane, Service};
        let rejected = |reason: &str| Outcome::Rejected(Reason::new(reason));
        let suspect = |reason: &str| Outcome::TokenSuspect(Reason::new(reason));
        let refused = |reason: &str| Outcome::ServiceRefused(Reason::new(reason));
        let stale = |reason: &str| Outcome::AuthStale(Reason::new(reason));
        let too_many = |reason: &str| Outcome::TooManyTokens(Reason::new(reason));
        let retry = |certainty, scope| Outcome::Retry { certainty, scope };
        let gone = Outcome::TokenGone { since: None };
        let throttled = Outcome::Throttled { retry_ms: None };
        let table: [(u16, &str, Outcome, ConnectionFate); 34] = [
            (400, "BadCollapseId", rejected("BadCollapseId"), Keep),
            (400, "BadDeviceToken", suspect("BadDeviceToken"), Keep),
            (400, "BadExpirationDate", rejected("BadExpirationDate"), Keep),
            (400, "BadMessageId", rejected("BadMessageId"), Keep),
            (400, "BadPriority", rejected("BadPriority"), Keep),
            (400, "BadTopic", refused("BadTopic"), Keep),
            (400, "DeviceTokenNotForTopic", suspect("DeviceTokenNotForTopic"), Keep),
            (400, "DuplicateHeaders", rejected("DuplicateHeaders"), Keep),
            (400, "IdleTimeout", retry(Safe, Lane), Replace),
            (400, "InvalidPushType", rejected("InvalidPushType"), Keep),
            (400, "MissingDeviceToken", rejected("MissingDeviceToken"), Keep),
            (400, "MissingTopic", rejected("MissingTopic"), Keep),
            (400, "PayloadEmpty", rejected("PayloadEmpty"), Keep),
            (400, "TopicDisallowed", refused("TopicDisallowed"), Keep),
            (403, "BadCertificate", refused("BadCertificate"), Replace),
            (403, "BadCertificateEnvironment", refused("BadCertificateEnvironment"), Replace),
            (403, "ExpiredProviderToken", stale("ExpiredProviderToken"), Replace),
            (403, "Forbidden", refused("Forbidden"), Keep),
            (403, "InvalidProviderToken", refused("InvalidProviderToken"), Replace),
            (403, "MissingProviderToken", refused("MissingProviderToken"), Replace),
            (403, "UnrelatedKeyIdInToken", refused("UnrelatedKeyIdInToken"), Replace),
            (403, "BadEnvironmentKeyIdInToken", refused("BadEnvironmentKeyIdInToken"), Replace),
            (403, "BadEnvironmentKeyInToken", refused("BadEnvironmentKeyInToken"), Replace),
            (404, "BadPath", rejected("BadPath"), Keep),
            (405, "MethodNotAllowed", rejected("MethodNotAllowed"), Keep),
            (410, "ExpiredToken", gone.clone(), Keep),
            (410, "Unregistered", gone, Keep),
            (413, "PayloadTooLarge", Outcome::TooLarge, Keep),
            (429, "TooManyProviderTokenUpdates", too_many("TooManyProviderTokenUpdates"), Keep),
            (429, "TooManyRequests", throttled, Keep),
            (500, "InternalServerError", retry(Ambiguous, Service), Doubt),
            (503, "ServiceUnavailable", retry(Safe, Service), Keep),
            (503, "Shutdown", retry(Safe, Lane), Replace),
            (200, "", Outcome::Accepted, Keep),
        ];
        for (status, reason, outcome, connection) in table {
            assert_eq!(row(status, reason), Classified { outcome, connection }, "{status} {reason}");
        }
    }

    #[test]
    fn accepted_needs_no_body_and_bears_any() {
        for body in [Some(&b""[..]), Some(b"<html>"), Some(br#"{"reason":"Unregistered"}"#), None] {
            assert_eq!(classify(200, body, None).outcome, Outcome::Accepted);
        }
    }

    #[test]
    fn a_gone_token_carries_the_time_stamp() {
        let body = br#"{"reason":"Unregistered","timestamp":1700000000123}"#;
        let since = Some(UnixMillis(1_700_000_000_123));
        assert_eq!(classify(410, Some(body), None).outcome, Outcome::TokenGone { since });
        for bad in [r#"{"timestamp":"soon"}"#, r#"{"timestamp":-1}"#, r#"{"timestamp":1.5}"#, "", "[", "null"]
        {
            let outcome = classify(410, Some(bad.as_bytes()), None).outcome;
            assert_eq!(outcome, Outcome::TokenGone { since: None }, "{bad}");
        }
    }

    #[test]
    fn a_gone_token_whose_time_stamp_was_cut_off_is_not_gone() {
        let outcome = Outcome::Retry { certainty: Certainty::Safe, scope: RetryScope::Lane };
        assert_eq!(classify(410, None, None).outcome, outcome);
    }

    #[test]
    fn a_throttled_device_is_left_alone_as_long_as_the_answer_says() {
        for (text, retry_ms) in
            [(Some("30"), Some(30_000)), (None, None), (Some("Fri, 31 Dec 1999"), None), (Some("-1"), None)]
        {
            let outcome = classify(429, Some(br#"{"reason":"TooManyRequests"}"#), text).outcome;
            assert_eq!(outcome, Outcome::Throttled { retry_ms });
        }
    }

    #[test]
    fn a_time_to_come_again_is_digits_and_nothing_else() {
        for text in ["+30", "3 0", "30s", "", "٣", "4294967296"] {
            let outcome = classify(429, None, Some(text)).outcome;
            assert_eq!(outcome, Outcome::Throttled { retry_ms: None }, "{text}");
        }
        assert_eq!(classify(429, None, Some(" 030 ")).outcome, Outcome::Throttled { retry_ms: Some(30_000) });
    }

    #[test]
    fn an_unknown_reason_goes_by_its_status_and_keeps_its_text() {
        assert_eq!(row(400, "BrandNew").outcome, Outcome::Rejected(Reason::new("BrandNew")));
        assert_eq!(row(403, "BrandNew").outcome, Outcome::ServiceRefused(Reason::new("BrandNew")));
        assert_eq!(row(418, "").outcome, Outcome::Rejected(Reason::new("Http418")));
        assert_eq!(classify(403, None, None).outcome, Outcome::ServiceRefused(Reason::new("Http403")));
        let long = row(400, &"x".repeat(200)).outcome;
        assert_eq!(long, Outcome::Rejected(Reason("x".repeat(64).into())));
        assert_eq!(row(400, "é Bad\u{202e}/Token").outcome, Outcome::Rejected(Reason::new("BadToken")));
        for status in [502, 504, 599] {
            let outcome = Outcome::Retry { certainty: Certainty::Ambiguous, scope: RetryScope::Service };
            assert_eq!(row(status, "").outcome, outcome);
        }
    }

    /// Every reason that Apple documents, in the order of its table, as the last word of a connection: does it say that a
    /// next one would end in the same way?
    #[test]
    fn a_farewell_tells_for_each_reason_whether_our_configuration_is_refused() {
        let table: [(&str, bool); 35] = [
            ("BadCollapseId", false),
            ("BadDeviceToken", false),
            ("BadExpirationDate", false),
            ("BadMessageId", false),
            ("BadPriority", false),
            ("BadTopic", false),
            ("DeviceTokenNotForTopic", false),
            ("DuplicateHeaders", false),
            ("IdleTimeout", false),
            ("InvalidPushType", false),
            ("MissingDeviceToken", false),
            ("MissingTopic", false),
            ("PayloadEmpty", false),
            ("TopicDisallowed", false),
            ("BadCertificate", true),
            ("BadCertificateEnvironment", true),
            ("ExpiredProviderToken", false),
            ("Forbidden", true),
            ("InvalidProviderToken", true),
            ("MissingProviderToken", true),
            ("UnrelatedKeyIdInToken", true),
            ("BadEnvironmentKeyIdInToken", true),
            ("BadEnvironmentKeyInToken", true),
            ("BadPath", false),
            ("MethodNotAllowed", false),
            ("ExpiredToken", false),
            ("Unregistered", false),
            ("PayloadTooLarge", false),
            ("TooManyProviderTokenUpdates", true),
            ("TooManyRequests", false),
            ("InternalServerError", false),
            ("ServiceUnavailable", false),
            ("Shutdown", false),
            // Nobody knows it yet: another connection is tried.
            ("BrandNew", false),
            ("badcertificate", false),
        ];
        for (reason, refused) in table {
            let debug = format!(r#"{{"reason":"{reason}"}}"#);
            assert_eq!(farewell(debug.as_bytes()), Some((Reason::new(reason), refused)), "{reason}");
        }
    }

    #[test]
    fn a_farewell_without_a_reason_is_none() {
        for debug in
            [&b"max concurrent streams"[..], b"", b"{}", br#"{"reason":7}"#, br#"{"reason":""}"#, b"\xff\x00"]
        {
            assert_eq!(farewell(debug), None, "{debug:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_body_can_do_harm(status in 100..1_000u16, body: Vec<u8>, retry_after: String) {
            let classified = classify(status, Some(&body), Some(&retry_after));
            prop_assert_eq!(classified.outcome == Outcome::Accepted, status == 200);
        }

        #[test]
        fn a_body_cut_anywhere_does_no_harm(cut in 0..60usize) {
            let body = br#"{"reason":"Unregistered","timestamp":1700000000123}      "#;
            let outcome = classify(410, Some(&body[..cut.min(body.len())]), None).outcome;
            let gone = matches!(outcome, Outcome::TokenGone { .. });
            prop_assert!(gone);
        }
    }
}
