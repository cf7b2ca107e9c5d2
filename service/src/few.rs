//! Log lines that may come by the thousand: a few at once, then a few a minute, and a count of those held back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many lines at once.
const BURST: u32 = 20;

/// One more after each of these.
const EACH: Duration = Duration::from_secs(10);

/// Lets a few lines of one kind through.
#[derive(Debug)]
pub struct Few(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    left: u32,
    counted: Instant,
    held_back: u64,
}

impl Default for Few {
    fn default() -> Few {
        Few(Mutex::new(Inner { left: BURST, counted: Instant::now(), held_back: 0 }))
    }
}

impl Few {
    /// Whether a line may be written now; if so, how many were held back since the last one.
    pub fn take(&self) -> Option<u64> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Option<u64> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let more = now.saturating_duration_since(inner.counted).as_secs() / EACH.as_secs();
        if more > 0 {
            inner.left = inner.left.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)).min(BURST);
            inner.counted = now;
        }
        if inner.left == 0 {
            inner.held_back += 1;
            return None;
        }
        inner.left -= 1;
        Some(std::mem::take(&mut inner.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_at_once_then_a_few_a_minute_and_none_is_forgotten() {
        let few = Few::default();
        let start = Instant::now();
        let at = |s: u64| few.take_at(start + Duration::from_secs(s));
        let written = (0..1_000).filter(|_| at(0).is_some()).count();
        assert_eq!(written, 20);
        assert_eq!(at(9), None);
        assert_eq!(at(10), Some(981));
        assert_eq!(at(11), None);
        assert_eq!((at(30), at(30)), (Some(1), Some(0)));
        assert_eq!((0..100).filter(|_| at(10_000).is_some()).count(), 20, "a long rest saves up no more");
    }
}
