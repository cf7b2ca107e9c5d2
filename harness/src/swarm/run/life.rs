//! The town as a plan wants it, how its time passes, and which troubles end by themselves.

use std::collections::BTreeMap;

use carillon_core::shard::{Timing, VipRules};
use carillon_core::time::{Span, Time};

use super::super::mailboxes::{Discovery, Ending};
use super::super::oddities::OddEnding;
use super::super::phones::Turned;
use super::super::plan::{Act, Plan};
use super::rest::{CALM_MAX, calm_max};
use crate::apns::Knobs;
use crate::exchange::{ExchangeConfig, StrictRules};
use crate::world::town::{Town, TownConfig};
use crate::world::{Clock, Disk, Net, PeerAt};

/// The longest trouble, and until it is surely noticed that it has deafened a stream.
const DEAF_MAX: Span = Span::from_secs(90 + 240);

/// Until what happens in a mailbox has surely been heard, on a day on which nothing is broken.
const NEWS_MAX: Span = Span::from_secs(10);

/// How long the owner of the engine takes to hear a report.
const HEARD: Span = Span::from_secs(2);

/// Log-ins with a wrong password that lock an account: what Windows recommends.
const LOCKOUT_FAILURES: u32 = 10;

pub(in super::super) struct Life {
    pub(in super::super) town: Town,
    /// Troubles that end by themselves.
    pub(in super::super) until: Vec<(Time, Trouble)>,
    /// The push services on a good day.
    pub(in super::super) knobs: Knobs,
    /// What is turned there, and until when.
    pub(in super::super) turned: Vec<(Time, Turned)>,
    pub(super) net: Net,
    pub(in super::super) drift_ppm: i64,
    /// How far mail servers' clocks are ahead on this day.
    pub(in super::super) mail_clock_ahead_ms: i64,
    /// Times in which such a clock was far off besides, and mail came.
    pub(in super::super) clocks_off: u64,
    pub(super) push_clock_behind: bool,
    pub(in super::super) failures: Vec<String>,
    pub(in super::super) mails: u64,
    pub(in super::super) shards: usize,
    pub(in super::super) full_access: bool,
    /// As they were set last.
    pub(in super::super) timing: Timing,
    /// Shards that were told to end: with the number of reports at that time, unless one has died since.
    pub(in super::super) drains: BTreeMap<usize, Option<usize>>,
    /// A shard did.
    pub(in super::super) somebody_died: bool,
    pub(in super::super) back_ends: usize,
    pub(in super::super) discovery: Discovery,
    /// Who registered made-up tokens: how many, and others how often.
    pub(in super::super) makers_up: Vec<(usize, u64, Span)>,
    /// Until everything must have come to rest after the last fault.
    pub(super) calm_max: Span,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Trouble {
    Push,
    Turned,
    Network,
    Disk,
    /// What the account at a mail server may do was taken away.
    Rights(usize),
    Mailbox(Ending),
    Odd(OddEnding),
    /// A user's registration names another mailbox.
    Elsewhere(usize),
}

impl Life {
    pub(super) fn new(plan: &Plan) -> Life {
        let names = ["ex1.example.com", "ex2.example.com", "ex3.example.com"];
        let manners = &plan.manners;
        let exchange = ExchangeConfig {
            back_ends: names[..plan.back_ends].iter().map(|name| (*name).to_owned()).collect(),
            heartbeat: manners.heartbeat,
            call_time: manners.call_time,
            detached_ttl: manners.detached_ttl,
            limits: manners.limits.clone(),
            subscription_ids: plan.subscription_ids,
            // Who is killed forgets that a password was refused, and each start tries it once.
            lockout_failures: Some(LOCKOUT_FAILURES + plan.kills()),
            strict: StrictRules {
                calls_max: Some(plan.calls_max),
                back_off_grace: StrictRules::default().back_off_grace + plan.way_and_back_max(),
                ..StrictRules::default()
            },
            ..ExchangeConfig::default()
        };
        let (cohort, minutes, calls) = (plan.cohort_users_max, plan.stream_minutes, plan.calls_max);
        let (catch_up, badge) = (plan.catch_up, plan.badge);
        let config = TownConfig {
            seed: plan.seed,
            users: plan.users,
            phones: plan.phones,
            shards: plan.shards,
            exchange,
            knobs: plan.knobs.clone(),
            timing: plan.timing,
            tokens: plan.tokens,
            mail_tokens: plan.mail_tokens,
            patience: Some(plan.patience),
            mail_servers: plan.mail_servers,
            sandbox: plan.sandbox,
            two_apps: plan.two_apps,
            full_access: plan.full_access,
            choosers: plan.choosers.clone(),
            mail_server: Box::new(move |server| {
                server.cohort_users_max = cohort;
                server.stream_minutes = minutes;
                server.calls_max = calls;
                server.catch_up = catch_up;
                server.badge = badge;
            }),
            // A mail that was read at any time need not have been told: outages may last for most of the day.
            wait_max: plan.length + CALM_MAX,
            clock_set_max: plan.clock_set_max(),
            ..TownConfig::default()
        };
        let mut town = Town::new(config);
        let net = Net {
            delay: plan.delay,
            jitter: plan.jitter,
            fragment_bytes_max: plan.fragment_bytes_max,
            piece_gap_max: plan.piece_gap_max,
            ..Net::default()
        };
        town.world.net = net.clone();
        let drift_ppm = plan.drift_ppm;
        for number in 0..town.world.apns.len() {
            let clock = Clock { ahead_ms: -plan.push_clock_behind_ms, drift_ppm };
            town.world.set_clock(PeerAt::Apns(number), clock);
        }
        for number in 0..plan.mail_servers {
            let clock = Clock { ahead_ms: plan.mail_clock_ahead_ms, drift_ppm };
            town.world.set_clock(PeerAt::Exchange(number), clock);
            let faults = &mut town.world.exchanges[number].faults;
            faults.chunks = manners.chunks;
            faults.style = manners.style;
            faults.lead = manners.lead;
            faults.transfer = manners.transfer;
        }
        for person in 0..plan.users {
            if person % 4 == 0 {
                town.set_vip(person, VipRules { high_importance: true, senders: Box::default() });
            }
        }
        for (at, act) in plan.acts.iter().filter(|(_, act)| act.deafens()) {
            let length = match act {
                Act::Mailboxes(act) => act.deafens_for(),
                _ => Span::ZERO,
            };
            town.audit.deaf(Time(at.0.saturating_sub(NEWS_MAX.0)), *at + length + DEAF_MAX);
        }
        if let Some(reports) = plan.journal_room {
            town.world.set_journal_room(reports);
        }
        town.audit.disk_may_fail(plan.disk_fails_max());
        Life {
            town,
            until: Vec::new(),
            turned: Vec::new(),
            knobs: plan.knobs.clone(),
            net,
            drift_ppm,
            mail_clock_ahead_ms: plan.mail_clock_ahead_ms,
            clocks_off: 0,
            push_clock_behind: plan.push_clock_behind_ms > 0 || drift_ppm < 0,
            failures: Vec::new(),
            mails: 0,
            shards: plan.shards,
            full_access: plan.full_access,
            timing: plan.timing,
            drains: BTreeMap::new(),
            somebody_died: plan.acts.iter().any(|(_, act)| act.kills()),
            back_ends: plan.back_ends,
            discovery: Discovery::default(),
            makers_up: Vec::new(),
            calm_max: calm_max(plan),
        }
    }

    pub(super) fn run_to(&mut self, at: Time) {
        while let Some((end, trouble)) =
            self.until.iter().copied().filter(|(end, _)| *end <= at).min_by_key(|(end, _)| *end)
        {
            self.run_plainly(end);
            self.until.retain(|(other, kind)| (*other, *kind) != (end, trouble));
            self.end_trouble(trouble);
        }
        self.run_plainly(at);
    }

    fn run_plainly(&mut self, at: Time) {
        loop {
            let left = at.since(self.town.world.now().time);
            self.town.run_for(left.min(HEARD));
            self.discover();
            if left <= HEARD {
                return;
            }
        }
    }

    /// Lets time pass.
    pub(in super::super) fn run_for(&mut self, span: Span) {
        self.run_plainly(self.town.world.now().time + span);
    }

    pub(super) fn end_trouble(&mut self, trouble: Trouble) {
        if trouble != Trouble::Turned && self.until.iter().any(|(_, other)| *other == trouble) {
            return;
        }
        match trouble {
            Trouble::Push => {
                for service in 0..self.town.world.apns.len() {
                    let knobs = self.knobs.clone();
                    self.town.turn_push_service(service, |present| *present = knobs);
                }
                self.turn_again();
            }
            Trouble::Turned => self.turn_back(),
            Trouble::Network => self.town.world.net = self.net.clone(),
            Trouble::Disk => self.town.world.set_disk(Disk::Well),
            Trouble::Rights(server) => self.give_rights_back(server),
            Trouble::Mailbox(ending) => self.mailbox_ending(ending),
            Trouble::Odd(ending) => self.odd_ending(ending),
            Trouble::Elsewhere(person) => self.town.go_home(person),
        }
    }
}
