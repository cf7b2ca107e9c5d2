//! `carillon serve`: the process from start to end.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use carillon_core::shard::Command;
use carillon_engine::{Engine as Shards, EngineHandle, StartError};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::api::server::{Bound, Server, ServerError};
use crate::api::{Bounds, Extras};
use crate::app::App;
use crate::bridge::{self, Intake, Keeper, Lines, ReplayError};
use crate::clock;
use crate::config::{Config, LogFormat};
use crate::directory::Directory;
use crate::engine::Engine;
use crate::files::FileError;
use crate::keys::{Signer, SignerError, TokenKeeper};
use crate::open_files::{self, Shares};
use crate::reload::{self, Reloader, Watch};
use crate::seal::{Vault, VaultError};
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreError};
use crate::writer;

/// Threads of the control plane. It waits most of the time; the engine has threads of its own.
const CONTROL_THREADS: usize = 2;

/// From the signal to the end, whatever happens.
const END_WITHIN: Duration = Duration::from_millis(4_800);

/// Its parts: running requests, notices in flight, connections and threads, the last write.
const REQUESTS_WITHIN: Duration = Duration::from_millis(500);
const DRAIN_WITHIN: Duration = Duration::from_millis(2_000);
const ENGINE_WITHIN: Duration = Duration::from_millis(1_000);
const FLUSH_WITHIN: Duration = Duration::from_millis(1_000);

/// Why the service could not start, in one line, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The API's port or certificate.
    #[error(transparent)]
    Api(#[from] ServerError),
    /// A certificate or key.
    #[error(transparent)]
    File(#[from] FileError),
    /// A signing key.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The key of sealed secrets.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine's journal.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The engine.
    #[error("the engine does not start: {0}")]
    Engine(StartError),
    /// The operating system.
    #[error("{0}")]
    System(std::io::Error),
}

/// Changes the level of the log.
pub struct LogLevel(Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>);

impl LogLevel {
    /// From now on. The level is one that the configuration has taken.
    ///
    /// # Errors
    /// When there is no log any more.
    pub fn set(&self, level: &str) -> Result<(), String> {
        (self.0)(EnvFilter::new(level))
    }
}

/// Starts the log, as the configuration says. Once in a process.
pub fn start_log(config: &Config) -> LogLevel {
    // The level was parsed when the configuration was read.
    let filter = EnvFilter::new(&config.log.level);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => {
            let log = log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
            let log = log.with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            LogLevel(Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())))
        }
        LogFormat::Json => {
            let log = log.json().with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            LogLevel(Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())))
        }
    }
}

/// Serves until SIGTERM or SIGINT; SIGHUP has the configuration read again. Prints `ready https://ADDRESS:PORT` on stdout once everything runs.
///
/// # Errors
/// [`ServeError`], before anything was served.
pub fn run(config: Config, log: LogLevel) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("carillon-control")
        .enable_all()
        .build()
        .map_err(ServeError::System)?;
    let served = runtime.block_on(async {
        let service = Service::start(Arc::new(config), log).await?;
        let mut stdout = std::io::stdout();
        // Whoever started us may not listen; that is no reason to end.
        let _ = writeln!(stdout, "ready https://{}", service.server.address()).and_then(|()| stdout.flush());
        service.signalled().await.map_err(ServeError::System)?;
        service.end().await;
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    served
}

/// The running service.
struct Service {
    server: Server,
    engine: EngineHandle,
    store: Arc<dyn Store>,
    keeper: Arc<Keeper>,
    drained: Arc<AtomicU64>,
    intake: std::thread::JoinHandle<()>,
}

impl Service {
    /// Everything that can be wrong is found before the first connection is made.
    async fn start(config: Arc<Config>, log: LogLevel) -> Result<Service, ServeError> {
        let limit = open_files::raise();
        // From here on SIGHUP does not end the process, and no later change of a file goes unseen.
        let hangup = signal(SignalKind::hangup()).map_err(ServeError::System)?;
        let mut watch = Watch::default();
        watch.set(reload::watched(&config));
        let bound = Bound::new(&config.api)?;
        let signers = config.teams.iter().map(Signer::load).collect::<Result<Vec<_>, _>>()?;
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&config.store.path).await?);
        let vault = Arc::new(Vault::open(&bridge::key_file(&config))?);
        let epoch = bridge::replay(&bridge::journal_dir(&config), &*store, clock::now().0).await?;
        let item_key = vault.item_key();
        let engine_config = bridge::engine_config(&config, item_key, epoch)?;
        let (engine, reports) = Shards::start(engine_config).map_err(ServeError::Engine)?;

        let face: Arc<dyn Engine> = Arc::new(engine.clone());
        let directory = Arc::new(Directory::new(config.exchange.len(), config.push.len()));
        let keeper = Keeper::new(store.clone(), face.clone(), directory.clone());
        let drained = Arc::new(AtomicU64::new(0));
        let (refusals, news) = TokenKeeper::refusals();
        let intake = Intake {
            config: config.clone(),
            directory: directory.clone(),
            keeper: keeper.clone(),
            refusals,
            epoch,
            drained: drained.clone(),
            lines: Lines::default(),
        };
        let intake = std::thread::Builder::new()
            .name("carillon-reports".to_owned())
            .spawn(move || intake.run(reports))
            .map_err(ServeError::System)?;

        let tokens = TokenKeeper::start(signers, store.clone(), face.clone(), vault).await?;
        let begin = Instant::now();
        let assigned = bridge::assign_all(&config, &*store, &*face, &directory).await?;
        tracing::info!(
            users = assigned.users,
            devices = assigned.devices,
            took_ms = begin.elapsed().as_millis() as u64,
            "users handed to the engine"
        );
        if assigned.devices_without_push > 0 || assigned.users_without_exchange > 0 {
            tracing::warn!(
                devices = assigned.devices_without_push,
                users = assigned.users_without_exchange,
                "some devices name a [[push]], or users an [[exchange]], that is not configured any more: they are \
                 kept, and not served"
            );
        }
        tokio::spawn(keeper.clone().run());
        tokio::spawn(keeper.clone().run_sync());
        tokio::spawn(tokens.run(news));
        let running = Config::clone(&config);
        let reloader =
            Reloader::new(running, engine.clone(), directory.clone(), bound.certificate(), log, watch);
        tokio::spawn(reloader.run(hangup));
        let app = App::start(config, store.clone(), face, directory);
        let extras = Extras { keeper: Some(keeper.clone()), item_key: Some(item_key) };
        let shares = Shares::new(limit, app.config(), engine.shards() as u64, app.directory().counts().users);
        shares.tell(limit);
        let bounds = Bounds { connections_max: shares.api as usize, ..Bounds::default() };
        let server = bound.serve(app, bounds, extras).map_err(ServeError::System)?;
        tracing::info!(address = %server.address(), shards = engine.shards(), "serving");
        Ok(Service { server, engine, store, keeper, drained, intake })
    }

    /// Waits for SIGTERM or SIGINT; a second one ends the process at once.
    async fn signalled(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "ending");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(1);
        });
        Ok(())
    }

    /// Drains and saves. What does not end in time is left to the journal: the next start takes it up.
    async fn end(self) {
        // A thread, so that it holds even if every task hangs.
        std::thread::spawn(|| {
            std::thread::sleep(END_WITHIN);
            tracing::warn!("ending took too long; what is left is up to the journal");
            std::process::exit(0);
        });
        self.server.stop(REQUESTS_WITHIN).await;
        let engine: &dyn Engine = &self.engine;
        let shards = self.engine.shards() as u64;
        let drain = async {
            writer::command(engine, Command::Drain).await;
            while self.drained.load(Ordering::Acquire) < shards {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(DRAIN_WITHIN, drain).await.is_err() {
            tracing::warn!("some pushes have no answer yet; their fate is settled at the next start");
        }
        let handle = self.engine.clone();
        let shut = tokio::task::spawn_blocking(move || {
            let shut = handle.shutdown(ENGINE_WITHIN);
            // With the last handle gone and the shards ended, the intake hears the last reports and ends too.
            if shut.is_ok() {
                let _ = self.intake.join();
            }
            shut
        });
        if let Ok(Err(still_running)) = shut.await {
            tracing::warn!(shards = still_running.shards, "some shards have not ended in time");
        }
        // A flush that is under way is waited for by the last one.
        self.keeper.end();
        let journal = self.engine.journal();
        let left_to_journal = || match &journal.trouble {
            None => "they stand in the journal, and the next start takes them up".to_owned(),
            Some(trouble) => {
                format!("the journal does not have all of them ({trouble}): mail may be told twice")
            }
        };
        let save = async {
            self.keeper.flush().await?;
            self.store.sync().await?;
            self.store.close().await
        };
        match tokio::time::timeout(FLUSH_WITHIN, save).await {
            Ok(Ok(())) => tracing::info!("ended, all saved"),
            Ok(Err(error)) => {
                tracing::error!(%error, "the last reports could not be stored; {}", left_to_journal())
            }
            Err(_elapsed) => {
                tracing::error!("the last reports could not be stored in time; {}", left_to_journal())
            }
        }
    }
}
