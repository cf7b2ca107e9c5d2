//! `report.html`: one page without anything from outside.

use std::fmt::Write;

use super::table::number;
use super::{BudgetLine, Report};
use crate::run::Sample;

/// The page.
pub(crate) fn html(report: &Report) -> String {
    let mut out = String::with_capacity(256 * 1024);
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{name}: {verdict}</title>\
         <style>{STYLE}</style></head><body><main>\
         <header><h1>{name} <span class=\"{class}\">{verdict}</span></h1><p>{about}</p>\
         <p class=\"quiet\">seed {seed} · {duration:.1} s</p></header>",
        name = escape(&report.profile),
        verdict = if report.passed { "passed" } else { "failed" },
        class = if report.passed { "held" } else { "broken" },
        about = escape(&report.about),
        seed = report.seed,
        duration = report.duration_s,
    );
    tiles(&mut out, report);
    for complaint in &report.ledger.complaints {
        let _ = write!(out, "<p class=\"complaint\">The ledger does not balance: {}</p>", escape(complaint));
    }
    let _ = write!(out, "<div class=\"charts\">");
    for chart in charts() {
        svg(&mut out, report, &chart);
    }
    let _ = write!(out, "</div><div class=\"tables\">");
    budget(&mut out, &report.budget);
    let ledger = &report.ledger.engine;
    let mut rows = vec![
        ("Mails that came".to_owned(), report.signals.to_string()),
        ("Tellings folded (a mail for a device)".to_owned(), ledger.folded.to_string()),
        ("Accepted".to_owned(), ledger.accepted.to_string()),
        ("Superseded (read or deleted before)".to_owned(), ledger.superseded.to_string()),
        ("Expired".to_owned(), ledger.expired.to_string()),
    ];
    rows.extend(
        ledger
            .suppressed
            .iter()
            .map(|(why, count)| (format!("Suppressed: {}", spaced(why)), count.to_string())),
    );
    rows.push(("Still open".to_owned(), (ledger.waiting + ledger.in_flight).to_string()));
    pairs(&mut out, "The engine's ledger", &rows);
    let findings = &report.ledger.findings;
    // The worst first.
    let (worst, others): (Vec<_>, Vec<_>) = findings.iter().partition(|(name, _)| *name == "foreign");
    let found = worst.into_iter().chain(others);
    let rows: Vec<_> = found.map(|(name, found)| (spaced(name), found.count.to_string())).collect();
    pairs(&mut out, "What the audit found", &rows);
    let rows: Vec<_> = report.pushes.iter().map(|(name, count)| (spaced(name), count.to_string())).collect();
    pairs(&mut out, "Pushes accepted", &rows);
    let rows: Vec<_> = report.faults.iter().map(|(name, count)| (spaced(name), count.to_string())).collect();
    pairs(&mut out, "Faults made", &rows);
    let rows: Vec<_> =
        report.misbehaviour.iter().map(|(what, count)| (what.clone(), count.to_string())).collect();
    pairs(&mut out, "Misbehaviour that the peers saw", &rows);
    let _ = writeln!(out, "</div></main></body></html>");
    out
}

fn tiles(out: &mut String, report: &Report) {
    let (engine, latency) = (&report.engine, &report.latency_ms);
    let tiles = [
        ("users · devices", format!("{} · {}", report.users, report.devices)),
        (
            "mails → pushes",
            format!("{} → {}", report.signals, report.pushes.get("all").copied().unwrap_or(0)),
        ),
        ("lost · told twice", format!("{} · {}", report.lost, report.duplicates)),
        ("latency p50 · p99", format!("{:.1} · {:.1} ms", latency.p50, latency.p99)),
        ("CPU under load", format!("{:.1} %", engine.cpu_percent_load)),
        ("CPU a push", format!("{:.0} µs", engine.cpu_us_per_push)),
        ("peak memory", format!("{:.1} MiB", engine.rss_bytes_peak as f64 / 1_048_576.0)),
        ("bytes a user", format!("{:.0}", engine.bytes_per_user)),
        (
            "all watched · after a restart",
            match report.restart_live_s {
                Some(again) => format!("{:.0} · {again:.0} s", report.live_s),
                None => format!("{:.0} s · –", report.live_s),
            },
        ),
        ("streams", report.streams.to_string()),
    ];
    let _ = write!(out, "<div class=\"tiles\">");
    for (name, value) in tiles {
        let _ = write!(out, "<div><b>{value}</b><span>{name}</span></div>");
    }
    let _ = write!(out, "</div>");
}

fn budget(out: &mut String, lines: &[BudgetLine]) {
    if lines.is_empty() {
        return;
    }
    let _ = write!(
        out,
        "<section class=\"wide\"><h2>Budget</h2><table><tr><th>line</th><th>allowed</th><th>figure</th><th></th></tr>"
    );
    for line in lines {
        let (class, verdict) = if line.held { ("held", "held") } else { ("broken", "broken") };
        let _ = write!(
            out,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td><span class=\"{class}\">{verdict}</span></td></tr>",
            line.name,
            number(line.limit),
            number(line.figure)
        );
    }
    let _ = write!(out, "</table></section>");
}

fn pairs(out: &mut String, title: &str, rows: &[(String, String)]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(out, "<section><h2>{title}</h2><table>");
    for (name, value) in rows {
        let _ = write!(out, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(value));
    }
    let _ = write!(out, "</table></section>");
}

/// One chart over the time of the run.
struct Chart {
    title: &'static str,
    unit: &'static str,
    lines: Vec<Line>,
}

struct Line {
    name: &'static str,
    value: fn(&Sample) -> Option<f64>,
}

fn charts() -> [Chart; 4] {
    [
        Chart {
            title: "Rate",
            unit: "/s",
            lines: vec![
                Line { name: "mails", value: |row| Some(row.mails_per_s) },
                Line { name: "pushes", value: |row| Some(row.pushes_per_s) },
            ],
        },
        Chart {
            title: "Latency added",
            unit: "ms",
            lines: vec![
                Line { name: "p50", value: |row| row.latency_p50_ms },
                Line { name: "p99", value: |row| row.latency_p99_ms },
            ],
        },
        Chart {
            title: "CPU of the engine",
            unit: "% of a core",
            lines: vec![Line { name: "CPU", value: |row| row.cpu_percent }],
        },
        Chart {
            title: "Memory of the engine",
            unit: "MiB",
            lines: vec![Line { name: "resident", value: |row| row.rss_mib }],
        },
    ]
}

fn svg(out: &mut String, report: &Report, chart: &Chart) {
    let samples = &report.samples;
    let t_max = samples.last().map_or(1.0, |row| row.t_s).max(1.0);
    let peak = samples
        .iter()
        .flat_map(|row| chart.lines.iter().filter_map(|line| (line.value)(row)))
        .fold(0.0, f64::max);
    let (step, top) = scale(peak);
    let x = |t: f64| LEFT + t / t_max * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| TOP + (1.0 - value / top) * (HEIGHT - TOP - BOTTOM);
    let _ = write!(out, "<figure><figcaption>{} <span class=\"quiet\">{}</span>", chart.title, chart.unit);
    if chart.lines.len() > 1 {
        for (at, line) in chart.lines.iter().enumerate() {
            let _ = write!(out, "<i class=\"key{at}\">{}</i>", line.name);
        }
    }
    let _ = write!(
        out,
        "</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}, {}\">",
        chart.title, chart.unit
    );
    for (at, (phase, begin)) in report.phases.iter().enumerate() {
        let end = report.phases.get(at + 1).map_or(t_max, |(_, begin)| *begin).min(t_max);
        let width = x(end) - x(begin.min(t_max));
        if *phase == "load" {
            let _ = write!(
                out,
                "<rect class=\"load\" x=\"{:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{:.1}\"/>",
                x(*begin),
                HEIGHT - TOP - BOTTOM
            );
        }
        if width > 30.0 {
            let _ = write!(
                out,
                "<text class=\"phase\" x=\"{:.1}\" y=\"{:.1}\">{phase}</text>",
                x(*begin) + width / 2.0,
                TOP - 5.0
            );
        }
    }
    let mut value = 0.0;
    while value <= top + step / 2.0 {
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y(value) + 3.5,
            tick_text(value, step),
            y = y(value)
        );
        value += step;
    }
    let (t_step, _) = scale(t_max);
    let mut t = 0.0;
    while t <= t_max {
        let _ = write!(
            out,
            "<text class=\"time\" x=\"{:.1}\" y=\"{:.1}\">{} s</text>",
            x(t),
            HEIGHT - 5.0,
            tick_text(t, t_step)
        );
        t += t_step;
    }
    for (at, line) in chart.lines.iter().enumerate() {
        let _ = write!(out, "<path class=\"line{at}\" d=\"");
        let mut drawing = false;
        for row in samples {
            match (line.value)(row) {
                Some(value) => {
                    let _ =
                        write!(out, "{}{:.1} {:.1}", if drawing { "L" } else { "M" }, x(row.t_s), y(value));
                    drawing = true;
                }
                // A gap of the measurement is a gap of the line.
                None => drawing = false,
            }
        }
        let _ = write!(out, "\"/>");
    }
    let _ = write!(out, "</svg></figure>");
}

/// A round step for about four lines, and the top of the axis.
fn scale(peak: f64) -> (f64, f64) {
    let rough = (peak / 4.0).max(1e-6);
    let power = 10_f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= rough).unwrap_or(rough);
    let step = if peak <= 0.0 { 1.0 } else { step };
    (step, (peak / step).ceil().max(1.0) * step)
}

fn tick_text(value: f64, step: f64) -> String {
    if step >= 1.0 { format!("{value:.0}") } else { format!("{value:.*}", (-step.log10()).ceil() as usize) }
}

fn spaced(name: &str) -> String {
    name.replace('_', " ")
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 24.0;

pub(crate) const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#f6f7f9;--card:#fff;--ink:#1c2430;--quiet:#66707f;--rule:#e2e6ec;\
--one:#2563c9;--two:#d9822b;--good:#18794e;--goodback:#dff3e7;--bad:#b42318;--badback:#fde4e1;--load:#2563c90f}\
@media(prefers-color-scheme:dark){:root{--ground:#12161c;--card:#1a2029;--ink:#e6eaf0;--quiet:#94a0b0;--rule:#2b3442;\
--one:#6ea8ff;--two:#f0a35c;--good:#6fd39d;--goodback:#173526;--bad:#ff9b8f;--badback:#43201c;--load:#6ea8ff12}}\
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.45 system-ui,sans-serif}\
main{max-width:1200px;margin:0 auto;padding:28px 20px 48px}h1{margin:0;font-size:26px}h2{margin:0 0 8px;font-size:15px}\
header p{margin:4px 0 0}.quiet{color:var(--quiet);font-weight:400}\
.held,.broken{display:inline-block;padding:1px 9px;border-radius:99px;font-size:13px;font-weight:600;vertical-align:middle}\
.held{color:var(--good);background:var(--goodback)}.broken{color:var(--bad);background:var(--badback)}\
.complaint{padding:10px 14px;border-radius:8px;color:var(--bad);background:var(--badback);overflow-wrap:anywhere}\
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(240px,46%),1fr));gap:12px;margin:20px 0}\
.tiles div,figure,section{background:var(--card);border:1px solid var(--rule);border-radius:10px}\
.tiles div{padding:12px 14px}.tiles b{display:block;font-size:18px;white-space:nowrap}\
.tiles span{color:var(--quiet);font-size:12.5px}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(460px,100%),1fr));gap:12px}\
figure{margin:0;padding:12px 14px 8px}figcaption{display:flex;gap:6px;align-items:baseline;font-weight:600;font-size:14px;margin-bottom:4px}figcaption .quiet{margin-right:auto}\
figcaption i{margin-left:8px;font-style:normal;font-weight:400;font-size:12.5px;color:var(--quiet)}\
figcaption i:before{content:'';display:inline-block;width:14px;height:3px;border-radius:2px;margin-right:5px;\
vertical-align:middle;background:var(--one)}figcaption i.key1:before{background:var(--two)}\
svg{display:block;width:100%;height:auto}svg text{font:10.5px system-ui,sans-serif;fill:var(--quiet)}\
.axis{text-anchor:end}.time,.phase{text-anchor:middle}.grid{stroke:var(--rule)}.load{fill:var(--load)}\
path{fill:none;stroke-width:1.6;stroke-linejoin:round}.line0{stroke:var(--one)}.line1{stroke:var(--two)}\
.tables{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr));gap:12px;margin-top:12px;\
align-items:start}section{padding:14px}.wide{grid-column:1/-1}table{border-collapse:collapse;width:100%}\
td,th{padding:5px 6px;border-top:1px solid var(--rule);text-align:right;font-variant-numeric:tabular-nums}\
th{border:0;color:var(--quiet);font-weight:400;font-size:12.5px}td:first-child,th:first-child{text-align:left}\
tr:first-child td{border-top:0}code{font-size:13px}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_steps_and_hold_the_peak() {
        for (peak, step, top) in
            [(0.0, 1.0, 1.0), (9.0, 5.0, 10.0), (128.0, 50.0, 150.0), (0.3, 0.1, 0.3), (4.0, 1.0, 4.0)]
        {
            let (s, t) = scale(peak);
            assert!((s - step).abs() < 1e-9 && (t - top).abs() < 1e-9, "{peak}: {s} {t}");
        }
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
