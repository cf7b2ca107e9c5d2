//! What `harness` can be told to do.

#[cfg(all(feature = "planted", not(panic = "abort")))]
pub(crate) mod mutants;
#[cfg(any(not(feature = "planted"), panic = "abort"))]
#[path = "no_mutants.rs"]
pub(crate) mod mutants;
pub(crate) mod run;
pub(crate) mod shrink;
pub(crate) mod swarm;

use std::io::Write;
use std::process::ExitCode;

#[cfg(feature = "planted")]
use carillon_core::planted::Mistake;
use carillon_harness::swarm::{Plan, Verdict, run as live_through};
use clap::Args;

/// From which ranges days are drawn.
#[derive(Args, Clone)]
pub(crate) struct Days {
    /// The ranges from which a day is drawn: `swarm`, `day-500`, or a TOML file like profiles/days/swarm.toml.
    #[arg(long, default_value = "swarm", value_name = "NAME|FILE")]
    pub(crate) profile: String,
}

impl Days {
    /// The words that name a day, behind a command.
    fn day(&self, seed: u64) -> String {
        match self.profile.as_str() {
            "swarm" => format!("--seed {seed}"),
            profile => format!("--seed {seed} --profile {profile}"),
        }
    }
}

/// A mistake that the engine makes all day long.
#[derive(Args, Clone, Default)]
pub(crate) struct Planted {
    /// Plant a mistake in the engine, by the name that `mutants` gives it.
    #[cfg(feature = "planted")]
    #[arg(long, value_name = "NAME", value_parser = mistake)]
    pub(crate) mistake: Option<Mistake>,
}

impl Planted {
    /// Makes the shards of this thread make it, as long as what comes back lives.
    #[cfg(feature = "planted")]
    fn plant(&self) -> Option<carillon_core::planted::Planted> {
        self.mistake.map(carillon_core::planted::plant)
    }

    #[cfg(not(feature = "planted"))]
    fn plant(&self) -> Option<std::convert::Infallible> {
        None
    }

    /// The words that name it.
    #[cfg(feature = "planted")]
    fn words(&self) -> String {
        self.mistake.map_or_else(String::new, |mistake| format!(" --mistake {mistake:?}"))
    }

    #[cfg(not(feature = "planted"))]
    fn words(&self) -> String {
        String::new()
    }

    /// How to start a `harness` that can do the same. `release`: one that is quick, and that a broken invariant may end.
    fn harness(&self, release: bool) -> &'static str {
        match (self.words().is_empty(), release) {
            (true, true) => "cargo run --release -p carillon-harness --bin harness --",
            (true, false) => "cargo run -p carillon-harness --bin harness --",
            // Most mistakes break an invariant.
            (false, _) => "cargo run -p carillon-harness --features planted --bin harness --",
        }
    }
}

#[cfg(feature = "planted")]
fn mistake(text: &str) -> Result<Mistake, String> {
    let name = |mistake: &Mistake| format!("{mistake:?}");
    let names = || Mistake::ALL.iter().map(name).collect::<Vec<_>>().join(", ");
    let known = Mistake::ALL.iter().find(|mistake| name(mistake) == text);
    known.copied().ok_or_else(|| format!("{text} is none of {}", names()))
}

/// Lives through a day. A broken invariant is one more failure, except in a release build, which it ends.
fn live(plan: &Plan) -> Verdict {
    std::panic::catch_unwind(|| live_through(plan)).unwrap_or_else(|panic| Verdict::of_panic(panic.as_ref()))
}

/// A story is long: who has read enough of it may close the pipe.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stdout().write_fmt(text);
}

fn report(failures: &[String]) -> ExitCode {
    for failure in failures {
        say(format_args!("FAILED: {failure}\n"));
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
