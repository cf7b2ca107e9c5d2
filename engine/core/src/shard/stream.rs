//! What the streaming connections say, and whom it concerns.

use super::cohort::CohortId;
use super::conn::Kind;
use super::core::ShardCore;
use super::{ConnId, Effects, Trouble};
use crate::ews::{Action, EwsError, MailEvent, StreamEvent};
use crate::names::SubscriptionId;
use crate::signal::MailSignal;
use crate::time::Now;
use crate::user::{Needs, UserId, item_hash};

impl ShardCore {
    /// Takes everything that the stream's machine has to say.
    pub(super) fn pump_stream(&mut self, now: Now, conn_id: ConnId, fx: &mut Effects) {
        loop {
            let Some(conn) = self.conns.get_mut(conn_id) else { return };
            let Kind::Stream { cohort, machine: Some(machine), .. } = &mut conn.kind else { return };
            let cohort_id = *cohort;
            let Some(event) = machine.poll() else { return };
            match event {
                StreamEvent::Opened => self.stream_opened(now, conn_id, cohort_id, fx),
                StreamEvent::Heartbeat => {}
                StreamEvent::Notification { subscription, events } => {
                    self.stream_notified(now, cohort_id, &subscription, events, fx);
                }
                StreamEvent::Closed => self.stream_closed(now, conn_id, cohort_id, fx),
                StreamEvent::Failed { error, bad_ids } => {
                    self.stream_failed(now, conn_id, cohort_id, &error, &bad_ids, fx);
                }
                StreamEvent::Broken(broken) => {
                    let trouble = broken.trouble();
                    self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
                }
            }
        }
    }

    fn stream_notified(
        &mut self,
        now: Now,
        cohort_id: CohortId,
        subscription: &SubscriptionId,
        events: Vec<MailEvent>,
        fx: &mut Effects,
    ) {
        let Some(user_id) = self.cohorts.get(cohort_id).and_then(|cohort| cohort.user_of(subscription))
        else {
            return;
        };
        let Some(user) = self.users.get(user_id) else { return };
        if user.subscription.as_ref() != Some(subscription) {
            return;
        }
        let only_inbox =
            user.inbox_only || user.server.is_some_and(|server| self.mail_server(server).folders.is_empty());
        for event in events {
            let signal = match event {
                MailEvent::NewMail { item, at, .. } => MailSignal::NewMail { item, received: at, vip: false },
                MailEvent::Deleted { item, .. } => MailSignal::Gone { item },
                // A mail that somebody moved has another id from now on, and is no news where it went.
                MailEvent::Moved { old_item, .. } => MailSignal::Gone { item: old_item },
                MailEvent::ItemModified { item, .. } => MailSignal::Touched { item },
                MailEvent::FolderModified { folder, unread: Some(count), .. } => {
                    let hash = item_hash(&self.config.item_key, folder.as_str());
                    let inbox = self.users.get(user_id).and_then(|user| user.inbox);
                    if !only_inbox && inbox != Some(hash) {
                        continue;
                    }
                    MailSignal::Unread { count }
                }
                MailEvent::Unclear => MailSignal::Gap,
                // `NewMail` follows for what is new; what is merely created was put there by the user himself.
                MailEvent::Created { .. }
                | MailEvent::Copied { .. }
                | MailEvent::FolderModified { unread: None, .. }
                | MailEvent::FolderOther
                | MailEvent::Status => continue,
            };
            self.signal(now, user_id, signal, fx);
        }
    }

    /// An error on the stream: for the ids that it names, or for the whole connection (exchange-ews §3.6).
    fn stream_failed(
        &mut self,
        now: Now,
        conn_id: ConnId,
        cohort_id: CohortId,
        error: &EwsError,
        bad_ids: &[SubscriptionId],
        fx: &mut Effects,
    ) {
        let Some(cohort) = self.cohorts.get(cohort_id) else { return };
        let server = cohort.server;
        let trouble = error.trouble();
        let mut bad: Vec<UserId> = bad_ids.iter().filter_map(|id| cohort.user_of(id)).collect();
        let whole = bad_ids.is_empty();
        if whole && let Some(Kind::Stream { users, .. }) = self.conns.get(conn_id).map(|conn| &conn.kind) {
            bad = users.clone();
        }
        match error.action() {
            Action::StepAside => self.stream_taken(now, conn_id, cohort_id, &trouble, fx),
            Action::CatchUp => {
                // The subscriptions live on, and so does the connection.
                for user_id in bad {
                    if let Some(user) = self.users.get_mut(user_id) {
                        user.needs.add(Needs::CATCH_UP);
                    }
                    self.request_call(now, user_id, fx);
                }
            }
            Action::BackOffAccount { ms } => {
                self.server_busy(now, server, ms, fx);
                self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
            }
            Action::AuthFailed => {
                let present = self.servers[usize::from(server.0)].credential;
                let asked_with = match self.conns.get(conn_id).map(|conn| &conn.kind) {
                    Some(Kind::Stream { credential, .. }) => *credential,
                    _ => present,
                };
                // What was asked with an earlier credential says nothing of the present one.
                if asked_with == present {
                    self.server_refused(now, server, error, fx);
                }
                self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
            }
            Action::RetryConnection | Action::RetryOrBisect => {
                let failures = self.cohorts.get(cohort_id).map_or(0, |cohort| cohort.failures);
                let wait = self.pause_after(error, failures);
                self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
                self.delay_cohort(now, cohort_id, wait, fx);
            }
            Action::LowerVersion => {
                self.lower_version(server);
                self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
            }
            Action::Resubscribe
            | Action::DropFolder
            | Action::ItemGone
            | Action::ItemUnreadable
            | Action::RetryItem
            | Action::ConvertId => {
                self.lose_and_reopen(now, conn_id, cohort_id, &bad, &trouble, fx);
            }
            Action::FewerConnections { .. } => {
                // Another mailbox may have a connection to spare.
                let wait = self.pause_after(error, 0);
                self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
                self.change_budget(cohort_id);
                self.delay_cohort(now, cohort_id, wait, fx);
            }
            Action::Rediscover
            | Action::AwaitMove
            | Action::AwaitStore
            | Action::FewerSubscriptions
            | Action::MailboxGone
            | Action::Alarm
            | Action::Terminal
            | Action::OurBug => {
                let failures = self.cohorts.get(cohort_id).map_or(0, |cohort| cohort.failures);
                let wait = self.pause_after(error, failures);
                if whole {
                    self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
                    self.drop_anchor(now, cohort_id, &trouble, fx);
                    self.delay_cohort(now, cohort_id, wait, fx);
                } else {
                    self.hold_calls(now, &bad, wait);
                    self.lose_and_reopen(now, conn_id, cohort_id, &bad, &trouble, fx);
                }
            }
        }
    }

    /// One bad id silences the good ones on its connection: reopen at once without it, subscribe it anew.
    fn lose_and_reopen(
        &mut self,
        now: Now,
        conn_id: ConnId,
        cohort_id: CohortId,
        bad: &[UserId],
        trouble: &Trouble,
        fx: &mut Effects,
    ) {
        let bad = if planted!(BadIdKept) { bad.get(1..).unwrap_or_default() } else { bad };
        self.lose_subscriptions(now, cohort_id, bad, trouble, fx);
        self.stream_closed(now, conn_id, cohort_id, fx);
    }

    fn hold_calls(&mut self, now: Now, users: &[UserId], wait: crate::time::Span) {
        for user_id in users {
            if let Some(user) = self.users.get_mut(*user_id) {
                user.call_not_before = user.call_not_before.max(now.time + wait);
            }
        }
    }
}
