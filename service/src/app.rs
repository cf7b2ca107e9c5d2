//! What all parts of the running service share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use carillon_core::shard::Trouble;
use carillon_core::time::UnixMillis;

use crate::auth::Auth;
use crate::config::Config;
use crate::directory::Directory;
use crate::engine::Engine;
use crate::ids::{DeviceId, UserId};
use crate::store::{RegisterWrite, RegisteredRow, Store, StoreError, UserRow, Write, Wrote};
use crate::writer::Writer;

/// The running service: shared by the API, the bridge to the engine and the tasks in the background.
///
/// Its verbs are durable before they answer, and the engine has heard of them by then. `by` is who asks, for the log.
pub struct App {
    config: Arc<Config>,
    store: Arc<dyn Store>,
    engine: Arc<dyn Engine>,
    directory: Arc<Directory>,
    auth: Auth,
    writer: Writer,
    started: Instant,
    store_told: Mutex<Option<Instant>>,
}

/// The least time between two log lines about callers whom the store failed.
const STORE_TOLD_EVERY: Duration = Duration::from_secs(10);

/// Why a verb was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppError {
    /// The store could not do it. Nothing was changed; the caller may try again.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// More callers wait for the store than it can serve. The caller may try again in a second.
    #[error("too many changes are waiting for the store")]
    Overloaded,
    /// The service is ending.
    #[error("the service is ending")]
    Ending,
}

impl App {
    /// Brings the parts together and starts the writer. To be called within a tokio runtime.
    pub fn start(
        config: Arc<Config>,
        store: Arc<dyn Store>,
        engine: Arc<dyn Engine>,
        directory: Arc<Directory>,
    ) -> Arc<App> {
        let auth = Auth::new(&config.api.tokens);
        let writer = Writer::start(config.clone(), store.clone(), engine.clone(), directory.clone());
        Arc::new(App {
            config,
            store,
            engine,
            directory,
            auth,
            writer,
            started: Instant::now(),
            store_told: Mutex::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The engine.
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// Who is live, and what is in trouble.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The store, for reading.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Who may call the API.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// When the service started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Adds or refreshes devices, all or none. One answer each, in order.
    pub async fn register(
        &self,
        by: &Arc<str>,
        batch: Vec<RegisterWrite>,
    ) -> Result<Vec<RegisteredRow>, AppError> {
        let writes = batch.into_iter().map(|one| Write::Register(Box::new(one))).collect();
        let wrote = self.told(self.writer.write(by, writes).await)?;
        Ok(wrote
            .into_iter()
            .filter_map(|one| match one {
                Wrote::Registered(row) => Some(*row),
                Wrote::Touched { .. }
                | Wrote::DeviceRemoved { .. }
                | Wrote::Stopped { .. }
                | Wrote::UserRemoved { .. }
                | Wrote::NotFound => None,
            })
            .collect())
    }

    /// Notes that a device's app was used. False: there is no such device.
    pub async fn touch_device(
        &self,
        by: &Arc<str>,
        user: UserId,
        device: DeviceId,
        at: UnixMillis,
    ) -> Result<bool, AppError> {
        self.one(by, Write::Touch { user, device, at }).await
    }

    /// Removes a device, and with his last one the user. False: there is no such device.
    pub async fn remove_device(
        &self,
        by: &Arc<str>,
        user: UserId,
        device: DeviceId,
    ) -> Result<bool, AppError> {
        self.one(by, Write::RemoveDevice { user, device }).await
    }

    /// Stops all notifications of a user: each device gets nothing until it registers again. False: there is no such user.
    pub async fn stop_user(&self, by: &Arc<str>, user: UserId) -> Result<bool, AppError> {
        self.one(by, Write::StopUser { user }).await
    }

    /// Removes a user with all his devices. False: there is no such user.
    pub async fn remove_user(&self, by: &Arc<str>, user: UserId) -> Result<bool, AppError> {
        self.one(by, Write::RemoveUser { user }).await
    }

    /// One user with his devices.
    pub async fn read_user(&self, user: &UserId) -> Result<Option<UserRow>, AppError> {
        self.told(self.store.user(user).await.map_err(AppError::from))
    }

    /// Says in the log what a caller is not told: which file failed, and why.
    fn told<T>(&self, result: Result<T, AppError>) -> Result<T, AppError> {
        if let Err(AppError::Store(error)) = &result {
            let mut last = self.store_told.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_none_or(|at| at.elapsed() >= STORE_TOLD_EVERY) {
                *last = Some(Instant::now());
                tracing::error!(%error, "the store fails; API requests are refused, and pushes go on");
                // Where no mail comes, nobody else would find out. It ends when the store can be written again, which says
                // nothing of what is damaged elsewhere in the file.
                if !matches!(error, StoreError::Damaged(_)) {
                    let trouble = Trouble { code: "store".into(), text: error.to_string().into() };
                    self.directory.set_store_trouble(Some(trouble));
                }
            }
        }
        result
    }

    async fn one(&self, by: &Arc<str>, write: Write) -> Result<bool, AppError> {
        let wrote = self.told(self.writer.write(by, vec![write]).await)?;
        Ok(!matches!(wrote.as_slice(), [Wrote::NotFound]))
    }
}
