//! Rows as values.

use std::collections::VecDeque;

use carillon_core::names::{DeviceKey, DeviceToken, SmtpAddress, SubscriptionId, Topic, UserKey};
use carillon_core::shard::{DeviceSettings, NoticeRecord, VipRules, WatchRecord};
use carillon_core::time::UnixMillis;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{RowError, columns};
use crate::ids::{DeviceId, UserId};
use crate::store::{DeviceRow, UserRow};

/// A user with his devices.
pub(super) async fn user_by_id(db: &mut SqliteConnection, id: &UserId) -> Result<Option<UserRow>, RowError> {
    let row = sqlx::query(concat!("SELECT ", user_columns!(), " FROM users WHERE id = ?1"))
        .bind(id.as_str())
        .fetch_optional(&mut *db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let mut user = user(&row)?;
    user.devices = devices(db, user.key).await?;
    Ok(Some(user))
}

/// At most `limit` users after `after`, with their devices.
pub(super) async fn page(
    db: &mut SqliteConnection,
    after: UserKey,
    limit: u32,
) -> Result<Vec<UserRow>, RowError> {
    let rows =
        sqlx::query(concat!("SELECT ", user_columns!(), " FROM users WHERE key > ?1 ORDER BY key LIMIT ?2"))
            .bind(after.0 as i64)
            .bind(limit)
            .fetch_all(&mut *db)
            .await?;
    let mut users = rows.iter().map(user).collect::<Result<Vec<_>, _>>()?;
    let Some(last) = users.last() else { return Ok(users) };
    let rows = sqlx::query(concat!(
        "SELECT ",
        device_columns!(),
        " FROM devices WHERE user > ?1 AND user <= ?2 ORDER BY user, key"
    ))
    .bind(after.0 as i64)
    .bind(last.key.0 as i64)
    .fetch_all(&mut *db)
    .await?;
    let mut devices: VecDeque<_> = rows.iter().map(device).collect::<Result<_, _>>()?;
    for user in &mut users {
        while let Some((_, device)) = devices.pop_front_if(|(owner, _)| *owner == user.key) {
            user.devices.push(device);
        }
    }
    Ok(users)
}

/// The devices of one user, in order of key.
pub(super) async fn devices(db: &mut SqliteConnection, user: UserKey) -> Result<Vec<DeviceRow>, RowError> {
    let rows =
        sqlx::query(concat!("SELECT ", device_columns!(), " FROM devices WHERE user = ?1 ORDER BY key"))
            .bind(user.0 as i64)
            .fetch_all(db)
            .await?;
    rows.iter().map(|row| Ok(device(row)?.1)).collect()
}

/// The columns that [`user`] reads, in its order.
macro_rules! user_columns {
    () => {
        "key, id, address, exchange, grouping, vip_importance, vip_senders, subscription, anchor, cookie, \
         sync_point_ms, told, unread, folders, sync_states, began_ms"
    };
}

/// The columns that [`device`] reads, in its order.
macro_rules! device_columns {
    () => {
        "user, key, id, push, token, topic, registered_ms, active_ms, alerts, details, badges, localized, sound, \
         vip_sound, badge, unsettled_id, unsettled_mails, unsettled_newest, stopped"
    };
}

use {device_columns, user_columns};

fn user(row: &SqliteRow) -> Result<UserRow, RowError> {
    let text = |at: usize| row.try_get::<&str, _>(at);
    let optional = |at: usize| row.try_get::<Option<&str>, _>(at);
    let anchor = optional(8)?.map(|anchor| named("anchor", SmtpAddress::parse(anchor))).transpose()?;
    let subscription = optional(7)?.map(|id| named("subscription", SubscriptionId::parse(id))).transpose()?;
    let cookie = optional(9)?.unwrap_or_default().into();
    let senders = named("VIP senders", columns::read_texts(text(6)?))?;
    Ok(UserRow {
        key: UserKey(row.try_get::<i64, _>(0)? as u64),
        id: named("user id", UserId::parse(text(1)?))?,
        address: named("address", SmtpAddress::parse(text(2)?))?,
        exchange: optional(3)?.map(Box::from),
        grouping: text(4)?.into(),
        vip: VipRules { high_importance: row.try_get(5)?, senders: senders.into() },
        folders: named("folders", columns::read_folders(text(13)?))?,
        sync: named("sync states", columns::read_sync(text(14)?))?,
        watch: anchor.map(|anchor| WatchRecord { subscription, anchor, cookie }),
        notices: NoticeRecord {
            sync_point: UnixMillis(row.try_get::<i64, _>(10)? as u64),
            began: row.try_get::<Option<i64>, _>(15)?.map(|began| UnixMillis(began as u64)),
            told: named("mails told of", columns::read_told(row.try_get(11)?))?,
            unread: row.try_get(12)?,
        },
        devices: Vec::new(),
    })
}

/// A device with its owner.
pub(super) fn device(row: &SqliteRow) -> Result<(UserKey, DeviceRow), RowError> {
    let text = |at: usize| row.try_get::<&str, _>(at);
    let optional = |at: usize| row.try_get::<Option<&str>, _>(at);
    let unsettled = columns::read_unsettled((row.try_get(15)?, row.try_get(16)?, row.try_get(17)?));
    let device = DeviceRow {
        key: DeviceKey(row.try_get::<i64, _>(1)? as u64),
        id: named("device id", DeviceId::parse(text(2)?))?,
        push: text(3)?.into(),
        token: named("token", DeviceToken::parse(text(4)?))?,
        topic: named("topic", Topic::parse(text(5)?))?,
        registered: UnixMillis(row.try_get::<i64, _>(6)? as u64),
        active: UnixMillis(row.try_get::<i64, _>(7)? as u64),
        settings: DeviceSettings {
            alerts: row.try_get(8)?,
            details: row.try_get(9)?,
            badge: row.try_get(10)?,
            localized: row.try_get(11)?,
            sound: optional(12)?.map(Box::from),
            vip_sound: optional(13)?.map(Box::from),
        },
        stopped: row.try_get(18)?,
        badge: row.try_get(14)?,
        unsettled: named("unsettled notice", unsettled)?,
    };
    Ok((UserKey(row.try_get::<i64, _>(0)? as u64), device))
}

fn named<T, E>(column: &'static str, parsed: Result<T, E>) -> Result<T, RowError> {
    parsed.map_err(|_| RowError::Name { column })
}
