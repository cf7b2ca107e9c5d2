//! Reports that wait to be stored: the last word about each user and device, so that they grow with users, not with
//! traffic.

use std::collections::BTreeMap;

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
    devices: BTreeMap<DeviceKey, (Option<u32>, Option<UnsettledNotice>)>,
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
            Report::Device { user: _, device, badge, unsettled } => {
                self.devices.insert(*device, (*badge, *unsettled));
            }
            Report::DeviceGone { user: _, device, since } => {
                let heard = heard.map(|heard| UnixMillis(heard.0.saturating_sub(GONE_SLACK_MS)));
                // Without any time the registration stays; the provider will say it again.
                if let Some(since) = since.or(heard) {
                    self.gone.insert(*device, since);
                }
            }
            Report::Live { .. }
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

    /// As transactions, in order. Only the last one has the positions: they cover all of them.
    pub fn batches(&self) -> Vec<Keep> {
        let mut batches = vec![Keep::default()];
        let mut room = TRANSACTION_ROWS_MAX;
        let mut next = |batches: &mut Vec<Keep>| {
            if room == 0 {
                batches.push(Keep::default());
                room = TRANSACTION_ROWS_MAX;
            }
            room -= 1;
            batches.len() - 1
        };
        for (user, watch) in &self.watches {
            let at = next(&mut batches);
            batches[at].watches.push((*user, watch.clone()));
        }
        for (user, notices) in &self.notices {
            let at = next(&mut batches);
            batches[at].notices.push((*user, notices.clone()));
        }
        for (user, folders) in &self.syncs {
            let at = next(&mut batches);
            batches[at].syncs.push((*user, folders.clone()));
        }
        for (device, (badge, unsettled)) in &self.devices {
            let at = next(&mut batches);
            batches[at].devices.push((*device, *badge, *unsettled));
        }
        for (device, before) in &self.gone {
            let at = next(&mut batches);
            batches[at].gone.push((*device, *before));
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
