//! What a test orders for single mailboxes, and the record of what was asked: so that it can see what a client does about
//! an answer, and when.

use carillon_core::time::{Span, Time};

use super::budget::Refusal;
use super::code::Code;
use super::front::Context;
use super::mailbox::MailboxKey;
use super::reply::{Failure, Fault};
use super::request::Body;
use super::state::Exchange;
use super::stats::Operation;
use super::version::Version;

/// A call that came through to a mailbox, whatever it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When.
    pub at: Time,
    /// For what.
    pub operation: Operation,
    /// On whose mailbox: the impersonated one, or the caller's own.
    pub mailbox: Option<MailboxKey>,
    /// GetStreamingEvents: the mailboxes of the subscriptions that it named and that there are.
    pub streams: Vec<MailboxKey>,
    /// In which version.
    pub version: Option<Version>,
    /// `X-AnchorMailbox`, in lower case.
    pub anchor: Option<String>,
    /// It came with an affinity cookie, be it good or not.
    pub pinned: bool,
}

/// A standing order to refuse calls on one mailbox.
#[derive(Clone, Debug)]
pub(super) struct Refuse {
    mailbox: MailboxKey,
    operation: Operation,
    left: u32,
    code: Code,
    fault: bool,
    back_off: Option<Span>,
}

/// A standing order to stop in the middle of batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    operation: Operation,
    left: u32,
    after: usize,
    why: Option<Code>,
}

impl Stop {
    /// What the item at this place of the batch gets, if it was not looked at, or ended the batch.
    pub(super) fn at(&self, place: usize) -> Option<Failure> {
        let code = match self.why {
            Some(why) if place == self.after => why,
            _ if place >= self.after => Code::ErrorBatchProcessingStopped,
            _ => return None,
        };
        Some(Failure::new(code))
    }
}

impl Exchange {
    /// The next `count` batches of one kind that have more than `after` items stop behind these: the next item fails with
    /// `why`, if that is given, and the others were not looked at (`ErrorBatchProcessingStopped`).
    pub fn stop_batches(&mut self, operation: Operation, count: u32, after: usize, why: Option<Code>) {
        self.stops.push(Stop { operation, left: count, after, why });
    }

    /// Where a batch of so many items is to stop.
    pub(super) fn take_stop(&mut self, operation: Operation, items: usize) -> Option<Stop> {
        let meant = |stop: &Stop| stop.operation == operation && stop.after < items;
        let at = self.stops.iter().position(meant)?;
        self.stops[at].left -= 1;
        let stop = self.stops[at];
        if stop.left == 0 {
            self.stops.remove(at);
        }
        Some(stop)
    }

    /// The next `count` calls of one kind on a mailbox are refused with `code`, in a response message or, with `fault`,
    /// as a SOAP fault. For GetStreamingEvents: streams that are charged to this mailbox.
    pub fn refuse(&mut self, mailbox: MailboxKey, operation: Operation, count: u32, code: Code, fault: bool) {
        self.refuses.push(Refuse { mailbox, operation, left: count, code, fault, back_off: None });
    }

    /// As [`Exchange::refuse`], once, and asks for a pause (`BackOffMilliseconds`), whatever the code.
    pub fn refuse_for(
        &mut self,
        mailbox: MailboxKey,
        operation: Operation,
        code: Code,
        fault: bool,
        back_off: Span,
    ) {
        self.refuses.push(Refuse { mailbox, operation, left: 1, code, fault, back_off: Some(back_off) });
    }

    /// Every stream that names the present subscription of a mailbox is refused with `code`, without a word of why.
    pub fn poison(&mut self, mailbox: MailboxKey, code: Code) {
        for key in self.box_of(mailbox).subscriptions.clone() {
            if let Some(subscription) = self.subscriptions.get_mut(&key) {
                subscription.poison = Some(code);
            }
        }
    }

    /// What was asked since the last call, if [`ExchangeConfig::record_asked`](super::ExchangeConfig) is on.
    pub fn take_asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    pub(super) fn note_asked(&mut self, context: &Context, body: &Body) {
        if !self.config.record_asked {
            return;
        }
        let streams = match body {
            Body::GetStreamingEvents { ids, .. } => {
                let known = ids.iter().filter_map(|id| self.subscription_ids.get(id.as_str()));
                known.filter_map(|key| Some(self.subscriptions.get(key)?.mailbox)).collect()
            }
            Body::Subscribe(_)
            | Body::Unsubscribe { .. }
            | Body::GetItem { .. }
            | Body::GetFolder { .. }
            | Body::FindItem(_)
            | Body::SyncFolderItems(_)
            | Body::ConvertId { .. } => Vec::new(),
        };
        self.asked.push(Asked {
            at: context.now.time,
            operation: body.operation(),
            mailbox: context.mailbox,
            streams,
            version: context.version,
            anchor: context.anchor.as_deref().map(str::to_owned),
            pinned: context.pinned,
        });
    }

    /// The refusal that a standing order, or a poisoned subscription, has for this call.
    pub(super) fn ordered(&mut self, context: &Context, body: &Body) -> Option<Refusal> {
        let operation = body.operation();
        let meant = |order: &Refuse| Some(order.mailbox) == context.mailbox && order.operation == operation;
        if let Some(at) = self.refuses.iter().position(meant) {
            let order = &mut self.refuses[at];
            order.left -= 1;
            let (code, fault) = (order.code, order.fault);
            let asks = |span: Span| ("BackOffMilliseconds", span.as_millis().to_string());
            let values: Vec<_> = order.back_off.map(asks).into_iter().collect();
            if order.left == 0 {
                self.refuses.remove(at);
            }
            return Some(if fault {
                Refusal::Fault(Fault { values, ..Fault::new(code) })
            } else {
                Refusal::Message(Failure { values, ..Failure::new(code) })
            });
        }
        if let Some(Err(code)) = context.mailbox.map(|mailbox| self.reach(mailbox)) {
            return Some(Refusal::Message(Failure::new(code)));
        }
        let Body::GetStreamingEvents { ids, .. } = body else { return None };
        let named = ids.iter().filter_map(|id| self.subscription_ids.get(id.as_str()));
        let poison = named.filter_map(|key| self.subscriptions.get(key)?.poison).next();
        poison.map(|code| Refusal::Message(Failure::new(code)))
    }
}
