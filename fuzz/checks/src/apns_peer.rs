//! The simulated APNs, as far as it reads what a client sends. Input: which face, then pushes, each header of which is
//! missing, good, doubled or anything; or HTTP/2 frames.

use carillon_core::push::{Outcome, classify};
use carillon_core::time::{Now, Span, Time, UnixMillis};
use carillon_harness::apns::auth::Binding;
use carillon_harness::apns::request::Head;
use carillon_harness::apns::{
    Apns, Delivery, Environment, KeyScope, Knobs, Origin, Reason, Service, TeamKey, TokenSpec, Verdict,
    WorldKey,
};
use carillon_harness::peer::{Hello, Peer, PeerConn};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::input::{Input, cut};

/// What is accepted follows every rule, what is refused says why in words that the client understands; HTTP/2 of any kind
/// ends in as many deliveries as pushes that were accepted.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    if input.flag() { judged(&mut input) } else { framed(&mut input) }
}

const TEAM: &str = "TEAM000001";
const KID: &str = "KEY0000001";
const BUNDLE: &str = "com.example.mail";
const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
const GONE: &str = "00fc13adff785122";
const APNS_ID: &str = "eabeae54-14a8-11e5-b60b-1697f925ec7b";
const BODY: &str =
    r#"{"aps":{"badge":3,"alert":{"loc-key":"NEW_MAIL"}},"m":{"a":"0123456789abcdef","n":1,"i":[]}}"#;
const START: Now = Now { time: Time(1_000_000_000), unix: UnixMillis(1_750_000_000_000) };
const CONN: PeerConn = PeerConn(1);
const PUSHES_MAX: usize = 16;

fn key() -> (WorldKey, TeamKey) {
    let key = WorldKey::new(1);
    let (team, kid, public_key) = (TEAM.to_owned(), KID.to_owned(), key.shared());
    (key, TeamKey { team, kid, public_key, scope: KeyScope::Team, environment: None })
}

fn spec(token: &str) -> TokenSpec<'_> {
    TokenSpec { token, bundle: BUNDLE, environment: Environment::Production, tag: 42 }
}

/// One push as it is sent.
struct Push {
    method: String,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
    /// Nothing was changed.
    good: bool,
}

fn judged(input: &mut Input<'_>) {
    let (key, team_key) = key();
    let mut service = Service::new(Environment::Production, Knobs::default(), 7);
    service.accounts.add_key(team_key);
    service.accounts.add_app(START, BUNDLE, TEAM);
    service.registry.register(&spec(TOKEN));
    let gone = service.registry.register(&spec(GONE));
    service.registry.row_mut(gone).set_gone(Reason::Unregistered, UnixMillis(1_749_000_000_000));
    let (mut binding, mut now) = (Binding::Unbound, START);
    for number in 0..PUSHES_MAX {
        if input.is_empty() {
            break;
        }
        let push = push(input, &key);
        let head = Head {
            method: &push.method,
            path: &push.path,
            authority: Some("api.push.apple.com"),
            headers: &push.headers,
        };
        let origin = Origin { conn: CONN, client: "192.0.2.1" };
        let verdict = service.push(now, origin, &mut binding, &head, &push.body);
        let delivery = service.poll_delivery();
        assert!(service.poll_delivery().is_none(), "one push is delivered once");
        match delivery {
            Some(delivery) => accepted(&push, &verdict, &delivery),
            None => refused(&push, &verdict, number),
        }
        let minutes = u64::from(input.u8() % 8);
        now = Now {
            time: now.time + Span::from_secs(60 * minutes),
            unix: UnixMillis(now.unix.0 + 60_000 * minutes),
        };
    }
}

fn push(input: &mut Input<'_>, key: &WorldKey) -> Push {
    let mut good = true;
    let mut choice = |input: &mut Input<'_>| {
        let choice = input.u8() % 8;
        good &= choice < 4;
        choice
    };
    let method = if choice(input) < 7 { "POST".to_owned() } else { input.text() };
    let path = match choice(input) {
        0..5 => format!("/3/device/{TOKEN}"),
        5 => format!("/3/device/{GONE}"),
        6 => format!("/3/device/{}", TOKEN.to_ascii_uppercase()),
        _ => input.text(),
    };
    let jwt = key.sign(TEAM, KID, START.unix);
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("authorization", format!("bearer {jwt}")),
        ("apns-topic", BUNDLE.to_owned()),
        ("apns-push-type", "alert".to_owned()),
        ("apns-id", APNS_ID.to_owned()),
        ("apns-priority", "10".to_owned()),
        ("apns-expiration", "1750000600".to_owned()),
        ("apns-collapse-id", "m0011223344556677".to_owned()),
    ] {
        let field = HeaderName::from_static(name);
        let value = match choice(input) {
            0..4 => value,
            4 => continue,
            5 => {
                headers.append(field.clone(), HeaderValue::from_static("10"));
                value
            }
            6 if name == "authorization" => {
                let issued = UnixMillis(if input.flag() {
                    input.u64()
                } else {
                    START.unix.0 + u64::from(input.u16())
                });
                let team = if input.flag() { input.text() } else { TEAM.to_owned() };
                format!("Bearer {}", key.sign(&team, KID, issued))
            }
            _ => {
                let len = usize::from(input.u8());
                let Ok(any) = HeaderValue::from_bytes(input.bytes(len)) else { continue };
                headers.append(field, any);
                continue;
            }
        };
        headers.append(field, HeaderValue::try_from(value).expect("printable"));
    }
    let body = if choice(input) < 4 {
        BODY.as_bytes().to_vec()
    } else {
        let (len, times) = (usize::from(input.u16()), input.u8());
        input.bytes(len).repeat(usize::from(times % 8))
    };
    Push { method, path, headers, body, good }
}

fn accepted(push: &Push, verdict: &Verdict, delivery: &Delivery) {
    assert_eq!(verdict.result, Ok(()));
    assert!(verdict.authenticated && verdict.gone.is_none());
    let one = |name: &str| {
        assert!(push.headers.get_all(name).iter().count() <= 1, "{name} twice");
        push.headers.get(name).map(|value| value.to_str().expect("visible"))
    };
    assert_eq!(push.method, "POST");
    assert_eq!(push.path.to_ascii_lowercase(), format!("/3/device/{TOKEN}"));
    assert_eq!((&*delivery.token, &*delivery.topic, delivery.tag), (TOKEN, BUNDLE, 42));
    assert!(one("authorization").is_some_and(|value| value[..7].eq_ignore_ascii_case("bearer ")));
    let suffix = delivery.push_type.suffix();
    assert_eq!(one("apns-topic"), Some(format!("{BUNDLE}{suffix}").as_str()));
    if let Some(id) = one("apns-id") {
        let hex: String = id.split('-').collect();
        assert_eq!((id.len(), u128::from_str_radix(&hex, 16)), (36, Ok(delivery.apns_id)));
    }
    assert_eq!(verdict.apns_id, delivery.apns_id);
    assert_eq!(one("apns-priority").unwrap_or("10"), delivery.priority.to_string());
    let expiration = one("apns-expiration").map(|digits| digits.parse().expect("digits"));
    assert_eq!(expiration, delivery.expiration_s);
    assert_eq!(one("apns-collapse-id"), delivery.collapse_id.as_deref());
    assert!(delivery.collapse_id.as_ref().is_none_or(|id| id.len() <= 64));
    assert!(!push.body.is_empty() && push.body.len() <= 5_120);
    assert_eq!(delivery.bytes as usize, push.body.len());

    let payload = &delivery.payload;
    if delivery.fault.is_none() {
        let json: Value = serde_json::from_slice(&push.body).expect("what has no fault is JSON");
        assert_eq!(json["aps"]["badge"].as_u64(), payload.badge.map(u64::from));
        assert_eq!(payload.is_alert(), !json["aps"]["alert"].is_null());
        assert_eq!(json["m"]["i"].as_array().map_or(0, Vec::len), payload.items.len());
        assert!(payload.items.len() <= payload.n as usize);
    }
}

fn refused(push: &Push, verdict: &Verdict, number: usize) {
    let Err(refusal) = verdict.result else { panic!("accepted, and not delivered") };
    assert!(!push.good || number > 0, "refused for nothing: {:?}", refusal.reason);
    let (status, body) = (refusal.reason.status(), refusal.body());
    let json: Value = serde_json::from_str(&body).expect("a refusal is JSON");
    assert_eq!(json["reason"].as_str(), Some(refusal.reason.text()));
    match classify(status, Some(body.as_bytes()), None).outcome {
        Outcome::Accepted => panic!("{status} {body} is taken for accepted"),
        Outcome::TokenGone { since } => assert_eq!(since, refusal.since),
        Outcome::TokenSuspect(reason)
        | Outcome::AuthStale(reason)
        | Outcome::TooManyTokens(reason)
        | Outcome::ServiceRefused(reason)
        | Outcome::Rejected(reason) => assert_eq!(reason.as_str(), refusal.reason.text()),
        Outcome::Throttled { .. } | Outcome::TooLarge | Outcome::Retry { .. } => {}
    }
}

fn framed(input: &mut Input<'_>) {
    let (key, team_key) = key();
    let mut now = START;
    let mut apns = Apns::new(Environment::Production, Knobs::default(), 7);
    apns.add_key(team_key);
    apns.add_app(now, BUNDLE, TEAM);
    apns.register(&spec(TOKEN));
    let (how, alpn) = (input.u8(), Some(b"h2".to_vec()));
    apns.accepted(now, CONN, Hello { client: "192.0.2.1".to_owned(), alpn, ..Hello::default() });
    let mut sent = Vec::new();
    if !input.u8().is_multiple_of(16) {
        sent.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frame(&mut sent, 4, 0, 0, b"");
    }
    let mut deliveries = 0;
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        match input.u8() % 8 {
            0 => {
                let push = push(input, &key);
                whole(&mut sent, 1 + 2 * u32::from(input.u8()), &push);
            }
            1 => {
                let len = input.below(64);
                sent.extend_from_slice(input.bytes(len));
            }
            2 | 3 => {
                let (kind, flags, stream, len) = (input.u8() % 12, input.u8(), input.u8(), input.below(48));
                frame(&mut sent, kind, flags, stream.into(), input.bytes(len));
            }
            4 => {
                let span = Span::from_millis(1 << (input.u8() % 18));
                now = Now { time: now.time + span, unix: UnixMillis(now.unix.0 + span.as_millis()) };
                apns.tick(now);
                assert!(apns.next_deadline().is_none_or(|next| next > now.time), "what was due is done");
            }
            5 => apns.go_silent(CONN),
            _ => {
                for piece in cut(how, &std::mem::take(&mut sent)) {
                    apns.received(now, CONN, piece);
                }
                let mut out = Vec::new();
                let output = apns.drain(now, CONN, &mut out, 16 * 1024);
                assert!(out.len() <= 16 * 1024);
                assert!(output.close.is_none() || apns.connections().is_empty());
            }
        }
        while let Some(delivery) = apns.poll_delivery() {
            assert_eq!((&*delivery.token, &*delivery.topic, delivery.conn), (TOKEN, BUNDLE, CONN));
            deliveries += 1;
        }
        while let Some(arrived) = apns.poll_arrived() {
            assert_eq!((arrived.conn, arrived.tag), (CONN, 42));
        }
    }
    let stats = apns.stats();
    assert_eq!(stats.accepted, deliveries);
    assert_eq!(stats.requests, stats.accepted + stats.refused.values().sum::<u64>());
}

/// A push as HEADERS and DATA.
fn whole(sent: &mut Vec<u8>, stream: u32, push: &Push) {
    let mut block = Vec::new();
    // Indexed: `:scheme: https`; all else as literals that nobody remembers (RFC 7541 §6.1, §6.2.2).
    block.push(0x87);
    literal(&mut block, b":method", push.method.as_bytes());
    literal(&mut block, b":path", push.path.as_bytes());
    literal(&mut block, b":authority", b"api.push.apple.com");
    for (name, value) in &push.headers {
        literal(&mut block, name.as_str().as_bytes(), value.as_bytes());
    }
    let end = if push.body.is_empty() { 1 } else { 0 };
    frame(sent, 1, 4 | end, stream, &block);
    if !push.body.is_empty() {
        frame(sent, 0, 1, stream, &push.body[..push.body.len().min(16_000)]);
    }
}

/// Lengths up to 126 in one byte; longer texts in two or three (RFC 7541 §5.1).
fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        match text.len() {
            short @ 0..127 => block.push(short as u8),
            long => {
                let mut rest = long - 127;
                block.push(127);
                while rest >= 128 {
                    block.push(128 | (rest % 128) as u8);
                    rest /= 128;
                }
                block.push(rest as u8);
            }
        }
        block.extend_from_slice(text);
    }
}

fn frame(sent: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, l0, l1, l2] = (payload.len() as u32).to_be_bytes();
    sent.extend_from_slice(&[l0, l1, l2, kind, flags]);
    sent.extend_from_slice(&stream.to_be_bytes());
    sent.extend_from_slice(payload);
}
