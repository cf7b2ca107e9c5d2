//! The timer wheel: every delay of a shard in one place, armed and cancelled in constant time.
//!
//! Time is cut into ticks of one millisecond, and a tick is read as a number of `LEVELS` digits to the base 64. Level
//! 0 has one slot for each of the 64 ticks that share all higher digits with the present; level 1 one slot for each of
//! the 64 blocks of 64 ticks around that; and so on (Varghese and Lauck, 1987). A timer waits at the level of the
//! highest digit in which its tick differs from the present, in the slot that this digit names. When the present
//! reaches a slot above level 0, its timers cascade: each moves down to the level where it now belongs.
//!
//! Two things follow from "the highest digit that differs". Occupied slots always lie ahead of the present, and all of a
//! lower level before any of a higher one, so the next slot to look at is the lowest bit of the first bitmap that is
//! not empty. And timers of the same tick always wait in the same list, in the order in which they were armed, so firing
//! order needs no sorting.

use std::fmt;

use crate::limits::DETAIL_CUTOFF_S_MAX;
use crate::time::Time;

#[cfg(test)]
mod tests;

/// All timers of one shard. `K` says what to do when a timer fires.
///
/// A timer fires at the first whole millisecond at or after its deadline: never early, at most one tick late. Timers
/// fire by tick, and those of one tick in the order in which they were armed.
pub struct Wheel<K> {
    /// The present, in ticks. No armed timer has an earlier tick.
    tick: u64,
    /// One bit for each list that is not empty, per level; the last is for the list beyond the horizon.
    occupied: [u64; LEVELS + 1],
    lists: [List; BEYOND + 1],
    nodes: Vec<Node<K>>,
    /// The first of the released nodes, which are chained by `next`.
    free: u32,
}

/// A timer that belongs to one wheel. The row that owns it gives it back with [`Wheel::release`]; neither `Copy` nor
/// `Clone`, so that no deadline is kept by two owners.
#[derive(Debug)]
#[must_use = "a timer that is not released is lost to its wheel"]
pub struct TimerSlot(u32);

/// The first and the last node of a list.
#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

struct Node<K> {
    key: K,
    /// The deadline as it was asked for.
    at: Time,
    prev: u32,
    next: u32,
    /// The list in which it waits, or [`DISARMED`].
    list: u16,
}

impl<K: Copy> Wheel<K> {
    /// An empty wheel that stands at `start`.
    pub fn new(start: Time) -> Self {
        Wheel {
            tick: tick_reached(start),
            occupied: [0; LEVELS + 1],
            lists: [List::EMPTY; BEYOND + 1],
            nodes: Vec::new(),
            free: NONE,
        }
    }

    /// A disarmed timer that will yield `key`. The only call that may allocate.
    ///
    /// # Panics
    /// With 2³² − 1 timers.
    pub fn slot(&mut self, key: K) -> TimerSlot {
        if self.free != NONE {
            let index = self.free;
            let node = self.node(index);
            self.free = node.next;
            *self.node(index) = Node::disarmed(key);
            return TimerSlot(index);
        }
        let index = u32::try_from(self.nodes.len()).ok().filter(|index| *index != NONE);
        self.nodes.push(Node::disarmed(key));
        TimerSlot(index.expect("a wheel has fewer than 2^32 - 1 timers"))
    }

    /// Arms the timer for `at`, whether it was armed or not. A deadline in the past is due at once.
    ///
    /// A deadline is rounded up to a whole tick. What is to happen without delay needs no timer.
    pub fn arm(&mut self, slot: &TimerSlot, at: Time) {
        self.cancel(slot);
        self.node(slot.0).at = at;
        self.link(slot.0, tick_due(at));
    }

    /// Disarms the timer, if it is armed.
    pub fn cancel(&mut self, slot: &TimerSlot) {
        if self.node(slot.0).list != DISARMED {
            self.unlink(slot.0);
        }
    }

    /// When the timer is to fire; `None` when it is disarmed.
    pub fn deadline(&self, slot: &TimerSlot) -> Option<Time> {
        let node = &self.nodes[slot.0 as usize];
        (node.list != DISARMED).then_some(node.at)
    }

    /// Takes the timer back, disarming it.
    pub fn release(&mut self, slot: TimerSlot) {
        self.cancel(&slot);
        self.node(slot.0).next = self.free;
        self.free = slot.0;
    }

    /// The next timer that is due at `now`, disarmed by this; `None` when no more are.
    ///
    /// The wheel moves only as far as the timer that it gives: what is armed between two calls takes its place in the
    /// order.
    pub fn pop_expired(&mut self, now: Time) -> Option<K> {
        let now = tick_reached(now);
        while let Some((tick, list)) = self.earliest()
            && tick <= now
        {
            self.tick = tick;
            if list < SLOTS {
                let head = self.lists[list].head;
                self.unlink(head);
                return Some(self.node(head).key);
            }
            self.cascade(list);
        }
        self.tick = self.tick.max(now);
        None
    }

    /// When to call [`Wheel::pop_expired`] next; `None` when nothing is armed. Never late. It may be early, when timers
    /// far ahead cascade: at most once per level for each timer, and once per horizon (12.4 days) beyond.
    pub fn next_deadline(&self) -> Option<Time> {
        let (tick, _) = self.earliest()?;
        Some(Time(tick.saturating_mul(TICK_US)))
    }

    /// The first occupied list in order of time, and the tick at which it is to be looked at.
    fn earliest(&self) -> Option<(u64, usize)> {
        let level = self.occupied.iter().position(|bits| *bits != 0)?;
        let digit = self.occupied[level].trailing_zeros() as usize;
        let above = self.tick >> shift(level + 1);
        let tick = match level {
            LEVELS => ((self.tick >> shift(LEVELS)) + 1) << shift(LEVELS),
            _ => above << shift(level + 1) | (digit as u64) << shift(level),
        };
        Some((tick, level * SLOTS + digit))
    }

    /// Moves each timer of a list, in order, to where it belongs now.
    fn cascade(&mut self, list: usize) {
        let mut index = std::mem::replace(&mut self.lists[list], List::EMPTY).head;
        self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        while index != NONE {
            let node = self.node(index);
            let (next, tick) = (node.next, tick_due(node.at));
            self.link(index, tick);
            index = next;
        }
    }

    /// Appends a node that is in no list to the one in which `tick` waits.
    fn link(&mut self, index: u32, tick: u64) {
        let list = self.list_of(tick);
        let tail = std::mem::replace(&mut self.lists[list].tail, index);
        match tail {
            NONE => {
                self.lists[list].head = index;
                self.occupied[list / SLOTS] |= 1 << (list % SLOTS);
            }
            _ => self.node(tail).next = index,
        }
        let node = self.node(index);
        (node.prev, node.next, node.list) = (tail, NONE, list as u16);
    }

    /// Takes a node out of its list.
    fn unlink(&mut self, index: u32) {
        let node = self.node(index);
        let (prev, next, list) = (node.prev, node.next, usize::from(node.list));
        node.list = DISARMED;
        match prev {
            NONE => self.lists[list].head = next,
            _ => self.node(prev).next = next,
        }
        match next {
            NONE => self.lists[list].tail = prev,
            _ => self.node(next).prev = prev,
        }
        if self.lists[list].head == NONE {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }

    /// The list in which a timer of this tick waits now.
    fn list_of(&self, tick: u64) -> usize {
        let tick = tick.max(self.tick);
        let highest_bit = ((tick ^ self.tick) | 1).ilog2();
        let level = (highest_bit / DIGIT_BITS) as usize;
        if level >= LEVELS {
            return BEYOND;
        }
        level * SLOTS + (tick >> shift(level)) as usize % SLOTS
    }

    fn node(&mut self, index: u32) -> &mut Node<K> {
        &mut self.nodes[index as usize]
    }
}

impl<K> Node<K> {
    fn disarmed(key: K) -> Self {
        Node { key, at: Time::NEVER, prev: NONE, next: NONE, list: DISARMED }
    }
}

impl List {
    const EMPTY: List = List { head: NONE, tail: NONE };
}

impl<K> fmt::Debug for Wheel<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wheel").field("tick", &self.tick).field("timers", &self.nodes.len()).finish()
    }
}

/// The tick at which a deadline is due: rounded up, so that nothing fires early.
fn tick_due(at: Time) -> u64 {
    at.0.div_ceil(TICK_US)
}

/// The last tick that has begun: rounded down, for the same reason.
fn tick_reached(now: Time) -> u64 {
    now.0 / TICK_US
}

/// The bits of a tick below the digit of `level`.
const fn shift(level: usize) -> u32 {
    DIGIT_BITS * level as u32
}

/// One millisecond, in microseconds.
const TICK_US: u64 = 1_000;

const DIGIT_BITS: u32 = 6;

/// Slots of one level: one machine word of occupancy.
const SLOTS: usize = 1 << DIGIT_BITS;

/// 64⁵ ms: 12.4 days.
const LEVELS: usize = 5;

/// The list of all timers whose tick differs from the present above the highest level. It cascades whenever the present
/// reaches a multiple of the horizon.
const BEYOND: usize = LEVELS * SLOTS;

/// In place of an index: no node.
const NONE: u32 = u32::MAX;

/// In place of a list: the timer waits in none.
const DISARMED: u16 = u16::MAX;

// The longest delay of the engine crosses the horizon at most once.
const _: () = assert!(1 << shift(LEVELS) >= DETAIL_CUTOFF_S_MAX as u64 * 1_000);
const _: () = assert!(BEYOND < DISARMED as usize);
