//! Before and after the engine's start: its journal into the store, then all users into the engine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use carillon_core::names::{DeviceKey, UserKey};
use carillon_core::shard::Command;
use carillon_engine::journal::{self, Fault, Place};

use super::pending::Pending;
use crate::config::Config;
use crate::directory::Directory;
use crate::engine::Engine;
use crate::store::{Position, Store, StoreError};
use crate::{bridge, writer};

/// Users that are read at a time.
const PAGE_USERS: u32 = 2_000;

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
/// What is damaged is told in the log and kept aside; everything sound is used.
///
/// # Errors
/// [`ReplayError`]; nothing is lost then.
pub async fn replay(dir: &Path, store: &dyn Store, now_ms: u64) -> Result<u64, ReplayError> {
    let journal_error = |error| ReplayError::Journal { dir: dir.display().to_string(), error };
    let found = journal::read(dir).map_err(journal_error)?;
    let positions = store.positions().await?;
    let highest = positions.iter().map(|position| position.epoch);
    let highest = highest.chain(found.entries.iter().map(|entry| entry.epoch)).max().unwrap_or(0);
    let devices = match has_gaps(&found.entries, &positions) {
        true => devices(store).await?,
        false => Devices::new(),
    };
    let Outstanding { pending, missing, unproven } = outstanding(&found.entries, &positions, &devices);
    if !pending.is_empty() {
        tracing::info!(rows = pending.rows(), "the engine's journal has news from before the restart");
        for batch in pending.batches() {
            store.save(&batch).await?;
        }
    }
    if missing > 0 {
        tracing::warn!(
            reports = missing,
            users = unproven,
            "reports are missing in the engine's journal and were not stored: mail of that time may be told twice, to those \
             users all that came since they were last stored"
        );
    }
    // The journal may only go when what it says is on the disk.
    store.sync().await?;
    put_faults_aside(&found.faults).map_err(journal_error)?;
    journal::clear(dir).map_err(journal_error)?;
    store.forget_positions().await?;
    Ok(now_ms.max(highest + 1))
}

/// Says what is wrong with each file, and keeps those that are damaged.
fn put_faults_aside(faults: &[(PathBuf, Fault)]) -> std::io::Result<()> {
    let mut kept: Vec<&Path> = Vec::new();
    for (path, Fault { offset, bytes, place }) in faults {
        let file = path.display();
        match place {
            Place::Tail => tracing::info!(
                %file, offset, bytes,
                "the last write to the engine's journal was cut off, as by a kill or a loss of power"
            ),
            Place::Middle => {
                if kept.last() != Some(&path.as_path()) {
                    kept.push(path);
                }
                tracing::warn!(
                    %file, offset, bytes,
                    "the engine's journal is damaged here; everything else in it is used, and the file is kept under the end \
                     \".damaged\". To do: check the disk, then remove that file"
                );
            }
        }
    }
    kept.into_iter().try_for_each(|path| journal::set_aside(path).map(drop))
}

/// Whose devices are stored.
type Devices = HashMap<UserKey, Vec<DeviceKey>>;

async fn devices(store: &dyn Store) -> Result<Devices, StoreError> {
    let mut devices = Devices::new();
    let mut after = UserKey(0);
    loop {
        let page = store.page(after, PAGE_USERS).await?;
        let Some(last) = page.last() else { return Ok(devices) };
        after = last.key;
        devices
            .extend(page.iter().map(|row| (row.key, row.devices.iter().map(|device| device.key).collect())));
    }
}

/// What a journal says beyond what is stored.
#[derive(Default)]
struct Outstanding {
    pending: Pending,
    /// Reports of which only the number is known.
    missing: u64,
    /// Users of whom less is used than there is ([`Pending::forget_unproven`]).
    unproven: usize,
}

/// What `entries` say beyond `positions`, in stretches without a gap: whether a gap comes before it, and its entries.
fn stretches<'a>(
    entries: &'a [journal::Entry],
    positions: &'a [Position],
) -> impl Iterator<Item = (u64, &'a [journal::Entry])> {
    let stored = |entry: &journal::Entry| {
        let same = |position: &&Position| (position.epoch, position.shard) == (entry.epoch, entry.shard);
        positions.iter().find(same).map_or(0, |position| position.seq)
    };
    let follows = |one: &journal::Entry, other: &journal::Entry| {
        (one.epoch, one.shard, one.seq + 1) == (other.epoch, other.shard, other.seq)
    };
    let mut before: Option<(u64, u16, u64)> = None;
    entries.chunk_by(follows).filter_map(move |stretch| {
        let (first, last) = (stretch.first()?, stretch.last()?);
        let stored = stored(first);
        let known = before.filter(|(epoch, shard, _)| (*epoch, *shard) == (first.epoch, first.shard));
        let known = known.map_or(0, |(.., seq)| seq).max(stored);
        before = Some((first.epoch, first.shard, last.seq));
        let fresh = stretch.partition_point(|entry| entry.seq <= stored);
        let missing = stretch.get(fresh)?.seq - known - 1;
        Some((missing, &stretch[fresh..]))
    })
}

fn has_gaps(entries: &[journal::Entry], positions: &[Position]) -> bool {
    stretches(entries, positions).any(|(missing, _)| missing > 0)
}

fn outstanding(entries: &[journal::Entry], positions: &[Position], devices: &Devices) -> Outstanding {
    let mut all = Outstanding::default();
    for (missing, stretch) in stretches(entries, positions) {
        let mut pending = Pending::default();
        for entry in stretch {
            pending.absorb(&entry.report, None);
            pending.reached(entry.epoch, entry.shard, entry.seq);
        }
        if missing > 0 {
            all.missing += missing;
            all.unproven += pending.forget_unproven(|user| devices.get(&user).cloned().unwrap_or_default());
        }
        all.pending.extend(pending);
    }
    all
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
    let mut page = store.page(UserKey(0), PAGE_USERS).await?;
    while let Some(last) = page.last() {
        // The store reads on while these are handed over.
        let next = store.page(last.key, PAGE_USERS);
        let hand_over = async {
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
        };
        let (next, ()) = tokio::join!(next, hand_over);
        page = next?;
    }
    Ok(assigned)
}

#[cfg(test)]
mod tests {
    use carillon_core::shard::{NoticeRecord, Report, UnsettledNotice};
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
        let pending = outstanding(entries, &store.positions().await.unwrap(), &Devices::new()).pending;
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
        let rest = outstanding(&entries, &store.positions().await.unwrap(), &Devices::new());
        assert_eq!((rest.pending.rows(), rest.missing), (1, 0));
        save(&store, &entries).await;
        assert_eq!(unread(&store).await, Some(4));
        let rest = outstanding(&entries, &store.positions().await.unwrap(), &Devices::new());
        assert!(rest.pending.is_empty() && rest.missing == 0);
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

    #[test]
    fn gaps_are_found_in_each_life_of_each_shard_and_not_in_what_is_stored() {
        let at = |epoch, shard, seq| Entry { shard, ..noticed(epoch, seq, 0) };
        let all =
            |shard: u16, seqs: &[u64]| -> Vec<Entry> { seqs.iter().map(|seq| at(7, shard, *seq)).collect() };
        let missing = |entries: &[Entry], stored: &[(u16, u64)]| -> Vec<u64> {
            let positions: Vec<_> =
                stored.iter().map(|(shard, seq)| Position { epoch: 7, shard: *shard, seq: *seq }).collect();
            stretches(entries, &positions).map(|(missing, _)| missing).collect()
        };
        assert_eq!(missing(&all(0, &[1, 2, 3]), &[]), [0]);
        assert_eq!(missing(&all(0, &[3, 4, 5]), &[]), [2], "the beginning was given up");
        assert_eq!(missing(&all(0, &[3, 4, 5]), &[(0, 2)]), [0]);
        assert_eq!(missing(&all(0, &[3, 4, 5]), &[(0, 4)]), [0]);
        assert_eq!(missing(&all(0, &[1, 2, 5, 6]), &[]), [0, 2]);
        assert_eq!(missing(&all(0, &[1, 2, 5, 6]), &[(0, 4)]), [0], "what is missing is stored");
        assert_eq!(missing(&all(0, &[1, 2, 5, 6]), &[(0, 3)]), [1], "one of two is");
        assert!(missing(&all(0, &[1, 2, 5, 6]), &[(0, 6)]).is_empty());
        assert_eq!(missing(&all(0, &[1, 5, 9]), &[(0, 5)]), [3]);
        let two = [all(0, &[4, 5]), all(1, &[1, 2])].concat();
        assert_eq!(missing(&two, &[(0, 3)]), [0, 0], "each shard counts from 1");
        let lives = [at(7, 0, 4), at(8, 0, 1), at(8, 0, 3)];
        assert_eq!(missing(&lives, &[(0, 3)]), [0, 0, 1]);
    }

    #[tokio::test]
    async fn damage_in_the_middle_costs_no_mail_and_only_those_whose_last_word_it_may_have_hit_are_told_twice()
     {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("a.db")).await.unwrap();
        let registered = [("jane", "p1"), ("bob", "p1"), ("bob", "p2"), ("eve", "p1")];
        for (at, (user, device)) in registered.into_iter().enumerate() {
            store.write(&[testing::register(user, device, at as u64)]).await.unwrap();
        }
        let unsettled = Some(UnsettledNotice { apns_id: 5, mails: 1, newest: 9 });
        let device = |user, device| Report::Device {
            user: UserKey(user),
            device: DeviceKey(device),
            badge: None,
            unsettled,
        };
        let told = |user, unread| match noticed(0, 0, unread).report {
            Report::Noticed { notices, .. } => Report::Noticed { user: UserKey(user), notices },
            other => other,
        };
        let reports = [
            told(1, 1),
            device(1, 1),
            told(2, 1),
            told(3, 1),
            device(2, 2),
            told(2, 2),
            told(1, 2),
            device(1, 1),
        ];
        let entries: Vec<Entry> = (1..)
            .zip(reports)
            .map(|(seq, report)| Entry { epoch: 1, shard: 0, seq, report })
            // The fourth: all that there was of the third user, and perhaps of one of the second user's devices.
            .filter(|entry| entry.seq != 4)
            .collect();
        let devices = devices(&store).await.unwrap();
        let Outstanding { pending, missing, unproven } = outstanding(&entries, &[], &devices);
        assert_eq!((missing, unproven), (1, 1));
        for batch in pending.batches() {
            store.save(&batch).await.unwrap();
        }
        let rows = store.page(UserKey(0), 10).await.unwrap();
        let unread: Vec<_> = rows.iter().map(|row| row.notices.unread).collect();
        assert_eq!(unread, [Some(2), Some(1), None]);
        // Nothing of him from behind the gap, or a notice would be known of which the mail is not.
        assert_eq!(rows[1].devices[0].unsettled, None);
        assert_eq!(rows[0].devices[0].unsettled, unsettled);
        assert_eq!(store.positions().await.unwrap(), [Position { epoch: 1, shard: 0, seq: 8 }]);
    }
}
