//! Who there is: users who stop their notifications, go and come back, and phones that register, are used and go.

use carillon_core::time::{Time, UnixMillis};

use super::phones::PhoneRow;
use super::{Audit, PhoneIx, UserIx};
use crate::phone::{Phone, Stop, User, Wants};

impl Audit {
    /// A user with so many unread mails from before.
    pub fn add_user(&mut self, unread_before: u32) -> UserIx {
        self.users.push(User { unread_before, ..User::default() });
        self.first_phones.push(None);
        UserIx(self.users.len() as u32 - 1)
    }

    /// A phone registers. What came since the first of its user did may be told to it, too: a gap is the user's, and what came
    /// in it is told to every phone that is there when it is looked into.
    pub fn add_phone(&mut self, user: UserIx, at: Time, active: UnixMillis, wants: Wants) -> PhoneIx {
        let unread = self.users[user.0 as usize].unread();
        let phone = Phone {
            since: *self.first_phones[user.0 as usize].get_or_insert(at),
            present_since: at,
            until: Time::NEVER,
            active,
            wants: vec![(Time(0), wants)],
            stops: Vec::new(),
        };
        self.phones.push(PhoneRow::new(user, phone, unread));
        PhoneIx(self.phones.len() as u32 - 1)
    }

    /// A phone registers again: it is used, its stop ends, and if it was gone it is back.
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
        let row = &mut self.phones[phone.0 as usize];
        if let Some(stop) = row.phone.stops.last_mut()
            && stop.to == Time::NEVER
        {
            stop.to = at;
        }
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

    /// The user's notifications are stopped, on each phone that is there.
    pub fn stopped(&mut self, user: UserIx, at: Time) {
        for row in self.phones.iter_mut().filter(|row| row.user == user) {
            let stops = &mut row.phone.stops;
            if stops.last().is_none_or(|last| last.to != Time::NEVER) {
                stops.push(Stop { from: at, to: Time::NEVER });
            }
        }
    }

    /// The engine is told to forget the user.
    pub fn absent(&mut self, user: UserIx, at: Time) {
        self.users[user.0 as usize].absences.push(Stop { from: at, to: Time::NEVER });
    }

    /// The user is back: to the engine, somebody new. What came in this very moment it may tell, also if it was told in the
    /// earlier stay; mails are stamped by the second.
    pub fn back(&mut self, user: UserIx, at: Time) {
        let doubt = self.rules.crossing_max + self.rules.clock_set_max;
        let from = Time(at.0.saturating_sub(doubt.0));
        let row = &mut self.users[user.0 as usize];
        if let Some(absence) = row.absences.last_mut() {
            absence.to = at;
        }
        let late = row.mails.partition_point(|mail| mail.at < from)..row.mails.len();
        for phone in self.phones.iter_mut().filter(|phone| phone.user == user) {
            phone.forgotten(from, late.clone());
        }
    }
}
