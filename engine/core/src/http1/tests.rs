use proptest::prelude::*;

use super::*;
use crate::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADER_LINES_MAX};
use crate::time::{Span, Time};

const T0: Time = Time(1_000_000);

/// A connection with a call under way, its request written.
fn called() -> CallConn {
    let mut conn = CallConn::new();
    conn.send(T0, b"POST / HTTP/1.1\r\n\r\n".to_vec(), Span::from_secs(10));
    assert!(!conn.drain(&mut Vec::new(), 1_000));
    conn
}

fn answer(bytes: &[u8]) -> Result<Response, HttpError> {
    let mut conn = called();
    conn.feed(T0, bytes)?;
    conn.poll().ok_or(HttpError::Truncated)
}

fn head_of(lines: &str) -> Head {
    answer(format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n").as_bytes()).unwrap().head
}

#[test]
fn calls_follow_one_another_on_one_connection() {
    let mut conn = called();
    assert_eq!(conn.next_deadline(), Some(T0 + Span::from_secs(10)));
    conn.feed(T0 + Span::from_millis(5), b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
    let response = conn.poll().unwrap();
    assert_eq!(
        (response.head.status, &response.body[..], response.took),
        (200, &b"hi"[..], Span::from_millis(5))
    );
    assert!(conn.is_idle() && conn.reusable() && conn.next_deadline().is_none());

    conn.send(T0, b"again".to_vec(), Span::from_secs(1));
    let mut out = Vec::new();
    assert!(conn.drain(&mut out, 3));
    assert!(!conn.drain(&mut out, 3));
    assert_eq!(out, b"again");
    conn.feed(T0, b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n").unwrap();
    assert_eq!(conn.poll().unwrap().body, b"no");
    assert!(conn.reusable());
}

#[test]
#[should_panic(expected = "one call at a time")]
fn a_second_call_at_once_is_our_mistake() {
    called().send(T0, Vec::new(), Span::from_secs(1));
}

#[test]
fn interim_answers_are_read_over() {
    let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
                  HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(answer(bytes).unwrap().body, b"x");
    assert_eq!(answer(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), Err(HttpError::Upgrade));
    let endless = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_BYTES_MAX / 20);
    assert_eq!(answer(&endless), Err(HttpError::HeadTooLarge));
}

#[test]
fn a_body_may_end_with_the_connection() {
    let mut conn = called();
    conn.feed(T0, b"HTTP/1.1 200 OK\r\n\r\nall of ").unwrap();
    conn.feed(T0, b"it").unwrap();
    assert!(conn.poll().is_none());
    conn.feed_eof().unwrap();
    assert_eq!(conn.poll().unwrap().body, b"all of it");
    assert!(!conn.reusable());
}

#[test]
fn an_end_in_the_middle_is_an_error_that_tells_where() {
    assert_eq!(called().feed_eof(), Err(HttpError::NoAnswer));
    for start in [
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let mut conn = called();
        conn.feed(T0, start.as_bytes()).unwrap();
        assert_eq!(conn.feed_eof(), Err(HttpError::Truncated), "{start}");
        assert!(conn.is_idle() && !conn.reusable());
    }
    let mut idle = CallConn::new();
    assert_eq!(idle.feed_eof(), Ok(()));
    assert!(!idle.reusable());
}

#[test]
fn status_204_and_304_have_no_body() {
    for status in [204, 304] {
        let bytes = format!("HTTP/1.1 {status} x\r\nContent-Length: 7\r\n\r\n");
        assert_eq!(answer(bytes.as_bytes()).unwrap().body, b"");
    }
}

#[test]
fn a_connection_that_the_server_gives_up_is_not_used_again() {
    for head in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\n",
        "HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\n",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n",
    ] {
        let mut conn = called();
        conn.feed(T0, format!("{head}Content-Length: 0\r\n\r\n").as_bytes()).unwrap();
        assert!(conn.poll().is_some() && !conn.reusable(), "{head}");
    }
    // An answer before the request was written: the rest of it is in nobody's interest, but may be on its way.
    let mut conn = CallConn::new();
    conn.send(T0, vec![b'x'; 100], Span::from_secs(1));
    conn.drain(&mut Vec::new(), 50);
    conn.feed(T0, b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert!(conn.poll().is_some() && !conn.reusable());
    assert!(!conn.drain(&mut Vec::new(), 50));
}

#[test]
fn bytes_that_answer_nothing_end_the_connection() {
    assert_eq!(CallConn::new().feed(T0, b"HTTP/1.1 408 Timeout\r\n\r\n"), Err(HttpError::Unsolicited));
    let mut conn = called();
    conn.feed(T0, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP").unwrap();
    assert_eq!(conn.poll().unwrap().body, b"x");
    assert!(!conn.reusable());
}

#[test]
fn two_lengths_that_exclude_each_other_are_refused() {
    let both =
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(answer(both), Err(HttpError::LengthAndCoding));
}

#[test]
fn a_length_that_is_none_is_refused() {
    for bad in ["-1", "+1", "1.5", "0x1", "", "1 2", "1, 2", "99999999999999999999", "1\r\nContent-Length: 2"]
    {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {bad}\r\n\r\nx");
        assert_eq!(answer(bytes.as_bytes()), Err(HttpError::LengthMalformed), "{bad}");
    }
    for good in ["1", "01", "1, 1", "1\r\nContent-Length: 1"] {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {good}\r\n\r\nx");
        assert_eq!(answer(bytes.as_bytes()).unwrap().body, b"x", "{good}");
    }
}

#[test]
fn codings_that_nobody_asked_for_are_refused() {
    for coding in
        ["gzip", "gzip, chunked", "chunked, chunked", "identity", "chunked\r\nTransfer-Encoding: chunked"]
    {
        let bytes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n");
        assert_eq!(answer(bytes.as_bytes()), Err(HttpError::TransferCoding), "{coding}");
    }
    let old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(answer(old), Err(HttpError::TransferCoding));
    let zipped = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answer(zipped), Err(HttpError::ContentCoding));
    assert_eq!(head_of("Content-Encoding: identity\r\n").status, 200);
}

#[test]
fn a_head_that_is_none_is_refused() {
    for bad in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 99 x\r\n\r\n",
        "HTTP/1.1 2000 x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
    ] {
        assert_eq!(answer(bad.as_bytes()), Err(HttpError::HeadMalformed), "{bad:?}");
    }
}

#[test]
fn each_length_has_its_bound() {
    let long = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(HEAD_BYTES_MAX));
    assert_eq!(answer(long.as_bytes()), Err(HttpError::HeadTooLarge));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(HEADER_LINES_MAX + 1));
    assert_eq!(answer(many.as_bytes()), Err(HttpError::HeadTooLarge));
    assert_eq!(answer(&b"\r\n".repeat(HEAD_BYTES_MAX)), Err(HttpError::HeadTooLarge));

    let mut conn = called();
    conn.feed(T0, b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    conn.feed(T0, &vec![b'x'; BODY_BYTES_MAX]).unwrap();
    assert_eq!(conn.feed(T0, b"x"), Err(HttpError::BodyTooLarge));
    assert!(conn.poll().is_none() && !conn.reusable());
}

#[test]
fn a_call_that_takes_too_long_has_failed() {
    let mut conn = called();
    assert_eq!(conn.on_deadline(T0 + Span::from_secs(9)), Ok(()));
    assert_eq!(conn.on_deadline(T0 + Span::from_secs(10)), Err(HttpError::Timeout));
    assert!(conn.next_deadline().is_none() && !conn.reusable());
}

#[test]
fn the_head_has_what_exchange_tells() {
    let head = head_of(
        "Content-Type: Text/XML; charset=utf-8\r\nrequest-id: 1f2e\r\nX-FEServer: CAS1\r\nx-beserver: MBX2\r\n\
         WWW-Authenticate: Negotiate\r\nWWW-Authenticate: Basic realm=\"mail\"\r\nLocation: /owa/auth\r\n",
    );
    assert_eq!(&*head.content_type, "text/xml");
    assert_eq!(head.request_id.as_deref(), Some("1f2e"));
    assert_eq!(head.diagnostics, [("X-FEServer", "CAS1".into()), ("X-BEServer", "MBX2".into())]);
    assert_eq!(head.www_authenticate, ["Negotiate".into(), "Basic realm=\"mail\"".into()]);
    assert_eq!(head.location.as_deref(), Some("/owa/auth"));
}

#[test]
fn cookies_are_kept_as_name_and_value_alone() {
    let head = head_of(
        "Set-Cookie: X-BackEndOverrideCookie=be1.example.com~1941996; path=/; secure; HttpOnly\r\n\
         Set-Cookie: X-BackEndCookie=jane@example.com=u56Lnp2ejJqBx8g=; expires=Mon, 16-Sep-2013 04:41:29 GMT; path=/EWS\r\n\
         Set-Cookie: gone=x; Max-Age=0\r\nSet-Cookie: stays=y; Max-Age=600\r\nSet-Cookie: none\r\nSet-Cookie: =z\r\n",
    );
    let cookies: Vec<&str> = head.set_cookies.iter().map(|cookie| &**cookie).collect();
    assert_eq!(
        cookies,
        [
            "X-BackEndOverrideCookie=be1.example.com~1941996",
            "X-BackEndCookie=jane@example.com=u56Lnp2ejJqBx8g=",
            "gone=",
            "stays=y"
        ]
    );
}

#[test]
fn retry_after_is_read_as_seconds_or_date() {
    assert_eq!(head_of("Retry-After: 120\r\n").retry_after_s, Some(120));
    assert_eq!(head_of("Retry-After: 99999999999\r\n").retry_after_s, Some(u32::MAX));
    let dates = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:07 GMT\r\n";
    assert_eq!(head_of(dates).retry_after_s, Some(30));
    for bad in
        ["Retry-After: soon\r\n", "Retry-After: -1\r\n", "Retry-After: Sun, 06 Nov 1994 08:50:07 GMT\r\n", ""]
    {
        assert_eq!(head_of(bad).retry_after_s, None, "{bad}");
    }
}

#[test]
fn what_a_connection_sends_and_reads_does_not_show() {
    let mut conn = CallConn::new();
    conn.send(T0, b"Authorization: secret".to_vec(), Span::from_secs(1));
    conn.feed(T0, b"HTTP/1.1 200 OK\r\nSet-Cookie: a=secret\r\n").unwrap();
    assert!(!format!("{conn:?}").contains("115, 101, 99"), "{conn:?}");
    conn.feed(T0, b"Content-Length: 6\r\n\r\nsecret").unwrap();
    let shown = format!("{conn:?} {:?}", conn.poll().unwrap().head);
    assert!(!shown.contains("secret") && !shown.contains("115, 101, 99"), "{shown}");
}

#[test]
fn bodies_and_cookies_do_not_show() {
    let response =
        answer(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=secret\r\nContent-Length: 6\r\n\r\nsubjec").unwrap();
    let shown = format!("{response:?}");
    assert!(!shown.contains("secret") && !shown.contains("subjec"), "{shown}");
}

#[test]
fn each_error_has_a_name_of_its_own_and_says_what_to_do() {
    let mut names: Vec<&str> = HttpError::ALL.iter().map(|error| error.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), HttpError::ALL.len());
    for error in HttpError::ALL {
        assert!(error.trouble().text.contains(": "), "{error:?}");
    }
}

fn pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    for cut in cuts {
        let (piece, tail) = rest.split_at((*cut).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = tail;
    }
    pieces.push(rest.to_vec());
    pieces
}

proptest! {
    #[test]
    fn any_split_of_an_answer_gives_the_same_answer(
        chunked in any::<bool>(),
        body in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(0usize..20, 0..60),
    ) {
        let mut wire = b"\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n".to_vec();
        if chunked {
            wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(7) {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
        } else {
            wire.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            wire.extend_from_slice(&body);
        }
        let mut conn = called();
        for piece in pieces(&wire, &cuts) {
            conn.feed(T0, &piece).unwrap();
        }
        prop_assert_eq!(conn.poll().unwrap().body, body);
        prop_assert!(conn.reusable());
    }

    #[test]
    fn no_bytes_make_it_panic(
        head in prop::sample::select(vec!["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut conn = called();
        let _ = conn.feed(T0, head.as_bytes()).and_then(|()| conn.feed(T0, &bytes)).and_then(|()| conn.feed_eof());
    }
}
