//! What happens in people's mailboxes: mails that arrive, move, are copied, read and deleted.

use carillon_core::time::Time;

use super::{Audit, UserIx};
use crate::phone::Mail;

/// Where a mail lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// New mail there is told.
    pub watched: bool,
    /// The badge counts what is unread there.
    pub counts: bool,
}

impl Place {
    /// The inbox of everybody.
    pub const INBOX: Place = Place { watched: true, counts: true };
}

impl Audit {
    /// A mail arrived in the inbox.
    pub fn arrived(&mut self, user: UserIx, item: u64, at: Time) {
        self.arrived_in(user, item, at, Place::INBOX);
    }

    /// A mail arrived somewhere. What is not watched is nobody's business.
    pub fn arrived_in(&mut self, user: UserIx, item: u64, at: Time, place: Place) {
        if place.watched {
            self.report.mails += 1;
            let (gone, counts) = (Time::NEVER, place.counts);
            let mail = Mail { item, at, gone, unread: true, counts, moved_in: false };
            self.users[user.0 as usize].mails.push(mail);
        }
    }

    /// A mail was moved, and got another id. As long as nothing has deafened the engine, it knows that it is the same mail.
    /// Afterwards what left is gone, and what came may be told.
    pub fn moved(&mut self, user: UserIx, old: u64, new: u64, at: Time, to: Place, unread: bool) {
        let first = self.name(old);
        let heard = self.never_deaf(at);
        let mails = &mut self.users[user.0 as usize].mails;
        let known = mails.iter_mut().rev().find(|mail| mail.item == first);
        let same = heard && known.is_some();
        if let Some(mail) = known {
            mail.counts = same && to.counts;
            if !same || !to.watched {
                mail.gone = mail.gone.min(at);
            }
        }
        if !heard {
            self.unheard.insert(first);
        }
        if same {
            self.names.insert(new, first);
        } else if to.watched {
            let gone = if unread { Time::NEVER } else { at };
            mails.push(Mail { item: new, at, gone, unread, counts: to.counts, moved_in: true });
        }
    }

    /// A mail was copied, or put there by its owner's own program. Whether the copy is news nobody can know who finds it.
    pub fn copied(&mut self, user: UserIx, copy: u64, at: Time, to: Place, unread: bool) {
        if to.watched {
            let gone = if unread { Time::NEVER } else { at };
            let mail = Mail { item: copy, at, gone, unread, counts: to.counts, moved_in: true };
            self.users[user.0 as usize].mails.push(mail);
        }
    }

    /// A mail was read. One from before the account counts too.
    pub fn read(&mut self, user: UserIx, item: u64, at: Time) {
        let item = self.name(item);
        let user = &mut self.users[user.0 as usize];
        match user.mails.iter_mut().rev().find(|mail| mail.item == item) {
            Some(mail) => {
                mail.gone = mail.gone.min(at);
                mail.unread = false;
            }
            None => user.unread_before = user.unread_before.saturating_sub(1),
        }
    }

    /// A mail was deleted. `was_unread` matters for mails from before the account only.
    pub fn deleted(&mut self, user: UserIx, item: u64, at: Time, was_unread: bool) {
        let first = self.name(item);
        let known = self.users[user.0 as usize].mails.iter().any(|mail| mail.item == first);
        if known || was_unread {
            self.read(user, item, at);
        }
    }

    /// A mail was marked as unread again. It counts for the badge, but is no news.
    pub fn unread_again(&mut self, user: UserIx, item: u64) {
        let item = self.name(item);
        let user = &mut self.users[user.0 as usize];
        match user.mails.iter_mut().rev().find(|mail| mail.item == item) {
            Some(mail) => mail.unread = true,
            None => user.unread_before += 1,
        }
    }

    /// What the badge of a user's phones is to be now.
    pub fn unread(&self, user: UserIx) -> u32 {
        self.users[user.0 as usize].unread()
    }

    /// The id that a mail came with.
    pub(super) fn name(&self, item: u64) -> u64 {
        self.names.get(&item).copied().unwrap_or(item)
    }
}
