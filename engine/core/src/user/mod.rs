//! One row per mailbox: what waits, what was told, which phones.
//!
//! Mail never waits in a list: it folds into the row. The row keeps the ids of the newest few mails, and for each device
//! the number of mails it has not been told of.

mod device;
mod folder;
mod known;
mod pending;
mod row;
mod setback;

pub use device::{Device, Unsettled};
pub use folder::{Folder, Whose};
pub use known::Known;
pub use pending::{IdForm, Item, Pending, is_after};
pub use row::{Calling, Needs, Polling, Unreadable, User};
pub use setback::Setback;

use crate::arena::Id;

/// Names a user's row.
pub type UserId = Id<User>;
/// Names a device's row.
pub type DeviceId = Id<Device>;

/// Keyed hash (SipHash-2-4) that names a mail or a user outside: in payloads, collapse ids and stored records.
pub fn item_hash(key: &[u8; 16], id: &str) -> u64 {
    use std::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher24::new_with_key(key);
    hasher.write(id.as_bytes());
    hasher.finish()
}
