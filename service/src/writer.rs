//! Group commit: many callers share one transaction.
//!
//! While one transaction runs, the next callers gather; so the cost of a commit is shared by all who came during the one
//! before, and a lone caller waits for nobody. After the commit the engine is told, in the order of the commits, and only
//! then does a caller get his answer.

use std::sync::Arc;
use std::time::Duration;

use carillon_core::shard::Command;
use tokio::sync::{mpsc, oneshot};

use crate::app::AppError;
use crate::bridge;
use crate::config::Config;
use crate::directory::Directory;
use crate::engine::{Engine, Refused};
use crate::store::{RemovedDevice, Store, StoreError, Write, Wrote};

/// Callers that may wait at one time; more are refused. Bounds the memory of waiting registrations (about 1 KiB each).
const WAITING_MAX: usize = 4_096;

/// Writes in one transaction: some ten milliseconds of work, so that a lone caller never waits much longer.
const TRANSACTION_WRITES_MAX: usize = 1_024;

/// Pause before a command that the engine was too busy for is offered again.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// The one who writes what callers ask for.
pub struct Writer {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    writes: Vec<Write>,
    answer: oneshot::Sender<Result<Vec<Wrote>, StoreError>>,
}

impl Writer {
    /// Starts the task.
    pub fn start(
        config: Arc<Config>,
        store: Arc<dyn Store>,
        engine: Arc<dyn Engine>,
        directory: Arc<Directory>,
    ) -> Writer {
        let (jobs, inbox) = mpsc::channel(WAITING_MAX);
        tokio::spawn(Task { config, store, engine, directory }.run(inbox));
        Writer { jobs }
    }

    /// Does `writes` in one transaction, which others may share. One answer each.
    pub async fn write(&self, writes: Vec<Write>) -> Result<Vec<Wrote>, AppError> {
        let (answer, wait) = oneshot::channel();
        self.jobs.try_send(Job { writes, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => AppError::Ending,
        })?;
        Ok(wait.await.map_err(|_| AppError::Ending)??)
    }
}

struct Task {
    config: Arc<Config>,
    store: Arc<dyn Store>,
    engine: Arc<dyn Engine>,
    directory: Arc<Directory>,
}

impl Task {
    async fn run(self, mut inbox: mpsc::Receiver<Job>) {
        while let Some(first) = inbox.recv().await {
            let mut jobs = vec![first];
            let mut count = jobs[0].writes.len();
            while count < TRANSACTION_WRITES_MAX
                && let Ok(job) = inbox.try_recv()
            {
                count += job.writes.len();
                jobs.push(job);
            }
            self.commit(jobs).await;
        }
    }

    async fn commit(&self, mut jobs: Vec<Job>) {
        let counts: Vec<usize> = jobs.iter().map(|job| job.writes.len()).collect();
        let batch: Vec<Write> = jobs.iter_mut().flat_map(|job| job.writes.drain(..)).collect();
        match self.store.write(&batch).await {
            Ok(wrote) => {
                for one in &wrote {
                    self.tell(one).await;
                }
                let mut wrote = wrote.into_iter();
                for (job, count) in jobs.into_iter().zip(counts) {
                    // A caller that went away has lost his interest, not his change.
                    let _ = job.answer.send(Ok(wrote.by_ref().take(count).collect()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, changes = batch.len(), "the store refused changes; their callers were told");
                for job in jobs {
                    let _ = job.answer.send(Err(error.clone()));
                }
            }
        }
    }

    async fn tell(&self, wrote: &Wrote) {
        match wrote {
            Wrote::Registered(row) => {
                for removed in &row.removed {
                    self.tell_removed(*removed).await;
                }
                self.directory.add_devices(i64::from(row.new_device));
                if let Some(assign) = &row.assign {
                    self.directory.add_user(assign.key);
                    let command = Command::AssignUser(Box::new(bridge::assign_user(&self.config, assign)));
                    self.command(command).await;
                }
                if let Some(device) = bridge::device_spec(&self.config, &row.device) {
                    let command = Command::RegisterDevice { user: row.user, device: Box::new(device) };
                    self.command(command).await;
                }
            }
            Wrote::Touched { user, device, at } => {
                self.command(Command::TouchDevice { user: *user, device: *device, at: *at }).await;
            }
            Wrote::DeviceRemoved { user, device, last } => {
                self.tell_removed(RemovedDevice { user: *user, device: *device, last: *last }).await;
            }
            Wrote::Stopped { user, already: _ } => {
                self.command(Command::StopUser { user: *user }).await;
            }
            Wrote::UserRemoved { user, devices } => {
                self.directory.add_devices(-i64::from(*devices));
                self.directory.remove_user(*user);
                self.command(Command::DropUser { user: *user }).await;
            }
            Wrote::NotFound => {}
        }
    }

    async fn tell_removed(&self, RemovedDevice { user, device, last }: RemovedDevice) {
        self.directory.add_devices(-1);
        if last {
            self.directory.remove_user(user);
            self.command(Command::DropUser { user }).await;
        } else {
            self.command(Command::RemoveDevice { user, device }).await;
        }
    }

    async fn command(&self, command: Command) {
        self::command(&*self.engine, command).await;
    }
}

/// Hands the engine a command, and waits for room in its queue. Without effect when the engine has ended: it then
/// learns from the store at the next start.
pub async fn command(engine: &dyn Engine, command: Command) {
    while let Err(refused) = engine.command(command.clone()) {
        match refused {
            Refused::Busy => tokio::time::sleep(BUSY_PAUSE).await,
            Refused::Stopped => return,
        }
    }
}
