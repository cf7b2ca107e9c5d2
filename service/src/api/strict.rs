//! JSON into a type, strictly: unknown, missing, doubled and mistyped members are errors that name the member.

use serde::de::DeserializeOwned;

use super::error::Complaint;

/// The longest piece of the caller's own text that a complaint repeats (a member's name), in bytes.
const ECHO_BYTES_MAX: usize = 64;

/// Parses a whole JSON document that must be an object.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Complaint> {
    expect_object(json)?;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => explain(&path, &inner.to_string()),
            serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof
            | serde_json::error::Category::Io => not_json(&inner),
        }
    })?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// serde would take an array for the members of a struct in their order.
fn expect_object(json: &[u8]) -> Result<(), Complaint> {
    if json.trim_ascii_start().starts_with(b"{") {
        return Ok(());
    }
    Err(Complaint::whole("the body is not a JSON object"))
}

fn not_json(error: &serde_json::Error) -> Complaint {
    if error.line() == 0 {
        return Complaint::whole("the body is not JSON");
    }
    Complaint::whole(format!("the body is not JSON: see line {}, column {}", error.line(), error.column()))
}

/// Puts serde's text into ours, without the value that it quotes: that may be a secret.
fn explain(path: &str, text: &str) -> Complaint {
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    let expected = text.rsplit_once(", expected ").map(|(_, expected)| expected);
    let parent = if path == "." { "" } else { path };
    if let Some(name) = quoted(text, "missing field `") {
        return Complaint::field(join(parent, name), "is missing");
    }
    if quoted(text, "unknown field `").is_some() {
        // The path ends in the unknown member itself.
        let known = expected.unwrap_or("nothing").replace('`', "");
        return Complaint::field(short(parent), format!("is not known here; expected {known}"));
    }
    if let Some(name) = quoted(text, "duplicate field `") {
        let parent = parent.strip_suffix(name).map_or(parent, |rest| rest.trim_end_matches('.'));
        return Complaint::field(join(parent, name), "is given twice");
    }
    let message = match expected {
        Some(expected) => format!("is not what belongs here: expected {}", in_words(expected)),
        None => "is not what belongs here".to_owned(),
    };
    match parent {
        "" => Complaint::whole(format!("the body {message}")),
        field => Complaint::field(short(field), message),
    }
}

/// Rust's names of types, for people who write JSON.
fn in_words(expected: &str) -> &str {
    match expected {
        "u64" => "a whole number, not negative",
        struct_name if struct_name.starts_with("struct ") => "an object",
        other => other,
    }
}

fn quoted<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.strip_prefix(start)?.split('`').next()
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { short(name) } else { short(&format!("{parent}.{name}")) }
}

fn short(text: &str) -> String {
    let mut end = text.len().min(ECHO_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::RegisterRequest;

    fn complaint(json: &str) -> (String, String) {
        let complaint = parse::<RegisterRequest>(json.as_bytes()).unwrap_err();
        (complaint.field.unwrap_or_default(), complaint.message)
    }

    #[test]
    fn a_complaint_names_the_member_and_what_is_expected() {
        for (json, field, words) in [
            (r#"{"token":"aa"}"#, "address", "is missing"),
            (r#"{"address":"a@b","token":5}"#, "token", "expected a string"),
            (r#"{"address":"a@b","token":"aa","tokn":1}"#, "tokn", "expected"),
            (r#"{"address":"a@b","token":"aa","settings":{"alerts":"yes"}}"#, "settings.alerts", "a boolean"),
            (r#"{"address":"a@b","token":"aa","settings":{"x":1}}"#, "settings.x", "vip_sound"),
            (r#"{"address":"a@b","token":"aa","vip":{"senders":["a@b",3]}}"#, "vip.senders[1]", "a string"),
            (r#"{"address":"a@b","address":"c@d","token":"aa"}"#, "address", "is given twice"),
            (r#"{"address":"a@b","token":"aa","active_at_ms":-1}"#, "active_at_ms", "a whole number"),
            (r#"{"address":"a@b","token":"aa","active_at_ms":1e99}"#, "active_at_ms", "a whole number"),
            (r#"{"address":"a@b","token":"aa","settings":7}"#, "settings", "an object"),
            ("[]", "", "not a JSON object"),
            ("7", "", "not a JSON object"),
            ("{", "", "not JSON"),
            ("", "", "not a JSON object"),
            (r#"{"address":"a@b","token":"aa"} x"#, "", "line 1, column"),
            ("\u{feff}{}", "", "not a JSON object"),
        ] {
            let (at, message) = complaint(json);
            assert_eq!(at, field, "{json}: {message}");
            assert!(message.contains(words), "{json}: {message}");
        }
        assert_eq!(parse::<RegisterRequest>(b"{\"token\":\"\xff\"}").unwrap_err().field, None);
    }

    #[test]
    fn a_complaint_never_repeats_a_value() {
        for json in [
            r#"{"address":"a@b","token":"aa","active_at_ms":"s3cret, expected s3cret"}"#,
            r#"{"address":"a@b","token":"aa","settings":"s3cret at line 3"}"#,
            r#"{"address":["s3cret"],"token":"aa"}"#,
        ] {
            let (_, message) = complaint(json);
            assert!(!message.contains("s3cret"), "{message}");
        }
    }

    #[test]
    fn a_long_unknown_name_is_cut() {
        let (field, _) = complaint(&format!(r#"{{"{}":1}}"#, "ä".repeat(500)));
        assert!(field.len() <= ECHO_BYTES_MAX);
    }

    #[test]
    fn what_is_no_json_is_refused_wherever_it_stands() {
        let digits = "1767600000000000000s0000487983571e577s0000487983571e577c99n0";
        let garbage = format!(r#"{{"address":"a@b","token":"aa","active_at_ms":{digits}}}"#);
        let zero = "{\"address\":\"a@b\",\"token\":\"aa\",\"active_at_ms\":17\0\09}";
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        let behind = "{\"address\":\"a@b\",\"token\":\"aa\"}\0";
        for json in [&garbage, zero, "{\0}", behind, "", "   ", "null", &deep] {
            let (field, message) = complaint(json);
            assert_eq!((field.as_str(), message.contains("JSON")), ("", true), "{json:?}: {message}");
        }
    }
}
