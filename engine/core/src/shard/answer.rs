//! What the answer to a call says, before anybody acts on it.

use super::CatchUp;
use super::server::{Ask, Behind};
use crate::ews::{Action, EwsError, FetchedItem, FolderCounts, FoundPage, SyncPage, response};
use crate::names::{ItemId, SubscriptionId};

/// The answer to what was asked for a user.
pub(super) enum Answer<'a> {
    /// Made on this way.
    Subscription(Option<&'a Behind>, SubscriptionId),
    /// To the mails that were asked for, in order.
    Mails(&'a [u64], Vec<Result<FetchedItem, EwsError>>),
    /// As [`Answer::Mails`].
    Ids(&'a [u64], Vec<Result<ItemId, EwsError>>),
    Found(FoundPage),
    Changes(SyncPage),
    Counts(Vec<Result<FolderCounts, EwsError>>),
}

impl<'a> Answer<'a> {
    /// # Errors
    /// The server refused, or said nothing that can be read.
    pub(super) fn read(ask: &'a Ask, catch_up: CatchUp, body: &[u8]) -> Result<Answer<'a>, EwsError> {
        Ok(match ask {
            Ask::Subscribe(behind) => Answer::Subscription(behind.as_ref(), response::subscribe(body)?),
            Ask::Fetch(asked) => Answer::Mails(asked, response::get_item(body)?),
            Ask::Convert(asked) => Answer::Ids(asked, response::convert_id(body)?),
            Ask::CatchUp { .. } => match catch_up {
                CatchUp::Find => Answer::Found(response::find_item(body)?),
                CatchUp::Sync => Answer::Changes(response::sync_folder_items(body)?),
            },
            Ask::Badge => Answer::Counts(response::get_folders(body)?),
        })
    }
}

/// Whether an answer brings texts that are shown to people.
pub(super) fn brings_texts(ask: &Ask, catch_up: CatchUp) -> bool {
    match ask {
        Ask::Fetch(_) => true,
        Ask::CatchUp { ids_alone } => catch_up == CatchUp::Find && !ids_alone,
        Ask::Subscribe(_) | Ask::Convert(_) | Ask::Badge => false,
    }
}

/// Where and why the server gave a batch up, if it was for more than one mail's sake: every answer is the same refusal of
/// the call, or there is one behind which nothing was looked at.
pub(super) fn batch_stop<T>(items: &[Result<T, EwsError>], asked: usize) -> Option<(usize, EwsError)> {
    let refusal = |item: &Result<T, EwsError>| match item {
        Err(error) if !is_of_one_mail(error.action()) => Some(error.clone()),
        Ok(_) | Err(_) => None,
    };
    let (at, error) = items.iter().enumerate().find_map(|(at, item)| Some((at, refusal(item)?)))?;
    let behind = &items[at + 1..];
    let alike = |item: &Result<T, EwsError>| item.as_ref().is_err_and(|one| one.code == error.code);
    let passed_over = behind.iter().all(|item| !was_looked_at(item)) && at + 1 < asked;
    let whole = at == 0 && behind.iter().all(|item| alike(item) || !was_looked_at(item));
    (whole || passed_over).then_some((at, error))
}

/// Whether this answer of a batch says anything of what was asked for, or that the server stopped before.
pub(super) fn was_looked_at<T>(answer: &Result<T, EwsError>) -> bool {
    answer.as_ref().map_or_else(|error| error.action() != Action::RetryItem, |_| true)
}

/// Whether a refusal among the answers of a batch is about the one mail: a single one may be closed to us, or be broken in
/// a way that no table knows of (`ErrorCorruptData`, `ErrorContentConversionFailed`, …). The others are about more than
/// that whatever they stand beside.
fn is_of_one_mail(action: Action) -> bool {
    match action {
        Action::Alarm
        | Action::ItemGone
        | Action::ItemUnreadable
        | Action::RetryItem
        | Action::ConvertId
        | Action::RetryOrBisect
        // What is said of subscriptions and folders is not meant; a code that is not known is among these.
        | Action::Resubscribe
        | Action::CatchUp
        | Action::DropFolder
        | Action::StartOver
        | Action::FewerSubscriptions
        | Action::StepAside => true,
        Action::Rediscover
        | Action::AwaitMove
        | Action::AwaitStore
        | Action::RetryConnection
        | Action::BackOffAccount { .. }
        | Action::FewerConnections { .. }
        | Action::MailboxGone
        | Action::Terminal
        | Action::AuthFailed
        | Action::NoCommonAuth
        | Action::OurBug
        | Action::LowerVersion => false,
    }
}
