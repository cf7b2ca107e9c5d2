//! The life of a cohort's stream: opened, taken over from, closed, broken, opened again.

use super::cohort::CohortId;
use super::conn::Kind;
use super::core::ShardCore;
use super::polling::STREAM_WAITS;
use super::server::Asked;
use super::{ConnId, Effects, Trouble};
use crate::ews::{SchemaVersion, StreamConn};
use crate::limits::{
    DETACHED_TRUST, MAIL_BACK_OFF, REOPEN_SPREAD, STREAM_JOIN_INTERVAL, STREAM_JOIN_WAIT, UNSTREAMED_TOLD,
};
use crate::time::{Now, Span, Time};
use crate::user::{Calling, Needs, Polling, UserId};

impl ShardCore {
    /// Opens the stream, or has a second one take over when members have come. When there is something to wait for,
    /// until when.
    pub(super) fn join_members(&mut self, now: Now, cohort_id: CohortId, fx: &mut Effects) -> Option<Time> {
        let cohort = self.cohorts.get_mut(cohort_id)?;
        let server = &mut self.servers[usize::from(cohort.server.0)];
        if !server.proven || server.not_before > now.time || self.draining {
            return None;
        }
        if cohort.retiring.is_some() || cohort.stream.is_some() && !cohort.opened {
            return None;
        }
        let (mut outside, mut next, mut out) = (0, 0, 0);
        for user in cohort.members.iter().filter_map(|id| self.users.get(*id)).filter(|user| !user.aside) {
            match (&user.subscription, user.calling) {
                (Some(_), _) => outside += usize::from(!user.streaming),
                (None, Calling::Waits) if !user.slow => next += 1,
                (None, Calling::Waits | Calling::Out) => out += 1,
                (None, Calling::No) => {}
            }
        }
        if outside == 0 {
            cohort.joining_since = None;
            return None;
        }
        let since = *cohort.joining_since.get_or_insert(now.time);
        let join_at = match cohort.stream {
            None if next + out == 0 => now.time,
            // Left out, they would wait as long for the stream's replacement, and that would be one opening more.
            None if cohort.is_new() && next > 0 => since + STREAM_JOIN_INTERVAL,
            None if cohort.is_new() => {
                (cohort.subscribed_at + STREAM_JOIN_WAIT).min(since + STREAM_JOIN_INTERVAL)
            }
            None => since + STREAM_JOIN_WAIT,
            Some(_) => {
                let pause_over = cohort.opened_at.map_or(now.time, |at| at + STREAM_JOIN_INTERVAL);
                (since + STREAM_JOIN_WAIT).max(pause_over)
            }
        };
        if join_at > now.time {
            // Nobody says when a call that waits has left: that is looked at again.
            return Some(join_at.min(now.time + STREAM_JOIN_WAIT));
        }
        if self.cohorts.get(cohort_id).is_some_and(|cohort| self.probes_enough(cohort.server)) {
            // The next look into its mailboxes brings it back.
            return None;
        }
        if let Some(wait) = self.choose_budget(now, cohort_id) {
            // Not for longer than that: whoever comes meanwhile may have one.
            return Some(now.time + wait);
        }
        let cohort = self.cohorts.get_mut(cohort_id)?;
        let server = &mut self.servers[usize::from(cohort.server.0)];
        // However many streams are to be opened at once, they are opened one after the other.
        let slot = *cohort.slot.get_or_insert_with(|| server.stream_slot(now.time));
        if slot > now.time {
            return Some(slot);
        }
        cohort.slot = None;
        cohort.joining_since = None;
        cohort.retiring = cohort.stream.take();
        cohort.opened = false;
        cohort.delivers = false;
        let endpoint = self.config.mail_servers[usize::from(cohort.server.0)].endpoint;
        let credential = self.servers[usize::from(cohort.server.0)].credential;
        let conn = self.open_conn(
            endpoint,
            Kind::Stream {
                cohort: cohort_id,
                machine: None,
                users: Vec::new(),
                credential,
                version: SchemaVersion::default(),
                closes: now.time,
            },
            fx,
        );
        if let Some(cohort) = self.cohorts.get_mut(cohort_id) {
            cohort.stream = Some(conn);
        }
        None
    }

    /// The stream's connection stands: ask for the events of all members.
    pub(super) fn stream_connected(
        &mut self,
        now: Now,
        conn_id: ConnId,
        cohort_id: CohortId,
        fx: &mut Effects,
    ) {
        let Some(cohort) = self.cohorts.get(cohort_id) else { return };
        if self.servers[usize::from(cohort.server.0)].not_before > now.time {
            // While the connection was made, the server asked to be left alone. Its timer brings the cohort back.
            return self.close_stream(now, conn_id, cohort_id, fx);
        }
        let held_out = cohort.held_out();
        let wanted = |id: &UserId| {
            let user = self.users.get(*id);
            user.is_some_and(|user| user.subscription.is_some() && !user.aside) && !held_out.contains(id)
        };
        let users: Vec<UserId> = cohort.members.iter().copied().filter(wanted).collect();
        if users.is_empty() {
            return self.close_stream(now, conn_id, cohort_id, fx);
        }
        if self.choose_budget(now, cohort_id).is_some() {
            self.close_stream(now, conn_id, cohort_id, fx);
            return self.step_cohort(now, cohort_id, fx);
        }
        let Some(cohort) = self.cohorts.get(cohort_id) else { return };
        let version_now = self.servers[usize::from(cohort.server.0)].version;
        let server = self.mail_server(cohort.server);
        // Up to 10 % less, so that cohorts do not reopen together.
        let minutes = u64::from(server.stream_minutes.clamp(1, 30));
        let idle = Span::from_secs(server.stream_idle_s.into());
        let minutes = (minutes - self.rng.below(minutes / 10 + 1)).max(1);
        let Some(request) = self.encode_stream(cohort_id, &users, minutes as u8) else {
            return self.close_stream(now, conn_id, cohort_id, fx);
        };
        let lifetime = Span::from_secs(minutes * 60 + 60);
        let machine_new = StreamConn::open(now.time, request, idle, lifetime);
        if let Some(Kind::Stream { machine, users: in_request, version, closes, .. }) =
            self.conns.get_mut(conn_id).map(|c| &mut c.kind)
        {
            *closes = now.time + Span::from_secs(minutes * 60);
            *machine = Some(Box::new(machine_new));
            *in_request = users;
            *version = version_now;
        }
        self.touch_conn(conn_id, fx);
    }

    /// The opening envelope came: the stream is live.
    pub(super) fn stream_opened(&mut self, now: Now, conn_id: ConnId, cohort_id: CohortId, fx: &mut Effects) {
        let (users, credential, version) = match self.conns.get(conn_id).map(|conn| &conn.kind) {
            Some(Kind::Stream { users, credential, version, .. }) => (users.clone(), *credential, *version),
            _ => return,
        };
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        if cohort.stream != Some(conn_id) {
            return;
        }
        let detached_long =
            cohort.detached_since.take().is_some_and(|since| now.time.since(since) > DETACHED_TRUST);
        cohort.opened = true;
        cohort.opened_at = Some(now.time);
        cohort.works_since.get_or_insert(now.time);
        cohort.untold_until = None;
        self.stats.streams += 1;
        let (server, retiring) = (cohort.server, cohort.retiring);
        for user_id in retiring.map_or_else(Vec::new, |older| self.users_on(older)) {
            if let Some(user) = self.users.get_mut(user_id) {
                user.overlap = true;
            }
        }
        for user_id in users {
            let Some(user) = self.users.get_mut(user_id) else { continue };
            if user.subscription.is_none() {
                continue;
            }
            let waited = !std::mem::replace(&mut user.streaming, true) && user.calling == Calling::Waits;
            if waited {
                // Perhaps among those who have no stream, of whom a few are looked into each second.
                user.calling = Calling::No;
            }
            // What a look without a stream has gone through by now may have changed before there was one.
            let looked_before = user.needs.has(Needs::LOOK);
            user.needs.remove(Needs::LOOK);
            if detached_long || looked_before || user.polling != Polling::No {
                user.miss();
            }
            self.request_call(now, user_id, fx);
            self.look_live(now, user_id, fx);
        }
        if !self.servers[usize::from(server.0)].lost_when_open {
            self.streams_work(server, fx);
        }
        self.version_worked(server, version);
        if credential == self.servers[usize::from(server.0)].credential {
            self.server_worked(now, server, Asked::WithPresent, fx);
        }
        self.acquit(now, cohort_id, fx);
        self.step_cohort(now, cohort_id, fx);
    }

    /// The stream ended as the server promised, or is of no more use.
    pub(super) fn stream_closed(&mut self, now: Now, conn_id: ConnId, cohort_id: CohortId, fx: &mut Effects) {
        let lasted = self.cohorts.get(cohort_id).is_some_and(|cohort| cohort.is_steady(now.time));
        if self.detach_stream(now, conn_id, cohort_id, fx) {
            self.tell_later(now, cohort_id);
            self.reopen_later(now, cohort_id, !lasted, fx);
        }
    }

    /// One bad id silences the good ones on its connection: it is opened again at once, without it. This is no failure of
    /// the stream, and slows it down as little as it slows the neighbours: a subscription that waits too long for its
    /// stream is the next bad id. Members whose ids are bad again and again are set back, each for himself.
    pub(super) fn stream_spoilt(&mut self, now: Now, conn_id: ConnId, cohort_id: CohortId, fx: &mut Effects) {
        if self.detach_stream(now, conn_id, cohort_id, fx) {
            self.tell_later(now, cohort_id);
            let wait = Span(self.rng.below(REOPEN_SPREAD.0));
            self.delay_cohort(now, cohort_id, wait, fx);
        }
    }

    /// Nobody is told of a stream that is back in a moment.
    fn tell_later(&mut self, now: Now, cohort_id: CohortId) {
        if let Some(cohort) = self.cohorts.get_mut(cohort_id).filter(|cohort| cohort.stream.is_none()) {
            cohort.untold_until.get_or_insert(now.time + UNSTREAMED_TOLD);
        }
    }

    /// The stream ended in good order and has not come back: its members are no longer watched, and the owner is told. When
    /// that is to be looked at.
    pub(super) fn tell_unstreamed(
        &mut self,
        now: Now,
        cohort_id: CohortId,
        fx: &mut Effects,
    ) -> Option<Time> {
        let cohort = self.cohorts.get_mut(cohort_id)?;
        let until = cohort.untold_until?;
        if until > now.time {
            return Some(until);
        }
        cohort.untold_until = None;
        let (server_id, members) = (cohort.server, cohort.members.clone());
        let untold = |id: &UserId| {
            let user = self.users.get(*id);
            user.is_some_and(|user| user.subscription.is_some() && !user.streaming && !user.aside)
        };
        let members: Vec<UserId> = members.into_iter().filter(untold).collect();
        if members.is_empty() {
            return None;
        }
        let waits = Trouble {
            code: STREAM_WAITS.into(),
            text: "the stream ended as agreed and has not been opened again yet; it is tried again by itself"
                .into(),
        };
        self.streams_missing(server_id, &waits, fx);
        let trouble = self.servers[usize::from(server_id.0)].trouble.clone().unwrap_or(waits);
        for user_id in members {
            // Whoever is looked into goes on to be.
            if self.users.get(user_id).is_some_and(|user| user.polling != Polling::Told) {
                self.set_unwatched(user_id, &trouble, fx);
            }
        }
        None
    }

    /// The first reopening is immediate: most ends are a load balancer's, a patch's, or the agreed one. Streams that do
    /// not last are opened more and more slowly.
    fn reopen_later(&mut self, now: Now, cohort_id: CohortId, failed: bool, fx: &mut Effects) {
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        let failures = cohort.failures;
        cohort.failures = failures.saturating_add(u8::from(failed));
        let wait = match failures {
            0 => Span(self.rng.below(REOPEN_SPREAD.0)),
            n => self.jittered(MAIL_BACK_OFF.0, MAIL_BACK_OFF.1, n - 1),
        };
        self.delay_cohort(now, cohort_id, wait, fx);
    }

    /// The stream broke: what happened since is unknown.
    pub(super) fn stream_broken(
        &mut self,
        now: Now,
        conn_id: ConnId,
        cohort_id: CohortId,
        trouble: &Trouble,
        fx: &mut Effects,
    ) {
        let named = self.users_on(conn_id);
        let cohort = self.cohorts.get(cohort_id);
        let server = cohort.map(|cohort| cohort.server);
        let retiring = cohort.is_some_and(|cohort| cohort.is_retiring(conn_id));
        // Where an older stream goes on, nothing was lost but an attempt.
        let attempt = !retiring && cohort.is_some_and(|cohort| cohort.retiring.is_some() && !cohort.opened);
        self.stats.streams_broken += 1;
        let asked = matches!(
            self.conns.get(conn_id).map(|conn| &conn.kind),
            Some(Kind::Stream { machine: Some(_), .. })
        );
        let lost = cohort.filter(|cohort| asked && cohort.stream == Some(conn_id) && !cohort.delivers);
        if let Some((server, opened)) = lost.map(|cohort| (cohort.server, cohort.opened)) {
            self.stream_lost(server, opened, trouble, fx);
        }
        if let Some(cohort) = self.cohorts.get_mut(cohort_id).filter(|_| !retiring) {
            cohort.trouble = Some(Box::new(trouble.clone()));
        }
        for user_id in named.iter().copied().filter(|_| !attempt) {
            if let Some(user) = self.users.get_mut(user_id) {
                if !planted!(NoCatchUp) {
                    user.miss();
                }
                match self.users.get(user_id).map(|user| user.polling) {
                    Some(_) if retiring => {}
                    // It is looked into as it was.
                    Some(Polling::Told) => self.set_live(user_id, false),
                    _ => self.set_unwatched(user_id, trouble, fx),
                }
            }
            if retiring {
                self.request_call(now, user_id, fx);
            }
        }
        if let Some(server) = server.filter(|_| !attempt && !retiring) {
            self.distrust(server, &named);
        }
        if self.detach_stream(now, conn_id, cohort_id, fx) {
            if let Some(cohort) = self.cohorts.get_mut(cohort_id).filter(|cohort| cohort.stream.is_none()) {
                cohort.works_since = None;
            }
            self.reopen_later(now, cohort_id, true, fx);
        }
    }

    /// Forgets a stream's connection. True if it was the present one.
    pub(super) fn detach_stream(
        &mut self,
        now: Now,
        conn_id: ConnId,
        cohort_id: CohortId,
        fx: &mut Effects,
    ) -> bool {
        let users = self.users_on(conn_id);
        self.close_conn(conn_id, fx);
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return false };
        if cohort.retiring == Some(conn_id) {
            cohort.retiring = None;
            self.stats.streams -= 1;
            for user_id in users {
                if let Some(user) = self.users.get_mut(user_id) {
                    user.overlap = false;
                }
            }
            self.step_cohort(now, cohort_id, fx);
            return false;
        }
        if cohort.stream != Some(conn_id) {
            return false;
        }
        let calm = cohort.is_calm(now.time);
        if cohort.is_steady(now.time) {
            cohort.failures = 0;
            cohort.unexplained = 0;
        }
        cohort.stream = None;
        let opened = std::mem::take(&mut cohort.opened);
        if opened {
            self.stats.streams -= 1;
        }
        match cohort.retiring.take() {
            Some(older) if opened => self.lose_retiring(older, fx),
            Some(older) => {
                // The take-over failed before it began: the older stream goes on.
                cohort.stream = Some(older);
                cohort.opened = true;
                cohort.opened_at = Some(now.time);
                return true;
            }
            None => {}
        }
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return false };
        cohort.detached_since.get_or_insert(now.time);
        for user_id in users {
            if let Some(user) = self.users.get_mut(user_id) {
                if let Some(setback) = user.setback.as_deref_mut().filter(|_| calm && user.streaming) {
                    setback.is_over(now.time);
                }
                user.streaming = false;
            }
            self.set_live(user_id, false);
        }
        true
    }

    /// A stream is about to be ended that goes on at the server: what it is just being told is lost with it.
    pub(super) fn miss_what_is_told(&mut self, conn_id: ConnId) {
        for user_id in self.users_on(conn_id) {
            if let Some(user) = self.users.get_mut(user_id) {
                user.miss();
            }
        }
    }

    /// The stream that took over is gone, and the one before has not said that it brought everything.
    fn lose_retiring(&mut self, conn_id: ConnId, fx: &mut Effects) {
        for user_id in self.users_on(conn_id) {
            if let Some(user) = self.users.get_mut(user_id) {
                user.overlap = false;
                user.miss();
            }
        }
        self.close_conn(conn_id, fx);
        self.stats.streams -= 1;
    }

    /// The members in a stream's request.
    pub(super) fn users_on(&self, conn_id: ConnId) -> Vec<UserId> {
        match self.conns.get(conn_id).map(|conn| &conn.kind) {
            Some(Kind::Stream { users, .. }) => users.clone(),
            _ => Vec::new(),
        }
    }

    fn close_stream(&mut self, now: Now, conn_id: ConnId, cohort_id: CohortId, fx: &mut Effects) {
        self.detach_stream(now, conn_id, cohort_id, fx);
    }
}
