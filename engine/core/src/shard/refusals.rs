//! What refusals of a credential, one after the other, say of it.
//!
//! A front end that restarts, or one bad back end among several, answers 401 to a password that is right. So a credential
//! that has worked is tried again soon, a few times and more and more slowly. Each try may be a wrong password, and
//! directories lock accounts after some of them: they are counted over all shards, and there are never ten.

use crate::limits::{REFUSALS_MAX, REFUSED_RETRY, REFUSED_TRIES};
use crate::time::Time;

/// Refusals of a credential since it last worked, or since it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusals {
    /// All answers that refused it.
    count: u8,
    /// Pauses that were kept before it was refused again, and the present one.
    pauses: u8,
    /// The end of the present pause: nobody tries it before.
    until: Time,
}

impl Refusals {
    /// One more, heard at `now`. `worked`: it has worked at some time.
    pub fn note(before: Option<Refusals>, now: Time, worked: bool) -> Refusals {
        let last = REFUSED_TRIES.len() as u8;
        let before =
            before.unwrap_or(Refusals { count: 0, pauses: if worked { 0 } else { last }, until: Time(0) });
        let count = before.count.saturating_add(1);
        let spent = count >= REFUSALS_MAX && before.pauses <= last;
        if now < before.until && !spent {
            // The answer to a request that had left before the pause began.
            return Refusals { count, ..before };
        }
        let pauses = if spent { last + 1 } else { before.pauses.saturating_add(1) };
        let pause = REFUSED_TRIES.get(usize::from(pauses) - 1).copied().unwrap_or(REFUSED_RETRY);
        Refusals { count, pauses, until: now + pause }
    }

    /// Nobody tries the credential before.
    pub fn until(&self) -> Time {
        self.until
    }

    /// It counts as refused: the tries are over, or it has never worked.
    pub fn are_final(&self) -> bool {
        usize::from(self.pauses) > REFUSED_TRIES.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn at(s: u64) -> Time {
        Time(0) + Span::from_secs(1_000 + s)
    }

    /// The waits that follow refusals which each come at the end of the wait before.
    fn waits(worked: bool, count: usize) -> Vec<(u64, bool)> {
        let (mut now, mut refusals) = (at(0), None);
        let wait = |_| {
            let noted = Refusals::note(refusals, now, worked);
            let wait = noted.until().since(now).as_millis() / 1_000;
            (now, refusals) = (noted.until(), Some(noted));
            (wait, noted.are_final())
        };
        (0..count).map(wait).collect()
    }

    #[test]
    fn what_has_worked_is_tried_three_times_and_what_never_has_not_at_all() {
        assert_eq!(
            waits(true, 6),
            [(5, false), (15, false), (40, false), (900, true), (900, true), (900, true)]
        );
        assert_eq!(waits(false, 3), [(900, true); 3]);
    }

    #[test]
    fn answers_to_what_was_under_way_are_no_tries_but_count_towards_the_lock_out() {
        let mut refusals = Refusals::note(None, at(0), true);
        for _ in 0..REFUSALS_MAX - 2 {
            let more = Refusals::note(Some(refusals), at(1), true);
            assert_eq!((more.until(), more.are_final()), (at(5), false));
            refusals = more;
        }
        let spent = Refusals::note(Some(refusals), at(6), true);
        assert!(spent.are_final());
        assert_eq!(spent.until(), at(6) + REFUSED_RETRY);
        let late = Refusals::note(Some(spent), at(7), true);
        assert_eq!(late.until(), at(6) + REFUSED_RETRY, "the pause has begun");
    }

    /// However refusals come, there are fewer than ten before the credential is left alone for long.
    #[test]
    fn a_credential_is_never_refused_ten_times_before_the_long_pause() {
        let mut rng = crate::rng::Rng::new(7);
        for _ in 0..2_000 {
            let (mut now, mut refusals, mut asked) = (at(0), None::<Refusals>, 0);
            while !refusals.is_some_and(|one| one.are_final()) {
                // Those who ask within the pause had left before.
                now = now + Span::from_secs(rng.below(30));
                refusals = Some(Refusals::note(refusals, now, true));
                asked += 1;
            }
            assert!(asked < 10, "{asked}");
        }
    }
}
