//! The account at the mail server is shared: what one shard learns of it, all shards keep to.

use carillon_core::shard::{Command, MailCredential, MailServer, MailServerId, Report};
use carillon_core::time::Span;
use carillon_harness::exchange::{BusyScope, BusyShape, Code};
use carillon_harness::world::story::{clean, gaps_s, live, minutes, secs};
use carillon_harness::world::town::{Town, TownConfig};

fn basic(password: &str) -> MailCredential {
    MailCredential::Basic { user: "EX\\carillon".into(), password: password.into() }
}

/// A town on so many shards, with a password of which the mail server knows nothing.
fn with_wrong_password(users: usize, shards: usize) -> Town {
    let wrong = |server: &mut MailServer| server.credential = basic("wrong");
    let wait_max = minutes(120);
    Town::new(TownConfig { users, shards, mail_server: Box::new(wrong), wait_max, ..TownConfig::default() })
}

fn set_password(town: &mut Town, shards: usize, password: &str) {
    for shard in 0..shards {
        let command = Command::SetMailCredential { server: MailServerId(0), credential: basic(password) };
        town.world.command(shard, command);
    }
}

fn refused(town: &Town) -> u64 {
    town.world.exchanges[0].stats().refused
}

fn told(town: &Town, wanted: impl Fn(&Report) -> bool) -> usize {
    town.world.reports.iter().filter(|(_, report)| wanted(report)).count()
}

fn told_of_refusals(town: &Town) -> usize {
    told(town, |report| matches!(report, Report::MailCredentialRefused { .. }))
}

#[test]
fn one_shard_tries_a_wrong_password_for_all_and_a_right_one_heals_all() {
    for shards in [2, 16] {
        let mut town = with_wrong_password(300, shards);
        town.run_for(minutes(14));
        assert_eq!(refused(&town), 1, "one log-in of 300 users on {shards} shards");
        for quarter in 1..4 {
            town.run_for(minutes(15));
            assert_eq!(refused(&town), 1 + quarter, "one log-in each quarter of an hour");
        }
        assert_eq!(told_of_refusals(&town), 1);

        set_password(&mut town, shards, "also wrong");
        town.run_for(minutes(10));
        assert_eq!((refused(&town), told_of_refusals(&town)), (5, 2), "once for all again");

        set_password(&mut town, shards, "correct horse");
        assert!(town.run_until_live(secs(10)), "{:?}", town.world.stats(1));
        assert_eq!(refused(&town), 5);
        assert_eq!(told(&town, |report| matches!(report, Report::MailServerWell { .. })), 1);
        town.deliver(250, "at last");
        town.run_for(secs(30));
        clean(town);
    }
}

#[test]
fn a_shard_that_begins_anew_does_not_try_what_another_knows_to_be_wrong() {
    let mut town = with_wrong_password(40, 2);
    town.run_for(minutes(3));
    for n in 0..6 {
        town.world.crash(n % 2);
        town.run_for(minutes(1));
    }
    assert_eq!(refused(&town), 1);
    set_password(&mut town, 2, "correct horse");
    assert!(town.run_until_live(secs(60)));
    clean(town);
}

#[test]
fn a_refusal_that_takes_long_is_waited_for() {
    let mut town = with_wrong_password(40, 4);
    town.world.net.delay = secs(8);
    town.run_for(minutes(14));
    assert_eq!(refused(&town), 1);
    town.world.net.delay = Span(200);
    set_password(&mut town, 4, "correct horse");
    assert!(town.run_until_live(secs(60)));
    clean(town);
}

#[test]
fn a_password_that_is_right_delays_no_shard_by_more_than_one_request() {
    let time_to_live = |shards| {
        let mut town = Town::new(TownConfig { users: 160, shards, ..TownConfig::default() });
        town.world.net.delay = Span::from_millis(10);
        assert!(town.run_until_live(secs(60)));
        town.world.now().time
    };
    let (alone, sixteen) = (time_to_live(1), time_to_live(16));
    assert!(sixteen.since(alone) < Span::from_millis(100), "{alone:?} with one shard, {sixteen:?} with 16");
}

#[test]
fn a_password_that_was_changed_elsewhere_is_tried_three_times_more_by_all_shards_together() {
    let mut town = live(TownConfig { users: 20, shards: 2, wait_max: minutes(60), ..TownConfig::default() });
    let account = town.world.exchanges[0].account("EX\\carillon").expect("the town's account");
    town.world.exchanges[0].set_password(account, "battery staple");
    for person in 0..2 {
        town.deliver(person, "for a user of each shard");
    }
    let mut times = Vec::new();
    for _ in 0..32 * 60 * 10 {
        let before = refused(&town);
        town.run_for(Span::from_millis(100));
        times.extend((before..refused(&town)).map(|_| town.world.now().time));
        // What was on its way on both shards is one try.
        times.dedup_by(|next, at| next.since(*at) < secs(1));
        let told = usize::from(times.len() >= 4);
        assert_eq!(told_of_refusals(&town), told, "a bad back end at first, then the password");
    }
    assert_eq!(gaps_s(&times), [5, 15, 40, 900, 900]);
    let tried = refused(&town);
    set_password(&mut town, 2, "battery staple");
    town.run_for(secs(60));
    assert_eq!(refused(&town), tried);
    assert!(town.run_until_live(secs(10)));
    clean(town);
}

#[test]
fn a_shard_that_dies_while_it_tries_leaves_the_turn_to_the_others() {
    for after_ms in [0, 100, 8_000, 20_000, 40_000] {
        let mut town =
            Town::new(TownConfig { users: 30, shards: 3, wait_max: minutes(10), ..TownConfig::default() });
        town.world.net.delay = secs(4);
        town.run_for(Span::from_millis(after_ms));
        for shard in 0..2 {
            town.world.crash(shard);
        }
        assert!(town.run_until_live(minutes(5)), "after {after_ms} ms");
        clean(town);
    }
}

#[test]
fn a_shard_without_mailboxes_there_keeps_nobody_waiting() {
    // Both users are on shards other than the first.
    let mut town = Town::new(TownConfig { users: 3, shards: 3, ..TownConfig::default() });
    town.world.command(0, Command::DropUser { user: town.people[0].key });
    let live =
        |world: &carillon_harness::world::World| world.stats(1).users_live + world.stats(2).users_live == 2;
    assert!(town.world.run_until(secs(10), live));
}

#[test]
fn a_pause_that_the_server_asks_of_one_shard_is_kept_by_all() {
    for shape in [BusyShape::Fault, BusyShape::Message, BusyShape::Inner] {
        let config = TownConfig { users: 8, shards: 4, wait_max: minutes(5), ..TownConfig::default() };
        let mut town = live(config);
        town.run_for(secs(5));
        let now = town.world.now();
        town.world.exchanges[0].set_busy(now, BusyScope::All, secs(60), shape, false);
        let busy = |town: &Town| {
            let stats = town.world.exchanges[0].stats();
            let messages = stats.responses.iter().filter(|((_, code), _)| {
                matches!(code, Code::ErrorServerBusy | Code::ErrorInternalServerError)
            });
            messages.map(|(_, count)| *count).sum::<u64>()
                + stats.faults.get(&Code::ErrorServerBusy).copied().unwrap_or(0)
        };
        for person in 0..8 {
            town.deliver(person, "while it is busy");
            town.run_for(secs(5));
        }
        // Four budgets of mailboxes on four shards; the fifth is the second of its shard, which shows that it is the
        // server. From then on nobody asks, on whatever shard.
        assert_eq!(busy(&town), 5, "{shape:?}");
        town.run_for(minutes(3));
        assert_eq!(busy(&town), 5, "{shape:?}");
        for person in 0..8 {
            assert!(town.told(person, 0).iter().any(|push| push.payload.is_alert()), "person {person}");
        }
        clean(town);
    }
}
