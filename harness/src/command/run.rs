//! `harness run`: one day, with all that was drawn, and the story of one user.

use std::process::ExitCode;
use std::time::Instant;

use carillon_harness::swarm::{Plan, Profile, Without, tell};

use super::{Planted, live, report, say};

/// Lives through one day.
pub(crate) fn one(
    seed: u64,
    user: Option<usize>,
    without: &Without,
    planted: &Planted,
    profile: &Profile,
) -> ExitCode {
    let plan = without.apply(&Plan::draw(seed, profile));
    say(format_args!("{plan}"));
    let begin = Instant::now();
    let _planted = planted.plant();
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
    report(&verdict.failures)
}
