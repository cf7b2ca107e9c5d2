//! What a process takes of the processor, and which core it may run on.

use std::path::Path;

use rustix::thread::{CpuSet, sched_setaffinity};

/// CPU time of all threads of a process so far, user and system, in nanoseconds. Linux keeps it exact to the nanosecond in
/// `schedstat`; threads that have ended are not in it, and none ends while somebody measures.
pub(crate) fn time_ns(pid: u32) -> Option<u64> {
    let tasks = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")).ok()?;
    let mut sum = 0;
    for task in tasks.map_while(Result::ok) {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        sum += text.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(sum)
}

/// Keeps this thread, and the threads and processes that it starts from now on, on one core.
pub(crate) fn stay_on(core: usize) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(std::io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time() {
        let before = time_ns(std::process::id()).unwrap();
        let mut sum = 0_u64;
        for number in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_add(number));
        }
        assert!(time_ns(std::process::id()).unwrap() > before, "{sum}");
    }
}
