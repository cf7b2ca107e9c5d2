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
use crate::audit_log;
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
    /// Who asks, for the log.
    by: Arc<str>,
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

    /// Does `writes`, for which `by` asks, in one transaction, which others may share. One answer each.
    pub async fn write(&self, by: &Arc<str>, writes: Vec<Write>) -> Result<Vec<Wrote>, AppError> {
        let (answer, wait) = oneshot::channel();
        self.jobs.try_send(Job { by: by.clone(), writes, answer }).map_err(|error| match error {
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
                let askers =
                    jobs.iter().zip(&counts).flat_map(|(job, count)| std::iter::repeat_n(&job.by, *count));
                for (by, one) in askers.zip(&wrote) {
                    audit_log::note(by, one);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserId;
    use crate::store::sqlite::SqliteStore;
    use crate::testing::{self, FakeEngine};

    async fn parts(
        dir: &tempfile::TempDir,
        engine: Arc<FakeEngine>,
    ) -> (Writer, Arc<SqliteStore>, Arc<Directory>) {
        let store = Arc::new(SqliteStore::open(&dir.path().join("a.db")).await.unwrap());
        let directory = Arc::new(Directory::new(1, 1));
        let writer =
            Writer::start(Arc::new(testing::config(dir.path())), store.clone(), engine, directory.clone());
        (writer, store, directory)
    }

    fn by() -> Arc<str> {
        "test".into()
    }

    fn kinds(engine: &FakeEngine) -> Vec<&'static str> {
        engine
            .taken()
            .iter()
            .map(|command| match command {
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
            })
            .collect()
    }

    #[tokio::test]
    async fn the_engine_hears_of_each_change_in_order_also_when_it_was_busy() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Arc::new(FakeEngine::busy(5));
        let (writer, _, directory) = parts(&dir, engine.clone()).await;
        let user = UserId::parse("jane").unwrap();
        writer.write(&by(), vec![testing::register("jane", "p1", 1)]).await.unwrap();
        writer.write(&by(), vec![testing::register("jane", "p1", 1)]).await.unwrap();
        writer.write(&by(), vec![testing::register("bob", "p1", 1)]).await.unwrap();
        writer.write(&by(), vec![Write::StopUser { user: user.clone() }]).await.unwrap();
        writer.write(&by(), vec![Write::RemoveUser { user: UserId::parse("bob").unwrap() }]).await.unwrap();
        assert_eq!(kinds(&engine), ["assign", "register", "register", "drop", "assign", "register", "drop"]);
        let counts = directory.counts();
        assert_eq!((counts.users, counts.devices), (0, 0));
    }

    #[tokio::test]
    async fn callers_who_come_at_once_share_transactions_and_each_gets_his_own_answer() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, store, directory) = parts(&dir, Arc::new(FakeEngine::default())).await;
        let writer = Arc::new(writer);
        let callers: Vec<_> = (0..500)
            .map(|at| {
                let writer = writer.clone();
                tokio::spawn(async move {
                    let user = format!("u{at}");
                    let wrote = writer.write(&by(), vec![testing::register(&user, "p", at)]).await.unwrap();
                    let [Wrote::Registered(row)] = wrote.as_slice() else { panic!("{wrote:?}") };
                    (user, row.user)
                })
            })
            .collect();
        for caller in callers {
            let (user, key) = caller.await.unwrap();
            let row = store.user(&UserId::parse(&user).unwrap()).await.unwrap().unwrap();
            assert_eq!(row.key, key);
        }
        assert_eq!(directory.counts().users, 500);
    }

    #[tokio::test]
    async fn a_store_that_fails_fails_its_callers_and_works_again_later() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Arc::new(FakeEngine::default());
        let (writer, store, _) = parts(&dir, engine.clone()).await;
        store.close().await.unwrap();
        let error = writer.write(&by(), vec![testing::register("jane", "p1", 1)]).await.unwrap_err();
        assert!(matches!(error, AppError::Store(_)), "{error:?}");
        assert!(engine.taken().is_empty());
    }

    /// What is logged at `info`, as JSON.
    #[derive(Clone, Default)]
    struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn each_change_leaves_a_line_with_the_name_of_who_asked_for_it_and_no_address_or_token() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, ..) = parts(&dir, Arc::new(FakeEngine::default())).await;
        let lines = Lines::default();
        let log = lines.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || log.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let (east, ops): (Arc<str>, Arc<str>) = ("east".into(), "ops".into());
        let moved = |mut write: Write| {
            if let Write::Register(register) = &mut write {
                register.address = carillon_core::names::SmtpAddress::parse("ceo@example.com").unwrap();
            }
            write
        };
        let jane = UserId::parse("jane").unwrap();
        for (by, write) in [
            (&east, testing::register("jane", "p1", 1)),
            (&east, testing::register("jane", "p1", 1)),
            (&east, testing::register("jane", "p2", 2)),
            (&east, moved(testing::register("jane", "p1", 1))),
            (&east, testing::register("mallory", "x", 2)),
            (&ops, Write::StopUser { user: jane.clone() }),
            (&ops, Write::StopUser { user: jane.clone() }),
            (
                &ops,
                Write::RemoveDevice {
                    user: jane.clone(),
                    device: crate::ids::DeviceId::parse("p1").unwrap(),
                },
            ),
            (&ops, Write::RemoveUser { user: UserId::parse("mallory").unwrap() }),
            (&ops, Write::RemoveUser { user: jane.clone() }),
        ] {
            writer.write(by, vec![write]).await.unwrap();
        }
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let told: Vec<String> = text
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let of = |name: &str| line["fields"][name].to_string().replace('"', "");
                format!(
                    "{} {} {} {} from {}",
                    of("by"),
                    of("change"),
                    of("user"),
                    of("device"),
                    of("from_user")
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "east new_user 1 1 from null",
                "east new_device 1 2 from null",
                "east new_address 1 1 from null",
                "east token_changed_hands 2 3 from 1",
                "east new_user 2 3 from null",
                "ops stopped 1 null from null",
                "ops device_removed 1 1 from null",
                "ops user_removed 2 null from null",
            ]
        );
        for secret in ["jane", "mallory", "ceo", "example.com", "0000000000000002"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
}
