//! What shards tell each other of the accounts that they use at mail servers, carried from thread to thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carillon_core::shard::{AccountNews, AccountWord, Accounts, MailServerId};

use crate::mailbox::Mailbox;

/// All shards' words and news. Rarely used: at log-ins, refusals and when a server is busy.
#[derive(Debug)]
pub(crate) struct SharedAccounts {
    accounts: Mutex<Accounts>,
    /// Of each shard.
    mailboxes: Vec<Arc<Mailbox>>,
}

impl SharedAccounts {
    pub(crate) fn new(mailboxes: Vec<Arc<Mailbox>>, mail_servers: usize) -> SharedAccounts {
        // The number of shards was checked when they were prepared.
        let shards = u16::try_from(mailboxes.len()).unwrap_or(u16::MAX);
        SharedAccounts { accounts: Mutex::new(Accounts::new(shards, mail_servers)), mailboxes }
    }

    /// A shard says something: whoever is to hear of it is woken.
    pub(crate) fn tell(&self, from: u16, server: MailServerId, word: AccountWord) {
        let mut accounts = self.lock();
        accounts.tell(from, server, word);
        self.wake(&accounts);
    }

    /// What a shard is to hear.
    pub(crate) fn hear(&self, shard: u16) -> Vec<(MailServerId, AccountNews)> {
        self.lock().hear(shard)
    }

    /// A shard has ended.
    pub(crate) fn forget(&self, shard: u16) {
        let mut accounts = self.lock();
        accounts.forget(shard);
        self.wake(&accounts);
    }

    fn wake(&self, accounts: &Accounts) {
        accounts.waiting().for_each(|shard| self.mailboxes[usize::from(shard)].ring_for_news());
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        // A shard that panicked here left at worst a word half told; the others go on.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
