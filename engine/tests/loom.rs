//! The parking protocol under all interleavings of its threads, with the weakest ordering for everything else.

use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::thread;
use parking::{Bell, Parking};
use sync::Ordering;

#[path = "../src/parking.rs"]
mod parking;

/// What `parking` is built on here.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering, fence};
    pub(crate) use loom::sync::{Condvar, Mutex};
}

/// A mailbox whose queue orders nothing: what the protocol needs, it must bring along.
struct Mailbox {
    queue: AtomicUsize,
    parking: Parking,
    bell: Bell,
}

impl Mailbox {
    fn new() -> Mailbox {
        Mailbox { queue: AtomicUsize::new(0), parking: Parking::new(), bell: Bell::new() }
    }

    fn put(&self) {
        self.queue.fetch_add(1, Ordering::Relaxed);
        if self.parking.must_ring() {
            self.bell.ring();
        }
    }

    /// Waits until `count` were taken. loom's waits have no time-out: a lost wake-up is a deadlock, which loom reports.
    fn take(&self, count: usize) {
        let mut taken = 0;
        while taken < count {
            taken += self.queue.swap(0, Ordering::Relaxed);
            if taken < count && self.parking.lie_down(|| self.queue.load(Ordering::Relaxed) == 0) {
                self.bell.wait(Duration::MAX);
                self.parking.get_up();
            }
        }
    }
}

/// All interleavings with at most three forced switches. One is enough for the mistake below; without a bound the
/// first test passes, too, and takes half a minute.
fn model(threads: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(threads);
}

#[test]
fn no_wake_up_is_lost_with_one_sender_and_many_sleeps() {
    model(|| {
        let mailbox = Arc::new(Mailbox::new());
        let sender = Arc::clone(&mailbox);
        let sender = thread::spawn(move || {
            sender.put();
            sender.put();
        });
        mailbox.take(2);
        sender.join().unwrap();
    });
}

#[test]
fn no_wake_up_is_lost_with_two_senders() {
    model(|| {
        let mailbox = Arc::new(Mailbox::new());
        let senders =
            [Arc::clone(&mailbox), Arc::clone(&mailbox)].map(|sender| thread::spawn(move || sender.put()));
        mailbox.take(2);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_model_finds_a_receiver_that_looks_before_it_lies_down() {
    model(|| {
        // Leaked: loom cannot drop its things while it tells of a deadlock.
        let mailbox: &Mailbox = Box::leak(Box::new(Mailbox::new()));
        let sender = thread::spawn(|| mailbox.put());
        // The mistake: the look comes before the announcement.
        if mailbox.queue.load(Ordering::Relaxed) == 0 && mailbox.parking.lie_down(|| true) {
            mailbox.bell.wait(Duration::MAX);
        }
        sender.join().unwrap();
    });
}
