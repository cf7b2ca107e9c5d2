//! Cohorts with room: where newcomers find a place.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::cohort::{Cohort, CohortId};
use super::config::MailServerId;
use super::core::ShardCore;
use crate::limits::COHORT_USERS_MAX;
use crate::names::SmtpAddress;

/// All cohorts that have room, and those that subscriptions from the store belong to.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// By the number of their founding.
    with_room: BTreeMap<(Group, u64), CohortId>,
    /// The youngest that was founded for each stored anchor.
    stored: HashMap<(Group, SmtpAddress), CohortId>,
    founded: u64,
}

/// Mailboxes that may share a cohort.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Group {
    server: MailServerId,
    grouping: Box<str>,
}

impl Group {
    pub(super) fn new(server: MailServerId, grouping: &str) -> Group {
        Group { server, grouping: grouping.into() }
    }

    fn of(cohort: &Cohort) -> Group {
        Group::new(cohort.server, &cohort.grouping)
    }
}

impl Openings {
    /// The number of a cohort that is being founded.
    pub(super) fn next_number(&mut self) -> u64 {
        self.founded += 1;
        self.founded
    }

    /// A cohort was founded for subscriptions from the store.
    pub(super) fn keep_stored(&mut self, group: Group, anchor: SmtpAddress, id: CohortId) {
        self.stored.insert((group, anchor), id);
    }

    /// A cohort is no more.
    pub(super) fn forget(&mut self, id: CohortId, cohort: &Cohort) {
        let group = Group::of(cohort);
        if let Some(anchor) = &cohort.stored_anchor {
            let key = (group.clone(), anchor.clone());
            if self.stored.get(&key) == Some(&id) {
                self.stored.remove(&key);
            }
        }
        self.with_room.remove(&(group, cohort.number));
    }

    /// Whether a cohort is found where it belongs.
    pub(super) fn knows(&self, id: CohortId, cohort: &Cohort) -> bool {
        self.with_room.get(&(Group::of(cohort), cohort.number)) == Some(&id)
    }

    /// How many cohorts have room, and how many are kept for an anchor.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.with_room.len(), self.stored.len())
    }
}

impl ShardCore {
    /// Mailboxes that one stream of this server takes.
    fn cohort_users_max(&self, server: MailServerId) -> usize {
        match self.servers[usize::from(server.0)].ungroupable {
            true => 1,
            false => usize::from(self.mail_server(server).cohort_users_max).clamp(1, COHORT_USERS_MAX),
        }
    }

    pub(super) fn has_room(&self, cohort: &Cohort) -> bool {
        cohort.members.len() < self.cohort_users_max(cohort.server)
    }

    /// A cohort for a user who is in none: the one of his stored anchor, or one with room; any but `not` and those that he
    /// may have come from before.
    pub(super) fn find_place(
        &self,
        group: &Group,
        stored: Option<&SmtpAddress>,
        not: Option<CohortId>,
    ) -> Option<CohortId> {
        if let Some(anchor) = stored {
            // A stored subscription can only be reached by its own cohort's route. The records of one cohort may hold
            // different cookies, as each was written when its own member was subscribed; members that the one taken
            // does not lead to are subscribed anew.
            let id = self.openings.stored.get(&(group.clone(), anchor.clone())).copied()?;
            let cohort = self.cohorts.get(id)?;
            return (cohort.anchor.as_ref() == Some(anchor) && self.has_room(cohort)).then_some(id);
        }
        let (first, last) = ((group.clone(), 0), (group.clone(), u64::MAX));
        let mut places = match not.and_then(|id| self.cohorts.get(id)) {
            // For a newcomer the oldest, so that the old ones fill up and the young ones may empty.
            None => return self.openings.with_room.range(first..=last).next().map(|(_, id)| *id),
            // For one who cannot be reached where he is the youngest, if it is younger than his: so he comes to no cohort
            // twice, and after two steps to one of his own.
            Some(left) => self.openings.with_room.range((group.clone(), left.number + 1)..=last),
        };
        places.next_back().map(|(_, id)| *id)
    }

    /// After a member has come or gone.
    pub(super) fn note_room(&mut self, cohort_id: CohortId) {
        let Some(cohort) = self.cohorts.get(cohort_id) else { return };
        let place = (Group::of(cohort), cohort.number);
        if self.has_room(cohort) {
            self.openings.with_room.insert(place, cohort_id);
        } else {
            self.openings.with_room.remove(&place);
        }
    }
}
