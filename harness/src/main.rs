//! `harness`: days of a simulated organisation, each drawn from a seed.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use carillon_harness::swarm::{Plan, Ranges, Verdict, run, shrink, tell};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

/// Lives through days of a simulated organisation: Exchange, phones, networks and all that goes wrong with them.
///
/// A day is drawn from its seed. Equal seeds give equal days, to the byte.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// One day: prints what was drawn, then the trace's hash and the verdict.
    Run {
        /// Which day.
        #[arg(long, value_parser = seed)]
        seed: u64,
        /// Tell the story of this user: what happened, what the engine reported of him, what his phones were told.
        #[arg(long)]
        user: Option<usize>,
        #[command(flatten)]
        size: Size,
    },
    /// Many days, until one fails.
    Swarm {
        /// How many.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value = "0", value_parser = seed)]
        from: u64,
        /// Days at the same time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        #[command(flatten)]
        size: Size,
    },
    /// Plants known mistakes in the engine, one at a time, and lives through days until each is noticed.
    Mutants {
        /// Days for each at most.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value = "0", value_parser = seed)]
        from: u64,
        /// Days at the same time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Only mistakes with this in their names, and no days without one.
        #[arg(long)]
        only: Option<String>,
        #[command(flatten)]
        size: Size,
    },
    /// The smallest plan that fails as this day does.
    Shrink {
        /// Which day.
        #[arg(long, value_parser = seed)]
        seed: u64,
        /// Plans to try at most.
        #[arg(long, default_value_t = 500)]
        runs: usize,
        #[command(flatten)]
        size: Size,
    },
}

/// From how large a range days are drawn.
#[derive(Args, Clone, Copy)]
struct Size {
    /// Mailboxes at most.
    #[arg(long, default_value_t = 12)]
    users: u64,
    /// Minutes of a day at most, before the calm at its end.
    #[arg(long, default_value_t = 40)]
    minutes: u64,
}

impl Size {
    fn ranges(self) -> Ranges {
        let length_max = carillon_core::time::Span::from_secs(self.minutes * 60);
        Ranges { users_max: self.users, length_max, ..Ranges::default() }
    }

    fn words(self) -> String {
        format!("--users {} --minutes {}", self.users, self.minutes)
    }
}

fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("{text} is not a seed: a number, or a hexadecimal one with 0x"))
}

fn main() -> ExitCode {
    match Cli::parse().command {
        What::Run { seed, user, size } => one(seed, user, size),
        What::Swarm { seeds, from, jobs, size } => many(from, seeds, jobs.max(1), size),
        What::Mutants { seeds, from, jobs, only, size } => {
            mutants(from, seeds, jobs.max(1), &only.unwrap_or_default(), size)
        }
        What::Shrink { seed, runs, size } => small(seed, runs, size),
    }
}

fn live(plan: &Plan) -> Verdict {
    std::panic::catch_unwind(|| run(plan)).unwrap_or_else(|panic| Verdict::of_panic(panic.as_ref()))
}

fn one(seed: u64, user: Option<usize>, size: Size) -> ExitCode {
    let plan = Plan::draw(seed, &size.ranges());
    println!("{plan:#?}");
    let verdict = match user {
        None => live(&plan),
        Some(user) => {
            let (story, verdict) = tell(&plan, user.min(plan.users - 1));
            for (at, line) in story {
                println!("{:12.6} s  {line}", at.0 as f64 / 1e6);
            }
            verdict
        }
    };
    println!(
        "seed {seed}: {} mails, {} pushes, {} steps, {:.1} virtual hours, trace {:016x}",
        verdict.mails,
        verdict.pushes,
        verdict.steps,
        verdict.passed.0 as f64 / 3.6e9,
        verdict.trace
    );
    report(&verdict)
}

fn report(verdict: &Verdict) -> ExitCode {
    for failure in &verdict.failures {
        println!("FAILED: {failure}");
    }
    if verdict.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(from: u64, seeds: u64, jobs: usize, size: Size) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let bar = ProgressBar::new(seeds);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} days, {per_sec}, {eta} left, {msg}");
    bar.set_style(style.expect("the template is well-formed"));
    let (next, stop) = (AtomicU64::new(from), AtomicBool::new(false));
    let [lived, mails, pushes, steps, virtual_us] = [const { AtomicU64::new(0) }; 5];
    let failed: Mutex<Option<(u64, Verdict)>> = Mutex::new(None);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let verdict = live(&Plan::draw(seed, &size.ranges()));
                    mails.fetch_add(verdict.mails, Ordering::Relaxed);
                    pushes.fetch_add(verdict.pushes, Ordering::Relaxed);
                    steps.fetch_add(verdict.steps, Ordering::Relaxed);
                    virtual_us.fetch_add(verdict.passed.0, Ordering::Relaxed);
                    lived.fetch_add(1, Ordering::Relaxed);
                    bar.inc(1);
                    if !verdict.failures.is_empty() {
                        stop.store(true, Ordering::Relaxed);
                        let mut failed = failed.lock().expect("nobody panics with it");
                        if failed.as_ref().is_none_or(|(other, _)| seed < *other) {
                            *failed = Some((seed, verdict));
                        }
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    let lived = lived.into_inner();
    let failed = failed.into_inner().expect("nobody panics with it");
    println!(
        "{} days in {:.1} s: {} mails, {} pushes, {} steps, {:.0} virtual hours",
        lived,
        started.elapsed().as_secs_f64(),
        mails.into_inner(),
        pushes.into_inner(),
        steps.into_inner(),
        virtual_us.into_inner() as f64 / 3.6e9
    );
    match failed {
        None => {
            println!("{lived} passed, 0 failed");
            ExitCode::SUCCESS
        }
        Some((seed, verdict)) => {
            println!("day {seed} failed. To repeat it: harness run --seed {seed} {}", size.words());
            report(&verdict)
        }
    }
}

#[cfg(not(feature = "planted"))]
fn mutants(_from: u64, _seeds: u64, _jobs: usize, _only: &str, _size: Size) -> ExitCode {
    println!(
        "This build makes no mistakes. To plant some: cargo run --release -p carillon-harness --features planted -- mutants"
    );
    ExitCode::FAILURE
}

#[cfg(feature = "planted")]
fn mutants(from: u64, seeds: u64, jobs: usize, only: &str, size: Size) -> ExitCode {
    use carillon_core::planted::Mistake;
    use carillon_harness::swarm::mutants::{Found, hunt};

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
    let (next, days) = (AtomicU64::new(0), AtomicU64::new(0));
    let results: Mutex<Vec<(usize, Option<Found>)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((at, mistake)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed) as usize;
                    chosen.get(at).map(|mistake| (at, *mistake))
                } {
                    let found = hunt(mistake, from, seeds, &size.ranges(), |seed| {
                        days.fetch_add(1, Ordering::Relaxed);
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
                println!("{name:<22} {:>5}  {by}", seed - from + 1);
            }
            None => println!("{name:<22} {:>5}  nothing in {seeds} days", "-"),
        }
    }
    println!("{} days in {:.0} s", days.into_inner(), started.elapsed().as_secs_f64());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn small(seed: u64, runs: usize, size: Size) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let plan = Plan::draw(seed, &size.ranges());
    let before = plan.acts.len();
    let bar = ProgressBar::new_spinner();
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
        Some((plan, verdict)) => {
            println!("{plan:#?}");
            println!("{} of {before} things are needed:", plan.acts.len());
            report(&verdict)
        }
    }
}
