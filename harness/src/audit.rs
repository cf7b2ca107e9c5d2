//! The ledger's outside check: what the workload did against what arrived at the phones.
//!
//! Fed with both sides as they happen, it says at the end which mails were lost, told twice or told wrongly. It is
//! sound: what it calls a fault is one, however the two sides crossed ([`crate::phone`] says where either is right). To
//! be heard in time, an act of the workload is to be told here before it is done there.
//!
//! Memory: 32 bytes for a mail and some 350 for a phone; nothing per push but pushes that tell of more mails than they
//! list, one name for each move, and what [`Audit::put_down`] is told.

mod phones;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use carillon_core::shard::UnsettledNotice;
use carillon_core::time::{Now, Span, Time, UnixMillis};

use crate::apns::device::Device;
use crate::apns::{AlertKind, Delivery, Payload};
use crate::phone::{Duty, Mail, Phone, Rules, Stop, User, Wants};
use phones::{PhoneRow, excess, matched};
pub use report::{AuditReport, EXAMPLES_MAX, Example, Finding};

/// A user of the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserIx(pub u32);

/// A phone of the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneIx(pub u32);

/// Where a mail lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// New mail there is told.
    pub watched: bool,
    /// The badge counts what is unread there.
    pub counts: bool,
}

impl Place {
    /// The inbox of everybody.
    pub const INBOX: Place = Place { watched: true, counts: true };
}

/// How a mail was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Nobody has read it.
    pub unread: bool,
    /// The engine hears of it, and can know that it is the same mail.
    pub heard: bool,
}

/// A mail that a phone has just been told of by name, for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whose.
    pub user: UserIx,
    /// Which phone.
    pub phone: PhoneIx,
    /// Which mail.
    pub item: u64,
    /// When it arrived.
    pub arrived: Time,
    /// From there to the push's arrival.
    pub took: Span,
}

/// The account.
#[derive(Debug)]
pub struct Audit {
    rules: Rules,
    /// The cut-off before it was last changed, and when that was.
    cutoff_before: Option<(Time, Span)>,
    users: Vec<User>,
    phones: Vec<PhoneRow>,
    /// A mail that moves gets another id; this leads back to the one that it came with.
    names: HashMap<u64, u64>,
    /// Mails that went without the engine hearing of it.
    unheard: HashSet<u64>,
    /// From when to when the engine may neither hear the mail server nor be able to ask it.
    deaf: Vec<(Time, Time)>,
    /// Notices by their ids: since when the engine cannot take them back, and what they tell.
    put_down: HashMap<u128, (Time, UnsettledNotice)>,
    report: AuditReport,
}

impl Audit {
    /// An account without users.
    pub fn new(rules: Rules) -> Audit {
        Audit {
            rules,
            cutoff_before: None,
            users: Vec::new(),
            phones: Vec::new(),
            names: HashMap::new(),
            unheard: HashSet::new(),
            deaf: Vec::new(),
            put_down: HashMap::new(),
            report: AuditReport::default(),
        }
    }

    /// A user with so many unread mails from before.
    pub fn add_user(&mut self, unread_before: u32) -> UserIx {
        self.users.push(User { unread_before, ..User::default() });
        UserIx(self.users.len() as u32 - 1)
    }

    /// A phone registers.
    pub fn add_phone(&mut self, user: UserIx, at: Time, active: UnixMillis, wants: Wants) -> PhoneIx {
        let unread = self.users[user.0 as usize].unread();
        let phone =
            Phone { since: at, present_since: at, until: Time::NEVER, active, wants: vec![(Time(0), wants)] };
        self.phones.push(PhoneRow::new(user, phone, unread));
        self.revive(user, at);
        PhoneIx(self.phones.len() as u32 - 1)
    }

    /// A phone registers again: it is used, its user's stop ends, and if it was gone it is back.
    pub fn register_again(&mut self, phone: PhoneIx, at: Time, active: UnixMillis) {
        let user = self.phones[phone.0 as usize].user;
        if self.phones[phone.0 as usize].phone.until != Time::NEVER {
            self.note_lost(phone);
            let row = &mut self.phones[phone.0 as usize];
            row.phone.present_since = at;
            row.phone.until = Time::NEVER;
            row.badge = None;
            row.unread_at_since = self.users[user.0 as usize].unread();
        }
        self.touched(phone, active);
        self.revive(user, at);
    }

    /// What a phone's user wants to see changes.
    pub fn wants(&mut self, phone: PhoneIx, at: Time, wants: Wants) {
        self.phones[phone.0 as usize].phone.wants.push((at, wants));
    }

    /// The phone is removed, or its token gone.
    pub fn phone_gone(&mut self, phone: PhoneIx, at: Time) {
        let until = &mut self.phones[phone.0 as usize].phone.until;
        *until = (*until).min(at);
    }

    /// The app was used.
    pub fn touched(&mut self, phone: PhoneIx, active: UnixMillis) {
        let known = &mut self.phones[phone.0 as usize].phone.active;
        *known = (*known).max(active);
    }

    /// A mail arrived in the inbox.
    pub fn arrived(&mut self, user: UserIx, item: u64, at: Time) {
        self.arrived_in(user, item, at, Place::INBOX);
    }

    /// A mail arrived somewhere. What is not watched is nobody's business.
    pub fn arrived_in(&mut self, user: UserIx, item: u64, at: Time, place: Place) {
        if place.watched {
            self.report.mails += 1;
            let (gone, counts) = (Time::NEVER, place.counts);
            let mail = Mail { item, at, gone, unread: true, counts, moved_in: false };
            self.users[user.0 as usize].mails.push(mail);
        }
    }

    /// A mail was moved, and got another id. `heard`: the engine can know of it, and that it is the same mail. Otherwise
    /// what left is gone, and what came may be told.
    pub fn moved(&mut self, user: UserIx, old: u64, new: u64, at: Time, to: Place, moved: Moved) {
        let first = self.name(old);
        let mails = &mut self.users[user.0 as usize].mails;
        let known = mails.iter_mut().rev().find(|mail| mail.item == first);
        let same = moved.heard && known.is_some();
        if let Some(mail) = known {
            mail.counts = same && to.counts;
            if !same || !to.watched {
                mail.gone = mail.gone.min(at);
            }
        }
        if !moved.heard {
            self.unheard.insert(first);
        }
        if same {
            self.names.insert(new, first);
        } else if to.watched {
            let gone = if moved.unread { Time::NEVER } else { at };
            let (unread, counts) = (moved.unread, to.counts);
            mails.push(Mail { item: new, at, gone, unread, counts, moved_in: true });
        }
    }

    /// A mail was copied. Whether the copy is news nobody can know who finds it.
    pub fn copied(&mut self, user: UserIx, copy: u64, at: Time, to: Place, unread: bool) {
        if to.watched {
            let gone = if unread { Time::NEVER } else { at };
            let mail = Mail { item: copy, at, gone, unread, counts: to.counts, moved_in: true };
            self.users[user.0 as usize].mails.push(mail);
        }
    }

    /// The id that a mail came with.
    fn name(&self, item: u64) -> u64 {
        self.names.get(&item).copied().unwrap_or(item)
    }

    /// A mail was read. One from before the account counts too.
    pub fn read(&mut self, user: UserIx, item: u64, at: Time) {
        let item = self.name(item);
        let user = &mut self.users[user.0 as usize];
        match user.mails.iter_mut().rev().find(|mail| mail.item == item) {
            Some(mail) => {
                mail.gone = mail.gone.min(at);
                mail.unread = false;
            }
            None => user.unread_before = user.unread_before.saturating_sub(1),
        }
    }

    /// A mail was deleted. `was_unread` matters for mails from before the account only.
    pub fn deleted(&mut self, user: UserIx, item: u64, at: Time, was_unread: bool) {
        let first = self.name(item);
        let known = self.users[user.0 as usize].mails.iter().any(|mail| mail.item == first);
        if known || was_unread {
            self.read(user, item, at);
        }
    }

    /// The engine had no way to hear that a mail was read or deleted.
    pub fn unheard(&mut self, item: u64) {
        self.unheard.insert(self.name(item));
    }

    /// In this time the engine may neither hear the mail server nor be able to ask it whether a mail is still there.
    pub fn deaf(&mut self, from: Time, to: Time) {
        self.deaf.push((from, to));
    }

    /// The engine put a notice down: from now on it may be on its way, and what is heard later cannot take it back.
    pub fn put_down(&mut self, at: Time, notice: UnsettledNotice) {
        let known = self.put_down.entry(notice.apns_id).or_insert((at, notice));
        if known.1 != notice {
            *known = (at, notice);
        }
    }

    /// A mail was marked as unread again. It counts for the badge, but is no news.
    pub fn unread_again(&mut self, user: UserIx, item: u64) {
        let item = self.name(item);
        let user = &mut self.users[user.0 as usize];
        match user.mails.iter_mut().rev().find(|mail| mail.item == item) {
            Some(mail) => mail.unread = true,
            None => user.unread_before += 1,
        }
    }

    /// The user's notifications are stopped.
    pub fn stopped(&mut self, user: UserIx, at: Time) {
        let stops = &mut self.users[user.0 as usize].stops;
        if stops.last().is_none_or(|last| last.to != Time::NEVER) {
            stops.push(Stop { from: at, to: Time::NEVER });
        }
    }

    /// The engine is told to forget the user.
    pub fn absent(&mut self, user: UserIx, at: Time) {
        self.users[user.0 as usize].absences.push(Stop { from: at, to: Time::NEVER });
    }

    /// The user is back: to the engine, somebody new. What came in this very moment it may tell, also if it was told in the
    /// earlier stay; mails are stamped by the second.
    pub fn back(&mut self, user: UserIx, at: Time) {
        let from = Time(at.0.saturating_sub(self.rules.crossing_max.0));
        let row = &mut self.users[user.0 as usize];
        if let Some(absence) = row.absences.last_mut() {
            absence.to = at;
        }
        let late = row.mails.partition_point(|mail| mail.at < from)..row.mails.len();
        for phone in self.phones.iter_mut().filter(|phone| phone.user == user) {
            phone.forgotten(from, late.clone());
        }
    }

    /// From now on there is another detail cut-off. What leaves in this very moment may be by either.
    pub fn set_cutoff(&mut self, at: Time, cutoff: Span) {
        self.cutoff_before = Some((at, self.rules.detail_cutoff));
        self.rules.detail_cutoff = cutoff;
    }

    fn rules_at(&self, at: Time) -> Rules {
        let before = self.cutoff_before.filter(|(until, _)| at <= *until);
        let detail_cutoff = before.map_or(Span::ZERO, |(_, cutoff)| cutoff).max(self.rules.detail_cutoff);
        Rules { detail_cutoff, ..self.rules }
    }

    /// The power failed, and what the engine wrote down after `from` is gone. What phones were told since may lawfully be
    /// told once more, and a badge may stay wrong until the next one. Acknowledged changes that are gone (registrations,
    /// stops) are for whoever made them to make again.
    pub fn power_failed(&mut self, from: Time) {
        self.phones.iter_mut().for_each(|row| row.power_failed(from));
    }

    /// What the badge of a user's phones is to be now.
    pub fn unread(&self, user: UserIx) -> u32 {
        self.users[user.0 as usize].unread()
    }

    /// A push to a phone left the engine at `at`, and arrived, whole or in part: whatever became of it then, it told what it
    /// tells.
    pub fn left(&mut self, phone: PhoneIx, at: Now, payload: &Payload) {
        let rules = self.rules_at(at.time);
        let Some(row) = self.phones.get_mut(phone.0 as usize) else { return };
        row.left_at = Some(at.time);
        let item = payload.items.first().copied();
        if payload.has_details() && !row.phone.details_allowed(at, &rules) {
            let note = "details for an app not used for the cut-off, or that wants none";
            self.report.details_after_cutoff.note(Some(row.user), phone, item, at.time, note);
        }
        if payload.is_alert() && payload.n == 0 {
            // Broken off before it came to its mails: what else it would have said, nobody knows.
            return;
        }
        for (note, is_wanted) in unwanted(payload) {
            if !row.phone.wanted(at.time, at.time).any(|wants| is_wanted(&wants)) {
                self.report.told_unwanted.note(Some(row.user), phone, item, at.time, note);
            }
        }
    }

    /// A push that [`Audit::left`] was refused for what it is, and the client told so: its mails need not be told any more,
    /// and whoever never heard of the refusal may tell them.
    pub fn refused(&mut self, phone: PhoneIx, at: Time, payload: &Payload) {
        let Some(row) = self.phones.get_mut(phone.0 as usize) else { return };
        if !payload.is_alert() {
            row.badge_unsure = true;
            return;
        }
        let user = &self.users[row.user.0 as usize];
        let names = payload.items.iter().map(|item| self.names.get(item).copied().unwrap_or(*item));
        let listed = names.filter_map(|item| user.mails.iter().rposition(|mail| mail.item == item));
        row.excused.extend(listed);
        let unlisted = payload.n.saturating_sub(payload.items.len() as u32);
        row.unlisted_excused.extend((unlisted > 0).then_some((at, unlisted)));
    }

    /// A push was accepted for a phone; that it [`Audit::left`] has been told before. Says of each mail that is told by name for the first time.
    pub fn delivered(&mut self, phone: PhoneIx, push: &Delivery, mut told: impl FnMut(Told)) {
        let Some(row) = self.phones.get_mut(phone.0 as usize) else {
            self.report.foreign.note(None, phone, None, push.at.time, "a push for a phone that nobody knows");
            return;
        };
        let user_ix = row.user;
        let user = &self.users[user_ix.0 as usize];
        let report = &mut self.report;
        let at = push.at.time;
        let (rules, payload) = (&self.rules, &push.payload);
        report.pushes += 1;
        report.duplicates_recognised += u64::from(push.duplicate);
        if let Some(badge) = payload.badge {
            row.badge = Some(badge);
            row.badge_at = at;
            row.badge_unsure = false;
        }
        // However long the network took: who was gone or stopped is judged by the moment at which it left.
        let left = row.left_at.unwrap_or(at).min(at);
        if row.phone.until + rules.crossing_max < left {
            report.told_after_removal.note(Some(user_ix), phone, None, at, "a push for a phone that is gone");
        }
        if user.surely_stopped(left, rules) {
            report.told_after_stop.note(Some(user_ix), phone, None, at, "a push for a user who is stopped");
        }
        let details_allowed = row.phone.details_allowed(push.at, rules);
        match &payload.alert {
            AlertKind::None => {
                report.badge_only += 1;
                return;
            }
            AlertKind::Generic if details_allowed => report.generic_within_cutoff += 1,
            AlertKind::Generic => report.generic += 1,
            AlertKind::Several => report.several += 1,
            AlertKind::Details { .. } => report.details += 1,
        }
        let listed = payload.items.len() as u32;
        if push.fault.is_some() || payload.n < listed {
            report.malformed.note(Some(user_ix), phone, None, at, "a payload that breaks its own rules");
        }
        let mut fresh = 0;
        for &item in &payload.items {
            let first = self.names.get(&item).copied().unwrap_or(item);
            let Some(index) = user.mails.iter().rposition(|mail| mail.item == first) else {
                let note = "a mail that this user never had";
                report.foreign.note(Some(user_ix), phone, Some(item), at, note);
                continue;
            };
            let mail = &user.mails[index];
            row.note_told(at, index);
            if !row.told.set(index) {
                let lawful = row.again.iter().position(|again| *again == index);
                if let Some(place) = lawful {
                    row.again.swap_remove(place);
                } else if !push.duplicate {
                    report.duplicates.note(Some(user_ix), phone, Some(item), at, "told before");
                }
                continue;
            }
            fresh += 1;
            report.told_by_name += 1;
            let decided = self.put_down.get(&push.apns_id).map_or(left, |(put_down, _)| *put_down);
            let deaf = |at: Time| self.deaf.iter().any(|(from, to)| (*from..*to).contains(&at));
            let excused = self.unheard.contains(&first) || deaf(mail.gone) || deaf(decided);
            if mail.gone + rules.crossing_max + rules.look_max < decided && !excused {
                let note = "told after it was read or deleted";
                report.told_after_gone.note(Some(user_ix), phone, Some(item), at, note);
            }
            if row.phone.duty(mail, user, rules) == Duty::MustNot {
                let note = "arrived when the phone was not registered, or wants no alerts";
                report.told_unwanted.note(Some(user_ix), phone, Some(item), at, note);
            }
            told(Told { user: user_ix, phone, item, arrived: mail.at, took: at.since(mail.at) });
        }
        // Of a push that comes again, only what it tells beyond the first time is new.
        let unlisted = match push.duplicate {
            false => payload.n.saturating_sub(listed),
            true => payload.n.saturating_sub(push.n_before).saturating_sub(fresh),
        };
        if unlisted > 0 {
            report.told_by_number += u64::from(unlisted);
            row.unlisted.push((at, unlisted));
        }
    }

    /// Looks at what a phone shows: no mail may stand there in two places. For the end of a run.
    pub fn check_screen(&mut self, phone: PhoneIx, device: &Device, now: Now) {
        let user = self.phones.get(phone.0 as usize).map(|row| row.user);
        let mut items: Vec<u64> =
            device.shown().iter().flat_map(|shown| shown.items.iter().copied()).collect();
        items.sort_unstable();
        for pair in items.windows(2).filter(|pair| pair[0] == pair[1]) {
            let note = "on the screen in two places";
            self.report.shown_twice.note(user, phone, Some(pair[0]), now.time, note);
        }
    }

    /// How many tellings are still owed, as things stand. Walks everything: for progress and for the end of a run.
    pub fn owed(&self) -> u64 {
        self.phones.iter().map(|row| u64::from(self.owed_to(row).lost())).sum()
    }

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
        let too_many = excess(&row.unlisted, &owed.untold);
        let report = &mut self.report;
        for _ in 0..too_many {
            let at = row.unlisted.last().map_or(at, |last| last.0);
            let note = "the numbers told exceed the mails there were";
            report.duplicates.note(Some(row.user), phone, None, at, note);
        }
    }

    /// Whether every phone whose badge can be judged shows the right one. Walks everything.
    pub fn badges_are_right(&self) -> bool {
        self.phones.iter().all(|row| self.judge_badge(row).is_none_or(|(shown, expected)| shown == expected))
    }

    /// What a phone should have been told by now and was not.
    fn note_lost(&mut self, phone: PhoneIx) {
        let row = &self.phones[phone.0 as usize];
        let owed = self.owed_to(row);
        let report = &mut self.report;
        report.tellings_owed += u64::from(owed.must_total);
        // Which of the owed mails were told by number nobody can say: the last ones serve as examples.
        for (arrived, item) in owed.must.iter().rev().take(owed.lost() as usize) {
            report.lost.note(Some(row.user), phone, Some(*item), *arrived, "never told");
        }
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
        let revived = user.stops.last().map_or(Time(0), |stop| stop.to);
        let judged = row.phone.wants().badge
            && row.phone.until == Time::NEVER
            && row.badge_at >= revived
            && !row.badge_unsure;
        // A phone that was never sent a badge shows what it showed when it registered.
        judged.then(|| (row.badge.unwrap_or(row.unread_at_since), user.unread()))
    }

    fn owed_to(&self, row: &PhoneRow) -> Owed {
        let user = &self.users[row.user.0 as usize];
        let mut owed = Owed { must: Vec::new(), untold: Vec::new(), must_total: 0, matched: 0 };
        for (index, mail) in user.mails.iter().enumerate() {
            let duty = row.phone.duty(mail, user, &self.rules);
            owed.must_total += u32::from(duty == Duty::Must);
            if row.told.has(index) && row.again.contains(&index) {
                // By number, too.
                owed.untold.push(mail.at);
            }
            if row.told.has(index) || duty == Duty::MustNot {
                continue;
            }
            owed.untold.push(mail.at);
            if duty == Duty::Must && !row.excused.contains(&index) {
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

    fn revive(&mut self, user: UserIx, at: Time) {
        if let Some(stop) = self.users[user.0 as usize].stops.last_mut()
            && stop.to == Time::NEVER
        {
            stop.to = at;
        }
    }
}

/// What a payload brings that not every user wants, and who wants it.
fn unwanted(payload: &Payload) -> impl Iterator<Item = (&'static str, IsWanted)> {
    let alert = payload.is_alert();
    let brings: [(bool, &'static str, IsWanted); 6] = [
        (alert, "an alert for a phone that wants none", |wants| wants.alerts),
        (payload.badge.is_some(), "a badge for a phone that wants none", |wants| wants.badge),
        (payload.sound, "a sound for a phone that wants none", |wants| wants.sound),
        (alert && !payload.sound, "no sound for a phone that wants one", |wants| !wants.sound),
        (payload.by_key, "a text by its key for an app without texts", |wants| wants.localized),
        (
            alert && !payload.by_key && !payload.has_details(),
            "an English text for an app with texts of its own",
            |wants| !wants.localized,
        ),
    ];
    brings.into_iter().filter(|(brought, ..)| *brought).map(|(_, note, is_wanted)| (note, is_wanted))
}

type IsWanted = fn(&Wants) -> bool;

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
