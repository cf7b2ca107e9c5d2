//! What the engine's owner does about mailboxes that are not where they were: he looks where they are now.

use std::collections::BTreeMap;

use carillon_core::names::SmtpAddress;
use carillon_core::shard::{MailServerId, Report};
use carillon_core::time::{Span, Time};

use super::super::run::Life;

/// From a report to a look at the directory.
const LOOK_AFTER: Span = Span::from_secs(5);

/// One mailbox is looked for at most once in this time ([`Report::Misplaced`]).
const LOOK_PAUSE: Span = Span::from_secs(15 * 60);

/// Where the owner thinks that mailboxes are, and when he looks again.
#[derive(Debug, Default)]
pub(in super::super) struct Discovery {
    /// Reports that he has heard.
    heard: usize,
    looks: BTreeMap<usize, Time>,
    looked: BTreeMap<usize, Time>,
}

impl Life {
    /// The owner hears reports, and looks for whom he was told to.
    pub(in super::super) fn discover(&mut self) {
        let now = self.town.world.now().time;
        let heard = std::mem::replace(&mut self.discovery.heard, self.town.world.reports.len());
        for (at, report) in &self.town.world.reports[heard..] {
            let (Report::Misplaced { user, .. } | Report::Taken { user, .. }) = report else { continue };
            let Some(person) = self.town.people.iter().position(|person| person.key == *user) else {
                continue;
            };
            let rested = self.discovery.looked.get(&person).map_or(Time(0), |at| *at + LOOK_PAUSE);
            self.discovery.looks.entry(person).or_insert((*at + LOOK_AFTER).max(rested));
        }
        while let Some((person, _)) = self.discovery.looks.iter().find(|(_, due)| **due <= now) {
            let person = *person;
            self.discovery.looks.remove(&person);
            self.discovery.looked.insert(person, now);
            self.say_where(person);
        }
    }

    /// The owner tells the engine where a mailbox is, if it is anywhere.
    pub(super) fn say_where(&mut self, person: usize) {
        let row = &self.town.people[person];
        let exchange = &self.town.world.exchanges[row.server];
        let address = exchange.address(row.mailbox);
        if exchange.mailbox(address) != Some(row.mailbox) {
            return;
        }
        let address = SmtpAddress::parse(address).expect("addresses of a town are well-formed");
        let server = MailServerId(row.server as u16);
        self.town.assign_again(person, false, |assign| {
            (assign.address, assign.server) = (address, Some(server));
        });
    }
}
