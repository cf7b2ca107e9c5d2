//! What ordinary calls bring back.

use super::answer::{Answer, batch_stop};
use super::conn::Kind;
use super::core::ShardCore;
use super::farewell::Farewell;
use super::fetch::wants_fetch;
use super::input::CloseReason;
use super::server::{Ask, Asked, Behind, Job, Turn};
use super::{CatchUp, ConnId, Effects, MailServerId};
use crate::ews::{Action, Caller, EwsError, ResponseCode, Route, SchemaVersion, request, response};
use crate::http1::{Cookies, HttpError, Response};
use crate::limits::{CATCH_UP_PAGE, FETCH_TRIES_MAX, SYNC_PAGE, TERMINAL_RETRY};
use crate::names::ItemId;
use crate::time::{Now, Span, Time};
use crate::user::{IdForm, Item, Needs, Setback, UserId};

/// How a request was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    version: SchemaVersion,
    at: Time,
}

impl ShardCore {
    /// The connection of a call stands: its request may leave, unless the server has asked meanwhile to be left alone.
    pub(super) fn call_connected(&mut self, now: Now, conn_id: ConnId, fx: &mut Effects) {
        let Some(conn) = self.conns.get_mut(conn_id) else { return };
        let Kind::Call { server, job, .. } = &mut conn.kind else { return };
        let server_id = *server;
        let user = job.as_ref().and_then(Job::user).and_then(|id| self.users.get(id));
        let busy = user.and_then(|user| user.setback.as_deref()).is_some_and(|one| one.is_busy(now.time));
        if self.servers[usize::from(server_id.0)].not_before <= now.time && !busy {
            return self.touch_conn(conn_id, fx);
        }
        let job = job.take();
        self.close_conn(conn_id, fx);
        let Some(job) = job else { return };
        self.call_ended(server_id, &job);
        match job {
            Job::Unsubscribe(farewell) => self.say_farewell(now, *farewell, fx),
            Job::OfUser { user, .. } => self.request_call(now, user, fx),
        }
        self.end_turn(now, server_id, conn_id, fx);
    }

    /// Takes a whole response, or the error that made the connection unusable.
    pub(super) fn pump_call(
        &mut self,
        now: Now,
        conn_id: ConnId,
        failed: Option<HttpError>,
        fx: &mut Effects,
    ) {
        let Some(conn) = self.conns.get_mut(conn_id) else { return };
        let Kind::Call { server, machine, job, version } = &mut conn.kind else { return };
        let (server_id, version) = (*server, *version);
        if let Some(error) = failed {
            let job = job.take();
            self.close_conn(conn_id, fx);
            if let Some(job) = job {
                self.call_ended(server_id, &job);
                if let (Job::OfUser { user, ask: Ask::Fetch(_), .. }, HttpError::BodyTooLarge) = (&job, error)
                {
                    // Nothing is wrong with the server: one of these mails is too large to look into.
                    self.tell_without_details(*user);
                } else {
                    self.server_unreachable(now, server_id, error.trouble(), fx);
                }
                self.retry_later(now, &job, Span::ZERO, fx);
                self.end_turn(now, server_id, conn_id, fx);
            }
            return;
        }
        if let Some(response) = machine.poll() {
            // One that is not the server's any more was opened with an earlier credential.
            let server = &self.servers[usize::from(server_id.0)];
            let asked = match server.turn == Turn::Used(conn_id) {
                _ if !server.has_conn(conn_id) => Asked::WithEarlier,
                true => Asked::OnTurn,
                false => Asked::WithPresent,
            };
            let reusable = machine.reusable() && asked != Asked::WithEarlier;
            let job = job.take();
            if !reusable {
                self.close_conn(conn_id, fx);
            }
            if let Some(job) = job {
                self.call_ended(server_id, &job);
                self.call_answered(now, server_id, &job, &response, asked, version, fx);
            }
            self.end_turn(now, server_id, conn_id, fx);
        }
    }

    /// The connection of a call is gone.
    pub(super) fn call_conn_closed(
        &mut self,
        now: Now,
        conn_id: ConnId,
        ended: Option<HttpError>,
        reason: &CloseReason,
        fx: &mut Effects,
    ) {
        // A body that ends with the connection is whole only now.
        self.pump_call(now, conn_id, ended, fx);
        let Some(conn) = self.conns.get_mut(conn_id) else { return };
        let Kind::Call { server, job, .. } = &mut conn.kind else { return };
        let server_id = *server;
        let job = job.take();
        self.forget_conn(conn_id);
        let Some(job) = job else { return };
        self.call_ended(server_id, &job);
        self.servers[usize::from(server_id.0)].in_flight += u16::from(planted!(CallNotGivenBack));
        self.server_unreachable(now, server_id, reason.trouble(), fx);
        self.retry_later(now, &job, Span::ZERO, fx);
        self.end_turn(now, server_id, conn_id, fx);
    }

    /// A call got no answer in time.
    pub(super) fn call_overdue(&mut self, now: Now, conn_id: ConnId, fx: &mut Effects) {
        let Some(conn) = self.conns.get_mut(conn_id) else { return };
        let Kind::Call { server, machine, job, .. } = &mut conn.kind else { return };
        let Err(error) = machine.on_deadline(now.time) else { return };
        let (server_id, job) = (*server, job.take());
        self.close_conn(conn_id, fx);
        if let Some(job) = job {
            self.call_ended(server_id, &job);
            self.server_unreachable(now, server_id, error.trouble(), fx);
            self.retry_later(now, &job, Span::ZERO, fx);
            self.end_turn(now, server_id, conn_id, fx);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what was asked, and what came")]
    fn call_answered(
        &mut self,
        now: Now,
        server_id: MailServerId,
        job: &Job,
        reply: &Response,
        asked: Asked,
        version: SchemaVersion,
        fx: &mut Effects,
    ) {
        if let Some(date_s) = reply.head.date_s {
            self.servers[usize::from(server_id.0)].hear_clock(now.unix, date_s, reply.took);
        }
        if let Job::OfUser { user, watch, ask } = job
            && self.users.get(*user).is_some_and(|user| user.watch != *watch)
        {
            return self.outdated(now, server_id, *user, ask, reply, fx);
        }
        let sent = Sent { version, at: now.time - reply.took };
        let body = match response::http(reply) {
            Ok(body) => body,
            // Of the present credential nothing is known by that.
            Err(error) if asked == Asked::WithEarlier && error.action() == Action::AuthFailed => {
                return self.retry_later(now, job, Span::ZERO, fx);
            }
            Err(error) => return self.call_failed(now, server_id, job, &error, sent, fx),
        };
        let done = match job {
            Job::OfUser { user, ask, .. } => Answer::read(ask, self.mail_server(server_id).catch_up, body)
                .and_then(|answer| self.user_answered(now, server_id, *user, answer, reply, fx)),
            Job::Unsubscribe(_) => match response::unsubscribe(body) {
                // Nobody waits for it; but what it says of the server, or of a budget, holds for other calls.
                Err(error)
                    if matches!(
                        error.action(),
                        Action::BackOffAccount { .. }
                            | Action::FewerConnections { .. }
                            | Action::RetryConnection
                    ) =>
                {
                    Err(error)
                }
                Ok(()) | Err(_) => Ok(()),
            },
        };
        match done {
            Ok(()) => {
                self.server_worked(now, server_id, asked, fx);
                self.version_worked(server_id, version);
                if let Some(user_id) = job.user() {
                    if let Some(user) = self.users.get_mut(user_id) {
                        user.call_failures = 0;
                    }
                    self.request_call(now, user_id, fx);
                }
            }
            Err(error) => self.call_failed(now, server_id, job, &error, sent, fx),
        }
    }

    fn user_answered(
        &mut self,
        now: Now,
        server_id: MailServerId,
        user: UserId,
        answer: Answer<'_>,
        reply: &Response,
        fx: &mut Effects,
    ) -> Result<(), EwsError> {
        match answer {
            Answer::Subscription(behind, subscription) => {
                let anchor = behind.map(|behind| &behind.anchor);
                self.subscribed(now, user, anchor, subscription, &reply.head, fx);
            }
            Answer::Mails(asked, items) => self.fetched(now, server_id, user, asked, items, fx)?,
            Answer::Ids(asked, ids) => self.converted(now, server_id, user, asked, ids, fx),
            Answer::Found(page) => self.caught_up(now, user, page.items, page.last, fx),
            Answer::Changes(page) => self.synced(now, user, page, fx),
            Answer::Counts(counts) => self.counted(now, user, counts, now.time - reply.took, fx)?,
        }
        Ok(())
    }

    /// An answer about a mailbox or folders that are not watched any more: what is needed is still needed. A subscription
    /// to them is given back, unless the mailbox is another: then it ends by itself, as nobody reads it.
    fn outdated(
        &mut self,
        now: Now,
        server_id: MailServerId,
        user_id: UserId,
        ask: &Ask,
        reply: &Response,
        fx: &mut Effects,
    ) {
        let Some(user) = self.users.get(user_id) else { return };
        let at_home = user.server == Some(server_id);
        let address = user.address.clone();
        let catch_up = self.mail_server(server_id).catch_up;
        let answer = response::http(reply).and_then(|body| Answer::read(ask, catch_up, body));
        let refused = match answer {
            Ok(Answer::Subscription(behind, subscription)) => {
                if let Some(Behind { anchor, cookies }) = behind.filter(|_| at_home) {
                    let mut cookies = Cookies::from_text(cookies);
                    cookies.absorb(&reply.head);
                    let farewell = Farewell {
                        user: user_id,
                        server: server_id,
                        address,
                        anchor: anchor.clone(),
                        cookie: cookies.as_str().into(),
                        subscription,
                        since: now.time,
                        not_before: now.time,
                    };
                    self.say_farewell(now, farewell, fx);
                }
                None
            }
            Ok(Answer::Mails(asked, items)) => batch_stop(&items, asked.len()).map(|(_, error)| error),
            Ok(Answer::Ids(..) | Answer::Found(_) | Answer::Changes(_) | Answer::Counts(_)) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = refused {
            self.front_busy(now, server_id, &error, fx);
            if let Action::BackOffAccount { ms } = error.action() {
                self.budget_busy(now, server_id, at_home.then_some(user_id), ms, fx);
            }
        }
        self.request_call(now, user_id, fx);
    }

    /// A call was refused: whom it concerns and what can be done, [`EwsError::action`] says.
    fn call_failed(
        &mut self,
        now: Now,
        server_id: MailServerId,
        job: &Job,
        error: &EwsError,
        sent: Sent,
        fx: &mut Effects,
    ) {
        self.front_busy(now, server_id, error, fx);
        let failures = job.user().and_then(|id| self.users.get(id)).map_or(0, |user| user.call_failures);
        let mut wait = self.remedy(error, failures).wait;
        let asked = error.asked_wait();
        match error.action() {
            Action::OurBug if self.doubt_version(server_id, error, sent.version) => wait = asked,
            Action::AuthFailed => self.server_refused(now, server_id, error, fx),
            Action::NoCommonAuth => self.server_closed_to_us(now, server_id, error, fx),
            Action::BackOffAccount { ms } => self.budget_busy(now, server_id, Some(job.charged()), ms, fx),
            Action::LowerVersion => {
                if !self.lower_version(server_id, sent.version) {
                    wait = TERMINAL_RETRY;
                    self.mailbox_refused(now, job, error, fx);
                }
            }
            Action::DropFolder => {
                if self.folder_missing(now, job, fx) || failures == 0 {
                    wait = asked;
                }
            }
            Action::StartOver => {
                if let Some(user) = job.user().and_then(|id| self.users.get_mut(id)) {
                    user.set_sync_now(None);
                    user.catch_up_offset = 0;
                }
                if failures == 0 {
                    wait = asked;
                }
            }
            Action::RetryConnection => self.server_failed(now, server_id, error, fx),
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
                self.server_alarmed(now, server_id, error, fx);
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
            if let Some(user) = self.users.get_mut(user_id) {
                user.call_failures = failures.saturating_add(1);
            }
            self.arm_user(user_id);
        }
    }

    /// The mailbox itself cannot be watched for now. If its cohort hangs on it, another member takes its place. Returns
    /// for how long.
    fn mailbox_refused(&mut self, now: Now, job: &Job, error: &EwsError, fx: &mut Effects) -> Span {
        let Some(user_id) = job.user() else { return Span::ZERO };
        let earlier = self.users.get(user_id).and_then(|user| user.setback.as_deref());
        let times = Setback::times(earlier, now.time, error.action());
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
    fn retry_later(&mut self, now: Now, job: &Job, wait: Span, fx: &mut Effects) {
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

    /// The request is one that this server does not know: ask in an older manner. False if there is none.
    pub(super) fn lower_version(&mut self, server_id: MailServerId, asked_in: SchemaVersion) -> bool {
        let server = &mut self.servers[usize::from(server_id.0)];
        if server.version < asked_in {
            return true;
        }
        match server.version.lower() {
            Some(lower) => {
                server.version = lower;
                server.version_works = false;
                true
            }
            None => false,
        }
    }

    /// A server that does not know a version's name may call the whole request invalid (exchange-ews §1.2). As long as
    /// nothing has succeeded there in this version, that is a reason to ask in an older one. False if there is none, or if it
    /// is not the version: then the newest is as good as any.
    pub(super) fn doubt_version(
        &mut self,
        server_id: MailServerId,
        error: &EwsError,
        asked_in: SchemaVersion,
    ) -> bool {
        let server = &mut self.servers[usize::from(server_id.0)];
        if !matches!(error.code, ResponseCode::ErrorSchemaValidation | ResponseCode::ErrorInvalidRequest)
            || (server.version == asked_in && server.version_works)
        {
            return false;
        }
        let lowered = self.lower_version(server_id, asked_in);
        if !lowered {
            self.servers[usize::from(server_id.0)].version = SchemaVersion::default();
        }
        lowered
    }

    /// Something asked in this version has succeeded.
    pub(super) fn version_worked(&mut self, server_id: MailServerId, version: SchemaVersion) {
        let server = &mut self.servers[usize::from(server_id.0)];
        server.version_works |= server.version == version;
    }

    /// The bytes of a call. `None` if nothing is left to ask.
    pub(super) fn encode_job(&mut self, job: &mut Job) -> Option<Vec<u8>> {
        let (user_id, ask) = match job {
            Job::Unsubscribe(farewell) => {
                let server = farewell.server;
                let caller = self.caller(server, &farewell.address);
                let body = request::unsubscribe(&caller, &farewell.subscription);
                let route = Route::Cohort { anchor: &farewell.anchor, cookies: &farewell.cookie };
                return self.encode_call(server, route, &body);
            }
            Job::OfUser { user, ask, .. } => (*user, ask),
        };
        let user = self.users.get(user_id)?;
        let server = user.server?;
        let caller = self.caller(server, &user.address);
        match ask {
            Ask::Subscribe(behind) => {
                let cohort = self.cohorts.get(user.cohort?)?;
                let body = request::subscribe(&caller, &user.folder_ids());
                let Behind { anchor, cookies } = behind.insert(Behind {
                    anchor: cohort.anchor.clone()?,
                    cookies: cohort.cookies.as_str().into(),
                });
                let own = user.address.clone();
                let anchor = if planted!(AnchorOfMember) { &own } else { &*anchor };
                self.encode_call(server, Route::Cohort { anchor, cookies }, &body)
            }
            Ask::Fetch(_) | Ask::Convert(_) => {
                let items: Vec<&Item> =
                    user.pending.items().iter().filter(|item| wants_fetch(item)).collect();
                if items.is_empty() {
                    self.users.get_mut(user_id)?.needs.remove(Needs::FETCH);
                    return None;
                }
                let old: Vec<&Item> =
                    items.iter().copied().filter(|item| item.id_form == IdForm::Old).collect();
                let asked = if old.is_empty() { items } else { old };
                let hashes = asked.iter().map(|item| item.hash).collect();
                let ids: Vec<&ItemId> = asked.iter().map(|item| &item.id).collect();
                let convert = asked.iter().all(|item| item.id_form == IdForm::Old);
                let (body, asks) = match convert {
                    true => (request::convert_id(&caller, &ids), Ask::Convert(hashes)),
                    false => (request::get_item(&caller, &ids), Ask::Fetch(hashes)),
                };
                *ask = asks;
                let address = user.address.clone();
                self.encode_call(server, Route::Mailbox(&address), &body)
            }
            Ask::CatchUp => {
                let folder = user.folder_now().map(|folder| &folder.id);
                let body = match self.mail_server(server).catch_up {
                    CatchUp::Find => {
                        request::find_item_newest(&caller, folder, CATCH_UP_PAGE, user.catch_up_offset)
                    }
                    CatchUp::Sync => request::sync_folder_items(&caller, folder, user.sync_now(), SYNC_PAGE),
                };
                let address = user.address.clone();
                self.encode_call(server, Route::Mailbox(&address), &body)
            }
            Ask::Badge => {
                let body = request::get_folder(&caller, &user.folder_ids());
                let address = user.address.clone();
                self.encode_call(server, Route::Mailbox(&address), &body)
            }
        }
    }

    fn caller<'a>(&self, server: MailServerId, mailbox: &'a crate::names::SmtpAddress) -> Caller<'a> {
        Caller {
            version: self.servers[usize::from(server.0)].version,
            mailbox,
            impersonate: self.mail_server(server).impersonate,
        }
    }
}
