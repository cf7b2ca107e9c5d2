//! Whether what mailboxes are refused is theirs, or the server's and the account's.
//!
//! One mailbox's trouble is that mailbox's: its owner's programs exhaust its budget, or it is out of the account's rights'
//! reach. When several in a row are refused, that may still be so. So a mailbox that has just worked is asked: if it is
//! refused as well, it is the server.

use super::MailServerId;
use super::core::ShardCore;
use crate::limits::{ALARMS_IN_A_ROW_MAX, BUSY_IN_A_ROW_MAX, FAILURES_IN_A_ROW_MAX};
use crate::time::Now;
use crate::user::{Calling, Needs, User, UserId};

/// What a mailbox was refused with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The account has no right to it.
    NoRight,
    /// An answer that is no SOAP.
    NoSoap,
    /// Its budget is exhausted.
    Busy,
}

/// Refusals in a row: a success sets them back, whoever has it.
#[derive(Debug, Default)]
pub(super) struct Blame {
    no_rights: u8,
    no_soaps: u8,
    busy: u8,
    /// The mailbox that is asked whether the others' trouble is the server's.
    witness: Option<UserId>,
}

impl Blame {
    /// One more. Whether there were as many as it takes, at a server with so many mailboxes.
    fn count(&mut self, refused: Refused, mailboxes: usize) -> bool {
        let (count, most) = match refused {
            Refused::NoRight => (&mut self.no_rights, ALARMS_IN_A_ROW_MAX),
            Refused::NoSoap => (&mut self.no_soaps, FAILURES_IN_A_ROW_MAX),
            Refused::Busy => (&mut self.busy, BUSY_IN_A_ROW_MAX),
        };
        *count = count.saturating_add(1);
        usize::from(*count) >= mailboxes.min(most.into())
    }
}

impl ShardCore {
    /// A mailbox was refused. Whether that, after others before it, is the server's or the account's own trouble.
    pub(super) fn is_of_server(
        &mut self,
        now: Now,
        server_id: MailServerId,
        refused: Refused,
        user: Option<UserId>,
    ) -> bool {
        let server = &mut self.servers[usize::from(server_id.0)];
        let mailboxes = server.mailboxes;
        let witnessed = server.blame.witness.take_if(|witness| Some(*witness) == user).is_some();
        if !server.blame.count(refused, mailboxes) {
            return false;
        }
        if witnessed || !server.proven {
            return true;
        }
        let under_way = |user: &User| user.calling != Calling::No || user.needs.has(Needs::BADGE);
        if server.blame.witness.and_then(|id| self.users.get(id)).is_some_and(under_way) {
            return false;
        }
        let witness = self.find_witness(now, server_id, user);
        let server = &mut self.servers[usize::from(server_id.0)];
        server.blame.witness = witness;
        let Some((witness, row)) = witness.and_then(|id| Some((id, self.users.get_mut(id)?))) else {
            // Nobody is left who has not been refused.
            return true;
        };
        row.needs.add(Needs::BADGE);
        row.calling = Calling::Waits;
        server.urgent.push_front(witness);
        false
    }

    /// A mailbox that is watched, was not refused lately, and may be asked something at once.
    fn find_witness(&self, now: Now, server_id: MailServerId, not: Option<UserId>) -> Option<UserId> {
        let free = |user: &User| {
            user.subscription.is_some()
                && !user.aside
                && user.calling == Calling::No
                && user.call_failures == 0
                && user.call_not_before <= now.time
                && user.setback.as_deref().is_none_or(|setback| !setback.is_busy(now.time))
        };
        let cohorts = self.cohorts.iter().filter(|(_, cohort)| cohort.server == server_id);
        let mut members = cohorts.flat_map(|(_, cohort)| &cohort.members).copied();
        members.find(|id| Some(*id) != not && self.users.get(*id).is_some_and(free))
    }
}
