//! Writing the engine's reports behind: in batches, again and again while the store fails, and never in the way of a push.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carillon_core::shard::{Command, Trouble};

use super::pending::Pending;
use crate::directory::Directory;
use crate::engine::Engine;
use crate::store::{RemovedDevice, Store, StoreError};
use crate::writer;

/// Pause between two batches. What a loss of power may take is this, and [`SYNC_EVERY`].
const BATCH_EVERY: Duration = Duration::from_millis(250);

/// The longest pause after failures.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// How often what is committed is brought onto the disk.
const SYNC_EVERY: Duration = Duration::from_millis(500);

/// The keeper's own numbers.
#[derive(Debug, Default)]
pub struct KeeperStats {
    /// Batches stored.
    pub batches: AtomicU64,
    /// Batches that could not be stored at the first try.
    pub failures: AtomicU64,
    /// Rows that wait, as of the last look.
    pub waiting: AtomicU64,
}

/// Shared by the one who hears reports and the task that stores them.
pub struct Keeper {
    pending: Mutex<Pending>,
    store: Arc<dyn Store>,
    engine: Arc<dyn Engine>,
    directory: Arc<Directory>,
    ending: AtomicBool,
    /// One flush at a time: what one has taken is not yet stored when another finds nothing.
    flushing: tokio::sync::Mutex<()>,
    /// What is stored cannot be brought onto the disk. A batch that is stored does not end that trouble.
    sync_fails: AtomicBool,
    stats: KeeperStats,
}

impl Keeper {
    /// Nothing waits yet.
    pub fn new(store: Arc<dyn Store>, engine: Arc<dyn Engine>, directory: Arc<Directory>) -> Arc<Keeper> {
        Arc::new(Keeper {
            pending: Mutex::default(),
            store,
            engine,
            directory,
            ending: AtomicBool::new(false),
            flushing: tokio::sync::Mutex::new(()),
            sync_fails: AtomicBool::new(false),
            stats: KeeperStats::default(),
        })
    }

    /// Lets `add` put reports to those that wait.
    pub fn add(&self, add: impl FnOnce(&mut Pending)) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut pending);
        self.stats.waiting.store(pending.rows() as u64, Ordering::Relaxed);
    }

    /// Its numbers.
    pub fn stats(&self) -> &KeeperStats {
        &self.stats
    }

    /// Stores what waits, again and again, until [`Keeper::end`].
    pub async fn run(self: Arc<Keeper>) {
        let mut pause = BATCH_EVERY;
        while !self.ending.load(Ordering::Acquire) {
            tokio::time::sleep(pause).await;
            pause = match self.turn().await {
                Ok(()) => BATCH_EVERY,
                Err(_told) => (pause * 2).min(RETRY_MAX),
            };
        }
    }

    /// Stores what waits, and looks after the journal.
    async fn turn(&self) -> Result<(), StoreError> {
        let flushed = self.flush().await;
        self.look_at_journal();
        flushed
    }

    /// Brings commits onto the disk, until [`Keeper::end`].
    pub async fn run_sync(self: Arc<Keeper>) {
        while !self.ending.load(Ordering::Acquire) {
            tokio::time::sleep(SYNC_EVERY).await;
            self.sync().await;
        }
    }

    async fn sync(&self) {
        let synced = self.store.sync().await;
        self.sync_fails.store(synced.is_err(), Ordering::Release);
        if let Err(error) = synced {
            self.trouble(&error);
        }
    }

    /// The tasks end at their next turn.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Stores what waits now. On an error it waits on.
    ///
    /// # Errors
    /// The store's; told to the log and the directory already.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let _one = self.flushing.lock().await;
        let mut taken = Pending::default();
        self.add(|pending| std::mem::swap(pending, &mut taken));
        if taken.is_empty() {
            return self.probe_in_trouble().await;
        }
        for batch in taken.batches() {
            match self.store.save(&batch).await {
                Ok(removed) => {
                    self.stats.batches.fetch_add(1, Ordering::Relaxed);
                    self.well();
                    for position in &batch.positions {
                        self.engine.stored(position.shard, position.seq);
                    }
                    for removed in removed {
                        self.removed(removed).await;
                    }
                }
                Err(error) => {
                    self.stats.failures.fetch_add(1, Ordering::Relaxed);
                    self.add(|pending| {
                        let newer = std::mem::replace(pending, taken);
                        pending.extend(newer);
                    });
                    self.trouble(&error);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Without anything to store, a trouble would last for ever: the store is asked how it does.
    async fn probe_in_trouble(&self) -> Result<(), StoreError> {
        if self.directory.store_trouble().is_none() {
            return Ok(());
        }
        match self.store.probe().await {
            Ok(()) => {
                self.well();
                Ok(())
            }
            Err(error) => {
                self.trouble(&error);
                Err(error)
            }
        }
    }

    async fn removed(&self, RemovedDevice { user, device, last }: RemovedDevice) {
        tracing::info!(
            device = device.0,
            "the provider says that a device is gone; its registration was removed"
        );
        self.directory.add_devices(-1);
        if last {
            self.directory.remove_user(user);
            writer::command(&*self.engine, Command::DropUser { user }).await;
        }
    }

    fn trouble(&self, error: &StoreError) {
        let trouble = Trouble { code: "store".into(), text: error.to_string().into() };
        if self.directory.set_store_trouble(Some(trouble)) {
            let meanwhile = match self.directory.journal_trouble() {
                None => "waits in memory and, while it has room for it, in the journal",
                Some(_) => {
                    "waits in memory alone: if the process ends before the store works again, mail is told twice"
                }
            };
            tracing::error!(%error, "the store fails; pushes go on, and what they change {meanwhile}");
        }
    }

    fn well(&self) {
        if !self.sync_fails.load(Ordering::Acquire) && self.directory.set_store_trouble(None) {
            tracing::info!("the store works again");
        }
    }

    /// Says when the journal cannot keep what must survive, and when it can again.
    fn look_at_journal(&self) {
        let found = self.engine.journal().trouble;
        let trouble = found.map(|text| Trouble { code: "journal".into(), text: text.into() });
        let before = self.directory.journal_trouble();
        if !self.directory.set_journal_trouble(trouble.clone()) {
            return;
        }
        match trouble {
            // Other words for the same trouble are no news for the log.
            Some(_) if before.is_some() => {}
            Some(Trouble { text, .. }) => tracing::error!(
                "the engine's journal cannot keep everything: {text}. Pushes go on; what is neither in it nor in the store \
                 when the process ends is told twice. To do: make room on the disk of the database, or see to the store"
            ),
            None => tracing::info!("the engine's journal keeps everything again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use carillon_core::names::UserKey;
    use carillon_core::shard::{NoticeRecord, Report};
    use carillon_core::time::UnixMillis;
    use carillon_engine::Engine as Shards;
    use sqlx::{ConnectOptions, Executor};

    use super::*;
    use crate::bridge::{self, setup};
    use crate::engine::JournalStats;
    use crate::store::sqlite::SqliteStore;
    use crate::testing::{self, FailingStore, FakeEngine};

    fn noticed(unread: u32) -> Report {
        let notices = NoticeRecord { unread: Some(unread), ..NoticeRecord::default() };
        Report::Noticed { user: UserKey(1), notices }
    }

    #[tokio::test]
    async fn while_the_store_fails_reports_wait_and_the_trouble_shows_and_then_the_last_word_is_stored() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.db");
        let store = Arc::new(SqliteStore::open(&file).await.unwrap());
        store.write(&[testing::register("jane", "p1", 1)]).await.unwrap();
        let config = testing::config(dir.path());
        let mut engine = setup::engine_config(&config, [0; 16], 5).unwrap();
        engine.journal_dir = Some(bridge::journal_dir(&config));
        engine.shards = 1;
        let (engine, _reports) = Shards::start(engine).unwrap();
        let directory = Arc::new(Directory::new(1, 1));
        let keeper = Keeper::new(store.clone(), Arc::new(engine.clone()), directory.clone());

        let mut stranger = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
        stranger.execute("BEGIN EXCLUSIVE").await.unwrap();
        keeper.add(|pending| {
            pending.absorb(&noticed(1), Some(UnixMillis(0)));
            pending.reached(5, 0, 1);
        });
        assert!(matches!(keeper.flush().await, Err(StoreError::Locked(_))));
        assert!(directory.store_trouble().unwrap().text.contains("locked by another process"));
        assert_eq!(keeper.stats().waiting.load(Ordering::Relaxed), 1);
        keeper.add(|pending| {
            pending.absorb(&noticed(2), Some(UnixMillis(0)));
            pending.reached(5, 0, 2);
        });
        stranger.execute("ROLLBACK").await.unwrap();
        keeper.flush().await.unwrap();

        assert!(directory.store_trouble().is_none());
        assert_eq!(keeper.stats().failures.load(Ordering::Relaxed), 1);
        assert_eq!(store.page(UserKey(0), 1).await.unwrap()[0].notices.unread, Some(2));
        assert_eq!(store.positions().await.unwrap()[0].seq, 2);
        engine.shutdown(Duration::from_secs(2)).unwrap();
    }

    struct Parts {
        _dir: tempfile::TempDir,
        store: Arc<FailingStore>,
        engine: Arc<FakeEngine>,
        directory: Arc<Directory>,
        keeper: Arc<Keeper>,
    }

    async fn parts() -> Parts {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(FailingStore::open(dir.path()).await);
        let engine = Arc::new(FakeEngine::default());
        let directory = Arc::new(Directory::new(1, 1));
        let keeper = Keeper::new(store.clone(), engine.clone(), directory.clone());
        Parts { _dir: dir, store, engine, directory, keeper }
    }

    #[tokio::test]
    async fn the_journal_lets_go_of_nothing_before_it_is_stored() {
        let Parts { store, engine, keeper, _dir, .. } = parts().await;
        store.set_full(true);
        for seq in 1..4 {
            keeper.add(|pending| {
                pending.absorb(&noticed(1), Some(UnixMillis(0)));
                pending.reached(5, 0, seq);
                pending.reached(5, 1, 10 * seq);
            });
            keeper.flush().await.unwrap_err();
            assert_eq!(engine.was_stored(), []);
        }
        store.set_full(false);
        keeper.flush().await.unwrap();
        assert_eq!(engine.was_stored(), [(0, 3), (1, 30)]);
    }

    #[tokio::test]
    async fn a_store_that_fails_once_and_has_nothing_to_do_afterwards_is_well_again() {
        let Parts { store, directory, keeper, _dir, .. } = parts().await;
        store.set_full(true);
        keeper.add(|pending| pending.absorb(&noticed(1), Some(UnixMillis(0))));
        keeper.flush().await.unwrap_err();
        store.set_full(false);
        keeper.flush().await.unwrap();
        assert!(directory.store_trouble().is_none());

        // What cannot be brought onto the disk is no less stored, and no batch makes up for it.
        *store.sync_fails.lock().unwrap() = Some(StoreError::Failed("no descriptor".to_owned()));
        keeper.sync().await;
        assert!(directory.store_trouble().is_some());
        keeper.add(|pending| pending.absorb(&noticed(2), Some(UnixMillis(0))));
        keeper.flush().await.unwrap();
        assert!(directory.store_trouble().is_some(), "nothing has become of that");
        *store.sync_fails.lock().unwrap() = None;
        keeper.sync().await;
        keeper.flush().await.unwrap();
        assert!(directory.store_trouble().is_none());
        // Whoever else finds the store in trouble need not have anything for it when it is well again.
        directory.set_store_trouble(Some(Trouble { code: "store".into(), text: "locked".into() }));
        store.set_full(true);
        keeper.flush().await.unwrap_err();
        store.set_full(false);
        keeper.flush().await.unwrap();
        assert!(directory.store_trouble().is_none());
    }

    #[tokio::test]
    async fn a_journal_in_trouble_shows_and_so_does_its_end() {
        let Parts { engine, directory, keeper, _dir, .. } = parts().await;
        keeper.turn().await.unwrap();
        assert!(directory.journal_trouble().is_none());
        let trouble = Some("No space left on device (os error 28)".to_owned());
        engine.set_journal(JournalStats { trouble, ..JournalStats::default() });
        keeper.turn().await.unwrap();
        let shown = directory.journal_trouble().unwrap();
        assert_eq!((&*shown.code, &*shown.text), ("journal", "No space left on device (os error 28)"));
        engine.set_journal(JournalStats::default());
        keeper.turn().await.unwrap();
        assert!(directory.journal_trouble().is_none());
    }
}
