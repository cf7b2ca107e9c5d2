//! One row of the charts: what the peers, the engine's process and the phase were at one moment.

use serde::Serialize;

use crate::control::Tick;
use crate::process::Usage;

/// Twice a second.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sample {
    /// Seconds since the run began.
    pub t_s: f64,
    /// What the run was doing.
    pub phase: &'static str,
    /// Mails a second.
    pub mails_per_s: f64,
    /// Accepted pushes a second.
    pub pushes_per_s: f64,
    /// Latency since the sample before, in milliseconds; none if nothing was measured.
    pub latency_p50_ms: Option<f64>,
    /// As above.
    pub latency_p99_ms: Option<f64>,
    /// CPU of the engine's process since the sample before, in percent of one core.
    pub cpu_percent: Option<f64>,
    /// Its resident memory.
    pub rss_mib: Option<f64>,
    /// Its threads.
    pub threads: Option<u64>,
    /// Streaming connections.
    pub streams: u64,
}

/// Makes rates of totals.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    before: Option<(f64, Tick)>,
    cpu_before: Option<(u32, f64, f64)>,
}

impl Sampler {
    /// The row for this moment.
    pub(super) fn row(
        &mut self,
        t_s: f64,
        phase: &'static str,
        tick: &Tick,
        usage: Option<(u32, Usage)>,
    ) -> Sample {
        let mut row = Sample { t_s, phase, streams: tick.streams, ..Sample::default() };
        if let Some((at, before)) = &self.before {
            let span = (t_s - at).max(0.001);
            row.mails_per_s = tick.mails.saturating_sub(before.mails) as f64 / span;
            row.pushes_per_s = tick.pushes.saturating_sub(before.pushes) as f64 / span;
        }
        self.before = Some((t_s, tick.clone()));
        if tick.now.count > 0 {
            row.latency_p50_ms = Some(tick.now.p50);
            row.latency_p99_ms = Some(tick.now.p99);
        }
        if let Some((pid, usage)) = usage {
            // After a restart the count begins anew.
            if let Some((_, at, cpu)) = self.cpu_before.filter(|(before, ..)| *before == pid) {
                row.cpu_percent = Some((usage.cpu_s - cpu).max(0.0) / (t_s - at).max(0.001) * 100.0);
            }
            self.cpu_before = Some((pid, t_s, usage.cpu_s));
            row.rss_mib = Some(usage.rss_bytes as f64 / 1_048_576.0);
            row.threads = Some(usage.threads);
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_become_rates_and_a_restart_does_not_go_negative() {
        let mut sampler = Sampler::default();
        let usage = |cpu_s| Usage { cpu_s, rss_bytes: 2 << 20, rss_bytes_peak: 3 << 20, threads: 4 };
        let tick = |mails, pushes| Tick { mails, pushes, ..Tick::default() };
        sampler.row(1.0, "load", &tick(10, 5), Some((7, usage(1.0))));
        let row = sampler.row(1.5, "load", &tick(60, 10), Some((7, usage(1.1))));
        assert!((row.mails_per_s - 100.0).abs() < 1e-6 && (row.pushes_per_s - 10.0).abs() < 1e-6);
        assert!((row.cpu_percent.unwrap() - 20.0).abs() < 1e-6);
        assert_eq!(row.rss_mib, Some(2.0));
        assert_eq!(sampler.row(2.0, "load", &tick(60, 10), Some((8, usage(0.1)))).cpu_percent, None);
    }
}
