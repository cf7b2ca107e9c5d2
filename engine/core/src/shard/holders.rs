//! Whose a subscription is. A server that numbers its subscriptions anew after a restart gives ids out again, and may
//! accept a stale one for a mailbox that it does not belong to any more. So:
//!
//! - An id that the server has just given to one mailbox is taken from every other that holds it.
//! - An id that may be given out again is used only as long as nothing suggests a restart, and never stored ones.
//! - An id that comes from the server although a mailbox here has lost it before is given out again: from then on none
//!   that was given earlier is relied on. Shards do not see one another's ids, and a server may take one shard's stale id
//!   for another shard's mailbox.
//! - An event counts only if its folder is one of the mailbox's own ([`User::whose`]).
//!
//! The last of these holds whatever else the server does.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::cohort::CohortId;
use super::config::MailServerId;
use super::conn::Kind;
use super::core::ShardCore;
use super::{ConnId, Effects, Report};
use crate::ews::{Action, EwsError, ResponseCode};
use crate::limits::{EARLY_CLOSE, EARLY_CLOSES_MAX, FOREIGN_RENEWALS_MAX, UNIQUE_ID_CHARS_MIN};
use crate::names::SubscriptionId;
use crate::time::Now;
use crate::user::{Needs, Setback, UserId};

/// Who holds which subscription of one server.
#[derive(Debug, Default)]
pub(super) struct Holders {
    by_id: HashMap<u64, UserId>,
    /// Ids that mailboxes have lost, the newest last.
    lost: VecDeque<u64>,
    /// The server has given an id out again.
    repeats: bool,
    /// An event of the server has named a folder by the same id as a look at the folder: ids can be compared.
    folders_match: bool,
}

impl Holders {
    pub(super) fn hold(&mut self, id: &SubscriptionId, user: UserId) {
        self.by_id.insert(id_hash(id), user);
    }

    /// Who is in the table under this id; to be compared with the whole id in his row.
    pub(super) fn find(&self, id: &SubscriptionId) -> Option<UserId> {
        self.by_id.get(&id_hash(id)).copied()
    }

    pub(super) fn release(&mut self, id: &SubscriptionId, user: UserId) {
        if self.find(id) == Some(user) {
            self.by_id.remove(&id_hash(id));
            if self.lost.len() == LOST_IDS_MAX {
                self.lost.pop_front();
            }
            self.lost.push_back(id_hash(id));
        }
    }

    /// Whether a mailbox has lost this id not long ago.
    fn was_lost(&self, id: &SubscriptionId) -> bool {
        self.lost.contains(&id_hash(id))
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether the server may give this id to another mailbox some day: it has done so, or the id is too short for a GUID.
    pub(super) fn may_repeat(&self, id: &SubscriptionId) -> bool {
        self.repeats || id.as_str().len() < UNIQUE_ID_CHARS_MIN
    }
}

/// Lost ids that are remembered of each server. After a restart a server that numbers gives out many of those that were lost
/// just now, and one that is recognized is enough.
const LOST_IDS_MAX: usize = 1_024;

/// Only names a place in the table.
fn id_hash(id: &SubscriptionId) -> u64 {
    crate::user::item_hash(&[0; 16], id.as_str())
}

impl ShardCore {
    /// Who holds this subscription at this server.
    pub(super) fn holder(&self, server: MailServerId, id: &SubscriptionId) -> Option<UserId> {
        let user_id = self.servers[usize::from(server.0)].holders.find(id)?;
        (self.users.get(user_id)?.subscription.as_ref() == Some(id)).then_some(user_id)
    }

    /// The server has just given this id to `user`: nobody else's is it any more.
    pub(super) fn take_from_others(
        &mut self,
        now: Now,
        server: MailServerId,
        id: &SubscriptionId,
        user: UserId,
        fx: &mut Effects,
    ) {
        let holders = &self.servers[usize::from(server.0)].holders;
        let first = !holders.repeats && holders.was_lost(id);
        if let Some(other) = self.holder(server, id).filter(|other| *other != user) {
            self.take_from(now, server, other, fx);
        }
        if first {
            let earlier = self.users.iter().filter(|(other, row)| {
                *other != user && row.server == Some(server) && row.subscription.is_some()
            });
            for other in earlier.map(|(other, _)| other).collect::<Vec<_>>() {
                self.take_from(now, server, other, fx);
            }
        }
    }

    /// The id that this mailbox holds is another's, too.
    pub(super) fn take_from(&mut self, now: Now, server: MailServerId, other: UserId, fx: &mut Effects) {
        self.note_repeats(server, fx);
        let error = EwsError::new(ResponseCode::SubscriptionReused, "", None);
        self.lose_mailbox(now, other, &error, fx);
        self.end_streams_naming(now, other, fx);
    }

    /// The server gives ids out again. What waits to be given back may be somebody else's by now.
    fn note_repeats(&mut self, server_id: MailServerId, fx: &mut Effects) {
        let server = &mut self.servers[usize::from(server_id.0)];
        if !std::mem::replace(&mut server.holders.repeats, true) {
            server.farewells.clear();
            let trouble = EwsError::new(ResponseCode::SubscriptionReused, "", None).trouble();
            fx.report(Report::MailServerNoted { server: server_id, note: trouble });
        }
    }

    /// Whether nobody can know whose subscription this id names after a while.
    pub(super) fn may_repeat(&self, server: MailServerId, id: &SubscriptionId) -> bool {
        self.servers[usize::from(server.0)].holders.may_repeat(id)
    }

    /// The stream ended as it should not, or ids on it are unknown to the server: perhaps it has restarted. Ids that it may
    /// have given to others since are made anew.
    pub(super) fn distrust(&mut self, server: MailServerId, users: &[UserId]) {
        for user_id in users {
            let Some(id) = self.users.get(*user_id).and_then(|user| user.subscription.as_ref()) else {
                continue;
            };
            if self.may_repeat(server, id) {
                self.renew_subscription(*user_id);
            }
        }
    }

    pub(super) fn renew_subscription(&mut self, user_id: UserId) {
        self.set_live(user_id, false);
        self.forget_subscription(user_id);
        if let Some(user) = self.users.get_mut(user_id) {
            user.needs.add(Needs::SUBSCRIBE);
            user.miss();
        }
    }

    /// The server says that a stream is over. Before its time, that may be because it restarts, or because somebody else
    /// reads its subscriptions, and has been told what was for these mailboxes. Two who read the same end each other's streams
    /// again and again, until one of them has another.
    pub(super) fn look_at_close(&mut self, now: Now, conn_id: ConnId, cohort_id: CohortId) {
        let Some(Kind::Stream { users, closes, .. }) = self.conns.get(conn_id).map(|conn| &conn.kind) else {
            return;
        };
        if now.time + EARLY_CLOSE >= *closes {
            return;
        }
        let users = users.clone();
        let Some(cohort) = self.cohorts.get(cohort_id) else { return };
        if cohort.is_retiring(conn_id) {
            return;
        }
        let server = cohort.server;
        let in_a_row = cohort.failures >= EARLY_CLOSES_MAX;
        self.distrust(server, &users);
        for user_id in users {
            match self.users.get_mut(user_id) {
                // Whoever reads it is not disturbed by giving it back.
                Some(user) if in_a_row && user.subscription.is_some() => self.renew_subscription(user_id),
                Some(user) => user.miss(),
                None => {}
            }
        }
    }

    /// Events of folders that are none of this mailbox's own came on its subscription, which may be another's: none of them
    /// counts, and the mailbox is looked into. Its subscription is made anew; but a server that will not name folders as it
    /// does elsewhere is not asked for new ones without end.
    pub(super) fn foreign_events(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let Some(server) = user.server else { return };
        let folders_match = self.servers[usize::from(server.0)].holders.folders_match;
        let times = Setback::times(user.setback.as_deref(), now.time, Action::Resubscribe);
        // Perhaps it is the mailbox that is another by now. Until its folders are known again, no event counts.
        user.forget_folder_hashes();
        user.needs.add(Needs::BADGE);
        if times >= FOREIGN_RENEWALS_MAX || user.doubted && !folders_match {
            user.miss();
            return self.request_call(now, user_id, fx);
        }
        user.doubted = true;
        if folders_match {
            self.note_repeats(server, fx);
        }
        let error = EwsError::new(ResponseCode::ForeignEvents, "", None);
        self.lose_mailbox(now, user_id, &error, fx);
        self.end_streams_naming(now, user_id, fx);
    }

    /// An event named a folder of the mailbox's own.
    pub(super) fn own_event(&mut self, user_id: UserId) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        user.doubted = false;
        if let Some(server) = user.server {
            self.servers[usize::from(server.0)].holders.folders_match = true;
        }
    }

    /// No stream reads on with the subscription that this mailbox had.
    fn end_streams_naming(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        let Some(cohort_id) = self.users.get(user_id).and_then(|user| user.cohort) else { return };
        let Some(cohort) = self.cohorts.get(cohort_id) else { return };
        let (retiring, present) = (cohort.retiring, cohort.stream);
        let trouble = EwsError::new(ResponseCode::SubscriptionReused, "", None).trouble();
        for conn_id in retiring.into_iter().chain(present) {
            if !self.users_on(conn_id).contains(&user_id) {
                continue;
            }
            match Some(conn_id) == retiring {
                true => self.stream_broken(now, conn_id, cohort_id, &trouble, fx),
                false => {
                    self.miss_what_is_told(conn_id);
                    self.stream_spoilt(now, conn_id, cohort_id, fx);
                }
            }
        }
    }

    /// Each subscription is held by the one in whose row it stands.
    pub(super) fn check_holders(&self) -> Result<(), String> {
        let mut held = vec![0; self.servers.len()];
        for (id, user) in self.users.iter() {
            let (Some(server), Some(subscription)) = (user.server, &user.subscription) else { continue };
            held[usize::from(server.0)] += 1;
            if self.holder(server, subscription) != Some(id) {
                return Err(format!("{:?} has a subscription that somebody else holds", user.key));
            }
        }
        for (at, (server, held)) in self.servers.iter().zip(held).enumerate() {
            if server.holders.len() != held {
                return Err(format!("server {at}: {held} subscriptions, {} holders", server.holders.len()));
            }
        }
        Ok(())
    }
}
