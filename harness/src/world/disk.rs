//! The disk under the engine's journal and the owner's store, as a model: what a process that is killed leaves behind.
//!
//! The store takes a shard's reports some time after the journal has them. As long as the disk is well, both together have
//! everything, and a kill loses nothing. What is modelled here is the rest: a store that takes nothing, a journal that is
//! full or has no room, and damage in it. What people ask for by the API counts as stored at once.

use std::collections::{BTreeMap, BTreeSet};

use carillon_core::names::{DeviceKey, UserKey};
use carillon_core::shard::Report;
use carillon_core::time::{Span, Time};

use super::fault::Fault;
use super::store::Row;

/// How the disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disk {
    /// Nothing is wrong.
    #[default]
    Well,
    /// The store takes nothing, as on a disk that is full, or while somebody else holds it; the journal has room of its own.
    StoreFails,
    /// Neither takes anything: the disk was full before the journal could take its room.
    Full,
}

/// Which part of a shard's journal is damaged when its process starts again: so many reports from this one on, modulo what
/// there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The first.
    pub from: usize,
    /// How many.
    pub reports: usize,
}

/// Between two batches of the store.
const SAVED_EVERY: Span = Span::from_millis(250);

/// What the journal has, or should have, and the store has not.
#[derive(Debug, Default)]
pub(super) struct Unstored {
    pub(super) disk: Disk,
    /// So many reports of one shard the journal has room for.
    pub(super) room: Option<usize>,
    saved_next: Time,
    /// The rows as they are stored, of users whom a report is about.
    rows: BTreeMap<UserKey, Row>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    at: Time,
    shard: usize,
    user: UserKey,
    report: Report,
    missing: Option<Fault>,
}

/// What came of a kill.
#[derive(Debug, Default)]
pub(super) struct Killed {
    /// What the store and the journal say of users of whom something is missing.
    pub(super) rows: BTreeMap<UserKey, Row>,
    /// Since when something of them is missing.
    pub(super) forgotten: BTreeMap<UserKey, Time>,
    /// That a token is gone is among it.
    pub(super) gone: bool,
    /// Why.
    pub(super) faults: BTreeSet<Fault>,
}

impl Unstored {
    /// The rows as they are stored, for changes that are stored at once.
    pub(super) fn rows(&mut self) -> &mut BTreeMap<UserKey, Row> {
        &mut self.rows
    }

    /// How the disk is from now on.
    pub(super) fn set(&mut self, now: Time, disk: Disk) {
        self.save(now);
        self.disk = disk;
    }

    /// A user is stored as he is.
    pub(super) fn forget(&mut self, user: UserKey) {
        self.rows.remove(&user);
        self.entries.retain(|entry| entry.user != user);
    }

    /// A shard reports something; `row` is what was known of the user before.
    pub(super) fn note(&mut self, at: Time, shard: usize, user: UserKey, row: &Row, report: &Report) {
        self.save(at);
        self.rows.entry(user).or_insert_with(|| row.clone());
        let missing = (self.disk == Disk::Full).then_some(Fault::JournalUnwritten);
        self.entries.push(Entry { at, shard, user, report: report.clone(), missing });
        let mine = |entry: &&mut Entry| entry.shard == shard && entry.missing.is_none();
        if let Some(room) = self.room
            && self.entries.iter_mut().filter(mine).count() > room
        {
            // The older of two segments makes way, with whole turns.
            let last = self.entries.iter_mut().filter(mine).nth(room / 2).map_or(at, |entry| entry.at);
            self.entries.iter_mut().filter(mine).filter(|entry| entry.at <= last).for_each(|entry| {
                entry.missing = Some(Fault::JournalFull);
            });
        }
    }

    /// The store takes what waits, if it can.
    fn save(&mut self, now: Time) {
        if self.disk == Disk::Well && now >= self.saved_next {
            self.rows.clear();
            self.entries.clear();
            self.saved_next = now + SAVED_EVERY;
        }
    }

    /// A shard's process is killed, and starts again when the disk is well. With `power`, nothing that was written later is
    /// there.
    pub(super) fn kill(
        &mut self,
        now: Time,
        shard: usize,
        damage: Option<Damage>,
        power: Option<Time>,
    ) -> Killed {
        self.save(now);
        let (mut entries, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.entries).into_iter().partition(|entry| entry.shard == shard);
        self.entries = others;
        entries.retain(|entry| power.is_none_or(|power| entry.at <= power));
        let users: BTreeSet<UserKey> = entries.iter().map(|entry| entry.user).collect();
        let rows = users.iter().filter_map(|user| Some((*user, self.rows.remove(user)?))).collect();
        (self.disk, self.saved_next) = (Disk::Well, now);
        if let Some(Damage { from, reports }) = damage
            && !entries.is_empty()
        {
            let from = from % entries.len();
            let to = (from + reports.max(1)).min(entries.len()) - 1;
            // A turn is written at once, and read whole or not at all.
            let (first, last) = (entries[from].at, entries[to].at);
            let hit = entries.iter_mut().filter(|entry| (first..=last).contains(&entry.at));
            hit.filter(|entry| entry.missing.is_none()).for_each(|entry| {
                entry.missing = Some(Fault::JournalDamaged);
            });
        }
        if entries.iter().all(|entry| entry.missing.is_none()) {
            return Killed::default();
        }
        let mut killed = Killed { rows, ..Killed::default() };
        for entry in entries.iter().filter(|entry| entry.missing.is_some()) {
            killed.miss(entry);
            killed.gone |= matches!(entry.report, Report::DeviceGone { .. });
            killed.faults.extend(entry.missing);
        }
        let gap = |entry: &Entry| entry.missing.is_some();
        for (at, stretch) in entries.chunk_by(|one, other| gap(one) == gap(other)).enumerate() {
            if !gap(&stretch[0]) {
                killed.read(stretch, at > 0);
            }
        }
        killed
    }
}

impl Killed {
    /// News of a token that is gone does not delete what was registered since; without a time it deletes nothing.
    fn is_outdated(&self, entry: &Entry) -> bool {
        let Report::DeviceGone { device, since, .. } = entry.report else { return false };
        let registered = self.rows.get(&entry.user).and_then(|row| row.devices.get(&device));
        registered.is_some_and(|device| since.is_none_or(|since| device.registered > since))
    }

    fn miss(&mut self, entry: &Entry) {
        let since = self.forgotten.entry(entry.user).or_insert(entry.at);
        *since = entry.at.min(*since);
    }

    /// Reads reports without a gap between them. Behind a gap, what is said of a user counts only where there is a word about
    /// his mailbox and all his devices: what is new must not be mixed with what is old.
    fn read(&mut self, stretch: &[Entry], behind_gap: bool) {
        let named: BTreeSet<DeviceKey> = stretch
            .iter()
            .filter_map(|entry| match entry.report {
                Report::Device { device, .. } | Report::DeviceGone { device, .. } => Some(device),
                _ => None,
            })
            .collect();
        let stored: BTreeMap<UserKey, Vec<DeviceKey>> =
            self.rows.iter().map(|(user, row)| (*user, row.devices.keys().copied().collect())).collect();
        let mailboxes: BTreeSet<UserKey> = stretch
            .iter()
            .filter(|entry| matches!(entry.report, Report::Noticed { .. }))
            .map(|entry| entry.user)
            .collect();
        for entry in stretch {
            let mixed = matches!(
                entry.report,
                Report::Noticed { .. } | Report::Synced { .. } | Report::Device { .. }
            );
            let of_devices =
                stored.get(&entry.user).is_none_or(|all| all.iter().all(|device| named.contains(device)));
            let proven = of_devices && mailboxes.contains(&entry.user);
            if behind_gap && mixed && !proven {
                self.miss(entry);
            } else if self.is_outdated(entry) {
                self.gone = true;
            } else if let Some(row) = self.rows.get_mut(&entry.user) {
                row.apply(&entry.report);
            }
        }
    }
}
