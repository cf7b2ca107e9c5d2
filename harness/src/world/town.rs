//! A small town for tests: an organisation with mailboxes, their owners' phones, and the audit of what the phones show.
//!
//! How it is made stands in `config`, `build` and `people`; how a day goes by in `time`. What happens there is told by
//! whoever does it: people in their `mailboxes` and `folders` and with their `phones`, those whose phones have `made_up`
//! tokens, the engine's `owner`, the `administrator` of the mail servers' accounts, and who keeps the `tokens` for pushes.

mod administrator;
mod build;
mod config;
mod folders;
mod made_up;
mod mailboxes;
mod owner;
mod people;
mod phones;
mod time;
mod tokens;

use std::collections::HashMap;

use carillon_core::names::{DeviceKey, UserKey};
use carillon_core::shard::{BadgeCount, DeviceSpec};
use carillon_core::time::{Span, Time, UnixMillis};

use super::{PeerAt, World};
use crate::apns::{Delivery, DeviceIx, Environment, Knobs};
use crate::audit::{Audit, AuditReport, PhoneIx, UserIx};
use crate::exchange::{FolderKey, MailboxKey};
use administrator::Administrator;
use tokens::Tokens;

pub use administrator::Change;
pub use config::TownConfig;

/// 2026-01-05T08:00:00Z, a Monday.
pub const START: UnixMillis = UnixMillis(1_767_600_000_000);

/// The app that everybody has.
pub const APP: &str = "com.example.mail";

/// The apps there are.
pub const APPS: [&str; 2] = [APP, "com.example.mail.lite"];

/// The town's first mail server.
pub const MAIL: PeerAt = PeerAt::Exchange(0);

/// The town's push service.
pub const PUSH: PeerAt = PeerAt::Apns(0);

/// The town's push services.
const ENVIRONMENTS: [Environment; 2] = [Environment::Production, Environment::Sandbox];

/// A world with inhabitants.
pub struct Town {
    /// Where they live.
    pub world: World,
    /// What their phones were told.
    pub audit: Audit,
    /// They.
    pub people: Vec<Person>,
    /// Everything that reached a phone, in order.
    pub deliveries: Vec<Delivery>,
    /// Whose mailboxes are on an open stream and caught up, as the engine said last, and when it did.
    live: HashMap<UserKey, Time>,
    /// By push service and device.
    phones: HashMap<(usize, DeviceIx), PhoneIx>,
    tokens: Option<Tokens>,
    administrator: Administrator,
    made_up: Vec<made_up::MadeUp>,
    badge: BadgeCount,
    two_apps: bool,
    /// Reports that have been looked at.
    reports_heard: usize,
    item_key: [u8; 16],
}

/// One inhabitant.
pub struct Person {
    /// His shard.
    pub shard: usize,
    /// In the engine.
    pub key: UserKey,
    /// Which mail server is his.
    pub server: usize,
    /// At the mail server.
    pub mailbox: MailboxKey,
    /// In the audit.
    pub user: UserIx,
    /// Folders that he has made himself, by number.
    pub own: Vec<FolderKey>,
    /// The folders that he has chosen beside the inbox.
    pub chosen: Vec<FolderKey>,
    /// His phones.
    pub phones: Vec<PhoneOf>,
    /// Item ids of his mails, oldest first.
    pub mails: Vec<String>,
    /// The owner has dropped him.
    pub away: bool,
}

/// One phone.
pub struct PhoneOf {
    /// Which push service is its app's.
    pub service: usize,
    /// In the engine.
    pub key: DeviceKey,
    /// At the push service.
    pub device: DeviceIx,
    /// In the audit.
    pub phone: PhoneIx,
    /// Its registration.
    pub spec: DeviceSpec,
    /// The owner has removed it.
    pub removed: bool,
    /// Tokens that its app had before this one.
    pub renewals: u32,
}

impl Town {
    /// Turns something at the push service.
    pub fn turn_apns(&mut self, change: impl FnOnce(&mut Knobs)) {
        self.turn_push_service(0, change);
    }

    /// Turns something at one of the push services.
    pub fn turn_push_service(&mut self, service: usize, change: impl FnOnce(&mut Knobs)) {
        let now = self.world.now_of(PeerAt::Apns(service));
        self.world.apns[service].turn(now, change);
        self.world.collect();
    }

    /// Whether the engine has said that it hears this one's mailbox, and nothing else since, nor died.
    pub fn is_live(&self, person: usize) -> bool {
        let row = &self.people[person];
        self.live.get(&row.key).is_some_and(|since| *since >= self.world.begun(row.shard))
    }

    /// Whether nothing waits and nothing is in flight.
    pub fn is_quiet(&self) -> bool {
        let ledger = self.world.ledger();
        ledger.waiting == 0 && ledger.in_flight == 0
    }

    /// Whether every phone that wants one shows the badge that it should, as far as the engine knows.
    pub fn badges_are_right(&self) -> bool {
        self.audit.badges_are_right()
    }

    /// The verdict.
    pub fn finish(mut self) -> AuditReport {
        self.hear();
        let ledger = self.world.ledger();
        assert!(ledger.balances(), "the engine's own ledger does not balance: {ledger:?}");
        let now = self.world.now();
        for phone in self.people.iter().flat_map(|person| &person.phones) {
            let shown = &self.world.apns[phone.service].row(phone.device).device;
            self.audit.check_screen(phone.phone, shown, now);
        }
        self.audit.finish(now)
    }
}

/// A moment of the town's first day.
pub fn at(s: u64) -> Time {
    Time(0) + Span::from_secs(s)
}
