//! The store as a model: what a shard is given back after a crash.

use std::collections::{BTreeMap, VecDeque};

use carillon_core::names::{DeviceKey, UserKey};
use carillon_core::shard::{AssignUser, Command, DeviceSpec, Report};
use carillon_core::time::{Span, Time};

use super::disk::{Damage, Killed, Unstored};

/// Everything durable, as the engine's owner keeps it.
#[derive(Debug, Default)]
pub struct Store {
    users: BTreeMap<UserKey, Row>,
    tokens: BTreeMap<usize, Vec<Command>>,
    /// What the newest changes overwrote, oldest first: it is written to the file, but perhaps not yet to the disk.
    tail: VecDeque<Overwritten>,
    pub(super) unstored: Unstored,
}

#[derive(Debug)]
struct Overwritten {
    at: Time,
    user: UserKey,
    before: Option<Row>,
    /// Somebody was told that this is stored.
    acknowledged: bool,
}

/// What was written longer ago than this survives a loss of power.
pub const POWER_LOSS_MAX: Span = Span::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Row {
    shard: usize,
    assign: AssignUser,
    pub(super) devices: BTreeMap<DeviceKey, DeviceSpec>,
}

impl Row {
    fn assign(&self) -> AssignUser {
        AssignUser { devices: self.devices.values().cloned().collect(), ..self.assign.clone() }
    }

    /// What is registered of a device. What was stored of a known one stays: a refresh brings what the app knows, and what is
    /// on its way stays written down. Another token is another phone: it shows nothing yet.
    fn register(&mut self, device: &DeviceSpec) {
        let known = self.devices.get(&device.device);
        let same_phone = |old: &&DeviceSpec| {
            old.token == device.token && old.topic == device.topic && old.service == device.service
        };
        let (badge, unsettled) = match known {
            Some(old) => (known.filter(same_phone).and_then(|old| old.badge), old.unsettled),
            None => (device.badge, device.unsettled),
        };
        self.devices.insert(device.device, DeviceSpec { badge, unsettled, ..device.clone() });
    }

    /// What the engine reports of the user.
    pub(super) fn apply(&mut self, report: &Report) {
        match report {
            Report::Watched { watch, .. } => self.assign.watch = Some(watch.clone()),
            Report::Synced { folders, .. } => self.assign.sync.clone_from(folders),
            Report::Noticed { notices, .. } => self.assign.notices = notices.clone(),
            Report::Device { device, badge, unsettled, .. } => {
                if let Some(device) = self.devices.get_mut(device) {
                    device.badge = *badge;
                    device.unsettled = *unsettled;
                }
            }
            Report::DeviceGone { device, .. } => {
                self.devices.remove(device);
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
}

impl Store {
    /// What is stored of a user.
    pub fn assigned(&self, user: UserKey) -> Option<AssignUser> {
        self.users.get(&user).map(Row::assign)
    }

    /// A user belongs to another shard from now on. Returns what is stored of him, without the subscription: the shard that he
    /// leaves gives it back.
    pub(super) fn hand_over(&mut self, user: UserKey, to: usize) -> Option<AssignUser> {
        self.unstored.forget(user);
        let row = self.users.get_mut(&user)?;
        row.shard = to;
        row.assign.watch = None;
        for change in self.tail.iter_mut().filter(|change| change.user == user) {
            if let Some(row) = &mut change.before {
                row.shard = to;
            }
        }
        Some(row.assign())
    }

    /// Whether a loss of power would take anything with it.
    pub(super) fn written_after(&self, from: Time) -> bool {
        self.tail.back().is_some_and(|change| change.at > from)
    }

    /// The power fails: everything written after `from` is gone. Returns whose acknowledged changes are.
    pub(super) fn lose_power(&mut self, from: Time) -> Vec<UserKey> {
        let mut broken = Vec::new();
        while let Some(change) = self.tail.pop_back_if(|change| change.at > from) {
            if change.acknowledged && !broken.contains(&change.user) {
                broken.push(change.user);
            }
            match change.before {
                Some(row) => self.users.insert(change.user, row),
                None => self.users.remove(&change.user),
            };
        }
        self.tail.clear();
        broken
    }

    fn overwrite(&mut self, at: Time, user: UserKey, acknowledged: bool) {
        while self.tail.pop_front_if(|change| change.at + POWER_LOSS_MAX < at).is_some() {}
        let before = self.users.get(&user).cloned();
        self.tail.push_back(Overwritten { at, user, before, acknowledged });
    }

    pub(super) fn note_command(&mut self, now: Time, shard: usize, command: &Command) {
        match command {
            Command::RegisterDevice { user, .. }
            | Command::RemoveDevice { user, .. }
            | Command::TouchDevice { user, .. }
            | Command::StopUser { user } => self.overwrite(now, *user, true),
            Command::DropUser { user } => self.overwrite(now, *user, true),
            // A town is founded on solid ground.
            Command::AssignUser(assign) if now > Time(0) => self.overwrite(now, assign.user, true),
            Command::AssignUser(_) => {}
            Command::SetTeamToken { .. }
            | Command::Signal { .. }
            | Command::SetMailCredential { .. }
            | Command::SetTiming(_)
            | Command::Drain => {}
        }
        if let Command::SetTeamToken { .. } = command {
            self.tokens.insert(shard, vec![command.clone()]);
        }
        if let Command::DropUser { user } = command {
            self.unstored.forget(*user);
        }
        // Also under what the engine has reported and the store does not have yet.
        let stored = self.unstored.rows();
        if user_of(command).is_some_and(|user| stored.contains_key(&user)) {
            apply(stored, shard, command);
        }
        apply(&mut self.users, shard, command);
    }

    pub(super) fn note_report(&mut self, now: Time, shard: usize, report: &Report) {
        if let Report::Watched { user, .. }
        | Report::Synced { user, .. }
        | Report::Noticed { user, .. }
        | Report::Device { user, .. }
        | Report::DeviceGone { user, .. } = report
        {
            self.overwrite(now, *user, false);
            if let Some(row) = self.users.get_mut(user) {
                self.unstored.note(now, shard, *user, row, report);
                row.apply(report);
            }
        }
    }

    /// A shard's process is killed: what neither the journal nor the store has is gone. With `power`, nothing written later is
    /// there.
    pub(super) fn kill(
        &mut self,
        now: Time,
        shard: usize,
        damage: Option<Damage>,
        power: Option<Time>,
    ) -> Killed {
        let mut killed = self.unstored.kill(now, shard, damage, power);
        for (user, row) in std::mem::take(&mut killed.rows) {
            if let Some(at) = self.users.get_mut(&user) {
                *at = row;
            }
        }
        killed
    }

    /// What a shard that starts again is told.
    pub(super) fn commands(&self, shard: usize) -> Vec<Command> {
        let tokens = self.tokens.get(&shard).cloned().unwrap_or_default();
        let rows = self.users.values().filter(|row| row.shard == shard);
        let users = rows.map(|row| Command::AssignUser(Box::new(row.assign())));
        tokens.into_iter().chain(users).collect()
    }
}

/// What a command changes in what is stored.
fn apply(users: &mut BTreeMap<UserKey, Row>, shard: usize, command: &Command) {
    match command {
        Command::AssignUser(assign) => {
            let mut assign = (**assign).clone();
            let named = std::mem::take(&mut assign.devices);
            let mut row = match users.remove(&assign.user) {
                // What is stored of a known user stays; the command brings only what changed.
                Some(known) => {
                    assign.watch = known.assign.watch;
                    assign.notices = known.assign.notices;
                    assign.sync = known.assign.sync;
                    Row { shard, assign, devices: known.devices }
                }
                None => Row { shard, assign, devices: BTreeMap::new() },
            };
            named.iter().for_each(|device| row.register(device));
            users.insert(row.assign.user, row);
        }
        Command::DropUser { user } => {
            users.remove(user);
        }
        Command::RegisterDevice { user, device } => {
            if let Some(row) = users.get_mut(user) {
                row.register(device);
            }
        }
        Command::RemoveDevice { user, device } => {
            if let Some(row) = users.get_mut(user) {
                row.devices.remove(device);
            }
        }
        Command::TouchDevice { user, device, at } => {
            if let Some(device) = users.get_mut(user).and_then(|row| row.devices.get_mut(device)) {
                device.active = *at;
            }
        }
        Command::StopUser { user } => {
            if let Some(row) = users.get_mut(user) {
                for device in row.devices.values_mut() {
                    device.stopped = true;
                    device.unsettled = None;
                }
            }
        }
        Command::SetTeamToken { .. }
        | Command::Signal { .. }
        | Command::SetMailCredential { .. }
        | Command::SetTiming(_)
        | Command::Drain => {}
    }
}

fn user_of(command: &Command) -> Option<UserKey> {
    match command {
        Command::AssignUser(assign) => Some(assign.user),
        Command::DropUser { user }
        | Command::RegisterDevice { user, .. }
        | Command::RemoveDevice { user, .. }
        | Command::TouchDevice { user, .. }
        | Command::StopUser { user } => Some(*user),
        Command::SetTeamToken { .. }
        | Command::Signal { .. }
        | Command::SetMailCredential { .. }
        | Command::SetTiming(_)
        | Command::Drain => None,
    }
}
