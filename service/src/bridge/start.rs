//! Before and after the engine's start: its journal into the store, then all users into the engine.

use std::path::Path;

use carillon_core::names::UserKey;
use carillon_core::shard::Command;
use carillon_engine::journal;

use super::pending::Pending;
use crate::config::Config;
use crate::directory::Directory;
use crate::engine::Engine;
use crate::store::{Store, StoreError};
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
    let mut pending = Pending::default();
    for entry in &entries {
        let stored = positions
            .iter()
            .find(|position| (position.epoch, position.shard) == (entry.epoch, entry.shard))
            .map_or(0, |position| position.seq);
        if entry.seq > stored {
            pending.absorb(&entry.report, None);
            pending.reached(entry.epoch, entry.shard, entry.seq);
        }
    }
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
