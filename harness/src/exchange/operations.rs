//! Subscribe, Unsubscribe and GetStreamingEvents (reference §2 and §3), and where the other operations branch off.

use std::collections::VecDeque;

use carillon_core::time::Now;

use super::account::AccountKey;
use super::budget::BudgetKey;
use super::code::Code;
use super::config::SubscriptionIds;
use super::deadline::Due;
use super::faults::BadIdMix;
use super::front::{Context, Done};
use super::ids::{self, StoreId};
use super::mailbox::{FolderKey, MailboxKey};
use super::reply::{Failure, Fault, push_failure, push_success};
use super::request::{Body, FolderRef, Subscribe};
use super::state::Exchange;
use super::stats::Operation;
use super::stream::{Ending, Stream};
use super::subscription::Subscription;
use super::xml::push_escaped;

impl Exchange {
    pub(super) fn operate(&mut self, context: &Context, body: &Body) -> Done {
        match body {
            Body::Subscribe(request) => {
                let result = self.subscribe(context, request).map(|id| {
                    let mut payload = "<m:SubscriptionId>".to_owned();
                    push_escaped(&mut payload, &id);
                    payload.push_str("</m:SubscriptionId>");
                    payload
                });
                self.single(Operation::Subscribe, result)
            }
            Body::Unsubscribe { id } => {
                let result = self.unsubscribe(context, id).map(|()| String::new());
                self.single(Operation::Unsubscribe, result)
            }
            Body::GetStreamingEvents { ids, minutes } => self.open_stream(context, ids, *minutes),
            Body::GetItem { shape, ids } => self.get_items(context, shape, ids),
            Body::GetFolder { properties, folders } => self.get_folders(context, properties, folders),
            Body::FindItem(request) => self.find_items(context, request),
            Body::ConvertId { ids } => self.convert_ids(context, ids),
            Body::SyncFolderItems(request) => {
                let result = self.sync_items(context, request);
                self.single(Operation::SyncFolderItems, result)
            }
        }
    }

    /// One response message.
    fn single(&mut self, operation: Operation, result: Result<String, Failure>) -> Done {
        let mut messages = String::new();
        self.push_result(&mut messages, operation, result, "");
        Done::Messages(messages)
    }

    /// Appends a response message and counts it. `empty` is the payload of a failure.
    pub(super) fn push_result(
        &mut self,
        out: &mut String,
        operation: Operation,
        result: Result<String, Failure>,
        empty: &str,
    ) {
        match result {
            Ok(payload) => {
                self.stats.respond(operation, Code::NoError);
                push_success(out, operation, &payload);
            }
            Err(failure) => {
                self.stats.respond(operation, failure.code);
                push_failure(out, operation, &failure, empty);
            }
        }
    }

    /// The folder that a reference names, wherever it is.
    fn locate(&self, context: &Context, folder: &FolderRef) -> Result<(MailboxKey, FolderKey), Code> {
        match folder {
            FolderRef::Id(text) => {
                let id = StoreId::parse(text)
                    .filter(|id| id.item.is_none())
                    .ok_or(Code::ErrorInvalidIdMalformed)?;
                let mailbox = self.box_by_guid(id.mailbox).ok_or(Code::ErrorFolderNotFound)?;
                self.reach(mailbox.key)?;
                mailbox.folder(id.folder).ok_or(Code::ErrorFolderNotFound)?;
                Ok((mailbox.key, id.folder))
            }
            FolderRef::Distinguished { literal, mailbox } => {
                let key = match mailbox {
                    Some(address) => {
                        let found = self.addresses.get(&address.to_ascii_lowercase());
                        let (key, primary) = *found.ok_or(Code::ErrorNonExistentMailbox)?;
                        if !primary {
                            return Err(Code::ErrorNonPrimarySmtpAddress);
                        }
                        key
                    }
                    None => context.mailbox.ok_or(Code::ErrorMissingEmailAddress)?,
                };
                self.reach(key)?;
                let folders = &self.box_of(key).folders;
                let at = folders.iter().position(|one| one.distinguished == Some(literal));
                Ok((key, FolderKey(at.ok_or(Code::ErrorFolderNotFound)? as u16)))
            }
        }
    }

    /// The folder that a reference names, if the caller may see it.
    pub(super) fn find_folder(
        &self,
        context: &Context,
        folder: &FolderRef,
    ) -> Result<(MailboxKey, FolderKey), Code> {
        let (mailbox, key) = self.locate(context, folder)?;
        if self.may_read(context, mailbox) { Ok((mailbox, key)) } else { Err(Code::ErrorAccessDenied) }
    }

    /// Whether the call may look into a mailbox: whoever impersonates has the rights of that user alone.
    pub(super) fn may_read(&self, context: &Context, mailbox: MailboxKey) -> bool {
        let account = &self.accounts[usize::from(context.caller.account.0)].spec;
        Some(mailbox) == context.mailbox
            || context.budget.impersonated().is_none() && account.may_read(mailbox)
    }

    fn subscribe(&mut self, context: &Context, request: &Subscribe) -> Result<String, Failure> {
        if request.all_folders != request.folders.is_empty() {
            return Err(Code::ErrorInvalidSubscriptionRequest.into());
        }
        let mut folders = Vec::new();
        let mut target = None;
        for folder in &request.folders {
            let (mailbox, key) = self.locate(context, folder)?;
            if target.is_some_and(|target| target != mailbox) {
                return Err(Code::ErrorInvalidSubscriptionRequest.into());
            }
            target = Some(mailbox);
            folders.push(key);
        }
        let mailbox = target.or(context.mailbox).ok_or(Code::ErrorMissingEmailAddress)?;
        let account = &self.accounts[usize::from(context.caller.account.0)].spec;
        let as_itself = context.budget.impersonated().is_none() && account.may_subscribe(mailbox);
        if Some(mailbox) != context.mailbox && !as_itself {
            return Err(Code::ErrorSubscriptionDelegateAccessNotSupported.into());
        }
        self.charge_subscription(context.budget)?;
        let subscription = Subscription {
            folders: (!request.all_folders).then_some(folders),
            events: request.events,
            back_end: context.back_end,
            anchor: context.anchor.clone(),
            mute: context.primary_smtp && self.faults.primary_smtp_is_mute,
            ..Subscription::new(context.caller.account, context.budget, mailbox)
        };
        Ok(self.enrol(context.now, subscription))
    }

    /// A subscription, which has been charged, gets its id and lives.
    fn enrol(&mut self, now: Now, mut subscription: Subscription) -> String {
        let key = self.next_subscription;
        self.next_subscription += 1;
        let guid = (u128::from(self.rng.next_u64()) << 64) | u128::from(key);
        let mailbox = subscription.mailbox;
        let back_end = &self.config.back_ends[subscription.back_end];
        let id = match self.config.subscription_ids {
            SubscriptionIds::Unique => {
                ids::subscription_id(back_end, guid, now.unix.0, self.box_of(mailbox).guid)
            }
            kind => self.next_number(kind == SubscriptionIds::NumberedLong),
        };
        subscription.id = id.as_str().into();
        subscription.detached = now.time;
        self.subscription_ids.insert(subscription.id.clone(), key);
        self.subscriptions.insert(key, subscription);
        self.box_mut(mailbox).subscriptions.push(key);
        self.deadlines.push(now.time + self.config.detached_ttl, Due::Detached(key));
        id
    }

    fn next_number(&mut self, long: bool) -> String {
        self.subscription_number += 1;
        if self.subscription_number <= self.subscription_number_max {
            self.stats.ids_given_again += 1;
        }
        self.subscription_number_max = self.subscription_number_max.max(self.subscription_number);
        let id = ids::numbered_subscription_id(self.subscription_number, 5, long);
        self.reported.remove(&id);
        id
    }

    /// A subscription that an account once made and has forgotten, as after a crash: nobody reads it, and it holds its
    /// place until it expires. False if its budget has no place for it.
    pub fn leave_stray(&mut self, now: Now, account: AccountKey, mailbox: MailboxKey) -> bool {
        let impersonates = self.accounts[usize::from(account.0)].spec.impersonation.covers(mailbox);
        let budget = if impersonates { BudgetKey::Copy(mailbox) } else { BudgetKey::Account(account) };
        if self.charge_subscription(budget).is_err() {
            return false;
        }
        let back_end = self.box_of(mailbox).spec.back_end;
        self.enrol(now, Subscription { back_end, ..Subscription::new(account, budget, mailbox) });
        true
    }

    /// The subscription that `id` names, if this call may use it.
    fn usable(&self, context: &Context, id: &str) -> Result<u64, Code> {
        let numbered = self.config.subscription_ids != SubscriptionIds::Unique;
        let Some(&key) = self.subscription_ids.get(id) else {
            return Err(if !numbered && ids::looks_like_subscription(id) {
                Code::ErrorSubscriptionNotFound
            } else {
                Code::ErrorInvalidSubscription
            });
        };
        let subscription = &self.subscriptions[&key];
        if subscription.back_end != context.back_end {
            return Err(self.config.wrong_back_end);
        }
        if numbered && subscription.budget.impersonated() != context.budget.impersonated() {
            return Err(Code::ErrorInvalidSubscription);
        }
        if subscription.owner != context.caller.account {
            return Err(Code::ErrorSubscriptionAccessDenied);
        }
        Ok(key)
    }

    fn unsubscribe(&mut self, context: &Context, id: &str) -> Result<(), Failure> {
        let key = self.usable(context, id).map_err(|code| match code {
            Code::ErrorInvalidSubscription => Code::ErrorSubscriptionNotFound,
            other => other,
        })?;
        self.check_anchor(context, key);
        self.forget_subscription(context.now.time, key);
        Ok(())
    }

    fn check_anchor(&mut self, context: &Context, key: u64) {
        let made_with = &self.subscriptions[&key].anchor;
        if self.config.subscription_ids != SubscriptionIds::Unique {
            // Such a server knows nothing of anchors.
            self.stats.stale_ids += u64::from(*made_with != context.anchor);
            return;
        }
        if self.config.strict.headers && *made_with != context.anchor {
            self.violations
                .add("a subscription is used with another X-AnchorMailbox than it was made with".to_owned());
        }
    }

    fn open_stream(&mut self, context: &Context, ids: &[String], minutes: u64) -> Done {
        if ids.len() > self.config.limits.stream_ids_max {
            self.violations.add(format!("GetStreamingEvents with {} ids", ids.len()));
            return Done::Fault(Fault::new(self.config.too_many_ids));
        }
        let mut good = Vec::new();
        let mut bad: Vec<(&str, Code)> = Vec::new();
        for id in ids {
            let usable = self.usable(context, id);
            let doomed =
                usable.ok().and_then(|key| self.subscriptions.get_mut(&key)?.doomed.take().map(|c| (key, c)));
            match (usable, doomed) {
                (_, Some((key, code))) => {
                    bad.push((id, code));
                    if !code.leaves_subscription() {
                        self.forget_subscription(context.now.time, key);
                    }
                }
                (Ok(key), None) if good.contains(&key) => {
                    self.violations.add("GetStreamingEvents with an id twice".to_owned());
                }
                (Ok(key), None) => {
                    self.check_anchor(context, key);
                    good.push(key);
                }
                (Err(code), None) => bad.push((id, code)),
            }
        }
        let mut notes = VecDeque::new();
        if let Some((_, code)) = bad.first().copied() {
            for (id, _) in &bad {
                let times = self.reported.entry((*id).to_owned()).or_default();
                times.push(context.conn);
                if times.len() == 3 {
                    self.violations
                        .add("a subscription id is used on after it was twice reported as bad".to_owned());
                }
            }
            self.stats.respond(Operation::GetStreamingEvents, code);
            let listed: Vec<&str> = bad.iter().map(|(id, _)| *id).collect();
            let envelope = self.error_envelope(&Failure::new(code), &listed);
            if self.config.subscription_ids != SubscriptionIds::Unique {
                self.end_streams_of(context, &good);
                return Done::StreamBody(envelope);
            }
            if good.is_empty() || self.faults.bad_id_mix == BadIdMix::End {
                return Done::StreamBody(envelope);
            }
            // The good ones stay silent: nothing is attached.
            good.clear();
            notes.push_back(envelope);
        } else {
            self.stats.respond(Operation::GetStreamingEvents, Code::NoError);
            notes.push_back(self.status_envelope("OK"));
        }
        Done::Stream(self.start_stream(context, good, notes, minutes))
    }

    /// Another stream takes these subscriptions over: those that read them end.
    fn end_streams_of(&mut self, context: &Context, subscriptions: &[u64]) {
        let mut older: Vec<u64> =
            subscriptions.iter().filter_map(|key| self.subscriptions.get(key)?.stream).collect();
        older.sort_unstable();
        older.dedup();
        for stream in older {
            self.stats.streams_taken_over += 1;
            let ending = match self.config.subscription_ids {
                SubscriptionIds::Unique => {
                    Ending::Error(Failure::new(Code::ErrorNewEventStreamConnectionOpened))
                }
                SubscriptionIds::Numbered | SubscriptionIds::NumberedLong => Ending::Closed,
            };
            self.end_stream(context.now.time, stream, ending);
        }
    }

    fn start_stream(
        &mut self,
        context: &Context,
        subscriptions: Vec<u64>,
        notes: VecDeque<Vec<u8>>,
        minutes: u64,
    ) -> u64 {
        let now = context.now.time;
        self.end_streams_of(context, &subscriptions);
        let key = self.next_stream;
        self.next_stream += 1;
        let closes = carillon_core::time::Time(now.0 + self.config.minute.0 * minutes);
        let heartbeat = now + self.config.heartbeat;
        let stream = Stream {
            conn: context.conn,
            account: context.caller.account,
            budget: context.budget,
            anchor: context.anchor.clone(),
            back_end: context.back_end,
            subscriptions: Vec::new(),
            pending: VecDeque::new(),
            notes,
            opened: now,
            closes,
            heartbeat,
            heartbeats: true,
            silence: None,
            first_alone: false,
        };
        self.streams.insert(key, stream);
        self.stats.streams_opened += 1;
        self.charge(context.budget, Operation::GetStreamingEvents);
        for subscription in subscriptions {
            self.attach(context.now, subscription, key);
        }
        self.deadlines.push(closes, Due::StreamEnd(key));
        self.deadlines.push(heartbeat, Due::Heartbeat(key));
        key
    }
}
