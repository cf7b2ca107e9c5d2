//! SOAP as Exchange speaks it: envelopes cut out of a byte stream, and text made safe to stand in one.

mod escape;
mod framer;
#[cfg(test)]
mod tests;

pub use escape::push_escaped;
pub use framer::{FrameError, Framer};
