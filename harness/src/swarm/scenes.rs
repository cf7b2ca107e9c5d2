//! Scenes: things that do harm only when they meet. Drawn one by one, they would meet once in a thousand days.

use carillon_core::rng::Rng;
use carillon_core::time::{Span, Time};

use super::plan::{Act, Plan};
use crate::exchange::{BusyShape, SubscriptionIds};
use crate::world::POWER_LOSS_MAX;

/// Scenes have a generator of their own: the rest of a day is what it would be without them.
const SCENES: u64 = 0x5ce7_e500_0000_0001;

/// So has this one.
const FORGOTTEN: u64 = 0x0066_6f72_676f_7400;

/// And this one.
const RENUMBERED: u64 = !0x7265_6e75_6d62_6572;

/// The longest that a scene lasts: one that would begin later is left out.
const SCENE_MAX: Span = Span::from_secs(240);

impl Plan {
    /// Puts up to four scenes into the day.
    pub(super) fn draw_scenes(&mut self) {
        let mut rng = Rng::new(self.seed ^ SCENES);
        let Some(room) = self.length.0.checked_sub(SCENE_MAX.0 + MORNING.0) else { return };
        for _ in 0..rng.below(5) {
            let at = Time(0) + MORNING + Span(rng.below(room + 1));
            let user = rng.below(self.users as u64) as usize;
            match rng.below(5) {
                0 => self.swallowed(&mut rng, at, user),
                1 => self.cutoff_on_the_way(&mut rng, at, user),
                2 => self.old_distrust(&mut rng, at, user),
                3 => self.deaf_and_busy(&mut rng, at, user),
                _ => self.everybody_at_once(&mut rng, at),
            }
        }
    }

    /// On some days the power fails right after somebody was told of a mail: that it was told is forgotten, and it is told
    /// again.
    pub(super) fn draw_forgotten(&mut self) {
        let mut rng = Rng::new(!self.seed ^ FORGOTTEN);
        if !rng.chance(1, 8) {
            return;
        }
        for _ in 0..4 {
            let at = self.moment(&mut rng);
            let (user, phone) =
                (rng.below(self.users as u64) as usize, rng.below(self.phones as u64) as usize);
            self.scene(at, Act::UseApp { user, phone });
            self.scene(at, Act::Mail { user, mails: 1, vip: false });
            let told = at + Span::from_millis(self.timing.settle_ms.into());
            let after = told + Span(200_000 + rng.below(1_000_000));
            self.scene(after, Act::PowerFailure { tail: POWER_LOSS_MAX });
        }
    }

    /// A server that numbers its subscriptions, and takes a stale id for the mailbox that has it by now, starts again together
    /// with a shard, and everybody gets mail while subscriptions are made anew: events come for who had the id before.
    pub(super) fn draw_renumbered(&mut self) {
        let mut rng = Rng::new(!self.seed ^ RENUMBERED);
        if self.subscription_ids == SubscriptionIds::Unique || !self.full_access {
            return;
        }
        for _ in 0..4 {
            let at = self.moment(&mut rng);
            self.scene(at, Act::RestartBackEnd { back_end: rng.below(1 << 20) as usize });
            if rng.chance(3, 4) {
                let shard = rng.below(1 << 20) as usize;
                self.scene(at + Span(rng.below(1_000_000)), Act::Crash { shard });
            }
            for user in 0..self.users {
                for _ in 0..3 {
                    let mail = at + Span(rng.below(45_000_000));
                    self.scene(mail, Act::Mail { user, mails: 1, vip: false });
                }
            }
        }
    }

    fn scene(&mut self, at: Time, act: Act) {
        self.acts.push((at, act));
    }

    /// The push service takes requests and answers none, or processes none. While a push is out there, its user is
    /// stopped, its shard dies, or its mail is deleted.
    fn swallowed(&mut self, rng: &mut Rng, at: Time, user: usize) {
        let length = Span::from_secs(20) + Span(rng.below(50_000_000));
        let kind = rng.below(2) as u8;
        self.scene(at, Act::PushTrouble { kind, share: 1_000_000, length });
        self.scene(at + Span::from_secs(1), Act::Mail { user, mails: 1 + rng.below(3), vip: false });
        let meanwhile = at + Span::from_secs(8) + Span(rng.below(50_000_000));
        match rng.below(4) {
            0 | 1 => {
                self.scene(meanwhile, Act::Stop { user });
                self.scene(meanwhile + Span::from_secs(90), Act::Register { user, phone: 0 });
            }
            2 => self.scene(meanwhile, Act::Crash { shard: user }),
            _ => self.scene(meanwhile, Act::Delete { user, mail: rng.below(1 << 20) as usize }),
        }
    }

    /// The push service is deaf for the last seconds in which an app may be told details.
    fn cutoff_on_the_way(&mut self, rng: &mut Rng, at: Time, user: usize) {
        let cutoff = Span::from_secs(self.timing.detail_cutoff_s.into());
        let wait = Span::from_millis(self.timing.settle_ms.max(self.timing.min_interval_ms).into());
        let last = at + cutoff;
        let Some(mail) = last.0.checked_sub(wait.0 + 2_000_000 + rng.below(6_000_000)) else { return };
        let end = last + Span::from_secs(60);
        if Time(mail) < at || end > Time(0) + self.length {
            return;
        }
        let phone = rng.below(self.phones as u64) as usize;
        self.scene(at, Act::UseApp { user, phone });
        self.scene(Time(mail), Act::Mail { user, mails: 1, vip: false });
        let length = Span(last.0 - mail) + Span::from_secs(3);
        self.scene(Time(mail), Act::PushTrouble { kind: 0, share: 1_000_000, length });
    }

    /// The push service holds a token for gone since before its last registration, and takes a push or two to learn. Once a
    /// day: who is distrusted again right after may lawfully be given up.
    fn old_distrust(&mut self, rng: &mut Rng, at: Time, user: usize) {
        if self.acts.iter().any(|(_, act)| matches!(act, Act::Distrust { .. })) {
            return;
        }
        let phone = rng.below(self.phones as u64) as usize;
        self.scene(at, Act::Distrust { user, phone, answers: 1 + rng.below(2) as u32 });
        self.scene(at + Span(rng.below(5_000_000)), Act::Mail { user, mails: 1, vip: false });
    }

    /// A stream dies without a word; when that is noticed and the gap is looked into, mail keeps coming in.
    fn deaf_and_busy(&mut self, rng: &mut Rng, at: Time, user: usize) {
        self.scene(at, Act::Deafen { user });
        self.scene(
            at + Span::from_secs(1) + Span(rng.below(20_000_000)),
            Act::Mail { user, mails: 1, vip: false },
        );
        for n in 0..60 {
            let mail = at + Span::from_secs(100) + Span(n * 1_000_000 + rng.below(1_000_000));
            self.scene(mail, Act::Mail { user, mails: 1, vip: false });
        }
    }

    /// The mail server is busy while everybody gets mail: when it is not, all of it is to be asked for.
    fn everybody_at_once(&mut self, rng: &mut Rng, at: Time) {
        let length = Span::from_secs(8) + Span(rng.below(40_000_000));
        let shapes = [BusyShape::Fault, BusyShape::Message, BusyShape::Inner];
        let shape = shapes[rng.below(3) as usize];
        self.scene(at, Act::Busy { length, shape });
        for user in 0..self.users {
            self.scene(at + Span(rng.below(6_000_000)), Act::Mail { user, mails: 1, vip: true });
        }
    }
}

/// Before a day's first scene: everybody has settled.
const MORNING: Span = Span::from_secs(60);
