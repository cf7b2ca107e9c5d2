//! Who changed what: one line at `info` for each change of what is watched and where it is pushed.
//!
//! Users and devices stand in it with the numbers that the database gave them, callers with the names of their tokens.
//! Neither an address nor a token is in it.

use crate::store::Wrote;

/// Says what became of a change that `by` asked for.
pub fn note(by: &str, wrote: &Wrote) {
    match wrote {
        Wrote::Registered(row) => {
            let (user, device) = (row.user.0, row.device.key.0);
            for gone in &row.removed {
                let (from_user, from_device) = (gone.user.0, gone.device.0);
                if gone.user != row.user {
                    tracing::info!(
                        change = "token_changed_hands",
                        by,
                        user,
                        device,
                        from_user,
                        from_device,
                        user_removed = gone.last,
                        "a device token went from another user to this one"
                    );
                } else {
                    tracing::info!(
                        change = "device_replaced",
                        by,
                        user,
                        device,
                        from_device,
                        "a device gave way to another"
                    );
                }
            }
            if row.new_user {
                tracing::info!(change = "new_user", by, user, device, "a user is new");
            } else if row.new_device {
                tracing::info!(change = "new_device", by, user, device, "a device is new");
            }
            if row.moved {
                tracing::info!(change = "new_address", by, user, device, "a user has another mailbox");
            }
        }
        Wrote::DeviceRemoved { user, device, last } => {
            let (user, device) = (user.0, device.0);
            tracing::info!(
                change = "device_removed",
                by,
                user,
                device,
                user_removed = last,
                "a device is removed"
            );
        }
        Wrote::Stopped { user, already: false } => {
            tracing::info!(change = "stopped", by, user = user.0, "a user's devices are stopped");
        }
        Wrote::UserRemoved { user, devices } => {
            tracing::info!(change = "user_removed", by, user = user.0, devices, "a user is removed");
        }
        Wrote::Touched { .. } | Wrote::Stopped { already: true, .. } | Wrote::NotFound => {}
    }
}
