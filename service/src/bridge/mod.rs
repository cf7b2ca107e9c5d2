//! Between store, configuration and engine: each in the words of the others.

mod intake;
mod keeper;
mod pending;
mod setup;
mod start;

pub use intake::{Intake, Lines};
pub use keeper::{Keeper, KeeperStats};
pub use pending::Pending;
pub use setup::{
    engine_config, exchange_endpoint, exchange_server, exchange_tls, journal_dir, key_file, push_endpoint,
    push_tls,
};
pub use start::{Assigned, ReplayError, assign_all, replay};

use carillon_core::shard::{AssignUser, DeviceSpec, MailServerId, PushServiceId};

use crate::config::Config;
use crate::store::{DeviceRow, UserRow};

/// A stored user in the engine's words. Devices of a provider that is no longer configured are left out.
pub fn assign_user(config: &Config, row: &UserRow) -> AssignUser {
    AssignUser {
        user: row.key,
        address: row.address.clone(),
        server: row.exchange.as_deref().and_then(|name| mail_server(config, name)),
        grouping: row.grouping.clone(),
        folders: row.folders.clone(),
        sync: row.sync.clone(),
        watch: row.watch.clone(),
        notices: row.notices.clone(),
        vip: row.vip.clone(),
        devices: row.devices.iter().filter_map(|device| device_spec(config, device)).collect(),
    }
}

/// A stored device in the engine's words; `None` when its provider is no longer configured.
pub fn device_spec(config: &Config, row: &DeviceRow) -> Option<DeviceSpec> {
    Some(DeviceSpec {
        device: row.key,
        service: push_service(config, &row.push)?,
        token: row.token.clone(),
        topic: row.topic.clone(),
        registered: row.registered,
        active: row.active,
        settings: row.settings.clone(),
        stopped: row.stopped,
        badge: row.badge,
        unsettled: row.unsettled,
    })
}

/// The place of the `[[exchange]]` of that name.
pub fn mail_server(config: &Config, name: &str) -> Option<MailServerId> {
    let at = config.exchange.iter().position(|exchange| &*exchange.name == name)?;
    u16::try_from(at).ok().map(MailServerId)
}

/// The place of the `[[push]]` of that name.
pub fn push_service(config: &Config, name: &str) -> Option<PushServiceId> {
    let at = config.push.iter().position(|push| &*push.name == name)?;
    u16::try_from(at).ok().map(PushServiceId)
}
