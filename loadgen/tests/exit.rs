//! The real program: what it ends with is what scripts believe.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A run of a few seconds with this budget.
fn run(folder: &Path, budget: &str) -> Output {
    let profile = folder.join("profile.toml");
    let text = format!(
        "about = \"three users\"\n\
         [people]\nusers = 3\ndevices = 4\n\
         [service]\nshards = 1\nsettle_ms = 100\nvip_settle_ms = 50\nmin_interval_ms = 200\nmax_delay_ms = 500\n\
         detail_cutoff_s = 43200\n\
         [load]\nduration_s = 1\nmails_per_s = 10\n\
         [exchange]\nback_ends = 1\ncall_ms = 1\nheartbeat_s = 10\n\
         [apns]\nanswer_ms = 1\nstreams_max = 100\n\
         [budget]\n{budget}\n"
    );
    std::fs::write(&profile, text).unwrap();
    loadgen(&["run", profile.to_str().unwrap(), "--seed", "1", "--carillon", carillon().to_str().unwrap()])
}

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen")).args(arguments).output().unwrap()
}

/// `carillon` beside `loadgen`: there whenever the whole workspace is tested, built here when this crate is tested alone.
fn carillon() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_loadgen")).with_file_name("carillon");
    if !path.exists() {
        let built = Command::new(env!("CARGO")).args(["build", "-p", "carillon"]).status().unwrap();
        assert!(built.success());
    }
    path
}

fn judge(output: &Output, status: i32, last_line: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}{errors}");
    assert_eq!(text.trim_end().lines().last(), Some(last_line), "{text}{errors}");
}

#[test]
fn a_run_that_holds_ends_with_0_and_one_that_does_not_with_1() {
    let folder = tempfile::tempdir().unwrap();
    judge(&run(folder.path(), "duration_s_max = 600\nlost_max = 0"), 0, "PASSED");
    judge(&run(folder.path(), "duration_s_max = 0\nlost_max = 0"), 1, "FAILED");
}

#[test]
fn a_run_that_cannot_be_done_ends_with_2() {
    let unknown = loadgen(&["run", "no-such-profile"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("carillon");
    let missing = loadgen(&["run", "smoke", "--carillon", program.to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
    // A program that ends at once instead of serving.
    let broken = loadgen(&["run", "smoke", "--carillon", "/bin/false"]);
    assert_eq!(broken.status.code(), Some(2), "{broken:?}");
    assert!(String::from_utf8_lossy(&broken.stderr).contains("before it was ready"), "{broken:?}");
}
