//! The simulated Apple Push Notification service: strict where Apple refuses, and with Apple's dynamics.
//!
//! [`Apns`] is the whole service behind [`crate::peer::Peer`]. Below it, [`Service`] judges one request at a time and
//! knows nothing of HTTP/2: keys and apps in [`auth`], tokens in [`registry`], the phone in [`device`]. What can be
//! turned at run time stands in [`Knobs`].

pub mod answer;
mod arrived;
pub mod auth;
mod conn;
pub mod device;
pub mod jwt;
mod knobs;
mod payload;
mod peer;
pub mod registry;
pub mod request;
mod service;
mod stats;
#[cfg(test)]
mod tests;

pub use answer::{Reason, Refusal};
pub use arrived::Arrived;
pub use auth::{Accounts, Certificate, Environment, KeyScope, TeamKey, TokenRules};
pub use jwt::{ProviderKey, WorldKey};
pub use knobs::{Knobs, Latency, Rate, Share, WindowPolicy};
pub use payload::{AlertKind, Payload, PayloadFault};
pub use peer::{Apns, Goaway};
pub use registry::{DeviceIx, TokenSpec};
pub use request::PushType;
pub use service::{Delivery, GoneSince, HEADER_LIST_BYTES_MAX, Origin, Service, Verdict};
pub use stats::{ApnsStats, StrictFault, StrictReport};
