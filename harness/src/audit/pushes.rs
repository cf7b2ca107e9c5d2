//! What reaches phones, each push judged as it comes: whether it may come at all, bring what it brings, and tell these
//! mails.

use carillon_core::time::{Now, Span, Time};

use super::allowances::SET_BACK_NOTICED;
use super::{Audit, PhoneIx, UserIx};
use crate::apns::{AlertKind, Delivery, Payload};
use crate::phone::{Duty, Wants};

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

impl Audit {
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
        if push.payload.is_alert() {
            let at = push.at.time;
            let left = self.phones.get(phone.0 as usize).and_then(|row| row.left_at).unwrap_or(at).min(at);
            let worded = self.put_down.get(&push.apns_id).map_or(left, |(put_down, _)| (*put_down).min(left));
            self.judge_profile(phone, &push.payload, worded, left);
        }
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
        if row.phone.surely_stopped(left, rules) {
            report.told_after_stop.note(Some(user_ix), phone, None, at, "a push for a phone that is stopped");
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
        let put_down = self.put_down.get(&push.apns_id).map(|(put_down, _)| *put_down);
        let mut fresh = 0;
        for &item in &payload.items {
            let first = self.names.get(&item).copied().unwrap_or(item);
            let Some(index) = user.mails.iter().rposition(|mail| mail.item == first) else {
                let note = "a mail that this user never had";
                report.foreign.note(Some(user_ix), phone, Some(item), at, note);
                continue;
            };
            let mail = &user.mails[index];
            row.note_told(at, index, self.reach);
            let forgotten = put_down.is_some_and(|put_down| at > put_down && row.may_be_forgotten(put_down));
            if !row.told.set(index) {
                let lawful = row.again.iter().position(|again| *again == index);
                let comes_again = self.again.contains(&mail.item)
                    || self.set_back.iter().any(|at| mail.at <= *at + SET_BACK_NOTICED);
                if let Some(place) = lawful {
                    row.again.swap_remove(place);
                    row.twice.push(item);
                } else if !push.duplicate && !comes_again {
                    report.duplicates.note(Some(user_ix), phone, Some(item), at, "told before");
                }
                continue;
            }
            fresh += 1;
            row.again.extend(forgotten.then_some(index));
            report.told_by_name += 1;
            let decided = put_down.unwrap_or(left);
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
            match put_down.is_some_and(|put_down| row.may_be_forgotten(put_down)) {
                true => row.unlisted_again.push((at, unlisted)),
                false => row.unlisted.push((at, unlisted)),
            }
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
