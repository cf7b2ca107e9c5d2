//! What was measured: as a table, as JSON, as a picture.

use std::fmt::Write;

use serde::Serialize;

/// One row of the comparison.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// The letter that documents call it by.
    pub letter: char,
    /// What was measured.
    pub name: &'static str,
    /// CPU time for each push, in microseconds: one number a round.
    pub cpu_us: Vec<f64>,
    /// Divided by `h2load`'s of the same round.
    pub ratio: Vec<f64>,
    /// Pushes a second, one number a round.
    pub pushes_per_s: Vec<f64>,
    /// Bytes of the body of the newest push.
    pub body_bytes: u64,
}

/// All rows.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// Rounds.
    pub rounds: usize,
    /// Seconds for which each row was measured in each round.
    pub seconds: f64,
    /// Streams in flight.
    pub in_flight: u64,
    /// The cipher suite of all connections.
    pub cipher_suite: &'static str,
    /// In the order in which they ran.
    pub rows: Vec<Row>,
}

/// The middle, and both ends.
pub(crate) struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// None of nothing.
    pub(crate) fn of(numbers: &[f64]) -> Option<Spread> {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Spread { median, low, high })
    }
}

impl Figures {
    /// For a terminal.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{:<44} {:>22} {:>24} {:>10} {:>6}",
            "", "CPU a push, µs", "ratio to h2load", "pushes/s", "body"
        );
        for row in &self.rows {
            let text = |numbers: &[f64], digits: usize| {
                Spread::of(numbers).map_or_else(
                    || "–".to_owned(),
                    |spread| {
                        format!(
                            "{:.*} ({:.*}–{:.*})",
                            digits, spread.median, digits, spread.low, digits, spread.high
                        )
                    },
                )
            };
            let rate = Spread::of(&row.pushes_per_s).map_or(0.0, |spread| spread.median);
            let _ = writeln!(
                out,
                "({}) {:<40} {:>22} {:>24} {rate:>10.0} {:>6}",
                row.letter,
                row.name,
                text(&row.cpu_us, 2),
                text(&row.ratio, 2),
                row.body_bytes
            );
        }
        out
    }

    /// Bars of the medians, with the spread as a line, on one scale.
    pub(crate) fn svg(&self) -> String {
        let rows: Vec<(&Row, Spread)> =
            self.rows.iter().filter_map(|row| Some((row, Spread::of(&row.cpu_us)?))).collect();
        let most = rows.iter().map(|(_, spread)| spread.high).fold(1.0, f64::max);
        let height = TOP + rows.len() as f64 * ROW + 16.0;
        let x = |value: f64| LEFT + value / most * (WIDTH - LEFT - RIGHT);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-label=\"CPU time for each push\"><style>text{{font:13px system-ui,sans-serif;fill:#1c2430}}\
             .quiet{{fill:#66707f}}.bar{{fill:#2563c9}}.base{{fill:#94a0b0}}line{{stroke:#1c2430;stroke-width:1.5}}</style>\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\
             <text x=\"16\" y=\"26\" font-weight=\"600\">CPU time for each push, in microseconds</text>\
             <text x=\"16\" y=\"44\" class=\"quiet\">median of {} rounds of {} s; the line is the spread; ratio to \
             h2load of the same round</text>",
            self.rounds, self.seconds
        );
        for (at, (row, cpu)) in rows.iter().enumerate() {
            let y = TOP + at as f64 * ROW;
            let ratio =
                Spread::of(&row.ratio).map_or_else(String::new, |ratio| format!(" · {:.1} ×", ratio.median));
            let class = if row.letter == 'a' { "base" } else { "bar" };
            let middle = y + BAR / 2.0;
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
                 <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"3\"/>\
                 <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{:.1}<tspan class=\"quiet\">{ratio}</tspan></text>",
                LEFT - 10.0,
                middle + 4.5,
                row.name,
                x(cpu.median) - LEFT,
                x(cpu.low),
                x(cpu.high),
                x(cpu.high) + 8.0,
                middle + 4.5,
                cpu.median,
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 300.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 62.0;
const ROW: f64 = 34.0;
const BAR: f64 = 22.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_the_middle_and_both_ends() {
        let spread =
            |numbers: &[f64]| Spread::of(numbers).map(|spread| (spread.low, spread.median, spread.high));
        assert_eq!(spread(&[3.0, 1.0, 9.0]), Some((1.0, 3.0, 9.0)));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]), Some((1.0, 3.0, 9.0)));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_row_that_was_not_measured_has_a_dash_and_no_bar() {
        let row = |letter, cpu_us: &[f64]| Row {
            letter,
            name: "some client",
            cpu_us: cpu_us.to_vec(),
            ratio: Vec::new(),
            pushes_per_s: Vec::new(),
            body_bytes: 254,
        };
        let figures = Figures {
            rounds: 1,
            seconds: 2.0,
            in_flight: 100,
            cipher_suite: "x",
            rows: vec![row('a', &[]), row('b', &[4.5])],
        };
        assert!(figures.table().contains('–') && figures.table().contains("4.50"));
        assert_eq!(figures.svg().matches("<line ").count(), 1);
    }
}
