//! Details of mails: what a fetch asks for, and what it brings back.

use super::answer::{batch_stop, was_looked_at};
use super::core::ShardCore;
use super::{Effects, MailServerId};
use crate::ews::{Action, EwsError, FetchedItem};
use crate::limits::FETCH_TRIES_MAX;
use crate::names::{FolderId, ItemId};
use crate::time::Now;
use crate::user::{IdForm, Item, Needs, UserId, Whose, item_hash};

impl ShardCore {
    /// Details came.
    ///
    /// # Errors
    /// What refused the whole of it, or made the server stop in the middle.
    pub(super) fn fetched(
        &mut self,
        now: Now,
        server_id: MailServerId,
        user_id: UserId,
        asked: &[u64],
        items: Vec<Result<FetchedItem, EwsError>>,
        fx: &mut Effects,
    ) -> Result<(), EwsError> {
        let stop = batch_stop(&items, asked.len());
        if stop.is_none()
            && let Some(user) = self.users.get_mut(user_id)
        {
            user.needs.remove(Needs::FETCH);
        }
        // One answer for each id, in the order of the request (exchange-ews §5.1). What has none was not looked at.
        let answered = stop.as_ref().map_or(items.len(), |(at, _)| *at);
        let mut fetched = 0;
        let mut rest = Vec::new();
        let answers = items.into_iter().take(answered).map(Some).chain(std::iter::repeat_with(|| None));
        for (hash, answer) in asked.iter().zip(answers) {
            let Some(answer) = answer.filter(was_looked_at) else {
                rest.push(*hash);
                continue;
            };
            match answer {
                Ok(item) if item.details.read => self.mail_gone(now, user_id, *hash, fx),
                // Not in any folder of the mailbox's that is watched: another mailbox's, or moved away.
                Ok(item) if self.whose_mail(user_id, item.parent.as_ref()) == Whose::Foreign => {
                    self.mail_gone(now, user_id, *hash, fx);
                }
                Ok(item) if self.whose_mail(user_id, item.parent.as_ref()) == Whose::Unknown => {
                    rest.push(*hash);
                }
                Ok(item) => {
                    fetched += 1;
                    self.take_details(user_id, *hash, item.details);
                }
                Err(error) if error.action() == Action::ItemGone => self.missing(now, user_id, *hash, fx),
                Err(error) => {
                    if let Action::BackOffAccount { ms } = error.action() {
                        self.budget_busy(now, server_id, Some(user_id), ms, fx);
                    }
                    let Some(user) = self.users.get_mut(user_id) else { continue };
                    let Some(item) = user.pending.find_mut(*hash) else { continue };
                    if error.action() == Action::ConvertId && item.id_form == IdForm::Given {
                        item.id_form = IdForm::Old;
                        user.needs.add(Needs::FETCH);
                    } else {
                        item.fetch_tries = FETCH_TRIES_MAX;
                        item.touched = false;
                    }
                }
            }
        }
        self.stats.ledger.enter(crate::ledger::Station::Fetched, fetched);
        match stop {
            Some((_, error)) => Err(error),
            None => {
                self.fetch_rest(user_id, &rest, rest.len() < asked.len());
                self.look_due(now, user_id, fx);
                Ok(())
            }
        }
    }

    /// Whose a mail is that lies in this folder: what it says is shown only as the mailbox's own. A server that does not say
    /// where it lies has named the folder before, in the event, or it was asked for what lies there.
    pub(super) fn whose_mail(&self, user_id: UserId, folder: Option<&FolderId>) -> Whose {
        let (Some(folder), Some(user)) = (folder, self.users.get(user_id)) else { return Whose::Own };
        if planted!(ForeignTold) {
            return Whose::Own;
        }
        user.whose(item_hash(&self.config.item_key, folder.as_str()))
    }

    /// These mails of a batch were not looked at: they are asked for again. As long as each batch gets on, that ends by
    /// itself; one that does not counts as a failure of all of them.
    fn fetch_rest(&mut self, user_id: UserId, rest: &[u64], got_on: bool) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        for hash in rest {
            let Some(item) = user.pending.find_mut(*hash) else { continue };
            item.fetch_tries = item.fetch_tries.saturating_add(u8::from(!got_on));
            if wants_fetch(item) {
                user.needs.add(Needs::FETCH);
            }
        }
    }

    /// Ids of an old form were converted. A mail whose id cannot be is told without details.
    pub(super) fn converted(
        &mut self,
        now: Now,
        server_id: MailServerId,
        user_id: UserId,
        asked: &[u64],
        ids: Vec<Result<ItemId, EwsError>>,
        fx: &mut Effects,
    ) {
        let mut rest = Vec::new();
        let answers = ids.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        for (old_hash, answer) in asked.iter().zip(answers) {
            let Some(answer) = answer.filter(was_looked_at) else {
                rest.push(*old_hash);
                continue;
            };
            let Some(user) = self.users.get_mut(user_id) else { return };
            let gap = user.has_gap();
            let Some(item) = user.pending.find_mut(*old_hash) else { continue };
            let Ok(id) = answer else {
                item.fetch_tries = FETCH_TRIES_MAX;
                item.touched = false;
                continue;
            };
            let hash = item_hash(&self.config.item_key, id.as_str());
            self.servers[usize::from(server_id.0)].old_ids = true;
            if user.known.contains(hash) {
                // A look into the folder has found it meanwhile.
                self.mail_gone(now, user_id, *old_hash, fx);
                continue;
            }
            item.id = id;
            item.hash = hash;
            item.id_form = IdForm::Converted { event_hash: *old_hash };
            let received = item.received;
            // Looks into folders give the new form, events the old one: both are this mail.
            user.known.add(hash, received, gap);
        }
        self.fetch_rest(user_id, &rest, rest.len() < asked.len());
        self.look_due(now, user_id, fx);
    }

    /// The mails that wait are told without what a look at them would bring.
    pub(super) fn tell_without_details(&mut self, user_id: UserId) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        for item in user.pending.items_mut() {
            item.fetch_tries = FETCH_TRIES_MAX;
        }
    }
}

/// Whether a fetch is to ask for this mail.
pub(super) fn wants_fetch(item: &Item) -> bool {
    (item.details.is_none() || item.touched || item.id_form == IdForm::Old)
        && item.fetch_tries < FETCH_TRIES_MAX
}
