//! What the owner of the engine does in a day, and what becomes of the accounts that it logs in with.

use carillon_core::rng::Rng;
use carillon_core::time::Span;

use super::plan::{Act, Plan, below, chance};
use super::profile::Owner;
use super::run::Life;

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
}

impl OwnerAct {
    /// Whether the engine may not hear, from then on, what happens in mailboxes.
    pub(super) fn deafens(&self) -> bool {
        match self {
            OwnerAct::Drop { .. } | OwnerAct::ChangeShard { .. } | OwnerAct::Regroup { .. } => true,
            OwnerAct::Join { .. } | OwnerAct::Return { .. } | OwnerAct::Refresh { .. } => false,
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
            self.acts.push((carillon_core::time::Time(before) + below(rng, AROUND), mail));
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
        }
    }

    /// Somebody whom the engine knows: this one, or the next.
    pub(super) fn somebody(&self, number: usize) -> Option<usize> {
        let people = self.town.people.len();
        (number..number + people).map(|person| person % people).find(|person| !self.town.people[*person].away)
    }
}
