//! The wheel against a model that fits on a page: a map from (tick, order of arming) to key.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::time::Span;

const HORIZON_MS: u64 = 1 << shift(LEVELS);

fn ms(ms: u64) -> Time {
    Time(ms * 1_000)
}

fn pop_all(wheel: &mut Wheel<u32>, now: Time) -> Vec<u32> {
    std::iter::from_fn(|| wheel.pop_expired(now)).collect()
}

#[test]
fn a_timer_fires_at_the_first_whole_tick_after_its_deadline() {
    let mut wheel = Wheel::new(Time(0));
    let slot = wheel.slot(7);
    wheel.arm(&slot, Time(2_001));
    assert_eq!(wheel.deadline(&slot), Some(Time(2_001)));
    assert_eq!(wheel.next_deadline(), Some(ms(3)));
    assert_eq!(wheel.pop_expired(Time(2_999)), None);
    assert_eq!(wheel.pop_expired(ms(3)), Some(7));
    assert_eq!(wheel.pop_expired(ms(3)), None);
    assert_eq!(wheel.deadline(&slot), None);
    assert_eq!(wheel.next_deadline(), None);
    wheel.release(slot);
}

#[test]
fn a_deadline_in_the_past_is_due_at_once() {
    let mut wheel = Wheel::new(ms(1_000_000));
    let slot = wheel.slot(1);
    wheel.arm(&slot, ms(3));
    assert_eq!(wheel.next_deadline(), Some(ms(1_000_000)));
    assert_eq!(wheel.pop_expired(ms(1_000_000)), Some(1));
    wheel.release(slot);
}

#[test]
fn timers_of_one_tick_fire_in_the_order_of_arming_whatever_way_they_came() {
    // The first is armed from beyond the horizon, the last from the tick before.
    let due = HORIZON_MS + 70_000;
    let mut wheel = Wheel::new(Time(0));
    let mut slots = Vec::new();
    for (key, now) in [(0, 0), (1, due - 65_000), (2, due - 4_100), (3, due - 64), (4, due - 1)] {
        assert_eq!(wheel.pop_expired(ms(now)), None);
        let slot = wheel.slot(key);
        wheel.arm(&slot, ms(due));
        slots.push(slot);
    }
    assert_eq!(wheel.pop_expired(Time(due * 1_000 - 1)), None);
    assert_eq!(pop_all(&mut wheel, ms(due)), [0, 1, 2, 3, 4]);
    slots.into_iter().for_each(|slot| wheel.release(slot));
}

#[test]
fn what_is_armed_between_two_pops_takes_its_place_in_the_order() {
    let mut wheel = Wheel::new(Time(0));
    let slots: Vec<_> = (0..3).map(|key| wheel.slot(key)).collect();
    wheel.arm(&slots[0], ms(10));
    wheel.arm(&slots[1], ms(30));
    assert_eq!(wheel.pop_expired(ms(100)), Some(0));
    wheel.arm(&slots[2], ms(20));
    wheel.arm(&slots[0], ms(5));
    assert_eq!(pop_all(&mut wheel, ms(100)), [0, 2, 1]);
    slots.into_iter().for_each(|slot| wheel.release(slot));
}

#[test]
fn the_longest_cut_off_wakes_the_shard_a_few_times_only() {
    let cutoff = Span::from_secs(DETAIL_CUTOFF_S_MAX.into());
    for start in [ms(0), ms(77_777), ms(HORIZON_MS - 1), ms(HORIZON_MS * 3 - 50_000)] {
        let mut wheel = Wheel::new(start);
        let slot = wheel.slot(1);
        wheel.arm(&slot, start + cutoff);
        let mut wakes = 0;
        let fired = loop {
            let now = wheel.next_deadline().unwrap();
            wakes += 1;
            if wheel.pop_expired(now).is_some() {
                break now;
            }
        };
        assert_eq!(fired, start + cutoff);
        assert!(wakes <= LEVELS + 2, "{wakes} wake-ups");
        wheel.release(slot);
    }
}

#[test]
fn a_deadline_of_never_does_not_fire() {
    let mut wheel = Wheel::new(Time(0));
    let slot = wheel.slot(1);
    wheel.arm(&slot, Time::NEVER);
    for now in [ms(1), ms(HORIZON_MS), ms(HORIZON_MS * 1_000), Time::NEVER] {
        assert_eq!(wheel.pop_expired(now), None);
    }
    wheel.release(slot);
}

#[test]
fn after_warm_up_nothing_is_allocated() {
    let mut wheel = Wheel::new(Time(0));
    let mut slots: Vec<_> = (0..1_000).map(|key| wheel.slot(key)).collect();
    let (capacity, storage) = (wheel.nodes.capacity(), wheel.nodes.as_ptr());
    let mut rng = crate::rng::Rng::new(1);
    let mut span_us = |bits_max| {
        let bits = rng.below(bits_max);
        rng.below(1 << bits)
    };
    let mut now = Time(0);
    for round in 0..10_000 {
        let at = round * 7 % slots.len();
        wheel.arm(&slots[at], now + Span(span_us(45)));
        now = now + Span(span_us(30));
        while wheel.pop_expired(now).is_some() {}
        wheel.release(slots.swap_remove(at));
        slots.push(wheel.slot(at as u32));
    }
    assert_eq!((wheel.nodes.capacity(), wheel.nodes.as_ptr()), (capacity, storage));
    assert_eq!(wheel.nodes.len(), 1_000);
    slots.into_iter().for_each(|slot| wheel.release(slot));
}

/// What the wheel promises, in the plainest words.
struct Model {
    tick: u64,
    armed_so_far: u64,
    waiting: BTreeMap<(u64, u64), u32>,
}

impl Model {
    fn cancel(&mut self, key: u32) {
        self.waiting.retain(|_, waiting| *waiting != key);
    }

    fn arm(&mut self, key: u32, at: Time) {
        self.cancel(key);
        self.armed_so_far += 1;
        self.waiting.insert((at.0.div_ceil(1_000).max(self.tick), self.armed_so_far), key);
    }

    fn pop(&mut self, now: Time) -> Option<u32> {
        let now = now.0 / 1_000;
        let entry = self.waiting.first_entry().filter(|entry| entry.key().0 <= now);
        let fired = entry.map(|entry| entry.remove_entry());
        self.tick = fired.map_or(self.tick.max(now), |((tick, _), _)| tick);
        fired.map(|(_, key)| key)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Slot,
    Arm { which: prop::sample::Index, ahead_us: u64 },
    ArmBehind { which: prop::sample::Index, behind_us: u64 },
    Cancel { which: prop::sample::Index },
    Release { which: prop::sample::Index },
    Pass { us: u64 },
    Pop { times: u8 },
    PassToNextDeadline,
}

/// From nothing to years, each order of magnitude as likely as any other.
fn any_span_us() -> impl Strategy<Value = u64> {
    (0u32..56).prop_flat_map(|bits| 0..1u64 << bits)
}

fn any_step() -> impl Strategy<Value = Step> {
    let which = any::<prop::sample::Index>;
    prop_oneof![
        2 => Just(Step::Slot),
        6 => (which(), any_span_us()).prop_map(|(which, ahead_us)| Step::Arm { which, ahead_us }),
        1 => (which(), any_span_us()).prop_map(|(which, behind_us)| Step::ArmBehind { which, behind_us }),
        1 => which().prop_map(|which| Step::Cancel { which }),
        1 => which().prop_map(|which| Step::Release { which }),
        3 => any_span_us().prop_map(|us| Step::Pass { us }),
        3 => (0u8..8).prop_map(|times| Step::Pop { times }),
        2 => Just(Step::PassToNextDeadline),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_wheel_does_what_the_model_does(start in any_span_us(), steps in prop::collection::vec(any_step(), 1..120)) {
        let mut now = Time(start);
        let mut wheel = Wheel::new(now);
        let mut model = Model { tick: start / 1_000, armed_so_far: 0, waiting: BTreeMap::new() };
        let mut slots: Vec<(u32, TimerSlot)> = Vec::new();
        let mut keys = 0u32..;
        for step in steps {
            match step {
                Step::Slot => {
                    let key = keys.next().unwrap();
                    slots.push((key, wheel.slot(key)));
                }
                Step::Pass { us } => now = now + Span(us),
                Step::PassToNextDeadline => now = wheel.next_deadline().map_or(now, |at| at.max(now)),
                Step::Pop { times } => {
                    for _ in 0..times {
                        let due = model.waiting.first_key_value().map(|(_, key)| *key);
                        let asked = slots.iter().find(|(key, _)| Some(*key) == due).and_then(|(_, slot)| wheel.deadline(slot));
                        let fired = wheel.pop_expired(now);
                        prop_assert_eq!(fired, model.pop(now));
                        if fired.is_some() {
                            prop_assert!(asked.unwrap() <= now, "fired early");
                        }
                    }
                }
                _ if slots.is_empty() => {}
                Step::Arm { which, ahead_us } => {
                    let (key, slot) = which.get(&slots);
                    wheel.arm(slot, now + Span(ahead_us));
                    model.arm(*key, now + Span(ahead_us));
                    prop_assert_eq!(wheel.deadline(slot), Some(now + Span(ahead_us)));
                }
                Step::ArmBehind { which, behind_us } => {
                    let (key, slot) = which.get(&slots);
                    wheel.arm(slot, now - Span(behind_us));
                    model.arm(*key, now - Span(behind_us));
                }
                Step::Cancel { which } => {
                    let (key, slot) = which.get(&slots);
                    wheel.cancel(slot);
                    model.cancel(*key);
                    prop_assert_eq!(wheel.deadline(slot), None);
                }
                Step::Release { which } => {
                    let (key, slot) = slots.swap_remove(which.index(slots.len()));
                    wheel.release(slot);
                    model.cancel(key);
                }
            }
            let due = model.waiting.first_key_value().map(|((tick, _), _)| ms(*tick));
            let next = wheel.next_deadline();
            prop_assert_eq!(next.is_some(), due.is_some());
            prop_assert!(next <= due, "{:?} is later than {:?}", next, due);
        }
        // Everything that is armed fires in the end, in the model's order, if only the deadlines are kept.
        let mut idle = 0;
        while let Some(at) = wheel.next_deadline() {
            now = now.max(at);
            let fired = wheel.pop_expired(now);
            prop_assert_eq!(fired, model.pop(now));
            idle = if fired.is_some() { 0 } else { idle + 1 };
            // Beyond the horizon the wheel looks in once each 12.4 days: jump over the years.
            if idle > LEVELS + 2 {
                now = now + Span(100 * HORIZON_MS * 1_000);
            }
        }
        prop_assert!(model.waiting.is_empty());
        slots.into_iter().for_each(|(_, slot)| wheel.release(slot));
    }
}
