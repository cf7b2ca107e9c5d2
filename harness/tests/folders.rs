//! Folders beside the inbox that change while a mailbox is watched: chosen, taken back, deleted.

use carillon_core::shard::BadgeCount;
use carillon_core::time::Span;
use carillon_harness::exchange::{Code, ExchangeConfig, Mail, Operation};
use carillon_harness::world::story::{alerts, badge, clean, live, minutes, secs};
use carillon_harness::world::town::{Town, TownConfig};

fn config(users: usize) -> TownConfig {
    TownConfig {
        users,
        choosers: (0..users).collect(),
        mail_server: Box::new(|server| server.badge = BadgeCount::Watched),
        ..TownConfig::default()
    }
}

fn deliver_into(town: &mut Town, person: usize, folder: usize) {
    let mail = Mail { folder: town.own_folder(person, folder), ..town.mail() };
    town.deliver_mail(person, mail);
}

#[test]
fn a_watched_folder_that_is_deleted_takes_its_mails_out_of_the_badge() {
    let mut town = live(config(1));
    deliver_into(&mut town, 0, 0);
    town.deliver(0, "in the inbox");
    town.run_for(secs(10));
    assert_eq!(badge(&town, 0), Some(2));
    town.delete_folder(0, 0);
    town.run_for(secs(20));
    assert_eq!(badge(&town, 0), Some(1));
    clean(town);
}

#[test]
fn a_subscription_that_is_outdated_when_it_is_made_is_given_back_behind_its_anchor() {
    let exchange = ExchangeConfig { call_time: Span::from_millis(300), ..ExchangeConfig::default() };
    let mut town = live(TownConfig { exchange, ..config(2) });
    let before = town.world.exchanges[0].subscription_count();
    for chosen in [vec![0, 1], vec![1], vec![0]] {
        for person in 0..2 {
            town.choose_folders(person, chosen.clone());
        }
        town.run_for(Span::from_millis(450));
    }
    town.run_for(minutes(1));
    assert_eq!(town.world.exchanges[0].subscription_count(), before, "all earlier ones were given back");
    clean(town);
}

#[test]
fn a_choice_that_could_not_take_effect_before_a_crash_does_so_after_it() {
    let mut town = live(config(1));
    let mailbox = town.people[0].mailbox;
    let code = Code::ErrorMailboxStoreUnavailable;
    for operation in [Operation::Subscribe, Operation::Unsubscribe] {
        town.world.exchanges[0].refuse(mailbox, operation, 1, code, false);
    }
    town.choose_folders(0, [1]);
    town.run_for(secs(5));
    assert_eq!(town.world.stats(0).users_live, 0, "refused");
    town.world.crash(0);
    town.run_for(minutes(1));
    deliver_into(&mut town, 0, 1);
    town.run_for(secs(10));
    assert_eq!((alerts(&town, 0), badge(&town, 0)), (1, Some(1)), "in what is chosen now");
    deliver_into(&mut town, 0, 0);
    town.run_for(secs(10));
    assert_eq!((alerts(&town, 0), badge(&town, 0)), (1, Some(1)), "not in what was taken back");
    clean(town);
}
