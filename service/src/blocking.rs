//! Connections for commands that do one thing and end: each step by itself, so that its failure can be told apart.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carillon_core::ews::{StreamConn, StreamEvent};
use carillon_core::http1::{self, CallConn, HttpError, Response};
use carillon_core::limits::STREAM_OPEN_TIMEOUT;
use carillon_core::time::{Span, Time};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::config::ClientCertificate;
use crate::files::{self, FileError};

/// How long a connect or a handshake may take.
pub const CONNECT_TIME: Duration = Duration::from_secs(10);

/// A TLS connection.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Why a step failed: what happened, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl Failure {
    /// With both sentences.
    pub fn new(what: impl Into<String>, advice: impl Into<String>) -> Failure {
        Failure { what: what.into(), advice: advice.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.advice)
    }
}

impl std::error::Error for Failure {}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Failure {
        Failure::new(error.to_string(), "give a readable file in PEM form, keys without a passphrase")
    }
}

/// The addresses of a host.
pub fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let advice = "correct the host in the URL, or this machine's DNS";
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found: Vec<SocketAddr> = (bare, port)
        .to_socket_addrs()
        .map_err(|error| Failure::new(format!("the name {host} does not resolve ({error})"), advice))?
        .collect();
    if found.is_empty() {
        return Err(Failure::new(format!("the name {host} has no address"), advice));
    }
    Ok(found)
}

/// A TCP connection to the first address that takes one.
pub fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let mut last = Failure::new("there is no address to connect to", "correct the URL");
    for address in addresses {
        match TcpStream::connect_timeout(address, CONNECT_TIME) {
            Ok(stream) => {
                // Failing to set these means only that a dead peer is noticed later.
                let _ = stream.set_nodelay(true);
                let _ = stream.set_read_timeout(Some(CONNECT_TIME));
                let _ = stream.set_write_timeout(Some(CONNECT_TIME));
                return Ok(stream);
            }
            Err(error) => last = connect_failure(*address, &error),
        }
    }
    Err(last)
}

fn connect_failure(address: SocketAddr, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::new(
            format!("nobody listens at {address}"),
            "correct the port in the URL, or start the server",
        ),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Failure::new(
            format!("{address} does not answer"),
            "allow this machine to reach it (firewall, routing), or correct the URL",
        ),
        _ => Failure::new(
            format!("{address} cannot be reached ({error})"),
            "check the network between this machine and it",
        ),
    }
}

/// Whom to trust and who we are, from the configuration's files.
pub fn client_config(
    ca_file: Option<&Path>,
    client: Option<&ClientCertificate>,
    alpn: &[u8],
) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = ca_file {
        for certificate in files::certificates(file)? {
            roots.add(certificate).map_err(|error| {
                Failure::new(
                    format!("{}: a certificate in it cannot be used ({error})", file.display()),
                    "give the authority's own certificate",
                )
            })?;
        }
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(error.to_string(), "please report this"))?
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let (chain, key) = files::client(certificate)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                let (cert, key) = (certificate.cert_file.display(), certificate.key_file.display());
                Failure::new(
                    format!("{cert} with {key}: {error}"),
                    "give a certificate and the key that belongs to it",
                )
            })?
        }
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}

/// Trusts exactly the certificate in `cert_file`, whatever name it carries: for our own service, on our own machine.
pub fn pinned_config(cert_file: &Path) -> Result<Arc<ClientConfig>, Failure> {
    let certificate = files::certificates(cert_file)?.swap_remove(0);
    let provider = provider();
    let pin = Arc::new(Pinned { certificate, provider: provider.clone() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(error.to_string(), "please report this"))?
        .dangerous()
        .with_custom_certificate_verifier(pin)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A TLS connection over `stream`.
pub fn handshake(
    mut stream: TcpStream,
    config: Arc<ClientConfig>,
    host: &str,
    alpn_needed: bool,
) -> Result<TlsStream, Failure> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned()).map_err(|_| {
        Failure::new(format!("{host} is neither a host name nor an address"), "correct the URL")
    })?;
    let wanted = config.alpn_protocols.first().cloned().unwrap_or_default();
    let mut connection = ClientConnection::new(config, name)
        .map_err(|error| Failure::new(error.to_string(), "please report this"))?;
    let started = Instant::now();
    // Our first message, then a look at what comes before TLS takes it for noise.
    let _ = connection.write_tls(&mut stream);
    if let Some(failure) = said_in_clear(&stream) {
        return Err(failure);
    }
    while connection.is_handshaking() {
        if started.elapsed() > CONNECT_TIME {
            return Err(Failure::new("the TLS handshake takes too long", "check what stands in between"));
        }
        connection.complete_io(&mut stream).map_err(|error| handshake_failure(&error))?;
    }
    match connection.alpn_protocol() {
        Some(agreed) if agreed != wanted => {
            return Err(Failure::new("the server speaks another protocol", "correct the URL"));
        }
        None if alpn_needed => {
            return Err(Failure::new(
                format!("the server does not offer {} (ALPN)", String::from_utf8_lossy(&wanted)),
                "correct the URL, or take away the proxy that stands in between",
            ));
        }
        Some(_) | None => {}
    }
    Ok(StreamOwned::new(connection, stream))
}

fn handshake_failure(error: &io::Error) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let advice = match tls {
        Some(rustls::Error::InvalidCertificate(why)) => {
            let (what, advice) = carillon_engine::certificate_fault(why);
            return Failure::new(format!("the server's certificate is not trusted ({what})"), advice);
        }
        Some(rustls::Error::InvalidMessage(_)) => "this is no TLS server: correct the port in the URL",
        Some(rustls::Error::AlertReceived(_)) => {
            "the server refused: check its TLS versions, and our client certificate if it asks for one"
        }
        Some(_) => "check the server's TLS settings",
        None => {
            "the connection broke off: check the port and what stands in between, and whether the server has room for \
             more connections"
        }
    };
    Failure::new(format!("no TLS connection ({error})"), advice)
}

/// What a server says in clear where TLS was expected, as one without a free connection does.
fn said_in_clear(stream: &TcpStream) -> Option<Failure> {
    let mut first = [0; 16];
    let len = stream.peek(&mut first).ok()?;
    let status = http1::status_in_clear(&first[..len])?;
    let text = http1::in_clear(status);
    let (what, advice) = text.split_once(": ").unwrap_or((&text, "correct the URL"));
    Some(Failure::new(format!("no TLS connection ({what})"), advice))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Accepts one certificate, byte for byte, and nothing else.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if end_entity.as_ref() == self.certificate.as_ref() {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Reads what the peer has said; 0 at the end. Not as the stream itself reads: that writes first what waits to be written,
/// and fails where writing does, although the peer may have said why before it closed.
pub fn read(stream: &mut TlsStream, bytes: &mut [u8]) -> io::Result<usize> {
    let TlsStream { conn: tls, sock } = stream;
    loop {
        match tls.reader().read(bytes) {
            // An end without a word of TLS; whether what came is whole, its protocol says.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        match tls.read_tls(sock) {
            Ok(_) => {
                tls.process_new_packets().map_err(io::Error::other)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// One keep-alive HTTP/1.1 connection, over which one call at a time is made.
pub struct Calls {
    stream: TlsStream,
    conn: CallConn,
    origin: Instant,
}

impl Calls {
    /// Over a connection just made.
    pub fn new(stream: TlsStream) -> Calls {
        Calls { stream, conn: CallConn::new(), origin: Instant::now() }
    }

    /// Whether another call can be made on it.
    pub fn reusable(&self) -> bool {
        self.conn.reusable()
    }

    /// Sends head and body, and waits for the whole answer.
    ///
    /// A server may answer before it has read everything, and close. Then writing fails, and the answer is there all the
    /// same.
    pub fn call(&mut self, request: Vec<u8>, time: Duration) -> Result<Response, Broken> {
        let span = Span(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        self.conn.send(self.now(), request, span);
        let _ = self.stream.sock.set_read_timeout(Some(time));
        let _ = self.stream.sock.set_write_timeout(Some(time));
        match self.write() {
            Ok(()) => self.read(),
            Err(error) if is_timeout(&error) => Err(broken(&error).into()),
            Err(error) => self.read().map_err(|_| Broken { failure: broken(&error), may_be_repeated: true }),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        loop {
            out.clear();
            let more = self.conn.drain(&mut out, 64 * 1024);
            self.stream.write_all(&out)?;
            if !more {
                return self.stream.flush();
            }
        }
    }

    /// Reads until the answer is whole.
    fn read(&mut self) -> Result<Response, Broken> {
        let mut bytes = [0; 16 * 1024];
        loop {
            if let Some(response) = self.conn.poll() {
                return Ok(response);
            }
            let now = self.now();
            self.conn.on_deadline(now).map_err(unusable)?;
            match read(&mut self.stream, &mut bytes) {
                Ok(0) => self.conn.feed_eof().map_err(unusable)?,
                Ok(n) => self.conn.feed(now, &bytes[..n]).map_err(unusable)?,
                Err(error) => {
                    return Err(Broken { may_be_repeated: !is_timeout(&error), failure: broken(&error) });
                }
            }
        }
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// Asks for a notification stream on a fresh connection, and waits for what it tells first: that it is open, or why not.
pub fn first_of_stream(stream: &mut TlsStream, request: Vec<u8>) -> Result<StreamEvent, Failure> {
    let origin = Instant::now();
    let now = || Time(u64::try_from(origin.elapsed().as_micros()).unwrap_or(u64::MAX));
    let open = STREAM_OPEN_TIMEOUT;
    let _ = stream.sock.set_read_timeout(Some(Duration::from_micros(open.0) + Duration::from_millis(100)));
    let _ = stream.sock.set_write_timeout(Some(CONNECT_TIME));
    stream.write_all(&request).and_then(|()| stream.flush()).map_err(|error| broken(&error))?;
    let mut machine = StreamConn::open(now(), request, open + open, open + open);
    let mut bytes = [0; 16 * 1024];
    loop {
        if let Some(event) = machine.poll() {
            return Ok(event);
        }
        match read(stream, &mut bytes) {
            Ok(0) => machine.feed_eof(),
            Ok(n) => machine.feed(now(), &bytes[..n]),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(broken(&error)),
        }
        machine.on_deadline(now());
    }
}

/// A call without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Why.
    pub failure: Failure,
    /// The connection ended before anything of an answer came: over another one it may go better, where it does no harm to
    /// ask twice.
    pub may_be_repeated: bool,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Broken {
        Broken { failure, may_be_repeated: false }
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Failure {
        broken.failure
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn broken(error: &io::Error) -> Failure {
    match error.kind() {
        _ if is_timeout(error) => Failure::new("the server does not answer", "look at the server's health"),
        _ => Failure::new(
            format!("the connection broke off ({error})"),
            "look at the server, and what stands in between",
        ),
    }
}

fn unusable(error: HttpError) -> Broken {
    Broken {
        failure: Failure::new(
            format!("the answer cannot be used ({error})"),
            "check that the URL leads to the right server",
        ),
        may_be_repeated: matches!(error, HttpError::NoAnswer),
    }
}

/// The same machine's address for one that listens on all.
pub fn local(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
