//! Folders that come to be watched, or are not any more, with the mails that lie in them.

use carillon_core::time::Time;

use super::{Audit, Place, UserIx};
use crate::phone::Mail;

impl Audit {
    /// A mail lies in a folder that is watched from now on: it may be told, and counts where the badge does.
    pub fn chosen(&mut self, user: UserIx, item: u64, at: Time, to: Place, unread: bool) {
        let first = self.name(item);
        let mails = &mut self.users[user.0 as usize].mails;
        match mails.iter_mut().rev().find(|mail| mail.item == first) {
            Some(mail) => {
                (mail.counts, mail.unread, mail.moved_in) = (to.counts, unread, true);
                self.unheard.insert(first);
            }
            None => {
                let gone = if unread { Time::NEVER } else { at };
                let counts = to.counts;
                mails.push(Mail { item: first, at, gone, unread, counts, moved_in: true });
            }
        }
    }

    /// The folder in which a mail lies is not watched any more. Whoever was not told of it yet need not be, and may be.
    pub fn taken_back(&mut self, user: UserIx, item: u64, at: Time) {
        let first = self.name(item);
        let mails = &mut self.users[user.0 as usize].mails;
        if let Some(mail) = mails.iter_mut().rev().find(|mail| mail.item == first) {
            mail.counts = false;
            mail.gone = mail.gone.min(at);
            self.unheard.insert(first);
        }
    }
}
