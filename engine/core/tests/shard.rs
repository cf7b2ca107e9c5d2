//! A shard by its public face: mistakes that fuzzing found, each with the rule that it broke.

use carillon_core::h2pump::{Answer, ServerConfig, ServerEvent, ServerPump};
use carillon_core::names::{DeviceKey, DeviceToken, ItemId, SmtpAddress, Topic, UserKey};
use carillon_core::shard::{
    AccountNews, AssignUser, Budget, Command, ConnId, DeviceSettings, DeviceSpec, Effect, Effects, Endpoint,
    EndpointId, Input, MailCredential, MailServer, MailServerId, More, NoticeRecord, Protocol, PushAuth,
    PushService, PushServiceId, ShardConfig, ShardCore, Timing, UnsettledNotice,
};
use carillon_core::signal::MailSignal;
use carillon_core::time::{Now, Span, Time, UnixMillis};

const START: UnixMillis = UnixMillis(1_767_600_000_000);

fn shard(now: Now) -> ShardCore {
    let endpoint = |host: &str, protocol| Endpoint { host: host.into(), port: 443, protocol };
    ShardCore::new(
        now,
        ShardConfig {
            shard: 0,
            seed: 1,
            endpoints: vec![
                endpoint("mail.example.com", Protocol::Http1),
                endpoint("api.push.apple.com", Protocol::Http2),
            ],
            mail_servers: vec![MailServer {
                subscribes_per_s: 1_000,
                ..MailServer::new(EndpointId(0), MailCredential::ClientCertificate)
            }],
            push_services: vec![PushService {
                endpoint: EndpointId(1),
                auth: PushAuth::Certificate,
                lanes: 1,
                lane_window_max: 100,
            }],
            timing: Timing::default(),
            item_key: [7; 16],
        },
    )
}

fn device_with_a_notice_of_an_earlier_life() -> DeviceSpec {
    DeviceSpec {
        device: DeviceKey(1),
        service: PushServiceId(0),
        token: DeviceToken::parse("0011223344556677").unwrap(),
        topic: Topic::parse("com.example.mail").unwrap(),
        registered: START,
        active: START,
        settings: DeviceSettings::default(),
        stopped: false,
        badge: None,
        unsettled: Some(UnsettledNotice { apns_id: 7, mails: 1, newest: 42 }),
    }
}

fn user(server: Option<MailServerId>, devices: Vec<DeviceSpec>) -> Command {
    Command::AssignUser(Box::new(AssignUser {
        notices: NoticeRecord { sync_point: START, ..NoticeRecord::default() },
        devices,
        ..AssignUser::new(UserKey(1), SmtpAddress::parse("jane@example.com").unwrap(), server)
    }))
}

/// Turns until the shard rests; how many it took. Lanes stand at once, connections to the mail server never.
fn turns_until_rest(core: &mut ShardCore, now: Now, fx: &mut Effects) -> usize {
    for turn in 1..100 {
        let more = core.work(now, Budget::TURN, fx);
        let lanes: Vec<ConnId> = fx
            .drain()
            .filter_map(|effect| match effect {
                Effect::Open { conn, endpoint: EndpointId(1) } => Some(conn),
                _ => None,
            })
            .collect();
        for conn in &lanes {
            core.handle(now, Input::Opened { conn: *conn }, fx);
        }
        if more == More::No && lanes.is_empty() && core.next_deadline().is_none_or(|at| at > now.time) {
            return turn;
        }
    }
    panic!("the shard never rests");
}

#[test]
fn a_notice_that_waits_for_the_catch_up_lets_the_shard_rest() {
    let mut now = Now { time: Time(0), unix: START };
    let (mut core, mut fx) = (shard(now), Effects::new());
    let assign = user(Some(MailServerId(0)), vec![device_with_a_notice_of_an_earlier_life()]);
    core.handle(now, Input::Command(assign), &mut fx);
    for _ in 0..100 {
        assert!(turns_until_rest(&mut core, now, &mut fx) <= 3);
        core.check().unwrap();
        now.time = now.time + Span::from_millis(500);
        now.unix.0 += 500;
    }
    assert_eq!((core.stats().pushes_sent, core.stats().ledger.waiting), (0, 1));
}

#[test]
fn another_device_waits_with_a_notice_of_an_earlier_life_for_the_catch_up() {
    let mut now = Now { time: Time(0), unix: START };
    let (mut core, mut fx) = (shard(now), Effects::new());
    let earlier = device_with_a_notice_of_an_earlier_life();
    let other = DeviceSpec { device: DeviceKey(2), unsettled: None, ..earlier.clone() };
    core.handle(now, Input::Command(user(Some(MailServerId(0)), vec![earlier, other])), &mut fx);
    let item = ItemId::parse("AAMk1").unwrap();
    let signal = MailSignal::NewMail { item, received: START, vip: false };
    core.handle(now, Input::Command(Command::Signal { user: UserKey(1), signal }), &mut fx);
    for _ in 0..20 {
        turns_until_rest(&mut core, now, &mut fx);
        core.check().unwrap();
        now.time = now.time + Span::from_millis(500);
        now.unix.0 += 500;
    }
    assert_eq!((core.stats().pushes_sent, core.stats().ledger.waiting), (0, 3));
}

/// A turn in which the first lane is asked for; then it stands.
fn open_lane(core: &mut ShardCore, now: Now, fx: &mut Effects) -> ConnId {
    core.work(now, Budget::TURN, fx);
    let opened = fx.drain().find_map(|effect| match effect {
        Effect::Open { conn, endpoint: EndpointId(1) } => Some(conn),
        _ => None,
    });
    let conn = opened.expect("a device wants a lane");
    core.handle(now, Input::Opened { conn }, fx);
    conn
}

#[test]
fn mail_that_came_while_a_removed_device_had_a_push_out_is_told_to_the_other() {
    let mut now = Now { time: Time(0), unix: START };
    let (mut core, mut fx) = (shard(now), Effects::new());
    let device = |number| DeviceSpec {
        device: DeviceKey(number),
        unsettled: None,
        ..device_with_a_notice_of_an_earlier_life()
    };
    core.handle(now, Input::Command(user(None, vec![device(1)])), &mut fx);
    let (lane, mut apns) = (open_lane(&mut core, now, &mut fx), ServerPump::new(ServerConfig::default()));
    let mail = |id: &str| {
        let item = ItemId::parse(id).unwrap();
        let signal = MailSignal::NewMail { item, received: START, vip: false };
        Command::Signal { user: UserKey(1), signal }
    };
    core.handle(now, Input::Command(mail("AAMk1")), &mut fx);
    // Past settling, and before the lane is given up for lack of SETTINGS.
    now.time = now.time + Span::from_secs(3);
    turns_until_rest(&mut core, now, &mut fx);
    assert_eq!(core.stats().pushes_sent, 1);
    for command in [
        Command::RegisterDevice { user: UserKey(1), device: Box::new(device(2)) },
        Command::RemoveDevice { user: UserKey(1), device: DeviceKey(1) },
        mail("AAMk2"),
    ] {
        core.handle(now, Input::Command(command), &mut fx);
    }

    for _ in 0..8 {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        while core.drain(lane, &mut up, 4_096) {}
        apns.feed(&up);
        while let Some(event) = apns.poll() {
            if let ServerEvent::Request(request) = event {
                let answer =
                    Answer { status: 200, headers: &[], body: b"", data_bytes_max: 0, empty_tail: false };
                apns.respond(request.stream, &answer).unwrap();
            }
        }
        apns.drain(&mut down, usize::MAX);
        core.handle(now, Input::Bytes { conn: lane, data: &down }, &mut fx);
        turns_until_rest(&mut core, now, &mut fx);
        core.check().unwrap();
        now.time = now.time + Span::from_secs(1);
    }
    assert_eq!((core.stats().pushes_sent, core.stats().ledger.accepted), (2, 2));
}

#[test]
fn a_notice_does_not_wait_for_a_catch_up_that_will_never_come() {
    let now = Now { time: Time(0), unix: START };
    for with_server_first in [false, true] {
        let (mut core, mut fx) = (shard(now), Effects::new());
        if with_server_first {
            let devices = vec![device_with_a_notice_of_an_earlier_life()];
            core.handle(now, Input::Command(user(Some(MailServerId(0)), devices)), &mut fx);
            core.handle(now, Input::Command(user(None, Vec::new())), &mut fx);
        } else {
            core.handle(now, Input::Command(user(None, Vec::new())), &mut fx);
            let device = Box::new(device_with_a_notice_of_an_earlier_life());
            core.handle(now, Input::Command(Command::RegisterDevice { user: UserKey(1), device }), &mut fx);
        }
        turns_until_rest(&mut core, now, &mut fx);
        let later = Now { time: now.time + Span::from_secs(60), unix: UnixMillis(START.0 + 60_000) };
        turns_until_rest(&mut core, later, &mut fx);
        core.check().unwrap();
        assert_eq!((core.stats().pushes_sent, core.stats().ledger.in_flight), (1, 1));
    }
}

#[test]
fn a_notice_whose_details_cannot_be_asked_for_now_lets_the_shard_rest() {
    let mut now = Now { time: Time(0), unix: START };
    let (mut core, mut fx) = (shard(now), Effects::new());
    let device = DeviceSpec { unsettled: None, ..device_with_a_notice_of_an_earlier_life() };
    core.handle(now, Input::Command(user(Some(MailServerId(0)), vec![device])), &mut fx);
    // Cohorts wait a moment for their members.
    now.time = now.time + Span::from_secs(2);
    now.unix.0 += 2_000;
    core.work(now, Budget::TURN, &mut fx);
    // No other shard tries the credential just now.
    let news = AccountNews { turn: true, ..AccountNews::default() };
    core.handle(now, Input::Account { server: MailServerId(0), news }, &mut fx);
    let opened: Vec<(ConnId, EndpointId)> = fx
        .drain()
        .filter_map(|effect| match effect {
            Effect::Open { conn, endpoint } => Some((conn, endpoint)),
            _ => None,
        })
        .collect();
    for (conn, _) in &opened {
        core.handle(now, Input::Opened { conn: *conn }, &mut fx);
    }
    let exchange = opened.iter().find(|(_, endpoint)| *endpoint == EndpointId(0));
    let conn = exchange.expect("a subscription is asked for").0;
    while core.drain(conn, &mut Vec::new(), 4_096) {}
    let body = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><m:SubscribeResponse \
        xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\"><m:ResponseMessages>\
        <m:SubscribeResponseMessage ResponseClass=\"Error\"><m:ResponseCode>ErrorAccessDenied</m:ResponseCode>\
        </m:SubscribeResponseMessage></m:ResponseMessages></m:SubscribeResponse></s:Body></s:Envelope>";
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n", body.len());
    core.handle(now, Input::Bytes { conn, data: (head + body).as_bytes() }, &mut fx);
    // The mailbox is asked again in minutes; the notice goes out without details before.
    let item = ItemId::parse("AAMk1").unwrap();
    let signal = MailSignal::NewMail { item, received: START, vip: false };
    core.handle(now, Input::Command(Command::Signal { user: UserKey(1), signal }), &mut fx);
    for _ in 0..20 {
        assert!(turns_until_rest(&mut core, now, &mut fx) <= 3);
        core.check().unwrap();
        now.time = now.time + Span::from_millis(500);
        now.unix.0 += 500;
    }
    assert_eq!(core.stats().pushes_sent, 1);
}
