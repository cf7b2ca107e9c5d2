//! The credential for a mail server: who tries it, and what follows when it works, is refused or replaced.

use super::account::{AccountNews, AccountWord, Verdict};
use super::blame::Blame;
use super::command::MailCredential;
use super::conn::{Conn, Kind};
use super::core::ShardCore;
use super::server::Turn;
use super::{ConnId, Effect, Effects, MailServerId, Refusals, Report};
use crate::ews::EwsError;
use crate::limits::REFUSED_TRIES;
use crate::time::{Now, Time};
use crate::user::{User, UserId};

impl ShardCore {
    /// What came of a call has been dealt with. If it was the one to try the credential, another may follow.
    pub(super) fn end_turn(&mut self, now: Now, server_id: MailServerId, conn: ConnId, fx: &mut Effects) {
        self.give_turn_back(server_id, conn, fx);
        self.pump_calls(now, server_id, fx);
    }

    /// The connection carries the call to try the credential no longer.
    pub(super) fn give_turn_back(&mut self, server_id: MailServerId, conn: ConnId, fx: &mut Effects) {
        let server = &mut self.servers[usize::from(server_id.0)];
        if server.turn == Turn::Used(conn) {
            server.turn = Turn::None;
            fx.push(Effect::Account { server: server_id, word: AccountWord::TurnOver });
        }
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
        let own_trouble = server.trouble.is_some() && server.refusals.is_none();
        let present = &self.mail_server(server_id).credential;
        match news.verdict.filter(|(credential, _)| credential == present) {
            Some((_, Verdict::Proven)) if own_trouble => {}
            Some((_, Verdict::Proven)) => self.credential_proven(now, server_id, fx),
            Some((_, Verdict::Refused { refusals, tell })) => {
                self.hold_refused(now, server_id, refusals, tell, fx);
            }
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

    /// The credential works: this shard has seen it, or another has.
    pub(super) fn credential_proven(&mut self, now: Now, server_id: MailServerId, fx: &mut Effects) {
        let server = &mut self.servers[usize::from(server_id.0)];
        server.last_refusal = None;
        if server.refusals.take().is_some() {
            server.not_before = server.busy_until.max(now.time);
        }
        if server.trouble.take().is_some() {
            fx.report(match server.stream_trouble.as_deref() {
                Some(trouble) => Report::MailServerTrouble { server: server_id, trouble: trouble.clone() },
                None => Report::MailServerWell { server: server_id },
            });
        }
        server.worked = true;
        if !std::mem::replace(&mut server.proven, true) {
            self.step_cohorts_of(now, server_id, fx);
            self.pump_calls(now, server_id, fx);
        }
    }

    /// The server refused the credential. What that means is decided over all shards ([`super::Refusals`]), and heard in a
    /// moment; until then nobody here tries it again.
    pub(super) fn server_refused(
        &mut self,
        now: Now,
        server_id: MailServerId,
        error: &EwsError,
        fx: &mut Effects,
    ) {
        let credential = self.mail_server(server_id).credential.clone();
        fx.push(Effect::Account {
            server: server_id,
            word: AccountWord::Refused { credential, at: now.time },
        });
        let server = &mut self.servers[usize::from(server_id.0)];
        server.proven = false;
        server.last_refusal = Some(Box::new(error.clone()));
        self.leave_alone(server_id, now.time + REFUSED_TRIES[0]);
    }

    /// The credential is refused, by what all shards have heard: nothing more until it is tried again by one request of one
    /// shard, or another one comes.
    fn hold_refused(
        &mut self,
        now: Now,
        server_id: MailServerId,
        refusals: Refusals,
        tell: bool,
        fx: &mut Effects,
    ) {
        let token = matches!(self.mail_server(server_id).credential, MailCredential::Bearer { .. });
        let server = &mut self.servers[usize::from(server_id.0)];
        server.proven = false;
        let before = server.refusals.replace(refusals);
        let known = before.is_some_and(|before| before.are_final() || !refusals.are_final());
        // A token that has worked is stale, and somebody can hand in another at once. A password may be right after all.
        let stale = token && server.worked;
        let error = server.last_refusal.take();
        if let Some(error) = error.filter(|_| tell && !known && !(stale && before.is_some())) {
            let report = match refusals.are_final() {
                _ if stale => |server, trouble| Report::MailTokenStale { server, trouble },
                true => |server, trouble| Report::MailCredentialRefused { server, trouble },
                false => |server, trouble| Report::MailServerTrouble { server, trouble },
            };
            let trouble = if refusals.are_final() || stale { error.trouble() } else { error.doubt() };
            server.trouble = Some(trouble.clone());
            fx.report(report(server_id, trouble));
        }
        self.leave_alone(server_id, refusals.until().max(now.time));
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
        server.refusals = None;
        server.last_refusal = None;
        server.worked = false;
        server.connect_failures = 0;
        server.closures = 0;
        server.blame = Blame::default();
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
}
