//! `loadgen run`: one run from the start of the processes to the report.

mod api;
mod carillon;
mod child;
mod drive;
mod progress;
mod sampler;
mod stop;

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::profile::Profile;
use crate::report::{self, Report};

pub(crate) use api::Ledger;
pub(crate) use carillon::{find as find_carillon, keep_log, log_tail, overlay};
pub(crate) use drive::{Driven, Job, Limits, steps};
#[cfg(test)]
pub(crate) use drive::{Restart, Slowest};
pub(crate) use sampler::Sample;
pub(crate) use stop::Stop;

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Options {
    /// Name of a built-in profile, or a file.
    pub profile: String,
    /// Everything random comes from it.
    pub seed: Option<u64>,
    /// Where `report.json` and `report.html` go.
    pub report: Option<PathBuf>,
    /// The program under test.
    pub carillon: Option<PathBuf>,
}

/// Why there is no verdict.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A signal asked for the end.
    Stopped,
    /// Something does not work.
    Broken(String),
}

impl From<String> for Failure {
    fn from(error: String) -> Failure {
        Failure::Broken(error)
    }
}

/// Runs it. True: the ledger balances, and every line of the budget held.
pub(crate) fn run(options: &Options) -> Result<bool, Failure> {
    let begun = Instant::now();
    let (name, profile) = Profile::find(&options.profile)?;
    let start_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let seed = options.seed.unwrap_or(start_unix_ms);
    let carillon = carillon::find(options.carillon.as_deref())?;
    if let Some(folder) = &options.report {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    }
    let stop = Stop::watch()?;
    println!("profile {name}, seed {seed}: {}", profile.about);
    let plan = profile.draw(seed);
    let folder = tempfile::Builder::new()
        .prefix("loadgen-")
        .tempdir()
        .map_err(|error| format!("cannot make a temporary folder: {error}"))?;
    let job = drive::Job {
        plan: &plan,
        seed,
        start_unix_ms,
        carillon: &carillon,
        folder: folder.path(),
        begun,
        overrides: &toml::Table::new(),
        pin: false,
    };
    let driven = drive::drive(&job, &stop);
    let log = match &driven {
        Ok(_) => None,
        Err(_) => Some(carillon::log_tail(folder.path())),
    };
    if let Some(report) = &options.report {
        carillon::keep_log(folder.path(), report);
    }
    // Explicitly: whoever reads the report is to find nothing left behind.
    folder.close().map_err(|error| format!("cannot remove the temporary folder: {error}"))?;
    let driven = match driven {
        Ok(driven) => driven,
        Err(_) if stop.asked() => return Err(Failure::Stopped),
        Err(error) => return Err(Failure::Broken(format!("{error}{}", log.unwrap_or_default()))),
    };
    let report = Report::new(&name, seed, &profile, &plan, driven, begun.elapsed().as_secs_f64());
    print!("{}", report::table(&report));
    if let Some(folder) = &options.report {
        write_report(folder, &report)?;
    }
    Ok(report.passed)
}

fn write_report(folder: &Path, report: &Report) -> Result<(), String> {
    let json = serde_json::to_string_pretty(report).map_err(|error| error.to_string())?;
    for (name, text) in [("report.json", json + "\n"), ("report.html", report::html(report))] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
