//! Wakers that only set a bit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Wake, Waker};

/// One bit: something wants to be polled.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was raised; it is not any more.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.raise();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raise();
    }
}

/// One bit per slot, found in the order of slots: equal inputs give equal orders.
#[derive(Debug)]
pub(super) struct ReadySet {
    words: Arc<[AtomicU64]>,
    wakers: Vec<Waker>,
}

impl ReadySet {
    /// For slots `0..slots_max`.
    pub(super) fn new(slots_max: usize) -> ReadySet {
        let words = (0..slots_max.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        ReadySet { words, wakers: Vec::new() }
    }

    /// The waker of a slot. Made once per slot and kept.
    pub(super) fn waker(&mut self, slot: usize) -> Waker {
        while self.wakers.len() <= slot {
            let bit = SlotBit { words: Arc::clone(&self.words), slot: self.wakers.len() };
            self.wakers.push(Waker::from(Arc::new(bit)));
        }
        self.wakers[slot].clone()
    }

    pub(super) fn raise(&self, slot: usize) {
        set(&self.words, slot);
    }

    /// The lowest slot whose bit is set; it is not any more.
    pub(super) fn take(&self) -> Option<usize> {
        for (index, word) in self.words.iter().enumerate() {
            let bits = word.load(Ordering::Acquire);
            if bits != 0 {
                let bit = bits.trailing_zeros();
                word.fetch_and(!(1 << bit), Ordering::AcqRel);
                return Some(index * 64 + bit as usize);
            }
        }
        None
    }
}

struct SlotBit {
    words: Arc<[AtomicU64]>,
    slot: usize,
}

impl Wake for SlotBit {
    fn wake(self: Arc<Self>) {
        set(&self.words, self.slot);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        set(&self.words, self.slot);
    }
}

fn set(words: &[AtomicU64], slot: usize) {
    words[slot / 64].fetch_or(1 << (slot % 64), Ordering::AcqRel);
}
