//! `harness shrink`: a small day that fails as a large one does.

use std::process::ExitCode;

use carillon_harness::swarm::{Plan, Profile, shrink};
use indicatif::ProgressBar;

use super::{Days, Planted, report};

/// Shrinks a day that fails.
pub(crate) fn small(seed: u64, runs: usize, planted: &Planted, days: &Days, profile: &Profile) -> ExitCode {
    let day = format!("{}{}", days.day(seed), planted.words());
    let dev = format!("{} shrink {day}", planted.harness(false));
    // A broken invariant is a panic: one of many here, or the end of a release build, which has to say what would not end.
    std::panic::set_hook(Box::new(move |panic| {
        if cfg!(panic = "abort") {
            println!("a broken invariant ended this release build; shrink with {dev}\nFAILED: {panic}");
        }
    }));
    let plan = Plan::draw(seed, profile);
    let before = plan.acts.len();
    let bar = ProgressBar::new_spinner();
    let _planted = planted.plant();
    let found = shrink(&plan, runs, |runs, plan| {
        bar.set_message(format!("{runs} plans tried, {} of {before} things left", plan.acts.len()));
        bar.tick();
    });
    bar.finish_and_clear();
    match found {
        None => {
            println!("day {seed} does not fail");
            ExitCode::SUCCESS
        }
        Some((without, verdict)) => {
            let small = without.apply(&plan);
            print!("{small}");
            println!("{} of {before} things are needed", small.acts.len());
            let harness = planted.harness(true);
            println!("To live through it: {harness} run {day} --without {without}");
            report(&verdict.failures)
        }
    }
}
