//! Columns that hold more than one value: how each is written, and read back.

use carillon_core::names::FolderId;
use carillon_core::shard::{FolderSync, ToldMail, UnsettledNotice};

/// A stored value that nobody here has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable;

/// A list of texts, as JSON.
pub fn write_texts<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    serde_json::Value::from(texts.collect::<Vec<&str>>()).to_string()
}

/// The inverse of [`write_texts`].
///
/// # Errors
/// [`Unusable`].
pub fn read_texts(text: &str) -> Result<Vec<Box<str>>, Unusable> {
    serde_json::from_str(text).map_err(|_| Unusable)
}

/// Folders' ids, as [`write_texts`] wrote them.
///
/// # Errors
/// [`Unusable`].
pub fn read_folders(text: &str) -> Result<Vec<FolderId>, Unusable> {
    read_texts(text)?.iter().map(|id| FolderId::parse(id).map_err(|_| Unusable)).collect()
}

/// States of synchronisation, as a JSON list of pairs: the folder's id, or null for the inbox; the state.
pub fn write_sync(folders: &[FolderSync]) -> String {
    let pair =
        |sync: &FolderSync| serde_json::json!([sync.folder.as_ref().map(FolderId::as_str), &*sync.state]);
    serde_json::Value::from(folders.iter().map(pair).collect::<Vec<_>>()).to_string()
}

/// The inverse of [`write_sync`].
///
/// # Errors
/// [`Unusable`].
pub fn read_sync(text: &str) -> Result<Vec<FolderSync>, Unusable> {
    let pairs: Vec<(Option<Box<str>>, Box<str>)> = serde_json::from_str(text).map_err(|_| Unusable)?;
    let pairs = pairs.into_iter().map(|(folder, state)| {
        let folder = folder.map(|id| FolderId::parse(&id).map_err(|_| Unusable)).transpose()?;
        Ok(FolderSync { folder, state })
    });
    pairs.collect()
}

/// Mails that were dealt with, 16 bytes each.
pub fn write_told(told: &[ToldMail]) -> Vec<u8> {
    told.iter().flat_map(|mail| mail.to_bytes()).collect()
}

/// The inverse of [`write_told`].
///
/// # Errors
/// [`Unusable`].
pub fn read_told(bytes: &[u8]) -> Result<Vec<ToldMail>, Unusable> {
    match bytes.as_chunks() {
        (mails, []) => Ok(mails.iter().map(|mail| ToldMail::from_bytes(*mail)).collect()),
        (_, _) => Err(Unusable),
    }
}

/// The three columns of a notice whose fate is unknown: its `apns-id`, how many mails it tells of, the newest of them.
pub type UnsettledColumns<B> = (Option<B>, Option<u16>, Option<B>);

/// All or none of the columns.
pub fn write_unsettled(notice: Option<UnsettledNotice>) -> UnsettledColumns<Vec<u8>> {
    (
        notice.map(|notice| notice.apns_id.to_le_bytes().to_vec()),
        notice.map(|notice| notice.mails),
        notice.map(|notice| notice.newest.to_le_bytes().to_vec()),
    )
}

/// The inverse of [`write_unsettled`].
///
/// # Errors
/// [`Unusable`].
pub fn read_unsettled(columns: UnsettledColumns<&[u8]>) -> Result<Option<UnsettledNotice>, Unusable> {
    let (apns_id, mails, newest) = columns;
    match (apns_id.map(TryInto::try_into), mails, newest.map(TryInto::try_into)) {
        (Some(Ok(apns_id)), Some(mails), Some(Ok(newest))) => Ok(Some(UnsettledNotice {
            apns_id: u128::from_le_bytes(apns_id),
            mails,
            newest: u64::from_le_bytes(newest),
        })),
        (None, None, None) => Ok(None),
        (_, _, _) => Err(Unusable),
    }
}
