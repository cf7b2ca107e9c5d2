//! The disk of the engine's machine in days: full for a while, or with a damaged journal, and a kill in the middle of mail.

use carillon_core::rng::Rng;
use carillon_core::time::Span;

use super::owner::OwnerAct;
use super::plan::{Act, Plan, below, chance};
use super::profile;
use super::run::{Life, Trouble};
use crate::world::{Damage, Disk};

/// The disk has a generator of its own: the rest of a day is what it would be without it.
const DISK: u64 = 0xd15c_f011_0000_0005;

/// The longest that the disk fails.
const FAILS_MAX: Span = Span::from_secs(120);

/// One thing that happens to the disk.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names of the parts say it")]
pub enum DiskAct {
    /// For a while the store takes nothing, and if the journal has no room of its own neither does that.
    Full { length: Span, journal: bool },
    /// A shard's process is killed, and a part of its journal is damaged when it starts again.
    Damage { shard: usize, from: usize, reports: usize },
}

impl DiskAct {
    /// Whether a shard's process dies of it.
    pub(super) fn kills(&self) -> bool {
        matches!(self, DiskAct::Damage { .. })
    }
}

impl Plan {
    /// On some days the disk fails a few times; mail comes meanwhile, and mostly somebody kills the process.
    pub(super) fn draw_disk(&mut self, profile: &profile::Disk) {
        let mut rng = Rng::new(!self.seed ^ DISK);
        let rng = &mut rng;
        if !chance(rng, &profile.percent) {
            return;
        }
        self.journal_room = Some(profile.journal_room.draw(rng) as usize).filter(|reports| *reports > 0);
        let times = profile.per_hour.draw(rng) * self.length.0 / 3_600_000_000;
        for _ in 0..times.max(1) {
            let (at, length) = (self.moment(rng), below(rng, FAILS_MAX));
            self.acts.push((at, Act::Disk(DiskAct::Full { length, journal: rng.chance(1, 3) })));
            for _ in 0..1 + rng.below(4) {
                let user = rng.below(self.users as u64) as usize;
                let mail = Act::Mail { user, mails: 1 + rng.below(3), vip: rng.chance(1, 8) };
                self.acts.push((at + below(rng, length), mail));
                if rng.chance(1, 3) {
                    let read = Act::Read { user, mail: rng.below(1 << 20) as usize };
                    self.acts.push((at + below(rng, length), read));
                }
            }
            let shard = rng.below(1 << 20) as usize;
            let kill = match rng.below(8) {
                0 => continue,
                1 => Act::Owner(OwnerAct::CrashAll),
                2 | 3 => Act::Crash { shard },
                _ => {
                    let (from, reports) = (rng.below(1 << 20) as usize, 1 + rng.below(4) as usize);
                    Act::Disk(DiskAct::Damage { shard, from, reports })
                }
            };
            self.acts.push((at + below(rng, length), kill));
        }
    }

    /// How far back a kill may reach on this day.
    pub(super) fn disk_fails_max(&self) -> Span {
        let fails = |act: &Act| matches!(act, Act::Disk(_));
        // Two of them may follow each other without a moment between.
        if self.acts.iter().any(|(_, act)| fails(act)) { Span(4 * FAILS_MAX.0) } else { Span::ZERO }
    }
}

impl Life {
    pub(super) fn disk_act(&mut self, act: &DiskAct) {
        match act {
            DiskAct::Full { length, journal } => {
                self.town.world.set_disk(if *journal { Disk::Full } else { Disk::StoreFails });
                self.until.push((self.town.world.now().time + *length, Trouble::Disk));
            }
            DiskAct::Damage { shard, from, reports } => {
                let damage = Damage { from: *from, reports: *reports };
                self.town.world.crash_damaged(shard % self.shards, damage);
            }
        }
    }
}
