//! The program under test: found, configured, started.

use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use carillon_core::rng::Rng;
use carillon_harness::apns::ProviderKey;

use super::child::{NoLine, Process};
use super::stop::Stop;
use crate::people::TOPIC;
use crate::profile::Plan;
use crate::tls::{API_CERT, API_KEY, CA_CERT, write};

/// What both sides of the run know.
pub(super) struct Secrets {
    pub exchange_user: String,
    pub exchange_password: String,
    pub admin_token: String,
    pub team: String,
    pub key_id: String,
    pub public_key: Vec<u8>,
}

/// The program beside our own, or the one that was named.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf, String> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => {
            let own =
                std::env::current_exe().map_err(|error| format!("cannot find my own program: {error}"))?;
            own.with_file_name("carillon")
        }
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "there is no program {}; build it (cargo build --release -p carillon) or name it with --carillon",
        path.display()
    ))
}

/// Draws the secrets and writes those that Carillon reads from files.
pub(super) fn write_secrets(folder: &Path, seed: u64) -> Result<Secrets, String> {
    let mut rng = Rng::new(seed ^ 0x7365_6372_6574_7321);
    let mut word = || format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64());
    let key = ProviderKey::generate(&ring::rand::SystemRandom::new());
    let secrets = Secrets {
        exchange_user: "EXAMPLE\\carillon".to_owned(),
        exchange_password: word(),
        admin_token: word(),
        team: "TEAM123456".to_owned(),
        key_id: "LOADKEY123".to_owned(),
        public_key: key.public_key().to_vec(),
    };
    write(folder, "exchange.password", &secrets.exchange_password)?;
    write(folder, "admin.token", &secrets.admin_token)?;
    write(folder, "gateway.token", &word())?;
    write(folder, "push.p8", &key.to_p8())?;
    Ok(secrets)
}

/// Writes `carillon.toml`.
pub(super) fn write_config(
    folder: &Path,
    plan: &Plan,
    secrets: &Secrets,
    exchange_port: u16,
    apns_port: u16,
) -> Result<(), String> {
    let service = &plan.service;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "[api]\n\
         listen = \"127.0.0.1:0\"\n\
         cert_file = \"{API_CERT}\"\n\
         key_file = \"{API_KEY}\"\n\
         gateway_token_file = \"gateway.token\"\n\
         admin_token_file = \"admin.token\"\n\n\
         [store]\n\
         path = \"carillon.db\"\n\n\
         [engine]\n\
         shards = {shards}\n\n\
         [timing]\n\
         settle_ms = {settle}\n\
         vip_settle_ms = {vip}\n\
         min_interval_ms = {interval}\n\
         max_delay_ms = {delay}\n\
         detail_cutoff_s = {cutoff}\n\n\
         [[exchange]]\n\
         name = \"main\"\n\
         url = \"https://localhost:{exchange_port}/EWS/Exchange.asmx\"\n\
         user = '{user}'\n\
         password_file = \"exchange.password\"\n\
         ca_file = \"{CA_CERT}\"\n\
         stream_idle_s = {idle}\n\
         subscribes_per_s = 10000\n\n\
         [[push]]\n\
         name = \"apns\"\n\
         environment = \"production\"\n\
         url = \"https://localhost:{apns_port}\"\n\
         ca_file = \"{CA_CERT}\"\n\
         topics = [\"{TOPIC}\"]\n\
         key_file = \"push.p8\"\n\
         key_id = \"{key_id}\"\n\
         team_id = \"{team}\"\n",
        shards = service.shards,
        settle = service.settle_ms,
        vip = service.vip_settle_ms,
        interval = service.min_interval_ms,
        delay = service.max_delay_ms,
        cutoff = service.detail_cutoff_s,
        user = secrets.exchange_user,
        idle = service.stream_idle_s,
        key_id = secrets.key_id,
        team = secrets.team,
    );
    write(folder, CONFIG, &text)
}

/// Starts `carillon serve` and waits until it serves. Gives its address too.
pub(super) fn start(program: &Path, folder: &Path, stop: &Stop) -> Result<(Process, String), String> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join(LOG))
        .map_err(|error| format!("cannot write {LOG}: {error}"))?;
    let mut command = Command::new(program);
    command.args(["serve", "--config"]).arg(folder.join(CONFIG)).stderr(log).env_remove("RUST_LOG");
    let mut process = Process::start("carillon serve", &mut command)?;
    let begun = Instant::now();
    loop {
        stop.check()?;
        match process.line(Duration::from_millis(100)) {
            Ok(line) => {
                if let Some(address) = line.strip_prefix("ready ") {
                    return Ok((process, address.trim().trim_end_matches('/').to_owned()));
                }
            }
            Err(NoLine::Ended) => {
                let status = process.ended().map_or_else(String::new, |status| format!(" ({status})"));
                return Err(format!("carillon serve ended before it was ready{status}"));
            }
            Err(NoLine::Timeout) if begun.elapsed() > START_TIME => {
                return Err(format!("carillon serve was not ready within {} s", START_TIME.as_secs()));
            }
            Err(NoLine::Timeout) => {}
        }
    }
}

/// The last lines of Carillon's log, for an error.
pub(super) fn log_tail(folder: &Path) -> String {
    let text = std::fs::read(folder.join(LOG)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return String::new();
    }
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("\nthe end of carillon's log:\n  {}", last.join("\n  "))
}

/// Keeps Carillon's log beside the report.
pub(super) fn keep_log(folder: &Path, report: &Path) {
    // A run that failed early has no log.
    let _ = std::fs::copy(folder.join(LOG), report.join(LOG));
}

const CONFIG: &str = "carillon.toml";
const LOG: &str = "carillon.log";
/// How long Carillon may take to serve. It opens its store, and after a kill it replays its journal.
const START_TIME: Duration = Duration::from_secs(30);
/// Lines of the log in an error.
const TAIL_LINES: usize = 15;
