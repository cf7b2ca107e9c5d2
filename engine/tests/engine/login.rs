//! Log-ins of several shards at one mail server.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use carillon_core::names::{SmtpAddress, UserKey};
use carillon_core::shard::{
    AssignUser, EndpointId, MailCredential, MailServer, MailServerId, Protocol, Report, ShardConfig, Timing,
};
use carillon_engine::{Engine, EngineConfig, Reports};
use rustls::{ServerConnection, StreamOwned};

use crate::rig::{Identity, PATIENCE, endpoint, identity};

/// Long after every shard would have tried for itself, if it did.
const A_WHILE: Duration = Duration::from_secs(2);

#[test]
fn a_wrong_password_is_tried_once_by_all_shards_together() {
    let identity = identity();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = endpoint(&listener, Protocol::Http1);
    let log_ins = Arc::new(AtomicUsize::new(0));
    refuse_everybody(listener, &identity, Arc::clone(&log_ins));

    let shard = ShardConfig {
        shard: 0,
        seed: 7,
        endpoints: vec![endpoint],
        mail_servers: vec![mail_server()],
        push_services: Vec::new(),
        timing: Timing::default(),
        item_key: [3; 16],
    };
    let config = EngineConfig { shards: 4, ..EngineConfig::new(shard, vec![identity.trusted()]) };
    let (engine, mut reports) = Engine::start(config).unwrap();
    for number in 0..100 {
        engine.assign(user(number)).unwrap();
    }
    assert!(refusals(&mut reports) == 1 && log_ins.load(Ordering::Relaxed) == 1);

    engine.set_mail_credential(MailServerId(0), basic("wrong too")).unwrap();
    assert!(refusals(&mut reports) == 1 && log_ins.load(Ordering::Relaxed) == 2);
    engine.shutdown(PATIENCE).unwrap();
}

/// The refusals that are reported until some time after the first.
fn refusals(reports: &mut Reports) -> usize {
    let begun = Instant::now();
    let mut first = None;
    let mut refusals = 0;
    while first.is_none_or(|first: Instant| first.elapsed() < A_WHILE) {
        assert!(begun.elapsed() < PATIENCE, "no refusal is reported");
        for numbered in reports.recv(Duration::from_millis(100)) {
            if let Report::MailCredentialRefused { .. } = numbered.report {
                first.get_or_insert(Instant::now());
                refusals += 1;
            }
        }
    }
    refusals
}

/// Answers every request with 401, after a while, and counts them.
fn refuse_everybody(listener: TcpListener, identity: &Identity, log_ins: Arc<AtomicUsize>) {
    let config = Arc::new(identity.server_config(&[b"http/1.1"]));
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (config, log_ins) = (Arc::clone(&config), Arc::clone(&log_ins));
            let socket = socket.unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
            thread::spawn(move || {
                let mut request = Vec::new();
                while !request.ends_with(b"</s:Envelope>") {
                    let mut bytes = [0; 4_096];
                    match stream.read(&mut bytes) {
                        Ok(length) if length > 0 => request.extend(&bytes[..length]),
                        Ok(_) | Err(_) => return,
                    }
                }
                log_ins.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(300));
                let reply = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";
                let _ = stream.write_all(reply).and_then(|()| stream.flush());
            });
        }
    });
}

fn basic(password: &str) -> MailCredential {
    MailCredential::Basic { user: "EX\\carillon".into(), password: password.into() }
}

fn mail_server() -> MailServer {
    MailServer { subscribes_per_s: 1_000, ..MailServer::new(EndpointId(0), basic("wrong")) }
}

fn user(number: u64) -> AssignUser {
    AssignUser::new(
        UserKey(number),
        SmtpAddress::parse(&format!("user{number}@example.com")).unwrap(),
        Some(MailServerId(0)),
    )
}
