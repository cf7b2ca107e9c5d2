//! What is wrong with a credential is put right without a restart, and nothing is hammered meanwhile.

#[allow(dead_code, reason = "each of the tests uses a part of it")]
mod process_support;

use std::time::Duration;

use carillon_harness::apns::Certificate;
use carillon_harness::exchange::{CertificateRule, Exchange, ExchangeConfig, ImpersonationRight, TokenKind};
use process_support::{PASSWORD, Site, wait};

const REFUSED: &str = "Exchange refuses the credential";
const TROUBLE: &str = "Exchange is in trouble";
const WELL: &str = "Exchange works again";

/// Longer than the files take to be looked at, and to be taken up.
const A_WHILE: Duration = Duration::from_millis(3_500);

fn refused(site: &Site) -> u64 {
    site.exchange.with(|exchange, _| exchange.stats().refused)
}

fn no_violations(site: &Site) {
    site.exchange.with(|exchange, _| assert_eq!(exchange.violations(), &[] as &[String]));
}

#[test]
fn a_wrong_password_is_tried_once_and_the_right_one_works_without_a_restart() {
    let config = ExchangeConfig { lockout_failures: Some(3), ..ExchangeConfig::default() };
    let site = Site::new(300, config);
    site.write("exchange.password", "wrong-password-1");
    let process = site.start();
    process.register(300);
    let told = site.logged(REFUSED, 1);
    let file = site.path("exchange.password").display().to_string();
    let hangup = format!("kill -HUP {}", process.child.id());
    for words in [&*file, "without a restart", &hangup, "exchange=\"main\"", "ERROR"] {
        assert!(told[0].contains(words), "{words}: {}", told[0]);
    }
    std::thread::sleep(A_WHILE);
    site.logged(REFUSED, 1);
    assert_eq!(refused(&site), 1, "300 mailboxes on two shards, one log-in");

    // The same password again is not tried: who writes it every minute must not lock the account.
    site.write("exchange.password", "wrong-password-1\n");
    site.logged("says what Exchange has refused", 1);
    site.write("exchange.password", "");
    site.logged("the new password is not taken up, the old stays", 1);
    assert_eq!(refused(&site), 1);

    site.write("exchange.password", "wrong-password-2");
    site.logged(REFUSED, 2);
    assert_eq!(refused(&site), 2);

    site.write("exchange.password", PASSWORD);
    process.live(300);
    site.logged(WELL, 1);
    assert_eq!(refused(&site), 2);
    no_violations(&site);
    for secret in ["wrong-password", PASSWORD] {
        assert!(!site.log().contains(secret), "{secret}");
    }
}

#[test]
fn a_missing_right_is_told_once_and_with_it_mailboxes_go_live_without_a_restart() {
    let site = Site::new(40, ExchangeConfig::default());
    let allow = |right: ImpersonationRight| {
        site.exchange.with(|exchange, _| {
            exchange.change_account(site.account, |account| account.impersonation = right);
        });
    };
    let calls = |exchange: &mut Exchange| exchange.stats().faults.values().sum::<u64>();
    site.write("carillon.toml", &site.config().replace("shards = 2", "shards = 1"));
    allow(ImpersonationRight::None);
    let process = site.start();
    process.register(40);
    let told = site.logged(TROUBLE, 1);
    for words in ["ApplicationImpersonation", "kill -HUP", "WARN"] {
        assert!(told[0].contains(words), "{words}: {}", told[0]);
    }
    std::thread::sleep(A_WHILE);
    site.logged(TROUBLE, 1);
    let asked = site.exchange.with(|exchange, _| calls(exchange));
    assert!(asked <= 5, "{asked} requests for 40 mailboxes");

    // Told to try again too early, it tries, and says so again.
    process.signal("HUP");
    site.logged(TROUBLE, 2);
    let more = site.exchange.with(|exchange, _| calls(exchange)) - asked;
    assert!((1..=5).contains(&more), "{more}");

    allow(ImpersonationRight::All);
    process.signal("HUP");
    process.live(40);
    site.logged(WELL, 1);
    assert_eq!(refused(&site), 0);
    no_violations(&site);
}

#[test]
fn a_client_certificate_is_renewed_without_a_restart() {
    let config = ExchangeConfig { certificate: CertificateRule::Mapped, ..ExchangeConfig::default() };
    let site = Site::new(3, config);
    let known = {
        use rustls_pki_types::pem::PemObject;
        rustls_pki_types::CertificateDer::from_pem_file(site.path("client.pem")).unwrap().to_vec()
    };
    site.exchange.with(|exchange, _| {
        exchange.change_account(site.account, |account| account.certificate = Some(known));
    });
    let credential = "client_cert_file = \"mail.pem\"\nclient_key_file = \"mail.key\"";
    let text = site
        .config()
        .replace("user = \"svc@example.com\"\npassword_file = \"exchange.password\"", credential);
    site.write("carillon.toml", &text.replace("shards = 2", "shards = 1"));
    site.replace("mail.pem", "stranger.pem");
    site.replace("mail.key", "stranger.key");
    let process = site.start();
    process.register(3);
    let told = site.logged(REFUSED, 1);
    assert!(told[0].contains("mail.pem") && told[0].contains("mail.key"), "{}", told[0]);

    site.replace("mail.pem", "client.pem");
    let kept = site.logged("certificates are not taken up, the old stay", 1);
    assert!(kept[0].contains("KeyMismatch") || kept[0].contains("key"), "{}", kept[0]);
    site.replace("mail.key", "client.key");
    site.logged("certificates taken up, for new connections", 1);
    process.live(3);
    site.logged(WELL, 1);
}

#[test]
fn a_client_certificate_that_the_server_does_not_know_is_told_as_that() {
    let config = ExchangeConfig { certificate: CertificateRule::Required, ..ExchangeConfig::default() };
    let site = Site::new(3, config);
    let with_certificate = |name: &str| {
        let lines = format!("client_cert_file = \"{name}.pem\"\nclient_key_file = \"{name}.key\"\nca_file");
        site.write("carillon.toml", &site.config().replacen("ca_file", &lines, 1));
    };
    // None at all, one of an authority that the server does not trust, the right one.
    let process = site.start();
    process.register(3);
    let told = site.logged(TROUBLE, 1);
    assert!(told[0].contains("ews_forbidden") && told[0].contains("forbids access"), "{}", told[0]);
    with_certificate("api");
    process.signal("HUP");
    let told = site.logged("does not accept our client certificate", 1);
    assert!(told[0].contains(TROUBLE) && told[0].contains("exchange=\"main\""), "{}", told[0]);
    with_certificate("client");
    process.signal("HUP");
    process.live(3);
    no_violations(&site);
}

#[test]
fn an_access_token_that_expired_is_asked_for_once_and_the_next_one_is_taken_up_from_its_file() {
    let site = Site::new(8, ExchangeConfig::default());
    let tokens = |tokens: &[&str]| {
        let tokens = tokens.iter().map(|token| ((*token).to_owned(), TokenKind::AppOnly, None)).collect();
        site.exchange.with(|exchange, _| {
            exchange.change_account(site.account, |account| account.tokens = tokens);
        });
    };
    let credential = "user = \"svc@example.com\"\npassword_file = \"exchange.password\"";
    let text = site.config().replace(credential, "token_file = \"exchange.token\"");
    site.write("carillon.toml", &text);
    site.write("exchange.token", "first-token");
    tokens(&["first-token"]);
    let process = site.start();
    process.register(8);
    process.live(8);

    tokens(&["second-token"]);
    for user in 0..8 {
        site.deliver(user, "while the token is stale");
    }
    let told = site.logged("no longer takes the access token", 1);
    assert!(told[0].contains("exchange.token: it is taken up"), "{}", told[0]);
    std::thread::sleep(A_WHILE);
    let before = refused(&site);
    assert_eq!(process.status()["live"].as_u64(), Some(8), "streams go on");

    site.write("exchange.token", "second-token");
    site.logged(WELL, 1);
    process.live(8);
    site.deliver(0, "with the next token");
    assert_eq!(refused(&site), before);
    no_violations(&site);
    assert!(!site.log().contains("-token\""), "{}", site.log());
}

#[test]
fn a_hangup_takes_up_what_it_can_and_names_what_needs_a_restart() {
    let site = Site::new(2, ExchangeConfig::default());
    let process = site.start();
    process.register(2);
    process.live(2);

    let good = site.config();
    site.write("carillon.toml", &good.replace("settle_ms = 100", "settle_ms = 70000"));
    process.signal("HUP");
    let told = site.logged("the configuration is not taken up, all stays as it was", 1);
    assert!(told[0].contains("settle_ms: 70000 is not within"), "{}", told[0]);

    let changed = good
        .replace("shards = 2", "shards = 3")
        .replace("max_delay_ms = 1000", "max_delay_ms = 1500")
        .replace("[store]", "[log]\nlevel = \"info,carillon=debug\"\n[store]");
    site.write("carillon.toml", &changed);
    peers::certificate(site.dir(), "renewed");
    site.replace("api.pem", "renewed.pem");
    site.replace("api.key", "renewed.key");
    process.signal("HUP");
    site.logged("the configuration has been read again", 1);
    site.logged("[engine] has changed: restart to take it up", 1);
    site.logged("[timing] taken up", 1);
    site.logged("[log] level taken up", 1);
    site.logged("the API's certificate taken up, for new connections", 1);
    let ready = |certificate: &str| {
        site.agent(certificate)
            .get(format!("{}/readyz", process.url))
            .call()
            .map(|reply| reply.status().as_u16())
    };
    assert_eq!(ready("renewed.pem").unwrap(), 200);

    site.write("api.pem", "no certificate");
    site.logged("the API's certificate is not taken up, the old stays", 1);
    assert_eq!(ready("renewed.pem").unwrap(), 200);

    // All went on meanwhile.
    site.deliver(1, "still here");
    wait("a push", || site.log(), || site.apns.with(|apns, _| apns.poll_delivery().is_some()));
    no_violations(&site);
}

#[test]
fn every_key_that_a_hangup_may_change_leads_to_a_file_that_is_watched_from_then_on() {
    let site = Site::new(2, ExchangeConfig::default());
    let copy = |from: &str, to: &str| site.replace(to, from);
    for (from, to) in [
        ("api.pem", "a2.pem"),
        ("api.key", "a2.key"),
        ("exchange.pem", "e2.pem"),
        ("apns.pem", "p2.pem"),
        ("exchange.pem", "e.good"),
        ("apns.pem", "p.good"),
    ] {
        copy(from, to);
    }
    site.write("second.password", PASSWORD);
    let process = site.start();
    process.register(2);
    process.live(2);
    let changed = site
        .config()
        .replace("cert_file = \"api.pem\"", "cert_file = \"a2.pem\"")
        .replace("key_file = \"api.key\"", "key_file = \"a2.key\"")
        .replace("password_file = \"exchange.password\"", "password_file = \"second.password\"")
        .replace("ca_file = \"exchange.pem\"", "ca_file = \"e2.pem\"")
        .replace("ca_file = \"apns.pem\"", "ca_file = \"p2.pem\"");
    site.write("carillon.toml", &changed);
    process.signal("HUP");
    site.logged("the configuration has been read again", 1);
    site.logged("restart to take it up", 0);
    let api = "the API's certificate taken up, for new connections";
    let taken = |name: &str, times: usize| {
        let words = format!("certificates taken up, for new connections {name}");
        site.logged(&words, times);
    };
    site.logged(api, 1);
    taken("exchange=\"main\"", 1);
    taken("push=\"apns\"", 1);

    // What the keys led to before is nobody's business any more.
    peers::certificate(site.dir(), "renewed");
    for old in ["api.pem", "exchange.pem", "apns.pem"] {
        copy("renewed.pem", old);
    }
    site.write("exchange.password", "wrong-password");
    std::thread::sleep(A_WHILE);
    site.logged(api, 1);
    taken("exchange=\"main\"", 1);
    taken("push=\"apns\"", 1);

    // What they lead to now is: first what cannot be used, then what can.
    site.write("a2.pem", "no certificate");
    site.logged("the API's certificate is not taken up, the old stays", 1);
    copy("renewed.pem", "a2.pem");
    copy("renewed.key", "a2.key");
    site.logged(api, 2);
    site.write("e2.pem", "no certificate");
    site.write("p2.pem", "no certificate");
    site.logged("certificates are not taken up, the old stay", 2);
    copy("e.good", "e2.pem");
    copy("p.good", "p2.pem");
    taken("exchange=\"main\"", 2);
    taken("push=\"apns\"", 2);
    site.write("second.password", "");
    site.logged("the new password is not taken up, the old stays", 1);
    site.exchange.with(|exchange, _| {
        exchange
            .change_account(site.account, |account| account.password = Some("changed-password".to_owned()));
    });
    site.write("second.password", "changed-password");
    site.logged("a new credential is tried now", 1);
    site.deliver(1, "all goes on");
    wait("a push", || site.log(), || site.apns.with(|apns, _| apns.poll_delivery().is_some()));
    assert_eq!(refused(&site), 0);
    no_violations(&site);
}

/// The old ones stay in use meanwhile.
#[test]
fn certificates_that_a_hangup_names_and_that_cannot_be_used_are_taken_up_when_their_files_are_put_right() {
    let site = Site::new(2, ExchangeConfig::default());
    site.write("e2.pem", "no certificate");
    site.write("p2.pem", "no certificate");
    site.write("second.password", "changed-password");
    let process = site.start();
    process.register(2);
    process.live(2);
    let changed = site
        .config()
        .replace("ca_file = \"exchange.pem\"", "ca_file = \"e2.pem\"")
        .replace("password_file = \"exchange.password\"", "password_file = \"second.password\"")
        .replace("ca_file = \"apns.pem\"", "ca_file = \"p2.pem\"");
    site.write("carillon.toml", &changed);
    process.signal("HUP");
    site.logged("certificates are not taken up, the old stay", 2);
    let taken = |name: &str, times: usize| {
        site.logged(&format!("certificates taken up, for new connections {name}"), times);
    };
    // With the password gone, too, nothing is taken up yet, and nothing is forgotten.
    site.write("second.password", "");
    site.replace("e2.pem", "exchange.pem");
    site.logged("the new password is not taken up, the old stays", 1);
    taken("exchange=\"main\"", 0);
    site.exchange.with(|exchange, _| {
        exchange
            .change_account(site.account, |account| account.password = Some("changed-password".to_owned()));
    });
    site.write("second.password", "changed-password");
    site.replace("p2.pem", "apns.pem");
    taken("exchange=\"main\"", 1);
    taken("push=\"apns\"", 1);
    site.logged("a new credential is tried now", 1);
    process.live(2);
    no_violations(&site);
}

#[test]
fn a_renewed_push_certificate_reaches_the_push_service_and_nobody_else() {
    use rustls_pki_types::pem::PemObject;
    let site = Site::with_push_certificate(3);
    let known = rustls_pki_types::CertificateDer::from_pem_file(site.path("client.pem")).unwrap().to_vec();
    site.apns.with(|apns, _| {
        apns.add_certificate(Certificate {
            der: known,
            topics: vec!["com.example.mail".to_owned()],
            environment: None,
        });
    });
    site.replace("push.pem", "stranger.pem");
    site.replace("push.key", "stranger.key");
    let key = "key_file = \"a.p8\"\nkey_id = \"ABCDE12345\"\nteam_id = \"TEAM123456\"";
    let text = site.config().replace(key, "cert_file = \"push.pem\"\ncert_key_file = \"push.key\"");
    site.write("carillon.toml", &text);
    let process = site.start();
    process.register(3);
    process.live(3);
    let told = site.logged("the push service is in trouble", 1);
    assert!(told[0].contains("BadCertificate"), "{}", told[0]);

    site.replace("push.pem", "client.pem");
    site.replace("push.key", "client.key");
    site.logged("certificates taken up, for new connections push=\"apns\"", 1);
    site.deliver(0, "with the new certificate");
    wait("a push", || site.log(), || site.apns.with(|apns, _| apns.poll_delivery().is_some()));
    // Exchange's connections trust whom they trusted: a broken stream is opened again.
    site.exchange.with(|exchange, now| exchange.restart_back_end(now, 0));
    wait("streams to end", || site.log(), || process.status()["live"].as_u64() < Some(3));
    process.live(3);
    site.logged("certificates taken up, for new connections exchange", 0);
}

use process_support::peers;
