//! Throttling: whose budget a call is charged to, what is in flight on it, and who was told to wait (reference §4).

use carillon_core::time::{Span, Time};

use super::account::AccountKey;
use super::code::Code;
use super::faults::{Busy, BusyScope, BusyShape};
use super::mailbox::MailboxKey;
use super::reply::{Failure, Fault};
use super::state::Exchange;
use super::stats::Operation;
use crate::peer::PeerConn;

/// Whose budget pays for a call (reference §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum BudgetKey {
    /// The account's own, for everything that it asks as itself, in whatever mailbox.
    Account(AccountKey),
    /// The copy of the impersonated mailbox's that is kept for service accounts. There is one for all of them; what the
    /// mailbox's owner does with his own account is not charged to it.
    Copy(MailboxKey),
}

/// What a budget pays for just now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub calls: u32,
    pub syncs: u32,
    pub streams: u32,
    pub subscriptions: usize,
}

/// Somebody who was told to wait: a budget, or at the front end a credential.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub first: Time,
    pub until: Time,
    /// On which connection it was said last.
    pub by: PeerConn,
}

impl BudgetKey {
    /// Whom the call impersonates.
    pub(super) fn impersonated(self) -> Option<MailboxKey> {
        match self {
            BudgetKey::Account(_) => None,
            BudgetKey::Copy(mailbox) => Some(mailbox),
        }
    }
}

/// How a refusal is said.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    Fault(Fault),
    Message(Failure),
}

impl Exchange {
    /// Refuses a call for which its budget has no room just now.
    pub(super) fn throttle(
        &mut self,
        now: Time,
        conn: PeerConn,
        budget: BudgetKey,
        operation: Operation,
    ) -> Result<(), Refusal> {
        let parted = operation == Operation::Unsubscribe
            && budget.impersonated().is_some_and(|mailbox| self.parted.contains(&mailbox));
        if !self.is_late(conn) && !parted {
            self.check_back_off(now, budget, operation);
        }
        self.busy.retain(|busy| busy.until > now);
        let busy = self.busy.iter().copied().find(|busy| match busy.scope {
            BusyScope::All => true,
            BusyScope::Mailbox(mailbox) => budget == BudgetKey::Copy(mailbox),
        });
        if let Some(busy) = busy {
            let told = self.told.get(&budget).copied();
            let refusal = self.say_busy(now, conn, budget, busy);
            if parted {
                // Whoever looks after the mailbox by now has not heard it.
                self.told.remove(&budget);
                self.told.extend(told.map(|told| (budget, told)));
            }
            return Err(refusal);
        }
        let load = self.loads.get(&budget).copied().unwrap_or_default();
        if operation == Operation::GetStreamingEvents {
            if load.streams >= self.config.limits.hanging_connections_max {
                return Err(Refusal::Message(Failure::new(Code::ErrorExceededConnectionCount)));
            }
            return Ok(());
        }
        if load.calls >= self.config.limits.concurrency_max {
            let mut fault = Fault::new(Code::ErrorExceededConnectionCount);
            fault.values = vec![
                ("Policy", "MaxConcurrency".to_owned()),
                ("MaxConcurrencyLimit", self.config.limits.concurrency_max.to_string()),
                ("ErrorMessage", fault.message.clone()),
            ];
            return Err(Refusal::Fault(fault));
        }
        if operation == Operation::SyncFolderItems && load.syncs >= self.config.limits.sync_calls_max {
            let mut failure = Failure::new(Code::ErrorServerBusy);
            failure.values = vec![
                ("Policy", "ConcurrentSyncCalls".to_owned()),
                ("BackOffMilliseconds", "5000".to_owned()),
            ];
            self.note_told(now, conn, budget, now + Span::from_millis(5_000));
            return Err(Refusal::Message(failure));
        }
        Ok(())
    }

    fn check_back_off(&mut self, now: Time, budget: BudgetKey, operation: Operation) {
        let Some(told) = self.told.get(&budget).copied() else { return };
        if now >= told.until {
            self.told.remove(&budget);
        } else if now > told.first + self.config.strict.back_off_grace {
            let early_ms = told.until.since(now).as_millis();
            self.violations
                .add(format!("{} came {early_ms} ms before the end of the back-off", operation.as_str()));
            // Extra calls lengthen it.
            let penalty = self.config.strict.back_off_penalty;
            for busy in self.busy.iter_mut().filter(|busy| busy.until > now) {
                busy.until = busy.until + penalty;
            }
        }
    }

    /// The front end names a time (`Retry-After`): until then whoever logs on with this credential is to stay away.
    pub(super) fn note_sent_away(&mut self, now: Time, conn: PeerConn, credential: &str, wait: Span) {
        let until = now + wait;
        let told = self.sent_away.entry(credential.to_owned());
        let told = told.or_insert(Told { first: now, until, by: conn });
        told.until = told.until.max(until);
        told.by = conn;
    }

    /// Records whoever comes back before the time that the front end has named.
    pub(super) fn check_sent_away(&mut self, now: Time, conn: PeerConn, credential: &str) {
        let Some(told) = self.sent_away.get(credential).copied() else { return };
        if now >= told.until {
            self.sent_away.remove(credential);
        } else if now > told.first + self.config.strict.back_off_grace && !self.is_late(conn) {
            let early_ms = told.until.since(now).as_millis();
            self.violations.add(format!("a request came {early_ms} ms before the end of Retry-After"));
        }
    }

    pub(super) fn is_late(&self, conn: PeerConn) -> bool {
        self.conns.get(&conn).is_some_and(|row| row.late)
    }

    /// What was said on this connection never reached the client, or the client has forgotten it: whom it was told to let
    /// alone, that its credential is refused, and which ids are bad.
    pub fn unheard(&mut self, conn: PeerConn) {
        self.told.retain(|_, told| told.by != conn);
        self.sent_away.retain(|_, told| told.by != conn);
        self.refused.retain(|_, refused| refused.by != conn);
        self.forget_return(conn);
        self.reported.retain(|_, by| {
            by.retain(|by| *by != conn);
            !by.is_empty()
        });
    }

    /// The client has forgotten all about a mailbox, also how long it was told to let it alone. Another part of it may look
    /// after the mailbox from now on, while the one that did gives its subscription back: what the one is told, the other
    /// does not know.
    pub fn forgotten(&mut self, mailbox: MailboxKey) {
        self.parted.insert(mailbox);
        self.told.remove(&BudgetKey::Copy(mailbox));
    }

    /// What arrives next on this connection was held up on its way: who sent it had not heard what was said meanwhile.
    pub fn comes_late(&mut self, conn: PeerConn) {
        if let Some(row) = self.conns.get_mut(&conn) {
            row.late = true;
        }
    }

    fn note_told(&mut self, now: Time, conn: PeerConn, budget: BudgetKey, until: Time) {
        let told = self.told.entry(budget).or_insert(Told { first: now, until, by: conn });
        told.until = told.until.max(until);
        told.by = conn;
    }

    fn say_busy(&mut self, now: Time, conn: PeerConn, budget: BudgetKey, busy: Busy) -> Refusal {
        let shape = match busy.shape {
            BusyShape::Rotate => {
                self.busy_turn += 1;
                [BusyShape::Fault, BusyShape::Message, BusyShape::Inner][(self.busy_turn - 1) % 3]
            }
            fixed @ (BusyShape::Fault | BusyShape::Message | BusyShape::Inner) => fixed,
        };
        // Rounded up, so that whoever waits exactly so long does not come early.
        let rest_ms = busy.rest(now).0.div_ceil(1_000);
        let mut values = Vec::new();
        if !busy.mute {
            values.push(("BackOffMilliseconds", rest_ms.to_string()));
            self.note_told(now, conn, budget, busy.until);
        }
        let code = Code::ErrorServerBusy;
        match shape {
            BusyShape::Message => {
                Refusal::Message(Failure { code, message: code.message().to_owned(), values })
            }
            BusyShape::Inner => {
                let outer = Code::ErrorInternalServerError;
                values.splice(
                    0..0,
                    [
                        ("InnerErrorMessageText", code.message().to_owned()),
                        ("InnerErrorResponseCode", code.as_str().to_owned()),
                        ("InnerErrorDescriptiveLinkKey", "0".to_owned()),
                    ],
                );
                Refusal::Message(Failure { code: outer, message: outer.message().to_owned(), values })
            }
            BusyShape::Fault | BusyShape::Rotate => Refusal::Fault(Fault { values, ..Fault::new(code) }),
        }
    }

    /// Charges a call that stays in flight.
    pub(super) fn charge(&mut self, budget: BudgetKey, operation: Operation) {
        let load = self.loads.entry(budget).or_default();
        match operation {
            Operation::GetStreamingEvents => load.streams += 1,
            Operation::SyncFolderItems => {
                load.syncs += 1;
                load.calls += 1;
            }
            Operation::Subscribe
            | Operation::Unsubscribe
            | Operation::GetItem
            | Operation::GetFolder
            | Operation::FindItem
            | Operation::ConvertId => load.calls += 1,
        }
        self.stats.concurrency_peak = self.stats.concurrency_peak.max(load.calls);
    }

    /// Gives back what [`Exchange::charge`] took.
    pub(super) fn release(&mut self, budget: BudgetKey, operation: Operation) {
        let Some(load) = self.loads.get_mut(&budget) else { return };
        match operation {
            Operation::GetStreamingEvents => load.streams -= 1,
            Operation::SyncFolderItems => {
                load.syncs -= 1;
                load.calls -= 1;
            }
            Operation::Subscribe
            | Operation::Unsubscribe
            | Operation::GetItem
            | Operation::GetFolder
            | Operation::FindItem
            | Operation::ConvertId => load.calls -= 1,
        }
        self.forget_idle(budget);
    }

    /// A budget pays for one more subscription, for as long as that lives, unless it has no room for it.
    pub(super) fn charge_subscription(&mut self, budget: BudgetKey) -> Result<(), Code> {
        let load = self.loads.entry(budget).or_default();
        if load.subscriptions >= self.config.limits.subscriptions_max {
            return Err(Code::ErrorExceededSubscriptionCount);
        }
        load.subscriptions += 1;
        Ok(())
    }

    /// Gives back what [`Exchange::charge_subscription`] took.
    pub(super) fn release_subscription(&mut self, budget: BudgetKey) {
        let Some(load) = self.loads.get_mut(&budget) else { return };
        load.subscriptions -= 1;
        self.forget_idle(budget);
    }

    fn forget_idle(&mut self, budget: BudgetKey) {
        let idle = |load: &Load| load.calls == 0 && load.streams == 0 && load.subscriptions == 0;
        if self.loads.get(&budget).is_some_and(idle) {
            self.loads.remove(&budget);
        }
    }
}
