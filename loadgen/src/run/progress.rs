//! What one sees while it runs: a bar on a terminal, plain lines elsewhere.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::sampler::Sample;
use crate::control::Tick;

/// The display.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    phase: &'static str,
    phase_begun: Instant,
    begun: Instant,
    last_line: Instant,
    pace: Pace,
}

impl Progress {
    pub(super) fn new(begun: Instant) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(8));
            bar.set_style(style());
            bar
        });
        Progress { bar, phase: "", phase_begun: begun, begun, last_line: begun, pace: Pace::default() }
    }

    /// A new phase of so many steps.
    pub(super) fn phase(&mut self, phase: &'static str, steps: u64) {
        self.end_phase();
        (self.phase, self.phase_begun) = (phase, Instant::now());
        self.pace = Pace { steps, ..Pace::default() };
        match &self.bar {
            Some(bar) => {
                bar.reset();
                bar.set_length(steps.max(1));
                bar.set_prefix(phase);
                bar.set_message(String::new());
            }
            None => println!("{:7.1} s  {phase} …", self.begun.elapsed().as_secs_f64()),
        }
        self.last_line = Instant::now();
    }

    /// So many steps are done.
    pub(super) fn at(&mut self, steps: u64) {
        self.pace.at(self.phase_begun.elapsed(), steps);
        if let Some(bar) = &self.bar {
            bar.set_position(steps);
        }
    }

    /// So many steps of so many are done.
    pub(super) fn of(&mut self, done: u64, steps: u64) {
        self.pace.steps = steps;
        self.pace.at(self.phase_begun.elapsed(), done);
        if let Some(bar) = &self.bar {
            bar.set_length(steps.max(1));
            bar.set_position(done);
        }
    }

    /// What was measured.
    pub(super) fn sample(&mut self, row: &Sample, tick: &Tick) {
        let text = self.pace.text() + &describe(row, tick);
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None if self.last_line.elapsed() >= PLAIN_EVERY => {
                self.last_line = Instant::now();
                println!("{:7.1} s  {}: {text}", row.t_s, self.phase);
            }
            None => {}
        }
    }

    /// A line for people, above the bar.
    pub(super) fn say(&mut self, text: &str) {
        let line = format!("{:7.1} s  {text}", self.begun.elapsed().as_secs_f64());
        match &self.bar {
            Some(bar) => bar.println(line),
            None => println!("{line}"),
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&mut self) {
        self.end_phase();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn end_phase(&self) {
        if let Some(bar) = self.bar.as_ref().filter(|_| !self.phase.is_empty()) {
            let (at, took) = (self.begun.elapsed().as_secs_f64(), self.phase_begun.elapsed().as_secs_f64());
            bar.println(format!("{at:7.1} s  {} took {took:.1} s", self.phase));
        }
    }
}

/// How far a phase is, and how long the rest will take.
#[derive(Debug, Default)]
struct Pace {
    steps: u64,
    /// When how many steps were done, of late.
    marks: VecDeque<(Duration, u64)>,
}

impl Pace {
    fn at(&mut self, elapsed: Duration, done: u64) {
        if self.marks.back().is_none_or(|(at, _)| elapsed >= *at + MARK_EVERY) {
            self.marks.push_back((elapsed, done));
        }
        while self.marks.len() > 2 && self.marks[1].0 + PACE_OF < elapsed {
            self.marks.pop_front();
        }
    }

    /// What is left at the pace of late; none while nothing moves.
    fn left(&self) -> Option<Duration> {
        let ((from, first), (to, last)) = (self.marks.front()?, self.marks.back()?);
        let pace = last.saturating_sub(*first) as f64 / to.saturating_sub(*from).as_secs_f64();
        let left = self.steps.saturating_sub(*last) as f64 / pace;
        (left.is_finite() && left > 0.0).then(|| Duration::from_secs_f64(left.min(LEFT_S_MAX)))
    }

    fn text(&self) -> String {
        let Some((_, done)) = self.marks.back().filter(|_| self.steps > 1) else { return String::new() };
        let percent = done.min(&self.steps) * 100 / self.steps;
        match self.left() {
            Some(left) => format!("{percent} %, about {} left; ", in_words(left)),
            None => format!("{percent} %; "),
        }
    }
}

fn in_words(time: Duration) -> String {
    match time.as_secs_f64().ceil() as u64 {
        seconds @ 0..=99 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

fn describe(row: &Sample, tick: &Tick) -> String {
    use std::fmt::Write;
    let mut text = format!("{:.0} mails/s, {:.0} pushes/s", row.mails_per_s, row.pushes_per_s);
    // Writing to a String cannot fail.
    if tick.all.count > 0 {
        let _ = write!(text, ", latency p50 {:.1} p99 {:.1} ms", tick.all.p50, tick.all.p99);
    }
    if let Some(cpu) = row.cpu_percent {
        let _ = write!(text, ", CPU {cpu:.0} %");
    }
    if let Some(rss) = row.rss_mib {
        let _ = write!(text, ", {rss:.0} MiB");
    }
    if tick.faults > 0 {
        let _ = write!(text, ", {} faults", tick.faults);
    }
    text
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{elapsed:>7}  {prefix:<12} {bar:24.cyan/blue} {percent:>3} %  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

/// Between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// The pace is taken from so long.
const PACE_OF: Duration = Duration::from_secs(20);

/// Between two marks of it.
const MARK_EVERY: Duration = Duration::from_millis(500);

/// No estimate is longer.
const LEFT_S_MAX: f64 = 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_the_pace_of_late() {
        let mut pace = Pace { steps: 1_000, ..Pace::default() };
        assert_eq!(pace.text(), "");
        let seconds = Duration::from_secs;
        for s in 0..=20 {
            pace.at(seconds(s), s * 2);
        }
        assert_eq!((pace.left(), pace.text().as_str()), (Some(seconds(480)), "4 %, about 8 min left; "));
        // Ten times as fast: after a while only that counts.
        for s in 21..=45 {
            pace.at(seconds(s), 40 + (s - 20) * 20);
        }
        assert_eq!((pace.left(), pace.text().as_str()), (Some(seconds(23)), "54 %, about 23 s left; "));
        // It stands still.
        for s in 46..=70 {
            pace.at(seconds(s), 540);
        }
        assert_eq!((pace.left(), pace.text().as_str()), (None, "54 %; "));
    }
}
