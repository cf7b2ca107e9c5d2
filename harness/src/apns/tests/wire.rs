//! The service behind its face, spoken to by an HTTP/2 client: the two of them here, what they do with each other by topic.

mod answers;
mod arrived;
mod clients;
mod goaway;
mod limits;
mod losses;

use std::collections::BTreeMap;

use bytes::Bytes;
use carillon_core::h2pump::{ClientConfig, ClientEvent, ClientPump, Failure, OpenError};

use super::*;
use crate::peer::{Close, Hello, Peer};

const CONN: PeerConn = PeerConn(1);

/// The service with one client, in virtual time.
struct Wire {
    apns: Apns,
    client: ClientPump<u64>,
    now: Now,
    jwt: String,
    device: DeviceIx,
    closed: Option<Close>,
    /// Status and reason of each answer, by tag.
    answers: BTreeMap<u64, (u16, String)>,
    /// Tags in the order of their answers.
    order: Vec<u64>,
    failures: BTreeMap<u64, Failure>,
    last_stream: Option<u32>,
    debug: Vec<u8>,
    pongs: u32,
}

impl Wire {
    fn new(knobs: Knobs) -> Wire {
        Wire::with_hello(knobs, Hello { alpn: Some(b"h2".to_vec()), ..Hello::default() })
    }

    fn with_hello(knobs: Knobs, hello: Hello) -> Wire {
        let (now, random) = (start(), SystemRandom::new());
        let key = ProviderKey::generate(&random);
        let mut apns = Apns::new(Environment::Production, knobs, 7);
        apns.add_key(team_key(&key, TEAM, KID));
        apns.add_app(now, BUNDLE, TEAM);
        apns.add_certificate(Certificate {
            der: b"DER".to_vec(),
            topics: vec![BUNDLE.into()],
            environment: None,
        });
        let environment = Environment::Production;
        let device = apns.register(&TokenSpec { token: TOKEN, bundle: BUNDLE, environment, tag: 42 });
        apns.accepted(now, CONN, hello);
        let mut wire = Wire {
            apns,
            client: client(),
            now,
            jwt: key.sign(TEAM, KID, now.unix, &random),
            device,
            closed: None,
            answers: BTreeMap::new(),
            order: Vec::new(),
            failures: BTreeMap::new(),
            last_stream: None,
            debug: Vec::new(),
            pongs: 0,
        };
        wire.run();
        wire
    }

    /// A connection that is past its first push.
    fn warm(knobs: Knobs) -> Wire {
        let mut wire = Wire::new(Knobs::default());
        wire.open(u64::MAX).unwrap();
        wire.advance(Span::from_secs(1));
        assert_eq!(wire.answers.remove(&u64::MAX), Some((200, String::new())));
        wire.order.clear();
        wire.apns.set_knobs(wire.now, knobs);
        wire.run();
        wire
    }

    fn open(&mut self, tag: u64) -> Result<u32, OpenError> {
        self.open_with(tag, |_| {})
    }

    fn open_with(&mut self, tag: u64, spoil: impl FnOnce(&mut Push)) -> Result<u32, OpenError> {
        let mut push = Push::good(&self.jwt);
        spoil(&mut push);
        let mut head = http::Request::builder()
            .method(push.method)
            .uri(format!("https://api.push.apple.com{}", push.path))
            .body(())
            .unwrap();
        *head.headers_mut() = push.headers;
        self.client.open(head, Bytes::from(push.body), tag)
    }

    /// Opens as many as are allowed; says how many.
    fn open_all(&mut self, first_tag: u64, n: u64) -> u64 {
        (first_tag..first_tag + n).take_while(|tag| self.open(*tag).is_ok()).count() as u64
    }

    /// Carries bytes to and fro until nothing moves.
    fn run(&mut self) {
        loop {
            let mut moved = false;
            let mut bytes = Vec::new();
            while self.client.drain(&mut bytes, 16 * 1024) {}
            if !bytes.is_empty() && self.closed.is_none() {
                moved = true;
                // Cut small, so that nothing depends on frames arriving whole.
                for piece in bytes.chunks(1_000) {
                    self.apns.received(self.now, CONN, piece);
                }
            }
            while let Some(conn) = self.apns.poll_ready() {
                let mut bytes = Vec::new();
                loop {
                    let output = self.apns.drain(self.now, conn, &mut bytes, 999);
                    if conn == CONN && output.close.is_some() {
                        self.closed = output.close;
                    }
                    if !output.more {
                        break;
                    }
                }
                if conn != CONN {
                    continue;
                }
                moved |= !bytes.is_empty();
                self.client.feed(&bytes);
                if self.closed.is_some() {
                    self.client.closed();
                }
            }
            while let Some(event) = self.client.poll() {
                self.note(event);
            }
            if !moved {
                return;
            }
        }
    }

    fn note(&mut self, event: ClientEvent<u64>) {
        match event {
            ClientEvent::Answered { flight, response } => {
                let body = String::from_utf8(response.body).unwrap();
                assert!(response.headers.contains_key("apns-id"));
                self.answers.insert(flight.tag, (response.status, body));
                self.order.push(flight.tag);
            }
            ClientEvent::Failed { flight, failure } => {
                self.failures.insert(flight.tag, failure);
            }
            ClientEvent::Pong => self.pongs += 1,
            ClientEvent::GoAway { last_stream, debug, .. } => {
                self.last_stream = Some(last_stream);
                self.debug = debug.into();
            }
            ClientEvent::Closed { .. } => {}
        }
    }

    /// Lets time pass, from deadline to deadline.
    fn advance(&mut self, span: Span) {
        let end = later(self.now, span);
        self.run();
        while let Some(at) = self.apns.next_deadline()
            && at <= end.time
        {
            assert!(at >= self.now.time, "a deadline in the past would never let time pass");
            self.now = later(self.now, at.since(self.now.time));
            self.apns.tick(self.now);
            self.run();
        }
        self.now = end;
    }

    fn deliveries(&mut self) -> usize {
        std::iter::from_fn(|| self.apns.poll_delivery()).count()
    }

    fn statuses(&self) -> Vec<u16> {
        self.answers.values().map(|(status, _)| *status).collect()
    }
}

fn client() -> ClientPump<u64> {
    ClientPump::new(ClientConfig {
        initial_streams_max: 1,
        streams_max: 2_000,
        answer_bytes_max: 4_096,
        output_bytes_max: 256 * 1024,
        input_bytes_max: 256 * 1024,
    })
}

fn slow(ms: u64) -> Knobs {
    Knobs { latency: Latency::Fixed(Span::from_millis(ms)), ..Knobs::default() }
}
