//! One shard's thread: a core, its links, and the turns that drive them.
//!
//! A turn: sleep until something happens, read the clocks once, take commands, read within the budget, let the core
//! work, keep durable reports, write, hand reports out, publish the numbers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use carillon_core::limits::COMMANDS_PER_TURN;
use carillon_core::shard::{
    Budget, Command, ConnId, Effect, Effects, Input, More, PushTimes, ShardCore, ShardStats,
};
use carillon_core::time::{Now, Span, Time};
use mio::{Events, Poll, Token};

use crate::accounts::SharedAccounts;
use crate::clock::Clock;
use crate::handle::Ended;
use crate::journal::{Journal, is_durable};
use crate::links::Links;
use crate::mailbox::{Mailbox, Numbered, Outbox};
use crate::stats::record;

/// What a shell drives: [`ShardCore`], or a script in the shell's own tests.
pub trait Core {
    /// [`ShardCore::handle`].
    fn handle(&mut self, now: Now, input: Input<'_>, fx: &mut Effects);
    /// [`ShardCore::work`].
    fn work(&mut self, now: Now, budget: Budget, fx: &mut Effects) -> More;
    /// [`ShardCore::next_deadline`].
    fn next_deadline(&self) -> Option<Time>;
    /// [`ShardCore::drain`].
    fn drain(&mut self, conn: ConnId, out: &mut Vec<u8>, bytes_max: usize) -> bool;
    /// [`ShardCore::stats`].
    fn stats(&self) -> &ShardStats;
}

impl Core for ShardCore {
    fn handle(&mut self, now: Now, input: Input<'_>, fx: &mut Effects) {
        ShardCore::handle(self, now, input, fx);
    }

    fn work(&mut self, now: Now, budget: Budget, fx: &mut Effects) -> More {
        ShardCore::work(self, now, budget, fx)
    }

    fn next_deadline(&self) -> Option<Time> {
        ShardCore::next_deadline(self)
    }

    fn drain(&mut self, conn: ConnId, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        ShardCore::drain(self, conn, out, bytes_max)
    }

    fn stats(&self) -> &ShardStats {
        ShardCore::stats(self)
    }
}

/// The token of the waker; no link's id comes to it (an arena never has 2³² rows).
pub(crate) const WAKER: Token = Token(usize::MAX);

/// The thread's own things.
#[derive(Debug)]
pub(crate) struct Shard<C> {
    core: C,
    parts: Parts,
    accounts: Arc<SharedAccounts>,
    events: Events,
    fx: Effects,
    /// The core ran out of budget.
    more: bool,
    /// Durable reports so far.
    seq: u64,
    /// Reports that found no room. While there are any, the shard pauses: so it holds at most those of one turn.
    backlog: VecDeque<Numbered>,
    sent: Vec<PushTimes>,
    accepted: Vec<PushTimes>,
    rooms: Vec<ConnId>,
}

/// What a shard is put together from, besides its core.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) number: u16,
    pub(crate) poll: Poll,
    pub(crate) clock: Clock,
    pub(crate) links: Links,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) journal: Option<Journal>,
}

/// Counts a shard out when its thread ends, in whatever way.
#[derive(Debug)]
pub(crate) struct CountOut {
    pub(crate) number: u16,
    pub(crate) accounts: Arc<SharedAccounts>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) ended: Arc<Ended>,
}

impl<C: Core> Shard<C> {
    pub(crate) fn new(core: C, parts: Parts, accounts: Arc<SharedAccounts>) -> Shard<C> {
        Shard {
            core,
            parts,
            accounts,
            events: Events::with_capacity(EVENTS_PER_TURN),
            fx: Effects::new(),
            more: false,
            seq: 0,
            backlog: VecDeque::new(),
            sent: Vec::new(),
            accepted: Vec::new(),
            rooms: Vec::new(),
        }
    }

    /// Takes turns until the shutdown.
    pub(crate) fn run(mut self) {
        while !self.parts.mailbox.is_shut_down() {
            self.turn();
        }
        self.finish();
    }

    fn turn(&mut self) {
        self.sleep();
        if !self.deliver() {
            self.parts.links.stats.turns_paused += 1;
            return self.publish();
        }
        let now = self.parts.clock.now();
        self.take_in(now);
        self.more = self.core.work(now, Budget::TURN, &mut self.fx) == More::Yes;
        self.carry_out(now);
        self.deliver();
        self.parts.links.stats.turns += 1;
        self.publish();
    }

    /// Waits for events, commands or the next deadline; not at all while there is work at hand.
    fn sleep(&mut self) {
        let Parts { links, mailbox, clock, .. } = &self.parts;
        let timeout = if !self.backlog.is_empty() {
            Some(PAUSE)
        } else if self.more || links.has_work() || !mailbox.lie_down() {
            Some(Duration::ZERO)
        } else {
            let deadlines = [self.core.next_deadline(), links.next_deadline()];
            let deadline = deadlines.into_iter().flatten().min();
            deadline.map(|at| Duration::from_micros(at.since(clock.time()).0))
        };
        self.poll(timeout);
        self.parts.mailbox.get_up();
    }

    fn poll(&mut self, timeout: Option<Duration>) {
        match self.parts.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return,
            Err(error) => panic!("a shard cannot wait for events any more: {error}"),
        }
        for event in &self.events {
            // The waker only ends the sleep: each turn looks into the mailbox by itself.
            if event.token() != WAKER {
                self.parts.links.on_event(event);
            }
        }
    }

    /// All that happened goes into the core.
    fn take_in(&mut self, now: Now) {
        self.tell_rooms(now);
        let Shard { core, fx, parts: Parts { links, mailbox, .. }, .. } = self;
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = mailbox.take_command() else { break };
            links.stats.commands += 1;
            core.handle(now, Input::Command(command), fx);
        }
        if mailbox.take_news() {
            for (server, news) in self.accounts.hear(self.parts.number) {
                core.handle(now, Input::Account { server, news }, fx);
            }
        }
        let feed = &mut |input: Input<'_>| core.handle(now, input, fx);
        while let Some((endpoint, addresses)) = mailbox.take_resolved() {
            links.resolved(now.time, endpoint, addresses, feed);
        }
        links.progress(now.time, feed);
        links.expire(now.time, feed);
        links.start_connects(now.time, feed);
    }

    /// Does what the core wants: first reports go into the journal, then bytes go to sockets.
    fn carry_out(&mut self, now: Now) {
        for rounds_left in (0..ROOM_ROUNDS).rev() {
            self.apply_effects();
            self.keep_reports();
            let Shard { core, parts: Parts { links, .. }, .. } = self;
            links.flush(now.time, &mut |conn, out, bytes_max| core.drain(conn, out, bytes_max));
            if rounds_left == 0 || !links.has_rooms() {
                break;
            }
            self.tell_rooms(now);
            if self.fx.is_empty() {
                break;
            }
        }
    }

    fn tell_rooms(&mut self, now: Now) {
        self.parts.links.take_rooms(&mut self.rooms);
        for conn in self.rooms.drain(..) {
            self.core.handle(now, Input::Room { conn }, &mut self.fx);
        }
    }

    fn apply_effects(&mut self) {
        let links = &mut self.parts.links;
        for effect in self.fx.drain() {
            match effect {
                Effect::Open { conn, endpoint } => links.open(conn, endpoint),
                Effect::Flush { conn } => links.wants_flush(conn),
                Effect::Close { conn } => links.wants_close(conn),
                Effect::Account { server, word } => self.accounts.tell(self.parts.number, server, word),
                Effect::Report(report) => {
                    let mut seq = 0;
                    if is_durable(&report) {
                        self.seq += 1;
                        seq = self.seq;
                        if let Some(journal) = &mut self.parts.journal {
                            journal.add(seq, &report);
                        }
                    }
                    self.backlog.push_back(Numbered { shard: self.parts.number, seq, report });
                }
                Effect::Sent(times) => self.sent.push(times),
                Effect::Accepted(times) => self.accepted.push(times),
            }
        }
    }

    fn keep_reports(&mut self) {
        let Some(journal) = &mut self.parts.journal else { return };
        let stats = &mut self.parts.links.stats;
        let stored = self.parts.mailbox.stored();
        match journal.commit(stored) {
            Ok(bytes) => stats.journal_bytes += bytes as u64,
            Err(_shown_as_trouble) => stats.journal_failures += 1,
        }
        stats.journal_given_up = journal.given_up_times();
        stats.journal_trouble = journal.trouble(stored);
    }

    /// Hands reports out. False: not all of them had room.
    fn deliver(&mut self) -> bool {
        if self.backlog.is_empty() {
            return true;
        }
        while let Some(report) = self.backlog.pop_front() {
            if let Err(report) = self.parts.outbox.put(report) {
                self.backlog.push_front(report);
                break;
            }
        }
        self.parts.outbox.deliver();
        self.backlog.is_empty()
    }

    fn publish(&mut self) {
        let Parts { links, mailbox, clock, .. } = &mut self.parts;
        links.count();
        links.stats.reports_waiting = self.backlog.len() as u64;
        links.stats.commands_waiting = mailbox.commands_waiting() as u64;
        // Uncontended but for a reader of statistics now and then.
        let mut published = mailbox.published.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        published.core = *self.core.stats();
        published.shell.clone_from(&links.stats);
        if self.sent.is_empty() && self.accepted.is_empty() {
            return;
        }
        let now = clock.time();
        for times in self.sent.drain(..) {
            record(&mut published.latency.mail_to_written, times.signalled, now);
            record(&mut published.latency.due_to_written, times.due, now);
        }
        for times in self.accepted.drain(..) {
            record(&mut published.latency.mail_to_accepted, times.signalled, now);
        }
    }

    /// Closes everything in good order, within a bound.
    fn finish(&mut self) {
        let until = self.parts.clock.time() + SHUTDOWN;
        self.parts.links.close_all();
        loop {
            let now = self.parts.clock.time();
            let links = &mut self.parts.links;
            links.progress(now, &mut |_| {});
            links.expire(now, &mut |_| {});
            links.flush(now, &mut |_, _, _| false);
            let done = links.none_left();
            if self.deliver() && done || now >= until {
                break;
            }
            self.poll(Some(PAUSE));
        }
        self.publish();
    }
}

impl Drop for CountOut {
    fn drop(&mut self) {
        self.accounts.forget(self.number);
        self.mailbox.end();
        self.outbox.shard_ended();
        self.ended.count();
    }
}

/// Commands stay small, so that a queue of thousands does.
const _: () = assert!(size_of::<Command>() <= 64);

/// Events of one poll: more connections than a shard of full size has.
const EVENTS_PER_TURN: usize = 1_024;

/// Times that a turn tells the core of room that it made by writing. Further room is next turn's.
const ROOM_ROUNDS: u32 = 4;

/// How long a paused shard waits before it looks for room for its reports again.
const PAUSE: Duration = Duration::from_millis(5);

/// How long a shutdown may take to say good-bye on all connections.
const SHUTDOWN: Span = Span::from_millis(500);
