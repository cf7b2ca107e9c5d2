//! `tune.html`: the curve with its knee, what follows from it, and the settings that were tried.

use std::fmt::Write;

use super::search::{Step, Verdict};
use super::settings::{base, better};
use super::table::sentences;
use super::{Tuned, search};
use crate::report::{STYLE, escape};

/// The whole page, in one file.
pub(crate) fn page(tuned: &Tuned) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Capacity</title><style>{STYLE}{MORE}</style></head><body><main><header>\
         <h1>Capacity: {} mailboxes, {} phones</h1><p class=\"quiet\">Carillon on one core, the simulated servers on another; \
         a rate holds if p99 is at most {} ms, memory at most {:.0} MiB, and nothing is lost or told twice</p></header>",
        tuned.users, tuned.devices, tuned.latency_p99_ms_max, tuned.rss_mib_max
    );
    // Writing to a String cannot fail.
    let _ = write!(out, "<ul class=\"found\">");
    for sentence in sentences(tuned) {
        let _ = write!(out, "<li>{}</li>", escape(&sentence));
    }
    let _ = write!(out, "</ul>");
    curve(&mut out, tuned);
    steps(&mut out, tuned);
    trials(&mut out, tuned);
    out.push_str("</main></body></html>\n");
    out
}

/// Rate against p99 and CPU, the knee marked.
fn curve(out: &mut String, tuned: &Tuned) {
    let mut steps: Vec<&Step> = tuned.steps.iter().filter(|step| step.notices > 0).collect();
    steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let Some(most) = steps.last().map(|step| step.rate * 1.05) else { return };
    let x = |rate: f64| LEFT + rate / most * (WIDTH - LEFT - RIGHT);
    // Latency on a logarithmic scale: it explodes at the knee, and what lies before it is to be seen.
    let latency_y = |ms: f64| {
        let (low, high) = (1.0_f64.ln(), LATENCY_TOP_MS.ln());
        let at = (ms.clamp(1.0, LATENCY_TOP_MS).ln() - low) / (high - low);
        TOP + (1.0 - at) * (HEIGHT - TOP - BOTTOM)
    };
    let cpu_y = |percent: f64| TOP + (1.0 - percent.clamp(0.0, 110.0) / 110.0) * (HEIGHT - TOP - BOTTOM);
    let _ = write!(
        out,
        "<figure class=\"curve\"><figcaption>Mails a second against latency and CPU<i>p99, ms (left, logarithmic)</i>\
         <i class=\"key1\">CPU, % of a core (right)</i></figcaption>\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Rate against p99 and CPU\">"
    );
    for ms in [1.0, 10.0, 50.0, 100.0, 1_000.0] {
        let (y, class) = (latency_y(ms), if ms == tuned.latency_p99_ms_max { "budget" } else { "grid" });
        let _ = write!(
            out,
            "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\">{ms:.0}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 3.5
        );
    }
    for percent in [0.0, 25.0, 50.0, 75.0, 100.0] {
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\">{percent:.0} %</text>",
            WIDTH - RIGHT + 6.0,
            cpu_y(percent) + 3.5
        );
    }
    if let Some(knee) = tuned.knee() {
        let at = x(knee.rate);
        let right = knee.broke_at.map_or(at, x);
        let _ = write!(
            out,
            "<rect class=\"gap\" x=\"{at:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>\
             <line class=\"knee\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
             <text class=\"phase kneetext\" x=\"{at:.1}\" y=\"{:.1}\">knee: {:.0} mails/s</text>",
            right - at,
            HEIGHT - TOP - BOTTOM,
            HEIGHT - BOTTOM,
            TOP - 6.0,
            knee.rate
        );
    }
    for (class, y) in [
        ("line0", &(|step: &Step| latency_y(step.latency_p99_ms)) as &dyn Fn(&Step) -> f64),
        ("line1", &|step: &Step| cpu_y(step.cpu_percent)),
    ] {
        let points: Vec<String> =
            steps.iter().map(|step| format!("{:.1} {:.1}", x(step.rate), y(step))).collect();
        let _ = write!(out, "<path class=\"{class}\" d=\"M{}\"/>", points.join("L"));
        for step in &steps {
            let held = if step.verdict == Verdict::Held { "" } else { " brokenpoint" };
            let _ = write!(
                out,
                "<circle class=\"{class}{held}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"><title>{:.0} mails/s: p99 {:.1} ms, \
                 CPU {:.0} %, {}</title></circle>",
                x(step.rate),
                y(step),
                step.rate,
                step.latency_p99_ms,
                step.cpu_percent,
                step.verdict.text()
            );
        }
    }
    let ticks = 6;
    for tick in 0..=ticks {
        let rate = most * f64::from(tick) / f64::from(ticks);
        let _ = write!(
            out,
            "<text class=\"time\" x=\"{:.1}\" y=\"{:.1}\">{rate:.0}/s</text>",
            x(rate),
            HEIGHT - 5.0
        );
    }
    let _ = write!(out, "</svg></figure>");
}

fn steps(out: &mut String, tuned: &Tuned) {
    let _ = write!(
        out,
        "<div class=\"tables\"><section class=\"wide\"><h2>Rates</h2><table><tr><th>mails/s</th><th>for</th><th>p50</th>\
         <th>p99</th><th>CPU</th><th>CPU a push</th><th>simulated servers</th><th>other work</th><th>memory</th><th></th></tr>"
    );
    for step in &tuned.steps {
        row(out, &format!("{:.0}", step.rate), step);
    }
    let _ = write!(out, "</table></section>");
}

fn row(out: &mut String, name: &str, step: &Step) {
    let class = if step.verdict == Verdict::Held { "held" } else { "broken" };
    let _ = write!(
        out,
        "<tr><td>{}</td><td>{:.0} s</td><td>{:.1} ms</td><td>{:.1} ms</td><td>{:.0} %</td><td>{:.0} µs</td><td>{:.0} %</td>\
         <td>{:.0} %</td><td>{:.0} MiB</td><td><span class=\"{class}\">{}</span></td></tr>",
        escape(name),
        step.seconds,
        step.latency_p50_ms,
        step.latency_p99_ms,
        step.cpu_percent,
        step.cpu_us_per_push,
        step.peers_cpu_percent,
        step.other_cpu_percent,
        step.rss_mib,
        step.verdict.text()
    );
}

fn trials(out: &mut String, tuned: &Tuned) {
    if tuned.trials.is_empty() {
        return out.push_str("</div>");
    }
    let _ = write!(
        out,
        "<section class=\"wide\"><h2>Settings at the knee</h2><table><tr><th>setting</th><th>for</th><th>p50</th><th>p99</th>\
         <th>CPU</th><th>CPU a push</th><th>simulated servers</th><th>other work</th><th>memory</th><th></th></tr>"
    );
    if let Some(step) = base(tuned) {
        row(out, "as configured", step);
    }
    let better = better(tuned);
    for trial in &tuned.trials {
        let Some(step) = trial.at_knee() else { continue };
        let mut name = trial.candidate.label();
        if trial.candidate.what_if {
            name += " (what if; never recommended)";
        }
        if trial.holds_more() {
            name += " · holds 15 % more";
        }
        if better.iter().any(|kept| kept.candidate == trial.candidate) {
            name += " · recommended";
        }
        row(out, &name, step);
    }
    let _ = write!(
        out,
        "</table><p class=\"quiet\">A setting is recommended if it takes at least 5 % less CPU a push at the knee's rate, \
         without making p99 worse. Rates held for less than {} s do not count for the knee.</p></section></div>",
        search::HOLD_S
    );
}

const WIDTH: f64 = 1_120.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 54.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 26.0;
/// The top of the scale for latency.
const LATENCY_TOP_MS: f64 = 2_000.0;

const MORE: &str = "\
.found{margin:18px 0;padding:14px 14px 14px 30px;background:var(--card);border:1px solid var(--rule);border-radius:10px}\
.curve{margin-bottom:12px}circle{stroke:none}circle.line0{fill:var(--one)}circle.line1{fill:var(--two)}\
circle.brokenpoint{fill:var(--bad)}.budget{stroke:var(--bad);stroke-dasharray:5 4}.knee{stroke:var(--good);stroke-width:2}\
.gap{fill:var(--bad);opacity:.12}svg .kneetext{fill:var(--good);font-weight:600}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::settings::tests::example;

    #[test]
    fn the_page_marks_the_knee_and_names_what_is_recommended() {
        let page = page(&example());
        assert!(page.contains("knee: 3000 mails/s") && page.contains("[push] lanes = 4 · recommended"));
        assert!(page.contains("never recommended") && page.contains("brokenpoint"));
        assert_eq!(page.matches("<circle").count(), 6);
    }

    #[test]
    fn nothing_measured_is_a_page_too() {
        assert!(page(&Tuned::default()).contains("No rate was held"));
    }
}
