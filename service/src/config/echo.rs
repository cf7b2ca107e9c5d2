//! What a complaint repeats of the configuration. Secrets get into places where they do not belong, and complaints into
//! logs and tickets.

/// A value in quotes. Of a URL the parts that may hold a password or a key are left out, and what looks like either is not
/// repeated at all.
pub(super) fn quoted(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return match looks_like_a_secret(value) {
            true => "the value (not repeated here, as it may be a secret)".to_owned(),
            false => format!("\"{value}\""),
        };
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        // A password may have a slash or a question mark in it: then the host is not where it seems to be.
        _ if path.contains('@') => format!("\"{scheme}://…\""),
        Some((_, host)) => format!("\"{scheme}://…@{host}{path}\""),
        None => format!("\"{scheme}://{authority}{path}\""),
    }
}

/// Words, names, addresses and ids of Apple are none. What is longer and mixes letters and digits is.
fn looks_like_a_secret(value: &str) -> bool {
    let is_secret = |word: &str| {
        word.len() >= 12
            && word.bytes().any(|byte| byte.is_ascii_alphabetic())
            && word.bytes().any(|byte| byte.is_ascii_digit())
    };
    value.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '=' | '_')).any(is_secret)
}

/// As names of environment variables are written.
pub(super) fn looks_like_a_variable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= 64
        && name.bytes().all(plain)
        && name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
}

/// A folder in front, or an ending: what names of files have, and secrets seldom.
pub(super) fn looks_like_a_file(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ending = path
        .rsplit_once('.')
        .is_some_and(|(_, ending)| (1..=10).contains(&ending.len()) && ending.bytes().all(plain));
    path.contains('/') || ending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_repeated_without_what_may_be_a_secret() {
        for (value, shown) in [
            ("fast", "\"fast\""),
            ("127.0.0.1", "\"127.0.0.1\""),
            ("com.example.mail", "\"com.example.mail\""),
            ("ABCDE12345", "\"ABCDE12345\""),
            ("http://ex2016server01.example.com/EWS", "\"http://ex2016server01.example.com/EWS\""),
            ("https://svc:hunter2@mail.example.com/EWS", "\"https://…@mail.example.com/EWS\""),
            ("https://svc:hun/ter2@mail.example.com/EWS", "\"https://…\""),
            ("https://mail.example.com/EWS?key=hunter2", "\"https://mail.example.com/EWS\""),
        ] {
            assert_eq!(quoted(value), shown, "{value}");
        }
        for secret in ["hunter2secret", "dGhpcyBpcyBhIHNlY3JldA0=", "eyJhbGciOiJIUzI1NiJ9.e30.x"] {
            assert!(!quoted(secret).contains(secret), "{secret}");
        }
    }

    #[test]
    fn names_are_told_from_secrets() {
        for (name, is_variable) in
            [("CARILLON_TOKEN", true), ("_X1", true), ("hunter2secret", false), ("1ABC", false), ("", false)]
        {
            assert_eq!(looks_like_a_variable(name), is_variable, "{name}");
        }
        for (name, is_file) in
            [("gateway.token", true), ("/run/secrets/x", true), ("token", false), ("hunter2secret", false)]
        {
            assert_eq!(looks_like_a_file(name), is_file, "{name}");
        }
    }
}
