//! The owner of the engine lets users come and go, and changes his mind, while something is under way.

use carillon_core::names::FolderId;
use carillon_harness::exchange::{BusyScope, BusyShape, ExchangeConfig, Operation};
use carillon_harness::world::story::{clean, live, minutes, secs, times};
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
