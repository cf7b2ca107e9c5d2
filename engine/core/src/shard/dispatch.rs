//! Ordinary calls to a mail server: who waits for one, how many may be in flight, when none may.

use super::account::AccountWord;
use super::conn::{Conn, Kind};
use super::core::ShardCore;
use super::farewell::Farewell;
use super::server::{Ask, Job, Server, Turn};
use super::{ConnId, Effect, Effects, MailServerId};
use crate::ews::SchemaVersion;
use crate::http1::CallConn;
use crate::limits::POLLS_PER_S;
use crate::time::{Now, Span};
use crate::user::{Calling, Needs, User, UserId};

impl ShardCore {
    /// Has the call made that the user needs next, as soon as it is his turn.
    pub(super) fn request_call(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        if let Some(server_id) = self.queue_call(now, user_id) {
            self.pump_calls(now, server_id, fx);
        }
    }

    /// Puts the user where the call that he needs next waits for its turn. Returns at which server he does, if he does.
    fn queue_call(&mut self, now: Now, user_id: UserId) -> Option<MailServerId> {
        let user = self.users.get_mut(user_id)?;
        let server_id = user.server?;
        if user.calling != Calling::No || user.needs.is_empty() || self.draining {
            return None;
        }
        // Only what has been told of is still ours.
        if user.aside && !user.needs.has(Needs::FETCH) {
            return None;
        }
        if user.call_not_before > now.time {
            self.arm_user(user_id);
            return None;
        }
        let server = &mut self.servers[usize::from(server_id.0)];
        if user.subscription.is_none() && user.needs.has(Needs::SUBSCRIBE) {
            let cohort = user.cohort.and_then(|cohort| self.cohorts.get(cohort))?;
            if !cohort.may_subscribe(user_id) {
                return None;
            }
            if user.slow {
                server.slow.push_back(user_id);
            } else if cohort.is_rooted() && cohort.is_new() && user.call_failures == 0 {
                // They have waited with their anchor. One cohort after the other gets all its subscriptions, and its stream is
                // opened once for all of them.
                server.subscribes.push_front(user_id);
            } else {
                server.subscribes.push_back(user_id);
            }
        } else if user.slow && next_ask(user).is_some() {
            server.slow.push_back(user_id);
        } else if user.needs.has(Needs::FETCH) {
            server.urgent.push_back(user_id);
        } else if !user.needs.has(Needs::SUBSCRIBE)
            && let Some(ask) = next_ask(user)
        {
            match ask {
                Ask::CatchUp { .. } if !user.streaming => server.polls.push_back(user_id),
                _ => server.routine.push_back(user_id),
            }
        } else {
            return None;
        }
        user.calling = Calling::Waits;
        Some(server_id)
    }

    /// Sends what may be sent.
    pub(super) fn pump_calls(&mut self, now: Now, server_id: MailServerId, fx: &mut Effects) {
        while self.may_call(now, server_id, fx) {
            let Some(mut job) = self.take_job(now, server_id) else { return };
            // What belongs to a mailbox is asked again if the version is refused; a farewell is not.
            let usual = self.servers[usize::from(server_id.0)].version;
            let version_now = match job {
                Job::OfUser { .. } => self.version_for_call(now, server_id),
                Job::Unsubscribe(_) => usual,
            };
            self.servers[usize::from(server_id.0)].version = version_now;
            let request = self.encode_job(&mut job);
            self.servers[usize::from(server_id.0)].version = usual;
            let Some(request) = request else {
                if let Job::OfUser { user: user_id, ask, .. } = &job
                    && let Some(user) = self.users.get_mut(*user_id)
                {
                    user.calling = Calling::No;
                    if let Ask::Fetch(_) = ask {
                        // What was to be fetched is gone by now; he may need something else.
                        self.queue_call(now, *user_id);
                    }
                }
                continue;
            };
            let conn = self.call_conn(server_id, fx);
            let timeout = Span::from_secs(self.mail_server(server_id).call_timeout_s.into());
            let timeout = self.lead(server_id, &job).map_or(timeout, |most| most.min(timeout));
            self.version_sent(now, server_id, version_now);
            let Some(Kind::Call { machine, job: slot, version, .. }) =
                self.conns.get_mut(conn).map(|conn| &mut conn.kind)
            else {
                return;
            };
            machine.send(now.time, request, timeout);
            if let Job::OfUser { user, ask, .. } = &job
                && let Some(user) = self.users.get_mut(*user)
            {
                user.calling = Calling::Out;
                user.looking = matches!(ask, Ask::CatchUp { .. });
            }
            *slot = Some(job);
            *version = version_now;
            let server = &mut self.servers[usize::from(server_id.0)];
            if server.turn == Turn::Ours {
                server.turn = Turn::Used(conn);
            }
            server.in_flight += 1;
            self.stats.calls_in_flight += 1;
            self.touch_conn(conn, fx);
        }
    }

    fn may_call(&mut self, now: Now, server_id: MailServerId, fx: &mut Effects) -> bool {
        let server = &mut self.servers[usize::from(server_id.0)];
        if !server.has_work() || self.draining {
            return false;
        }
        if server.not_before > now.time {
            self.wheel.arm(&server.timer, server.not_before);
            return false;
        }
        let full = |server: &Server| {
            server.in_flight.saturating_sub(u16::from(planted!(CallForgotten))) >= server.window
        };
        if full(server) && !self.make_room(now, server_id, fx) {
            return false;
        }
        let server = &mut self.servers[usize::from(server_id.0)];
        if full(server) {
            // The place that was made has been taken at once.
            return false;
        }
        if !server.proven && server.turn == Turn::None {
            server.turn = Turn::Wanted;
            fx.push(Effect::Account { server: server_id, word: AccountWord::TurnWanted });
        }
        server.proven || server.turn == Turn::Ours
    }

    /// The next call: urgent ones first, farewells last. Slow ones, looks without a stream and farewells leave the share alone
    /// that is kept for others. Users who no longer need one leave their queue.
    fn take_job(&mut self, now: Now, server_id: MailServerId) -> Option<Job> {
        let mail_server = self.mail_server(server_id);
        let pace = Span(1_000_000 / u64::from(mail_server.subscribes_per_s.max(1)));
        // At half the window, half the pace.
        let window = self.servers[usize::from(server_id.0)].window.max(1);
        let slower = u64::from(mail_server.calls_max.max(window) / window);
        let pace = Span(pace.0 * slower);
        let poll_pace = Span(1_000_000 * slower / u64::from(POLLS_PER_S));
        let server = &self.servers[usize::from(server_id.0)];
        let beside_share =
            (!server.slow.is_empty() || !server.polls.is_empty() || !server.farewells.is_empty())
                && self.has_room_beside_share(now, server_id);
        loop {
            let server = &mut self.servers[usize::from(server_id.0)];
            // Whoever has a stream by now waits elsewhere, and takes nobody's turn here.
            while let Some(user_id) = server.polls.front()
                && self
                    .users
                    .get(*user_id)
                    .is_none_or(|user| user.streaming || user.calling != Calling::Waits)
            {
                server.polls.pop_front();
            }
            let user_id =
                if let Some(user_id) = server.urgent.pop_front().or_else(|| server.routine.pop_front()) {
                    user_id
                } else if beside_share && let Some(user_id) = server.slow.pop_front() {
                    user_id
                } else if server.subscribe_not_before <= now.time
                    && let Some(user_id) = server.subscribes.pop_front()
                {
                    // The pace is kept without saving up: not even two at once after an idle hour. Only what the timer was
                    // late is made up for.
                    let late = pace.min(Span::from_millis(1));
                    server.subscribe_not_before = server.subscribe_not_before.max(now.time - late) + pace;
                    user_id
                } else if beside_share
                    && server.poll_not_before <= now.time
                    && let Some(user_id) = server.polls.pop_front()
                {
                    let late = poll_pace.min(Span::from_millis(1));
                    server.poll_not_before = server.poll_not_before.max(now.time - late) + poll_pace;
                    user_id
                } else if beside_share
                    && let Some(farewell) = server
                        .farewells
                        .pop(now.time, |user| self.users.get(user)?.setback.as_deref()?.busy_until(now.time))
                {
                    return Some(Job::Unsubscribe(Box::new(farewell)));
                } else {
                    let pace = (!server.subscribes.is_empty()).then_some(server.subscribe_not_before);
                    // Those that must leave the share alone go when a call has ended.
                    let farewell = server.farewells.next_at().filter(|_| beside_share);
                    let poll = (beside_share && !server.polls.is_empty()).then_some(server.poll_not_before);
                    if let Some(at) = pace.into_iter().chain(farewell).chain(poll).min() {
                        self.wheel.arm(&server.pace_timer, at);
                    }
                    return None;
                };
            let Some(user) = self.users.get_mut(user_id) else { continue };
            if user.calling != Calling::Waits || user.server != Some(server_id) {
                // He has moved to another server, and what he needs with him.
                continue;
            }
            if user.call_not_before > now.time {
                // He was in the queue already when another answer said that he must wait.
                user.calling = Calling::No;
                self.arm_user(user_id);
                continue;
            }
            if let Some(ask) = next_ask(user) {
                return Some(Job::OfUser { user: user_id, watch: user.watch, ask });
            }
            user.calling = Calling::No;
        }
    }

    /// A connection without a call, opened if there is none yet.
    fn call_conn(&mut self, server_id: MailServerId, fx: &mut Effects) -> ConnId {
        let server = &self.servers[usize::from(server_id.0)];
        for conn_id in &server.conns {
            if let Some(Conn { kind: Kind::Call { job: None, .. }, .. }) = self.conns.get(*conn_id) {
                return *conn_id;
            }
        }
        let endpoint = self.mail_server(server_id).endpoint;
        let version = SchemaVersion::default();
        let kind = Kind::Call { server: server_id, machine: Box::new(CallConn::new()), job: None, version };
        let conn_id = self.open_conn(endpoint, kind, fx);
        self.servers[usize::from(server_id.0)].conns.push(conn_id);
        conn_id
    }

    /// The call is over, one way or the other: its place is free again.
    pub(super) fn call_ended(&mut self, server_id: MailServerId, job: &Job) {
        self.servers[usize::from(server_id.0)].in_flight -= 1;
        self.stats.calls_in_flight -= 1;
        if let Some(user) = job.user().and_then(|user_id| self.users.get_mut(user_id)) {
            user.calling = Calling::No;
            user.looking = false;
        }
    }

    /// Somebody's subscription is to be given back.
    pub(super) fn say_farewell(&mut self, now: Now, farewell: Farewell, fx: &mut Effects) {
        let server_id = farewell.server;
        self.servers[usize::from(server_id.0)].farewells.push(farewell);
        self.pump_calls(now, server_id, fx);
    }

    /// A pause ended.
    pub(super) fn server_timer(&mut self, now: Now, server_id: MailServerId, fx: &mut Effects) {
        self.step_cohorts_of(now, server_id, fx);
        self.pump_calls(now, server_id, fx);
    }
}

fn next_ask(user: &User) -> Option<Ask> {
    if user.subscription.is_none() && user.needs.has(Needs::SUBSCRIBE) {
        // Which of the folders is not there is to be known before the others are subscribed to.
        return Some(if user.folders_doubtful { Ask::Badge } else { Ask::Subscribe(None) });
    }
    let unknown = user.inbox.is_none() && user.call_failures.is_multiple_of(2);
    if (unknown || user.folders_doubtful) && user.needs.has(Needs::BADGE) {
        // What comes counts only as the mailbox's own, and its folders are not known yet. A count that keeps failing does not
        // keep the rest waiting.
        return Some(Ask::Badge);
    }
    // A look before the stream is open would have to be taken again: a stream of before, whose end the server has not
    // noticed, swallows what comes until the next one takes over.
    [
        (Needs::FETCH, true, Ask::Fetch(Vec::new())),
        (
            Needs::CATCH_UP,
            user.streaming || user.needs.has(Needs::LOOK),
            Ask::CatchUp { ids_alone: user.ids_alone },
        ),
        (Needs::BADGE, true, Ask::Badge),
    ]
    .into_iter()
    .find_map(|(need, may, ask)| (may && user.needs.has(need)).then_some(ask))
}
