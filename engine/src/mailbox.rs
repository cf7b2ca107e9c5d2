//! The mailboxes between threads: commands into each shard, reports out of all of them. Both are bounded.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use carillon_core::shard::{Command, EndpointId, Report};
use crossbeam_queue::ArrayQueue;

use crate::links::LOOKUPS_MAX;
use crate::parking::{Bell, Parking};
use crate::stats::Published;

/// A report with its place in the order of its shard.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbered {
    /// The shard that it comes from.
    pub shard: u16,
    /// Counts the durable reports of this shard since the engine started, from 1. 0 for a report that need not be stored.
    pub seq: u64,
    /// The report.
    pub report: Report,
}

/// What a name turned out to mean, or the resolver's words about why not.
pub(crate) type Addresses = Result<Vec<SocketAddr>, Box<str>>;

/// The way into one shard.
#[derive(Debug)]
pub(crate) struct Mailbox {
    commands: ArrayQueue<Command>,
    /// At most [`LOOKUPS_MAX`] look-ups per endpoint are under way, so there is always room.
    resolved: ArrayQueue<(EndpointId, Addresses)>,
    parking: Parking,
    waker: mio::Waker,
    /// Durable reports up to this number are in the owner's store. Not a command: it must get through a full queue.
    stored: AtomicU64,
    /// Other shards said something for this one to hear.
    news: AtomicBool,
    shutdown: AtomicBool,
    ended: AtomicBool,
    pub(crate) published: Mutex<Published>,
}

impl Mailbox {
    pub(crate) fn new(waker: mio::Waker, commands_max: usize, endpoints: usize) -> Mailbox {
        Mailbox {
            commands: ArrayQueue::new(commands_max.max(1)),
            resolved: ArrayQueue::new((endpoints * LOOKUPS_MAX).max(1)),
            parking: Parking::new(),
            waker,
            stored: AtomicU64::new(0),
            news: AtomicBool::new(false),
            shutdown: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            published: Mutex::default(),
        }
    }

    /// Sender: gives the command back when the queue is full.
    pub(crate) fn send(&self, command: Command) -> Result<(), Command> {
        self.commands.push(command)?;
        self.wake();
        Ok(())
    }

    pub(crate) fn answer_lookup(&self, endpoint: EndpointId, addresses: Addresses) {
        let fits = self.resolved.push((endpoint, addresses)).is_ok();
        debug_assert!(fits, "so many look-ups per endpoint at a time");
        self.wake();
    }

    pub(crate) fn ring_for_news(&self) {
        self.news.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn set_stored(&self, seq: u64) {
        // Read at the shard's next turn; only the journal cares, so nobody is woken for it.
        self.stored.fetch_max(seq, Ordering::Release);
    }

    pub(crate) fn shut_down(&self) {
        self.shutdown.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn wake(&self) {
        if self.parking.must_ring() {
            // It fails only when the shard's poll is broken, and then the shard ends by itself.
            let _ = self.waker.wake();
        }
    }

    /// Shard: true when it may sleep.
    pub(crate) fn lie_down(&self) -> bool {
        self.parking.lie_down(|| {
            self.commands.is_empty()
                && self.resolved.is_empty()
                && !self.news.load(Ordering::Relaxed)
                && !self.shutdown.load(Ordering::Relaxed)
        })
    }

    pub(crate) fn get_up(&self) {
        self.parking.get_up();
    }

    pub(crate) fn take_command(&self) -> Option<Command> {
        self.commands.pop()
    }

    pub(crate) fn commands_waiting(&self) -> usize {
        self.commands.len()
    }

    pub(crate) fn take_resolved(&self) -> Option<(EndpointId, Addresses)> {
        self.resolved.pop()
    }

    pub(crate) fn take_news(&self) -> bool {
        self.news.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.shutdown.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }
}

/// The way out of all shards.
#[derive(Debug)]
pub(crate) struct Outbox {
    reports: ArrayQueue<Numbered>,
    parking: Parking,
    bell: Bell,
    shards_running: AtomicUsize,
}

impl Outbox {
    pub(crate) fn new(reports_max: usize, shards: usize) -> Outbox {
        Outbox {
            reports: ArrayQueue::new(reports_max.max(1)),
            parking: Parking::new(),
            bell: Bell::new(),
            shards_running: AtomicUsize::new(shards),
        }
    }

    /// Shard: gives the report back when the queue is full. Call [`Outbox::deliver`] after the last one of a turn.
    pub(crate) fn put(&self, report: Numbered) -> Result<(), Numbered> {
        self.reports.push(report)
    }

    pub(crate) fn deliver(&self) {
        if self.parking.must_ring() {
            self.bell.ring();
        }
    }

    pub(crate) fn shard_ended(&self) {
        self.shards_running.fetch_sub(1, Ordering::AcqRel);
        self.deliver();
    }

    pub(crate) fn all_ended(&self) -> bool {
        self.shards_running.load(Ordering::Acquire) == 0
    }

    fn finished(&self) -> bool {
        // In this order: a shard puts its last report in before it counts itself out.
        self.all_ended() && self.reports.is_empty()
    }

    fn take(&self, batch: &mut Vec<Numbered>) {
        while batch.len() < REPORTS_PER_BATCH
            && let Some(report) = self.reports.pop()
        {
            batch.push(report);
        }
    }

    fn wait(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        if self.parking.lie_down(|| self.reports.is_empty() && !self.all_ended()) {
            self.bell.wait(left);
            self.parking.get_up();
        }
        true
    }
}

/// The receiving end of all shards' reports. There is one for each engine.
///
/// Whoever holds it must keep receiving: when its queue is full, shards keep what they have, take no more commands in
/// (callers get [`crate::Refused::Busy`]), read no more from their connections and send no more pushes, until there is
/// room again. So no report is lost, and none is heaped up.
#[derive(Debug)]
pub struct Reports {
    pub(crate) outbox: std::sync::Arc<Outbox>,
}

impl Reports {
    /// Waits for reports, at most `timeout`; then takes all that are there, at most 1,024, in the order of each shard.
    /// Empty: none came in time, or the engine has ended ([`Reports::is_finished`]).
    pub fn recv(&mut self, timeout: Duration) -> Vec<Numbered> {
        let until = Instant::now() + timeout;
        let mut batch = Vec::new();
        loop {
            self.outbox.take(&mut batch);
            if !batch.is_empty() || self.outbox.finished() || !self.outbox.wait(until) {
                return batch;
            }
        }
    }

    /// Whether all shards have ended and their last reports were received.
    pub fn is_finished(&self) -> bool {
        self.outbox.finished()
    }
}

/// Reports that one [`Reports::recv`] returns: a store writes them in one transaction.
const REPORTS_PER_BATCH: usize = 1_024;
