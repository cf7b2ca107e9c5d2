//! What ordinary calls bring back.

use super::answer::{Answer, batch_stop, brings_texts};
use super::conn::{Conn, Kind};
use super::core::ShardCore;
use super::farewell::Farewell;
use super::input::CloseReason;
use super::refused::Sent;
use super::server::{Ask, Asked, Behind, Job, Turn};
use super::{ConnId, Effects, MailServerId};
use crate::ews::{Action, EwsError, SchemaVersion, response};
use crate::http1::{Cookies, HttpError, Response};
use crate::time::{Now, Span};
use crate::user::UserId;

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
        self.make_call_again(now, server_id, conn_id, job, fx);
    }

    /// The server had given the connection up before the call came. It has most likely given up the others that are idle,
    /// too: the call, and those that follow, go over new ones.
    pub(super) fn call_conn_stale(&mut self, now: Now, conn_id: ConnId, fx: &mut Effects) {
        let Some(conn) = self.conns.get_mut(conn_id) else { return };
        let Kind::Call { server, job, .. } = &mut conn.kind else { return };
        let (server_id, job) = (*server, job.take());
        self.forget_conn(conn_id);
        self.close_idle_conns(server_id, fx);
        self.make_call_again(now, server_id, conn_id, job, fx);
    }

    /// The call was not looked at: it is made again as soon as it may be.
    fn make_call_again(
        &mut self,
        now: Now,
        server_id: MailServerId,
        conn_id: ConnId,
        job: Option<Job>,
        fx: &mut Effects,
    ) {
        let Some(job) = job else { return };
        self.call_ended(server_id, &job);
        match job {
            Job::Unsubscribe(farewell) => self.say_farewell(now, *farewell, fx),
            Job::OfUser { user, .. } => self.request_call(now, user, fx),
        }
        self.end_turn(now, server_id, conn_id, fx);
    }

    /// No connection is kept for later.
    pub(super) fn close_idle_conns(&mut self, server_id: MailServerId, fx: &mut Effects) {
        for conn_id in self.servers[usize::from(server_id.0)].conns.clone() {
            if let Some(Conn { kind: Kind::Call { job: None, .. }, .. }) = self.conns.get(conn_id) {
                self.close_conn(conn_id, fx);
            }
        }
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
                // Nothing is wrong with the server: one of these mails is too large to look into.
                if error == HttpError::BodyTooLarge && self.unreadable(&job, error.name(), fx) {
                    self.ask_anew(now, &job, fx);
                } else {
                    self.server_unreachable(now, server_id, error.trouble(), fx);
                    self.retry_later(now, &job, Span::ZERO, fx);
                }
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
            let stale = machine.is_stale_answer(&response);
            let job = job.take();
            if !reusable || stale {
                self.close_conn(conn_id, fx);
            }
            if stale {
                self.close_idle_conns(server_id, fx);
                return self.make_call_again(now, server_id, conn_id, job, fx);
            }
            if let Some(job) = job {
                self.call_ended(server_id, &job);
                self.note_latency(now, server_id, &job, response.took);
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
        let sent = machine.sent();
        let Err(error) = machine.on_deadline(now.time) else { return };
        let (server_id, job) = (*server, job.take());
        self.close_conn(conn_id, fx);
        if let Some(job) = job {
            self.call_ended(server_id, &job);
            self.pass_lead_on(now, server_id, &job, fx);
            let answered_at = self.servers[usize::from(server_id.0)].answered_at;
            if sent.is_some_and(|sent| answered_at > sent) {
                self.call_unanswered(now, &job, fx);
            } else {
                // Nothing else was answered, either.
                self.server_unreachable(now, server_id, error.trouble(), fx);
                self.retry_later(now, &job, Span::ZERO, fx);
            }
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
        if let Some(date_s) = reply.head.date_s
            && let Some(earliest) =
                self.servers[usize::from(server_id.0)].hear_clock(now.time, date_s, reply.took)
        {
            self.clock_set_back(now, server_id, earliest, fx);
        }
        if let Job::OfUser { user, watch, ask } = job
            && self.users.get(*user).is_some_and(|user| user.watch != *watch)
        {
            return self.outdated(now, server_id, *user, ask, reply, fx);
        }
        let sent = Sent { version, at: now.time - reply.took };
        let catch_up = self.mail_server(server_id).catch_up;
        let texts_matter = matches!(job, Job::OfUser { ask, .. } if brings_texts(ask, catch_up));
        let body = match response::http(reply) {
            Ok(body) => response::decoded(&reply.head, body, texts_matter),
            // Of the present credential nothing is known by that.
            Err(error) if asked == Asked::WithEarlier && error.action() == Action::AuthFailed => {
                return self.retry_later(now, job, Span::ZERO, fx);
            }
            Err(error) => return self.call_failed(now, server_id, job, &error, sent, fx),
        };
        let done = match job {
            Job::OfUser { user, ask, .. } => Answer::read(ask, catch_up, &body)
                .and_then(|answer| self.user_answered(now, server_id, *user, answer, reply, fx)),
            Job::Unsubscribe(_) => match response::unsubscribe(&body) {
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
                    self.look_live(now, user_id, fx);
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
            Answer::Ids(asked, ids) => self.converted(now, server_id, user, asked, ids, fx)?,
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
            Ok(Answer::Ids(asked, ids)) => batch_stop(&ids, asked.len()).map(|(_, error)| error),
            Ok(Answer::Found(_) | Answer::Changes(_) | Answer::Counts(_)) => None,
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
}
