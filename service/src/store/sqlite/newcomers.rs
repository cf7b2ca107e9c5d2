//! Registrations of users who are not there yet, many with each statement: a statement is a round trip to SQLite's thread,
//! and an import brings thousands of them.

use std::collections::{HashMap, HashSet};

use carillon_core::limits::USER_DEVICES_MAX;
use carillon_core::names::{DeviceKey, FolderId, UserKey};
use carillon_core::shard::NoticeRecord;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::columns::write_texts;
use super::{RowError, STATEMENT_ROWS};
use crate::ids::UserId;
use crate::store::{DeviceRow, RegisterWrite, RegisteredRow, UserRow, Write};

/// Fewer registrations are done one by one.
const NEWCOMERS_MIN: usize = 8;

/// All registrations of one user in a batch.
struct Newcomer<'a> {
    /// Where each stands in the batch.
    registrations: Vec<(usize, &'a RegisterWrite)>,
    /// The registrations stand for themselves: in whichever order the rest of the batch is done, the result is the same.
    apart: bool,
}

/// Does those registrations of a batch that bring users who are not there yet, with devices of theirs alone. Says what
/// became of each, with its place in the batch. All others are left.
pub(super) async fn register(
    db: &mut SqliteConnection,
    batch: &[Write],
) -> Result<Vec<(usize, RegisteredRow)>, RowError> {
    let mut newcomers = apart(batch);
    if newcomers.iter().map(|one| one.registrations.len()).sum::<usize>() < NEWCOMERS_MIN {
        return Ok(Vec::new());
    }
    leave_known(db, &mut newcomers).await?;
    let mut done = Vec::new();
    for some in newcomers.chunks(STATEMENT_ROWS) {
        let keys = insert_users(db, some).await?;
        let mut rows: Vec<(usize, bool, UserKey, &RegisterWrite)> = Vec::new();
        for newcomer in some {
            let mut first = true;
            for (at, register) in &newcomer.registrations {
                let key = keys.get(register.user.as_str()).ok_or(RowError::Name { column: "user id" })?;
                rows.push((*at, std::mem::take(&mut first), *key, register));
            }
        }
        for rows in rows.chunks(STATEMENT_ROWS) {
            let devices = insert_devices(db, rows).await?;
            for (at, new_user, user, register) in rows {
                let key = devices
                    .get(&(*user, register.device.as_str().into()))
                    .ok_or(RowError::Name { column: "device id" })?;
                let device = DeviceRow::new(*key, register);
                let assign = new_user.then(|| Box::new(user_row(*user, register, device.clone())));
                let row = RegisteredRow {
                    device,
                    new_device: true,
                    new_user: *new_user,
                    moved: false,
                    user: *user,
                    assign,
                    removed: Vec::new(),
                };
                done.push((*at, row));
            }
        }
    }
    Ok(done)
}

/// Users of whom the batch has nothing but registrations that agree in everything but the device, and whose tokens nobody
/// else in it has.
fn apart(batch: &[Write]) -> Vec<Newcomer<'_>> {
    let mut places: HashMap<&UserId, usize> = HashMap::new();
    let mut tokens: HashMap<(&str, &str, &str), usize> = HashMap::new();
    let mut all: Vec<Newcomer<'_>> = Vec::new();
    for (at, write) in batch.iter().enumerate() {
        let (user, register) = match write {
            Write::Register(register) => (&register.user, Some(&**register)),
            Write::Touch { user, .. }
            | Write::RemoveDevice { user, .. }
            | Write::StopUser { user }
            | Write::RemoveUser { user } => (user, None),
        };
        let place = *places.entry(user).or_insert(all.len());
        if place == all.len() {
            all.push(Newcomer { registrations: Vec::new(), apart: true });
        }
        let newcomer = &mut all[place];
        let Some(register) = register else {
            newcomer.apart = false;
            continue;
        };
        let agrees = |(_, other): &(usize, &RegisterWrite)| {
            other.device != register.device
                && other.address == register.address
                && other.exchange == register.exchange
                && other.grouping == register.grouping
                && other.vip == register.vip
                && other.folders == register.folders
        };
        newcomer.apart &=
            newcomer.registrations.len() < USER_DEVICES_MAX && newcomer.registrations.iter().all(agrees);
        if let Some(other) = tokens.insert(token(register), place) {
            all[other].apart = false;
            all[place].apart = false;
        }
        all[place].registrations.push((at, register));
    }
    all.retain(|newcomer| newcomer.apart && !newcomer.registrations.is_empty());
    all
}

fn token(register: &RegisterWrite) -> (&str, &str, &str) {
    (register.token.as_str(), register.topic.as_str(), &*register.push)
}

/// Leaves out whoever is stored already, or has a token that somebody stored has.
async fn leave_known(db: &mut SqliteConnection, newcomers: &mut Vec<Newcomer<'_>>) -> Result<(), RowError> {
    let mut known: HashSet<String> = HashSet::new();
    for some in newcomers.chunks(STATEMENT_ROWS) {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT id FROM users WHERE id IN (");
        let mut list = query.separated(", ");
        for newcomer in some {
            list.push_bind(newcomer.registrations[0].1.user.as_str());
        }
        query.push(")");
        let rows = query.build().persistent(some.len() == STATEMENT_ROWS).fetch_all(&mut *db).await?;
        for row in rows {
            known.insert(row.try_get(0)?);
        }
    }
    newcomers.retain(|one| !known.contains(one.registrations[0].1.user.as_str()));
    let mut taken: HashSet<(String, String, String)> = HashSet::new();
    let registrations: Vec<&RegisterWrite> =
        newcomers.iter().flat_map(|one| one.registrations.iter().map(|(_, register)| *register)).collect();
    for some in registrations.chunks(STATEMENT_ROWS) {
        let mut query =
            QueryBuilder::<Sqlite>::new("SELECT token, topic, push FROM devices WHERE token IN (");
        let mut list = query.separated(", ");
        for register in some {
            list.push_bind(register.token.as_str());
        }
        query.push(")");
        let rows = query.build().persistent(some.len() == STATEMENT_ROWS).fetch_all(&mut *db).await?;
        for row in rows {
            taken.insert((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        }
    }
    if !taken.is_empty() {
        newcomers.retain(|one| {
            one.registrations.iter().all(|(_, register)| {
                let (token, topic, push) = token(register);
                !taken.contains(&(token.to_owned(), topic.to_owned(), push.to_owned()))
            })
        });
    }
    Ok(())
}

/// Their keys by their ids.
async fn insert_users(
    db: &mut SqliteConnection,
    newcomers: &[Newcomer<'_>],
) -> Result<HashMap<Box<str>, UserKey>, RowError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO users (id, address, exchange, grouping, vip_importance, vip_senders, folders) ",
    );
    query.push_values(newcomers, |mut row, newcomer| {
        let register = newcomer.registrations[0].1;
        let vip = register.vip.clone().unwrap_or_default();
        row.push_bind(register.user.as_str())
            .push_bind(register.address.as_str())
            .push_bind(register.exchange.as_deref())
            .push_bind(register.grouping.as_deref().unwrap_or_default())
            .push_bind(vip.high_importance)
            .push_bind(write_texts(vip.senders.iter().map(|sender| &**sender)))
            .push_bind(write_texts(register.folders.iter().flatten().map(FolderId::as_str)));
    });
    query.push(" RETURNING key, id");
    let rows = query.build().persistent(newcomers.len() == STATEMENT_ROWS).fetch_all(db).await?;
    rows.iter()
        .map(|row| Ok((row.try_get::<&str, _>(1)?.into(), UserKey(row.try_get::<i64, _>(0)? as u64))))
        .collect()
}

/// Their keys by their users and ids.
async fn insert_devices(
    db: &mut SqliteConnection,
    rows: &[(usize, bool, UserKey, &RegisterWrite)],
) -> Result<HashMap<(UserKey, Box<str>), DeviceKey>, RowError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO devices (user, id, push, token, topic, registered_ms, active_ms, alerts, details, badges, \
         localized, sound, vip_sound) ",
    );
    query.push_values(rows, |mut row, (_, _, user, register)| {
        let settings = &register.settings;
        row.push_bind(user.0 as i64)
            .push_bind(register.device.as_str())
            .push_bind(&*register.push)
            .push_bind(register.token.as_str())
            .push_bind(register.topic.as_str())
            .push_bind(register.registered.0 as i64)
            .push_bind(register.active.0 as i64)
            .push_bind(settings.alerts)
            .push_bind(settings.details)
            .push_bind(settings.badge)
            .push_bind(settings.localized)
            .push_bind(settings.sound.as_deref())
            .push_bind(settings.vip_sound.as_deref());
    });
    query.push(" RETURNING key, user, id");
    let rows = query.build().persistent(rows.len() == STATEMENT_ROWS).fetch_all(db).await?;
    rows.iter()
        .map(|row| {
            let owner = UserKey(row.try_get::<i64, _>(1)? as u64);
            Ok(((owner, row.try_get::<&str, _>(2)?.into()), DeviceKey(row.try_get::<i64, _>(0)? as u64)))
        })
        .collect()
}

/// As it is stored: nothing was asked of the mailbox yet.
fn user_row(key: UserKey, register: &RegisterWrite, device: DeviceRow) -> UserRow {
    UserRow {
        key,
        id: register.user.clone(),
        address: register.address.clone(),
        exchange: register.exchange.clone(),
        grouping: register.grouping.clone().unwrap_or_default(),
        vip: register.vip.clone().unwrap_or_default(),
        folders: register.folders.clone().unwrap_or_default(),
        sync: Vec::new(),
        watch: None,
        notices: NoticeRecord::default(),
        devices: vec![device],
    }
}
