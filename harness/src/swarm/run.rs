//! Lives through a plan and judges it.

use std::collections::BTreeMap;

use carillon_core::shard::{Timing, VipRules};
use carillon_core::time::{Span, Time, UnixMillis};

use super::exam;
use super::mailboxes::{Discovery, Ending};
use super::owner::OwnerAct;
use super::phones::Turned;
use super::plan::{Act, NetTrouble, Place, Plan, TOKENS_EXPIRED};
use crate::apns::{Goaway, Share, StrictFault};
use crate::exchange::{
    BusyScope, Code, Cut, DELETED_ITEMS, ExchangeConfig, FolderKey, INBOX, Importance, Override, Silence,
    StrictRules,
};
use crate::peer::Close;
use crate::world::town::{Town, TownConfig};
use crate::world::{Clock, Net, PeerAt};

/// What came of a run.
#[derive(Debug)]
pub struct Verdict {
    /// Hash over everything that crossed the network.
    pub trace: u64,
    /// Things that happened.
    pub steps: u64,
    /// Virtual time that passed.
    pub passed: Span,
    /// Mails that arrived.
    pub mails: u64,
    /// Pushes that phones got.
    pub pushes: u64,
    /// What is wrong; empty for a good run.
    pub failures: Vec<String>,
}

impl Verdict {
    /// Of a run that a broken invariant ended.
    pub fn of_panic(panic: &(dyn std::any::Any + Send)) -> Verdict {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let failures = vec![text.unwrap_or_else(|| "a panic".to_owned())];
        Verdict { trace: 0, steps: 0, passed: Span::ZERO, mails: 0, pushes: 0, failures }
    }
}

/// How long the world may take to come to rest after the last fault. The longest pause of the engine is half an hour,
/// and one may follow on another.
const CALM_MAX: Span = Span::from_secs(4 * 3_600);

/// When the silence of a stream has surely been noticed (120 s), and its cohort caught up.
const SILENCE_NOTICED: Span = Span::from_secs(240);

/// The longest trouble, and until it is surely noticed that it has deafened a stream.
const DEAF_MAX: Span = Span::from_secs(90 + 240);

/// Until what happens in a mailbox has surely been heard, on a day on which nothing is broken.
const NEWS_MAX: Span = Span::from_secs(10);

/// How long the owner of the engine takes to hear a report.
const HEARD: Span = Span::from_secs(2);

/// How often a long calm looks whether everything has come to rest.
const LOOK: Span = Span::from_secs(10);

/// Log-ins with a wrong password that lock an account: what Windows recommends.
const LOCKOUT_FAILURES: u32 = 10;

/// Lives through the plan.
pub fn run(plan: &Plan) -> Verdict {
    live(plan).judge()
}

/// As [`run`], with the story of one user: what he did, what the engine reported of him, what his phones were told.
pub fn tell(plan: &Plan, user: usize) -> (Vec<(Time, String)>, Verdict) {
    let life = live(plan);
    // Others have come in the course of the day.
    let user = user.min(life.town.people.len() - 1);
    let mut story: Vec<(Time, String)> = Vec::new();
    let name = format!("UserKey({user})");
    for (at, act) in &plan.acts {
        story.push((*at, format!("{act:?}")));
    }
    for (at, report) in &life.town.world.reports {
        let text = format!("{report:?}");
        if text.contains(&name) || !text.contains("UserKey") {
            story.push((*at, format!("    engine: {text}")));
        }
    }
    let phones: Vec<_> = life.town.people[user].phones.iter().map(|phone| phone.key.0).collect();
    for push in life.town.deliveries.iter().filter(|push| phones.contains(&push.tag)) {
        let (payload, id) = (&push.payload, push.apns_id);
        let text = format!(
            "    phone {}: {:?} n={} badge={:?} items={:x?} id={id:x} again={}",
            push.tag, payload.alert, payload.n, payload.badge, payload.items, push.duplicate
        );
        story.push((push.at.time, text));
    }
    story.sort_by_key(|(at, _)| *at);
    (story, life.judge())
}

fn live(plan: &Plan) -> Life {
    let mut life = Life::new(plan);
    for (at, act) in &plan.acts {
        life.run_to(*at);
        life.act(act);
    }
    life.run_to(Time(0) + plan.length);
    life.end_faults();
    life.calm_down();
    if !life.failures.is_empty() {
        return life;
    }
    let Some(person) = life.somebody(plan.seed as usize) else { return life };
    match exam::examine(&mut life.town, &life.timing, person) {
        Ok(mails) => life.mails += mails,
        Err(why) => life.failures.push(why),
    }
    life.calm_down();
    let drains = |act: &Act| matches!(act, Act::Owner(OwnerAct::Drain { .. }));
    if life.failures.is_empty() && plan.acts.iter().any(|(_, act)| drains(act)) {
        life.drain_in_peace();
        life.calm_down();
    }
    life
}

pub(super) struct Life {
    pub(super) town: Town,
    /// Troubles that end by themselves.
    pub(super) until: Vec<(Time, Trouble)>,
    /// The push services on a good day.
    pub(super) knobs: crate::apns::Knobs,
    /// What is turned there, and until when.
    pub(super) turned: Vec<(Time, Turned)>,
    net: Net,
    /// When the first thing begins by which the engine may not hear what happens in mailboxes.
    deaf_from: Time,
    drift_ppm: i64,
    push_clock_behind: bool,
    pub(super) failures: Vec<String>,
    pub(super) mails: u64,
    pub(super) shards: usize,
    pub(super) full_access: bool,
    /// As they were set last.
    pub(super) timing: Timing,
    /// Shards that were told to end: with the number of reports at that time, unless one has died since.
    pub(super) drains: BTreeMap<usize, Option<usize>>,
    /// A shard did.
    pub(super) somebody_died: bool,
    pub(super) back_ends: usize,
    pub(super) discovery: Discovery,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Push,
    Turned,
    Network,
    /// What the account at a mail server may do was taken away.
    Rights(usize),
    Mailbox(Ending),
}

impl Life {
    fn new(plan: &Plan) -> Life {
        let names = ["ex1.example.com", "ex2.example.com", "ex3.example.com"];
        let manners = &plan.manners;
        let exchange = ExchangeConfig {
            back_ends: names[..plan.back_ends].iter().map(|name| (*name).to_owned()).collect(),
            heartbeat: manners.heartbeat,
            call_time: manners.call_time,
            detached_ttl: manners.detached_ttl,
            limits: manners.limits.clone(),
            lockout_failures: Some(LOCKOUT_FAILURES),
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
        for (at, _) in plan.acts.iter().filter(|(_, act)| act.deafens()) {
            town.audit.deaf(Time(at.0.saturating_sub(NEWS_MAX.0)), *at + DEAF_MAX);
        }
        Life {
            town,
            until: Vec::new(),
            turned: Vec::new(),
            knobs: plan.knobs.clone(),
            net,
            deaf_from: plan.acts.iter().find(|(_, act)| act.deafens()).map_or(Time::NEVER, |(at, _)| *at),
            drift_ppm,
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
        }
    }

    fn run_to(&mut self, at: Time) {
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
    fn run_for(&mut self, span: Span) {
        self.run_plainly(self.town.world.now().time + span);
    }

    fn end_trouble(&mut self, trouble: Trouble) {
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
            Trouble::Rights(server) => self.give_rights_back(server),
            Trouble::Mailbox(ending) => self.mailbox_ending(ending),
        }
    }

    fn act(&mut self, act: &Act) {
        if act.kills() && !matches!(act, Act::Owner(OwnerAct::Restart { .. })) {
            self.forget_drains();
        }
        let now = self.town.world.now();
        let people = self.town.people.len();
        match act {
            Act::Mail { user, mails, vip } => {
                for n in 0..*mails {
                    let mut mail = self.town.mail();
                    mail.subject = format!("mail {n} of {mails} — Grüße 🎉");
                    mail.body = "Dear all, ".repeat(1 + (n as usize % 40));
                    if *vip {
                        mail.importance = Importance::High;
                    }
                    self.town.deliver_mail(user % people, mail);
                    self.mails += 1;
                }
            }
            Act::RuledMail { user, to } => {
                let mut mail = self.town.mail();
                mail.folder = self.folder(user % people, *to);
                self.town.deliver_mail(user % people, mail);
                self.mails += 1;
            }
            Act::Move { user, mail, to } => {
                let mails = self.town.people[user % people].mails.len();
                if mails > 0 {
                    self.move_mail(user % people, mail % mails, *to);
                }
            }
            Act::MoveLast { user, to } => {
                if let Some(last) = self.town.people[user % people].mails.len().checked_sub(1) {
                    self.move_mail(user % people, last, *to);
                }
            }
            Act::Read { user, mail } => self.with_mail(*user, *mail, Town::read),
            Act::Delete { user, mail } => self.with_mail(*user, *mail, Town::delete),
            Act::UseApp { user, phone } => {
                let phones = self.town.people[user % people].phones.len();
                self.town.use_app(user % people, phone % phones);
            }
            Act::Register { user, phone } => {
                let phones = self.town.people[user % people].phones.len();
                self.town.register_again(user % people, phone % phones);
            }
            Act::Uninstall { user, phone } => {
                let phones = self.town.people[user % people].phones.len();
                self.town.uninstall(user % people, phone % phones);
            }
            Act::Stop { user } => self.town.stop(user % people),
            Act::Crash { shard } => {
                let shards = self.shards;
                self.town.world.crash(shard % shards);
            }
            Act::CutStream { .. }
            | Act::SilenceStream { .. }
            | Act::CloseStream { .. }
            | Act::RestartBackEnd { .. }
            | Act::Busy { .. }
            | Act::Nonsense { .. }
            | Act::LoseSubscription { .. }
            | Act::Deafen { .. } => {
                self.mail_fault(act);
            }
            Act::Goaway { .. } | Act::ResetLane | Act::SilenceLane | Act::PushTrouble { .. } => {
                self.push_fault(act);
            }
            Act::Distrust { user, phone, answers } => {
                let phones = &self.town.people[user % people].phones;
                let (service, device) =
                    (phones[phone % phones.len()].service, phones[phone % phones.len()].device);
                let yesterday = UnixMillis(now.unix.0 - 86_400_000);
                self.town.world.apns[service].distrust(device, yesterday, *answers);
            }
            Act::BadNetwork { resets, refused, length } => {
                self.town.world.net.resets = *resets;
                self.town.world.net.refused = *refused;
                self.until.push((now.time + *length, Trouble::Network));
            }
            Act::Network { kind, share, length } => {
                let net = &mut self.town.world.net;
                match kind {
                    NetTrouble::Stalls => net.stalls = *share,
                    NetTrouble::HalfCloses => net.half_closes = *share,
                    NetTrouble::FailedHandshakes => net.failed_handshakes = *share,
                    NetTrouble::SlowConnections => net.lag_max = Span(*share),
                    NetTrouble::Crumbs => {
                        net.fragment_bytes_max = Some(1);
                        net.piece_gap_max = Span(*share);
                    }
                }
                self.until.push((now.time + *length, Trouble::Network));
            }
            Act::Phones(act) => self.phone_act(act),
            Act::PowerFailure { tail } => {
                self.town.lose_power(*tail);
            }
            Act::ForgetSyncStates { server } => {
                let servers = self.town.world.exchanges.len();
                self.town.world.exchanges[server % servers].forget_sync_states();
            }
            Act::Owner(act) => self.owner_act(act),
            Act::Mailboxes(act) => self.mailbox_act(act),
            Act::Folders(act) => self.folder_act(act),
            Act::MailClock { ahead_ms } => {
                let clock = Clock { ahead_ms: *ahead_ms, drift_ppm: self.drift_ppm };
                let server = ahead_ms.unsigned_abs() as usize % self.town.world.exchanges.len();
                self.town.world.set_clock(PeerAt::Exchange(server), clock);
            }
            Act::PushClock { ahead_ms } => {
                self.push_clock_behind |= *ahead_ms < 0;
                let clock = Clock { ahead_ms: *ahead_ms, drift_ppm: self.drift_ppm };
                self.town.world.set_clock(PeerAt::Apns(0), clock);
            }
        }
    }

    fn move_mail(&mut self, user: usize, mail: usize, to: Place) {
        let to = self.folder(user, to);
        self.move_to(user, mail, to);
    }

    pub(super) fn move_to(&mut self, user: usize, mail: usize, to: FolderKey) {
        self.town.moves_are_heard = self.town.world.now().time + NEWS_MAX < self.deaf_from;
        self.town.move_mail(user, mail, to);
    }

    pub(super) fn folder(&self, user: usize, place: Place) -> FolderKey {
        let person = &self.town.people[user];
        let exchange = &self.town.world.exchanges[person.server];
        let mut chosen = person.chosen.iter().filter(|folder| exchange.has_folder(person.mailbox, **folder));
        match place {
            Place::Inbox => INBOX,
            Place::Chosen => chosen.next().copied().unwrap_or(INBOX),
            Place::Elsewhere => DELETED_ITEMS,
        }
    }

    fn with_mail(&mut self, user: usize, mail: usize, what: fn(&mut Town, usize, usize)) {
        let user = user % self.town.people.len();
        let mails = self.town.people[user].mails.len();
        if mails > 0 {
            self.town.readings_are_heard = self.town.is_live(user);
            what(&mut self.town, user, mail % mails);
        }
    }

    fn mail_fault(&mut self, act: &Act) {
        let people = self.town.people.len();
        let mailboxes: Vec<_> = self.town.people.iter().map(|person| person.mailbox).collect();
        let servers = self.town.world.exchanges.len();
        let server = match act {
            Act::LoseSubscription { user, .. } | Act::Deafen { user } => {
                self.town.people[user % people].server
            }
            Act::CutStream { stream: number, .. }
            | Act::SilenceStream { stream: number, .. }
            | Act::CloseStream { stream: number }
            | Act::RestartBackEnd { back_end: number } => number % servers,
            Act::Busy { length, .. } => length.0 as usize % servers,
            Act::Nonsense { requests, .. } => *requests as usize % servers,
            _ => 0,
        };
        let now = self.town.world.now_of(PeerAt::Exchange(server));
        let exchange = &mut self.town.world.exchanges[server];
        let streams = exchange.stream_keys();
        let some = |index: usize| (!streams.is_empty()).then(|| streams[index % streams.len()]);
        match act {
            Act::CutStream { stream, after_bytes, reset } => {
                if let Some(key) = some(*stream) {
                    let how = if *reset { Close::Reset } else { Close::Orderly };
                    exchange.cut_stream(key, Cut { after_bytes: *after_bytes, how });
                }
            }
            Act::SilenceStream { stream, blackhole } => {
                if let Some(key) = some(*stream) {
                    exchange.go_silent(key, if *blackhole { Silence::Blackhole } else { Silence::Stall });
                }
            }
            Act::Deafen { user } => {
                if let Some(key) = exchange.stream_of(mailboxes[user % people]) {
                    exchange.go_silent(key, Silence::Blackhole);
                }
            }
            Act::CloseStream { stream } => {
                if let Some(key) = some(*stream) {
                    exchange.close_stream(now, key);
                }
            }
            Act::RestartBackEnd { back_end } => {
                exchange.restart_back_end(now, back_end % self.back_ends);
            }
            Act::Busy { length, shape } => exchange.set_busy(now, BusyScope::All, *length, *shape, false),
            Act::Nonsense { requests, kind } => {
                let answer = match kind {
                    0 => Override::Unavailable { retry_after_s: Some(5) },
                    1 => Override::InternalError { retry_after_s: None },
                    2 => Override::LogonRedirect,
                    3 => Override::Html,
                    4 => Override::MalformedXml,
                    _ => Override::Oversized(3 << 20),
                };
                exchange.answer_next(*requests, None, answer);
            }
            Act::LoseSubscription { user, kind } => {
                let code = match kind {
                    0 => Code::ErrorSubscriptionNotFound,
                    1 => Code::ErrorExpiredSubscription,
                    2 => Code::ErrorReadEventsFailed,
                    _ => Code::ErrorMailboxStoreUnavailable,
                };
                exchange.fail_subscriptions(now, &[mailboxes[user % people]], code, None);
            }
            _ => {}
        }
        self.town.world.collect();
    }

    fn push_fault(&mut self, act: &Act) {
        let service = self.town.world.now().time.0 as usize % self.town.world.apns.len();
        let now = self.town.world.now_of(PeerAt::Apns(service));
        let apns = &mut self.town.world.apns[service];
        let lanes = apns.connections();
        match act {
            Act::Goaway { unprocessed } => {
                if let Some(lane) = lanes.first() {
                    apns.goaway(now, *lane, Goaway { unprocessed: *unprocessed, ..Goaway::default() });
                }
            }
            Act::ResetLane => {
                if let Some(lane) = lanes.first() {
                    apns.reset_connection(*lane);
                }
            }
            Act::SilenceLane => {
                if let Some(lane) = lanes.first() {
                    apns.go_silent(*lane);
                }
            }
            Act::PushTrouble { kind, share, length } => {
                let until = now.time + *length;
                let share = Share(*share);
                apns.turn(now, |knobs| match *kind {
                    0 => knobs.requests_lost = share,
                    1 => knobs.answers_lost = share,
                    2 => knobs.resets_before = share,
                    3 => knobs.resets_after = share,
                    4 => knobs.internal_errors = share,
                    5 => knobs.unavailable_until = until,
                    6 => knobs.streams_max = 1,
                    TOKENS_EXPIRED => knobs.tokens.age_max = Span::ZERO,
                    _ => knobs.ping_unanswered = true,
                });
                self.until.push((until, Trouble::Push));
            }
            _ => {}
        }
        self.town.world.collect();
    }

    fn end_faults(&mut self) {
        self.turned.clear();
        for (_, trouble) in std::mem::take(&mut self.until) {
            if let Trouble::Mailbox(ending) = trouble {
                self.mailbox_ending(ending);
            }
        }
        self.put_tokens_right();
        self.end_trouble(Trouble::Push);
        self.end_trouble(Trouble::Network);
        (0..self.town.world.exchanges.len()).for_each(|server| self.end_trouble(Trouble::Rights(server)));
        self.town.put_credentials_right();
        self.restart_all();
        self.town.world.exchanges.iter_mut().for_each(|exchange| exchange.clear_orders());
        // A mail server's clock stays as it is: that it is off is no fault, and setting it would be one.
        for number in 0..self.town.world.apns.len() {
            self.town.world.set_clock(PeerAt::Apns(number), Clock::default());
        }
    }

    /// With the faults off, everything must come to rest by itself.
    fn calm_down(&mut self) {
        let end = self.town.world.now().time + CALM_MAX;
        // A stream that fell silent without a word is only noticed by its silence.
        self.run_for(SILENCE_NOTICED);
        loop {
            self.run_for(LOOK);
            let people = self.town.watched() as u64;
            let live: u64 = (0..self.shards).map(|shard| self.town.world.stats(shard).users_live).sum();
            if live == people && self.town.is_quiet() && self.town.badges_are_right() {
                return;
            }
            if self.town.world.now().time >= end {
                let stats: Vec<_> = (0..self.shards).map(|shard| self.town.world.stats(shard)).collect();
                self.failures.push(format!("did not come to rest: {live} of {people} live; {stats:?}"));
                return;
            }
        }
    }

    fn judge(mut self) -> Verdict {
        for shard in 0..self.shards {
            if let Err(why) = self.town.world.check(shard) {
                self.failures.push(why);
            }
            let second_look = self.town.world.stats(shard).second_look;
            let resent = self.town.world.stats(shard).resends_ambiguous;
            if second_look > resent {
                self.failures
                    .push(format!("{second_look} notices were worded with details past the cut-off"));
            }
        }
        self.judge_accounts();
        let violations = self.town.world.exchanges.iter().flat_map(|exchange| exchange.violations());
        self.failures.extend(violations.map(|violation| format!("mail server: {violation}")));
        // Where the push service's clock is behind, a token that is gone seems to have been so before it was registered.
        let excused = (self.push_clock_behind).then_some(StrictFault::PushedAfterGone);
        let strict = self.town.world.apns.iter().flat_map(|apns| apns.stats().strict.counts.iter());
        let strict = strict.filter(|(fault, _)| excused != Some(**fault));
        self.failures.extend(strict.map(|(fault, times)| format!("push service: {fault:?}, {times} times")));
        let (trace, steps) = (self.town.world.trace(), self.town.world.steps());
        let passed = self.town.world.now().time.since(Time(0));
        let report = self.town.finish();
        for (name, finding) in report.findings() {
            if finding.count > 0 {
                self.failures.push(format!("{name}: {} ({:?})", finding.count, finding.examples.first()));
            }
        }
        Verdict { trace, steps, passed, mails: self.mails, pushes: report.pushes, failures: self.failures }
    }
}
