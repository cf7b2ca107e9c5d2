//! What the engine cannot know, cannot take back or has lost, and what is lawful because of it.

use carillon_core::shard::UnsettledNotice;
use carillon_core::time::{Span, Time};

use super::{Audit, UserIx};
use crate::phone::{Mail, Rules};

/// Until the engine has surely heard that a mail server's clock was set.
pub(super) const SET_BACK_NOTICED: Span = Span::from_secs(300);

impl Audit {
    /// The engine had no way to hear that a mail was read or deleted.
    pub fn unheard(&mut self, item: u64) {
        self.unheard.insert(self.name(item));
    }

    /// In this time the engine may neither hear the mail server nor be able to ask it whether a mail is still there.
    pub fn deaf(&mut self, from: Time, to: Time) {
        self.deaf.push((from, to));
    }

    /// Up to then, the engine has heard everything.
    pub(super) fn never_deaf(&self, at: Time) -> bool {
        self.deaf.iter().all(|(from, _)| at < *from)
    }

    /// What the engine heard of a mail may not tell it from another one that is found later: it may be told again.
    pub fn may_come_again(&mut self, item: u64) {
        self.again.insert(self.name(item));
    }

    /// Nobody can know whether a mail came before its owner was registered or afterwards.
    pub fn may_be_from_before(&mut self, user: UserIx, item: u64) {
        let mails = &mut self.users[user.0 as usize].mails;
        mails.iter_mut().filter(|mail| mail.item == item).for_each(|mail| mail.moved_in = true);
    }

    /// A mail server's clock was set back: what came before, and what comes until that is noticed, may be dated as mail is that
    /// comes after it.
    pub fn clock_set_back(&mut self, at: Time) {
        self.set_back.push(at);
    }

    /// From when to when a mail server's clock is off by more than a look goes back.
    pub fn clock_off(&mut self, from: Time, to: Time) {
        self.off.push((from, to));
    }

    /// Whether a mail came while nothing could be heard of the server, and its clock was off for some of that time: it may be
    /// dated before others that were told, or seem to have lain there before somebody was registered or a folder was chosen.
    pub(super) fn is_misdated(&self, mail: &Mail) -> bool {
        let mut deaf = self.deaf.iter().filter(|(from, to)| (*from..=*to).contains(&mail.at));
        deaf.any(|(from, to)| self.off.iter().any(|(since, until)| since <= to && until >= from))
    }

    /// Whether a mail that was told may lawfully be told again.
    pub(super) fn comes_again(&self, mail: &Mail) -> bool {
        self.again.contains(&mail.item) || self.set_back.iter().any(|at| mail.at <= *at + SET_BACK_NOTICED)
    }

    /// The engine put a notice down: from now on it may be on its way, and what is heard later cannot take it back.
    pub fn put_down(&mut self, at: Time, notice: UnsettledNotice) {
        let known = self.put_down.entry(notice.apns_id).or_insert((at, notice));
        if known.1 != notice {
            *known = (at, notice);
        }
    }

    /// From now on there is another detail cut-off. What leaves in this very moment may be by either.
    pub fn set_cutoff(&mut self, at: Time, cutoff: Span) {
        self.cutoff_before = Some((at, self.rules.detail_cutoff));
        self.rules.detail_cutoff = cutoff;
    }

    pub(super) fn rules_at(&self, at: Time) -> Rules {
        let before = self.cutoff_before.filter(|(until, _)| at <= *until);
        let detail_cutoff = before.map_or(Span::ZERO, |(_, cutoff)| cutoff).max(self.rules.detail_cutoff);
        Rules { detail_cutoff, ..self.rules }
    }

    /// The power failed, and what the engine wrote down after `from` is gone. What phones were told since may lawfully be
    /// told once more, and a badge may stay wrong until the next one. Acknowledged changes that are gone (registrations,
    /// stops) are for whoever made them to make again.
    pub fn power_failed(&mut self, from: Time) {
        self.phones.iter_mut().for_each(|row| row.power_failed(from));
        self.unsay(from);
    }

    /// The disk may fail for so long: what a kill takes then reaches back as far.
    pub fn disk_may_fail(&mut self, length: Span) {
        self.reach = self.reach.max(length);
    }

    /// The engine's process was killed at `at`, and what it had written down of this user since `from` is gone: there was no
    /// room for it, or it was damaged. What his phones were told since, and what is on its way to them, may be told once more,
    /// and a badge may stay wrong until the next one. Nothing may be lost, and nobody else is concerned.
    pub fn killed(&mut self, user: UserIx, from: Time, at: Time) {
        self.phones.iter_mut().filter(|row| row.user == user).for_each(|row| row.killed(from, at));
    }
}
