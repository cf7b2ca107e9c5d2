//! The API on a real socket, over the real store and an engine that only notes what it is told.

pub(crate) mod peers;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carillon::api::server::{Bound, Server};
use carillon::api::{Bounds, Extras};
use carillon::app::App;
use carillon::auth::Role;
use carillon::config::{
    Api, ApiToken, ClientCertificate, Config, EngineConfig, Exchange, Log, LogFormat, Push, PushCredential,
    Secret, StoreConfig,
};
use carillon::directory::Directory;
use carillon::engine::{Engine, Numbers, Refused};
use carillon::ids::UserId;
use carillon::store::sqlite::SqliteStore;
use carillon::store::{
    Answer, Keep, Position, RemovedDevice, Store, StoreError, TokenRow, UserRow, Write, Wrote,
};
use carillon_core::names::{Topic, UserKey};
use carillon_core::shard::{BadgeCount, CatchUp, Command, MailCredential, ShardStats, Timing};
use serde_json::Value;

pub(crate) const GATEWAY: &str = "gateway-token-of-the-test";
pub(crate) const ADMIN: &str = "admin-token-of-the-test";
pub(crate) const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

/// The API, running.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<BreakableStore>,
    pub(crate) engine: Arc<NotingEngine>,
    pub(crate) config: Arc<Config>,
    pub(crate) agent: ureq::Agent,
    runtime: Option<tokio::runtime::Runtime>,
    server: Option<Server>,
    _dir: tempfile::TempDir,
}

pub(crate) type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// A connection to the API.
pub(crate) fn tcp(api: &Running) -> TcpStream {
    let stream = TcpStream::connect(api.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// The same with TLS.
pub(crate) fn tls(api: &Running) -> Tls {
    use rustls_pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_file(&api.config.api.cert_file).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let connection = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, tcp(api));
    stream.conn.complete_io(&mut stream.sock).unwrap();
    stream
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) text: String,
}

pub(crate) fn start() -> Running {
    start_with(|_, _| {})
}

pub(crate) fn start_with(tweak: impl FnOnce(&mut Config, &mut Bounds)) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let certified =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (cert_file, key_file) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert_file, certified.cert.pem()).unwrap();
    std::fs::write(&key_file, certified.signing_key.serialize_pem()).unwrap();

    let mut config = config(dir.path().join("carillon.toml"), cert_file, key_file);
    // Tests present many wrong tokens.
    let mut bounds = Bounds { strangers_per_s: 1_000_000, ..Bounds::default() };
    tweak(&mut config, &mut bounds);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let bound = Bound::new(&config.api).unwrap();
    config.api.listen = bound.address();
    let config = Arc::new(config);
    let inner = runtime.block_on(SqliteStore::open(&config.store.path)).unwrap();
    let store = Arc::new(BreakableStore { inner, broken: AtomicBool::new(false) });
    let engine = Arc::new(NotingEngine::default());
    let directory = Arc::new(Directory::new(config.exchange.len(), config.push.len()));
    let app = App::start(config.clone(), store.clone(), engine.clone(), directory);
    let server = bound.serve(app, bounds, Extras { keeper: None, item_key: Some([0xa5; 16]) }).unwrap();

    let roots = [ureq::tls::Certificate::from_der(certified.cert.der()).to_owned()];
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .new_agent();
    drop(_entered);
    Running {
        address: server.address(),
        store,
        engine,
        config,
        agent,
        runtime: Some(runtime),
        server: Some(server),
        _dir: dir,
    }
}

impl Running {
    /// A user as he is stored.
    pub(crate) fn user_row(&self, id: &str) -> Option<UserRow> {
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(self.store.inner.user(&UserId::parse(id).unwrap())).unwrap()
    }

    /// How many users are stored.
    pub(crate) fn users(&self) -> usize {
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(self.store.inner.page(UserKey(0), 1_000_000)).unwrap().len()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// A request with a JSON body, or none.
    pub(crate) fn call(&self, method: &str, path: &str, token: Option<&str>, body: Option<&str>) -> Reply {
        self.call_as(method, path, token, body.map(|body| ("application/json", body.as_bytes())))
    }

    pub(crate) fn call_as(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<(&str, &[u8])>,
    ) -> Reply {
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let result = match body {
            Some((media_type, bytes)) => {
                let request = request.header("Content-Type", media_type).body(bytes).unwrap();
                self.agent.run(request)
            }
            None => {
                let request = request.body(()).unwrap();
                self.agent.run(request)
            }
        };
        let mut response = result.unwrap();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
            .collect();
        Reply {
            status: response.status().as_u16(),
            headers,
            text: response.body_mut().read_to_string().unwrap(),
        }
    }

    /// Registers a device with defaults.
    pub(crate) fn register(&self, user: &str, device: &str) -> Reply {
        let body = format!(r#"{{"address":"{user}@example.com","token":"{TOKEN}"}}"#);
        self.call("PUT", &format!("/v1/users/{user}/devices/{device}"), Some(GATEWAY), Some(&body))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let (Some(runtime), Some(server)) = (self.runtime.take(), self.server.take()) {
            runtime.block_on(server.stop(Duration::from_secs(1)));
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    /// Checks that this is an error in the one form that errors have, and gives its field.
    #[track_caller]
    pub(crate) fn error(&self, status: u16, code: &str) -> Option<String> {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.headers.get("content-type").map(String::as_str),
            Some("application/json"),
            "{self:?}"
        );
        let json = self.json();
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        let error = json["error"].as_object().unwrap();
        assert_eq!(error.keys().collect::<Vec<_>>(), ["code", "field", "message"], "{json}");
        assert_eq!(error["code"], code, "{json}");
        assert!(error["message"].as_str().unwrap().len() > 5, "{json}");
        for secret in [GATEWAY, ADMIN, TOKEN] {
            assert!(!self.text.contains(secret), "{self:?}");
        }
        error["field"].as_str().map(str::to_owned)
    }
}

pub(crate) fn config(file: PathBuf, cert_file: PathBuf, key_file: PathBuf) -> Config {
    let token = |name: &str, role, secret: &str| ApiToken {
        name: name.into(),
        role,
        secret: Secret::new(secret.to_owned()),
    };
    Config {
        file: file.clone(),
        api: Api {
            listen: "127.0.0.1:0".parse().unwrap(),
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
            tokens: vec![token("gateway", Role::Gateway, GATEWAY), token("admin", Role::Admin, ADMIN)],
            connections_max: 512,
            body_bytes_max: 16 * 1024,
            requests_per_s: 100_000,
            metrics_open: false,
        },
        store: StoreConfig { path: file.with_file_name("carillon.db") },
        engine: EngineConfig { shards: 1, pin: false, read_bytes_per_turn: 32_768 },
        timing: Timing::default(),
        log: Log { level: "info".to_owned(), format: LogFormat::Text },
        exchange: vec![exchange("main")],
        push: vec![Push {
            name: "apns".into(),
            host: "127.0.0.1".into(),
            port: 1,
            ca_file: None,
            topics: vec![Topic::parse("com.example.mail").unwrap()],
            auth: PushCredential::Certificate(ClientCertificate { cert_file, key_file }),
            lanes: 1,
            lane_window_max: 100,
        }],
        teams: Vec::new(),
    }
}

pub(crate) fn exchange(name: &str) -> Exchange {
    Exchange {
        name: name.into(),
        host: "127.0.0.1".into(),
        port: 1,
        path: "/EWS/Exchange.asmx".into(),
        credential: MailCredential::Basic { user: "svc".into(), password: "s3cret".into() },
        secret_file: None,
        client: None,
        impersonate: true,
        ca_file: None,
        domains: Vec::new(),
        folders: Vec::new(),
        catch_up: CatchUp::default(),
        badge: BadgeCount::default(),
        cohort_users_max: 200,
        stream_minutes: 29,
        stream_idle_s: 120,
        calls_max: 8,
        call_timeout_s: 100,
        subscribes_per_s: 20,
    }
}

/// An engine that notes its commands.
#[derive(Default)]
pub(crate) struct NotingEngine {
    commands: Mutex<Vec<&'static str>>,
    /// Refuses that many commands before it takes one.
    pub(crate) busy: AtomicU32,
    /// Says that it has ended.
    pub(crate) stopped: AtomicBool,
}

impl NotingEngine {
    pub(crate) fn commands(&self) -> Vec<&'static str> {
        self.commands.lock().unwrap().clone()
    }
}

impl Engine for NotingEngine {
    fn command(&self, command: Command) -> Result<(), Refused> {
        let less = |n: u32| n.checked_sub(1);
        if self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            return Err(Refused::Busy);
        }
        self.commands.lock().unwrap().push(match command {
            Command::AssignUser(_) => "assign",
            Command::DropUser { .. } => "drop",
            Command::RegisterDevice { .. } => "register",
            Command::RemoveDevice { .. } => "remove",
            Command::TouchDevice { .. } => "touch",
            Command::StopUser { .. } => "stop",
            Command::Signal { .. }
            | Command::SetTeamToken { .. }
            | Command::SetMailCredential { .. }
            | Command::SetTiming(_)
            | Command::Drain => "other",
        });
        Ok(())
    }

    fn is_running(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
    }

    fn numbers(&self) -> Numbers {
        let mut stats = ShardStats { streams: 3, ..ShardStats::default() };
        stats.ledger.signalled = 7;
        Numbers { shards: vec![stats], total: stats, ..Numbers::default() }
    }
}

/// The real store, which can be made to fail.
pub(crate) struct BreakableStore {
    inner: SqliteStore,
    /// Everything that the API asks for fails while this is set.
    pub(crate) broken: AtomicBool,
}

impl BreakableStore {
    fn answer<'a, T: Send + 'a>(&'a self, answer: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            if self.broken.load(Ordering::Relaxed) {
                return Err(StoreError::Full("/secret/path/carillon.db: no room on the disk".to_owned()));
            }
            answer.await
        })
    }
}

impl Store for BreakableStore {
    fn write<'a>(&'a self, batch: &'a [Write]) -> Answer<'a, Vec<Wrote>> {
        self.answer(self.inner.write(batch))
    }

    fn save<'a>(&'a self, batch: &'a Keep) -> Answer<'a, Vec<RemovedDevice>> {
        self.inner.save(batch)
    }

    fn user<'a>(&'a self, id: &'a UserId) -> Answer<'a, Option<UserRow>> {
        self.answer(self.inner.user(id))
    }

    fn page(&self, after: UserKey, limit: u32) -> Answer<'_, Vec<UserRow>> {
        self.inner.page(after, limit)
    }

    fn positions(&self) -> Answer<'_, Vec<Position>> {
        self.inner.positions()
    }

    fn forget_positions(&self) -> Answer<'_, ()> {
        self.inner.forget_positions()
    }

    fn team_token<'a>(&'a self, team_id: &'a str, key_id: &'a str) -> Answer<'a, Option<TokenRow>> {
        self.inner.team_token(team_id, key_id)
    }

    fn put_team_token<'a>(&'a self, token: &'a TokenRow) -> Answer<'a, ()> {
        self.inner.put_team_token(token)
    }

    fn probe(&self) -> Answer<'_, ()> {
        self.answer(self.inner.probe())
    }

    fn sync(&self) -> Answer<'_, ()> {
        self.inner.sync()
    }

    fn close(&self) -> Answer<'_, ()> {
        self.inner.close()
    }
}
