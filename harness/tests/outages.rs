//! Errors that pass: what worked a moment ago is tried again within seconds, at a growing pace. Only what keeps failing, or
//! never worked, is left alone for long.

use std::collections::BTreeSet;

use carillon_core::ews::{Action, EwsError, ResponseCode};
use carillon_core::shard::{Command, MailCredential, MailServerId, Report};
use carillon_core::time::{Span, Time};
use carillon_harness::exchange::{
    BusyScope, BusyShape, Code, Cut, ExchangeConfig, GivenUp, ImpersonationRight, MailboxKey, Operation,
    Override,
};
use carillon_harness::peer::Close;
use carillon_harness::world::story::{alerts, clean, gaps_s, live, minutes, secs, times};
use carillon_harness::world::town::{Town, TownConfig};

/// All that a front end may answer in place of Exchange.
fn answers() -> Vec<Override> {
    let mut answers: Vec<Override> =
        [400, 403, 404, 405, 407, 410, 411, 413, 415, 429, 440, 456, 502, 503].map(Override::Status).to_vec();
    answers.push(Override::Unauthorized);
    answers.push(Override::InternalError { retry_after_s: None });
    answers.extend([Override::LogonRedirect, Override::Html, Override::MalformedXml]);
    answers
}

fn config(users: usize, shards: usize) -> TownConfig {
    let exchange = ExchangeConfig { record_asked: true, ..ExchangeConfig::default() };
    TownConfig { users, shards, exchange, wait_max: minutes(120), ..TownConfig::default() }
}

/// A live town that has been told of one mail each.
fn at_work(users: usize, shards: usize) -> Town {
    let mut town = live(config(users, shards));
    town.run_for(secs(60));
    for person in 0..users {
        town.deliver(person, "before");
    }
    town.run_for(secs(20));
    town
}

fn cut_streams(town: &mut Town) {
    for key in town.world.exchanges[0].stream_keys() {
        town.world.exchanges[0].cut_stream(key, Cut { after_bytes: 0, how: Close::Orderly });
    }
    town.world.collect();
}

/// How long until one of the people got an alert more.
fn told_after(town: &mut Town, person: usize, longest: Span) -> Option<Span> {
    let (from, before) = (town.world.now().time, alerts(town, person));
    while alerts(town, person) == before {
        if town.world.now().time.since(from) > longest {
            return None;
        }
        town.run_for(Span::from_millis(200));
    }
    Some(town.world.now().time.since(from))
}

fn has_details(town: &Town, person: usize) -> bool {
    town.told(person, 0).last().is_some_and(|push| push.payload.has_details())
}

fn troubles(town: &Town) -> Vec<String> {
    let told = |report: &Report| match report {
        Report::MailServerTrouble { trouble, .. } => Some(format!("trouble {}", trouble.code)),
        Report::MailCredentialRefused { trouble, .. } => Some(format!("refused {}", trouble.code)),
        Report::MailServerWell { .. } => Some("well".to_owned()),
        _ => None,
    };
    town.world.reports.iter().filter_map(|(_, report)| told(report)).collect()
}

#[test]
fn one_odd_answer_to_a_call_costs_one_mail_its_details_at_most() {
    for answer in answers() {
        for shards in [1, 2] {
            let mut town = at_work(4, shards);
            town.world.exchanges[0].answer_next(1, Some(Operation::GetItem), answer.clone());
            town.deliver(0, "met by it");
            let told = told_after(&mut town, 0, secs(10));
            assert!(told.is_some(), "{answer:?}: told, with or without details");
            town.run_for(secs(10));
            for person in 0..4 {
                town.deliver(person, "a moment later");
                assert!(told_after(&mut town, person, secs(10)).is_some(), "{answer:?}: person {person}");
                assert!(
                    has_details(&town, person),
                    "{answer:?}, {shards} shards: details for person {person}"
                );
            }
            clean(town);
        }
    }
}

#[test]
fn one_odd_answer_to_a_stream_leaves_nobody_unwatched_for_long() {
    for answer in answers() {
        let mut town = at_work(4, 2);
        town.world.exchanges[0].answer_next(1, Some(Operation::GetStreamingEvents), answer.clone());
        cut_streams(&mut town);
        for person in 0..4 {
            town.deliver(person, "in the gap");
        }
        town.run_for(secs(20));
        for person in 0..4 {
            assert_eq!(alerts(&town, person), 2, "{answer:?}: person {person}");
        }
        assert!(town.run_until_live(secs(10)), "{answer:?}");
        clean(town);
    }
}

/// For six seconds every request is answered so, and all streams are cut.
fn six_seconds_of(answer: &Override, shards: usize, patience: Span) {
    let mut town = at_work(6, shards);
    let now = town.world.now();
    town.world.exchanges[0].answer_for(now, secs(6), None, answer.clone());
    cut_streams(&mut town);
    town.run_for(secs(6));
    for person in 0..6 {
        town.deliver(person, "as it ends");
    }
    let told = |town: &Town| (0..6).filter(|person| alerts(town, *person) >= 2).count();
    let from = town.world.now().time;
    while told(&town) < 6 && town.world.now().time.since(from) < patience {
        town.run_for(secs(1));
    }
    assert_eq!(
        told(&town),
        6,
        "{answer:?}, {shards} shards: {:?} {:?}",
        town.world.stats(0),
        troubles(&town)
    );
    assert!(town.run_until_live(patience), "{answer:?}: {:?}", town.world.stats(0));
    town.run_for(secs(30));
    town.deliver(5, "long after");
    town.run_for(secs(10));
    assert!(has_details(&town, 5), "{answer:?}");
    let troubles = troubles(&town);
    assert!(troubles.last().is_none_or(|last| last == "well"), "{answer:?}: {troubles:?}");
    clean(town);
}

#[test]
fn after_some_seconds_of_odd_answers_with_streams_cut_all_are_told_within_a_minute() {
    for answer in answers() {
        for shards in [1, 3] {
            six_seconds_of(&answer, shards, secs(60));
        }
    }
}

#[test]
fn after_some_seconds_of_any_code_of_the_table_with_streams_cut_all_are_told_within_a_minute() {
    for code in ResponseCode::NAMED {
        let action = EwsError::new(code.clone(), "", None).action();
        // Another owner is obeyed, and what is said of a mail is no trouble of the server.
        if action == Action::StepAside {
            continue;
        }
        let code = Code::parse(code.name()).expect("the server gives every code of the table");
        six_seconds_of(
            &Override::Fault(code),
            2,
            secs(if matches!(action, Action::BackOffAccount { .. }) { 75 } else { 60 }),
        );
    }
}

#[test]
fn a_password_that_is_wrong_for_some_time_is_tried_at_its_pace_and_never_ten_times() {
    for users in [4, 60] {
        let mut town = at_work(users, 2);
        let now = town.world.now();
        town.world.exchanges[0].answer_for(now, minutes(25), None, Override::Unauthorized);
        cut_streams(&mut town);
        for person in 0..users {
            town.deliver(person, "while it is refused");
        }
        town.run_for(minutes(20));
        let told = troubles(&town);
        assert_eq!(told, ["trouble ews_auth", "refused ews_auth"], "{users} users");
        assert!(town.run_until_live(minutes(20)));
        town.run_for(secs(60));
        // Whoever has tried it ten times would have been noted by the server.
        clean(town);
    }
}

// One mailbox's trouble is that mailbox's

/// Mails to the others, one a minute for an hour: those that were told late, and those told without details.
fn mails_to(town: &mut Town, people: std::ops::Range<usize>, mut each: impl FnMut(&mut Town)) -> (u32, u32) {
    let (mut late, mut plain) = (0, 0);
    for person in people.cycle().take(60) {
        each(town);
        town.deliver(person, "hello");
        let told = told_after(town, person, minutes(10));
        late += u32::from(told.is_none_or(|span| span > secs(15)));
        plain += u32::from(!has_details(town, person));
        town.run_for(Span(secs(60).0.saturating_sub(told.unwrap_or(secs(60)).0)));
    }
    (late, plain)
}

#[test]
fn mailboxes_that_the_account_has_no_right_to_cost_the_others_nothing() {
    for denied in [10, 40] {
        let mut town = Town::new(TownConfig { vigilant: false, ..config(100, 1) });
        let account = town.world.exchanges[0].account("EX\\carillon").expect("the town's account");
        let good: BTreeSet<MailboxKey> =
            (0..100 - denied).map(|person| town.people[person].mailbox).collect();
        town.world.exchanges[0]
            .change_account(account, |account| account.impersonation = ImpersonationRight::Some(good));
        town.run_for(minutes(3));
        assert_eq!(town.world.stats(0).users_live, 100 - denied as u64);
        assert_eq!(mails_to(&mut town, 0..100 - denied, |_| {}), (0, 0), "{denied} denied");
        assert_eq!(troubles(&town), [] as [&str; 0], "{denied} denied: no word about the server");
    }
}

#[test]
fn mailboxes_that_leave_the_account_s_rights_in_mid_day_cost_the_others_nothing() {
    let mut town = at_work(100, 1);
    let account = town.world.exchanges[0].account("EX\\carillon").expect("the town's account");
    let good: BTreeSet<MailboxKey> = (0..80).map(|person| town.people[person].mailbox).collect();
    town.world.exchanges[0]
        .change_account(account, |account| account.impersonation = ImpersonationRight::Some(good));
    for person in 80..100 {
        town.deliver(person, "nobody may look at it");
    }
    assert_eq!(mails_to(&mut town, 0..80, |_| {}), (0, 0));
}

#[test]
fn an_account_that_loses_its_rights_altogether_is_noticed_and_probed_with_one_call() {
    let mut town = at_work(100, 1);
    let account = town.world.exchanges[0].account("EX\\carillon").expect("the town's account");
    town.world.exchanges[0]
        .change_account(account, |account| account.impersonation = ImpersonationRight::None);
    for person in 0..100 {
        town.deliver(person, "nobody may look at it");
    }
    let before = denials(&town);
    town.run_for(minutes(10));
    let asked = denials(&town) - before;
    assert!((6..=40).contains(&asked), "{asked} calls refused in ten minutes");
    assert_eq!(troubles(&town), ["trouble ErrorImpersonateUserDenied"]);
    town.world.exchanges[0]
        .change_account(account, |account| account.impersonation = ImpersonationRight::All);
    assert!(town.run_until_live(minutes(6)), "{:?} {:?}", town.world.stats(0), troubles(&town));
    town.run_for(minutes(6));
    assert_eq!(troubles(&town).last().map(String::as_str), Some("well"));
    clean(town);
}

fn denials(town: &Town) -> u64 {
    town.world.exchanges[0].stats().faults.get(&Code::ErrorImpersonateUserDenied).copied().unwrap_or(0)
}

#[test]
fn three_mailboxes_that_their_owners_keep_busy_slow_nobody_else_down() {
    for pause in [5, 60] {
        let mut town = live(TownConfig { vigilant: false, ..config(60, 2) });
        town.run_for(secs(60));
        let three: Vec<usize> = (0..60).filter(|person| town.people[*person].shard == 0).take(3).collect();
        let others = three[2] + 1..60;
        let mut minute = 0;
        let (late, plain) = mails_to(&mut town, others, |town| {
            let now = town.world.now();
            for person in &three {
                if minute % 5 == 0 {
                    let scope = BusyScope::Mailbox(town.people[*person].mailbox);
                    town.world.exchanges[0].set_busy(now, scope, minutes(pause), BusyShape::Message, false);
                }
                town.deliver(*person, "to myself");
            }
            minute += 1;
        });
        assert_eq!((late, plain), (0, 0), "{pause} minutes");
        assert!(
            town.world.exchanges[0].violations().is_empty(),
            "{:?}",
            town.world.exchanges[0].violations()
        );
    }
}

#[test]
fn one_mailbox_that_is_always_answered_with_a_page_is_no_trouble_of_the_server() {
    let mut town = at_work(10, 1);
    let victim = town.people[9].mailbox;
    let mut last = Time(0);
    let (late, plain) = mails_to(&mut town, 0..9, |town| {
        // Only this one asks for it just now.
        let now = town.world.now();
        if now.time.since(last) > minutes(3) {
            town.world.exchanges[0].miss_events(victim);
            town.world.exchanges[0].answer_next(1, Some(Operation::FindItem), Override::Status(503));
            town.world.collect();
            last = now.time;
        }
        town.run_for(secs(1));
    });
    assert_eq!((late, plain), (0, 0));
    assert_eq!(troubles(&town), [] as [&str; 0]);
    clean(town);
}

// Connections that were given up

#[test]
fn a_call_over_a_connection_that_was_given_up_while_idle_goes_over_a_new_one_at_once_and_nobody_is_alarmed() {
    for how in [GivenUp::Ends, GivenUp::Resets, GivenUp::Says408] {
        let mut wanted = config(8, 1);
        wanted.exchange.call_time = Span::from_millis(300);
        let mut town = live(wanted);
        town.run_for(secs(60));
        for person in 0..8 {
            town.deliver(person, "opens many connections");
        }
        town.run_for(secs(20));
        let idle = town.world.exchanges[0].give_up_idle(how);
        assert!(idle >= 3, "{idle} idle connections");
        town.deliver(0, "met by one of them");
        let told = told_after(&mut town, 0, secs(10)).expect("told");
        assert!(told < secs(4) && has_details(&town, 0), "{how:?}: after {told:?}");
        assert_eq!(town.world.exchanges[0].stats().given_up, 1, "{how:?}: the second try is on a new one");
        assert_eq!(troubles(&town), [] as [&str; 0], "{how:?}");
        clean(town);
    }
}

// What a success sets back: one fewer than it takes, a success, one fewer again

#[test]
fn streams_that_last_are_opened_again_at_once_however_many_broke_before() {
    let mut town = at_work(3, 1);
    for round in 0..6 {
        town.run_for(secs(60));
        town.world.exchanges[0].take_asked();
        let from = town.world.now().time;
        cut_streams(&mut town);
        town.run_for(secs(5));
        let asked = town.world.exchanges[0].take_asked();
        let opened = asked.iter().find(|one| one.operation == Operation::GetStreamingEvents);
        let took = opened.unwrap_or_else(|| panic!("round {round}: not opened")).at.since(from);
        assert!(took < Span::from_millis(2_300), "round {round}: after {took:?}");
    }
    clean(town);
}

#[test]
fn streams_refused_without_a_reason_are_counted_anew_after_one_that_lasted() {
    let mut town = at_work(3, 1);
    let anchor = town.people[0].mailbox;
    for _ in 0..3 {
        let exchange = &mut town.world.exchanges[0];
        exchange.refuse(anchor, Operation::GetStreamingEvents, 2, Code::ErrorInternalServerError, false);
        cut_streams(&mut town);
        town.run_for(secs(120));
    }
    let asked = town.world.exchanges[0].take_asked();
    let anew = asked.iter().filter(|one| one.operation == Operation::Subscribe).count();
    assert_eq!(anew, 3, "as the town went live: no subscription is suspected");
    clean(town);
}

/// When the engine asked for connections within so long.
fn connects(town: &mut Town, span: Span) -> Vec<Time> {
    let (end, mut times) = (town.world.now().time + span, Vec::new());
    while town.world.now().time < end {
        let before = town.world.stats(0).connects;
        town.run_for(Span::from_millis(50));
        if town.world.stats(0).connects > before {
            times.push(town.world.now().time);
        }
    }
    times
}

#[test]
fn a_server_that_was_reached_in_between_is_tried_again_within_a_second() {
    let mut town = at_work(2, 1);
    for round in 0..3 {
        // The idle connections have ended.
        town.run_for(secs(150));
        town.world.net.refused = 1_000_000;
        town.deliver(0, "nobody answers");
        let times = connects(&mut town, secs(12));
        town.world.net.refused = 0;
        let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1].since(pair[0]).as_millis()).collect();
        assert!(gaps[0] <= 1_100, "round {round}: {gaps:?}");
        town.run_for(secs(60));
        town.deliver(0, "it is reached");
        town.run_for(secs(60));
    }
    assert!(town.run_until_live(secs(60)));
    clean(town);
}

/// Several mailboxes are refused, each once, at the same moment.
fn refuse_some(town: &mut Town, people: std::ops::Range<usize>, code: Option<Code>) {
    for person in people {
        let mailbox = town.people[person].mailbox;
        let exchange = &mut town.world.exchanges[0];
        match code {
            Some(Code::ErrorServerBusy) => {
                exchange.refuse_for(mailbox, Operation::FindItem, Code::ErrorServerBusy, false, secs(30));
            }
            Some(code) => exchange.refuse(mailbox, Operation::FindItem, 1, code, true),
            None => exchange.answer_next(1, Some(Operation::FindItem), Override::Status(503)),
        }
        exchange.miss_events(mailbox);
        town.world.collect();
        town.run_for(Span::from_millis(20));
    }
}

#[test]
fn refusals_of_several_mailboxes_are_counted_anew_after_a_success_and_else_one_that_works_is_asked() {
    for (code, most) in [(Some(Code::ErrorServerBusy), 3), (Some(Code::ErrorAccessDenied), 5), (None, 5)] {
        let mut town = at_work(16, 1);
        let witnesses = |town: &mut Town| {
            let asked = town.world.exchanges[0].take_asked();
            let counted = asked.iter().filter(|one| one.operation == Operation::GetFolder);
            counted.filter_map(|one| one.mailbox).filter(|mailbox| mailbox.0 != 15).collect::<Vec<_>>()
        };
        witnesses(&mut town);
        refuse_some(&mut town, 0..most - 1, code);
        let works = town.people[15].mailbox;
        town.world.exchanges[0].miss_events(works);
        town.world.collect();
        town.run_for(Span::from_millis(50));
        refuse_some(&mut town, 5..5 + most - 1, code);
        assert_eq!(witnesses(&mut town), [], "{code:?}: a success in between");
        refuse_some(&mut town, 10..11, code);
        assert_eq!(witnesses(&mut town).len(), 1, "{code:?}: somebody else is asked");
        town.run_for(secs(1));
        town.deliver(14, "for one of the others");
        assert!(told_after(&mut town, 14, secs(5)).is_some() && has_details(&town, 14), "{code:?}");
        assert_eq!(troubles(&town), [] as [&str; 0], "{code:?}");
        town.run_for(secs(120));
        clean(town);
    }
}

#[test]
fn refused_calls_of_a_mailbox_are_counted_anew_after_one_that_succeeded() {
    let mut town = at_work(2, 1);
    let mailbox = town.people[1].mailbox;
    for code in [Code::ErrorTimeoutExpired, Code::ErrorAccessDenied, Code::ErrorAccountDisabled] {
        for round in 0..3 {
            town.run_for(secs(60));
            town.world.exchanges[0].take_asked();
            town.world.exchanges[0].refuse(mailbox, Operation::FindItem, 3, code, false);
            town.world.exchanges[0].miss_events(mailbox);
            town.world.collect();
            town.run_for(secs(60));
            let gaps = gaps_s(&times(&mut town, Operation::FindItem, 1));
            let law = [2..=5, 5..=10, 10..=20];
            assert!(
                gaps.len() == 3 && gaps.iter().zip(&law).all(|(gap, law)| law.contains(gap)),
                "{code:?}, round {round}: {gaps:?}"
            );
        }
    }
    clean(town);
}

#[test]
fn a_server_that_turned_everybody_away_and_worked_again_is_tried_again_within_seconds() {
    let mut town = at_work(3, 1);
    for round in 0..3 {
        let offers = |town: &mut Town, ours: bool| {
            town.world.exchanges[0].reconfigure(|config| {
                (config.basic, config.bearer, config.windows_auth) = (ours, ours, true);
            });
        };
        offers(&mut town, false);
        town.deliver(0, "nobody can look at it");
        town.run_for(secs(40));
        offers(&mut town, true);
        town.run_for(secs(60));
        offers(&mut town, false);
        town.deliver(0, "nor at this");
        town.run_for(secs(4));
        offers(&mut town, true);
        town.run_for(secs(12));
        town.deliver(0, "but at this");
        assert!(told_after(&mut town, 0, secs(10)).is_some() && has_details(&town, 0), "round {round}");
        town.run_for(secs(60));
    }
    clean(town);
}

#[test]
fn a_credential_that_works_in_between_never_counts_as_refused() {
    let mut town = at_work(4, 2);
    for _ in 0..5 {
        let now = town.world.now();
        town.world.exchanges[0].answer_for(now, secs(25), None, Override::Status(440));
        for person in 0..4 {
            town.deliver(person, "while it is refused");
        }
        town.run_for(secs(120));
    }
    let told = troubles(&town);
    assert!(told.iter().all(|word| word == "trouble ews_auth" || word == "well"), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("well"));
    clean(town);
}

// Another credential

#[test]
fn a_new_credential_wakes_no_mailbox_whose_budget_is_exhausted() {
    let mut town = at_work(3, 1);
    let (now, mailbox) = (town.world.now(), town.people[1].mailbox);
    let exchange = &mut town.world.exchanges[0];
    exchange.set_busy(now, BusyScope::Mailbox(mailbox), minutes(5), BusyShape::Message, false);
    exchange.miss_events(mailbox);
    town.world.collect();
    town.run_for(secs(5));
    let before = town.world.stats(0).connects;
    let credential = MailCredential::Basic { user: "EX\\carillon".into(), password: "correct horse".into() };
    town.world.command(0, Command::SetMailCredential { server: MailServerId(0), credential });
    town.world.exchanges[0].take_asked();
    town.run_for(secs(240));
    let asked = town.world.exchanges[0].take_asked();
    assert!(asked.iter().all(|one| one.mailbox != Some(mailbox)), "{asked:?}");
    let connects = town.world.stats(0).connects - before;
    assert!(connects <= 3, "{connects} connections");
    town.run_for(minutes(2));
    assert!(town.run_until_live(secs(30)));
    clean(town);
}

#[test]
fn what_happened_before_a_mailbox_worked_for_minutes_makes_no_pause_longer() {
    let mut town = at_work(1, 1);
    let mailbox = town.people[0].mailbox;
    let refused = |town: &mut Town| {
        let code = Code::ErrorNonExistentMailbox;
        town.world.exchanges[0].refuse(mailbox, Operation::GetStreamingEvents, 1, code, true);
        cut_streams(town);
        let begin = town.world.now().time;
        town.run_for(secs(3));
        assert!(town.run_until_live(minutes(5)));
        town.world.now().time.since(begin)
    };
    let in_a_row: Vec<Span> = (0..4).map(|_| refused(&mut town)).collect();
    assert!(in_a_row[3] >= secs(40), "{in_a_row:?}");
    town.run_for(minutes(3));
    let later = refused(&mut town);
    assert!(later <= secs(13), "{in_a_row:?}, then {later:?}");
    clean(town);
}

// What the owner is told

/// The last that was reported of a person's mailbox: live, or why it is not watched.
fn state(town: &Town, person: usize) -> Option<String> {
    let key = town.people[person].key;
    town.world.reports.iter().rev().find_map(|(_, report)| match report {
        Report::Live { user } if *user == key => Some("live".to_owned()),
        Report::Unwatched { user, trouble } if *user == key => Some(trouble.code.to_string()),
        _ => None,
    })
}

#[test]
fn a_mailbox_whose_stream_ended_as_agreed_and_cannot_be_opened_again_does_not_count_as_live() {
    for answer in [Override::Unauthorized, Override::Status(404), Override::Fault(Code::ErrorAccessDenied)] {
        let mut town = at_work(3, 1);
        let now = town.world.now();
        town.world.exchanges[0].answer_for(now, secs(45), None, answer.clone());
        for key in town.world.exchanges[0].stream_keys() {
            town.world.exchanges[0].close_stream(now, key);
        }
        town.world.collect();
        town.run_for(secs(15));
        for person in 0..3 {
            let state = state(&town, person);
            assert!(state.as_deref().is_some_and(|state| state != "live"), "{answer:?}, {person}: {state:?}");
        }
        assert!(town.run_until_live(minutes(8)), "{answer:?}");
        assert!((0..3).all(|person| state(&town, person).as_deref() == Some("live")), "{answer:?}");
        clean(town);
    }
}

#[test]
fn a_mailbox_whose_stream_is_opened_again_at_once_is_live_all_the_time() {
    let mut town = at_work(3, 1);
    let reports = town.world.reports.len();
    for _ in 0..3 {
        let now = town.world.now();
        for key in town.world.exchanges[0].stream_keys() {
            town.world.exchanges[0].close_stream(now, key);
        }
        town.world.collect();
        town.run_for(secs(60));
    }
    let unwatched = |report: &(Time, Report)| {
        matches!(report, (_, Report::Unwatched { .. } | Report::MailServerTrouble { .. }))
    };
    assert!(!town.world.reports[reports..].iter().any(unwatched));
    clean(town);
}

#[test]
fn a_server_at_which_streams_alone_fail_again_and_again_is_told_as_in_trouble_until_they_stand() {
    let mut town = at_work(3, 1);
    let now = town.world.now();
    let answer = Override::Status(503);
    town.world.exchanges[0].answer_for(now, minutes(3), Some(Operation::GetStreamingEvents), answer);
    cut_streams(&mut town);
    town.run_for(minutes(2));
    assert_eq!(troubles(&town), ["trouble ews_http_status"], "whatever ordinary calls say");
    assert!(town.run_until_live(minutes(6)));
    assert_eq!(troubles(&town), ["trouble ews_http_status", "well"]);
    clean(town);
}

#[test]
fn a_mailbox_whose_events_are_told_is_live_though_a_look_at_one_mail_is_refused() {
    let mut town = at_work(3, 1);
    let mailbox = town.people[1].mailbox;
    town.world.exchanges[0].refuse(mailbox, Operation::GetItem, 2, Code::ErrorAccessDenied, true);
    town.deliver(1, "told, though without details");
    town.run_for(secs(20));
    assert_eq!((alerts(&town, 1), state(&town, 1).as_deref()), (2, Some("live")));
    clean(town);
}
