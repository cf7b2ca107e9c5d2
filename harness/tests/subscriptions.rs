//! Whose events a subscription brings: servers that number subscriptions anew after a restart, and whose streams belong to
//! one mailbox alone.

use carillon_core::shard::{MailServer, Report, VipRules};
use carillon_core::time::Span;
use carillon_harness::exchange::{
    Code, ExchangeConfig, INBOX, Operation, Override, SubscriptionIds, SubscriptionView,
};
use carillon_harness::world::story::{
    self, badge, clean, live, lose_subscriptions, mails_told, minutes, secs,
};
use carillon_harness::world::town::{Town, TownConfig};

/// Six mailboxes on streams of their own, on a server that numbers its subscriptions, watched with full access.
fn numbered(subscription_ids: SubscriptionIds, shards: usize) -> TownConfig {
    TownConfig {
        users: 6,
        shards,
        full_access: true,
        exchange: ExchangeConfig { subscription_ids, detached_ttl: minutes(5), ..ExchangeConfig::default() },
        mail_server: Box::new(|server: &mut MailServer| server.cohort_users_max = 1),
        ..TownConfig::default()
    }
}

const KINDS: [SubscriptionIds; 2] = [SubscriptionIds::Numbered, SubscriptionIds::NumberedLong];

/// Mail for everybody, one after the other, again and again.
fn deliver_for(town: &mut Town, rounds: usize) {
    for round in 0..rounds {
        for person in 0..town.people.len() {
            town.deliver(person, &format!("{round} for {person}"));
            town.run_for(secs(1));
        }
    }
}

fn assert_all_told(town: &Town, mails: u32, what: &str) {
    let told: Vec<u32> = (0..town.people.len()).map(|person| mails_told(town, person)).collect();
    assert!(told.iter().all(|told| *told == mails), "{what}: {told:?}");
}

#[test]
fn ids_that_a_server_gives_out_again_after_its_restart_bring_nobody_anothers_mail() {
    for (ids, shards, seed) in KINDS
        .into_iter()
        .flat_map(|ids| (1..=3).flat_map(move |shards| (1..=5).map(move |seed| (ids, shards, seed))))
    {
        let what = format!("{ids:?}, {shards} shards, seed {seed}");
        let mut town = live(TownConfig { seed, ..numbered(ids, shards) });
        deliver_for(&mut town, 1);
        for _ in 0..3 {
            lose_subscriptions(&mut town);
            deliver_for(&mut town, 2);
            town.run_for(secs(60));
        }
        assert!(town.run_until_live(minutes(5)), "{what}: {:?}", town.world.stats(0));
        deliver_for(&mut town, 1);
        town.run_for(secs(60));
        let again = town.world.exchanges[0].stats().ids_given_again;
        assert!(again >= 12, "{what}: {again}");
        assert_all_told(&town, 8, &what);
        clean(town);
    }
}

#[test]
fn once_an_id_is_given_again_none_that_was_given_earlier_is_relied_on_although_no_mail_shows_whose_it_is() {
    for seed in 1..=8 {
        let config = TownConfig { seed, ..numbered(SubscriptionIds::NumberedLong, 2) };
        let mut town = live(TownConfig { mail_server: Box::new(|_| {}), ..config });
        lose_subscriptions(&mut town);
        town.run_for(minutes(3));
        // The last first: nobody's mail before it tells a shard whose subscription it reads.
        for person in (0..town.people.len()).rev() {
            town.deliver(person, "after the restart");
            town.run_for(secs(30));
            assert_eq!(mails_told(&town, person), 1, "seed {seed}, person {person}");
        }
        clean(town);
    }
}

/// The present stream tells of events on one person's subscription.
fn tell_on_subscription_of(town: &mut Town, person: usize, events: &str) {
    let mailbox = town.people[person].mailbox;
    let exchange = &mut town.world.exchanges[0];
    let of_person = |one: &SubscriptionView| one.mailbox == mailbox && one.stream.is_some();
    let subscription = exchange.subscriptions().into_iter().find(of_person).expect("streamed");
    let stream = subscription.stream.expect("as asked for");
    let envelope = format!(
        "<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\" \
         xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\"><Body>\
         <m:GetStreamingEventsResponse><m:ResponseMessages>\
         <m:GetStreamingEventsResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>\
         <m:Notifications><m:Notification><t:SubscriptionId>{}</t:SubscriptionId>{events}</m:Notification>\
         </m:Notifications></m:GetStreamingEventsResponseMessage></m:ResponseMessages>\
         </m:GetStreamingEventsResponse></Body></Envelope>",
        subscription.id
    );
    exchange.inject(stream, envelope.into_bytes());
    town.world.collect();
}

/// An event about a person's newest mail, in somebody's inbox.
fn event_of_newest(town: &Town, name: &str, of: usize, inbox_of: usize) -> String {
    let item = town.people[of].mails.last().expect("a mail");
    let inbox = town.world.exchanges[0].folder_id(town.people[inbox_of].mailbox, INBOX);
    format!(
        "<t:{name}><t:TimeStamp>2026-01-05T08:05:00Z</t:TimeStamp><t:ItemId Id=\"{item}\" ChangeKey=\"CQAAAA==\"/>\
         <t:ParentFolderId Id=\"{inbox}\" ChangeKey=\"AQAAAA==\"/></t:{name}>"
    )
}

fn count_of_inbox(town: &Town, of: usize, unread: u32) -> String {
    let inbox = town.world.exchanges[0].folder_id(town.people[of].mailbox, INBOX);
    format!(
        "<t:ModifiedEvent><t:TimeStamp>2026-01-05T08:05:00Z</t:TimeStamp><t:FolderId Id=\"{inbox}\" \
         ChangeKey=\"AQAAAA==\"/><t:ParentFolderId Id=\"cm9vdA==\" ChangeKey=\"AQAAAA==\"/>\
         <t:UnreadCount>{unread}</t:UnreadCount></t:ModifiedEvent>"
    )
}

#[test]
fn events_of_another_mailboxs_folders_are_neither_told_nor_counted_and_the_subscription_is_made_anew() {
    for full_access in [false, true] {
        let mut town = live(TownConfig { users: 2, full_access, ..TownConfig::default() });
        town.deliver(0, "of the first");
        town.deliver(1, "of the second");
        town.run_for(secs(60));
        let before = town.world.stats(0).subscribes;
        let told = town.told(0, 0).len();
        for name in ["NewMailEvent", "ModifiedEvent", "DeletedEvent"] {
            let events = event_of_newest(&town, name, 1, 1) + &count_of_inbox(&town, 1, 42);
            tell_on_subscription_of(&mut town, 0, &events);
            town.run_for(secs(10));
            assert!(town.run_until_live(minutes(2)), "{name}: {:?}", town.world.stats(0));
            town.run_for(secs(5));
            assert_eq!((town.told(0, 0).len(), badge(&town, 0)), (told, Some(1)), "{name}");
        }
        // Three in a row; from then on such events only have the mailbox looked into.
        let events = count_of_inbox(&town, 1, 42);
        tell_on_subscription_of(&mut town, 0, &events);
        town.run_for(secs(30));
        assert_eq!((town.told(0, 0).len(), badge(&town, 0)), (told, Some(1)));
        assert!(town.world.stats(0).subscribes > before);
        assert!(town.run_until_live(minutes(1)));
        deliver_for(&mut town, 1);
        town.run_for(secs(30));
        assert_all_told(&town, 2, "afterwards");
        clean(town);
    }
}

#[test]
fn a_stream_that_we_end_loses_no_mail_of_the_others_on_it() {
    const UNKNOWN: &str = "<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\" \
        xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\"><Body>\
        <m:GetStreamingEventsResponse><m:ResponseMessages>\
        <m:GetStreamingEventsResponseMessage ResponseClass=\"Error\"><m:MessageText>Gone.</m:MessageText>\
        <m:ResponseCode>ErrorSubscriptionNotFound</m:ResponseCode><m:ErrorSubscriptionIds>\
        <m:SubscriptionId>c29tZWJvZHkgZWxzZQ==</m:SubscriptionId></m:ErrorSubscriptionIds>\
        </m:GetStreamingEventsResponseMessage></m:ResponseMessages></m:GetStreamingEventsResponse></Body></Envelope>";
    for foreign in [false, true] {
        let mut town = live(TownConfig { users: 3, ..TownConfig::default() });
        town.run_for(secs(60));
        if foreign {
            let events = count_of_inbox(&town, 1, 42);
            tell_on_subscription_of(&mut town, 0, &events);
        } else {
            let exchange = &mut town.world.exchanges[0];
            exchange.inject(exchange.stream_keys()[0], UNKNOWN.as_bytes().to_vec());
            town.world.collect();
        }
        let before = town.world.stats(0).connects;
        town.deliver(2, "told when nobody reads any more");
        town.run_for(minutes(1));
        assert!(town.world.stats(0).connects > before, "the stream was opened again; foreign: {foreign}");
        assert_eq!((mails_told(&town, 2), badge(&town, 2)), (1, Some(1)), "foreign: {foreign}");
        clean(town);
    }
}

#[test]
fn a_mail_that_lies_in_another_mailbox_is_not_told_whatever_the_event_said() {
    let mut town = live(TownConfig { users: 2, full_access: true, ..TownConfig::default() });
    town.deliver(1, "of the second");
    town.run_for(secs(60));
    let event = event_of_newest(&town, "NewMailEvent", 1, 0);
    tell_on_subscription_of(&mut town, 0, &event);
    town.run_for(secs(30));
    assert_eq!((mails_told(&town, 0), mails_told(&town, 1)), (0, 1));
    // The server lets the account read it, and says whose it is.
    assert_eq!(town.world.exchanges[0].violations(), ["GetItem with the X-AnchorMailbox of another mailbox"]);
    let report = town.finish();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn events_that_come_before_the_mailboxs_folders_are_known_count_only_by_a_look() {
    let mut town = live(TownConfig { users: 2, ..TownConfig::default() });
    town.deliver(0, "of the first");
    town.deliver(1, "of the second");
    town.run_for(secs(60));
    // After a crash the stored subscription is used at once; what its folders are is to be learned first.
    town.world.exchanges[0].answer_next(
        3,
        Some(Operation::GetFolder),
        Override::Unavailable { retry_after_s: None },
    );
    town.world.crash(0);
    while town.world.exchanges[0].stream_keys().is_empty() || town.world.stats(0).streams == 0 {
        town.run_for(Span::from_millis(100));
    }
    let events = event_of_newest(&town, "NewMailEvent", 1, 1) + &count_of_inbox(&town, 1, 42);
    tell_on_subscription_of(&mut town, 0, &events);
    town.deliver(0, "while nothing is known");
    town.run_for(minutes(2));
    assert_eq!((mails_told(&town, 0), mails_told(&town, 1), badge(&town, 0)), (2, 1, Some(2)));
    assert!(town.run_until_live(minutes(1)));
    clean(town);
}

/// What was noticed of mail servers, and after how many seconds.
fn notes(town: &Town) -> Vec<(u64, String)> {
    let note = |report: &Report| match report {
        Report::MailServerNoted { note, .. } => Some(note.code.to_string()),
        _ => None,
    };
    let reports = town.world.reports.iter();
    reports.filter_map(|(at, report)| Some((at.0 / 1_000_000, note(report)?))).collect()
}

/// Five mailboxes in one cohort, on a server whose subscriptions belong to the impersonated mailbox.
fn of_one_mailbox_each() -> TownConfig {
    TownConfig {
        users: 5,
        exchange: ExchangeConfig { subscription_ids: SubscriptionIds::Numbered, ..ExchangeConfig::default() },
        wait_max: minutes(2),
        ..TownConfig::default()
    }
}

#[test]
fn a_server_whose_streams_take_one_mailbox_each_gets_a_stream_for_each_within_a_minute() {
    let mut town = live(of_one_mailbox_each());
    let stats = town.world.stats(0);
    assert_eq!((stats.users_live, stats.cohorts, stats.streams), (5, 5, 5));
    let noted = notes(&town);
    assert!(
        matches!(&noted[..], [(at, code)] if code == "ews_ungroupable" && *at <= 60),
        "noted once: {noted:?}"
    );
    let refused = |town: &Town| {
        town.world.exchanges[0].stats().count(Operation::GetStreamingEvents, Code::ErrorInvalidSubscription)
    };
    assert!((1..=3).contains(&refused(&town)), "{} rounds", refused(&town));
    let before = refused(&town);
    deliver_for(&mut town, 3);
    // Streams end and are opened again.
    town.run_for(minutes(65));
    assert_eq!(refused(&town), before, "nobody's stream is spoilt by a neighbour any more");
    lose_subscriptions(&mut town);
    town.set_vip(0, VipRules::default());
    deliver_for(&mut town, 1);
    assert!(town.run_until_live(minutes(1)));
    town.run_for(secs(30));
    assert_eq!(town.world.stats(0).streams, 5);
    assert_all_told(&town, 4, "each in time");
    assert_eq!(notes(&town).iter().filter(|(_, code)| code == "ews_ungroupable").count(), 1);
    clean(town);
}

#[test]
fn mailboxes_whose_common_stream_has_worked_stay_together_whatever_is_refused_later() {
    let mut town = live(TownConfig { users: 3, phones: 0, ..TownConfig::default() });
    town.run_for(minutes(2));
    for _ in 0..6 {
        for person in [1, 2] {
            story::lose(&mut town, person, Code::ErrorInvalidSubscription);
        }
        town.run_for(secs(20));
    }
    assert!(town.run_until_live(minutes(10)));
    assert_eq!((town.world.stats(0).cohorts, notes(&town).len()), (1, 0));
    clean(town);
}
