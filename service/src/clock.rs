//! The outside's time and chance, for the parts that cannot have them as arguments.

use std::time::{SystemTime, UNIX_EPOCH};

use carillon_core::time::UnixMillis;
use ring::rand::{SecureRandom, SystemRandom};

/// Wall-clock time. A clock before 1970 counts as 1970.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(since.as_millis() as u64)
}

/// 64 random bits.
pub fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    // For jitter and seeds: without randomness, zero is as good as any.
    let _ = SystemRandom::new().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
