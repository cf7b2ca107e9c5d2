//! Draws what happens in the hours of a day: mail and what people do with it, and what breaks.

use carillon_core::rng::Rng;
use carillon_core::shard::CatchUp;
use carillon_core::time::Span;

use super::super::profile::{self, Day, Habits, Profile, Range};
use super::dice::{below, chance, pick, sign};
use super::{Act, NetTrouble, Plan, TOKENS_EXPIRED};
use crate::exchange::BusyShape;
use crate::world::POWER_LOSS_MAX;

impl Plan {
    pub(super) fn draw_life(&mut self, rng: &mut Rng, day: &Day, habits: Habits) {
        let hours_us = 3_600_000_000;
        let deliveries = self.length.0 / 1_000 * day.deliveries_per_user_hour.draw(rng) * self.users as u64
            / (hours_us / 1_000);
        for _ in 0..deliveries.max(3) {
            let user = rng.below(self.users as u64) as usize;
            let at = match day.office_percent > 0 && rng.chance(day.office_percent, 100) {
                true => self.moment_before(rng, Span::from_secs(day.office_hours * 3_600)),
                false => self.moment(rng),
            };
            let mails = day.mails_per_delivery.draw(rng);
            self.acts.push((at, Act::Mail { user, mails, vip: rng.chance(1, 10) }));
            let (mail, phone) = (rng.below(1 << 20) as usize, rng.below(4) as usize);
            let later = at + Span(rng.below(day.react_s * 1_000_000));
            let mut roll = rng.below(habits.sum());
            let mut falls_on = |weight: u64| {
                let hit = roll < weight;
                roll = roll.wrapping_sub(weight);
                hit
            };
            if falls_on(habits.read) {
                self.acts.push((later, Act::Read { user, mail }));
            } else if falls_on(habits.delete) {
                self.acts.push((later, Act::Delete { user, mail }));
            } else if falls_on(habits.use_app) {
                self.acts.push((later, Act::UseApp { user, phone }));
            } else if falls_on(habits.register) {
                self.acts.push((self.moment(rng), Act::Register { user, phone }));
            } else if falls_on(habits.uninstall) {
                if rng.chance(1, 3) {
                    self.acts.push((later, Act::Uninstall { user, phone }));
                    self.acts.push((later + Span(rng.below(60_000_000)), Act::Register { user, phone }));
                }
            } else if falls_on(habits.stop) && rng.chance(1, 3) {
                self.acts.push((later, Act::Stop { user }));
                self.acts.push((later + Span(rng.below(200_000_000)), Act::Register { user, phone }));
            }
        }
    }

    pub(super) fn draw_faults(&mut self, rng: &mut Rng, per_hour: &Range) {
        let faults = per_hour.draw(rng) * self.length.0 / 3_600_000_000;
        for _ in 0..faults {
            let at = self.moment(rng);
            let length = Span(rng.below(90_000_000));
            let stream = rng.below(1 << 20) as usize;
            let act = match rng.below(16) {
                0 | 1 => Act::CutStream { stream, after_bytes: rng.below(2_000), reset: rng.chance(1, 2) },
                2 => Act::SilenceStream { stream, blackhole: rng.chance(1, 2) },
                3 => Act::CloseStream { stream },
                4 => Act::RestartBackEnd { back_end: stream },
                5 => Act::Busy {
                    length,
                    shape: pick(
                        rng,
                        &[BusyShape::Fault, BusyShape::Message, BusyShape::Inner, BusyShape::Rotate],
                    ),
                },
                6 => Act::Nonsense { requests: 1 + rng.below(4) as u32, kind: rng.below(6) as u8 },
                7 => Act::LoseSubscription { user: stream, kind: rng.below(4) as u8 },
                8 => Act::Goaway { unprocessed: rng.below(4) as u32 },
                9 => Act::ResetLane,
                10 => Act::SilenceLane,
                11..=13 => {
                    let share = pick(rng, &[20_000, 200_000, 1_000_000]);
                    Act::PushTrouble { kind: rng.below(8) as u8, share, length }
                }
                14 => Act::BadNetwork { resets: rng.below(20_000), refused: rng.below(500_000), length },
                _ => Act::Crash { shard: stream },
            };
            self.acts.push((at, act));
        }
    }

    pub(super) fn draw_clocks(&mut self, rng: &mut Rng, profile: &Profile) {
        self.mail_clock_ahead_ms = sign(rng, &profile.exchange.clock_ahead_ms);
        self.push_clock_behind_ms = profile.apns.clock_behind_ms.draw(rng) as i64;
        self.drift_ppm = sign(rng, &profile.faults.drift_ppm);
        let jumps = profile.faults.clock_jumps_per_hour.draw(rng) * self.length.0 / 3_600_000_000;
        for _ in 0..jumps {
            let jump = sign(rng, &profile.exchange.clock_jump_ms);
            let ahead_ms = self.mail_clock_ahead_ms + jump;
            self.acts.push((self.moment(rng), Act::MailClock { ahead_ms }));
        }
        let jumps = profile.faults.clock_jumps_per_hour.draw(rng) * self.length.0 / 3_600_000_000;
        for _ in 0..jumps {
            let ahead_ms = sign(rng, &profile.apns.clock_jump_ms);
            self.acts.push((self.moment(rng), Act::PushClock { ahead_ms }));
        }
    }

    pub(super) fn draw_network(&mut self, rng: &mut Rng, per_hour: &Range) {
        let faults = per_hour.draw(rng) * self.length.0 / 3_600_000_000;
        for _ in 0..faults {
            let at = self.moment(rng);
            let length = Span(rng.below(90_000_000));
            let (kind, share_max) = pick(
                rng,
                &[
                    (NetTrouble::Stalls, 50_000),
                    (NetTrouble::HalfCloses, 50_000),
                    (NetTrouble::FailedHandshakes, 600_000),
                    (NetTrouble::SlowConnections, 1_000_000),
                ],
            );
            self.acts.push((at, Act::Network { kind, share: rng.below(share_max), length }));
        }
    }

    pub(super) fn draw_pieces(&mut self, rng: &mut Rng, network: &profile::Network) {
        self.piece_gap_max = Span(network.piece_gap_us.draw(rng));
        if chance(rng, &network.crumbs_percent) {
            let length = Span(rng.below(3_000_000));
            let crumbs = Act::Network { kind: NetTrouble::Crumbs, share: rng.below(500), length };
            self.acts.push((self.moment(rng), crumbs));
        }
    }

    pub(super) fn draw_tokens(&mut self, rng: &mut Rng, apns: &profile::Apns) {
        if !chance(rng, &apns.tokens_percent) {
            return;
        }
        self.tokens = Some(Span::from_secs(60 * apns.renew_minutes.draw(rng)));
        // An hour off, the clocks of the two make every token look expired.
        if rng.chance(1, 3) {
            let at = self.moment(rng);
            let length = Span(rng.below(90_000_000));
            self.acts.push((at, Act::PushTrouble { kind: TOKENS_EXPIRED, share: 0, length }));
        }
    }

    pub(super) fn draw_power(&mut self, rng: &mut Rng, per_hour: &Range) {
        let failures = per_hour.draw(rng) * self.length.0 / 3_600_000_000;
        for _ in 0..failures {
            let act = Act::PowerFailure { tail: below(rng, POWER_LOSS_MAX) };
            self.acts.push((self.moment(rng), act));
        }
    }

    pub(super) fn draw_catch_up(&mut self, rng: &mut Rng, engine: &profile::Engine) {
        if !chance(rng, &engine.sync_percent) {
            return;
        }
        self.catch_up = CatchUp::Sync;
        for _ in 0..rng.below(3) {
            let act = Act::ForgetSyncStates { server: rng.below(1 << 20) as usize };
            self.acts.push((self.moment(rng), act));
        }
    }
}
