//! What one device is told next, and how it is worded.
//!
//! [`compose_apns`] turns a [`Notice`] into the bytes of a push. Whether it may carry details of mails is asked twice, on
//! different paths: [`details_allowed`] before composing, and [`carries_details`] of the finished bytes before they
//! enter a lane.

mod apns;
mod fit;
mod json;
mod scan;

use std::fmt;

use crate::limits::{CLOCK_SKEW_MS_MAX, DETAIL_CUTOFF_S_MAX};
use crate::push::PushType;
use crate::time::UnixMillis;

pub(crate) use apns::collapse_by_mail;
pub use apns::compose_apns;
pub use scan::carries_details;

/// Whether alerts for a device whose app was last used at `active` may show details of mails.
///
/// They may for `cutoff_s` seconds (at most [`DETAIL_CUTOFF_S_MAX`] are granted): after exactly that time they may not any
/// more, and with a cut-off of 0 never. An `active` in the future comes from clocks that disagree, or from one
/// that was set back. Up to five minutes of it count as now; a time further ahead says nothing about when the app was
/// used, so nothing is shown until it is used again.
pub fn details_allowed(now: UnixMillis, active: UnixMillis, cutoff_s: u32) -> bool {
    let cutoff_s = cutoff_s.min(DETAIL_CUTOFF_S_MAX) + u32::from(planted!(CutoffBySecond));
    let cutoff_ms = u64::from(cutoff_s) * 1_000;
    if planted!(CutoffByMinutes) {
        return now.millis_since(active) / 60_000 <= cutoff_ms / 60_000;
    }
    active.millis_since(now) <= CLOCK_SKEW_MS_MAX && now.millis_since(active) < cutoff_ms
}

/// What a fetch brought of one mail. Texts are as the mail server gave them; wording and cutting are the composer's work.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MailDetails {
    /// Display name of the sender, or his address where there is none.
    pub sender: Box<str>,
    /// The sender's SMTP address, empty where the server gave none.
    pub sender_address: Box<str>,
    /// The subject.
    pub subject: Box<str>,
    /// The beginning of the text.
    pub preview: Box<str>,
    /// Marked with high importance by the sender.
    pub high_importance: bool,
    /// Encrypted, rights-protected, or sensitivity other than normal: no details leave, whatever the settings.
    pub protected: bool,
    /// Already read.
    pub read: bool,
}

/// What one device is to be told.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// What it says.
    pub text: Text<'a>,
    /// The number on the icon; `None` leaves it as it is.
    pub badge: Option<u32>,
    /// The sound; `None` is silent.
    pub sound: Option<&'a str>,
    /// The mail is important to its reader: the phone may break through a Focus for it (`time-sensitive`).
    pub vip: bool,
    /// Keyed hash of the user's address: groups alerts on the screen, names the account for the app.
    pub account: u64,
    /// The user's own number, whatever his address: alerts without details take each other's place under it.
    pub user: u64,
    /// Keyed hashes of the newest mails told of, newest first; the app finds the mail by it. At most
    /// [`crate::limits::PENDING_ITEMS_MAX`] are sent.
    pub items: &'a [u64],
}

/// What a notice says.
#[derive(Clone, Copy, Debug)]
pub enum Text<'a> {
    /// No alert: the badge alone. Takes no alert off the screen.
    BadgeOnly,
    /// One mail with its details. Worded as [`Text::Generic`] when it is protected; in English when it has no text at all.
    Mail {
        /// What a fetch brought of it.
        mail: &'a MailDetails,
        /// The app has a text for `NEW_MAIL`, where one is needed.
        localized: bool,
    },
    /// One mail without details: past the cut-off, protected, or not wanted.
    Generic {
        /// The app has a text for `NEW_MAIL`; otherwise it is sent in English.
        localized: bool,
    },
    /// Several mails: their number alone. It takes the place of the last such or generic notice on the screen, so the
    /// number should include what that one told of.
    Several {
        /// How many; fewer than two are worded as [`Text::Generic`].
        mails: u32,
        /// The app has a text for `NEW_MAILS`; otherwise it is sent in English.
        localized: bool,
    },
}

impl Text<'_> {
    /// How many mails this tells of.
    pub fn mails(&self) -> u32 {
        match self {
            Text::BadgeOnly => 0,
            Text::Mail { .. } | Text::Generic { .. } => 1,
            Text::Several { mails, .. } => *mails,
        }
    }
}

impl fmt::Debug for MailDetails {
    /// Lengths only: nobody's mail belongs in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailDetails")
            .field("sender_bytes", &self.sender.len())
            .field("subject_bytes", &self.subject.len())
            .field("preview_bytes", &self.preview.len())
            .field("high_importance", &self.high_importance)
            .field("protected", &self.protected)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

/// The headers that belong to a composed payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// `apns-push-type`.
    pub push_type: PushType,
    /// `apns-priority`.
    pub priority: u8,
    /// `apns-collapse-id`: at most 64 bytes, no clear text of the mail.
    pub collapse_id: Box<str>,
    /// Whether the payload carries details, to be checked again before it leaves.
    pub details: bool,
}

#[cfg(test)]
mod tests;
