//! Settings that are tried, and what is recommended of them.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::Tuned;
use super::search::{Step, Verdict};

/// One setting with one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Candidate {
    /// The section of `carillon.toml`.
    pub section: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: i64,
    /// Shown, and never recommended: it changes what people see, not what the machine does.
    pub what_if: bool,
}

/// What a setting did at the knee.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// The setting.
    pub candidate: Candidate,
    /// At the knee's rate, then above it if that was held.
    pub steps: Vec<Step>,
    /// What the ledger complained of.
    pub complaints: Vec<String>,
}

impl Candidate {
    /// As it stands in the file.
    pub(crate) fn label(&self) -> String {
        format!("[{}] {} = {}", self.section, self.key, self.value)
    }

    /// Sets it.
    pub(crate) fn put(&self, config: &mut toml::Table) {
        let section =
            config.entry(self.section.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let Some(table) = section.as_table_mut() {
            table.insert(self.key.clone(), self.value.into());
        }
    }
}

impl Trial {
    /// The step at the knee's rate.
    pub(crate) fn at_knee(&self) -> Option<&Step> {
        self.steps.first()
    }

    /// Whether it held what the present settings do not.
    pub(crate) fn holds_more(&self) -> bool {
        self.complaints.is_empty()
            && self.steps.len() > 1
            && self.steps.iter().all(|step| step.verdict == Verdict::Held)
    }
}

/// What is tried, except values that are set already.
pub(crate) fn candidates(config: &toml::Table) -> Vec<Candidate> {
    let tried = [
        ("engine", "shards", &[2][..], false),
        ("engine", "read_bytes_per_turn", &[16_384, 131_072], false),
        ("push", "lanes", &[1, 4], false),
        ("push", "lane_window_max", &[100, 4_000], false),
        ("exchange", "calls_max", &[4, 16, 32], false),
        ("timing", "settle_ms", &[500, 5_000], true),
    ];
    let set = |section: &str, key: &str| config.get(section)?.get(key)?.as_integer();
    tried
        .into_iter()
        .flat_map(|(section, key, values, what_if)| {
            values.iter().map(move |value| Candidate {
                section: section.to_owned(),
                key: key.to_owned(),
                value: *value,
                what_if,
            })
        })
        .filter(|candidate| set(&candidate.section, &candidate.key) != Some(candidate.value))
        .collect()
}

/// Of each key the value that is better than the present one, if one is.
pub(crate) fn better(tuned: &Tuned) -> Vec<&Trial> {
    let Some(base) = base(tuned) else { return Vec::new() };
    let mut best: Vec<&Trial> = Vec::new();
    for trial in tuned.trials.iter().filter(|trial| !trial.candidate.what_if) {
        if gain(base, trial).is_none() {
            continue;
        }
        let same_key = |other: &&&Trial| {
            (&other.candidate.section, &other.candidate.key)
                == (&trial.candidate.section, &trial.candidate.key)
        };
        match best.iter().find(same_key).copied() {
            Some(other) if gain(base, other) >= gain(base, trial) => {}
            Some(other) => {
                best.retain(|kept| !std::ptr::eq(*kept, other));
                best.push(trial);
            }
            None => best.push(trial),
        }
    }
    best
}

/// How the present settings did at the knee.
pub(crate) fn base(tuned: &Tuned) -> Option<&Step> {
    let rate = tuned.knee()?.rate;
    tuned.steps.iter().rfind(|step| step.rate == rate && step.verdict == Verdict::Held)
}

/// By how many percent less CPU a push took, if that is worth a recommendation. The noise of a quiet machine is below it.
fn gain(base: &Step, trial: &Trial) -> Option<f64> {
    let step = trial.at_knee().filter(|step| step.verdict == Verdict::Held && trial.complaints.is_empty())?;
    let percent = (1.0 - step.cpu_us_per_push / base.cpu_us_per_push) * 100.0;
    let slower = step.latency_p99_ms > base.latency_p99_ms * 1.25 + 1.0;
    (percent >= WORTH_PERCENT && !slower).then_some(percent)
}

/// A fragment of `carillon.toml`.
pub(crate) fn recommended(tuned: &Tuned) -> String {
    let mut out = String::from("# A fragment of carillon.toml, written by `loadgen tune`.\n");
    // Writing to a String cannot fail.
    match tuned.knee() {
        None => out.push_str("# No rate was held, so nothing is recommended.\n"),
        Some(knee) => {
            let _ = writeln!(
                out,
                "# {} mailboxes with {} phones; highest rate that was held for 30 s: {:.0} mails a second.",
                tuned.users_held(),
                super::devices(tuned.users_held()),
                knee.rate
            );
        }
    }
    if tuned.is_noisy() {
        out.push_str(
            "# The machine did other work at the same time: measure again before you rely on this.\n",
        );
    }
    let mut config = tuned.config.clone();
    let better = better(tuned);
    for trial in &better {
        trial.candidate.put(&mut config);
    }
    if tuned.trials.is_empty() {
        out.push_str("# Settings were not searched: that takes --minutes 20 or more.\n");
    } else if better.is_empty() {
        out.push_str("# No other value of a setting that was tried was better by 5 percent of CPU.\n");
    }
    for name in &tuned.not_tried {
        let _ = writeln!(out, "# not tried: {name}");
    }
    for (section, keys) in &config {
        // Keys of a server go below its own [[exchange]] or [[push]].
        let header = match section.as_str() {
            "exchange" | "push" => format!("# below each [[{section}]]:"),
            _ => format!("[{section}]"),
        };
        let _ = writeln!(out, "\n{header}");
        for (key, value) in keys.as_table().into_iter().flatten() {
            let comment = if header.starts_with('#') { "#" } else { "" };
            let _ = writeln!(out, "{comment}{key} = {value}");
        }
    }
    out
}

/// Less CPU for each push, in percent, that makes a value worth recommending.
const WORTH_PERCENT: f64 = 5.0;

#[cfg(test)]
pub(crate) mod tests {
    use super::super::MoreUsers;
    use super::*;

    pub(crate) fn example() -> Tuned {
        let step = |rate, seconds, p99, verdict| Step {
            rate,
            seconds,
            latency_p50_ms: p99 / 3.0,
            latency_p99_ms: p99,
            notices: 4_000,
            pushes_per_s: rate,
            cpu_percent: rate / 60.0,
            cpu_us_per_push: 100.0,
            peers_cpu_percent: rate / 100.0,
            rss_mib: 60.0,
            verdict,
            ..Step::default()
        };
        let trial = |section: &str, key: &str, value, cpu, p99| Trial {
            candidate: Candidate {
                section: section.into(),
                key: key.into(),
                value,
                what_if: section == "timing",
            },
            steps: vec![Step { cpu_us_per_push: cpu, ..step(3_000.0, 15.0, p99, Verdict::Held) }],
            complaints: Vec::new(),
        };
        let more = |users: u32, idle_rss_mib, verdict| MoreUsers {
            users,
            rss_mib_max: 500.0,
            idle_rss_mib,
            live_s: 60.0,
            step: step(3_000.0, 30.0, 21.0, verdict),
            complaints: Vec::new(),
        };
        Tuned {
            more_users: vec![more(30_000, 60.0, Verdict::Held), more(100_000, 130.0, Verdict::Memory)],
            users: 10_000,
            devices: 13_000,
            latency_p99_ms_max: 50.0,
            rss_mib_max: 136.0,
            steps: vec![
                step(1_000.0, 8.0, 3.0, Verdict::Held),
                step(3_000.0, 30.0, 20.0, Verdict::Held),
                step(3_200.0, 30.0, 90.0, Verdict::Latency),
            ],
            trials: vec![
                trial("push", "lanes", 1, 92.0, 19.0),
                trial("push", "lanes", 4, 90.0, 20.0),
                trial("exchange", "calls_max", 16, 97.0, 20.0),
                trial("exchange", "calls_max", 32, 80.0, 70.0),
                trial("timing", "settle_ms", 5_000, 40.0, 20.0),
            ],
            idle_rss_mib: 40.0,
            live_s: 20.0,
            cores: 2,
            ..Tuned::default()
        }
    }

    #[test]
    fn of_each_key_the_best_value_is_recommended_and_the_settle_time_never() {
        let tuned = example();
        let labels: Vec<String> = better(&tuned).iter().map(|trial| trial.candidate.label()).collect();
        assert_eq!(labels, ["[push] lanes = 4"]);
        let text = recommended(&tuned);
        assert!(text.contains("#lanes = 4") && !text.contains("settle_ms"), "{text}");
    }

    #[test]
    fn the_most_mailboxes_that_held_are_named_and_what_each_takes() {
        let mut tuned = example();
        assert_eq!(tuned.users_held(), 30_000);
        assert_eq!(tuned.bytes_per_user().map(f64::round), Some(1_049.0));
        assert!(recommended(&tuned).contains("# 30000 mailboxes with 39000 phones"));
        tuned.more_users[0].complaints.push("lost: 1".into());
        assert_eq!(tuned.users_held(), 10_000);
    }

    #[test]
    fn what_lost_mail_is_not_recommended() {
        let mut tuned = example();
        tuned.trials[1].complaints.push("lost: 1".into());
        let labels: Vec<String> = better(&tuned).iter().map(|trial| trial.candidate.label()).collect();
        assert_eq!(labels, ["[push] lanes = 1"]);
    }

    #[test]
    fn the_fragment_is_toml_that_the_program_could_read() {
        let mut tuned = example();
        tuned.config = "[engine]\nshards = 2\n".parse().unwrap();
        let table: toml::Table = recommended(&tuned).parse().unwrap();
        assert_eq!(table["engine"]["shards"].as_integer(), Some(2));
    }

    #[test]
    fn a_value_that_is_set_already_is_not_tried_again() {
        let config = "[push]\nlanes = 4\n".parse().unwrap();
        let labels: Vec<String> = candidates(&config).iter().map(Candidate::label).collect();
        assert!(
            !labels.contains(&"[push] lanes = 4".to_owned())
                && labels.contains(&"[push] lanes = 1".to_owned())
        );
    }
}
