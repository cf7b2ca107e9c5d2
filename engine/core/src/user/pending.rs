//! The mails that some device of a user has not been told of, or is just being told of.

use crate::limits::{FETCH_TRIES_MAX, PENDING_ITEMS_MAX};
use crate::names::ItemId;
use crate::notice::MailDetails;
use crate::time::{Time, UnixMillis};

/// One mail whose id is still at hand.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its id at the mail server.
    pub id: ItemId,
    /// Its name outside ([`super::item_hash`]).
    pub hash: u64,
    /// The form of its id.
    pub id_form: IdForm,
    /// Its number among the mails folded into this row.
    pub seq: u32,
    /// When the server received it.
    pub received: UnixMillis,
    /// It changed after it came: only a look tells whether it was read.
    pub touched: bool,
    /// It changed while a call was on its way, whose answer may not know it yet.
    pub touched_again: bool,
    /// What a fetch brought.
    pub details: Option<Box<MailDetails>>,
    /// It goes first.
    pub vip: bool,
    /// Fetches that brought nothing: after [`crate::limits::FETCH_TRIES_MAX`] it is told without details.
    pub fetch_tries: u8,
}

/// What is known of an item id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdForm {
    /// As the mail server gave it.
    Given,
    /// The mail server calls it malformed: it is of an old form, and must be converted before it can be used.
    Old,
    /// Converted. Events go on naming the mail by the old form, whose hash this is.
    Converted {
        /// Of the id that the event had.
        event_hash: u64,
    },
}

impl Item {
    /// Whether `hash` is of this mail's id, in either form.
    fn is(&self, hash: u64) -> bool {
        self.hash == hash || self.id_form == IdForm::Converted { event_hash: hash }
    }
}

impl Item {
    /// It is told without what a fetch would bring.
    pub fn give_up_details(&mut self) {
        self.fetch_tries = FETCH_TRIES_MAX;
        self.touched = false;
    }
}

/// The number of a mail that was counted in an earlier life.
const RECALLED: u32 = 0;

/// The newest mails, oldest first, and when the oldest of all that wait came.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    items: Vec<Item>,
    seq: u32,
    since: Option<Time>,
    /// The newest mail that goes first, also if its id is not at hand any more.
    vip: Option<u32>,
}

impl Pending {
    /// Folds one mail in. The oldest kept id gives way.
    pub fn fold(
        &mut self,
        now: Time,
        id: ItemId,
        hash: u64,
        received: UnixMillis,
        details: Option<MailDetails>,
        id_form: IdForm,
    ) {
        self.seq = self.seq.wrapping_add(1);
        if self.items.len() == PENDING_ITEMS_MAX {
            // A recalled mail stays: its notice goes out first.
            let oldest = self.items.iter().position(|item| item.seq != RECALLED).unwrap_or(0);
            self.items.remove(oldest);
        }
        let details = details.map(Box::new);
        let seq = self.seq;
        let (touched, touched_again) = (false, false);
        self.items.push(Item {
            id,
            hash,
            id_form,
            seq,
            received,
            touched,
            touched_again,
            details,
            vip: false,
            fetch_tries: 0,
        });
        self.since = Some(self.since.filter(|_| !planted!(SettleRearmed)).unwrap_or(now));
    }

    /// Puts back a mail that a notice of an earlier life told of, without counting it as new.
    pub fn recall(&mut self, id: ItemId, hash: u64, received: UnixMillis, details: Option<MailDetails>) {
        if self.items.len() < PENDING_ITEMS_MAX && self.find(hash).is_none() {
            let (details, id_form) = (details.map(Box::new), IdForm::Given);
            let seq = RECALLED;
            let (touched, touched_again) = (false, false);
            let (vip, fetch_tries) = (false, 0);
            let item =
                Item { id, hash, id_form, seq, received, touched, touched_again, details, vip, fetch_tries };
            self.items.insert(0, item);
        }
    }

    /// The number of the newest mail.
    pub fn seq(&self) -> u32 {
        self.seq
    }

    /// When the oldest mail that waits came.
    pub fn since(&self) -> Option<Time> {
        self.since
    }

    /// Whether one of those after number `from`, up to number `to`, is VIP mail.
    pub fn has_vip(&self, from: u32, to: u32) -> bool {
        let within = |seq: u32| is_after(seq, from) && !is_after(seq, to);
        let kept = self.items.iter().filter(|item| item.vip).map(|item| item.seq);
        kept.chain(self.vip).any(within)
    }

    /// The mail of this name is VIP mail.
    pub fn set_vip(&mut self, hash: u64) {
        let Some(item) = self.find_mut(hash) else { return };
        item.vip = true;
        let seq = item.seq;
        if seq != RECALLED && self.vip.is_none_or(|newest| is_after(seq, newest)) {
            self.vip = Some(seq);
        }
    }

    /// Everything that waited has been handed on; ids stay for a retry until [`Pending::clear`].
    pub fn mark_told(&mut self) {
        self.since = None;
    }

    /// Something that was handed on came back.
    pub fn mark_waiting(&mut self, since: Time) {
        self.since = Some(self.since.map_or(since, |present| present.min(since)));
    }

    /// Nobody needs the ids any more.
    pub fn clear(&mut self) {
        self.items = Vec::new();
        self.since = None;
        self.vip = None;
    }

    /// The mails whose ids are at hand, oldest first.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// As [`Pending::items`].
    pub fn items_mut(&mut self) -> &mut [Item] {
        &mut self.items
    }

    /// The mail of this name.
    pub fn find(&self, hash: u64) -> Option<&Item> {
        self.items.iter().find(|item| item.is(hash))
    }

    /// The mail of this name.
    pub fn find_mut(&mut self, hash: u64) -> Option<&mut Item> {
        self.items.iter_mut().find(|item| item.is(hash))
    }

    /// Takes the mail of this name out.
    pub fn remove(&mut self, hash: u64) -> Option<Item> {
        let at = self.items.iter().position(|item| item.is(hash))?;
        let item = self.items.remove(at);
        if self.vip == Some(item.seq) {
            self.vip = None;
        }
        Some(item)
    }
}

/// Whether number `a` came after number `b`, in numbers that wrap.
pub fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}
