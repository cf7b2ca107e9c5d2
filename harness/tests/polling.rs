//! Streams that do not come through, story by story: what a proxy does to them, and how mail is told all the same.

use carillon_core::limits::POLL_AFTER;
use carillon_core::shard::{MailServer, Report, Timing};
use carillon_core::time::Span;
use carillon_harness::exchange::{Code, Cut, ExchangeConfig, Limits, Operation, Proxy};
use carillon_harness::peer::Close;
use carillon_harness::world::story::{alerts, badge, clean, live, mails_told, minutes, secs, times};
use carillon_harness::world::town::{Town, TownConfig};

fn config(users: usize) -> TownConfig {
    let exchange = ExchangeConfig { call_time: Span::from_millis(40), ..ExchangeConfig::default() };
    TownConfig { users, exchange, wait_max: minutes(120), ..TownConfig::default() }
}

fn behind(proxy: Proxy, config: TownConfig) -> Town {
    let mut town = Town::new(config);
    town.world.exchanges[0].faults.proxy = Some(proxy);
    town
}

fn count(town: &Town, wanted: impl Fn(&Report) -> bool) -> usize {
    town.world.reports.iter().filter(|(_, report)| wanted(report)).count()
}

fn polled(report: &Report) -> bool {
    matches!(report, Report::Polled { .. })
}

fn trouble(report: &Report) -> bool {
    matches!(report, Report::MailServerTrouble { .. })
}

/// From a mail's arrival until its owner's phone tells of it.
fn told_after(town: &mut Town, person: usize) -> Span {
    let (begin, before) = (town.world.now().time, mails_told(town, person));
    town.deliver(person, "behind a proxy");
    while mails_told(town, person) == before && town.world.now().time.since(begin) < minutes(30) {
        town.run_for(Span::from_millis(500));
    }
    town.world.now().time.since(begin)
}

#[test]
fn whatever_keeps_streams_from_coming_through_mail_is_told_within_75_seconds_and_badges_follow() {
    let proxies = [
        Proxy::Buffers,
        Proxy::BuffersRest,
        Proxy::Empties,
        Proxy::Cuts(secs(1)),
        Proxy::Cuts(secs(30)),
        Proxy::Cuts(secs(60)),
    ];
    for proxy in proxies {
        let mut town = behind(proxy, config(3));
        // Until it is noticed that nothing comes after an opening: twice the time of silence.
        town.run_for(if proxy == Proxy::BuffersRest { secs(300) } else { secs(2) });
        for round in 0..12 {
            let took = told_after(&mut town, round % 3);
            assert!(took <= secs(75), "{proxy:?}: {took:?} in round {round}");
            town.run_for(secs(7 * round as u64));
        }
        town.read(0, 0);
        town.run_for(secs(75));
        assert_eq!(badge(&town, 0), Some(3), "{proxy:?}");
        clean(town);
    }
}

#[test]
fn that_no_stream_comes_through_is_said_once_and_so_is_that_they_do_again() {
    for proxy in [Proxy::Buffers, Proxy::BuffersRest, Proxy::Empties] {
        let mut town = behind(proxy, config(3));
        town.run_for(minutes(30));
        assert_eq!(count(&town, trouble), 1, "{proxy:?}: {:?}", town.world.reports);
        assert_eq!(count(&town, polled), 3, "{proxy:?}");
        assert_eq!(town.world.stats(0).users_live, 0, "{proxy:?}");
        town.deliver(0, "while it is there");
        town.run_for(secs(75));
        assert_eq!(alerts(&town, 0), 1);

        town.world.exchanges[0].faults.proxy = None;
        assert!(town.run_until_live(minutes(6)), "{proxy:?}: {:?}", town.world.stats(0));
        town.run_for(secs(60));
        let well = count(&town, |report| matches!(report, Report::MailServerWell { .. }));
        assert_eq!((count(&town, trouble), well), (1, 1), "{proxy:?}");
        let took = told_after(&mut town, 0);
        assert!(took <= secs(5), "{proxy:?}: {took:?}");
        // By calls there is nothing more to ask.
        let asked = |town: &Town| town.world.exchanges[0].stats().count_all(Operation::FindItem);
        let before = asked(&town);
        town.run_for(minutes(10));
        assert_eq!(asked(&town), before, "{proxy:?}");
        clean(town);
    }
}

#[test]
fn mail_that_looks_have_told_is_not_told_again_by_the_stream_that_comes_later() {
    let mut town = behind(Proxy::Empties, config(2));
    // The server keeps the events that nobody reads, and tells them all when somebody does.
    for _ in 0..120 {
        town.deliver(0, "looked up, and then told by an event");
        town.run_for(secs(11));
    }
    town.world.exchanges[0].faults.proxy = None;
    assert!(town.run_until_live(minutes(6)));
    town.run_for(minutes(2));
    assert_eq!((mails_told(&town, 0), badge(&town, 0)), (120, Some(120)));
    clean(town);
}

#[test]
fn a_mail_that_comes_in_the_middle_of_a_look_and_before_the_stream_is_found_by_another_look() {
    let mut config = config(2);
    config.choosers = vec![1];
    config.exchange.record_asked = true;
    // What comes while nobody reads is not kept.
    config.exchange.queue_age_max = Some(Span::from_millis(1));
    let mut town = live(config);
    town.run_for(secs(60));
    let (anchor, other) = (town.people[0].mailbox, town.people[1].mailbox);
    let exchange = &mut town.world.exchanges[0];
    exchange.take_asked();
    // The next stream has to wait until the other mailbox has begun to be looked into without.
    let (refused, wait) = (Code::ErrorInternalServerTransientError, POLL_AFTER + secs(1));
    exchange.refuse_for(anchor, Operation::GetStreamingEvents, refused, false, wait);
    exchange.slow_down(other, Some(secs(5)));
    let stream = exchange.stream_keys()[0];
    exchange.cut_stream(stream, Cut { after_bytes: 0, how: Close::Reset });
    town.world.collect();
    while times(&mut town, Operation::FindItem, 1).is_empty() {
        town.run_for(Span::from_millis(10));
    }
    let looks = town.world.stats(0).catch_ups;
    assert!(town.world.exchanges[0].streams().is_empty());
    town.deliver(1, "in the middle of it");
    while town.world.stats(0).streams == 0 {
        town.run_for(Span::from_millis(10));
    }
    assert_eq!(town.world.stats(0).catch_ups, looks, "the look goes on");
    town.world.exchanges[0].speed_up(other);
    town.run_for(secs(60));
    assert_eq!((alerts(&town, 1), badge(&town, 1)), (1, Some(1)));
    clean(town);
}

#[test]
fn members_for_whom_no_stream_is_open_are_looked_into_while_the_others_have_theirs() {
    // The account may hold one stream, and each takes two mailboxes.
    let limits = Limits { hanging_connections_max: 1, ..Limits::default() };
    let mut config = config(4);
    config.exchange.limits = limits;
    config.mail_server = Box::new(|server: &mut MailServer| server.cohort_users_max = 2);
    config.full_access = true;
    let mut town = Town::new(config);
    town.run_for(minutes(3));
    assert_eq!(town.world.stats(0).users_live, 2, "{:?}", town.world.stats(0));
    for person in 0..4 {
        let took = told_after(&mut town, person);
        assert!(took <= secs(75), "{person}: {took:?}");
    }
    clean(town);
}

#[test]
fn ten_thousand_mailboxes_are_looked_into_within_ten_minutes_with_no_more_calls_than_allowed() {
    let mut config = config(10_000);
    config.vigilant = false;
    config.exchange.call_time = Span::from_millis(150);
    config.timing = Timing { settle_ms: 200, ..Timing::default() };
    config.mail_server = Box::new(|server: &mut MailServer| server.subscribes_per_s = 200);
    let mut town = behind(Proxy::Buffers, config);
    town.run_for(minutes(8));
    let begin = town.world.now().time;
    for person in (0..10_000).step_by(97) {
        town.deliver(person, "one in a hundred");
    }
    let mut peak = 0;
    let waiting =
        |town: &Town| (0..10_000).step_by(97).filter(|person| mails_told(town, *person) == 0).count();
    while waiting(&town) > 0 && town.world.now().time.since(begin) < minutes(30) {
        town.run_for(secs(1));
        peak = peak.max(town.world.stats(0).calls_in_flight);
    }
    let took: Span = town.world.now().time.since(begin);
    assert!(took <= minutes(10), "{took:?}, {} wait", waiting(&town));
    assert!(peak <= 8, "{peak} calls at once");
    let streams = town.world.exchanges[0].streams().len();
    assert!(streams <= 4, "{streams} streams hang, and none comes through");
    clean(town);
}

#[test]
fn whoever_gets_a_stream_does_not_wait_among_those_who_have_none() {
    let mut config = config(3_000);
    config.phones = 0;
    config.vigilant = false;
    config.exchange.call_time = Span::from_millis(5);
    let mut town = behind(Proxy::Empties, config);
    town.run_for(POLL_AFTER + secs(30));
    let looked = town.world.stats(0).catch_ups;
    assert!((300..1_000).contains(&looked), "{looked} of them were looked into");
    town.world.exchanges[0].faults.proxy = None;
    let begin = town.world.now().time;
    while town.world.stats(0).streams < 15 && town.world.now().time.since(begin) < minutes(10) {
        town.run_for(secs(1));
    }
    assert_eq!(town.world.stats(0).streams, 15);
    town.run_for(secs(30));
    assert_eq!(town.world.stats(0).users_live, 3_000, "{:?}", town.world.stats(0));
    clean(town);
}
