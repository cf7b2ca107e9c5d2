//! The real core in the shell, with servers that fall silent, close one side, break off or flood: calls, streams and lanes,
//! at rest and in trouble, cost a bounded number of turns. What is tried again is tried at a pace.

use std::io::{BufRead, BufReader, Read, Write, copy, sink};
use std::net::Shutdown;
use std::thread::sleep;
use std::time::{Duration, Instant};

use carillon_core::h2pump::{ServerConfig, ServerEvent, ServerPump};
use carillon_core::names::{DeviceKey, DeviceToken, ItemId, SmtpAddress, Topic, UserKey};
use carillon_core::shard::{
    AssignUser, DeviceSettings, DeviceSpec, EndpointId, MailCredential, MailServer, MailServerId, Protocol,
    PushAuth, PushService, PushServiceId, ShardConfig, ShardStats, TeamId, Timing,
};
use carillon_core::signal::MailSignal;
use carillon_engine::{Clock, Engine, EngineConfig, EngineHandle, Reports};
use socket2::SockRef;

use crate::rig::{PATIENCE, Stream, handshake, identity, serve_all};

const REST: Duration = Duration::from_secs(4);

/// What is tried again within [`REST`] takes some: a busy loop takes as many within milliseconds.
const TURNS_MAX: u64 = 300;

/// What a server does once it has the request that the case is about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Silence,
    /// FIN, and the socket stays; the other side is read.
    HalfClose,
    /// The same without reading.
    HalfCloseDeaf,
    GoodBye,
    Reset,
    /// Sends what it has to send until nobody takes it, and reads nothing.
    Flood,
}

const ALL: [Then; 6] =
    [Then::Silence, Then::HalfClose, Then::HalfCloseDeaf, Then::GoodBye, Then::Reset, Then::Flood];

fn act(stream: &mut Stream, then: Then, flood: &[u8]) {
    match then {
        Then::Silence => drop(copy(stream, &mut sink())),
        Then::HalfClose => {
            let _ = stream.sock.shutdown(Shutdown::Write);
            let _ = copy(&mut stream.sock, &mut sink());
            sleep(2 * REST);
        }
        Then::HalfCloseDeaf => {
            let _ = stream.sock.shutdown(Shutdown::Write);
            sleep(2 * REST);
        }
        Then::GoodBye => {
            stream.conn.send_close_notify();
            let _ = stream.flush();
            sleep(2 * REST);
        }
        Then::Reset => SockRef::from(&stream.sock).set_linger(Some(Duration::ZERO)).unwrap(),
        Then::Flood => while stream.write_all(flood).is_ok() {},
    }
}

/// Which request of Exchange's the case is about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// A call, instead of its answer.
    Call,
    /// A call, after its answer: the connection is kept for the next one.
    Answered,
    /// The stream, after its opening envelope.
    Open,
    /// The stream, instead of its head.
    Opening,
}

const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const MESSAGES: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";
const TYPES: &str = "http://schemas.microsoft.com/exchange/services/2006/types";

fn answer(operation: &str, inside: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"{SOAP}\"><s:Body><m:{operation}Response xmlns:m=\"{MESSAGES}\" xmlns:t=\"{TYPES}\">\
         <m:ResponseMessages><m:{operation}ResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError\
         </m:ResponseCode>{inside}</m:{operation}ResponseMessage></m:ResponseMessages></m:{operation}Response></s:Body>\
         </s:Envelope>"
    )
}

/// One mailbox, empty and quiet, until `at`; then `then`.
fn exchange(stream: Stream, at: At, then: Then) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut calls = 0;
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line)? > 0 && line != "\r\n" {
            let lower = line.to_ascii_lowercase();
            length = lower.strip_prefix("content-length:").map_or(length, |n| n.trim().parse().unwrap());
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if body.is_empty() {
            return Ok(());
        }
        let body = String::from_utf8(body).unwrap();
        let stream = reader.get_mut();
        let ok = answer("GetStreamingEvents", "<m:ConnectionStatus>OK</m:ConnectionStatus>");
        let chunk = format!("{:x}\r\n{ok}\r\n", ok.len());
        if body.contains("<m:GetStreamingEvents>") {
            if at != At::Opening {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n";
                write!(stream, "{head}{chunk}")?;
                stream.flush()?;
            }
            let then = if matches!(at, At::Open | At::Opening) { then } else { Then::Silence };
            act(stream, then, chunk.repeat(50).as_bytes());
            return Ok(());
        }
        let reply = if body.contains("<m:Subscribe>") {
            answer("Subscribe", "<m:SubscriptionId>c3Vic2NyaXB0aW9u</m:SubscriptionId>")
        } else if body.contains("<m:GetFolder>") {
            let folder = "<m:Folders><t:Folder><t:FolderId Id=\"aW5ib3g=\" ChangeKey=\"AQAA\"/><t:TotalCount>0\
                          </t:TotalCount><t:UnreadCount>0</t:UnreadCount></t:Folder></m:Folders>";
            answer("GetFolder", folder)
        } else if body.contains("<m:FindItem") {
            let folder = "<m:RootFolder IndexedPagingOffset=\"0\" TotalItemsInView=\"0\" \
                          IncludesLastItemInRange=\"true\"><t:Items/></m:RootFolder>";
            answer("FindItem", folder)
        } else {
            answer("Unsubscribe", "")
        };
        let reply = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{reply}",
            reply.len()
        );
        calls += 1;
        if at == At::Call && !body.contains("<m:Subscribe>") {
            act(stream, then, reply.as_bytes());
            return Ok(());
        }
        stream.write_all(reply.as_bytes())?;
        stream.flush()?;
        if at == At::Answered && calls == 1 {
            // A reset at once would overtake the answer.
            sleep(Duration::from_millis(200));
            act(stream, then, reply.as_bytes());
            return Ok(());
        }
    }
}

struct Running {
    name: String,
    engine: EngineHandle,
    _reports: Reports,
    before: (u64, u64),
}

impl Running {
    fn counts(&self) -> (u64, u64) {
        let shell = &self.engine.stats().shells[0];
        (shell.turns, shell.socket_calls)
    }
}

fn judge(mut all: Vec<Running>) {
    // Until what was begun has come to where it rests.
    sleep(Duration::from_millis(500));
    for running in &mut all {
        running.before = running.counts();
    }
    sleep(REST);
    let figures: Vec<_> = all
        .iter()
        .map(|running| {
            let (turns, calls) = running.counts();
            (running.name.as_str(), turns - running.before.0, calls - running.before.1)
        })
        .collect();
    for (name, turns, calls) in &figures {
        assert!(*turns <= TURNS_MAX && *calls <= 2 * TURNS_MAX, "{name}: {figures:#?}");
    }
}

fn wait_for(engine: &EngineHandle, what: &str, holds: impl Fn(&ShardStats) -> bool) {
    let begun = Instant::now();
    while !holds(&engine.stats().total()) {
        assert!(begun.elapsed() < PATIENCE, "{what}: {:?}", engine.stats().total());
        sleep(Duration::from_millis(10));
    }
}

fn watching(at: At, then: Then) -> Running {
    let identity = identity();
    let (endpoint, _) = serve_all(identity.server_config(&[b"http/1.1"]), Protocol::Http1, move |stream| {
        let _ = exchange(stream, at, then);
    });
    let credential = MailCredential::Basic { user: "EX\\carillon".into(), password: "right".into() };
    let shard = ShardConfig {
        shard: 0,
        seed: 7,
        endpoints: vec![endpoint],
        mail_servers: vec![MailServer::new(EndpointId(0), credential)],
        push_services: Vec::new(),
        timing: Timing::default(),
        item_key: [3; 16],
    };
    let config = EngineConfig { shards: 1, ..EngineConfig::new(shard, vec![identity.trusted()]) };
    let (engine, reports) = Engine::start(config).unwrap();
    let address = SmtpAddress::parse("jane@example.com").unwrap();
    engine.assign(AssignUser::new(UserKey(1), address, Some(MailServerId(0)))).unwrap();
    // Whatever the server does, it was asked.
    wait_for(&engine, "a subscription", |total| total.subscribes > 0);
    if (at, then) == (At::Open, Then::Silence) {
        wait_for(&engine, "a stream", |total| total.streams == 1);
    }
    Running { name: format!("{at:?}, {then:?}"), engine, _reports: reports, before: (0, 0) }
}

#[test]
fn calls_and_streams_whose_server_falls_silent_or_ends_them_cost_a_bounded_number_of_turns() {
    let mut all = Vec::new();
    for at in [At::Call, At::Answered, At::Open, At::Opening] {
        for then in ALL {
            // A stream that never ends is what a stream is: it costs what it brings.
            if (at, then) != (At::Open, Then::Flood) {
                all.push(watching(at, then));
            }
        }
    }
    judge(all);
}

/// Which moment of a lane the case is about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lane {
    /// No SETTINGS come.
    Begun,
    /// The push has no answer.
    Asked,
    /// The push was accepted.
    Idle,
}

fn apns(mut stream: Stream, at: Lane, then: Then) -> std::io::Result<()> {
    handshake(&mut stream)?;
    // An empty frame of a kind that nobody knows (RFC 9113, section 4.1: ignored).
    let flood = [0, 0, 0, 0xbb, 0, 0, 0, 0, 0].repeat(1_000);
    if at == Lane::Begun {
        act(&mut stream, then, &flood);
        return Ok(());
    }
    let mut pump = ServerPump::new(ServerConfig::default());
    let (mut out, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        while pump.drain(&mut out, usize::MAX) {}
        stream.write_all(&out)?;
        stream.flush()?;
        out.clear();
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            len => pump.feed(&buffer[..len]),
        }
        while let Some(event) = pump.poll() {
            let ServerEvent::Request(request) = event else { continue };
            if at == Lane::Idle {
                let answer = carillon_core::h2pump::Answer {
                    status: 200,
                    headers: &[],
                    body: &[],
                    data_bytes_max: 0,
                    empty_tail: false,
                };
                pump.respond(request.stream, &answer).unwrap();
                while pump.drain(&mut out, usize::MAX) {}
                stream.write_all(&out)?;
                stream.flush()?;
                // A reset at once would overtake the answer.
                sleep(Duration::from_millis(200));
            }
            act(&mut stream, then, &flood);
            return Ok(());
        }
    }
}

fn pushing(at: Lane, then: Then) -> Running {
    let identity = identity();
    let (endpoint, _) = serve_all(identity.server_config(&[b"h2"]), Protocol::Http2, move |stream| {
        let _ = apns(stream, at, then);
    });
    let auth = PushAuth::Team(TeamId(0));
    let shard = ShardConfig {
        shard: 0,
        seed: 7,
        endpoints: vec![endpoint],
        mail_servers: Vec::new(),
        push_services: vec![PushService { endpoint: EndpointId(0), auth, lanes: 1, lane_window_max: 100 }],
        timing: Timing { settle_ms: 0, ..Timing::default() },
        item_key: [3; 16],
    };
    let config = EngineConfig { shards: 1, ..EngineConfig::new(shard, vec![identity.trusted()]) };
    let (engine, reports) = Engine::start(config).unwrap();
    let now = Clock::start().now().unix;
    engine.set_team_token(TeamId(0), "header.claims.signature".into(), now).unwrap();
    let device = DeviceSpec {
        device: DeviceKey(1),
        service: PushServiceId(0),
        token: DeviceToken::parse(&"ab".repeat(32)).unwrap(),
        topic: Topic::parse("com.example.mail").unwrap(),
        registered: now,
        active: now,
        settings: DeviceSettings::default(),
        stopped: false,
        badge: None,
        unsettled: None,
    };
    let address = SmtpAddress::parse("jane@example.com").unwrap();
    engine
        .assign(AssignUser { devices: vec![device], ..AssignUser::new(UserKey(1), address, None) })
        .unwrap();
    let item = ItemId::parse("mail").unwrap();
    engine.signal(UserKey(1), MailSignal::NewMail { item, received: now, vip: false }).unwrap();
    match at {
        Lane::Begun => wait_for(&engine, "a connection", |total| total.connects > 0),
        Lane::Asked => wait_for(&engine, "a push", |total| total.pushes_sent > 0),
        Lane::Idle => wait_for(&engine, "an answer", |total| total.ledger.accepted > 0),
    }
    Running { name: format!("lane {at:?}, {then:?}"), engine, _reports: reports, before: (0, 0) }
}

#[test]
fn lanes_whose_server_falls_silent_or_ends_them_cost_a_bounded_number_of_turns() {
    let mut all = Vec::new();
    for at in [Lane::Begun, Lane::Asked, Lane::Idle] {
        for then in ALL {
            // Frames that mean nothing cost what they bring.
            if then != Then::Flood {
                all.push(pushing(at, then));
            }
        }
    }
    judge(all);
}
