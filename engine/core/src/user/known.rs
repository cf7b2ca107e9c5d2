//! Which mails a row has already dealt with, so that a catch-up neither loses one nor tells it twice.

use crate::limits::{
    CLOCK_SKEW_MS_MAX, FUTURE_ITEMS_MAX, KNOWN_LOOK_BACK, SEEN_ITEMS_MIN, TOLD_ITEMS_GAP_MAX, TOLD_ITEMS_MAX,
};
use crate::shard::{NoticeRecord, ToldMail};
use crate::time::UnixMillis;

/// The mails seen: everything received up to a floor, and single ones after it, each either dealt with or waiting.
///
/// The floor trails the newest mail by [`KNOWN_LOOK_BACK`], because an event's time stamp and the mail's own time of
/// receipt differ by seconds, and mails do not become visible in the order of their time stamps. It stays below the
/// oldest mail that waits, so that what is stored never covers a mail that nobody was told of. It never passes the mail
/// server's present, whatever the dates of mails, and comes down when the server's clock is set back.
#[derive(Clone, Debug)]
pub struct Known {
    floor: UnixMillis,
    /// Of mails that are dated after the present, those up to this were dealt with, too: the floor has stood there while the
    /// server's clock was ahead, or their hashes had to give way. Zero: none.
    beyond: UnixMillis,
    /// How far the server's clock has come since: what is dated before that may have come since, too. Stored with it, or a
    /// restart would take the mark away from a server whose clock is behind ours.
    beyond_from: UnixMillis,
    /// The mail server's present when it was last heard of.
    present: UnixMillis,
    /// In the order of learning. Only what is after the floor is kept, so an idle row holds next to nothing.
    recent: Vec<Seen>,
    /// Up to where hashes gave way during a gap: covered by date as soon as a look has found what the gap left.
    given_way: UnixMillis,
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

/// Stored among the hashes of mails, and none of them: its time is [`Known::beyond`].
const BEYOND: u64 = u64::MAX;

/// Likewise: its time is [`Known::beyond_from`].
const BEYOND_FROM: u64 = u64::MAX - 1;

impl Known {
    /// As it was stored. A row that was never stored begins with the present second, which is as exactly as mail
    /// servers tell the time.
    pub fn restore(record: &NoticeRecord, now: UnixMillis) -> Known {
        let clock_heard = record.sync_point != UnixMillis(0);
        let second = UnixMillis((now.as_secs() * 1_000).saturating_sub(1));
        let began = record.began.or((!clock_heard).then_some(second));
        let floor = began.filter(|_| !clock_heard).unwrap_or(record.sync_point);
        let seen = |told: &ToldMail| Seen {
            hash: told.hash,
            received: told.received,
            waiting: false,
            event_may_come: true,
        };
        let mark = |hash: u64| {
            record.told.iter().filter(move |told| told.hash == hash).map(|told| told.received).max()
        };
        let beyond = mark(BEYOND).unwrap_or_default();
        // Where the mark lies ahead of our clock, a server whose clock was set right may have stamped mails up to now. Where
        // it lies behind, such a server stamps later.
        let stored_from = mark(BEYOND_FROM).filter(|_| beyond <= now);
        let is_mark = |told: &ToldMail| told.hash >= BEYOND_FROM;
        let told = record.told.iter().filter(|told| !is_mark(told) && !planted!(ToldForgotten));
        let mut recent: Vec<Seen> = told.map(seen).collect();
        recent.drain(..recent.len().saturating_sub(TOLD_ITEMS_GAP_MAX));
        Known {
            floor,
            beyond,
            beyond_from: stored_from.unwrap_or(now),
            present: now,
            recent,
            given_way: UnixMillis(0),
            waiting_since: None,
            began,
            clock_heard,
        }
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

    /// The mail server's clock stands here: no mail that arrives from now on has a date that lies much before it, and none
    /// that has a later date says anything of the others.
    pub fn set_present(&mut self, present: UnixMillis) {
        self.present = present;
        self.beyond_from = self.beyond_from.max(present);
    }

    /// Of mails dated after the present, those up to this were dealt with.
    fn cover_beyond(&mut self, to: UnixMillis) {
        if to > self.beyond {
            // The floor has been above all that was covered so before; or there are more of the same kind.
            self.beyond = to;
            self.beyond_from = self.present;
        }
    }

    /// The mailbox is looked into: from now on the floor follows the mails. True for the first time.
    pub fn begin_look(&mut self, ahead_ms: i64) -> bool {
        self.hear_clock(ahead_ms);
        self.began.take().is_some()
    }

    /// The mail server's clock was set back, and [`Known::set_present`] was told so: mails that came since may be dated from
    /// `earliest` on. True if that is to be stored.
    pub fn clock_set_back(&mut self, earliest: UnixMillis) -> bool {
        if self.floor <= earliest {
            return false;
        }
        self.cover_beyond(self.floor);
        self.floor = earliest;
        true
    }

    /// A floor that lies in the future was stored by another clock than the server has now, which is `ahead_ms` ahead of
    /// ours. If it was right, like ours, the floor is as old as ours says. Otherwise it comes down to the newest mail of which
    /// the date can be believed. True if that is to be stored.
    pub fn repair(&mut self, ahead_ms: i64) -> bool {
        if self.floor <= self.present {
            return false;
        }
        let believed =
            self.recent.iter().map(|seen| seen.received).filter(|received| *received <= self.present);
        let newest =
            believed.max().map(|newest| UnixMillis(newest.0.saturating_sub(KNOWN_LOOK_BACK.as_millis())));
        let by_ours = UnixMillis(self.floor.0.saturating_add_signed(ahead_ms));
        let earliest = newest.max(Some(by_ours).filter(|at| *at <= self.present));
        self.clock_set_back(earliest.unwrap_or(self.present))
    }

    /// Whether a mail seen in an event was seen before.
    pub fn contains(&self, hash: u64) -> bool {
        self.recent.iter().any(|seen| seen.hash == hash)
    }

    /// Whether a mail found by a look into the folder was seen before.
    pub fn covers(&self, hash: u64, received: UnixMillis) -> bool {
        let beyond = received <= self.beyond && received.millis_since(self.beyond_from) > CLOCK_SKEW_MS_MAX;
        received <= self.floor || beyond || self.contains(hash)
    }

    /// Whether a date lies further ahead than clocks that are well kept differ. Such a mail is known by its hash alone: its
    /// date says nothing of those that come after it.
    pub fn is_future(&self, received: UnixMillis) -> bool {
        received.millis_since(self.present) > CLOCK_SKEW_MS_MAX
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
            if !gap && !self.is_future(received) {
                self.heard(received);
            }
            self.recent.push(Seen { hash, received, waiting: true, event_may_come: gap });
            self.waiting_since = Some(self.waiting_since.map_or(received, |since| since.min(received)));
            self.limit(gap);
        }
    }

    /// Takes in a mail of which nobody is to be told.
    pub fn learn(&mut self, hash: u64, received: UnixMillis) {
        if !self.contains(hash) {
            self.recent.push(Seen { hash, received, waiting: false, event_may_come: false });
            self.limit(true);
        }
    }

    /// The date of a mail of which only an event had told so far. If it lies in the future, the mail is on top of its folder
    /// for as long, and has to be known for as long.
    pub fn dated(&mut self, hash: u64, received: UnixMillis) {
        if self.is_future(received)
            && let Some(seen) = self.recent.iter_mut().find(|seen| seen.hash == hash)
        {
            seen.received = received;
            self.limit(true);
        }
    }

    /// A subscription tells in order: who hears of a mail has heard of those from well before it.
    fn heard(&mut self, received: UnixMillis) {
        let before = UnixMillis(received.0.saturating_sub(KNOWN_LOOK_BACK.as_millis()));
        for seen in self.recent.iter_mut().filter(|seen| seen.received < before) {
            seen.event_may_come = false;
        }
    }

    /// More than it keeps: those with the oldest dates give way, since looks and streams come to them first, and looks end
    /// before them. The floor rises over them; during a gap only when that is over.
    fn limit(&mut self, gap: bool) {
        if !gap {
            self.limit_future();
        }
        let most = if gap || self.recent.iter().any(|seen| seen.event_may_come) {
            TOLD_ITEMS_GAP_MAX
        } else {
            TOLD_ITEMS_MAX
        };
        let excess = self.recent.len().saturating_sub(most);
        if excess == 0 {
            return;
        }
        let mut dates: Vec<UnixMillis> = self.recent.iter().map(|seen| seen.received).collect();
        let (_, youngest, _) = dates.select_nth_unstable(excess - 1);
        let youngest = *youngest;
        let mut left = excess;
        self.recent.retain(|seen| {
            let gives_way = left > 0 && seen.received <= youngest;
            left -= usize::from(gives_way);
            !gives_way
        });
        match self.is_future(youngest) {
            true => self.cover_beyond(youngest),
            false => self.given_way = self.given_way.max(youngest),
        }
        if !gap {
            self.cover_what_gave_way();
        }
        self.prune();
    }

    /// Of mails dated in the future the last few are known by their hashes, and those with earlier dates by that.
    fn limit_future(&mut self) {
        let present = self.present;
        let future = |seen: &Seen| seen.received.millis_since(present) > CLOCK_SKEW_MS_MAX;
        let mut excess =
            self.recent.iter().filter(|seen| future(seen)).count().saturating_sub(FUTURE_ITEMS_MAX);
        let mut beyond = UnixMillis(0);
        self.recent.retain(|seen| {
            let gives_way = excess > 0 && future(seen);
            if gives_way {
                excess -= 1;
                beyond = beyond.max(seen.received);
            }
            !gives_way
        });
        if beyond > UnixMillis(0) {
            // Nothing is outstanding: whatever lies there has been seen, also what the mark did not cover. What is neither
            // known nor covered would be told at each look.
            self.beyond = self.beyond.max(beyond);
            self.beyond_from = self.present;
        }
    }

    fn cover_what_gave_way(&mut self) {
        self.floor = self.floor.max(std::mem::take(&mut self.given_way).min(self.present));
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
        let mut newest = UnixMillis(0);
        let present = if planted!(FutureBelieved) { UnixMillis(u64::MAX) } else { self.present };
        for seen in &mut self.recent {
            seen.waiting = false;
            newest = newest.max(seen.received.min(present));
        }
        if !gap {
            self.cover_what_gave_way();
            self.floor = self.floor.max(UnixMillis(newest.0.saturating_sub(KNOWN_LOOK_BACK.as_millis())));
            self.prune();
            self.limit(false);
        }
    }

    /// What is to be stored: never more than was dealt with.
    pub fn record(&self, unread: Option<u32>) -> NoticeRecord {
        let below = self.waiting_since.map(|since| UnixMillis(since.0.saturating_sub(1)));
        let floor = below.map_or(self.floor, |below| self.floor.min(below));
        let marks = [(BEYOND, self.beyond), (BEYOND_FROM, self.beyond_from)];
        let marks = marks.into_iter().filter(|_| self.beyond > self.beyond_from);
        let marks = marks.map(|(hash, received)| ToldMail { hash, received });
        let told = self.recent.iter().filter(|seen| !seen.waiting);
        let told = told.map(|seen| ToldMail { hash: seen.hash, received: seen.received });
        let known = self.clock_heard || below.is_some();
        NoticeRecord {
            sync_point: if known { floor.max(UnixMillis(1)) } else { UnixMillis(0) },
            began: self.began,
            told: marks.chain(told).collect(),
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

    /// Registered at 500 s; since then much time has passed.
    fn fresh() -> Known {
        let mut known = Known::restore(&NoticeRecord::default(), UnixMillis(500 * S));
        known.set_present(UnixMillis(100_000 * S));
        known
    }

    fn stored(known: &Known) -> Known {
        Known::restore(&known.record(None), UnixMillis(100_000 * S))
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

    #[test]
    fn a_mail_dated_in_the_future_is_known_itself_and_covers_no_other() {
        for (gap, look) in [(false, false), (true, true)] {
            let mut known = fresh();
            known.set_present(UnixMillis(1_000 * S));
            known.add(1, UnixMillis(9_000_000 * S), gap);
            known.settle(gap);
            known.settle(false);
            assert!(known.covers(1, UnixMillis(9_000_000 * S)));
            assert!(!known.covers(2, UnixMillis(1_001 * S)), "by a look: {look}");
            assert!(!known.covers(3, UnixMillis(8_000_000 * S)), "nor another one of the future");
            // It stays on top of its folder while hundreds of others come.
            for n in 100..400 {
                known.set_present(UnixMillis((1_000 + 10 * n) * S));
                known.add(n, UnixMillis((1_000 + 10 * n) * S), false);
                known.settle(false);
            }
            assert!(known.covers(1, UnixMillis(9_000_000 * S)) && known.floor() <= known.present);
            assert!(stored(&known).covers(1, UnixMillis(9_000_000 * S)));
            assert!(known.kept() <= SEEN_ITEMS_MIN + 8, "{}", known.kept());
        }
    }

    #[test]
    fn the_date_of_a_mail_that_an_event_told_of_keeps_it_known_for_as_long() {
        let mut known = fresh();
        known.set_present(UnixMillis(1_000 * S));
        known.add(1, UnixMillis(1_000 * S), false);
        known.dated(1, UnixMillis(9_000_000 * S));
        known.settle(false);
        for n in 100..200 {
            known.set_present(UnixMillis(100 * n * S));
            known.add(n, UnixMillis(100 * n * S), false);
            known.settle(false);
        }
        assert!(known.covers(1, UnixMillis(9_000_000 * S)));
    }

    #[test]
    fn of_many_mails_dated_in_the_future_each_is_known_and_few_are_kept() {
        let mut known = fresh();
        known.set_present(UnixMillis(1_000 * S));
        for n in 0..300 {
            known.add(n, UnixMillis((9_000_000 + n) * S), false);
            known.settle(false);
        }
        assert!(known.kept() <= FUTURE_ITEMS_MAX);
        for known in [known.clone(), stored(&known)] {
            let mut known = known;
            known.set_present(UnixMillis(1_000 * S));
            assert!((0..300).all(|n| known.covers(n, UnixMillis((9_000_000 + n) * S))));
            assert!(!known.covers(999, UnixMillis(1_001 * S)), "an ordinary one");
            assert!(!known.covers(999, UnixMillis(9_500_000 * S)), "one from later still");
        }
    }

    #[test]
    fn a_floor_that_was_stored_by_a_clock_that_was_ahead_comes_down_to_the_newest_mail() {
        let told = |hash, at_s| ToldMail { hash, received: UnixMillis(at_s * S) };
        let record = NoticeRecord {
            sync_point: UnixMillis(8_000_000 * S),
            told: vec![told(1, 900), told(2, 950), told(3, 8_000_060)],
            ..NoticeRecord::default()
        };
        let mut known = Known::restore(&record, UnixMillis(1_000 * S));
        known.begin_look(0);
        assert!(known.repair(0));
        assert!(known.covers(2, UnixMillis(950 * S)) && known.covers(3, UnixMillis(8_000_060 * S)));
        assert!(known.covers(9, UnixMillis(889 * S)) && !known.covers(9, UnixMillis(960 * S)));
        assert!(known.covers(9, UnixMillis(7_999_000 * S)), "what the clock stamped while it was ahead");
        assert!(!known.repair(0), "once");
        // Of nothing else is known how far it got.
        let record = NoticeRecord { told: Vec::new(), ..record };
        let mut known = Known::restore(&record, UnixMillis(1_000 * S));
        assert!(known.repair(0) && known.floor() == UnixMillis(1_000 * S));
    }

    #[test]
    fn a_clock_that_is_set_back_brings_the_floor_down_and_what_it_stamped_before_stays_known() {
        let mut known = fresh();
        known.set_present(UnixMillis(90_000 * S));
        for n in 0..100 {
            known.add(n, UnixMillis((89_000 + 10 * n) * S), false);
            known.settle(false);
        }
        assert!(!known.clock_set_back(UnixMillis(89_950 * S)), "the floor is lower");
        known.set_present(UnixMillis(3_650 * S));
        assert!(known.clock_set_back(UnixMillis(3_600 * S)));
        assert!(!known.covers(500, UnixMillis(3_601 * S)));
        known.settle(false);
        assert!(
            !known.covers(500, UnixMillis(3_601 * S)),
            "what the clock stamped before says nothing of it"
        );
        for known in [known.clone(), Known::restore(&known.record(None), UnixMillis(3_650 * S))] {
            assert!((0..100).all(|n| known.covers(n, UnixMillis((89_000 + 10 * n) * S))));
        }
    }

    #[test]
    fn what_a_clock_stamped_before_it_went_behind_is_known_after_restarts_too() {
        let mut known = fresh();
        known.begin_look(0);
        for n in 0..100 {
            known.set_present(UnixMillis((89_000 + 10 * n) * S));
            known.add(n, UnixMillis((89_000 + 10 * n) * S), false);
            known.settle(false);
        }
        // Three hours behind from now on, while ours goes right.
        known.set_present(UnixMillis(79_200 * S));
        assert!(known.clock_set_back(UnixMillis(79_190 * S)));
        for restart in 1..4 {
            let now = 90_000 + 100 * restart;
            known = Known::restore(&known.record(None), UnixMillis(now * S));
            known.set_present(UnixMillis((now - 10_800) * S));
            let told_again =
                (0..100).filter(|n| !known.covers(*n, UnixMillis((89_000 + 10 * n) * S))).count();
            assert_eq!(told_again, 0, "restart {restart}");
            assert!(!known.covers(500, UnixMillis((now - 10_805) * S)), "what comes now");
        }
    }

    #[test]
    fn mails_that_the_mark_does_not_cover_are_found_once_and_not_at_each_look() {
        let mut known = fresh();
        known.begin_look(0);
        // Dated in the future, and more than are known by their hashes.
        for n in 0..40 {
            known.set_present(UnixMillis(80_000 * S));
            known.add(n, UnixMillis((9_000_000 + n) * S), false);
            known.settle(false);
        }
        let at = |n: u64| UnixMillis((82_000 + 30 * n) * S);
        let ordinary = 100..200;
        for n in ordinary.clone() {
            known.set_present(at(n));
            known.add(n, at(n), false);
            known.settle(false);
        }
        let look = |known: &mut Known| {
            let found: Vec<u64> = ordinary.clone().filter(|n| !known.covers(*n, at(*n))).collect();
            found.iter().for_each(|n| known.add(*n, at(*n), true));
            known.settle(false);
            assert!((0..40).all(|n| known.covers(n, UnixMillis((9_000_000 + n) * S))));
            found.len()
        };
        // Behind by hours, so that all of it lies in the server's future.
        known.set_present(UnixMillis(70_000 * S));
        known.clock_set_back(UnixMillis(69_990 * S));
        let mut looks = Vec::new();
        for restart in 0..3 {
            let found: Vec<usize> = (0..3).map(|_| look(&mut known)).collect();
            assert_eq!(found[1..], [0, 0], "restart {restart}: {found:?}");
            looks.push(found[0]);
            known = stored(&known);
            known.set_present(UnixMillis(70_100 * S));
        }
        assert!(looks[1] > 0, "nobody knows, once after each start: {looks:?}");
    }

    #[test]
    fn a_clock_that_is_set_back_twice_covers_nothing_that_came_in_between() {
        let mut known = fresh();
        known.begin_look(0);
        known.set_present(UnixMillis(20_000 * S));
        known.add(1, UnixMillis(20_000 * S), false);
        known.settle(false);
        // It was ahead, and is right again.
        known.set_present(UnixMillis(10_000 * S));
        assert!(known.clock_set_back(UnixMillis(9_990 * S)));
        assert!(known.covers(9, UnixMillis(19_000 * S)));
        // For an hour it goes right, and then is behind. What the right hour stamped may not have been seen.
        known.set_present(UnixMillis(13_600 * S));
        known.set_present(UnixMillis(5_000 * S));
        known.clock_set_back(UnixMillis(4_990 * S));
        for restart in [false, true] {
            assert!(!known.covers(9, UnixMillis(13_000 * S)), "restart: {restart}");
            known = Known::restore(&known.record(None), UnixMillis(13_650 * S));
            known.set_present(UnixMillis(5_050 * S));
        }
        assert!(known.covers(9, UnixMillis(19_000 * S)), "still");
    }

    #[test]
    fn what_a_look_learnt_first_is_not_forgotten_first_however_many_events_follow() {
        const SENT: u64 = 3_000;
        let at = |n: u64| UnixMillis((600 + n / 100) * S);
        let mut known = fresh();
        known.begin_look(0);
        let found = SENT - 200..SENT;
        found.clone().for_each(|n| known.add(n, at(n), true));
        known.settle(true);
        for n in 0..SENT - 200 {
            assert!(!known.contains(n), "{n} is told once");
            known.add(n, at(n), true);
        }
        assert!(
            found.clone().all(|n| known.contains(n)),
            "and the look's mails are recognised when their events come"
        );
        known.settle(true);
        known.settle(false);
        assert!(known.kept() <= TOLD_ITEMS_GAP_MAX);
        let again = stored(&known);
        let told_again = |known: &Known| (0..SENT).filter(|n| !known.covers(*n, at(*n))).count();
        assert_eq!((told_again(&known), told_again(&again)), (0, 0), "floor {:?}", known.floor());
        assert!(!known.covers(SENT, UnixMillis(700 * S)));
    }

    #[test]
    fn up_to_the_bound_the_mails_of_a_gap_are_known_whatever_tells_of_them_first() {
        let at = |n: u64| UnixMillis((600 + n) * S);
        let all = 0..TOLD_ITEMS_GAP_MAX as u64;
        let mut known = fresh();
        all.clone().for_each(|n| known.add(n, at(n), true));
        known.settle(true);
        assert!(all.clone().all(|n| known.contains(n)));
        // One more, and the oldest gives way: covered only when the gap is over.
        known.add(9_999, at(2_000), true);
        known.settle(true);
        assert!(!known.covers(0, at(0)) && known.covers(1, at(1)));
        known.settle(false);
        assert!(known.covers(0, at(0)));
    }

    #[test]
    fn a_mail_that_is_moved_during_a_gap_makes_no_room_at_the_expense_of_the_gaps_mails() {
        let mut known = fresh();
        for n in 0..TOLD_ITEMS_MAX as u64 {
            known.add(n, UnixMillis((600 + n / 4) * S), false);
        }
        known.settle(false);
        let floor = known.floor();
        assert!(known.kept() == TOLD_ITEMS_MAX, "the burst is within the look-back");
        assert!(known.rename(63, 163));
        assert!(known.covers(163, UnixMillis(615 * S)) && known.floor() == floor);
        assert!(!known.covers(500, UnixMillis(600 * S)), "came in the gap, and nobody has told of it");
        assert!((0..64).all(|n| known.contains(n)));
    }
}
