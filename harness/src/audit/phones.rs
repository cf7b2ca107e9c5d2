//! What the audit keeps of a phone, and the sums over pushes that tell more mails than they list.

use carillon_core::time::{Span, Time};

use super::UserIx;
use crate::phone::Phone;

/// A phone with what it was told.
#[derive(Debug)]
pub(super) struct PhoneRow {
    pub(super) user: UserIx,
    pub(super) phone: Phone,
    /// By the index of the mail in its user's row.
    pub(super) told: Bits,
    /// Mails told by number alone: when, how many.
    pub(super) unlisted: Vec<(Time, u32)>,
    /// When the last push to it left the engine, if that is known: a device has one on its way at a time.
    pub(super) left_at: Option<Time>,
    pub(super) badge: Option<u32>,
    pub(super) badge_at: Time,
    pub(super) unread_at_since: u32,
    /// Mails told by name within [`Audit::reach`](super::Audit), by index: a loss of power may lose that they were.
    pub(super) lately: Vec<(Time, usize)>,
    /// Mails that may be told once more, by index: the power failed right after they were.
    pub(super) again: Vec<usize>,
    /// Mails that lawfully were told once more: they may stand on the screen in two places, unless both tell of them alone
    /// and with details.
    pub(super) twice: Vec<u64>,
    /// As `unlisted`, of pushes right before the power failed: their mails may be told once more.
    pub(super) unlisted_again: Vec<(Time, u32)>,
    /// Mails whose push was refused for what it was, by index.
    pub(super) excused: Vec<usize>,
    /// As `unlisted`, of pushes that were refused so.
    pub(super) unlisted_excused: Vec<(Time, u32)>,
    /// The power failed, or a badge was refused, and the engine may not know which badge it sent last.
    pub(super) badge_unsure: bool,
    /// From when to when what was put down is forgotten, as a kill took it.
    pub(super) forgotten: Vec<(Time, Time)>,
}

/// A set of small numbers; the first 64 need no allocation.
#[derive(Debug, Default)]
pub(super) struct Bits {
    first: u64,
    more: Vec<u64>,
}

impl PhoneRow {
    pub(super) fn new(user: UserIx, phone: Phone, unread_at_since: u32) -> PhoneRow {
        PhoneRow {
            user,
            badge_at: phone.since,
            phone,
            told: Bits::default(),
            unlisted: Vec::new(),
            left_at: None,
            badge: None,
            unread_at_since,
            lately: Vec::new(),
            again: Vec::new(),
            twice: Vec::new(),
            unlisted_again: Vec::new(),
            excused: Vec::new(),
            unlisted_excused: Vec::new(),
            badge_unsure: false,
            forgotten: Vec::new(),
        }
    }

    pub(super) fn note_told(&mut self, at: Time, index: usize, reach: Span) {
        self.lately.retain(|(told, _)| *told + reach >= at);
        self.lately.push((at, index));
    }

    /// The engine was told to forget what it told of these mails, which came after `from`.
    pub(super) fn forgotten(&mut self, from: Time, mails: std::ops::Range<usize>) {
        let told = mails.filter(|index| self.told.has(*index));
        self.again.extend(told);
        let recent = self.unlisted.extract_if(.., |(told, _)| *told >= from);
        self.unlisted_again.extend(recent);
    }

    /// What was told after `from` may be told once more.
    pub(super) fn power_failed(&mut self, from: Time) {
        let lost = self.lately.extract_if(.., |(told, _)| *told >= from);
        self.again.extend(lost.map(|(_, index)| index));
        let recent = self.unlisted.extract_if(.., |(told, _)| *told >= from);
        self.unlisted_again.extend(recent);
        self.badge_unsure = true;
    }

    /// A kill took what was put down from `from` to `to`: what was told since may be told once more, and what was on its way
    /// when it happened, too.
    pub(super) fn killed(&mut self, from: Time, to: Time) {
        self.power_failed(from);
        self.forgotten.push((from, to));
    }

    /// Whether the engine may have forgotten a notice that it put down then.
    pub(super) fn may_be_forgotten(&self, put_down: Time) -> bool {
        self.forgotten.iter().any(|(from, to)| (*from..=*to).contains(&put_down))
    }
}

impl Bits {
    /// True: it was not in there before.
    pub(super) fn set(&mut self, index: usize) -> bool {
        let (word, bit) = (index / 64, 1 << (index % 64));
        if word > self.more.len() {
            self.more.resize(word, 0);
        }
        let word = if word == 0 { &mut self.first } else { &mut self.more[word - 1] };
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    pub(super) fn has(&self, index: usize) -> bool {
        let (word, bit) = (index / 64, 1 << (index % 64));
        let word = if word == 0 { Some(&self.first) } else { self.more.get(word - 1) };
        word.is_some_and(|word| word & bit != 0)
    }
}

/// How many of the mails that arrived at `arrivals` (in order) can have been told by these numbers. A mail can be told
/// only after it arrived; since the mails that an earlier push can tell are among those of a later one, taking them in
/// order gives the most.
pub(super) fn matched(unlisted: &[(Time, u32)], arrivals: &[Time]) -> u32 {
    let mut sorted = unlisted.to_vec();
    sorted.sort_unstable();
    let mut told = 0;
    for (at, n) in sorted {
        let there = arrivals.partition_point(|arrival| *arrival <= at) as u32;
        told += n.min(there - told);
    }
    told
}

/// How many mails these numbers tell beyond those that there were to tell.
pub(super) fn excess(unlisted: &[(Time, u32)], arrivals: &[Time]) -> u32 {
    let total: u32 = unlisted.iter().map(|(_, n)| *n).sum();
    total - matched(unlisted, arrivals)
}
