//! `harness`: days of a simulated organisation, each drawn from a seed.

use std::cell::RefCell;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use carillon_harness::swarm::{Plan, Profile, Verdict, Without, run, shrink, tell};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

/// Lives through days of a simulated organisation: Exchange, phones, networks and all that goes wrong with them.
///
/// A day is drawn from its seed. Equal seeds give equal days, to the byte. Each day ends with its faults switched off,
/// must come to rest, and is judged: no mail lost, told twice or told wrongly, every badge right, every rule of the
/// servers kept.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Lives through one day: prints what was drawn, then the trace's hash and the verdict.
    Run {
        /// Which day: a number, or a hexadecimal one with 0x.
        #[arg(long, value_parser = seed)]
        seed: u64,
        /// Tell the story of this user: what happened, what the engine reported of him, what his phones were told.
        #[arg(long)]
        user: Option<usize>,
        /// Leave this out of the day: what `shrink` printed.
        #[arg(long, default_value = "")]
        without: Without,
        #[command(flatten)]
        days: Days,
    },
    /// Lives through many days, and stops at the first that fails.
    Swarm {
        /// How many.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value = "0", value_parser = seed)]
        from: u64,
        /// Days at the same time; by default as many as there are cores.
        #[arg(long, default_value_t = cores())]
        jobs: usize,
        #[command(flatten)]
        days: Days,
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
        #[arg(long, default_value_t = cores())]
        jobs: usize,
        /// Only mistakes with this in their names, and no days without one.
        #[arg(long)]
        only: Option<String>,
        #[command(flatten)]
        days: Days,
    },
    /// Finds the smallest day that still fails in the same way, of one that fails, and prints the line that repeats it. Not with a release build, which a broken invariant
    /// ends.
    Shrink {
        /// Which day: a number, or a hexadecimal one with 0x.
        #[arg(long, value_parser = seed)]
        seed: u64,
        /// Plans to try at most.
        #[arg(long, default_value_t = 500)]
        runs: usize,
        #[command(flatten)]
        days: Days,
    },
}

/// From which ranges days are drawn.
#[derive(Args, Clone)]
struct Days {
    /// The ranges from which a day is drawn: `swarm`, `day-500`, or a TOML file like profiles/days/swarm.toml.
    #[arg(long, default_value = "swarm", value_name = "NAME|FILE")]
    profile: String,
}

impl Days {
    /// What is to be added to a command that repeats a day.
    fn words(&self) -> String {
        if self.profile == "swarm" { String::new() } else { format!(" --profile {}", self.profile) }
    }

    /// The line that repeats a day.
    fn repeat(&self, seed: u64) -> String {
        format!("day {seed} failed. To repeat it: harness run --seed {seed}{}", self.words())
    }
}

fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("{text} is not a seed: a number, or a hexadecimal one with 0x"))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        What::Run { seed, user, without, days } => {
            Profile::load(&days.profile).map(|profile| one(seed, user, &without, &profile))
        }
        What::Swarm { seeds, from, jobs, days } => {
            Profile::load(&days.profile).map(|profile| many(from, seeds, jobs.max(1), &days, &profile))
        }
        What::Mutants { seeds, from, jobs, only, days } => {
            let only = only.unwrap_or_default();
            Profile::load(&days.profile).map(|profile| mutants(from, seeds, jobs.max(1), &only, &profile))
        }
        What::Shrink { seed, runs, days } => {
            Profile::load(&days.profile).map(|profile| small(seed, runs, &days, &profile))
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

thread_local! {
    /// What to say when a broken invariant ends the day that this thread lives through.
    static LAST_WORDS: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A broken invariant is a panic. It ends a release build, which then has to say which day it was.
fn say_last_words() {
    std::panic::set_hook(Box::new(|panic| {
        let words = LAST_WORDS.with_borrow_mut(Option::take);
        if let Some(words) = words.filter(|_| cfg!(panic = "abort")) {
            println!("{words}\nFAILED: {panic}");
        }
    }));
}

fn live(plan: &Plan) -> Verdict {
    std::panic::catch_unwind(|| run(plan)).unwrap_or_else(|panic| Verdict::of_panic(panic.as_ref()))
}

fn one(seed: u64, user: Option<usize>, without: &Without, profile: &Profile) -> ExitCode {
    let plan = without.apply(&Plan::draw(seed, profile));
    say(format_args!("{plan}"));
    let begin = Instant::now();
    let verdict = match user {
        None => live(&plan),
        Some(user) => {
            let (story, verdict) = tell(&plan, user);
            for (at, line) in story {
                say(format_args!("{:12.6} s  {line}\n", at.0 as f64 / 1e6));
            }
            verdict
        }
    };
    say(format_args!(
        "trace {:016x}\n{} mails, {} pushes, {} steps, {:.1} virtual hours in {:.1} s\n",
        verdict.trace,
        verdict.mails,
        verdict.pushes,
        verdict.steps,
        verdict.passed.0 as f64 / 3.6e9,
        begin.elapsed().as_secs_f64()
    ));
    report(&verdict)
}

/// A story is long: who has read enough of it may close the pipe.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stdout().write_fmt(text);
}

fn report(verdict: &Verdict) -> ExitCode {
    for failure in &verdict.failures {
        say(format_args!("FAILED: {failure}\n"));
    }
    if verdict.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(from: u64, seeds: u64, jobs: usize, days: &Days, profile: &Profile) -> ExitCode {
    say_last_words();
    let bar = ProgressBar::new(seeds);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} days, {per_sec}, {eta} left");
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
                    LAST_WORDS.set(Some(days.repeat(seed)));
                    let verdict = live(&Plan::draw(seed, profile));
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
            println!("{}", days.repeat(seed));
            report(&verdict)
        }
    }
}

/// A broken invariant, which is how many a mistake shows, ends a release build.
#[cfg(any(not(feature = "planted"), panic = "abort"))]
fn mutants(_from: u64, _seeds: u64, _jobs: usize, _only: &str, _profile: &Profile) -> ExitCode {
    println!(
        "This build makes no mistakes, or ends with the first. To plant some: cargo run -p carillon-harness --features \
         planted -- mutants (not with --release)"
    );
    ExitCode::FAILURE
}

#[cfg(all(feature = "planted", not(panic = "abort")))]
fn mutants(from: u64, seeds: u64, jobs: usize, only: &str, profile: &Profile) -> ExitCode {
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
                    let found = hunt(mistake, from, seeds, profile, |seed| {
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

fn small(seed: u64, runs: usize, days: &Days, profile: &Profile) -> ExitCode {
    say_last_words();
    let dev = format!("cargo run -p carillon-harness -- shrink --seed {seed}{}", days.words());
    LAST_WORDS.set(Some(format!("a broken invariant ended this release build; shrink with {dev}")));
    let plan = Plan::draw(seed, profile);
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
        Some((without, verdict)) => {
            let small = without.apply(&plan);
            print!("{small}");
            println!("{} of {before} things are needed", small.acts.len());
            println!("To live through it: harness run --seed {seed}{} --without {without}", days.words());
            report(&verdict)
        }
    }
}
