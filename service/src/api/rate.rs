//! How often somebody may call: a token bucket in one atomic word (the generic cell rate algorithm).

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Lets a number of requests a second through, and up to one second's worth at once.
#[derive(Debug)]
pub struct RateBound {
    origin: Instant,
    interval_ns: u64,
    burst_ns: u64,
    /// When the bucket will be full again, in nanoseconds after `origin`.
    full_at_ns: AtomicU64,
}

impl RateBound {
    /// A bound of `per_s` requests a second (at least 1).
    pub fn new(per_s: u32) -> RateBound {
        let interval_ns = 1_000_000_000 / u64::from(per_s.max(1));
        RateBound {
            origin: Instant::now(),
            interval_ns,
            // One request's worth less than a second, as the request itself counts.
            burst_ns: 1_000_000_000 - interval_ns,
            full_at_ns: AtomicU64::new(0),
        }
    }

    /// Takes one request in. `Err`: how many seconds to wait, rounded up.
    pub fn take(&self) -> Result<(), u64> {
        self.take_at(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn take_at(&self, now_ns: u64) -> Result<(), u64> {
        let next = |full_at_ns: u64| {
            let from = full_at_ns.max(now_ns);
            (from - now_ns <= self.burst_ns).then_some(from + self.interval_ns)
        };
        match self.full_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Ok(()),
            Err(full_at_ns) => Err((full_at_ns - now_ns - self.burst_ns).div_ceil(1_000_000_000)),
        }
    }
}

/// So many addresses are told apart; more share their bounds by chance.
const CELLS: usize = 1_024;

/// A bound for each address, in bounded memory.
#[derive(Debug)]
pub struct ByAddress {
    cells: Box<[RateBound]>,
    /// Keyed at random, so that nobody can choose with whom to share.
    keys: RandomState,
}

impl ByAddress {
    /// Each address has a bound of `per_s` requests a second.
    pub fn new(per_s: u32) -> ByAddress {
        let cells = (0..CELLS).map(|_| RateBound::new(per_s)).collect();
        ByAddress { cells, keys: RandomState::new() }
    }

    /// The bound of this address.
    pub fn of(&self, address: IpAddr) -> &RateBound {
        let hash = self.keys.hash_one(address);
        &self.cells[(hash % CELLS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_a_bound_of_its_own() {
        let by_address = ByAddress::new(10);
        let taken = |last: u8| {
            let bound = by_address.of(IpAddr::from([10, 0, 0, last]));
            (0..100).filter(|_| bound.take_at(5).is_ok()).count()
        };
        assert_eq!(taken(1), 10);
        assert_eq!(taken(1), 0);
        // One in a thousand shares a cell with the first.
        let fresh = (2..=251).filter(|last| taken(*last) == 10).count();
        assert!(fresh > 200, "{fresh}");
    }

    #[test]
    fn a_second_of_burst_then_the_rate() {
        let bound = RateBound::new(10);
        let taken = (0..100).filter(|_| bound.take_at(5).is_ok()).count();
        assert_eq!(taken, 10);
        assert_eq!(bound.take_at(5), Err(1));
        assert!(bound.take_at(100_000_005).is_ok());
        assert!(bound.take_at(100_000_006).is_err());
        let taken = (0..100).filter(|_| bound.take_at(90_000_000_000).is_ok()).count();
        assert_eq!(taken, 10, "a long rest saves up no more than a second");
    }

    #[test]
    fn one_a_second_means_one_a_second() {
        let bound = RateBound::new(1);
        assert!(bound.take_at(0).is_ok());
        assert_eq!(bound.take_at(1), Err(1));
        assert!(bound.take_at(1_000_000_000).is_ok());
    }
}
