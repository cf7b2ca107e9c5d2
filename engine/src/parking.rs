//! How a thread sleeps when its mailbox is empty without ever missing what was put in.
//!
//! The receiver first announces that it lies down, then looks into the mailbox once more. A sender first puts
//! something in, then looks for the announcement. A fence between the two steps of each makes it impossible that both
//! look too early, whatever the ordering of the mailbox's own accesses: this is store buffering (Dekker's pattern),
//! which only sequentially consistent fences forbid. Waking is sticky on both sides (mio's `Waker`, [`Bell`]), so a
//! ring between the second look and the sleep is not lost either.
//!
//! The announcement changes hands by acquiring and releasing swaps. The fences alone would do by the letter of the C++
//! memory model; the swaps make it plain which announcement came last, to readers and to loom.
//!
//! The types of `sync` are the standard library's here and loom's in `tests/loom.rs`, which tries all interleavings of
//! this very file.

use std::time::Duration;

use super::sync::{AtomicBool, Condvar, Mutex, Ordering, fence};

/// The announcement of one receiver.
#[derive(Debug)]
pub(crate) struct Parking {
    asleep: AtomicBool,
}

impl Parking {
    pub(crate) fn new() -> Parking {
        Parking { asleep: AtomicBool::new(false) }
    }

    /// Receiver: about to sleep. True: nothing is there, and whoever puts something in from now on will ring. False:
    /// there is something, do not sleep.
    pub(crate) fn lie_down(&self, is_empty: impl FnOnce() -> bool) -> bool {
        self.asleep.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if is_empty() {
            return true;
        }
        self.get_up();
        false
    }

    /// Receiver: awake, for whatever reason. A ring that is already under way costs one idle turn.
    pub(crate) fn get_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Sender, after putting something in. True: ring. Of many senders only one is told so for each sleep.
    pub(crate) fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel)
    }
}

/// A sticky ring for a receiver that has no `Poll` to sleep in.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub(crate) fn new() -> Bell {
        Bell { rung: Mutex::new(false), changed: Condvar::new() }
    }

    pub(crate) fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    /// Returns after a ring, after `timeout`, or for no reason: the caller looks again.
    pub(crate) fn wait(&self, timeout: Duration) {
        let mut rung = self.rung.lock().unwrap();
        if !*rung {
            rung = self.changed.wait_timeout(rung, timeout).unwrap().0;
        }
        *rung = false;
    }
}
