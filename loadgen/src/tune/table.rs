//! The end of a search on a terminal.

use std::fmt::Write;

use super::settings::{base, better};
use super::{Tuned, search};

/// What was found, in a few lines.
pub(crate) fn table(tuned: &Tuned) -> String {
    let mut out = String::from("\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "  {:>9} {:>6} {:>9} {:>9} {:>10} {:>9} {:>9} {:>8}",
        "mails/s", "for", "p50", "p99", "CPU", "a push", "servers", "memory"
    );
    let mut steps: Vec<_> = tuned.steps.iter().collect();
    steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    for step in steps {
        let _ = writeln!(
            out,
            "  {:>9.0} {:>4.0} s {:>6.1} ms {:>6.1} ms {:>8.0} % {:>6.0} µs {:>7.0} % {:>4.0} MiB  {}",
            step.rate,
            step.seconds,
            step.latency_p50_ms,
            step.latency_p99_ms,
            step.cpu_percent,
            step.cpu_us_per_push,
            step.peers_cpu_percent,
            step.rss_mib,
            step.verdict.text()
        );
    }
    out.push('\n');
    for line in sentences(tuned) {
        let _ = writeln!(out, "{line}");
    }
    out
}

/// What an administrator takes from it.
pub(crate) fn sentences(tuned: &Tuned) -> Vec<String> {
    let mut out = Vec::new();
    match tuned.knee() {
        None => out.push(format!("No rate was held for {} s.", search::HOLD_S)),
        Some(knee) => {
            out.push(format!(
                "{} mailboxes hold {:.0} mails a second on one core{}.",
                tuned.users,
                knee.rate,
                knee.error_percent().map_or_else(
                    || "; there was no time to find out how much more".to_owned(),
                    |error| format!(", within {error:.0} %")
                )
            ));
            if knee.peers_limit {
                out.push(
                    "Above that the simulated servers are the limit, not Carillon: it may hold more."
                        .to_owned(),
                );
            }
            if let Some(step) = base(tuned) {
                out.push(format!(
                    "At that rate Carillon takes {:.0} % of a core, {:.0} µs a push; the simulated servers take {:.0} % of another one.",
                    step.cpu_percent, step.cpu_us_per_push, step.peers_cpu_percent
                ));
            }
        }
    }
    out.push(format!(
        "Memory: {:.0} MiB with all mailboxes watched. Time until all were watched: {:.0} s.",
        tuned.idle_rss_mib, tuned.live_s
    ));
    for more in &tuned.more_users {
        out.push(format!(
            "With {} mailboxes that rate was {} (p99 {:.1} ms, {:.0} % of a core, {:.0} MiB; all watched after {:.0} s).",
            more.users,
            if more.complaints.is_empty() { more.step.verdict.text() } else { "not held without loss" },
            more.step.latency_p99_ms,
            more.step.cpu_percent,
            more.step.rss_mib,
            more.live_s
        ));
    }
    if let Some(bytes) = tuned.bytes_per_user() {
        out.push(format!("Each further mailbox takes {bytes:.0} bytes of memory with its phones."));
    }
    for trial in better(tuned) {
        out.push(format!("Recommended: {}.", trial.candidate.label()));
    }
    if !tuned.not_tried.is_empty() {
        out.push(format!("Not tried: {}. That takes --minutes 20 or more.", tuned.not_tried.join(", ")));
    }
    if tuned.is_noisy() {
        out.push(format!(
            "The machine did other work at the same time, up to {:.0} % of a core: measure again when it is quiet.",
            tuned.noise_percent()
        ));
    }
    out.extend(tuned.complaints.iter().map(|complaint| format!("FAILED: {complaint}")));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::settings::tests::example;

    #[test]
    fn the_knee_and_its_error_are_said_in_one_sentence() {
        let text = table(&example());
        assert!(text.contains("10000 mailboxes hold 3000 mails a second on one core, within 7 %."), "{text}");
        assert!(text.contains("Recommended: [push] lanes = 4."), "{text}");
    }

    #[test]
    fn a_noisy_machine_is_said() {
        let mut tuned = example();
        assert!(!table(&tuned).contains("other work"));
        tuned.steps[1].other_cpu_percent = 30.0;
        assert!(table(&tuned).contains("up to 30 % of a core"));
    }
}
