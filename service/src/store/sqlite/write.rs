//! What callers ask for, as SQL.

use carillon_core::limits::{CLOCK_SKEW_MS_MAX, USER_DEVICES_MAX};
use carillon_core::names::{DeviceKey, FolderId, UserKey};
use carillon_core::time::UnixMillis;
use sqlx::{Row, SqliteConnection};

use super::columns::write_texts;
use super::{RowError, rows};
use crate::ids::{DeviceId, UserId};
use crate::store::{DeviceRow, RegisterWrite, RegisteredRow, RemovedDevice, UserRow, Write, Wrote};

pub(super) async fn write(db: &mut SqliteConnection, write: &Write) -> Result<Wrote, RowError> {
    match write {
        Write::Register(register) => Ok(Wrote::Registered(Box::new(register_device(db, register).await?))),
        Write::Touch { user, device, at } => touch(db, user, device, *at).await,
        Write::RemoveDevice { user, device } => {
            let Some((user, device)) = keys(db, user, device).await? else { return Ok(Wrote::NotFound) };
            let last = remove_device(db, user, device).await?;
            Ok(Wrote::DeviceRemoved { user, device, last })
        }
        Write::StopUser { user } => {
            let Some(user) = user_key(db, user).await? else { return Ok(Wrote::NotFound) };
            // A notice on its way is not told any more, whatever became of it.
            let stop = sqlx::query(
                "UPDATE devices SET stopped = 1, unsettled_id = NULL, unsettled_mails = NULL, unsettled_newest = NULL
                 WHERE user = ?1 AND stopped = 0",
            );
            let stopped = stop.bind(user.0 as i64).execute(db).await?.rows_affected();
            Ok(Wrote::Stopped { user, already: stopped == 0 })
        }
        Write::RemoveUser { user } => {
            let Some(user) = user_key(db, user).await? else { return Ok(Wrote::NotFound) };
            let devices = sqlx::query("DELETE FROM devices WHERE user = ?1").bind(user.0 as i64);
            let devices = devices.execute(&mut *db).await?.rows_affected() as u32;
            remove_user(db, user).await?;
            Ok(Wrote::UserRemoved { user, devices })
        }
    }
}

/// Takes a device away, and its owner if it was his last. True: he went too.
pub(super) async fn remove_device(
    db: &mut SqliteConnection,
    user: UserKey,
    device: DeviceKey,
) -> Result<bool, RowError> {
    sqlx::query("DELETE FROM devices WHERE key = ?1").bind(device.0 as i64).execute(&mut *db).await?;
    let left: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM devices WHERE user = ?1)")
        .bind(user.0 as i64)
        .fetch_one(&mut *db)
        .await?;
    if !left {
        remove_user(db, user).await?;
    }
    Ok(!left)
}

async fn remove_user(db: &mut SqliteConnection, user: UserKey) -> Result<(), RowError> {
    sqlx::query("DELETE FROM users WHERE key = ?1").bind(user.0 as i64).execute(db).await?;
    Ok(())
}

async fn user_key(db: &mut SqliteConnection, user: &UserId) -> Result<Option<UserKey>, RowError> {
    let row = sqlx::query("SELECT key FROM users WHERE id = ?1").bind(user.as_str());
    let Some(row) = row.fetch_optional(db).await? else { return Ok(None) };
    Ok(Some(UserKey(row.try_get::<i64, _>(0)? as u64)))
}

async fn keys(
    db: &mut SqliteConnection,
    user: &UserId,
    device: &DeviceId,
) -> Result<Option<(UserKey, DeviceKey)>, RowError> {
    let row = sqlx::query(
        "SELECT u.key, d.key FROM users u JOIN devices d ON d.user = u.key WHERE u.id = ?1 AND d.id = ?2",
    );
    let row = row.bind(user.as_str()).bind(device.as_str());
    let Some(row) = row.fetch_optional(db).await? else { return Ok(None) };
    let (user, device): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Some((UserKey(user as u64), DeviceKey(device as u64))))
}

async fn touch(
    db: &mut SqliteConnection,
    user: &UserId,
    device: &DeviceId,
    at: UnixMillis,
) -> Result<Wrote, RowError> {
    let Some((user, device)) = keys(db, user, device).await? else { return Ok(Wrote::NotFound) };
    // What lies in the future comes from a clock that was wrong: believed, it would hide every use until then.
    let at: i64 = sqlx::query_scalar(
        "UPDATE devices SET active_ms = max(iif(active_ms > ?3, 0, active_ms), ?2) WHERE key = ?1 RETURNING active_ms",
    )
    .bind(device.0 as i64)
    .bind(at.0 as i64)
    .bind((crate::clock::now().0 + CLOCK_SKEW_MS_MAX) as i64)
    .fetch_one(db)
    .await?;
    Ok(Wrote::Touched { user, device, at: UnixMillis(at as u64) })
}

async fn register_device(
    db: &mut SqliteConnection,
    register: &RegisterWrite,
) -> Result<RegisteredRow, RowError> {
    let old = rows::user_by_id(db, &register.user).await?;
    let (new_user, old) = (old.is_none(), old.as_ref());
    let old_device = old.and_then(|user| user.devices.iter().find(|device| device.id == register.device));
    let mut removed = Vec::new();

    let (user, changed) = match old {
        None => (insert_user(db, register).await?, true),
        Some(old) => (old.key, update_user(db, old, register).await?),
    };

    // A token that somebody else registered before has changed hands: his mail must not show on this phone.
    let owner = sqlx::query("SELECT key, user FROM devices WHERE token = ?1 AND topic = ?2 AND push = ?3")
        .bind(register.token.as_str())
        .bind(register.topic.as_str())
        .bind(&*register.push)
        .fetch_optional(&mut *db)
        .await?;
    if let Some(owner) = owner {
        let device = DeviceKey(owner.try_get::<i64, _>(0)? as u64);
        if old_device.is_none_or(|old| old.key != device) {
            let owner = UserKey(owner.try_get::<i64, _>(1)? as u64);
            // Its owner stays if he is the one who registers: he has a device again in a moment.
            let last = if owner == user {
                delete_device(db, device).await?;
                false
            } else {
                remove_device(db, owner, device).await?
            };
            removed.push(RemovedDevice { user: owner, device, last });
        }
    }

    let device = match old_device {
        Some(old) => update_device(db, old, register).await?,
        None => {
            if let Some(old) = old {
                removed.extend(make_room(db, old, &removed).await?);
            }
            insert_device(db, user, register).await?
        }
    };
    let assign = match changed {
        true => rows::user_by_id(db, &register.user).await?.map(Box::new),
        false => None,
    };
    let moved = old.is_some_and(|old| old.address != register.address || old.exchange != register.exchange);
    Ok(RegisteredRow { device, new_device: old_device.is_none(), new_user, moved, user, assign, removed })
}

async fn insert_user(db: &mut SqliteConnection, register: &RegisterWrite) -> Result<UserKey, RowError> {
    let vip = register.vip.clone().unwrap_or_default();
    let key: i64 = sqlx::query_scalar(
        "INSERT INTO users (id, address, exchange, grouping, vip_importance, vip_senders, folders)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING key",
    )
    .bind(register.user.as_str())
    .bind(register.address.as_str())
    .bind(register.exchange.as_deref())
    .bind(register.grouping.as_deref().unwrap_or_default())
    .bind(vip.high_importance)
    .bind(write_texts(vip.senders.iter().map(|sender| &**sender)))
    .bind(write_texts(register.folders.iter().flatten().map(FolderId::as_str)))
    .fetch_one(db)
    .await?;
    Ok(UserKey(key as u64))
}

/// True: something of the user's own changed.
async fn update_user(
    db: &mut SqliteConnection,
    old: &UserRow,
    register: &RegisterWrite,
) -> Result<bool, RowError> {
    let vip = register.vip.as_ref().unwrap_or(&old.vip);
    let folders = register.folders.as_ref().unwrap_or(&old.folders);
    let grouping = register.grouping.as_ref().unwrap_or(&old.grouping);
    let same = old.address == register.address
        && old.exchange == register.exchange
        && old.grouping == *grouping
        && old.vip == *vip
        && old.folders == *folders;
    if same {
        return Ok(false);
    }
    sqlx::query(
        "UPDATE users SET address = ?2, exchange = ?3, grouping = ?4, vip_importance = ?5, vip_senders = ?6,
         folders = ?7 WHERE key = ?1",
    )
    .bind(old.key.0 as i64)
    .bind(register.address.as_str())
    .bind(register.exchange.as_deref())
    .bind(&**grouping)
    .bind(vip.high_importance)
    .bind(write_texts(vip.senders.iter().map(|sender| &**sender)))
    .bind(write_texts(folders.iter().map(FolderId::as_str)))
    .execute(db)
    .await?;
    Ok(true)
}

async fn insert_device(
    db: &mut SqliteConnection,
    user: UserKey,
    register: &RegisterWrite,
) -> Result<DeviceRow, RowError> {
    let settings = &register.settings;
    let key: i64 = sqlx::query_scalar(
        "INSERT INTO devices (user, id, push, token, topic, registered_ms, active_ms, alerts, details, badges,
         localized, sound, vip_sound) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) RETURNING key",
    )
    .bind(user.0 as i64)
    .bind(register.device.as_str())
    .bind(&*register.push)
    .bind(register.token.as_str())
    .bind(register.topic.as_str())
    .bind(register.registered.0 as i64)
    .bind(register.active.0 as i64)
    .bind(settings.alerts)
    .bind(settings.details)
    .bind(settings.badge)
    .bind(settings.localized)
    .bind(settings.sound.as_deref())
    .bind(settings.vip_sound.as_deref())
    .fetch_one(db)
    .await?;
    Ok(DeviceRow::new(DeviceKey(key as u64), register))
}

async fn update_device(
    db: &mut SqliteConnection,
    old: &DeviceRow,
    register: &RegisterWrite,
) -> Result<DeviceRow, RowError> {
    // Another token is another phone, or an app installed anew: what the old one showed says nothing about it. A notice on
    // its way to the old one may never have been shown: it goes to the new one.
    let same_phone = old.token == register.token && old.topic == register.topic && old.push == register.push;
    let settings = &register.settings;
    sqlx::query(
        "UPDATE devices SET push = ?2, token = ?3, topic = ?4, registered_ms = ?5, active_ms = ?6, alerts = ?7,
         details = ?8, badges = ?9, localized = ?10, sound = ?11, vip_sound = ?12,
         badge = iif(?13, badge, NULL), stopped = iif(?14, 0, stopped)
         WHERE key = ?1",
    )
    .bind(old.key.0 as i64)
    .bind(&*register.push)
    .bind(register.token.as_str())
    .bind(register.topic.as_str())
    .bind(register.registered.0 as i64)
    .bind(register.active.0 as i64)
    .bind(settings.alerts)
    .bind(settings.details)
    .bind(settings.badge)
    .bind(settings.localized)
    .bind(settings.sound.as_deref())
    .bind(settings.vip_sound.as_deref())
    .bind(same_phone)
    .bind(register.revives)
    .execute(db)
    .await?;
    let mut row = DeviceRow::new(old.key, register);
    row.badge = old.badge.filter(|_| same_phone);
    row.unsettled = old.unsettled;
    row.stopped = old.stopped && !register.revives;
    Ok(row)
}

/// One device too many takes the place of the one that was unused the longest.
async fn make_room(
    db: &mut SqliteConnection,
    user: &UserRow,
    gone: &[RemovedDevice],
) -> Result<Option<RemovedDevice>, RowError> {
    let stays = |device: &&DeviceRow| gone.iter().all(|gone| gone.device != device.key);
    let devices = user.devices.iter().filter(stays);
    if devices.clone().count() < USER_DEVICES_MAX {
        return Ok(None);
    }
    let Some(oldest) = devices.min_by_key(|device| (device.active, device.key)) else { return Ok(None) };
    delete_device(db, oldest.key).await?;
    Ok(Some(RemovedDevice { user: user.key, device: oldest.key, last: false }))
}

async fn delete_device(db: &mut SqliteConnection, device: DeviceKey) -> Result<(), RowError> {
    sqlx::query("DELETE FROM devices WHERE key = ?1").bind(device.0 as i64).execute(db).await?;
    Ok(())
}
