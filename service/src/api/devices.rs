//! Devices: registering, using, removing.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::error::ApiError;
use super::paths::AtDevice;
use super::types::{ActiveRequest, ErrorAnswer, RegisterAnswer, RegisterRequest};
use super::{ApiState, body, registration, strict};
use crate::auth::Caller;

const JSON: &str = "application/json";

/// Register a device, or renew its registration.
///
/// Durable when the answer comes. The first registration of a user starts the watch of the mailbox. A stop of the user ends
/// for the device that registers, and for no other.
#[utoipa::path(
    put,
    path = "/v1/users/{user}/devices/{device}",
    tag = "devices",
    params(
        ("user" = String, Path, description = "The caller's stable id of the user."),
        ("device" = String, Path, description = "The caller's stable id of the device."),
    ),
    request_body = RegisterRequest,
    responses(
        (status = 200, description = "The registration is renewed.", body = RegisterAnswer),
        (status = 201, description = "The device is registered.", body = RegisterAnswer),
        (status = "default", description = "An error.", body = ErrorAnswer),
    ),
    security(("gateway" = []), ("admin" = [])),
)]
pub async fn register(
    State(state): State<ApiState>,
    AtDevice(user, device): AtDevice,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(StatusCode, Json<RegisterAnswer>), ApiError> {
    let request: RegisterRequest = strict::parse(&read_json(&state, request).await?)?;
    let now = state.now();
    let at = Some((user.clone(), device.clone()));
    let write = registration::check(state.app.config(), now, at, request)?;
    let rows = state.app.register(&caller.name, vec![write]).await?;
    let created = rows.first().is_some_and(|row| row.new_device);
    let answer = RegisterAnswer {
        user: user.as_str().to_owned(),
        device: device.as_str().to_owned(),
        registered_at_ms: now.0,
        item_key: state.item_key.clone(),
    };
    Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, Json(answer)))
}

/// Note that the app on a device was used.
///
/// Alerts may carry details again until the detail cut-off. An empty body means now.
#[utoipa::path(
    post,
    path = "/v1/users/{user}/devices/{device}/active",
    tag = "devices",
    params(
        ("user" = String, Path, description = "The caller's stable id of the user."),
        ("device" = String, Path, description = "The caller's stable id of the device."),
    ),
    request_body = Option<ActiveRequest>,
    responses(
        (status = 204, description = "Noted."),
        (status = "default", description = "An error.", body = ErrorAnswer),
    ),
    security(("gateway" = []), ("admin" = [])),
)]
pub async fn active(
    State(state): State<ApiState>,
    AtDevice(user, device): AtDevice,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let request = read_optional_json(&state, request).await?;
    let at = registration::time("at_ms", state.now(), request.at_ms)?;
    found(state.app.touch_device(&caller.name, user, device, at).await?, "device")
}

/// Remove a device. With the last one, the user goes too.
#[utoipa::path(
    delete,
    path = "/v1/users/{user}/devices/{device}",
    tag = "devices",
    params(
        ("user" = String, Path, description = "The caller's stable id of the user."),
        ("device" = String, Path, description = "The caller's stable id of the device."),
    ),
    responses(
        (status = 204, description = "Removed."),
        (status = "default", description = "An error.", body = ErrorAnswer),
    ),
    security(("gateway" = []), ("admin" = [])),
)]
pub async fn remove(
    State(state): State<ApiState>,
    AtDevice(user, device): AtDevice,
    Extension(caller): Extension<Caller>,
) -> Result<StatusCode, ApiError> {
    found(state.app.remove_device(&caller.name, user, device).await?, "device")
}

/// 204, or 404 of `what`.
pub(super) fn found(found: bool, what: &'static str) -> Result<StatusCode, ApiError> {
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::NotFound { what }) }
}

async fn read_json(state: &ApiState, request: Request) -> Result<Vec<u8>, ApiError> {
    body::expect_type(request.headers(), &[JSON])?;
    read_body(state, request).await
}

async fn read_optional_json(state: &ApiState, request: Request) -> Result<ActiveRequest, ApiError> {
    let typed = body::expect_type(request.headers(), &[JSON]);
    let json = read_body(state, request).await?;
    if json.is_empty() {
        return Ok(ActiveRequest::default());
    }
    typed?;
    Ok(strict::parse(&json)?)
}

async fn read_body(state: &ApiState, request: Request) -> Result<Vec<u8>, ApiError> {
    let bytes_max = state.app.config().api.body_bytes_max;
    body::read(request.into_body(), bytes_max, state.bounds.body_time).await
}
