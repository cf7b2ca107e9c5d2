//! What happens, happens here.

use carillon_core::shard::VipRules;

use super::super::run::{Life, Trouble};
use super::PhoneAct;
use crate::exchange::Importance;
use crate::world::PeerAt;

/// A sender whose mail may go first.
const BOSS: &str = "boss@example.org";

impl Life {
    pub(in super::super) fn phone_act(&mut self, act: &PhoneAct) {
        let now = self.town.world.now();
        let people = self.town.people.len();
        match act {
            PhoneAct::Choose { user, phone, settings } => {
                let phones = self.town.people[user % people].phones.len();
                self.town.choose(user % people, phone % phones, settings);
            }
            PhoneAct::Throttle { user, phone, length } => {
                let phones = &self.town.people[user % people].phones;
                let phone = &phones[phone % phones.len()];
                self.town.world.apns[phone.service].throttle(phone.device, now.time + *length);
            }
            PhoneAct::Turn { turned, length } => {
                self.turn_all(|knobs| turned.apply(knobs));
                self.turned.push((now.time + *length, *turned));
                self.until.push((now.time + *length, Trouble::Turned));
            }
            PhoneAct::Expire { user, phone } => {
                let phones = self.town.people[user % people].phones.len();
                self.town.expire_token(user % people, phone % phones);
            }
            PhoneAct::Renew { user, phone, stays_good } => {
                let phones = self.town.people[user % people].phones.len();
                self.town.renew_push_token(user % people, phone % phones, *stays_good);
            }
            PhoneAct::Misplace { user, phone, environment } => {
                let phones = self.town.people[user % people].phones.len();
                self.town.misplace_token(user % people, phone % phones, *environment);
            }
            PhoneAct::Prefer { user, importance, sender } => {
                let senders = sender.then(|| BOSS.into()).into_iter().collect();
                let vip = VipRules { high_importance: *importance, senders };
                self.town.assign_again(user % people, false, |assign| assign.vip = vip);
            }
            PhoneAct::Mixed { user, mails } => {
                for n in 0..*mails {
                    let mut mail = self.town.mail();
                    if n % 3 == 1 {
                        mail.sender.address = BOSS.to_uppercase();
                    }
                    if n % 4 == 2 {
                        mail.importance = Importance::High;
                    }
                    self.town.deliver_mail(user % people, mail);
                    self.mails += 1;
                }
            }
            PhoneAct::MakeTokensUp { user, tokens, every } => {
                self.town.make_tokens_up(user % people, *tokens, *every);
                self.makers_up.push((user % people, *tokens, *every));
            }
            PhoneAct::StrangeFrame { .. }
            | PhoneAct::Announce { .. }
            | PhoneAct::SendAway { .. }
            | PhoneAct::ResetStreams { .. } => {
                self.for_connections(act);
            }
            PhoneAct::AllHands => {
                for person in 0..people {
                    let mut mail = self.town.mail();
                    mail.subject = "All hands 🎉 ".repeat(300);
                    self.town.deliver_mail(person, mail);
                    self.mails += 1;
                }
            }
        }
    }

    fn for_connections(&mut self, act: &PhoneAct) {
        for service in 0..self.town.world.apns.len() {
            let now = self.town.world.now_of(PeerAt::Apns(service));
            let apns = &mut self.town.world.apns[service];
            for conn in apns.connections() {
                match act {
                    PhoneAct::Announce { entries } => apns.announce(conn, entries),
                    PhoneAct::SendAway { how } => apns.goaway(now, conn, *how),
                    PhoneAct::ResetStreams { code } => apns.reset_streams(conn, *code),
                    PhoneAct::StrangeFrame { kind } => {
                        apns.send_raw(conn, &[0, 0, 2, *kind, 0, 0, 0, 0, 0, 7, 7])
                    }
                    PhoneAct::Choose { .. }
                    | PhoneAct::Throttle { .. }
                    | PhoneAct::Turn { .. }
                    | PhoneAct::Expire { .. }
                    | PhoneAct::Renew { .. }
                    | PhoneAct::Misplace { .. }
                    | PhoneAct::Prefer { .. }
                    | PhoneAct::Mixed { .. }
                    | PhoneAct::MakeTokensUp { .. }
                    | PhoneAct::AllHands => {}
                }
            }
        }
        self.town.world.collect();
    }

    /// Apps whose tokens are known elsewhere register again.
    pub(in super::super) fn put_tokens_right(&mut self) {
        for person in 0..self.town.people.len() {
            for phone in 0..self.town.people[person].phones.len() {
                if self.town.is_misplaced(person, phone) {
                    self.town.register_again(person, phone);
                }
            }
        }
    }
}
