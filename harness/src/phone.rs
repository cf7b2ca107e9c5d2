//! The reference of one user's phones, on one page: what arrived, what was read, when the app was used, and what each
//! phone has to show for it.
//!
//! It knows nothing of settling, lanes or retries. Where two things cross (a mail is read while its notice is on the
//! way) it says *may*: either is right. How long things may take to cross is in [`Rules`].

#[cfg(test)]
mod tests;

use carillon_core::time::{Now, Span, Time, UnixMillis};

/// How long things may take, and the cut-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Without use of the app for so long, notices tell no details.
    pub detail_cutoff: Span,
    /// The longest that a mail may lawfully wait to be told: settling, interval, and the outages that the run has
    /// planned. A mail read sooner than that need not be told.
    pub wait_max: Span,
    /// How long news of reading, stopping, registering and removing may take to overtake a push on its way.
    pub crossing_max: Span,
    /// How long a notice may wait for a look whether its mails are still there, before it goes out without.
    pub look_max: Span,
    /// By how much a mail server's clock is set in the run, at most. Its mails are stamped by it: which ones came before a
    /// registration in a time so long before it, and which ones after, nobody can know.
    pub clock_set_max: Span,
    /// How long a push with details may take from the last check of the cut-off to where it is seen to leave.
    pub transit_max: Span,
}

/// A mail in a folder that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Keyed hash of the id that it came with.
    pub item: u64,
    /// When it arrived.
    pub at: Time,
    /// When it was first read, deleted or moved out of what is watched; [`Time::NEVER`] while it is new.
    pub gone: Time,
    /// Nobody has read it.
    pub unread: bool,
    /// It lies where the badge counts.
    pub counts: bool,
    /// It was moved here, perhaps unheard: whether it is new or was told under an earlier id nobody can know.
    pub moved_in: bool,
}

/// The time in which nothing was to reach a phone, or nobody watched for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// From.
    pub from: Time,
    /// To; [`Time::NEVER`] while stopped.
    pub to: Time,
}

/// A mailbox's owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// New mails, in the order of their arrival.
    pub mails: Vec<Mail>,
    /// Unread mails from before.
    pub unread_before: u32,
    /// Times in which the engine had been told to forget him, in order; at most the last is open.
    pub absences: Vec<Stop>,
}

/// One registered phone of his.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone {
    /// First registered.
    pub since: Time,
    /// Registered for the present stay, after it had been gone. Mails from before may have been told to the earlier stay,
    /// or wait and be told to this one: the engine need not have heard that the phone was gone.
    pub present_since: Time,
    /// Removed, or its token is gone; [`Time::NEVER`] while neither.
    pub until: Time,
    /// When the app was last used.
    pub active: UnixMillis,
    /// What its user wanted, each from when, in order.
    pub wants: Vec<(Time, Wants)>,
    /// Times from a stop of its user to its own next registration, in order; at most the last is open.
    pub stops: Vec<Stop>,
}

/// What the user of a phone wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Alerts for new mail.
    pub alerts: bool,
    /// Sender, subject, preview.
    pub details: bool,
    /// The number on the icon.
    pub badge: bool,
    /// A sound with each alert.
    pub sound: bool,
    /// Texts by the keys of the app; otherwise in English.
    pub localized: bool,
}

/// Whether a phone is to be told of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Not telling is a loss.
    Must,
    /// Either is right.
    May,
    /// Telling is wrong.
    MustNot,
}

impl Default for Wants {
    fn default() -> Wants {
        Wants { alerts: true, details: true, badge: true, sound: true, localized: true }
    }
}

impl User {
    /// What the badge is to be.
    pub fn unread(&self) -> u32 {
        self.unread_before + self.mails.iter().filter(|mail| mail.unread && mail.counts).count() as u32
    }

    /// Whether a mail of that moment came while nobody watched for him.
    fn surely_absent(&self, at: Time, rules: &Rules) -> bool {
        let (crossing, doubt) = (rules.crossing_max, rules.crossing_max + rules.clock_set_max);
        self.absences.iter().any(|absence| absence.from + crossing < at && at + doubt < absence.to)
    }
}

impl Phone {
    /// Whether it was stopped at `at`, for longer than a change takes to be heard of.
    pub fn surely_stopped(&self, at: Time, rules: &Rules) -> bool {
        self.stops.iter().any(|stop| stop.from + rules.crossing_max < at && at < stop.to)
    }

    /// Whether some of `from..to` may have been under a stop.
    fn perhaps_stopped(&self, from: Time, to: Time, rules: &Rules) -> bool {
        self.stops.iter().any(|stop| stop.from <= to && from <= stop.to + rules.crossing_max)
    }

    /// Whether this phone is to be told of `mail`, all things considered that have happened so far.
    pub fn duty(&self, mail: &Mail, user: &User, rules: &Rules) -> Duty {
        let wait_end = mail.at + rules.wait_max;
        let before = mail.at + rules.crossing_max + rules.clock_set_max < self.since;
        let after = self.until + rules.crossing_max < mail.at;
        let silent = self.silent_since().is_some_and(|from| from + rules.crossing_max < mail.at);
        if before || after || silent || user.surely_absent(mail.at, rules) {
            Duty::MustNot
        } else if mail.at < self.present_since + rules.crossing_max
            || self.until <= wait_end
            || mail.gone <= wait_end
            || mail.moved_in
            || self.wanted(mail.at, wait_end + rules.crossing_max).any(|wants| !wants.alerts)
            || self.perhaps_stopped(mail.at, wait_end, rules)
        {
            Duty::May
        } else {
            Duty::Must
        }
    }

    /// Whether a push that leaves at `at` may tell details.
    pub fn details_allowed(&self, at: Now, rules: &Rules) -> bool {
        let unused_ms = at.unix.millis_since(self.active);
        self.wanted(at.time, at.time).any(|wants| wants.details)
            && unused_ms < (rules.detail_cutoff + rules.transit_max).as_millis()
    }

    /// What its user wanted at some time of `from..=to`. A change and what happens in the same moment can have come in
    /// either order.
    pub fn wanted(&self, from: Time, to: Time) -> impl Iterator<Item = Wants> {
        let ends = self.wants.iter().skip(1).map(|(at, _)| *at).chain([Time::NEVER]);
        let spans = self.wants.iter().zip(ends);
        spans.filter(move |((begin, _), end)| *begin <= to && from <= *end).map(|((_, wants), _)| *wants)
    }

    /// What its user wants by now.
    pub fn wants(&self) -> Wants {
        self.wants.last().map_or_else(Wants::default, |(_, wants)| *wants)
    }

    /// Since when it wants no alerts; `None` if it does.
    fn silent_since(&self) -> Option<Time> {
        let silent = self.wants.iter().rev().take_while(|(_, wants)| !wants.alerts);
        silent.last().map(|(from, _)| *from)
    }
}
