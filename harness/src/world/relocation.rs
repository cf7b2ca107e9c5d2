//! Mailboxes that move between the mail servers of a town, get another name, and what their owners do with mails that are
//! there already.

use carillon_core::user::item_hash;

use super::PeerAt;
use super::town::Town;
use crate::exchange::{Code, FolderKey};

impl Town {
    /// The mailbox of one of the people moves to another mail server of the organisation, with all that lies in it.
    /// Whoever asks for it where it was is told `code` from now on.
    pub fn move_mailbox(&mut self, person: usize, server: usize, code: Code) {
        let from = self.people[person].server;
        if from == server {
            return;
        }
        let now = self.world.now_of(PeerAt::Exchange(from));
        let removal = self.world.exchanges[from].take_mailbox(now, self.people[person].mailbox, code);
        let mailbox = self.world.exchanges[server].give_mailbox(removal);
        // Who may see all mailboxes may see this one.
        if let Some(account) = self.world.exchanges[server].account("EX\\carillon") {
            self.world.exchanges[server].change_account(account, |account| {
                if !account.full_access.is_empty() {
                    account.full_access.insert(mailbox);
                }
            });
        }
        (self.people[person].server, self.people[person].mailbox) = (server, mailbox);
        self.world.collect();
    }

    /// One of the people marks a mail that he has read as unread, in another program.
    pub fn unread_again(&mut self, person: usize, mail: usize) {
        let row = &self.people[person];
        let id = &row.mails[mail];
        let now = self.world.now_of(PeerAt::Exchange(row.server));
        let exchange = &mut self.world.exchanges[row.server];
        let Some(folder) = exchange.item(row.mailbox, id).map(|item| item.folder) else { return };
        if exchange.mark_read(now, row.mailbox, id, false) && self.place(person, folder).watched {
            let row = &self.people[person];
            self.audit.unread_again(row.user, item_hash(&self.item_key, &row.mails[mail]));
        }
        self.world.collect();
    }

    /// One of the people copies a mail to a folder, in another program.
    pub fn copy_mail(&mut self, person: usize, mail: usize, to: FolderKey) {
        let now = self.world.now_of(PeerAt::Exchange(self.people[person].server));
        let place = self.place(person, to);
        let row = &mut self.people[person];
        let exchange = &mut self.world.exchanges[row.server];
        let Some(unread) = exchange.item(row.mailbox, &row.mails[mail]).map(|item| !item.read) else {
            return;
        };
        let Some(copy) = exchange.copy_item(now, row.mailbox, &row.mails[mail], to) else { return };
        self.audit.copied(row.user, item_hash(&self.item_key, &copy), now.time, place, unread);
        row.mails.push(copy);
        self.world.collect();
    }
}
