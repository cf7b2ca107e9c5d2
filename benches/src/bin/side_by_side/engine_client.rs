//! The whole engine as an embedder runs it: mail comes over EWS, pushes go out. Without journal and store.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use carillon_core::names::{DeviceKey, DeviceToken, SmtpAddress, Topic, UserKey};
use carillon_core::shard::{
    AssignUser, DeviceSettings, DeviceSpec, Endpoint, EndpointId, MailCredential, MailServer, MailServerId,
    Protocol, PushAuth, PushService, PushServiceId, ShardConfig, TeamId, Timing,
};
use carillon_core::time::UnixMillis;
use carillon_engine::{Clock, Engine, EngineConfig, EngineHandle, Refused};

use crate::lane_client::trust;
use crate::mail::IN_FLIGHT;
use crate::request::{TOPIC, jwt, token};

/// Who is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Users {
    /// How many.
    pub count: u64,
    /// Whether their phones show sender and subject, which takes a GetItem for each mail.
    pub details: bool,
    /// Length of the sound's name: what brings a body without details to its length.
    pub sound_bytes: usize,
}

/// The address of a user.
pub(crate) fn address(user: u64) -> String {
    format!("user{user:06}@example.com")
}

/// Watches and pushes until the process is ended.
pub(crate) fn run(
    mail: SocketAddr,
    sink: SocketAddr,
    ca: &Path,
    users: Users,
) -> Result<(), Box<dyn std::error::Error>> {
    let endpoint =
        |to: SocketAddr, protocol| Endpoint { host: "localhost".into(), port: to.port(), protocol };
    let shard = ShardConfig {
        shard: 0,
        seed: 1,
        endpoints: vec![endpoint(mail, Protocol::Http1), endpoint(sink, Protocol::Http2)],
        mail_servers: vec![MailServer {
            subscribes_per_s: 10_000,
            ..MailServer::new(EndpointId(0), MailCredential::ClientCertificate)
        }],
        push_services: vec![PushService {
            endpoint: EndpointId(1),
            auth: PushAuth::Team(TeamId(0)),
            lanes: 1,
            lane_window_max: IN_FLIGHT as u16,
        }],
        timing: Timing { settle_ms: 0, vip_settle_ms: 0, min_interval_ms: 0, ..Timing::default() },
        item_key: *b"side by side key",
    };
    let config = EngineConfig { shards: 1, ..EngineConfig::new(shard, vec![trust(ca)?, trust(ca)?]) };
    let (engine, mut reports) = Engine::start(config)?;
    let now = Clock::start().now().unix;
    engine.set_team_token(TeamId(0), Arc::from(jwt()), now)?;
    for number in 0..users.count {
        assign(&engine, number, now, users)?;
    }
    loop {
        for numbered in reports.recv(Duration::from_secs(1)) {
            engine.stored(numbered.shard, numbered.seq);
        }
    }
}

fn assign(
    engine: &EngineHandle,
    number: u64,
    now: UnixMillis,
    users: Users,
) -> Result<(), Box<dyn std::error::Error>> {
    let device = DeviceSpec {
        device: DeviceKey(number),
        service: PushServiceId(0),
        token: DeviceToken::parse(&token(number))?,
        topic: Topic::parse(TOPIC)?,
        registered: now,
        active: now,
        settings: DeviceSettings {
            details: users.details,
            sound: Some("s".repeat(users.sound_bytes.max(1)).into()),
            ..DeviceSettings::default()
        },
        stopped: false,
        badge: None,
        unsettled: None,
    };
    let address = SmtpAddress::parse(&address(number))?;
    let user = AssignUser {
        devices: vec![device],
        ..AssignUser::new(UserKey(number), address, Some(MailServerId(0)))
    };
    while engine.assign(user.clone()) == Err(Refused::Busy) {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
