//! What the answers of a mail server say of the server itself, and how long it is left alone then.

use super::account::AccountWord;
use super::blame::{Blame, Refused};
use super::core::ShardCore;
use super::server::Asked;
use super::{Effect, Effects, MailServerId, Report, Trouble};
use crate::ews::{EwsError, ResponseCode};
use crate::limits::{CLOSED_RETRY, CONNECT_BACK_OFF, MAIL_BACK_OFF};
use crate::time::{Now, Span, Time};
use crate::user::UserId;

impl ShardCore {
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
            Asked::WithPresent if server.refusals.is_none() && server.last_refusal.is_none() => {}
            Asked::WithPresent | Asked::WithEarlier => return,
        }
        server.connect_failures = 0;
        server.closures = 0;
        server.blame = Blame::default();
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

    pub(super) fn hold_busy(&mut self, now: Now, server_id: MailServerId, until: Time) {
        let server = &mut self.servers[usize::from(server_id.0)];
        server.slow_down(now.time, until);
        server.busy_until = server.busy_until.max(until);
        let until = server.busy_until;
        self.leave_alone(server_id, until);
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
        self.leave_alone(server_id, now.time + wait);
        let server = &mut self.servers[usize::from(server_id.0)];
        // Told once; but trouble of another kind, told earlier, does not hide it.
        if server.trouble.is_none() || failures == 0 {
            server.trouble = Some(trouble.clone());
            fx.report(Report::MailServerTrouble { server: server_id, trouble });
        }
    }

    /// An answer that is no SOAP: a page, a redirect, a bare status. From a server that has not worked yet, or when a
    /// mailbox that has just worked gets one after several others, they are nobody's mailbox: all requests wait, and one at a
    /// time tries.
    pub(super) fn server_failed(
        &mut self,
        now: Now,
        server_id: MailServerId,
        error: &EwsError,
        user: Option<UserId>,
        fx: &mut Effects,
    ) {
        if !matches!(
            error.code,
            ResponseCode::NotSoap | ResponseCode::Redirect | ResponseCode::Malformed | ResponseCode::Http(_)
        ) {
            return;
        }
        let failed = self.is_of_server(now, server_id, Refused::NoSoap, user);
        let server = &mut self.servers[usize::from(server_id.0)];
        if failed || !server.proven {
            server.proven = false;
            self.server_unreachable(now, server_id, error.trouble(), fx);
        }
    }

    /// A mailbox is out of our rights' reach. If one that has just worked is so, too, after several others, or all are that
    /// there are, it is the account, which is then probed with one call.
    pub(super) fn server_alarmed(
        &mut self,
        now: Now,
        server_id: MailServerId,
        error: &EwsError,
        user: Option<UserId>,
        fx: &mut Effects,
    ) {
        if self.is_of_server(now, server_id, Refused::NoRight, user) {
            self.server_closed_to_us(now, server_id, error, fx);
        }
    }

    /// Whoever asks is turned away. If that never was otherwise, a person must change something, and one call tries now and
    /// then; otherwise it may pass, and one call tries at a growing pace.
    pub(super) fn server_closed_to_us(
        &mut self,
        now: Now,
        server_id: MailServerId,
        error: &EwsError,
        fx: &mut Effects,
    ) {
        let server = &mut self.servers[usize::from(server_id.0)];
        server.proven = false;
        let closures = server.closures;
        server.closures = closures.saturating_add(1);
        // Told once; but trouble of another kind, told earlier, does not hide it.
        if server.trouble.is_none() || closures == 0 {
            server.trouble = Some(error.trouble());
            fx.report(Report::MailServerTrouble { server: server_id, trouble: error.trouble() });
        }
        let wait = match self.servers[usize::from(server_id.0)].worked {
            true => self.jittered(MAIL_BACK_OFF.0, CLOSED_RETRY, closures),
            false => CLOSED_RETRY,
        };
        self.leave_alone(server_id, now.time + wait);
    }

    /// Nothing is sent to the server before; then whoever waits for it looks at what he may do.
    pub(super) fn leave_alone(&mut self, server_id: MailServerId, until: Time) {
        let server = &mut self.servers[usize::from(server_id.0)];
        server.not_before = server.not_before.max(until);
        self.wheel.arm(&server.timer, server.not_before);
    }
}
