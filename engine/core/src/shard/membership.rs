//! Who belongs to a cohort, and how its mailboxes are subscribed: the anchor first, the others by its cookie.

use super::cohort::{Cohort, CohortId};
use super::core::{ShardCore, TimerKey};
use super::openings::Group;
use super::{Effects, Report, Trouble};
use crate::http1::{Cookies, Head};
use crate::limits::COHORT_GATHER;
use crate::names::{SmtpAddress, SubscriptionId};
use crate::time::Now;
use crate::user::{Needs, UserId};

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
                leads_lost: 0,
                members: Vec::new(),
                stream: None,
                retiring: None,
                opened: false,
                opened_at: None,
                joining_since: None,
                subscribed_at: now.time,
                works_since: None,
                detached_since: None,
                untold_until: None,
                slot: None,
                not_before: now.time + COHORT_GATHER,
                group_refusals: 0,
                delivers: false,
                mute: 0,
                trouble: None,
                poll_at: None,
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
            self.servers[usize::from(server.0)].holders.hold(subscription, user_id);
        }
        self.note_room(cohort_id);
        self.step_cohort(now, cohort_id, fx);
    }

    /// Takes a user out of his cohort, and gives his subscription back.
    pub(super) fn leave_cohort(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        self.set_live(user_id, false);
        let Some(cohort_id) = self.users.get(user_id).and_then(|user| user.cohort) else { return };
        self.give_back(now, cohort_id, user_id, fx);
        self.forget_subscription(user_id);
        let Some(user) = self.users.get_mut(user_id) else { return };
        user.cohort = None;
        (user.streaming, user.overlap, user.aside) = (false, false, false);
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
        self.note_room(cohort_id);
        self.step_cohort(now, cohort_id, fx);
    }

    /// The first address in alphabetical order among members who can be subscribed (exchange-ews §4.3). Until one has
    /// been, an anchor that must wait gives way to one that need not.
    pub(super) fn elect_anchor(&mut self, now: Now, cohort_id: CohortId) {
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

    pub(super) fn is_anchor(&self, user_id: UserId) -> Option<CohortId> {
        let cohort_id = self.users.get(user_id)?.cohort?;
        (self.cohorts.get(cohort_id)?.anchor_user == Some(user_id)).then_some(cohort_id)
    }

    /// The anchor's mailbox cannot serve as one: the next in order takes its place, and every subscription is made anew
    /// behind its back end (exchange-ews §3.6). Those there were are given back: many may be alive, and each counts against
    /// its mailbox's budget.
    pub(super) fn drop_anchor(&mut self, now: Now, cohort_id: CohortId, trouble: &Trouble, fx: &mut Effects) {
        let Some(cohort) = self.cohorts.get(cohort_id) else { return };
        let members = cohort.members.clone();
        for user_id in &members {
            self.give_back(now, cohort_id, *user_id, fx);
        }
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        cohort.forget_route();
        self.lose_subscriptions(now, cohort_id, &members, trouble, fx);
    }

    pub(super) fn request_subscriptions(&mut self, now: Now, cohort_id: CohortId, fx: &mut Effects) {
        let Some(cohort) = self.cohorts.get(cohort_id) else { return };
        let rooted = cohort.rooted;
        let wanting: Vec<UserId> = match (rooted, cohort.anchor_user) {
            (false, Some(anchor)) => vec![anchor],
            (false, None) => Vec::new(),
            (true, _) => cohort.members.clone(),
        };
        let proven = self.servers[usize::from(cohort.server.0)].proven;
        let prover = if proven || !rooted { None } else { self.prover(&wanting) };
        for user_id in wanting {
            let Some(user) = self.users.get_mut(user_id) else { continue };
            if user.subscription.is_none() {
                user.needs.add(Needs::SUBSCRIBE);
            } else if prover == Some(user_id) {
                // Subscriptions from the store need no call; one harmless call shows that the credential works before
                // streams are opened in parallel.
                user.needs.add(Needs::BADGE);
            } else if !user.streaming {
                continue;
            }
            self.request_call(now, user_id, fx);
        }
    }

    /// The subscribed member that may be asked something first.
    fn prover(&self, members: &[UserId]) -> Option<UserId> {
        let rows = members.iter().filter_map(|id| Some((*id, self.users.get(*id)?)));
        let subscribed = rows.filter(|(_, user)| user.subscription.is_some() && !user.aside);
        subscribed.min_by_key(|(_, user)| user.call_not_before).map(|(id, _)| id)
    }

    /// A member's subscription stands.
    pub(super) fn subscribed(
        &mut self,
        now: Now,
        user_id: UserId,
        anchor: Option<&SmtpAddress>,
        subscription: SubscriptionId,
        head: &Head,
        fx: &mut Effects,
    ) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let Some(cohort_id) = user.cohort else { return };
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        if cohort.anchor.as_ref() != anchor {
            // The cohort has another route by now: this one stands where nobody asks for it, and ends by itself.
            return;
        }
        let server = cohort.server;
        if !planted!(ReusedIdKept) {
            self.take_from_others(now, server, &subscription, user_id, fx);
        }
        self.servers[usize::from(server.0)].holders.hold(&subscription, user_id);
        let Some(user) = self.users.get_mut(user_id) else { return };
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        user.subscription = Some(subscription.clone());
        user.needs.remove(Needs::SUBSCRIBE);
        user.miss();
        user.call_failures = 0;
        user.folders.iter_mut().filter(|folder| folder.is_watched()).for_each(|folder| folder.proven = true);
        cohort.cookies.absorb(head);
        cohort.rooted = true;
        cohort.subscribed_at = now.time;
        cohort.leads_lost = 0;
        self.stats.subscribes += 1;
        if let Some(anchor) = cohort.anchor.clone() {
            let watch = super::WatchRecord {
                subscription: Some(subscription),
                anchor,
                cookie: cohort.cookies.affinity(),
            };
            fx.report(Report::Watched { user: user.key, watch });
        }
        self.request_call(now, user_id, fx);
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

    pub(super) fn dissolve_cohort(&mut self, cohort_id: CohortId, fx: &mut Effects) {
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
