//! What the workload and the tests do with the server: mail comes, people read, things break.

use carillon_core::time::{Now, Span, Time};

use super::account::AccountKey;
use super::code::Code;
use super::config::SubscriptionIds;
use super::event::{Event, EventKind};
use super::faults::{
    BadIdMix, Busy, BusyScope, BusyShape, Cut, GivenUp, Override, Silence, StandingOverride,
};
use super::ids::StoreId;
use super::mailbox::{Folder, FolderKey, Item, Mail, MailboxKey};
use super::reply::Failure;
use super::server::{Conn, Phase};
use super::state::Exchange;
use super::stats::{Operation, Stats};
use super::stream::Ending;
use crate::peer::{Close, PeerConn};

/// A mail became visible to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnWire {
    /// [`Mail::tag`].
    pub tag: u64,
    /// When its bytes were handed over for sending.
    pub at: Time,
    /// How.
    pub station: Station,
}

/// How a mail became visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Station {
    /// `NewMailEvent` on a stream.
    Streamed,
    /// A GetItem answer.
    Fetched,
    /// A FindItem answer.
    Found,
}

/// A stream as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamView {
    /// Its number, in the order of opening.
    pub key: u64,
    /// Its connection.
    pub conn: PeerConn,
    /// Who opened it.
    pub account: AccountKey,
    /// Whom that account impersonated.
    pub impersonated: Option<MailboxKey>,
    /// `X-AnchorMailbox`, in lower case.
    pub anchor: Option<String>,
    /// The back end that holds it.
    pub back_end: usize,
    /// The mailboxes that it watches; none if some of its ids were bad.
    pub mailboxes: Vec<MailboxKey>,
    /// When it was opened.
    pub opened: Time,
    /// When its `ConnectionTimeout` is over; never, if it was let outlive that ([`Exchange::let_outlive`]).
    pub closes: Time,
}

/// A subscription as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionView {
    /// Its id.
    pub id: String,
    /// Who made it.
    pub owner: AccountKey,
    /// What it watches.
    pub mailbox: MailboxKey,
    /// The back end on which it lives.
    pub back_end: usize,
    /// The stream that reads it.
    pub stream: Option<u64>,
    /// Events that wait.
    pub queued: usize,
}

/// The workload.
impl Exchange {
    /// A mail arrives. Returns its item id. Watchers are told `CreatedEvent`, `NewMailEvent` and a `ModifiedEvent` of
    /// the folder with the new unread count.
    ///
    /// # Panics
    /// If the mail names a folder that the mailbox does not have: a mistake of the workload, as everywhere below.
    pub fn deliver(&mut self, now: Now, mailbox: MailboxKey, mail: Mail) -> String {
        self.stats.mails += 1;
        let (folder, tag) = (mail.folder, mail.tag);
        let received = mail.received.unwrap_or(now.unix);
        self.stats.from_the_future += u64::from(received > now.unix);
        let row = self.box_mut(mailbox);
        let item = row.insert(mail, received, folder, false);
        let id = row.item_id(folder, item).text();
        self.tell(now, mailbox, EventKind::Created { item, folder });
        self.tell(now, mailbox, EventKind::NewMail { item, folder, tag });
        self.tell_folder(now, mailbox, folder);
        id
    }

    /// The owner's own program puts something into a folder: a draft, or a mail from elsewhere (`CreateItem`, IMAP's APPEND).
    /// Returns its item id. Watchers are told `CreatedEvent` and a `ModifiedEvent` of the folder; `NewMailEvent` is for what
    /// is delivered.
    pub fn put(&mut self, now: Now, mailbox: MailboxKey, mail: Mail, read: bool) -> String {
        let folder = mail.folder;
        let received = mail.received.unwrap_or(now.unix);
        self.stats.from_the_future += u64::from(received > now.unix);
        let row = self.box_mut(mailbox);
        let item = row.insert(mail, received, folder, read);
        let id = row.item_id(folder, item).text();
        self.tell(now, mailbox, EventKind::Created { item, folder });
        self.tell_folder(now, mailbox, folder);
        id
    }

    /// The owner marks a mail as read or unread elsewhere. False if there is none or nothing changes.
    pub fn mark_read(&mut self, now: Now, mailbox: MailboxKey, item_id: &str, read: bool) -> bool {
        let Some(item) = self.counter(mailbox, item_id) else { return false };
        let unread = self.unread_counts(mailbox);
        let Some(folder) = self.box_mut(mailbox).set_read(item, read) else { return false };
        self.tell(now, mailbox, EventKind::ItemModified { item, folder });
        self.tell_folder_since(now, mailbox, folder, &unread);
        true
    }

    /// A mail is deleted for good. False if there is none. (Moving it to [`DELETED_ITEMS`](super::DELETED_ITEMS) is what
    /// mail programs do first.)
    pub fn delete(&mut self, now: Now, mailbox: MailboxKey, item_id: &str) -> bool {
        let Some(item) = self.counter(mailbox, item_id) else { return false };
        let unread = self.unread_counts(mailbox);
        let Some(gone) = self.box_mut(mailbox).remove(item) else { return false };
        self.tell(now, mailbox, EventKind::Deleted { item, folder: gone.folder });
        self.tell_folder_since(now, mailbox, gone.folder, &unread);
        true
    }

    /// A mail goes to another folder of its mailbox. Returns its new id; `None` if there is no such mail.
    pub fn move_item(
        &mut self,
        now: Now,
        mailbox: MailboxKey,
        item_id: &str,
        to: FolderKey,
    ) -> Option<String> {
        let old_item = self.counter(mailbox, item_id)?;
        let unread = self.unread_counts(mailbox);
        let row = self.box_mut(mailbox);
        let gone = row.remove(old_item)?;
        let old_folder = gone.folder;
        let item = row.insert(gone.mail, gone.received, to, gone.read);
        let id = row.item_id(to, item).text();
        self.tell(now, mailbox, EventKind::Moved { item, folder: to, old_item, old_folder });
        self.tell_folder_since(now, mailbox, old_folder, &unread);
        self.tell_folder_since(now, mailbox, to, &unread);
        Some(id)
    }

    /// A mail is copied to another folder. Returns the copy's id.
    pub fn copy_item(
        &mut self,
        now: Now,
        mailbox: MailboxKey,
        item_id: &str,
        to: FolderKey,
    ) -> Option<String> {
        let old_item = self.counter(mailbox, item_id)?;
        let unread = self.unread_counts(mailbox);
        let row = self.box_mut(mailbox);
        let source = row.items.get(&old_item)?.clone();
        let item = row.insert(source.mail, source.received, to, source.read);
        let id = row.item_id(to, item).text();
        self.tell(now, mailbox, EventKind::Copied { item, folder: to, old_item, old_folder: source.folder });
        self.tell_folder_since(now, mailbox, to, &unread);
        Some(id)
    }

    /// Adds a folder below the root.
    pub fn add_folder(&mut self, mailbox: MailboxKey, name: &str) -> FolderKey {
        let folders = &mut self.box_mut(mailbox).folders;
        folders.push(Folder { name: name.to_owned().into(), ..Folder::default() });
        FolderKey((folders.len() - 1) as u16)
    }

    /// Gives an own folder another name. Its id stays what it is.
    pub fn rename_folder(&mut self, now: Now, mailbox: MailboxKey, folder: FolderKey, name: &str) {
        if self.has_folder(mailbox, folder) {
            self.box_mut(mailbox).folders[usize::from(folder.0)].name = name.to_owned().into();
            self.tell_folder(now, mailbox, folder);
        }
    }

    /// Deletes an own folder for good, with what lies in it: its watchers are told of the folder alone. Well-known ones
    /// cannot be deleted.
    pub fn delete_folder(&mut self, now: Now, mailbox: MailboxKey, folder: FolderKey) {
        let row = self.box_mut(mailbox);
        let counters: Vec<u64> = match row.folder(folder) {
            Some(place) if place.distinguished.is_none() => place.order.iter().map(|(_, c)| *c).collect(),
            Some(_) | None => return,
        };
        for counter in counters {
            row.remove(counter);
        }
        row.folders[usize::from(folder.0)].deleted = true;
        self.tell(now, mailbox, EventKind::FolderDeleted { folder });
    }

    fn counter(&self, mailbox: MailboxKey, item_id: &str) -> Option<u64> {
        let id = StoreId::parse(item_id)?;
        self.box_of(mailbox).item(&id)?;
        id.item
    }

    fn tell(&mut self, now: Now, mailbox: MailboxKey, kind: EventKind) {
        self.raise(mailbox, Event { at: now.unix, kind });
    }

    /// How many mails are unread in each folder, if that is what events will tell after the next change.
    fn unread_counts(&self, mailbox: MailboxKey) -> Vec<u32> {
        match self.faults.stale_counts {
            true => self.box_of(mailbox).folders.iter().map(|folder| folder.unread).collect(),
            false => Vec::new(),
        }
    }

    /// As `tell_folder`, after a change before which there were so many unread.
    fn tell_folder_since(&mut self, now: Now, mailbox: MailboxKey, folder: FolderKey, before: &[u32]) {
        let Some(unread) = before.get(usize::from(folder.0)).copied() else {
            return self.tell_folder(now, mailbox, folder);
        };
        self.stats.stale_counts += 1;
        self.tell(now, mailbox, EventKind::FolderModified { folder, unread });
    }

    fn tell_folder(&mut self, now: Now, mailbox: MailboxKey, folder: FolderKey) {
        let unread = self.box_of(mailbox).folders[usize::from(folder.0)].unread;
        self.tell(now, mailbox, EventKind::FolderModified { folder, unread });
    }
}

/// What a test wants to know.
impl Exchange {
    /// The account that logs on with this name.
    pub fn account(&self, name: &str) -> Option<AccountKey> {
        self.account_names.get(&name.to_ascii_lowercase()).copied()
    }

    /// The mailbox with this address, primary or not.
    pub fn mailbox(&self, address: &str) -> Option<MailboxKey> {
        self.addresses.get(&address.to_ascii_lowercase()).map(|(key, _)| *key)
    }

    /// The primary address of a mailbox.
    pub fn address(&self, mailbox: MailboxKey) -> &str {
        &self.box_of(mailbox).spec.address
    }

    /// Whose address this is, primary or not.
    pub fn find_mailbox(&self, address: &str) -> Option<MailboxKey> {
        self.addresses.get(&address.to_ascii_lowercase()).map(|(mailbox, _)| *mailbox)
    }

    /// Mailboxes of the organisation. Their keys count from zero.
    pub fn mailbox_count(&self) -> usize {
        self.mailboxes.len()
    }

    /// Unread items of a folder.
    pub fn unread_count(&self, mailbox: MailboxKey, folder: FolderKey) -> u32 {
        self.box_of(mailbox).folder(folder).map_or(0, |place| place.unread)
    }

    /// Items of a folder with their ids, oldest first.
    pub fn items(&self, mailbox: MailboxKey, folder: FolderKey) -> Vec<(String, &Item)> {
        let row = self.box_of(mailbox);
        let Some(place) = row.folder(folder) else { return Vec::new() };
        let items = place.order.iter().filter_map(|(_, counter)| row.items.get(counter).map(Box::as_ref));
        items.map(|item| (row.item_id(folder, item.counter).text(), item)).collect()
    }

    /// The item of this id.
    pub fn item(&self, mailbox: MailboxKey, item_id: &str) -> Option<&Item> {
        self.box_of(mailbox).item(&StoreId::parse(item_id)?)
    }

    /// Whether a folder is there.
    pub fn has_folder(&self, mailbox: MailboxKey, folder: FolderKey) -> bool {
        self.box_of(mailbox).folder(folder).is_some()
    }

    /// The id of a folder.
    pub fn folder_id(&self, mailbox: MailboxKey, folder: FolderKey) -> String {
        self.box_of(mailbox).folder_id(folder).text()
    }

    /// Mailboxes that some open stream watches.
    pub fn watched_count(&self) -> usize {
        self.watched
    }

    /// Whether some open stream watches a mailbox.
    pub fn is_watched(&self, mailbox: MailboxKey) -> bool {
        self.box_of(mailbox).attached > 0
    }

    /// Open streams, oldest first.
    pub fn streams(&self) -> Vec<StreamView> {
        let view = |(key, stream): (&u64, &super::stream::Stream)| StreamView {
            key: *key,
            conn: stream.conn,
            account: stream.account,
            impersonated: stream.budget.impersonated(),
            anchor: stream.anchor.as_deref().map(str::to_owned),
            back_end: stream.back_end,
            mailboxes: stream
                .subscriptions
                .iter()
                .filter_map(|one| self.subscriptions.get(one).filter(|one| one.stream == Some(*key)))
                .map(|one| one.mailbox)
                .collect(),
            opened: stream.opened,
            closes: stream.closes,
        };
        self.streams.iter().map(view).collect()
    }

    /// Numbers of the open streams, oldest first: what most faults ask for.
    pub fn stream_keys(&self) -> Vec<u64> {
        self.streams.keys().copied().collect()
    }

    /// The stream that watches a mailbox.
    pub fn stream_of(&self, mailbox: MailboxKey) -> Option<u64> {
        self.box_of(mailbox).subscriptions.iter().find_map(|key| self.subscriptions.get(key)?.stream)
    }

    /// Living subscriptions, oldest first.
    pub fn subscriptions(&self) -> Vec<SubscriptionView> {
        let view = |one: &super::subscription::Subscription| SubscriptionView {
            id: one.id.to_string(),
            owner: one.owner,
            mailbox: one.mailbox,
            back_end: one.back_end,
            stream: one.stream,
            queued: one.queue.len(),
        };
        self.subscriptions.values().map(view).collect()
    }

    /// Living subscriptions.
    pub fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    /// Open connections.
    pub fn connection_count(&self) -> usize {
        self.conns.len()
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What clients did that they must never do: the first 200.
    pub fn violations(&self) -> &[String] {
        &self.violations.list
    }

    /// How often clients did what they must never do.
    pub fn violation_count(&self) -> u64 {
        self.violations.total
    }

    /// Mails that became visible since the last call, if [`ExchangeConfig::record_on_wire`](super::ExchangeConfig) is on.
    /// A mail may show several times; the first one counts.
    pub fn take_on_wire(&mut self) -> Vec<OnWire> {
        std::mem::take(&mut self.on_wire)
    }
}

/// Faults that happen once.
impl Exchange {
    /// Cuts a connection now or after some more bytes of it.
    pub fn cut(&mut self, conn: PeerConn, cut: Cut) {
        if let Some(row) = self.conns.get_mut(&conn) {
            row.cut = Some(cut);
            self.wake(conn);
        }
    }

    /// Cuts a stream's connection now or after some more bytes.
    pub fn cut_stream(&mut self, stream: u64, cut: Cut) {
        if let Some(conn) = self.streams.get(&stream).map(|stream| stream.conn) {
            self.cut(conn, cut);
        }
    }

    /// A stream stays open and says nothing any more.
    pub fn go_silent(&mut self, stream: u64, silence: Silence) {
        let Some(row) = self.streams.get_mut(&stream) else { return };
        row.silence = Some(silence);
        let conn = row.conn;
        if silence == Silence::Blackhole {
            self.swallow(stream);
        }
        self.hang(conn, silence);
    }

    /// A stream gets no heartbeats any more; its news still come.
    pub fn stop_heartbeats(&mut self, stream: u64) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.heartbeats = false;
        }
    }

    /// A stream does not end when its `ConnectionTimeout` is over: heartbeats and news go on.
    pub fn let_outlive(&mut self, stream: u64) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.closes = Time::NEVER;
        }
    }

    /// A stream ends with `ConnectionStatus` Closed before its time.
    pub fn close_stream(&mut self, now: Now, stream: u64) {
        self.end_stream(now.time, stream, Ending::Closed);
    }

    /// A stream's body ends without `Closed`.
    pub fn end_stream_unclean(&mut self, now: Now, stream: u64) {
        self.end_stream(now.time, stream, Ending::Silent);
    }

    /// A stream ends with an error for the whole connection. Its subscriptions live on.
    pub fn fail_stream(&mut self, now: Now, stream: u64, code: Code) {
        self.end_stream(now.time, stream, Ending::Error(Failure::new(code)));
    }

    /// Another owner of the same account opens a stream with all subscriptions of this one, which ends. What happens in
    /// their mailboxes is told to him, until a stream of ours names them again.
    pub fn take_stream_over(&mut self, now: Now, stream: u64) {
        let keys = self.streams.get(&stream).map(|stream| stream.subscriptions.clone()).unwrap_or_default();
        self.fail_stream(now, stream, Code::ErrorNewEventStreamConnectionOpened);
        for key in keys {
            if let Some(subscription) = self.subscriptions.get_mut(&key) {
                subscription.taken = true;
                subscription.queue.clear();
            }
        }
    }

    /// Subscriptions of some mailboxes die, if that is what `code` says. A stream that reads them is told their ids with
    /// `code` and `text` (the code's own sentence if `None`), and then tells nothing more of the others or ends
    /// ([`Faults::bad_id_mix`]); a stream that opens later with such an id is told the same.
    ///
    /// [`Faults::bad_id_mix`]: super::Faults::bad_id_mix
    pub fn fail_subscriptions(&mut self, now: Now, mailboxes: &[MailboxKey], code: Code, text: Option<&str>) {
        let failure =
            Failure { code, message: text.unwrap_or(code.message()).to_owned(), values: Vec::new() };
        let mut told: std::collections::BTreeMap<u64, Vec<Box<str>>> = std::collections::BTreeMap::new();
        for mailbox in mailboxes {
            for key in self.box_of(*mailbox).subscriptions.clone() {
                let Some(subscription) = self.subscriptions.get_mut(&key) else { continue };
                match subscription.stream {
                    Some(stream) => {
                        told.entry(stream).or_default().push(subscription.id.clone());
                        if !code.leaves_subscription() {
                            self.forget_subscription(now.time, key);
                        }
                    }
                    None => subscription.doomed = Some(code),
                }
            }
        }
        for (stream, ids) in told {
            let ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
            self.stats.respond(Operation::GetStreamingEvents, code);
            let envelope = self.error_envelope(&failure, &ids);
            self.note(stream, envelope);
            match self.faults.bad_id_mix {
                BadIdMix::End => self.end_stream(now.time, stream, Ending::Silent),
                BadIdMix::Silence => {
                    let Some(row) = self.streams.get_mut(&stream) else { continue };
                    row.pending.clear();
                    for key in std::mem::take(&mut row.subscriptions) {
                        if self.subscriptions.get(&key).is_some_and(|one| one.stream == Some(stream)) {
                            self.detach(now.time, key);
                        }
                    }
                }
            }
        }
    }

    /// The next stream that names the subscription of a mailbox is told that events were missed, as after an overflow.
    /// A stream that reads it is told at once.
    pub fn miss_events(&mut self, mailbox: MailboxKey) {
        for key in self.box_of(mailbox).subscriptions.clone() {
            let Some(subscription) = self.subscriptions.get_mut(&key) else { continue };
            subscription.queue.clear();
            subscription.missed = true;
            let stream = subscription.stream.and_then(|stream| self.streams.get_mut(&stream));
            if let Some(stream) = stream
                && !std::mem::replace(&mut subscription.pending, true)
            {
                stream.pending.push_back(key);
                let conn = stream.conn;
                self.wake(conn);
            }
        }
    }

    /// States of synchronisations that were given out so far are refused from now on (`ErrorInvalidSyncStateData`).
    pub fn forget_sync_states(&mut self) {
        for mailbox in &mut self.mailboxes {
            mailbox.seq += 1;
            mailbox.sync_since = mailbox.seq;
        }
    }

    /// A mailbox gets another primary address; the old one stays as a proxy address. Its subscriptions live on.
    ///
    /// # Panics
    /// If the address belongs to another mailbox.
    pub fn rename_mailbox(&mut self, mailbox: MailboxKey, address: &str) {
        let old = std::mem::replace(&mut self.box_mut(mailbox).spec.address, address.to_owned());
        self.addresses.insert(old.to_ascii_lowercase(), (mailbox, false));
        let before = self.addresses.insert(address.to_ascii_lowercase(), (mailbox, true));
        assert!(before.is_none_or(|(key, _)| key == mailbox), "{address} belongs to another mailbox");
    }

    /// Bytes go into a stream's body as they are: what is not XML, another server's envelopes, events that this server
    /// never sends.
    pub fn inject(&mut self, stream: u64, bytes: Vec<u8>) {
        self.note(stream, bytes);
    }

    /// An envelope of about so many bytes goes into a stream's body.
    pub fn inject_oversized(&mut self, stream: u64, bytes: usize) {
        let mut out = String::new();
        let filler = "x".repeat(bytes);
        self.face().push(&mut out, |out| out.push_str(&filler));
        self.note(stream, out.into_bytes());
    }

    /// A back end restarts: its subscriptions are gone, its connections are reset, its affinity cookies are refused. Where
    /// subscriptions are numbered, there is but one server, and it numbers them from 1 again.
    pub fn restart_back_end(&mut self, now: Now, back_end: usize) {
        let numbered = self.config.subscription_ids != SubscriptionIds::Unique;
        if numbered {
            self.subscription_number = 0;
            self.reported.clear();
        }
        let restarts = |of: usize| numbered || of == back_end;
        let streams: Vec<PeerConn> =
            self.streams.values().filter(|one| restarts(one.back_end)).map(|one| one.conn).collect();
        for conn in streams {
            self.cut(conn, Cut { after_bytes: 0, how: Close::Reset });
        }
        let gone: Vec<u64> = self
            .subscriptions
            .iter()
            .filter(|(_, one)| restarts(one.back_end))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.forget_subscription(now.time, key);
        }
        self.generations[back_end] += 1;
    }

    /// A mailbox moves to another back end: its subscriptions die as they do on a real server.
    pub fn move_mailbox(&mut self, now: Now, mailbox: MailboxKey, back_end: usize) {
        self.box_mut(mailbox).spec.back_end = back_end;
        let text = "Mailbox was moved; no more events will occur for this EventSink. Event type = MailboxMoveStarted";
        self.fail_subscriptions(now, &[mailbox], Code::ErrorInvalidSubscription, Some(text));
    }

    /// The server is busy for a while. `mute` leaves `BackOffMilliseconds` out.
    pub fn set_busy(&mut self, now: Now, scope: BusyScope, length: Span, shape: BusyShape, mute: bool) {
        self.busy.push(Busy { scope, until: now.time + length, shape, mute });
    }

    /// The next `count` requests get `answer`: of one operation, or of any kind.
    pub fn answer_next(&mut self, count: u32, only: Option<Operation>, answer: Override) {
        if count > 0 {
            self.overrides.push_back(StandingOverride { left: count, until: Time::NEVER, only, answer });
        }
    }

    /// The database of a mailbox hangs: from now on its calls are answered so much later, or never. What is not answered
    /// is not done, either, and a call that hangs stays so.
    pub fn slow_down(&mut self, mailbox: MailboxKey, answer_after: Option<Span>) {
        self.slow.insert(mailbox, answer_after);
    }

    /// Calls of a mailbox are answered as ever.
    pub fn speed_up(&mut self, mailbox: MailboxKey) {
        self.slow.remove(&mailbox);
    }

    /// As [`Exchange::answer_next`], for all requests that come within so long.
    pub fn answer_for(&mut self, now: Now, length: Span, only: Option<Operation>, answer: Override) {
        let until = now.time + length;
        self.overrides.push_back(StandingOverride { left: u32::MAX, until, only, answer });
    }

    /// A load balancer forgets all idle connections that have been used, without a word. How many there were.
    pub fn give_up_idle(&mut self, how: GivenUp) -> usize {
        let idle = |row: &&mut Conn| row.asked && matches!(row.phase, Phase::Idle) && row.close.is_none();
        let rows = self.conns.values_mut().filter(idle);
        rows.map(|row| row.given_up = Some(how)).count()
    }

    /// Takes back all standing answers, all busy times and what hangs.
    pub fn clear_orders(&mut self) {
        self.slow.clear();
        self.faults.proxy = None;
        self.overrides.clear();
        self.refuses.clear();
        self.stops.clear();
        self.busy.clear();
    }

    /// Changes an account's password, as an administrator would: from now on the old one is wrong.
    pub fn set_password(&mut self, account: AccountKey, password: &str) {
        let row = &mut self.accounts[usize::from(account.0)];
        row.spec.password = Some(password.to_owned());
        row.earlier_password = None;
        row.failures = 0;
        row.locked = false;
    }

    /// Somebody has told the client to try its credentials again, or it has died and knows nothing: that they were refused
    /// need not hold it back.
    pub fn may_try_again(&mut self) {
        self.refused.clear();
        self.taken.values_mut().for_each(|refusals| *refusals = 0);
    }

    /// As [`Exchange::set_password`], but the old one is taken, too, until [`Exchange::end_earlier_password`]: not every
    /// server knows of the change at once (Microsoft: "NTLM network authentication behavior", an hour by default).
    pub fn change_password(&mut self, account: AccountKey, password: &str) {
        let earlier = self.accounts[usize::from(account.0)].spec.password.clone();
        self.set_password(account, password);
        self.accounts[usize::from(account.0)].earlier_password = earlier;
    }

    /// The password from before the last change is wrong from now on.
    pub fn end_earlier_password(&mut self, account: AccountKey) {
        self.accounts[usize::from(account.0)].earlier_password = None;
    }

    /// Whether wrong passwords have locked an account.
    pub fn is_locked(&self, account: AccountKey) -> bool {
        self.accounts[usize::from(account.0)].locked
    }

    /// Changes what an account may do: rights, tokens, whether EWS is enabled.
    pub fn change_account(&mut self, account: AccountKey, change: impl FnOnce(&mut super::account::Account)) {
        change(&mut self.accounts[usize::from(account.0)].spec);
    }

    /// Folders of a mailbox are listed with ids, dates and read flags only: whoever asks for more is told this.
    pub fn fail_texts(&mut self, mailbox: MailboxKey, code: Option<Code>) {
        self.box_mut(mailbox).no_texts = code;
    }

    /// GetItem answers `ErrorItemCorrupt` for an item.
    pub fn corrupt_item(&mut self, mailbox: MailboxKey, item_id: &str) {
        self.refuse_item(mailbox, item_id, Code::ErrorItemCorrupt);
    }

    /// GetItem answers this for an item.
    pub fn refuse_item(&mut self, mailbox: MailboxKey, item_id: &str, code: Code) {
        if let Some(counter) = self.counter(mailbox, item_id)
            && let Some(item) = self.box_mut(mailbox).items.get_mut(&counter)
        {
            item.refused = Some(code);
        }
    }

    /// The server is of this age from now on.
    pub fn set_version(&mut self, version_max: super::version::Version) {
        self.config.version_max = version_max;
        self.info = super::reply::version_info(version_max);
    }

    /// Changes the settings while the server runs: heartbeat, limits, time of a call.
    pub fn reconfigure(&mut self, change: impl FnOnce(&mut super::config::ExchangeConfig)) {
        change(&mut self.config);
    }
}
