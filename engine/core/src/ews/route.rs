//! The HTTP request around a SOAP body: who we are, and which server is to answer.

use crate::http1::{Method, Request, RequestError};
use crate::names::SmtpAddress;
use crate::shard::{Endpoint, MailCredential, MailServer};

/// Which Exchange server a call is to reach (Microsoft: "How to maintain affinity between a group of subscriptions and
/// the Mailbox server").
#[derive(Clone, Copy, Debug)]
pub enum Route<'a> {
    /// An ordinary call (GetItem, FindItem, GetFolder): to wherever this mailbox is. No cookie: it would lead to the
    /// server of a cohort.
    Mailbox(&'a SmtpAddress),
    /// Subscribe, GetStreamingEvents, Unsubscribe: to the one server that holds the cohort's subscriptions.
    Cohort {
        /// The cohort's anchor, also in calls for its other members.
        anchor: &'a SmtpAddress,
        /// The cohort's cookies ([`crate::http1::Cookies::as_str`]); empty for its very first Subscribe.
        cookies: &'a str,
    },
}

/// Head and body of a call, ready for [`crate::http1::CallConn::send`] or [`super::StreamConn::open`].
///
/// `request_id` is a fresh UUID (version 4): Exchange writes it in its logs (`client-request-id`). Compression is never
/// asked for: on a stream it would hold events back, elsewhere it saves little.
///
/// # Errors
/// Endpoint, path, user agent, credential or cookies have characters that cannot stand in a request.
pub fn http_request(
    endpoint: &Endpoint,
    server: &MailServer,
    route: Route<'_>,
    request_id: u128,
    body: &[u8],
) -> Result<Vec<u8>, RequestError> {
    let mut request = Request::new(Method::Post, &server.path, &host(endpoint))?;
    request.header("Content-Type", "text/xml; charset=utf-8")?;
    request.header("Accept", "text/xml")?;
    request.header("User-Agent", &server.user_agent)?;
    match &server.credential {
        MailCredential::Basic { user, password } => {
            request.header("Authorization", &basic(user, password)?)?;
        }
        MailCredential::Bearer { token } => {
            request.header("Authorization", &format!("Bearer {token}"))?;
        }
        MailCredential::ClientCertificate => {}
    }
    match route {
        Route::Mailbox(mailbox) => {
            request.header("X-AnchorMailbox", mailbox.as_str())?;
        }
        Route::Cohort { anchor, cookies } => {
            if !planted!(AnchorMissing) {
                request.header("X-AnchorMailbox", anchor.as_str())?;
            }
            request.header("X-PreferServerAffinity", "true")?;
            if !cookies.is_empty() && !planted!(CookieForgotten) {
                request.header("Cookie", cookies)?;
            }
        }
    }
    request.header("client-request-id", &uuid(request_id))?;
    request.header("return-client-request-id", "true")?;
    Ok(request.encode(body))
}

/// The value of `Host`: IPv6 addresses in brackets, the port unless it is that of HTTPS.
fn host(endpoint: &Endpoint) -> String {
    let Endpoint { host, port, .. } = endpoint;
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_string() };
    if *port == 443 { host } else { format!("{host}:{port}") }
}

/// RFC 7617, with UTF-8.
fn basic(user: &str, password: &str) -> Result<String, RequestError> {
    if user.contains(':') || user.chars().chain(password.chars()).any(char::is_control) {
        return Err(RequestError::BasicUser);
    }
    let mut value = String::from("Basic ");
    push_base64(&mut value, format!("{user}:{password}").as_bytes());
    Ok(value)
}

/// RFC 4648 §4.
fn push_base64(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= group.len() { digit as char } else { '=' });
        }
    }
}

/// The canonical text of a UUID (RFC 9562 §4).
fn uuid(id: u128) -> String {
    let hex = format!("{id:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{EndpointId, Protocol};

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.into(), port, protocol: Protocol::Http1 }
    }

    fn server(credential: MailCredential) -> MailServer {
        MailServer::new(EndpointId(0), credential)
    }

    fn sent(credential: MailCredential, route: Route<'_>) -> String {
        let request =
            http_request(&endpoint("mail.example.com", 443), &server(credential), route, 1 << 64, b"<x/>");
        String::from_utf8(request.unwrap()).unwrap()
    }

    #[test]
    fn an_ordinary_call_is_anchored_at_its_mailbox_and_carries_no_cookie() {
        let jane = SmtpAddress::parse("jane@example.com").unwrap();
        let basic = MailCredential::Basic { user: "EX\\svc".into(), password: "pä:ss".into() };
        assert_eq!(
            sent(basic, Route::Mailbox(&jane)),
            "POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: mail.example.com\r\n\
             Content-Type: text/xml; charset=utf-8\r\nAccept: text/xml\r\nUser-Agent: Carillon/0\r\n\
             Authorization: Basic RVhcc3ZjOnDDpDpzcw==\r\nX-AnchorMailbox: jane@example.com\r\n\
             client-request-id: 00000000-0000-0001-0000-000000000000\r\nreturn-client-request-id: true\r\n\
             Content-Length: 4\r\n\r\n<x/>"
        );
    }

    #[test]
    fn a_cohorts_call_has_anchor_affinity_and_cookie_but_asks_for_no_compression() {
        let anchor = SmtpAddress::parse("anna@example.com").unwrap();
        let bearer = MailCredential::Bearer { token: "abc".into() };
        let route = Route::Cohort { anchor: &anchor, cookies: "X-BackEndOverrideCookie=be1~19" };
        let text = sent(bearer, route);
        for line in [
            "\r\nX-AnchorMailbox: anna@example.com\r\n",
            "\r\nX-PreferServerAffinity: true\r\n",
            "\r\nCookie: X-BackEndOverrideCookie=be1~19\r\n",
            "\r\nAuthorization: Bearer abc\r\n",
        ] {
            assert!(text.contains(line), "{line:?}");
        }
        assert!(!text.contains("Accept-Encoding"));
        let first = sent(MailCredential::ClientCertificate, Route::Cohort { anchor: &anchor, cookies: "" });
        assert!(first.contains("X-PreferServerAffinity: true"));
        assert!(!first.contains("Cookie") && !first.contains("Authorization"));
    }

    #[test]
    fn what_would_break_the_head_is_refused() {
        let jane = SmtpAddress::parse("jane@example.com").unwrap();
        let ask = |credential, cookies: &str| {
            let route = Route::Cohort { anchor: &jane, cookies };
            http_request(&endpoint("h", 443), &server(credential), route, 0, b"").unwrap_err()
        };
        let basic = |user: &str, password: &str| MailCredential::Basic {
            user: user.into(),
            password: password.into(),
        };
        assert_eq!(ask(basic("a:b", "c"), ""), RequestError::BasicUser);
        assert_eq!(ask(basic("a", "c\r\nX: y"), ""), RequestError::BasicUser);
        let token = MailCredential::Bearer { token: "a\r\nX: y".into() };
        assert_eq!(ask(token, ""), RequestError::HeaderValue { name: "Authorization" });
        assert_eq!(ask(basic("a", "b"), "x\r\ny"), RequestError::HeaderValue { name: "Cookie" });
    }

    #[test]
    fn hosts_have_their_port_unless_it_is_443() {
        assert_eq!(host(&endpoint("mail.example.com", 443)), "mail.example.com");
        assert_eq!(host(&endpoint("127.0.0.1", 8443)), "127.0.0.1:8443");
        assert_eq!(host(&endpoint("::1", 8443)), "[::1]:8443");
    }

    #[test]
    fn base64_has_the_vectors_of_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
            ("\u{3ff}", "z78="),
        ] {
            let mut out = String::new();
            push_base64(&mut out, plain.as_bytes());
            assert_eq!(out, coded);
        }
    }
}
