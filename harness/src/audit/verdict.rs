//! What can be said at the end alone: what was never told, numbers that tell of more mails than there were, badges that
//! are wrong, and what stands on a screen twice.

use carillon_core::time::{Now, Time};

use super::phones::{PhoneRow, excess, matched};
use super::{Audit, AuditReport, PhoneIx};
use crate::apns::device::{Device, Shown};
use crate::phone::Duty;

impl Audit {
    /// The verdict, when nothing more is to come.
    pub fn finish(mut self, now: Now) -> AuditReport {
        for index in 0..self.phones.len() {
            let phone = PhoneIx(index as u32);
            self.settle(phone, now.time);
            self.check_badge(phone, now);
        }
        self.report.users = self.users.len() as u64;
        self.report.phones = self.phones.len() as u64;
        self.report
    }

    /// Closes a phone's account up to `at`.
    fn settle(&mut self, phone: PhoneIx, at: Time) {
        self.note_lost(phone);
        let row = &self.phones[phone.0 as usize];
        let owed = self.owed_to(row);
        // What may come again may do so as often as the server's clock, or a gap, gives reason to.
        let mails = &self.users[row.user.0 as usize].mails;
        let again = mails.iter().filter(|mail| self.comes_again(mail)).count() as u32;
        let too_many = excess(&row.unlisted, &owed.untold).saturating_sub(again);
        let report = &mut self.report;
        for _ in 0..too_many {
            let at = row.unlisted.last().map_or(at, |last| last.0);
            let note = "the numbers told exceed the mails there were";
            report.duplicates.note(Some(row.user), phone, None, at, note);
        }
    }

    /// What a phone should have been told by now and was not.
    pub(super) fn note_lost(&mut self, phone: PhoneIx) {
        let row = &self.phones[phone.0 as usize];
        let owed = self.owed_to(row);
        let report = &mut self.report;
        report.tellings_owed += u64::from(owed.must_total);
        // Which of the owed mails were told by number nobody can say: the last ones serve as examples.
        for (arrived, item) in owed.must.iter().rev().take(owed.lost() as usize) {
            report.lost.note(Some(row.user), phone, Some(*item), *arrived, "never told");
        }
    }

    /// How many tellings are still owed, as things stand. Walks everything: for progress and for the end of a run.
    pub fn owed(&self) -> u64 {
        self.phones.iter().map(|row| u64::from(self.owed_to(row).lost())).sum()
    }

    fn owed_to(&self, row: &PhoneRow) -> Owed {
        let user = &self.users[row.user.0 as usize];
        let mut owed = Owed { must: Vec::new(), untold: Vec::new(), must_total: 0, matched: 0 };
        for (index, mail) in user.mails.iter().enumerate() {
            let duty = row.phone.duty(mail, user, &self.rules);
            owed.must_total += u32::from(duty == Duty::Must);
            if row.told.has(index) && (row.again.contains(&index) || self.comes_again(mail)) {
                // By number, too.
                owed.untold.push(mail.at);
            }
            if row.told.has(index) || duty == Duty::MustNot {
                continue;
            }
            owed.untold.push(mail.at);
            if duty == Duty::Must && !row.excused.contains(&index) && !self.is_misdated(mail) {
                owed.must.push((mail.at, mail.item));
            }
        }
        owed.untold.sort_unstable();
        owed.must.sort_unstable();
        let must: Vec<Time> = owed.must.iter().map(|(at, _)| *at).collect();
        let numbers = row.unlisted.iter().chain(&row.unlisted_again).chain(&row.unlisted_excused);
        let unlisted: Vec<_> = numbers.copied().collect();
        owed.matched = matched(&unlisted, &must);
        owed
    }

    /// Whether every phone whose badge can be judged shows the right one. Walks everything.
    pub fn badges_are_right(&self) -> bool {
        self.phones.iter().all(|row| self.judge_badge(row).is_none_or(|(shown, expected)| shown == expected))
    }

    fn check_badge(&mut self, phone: PhoneIx, now: Now) {
        let row = &self.phones[phone.0 as usize];
        let Some((shown, expected)) = self.judge_badge(row) else { return };
        self.report.badges_checked += 1;
        if shown != expected {
            let note = format!("shows {shown}, {expected} are unread");
            self.report.wrong_badges.note(Some(row.user), phone, None, now.time, &note);
        }
    }

    /// The badge that a phone shows and the one that it should; `None` if neither can be said.
    fn judge_badge(&self, row: &PhoneRow) -> Option<(u32, u32)> {
        let user = &self.users[row.user.0 as usize];
        let revived = row.phone.stops.last().map_or(Time(0), |stop| stop.to);
        let judged = row.phone.wants().badge
            && row.phone.until == Time::NEVER
            && row.badge_at >= revived
            && !row.badge_unsure;
        // A phone that was never sent a badge shows what it showed when it registered.
        judged.then(|| (row.badge.unwrap_or(row.unread_at_since), user.unread()))
    }

    /// Looks at what a phone shows: no mail may stand there in two places. For the end of a run.
    pub fn check_screen(&mut self, phone: PhoneIx, device: &Device, now: Now) {
        let Some(row) = self.phones.get(phone.0 as usize) else { return };
        let user = Some(row.user);
        let mut items: Vec<u64> =
            device.shown().iter().flat_map(|shown| shown.items.iter().copied()).collect();
        items.sort_unstable();
        // Told again, it stands where it was told first, too.
        let again = |item: u64| {
            let first = self.name(item);
            let mails = user.map_or(&[][..], |user| &self.users[user.0 as usize].mails);
            mails.iter().any(|mail| mail.item == first && self.comes_again(mail))
        };
        // So does what was forgotten with the power, and is told with others or without details now. Alone and with details
        // it takes the place that it had.
        let elsewhere = |item: u64| {
            let alone = |shown: &&Shown| shown.n == 1 && shown.details && shown.items.contains(&item);
            row.twice.contains(&item) && device.shown().iter().filter(alone).count() < 2
        };
        let twice = items.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        let twice: Vec<u64> = twice.filter(|item| !again(*item) && !elsewhere(*item)).collect();
        for item in twice {
            let note = "on the screen in two places";
            self.report.shown_twice.note(user, phone, Some(item), now.time, note);
        }
    }
}

/// What one phone is still owed.
struct Owed {
    /// Mails that have to be told and were not told by name: arrival, item; in order.
    must: Vec<(Time, u64)>,
    /// Arrivals of all mails not told by name that may be told, in order.
    untold: Vec<Time>,
    /// All mails that have to be told, the told ones included.
    must_total: u32,
    /// Of `must`, how many can have been told by number.
    matched: u32,
}

impl Owed {
    fn lost(&self) -> u32 {
        self.must.len() as u32 - self.matched
    }
}
