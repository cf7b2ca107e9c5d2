//! What a client of the API sends beside its JSON: method, path, query, headers. Input: each of them, then the body.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use carillon::api::places::{PlaceBounds, Places};
use carillon::api::{ApiState, Bounds, Extras, routes};
use carillon::app::App;
use carillon::auth::Role;
use carillon::config::Config;
use carillon::directory::Directory;
use carillon::ids::UserId;
use carillon::store::Write;
use serde_json::Value;

use self::parts::{Deaf, Noting};
use crate::input::Input;

mod parts;

/// The answer is what another reading of path, method and token expects; what reaches the store is of exactly the user
/// and device that the path names; nothing is done for who may not, and no answer repeats a token.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let Some((request, sent)) = request(&mut input) else { return };
    let expected = expected(&request, &sent);
    let what = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
    let head_only = request.method() == Method::HEAD;

    let (status, headers, body, done) = RIG.with(|rig| rig.answer(request));
    assert!(expected.statuses.contains(&status), "{status}, not one of {:?}: {what}", expected.statuses);
    match expected.done {
        Expect::Nothing => assert_eq!(done, [], "{status}: {what}"),
        Expect::Always(wanted) => assert_eq!(done, [wanted], "{status}: {what}"),
        Expect::IfTaken(wanted) if status < 300 => assert_eq!(done, [wanted], "{status}: {what}"),
        Expect::IfTaken(_) => assert_eq!(done, [], "{status}: {what}"),
        Expect::Anything => {}
    }

    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(headers.contains_key(header::WWW_AUTHENTICATE), status == 401);
    // Names of members that the caller made up are told him.
    for token in [GATEWAY, ADMIN].map(str::as_bytes) {
        assert!(!has(&body, token) || has(&sent, token), "{what}");
    }
    if status >= 400 && !head_only {
        let answer: Value = serde_json::from_slice(&body).expect("an error is JSON");
        let (code, message) = (answer["error"]["code"].as_str(), answer["error"]["message"].as_str());
        assert!(code.is_some_and(|code| !code.is_empty()), "{answer}");
        assert!(message.is_some_and(|message| !message.is_empty() && message.len() <= 400), "{answer}");
    }
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

const GATEWAY: &str = "the-gateways-own-token-0123";
const ADMIN: &str = "the-administrators-own-token";
const BODY_BYTES_MAX: usize = 1_024;
const REGISTRATION: &str = r#"{"address":"jane@example.com","token":"00112233445566778899aabbccddeeff"}"#;

fn request(input: &mut Input<'_>) -> Option<(Request<Body>, Vec<u8>)> {
    const METHODS: [Method; 6] =
        [Method::PUT, Method::DELETE, Method::POST, Method::GET, Method::HEAD, Method::OPTIONS];
    let method = match METHODS.get(usize::from(input.u8() % 8)) {
        Some(known) => known.clone(),
        None => Method::from_bytes(input.text().as_bytes()).ok()?,
    };
    let (kind, user, device) = (input.u8(), input.text(), input.text());
    let path = match kind % 12 {
        0 | 1 => format!("/v1/users/{user}/devices/{device}"),
        2 => format!("/v1/users/{user}/devices/{device}/active"),
        3 | 4 => format!("/v1/users/{user}"),
        5 => format!("/v1/users/{user}/stop"),
        6 => "/v1/devices/import".to_owned(),
        7 => "/v1/status".to_owned(),
        8 => "/metrics".to_owned(),
        9 => "/readyz".to_owned(),
        10 => format!("/v1/{user}"),
        _ => user,
    };
    let query = if input.flag() { format!("?{}", input.text()) } else { String::new() };
    let uri = Uri::try_from(format!("{path}{query}")).ok()?;
    let mut request = Request::new(Body::empty());
    (*request.method_mut(), *request.uri_mut()) = (method, uri);

    let headers = request.headers_mut();
    let tokens = match input.u8() % 8 {
        0 => Vec::new(),
        1 => vec![format!("Bearer {ADMIN}").into_bytes()],
        2 => vec![format!("bEARER  {GATEWAY} ").into_bytes()],
        3 => vec![format!("Bearer {ADMIN}").into_bytes(), input.text().into_bytes()],
        4 => vec![input.text().into_bytes()],
        5 => vec![[b"Bearer ", input.bytes(24)].concat()],
        _ => vec![format!("Bearer {GATEWAY}").into_bytes()],
    };
    for token in tokens {
        headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(&token).ok()?);
    }
    let media = match input.u8() % 6 {
        0 => None,
        1 => Some("application/x-ndjson".to_owned()),
        2 => Some(input.text()),
        _ => Some("application/json; charset=utf-8".to_owned()),
    };
    if let Some(media) = media {
        headers.append(header::CONTENT_TYPE, HeaderValue::from_bytes(media.as_bytes()).ok()?);
    }
    let body = if input.flag() { REGISTRATION.as_bytes().to_vec() } else { input.rest().to_vec() };
    *request.body_mut() = Body::from(body.clone());
    Some((request, body))
}

/// What the store is asked to do or read, by the names in the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Registered(String, String),
    Touched(String, String),
    DeviceRemoved(String, String),
    UserRemoved(String),
    UserStopped(String),
    UserRead(String),
}

impl Done {
    fn of(write: &Write) -> Done {
        let text = |user: &UserId| user.as_str().to_owned();
        match write {
            Write::Register(one) => Done::Registered(text(&one.user), one.device.as_str().to_owned()),
            Write::Touch { user, device, .. } => Done::Touched(text(user), device.as_str().to_owned()),
            Write::RemoveDevice { user, device } => {
                Done::DeviceRemoved(text(user), device.as_str().to_owned())
            }
            Write::StopUser { user } => Done::UserStopped(text(user)),
            Write::RemoveUser { user } => Done::UserRemoved(text(user)),
        }
    }
}

struct Expected {
    statuses: &'static [u16],
    done: Expect,
}

enum Expect {
    Nothing,
    Always(Done),
    IfTaken(Done),
    /// What is in the lines of an import.
    Anything,
}

impl Expected {
    fn only(statuses: &'static [u16]) -> Expected {
        Expected { statuses, done: Expect::Nothing }
    }
}

/// A second reading of the request: by hand, from the table of routes in `docs/api.md`.
fn expected(request: &Request<Body>, body: &[u8]) -> Expected {
    let method = request.method().as_str();
    let get = matches!(method, "GET" | "HEAD");
    let segments: Vec<&str> = request.uri().path().split('/').collect();
    let needed = match (segments.as_slice(), method) {
        // A name may be missing in the middle, and is then none; at the end there is no path without it.
        ([.., ""], _) => return Expected::only(&[404]),
        (["", "healthz" | "readyz" | "openapi.json"], _) if get => return Expected::only(&[200]),
        (["", "v1", "users", _, "devices", _], "PUT" | "DELETE") => Role::Gateway,
        (["", "v1", "users", _, "devices", _, "active"], "POST") => Role::Gateway,
        (["", "v1", "users", _], _) if get => Role::Gateway,
        (["", "v1", "users", _], "DELETE") => Role::Admin,
        (["", "v1", "users", _, "stop"] | ["", "v1", "devices", "import"], "POST") => Role::Admin,
        (["", "v1", "status"] | ["", "metrics"], _) if get => Role::Admin,
        (segments, _) => return Expected::only(if is_route(segments) { &[405] } else { &[404] }),
    };
    match role(request.headers()) {
        None => return Expected::only(&[401]),
        Some(role) if role < needed => return Expected::only(&[403]),
        Some(_) => {}
    }
    let done = match *segments.as_slice() {
        ["", "v1", "users", user, "devices", device, ..] => {
            let (Some(user), Some(device)) = (id(user), id(device)) else { return Expected::only(&[400]) };
            match method {
                "PUT" => Done::Registered(user, device),
                "DELETE" => Done::DeviceRemoved(user, device),
                _ => Done::Touched(user, device),
            }
        }
        ["", "v1", "users", user, ..] => {
            let Some(user) = id(user) else { return Expected::only(&[400]) };
            match method {
                "DELETE" => Done::UserRemoved(user),
                "POST" => Done::UserStopped(user),
                _ => return Expected { statuses: &[404], done: Expect::Always(Done::UserRead(user)) },
            }
        }
        ["", "v1", "devices", "import"] => {
            let types = ["application/x-ndjson", "application/ndjson", "application/jsonl"];
            let statuses: &[u16] = if is_of(request.headers(), &types) { &[200] } else { &[415] };
            return Expected { statuses, done: Expect::Anything };
        }
        _ => return Expected::only(&[200]),
    };
    let json = is_of(request.headers(), &["application/json"]);
    let statuses: &[u16] = match &done {
        Done::Registered(..) if !json => &[415],
        Done::Registered(..) | Done::Touched(..) if body.len() > BODY_BYTES_MAX => &[413],
        Done::Registered(..) if body == REGISTRATION.as_bytes() => &[201],
        Done::Registered(..) => &[201, 400],
        Done::Touched(..) if body.is_empty() => &[204],
        Done::Touched(..) if !json => &[415],
        Done::Touched(..) => &[204, 400],
        Done::DeviceRemoved(..) | Done::UserRemoved(_) | Done::UserStopped(_) | Done::UserRead(_) => &[204],
    };
    Expected { statuses, done: Expect::IfTaken(done) }
}

/// Whether some method leads somewhere.
fn is_route(segments: &[&str]) -> bool {
    matches!(
        segments,
        ["", "healthz" | "readyz" | "openapi.json" | "metrics"]
            | ["", "v1", "status"]
            | ["", "v1", "devices", "import"]
            | ["", "v1", "users", _]
            | ["", "v1", "users", _, "stop"]
            | ["", "v1", "users", _, "devices", _]
            | ["", "v1", "users", _, "devices", _, "active"]
    )
}

/// Whether the body is said to be of one of these types (RFC 9110 §8.3.1).
fn is_of(headers: &HeaderMap, types: &[&str]) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = text.and_then(|text| text.split(';').next()).unwrap_or_default().trim_matches([' ', '\t']);
    types.iter().any(|known| known.eq_ignore_ascii_case(essence))
}

/// The id that stands in a segment of a path (RFC 3986 §2.1), if it is one.
fn id(segment: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = segment.as_bytes();
    while let [first, behind @ ..] = rest {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        match (first, behind) {
            (b'%', [high, low, behind @ ..]) if digit(*high).is_some() && digit(*low).is_some() => {
                bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
                rest = behind;
            }
            (other, behind) => {
                bytes.push(*other);
                rest = behind;
            }
        }
    }
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._@:-".contains(byte);
    if bytes.is_empty() || bytes.len() > 128 || !bytes.iter().all(plain) {
        return None;
    }
    String::from_utf8(bytes).ok()
}

/// Whose token the one `Authorization` header holds.
fn role(headers: &HeaderMap) -> Option<Role> {
    let values: Vec<_> = headers.get_all(header::AUTHORIZATION).iter().collect();
    let [value] = values.as_slice() else { return None };
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    if text.len() < 7 || !text.is_char_boundary(7) || !text[..7].eq_ignore_ascii_case("bearer ") {
        return None;
    }
    match text[7..].trim_matches([' ', '\t']) {
        ADMIN => Some(Role::Admin),
        GATEWAY => Some(Role::Gateway),
        _ => None,
    }
}

thread_local! {
    static RIG: Rig = Rig::new();
}

/// The API over a store that only takes notes.
struct Rig {
    runtime: tokio::runtime::Runtime,
    router: Router,
    done: Arc<Mutex<Vec<Done>>>,
}

impl Rig {
    fn new() -> Rig {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let env = |name: &str| match name {
            "GATEWAY" => Some(GATEWAY.to_owned()),
            "ADMIN" => Some(ADMIN.to_owned()),
            _ => None,
        };
        let config = Config::parse("/nowhere/carillon.toml".as_ref(), CONFIG, &env).expect("a configuration");
        let config = Arc::new(config);
        let done = Arc::default();
        let store = Arc::new(Noting { done: Arc::clone(&done) });
        let bounds = Bounds { strangers_per_s: u32::MAX, health_per_s: u32::MAX, ..Bounds::default() };
        let places = Places::new(PlaceBounds::of(bounds.connections_max));
        let _entered = runtime.enter();
        let app = App::start(config, store, Arc::new(Deaf), Arc::new(Directory::new(1, 1)));
        let router = routes::router(ApiState::new(app, bounds, Extras::default(), places));
        drop(_entered);
        Rig { runtime, router, done }
    }

    /// Status, headers, body, and what the store was asked for.
    fn answer(&self, request: Request<Body>) -> (u16, HeaderMap, Vec<u8>, Vec<Done>) {
        let mut router = self.router.clone();
        let (parts, body) = self.runtime.block_on(async {
            let Ok(response) = tower_service::Service::call(&mut router, request).await;
            let (parts, body) = response.into_parts();
            (parts, to_bytes(body, 1024 * 1024).await.expect("a body of ours"))
        });
        let done = std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner));
        (parts.status.as_u16(), parts.headers, body.to_vec(), done)
    }
}

const CONFIG: &str = r#"
[api]
cert_file = "api.crt"
key_file = "api.key"
gateway_token_env = "GATEWAY"
admin_token_env = "ADMIN"
body_bytes_max = 1024
requests_per_s = 1000000
[store]
path = "a.db"
[[push]]
name = "apns"
topics = ["com.example.mail"]
cert_file = "push.crt"
cert_key_file = "push.key"
"#;
