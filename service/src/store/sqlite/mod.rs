//! SQLite behind the store's face: one file, one writing connection, a few reading ones.
//!
//! Write-ahead log with `synchronous = NORMAL`: a commit is one `write()` into the log, which outlives the process;
//! [`Store::sync`] brings the log onto the disk, once a second.

pub mod columns;
mod keep;
mod migrations;
mod newcomers;
mod rows;
mod write;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use carillon_core::names::UserKey;
use carillon_core::time::UnixMillis;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use tokio::sync::Mutex;

use super::{Answer, Keep, Position, Store, StoreError, TokenRow, UserRow, Write, Wrote};
use crate::ids::UserId;
use crate::private;

/// How long a lock that another process holds is waited for.
const BUSY_TIME: Duration = Duration::from_secs(2);

/// Connections for reading: the API's reads are single rows.
const READERS: u32 = 2;

/// Files up to this length are checked whole at start (some 10 ms for 10,000 users). Longer ones would hold up the
/// start for seconds; damage in them shows when it is read.
const CHECKED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Rows that SQLite's thread reads ahead of whoever takes them: at a start, all users are read.
const ROWS_AHEAD: usize = 1_024;

/// Pages (4 KiB) of the write-ahead log from which on they are moved into the file. Tokens are random, so that many
/// registrations touch as many pages of their index: the longer the log, the more often one page takes several of them.
const LOG_PAGES: &str = "8000";

/// What the writing connection and each reading one keep of the file in memory at most; negative: in KiB.
const WRITER_CACHE: &str = "-8192";
const READER_CACHE: &str = "-2048";

/// Rows in one statement that writes many. With one row each, most of the time would go to handing statements to SQLite's
/// thread and back.
const STATEMENT_ROWS: usize = 64;

/// A SQLite file.
pub struct SqliteStore {
    file: PathBuf,
    options: SqliteConnectOptions,
    writer: Mutex<Writer>,
    readers: SqlitePool,
    _lock: File,
}

/// The one connection that writes.
enum Writer {
    /// It has no transaction open.
    Open(SqliteConnection),
    /// A transaction failed on it, so it was dropped: SQLite ends some transactions by itself (a full disk, an I/O error),
    /// and the connection and SQLite then disagree about whether one is open. The next transaction opens another.
    Dropped,
    /// The use of the store has ended.
    Closed,
}

impl SqliteStore {
    /// Opens the database at `file`, makes it if it is not there, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError`], as one line that names the file.
    pub async fn open(file: &Path) -> Result<SqliteStore, StoreError> {
        let lock = lock(file)?;
        let fault = Fault { file };
        // SQLite gives the files beside the database the database's own permissions.
        private::make(file).map_err(|error| fault.of(sqlx::Error::Io(error)))?;
        ["-wal", "-shm"].iter().for_each(|end| private::tighten(&beside(file, end)));
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIME)
            .foreign_keys(true)
            .row_buffer_size(ROWS_AHEAD)
            .pragma("wal_autocheckpoint", LOG_PAGES)
            .pragma("cache_size", WRITER_CACHE)
            // Statements in the log say nothing to an administrator, and cost more than running them.
            .disable_statement_logging();
        let mut writer = SqliteConnection::connect_with(&options).await.map_err(|error| fault.of(error))?;
        if std::fs::metadata(file).is_ok_and(|file| file.len() <= CHECKED_BYTES_MAX) {
            let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
                .fetch_one(&mut writer)
                .await
                .map_err(|error| fault.of(error))?;
            if found != "ok" {
                return Err(fault.damaged(&found));
            }
        }
        migrations::migrator().run(&mut writer).await.map_err(|error| match error {
            sqlx::migrate::MigrateError::VersionMissing(version)
            | sqlx::migrate::MigrateError::VersionTooNew(version, _) => StoreError::Damaged(format!(
                "database {} was made by a newer Carillon (version {version} of its tables): use that one",
                file.display()
            )),
            sqlx::migrate::MigrateError::Execute(error)
            | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => fault.of(error),
            error => StoreError::Failed(format!("database {}: {error}", file.display())),
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(
                options.clone().create_if_missing(false).read_only(true).pragma("cache_size", READER_CACHE),
            )
            .await
            .map_err(|error| fault.of(error))?;
        let writer = Mutex::new(Writer::Open(writer));
        let options = options.create_if_missing(false);
        Ok(SqliteStore { file: file.to_owned(), options, writer, readers, _lock: lock })
    }

    fn fault(&self) -> Fault<'_> {
        Fault { file: &self.file }
    }

    /// Does `work` in one transaction of the writing connection.
    async fn transact<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, RowError>,
    ) -> Result<T, StoreError> {
        let mut writer = self.writer.lock().await;
        // It goes back after a transaction that ended well, and only then: not after an error, and not if whoever asked
        // gives up in the middle.
        let mut connection = match std::mem::replace(&mut *writer, Writer::Dropped) {
            Writer::Open(connection) => connection,
            Writer::Dropped => self.options.connect().await.map_err(|error| self.fault().of(error))?,
            Writer::Closed => {
                *writer = Writer::Closed;
                return Err(self.closed());
            }
        };
        let done = async {
            // IMMEDIATE: whoever holds the lock is waited for here, and not in the middle.
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let done = work(&mut transaction).await?;
            transaction.commit().await?;
            Ok(done)
        };
        match done.await {
            Ok(done) => {
                *writer = Writer::Open(connection);
                Ok(done)
            }
            Err(error) => {
                // Now, so that what is left of the transaction does not stand in the way of the next one.
                let _ = connection.close().await;
                Err(self.fault().of_row(error))
            }
        }
    }

    fn closed(&self) -> StoreError {
        StoreError::Failed(format!("database {}: closed", self.file.display()))
    }
}

impl Store for SqliteStore {
    fn write<'a>(&'a self, batch: &'a [Write]) -> Answer<'a, Vec<Wrote>> {
        Box::pin(async move {
            self.transact(async |writer: &mut SqliteConnection| {
                let mut registered = newcomers::register(writer, batch).await?;
                registered.sort_unstable_by_key(|(at, _)| *at);
                let mut registered = registered.into_iter().peekable();
                let mut wrote = Vec::with_capacity(batch.len());
                for (at, write) in batch.iter().enumerate() {
                    match registered.next_if(|(done, _)| *done == at) {
                        Some((_, row)) => wrote.push(Wrote::Registered(Box::new(row))),
                        None => wrote.push(write::write(writer, write).await?),
                    }
                }
                Ok(wrote)
            })
            .await
        })
    }

    fn save<'a>(&'a self, batch: &'a Keep) -> Answer<'a, Vec<super::RemovedDevice>> {
        Box::pin(async move {
            self.transact(async |writer: &mut SqliteConnection| keep::keep(writer, batch).await).await
        })
    }

    fn user<'a>(&'a self, id: &'a UserId) -> Answer<'a, Option<UserRow>> {
        Box::pin(async move {
            let read = async {
                let mut reader = self.readers.acquire().await?;
                rows::user_by_id(&mut reader, id).await
            };
            read.await.map_err(|error| self.fault().of_row(error))
        })
    }

    fn page(&self, after: UserKey, limit: u32) -> Answer<'_, Vec<UserRow>> {
        Box::pin(async move {
            let read = async {
                let mut reader = self.readers.acquire().await?;
                rows::page(&mut reader, after, limit).await
            };
            read.await.map_err(|error| self.fault().of_row(error))
        })
    }

    fn positions(&self) -> Answer<'_, Vec<Position>> {
        Box::pin(async move {
            let rows = sqlx::query("SELECT epoch, shard, seq FROM journal_positions ORDER BY epoch, shard")
                .fetch_all(&self.readers)
                .await;
            let rows = rows.map_err(|error| self.fault().of(error))?;
            let position = |row: sqlx::sqlite::SqliteRow| {
                Ok(Position {
                    epoch: row.try_get::<i64, _>(0)? as u64,
                    shard: row.try_get::<i64, _>(1)? as u16,
                    seq: row.try_get::<i64, _>(2)? as u64,
                })
            };
            let positions: Result<_, sqlx::Error> = rows.into_iter().map(position).collect();
            positions.map_err(|error| self.fault().of(error))
        })
    }

    fn forget_positions(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.transact(async |writer: &mut SqliteConnection| {
                sqlx::query("DELETE FROM journal_positions").execute(writer).await?;
                Ok(())
            })
            .await
        })
    }

    fn team_token<'a>(&'a self, team_id: &'a str, key_id: &'a str) -> Answer<'a, Option<TokenRow>> {
        Box::pin(async move {
            let row =
                sqlx::query("SELECT issued_ms, sealed FROM team_tokens WHERE team_id = ?1 AND key_id = ?2")
                    .bind(team_id)
                    .bind(key_id)
                    .fetch_optional(&self.readers)
                    .await
                    .map_err(|error| self.fault().of(error))?;
            let token = |row: sqlx::sqlite::SqliteRow| {
                Ok(TokenRow {
                    team_id: team_id.into(),
                    key_id: key_id.into(),
                    issued: UnixMillis(row.try_get::<i64, _>(0)? as u64),
                    sealed: row.try_get(1)?,
                })
            };
            row.map(token).transpose().map_err(|error| self.fault().of(error))
        })
    }

    fn put_team_token<'a>(&'a self, token: &'a TokenRow) -> Answer<'a, ()> {
        Box::pin(async move {
            self.transact(async |writer: &mut SqliteConnection| {
                sqlx::query(
                    "INSERT INTO team_tokens (team_id, key_id, issued_ms, sealed) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET issued_ms = ?3, sealed = ?4",
                )
                .bind(&*token.team_id)
                .bind(&*token.key_id)
                .bind(token.issued.0 as i64)
                .bind(&token.sealed)
                .execute(writer)
                .await?;
                Ok(())
            })
            .await
        })
    }

    fn probe(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            // The same way as every other write: whatever keeps those from being done keeps this one, too.
            self.transact(async |writer: &mut SqliteConnection| {
                sqlx::query("UPDATE probe SET probes = probes + 1").execute(writer).await?;
                Ok(())
            })
            .await
        })
    }

    fn sync(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let log = beside(&self.file, "-wal");
            // Only the log: closing another descriptor of the database itself would drop SQLite's locks on it (POSIX).
            let synced = tokio::task::spawn_blocking(move || match File::open(&log) {
                Ok(log) => log.sync_data(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            });
            let synced = synced.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            synced.map_err(|error| StoreError::Failed(format!("database {}: {error}", self.file.display())))
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            // The last connection to close moves the log into the file: it must be one that may write.
            self.readers.close().await;
            let writer = std::mem::replace(&mut *self.writer.lock().await, Writer::Closed);
            let writer = match writer {
                Writer::Open(writer) => writer,
                Writer::Dropped => self.options.connect().await.map_err(|error| self.fault().of(error))?,
                Writer::Closed => return Ok(()),
            };
            writer.close().await.map_err(|error| self.fault().of(error))
        })
    }
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(end);
    path.into()
}

/// Keeps a second `carillon serve` away from the same file: two engines would tell everything twice.
fn lock(file: &Path) -> Result<File, StoreError> {
    let path = beside(file, ".lock");
    let failed = |error| StoreError::Failed(format!("lock file {}: {error}", path.display()));
    let lock = private::make(&path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(format!(
            "database {} is in use by another carillon process ({} is locked)",
            file.display(),
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// What can go wrong between SQL and rows.
#[derive(Debug)]
enum RowError {
    Sql(sqlx::Error),
    /// A stored name that is none: somebody else wrote it.
    Name {
        column: &'static str,
    },
}

impl From<sqlx::Error> for RowError {
    fn from(error: sqlx::Error) -> RowError {
        RowError::Sql(error)
    }
}

/// Words SQLite's errors.
#[derive(Clone, Copy)]
struct Fault<'a> {
    file: &'a Path,
}

impl Fault<'_> {
    fn of_row(self, error: RowError) -> StoreError {
        match error {
            RowError::Sql(error) => self.of(error),
            RowError::Name { column } => self.damaged(&format!("unusable {column}")),
        }
    }

    fn of(self, error: sqlx::Error) -> StoreError {
        let file = self.file.display();
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
        // https://sqlite.org/rescode.html: the primary code is the low byte.
        match code.map(|code| code & 0xff) {
            Some(SQLITE_BUSY | SQLITE_LOCKED) => {
                StoreError::Locked(format!("database {file} is locked by another process: end it"))
            }
            Some(SQLITE_FULL) => {
                StoreError::Full(format!("no room on the disk of database {file}: make some"))
            }
            Some(SQLITE_CORRUPT | SQLITE_NOTADB) => self.damaged(&words(&error)),
            Some(SQLITE_CANTOPEN) => StoreError::Failed(format!(
                "database {file} cannot be opened: is its folder there, and may this account write to it?"
            )),
            Some(SQLITE_READONLY | SQLITE_PERM) => {
                StoreError::Failed(format!("database {file} may not be written by this account"))
            }
            Some(_) | None => StoreError::Failed(format!("database {file}: {}", words(&error))),
        }
    }

    fn damaged(self, what: &str) -> StoreError {
        StoreError::Damaged(format!(
            "database {} is damaged ({}): put a backup in its place, or move it away to begin empty",
            self.file.display(),
            what.replace('\n', " ")
        ))
    }
}

/// One line, without values that were bound.
fn words(error: &sqlx::Error) -> String {
    let text = match error.as_database_error() {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    };
    text.replace('\n', " ")
}

const SQLITE_PERM: i32 = 3;
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_READONLY: i32 = 8;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_CANTOPEN: i32 = 14;
const SQLITE_NOTADB: i32 = 26;

#[cfg(test)]
mod tests;
