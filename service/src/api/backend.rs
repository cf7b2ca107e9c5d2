//! What the API needs of the service behind it. The service's `App` is the real one; tests of the API bring their own.

use std::future::Future;

use carillon_core::names::{DeviceToken, SmtpAddress, Topic};
use carillon_core::shard::{DeviceSettings, VipRules};
use carillon_core::time::UnixMillis;

use super::names::{DeviceId, UserId};
use super::types::{StatusView, UserView};
use crate::metrics::Snapshot;

/// A registration that has been checked: nothing in it needs a second look.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Whose device.
    pub user: UserId,
    /// Which device.
    pub device: DeviceId,
    /// The mailbox.
    pub address: SmtpAddress,
    /// Name of a configured `[[exchange]]`; `None` only where none is configured.
    pub exchange: Option<Box<str>>,
    /// Name of a configured `[[push]]`.
    pub push: Box<str>,
    /// The device's token.
    pub token: DeviceToken,
    /// The app, one of the topics of `push`.
    pub topic: Topic,
    /// Exchange's `GroupingInformation`, empty where the caller does not know it.
    pub grouping: Box<str>,
    /// What the device wants to see.
    pub settings: DeviceSettings,
    /// Which mails go first, for the whole user. `None` leaves the rules as they are.
    pub vip: Option<VipRules>,
    /// When the app was last used, not later than `registered`.
    pub active: UnixMillis,
    /// Now: news of a dead token from before does not count.
    pub registered: UnixMillis,
}

/// What became of a [`Registration`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The device is new.
    Created,
    /// The device was known; its data are replaced.
    Refreshed,
    /// It cannot be taken.
    Refused {
        /// The member of the request that is to blame.
        field: &'static str,
        /// Why, as a sentence for the caller.
        message: String,
    },
}

/// The store cannot do it at present.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(
    /// Why, for the log. The caller is only told to come again.
    pub String,
);

/// What the API asks of the service.
///
/// All changes are durable when the future resolves. The engine may learn of them a moment later: when its queue is
/// full, whoever implements this keeps the change and hands it over as soon as there is room.
pub trait Backend: Send + Sync + 'static {
    /// Stores registrations, all in one transaction. The answers are in the same order.
    fn register(
        &self,
        registrations: Vec<Registration>,
    ) -> impl Future<Output = Result<Vec<Registered>, Unavailable>> + Send;

    /// The app on this device was used at `at`. False: there is no such device.
    fn touch(
        &self,
        user: &UserId,
        device: &DeviceId,
        at: UnixMillis,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// Forgets a device. False: there is no such device.
    fn remove_device(
        &self,
        user: &UserId,
        device: &DeviceId,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// What is known of a user.
    fn user(&self, user: &UserId) -> impl Future<Output = Result<Option<UserView>, Unavailable>> + Send;

    /// Stops all notifications of a user until a device registers again. False: there is no such user.
    fn stop_user(&self, user: &UserId) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// Forgets a user and his devices. False: there is no such user.
    fn remove_user(&self, user: &UserId) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// The state of the whole.
    fn status(&self) -> impl Future<Output = StatusView> + Send;

    /// All numbers for `/metrics`.
    fn snapshot(&self) -> impl Future<Output = Snapshot> + Send;

    /// What is not ready, a word for each part (`store`, `engine`); empty when all is well.
    fn not_ready(&self) -> impl Future<Output = Vec<&'static str>> + Send;

    /// The key of the hashes that name mails in payloads, as hex, where the app may have it.
    fn item_key(&self) -> Option<String>;
}
