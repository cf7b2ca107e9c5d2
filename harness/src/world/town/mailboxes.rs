//! What happens in people's mailboxes: mails come, are read, moved, copied and deleted in another program, and a mailbox
//! moves to another mail server.

use carillon_core::shard::BadgeCount;
use carillon_core::user::item_hash;

use super::Town;
use crate::audit::{Place, Traits};
use crate::exchange::{Code, FolderKey, INBOX, Importance, Mail};
use crate::world::PeerAt;

impl Town {
    /// A mail arrives for one of the people.
    pub fn deliver(&mut self, person: usize, subject: &str) -> u64 {
        let mail = Mail { subject: subject.to_owned(), body: format!("body of {subject}"), ..self.mail() };
        self.deliver_mail(person, mail)
    }

    /// As [`Town::deliver`], with all of the mail's properties.
    pub fn deliver_mail(&mut self, person: usize, mail: Mail) -> u64 {
        let now = self.world.now_of(PeerAt::Exchange(self.people[person].server));
        let place = self.place(person, mail.folder);
        let row = &mut self.people[person];
        let traits = traits(&mail);
        let id = self.world.exchanges[row.server].deliver(now, row.mailbox, mail);
        let hash = item_hash(&self.item_key, &id);
        self.audit.is_like(hash, traits);
        self.audit.arrived_in(row.user, hash, now.time, place);
        row.mails.push(id);
        self.world.collect();
        hash
    }

    /// A mail from somebody.
    pub fn mail(&self) -> Mail {
        let mut mail = Mail::default();
        mail.sender.name = "Jane Doe".to_owned();
        mail.sender.address = "jane@example.org".to_owned();
        mail
    }

    /// One of the people's own programs puts a mail into a folder: a draft, which counts as read, or one from elsewhere.
    pub fn put_mail(&mut self, person: usize, mail: Mail, read: bool) {
        let now = self.world.now_of(PeerAt::Exchange(self.people[person].server));
        let place = self.place(person, mail.folder);
        let row = &mut self.people[person];
        let id = self.world.exchanges[row.server].put(now, row.mailbox, mail, read);
        self.audit.copied(row.user, item_hash(&self.item_key, &id), now.time, place, !read);
        row.mails.push(id);
        self.world.collect();
    }

    /// One of the people reads a mail in another program.
    pub fn read(&mut self, person: usize, mail: usize) {
        let now = self.world.now_of(PeerAt::Exchange(self.people[person].server));
        let row = &self.people[person];
        let id = &row.mails[mail];
        self.world.exchanges[row.server].mark_read(now, row.mailbox, id, true);
        let item = item_hash(&self.item_key, id);
        self.audit.read(row.user, item, now.time);
        if !self.is_live(person) {
            self.audit.unheard(item);
        }
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

    /// One of the people deletes a mail in another program.
    pub fn delete(&mut self, person: usize, mail: usize) {
        let now = self.world.now_of(PeerAt::Exchange(self.people[person].server));
        let row = &self.people[person];
        let id = &row.mails[mail];
        self.world.exchanges[row.server].delete(now, row.mailbox, id);
        let item = item_hash(&self.item_key, id);
        self.audit.deleted(row.user, item, now.time, true);
        if !self.is_live(person) {
            self.audit.unheard(item);
        }
        self.world.collect();
    }

    /// One of the people moves a mail to another folder in another program, or a rule does it for him. Nothing happens if
    /// it lies there, or was deleted.
    pub fn move_mail(&mut self, person: usize, mail: usize, to: FolderKey) {
        let now = self.world.now_of(PeerAt::Exchange(self.people[person].server));
        let row = &self.people[person];
        let exchange = &self.world.exchanges[row.server];
        let item = exchange.item(row.mailbox, &row.mails[mail]).filter(|item| item.folder != to);
        let Some((from, unread)) = item.map(|item| (item.folder, !item.read)) else { return };
        let (from, place) = (self.place(person, from), self.place(person, to));
        let row = &mut self.people[person];
        let exchange = &mut self.world.exchanges[row.server];
        let old = &mut row.mails[mail];
        let Some(new) = exchange.move_item(now, row.mailbox, old, to) else { return };
        let hash = |id: &str| item_hash(&self.item_key, id);
        if from.watched || place.watched {
            self.audit.moved(row.user, hash(old), hash(&new), now.time, place, unread);
        } else {
            // Nobody is told of its new id.
            self.audit.taken_back(row.user, hash(old), now.time);
        }
        *old = new;
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
        let account = self.account(server);
        self.world.exchanges[server].change_account(account, |account| {
            if !account.full_access.is_empty() {
                account.full_access.insert(mailbox);
            }
        });
        (self.people[person].server, self.people[person].mailbox) = (server, mailbox);
        self.world.collect();
    }

    pub(super) fn place(&self, person: usize, folder: FolderKey) -> Place {
        let row = &self.people[person];
        let watched = folder == INBOX || row.chosen.contains(&folder);
        Place { watched, counts: folder == INBOX || (watched && self.badge == BadgeCount::Watched) }
    }
}

/// What of a mail can make it go first.
fn traits(mail: &Mail) -> Traits {
    Traits {
        high_importance: mail.importance == Importance::High,
        sender: mail.sender.address.as_str().into(),
    }
}
