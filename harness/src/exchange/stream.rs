//! Streams: what a GetStreamingEvents call becomes, and how news get from the queues of subscriptions into its body.

use std::collections::VecDeque;

use carillon_core::time::{Now, Span, Time};

use super::account::AccountKey;
use super::budget::BudgetKey;
use super::code::Code;
use super::control::{OnWire, Station};
use super::deadline::Due;
use super::event::{Event, EventKind};
use super::faults::{Chunks, Proxy, Silence};
use super::mailbox::MailboxKey;
use super::reply::{Failure, StreamFace, push_success};
use super::server::Phase;
use super::state::Exchange;
use super::stats::Operation;
use super::wire::{LAST_CHUNK, push_chunk};
use crate::peer::PeerConn;

#[derive(Debug)]
pub(super) struct Stream {
    pub conn: PeerConn,
    pub account: AccountKey,
    pub budget: BudgetKey,
    pub anchor: Option<Box<str>>,
    pub back_end: usize,
    /// The subscriptions that it reads; none when some of its ids were bad.
    pub subscriptions: Vec<u64>,
    /// Of those, the ones with news.
    pub pending: VecDeque<u64>,
    /// Bytes of the body that go first: status and error envelopes, injected bytes.
    pub notes: VecDeque<Vec<u8>>,
    pub opened: Time,
    pub closes: Time,
    pub heartbeat: Time,
    /// Its own switch, beside `Faults::heartbeats`.
    pub heartbeats: bool,
    pub silence: Option<Silence>,
    /// Something on the way lets one envelope through, and no more.
    pub first_alone: bool,
}

/// What ends a stream's body.
#[derive(Debug)]
pub(super) enum Ending {
    /// `ConnectionStatus` Closed and the last chunk.
    Closed,
    /// An error envelope and the last chunk.
    Error(Failure),
    /// Only the last chunk.
    Silent,
    /// Nothing: the connection is gone or will be cut.
    Gone,
}

impl Exchange {
    pub(super) fn face(&self) -> StreamFace<'_> {
        StreamFace { style: self.faults.style, lead: self.faults.lead, info: &self.info }
    }

    pub(super) fn status_envelope(&self, status: &str) -> Vec<u8> {
        let mut out = String::new();
        self.face().push_status(&mut out, status);
        out.into_bytes()
    }

    pub(super) fn error_envelope(&self, failure: &Failure, ids: &[&str]) -> Vec<u8> {
        let mut out = String::new();
        self.face().push_error(&mut out, failure, ids);
        out.into_bytes()
    }

    /// Puts ready-made bytes into a stream's body, before anything else that waits.
    pub(super) fn note(&mut self, key: u64, bytes: Vec<u8>) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if stream.silence != Some(Silence::Blackhole) {
            stream.notes.push_back(bytes);
        }
        let conn = stream.conn;
        self.wake(conn);
    }

    /// Tells everybody who watches a mailbox.
    pub(super) fn raise(&mut self, mailbox: MailboxKey, event: Event) {
        for at in 0..self.box_of(mailbox).subscriptions.len() {
            let key = self.box_of(mailbox).subscriptions[at];
            let Some(subscription) = self.subscriptions.get_mut(&key).filter(|one| one.wants(&event)) else {
                continue;
            };
            let stream = subscription.stream.and_then(|stream| self.streams.get_mut(&stream));
            if stream.as_ref().is_some_and(|stream| stream.silence == Some(Silence::Blackhole)) {
                self.stats.events_lost += 1;
                continue;
            }
            let before = subscription.queue.len() as u64;
            subscription.push(event, self.config.queue_events_max);
            if subscription.queue.len() as u64 <= before {
                self.stats.events_lost += before;
            }
            if let Some(stream) = stream
                && !subscription.pending
            {
                subscription.pending = true;
                stream.pending.push_back(key);
                let conn = stream.conn;
                self.wake(conn);
            }
        }
    }

    /// A stream takes over a subscription.
    pub(super) fn attach(&mut self, now: Now, key: u64, stream_key: u64) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let Some(stream) = self.streams.get_mut(&stream_key) else { return };
        if let Some(age_max) = self.config.queue_age_max {
            self.stats.events_lost += subscription.drop_older(now.unix, age_max);
        }
        subscription.stream = Some(stream_key);
        subscription.taken = false;
        subscription.pending = subscription.has_news();
        stream.subscriptions.push(key);
        if subscription.pending {
            stream.pending.push_back(key);
        }
        let mailbox = subscription.mailbox;
        let attached = &mut self.box_mut(mailbox).attached;
        *attached += 1;
        self.watched += usize::from(*attached == 1);
    }

    /// Nobody reads a subscription any more.
    pub(super) fn detach(&mut self, now: Time, key: u64) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        if subscription.stream.take().is_none() {
            return;
        }
        subscription.pending = false;
        subscription.detached = now;
        let mailbox = subscription.mailbox;
        self.deadlines.push(now + self.config.detached_ttl, Due::Detached(key));
        let attached = &mut self.box_mut(mailbox).attached;
        *attached -= 1;
        self.watched -= usize::from(*attached == 0);
    }

    /// A subscription is no more. Whoever reads it hears nothing of it.
    pub(super) fn forget_subscription(&mut self, now: Time, key: u64) {
        self.detach(now, key);
        let Some(subscription) = self.subscriptions.remove(&key) else { return };
        self.subscription_ids.remove(&subscription.id);
        self.release_subscription(subscription.budget);
        self.box_mut(subscription.mailbox).subscriptions.retain(|one| *one != key);
        // A stream that read it skips the key when it comes to it.
    }

    /// Ends a stream. What its subscriptions have not told yet waits for the next.
    pub(super) fn end_stream(&mut self, now: Time, key: u64, ending: Ending) {
        let Some(stream) = self.streams.remove(&key) else { return };
        self.release(stream.budget, Operation::GetStreamingEvents);
        for subscription in &stream.subscriptions {
            if self.subscriptions.get(subscription).is_some_and(|one| one.stream == Some(key)) {
                self.detach(now, *subscription);
            }
        }
        let last = match ending {
            Ending::Gone => return,
            Ending::Closed => Some(self.status_envelope("Closed")),
            Ending::Error(failure) => {
                self.stats.respond(Operation::GetStreamingEvents, failure.code);
                Some(self.error_envelope(&failure, &[]))
            }
            Ending::Silent => None,
        };
        let chunks = self.faults.chunks;
        if let Some(conn) = self.conns.get_mut(&stream.conn) {
            if stream.silence != Some(Silence::Blackhole) {
                for bytes in stream.notes.iter().chain(&last) {
                    self.stats.envelopes += 1;
                    push_body(&mut conn.out, bytes, chunks);
                }
                conn.out.extend_from_slice(LAST_CHUNK);
            }
            conn.phase = Phase::Idle;
        }
        self.become_idle(now, stream.conn);
        self.wake(stream.conn);
    }

    /// Whether a stream has something to write.
    pub(super) fn stream_has_news(&self, key: u64) -> bool {
        self.streams.get(&key).is_some_and(|stream| {
            stream.silence.is_none() && (!stream.notes.is_empty() || !stream.pending.is_empty())
        })
    }

    /// Moves news of a stream into its connection's output, at most about `room` bytes.
    pub(super) fn pump(&mut self, now: Now, key: u64, room: usize) {
        let mut body = String::new();
        let mut glued = Vec::new();
        let mut written = 0;
        while written < room && self.stream_has_news(key) {
            let Some(stream) = self.streams.get_mut(&key) else { return };
            let conn = stream.conn;
            stream.heartbeat = now.time + self.config.heartbeat;
            let bytes = match stream.notes.pop_front() {
                Some(note) => note,
                None => {
                    body.clear();
                    self.push_news(now, key, &mut body);
                    if body.is_empty() {
                        continue;
                    }
                    std::mem::take(&mut body).into_bytes()
                }
            };
            let alone =
                self.streams.get_mut(&key).is_some_and(|stream| std::mem::take(&mut stream.first_alone));
            if alone {
                self.swallow(key);
            }
            self.stats.envelopes += 1;
            written += bytes.len();
            let chunks = self.faults.chunks;
            if chunks == Chunks::Glued {
                glued.extend_from_slice(&bytes);
            } else if let Some(conn) = self.conns.get_mut(&conn) {
                push_body(&mut conn.out, &bytes, chunks);
            }
        }
        if let Some(conn) = self.streams.get(&key).and_then(|stream| self.conns.get_mut(&stream.conn)) {
            push_chunk(&mut conn.out, &glued);
        }
    }

    /// Writes the next envelope with news, if there are any.
    fn push_news(&mut self, now: Now, key: u64, out: &mut String) {
        let Some(mut stream) = self.streams.remove(&key) else { return };
        let limits = &self.config.limits;
        let mut notifications = String::new();
        let mut missed = Vec::new();
        let mut left = limits.events_per_envelope;
        let mut again = Vec::new();
        while left > 0 {
            let Some(one) = stream.pending.pop_front() else { break };
            let Some(subscription) = self.subscriptions.get_mut(&one).filter(|one| one.stream == Some(key))
            else {
                continue;
            };
            if std::mem::take(&mut subscription.missed) {
                missed.push(subscription.id.clone());
                if subscription.queue.is_empty() {
                    subscription.pending = false;
                } else {
                    again.push(one);
                }
                continue;
            }
            let count = subscription.queue.len().min(limits.events_per_notification).min(left);
            left -= count;
            let mailbox = &self.mailboxes[subscription.mailbox.0 as usize];
            notifications.push_str("<m:Notification><t:SubscriptionId>");
            notifications.push_str(&subscription.id);
            notifications.push_str("</t:SubscriptionId>");
            for event in subscription.queue.drain(..count) {
                event.push(&mut notifications, mailbox, self.faults.legacy_ids);
                self.stats.events += 1;
                if let EventKind::NewMail { tag, .. } = event.kind
                    && self.config.record_on_wire
                {
                    self.on_wire.push(OnWire { tag, at: now.time, station: Station::Streamed });
                }
            }
            notifications.push_str("</m:Notification>");
            self.stats.notifications += 1;
            if subscription.queue.is_empty() {
                subscription.pending = false;
            } else {
                again.push(one);
            }
        }
        stream.pending.extend(again);
        self.streams.insert(key, stream);
        if !missed.is_empty() {
            let ids: Vec<&str> = missed.iter().map(|id| &**id).collect();
            let failure = Failure::new(Code::ErrorMissedNotificationEvents);
            self.stats.respond(Operation::GetStreamingEvents, failure.code);
            self.face().push_error(out, &failure, &ids);
        }
        if !notifications.is_empty() {
            self.face().push(out, |out| {
                let payload = format!("<m:Notifications>{notifications}</m:Notifications>");
                push_success(out, Operation::GetStreamingEvents, &payload);
            });
        }
    }

    /// What stands on a new stream's way does to it what it does.
    pub(super) fn obstruct(&mut self, now: Time, key: u64) {
        let Some(proxy) = self.faults.proxy else { return };
        self.stats.streams_obstructed += 1;
        if let (Proxy::Buffers | Proxy::Empties, Some(stream)) = (proxy, self.streams.get(&key)) {
            self.unheard(stream.conn);
        }
        match proxy {
            Proxy::Buffers => self.swallow(key),
            Proxy::BuffersRest => {
                if let Some(stream) = self.streams.get_mut(&key) {
                    stream.first_alone = true;
                }
            }
            Proxy::Cuts(after) => self.deadlines.push(now + after, Due::StreamCut(key)),
            Proxy::Empties => {}
        }
    }

    /// What a stream has to tell, now and later, goes where nobody reads it. Its connection stays.
    pub(super) fn swallow(&mut self, key: u64) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        stream.silence = Some(Silence::Blackhole);
        stream.notes.clear();
        stream.pending.clear();
        for one in stream.subscriptions.clone() {
            if let Some(subscription) = self.subscriptions.get_mut(&one).filter(|one| one.stream == Some(key))
            {
                self.stats.events_lost += subscription.queue.len() as u64;
                subscription.queue.clear();
                subscription.missed = false;
                subscription.pending = false;
            }
        }
    }

    /// A stream may need a heartbeat.
    pub(super) fn heartbeat(&mut self, now: Time, key: u64) {
        let enabled = self.faults.heartbeats;
        // A time of zero would never let the clock go on.
        let interval = self.config.heartbeat.max(Span::from_millis(1));
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if stream.heartbeat > now {
            let at = stream.heartbeat;
            self.deadlines.push(at, Due::Heartbeat(key));
            return;
        }
        stream.heartbeat = now + interval;
        // News that wait for room say as much as a heartbeat.
        let quiet = stream.notes.is_empty() && stream.pending.is_empty();
        if enabled && stream.heartbeats && stream.silence.is_none() && quiet {
            let bytes = self.status_envelope("OK");
            self.stats.heartbeats += 1;
            self.note(key, bytes);
        }
        self.deadlines.push(now + interval, Due::Heartbeat(key));
    }
}

/// Appends bytes of a stream's body as chunks.
pub(super) fn push_body(out: &mut Vec<u8>, bytes: &[u8], chunks: Chunks) {
    match chunks {
        Chunks::Envelope | Chunks::Glued => push_chunk(out, bytes),
        Chunks::Bytes(max) => bytes.chunks(max.max(1)).for_each(|part| push_chunk(out, part)),
    }
}
