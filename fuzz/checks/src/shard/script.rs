//! The fuzzer's bytes as steps: commands of the owner, words of the shell, deeds of the peers, and time.

use carillon_core::h2pump::Answer;
use carillon_core::limits::USER_DEVICES_MAX;
use carillon_core::names::{
    DeviceKey, DeviceToken, FolderId, ItemId, SmtpAddress, SubscriptionId, Topic, UserKey,
};
use carillon_core::shard::{
    AssignUser, CloseReason, Command, DeviceSettings, DeviceSpec, Input as ShardInput, MailCredential,
    MailServerId, NoticeRecord, PushServiceId, TeamId, Timing, ToldMail, UnsettledNotice, VipRules,
    WatchRecord,
};
use carillon_core::signal::MailSignal;
use carillon_core::time::{Span, UnixMillis};

use super::exchange;
use super::link::Peer;
use super::rig::{Person, Rig};
use crate::input::{Input, cut};

/// Users that the script knows.
const USERS: usize = 8;

/// One step.
pub(super) fn step(rig: &mut Rig, input: &mut Input<'_>) {
    match input.u8() % 24 {
        0 | 1 => assign(rig, input),
        2 => drop_user(rig, input),
        3 => register(rig, input),
        4 => remove(rig, input),
        5 => touch(rig, input),
        6 => stop(rig, input),
        7 | 8 => signal(rig, input),
        9 => credentials(rig, input),
        10 => rig.command(Command::SetTiming(timing(input))),
        11 => {
            if input.u8() == 0xff {
                rig.command(Command::Drain);
            }
        }
        12 | 13 => with_link(rig, input, |rig, at, _| rig.opened(at)),
        14 => with_link(rig, input, |rig, at, input| rig.closed(at, reason(input))),
        15 | 16 => with_link(rig, input, answer),
        17 | 18 => with_link(rig, input, stream_event),
        19 => with_link(rig, input, raw_bytes),
        20 => with_link(rig, input, disturb_lane),
        21 => late(rig, input),
        22 => all_open(rig),
        _ => rig.pass(Span::from_millis(1 << (input.u8() % 24))),
    }
}

fn user(input: &mut Input<'_>) -> UserKey {
    UserKey(input.below(USERS) as u64)
}

fn device(input: &mut Input<'_>) -> DeviceKey {
    DeviceKey(input.below(4) as u64)
}

fn item(input: &mut Input<'_>) -> ItemId {
    ItemId::parse(&format!("item{}", input.u8() % 16)).expect("an id")
}

/// Around the present: up to nine hours before, a little after.
fn moment(rig: &Rig, input: &mut Input<'_>) -> UnixMillis {
    UnixMillis(rig.now.unix.0 + 60_000 - u64::from(input.u16()) * 500)
}

fn assign(rig: &mut Rig, input: &mut Input<'_>) {
    let key = user(input);
    let flags = input.u8();
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let address = format!("user{}@example.com", key.0 + u64::from(input.u8() == 0xff) * 100);
    let mut devices: Vec<DeviceSpec> =
        (0..input.below(3)).map(|at| spec(rig, DeviceKey(at as u64), input)).collect();
    let anchor = SmtpAddress::parse(&format!("user{}@example.com", input.below(USERS))).expect("an address");
    let watch = WatchRecord {
        subscription: flag(0).then(|| SubscriptionId::parse(&format!("old{}", key.0)).expect("an id")),
        anchor,
        cookie: "X-BackEndCookie=b0".into(),
    };
    let stopped = flags >> 5 == 7;
    let person = rig.people.entry(key).or_default();
    for device in &mut devices {
        device.stopped = stopped;
        add(person, device);
    }
    rig.command(Command::AssignUser(Box::new(AssignUser {
        grouping: if flag(3) { "east".into() } else { "".into() },
        folders: if flag(0) && flag(3) {
            vec![folder("junkemail"), folder("AAMkfolder=")]
        } else {
            Vec::new()
        },
        watch: flag(4).then_some(watch),
        notices: NoticeRecord {
            sync_point: moment(rig, input),
            began: flag(4).then(|| moment(rig, input)),
            told: vec![ToldMail { hash: input.u64(), received: UnixMillis(input.u64()) }],
            unread: flag(3).then_some(3),
        },
        vip: VipRules { high_importance: flag(2), senders: Box::default() },
        devices,
        ..AssignUser::new(
            key,
            SmtpAddress::parse(&address).expect("an address"),
            (!flag(1)).then_some(MailServerId(flag(2).into())),
        )
    })));
}

fn folder(id: &str) -> FolderId {
    FolderId::parse(id).expect("an id")
}

/// The model of a registration.
fn add(person: &mut Person, device: &DeviceSpec) {
    let known = person.devices.contains(&device.device);
    if !known && person.devices.len() < USER_DEVICES_MAX && usize::from(device.service.0) < 2 {
        person.devices.push(device.device);
    }
    if person.devices.contains(&device.device) && device.stopped {
        person.stopped.insert(device.device);
    } else {
        person.stopped.remove(&device.device);
    }
}

fn spec(rig: &Rig, device: DeviceKey, input: &mut Input<'_>) -> DeviceSpec {
    let flags = input.u8();
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let notice = UnsettledNotice { apns_id: 7, mails: 1 + u16::from(flags >> 6), newest: input.u8().into() };
    DeviceSpec {
        device,
        service: PushServiceId(u16::from(flag(0))),
        token: DeviceToken::parse(&format!("00112233445566{:02x}", input.u8() % 4)).expect("hex"),
        topic: Topic::parse("com.example.mail").expect("a bundle id"),
        registered: moment(rig, input),
        active: moment(rig, input),
        settings: DeviceSettings {
            alerts: !flag(1),
            details: !flag(2),
            badge: !flag(3),
            localized: flag(4),
            ..DeviceSettings::default()
        },
        stopped: false,
        badge: flag(3).then_some(2),
        unsettled: flag(5).then_some(notice),
    }
}

fn drop_user(rig: &mut Rig, input: &mut Input<'_>) {
    let user = user(input);
    rig.people.remove(&user);
    rig.command(Command::DropUser { user });
}

fn register(rig: &mut Rig, input: &mut Input<'_>) {
    let (user, device) = (user(input), device(input));
    let device = spec(rig, device, input);
    if let Some(person) = rig.people.get_mut(&user) {
        add(person, &device);
    }
    rig.command(Command::RegisterDevice { user, device: Box::new(device) });
}

fn remove(rig: &mut Rig, input: &mut Input<'_>) {
    let (user, device) = (user(input), device(input));
    if let Some(person) = rig.people.get_mut(&user) {
        person.devices.retain(|known| *known != device);
        person.stopped.remove(&device);
    }
    rig.command(Command::RemoveDevice { user, device });
}

fn touch(rig: &mut Rig, input: &mut Input<'_>) {
    let (user, device) = (user(input), device(input));
    let at = moment(rig, input);
    rig.command(Command::TouchDevice { user, device, at });
}

fn stop(rig: &mut Rig, input: &mut Input<'_>) {
    let user = user(input);
    if let Some(person) = rig.people.get_mut(&user) {
        person.stopped.extend(person.devices.iter().copied());
    }
    rig.command(Command::StopUser { user });
}

fn signal(rig: &mut Rig, input: &mut Input<'_>) {
    let user = user(input);
    let signal = match input.u8() % 8 {
        0..4 => MailSignal::NewMail { item: item(input), received: moment(rig, input), vip: input.flag() },
        4 => MailSignal::Gone { item: item(input) },
        5 => MailSignal::Touched { item: item(input) },
        6 => MailSignal::Unread { count: input.u8().into() },
        _ => MailSignal::Gap,
    };
    rig.command(Command::Signal { user, signal });
}

fn credentials(rig: &mut Rig, input: &mut Input<'_>) {
    if input.flag() {
        let jwt = format!("head.claims{}.signature", input.u8()).into();
        rig.command(Command::SetTeamToken { team: TeamId(0), jwt, issued: rig.now.unix });
    } else {
        let server = MailServerId(u16::from(input.flag()));
        let credential = match input.u8() % 3 {
            0 => MailCredential::Basic { user: "u".into(), password: "correct horse".into() },
            1 => MailCredential::Bearer { token: "correct horse".into() },
            _ => MailCredential::ClientCertificate,
        };
        rig.command(Command::SetMailCredential { server, credential });
    }
}

fn timing(input: &mut Input<'_>) -> Timing {
    Timing {
        settle_ms: u32::from(input.u8()) * 16,
        vip_settle_ms: input.u8().into(),
        min_interval_ms: u32::from(input.u8()) * 64,
        max_delay_ms: u32::from(input.u8()) * 128,
        detail_cutoff_s: u32::from(input.u16()) * 4,
        alert_expiry_s: input.u16().into(),
        news_max_s: input.u16().into(),
    }
}

fn reason(input: &mut Input<'_>) -> CloseReason {
    match input.u8() % 8 {
        0 | 1 => CloseReason::Eof,
        2 => CloseReason::Reset,
        3 => CloseReason::Refused,
        4 => CloseReason::ConnectTimeout,
        5 => CloseReason::NameNotFound("no such host".into()),
        6 => CloseReason::Untrusted("expired".into()),
        _ => CloseReason::Tls("alert".into()),
    }
}

fn with_link(rig: &mut Rig, input: &mut Input<'_>, act: impl FnOnce(&mut Rig, usize, &mut Input<'_>)) {
    let at = input.u8();
    if !rig.links.is_empty() {
        let at = usize::from(at) % rig.links.len();
        act(rig, at, input);
    }
}

fn all_open(rig: &mut Rig) {
    for at in 0..rig.links.len() {
        rig.opened(at);
        rig.provider_speaks(at);
    }
}

/// The peer answers the oldest request on this connection.
fn answer(rig: &mut Rig, at: usize, input: &mut Input<'_>) {
    if rig.apns_at(at).is_some() {
        answer_push(rig, at, input);
        return rig.provider_speaks(at);
    }
    rig.answers += 1;
    let number = rig.answers;
    let link = &mut rig.links[at];
    let (conn, open) = (link.conn, link.open);
    let Peer::Exchange { request, subscriptions, streaming } = &mut link.peer else { return };
    let Some(answer) = exchange::answer(request, number, input) else { return };
    request.clear();
    if let Some(ids) = answer.subscriptions {
        *streaming = true;
        *subscriptions = ids;
    }
    if open {
        for piece in cut(input.u8() % 3, &answer.bytes) {
            rig.bytes(conn, piece);
        }
    }
}

fn answer_push(rig: &mut Rig, at: usize, input: &mut Input<'_>) {
    const ANSWERS: [(u16, &str); 13] = [
        (200, ""),
        (200, ""),
        (200, ""),
        (400, "BadDeviceToken"),
        (400, "BadTopic"),
        (403, "ExpiredProviderToken"),
        (403, "InvalidProviderToken"),
        (410, "Unregistered"),
        (413, "PayloadTooLarge"),
        (429, "TooManyRequests"),
        (429, "TooManyProviderTokenUpdates"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
    ];
    let (status, reason) = ANSWERS[input.below(ANSWERS.len())];
    let since = rig.now.unix.0 + 60_000 - u64::from(input.u8()) * 1_000;
    let Some((pump, requests)) = rig.apns_at(at) else { return };
    if requests.is_empty() {
        return;
    }
    let stream = requests.remove(0);
    let body = match status {
        200 => String::new(),
        _ => format!(r#"{{"reason":"{reason}","timestamp":{since}}}"#),
    };
    let answer = Answer { status, headers: &[], body: body.as_bytes(), data_bytes_max: 0, empty_tail: false };
    // The lane may have given the stream up.
    let _ = pump.respond(stream, &answer);
}

fn stream_event(rig: &mut Rig, at: usize, input: &mut Input<'_>) {
    let link = &rig.links[at];
    let conn = link.conn;
    if let Peer::Exchange { subscriptions, streaming: true, .. } = &link.peer
        && link.open
    {
        let bytes = exchange::envelope(subscriptions, input);
        rig.bytes(conn, &bytes);
    }
}

fn raw_bytes(rig: &mut Rig, at: usize, input: &mut Input<'_>) {
    let len = input.below(64);
    let bytes = input.bytes(len);
    if rig.links[at].open {
        rig.bytes(rig.links[at].conn, bytes);
    }
}

fn disturb_lane(rig: &mut Rig, at: usize, input: &mut Input<'_>) {
    let (kind, number) = (input.u8(), input.u8());
    let Some((pump, requests)) = rig.apns_at(at) else { return };
    match kind % 5 {
        0 => pump.set_streams_max(number.into()),
        1 => pump.goaway(u32::from(number) | 1, 0, br#"{"reason":"Shutdown"}"#),
        2 => {
            if let Some(stream) = requests.pop() {
                pump.reset(stream, u32::from(number % 14));
            }
        }
        3 => pump.send_settings(&[(4, u32::from(number) << 8)]),
        _ => pump.ping(),
    }
    rig.provider_speaks(at);
}

/// The shell says something about a connection that is gone.
fn late(rig: &mut Rig, input: &mut Input<'_>) {
    let at = input.u8();
    if rig.gone.is_empty() {
        return;
    }
    let conn = rig.gone[usize::from(at) % rig.gone.len()];
    let said = match input.u8() % 4 {
        0 => ShardInput::Opened { conn },
        1 => ShardInput::Bytes { conn, data: b"HTTP/1.1 200 OK\r\n\r\n" },
        2 => ShardInput::Room { conn },
        _ => ShardInput::Closed { conn, reason: CloseReason::Eof },
    };
    rig.late(conn, said);
}
