//! Exchange refuses a stream without saying why. Perhaps one subscription is the reason: the list is halved until it is
//! found, and that one is made anew (exchange-ews §3.6). The mailboxes that are acquitted on the way are watched again.

use super::cohort::{Cohort, CohortId};
use super::core::ShardCore;
use super::{Effects, Trouble};
use crate::ews::EwsError;
use crate::limits::{BISECT_AFTER, MAIL_BACK_OFF};
use crate::time::{Now, Span};
use crate::user::UserId;

impl Cohort {
    /// The members that the next stream leaves out: if it opens, one of them was the reason, otherwise one of the other
    /// suspects.
    pub(super) fn held_out(&self) -> Vec<UserId> {
        self.suspects.get(self.suspects.len().div_ceil(2)..).map_or(Vec::new(), <[UserId]>::to_vec)
    }
}

impl ShardCore {
    /// A stream that named these members was refused without a reason. How long to wait before the next.
    pub(super) fn suspect(
        &mut self,
        now: Now,
        cohort_id: CohortId,
        named: &[UserId],
        error: &EwsError,
        fx: &mut Effects,
    ) -> Span {
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return Span::ZERO };
        let failures = cohort.failures;
        cohort.unexplained = cohort.unexplained.saturating_add(1);
        if cohort.unexplained < BISECT_AFTER {
            return self.remedy(error, failures).wait;
        }
        // All members at first, from then on those who were in the last attempt.
        let all = cohort.suspects.is_empty();
        cohort.suspects.retain(|id| named.contains(id));
        if all {
            cohort.suspects = named.to_vec();
        }
        self.convict(now, cohort_id, &error.trouble(), fx);
        // The search goes on at one pace: each attempt brings it forward.
        self.jittered(MAIL_BACK_OFF.0, MAIL_BACK_OFF.1, 0)
            .max(Span::from_millis(error.back_off_ms.unwrap_or(0)))
    }

    /// A stream opened: its members are not the reason.
    pub(super) fn acquit(&mut self, now: Now, cohort_id: CohortId, fx: &mut Effects) {
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        if cohort.suspects.is_empty() {
            return;
        }
        cohort.suspects = cohort.held_out();
        let members = &cohort.members;
        cohort.suspects.retain(|id| members.contains(id));
        let trouble = EwsError::new(crate::ews::ResponseCode::ErrorInternalServerError, "", None).trouble();
        self.convict(now, cohort_id, &trouble, fx);
    }

    /// If only one is left, it is the one. If it was not, the search begins anew after the next three refusals, and
    /// nobody has lost more than a subscription.
    fn convict(&mut self, now: Now, cohort_id: CohortId, trouble: &Trouble, fx: &mut Effects) {
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        let [user_id] = cohort.suspects[..] else { return };
        cohort.suspects.clear();
        cohort.unexplained = 0;
        self.give_back(now, cohort_id, user_id, fx);
        self.lose_subscriptions(now, cohort_id, &[user_id], trouble, fx);
    }
}
