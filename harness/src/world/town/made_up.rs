//! Device tokens that somebody makes up, or that belong to test builds of an app: they register like any other, and the push
//! service knows none of them.

use carillon_core::names::{DeviceKey, DeviceToken};
use carillon_core::shard::{Command, DeviceSpec};
use carillon_core::time::{Span, Time};

use super::Town;

/// One of the people who registers such tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct MadeUp {
    person: usize,
    devices: u64,
    every: Span,
    next: Time,
    round: u64,
}

impl Town {
    /// From now on one of the people registers so many devices, beside those that there are, with other made-up tokens after
    /// each `every`.
    pub fn make_tokens_up(&mut self, person: usize, devices: u64, every: Span) {
        self.made_up.push(MadeUp { person, devices, every, next: self.world.now().time, round: 0 });
        self.register_made_up();
    }

    /// Nobody makes tokens up any more, and the devices are removed.
    pub fn stop_making_tokens_up(&mut self) {
        for MadeUp { person, devices, .. } in std::mem::take(&mut self.made_up) {
            for n in 0..devices {
                let (user, shard) = (self.people[person].key, self.people[person].shard);
                self.world.command(shard, Command::RemoveDevice { user, device: device(person, n) });
            }
        }
    }

    /// When the next of them are registered.
    pub(super) fn made_up_due(&self) -> Time {
        self.made_up.iter().map(|one| one.next).min().unwrap_or(Time::NEVER)
    }

    pub(super) fn register_made_up(&mut self) {
        let now = self.world.now();
        for at in 0..self.made_up.len() {
            let MadeUp { person, devices, every, next, round } = self.made_up[at];
            if next > now.time {
                continue;
            }
            self.made_up[at] = MadeUp { next: now.time + every, round: round + 1, ..self.made_up[at] };
            let row = &self.people[person];
            if row.away {
                continue;
            }
            for n in 0..devices {
                let token = format!("{:032x}{:032x}", 0xbad_0000 + round, device(person, n).0);
                let spec = DeviceSpec {
                    device: device(person, n),
                    token: DeviceToken::parse(&token).expect("hex"),
                    registered: now.unix,
                    active: now.unix,
                    stopped: false,
                    badge: None,
                    unsettled: None,
                    ..row.phones[0].spec.clone()
                };
                let command = Command::RegisterDevice { user: row.key, device: Box::new(spec) };
                self.world.command(row.shard, command);
            }
        }
    }
}

/// None of the phones that the audit knows has such a key.
fn device(person: usize, n: u64) -> DeviceKey {
    DeviceKey(1 << 40 | (person as u64) << 8 | n)
}
