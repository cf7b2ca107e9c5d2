//! What is wrong with a credential is put right without a restart, and nothing is hammered meanwhile.

#[allow(dead_code, reason = "each of the tests uses a part of it")]
mod process_support;

use std::time::Duration;

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

use process_support::peers;
