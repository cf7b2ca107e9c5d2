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
use super::server::{Asked, Farewell};
use super::{ConnId, Effects, Report, Trouble};
use crate::arena::Id;
use crate::ews::StreamConn;
use crate::http1::{Cookies, Head};
use crate::limits::{
    COHORT_GATHER, COHORT_USERS_MAX, DETACHED_TRUST, MAIL_BACK_OFF, STREAM_JOIN_INTERVAL, STREAM_JOIN_WAIT,
};
use crate::names::{SmtpAddress, SubscriptionId};
use crate::time::{Now, Span, Time};
use crate::user::{Needs, UserId};
use crate::wheel::TimerSlot;

/// Names a cohort.
pub type CohortId = Id<Cohort>;

/// Mailboxes that share a streaming connection: same server, same `GroupingInformation`.
#[derive(Debug)]
pub struct Cohort {
    pub(super) server: MailServerId,
    grouping: Box<str>,
    /// The mailbox by which all requests of the cohort are routed.
    pub(super) anchor: Option<SmtpAddress>,
    anchor_user: Option<UserId>,
    /// Who is impersonated for the stream, when the anchor's own budget for streams is exhausted.
    charged: Option<UserId>,
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
    not_before: Time,
    pub(super) failures: u8,
    pub(super) timer: TimerSlot,
}

/// Where a newcomer finds a cohort with room.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CohortKey {
    server: MailServerId,
    grouping: Box<str>,
    anchor: Option<SmtpAddress>,
}

impl Cohort {
    /// Whether this member's subscription may be asked for: the anchor goes first, the others follow its cookie.
    pub(super) fn may_subscribe(&self, user: UserId) -> bool {
        self.anchor.is_some() && (self.rooted || self.anchor_user == Some(user))
    }

    pub(super) fn is_retiring(&self, conn: ConnId) -> bool {
        self.retiring == Some(conn)
    }

    /// Whose subscription this is.
    pub(super) fn user_of(&self, subscription: &SubscriptionId) -> Option<UserId> {
        self.by_subscription.get(&subscription_hash(subscription)).copied()
    }
}

impl ShardCore {
    /// Finds or founds the cohort for a user whose row stands.
    pub(super) fn join_cohort(
        &mut self,
        now: Now,
        user_id: UserId,
        grouping: &str,
        stored: Option<(&SmtpAddress, &str)>,
        fx: &mut Effects,
    ) {
        let Some(server) = self.users.get(user_id).and_then(|user| user.server) else { return };
        let users_max = usize::from(self.mail_server(server).cohort_users_max).clamp(1, COHORT_USERS_MAX);
        let fits = |cohort: &Cohort| {
            cohort.server == server
                && *cohort.grouping == *grouping
                && cohort.members.len() < users_max
                && match stored {
                    // A stored subscription can only be reached by its own cohort's route. The records of one cohort
                    // may hold different cookies, as each was written when its own member was subscribed; members
                    // that the one taken does not lead to are subscribed anew.
                    Some((anchor, _)) => cohort.anchor.as_ref() == Some(anchor),
                    None => true,
                }
        };
        let key =
            CohortKey { server, grouping: grouping.into(), anchor: stored.map(|(anchor, _)| anchor.clone()) };
        let found = self.open_cohorts.get(&key).copied();
        let found = found.filter(|id| self.cohorts.get(*id).is_some_and(&fits));
        let cohort_id = found.unwrap_or_else(|| {
            self.stats.cohorts += 1;
            let wheel = &mut self.wheel;
            let id = self.cohorts.insert_with(|id| Cohort {
                server,
                grouping: grouping.into(),
                anchor: stored.map(|(anchor, _)| anchor.clone()),
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
                not_before: now.time + COHORT_GATHER,
                failures: 0,
                timer: wheel.slot(TimerKey::Cohort(id)),
            });
            self.open_cohorts.insert(key, id);
            id
        });
        let cohort = self.cohorts.get_mut(cohort_id).expect("found or founded above");
        cohort.members.push(user_id);
        let user = self.users.get_mut(user_id).expect("the caller holds the row");
        user.cohort = Some(cohort_id);
        if cohort.anchor.as_ref() == Some(&user.address) {
            cohort.anchor_user = Some(user_id);
        }
        if let Some(subscription) = &user.subscription {
            cohort.by_subscription.insert(subscription_hash(subscription), user_id);
        }
        self.step_cohort(now, cohort_id, fx);
    }

    /// Takes a user out of his cohort, and gives his subscription back.
    pub(super) fn leave_cohort(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        self.set_live(user_id, false);
        let Some(user) = self.users.get_mut(user_id) else { return };
        let Some(cohort_id) = user.cohort.take() else { return };
        user.streaming = false;
        let subscription = user.subscription.take();
        let address = user.address.clone();
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        cohort.members.retain(|member| *member != user_id);
        if cohort.anchor_user == Some(user_id) {
            // Requests can still be routed by the address while the mailbox exists; a failure will elect another.
            cohort.anchor_user = None;
        }
        let server = cohort.server;
        let route = cohort.anchor.clone().map(|anchor| (anchor, cohort.cookies.as_str().into()));
        if let Some(subscription) = &subscription {
            cohort.by_subscription.remove(&subscription_hash(subscription));
        }
        if let (Some(subscription), Some((anchor, cookie))) = (subscription, route) {
            self.say_farewell(now, Farewell { server, address, anchor, cookie, subscription }, fx);
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
        if cohort.anchor.is_none() {
            self.elect_anchor(cohort_id);
        }
        self.request_subscriptions(now, cohort_id, fx);
        self.join_members(now, cohort_id, fx);
    }

    /// The first address in alphabetical order among members who can be subscribed (exchange-ews §4.3).
    fn elect_anchor(&mut self, cohort_id: CohortId) {
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
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

    /// Opens the stream, or has a second one take over when members have come.
    fn join_members(&mut self, now: Now, cohort_id: CohortId, fx: &mut Effects) {
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        let server = &self.servers[usize::from(cohort.server.0)];
        if !server.proven || server.not_before > now.time || self.draining {
            return;
        }
        if cohort.retiring.is_some() || cohort.stream.is_some() && !cohort.opened {
            return;
        }
        let (mut outside, mut subscribing) = (0, 0);
        for user in cohort.members.iter().filter_map(|id| self.users.get(*id)) {
            match &user.subscription {
                Some(_) => outside += usize::from(!user.streaming),
                None => subscribing += usize::from(user.calling),
            }
        }
        if outside == 0 {
            cohort.join_at = None;
            return;
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
            self.wheel.arm(&cohort.timer, join_at);
            return;
        }
        cohort.join_at = None;
        cohort.retiring = cohort.stream.take();
        cohort.opened = false;
        let endpoint = self.config.mail_servers[usize::from(cohort.server.0)].endpoint;
        let credential = self.servers[usize::from(cohort.server.0)].credential;
        let conn = self.open_conn(
            endpoint,
            Kind::Stream { cohort: cohort_id, machine: None, users: Vec::new(), credential },
            fx,
        );
        if let Some(cohort) = self.cohorts.get_mut(cohort_id) {
            cohort.stream = Some(conn);
        }
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
        let subscribed = |id: &UserId| self.users.get(*id).is_some_and(|user| user.subscription.is_some());
        let users: Vec<UserId> = cohort.members.iter().copied().filter(subscribed).collect();
        if users.is_empty() {
            return self.close_stream(now, conn_id, cohort_id, fx);
        }
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
        if let Some(Kind::Stream { machine, users: in_request, .. }) =
            self.conns.get_mut(conn_id).map(|c| &mut c.kind)
        {
            *machine = Some(Box::new(machine_new));
            *in_request = users;
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
        cohort.failures = 0;
        self.stats.streams += 1;
        let server = cohort.server;
        for user_id in users {
            let Some(user) = self.users.get_mut(user_id) else { continue };
            if user.subscription.is_none() {
                continue;
            }
            user.streaming = true;
            if detached_long {
                user.needs.add(Needs::CATCH_UP);
            }
            self.request_call(now, user_id, fx);
            self.look_live(user_id, fx);
        }
        if credential == self.servers[usize::from(server.0)].credential {
            self.server_worked(now, server, Asked::WithPresent, fx);
        }
        self.step_cohort(now, cohort_id, fx);
    }

    /// The stream ended as the server promised, or was never more than an attempt.
    pub(super) fn stream_closed(&mut self, now: Now, conn_id: ConnId, cohort_id: CohortId, fx: &mut Effects) {
        let wait = Span(self.rng.below(2_000_000));
        if self.detach_stream(now, conn_id, cohort_id, fx) {
            self.delay_cohort(now, cohort_id, wait, fx);
        }
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
        let users = match self.conns.get(conn_id).map(|conn| &conn.kind) {
            Some(Kind::Stream { users, .. }) => users.clone(),
            _ => Vec::new(),
        };
        let retiring = self.cohorts.get(cohort_id).is_some_and(|cohort| cohort.is_retiring(conn_id));
        self.stats.streams_broken += 1;
        for user_id in users {
            if let Some(user) = self.users.get_mut(user_id) {
                if !planted!(NoCatchUp) {
                    user.needs.add(Needs::CATCH_UP);
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
            let failures = self.cohorts.get(cohort_id).map_or(0, |cohort| cohort.failures);
            // The first reopening is immediate: most breaks are a load balancer's or a patch's.
            let wait = match failures {
                0 => Span(self.rng.below(2_000_000)),
                n => self.jittered(MAIL_BACK_OFF.0, MAIL_BACK_OFF.1, n - 1),
            };
            if let Some(cohort) = self.cohorts.get_mut(cohort_id) {
                cohort.failures = failures.saturating_add(1);
            }
            self.delay_cohort(now, cohort_id, wait, fx);
        }
    }

    /// The cohort waits before its next step.
    pub(super) fn delay_cohort(&mut self, now: Now, cohort_id: CohortId, wait: Span, fx: &mut Effects) {
        if let Some(cohort) = self.cohorts.get_mut(cohort_id) {
            cohort.not_before = cohort.not_before.max(now.time + wait);
        }
        self.step_cohort(now, cohort_id, fx);
    }

    /// Another owner of the subscriptions took the stream over: stand aside, look again later.
    pub(super) fn stream_taken(
        &mut self,
        now: Now,
        conn_id: ConnId,
        cohort_id: CohortId,
        trouble: &Trouble,
        fx: &mut Effects,
    ) {
        if self.cohorts.get(cohort_id).is_some_and(|cohort| cohort.is_retiring(conn_id)) {
            self.detach_stream(now, conn_id, cohort_id, fx);
            return;
        }
        self.stream_broken(now, conn_id, cohort_id, trouble, fx);
        self.delay_cohort(now, cohort_id, MAIL_BACK_OFF.1, fx);
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
            let Some(user) = self.users.get_mut(*user_id) else { continue };
            user.streaming = false;
            user.needs.add(Needs::SUBSCRIBE);
            user.needs.add(Needs::CATCH_UP);
            if let Some(subscription) = user.subscription.take()
                && let Some(cohort) = self.cohorts.get_mut(cohort_id)
            {
                cohort.by_subscription.remove(&subscription_hash(&subscription));
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
        user.needs.add(Needs::CATCH_UP);
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
        cohort.anchor = None;
        cohort.anchor_user = None;
        cohort.cookies = Cookies::default();
        cohort.rooted = false;
        let members = cohort.members.clone();
        self.lose_subscriptions(now, cohort_id, &members, trouble, fx);
    }

    /// The stream is charged to another member's budget. Route, subscriptions and cookies stay (exchange-ews §4.2).
    pub(super) fn change_budget(&mut self, cohort_id: CohortId) {
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        let present = cohort.charged.or(cohort.anchor_user);
        let at = cohort.members.iter().position(|member| Some(*member) == present).map_or(0, |at| at + 1);
        cohort.charged = cohort.members.get(at).or(cohort.members.first()).copied();
    }

    /// Whose budget the stream is charged to: the anchor's, unless that was exhausted.
    pub(super) fn charged_address(&self, cohort: &Cohort) -> Option<SmtpAddress> {
        let other = cohort.charged.and_then(|id| self.users.get(id)).map(|user| user.address.clone());
        other.or_else(|| cohort.anchor.clone())
    }

    pub(super) fn is_anchor(&self, user_id: UserId) -> Option<CohortId> {
        let cohort_id = self.users.get(user_id)?.cohort?;
        (self.cohorts.get(cohort_id)?.anchor_user == Some(user_id)).then_some(cohort_id)
    }

    /// Forgets a stream's connection. True if it was the present one.
    fn detach_stream(&mut self, now: Now, conn_id: ConnId, cohort_id: CohortId, fx: &mut Effects) -> bool {
        let users = match self.conns.get(conn_id).map(|conn| &conn.kind) {
            Some(Kind::Stream { users, .. }) => users.clone(),
            _ => Vec::new(),
        };
        self.close_conn(conn_id, fx);
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return false };
        if cohort.retiring == Some(conn_id) {
            cohort.retiring = None;
            self.stats.streams -= 1;
            self.step_cohort(now, cohort_id, fx);
            return false;
        }
        if cohort.stream != Some(conn_id) {
            return false;
        }
        if std::mem::take(&mut cohort.opened) {
            self.stats.streams -= 1;
        }
        cohort.stream = None;
        if let Some(older) = cohort.retiring.take() {
            // The take-over failed before it began: the older stream goes on.
            cohort.stream = Some(older);
            cohort.opened = true;
            cohort.opened_at = Some(now.time);
            return true;
        }
        cohort.detached_since.get_or_insert(now.time);
        for user_id in users {
            if let Some(user) = self.users.get_mut(user_id) {
                user.streaming = false;
            }
            self.set_live(user_id, false);
        }
        true
    }

    fn close_stream(&mut self, now: Now, conn_id: ConnId, cohort_id: CohortId, fx: &mut Effects) {
        self.detach_stream(now, conn_id, cohort_id, fx);
    }

    fn dissolve_cohort(&mut self, cohort_id: CohortId, fx: &mut Effects) {
        let Some(cohort) = self.cohorts.remove(cohort_id) else { return };
        self.stats.cohorts -= 1;
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
