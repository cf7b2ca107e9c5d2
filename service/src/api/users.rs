//! Users: looking, stopping, removing.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use carillon_core::shard::MailServerId;
use carillon_core::shard::{DroppedFolder, Trouble};

use super::ApiState;
use super::devices::found;
use super::error::ApiError;
use super::paths::AtUser;
use super::types::{
    DeviceView, DroppedFolderView, ErrorAnswer, SettingsView, TroubleView, UserView, VipRequest, WatchView,
};
use crate::auth::Caller;
use crate::directory::Watch;
use crate::store::{DeviceRow, UserRow};

/// Digits of a token that are shown.
const TOKEN_DIGITS_SHOWN: usize = 4;

/// Read a user with his devices.
#[utoipa::path(
    get,
    path = "/v1/users/{user}",
    tag = "users",
    params(("user" = String, Path, description = "The caller's stable id of the user.")),
    responses(
        (status = 200, description = "The user.", body = UserView),
        (status = "default", description = "An error.", body = ErrorAnswer),
    ),
    security(("gateway" = []), ("admin" = [])),
)]
pub async fn read(State(state): State<ApiState>, AtUser(user): AtUser) -> Result<Json<UserView>, ApiError> {
    let row = state.app.read_user(&user).await?.ok_or(ApiError::NotFound { what: "user" })?;
    let directory = state.app.directory();
    let at = state.app.config().exchange.iter().position(|one| Some(&*one.name) == row.exchange.as_deref());
    let server = at.map(|at| directory.mail_server(MailServerId(at as u16))).unwrap_or_default();
    let watch = directory.watch(row.key).unwrap_or_default().at(&server);
    let dropped = directory.dropped_folders(row.key);
    let unreadable = directory.unreadable(row.key);
    Ok(Json(user_view(row, &watch, unreadable.as_deref(), dropped)))
}

/// Stop all notifications of a user at once: each device that is there gets nothing until it registers again.
#[utoipa::path(
    post,
    path = "/v1/users/{user}/stop",
    tag = "admin",
    params(("user" = String, Path, description = "The caller's stable id of the user.")),
    responses(
        (status = 204, description = "Stopped."),
        (status = "default", description = "An error.", body = ErrorAnswer),
    ),
    security(("admin" = [])),
)]
pub async fn stop(
    State(state): State<ApiState>,
    AtUser(user): AtUser,
    Extension(caller): Extension<Caller>,
) -> Result<StatusCode, ApiError> {
    found(state.app.stop_user(&caller.name, user).await?, "user")
}

/// Remove a user with all his devices.
#[utoipa::path(
    delete,
    path = "/v1/users/{user}",
    tag = "admin",
    params(("user" = String, Path, description = "The caller's stable id of the user.")),
    responses(
        (status = 204, description = "Removed."),
        (status = "default", description = "An error.", body = ErrorAnswer),
    ),
    security(("admin" = [])),
)]
pub async fn remove(
    State(state): State<ApiState>,
    AtUser(user): AtUser,
    Extension(caller): Extension<Caller>,
) -> Result<StatusCode, ApiError> {
    found(state.app.remove_user(&caller.name, user).await?, "user")
}

fn user_view(
    row: UserRow,
    watch: &Watch,
    unreadable: Option<&Trouble>,
    dropped: Vec<DroppedFolder>,
) -> UserView {
    let (trouble, stopped) = (watch.trouble().or(unreadable), row.is_stopped());
    let dropped = dropped.into_iter().map(|folder| DroppedFolderView {
        id: folder.id.as_str().to_owned(),
        trouble: TroubleView::new(&folder.trouble),
    });
    UserView {
        user: row.id.as_str().to_owned(),
        number: row.key.0,
        address: row.address.as_str().to_owned(),
        exchange: row.exchange.map(String::from),
        stopped,
        watch: WatchView { state: watch.name().to_owned(), trouble: trouble.map(TroubleView::new) },
        vip: VipRequest {
            high_importance: row.vip.high_importance,
            senders: row.vip.senders.iter().map(|sender| sender.to_string()).collect(),
        },
        folders: row.folders.iter().map(|id| id.as_str().to_owned()).collect(),
        dropped_folders: dropped.collect(),
        devices: row.devices.into_iter().map(device_view).collect(),
    }
}

fn device_view(row: DeviceRow) -> DeviceView {
    DeviceView {
        device: row.id.as_str().to_owned(),
        number: row.key.0,
        push: row.push.into(),
        topic: row.topic.as_str().to_owned(),
        token_start: row.token.as_str().chars().take(TOKEN_DIGITS_SHOWN).collect(),
        registered_at_ms: row.registered.0,
        active_at_ms: row.active.0,
        stopped: row.stopped,
        settings: SettingsView {
            alerts: row.settings.alerts,
            details: row.settings.details,
            badge: row.settings.badge,
            localized: row.settings.localized,
            sound: row.settings.sound.map(String::from),
            vip_sound: row.settings.vip_sound.map(String::from),
        },
    }
}
