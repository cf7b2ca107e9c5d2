//! How many instructions the hot parts take, counted by callgrind, beside those recorded in the repository.
//!
//! ```sh
//! cargo build --release -p carillon -p carillon-loadgen -p carillon-benches --bin instructions
//! target/release/instructions             # compares with benches/instructions.toml
//! target/release/instructions --record    # writes that file
//! ```
//!
//! A count does not depend on what else the machine does. It depends on compiler, C library, valgrind and on the
//! processor's instruction set, so these are recorded too. Exit status: 0 all parts within the tolerance, 1 a part takes
//! more or fewer, 2 something failed, 3 recorded with other tools, so that the counts say nothing.

mod parts;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use serde::{Deserialize, Serialize};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A count that differs by more fails, in percent. Fewer instructions are to be recorded as well: otherwise a later
/// rise up to the recorded count would pass.
const TOLERANCE_PERCENT: f64 = 3.0;

/// How many instructions the hot parts take, beside those recorded.
#[derive(Debug, Parser)]
struct Cli {
    /// The recorded counts.
    #[arg(long, value_name = "FILE", default_value = "benches/instructions.toml")]
    recorded: PathBuf,
    /// Write the counts there instead of comparing.
    #[arg(long)]
    record: bool,
    /// Run one part, uncounted. Started by this program.
    #[arg(long, hide = true, value_name = "NAME")]
    part: Option<String>,
}

/// What is recorded.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Counts {
    tools: Tools,
    /// By part: instructions for one mail, push or timer.
    instructions: BTreeMap<String, u64>,
}

/// What counts depend on beside the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tools {
    rustc: String,
    valgrind: String,
    libc: String,
    processor: String,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(name) = &cli.part {
        let part = parts::PARTS.iter().find(|(known, _)| known == name);
        return match part {
            Some((_, run)) => {
                // As in the service, whose log leaves out what the HTTP/2 library has to say.
                tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::new())
                    .expect("nobody else sets it");
                run();
                ExitCode::SUCCESS
            }
            None => ExitCode::from(2),
        };
    }
    match run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<u8, Box<dyn Error>> {
    let tools = Tools::here()?;
    if cli.record {
        let counts = Counts { tools, instructions: count()? };
        std::fs::write(&cli.recorded, toml::to_string(&counts)?)
            .map_err(|error| format!("{}: {error}", cli.recorded.display()))?;
        for (part, count) in &counts.instructions {
            println!("{part:<28} {count:>9}");
        }
        return Ok(0);
    }
    let recorded = read(&cli.recorded)?;
    if recorded.tools != tools {
        eprintln!(
            "instructions: recorded with other tools.\n  recorded: {:?}\n  here:     {tools:?}",
            recorded.tools
        );
        return Ok(3);
    }
    let counted = count()?;
    println!("{:<28} {:>9} {:>9} {:>8}", "instructions for one", "recorded", "now", "");
    let mut wrong = 0;
    let mut line = |part: &str, before: Option<u64>, now: Option<u64>| {
        let show = |count: Option<u64>| count.map_or("-".into(), |count| count.to_string());
        let change = match (before, now) {
            (Some(before), Some(now)) => Some(100.0 * (now as f64 / before as f64 - 1.0)),
            _ => None,
        };
        let verdict = verdict(change);
        wrong += u8::from(verdict.is_some());
        println!(
            "{part:<28} {:>9} {:>9} {:>8} {}",
            show(before),
            show(now),
            change.map_or(String::new(), |change| format!("{change:+.1} %")),
            verdict.unwrap_or_default(),
        );
    };
    for (part, &now) in &counted {
        line(part, recorded.instructions.get(part).copied(), Some(now));
    }
    for (part, &before) in recorded.instructions.iter().filter(|(part, _)| !counted.contains_key(*part)) {
        line(part, Some(before), None);
    }
    if wrong > 0 {
        println!(
            "{wrong} differ by more than {TOLERANCE_PERCENT} %. If that is meant: instructions --record, and say why in \
             the commit."
        );
    }
    Ok(u8::from(wrong > 0))
}

/// What is wrong with a part whose count changed by this much, in percent; `None`: it is not in both lists.
fn verdict(change: Option<f64>) -> Option<&'static str> {
    match change {
        None => Some("not in both"),
        Some(change) if change > TOLERANCE_PERCENT => Some("more"),
        Some(change) if change < -TOLERANCE_PERCENT => Some("fewer: record it"),
        Some(_) => None,
    }
}

fn read(path: &Path) -> Result<Counts, Box<dyn Error>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Counts each part in a process of its own.
fn count() -> Result<BTreeMap<String, u64>, Box<dyn Error>> {
    let this = std::env::current_exe()?;
    let mut counts = BTreeMap::new();
    for (name, _) in parts::PARTS {
        let ran = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
            .arg("--toggle-collect=*counted_part*")
            .arg(&this)
            .args(["--part", name])
            .env_clear()
            // The allocator gives pages back by the clock.
            .env("_RJEM_MALLOC_CONF", "dirty_decay_ms:-1,muzzy_decay_ms:-1")
            .output()
            .map_err(no_valgrind)?;
        let said = String::from_utf8_lossy(&ran.stderr);
        if !ran.status.success() {
            return Err(format!("{name}: {}\n{said}", ran.status).into());
        }
        let all = collected(&said).ok_or_else(|| format!("{name}: valgrind gave no count:\n{said}"))?;
        if all == 0 {
            return Err(format!("{name}: nothing was counted").into());
        }
        counts.insert((*name).to_owned(), all / parts::repeats());
    }
    Ok(counts)
}

/// The total that callgrind prints at its end: `==123== Collected : 456`.
fn collected(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

impl Tools {
    fn here() -> Result<Tools, Box<dyn Error>> {
        let first_line = |program: &str, argument: &str| -> std::io::Result<String> {
            let ran = Command::new(program).arg(argument).output()?;
            let text = String::from_utf8_lossy(&ran.stdout).into_owned();
            Ok(text.lines().next().unwrap_or_default().to_owned())
        };
        Ok(Tools {
            rustc: first_line("rustc", "-V")?,
            valgrind: first_line("valgrind", "--version").map_err(no_valgrind)?,
            libc: first_line("getconf", "GNU_LIBC_VERSION")?,
            processor: processor(),
        })
    }
}

fn no_valgrind(error: std::io::Error) -> String {
    format!("valgrind does not start ({error}): apt-get install valgrind, or your system's like")
}

/// What decides which variants of memchr and memcpy run: valgrind shows programs the processor's own features.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let features = [
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("bmi2", std::arch::is_x86_feature_detected!("bmi2")),
        ];
        let found: Vec<&str> = features.iter().filter(|(_, found)| *found).map(|(name, _)| *name).collect();
        format!("x86_64 {}", found.join(" "))
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::env::consts::ARCH.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_read_from_what_callgrind_prints() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 81432\n"), Some(81_432));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }

    #[test]
    fn a_change_over_three_percent_either_way_and_a_part_in_one_list_only_are_wrong() {
        assert_eq!(verdict(Some(2.9)), None);
        assert_eq!(verdict(Some(-2.9)), None);
        assert_eq!(verdict(Some(3.1)), Some("more"));
        assert_eq!(verdict(Some(-3.1)), Some("fewer: record it"));
        assert_eq!(verdict(None), Some("not in both"));
    }
}
