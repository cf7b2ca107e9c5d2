//! A user's row.

use super::{DeviceId, Folder, Known, Pending, Setback};
use crate::limits::VIP_ALERTS_MAX;
use crate::names::{SmtpAddress, SubscriptionId, UserKey};
use crate::shard::{CohortId, MailServerId, VipRules};
use crate::time::{Span, Time};
use crate::wheel::TimerSlot;

/// One mailbox owner.
#[derive(Debug)]
pub struct User {
    /// His stable id.
    pub key: UserKey,
    /// His mailbox's address.
    pub address: SmtpAddress,
    /// His name in payloads ([`super::item_hash`] of the address).
    pub account: u64,
    /// Where his mailbox is.
    pub server: Option<MailServerId>,
    /// The streaming connection that he shares.
    pub cohort: Option<CohortId>,
    /// His live subscription.
    pub subscription: Option<SubscriptionId>,
    /// His subscription is on the cohort's open stream.
    pub streaming: bool,
    /// Another stream has taken over, and the one before has not ended yet: what it was to bring may be lost with it.
    pub overlap: bool,
    /// Told to the owner: watched, and caught up.
    pub live: bool,
    /// Whether it is looked into without a stream.
    pub polling: Polling,
    /// Which mails go first.
    pub vip: VipRules,
    /// All of the devices are stopped, and there is one.
    pub stopped: bool,
    /// Calls to the mail server that must still be made for him.
    pub needs: Needs,
    /// The one call for him that is waited for.
    pub calling: Calling,
    /// Refused calls in a row, for their back-off.
    pub call_failures: u8,
    /// The last call for the mailbox was slow: further ones wait where they keep no others.
    pub slow: bool,
    /// No call for him before.
    pub call_not_before: Time,
    /// What keeps going wrong with the mailbox.
    pub setback: Option<Box<Setback>>,
    /// His subscription brought events of other folders than his own, and none of his own since.
    pub doubted: bool,
    /// Another owner took the mailbox's events over: nothing is asked for it until it is known to be ours again.
    pub aside: bool,
    /// What is watched beside the inbox.
    pub folders: Box<[Folder]>,
    /// Counts what has been watched for him, mailboxes and choices of folders: an answer about an earlier one is none about
    /// this.
    pub watch: u8,
    /// One of them is refused, and only a look at all tells which.
    pub folders_doubtful: bool,
    /// No look tells which: they are subscribed to one after the other.
    pub folders_on_trial: bool,
    /// The folder at which a catch-up stands: 0 is the inbox, then those of `folders`.
    pub catch_up_at: u8,
    /// Where a catch-up that needs several pages goes on: mails (by date) or pages (by state) seen of this folder.
    pub catch_up_offset: u32,
    /// Of these mails, how many are dated in the future.
    pub catch_up_future: u32,
    /// Nobody has looked through the whole mailbox yet: what lies there may be older than it says.
    pub first_look: bool,
    /// This catch-up asks for ids and dates alone: with what an alert shows, a page could not be read.
    pub ids_alone: bool,
    /// Mails are fetched one by one: several at once could not be read.
    pub fetch_alone: bool,
    /// What could not be read when it was last asked for.
    pub unreadable: Unreadable,
    /// A look into a folder is on its way: what happens now it may not have seen.
    pub looking: bool,
    /// Something more was missed while a catch-up was on its way: another one follows.
    pub look_again: bool,
    /// Up to where the inbox was synchronised.
    pub sync: Option<Box<str>>,
    /// The present states have not been stored.
    pub sync_unsaved: bool,
    /// Hash of the inbox's folder id: what is told of other folders than the mailbox's own is not told of this mailbox.
    pub inbox: Option<u64>,
    /// What the badge is to be: unread mails in the inbox, or in all watched folders.
    pub unread: Option<u32>,
    /// Unread mails in the inbox.
    pub inbox_unread: Option<u32>,
    /// When an event last told it.
    pub unread_heard: Option<Time>,
    /// When folders are to be counted, as events may have told old counts.
    pub recount_at: Option<Time>,
    /// Mails dealt with.
    pub known: Known,
    /// Mails that wait.
    pub pending: Pending,
    /// His phones.
    pub devices: Vec<DeviceId>,
    /// When the badge of some device began to differ.
    pub badge_since: Option<Time>,
    /// Tokens of the devices that the provider did not know, since another one of them was seen to be good.
    pub tokens_refused: u8,
    /// When the next of those that may not be good is tried.
    pub token_try_at: Time,
    /// Pushes on their way to his devices: a next round waits for all of them.
    pub flights: u8,
    /// When he was last told of mail.
    pub told_at: Option<Time>,
    /// When he was last told a badge alone.
    pub badge_told_at: Option<Time>,
    /// When VIP mail would have its full bucket again ([`User::vip_from`]).
    pub vip_full_at: Time,
    /// When he is to be told next.
    pub due: Option<Time>,
    /// His one timer: `due`, or the end of a call's back-off.
    pub timer: TimerSlot,
    /// He stands in the ready ring: at most once.
    pub queued: bool,
}

impl User {
    /// Something may have happened that no event told of, or will tell of.
    pub fn miss(&mut self) {
        self.look_again |= self.looking || self.catch_up_at > 0 || self.catch_up_offset > 0;
        self.needs.add(Needs::CATCH_UP);
    }

    /// Whether older mails may be there of which no event has told.
    pub fn has_gap(&self) -> bool {
        // A folder that is left out for now was not looked into: what lies there is not known.
        self.overlap
            || self.needs.has(Needs::CATCH_UP)
            || self.folders.iter().any(|folder| folder.held && !folder.gone)
    }

    /// Whether it takes a look at a mail to know that it goes first.
    pub fn looks_for_vip(&self) -> bool {
        !self.vip.is_empty() && self.server.is_some()
    }

    /// From when on VIP mail may be told without regard to the interval: [`VIP_ALERTS_MAX`] times at once, then one for each
    /// interval. Whoever sends a mail can make it VIP mail, and ring a phone that was told not to be disturbed.
    pub fn vip_from(&self, interval: Span) -> Time {
        Time(self.vip_full_at.0.saturating_sub(interval.0 * (VIP_ALERTS_MAX - 1)))
    }

    /// VIP mail is told.
    pub fn note_vip_told(&mut self, now: Time, interval: Span) {
        self.vip_full_at = self.vip_full_at.max(now) + interval;
    }

    /// Every mail that waited has been dealt with.
    pub fn settle_known(&mut self) {
        self.known.settle(self.has_gap());
    }
}

/// A user's call to a mail server: one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calling {
    /// None.
    No,
    /// He stands in a queue of his mail server. Places in other queues, and second ones in this, do not count.
    Waits,
    /// It is on its way.
    Out,
}

/// What of a mailbox could not be read: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unreadable(u8);

impl Unreadable {
    /// The last mail that was fetched.
    pub const MAIL: Unreadable = Unreadable(1);
    /// A page of the last catch-up.
    pub const PAGE: Unreadable = Unreadable(2);

    /// Whether everything could be read.
    pub const fn is_nothing(self) -> bool {
        self.0 == 0
    }

    /// Also this.
    #[must_use]
    pub const fn with(self, other: Unreadable) -> Unreadable {
        Unreadable(self.0 | other.0)
    }

    /// Not this any more.
    #[must_use]
    pub const fn without(self, other: Unreadable) -> Unreadable {
        Unreadable(self.0 & !other.0)
    }
}

/// How a mailbox is doing of which no stream tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// A stream tells, or nothing does.
    No,
    /// It was looked into since a stream last told.
    Looked,
    /// And the owner knows.
    Told,
}

/// Calls that must be made for a user: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(u8);

impl Needs {
    /// Subscribe.
    pub const SUBSCRIBE: Needs = Needs(1);
    /// Fetch details of waiting mails, now.
    pub const FETCH: Needs = Needs(2);
    /// Look for mails that no event told of.
    pub const CATCH_UP: Needs = Needs(4);
    /// Ask for the unread count.
    pub const BADGE: Needs = Needs(8);

    /// The catch-up that is needed does not wait for a stream: another one follows when there is one.
    pub const LOOK: Needs = Needs(16);

    /// None.
    pub const fn none() -> Needs {
        Needs(0)
    }

    /// Whether all of `other` are in the set.
    pub const fn has(self, other: Needs) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds.
    pub fn add(&mut self, other: Needs) {
        self.0 |= other.0;
    }

    /// Takes out.
    pub fn remove(&mut self, other: Needs) {
        self.0 &= !other.0;
    }
}
