//! The push that every row sends: the same fields, and a body of the same length.

/// The app.
pub(crate) const TOPIC: &str = "com.example.mail";

/// A device token of 64 hexadecimal digits.
pub(crate) fn token(number: u64) -> String {
    format!("{number:064x}")
}

/// Bytes of each body: the longest that the engine composes without details of the mail.
pub(crate) const BODY_BYTES: usize = 243;

/// A body, for the clients that compose none.
pub(crate) fn body() -> Vec<u8> {
    let (head, tail) =
        (r#"{"aps":{"alert":{"title":"Ann Example","subtitle":""#, r#""},"mutable-content":1}}"#);
    let text = "s".repeat(BODY_BYTES - head.len() - tail.len());
    format!("{head}{text}{tail}").into_bytes()
}

/// As long as a provider token of ES256.
pub(crate) fn jwt() -> String {
    format!("{}.{}.{}", "h".repeat(48), "c".repeat(55), "s".repeat(86))
}

/// Fields beside the path, with values for the clients that repeat one request.
pub(crate) fn fields() -> [(&'static str, String); 7] {
    [
        ("authorization", format!("bearer {}", jwt())),
        ("apns-push-type", "alert".to_owned()),
        ("apns-id", "11223344-5566-7788-99aa-bbccddeeff00".to_owned()),
        ("apns-expiration", "1900000000".to_owned()),
        ("apns-priority", "10".to_owned()),
        ("apns-topic", TOPIC.to_owned()),
        ("apns-collapse-id", "m0011223344556677".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_its_length() {
        assert_eq!(body().len(), BODY_BYTES);
    }
}
