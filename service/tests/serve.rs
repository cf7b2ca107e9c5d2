//! `carillon serve` as a process: ready line, kill and restart, orderly end, and what it says when it cannot start.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const GATEWAY: &str = "gateway-token-of-the-test";

/// A folder with everything that a configuration needs.
struct Site {
    dir: tempfile::TempDir,
    agent: ureq::Agent,
}

/// A running process; killed when the test ends, however it ends.
struct Process {
    child: Child,
    url: String,
}

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certified = rcgen::generate_simple_self_signed(names).unwrap();
        let certificate = certified.cert.pem();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("api.crt", &certificate);
        write("api.key", &certified.signing_key.serialize_pem());
        write("gateway.token", GATEWAY);
        write("admin.token", "admin-token-of-the-test");
        write("exchange.password", "secret-of-exchange");
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        write("a.p8", &key.serialize_pem());
        write("carillon.toml", &config("127.0.0.1:0"));

        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = ureq::tls::Certificate::from_der(certified.cert.der()).to_owned();
        let tls =
            ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::new_with_certs(&[root])).build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .into();
        Site { dir, agent }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carillon"));
        command.args(["serve", "--config"]).arg(self.path().join("carillon.toml"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self) -> Process {
        let log = fs::File::options().create(true).append(true).open(self.path().join("log")).unwrap();
        let mut child = self.command().stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = || fs::read_to_string(self.path().join("log")).unwrap();
        let url =
            line.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("{line:?} {}", log())).to_owned();
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        Process { child, url }
    }

    /// Starts it where it cannot start, and gives back what it said.
    fn fail(&self) -> (i32, String) {
        let Output { status, stderr, stdout } = self.command().output().unwrap();
        assert!(stdout.is_empty(), "never ready");
        let text = String::from_utf8(stderr).unwrap();
        (status.code().unwrap(), text.replace(&self.path().display().to_string(), ""))
    }

    fn register(&self, url: &str, user: &str, token: u64) -> Result<u16, ureq::Error> {
        let body = format!(r#"{{"address":"{user}@example.com","token":"{token:016x}"}}"#);
        let request = self.agent.put(format!("{url}/v1/users/{user}/devices/phone"));
        let request = request.header("authorization", format!("Bearer {GATEWAY}"));
        Ok(request.header("content-type", "application/json").send(body)?.status().as_u16())
    }

    fn read(&self, url: &str, user: &str) -> u16 {
        let request = self.agent.get(format!("{url}/v1/users/{user}"));
        request.header("authorization", format!("Bearer {GATEWAY}")).call().unwrap().status().as_u16()
    }
}

impl Process {
    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// The exit status, within five seconds.
    fn ended(&mut self) -> i32 {
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

/// Nobody listens where Exchange and APNs should be: that must not keep the service from its other work.
fn config(listen: &str) -> String {
    format!(
        r#"
[api]
listen = "{listen}"
cert_file = "api.crt"
key_file = "api.key"
gateway_token_file = "gateway.token"
admin_token_file = "admin.token"
[store]
path = "carillon.db"
[engine]
shards = 1
[[exchange]]
name = "main"
url = "https://127.0.0.1:9"
user = "svc"
password_file = "exchange.password"
[[push]]
name = "apns"
url = "https://127.0.0.1:9"
topics = ["com.example.mail"]
key_file = "a.p8"
key_id = "ABCDE12345"
team_id = "TEAM123456"
"#
    )
}

#[test]
fn what_was_acknowledged_survives_a_kill_in_the_middle() {
    let site = Arc::new(Site::new());
    let mut process = site.start();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..4_u64)
        .map(|caller| {
            let (site, url, acknowledged) = (site.clone(), process.url.clone(), acknowledged.clone());
            std::thread::spawn(move || {
                let mut users = Vec::new();
                for at in 0..100_000 {
                    let user = format!("u{caller}-{at}");
                    match site.register(&url, &user, caller << 32 | at) {
                        Ok(200 | 201) => users.push(user),
                        Ok(status) => panic!("{status}"),
                        // The process is gone.
                        Err(_) => break,
                    }
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                users
            })
        })
        .collect();
    while acknowledged.load(Ordering::Relaxed) < 100 {
        std::thread::sleep(Duration::from_millis(1));
    }
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    let users: Vec<String> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
    assert!(users.len() >= 100);

    let mut process = site.start();
    for user in &users {
        assert_eq!(site.read(&process.url, user), 200, "{user}");
    }
    process.signal("TERM");
    assert_eq!(process.ended(), 0);
    let log = fs::read_to_string(site.path().join("log")).unwrap();
    assert!(log.contains("ended, all saved"), "{log}");
    assert_eq!(log.matches("minted a provider token").count(), 1, "the restart used the stored one");
    for secret in [GATEWAY, "secret-of-exchange", "@example.com", "bearer", "Bearer"] {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
}

#[test]
fn what_keeps_it_from_starting_is_one_line_that_names_it() {
    let site = Site::new();
    let file = |name: &str| site.path().join(name);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    fs::write(file("carillon.toml"), config(&address)).unwrap();
    let (code, text) = site.fail();
    assert_eq!(code, 1);
    assert!(text.contains(&address) && text.lines().count() == 1, "{text}");
    fs::write(file("carillon.toml"), config("127.0.0.1:0")).unwrap();

    for (name, bad, said) in [
        ("api.crt", "no certificate", "api.crt"),
        ("api.key", "no key", "api.key"),
        ("a.p8", "no key", "signing key /a.p8: is not a PEM file"),
        ("carillon.db", &"no database ".repeat(200), "database /carillon.db is damaged"),
        ("carillon.db.key", "no key", "key file /carillon.db.key"),
    ] {
        let good = fs::read(file(name)).ok();
        fs::write(file(name), bad).unwrap();
        let (code, text) = site.fail();
        assert_eq!(code, 1, "{text}");
        assert!(text.contains(said), "{text}");
        let line = |line: &&str| line.starts_with("carillon: ");
        assert_eq!((text.lines().count(), text.lines().filter(line).count()), (1, 1), "{text}");
        match good {
            Some(good) => fs::write(file(name), good).unwrap(),
            None => fs::remove_file(file(name)).unwrap(),
        }
    }

    fs::remove_file(file("a.p8")).unwrap();
    assert_eq!(site.fail(), (1, "carillon: signing key /a.p8: no such file\n".to_owned()));
    fs::write(file("carillon.toml"), config("127.0.0.1:0").replace("shards", "shard")).unwrap();
    let (code, text) = site.fail();
    assert_eq!(code, 2);
    assert!(text.contains("/carillon.toml:11: unknown key \"shard\"; did you mean \"shards\"?"), "{text}");
}

#[test]
fn a_second_process_on_the_same_database_is_refused_and_ctrl_c_ends_the_first() {
    let site = Site::new();
    let mut first = site.start();
    let (code, text) = site.fail();
    assert_eq!(code, 1);
    assert!(text.contains("in use by another carillon process"), "{text}");
    first.signal("INT");
    assert_eq!(first.ended(), 0);
}
