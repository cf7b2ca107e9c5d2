//! What tests of several parts share.

use std::path::Path;
use std::sync::Mutex;

use carillon_core::names::{DeviceToken, SmtpAddress, Topic, UserKey};
use carillon_core::shard::{Command, DeviceSettings};
use carillon_core::time::UnixMillis;

use crate::config::Config;
use crate::engine::{Engine, JournalStats, Numbers, Refused};
use crate::ids::{DeviceId, UserId};
use crate::store::sqlite::SqliteStore;
use crate::store::{
    Answer, Keep, Position, RegisterWrite, RemovedDevice, Store, StoreError, TokenRow, UserRow, Write, Wrote,
};

/// When [`register`] registers.
pub(crate) const REGISTERED: UnixMillis = UnixMillis(1_700_000_000_000);

/// An engine that only remembers what it was told.
#[derive(Default)]
pub(crate) struct FakeEngine {
    taken: Mutex<Vec<Command>>,
    busy: Mutex<u32>,
    stored: Mutex<Vec<(u16, u64)>>,
    journal: Mutex<JournalStats>,
}

impl FakeEngine {
    /// It is busy for so many commands first.
    pub(crate) fn busy(times: u32) -> FakeEngine {
        FakeEngine { busy: Mutex::new(times), ..FakeEngine::default() }
    }

    pub(crate) fn taken(&self) -> Vec<Command> {
        self.taken.lock().unwrap().clone()
    }

    /// What it was told to be stored.
    pub(crate) fn was_stored(&self) -> Vec<(u16, u64)> {
        self.stored.lock().unwrap().clone()
    }

    pub(crate) fn set_journal(&self, journal: JournalStats) {
        *self.journal.lock().unwrap() = journal;
    }
}

impl Engine for FakeEngine {
    fn command(&self, command: Command) -> Result<(), Refused> {
        let mut busy = self.busy.lock().unwrap();
        if *busy > 0 {
            *busy -= 1;
            return Err(Refused::Busy);
        }
        self.taken.lock().unwrap().push(command);
        Ok(())
    }

    fn numbers(&self) -> Numbers {
        Numbers::default()
    }

    fn is_running(&self) -> bool {
        true
    }

    fn stored(&self, shard: u16, seq: u64) {
        self.stored.lock().unwrap().push((shard, seq));
    }

    fn journal(&self) -> JournalStats {
        self.journal.lock().unwrap().clone()
    }
}

/// A store that can be made to fail.
pub(crate) struct FailingStore {
    pub(crate) inner: SqliteStore,
    /// What every write answers, until it is taken away.
    pub(crate) fails: Mutex<Option<StoreError>>,
    /// As `fails`, for [`Store::sync`].
    pub(crate) sync_fails: Mutex<Option<StoreError>>,
}

impl FailingStore {
    pub(crate) async fn open(dir: &Path) -> FailingStore {
        let inner = SqliteStore::open(&dir.join("a.db")).await.unwrap();
        FailingStore { inner, fails: Mutex::default(), sync_fails: Mutex::default() }
    }

    pub(crate) fn set_full(&self, full: bool) {
        *self.fails.lock().unwrap() = full.then(|| StoreError::Full("no room on the disk".to_owned()));
    }

    fn first<'a, T: Send + 'a>(&self, answer: Answer<'a, T>) -> Answer<'a, T> {
        let fails = self.fails.lock().unwrap().clone();
        Box::pin(async move {
            match fails {
                Some(error) => Err(error),
                None => answer.await,
            }
        })
    }
}

impl Store for FailingStore {
    fn write<'a>(&'a self, batch: &'a [Write]) -> Answer<'a, Vec<Wrote>> {
        self.first(self.inner.write(batch))
    }

    fn save<'a>(&'a self, batch: &'a Keep) -> Answer<'a, Vec<RemovedDevice>> {
        self.first(self.inner.save(batch))
    }

    fn user<'a>(&'a self, id: &'a UserId) -> Answer<'a, Option<UserRow>> {
        self.inner.user(id)
    }

    fn page(&self, after: UserKey, limit: u32) -> Answer<'_, Vec<UserRow>> {
        self.inner.page(after, limit)
    }

    fn positions(&self) -> Answer<'_, Vec<Position>> {
        self.inner.positions()
    }

    fn forget_positions(&self) -> Answer<'_, ()> {
        self.first(self.inner.forget_positions())
    }

    fn team_token<'a>(&'a self, team_id: &'a str, key_id: &'a str) -> Answer<'a, Option<TokenRow>> {
        self.inner.team_token(team_id, key_id)
    }

    fn put_team_token<'a>(&'a self, token: &'a TokenRow) -> Answer<'a, ()> {
        self.first(self.inner.put_team_token(token))
    }

    fn probe(&self) -> Answer<'_, ()> {
        self.first(self.inner.probe())
    }

    fn sync(&self) -> Answer<'_, ()> {
        let fails = self.sync_fails.lock().unwrap().clone();
        Box::pin(async move { fails.map_or(Ok(()), Err) })
    }

    fn close(&self) -> Answer<'_, ()> {
        self.inner.close()
    }
}

/// A registration with the push service and Exchange of [`config`].
pub(crate) fn register(user: &str, device: &str, token: u64) -> Write {
    Write::Register(Box::new(RegisterWrite {
        user: UserId::parse(user).unwrap(),
        device: DeviceId::parse(device).unwrap(),
        address: SmtpAddress::parse(&format!("{user}@example.com")).unwrap(),
        exchange: Some("main".into()),
        grouping: Some("".into()),
        vip: None,
        folders: None,
        push: "apns".into(),
        token: DeviceToken::parse(&format!("{token:016x}")).unwrap(),
        topic: Topic::parse("com.example.mail").unwrap(),
        registered: REGISTERED,
        active: REGISTERED,
        settings: DeviceSettings::default(),
        revives: true,
    }))
}

/// One Exchange and one push service, in `dir`.
pub(crate) fn config(dir: &Path) -> Config {
    let text = r#"
        [api]
        cert_file = "api.crt"
        key_file = "api.key"
        gateway_token_env = "GATEWAY"
        admin_token_env = "ADMIN"
        [store]
        path = "a.db"
        [[exchange]]
        name = "main"
        url = "https://127.0.0.1:9"
        user = "svc"
        password_env = "PASSWORD"
        [[push]]
        name = "apns"
        url = "https://127.0.0.1:9"
        topics = ["com.example.mail"]
        key_file = "key.p8"
        key_id = "ABCDE12345"
        team_id = "TEAM123456"
    "#;
    Config::parse(&dir.join("carillon.toml"), text, &|name| Some(format!("{name}-0123456789abcdef"))).unwrap()
}
