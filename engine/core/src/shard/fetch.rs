//! Details of mails: what a fetch asks for, and what it brings back.

use super::answer::{batch_stop, brings_texts, was_looked_at};
use super::core::ShardCore;
use super::server::{Ask, Job};
use super::{Effects, MailServerId, Report, Trouble};
use crate::ews::{Action, EwsError, FetchedItem};
use crate::limits::FETCH_TRIES_MAX;
use crate::names::{FolderId, ItemId};
use crate::time::Now;
use crate::user::{IdForm, Item, Needs, Unreadable, UserId, Whose, item_hash};

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
            user.fetch_alone &= asked.len() == 1;
        }
        // One answer for each id, in the order of the request (exchange-ews §5.1). What has none was not looked at.
        let answered = stop.as_ref().map_or(items.len(), |(at, _)| *at);
        let (mut fetched, mut refused) = (0, None);
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
                    self.take_details(user_id, *hash, item.received, item.details);
                }
                Err(error) if error.action() == Action::ItemGone => self.missing(now, user_id, *hash, fx),
                Err(error) => {
                    if let Action::BackOffAccount { ms } = error.action() {
                        self.budget_busy(now, server_id, Some(user_id), ms, fx);
                    }
                    let Some(user) = self.users.get_mut(user_id) else { continue };
                    let Some(item) = user.pending.find_mut(*hash) else { continue };
                    match error.action() {
                        Action::ConvertId if item.id_form == IdForm::Given => {
                            item.id_form = IdForm::Old;
                            user.needs.add(Needs::FETCH);
                        }
                        // It may have been a moment's trouble.
                        Action::RetryOrBisect if item.fetch_tries + 1 < FETCH_TRIES_MAX => {
                            item.fetch_tries += 1;
                            user.needs.add(Needs::FETCH);
                        }
                        _ => {
                            item.give_up_details();
                            refused = Some(error);
                        }
                    }
                }
            }
        }
        self.stats.ledger.enter(crate::ledger::Station::Fetched, fetched);
        let trouble = refused.map(|error| unreadable_mail(&why(&error)));
        if fetched > 0 || trouble.is_some() {
            self.set_unreadable(user_id, Unreadable::MAIL, trouble.as_ref(), fx);
        }
        match stop {
            Some((_, error)) => Err(error),
            None => {
                self.fetch_next_alone(user_id);
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
    ///
    /// # Errors
    /// As [`ShardCore::fetched`].
    pub(super) fn converted(
        &mut self,
        now: Now,
        server_id: MailServerId,
        user_id: UserId,
        asked: &[u64],
        ids: Vec<Result<ItemId, EwsError>>,
        fx: &mut Effects,
    ) -> Result<(), EwsError> {
        if let Some((_, error)) = batch_stop(&ids, asked.len()) {
            return Err(error);
        }
        let mut rest = Vec::new();
        let answers = ids.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        for (old_hash, answer) in asked.iter().zip(answers) {
            let Some(answer) = answer.filter(was_looked_at) else {
                rest.push(*old_hash);
                continue;
            };
            let Some(user) = self.users.get_mut(user_id) else { return Ok(()) };
            let gap = user.has_gap();
            let Some(item) = user.pending.find_mut(*old_hash) else { continue };
            let Ok(id) = answer else {
                item.give_up_details();
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
        Ok(())
    }

    /// Mails that are fetched one by one: one was, and the next one's turn has come.
    fn fetch_next_alone(&mut self, user_id: UserId) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let more = user.pending.items().iter().any(wants_fetch);
        user.fetch_alone &= more;
        if user.fetch_alone {
            user.needs.add(Needs::FETCH);
        }
    }

    /// The answer to a call cannot be read, though the server is well: one of the mails in it is to blame. What of it matters
    /// is asked for anew: mails one by one, so that only the one lacks its details; a page of a folder without what an alert
    /// shows. False if that was asked for already, or there is no mail in it.
    pub(super) fn unreadable(&mut self, job: &Job, why: &str, fx: &mut Effects) -> bool {
        let Job::OfUser { user: user_id, ask, .. } = job else { return false };
        let user_id = *user_id;
        let Some(server) = self.users.get(user_id).and_then(|user| user.server) else { return false };
        if !brings_texts(ask, self.mail_server(server).catch_up) || planted!(PageGivenUp) {
            return false;
        }
        let Some(user) = self.users.get_mut(user_id) else { return false };
        let what = match ask {
            Ask::Fetch(asked) if asked.len() > 1 => {
                user.fetch_alone = true;
                None
            }
            Ask::Fetch(asked) => {
                let mail = asked.first().and_then(|hash| user.pending.find_mut(*hash));
                mail.into_iter().for_each(Item::give_up_details);
                self.fetch_next_alone(user_id);
                Some(Unreadable::MAIL)
            }
            _ => {
                user.ids_alone = true;
                Some(Unreadable::PAGE)
            }
        };
        if let Some(what) = what {
            self.set_unreadable(user_id, what, Some(&unreadable_mail(why)), fx);
        }
        true
    }

    /// What could not be read is asked for in another way, without a pause.
    pub(super) fn ask_anew(&mut self, now: Now, job: &Job, fx: &mut Effects) {
        let Some(user_id) = job.user() else { return };
        self.look_due(now, user_id, fx);
        self.request_call(now, user_id, fx);
    }

    /// Something of a mailbox can be read again, or not any more. Its owner is told when that changes.
    pub(super) fn set_unreadable(
        &mut self,
        user_id: UserId,
        what: Unreadable,
        trouble: Option<&Trouble>,
        fx: &mut Effects,
    ) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let before = user.unreadable;
        user.unreadable = if trouble.is_some() { before.with(what) } else { before.without(what) };
        if before.is_nothing() != user.unreadable.is_nothing() {
            fx.report(Report::Unreadable { user: user.key, trouble: trouble.cloned() });
        }
    }
}

/// Whether a fetch is to ask for this mail.
pub(super) fn wants_fetch(item: &Item) -> bool {
    (item.details.is_none() || item.touched || item.id_form == IdForm::Old)
        && item.fetch_tries < FETCH_TRIES_MAX
}

/// What an answer says is wrong with it.
pub(super) fn why(error: &EwsError) -> String {
    match error.message.is_empty() {
        true => error.code.to_string(),
        false => format!("{}: {}", error.code, error.message),
    }
}

/// What a person is told of a mail that cannot be read.
fn unreadable_mail(why: &str) -> Trouble {
    let text = format!(
        "the mail server gives out a mail of this mailbox in a form that cannot be read ({why}); that mail is told without \
         sender, subject and preview, all others as ever; nothing to do, or open it in a mail program and delete it"
    );
    Trouble { code: "mail_unreadable".into(), text: text.into() }
}
