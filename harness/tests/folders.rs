//! Folders beside the inbox that change while a mailbox is watched: chosen, taken back, deleted.

use carillon_core::names::{FolderId, SmtpAddress};
use carillon_core::shard::{AssignUser, BadgeCount, Command, MailServerId, Report, Timing};
use carillon_core::time::Span;
use carillon_harness::exchange::{Code, Cut, ExchangeConfig, FolderKey, Mail, Operation, Override};
use carillon_harness::peer::Close;
use carillon_harness::world::story::{self, alerts, badge, clean, live, minutes, secs};
use carillon_harness::world::town::{Town, TownConfig};

fn config(users: usize) -> TownConfig {
    TownConfig {
        users,
        choosers: (0..users).collect(),
        mail_server: Box::new(|server| server.badge = BadgeCount::Watched),
        ..TownConfig::default()
    }
}

fn deliver_into(town: &mut Town, person: usize, folder: usize) {
    let mail = Mail { folder: town.own_folder(person, folder), ..town.mail() };
    town.deliver_mail(person, mail);
}

#[test]
fn a_watched_folder_that_is_deleted_takes_its_mails_out_of_the_badge() {
    let mut town = live(config(1));
    deliver_into(&mut town, 0, 0);
    town.deliver(0, "in the inbox");
    town.run_for(secs(10));
    assert_eq!(badge(&town, 0), Some(2));
    town.delete_folder(0, 0);
    town.run_for(secs(20));
    assert_eq!(badge(&town, 0), Some(1));
    clean(town);
}

#[test]
fn a_subscription_that_is_outdated_when_it_is_made_is_given_back_behind_its_anchor() {
    let exchange = ExchangeConfig { call_time: Span::from_millis(300), ..ExchangeConfig::default() };
    let mut town = live(TownConfig { exchange, ..config(2) });
    let before = town.world.exchanges[0].subscription_count();
    for chosen in [vec![0, 1], vec![1], vec![0]] {
        for person in 0..2 {
            town.choose_folders(person, chosen.clone());
        }
        town.run_for(Span::from_millis(450));
    }
    town.run_for(minutes(1));
    assert_eq!(town.world.exchanges[0].subscription_count(), before, "all earlier ones were given back");
    clean(town);
}

#[test]
fn a_choice_that_could_not_take_effect_before_a_crash_does_so_after_it() {
    let mut town = live(config(1));
    let mailbox = town.people[0].mailbox;
    let code = Code::ErrorMailboxStoreUnavailable;
    for operation in [Operation::Subscribe, Operation::Unsubscribe] {
        town.world.exchanges[0].refuse(mailbox, operation, 1, code, false);
    }
    town.choose_folders(0, [1]);
    town.run_for(secs(5));
    assert_eq!(town.world.stats(0).users_live, 0, "refused");
    town.world.crash(0);
    town.run_for(minutes(1));
    deliver_into(&mut town, 0, 1);
    town.run_for(secs(10));
    assert_eq!((alerts(&town, 0), badge(&town, 0)), (1, Some(1)), "in what is chosen now");
    deliver_into(&mut town, 0, 0);
    town.run_for(secs(10));
    assert_eq!((alerts(&town, 0), badge(&town, 0)), (1, Some(1)), "not in what was taken back");
    clean(town);
}

/// The owner of the engine hands in these ids as one person's choice, whatever they are.
fn choose_ids(town: &mut Town, person: usize, ids: &[String]) {
    let row = &town.people[person];
    let (shard, key) = (row.shard, row.key);
    let address = SmtpAddress::parse(town.world.exchanges[0].address(row.mailbox)).expect("an address");
    let folders = ids.iter().map(|id| FolderId::parse(id).expect("an id")).collect();
    let assign = AssignUser { folders, ..AssignUser::new(key, address, Some(MailServerId(0))) };
    town.world.command(shard, Command::AssignUser(Box::new(assign)));
}

/// Which folders the engine has said last that it does not watch, and why.
fn dropped(town: &Town, person: usize) -> Vec<(String, String)> {
    let key = town.people[person].key;
    let last = town.world.reports.iter().rev().find_map(|(_, report)| match report {
        Report::FoldersDropped { user, folders } if *user == key => Some(folders),
        _ => None,
    });
    let folders = last.into_iter().flatten();
    folders.map(|one| (one.id.as_str().to_owned(), one.trouble.code.to_string())).collect()
}

#[test]
fn one_folder_id_that_cannot_be_watched_is_dropped_by_name_and_the_inbox_and_the_others_are_watched() {
    const MALFORMED: &str = "bm8gaWQgYXQgYWxs";
    for full_access in [false, true] {
        for (bad, code) in [
            ("malformed", "ErrorInvalidIdMalformed"),
            // Under impersonation nobody else's folders can be looked at. With full access they can, and only a subscription
            // to folders of two mailboxes is refused.
            ("another's", if full_access { "ErrorInvalidSubscriptionRequest" } else { "ErrorAccessDenied" }),
        ] {
            let what = format!("{bad}, full access: {full_access}");
            let mut town = Town::new(TownConfig { users: 3, full_access, ..TownConfig::default() });
            let own = town.world.exchanges[0].add_folder(town.people[0].mailbox, "Own");
            let second = town.world.exchanges[0].add_folder(town.people[0].mailbox, "Second");
            let theirs = town.world.exchanges[0].add_folder(town.people[1].mailbox, "Theirs");
            let id = |town: &Town, person: usize, folder: FolderKey| {
                town.world.exchanges[0].folder_id(town.people[person].mailbox, folder)
            };
            let bad_id = if bad == "malformed" { MALFORMED.to_owned() } else { id(&town, 1, theirs) };
            let ids = [id(&town, 0, own), bad_id.clone(), id(&town, 0, second)];
            choose_ids(&mut town, 0, &ids);
            assert!(town.run_until_live(minutes(1)), "{what}: {:?}", town.world.stats(0));
            town.deliver(0, "in the inbox");
            town.run_for(secs(20));
            assert_eq!(alerts(&town, 0), 1, "{what}: the inbox goes on at once");
            town.run_for(minutes(3));
            assert!(town.run_until_live(minutes(1)), "{what}");
            for folder in [own, second] {
                let before = alerts(&town, 0);
                story::deliver_into(&mut town, folder, "in a folder");
                town.run_for(secs(20));
                assert_eq!(alerts(&town, 0), before + 1, "{what}: the other folders are watched");
            }
            assert_eq!(dropped(&town, 0), [(bad_id, code.to_owned())], "{what}");
            // What lies in another's folder is told to nobody but him.
            let (now, mail) = (town.world.now(), Mail { folder: theirs, ..town.mail() });
            let theirs_mailbox = town.people[1].mailbox;
            town.world.exchanges[0].deliver(now, theirs_mailbox, mail);
            town.world.collect();
            town.run_for(secs(30));
            assert_eq!(alerts(&town, 0), 3, "{what}");
            // Chosen anew without it, nothing is amiss.
            let ids = [ids[0].clone(), ids[2].clone()];
            choose_ids(&mut town, 0, &ids);
            assert!(town.run_until_live(minutes(1)), "{what}");
            assert_eq!(dropped(&town, 0), [], "{what}");
            assert!(
                town.world.exchanges[0].violations().is_empty(),
                "{:?}",
                town.world.exchanges[0].violations()
            );
        }
    }
}

#[test]
fn a_subscription_that_is_refused_once_costs_no_folder() {
    for code in
        [Code::ErrorAccessDenied, Code::ErrorInvalidIdMalformed, Code::ErrorInvalidSubscriptionRequest]
    {
        let mut town = live(config(1));
        let mailbox = town.people[0].mailbox;
        town.world.exchanges[0].refuse(mailbox, Operation::Subscribe, 1, code, false);
        story::lose(&mut town, 0, Code::ErrorSubscriptionNotFound);
        town.run_for(minutes(3));
        assert!(town.run_until_live(minutes(1)), "{code:?}: {:?}", town.world.stats(0));
        deliver_into(&mut town, 0, 0);
        town.run_for(secs(30));
        assert_eq!((alerts(&town, 0), dropped(&town, 0)), (1, Vec::new()), "{code:?}");
        clean(town);
    }
}

#[test]
fn a_mail_that_came_into_a_folder_before_it_was_on_trial_is_found_when_it_takes_part_again() {
    let timing = Timing { settle_ms: 1, ..Timing::default() };
    let exchange = ExchangeConfig { call_time: Span::from_millis(300), ..ExchangeConfig::default() };
    let mut town = live(TownConfig { timing, exchange, wait_max: minutes(5), ..config(1) });
    let mailbox = town.people[0].mailbox;
    town.run_for(minutes(1));
    let busy = Override::Unavailable { retry_after_s: Some(90) };
    town.world.exchanges[0].answer_next(1, Some(Operation::Subscribe), busy);
    story::lose(&mut town, 0, Code::ErrorSubscriptionNotFound);
    deliver_into(&mut town, 0, 0);
    town.run_for(secs(85));
    town.deliver(0, "much later, in the inbox");
    // All folders are left out for a moment, as one of them may be the reason. The inbox is looked into and told of.
    let exchange = &mut town.world.exchanges[0];
    exchange.refuse(mailbox, Operation::Subscribe, 1, Code::ErrorInvalidSubscriptionRequest, false);
    town.run_for(minutes(3));
    assert!(town.is_live(0) && dropped(&town, 0).is_empty(), "{:?}", town.world.stats(0));
    assert_eq!((story::mails_told(&town, 0), badge(&town, 0)), (2, Some(2)));
    clean(town);
}

#[test]
fn a_folder_s_code_for_all_that_is_asked_for_seconds_makes_the_pauses_no_longer_than_another_code() {
    let mut town = live(config(6));
    town.run_for(minutes(3));
    let now = town.world.now();
    town.world.exchanges[0].answer_for(now, secs(8), None, Override::Fault(Code::ErrorFolderNotFound));
    for stream in town.world.exchanges[0].stream_keys() {
        town.world.exchanges[0].cut_stream(stream, Cut { after_bytes: 0, how: Close::Orderly });
    }
    town.world.collect();
    town.run_for(secs(50));
    assert_eq!(town.world.stats(0).users_live, 6);
    clean(town);
}

#[test]
fn another_s_folder_among_the_chosen_ones_is_not_looked_into_after_a_start_either() {
    let mut town = Town::new(TownConfig { users: 2, full_access: true, ..TownConfig::default() });
    assert!(town.run_until_live(minutes(1)));
    let (mailbox, theirs) = (town.people[1].mailbox, town.own_folder(1, 0));
    let id = town.world.exchanges[0].folder_id(mailbox, theirs);
    choose_ids(&mut town, 0, &[id]);
    town.run_for(minutes(1));
    town.world.crash(0);
    let (now, mail) = (town.world.now(), Mail { folder: theirs, ..town.mail() });
    town.world.exchanges[0].deliver(now, mailbox, mail);
    town.world.collect();
    town.run_for(minutes(1));
    assert_eq!((alerts(&town, 0), town.world.stats(0).users_live), (0, 2));
    assert!(town.world.exchanges[0].violations().is_empty(), "{:?}", town.world.exchanges[0].violations());
}
