//! What a caller does about an error.

/// What to do about an [`super::EwsError`]. "Alive" and "gone" speak of the subscriptions that it is about.
///
/// Source: the tables of Subscribe and GetStreamingEvents errors that [`super::ResponseCode`] is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Gone: subscribe anew with back-off, then catch up.
    Resubscribe,
    /// Alive, the connection too: catch up now. If it repeats within ten minutes, subscribe anew.
    CatchUp,
    /// Gone or out of reach: drop the cohort's cookies, discover the mailbox's server anew, subscribe and catch up.
    Rediscover,
    /// Gone: as [`Action::Rediscover`], from [`STORE_RETRY_MS`], doubling to [`MOVE_RETRY_MS`], until it works. The grouping
    /// may have changed.
    AwaitMove,
    /// Take them for gone: back off from [`STORE_RETRY_MS`], doubling to [`MOVE_RETRY_MS`], then as [`Action::AwaitMove`].
    AwaitStore,
    /// Alive: back off from [`RETRY_MS`], doubling to [`MOVE_RETRY_MS`], of which the upper half is drawn by chance, at
    /// least [`super::EwsError::back_off_ms`]; then the same again.
    RetryConnection,
    /// Nobody knows: as [`Action::RetryConnection`]; after three in a row halve the list of ids to find the one that
    /// does it, and subscribe that one anew.
    RetryOrBisect,
    /// Alive: nothing at all on this budget for `ms`, then at half the rate.
    BackOffAccount {
        /// What the server asks for, or [`BACK_OFF_DEFAULT_MS`].
        ms: u64,
    },
    /// Alive: close connections that are not needed, wait `ms`, let another mailbox be the anchor.
    FewerConnections {
        /// What the server asks for, or [`CONNECTIONS_WAIT_MS`].
        ms: u64,
    },
    /// Wait, and try slowly. What is known and not used needs no looking for: whatever is dropped while it may be alive is
    /// unsubscribed at once.
    FewerSubscriptions,
    /// The chosen folder is gone: subscribe to the others.
    DropFolder,
    /// The state of a synchronisation is of no use any more: begin without one, and tell nothing twice.
    StartOver,
    /// The address is no mailbox (any more): discover it anew once, and look for it more and more slowly, in the end daily.
    MailboxGone,
    /// Alive, but a permission is missing, or so it seems for a moment: tell a person, back off from [`RETRY_MS`] to tens of
    /// minutes. When mailboxes that have worked say so, too, stop the account and probe with one.
    Alarm,
    /// Nothing helps but a change by a person, most likely: back off from [`RETRY_MS`] to an hour.
    Terminal,
    /// The credential is refused: stop everything that uses it. If it has worked, try it a few times more; then wait until
    /// there is another one. Trying on locks accounts.
    AuthFailed,
    /// The server does not offer any way of logging on that we have: tell a person, try one call every few minutes. No
    /// password was looked at, so no account gets locked.
    NoCommonAuth,
    /// Back off from [`RETRY_MS`] to an hour; report. But a server that does not know a version's name may say so too (only
    /// `ErrorSchemaValidation` and `ErrorInvalidRequest`): as long as nothing has succeeded in that version, as
    /// [`Action::LowerVersion`].
    OurBug,
    /// Alive, on another connection: make sure that this mailbox is still ours before opening again.
    StepAside,
    /// Ask again with the next lower [`super::SchemaVersion`], and remember that for this server; at the lowest, as
    /// [`Action::OurBug`].
    LowerVersion,
    /// This mail is no longer there: do not tell of it.
    ItemGone,
    /// This mail cannot be read: tell of it without details.
    ItemUnreadable,
    /// This mail was not looked at: ask for it again.
    RetryItem,
    /// This id has an old format: convert it ([`super::request::convert_id`]) and ask once more.
    ConvertId,
}

/// First pause of an exponential back-off towards a server.
pub const RETRY_MS: u64 = 5_000;
/// Longest pause of a back-off, and the pace at which a mailbox on its way is tried.
pub const MOVE_RETRY_MS: u64 = 300_000;
/// First pause when a mailbox's database is not available.
pub const STORE_RETRY_MS: u64 = 10_000;
/// Pause after `ErrorServerBusy` without `BackOffMilliseconds`.
pub const BACK_OFF_DEFAULT_MS: u64 = 60_000;
/// Pause after `ErrorExceededConnectionCount` without `BackOffMilliseconds`.
pub const CONNECTIONS_WAIT_MS: u64 = 30_000;
