//! One lane in the engine's shell: the push half, without users.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use carillon_core::arena::Arena;
use carillon_core::names::{DeviceToken, Topic};
use carillon_core::push::{Lane, LaneConfig, LaneEvent, Outcome, PushRequest, PushType};
use carillon_core::shard::{
    Budget, CloseReason, ConnId, ConnMark, Effect, Effects, Endpoint, EndpointId, Input, More, Protocol,
    ShardConfig, ShardStats, Timing,
};
use carillon_core::time::{Now, Time};
use carillon_engine::shell::{Core, resolve, start_with};
use carillon_engine::{EngineConfig, TlsSettings};

use crate::mail::IN_FLIGHT;
use crate::request::{TOPIC, body, jwt, token};

/// Pushes until the process is ended.
pub(crate) fn run(sink: SocketAddr, ca: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let shard = ShardConfig {
        shard: 0,
        seed: 1,
        endpoints: vec![Endpoint { host: "localhost".into(), port: sink.port(), protocol: Protocol::Http2 }],
        mail_servers: Vec::new(),
        push_services: Vec::new(),
        timing: Timing::default(),
        item_key: [7; 16],
    };
    let config = EngineConfig { shards: 1, ..EngineConfig::new(shard, vec![trust(ca)?]) };
    let (engine, _reports) = start_with(config, |_, _| Pusher::new(), std::sync::Arc::new(resolve))?;
    // The first command wakes the shard: its core opens the connection.
    engine.drain()?;
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Trust in the run's own authority alone.
pub(crate) fn trust(ca: &Path) -> Result<TlsSettings, Box<dyn std::error::Error>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let root = CertificateDer::from_pem_file(ca)?;
    Ok(TlsSettings { web_roots: false, extra_roots: vec![root], ..TlsSettings::default() })
}

/// A core that is nothing but a lane, and a push for each place in its window.
struct Pusher {
    conns: Arena<(), ConnMark>,
    lane: Option<(ConnId, Lane)>,
    topic: Topic,
    jwt: String,
    body: Vec<u8>,
    sent: u64,
    stats: ShardStats,
}

impl Pusher {
    fn new() -> Pusher {
        Pusher {
            conns: Arena::default(),
            lane: None,
            topic: Topic::parse(TOPIC).expect("a bundle id"),
            jwt: jwt(),
            body: body(),
            sent: 0,
            stats: ShardStats::default(),
        }
    }

    /// Takes what the lane has to say, and fills its window again.
    fn pump(&mut self, now: Now, fx: &mut Effects) {
        let Some((conn, lane)) = &mut self.lane else { return };
        while let Some(event) = lane.poll(now.time) {
            match event {
                LaneEvent::Settled { outcome: Outcome::Accepted, .. } => {}
                other => eprintln!("lane: {other:?}"),
            }
        }
        while lane.room() > 0 {
            let token = DeviceToken::parse(&token(self.sent)).expect("hex");
            let push = PushRequest {
                token: &token,
                topic: &self.topic,
                jwt: Some(&self.jwt),
                apns_id: 0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00 + u128::from(self.sent),
                push_type: PushType::Alert,
                priority: 10,
                expiration_s: 1_900_000_000,
                collapse_id: Some("m0011223344556677"),
                payload: &self.body,
            };
            if lane.send(now.time, self.sent, &push).is_err() {
                break;
            }
            self.sent += 1;
        }
        fx.push(Effect::Flush { conn: *conn });
    }
}

impl Core for Pusher {
    fn handle(&mut self, now: Now, input: Input<'_>, fx: &mut Effects) {
        match input {
            Input::Command(_) if self.conns.is_empty() => {
                let conn = self.conns.insert(());
                fx.push(Effect::Open { conn, endpoint: EndpointId(0) });
            }
            Input::Opened { conn } => {
                let config =
                    LaneConfig { window_max: IN_FLIGHT as u16, ..LaneConfig::apns("localhost", true) };
                self.lane = Some((conn, Lane::new(now.time, config)));
                self.pump(now, fx);
            }
            Input::Bytes { data, .. } => {
                if let Some((_, lane)) = &mut self.lane {
                    lane.feed(now.time, data);
                }
                self.pump(now, fx);
            }
            Input::Room { .. } => self.pump(now, fx),
            Input::Closed { reason, .. } => ended(&reason),
            Input::Command(_) | Input::Account { .. } => {}
        }
    }

    fn work(&mut self, _now: Now, _budget: Budget, _fx: &mut Effects) -> More {
        More::No
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn drain(&mut self, _conn: ConnId, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        self.lane.as_mut().is_some_and(|(_, lane)| lane.drain(out, bytes_max))
    }

    fn stats(&self) -> &ShardStats {
        &self.stats
    }
}

fn ended(reason: &CloseReason) {
    eprintln!("lane: the connection ended: {reason:?}");
}
