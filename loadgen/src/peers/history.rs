//! What happened to whom: kept for the whole run, told of users in whose account something is wrong.

use std::collections::BTreeMap;

use carillon_core::time::Time;

use super::schedule::Fault;

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    /// A mail came.
    Mail(u64),
    /// A mail was read.
    Read(u64),
    /// A mail was deleted.
    Delete(u64),
    /// A push was accepted for this phone.
    Push { phone: u32, badge: Option<u32>, mails: u32, newest: Option<u64>, again: bool },
    /// The app was removed from this phone.
    Gone(u32),
    /// This phone's pushes get 429 for a while.
    Throttled(u32),
    /// Something else broke.
    Fault(Fault),
}

/// All of it, in order. 64 bytes for a deed.
#[derive(Debug, Default)]
pub(super) struct History {
    deeds: Vec<(Time, Option<u32>, Deed)>,
}

impl History {
    /// A stream of these users broke.
    pub(super) fn note_stream(&mut self, at: Time, users: &[u32], fault: Fault) {
        self.deeds.extend(users.iter().map(|user| (at, Some(*user), Deed::Fault(fault))));
    }

    /// Something happened to this user, or to everybody.
    pub(super) fn note(&mut self, at: Time, user: Option<u32>, deed: Deed) {
        self.deeds.push((at, user, deed));
    }

    /// What happened to these users, in words; at most [`LINES_MAX`] of each, the last ones.
    pub(super) fn of(&self, users: &[u32]) -> BTreeMap<String, Vec<String>> {
        let mut told = BTreeMap::new();
        for user in users {
            let own = self.deeds.iter().filter(|(_, whose, _)| whose.is_none_or(|whose| whose == *user));
            let lines: Vec<String> =
                own.map(|(at, _, deed)| format!("{:.3} s: {}", at.0 as f64 / 1e6, words(deed))).collect();
            let from = lines.len().saturating_sub(LINES_MAX);
            told.insert(format!("user {user}"), lines[from..].to_vec());
        }
        told
    }
}

fn words(deed: &Deed) -> String {
    match deed {
        Deed::Mail(item) => format!("mail {item:016x} came"),
        Deed::Read(item) => format!("mail {item:016x} was read"),
        Deed::Delete(item) => format!("mail {item:016x} was deleted"),
        Deed::Push { phone, badge, mails, newest, again } => {
            let badge = badge.map_or_else(|| "no badge".to_owned(), |badge| format!("badge {badge}"));
            let newest = newest.map_or_else(String::new, |item| format!(", newest {item:016x}"));
            let again = if *again { ", again under its old id" } else { "" };
            format!("phone {phone} was pushed {badge}, {mails} mails{newest}{again}")
        }
        Deed::Gone(phone) => format!("phone {phone} is gone"),
        Deed::Throttled(phone) => format!("phone {phone} gets 429"),
        Deed::Fault(fault) => format!("fault: {}", fault.name().replace('_', " ")),
    }
}

/// Enough to see how it came about.
const LINES_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_a_user_is_told() {
        let mut history = History::default();
        history.note(Time(1_000_000), Some(1), Deed::Mail(7));
        history.note(Time(1_500_000), Some(2), Deed::Mail(8));
        history.note(Time(2_000_000), None, Deed::Fault(Fault::KillService));
        let told = history.of(&[1]);
        assert_eq!(told["user 1"], ["1.000 s: mail 0000000000000007 came", "2.000 s: fault: kill service"]);
    }
}
