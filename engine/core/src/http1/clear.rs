//! An answer in clear where TLS was expected. Servers without a free connection say so in this way, and proxies and servers
//! that speak no TLS at a port.

/// The status of an answer that begins here, if these are the first bytes of one in plain HTTP.
pub fn status_in_clear(first: &[u8]) -> Option<u16> {
    let rest = first.strip_prefix(b"HTTP/1.")?;
    let digits = rest.get(2..5).filter(|_| rest[1] == b' ')?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What that means, and what to do, for a person.
pub fn in_clear(status: u16) -> String {
    match status {
        429 | 503 => format!(
            "the server answers HTTP {status} in clear instead of TLS: it has no room for another connection at present; \
             raise its limit of connections if it lasts"
        ),
        _ => format!("the server answers HTTP {status} in clear instead of TLS: correct the port in the URL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_clear_is_known_by_its_first_line() {
        assert_eq!(status_in_clear(b"HTTP/1.1 503 Service Unavailable\r\n"), Some(503));
        assert_eq!(status_in_clear(b"HTTP/1.0 400"), Some(400));
        for other in [
            &b""[..],
            b"HTTP/1.",
            b"HTTP/1.1",
            b"HTTP/1.1 ",
            b"HTTP/1.1 4x0 ",
            b"HTTP/2 200",
            b"\x16\x03\x03\0\x05",
        ] {
            assert_eq!(status_in_clear(other), None, "{other:?}");
        }
        assert!(in_clear(503).contains("no room") && in_clear(400).contains("correct the port"));
    }
}
