//! Accounts: who may call, with what credential, as whom.

use std::collections::BTreeSet;

use carillon_core::time::{Span, Time, UnixMillis};

use super::mailbox::MailboxKey;
use crate::peer::PeerConn;

/// An account of this organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey(pub u16);

/// What an account is made from. Passwords never show in `Debug`.
#[derive(Clone)]
pub struct Account {
    /// Names under which it logs in, such as `EXAMPLE\carillon` and `carillon@example.com`. Case does not matter.
    pub names: Vec<String>,
    /// Its password for Basic; `None` has no password log-in.
    pub password: Option<String>,
    /// Its bearer tokens.
    pub tokens: Vec<(String, TokenKind, Option<UnixMillis>)>,
    /// A TLS client certificate (DER) that is mapped to it.
    pub certificate: Option<Vec<u8>>,
    /// As whom it may act.
    pub impersonation: ImpersonationRight,
    /// Its own mailbox, if it has one.
    pub mailbox: Option<MailboxKey>,
    /// Mailboxes to which it has full access: as good as their owner.
    pub full_access: BTreeSet<MailboxKey>,
    /// Mailboxes in which it is a delegate: it may read, but not subscribe.
    pub delegate_of: BTreeSet<MailboxKey>,
    /// EWS is allowed for it; otherwise 403.
    pub ews_enabled: bool,
    /// The back end to which the front end sends it when no anchor says better.
    pub back_end: usize,
}

/// What a bearer token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// `full_access_as_app`: impersonation is mandatory.
    AppOnly,
    /// A user's: impersonation only with the right.
    Delegated,
}

/// As whom an account may act (`ApplicationImpersonation`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImpersonationRight {
    /// Every mailbox.
    All,
    /// The mailboxes within a management scope.
    Some(BTreeSet<MailboxKey>),
    /// Nobody.
    None,
}

impl Account {
    /// A service account with a password that may act as everybody.
    pub fn service(name: &str, password: &str) -> Account {
        Account {
            names: vec![name.to_owned()],
            password: Some(password.to_owned()),
            tokens: Vec::new(),
            certificate: None,
            impersonation: ImpersonationRight::All,
            mailbox: None,
            full_access: BTreeSet::new(),
            delegate_of: BTreeSet::new(),
            ews_enabled: true,
            back_end: 0,
        }
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("names", &self.names)
            .field("impersonation", &self.impersonation)
            .finish()
    }
}

/// An account with what the server remembers of it.
#[derive(Debug)]
pub(super) struct AccountRow {
    pub spec: Account,
    /// The password before the present one, while it is still taken.
    pub earlier_password: Option<String>,
    /// Wrong passwords in a row.
    pub failures: u32,
    pub locked: bool,
}

/// Who a request is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub account: AccountKey,
    /// An app-only token must say as whom.
    pub must_impersonate: bool,
}

/// A credential that was refused: it must rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub first: Time,
    pub last: Time,
    /// Tries of one that was taken before, since then: such a one need not rest long at first.
    pub soon: usize,
    /// On which connection it was said last.
    pub by: PeerConn,
}

/// The least rests of a credential that was taken before, until one of the usual length.
pub(super) const SOON: [Span; 2] = [Span::from_secs(5), Span::from_secs(15)];

/// Directories lock an account after so many wrong log-ins; whatever is refused, nobody may get there.
pub(super) const REFUSALS_MAX: u32 = 10;

impl Account {
    /// Whether it may read a mailbox as itself.
    pub(super) fn may_read(&self, mailbox: MailboxKey) -> bool {
        self.may_subscribe(mailbox) || self.delegate_of.contains(&mailbox)
    }

    /// Whether it may subscribe to a mailbox as itself: only an owner may, or who has an owner's access (Microsoft:
    /// "ResponseCode", `ErrorSubscriptionDelegateAccessNotSupported`).
    pub(super) fn may_subscribe(&self, mailbox: MailboxKey) -> bool {
        self.mailbox == Some(mailbox) || self.full_access.contains(&mailbox)
    }
}

impl ImpersonationRight {
    pub(super) fn covers(&self, mailbox: MailboxKey) -> bool {
        match self {
            ImpersonationRight::All => true,
            ImpersonationRight::Some(set) => set.contains(&mailbox),
            ImpersonationRight::None => false,
        }
    }
}
