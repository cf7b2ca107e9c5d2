//! Which mails a row has already dealt with, so that a catch-up neither loses one nor tells it twice.

use crate::limits::{KNOWN_LOOK_BACK, SEEN_ITEMS_MIN, TOLD_ITEMS_GAP_MAX, TOLD_ITEMS_MAX};
use crate::shard::{NoticeRecord, ToldMail};
use crate::time::UnixMillis;

/// The mails seen: everything received up to a floor, and single ones after it, each either dealt with or waiting.
///
/// The floor trails the newest mail by [`KNOWN_LOOK_BACK`], because an event's time stamp and the mail's own time of
/// receipt differ by seconds, and mails do not become visible in the order of their time stamps. It stays below the
/// oldest mail that waits, so that what is stored never covers a mail that nobody was told of.
#[derive(Clone, Debug)]
pub struct Known {
    floor: UnixMillis,
    /// In the order of learning. Only what is after the floor is kept, so an idle row holds next to nothing.
    recent: Vec<Seen>,
    /// When the oldest mail that waits was received, also if `recent` could not hold it.
    waiting_since: Option<UnixMillis>,
    /// The moment of registration by our own clock, as long as nobody has looked into the mailbox.
    began: Option<UnixMillis>,
    /// The floor is by the mail server's clock.
    clock_heard: bool,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    hash: u64,
    received: UnixMillis,
    waiting: bool,
    /// A look into the folder may have been faster than the stream: its event may still come, however old it is by then.
    event_may_come: bool,
}

impl Known {
    /// As it was stored. A row that was never stored begins with the present second, which is as exactly as mail
    /// servers tell the time.
    pub fn restore(record: &NoticeRecord, now: UnixMillis) -> Known {
        let clock_heard = record.sync_point != UnixMillis(0);
        let second = UnixMillis((now.as_secs() * 1_000).saturating_sub(1));
        let began = record.began.or((!clock_heard).then_some(second));
        let floor = began.filter(|_| !clock_heard).unwrap_or(record.sync_point);
        let first = record.told.len().saturating_sub(TOLD_ITEMS_GAP_MAX);
        let seen = |told: &ToldMail| Seen {
            hash: told.hash,
            received: told.received,
            waiting: false,
            event_may_come: true,
        };
        let recent = record.told[first..].iter().filter(|_| !planted!(ToldForgotten)).map(seen).collect();
        Known { floor, recent, waiting_since: None, began, clock_heard }
    }

    /// The mail server's clock, by which mails are stamped, is so far ahead of ours, as was heard last. It may be set before
    /// or after the registration, and that is heard later: of what was heard up to the first look into the mailbox, what
    /// loses no mail counts.
    pub fn hear_clock(&mut self, ahead_ms: i64) {
        let Some(began) = self.began else { return };
        let by_server = UnixMillis(began.0.saturating_add_signed(ahead_ms));
        self.floor = if self.clock_heard { self.floor.min(by_server) } else { by_server };
        self.clock_heard = true;
    }

    /// The mailbox is looked into: from now on the floor follows the mails. True for the first time, which is to be stored.
    pub fn begin_look(&mut self, ahead_ms: i64) -> bool {
        self.hear_clock(ahead_ms);
        self.began.take().is_some()
    }

    /// Whether a mail seen in an event was seen before.
    pub fn contains(&self, hash: u64) -> bool {
        self.recent.iter().any(|seen| seen.hash == hash)
    }

    /// Whether a mail found by a look into the folder was seen before.
    pub fn covers(&self, hash: u64, received: UnixMillis) -> bool {
        received <= self.floor || self.contains(hash)
    }

    /// How many single mails it keeps; at most [`TOLD_ITEMS_GAP_MAX`].
    pub fn kept(&self) -> usize {
        self.recent.len()
    }

    /// Mails received up to this were all seen: a catch-up need not look further back.
    pub fn floor(&self) -> UnixMillis {
        self.floor
    }

    /// Takes in a mail that waits to be told. `gap`: see [`Known::settle`].
    pub fn add(&mut self, hash: u64, received: UnixMillis, gap: bool) {
        if !self.contains(hash) {
            if !gap {
                self.heard(received);
            }
            self.recent.push(Seen { hash, received, waiting: true, event_may_come: gap });
            self.waiting_since = Some(self.waiting_since.map_or(received, |since| since.min(received)));
            self.limit(gap);
        }
    }

    /// A subscription tells in order: who hears of a mail has heard of those from well before it.
    fn heard(&mut self, received: UnixMillis) {
        let before = UnixMillis(received.0.saturating_sub(KNOWN_LOOK_BACK.as_millis()));
        for seen in self.recent.iter_mut().filter(|seen| seen.received < before) {
            seen.event_may_come = false;
        }
    }

    /// A burst within the look-back: the oldest give way, and the floor rises over them.
    fn limit(&mut self, gap: bool) {
        let most = if gap || self.recent.iter().any(|seen| seen.event_may_come) {
            TOLD_ITEMS_GAP_MAX
        } else {
            TOLD_ITEMS_MAX
        };
        let Some(excess) = self.recent.len().checked_sub(most + 1) else { return };
        let oldest = self.recent.drain(..=excess).map(|seen| seen.received).max();
        if !gap {
            self.floor = self.floor.max(oldest.unwrap_or_default());
        }
        self.prune();
    }

    /// A mail got another id: what was known of it is known of the new one. True if that is to be stored: it has been dealt
    /// with, and nothing else will say so.
    pub fn rename(&mut self, old: u64, new: u64) -> bool {
        let Some(seen) = self.recent.iter().find(|seen| seen.hash == old).copied() else { return false };
        if self.contains(new) {
            return false;
        }
        self.recent.push(Seen { hash: new, ..seen });
        // As during a gap: room for the new id must not cover mails that nobody has told.
        self.limit(true);
        !seen.waiting
    }

    /// Nothing is known of this mail any more.
    pub fn forget(&mut self, hash: u64) {
        self.recent.retain(|seen| seen.hash != hash);
    }

    /// All mails that waited have been dealt with.
    ///
    /// `gap`: older mails may be there of which no event told; until a look into the folder has found them, the floor
    /// must not rise over them, however new the mails are of which events tell.
    pub fn settle(&mut self, gap: bool) {
        let gap = gap && !planted!(FloorOverGap);
        self.waiting_since = None;
        let mut newest = 0;
        for seen in &mut self.recent {
            seen.waiting = false;
            newest = newest.max(seen.received.0);
        }
        if !gap {
            self.floor = self.floor.max(UnixMillis(newest.saturating_sub(KNOWN_LOOK_BACK.as_millis())));
            self.prune();
            self.limit(false);
        }
    }

    /// What is to be stored: never more than was dealt with.
    pub fn record(&self, unread: Option<u32>) -> NoticeRecord {
        let below = self.waiting_since.map(|since| UnixMillis(since.0.saturating_sub(1)));
        let floor = below.map_or(self.floor, |below| self.floor.min(below));
        let told = self.recent.iter().filter(|seen| !seen.waiting);
        let known = self.clock_heard || below.is_some();
        NoticeRecord {
            sync_point: if known { floor.max(UnixMillis(1)) } else { UnixMillis(0) },
            began: self.began,
            told: told.map(|seen| ToldMail { hash: seen.hash, received: seen.received }).collect(),
            unread,
        }
    }

    /// The last few stay in any case: an event may come twice, whatever its time stamp.
    fn prune(&mut self) {
        let floor = self.floor;
        let last_few = self.recent.len().saturating_sub(SEEN_ITEMS_MIN);
        let mut at = 0;
        self.recent.retain(|seen| {
            at += 1;
            at > last_few || seen.received > floor || seen.event_may_come
        });
        if self.recent.len() <= SEEN_ITEMS_MIN && self.recent.capacity() > 2 * SEEN_ITEMS_MIN {
            self.recent.shrink_to(SEEN_ITEMS_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000;

    fn fresh() -> Known {
        Known::restore(&NoticeRecord::default(), UnixMillis(500 * S))
    }

    #[test]
    fn a_new_row_knows_what_came_before_it() {
        let known = fresh();
        assert!(known.covers(1, UnixMillis(499 * S)));
        assert!(!known.covers(1, UnixMillis(500 * S)));
    }

    #[test]
    fn a_new_row_begins_when_it_was_registered_by_the_clock_that_stamps_its_mails() {
        for (ahead_s, first_s) in [(0, 500), (-300, 200), (300, 800)] {
            let mut known = fresh();
            known.begin_look(ahead_s * S as i64);
            assert!(known.covers(1, UnixMillis((first_s - 1) * S)), "{ahead_s} s ahead");
            assert!(!known.covers(1, UnixMillis(first_s * S)), "{ahead_s} s ahead");
            known.begin_look(-7_000_000);
            assert!(known.covers(1, UnixMillis((first_s - 1) * S)), "nothing hangs on it any more");
        }
        let mut known = fresh();
        known.begin_look(0);
        known.add(1, UnixMillis(520 * S), false);
        known.settle(false);
        let mut again = Known::restore(&known.record(Some(1)), UnixMillis(9_000 * S));
        again.begin_look(-300 * S as i64);
        assert!(again.covers(2, UnixMillis(450 * S)), "what was dealt with has its server's time");
    }

    #[test]
    fn a_clock_that_is_set_around_the_registration_loses_no_mail_whatever_was_stored_meanwhile() {
        // Heard by the registration, if at all, and with the first look.
        for (before_s, then_s) in
            [(None, -300), (None, 300), (Some(0), -20), (Some(300), 280), (Some(280), 300)]
        {
            for crash in [false, true] {
                let mut known = fresh();
                before_s.into_iter().for_each(|ahead_s: i64| known.hear_clock(ahead_s * S as i64));
                if crash {
                    known = Known::restore(&known.record(None), UnixMillis(9_000 * S));
                }
                known.begin_look(then_s * S as i64);
                let first_s = (500 + before_s.map_or(then_s, |before_s| before_s.min(then_s))) as u64;
                assert!(known.covers(1, UnixMillis((first_s - 1) * S)), "{before_s:?}, {then_s}, {crash}");
                assert!(!known.covers(1, UnixMillis(first_s * S)), "{before_s:?}, {then_s}, {crash}");
            }
        }
    }

    #[test]
    fn a_mail_with_an_older_time_stamp_than_the_newest_is_still_news() {
        let mut known = fresh();
        known.add(1, UnixMillis(520 * S), false);
        known.settle(false);
        assert!(known.covers(1, UnixMillis(520 * S)));
        assert!(!known.covers(2, UnixMillis(519 * S)));
    }

    #[test]
    fn what_was_stored_is_told_to_nobody_again() {
        let mut known = fresh();
        for n in 0..10 {
            known.add(n, UnixMillis((520 + n) * S), false);
        }
        known.settle(false);
        let again = Known::restore(&known.record(None), UnixMillis(9_000 * S));
        for n in 0..10 {
            assert!(again.covers(n, UnixMillis((520 + n) * S)), "{n}");
        }
        assert!(!again.covers(99, UnixMillis(529 * S)));
    }

    #[test]
    fn what_was_stored_stays_known_when_newer_mail_comes() {
        let mut known = fresh();
        for n in 0..12 {
            known.add(n, UnixMillis(560 * S), false);
        }
        known.settle(false);
        let mut again = Known::restore(&known.record(None), UnixMillis(9_000 * S));
        again.add(100, UnixMillis(601 * S), false);
        again.settle(false);
        assert!((0..12).all(|n| again.covers(n, UnixMillis(560 * S))));
    }

    #[test]
    fn newer_mail_does_not_cover_the_mails_of_a_gap() {
        let mut known = fresh();
        known.add(1, UnixMillis(900 * S), true);
        known.settle(true);
        assert!(!known.covers(2, UnixMillis(700 * S)), "no event told of it, and nobody has looked yet");
        known.add(2, UnixMillis(700 * S), false);
        known.settle(false);
        assert!(known.covers(2, UnixMillis(700 * S)) && known.covers(1, UnixMillis(900 * S)));
    }

    #[test]
    fn what_a_look_found_is_known_until_the_stream_has_caught_up_with_it() {
        let mut known = fresh();
        for n in 0..40 {
            known.add(n, UnixMillis((560 + 10 * n) * S), true);
        }
        known.settle(false);
        assert!(
            (0..40).all(|n| known.contains(n)),
            "the floor rose over most, but their events may still come"
        );
        known.add(40, UnixMillis(955 * S), false);
        known.settle(false);
        assert!(known.contains(39), "received little before the one that the stream told of");
        assert!(!known.contains(0) && known.covers(0, UnixMillis(560 * S)));
    }

    #[test]
    fn what_waits_is_not_stored_as_told() {
        let mut known = fresh();
        known.add(1, UnixMillis(600 * S), false);
        known.settle(false);
        known.add(2, UnixMillis(590 * S), false);
        let again = Known::restore(&known.record(None), UnixMillis(9_000 * S));
        assert!(again.covers(1, UnixMillis(600 * S)));
        assert!(!again.covers(2, UnixMillis(590 * S)));
        assert!(known.contains(2), "but the row itself has seen it");
    }

    #[test]
    fn a_long_burst_stays_within_its_bound_and_covers_all_of_it() {
        let mut known = fresh();
        for n in 0..1_000 {
            known.add(n, UnixMillis(600 * S), false);
        }
        known.settle(false);
        assert!(known.recent.len() <= TOLD_ITEMS_MAX);
        assert!((0..1_000).all(|n| known.covers(n, UnixMillis(600 * S))));
    }

    #[test]
    fn a_burst_while_a_gap_is_looked_into_makes_it_forget_nothing_that_the_look_can_find() {
        let mut known = fresh();
        for n in 0..200 {
            known.add(n, UnixMillis((560 + n / 4) * S), n >= 40);
        }
        assert!((0..200).all(|n| known.covers(n, UnixMillis((560 + n / 4) * S))));
        assert!(!known.covers(999, UnixMillis(580 * S)), "nobody has looked yet");
        let again = Known::restore(&known.record(None), UnixMillis(9_000 * S));
        assert!(!again.covers(0, UnixMillis(560 * S)), "it waits");
        known.settle(true);
        let again = Known::restore(&known.record(None), UnixMillis(9_000 * S));
        assert!((0..200).all(|n| again.covers(n, UnixMillis((560 + n / 4) * S))));
        known.settle(false);
        assert!(known.recent.len() <= TOLD_ITEMS_GAP_MAX);
        known.add(1_000, UnixMillis(700 * S), false);
        known.settle(false);
        assert!(known.recent.len() <= TOLD_ITEMS_MAX, "the stream has caught up");
        assert!((0..200).all(|n| known.covers(n, UnixMillis((560 + n / 4) * S))));
    }

    #[test]
    fn an_event_with_an_old_time_stamp_is_recognised_when_it_comes_again() {
        let mut known = fresh();
        known.add(1, UnixMillis(100 * S), false);
        known.settle(false);
        assert!(known.contains(1));
    }

    #[test]
    fn an_idle_row_forgets_old_mails_but_covers_them() {
        let mut known = fresh();
        for n in 0..20 {
            known.add(n, UnixMillis((600 + n * 300) * S), false);
            known.settle(false);
        }
        assert!(known.recent.len() <= SEEN_ITEMS_MIN);
        assert!(known.covers(3, UnixMillis(1_500 * S)));
    }
}
