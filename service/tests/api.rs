//! The API over real sockets: what callers may do, and what everybody else gets.

#[allow(dead_code, reason = "each of the tests uses a part of it")]
mod api_support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api_support::{ADMIN, GATEWAY, Running, TOKEN, exchange, start, start_with, tcp, tls};
use carillon::api::access::Access;
use carillon::api::openapi::Document;
use carillon::api::routes::table;
use serde_json::{Value, json};
use utoipa::OpenApi;

const DEVICE: &str = "/v1/users/jane/devices/phone-1";

#[test]
fn a_device_is_registered_refreshed_used_read_and_removed() {
    let api = start();
    let reply = api.register("jane", "phone-1");
    assert_eq!(reply.status, 201, "{reply:?}");
    let json = reply.json();
    assert_eq!((&json["user"], &json["device"]), (&json!("jane"), &json!("phone-1")));
    assert_eq!(json["item_key"], "a5".repeat(16));
    assert!(json["registered_at_ms"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(reply.headers["cache-control"], "no-store");

    let body = json!({
        "user": "jane", "address": "Jane@Example.COM", "push": "apns", "exchange": "main",
        "token": TOKEN.to_uppercase(), "topic": "com.example.mail", "grouping": "site-1",
        "settings": {"alerts": true, "details": false, "badge": true, "localized": false, "sound": null,
                     "vip_sound": "vip bell.caf"},
        "vip": {"high_importance": true, "senders": ["Boss@Example.com"]},
        "folders": ["junkemail", "AAMk+/="],
        "active_at_ms": 1_700_000_000_000_u64,
    });
    let reply = api.call("PUT", DEVICE, Some(ADMIN), Some(&body.to_string()));
    assert_eq!(reply.status, 200, "{reply:?}");

    let user = api.call("GET", "/v1/users/jane", Some(GATEWAY), None);
    assert_eq!(user.status, 200);
    assert!(!user.text.contains(TOKEN), "the token is never given out");
    let mut user = user.json();
    let registered = user["devices"][0]["registered_at_ms"].take().as_u64().unwrap();
    assert!(registered >= json["registered_at_ms"].as_u64().unwrap());
    assert_eq!(
        user,
        json!({
            "user": "jane", "number": 1, "address": "jane@example.com", "exchange": "main", "stopped": false,
            "watch": {"state": "waiting"},
            "vip": {"high_importance": true, "senders": ["boss@example.com"]},
            "folders": ["junkemail", "AAMk+/="],
            "devices": [{
                "device": "phone-1", "number": 1, "push": "apns", "topic": "com.example.mail", "token_start": "00fc", "stopped": false,
                "registered_at_ms": null, "active_at_ms": 1_700_000_000_000_u64,
                "settings": {"alerts": true, "details": false, "badge": true, "localized": false, "sound": null,
                             "vip_sound": "vip bell.caf"},
            }],
        })
    );

    let active = format!("{DEVICE}/active");
    assert_eq!(api.call("POST", &active, Some(GATEWAY), Some(r#"{"at_ms":1700000001000}"#)).status, 204);
    assert_eq!(api.user_row("jane").unwrap().devices[0].active.0, 1_700_000_001_000);
    assert_eq!(api.call("POST", &active, Some(GATEWAY), None).status, 204);
    assert!(api.user_row("jane").unwrap().devices[0].active.0 >= registered);

    assert_eq!(api.call("DELETE", DEVICE, Some(GATEWAY), None).status, 204);
    assert_eq!(api.call("DELETE", DEVICE, Some(GATEWAY), None).error(404, "not_found"), None);
    api.call("GET", "/v1/users/jane", Some(GATEWAY), None).error(404, "not_found");
    assert_eq!(api.engine.commands(), ["assign", "register", "assign", "register", "touch", "touch", "drop"]);
}

#[test]
fn an_administrator_stops_and_removes_users() {
    let api = start();
    let registration = |phone: u64| {
        let device = format!("phone-{phone}");
        json!({"user": "jane", "device": device, "address": "jane@example.com", "token": format!("{phone:064x}")})
    };
    let register = |phone: u64| {
        let path = format!("/v1/users/jane/devices/phone-{phone}");
        let reply = api.call("PUT", &path, Some(GATEWAY), Some(&registration(phone).to_string()));
        assert!(reply.status < 300, "{reply:?}");
    };
    register(1);
    register(2);
    assert_eq!(api.call("POST", "/v1/users/jane/stop", Some(ADMIN), None).status, 204);
    assert_eq!(api.call("GET", "/v1/users/jane", Some(ADMIN), None).json()["stopped"], true);
    // A new phone is no reason to send anything to the lost one, and neither is a repeated import.
    register(3);
    let stopped = || {
        let user = api.call("GET", "/v1/users/jane", Some(GATEWAY), None).json();
        let devices = user["devices"].as_array().unwrap();
        (
            user["stopped"].as_bool().unwrap(),
            devices.iter().map(|one| one["stopped"] == true).collect::<Vec<_>>(),
        )
    };
    assert_eq!(stopped(), (false, vec![true, true, false]));
    let line = registration(1).to_string();
    let import = ("application/x-ndjson", line.as_bytes());
    let reply = api.call_as("POST", "/v1/devices/import", Some(ADMIN), Some(import));
    assert_eq!(reply.json()["refreshed"], 1);
    assert_eq!(stopped(), (false, vec![true, true, false]));
    register(2);
    assert_eq!(stopped(), (false, vec![true, false, false]));
    assert_eq!(api.call("DELETE", "/v1/users/jane", Some(ADMIN), None).status, 204);
    for (method, path) in [("POST", "/v1/users/jane/stop"), ("DELETE", "/v1/users/jane")] {
        api.call(method, path, Some(ADMIN), None).error(404, "not_found");
    }
    assert_eq!(api.engine.commands().last(), Some(&"drop"));
}

#[test]
fn each_wrong_value_is_refused_with_the_name_of_its_field() {
    let api = start_with(|config, _| config.exchange.push(exchange("second")));
    let good = json!({"address": "jane@example.com", "exchange": "main", "token": TOKEN});
    assert_eq!(api.call("PUT", DEVICE, Some(GATEWAY), Some(&good.to_string())).status, 201);
    let long = "a".repeat(300);
    let many: Vec<String> = (0..101).map(|n| format!("p{n}@example.com")).collect();
    for (change, field) in [
        (json!({"address": "jane"}), "address"),
        (json!({"address": "jane@exa mple.com"}), "address"),
        (json!({"address": 7}), "address"),
        (json!({"token": "xyz"}), "token"),
        (json!({"token": ""}), "token"),
        (json!({"token": [TOKEN]}), "token"),
        (json!({"topic": "com.example.other"}), "topic"),
        (json!({"topic": "not a topic"}), "topic"),
        (json!({"push": "fcm"}), "push"),
        (json!({"exchange": "elsewhere"}), "exchange"),
        (json!({"exchange": null}), "exchange"),
        (json!({"grouping": long}), "grouping"),
        (json!({"grouping": "a\nb"}), "grouping"),
        (json!({"folders": ["a b"]}), "folders[0]"),
        (json!({"folders": vec!["AAMk="; 17]}), "folders"),
        (json!({"settings": {"sound": "../../etc/passwd"}}), "settings.sound"),
        (json!({"settings": {"vip_sound": ""}}), "settings.vip_sound"),
        (json!({"settings": {"alert": true}}), "settings.alert"),
        (json!({"settings": {"alerts": "yes"}}), "settings.alerts"),
        (json!({"vip": {"senders": ["boss"]}}), "vip.senders[0]"),
        (json!({"vip": {"senders": many}}), "vip.senders"),
        (json!({"active_at_ms": 1_700_000_000_u64}), "active_at_ms"),
        (json!({"active_at_ms": 9_000_000_000_000_u64}), "active_at_ms"),
        (json!({"active_at_ms": -1}), "active_at_ms"),
        (json!({"user": "john"}), "user"),
        (json!({"device": "phone-2"}), "device"),
        (json!({"colour": "red"}), "colour"),
    ] {
        let mut body = good.clone();
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let reply = api.call("PUT", DEVICE, Some(GATEWAY), Some(&body.to_string()));
        assert_eq!(reply.error(400, "bad_request").as_deref(), Some(field), "{change}: {reply:?}");
    }
    for missing in ["address", "token", "exchange"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(missing);
        let reply = api.call("PUT", DEVICE, Some(GATEWAY), Some(&body.to_string()));
        assert_eq!(reply.error(400, "bad_request").as_deref(), Some(missing));
    }
    for (path, field) in [
        ("/v1/users/a%20b/devices/d", Some("user")),
        ("/v1/users/a/devices/%3Cscript%3E", Some("device")),
        ("/v1/users/a/devices/%ff", None),
        ("/v1/users/a%2Fb/devices/d", Some("user")),
        ("/v1/users//devices/d", Some("user")),
    ] {
        let reply = api.call("PUT", path, Some(GATEWAY), Some(&good.to_string()));
        assert_eq!(reply.error(400, "bad_request").as_deref(), field, "{path}");
    }
    let reply = api.call("POST", &format!("{DEVICE}/active"), Some(GATEWAY), Some(r#"{"at_ms":5}"#));
    assert_eq!(reply.error(400, "bad_request").as_deref(), Some("at_ms"));
    assert_eq!(api.users(), 1);
}

#[test]
fn a_body_that_is_no_json_is_refused() {
    let api = start();
    let deep = "[".repeat(4_000);
    for body in ["", "{", "nonsense", "{}{}", "\u{0}", &deep, "{\"address\":\"\\ud800\"}"] {
        api.call("PUT", DEVICE, Some(GATEWAY), Some(body)).error(400, "bad_request");
    }
    api.call_as("PUT", DEVICE, Some(GATEWAY), Some(("application/json", b"{\"a\":\"\xff\"}")))
        .error(400, "bad_request");
    for media_type in ["text/plain", "application/xml", "application/jsonx", ""] {
        let reply = api.call_as("PUT", DEVICE, Some(GATEWAY), Some((media_type, b"{}")));
        reply.error(415, "unsupported_media_type");
    }
    let with_charset = Some(("Application/JSON; charset=utf-8", &b"{}"[..]));
    let reply = api.call_as("PUT", DEVICE, Some(GATEWAY), with_charset);
    assert_eq!(reply.error(400, "bad_request").as_deref(), Some("address"));
}

#[test]
fn a_body_over_the_bound_is_refused_and_the_caller_lives_to_read_why() {
    let api = start();
    for bytes in [16 * 1024 + 1, 700 * 1024] {
        let body = format!("{{\"address\":\"{}\"}}", "a".repeat(bytes));
        let reply = api.call("PUT", DEVICE, Some(GATEWAY), Some(&body));
        reply.error(413, "too_large");
        assert!(reply.text.contains("16384 bytes"), "{reply:?}");
    }
}

#[test]
fn the_tokens_are_kept_apart() {
    let api = start();
    for route in table() {
        let path = route.path.replace("{user}", "u").replace("{device}", "d");
        for (token, role) in
            [(None, None), (Some("wrong"), None), (Some(GATEWAY), Some(false)), (Some(ADMIN), Some(true))]
        {
            let reply = api.call_as(route.method.as_str(), &path, token, None);
            let (expected, code) = match (route.access, role) {
                (Access::Open, _) | (Access::Gateway, Some(_)) => (None, ""),
                (Access::Admin | Access::Metrics, Some(true)) => (None, ""),
                (_, None) => (Some(401), "unauthorized"),
                (Access::Admin | Access::Metrics, Some(false)) => (Some(403), "forbidden"),
            };
            match expected {
                Some(status) => {
                    reply.error(status, code);
                    assert_eq!(reply.headers.contains_key("www-authenticate"), status == 401);
                }
                None => assert!(![401, 403].contains(&reply.status), "{} {path}: {reply:?}", route.method),
            }
        }
    }
    let mut other = api.agent.get(api.url("/v1/status")).header("Authorization", "Basic Ym9zczpib3Nz").call();
    assert_eq!(other.as_mut().unwrap().status().as_u16(), 401);
}

#[test]
fn a_body_that_nobody_read_ends_the_connection_and_the_answer_says_so() {
    let api = start();
    let closes = |method, token, body| {
        let reply = api.call(method, DEVICE, token, body);
        reply.headers.get("connection").is_some_and(|value| value == "close")
    };
    assert!(closes("PUT", None, Some("{}")), "401 without a look at the body");
    assert!(!closes("DELETE", None, None));
    assert!(!closes("PUT", Some(GATEWAY), Some("{}")), "400 after reading it");
}

#[test]
fn an_unset_token_opens_nothing() {
    let api = start_with(|config, _| config.api.tokens.truncate(1));
    for token in ["", ADMIN, "None"] {
        api.call("GET", "/v1/status", Some(token), None).error(401, "unauthorized");
    }
}

#[test]
fn each_token_has_its_own_rate() {
    let api = start_with(|config, _| config.api.requests_per_s = 5);
    let statuses: Vec<u16> =
        (0..30).map(|_| api.call("GET", "/v1/users/nobody", Some(GATEWAY), None).status).collect();
    assert!(statuses.starts_with(&[404; 5]), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    let reply = loop {
        let reply = api.call("GET", "/v1/users/nobody", Some(GATEWAY), None);
        if reply.status == 429 {
            break reply;
        }
    };
    reply.error(429, "too_many_requests");
    assert_eq!(reply.headers["retry-after"], "1");
    assert_eq!(api.call("GET", "/v1/status", Some(ADMIN), None).status, 200, "the other token is free");
    assert_eq!(api.call("GET", "/healthz", None, None).status, 200);
}

#[test]
fn guessing_tokens_is_slow_and_hinders_nobody() {
    let api = start_with(|_, bounds| bounds.strangers_per_s = 5);
    let statuses: Vec<u16> =
        (0..60).map(|_| api.call("GET", "/v1/status", Some("guess"), None).status).collect();
    assert!(statuses.contains(&429) && statuses.contains(&401), "{statuses:?}");
    assert_eq!(api.call("GET", "/v1/status", Some(ADMIN), None).status, 200);
}

#[test]
fn unknown_paths_and_methods_get_the_same_form_of_error() {
    let api = start();
    for path in ["/", "/v1", "/v1/users", "/v1/users/jane/devices", "/V1/status", "/v1/status/"] {
        api.call("GET", path, Some(ADMIN), None).error(404, "not_found");
    }
    for (method, path) in
        [("POST", DEVICE), ("PUT", "/healthz"), ("PATCH", "/v1/status"), ("BREW", "/healthz")]
    {
        let reply = api.call(method, path, None, None);
        reply.error(405, "method_not_allowed");
        assert!(reply.headers.contains_key("allow"), "{reply:?}");
    }
}

#[test]
fn a_store_that_fails_and_an_engine_that_ended_are_said_without_secrets() {
    let api = start();
    api.register("jane", "phone-1");
    assert_eq!(api.call("GET", "/readyz", None, None).json(), json!({"ready": true, "not_ready": []}));
    api.store.broken.store(true, Ordering::Relaxed);
    for (method, path) in [("DELETE", DEVICE), ("GET", "/v1/users/jane")] {
        let reply = api.call(method, path, Some(GATEWAY), None);
        reply.error(503, "unavailable");
        assert_eq!(reply.headers["retry-after"], "5");
        assert!(!reply.text.contains("secret"), "{reply:?}");
    }
    let line = format!(r#"{{"user":"u","device":"d","address":"a@example.com","token":"{TOKEN}"}}"#);
    api.call_as("POST", "/v1/devices/import", Some(ADMIN), Some(("application/x-ndjson", line.as_bytes())))
        .error(503, "unavailable");
    api.engine.stopped.store(true, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(1_100));
    let ready = api.call("GET", "/readyz", None, None);
    assert_eq!(
        (ready.status, ready.json()),
        (503, json!({"ready": false, "not_ready": ["store", "engine"]}))
    );
    assert_eq!(api.call("GET", "/healthz", None, None).json(), json!({"alive": true}));
}

#[test]
fn a_busy_engine_hears_of_a_registration_later() {
    let api = start();
    api.engine.busy.store(20, Ordering::Relaxed);
    assert_eq!(api.register("jane", "phone-1").status, 201);
    assert_eq!(api.engine.commands(), ["assign", "register"]);
}

#[test]
fn an_import_takes_what_is_right_and_names_what_is_wrong() {
    let api = start();
    let good =
        |n: u32| format!(r#"{{"user":"u{n}","device":"d","address":"u{n}@example.com","token":"{n:08x}"}}"#);
    let body = [
        good(1),
        String::new(),
        r#"{"user":"u2","device":"d","address":"u2@example.com","token":"nope"}"#.to_owned(),
        "not json".to_owned(),
        format!("  {}\r", good(3)),
        r#"{"device":"d","address":"u2@example.com","token":"00000000"}"#.to_owned(),
        "x".repeat(60_000),
        good(1),
    ]
    .join("\n");
    let reply = import(&api, body.as_bytes());
    assert_eq!(reply["errors"].as_array().unwrap().len(), 4, "{reply}");
    let errors: Vec<(u64, Option<&str>)> = reply["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["line"].as_u64().unwrap(), error["field"].as_str()))
        .collect();
    assert_eq!(errors, [(3, Some("token")), (4, None), (6, Some("user")), (7, None)]);
    for (name, n) in [("lines", 7), ("created", 2), ("refreshed", 1), ("refused", 4), ("errors_left_out", 0)]
    {
        assert_eq!(reply[name], n, "{name}: {reply}");
    }
    let reply = import(&api, "nonsense\n".repeat(1_500).as_bytes());
    assert_eq!((&reply["refused"], &reply["errors_left_out"]), (&json!(1_500), &json!(500)));
    api.call_as("POST", "/v1/devices/import", Some(ADMIN), Some(("application/json", b"")))
        .error(415, "unsupported_media_type");
    assert_eq!(import(&api, b"")["lines"], 0);
}

#[test]
fn thirteen_thousand_devices_are_imported_quickly() {
    let api = start();
    let body: String = (0..13_000)
        .map(|n| {
            format!(
                "{{\"user\":\"user-{n}\",\"device\":\"phone\",\"address\":\"user-{n}@example.com\",\"token\":\"{n:064x}\",\"settings\":{{\"details\":true}}}}\n"
            )
        })
        .collect();
    let started = Instant::now();
    let reply = import(&api, body.as_bytes());
    assert_eq!(reply["created"], 13_000, "{reply}");
    assert_eq!(api.users(), 13_000);
    // Far above what it takes, as tests share their machine: this catches a wrong order of growth.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

fn import(api: &Running, body: &[u8]) -> Value {
    let reply = api.call_as("POST", "/v1/devices/import", Some(ADMIN), Some(("application/x-ndjson", body)));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[test]
fn status_and_metrics_show_the_same_numbers() {
    let api = start();
    api.register("jane", "phone-1");
    let status = api.call("GET", "/v1/status", Some(ADMIN), None).json();
    assert_eq!((&status["users"], &status["devices"], &status["streams"]), (&json!(1), &json!(1), &json!(3)));
    assert_eq!(status["ledger"]["signalled"], 7);
    assert_eq!(status["mail_servers"], json!([{"name": "main", "state": "well"}]));
    let metrics = api.call("GET", "/metrics", Some(ADMIN), None);
    for line in [
        "carillon_users 1",
        "carillon_streams 3",
        "carillon_mails_total{station=\"signalled\"} 7",
        "carillon_mail_server_up{exchange=\"main\"} 1",
        "carillon_api_requests_total{method=\"PUT\",route=\"/v1/users/{user}/devices/{device}\",status=\"201\"} 1",
    ] {
        assert!(metrics.text.contains(line), "{line} is missing in\n{}", metrics.text);
    }
    assert!(!metrics.text.contains("jane"), "no user in the metrics");
    for n in 0..50 {
        api.call(&format!("M{n}"), &format!("/nothing/{n}"), None, None);
    }
    let metrics = api.call("GET", "/metrics", Some(ADMIN), None);
    assert!(metrics.text.matches("carillon_api_requests_total").count() < 20, "callers cannot make series");
}

#[test]
fn metrics_are_open_where_the_configuration_says_so() {
    let api = start_with(|config, _| config.api.metrics_open = true);
    assert_eq!(api.call("GET", "/metrics", None, None).status, 200);
}

#[test]
fn the_document_and_the_routes_are_the_same() {
    let document = serde_json::to_value(Document::openapi()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let schemes: BTreeSet<&str> = operation["security"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|one| one.as_object().unwrap().keys().next().map_or("", String::as_str))
                .collect();
            let access = match Vec::from_iter(schemes).as_slice() {
                [] => Access::Open,
                ["admin", "gateway"] => Access::Gateway,
                ["admin"] => Access::Admin,
                ["", "admin"] => Access::Metrics,
                other => panic!("{method} {path}: {other:?}"),
            };
            documented.insert((method.to_uppercase(), path.clone(), format!("{access:?}")));
        }
    }
    let routed: BTreeSet<_> = table()
        .iter()
        .map(|route| (route.method.to_string(), route.path.to_owned(), format!("{:?}", route.access)))
        .collect();
    assert_eq!(documented, routed);
    let api = start();
    assert_eq!(api.call("GET", "/openapi.json", None, None).json(), document);
    for (method, path, _) in documented {
        let reply = api.call_as(&method, &path.replace(['{', '}'], ""), Some(ADMIN), None);
        assert!(reply.status != 405 && !reply.text.contains("no such path"), "{method} {path}: {reply:?}");
    }
}

#[test]
fn a_connection_that_says_nothing_or_says_it_slowly_is_closed() {
    let api = start_with(|_, bounds| {
        bounds.handshake_time = Duration::from_millis(300);
        bounds.head_time = Duration::from_millis(300);
        bounds.body_time = Duration::from_millis(300);
    });
    let closes = |mut stream: Box<dyn ReadWrite>, first: &[u8]| {
        stream.write_all(first).unwrap();
        let started = Instant::now();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(started.elapsed() < Duration::from_secs(8), "was not closed");
        String::from_utf8_lossy(&answer).into_owned()
    };
    closes(Box::new(tcp(&api)), b"");
    closes(Box::new(tcp(&api)), b"\x16\x03\x01");
    closes(Box::new(tls(&api)), b"");
    closes(Box::new(tls(&api)), b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ");
    let head = format!(
        "PUT {DEVICE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {GATEWAY}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    let answer = closes(Box::new(tls(&api)), head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":\"timeout\""), "{answer}");
    assert_eq!(api.call("GET", "/healthz", None, None).status, 200);
}

#[test]
fn what_is_not_http_does_no_harm() {
    let api = start();
    for bytes in [
        &b"\x00\x01\x02\x03\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/devices/import HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
    ] {
        let mut stream = tls(&api);
        stream.write_all(bytes).unwrap();
        stream.conn.send_close_notify();
        let _ = stream.flush();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    let mut stream = tls(&api);
    let _ = stream.write_all(format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000)).as_bytes());
    assert_eq!(api.call("GET", "/healthz", None, None).status, 200);
}

#[test]
fn curl_can_use_it() {
    let api = start();
    let output = std::process::Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "10", "--cacert"])
        .arg(&api.config.api.cert_file)
        .args(["--request", "PUT", "--header", "Content-Type: application/json"])
        .args(["--header", &format!("Authorization: Bearer {GATEWAY}")])
        .args(["--data", &format!(r#"{{"address":"jane@example.com","token":"{TOKEN}"}}"#)])
        .args(["--write-out", " %{http_code}", &api.url(DEVICE)])
        .output();
    // A machine without curl has nothing to show here; the other tests do the same with another client.
    let Ok(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.ends_with(" 201"), "{text} {}", String::from_utf8_lossy(&output.stderr));
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}
