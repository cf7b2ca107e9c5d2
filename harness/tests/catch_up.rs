//! What a mailbox is followed by: catching up after a gap, folders, moves, ids, access by other rights than
//! impersonation.

use std::collections::BTreeSet;

use carillon_core::names::{FolderId, SmtpAddress};
use carillon_core::shard::{
    AssignUser, BadgeCount, CatchUp, Command, MailServer, MailServerId, Report, Timing, VipRules,
};
use carillon_core::time::Span;
use carillon_core::user::item_hash;
use carillon_harness::apns::{AlertKind, Delivery, Share};
use carillon_harness::exchange::{
    Code, Cut, DELETED_ITEMS, ExchangeConfig, FolderKey, INBOX, ImpersonationRight, Mail, MailboxKey,
    Operation, Override, Silence, Version,
};
use carillon_harness::peer::Close;
use carillon_harness::world::World;
use carillon_harness::world::story::{
    badge, clean, deliver_into, live, lose_subscriptions, secs, subjects, until_live,
};
use carillon_harness::world::town::{Town, TownConfig};

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

fn alerts(town: &Town, person: usize) -> Vec<&Delivery> {
    town.told(person, 0).into_iter().filter(|push| push.payload.is_alert()).collect()
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
    let mut town = until_live(without_impersonation(|account| account.full_access = all));
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
    let timing = Timing { settle_ms: 20_000, max_delay_ms: 60_000, ..Timing::default() };
    let mut town = live(TownConfig { users: 1, timing, ..TownConfig::default() });
    for subject in ["soon gone", "stays", "stays, too"] {
        town.deliver(0, subject);
    }
    town.run_for(secs(1));
    lose_subscriptions(&mut town);
    town.delete(0, 0);
    town.run_for(secs(60));
    let told = alerts(&town, 0);
    assert_eq!((told.len(), told[0].payload.n, told[0].payload.badge), (1, 2, Some(2)));
    clean(town);
}

#[test]
fn a_mail_whose_id_is_of_an_old_form_is_told_with_its_details_and_once() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    town.world.exchanges[0].faults.legacy_ids = true;
    town.deliver(0, "Lunch?");
    town.run_for(secs(10));
    assert_eq!(alerts(&town, 0).len(), 1);
    assert!(alerts(&town, 0)[0].payload.has_details());
    let calls = |town: &Town, operation| town.world.exchanges[0].stats().count_all(operation);
    assert_eq!((calls(&town, Operation::ConvertId), calls(&town, Operation::GetItem)), (1, 2));
    // Known from now on: ids are converted before anything else, of several mails in one call.
    town.deliver(0, "one");
    town.deliver(0, "another");
    town.run_for(secs(20));
    assert_eq!((alerts(&town, 0).len(), alerts(&town, 0)[1].payload.n), (2, 2));
    assert_eq!(calls(&town, Operation::ConvertId), 3);
    // A look into the folder finds the new form, and knows it.
    lose_subscriptions(&mut town);
    town.run_for(secs(60));
    assert_eq!(alerts(&town, 0).len(), 2);
    // An event that names the mail by its old id means the same mail.
    town.deliver(0, "soon gone");
    town.run_for(Span::from_millis(500));
    town.delete(0, 3);
    town.run_for(secs(30));
    assert_eq!((alerts(&town, 0).len(), badge(&town, 0)), (2, Some(3)));
    clean(town);
}

#[test]
fn a_mail_whose_id_cannot_be_converted_is_told_without_details() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    town.world.exchanges[0].faults.legacy_ids = true;
    town.world.exchanges[0].faults.no_conversion = true;
    town.deliver(0, "Lunch?");
    town.run_for(secs(10));
    let told = alerts(&town, 0);
    assert_eq!((told.len(), told[0].payload.n, told[0].payload.badge), (1, 1, Some(1)));
    assert!(!told[0].payload.has_details());
    assert!(town.world.exchanges[0].violations().is_empty());
}

fn exchange_2010() -> TownConfig {
    let exchange = ExchangeConfig { version_max: Version::Exchange2010_SP2, ..ExchangeConfig::default() };
    TownConfig { users: 1, exchange, ..TownConfig::default() }
}

#[test]
fn exchange_2010_has_no_previews_so_the_body_gives_one() {
    let mut town = live(exchange_2010());
    let body = format!("Dear all,\r\n\r\n\tthe meeting {}", "is long ".repeat(100));
    let mail = Mail { subject: "Meeting".into(), body, ..town.mail() };
    town.deliver_mail(0, mail.clone());
    town.run_for(secs(10));
    let AlertKind::Details { body, .. } = &alerts(&town, 0)[0].payload.alert else { panic!("no details") };
    assert!(body.starts_with("Dear all, the meeting is long is long"), "{body}");
    assert!(body.chars().count() <= 256, "{body}");
    // What a catch-up finds, too.
    lose_subscriptions(&mut town);
    town.deliver_mail(0, mail);
    town.run_for(secs(60));
    let AlertKind::Details { body, .. } = &alerts(&town, 0)[1].payload.alert else { panic!("no details") };
    assert!(body.starts_with("Dear all,"), "{body}");
    clean(town);
}

#[test]
fn a_mail_with_an_enormous_body_is_told_without_details_and_the_server_is_not_blamed() {
    let mut town = live(exchange_2010());
    let mail = Mail { subject: "Log".into(), body: "line\n".repeat(1_000_000), ..town.mail() };
    town.deliver_mail(0, mail);
    town.run_for(secs(10));
    let told = alerts(&town, 0);
    assert!(told.len() == 1 && !told[0].payload.has_details(), "{told:?}");
    let blamed = |report: &Report| matches!(report, Report::MailServerTrouble { .. });
    assert!(!town.world.reports.iter().any(|(_, report)| blamed(report)));
    clean(town);
}

/// A town of one, in which a folder is watched beside the inbox.
fn with_folder(mut config: TownConfig) -> (Town, FolderKey) {
    config.users = 1;
    let mut town = Town::new(config);
    let mailbox = town.people[0].mailbox;
    let folder = town.world.exchanges[0].add_folder(mailbox, "Projects");
    choose(&mut town, &[folder]);
    (until_live(town), folder)
}

/// The owner of the first mailbox chooses his folders.
fn choose(town: &mut Town, folders: &[FolderKey]) {
    let person = &town.people[0];
    let id = |folder: &FolderKey| town.world.exchanges[0].folder_id(person.mailbox, *folder);
    let ids = folders.iter().map(|folder| FolderId::parse(&id(folder)).expect("an id")).collect();
    let address = SmtpAddress::parse(town.world.exchanges[0].address(person.mailbox)).expect("an address");
    let assign = AssignUser { folders: ids, ..AssignUser::new(person.key, address, Some(MailServerId(0))) };
    town.world.command(0, Command::AssignUser(Box::new(assign)));
}

fn no_violations(town: &Town) {
    let violations = town.world.exchanges[0].violations();
    assert!(violations.is_empty(), "the mail server complains: {violations:?}");
}

#[test]
fn mail_in_a_chosen_folder_is_told_and_the_badge_counts_the_inbox() {
    let (mut town, folder) = with_folder(TownConfig::default());
    deliver_into(&mut town, folder, "in Projects");
    town.run_for(secs(10));
    assert_eq!(subjects(&town), ["in Projects"]);
    assert_eq!(badge(&town, 0), Some(0));
    town.deliver(0, "in the inbox");
    town.run_for(secs(10));
    assert_eq!((subjects(&town).len(), badge(&town, 0)), (2, Some(1)));
    no_violations(&town);
}

#[test]
fn the_badge_can_count_all_watched_folders() {
    let (mut town, folder) = with_folder(server(|server| server.badge = BadgeCount::Watched));
    deliver_into(&mut town, folder, "in Projects");
    town.deliver(0, "in the inbox");
    town.run_for(secs(10));
    assert_eq!(badge(&town, 0), Some(2));
    lose_subscriptions(&mut town);
    deliver_into(&mut town, folder, "in Projects, in a gap");
    town.run_for(secs(60));
    assert_eq!(badge(&town, 0), Some(3));
    town.read(0, 0);
    town.run_for(secs(10));
    assert_eq!(badge(&town, 0), Some(2));
    no_violations(&town);
}

#[test]
fn a_chosen_folder_is_caught_up_too_and_nothing_told_twice() {
    for catch_up in [CatchUp::Find, CatchUp::Sync] {
        let (mut town, folder) = with_folder(server(move |server| server.catch_up = catch_up));
        deliver_into(&mut town, folder, "before");
        town.run_for(secs(10));
        lose_subscriptions(&mut town);
        deliver_into(&mut town, folder, "in the gap");
        town.run_for(secs(60));
        town.world.crash(0);
        deliver_into(&mut town, folder, "while away");
        town.run_for(secs(60));
        assert_eq!(subjects(&town), ["before", "in the gap", "while away"], "{catch_up:?}");
        no_violations(&town);
    }
}

#[test]
fn a_notice_of_an_earlier_life_found_in_the_inbox_does_not_wait_for_the_other_folders() {
    let (mut town, _) = with_folder(TownConfig { users: 1, ..TownConfig::default() });
    town.turn_apns(|knobs| knobs.requests_lost = Share(1_000_000));
    town.deliver(0, "on its way");
    town.run_for(secs(5));
    town.turn_apns(|knobs| knobs.requests_lost = Share(0));
    town.world.crash(0);
    // The inbox is looked into; of the other folder nothing is heard for now.
    let refusal = Override::InternalError { retry_after_s: None };
    let looks = |world: &World| world.exchanges[0].stats().count(Operation::FindItem, Code::NoError);
    let before = looks(&town.world);
    assert!(town.world.run_until(secs(30), |world| looks(world) > before));
    town.world.exchanges[0].answer_next(5, Some(Operation::FindItem), refusal);
    town.run_for(secs(4));
    assert_eq!(subjects(&town), ["on its way"]);
    town.run_for(secs(600));
    assert_eq!(subjects(&town), ["on its way"]);
    no_violations(&town);
}

/// A new subscription of the first mailbox brings another stream, which takes over from the present one.
fn take_over(town: &mut Town) {
    let folder = town.world.exchanges[0].add_folder(town.people[0].mailbox, "Projects");
    choose(town, &[folder]);
}

#[test]
fn a_stream_that_breaks_right_after_it_took_over_leaves_nothing_to_the_one_before() {
    let mut town = live(TownConfig { users: 2, wait_max: secs(200), ..TownConfig::default() });
    let mailbox = town.people[1].mailbox;
    let stream = town.world.exchanges[0].stream_of(mailbox).expect("it is watched");
    town.world.exchanges[0].go_silent(stream, Silence::Blackhole);
    town.deliver(1, "swallowed");
    take_over(&mut town);
    let taken = |world: &World| world.exchanges[0].stream_of(mailbox).filter(|now| *now != stream);
    assert!(town.world.run_until(secs(30), |world| taken(world).is_some()));
    town.run_for(secs(1));
    let second = taken(&town.world).expect("taken over");
    town.world.exchanges[0].cut_stream(second, Cut { after_bytes: 0, how: Close::Reset });
    town.world.collect();
    town.run_for(secs(30));
    assert_eq!(alerts(&town, 1).len(), 1);
    assert!(!town.world.reports.iter().any(|(_, report)| matches!(report, Report::Taken { .. })));
    clean(town);
}

#[test]
fn what_a_dead_stream_swallowed_is_told_though_the_next_one_has_told_of_newer_mail() {
    let mut town = live(TownConfig { users: 2, wait_max: secs(200), ..TownConfig::default() });
    let stream = town.world.exchanges[0].stream_of(town.people[1].mailbox).expect("it is watched");
    town.world.exchanges[0].go_silent(stream, Silence::Blackhole);
    town.deliver(1, "swallowed");
    town.run_for(secs(5));
    take_over(&mut town);
    town.run_for(secs(65));
    town.deliver(1, "newer");
    town.run_for(secs(5));
    assert_eq!(alerts(&town, 1).len(), 1);
    town.run_for(secs(120));
    assert_eq!(alerts(&town, 1).len(), 2);
    clean(town);
}

#[test]
fn a_folder_that_is_gone_is_given_up_and_the_others_go_on() {
    let (mut town, folder) = with_folder(TownConfig::default());
    let mailbox = town.people[0].mailbox;
    let other = town.world.exchanges[0].add_folder(mailbox, "Other");
    choose(&mut town, &[folder, other]);
    town.run_for(secs(20));
    let now = town.world.now();
    town.world.exchanges[0].delete_folder(now, mailbox, folder);
    lose_subscriptions(&mut town);
    town.run_for(secs(90));
    deliver_into(&mut town, other, "in Other");
    town.run_for(secs(10));
    assert_eq!(subjects(&town), ["in Other"]);
    // Chosen when it is gone already: the one that is there is subscribed to.
    town.deliver(0, "in the inbox");
    town.run_for(secs(10));
    assert_eq!((subjects(&town).len(), badge(&town, 0)), (2, Some(1)));
    no_violations(&town);
}

#[test]
fn a_choice_of_folders_takes_effect_while_the_mailbox_is_watched() {
    let (mut town, folder) = with_folder(TownConfig::default());
    deliver_into(&mut town, folder, "chosen");
    town.run_for(secs(10));
    choose(&mut town, &[]);
    town.run_for(secs(20));
    deliver_into(&mut town, folder, "not chosen any more");
    town.run_for(secs(20));
    choose(&mut town, &[folder]);
    town.run_for(secs(30));
    deliver_into(&mut town, folder, "chosen again");
    town.run_for(secs(10));
    assert!(subjects(&town).contains(&"chosen".to_owned()));
    assert_eq!(subjects(&town).last().map(String::as_str), Some("chosen again"));
    assert_eq!(town.world.exchanges[0].subscription_count(), 1, "earlier ones were given back");
    no_violations(&town);
}

#[test]
fn a_mail_that_a_rule_moves_to_a_watched_folder_is_told_there() {
    let (mut town, folder) = with_folder(TownConfig::default());
    town.deliver(0, "for Projects");
    town.run_for(Span::from_millis(500));
    let moved = move_mail(&mut town, 0, 0, folder);
    town.run_for(secs(10));
    assert_eq!((subjects(&town), badge(&town, 0)), (vec!["for Projects".to_owned()], Some(0)));
    let told = alerts(&town, 0);
    assert_eq!(
        told[0].payload.items,
        [item_hash(b"a key for tests!", &moved)],
        "under the id that it has now"
    );
    no_violations(&town);
}

#[test]
fn a_told_mail_that_comes_back_by_a_move_is_not_told_again_by_a_look() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    town.deliver(0, "there and back");
    town.run_for(secs(10));
    let away = move_mail(&mut town, 0, 0, DELETED_ITEMS);
    let (now, mailbox) = (town.world.now(), town.people[0].mailbox);
    town.world.exchanges[0].move_item(now, mailbox, &away, INBOX).expect("the mail is there");
    town.world.collect();
    town.run_for(secs(10));
    // Its way leads over a folder that nobody watches, but the events of both moves tell its ids.
    lose_subscriptions(&mut town);
    town.run_for(secs(60));
    assert_eq!((alerts(&town, 0).len(), badge(&town, 0)), (1, Some(1)));
    no_violations(&town);
}

/// What a move keeps is not told by events, so that nothing joins the two ids (decision 017).
#[test]
fn a_mail_that_moves_while_nobody_listens_is_told_once_more_if_it_was_told_just_before_and_else_not() {
    for catch_up in [CatchUp::Find, CatchUp::Sync] {
        let config = server(move |server| server.catch_up = catch_up);
        let mut town = live(TownConfig { users: 1, choosers: vec![0], ..config });
        town.deliver(0, "well before the gap");
        town.run_for(secs(70));
        town.deliver(0, "right before the gap");
        town.run_for(secs(10));
        let chosen = town.people[0].chosen[0];
        let now = town.world.now();
        town.world.exchanges[0].restart_back_end(now, 0);
        move_mail(&mut town, 0, 0, chosen);
        move_mail(&mut town, 0, 1, chosen);
        town.run_for(secs(120));
        let told = ["well before the gap", "right before the gap", "right before the gap"];
        assert_eq!(subjects(&town), told, "{catch_up:?}");
    }
}

/// After a start, nobody knows yet which folder an event speaks of when it tells how many are unread there.
#[test]
fn a_count_that_was_on_its_way_does_not_outdo_what_events_told_of_folders_not_known_yet() {
    for moment_ms in (0..3_000).step_by(50) {
        let exchange = ExchangeConfig { call_time: Span::from_millis(300), ..ExchangeConfig::default() };
        let config = server(|server| server.badge = BadgeCount::Watched);
        let mut town = live(TownConfig { users: 2, choosers: vec![0, 1], exchange, ..config });
        town.world.crash(0);
        town.run_for(Span::from_millis(moment_ms));
        for person in 0..2 {
            town.deliver(person, "in the inbox");
            let folder = town.people[person].chosen[0];
            let mail = Mail { folder, ..town.mail() };
            town.deliver_mail(person, mail);
        }
        town.run_for(secs(60));
        assert_eq!([badge(&town, 0), badge(&town, 1)], [Some(2); 2], "after {moment_ms} ms");
        clean(town);
    }
}

/// Who has rules for VIP mail is asked about each mail as it comes; the answer may be older than what an event has told
/// meanwhile.
#[test]
fn a_mail_that_is_read_while_its_details_are_on_their_way_is_not_told() {
    for moment_ms in (0..1_000).step_by(50) {
        let exchange = ExchangeConfig { call_time: Span::from_millis(500), ..ExchangeConfig::default() };
        let timing = Timing { settle_ms: 3_000, ..Timing::default() };
        let mut town = live(TownConfig { users: 1, exchange, timing, ..TownConfig::default() });
        town.set_vip(0, VipRules { high_importance: true, senders: Box::default() });
        town.run_for(secs(1));
        town.deliver(0, "read at once");
        town.run_for(Span::from_millis(moment_ms));
        town.read(0, 0);
        town.run_for(secs(30));
        assert_eq!(alerts(&town, 0).len(), 0, "read after {moment_ms} ms");
        clean(town);
    }
}

/// The service dies, and its host is not there to say so: to the server the stream of before stands until it gives up or the
/// next one takes over, and swallows what comes until then.
#[test]
fn what_the_stream_of_an_earlier_life_swallows_is_found_when_the_next_one_stands() {
    for moment_ms in (0..4_000).step_by(100) {
        let exchange = ExchangeConfig { call_time: Span::from_millis(700), ..ExchangeConfig::default() };
        let mut town = live(TownConfig { seed: moment_ms, users: 1, exchange, ..TownConfig::default() });
        town.world.net.stalls = 1_000_000;
        town.deliver(0, "the path goes dead with this one");
        town.run_for(secs(2));
        town.world.net.stalls = 0;
        town.world.crash(0);
        town.run_for(Span::from_millis(moment_ms));
        town.deliver(0, "while it begins anew");
        town.run_for(secs(120));
        let told: u32 = alerts(&town, 0).iter().map(|push| push.payload.n).sum();
        assert_eq!((told, badge(&town, 0)), (2, Some(2)), "after {moment_ms} ms");
        clean(town);
    }
}

#[test]
fn a_told_mail_that_is_moved_right_before_a_crash_is_not_told_again() {
    let mut town = live(TownConfig { users: 1, choosers: vec![0], ..TownConfig::default() });
    town.deliver(0, "from here to there");
    town.run_for(secs(10));
    let projects = town.people[0].chosen[0];
    town.move_mail(0, 0, projects);
    town.run_for(secs(1));
    town.world.crash(0);
    town.run_for(secs(60));
    assert_eq!((alerts(&town, 0).len(), badge(&town, 0)), (1, Some(0)));
    clean(town);
}

#[test]
fn a_mail_that_is_moved_to_a_watched_folder_while_its_details_are_fetched_is_told_there() {
    let timing = Timing { settle_ms: 0, ..Timing::default() };
    let mut town = live(TownConfig { users: 1, choosers: vec![0], timing, ..TownConfig::default() });
    let projects = town.people[0].chosen[0];
    // Now and then the answer that there is no such mail overtakes the event that tells where it went.
    town.world.net.jitter = Span::from_millis(80);
    for n in 0..60 {
        town.run_for(secs(30));
        town.deliver(0, "for Projects");
        town.run_for(Span::from_millis(n));
        let last = town.people[0].mails.len() - 1;
        town.move_mail(0, last, projects);
    }
    town.run_for(secs(30));
    clean(town);
}

fn synchronised() -> TownConfig {
    TownConfig { users: 1, ..server(|server| server.catch_up = CatchUp::Sync) }
}

fn syncs(town: &Town) -> u64 {
    town.world.exchanges[0].stats().count_all(Operation::SyncFolderItems)
}

#[test]
fn by_state_a_gap_tells_what_arrived_and_not_what_was_read_or_deleted() {
    let mut town = live(synchronised());
    for subject in ["read later", "deleted later", "stays"] {
        town.deliver(0, subject);
        town.run_for(secs(10));
    }
    lose_subscriptions(&mut town);
    town.read(0, 0);
    town.delete(0, 1);
    town.deliver(0, "arrived");
    town.deliver(0, "arrived and read");
    town.read(0, 4);
    town.run_for(secs(60));
    assert_eq!(subjects(&town), ["read later", "deleted later", "stays", "arrived"]);
    assert_eq!(badge(&town, 0), Some(2));
    assert_eq!(town.world.exchanges[0].stats().count_all(Operation::FindItem), 0);
    clean(town);
}

/// What waits is looked at again before it is told, but not for ever: late news without details beats none.
#[test]
fn by_state_what_waited_and_was_read_or_deleted_in_a_gap_is_not_told_though_mails_cannot_be_fetched() {
    let timing = Timing { settle_ms: 20_000, max_delay_ms: 60_000, ..Timing::default() };
    let mut town = live(TownConfig { timing, wait_max: secs(300), ..synchronised() });
    for subject in ["soon gone", "soon read", "stays"] {
        town.deliver(0, subject);
    }
    // A first look finds them; of what happens to them afterwards the second one tells.
    lose_subscriptions(&mut town);
    town.run_for(secs(5));
    let refusal = Override::InternalError { retry_after_s: None };
    town.world.exchanges[0].answer_next(10_000, Some(Operation::GetItem), refusal);
    lose_subscriptions(&mut town);
    town.delete(0, 0);
    town.read(0, 1);
    town.run_for(secs(120));
    let told = alerts(&town, 0);
    assert_eq!((told.len(), told[0].payload.n, told[0].payload.badge), (1, 1, Some(1)));
    assert!(!told[0].payload.has_details(), "nobody could look at it");
    clean(town);
}

#[test]
fn a_state_outlives_a_crash_and_spares_the_walk() {
    let mut town = Town::new(synchronised());
    // A folder that needs three pages when it is walked through.
    for _ in 0..1_100 {
        let (now, mailbox) = (town.world.now(), town.people[0].mailbox);
        let mail = town.mail();
        let id = town.world.exchanges[0].deliver(now, mailbox, mail);
        town.world.exchanges[0].mark_read(now, mailbox, &id, true);
    }
    town.run_for(secs(5));
    let mut town = until_live(town);
    assert_eq!(alerts(&town, 0).len(), 0, "old mail is no news");
    let walked = syncs(&town);
    assert!(walked >= 3, "{walked}");
    town.deliver(0, "before");
    town.run_for(secs(10));
    town.world.crash(0);
    town.deliver(0, "while away");
    town.run_for(secs(60));
    assert_eq!(subjects(&town), ["before", "while away"]);
    assert!(syncs(&town) - walked <= 2, "one page for each look: {}", syncs(&town) - walked);
    clean(town);
}

#[test]
fn a_state_that_is_refused_starts_over_and_tells_only_what_is_new() {
    let mut town = live(synchronised());
    for n in 0..5 {
        town.deliver(0, &format!("old {n}"));
        town.run_for(secs(10));
    }
    // As after a move of the mailbox to another database.
    town.world.exchanges[0].forget_sync_states();
    lose_subscriptions(&mut town);
    town.deliver(0, "new");
    town.run_for(secs(90));
    assert_eq!(alerts(&town, 0).len(), 6);
    assert_eq!(subjects(&town).last().map(String::as_str), Some("new"));
    assert!(
        town.world.exchanges[0].stats().count(Operation::SyncFolderItems, Code::ErrorInvalidSyncStateData)
            > 0
    );
    clean(town);
}

#[test]
fn a_notice_whose_answer_was_lost_is_found_again_after_a_crash_by_state() {
    let mut town = live(synchronised());
    town.deliver(0, "told before");
    town.run_for(secs(10));
    town.turn_apns(|knobs| knobs.requests_lost = Share(1_000_000));
    town.deliver(0, "on its way");
    town.run_for(secs(5));
    // A look while the notice is on its way must not make the mail one that was dealt with.
    lose_subscriptions(&mut town);
    town.run_for(secs(10));
    town.turn_apns(|knobs| knobs.requests_lost = Share(0));
    town.world.crash(0);
    town.run_for(secs(60));
    assert_eq!(subjects(&town), ["told before", "on its way"]);
    clean(town);
}

#[test]
fn a_state_is_not_stored_while_mail_up_to_it_waits_to_be_told() {
    let timing = Timing { settle_ms: 20_000, max_delay_ms: 60_000, ..Timing::default() };
    let mut town = live(TownConfig { timing, wait_max: secs(200), ..synchronised() });
    lose_subscriptions(&mut town);
    town.deliver(0, "in the gap");
    let before = syncs(&town);
    town.run_for(secs(10));
    assert_eq!((syncs(&town) > before, alerts(&town, 0).len()), (true, 0), "found, and not told yet");
    town.world.crash(0);
    town.run_for(secs(120));
    assert_eq!(subjects(&town), ["in the gap"]);
    clean(town);
}

#[test]
fn mail_that_is_found_too_late_is_no_news_and_counts_for_the_badge_alone() {
    let timing = Timing { news_max_s: 600, ..Timing::default() };
    let mut town = live(TownConfig { timing, ..TownConfig::default() });
    town.run_for(secs(60));
    // The subscriptions are gone, and the server wants to be left alone for half an hour.
    let rest = Override::Unavailable { retry_after_s: Some(1_800) };
    town.world.exchanges[0].answer_next(1, None, rest);
    let now = town.world.now();
    town.world.exchanges[0].restart_back_end(now, 0);
    town.world.collect();
    town.run_for(secs(5));
    for person in [0, 1] {
        town.deliver(person, "old when it is found");
    }
    town.run_for(secs(1_500));
    for person in [0, 2] {
        town.deliver(person, "young enough");
    }
    assert!(town.run_until_live(secs(900)), "{:?}", town.world.stats(0));
    town.run_for(secs(60));
    let told = |person| alerts(&town, person).iter().map(|push| push.payload.n).sum::<u32>();
    assert_eq!([0, 1, 2].map(told), [1, 0, 1]);
    assert_eq!([0, 1, 2].map(|person| badge(&town, person)), [Some(2), Some(1), Some(1)]);
    // The audit knows of no mail that is too old.
    assert!(town.world.exchanges[0].violations().is_empty());
}

/// A look that is on its way has passed the place where the mail comes to lie.
#[test]
fn what_is_missed_while_a_catch_up_is_on_its_way_is_found_by_another_one() {
    let mut struck = 0;
    for moment_ms in (0..6_000).step_by(200) {
        let exchange = ExchangeConfig { call_time: Span::from_millis(700), ..ExchangeConfig::default() };
        let mut town = live(TownConfig { users: 1, exchange, wait_max: secs(300), ..TownConfig::default() });
        town.run_for(secs(30));
        lose_subscriptions(&mut town);
        // Three pages.
        for n in 0..60 {
            town.deliver(0, &format!("in the gap {n}"));
        }
        let looks = |world: &World| world.exchanges[0].stats().count(Operation::FindItem, Code::NoError);
        let before = looks(&town.world);
        assert!(town.world.run_until(secs(60), |world| looks(world) > before));
        town.run_for(Span::from_millis(moment_ms));
        let under_way = !town.is_live(0);
        // Its event is lost, and the server says so.
        let now = town.world.now();
        let mailbox = town.people[0].mailbox;
        let mail = town.mail();
        town.world.exchanges[0].deliver(now, mailbox, mail);
        town.world.exchanges[0].miss_events(mailbox);
        town.world.collect();
        town.run_for(secs(120));
        let told: u32 = alerts(&town, 0).iter().map(|push| push.payload.n).sum();
        assert_eq!((told, badge(&town, 0)), (61, Some(61)), "after {moment_ms} ms");
        struck += u32::from(under_way);
        no_violations(&town);
    }
    assert!(struck > 3, "{struck}");
}

/// Gromox keeps the events of a subscription that lives on: events and looks tell of the same mails, in any order.
#[test]
fn hundreds_of_mails_of_one_gap_are_told_once_though_both_events_and_looks_tell_of_them() {
    for mails in [266u64, 500, 900, 1_500] {
        let exchange = ExchangeConfig { call_time: Span::from_millis(150), ..ExchangeConfig::default() };
        let mut town = live(TownConfig { users: 1, exchange, wait_max: secs(900), ..TownConfig::default() });
        town.run_for(secs(30));
        cut_streams(&mut town);
        for n in 0..mails {
            town.deliver(0, &format!("in the gap {n}"));
            town.world.run_for(Span::from_millis(if mails > 600 { 10 } else { 2 }));
        }
        town.run_for(secs(180));
        let told = |town: &Town| alerts(town, 0).iter().map(|push| push.payload.n).sum::<u32>();
        assert_eq!(u64::from(told(&town)), mails);
        // A later look goes over the same mails, and so does one after a crash.
        lose_subscriptions(&mut town);
        town.run_for(secs(120));
        town.world.crash(0);
        town.run_for(secs(120));
        assert_eq!((u64::from(told(&town)), badge(&town, 0)), (mails, Some(mails as u32)));
        clean(town);
    }
}
