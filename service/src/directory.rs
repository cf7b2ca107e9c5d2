//! What is known right now of users, mail servers and providers. Volatile: the engine's reports build it anew.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carillon_core::names::UserKey;
use carillon_core::shard::{DroppedFolder, MailServerId, PushServiceId, Trouble};

/// Who is live, and what is in trouble.
#[derive(Debug, Default)]
pub struct Directory {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    users: HashMap<UserKey, Watch>,
    /// What cannot be read in mailboxes that may be watched all the same.
    unreadable: HashMap<UserKey, Arc<Trouble>>,
    live: u64,
    polling: u64,
    /// In order, so that the first of them are always the same.
    unwatched: BTreeSet<UserKey>,
    devices: u64,
    mail_servers: Vec<OfShards>,
    /// Folders that users have chosen and that cannot be watched.
    dropped_folders: HashMap<UserKey, Vec<DroppedFolder>>,
    /// Of each mail server, by what peculiarities it is served.
    mail_server_notes: Vec<Vec<Arc<Trouble>>>,
    push_services: Vec<Health>,
    store: Option<Arc<Trouble>>,
    journal: Option<Arc<Trouble>>,
}

/// How a user's mailbox is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// Assigned to the engine; nothing heard yet.
    #[default]
    Waiting,
    /// On an open stream and caught up.
    Live,
    /// Looked into about once a minute, as no stream tells of it, and why that is.
    Polling(Arc<Trouble>),
    /// Not watched at the moment, and why.
    Unwatched(Arc<Trouble>),
}

/// How a mail server or provider does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Nothing is wrong.
    #[default]
    Well,
    /// Something is wrong; it is tried again by itself.
    Trouble(Arc<Trouble>),
    /// The credential was refused: nothing is sent until another one comes.
    Refused(Arc<Trouble>),
}

/// How many users and devices there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Users.
    pub users: u64,
    /// Devices.
    pub devices: u64,
    /// Users that are live.
    pub live: u64,
    /// Users whose mailbox is looked into without a stream.
    pub polling: u64,
    /// Users whose mailbox is in trouble.
    pub unwatched: u64,
}

/// How a mail server does for each shard: each has its own connections and mailboxes there, and none speaks for another.
#[derive(Debug, Default)]
struct OfShards(Vec<Health>);

impl OfShards {
    /// The worst of them, of equals the first.
    fn worst(&self) -> &Health {
        let rank = |health: &&Health| match health {
            Health::Well => 2,
            Health::Trouble(_) => 1,
            Health::Refused(_) => 0,
        };
        self.0.iter().min_by_key(rank).unwrap_or(&Health::Well)
    }

    /// Changes how it does; the worst of them, if that is another by now.
    fn change(&mut self, change: impl FnOnce(&mut Vec<Health>)) -> Option<Health> {
        let before = self.worst().clone();
        change(&mut self.0);
        Some(self.worst()).filter(|worst| **worst != before).cloned()
    }
}

impl Health {
    /// Its name in the API and in metrics: `well`, `trouble` or `refused`.
    pub fn name(&self) -> &'static str {
        match self {
            Health::Well => "well",
            Health::Trouble(_) => "trouble",
            Health::Refused(_) => "refused",
        }
    }

    /// What is wrong.
    pub fn trouble(&self) -> Option<&Trouble> {
        match self {
            Health::Well => None,
            Health::Trouble(trouble) | Health::Refused(trouble) => Some(trouble),
        }
    }
}

impl Watch {
    /// Its name in the API: `waiting`, `live`, `polling` or `unwatched`.
    pub fn name(&self) -> &'static str {
        match self {
            Watch::Waiting => "waiting",
            Watch::Live => "live",
            Watch::Polling(_) => "polling",
            Watch::Unwatched(_) => "unwatched",
        }
    }

    /// As seen by whoever knows how the mail server does: while that is in trouble, it is the reason why a mailbox is not
    /// watched, or not yet.
    pub fn at(self, server: &Health) -> Watch {
        match (self, server) {
            (Watch::Waiting | Watch::Unwatched(_), Health::Trouble(trouble) | Health::Refused(trouble)) => {
                Watch::Unwatched(trouble.clone())
            }
            (watch, _) => watch,
        }
    }

    /// What is wrong.
    pub fn trouble(&self) -> Option<&Trouble> {
        match self {
            Watch::Waiting | Watch::Live => None,
            Watch::Polling(trouble) | Watch::Unwatched(trouble) => Some(trouble),
        }
    }
}

impl Directory {
    /// A directory without users, of so many mail servers and providers, all well.
    pub fn new(mail_servers: usize, push_services: usize) -> Directory {
        let inner = Inner {
            mail_servers: std::iter::repeat_with(OfShards::default).take(mail_servers).collect(),
            mail_server_notes: vec![Vec::new(); mail_servers],
            push_services: vec![Health::Well; push_services],
            ..Inner::default()
        };
        Directory { inner: Mutex::new(inner) }
    }

    /// The user is there. One that is already known stays as he is.
    pub fn add_user(&self, user: UserKey) {
        self.lock().users.entry(user).or_default();
    }

    /// The user is gone.
    pub fn remove_user(&self, user: UserKey) {
        let mut inner = self.lock();
        inner.dropped_folders.remove(&user);
        inner.unreadable.remove(&user);
        if let Some(old) = inner.users.remove(&user) {
            inner.leave(user, &old);
        }
    }

    /// There are so many devices more, or fewer.
    pub fn add_devices(&self, more: i64) {
        let mut inner = self.lock();
        inner.devices = inner.devices.saturating_add_signed(more);
    }

    /// How the user is watched; `None` for one that is not there.
    pub fn watch(&self, user: UserKey) -> Option<Watch> {
        self.lock().users.get(&user).cloned()
    }

    /// Sets how the user is watched, if he is there. Returns what it was, where that changed.
    pub fn set_watch(&self, user: UserKey, watch: Watch) -> Option<Watch> {
        let mut inner = self.lock();
        let at = inner.users.get_mut(&user)?;
        if *at == watch {
            return None;
        }
        let old = std::mem::replace(at, watch.clone());
        inner.leave(user, &old);
        match watch {
            Watch::Waiting => {}
            Watch::Live => inner.live += 1,
            Watch::Polling(_) => inner.polling += 1,
            Watch::Unwatched(_) => {
                inner.unwatched.insert(user);
            }
        }
        Some(old)
    }

    /// The folders that the user has chosen and that cannot be watched.
    pub fn dropped_folders(&self, user: UserKey) -> Vec<DroppedFolder> {
        self.lock().dropped_folders.get(&user).cloned().unwrap_or_default()
    }

    /// Sets which folders cannot be watched, if the user is there. Returns those that are news.
    pub fn set_dropped_folders(&self, user: UserKey, folders: Vec<DroppedFolder>) -> Vec<DroppedFolder> {
        let mut inner = self.lock();
        if !inner.users.contains_key(&user) {
            return Vec::new();
        }
        let before = if folders.is_empty() {
            inner.dropped_folders.remove(&user)
        } else {
            inner.dropped_folders.insert(user, folders.clone())
        };
        let known = before.unwrap_or_default();
        folders.into_iter().filter(|folder| known.iter().all(|one| one.id != folder.id)).collect()
    }

    /// What cannot be read in a user's mailbox.
    pub fn unreadable(&self, user: UserKey) -> Option<Arc<Trouble>> {
        self.lock().unreadable.get(&user).cloned()
    }

    /// Something in a user's mailbox cannot be read, or everything can be again.
    pub fn set_unreadable(&self, user: UserKey, trouble: Option<Arc<Trouble>>) {
        let mut inner = self.lock();
        match trouble.filter(|_| inner.users.contains_key(&user)) {
            Some(trouble) => inner.unreadable.insert(user, trouble),
            None => inner.unreadable.remove(&user),
        };
    }

    /// The first of the users whose mailbox is in trouble, at most `count`, by number.
    pub fn first_unwatched(&self, count: usize) -> Vec<(UserKey, Arc<Trouble>)> {
        let inner = self.lock();
        let trouble = |user: &UserKey| match inner.users.get(user) {
            Some(Watch::Unwatched(trouble)) => Some((*user, trouble.clone())),
            Some(Watch::Waiting | Watch::Live | Watch::Polling(_)) | None => None,
        };
        inner.unwatched.iter().filter_map(trouble).take(count).collect()
    }

    /// How each mail server does, by [`MailServerId`]: for the shard for which it does worst.
    pub fn mail_servers(&self) -> Vec<Health> {
        self.lock().mail_servers.iter().map(|server| server.worst().clone()).collect()
    }

    /// How one mail server does, as in [`Directory::mail_servers`]; well, if there is none.
    pub fn mail_server(&self, server: MailServerId) -> Health {
        let inner = self.lock();
        inner.mail_servers.get(usize::from(server.0)).map(|server| server.worst().clone()).unwrap_or_default()
    }

    /// How each provider does, by [`PushServiceId`].
    pub fn push_services(&self) -> Vec<Health> {
        self.lock().push_services.clone()
    }

    /// Sets how a mail server does for one shard. Returns how it does by now, if that is news.
    pub fn set_mail_server(&self, server: MailServerId, shard: u16, health: Health) -> Option<Health> {
        let mut inner = self.lock();
        inner.mail_servers.get_mut(usize::from(server.0))?.change(|shards| {
            let at = usize::from(shard);
            if shards.len() <= at {
                shards.resize(at + 1, Health::Well);
            }
            shards[at] = health;
        })
    }

    /// What was wrong with a mail server, for whichever shard, is being put right.
    pub fn trying_mail_server(&self, server: MailServerId, trying: &Arc<Trouble>) {
        if let Some(server) = self.lock().mail_servers.get_mut(usize::from(server.0)) {
            server.change(|shards| {
                let troubled = shards.iter_mut().filter(|health| **health != Health::Well);
                troubled.for_each(|health| *health = Health::Trouble(trying.clone()));
            });
        }
    }

    /// By what peculiarities each mail server is served, by [`MailServerId`].
    pub fn mail_server_notes(&self) -> Vec<Vec<Arc<Trouble>>> {
        self.lock().mail_server_notes.clone()
    }

    /// A mail server has a peculiarity. True: that is news.
    pub fn note_mail_server(&self, server: MailServerId, note: &Trouble) -> bool {
        let mut inner = self.lock();
        let Some(notes) = inner.mail_server_notes.get_mut(usize::from(server.0)) else { return false };
        if notes.iter().any(|known| known.code == note.code) {
            return false;
        }
        notes.push(Arc::new(note.clone()));
        true
    }

    /// Sets how a provider does. True: that is news.
    pub fn set_push_service(&self, service: PushServiceId, health: Health) -> bool {
        replace(&mut self.lock().push_services, service.0, health)
    }

    /// What is wrong with the store.
    pub fn store_trouble(&self) -> Option<Arc<Trouble>> {
        self.lock().store.clone()
    }

    /// Sets what is wrong with the store. True: that is news.
    pub fn set_store_trouble(&self, trouble: Option<Trouble>) -> bool {
        replace_trouble(&mut self.lock().store, trouble)
    }

    /// What is wrong with the engine's journal.
    pub fn journal_trouble(&self) -> Option<Arc<Trouble>> {
        self.lock().journal.clone()
    }

    /// Sets what is wrong with the engine's journal. True: that is news.
    pub fn set_journal_trouble(&self, trouble: Option<Trouble>) -> bool {
        replace_trouble(&mut self.lock().journal, trouble)
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        let inner = self.lock();
        Counts {
            users: inner.users.len() as u64,
            devices: inner.devices,
            live: inner.live,
            polling: inner.polling,
            unwatched: inner.unwatched.len() as u64,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn leave(&mut self, user: UserKey, was: &Watch) {
        match was {
            Watch::Waiting => {}
            Watch::Live => self.live -= 1,
            Watch::Polling(_) => self.polling -= 1,
            Watch::Unwatched(_) => {
                self.unwatched.remove(&user);
            }
        }
    }
}

fn replace_trouble(at: &mut Option<Arc<Trouble>>, trouble: Option<Trouble>) -> bool {
    if at.as_deref() == trouble.as_ref() {
        return false;
    }
    *at = trouble.map(Arc::new);
    true
}

fn replace(all: &mut [Health], index: u16, health: Health) -> bool {
    match all.get_mut(usize::from(index)) {
        Some(at) if *at != health => {
            *at = health;
            true
        }
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use carillon_core::names::FolderId;

    use super::*;

    #[test]
    fn while_a_mail_server_is_in_trouble_that_is_why_its_mailboxes_are_not_watched() {
        let trouble = |code: &str| Arc::new(Trouble { code: code.into(), text: "x".into() });
        let (own, server) = (trouble("closed"), Health::Trouble(trouble("refused")));
        let code = |watch: Watch| watch.trouble().map(|trouble| trouble.code.to_string());
        for waits in [Watch::Waiting, Watch::Unwatched(own.clone())] {
            let seen = waits.at(&server);
            assert_eq!((seen.name(), code(seen).as_deref()), ("unwatched", Some("refused")));
        }
        assert_eq!(Watch::Live.at(&server), Watch::Live, "its stream stands");
        assert_eq!(Watch::Waiting.at(&Health::Well), Watch::Waiting);
        assert_eq!(Watch::Unwatched(own.clone()).at(&Health::Well), Watch::Unwatched(own));
    }

    #[test]
    fn the_sums_follow_every_change() {
        let directory = Directory::new(1, 1);
        let trouble = Arc::new(Trouble { code: "ErrorX".into(), text: "x".into() });
        directory.add_user(UserKey(1));
        directory.add_user(UserKey(2));
        directory.set_watch(UserKey(1), Watch::Live);
        directory.set_watch(UserKey(1), Watch::Live);
        directory.set_watch(UserKey(2), Watch::Unwatched(trouble.clone()));
        directory.set_watch(UserKey(3), Watch::Live);
        let counts = directory.counts();
        assert_eq!((counts.users, counts.live, counts.unwatched), (2, 1, 1));
        let first: Vec<u64> = directory.first_unwatched(10).iter().map(|(user, _)| user.0).collect();
        assert_eq!(first, [2]);
        directory.add_user(UserKey(1));
        assert_eq!(directory.watch(UserKey(1)), Some(Watch::Live));
        directory.remove_user(UserKey(1));
        directory.set_watch(UserKey(2), Watch::Polling(trouble.clone()));
        let counts = directory.counts();
        assert_eq!((counts.users, counts.live, counts.polling, counts.unwatched), (1, 0, 1, 0));
        directory.set_watch(UserKey(2), Watch::Live);
        let counts = directory.counts();
        assert_eq!((counts.users, counts.live, counts.polling, counts.unwatched), (1, 1, 0, 0));
        assert_eq!(directory.first_unwatched(10), []);
        let health = Health::Trouble(trouble);
        assert_eq!(directory.set_mail_server(MailServerId(0), 0, health.clone()), Some(health.clone()));
        assert_eq!(directory.set_mail_server(MailServerId(0), 0, health), None);
        assert_eq!(directory.set_mail_server(MailServerId(7), 0, Health::Well), None);
        let folder = |id: &str| DroppedFolder {
            id: FolderId::parse(id).unwrap(),
            trouble: Trouble { code: "ErrorAccessDenied".into(), text: "x".into() },
        };
        assert_eq!(directory.set_dropped_folders(UserKey(1), vec![folder("a")]), [], "he is not there");
        assert_eq!(directory.set_dropped_folders(UserKey(2), vec![folder("a")]).len(), 1);
        assert_eq!(directory.set_dropped_folders(UserKey(2), vec![folder("a"), folder("b")]), [folder("b")]);
        assert_eq!(directory.dropped_folders(UserKey(2)).len(), 2);
        directory.set_dropped_folders(UserKey(2), Vec::new());
        assert_eq!(directory.dropped_folders(UserKey(2)), []);
        let note = Trouble { code: "ews_ungroupable".into(), text: "x".into() };
        assert!(directory.note_mail_server(MailServerId(0), &note));
        assert!(!directory.note_mail_server(MailServerId(0), &note), "each shard finds out for itself");
        assert!(!directory.note_mail_server(MailServerId(7), &note));
        assert_eq!(directory.mail_server_notes()[0].len(), 1);
    }

    #[test]
    fn a_mail_server_does_as_it_does_for_the_shard_for_which_it_does_worst() {
        let directory = Directory::new(2, 0);
        let trouble = |code: &str| Arc::new(Trouble { code: code.into(), text: "x".into() });
        let (one, other) = (Health::Trouble(trouble("one")), Health::Trouble(trouble("other")));
        let refused = Health::Refused(trouble("refused"));
        let server = MailServerId(1);
        let set = |shard: u16, health: &Health| directory.set_mail_server(server, shard, health.clone());
        assert_eq!(set(3, &one), Some(one.clone()));
        assert_eq!(set(0, &Health::Well), None, "another shard's mailboxes are in trouble all the same");
        assert_eq!(directory.mail_servers(), [Health::Well, one.clone()]);
        assert_eq!(set(2, &refused), Some(refused.clone()), "worse");
        assert_eq!(set(1, &other), None);
        assert_eq!(set(2, &Health::Well), Some(other.clone()), "what is left, and told to nobody yet");
        assert_eq!(set(1, &Health::Well), Some(one));
        assert_eq!(set(3, &Health::Well), Some(Health::Well));
        // What is tried anew is tried for all that were in trouble.
        set(0, &other);
        set(2, &refused);
        directory.trying_mail_server(server, &trouble("trying"));
        assert_eq!(directory.mail_server(server), Health::Trouble(trouble("trying")));
        set(0, &Health::Well);
        assert_eq!(directory.mail_server(server).name(), "trouble");
        assert_eq!(set(2, &Health::Well), Some(Health::Well));
    }

    #[test]
    fn what_cannot_be_read_in_a_mailbox_is_known_for_as_long_as_the_user_is_there() {
        let directory = Directory::new(1, 1);
        let trouble = Arc::new(Trouble { code: "mail_unreadable".into(), text: "x".into() });
        directory.set_unreadable(UserKey(1), Some(trouble.clone()));
        assert_eq!(directory.unreadable(UserKey(1)), None, "nobody of that name");
        directory.add_user(UserKey(1));
        directory.set_unreadable(UserKey(1), Some(trouble.clone()));
        directory.set_watch(UserKey(1), Watch::Live);
        assert_eq!(
            (directory.watch(UserKey(1)), directory.unreadable(UserKey(1))),
            (Some(Watch::Live), Some(trouble.clone()))
        );
        directory.set_unreadable(UserKey(1), None);
        assert_eq!(directory.unreadable(UserKey(1)), None);
        directory.set_unreadable(UserKey(1), Some(trouble));
        directory.remove_user(UserKey(1));
        directory.add_user(UserKey(1));
        assert_eq!(directory.unreadable(UserKey(1)), None);
    }
}
