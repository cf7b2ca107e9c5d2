//! Provider tokens and certificates.

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

use super::*;

fn with_token(bench: &mut Bench, jwt: &str) -> Option<Reason> {
    bench.refusal_of(|push| push.set("authorization", &format!("bearer {jwt}")))
}

#[test]
fn the_scheme_is_bearer_in_any_case() {
    let mut bench = Bench::new();
    let jwt = bench.jwt.clone();
    for (value, refusal) in [
        (format!("Bearer {jwt}"), None),
        (format!("Basic {jwt}"), Some(Reason::InvalidProviderToken)),
        (jwt.clone(), Some(Reason::InvalidProviderToken)),
    ] {
        assert_eq!(bench.refusal_of(|push| push.set("authorization", &value)), refusal);
    }
}

#[test]
fn invalid_provider_token_is_malformed_or_signed_by_another_key() {
    let mut bench = Bench::new();
    let (header, claims) = (
        format!(r#"{{"alg":"ES256","kid":"{KID}"}}"#),
        format!(r#"{{"iss":"{TEAM}","iat":{}}}"#, bench.now.unix.as_secs()),
    );
    let sign = |header: &str, claims: &str| bench.key.sign_text(header, claims, &bench.random);
    let good = sign(&header, &claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let stranger = ProviderKey::generate(&bench.random).sign(TEAM, KID, bench.now.unix, &bench.random);
    let wrong = [
        ("nothing", String::new()),
        ("no dots", "abc".into()),
        ("another algorithm", sign(&header.replace("ES256", "HS256"), &claims)),
        ("unknown key id", sign(&header.replace(KID, "KEY0000009"), &claims)),
        ("team that has not this key", sign(&header, &claims.replace(TEAM, OTHER_TEAM))),
        ("no iat", sign(&header, &format!(r#"{{"iss":"{TEAM}"}}"#))),
        ("no iss", sign(&header, r#"{"iat":1750000000}"#)),
        ("no kid", sign(r#"{"alg":"ES256"}"#, &claims)),
        ("claims are not JSON", sign(&header, "claims")),
        ("signed by another key", stranger),
        (
            "signature of another text",
            format!("{}.{signature}", sign(&header, "{}").rsplit_once('.').unwrap().0),
        ),
        ("signature with padding", format!("{signed}.{}", URL_SAFE.encode(&raw))),
        ("signature in DER", format!("{signed}.{}", URL_SAFE_NO_PAD.encode(to_der(&raw)))),
        ("a bit of the signature turned", {
            let mut raw = raw.clone();
            raw[10] ^= 1;
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(raw))
        }),
        ("standard base64 of a header", format!("{}.{signature}", STANDARD.encode("????>>>>"))),
    ];
    for (what, jwt) in wrong {
        bench.reconnect();
        assert_eq!(with_token(&mut bench, &jwt), Some(Reason::InvalidProviderToken), "{what}");
    }
    assert_eq!(with_token(&mut bench, &good), None);
}

#[test]
fn invalid_provider_token_is_a_second_team_on_one_connection() {
    let mut bench = Bench::new();
    bench.service.accounts.add_key(team_key(&bench.key, OTHER_TEAM, "KEY0000002"));
    assert_eq!(bench.refusal_of(|_| {}), None);
    bench.use_token(OTHER_TEAM, "KEY0000002");
    assert_eq!(bench.refusal_of(|_| {}), Some(Reason::InvalidProviderToken));
    bench.reconnect();
    assert_eq!(bench.refusal_of(|_| {}), Some(Reason::TopicDisallowed));
}

#[test]
fn invalid_provider_token_after_the_key_was_revoked() {
    let mut bench = Bench::new();
    assert_eq!(bench.refusal_of(|_| {}), None);
    bench.service.accounts.revoke_key(KID);
    assert_eq!(bench.refusal_of(|_| {}), Some(Reason::InvalidProviderToken));
}

#[test]
fn expired_provider_token_begins_after_an_hour() {
    let mut bench = Bench::new();
    bench.wait(Span::from_secs(3_600));
    assert_eq!(bench.refusal_of(|_| {}), None);
    bench.wait(Span::from_secs(1));
    assert_eq!(bench.refusal_of(|_| {}), Some(Reason::ExpiredProviderToken));
}

#[test]
fn expired_provider_token_when_the_clock_is_an_hour_ahead() {
    let mut bench = Bench::new();
    let ahead = UnixMillis(bench.now.unix.0 + 3_600_000);
    let jwt = bench.key.sign(TEAM, KID, ahead, &bench.random);
    assert_eq!(with_token(&mut bench, &jwt), Some(Reason::ExpiredProviderToken));
}

#[test]
fn the_third_token_in_twenty_minutes_from_one_address_is_too_many() {
    let mut bench = Bench::new();
    let mut tokens = Vec::new();
    for _ in 0..3 {
        bench.use_token(TEAM, KID);
        tokens.push(bench.jwt.clone());
        bench.wait(Span::from_secs(1));
    }
    assert_eq!(with_token(&mut bench, &tokens[0]), None);
    assert_eq!(with_token(&mut bench, &tokens[1]), None);
    bench.reconnect();
    assert_eq!(with_token(&mut bench, &tokens[2]), Some(Reason::TooManyProviderTokenUpdates));
    assert_eq!(Reason::TooManyProviderTokenUpdates.status(), 429);
    // Those before go on working, and another address starts afresh.
    assert_eq!(with_token(&mut bench, &tokens[0]), None);
    bench.client = "192.0.2.2".into();
    assert_eq!(with_token(&mut bench, &tokens[2]), None);
    bench.client = "192.0.2.1".into();
    assert_eq!(with_token(&mut bench, &tokens[2]), Some(Reason::TooManyProviderTokenUpdates));
    bench.wait(Span::from_secs(20 * 60));
    assert_eq!(with_token(&mut bench, &tokens[2]), None);
}

#[test]
fn a_token_every_twenty_minutes_is_never_too_many() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.use_token(TEAM, KID);
        assert_eq!(bench.refusal_of(|_| {}), None);
        bench.wait(Span::from_secs(20 * 60));
    }
}

#[test]
fn unrelated_key_id_in_token() {
    let mut bench = Bench::new();
    let narrow =
        TeamKey { scope: KeyScope::Topics(vec![BUNDLE.into()]), ..team_key(&bench.key, TEAM, "KEY0000003") };
    bench.service.accounts.add_key(narrow);
    assert_eq!(bench.refusal_of(|_| {}), None);
    bench.use_token(TEAM, "KEY0000003");
    assert_eq!(bench.refusal_of(|_| {}), Some(Reason::UnrelatedKeyIdInToken));
    bench.reconnect();
    assert_eq!(bench.refusal_of(|_| {}), None);
}

#[test]
fn a_key_for_topics_is_good_for_these_only() {
    let mut bench = Bench::new();
    let narrow = TeamKey {
        scope: KeyScope::Topics(vec!["com.example.else".into()]),
        ..team_key(&bench.key, TEAM, "KEY0000003")
    };
    bench.service.accounts.add_key(narrow);
    bench.use_token(TEAM, "KEY0000003");
    assert_eq!(bench.refusal_of(|_| {}), Some(Reason::TopicDisallowed));
}

#[test]
fn bad_environment_key_id_in_token() {
    let mut bench = Bench::new();
    let sandbox =
        TeamKey { environment: Some(Environment::Sandbox), ..team_key(&bench.key, TEAM, "KEY0000004") };
    bench.service.accounts.add_key(sandbox);
    bench.use_token(TEAM, "KEY0000004");
    assert_eq!(bench.refusal_of(|_| {}), Some(Reason::BadEnvironmentKeyIdInToken));
}

fn bench_with_certificate(topics: &[&str], environment: Option<Environment>) -> Bench {
    let mut bench = Bench::new();
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    bench.service.accounts.add_certificate(Certificate { der: b"DER".to_vec(), topics, environment });
    bench.binding = bench.service.accounts.bind(Some(b"DER"));
    bench
}

#[test]
fn a_certificate_needs_no_token_and_supplies_its_only_topic() {
    let mut bench = bench_with_certificate(&[BUNDLE], None);
    let bare = |push: &mut Push| {
        push.without("authorization");
        push.without("apns-topic");
    };
    assert_eq!(bench.refusal_of(bare), None);
    assert!(bench.service.stats.strict.is_clean());
    assert_eq!(bench.refusal_of(|_| {}), None);
    assert_eq!(bench.service.stats.strict.count(StrictFault::TwoCredentials), 1);
}

#[test]
fn a_certificate_of_several_topics_needs_one_named_and_covers_no_other() {
    let mut bench = bench_with_certificate(&[BUNDLE, "com.example.mail.voip"], None);
    bench.service.accounts.add_app(bench.now, "com.example.other", TEAM);
    let without = |push: &mut Push| {
        push.without("authorization");
        push.without("apns-topic");
    };
    assert_eq!(bench.refusal_of(without), Some(Reason::MissingTopic));
    let other = |push: &mut Push| push.set("apns-topic", "com.example.other");
    assert_eq!(bench.refusal_of(other), Some(Reason::TopicDisallowed));
}

#[test]
fn bad_certificate() {
    let mut bench = Bench::new();
    bench.binding = bench.service.accounts.bind(Some(b"self-made"));
    assert_eq!(bench.refusal_of(|_| {}), Some(Reason::BadCertificate));
}

#[test]
fn bad_certificate_environment() {
    let mut bench = bench_with_certificate(&[BUNDLE], Some(Environment::Sandbox));
    assert_eq!(bench.refusal_of(|_| {}), Some(Reason::BadCertificateEnvironment));
}

/// Our tokens are right by somebody else's judgement too.
#[test]
fn openssl_agrees_with_our_signatures_and_reads_our_key() {
    let bench = Bench::new();
    let folder = std::env::temp_dir().join(format!("carillon-jwt-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    };
    let openssl = |args: &[&std::ffi::OsStr]| {
        Command::new("openssl").args(args).stdin(Stdio::null()).output().ok().map(|out| out.status.success())
    };
    let (signed, signature) = bench.jwt.rsplit_once('.').unwrap();
    let key = file("key.p8", bench.key.to_p8().as_bytes());
    let text = file("text", signed.as_bytes());
    let signature = file("signature", &to_der(&URL_SAFE_NO_PAD.decode(signature).unwrap()));
    let public = folder.join("public.pem");
    let as_os = std::ffi::OsStr::new;
    let made = openssl(&[
        as_os("pkey"),
        as_os("-in"),
        key.as_os_str(),
        as_os("-pubout"),
        as_os("-out"),
        public.as_os_str(),
    ]);
    let verify = |text: &std::path::Path| {
        openssl(&[
            as_os("dgst"),
            as_os("-sha256"),
            as_os("-verify"),
            public.as_os_str(),
            as_os("-signature"),
            signature.as_os_str(),
            text.as_os_str(),
        ])
    };
    let (right, wrong) = (verify(&text), verify(&file("other", b"another text")));
    std::fs::remove_dir_all(&folder).unwrap();
    // A machine without openssl has nobody to ask.
    if made.is_some() {
        assert_eq!((made, right, wrong), (Some(true), Some(true), Some(false)));
    }
}

/// A key made by openssl signs tokens that the service takes.
#[test]
fn a_key_made_by_openssl_is_as_good() {
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-outform", "PEM"])
        .stdin(Stdio::null())
        .output();
    let Ok(made) = made else { return };
    let pem = String::from_utf8(made.stdout).unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut bench = Bench::new();
    let der = STANDARD.decode(base64).unwrap();
    bench.key = ProviderKey::from_pkcs8(&der, &bench.random).unwrap();
    bench.service.accounts.add_key(team_key(&bench.key, TEAM, "KEY0000007"));
    bench.use_token(TEAM, "KEY0000007");
    assert_eq!(bench.refusal_of(|_| {}), None);
}

/// ECDSA-Sig-Value (RFC 3279 §2.2.3) from R and S.
fn to_der(raw: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let start = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len() - 1);
        let sign = if bytes[start] & 0x80 != 0 { vec![0] } else { vec![] };
        let value = [&sign[..], &bytes[start..]].concat();
        [&[2, value.len() as u8][..], &value].concat()
    };
    let both = [integer(&raw[..32]), integer(&raw[32..])].concat();
    [&[0x30, both.len() as u8][..], &both].concat()
}
