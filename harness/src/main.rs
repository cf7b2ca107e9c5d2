//! `harness`: days of a simulated organisation, each drawn from a seed.

mod command;

use std::process::ExitCode;

use carillon_harness::swarm::{Profile, Without};
use clap::{Parser, Subcommand};
use command::{Days, Planted};

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
        planted: Planted,
        #[command(flatten)]
        days: Days,
    },
    /// Lives through many days, and stops at the first that fails. Prints the line that repeats it.
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
        /// Go on after a day that fails, and name all of them at the end.
        #[arg(long)]
        keep_going: bool,
        /// Leave these seeds out, with commas between: days whose faults are known and not mended yet.
        #[arg(long, value_delimiter = ',', value_name = "SEEDS")]
        except: Vec<u64>,
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
    /// Takes away from a day that fails whatever its failure does not need, and prints the line that repeats the small
    /// day. Not with a release build, which a broken invariant ends.
    Shrink {
        /// Which day: a number, or a hexadecimal one with 0x.
        #[arg(long, value_parser = seed)]
        seed: u64,
        /// Plans to try at most.
        #[arg(long, default_value_t = 500)]
        runs: usize,
        #[command(flatten)]
        planted: Planted,
        #[command(flatten)]
        days: Days,
    },
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
        What::Run { seed, user, without, planted, days } => Profile::load(&days.profile)
            .map(|profile| command::run::one(seed, user, &without, &planted, &profile)),
        What::Swarm { seeds, from, jobs, keep_going, except, days } => {
            Profile::load(&days.profile).map(|profile| {
                command::swarm::many(from..from + seeds, except, jobs.max(1), keep_going, &days, profile)
            })
        }
        What::Mutants { seeds, from, jobs, only, days } => {
            let only = only.unwrap_or_default();
            Profile::load(&days.profile).map(|profile| {
                command::mutants::mutants(from..from + seeds, jobs.max(1), &only, &days, &profile)
            })
        }
        What::Shrink { seed, runs, planted, days } => Profile::load(&days.profile)
            .map(|profile| command::shrink::small(seed, runs, &planted, &days, &profile)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}
