//! Who shares a stream with whom, as mailboxes come and go.

use std::collections::BTreeSet;

use carillon_core::shard::{Command, MailServer, VipRules};
use carillon_core::time::{Span, Time};
use carillon_harness::exchange::{Asked, BusyScope, BusyShape, Code, ExchangeConfig, Operation};
use carillon_harness::world::story::{self, clean, minutes, secs};
use carillon_harness::world::town::{Town, TownConfig};

fn come(town: &mut Town, person: usize) {
    town.set_vip(person, VipRules::default());
}

fn go(town: &mut Town, person: usize) {
    let (shard, user) = (town.people[person].shard, town.people[person].key);
    town.world.command(shard, Command::DropUser { user });
}

fn cohorts_and_streams(town: &Town) -> (u64, u64) {
    (town.world.stats(0).cohorts, town.world.stats(0).streams)
}

#[test]
fn whoever_comes_takes_the_place_of_one_who_went() {
    let config = TownConfig { users: 400, phones: 0, vigilant: false, ..TownConfig::default() };
    let mut town = story::live(config);
    assert_eq!(cohorts_and_streams(&town), (2, 2));
    for _ in 0..3 {
        // Half of each cohort, from both in turn.
        for pair in 0..100 {
            go(&mut town, 2 * pair);
            go(&mut town, 200 + 2 * pair);
        }
        town.run_for(secs(30));
        for person in (0..400).step_by(2) {
            come(&mut town, person);
        }
        assert!(town.run_until_live(minutes(2)), "{:?}", town.world.stats(0));
        town.run_for(secs(60));
        assert_eq!(cohorts_and_streams(&town), (2, 2));
        town.world.check(0).unwrap();
    }
    // With the last of its members a cohort ends, and is found by nobody any more.
    for person in 0..400 {
        go(&mut town, person);
    }
    town.run_for(secs(10));
    assert_eq!(cohorts_and_streams(&town), (0, 0));
    come(&mut town, 7);
    town.run_for(secs(60));
    assert_eq!((cohorts_and_streams(&town), town.world.stats(0).users_live), ((1, 1), 1));
    town.world.check(0).unwrap();
    clean(town);
}

#[test]
fn who_can_be_reached_in_neither_of_two_cohorts_founds_a_third_and_is_not_sent_back() {
    let mail_server = Box::new(|server: &mut MailServer| server.cohort_users_max = 4);
    let config =
        TownConfig { users: 7, phones: 0, mail_server, wait_max: minutes(60), ..TownConfig::default() };
    let mut town = story::live(config);
    assert_eq!(cohorts_and_streams(&town), (2, 2));
    let (now, mailbox) = (town.world.now(), town.people[1].mailbox);
    let exchange = &mut town.world.exchanges[0];
    exchange.refuse(mailbox, Operation::Subscribe, 2, Code::ErrorMailboxMoveInProgress, false);
    exchange.fail_subscriptions(now, &[mailbox], Code::ErrorSubscriptionNotFound, None);
    town.world.collect();
    town.run_for(secs(1));
    assert!(town.run_until_live(minutes(30)), "{:?}", town.world.stats(0));
    town.run_for(minutes(10));
    assert_eq!((cohorts_and_streams(&town), town.world.stats(0).users_live), ((3, 3), 7));
    clean(town);
}

/// A town whose server is busy for so long, and from which sixty people go meanwhile.
fn left_in_busy_times(busy: Span) -> Town {
    let exchange = ExchangeConfig { record_asked: true, ..ExchangeConfig::default() };
    let config =
        TownConfig { users: 100, phones: 0, exchange, wait_max: minutes(120), ..TownConfig::default() };
    let mut town = story::live(config);
    let now = town.world.now();
    town.world.exchanges[0].set_busy(now, BusyScope::All, busy, BusyShape::Fault, false);
    for person in 0..60 {
        go(&mut town, person);
    }
    town
}

fn asked_now(town: &mut Town) -> Vec<Operation> {
    town.world.exchanges[0].take_asked().iter().map(|asked| asked.operation).collect()
}

#[test]
fn newcomers_do_not_wait_behind_what_is_only_given_back() {
    let mut town = left_in_busy_times(minutes(10));
    town.run_for(minutes(1));
    for person in 0..20 {
        come(&mut town, person);
    }
    town.run_for(minutes(8));
    asked_now(&mut town);
    // Calls take longer than the pace of subscriptions.
    town.world.net.delay = Span::from_millis(50);
    town.run_for(minutes(5));
    let asked = asked_now(&mut town);
    let last_in = asked.iter().rposition(|one| *one == Operation::Subscribe).expect("they are subscribed");
    let later = asked[last_in..].iter().filter(|one| **one == Operation::Unsubscribe).count();
    assert!(later >= 20, "{later} are given back later: {asked:?}");
    assert_eq!(town.world.stats(0).users_live, 60);
    clean(town);
}

#[test]
fn what_has_ended_by_itself_meanwhile_is_not_given_back() {
    // Nobody is believed who asks for more than an hour, so it is asked for twice.
    let mut town = left_in_busy_times(minutes(50));
    town.run_for(minutes(49));
    let now = town.world.now();
    town.world.exchanges[0].set_busy(now, BusyScope::All, minutes(16), BusyShape::Message, false);
    town.run_for(minutes(12));
    asked_now(&mut town);
    town.run_for(minutes(20));
    let asked = asked_now(&mut town);
    assert!(!asked.contains(&Operation::Unsubscribe), "{asked:?}");
    assert_eq!(town.world.stats(0).users_live, 40);
    clean(town);
}

#[test]
fn missed_events_of_an_id_that_is_named_twice_are_missed_once() {
    let exchange = ExchangeConfig { record_asked: true, ..ExchangeConfig::default() };
    let mut town = story::live(TownConfig { users: 4, phones: 0, exchange, ..TownConfig::default() });
    town.run_for(secs(60));
    asked_now(&mut town);
    let (now, mailbox) = (town.world.now(), town.people[2].mailbox);
    let code = Code::ErrorMissedNotificationEvents;
    town.world.exchanges[0].fail_subscriptions(now, &[mailbox, mailbox], code, None);
    town.world.collect();
    town.run_for(secs(60));
    let asked = asked_now(&mut town);
    assert!(asked.contains(&Operation::FindItem) && !asked.contains(&Operation::Subscribe), "{asked:?}");
    assert_eq!(town.world.stats(0).users_live, 4);
    clean(town);
}

#[test]
fn streams_that_begin_together_do_not_all_end_together() {
    let few = Box::new(|server: &mut MailServer| server.cohort_users_max = 2);
    let town = story::live(TownConfig { users: 40, mail_server: few, ..TownConfig::default() });
    let streams = town.world.exchanges[0].streams();
    assert_eq!(streams.len(), 20);
    let lives = streams.iter().map(|stream| stream.closes.since(stream.opened).0 / 60_000_000);
    let lives: BTreeSet<u64> = lives.collect();
    assert!(lives.len() > 1 && lives.iter().all(|life| (26..=29).contains(life)), "{lives:?}");
    clean(town);
}

/// Three back ends. Whoever comes without the cookie of his group may get another one of them.
fn several_back_ends() -> ExchangeConfig {
    let back_ends = (1..=3).map(|number| format!("ex{number}.example.com")).collect();
    ExchangeConfig { back_ends, record_asked: true, ..ExchangeConfig::default() }
}

#[test]
fn after_a_crash_the_stored_cookie_leads_to_the_back_end_that_holds_the_subscriptions() {
    let exchange = several_back_ends();
    let mut town = story::live(TownConfig { users: 12, exchange, ..TownConfig::default() });
    let before = town.world.exchanges[0].subscriptions();
    town.world.exchanges[0].take_asked();
    town.world.crash(0);
    assert!(town.run_until_live(secs(120)), "{:?}", town.world.stats(0));
    let asked = town.world.exchanges[0].take_asked();
    let stream = asked.iter().find(|one| one.operation == Operation::GetStreamingEvents);
    assert!(stream.expect("opened again").pinned);
    assert!(!asked.iter().any(|one| one.operation == Operation::Subscribe), "{asked:?}");
    let ids = |town: &Town| -> BTreeSet<String> {
        town.world.exchanges[0].subscriptions().into_iter().map(|one| one.id).collect()
    };
    assert_eq!(ids(&town), before.into_iter().map(|one| one.id).collect());
    clean(town);
}

#[test]
fn whoever_loses_his_anchor_or_his_route_asks_for_the_next_without_the_cookie_of_before() {
    type Trouble = fn(&mut Town);
    let troubles: [(&str, Trouble, usize); 2] = [
        ("the anchor is no mailbox any more", |town| story::lose(town, 0, Code::ErrorNonExistentMailbox), 1),
        (
            "the back end cannot be reached",
            |town| {
                let (now, stream) = (town.world.now(), town.world.exchanges[0].stream_keys()[0]);
                town.world.exchanges[0].fail_stream(now, stream, Code::ErrorProxyRequestNotAllowed);
                town.world.collect();
            },
            0,
        ),
    ];
    for (what, trouble, anchor) in troubles {
        let exchange = several_back_ends();
        let config =
            TownConfig { users: 6, phones: 0, exchange, wait_max: minutes(10), ..TownConfig::default() };
        let mut town = story::live(config);
        town.run_for(secs(60));
        let subscribes = |town: &mut Town| -> Vec<Asked> {
            let asked = town.world.exchanges[0].take_asked();
            asked.into_iter().filter(|one| one.operation == Operation::Subscribe).collect()
        };
        let first = subscribes(&mut town);
        assert!(!first[0].pinned && first[1..].iter().all(|one| one.pinned), "{first:?}");
        trouble(&mut town);
        assert!(town.run_until_live(minutes(5)), "{what}: {:?}", town.world.stats(0));
        town.run_for(minutes(1));
        let again = subscribes(&mut town);
        let address = town.world.exchanges[0].address(town.people[anchor].mailbox);
        assert_eq!(
            (again[0].pinned, again[0].anchor.as_deref()),
            (false, Some(address)),
            "{what}: {again:?}"
        );
        assert!(again[1..].iter().all(|one| one.pinned), "{what}: {again:?}");
        clean(town);
    }
}

/// All streams of a town at once, without a word of good-bye.
fn break_all_streams(town: &mut Town) -> Time {
    let now = town.world.now();
    town.world.exchanges[0].take_asked();
    for stream in town.world.exchanges[0].stream_keys() {
        town.world.exchanges[0].end_stream_unclean(now, stream);
    }
    town.world.collect();
    now.time
}

#[test]
fn streams_that_end_together_are_not_opened_again_together() {
    let exchange = ExchangeConfig { record_asked: true, ..ExchangeConfig::default() };
    let few = Box::new(|server: &mut MailServer| server.cohort_users_max = 1);
    let config = TownConfig { users: 16, phones: 0, exchange, mail_server: few, ..TownConfig::default() };
    let mut town = story::live(config);
    town.run_for(minutes(1));
    // At once within two seconds; then after 5 s, 10 s and so on, of which the upper half is drawn.
    for (from_ms, to_ms) in [(0, 2_000), (2_500, 5_000), (5_000, 10_000), (10_000, 20_000)] {
        let broken = break_all_streams(&mut town);
        town.run_for(secs(22));
        let asked = town.world.exchanges[0].take_asked();
        let opened = asked.iter().filter(|one| one.operation == Operation::GetStreamingEvents);
        let after_ms: Vec<u64> = opened.map(|one| one.at.since(broken).as_millis()).collect();
        assert_eq!(after_ms.len(), 16, "{after_ms:?}");
        // A shard opens twenty a second.
        let (first, last) = (after_ms[0], after_ms[15]);
        assert!((from_ms..to_ms + 800).contains(&first) && last <= to_ms + 800, "{after_ms:?}");
        assert!(last - first > (to_ms - from_ms) / 2, "within {} ms: {after_ms:?}", last - first);
    }
    town.run_for(minutes(2));
    clean(town);
}

#[test]
fn where_many_come_at_once_each_stream_is_opened_once_for_all_its_mailboxes() {
    let exchange = ExchangeConfig { record_asked: true, ..ExchangeConfig::default() };
    let mail_server = Box::new(|server: &mut MailServer| server.subscribes_per_s = 100);
    let config = TownConfig {
        users: 1_000,
        phones: 0,
        vigilant: false,
        exchange,
        mail_server,
        ..TownConfig::default()
    };
    let mut town = story::live(config);
    assert_eq!(cohorts_and_streams(&town), (5, 5));
    let asked = asked_now(&mut town);
    let opened = asked.iter().filter(|one| **one == Operation::GetStreamingEvents).count();
    assert_eq!(opened, 5, "as many streams were asked for");
    clean(town);
}

#[test]
fn mailboxes_of_a_new_stream_do_not_wait_long_for_one_that_does_not_answer() {
    let mut town = Town::new(TownConfig { users: 10, phones: 0, ..TownConfig::default() });
    let mailbox = town.people[9].mailbox;
    town.world.exchanges[0].slow_down(mailbox, None);
    town.run_for(secs(4));
    assert_eq!((cohorts_and_streams(&town), town.world.stats(0).users_live), ((1, 1), 9));
    town.world.exchanges[0].speed_up(mailbox);
    assert!(town.run_until_live(minutes(3)), "{:?}", town.world.stats(0));
    clean(town);
}
