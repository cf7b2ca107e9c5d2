//! What any mail source tells the engine. Never an EWS or Graph type: those end at their own folder's border.

use crate::names::ItemId;
use crate::time::UnixMillis;

/// "This mailbox changed."
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailSignal {
    /// A mail arrived in a watched folder.
    NewMail {
        /// Its id at the mail server.
        item: ItemId,
        /// When the mail server says that it arrived.
        received: UnixMillis,
        /// What the source already knows to be important; shortens the wait.
        vip: bool,
    },
    /// A mail was read, deleted or moved away before or after it was told.
    Gone {
        /// Its id at the mail server.
        item: ItemId,
    },
    /// A mail's own properties changed (read or unread, flagged): only a look at it tells which.
    Touched {
        /// Its id at the mail server.
        item: ItemId,
    },
    /// The number of unread mails in the inbox is now this.
    Unread {
        /// Absolute number.
        count: u32,
    },
    /// Something may have been missed: look (catch-up).
    Gap,
}
