//! What the owner of the engine says of a user beside the phones: the address, which apps know the account by, and which mails
//! go first. Where nothing was said, nothing is judged.

use carillon_core::shard::VipRules;
use carillon_core::time::Time;

use super::{Audit, PhoneIx, UserIx};
use crate::apns::Payload;

/// What was said of a user, each from when, in order.
#[derive(Debug, Default)]
pub(super) struct Profile {
    /// Keyed hashes of the addresses.
    accounts: Vec<(Time, u64)>,
    vip: Vec<(Time, VipRules)>,
    /// What was said last may have been lost with the power.
    unsure: bool,
}

/// What can make a mail go first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Its sender marked it with high importance.
    pub high_importance: bool,
    /// The sender's address.
    pub sender: Box<str>,
}

impl Traits {
    fn goes_first(&self, rules: &VipRules) -> bool {
        let same = |sender: &str| sender.eq_ignore_ascii_case(&self.sender);
        (rules.high_importance && self.high_importance) || rules.senders.iter().any(|sender| same(sender))
    }
}

impl Audit {
    /// The owner says which address a user has (as a keyed hash), and which mails go first.
    pub fn said(&mut self, user: UserIx, at: Time, account: u64, vip: &VipRules) {
        let number = user.0 as usize;
        if self.profiles.len() <= number {
            self.profiles.resize_with(number + 1, Profile::default);
        }
        let profile = &mut self.profiles[number];
        if profile.accounts.last().is_none_or(|(_, last)| *last != account) {
            profile.accounts.push((at, account));
        }
        if profile.vip.last().is_none_or(|(_, last)| last != vip) {
            profile.vip.push((at, vip.clone()));
        }
    }

    /// What a mail is like that arrives.
    pub fn is_like(&mut self, item: u64, traits: Traits) {
        self.traits.insert(item, traits);
    }

    /// What was said since `from` may be lost: what was said before may hold as well.
    pub(super) fn unsay(&mut self, from: Time) {
        for profile in &mut self.profiles {
            let said = |at: Option<Time>| at.is_some_and(|at| at >= from);
            profile.unsure |= said(profile.accounts.last().map(|(at, _)| *at))
                || said(profile.vip.last().map(|(at, _)| *at));
        }
    }

    /// An alert that was worded at `worded`, or later, and left at `left`.
    pub(super) fn judge_profile(&mut self, phone: PhoneIx, payload: &Payload, worded: Time, left: Time) {
        let Some(row) = self.phones.get(phone.0 as usize) else { return };
        let user = row.user;
        let Some(profile) = self.profiles.get(user.0 as usize).filter(|profile| !profile.unsure) else {
            return;
        };
        let crossing = self.rules.crossing_max;
        let mut accounts = in_force(&profile.accounts, worded, left + crossing);
        // A small payload does without the thread.
        let thread = payload.thread.or(payload.account);
        if !accounts.any(|(at, account)| *at <= left + crossing && Some(*account) == payload.account)
            || thread != payload.account
        {
            let note = "another account, or another thread, than the user's";
            self.report.wrong_account.note(Some(user), phone, payload.items.first().copied(), left, note);
        }
        let note = match payload.time_sensitive {
            // Of mails that are not listed nobody knows whether one of them goes first.
            true if payload.n > payload.items.len() as u32 => return,
            true if payload.items.iter().any(|item| self.may_go_first(user, profile, *item, left)) => return,
            true => "breaks through a Focus for mail that does not go first",
            // Without details, perhaps nobody could look whether it goes first.
            false if !payload.has_details() => return,
            false if !payload.items.iter().any(|item| self.must_go_first(user, profile, *item, left)) => {
                return;
            }
            false => "VIP mail does not break through a Focus",
        };
        self.report.wrong_level.note(Some(user), phone, payload.items.first().copied(), left, note);
    }

    fn may_go_first(&self, user: UserIx, profile: &Profile, item: u64, left: Time) -> bool {
        let Some((traits, arrived)) = self.traits_of(user, item) else { return true };
        let crossing = self.rules.crossing_max;
        in_force(&profile.vip, arrived, left + crossing).any(|(_, rules)| traits.goes_first(rules))
    }

    fn must_go_first(&self, user: UserIx, profile: &Profile, item: u64, left: Time) -> bool {
        let Some((traits, arrived)) = self.traits_of(user, item) else { return false };
        let crossing = self.rules.crossing_max;
        // Rules that are new when a mail comes are perhaps not known yet.
        let early = Time(arrived.0.saturating_sub(crossing.0));
        let known = profile.vip.first().is_some_and(|(at, _)| *at <= early);
        known && in_force(&profile.vip, early, left + crossing).all(|(_, rules)| traits.goes_first(rules))
    }

    /// What a mail of this user is like, and when it came.
    fn traits_of(&self, user: UserIx, item: u64) -> Option<(&Traits, Time)> {
        let first = self.name(item);
        let mail = self.users[user.0 as usize].mails.iter().rev().find(|mail| mail.item == first)?;
        Some((self.traits.get(&first)?, mail.at))
    }
}

/// What held at some time of `from..=to`.
fn in_force<T>(said: &[(Time, T)], from: Time, to: Time) -> impl Iterator<Item = &(Time, T)> {
    let ends = said.iter().skip(1).map(|(at, _)| *at).chain([Time::NEVER]);
    said.iter().zip(ends).filter(move |((begin, _), end)| *begin <= to && from <= *end).map(|(one, _)| one)
}
