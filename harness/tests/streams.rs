//! Streams in trouble, story by story: what the server keeps while nobody reads, who else may read, and what becomes of a
//! cohort whose database fails over.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carillon_core::shard::{Command, MailServer, Report, VipRules};
use carillon_core::time::Span;
use carillon_harness::exchange::{Code, ExchangeConfig, Operation, Override};
use carillon_harness::peer::{Hello, Peer, PeerConn};
use carillon_harness::world::story::{alerts, badge, clean, live, secs};
use carillon_harness::world::town::{Town, TownConfig};

/// Another program reads the subscriptions of these people, with the engine's account, on a stream that lives for half an
/// hour.
fn another_reads(town: &mut Town, people: &[usize]) {
    let exchange = &mut town.world.exchanges[0];
    let mailboxes: Vec<_> = people.iter().map(|person| town.people[*person].mailbox).collect();
    let anchor = exchange.address(mailboxes[0]).to_owned();
    let wanted = exchange.subscriptions().into_iter().filter(|one| mailboxes.contains(&one.mailbox));
    let ids: String = wanted.map(|one| format!("<t:SubscriptionId>{}</t:SubscriptionId>", one.id)).collect();
    let body = format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\" \
         xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\"><s:Header>\
         <t:RequestServerVersion Version=\"Exchange2013_SP1\"/></s:Header><s:Body><m:GetStreamingEvents>\
         <m:SubscriptionIds>{ids}</m:SubscriptionIds><m:ConnectionTimeout>30</m:ConnectionTimeout>\
         </m:GetStreamingEvents></s:Body></s:Envelope>"
    );
    let request = format!(
        "POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: mail.example.com\r\nAuthorization: Basic {}\r\n\
         Content-Type: text/xml; charset=utf-8\r\nUser-Agent: Another/1\r\nX-AnchorMailbox: {anchor}\r\n\
         X-PreferServerAffinity: true\r\nclient-request-id: 6f1d2a7e-0000-4000-8000-000000000001\r\n\
         Content-Length: {}\r\n\r\n{body}",
        STANDARD.encode("EX\\carillon:correct horse"),
        body.len()
    );
    // A number that the world gives to none of its own connections. What it is told there, it takes and forgets.
    let (now, conn) = (town.world.now(), PeerConn(u64::from(u32::MAX)));
    let exchange = &mut town.world.exchanges[0];
    exchange.accepted(now, conn, Hello { client: "192.0.2.7".to_owned(), ..Hello::default() });
    exchange.received(now, conn, request.as_bytes());
    town.world.collect();
}

fn count(town: &Town, wanted: impl Fn(&Report) -> bool) -> usize {
    town.world.reports.iter().filter(|(_, report)| wanted(report)).count()
}

fn recorded() -> ExchangeConfig {
    ExchangeConfig { record_asked: true, ..ExchangeConfig::default() }
}

#[test]
fn whoever_reads_the_subscriptions_on_a_stream_of_his_own_is_obeyed_until_the_mailbox_is_said_to_be_ours() {
    let mut town =
        live(TownConfig { users: 6, exchange: recorded(), wait_max: secs(4_000), ..TownConfig::default() });
    town.run_for(secs(60));
    another_reads(&mut town, &[0, 1, 2, 3, 4, 5]);
    town.world.exchanges[0].take_asked();
    town.run_for(secs(14 * 60));
    assert_eq!(count(&town, |report| matches!(report, Report::Taken { .. })), 6);
    assert_eq!(town.world.exchanges[0].take_asked(), [], "nothing is asked for a mailbox of another");
    let taken_over = |town: &Town| town.world.exchanges[0].stats().streams_taken_over;
    assert_eq!(taken_over(&town), 1, "his own is left to him");
    assert_eq!(town.world.exchanges[0].streams().len(), 1);

    // Two are ours, and one is not; of the others nobody says anything.
    for person in [1, 4] {
        town.set_vip(person, VipRules::default());
    }
    let gone = town.people[5].key;
    town.world.command(0, Command::DropUser { user: gone });
    town.run_for(secs(10));
    let asked = town.world.exchanges[0].take_asked();
    let last = asked.iter().rfind(|one| one.operation == Operation::GetStreamingEvents);
    let named = &last.expect("opened at once").streams;
    assert_eq!(*named, [town.people[1].mailbox, town.people[4].mailbox]);
    assert!(!asked.iter().any(|one| one.operation == Operation::Unsubscribe), "that is the other's to do");
    assert_eq!((taken_over(&town), town.world.exchanges[0].streams().len()), (2, 1));

    town.deliver(0, "of which the other would tell, if he were still there");
    town.run_for(secs(10 * 60));
    assert_eq!(town.world.stats(0).users_live, 5, "taken back after a long pause");
    assert_eq!(alerts(&town, 0), 1);
    clean(town);
}

#[test]
fn what_the_server_did_not_keep_while_nobody_read_is_found_when_that_was_long() {
    for (away_s, looks) in [(300, true), (40, false)] {
        let exchange = ExchangeConfig { queue_age_max: Some(secs(120)), ..recorded() };
        let mut town = live(TownConfig { exchange, wait_max: secs(1_000), ..TownConfig::default() });
        let closes = town.world.exchanges[0].streams()[0].closes;
        town.run_for(closes.since(town.world.now().time + secs(3)));
        // The server wants to be left alone. Meanwhile the stream ends as it was agreed.
        let rest = Override::Unavailable { retry_after_s: Some(away_s) };
        town.world.exchanges[0].answer_next(1, Some(Operation::GetItem), rest);
        town.deliver(0, "for whose details it is asked");
        town.run_for(secs(3));
        assert!(town.world.exchanges[0].stream_keys().is_empty());
        town.run_for(secs(1));
        for person in 0..3 {
            town.deliver(person, "while nobody reads");
        }
        town.world.exchanges[0].take_asked();
        town.run_for(secs(u64::from(away_s) + 60));
        let asked = town.world.exchanges[0].take_asked();
        let streams = asked.iter().filter(|one| one.operation == Operation::GetStreamingEvents).count();
        assert_eq!(streams, 1, "the same ids, and none is bad");
        assert!(!asked.iter().any(|one| one.operation == Operation::Subscribe));
        let looked = asked.iter().filter(|one| one.operation == Operation::FindItem).count();
        assert_eq!(looked > 0, looks, "{away_s} s: {looked} looks into folders");
        assert_eq!(town.world.exchanges[0].stats().events_lost > 0, looks);
        assert_eq!([0, 1, 2].map(|person| badge(&town, person)), [Some(2), Some(1), Some(1)]);
        clean(town);
    }
}

#[test]
fn a_stream_that_ends_before_its_time_may_have_been_read_by_another_and_has_its_mailboxes_looked_into() {
    // Sooner or later after its opening, and of streams that live for the shortest time and for a long one.
    for (minutes, after_s) in [(1, 5), (1, 50), (29, 5), (29, 120)] {
        let what = format!("{minutes} minutes, ended after {after_s} s");
        let exchange = ExchangeConfig { queue_age_max: Some(Span::from_millis(1)), ..recorded() };
        let mail_server = Box::new(move |server: &mut MailServer| server.stream_minutes = minutes);
        let mut town = live(TownConfig { exchange, mail_server, ..TownConfig::default() });
        let ended = town.world.exchanges[0].streams()[0].clone();
        while town.world.exchanges[0].stream_keys().contains(&ended.key) {
            town.run_for(secs(1));
        }
        while town.world.exchanges[0].streams().is_empty() {
            town.run_for(Span::from_millis(10));
        }
        town.run_for(secs(after_s));
        let (now, stream) = (town.world.now(), town.world.exchanges[0].stream_keys()[0]);
        town.world.exchanges[0].close_stream(now, stream);
        town.world.collect();
        // The event of this one goes to the other.
        town.deliver(1, "while another reads");
        town.run_for(secs(50));
        assert!(town.world.exchanges[0].stats().events_lost > 0, "{what}");
        assert_eq!((alerts(&town, 1), badge(&town, 1)), (1, Some(1)), "{what}");
        clean(town);
    }
}

#[test]
fn when_a_database_fails_over_each_of_its_mailboxes_comes_back_and_misses_nothing() {
    let mut town = live(TownConfig {
        users: 60,
        exchange: recorded(),
        wait_max: secs(600),
        vigilant: false,
        ..TownConfig::default()
    });
    town.run_for(secs(60));
    town.world.exchanges[0].take_asked();
    let mailboxes: Vec<_> = town.people.iter().map(|person| person.mailbox).collect();
    // Some are told so on the stream, the others when that is opened again; and for a minute or so the store is not there.
    for (person, mailbox) in mailboxes.iter().enumerate() {
        let code = [Code::ErrorMailboxStoreUnavailable, Code::ErrorMailboxFailover][person % 2];
        let again = 1 + person as u32 % 2;
        town.world.exchanges[0].refuse(*mailbox, Operation::Subscribe, again, code, person % 3 == 0);
    }
    let now = town.world.now();
    town.world.exchanges[0].fail_subscriptions(now, &mailboxes[..30], Code::ErrorMailboxFailover, None);
    town.world.collect();
    for person in 0..60 {
        town.deliver(person, "in the middle of it");
    }
    town.run_for(secs(20));
    let now = town.world.now();
    let later = Code::ErrorMailboxStoreUnavailable;
    town.world.exchanges[0].fail_subscriptions(now, &mailboxes[30..], later, None);
    town.world.collect();
    for person in 0..60 {
        town.deliver(person, "and a little later");
    }
    assert!(town.run_until_live(secs(300)), "{:?}", town.world.stats(0));
    town.run_for(secs(60));
    let mut tries: BTreeMap<_, usize> = BTreeMap::new();
    for one in town.world.exchanges[0].take_asked() {
        if one.operation == Operation::Subscribe {
            *tries.entry(one.mailbox.map(|mailbox| mailbox.0)).or_default() += 1;
        }
    }
    assert_eq!(tries.len(), 60);
    assert!(tries.values().all(|tries| (2..=3).contains(tries)), "{tries:?}");
    assert_eq!(count(&town, |report| matches!(report, Report::Misplaced { .. })), 0, "nobody has moved");
    assert_eq!(town.world.stats(0).cohorts, 1, "and nobody has left");
    assert!((0..60).all(|person| badge(&town, person) == Some(2)));
    clean(town);
}

#[test]
fn a_stream_that_the_server_does_not_end_is_ended_and_nothing_is_lost() {
    let mut town = live(TownConfig { exchange: recorded(), wait_max: secs(300), ..TownConfig::default() });
    let stream = town.world.exchanges[0].streams()[0].clone();
    town.world.exchanges[0].let_outlive(stream.key);
    town.world.exchanges[0].take_asked();
    // A minute later than agreed it is enough. Until then its news are believed.
    let agreed = stream.closes.since(town.world.now().time);
    town.run_for(agreed + secs(30));
    assert_eq!(town.world.exchanges[0].stream_keys(), [stream.key]);
    for _ in 0..60 {
        town.deliver(1, "all the while");
        town.run_for(secs(1));
    }
    town.run_for(secs(60));
    let asked = town.world.exchanges[0].take_asked();
    let opened = asked.iter().filter(|one| one.operation == Operation::GetStreamingEvents).count();
    assert_eq!((opened, town.world.exchanges[0].streams().len()), (1, 1), "the next, and not two");
    assert_ne!(town.world.exchanges[0].stream_keys(), [stream.key]);
    let told: u32 = town.told(1, 0).into_iter().map(|push| push.payload.n).sum();
    assert_eq!((told, badge(&town, 1)), (60, Some(60)));
    clean(town);
}
