//! Registrations that contradict each other: stops crossed with phones that register, a new phone on the day on which
//! another is lost, and two phones that each say something else of their user's mailbox.

use carillon_core::names::SmtpAddress;
use carillon_core::rng::Rng;
use carillon_core::time::{Span, Time};

use super::plan::{Act, Plan, below};
use super::run::{Life, Trouble};

/// Registrations have a generator of their own: the rest of a day is what it would be without them.
const REGISTRATIONS: u64 = 0x4e91_57e4_0000_0004;

/// Of a hundred days, on so many somebody's registrations contradict each other.
const DAYS_PERCENT: u64 = 25;

/// One thing that registrations do. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names of the parts say it")]
pub enum RegistrationAct {
    /// A user gets a new phone.
    NewPhone { user: usize },
    /// A phone registers with its user's address in capitals.
    Shout { user: usize, phone: usize },
    /// A phone registers with the address of another mailbox, which gets no mail; after so long another one with the user's
    /// own.
    Elsewhere { user: usize, length: Span },
    /// A phone names another group of mailboxes.
    Group { user: usize, grouping: u8 },
}

impl RegistrationAct {
    /// Whether the engine may not hear, from then on, what happens in mailboxes.
    pub(super) fn deafens(&self) -> bool {
        match self {
            RegistrationAct::Elsewhere { .. } | RegistrationAct::Group { .. } => true,
            RegistrationAct::NewPhone { .. } | RegistrationAct::Shout { .. } => false,
        }
    }
}

impl Plan {
    /// On some days.
    pub(super) fn draw_registrations(&mut self) {
        let mut rng = Rng::new(!self.seed ^ REGISTRATIONS);
        let rng = &mut rng;
        if !rng.chance(DAYS_PERCENT, 100) {
            return;
        }
        for _ in 0..1 + rng.below(3) {
            let user = rng.below(self.users as u64) as usize;
            let at = self.moment(rng);
            if rng.chance(1, 2) {
                self.draw_stops(rng, at, user);
            } else {
                self.draw_flapping(rng, at, user);
            }
        }
    }

    /// Mail, a stop, and phones that register around it, the lost one at last or never.
    fn draw_stops(&mut self, rng: &mut Rng, at: Time, user: usize) {
        let mail = |mails| Act::Mail { user, mails, vip: false };
        for _ in 0..1 + rng.below(3) {
            let stop = at + below(rng, CROSSING);
            self.acts.push((stop, Act::Stop { user }));
            for _ in 0..rng.below(3) {
                let phone = rng.below(4) as usize;
                self.acts.push((at + below(rng, CROSSING), Act::Register { user, phone }));
            }
            self.acts.push((at + below(rng, CROSSING), mail(1 + rng.below(3))));
        }
        let new = at + below(rng, CROSSING);
        self.acts.push((new, Act::Registrations(RegistrationAct::NewPhone { user })));
        for _ in 0..2 + rng.below(4) {
            self.acts.push((at + below(rng, AFTERWARDS), mail(1)));
        }
        if rng.chance(1, 2) {
            let found = at + below(rng, AFTERWARDS);
            self.acts.push((found, Act::Register { user, phone: 0 }));
        }
    }

    /// Phones take turns in saying which mailbox their user's is.
    fn draw_flapping(&mut self, rng: &mut Rng, at: Time, user: usize) {
        let mut at = at;
        // An account that impersonates nobody could only ask for a waiting mail by naming the mailbox that it is not in.
        let kind = if self.full_access { 2 * rng.below(2) } else { rng.below(3) };
        if self.full_access {
            // Other groups need streams, each twice as one takes over from another.
            self.manners.limits.hanging_connections_max += 4;
        }
        for turn in 0..4 + rng.below(12) {
            let act = match kind {
                0 => RegistrationAct::Shout { user, phone: turn as usize },
                1 => RegistrationAct::Elsewhere { user, length: below(rng, FLAP) },
                _ => RegistrationAct::Group { user, grouping: (turn % 2) as u8 },
            };
            self.acts.push((at, Act::Registrations(act)));
            if rng.chance(1, 4) {
                let mail = Act::Mail { user, mails: 1, vip: false };
                self.acts.push((at + below(rng, FLAP), mail));
            }
            at = at + below(rng, FLAP);
        }
    }
}

/// Stops and registrations come so close to each other.
const CROSSING: Span = Span::from_secs(4);

/// What follows on a stop, follows within this.
const AFTERWARDS: Span = Span::from_secs(90);

/// From one contradiction to the next at most.
const FLAP: Span = Span::from_secs(5);

impl Life {
    pub(super) fn registration_act(&mut self, act: &RegistrationAct) {
        let people = self.town.people.len();
        match act {
            RegistrationAct::NewPhone { user } => self.town.new_phone(user % people),
            RegistrationAct::Shout { user, phone } => {
                let person = user % people;
                let phones = self.town.people[person].phones.len();
                let address = self.town.address(person).to_uppercase();
                self.town.assign_again(person, false, |assign| {
                    assign.address = SmtpAddress::parse(&address).expect("an address of a town");
                });
                self.town.register_again(person, phone % phones);
            }
            RegistrationAct::Elsewhere { user, length } => {
                let person = user % people;
                let home = self.town.world.now().time + *length;
                self.until.push((home, Trouble::Elsewhere(person)));
                self.town.go_elsewhere(person);
            }
            RegistrationAct::Group { user, grouping } => {
                let grouping = format!("phone {grouping}").into();
                self.town.assign_again(user % people, false, |assign| assign.grouping = grouping);
            }
        }
    }
}
