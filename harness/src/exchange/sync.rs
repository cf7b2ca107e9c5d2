//! SyncFolderItems (reference §5.4): what changed in a folder since a state that only this server understands.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::code::Code;
use super::front::Context;
use super::ids::StoreId;
use super::mailbox::{FolderKey, Item, Mailbox};
use super::property::{ItemProperty, Source, push_item};
use super::reply::Failure;
use super::request::SyncFolderItems;
use super::state::Exchange;
use super::version::Version;

/// Where a synchronisation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SyncState {
    mailbox: u128,
    folder: FolderKey,
    /// Changes up to this sequence number are known.
    seq: u64,
    /// During the first walk, newest first: items with lower counters are still to come. 0 when it is done.
    below: u64,
}

impl SyncState {
    fn text(&self) -> String {
        let mut bytes = b"H4sI".to_vec();
        bytes.extend_from_slice(&self.mailbox.to_le_bytes());
        bytes.extend_from_slice(&self.folder.0.to_le_bytes());
        bytes.extend_from_slice(&self.seq.to_le_bytes());
        bytes.extend_from_slice(&self.below.to_le_bytes());
        STANDARD.encode(bytes)
    }

    fn parse(text: &str) -> Option<SyncState> {
        let bytes = STANDARD.decode(text).ok()?;
        let bytes = bytes.strip_prefix(b"H4sI").filter(|rest| rest.len() == 34)?;
        Some(SyncState {
            mailbox: u128::from_le_bytes(*bytes.first_chunk()?),
            folder: FolderKey(u16::from_le_bytes(*bytes[16..].first_chunk()?)),
            seq: u64::from_le_bytes(*bytes[18..].first_chunk()?),
            below: u64::from_le_bytes(*bytes[26..].first_chunk()?),
        })
    }
}

enum Change<'a> {
    Create(&'a Item),
    Update(&'a Item),
    Delete(u64),
    ReadFlag(&'a Item),
}

/// Changes after `seq`, oldest first.
fn changes_after(mailbox: &Mailbox, folder: FolderKey, seq: u64, read_flags: bool) -> Vec<(u64, Change<'_>)> {
    let place = &mailbox.folders[usize::from(folder.0)];
    let mut changes = Vec::new();
    for item in place.order.iter().filter_map(|(_, counter)| mailbox.items.get(counter)) {
        if item.created_seq > seq {
            changes.push((item.changed_seq.max(item.read_seq), Change::Create(item)));
        } else if item.changed_seq > seq || (item.read_seq > seq && !read_flags) {
            changes.push((item.changed_seq.max(item.read_seq), Change::Update(item)));
        } else if item.read_seq > seq {
            changes.push((item.read_seq, Change::ReadFlag(item)));
        }
    }
    let gone = place.gone.iter().filter(|gone| gone.seq > seq && gone.created_seq <= seq);
    changes.extend(gone.map(|gone| (gone.seq, Change::Delete(gone.counter))));
    changes.sort_by_key(|(seq, _)| *seq);
    changes
}

impl Exchange {
    pub(super) fn sync_items(
        &mut self,
        context: &Context,
        request: &SyncFolderItems,
    ) -> Result<String, Failure> {
        let (key, folder) = self.find_folder(context, &request.folder).map_err(|code| match code {
            Code::ErrorFolderNotFound => Code::ErrorSyncFolderNotFound,
            other => other,
        })?;
        if request.shape.misplaced || request.shape.properties.contains(&ItemProperty::Body) {
            return Err(Code::ErrorInvalidPropertyRequest.into());
        }
        let mailbox = self.box_of(key);
        let state = match &request.state {
            None => SyncState { mailbox: mailbox.guid, folder, seq: mailbox.seq, below: u64::MAX },
            Some(text) => SyncState::parse(text)
                .filter(|state| {
                    state.mailbox == mailbox.guid
                        && state.folder == folder
                        && (mailbox.sync_since..=mailbox.seq).contains(&state.seq)
                })
                .ok_or(Code::ErrorInvalidSyncStateData)?,
        };
        let ignored: Vec<u64> = request.ignore.iter().filter_map(|text| StoreId::parse(text)?.item).collect();
        // `ReadFlagChange` exists from Exchange2010 on; before, it was an Update.
        let read_flags = context.version.is_some_and(|version| version >= Version::Exchange2010);
        let (changes, next, last) = if state.below > 0 {
            first_walk(mailbox, state, request.changes_max)
        } else {
            let mut changes = changes_after(mailbox, folder, state.seq, read_flags);
            let last = changes.len() <= request.changes_max;
            changes.truncate(request.changes_max);
            let seq = match changes.last() {
                Some((seq, _)) if !last => *seq,
                Some(_) | None => mailbox.seq,
            };
            (changes, SyncState { seq, ..state }, last)
        };
        let mut payload = format!(
            "<m:SyncState>{}</m:SyncState><m:IncludesLastItemInRange>{last}</m:IncludesLastItemInRange><m:Changes>",
            next.text()
        );
        for (_, change) in changes {
            match change {
                Change::Create(item) | Change::Update(item) if ignored.contains(&item.counter) => {}
                Change::Create(item) => {
                    payload.push_str("<t:Create>");
                    push_item(&mut payload, mailbox, item, &request.shape, Source::Table);
                    payload.push_str("</t:Create>");
                }
                Change::Update(item) => {
                    payload.push_str("<t:Update>");
                    push_item(&mut payload, mailbox, item, &request.shape, Source::Table);
                    payload.push_str("</t:Update>");
                }
                Change::Delete(counter) => {
                    let id = mailbox.item_id(folder, counter).text();
                    payload.push_str(&format!(
                        "<t:Delete><t:ItemId Id=\"{id}\" ChangeKey=\"CQAAAA==\"/></t:Delete>"
                    ));
                }
                Change::ReadFlag(item) => {
                    let id = mailbox.item_id(folder, item.counter).text();
                    payload.push_str(&format!(
                        "<t:ReadFlagChange><t:ItemId Id=\"{id}\" ChangeKey=\"CQAAAA==\"/><t:IsRead>{}</t:IsRead>\
                         </t:ReadFlagChange>",
                        item.read
                    ));
                }
            }
        }
        payload.push_str("</m:Changes>");
        Ok(payload)
    }
}

/// A page of the first walk over a folder, newest first. What changes meanwhile is told after it.
fn first_walk(mailbox: &Mailbox, state: SyncState, max: usize) -> (Vec<(u64, Change<'_>)>, SyncState, bool) {
    let place = &mailbox.folders[usize::from(state.folder.0)];
    let mut counters: Vec<u64> = place
        .order
        .iter()
        .map(|(_, counter)| *counter)
        .filter(|counter| *counter < state.below)
        .filter(|counter| mailbox.items.get(counter).is_some_and(|item| item.created_seq <= state.seq))
        .collect();
    counters.sort_unstable_by(|a, b| b.cmp(a));
    let last = counters.len() <= max;
    counters.truncate(max);
    let below = if last { 0 } else { counters.last().copied().unwrap_or(0) };
    let items = counters.iter().filter_map(|counter| mailbox.items.get(counter));
    (items.map(|item| (0, Change::Create(item))).collect(), SyncState { below, ..state }, last)
}
