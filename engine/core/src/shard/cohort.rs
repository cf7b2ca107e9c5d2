//! Cohorts: up to 200 mailboxes that share one streaming connection.
//!
//! ```text
//! gather → subscribe the anchor → (cookie) → subscribe the others → open the stream → streaming
//! closed in good order → reopen at once            broken → back off, reopen, catch every member up
//! bad ids → reopen without them, subscribe them anew    new members → a second stream takes over, the first ends by itself
//! ```

use super::core::ShardCore;
use super::{ConnId, Effects, MailServerId, Trouble};
use crate::arena::Id;
use crate::http1::Cookies;
use crate::limits::{COHORT_GATHER, SETBACK_CALM, STREAM_STEADY};
use crate::names::SmtpAddress;
use crate::time::{Now, Span, Time};
use crate::user::UserId;
use crate::wheel::TimerSlot;

/// Names a cohort.
pub type CohortId = Id<Cohort>;

/// Mailboxes that share a streaming connection: same server, same `GroupingInformation`.
#[derive(Debug)]
pub struct Cohort {
    pub(super) server: MailServerId,
    pub(super) grouping: Box<str>,
    /// Counts the shard's cohorts as they are founded.
    pub(super) number: u64,
    /// The anchor of the stored subscriptions that it was founded for.
    pub(super) stored_anchor: Option<SmtpAddress>,
    /// The mailbox by which all requests of the cohort are routed.
    pub(super) anchor: Option<SmtpAddress>,
    pub(super) anchor_user: Option<UserId>,
    /// Who is impersonated for the stream, when the anchor's own budget for streams is exhausted.
    pub(super) charged: Option<UserId>,
    /// They lead to the back end that holds the subscriptions.
    pub(super) cookies: Cookies,
    /// The anchor's own subscription has been answered (or came from the store): the others may follow.
    pub(super) rooted: bool,
    /// First subscriptions in a row that were not answered.
    pub(super) leads_lost: u8,
    pub(super) members: Vec<UserId>,
    pub(super) stream: Option<ConnId>,
    /// The stream that the present one takes over from. It is read until the server ends it, so that nothing gets lost.
    pub(super) retiring: Option<ConnId>,
    pub(super) opened: bool,
    pub(super) opened_at: Option<Time>,
    /// Since when subscribed members wait for a stream that tells of them.
    pub(super) joining_since: Option<Time>,
    /// When a member was subscribed last.
    pub(super) subscribed_at: Time,
    /// Since when each stream has ended in good order, if it has ended.
    pub(super) works_since: Option<Time>,
    pub(super) detached_since: Option<Time>,
    /// The stream ended in good order, and the owner still takes the members for watched: when he is told otherwise.
    pub(super) untold_until: Option<Time>,
    /// When the pace of openings lets this cohort's stream be opened.
    pub(super) slot: Option<Time>,
    pub(super) not_before: Time,
    /// Streams of several members in a row that were refused for some of them.
    pub(super) group_refusals: u8,
    /// The present stream has told something after its opening.
    pub(super) delivers: bool,
    /// Streams in a row that fell silent right after their opening.
    pub(super) mute: u8,
    /// What the last stream failed of.
    pub(super) trouble: Option<Box<Trouble>>,
    /// When members without a stream are looked into next.
    pub(super) poll_at: Option<Time>,
    /// Streams in a row that did not last.
    pub(super) failures: u8,
    /// Of these, those that Exchange refused without saying why.
    pub(super) unexplained: u8,
    /// Members of whom one is thought to be the reason; empty while nobody is suspected.
    pub(super) suspects: Vec<UserId>,
    /// When members whose stream another owner took are taken back.
    pub(super) aside_until: Option<Time>,
    pub(super) timer: TimerSlot,
}

impl Cohort {
    /// Whether this member's subscription may be asked for: the anchor goes first, the others follow its cookie.
    pub(super) fn may_subscribe(&self, user: UserId) -> bool {
        self.anchor.is_some() && (self.rooted || self.anchor_user == Some(user))
    }

    /// Whether the present stream has told that it is open.
    pub(super) fn is_open(&self) -> bool {
        self.opened
    }

    pub(super) fn is_retiring(&self, conn: ConnId) -> bool {
        self.retiring == Some(conn)
    }

    /// The next requests find a back end of their own.
    pub(super) fn forget_route(&mut self) {
        self.anchor = None;
        self.anchor_user = None;
        self.charged = None;
        self.cookies = Cookies::default();
        self.rooted = false;
    }

    /// Whether the present stream has been open long enough to count as one that works.
    pub(super) fn is_steady(&self, now: Time) -> bool {
        self.opened && self.opened_at.is_some_and(|at| now.since(at) >= STREAM_STEADY)
    }

    /// Whether streams have told for so long that the members work.
    pub(super) fn is_calm(&self, now: Time) -> bool {
        self.works_since.is_some_and(|since| now.since(since) >= SETBACK_CALM)
    }

    pub(super) fn is_rooted(&self) -> bool {
        self.rooted
    }

    /// No stream of it has been open yet, and nothing that is stored waits for one.
    pub(super) fn is_new(&self) -> bool {
        self.opened_at.is_none() && self.stored_anchor.is_none()
    }
}

impl ShardCore {
    /// No cohort of a server waits after a failure any longer; one that still gathers its members goes on doing so.
    pub(super) fn release_cohorts_of(&mut self, now: Now, server: MailServerId) {
        for (_, cohort) in self.cohorts.iter_mut().filter(|(_, cohort)| cohort.server == server) {
            cohort.not_before = cohort.not_before.min(now.time + COHORT_GATHER);
        }
    }

    /// Every cohort of a server looks at what it may do now.
    pub(super) fn step_cohorts_of(&mut self, now: Now, server: MailServerId, fx: &mut Effects) {
        let ids: Vec<CohortId> =
            self.cohorts.iter().filter(|(_, cohort)| cohort.server == server).map(|(id, _)| id).collect();
        for id in ids {
            self.step_cohort(now, id, fx);
        }
    }

    /// Does the next thing that is due for a cohort, and sets its timer for the one after.
    pub(super) fn step_cohort(&mut self, now: Now, cohort_id: CohortId, fx: &mut Effects) {
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        if cohort.members.is_empty() {
            return self.dissolve_cohort(cohort_id, fx);
        }
        let polls = self.poll_members(now, cohort_id, fx);
        let untold = self.tell_unstreamed(now, cohort_id, fx);
        let later = polls.into_iter().chain(untold).min();
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        if cohort.not_before > now.time {
            let at = later.map_or(cohort.not_before, |at| at.min(cohort.not_before));
            self.wheel.arm(&cohort.timer, at);
            return;
        }
        if cohort.aside_until.is_some_and(|until| until <= now.time) {
            cohort.aside_until = None;
            for user_id in &cohort.members {
                if let Some(user) = self.users.get_mut(*user_id) {
                    user.aside = false;
                }
            }
        }
        if !cohort.rooted {
            self.elect_anchor(now, cohort_id);
        }
        self.request_subscriptions(now, cohort_id, fx);
        let next = self.join_members(now, cohort_id, fx);
        if let Some(cohort) = self.cohorts.get(cohort_id)
            && let Some(at) = next.into_iter().chain(cohort.aside_until).chain(later).min()
        {
            self.wheel.arm(&cohort.timer, at);
        }
    }

    /// As [`ShardCore::delay_cohort`], in place of what was to be waited for.
    pub(super) fn set_cohort_delay(&mut self, now: Now, cohort_id: CohortId, wait: Span, fx: &mut Effects) {
        if let Some(cohort) = self.cohorts.get_mut(cohort_id) {
            cohort.not_before = now.time + wait;
        }
        self.step_cohort(now, cohort_id, fx);
    }

    /// The cohort waits before its next step.
    pub(super) fn delay_cohort(&mut self, now: Now, cohort_id: CohortId, wait: Span, fx: &mut Effects) {
        if let Some(cohort) = self.cohorts.get_mut(cohort_id) {
            cohort.not_before = cohort.not_before.max(now.time + wait);
        }
        self.step_cohort(now, cohort_id, fx);
    }
}
