//! Strangers at the API: many connections, answers that nobody reads, requests without a token, bodies that are refused.

#[allow(dead_code, reason = "each of the tests uses a part of it")]
mod api_support;

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use api_support::{ADMIN, GATEWAY, Running, TOKEN, Tls, start, start_with, tls};

const DEVICE: &str = "/v1/users/jane/devices/phone-1";

/// The value of a metric.
fn metric(api: &Running, name: &str) -> u64 {
    let text = api.call("GET", "/metrics", Some(ADMIN), None).text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name} is missing")) as u64
}

fn closed(api: &Running, reason: &str) -> u64 {
    metric(api, &format!("carillon_api_connections_closed_total{{reason=\"{reason}\"}}"))
}

/// Sends requests for large answers and reads none.
fn crowd(api: &Running) -> Option<Tls> {
    let mut stream = tls_or_closed(api)?;
    let _ = socket2::SockRef::from(&stream.sock).set_recv_buffer_size(4_096);
    let _ = stream.write_all("GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(60).as_bytes());
    let _ = stream.flush();
    Some(stream)
}

/// A connection may be displaced in the middle of its handshake.
fn tls_or_closed(api: &Running) -> Option<Tls> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tls(api))).ok()
}

/// A request on a connection that stays open, and the status of its answer.
fn ask(stream: &mut Tls, path: &str, token: &str) -> std::io::Result<u16> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&answer).into_owned();
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    Ok(head[9..12].parse().unwrap())
}

#[test]
fn strangers_who_fill_the_places_and_never_read_keep_nobody_out() {
    let api = start_with(|_, bounds| bounds.connections_max = 32);
    let mut caller = tls(&api);
    assert_eq!(ask(&mut caller, "/v1/users/jane", GATEWAY).unwrap(), 404);
    let held: Vec<_> = (0..100).map(|_| crowd(&api)).collect();
    let started = Instant::now();
    // Whoever has shown a token keeps the connection, and whoever comes new gets one.
    assert_eq!(ask(&mut caller, "/v1/users/jane", GATEWAY).unwrap(), 404);
    assert_eq!(api.register("jane", "phone-1").status, 201);
    assert_eq!(api.call("GET", "/healthz", None, None).status, 200);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    // One address has six places of strangers; the client of these tests, now known, has its own.
    assert!(closed(&api, "displaced") >= 94, "{}", closed(&api, "displaced"));
    assert!(metric(&api, "carillon_api_connections{caller=\"stranger\"}") <= 6);
    assert_eq!(closed(&api, "full"), 0);
    drop(held);
}

#[test]
fn who_has_a_token_and_reads_no_answers_is_let_go_too() {
    let api = start_with(|_, bounds| bounds.times.write_time = Duration::from_millis(400));
    let mut stream = tls(&api);
    socket2::SockRef::from(&stream.sock).set_recv_buffer_size(4_096).unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\n\r\n");
    let started = Instant::now();
    // Its kernel and ours hold some megabytes.
    stream.sock.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let sent = (0..40)
        .try_for_each(|_| stream.write_all(request.repeat(50).as_bytes()).and_then(|()| stream.flush()));
    while closed(&api, "not_read") == 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "it is still there; {sent:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_connection_without_a_token_is_told_to_end_and_then_ended() {
    let api = start_with(|_, bounds| bounds.times.stranger_time = Duration::from_millis(1_500));
    let mut stranger = tls(&api);
    let started = Instant::now();
    let ask_health = |stream: &mut Tls| {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")?;
        stream.flush()?;
        let mut bytes = [0; 1024];
        let len = stream.read(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes[..len]).into_owned())
    };
    assert!(!ask_health(&mut stranger).unwrap().contains("connection: close"));
    std::thread::sleep(Duration::from_millis(900));
    assert!(ask_health(&mut stranger).unwrap().contains("connection: close"), "in the second half");
    let mut silent = tls(&api);
    let _ = silent.read(&mut [0; 16]);
    assert!(started.elapsed() < Duration::from_secs(8));
    assert_eq!(closed(&api, "stranger"), 1);
}

#[test]
fn all_that_comes_without_a_token_is_bounded_and_hinders_neither_callers_nor_load_balancers() {
    let api = start_with(|_, bounds| bounds.strangers_per_s = 5);
    for (method, path, usual) in [
        ("GET", "/openapi.json", 200),
        ("GET", "/nothing", 404),
        ("PATCH", "/openapi.json", 405),
        ("GET", "/v1/status", 401),
    ] {
        std::thread::sleep(Duration::from_millis(1_100));
        let statuses: Vec<u16> = (0..40).map(|_| api.call(method, path, None, None).status).collect();
        assert_eq!(statuses[0], usual, "{method} {path}");
        assert!(statuses.iter().filter(|status| **status == usual).count() <= 20, "{path}: {statuses:?}");
        assert!(statuses.contains(&429), "{path}: {statuses:?}");
        assert_eq!(
            api.call(method, path, Some(GATEWAY), None).status,
            if usual == 401 { 403 } else { usual }
        );
        assert_eq!(api.call("GET", "/healthz", None, None).status, 200);
        assert_eq!(api.call("GET", "/readyz", None, None).status, 200);
    }
}

#[test]
fn whoever_is_refused_in_the_middle_of_a_large_body_still_reads_why() {
    let api = start();
    let body = vec![b'x'; 4 * 1024 * 1024];
    for (token, path, media_type, status) in [
        ("nobody's token", "/v1/devices/import", "application/x-ndjson", "401"),
        (GATEWAY, "/v1/devices/import", "application/x-ndjson", "403"),
        (ADMIN, "/v1/devices/import", "text/plain", "415"),
        (GATEWAY, "/v1/nothing", "application/json", "404"),
    ] {
        for _ in 0..3 {
            let mut stream = tls(&api);
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {media_type}\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            );
            // All of it is written before anything is read, as simple clients do.
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body).and_then(|()| stream.flush()).unwrap();
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{status}"),
            }
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
        }
    }
}

#[test]
fn addresses_of_other_domains_are_refused_where_domains_are_named() {
    let api = start_with(|config, _| config.exchange[0].domains = vec!["example.com".into()]);
    let body = |address: &str| format!(r#"{{"address":"{address}","token":"{TOKEN}"}}"#);
    let put = |address: &str| api.call("PUT", DEVICE, Some(GATEWAY), Some(&body(address)));
    assert_eq!(put("jane@Example.COM").status, 201);
    for other in ["jane@example.org", "jane@sub.example.com", "jane@example.com.evil.org"] {
        assert_eq!(put(other).error(400, "bad_request").as_deref(), Some("address"), "{other}");
    }
    let line = r#"{"user":"ceo","device":"d","address":"ceo@example.org","token":"00112233"}"#;
    let import = ("application/x-ndjson", line.as_bytes());
    let answer = api.call_as("POST", "/v1/devices/import", Some(ADMIN), Some(import)).json();
    assert_eq!((&answer["refused"], &answer["errors"][0]["field"]), (&1.into(), &"address".into()));
}

#[test]
fn two_phones_that_spell_the_address_differently_or_leave_the_grouping_out_change_nothing() {
    let api = start();
    let put = |phone: u64, address: &str, grouping: &str| {
        let body = format!(r#"{{"address":"{address}","token":"{phone:064x}"{grouping}}}"#);
        let path = format!("/v1/users/jane/devices/phone-{phone}");
        assert!(api.call("PUT", &path, Some(GATEWAY), Some(&body)).status < 300);
    };
    put(1, "Jane.Doe@example.com", r#","grouping":"siteA""#);
    put(2, "jane.doe@EXAMPLE.com", "");
    let before = api.engine.commands().len();
    for _ in 0..10 {
        put(1, "Jane.Doe@example.com", r#","grouping":"siteA""#);
        put(2, "JANE.DOE@example.com", "");
    }
    assert_eq!(api.engine.commands()[before..], ["register"; 20], "nobody is assigned anew");
    let row = api.user_row("jane").unwrap();
    assert_eq!((row.address.as_str(), &*row.grouping), ("jane.doe@example.com", "siteA"));
    put(2, "jane.doe@example.com", r#","grouping":"siteB""#);
    assert_eq!(&*api.user_row("jane").unwrap().grouping, "siteB");
}
