//! The `h2` crate without a runtime: an HTTP/2 connection as a value that is fed, drained and polled.
//!
//! `h2` asks for no runtime, only for tokio's `AsyncRead` and `AsyncWrite`. A pump puts it between two in-memory buffers
//! (the *pipe*) and polls it by hand after everything that could let it go on: bytes fed, bytes drained, a request sent.
//! Its wakers only set a bit. Between pipe and wire stands a frame scanner: it sees what `h2` keeps to itself (the send
//! window, the last stream of a GOAWAY, which requests have wholly left), and on the server's side it does what `h2`
//! cannot (other SETTINGS in mid-connection, GOAWAY with any last stream and debug data, any window policy).
//!
//! [`ClientPump`] carries pushes; [`ServerPump`] is the ground that simulated providers stand on.

mod client;
mod frame;
mod pipe;
mod server;
mod wake;
mod words;

pub use client::{ClientConfig, ClientEvent, ClientPump, Failure, Flight, OpenError, Response};
pub use frame::{FrameHead, code, kind};
pub use server::{
    Answer, Request, RespondError, ServerConfig, ServerEvent, ServerPump, Violation, WindowPolicy,
};

#[cfg(test)]
mod tests;
