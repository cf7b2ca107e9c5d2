//! Log lines that may come by the thousand: a few at once, then a few a minute; or one an hour about each; and a count of
//! those held back.

use std::collections::HashMap;
use std::hash::Hash;
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

/// One line an hour about each.
#[derive(Debug)]
pub struct Hourly<T>(Mutex<HashMap<T, Told>>);

#[derive(Clone, Copy, Debug)]
struct Told {
    at: Instant,
    held_back: u64,
}

const HOUR: Duration = Duration::from_secs(3_600);

/// From so many on, what is older than an hour is forgotten as others come.
const KEPT_MIN: usize = 1_024;

impl<T> Default for Hourly<T> {
    fn default() -> Hourly<T> {
        Hourly(Mutex::new(HashMap::new()))
    }
}

impl<T: Eq + Hash> Hourly<T> {
    /// Whether a line about `one` may be written now; if so, how many were held back since the last one.
    pub fn take(&self, one: T) -> Option<u64> {
        self.take_at(one, Instant::now())
    }

    fn take_at(&self, one: T, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |told: &Told| now.saturating_duration_since(told.at) >= HOUR;
        if let Some(known) = told.get_mut(&one) {
            if !is_over(known) {
                known.held_back += 1;
                return None;
            }
            let held_back = known.held_back;
            *known = Told { at: now, held_back: 0 };
            return Some(held_back);
        }
        // Only when the table would grow, so that each walk is paid for by as many lines.
        if told.len() >= KEPT_MIN && told.len() == told.capacity() {
            told.retain(|_, told| !is_over(told));
        }
        told.insert(one, Told { at: now, held_back: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_an_hour_about_each_and_none_is_forgotten() {
        let hourly = Hourly::default();
        let start = Instant::now();
        let at = |one: u32, s: u64| hourly.take_at(one, start + Duration::from_secs(s));
        assert_eq!((at(1, 0), at(2, 1)), (Some(0), Some(0)));
        assert_eq!((0..100).filter(|n| at(1, 10 + n).is_some()).count(), 0);
        assert_eq!((at(1, 3_599), at(1, 3_600)), (None, Some(101)));
        assert_eq!((at(1, 3_601), at(2, 3_601)), (None, Some(0)));
    }

    #[test]
    fn whoever_was_told_of_more_than_an_hour_ago_takes_no_room() {
        let hourly = Hourly::default();
        let start = Instant::now();
        for hour in 0..20_u32 {
            for one in 0..1_000_u32 {
                let at = start + HOUR * hour + Duration::from_secs(u64::from(one));
                assert_eq!(hourly.take_at((hour, one), at), Some(0));
            }
        }
        let kept = hourly.0.lock().unwrap().len();
        assert!(kept <= 4_000, "{kept} of 20,000");
    }

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
