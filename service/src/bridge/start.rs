//! Before and after the engine's start: its journal into the store, then all users into the engine.

use std::path::Path;

use carillon_core::names::UserKey;
use carillon_core::shard::Command;
use carillon_engine::journal;

use super::pending::Pending;
use crate::config::Config;
use crate::directory::Directory;
use crate::engine::Engine;
use crate::store::{Position, Store, StoreError};
use crate::{bridge, writer};

/// Users that are read at a time.
const PAGE_USERS: u32 = 1_000;

/// Why the journal could not be brought into the store.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal cannot be read or emptied.
    #[error("journal {dir}: {error}")]
    Journal {
        /// Its folder.
        dir: String,
        /// Why.
        error: std::io::Error,
    },
    /// The store cannot take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Stores what the journal at `dir` has and the store has not, and empties the journal. Doing so twice, or half and
/// then again, gives the same. Returns an epoch that is higher than any before.
///
/// # Errors
/// [`ReplayError`]; nothing is lost then.
pub async fn replay(dir: &Path, store: &dyn Store, now_ms: u64) -> Result<u64, ReplayError> {
    let journal_error = |error| ReplayError::Journal { dir: dir.display().to_string(), error };
    let entries = journal::read(dir).map_err(journal_error)?;
    let positions = store.positions().await?;
    let highest = positions.iter().map(|position| position.epoch);
    let highest = highest.chain(entries.iter().map(|entry| entry.epoch)).max().unwrap_or(0);
    let pending = outstanding(&entries, &positions);
    if !pending.is_empty() {
        tracing::info!(rows = pending.rows(), "the engine's journal has news from before the restart");
        for batch in pending.batches() {
            store.save(&batch).await?;
        }
    }
    // The journal may only go when what it says is on the disk.
    store.sync().await?;
    journal::clear(dir).map_err(journal_error)?;
    store.forget_positions().await?;
    Ok(now_ms.max(highest + 1))
}

/// What `entries` say beyond `positions`.
fn outstanding(entries: &[journal::Entry], positions: &[Position]) -> Pending {
    let mut pending = Pending::default();
    for entry in entries {
        let same = |position: &&Position| (position.epoch, position.shard) == (entry.epoch, entry.shard);
        let stored = positions.iter().find(same).map_or(0, |position| position.seq);
        if entry.seq > stored {
            pending.absorb(&entry.report, None);
            pending.reached(entry.epoch, entry.shard, entry.seq);
        }
    }
    pending
}

/// What [`assign_all`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Users handed to the engine.
    pub users: u64,
    /// Their devices.
    pub devices: u64,
    /// Devices whose `[[push]]` is not configured any more: they are kept, and not served.
    pub devices_without_push: u64,
    /// Users whose `[[exchange]]` is not configured any more: they are kept, and not watched.
    pub users_without_exchange: u64,
}

/// Hands all stored users to the engine.
///
/// # Errors
/// When the store cannot be read.
pub async fn assign_all(
    config: &Config,
    store: &dyn Store,
    engine: &dyn Engine,
    directory: &Directory,
) -> Result<Assigned, StoreError> {
    let mut assigned = Assigned::default();
    let mut after = UserKey(0);
    loop {
        let page = store.page(after, PAGE_USERS).await?;
        let Some(last) = page.last() else { return Ok(assigned) };
        after = last.key;
        for row in &page {
            let user = bridge::assign_user(config, row);
            assigned.users += 1;
            assigned.devices += row.devices.len() as u64;
            assigned.devices_without_push += (row.devices.len() - user.devices.len()) as u64;
            assigned.users_without_exchange += u64::from(row.exchange.is_some() && user.server.is_none());
            directory.add_user(row.key);
            directory.add_devices(row.devices.len() as i64);
            writer::command(engine, Command::AssignUser(Box::new(user))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use carillon_core::names::DeviceKey;
    use carillon_core::shard::{NoticeRecord, Report};
    use carillon_core::time::UnixMillis;
    use carillon_engine::journal::Entry;

    use super::*;
    use crate::store::sqlite::SqliteStore;
    use crate::testing;

    fn noticed(epoch: u64, seq: u64, unread: u32) -> Entry {
        let notices = NoticeRecord { unread: Some(unread), ..NoticeRecord::default() };
        Entry { epoch, shard: 0, seq, report: Report::Noticed { user: UserKey(1), notices } }
    }

    async fn unread(store: &SqliteStore) -> Option<u32> {
        store.page(UserKey(0), 1).await.unwrap()[0].notices.unread
    }

    async fn save(store: &SqliteStore, entries: &[Entry]) {
        let pending = outstanding(entries, &store.positions().await.unwrap());
        for batch in pending.batches() {
            store.save(&batch).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_replay_brings_what_is_new_and_a_second_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("a.db")).await.unwrap();
        store.write(&[testing::register("jane", "p1", 1)]).await.unwrap();

        // Stored up to 2 before the kill; 1 to 4 stand in the journal.
        let entries = [noticed(7, 1, 1), noticed(7, 2, 2), noticed(7, 3, 3), noticed(7, 4, 4)];
        save(&store, &entries[..2]).await;
        assert_eq!(outstanding(&entries, &store.positions().await.unwrap()).rows(), 1);
        save(&store, &entries).await;
        assert_eq!(unread(&store).await, Some(4));
        assert!(outstanding(&entries, &store.positions().await.unwrap()).is_empty());
        save(&store, &entries).await;
        assert_eq!(unread(&store).await, Some(4));

        // A later life's journal counts from 1 again, and lies on top.
        save(&store, &[entries.as_slice(), &[noticed(8, 1, 9)]].concat()).await;
        assert_eq!(unread(&store).await, Some(9));
        save(&store, &entries).await;
        assert_eq!(unread(&store).await, Some(9), "older news stay older");
    }

    #[tokio::test]
    async fn an_acknowledged_registration_is_not_deleted_by_older_news_of_its_token() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("a.db")).await.unwrap();
        store.write(&[testing::register("jane", "p1", 1)]).await.unwrap();
        let gone = |seq, since| {
            let report = Report::DeviceGone { user: UserKey(1), device: DeviceKey(1), since };
            Entry { epoch: 1, shard: 0, seq, report }
        };
        save(&store, &[gone(1, None), gone(2, Some(UnixMillis(1)))]).await;
        assert_eq!(store.page(UserKey(0), 1).await.unwrap()[0].devices.len(), 1);
        save(&store, &[gone(3, Some(testing::REGISTERED))]).await;
        assert!(store.page(UserKey(0), 1).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn without_a_journal_the_epoch_still_rises() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("a.db")).await.unwrap();
        let nowhere = dir.path().join("a.db.journal");
        assert_eq!(replay(&nowhere, &store, 500).await.unwrap(), 500);
        let keep = crate::store::Keep {
            positions: vec![Position { epoch: 900, shard: 0, seq: 1 }],
            ..crate::store::Keep::default()
        };
        store.save(&keep).await.unwrap();
        assert_eq!(replay(&nowhere, &store, 500).await.unwrap(), 901, "a clock that was put back");
        assert!(store.positions().await.unwrap().is_empty());
    }
}
