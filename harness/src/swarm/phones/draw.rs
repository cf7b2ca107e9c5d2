//! Which of it happens on a day, and when.

use carillon_core::rng::Rng;
use carillon_core::shard::DeviceSettings;
use carillon_core::time::{Span, Time};

use super::super::plan::{Act, Plan, chance, pick};
use super::super::profile::Phones;
use super::{PhoneAct, Turned};
use crate::apns::{Goaway, Latency, Rate, Reason, Share, WindowPolicy};

/// Phones have a generator of their own: the rest of a day is what it would be without them.
const PHONES: u64 = 0x0050_686f_6e65_7300;

/// So have those who make tokens up.
const MADE_UP: u64 = 0x006d_6164_6520_7570;

/// The kinds of which a day draws some.
const KINDS: [fn(&mut Plan, &mut Rng, u64); 11] = [
    Plan::draw_settings,
    Plan::draw_throttling,
    Plan::draw_streams,
    Plan::draw_windows,
    Plan::draw_bursts,
    Plan::draw_refusals,
    Plan::draw_outages,
    Plan::draw_update,
    Plan::draw_wrong_app,
    Plan::draw_preferences,
    Plan::draw_glances,
];

impl Plan {
    pub(in super::super) fn draw_phones(&mut self, phones: &Phones) {
        let mut rng = Rng::new(!self.seed ^ PHONES);
        self.two_apps = chance(&mut rng, &phones.two_apps_percent);
        for _ in 0..phones.kinds.draw(&mut rng) {
            let kind = pick(&mut rng, &KINDS);
            let times = phones.times.draw(&mut rng);
            kind(self, &mut rng, times);
        }
    }

    /// Somebody makes tokens up, on days on which there are others whom it must not hurt.
    pub(in super::super) fn draw_made_up(&mut self, phones: &Phones) {
        let mut rng = Rng::new(!self.seed ^ MADE_UP);
        if self.users < 2 || !chance(&mut rng, &phones.made_up_percent) {
            return;
        }
        let user = rng.below(self.users as u64) as usize;
        let (tokens, every_s) = pick(&mut rng, &[(12, 25), (12, 3), (5, 25), (8, 1_000_000)]);
        let (at, every) = (self.moment(&mut rng), Span::from_secs(every_s));
        self.phone_act(at, PhoneAct::MakeTokensUp { user, tokens, every });
    }

    fn phone_act(&mut self, at: Time, act: PhoneAct) {
        self.acts.push((at, Act::Phones(act)));
    }

    /// Some moment of the day; every other time one shortly after a mail has come.
    fn moment_amid(&self, rng: &mut Rng) -> Time {
        let mails = self.acts.iter().filter(|(_, act)| matches!(act, Act::Mail { .. })).count();
        if mails == 0 || rng.chance(1, 2) {
            return self.moment(rng);
        }
        let mail = rng.below(mails as u64) as usize;
        let mut at = self.acts.iter().filter(|(_, act)| matches!(act, Act::Mail { .. })).map(|(at, _)| *at);
        let soon = 1_000 * u64::from(self.timing.settle_ms.max(self.timing.min_interval_ms)) + 2_000_000;
        at.nth(mail).unwrap_or(Time(0)) + Span(rng.below(soon))
    }

    fn draw_settings(&mut self, rng: &mut Rng, times: u64) {
        for _ in 0..times * 2 {
            let (user, phone) = (rng.below(self.users as u64) as usize, rng.below(4) as usize);
            let mut mostly = |percent| rng.chance(percent, 100);
            let (alerts, details, badge, localized, sound) =
                (mostly(60), mostly(60), mostly(60), mostly(70), mostly(70));
            let vip_sound = sound && mostly(30);
            let settings = DeviceSettings {
                alerts,
                details,
                badge,
                localized,
                sound: sound.then(|| "default".into()),
                vip_sound: vip_sound.then(|| "bell.caf".into()),
            };
            let at = self.moment_amid(rng);
            self.phone_act(at, PhoneAct::Choose { user, phone, settings });
        }
    }

    fn draw_throttling(&mut self, rng: &mut Rng, times: u64) {
        for _ in 0..times {
            let (at, length) = (self.moment_amid(rng), Span(rng.below(180_000_000)));
            let (user, phone) = (rng.below(self.users as u64) as usize, rng.below(4) as usize);
            self.phone_act(at, PhoneAct::Throttle { user, phone, length });
        }
        let (at, length) = (self.moment(rng), Span(rng.below(900_000_000)));
        let turned = match rng.below(3) {
            0 => Turned::Refused(Share(pick(rng, &[100_000, 900_000])), Reason::TooManyRequests),
            _ => Turned::DeviceRate(Rate { per_s: 1, burst: 1 + rng.below(2) as u32 }),
        };
        self.phone_act(at, PhoneAct::Turn { turned, length });
    }

    /// The limit of streams falls and rises.
    fn draw_streams(&mut self, rng: &mut Rng, times: u64) {
        for _ in 0..times {
            let at = self.moment_amid(rng);
            let (fallen, length) = (1 + rng.below(2) as u32, Span(rng.below(120_000_000)));
            self.phone_act(at, PhoneAct::Turn { turned: Turned::Streams(fallen), length });
            let (some, then) = (pick(rng, &[1, 7, 100, 2_000]), Span(rng.below(60_000_000)));
            self.phone_act(at + then, PhoneAct::Turn { turned: Turned::Streams(some), length });
        }
        let at = self.moment(rng);
        let share = Share(pick(rng, &[20_000, 500_000]));
        let length = Span(rng.below(120_000_000));
        self.phone_act(at, PhoneAct::Turn { turned: Turned::RefusedStreams(share), length });
    }

    /// Windows are opened late, far away, while everybody is told much; SETTINGS change on the way.
    fn draw_windows(&mut self, rng: &mut Rng, times: u64) {
        let length = Span(self.length.0 / 2 + rng.below(self.length.0 / 2 + 1));
        let late = Span(rng.below(2_000_000) + 1);
        let policy = pick(rng, &[WindowPolicy::Every(late), WindowPolicy::AtHalf, WindowPolicy::Immediate]);
        let begin = Time(0) + Span(rng.below(60_000_000));
        self.phone_act(begin, PhoneAct::Turn { turned: Turned::Window(policy), length });
        let far = Span(rng.below(3_000_000));
        let latency = Latency::Between(far, far + far);
        self.phone_act(begin, PhoneAct::Turn { turned: Turned::Latency(latency), length });
        for _ in 0..times {
            let at = self.moment(rng);
            for _ in 0..1 + rng.below(4) {
                let after = at + Span(rng.below(5_000_000));
                self.phone_act(after, PhoneAct::AllHands);
            }
            let begun = at + Span(rng.below(8_000_000));
            let entries = self.draw_entries(rng);
            self.phone_act(begun, PhoneAct::Announce { entries });
            if rng.chance(1, 3) {
                let kind = 0x20 + rng.below(0xd0) as u8;
                self.phone_act(begun, PhoneAct::StrangeFrame { kind });
            }
            if rng.chance(1, 3) {
                let length = Span(rng.below(20_000_000));
                let never = Turned::Window(WindowPolicy::Never);
                self.phone_act(begun, PhoneAct::Turn { turned: never, length });
            }
        }
    }

    /// Some SETTINGS (RFC 9113 §6.5.2), and one that nobody knows.
    fn draw_entries(&self, rng: &mut Rng) -> Vec<(u16, u32)> {
        let all = [
            (HEADER_TABLE_SIZE, pick(rng, &[0, 100, 4_096, 65_536])),
            (INITIAL_WINDOW_SIZE, pick(rng, &[0, 1, 500, 65_535, 1 << 20])),
            (MAX_FRAME_SIZE, pick(rng, &[16_384, (1 << 24) - 1])),
            (MAX_HEADER_LIST_SIZE, 8_000),
            (UNKNOWN_SETTING, rng.below(1 << 32) as u32),
        ];
        all.into_iter().filter(|_| rng.chance(1, 2)).collect()
    }

    /// Connections end at any moment of a burst.
    fn draw_bursts(&mut self, rng: &mut Rng, times: u64) {
        for _ in 0..times {
            let at = self.moment(rng);
            self.phone_act(at, PhoneAct::AllHands);
            let settled = at + Span::from_millis(self.timing.settle_ms.into());
            let within = pick(rng, &[20_000, 500_000, 3_000_000]);
            let amid = settled + Span(rng.below(within));
            let act = match rng.below(4) {
                0 => PhoneAct::ResetStreams { code: pick(rng, &[2, 5, 8, 11]) },
                1 => PhoneAct::SendAway { how: Goaway { twice: true, ..Goaway::default() } },
                _ => PhoneAct::SendAway {
                    how: Goaway { unprocessed: rng.below(12) as u32, ..Goaway::default() },
                },
            };
            self.phone_act(amid, act);
        }
        let (at, length) = (self.moment(rng), Span(rng.below(300_000_000)));
        let turned = match rng.below(3) {
            0 => Turned::Goaways(1 + rng.below(20) as u32, rng.below(4) as u32),
            1 => Turned::Aging(pick(rng, &[1_000, 50_000])),
            _ => return,
        };
        self.phone_act(at, PhoneAct::Turn { turned, length });
    }

    fn draw_refusals(&mut self, rng: &mut Rng, times: u64) {
        for _ in 0..times {
            let of_account: &[Reason] = match self.tokens {
                Some(_) => &OF_TOKENS,
                None => &OF_CERTIFICATES,
            };
            let some = Share(pick(rng, &[20_000, 200_000, 700_000]));
            let (share, reason) = match rng.below(4) {
                0 => (Share(1_000_000), pick(rng, of_account)),
                1 => (Share(some.0 / 2), pick(rng, &OF_CONNECTIONS)),
                _ => (some, pick(rng, &OF_MESSAGES)),
            };
            let (at, length) = (self.moment_amid(rng), Span(rng.below(300_000_000)));
            self.phone_act(at, PhoneAct::Turn { turned: Turned::Refused(share, reason), length });
        }
        let (at, length) = (self.moment(rng), Span(rng.below(900_000_000)));
        let turned = match self.tokens {
            Some(_) if rng.chance(1, 2) => Turned::TokenBudget(rng.below(2) as usize),
            Some(_) | None => Turned::Faults(rng.below(4) as u32),
        };
        self.phone_act(at, PhoneAct::Turn { turned, length });
    }

    /// An update of the app: many tokens are replaced at once, and each app registers with its new one some time later. Some
    /// are replaced while the one before stays good.
    fn draw_update(&mut self, rng: &mut Rng, times: u64) {
        for _ in 0..times.div_ceil(2) {
            let at = self.moment_amid(rng);
            let (percent, slow) = (pick(rng, &[20, 60, 100]), pick(rng, &[1_000, 10_000_000, 200_000_000]));
            let share = rng.below(3);
            for (user, phone) in self.all_phones() {
                if !rng.chance(percent, 100) {
                    continue;
                }
                let later = at + Span(rng.below(slow));
                let stays_good = share == 0;
                if share == 1 {
                    self.phone_act(at, PhoneAct::Expire { user, phone });
                }
                self.phone_act(later, PhoneAct::Renew { user, phone, stays_good });
                if rng.chance(1, 2) {
                    let mail = at + Span(rng.below(slow));
                    self.acts.push((mail, Act::Mail { user, mails: 1, vip: false }));
                }
            }
        }
    }

    /// A whole app, or a part of it, turns out to be registered in the wrong environment or for another app; later all
    /// register again.
    fn draw_wrong_app(&mut self, rng: &mut Rng, _times: u64) {
        let at = if rng.chance(1, 3) { Time(0) } else { self.moment_amid(rng) };
        let (percent, slow) = (pick(rng, &[30, 100, 100]), pick(rng, &[1, 1_000_000, 200_000_000]));
        let (environment, anew) = (rng.chance(2, 3), rng.chance(1, 2));
        let righted = at + Span(rng.below(self.length.0.saturating_sub(at.0) + 1));
        for (user, phone) in self.all_phones() {
            if rng.chance(percent, 100) {
                self.phone_act(at, PhoneAct::Misplace { user, phone, environment });
                let later = righted + Span(rng.below(slow));
                match anew {
                    true => self.phone_act(later, PhoneAct::Renew { user, phone, stays_good: false }),
                    false => self.acts.push((later, Act::Register { user, phone })),
                }
                let mail = at + Span(rng.below(righted.since(at).0 + slow));
                self.acts.push((mail, Act::Mail { user, mails: 1 + rng.below(2), vip: false }));
            }
        }
    }

    fn all_phones(&self) -> Vec<(usize, usize)> {
        (0..self.users).flat_map(|user| (0..self.phones).map(move |phone| (user, phone))).collect()
    }

    /// Users say which mails go first, and such mails come among others.
    fn draw_preferences(&mut self, rng: &mut Rng, times: u64) {
        for _ in 0..times {
            let user = rng.below(self.users as u64) as usize;
            let (importance, sender) = (rng.chance(1, 2), rng.chance(2, 3));
            let at = self.moment(rng);
            self.phone_act(at, PhoneAct::Prefer { user, importance, sender });
            for _ in 0..times {
                let at = at + Span(rng.below(self.length.0 / 4 + 1));
                self.phone_act(at, PhoneAct::Mixed { user, mails: 1 + rng.below(8) });
            }
        }
    }

    /// Apps are used while a mail waits to be told: a notice may be told with details again, or not any more.
    fn draw_glances(&mut self, rng: &mut Rng, times: u64) {
        let cutoff = Span::from_secs(self.timing.detail_cutoff_s.into());
        let wait = 1_000 * u64::from(self.timing.settle_ms.max(self.timing.min_interval_ms)) + 3_000_000;
        for _ in 0..times * 2 {
            let (user, phone) = (rng.below(self.users as u64) as usize, rng.below(4) as usize);
            let used = self.moment(rng);
            self.acts.push((used, Act::UseApp { user, phone }));
            let past = used + cutoff;
            let mail = Time((past.0 + wait / 2).saturating_sub(rng.below(wait)));
            let glance = mail + Span(rng.below(wait));
            if glance > Time(0) + self.length {
                continue;
            }
            self.acts.push((mail, Act::Mail { user, mails: 1, vip: false }));
            if rng.chance(1, 2) {
                self.acts.push((glance, Act::UseApp { user, phone }));
            }
        }
    }

    /// 500 or 503 to everything, for up to half an hour.
    fn draw_outages(&mut self, rng: &mut Rng, _times: u64) {
        let reason = pick(rng, &[Reason::InternalServerError, Reason::ServiceUnavailable]);
        let (at, length) = (self.moment(rng), Span(rng.below(1_800_000_000)));
        let turned = Turned::Refused(Share(1_000_000), reason);
        self.phone_act(at, PhoneAct::Turn { turned, length });
    }
}

/// Refusals of one push: it is given up.
const OF_MESSAGES: [Reason; 8] = [
    Reason::BadCollapseId,
    Reason::BadExpirationDate,
    Reason::BadMessageId,
    Reason::BadPriority,
    Reason::DuplicateHeaders,
    Reason::InvalidPushType,
    Reason::PayloadEmpty,
    Reason::PayloadTooLarge,
];
const OF_CONNECTIONS: [Reason; 2] = [Reason::IdleTimeout, Reason::Shutdown];
/// What somebody has to mend: everything waits.
const OF_CERTIFICATES: [Reason; 5] = [
    Reason::BadCertificate,
    Reason::BadCertificateEnvironment,
    Reason::BadTopic,
    Reason::Forbidden,
    Reason::TopicDisallowed,
];
const OF_TOKENS: [Reason; 7] = [
    Reason::BadEnvironmentKeyIdInToken,
    Reason::BadTopic,
    Reason::Forbidden,
    Reason::InvalidProviderToken,
    Reason::MissingProviderToken,
    Reason::TooManyProviderTokenUpdates,
    Reason::UnrelatedKeyIdInToken,
];

const HEADER_TABLE_SIZE: u16 = 1;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;
const UNKNOWN_SETTING: u16 = 0x4242;
