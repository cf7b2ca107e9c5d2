//! FindItem (reference §5.3): a page of one folder, by the time of arrival.

use super::code::Code;
use super::control::{OnWire, Station};
use super::front::{Context, Done};
use super::mailbox::Item;
use super::property::{ItemProperty, Source, push_item};
use super::reply::Failure;
use super::request::{FindItem, FolderRef, Restriction};
use super::state::Exchange;
use super::stats::Operation;

/// The page size with a restriction (reference §4.1).
const RESTRICTED_COUNT_MAX: u32 = 250;

impl Exchange {
    /// One response message for each folder.
    pub(super) fn find_items(&mut self, context: &Context, request: &FindItem) -> Done {
        let mut messages = String::new();
        for folder in &request.folders {
            let result = self.find_in(context, request, folder).map_err(Failure::new);
            self.push_result(&mut messages, Operation::FindItem, result, "");
        }
        Done::Messages(messages)
    }

    fn find_in(&mut self, context: &Context, request: &FindItem, folder: &FolderRef) -> Result<String, Code> {
        let (mailbox, key) = self.find_folder(context, folder)?;
        if request.shape.misplaced || request.shape.properties.contains(&ItemProperty::Body) {
            return Err(Code::ErrorInvalidPropertyRequest);
        }
        if matches!(request.restriction, Some(Restriction::Unsupported)) {
            return Err(Code::ErrorUnsupportedPathForQuery);
        }
        let mut count_max = self.config.limits.find_count_max;
        if request.restriction.is_some() {
            count_max = count_max.min(RESTRICTED_COUNT_MAX);
        }
        let count_max = request.entries_max.unwrap_or(u32::MAX).min(count_max) as usize;
        let mailbox = self.box_of(mailbox);
        let place = mailbox.folder(key).ok_or(Code::ErrorFolderNotFound)?;
        if let Some(code) =
            mailbox.no_texts.filter(|_| request.shape.properties.contains(&ItemProperty::Subject))
        {
            return Err(code);
        }
        let wanted = |item: &&Item| match &request.restriction {
            None => true,
            Some(Restriction::ReceivedAfter(after)) => item.received.as_secs() > after.as_secs(),
            Some(Restriction::ReceivedAtOrAfter(from)) => item.received.as_secs() >= from.as_secs(),
            Some(Restriction::IsRead(read)) => item.read == *read,
            Some(Restriction::Unsupported) => false,
        };
        let items = place.order.iter().filter_map(|(_, counter)| mailbox.items.get(counter).map(Box::as_ref));
        let by_age = items.filter(wanted);
        let mut all: Vec<&Item> = if request.shallow { by_age.collect() } else { Vec::new() };
        if request.ascending == request.from_end {
            all.reverse();
        }
        let from = (request.offset as usize).min(all.len());
        let to = from.saturating_add(count_max).min(all.len());
        let mut page = all[from..to].to_vec();
        if request.from_end {
            page.reverse();
        }
        let mut payload = format!(
            "<m:RootFolder IndexedPagingOffset=\"{to}\" TotalItemsInView=\"{}\" IncludesLastItemInRange=\"{}\"><t:Items>",
            all.len(),
            to == all.len()
        );
        let mut tags = Vec::new();
        for item in page {
            push_item(&mut payload, mailbox, item, &request.shape, Source::Table);
            tags.push(item.mail.tag);
        }
        payload.push_str("</t:Items></m:RootFolder>");
        if self.config.record_on_wire {
            let at = context.now.time;
            self.on_wire.extend(tags.into_iter().map(|tag| OnWire { tag, at, station: Station::Found }));
        }
        Ok(payload)
    }
}
