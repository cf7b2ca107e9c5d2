//! The deterministic world: shards, peers and the network between them, stepped in virtual time.
//!
//! Nothing here sleeps. The clock jumps to whatever happens next: bytes that arrive, a deadline of a shard or a peer, a
//! line of the script. Everything that could differ between two runs is drawn from the seed, so equal seeds give equal
//! traces, to the byte.

mod disk;
mod fault;
mod net;
mod site;
mod store;
pub mod story;
pub mod town;

use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::hash::Hasher;

use carillon_core::ledger::Ledger;
use carillon_core::names::{SmtpAddress, UserKey};
use carillon_core::rng::Rng;
use carillon_core::shard::{Accounts, Command, Input, Report, ShardConfig, VipRules};
use carillon_core::time::{Now, Span, Time, UnixMillis};
use siphasher::sip::SipHasher24;

use crate::apns::{Apns, Arrived};
use crate::exchange::Exchange;
use crate::peer::Peer;

pub use disk::{Damage, Disk};
pub use fault::{Fault, Struck};
pub use net::{Net, PeerAt};
pub use store::{POWER_LOSS_MAX, Store};

use net::{Event, Link, What};
use site::Site;

/// Shards, peers, a network and a script.
pub struct World {
    now: Now,
    /// The simulated Exchange organisations.
    pub exchanges: Vec<Exchange>,
    /// The simulated push services.
    pub apns: Vec<Apns>,
    /// How the network behaves just now.
    pub net: Net,
    /// What survives a crash.
    pub store: Store,
    /// Reports of all shards, oldest first.
    pub reports: Vec<(Time, Report)>,
    /// What the owner said of users, oldest first, until somebody takes it.
    pub said: Vec<Said>,
    sites: Vec<Site>,
    accounts: Accounts,
    routes: Vec<PeerAt>,
    /// Of the mail servers, then of the push services.
    clocks: BTreeMap<PeerAt, Clock>,
    certificate: Option<Vec<u8>>,
    vigilant: bool,
    links: Vec<Link>,
    queue: BinaryHeap<Event>,
    /// Pushes that arrived ([`Apns::poll_arrived`]): at which push service, and with the moment at which their last byte left.
    pushes: VecDeque<(usize, Arrived)>,
    order: u64,
    rng: Rng,
    trace: SipHasher24,
    steps: u64,
    /// Turns of shards and peers in the present moment.
    steps_now: u64,
    struck: Struck,
    /// Of whom a kill took what was reported, and since when.
    forgotten: VecDeque<(UserKey, Time)>,
    /// That a token is gone was among it.
    gone_forgotten: bool,
    /// When the last of what has arrived had left, by shard and peer.
    left_last: BTreeMap<(usize, PeerAt), Time>,
}

/// What the owner of the engine said of a user, as far as it shows in pushes.
#[derive(Clone, Debug)]
pub struct Said {
    /// When.
    pub at: Time,
    /// Of whom.
    pub user: UserKey,
    /// The mailbox's address.
    pub address: SmtpAddress,
    /// Which mails go first.
    pub vip: VipRules,
}

/// So many turns of shards and peers there are in one moment of virtual time at most; lawful days have some hundreds. Beyond
/// it is a timer that is set again as it fires, or two who answer each other at once: the clock would never go on, and every
/// other bound is in its time.
const STEPS_AT_ONCE_MAX: u64 = 200_000;

/// What a world is made of.
pub struct WorldConfig {
    /// Everything that can differ follows from it.
    pub seed: u64,
    /// The wall clock at the start.
    pub start: UnixMillis,
    /// Shards.
    pub shards: usize,
    /// What each shard is built with; its number and seed are filled in.
    pub shard: ShardConfig,
    /// Where each of the shard's endpoints leads.
    pub routes: Vec<PeerAt>,
    /// The client certificate that shards show to every peer.
    pub certificate: Option<Vec<u8>>,
    /// Every shard is looked through after each of its turns; a shard of n users after every (n / 16)th, so that
    /// looking costs as much for each turn however many there are.
    pub vigilant: bool,
}

/// How a peer's wall clock differs from the engine's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// So much ahead at the world's start; negative when it is behind.
    pub ahead_ms: i64,
    /// It runs fast by so many millionths.
    pub drift_ppm: i64,
}

impl World {
    /// A world at rest.
    pub fn new(config: WorldConfig, exchanges: Vec<Exchange>, apns: Vec<Apns>) -> World {
        let now = Now { time: Time(0), unix: config.start };
        let mut rng = Rng::new(config.seed);
        let mut sites = Vec::new();
        for number in 0..config.shards {
            let shard = ShardConfig { shard: number as u16, seed: rng.next_u64(), ..config.shard.clone() };
            sites.push(Site::new(now, shard));
        }
        let accounts = Accounts::new(config.shards as u16, config.shard.mail_servers.len());
        World {
            now,
            exchanges,
            apns,
            net: Net::default(),
            store: Store::default(),
            reports: Vec::new(),
            said: Vec::new(),
            sites,
            accounts,
            routes: config.routes,
            clocks: BTreeMap::new(),
            certificate: config.certificate,
            vigilant: config.vigilant,
            links: Vec::new(),
            queue: BinaryHeap::new(),
            pushes: VecDeque::new(),
            order: 0,
            rng,
            trace: SipHasher24::new(),
            steps: 0,
            steps_now: 0,
            struck: Struck::default(),
            forgotten: VecDeque::new(),
            gone_forgotten: false,
            left_last: BTreeMap::new(),
        }
    }

    /// The present.
    pub fn now(&self) -> Now {
        self.now
    }

    /// A hash over everything that crossed the network and every report. Equal for equal seeds.
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// The next push that arrived at a push service, whatever became of it, whole or with details in the part that came. Its
    /// time is that at which the last byte of it left the shard, by the engine's clock: however long the network took, what it tells is judged by then.
    pub fn poll_push(&mut self) -> Option<(usize, Arrived)> {
        self.pushes.pop_front()
    }

    /// How many things have happened.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How often each fault has struck.
    pub fn struck(&self) -> &Struck {
        &self.struck
    }

    /// The sums of all shards in this life.
    pub fn ledger(&self) -> Ledger {
        let mut sum = Ledger::default();
        for site in &self.sites {
            sum.add(&site.core.stats().ledger);
        }
        sum
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.sites.len()
    }

    /// One shard's numbers.
    pub fn stats(&self, shard: usize) -> &carillon_core::shard::ShardStats {
        self.sites[shard].core.stats()
    }

    /// Looks for anything in a shard that must never be.
    ///
    /// # Errors
    /// The first such thing.
    pub fn check(&self, shard: usize) -> Result<(), String> {
        self.sites[shard].core.check()
    }

    /// Gives a shard a command, now.
    pub fn command(&mut self, shard: usize, command: Command) {
        if let Command::AssignUser(assign) = &command {
            let (address, vip) = (assign.address.clone(), assign.vip.clone());
            self.said.push(Said { at: self.now.time, user: assign.user, address, vip });
        }
        self.store.note_command(self.now.time, shard, &command);
        self.input(shard, Input::Command(command));
        self.collect();
    }

    /// The shard's process dies: its connections break, what it kept in memory is gone. It starts again at once, from the
    /// store. While the disk is well nothing of that is lost: a turn's reports are written to the journal before a byte of
    /// that turn leaves, and the kernel keeps what was written. What the process sent last its kernel may still deliver; or
    /// it died before it came to send it. Which of the two is drawn.
    pub fn crash(&mut self, shard: usize) {
        self.crash_with(shard, None);
    }

    /// As [`World::crash`], and a part of the shard's journal is damaged when it starts again.
    pub fn crash_damaged(&mut self, shard: usize, damage: Damage) {
        self.crash_with(shard, Some(damage));
    }

    fn crash_with(&mut self, shard: usize, damage: Option<Damage>) {
        let kernel_sends = self.rng.chance(1, 2);
        self.struck.note(if kernel_sends { Fault::Crash } else { Fault::CrashUnsent });
        if self.sites.len() == 1 {
            self.all_is_forgotten();
        }
        self.kill(shard, damage, None);
        self.die(shard, kernel_sends);
    }

    /// How the disk is from now on. A process that was killed starts again when it is well.
    pub fn set_disk(&mut self, disk: Disk) {
        self.store.unstored.set(self.now.time, disk);
    }

    /// How the disk is.
    pub fn disk(&self) -> Disk {
        self.store.unstored.disk
    }

    /// A shard's journal has room for so many reports.
    pub fn set_journal_room(&mut self, reports: usize) {
        self.store.unstored.room = Some(reports);
    }

    /// The next user of whom a kill took what had been reported since this time.
    pub fn poll_forgotten(&mut self) -> Option<(UserKey, Time)> {
        self.forgotten.pop_front()
    }

    /// Whether a kill took the news that a token is gone.
    pub fn gone_forgotten(&self) -> bool {
        self.gone_forgotten
    }

    fn kill(&mut self, shard: usize, damage: Option<Damage>, power: Option<Time>) {
        let killed = self.store.kill(self.now.time, shard, damage, power);
        killed.faults.into_iter().for_each(|fault| self.struck.note(fault));
        self.forgotten.extend(killed.forgotten);
        self.gone_forgotten |= killed.gone;
    }

    /// When a shard began, or began anew.
    pub fn begun(&self, shard: usize) -> Time {
        self.sites[shard].born
    }

    /// The process dies with all its shards, as [`World::crash`].
    pub fn crash_all(&mut self) {
        self.all_is_forgotten();
        for shard in 0..self.sites.len() {
            self.crash(shard);
        }
    }

    /// No shard is left that knows what was learnt of accounts.
    fn all_is_forgotten(&mut self) {
        self.accounts = Accounts::new(self.sites.len() as u16, self.exchanges.len());
        self.exchanges.iter_mut().for_each(Exchange::may_try_again);
    }

    /// A user goes from one shard to another, with what is stored of him.
    pub fn hand_over(&mut self, user: UserKey, from: usize, to: usize) {
        let Some(assign) = self.store.hand_over(user, to) else { return };
        self.input(from, Input::Command(Command::DropUser { user }));
        self.input(to, Input::Command(Command::AssignUser(Box::new(assign))));
        self.collect();
    }

    fn die(&mut self, shard: usize, kernel_sends: bool) {
        for index in 0..self.links.len() {
            if self.links[index].shard == shard {
                self.orphan(index, kernel_sends);
            }
        }
        let config = ShardConfig { seed: self.rng.next_u64(), ..self.sites[shard].core.config().clone() };
        self.sites[shard] = Site::new(self.now, config);
        self.accounts.forget(shard as u16);
        let client = site::client_name(shard);
        self.exchanges.iter_mut().for_each(|exchange| exchange.client_died(&client));
        self.ring_for_news();
        for command in self.store.commands(shard) {
            self.input(shard, Input::Command(command));
        }
        self.collect();
    }

    /// The power fails on the machine: all shards die, no kernel sends anything any more, and what was written after `from`
    /// is gone (not before [`POWER_LOSS_MAX`] ago). Returns whose acknowledged changes are among it.
    pub fn lose_power(&mut self, from: Time) -> Vec<UserKey> {
        self.struck.note(Fault::PowerFailure);
        if self.store.written_after(from) {
            self.struck.note(Fault::WrittenLost);
        }
        let broken = self.store.lose_power(from);
        self.all_is_forgotten();
        for shard in 0..self.sites.len() {
            self.kill(shard, None, Some(from));
            self.die(shard, false);
        }
        broken
    }

    /// After touching a peer directly: what it has to say goes on its way.
    pub fn collect(&mut self) {
        for index in 0..self.exchanges.len() {
            self.collect_from(PeerAt::Exchange(index));
        }
        for index in 0..self.apns.len() {
            self.collect_from(PeerAt::Apns(index));
        }
    }

    /// Lets the next thing happen, if it does so before `until`. False if not: then it is `until`.
    ///
    /// # Panics
    /// If more than [`STEPS_AT_ONCE_MAX`] things happen in one moment: with who did the last. Otherwise as a shard that is
    /// looked through ([`WorldConfig::vigilant`]).
    pub fn step(&mut self, until: Time) -> bool {
        let queued = self.queue.peek().map_or(Time::NEVER, |event| event.at);
        let (site_at, site) = self.next_site();
        let (peer_at, peer) = self.next_peer();
        let next = queued.min(site_at).min(peer_at);
        if next > until {
            // Whoever asks for a time that is over does not turn the clock back.
            self.set_time(until.max(self.now.time));
            return false;
        }
        if next > self.now.time {
            self.steps_now = 0;
        }
        self.set_time(next.max(self.now.time));
        self.steps += 1;
        // What arrives was sent at another time: it comes to an end, however small the pieces.
        self.steps_now += u64::from(queued != next);
        if self.steps_now > STEPS_AT_ONCE_MAX {
            let who = match self.queue.peek() {
                Some(event) if queued == next => self.whose(&event.what),
                _ if site_at == next => format!("shard {site}"),
                _ => format!("{peer:?}"),
            };
            panic!(
                "at {:?}: no end of it, {STEPS_AT_ONCE_MAX} things have happened in one moment; the next is of {who}",
                self.now.time
            );
        }
        if queued == next {
            let event = self.queue.pop().expect("peeked above");
            self.happen(event.what);
        } else if site_at == next {
            self.turn(site);
        } else {
            let now = self.now_of(peer);
            self.peer(peer).tick(now);
            self.collect_from(peer);
        }
        true
    }

    /// Runs for so long.
    pub fn run_for(&mut self, span: Span) {
        let until = self.now.time + span;
        while self.step(until) {}
    }

    /// Runs until `done` says so. False if it did not within `limit`.
    pub fn run_until(&mut self, limit: Span, mut done: impl FnMut(&World) -> bool) -> bool {
        let until = self.now.time + limit;
        while !done(self) {
            if !self.step(until) {
                return done(self);
            }
        }
        true
    }

    fn set_time(&mut self, time: Time) {
        assert!(time >= self.now.time, "time only goes on");
        let passed = time.since(self.now.time);
        let unix_us = self.now.unix.0 * 1_000 + self.now.time.0 % 1_000;
        self.now = Now { time, unix: UnixMillis((unix_us + passed.0) / 1_000) };
    }

    /// Sets a peer's clock.
    pub fn set_clock(&mut self, peer: PeerAt, clock: Clock) {
        if let PeerAt::Apns(at) = peer {
            self.apns[at].set_clock_ahead(clock.ahead_ms);
        }
        self.clocks.insert(peer, clock);
    }

    /// The present by a peer's clock.
    pub fn now_of(&self, peer: PeerAt) -> Now {
        let Some(clock) = self.clocks.get(&peer) else { return self.now };
        let drift_ms = self.now.time.0 as i64 / 1_000 * clock.drift_ppm / 1_000_000;
        let unix = self.now.unix.0.saturating_add_signed(clock.ahead_ms + drift_ms);
        Now { time: self.now.time, unix: UnixMillis(unix) }
    }

    /// The engine's clocks at an earlier moment.
    fn at(&self, time: Time) -> Now {
        let start = self.now.unix.0 - self.now.time.0 / 1_000;
        Now { time, unix: UnixMillis(start + time.0 / 1_000) }
    }

    fn next_site(&self) -> (Time, usize) {
        let deadlines = self.sites.iter().enumerate().map(|(index, site)| (site.next_turn(), index));
        deadlines.min().unwrap_or((Time::NEVER, 0))
    }

    fn next_peer(&self) -> (Time, PeerAt) {
        let exchanges =
            self.exchanges.iter().enumerate().map(|(i, peer)| (peer.next_deadline(), PeerAt::Exchange(i)));
        let apns = self.apns.iter().enumerate().map(|(i, peer)| (peer.next_deadline(), PeerAt::Apns(i)));
        let all = exchanges.chain(apns).filter_map(|(at, peer)| Some((at?, peer)));
        all.min_by_key(|(at, _)| *at).unwrap_or((Time::NEVER, PeerAt::Exchange(0)))
    }

    fn peer(&mut self, at: PeerAt) -> &mut dyn Peer {
        match at {
            PeerAt::Exchange(index) => &mut self.exchanges[index],
            PeerAt::Apns(index) => &mut self.apns[index],
        }
    }

    fn push(&mut self, at: Time, what: What) {
        self.order += 1;
        self.queue.push(Event { at, order: self.order, what });
    }

    fn record(&mut self, kind: u8, link: usize, bytes: &[u8]) {
        self.trace.write_u64(self.now.time.0);
        self.trace.write_u8(kind);
        self.trace.write_usize(link);
        self.trace.write(bytes);
    }
}
