//! The owner of the engine lets users come and go, and changes his mind, while something is under way.

use carillon_core::names::FolderId;
use carillon_core::time::Span;
use carillon_harness::exchange::{BusyScope, BusyShape, ExchangeConfig, Operation};
use carillon_harness::world::story::{alerts, clean, live, minutes, secs, times};
use carillon_harness::world::town::TownConfig;

#[test]
fn the_subscription_of_who_goes_in_a_pause_is_given_back_after_it() {
    let exchange = ExchangeConfig { record_asked: true, ..ExchangeConfig::default() };
    let mut town = live(TownConfig { users: 4, exchange, ..TownConfig::default() });
    town.run_for(secs(30));
    let (now, mailbox) = (town.world.now(), town.people[2].mailbox);
    town.world.exchanges[0].set_busy(now, BusyScope::Mailbox(mailbox), secs(60), BusyShape::Message, false);
    town.deliver(2, "of which nobody may ask");
    town.run_for(secs(5));
    town.drop_person(2);
    town.run_for(minutes(2));
    let given_back = times(&mut town, Operation::Unsubscribe, 2);
    assert!(matches!(given_back[..], [at] if at.since(now.time) >= secs(60)), "{given_back:?}");
    assert_eq!((town.world.stats(0).users, town.world.exchanges[0].subscription_count()), (3, 3));
    clean(town);
}

#[test]
fn what_came_before_a_user_is_not_told_though_answers_take_long() {
    let mut town = live(TownConfig { users: 4, ..TownConfig::default() });
    town.run_for(secs(30));
    town.drop_person(2);
    town.run_for(secs(30));
    town.deliver(2, "while he is not there");
    town.run_for(secs(4));
    town.world.net.delay = Span::from_millis(3_900);
    town.come_back(2, 0);
    assert!(town.run_until_live(minutes(2)));
    town.world.net.delay = Span(200);
    town.run_for(secs(20));
    assert_eq!(alerts(&town, 2), 0);
    town.deliver(2, "for him");
    town.run_for(secs(20));
    assert_eq!(alerts(&town, 2), 1);
    clean(town);
}

#[test]
fn who_is_given_back_says_that_the_account_is_to_wait() {
    for shape in [BusyShape::Message, BusyShape::Fault] {
        let mut town = live(TownConfig { users: 4, full_access: true, ..TownConfig::default() });
        town.run_for(secs(30));
        let now = town.world.now();
        town.world.exchanges[0].set_busy(now, BusyScope::All, secs(60), shape, false);
        town.drop_person(2);
        town.run_for(secs(5));
        town.deliver(1, "of which nobody may ask");
        town.run_for(minutes(2));
        clean(town);
    }
}

#[test]
fn a_pause_of_the_mailbox_that_is_given_back_is_no_pause_for_the_others() {
    for shape in [BusyShape::Message, BusyShape::Fault] {
        let mut town = live(TownConfig { users: 4, ..TownConfig::default() });
        town.run_for(secs(30));
        let (now, mailbox) = (town.world.now(), town.people[2].mailbox);
        town.world.exchanges[0].set_busy(now, BusyScope::Mailbox(mailbox), secs(60), shape, false);
        town.drop_person(2);
        town.run_for(secs(5));
        town.deliver(1, "with its sender");
        town.run_for(secs(20));
        assert!(town.told(1, 0).last().expect("told").payload.has_details(), "{shape:?}");
        clean(town);
    }
}

#[test]
fn folders_chosen_in_a_pause_are_subscribed_to_after_it() {
    let mut town = live(TownConfig { users: 4, ..TownConfig::default() });
    town.run_for(secs(30));
    let (now, mailbox) = (town.world.now(), town.people[2].mailbox);
    let folder = town.world.exchanges[0].add_folder(mailbox, "Projects");
    let id = FolderId::parse(&town.world.exchanges[0].folder_id(mailbox, folder)).expect("an id");
    town.world.exchanges[0].set_busy(now, BusyScope::Mailbox(mailbox), secs(60), BusyShape::Message, false);
    town.deliver(2, "of which nobody may ask");
    town.run_for(secs(5));
    town.assign_again(2, false, |assign| assign.folders = vec![id]);
    assert!(town.run_until_live(minutes(2)));
    clean(town);
}
