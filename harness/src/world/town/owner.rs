//! What the owner of a town's engine does while the days go on: users come, go, and are assigned again, or have
//! themselves stopped; and what is made again after a loss of power.

use carillon_core::shard::{AssignUser, Command, Timing, VipRules};
use carillon_core::time::Span;

use super::Town;
use crate::exchange::ImpersonationRight;

impl Town {
    /// People whose mailboxes the engine watches.
    pub fn watched(&self) -> usize {
        self.people.iter().filter(|person| !person.away).count()
    }

    /// Somebody new comes, with a mailbox and phones. Returns who.
    pub fn join(&mut self, phones: usize, back_ends: usize) -> usize {
        let number = self.people.len();
        let server = number % self.world.exchanges.len();
        let mailbox = crate::exchange::MailboxKey(self.world.exchanges[server].mailbox_count() as u32);
        let account = self.account(server);
        self.world.exchanges[server].change_account(account, |account| {
            if account.impersonation == ImpersonationRight::None {
                account.full_access.insert(mailbox);
            }
        });
        self.settle_person(number, phones, self.world.shards(), number % back_ends, false);
        number
    }

    /// The owner forgets one of the people, who goes. He may come back.
    pub fn drop_person(&mut self, person: usize) {
        let now = self.world.now().time;
        let row = &mut self.people[person];
        if std::mem::replace(&mut row.away, true) {
            return;
        }
        self.audit.absent(row.user, now);
        row.phones.iter().for_each(|phone| self.audit.phone_gone(phone.phone, now));
        let (shard, user) = (row.shard, row.key);
        self.live.remove(&user);
        self.world.command(shard, Command::DropUser { user });
    }

    /// One of the people who went comes back, to whichever shard, as somebody of whom nothing is known.
    pub fn come_back(&mut self, person: usize, shard: usize) {
        if !std::mem::replace(&mut self.people[person].away, false) {
            return;
        }
        let row = &mut self.people[person];
        row.shard = shard;
        // What the mail server asked for was asked of somebody who was to forget it.
        self.world.exchanges[row.server].forgotten(row.mailbox);
        self.audit.back(self.people[person].user, self.world.now().time);
        for phone in 0..self.people[person].phones.len() {
            self.reinstall(person, phone);
        }
        self.assign_anew(person);
    }

    /// The owner forgets one of a person's phones, until it is registered again.
    pub fn remove_phone(&mut self, person: usize, phone: usize) {
        let row = &mut self.people[person];
        if row.away {
            return;
        }
        row.phones[phone].removed = true;
        self.audit.phone_gone(row.phones[phone].phone, self.world.now().time);
        let command = Command::RemoveDevice { user: row.key, device: row.phones[phone].key };
        let shard = row.shard;
        self.world.command(shard, command);
    }

    /// The owner assigns one of the people with all that he has registered.
    fn assign_anew(&mut self, person: usize) {
        let row = &self.people[person];
        let vip =
            self.world.store.assigned(row.key).map_or_else(VipRules::default, |known| known.vip.clone());
        let kept = row.phones.iter().filter(|phone| !phone.removed);
        let devices = kept.map(|phone| phone.spec.clone()).collect();
        let assign = self.assign(row, vip, devices);
        let shard = row.shard;
        self.world.command(shard, Command::AssignUser(Box::new(assign)));
    }

    /// An app is there anew, as far as the push service and the audit know.
    fn reinstall(&mut self, person: usize, phone: usize) {
        let now = self.world.now();
        let row = &mut self.people[person].phones[phone];
        row.removed = false;
        row.spec.stopped = false;
        (row.spec.registered, row.spec.active) = (now.unix, now.unix);
        self.world.apns[row.service].register(&row.token());
        self.audit.register_again(row.phone, now.time, now.unix);
    }

    /// The owner assigns one of the people again with what is stored of him, as if at a start; without his devices, if so
    /// asked. `change` may alter it.
    pub fn assign_again(&mut self, person: usize, devices: bool, change: impl FnOnce(&mut AssignUser)) {
        let row = &self.people[person];
        let Some(mut assign) = self.world.store.assigned(row.key).filter(|_| !row.away) else { return };
        if !devices {
            assign.devices.clear();
        }
        change(&mut assign);
        let shard = row.shard;
        self.world.command(shard, Command::AssignUser(Box::new(assign)));
    }

    /// One of the people goes from his shard to another, with what is stored of him.
    pub fn change_shard(&mut self, person: usize, shard: usize) {
        let row = &mut self.people[person];
        if row.away || row.shard == shard {
            return;
        }
        let from = std::mem::replace(&mut row.shard, shard);
        self.live.remove(&row.key);
        self.world.exchanges[row.server].forgotten(row.mailbox);
        self.world.hand_over(row.key, from, shard);
    }

    /// One of the people says which mails go first.
    pub fn set_vip(&mut self, person: usize, vip: VipRules) {
        let row = &self.people[person];
        let assign = self.assign(row, vip, Vec::new());
        let shard = row.shard;
        self.world.command(shard, Command::AssignUser(Box::new(assign)));
    }

    /// Notifications of one of the people are stopped: nothing more for the phones that are there.
    pub fn stop(&mut self, person: usize) {
        if self.people[person].away {
            return;
        }
        let row = &mut self.people[person];
        row.phones.iter_mut().for_each(|phone| phone.spec.stopped = true);
        let row = &self.people[person];
        self.audit.stopped(row.user, self.world.now().time);
        let (shard, command) = (row.shard, Command::StopUser { user: row.key });
        self.world.command(shard, command);
    }

    /// Times and intervals are set anew, on all shards.
    pub fn set_timing(&mut self, timing: Timing) {
        let cutoff = Span::from_secs(timing.detail_cutoff_s.into());
        self.audit.set_cutoff(self.world.now().time, cutoff);
        (0..self.world.shards()).for_each(|shard| self.world.command(shard, Command::SetTiming(timing)));
    }

    /// The power fails on the engine's machine: what was written down within the last `tail` is gone. Whose registration or
    /// stop is among it, makes it again: his app was told that it was done, and sees that it was not.
    pub fn lose_power(&mut self, tail: Span) {
        self.hear();
        let from = self.world.now().time - tail;
        self.audit.power_failed(from);
        let broken = self.world.lose_power(from);
        for person in 0..self.people.len() {
            if broken.contains(&self.people[person].key) {
                self.make_again(person);
            }
        }
    }

    /// What the owner or an app was told that it is done, and that is gone with the power, is done again.
    pub(super) fn make_again(&mut self, person: usize) {
        let row = &self.people[person];
        let (shard, user) = (row.shard, row.key);
        if row.away {
            return self.world.command(shard, Command::DropUser { user });
        }
        self.assign_anew(person);
        for phone in 0..self.people[person].phones.len() {
            if self.people[person].phones[phone].removed {
                self.remove_phone(person, phone);
            } else if !self.people[person].phones[phone].spec.stopped {
                self.register_again(person, phone);
            }
        }
    }
}
