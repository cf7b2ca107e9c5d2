//! The HTTPS API: devices register here, administrators look and act, and `/metrics` is read.

pub mod backend;
pub mod names;
pub mod types;
