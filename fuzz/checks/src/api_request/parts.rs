//! What stands behind the API: a store that takes notes, and an engine that hears nothing.

use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};

use carillon::engine::{Engine, Numbers, Refused};
use carillon::ids::UserId;
use carillon::store::{
    Answer, DeviceRow, Keep, Position, RegisteredRow, RemovedDevice, Store, TokenRow, UserRow, Write, Wrote,
};
use carillon_core::names::{DeviceKey, UserKey};
use carillon_core::shard::Command;

use super::Done;

/// Notes what it is asked for, and does as if it had been done. Nobody is there to be read.
pub(super) struct Noting {
    pub(super) done: Arc<Mutex<Vec<Done>>>,
}

impl Noting {
    fn note(&self, done: Done) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(done);
    }
}

const USER: UserKey = UserKey(1);
const DEVICE: DeviceKey = DeviceKey(1);

fn wrote(write: &Write) -> Wrote {
    match write {
        Write::Register(register) => Wrote::Registered(Box::new(RegisteredRow {
            device: DeviceRow::new(DEVICE, register),
            new_device: true,
            new_user: false,
            moved: false,
            user: USER,
            assign: None,
            removed: Vec::new(),
        })),
        Write::Touch { at, .. } => Wrote::Touched { user: USER, device: DEVICE, at: *at },
        Write::RemoveDevice { .. } => Wrote::DeviceRemoved { user: USER, device: DEVICE, last: false },
        Write::StopUser { .. } => Wrote::Stopped { user: USER, already: false },
        Write::RemoveUser { .. } => Wrote::UserRemoved { user: USER, devices: 0 },
    }
}

impl Store for Noting {
    fn write<'a>(&'a self, batch: &'a [Write]) -> Answer<'a, Vec<Wrote>> {
        batch.iter().for_each(|write| self.note(Done::of(write)));
        Box::pin(ready(Ok(batch.iter().map(wrote).collect())))
    }

    fn user<'a>(&'a self, id: &'a UserId) -> Answer<'a, Option<UserRow>> {
        self.note(Done::UserRead(id.as_str().to_owned()));
        Box::pin(ready(Ok(None)))
    }

    fn save<'a>(&'a self, _batch: &'a Keep) -> Answer<'a, Vec<RemovedDevice>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn page(&self, _after: UserKey, _limit: u32) -> Answer<'_, Vec<UserRow>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn positions(&self) -> Answer<'_, Vec<Position>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn forget_positions(&self) -> Answer<'_, ()> {
        Box::pin(ready(Ok(())))
    }

    fn team_token<'a>(&'a self, _team_id: &'a str, _key_id: &'a str) -> Answer<'a, Option<TokenRow>> {
        Box::pin(ready(Ok(None)))
    }

    fn put_team_token<'a>(&'a self, _token: &'a TokenRow) -> Answer<'a, ()> {
        Box::pin(ready(Ok(())))
    }

    fn probe(&self) -> Answer<'_, ()> {
        Box::pin(ready(Ok(())))
    }

    fn sync(&self) -> Answer<'_, ()> {
        Box::pin(ready(Ok(())))
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(ready(Ok(())))
    }
}

/// An engine that takes every command and does nothing.
pub(super) struct Deaf;

impl Engine for Deaf {
    fn command(&self, _command: Command) -> Result<(), Refused> {
        Ok(())
    }

    fn numbers(&self) -> Numbers {
        Numbers::default()
    }

    fn is_running(&self) -> bool {
        true
    }
}
