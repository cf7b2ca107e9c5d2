//! What Apple's push service can do to a client, and what the phones notice of it: the engine's core against the strict
//! peer, in virtual time.

mod answers;
mod breaker;
mod connections;
mod in_a_row;
mod lanes;
mod outages;
mod renewals;
mod stamps;
mod tokens;
mod turns;

use std::collections::BTreeMap;

use carillon_core::names::ItemId;
use carillon_core::shard::{BLOCKED, Command, PushAuth, PushService, Report, TeamId, Timing};
use carillon_core::signal::MailSignal;
use carillon_core::time::{Span, Time, UnixMillis};
use carillon_harness::apns::{
    Environment, Goaway, KeyScope, Knobs, Latency, ProviderKey, Reason, Share, TeamKey, TokenSpec,
    WindowPolicy,
};
use carillon_harness::audit::AuditReport;
use carillon_harness::exchange::ExchangeConfig;
use carillon_harness::peer::PeerConn;
use carillon_harness::world::Clock;
use carillon_harness::world::story::{self, secs};
use carillon_harness::world::town::{APP, PUSH, Town, TownConfig};
use ring::rand::SystemRandom;

/// A town whose mailboxes are watched and whose phones show their first badge.
fn live(config: TownConfig) -> Town {
    let mut town = story::live(config);
    town.run_for(secs(20));
    assert!(town.is_quiet());
    town
}

fn clean(town: Town) -> AuditReport {
    let strict = &town.world.apns[0].stats().strict;
    assert!(strict.is_clean(), "the push service complains: {strict:?}");
    assert_eq!(town.world.apns[0].stats().connections_broken, 0);
    story::clean(town)
}

fn ms(ms: u64) -> Span {
    Span::from_millis(ms)
}

/// Answers take so long, as over a real distance.
fn answers_in(span: Span) -> Knobs {
    Knobs { latency: Latency::Fixed(span), ..Knobs::default() }
}

fn deliver_to_all(town: &mut Town, subject: &str) {
    for person in 0..town.people.len() {
        town.deliver(person, subject);
    }
}

/// Lets time pass in small steps until `done`.
fn run_until(town: &mut Town, limit: Span, mut done: impl FnMut(&Town) -> bool) {
    let until = town.world.now().time + limit;
    while !done(town) {
        assert!(town.world.now().time < until, "not within {limit:?}: {:?}", town.world.stats(0));
        town.run_for(ms(1));
    }
}

fn in_flight(town: &Town) -> u64 {
    town.world.stats(0).pushes_in_flight
}

/// How many alerts each phone was sent, accepted repetitions included: number of alerts → phones.
fn alerts_by_phone(town: &Town) -> BTreeMap<usize, usize> {
    let mut phones = BTreeMap::new();
    for person in 0..town.people.len() {
        let alerts = town.told(person, 0).into_iter().filter(|push| push.payload.is_alert()).count();
        *phones.entry(alerts).or_default() += 1;
    }
    phones
}

fn connections(town: &Town) -> Vec<PeerConn> {
    town.world.apns[0].connections()
}

fn goaway(town: &mut Town, conn: PeerConn, how: Goaway) {
    let now = town.world.now();
    town.world.apns[0].goaway(now, conn, how);
    town.world.collect();
}

fn troubles(town: &Town) -> Vec<String> {
    let told = town.world.reports.iter();
    told.filter_map(|(_, report)| match report {
        Report::PushServiceTrouble { trouble, .. } => Some(trouble.code.to_string()),
        _ => None,
    })
    .collect()
}

fn recoveries(town: &Town) -> usize {
    town.world.reports.iter().filter(|(_, report)| matches!(report, Report::PushServiceWell { .. })).count()
}

/// Which of the phones the push service knows in the other environment only.
fn move_to_sandbox(town: &mut Town, people: std::ops::Range<usize>) {
    for person in people {
        register_at(town, person, Environment::Sandbox);
    }
}

fn register_at(town: &mut Town, person: usize, environment: Environment) {
    let spec = &town.people[person].phones[0].spec;
    let token = TokenSpec { token: spec.token.as_str(), bundle: APP, environment, tag: spec.device.0 };
    town.world.apns[0].register(&token);
}
