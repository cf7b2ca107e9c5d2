//! The listening socket: TLS, and bounds on connections.

use std::future::{Ready, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::middleware::AddExtension;
use axum_server::Handle;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tower_layer::Layer;

use super::connection::{Connection, Origin, Times};
use super::places::{PlaceBounds, Places};
use super::routes::router;
use super::{ApiState, Bounds, Extras};
use crate::app::App;
use crate::config::Api;
use crate::files::{self, FileError};

/// The largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Why the API cannot be served. One line that says which file or port, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("[api] listen = \"{address}\": {}", listen_error(.error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A PEM file cannot be read.
    #[error("[api] {0}")]
    File(#[from] FileError),
    /// Certificate and key are readable, but unusable.
    #[error("[api] cert_file = \"{}\" with key_file = \"{}\": {reason}", cert_file.display(), key_file.display())]
    Pair {
        /// The certificate's file.
        cert_file: PathBuf,
        /// The key's file.
        key_file: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A socket that listens, and the certificate for it: all that can go wrong has gone right.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    tls: RustlsConfig,
}

/// The API, being served.
pub struct Server {
    address: SocketAddr,
    handle: Handle<SocketAddr>,
    task: JoinHandle<io::Result<()>>,
}

impl Bound {
    /// Reads the certificate and takes the port.
    pub fn new(api: &Api) -> Result<Bound, ServerError> {
        let tls = RustlsConfig::from_config(Arc::new(tls_config(api)?));
        let listen_error = |error| ServerError::Listen { address: api.listen, error };
        let listener = TcpListener::bind(api.listen).map_err(listen_error)?;
        listener.set_nonblocking(true).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        Ok(Bound { listener, address, tls })
    }

    /// The address, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate, to be renewed while the API is served.
    pub fn certificate(&self) -> Certificate {
        Certificate(self.tls.clone())
    }

    /// Begins to serve. To be called within a tokio runtime.
    pub fn serve(self, app: Arc<App>, bounds: Bounds, extras: Extras) -> io::Result<Server> {
        let handle = Handle::new();
        let places = Places::new(PlaceBounds::of(bounds.connections_max));
        let door = Door { places: places.clone(), times: bounds.times };
        let acceptor = RustlsAcceptor::new(self.tls).handshake_timeout(bounds.handshake_time).acceptor(door);
        let mut server =
            axum_server::from_tcp(self.listener)?.acceptor(acceptor).handle(handle.clone()).http1_only();
        server
            .http_builder()
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.head_time)
            .max_buf_size(HEAD_BYTES_MAX);
        let service = router(ApiState::new(app, bounds, extras, places)).into_make_service();
        let task = tokio::spawn(server.serve(service));
        Ok(Server { address: self.address, handle, task })
    }
}

/// The certificate of an API that may be served already.
#[derive(Clone, Debug)]
pub struct Certificate(RustlsConfig);

impl Certificate {
    /// Reads the files again; connections from now on are served with what stands in them.
    ///
    /// # Errors
    /// [`ServerError`]; the one before stays in use then.
    pub fn renew(&self, api: &Api) -> Result<(), ServerError> {
        self.0.reload_from_config(Arc::new(tls_config(api)?));
        Ok(())
    }
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets running requests end for at most `grace`, and closes.
    pub async fn stop(self, grace: Duration) {
        self.handle.graceful_shutdown(Some(grace));
        let _ = self.task.await;
    }
}

/// Looks whether certificate and key can be used, without listening.
pub fn check_files(api: &Api) -> Result<(), ServerError> {
    tls_config(api).map(|_| ())
}

fn tls_config(api: &Api) -> Result<rustls::ServerConfig, ServerError> {
    let (chain, key) = (files::certificates(&api.cert_file)?, files::private_key(&api.key_file)?);
    let pair_error = |error: rustls::Error| ServerError::Pair {
        cert_file: api.cert_file.clone(),
        key_file: api.key_file.clone(),
        reason: match error {
            rustls::Error::InconsistentKeys(_) => "the key does not belong to the certificate".to_owned(),
            other => format!("cannot be used for TLS: {other}"),
        },
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair_error)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair_error)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn listen_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use: another process, perhaps another carillon, listens there".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "not permitted: ports below 1024 need a right of their own".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Hands out a place for each connection; without one, the connection is closed at once.
#[derive(Clone)]
struct Door {
    places: Places,
    times: Times,
}

impl<S> Accept<TcpStream, S> for Door {
    type Stream = Connection<TcpStream>;
    type Service = AddExtension<S, Origin>;
    type Future = Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(self.admit(stream).map(|connection| {
            let service = Extension(connection.origin()).layer(service);
            (connection, service)
        }))
    }
}

impl Door {
    fn admit(&self, stream: TcpStream) -> io::Result<Connection<TcpStream>> {
        let address = stream.peer_addr()?.ip();
        let Some((place, leave)) = self.places.take(address) else {
            return Err(io::Error::other("too many connections"));
        };
        stream.set_nodelay(true)?;
        Ok(Connection::new(stream, place, leave, self.times))
    }
}
