//! What the engine reported, as SQL. Rows that are gone by now are passed over.

use carillon_core::names::UserKey;
use sqlx::{Row, SqliteConnection};

use super::{RowError, columns, write};
use crate::store::{Keep, RemovedDevice};

pub(super) async fn keep(db: &mut SqliteConnection, batch: &Keep) -> Result<Vec<RemovedDevice>, RowError> {
    for (user, watch) in &batch.watches {
        sqlx::query("UPDATE users SET subscription = ?2, anchor = ?3, cookie = ?4 WHERE key = ?1")
            .bind(user.0 as i64)
            .bind(watch.subscription.as_ref().map(|id| id.as_str()))
            .bind(watch.anchor.as_str())
            .bind(&*watch.cookie)
            .execute(&mut *db)
            .await?;
    }
    for (user, notices) in &batch.notices {
        sqlx::query(
            "UPDATE users SET sync_point_ms = ?2, told = ?3, unread = ?4, began_ms = ?5
             WHERE key = ?1",
        )
        .bind(user.0 as i64)
        .bind(notices.sync_point.0 as i64)
        .bind(columns::write_told(&notices.told))
        .bind(notices.unread)
        .bind(notices.began.map(|began| began.0 as i64))
        .execute(&mut *db)
        .await?;
    }
    for (user, folders) in &batch.syncs {
        sqlx::query("UPDATE users SET sync_states = ?2 WHERE key = ?1")
            .bind(user.0 as i64)
            .bind(columns::write_sync(folders))
            .execute(&mut *db)
            .await?;
    }
    for (device, badge, unsettled) in &batch.devices {
        let (apns_id, mails, newest) = columns::write_unsettled(*unsettled);
        sqlx::query(
            "UPDATE devices SET badge = ?2, unsettled_id = ?3, unsettled_mails = ?4, unsettled_newest = ?5
             WHERE key = ?1",
        )
        .bind(device.0 as i64)
        .bind(*badge)
        .bind(apns_id)
        .bind(mails)
        .bind(newest)
        .execute(&mut *db)
        .await?;
    }
    let mut removed = Vec::new();
    for (device, before) in &batch.gone {
        let owner = sqlx::query("SELECT user FROM devices WHERE key = ?1 AND registered_ms <= ?2")
            .bind(device.0 as i64)
            .bind(before.0 as i64)
            .fetch_optional(&mut *db)
            .await?;
        // Not there, or registered again since: the news is about a token that is no more.
        let Some(owner) = owner else { continue };
        let user = UserKey(owner.try_get::<i64, _>(0)? as u64);
        let last = write::remove_device(db, user, *device).await?;
        removed.push(RemovedDevice { user, device: *device, last });
    }
    for position in &batch.positions {
        sqlx::query(
            "INSERT INTO journal_positions (epoch, shard, seq) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET seq = max(seq, ?3)",
        )
        .bind(position.epoch as i64)
        .bind(i64::from(position.shard))
        .bind(position.seq as i64)
        .execute(&mut *db)
        .await?;
    }
    Ok(removed)
}
