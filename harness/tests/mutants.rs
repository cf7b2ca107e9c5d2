//! Every mistake that can be planted in the engine is noticed by the days of the swarm, soon. That those days end well
//! without one is `tests/swarm.rs`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use carillon_core::planted::{Mistake, plant};
use carillon_core::shard::BadgeCount;
use carillon_harness::swarm::mutants::hunt;
use carillon_harness::swarm::{Plan, Profile, Without, run, shrink};

const DAYS_MAX: u64 = 200;

#[test]
fn every_planted_mistake_is_noticed_within_two_hundred_days() {
    // A broken invariant is a panic in the middle of a day: nobody needs to see each.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let profile = Profile::load("swarm").unwrap();
    let (next, unnoticed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(mistake) = Mistake::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = hunt(Some(*mistake), 0..DAYS_MAX, &profile, |_| {});
                    if found.is_none() {
                        unnoticed.lock().expect("nobody panics with it").push(*mistake);
                    }
                }
            });
        }
    });
    std::panic::set_hook(hook);
    let unnoticed = unnoticed.into_inner().expect("nobody panics with it");
    assert!(unnoticed.is_empty(), "nobody notices {unnoticed:?}");
}

#[test]
fn a_day_with_a_mistake_shrinks_to_a_small_one_that_fails_alike_and_can_be_lived_through_again() {
    let profile = Profile::load("swarm").unwrap();
    let mistake = Mistake::CatchUpTellsAgain;
    let found = hunt(Some(mistake), 0..DAYS_MAX, &profile, |_| {}).expect("noticed, as by the test above");
    let drawn = Plan::draw(found.seed, &profile);
    let _planted = plant(mistake);
    // Some hundred days, of which the smaller ones take moments.
    let (without, verdict) = shrink(&drawn, 400, |_, _| {}).expect("it fails");
    let kind = found.by.split(':').next().unwrap();
    assert!(verdict.failures.iter().any(|failure| failure.starts_with(kind)), "{kind}: {verdict:?}");
    let text = without.to_string();
    let small = text.parse::<Without>().unwrap().apply(&drawn);
    // A mail, what makes it be looked for again, and perhaps one thing more: for one user with one phone, at one server.
    assert!(small.acts.len() <= 3, "{small}");
    let one = [small.users, small.phones, small.shards, small.mail_servers, small.back_ends];
    assert_eq!(one, [1; 5], "{small}");
    let extras = small.two_apps || small.sandbox || small.full_access || small.mail_tokens;
    assert!(!extras && small.choosers.is_empty() && small.tokens.is_none(), "{small}");
    let clocks = [small.mail_clock_ahead_ms, small.push_clock_behind_ms, small.drift_ppm];
    assert_eq!((clocks, small.badge), ([0; 3], BadgeCount::Inbox), "{small}");
    let again = run(&small);
    assert_eq!((again.trace, again.failures), (verdict.trace, verdict.failures), "{text}");
}

#[test]
fn a_day_whose_clock_stands_still_fails_and_says_by_whom() {
    let profile = Profile::load("swarm").unwrap();
    let found = hunt(Some(Mistake::TimerSetAgain), 0..DAYS_MAX, &profile, |_| {}).expect("noticed");
    assert!(found.by.contains("in one moment; the next is of shard"), "{}", found.by);
}
