//! The folders that people make beside their inboxes, and which of them are watched.

use carillon_core::names::FolderId;
use carillon_core::user::item_hash;

use super::{PeerAt, Person, Town};
use crate::exchange::FolderKey;

impl Town {
    /// A folder of his own, by number: he makes it if it is not there.
    pub fn own_folder(&mut self, person: usize, number: usize) -> FolderKey {
        let row = &mut self.people[person];
        let exchange = &mut self.world.exchanges[row.server];
        while row.own.len() <= number {
            row.own.push(exchange.add_folder(row.mailbox, "Made later"));
        }
        if !exchange.has_folder(row.mailbox, row.own[number]) {
            row.own[number] = exchange.add_folder(row.mailbox, "Made again");
        }
        row.own[number]
    }

    /// The owner has the engine watch these of a person's own folders beside the inbox, and no others. What lay in one
    /// before need not be told.
    pub fn choose_folders(&mut self, person: usize, numbers: impl IntoIterator<Item = usize>) {
        if self.people[person].away {
            return;
        }
        let chosen: Vec<FolderKey> =
            numbers.into_iter().map(|number| self.own_folder(person, number)).collect();
        let before = std::mem::replace(&mut self.people[person].chosen, chosen.clone());
        let now = self.world.now().time;
        for folder in before.iter().filter(|folder| !chosen.contains(folder)) {
            for (item, _) in self.hashes(person, *folder) {
                self.audit.taken_back(self.people[person].user, item, now);
            }
        }
        for folder in chosen.iter().filter(|folder| !before.contains(folder)) {
            let place = self.place(person, *folder);
            for (item, unread) in self.hashes(person, *folder) {
                self.audit.chosen(self.people[person].user, item, now, place, unread);
            }
        }
        if chosen != before {
            self.live.remove(&self.people[person].key);
        }
        let folders = self.folder_ids(&self.people[person]);
        self.assign_again(person, false, |assign| assign.folders = folders);
    }

    /// One of the people deletes a folder of his own for good, with all that lies in it.
    pub fn delete_folder(&mut self, person: usize, number: usize) {
        let row = &self.people[person];
        let Some(folder) = row.own.get(number).copied() else { return };
        let now = self.world.now_of(PeerAt::Exchange(row.server));
        for (item, _) in self.hashes(person, folder) {
            let user = self.people[person].user;
            self.audit.deleted(user, item, now.time, false);
            // Of a mail that goes with its folder nobody is told.
            self.audit.unheard(item);
        }
        let row = &self.people[person];
        self.world.exchanges[row.server].delete_folder(now, row.mailbox, folder);
        self.world.collect();
    }

    /// One of the people gives a folder of his own another name.
    pub fn rename_folder(&mut self, person: usize, number: usize, name: &str) {
        let row = &self.people[person];
        let Some(folder) = row.own.get(number).copied() else { return };
        let now = self.world.now_of(PeerAt::Exchange(row.server));
        self.world.exchanges[row.server].rename_folder(now, row.mailbox, folder, name);
        self.world.collect();
    }

    pub(super) fn folder_ids(&self, person: &Person) -> Vec<FolderId> {
        let exchange = &self.world.exchanges[person.server];
        let id = |folder: &FolderKey| FolderId::parse(&exchange.folder_id(person.mailbox, *folder));
        person.chosen.iter().map(|folder| id(folder).expect("an id")).collect()
    }

    /// What lies in a folder: each mail's hash, and whether nobody has read it.
    fn hashes(&self, person: usize, folder: FolderKey) -> Vec<(u64, bool)> {
        let row = &self.people[person];
        let items = self.world.exchanges[row.server].items(row.mailbox, folder);
        items.into_iter().map(|(id, item)| (item_hash(&self.item_key, &id), !item.read)).collect()
    }
}
