//! `carillon check` against simulated servers: each fault is told apart, with what to do.

#[allow(dead_code, reason = "each of the tests uses a part of it")]
mod api_support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use api_support::peers::{Served, certificate, serve};
use api_support::{config, exchange};
use carillon::check;
use carillon::config::{ClientCertificate, Config, PushCredential, Team};
use carillon_core::names::SmtpAddress;
use carillon_core::shard::MailCredential;
use carillon_core::time::{Now, Time};
use carillon_harness::apns::{Apns, Certificate, Environment, Knobs};
use carillon_harness::exchange::{
    Account, AccountKey, Exchange, ExchangeConfig, ImpersonationRight, MailboxSpec, Override, Proxy, Version,
};

const PASSWORD: &str = "s3cret-of-the-service-account";

/// A simulated Exchange and APNs, and a configuration that fits both.
struct Site {
    dir: tempfile::TempDir,
    exchange: Served<Exchange>,
    account: AccountKey,
    apns: Served<Apns>,
    config: Config,
}

fn site() -> Site {
    site_with(ExchangeConfig::default())
}

fn site_with(exchange_config: ExchangeConfig) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["exchange", "apns", "api", "push", "stranger"] {
        certificate(dir.path(), name);
    }
    let mut organisation = Exchange::new(exchange_config);
    let account = organisation.add_account(Account::service("svc@example.com", PASSWORD));
    organisation.add_mailbox(MailboxSpec {
        address: "jane@example.com".to_owned(),
        proxies: Vec::new(),
        principal_name: None,
        back_end: 0,
        grouping: "site".to_owned(),
    });
    let exchange_peer = serve(organisation, dir.path(), "exchange", b"http/1.1", &[]);

    let mut provider = Apns::new(Environment::Production, Knobs::default(), 1);
    let start = Now { time: Time(0), unix: carillon::clock::now() };
    provider.add_app(start, "com.example.mail", "TEAM123456");
    provider.add_certificate(Certificate {
        der: der(&at("push.pem")),
        topics: vec!["com.example.mail".to_owned()],
        environment: None,
    });
    let apns = serve(provider, dir.path(), "apns", b"h2", &["push", "stranger"]);

    let mut config = config(at("carillon.toml"), at("api.pem"), at("api.key"));
    config.exchange = vec![exchange("main")];
    config.exchange[0].port = exchange_peer.address.port();
    config.exchange[0].ca_file = Some(at("exchange.pem"));
    config.exchange[0].credential =
        MailCredential::Basic { user: "svc@example.com".into(), password: PASSWORD.into() };
    config.push[0].port = apns.address.port();
    config.push[0].ca_file = Some(at("apns.pem"));
    config.push[0].auth = client(at("push.pem"), at("push.key"));
    Site { dir, exchange: exchange_peer, account, apns, config }
}

fn client(cert_file: PathBuf, key_file: PathBuf) -> PushCredential {
    PushCredential::Certificate(ClientCertificate { cert_file, key_file })
}

fn der(file: &Path) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::CertificateDer::from_pem_file(file).unwrap().to_vec()
}

impl Site {
    fn check(&self, user: &str) -> (bool, String) {
        let user = SmtpAddress::parse(user).ok();
        let mut out = Vec::new();
        let well = check::run(&self.config, user.as_ref(), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains(PASSWORD), "{text}");
        assert_eq!(well, !text.contains("WRONG"), "{text}");
        (well, text)
    }

    /// Checks, and expects one wrong line: about `what`, with `words`.
    #[track_caller]
    fn wrong(&self, user: &str, what: &str, words: &[&str]) -> String {
        let (_, text) = self.check(user);
        let wrong: Vec<&str> = text.split("WRONG").skip(1).collect();
        assert_eq!(wrong.len(), 1, "one fault, one line:\n{text}");
        assert!(wrong[0].trim_start().starts_with(what), "{what} is expected:\n{text}");
        for word in words {
            assert!(wrong[0].contains(word), "{word:?} is expected:\n{text}");
        }
        assert!(wrong[0].contains('→'), "{text}");
        text
    }

    fn exchange(&self, change: impl FnOnce(&mut Exchange)) {
        change(&mut self.exchange.peer.lock().unwrap());
    }
}

#[test]
fn all_is_well() {
    let site = site();
    let (well, text) = site.check("jane@example.com");
    assert!(well, "{text}");
    for line in [
        "main name",
        "main tcp",
        "main tls",
        "main log-on",
        "main impersonation",
        "main subscription",
        "main streaming",
        "apns credential",
    ] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
    site.exchange(|exchange| {
        assert_eq!(exchange.subscription_count(), 0, "the trial subscription is ended");
        assert_eq!(exchange.violations(), &[] as &[String]);
    });
    let (well, text) = site.check("");
    assert!(well && text.contains("give --user ADDRESS"), "{text}");
}

#[test]
fn an_older_exchange_is_asked_in_its_own_version() {
    let site =
        site_with(ExchangeConfig { version_max: Version::Exchange2010_SP2, ..ExchangeConfig::default() });
    let (well, text) = site.check("jane@example.com");
    assert!(well && text.contains("Exchange2010_SP2"), "{text}");
}

#[test]
fn a_wrong_password_is_tried_once() {
    let site = site();
    site.exchange(|exchange| exchange.set_password(site.account, "another"));
    site.wrong("jane@example.com", "exchange main log-on", &["refuses the credential", "password"]);
    site.exchange(|exchange| {
        assert_eq!(exchange.violations(), &[] as &[String]);
    });
}

#[test]
fn a_server_that_offers_only_windows_log_in_is_not_a_wrong_password() {
    let site = site_with(ExchangeConfig {
        basic: false,
        bearer: false,
        windows_auth: true,
        ..ExchangeConfig::default()
    });
    let words = ["offers Negotiate, NTLM", "switch Basic on", "bearer token"];
    let text = site.wrong("jane@example.com", "exchange main log-on", &words);
    assert!(!text.contains("refuses the credential"), "{text}");
}

#[test]
fn a_missing_right_to_impersonate_is_not_a_wrong_password() {
    let site = site();
    site.exchange(|exchange| {
        exchange.change_account(site.account, |account| account.impersonation = ImpersonationRight::None);
    });
    let text = site.wrong("jane@example.com", "exchange main impersonation", &["ApplicationImpersonation"]);
    assert!(text.contains("the credential is accepted"), "{text}");
}

#[test]
fn an_unknown_mailbox_is_told_apart() {
    let site = site();
    let text = site.wrong("nobody@example.com", "exchange main mailbox", &["no longer that of a mailbox"]);
    assert!(text.contains("the credential is accepted"), "{text}");
}

#[test]
fn pages_redirects_and_errors_are_told_apart() {
    for (answer, words) in [
        (Override::Html, ["a page instead of SOAP", "URL"]),
        (Override::LogonRedirect, ["redirects to another page", "URL"]),
        (Override::MalformedXml, ["cannot be read", "proxy"]),
        (Override::InternalError { retry_after_s: None }, ["failed", "look at the server"]),
    ] {
        let site = site();
        site.exchange(|exchange| exchange.answer_next(10, None, answer));
        site.wrong("jane@example.com", "exchange main", &words);
    }
    let mut site = site();
    site.config.exchange[0].path = "/owa/nothing".into();
    site.wrong("jane@example.com", "exchange main ews", &["no EWS at this address", "URL"]);
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_not_trusted() {
    let mut site = site();
    site.config.exchange[0].ca_file = None;
    site.wrong("jane@example.com", "exchange main tls", &["not trusted", "ca_file"]);
    site.config.exchange[0].ca_file = Some(site.dir.path().join("nothing.pem"));
    site.wrong("jane@example.com", "exchange main tls", &["nothing.pem", "no such file"]);
}

#[test]
fn what_cannot_be_reached_is_told_apart() {
    let mut site = site();
    site.config.exchange[0].host = "no-such-host.invalid".into();
    site.wrong("jane@example.com", "exchange main name", &["does not resolve", "DNS"]);
    site.config.exchange[0].host = "127.0.0.1".into();
    site.config.exchange[0].port = 1;
    site.wrong("jane@example.com", "exchange main tcp", &["nobody listens", "port"]);

    // A server that says nothing, and one that is not TLS.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    site.config.exchange[0].port = listener.local_addr().unwrap().port();
    let answers = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"220 mail.example.com ESMTP ready\r\n");
        std::thread::sleep(Duration::from_millis(200));
    });
    let started = Instant::now();
    site.wrong("jane@example.com", "exchange main tls", &["no TLS"]);
    assert!(started.elapsed() < Duration::from_secs(15));
    answers.join().unwrap();
}

#[test]
fn faults_of_push_services_are_told_apart() {
    let mut site = site();
    let at = |name: &str| site.dir.path().join(name);
    let (stranger, mixed) =
        (client(at("stranger.pem"), at("stranger.key")), client(at("push.pem"), at("stranger.key")));
    let key_file = at("nothing.p8");
    site.config.push[0].auth = stranger;
    site.wrong("", "push apns", &["certificate"]);
    site.config.push[0].auth = mixed;
    site.wrong("", "push apns tls", &["key that belongs to it"]);
    site.config.push[0].auth = PushCredential::Team(0);
    site.config.teams = vec![Team { team_id: "TEAM123456".into(), key_id: "KEY1234567".into(), key_file }];
    let text = site.wrong("", "push apns key", &["nothing.p8"]);
    assert!(text.contains("push apns http/2"), "{text}");
    site.config.push[0].ca_file = None;
    site.wrong("", "push apns tls", &["not trusted"]);
    // A server that speaks HTTP/1.1 only.
    site.config.push[0].port = site.exchange.address.port();
    site.config.push[0].ca_file = Some(site.dir.path().join("exchange.pem"));
    site.wrong("", "push apns tls", &["TLS"]);
    drop(site.apns);
}

#[test]
fn faults_of_files_are_told_apart() {
    let mut site = site();
    site.config.api.key_file = site.dir.path().join("push.key");
    site.wrong("", "api certificate", &["does not belong to the certificate"]);
    site.config.api.key_file = site.dir.path().join("api.key");
    std::fs::write(&site.config.store.path, "this is no database, but a text").unwrap();
    site.wrong("", "store", &["not an SQLite database"]);
    site.config.store.path = site.dir.path().join("missing-folder/carillon.db");
    site.wrong("", "store", &["nothing can be written"]);
}

#[test]
fn a_proxy_that_lets_no_stream_through_is_told_apart() {
    for proxy in [Proxy::Empties, Proxy::Buffers] {
        let site = site();
        site.exchange(|exchange| exchange.faults.proxy = Some(proxy));
        let words = ["calls are answered", "buffers or cuts", "proxy_buffering off"];
        let text = site.wrong("jane@example.com", "exchange main streaming", &words);
        assert!(text.contains("main subscription"), "{text}");
    }
}

#[test]
fn an_exchange_that_is_busy_says_so() {
    let site = site();
    site.exchange(|exchange| {
        exchange.answer_next(10, None, Override::Unavailable { retry_after_s: Some(1) });
    });
    site.wrong("jane@example.com", "exchange main", &["failed"]);
}
