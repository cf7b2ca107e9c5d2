//! Whose budget pays (exchange-ews §4): that of the mailbox that is impersonated, or the account's own.

use super::blame::Refused;
use super::cohort::CohortId;
use super::core::ShardCore;
use super::{ConnId, Effects, MailServerId};
use crate::ews::Action;
use crate::names::SmtpAddress;
use crate::time::{Now, Span, Time};
use crate::user::{Setback, UserId};

impl ShardCore {
    /// A budget is exhausted: every call on it would lengthen the pause. Under impersonation it is that of one mailbox,
    /// and the others go on (exchange-ews §4.2). When one after the other says so, and then one that has just worked, and as
    /// long as nothing has succeeded, it is the server.
    pub(super) fn budget_busy(
        &mut self,
        now: Now,
        server_id: MailServerId,
        charged: Option<UserId>,
        back_off_ms: u64,
        fx: &mut Effects,
    ) {
        let back_off_ms = if planted!(BackOffIgnored) { 0 } else { back_off_ms };
        let until = now.time + Span::from_millis(back_off_ms);
        let impersonated = self.mail_server(server_id).impersonate;
        if let Some(user_id) = charged.filter(|_| impersonated)
            && let Some(user) = self.users.get_mut(user_id)
        {
            let action = Action::BackOffAccount { ms: back_off_ms };
            Setback::note(&mut user.setback, now.time, action, until.since(now.time));
            user.call_not_before = user.call_not_before.max(until);
            self.arm_user(user_id);
        }
        self.servers[usize::from(server_id.0)].slow_down(now.time, until);
        let of_server = self.is_of_server(now, server_id, Refused::Busy, charged);
        let proven = self.servers[usize::from(server_id.0)].proven;
        if of_server || !proven || !impersonated || charged.is_none() {
            self.server_busy(now, server_id, back_off_ms, fx);
        }
    }

    /// Too many calls at once, says the answer to one that was sent at `sent`. Under impersonation that is between this
    /// mailbox and whoever else acts for it: we never have two calls for a mailbox in flight. Otherwise all calls share the
    /// account's budget: half as many at once, and no connection kept for later.
    pub(super) fn fewer_calls(&mut self, now: Now, server_id: MailServerId, sent: Time, fx: &mut Effects) {
        if self.mail_server(server_id).impersonate {
            return;
        }
        let server = &mut self.servers[usize::from(server_id.0)];
        server.narrow(now.time, sent);
        self.close_idle_conns(server_id, fx);
    }

    /// Whose budget the stream is charged to: the anchor's, unless that was exhausted or refused.
    pub(super) fn charged_user(&self, cohort_id: CohortId) -> Option<UserId> {
        let cohort = self.cohorts.get(cohort_id)?;
        cohort
            .charged
            .filter(|id| self.users.get(*id).is_some())
            .or(cohort.anchor_user)
            .or(cohort.members.first().copied())
    }

    /// The stream is charged to another member's budget. Route, subscriptions and cookies stay (exchange-ews §4.2).
    pub(super) fn change_budget(&mut self, now: Now, cohort_id: CohortId) {
        let present = self.charged_user(cohort_id);
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        let at = cohort.members.iter().position(|member| Some(*member) == present).map_or(0, |at| at + 1);
        let after = cohort.members.iter().skip(at).chain(cohort.members.iter().take(at));
        let free = |id: &&UserId| {
            Some(**id) != present
                && self.users.get(**id).is_some_and(|user| user.call_not_before <= now.time && !user.aside)
        };
        cohort.charged = after.clone().find(free).or(after.clone().next()).copied();
    }

    /// Sees to it that the stream is charged to a budget on which something may be asked now. If there is none: how long
    /// that will take.
    pub(super) fn choose_budget(&mut self, now: Now, cohort_id: CohortId) -> Option<Span> {
        let held = |shard: &ShardCore| {
            let user = shard.users.get(shard.charged_user(cohort_id)?)?;
            (user.call_not_before > now.time).then(|| user.call_not_before.since(now.time))
        };
        held(self)?;
        self.change_budget(now, cohort_id);
        held(self)
    }

    /// Whom the stream acts for.
    pub(super) fn charged_address(&self, cohort_id: CohortId) -> Option<SmtpAddress> {
        let user = self.charged_user(cohort_id).and_then(|id| self.users.get(id));
        user.map(|user| user.address.clone()).or_else(|| self.cohorts.get(cohort_id)?.anchor.clone())
    }

    /// Whether a stream that is to take over can only be opened when the older one has ended: no other budget could pay for
    /// it.
    pub(super) fn must_make_way(&self, cohort_id: CohortId) -> bool {
        self.cohorts.get(cohort_id).is_some_and(|cohort| {
            let one_budget = !self.mail_server(cohort.server).impersonate || cohort.members.len() == 1;
            one_budget && cohort.retiring.is_some() && !cohort.opened
        })
    }

    /// There is no room for a second stream beside the first: that one ends, and one for all members is opened in its
    /// place.
    pub(super) fn make_way(&mut self, now: Now, conn_id: ConnId, cohort_id: CohortId, fx: &mut Effects) {
        self.detach_stream(now, conn_id, cohort_id, fx);
        let Some(older) = self.cohorts.get(cohort_id).and_then(|cohort| cohort.stream) else { return };
        self.miss_what_is_told(older);
        self.stream_spoilt(now, older, cohort_id, fx);
    }
}
