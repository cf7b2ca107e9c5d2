//! GetItem, GetFolder and ConvertId (reference §5.1, §5.2).

use super::code::Code;
use super::control::{OnWire, Station};
use super::front::{Context, Done};
use super::ids::StoreId;
use super::property::{FolderProperty, ItemShape, Source, push_folder, push_item};
use super::reply::Failure;
use super::request::{FolderRef, ItemRef};
use super::state::Exchange;
use super::stats::Operation;
use super::xml::push_escaped;

impl Exchange {
    /// One response message for each id, in order.
    pub(super) fn get_items(&mut self, context: &Context, shape: &ItemShape, ids: &[ItemRef]) -> Done {
        let mut messages = String::new();
        let stop = self.take_stop(Operation::GetItem, ids.len());
        for (place, item) in ids.iter().enumerate() {
            if item.change_key.as_deref() == Some("CQAAAA==") {
                self.violations.add("GetItem with the ChangeKey of an event, which is a stub".to_owned());
            }
            let result = match stop.and_then(|stop| stop.at(place)) {
                Some(failure) => Err(failure),
                None => self.get_item(context, shape, &item.id).map_err(Failure::new),
            };
            self.push_result(&mut messages, Operation::GetItem, result, "<m:Items/>");
        }
        Done::Messages(messages)
    }

    fn get_item(&mut self, context: &Context, shape: &ItemShape, text: &str) -> Result<String, Code> {
        if shape.misplaced {
            return Err(Code::ErrorInvalidPropertyRequest);
        }
        if StoreId::parse_legacy(text).is_some() {
            return Err(Code::ErrorInvalidIdMalformedEwsLegacyIdFormat);
        }
        let id = StoreId::parse(text).filter(|id| id.item.is_some()).ok_or(Code::ErrorInvalidIdMalformed)?;
        let mailbox = self.box_by_guid(id.mailbox).ok_or(Code::ErrorItemNotFound)?;
        self.reach(mailbox.key)?;
        if !self.may_read(context, mailbox.key) {
            return Err(Code::ErrorAccessDenied);
        }
        let item = mailbox.item(&id).ok_or(Code::ErrorItemNotFound)?;
        if let Some(code) = item.refused {
            return Err(code);
        }
        let mut payload = "<m:Items>".to_owned();
        push_item(&mut payload, mailbox, item, shape, Source::GetItem);
        payload.push_str("</m:Items>");
        let tag = item.mail.tag;
        if self.config.record_on_wire {
            self.on_wire.push(OnWire { tag, at: context.now.time, station: Station::Fetched });
        }
        Ok(payload)
    }

    /// Old ids to present ones: of a mailbox that the caller may read, and of no other than the one that is named.
    pub(super) fn convert_ids(&mut self, context: &Context, ids: &[(String, String)]) -> Done {
        let mut messages = String::new();
        let stop = self.take_stop(Operation::ConvertId, ids.len());
        for (place, (text, owner)) in ids.iter().enumerate() {
            let legacy = |exchange: &Exchange| {
                let found = exchange.addresses.get(&owner.to_ascii_lowercase());
                let (mailbox, _) = *found.ok_or(Code::ErrorNonExistentMailbox)?;
                exchange.reach(mailbox)?;
                if !exchange.may_read(context, mailbox) {
                    return Err(Code::ErrorAccessDenied);
                }
                let of_owner = |id: &StoreId| exchange.box_of(mailbox).guid == id.mailbox;
                let id = StoreId::parse_legacy(text).filter(of_owner).ok_or(Code::ErrorInvalidIdMalformed)?;
                if exchange.faults.no_conversion { Err(Code::ErrorInvalidIdMalformed) } else { Ok(id) }
            };
            let result = legacy(self).map(|id| {
                let mut payload = format!(
                    "<m:AlternateId xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
                     xsi:type=\"t:AlternateIdType\" Format=\"EwsId\" Id=\"{}\" Mailbox=\"",
                    id.text()
                );
                push_escaped(&mut payload, owner);
                payload.push_str("\"/>");
                payload
            });
            let result = match stop.and_then(|stop| stop.at(place)) {
                Some(failure) => Err(failure),
                None => result.map_err(Failure::new),
            };
            self.push_result(&mut messages, Operation::ConvertId, result, "");
        }
        Done::Messages(messages)
    }

    pub(super) fn get_folders(
        &mut self,
        context: &Context,
        properties: &[FolderProperty],
        folders: &[FolderRef],
    ) -> Done {
        let mut messages = String::new();
        let stop = self.take_stop(Operation::GetFolder, folders.len());
        for (place, folder) in folders.iter().enumerate() {
            let result = self.find_folder(context, folder).map(|(mailbox, key)| {
                let mut payload = "<m:Folders>".to_owned();
                push_folder(&mut payload, self.box_of(mailbox), key, properties);
                payload.push_str("</m:Folders>");
                payload
            });
            let result = match stop.and_then(|stop| stop.at(place)) {
                Some(failure) => Err(failure),
                None => result.map_err(Failure::new),
            };
            self.push_result(&mut messages, Operation::GetFolder, result, "<m:Folders/>");
        }
        Done::Messages(messages)
    }
}
