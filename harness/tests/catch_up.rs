//! What a mailbox is followed by: catching up after a gap, folders, moves, ids, access by other rights than
//! impersonation.

use std::collections::BTreeSet;

use carillon_core::shard::{MailServer, Report};
use carillon_core::time::Span;
use carillon_core::user::item_hash;
use carillon_harness::apns::Delivery;
use carillon_harness::audit::AuditReport;
use carillon_harness::exchange::{DELETED_ITEMS, FolderKey, ImpersonationRight, MailboxKey};
use carillon_harness::world::town::{Town, TownConfig};

fn secs(s: u64) -> Span {
    Span::from_secs(s)
}

fn live(config: TownConfig) -> Town {
    wait(Town::new(config))
}

fn wait(mut town: Town) -> Town {
    assert!(town.run_until_live(secs(60)), "not live: {:?}\n{:?}", town.world.stats(0), town.world.reports);
    town
}

fn clean(town: Town) -> AuditReport {
    let violations = town.world.exchanges[0].violations().to_vec();
    assert!(violations.is_empty(), "the mail server complains: {violations:?}");
    let report = town.finish();
    assert!(report.is_clean(), "{report:#?}");
    report
}

fn server(change: impl Fn(&mut MailServer) + 'static) -> TownConfig {
    TownConfig { mail_server: Box::new(change), ..TownConfig::default() }
}

/// One of the people moves a mail to another folder in another program. Returns its new id.
fn move_mail(town: &mut Town, person: usize, mail: usize, to: FolderKey) -> String {
    let now = town.world.now();
    let (mailbox, user) = (town.people[person].mailbox, town.people[person].user);
    let old = town.people[person].mails[mail].clone();
    let new = town.world.exchanges[0].move_item(now, mailbox, &old, to).expect("the mail is there");
    town.audit.deleted(user, item_hash(b"a key for tests!", &old), now.time, true);
    town.world.collect();
    new
}

fn alerts<'a>(town: &'a Town, person: usize) -> Vec<&'a Delivery> {
    town.told(person, 0).into_iter().filter(|push| push.payload.is_alert()).collect()
}

fn badge(town: &Town, person: usize) -> Option<u32> {
    town.told(person, 0).iter().rev().find_map(|push| push.payload.badge)
}

/// The service account may not impersonate; what it may do instead, `rights` says.
fn without_impersonation(rights: impl FnOnce(&mut carillon_harness::exchange::Account)) -> Town {
    let mut town = Town::new(server(|server| server.impersonate = false));
    let account = town.world.exchanges[0].account("EX\\carillon").expect("the service account");
    town.world.exchanges[0].change_account(account, |account| {
        account.impersonation = ImpersonationRight::None;
        rights(account);
    });
    town
}

#[test]
fn an_account_with_full_access_watches_mailboxes_without_impersonation() {
    let all: BTreeSet<MailboxKey> = (0..3).map(MailboxKey).collect();
    let mut town = wait(without_impersonation(|account| account.full_access = all));
    assert_eq!(town.world.exchanges[0].streams().len(), 1, "one stream for all, on the account's own budget");
    assert_eq!(town.world.exchanges[0].streams()[0].impersonated, None);
    for person in 0..3 {
        town.deliver(person, &format!("for {person}"));
    }
    town.run_for(secs(10));
    for person in 0..3 {
        let told = alerts(&town, person);
        assert!(told.len() == 1 && told[0].payload.has_details(), "{told:?}");
        assert_eq!(badge(&town, person), Some(1));
    }
    // A gap: the look into the folder works so, too.
    cut_streams(&mut town);
    town.deliver(1, "in between");
    town.run_for(secs(60));
    assert_eq!((alerts(&town, 1).len(), badge(&town, 1)), (2, Some(2)));
    clean(town);
}

#[test]
fn a_delegate_who_may_only_read_is_told_what_is_missing() {
    let all: BTreeSet<MailboxKey> = (0..3).map(MailboxKey).collect();
    let mut town = without_impersonation(|account| account.delegate_of = all);
    town.run_for(secs(30));
    let said = town.world.reports.iter().find_map(|(_, report)| match report {
        Report::Unwatched { trouble, .. } => Some(trouble.clone()),
        _ => None,
    });
    let trouble = said.expect("not watched");
    assert_eq!(&*trouble.code, "ErrorSubscriptionDelegateAccessNotSupported");
    assert!(trouble.text.contains("FullAccess"), "{}", trouble.text);
    let account = town.world.exchanges[0].account("EX\\carillon").expect("the service account");
    let all: BTreeSet<MailboxKey> = (0..3).map(MailboxKey).collect();
    town.world.exchanges[0].change_account(account, |account| account.full_access = all);
    assert!(town.run_until_live(secs(3_600)), "watched by itself once the right is there");
}

/// All streams break, and no news of what happens until they are opened again.
fn cut_streams(town: &mut Town) {
    let now = town.world.now();
    for stream in town.world.exchanges[0].stream_keys() {
        town.world.exchanges[0].end_stream_unclean(now, stream);
    }
    town.world.collect();
    town.run_for(Span::from_millis(50));
}

/// As [`cut_streams`], and what the mail server kept for the next stream is lost, too.
fn lose_subscriptions(town: &mut Town) {
    let now = town.world.now();
    town.world.exchanges[0].restart_back_end(now, 0);
    town.world.collect();
}

#[test]
fn a_mail_moved_or_deleted_or_read_before_it_is_told_is_not_told() {
    let mut town = live(TownConfig { users: 3, ..TownConfig::default() });
    for person in 0..3 {
        town.deliver(person, "soon gone");
    }
    town.run_for(Span::from_millis(500));
    move_mail(&mut town, 0, 0, DELETED_ITEMS);
    town.delete(1, 0);
    town.read(2, 0);
    town.run_for(secs(30));
    for person in 0..3 {
        assert_eq!(alerts(&town, person).len(), 0, "{person}");
        assert!(badge(&town, person).is_none_or(|badge| badge == 0), "{person}");
    }
    assert_eq!(town.world.ledger().superseded, 3);
    clean(town);
}

#[test]
fn a_told_mail_that_is_moved_away_lowers_the_badge_and_is_not_told_where_it_went() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    town.deliver(0, "stays");
    town.deliver(0, "goes");
    town.run_for(secs(10));
    assert_eq!((alerts(&town, 0).len(), badge(&town, 0)), (1, Some(2)));
    move_mail(&mut town, 0, 1, DELETED_ITEMS);
    town.run_for(secs(10));
    assert_eq!((alerts(&town, 0).len(), badge(&town, 0)), (1, Some(1)));
    clean(town);
}

#[test]
fn one_of_two_mails_gone_before_the_push_leaves_one_with_its_details() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    town.deliver(0, "goes");
    town.deliver(0, "stays");
    town.run_for(Span::from_millis(500));
    move_mail(&mut town, 0, 0, DELETED_ITEMS);
    town.run_for(secs(10));
    let told = alerts(&town, 0);
    assert_eq!((told.len(), told[0].payload.n, told[0].payload.badge), (1, 1, Some(1)));
    assert!(told[0].payload.has_details());
    clean(town);
}

#[test]
fn after_a_gap_what_arrived_is_told_once_and_what_was_read_or_deleted_is_not() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    town.deliver(0, "told before");
    town.run_for(secs(10));
    lose_subscriptions(&mut town);
    town.deliver(0, "arrived");
    town.deliver(0, "arrived and read");
    town.deliver(0, "arrived and deleted");
    town.read(0, 2);
    town.delete(0, 3);
    town.read(0, 0);
    town.run_for(secs(60));
    let told = alerts(&town, 0);
    assert_eq!(told.len(), 2);
    assert_eq!((told[1].payload.n, told[1].payload.badge), (1, Some(1)));
    clean(town);
}

#[test]
fn a_mail_that_waited_and_was_deleted_during_a_gap_is_not_told() {
    // Nothing on the page that a catch-up reads says that a mail is not there any more.
    let timing =
        carillon_core::shard::Timing { settle_ms: 20_000, max_delay_ms: 60_000, ..Default::default() };
    let mut town = live(TownConfig { users: 1, timing, ..TownConfig::default() });
    town.deliver(0, "soon gone");
    town.run_for(secs(1));
    lose_subscriptions(&mut town);
    town.delete(0, 0);
    town.run_for(secs(60));
    assert_eq!(alerts(&town, 0).len(), 0);
    clean(town);
}
