//! What the engine reported, as SQL. Rows that are gone by now are passed over.

use carillon_core::names::UserKey;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::{RowError, STATEMENT_ROWS, columns, write};
use crate::store::{Keep, RemovedDevice};

pub(super) async fn keep(db: &mut SqliteConnection, batch: &Keep) -> Result<Vec<RemovedDevice>, RowError> {
    for some in batch.watches.chunks(STATEMENT_ROWS) {
        let mut query = QueryBuilder::new(
            "UPDATE users SET subscription = new.column2, anchor = new.column3, cookie = new.column4 FROM (",
        );
        query.push_values(some, |mut row, (user, watch)| {
            row.push_bind(user.0 as i64)
                .push_bind(watch.subscription.as_ref().map(|id| id.as_str()))
                .push_bind(watch.anchor.as_str())
                .push_bind(&*watch.cookie);
        });
        update(db, query, "users", some.len()).await?;
    }
    for some in batch.notices.chunks(STATEMENT_ROWS) {
        let mut query = QueryBuilder::new(
            "UPDATE users SET sync_point_ms = new.column2, told = new.column3, unread = new.column4, \
             began_ms = new.column5 FROM (",
        );
        query.push_values(some, |mut row, (user, notices)| {
            row.push_bind(user.0 as i64)
                .push_bind(notices.sync_point.0 as i64)
                .push_bind(columns::write_told(&notices.told))
                .push_bind(notices.unread)
                .push_bind(notices.began.map(|began| began.0 as i64));
        });
        update(db, query, "users", some.len()).await?;
    }
    for some in batch.syncs.chunks(STATEMENT_ROWS) {
        let mut query = QueryBuilder::new("UPDATE users SET sync_states = new.column2 FROM (");
        query.push_values(some, |mut row, (user, folders)| {
            row.push_bind(user.0 as i64).push_bind(columns::write_sync(folders));
        });
        update(db, query, "users", some.len()).await?;
    }
    for some in batch.devices.chunks(STATEMENT_ROWS) {
        let mut query = QueryBuilder::new(
            "UPDATE devices SET badge = new.column2, unsettled_id = new.column3, unsettled_mails = new.column4, \
             unsettled_newest = new.column5 FROM (",
        );
        query.push_values(some, |mut row, (device, badge, unsettled)| {
            let (apns_id, mails, newest) = columns::write_unsettled(*unsettled);
            row.push_bind(device.0 as i64)
                .push_bind(*badge)
                .push_bind(apns_id)
                .push_bind(mails)
                .push_bind(newest);
        });
        update(db, query, "devices", some.len()).await?;
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

/// Ends a statement that updates the rows of `table` whose keys stand in the first of its columns. One row has one new
/// state at most.
async fn update(
    db: &mut SqliteConnection,
    mut query: QueryBuilder<Sqlite>,
    table: &str,
    rows: usize,
) -> Result<(), RowError> {
    query.push(") AS new WHERE ").push(table).push(".key = new.column1");
    query.build().persistent(rows == STATEMENT_ROWS).execute(db).await?;
    Ok(())
}
