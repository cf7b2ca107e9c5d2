//! Folders beside the inbox that cannot be watched: gone, malformed, closed to us, or another mailbox's. None of them keeps
//! the inbox and the others from being watched.
//!
//! ```text
//! a call that names folders is refused → each is looked at (GetFolder) → those that are refused are dropped
//!   none is → the inbox alone is subscribed to, then one folder more each time → the one that is refused is dropped
//! ```

use super::core::ShardCore;
use super::server::{Ask, Job};
use super::{DroppedFolder, Effects, Report};
use crate::ews::{Action, EwsError, ResponseCode, SchemaVersion};
use crate::limits::MAIL_BACK_OFF;
use crate::time::{Now, Span};
use crate::user::{Needs, UserId};

/// Whether a call that names folders may be refused so because of one of them.
pub(super) fn may_be_of_folder(action: Action) -> bool {
    match action {
        Action::DropFolder
        | Action::Alarm
        | Action::OurBug
        | Action::ConvertId
        | Action::Resubscribe
        | Action::ItemGone
        | Action::ItemUnreadable => true,
        Action::CatchUp
        | Action::Rediscover
        | Action::AwaitMove
        | Action::AwaitStore
        | Action::RetryConnection
        | Action::RetryOrBisect
        | Action::BackOffAccount { .. }
        | Action::FewerConnections { .. }
        | Action::FewerSubscriptions
        | Action::StartOver
        | Action::MailboxGone
        | Action::Terminal
        | Action::AuthFailed
        | Action::NoCommonAuth
        | Action::StepAside
        | Action::LowerVersion
        | Action::RetryItem => false,
    }
}

impl ShardCore {
    /// A call was refused, perhaps for one of the folders beside the inbox. If something can be done about that: when the call
    /// is made again.
    pub(super) fn folder_refused(
        &mut self,
        now: Now,
        job: &Job,
        error: &EwsError,
        asked_in: SchemaVersion,
        fx: &mut Effects,
    ) -> Option<Span> {
        let Job::OfUser { user: user_id, ask, .. } = job else { return None };
        let user_id = *user_id;
        let server = self.users.get(user_id)?.server?;
        let server = &self.servers[usize::from(server.0)];
        let of_version =
            matches!(error.code, ResponseCode::ErrorSchemaValidation | ResponseCode::ErrorInvalidRequest)
                && !(server.version == asked_in && server.version_works);
        if !may_be_of_folder(error.action()) || of_version {
            return None;
        }
        let pause = self.jittered(MAIL_BACK_OFF.0, MAIL_BACK_OFF.1, 0);
        let user = self.users.get_mut(user_id)?;
        let named = user.folders.iter().any(|folder| folder.is_watched());
        let trouble = error.trouble();
        match ask {
            Ask::CatchUp { .. } => {
                let folder = user.folder_now_mut()?;
                match error.action() {
                    Action::DropFolder | Action::ConvertId => {
                        folder.drop_for(trouble);
                        self.report_dropped_folders(user_id, fx);
                        self.folder_caught_up(now, user_id, fx);
                    }
                    // Perhaps it is the whole mailbox.
                    _ => {
                        user.folders_doubtful = true;
                        user.needs.add(Needs::BADGE);
                    }
                }
                Some(Span::ZERO)
            }
            Ask::Subscribe(_) if user.folders_on_trial => {
                let tried = |folder: &&mut crate::user::Folder| folder.is_watched() && !folder.proven;
                let Some(folder) = user.folders.iter_mut().find(tried) else {
                    // The inbox alone is refused, too: it is none of the folders.
                    while user.next_on_trial() {}
                    return None;
                };
                if user.call_failures == 0 {
                    // Once may be an accident.
                    return Some(pause);
                }
                folder.drop_for(trouble);
                self.report_dropped_folders(user_id, fx);
                Some(Span::ZERO)
            }
            Ask::Subscribe(_) if named => {
                user.folders_doubtful = true;
                user.needs.add(Needs::BADGE);
                Some(Span::ZERO)
            }
            Ask::Badge if named && user.folders_doubtful => {
                // Asked for together they do not get an answer each.
                user.folders_doubtful = false;
                user.begin_trial();
                Some(Span::ZERO)
            }
            Ask::Subscribe(_) | Ask::Badge | Ask::Fetch(_) | Ask::Convert(_) => None,
        }
    }

    /// The mailbox is watched: one of the folders that were left out is subscribed to beside those that are.
    pub(super) fn try_next_folder(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get_mut(user_id).filter(|user| user.folders_on_trial) else { return };
        if !user.next_on_trial() {
            return;
        }
        if let Some(cohort_id) = user.cohort {
            self.give_back(now, cohort_id, user_id, fx);
            self.renew_subscription(user_id);
            self.request_call(now, user_id, fx);
        }
    }

    /// Tells the owner which folders are not watched.
    pub(super) fn report_dropped_folders(&self, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get(user_id) else { return };
        let dropped = user.folders.iter().filter_map(|folder| {
            Some(DroppedFolder { id: folder.id.clone(), trouble: (**folder.why.as_ref()?).clone() })
        });
        fx.report(Report::FoldersDropped { user: user.key, folders: dropped.collect() });
    }
}
