//! `loadgen`: plays mail at a whole Carillon, over real sockets, and accounts for every single one.
//!
//! `loadgen run` starts a simulated Exchange and a simulated APNs in one process ([`peers`]) and `carillon serve` in
//! another, registers users through the public API, lets mail come as a profile says ([`profile`]), and reports what it
//! measured ([`report`]).

mod compare;
mod control;
mod peers;
mod people;
mod process;
mod profile;
mod report;
mod run;
mod tls;
mod tune;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Plays mail at a whole Carillon, over real sockets, and accounts for every single one.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a profile: starts everything, plays, checks the ledger, stops everything, reports.
    ///
    /// Exit status: 0 if the ledger balances and every line of the profile's budget held; 1 if not; 2 if the run could not
    /// be done; 130 after Ctrl-C. Nothing is left behind in any case.
    Run {
        /// A profile's name (see `loadgen list`), or a TOML file.
        profile: String,
        /// Everything random comes from it: equal seeds give equal users, mails and faults [default: the time].
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Where to write report.json, report.html and carillon.log.
        #[arg(long, value_name = "DIR")]
        report: Option<PathBuf>,
        /// The program under test [default: `carillon` beside this one].
        #[arg(long, value_name = "PATH")]
        carillon: Option<PathBuf>,
    },
    /// Puts two reports side by side and marks the figures that got worse.
    ///
    /// Exit status: 0 if nothing got worse; 1 if something did; 2 if the reports cannot be compared.
    Compare {
        /// A report.json, a folder with one or with several runs below it, or several of these with commas between:
        /// then medians are compared.
        before: String,
        /// The same for the runs to judge.
        after: String,
        /// How much worse a measured figure may be, in percent, in place of each figure's own tolerance.
        #[arg(long, value_name = "PERCENT")]
        tolerance: Option<f64>,
    },
    /// Finds how much mail this machine holds, and with which settings.
    ///
    /// Exit status: 0 if a rate was held and nothing was lost; 1 if not; 2 if it could not be done; 130 after Ctrl-C.
    Tune {
        /// How long it may take. Five find the knee at the present settings; from twenty on settings are tried, too.
        #[arg(long, value_name = "N", default_value_t = 5)]
        minutes: u32,
        /// Mailboxes.
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        users: u32,
        /// Where to write tune.json, tune.html and recommended.toml.
        #[arg(long, value_name = "DIR", default_value = "reports/tune")]
        report: PathBuf,
        /// Goes on with a search that was stopped.
        #[arg(long)]
        resume: bool,
        /// The program under test [default: `carillon` beside this one].
        #[arg(long, value_name = "PATH")]
        carillon: Option<PathBuf>,
        /// Settings in place of the defaults: sections of a carillon.toml with keys such as `[push] lanes`.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Lists the profiles that come with it.
    List,
    /// The simulated Exchange and APNs. Started by `run`.
    #[command(hide = true)]
    Peers,
}

fn status(result: Result<bool, run::Failure>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(run::Failure::Stopped) => {
            eprintln!("loadgen: stopped");
            ExitCode::from(130)
        }
        Err(run::Failure::Broken(error)) => {
            eprintln!("loadgen: {error}");
            ExitCode::from(2)
        }
    }
}

const AFTER_HELP: &str = "\
Examples:
  loadgen list
  loadgen run smoke
  loadgen run node-10k --seed 1 --report target/node-10k
  loadgen run my-profile.toml --carillon /usr/local/bin/carillon
  loadgen compare reports/before reports/after
  loadgen tune --minutes 5";

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { profile, seed, report, carillon } => {
            status(run::run(&run::Options { profile, seed, report, carillon }))
        }
        Command::Tune { minutes, users, report, resume, carillon, config } => {
            status(tune::tune(&tune::Options { report, minutes, users, resume, carillon, config }))
        }
        Command::Compare { before, after, tolerance } => match compare::compare(&before, &after, tolerance) {
            Ok(comparison) => {
                print!("{}", comparison.table());
                ExitCode::from(u8::from(comparison.got_worse()))
            }
            Err(error) => {
                eprintln!("loadgen: {error}");
                ExitCode::from(2)
            }
        },
        Command::List => {
            for (name, text) in profile::BUILTIN {
                match profile::Profile::parse(name, text) {
                    Ok(profile) => println!("{name:<12} {}", profile.about),
                    Err(error) => println!("{name:<12} {error}"),
                }
            }
            ExitCode::SUCCESS
        }
        Command::Peers => match peers::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("loadgen peers: {error}");
                ExitCode::from(2)
            }
        },
    }
}
