//! Streaming subscriptions: they live on one back end, belong to one account, and keep a queue while nobody reads.

use std::collections::VecDeque;

use carillon_core::time::{Span, Time, UnixMillis};

use super::account::AccountKey;
use super::budget::BudgetKey;
use super::code::Code;
use super::event::{Event, EventMask};
use super::mailbox::{FolderKey, MailboxKey};

#[derive(Debug)]
pub(super) struct Subscription {
    pub id: Box<str>,
    pub owner: AccountKey,
    /// What its place is charged to.
    pub budget: BudgetKey,
    pub mailbox: MailboxKey,
    /// `None`: all folders.
    pub folders: Option<Vec<FolderKey>>,
    pub events: EventMask,
    pub back_end: usize,
    /// `X-AnchorMailbox` of the call that made it.
    pub anchor: Option<Box<str>>,
    pub stream: Option<u64>,
    pub detached: Time,
    pub queue: VecDeque<Event>,
    /// The queue overflowed: the reader is told before anything else.
    pub missed: bool,
    /// It never yields anything (`Faults::primary_smtp_is_mute`).
    pub mute: bool,
    /// A stream of another owner reads it.
    pub taken: bool,
    /// It stands in its stream's list of subscriptions with news.
    pub pending: bool,
    /// What the next stream that names it is told (a planned fault).
    pub doomed: Option<Code>,
    /// What every stream that names it is refused with (a planned fault).
    pub poison: Option<Code>,
}

impl Subscription {
    /// One that has no id yet, watches all folders and is told nothing of them.
    pub(super) fn new(owner: AccountKey, budget: BudgetKey, mailbox: MailboxKey) -> Subscription {
        Subscription {
            id: "".into(),
            owner,
            budget,
            mailbox,
            folders: None,
            events: EventMask(0),
            back_end: 0,
            anchor: None,
            stream: None,
            detached: Time(0),
            queue: VecDeque::new(),
            missed: false,
            mute: false,
            taken: false,
            pending: false,
            doomed: None,
            poison: None,
        }
    }

    /// Whether `event` is for it.
    pub(super) fn wants(&self, event: &Event) -> bool {
        let watched = |folder: FolderKey| self.folders.as_ref().is_none_or(|list| list.contains(&folder));
        let (folder, old) = event.kind.folders();
        !self.mute
            && !self.taken
            && event.kind.is_in(self.events)
            && (watched(folder) || old.is_some_and(watched))
    }

    /// Takes an event in, or forgets everything when there is too much.
    pub(super) fn push(&mut self, event: Event, events_max: usize) {
        if self.queue.len() >= events_max {
            self.queue.clear();
            self.missed = true;
        }
        self.queue.push_back(event);
    }

    /// Forgets events that are too old. How many.
    pub(super) fn drop_older(&mut self, now: UnixMillis, age_max: Span) -> u64 {
        let before = self.queue.len();
        self.queue.retain(|event| now.0.saturating_sub(event.at.0) <= age_max.as_millis());
        (before - self.queue.len()) as u64
    }

    /// Whether its reader is to be told something.
    pub(super) fn has_news(&self) -> bool {
        self.missed || !self.queue.is_empty()
    }
}
