//! Tests, by what they look at, and what they share.

mod device;
mod payload;
mod refusals;
mod tokens;
mod wire;

use carillon_core::time::{Now, Span, Time, UnixMillis};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use ring::rand::SystemRandom;

use super::auth::Binding;
use super::request::Head;
use super::*;
use crate::peer::PeerConn;

const TEAM: &str = "TEAM000001";
const OTHER_TEAM: &str = "TEAM000002";
const KID: &str = "KEY0000001";
const BUNDLE: &str = "com.example.mail";
const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
const APNS_ID: &str = "eabeae54-14a8-11e5-b60b-1697f925ec7b";
const BODY: &str = r#"{"aps":{"badge":3}}"#;

/// A service with one team, one app and one phone, and one connection to it.
struct Bench {
    service: Service,
    binding: Binding,
    client: String,
    now: Now,
    key: ProviderKey,
    random: SystemRandom,
    device: DeviceIx,
    jwt: String,
}

/// A push that nothing is wrong with, to be spoiled by a test.
#[derive(Clone)]
struct Push {
    method: &'static str,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

fn start() -> Now {
    Now { time: Time(1_000_000_000), unix: UnixMillis(1_750_000_000_000) }
}

fn later(now: Now, span: Span) -> Now {
    Now { time: now.time + span, unix: UnixMillis(now.unix.0 + span.as_millis()) }
}

fn team_key(key: &ProviderKey, team: &str, kid: &str) -> TeamKey {
    TeamKey {
        team: team.into(),
        kid: kid.into(),
        public_key: key.public_key().to_vec(),
        scope: KeyScope::Team,
        environment: None,
    }
}

impl Bench {
    fn new() -> Bench {
        let (now, random) = (start(), SystemRandom::new());
        let key = ProviderKey::generate(&random);
        let mut service = Service::new(Environment::Production, Knobs::default(), 7);
        service.accounts.add_key(team_key(&key, TEAM, KID));
        service.accounts.add_app(now, BUNDLE, TEAM);
        let device = service.registry.register(&TokenSpec {
            token: TOKEN,
            bundle: BUNDLE,
            environment: Environment::Production,
            tag: 42,
        });
        let jwt = key.sign(TEAM, KID, now.unix, &random);
        let (binding, client) = (Binding::Unbound, "192.0.2.1".to_owned());
        Bench { service, binding, client, now, key, random, device, jwt }
    }

    fn push(&self) -> Push {
        let mut push = Push::good(&self.jwt);
        push.set("apns-id", APNS_ID);
        push
    }

    fn send(&mut self, push: &Push) -> Result<(), Refusal> {
        let head = Head {
            method: push.method,
            path: &push.path,
            authority: Some("api.push.apple.com"),
            headers: &push.headers,
        };
        let origin = Origin { conn: PeerConn(1), client: &self.client };
        self.service.push(self.now, origin, &mut self.binding, &head, &push.body).result
    }

    /// The reason for which a push is refused; `None` when it is accepted.
    fn refusal(&mut self, push: &Push) -> Option<Reason> {
        self.send(push).err().map(|refusal| refusal.reason)
    }

    /// As [`Bench::refusal`], after spoiling the good push.
    fn refusal_of(&mut self, spoil: impl FnOnce(&mut Push)) -> Option<Reason> {
        let mut push = self.push();
        spoil(&mut push);
        self.refusal(&push)
    }

    /// Another connection from the same address.
    fn reconnect(&mut self) {
        self.binding = Binding::Unbound;
    }

    fn wait(&mut self, span: Span) {
        self.now = later(self.now, span);
    }

    fn use_token(&mut self, team: &str, kid: &str) {
        self.jwt = self.key.sign(team, kid, self.now.unix, &self.random);
    }
}

impl Push {
    fn good(jwt: &str) -> Push {
        let mut push = Push {
            method: "POST",
            path: format!("/3/device/{TOKEN}"),
            headers: HeaderMap::new(),
            body: BODY.into(),
        };
        push.set("authorization", &format!("bearer {jwt}"));
        push.set("apns-topic", BUNDLE);
        push.set("apns-push-type", "alert");
        push
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }

    fn append(&mut self, name: &'static str, value: &str) {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }

    fn without(&mut self, name: &'static str) {
        self.headers.remove(name);
    }
}

#[test]
fn statuses_are_those_of_apples_table() {
    for reason in Reason::ALL {
        assert!(matches!(reason.status(), 400 | 403 | 404 | 405 | 410 | 413 | 429 | 500 | 503), "{reason:?}");
    }
    assert_eq!(Reason::ALL.len(), 32);
    assert_eq!((Reason::Unregistered.status(), Reason::Unregistered.text()), (410, "Unregistered"));
    let gone = Refusal { since: Some(UnixMillis(17)), ..Reason::Unregistered.into() };
    assert_eq!(gone.body(), r#"{"reason":"Unregistered","timestamp":17}"#);
    assert_eq!(Refusal::from(Reason::BadPath).body(), r#"{"reason":"BadPath"}"#);
}
