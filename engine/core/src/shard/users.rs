//! Commands of the owner: users and devices come, change and go.

use super::command::{AssignUser, Command, DeviceSpec};
use super::core::{ShardCore, TimerKey};
use super::{Effects, FolderSync, MailServerId, Report, Trouble, WatchRecord};
use crate::ledger::{Station, Suppressed};
use crate::limits::{CLOCK_SKEW_MS_MAX, USER_DEVICES_MAX, USER_FOLDERS_MAX};
use crate::names::{DeviceKey, FolderId, UserKey};
use crate::time::{Now, Time, UnixMillis};
use crate::user::{
    Calling, Device, DeviceId, Folder, Known, Needs, Pending, Polling, Unreadable, User, UserId, item_hash,
};

impl ShardCore {
    pub(super) fn command(&mut self, now: Now, command: Command, fx: &mut Effects) {
        match command {
            Command::AssignUser(assign) => self.assign_user(now, *assign, fx),
            Command::DropUser { user } => self.drop_user(now, user, fx),
            Command::RegisterDevice { user, device } => self.register_device(now, user, *device, fx),
            Command::RemoveDevice { user, device } => {
                if let Some((user_id, device_id)) = self.find_device(user, device)
                    && !planted!(RemovalIgnored)
                {
                    self.remove_device(user_id, device_id, Suppressed::Removed);
                    self.look_due(now, user_id, fx);
                }
            }
            Command::TouchDevice { user, device, at } => {
                if let Some((_, device_id)) = self.find_device(user, device)
                    && let Some(device) = self.devices.get_mut(device_id)
                {
                    device.active = last_use(now.unix, device.active, at);
                }
            }
            Command::StopUser { user } => self.stop_user(user, fx),
            Command::Signal { user, signal } => {
                if let Some(user_id) = self.by_key.get(&user).copied() {
                    self.signal(now, user_id, signal, fx);
                }
            }
            Command::SetTeamToken { team, jwt, issued } => self.set_team_token(now, team, &jwt, issued, fx),
            Command::SetMailCredential { server, credential } => {
                self.set_mail_credential(now, server, credential, fx)
            }
            Command::SetTiming(timing) => self.config.timing = timing,
            Command::Drain => self.draining = true,
        }
    }

    fn assign_user(&mut self, now: Now, assign: AssignUser, fx: &mut Effects) {
        if let Some(user_id) = self.by_key.get(&assign.user).copied() {
            return self.reassign_user(now, user_id, assign, fx);
        }
        let account = item_hash(&self.config.item_key, assign.address.as_str());
        let watch = assign.watch.filter(|_| assign.server.is_some());
        let stored = watch.as_ref().and_then(|watch| watch.subscription.clone()).zip(assign.server);
        // Where the account may look into all mailboxes, only a subscription shows that each of the folders is the mailbox's own.
        let stored =
            stored.filter(|(_, server)| assign.folders.is_empty() || self.mail_server(*server).impersonate);
        let subscription = stored.and_then(|(id, server)| {
            // Whose it is by now nobody can know, if such ids are given out again.
            if self.may_repeat(server, &id) {
                return None;
            }
            match self.holder(server, &id) {
                None => Some(id),
                // One of the two was stored for another mailbox: it is made anew for both.
                Some(holder) => {
                    self.take_from(now, server, holder, fx);
                    None
                }
            }
        });
        let folders = self.folder_rows(assign.server, assign.folders, &assign.sync);
        let inbox_sync = assign.sync.iter().find(|sync| sync.folder.is_none()).map(|sync| sync.state.clone());
        let mut needs = Needs::none();
        if assign.server.is_some() {
            needs.add(Needs::CATCH_UP);
            needs.add(Needs::BADGE);
            if subscription.is_none() {
                needs.add(Needs::SUBSCRIBE);
            }
        }
        let mut known = Known::restore(&assign.notices, now.unix);
        if let Some(server) = assign.server
            && let Some(ahead_ms) = self.servers[usize::from(server.0)].clock_ahead_ms(now)
        {
            known.hear_clock(ahead_ms);
        }
        let wheel = &mut self.wheel;
        let user_id = self.users.insert_with(|id| User {
            key: assign.user,
            address: assign.address,
            account,
            server: assign.server,
            cohort: None,
            subscription,
            streaming: false,
            overlap: false,
            live: false,
            polling: Polling::No,
            vip: assign.vip,
            stopped: false,
            needs,
            calling: Calling::No,
            call_failures: 0,
            slow: false,
            call_not_before: Time(0),
            setback: None,
            doubted: false,
            aside: false,
            folders,
            watch: 0,
            folders_doubtful: false,
            folders_on_trial: false,
            catch_up_at: 0,
            catch_up_offset: 0,
            catch_up_future: 0,
            first_look: false,
            ids_alone: false,
            fetch_alone: false,
            unreadable: Unreadable::default(),
            looking: false,
            look_again: false,
            sync: inbox_sync,
            sync_unsaved: false,
            inbox: None,
            inbox_unread: None,
            // What was stored may be old news; where the mailbox can be looked at, that comes first.
            unread: assign.notices.unread.filter(|_| assign.server.is_none()),
            unread_heard: None,
            recount_at: None,
            known,
            pending: Pending::default(),
            // One device is the rule: the row of an idle user is to stay small.
            devices: Vec::with_capacity(assign.devices.len().min(USER_DEVICES_MAX)),
            badge_since: None,
            tokens_refused: 0,
            token_try_at: Time(0),
            flights: 0,
            told_at: None,
            badge_told_at: None,
            vip_full_at: Time(0),
            due: None,
            timer: wheel.slot(TimerKey::User(id)),
            queued: false,
        });
        self.by_key.insert(assign.user, user_id);
        if assign.notices.sync_point == UnixMillis(0) && assign.notices.began.is_none() {
            // From here on every mail is to be told, whatever happens to us before the first.
            self.report_noticed(user_id, fx);
        }
        self.stats.users += 1;
        for device in assign.devices {
            self.add_device(now, user_id, device, fx);
        }
        if assign.server.is_none() {
            // Nothing can be looked up: what an earlier life left behind goes out without details.
            self.resolve_unsettled(now, user_id, fx);
        }
        let kept = self.users.get(user_id).is_some_and(|user| user.subscription.is_some());
        let route = watch.as_ref().filter(|_| kept).map(|watch| (&watch.anchor, &*watch.cookie));
        self.join_cohort(now, user_id, &assign.grouping, route, None, fx);
    }

    /// The owner knows something new of a user: another address, server, group or choice of folders means
    /// another subscription.
    fn reassign_user(&mut self, now: Now, user_id: UserId, assign: AssignUser, fx: &mut Effects) {
        let folders = self.folder_rows(assign.server, assign.folders, &[]);
        let Some(user) = self.users.get_mut(user_id) else { return };
        let moved = user.address != assign.address || user.server != assign.server;
        let same_server = user.server == assign.server;
        let same = user.folders.iter().map(|folder| &folder.id).eq(folders.iter().map(|folder| &folder.id));
        let cohort = user.cohort.and_then(|cohort| self.cohorts.get(cohort));
        let regrouped = cohort.is_some_and(|cohort| cohort.grouping != assign.grouping);
        user.vip = assign.vip;
        if moved || !same || regrouped {
            // The folders of a subscription cannot be changed, nor the server that holds it: another one takes its place.
            self.leave_cohort(now, user_id, fx);
            let Some(user) = self.users.get_mut(user_id) else { return };
            if moved || !same {
                let dropped = user.folders.iter().any(|folder| folder.why.is_some());
                let before = std::mem::replace(&mut user.folders, folders);
                for folder in &mut user.folders {
                    folder.looked_into = before.iter().any(|one| one.id == folder.id && one.looked_into);
                }
                if dropped {
                    self.report_dropped_folders(user_id, fx);
                }
            }
            let Some(user) = self.users.get_mut(user_id) else { return };
            user.watch = user.watch.wrapping_add(1);
            if user.calling == Calling::Waits {
                // Perhaps in another server's queue.
                user.calling = Calling::No;
            }
            (user.folders_doubtful, user.folders_on_trial) = (false, false);
            user.begin_catch_up();
            user.look_again = false;
            if !planted!(AccountKept) {
                user.account = item_hash(&self.config.item_key, assign.address.as_str());
            }
            user.address = assign.address;
            user.server = assign.server;
            let busy_until = user.setback.as_deref().and_then(|setback| setback.busy_until(now.time));
            // Under another address it is the same budget.
            let busy_until = busy_until.filter(|_| same_server);
            user.call_not_before = busy_until.unwrap_or(Time(0));
            if moved {
                user.slow = false;
                user.setback = user.setback.take().filter(|_| busy_until.is_some());
                (user.inbox, user.inbox_unread) = (None, None);
                user.set_sync_now(None);
            }
            if assign.server.is_some() {
                user.needs.add(Needs::SUBSCRIBE);
                user.needs.add(Needs::BADGE);
                user.miss();
            }
            self.forget_watch(user_id, fx);
            self.join_cohort(now, user_id, &assign.grouping, None, None, fx);
        }
        self.take_back(now, user_id, fx);
        for device in assign.devices {
            self.register_device(now, assign.user, device, fx);
        }
        if moved && assign.server.is_none() {
            // As for a newcomer: nothing can be looked up any more.
            if let Some(user) = self.users.get_mut(user_id) {
                user.needs = Needs::none();
            }
            self.resolve_unsettled(now, user_id, fx);
        }
    }

    /// What is stored of a user's subscription is about another mailbox, or other folders: a next life must not go on with it.
    fn forget_watch(&self, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get(user_id) else { return };
        let watch = WatchRecord { subscription: None, anchor: user.address.clone(), cookie: "".into() };
        fx.report(Report::Watched { user: user.key, watch });
    }

    /// Rows for the folders of the server's configuration and the user's own choice, each once.
    fn folder_rows(
        &self,
        server: Option<MailServerId>,
        chosen: Vec<FolderId>,
        sync: &[FolderSync],
    ) -> Box<[Folder]> {
        let Some(server) = server else { return Box::default() };
        let mut rows: Vec<Folder> = Vec::new();
        for id in self.mail_server(server).folders.iter().cloned().chain(chosen) {
            if rows.len() < USER_FOLDERS_MAX && rows.iter().all(|row| row.id != id) {
                let stored = sync.iter().find(|sync| sync.folder.as_ref() == Some(&id));
                rows.push(Folder::new(id, stored.map(|sync| sync.state.clone())));
            }
        }
        rows.into()
    }

    fn drop_user(&mut self, now: Now, key: UserKey, fx: &mut Effects) {
        let Some(user_id) = self.by_key.remove(&key) else { return };
        let devices = self.users.get(user_id).map(|user| user.devices.clone()).unwrap_or_default();
        for device in devices {
            self.remove_device(user_id, device, Suppressed::Removed);
        }
        self.leave_cohort(now, user_id, fx);
        if let Some(user) = self.users.remove(user_id) {
            self.stats.users -= 1;
            self.stats.users_stopped -= u64::from(user.stopped);
            self.wheel.release(user.timer);
        }
    }

    fn register_device(&mut self, now: Now, key: UserKey, spec: DeviceSpec, fx: &mut Effects) {
        let Some(user_id) = self.by_key.get(&key).copied() else { return };
        if planted!(StopUndoneForAll)
            && let Some(user) = self.users.get(user_id)
        {
            for device_id in &user.devices {
                if let Some(device) = self.devices.get_mut(*device_id) {
                    device.stopped = false;
                }
            }
        }
        match self.find_device(key, spec.device) {
            None => {
                self.add_device(now, user_id, spec, fx);
                if self.users.get(user_id).is_some_and(|user| !user.needs.has(Needs::CATCH_UP)) {
                    // No look at the mailbox is to come that it could wait for.
                    self.resolve_unsettled(now, user_id, fx);
                }
            }
            Some((_, device_id)) => {
                let service = spec.service;
                // Whatever it waited for, it may be another app, provider or token now.
                self.unpark(device_id);
                let mut silent = None;
                if let Some(device) = self.devices.get_mut(device_id) {
                    let same = device.token == spec.token && device.service == spec.service;
                    device.proven &= same && device.topic == spec.topic;
                    if let Some(flight) = device.flight.and_then(|flight| self.flights.get_mut(flight)) {
                        flight.registered_since = true;
                        flight.token_stale |= !same || device.topic != spec.topic;
                        flight.words_stale |= device.settings != spec.settings;
                    }
                    device.service = spec.service;
                    device.token = spec.token;
                    device.topic = spec.topic;
                    device.registered = device.registered.max(spec.registered);
                    device.active = last_use(now.unix, device.active, spec.active);
                    if !planted!(SettingsIgnored) {
                        device.settings = spec.settings;
                    }
                    device.stopped = spec.stopped;
                    if device.stopped {
                        silent = Some(Suppressed::Stopped);
                    } else if !device.settings.alerts {
                        silent = Some(Suppressed::AlertsOff);
                    }
                    device.suspect = false;
                    device.pardoned = false;
                    (device.failures, device.stale_gones) = (0, 0);
                    device.not_before = now.time;
                    if !same {
                        device.badge = None;
                    }
                }
                if let Some(why) = silent {
                    self.silence(user_id, device_id, why, fx);
                }
                self.count_stopped(user_id);
                self.use_service(now, service, fx);
                self.try_app_soon(now, device_id);
            }
        }
        self.look_due(now, user_id, fx);
    }

    fn add_device(&mut self, now: Now, user_id: UserId, spec: DeviceSpec, fx: &mut Effects) {
        if usize::from(spec.service.0) >= self.services.len() {
            return;
        }
        let Some(user) = self.users.get_mut(user_id) else { return };
        if user.devices.len() >= USER_DEVICES_MAX {
            return;
        }
        let service = spec.service;
        let device = Device::new(user_id, spec, user.pending.seq());
        if device.owed > 0 {
            user.pending.mark_waiting(now.time);
            self.stats.ledger.enter(Station::Folded, u64::from(device.owed));
        }
        user.devices.push(self.devices.insert(device));
        self.stats.devices += 1;
        self.count_stopped(user_id);
        self.use_service(now, service, fx);
    }

    /// A device wants no alerts any more, or is to get nothing at all: what it is owed is not told. A push on its way is ended
    /// by its answer.
    fn silence(&mut self, user_id: UserId, device_id: DeviceId, why: Suppressed, fx: &mut Effects) {
        let (Some(user), Some(device)) = (self.users.get(user_id), self.devices.get_mut(device_id)) else {
            return;
        };
        let owed = std::mem::take(&mut device.owed);
        self.stats.ledger.enter(Station::Suppressed(why), u64::from(owed));
        device.told_seq = user.pending.seq();
        let unwanted = |mails: u32| mails > 0 || why == Suppressed::Stopped;
        let flight =
            device.flight.filter(|flight| self.flights.get(*flight).is_some_and(|one| unwanted(one.mails)));
        if device.unsettled.take().is_some() {
            let (key, badge) = (device.key, device.badge);
            fx.report(Report::Device { user: user.key, device: key, badge, unsettled: None });
        }
        if let Some(flight) = flight.filter(|_| why != Suppressed::Stopped || !planted!(StopIgnored)) {
            self.end_unsent(flight, why);
        }
        self.tidy(user_id);
    }

    /// Takes a device out. A push on its way is answered to nobody: its tellings count as accepted or not by what comes.
    pub(super) fn remove_device(&mut self, user_id: UserId, device_id: DeviceId, why: Suppressed) {
        self.unpark(device_id);
        let Some(device) = self.devices.remove(device_id) else { return };
        self.stats.devices -= 1;
        self.stats.ledger.enter(Station::Suppressed(why), u64::from(device.owed));
        if let Some(user) = self.users.get_mut(user_id) {
            user.devices.retain(|id| *id != device_id);
        }
        if let Some(flight_id) = device.flight {
            self.end_unsent(flight_id, why);
        }
        self.count_stopped(user_id);
        self.tidy(user_id);
    }

    /// Nothing more goes to the devices that are there. One that registers afterwards is not concerned: the owner of a lost
    /// phone has a new one on the same day.
    fn stop_user(&mut self, key: UserKey, fx: &mut Effects) {
        let Some(user_id) = self.by_key.get(&key).copied() else { return };
        let Some(user) = self.users.get_mut(user_id) else { return };
        user.due = None;
        user.badge_since = None;
        user.needs.remove(Needs::FETCH);
        user.settle_known();
        for device_id in user.devices.clone() {
            let Some(device) = self.devices.get_mut(device_id) else { continue };
            device.stopped = true;
            self.silence(user_id, device_id, Suppressed::Stopped, fx);
        }
        self.count_stopped(user_id);
        self.unpark_told(user_id);
        self.tidy(user_id);
    }

    /// A user counts as stopped as long as all devices are.
    fn count_stopped(&mut self, user_id: UserId) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let stopped = |id: &DeviceId| self.devices.get(*id).is_some_and(|device| device.stopped);
        let all = !user.devices.is_empty() && user.devices.iter().all(stopped);
        match (std::mem::replace(&mut user.stopped, all), all) {
            (false, true) => self.stats.users_stopped += 1,
            (true, false) => self.stats.users_stopped -= 1,
            (true, true) | (false, false) => {}
        }
    }

    pub(super) fn find_device(&self, user: UserKey, device: DeviceKey) -> Option<(UserId, DeviceId)> {
        let user_id = self.by_key.get(&user).copied()?;
        let devices = &self.users.get(user_id)?.devices;
        let found = devices.iter().find(|id| self.devices.get(**id).is_some_and(|row| row.key == device));
        found.map(|device_id| (user_id, *device_id))
    }

    /// Tells the owner when a mailbox has come to be watched and caught up.
    pub(super) fn look_live(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        let heard = self.is_heard(user_id);
        let Some(user) = self.users.get_mut(user_id) else { return };
        if user.needs.has(Needs::CATCH_UP) || user.needs.has(Needs::BADGE) {
            return;
        }
        if !heard {
            return self.tell_polling(user_id, fx);
        }
        user.polling = Polling::No;
        if !user.live {
            fx.report(Report::Live { user: user.key });
            self.set_live(user_id, true);
            self.try_next_folder(now, user_id, fx);
        }
    }

    pub(super) fn set_live(&mut self, user_id: UserId, live: bool) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        if user.live != live {
            user.live = live;
            if live {
                self.stats.users_live += 1;
            } else {
                self.stats.users_live -= 1;
            }
        }
    }

    /// Tells the owner that a mailbox is not watched.
    pub(super) fn set_unwatched(&mut self, user_id: UserId, trouble: &Trouble, fx: &mut Effects) {
        self.set_live(user_id, false);
        if let Some(user) = self.users.get_mut(user_id) {
            if std::mem::replace(&mut user.polling, Polling::No) != Polling::No {
                user.miss();
            }
            fx.report(Report::Unwatched { user: user.key, trouble: trouble.clone() });
        }
    }

    /// Whether a device's app was used recently enough for details.
    pub(super) fn details_allowed(&self, now: UnixMillis, active: UnixMillis) -> bool {
        crate::notice::details_allowed(now, active, self.config.timing.detail_cutoff_s)
    }
}

/// The later of two uses of an app. One that lies in the future comes from a clock that was wrong: believed, it would hide
/// every use until then.
fn last_use(now: UnixMillis, known: UnixMillis, new: UnixMillis) -> UnixMillis {
    let believable = |at: &UnixMillis| at.millis_since(now) <= CLOCK_SKEW_MS_MAX;
    [known, new].into_iter().filter(believable).max().unwrap_or(UnixMillis(0))
}
