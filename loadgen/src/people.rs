//! Who there is: the same users and phones in both processes, drawn from the seed.

use carillon_core::rng::Rng;
use carillon_core::time::UnixMillis;

use crate::profile::Plan;

/// The app of all phones.
pub(crate) const TOPIC: &str = "com.example.mail";

/// A user with a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// Mail of high importance is VIP mail.
    pub vip: bool,
    /// Unread mails in the inbox before the run.
    pub unread_before: u32,
    /// The back end that holds the mailbox.
    pub back_end: usize,
}

/// A phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phone {
    /// Whose: an index into [`People::persons`].
    pub person: u32,
    /// Which of his phones, from 1.
    pub number: u32,
    /// Its device token.
    pub token: String,
    /// When the app was last used.
    pub active: UnixMillis,
    /// Wants alerts.
    pub alerts: bool,
    /// Wants sender and subject.
    pub details: bool,
}

/// Everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct People {
    /// Users.
    pub persons: Vec<Person>,
    /// Phones, in the order of their users.
    pub phones: Vec<Phone>,
}

impl People {
    /// Draws them. `start` is when the run began: the use of apps is counted back from there.
    pub(crate) fn draw(plan: &Plan, seed: u64, start: UnixMillis) -> People {
        let mut rng = Rng::new(seed ^ 0x7065_6f70_6c65_2121);
        let (users, back_ends) = (plan.people.users, u64::from(plan.exchange.back_ends));
        let persons: Vec<Person> = (0..users)
            .map(|_| Person {
                vip: rng.chance(u64::from(plan.people.vip_percent), 100),
                unread_before: plan.people.unread_before.draw(&mut rng),
                back_end: rng.below(back_ends) as usize,
            })
            .collect();
        let mut counts = vec![1_u32; users as usize];
        let mut left = plan.people.devices - users;
        while left > 0 {
            let count = &mut counts[rng.below(u64::from(users)) as usize];
            if *count < crate::profile::DEVICES_PER_USER_MAX {
                *count += 1;
                left -= 1;
            }
        }
        let cutoff_ms = u64::from(plan.service.detail_cutoff_s) * 1_000;
        let mut phones = Vec::with_capacity(plan.people.devices as usize);
        for (person, count) in counts.iter().enumerate() {
            for number in 1..=*count {
                let token: String = (0..4).map(|_| format!("{:016x}", rng.next_u64())).collect();
                // A clear distance to the cut-off on either side: no run lasts as long as an hour.
                let unused_ms = if rng.chance(u64::from(plan.people.idle_percent), 100) {
                    cutoff_ms + 60_000 + rng.below(48 * 3_600_000)
                } else {
                    rng.below((cutoff_ms / 2).max(1))
                };
                phones.push(Phone {
                    person: person as u32,
                    number,
                    token,
                    active: UnixMillis(start.0.saturating_sub(unused_ms)),
                    alerts: !rng.chance(u64::from(plan.people.alerts_off_percent), 100),
                    details: !rng.chance(u64::from(plan.people.details_off_percent), 100),
                });
            }
        }
        People { persons, phones }
    }
}

/// A user's id in the API.
pub(crate) fn user_id(person: u32) -> String {
    format!("u{person:06}")
}

/// The id of a user's phone in the API.
pub(crate) fn device_id(number: u32) -> String {
    format!("phone-{number}")
}

/// A user's address.
pub(crate) fn address(person: u32) -> String {
    format!("u{person:06}@example.com")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{BUILTIN, Profile};

    #[test]
    fn both_processes_draw_the_same_people() {
        let plan = Profile::parse("smoke", BUILTIN[0].1).unwrap().draw(7);
        let people = People::draw(&plan, 7, UnixMillis(1_800_000_000_000));
        assert_eq!(people, People::draw(&plan, 7, UnixMillis(1_800_000_000_000)));
        assert_ne!(people, People::draw(&plan, 8, UnixMillis(1_800_000_000_000)));
        assert_eq!(people.persons.len(), plan.people.users as usize);
        assert_eq!(people.phones.len(), plan.people.devices as usize);
        let mut tokens: Vec<&str> = people.phones.iter().map(|phone| &*phone.token).collect();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), people.phones.len());
    }
}
