//! The engine as its owner sees it: full queues, reports, the journal, the end.

use std::io::{Read, Write};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::rig::{Order, PATIENCE, Seen, handshake, identity, rig, serve};
use carillon_core::names::{DeviceKey, UserKey};
use carillon_core::shard::{
    Effect, Endpoint, EndpointId, Protocol, PushTimes, Report, ShardConfig, Timing, UnsettledNotice,
};
use carillon_core::time::Time;
use carillon_engine::{Engine, EngineConfig, Refused, StartError, TlsSettings, journal};

fn durable(number: u64) -> Report {
    let unsettled = Some(UnsettledNotice { apns_id: 9, mails: 1, newest: number });
    Report::Device { user: UserKey(number), device: DeviceKey(1), badge: Some(2), unsettled }
}

#[test]
fn a_full_queue_is_busy_and_takes_commands_again_later() {
    let rig = rig(Vec::new(), |config| config.commands_waiting_max = 4);
    let (resume, blocked) = channel();
    rig.order([Order::Block(blocked)]);
    let mut taken = 0;
    // The shard takes the first command out of the queue at a moment of its own.
    while rig.nudge() == Ok(()) {
        taken += 1;
        assert!(taken <= 5);
    }
    assert_eq!(rig.nudge(), Err(Refused::Busy));
    resume.send(()).unwrap();
    let give_up = Instant::now() + PATIENCE;
    while rig.nudge() == Err(Refused::Busy) {
        assert!(Instant::now() < give_up);
        std::thread::yield_now();
    }
}

#[test]
fn reports_come_in_order_and_only_durable_ones_are_numbered() {
    let mut rig = rig(Vec::new(), |_| {});
    let mut reports = rig.reports.take().unwrap();
    rig.order([durable(1), Report::Drained, durable(2)].map(Order::Report));
    let mut got = Vec::new();
    while got.len() < 3 {
        got.extend(reports.recv(PATIENCE).into_iter().map(|numbered| (numbered.seq, numbered.report)));
    }
    assert_eq!(got, [(1, durable(1)), (0, Report::Drained), (2, durable(2))]);
    assert!(reports.recv(Duration::ZERO).is_empty());
    assert!(!reports.is_finished());
}

#[test]
fn a_shard_whose_reports_nobody_receives_pauses_and_loses_none() {
    const REPORTS: u64 = 100;
    let mut rig = rig(Vec::new(), |config| {
        config.reports_waiting_max = 8;
        config.commands_waiting_max = 4;
    });
    let mut reports = rig.reports.take().unwrap();
    rig.order((1..=REPORTS).map(|number| Order::Report(durable(number))));
    let give_up = Instant::now() + PATIENCE;
    while rig.engine.stats().shells[0].turns_paused == 0 || rig.nudge() == Ok(()) {
        assert!(Instant::now() < give_up, "the shard should have stopped taking commands");
    }
    assert!(rig.engine.stats().shells[0].reports_waiting > 0);
    let mut numbers = Vec::new();
    while numbers.len() < REPORTS as usize {
        numbers.extend(reports.recv(PATIENCE).into_iter().map(|numbered| numbered.seq));
    }
    assert_eq!(numbers, (1..=REPORTS).collect::<Vec<_>>());
    while rig.nudge() == Err(Refused::Busy) {
        assert!(Instant::now() < give_up, "the shard should go on");
    }
}

#[test]
fn what_must_survive_is_in_the_journal_before_the_peer_sees_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let identity = identity();
    let server = {
        let path = path.clone();
        serve(identity.server_config(&[]), Protocol::Http1, move |mut stream| {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            // As after a kill at this moment: another reader of the files.
            journal::read(&path).unwrap().entries
        })
    };
    let rig = rig(vec![(server.endpoint.clone(), identity.trusted())], |config| {
        config.journal_dir = Some(path.clone());
        config.epoch = 12;
    });
    let conn = rig.connect();
    rig.order([Order::Send(conn, b"x".to_vec()), Order::Report(Report::Drained), Order::Report(durable(5))]);
    let found: Vec<_> =
        server.join().into_iter().map(|entry| (entry.epoch, entry.shard, entry.seq, entry.report)).collect();
    assert_eq!(found, [(12, 0, 1, durable(5))]);
    rig.engine.stored(0, 1);
}

#[test]
fn what_becomes_possible_within_a_turn_is_in_the_journal_before_its_bytes_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity();
    let server = serve(identity.server_config(&[]), Protocol::Http1, |mut stream| {
        let mut bytes = [0; 3];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    });
    let rig = rig(vec![(server.endpoint.clone(), identity.trusted())], |config| {
        config.journal_dir = Some(dir.path().to_owned());
    });
    let conn = rig.connect();
    // Room is told in the turn that made it, as long as further rounds fit in: each gives a report and a push.
    let third = vec![Order::Report(durable(3)), Order::Send(conn, b"3".to_vec())];
    let second =
        vec![Order::Report(durable(2)), Order::Send(conn, b"2".to_vec()), Order::AtRoom(conn, third)];
    rig.order([
        Order::LookAt(dir.path().to_owned()),
        Order::AtRoom(conn, second),
        Order::Report(durable(1)),
        Order::Send(conn, b"1".to_vec()),
    ]);
    assert_eq!(&server.join(), b"123");
    let mut entries = Vec::new();
    while entries.len() < 3 {
        match rig.see() {
            Seen::Drained(_, written) => entries.push(written),
            Seen::Command | Seen::Room(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(entries, [1, 2, 3], "what was written when the bytes of each round were taken");
}

/// A kill right after it was read takes it no more.
#[test]
fn what_follows_from_an_answer_is_in_the_journal_although_nothing_happens_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity();
    let (go, gate) = channel();
    let (done, kept) = channel::<()>();
    let server = serve(identity.server_config(&[]), Protocol::Http1, move |mut stream| {
        handshake(&mut stream).unwrap();
        gate.recv().unwrap();
        stream.write_all(b"taken").unwrap();
        stream.flush().unwrap();
        // No further bytes, no end: the shard has no reason for another turn.
        kept.recv().unwrap();
    });
    let rig = rig(vec![(server.endpoint.clone(), identity.trusted())], |config| {
        config.journal_dir = Some(dir.path().to_owned());
    });
    let conn = rig.connect();
    rig.order([Order::AtBytes(conn, vec![Order::Report(durable(7))])]);
    rig.turn();
    go.send(()).unwrap();
    assert_eq!(rig.receive(conn, 5), b"taken");
    let give_up = Instant::now() + PATIENCE;
    while journal::read(dir.path()).unwrap().entries.is_empty() {
        assert!(Instant::now() < give_up, "it waits for something");
        std::thread::yield_now();
    }
    done.send(()).unwrap();
    server.join();
}

#[test]
fn a_shutdown_says_good_bye_and_is_over_in_time_although_a_peer_hangs() {
    let identity = identity();
    let (done, gate) = channel::<()>();
    let polite = serve(identity.server_config(&[]), Protocol::Http1, |mut stream| {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).map(|_| rest)
    });
    let hanging = serve(identity.server_config(&[]), Protocol::Http1, move |mut stream| {
        handshake(&mut stream).unwrap();
        gate.recv().unwrap();
    });
    let tls = identity.trusted();
    let mut rig = rig(vec![(polite.endpoint.clone(), tls.clone()), (hanging.endpoint.clone(), tls)], |_| {});
    let mut reports = rig.reports.take().unwrap();
    rig.connect();
    rig.order([Order::Open(EndpointId(1))]);
    let Seen::Opening(conn) = rig.see_news() else { panic!() };
    assert_eq!(rig.see_news(), Seen::Opened(conn));
    rig.order([Order::Report(durable(1))]);
    rig.turn();

    let begun = Instant::now();
    rig.engine.shutdown(Duration::from_secs(5)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(polite.join().unwrap(), b"");
    assert_eq!(rig.nudge(), Err(Refused::Stopped));
    assert_eq!(reports.recv(PATIENCE).len(), 1, "the last report is not lost");
    assert!(reports.is_finished() && reports.recv(PATIENCE).is_empty());
    done.send(()).unwrap();
    hanging.join();
}

#[test]
fn latencies_are_counted_from_the_mail_and_from_when_it_was_due() {
    let rig = rig(Vec::new(), |_| {});
    // On the shard's clock, which began with the engine.
    let times = PushTimes { signalled: Time(0), due: Time::NEVER };
    rig.order([Order::Effect(Effect::Sent(times)), Order::Effect(Effect::Accepted(times))]);
    rig.turn();
    let stats = rig.engine.stats();
    assert_eq!((stats.mail_to_written.len(), stats.mail_to_accepted.len()), (1, 1));
    assert!(stats.mail_to_written.max() > 0);
    assert_eq!((stats.due_to_written.len(), stats.due_to_written.max()), (1, 0), "never before it was due");
    assert_eq!(stats.total().users, 0);
}

#[test]
fn dropping_the_last_handle_ends_the_engine() {
    let mut rig = rig(Vec::new(), |_| {});
    let mut reports = rig.reports.take().unwrap();
    let other = rig.engine.clone();
    drop(rig);
    other.stop_user(UserKey(1)).unwrap();
    drop(other);
    let give_up = Instant::now() + PATIENCE;
    while !reports.is_finished() {
        assert!(reports.recv(Duration::from_millis(100)).is_empty());
        assert!(Instant::now() < give_up);
    }
}

#[test]
fn a_user_always_goes_to_the_same_shard_and_all_shards_have_some() {
    // More shards than this machine may have cores: pinning is a wish.
    let (engine, _reports) = Engine::start(EngineConfig { pin: true, ..config(3) }).unwrap();
    let mut users = [0; 3];
    for user in 0..3_000 {
        let shard = engine.shard_of(UserKey(user));
        assert_eq!(shard, engine.clone().shard_of(UserKey(user)));
        users[usize::from(shard)] += 1;
    }
    assert!(users.iter().all(|users| (900..1_100).contains(users)), "{users:?}");
    engine.shutdown(PATIENCE).unwrap();
}

#[test]
fn settings_that_cannot_be_are_told_before_anything_runs() {
    let mut unequal = config(1);
    unequal.endpoints_tls.push(TlsSettings::default());
    assert!(matches!(Engine::start(unequal), Err(StartError::Config(_))));

    let mut trusts_nobody = config(1);
    let host = "mail.example.com".into();
    trusts_nobody.shard.endpoints.push(Endpoint { host, port: 1, protocol: Protocol::Http1 });
    trusts_nobody.endpoints_tls.push(TlsSettings { web_roots: false, ..TlsSettings::default() });
    let error = Engine::start(trusts_nobody).unwrap_err().to_string();
    assert!(error.contains("mail.example.com") && error.contains("authority"), "{error}");

    let file = tempfile::NamedTempFile::new().unwrap();
    let mut no_folder = config(1);
    no_folder.journal_dir = Some(file.path().to_owned());
    assert!(matches!(Engine::start(no_folder), Err(StartError::Journal(..))));
}

fn config(shards: usize) -> EngineConfig {
    let shard = ShardConfig {
        shard: 0,
        seed: 1,
        endpoints: Vec::new(),
        mail_servers: Vec::new(),
        push_services: Vec::new(),
        timing: Timing::default(),
        item_key: [0; 16],
    };
    EngineConfig { shards, ..EngineConfig::new(shard, Vec::new()) }
}
