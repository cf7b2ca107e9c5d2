//! What `/proc` tells of a process, and how to end one. Linux.

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

/// CPU time, memory and threads of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// CPU seconds, user and system, since its start.
    pub cpu_s: f64,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// The most that it ever was.
    pub rss_bytes_peak: u64,
    /// Threads.
    pub threads: u64,
}

/// Reads it. `None` when there is no such process.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let fields = stat_fields(&stat)?;
    // proc_pid_stat(5): utime and stime are fields 14 and 15; after the name, field 3 comes first.
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let kib = |key: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().split(' ').next()?.parse().ok()
    };
    Some(Usage {
        cpu_s: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        rss_bytes: kib("VmRSS")? * 1_024,
        rss_bytes_peak: kib("VmHWM")? * 1_024,
        threads: kib("Threads")?,
    })
}

/// When the process was started, in the kernel's ticks: together with the id it names a process for good.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat_fields(&stat)?.get(19)?.parse().ok()
}

/// CPU seconds since the machine started in which its cores were not idle, those that the hypervisor gave to others
/// included.
pub(crate) fn machine_busy_s() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    // proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal.
    let ticks: Vec<u64> =
        stat.lines().next()?.split_ascii_whitespace().skip(1).map_while(|n| n.parse().ok()).collect();
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| ticks.get(*at)).sum();
    Some(busy as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Keeps this thread, and what it starts from now on, on one core.
pub(crate) fn stay_on(core: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| format!("cannot run on core {core} alone: {error}"))
}

/// SIGKILL.
pub(crate) fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// SIGTERM.
pub(crate) fn terminate(pid: u32) {
    signal(pid, Signal::TERM);
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // An error means that it is gone already.
        let _ = kill_process(pid, signal);
    }
}

/// The fields after the process's name, which may have blanks and brackets of its own.
fn stat_fields(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_can_be_seen() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.rss_bytes > 100_000 && usage.rss_bytes_peak >= usage.rss_bytes / 2, "{usage:?}");
        assert!(usage.threads >= 1);
        assert!(started(std::process::id()).unwrap() > 0);
        assert_eq!(super::usage(u32::MAX >> 1), None);
    }

    #[test]
    fn a_name_with_brackets_is_skipped() {
        assert_eq!(stat_fields("12 (a) b) S 1 2").unwrap(), ["S", "1", "2"]);
    }
}
