//! Mailboxes that cannot be reached where they were: for a while, or because they are at another server.

use carillon_core::time::Now;

use super::code::Code;
use super::mailbox::{Mailbox, MailboxKey, MailboxSpec};
use super::state::Exchange;

/// A mailbox on its way from one mail server of an organisation to another, with all that lies in it. Ids of items and
/// folders stay what they are.
#[derive(Debug)]
pub struct Removal {
    mailbox: Mailbox,
    /// True for the primary one.
    addresses: Vec<(String, bool)>,
    principals: Vec<String>,
}

impl Exchange {
    /// A mailbox cannot be reached: whoever asks for it is told `code`, and its subscriptions die with that. Mail is
    /// delivered as ever.
    pub fn take_offline(&mut self, now: Now, mailbox: MailboxKey, code: Code) {
        self.box_mut(mailbox).away = Some(code);
        self.end_subscriptions(now, mailbox, code, None);
    }

    /// Reverses [`Exchange::take_offline`].
    pub fn bring_online(&mut self, mailbox: MailboxKey) {
        self.box_mut(mailbox).away = None;
    }

    /// A mailbox is disconnected from its owner: its addresses are nobody's, its subscriptions die.
    pub fn disconnect_mailbox(&mut self, now: Now, mailbox: MailboxKey) {
        self.take_offline(now, mailbox, Code::ErrorNonExistentMailbox);
        self.hide(mailbox);
    }

    /// Reverses [`Exchange::disconnect_mailbox`].
    pub fn reconnect_mailbox(&mut self, mailbox: MailboxKey) {
        let back: Vec<(String, bool)> = self.hidden(mailbox);
        self.settle(mailbox, back);
        let owner = self.principal(mailbox);
        self.principals.insert(owner, mailbox);
        self.bring_online(mailbox);
    }

    /// A mailbox leaves for another server of the organisation. Whoever asks for it here is told `code` from now on;
    /// after `ErrorNonExistentMailbox` nobody here has heard of it.
    pub fn take_mailbox(&mut self, now: Now, mailbox: MailboxKey, code: Code) -> Removal {
        self.reconnect_mailbox(mailbox);
        let text = "Mailbox was moved; no more events will occur for this EventSink. Event type = MailboxMoveSucceeded";
        self.end_subscriptions(now, mailbox, Code::ErrorInvalidSubscription, Some(text));
        let addresses = self.addresses.iter().filter(|(_, (key, _))| *key == mailbox);
        let mut addresses: Vec<(String, bool)> =
            addresses.map(|(address, (_, primary))| (address.clone(), *primary)).collect();
        addresses.sort();
        let principals = vec![self.principal(mailbox)];
        let row = self.box_of(mailbox);
        let left_behind = Mailbox {
            away: Some(code),
            ..Mailbox::new(mailbox, row.guid, MailboxSpec { proxies: Vec::new(), ..row.spec.clone() })
        };
        let moved = std::mem::replace(self.box_mut(mailbox), left_behind);
        if code == Code::ErrorNonExistentMailbox {
            self.hide(mailbox);
        }
        Removal { mailbox: moved, addresses, principals }
    }

    /// A mailbox arrives from another server.
    pub fn give_mailbox(&mut self, removal: Removal) -> MailboxKey {
        let Removal { mailbox: mut arrived, addresses, principals } = removal;
        let key =
            self.box_by_guid(arrived.guid).map_or(MailboxKey(self.mailboxes.len() as u32), |row| row.key);
        self.hide(key);
        self.former.retain(|_, (former, _)| *former != key);
        arrived.key = key;
        arrived.away = None;
        arrived.spec.back_end %= self.config.back_ends.len();
        match self.mailboxes.get_mut(key.0 as usize) {
            Some(left_behind) => *left_behind = arrived,
            None => {
                self.immigrants.insert(arrived.guid, key);
                self.mailboxes.push(arrived);
            }
        }
        self.settle(key, addresses);
        self.principals.extend(principals.into_iter().map(|owner| (owner, key)));
        key
    }

    /// Whether a mailbox can be reached.
    pub(super) fn reach(&self, mailbox: MailboxKey) -> Result<(), Code> {
        self.box_of(mailbox).away.map_or(Ok(()), Err)
    }

    fn principal(&self, mailbox: MailboxKey) -> String {
        let spec = &self.box_of(mailbox).spec;
        spec.principal_name.as_ref().unwrap_or(&spec.address).to_ascii_lowercase()
    }

    /// Those that a stream reads are told of there; the others are simply not there any more.
    fn end_subscriptions(&mut self, now: Now, mailbox: MailboxKey, code: Code, text: Option<&str>) {
        self.fail_subscriptions(now, &[mailbox], code, text);
        for key in self.box_of(mailbox).subscriptions.clone() {
            self.forget_subscription(now.time, key);
        }
    }

    fn hide(&mut self, mailbox: MailboxKey) {
        let gone = self.addresses.extract_if(|_, (key, _)| *key == mailbox);
        self.former.extend(gone);
        self.principals.retain(|_, key| *key != mailbox);
    }

    fn hidden(&mut self, mailbox: MailboxKey) -> Vec<(String, bool)> {
        let gone = self.former.extract_if(|_, (key, _)| *key == mailbox);
        gone.map(|(address, (_, primary))| (address, primary)).collect()
    }

    fn settle(&mut self, mailbox: MailboxKey, addresses: Vec<(String, bool)>) {
        for (address, primary) in addresses {
            let before = self.addresses.insert(address, (mailbox, primary));
            assert!(before.is_none_or(|(key, _)| key == mailbox), "an address belongs to two mailboxes");
        }
    }
}
