//! Carillon service.
