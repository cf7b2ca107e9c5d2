//! Queues of devices: each device stands in at most one, and can leave it from any place.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use crate::user::DeviceId;

/// Devices that wait, in the order of their places.
pub(super) type Queue = BTreeMap<Place, DeviceId>;

/// A place in a queue; no two in a shard are the same, so that queues can be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(NonZeroU64);

/// Gives out places.
#[derive(Debug, Default)]
pub(super) struct Places {
    given: u64,
}

impl Places {
    /// Behind all that were given before.
    pub(super) fn last(&mut self) -> Place {
        self.given += 1;
        Place(NonZeroU64::MIN.saturating_add(self.given))
    }
}
