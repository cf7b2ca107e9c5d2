//! Mailboxes whose calls are slow or never answered, because their database hangs, say: how they are kept from taking
//! every place for calls. A share of the places stays for mailboxes that answer promptly; when slow calls hold all of
//! them and somebody else waits, the slowest is given up.

use std::collections::VecDeque;

use super::conn::{Conn, Kind};
use super::core::ShardCore;
use super::server::{Ask, Job};
use super::{ConnId, Effects, MailServerId, Trouble};
use crate::limits::{
    LEADING_CALL_TIMEOUT, MAIL_BACK_OFF, PROMPT_SHARE, SLOW_CALL, YIELD_BACK_OFF_MAX, YIELDS_FREE,
};
use crate::time::{Now, Span, Time};
use crate::user::{Calling, UserId};

/// How long most calls to a server take: about the median of those that were answered, so that a few slow ones do not
/// count, and a server that is slow as a whole makes no mailbox slow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    usual: Span,
}

impl Latency {
    /// A call was answered.
    pub(super) fn note(&mut self, took: Span) {
        self.usual = match took > self.usual {
            true => Span(self.usual.0 + self.usual.0 / 4 + 1_000),
            false => Span(self.usual.0 - self.usual.0 / 5),
        };
    }

    /// From when a call is slow.
    pub(super) fn slow_from(self) -> Span {
        SLOW_CALL.max(Span(3 * self.usual.0))
    }
}

/// The calls of a server that are out.
#[derive(Debug, Default)]
struct Out {
    /// Sent a short while ago for mailboxes that answer promptly; and when the first of them was.
    prompt: u16,
    prompt_since: Option<Time>,
    /// Slow by now, or for mailboxes whose last call was.
    slow: u16,
    /// The oldest of all, and when it was sent.
    oldest: Option<(Time, ConnId)>,
}

impl ShardCore {
    fn calls_out(&self, now: Now, server_id: MailServerId) -> Out {
        let server = &self.servers[usize::from(server_id.0)];
        let slow_from = server.latency.slow_from();
        let mut out = Out::default();
        for conn_id in &server.conns {
            let Some(Conn { kind: Kind::Call { machine, job: Some(job), .. }, .. }) =
                self.conns.get(*conn_id)
            else {
                continue;
            };
            let sent = machine.sent().unwrap_or(now.time);
            let user = job.user().and_then(|id| self.users.get(id));
            match sent + slow_from <= now.time || user.is_some_and(|user| user.slow) {
                true => out.slow += 1,
                false => {
                    out.prompt += 1;
                    out.prompt_since = Some(out.prompt_since.map_or(sent, |since| since.min(sent)));
                }
            }
            let oldest = out.oldest.get_or_insert((sent, *conn_id));
            *oldest = (*oldest).min((sent, *conn_id));
        }
        out
    }

    /// Places that are kept for mailboxes that answer promptly.
    fn prompt_share(&self, server_id: MailServerId) -> u16 {
        (self.servers[usize::from(server_id.0)].window / PROMPT_SHARE).max(1)
    }

    /// Whether a call may go that can be slow, or for which nobody waits: a share of the places is left alone.
    pub(super) fn has_room_beside_share(&self, now: Now, server_id: MailServerId) -> bool {
        let window = self.servers[usize::from(server_id.0)].window;
        let most = window.saturating_sub(self.prompt_share(server_id)).max(1);
        self.calls_out(now, server_id).slow < most
    }

    /// All places are taken. If that is by slow calls, and for a mailbox that answers promptly a call waits, the slowest
    /// is given up. True if there is a place now.
    ///
    /// When the server as a whole is slow, this helps nobody: as long as no call is answered promptly, it is done more
    /// and more rarely after a while.
    pub(super) fn make_room(&mut self, now: Now, server_id: MailServerId, fx: &mut Effects) -> bool {
        let server = &self.servers[usize::from(server_id.0)];
        if !server.proven || server.in_flight > server.window || !self.prompt_user_waits(now, server_id) {
            return false;
        }
        let out = self.calls_out(now, server_id);
        let Some((sent, conn_id)) = out.oldest else { return false };
        let share_used = out.prompt_since.filter(|_| out.prompt >= self.prompt_share(server_id));
        let server = &self.servers[usize::from(server_id.0)];
        let at = (share_used.unwrap_or(sent) + server.latency.slow_from()).max(server.yield_not_before);
        if at > now.time {
            self.wheel.arm(&server.pace_timer, at);
            return false;
        }
        let server = &mut self.servers[usize::from(server_id.0)];
        server.yields = server.yields.saturating_add(1);
        if let Some(n) = server.yields.checked_sub(YIELDS_FREE) {
            server.yield_not_before = now.time + Span(SLOW_CALL.0 << n.min(6)).min(YIELD_BACK_OFF_MAX);
        }
        let Some(Conn { kind: Kind::Call { job, .. }, .. }) = self.conns.get_mut(conn_id) else {
            return false;
        };
        let job = job.take();
        self.close_conn(conn_id, fx);
        // Another call may have shown meanwhile that the credential works.
        self.give_turn_back(server_id, conn_id, fx);
        let Some(job) = job else { return false };
        self.call_ended(server_id, &job);
        self.stats.calls_given_up += 1;
        self.pass_lead_on(now, server_id, &job, fx);
        self.call_unanswered(now, &job, fx);
        true
    }

    /// Whether a call waits, and may go now, for somebody whose last call was answered promptly.
    fn prompt_user_waits(&self, now: Now, server_id: MailServerId) -> bool {
        let server = &self.servers[usize::from(server_id.0)];
        let waits = |queue: &VecDeque<UserId>| {
            queue.iter().filter_map(|id| self.users.get(*id)).any(|user| {
                user.calling == Calling::Waits
                    && user.server == Some(server_id)
                    && user.call_not_before <= now.time
            })
        };
        let subscribes = server.subscribe_not_before <= now.time && waits(&server.subscribes);
        subscribes || waits(&server.urgent) || waits(&server.routine)
    }

    /// A call took so long.
    pub(super) fn note_latency(&mut self, now: Now, server_id: MailServerId, job: &Job, took: Span) {
        let server = &mut self.servers[usize::from(server_id.0)];
        let slow = took >= server.latency.slow_from();
        server.latency.note(took);
        server.answered_at = now.time;
        if !slow {
            (server.yields, server.yield_not_before) = (0, Time(0));
        }
        if let Some(user) = job.user().and_then(|id| self.users.get_mut(id))
            && user.server == Some(server_id)
        {
            user.slow = slow;
        }
    }

    /// A call got no answer in time, or kept others waiting for too long. Where others are answered, that is the mailbox's
    /// own trouble: it is tried again once at once, then at a growing pace.
    pub(super) fn call_unanswered(&mut self, now: Now, job: &Job, fx: &mut Effects) {
        let Job::OfUser { user: user_id, ask, .. } = job else { return };
        let user_id = *user_id;
        let Some(user) = self.users.get_mut(user_id) else { return };
        let failures = user.call_failures;
        user.slow = true;
        user.call_failures = failures.saturating_add(1);
        if !user.live && !matches!(ask, Ask::Fetch(_) | Ask::Convert(_)) {
            self.set_unwatched(user_id, &unanswered(), fx);
        }
        let wait = match failures {
            0 => Span::ZERO,
            n => self.jittered(MAIL_BACK_OFF.0, MAIL_BACK_OFF.1, n - 1),
        };
        self.retry_later(now, job, wait, fx);
        self.arm_user(user_id);
    }

    /// A call got no answer. If others wait for it and cannot go past it, another mailbox tries.
    pub(super) fn pass_lead_on(&mut self, now: Now, server_id: MailServerId, job: &Job, fx: &mut Effects) {
        let Job::OfUser { user: user_id, ask, .. } = job else { return };
        let user_id = *user_id;
        let anchored = matches!(ask, Ask::Subscribe(_)).then(|| self.is_anchor(user_id)).flatten();
        let unrooted = anchored.filter(|id| self.cohorts.get(*id).is_some_and(|cohort| !cohort.is_rooted()));
        if self.servers[usize::from(server_id.0)].proven && unrooted.is_none() {
            return;
        }
        if let Some(user) = self.users.get_mut(user_id) {
            user.call_not_before = user.call_not_before.max(now.time + MAIL_BACK_OFF.0);
        }
        if let Some(cohort_id) = unrooted {
            if let Some(cohort) = self.cohorts.get_mut(cohort_id) {
                cohort.leads_lost = cohort.leads_lost.saturating_add(1);
            }
            self.drop_anchor(now, cohort_id, &unanswered(), fx);
        }
        self.arm_user(user_id);
    }

    /// For a call that others wait for and cannot go past, because it makes a cohort's first subscription or tries a
    /// credential that has worked before: how long it may take. One that was never seen to work is another matter: its
    /// refusal is waited for, however long that takes.
    pub(super) fn lead(&self, server_id: MailServerId, job: &Job) -> Option<Span> {
        let server = &self.servers[usize::from(server_id.0)];
        if server.refusals.is_some() || !server.worked {
            return None;
        }
        if !server.proven {
            return Some(LEADING_CALL_TIMEOUT);
        }
        let Job::OfUser { user, ask: Ask::Subscribe(_), .. } = job else { return None };
        let cohort = self.is_anchor(*user).and_then(|id| self.cohorts.get(id))?;
        let leads = !cohort.is_rooted() && cohort.members.len() > 1;
        leads.then_some(Span(LEADING_CALL_TIMEOUT.0 << cohort.leads_lost.min(6)))
    }
}

/// For a person: a mailbox whose calls are not answered.
fn unanswered() -> Trouble {
    Trouble {
        code: "mailbox_unanswered".into(),
        text: "Exchange does not answer what is asked of this mailbox, and answers for others; it is tried again, look at \
               the mailbox's database and the server that holds it if it lasts"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers_ms: &[u64]) -> Latency {
        let mut latency = Latency::default();
        for took in answers_ms {
            latency.note(Span::from_millis(*took));
        }
        latency
    }

    #[test]
    fn a_second_is_slow_where_calls_are_quick_and_not_where_most_take_as_long() {
        assert_eq!(after(&[]).slow_from(), SLOW_CALL);
        assert_eq!(after(&[40; 100]).slow_from(), SLOW_CALL);
        let slow = after(&[2_000; 100]).slow_from();
        assert!((Span::from_secs(4)..Span::from_secs(9)).contains(&slow), "{slow:?}");
        assert_eq!(after(&[[2_000; 100], [40; 100]].concat()).slow_from(), SLOW_CALL, "it has recovered");
    }

    #[test]
    fn mailboxes_that_are_slow_now_and_then_do_not_make_the_server_slow() {
        let mixed: Vec<u64> = (0..1_000).map(|n| if n % 4 == 0 { 12_000 } else { 60 }).collect();
        assert_eq!(after(&mixed).slow_from(), SLOW_CALL);
    }
}
