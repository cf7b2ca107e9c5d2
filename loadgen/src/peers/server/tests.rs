//! A trivial peer behind real sockets, spoken to by a blocking TLS client.

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpStream as StdStream;
use std::sync::mpsc::{Receiver, Sender, channel};

use carillon_core::time::Now;
use mio::{Events, Poll};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use super::*;
use crate::tls::{CA_CERT, PEER_CERT, PEER_KEY, server_config, write_all};

/// Answers each line with as many bytes as it asks for; "bye" and "reset" close.
#[derive(Default)]
struct Filler {
    owed: BTreeMap<PeerConn, (usize, Option<Close>)>,
    ready: VecDeque<PeerConn>,
    told: Option<Sender<String>>,
}

impl Filler {
    fn tell(&self, text: String) {
        let _ = self.told.as_ref().unwrap().send(text);
    }
}

impl Peer for Filler {
    fn accepted(&mut self, _now: Now, conn: PeerConn, hello: Hello) {
        self.tell(format!(
            "accepted {:?} {}",
            hello.alpn.map(|alpn| String::from_utf8(alpn).unwrap()),
            hello.client
        ));
        self.owed.insert(conn, (0, None));
    }

    fn received(&mut self, _now: Now, conn: PeerConn, bytes: &[u8]) {
        let owed = self.owed.get_mut(&conn).expect("a connection that was accepted");
        for line in std::str::from_utf8(bytes).unwrap().lines() {
            match line {
                "bye" => owed.1 = Some(Close::Orderly),
                "reset" => owed.1 = Some(Close::Reset),
                number => owed.0 += number.parse::<usize>().unwrap(),
            }
        }
        self.ready.push_back(conn);
    }

    fn closed(&mut self, _now: Now, conn: PeerConn) {
        self.owed.remove(&conn).expect("a connection that is there");
        self.tell("closed".into());
    }

    fn drain(&mut self, _now: Now, conn: PeerConn, out: &mut Vec<u8>, bytes_max: usize) -> Output {
        let owed = self.owed.get_mut(&conn).unwrap();
        let give = owed.0.min(bytes_max);
        out.resize(out.len() + give, b'x');
        owed.0 -= give;
        let more = owed.0 > 0;
        let close = owed.1.filter(|_| !more);
        if close.is_some() {
            self.owed.remove(&conn);
        }
        Output { more, close }
    }

    fn tick(&mut self, _now: Now) {}

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn poll_ready(&mut self) -> Option<PeerConn> {
        self.ready.pop_front()
    }
}

/// The server on a thread of its own until the test ends.
struct Running {
    port: u16,
    client: Arc<ClientConfig>,
    told: Receiver<String>,
    _stop: Sender<()>,
}

fn start() -> Running {
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path()).unwrap();
    let tls = Arc::new(
        server_config(&folder.path().join(PEER_CERT), &folder.path().join(PEER_KEY), b"test").unwrap(),
    );
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.path().join(CA_CERT)).unwrap()).unwrap();
    let mut client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"test".to_vec()];
    let (stop, stopped) = channel::<()>();
    let (told_to, told) = channel();
    let (port_to, port) = channel();
    std::thread::spawn(move || {
        let mut poll = Poll::new().unwrap();
        let peer = Filler { told: Some(told_to), ..Filler::default() };
        let mut server = Server::listen(peer, tls, 1, poll.registry()).unwrap();
        port_to.send(server.port().unwrap()).unwrap();
        let clock = Clock::start();
        let mut events = Events::with_capacity(8);
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            poll.poll(&mut events, Some(Duration::from_millis(10))).unwrap();
            for event in &events {
                assert!(server.owns(event.token()));
                server.on_event(&clock, event, poll.registry());
            }
            while server.read(&clock) {
                server.write(&clock);
            }
            server.write(&clock);
            server.tick(&clock);
        }
    });
    Running { port: port.recv().unwrap(), client: Arc::new(client), told, _stop: stop }
}

impl Running {
    fn connect(&self) -> StreamOwned<ClientConnection, StdStream> {
        let socket = StdStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.client), name).unwrap(), socket)
    }

    fn told(&self) -> String {
        self.told.recv_timeout(Duration::from_secs(10)).unwrap()
    }
}

#[test]
fn what_a_peer_says_arrives_whole_however_much_it_is() {
    let running = start();
    let mut stream = running.connect();
    // Far more than a socket holds: the rest waits for room.
    for size in [1, 16_384, 8 << 20] {
        stream.write_all(format!("{size}\n").as_bytes()).unwrap();
        let mut got = vec![0; size];
        std::thread::sleep(Duration::from_millis(20));
        stream.read_exact(&mut got).unwrap();
        assert!(got.iter().all(|byte| *byte == b'x'));
    }
    assert_eq!(running.told(), "accepted Some(\"test\") 127.0.0.1");
}

#[test]
fn an_orderly_close_comes_after_the_bytes_and_with_close_notify() {
    let running = start();
    let mut stream = running.connect();
    stream.write_all(b"100000\nbye\n").unwrap();
    let mut got = Vec::new();
    // rustls makes an error of an end without close_notify.
    assert_eq!(stream.read_to_end(&mut got).unwrap(), 100_000);
}

#[test]
fn a_reset_is_a_reset() {
    let running = start();
    let mut stream = running.connect();
    stream.write_all(b"reset\n").unwrap();
    let error = stream.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn the_peer_hears_of_a_client_that_goes_and_places_are_used_again() {
    let running = start();
    for _ in 0..3 {
        let mut stream = running.connect();
        stream.write_all(b"1\n").unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        drop(stream);
        assert!(running.told().starts_with("accepted"));
        assert_eq!(running.told(), "closed");
    }
}

#[test]
fn a_client_that_speaks_no_tls_is_sent_away_and_the_peer_never_hears_of_it() {
    let running = start();
    let mut socket = StdStream::connect(("127.0.0.1", running.port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut got = Vec::new();
    // An alert, then the end, orderly or not.
    let _ = socket.read_to_end(&mut got);
    let mut stream = running.connect();
    stream.write_all(b"1\n").unwrap();
    assert_eq!(running.told(), "accepted Some(\"test\") 127.0.0.1");
}
