//! `harness mutants`: days with a mistake in the engine, until it is noticed.

use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use carillon_core::planted::Mistake;
use carillon_harness::swarm::Profile;
use carillon_harness::swarm::mutants::{Found, hunt};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Days, Planted};

/// Plants one mistake after the other, `jobs` of them at a time.
pub(crate) fn mutants(
    seeds: Range<u64>,
    jobs: usize,
    only: &str,
    days: &Days,
    profile: &Profile,
) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    // First the days as they are: a mistake is noticed only where an engine without it passes.
    let names = |mistake: &Mistake| format!("{mistake:?}").to_lowercase().contains(&only.to_lowercase());
    let none = only.is_empty().then_some(None);
    let chosen: Vec<Option<Mistake>> =
        none.into_iter().chain(Mistake::ALL.iter().copied().filter(names).map(Some)).collect();
    let bar = ProgressBar::new(chosen.len() as u64);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} mistakes, {elapsed}, {msg}");
    bar.set_style(style.expect("the template is well-formed"));
    let started = Instant::now();
    let (next, lived) = (AtomicU64::new(0), AtomicU64::new(0));
    let results: Mutex<Vec<(usize, Option<Found>)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((at, mistake)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed) as usize;
                    chosen.get(at).map(|mistake| (at, *mistake))
                } {
                    let found = hunt(mistake, seeds.clone(), profile, |seed| {
                        lived.fetch_add(1, Ordering::Relaxed);
                        bar.set_message(format!("{mistake:?}: day {seed}"));
                        bar.tick();
                    });
                    bar.inc(1);
                    results.lock().expect("nobody panics with it").push((at, found));
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut results = results.into_inner().expect("nobody panics with it");
    results.sort_by_key(|(at, _)| *at);
    println!("{:<22} {:>5}  noticed by", "mistake", "days");
    let mut missed = 0;
    for (at, found) in &results {
        let (name, right) = match chosen[*at] {
            None => ("(none)".to_owned(), found.is_none()),
            Some(mistake) => (format!("{mistake:?}"), found.is_some()),
        };
        missed += u64::from(!right);
        match found {
            Some(Found { seed, by }) => {
                let by: String = by.chars().take(110).collect();
                println!("{name:<22} {:>5}  {by}", seed - seeds.start + 1);
                let planted = Planted { mistake: chosen[*at] };
                println!("{:30}{} run {}{}", "", planted.harness(true), days.day(*seed), planted.words());
            }
            None => println!("{name:<22} {:>5}  nothing in {} days", "-", seeds.end - seeds.start),
        }
    }
    println!("{} days in {:.0} s", lived.into_inner(), started.elapsed().as_secs_f64());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
