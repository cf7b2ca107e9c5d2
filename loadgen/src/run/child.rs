//! A process that we started, and that does not outlive us.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::process;

/// A child whose standard output is read line by line. Dropping it kills it.
pub(super) struct Process {
    what: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// Why there is no line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoLine {
    /// Not yet.
    Timeout,
    /// The process has ended or closed its output.
    Ended,
}

impl Process {
    /// Starts it in a process group of its own, so that Ctrl-C reaches us alone.
    pub(super) fn start(what: &'static str, command: &mut Command) -> Result<Process, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start {what} ({program}): {error}"))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || read_lines(BufReader::new(stdout), &sender));
        }
        Ok(Process { what, stdin: child.stdin.take(), child, lines })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    pub(super) fn say(&mut self, mut line: Vec<u8>) -> Result<(), String> {
        line.push(b'\n');
        let stdin = self.stdin.as_mut().ok_or_else(|| format!("{} takes no input any more", self.what))?;
        stdin.write_all(&line).map_err(|error| format!("{} does not listen: {error}", self.what))
    }

    /// The next line of its standard output.
    pub(super) fn line(&self, timeout: Duration) -> Result<String, NoLine> {
        self.lines.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => NoLine::Timeout,
            RecvTimeoutError::Disconnected => NoLine::Ended,
        })
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// SIGKILL, and waits.
    pub(super) fn kill(&mut self) {
        // Both fail only for a process that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, then SIGKILL if it takes too long. Says how long it took; `None` if it had to be killed.
    pub(super) fn terminate(&mut self, patience: Duration) -> Option<Duration> {
        let begun = Instant::now();
        process::terminate(self.pid());
        self.wait_until(begun, patience)
    }

    /// Waits for its end, then SIGKILL if it takes too long.
    pub(super) fn wait(&mut self, patience: Duration) -> Option<Duration> {
        self.wait_until(Instant::now(), patience)
    }

    fn wait_until(&mut self, begun: Instant, patience: Duration) -> Option<Duration> {
        while begun.elapsed() < patience {
            if self.ended().is_some() {
                return Some(begun.elapsed());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_lines(out: impl BufRead, sender: &Sender<String>) {
    for line in out.lines().map_while(Result::ok) {
        if sender.send(line).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::start("a shell", Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn lines_come_and_the_end_is_seen() {
        let mut child = shell("read word; echo \"<$word>\"");
        child.say(b"hello".to_vec()).unwrap();
        assert_eq!(child.line(Duration::from_secs(5)).unwrap(), "<hello>");
        assert_eq!(child.line(Duration::from_secs(5)), Err(NoLine::Ended));
        assert!(child.wait(Duration::from_secs(5)).is_some());
    }

    #[test]
    fn who_does_not_end_is_killed() {
        let mut child = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done");
        child.line(Duration::from_secs(5)).unwrap();
        assert_eq!(child.terminate(Duration::from_millis(100)), None);
        assert!(child.ended().is_some());
    }

    #[test]
    fn dropping_kills() {
        let child = shell("echo ready; sleep 60");
        child.line(Duration::from_secs(5)).unwrap();
        let pid = child.pid();
        drop(child);
        assert_eq!(process::started(pid), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Process::start("carillon", &mut Command::new("/nonexistent/x")).err().unwrap();
        assert!(error.contains("/nonexistent/x") && error.contains("carillon"), "{error}");
    }
}
