//! How a story of a town begins and ends: all mailboxes are watched, and nobody has anything to object to.

use carillon_core::time::{Span, Time};

use super::town::{Town, TownConfig};
use crate::apns::{AlertKind, Delivery};
use crate::audit::AuditReport;
use crate::exchange::{Code, FolderKey, Mail, Operation};

/// So many seconds.
pub fn secs(s: u64) -> Span {
    Span::from_secs(s)
}

/// So many minutes.
pub fn minutes(m: u64) -> Span {
    secs(60 * m)
}

/// A new town with all mailboxes watched.
///
/// # Panics
/// As [`until_live`].
pub fn live(config: TownConfig) -> Town {
    until_live(Town::new(config))
}

/// The town with all mailboxes watched.
///
/// # Panics
/// If that takes more than a minute: with the first shard's figures and what the engine reported.
pub fn until_live(mut town: Town) -> Town {
    assert!(town.run_until_live(secs(60)), "not live: {:?}\n{:?}", town.world.stats(0), town.world.reports);
    town
}

/// How many alerts the first phone of one of the people got.
pub fn alerts(town: &Town, person: usize) -> usize {
    town.told(person, 0).into_iter().filter(|push| push.payload.is_alert()).count()
}

/// Of how many mails the first phone of one of the people was told, over all its alerts.
pub fn mails_told(town: &Town, person: usize) -> u32 {
    let alerts = town.told(person, 0).into_iter().filter(|push| push.payload.is_alert());
    alerts.map(|push| push.payload.n).sum()
}

/// What the alerts on the first person's first phone say: the subjects of those with details.
pub fn subjects(town: &Town) -> Vec<String> {
    let subject = |push: &Delivery| match &push.payload.alert {
        AlertKind::Details { subtitle, .. } => subtitle.to_string(),
        other => format!("{other:?}"),
    };
    town.told(0, 0).into_iter().filter(|push| push.payload.is_alert()).map(subject).collect()
}

/// The badge that the first phone of one of the people shows.
pub fn badge(town: &Town, person: usize) -> Option<u32> {
    town.told(person, 0).iter().rev().find_map(|push| push.payload.badge)
}

/// When calls of one kind on one person's mailbox came to the first mail server, which records what it is asked and forgets
/// it by this.
pub fn times(town: &mut Town, operation: Operation, person: usize) -> Vec<Time> {
    let mailbox = town.people[person].mailbox;
    let asked = town.world.exchanges[0].take_asked();
    let mine = asked.iter().filter(|one| one.operation == operation && one.mailbox == Some(mailbox));
    mine.map(|one| one.at).collect()
}

/// The seconds from each to the next.
pub fn gaps_s(times: &[Time]) -> Vec<u64> {
    times.windows(2).map(|pair| pair[1].since(pair[0]).0 / 1_000_000).collect()
}

/// All streams of the first mail server break, and what it kept for the next ones is lost, too.
pub fn lose_subscriptions(town: &mut Town) {
    let now = town.world.now();
    town.world.exchanges[0].restart_back_end(now, 0);
    town.world.collect();
}

/// The first mail server gives one person's subscription up.
pub fn lose(town: &mut Town, person: usize, code: Code) {
    let (now, mailbox) = (town.world.now(), town.people[person].mailbox);
    town.world.exchanges[0].fail_subscriptions(now, &[mailbox], code, None);
    town.world.collect();
}

/// A mail arrives in a folder of the first person: a rule has put it there. It does not count for the badge of the inbox, so
/// the audit, which knows only that one, is not told. Returns its id.
pub fn deliver_into(town: &mut Town, folder: FolderKey, subject: &str) -> String {
    let (now, mailbox) = (town.world.now(), town.people[0].mailbox);
    let mail = Mail { subject: subject.into(), folder, ..town.mail() };
    let id = town.world.exchanges[0].deliver(now, mailbox, mail);
    town.world.collect();
    id
}

/// Ends the town. No mail server and no push service may complain of the client, and the audit must find nothing.
///
/// # Panics
/// Otherwise, with what is wrong.
pub fn clean(town: Town) -> AuditReport {
    for exchange in &town.world.exchanges {
        let violations = exchange.violations();
        assert!(violations.is_empty(), "a mail server complains: {violations:?}");
    }
    for (number, apns) in town.world.apns.iter().enumerate() {
        let strict = &apns.stats().strict;
        assert!(strict.is_clean(), "push service {number} complains: {strict:?}");
    }
    let report = town.finish();
    assert!(report.is_clean(), "{report:#?}");
    report
}
