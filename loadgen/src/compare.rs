//! `loadgen compare`: two reports, or the medians of two groups of reports, side by side. Marks what got worse.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// One figure of a report, and how much worse it may get before it is marked.
struct Figure {
    name: &'static str,
    /// JSON pointer into `report.json`.
    pointer: &'static str,
    /// Divides the stored number for display.
    scale: f64,
    better: Better,
    /// A change within this share of the first figure is noise.
    tolerance: Tolerance,
}

#[derive(Clone, Copy, PartialEq)]
enum Better {
    Lower,
    Higher,
}

/// What may change without being marked.
#[derive(Clone, Copy)]
enum Tolerance {
    /// Any rise counts.
    None,
    /// A share of the first figure, and at least this much in the figure's unit.
    Share { percent: f64, least: f64 },
}

/// Two sides, compared.
pub(crate) struct Comparison {
    rows: Vec<Row>,
    /// Lines of the budget that held in every report of the first side and not in every one of the second.
    broken: Vec<String>,
    header: String,
}

struct Row {
    name: &'static str,
    before: Option<Median>,
    after: Option<Median>,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Verdict {
    Same,
    Better,
    Worse,
    Unknown,
}

#[derive(Clone, Copy)]
struct Median {
    median: f64,
    low: f64,
    high: f64,
}

/// Reads both sides and compares them. `percent` replaces the share that each figure may vary by.
pub(crate) fn compare(before: &str, after: &str, percent: Option<f64>) -> Result<Comparison, String> {
    let (before_reports, after_reports) = (read_side(before)?, read_side(after)?);
    Comparison::new(&before_reports, &after_reports, percent)
}

/// A side is one report, a folder with reports below it, or several of these with commas between.
fn read_side(side: &str) -> Result<Vec<Value>, String> {
    let mut paths = Vec::new();
    for part in side.split(',').filter(|part| !part.is_empty()) {
        let path = Path::new(part);
        if path.is_dir() {
            paths.extend(reports_below(path)?);
        } else {
            paths.push(path.to_owned());
        }
    }
    if paths.is_empty() {
        return Err(format!("{side}: no report.json there"));
    }
    paths.iter().map(|path| read_report(path)).collect()
}

/// `report.json` in the folder, or else in each folder right below it.
fn reports_below(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let own = folder.join("report.json");
    if own.is_file() {
        return Ok(vec![own]);
    }
    let entries =
        std::fs::read_dir(folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("report.json"))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    Ok(found)
}

fn read_report(path: &Path) -> Result<Value, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let report: Value = serde_json::from_str(&text)
        .map_err(|error| format!("{} is not a report: {error}", path.display()))?;
    if report.get("profile").and_then(Value::as_str).is_none() {
        return Err(format!("{} is not a report of loadgen: it names no profile", path.display()));
    }
    Ok(report)
}

impl Comparison {
    fn new(before: &[Value], after: &[Value], percent: Option<f64>) -> Result<Comparison, String> {
        let profile = |report: &Value| report["profile"].as_str().unwrap_or_default().to_owned();
        let name = profile(&before[0]);
        if let Some(other) = before.iter().chain(after).map(profile).find(|other| *other != name) {
            return Err(format!(
                "the reports are of different profiles, {name} and {other}: nothing to compare"
            ));
        }
        for pointer in ["/users", "/devices"] {
            let first = before[0].pointer(pointer);
            if before.iter().chain(after).any(|report| report.pointer(pointer) != first) {
                return Err(format!("the reports differ in {}: nothing to compare", &pointer[1..]));
            }
        }
        let rows = FIGURES
            .iter()
            .map(|figure| {
                let side = |reports: &[Value]| {
                    let numbers: Option<Vec<f64>> = reports
                        .iter()
                        .map(|report| report.pointer(figure.pointer).and_then(Value::as_f64))
                        .collect();
                    numbers.map(|numbers| Median::of(&numbers, figure.scale))
                };
                let (before, after) = (side(before), side(after));
                let verdict = match (before, after) {
                    (Some(before), Some(after)) => figure.judge(before.median, after.median, percent),
                    _ => Verdict::Unknown,
                };
                Row { name: figure.name, before, after, verdict }
            })
            .collect();
        let broken =
            broken_lines(after).into_iter().filter(|line| !broken_lines(before).contains(line)).collect();
        let header = format!("{name}: {} before, {} after", runs(before.len()), runs(after.len()));
        Ok(Comparison { rows, broken, header })
    }

    /// Whether some figure got worse by more than it may, or a line of the budget broke.
    pub(crate) fn got_worse(&self) -> bool {
        !self.broken.is_empty() || self.rows.iter().any(|row| row.verdict == Verdict::Worse)
    }

    /// The table for a terminal.
    pub(crate) fn table(&self) -> String {
        let mut out = format!("{}\n\n", self.header);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {:<30} {:>20} {:>20} {:>9}", "figure", "before", "after", "change");
        for row in &self.rows {
            let text = |side: &Option<Median>| side.as_ref().map_or_else(|| "–".to_owned(), Median::text);
            let change = match (row.before, row.after) {
                (Some(before), Some(after)) if before.median != 0.0 => {
                    format!("{:+.1} %", (after.median / before.median - 1.0) * 100.0)
                }
                _ => String::new(),
            };
            let mark = match row.verdict {
                Verdict::Worse => "  WORSE",
                Verdict::Better => "  better",
                Verdict::Same => "",
                Verdict::Unknown => "  not in both reports",
            };
            let _ = writeln!(
                out,
                "  {:<30} {:>20} {:>20} {change:>9}{mark}",
                row.name,
                text(&row.before),
                text(&row.after)
            );
        }
        for line in &self.broken {
            let _ = writeln!(out, "  budget line {line} held before and is broken now  WORSE");
        }
        let _ = writeln!(out, "\n{}", if self.got_worse() { "WORSE" } else { "NOT WORSE" });
        out
    }
}

impl Figure {
    fn judge(&self, before: f64, after: f64, percent: Option<f64>) -> Verdict {
        let allowed = match self.tolerance {
            Tolerance::None => 0.0,
            Tolerance::Share { percent: own, least } => {
                (before.abs() * percent.unwrap_or(own) / 100.0).max(least)
            }
        };
        let rise = match self.better {
            Better::Lower => after - before,
            Better::Higher => before - after,
        };
        if rise > allowed {
            Verdict::Worse
        } else if rise < -allowed {
            Verdict::Better
        } else {
            Verdict::Same
        }
    }
}

impl Median {
    fn of(numbers: &[f64], scale: f64) -> Median {
        let mut sorted: Vec<f64> = numbers.iter().map(|number| number / scale).collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Median { median, low: sorted[0], high: sorted[sorted.len() - 1] }
    }

    /// The median, and the range where there is one.
    fn text(&self) -> String {
        let number = crate::report::number;
        if self.low == self.high {
            number(self.median)
        } else {
            format!("{} ({}–{})", number(self.median), number(self.low), number(self.high))
        }
    }
}

/// Lines of the budget that are broken in at least one of the reports.
fn broken_lines(reports: &[Value]) -> Vec<String> {
    let mut names: Vec<String> = reports
        .iter()
        .filter_map(|report| report["budget"].as_array())
        .flatten()
        .filter(|line| line["held"] == Value::Bool(false))
        .filter_map(|line| line["name"].as_str())
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

fn runs(count: usize) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("median of {count} runs") }
}

const fn exact(name: &'static str, pointer: &'static str) -> Figure {
    Figure { name, pointer, scale: 1.0, better: Better::Lower, tolerance: Tolerance::None }
}

const fn measured(name: &'static str, pointer: &'static str, scale: f64, percent: f64, least: f64) -> Figure {
    Figure { name, pointer, scale, better: Better::Lower, tolerance: Tolerance::Share { percent, least } }
}

/// Latency is what another process on the machine disturbs most, so it may vary most.
const FIGURES: [Figure; 15] = [
    exact("lost", "/lost"),
    exact("duplicates", "/duplicates"),
    exact("details after cut-off", "/details_after_cutoff"),
    measured("CPU per push, µs", "/engine/cpu_us_per_push", 1.0, 10.0, 0.0),
    measured("CPU under load, % of a core", "/engine/cpu_percent_load", 1.0, 10.0, 0.5),
    measured("CPU in all, s", "/engine/cpu_seconds", 1.0, 15.0, 0.2),
    measured("peak memory, MiB", "/engine/rss_bytes_peak", 1_048_576.0, 10.0, 4.0),
    measured("latency p50, ms", "/latency_ms/p50", 1.0, 25.0, 0.5),
    measured("latency p99, ms", "/latency_ms/p99", 1.0, 50.0, 2.0),
    measured("last mail to last push, ms", "/accepted_after_last_mail_ms", 1.0, 25.0, 250.0),
    measured("time until all watched, s", "/live_s", 1.0, 25.0, 1.0),
    measured("time until all watched again, s", "/restart_live_s", 1.0, 25.0, 1.0),
    measured("memory per user, bytes", "/engine/bytes_per_user", 1.0, 10.0, 200.0),
    measured("time to shut down, s", "/shutdown_s", 1.0, 50.0, 1.0),
    Figure {
        name: "pushes accepted",
        pointer: "/pushes/all",
        scale: 1.0,
        better: Better::Higher,
        tolerance: Tolerance::Share { percent: 5.0, least: 10.0 },
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::example;

    fn report(change: impl FnOnce(&mut Value)) -> Value {
        let mut value = serde_json::to_value(example()).unwrap();
        change(&mut value);
        value
    }

    fn cpu(us: f64) -> Value {
        report(|value| value["engine"]["cpu_us_per_push"] = us.into())
    }

    fn worse(before: &[Value], after: &[Value]) -> Vec<&'static str> {
        let comparison = Comparison::new(before, after, None).unwrap();
        comparison.rows.iter().filter(|row| row.verdict == Verdict::Worse).map(|row| row.name).collect()
    }

    #[test]
    fn every_figure_is_in_a_report() {
        let example = report(|_| {});
        for figure in &FIGURES {
            assert!(example.pointer(figure.pointer).is_some_and(Value::is_number), "{}", figure.pointer);
        }
    }

    #[test]
    fn equal_reports_are_not_worse() {
        let comparison = Comparison::new(&[report(|_| {})], &[report(|_| {})], None).unwrap();
        assert!(!comparison.got_worse(), "{}", comparison.table());
    }

    #[test]
    fn each_figure_is_marked_beyond_its_tolerance_and_not_within() {
        for figure in &FIGURES {
            let sign = if figure.better == Better::Lower { 1.0 } else { -1.0 };
            let (percent, least) = match figure.tolerance {
                Tolerance::None => (0.0, 0.0),
                Tolerance::Share { percent, least } => (percent, least),
            };
            let before = 10_000.0;
            let step = (before * percent / 100.0_f64).max(least);
            assert_eq!(figure.judge(before, before + sign * step, None), Verdict::Same, "{}", figure.name);
            assert_eq!(
                figure.judge(before, before + sign * (step + 1.0), None),
                Verdict::Worse,
                "{}",
                figure.name
            );
            assert_eq!(
                figure.judge(before, before - sign * (step + 1.0), None),
                Verdict::Better,
                "{}",
                figure.name
            );
        }
    }

    #[test]
    fn medians_are_compared_so_one_disturbed_run_is_not_marked() {
        let before = [cpu(100.0), cpu(101.0), cpu(99.0)];
        assert_eq!(worse(&before, &[cpu(100.0), cpu(180.0), cpu(102.0)]), Vec::<&str>::new());
        assert_eq!(worse(&before, &[cpu(115.0), cpu(116.0), cpu(90.0)]), ["CPU per push, µs"]);
    }

    #[test]
    fn a_line_of_the_budget_that_breaks_is_worse_though_its_figure_is_within_tolerance() {
        let broken = &[report(|value| value["budget"][0]["held"] = false.into())];
        let comparison = Comparison::new(&[report(|_| {})], broken, None).unwrap();
        assert!(comparison.got_worse());
        assert!(comparison.table().contains("users_min"), "{}", comparison.table());
        assert!(!Comparison::new(broken, broken, None).unwrap().got_worse());
    }

    #[test]
    fn another_profile_or_size_is_no_comparison() {
        for change in [("profile", Value::from("other")), ("users", Value::from(7))] {
            let other = report(|value| value[change.0] = change.1);
            assert!(Comparison::new(&[report(|_| {})], &[other], None).is_err());
        }
    }

    #[test]
    fn a_figure_that_one_side_lacks_is_named_and_not_judged() {
        let without = report(|value| value["engine"]["cpu_us_per_push"] = Value::Null);
        let comparison = Comparison::new(&[report(|_| {})], &[without], None).unwrap();
        assert!(comparison.table().contains("not in both reports") && !comparison.got_worse());
    }

    #[test]
    fn sides_are_files_folders_or_several_of_them() {
        let folder = tempfile::tempdir().unwrap();
        for (name, us) in [("a", 100.0), ("b", 120.0)] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("report.json"), cpu(us).to_string()).unwrap();
        }
        let at = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(read_side(&at("a")).unwrap().len(), 1);
        assert_eq!(read_side(&at("a/report.json")).unwrap().len(), 1);
        assert_eq!(read_side(&format!("{},{}", at("a"), at("b"))).unwrap().len(), 2);
        assert_eq!(read_side(&folder.path().display().to_string()).unwrap().len(), 2);
        assert!(read_side(&at("none")).unwrap_err().contains("none"));
    }
}
