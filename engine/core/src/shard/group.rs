//! Whether streams of several mailboxes work at a server. Where a subscription belongs to the impersonated mailbox (Gromox),
//! a stream can read those of one mailbox alone, and names the others as invalid, however often they are made anew.

use super::cohort::CohortId;
use super::config::MailServerId;
use super::conn::Kind;
use super::core::ShardCore;
use super::{ConnId, Effects, Report, Trouble};
use crate::ews::{Action, EwsError};
use crate::limits::GROUP_REFUSALS_MAX;
use crate::time::Now;

impl ShardCore {
    /// A stream tells something. If it is one of several mailboxes, that shows that such streams work.
    pub(super) fn group_works(&mut self, conn_id: ConnId, cohort_id: CohortId) {
        let Some(Kind::Stream { users, .. }) = self.conns.get(conn_id).map(|conn| &conn.kind) else { return };
        if users.len() < 2 {
            return;
        }
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        cohort.group_refusals = 0;
        self.servers[usize::from(cohort.server.0)].groups_work = true;
    }

    /// A stream of so many members was refused for some of them. If that comes again and again, with subscriptions made anew
    /// each time, and no stream of several mailboxes has ever worked there, each mailbox gets a stream of its own.
    pub(super) fn group_refused(
        &mut self,
        now: Now,
        cohort_id: CohortId,
        members: usize,
        error: &EwsError,
        fx: &mut Effects,
    ) {
        if members < 2 || error.action() != Action::Resubscribe {
            return;
        }
        let Some(cohort) = self.cohorts.get_mut(cohort_id) else { return };
        cohort.group_refusals = cohort.group_refusals.saturating_add(1);
        let server_id = cohort.server;
        let server = &mut self.servers[usize::from(server_id.0)];
        if cohort.group_refusals < GROUP_REFUSALS_MAX || server.groups_work || server.ungroupable {
            return;
        }
        server.ungroupable = true;
        let text = format!(
            "the mail server refuses streams of several mailboxes; each mailbox has a stream of its own from now on, set \
             cohort_users_max = 1 for this server ({})",
            error.code
        );
        let note = Trouble { code: "ews_ungroupable".into(), text: text.into() };
        fx.report(Report::MailServerNoted { server: server_id, note });
        self.part_cohorts_of(now, server_id, fx);
    }

    /// Each mailbox of a server gets a cohort of its own.
    fn part_cohorts_of(&mut self, now: Now, server_id: MailServerId, fx: &mut Effects) {
        let of_server = self.cohorts.iter().filter(|(_, cohort)| cohort.server == server_id);
        let cohorts: Vec<CohortId> = of_server.map(|(id, _)| id).collect();
        for cohort_id in cohorts {
            let Some(cohort) = self.cohorts.get(cohort_id) else { continue };
            let stays = cohort.anchor_user.or(cohort.members.first().copied());
            let grouping = cohort.grouping.clone();
            for user_id in cohort.members.clone().into_iter().filter(|member| Some(*member) != stays) {
                self.leave_cohort(now, user_id, fx);
                self.join_cohort(now, user_id, &grouping, None, Some(cohort_id), fx);
                // What kept it waiting was its neighbours.
                self.take_back(now, user_id, fx);
            }
            self.note_room(cohort_id);
        }
    }
}
