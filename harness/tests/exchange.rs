//! Exchange in trouble, story by story: what the engine asks next, whom it costs something and whom not.

use carillon_core::limits::STREAM_OPENS_PER_S;
use carillon_core::names::{SmtpAddress, UserKey};
use carillon_core::shard::{
    AssignUser, Command, Endpoint, EndpointId, MailCredential, MailServer, MailServerId, Protocol, Report,
    ShardConfig, Timing,
};
use carillon_core::time::Span;
use carillon_harness::exchange::{
    Account, Asked, BusyScope, BusyShape, Code, Cut, Exchange, ExchangeConfig, Limits, MailboxSpec,
    Operation, Override, Version,
};
use carillon_harness::peer::Close;
use carillon_harness::world::story::{self, alerts, clean, gaps_s, secs, times};
use carillon_harness::world::town::{START, Town, TownConfig};
use carillon_harness::world::{PeerAt, World, WorldConfig};

fn recorded() -> ExchangeConfig {
    ExchangeConfig { record_asked: true, ..ExchangeConfig::default() }
}

/// A town that is live and has been for a minute, with nothing in its server's record.
fn live(config: TownConfig) -> Town {
    let mut town = story::live(TownConfig { wait_max: secs(4_000), ..config });
    town.run_for(secs(60));
    town.world.exchanges[0].take_asked();
    town
}

fn lose(town: &mut Town, person: usize, code: Code) {
    story::lose(town, person, code);
    town.run_for(Span::from_millis(10));
}

fn count(town: &Town, wanted: impl Fn(&Report) -> bool) -> usize {
    town.world.reports.iter().filter(|(_, report)| wanted(report)).count()
}

#[test]
fn missed_events_cost_a_subscription_only_when_they_are_missed_again_within_ten_minutes() {
    for (apart_s, anew) in [(300, 1), (700, 0)] {
        let mut town = live(TownConfig { exchange: recorded(), ..TownConfig::default() });
        for _ in 0..2 {
            let mailbox = town.people[2].mailbox;
            town.world.exchanges[0].miss_events(mailbox);
            town.world.collect();
            town.run_for(secs(apart_s));
        }
        assert_eq!(times(&mut town, Operation::Subscribe, 2).len(), anew, "{apart_s} s apart");
        assert!(town.run_until_live(secs(30)));
        clean(town);
    }
}

#[test]
fn subscriptions_that_cannot_wait_for_long_do_not_die_of_their_stream_s_back_off() {
    let exchange = ExchangeConfig { detached_ttl: secs(90), ..ExchangeConfig::default() };
    let mut town = live(TownConfig { users: 2, exchange, ..TownConfig::default() });
    for _ in 0..12 {
        for person in [0, 1] {
            lose(&mut town, person, Code::ErrorSubscriptionNotFound);
        }
        town.run_until_live(secs(600));
    }
    // Each waits five minutes at most, and neither for the other.
    assert!(town.run_until_live(secs(600)), "{:?}", town.world.stats(0));
    town.run_for(secs(3_600));
    assert_eq!(count(&town, |report| matches!(report, Report::Unwatched { .. })), 24);
    clean(town);
}

#[test]
fn a_subscription_that_dies_again_and_again_is_made_anew_more_and_more_slowly() {
    let mut town = live(TownConfig { exchange: recorded(), ..TownConfig::default() });
    for _ in 0..6 {
        lose(&mut town, 2, Code::ErrorSubscriptionNotFound);
        town.run_until_live(secs(400));
    }
    let made = times(&mut town, Operation::Subscribe, 2);
    let gaps = gaps_s(&made);
    assert_eq!(made.len(), 6);
    assert!(gaps[4] >= 20 && gaps[4] > gaps[1], "{gaps:?}");
    clean(town);
}

#[test]
fn a_database_that_is_away_is_waited_for_longer_and_longer_and_then_looked_for_elsewhere() {
    let mut town = live(TownConfig { exchange: recorded(), ..TownConfig::default() });
    let mailbox = town.people[2].mailbox;
    let code = Code::ErrorMailboxStoreUnavailable;
    town.world.exchanges[0].refuse(mailbox, Operation::Subscribe, 6, code, false);
    lose(&mut town, 2, Code::ErrorSubscriptionNotFound);
    town.run_for(secs(1_200));
    let gaps = gaps_s(&times(&mut town, Operation::Subscribe, 2));
    let lawful = [5..=10, 10..=20, 20..=40, 40..=80, 80..=160, 300..=300];
    assert!(gaps.len() >= 5 && gaps.iter().zip(&lawful).all(|(gap, law)| law.contains(gap)), "{gaps:?}");
    let before_last = count(&town, |report| matches!(report, Report::Misplaced { .. }));
    assert!((1..=2).contains(&before_last), "{before_last} times");
    assert!(town.run_until_live(secs(700)));
    town.deliver(2, "back again");
    town.run_for(secs(30));
    clean(town);
}

#[test]
fn an_address_that_is_no_mailbox_is_tried_more_and_more_slowly_until_daily_and_its_owner_is_told_each_time() {
    let mut town = live(TownConfig { exchange: recorded(), ..TownConfig::default() });
    let mailbox = town.people[2].mailbox;
    let code = Code::ErrorNonExistentMailbox;
    town.world.exchanges[0].refuse(mailbox, Operation::Subscribe, 16, code, true);
    lose(&mut town, 2, Code::ErrorSubscriptionNotFound);
    town.run_for(secs(60 * 60));
    town.deliver(1, "for the neighbour");
    town.run_for(secs(7 * 86_400));
    let gaps = gaps_s(&times(&mut town, Operation::Subscribe, 2));
    let law = |n: usize| (10 << n).min(86_400) / 2..=(10 << n).min(86_400);
    assert!(gaps.len() == 16 && gaps.iter().enumerate().all(|(n, gap)| law(n).contains(gap)), "{gaps:?}");
    assert_eq!(count(&town, |report| matches!(report, Report::Misplaced { .. })), 16);
    assert_eq!(alerts(&town, 1), 1);
    clean(town);
}

#[test]
fn the_one_subscription_for_which_a_stream_is_refused_is_found_by_halving() {
    for poisoned in [0, 17, 39] {
        let mut town = live(TownConfig { users: 40, exchange: recorded(), ..TownConfig::default() });
        let (now, mailbox) = (town.world.now(), town.people[poisoned].mailbox);
        let exchange = &mut town.world.exchanges[0];
        exchange.poison(mailbox, Code::ErrorInternalServerError);
        let stream = exchange.stream_keys()[0];
        exchange.close_stream(now, stream);
        town.world.collect();
        for person in 0..40 {
            town.deliver(person, "meanwhile");
        }
        town.run_for(secs(10));
        assert!(town.run_until_live(secs(180)), "{poisoned}: {:?}", town.world.stats(0));
        let asked = town.world.exchanges[0].take_asked();
        let anew = asked.iter().filter(|one| one.operation == Operation::Subscribe);
        let anew: Vec<_> = anew.map(|one| one.mailbox).collect();
        assert_eq!(anew, [Some(mailbox)], "{poisoned}: only this one");
        let opened = asked.iter().filter(|one| one.operation == Operation::GetStreamingEvents).count();
        assert!(opened <= 12, "{poisoned}: {opened} attempts");
        town.run_for(secs(60));
        assert!((0..40).all(|person| alerts(&town, person) == 1), "{poisoned}");
        clean(town);
    }
}

#[test]
fn a_busy_mailbox_is_left_alone_and_holds_up_nobody_else() {
    for shape in [BusyShape::Fault, BusyShape::Message, BusyShape::Inner] {
        for busy in [0, 2] {
            let mut town = live(TownConfig { users: 5, exchange: recorded(), ..TownConfig::default() });
            let (now, mailbox) = (town.world.now(), town.people[busy].mailbox);
            let exchange = &mut town.world.exchanges[0];
            exchange.set_busy(now, BusyScope::Mailbox(mailbox), secs(200), shape, false);
            // The anchor's stream ends, too: its budget is exhausted, another's is not.
            let stream = exchange.stream_keys()[0];
            exchange.close_stream(now, stream);
            town.world.collect();
            for person in 0..5 {
                town.deliver(person, "in busy times");
            }
            town.run_for(secs(20));
            for person in 0..5 {
                assert_eq!(alerts(&town, person), 1, "{shape:?}, {busy} busy: person {person}");
            }
            town.run_for(secs(400));
            assert_eq!(town.world.stats(0).users_live, 5, "{shape:?}, {busy} busy");
            // The strict server would complain of any call on the budget before its time.
            clean(town);
        }
    }
}

#[test]
fn a_busy_server_is_recognised_by_three_mailboxes_and_then_left_alone_altogether() {
    let mut town = live(TownConfig { users: 60, exchange: recorded(), ..TownConfig::default() });
    let now = town.world.now();
    town.world.exchanges[0].set_busy(now, BusyScope::All, secs(120), BusyShape::Rotate, false);
    for person in 0..60 {
        town.deliver(person, "in busy times");
    }
    town.run_for(secs(110));
    let asked = town.world.exchanges[0].take_asked().len();
    assert!((3..=10).contains(&asked), "{asked} requests: little more than were in flight");
    town.run_for(secs(120));
    assert_eq!(town.world.stats(0).users_live, 60);
    clean(town);
}

#[test]
fn calls_in_flight_halve_when_the_server_is_busy_and_grow_again() {
    let exchange = ExchangeConfig { call_time: Span::from_millis(200), ..recorded() };
    let mut town = live(TownConfig { users: 200, exchange, vigilant: false, ..TownConfig::default() });
    let peak = |town: &mut Town, span_s: u64| {
        let mut peak = 0;
        for _ in 0..span_s * 20 {
            town.run_for(Span::from_millis(50));
            peak = peak.max(town.world.stats(0).calls_in_flight);
        }
        peak
    };
    let gap = |town: &mut Town| {
        for person in 0..200 {
            let mailbox = town.people[person].mailbox;
            town.world.exchanges[0].miss_events(mailbox);
        }
        town.world.collect();
    };
    gap(&mut town);
    assert_eq!(peak(&mut town, 30), 8, "as many as the configuration allows");
    town.run_for(secs(700));
    let now = town.world.now();
    town.world.exchanges[0].set_busy(now, BusyScope::All, secs(60), BusyShape::Fault, false);
    gap(&mut town);
    town.run_for(secs(30));
    // Eight answers said so, and it counts once.
    assert!(town.world.run_until(secs(60), |world| world.stats(0).calls_in_flight > 0));
    town.run_for(Span::from_millis(100));
    assert_eq!(town.world.stats(0).calls_in_flight, 4, "half of them");
    assert_eq!(peak(&mut town, 20), 8, "and all of them again, one by one");
    clean(town);
}

#[test]
fn a_front_end_that_names_a_time_is_left_alone_by_everybody() {
    let mut town = live(TownConfig { users: 20, exchange: recorded(), ..TownConfig::default() });
    town.world.exchanges[0].answer_next(1, None, Override::Unavailable { retry_after_s: Some(90) });
    for person in 0..20 {
        town.deliver(person, "while it rests");
    }
    town.run_for(secs(3));
    town.world.exchanges[0].take_asked();
    town.run_for(secs(85));
    assert_eq!(town.world.exchanges[0].take_asked(), []);
    assert!((0..20).all(|person| alerts(&town, person) == 1), "told without details");
    town.run_for(secs(60));
    clean(town);
}

#[test]
fn a_budget_for_one_stream_is_enough_when_new_members_come() {
    let limits = Limits { hanging_connections_max: 1, ..Limits::default() };
    let exchange = ExchangeConfig { limits, ..recorded() };
    let mut town = live(TownConfig { users: 6, exchange, ..TownConfig::default() });
    // A member that has to be subscribed anew joins by a second stream, and the anchor may have only one.
    lose(&mut town, 3, Code::ErrorExpiredSubscription);
    assert!(town.run_until_live(secs(120)), "{:?}", town.world.stats(0));
    for person in 0..6 {
        town.deliver(person, "all there");
    }
    town.run_for(secs(30));
    assert!((0..6).all(|person| alerts(&town, person) == 1));
    clean(town);
}

#[test]
fn streams_that_all_break_at_once_are_opened_again_one_after_the_other() {
    let few = |server: &mut MailServer| server.cohort_users_max = 2;
    let mut town = live(TownConfig {
        users: 240,
        exchange: recorded(),
        mail_server: Box::new(few),
        vigilant: false,
        ..TownConfig::default()
    });
    let streams = town.world.exchanges[0].stream_keys();
    assert_eq!(streams.len(), 120);
    for stream in streams {
        town.world.exchanges[0].cut_stream(stream, Cut { after_bytes: 0, how: Close::Reset });
    }
    town.world.collect();
    let cut = town.world.now().time;
    town.deliver(7, "in the storm");
    town.run_for(secs(30));
    let mut opened: Vec<u64> =
        town.world.exchanges[0].streams().iter().map(|stream| stream.opened.since(cut).0).collect();
    opened.sort_unstable();
    assert_eq!(opened.len(), 120, "all are back");
    let per_second = STREAM_OPENS_PER_S as usize + 1;
    let most =
        opened.iter().map(|from| opened.iter().filter(|at| (*from..from + 1_000_000).contains(at)).count());
    let most = most.max().expect("streams");
    assert!(most <= per_second, "{most} within a second");
    assert!(opened[119] < 9_000_000, "back after {} ms", opened[119] / 1_000);
    assert_eq!(alerts(&town, 7), 1);
    assert!(town.run_until_live(secs(60)));
    clean(town);
}

#[test]
fn a_mailbox_that_moves_costs_its_neighbours_nothing() {
    let back_ends = vec!["ex1.example.com".into(), "ex2.example.com".into()];
    let exchange = ExchangeConfig { back_ends, ..recorded() };
    let mut town = live(TownConfig { users: 12, exchange, ..TownConfig::default() });
    for mover in [0, 5] {
        let (now, mailbox) = (town.world.now(), town.people[mover].mailbox);
        town.world.exchanges[0].move_mailbox(now, mailbox, 1);
        town.world.collect();
        for person in 0..12 {
            town.deliver(person, "while one moves");
        }
        town.run_for(secs(20));
        for person in (0..12).filter(|person| *person != mover) {
            let expected = if mover == 5 && person == 0 { 2 } else { 1 + usize::from(mover == 5) };
            assert_eq!(alerts(&town, person), expected, "{mover} moves: person {person}");
        }
        assert!(town.run_until_live(secs(320)), "{:?}", town.world.stats(0));
        town.run_for(secs(20));
        let anew: Vec<_> = town.world.exchanges[0].take_asked();
        let anew = anew.iter().filter(|one| one.operation == Operation::Subscribe);
        assert_eq!(anew.map(|one| one.mailbox).collect::<Vec<_>>(), [Some(mailbox)]);
    }
    clean(town);
}

#[test]
fn servers_of_one_organisation_are_each_asked_in_the_version_that_they_know() {
    // Whether a server says what it does not like, or only that the request is none.
    for too_new in [Code::ErrorInvalidServerVersion, Code::ErrorSchemaValidation, Code::ErrorInvalidRequest] {
        each_in_the_version_that_it_knows(too_new);
    }
}

fn each_in_the_version_that_it_knows(version_too_new: Code) {
    let versions = [Version::V2017_07_11, Version::Exchange2010_SP2, Version::Exchange2013_SP1];
    let mut exchanges = Vec::new();
    for version_max in versions {
        let mut exchange = Exchange::new(ExchangeConfig { version_max, version_too_new, ..recorded() });
        exchange.add_account(Account::service("EX\\carillon", "correct horse"));
        for number in 0..4 {
            let address = format!("user{number}@example.com");
            exchange.add_mailbox(MailboxSpec { address, ..MailboxSpec::default() });
        }
        exchanges.push(exchange);
    }
    let endpoint = |_| Endpoint { host: "mail.example.com".into(), port: 443, protocol: Protocol::Http1 };
    let server = |number: u16| MailServer {
        subscribes_per_s: 1_000,
        ..MailServer::new(EndpointId(number), credential())
    };
    let shard = ShardConfig {
        shard: 0,
        seed: 0,
        endpoints: (0..3).map(endpoint).collect(),
        mail_servers: (0..3).map(server).collect(),
        push_services: Vec::new(),
        timing: Timing::default(),
        item_key: *b"a key for tests!",
    };
    let routes = (0..3).map(PeerAt::Exchange).collect();
    let config =
        WorldConfig { seed: 1, start: START, shards: 1, shard, routes, certificate: None, vigilant: true };
    let mut world = World::new(config, exchanges, Vec::new());
    for server in 0..3_u16 {
        for number in 0..4 {
            let user = UserKey(u64::from(server) * 10 + number);
            world.command(0, Command::AssignUser(Box::new(assign(user, server, number))));
        }
    }
    let all_live = |world: &World| world.stats(0).users_live == 12;
    assert!(world.run_until(secs(60), all_live), "{:?}", world.stats(0));
    let asked: Vec<Vec<Asked>> = world.exchanges.iter_mut().map(Exchange::take_asked).collect();
    let newest = Some(Version::Exchange2013_SP1);
    assert!(asked[0].iter().chain(&asked[2]).all(|one| one.version == newest));
    assert!(
        asked[1].iter().all(|one| one.version == Some(Version::Exchange2010_SP2)),
        "but for the refused one"
    );
    let refused = |world: &World| world.exchanges[1].stats().faults.values().sum::<u64>();
    assert_eq!(refused(&world), 1, "one attempt with the newer version");

    // Neither broken streams nor a new credential make it forget.
    for number in 0..3 {
        for stream in world.exchanges[number].stream_keys() {
            world.exchanges[number].cut_stream(stream, Cut { after_bytes: 0, how: Close::Reset });
        }
    }
    world.collect();
    world.run_for(secs(60));
    for server in 0..3 {
        let command = Command::SetMailCredential { server: MailServerId(server), credential: credential() };
        world.command(0, command);
    }
    world.run_for(secs(3_000));
    assert_eq!((world.stats(0).users_live, refused(&world)), (12, 1));
    // It may have become newer: asked once in a while, more and more rarely, with one call.
    world.run_for(secs(86_400));
    assert!(refused(&world) <= 7, "{}", refused(&world));
    assert_eq!(world.stats(0).users_live, 12);
    for exchange in &world.exchanges {
        assert_eq!(exchange.violations(), [] as [String; 0]);
    }
}

#[test]
fn one_stray_answer_about_the_version_has_the_server_asked_in_an_older_one_for_a_minute() {
    for operation in [Operation::GetItem, Operation::GetStreamingEvents] {
        let mut town = live(TownConfig { exchange: recorded(), ..TownConfig::default() });
        let mailbox = town.people[0].mailbox;
        town.world.exchanges[0].refuse(mailbox, operation, 1, Code::ErrorInvalidServerVersion, true);
        if operation == Operation::GetStreamingEvents {
            story::lose_subscriptions(&mut town);
        }
        town.deliver(0, "in an older one");
        town.run_for(secs(20));
        let versions = |town: &mut Town| -> Vec<Version> {
            town.world.exchanges[0].take_asked().iter().filter_map(|one| one.version).collect()
        };
        assert!(versions(&mut town).contains(&Version::Exchange2010_SP2), "{operation:?}");
        // The next call asks in the newest again, and all others after it.
        town.run_for(secs(60));
        town.deliver(1, "the first after that");
        town.run_for(secs(20));
        versions(&mut town);
        town.deliver(0, "as before");
        town.run_for(secs(20));
        let after = versions(&mut town);
        assert!(!after.is_empty() && after.iter().all(|one| *one == Version::Exchange2013_SP1), "{after:?}");
        assert_eq!([alerts(&town, 0), alerts(&town, 1)], [2, 1]);
        clean(town);
    }
}

#[test]
fn a_server_that_became_older_is_asked_in_the_newest_version_more_and_more_rarely_until_it_is_newer_again() {
    let mut town = live(TownConfig { exchange: recorded(), ..TownConfig::default() });
    town.world.exchanges[0].set_version(Version::Exchange2010_SP2);
    for _ in 0..24 * 12 {
        town.deliver(0, "each five minutes");
        town.run_for(secs(300));
    }
    let refused: u64 = town.world.exchanges[0].stats().faults.values().sum();
    assert!((6..=14).contains(&refused), "{refused} of 288 mails found it out");
    town.world.exchanges[0].set_version(Version::V2017_07_11);
    for _ in 0..24 * 12 {
        town.deliver(0, "each five minutes");
        town.run_for(secs(300));
    }
    town.world.exchanges[0].take_asked();
    town.deliver(0, "after a day");
    town.run_for(secs(20));
    let asked = town.world.exchanges[0].take_asked();
    assert!(asked.iter().all(|one| one.version == Some(Version::Exchange2013_SP1)), "{asked:?}");
    clean(town);
}

#[test]
fn one_mailbox_whose_requests_are_called_invalid_decides_nothing_about_the_version_for_the_others() {
    let mut town =
        Town::new(TownConfig { exchange: recorded(), wait_max: secs(4_000), ..TownConfig::default() });
    let mailbox = town.people[0].mailbox;
    town.world.exchanges[0].refuse(mailbox, Operation::Subscribe, 7, Code::ErrorInvalidRequest, true);
    town.run_for(secs(60));
    let asked = town.world.exchanges[0].take_asked();
    let (refused, others): (Vec<_>, Vec<_>) = asked.iter().partition(|one| one.mailbox == Some(mailbox));
    let versions: Vec<_> = refused.iter().filter_map(|one| one.version).collect();
    assert_eq!(versions[..2], [Version::Exchange2013_SP1, Version::Exchange2010_SP2]);
    assert!(versions[2..].iter().all(|version| *version == Version::Exchange2013_SP1), "{versions:?}");
    assert!(versions.len() <= 7, "more and more slowly");
    assert!(others.iter().all(|one| one.version == Some(Version::Exchange2013_SP1)));
    assert_eq!(town.world.stats(0).users_live, 2);
    town.deliver(1, "for a neighbour");
    town.run_for(secs(10));
    assert_eq!(alerts(&town, 1), 1);
    assert!(town.run_until_live(secs(3_600)), "{:?}", town.world.stats(0));
    clean(town);
}

fn credential() -> MailCredential {
    MailCredential::Basic { user: "EX\\carillon".into(), password: "correct horse".into() }
}

fn assign(user: UserKey, server: u16, number: u64) -> AssignUser {
    AssignUser::new(
        user,
        SmtpAddress::parse(&format!("user{number}@example.com")).expect("an address"),
        Some(MailServerId(server)),
    )
}
