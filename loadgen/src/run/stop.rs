//! Ctrl-C and SIGTERM: the run ends early, and in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether the run is to end early.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
}

impl Stop {
    /// Catches the signals from now on. A second one ends the process at once; the peers then clean up.
    pub(crate) fn watch() -> Result<Stop, String> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register_conditional_shutdown(signal, EXIT_STATUS, Arc::clone(&asked))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&asked)))
                .map_err(|error| format!("cannot watch for signals: {error}"))?;
        }
        Ok(Stop { asked })
    }

    /// Whether a signal came.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// An error if a signal came.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.asked() { Err("the run is not finished".to_owned()) } else { Ok(()) }
    }
}

/// As a shell has it for Ctrl-C.
const EXIT_STATUS: i32 = 130;
