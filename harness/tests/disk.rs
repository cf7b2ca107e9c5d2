//! Stories of the disk on which the engine writes down what must survive: full, or with a damaged journal, and then a kill.

use carillon_core::time::Span;
use carillon_harness::apns::Share;
use carillon_harness::world::story::{clean, live, mails_told, secs};
use carillon_harness::world::town::{Town, TownConfig};
use carillon_harness::world::{Damage, Disk, Fault};

fn struck(town: &Town, fault: Fault) -> u64 {
    town.world.struck().times(fault)
}

/// Mail for the first two of three people, told while the disk is like this, and then a kill.
fn told_and_killed(disk: Disk, config: TownConfig) -> Town {
    let mut town = live(TownConfig { wait_max: secs(600), ..config });
    town.audit.disk_may_fail(secs(600));
    town.deliver(0, "while the disk is well");
    town.deliver(1, "while the disk is well");
    town.run_for(secs(30));
    town.world.set_disk(disk);
    for _ in 0..3 {
        town.deliver(0, "while the disk fails");
        town.run_for(secs(20));
    }
    town.world.crash(0);
    town.run_for(secs(120));
    town
}

#[test]
fn a_kill_while_the_store_takes_nothing_tells_nothing_twice_as_the_journal_has_room_of_its_own() {
    let town = told_and_killed(Disk::StoreFails, TownConfig::default());
    assert_eq!((mails_told(&town, 0), mails_told(&town, 1)), (4, 1));
    assert_eq!((struck(&town, Fault::JournalUnwritten), struck(&town, Fault::JournalFull)), (0, 0));
    clean(town);
}

#[test]
fn a_kill_while_the_journal_has_no_room_either_tells_again_what_was_told_meanwhile_and_nothing_older() {
    let town = told_and_killed(Disk::Full, TownConfig::default());
    assert_eq!((mails_told(&town, 0), mails_told(&town, 1)), (1 + 2 * 3, 1));
    assert_eq!(struck(&town, Fault::JournalUnwritten), 1);
    clean(town);
}

#[test]
fn with_room_before_the_kill_nothing_is_told_twice() {
    let mut town = live(TownConfig { wait_max: secs(600), ..TownConfig::default() });
    town.run_for(secs(5));
    town.world.set_disk(Disk::Full);
    town.deliver(0, "while the disk is full");
    town.run_for(secs(20));
    town.world.set_disk(Disk::Well);
    town.deliver(1, "with room");
    town.run_for(secs(5));
    town.world.crash(0);
    town.run_for(secs(120));
    assert_eq!((mails_told(&town, 0), mails_told(&town, 1)), (1, 1));
    clean(town);
}

#[test]
fn a_journal_that_is_full_gives_the_oldest_up_and_loses_no_mail() {
    let mut town = live(TownConfig { users: 6, phones: 2, wait_max: secs(900), ..TownConfig::default() });
    town.audit.disk_may_fail(secs(900));
    town.world.set_journal_room(12);
    town.run_for(secs(5));
    town.world.set_disk(Disk::StoreFails);
    for round in 0..4 {
        for person in 0..6 {
            town.deliver(person, &format!("round {round}"));
            town.run_for(secs(10));
        }
    }
    town.world.crash(0);
    town.run_for(secs(300));
    assert_eq!(struck(&town, Fault::JournalFull), 1);
    // Whose last word was among the newest is told of nothing again.
    assert_eq!(mails_told(&town, 5), 4);
    assert!(mails_told(&town, 0) > 4, "{}", mails_told(&town, 0));
    clean(town);
}

/// The first person has two phones and pushes that never arrive; mail comes and is read, so that several reports about him stand
/// in the journal while a notice is on its way. Then his shard is killed, and this part of its journal is damaged.
fn damaged(seed: u64, from: usize, reports: usize) -> Town {
    let config = TownConfig { seed, users: 2, phones: 2, wait_max: secs(900), ..TownConfig::default() };
    let mut town = live(config);
    town.audit.disk_may_fail(secs(900));
    town.deliver(0, "read later");
    town.deliver(1, "of somebody else");
    town.run_for(secs(30));
    town.world.set_disk(Disk::StoreFails);
    town.turn_apns(|knobs| knobs.requests_lost = Share(1_000_000));
    town.deliver(0, "on its way when the process dies");
    town.run_for(Span::from_millis(3_000 + 500 * (seed % 3)));
    town.read(0, 0);
    town.deliver(1, "on its way, too");
    town.run_for(secs(4));
    town.world.crash_damaged(0, Damage { from, reports });
    town.turn_apns(|knobs| knobs.requests_lost = Share(0));
    town.run_for(secs(600));
    town
}

#[test]
fn wherever_the_journal_is_damaged_no_mail_is_lost_and_only_those_whom_it_hit_are_told_twice() {
    let mut hit = 0;
    for seed in 0..6 {
        for from in 0..12 {
            for reports in 1..4 {
                let town = damaged(seed, from, reports);
                hit += struck(&town, Fault::JournalDamaged);
                println!("seed {seed}, {reports} reports from {from}");
                clean(town);
            }
        }
    }
    assert!(hit > 100, "{hit}");
}
