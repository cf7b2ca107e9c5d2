//! `carillon serve` as a process of its own, between a simulated Exchange and a simulated APNs on real sockets.

#[path = "../api_support/peers.rs"]
pub(crate) mod peers;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use carillon_harness::apns::{Apns, Environment, KeyScope, Knobs, TeamKey, TokenSpec};
use carillon_harness::exchange::{
    Account, AccountKey, Exchange, ExchangeConfig, Mail, MailboxKey, MailboxSpec, Sender,
};
use peers::{Served, certificate, serve};

pub(crate) const PASSWORD: &str = "correct-horse-battery";
const GATEWAY: &str = "gateway-token-of-the-test";
const ADMIN: &str = "admin-token-of-the-test";
const APP: &str = "com.example.mail";

/// A folder with all that a configuration needs, and the servers at both ends.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    pub(crate) exchange: Served<Exchange>,
    pub(crate) account: AccountKey,
    pub(crate) apns: Served<Apns>,
    pub(crate) mailboxes: Vec<MailboxKey>,
}

/// A running process; killed when the test ends, however it ends.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) url: String,
    agent: ureq::Agent,
}

impl Site {
    /// With so many mailboxes, and as many phones.
    pub(crate) fn new(users: usize, exchange_config: ExchangeConfig) -> Site {
        Site::with(users, exchange_config, &[])
    }

    /// APNs takes the certificates `client` and `stranger` of clients.
    pub(crate) fn with_push_certificate(users: usize) -> Site {
        Site::with(users, ExchangeConfig::default(), &["client", "stranger"])
    }

    fn with(users: usize, exchange_config: ExchangeConfig, push_clients: &[&str]) -> Site {
        let dir = tempfile::tempdir().unwrap();
        for name in ["api", "exchange", "apns", "client", "stranger"] {
            certificate(dir.path(), name);
        }
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("gateway.token", GATEWAY);
        write("admin.token", ADMIN);
        write("exchange.password", PASSWORD);
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        write("a.p8", &key.serialize_pem());

        let mut organisation = Exchange::new(exchange_config);
        let account = organisation.add_account(Account::service("svc@example.com", PASSWORD));
        let mailboxes = (0..users)
            .map(|user| {
                let address = format!("u{user}@example.com");
                organisation.add_mailbox(MailboxSpec { address, ..MailboxSpec::default() })
            })
            .collect();
        let exchange = serve(organisation, dir.path(), "exchange", b"http/1.1", &["client", "stranger"]);
        let apns = Apns::new(Environment::Production, Knobs::default(), 1);
        let apns = serve(apns, dir.path(), "apns", b"h2", push_clients);
        apns.with(|apns, now| {
            apns.add_app(now, APP, "TEAM123456");
            apns.add_key(TeamKey {
                team: "TEAM123456".to_owned(),
                kid: "ABCDE12345".to_owned(),
                public_key: key.public_key_raw().to_vec(),
                scope: KeyScope::Team,
                environment: None,
            });
            for user in 0..users {
                let (token, tag) = (token(user), user as u64);
                let environment = Environment::Production;
                apns.register(&TokenSpec { token: &token, bundle: APP, environment, tag });
            }
        });
        let site = Site { dir, exchange, account, apns, mailboxes };
        site.write("carillon.toml", &site.config());
        site
    }

    /// The configuration: two shards, and times that suit a test.
    pub(crate) fn config(&self) -> String {
        // By name: what looks it up is tried too, and of several addresses perhaps only one has a listener.
        let (exchange, apns) = (self.exchange.address.port(), self.apns.address.port());
        format!(
            r#"
[api]
listen = "127.0.0.1:0"
cert_file = "api.pem"
key_file = "api.key"
gateway_token_file = "gateway.token"
admin_token_file = "admin.token"
[store]
path = "carillon.db"
[engine]
shards = 2
[timing]
settle_ms = 100
min_interval_ms = 200
max_delay_ms = 1000
[[exchange]]
name = "main"
url = "https://localhost:{exchange}"
user = "svc@example.com"
password_file = "exchange.password"
ca_file = "exchange.pem"
subscribes_per_s = 1000
[[push]]
name = "apns"
url = "https://localhost:{apns}"
ca_file = "apns.pem"
topics = ["{APP}"]
key_file = "a.p8"
key_id = "ABCDE12345"
team_id = "TEAM123456"
"#
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Replaces a file as careful programs do: in one step.
    pub(crate) fn replace(&self, name: &str, from: &str) {
        fs::copy(self.path(from), self.path("new")).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    pub(crate) fn start(&self) -> Process {
        self.start_by(&[])
    }

    /// Starts it by way of another program, which is given the command line.
    pub(crate) fn start_by(&self, program: &[&str]) -> Process {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let line = program.iter().copied().chain([env!("CARGO_BIN_EXE_carillon")]).collect::<Vec<_>>();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).args(["serve", "--config"]).arg(self.path("carillon.toml"));
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(url) = line.trim().strip_prefix("ready ").map(str::to_owned) else {
            let _ = child.wait();
            panic!("{line:?}: {}", self.log())
        };
        Process { child, url, agent: self.agent("api.pem") }
    }

    /// A client that trusts this certificate for the API.
    pub(crate) fn agent(&self, certificate: &str) -> ureq::Agent {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pem = fs::read(self.path(certificate)).unwrap();
        let root = ureq::tls::Certificate::from_pem(&pem).unwrap();
        let tls =
            ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::new_with_certs(&[root])).build();
        ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .into()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Waits until the log has `words` so many times, and gives back the lines.
    #[track_caller]
    pub(crate) fn logged(&self, words: &str, times: usize) -> Vec<String> {
        let lines = || -> Vec<String> {
            self.log().lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
        };
        wait(&format!("{words:?} {times} times in the log"), || self.log(), || lines().len() >= times);
        let lines = lines();
        assert_eq!(lines.len(), times, "{words:?}: {}", self.log());
        lines
    }

    /// A mail to a user.
    pub(crate) fn deliver(&self, user: usize, subject: &str) {
        let address = "jane@example.com".to_owned();
        let sender = Sender { name: "Jane Doe".to_owned(), address, ..Sender::default() };
        let body = format!("body of {subject}");
        let mail = Mail { sender, subject: subject.to_owned(), body, ..Mail::default() };
        self.exchange.with(|exchange, now| exchange.deliver(now, self.mailboxes[user], mail));
    }
}

impl Process {
    /// Registers everybody's phone.
    pub(crate) fn register(&self, users: usize) {
        for user in 0..users {
            let body = format!(r#"{{"address":"u{user}@example.com","token":"{}"}}"#, token(user));
            let (status, text) = self.put(&format!("u{user}"), &body);
            assert_eq!(status, 201, "{text}");
        }
    }

    /// Registers the phone of one user; status and body of the answer.
    pub(crate) fn put(&self, user: &str, body: &str) -> (u16, String) {
        let request = self.agent.put(format!("{}/v1/users/{user}/devices/phone", self.url));
        let request = request.header("authorization", format!("Bearer {GATEWAY}"));
        let mut reply = request.header("content-type", "application/json").send(body).unwrap();
        (reply.status().as_u16(), reply.body_mut().read_to_string().unwrap())
    }

    /// Reads something as an administrator; status and body of the answer.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let request = self.agent.get(format!("{}{path}", self.url));
        let mut reply = request.header("authorization", format!("Bearer {ADMIN}")).call().unwrap();
        (reply.status().as_u16(), reply.body_mut().read_to_string().unwrap())
    }

    /// `GET /v1/status`
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/v1/status").1).unwrap()
    }

    /// Waits until so many mailboxes are watched.
    #[track_caller]
    pub(crate) fn live(&self, users: u64) {
        let status = || self.status().to_string();
        wait(&format!("{users} live mailboxes"), status, || self.status()["live"].as_u64() == Some(users));
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// The exit status, which comes within five seconds.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> i32 {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap();
            }
            assert!(begin.elapsed() < Duration::from_secs(5), "did not end within 5 s");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `done`, and tells what `shows` shows if that takes too long.
#[track_caller]
pub(crate) fn wait(what: &str, shows: impl Fn() -> String, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(30), "waiting for {what}: {}", shows());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn token(user: usize) -> String {
    format!("{:064x}", 0xabcd_0000 + user)
}
