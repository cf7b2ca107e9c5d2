//! Exchange's throttling, story by story: whose budget is exhausted, who waits for how long and who does not, and that
//! nothing is lost by it.

use std::collections::BTreeSet;

use carillon_core::names::{FolderId, SmtpAddress};
use carillon_core::shard::{
    AssignUser, BadgeCount, Command, MailCredential, MailServer, MailServerId, Report, Timing,
};
use carillon_core::time::{Span, Time};
use carillon_harness::exchange::{
    BusyScope, BusyShape, Code, ExchangeConfig, FolderKey, ImpersonationRight, Limits, MailboxKey, Operation,
    Override,
};
use carillon_harness::world::World;
use carillon_harness::world::story::{
    alerts, badge, clean, deliver_into, gaps_s, live, lose, mails_told, secs, times, until_live,
};
use carillon_harness::world::town::{Town, TownConfig};

/// A town in which a mail may wait for long, and whose server keeps a record.
fn patient(users: usize, limits: Limits) -> TownConfig {
    let exchange = ExchangeConfig { limits, record_asked: true, ..ExchangeConfig::default() };
    TownConfig { users, exchange, wait_max: secs(4 * 3_600), vigilant: users < 100, ..TownConfig::default() }
}

/// The service account has full access to all mailboxes and impersonates nobody: everything is charged to itself.
fn without_impersonation(mut config: TownConfig, more: impl Fn(&mut MailServer) + 'static) -> Town {
    let users = config.users as u32;
    config.mail_server = Box::new(move |server| {
        server.impersonate = false;
        more(server);
    });
    let mut town = Town::new(config);
    let account = town.world.exchanges[0].account("EX\\carillon").expect("the service account");
    town.world.exchanges[0].change_account(account, |account| {
        account.impersonation = ImpersonationRight::None;
        account.full_access = (0..users).map(MailboxKey).collect();
    });
    town
}

fn answered(town: &Town, operation: Operation, code: Code) -> u64 {
    town.world.exchanges[0].stats().count(operation, code)
}

/// Calls that were refused because too many were in flight.
fn too_many(town: &Town) -> u64 {
    let faults = &town.world.exchanges[0].stats().faults;
    faults.get(&Code::ErrorExceededConnectionCount).copied().unwrap_or(0)
}

/// All mailboxes have to be looked into at once.
fn gap(town: &mut Town) {
    for person in 0..town.people.len() {
        let (server, mailbox) = (town.people[person].server, town.people[person].mailbox);
        town.world.exchanges[server].miss_events(mailbox);
    }
    town.world.collect();
}

/// The most calls in flight within so many seconds.
fn peak(town: &mut Town, span_s: u64) -> u64 {
    let mut peak = 0;
    for _ in 0..span_s * 20 {
        town.run_for(Span::from_millis(50));
        peak = peak.max(town.world.stats(0).calls_in_flight);
    }
    peak
}

// EWSMaxConcurrency

#[test]
fn an_account_that_may_have_few_calls_in_flight_is_found_out_and_kept_to_until_it_may_have_more() {
    let limits = Limits { concurrency_max: 3, ..Limits::default() };
    let mut config = patient(60, limits);
    config.exchange.call_time = Span::from_millis(200);
    let mut town = without_impersonation(config, |_| {});
    assert!(town.run_until_live(secs(300)), "{:?}", town.world.stats(0));
    town.run_for(secs(60));
    let before = too_many(&town);
    gap(&mut town);
    for person in 0..60 {
        town.deliver(person, "in the crowd");
    }
    town.run_for(secs(25));
    assert!(
        (0..=8).contains(&(too_many(&town) - before)),
        "no more than were under way: {}",
        too_many(&town)
    );
    let conns = town.world.exchanges[0].connection_count();
    assert!(conns <= 1 + 4, "{conns} connections: the stream's, and no more than calls");
    town.run_for(secs(300));
    assert!((0..60).all(|person| mails_told(&town, person) == 1));
    assert_eq!(town.world.exchanges[0].stats().concurrency_peak, 3);

    // A policy with more room is noticed, too.
    town.world.exchanges[0].reconfigure(|config| config.limits.concurrency_max = 27);
    for _ in 0..2 {
        town.run_for(secs(700));
        gap(&mut town);
    }
    assert_eq!(peak(&mut town, 30), 8, "as many as the configuration allows");
    clean(town);
}

#[test]
fn refused_calls_come_again_at_the_pace_of_the_table_however_few_are_allowed() {
    let mut config = patient(12, Limits::default());
    config.exchange.call_time = Span::from_millis(200);
    let mut town = without_impersonation(config, |_| {});
    assert!(town.run_until_live(secs(60)));
    town.world.exchanges[0].reconfigure(|config| config.limits.concurrency_max = 0);
    for person in 0..12 {
        town.deliver(person, "when nothing is allowed");
    }
    gap(&mut town);
    town.run_for(secs(300));
    // Each of twelve mailboxes asks twice a minute at most.
    let refused = too_many(&town);
    assert!((12..=12 * 11).contains(&refused), "{refused} refusals in five minutes");
    town.world.exchanges[0].reconfigure(|config| config.limits.concurrency_max = 27);
    assert!(town.run_until_live(secs(60)), "{:?}", town.world.stats(0));
    town.run_for(secs(30));
    assert!((0..12).all(|person| mails_told(&town, person) == 1));
    clean(town);
}

#[test]
fn under_impersonation_room_for_one_call_is_enough_and_one_full_budget_slows_nobody_else_down() {
    let limits = Limits { concurrency_max: 1, ..Limits::default() };
    let mut config = patient(60, limits);
    config.exchange.call_time = Span::from_millis(200);
    let mut town = live(config);
    town.run_for(secs(60));
    gap(&mut town);
    assert_eq!(peak(&mut town, 10), 8);
    assert_eq!(too_many(&town), 0, "each mailbox pays for itself, and is asked one thing at a time");

    // Somebody else who acts for one mailbox takes its only place.
    town.run_for(secs(700));
    town.world.exchanges[0].take_asked();
    let mailbox = town.people[7].mailbox;
    let code = Code::ErrorExceededConnectionCount;
    town.world.exchanges[0].refuse(mailbox, Operation::FindItem, 3, code, true);
    gap(&mut town);
    town.run_for(Span::from_millis(100));
    assert_eq!(
        (too_many(&town), town.world.stats(0).calls_in_flight),
        (1, 8),
        "the others are asked as before"
    );
    town.run_for(secs(120));
    assert_eq!(gaps_s(&times(&mut town, Operation::FindItem, 7)), [30, 30, 30]);
    assert_eq!(town.world.stats(0).users_live, 60);
    clean(town);
}

// The pace of new subscriptions

/// The most that were made within any second.
fn most_in_a_second(times: &[Time]) -> usize {
    let within = |from: &Time| times.iter().filter(|at| (*from..*from + secs(1)).contains(at)).count();
    times.iter().map(within).max().unwrap_or(0)
}

/// The back end forgets all subscriptions: when each is made anew, within `span`.
fn subscribed_anew(town: &mut Town, span: Span) -> Vec<Time> {
    town.world.exchanges[0].take_asked();
    let now = town.world.now();
    town.world.exchanges[0].restart_back_end(now, 0);
    town.world.collect();
    town.run_for(span);
    let asked = town.world.exchanges[0].take_asked();
    asked.iter().filter(|one| one.operation == Operation::Subscribe).map(|one| one.at).collect()
}

#[test]
fn new_subscriptions_are_asked_for_at_their_pace_and_with_half_the_calls_at_half_of_it() {
    let config = TownConfig { phones: 0, ..patient(300, Limits::default()) };
    let mut town = until_live(without_impersonation(config, |server| server.subscribes_per_s = 20));
    town.run_for(secs(700));
    // The server sees them come as they are sent.
    town.world.net.jitter = Span::ZERO;
    let times = subscribed_anew(&mut town, secs(30));
    assert_eq!(times.len(), 300);
    let (most, took) = (most_in_a_second(&times), times[299].since(times[0]));
    assert!(most <= 21 && took <= secs(17), "{most} within a second, all of them in {took:?}");

    // One call too many halves the calls, and lets them grow no more for half a minute.
    assert!(town.run_until_live(secs(60)));
    town.run_for(secs(700));
    town.world.exchanges[0].reconfigure(|config| config.limits.concurrency_max = 0);
    let mailbox = town.people[0].mailbox;
    town.world.exchanges[0].miss_events(mailbox);
    town.world.collect();
    town.run_for(secs(1));
    assert_eq!(too_many(&town), 1);
    town.world.exchanges[0].reconfigure(|config| config.limits.concurrency_max = 27);
    let times = subscribed_anew(&mut town, secs(25));
    let most = most_in_a_second(&times);
    assert!(most <= 11 && times.len() >= 200, "{most} within a second, {} in 25 s", times.len());
    assert!(town.run_until_live(secs(60)));
    clean(town);
}

// EWSMaxSubscriptions

#[test]
fn subscriptions_that_a_cohort_gives_up_leave_no_strays_that_its_budgets_have_no_room_for() {
    let mut config = patient(5, Limits { subscriptions_max: 2, ..Limits::default() });
    config.exchange.detached_ttl = secs(4 * 3_600);
    let mut town = live(config);
    // The stream's route is lost, again and again, and each time everybody is subscribed anew.
    for round in 0..5 {
        town.run_for(secs(60));
        let now = town.world.now();
        let stream = town.world.exchanges[0].stream_keys()[0];
        town.world.exchanges[0].fail_stream(now, stream, Code::ErrorProxiedSubscriptionCallFailure);
        town.world.collect();
        town.run_for(secs(1));
        assert_eq!(town.world.stats(0).users_live, 0);
        assert!(town.run_until_live(secs(600)), "round {round}: {:?}", town.world.stats(0));
        assert_eq!(town.world.exchanges[0].subscription_count(), 5, "round {round}");
    }
    // The one by whom all are routed is no mailbox any more.
    let (now, gone) = (town.world.now(), town.people[0].mailbox);
    town.world.exchanges[0].disconnect_mailbox(now, gone);
    town.world.collect();
    let live = |world: &World| world.stats(0).users_live == 4;
    assert!(town.world.run_until(secs(60), |world| world.stats(0).users_live == 0));
    assert!(town.world.run_until(secs(60), live), "{:?}", town.world.stats(0));
    assert_eq!(town.world.exchanges[0].subscription_count(), 4);
    // Events of one are missed twice in a row: another subscription takes the place of his.
    for _ in 0..2 {
        let mailbox = town.people[2].mailbox;
        town.world.exchanges[0].miss_events(mailbox);
        town.world.collect();
        town.run_for(secs(30));
    }
    assert!(town.world.run_until(secs(60), live), "{:?}", town.world.stats(0));
    assert_eq!(town.world.exchanges[0].subscription_count(), 4);
    for person in 1..5 {
        town.deliver(person, "all is well");
    }
    town.run_for(secs(30));
    assert!((1..5).all(|person| mails_told(&town, person) == 1));
    clean(town);
}

#[test]
fn a_mailbox_whose_places_are_held_by_strays_goes_live_by_itself_when_they_expire() {
    let mut config = patient(5, Limits { subscriptions_max: 2, ..Limits::default() });
    config.exchange.detached_ttl = secs(70 * 60);
    let mut town = live(config);
    town.run_for(secs(60));
    town.world.exchanges[0].take_asked();
    let account = town.world.exchanges[0].account("EX\\carillon").expect("the service account");
    let (now, mailbox) = (town.world.now(), town.people[2].mailbox);
    assert!(town.world.exchanges[0].leave_stray(now, account, mailbox));
    lose(&mut town, 2, Code::ErrorSubscriptionNotFound);
    assert!(town.world.exchanges[0].leave_stray(now, account, mailbox));
    for person in 0..5 {
        town.deliver(person, "first");
    }
    town.run_for(secs(60));
    let told = |report: &Report| match report {
        Report::Unwatched { user, trouble } => {
            *user == town.people[2].key && &*trouble.code == "ErrorExceededSubscriptionCount"
        }
        _ => false,
    };
    assert!((1..=5).contains(&town.world.reports.iter().filter(|(_, report)| told(report)).count()));
    assert_eq!(town.world.stats(0).users_live, 4);
    assert!([0, 1, 3, 4].iter().all(|person| alerts(&town, *person) == 1), "the others are told as ever");

    // Tried more and more slowly; then there is room, and what came meanwhile is told once.
    for _ in 0..3 {
        town.run_for(secs(20 * 60));
        town.deliver(2, "meanwhile");
    }
    assert_eq!(town.world.stats(0).users_live, 4);
    assert!(town.run_until_live(secs(31 * 60)), "{:?}", town.world.stats(0));
    town.run_for(secs(60));
    let asked = town.world.exchanges[0].take_asked();
    let anew: Vec<_> = asked.iter().filter(|one| one.operation == Operation::Subscribe).collect();
    assert!(anew.iter().all(|one| one.mailbox == Some(mailbox)), "nobody else is subscribed anew");
    let at: Vec<Time> = anew.iter().map(|one| one.at).collect();
    let gaps = gaps_s(&at);
    let law = |n: usize| (10 << n).min(1_800) / 2..=(10 << n).min(1_800);
    assert!(gaps.iter().enumerate().all(|(n, gap)| law(n).contains(gap)), "{gaps:?}");
    assert_eq!(mails_told(&town, 2), 4);
    assert_eq!(badge(&town, 2), Some(4));
    clean(town);
}

#[test]
fn a_mailbox_with_too_many_subscriptions_is_tried_at_once_when_an_operator_has_seen_to_it() {
    let mut town = live(patient(3, Limits { subscriptions_max: 1, ..Limits::default() }));
    let account = town.world.exchanges[0].account("EX\\carillon").expect("the service account");
    lose(&mut town, 1, Code::ErrorSubscriptionNotFound);
    let (now, mailbox) = (town.world.now(), town.people[1].mailbox);
    assert!(town.world.exchanges[0].leave_stray(now, account, mailbox));
    town.run_for(secs(1_200));
    assert_eq!(town.world.stats(0).users_live, 2);
    town.world.exchanges[0].reconfigure(|config| config.limits.subscriptions_max = 5_000);
    town.run_for(secs(20));
    assert_eq!(town.world.stats(0).users_live, 2, "nobody has said anything");
    let credential = MailCredential::Basic { user: "EX\\carillon".into(), password: "correct horse".into() };
    town.world.command(0, Command::SetMailCredential { server: MailServerId(0), credential });
    assert!(town.run_until_live(secs(10)), "{:?}", town.world.stats(0));
    clean(town);
}

// HangingConnectionLimit

#[test]
fn cohorts_beyond_an_account_s_streams_wait_at_the_pace_of_the_table_and_go_on_when_there_is_room() {
    let limits = Limits { hanging_connections_max: 3, ..Limits::default() };
    let mut town = without_impersonation(patient(10, limits), |server| server.cohort_users_max = 2);
    town.run_for(secs(60));
    assert_eq!(town.world.exchanges[0].streams().len(), 3);
    assert_eq!(town.world.stats(0).users_live, 6, "three cohorts of two");
    town.world.exchanges[0].take_asked();
    for person in 0..10 {
        town.deliver(person, "early");
    }
    // Long enough that the subscriptions of those who wait expire.
    town.run_for(secs(40 * 60));
    let asked = town.world.exchanges[0].take_asked();
    let streams = asked.iter().filter(|one| one.operation == Operation::GetStreamingEvents);
    let cohorts: BTreeSet<Vec<MailboxKey>> = streams.clone().map(|one| one.streams.clone()).collect();
    assert!(!cohorts.is_empty());
    for cohort in cohorts.iter().filter(|cohort| !cohort.is_empty()) {
        let at: Vec<Time> = streams.clone().filter(|one| one.streams == *cohort).map(|one| one.at).collect();
        let pace = gaps_s(&at);
        assert!(pace.iter().all(|gap| *gap >= 29), "{cohort:?}: {pace:?}");
    }
    assert!(streams.clone().count() < 60, "{} attempts in forty minutes", streams.count());
    let told = (0..10).filter(|person| alerts(&town, *person) == 1).count();
    assert!(told >= 6, "{told} told");

    town.world.exchanges[0].reconfigure(|config| config.limits.hanging_connections_max = 10);
    assert!(town.run_until_live(secs(400)), "{:?}", town.world.stats(0));
    assert_eq!(town.world.exchanges[0].streams().len(), 5);
    for person in 0..10 {
        town.deliver(person, "late");
    }
    town.run_for(secs(60));
    assert!((0..10).all(|person| mails_told(&town, person) == 2));
    clean(town);
}

#[test]
fn where_an_account_has_room_for_one_stream_that_makes_way_for_the_one_with_new_members() {
    let limits = Limits { hanging_connections_max: 1, ..Limits::default() };
    let mut town = until_live(without_impersonation(patient(6, limits), |_| {}));
    town.run_for(secs(60));
    // One comes back when the others' stream has long been opened again.
    let mailbox = town.people[3].mailbox;
    town.world.exchanges[0].refuse(mailbox, Operation::Subscribe, 1, Code::ErrorTimeoutExpired, false);
    lose(&mut town, 3, Code::ErrorSubscriptionNotFound);
    town.deliver(3, "to be found");
    assert!(town.run_until_live(secs(60)), "{:?}", town.world.stats(0));
    for person in 0..6 {
        town.deliver(person, "all there");
    }
    town.run_for(secs(30));
    assert!((0..6).all(|person| mails_told(&town, person) == 1 + u32::from(person == 3)));
    clean(town);
}

// Retry-After

#[test]
fn whoever_was_told_when_to_come_again_does_not_come_before_on_any_shard() {
    let wait = Some(90);
    let answers = [
        Override::Unavailable { retry_after_s: wait },
        Override::TooManyRequests { retry_after_s: wait },
        Override::InternalError { retry_after_s: wait },
        Override::Forbidden { retry_after_s: wait },
    ];
    for answer in answers {
        for only in [None, Some(Operation::GetItem), Some(Operation::GetStreamingEvents)] {
            let what = format!("{answer:?} to {only:?}");
            let mut town = live(TownConfig { shards: 2, ..patient(20, Limits::default()) });
            town.run_for(secs(60));
            let now = town.world.now();
            let exchange = &mut town.world.exchanges[0];
            exchange.answer_next(1, only, answer.clone());
            let stream = exchange.stream_keys()[0];
            exchange.close_stream(now, stream);
            town.world.collect();
            for person in 0..20 {
                town.deliver(person, "while it rests");
            }
            town.run_for(secs(5));
            town.world.exchanges[0].take_asked();
            // Also those whose stream stands hear of mail, and would like to look at it.
            for person in 0..20 {
                town.deliver(person, "while it rests on");
            }
            town.run_for(secs(80));
            assert_eq!(town.world.exchanges[0].take_asked(), [], "{what}");
            // Forbidden means half an hour for whoever hears it, whatever else is said.
            assert!(town.run_until_live(secs(31 * 60)), "{what}: {:?}", town.world.stats(0));
            town.run_for(secs(60));
            assert!((0..20).all(|person| mails_told(&town, person) == 2), "{what}");
            clean(town);
        }
    }
}

// ErrorBatchProcessingStopped

/// Of four mails that wait three have been deleted in a gap, which only a look at them can tell.
fn three_to_look_at() -> Town {
    let timing = Timing { settle_ms: 8_000, ..Timing::default() };
    let mut town = live(TownConfig { timing, ..patient(1, Limits::default()) });
    for subject in ["one", "two", "three", "four"] {
        town.deliver(0, subject);
    }
    town.run_for(Span::from_millis(300));
    let now = town.world.now();
    town.world.exchanges[0].restart_back_end(now, 0);
    town.world.collect();
    (1..4).for_each(|mail| town.delete(0, mail));
    town
}

#[test]
fn mails_behind_which_a_batch_stopped_are_asked_for_until_each_was_looked_at() {
    let mut town = three_to_look_at();
    town.world.exchanges[0].stop_batches(Operation::GetItem, 9, 1, None);
    town.run_for(secs(30));
    assert_eq!(answered(&town, Operation::GetItem, Code::ErrorBatchProcessingStopped), 3);
    assert_eq!(answered(&town, Operation::GetItem, Code::ErrorItemNotFound), 3);
    assert_eq!((mails_told(&town, 0), badge(&town, 0)), (1, Some(1)));
    clean(town);
}

#[test]
fn what_made_a_batch_stop_is_no_fault_of_the_mail_at_which_it_did() {
    let mut town = three_to_look_at();
    town.world.exchanges[0].stop_batches(Operation::GetItem, 1, 1, Some(Code::ErrorTimeoutExpired));
    town.run_for(secs(30));
    assert_eq!(answered(&town, Operation::GetItem, Code::ErrorTimeoutExpired), 1);
    assert_eq!(answered(&town, Operation::GetItem, Code::ErrorItemNotFound), 3, "asked for again");
    assert_eq!((mails_told(&town, 0), badge(&town, 0)), (1, Some(1)));
    clean(town);
}

#[test]
fn a_batch_that_never_gets_anywhere_is_given_up_and_its_mails_told() {
    let mut town = three_to_look_at();
    town.world.exchanges[0].stop_batches(Operation::GetItem, 1_000, 0, None);
    town.run_for(secs(30));
    let stopped = answered(&town, Operation::GetItem, Code::ErrorBatchProcessingStopped);
    assert!((3..=12).contains(&stopped), "{stopped} answers that tell nothing");
    assert_eq!(alerts(&town, 0), 1);
    assert!(town.world.exchanges[0].violations().is_empty());
}

#[test]
fn ids_behind_which_a_conversion_stopped_are_converted_and_their_mails_told_once() {
    let mut town = live(patient(1, Limits::default()));
    town.world.exchanges[0].faults.legacy_ids = true;
    town.deliver(0, "the first of the old form");
    town.run_for(secs(10));
    town.world.exchanges[0].stop_batches(Operation::ConvertId, 9, 1, None);
    for subject in ["one", "two", "three"] {
        town.deliver(0, subject);
    }
    town.run_for(secs(30));
    assert!(answered(&town, Operation::ConvertId, Code::ErrorBatchProcessingStopped) > 0);
    assert_eq!(mails_told(&town, 0), 4);
    // A look into the folder finds them by their present ids.
    let now = town.world.now();
    town.world.exchanges[0].restart_back_end(now, 0);
    town.world.collect();
    town.run_for(secs(60));
    assert_eq!(mails_told(&town, 0), 4);
    clean(town);
}

/// A town of one who has chosen two folders beside the inbox.
fn with_folders() -> (Town, [FolderKey; 2]) {
    let mail_server = |server: &mut MailServer| server.badge = BadgeCount::Watched;
    let mut town =
        Town::new(TownConfig { mail_server: Box::new(mail_server), ..patient(1, Limits::default()) });
    let mailbox = town.people[0].mailbox;
    let folders = ["Projects", "Other"].map(|name| town.world.exchanges[0].add_folder(mailbox, name));
    let id = |folder: FolderKey| town.world.exchanges[0].folder_id(mailbox, folder);
    let assign = AssignUser {
        folders: folders.map(|folder| FolderId::parse(&id(folder)).expect("an id")).into(),
        ..AssignUser::new(
            town.people[0].key,
            SmtpAddress::parse(town.world.exchanges[0].address(mailbox)).expect("an address"),
            Some(MailServerId(0)),
        )
    };
    town.world.command(0, Command::AssignUser(Box::new(assign)));
    (until_live(town), folders)
}

#[test]
fn folders_behind_which_a_batch_stopped_are_counted_later() {
    let (mut town, [projects, other]) = with_folders();
    town.run_for(secs(30));
    town.deliver(0, "in the inbox");
    town.world.exchanges[0].stop_batches(Operation::GetFolder, 2, 1, None);
    let now = town.world.now();
    town.world.exchanges[0].restart_back_end(now, 0);
    town.world.collect();
    deliver_into(&mut town, projects, "in Projects");
    deliver_into(&mut town, other, "in Other");
    town.run_for(secs(60));
    assert_eq!(answered(&town, Operation::GetFolder, Code::ErrorBatchProcessingStopped), 4);
    assert_eq!((mails_told(&town, 0), badge(&town, 0)), (3, Some(3)));
    assert_eq!(town.world.stats(0).users_live, 1);
    assert!(town.world.exchanges[0].violations().is_empty());
}

#[test]
fn while_it_is_looked_for_which_folder_is_gone_a_stopped_batch_is_no_answer() {
    let (mut town, [projects, other]) = with_folders();
    let (now, mailbox) = (town.world.now(), town.people[0].mailbox);
    town.world.exchanges[0].delete_folder(now, mailbox, projects);
    town.world.exchanges[0].stop_batches(Operation::GetFolder, 2, 1, None);
    town.world.exchanges[0].restart_back_end(now, 0);
    town.world.collect();
    town.run_for(secs(10));
    assert_eq!(town.world.stats(0).users_live, 0);
    assert!(town.run_until_live(secs(60)), "{:?}", town.world.stats(0));
    assert_eq!(answered(&town, Operation::GetFolder, Code::ErrorBatchProcessingStopped), 4);
    deliver_into(&mut town, other, "in Other");
    town.run_for(secs(20));
    assert_eq!(mails_told(&town, 0), 1, "the other folder is watched on");
    assert!(town.world.exchanges[0].violations().is_empty());
}

// Windows

#[test]
fn each_mail_server_has_its_own_number_of_calls_in_flight() {
    let mut config = patient(200, Limits::default());
    config.exchange.call_time = Span::from_millis(200);
    config.mail_servers = 2;
    config.timing.settle_ms = 20;
    let mut town = live(config);
    town.run_for(secs(700));
    gap(&mut town);
    assert_eq!(peak(&mut town, 30), 16, "eight for each server");
    town.run_for(secs(700));
    let now = town.world.now();
    town.world.exchanges[0].set_busy(now, BusyScope::All, secs(60), BusyShape::Fault, false);
    gap(&mut town);
    town.run_for(secs(1));
    let looks = |town: &Town, server: usize| {
        town.world.exchanges[server].stats().count(Operation::FindItem, Code::NoError)
    };
    let before = (looks(&town, 0), looks(&town, 1));
    assert_eq!(peak(&mut town, 8), 8, "the other goes on with as many as ever");
    assert_eq!(looks(&town, 0), before.0);
    assert!(looks(&town, 1) > before.1);
    let back = |world: &World| world.stats(0).calls_in_flight > 0;
    town.run_for(secs(40));
    assert_eq!(town.world.stats(0).calls_in_flight, 0, "one has done all, the other rests");
    assert!(town.world.run_until(secs(30), back));
    for person in (0..200).filter(|person| person % 2 == 1) {
        town.deliver(person, "while the other rests");
    }
    town.run_for(Span::from_millis(100));
    assert_eq!(town.world.stats(0).calls_in_flight, 4 + 8, "half as many, and as many as ever");
    assert_eq!(peak(&mut town, 20), 16, "and all of them again");
    clean(town);
}

#[test]
fn what_the_answer_to_a_farewell_says_of_the_account_holds_for_all_its_calls() {
    for shape in [BusyShape::Fault, BusyShape::Message, BusyShape::Inner] {
        let mut town = until_live(without_impersonation(patient(3, Limits::default()), |_| {}));
        let now = town.world.now();
        town.world.exchanges[0].set_busy(now, BusyScope::All, secs(60), shape, false);
        town.drop_person(1);
        town.run_for(secs(5));
        town.deliver(0, "its details wait, and it then goes without");
        town.run_for(secs(90));
        assert_eq!(alerts(&town, 0), 1, "{shape:?}");
        // That nothing was asked before the end of the pause is among what the server looks at.
        clean(town);
    }
}

#[test]
fn the_full_budget_of_somebody_who_is_gone_slows_nobody_else_down() {
    let mut town = live(patient(3, Limits::default()));
    let (now, gone) = (town.world.now(), town.people[1].mailbox);
    town.world.exchanges[0].set_busy(now, BusyScope::Mailbox(gone), secs(600), BusyShape::Message, false);
    town.drop_person(1);
    town.run_for(secs(5));
    town.deliver(0, "with details, at once");
    town.run_for(secs(10));
    let told = town.told(0, 0).into_iter().filter(|push| push.payload.has_details()).count();
    assert_eq!(told, 1);
    clean(town);
}

#[test]
fn whoever_waits_for_his_turn_when_his_budget_is_exhausted_does_not_ask_before_the_end_of_the_pause() {
    let mut config = patient(3, Limits::default());
    config.exchange.call_time = secs(5);
    config.mail_server = Box::new(|server| server.calls_max = 1);
    let mut town = Town::new(config);
    assert!(town.run_until_live(secs(120)));
    town.run_for(secs(60));
    // The look of whom the stream is charged to waits behind the others.
    let charged = town.world.exchanges[0].streams()[0].impersonated.expect("it acts for one of them");
    let mut mailboxes: Vec<_> = town.people.iter().map(|person| person.mailbox).collect();
    mailboxes.sort_by_key(|mailbox| *mailbox == charged);
    for mailbox in mailboxes {
        town.world.exchanges[0].miss_events(mailbox);
        town.world.collect();
        town.run_for(Span::from_millis(50));
    }
    let now = town.world.now();
    let exchange = &mut town.world.exchanges[0];
    exchange.set_busy(now, BusyScope::Mailbox(charged), secs(60), BusyShape::Message, false);
    let stream = exchange.stream_keys()[0];
    exchange.close_stream(now, stream);
    town.world.collect();
    town.run_for(secs(120));
    assert_eq!(answered(&town, Operation::GetStreamingEvents, Code::ErrorServerBusy), 1);
    assert_eq!(answered(&town, Operation::FindItem, Code::ErrorServerBusy), 0);
    clean(town);
}

#[test]
fn a_subscription_that_waits_to_be_given_back_waits_on_when_its_mailbox_s_budget_is_exhausted_meanwhile() {
    let mut config = patient(3, Limits::default());
    config.exchange.call_time = secs(5);
    config.mail_server = Box::new(|server| server.calls_max = 1);
    let mut town = Town::new(config);
    assert!(town.run_until_live(secs(120)));
    town.run_for(secs(60));
    // What is not needed any more is given back after all that somebody waits for.
    for person in [1, 2] {
        let mailbox = town.people[person].mailbox;
        town.world.exchanges[0].miss_events(mailbox);
        town.world.collect();
        town.run_for(Span::from_millis(50));
    }
    town.choose_folders(0, [1]);
    let (now, mailbox) = (town.world.now(), town.people[0].mailbox);
    town.world.exchanges[0].set_busy(now, BusyScope::Mailbox(mailbox), secs(60), BusyShape::Message, false);
    town.run_for(secs(50));
    assert_eq!(times(&mut town, Operation::Unsubscribe, 0), []);
    town.run_for(secs(90));
    assert_eq!(answered(&town, Operation::Unsubscribe, Code::NoError), 1);
    assert_eq!(town.world.stats(0).users_live, 3);
    clean(town);
}
