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
pub(crate) fn find(named: Option<&Path>) -> Result<PathBuf, String> {
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
    (exchange_port, apns_port): (u16, u16),
    overrides: &toml::Table,
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
         calls_max = {calls}\n\
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
        calls = service.calls_max,
        key_id = secrets.key_id,
        team = secrets.team,
    );
    if overrides.is_empty() {
        return write(folder, CONFIG, &text);
    }
    let mut config: toml::Table = text.parse().map_err(|error| format!("our own configuration: {error}"))?;
    overlay(&mut config, overrides)?;
    write(folder, CONFIG, &config.to_string())
}

/// Puts the keys of `over` into `config`. What stands in `[exchange]` or `[push]` goes into each `[[exchange]]` or `[[push]]`.
///
/// # Errors
/// A key that the run itself sets, such as an address or a file.
pub(crate) fn overlay(config: &mut toml::Table, over: &toml::Table) -> Result<(), String> {
    for (section, keys) in over {
        let tables: Vec<&toml::Table> = match keys {
            toml::Value::Table(table) => vec![table],
            toml::Value::Array(list) => list.iter().filter_map(toml::Value::as_table).collect(),
            _ => return Err(format!("{section} is no section of carillon.toml")),
        };
        for (key, value) in tables.into_iter().flatten() {
            if !TUNABLE.contains(&(section.as_str(), key.as_str())) {
                return Err(format!(
                    "[{section}] {key} cannot be set for a load test; these can: {}",
                    TUNABLE.map(|(section, key)| format!("[{section}] {key}")).join(", ")
                ));
            }
            match config.entry(section.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new())) {
                toml::Value::Array(list) => {
                    for table in list.iter_mut().filter_map(toml::Value::as_table_mut) {
                        table.insert(key.clone(), value.clone());
                    }
                }
                toml::Value::Table(table) => {
                    table.insert(key.clone(), value.clone());
                }
                _ => return Err(format!("{section} is no section of carillon.toml")),
            }
        }
    }
    Ok(())
}

/// Starts `carillon serve` and waits until it serves. Gives its address too.
pub(super) fn start(
    program: &Path,
    folder: &Path,
    users: u32,
    stop: &Stop,
) -> Result<(Process, String), String> {
    let patience = START_TIME + Duration::from_millis(u64::from(users) / USERS_PER_MS);
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
            Err(NoLine::Timeout) if begun.elapsed() > patience => {
                return Err(format!("carillon serve was not ready within {} s", patience.as_secs()));
            }
            Err(NoLine::Timeout) => {}
        }
    }
}

/// The last lines of Carillon's log, for an error.
pub(crate) fn log_tail(folder: &Path) -> String {
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
pub(crate) fn keep_log(folder: &Path, report: &Path) {
    // A run that failed early has no log.
    let _ = std::fs::copy(folder.join(LOG), report.join(LOG));
}

/// Keys that a load test may set. All others are the run's own: addresses, files, credentials.
const TUNABLE: [(&str, &str); 11] = [
    ("engine", "shards"),
    ("engine", "pin"),
    ("timing", "settle_ms"),
    ("timing", "vip_settle_ms"),
    ("timing", "min_interval_ms"),
    ("timing", "max_delay_ms"),
    ("exchange", "calls_max"),
    ("exchange", "cohort_users_max"),
    ("exchange", "subscribes_per_s"),
    ("push", "lanes"),
    ("push", "lane_window_max"),
];

const CONFIG: &str = "carillon.toml";
const LOG: &str = "carillon.log";
/// How long Carillon may take to serve. It opens its store, and after a kill it replays its journal.
const START_TIME: Duration = Duration::from_secs(30);
/// ... and beyond that a millisecond for so many stored users.
const USERS_PER_MS: u64 = 5;
/// Lines of the log in an error.
const TAIL_LINES: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_reach_every_server_and_leave_the_rest() {
        let mut config: toml::Table =
            "[engine]\nshards = 1\n[[push]]\nname = 'a'\nlanes = 2\n[[push]]\nname = 'b'\n".parse().unwrap();
        let over = "[engine]\npin = true\n[push]\nlanes = 4\n[[exchange]]\ncalls_max = 9\n".parse().unwrap();
        overlay(&mut config, &over).unwrap();
        assert_eq!(config["engine"]["shards"].as_integer(), Some(1));
        assert_eq!(config["engine"]["pin"].as_bool(), Some(true));
        for (at, name) in ["a", "b"].into_iter().enumerate() {
            assert_eq!(config["push"][at]["name"].as_str(), Some(name));
            assert_eq!(config["push"][at]["lanes"].as_integer(), Some(4));
        }
    }

    #[test]
    fn what_the_run_sets_itself_cannot_be_overridden() {
        let over = "[[exchange]]\nurl = 'https://mail.example.com/EWS/Exchange.asmx'\n".parse().unwrap();
        let error = overlay(&mut toml::Table::new(), &over).unwrap_err();
        assert!(error.contains("[exchange] url") && error.contains("calls_max"), "{error}");
    }
}
