//! Both peers, the people, and the account, on one thread.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use carillon_core::limits::FETCH_WAIT_MAX;
use carillon_core::rng::Rng;
use carillon_core::time::{Now, Span, Time, UnixMillis};
use carillon_core::user::item_hash;
use carillon_engine::Clock;
use carillon_harness::apns::{
    AlertKind, Apns, DeviceIx, Environment, KeyScope, Knobs, Latency as AnswerTime, TeamKey, TokenSpec,
};
use carillon_harness::audit::{Audit, PhoneIx, UserIx};
use carillon_harness::exchange::{Account, Exchange, ExchangeConfig, Mail, MailboxKey, MailboxSpec, Station};
use carillon_harness::phone::{Rules, Wants};
use mio::Registry;
use mio::event::Event;
use rustls::ServerConfig;

use super::history::{Deed, History};
use super::latency::Latency;
use super::schedule::Schedule;
use super::server::{Server, TOKENS_PER_SERVER};
use crate::control::{Finding, Note, Outcome, Setup, Stepped, Tick};
use crate::people::{People, TOPIC, address};
use crate::profile::Plan;

/// Everything on the other side of Carillon's sockets.
pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) plan: Plan,
    pub(super) people: People,
    pub(super) exchange: Server<Exchange>,
    pub(super) apns: Server<Apns>,
    pub(super) audit: Audit,
    pub(super) latency: Latency,
    pub(super) history: History,
    pub(super) schedule: Schedule,
    pub(super) rng: Rng,
    pub(super) mailboxes: Vec<MailboxKey>,
    pub(super) devices: Vec<DeviceIx>,
    /// Of each user, the phones that have the app.
    pub(super) phones_left: Vec<u8>,
    /// Users of whose phones none has the app.
    pub(super) phoneless: u64,
    /// Every mail of the run; its tag is its index.
    pub(super) mails: Vec<MailRow>,
    pub(super) item_key: [u8; 16],
    /// Streams that went silent on purpose.
    pub(super) silent: Vec<u64>,
    pub(super) faults: BTreeMap<String, u64>,
    pub(super) notes: Vec<Note>,
    pub(super) reads: u64,
    pub(super) deletes: u64,
    playing: Option<Playing>,
    stepping: Option<Stepping>,
    shown: BTreeMap<String, u64>,
    last_push: Option<Time>,
    requests_before: u64,
    last_request: Time,
    streams_max: u64,
    turn_again: bool,
}

/// A mail of the run.
pub(super) struct MailRow {
    pub user: u32,
    pub item_id: String,
    pub hash: u64,
}

/// A rate that is held.
struct Stepping {
    /// When it is judged: the last mail, and the time that it waits.
    end: Time,
    mails_before: u64,
    pushes_before: u64,
    /// How much later than planned something was done.
    late: Span,
}

struct Playing {
    mails: u64,
    last: Time,
    end: Time,
    told: bool,
}

impl World {
    pub(super) fn new(
        clock: Clock,
        setup: &Setup,
        http1: Arc<ServerConfig>,
        h2: Arc<ServerConfig>,
        registry: &Registry,
    ) -> io::Result<World> {
        let plan = setup.plan.clone();
        let people = People::draw(&plan, setup.seed, UnixMillis(setup.start_unix_ms));
        let now = clock.now();
        let mut exchange = exchange(&plan, setup);
        let mut audit = Audit::new(rules(&plan));
        let mut latency = Latency::new(&plan.service);
        let mut mailboxes = Vec::with_capacity(people.persons.len());
        // An hour ago: no news for anybody.
        let before = Now { time: now.time, unix: UnixMillis(now.unix.0 - 3_600_000) };
        for (index, person) in people.persons.iter().enumerate() {
            let mailbox = exchange.add_mailbox(MailboxSpec {
                address: address(index as u32),
                back_end: person.back_end,
                grouping: format!("group{}", person.back_end),
                ..MailboxSpec::default()
            });
            for _ in 0..person.unread_before {
                let mail = Mail { tag: NO_TAG, subject: "From before".into(), ..Mail::default() };
                exchange.deliver(before, mailbox, mail);
            }
            mailboxes.push(mailbox);
            audit.add_user(person.unread_before);
            latency.add_user();
        }
        let mut apns = apns(&plan, setup, now);
        let mut devices = Vec::with_capacity(people.phones.len());
        let mut phones_left = vec![0; people.persons.len()];
        for (index, phone) in people.phones.iter().enumerate() {
            devices.push(apns.register(&TokenSpec {
                token: &phone.token,
                bundle: TOPIC,
                environment: Environment::Production,
                tag: index as u64,
            }));
            latency.add_phone(phone.person as usize, phone.alerts);
            phones_left[phone.person as usize] += 1;
            // The first badges come as soon as Carillon knows the phone; mail comes when all are registered.
            let wants = Wants { alerts: phone.alerts, details: phone.details, ..Wants::default() };
            audit.add_phone(UserIx(phone.person), now.time, phone.active, wants);
        }
        Ok(World {
            clock,
            plan,
            people,
            exchange: Server::listen(exchange, http1, 1, registry)?,
            apns: Server::listen(apns, h2, 1 + TOKENS_PER_SERVER, registry)?,
            audit,
            latency,
            history: History::default(),
            schedule: Schedule::default(),
            rng: Rng::new(setup.seed ^ 0x776f_726c_6421_2121),
            mailboxes,
            devices,
            phones_left,
            phoneless: 0,
            mails: Vec::new(),
            item_key: [0; 16],
            silent: Vec::new(),
            faults: BTreeMap::new(),
            notes: Vec::new(),
            reads: 0,
            deletes: 0,
            playing: None,
            stepping: None,
            shown: BTreeMap::new(),
            last_push: None,
            requests_before: 0,
            last_request: now.time,
            streams_max: 0,
            turn_again: false,
        })
    }

    /// Where Exchange and APNs listen.
    pub(super) fn ports(&self) -> io::Result<(u16, u16)> {
        Ok((self.exchange.port()?, self.apns.port()?))
    }

    pub(super) fn set_item_key(&mut self, hex: &str) {
        for (at, byte) in self.item_key.iter_mut().enumerate() {
            *byte = hex.get(at * 2..at * 2 + 2).and_then(|two| u8::from_str_radix(two, 16).ok()).unwrap_or(0);
        }
    }

    /// The mail begins to come.
    pub(super) fn play(&mut self) {
        let start = self.clock.time();
        let (schedule, mails, last) = Schedule::draw(&self.plan, &mut self.rng, start);
        self.schedule = schedule;
        let end = last.max(start + Span::from_secs(self.plan.load.duration_s.into()));
        self.playing = Some(Playing { mails, last, end, told: false });
    }

    /// Holds a rate for some time.
    pub(super) fn step(&mut self, mails_per_s: f64, seconds: f64) {
        let (start, length) = (self.clock.time(), Span((seconds.max(0.0) * 1e6) as u64));
        self.schedule.add_mails(self.plan.people.users, mails_per_s, length, &mut self.rng, start);
        self.latency.take_step();
        self.stepping = Some(Stepping {
            end: start + length + Span::from_millis(u64::from(self.plan.service.settle_ms) + STEP_TAIL_MS),
            mails_before: self.mails.len() as u64,
            pushes_before: self.apns.peer.stats().accepted,
            late: Span(0),
        });
    }

    fn end_step(&mut self) {
        let Some(step) = self.stepping.take_if(|step| step.end <= self.clock.time()) else { return };
        self.notes.push(Note::Stepped(Stepped {
            mails: self.mails.len() as u64 - step.mails_before,
            pushes: self.apns.peer.stats().accepted - step.pushes_before,
            latency: self.latency.take_step(),
            late_ms: step.late.0 as f64 / 1e3,
        }));
    }

    pub(super) fn on_event(&mut self, event: &Event, registry: &Registry) {
        if self.exchange.owns(event.token()) {
            self.exchange.on_event(&self.clock, event, registry);
        } else {
            self.apns.on_event(&self.clock, event, registry);
        }
    }

    /// One turn: read, let time pass, let people act, write.
    pub(super) fn turn(&mut self) -> Vec<Note> {
        // APNs first: what has arrived is to get its time before anything else is done.
        let mut again = self.apns.read(&self.clock);
        self.take_pushes();
        self.apns.write(&self.clock);
        again |= self.exchange.read(&self.clock);
        self.exchange.write(&self.clock);
        for _ in 0..ACTS_PER_TURN {
            let now = self.clock.now();
            let due = self.schedule.next();
            let Some(act) = self.schedule.pop(now.time) else { break };
            if let (Some(step), Some(due)) = (&mut self.stepping, due) {
                step.late = step.late.max(now.time.since(due));
            }
            self.act(now, act);
        }
        self.end_step();
        self.exchange.tick(&self.clock);
        self.apns.tick(&self.clock);
        self.exchange.write(&self.clock);
        self.apns.write(&self.clock);
        for seen in self.exchange.peer.take_on_wire() {
            if let Some(mail) =
                self.mails.get(seen.tag as usize).filter(|_| seen.station == Station::Streamed)
            {
                self.latency.on_wire(mail.user as usize, mail.hash, seen.at);
            }
        }
        if let Some(playing) = self.playing.as_mut()
            && !playing.told
            && self.clock.time() >= playing.end
        {
            playing.told = true;
            self.notes.push(Note::Played);
        }
        self.turn_again = again;
        std::mem::take(&mut self.notes)
    }

    pub(super) fn next_deadline(&self) -> Time {
        if self.turn_again {
            return Time(0);
        }
        let end = self.playing.as_ref().filter(|playing| !playing.told).map(|playing| playing.end);
        let step = self.stepping.as_ref().map(|step| step.end);
        [self.schedule.next(), self.exchange.next_deadline(), self.apns.next_deadline(), end, step]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Time::NEVER)
    }

    pub(super) fn tick(&mut self) -> Tick {
        let now = self.clock.time();
        let streams = self.exchange.peer.stream_keys();
        self.silent.retain(|stream| streams.contains(stream));
        self.streams_max = self.streams_max.max(streams.len() as u64);
        let stats = self.apns.peer.stats();
        if stats.requests != self.requests_before {
            self.requests_before = stats.requests;
            self.last_request = now;
        }
        Tick {
            mails: self.mails.len() as u64,
            mails_planned: self.playing.as_ref().map_or(0, |playing| playing.mails),
            pushes: stats.accepted,
            refused: stats.refused.values().sum(),
            streams: streams.len() as u64,
            silent: self.silent.len() as u64,
            phoneless: self.phoneless,
            watched: self.exchange.peer.watched_count() as u64,
            quiet_ms: now.since(self.last_request).as_millis(),
            now: self.latency.take_now(),
            all: self.latency.all(),
            faults: self.faults.values().sum(),
        }
    }

    /// The account.
    pub(super) fn finish(self) -> Outcome {
        let now = self.clock.now();
        let mails = self.mails.len() as u64;
        let (apns, exchange) = (self.apns.peer.stats(), self.exchange.peer.stats());
        let mut peers = BTreeMap::new();
        peers.insert("apns_connections".to_owned(), apns.connections);
        peers.insert("apns_requests".to_owned(), apns.requests);
        peers.insert("apns_accepted".to_owned(), apns.accepted);
        for (reason, count) in &apns.refused {
            peers.insert(format!("apns_refused_{reason:?}"), *count);
        }
        peers.insert("apns_payload_bytes".to_owned(), apns.payload_bytes);
        peers.insert("exchange_connections".to_owned(), exchange.connections);
        for (status, count) in &exchange.statuses {
            peers.insert(format!("exchange_http_{status}"), *count);
        }
        let mut misbehaviour: BTreeMap<String, u64> =
            apns.strict.counts.iter().map(|(fault, count)| (format!("apns: {fault:?}"), *count)).collect();
        let violations = self.exchange.peer.violation_count();
        if violations > 0 {
            misbehaviour.insert("exchange: all of them".to_owned(), violations);
            for violation in self.exchange.peer.violations().iter().take(EXAMPLES_MAX) {
                *misbehaviour.entry(format!("exchange: {violation}")).or_default() += 1;
            }
        }
        let accepted_after = match (&self.playing, self.last_push) {
            (Some(playing), Some(last)) => last.since(playing.last).0 as f64 / 1_000.0,
            (None, _) | (_, None) => 0.0,
        };
        let report = self.audit.finish(now);
        let mut wronged: Vec<u32> = report
            .findings()
            .into_iter()
            .filter(|(name, _)| *name != "told_after_gone")
            .flat_map(|(_, finding)| finding.examples.iter().take(HISTORIES_MAX))
            .filter_map(|case| Some(case.user?.0))
            .collect();
        wronged.sort_unstable();
        wronged.dedup();
        let findings = report.findings().into_iter().map(|(name, finding)| {
            let examples = finding.examples.iter().map(|case| {
                let user = case.user.map_or(String::new(), |user| format!("user {} ", user.0));
                let item = case.item.map_or(String::new(), |item| format!("mail {item:016x} "));
                format!(
                    "{user}phone {} {item}at {:.3} s: {}",
                    case.phone.0,
                    case.at.0 as f64 / 1e6,
                    case.note
                )
            });
            (name.to_owned(), Finding { count: finding.count, examples: examples.collect() })
        });
        Outcome {
            mails,
            reads: self.reads,
            deletes: self.deletes,
            tellings_owed: report.tellings_owed,
            told_by_name: report.told_by_name,
            told_by_number: report.told_by_number,
            pushes: report.pushes,
            shown: self.shown,
            duplicates_recognised: report.duplicates_recognised,
            findings: findings.collect(),
            latency: self.latency.all(),
            streams_max: self.streams_max,
            accepted_after_last_mail_ms: accepted_after,
            faults: self.faults,
            peers,
            misbehaviour,
            histories: self.history.of(&wronged),
        }
    }

    fn take_pushes(&mut self) {
        while let Some(push) = self.apns.peer.poll_arrived() {
            self.audit.left(PhoneIx(push.tag as u32), push.at, &push.payload);
        }
        while let Some(push) = self.apns.peer.poll_delivery() {
            let phone = push.tag as usize;
            self.audit.delivered(PhoneIx(push.tag as u32), &push, |_| {});
            let alert = push.payload.is_alert();
            let deed = Deed::Push {
                phone: push.tag as u32,
                badge: push.payload.badge,
                mails: push.payload.n,
                newest: push.payload.items.first().copied(),
                again: push.duplicate,
            };
            self.history.note(push.at.time, Some(self.people.phones[phone].person), deed);
            if !push.duplicate {
                self.latency.push(phone, push.at.time, alert, &push.payload.items);
            }
            let shown = match push.payload.alert {
                AlertKind::None => "badge",
                AlertKind::Generic => "generic",
                AlertKind::Several => "several",
                AlertKind::Details { .. } => "details",
            };
            *self.shown.entry(shown.to_owned()).or_default() += 1;
            if alert {
                self.last_push = Some(push.at.time);
            }
        }
    }

    pub(super) fn hash(&self, item_id: &str) -> u64 {
        item_hash(&self.item_key, item_id)
    }
}

fn exchange(plan: &Plan, setup: &Setup) -> Exchange {
    let mut exchange = Exchange::new(ExchangeConfig {
        seed: setup.seed,
        back_ends: (1..=plan.exchange.back_ends).map(|n| format!("ex{n}.example.com")).collect(),
        heartbeat: Span::from_secs(plan.exchange.heartbeat_s.into()),
        call_time: Span::from_millis(plan.exchange.call_ms.into()),
        record_on_wire: true,
        ..ExchangeConfig::default()
    });
    exchange.add_account(Account::service(&setup.exchange_user, &setup.exchange_password));
    exchange
}

fn apns(plan: &Plan, setup: &Setup, now: Now) -> Apns {
    let ms = |ms: u32| Span::from_millis(ms.into());
    let knobs = Knobs {
        streams_max: plan.apns.streams_max,
        latency: AnswerTime::Between(ms(plan.apns.answer_ms.0), ms(plan.apns.answer_ms.1)),
        ..Knobs::default()
    };
    let mut apns = Apns::new(Environment::Production, knobs, setup.seed);
    apns.add_key(TeamKey {
        team: setup.team.clone(),
        kid: setup.key_id.clone(),
        public_key: setup.public_key.clone(),
        scope: KeyScope::Team,
        environment: None,
    });
    apns.add_app(now, TOPIC, &setup.team);
    apns
}

/// How long things may take in this run.
fn rules(plan: &Plan) -> Rules {
    let (service, faults) = (&plan.service, &plan.faults);
    let rough = *faults != crate::profile::Faults::default();
    let mut wait_s = u64::from(service.max_delay_ms / 1_000) + 10;
    if rough {
        wait_s += 60;
    }
    if faults.silent_streams > 0 {
        wait_s += u64::from(service.stream_idle_s) + 30;
    }
    Rules {
        detail_cutoff: Span::from_secs(service.detail_cutoff_s.into()),
        wait_max: Span::from_secs(wait_s),
        crossing_max: Span::from_secs(if rough { 30 } else { 3 }),
        look_max: FETCH_WAIT_MAX,
        clock_set_max: Span::ZERO,
        transit_max: Span::from_secs(30),
    }
}

/// After the time that a step's last mail has to wait, so long until the step is judged.
const STEP_TAIL_MS: u64 = 300;

/// The tag of mails from before the run.
const NO_TAG: u64 = u64::MAX;

/// Acts before the sockets have their turn: a burst is not to stand between a push and the clock.
const ACTS_PER_TURN: usize = 8;

/// Of each kind of fault, users whose history is told.
const HISTORIES_MAX: usize = 3;

/// Cases of misbehaviour that are listed.
const EXAMPLES_MAX: usize = 8;
