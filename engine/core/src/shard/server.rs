//! Ordinary calls to a mail server: who waits for one, how many may be in flight, when none may.

use std::collections::VecDeque;

use super::account::{AccountNews, AccountWord, Verdict};
use super::command::MailCredential;
use super::config::MailServerId;
use super::conn::{Conn, Kind};
use super::core::ShardCore;
use super::farewell::{Farewell, Farewells};
use super::{ConnId, Effect, Effects, Report, Trouble};
use crate::ews::{Action, CONNECTIONS_WAIT_MS, EwsError, ResponseCode, SchemaVersion};
use crate::http1::CallConn;
use crate::limits::{
    ALARM_RETRY, ALARMS_IN_A_ROW_MAX, BUSY_IN_A_ROW_MAX, CONNECT_BACK_OFF, REFUSED_RETRY, STREAM_OPENS_PER_S,
};
use crate::time::{Now, Span, Time};
use crate::user::{Calling, Needs, Setback, User, UserId};
use crate::wheel::TimerSlot;

/// What the shard knows of one mail server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) version: SchemaVersion,
    /// So far its clock is ahead of ours, by the `Date` of its last answer: a second less at most, and the answer's time.
    pub(super) clock_ahead_ms: i64,
    /// Its events have had ids of an old form: those of new mails are converted before anything else.
    pub(super) old_ids: bool,
    /// A request has succeeded since the credential came or was refused, on this shard or on another. Until then one
    /// request at a time over all shards: fifty parallel log-ins with a wrong password lock an account.
    pub(super) proven: bool,
    /// Whether this shard may make that one request.
    pub(super) turn: Turn,
    /// Counts the credentials. A connection belongs to the one that it was opened with.
    pub(super) credential: u32,
    /// Nothing is sent before: the server asked for it, refused the credential, or cannot be reached.
    pub(super) not_before: Time,
    /// As `not_before`, for what the server itself asked for: no new credential shortens it.
    busy_until: Time,
    pub(super) connect_failures: u8,
    /// The owner was told of trouble and waits to hear of its end.
    pub(super) troubled: bool,
    /// The present credential was refused, this shard's request or another's.
    pub(super) refused: bool,
    /// The present credential has worked at some time.
    worked: bool,
    alarmed: bool,
    alarms_in_a_row: u8,
    /// Answers in a row that were no SOAP.
    failures_in_a_row: u8,
    /// Calls that may be in flight: halves when the server is busy, grows by one with each full window of successes.
    window: u16,
    successes: u16,
    pub(super) in_flight: u16,
    conns: Vec<ConnId>,
    /// Users whose notices wait for details.
    urgent: VecDeque<UserId>,
    /// Users to be caught up or counted.
    routine: VecDeque<UserId>,
    /// Users to be subscribed, at their own pace.
    subscribes: VecDeque<UserId>,
    subscribe_not_before: Time,
    stream_not_before: Time,
    /// When the pause after which the window was last halved ends.
    slowed_until: Time,
    /// When the window was last halved because the account has too many calls in flight.
    narrowed_at: Time,
    /// The window does not grow before.
    widen_not_before: Time,
    /// Mailboxes in a row whose budgets were exhausted.
    busy_in_a_row: u8,
    farewells: Farewells,
    /// Mailboxes of this server on this shard.
    pub(super) mailboxes: usize,
    /// For the end of a pause: whoever waits for the server looks at what he may do.
    pub(super) timer: TimerSlot,
    /// For the next subscription that the pace allows. Nobody but the queue waits for it.
    pace_timer: TimerSlot,
}

/// The turn to try a credential that nobody has shown to work yet ([`super::Accounts`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Not wanted.
    None,
    /// Asked for.
    Wanted,
    /// Ours, and nothing sent on it yet. Never outlasts the input that brings it.
    Ours,
    /// Ours, for the call on this connection.
    Used(ConnId),
}

/// Which credential a request was made with, and what its success shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// With the present one, on the turn to try it: a success proves it.
    OnTurn,
    /// With the present one. After a refusal, a success shows only that the request was faster.
    WithPresent,
    /// With an earlier one: of the present one nothing is known by it.
    WithEarlier,
}

/// A call in flight.
#[derive(Clone, Debug)]
pub(super) enum Job {
    /// `watch`: what the answer is about ([`User::watch`]).
    OfUser {
        user: UserId,
        watch: u8,
        ask: Ask,
    },
    Unsubscribe(Box<Farewell>),
}

/// What is asked for a user.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Subscribe,
    /// With the mails that were asked for, in order ([`crate::user::Item::hash`]).
    Fetch(Vec<u64>),
    /// The first half of a fetch whose ids are of an old form; as [`Ask::Fetch`].
    Convert(Vec<u64>),
    CatchUp,
    Badge,
}

impl Job {
    pub(super) fn user(&self) -> Option<UserId> {
        match self {
            Job::OfUser { user, .. } => Some(*user),
            Job::Unsubscribe(_) => None,
        }
    }
}

impl Server {
    pub(super) fn new(calls_max: u16, timer: TimerSlot, pace_timer: TimerSlot) -> Server {
        Server {
            version: SchemaVersion::default(),
            clock_ahead_ms: 0,
            old_ids: false,
            proven: false,
            turn: Turn::None,
            credential: 0,
            not_before: Time(0),
            busy_until: Time(0),
            connect_failures: 0,
            troubled: false,
            refused: false,
            worked: false,
            alarmed: false,
            alarms_in_a_row: 0,
            failures_in_a_row: 0,
            window: calls_max,
            successes: 0,
            in_flight: 0,
            conns: Vec::new(),
            urgent: VecDeque::new(),
            routine: VecDeque::new(),
            subscribes: VecDeque::new(),
            subscribe_not_before: Time(0),
            stream_not_before: Time(0),
            slowed_until: Time(0),
            narrowed_at: Time(0),
            widen_not_before: Time(0),
            busy_in_a_row: 0,
            farewells: Farewells::default(),
            mailboxes: 0,
            timer,
            pace_timer,
        }
    }

    pub(super) fn has_conn(&self, conn: ConnId) -> bool {
        self.conns.contains(&conn)
    }

    /// The window, and what is out, are within what the settings grant. More may be out than the window would let out now:
    /// it shrinks while they are.
    pub(super) fn check_window(&self, calls_max: u16) -> Result<(), String> {
        let Server { window, in_flight, .. } = self;
        if (1..=calls_max).contains(window) && *in_flight <= calls_max {
            return Ok(());
        }
        Err(format!("{in_flight} calls are out in a window of {window}, {calls_max} is the most"))
    }

    /// When the next stream may be opened. Each answer is for one.
    pub(super) fn stream_slot(&mut self, now: Time) -> Time {
        let slot = self.stream_not_before.max(now);
        self.stream_not_before = slot + Span(1_000_000 / STREAM_OPENS_PER_S);
        slot
    }

    /// Half as many calls from now on, once for all answers to what was under way.
    fn slow_down(&mut self, now: Time, until: Time) {
        if now >= self.slowed_until && !planted!(WindowKept) {
            self.window = (self.window / 2).max(1);
            self.successes = 0;
        }
        self.slowed_until = self.slowed_until.max(until);
    }

    /// Half as many calls from now on, once for all that were sent before it was known, and no more for a while: how many
    /// are too many is known now, and each refused one makes a mailbox wait.
    fn narrow(&mut self, now: Time, sent: Time) {
        if sent >= self.narrowed_at {
            self.window = (self.window / 2).max(1);
            self.narrowed_at = now;
        }
        self.successes = 0;
        self.widen_not_before = now + Span::from_millis(CONNECTIONS_WAIT_MS);
    }

    pub(super) fn forget_conn(&mut self, conn: ConnId) {
        self.conns.retain(|known| *known != conn);
    }

    fn has_work(&self) -> bool {
        !(self.urgent.is_empty()
            && self.routine.is_empty()
            && self.subscribes.is_empty()
            && self.farewells.is_empty())
    }
}

impl ShardCore {
    /// Puts the user where the call that he needs next waits for its turn.
    pub(super) fn request_call(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let Some(server_id) = user.server else { return };
        if user.calling != Calling::No || user.needs.is_empty() || self.draining {
            return;
        }
        // Only what has been told of is still ours.
        if user.aside && !user.needs.has(Needs::FETCH) {
            return;
        }
        if user.call_not_before > now.time {
            self.arm_user(user_id);
            return;
        }
        let server = &mut self.servers[usize::from(server_id.0)];
        if user.subscription.is_none() && user.needs.has(Needs::SUBSCRIBE) {
            let Some(cohort) = user.cohort.and_then(|cohort| self.cohorts.get(cohort)) else { return };
            if !cohort.may_subscribe(user_id) {
                return;
            }
            server.subscribes.push_back(user_id);
        } else if user.needs.has(Needs::FETCH) {
            server.urgent.push_back(user_id);
        } else if !user.needs.has(Needs::SUBSCRIBE) {
            server.routine.push_back(user_id);
        } else {
            return;
        }
        user.calling = Calling::Waits;
        self.pump_calls(now, server_id, fx);
    }

    /// Sends what may be sent.
    pub(super) fn pump_calls(&mut self, now: Now, server_id: MailServerId, fx: &mut Effects) {
        while self.may_call(now, server_id, fx) {
            let Some(mut job) = self.take_job(now, server_id) else { return };
            let Some(request) = self.encode_job(&mut job) else {
                if let Some(user) = job.user().and_then(|user_id| self.users.get_mut(user_id)) {
                    user.calling = Calling::No;
                }
                continue;
            };
            let conn = self.call_conn(server_id, fx);
            let timeout = Span::from_secs(self.mail_server(server_id).call_timeout_s.into());
            let version_now = self.servers[usize::from(server_id.0)].version;
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
                user.looking = matches!(ask, Ask::CatchUp);
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
        if server.in_flight >= server.window {
            return false;
        }
        if !server.proven && server.turn == Turn::None {
            server.turn = Turn::Wanted;
            fx.push(Effect::Account { server: server_id, word: AccountWord::TurnWanted });
        }
        server.proven || server.turn == Turn::Ours
    }

    /// The next call: urgent ones first, farewells last. Users who no longer need one leave their queue.
    fn take_job(&mut self, now: Now, server_id: MailServerId) -> Option<Job> {
        let mail_server = self.mail_server(server_id);
        let pace = Span(1_000_000 / u64::from(mail_server.subscribes_per_s.max(1)));
        // At half the window, half the pace.
        let window = self.servers[usize::from(server_id.0)].window.max(1);
        let pace = Span(pace.0 * u64::from(mail_server.calls_max.max(window) / window));
        loop {
            let server = &mut self.servers[usize::from(server_id.0)];
            let user_id =
                if let Some(user_id) = server.urgent.pop_front().or_else(|| server.routine.pop_front()) {
                    user_id
                } else if server.subscribe_not_before <= now.time
                    && let Some(user_id) = server.subscribes.pop_front()
                {
                    // The pace is kept without saving up: an idle hour does not allow a burst.
                    server.subscribe_not_before = server.subscribe_not_before.max(now.time - pace) + pace;
                    user_id
                } else if let Some(farewell) = server.farewells.pop(now.time) {
                    return Some(Job::Unsubscribe(Box::new(farewell)));
                } else {
                    if !server.subscribes.is_empty() {
                        self.wheel.arm(&server.pace_timer, server.subscribe_not_before);
                    }
                    return None;
                };
            let Some(user) = self.users.get_mut(user_id) else { continue };
            if user.calling != Calling::Waits || user.server != Some(server_id) {
                // He has moved to another server, and what he needs with him.
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

    /// What came of a call has been dealt with. If it was the one to try the credential, another may follow.
    pub(super) fn end_turn(&mut self, now: Now, server_id: MailServerId, conn: ConnId, fx: &mut Effects) {
        let server = &mut self.servers[usize::from(server_id.0)];
        if server.turn == Turn::Used(conn) {
            server.turn = Turn::None;
            fx.push(Effect::Account { server: server_id, word: AccountWord::TurnOver });
        }
        self.pump_calls(now, server_id, fx);
    }

    /// What another shard learnt of the account, or this shard's turn to learn it.
    pub(super) fn hear_of_account(
        &mut self,
        now: Now,
        server_id: MailServerId,
        news: AccountNews,
        fx: &mut Effects,
    ) {
        let Some(server) = self.servers.get(usize::from(server_id.0)) else { return };
        // Trouble of another kind is this shard's own, which it ends by itself.
        let own_trouble = server.troubled && !server.refused;
        let present = &self.mail_server(server_id).credential;
        match news.verdict.filter(|(credential, _)| credential == present) {
            Some((_, Verdict::Proven)) if own_trouble => {}
            Some((_, Verdict::Proven)) => self.credential_proven(now, server_id, fx),
            Some((_, Verdict::Refused)) => self.hold_refused(now, server_id),
            None => {}
        }
        if let Some(until) = news.busy_until {
            self.hold_busy(now, server_id, until);
        }
        if news.turn {
            self.servers[usize::from(server_id.0)].turn = Turn::Ours;
            self.pump_calls(now, server_id, fx);
            let server = &mut self.servers[usize::from(server_id.0)];
            if server.turn == Turn::Ours {
                // Proven or refused meanwhile, or nothing is left to ask.
                server.turn = Turn::None;
                fx.push(Effect::Account { server: server_id, word: AccountWord::TurnOver });
            }
        }
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

    /// A request was answered without complaint about us.
    pub(super) fn server_worked(
        &mut self,
        now: Now,
        server_id: MailServerId,
        asked: Asked,
        fx: &mut Effects,
    ) {
        let calls_max = self.mail_server(server_id).calls_max;
        let server = &mut self.servers[usize::from(server_id.0)];
        match asked {
            Asked::OnTurn => {}
            Asked::WithPresent if !server.refused => {}
            Asked::WithPresent | Asked::WithEarlier => return,
        }
        server.connect_failures = 0;
        server.alarms_in_a_row = 0;
        server.failures_in_a_row = 0;
        server.busy_in_a_row = 0;
        server.successes = server.successes.saturating_add(1);
        if server.successes >= server.window && now.time >= server.widen_not_before {
            server.successes = 0;
            server.window = (server.window + 1).min(calls_max);
        }
        if !server.proven {
            let word = AccountWord::Proven(self.mail_server(server_id).credential.clone());
            fx.push(Effect::Account { server: server_id, word });
        }
        self.credential_proven(now, server_id, fx);
    }

    /// The credential works: this shard has seen it, or another has.
    fn credential_proven(&mut self, now: Now, server_id: MailServerId, fx: &mut Effects) {
        let server = &mut self.servers[usize::from(server_id.0)];
        if std::mem::take(&mut server.refused) {
            server.not_before = server.busy_until.max(now.time);
        }
        if std::mem::take(&mut server.troubled) {
            server.alarmed = false;
            fx.report(Report::MailServerWell { server: server_id });
        }
        server.worked = true;
        if !std::mem::replace(&mut server.proven, true) {
            self.step_cohorts_of(now, server_id, fx);
            self.pump_calls(now, server_id, fx);
        }
    }

    /// The server refuses the credential: nothing more until another one comes, but for one slow probe of one shard.
    pub(super) fn server_refused(
        &mut self,
        now: Now,
        server_id: MailServerId,
        error: &EwsError,
        fx: &mut Effects,
    ) {
        let word = AccountWord::Refused(self.mail_server(server_id).credential.clone());
        fx.push(Effect::Account { server: server_id, word });
        let known = self.servers[usize::from(server_id.0)].refused;
        self.hold_refused(now, server_id);
        if known {
            return;
        }
        let token = matches!(self.mail_server(server_id).credential, MailCredential::Bearer { .. });
        let (server, trouble) = (&mut self.servers[usize::from(server_id.0)], error.trouble());
        server.troubled = true;
        fx.report(match token && server.worked {
            true => Report::MailTokenStale { server: server_id, trouble },
            false => Report::MailCredentialRefused { server: server_id, trouble },
        });
    }

    fn hold_refused(&mut self, now: Now, server_id: MailServerId) {
        let server = &mut self.servers[usize::from(server_id.0)];
        server.proven = false;
        server.refused = true;
        server.not_before = server.not_before.max(now.time + REFUSED_RETRY);
        self.wheel.arm(&server.timer, server.not_before);
    }

    /// A budget is exhausted: every call on it would lengthen the pause. Under impersonation it is that of one mailbox,
    /// and the others go on (exchange-ews §4.2). When one after the other says so, and as long as nothing has succeeded,
    /// it is the server.
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
        let server = &mut self.servers[usize::from(server_id.0)];
        let mailboxes = server.mailboxes.min(BUSY_IN_A_ROW_MAX.into());
        server.slow_down(now.time, until);
        server.busy_in_a_row = server.busy_in_a_row.saturating_add(1);
        let several = usize::from(server.busy_in_a_row) >= mailboxes;
        if several || !server.proven || !impersonated || charged.is_none() {
            self.server_busy(now, server_id, back_off_ms, fx);
        }
    }

    /// The server asks to be left alone: every call on the account would lengthen it, this shard's and the others'.
    pub(super) fn server_busy(
        &mut self,
        now: Now,
        server_id: MailServerId,
        back_off_ms: u64,
        fx: &mut Effects,
    ) {
        let until = now.time + Span::from_millis(back_off_ms);
        fx.push(Effect::Account { server: server_id, word: AccountWord::Busy(until) });
        self.hold_busy(now, server_id, until);
    }

    fn hold_busy(&mut self, now: Now, server_id: MailServerId, until: Time) {
        let server = &mut self.servers[usize::from(server_id.0)];
        server.slow_down(now.time, until);
        server.busy_until = server.busy_until.max(until);
        server.not_before = server.not_before.max(server.busy_until);
        self.wheel.arm(&server.timer, server.not_before);
    }

    /// A front end that names a time (`Retry-After`) and no code speaks for the whole server. What it says of a credential
    /// is another matter.
    pub(super) fn front_busy(
        &mut self,
        now: Now,
        server_id: MailServerId,
        error: &EwsError,
        fx: &mut Effects,
    ) {
        if let (
            ResponseCode::Http(_) | ResponseCode::Forbidden | ResponseCode::Redirect | ResponseCode::NotSoap,
            Some(ms),
        ) = (&error.code, error.back_off_ms)
        {
            self.server_busy(now, server_id, ms, fx);
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
        for conn_id in server.conns.clone() {
            if let Some(Conn { kind: Kind::Call { job: None, .. }, .. }) = self.conns.get(conn_id) {
                self.close_conn(conn_id, fx);
            }
        }
    }

    /// The server could not be reached or broke off.
    pub(super) fn server_unreachable(
        &mut self,
        now: Now,
        server_id: MailServerId,
        trouble: Trouble,
        fx: &mut Effects,
    ) {
        let (first, longest) = CONNECT_BACK_OFF;
        let failures = self.servers[usize::from(server_id.0)].connect_failures;
        let wait = self.jittered(first, longest, failures);
        let server = &mut self.servers[usize::from(server_id.0)];
        server.connect_failures = failures.saturating_add(1);
        server.not_before = server.not_before.max(now.time + wait);
        self.wheel.arm(&server.timer, server.not_before);
        // Told once; but trouble of another kind, told earlier, does not hide it.
        if !std::mem::replace(&mut server.troubled, true) || failures == 0 {
            fx.report(Report::MailServerTrouble { server: server_id, trouble });
        }
    }

    /// An answer that is no SOAP: a page, a redirect, a bare status. From a server that has not worked yet, or several in
    /// a row, they are nobody's mailbox: all requests wait, and one at a time tries.
    pub(super) fn server_failed(
        &mut self,
        now: Now,
        server_id: MailServerId,
        error: &EwsError,
        fx: &mut Effects,
    ) {
        if !matches!(
            error.code,
            ResponseCode::NotSoap | ResponseCode::Redirect | ResponseCode::Malformed | ResponseCode::Http(_)
        ) {
            return;
        }
        let server = &mut self.servers[usize::from(server_id.0)];
        server.failures_in_a_row = server.failures_in_a_row.saturating_add(1);
        if !server.proven || server.failures_in_a_row >= ALARMS_IN_A_ROW_MAX {
            server.proven = false;
            self.server_unreachable(now, server_id, error.trouble(), fx);
        }
    }

    /// A mailbox is out of our rights' reach. Several in a row, or all that there are: it is the account, which is then
    /// probed with one call.
    pub(super) fn server_alarmed(
        &mut self,
        now: Now,
        server_id: MailServerId,
        error: &EwsError,
        fx: &mut Effects,
    ) {
        let server = &mut self.servers[usize::from(server_id.0)];
        let mailboxes = server.mailboxes.min(ALARMS_IN_A_ROW_MAX.into());
        server.alarms_in_a_row = server.alarms_in_a_row.saturating_add(1);
        if usize::from(server.alarms_in_a_row) < mailboxes {
            return;
        }
        self.server_closed_to_us(now, server_id, error, fx);
    }

    /// Whoever asks is turned away until a person changes something: one call tries now and then.
    pub(super) fn server_closed_to_us(
        &mut self,
        now: Now,
        server_id: MailServerId,
        error: &EwsError,
        fx: &mut Effects,
    ) {
        let server = &mut self.servers[usize::from(server_id.0)];
        server.proven = false;
        server.not_before = server.not_before.max(now.time + Span(ALARM_RETRY.0 / 6));
        self.wheel.arm(&server.timer, server.not_before);
        server.troubled = true;
        if !std::mem::replace(&mut server.alarmed, true) {
            fx.report(Report::MailServerTrouble { server: server_id, trouble: error.trouble() });
        }
    }

    /// A new or corrected credential, or the same one with other rights: whoever was refused may try again at once, one
    /// request at a time until one succeeds.
    pub(super) fn set_mail_credential(
        &mut self,
        now: Now,
        server_id: MailServerId,
        credential: MailCredential,
        fx: &mut Effects,
    ) {
        let Some(server) = self.servers.get_mut(usize::from(server_id.0)) else { return };
        self.config.mail_servers[usize::from(server_id.0)].credential = credential;
        server.proven = false;
        if let Turn::Used(_) = server.turn {
            // The call under way tries another credential.
            server.turn = Turn::None;
            fx.push(Effect::Account { server: server_id, word: AccountWord::TurnOver });
        }
        server.credential = server.credential.wrapping_add(1);
        server.refused = false;
        server.worked = false;
        server.connect_failures = 0;
        server.alarmed = false;
        server.alarms_in_a_row = 0;
        server.not_before = server.busy_until.max(now.time);
        // Servers may take a connection for whoever opened it: none is used for two credentials.
        for conn_id in std::mem::take(&mut server.conns) {
            if let Some(Conn { kind: Kind::Call { job: None, .. }, .. }) = self.conns.get(conn_id) {
                self.close_conn(conn_id, fx);
            }
        }
        self.forget_refusals(now, server_id, fx);
        self.step_cohorts_of(now, server_id, fx);
        self.pump_calls(now, server_id, fx);
    }

    /// Mailboxes and cohorts that wait to be tried again need not wait any longer.
    fn forget_refusals(&mut self, now: Now, server_id: MailServerId, fx: &mut Effects) {
        self.release_cohorts_of(now, server_id);
        let waiting = |user: &User| {
            let busy = user.setback.as_deref().is_some_and(|setback| setback.is_busy(now.time));
            user.server == Some(server_id) && user.call_not_before > now.time && !busy
        };
        let ids: Vec<UserId> =
            self.users.iter().filter(|(_, user)| waiting(user)).map(|(id, _)| id).collect();
        for user_id in ids {
            if let Some(user) = self.users.get_mut(user_id) {
                user.call_not_before = Time(0);
                user.call_failures = 0;
            }
            self.request_call(now, user_id, fx);
            self.arm_user(user_id);
        }
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
        return Some(if user.folders_doubtful { Ask::Badge } else { Ask::Subscribe });
    }
    [(Needs::FETCH, Ask::Fetch(Vec::new())), (Needs::CATCH_UP, Ask::CatchUp), (Needs::BADGE, Ask::Badge)]
        .into_iter()
        .find_map(|(need, ask)| user.needs.has(need).then_some(ask))
}
