//! What the owner of the engine does in a day, and what becomes of the accounts that it logs in with.

use carillon_core::rng::Rng;
use carillon_core::time::{Span, Time};

use super::plan::{Act, Plan, below, chance, pick};
use super::profile::Owner;
use super::run::{Life, Trouble};
use crate::exchange::{ImpersonationRight, MailboxKey, Override};
use crate::world::Change;

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
    /// The credential for a mail server is changed; what is to follow does so after so long.
    Credential { server: usize, change: Change, later: Span },
    /// A mail server refuses the next requests although the credential is right.
    Distrust { server: usize, requests: u32 },
    /// The account may not act in mailboxes for a while.
    RightsTaken { server: usize, length: Span },
    /// EWS is disabled for the account for a while.
    EwsDisabled { server: usize, length: Span },
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
            | OwnerAct::EwsDisabled { .. } => true,
            OwnerAct::Join { .. } | OwnerAct::Return { .. } | OwnerAct::Refresh { .. } => false,
        }
    }
}

impl OwnerAct {
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
    pub(super) fn draw_owner(&mut self, owner: &Owner) {
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
            7 | 8 => OwnerAct::Refresh { user, devices: rng.chance(1, 2) },
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
        }
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
        let people = self.town.people.len();
        (number..number + people).map(|person| person % people).find(|person| !self.town.people[*person].away)
    }
}
