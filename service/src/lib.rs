//! Carillon service.

pub mod api;
pub mod metrics;
