//! The bytes of a request.

use std::fmt;

/// What is asked of the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Look: a health probe.
    Get,
    /// Ask with a body: every EWS operation.
    Post,
}

/// A request in the making. Nothing can be put into it that would end a line early, so no value, wherever it came
/// from, can become a header or a request of its own (RFC 9112 §11.1).
#[derive(Clone)]
pub struct Request {
    head: Vec<u8>,
}

/// Why a request cannot be made. Our configuration is at fault, or a name from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The path does not begin with `/`, or has a blank, a control character or one beyond ASCII.
    Path,
    /// The host has a character that no host has.
    Host,
    /// The header's name is no token (RFC 9110 §5.1), or one that the request itself writes (`Host`, `Content-Length`,
    /// `Transfer-Encoding`).
    HeaderName,
    /// The value of this header has a line end or another control character.
    HeaderValue {
        /// Whose value. The value itself may be a secret.
        name: &'static str,
    },
    /// The user name for HTTP Basic has a colon, which RFC 7617 §2 cannot express, or a control character.
    BasicUser,
}

impl Request {
    /// Begins a request. `host` is what stands in `Host`: name or address, with the port unless it is 443.
    ///
    /// # Errors
    /// [`RequestError::Path`], [`RequestError::Host`].
    pub fn new(method: Method, path: &str, host: &str) -> Result<Request, RequestError> {
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RequestError::Path);
        }
        let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(&byte);
        if host.is_empty() || !host.bytes().all(in_host) {
            return Err(RequestError::Host);
        }
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(match method {
            Method::Get => b"GET ",
            Method::Post => b"POST ",
        });
        head.extend_from_slice(path.as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        head.extend_from_slice(host.as_bytes());
        head.extend_from_slice(b"\r\n");
        Ok(Request { head })
    }

    /// Adds a header.
    ///
    /// # Errors
    /// [`RequestError::HeaderName`], [`RequestError::HeaderValue`].
    pub fn header(&mut self, name: &'static str, value: &str) -> Result<&mut Request, RequestError> {
        let in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let own = ["host", "content-length", "transfer-encoding"];
        if name.is_empty()
            || !name.bytes().all(in_token)
            || own.iter().any(|own| name.eq_ignore_ascii_case(own))
        {
            return Err(RequestError::HeaderName);
        }
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(RequestError::HeaderValue { name });
        }
        self.head.extend_from_slice(name.as_bytes());
        self.head.extend_from_slice(b": ");
        self.head.extend_from_slice(value.as_bytes());
        self.head.extend_from_slice(b"\r\n");
        Ok(self)
    }

    /// The whole request. A `Content-Length` is written for every `POST` and for a `GET` that has a body.
    pub fn encode(mut self, body: &[u8]) -> Vec<u8> {
        if !body.is_empty() || self.head.starts_with(b"POST") {
            self.head.extend_from_slice(b"Content-Length: ");
            self.head.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
            self.head.extend_from_slice(b"\r\n");
        }
        self.head.extend_from_slice(b"\r\n");
        self.head.extend_from_slice(body);
        self.head
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The head has credentials and cookies.
        write!(f, "Request({} bytes of head)", self.head.len())
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Path => {
                f.write_str("the path of the mail server's URL is not one: correct the URL")
            }
            RequestError::Host => {
                f.write_str("the host of the mail server's URL is not one: correct the URL")
            }
            RequestError::HeaderName => f.write_str("a header's name is not allowed: this is our mistake"),
            RequestError::HeaderValue { name } => {
                write!(
                    f,
                    "the value for the header {name} has a control character: correct the configuration"
                )
            }
            RequestError::BasicUser => {
                f.write_str("the user name has a colon or a control character: correct the configuration")
            }
        }
    }
}

impl std::error::Error for RequestError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_bytes_of_rfc_9112() {
        let mut request = Request::new(Method::Post, "/EWS/Exchange.asmx", "mail.example.com:8443").unwrap();
        request.header("X-AnchorMailbox", "jane@example.com").unwrap();
        assert_eq!(
            request.encode(b"<a/>"),
            b"POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: mail.example.com:8443\r\nX-AnchorMailbox: jane@example.com\r\n\
              Content-Length: 4\r\n\r\n<a/>"
        );
        let probe = Request::new(Method::Get, "/", "h").unwrap();
        assert_eq!(probe.encode(b""), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    }

    #[test]
    fn nothing_ends_a_line_early() {
        for bad in ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "\u{7f}"] {
            let mut request = Request::new(Method::Post, "/", "h").unwrap();
            assert_eq!(
                request.header("Cookie", bad).unwrap_err(),
                RequestError::HeaderValue { name: "Cookie" },
                "{bad:?}"
            );
        }
        for bad in ["", "a b", "a:", "a\r\n", "Host", "content-length", "Transfer-Encoding"] {
            let mut request = Request::new(Method::Post, "/", "h").unwrap();
            assert_eq!(request.header(bad, "v").unwrap_err(), RequestError::HeaderName, "{bad:?}");
        }
        for bad in ["", "EWS", "/a b", "/a\r\nb", "/ä"] {
            assert_eq!(Request::new(Method::Get, bad, "h").unwrap_err(), RequestError::Path, "{bad:?}");
        }
        for bad in ["", "h\r\n", "a b", "u@h", "h/p"] {
            assert_eq!(Request::new(Method::Get, "/", bad).unwrap_err(), RequestError::Host, "{bad:?}");
        }
    }

    #[test]
    fn credentials_do_not_show() {
        let mut request = Request::new(Method::Get, "/", "h").unwrap();
        request.header("Authorization", "Basic c2VjcmV0").unwrap();
        assert!(!format!("{request:?}").contains("c2VjcmV0"));
    }
}
