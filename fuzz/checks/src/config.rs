//! `carillon.toml`. Input: as it is (first byte even), or which keys of which tables have which values.

use std::collections::BTreeSet;

use carillon::config::{Config, PushCredential};
use carillon_core::limits::{COHORT_USERS_MAX, DETAIL_CUTOFF_S_MAX};
use carillon_core::shard::MailCredential;

use crate::input::Input;

/// Every complaint is one plain line that names a line of the file, and tells no secret; what is accepted is TOML, within
/// its ranges, and shows no secret either.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let made = input.flag();
    let text = if made { file(&mut input) } else { String::from_utf8_lossy(input.rest()).into_owned() };
    // What asks for a file would be answered by this machine.
    if text.contains("/dev/") || text.contains("/proc/") {
        return;
    }
    match Config::parse(FILE.as_ref(), &text, &env) {
        Err(error) => {
            let lines = text.split('\n').count();
            assert!(!error.complaints.is_empty());
            for complaint in &error.complaints {
                assert!(!complaint.chars().any(char::is_control), "{complaint:?}");
                let rest = complaint.strip_prefix(FILE).and_then(|rest| rest.strip_prefix(':'));
                let (line, words) =
                    rest.and_then(|rest| rest.split_once(": ")).expect("file, line and words");
                assert!(line.parse().is_ok_and(|line| (1..=lines).contains(&line)), "{complaint}");
                assert!(!words.is_empty());
                no_secret(&text, complaint);
            }
            let in_order = error.complaints.is_sorted_by_key(|complaint| {
                complaint[FILE.len() + 1..].split_once(':').and_then(|(line, _)| line.parse::<usize>().ok())
            });
            assert!(in_order, "{error}");
        }
        Ok(config) => {
            let document: toml::Table = text.parse().expect("what is accepted is TOML");
            sound(&config, &document);
            no_secret(&text, &format!("{config:?}"));
        }
    }
}

const FILE: &str = "/nowhere/carillon.toml";

fn env(name: &str) -> Option<String> {
    match name {
        "UNSET" => None,
        "SHORT" => Some("x".to_owned()),
        "LINES" => Some(format!("{SECRET}\n{SECRET}")),
        _ => Some(format!(" {SECRET}{name}\n")),
    }
}

const SECRET: &str = "s3cret-0123456789-";

fn no_secret(text: &str, said: &str) {
    assert!(text.contains(SECRET) || !said.contains(SECRET), "{said}");
}

/// The ranges that the documentation promises, and what the table says by another reading.
fn sound(config: &Config, document: &toml::Table) {
    let (api, timing) = (&config.api, &config.timing);
    assert!(
        (1_024..=16_777_216).contains(&api.body_bytes_max) && (1..=1_000_000).contains(&api.requests_per_s)
    );
    let tokens: Vec<&str> = api.tokens.iter().map(|token| token.secret.expose()).collect();
    assert!(
        tokens.iter().all(|token| token.len() >= 16 && token.bytes().all(|byte| byte.is_ascii_graphic()))
    );
    let names = api.tokens.iter().map(|token| &*token.name);
    let distinct = |all: Vec<&str>| all.iter().collect::<std::collections::BTreeSet<_>>().len() == all.len();
    assert!(!tokens.is_empty() && distinct(tokens.clone()) && distinct(names.collect()));
    assert!((16..=65_536).contains(&api.connections_max));
    assert!(config.engine.shards <= 1_024);
    assert!(timing.settle_ms.max(timing.vip_settle_ms) <= timing.max_delay_ms);
    assert!(timing.max_delay_ms <= 3_600_000 && timing.detail_cutoff_s <= DETAIL_CUTOFF_S_MAX);

    let tables = |key: &str| document.get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let exchanges = tables("exchange");
    assert_eq!(config.exchange.len(), exchanges.len());
    for (exchange, table) in config.exchange.iter().zip(&exchanges) {
        assert_eq!(table["name"].as_str(), Some(&*exchange.name));
        let url = table["url"].as_str().expect("a text");
        server(url, &exchange.host, exchange.port);
        assert!(exchange.path.starts_with('/') && !exchange.path.contains(['?', '#', ' ']), "{url}");
        assert!((1..=COHORT_USERS_MAX).contains(&usize::from(exchange.cohort_users_max)));
        assert!((1..=30).contains(&exchange.stream_minutes) && (60..=300).contains(&exchange.stream_idle_s));
        assert!((1..=1_000).contains(&exchange.calls_max) && (5..=600).contains(&exchange.call_timeout_s));
        assert!((1..=10_000).contains(&exchange.subscribes_per_s));
        match &exchange.credential {
            MailCredential::Basic { user, password } => {
                assert!(
                    !user.contains(':') && !password.is_empty() && !password.contains(['\n', '\r', '\0'])
                );
            }
            MailCredential::Bearer { token } => assert!(token.bytes().all(|byte| byte.is_ascii_graphic())),
            MailCredential::ClientCertificate => assert!(exchange.client.is_some()),
        }
    }
    let pushes = tables("push");
    assert_eq!(config.push.len(), pushes.len());
    assert!(!pushes.is_empty());
    for (push, table) in config.push.iter().zip(&pushes) {
        assert_eq!(table["name"].as_str(), Some(&*push.name));
        if let Some(url) = table.get("url").and_then(toml::Value::as_str) {
            server(url, &push.host, push.port);
        }
        assert!(!push.topics.is_empty());
        assert!((1..=64).contains(&push.lanes) && (1..=10_000).contains(&push.lane_window_max));
        if let PushCredential::Team(at) = push.auth {
            let team = &config.teams[usize::from(at)];
            assert_eq!(table["key_id"].as_str(), Some(&*team.key_id));
            assert_eq!(table["team_id"].as_str(), Some(&*team.team_id));
        }
    }
    let unique = |names: Vec<&str>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    assert!(unique(config.exchange.iter().map(|one| &*one.name).collect()));
    assert!(unique(config.push.iter().map(|one| &*one.name).collect()));
}

/// Host and port of a URL by hand (RFC 3986 §3.2).
fn server(url: &str, host: &str, port: u16) {
    let (scheme, rest) = url.split_at(8);
    assert!(scheme.eq_ignore_ascii_case("https://"), "{url}");
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (name, digits) = match authority.rsplit_once(':') {
        Some((name, digits)) if !digits.contains(']') => (name, digits),
        Some(_) | None => (authority, ""),
    };
    assert_eq!(name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name), host, "{url}");
    assert!(!host.is_empty() && !host.contains(['@', '/', '[', ']', ' ']), "{url}");
    assert_eq!(if digits.is_empty() { Some(443) } else { digits.parse().ok() }, Some(port), "{url}");
}

/// A file of known tables. Each key is left out, has a good value, one of another key, or any text.
fn file(input: &mut Input<'_>) -> String {
    let mut text = String::new();
    for (table, keys) in TABLES {
        for _ in 0..1 + input.u8() / 128 {
            let spoiled = input.u8();
            text.push_str(table);
            text.push('\n');
            let plain = spoiled < 64;
            for (key, good) in keys {
                // Keys that end with `?` are no company for the others, and stand only where something is wrong anyhow.
                if plain && key.ends_with('?') {
                    continue;
                }
                let value = match if plain { 0 } else { input.u8() % 8 } {
                    0..4 => (*good).to_owned(),
                    4 => continue,
                    5 => VALUES[input.below(VALUES.len())].to_owned(),
                    6 => format!("\"{}\"", input.text()),
                    _ => input.text(),
                };
                text.push_str(&format!("{} = {value}\n", key.trim_end_matches('?')));
            }
        }
    }
    text
}

type Keys = &'static [(&'static str, &'static str)];

const TABLES: [(&str, Keys); 7] = [
    (
        "[api]",
        &[
            ("listen", "\"127.0.0.1:8443\""),
            ("cert_file", "\"api.crt\""),
            ("key_file", "\"api.key\""),
            ("gateway_token_env", "\"GATEWAY\""),
            ("admin_token_env", "\"ADMIN\""),
            ("admin_token_file?", "\"admin.token\""),
            ("body_bytes_max", "65_536"),
            ("requests_per_s", "5000"),
            ("metrics_open", "false"),
        ],
    ),
    ("[store]", &[("path", "\"a.db\"")]),
    ("[engine]", &[("shards", "0x2"), ("pin", "true")]),
    (
        "[timing]",
        &[
            ("settle_ms", "500"),
            ("vip_settle_ms", "0"),
            ("max_delay_ms", "30000"),
            ("detail_cutoff_s", "3600"),
        ],
    ),
    ("[log]", &[("level", "\"info,carillon=debug\""), ("format", "\"json\"")]),
    (
        "[[exchange]]",
        &[
            ("name", "\"main\""),
            ("url", "\"https://mail.example.com:8443/EWS\""),
            ("user", "'EXAMPLE\\svc'"),
            ("password_env", "\"PASSWORD\""),
            ("token_env?", "\"TOKEN\""),
            ("client_cert_file?", "\"c.crt\""),
            ("client_key_file?", "\"c.key\""),
            ("folders", "[\"AAMkAD\"]"),
            ("catch_up", "\"sync\""),
            ("badge", "\"watched\""),
            ("cohort_users_max", "200"),
            ("stream_minutes", "29"),
            ("stream_idle_s", "120"),
            ("calls_max", "8"),
            ("call_timeout_s", "100"),
            ("subscribes_per_s", "20"),
        ],
    ),
    (
        "[[push]]",
        &[
            ("name", "\"apns\""),
            ("topics", "[\"com.example.mail\"]"),
            ("key_file", "\"a.p8\""),
            ("key_id", "\"ABCDE12345\""),
            ("team_id", "\"TEAM123456\""),
            ("environment", "\"sandbox\""),
            ("url?", "\"https://[::1]:2197/\""),
            ("cert_file?", "\"p.crt\""),
            ("cert_key_file?", "\"p.key\""),
            ("lanes", "2"),
            ("lane_window_max", "1000"),
        ],
    ),
];

const VALUES: [&str; 20] = [
    "true",
    "-1",
    "0",
    "1",
    "4294967296",
    "0o17",
    "1e3",
    "[]",
    "{}",
    "\"\"",
    "\"UNSET\"",
    "\"SHORT\"",
    "\"LINES\"",
    "\"a\\nb\\u001b[2J\"",
    "\"\"\"\nseveral\nlines\"\"\"",
    "\"https://mail.example.com:99999\"",
    "\"https://a:b@mail.example.com\"",
    "\"https://mail.example.com?x#y\"",
    "[\"a\", 1, \"\\u0000\"]",
    "2026-01-05T12:00:00Z",
];
