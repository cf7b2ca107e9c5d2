//! Subscriptions that nobody needs any more, to be given back when there is time for it.
//!
//! Giving back is good manners: what is not given back ends by itself, and until then counts against its mailbox's budget.
//! So it is bounded, comes after everything that somebody waits for, and is left undone when it has become pointless.

use std::collections::VecDeque;

use super::Effects;
use super::cohort::CohortId;
use super::config::MailServerId;
use super::core::ShardCore;
use crate::limits::{FAREWELL_AGE_MAX, FAREWELLS_MAX};
use crate::names::{SmtpAddress, SubscriptionId};
use crate::time::{Now, Time};
use crate::user::UserId;

/// A subscription that nobody needs any more.
#[derive(Clone, Debug)]
pub(super) struct Farewell {
    /// Whose it was. He may be gone.
    pub(super) user: UserId,
    pub(super) server: MailServerId,
    pub(super) address: SmtpAddress,
    pub(super) anchor: SmtpAddress,
    pub(super) cookie: Box<str>,
    pub(super) subscription: SubscriptionId,
    /// Since when.
    pub(super) since: Time,
    /// Its mailbox's budget is exhausted until then.
    pub(super) not_before: Time,
}

/// Those of one server, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Farewells {
    waiting: VecDeque<Farewell>,
}

impl Farewells {
    /// Beyond the bound, the oldest makes room: it is the next to end by itself.
    pub(super) fn push(&mut self, farewell: Farewell) {
        if self.waiting.len() >= FAREWELLS_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(farewell);
    }

    /// The next whose subscription may still be there, and whose mailbox may be asked for something. `busy_until`: until when
    /// a user's budget is exhausted, which may have come to pass while this waited.
    pub(super) fn pop(&mut self, now: Time, busy_until: impl Fn(UserId) -> Option<Time>) -> Option<Farewell> {
        let over = |farewell: &mut Farewell| now.since(farewell.since) >= FAREWELL_AGE_MAX;
        while self.waiting.pop_front_if(over).is_some() {}
        let next = self.waiting.iter_mut().position(|farewell| {
            if farewell.not_before <= now {
                farewell.not_before = busy_until(farewell.user).unwrap_or(farewell.not_before);
            }
            farewell.not_before <= now
        })?;
        self.waiting.remove(next)
    }

    /// When the first of them may be said.
    pub(super) fn next_at(&self) -> Option<Time> {
        self.waiting.iter().map(|farewell| farewell.not_before).min()
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl ShardCore {
    /// A member's subscription is of no use any more, and may be alive: it is given back by the way on which it was made. The
    /// row keeps it until it is taken out there.
    pub(super) fn give_back(&mut self, now: Now, cohort_id: CohortId, user_id: UserId, fx: &mut Effects) {
        let Some(cohort) = self.cohorts.get(cohort_id) else { return };
        let Some(user) = self.users.get(user_id) else { return };
        // One that another owner reads is his to give back.
        let (Some(subscription), Some(anchor), false) = (&user.subscription, &cohort.anchor, user.aside)
        else {
            return;
        };
        if self.may_repeat(cohort.server, subscription) {
            // When its turn comes, it may be another mailbox's. It ends by itself.
            return;
        }
        let farewell = Farewell {
            user: user_id,
            server: cohort.server,
            address: user.address.clone(),
            anchor: anchor.clone(),
            cookie: cohort.cookies.as_str().into(),
            subscription: subscription.clone(),
            since: now.time,
            not_before: user.setback.as_deref().and_then(|one| one.busy_until(now.time)).unwrap_or(now.time),
        };
        self.say_farewell(now, farewell, fx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn farewell(number: usize, since: Time) -> Farewell {
        let address = SmtpAddress::parse(&format!("user{number}@example.com")).unwrap();
        Farewell {
            user: UserId::from_bits(number as u64),
            server: MailServerId(0),
            anchor: address.clone(),
            address,
            cookie: "".into(),
            subscription: SubscriptionId::parse("JwBk").unwrap(),
            since,
            not_before: Time(0),
        }
    }

    fn free(_: UserId) -> Option<Time> {
        None
    }

    #[test]
    fn who_must_wait_lets_others_pass() {
        let mut farewells = Farewells::default();
        let later = Time(0) + Span::from_secs(60);
        farewells.push(Farewell { not_before: later, ..farewell(1, Time(0)) });
        farewells.push(farewell(2, Time(0)));
        let address = |farewell: Option<Farewell>| farewell.map(|one| one.address.as_str().to_owned());
        assert_eq!(address(farewells.pop(Time(1), free)).as_deref(), Some("user2@example.com"));
        assert_eq!((farewells.pop(Time(1), free).is_none(), farewells.next_at()), (true, Some(later)));
        assert_eq!(address(farewells.pop(later, free)).as_deref(), Some("user1@example.com"));
    }

    #[test]
    fn a_budget_that_is_exhausted_meanwhile_is_left_alone() {
        let mut farewells = Farewells::default();
        farewells.push(farewell(1, Time(0)));
        farewells.push(farewell(2, Time(0)));
        let later = Time(0) + Span::from_secs(60);
        let busy = |user: UserId| (user == UserId::from_bits(1)).then_some(later);
        let address = |farewell: Option<Farewell>| farewell.map(|one| one.address.as_str().to_owned());
        assert_eq!(address(farewells.pop(Time(1), busy)).as_deref(), Some("user2@example.com"));
        assert_eq!((farewells.pop(Time(1), busy).is_none(), farewells.next_at()), (true, Some(later)));
        assert_eq!(address(farewells.pop(later, free)).as_deref(), Some("user1@example.com"));
    }

    #[test]
    fn a_hundred_thousand_leave_no_more_than_the_bound_behind() {
        let mut farewells = Farewells::default();
        for number in 0..100_000 {
            farewells.push(farewell(number, Time(0)));
        }
        let kept: Vec<Farewell> = std::iter::from_fn(|| farewells.pop(Time(1), free)).collect();
        assert_eq!(kept.len(), FAREWELLS_MAX);
        assert_eq!(kept.last().unwrap().address.as_str(), "user99999@example.com");
        assert!(farewells.is_empty());
    }

    #[test]
    fn what_has_ended_by_itself_is_not_given_back() {
        let mut farewells = Farewells::default();
        let later = Time(0) + Span::from_secs(60);
        farewells.push(farewell(1, Time(0)));
        farewells.push(farewell(2, later));
        let at = Time(0) + FAREWELL_AGE_MAX;
        assert_eq!(farewells.pop(at, free).unwrap().since, later);
        assert!(farewells.pop(at, free).is_none());
    }
}
