//! Calls that were refused: whom it concerns, and when they are made again.

use super::core::ShardCore;
use super::fetch::why;
use super::server::{Ask, Job};
use super::{Effects, MailServerId};
use crate::ews::{Action, EwsError, ResponseCode, SchemaVersion};
use crate::limits::FETCH_TRIES_MAX;
use crate::time::{Now, Span, Time};
use crate::user::{Needs, Setback};

/// How a request was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) version: SchemaVersion,
    pub(super) at: Time,
}

impl ShardCore {
    /// A call was refused: whom it concerns and what can be done, [`EwsError::action`] says.
    pub(super) fn call_failed(
        &mut self,
        now: Now,
        server_id: MailServerId,
        job: &Job,
        error: &EwsError,
        sent: Sent,
        fx: &mut Effects,
    ) {
        let failures = job.user().and_then(|id| self.users.get(id)).map_or(0, |user| user.call_failures);
        let looks = matches!(job, Job::OfUser { ask: Ask::CatchUp { .. }, .. });
        let unreadable = error.code == ResponseCode::Malformed;
        let of_a_mail = match error.action() {
            Action::ItemUnreadable | Action::ItemGone => true,
            // One such mail on a page is enough for it.
            Action::RetryOrBisect => failures > 0,
            _ => unreadable || matches!(error.code, ResponseCode::Unknown(_)),
        };
        // What was refused waits as long as ever; what only could not be read is asked for anew at once.
        let otherwise = (unreadable || looks && of_a_mail) && self.unreadable(job, &why(error), fx);
        if otherwise && unreadable {
            return self.ask_anew(now, job, fx);
        }
        if of_a_mail
            && looks
            && let Some(user_id) = job.user()
            && self.users.get(user_id).is_some_and(|user| !user.live)
        {
            // Not for the reason for which it was not watched before.
            self.set_unwatched(user_id, &error.trouble(), fx);
        }
        self.front_busy(now, server_id, error, fx);
        let mut wait = self.remedy(error, failures).wait;
        let asked = error.asked_wait();
        let of_folder = self.folder_refused(now, job, error, sent.version, fx);
        match error.action() {
            _ if of_folder.is_some() => wait = of_folder.unwrap_or_default().max(asked),
            Action::OurBug if self.doubt_version(now, server_id, error, sent.version) => wait = asked,
            Action::AuthFailed => self.server_refused(now, server_id, error, fx),
            Action::NoCommonAuth => self.server_closed_to_us(now, server_id, error, fx),
            Action::BackOffAccount { ms } => self.budget_busy(now, server_id, Some(job.charged()), ms, fx),
            Action::LowerVersion => {
                wait = match self.lower_version(now, server_id, sent.version) {
                    true => asked,
                    false => self.mailbox_refused(now, job, error, fx),
                };
            }
            Action::DropFolder => {
                if failures == 0 {
                    wait = asked;
                }
            }
            Action::StartOver => {
                if let Some(user) = job.user().and_then(|id| self.users.get_mut(id)) {
                    user.set_sync_now(None);
                    (user.catch_up_offset, user.catch_up_future) = (0, 0);
                }
                if failures == 0 {
                    wait = asked;
                }
            }
            Action::RetryConnection => self.server_failed(now, server_id, error, Some(job.charged()), fx),
            Action::FewerConnections { .. } => self.fewer_calls(now, server_id, sent.at, fx),
            Action::RetryOrBisect
            | Action::CatchUp
            | Action::StepAside
            | Action::Resubscribe
            | Action::ItemGone
            | Action::ItemUnreadable
            | Action::RetryItem
            | Action::ConvertId => {}
            Action::Alarm => {
                self.server_alarmed(now, server_id, error, Some(job.charged()), fx);
                wait = self.mailbox_refused(now, job, error, fx);
            }
            Action::Rediscover
            | Action::AwaitMove
            | Action::AwaitStore
            | Action::FewerSubscriptions
            | Action::MailboxGone
            | Action::Terminal
            | Action::OurBug => wait = self.mailbox_refused(now, job, error, fx),
        }
        self.retry_later(now, job, wait, fx);
        if let Some(user_id) = job.user() {
            // What is asked next to find out which folder it is belongs to the same try.
            let step = of_folder == Some(Span::ZERO);
            if let Some(user) = self.users.get_mut(user_id).filter(|_| !step) {
                user.call_failures = failures.saturating_add(1);
            }
            self.arm_user(user_id);
        }
    }

    /// The mailbox itself cannot be watched for now. If its cohort hangs on it, another member takes its place. Returns
    /// for how long.
    fn mailbox_refused(&mut self, now: Now, job: &Job, error: &EwsError, fx: &mut Effects) -> Span {
        let Some(user_id) = job.user() else { return Span::ZERO };
        let Some(user) = self.users.get(user_id) else { return Span::ZERO };
        // Of the same kind, and without a success since: what worked a moment ago is tried again soon.
        let earlier = Setback::times(user.setback.as_deref(), now.time, error.action());
        let times = earlier.min(user.call_failures);
        let remedy = self.remedy(error, times);
        self.set_back(now, user_id, error, remedy, fx);
        if let Job::OfUser { ask: Ask::Subscribe(_), .. } = job
            && let Some(cohort_id) = self.is_anchor(user_id)
            && self.cohorts.get(cohort_id).is_some_and(|cohort| !cohort.is_rooted())
        {
            self.drop_anchor(now, cohort_id, &error.trouble(), fx);
        }
        remedy.wait
    }

    /// The call is still needed; its user asks for it again, not before `wait` is over.
    pub(super) fn retry_later(&mut self, now: Now, job: &Job, wait: Span, fx: &mut Effects) {
        let Some(user_id) = job.user() else { return };
        let Some(user) = self.users.get_mut(user_id) else { return };
        let fetches = matches!(job, Job::OfUser { ask: Ask::Fetch(_) | Ask::Convert(_), .. });
        if fetches {
            // A notice waits for this one: after a second failure it goes out without details.
            for item in user.pending.items_mut() {
                item.fetch_tries = item.fetch_tries.saturating_add(1);
            }
            if user.pending.items().iter().all(|item| item.fetch_tries >= FETCH_TRIES_MAX) {
                user.needs.remove(Needs::FETCH);
            }
        }
        user.call_not_before = user.call_not_before.max(now.time + wait);
        if fetches {
            self.look_due(now, user_id, fx);
        }
        self.request_call(now, user_id, fx);
    }
}
