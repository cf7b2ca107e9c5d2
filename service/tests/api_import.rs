//! `carillon devices import` against the running API.

#[allow(dead_code, reason = "each of the tests uses a part of it")]
mod api_support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use api_support::{Running, start, start_with};
use carillon::config::{Config, Secret};
use carillon::import;

fn file(api: &Running, text: &str) -> PathBuf {
    let path = api.config.file.with_file_name("devices.ndjson");
    std::fs::write(&path, text).unwrap();
    path
}

fn line(n: u32) -> String {
    format!(
        "{{\"user\":\"u{n}\",\"device\":\"d\",\"address\":\"u{n}@example.com\",\"token\":\"{n:064x}\"}}\n"
    )
}

fn run(config: &Config, path: &std::path::Path) -> (Result<String, String>, String) {
    let mut out = Vec::new();
    let result = import::run(config, path, &mut out);
    let result = result.map(|answer| import::summary(&answer)).map_err(|failure| failure.to_string());
    (result, String::from_utf8(out).unwrap())
}

#[test]
fn a_file_in_several_parts_is_imported_and_wrong_lines_have_their_own_numbers() {
    let api = start();
    let mut text: String = (0..13_000).map(line).collect();
    text.push_str("{\"user\":\"x\"}\n\n");
    text.push_str(&line(13_001));
    let path = file(&api, &text);
    let started = Instant::now();
    let (result, out) = run(&api.config, &path);
    assert_eq!(result.unwrap(), "13002 lines: 13001 devices new, 0 refreshed, 1 refused");
    eprintln!("13,000 devices took {:?}", started.elapsed());
    assert!(out.ends_with("devices.ndjson:13001: address is missing\n"), "{out}");
    assert_eq!(api.users(), 13_001);
    let (result, _) = run(&api.config, &path);
    assert_eq!(result.unwrap(), "13002 lines: 0 devices new, 13001 refreshed, 1 refused");
}

#[test]
fn what_keeps_an_import_from_working_is_said_with_what_to_do() {
    let api = start();
    let path = file(&api, &line(1));
    let (missing, _) = run(&api.config, &path.with_file_name("nothing"));
    assert!(missing.unwrap_err().contains("nothing: No such file"));

    let mut config = (*api.config).clone();
    config.api.tokens[1].secret = Secret::new("wrong".to_owned());
    let failure = run(&config, &path).0.unwrap_err();
    assert!(failure.contains("401") && failure.contains("token"), "{failure}");
    assert!(!failure.contains("wrong"), "{failure}");

    config.api.tokens.truncate(1);
    assert!(run(&config, &path).0.unwrap_err().contains("admin_token_file"));

    let other = start();
    let mut config = (*api.config).clone();
    config.api.listen = other.address;
    let failure = run(&config, &path).0.unwrap_err();
    assert!(failure.contains("certificate"), "another service on our port gets no token: {failure}");

    let mut config = (*api.config).clone();
    config.api.listen = "127.0.0.1:1".parse().unwrap();
    let failure = run(&config, &path).0.unwrap_err();
    assert!(failure.contains("nobody listens") && failure.contains("carillon serve"), "{failure}");

    let long = file(&api, &format!("{}{}\n", line(1), "x".repeat(2 * 1024 * 1024)));
    assert!(run(&api.config, &long).0.unwrap_err().contains("line 2 is longer"));
}

#[test]
fn an_import_waits_for_a_busy_service() {
    let api = start_with(|config, _| config.api.requests_per_s = 1);
    let path = file(&api, &(0..11_000).map(line).collect::<String>());
    assert_eq!(run(&api.config, &path).0.unwrap(), "11000 lines: 11000 devices new, 0 refreshed, 0 refused");
}

/// A service that answers before it has read the request, and closes at once: the bytes that it has not read make a reset
/// of the end of the connection. `answers`: one for each connection, `None` closes without one; the last holds for all
/// further ones. Returns its address, and how many connections there were at the end.
fn hasty(config: &Config, answers: Vec<Option<&'static str>>) -> (SocketAddr, Arc<AtomicU32>) {
    let chain = carillon::files::certificates(&config.api.cert_file).unwrap();
    let key = carillon::files::private_key(&config.api.key_file).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, tls) = (listener.local_addr().unwrap(), Arc::new(tls));
    let connections = Arc::new(AtomicU32::new(0));
    let counted = connections.clone();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(socket) = socket else { return };
            let number = counted.fetch_add(1, Ordering::Relaxed) as usize;
            let connection = rustls::ServerConnection::new(tls.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, socket);
            let mut first = [0; 1024];
            let _ = stream.read(&mut first);
            if let Some(answer) = answers.get(number).or(answers.last()).unwrap() {
                let length = answer.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
                let _ = stream.write_all(answer.replace("LENGTH", &length.to_string()).as_bytes());
                let _ = stream.flush();
                // The reset that closing makes must not overtake the answer.
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    });
    (address, connections)
}

const BUSY: &str = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: LENGTH\r\nConnection: close\r\n\r\n\
    {\"error\":{\"code\":\"too_many_requests\",\"field\":null,\"message\":\"come again\"}}";
const DONE: &str = "HTTP/1.1 200 OK\r\nContent-Length: LENGTH\r\nConnection: close\r\n\r\n\
    {\"lines\":1,\"created\":1,\"refreshed\":0,\"refused\":0,\"errors\":[],\"errors_left_out\":0}";
const REFUSED: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: LENGTH\r\nConnection: close\r\n\r\n\
    {\"error\":{\"code\":\"forbidden\",\"field\":null,\"message\":\"this needs the administrators' token\"}}";

#[test]
fn an_answer_that_comes_before_the_body_is_written_is_read_and_followed() {
    let api = start();
    // More than the sockets of both sides hold: writing fails in the middle.
    let path = file(&api, &format!("{}{}\n", line(1), " ".repeat(900_000)).repeat(12));
    let run = |answers| {
        let (address, connections) = hasty(&api.config, answers);
        let result = import::run_at(&api.config, address, &path, &mut Vec::new());
        (result.map(|answer| answer.created).map_err(|failure| failure.to_string()), connections)
    };
    // A part is five of these lines.
    let (result, connections) = run(vec![Some(BUSY), Some(DONE)]);
    assert_eq!(result, Ok(3), "busy once, then three parts");
    // Now and then a reset takes an answer away all the same: then the part is sent once more.
    assert!((4..=6).contains(&connections.load(Ordering::Relaxed)), "{connections:?}");
    let (result, connections) = run(vec![None, Some(DONE)]);
    assert_eq!(result, Ok(3), "broken once, then three parts");
    assert!((4..=6).contains(&connections.load(Ordering::Relaxed)), "{connections:?}");
    let (result, connections) = run(vec![Some(REFUSED)]);
    assert!(
        result.as_ref().is_err_and(|text| text.contains("403") && text.contains("administrators' token")),
        "{result:?}"
    );
    assert!(connections.load(Ordering::Relaxed) <= 3, "what is refused is not tried again: {connections:?}");
    let (result, connections) = run(vec![None]);
    assert!(result.as_ref().is_err_and(|text| text.starts_with("after line 0: ")), "{result:?}");
    assert_eq!(connections.load(Ordering::Relaxed), 5, "what keeps breaking is given up");
}

#[test]
fn an_import_outlasts_a_store_that_fails_for_a_moment() {
    let api = start();
    api.store.broken.store(true, Ordering::Relaxed);
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_secs(2));
            api.store.broken.store(false, Ordering::Relaxed);
        });
        let path = file(&api, &line(1));
        assert_eq!(run(&api.config, &path).0.unwrap(), "1 lines: 1 devices new, 0 refreshed, 0 refused");
    });
    assert!(started.elapsed().as_secs() >= 2);
}
