//! One core's share of users, cohorts, lanes and timers, as a value that can be stepped.

mod command;
mod config;
mod core;
mod effect;
mod input;
mod report;
mod stats;

pub use self::core::{Budget, More, ShardCore};
pub use command::{
    AssignUser, Command, DeviceSettings, DeviceSpec, MailCredential, UnsettledNotice, VipRules,
};
pub use config::{
    Endpoint, EndpointId, MailServer, MailServerId, Protocol, PushAuth, PushService, PushServiceId,
    ShardConfig, TeamId, Timing,
};
pub use effect::{Effect, Effects};
pub use input::{CloseReason, ConnId, ConnMark, Input};
pub use report::{NoticeRecord, Report, Trouble, WatchRecord};
pub use stats::{ANSWERS, PushTimes, ShardStats};
