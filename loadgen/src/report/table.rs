//! The end of a run on a terminal.

use std::fmt::Write;

use super::Report;

/// The figures, and the verdict.
pub(crate) fn table(report: &Report) -> String {
    let mut out = String::new();
    let latency = &report.latency_ms;
    let engine = &report.engine;
    let ledger = &report.ledger.engine;
    let suppressed: u64 = report.suppressed.values().sum();
    let mut row = |name: &str, text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name:<22} {text}");
    };
    row("users, devices", format!("{}, {} on {} streams", report.users, report.devices, report.streams));
    row(
        "mails",
        format!("{} ({} read, {} deleted)", report.signals, report.mails_read, report.mails_deleted),
    );
    row(
        "pushes accepted",
        format!(
            "{} ({})",
            report.pushes.get("all").copied().unwrap_or(0),
            report
                .pushes
                .iter()
                .filter(|(name, _)| *name != "all")
                .map(|(name, count)| format!("{count} {name}"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    );
    row(
        "tellings",
        format!("{} accepted, of them {} by number alone", report.accepted, report.accepted_by_number),
    );
    row(
        "engine's ledger",
        format!(
            "{} = {} accepted + {suppressed} suppressed + {} superseded + {} expired + {} open",
            ledger.folded,
            ledger.accepted,
            ledger.superseded,
            ledger.expired,
            ledger.waiting + ledger.in_flight
        ),
    );
    row(
        "lost, told twice",
        format!(
            "{}, {} ({} came again and were recognised)",
            report.lost, report.duplicates, report.duplicates_recognised
        ),
    );
    row("details after cut-off", report.details_after_cutoff.to_string());
    row(
        "latency",
        format!(
            "p50 {:.1}, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1} ms of {} notices",
            latency.p50, latency.p90, latency.p99, latency.p999, latency.max, latency.count
        ),
    );
    row("last mail to last push", format!("{:.0} ms, settling included", report.accepted_after_last_mail_ms));
    row(
        "engine",
        format!(
            "{:.1} CPU s; under load {:.1} % of a core, {:.0} µs a push; {} threads",
            engine.cpu_seconds, engine.cpu_percent_load, engine.cpu_us_per_push, engine.threads
        ),
    );
    row(
        "memory",
        format!(
            "{:.1} MiB at most; {:.0} bytes a user when all are watched; {:+.1} % under load",
            engine.rss_bytes_peak as f64 / 1_048_576.0,
            engine.bytes_per_user,
            engine.rss_growth_percent
        ),
    );
    if !report.faults.is_empty() {
        let faults: Vec<String> =
            report.faults.iter().map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect();
        row("faults", faults.join(", "));
    }
    let again = report
        .restart_live_s
        .map_or_else(String::new, |s| format!(", {s:.1} s after the start with all users stored"));
    row(
        "time",
        format!(
            "{:.1} s; registered within {:.1} s, all mailboxes watched after {:.1} s{again}",
            report.duration_s, report.registered_s, report.live_s
        ),
    );
    row(
        "slowest answers",
        format!("/v1/status {:.1} ms, /metrics {:.1} ms", report.status_ms, report.metrics_ms),
    );
    for (what, count) in &report.misbehaviour {
        row("misbehaviour", format!("{count} × {what}"));
    }
    let _ = writeln!(out, "\n  {:<34} {:>12} {:>12}", "budget", "allowed", "figure");
    for line in &report.budget {
        let verdict = if line.held { "held" } else { "BROKEN" };
        let (limit, figure) = (number(line.limit), number(line.figure));
        let _ = writeln!(out, "  {:<34} {limit:>12} {figure:>12}  {verdict}", line.name);
    }
    for complaint in &report.ledger.complaints {
        let _ = writeln!(out, "  the ledger does not balance: {complaint}");
    }
    let _ = writeln!(out, "\n{}", if report.passed { "PASSED" } else { "FAILED" });
    out
}

/// A figure as short as it may be.
pub(crate) fn number(value: f64) -> String {
    if value == f64::MAX {
        "none".to_owned()
    } else if value.fract() == 0.0 {
        format!("{value:.0}")
    } else if value >= 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
