//! Ids out of paths.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::error::{ApiError, Complaint};
use super::registration::name;
use crate::ids::{DeviceId, UserId};

/// `/v1/users/{user}…`
#[derive(Debug)]
pub struct AtUser(pub UserId);

/// `/v1/users/{user}/devices/{device}…`
#[derive(Debug)]
pub struct AtDevice(pub UserId, pub DeviceId);

impl<S: Send + Sync> FromRequestParts<S> for AtUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(user) = Path::<String>::from_request_parts(parts, state).await.map_err(unreadable)?;
        Ok(AtUser(name("user", &user, UserId::parse)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AtDevice {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((user, device)) =
            Path::<(String, String)>::from_request_parts(parts, state).await.map_err(unreadable)?;
        Ok(AtDevice(name("user", &user, UserId::parse)?, name("device", &device, DeviceId::parse)?))
    }
}

fn unreadable(_: PathRejection) -> ApiError {
    Complaint::whole("the path is not percent-encoded UTF-8").into()
}
