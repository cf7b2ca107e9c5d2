//! An engine inside another program: start, a user with a phone, a signal from a source of one's own, numbers, the end.
//!
//! `cargo run -p carillon-engine --example embed` needs no network: the push service's address is one where nobody
//! listens, and the engine tells so. `… --example embed -- 127.0.0.1:2197 ca.der` pushes to a server that speaks
//! APNs' protocol there and whose authority is in `ca.der`.

use std::error::Error;
use std::time::{Duration, Instant};

use carillon_core::names::{DeviceKey, DeviceToken, ItemId, SmtpAddress, Topic, UserKey};
use carillon_core::shard::{
    AssignUser, DeviceSettings, DeviceSpec, Endpoint, EndpointId, Protocol, PushAuth, PushService,
    PushServiceId, Report, ShardConfig, TeamId, Timing,
};
use carillon_core::signal::MailSignal;
use carillon_engine::{Clock, Engine, EngineConfig, TlsSettings};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9".into());
    let (host, port) = address.rsplit_once(':').ok_or("the address is HOST:PORT")?;
    let mut tls = TlsSettings::default();
    if let Some(path) = arguments.next() {
        tls.extra_roots.push(std::fs::read(path)?.into());
    }

    // One push service; mail is told of by ourselves, so there is no mail server.
    let shard = ShardConfig {
        shard: 0,
        seed: 1,
        endpoints: vec![Endpoint { host: host.into(), port: port.parse()?, protocol: Protocol::Http2 }],
        mail_servers: Vec::new(),
        push_services: vec![PushService {
            endpoint: EndpointId(0),
            auth: PushAuth::Team(TeamId(0)),
            lanes: 1,
            lane_window_max: 100,
        }],
        timing: Timing { settle_ms: 0, ..Timing::default() },
        item_key: *b"an embedder's id",
    };
    let (engine, mut reports) =
        Engine::start(EngineConfig { shards: 1, ..EngineConfig::new(shard, vec![tls]) })?;

    let now = Clock::start().now().unix;
    let user = UserKey(1);
    engine.set_team_token(TeamId(0), "header.claims.signature".into(), now)?;
    engine.assign(AssignUser::new(user, SmtpAddress::parse("jane@example.com")?, None))?;
    let device = DeviceSpec {
        device: DeviceKey(1),
        service: PushServiceId(0),
        token: DeviceToken::parse(&"ab".repeat(32))?,
        topic: Topic::parse("com.example.mail")?,
        registered: now,
        active: now,
        settings: DeviceSettings::default(),
        stopped: false,
        badge: None,
        unsettled: None,
    };
    engine.register_device(user, device)?;
    let item = ItemId::parse("AAMkAGI2")?;
    engine.signal(user, MailSignal::NewMail { item, received: now, vip: false })?;

    // Two seconds of life; then send what is left, and stop. Nobody may answer the phone, so not for ever.
    let begun = Instant::now();
    let (mut draining, mut drained) = (false, false);
    while !drained && begun.elapsed() < Duration::from_secs(4) {
        for numbered in reports.recv(Duration::from_millis(100)) {
            println!("report {}: {:?}", numbered.seq, numbered.report);
            drained |= numbered.report == Report::Drained;
        }
        if !draining && begun.elapsed() > Duration::from_secs(2) {
            engine.drain()?;
            draining = true;
        }
    }
    let stats = engine.stats();
    println!("{:#?}\n{:#?}", stats.total(), stats.shells[0]);
    println!("due to written, p99: {} µs", stats.due_to_written.value_at_quantile(0.99));
    engine.shutdown(Duration::from_secs(2))?;
    Ok(())
}
