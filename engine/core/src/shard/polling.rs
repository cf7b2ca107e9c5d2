//! Mailboxes of which no stream tells, because none can be held: a proxy lets no byte of it through or cuts it, or the
//! budget has no room for one. They are looked into about once a minute by ordinary calls, while streams are tried on.

use super::cohort::{Cohort, CohortId};
use super::core::ShardCore;
use super::{Effects, MailServerId, Report, Trouble};
use crate::limits::{MUTE_STREAMS_MAX, POLL_AFTER, POLL_EVERY, STREAM_PROBES_MAX, STREAMS_LOST_MAX};
use crate::time::{Now, Span, Time};
use crate::user::{Calling, Needs, Polling, User, UserId};

/// The code of a stream that ended in good order and is not back: nothing is known of why, so that any other says more.
pub(super) const STREAM_WAITS: &str = "stream_waits";

impl Cohort {
    /// Whether the present stream can be relied on: it is open, and has delivered something since, or the streams before
    /// it did.
    pub(super) fn is_heard(&self) -> bool {
        self.opened && (self.delivers || self.mute < MUTE_STREAMS_MAX)
    }
}

impl ShardCore {
    /// Has those members looked into of whom no stream tells, once that has lasted. Returns when it is due next.
    pub(super) fn poll_members(&mut self, now: Now, cohort_id: CohortId, fx: &mut Effects) -> Option<Time> {
        let cohort = self.cohorts.get_mut(cohort_id)?;
        let heard = cohort.is_heard();
        let unheard = |user: &User| !(user.aside || user.streaming && heard);
        let members = || cohort.members.iter().filter_map(|id| Some((*id, self.users.get(*id)?)));
        let waits = members().any(|(_, user)| unheard(user));
        let subscribed = members().any(|(_, user)| unheard(user) && user.subscription.is_some());
        if !waits || self.draining || (cohort.poll_at.is_none() && !subscribed) {
            cohort.poll_at = None;
            return None;
        }
        // As long as the server is left alone nothing can be asked, and then a stream goes first.
        let left_alone = self.servers[usize::from(cohort.server.0)].not_before;
        let first = if left_alone > now.time { left_alone + POLL_AFTER } else { Time(0) };
        let due = cohort.poll_at.unwrap_or(now.time + POLL_AFTER).max(first);
        if due > now.time {
            cohort.poll_at = Some(due);
            return Some(due);
        }
        let polled: Vec<UserId> = members()
            .filter(|(_, user)| unheard(user) && user.subscription.is_some())
            .filter(|(_, user)| user.calling == Calling::No && !user.needs.has(Needs::LOOK))
            .map(|(id, _)| id)
            .collect();
        let next = now.time + Span(POLL_EVERY.0 - self.rng.below(POLL_EVERY.0 / 6));
        cohort.poll_at = Some(next);
        for user_id in polled {
            if let Some(user) = self.users.get_mut(user_id) {
                user.miss();
                user.needs.add(Needs::LOOK);
            }
            self.request_call(now, user_id, fx);
        }
        Some(next)
    }

    /// All folders were looked into. If no stream tells what comes next, the mailbox is looked into again.
    pub(super) fn looked(&mut self, user_id: UserId) {
        let heard = self.is_heard(user_id);
        let Some(user) = self.users.get_mut(user_id) else { return };
        user.needs.remove(Needs::LOOK);
        if !heard && user.polling == Polling::No {
            user.polling = Polling::Looked;
        }
    }

    /// Whether a stream tells of the mailbox.
    pub(super) fn is_heard(&self, user_id: UserId) -> bool {
        let Some(user) = self.users.get(user_id) else { return false };
        let cohort = user.cohort.and_then(|cohort| self.cohorts.get(cohort));
        user.streaming && cohort.is_some_and(Cohort::is_heard)
    }

    /// Tells the owner, once, that a mailbox is looked into without a stream.
    pub(super) fn tell_polling(&mut self, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        if user.polling != Polling::Looked {
            return;
        }
        user.polling = Polling::Told;
        let cohort = user.cohort.and_then(|cohort| self.cohorts.get(cohort));
        let trouble = cohort.and_then(|cohort| cohort.trouble.as_deref().cloned());
        let trouble = trouble.unwrap_or_else(|| Trouble {
            code: "stream_missing".into(),
            text: "no notification stream is open for the mailbox; it is tried again".into(),
        });
        fx.report(Report::Polled { user: user.key, trouble });
    }

    /// The present stream has told something after its opening: it can be relied on.
    pub(super) fn stream_delivers(
        &mut self,
        now: Now,
        cohort_id: CohortId,
        conn_id: super::ConnId,
        fx: &mut Effects,
    ) {
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        if cohort.stream != Some(conn_id) || !cohort.opened || std::mem::replace(&mut cohort.delivers, true) {
            return;
        }
        let (server, was_mute) = (cohort.server, cohort.mute >= MUTE_STREAMS_MAX);
        cohort.mute = 0;
        cohort.trouble = None;
        self.streams_work(server, fx);
        if was_mute {
            for user_id in self.users_on(conn_id) {
                if let Some(user) = self.users.get_mut(user_id) {
                    // What came since the last look was told to nobody.
                    user.miss();
                }
                self.request_call(now, user_id, fx);
            }
        }
    }

    /// A stream of a server has shown that streams pass.
    pub(super) fn streams_work(&mut self, server_id: MailServerId, fx: &mut Effects) {
        let server = &mut self.servers[usize::from(server_id.0)];
        server.streams_lost = 0;
        server.lost_when_open = false;
        if server.stream_trouble.take().is_some() && server.trouble.is_none() {
            fx.report(Report::MailServerWell { server: server_id });
        }
    }

    /// A stream of a server ended before it had told anything but its opening, if that. Several in a row are no accident.
    pub(super) fn stream_lost(
        &mut self,
        server_id: MailServerId,
        opened: bool,
        trouble: &Trouble,
        fx: &mut Effects,
    ) {
        let server = &mut self.servers[usize::from(server_id.0)];
        server.streams_lost = server.streams_lost.saturating_add(1);
        server.lost_when_open |= opened;
        if server.streams_lost < STREAMS_LOST_MAX {
            return;
        }
        let text = format!("{}; meanwhile each mailbox is looked into about once a minute", trouble.text);
        self.streams_missing(server_id, &Trouble { code: trouble.code.clone(), text: text.into() }, fx);
    }

    /// Streams of a server are not there that should be: whatever calls say, it is in trouble until one comes through.
    pub(super) fn streams_missing(&mut self, server_id: MailServerId, trouble: &Trouble, fx: &mut Effects) {
        let server = &mut self.servers[usize::from(server_id.0)];
        let says_more = |known: &Trouble| &*known.code == STREAM_WAITS && &*trouble.code != STREAM_WAITS;
        if server.stream_trouble.as_deref().is_some_and(|known| !says_more(known)) {
            return;
        }
        server.stream_trouble = Some(Box::new(trouble.clone()));
        if server.trouble.is_none() {
            fx.report(Report::MailServerTrouble { server: server_id, trouble: trouble.clone() });
        }
    }

    /// Whether enough streams of a server are being opened: where none comes through, a few at a time show as much as all.
    pub(super) fn probes_enough(&self, server_id: MailServerId) -> bool {
        let server = &self.servers[usize::from(server_id.0)];
        if server.streams_lost < 2 * STREAMS_LOST_MAX {
            return false;
        }
        let opening =
            |cohort: &&Cohort| cohort.server == server_id && cohort.stream.is_some() && !cohort.opened;
        self.cohorts.iter().map(|(_, cohort)| cohort).filter(opening).count() >= STREAM_PROBES_MAX
    }
}
