//! The ledger's outside check: what the workload did against what arrived at the phones.
//!
//! Fed with both sides as they happen, it says at the end which mails were lost, told twice or told wrongly. It is
//! sound: what it calls a fault is one, however the two sides crossed ([`crate::phone`] says where either is right). To
//! be heard in time, an act of the workload is to be told here before it is done there.
//!
//! What it is told stands in `people` (users and their phones), `mailboxes` (their mails) and `allowances` (what the engine
//! could not know); what it judges in `pushes` (each as it comes) and `verdict` (at the end); what it keeps of a phone in
//! `phones`, what the engine's owner said of users, and what follows for their pushes, in `profiles`, what it found in
//! `report`.
//!
//! Memory: 32 bytes for a mail and some 350 for a phone; nothing per push but pushes that tell of more mails than they
//! list, one name for each move, and what [`Audit::put_down`] is told.

mod allowances;
mod folders;
mod mailboxes;
mod people;
mod phones;
mod profiles;
mod pushes;
mod report;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::{HashMap, HashSet};

use carillon_core::shard::UnsettledNotice;
use carillon_core::time::{Span, Time};

use crate::phone::{Rules, User};
use phones::PhoneRow;
use profiles::Profile;

pub use mailboxes::Place;
pub use profiles::Traits;
pub use pushes::Told;
pub use report::{AuditReport, EXAMPLES_MAX, Example, Finding};

/// A user of the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserIx(pub u32);

/// A phone of the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneIx(pub u32);

/// The account.
#[derive(Debug)]
pub struct Audit {
    rules: Rules,
    /// The cut-off before it was last changed, and when that was.
    cutoff_before: Option<(Time, Span)>,
    users: Vec<User>,
    /// When the first phone of each user was registered.
    first_phones: Vec<Option<Time>>,
    phones: Vec<PhoneRow>,
    /// A mail that moves gets another id; this leads back to the one that it came with.
    names: HashMap<u64, u64>,
    /// Mails that went without the engine hearing of it.
    unheard: HashSet<u64>,
    /// From when to when the engine may neither hear the mail server nor be able to ask it.
    deaf: Vec<(Time, Time)>,
    /// Notices by their ids: since when the engine cannot take them back, and what they tell.
    put_down: HashMap<u128, (Time, UnsettledNotice)>,
    /// What the owner of the engine said of the users, by their place in `users`.
    profiles: Vec<Profile>,
    /// What can make a mail go first.
    traits: HashMap<u64, Traits>,
    /// Mails that may be told again.
    again: HashSet<u64>,
    /// When a mail server's clock was set back.
    set_back: Vec<Time>,
    /// From when to when such a clock was far off.
    off: Vec<(Time, Time)>,
    /// How far back it matters when a phone was told of what: as far as a loss of power may reach, or a kill on a full disk.
    reach: Span,
    report: AuditReport,
}

/// How far back a loss of power may reach, with room to spare.
const LATELY: Span = Span::from_secs(2);

impl Audit {
    /// An account without users.
    pub fn new(rules: Rules) -> Audit {
        Audit {
            rules,
            cutoff_before: None,
            users: Vec::new(),
            first_phones: Vec::new(),
            phones: Vec::new(),
            names: HashMap::new(),
            unheard: HashSet::new(),
            deaf: Vec::new(),
            put_down: HashMap::new(),
            profiles: Vec::new(),
            traits: HashMap::new(),
            again: HashSet::new(),
            set_back: Vec::new(),
            off: Vec::new(),
            reach: LATELY,
            report: AuditReport::default(),
        }
    }
}
