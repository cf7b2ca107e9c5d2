//! What the streaming connections say, and whom it concerns.

use super::cohort::CohortId;
use super::conn::Kind;
use super::core::ShardCore;
use super::{ConnId, Effects, Report};
use crate::ews::{Action, EwsError, MailEvent, StreamBreak, StreamEvent};
use crate::limits::RECOUNT_AFTER;
use crate::names::{FolderId, SubscriptionId};
use crate::signal::MailSignal;
use crate::time::{Now, Span};
use crate::user::{Needs, Setback, UserId, Whose, item_hash};

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
                StreamEvent::Heartbeat => {
                    self.group_works(conn_id, cohort_id);
                    self.stream_delivers(now, cohort_id, conn_id, fx);
                }
                StreamEvent::Notification { subscription, events } => {
                    self.group_works(conn_id, cohort_id);
                    self.stream_delivers(now, cohort_id, conn_id, fx);
                    self.stream_notified(now, conn_id, cohort_id, &subscription, events, fx);
                }
                StreamEvent::Closed => {
                    self.look_at_close(now, conn_id, cohort_id);
                    self.stream_closed(now, conn_id, cohort_id, fx);
                }
                StreamEvent::Failed { error, bad_ids } => {
                    self.stream_failed(now, conn_id, cohort_id, &error, &bad_ids, fx);
                }
                StreamEvent::Broken(broken) => {
                    let trouble = broken.trouble();
                    if let Some(cohort) = self.cohorts.get_mut(cohort_id)
                        && broken == StreamBreak::Silent
                        && cohort.stream == Some(conn_id)
                        && cohort.opened
                        && !cohort.delivers
                    {
                        cohort.mute = cohort.mute.saturating_add(1);
                    }
                    self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
                    if broken == StreamBreak::NotOpened {
                        // Perhaps the mailbox hangs for which it acts.
                        self.change_budget(now, cohort_id);
                    }
                }
            }
        }
    }

    fn stream_notified(
        &mut self,
        now: Now,
        conn_id: ConnId,
        cohort_id: CohortId,
        subscription: &SubscriptionId,
        events: Vec<MailEvent>,
        fx: &mut Effects,
    ) {
        let Some(cohort) = self.cohorts.get(cohort_id) else { return };
        let overtaken = cohort.is_retiring(conn_id) && cohort.is_open();
        let Some(user_id) = self.holder(cohort.server, subscription) else { return };
        if self.users.get(user_id).is_none_or(|user| user.cohort != Some(cohort_id)) {
            return;
        }
        let brings_mail = events.iter().any(|event| matches!(event, MailEvent::NewMail { .. }))
            && !events.iter().any(|event| {
                matches!(
                    event,
                    MailEvent::Deleted { .. }
                        | MailEvent::Moved { .. }
                        | MailEvent::Copied { .. }
                        | MailEvent::ItemModified { .. }
                )
            });
        for event in events {
            match self.whose_event(user_id, &event) {
                Some(Whose::Own) => self.own_event(user_id),
                Some(Whose::Unknown) => {
                    // Perhaps it is the mailbox's own. A look tells, and what its folders are.
                    if let Some(user) = self.users.get_mut(user_id) {
                        user.needs.add(Needs::BADGE);
                    }
                    self.signal(now, user_id, MailSignal::Gap, fx);
                    continue;
                }
                Some(Whose::Foreign) => return self.foreign_events(now, user_id, fx),
                None => {}
            }
            if let MailEvent::FolderModified { unread, .. } = &event
                && (unread.is_none() || !brings_mail)
                && !planted!(EventsCountRight)
                && let Some(user) = self.users.get_mut(user_id)
            {
                user.recount_at.get_or_insert(now.time + RECOUNT_AFTER);
                self.arm_user(user_id);
            }
            let signal = match event {
                MailEvent::NewMail { item, at, .. } => MailSignal::NewMail { item, received: at, vip: false },
                MailEvent::Deleted { item, .. } => MailSignal::Gone { item },
                MailEvent::Moved { item, old_item, parent, .. } => {
                    if self.moved(user_id, &old_item, item, &parent, fx) {
                        continue;
                    }
                    MailSignal::Gone { item: old_item }
                }
                MailEvent::ItemModified { item, .. } => MailSignal::Touched { item },
                MailEvent::FolderModified { unread: Some(_), .. } if overtaken => {
                    // The stream that took over may have told a newer count before this one came.
                    if let Some(user) = self.users.get_mut(user_id) {
                        user.needs.add(Needs::BADGE);
                    }
                    self.request_call(now, user_id, fx);
                    continue;
                }
                MailEvent::FolderModified { folder, unread: Some(count), .. } => {
                    let hash = item_hash(&self.config.item_key, folder.as_str());
                    self.folder_counted(now, user_id, hash, count, fx);
                    continue;
                }
                MailEvent::FolderOther => {
                    // Perhaps one of those that are watched is gone, with all that was unread in it.
                    if let Some(user) = self.users.get_mut(user_id).filter(|user| !user.folders.is_empty()) {
                        user.needs.add(Needs::BADGE);
                        self.request_call(now, user_id, fx);
                    }
                    continue;
                }
                MailEvent::Unclear => MailSignal::Gap,
                // `NewMail` follows for what is new; what is merely created was put there by the user himself.
                MailEvent::Created { .. }
                | MailEvent::Copied { .. }
                | MailEvent::FolderModified { unread: None, .. }
                | MailEvent::Status => continue,
            };
            self.signal(now, user_id, signal, fx);
        }
    }

    /// Whose the folder is in which something happened; nothing for events that name none, or change nothing.
    fn whose_event(&self, user_id: UserId, event: &MailEvent) -> Option<Whose> {
        let user = self.users.get(user_id)?;
        let whose = |folder: &FolderId| user.whose(item_hash(&self.config.item_key, folder.as_str()));
        let either = |one: &FolderId, other: &FolderId| match whose(one) {
            Whose::Own => Whose::Own,
            Whose::Unknown | Whose::Foreign => whose(other),
        };
        let whose = match event {
            MailEvent::NewMail { parent, .. }
            | MailEvent::Deleted { parent, .. }
            | MailEvent::ItemModified { parent, .. } => whose(parent),
            MailEvent::Moved { parent, old_parent, .. } => either(parent, old_parent),
            // Of a folder within one that is watched, too.
            MailEvent::FolderModified { folder, parent, .. } => either(folder, parent),
            MailEvent::Created { .. }
            | MailEvent::Copied { .. }
            | MailEvent::FolderOther
            | MailEvent::Status
            | MailEvent::Unclear => return None,
        };
        Some(if planted!(ForeignTold) { Whose::Own } else { whose })
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
        let (server, failures) = (cohort.server, cohort.failures);
        let retiring = cohort.is_retiring(conn_id);
        let trouble = error.trouble();
        let (named, over, credential, version) = match self.conns.get(conn_id).map(|conn| &conn.kind) {
            Some(Kind::Stream { users, machine, credential, version, .. }) => {
                let over = machine.as_ref().is_none_or(|machine| machine.is_over());
                (users.clone(), over, *credential, *version)
            }
            _ => return,
        };
        let of_cohort = |id: &UserId| self.users.get(*id).is_some_and(|user| user.cohort == Some(cohort_id));
        let holders = bad_ids.iter().filter_map(|id| self.holder(server, id));
        let mut bad: Vec<UserId> = holders.filter(of_cohort).collect();
        // However often an envelope names an id, it is one mailbox in trouble, once.
        bad.sort_unstable();
        bad.dedup();
        // Of a stream with one mailbox, everything that is said is said of that one.
        let whole = bad_ids.is_empty() && named.len() > 1;
        if bad_ids.is_empty() {
            bad.clone_from(&named);
        }
        self.front_busy(now, server, error, fx);
        let not_our_bug = error.action() == Action::OurBug
            && bad_ids.is_empty()
            && self.doubt_version(now, server, error, version);
        match error.action() {
            Action::OurBug if not_our_bug => self.stream_broken(now, conn_id, cohort_id, &trouble, fx),
            // The next stream of this cohort took over from this one.
            Action::StepAside if retiring => self.stream_closed(now, conn_id, cohort_id, fx),
            Action::StepAside => {
                self.stand_aside(now, cohort_id, &bad, error, fx);
                self.stream_closed(now, conn_id, cohort_id, fx);
            }
            Action::CatchUp => {
                // The subscriptions live on, and so does the connection, unless this was all that it brought.
                for user_id in bad {
                    self.events_missed(now, user_id, error, fx);
                }
                match over {
                    true => self.stream_broken(now, conn_id, cohort_id, &trouble, fx),
                    false => self.step_cohort(now, cohort_id, fx),
                }
            }
            Action::BackOffAccount { ms } => {
                let charged = self.charged_user(cohort_id);
                self.budget_busy(now, server, charged, ms, fx);
                self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
                self.change_budget(now, cohort_id);
            }
            Action::AuthFailed => {
                // What was asked with an earlier credential says nothing of the present one.
                if credential == self.servers[usize::from(server.0)].credential {
                    self.server_refused(now, server, error, fx);
                }
                self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
            }
            Action::NoCommonAuth => {
                self.server_closed_to_us(now, server, error, fx);
                self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
            }
            Action::RetryConnection => {
                let wait = self.remedy(error, failures).wait;
                self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
                self.delay_cohort(now, cohort_id, wait, fx);
            }
            Action::RetryOrBisect => {
                let wait = self.suspect(now, cohort_id, &named, error, fx);
                self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
                self.set_cohort_delay(now, cohort_id, wait, fx);
            }
            Action::LowerVersion => {
                let lowered = self.lower_version(now, server, version);
                self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
                if !lowered {
                    let wait = self.remedy(error, failures).wait;
                    self.delay_cohort(now, cohort_id, wait, fx);
                }
            }
            Action::FewerConnections { .. } if !retiring && self.must_make_way(cohort_id) => {
                self.make_way(now, conn_id, cohort_id, fx);
            }
            Action::FewerConnections { .. } => {
                // Another mailbox may have a connection to spare.
                let wait = self.remedy(error, 0).wait;
                self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
                self.change_budget(now, cohort_id);
                self.delay_cohort(now, cohort_id, wait, fx);
            }
            Action::Rediscover if whole => {
                let wait = self.remedy(error, failures).wait;
                self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
                for key in bad.iter().filter_map(|id| self.users.get(*id)).map(|user| user.key) {
                    fx.report(Report::Misplaced { user: key, trouble: trouble.clone() });
                }
                self.drop_anchor(now, cohort_id, &trouble, fx);
                self.delay_cohort(now, cohort_id, wait, fx);
            }
            Action::MailboxGone
            | Action::AwaitMove
            | Action::AwaitStore
            | Action::Alarm
            | Action::Terminal
                if whole =>
            {
                self.charged_refused(now, conn_id, cohort_id, error, fx);
            }
            Action::FewerSubscriptions | Action::OurBug if whole => {
                let wait = self.remedy(error, failures).wait;
                self.stream_broken(now, conn_id, cohort_id, &trouble, fx);
                self.delay_cohort(now, cohort_id, wait, fx);
            }
            Action::Resubscribe
            | Action::Rediscover
            | Action::AwaitMove
            | Action::AwaitStore
            | Action::DropFolder
            | Action::StartOver
            | Action::FewerSubscriptions
            | Action::MailboxGone
            | Action::Alarm
            | Action::Terminal
            | Action::OurBug
            | Action::ItemGone
            | Action::ItemUnreadable
            | Action::RetryItem
            | Action::ConvertId => {
                if bad.is_empty() {
                    // It names ids that are none of ours. Perhaps the server goes on telling of the others.
                    if !over {
                        self.miss_what_is_told(conn_id);
                    }
                    return self.stream_closed(now, conn_id, cohort_id, fx);
                }
                let kept = usize::from(planted!(BadIdKept));
                for user_id in bad.into_iter().skip(kept) {
                    self.lose_mailbox(now, user_id, error, fx);
                }
                if error.action() == Action::Resubscribe && kept == 0 {
                    self.distrust(server, &named);
                }
                self.stream_spoilt(now, conn_id, cohort_id, fx);
                self.group_refused(now, cohort_id, named.len(), error, fx);
            }
        }
    }

    /// Events of a mailbox were lost: it is caught up. If it happens again soon, the subscription is not worth keeping.
    fn events_missed(&mut self, now: Now, user_id: UserId, error: &EwsError, fx: &mut Effects) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        if Setback::times(user.setback.as_deref(), now.time, error.action()) > 0 {
            return self.lose_mailbox(now, user_id, error, fx);
        }
        Setback::note(&mut user.setback, now.time, error.action(), Span::ZERO);
        user.miss();
        self.request_call(now, user_id, fx);
    }

    /// The stream cannot act for the mailbox whose budget it is charged to: it acts for another. The route stays as it is
    /// as long as there is such a mailbox.
    fn charged_refused(
        &mut self,
        now: Now,
        conn_id: ConnId,
        cohort_id: CohortId,
        error: &EwsError,
        fx: &mut Effects,
    ) {
        let charged = self.charged_user(cohort_id);
        let server = self.cohorts.get(cohort_id).map(|cohort| cohort.server);
        self.stream_broken(now, conn_id, cohort_id, &error.trouble(), fx);
        self.change_budget(now, cohort_id);
        match error.action() {
            Action::Alarm => {
                if let Some(server) = server {
                    self.server_alarmed(now, server, error, charged, fx);
                }
            }
            Action::MailboxGone => {
                if let Some(user_id) = charged {
                    self.lose_mailbox(now, user_id, error, fx);
                }
            }
            _ => {}
        }
    }
}
