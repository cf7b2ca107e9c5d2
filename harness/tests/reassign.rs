//! A user gets another mail server or other folders while something is under way for the earlier ones.

use carillon_core::names::{FolderId, SmtpAddress};
use carillon_core::shard::{AssignUser, Command, MailCredential, MailServerId, Report};
use carillon_core::time::Span;
use carillon_harness::exchange::{Account, ExchangeConfig, Mail, MailboxSpec};
use carillon_harness::world::story::{alerts, clean, live, minutes, secs};
use carillon_harness::world::town::{Town, TownConfig};

fn reassign(town: &mut Town, person: usize, server: usize, folders: Vec<FolderId>) {
    let row = &town.people[person];
    let address = town.world.exchanges[row.server].address(row.mailbox);
    let assign = AssignUser {
        folders,
        ..AssignUser::new(
            row.key,
            SmtpAddress::parse(address).expect("an address"),
            Some(MailServerId(server as u16)),
        )
    };
    let shard = row.shard;
    town.world.command(shard, Command::AssignUser(Box::new(assign)));
}

/// A town with two mail servers that have passwords of their own, in which subscribing takes its time.
fn two_servers() -> Town {
    let mut town = Town::new(TownConfig {
        users: 8,
        mail_servers: 2,
        mail_server: Box::new(|server| {
            server.subscribes_per_s = 1;
            if server.endpoint.0 != 0 {
                let (user, password) = ("EX\\other".into(), "another secret".into());
                server.credential = MailCredential::Basic { user, password };
            }
        }),
        ..TownConfig::default()
    });
    town.world.exchanges[1].add_account(Account::service("EX\\other", "another secret"));
    town
}

#[test]
fn who_waits_for_a_call_at_one_server_and_gets_another_is_asked_for_there_alone() {
    let mut town = two_servers();
    town.run_for(Span::from_millis(1_500));
    let address = town.world.exchanges[0].address(town.people[6].mailbox).to_owned();
    town.world.exchanges[1].add_mailbox(MailboxSpec { address, ..MailboxSpec::default() });
    reassign(&mut town, 6, 1, Vec::new());
    assert!(town.run_until_live(minutes(1)), "{:?}", town.world.stats(0));
    let refused = |report: &Report| matches!(report, Report::MailCredentialRefused { .. });
    assert!(!town.world.reports.iter().any(|(_, report)| refused(report)), "each its own password");
    let at = |server: usize| town.world.exchanges[server].subscription_count();
    assert_eq!((at(0), at(1)), (3, 5));
    clean(town);
}

#[test]
fn who_goes_to_another_server_and_back_while_he_waits_is_subscribed_once() {
    let mut town = two_servers();
    town.run_for(Span::from_millis(1_500));
    for server in [1, 0, 1, 0] {
        reassign(&mut town, 6, server, Vec::new());
        town.run_for(Span::from_millis(100));
    }
    assert!(town.run_until_live(minutes(1)), "{:?}", town.world.stats(0));
    let at = |server: usize| town.world.exchanges[server].subscription_count();
    assert_eq!((at(0), at(1)), (4, 4));
    clean(town);
}

#[test]
fn folders_chosen_while_a_subscription_is_asked_for_are_watched_and_the_earlier_one_is_given_back() {
    let exchange = ExchangeConfig { call_time: Span::from_millis(300), ..ExchangeConfig::default() };
    let mut town = Town::new(TownConfig { users: 1, exchange, ..TownConfig::default() });
    let mailbox = town.people[0].mailbox;
    let folder = town.world.exchanges[0].add_folder(mailbox, "Projects");
    let id = FolderId::parse(&town.world.exchanges[0].folder_id(mailbox, folder)).expect("an id");
    town.run_for(Span::from_millis(150));
    assert_eq!(town.world.stats(0).calls_in_flight, 1, "the subscription is being asked for");
    reassign(&mut town, 0, 0, vec![id]);
    assert!(town.run_until_live(secs(30)));
    town.run_for(secs(30));
    assert_eq!(town.world.exchanges[0].subscription_count(), 1);
    let mail = Mail { subject: "in the folder".into(), folder, ..town.mail() };
    let now = town.world.now();
    town.world.exchanges[0].deliver(now, mailbox, mail);
    town.world.collect();
    town.run_for(secs(30));
    assert_eq!(town.told(0, 0).iter().filter(|push| push.payload.is_alert()).count(), 1);
    assert!(town.world.exchanges[0].violations().is_empty());
}

#[test]
fn who_is_to_share_streams_with_others_does_so_at_once() {
    let mut town = live(TownConfig::default());
    let streams = |town: &Town| {
        let mut members: Vec<usize> =
            town.world.exchanges[0].streams().iter().map(|stream| stream.mailboxes.len()).collect();
        members.sort_unstable();
        members
    };
    assert_eq!(streams(&town), [3]);
    town.assign_again(1, false, |assign| assign.grouping = "another database".into());
    town.run_for(minutes(1));
    assert_eq!(streams(&town), [1, 2]);
    for person in 0..3 {
        town.deliver(person, "to whichever stream");
    }
    town.run_for(secs(10));
    assert_eq!((0..3).map(|person| alerts(&town, person)).collect::<Vec<_>>(), [1, 1, 1]);
    town.assign_again(1, false, |assign| assign.grouping = "".into());
    town.run_for(minutes(1));
    assert_eq!((streams(&town), town.world.exchanges[0].subscription_count()), (vec![3], 3));
    clean(town);
}

#[test]
fn the_account_in_a_push_is_that_of_the_address_given_last() {
    let mut town = live(TownConfig::default());
    let account = |town: &Town| town.told(1, 0).last().and_then(|push| push.payload.account);
    town.deliver(1, "to the first address");
    town.run_for(secs(20));
    let first = account(&town);
    let (mailbox, address) = (town.people[1].mailbox, "another.name@example.com");
    town.world.exchanges[0].rename_mailbox(mailbox, address);
    let address = SmtpAddress::parse(address).expect("an address");
    town.assign_again(1, false, |assign| assign.address = address);
    town.run_for(minutes(1));
    town.deliver(1, "to the second");
    town.run_for(secs(20));
    let second = account(&town);
    assert!(first.is_some() && second.is_some() && first != second, "{first:?}, {second:?}");
    // And the audit has compared both, with the thread.
    clean(town);
}
