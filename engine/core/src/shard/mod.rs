//! One core's share of users, cohorts, lanes and timers, as a value that can be stepped.

mod account;
mod answer;
mod app;
mod asking;
mod bisect;
mod blame;
mod budget;
mod calls;
mod catch_up;
mod check;
mod cohort;
mod command;
mod config;
mod conn;
mod conns;
mod core;
mod credential;
mod dispatch;
mod effect;
mod farewell;
mod fetch;
mod flight;
mod fold;
mod folders;
mod group;
mod health;
mod holders;
mod input;
mod membership;
mod openings;
mod polling;
mod queue;
mod refusals;
mod refused;
mod remedy;
mod report;
mod room;
mod server;
mod service;
mod settle;
mod slow;
mod stats;
mod stream;
mod stream_life;
mod tell;
mod users;
mod version;
mod wire;

pub use self::core::{Budget, More, ShardCore};
pub use account::{AccountNews, AccountWord, Accounts, Verdict};
pub use cohort::CohortId;
pub use command::{
    AssignUser, Command, DeviceSettings, DeviceSpec, MailCredential, UnsettledNotice, VipRules,
};
pub use config::{
    BadgeCount, CatchUp, Endpoint, EndpointId, MailServer, MailServerId, Protocol, PushAuth, PushService,
    PushServiceId, ShardConfig, TeamId, Timing,
};
pub use effect::{Effect, Effects};
pub use flight::FlightId;
pub use input::{CloseReason, ConnId, ConnMark, Input};
pub use queue::Place;
pub use refusals::Refusals;
pub use report::{DroppedFolder, FolderSync, NoticeRecord, Report, ToldMail, Trouble, WatchRecord};
pub use stats::{ANSWERS, BLOCKED, PushTimes, ShardStats};
