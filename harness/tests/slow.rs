//! Mailboxes whose database hangs or is slow, story by story: they wait for themselves, and nobody else waits for them.

use carillon_core::shard::{MailServer, Report, Timing};
use carillon_core::time::{Span, Time};
use carillon_harness::apns::AlertKind;
use carillon_harness::exchange::{ExchangeConfig, Operation};
use carillon_harness::world::story::{alerts, clean, live, lose_subscriptions, secs};
use carillon_harness::world::town::{Town, TownConfig};

fn quick() -> Timing {
    Timing { settle_ms: 200, min_interval_ms: 0, ..Timing::default() }
}

fn config(users: usize) -> TownConfig {
    let exchange =
        ExchangeConfig { record_asked: true, call_time: Span::from_millis(40), ..ExchangeConfig::default() };
    TownConfig { users, exchange, timing: quick(), wait_max: secs(3_600), ..TownConfig::default() }
}

/// The database of these people hangs: nothing that is asked of their mailboxes is answered.
fn hang(town: &mut Town, people: impl Iterator<Item = usize>) {
    for person in people {
        let mailbox = town.people[person].mailbox;
        town.world.exchanges[0].slow_down(mailbox, None);
    }
}

/// From a mail's arrival until its owner's phone tells of it with details; nothing if that is not within ten seconds.
fn told_with_details(town: &mut Town, person: usize, subject: &str) -> Option<Span> {
    let begin = town.world.now().time;
    town.deliver(person, subject);
    for _ in 0..100 {
        town.run_for(Span::from_millis(100));
        let told = town.told(person, 0);
        let told = told.iter().filter(|push| push.at.time >= begin);
        let mut with = told.filter(|push| match &push.payload.alert {
            AlertKind::Details { subtitle, .. } => &**subtitle == subject,
            _ => false,
        });
        if let Some(push) = with.next() {
            return Some(push.at.time.since(begin));
        }
    }
    None
}

fn troubles(town: &Town) -> usize {
    let trouble = |report: &Report| matches!(report, Report::MailServerTrouble { .. });
    town.world.reports.iter().filter(|(_, report)| trouble(report)).count()
}

#[test]
fn ten_mailboxes_that_hang_leave_places_for_the_others_for_as_long_as_it_lasts() {
    for calls_max in [8, 2, 1] {
        let mail_server = Box::new(move |server: &mut MailServer| server.calls_max = calls_max);
        let mut town = live(TownConfig { mail_server, ..config(13) });
        town.run_for(secs(60));
        hang(&mut town, 0..10);
        let mut took: Vec<Option<Span>> = Vec::new();
        for minute in 0..4 {
            for round in 0..3 {
                (0..10).for_each(|person| _ = town.deliver(person, "in the database that hangs"));
                town.run_for(Span::from_millis(1_500));
                for person in 10..13 {
                    took.push(told_with_details(&mut town, person, &format!("well {minute} {round}")));
                    town.run_for(secs(4));
                }
            }
        }
        // With fewer places, the first to get mail wait until it is known who hangs.
        let known = if calls_max < 8 { 6 } else { 0 };
        let slowest = took.iter().skip(known).map(|took| took.unwrap_or(secs(3_600))).max().unwrap();
        assert!(slowest <= secs(2), "with {calls_max} places: {took:?}");
        assert!((0..10).all(|person| alerts(&town, person) >= 1), "told without details");
        assert_eq!(troubles(&town), 0, "the server is well");

        // Back again, they are as any other.
        town.world.exchanges[0].clear_orders();
        town.run_for(secs(400));
        for person in 0..10 {
            let took = told_with_details(&mut town, person, "healed");
            assert!(took.is_some_and(|took| took <= secs(2)), "{person}: {took:?}");
        }
        clean(town);
    }
}

#[test]
fn a_mailbox_that_hangs_is_asked_at_a_growing_pace_and_keeps_its_call_only_as_long_as_that_may_take() {
    let mut town = live(config(3));
    hang(&mut town, 0..1);
    town.world.exchanges[0].miss_events(town.people[0].mailbox);
    town.world.collect();
    town.world.exchanges[0].take_asked();
    for _ in 0..60 {
        town.run_for(secs(30));
        town.deliver(1, "of another");
    }
    let asked = town.world.exchanges[0].take_asked();
    let mine = town.people[0].mailbox;
    let times: Vec<Time> = asked.iter().filter(|one| one.mailbox == Some(mine)).map(|one| one.at).collect();
    // 100 s until it is given up, then pauses from 0 to 5 minutes.
    assert!((5..=12).contains(&times.len()), "{times:?}");
    assert_eq!(troubles(&town), 0);
    let (mailbox, operation) = (Some(mine), Operation::FindItem);
    assert!(asked.iter().any(|one| one.mailbox == mailbox && one.operation == operation));
    town.world.exchanges[0].clear_orders();
    assert!(town.run_until_live(secs(420)), "{:?}", town.world.stats(0));
    clean(town);
}

#[test]
fn the_first_mailbox_of_a_cohort_may_hang_and_the_others_are_watched() {
    let mail_server = Box::new(|server: &mut MailServer| server.cohort_users_max = 3);
    let mut town = Town::new(TownConfig { mail_server, ..config(6) });
    // That of the second cohort: with the first, it is known that the credential works.
    hang(&mut town, 3..4);
    town.run_for(secs(45));
    assert_eq!(town.world.stats(0).users_live, 5, "{:?}", town.world.stats(0));
    assert_eq!(town.world.stats(0).cohorts, 2);
    town.world.exchanges[0].clear_orders();
    assert!(town.run_until_live(secs(420)));
    clean(town);
}

#[test]
fn the_mailbox_with_which_the_credential_is_tried_may_hang_and_another_tries_it_when_that_is_over() {
    for restart in [false, true] {
        let mut town = Town::new(config(6));
        if restart {
            town.run_for(secs(60));
            hang(&mut town, 0..1);
            town.world.crash(0);
        } else {
            hang(&mut town, 0..1);
        }
        // A refusal is waited for for so long, lest a wrong password be tried again.
        town.run_for(secs(100 + 15));
        assert_eq!(town.world.stats(0).users_live, 5, "{restart}: {:?}", town.world.stats(0));
        town.world.exchanges[0].clear_orders();
        assert!(town.run_until_live(secs(420)));
        clean(town);
    }
}

#[test]
fn a_stream_that_is_not_opened_for_one_mailbox_is_opened_for_another() {
    let mut town = live(config(6));
    town.run_for(secs(60));
    // The stream acts for the first: on its budget, and by way of its database.
    hang(&mut town, 0..1);
    let (now, stream) = (town.world.now(), town.world.exchanges[0].stream_keys()[0]);
    town.world.exchanges[0].close_stream(now, stream);
    town.world.collect();
    town.run_for(secs(45));
    assert_eq!(town.world.exchanges[0].streams().len(), 1, "{:?}", town.world.stats(0));
    let took = told_with_details(&mut town, 3, "and the neighbours hear of their mail");
    assert!(took.is_some_and(|took| took <= secs(2)), "{took:?}");
    town.world.exchanges[0].clear_orders();
    assert!(town.run_until_live(secs(420)));
    clean(town);
}

#[test]
fn a_server_that_is_slow_as_a_whole_is_waited_for() {
    let mut town = live(config(60));
    town.run_for(secs(60));
    town.world.exchanges[0].reconfigure(|config| config.call_time = secs(4));
    lose_subscriptions(&mut town);
    for person in 0..60 {
        town.deliver(person, "while everything takes four seconds");
    }
    town.run_for(secs(1));
    // 60 times three calls of 4 s, of which 8 are out at once.
    assert!(town.run_until_live(secs(150)), "{:?}", town.world.stats(0));
    town.run_for(secs(30));
    let given_up = town.world.stats(0).calls_given_up;
    assert!(given_up <= 24, "{given_up} calls were given up for others that came no further");
    let told: Vec<usize> = (0..60).map(|person| alerts(&town, person)).collect();
    assert!(told.iter().all(|alerts| *alerts == 1), "{told:?}");
    clean(town);
}
