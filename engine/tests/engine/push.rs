//! The engine as it is delivered: the real core in the shell, a signal in, a push out.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::Instant;

use carillon_core::h2pump::{Answer, ServerConfig, ServerEvent, ServerPump};
use carillon_core::names::{DeviceKey, DeviceToken, ItemId, SmtpAddress, Topic, UserKey};
use carillon_core::shard::{
    AssignUser, DeviceSettings, DeviceSpec, EndpointId, Protocol, PushAuth, PushService, PushServiceId,
    Report, ShardConfig, TeamId, Timing,
};
use carillon_core::signal::MailSignal;
use carillon_core::time::UnixMillis;
use carillon_engine::{Clock, Engine, EngineConfig, journal};

use crate::rig::{PATIENCE, Stream, identity, serve};

const USERS: u64 = 500;

#[test]
fn each_signalled_mail_becomes_one_accepted_push() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity();
    let server = serve(identity.server_config(&[b"h2"]), Protocol::Http2, accept_pushes);
    let shard = ShardConfig {
        shard: 0,
        seed: 7,
        endpoints: vec![server.endpoint.clone()],
        mail_servers: Vec::new(),
        push_services: vec![PushService {
            endpoint: EndpointId(0),
            auth: PushAuth::Team(TeamId(0)),
            lanes: 1,
            lane_window_max: 100,
        }],
        timing: Timing { settle_ms: 0, ..Timing::default() },
        item_key: [3; 16],
    };
    let config = EngineConfig {
        shards: 1,
        journal_dir: Some(dir.path().to_owned()),
        ..EngineConfig::new(shard, vec![identity.trusted()])
    };
    let (engine, mut reports) = Engine::start(config).unwrap();

    let now = Clock::start().now().unix;
    engine.set_team_token(TeamId(0), "header.claims.signature".into(), now).unwrap();
    for number in 0..USERS {
        engine.assign(user(number, now)).unwrap();
        let item = ItemId::parse(&format!("mail{number}")).unwrap();
        engine.signal(UserKey(number), MailSignal::NewMail { item, received: now, vip: false }).unwrap();
    }
    let mut numbers = Vec::new();
    let mut settled = BTreeSet::new();
    let begun = Instant::now();
    while settled.len() < USERS as usize {
        assert!(begun.elapsed() < PATIENCE, "{} of {USERS} settled", settled.len());
        for numbered in reports.recv(PATIENCE) {
            numbers.extend(Some(numbered.seq).filter(|seq| *seq > 0));
            if let Report::Device { user, unsettled: None, .. } = numbered.report {
                settled.insert(user);
            }
        }
    }
    assert_eq!(
        numbers,
        (1..=numbers.len() as u64).collect::<Vec<_>>(),
        "durable reports are numbered without gaps"
    );
    let kept = journal::read(dir.path()).unwrap().entries;
    assert_eq!(kept.len(), numbers.len());

    engine.drain().unwrap();
    while !reports.recv(PATIENCE).iter().any(|numbered| numbered.report == Report::Drained) {
        assert!(begun.elapsed() < PATIENCE);
    }
    let stats = engine.stats();
    let ledger = stats.total().ledger;
    assert!(ledger.balances() && ledger.accepted == USERS, "{ledger:?}");
    assert_eq!((stats.mail_to_written.len(), stats.mail_to_accepted.len()), (USERS, USERS));
    engine.shutdown(PATIENCE).unwrap();
    assert_eq!(server.join().len(), USERS as usize, "each token once");
}

/// Accepts every push until the client goes; returns the paths.
fn accept_pushes(mut stream: Stream) -> BTreeSet<String> {
    let mut pump = ServerPump::new(ServerConfig::default());
    let mut paths = BTreeSet::new();
    let mut out = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        while pump.drain(&mut out, usize::MAX) {}
        stream.write_all(&out).unwrap();
        stream.flush().unwrap();
        out.clear();
        match stream.read(&mut buffer) {
            Ok(0) => return paths,
            Ok(len) => pump.feed(&buffer[..len]),
            Err(error) => panic!("the client should have said good-bye: {error}"),
        }
        while let Some(event) = pump.poll() {
            let ServerEvent::Request(request) = event else { continue };
            assert!(paths.insert(request.head.uri.path().to_owned()), "told twice");
            let answer =
                Answer { status: 200, headers: &[], body: &[], data_bytes_max: 0, empty_tail: false };
            pump.respond(request.stream, &answer).unwrap();
        }
    }
}

fn user(number: u64, now: UnixMillis) -> AssignUser {
    AssignUser {
        devices: vec![DeviceSpec {
            device: DeviceKey(number),
            service: PushServiceId(0),
            token: DeviceToken::parse(&format!("{number:064x}")).unwrap(),
            topic: Topic::parse("com.example.mail").unwrap(),
            registered: now,
            active: now,
            settings: DeviceSettings::default(),
            stopped: false,
            badge: None,
            unsettled: None,
        }],
        ..AssignUser::new(
            UserKey(number),
            SmtpAddress::parse(&format!("user{number}@example.com")).unwrap(),
            None,
        )
    }
}
