//! What went wrong with a mailbox several times in a row, so that the next pause can be longer, or the remedy stronger.

use std::mem::{Discriminant, discriminant};

use crate::ews::Action;
use crate::limits::{SETBACK_CALM, SETBACK_MEMORY};
use crate::time::{Span, Time};

/// Trouble of one kind, in a row. Most rows have none.
#[derive(Clone, Debug)]
pub struct Setback {
    kind: Discriminant<Action>,
    times: u8,
    /// When the pause after the last one ends.
    until: Time,
    /// Until when the mailbox's budget is exhausted, whatever else went wrong since.
    busy_until: Time,
}

impl Setback {
    /// How often the same happened before, in a row: with no more than [`SETBACK_MEMORY`] between the end of a pause and
    /// the next trouble.
    pub fn times(slot: Option<&Setback>, now: Time, action: Action) -> u8 {
        let recent = |setback: &&Setback| {
            setback.kind == discriminant(&action) && now < setback.until + SETBACK_MEMORY
        };
        slot.filter(recent).map_or(0, |setback| setback.times)
    }

    /// The mailbox has been told of by a stream for as long as [`SETBACK_CALM`]: what comes next is the first of its kind. How
    /// long its budget is exhausted stays.
    pub fn is_over(&mut self, now: Time) {
        if self.until + SETBACK_CALM <= now {
            self.times = 0;
        }
    }

    /// Whether the mailbox's budget is exhausted, and the server has said for how long.
    pub fn is_busy(&self, now: Time) -> bool {
        self.busy_until(now).is_some()
    }

    /// How long the mailbox's budget is exhausted, as the server has said.
    pub fn busy_until(&self, now: Time) -> Option<Time> {
        (now < self.busy_until).then_some(self.busy_until)
    }

    /// It happened (again), and is waited out for so long.
    pub fn note(slot: &mut Option<Box<Setback>>, now: Time, action: Action, wait: Span) {
        let times = Setback::times(slot.as_deref(), now, action).saturating_add(1);
        let (kind, until) = (discriminant(&action), now + wait);
        let mut busy_until = slot.as_deref().map_or(Time(0), |setback| setback.busy_until);
        if let Action::BackOffAccount { .. } = action {
            busy_until = busy_until.max(until);
        }
        *slot = Some(Box::new(Setback { kind, times, until, busy_until }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_in_a_row_is_counted_until_there_was_peace() {
        let mut slot = None;
        let times = |slot: &Option<Box<Setback>>, at| Setback::times(slot.as_deref(), at, Action::AwaitStore);
        let mut now = Time(0) + Span::from_secs(1);
        for n in 0..3 {
            assert_eq!(times(&slot, now), n);
            Setback::note(&mut slot, now, Action::AwaitStore, Span::from_secs(3_600));
            now = now + Span::from_secs(3_605);
        }
        assert_eq!(Setback::times(slot.as_deref(), now, Action::CatchUp), 0, "that is another trouble");
        assert_eq!(times(&slot, now + SETBACK_MEMORY), 0);
    }

    #[test]
    fn what_happens_after_a_mailbox_has_worked_for_a_while_is_the_first_of_its_kind() {
        let now = Time(0) + Span::from_secs(1);
        let again = |after: Span| {
            let mut slot = None;
            Setback::note(&mut slot, now, Action::BackOffAccount { ms: 600_000 }, Span::from_secs(600));
            Setback::note(&mut slot, now, Action::MailboxGone, Span::from_secs(60));
            Setback::note(&mut slot, now, Action::MailboxGone, Span::from_secs(60));
            let later = now + Span::from_secs(60) + after;
            slot.as_deref_mut().unwrap().is_over(later);
            assert!(slot.as_deref().unwrap().is_busy(later), "whatever else is over");
            Setback::times(slot.as_deref(), later, Action::MailboxGone)
        };
        assert_eq!((again(SETBACK_CALM), again(Span(SETBACK_CALM.0 - 1))), (0, 2));
    }

    #[test]
    fn a_budget_is_exhausted_for_as_long_as_was_said_whatever_else_goes_wrong() {
        let mut slot = None;
        let now = Time(0) + Span::from_secs(1);
        Setback::note(&mut slot, now, Action::BackOffAccount { ms: 40_000 }, Span::from_secs(40));
        Setback::note(&mut slot, now, Action::Resubscribe, Span::ZERO);
        let busy = |at: Time| slot.as_deref().is_some_and(|setback| setback.is_busy(at));
        assert!(busy(now + Span::from_secs(39)));
        assert!(!busy(now + Span::from_secs(40)));
    }
}
