//! What is done about an error that concerns single mailboxes: how long they wait, and where they are tried again. What
//! concerns a whole stream is in `stream.rs`, a whole server in `health.rs`.

use super::cohort::CohortId;
use super::core::ShardCore;
use super::{Effects, Report};
use crate::ews::{Action, EwsError};
use crate::limits::{
    ALARM_RETRY, MAIL_BACK_OFF, MAILBOX_GONE_RETRY, MOVE_BACK_OFF, STEP_ASIDE_RETRY, STORE_TRIES_MAX,
    TERMINAL_RETRY,
};
use crate::time::{Now, Span};
use crate::user::{Needs, Setback, UserId};

/// What an error asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remedy {
    /// Nothing is asked for so long.
    pub(super) wait: Span,
    /// The mailbox is to be looked for anew, and no longer behind its cohort's back end.
    pub(super) elsewhere: bool,
}

impl ShardCore {
    /// What to do about an error after `times` of the same kind in a row (exchange-ews §2.4 and §3.6).
    pub(super) fn remedy(&mut self, error: &EwsError, times: u8) -> Remedy {
        let (wait, elsewhere) = match error.action() {
            Action::AuthFailed | Action::NoCommonAuth => (Span::ZERO, false),
            Action::BackOffAccount { ms } | Action::FewerConnections { ms } => (Span::from_millis(ms), false),
            Action::RetryConnection
            | Action::RetryOrBisect
            | Action::CatchUp
            | Action::StepAside
            | Action::Resubscribe
            | Action::DropFolder
            | Action::StartOver
            | Action::ItemGone
            | Action::ItemUnreadable
            | Action::RetryItem
            | Action::ConvertId => (self.jittered(MAIL_BACK_OFF.0, MAIL_BACK_OFF.1, times), false),
            Action::Rediscover | Action::AwaitMove => {
                (self.jittered(MOVE_BACK_OFF.0, MOVE_BACK_OFF.1, times), true)
            }
            Action::AwaitStore if times < STORE_TRIES_MAX => {
                (self.jittered(MOVE_BACK_OFF.0, MOVE_BACK_OFF.1, times), false)
            }
            Action::AwaitStore => (MOVE_BACK_OFF.1, true),
            Action::MailboxGone => (self.jittered(MOVE_BACK_OFF.0, MAILBOX_GONE_RETRY, times), times == 0),
            // Some of these pass by themselves within moments, and nothing tells which.
            Action::FewerSubscriptions => (self.jittered(MOVE_BACK_OFF.0, ALARM_RETRY, times), false),
            Action::Alarm => (self.jittered(MAIL_BACK_OFF.0, ALARM_RETRY, times), false),
            Action::Terminal | Action::OurBug | Action::LowerVersion => {
                (self.jittered(MAIL_BACK_OFF.0, TERMINAL_RETRY, times), false)
            }
        };
        Remedy { wait: wait.max(error.asked_wait()), elsewhere }
    }

    /// A stream says that this mailbox's subscription is gone or of no use: it is made anew, at once the first time.
    pub(super) fn lose_mailbox(&mut self, now: Now, user_id: UserId, error: &EwsError, fx: &mut Effects) {
        let action = error.action();
        if let Some(user) = self.users.get_mut(user_id).filter(|user| user.streaming)
            && let Some(setback) = user.setback.as_deref_mut()
            && user.cohort.and_then(|id| self.cohorts.get(id)).is_some_and(|cohort| cohort.is_calm(now.time))
        {
            setback.is_over(now.time);
        }
        let earlier = self.users.get(user_id).and_then(|user| user.setback.as_deref());
        let times = Setback::times(earlier, now.time, action);
        let at_once = match action {
            Action::Resubscribe
            | Action::CatchUp
            | Action::RetryOrBisect
            | Action::DropFolder
            | Action::StartOver
            | Action::ItemGone
            | Action::ItemUnreadable
            | Action::RetryItem
            | Action::ConvertId => true,
            Action::Rediscover
            | Action::AwaitMove
            | Action::AwaitStore
            | Action::RetryConnection
            | Action::BackOffAccount { .. }
            | Action::FewerConnections { .. }
            | Action::FewerSubscriptions
            | Action::MailboxGone
            | Action::Alarm
            | Action::Terminal
            | Action::AuthFailed
            | Action::NoCommonAuth
            | Action::OurBug
            | Action::StepAside
            | Action::LowerVersion => false,
        };
        let remedy = match (at_once, times) {
            (true, 0) => Remedy { wait: error.asked_wait(), elsewhere: false },
            (true, n) => self.remedy(error, n - 1),
            (false, n) => self.remedy(error, n),
        };
        if action == Action::CatchUp
            && let Some(cohort_id) = self.users.get(user_id).and_then(|user| user.cohort)
        {
            // Alive, and not worth keeping.
            self.give_back(now, cohort_id, user_id, fx);
        }
        self.forget_subscription(user_id);
        if let Some(user) = self.users.get_mut(user_id) {
            user.folders_doubtful |=
                action == Action::DropFolder && user.folders.iter().any(|folder| folder.is_watched());
            user.needs.add(Needs::SUBSCRIBE);
            user.miss();
        }
        self.set_back(now, user_id, error, remedy, fx);
    }

    /// A mailbox cannot be watched for now. Tells the owner, and sees to it that it is tried again as the remedy says.
    pub(super) fn set_back(
        &mut self,
        now: Now,
        user_id: UserId,
        error: &EwsError,
        remedy: Remedy,
        fx: &mut Effects,
    ) {
        let trouble = error.trouble();
        let Some(user) = self.users.get(user_id) else { return };
        // Whose events are told on an open stream is watched, whatever else is refused, unless something is looked for.
        if !user.streaming || user.needs.has(Needs::CATCH_UP) {
            self.set_unwatched(user_id, &trouble, fx);
        }
        let Some(user) = self.users.get_mut(user_id) else { return };
        Setback::note(&mut user.setback, now.time, error.action(), remedy.wait);
        user.call_not_before = user.call_not_before.max(now.time + remedy.wait);
        let anchors = user.cohort.filter(|cohort| {
            self.cohorts.get(*cohort).is_some_and(|cohort| cohort.anchor.as_ref() == Some(&user.address))
        });
        // One that is nowhere may be found by its owner only, however rarely it is tried.
        if remedy.elsewhere || error.action() == Action::MailboxGone {
            fx.report(Report::Misplaced { user: user.key, trouble: trouble.clone() });
        }
        match (error.action(), anchors) {
            // Requests cannot be routed by an address that is no mailbox.
            (Action::MailboxGone, Some(cohort)) => self.drop_anchor(now, cohort, &trouble, fx),
            _ if remedy.elsewhere => self.change_cohort(now, user_id, fx),
            _ => {}
        }
        self.arm_user(user_id);
    }

    /// A mailbox without a subscription leaves the route on which it cannot be reached, and its neighbours in peace.
    fn change_cohort(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get(user_id) else { return };
        if user.subscription.is_some() {
            return;
        }
        let Some(cohort_id) = user.cohort else { return };
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        if cohort.members.len() == 1 {
            // Alone already: another route is enough.
            return cohort.forget_route();
        }
        let grouping = cohort.grouping.clone();
        self.leave_cohort(now, user_id, fx);
        self.join_cohort(now, user_id, &grouping, None, Some(cohort_id), fx);
    }

    /// Takes a user's subscription out of his row and his server's table.
    pub(super) fn forget_subscription(&mut self, user_id: UserId) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        user.streaming = false;
        if let Some(subscription) = user.subscription.take()
            && let Some(server) = user.server
        {
            self.servers[usize::from(server.0)].holders.release(&subscription, user_id);
        }
    }

    /// Another owner took these mailboxes' events over: they are left alone until it is known whose they are.
    pub(super) fn stand_aside(
        &mut self,
        now: Now,
        cohort_id: CohortId,
        users: &[UserId],
        error: &EwsError,
        fx: &mut Effects,
    ) {
        let trouble = error.trouble();
        for user_id in users {
            self.set_live(*user_id, false);
            let Some(user) = self.users.get_mut(*user_id) else { continue };
            user.aside = true;
            user.streaming = false;
            // What happens meanwhile is the other's to tell, but perhaps there is no other.
            user.miss();
            fx.report(Report::Taken { user: user.key, trouble: trouble.clone() });
        }
        let wait = STEP_ASIDE_RETRY + Span(self.rng.below(STEP_ASIDE_RETRY.0 / 2));
        if let Some(cohort) = self.cohorts.get_mut(cohort_id) {
            cohort.aside_until = Some(now.time + wait);
        }
    }

    /// The owner says that a mailbox is ours, and there: nobody else's stream is to be respected any more, and what was
    /// refused is tried at once. An exhausted budget is not his to say.
    pub(super) fn take_back(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let busy_until = user.setback.as_deref().and_then(|setback| setback.busy_until(now.time));
        let free_at = busy_until.unwrap_or(now.time);
        let waited = user.call_not_before > free_at;
        user.call_not_before = user.call_not_before.min(free_at);
        let aside = std::mem::take(&mut user.aside);
        let cohort = user.cohort;
        if waited {
            self.request_call(now, user_id, fx);
            self.arm_user(user_id);
        }
        if let Some(cohort) = cohort.filter(|_| waited || aside) {
            self.step_cohort(now, cohort, fx);
        }
    }
}
