//! How many pushes a lane keeps in flight: as many as the provider answers without slowing down.

use crate::time::{Span, Time};

/// Additive increase, multiplicative decrease (as TCP, RFC 5681), on answers instead of segments.
///
/// It begins with `first`, and stays there until the provider has answered once (APNs takes a single push until it has
/// seen a valid provider token). Then each answer adds one, until the first cut; after it, a full window of answers adds
/// one. A refused stream, a push without an answer, or an answer far slower than usual cuts; all pushes that were in
/// flight at that time tell of the same trouble, so that they cut only once.
#[derive(Debug)]
pub(super) struct Window {
    limit: u32,
    limit_max: u32,
    /// Where growth becomes slow.
    threshold: u32,
    /// Answers since the last slow step.
    steps: u32,
    proven: bool,
    /// The usual answer time: the fastest, forgotten slowly. Zero before the first answer.
    usual_us: u64,
    /// When it was last cut: pushes sent up to then belong to that trouble.
    cut_at: Option<Time>,
}

impl Window {
    pub(super) fn new(first: u16, limit_max: u16) -> Window {
        let limit_max = u32::from(limit_max).max(1);
        Window {
            limit: u32::from(first).clamp(1, limit_max),
            limit_max,
            threshold: limit_max,
            steps: 0,
            proven: false,
            usual_us: 0,
            cut_at: None,
        }
    }

    /// Pushes that may be in flight.
    pub(super) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// The usual answer time; zero before the first answer.
    pub(super) fn usual(&self) -> Span {
        Span(self.usual_us)
    }

    /// Back to what a proven authorisation begins with; from there it grows as fast as at first.
    pub(super) fn begin_again(&mut self) {
        self.limit = self.limit.min(PROVEN_LIMIT);
        self.threshold = self.limit_max;
        self.steps = 0;
    }

    /// An answer came to a push sent at `sent`. `in_flight` counts it. `proof`: the provider looked at the push itself,
    /// so our authorisation is good.
    pub(super) fn answered(&mut self, now: Time, sent: Time, in_flight: usize, proof: bool) {
        let took_us = now.since(sent).0;
        let usual_us = if self.usual_us == 0 { took_us } else { self.usual_us };
        self.usual_us = took_us.min(usual_us + (took_us.saturating_sub(usual_us) >> USUAL_FORGETTING)).max(1);
        if proof && !self.proven {
            self.proven = true;
            self.limit = self.limit.max(PROVEN_LIMIT.min(self.limit_max));
        }
        if took_us > usual_us * SLOW_FACTOR + SLOW_MARGIN.0 {
            self.cut(now, sent, 7, 8);
        } else if self.proven && in_flight * 2 > self.limit() {
            // An answer to a window that is not used says nothing about a larger one.
            self.grow();
        }
    }

    /// The provider refused a stream.
    pub(super) fn refused(&mut self, now: Time, sent: Time) {
        self.cut(now, sent, 1, 2);
    }

    /// A push got no answer in time.
    pub(super) fn unanswered(&mut self, now: Time, sent: Time) {
        self.cut(now, sent, 1, 2);
    }

    fn grow(&mut self) {
        if self.limit < self.threshold {
            self.limit += 1;
        } else {
            self.steps += 1;
            if self.steps >= self.limit {
                self.steps = 0;
                self.limit += 1;
            }
        }
        self.limit = self.limit.min(self.limit_max);
    }

    fn cut(&mut self, now: Time, sent: Time, part: u32, of: u32) {
        if self.cut_at.is_some_and(|cut_at| sent <= cut_at) {
            return;
        }
        self.cut_at = Some(now);
        self.limit = (self.limit * part / of).max(1);
        self.threshold = self.limit;
        self.steps = 0;
    }
}

/// The window once our authorisation is proven: TCP's initial window, rounded up (RFC 6928).
const PROVEN_LIMIT: u32 = 16;

/// An answer slower than this many times the usual…
const SLOW_FACTOR: u64 = 4;

/// …and this besides is slow.
const SLOW_MARGIN: Span = Span::from_millis(250);

/// The usual time moves by 2^-10 of the difference with each slower answer.
const USUAL_FORGETTING: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    /// A full window sent at once; each answer makes room that is used at once.
    fn round(window: &mut Window, now: &mut Time, took: Span) {
        let sent = *now;
        *now = *now + took;
        for _ in 0..window.limit() {
            window.answered(*now, sent, window.limit(), true);
        }
    }

    #[test]
    fn it_stays_at_the_first_window_until_proven_then_doubles_each_round_to_its_bound() {
        let mut window = Window::new(1, 1_000);
        window.answered(Time(40 * MS), Time(0), 1, false);
        assert_eq!(window.limit(), 1);
        let mut now = Time(100 * MS);
        round(&mut window, &mut now, Span(40 * MS));
        assert_eq!(window.limit(), 16);
        let mut rounds = 0;
        while window.limit() < 1_000 {
            let before = window.limit();
            round(&mut window, &mut now, Span(40 * MS));
            assert!(window.limit() <= before * 2);
            rounds += 1;
        }
        assert_eq!(rounds, 6);
        round(&mut window, &mut now, Span(40 * MS));
        assert_eq!(window.limit(), 1_000);
    }

    #[test]
    fn one_trouble_cuts_once_and_growth_is_slow_afterwards() {
        let mut window = Window::new(100, 1_000);
        let mut now = Time(1);
        round(&mut window, &mut now, Span(40 * MS));
        assert_eq!(window.limit(), 200);
        let sent = now;
        now = now + Span(50 * MS);
        for _ in 0..200 {
            window.refused(now, sent);
        }
        assert_eq!(window.limit(), 100);
        now = now + Span(1);
        round(&mut window, &mut now, Span(40 * MS));
        assert_eq!(window.limit(), 101);
        window.unanswered(now, now);
        assert_eq!(window.limit(), 50);
    }

    #[test]
    fn answers_far_slower_than_usual_cut_and_the_window_never_closes() {
        let mut window = Window::new(100, 100);
        let mut now = Time(1);
        round(&mut window, &mut now, Span(40 * MS));
        assert_eq!(window.limit(), 100);
        round(&mut window, &mut now, Span(400 * MS));
        assert_eq!(window.limit(), 100, "within the margin");
        round(&mut window, &mut now, Span(900 * MS));
        assert_eq!(window.limit(), 87);
        for _ in 0..100 {
            now = now + Span(1);
            window.unanswered(now, now);
        }
        assert_eq!(window.limit(), 1);
    }

    #[test]
    fn after_an_outage_it_begins_small_and_doubles_again() {
        let mut window = Window::new(100, 1_000);
        let mut now = Time(1);
        for _ in 0..5 {
            round(&mut window, &mut now, Span(40 * MS));
        }
        assert_eq!(window.limit(), 1_000);
        window.begin_again();
        assert_eq!(window.limit(), 16);
        round(&mut window, &mut now, Span(40 * MS));
        assert_eq!(window.limit(), 32);
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut window = Window::new(100, 1_000);
        for step in 1..1_000 {
            window.answered(Time(step * 50 * MS), Time(step * 50 * MS - 40 * MS), 1, true);
        }
        assert_eq!(window.limit(), 100);
    }
}
