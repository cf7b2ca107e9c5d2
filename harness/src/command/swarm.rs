//! `harness swarm`: many days, until one fails, or all of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Instant;

use carillon_harness::swarm::{Plan, Profile, Verdict};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Days, Planted, live, report};

/// What somebody who lives through days says.
enum Word {
    /// A day is over.
    Lived(u64, Verdict),
    /// All are, or enough.
    Done,
    /// He cannot go on: a broken invariant would end this release build.
    Stuck,
}

struct Work {
    profile: Profile,
    days: Range<u64>,
    except: Vec<u64>,
    next: AtomicU64,
    stop: AtomicBool,
}

thread_local! {
    /// The day that this thread lives through, and who is to hear of it.
    static DAY: RefCell<Option<(u64, Sender<Word>)>> = const { RefCell::new(None) };
}

/// Lives through many days, `jobs` of them at a time.
pub(crate) fn many(
    seeds: Range<u64>,
    except: Vec<u64>,
    jobs: usize,
    keep_going: bool,
    days: &Days,
    profile: Profile,
) -> ExitCode {
    hear_panics();
    let bar = ProgressBar::new(seeds.end - seeds.start);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} days, {per_sec}, {eta} left");
    bar.set_style(style.expect("the template is well-formed"));
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let work = Arc::new(Work { profile, days: seeds, except, next, stop });
    let (words, heard) = channel();
    let start = || {
        let (work, words) = (Arc::clone(&work), words.clone());
        thread::spawn(move || live_through_days(&work, &words));
    };
    (0..jobs).for_each(|_| start());
    let (begin, mut running) = (Instant::now(), jobs);
    let [mut lived, mut mails, mut pushes, mut steps, mut virtual_us] = [0; 5];
    let mut failed: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    while running > 0 {
        match heard.recv().expect("this thread could speak, too") {
            Word::Lived(seed, verdict) => {
                bar.inc(1);
                lived += 1;
                mails += verdict.mails;
                pushes += verdict.pushes;
                steps += verdict.steps;
                virtual_us += verdict.passed.0;
                if verdict.failures.is_empty() {
                    continue;
                }
                if keep_going {
                    // Said at once: a night is long.
                    bar.suspend(|| println!("day {seed} failed: {}", verdict.failures[0]));
                } else {
                    work.stop.store(true, Ordering::Relaxed);
                }
                failed.insert(seed, verdict.failures);
            }
            Word::Stuck if !work.stop.load(Ordering::Relaxed) => start(),
            Word::Stuck | Word::Done => running -= 1,
        }
    }
    bar.finish_and_clear();
    println!(
        "{lived} days in {:.1} s: {mails} mails, {pushes} pushes, {steps} steps, {:.0} virtual hours",
        begin.elapsed().as_secs_f64(),
        virtual_us as f64 / 3.6e9
    );
    if failed.is_empty() || keep_going {
        println!("{} passed, {} failed", lived - failed.len() as u64, failed.len());
    }
    if keep_going && failed.len() > 1 {
        let seeds: Vec<String> = failed.keys().map(u64::to_string).collect();
        println!("the days that failed: {}", seeds.join(" "));
    }
    let Some((seed, failures)) = failed.pop_first() else { return ExitCode::SUCCESS };
    let harness = Planted::default().harness(true);
    println!("day {seed} failed. To repeat it: {harness} run {}", days.day(seed));
    report(&failures)
}

fn live_through_days(work: &Work, words: &Sender<Word>) {
    // Nobody who stops listening is told anything: then the process ends.
    let say = |word| _ = words.send(word);
    while !work.stop.load(Ordering::Relaxed) {
        let seed = work.next.fetch_add(1, Ordering::Relaxed);
        if seed >= work.days.end {
            break;
        }
        if work.except.contains(&seed) {
            continue;
        }
        DAY.set(Some((seed, words.clone())));
        say(Word::Lived(seed, live(&Plan::draw(seed, &work.profile))));
    }
    say(Word::Done);
}

/// A broken invariant is a panic, which would end a release build as soon as its hook returns. So there the hook says that
/// the day has failed, and never returns: the other days go on.
fn hear_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if !cfg!(panic = "abort") {
            return;
        }
        let Some((seed, words)) = DAY.take() else { return println!("FAILED: {panic}") };
        _ = words.send(Word::Lived(seed, Verdict::of_panic(panic.payload())));
        _ = words.send(Word::Stuck);
        loop {
            thread::park();
        }
    }));
}
