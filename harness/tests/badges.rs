//! Badges where events tell old counts: the folder itself has the last word.

use carillon_core::shard::BadgeCount;
use carillon_core::time::Span;
use carillon_harness::exchange::{Mail, Operation};
use carillon_harness::world::story::{badge, clean, live, secs};
use carillon_harness::world::town::{Town, TownConfig};

fn counts(town: &Town) -> u64 {
    town.world.exchanges[0].stats().count_all(Operation::GetFolder)
}

#[test]
fn a_badge_is_right_some_seconds_after_a_change_whose_event_tells_the_count_from_before() {
    let mut town = live(TownConfig { users: 2, ..TownConfig::default() });
    town.world.exchanges[0].faults.stale_counts = true;
    for n in 0..5 {
        town.deliver(0, &format!("mail {n}"));
        town.run_for(secs(20));
    }
    assert_eq!(badge(&town, 0), Some(5));
    town.delete(0, 0);
    town.run_for(secs(15));
    assert_eq!(badge(&town, 0), Some(4));
    town.read(0, 1);
    town.run_for(secs(15));
    assert_eq!(badge(&town, 0), Some(3));
    // Two at once: the second event tells the count between them.
    town.read(0, 2);
    town.delete(0, 3);
    town.run_for(secs(15));
    assert_eq!(badge(&town, 0), Some(1));
    assert!(town.world.exchanges[0].stats().stale_counts >= 4);
    clean(town);
}

#[test]
fn a_badge_over_watched_folders_is_right_after_such_changes_too() {
    let mut town = live(TownConfig {
        users: 1,
        choosers: vec![0],
        mail_server: Box::new(|server| server.badge = BadgeCount::Watched),
        ..TownConfig::default()
    });
    town.world.exchanges[0].faults.stale_counts = true;
    let folder = town.people[0].chosen[0];
    let mail = Mail { folder, ..town.mail() };
    town.deliver_mail(0, mail);
    town.deliver(0, "in the inbox");
    town.run_for(secs(20));
    assert_eq!(badge(&town, 0), Some(2));
    town.read(0, 0);
    town.run_for(secs(15));
    assert_eq!(badge(&town, 0), Some(1));
    clean(town);
}

/// Whoever marks hundreds of mails as read must not cost hundreds of calls; and new mail alone costs none.
#[test]
fn many_changes_in_a_row_are_counted_once_in_some_seconds_and_new_mail_is_not() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    town.run_for(secs(30));
    let before = counts(&town);
    for n in 0..100 {
        town.deliver(0, &format!("mail {n}"));
        town.run_for(Span::from_millis(300));
    }
    town.run_for(secs(30));
    assert_eq!(counts(&town), before, "the events of new mail tell the count");
    for n in 0..100 {
        town.read(0, n);
        town.run_for(Span::from_millis(100));
    }
    town.run_for(secs(30));
    assert_eq!(badge(&town, 0), Some(0));
    assert!((2..=4).contains(&(counts(&town) - before)), "{} in ten seconds", counts(&town) - before);
    clean(town);
}

/// What happened to another mail stands in the same notification.
#[test]
fn a_badge_is_right_though_new_mail_and_an_old_count_come_together() {
    for moment_ms in (0..400).step_by(20) {
        let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
        town.world.exchanges[0].faults.stale_counts = true;
        town.world.net.jitter = Span::from_millis(50);
        for n in 0..3 {
            town.deliver(0, &format!("mail {n}"));
        }
        town.run_for(secs(20));
        // What comes while a stream is opened again is told in one notification.
        let stream = town.world.exchanges[0].stream_keys()[0];
        let now = town.world.now();
        town.world.exchanges[0].close_stream(now, stream);
        town.world.collect();
        town.run_for(Span::from_millis(moment_ms));
        town.deliver(0, "new");
        town.delete(0, 0);
        town.run_for(secs(30));
        assert_eq!(badge(&town, 0), Some(3), "after {moment_ms} ms");
        clean(town);
    }
}
