//! What one device is told next, and how it is worded.

use crate::push::PushType;

/// What a fetch brought of one mail. Texts are as the mail server gave them; wording and cutting are the composer's work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Sender, subject and preview may be shown after the app's own look (`mutable-content`), and VIP mail is
    /// `time-sensitive`.
    pub vip: bool,
    /// Keyed hash of the user: groups alerts on the screen, names the account for the app.
    pub account: u64,
    /// Keyed hashes of the newest mails told of, newest first; the app finds the mail by it.
    pub items: &'a [u64],
}

/// What a notice says.
#[derive(Clone, Copy, Debug)]
pub enum Text<'a> {
    /// No alert: the badge alone.
    BadgeOnly,
    /// One mail with its details.
    Mail(&'a MailDetails),
    /// One mail without details: past the cut-off, protected, or not wanted.
    Generic {
        /// The app has a text for `NEW_MAIL`; otherwise it is sent in English.
        localized: bool,
    },
    /// Several mails: their number alone.
    Several {
        /// How many.
        mails: u32,
        /// The app has a text for `NEW_MAILS`; otherwise it is sent in English.
        localized: bool,
    },
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
