//! A core that does what a test says and tells what it saw, and TLS servers for it to meet.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use carillon_core::arena::Arena;
use carillon_core::names::UserKey;
use carillon_core::shard::{
    Budget, CloseReason, ConnId, ConnMark, Effect, Effects, Endpoint, EndpointId, Input, More, Protocol,
    Report, ShardConfig, ShardStats, Timing,
};
use carillon_core::time::{Now, Time};
use carillon_engine::pki_types::{CertificateDer, PrivateKeyDer};
use carillon_engine::shell::{Core, resolve, start_with};
use carillon_engine::{EngineConfig, EngineHandle, Refused, Reports, TlsSettings, journal};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Longer than anything here takes; a test that waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a test tells the scripted core to do.
pub(crate) enum Order {
    Open(EndpointId),
    Send(ConnId, Vec<u8>),
    Close(ConnId),
    Report(Report),
    Effect(Effect),
    /// What is to be done as soon as the connection has room.
    AtRoom(ConnId, Vec<Order>),
    /// What is to be done as soon as bytes come on the connection.
    AtBytes(ConnId, Vec<Order>),
    /// From now on, tells how many entries a journal has at each moment at which the shell takes bytes.
    LookAt(PathBuf),
    /// Blocks the shard's thread until the other end of the channel says something.
    Block(Receiver<()>),
}

/// What the scripted core saw.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Opening(ConnId),
    Opened(ConnId),
    Bytes(ConnId, Vec<u8>),
    Room(ConnId),
    Closed(ConnId, CloseReason),
    /// The shell took bytes while the journal had so many entries.
    Drained(ConnId, usize),
    /// The shard's thread waits.
    Blocked,
    /// Orders were carried out.
    Command,
}

#[derive(Default)]
struct Shared {
    orders: Vec<Order>,
    drained: usize,
}

struct Script {
    shared: Arc<Mutex<Shared>>,
    seen: Sender<Seen>,
    /// What is to be sent, from where on.
    conns: Arena<(Vec<u8>, usize), ConnMark>,
    at_room: Vec<(ConnId, Vec<Order>)>,
    at_bytes: Vec<(ConnId, Vec<Order>)>,
    journal: Option<PathBuf>,
    stats: ShardStats,
}

impl Core for Script {
    fn handle(&mut self, _now: Now, input: Input<'_>, fx: &mut Effects) {
        let seen = match input {
            Input::Opened { conn } => Seen::Opened(conn),
            Input::Bytes { conn, data } => {
                if let Some(at) = self.at_bytes.iter().position(|(waiting, _)| *waiting == conn) {
                    let (_, orders) = self.at_bytes.swap_remove(at);
                    self.obey(orders, fx);
                }
                Seen::Bytes(conn, data.to_vec())
            }
            Input::Room { conn } => {
                if let Some(at) = self.at_room.iter().position(|(waiting, _)| *waiting == conn) {
                    let (_, orders) = self.at_room.swap_remove(at);
                    self.obey(orders, fx);
                }
                Seen::Room(conn)
            }
            Input::Closed { conn, reason } => {
                assert!(self.conns.remove(conn).is_some(), "closed once, and only what is open");
                Seen::Closed(conn, reason)
            }
            Input::Command(_) => {
                let orders: Vec<_> = self.shared.lock().unwrap().orders.drain(..).collect();
                self.obey(orders, fx);
                Seen::Command
            }
            // No order says anything to other shards.
            Input::Account { .. } => return,
        };
        let _ = self.seen.send(seen);
    }

    fn work(&mut self, _now: Now, _budget: Budget, _fx: &mut Effects) -> More {
        More::No
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn drain(&mut self, conn: ConnId, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        let Some((bytes, at)) = self.conns.get_mut(conn) else { return false };
        let end = bytes.len().min(*at + bytes_max);
        out.extend(&bytes[*at..end]);
        self.shared.lock().unwrap().drained += end - *at;
        if let Some(journal) = &self.journal
            && end > *at
        {
            let _ = self.seen.send(Seen::Drained(conn, journal::read(journal).unwrap().entries.len()));
        }
        *at = end;
        end < bytes.len()
    }

    fn stats(&self) -> &ShardStats {
        &self.stats
    }
}

impl Script {
    fn obey(&mut self, orders: Vec<Order>, fx: &mut Effects) {
        for order in orders {
            match order {
                Order::Open(endpoint) => {
                    let conn = self.conns.insert((Vec::new(), 0));
                    let _ = self.seen.send(Seen::Opening(conn));
                    fx.push(Effect::Open { conn, endpoint });
                }
                Order::Send(conn, bytes) => {
                    self.conns.get_mut(conn).expect("open").0.extend(bytes);
                    fx.push(Effect::Flush { conn });
                }
                Order::Close(conn) => {
                    self.conns.remove(conn).expect("open");
                    fx.push(Effect::Close { conn });
                }
                Order::Report(report) => fx.report(report),
                Order::Effect(effect) => fx.push(effect),
                Order::AtRoom(conn, orders) => self.at_room.push((conn, orders)),
                Order::AtBytes(conn, orders) => self.at_bytes.push((conn, orders)),
                Order::LookAt(journal) => self.journal = Some(journal),
                Order::Block(until) => {
                    let _ = self.seen.send(Seen::Blocked);
                    until.recv().unwrap();
                }
            }
        }
    }
}

/// An engine of one shard around a scripted core.
pub(crate) struct Rig {
    pub(crate) engine: EngineHandle,
    pub(crate) reports: Option<Reports>,
    shared: Arc<Mutex<Shared>>,
    seen: Receiver<Seen>,
}

/// An engine for these endpoints, with settings changed by `change`. Names are looked up as the system does.
pub(crate) fn rig(endpoints: Vec<(Endpoint, TlsSettings)>, change: impl FnOnce(&mut EngineConfig)) -> Rig {
    rig_with_names(endpoints, change, resolve)
}

/// [`rig`] with a resolver of the test's own, which may take its time.
pub(crate) fn rig_with_names(
    endpoints: Vec<(Endpoint, TlsSettings)>,
    change: impl FnOnce(&mut EngineConfig),
    resolve: impl Fn(&str, u16) -> Result<Vec<SocketAddr>, Box<str>> + Send + Sync + 'static,
) -> Rig {
    let shared = Arc::new(Mutex::new(Shared::default()));
    let (sender, seen) = channel();
    let (endpoints, tls) = endpoints.into_iter().unzip();
    let shard = ShardConfig {
        shard: 0,
        seed: 1,
        endpoints,
        mail_servers: Vec::new(),
        push_services: Vec::new(),
        timing: Timing::default(),
        item_key: [0; 16],
    };
    let mut config = EngineConfig::new(shard, tls);
    config.shards = 1;
    change(&mut config);
    let make = {
        let shared = Arc::clone(&shared);
        move |_now: Now, _config: ShardConfig| Script {
            shared: Arc::clone(&shared),
            seen: sender.clone(),
            conns: Arena::new(),
            at_room: Vec::new(),
            at_bytes: Vec::new(),
            journal: None,
            stats: ShardStats::default(),
        }
    };
    let (engine, reports) = start_with(config, make, Arc::new(resolve)).unwrap();
    Rig { engine, reports: Some(reports), shared, seen }
}

impl Rig {
    pub(crate) fn order(&self, orders: impl IntoIterator<Item = Order>) {
        self.shared.lock().unwrap().orders.extend(orders);
        self.nudge().unwrap();
    }

    /// Any command does: the script looks for orders.
    pub(crate) fn nudge(&self) -> Result<(), Refused> {
        self.engine.stop_user(UserKey(0))
    }

    pub(crate) fn see(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("something should have happened")
    }

    /// What is seen next, besides obeyed commands and room.
    pub(crate) fn see_news(&self) -> Seen {
        loop {
            match self.see() {
                Seen::Command | Seen::Room(_) | Seen::Drained(..) => {}
                seen => return seen,
            }
        }
    }

    /// Orders a connection to the first endpoint.
    pub(crate) fn open(&self) -> ConnId {
        self.order([Order::Open(EndpointId(0))]);
        match self.see_news() {
            Seen::Opening(conn) => conn,
            other => panic!("{other:?}"),
        }
    }

    /// Has a connection to the first endpoint.
    pub(crate) fn connect(&self) -> ConnId {
        let conn = self.open();
        assert_eq!(self.see_news(), Seen::Opened(conn));
        conn
    }

    /// The reason why a connection to the first endpoint cannot be had.
    pub(crate) fn connect_in_vain(&self) -> CloseReason {
        let conn = self.open();
        self.closed(conn)
    }

    pub(crate) fn closed(&self, conn: ConnId) -> CloseReason {
        match self.see_news() {
            Seen::Closed(closed, reason) if closed == conn => reason,
            other => panic!("{other:?}"),
        }
    }

    /// Receives exactly `len` bytes.
    pub(crate) fn receive(&self, conn: ConnId, len: usize) -> Vec<u8> {
        let mut received = Vec::new();
        while received.len() < len {
            match self.see_news() {
                Seen::Bytes(from, bytes) if from == conn => received.extend(bytes),
                other => panic!("after {} of {len} bytes: {other:?}", received.len()),
            }
        }
        assert_eq!(received.len(), len);
        received
    }

    /// Bytes that the shell has taken from the core.
    pub(crate) fn drained(&self) -> usize {
        self.shared.lock().unwrap().drained
    }

    /// Waits until the shard has taken a whole turn that began after this call.
    pub(crate) fn turn(&self) {
        let turns = || self.engine.stats().shells[0].turns;
        // One may be under way.
        let until = turns() + 2;
        while turns() < until {
            self.nudge().unwrap();
            while self.see() != Seen::Command {}
        }
    }
}

/// A certificate for `localhost` and 127.0.0.1.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

pub(crate) fn identity() -> Identity {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    // Each its own authority, with a name of its own.
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("test {number}"));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    Identity { certificate, key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) }
}

impl Identity {
    /// Settings that trust this identity and nobody else.
    pub(crate) fn trusted(&self) -> TlsSettings {
        TlsSettings {
            web_roots: false,
            extra_roots: vec![self.certificate.clone()],
            ..TlsSettings::default()
        }
    }

    pub(crate) fn server_config(&self, alpn: &[&[u8]]) -> ServerConfig {
        let mut config = server_builder()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config
    }
}

pub(crate) fn server_builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
}

/// A TLS server that serves one connection with `serve`, on a thread of its own.
pub(crate) struct Server<T> {
    pub(crate) endpoint: Endpoint,
    thread: JoinHandle<T>,
}

pub(crate) type Stream = StreamOwned<ServerConnection, TcpStream>;

pub(crate) fn serve<T: Send + 'static>(
    config: ServerConfig,
    protocol: Protocol,
    serve: impl FnOnce(Stream) -> T + Send + 'static,
) -> Server<T> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = endpoint(&listener, protocol);
    let thread = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        // Whoever comes next is refused.
        drop(listener);
        // A test that fails on the other side must not leave this one waiting.
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        // What is written leaves at once: a reset right after it must not overtake it.
        socket.set_nodelay(true).unwrap();
        serve(StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), socket))
    });
    Server { endpoint, thread }
}

impl<T> Server<T> {
    pub(crate) fn join(self) -> T {
        self.thread.join().unwrap()
    }
}

/// By name, as servers are in the world: it is looked up, and may have an address where nobody listens.
pub(crate) fn endpoint(listener: &TcpListener, protocol: Protocol) -> Endpoint {
    Endpoint { host: "localhost".into(), port: listener.local_addr().unwrap().port(), protocol }
}

/// A TLS server on 127.0.0.1 that serves every connection with `serve`, each on a thread of its own, until the test ends.
pub(crate) fn serve_all(
    config: ServerConfig,
    protocol: Protocol,
    serve: impl Fn(Stream) + Clone + Send + 'static,
) -> (Endpoint, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (endpoint, address) = (endpoint(&listener, protocol), listener.local_addr().unwrap());
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let socket = socket.unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let serve = serve.clone();
            let stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), socket);
            std::thread::spawn(move || serve(stream));
        }
    });
    (endpoint, address)
}

/// An address on which connects get no answer at all, as long as it is kept: a listener whose queue is full.
pub(crate) struct Swallowing {
    pub(crate) address: SocketAddr,
    _listener: socket2::Socket,
    _queued: Vec<socket2::Socket>,
}

pub(crate) fn swallowing() -> Swallowing {
    use socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    // Linux takes one more than was asked for, or two.
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let connected = socket.connect_timeout(&address.into(), Duration::from_millis(200));
        queued.push(socket);
        if connected.is_err() {
            return Swallowing { address, _listener: listener, _queued: queued };
        }
        assert!(queued.len() < 10, "the listener's queue has no end");
    }
}

/// Lets the handshake go as far as it goes.
pub(crate) fn handshake(stream: &mut Stream) -> io::Result<()> {
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(())
}
