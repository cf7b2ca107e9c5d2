//! The client's side of Exchange Web Services, as far as a push engine needs it, without I/O.
//!
//! [`request`] writes SOAP bodies, [`http_request`] puts them in HTTP requests, [`response`] reads the answers,
//! [`StreamConn`] is a GetStreamingEvents connection from its request to its end. What a server says against us is an
//! [`EwsError`]; [`EwsError::action`] says what to do about it. Nothing of this leaves the engine: the rest of it knows
//! [`crate::signal::MailSignal`]s.

mod action;
mod code;
mod datetime;
mod error;
mod event;
mod message;
pub mod request;
pub mod response;
mod route;
mod stream;
#[cfg(test)]
mod tests;
mod xml;

pub use action::{Action, BACK_OFF_DEFAULT_MS, CONNECTIONS_WAIT_MS, MOVE_RETRY_MS, RETRY_MS, STORE_RETRY_MS};
pub use code::ResponseCode;
pub use datetime::{format_date_time, parse_date_time};
pub use error::EwsError;
pub use event::{ConnectionStatus, MailEvent, Notification, StreamMessage, parse_stream_message};
pub use request::{Caller, SchemaVersion};
pub use response::{FetchedItem, FolderCounts, FoundItem, FoundPage, SyncPage};
pub use route::{Route, http_request};
pub use stream::{StreamBreak, StreamConn, StreamEvent};
pub use xml::XmlError;
