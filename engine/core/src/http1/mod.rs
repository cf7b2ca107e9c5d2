//! The client's side of HTTP/1.1 (RFC 9112), without I/O: [`Request`] makes the bytes of a request, [`ResponseReader`]
//! takes the bytes of answers apart, [`CallConn`] is a keep-alive connection that makes one call at a time.
//!
//! Only what Exchange needs is here: no pipelining, no upgrade, no `HEAD` or `CONNECT`, no content coding. Every length
//! has a bound in [`crate::limits`]; what breaks a rule is an [`HttpError`] and the end of the connection.

mod call;
mod chunked;
mod clear;
mod cookies;
pub(crate) mod date;
mod error;
mod head;
mod reader;
mod request;
#[cfg(test)]
mod tests;

pub(crate) use call::drain;
pub use call::{CallConn, Response};
pub use chunked::{ChunkedDecoder, Decoded};
pub use clear::{in_clear, status_in_clear};
pub use cookies::Cookies;
pub use error::HttpError;
pub use head::Head;
pub(crate) use head::is_latin1;
pub use reader::{ResponseReader, Step};
pub use request::{Method, Request, RequestError};
