//! `carillon devices import` against the running API.

#[allow(dead_code, reason = "each of the tests uses a part of it")]
mod api_support;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
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
    config.api.admin_token = Some(Secret::new("wrong".to_owned()));
    let failure = run(&config, &path).0.unwrap_err();
    assert!(failure.contains("401") && failure.contains("token"), "{failure}");
    assert!(!failure.contains("wrong"), "{failure}");

    config.api.admin_token = None;
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
