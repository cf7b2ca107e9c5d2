//! Cohorts: up to 200 mailboxes that share one streaming connection.
//!
//! ```text
//! gather → subscribe the anchor → (cookie) → subscribe the others → open the stream → streaming
//! closed in good order → reopen at once            broken → back off, reopen, catch every member up
//! bad ids → reopen without them, subscribe them anew    new members → a second stream takes over, the first ends by itself
//! ```

use hashbrown::HashMap;

use super::config::MailServerId;
use super::conn::Kind;
use super::core::{ShardCore, TimerKey};
use super::farewell::Farewell;
use super::openings::Group;
use super::server::Asked;
use super::{ConnId, Effects, Report, Trouble};
use crate::arena::Id;
use crate::ews::{SchemaVersion, StreamConn};
use crate::http1::{Cookies, Head};
use crate::limits::{
    COHORT_GATHER, DETACHED_TRUST, MAIL_BACK_OFF, REOPEN_SPREAD, STREAM_JOIN_INTERVAL, STREAM_JOIN_WAIT,
    STREAM_STEADY,
};
use crate::names::{SmtpAddress, SubscriptionId};
use crate::time::{Now, Span, Time};
use crate::user::{Calling, Needs, UserId};
use crate::wheel::TimerSlot;

/// Names a cohort.
pub type CohortId = Id<Cohort>;

/// Mailboxes that share a streaming connection: same server, same `GroupingInformation`.
#[derive(Debug)]
pub struct Cohort {
    pub(super) server: MailServerId,
    pub(super) grouping: Box<str>,
    /// Counts the shard's cohorts as they are founded.
    pub(super) number: u64,
    /// The anchor of the stored subscriptions that it was founded for.
    pub(super) stored_anchor: Option<SmtpAddress>,
    /// The mailbox by which all requests of the cohort are routed.
    pub(super) anchor: Option<SmtpAddress>,
    pub(super) anchor_user: Option<UserId>,
    /// Who is impersonated for the stream, when the anchor's own budget for streams is exhausted.
    pub(super) charged: Option<UserId>,
    /// They lead to the back end that holds the subscriptions.
    pub(super) cookies: Cookies,
    /// The anchor's own subscription has been answered (or came from the store): the others may follow.
    rooted: bool,
    pub(super) members: Vec<UserId>,
    by_subscription: HashMap<u64, UserId>,
    stream: Option<ConnId>,
    /// The stream that the present one takes over from. It is read until the server ends it, so that nothing gets lost.
    retiring: Option<ConnId>,
    opened: bool,
    opened_at: Option<Time>,
    join_at: Option<Time>,
    detached_since: Option<Time>,
    /// When the pace of openings lets this cohort's stream be opened.
    slot: Option<Time>,
    not_before: Time,
    /// Streams in a row that did not last.
    pub(super) failures: u8,
    /// Of these, those that Exchange refused without saying why.
    pub(super) unexplained: u8,
    /// Members of whom one is thought to be the reason; empty while nobody is suspected.
    pub(super) suspects: Vec<UserId>,
    /// When members whose stream another owner took are taken back.
    pub(super) aside_until: Option<Time>,
    pub(super) timer: TimerSlot,
}

impl Cohort {
    /// Whether this member's subscription may be asked for: the anchor goes first, the others follow its cookie.
    pub(super) fn may_subscribe(&self, user: UserId) -> bool {
        self.anchor.is_some() && (self.rooted || self.anchor_user == Some(user))
    }

    pub(super) fn is_retiring(&self, conn: ConnId) -> bool {
        self.retiring == Some(conn)
    }

    /// The next requests find a back end of their own.
    pub(super) fn forget_route(&mut self) {
        self.anchor = None;
        self.anchor_user = None;
        self.charged = None;
        self.cookies = Cookies::default();
        self.rooted = false;
    }

    /// Whether the present stream has been open long enough to count as one that works.
    fn is_steady(&self, now: Time) -> bool {
        self.opened && self.opened_at.is_some_and(|at| now.since(at) >= STREAM_STEADY)
    }

    pub(super) fn is_rooted(&self) -> bool {
        self.rooted
    }

    pub(super) fn forget(&mut self, subscription: &SubscriptionId) {
        self.by_subscription.remove(&subscription_hash(subscription));
    }

    /// Whose subscription this is.
    pub(super) fn user_of(&self, subscription: &SubscriptionId) -> Option<UserId> {
        self.by_subscription.get(&subscription_hash(subscription)).copied()
    }
}

impl ShardCore {
    /// Finds or founds the cohort for a user whose row stands: not `not`, in which he cannot stay, nor an older one.
    pub(super) fn join_cohort(
        &mut self,
        now: Now,
        user_id: UserId,
        grouping: &str,
        stored: Option<(&SmtpAddress, &str)>,
        not: Option<CohortId>,
        fx: &mut Effects,
    ) {
        let Some(server) = self.users.get(user_id).and_then(|user| user.server) else { return };
        let group = Group::new(server, grouping);
        let anchor = stored.map(|(anchor, _)| anchor.clone());
        let found = self.find_place(&group, anchor.as_ref(), not);
        let cohort_id = found.unwrap_or_else(|| {
            self.stats.cohorts += 1;
            let wheel = &mut self.wheel;
            let number = self.openings.next_number();
            let id = self.cohorts.insert_with(|id| Cohort {
                server,
                grouping: grouping.into(),
                number,
                stored_anchor: anchor.clone(),
                anchor: anchor.clone(),
                anchor_user: None,
                charged: None,
                cookies: Cookies::from_text(stored.map_or("", |(_, cookie)| cookie)),
                rooted: stored.is_some(),
                members: Vec::new(),
                by_subscription: HashMap::new(),
                stream: None,
                retiring: None,
                opened: false,
                opened_at: None,
                join_at: None,
                detached_since: None,
                slot: None,
                not_before: now.time + COHORT_GATHER,
                failures: 0,
                unexplained: 0,
                suspects: Vec::new(),
                aside_until: None,
                timer: wheel.slot(TimerKey::Cohort(id)),
            });
            if let Some(anchor) = anchor {
                self.openings.keep_stored(group, anchor, id);
            }
            id
        });
        let cohort = self.cohorts.get_mut(cohort_id).expect("found or founded above");
        cohort.members.push(user_id);
        self.servers[usize::from(server.0)].mailboxes += 1;
        let user = self.users.get_mut(user_id).expect("the caller holds the row");
        user.cohort = Some(cohort_id);
        if cohort.anchor.as_ref() == Some(&user.address) {
            cohort.anchor_user = Some(user_id);
        }
        if let Some(subscription) = &user.subscription {
            cohort.by_subscription.insert(subscription_hash(subscription), user_id);
        }
        self.note_room(cohort_id);
        self.step_cohort(now, cohort_id, fx);
    }

    /// Takes a user out of his cohort, and gives his subscription back.
    pub(super) fn leave_cohort(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        self.set_live(user_id, false);
        let Some(user) = self.users.get_mut(user_id) else { return };
        let Some(cohort_id) = user.cohort.take() else { return };
        (user.streaming, user.overlap) = (false, false);
        // One that another owner reads is his to give back.
        let aside = std::mem::take(&mut user.aside);
        let subscription = user.subscription.take();
        let address = user.address.clone();
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        cohort.members.retain(|member| *member != user_id);
        if cohort.anchor_user == Some(user_id) {
            // Requests can still be routed by the address while the mailbox exists; a failure will elect another.
            cohort.anchor_user = None;
            if !cohort.rooted {
                cohort.anchor = None;
            }
        }
        if cohort.charged == Some(user_id) {
            cohort.charged = None;
        }
        let server = cohort.server;
        self.servers[usize::from(server.0)].mailboxes -= 1;
        let route = cohort.anchor.clone().map(|anchor| (anchor, cohort.cookies.as_str().into()));
        if let Some(subscription) = &subscription {
            cohort.by_subscription.remove(&subscription_hash(subscription));
        }
        self.note_room(cohort_id);
        if let (Some(subscription), Some((anchor, cookie)), false) = (subscription, route, aside) {
            self.say_farewell(
                now,
                Farewell { server, address, anchor, cookie, subscription, since: now.time },
                fx,
            );
        }
        self.step_cohort(now, cohort_id, fx);
    }

    /// No cohort of a server waits after a failure any longer; one that still gathers its members goes on doing so.
    pub(super) fn release_cohorts_of(&mut self, now: Now, server: MailServerId) {
        for (_, cohort) in self.cohorts.iter_mut().filter(|(_, cohort)| cohort.server == server) {
            cohort.not_before = cohort.not_before.min(now.time + COHORT_GATHER);
        }
    }

    /// Every cohort of a server looks at what it may do now.
    pub(super) fn step_cohorts_of(&mut self, now: Now, server: MailServerId, fx: &mut Effects) {
        let ids: Vec<CohortId> =
            self.cohorts.iter().filter(|(_, cohort)| cohort.server == server).map(|(id, _)| id).collect();
        for id in ids {
            self.step_cohort(now, id, fx);
        }
    }

    /// Does the next thing that is due for a cohort, and sets its timer for the one after.
    pub(super) fn step_cohort(&mut self, now: Now, cohort_id: CohortId, fx: &mut Effects) {
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        if cohort.members.is_empty() {
            return self.dissolve_cohort(cohort_id, fx);
        }
        if cohort.not_before > now.time {
            self.wheel.arm(&cohort.timer, cohort.not_before);
            return;
        }
        if cohort.aside_until.is_some_and(|until| until <= now.time) {
            cohort.aside_until = None;
            for user_id in &cohort.members {
                if let Some(user) = self.users.get_mut(*user_id) {
                    user.aside = false;
                }
            }
        }
        if !cohort.rooted {
            self.elect_anchor(now, cohort_id);
        }
        self.request_subscriptions(now, cohort_id, fx);
        let next = self.join_members(now, cohort_id, fx);
        if let Some(cohort) = self.cohorts.get(cohort_id)
            && let Some(at) = next.into_iter().chain(cohort.aside_until).min()
        {
            self.wheel.arm(&cohort.timer, at);
        }
    }

    /// The first address in alphabetical order among members who can be subscribed (exchange-ews §4.3). Until one has
    /// been, an anchor that must wait gives way to one that need not.
    fn elect_anchor(&mut self, now: Now, cohort_id: CohortId) {
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        let serves = |id: UserId| self.users.get(id).is_some_and(|user| user.call_not_before <= now.time);
        if cohort.anchor.is_some() && cohort.anchor_user.is_some_and(serves) {
            return;
        }
        let candidates = cohort.members.iter().filter_map(|id| Some((*id, self.users.get(*id)?)));
        let best = candidates.min_by_key(|(_, user)| (user.call_not_before, user.address.clone()));
        if let Some((user_id, user)) = best {
            cohort.anchor = Some(user.address.clone());
            cohort.anchor_user = Some(user_id);
        }
    }

    fn request_subscriptions(&mut self, now: Now, cohort_id: CohortId, fx: &mut Effects) {
        let Some(cohort) = self.cohorts.get(cohort_id) else { return };
        let rooted = cohort.rooted;
        let wanting: Vec<UserId> = match (rooted, cohort.anchor_user) {
            (false, Some(anchor)) => vec![anchor],
            (false, None) => Vec::new(),
            (true, _) => cohort.members.clone(),
        };
        let prove = !self.servers[usize::from(cohort.server.0)].proven && rooted;
        for (at, user_id) in wanting.into_iter().enumerate() {
            let Some(user) = self.users.get_mut(user_id) else { continue };
            if user.subscription.is_none() {
                user.needs.add(Needs::SUBSCRIBE);
            } else if prove && at == 0 {
                // Subscriptions from the store need no call; one harmless call shows that the credential works before
                // streams are opened in parallel.
                user.needs.add(Needs::BADGE);
            } else if !user.streaming {
                continue;
            }
            self.request_call(now, user_id, fx);
        }
    }

    /// Opens the stream, or has a second one take over when members have come. When there is something to wait for,
    /// until when.
    fn join_members(&mut self, now: Now, cohort_id: CohortId, fx: &mut Effects) -> Option<Time> {
        let cohort = self.cohorts.get_mut(cohort_id)?;
        let server = &mut self.servers[usize::from(cohort.server.0)];
        if !server.proven || server.not_before > now.time || self.draining {
            return None;
        }
        if cohort.retiring.is_some() || cohort.stream.is_some() && !cohort.opened {
            return None;
        }
        let (mut outside, mut subscribing) = (0, 0);
        for user in cohort.members.iter().filter_map(|id| self.users.get(*id)).filter(|user| !user.aside) {
            match &user.subscription {
                Some(_) => outside += usize::from(!user.streaming),
                None => subscribing += usize::from(user.calling != Calling::No),
            }
        }
        if outside == 0 {
            cohort.join_at = None;
            return None;
        }
        let join_at = match cohort.stream {
            None if subscribing == 0 => now.time,
            None => cohort.join_at.unwrap_or(now.time + STREAM_JOIN_WAIT),
            Some(_) => {
                let pause_over = cohort.opened_at.map_or(now.time, |at| at + STREAM_JOIN_INTERVAL);
                cohort.join_at.unwrap_or((now.time + STREAM_JOIN_WAIT).max(pause_over))
            }
        };
        if join_at > now.time {
            cohort.join_at = Some(join_at);
            return Some(join_at);
        }
        // However many streams are to be opened at once, they are opened one after the other.
        let slot = *cohort.slot.get_or_insert_with(|| server.stream_slot(now.time));
        if slot > now.time {
            return Some(slot);
        }
        cohort.slot = None;
        cohort.join_at = None;
        cohort.retiring = cohort.stream.take();
        cohort.opened = false;
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
        if let Some(wait) = self.choose_budget(now, cohort_id) {
            self.close_stream(now, conn_id, cohort_id, fx);
            return self.delay_cohort(now, cohort_id, wait, fx);
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
        if let Some(Kind::Stream { machine, users: in_request, version, .. }) =
            self.conns.get_mut(conn_id).map(|c| &mut c.kind)
        {
            *machine = Some(Box::new(machine_new));
            *in_request = users;
            *version = version_now;
        }
        self.touch_conn(conn_id, fx);
    }

    /// The opening envelope came: the stream is live.
    pub(super) fn stream_opened(&mut self, now: Now, conn_id: ConnId, cohort_id: CohortId, fx: &mut Effects) {
        let (users, credential) = match self.conns.get(conn_id).map(|conn| &conn.kind) {
            Some(Kind::Stream { users, credential, .. }) => (users.clone(), *credential),
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
            user.streaming = true;
            if detached_long {
                user.miss();
            }
            self.request_call(now, user_id, fx);
            self.look_live(user_id, fx);
        }
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
            self.reopen_later(now, cohort_id, !lasted, fx);
        }
    }

    /// One bad id silences the good ones on its connection: it is opened again at once, without it. This is no failure of
    /// the stream, and slows it down as little as it slows the neighbours: a subscription that waits too long for its
    /// stream is the next bad id. Members whose ids are bad again and again are set back, each for himself.
    pub(super) fn stream_spoilt(&mut self, now: Now, conn_id: ConnId, cohort_id: CohortId, fx: &mut Effects) {
        if self.detach_stream(now, conn_id, cohort_id, fx) {
            let wait = Span(self.rng.below(REOPEN_SPREAD.0));
            self.delay_cohort(now, cohort_id, wait, fx);
        }
    }

    /// Whether a stream that is to take over can only be opened when the older one has ended: no other budget could pay for
    /// it.
    pub(super) fn must_make_way(&self, cohort_id: CohortId) -> bool {
        self.cohorts.get(cohort_id).is_some_and(|cohort| {
            let one_budget = !self.mail_server(cohort.server).impersonate || cohort.members.len() == 1;
            one_budget && cohort.retiring.is_some() && !cohort.opened
        })
    }

    /// There is no room for a second stream beside the first: that one ends, and one for all members is opened in its
    /// place. What the first has just been told may be lost with it.
    pub(super) fn make_way(&mut self, now: Now, conn_id: ConnId, cohort_id: CohortId, fx: &mut Effects) {
        self.detach_stream(now, conn_id, cohort_id, fx);
        let Some(older) = self.cohorts.get(cohort_id).and_then(|cohort| cohort.stream) else { return };
        for user_id in self.users_on(older) {
            if let Some(user) = self.users.get_mut(user_id) {
                user.miss();
            }
        }
        self.stream_spoilt(now, older, cohort_id, fx);
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
        let users = self.users_on(conn_id);
        let cohort = self.cohorts.get(cohort_id);
        let retiring = cohort.is_some_and(|cohort| cohort.is_retiring(conn_id));
        // Where an older stream goes on, nothing was lost but an attempt.
        let attempt = !retiring && cohort.is_some_and(|cohort| cohort.retiring.is_some() && !cohort.opened);
        self.stats.streams_broken += 1;
        for user_id in users.into_iter().filter(|_| !attempt) {
            if let Some(user) = self.users.get_mut(user_id) {
                if !planted!(NoCatchUp) {
                    user.miss();
                }
                if !retiring {
                    self.set_unwatched(user_id, trouble, fx);
                }
            }
            if retiring {
                self.request_call(now, user_id, fx);
            }
        }
        if self.detach_stream(now, conn_id, cohort_id, fx) {
            self.reopen_later(now, cohort_id, true, fx);
        }
    }

    /// As [`ShardCore::delay_cohort`], in place of what was to be waited for.
    pub(super) fn set_cohort_delay(&mut self, now: Now, cohort_id: CohortId, wait: Span, fx: &mut Effects) {
        if let Some(cohort) = self.cohorts.get_mut(cohort_id) {
            cohort.not_before = now.time + wait;
        }
        self.step_cohort(now, cohort_id, fx);
    }

    /// The cohort waits before its next step.
    pub(super) fn delay_cohort(&mut self, now: Now, cohort_id: CohortId, wait: Span, fx: &mut Effects) {
        if let Some(cohort) = self.cohorts.get_mut(cohort_id) {
            cohort.not_before = cohort.not_before.max(now.time + wait);
        }
        self.step_cohort(now, cohort_id, fx);
    }

    /// These subscriptions are gone: the members are subscribed anew and caught up.
    pub(super) fn lose_subscriptions(
        &mut self,
        now: Now,
        cohort_id: CohortId,
        users: &[UserId],
        trouble: &Trouble,
        fx: &mut Effects,
    ) {
        for user_id in users {
            self.set_unwatched(*user_id, trouble, fx);
            self.forget_subscription(*user_id);
            if let Some(user) = self.users.get_mut(*user_id) {
                user.needs.add(Needs::SUBSCRIBE);
                user.miss();
            }
        }
        self.step_cohort(now, cohort_id, fx);
    }

    /// A member's subscription stands.
    pub(super) fn subscribed(
        &mut self,
        now: Now,
        user_id: UserId,
        subscription: SubscriptionId,
        head: &Head,
        fx: &mut Effects,
    ) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let Some(cohort_id) = user.cohort else { return };
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        user.subscription = Some(subscription.clone());
        user.needs.remove(Needs::SUBSCRIBE);
        user.miss();
        user.call_failures = 0;
        cohort.by_subscription.insert(subscription_hash(&subscription), user_id);
        cohort.cookies.absorb(head);
        cohort.rooted = true;
        self.stats.subscribes += 1;
        if let Some(anchor) = cohort.anchor.clone() {
            let watch = super::WatchRecord {
                subscription: Some(subscription),
                anchor,
                cookie: cohort.cookies.as_str().into(),
            };
            fx.report(Report::Watched { user: user.key, watch });
        }
        self.request_call(now, user_id, fx);
        self.step_cohort(now, cohort_id, fx);
    }

    /// The anchor's mailbox cannot serve as one: the next in order takes its place, and every subscription is made anew
    /// behind its back end (exchange-ews §3.6).
    pub(super) fn drop_anchor(&mut self, now: Now, cohort_id: CohortId, trouble: &Trouble, fx: &mut Effects) {
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        cohort.forget_route();
        let members = cohort.members.clone();
        self.lose_subscriptions(now, cohort_id, &members, trouble, fx);
    }

    /// Whose budget the stream is charged to: the anchor's, unless that was exhausted or refused.
    pub(super) fn charged_user(&self, cohort_id: CohortId) -> Option<UserId> {
        let cohort = self.cohorts.get(cohort_id)?;
        cohort
            .charged
            .filter(|id| self.users.get(*id).is_some())
            .or(cohort.anchor_user)
            .or(cohort.members.first().copied())
    }

    /// The stream is charged to another member's budget. Route, subscriptions and cookies stay (exchange-ews §4.2).
    pub(super) fn change_budget(&mut self, now: Now, cohort_id: CohortId) {
        let present = self.charged_user(cohort_id);
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        let at = cohort.members.iter().position(|member| Some(*member) == present).map_or(0, |at| at + 1);
        let after = cohort.members.iter().skip(at).chain(cohort.members.iter().take(at));
        let free = |id: &&UserId| {
            Some(**id) != present
                && self.users.get(**id).is_some_and(|user| user.call_not_before <= now.time && !user.aside)
        };
        cohort.charged = after.clone().find(free).or(after.clone().next()).copied();
    }

    /// Sees to it that the stream is charged to a budget on which something may be asked now. If there is none: how long
    /// that will take.
    fn choose_budget(&mut self, now: Now, cohort_id: CohortId) -> Option<Span> {
        let held = |shard: &ShardCore| {
            let user = shard.users.get(shard.charged_user(cohort_id)?)?;
            (user.call_not_before > now.time).then(|| user.call_not_before.since(now.time))
        };
        held(self)?;
        self.change_budget(now, cohort_id);
        held(self)
    }

    /// Whom the stream acts for.
    pub(super) fn charged_address(&self, cohort_id: CohortId) -> Option<SmtpAddress> {
        let user = self.charged_user(cohort_id).and_then(|id| self.users.get(id));
        user.map(|user| user.address.clone()).or_else(|| self.cohorts.get(cohort_id)?.anchor.clone())
    }

    pub(super) fn is_anchor(&self, user_id: UserId) -> Option<CohortId> {
        let cohort_id = self.users.get(user_id)?.cohort?;
        (self.cohorts.get(cohort_id)?.anchor_user == Some(user_id)).then_some(cohort_id)
    }

    /// Forgets a stream's connection. True if it was the present one.
    fn detach_stream(&mut self, now: Now, conn_id: ConnId, cohort_id: CohortId, fx: &mut Effects) -> bool {
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
                user.streaming = false;
            }
            self.set_live(user_id, false);
        }
        true
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
    fn users_on(&self, conn_id: ConnId) -> Vec<UserId> {
        match self.conns.get(conn_id).map(|conn| &conn.kind) {
            Some(Kind::Stream { users, .. }) => users.clone(),
            _ => Vec::new(),
        }
    }

    fn close_stream(&mut self, now: Now, conn_id: ConnId, cohort_id: CohortId, fx: &mut Effects) {
        self.detach_stream(now, conn_id, cohort_id, fx);
    }

    fn dissolve_cohort(&mut self, cohort_id: CohortId, fx: &mut Effects) {
        let Some(cohort) = self.cohorts.remove(cohort_id) else { return };
        self.stats.cohorts -= 1;
        self.openings.forget(cohort_id, &cohort);
        for conn in [cohort.stream, cohort.retiring].into_iter().flatten() {
            self.close_conn(conn, fx);
        }
        self.stats.streams -= u64::from(cohort.opened) + u64::from(cohort.retiring.is_some());
        self.wheel.release(cohort.timer);
    }
}

/// Only names a place in the cohort's table: whoever comes in by it is compared with the whole id.
fn subscription_hash(subscription: &SubscriptionId) -> u64 {
    crate::user::item_hash(&[0; 16], subscription.as_str())
}
