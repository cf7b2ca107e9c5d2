//! The one place that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use carillon_core::time::{Now, Time, UnixMillis};

/// Reads monotonic and wall-clock time as the core wants them. All shards of an engine share one origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose monotonic time begins at zero now.
    pub fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// Both times.
    pub fn now(&self) -> Now {
        // A wall clock before 1970 is taken for 1970: nothing that the core compares with it becomes younger by that.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { time: self.time(), unix: UnixMillis(unix.as_millis() as u64) }
    }

    /// Monotonic time alone.
    pub fn time(&self) -> Time {
        Time(self.origin.elapsed().as_micros() as u64)
    }
}
