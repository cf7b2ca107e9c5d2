//! The head of a request to APNs.

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri, Version};

use super::{PushRequest, PushType, Reason};

/// The head of `push`, with its fields in the order of Apple's page ("Sending notification requests to APNs").
///
/// # Errors
/// A part of the push cannot stand in a header field, or all of them are more than APNs takes: our mistake, named.
pub(super) fn head(authority: &Authority, push: &PushRequest<'_>) -> Result<Request<()>, Reason> {
    let token = push.token.as_str();
    let path = format!("/3/device/{token}");
    let path = PathAndQuery::try_from(path).map_err(|_| Reason::new("UnsendableToken"))?;
    let uri = Uri::builder().scheme(Scheme::HTTPS).authority(authority.clone()).path_and_query(path);
    let uri = uri.build().map_err(|_| Reason::new("UnsendableToken"))?;

    let mut request = Request::new(());
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.reserve(7);
    if let Some(jwt) = push.jwt {
        let bearer = HeaderValue::try_from(format!("bearer {jwt}"));
        let mut bearer = bearer.map_err(|_| Reason::new("UnsendableProviderToken"))?;
        // Never indexed (RFC 7541 §7.1.3): a secret stays out of tables.
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    let push_type = match push.push_type {
        PushType::Alert => HeaderValue::from_static("alert"),
    };
    headers.insert(APNS_PUSH_TYPE, push_type);
    // Ids are new with each push: indexing them would flush the peer's table every 54 requests.
    headers.insert(APNS_ID, unindexed(&uuid_text(push.apns_id), "UnsendableId")?);
    headers.insert(APNS_EXPIRATION, HeaderValue::from(push.expiration_s));
    headers.insert(APNS_PRIORITY, HeaderValue::from(u16::from(push.priority)));
    let topic = HeaderValue::from_str(push.topic.as_str());
    headers.insert(APNS_TOPIC, topic.map_err(|_| Reason::new("UnsendableTopic"))?);
    if let Some(collapse_id) = push.collapse_id {
        headers.insert(APNS_COLLAPSE_ID, unindexed(collapse_id, "UnsendableCollapseId")?);
    }
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    if fields + token.len() + PSEUDO_FIELD_BYTES > HEADER_LIST_BYTES_MAX {
        return Err(Reason::new("HeadersTooLarge"));
    }
    Ok(request)
}

fn unindexed(text: &str, unsendable: &str) -> Result<HeaderValue, Reason> {
    let mut value = HeaderValue::from_str(text).map_err(|_| Reason::new(unsendable))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A UUID in canonical form: lower-case hex, 8-4-4-4-12 (RFC 9562 §4).
pub(super) fn uuid_text(uuid: u128) -> String {
    let hex = format!("{uuid:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

const APNS_PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const APNS_EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const APNS_PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const APNS_TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const APNS_COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");

/// SETTINGS_MAX_HEADER_LIST_SIZE as seen of APNs. `h2` does not hold requests to it.
const HEADER_LIST_BYTES_MAX: usize = 8_000;

/// `:method`, `:scheme`, `:authority` and `:path` without the token, as RFC 9113 §6.5.2 counts them, rounded up.
const PSEUDO_FIELD_BYTES: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{DeviceToken, Topic};

    fn authority() -> Authority {
        Authority::from_static("api.push.apple.com")
    }

    #[test]
    fn the_head_has_apples_fields_in_apples_order() {
        let token = DeviceToken::parse("ABCDEF0123").unwrap();
        let topic = Topic::parse("com.example.mail").unwrap();
        let push = PushRequest {
            token: &token,
            topic: &topic,
            jwt: Some("a.b.c"),
            apns_id: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
            push_type: PushType::Alert,
            priority: 10,
            expiration_s: 1_700_000_000,
            collapse_id: Some("c1"),
            payload: b"{}",
        };
        let request = head(&authority(), &push).unwrap();
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri(), "https://api.push.apple.com/3/device/abcdef0123");
        let fields: Vec<_> =
            request.headers().iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(
            fields,
            [
                ("authorization", "bearer a.b.c"),
                ("apns-push-type", "alert"),
                ("apns-id", "01234567-89ab-cdef-0123-456789abcdef"),
                ("apns-expiration", "1700000000"),
                ("apns-priority", "10"),
                ("apns-topic", "com.example.mail"),
                ("apns-collapse-id", "c1"),
            ]
        );
        assert!(request.headers()["authorization"].is_sensitive());
        assert!(request.headers()["apns-id"].is_sensitive());
        assert!(!format!("{request:?}").contains("a.b.c"));

        let bare = head(&authority(), &PushRequest { jwt: None, collapse_id: None, ..push }).unwrap();
        assert!(!bare.headers().contains_key("authorization"));
        assert!(!bare.headers().contains_key("apns-collapse-id"));
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        let token = DeviceToken::parse("abcdef0123").unwrap();
        let topic = Topic::parse("com.example.mail").unwrap();
        let push = PushRequest {
            token: &token,
            topic: &topic,
            jwt: None,
            apns_id: 0,
            push_type: PushType::Alert,
            priority: 5,
            expiration_s: 0,
            collapse_id: None,
            payload: b"{}",
        };
        let refusal = |push: PushRequest<'_>| head(&authority(), &push).unwrap_err();
        let collapse = PushRequest { collapse_id: Some("a\r\nb: c"), ..push };
        assert_eq!(refusal(collapse).as_str(), "UnsendableCollapseId");
        let jwt = PushRequest { jwt: Some("a\nb"), ..push };
        assert_eq!(refusal(jwt).as_str(), "UnsendableProviderToken");
        let long = "j".repeat(8_000);
        let huge = PushRequest { jwt: Some(&long), ..push };
        assert_eq!(refusal(huge).as_str(), "HeadersTooLarge");
    }
}
