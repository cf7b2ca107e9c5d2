//! Days with a known mistake in the engine: a simulation that does not notice it proves nothing.

use std::ops::Range;

use carillon_core::planted::{Mistake, plant};

use super::plan::Plan;
use super::profile::Profile;
use super::run::{Verdict, run};

/// The first day on which a mistake was noticed.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its seed.
    pub seed: u64,
    /// What noticed it.
    pub by: String,
}

/// Lives through a day with the mistake in every shard. A broken invariant ends it.
fn live_with(mistake: Option<Mistake>, seed: u64, profile: &Profile) -> Verdict {
    let plan = Plan::draw(seed, profile);
    let _planted = mistake.map(plant);
    std::panic::catch_unwind(|| run(&plan)).unwrap_or_else(|panic| Verdict::of_panic(panic.as_ref()))
}

/// The first of the days `seeds` on which the mistake is noticed; without one, the first that fails.
/// `passed` hears of each that goes well.
pub fn hunt(
    mistake: Option<Mistake>,
    seeds: Range<u64>,
    profile: &Profile,
    mut passed: impl FnMut(u64),
) -> Option<Found> {
    for seed in seeds {
        let verdict = live_with(mistake, seed, profile);
        if let Some(failure) = verdict.failures.into_iter().next() {
            return Some(Found { seed, by: failure });
        }
        passed(seed);
    }
    None
}
