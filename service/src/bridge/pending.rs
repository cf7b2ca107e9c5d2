//! Reports that wait to be stored: the last word about each user and device, so that they grow with users, not with
//! traffic.

use std::collections::{BTreeMap, BTreeSet};

use carillon_core::names::{DeviceKey, UserKey};
use carillon_core::shard::{FolderSync, NoticeRecord, Report, UnsettledNotice, WatchRecord};
use carillon_core::time::UnixMillis;

use crate::store::{Keep, Position};

/// Rows in one transaction: a few tens of milliseconds, in which registrations wait.
const TRANSACTION_ROWS_MAX: usize = 2_000;

/// A provider that calls a token gone without saying since when: registrations from so shortly before the news may be
/// newer than the push that was refused, and stay.
const GONE_SLACK_MS: u64 = 60_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Pending {
    watches: BTreeMap<UserKey, WatchRecord>,
    notices: BTreeMap<UserKey, NoticeRecord>,
    syncs: BTreeMap<UserKey, Vec<FolderSync>>,
    devices: BTreeMap<DeviceKey, (UserKey, Option<u32>, Option<UnsettledNotice>)>,
    gone: BTreeMap<DeviceKey, UnixMillis>,
    positions: BTreeMap<(u64, u16), u64>,
}

impl Pending {
    /// Takes a report in, if it is one that is stored. `heard` is the present; `None` for one from a journal of before.
    pub fn absorb(&mut self, report: &Report, heard: Option<UnixMillis>) {
        match report {
            Report::Watched { user, watch } => {
                self.watches.insert(*user, watch.clone());
            }
            Report::Noticed { user, notices } => {
                self.notices.insert(*user, notices.clone());
            }
            Report::Synced { user, folders } => {
                self.syncs.insert(*user, folders.clone());
            }
            Report::Device { user, device, badge, unsettled } => {
                self.devices.insert(*device, (*user, *badge, *unsettled));
            }
            Report::DeviceGone { user: _, device, since } => {
                let heard = heard.map(|heard| UnixMillis(heard.0.saturating_sub(GONE_SLACK_MS)));
                // Without any time the registration stays; the provider will say it again.
                if let Some(since) = since.or(heard) {
                    self.gone.insert(*device, since);
                }
            }
            Report::Live { .. }
            | Report::Polled { .. }
            | Report::Unwatched { .. }
            | Report::Misplaced { .. }
            | Report::Unreadable { .. }
            | Report::Taken { .. }
            | Report::GivenUp { .. }
            | Report::TeamTokenStale { .. }
            | Report::MailCredentialRefused { .. }
            | Report::MailTokenStale { .. }
            | Report::MailServerWell { .. }
            | Report::MailServerNoted { .. }
            | Report::FoldersDropped { .. }
            | Report::MailServerTrouble { .. }
            | Report::PushServiceTrouble { .. }
            | Report::PushServiceWell { .. }
            | Report::Drained => {}
        }
    }

    /// Everything of `shard` up to `seq` has been taken in.
    pub fn reached(&mut self, epoch: u64, shard: u16, seq: u64) {
        let at = self.positions.entry((epoch, shard)).or_default();
        *at = seq.max(*at);
    }

    /// How many rows wait.
    pub fn rows(&self) -> usize {
        self.watches.len() + self.notices.len() + self.syncs.len() + self.devices.len() + self.gone.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0 && self.positions.is_empty()
    }

    /// Puts `newer` on top.
    pub fn extend(&mut self, newer: Pending) {
        self.watches.extend(newer.watches);
        self.notices.extend(newer.notices);
        self.syncs.extend(newer.syncs);
        self.devices.extend(newer.devices);
        self.gone.extend(newer.gone);
        for ((epoch, shard), seq) in newer.positions {
            self.reached(epoch, shard, seq);
        }
    }

    /// For what stands behind a gap: keeps what is said of a user only if there is a word about his mailbox and about every
    /// device of his, so that nothing from before the gap is mixed with it. Mixed, a mail may count as dealt with of which
    /// no notice is known to be on its way, and a kill at the wrong moment would lose it. Without, he falls back to before the
    /// gap, and mail since then is told twice. Returns how many users that concerns.
    pub fn forget_unproven(&mut self, devices_of: impl Fn(UserKey) -> Vec<DeviceKey>) -> usize {
        let named = |device: &DeviceKey| self.devices.contains_key(device) || self.gone.contains_key(device);
        let of_devices = self.devices.values().map(|(user, ..)| user);
        let users: BTreeSet<UserKey> =
            self.notices.keys().chain(self.syncs.keys()).chain(of_devices).copied().collect();
        let proven = |user: &UserKey| self.notices.contains_key(user) && devices_of(*user).iter().all(named);
        let unproven: BTreeSet<UserKey> = users.into_iter().filter(|user| !proven(user)).collect();
        self.notices.retain(|user, _| !unproven.contains(user));
        self.syncs.retain(|user, _| !unproven.contains(user));
        self.devices.retain(|_, (user, ..)| !unproven.contains(user));
        unproven.len()
    }

    /// As transactions, in order. What is said of one user stands in one, so that no failure or kill between two of them mixes
    /// what is new of him with what is old. Only the last one has the positions: they cover all of them.
    pub fn batches(&self) -> Vec<Keep> {
        let mut users: BTreeMap<UserKey, Keep> = BTreeMap::new();
        for (user, watch) in &self.watches {
            users.entry(*user).or_default().watches.push((*user, watch.clone()));
        }
        for (user, notices) in &self.notices {
            users.entry(*user).or_default().notices.push((*user, notices.clone()));
        }
        for (user, folders) in &self.syncs {
            users.entry(*user).or_default().syncs.push((*user, folders.clone()));
        }
        for (device, (user, badge, unsettled)) in &self.devices {
            users.entry(*user).or_default().devices.push((*device, *badge, *unsettled));
        }
        let gone = self
            .gone
            .iter()
            .map(|(device, before)| Keep { gone: vec![(*device, *before)], ..Keep::default() });
        let mut batches = vec![Keep::default()];
        let mut room = TRANSACTION_ROWS_MAX;
        for keep in users.into_values().chain(gone) {
            let rows = keep.rows();
            if rows > room {
                batches.push(Keep::default());
                room = TRANSACTION_ROWS_MAX;
            }
            room = room.saturating_sub(rows);
            if let Some(batch) = batches.last_mut() {
                batch.extend(keep);
            }
        }
        let positions = self.positions.iter();
        let positions = positions.map(|(&(epoch, shard), &seq)| Position { epoch, shard, seq }).collect();
        if let Some(last) = batches.last_mut() {
            last.positions = positions;
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noticed(user: u64, unread: u32) -> Report {
        let notices = NoticeRecord { unread: Some(unread), ..NoticeRecord::default() };
        Report::Noticed { user: UserKey(user), notices }
    }

    #[test]
    fn the_last_word_about_a_user_wins_also_after_a_failed_attempt() {
        let mut failed = Pending::default();
        failed.absorb(&noticed(1, 1), None);
        failed.absorb(&noticed(1, 2), None);
        failed.absorb(&noticed(2, 9), None);
        failed.reached(7, 0, 3);
        let mut newer = Pending::default();
        newer.absorb(&noticed(1, 3), None);
        newer.reached(7, 0, 4);
        failed.extend(newer);
        let batches = failed.batches();
        assert_eq!(batches.len(), 1);
        let unread: Vec<_> =
            batches[0].notices.iter().map(|(user, notices)| (user.0, notices.unread)).collect();
        assert_eq!(unread, [(1, Some(3)), (2, Some(9))]);
        assert_eq!(batches[0].positions, [Position { epoch: 7, shard: 0, seq: 4 }]);
    }

    #[test]
    fn positions_stand_in_the_last_transaction_only() {
        let mut pending = Pending::default();
        for user in 0..5_000 {
            pending.absorb(&noticed(user, 0), None);
        }
        pending.reached(1, 0, 5_000);
        let batches = pending.batches();
        let rows: Vec<_> = batches.iter().map(|batch| (batch.notices.len(), batch.positions.len())).collect();
        assert_eq!(rows, [(2_000, 0), (2_000, 0), (1_000, 1)]);
    }

    #[test]
    fn what_is_said_of_one_user_stands_in_one_transaction() {
        let mut pending = Pending::default();
        let unsettled = Some(UnsettledNotice { apns_id: 1, mails: 1, newest: 1 });
        for user in 0..3_000 {
            pending.absorb(&noticed(user, 0), None);
            for device in [user, 5_000 - user] {
                let (user, device) = (UserKey(user), DeviceKey(device));
                pending.absorb(&Report::Device { user, device, badge: None, unsettled }, None);
            }
        }
        let batches = pending.batches();
        let rows: Vec<_> = batches.iter().map(|batch| (batch.devices.len(), batch.notices.len())).collect();
        assert!(rows.iter().all(|(devices, notices)| devices + notices <= TRANSACTION_ROWS_MAX), "{rows:?}");
        assert_eq!(rows.iter().map(|(_, notices)| notices).sum::<usize>(), 3_000);
        for batch in &batches {
            for (user, _) in &batch.notices {
                // A device that several claim is the last one's.
                let mine = |device: &u64| pending.devices[&DeviceKey(*device)].0 == *user;
                let mine = [user.0, 5_000 - user.0].into_iter().filter(mine);
                for device in mine {
                    assert!(batch.devices.iter().any(|(other, ..)| other.0 == device), "{user:?}");
                }
            }
        }
    }

    #[test]
    fn behind_a_gap_a_user_counts_only_with_a_word_about_his_mailbox_and_every_device() {
        let device = |user: u64, device: u64| {
            let (user, device) = (UserKey(user), DeviceKey(device));
            Report::Device { user, device, badge: None, unsettled: None }
        };
        let synced = |user: u64| Report::Synced { user: UserKey(user), folders: Vec::new() };
        let gone = Report::DeviceGone { user: UserKey(3), device: DeviceKey(31), since: Some(UnixMillis(1)) };
        let mut pending = Pending::default();
        let reports = [noticed(1, 1), device(1, 10), noticed(2, 2), device(2, 20), synced(2)];
        let more = [noticed(3, 3), gone, device(3, 30), synced(4), noticed(5, 5), device(6, 60)];
        reports.iter().chain(&more).for_each(|report| pending.absorb(report, None));
        // Of the second one device is missing, of the fourth all, of the sixth the mailbox; the fifth has none.
        let devices_of = |user: UserKey| match user.0 {
            5 => Vec::new(),
            4 | 6 => vec![DeviceKey(user.0 * 10)],
            user => (0..user.min(2)).map(|at| DeviceKey(user * 10 + at)).collect(),
        };
        assert_eq!(pending.forget_unproven(devices_of), 3);
        let keep = &pending.batches()[0];
        let users: Vec<_> = keep.notices.iter().map(|(user, _)| user.0).collect();
        let devices: Vec<_> = keep.devices.iter().map(|(device, ..)| device.0).collect();
        assert_eq!((users, devices), (vec![1, 3, 5], vec![10, 30]));
        assert!(keep.syncs.is_empty() && keep.gone.len() == 1);
    }

    #[test]
    fn gone_without_a_time_spares_fresh_registrations_and_counts_for_nothing_in_a_replay() {
        let gone = |since| Report::DeviceGone { user: UserKey(1), device: DeviceKey(1), since };
        let mut pending = Pending::default();
        pending.absorb(&gone(None), None);
        assert!(pending.is_empty());
        pending.absorb(&gone(None), Some(UnixMillis(100_000)));
        assert_eq!(pending.batches()[0].gone, [(DeviceKey(1), UnixMillis(40_000))]);
        pending.absorb(&gone(Some(UnixMillis(70_000))), Some(UnixMillis(100_000)));
        assert_eq!(pending.batches()[0].gone, [(DeviceKey(1), UnixMillis(70_000))]);
    }
}
