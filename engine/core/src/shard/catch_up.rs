//! Looks into folders: what no event told of, and how much is unread.

use super::core::ShardCore;
use super::folders::may_be_of_folder;
use super::{BadgeCount, Effects, FolderSync, MailServerId, Report};
use crate::ews::{Action, EwsError, FolderCounts, FoundItem, ResponseCode, SyncPage};
use crate::limits::{CATCH_UP_FUTURE_MAX, CATCH_UP_MAIL_MAX, SYNC_PAGES_MAX};
use crate::names::{FolderId, ItemId};
use crate::time::{Now, Time, UnixMillis};
use crate::user::{Needs, Unreadable, UserId, Whose, is_after, item_hash};

impl ShardCore {
    /// One page of a folder, newest first.
    pub(super) fn caught_up(
        &mut self,
        now: Now,
        user_id: UserId,
        items: Vec<FoundItem>,
        last: bool,
        fx: &mut Effects,
    ) {
        self.begin_page(now, user_id, fx);
        let Some(user) = self.users.get(user_id) else { return };
        let ids_alone = user.ids_alone;
        let previews = user.server.is_some_and(|id| self.servers[usize::from(id.0)].version.has_preview());
        let floor = user.known.floor();
        let looked_at = user.catch_up_offset + items.len() as u32;
        let future = items.iter().filter(|item| user.known.is_future(item.received)).count() as u32;
        let future = user.catch_up_future + future;
        let back_far_enough = items.iter().any(|item| item.received <= floor);
        let enough = looked_at - future >= CATCH_UP_MAIL_MAX || future >= CATCH_UP_FUTURE_MAX;
        let done = last || back_far_enough || items.is_empty() || enough;
        // Oldest first, as events would have come.
        let mut learnt = false;
        for mut item in items.into_iter().rev() {
            // Without a preview it is fetched when it is told.
            let own = self.whose_mail(user_id, item.parent.as_ref()) == Whose::Own;
            item.details = item.details.filter(|_| previews && own && !ids_alone);
            learnt |= self.found(now, user_id, item, fx);
        }
        if learnt {
            self.report_noticed(user_id, fx);
        }
        let Some(user) = self.users.get_mut(user_id) else { return };
        match done {
            true => self.folder_caught_up(now, user_id, fx),
            false => (user.catch_up_offset, user.catch_up_future) = (looked_at, future),
        }
    }

    /// Before a page is looked at.
    fn begin_page(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        if let Some(server) = user.server {
            let server = &self.servers[usize::from(server.0)];
            let ahead_ms = server.clock_ahead_ms(now).unwrap_or(0);
            let first = user.known.begin_look(ahead_ms);
            user.first_look |= first;
            user.known.set_present(server.present(now));
            if user.known.repair(ahead_ms) | first {
                self.report_noticed(user_id, fx);
            }
        }
        let Some(user) = self.users.get_mut(user_id) else { return };
        if user.catch_up_at == 0 && user.catch_up_offset == 0 {
            // What waits may have been deleted meanwhile, which nothing on a page shows: it is looked at again before it is
            // told.
            user.pending.items_mut().iter_mut().for_each(|item| item.touched = true);
        }
    }

    /// A mail server's clock was set back. Mails that came since may be dated from `earliest` on: nobody's floor may cover
    /// them.
    pub(super) fn clock_set_back(
        &mut self,
        now: Now,
        server: MailServerId,
        earliest: UnixMillis,
        fx: &mut Effects,
    ) {
        let present = self.servers[usize::from(server.0)].present(now);
        let mut lowered = Vec::new();
        for (user_id, user) in self.users.iter_mut().filter(|(_, user)| user.server == Some(server)) {
            user.known.set_present(present);
            if user.known.clock_set_back(earliest) {
                lowered.push(user_id);
            }
        }
        for user_id in lowered {
            self.report_noticed(user_id, fx);
        }
    }

    /// One page of what changed in a folder.
    pub(super) fn synced(&mut self, now: Now, user_id: UserId, page: SyncPage, fx: &mut Effects) {
        self.begin_page(now, user_id, fx);
        let Some(user) = self.users.get_mut(user_id) else { return };
        user.catch_up_offset += 1;
        let stands_still = page.state.as_deref() == user.sync_now() || page.state.is_none();
        let done = page.last || stands_still || user.catch_up_offset >= SYNC_PAGES_MAX;
        if page.state.as_deref() != user.sync_now() {
            user.set_sync_now(page.state);
        }
        // As events would have come: a first walk goes from the newest to the oldest.
        let mut found = page.found;
        found.sort_by_key(|item| item.received);
        let mut learnt = false;
        for item in found {
            learnt |= self.found(now, user_id, item, fx);
        }
        if learnt {
            self.report_noticed(user_id, fx);
        }
        for item in page.gone {
            let hash = item_hash(&self.config.item_key, item.as_str());
            self.mail_gone(now, user_id, hash, fx);
        }
        if done {
            self.folder_caught_up(now, user_id, fx);
        }
    }

    pub(super) fn folder_caught_up(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        if user.next_folder() || std::mem::take(&mut user.look_again) {
            return;
        }
        user.needs.remove(Needs::CATCH_UP);
        user.needs.add(Needs::BADGE);
        user.first_look = false;
        if !std::mem::take(&mut user.ids_alone) {
            self.set_unreadable(user_id, Unreadable::PAGE, None, fx);
        }
        self.looked(user_id);
        self.stats.catch_ups += 1;
        self.resolve_unsettled(now, user_id, fx);
    }

    /// The unread counts came: of the inbox, then of the other folders. An event that overtook one says more: whatever
    /// changed after the server counted comes by the stream.
    ///
    /// # Errors
    /// The inbox cannot be counted; or the server did not come to all the other folders, which are asked for again.
    pub(super) fn counted(
        &mut self,
        now: Now,
        user_id: UserId,
        counts: Vec<Result<FolderCounts, EwsError>>,
        asked: Time,
        fx: &mut Effects,
    ) -> Result<(), EwsError> {
        let Some(user) = self.users.get_mut(user_id) else { return Ok(()) };
        let key = self.config.item_key;
        let mut counts = counts.into_iter();
        let Some(inbox) = counts.next().transpose()? else {
            return Err(EwsError::new(ResponseCode::Malformed, "no answer for the inbox", None));
        };
        user.inbox = Some(item_hash(&key, inbox.folder.as_str()));
        let overtaken = |heard: Option<Time>| heard.is_some_and(|heard| heard >= asked);
        if !overtaken(user.unread_heard) && !planted!(BadgeFromEvents) {
            user.inbox_unread = Some(inbox.unread);
        }
        let mut unknown = user.inbox_unread.is_none() && !planted!(BadgeFromEvents);
        let (doubtful, mut missing) = (user.folders_doubtful, false);
        let mut unanswered = None;
        let not_reached = || Err(EwsError::new(ResponseCode::ErrorBatchProcessingStopped, "", None));
        let answers = counts.chain(std::iter::repeat_with(not_reached));
        for (folder, answer) in user.folders.iter_mut().filter(|folder| folder.is_watched()).zip(answers) {
            match answer {
                Ok(counts) => {
                    folder.hash = Some(item_hash(&key, counts.folder.as_str()));
                    if !overtaken(folder.heard) {
                        folder.unread = Some(counts.unread);
                    }
                    unknown |= folder.unread.is_none();
                }
                // Out of reach is as good as gone.
                Err(error)
                    if matches!(
                        error.action(),
                        Action::DropFolder | Action::Alarm | Action::OurBug | Action::ConvertId
                    ) || doubtful && may_be_of_folder(error.action()) =>
                {
                    folder.drop_for(error.trouble());
                    missing = true;
                }
                Err(error) if passes(error.action()) => _ = unanswered.get_or_insert(error),
                Err(_) => {}
            }
        }
        if let Some(error) = unanswered {
            if missing {
                self.report_dropped_folders(user_id, fx);
            }
            self.sum_unread(now, user_id, fx);
            return Err(error);
        }
        if !unknown {
            user.needs.remove(Needs::BADGE);
        }
        if std::mem::take(&mut user.folders_doubtful) && !missing {
            // One is refused, and none says that it is it.
            user.begin_trial();
        }
        if missing {
            self.report_dropped_folders(user_id, fx);
        }
        self.sum_unread(now, user_id, fx);
        self.look_live(now, user_id, fx);
        Ok(())
    }

    /// An event told how many mails of a folder are unread.
    pub(super) fn folder_counted(
        &mut self,
        now: Now,
        user_id: UserId,
        folder: u64,
        unread: u32,
        fx: &mut Effects,
    ) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        if user.inbox == Some(folder) {
            user.unread_heard = Some(now.time);
            user.inbox_unread = Some(unread);
        } else if let Some(row) = user.folders.iter_mut().find(|row| row.hash == Some(folder)) {
            row.heard = Some(now.time);
            row.unread = Some(unread);
        } else {
            // It may be of one whose id is not known yet: a count that is on its way for that one may be older.
            if user.inbox.is_none() {
                user.unread_heard = Some(now.time);
            }
            user.folders
                .iter_mut()
                .filter(|row| row.hash.is_none())
                .for_each(|row| row.heard = Some(now.time));
        }
        self.sum_unread(now, user_id, fx);
    }

    fn sum_unread(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get(user_id) else { return };
        let Some(server) = user.server else { return };
        let mut watched = user.folders.iter().filter(|folder| folder.is_watched());
        let sum = match self.mail_server(server).badge {
            BadgeCount::Inbox => user.inbox_unread,
            BadgeCount::Watched => user.inbox_unread.and_then(|inbox| {
                watched.try_fold(inbox, |sum, folder| Some(sum.saturating_add(folder.unread?)))
            }),
        };
        if let Some(sum) = sum {
            self.set_unread(now, user_id, sum, fx);
        }
    }

    /// A mail went to another folder, where it has another id. True if it waits to be told, and can be told there.
    pub(super) fn moved(
        &mut self,
        user_id: UserId,
        old: &ItemId,
        new: ItemId,
        to: &FolderId,
        fx: &mut Effects,
    ) -> bool {
        let key = self.config.item_key;
        let hash = |id: &str| item_hash(&key, id);
        let (old_hash, new_hash, to) = (hash(old.as_str()), hash(new.as_str()), hash(to.as_str()));
        let Some(user) = self.users.get_mut(user_id) else { return false };
        if user.known.contains(new_hash) {
            // A look into the folder where it is now was faster: it waits or was told by its new id.
            return false;
        }
        // A look into the folder where it is now finds it by the new id.
        if user.known.rename(old_hash, new_hash) {
            self.report_noticed(user_id, fx);
        }
        let Some(user) = self.users.get_mut(user_id) else { return false };
        let watched = user.inbox == Some(to)
            || user.folders.iter().any(|folder| !folder.gone && folder.hash == Some(to));
        let Some(item) = user.pending.find_mut(old_hash).filter(|_| watched) else { return false };
        item.id = new;
        item.hash = new_hash;
        item.touched = true;
        true
    }

    /// A mail is not where it was. It may lie in another folder that is watched by now: a look finds it there, if the event
    /// that would tell is not faster.
    pub(super) fn missing(&mut self, now: Now, user_id: UserId, hash: u64, fx: &mut Effects) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let told = |seq: u32| {
            user.devices.iter().filter_map(|id| self.devices.get(*id)).any(|one| !is_after(seq, one.told_seq))
        };
        let folders = user.folders.iter().any(|folder| !folder.gone);
        if folders && user.pending.find(hash).is_some_and(|item| !told(item.seq)) {
            user.known.forget(hash);
            user.miss();
            self.request_call(now, user_id, fx);
        }
        self.mail_gone(now, user_id, hash, fx);
    }

    /// Has the states of the folders stored, once everything up to them has been dealt with.
    pub(super) fn save_sync(&mut self, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        if !user.sync_unsaved || user.needs.has(Needs::CATCH_UP) || user.flights > 0 {
            return;
        }
        let open = |id: &crate::user::DeviceId| {
            self.devices.get(*id).is_some_and(|device| device.owed > 0 || device.unsettled.is_some())
        };
        if user.devices.iter().any(open) {
            return;
        }
        user.sync_unsaved = false;
        let inbox = user.sync.iter().map(|state| FolderSync { folder: None, state: state.clone() });
        let others = user.folders.iter().filter_map(|folder| {
            Some(FolderSync { folder: Some(folder.id.clone()), state: folder.sync.clone()? })
        });
        fx.report(Report::Synced { user: user.key, folders: inbox.chain(others).collect() });
    }
}

/// Whether a folder that was refused so can be counted in a while.
fn passes(action: Action) -> bool {
    matches!(
        action,
        Action::RetryItem
            | Action::RetryConnection
            | Action::RetryOrBisect
            | Action::BackOffAccount { .. }
            | Action::FewerConnections { .. }
    )
}
