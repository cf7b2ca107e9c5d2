//! Mailboxes that are not where they were: moved, renamed, without an owner for a while.

use carillon_core::shard::{Report, VipRules};
use carillon_core::time::Span;
use carillon_harness::apns::Share;
use carillon_harness::exchange::{BusyScope, BusyShape, Code, ExchangeConfig, MailboxKey};
use carillon_harness::world::story::{alerts, badge, clean, live, minutes, secs};
use carillon_harness::world::town::{Town, TownConfig};

fn misplaced(town: &Town, person: usize) -> usize {
    let key = town.people[person].key;
    let meant = |report: &Report| matches!(report, Report::Misplaced { user, .. } if *user == key);
    town.world.reports.iter().filter(|(_, report)| meant(report)).count()
}

/// The owner assigns one of the people where his mailbox is now.
fn say_where(town: &mut Town, person: usize) {
    town.set_vip(person, VipRules::default());
}

#[test]
fn a_mailbox_that_was_not_there_is_tried_at_once_when_its_owner_says_that_it_is() {
    let config = TownConfig { wait_max: minutes(24 * 60), ..TownConfig::default() };
    let mut town = live(config);
    let (now, mailbox) = (town.world.now(), town.people[1].mailbox);
    town.world.exchanges[0].disconnect_mailbox(now, mailbox);
    town.world.collect();
    town.run_for(minutes(10));
    let looked = misplaced(&town, 1);
    assert!((4..=8).contains(&looked), "at a growing pace: {looked}");
    town.run_for(minutes(6 * 60));
    assert!((looked + 4..=looked + 8).contains(&misplaced(&town, 1)));
    town.deliver(1, "while nobody could look");
    town.world.exchanges[0].reconnect_mailbox(mailbox);
    town.run_for(minutes(10));
    assert_eq!(alerts(&town, 1), 0);
    say_where(&mut town, 1);
    assert!(town.run_until_live(secs(30)));
    town.run_for(secs(30));
    assert_eq!(alerts(&town, 1), 1);
    clean(town);
}

/// The budget of somebody's mailbox is exhausted for three minutes, and the engine is given a reason to ask.
fn exhaust_budget(town: &mut Town, person: usize) -> MailboxKey {
    let (now, mailbox) = (town.world.now(), town.people[person].mailbox);
    let exchange = &mut town.world.exchanges[0];
    exchange.set_busy(now, BusyScope::Mailbox(mailbox), minutes(3), BusyShape::Fault, false);
    exchange.miss_events(mailbox);
    town.world.collect();
    mailbox
}

#[test]
fn what_an_owner_says_does_not_shorten_the_pause_of_an_exhausted_budget() {
    let mut town = live(TownConfig { wait_max: minutes(30), ..TownConfig::default() });
    let mailbox = exhaust_budget(&mut town, 1);
    town.run_for(secs(5));
    let now = town.world.now();
    let exchange = &mut town.world.exchanges[0];
    exchange.fail_subscriptions(now, &[mailbox], Code::ErrorSubscriptionNotFound, None);
    town.world.collect();
    town.run_for(secs(20));
    say_where(&mut town, 1);
    // The server's list of what must never be is looked at in the end.
    town.run_for(minutes(5));
    assert!(town.run_until_live(secs(30)));
    clean(town);
}

#[test]
fn a_mailbox_at_another_server_is_watched_there_when_its_owner_has_found_it() {
    for code in [
        Code::ErrorNonExistentMailbox,
        Code::ErrorProxyRequestNotAllowed,
        Code::ErrorCrossSiteRequest,
        Code::ErrorNoRespondingCASInDestinationSite,
    ] {
        let config = TownConfig { users: 6, mail_servers: 2, wait_max: minutes(30), ..TownConfig::default() };
        let mut town = live(config);
        town.deliver(2, "before");
        town.run_for(secs(10));
        let (now, mailbox) = (town.world.now(), town.people[2].mailbox);
        town.world.exchanges[0].take_offline(now, mailbox, Code::ErrorMailboxMoveInProgress);
        town.deliver(2, "on the way");
        town.run_for(secs(60));
        town.move_mailbox(2, 1, code);
        town.deliver(2, "there");
        town.run_for(minutes(6));
        assert!(misplaced(&town, 2) >= 2, "{code:?}");
        say_where(&mut town, 2);
        assert!(town.run_until_live(secs(30)), "{code:?}");
        town.run_for(secs(30));
        let told: u32 = town.told(2, 0).iter().map(|push| push.payload.n).sum();
        assert_eq!(told, 3, "{code:?}");
        assert_eq!(town.world.exchanges[1].subscription_count(), 4);
        town.deliver(2, "after");
        town.run_for(Span::from_secs(20));
        assert_eq!(town.told(2, 0).last().unwrap().payload.badge, Some(4), "{code:?}");
        clean(town);
    }
}

#[test]
fn a_subscription_that_comes_after_its_cohort_took_another_route_is_not_used() {
    let exchange = ExchangeConfig { call_time: Span::from_millis(300), ..ExchangeConfig::default() };
    let mut town = live(TownConfig { exchange, wait_max: minutes(30), ..TownConfig::default() });
    let now = town.world.now();
    let [anchor, member] = [0, 1].map(|person| town.people[person].mailbox);
    let exchange = &mut town.world.exchanges[0];
    exchange.fail_subscriptions(now, &[anchor, member], Code::ErrorSubscriptionNotFound, None);
    exchange.disconnect_mailbox(now, anchor);
    town.world.collect();
    town.run_for(minutes(1));
    town.world.exchanges[0].reconnect_mailbox(anchor);
    say_where(&mut town, 0);
    assert!(town.run_until_live(minutes(1)));
    clean(town);
}

#[test]
fn a_count_on_a_stream_that_was_overtaken_is_not_the_last_word() {
    let mut town = live(TownConfig { wait_max: minutes(30), ..TownConfig::default() });
    town.deliver(1, "read soon");
    town.run_for(secs(30));
    // The word of the second mail is on its way for long; for another address of somebody else, a stream takes over.
    let delay = std::mem::replace(&mut town.world.net.delay, secs(25));
    town.deliver(1, "another");
    town.world.net.delay = delay;
    let mailbox = town.people[0].mailbox;
    town.world.exchanges[0].rename_mailbox(mailbox, "zoe@example.com");
    say_where(&mut town, 0);
    town.run_for(secs(15));
    town.read(1, 0);
    town.run_for(secs(5));
    assert_eq!(badge(&town, 1), Some(1));
    town.run_for(minutes(2));
    assert_eq!(badge(&town, 1), Some(1));
    clean(town);
}

#[test]
fn a_mailbox_with_another_address_has_the_same_exhausted_budget() {
    let mut town = live(TownConfig { wait_max: minutes(30), ..TownConfig::default() });
    let mailbox = exhaust_budget(&mut town, 1);
    town.run_for(secs(20));
    town.world.exchanges[0].rename_mailbox(mailbox, "zoe@example.com");
    say_where(&mut town, 1);
    town.run_for(minutes(5));
    assert!(town.run_until_live(secs(30)));
    clean(town);
}

#[test]
fn a_push_whose_answer_was_lost_keeps_its_place_on_the_screen_when_the_address_changes() {
    let mut town = live(TownConfig { wait_max: minutes(30), ..TownConfig::default() });
    town.turn_apns(|knobs| knobs.answers_lost = Share(1_000_000));
    town.deliver(1, "one");
    town.deliver(1, "another");
    town.run_for(secs(6));
    assert_eq!(alerts(&town, 1), 1);
    let mailbox = town.people[1].mailbox;
    town.world.exchanges[0].rename_mailbox(mailbox, "zoe@example.com");
    say_where(&mut town, 1);
    town.world.crash(0);
    town.turn_apns(|knobs| knobs.answers_lost = Share(0));
    town.run_for(minutes(2));
    assert!(town.told(1, 0).iter().any(|push| push.duplicate), "it went out again");
    assert!(town.world.apns[0].stats().strict.counts.is_empty(), "{:?}", town.world.apns[0].stats().strict);
    clean(town);
}
