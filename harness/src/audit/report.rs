//! What the audit found.

use carillon_core::time::Time;

use super::{PhoneIx, UserIx};

/// The verdict. Everything that is a [`Finding`] ought to be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Users.
    pub users: u64,
    /// Phones, those that went included.
    pub phones: u64,
    /// Mails that arrived.
    pub mails: u64,
    /// Pairs of mail and phone that had to be told.
    pub tellings_owed: u64,
    /// Tellings that named the mail.
    pub told_by_name: u64,
    /// Tellings by number alone ("5 new mails", of which some are named).
    pub told_by_number: u64,
    /// Pushes accepted, those that came again included.
    pub pushes: u64,
    /// Pushes that came again under their old `apns-id`, which the provider recognised.
    pub duplicates_recognised: u64,
    /// Alerts with details.
    pub details: u64,
    /// Alerts without details, past the cut-off or where no details are wanted.
    pub generic: u64,
    /// Alerts without details although the app was in use and wants them: right for protected mail and when a fetch
    /// failed.
    pub generic_within_cutoff: u64,
    /// Alerts that tell a number.
    pub several: u64,
    /// Pushes without alert.
    pub badge_only: u64,
    /// Phones whose badge was compared at the end.
    pub badges_checked: u64,
    /// Mails that a phone should have been told of and was not.
    pub lost: Finding,
    /// Mails told to a phone twice.
    pub duplicates: Finding,
    /// Details of a mail on a phone whose app was not used for the cut-off, or that wants none.
    pub details_after_cutoff: Finding,
    /// Phones whose last badge is not the number of unread mails.
    pub wrong_badges: Finding,
    /// Mails told that had been read or deleted long enough before. Not always a fault: a stream may have been down.
    pub told_after_gone: Finding,
    /// Pushes to a phone that had not registered since its user was stopped.
    pub told_after_stop: Finding,
    /// Pushes to a phone that was removed.
    pub told_after_removal: Finding,
    /// Mails told to a phone that had not registered when they came; alerts, badges, sounds and texts other than its user
    /// wants them.
    pub told_unwanted: Finding,
    /// Mails that stand on a screen in two places ([`super::Audit::check_screen`]).
    pub shown_twice: Finding,
    /// Mails of somebody else, or of nobody.
    pub foreign: Finding,
    /// Alerts that name another account than their user's, or stand under another one.
    pub wrong_account: Finding,
    /// Alerts for VIP mail that do not break through a Focus, and others that do.
    pub wrong_level: Finding,
    /// Payloads that contradict themselves.
    pub malformed: Finding,
}

/// One kind of fault: how often, and the first few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// How often.
    pub count: u64,
    /// At most [`EXAMPLES_MAX`].
    pub examples: Vec<Example>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Whose.
    pub user: Option<UserIx>,
    /// Which phone.
    pub phone: PhoneIx,
    /// Which mail.
    pub item: Option<u64>,
    /// When; of a lost mail, its arrival.
    pub at: Time,
    /// What happened.
    pub note: Box<str>,
}

/// Cases kept of each kind.
pub const EXAMPLES_MAX: usize = 8;

impl Finding {
    pub(super) fn note(
        &mut self,
        user: Option<UserIx>,
        phone: PhoneIx,
        item: Option<u64>,
        at: Time,
        note: &str,
    ) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(Example { user, phone, item, at, note: note.into() });
        }
    }
}

impl AuditReport {
    /// Every kind of fault with its name, the worst first: one user's mail on another's phone.
    pub fn findings(&self) -> [(&'static str, &Finding); 13] {
        [
            ("foreign", &self.foreign),
            ("lost", &self.lost),
            ("duplicates", &self.duplicates),
            ("details_after_cutoff", &self.details_after_cutoff),
            ("wrong_badges", &self.wrong_badges),
            ("told_after_gone", &self.told_after_gone),
            ("told_after_stop", &self.told_after_stop),
            ("told_after_removal", &self.told_after_removal),
            ("told_unwanted", &self.told_unwanted),
            ("shown_twice", &self.shown_twice),
            ("wrong_account", &self.wrong_account),
            ("wrong_level", &self.wrong_level),
            ("malformed", &self.malformed),
        ]
    }

    /// Whether nothing at all was found.
    pub fn is_clean(&self) -> bool {
        self.findings().iter().all(|(_, finding)| finding.count == 0)
    }
}
