//! Simulated servers of the harness behind real TLS sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use carillon_core::time::{Now, Time};
use carillon_harness::peer::{Hello, Peer, PeerConn};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A simulated server that listens.
pub(crate) struct Served<P> {
    pub(crate) address: SocketAddr,
    pub(crate) peer: Arc<Mutex<P>>,
    origin: Instant,
    ending: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Writes a self-signed certificate for loopback and its key: `<name>.pem` and `<name>.key`.
pub(crate) fn certificate(dir: &Path, name: &str) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(dir.join(format!("{name}.pem")), certified.cert.pem()).unwrap();
    std::fs::write(dir.join(format!("{name}.key")), certified.signing_key.serialize_pem()).unwrap();
}

/// Serves `peer` with the certificate `<name>.pem`. Clients may show any of the certificates `clients`.
pub(crate) fn serve<P: Peer + Send + 'static>(
    peer: P,
    dir: &Path,
    name: &str,
    alpn: &[u8],
    clients: &[&str],
) -> Served<P> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = if clients.is_empty() {
        builder.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        for client in clients {
            roots.add(CertificateDer::from_pem_file(dir.join(format!("{client}.pem"))).unwrap()).unwrap();
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        builder.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
    };
    let certificate = CertificateDer::from_pem_file(dir.join(format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).unwrap();
    let mut tls = builder.with_single_cert(vec![certificate], key).unwrap();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let tls = Arc::new(tls);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (peer, ending) = (Arc::new(Mutex::new(peer)), Arc::new(AtomicBool::new(false)));
    let origin = Instant::now();
    let thread = std::thread::spawn({
        let (peer, ending) = (peer.clone(), ending.clone());
        move || {
            let next = AtomicU64::new(1);
            std::thread::scope(|scope| {
                while !ending.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((stream, client)) => {
                            let conn = PeerConn(next.fetch_add(1, Ordering::Relaxed));
                            let (tls, peer, ending) = (tls.clone(), &peer, &ending);
                            scope.spawn(move || {
                                // What a client does to a connection is no fault of this server.
                                let _ = connection(stream, client, tls, conn, peer, ending, origin);
                            });
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            });
        }
    });
    Served { address, peer, origin, ending, thread: Some(thread) }
}

fn connection<P: Peer>(
    stream: TcpStream,
    client: SocketAddr,
    tls: Arc<ServerConfig>,
    conn: PeerConn,
    peer: &Mutex<P>,
    ending: &AtomicBool,
    origin: Instant,
) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    // What is written leaves at once: the reset that closing may make must not overtake an alert.
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    stream.sock.set_read_timeout(Some(Duration::from_millis(10)))?;
    let now = || now(origin);
    let hello = Hello {
        client: client.ip().to_string(),
        sni: stream.conn.server_name().map(str::to_owned),
        alpn: stream.conn.alpn_protocol().map(<[u8]>::to_vec),
        certificate: stream.conn.peer_certificates().map(|chain| chain[0].to_vec()),
    };
    peer.lock().unwrap().accepted(now(), conn, hello);
    let mut bytes = [0; 16 * 1024];
    while !ending.load(Ordering::Relaxed) {
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(n) => peer.lock().unwrap().received(now(), conn, &bytes[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        let mut out = Vec::new();
        let output = {
            let mut peer = peer.lock().unwrap();
            peer.tick(now());
            peer.drain(now(), conn, &mut out, 1024 * 1024)
        };
        stream.write_all(&out)?;
        stream.flush()?;
        if output.close.is_some() {
            stream.conn.send_close_notify();
            return stream.flush();
        }
    }
    peer.lock().unwrap().closed(now(), conn);
    Ok(())
}

fn now(origin: Instant) -> Now {
    Now { time: Time(u64::try_from(origin.elapsed().as_micros()).unwrap()), unix: carillon::clock::now() }
}

impl<P> Served<P> {
    /// Does something at the server, in its time.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut P, Now) -> T) -> T {
        let mut peer = self.peer.lock().unwrap();
        act(&mut peer, now(self.origin))
    }
}

impl<P> Drop for Served<P> {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
