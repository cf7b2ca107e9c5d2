//! What the owner of the engine does in a day, and what becomes of the accounts that it logs in with.

use carillon_core::rng::Rng;
use carillon_core::shard::{Command, Report, Timing};
use carillon_core::time::{Span, Time};

use super::plan::{Act, Plan, below, chance, draw_timing, pick};
use super::profile::Profile;
use super::run::{Life, Trouble};
use crate::exchange::{ImpersonationRight, MailboxKey, Override};
use crate::world::town::Change;

/// The owner has a generator of its own: the rest of a day is what it would be without it.
const OWNER: u64 = 0x0b0e_0e55_0000_0002;

/// One thing that the owner does. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names of the parts say it")]
pub enum OwnerAct {
    /// Somebody new comes, with so many phones.
    Join { phones: usize },
    /// A user goes: the engine is to forget him.
    Drop { user: usize },
    /// He comes back, as somebody new, to some shard.
    Return { user: usize, shard: usize },
    /// A user goes to another shard, with what is stored of him.
    ChangeShard { user: usize, shard: usize },
    /// A user is assigned again as he is, with his devices or without.
    Refresh { user: usize, devices: bool },
    /// A user is to share streams with others.
    Regroup { user: usize, grouping: u8 },
    /// The owner forgets a phone; it may be registered again.
    RemovePhone { user: usize, phone: usize },
    /// The credential for a mail server is changed; what is to follow does so after so long.
    Credential { server: usize, change: Change, later: Span },
    /// A mail server refuses the next requests although the credential is right.
    Distrust { server: usize, requests: u32 },
    /// The account may not act in mailboxes for a while.
    RightsTaken { server: usize, length: Span },
    /// EWS is disabled for the account for a while.
    EwsDisabled { server: usize, length: Span },
    /// A shard is to end: it sends what is due and takes no more on.
    Drain { shard: usize },
    /// A shard that was drained starts again, whether it had come to its end or not.
    Restart { shard: usize },
    /// The process dies with all its shards.
    CrashAll,
    /// Times and intervals are set anew.
    SetTiming { timing: Timing },
}

impl OwnerAct {
    /// Whether the engine may not hear, from then on, what happens in mailboxes.
    pub(super) fn deafens(&self) -> bool {
        match self {
            OwnerAct::Drop { .. }
            | OwnerAct::ChangeShard { .. }
            | OwnerAct::Regroup { .. }
            | OwnerAct::Credential { .. }
            | OwnerAct::Distrust { .. }
            | OwnerAct::RightsTaken { .. }
            | OwnerAct::EwsDisabled { .. }
            | OwnerAct::Drain { .. }
            | OwnerAct::Restart { .. }
            | OwnerAct::CrashAll => true,
            OwnerAct::SetTiming { .. }
            | OwnerAct::Join { .. }
            | OwnerAct::RemovePhone { .. }
            | OwnerAct::Return { .. }
            | OwnerAct::Refresh { .. } => false,
        }
    }
}

impl OwnerAct {
    /// Whether a mail server refuses the engine for a reason that looks as if it would last.
    pub(super) fn lasts(&self) -> bool {
        matches!(
            self,
            OwnerAct::Credential { .. }
                | OwnerAct::Distrust { .. }
                | OwnerAct::RightsTaken { .. }
                | OwnerAct::EwsDisabled { .. }
        )
    }

    /// Whether a shard's process dies of it.
    pub(super) fn kills(&self) -> bool {
        matches!(self, OwnerAct::Restart { .. } | OwnerAct::CrashAll)
    }

    fn draw_credential(rng: &mut Rng) -> OwnerAct {
        let server = rng.below(1 << 20) as usize;
        let length = Span(rng.below(400_000_000));
        match rng.below(8) {
            0..=3 => {
                let change = pick(rng, &[Change::Unannounced, Change::WithOverlap, Change::TooEarly]);
                OwnerAct::Credential { server, change, later: Span(length.0 / 4) }
            }
            4 | 5 => OwnerAct::Distrust { server, requests: 1 + rng.below(3) as u32 },
            6 => OwnerAct::RightsTaken { server, length },
            _ => OwnerAct::EwsDisabled { server, length },
        }
    }
}

impl Plan {
    /// What the owner does on this day: nothing on most.
    pub(super) fn draw_owner(&mut self, profile: &Profile) {
        let owner = &profile.owner;
        let mut rng = Rng::new(!self.seed ^ OWNER);
        let rng = &mut rng;
        if chance(rng, &owner.comings_percent) {
            let times = owner.comings_per_hour.draw(rng) * self.length.0 / 3_600_000_000;
            (0..times.max(1)).for_each(|_| self.draw_coming(rng));
            if self.full_access {
                // Newcomers, other groups and another distribution over the shards need streams, each twice as above.
                self.manners.limits.hanging_connections_max += 2 * times.max(1) as u32;
            }
        }
        self.patience = Span::from_secs(owner.patience_s.draw(rng));
        self.mail_tokens = chance(rng, &owner.mail_tokens_percent);
        if chance(rng, &owner.credentials_percent) {
            let times = owner.credentials_per_hour.draw(rng) * self.length.0 / 3_600_000_000;
            for _ in 0..times.max(1) {
                let act = (self.moment(rng), Act::Owner(OwnerAct::draw_credential(rng)));
                self.acts.push(act);
            }
        }
        if chance(rng, &owner.restarts_percent) {
            let times = owner.restarts_per_hour.draw(rng) * self.length.0 / 3_600_000_000;
            (0..times.max(1)).for_each(|_| self.draw_restart(rng));
        }
        if chance(rng, &owner.timings_percent) {
            for _ in 0..1 + rng.below(3) {
                let timing = draw_timing(rng, &profile.engine);
                self.acts.push((self.moment(rng), Act::Owner(OwnerAct::SetTiming { timing })));
            }
        }
    }

    fn draw_restart(&mut self, rng: &mut Rng) {
        let at = self.moment(rng);
        let shard = rng.below(1 << 20) as usize;
        let user = rng.below(self.users as u64) as usize;
        if rng.chance(1, 4) {
            self.acts.push((at, Act::Owner(OwnerAct::CrashAll)));
        } else {
            self.acts.push((at, Act::Owner(OwnerAct::Drain { shard })));
            let end = at + below(rng, DRAIN_MAX);
            let restart = match rng.below(4) {
                0 => Act::Crash { shard },
                _ => Act::Owner(OwnerAct::Restart { shard }),
            };
            self.acts.push((end, restart));
        }
        let around = Time(at.0.saturating_sub(AROUND.0 / 2));
        for _ in 0..rng.below(4) {
            let mail = Act::Mail { user, mails: 1 + rng.below(2), vip: false };
            self.acts.push((around + below(rng, AROUND), mail));
        }
    }

    fn draw_coming(&mut self, rng: &mut Rng) {
        let user = rng.below(self.users as u64) as usize;
        let at = self.moment(rng);
        let shard = rng.below(1 << 20) as usize;
        let act = match rng.below(10) {
            0 => OwnerAct::Join { phones: 1 + rng.below(2) as usize },
            1..=3 => {
                if rng.chance(4, 5) {
                    let back = at + below(rng, BREAK_MAX);
                    self.acts.push((back, Act::Owner(OwnerAct::Return { user, shard })));
                }
                OwnerAct::Drop { user }
            }
            4..=6 => OwnerAct::ChangeShard { user, shard },
            7 => OwnerAct::Refresh { user, devices: rng.chance(1, 2) },
            8 => {
                let phone = rng.below(self.phones as u64) as usize;
                if rng.chance(3, 4) {
                    let back = at + below(rng, BREAK_MAX);
                    self.acts.push((back, Act::Register { user, phone }));
                }
                OwnerAct::RemovePhone { user, phone }
            }
            _ => OwnerAct::Regroup { user, grouping: rng.below(3) as u8 },
        };
        self.acts.push((at, Act::Owner(act)));
        // Things do harm where they meet: often there is mail on its way.
        for _ in 0..rng.below(3) {
            let user = if rng.chance(4, 5) { user } else { self.users + rng.below(4) as usize };
            let mail = Act::Mail { user, mails: 1 + rng.below(2), vip: false };
            self.acts.push((at + below(rng, AROUND), mail));
        }
        if let Some(before) = at.0.checked_sub(AROUND.0) {
            let mail = Act::Mail { user, mails: 1 + rng.below(2), vip: rng.chance(1, 4) };
            self.acts.push((Time(before) + below(rng, AROUND), mail));
        }
    }
}

/// How long somebody may be gone.
const BREAK_MAX: Span = Span::from_secs(200);

/// Whoever ends the engine waits so long for a drain at most.
const DRAIN_MAX: Span = Span::from_secs(30);

/// In peace, what is on its way has arrived by then.
const DRAIN_IN_PEACE_MAX: Span = Span::from_secs(60);

/// Mail comes so shortly before and after the owner does something.
const AROUND: Span = Span::from_secs(6);

impl Life {
    pub(super) fn owner_act(&mut self, act: &OwnerAct) {
        let (people, shards) = (self.town.people.len(), self.shards);
        let servers = self.town.world.exchanges.len();
        match act {
            OwnerAct::Join { phones } => {
                self.town.join(*phones, self.back_ends);
            }
            OwnerAct::Drop { user } => self.town.drop_person(user % people),
            OwnerAct::Return { user, shard } => self.town.come_back(user % people, shard % shards),
            OwnerAct::ChangeShard { user, shard } => self.town.change_shard(user % people, shard % shards),
            OwnerAct::Refresh { user, devices } => {
                self.town.assign_again(user % people, *devices, |_| {});
            }
            OwnerAct::Regroup { user, grouping } => {
                let grouping = format!("group {grouping}").into();
                self.town.assign_again(user % people, false, |assign| assign.grouping = grouping);
            }
            OwnerAct::RemovePhone { user, phone } => {
                let phones = self.town.people[user % people].phones.len();
                self.town.remove_phone(user % people, phone % phones);
            }
            OwnerAct::Credential { server, change, later } => {
                self.town.change_credential(server % servers, *change, *later);
            }
            OwnerAct::Distrust { server, requests } => {
                let exchange = &mut self.town.world.exchanges[server % servers];
                exchange.answer_next(*requests, None, Override::Unauthorized);
            }
            OwnerAct::RightsTaken { server, length } => {
                let (server, account) = (server % servers, self.town.account(server % servers));
                self.town.world.exchanges[server].change_account(account, |account| {
                    account.impersonation = ImpersonationRight::None;
                    account.full_access.clear();
                });
                self.until.push((self.town.world.now().time + *length, Trouble::Rights(server)));
            }
            OwnerAct::EwsDisabled { server, length } => {
                let (server, account) = (server % servers, self.town.account(server % servers));
                self.town.world.exchanges[server]
                    .change_account(account, |account| account.ews_enabled = false);
                self.until.push((self.town.world.now().time + *length, Trouble::Rights(server)));
            }
            OwnerAct::Drain { shard } => self.drain(shard % shards),
            OwnerAct::Restart { shard } => self.restart(shard % shards),
            OwnerAct::CrashAll => self.town.world.crash_all(),
            OwnerAct::SetTiming { timing } => {
                self.timing = *timing;
                self.town.set_timing(*timing);
            }
        }
    }

    fn drain(&mut self, shard: usize) {
        let begun = self.drains.entry(shard).or_default();
        *begun = begun.or(Some(self.town.world.reports.len()));
        self.town.world.command(shard, Command::Drain);
    }

    /// A shard that was told to end does so, and starts again.
    fn restart(&mut self, shard: usize) {
        let Some(begun) = self.drains.remove(&shard) else { return };
        let world = &mut self.town.world;
        let ended = |from: usize| world.reports[from..].iter().any(|(_, report)| *report == Report::Drained);
        let stats = world.stats(shard);
        if stats.pushes_in_flight == 0 && stats.users_ready == 0 && begun.is_some_and(|from| !ended(from)) {
            self.failures.push(format!("shard {shard} has nothing under way, and is not drained"));
        }
        world.crash(shard);
    }

    /// Every shard that was told to end and has not been started since.
    pub(super) fn restart_all(&mut self) {
        let shards: Vec<usize> = self.drains.keys().copied().collect();
        shards.into_iter().for_each(|shard| self.restart(shard));
    }

    /// A shard died: of those that were told to end, nobody can say whether they have.
    pub(super) fn forget_drains(&mut self) {
        self.drains.values_mut().for_each(|begun| *begun = None);
    }

    /// With nothing wrong anywhere, all shards are told to end in the middle of mail.
    pub(super) fn drain_in_peace(&mut self) {
        for person in 0..self.town.people.len() {
            self.town.deliver(person, "shortly before the end");
            self.mails += 1;
        }
        self.town.run_for(Span::from_millis(u64::from(self.timing.settle_ms) + 100));
        let from = self.town.world.reports.len();
        (0..self.shards).for_each(|shard| self.town.world.command(shard, Command::Drain));
        self.town.run_for(DRAIN_IN_PEACE_MAX);
        let reports = &self.town.world.reports[from..];
        let ended = reports.iter().filter(|(_, report)| *report == Report::Drained).count();
        if ended != self.shards {
            self.failures.push(format!("{ended} of {} shards have come to their end", self.shards));
        }
        self.town.world.crash_all();
    }

    /// The account may act in all mailboxes again.
    pub(super) fn give_rights_back(&mut self, server: usize) {
        let account = self.town.account(server);
        let exchange = &mut self.town.world.exchanges[server];
        let mailboxes = (0..exchange.mailbox_count() as u32).map(MailboxKey);
        let full_access = self.full_access;
        exchange.change_account(account, |account| {
            account.ews_enabled = true;
            match full_access {
                true => account.full_access = mailboxes.collect(),
                false => account.impersonation = ImpersonationRight::All,
            }
        });
    }

    /// No account may have been locked, and nobody asked twice for the same.
    pub(super) fn judge_accounts(&mut self) {
        for server in 0..self.town.world.exchanges.len() {
            if self.town.world.exchanges[server].is_locked(self.town.account(server)) {
                self.failures.push(format!("the account at mail server {server} is locked"));
            }
        }
        // Who dies forgets whom he has told.
        if self.town.nagged() > 0 && !self.somebody_died {
            self.failures.push(format!("{} refusals were told more than once", self.town.nagged()));
        }
    }

    /// Somebody whom the engine knows: this one, or the next.
    pub(super) fn somebody(&self, number: usize) -> Option<usize> {
        self.somebody_but(&[], number)
    }

    /// As [`Life::somebody`], and none of these.
    pub(super) fn somebody_but(&self, but: &[usize], number: usize) -> Option<usize> {
        let people = self.town.people.len();
        let all = (number..number + people).map(|person| person % people);
        all.into_iter().find(|person| !self.town.people[*person].away && !but.contains(person))
    }
}
