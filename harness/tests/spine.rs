//! A mail in Exchange rings a phone: the engine's core between the strict peers, in virtual time.

use carillon_core::ledger::Suppressed;
use carillon_core::notice::carries_details;
use carillon_core::shard::{Command, MailCredential, MailServerId, Report, Timing};
use carillon_core::time::{Span, Time, UnixMillis};
use carillon_harness::apns::{AlertKind, Knobs, Latency, Rate, Share, TokenRules};
use carillon_harness::exchange::{
    BusyScope, BusyShape, Exchange, ExchangeConfig, INBOX, ImpersonationRight, Importance, Mail, Operation,
    Override, Silence,
};
use carillon_harness::world::story::{alerts, badge, clean, live, secs};
use carillon_harness::world::town::{Town, TownConfig, at};

#[test]
fn a_mail_rings_a_phone_with_its_sender_and_subject() {
    let mut town = live(TownConfig::default());
    town.deliver(1, "Lunch?");
    town.run_for(secs(10));
    let told = town.told(1, 0);
    let expected = AlertKind::Details {
        title: "Jane Doe".into(),
        subtitle: "Lunch?".into(),
        body: "body of Lunch?".into(),
    };
    let last = told.last().expect("a push");
    assert_eq!((&last.payload.alert, last.payload.badge), (&expected, Some(1)));
    clean(town);
}

#[test]
fn a_burst_becomes_one_notice_with_its_number() {
    let mut town = live(TownConfig::default());
    for n in 0..7 {
        town.deliver(0, &format!("mail {n}"));
        town.run_for(Span::from_millis(100));
    }
    town.run_for(secs(20));
    let alerts: Vec<_> = town.told(0, 0).into_iter().filter(|push| push.payload.is_alert()).collect();
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0].payload.n, alerts[0].payload.badge), (7, Some(7)));
    assert!(matches!(alerts[0].payload.alert, AlertKind::Several));
    clean(town);
}

#[test]
fn the_first_mail_sets_the_deadline_however_many_follow() {
    let timing = Timing { settle_ms: 2_000, ..Timing::default() };
    let mut town = live(TownConfig { timing, ..TownConfig::default() });
    let first = town.world.now().time;
    for n in 0..50 {
        town.deliver(0, &format!("mail {n}"));
        town.run_for(Span::from_millis(100));
    }
    let told =
        town.told(0, 0).into_iter().find(|push| push.payload.is_alert()).expect("told while mail goes on");
    assert!(told.at.time.since(first) < Span::from_millis(2_200), "{:?}", told.at.time.since(first));
    town.run_for(secs(30));
    clean(town);
}

#[test]
fn a_second_mail_waits_for_the_interval_and_vip_mail_does_not() {
    let timing = Timing { settle_ms: 500, vip_settle_ms: 100, min_interval_ms: 10_000, ..Timing::default() };
    let mut town = live(TownConfig { timing, ..TownConfig::default() });
    town.deliver(0, "first");
    town.run_for(secs(1));
    let told = |town: &Town| -> Vec<(String, Time)> {
        let alerts = town.told(0, 0).into_iter().filter(|push| push.payload.is_alert());
        let subject = |alert: &AlertKind| match alert {
            AlertKind::Details { subtitle, .. } => subtitle.to_string(),
            other => format!("{other:?}"),
        };
        alerts.map(|push| (subject(&push.payload.alert), push.at.time)).collect()
    };
    assert_eq!(told(&town).len(), 1);
    town.deliver(0, "second");
    town.run_for(secs(12));
    let [(_, first), (subject, second)] = &told(&town)[..] else { panic!("{:?}", told(&town)) };
    assert_eq!(subject, "second");
    let waited = second.since(*first);
    assert!((Span::from_millis(9_990)..secs(11)).contains(&waited), "{waited:?}");
    let rules = carillon_core::shard::VipRules { high_importance: true, senders: Box::default() };
    town.set_vip(0, rules);
    town.run_for(secs(1));
    let mut mail = town.mail();
    mail.subject = "Fire".into();
    mail.importance = Importance::High;
    let from = town.world.now().time;
    town.deliver_mail(0, mail);
    town.run_for(secs(2));
    let [_, _, (subject, vip)] = &told(&town)[..] else { panic!("{:?}", told(&town)) };
    assert_eq!(subject, "Fire");
    assert!(*vip > from && vip.since(from) < Span::from_millis(200), "{:?}", vip.since(from));
    town.run_for(secs(20));
    clean(town);
}

#[test]
fn an_idle_app_gets_no_details_until_it_is_used() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    town.run_for(secs(43_200 - 60));
    town.deliver(0, "still within");
    town.run_for(secs(20));
    assert!(town.told(0, 0).last().expect("told").payload.has_details());
    town.run_for(secs(60));
    town.deliver(0, "secret plans");
    town.run_for(secs(20));
    let last = town.told(0, 0).last().expect("told").payload.clone();
    assert!(last.is_alert() && !last.has_details(), "{last:?}");
    assert_eq!(last.badge, Some(2));
    assert_eq!((town.world.stats(0).downgraded, town.world.stats(0).second_look), (1, 0));
    town.use_app(0, 0);
    town.deliver(0, "for your eyes");
    town.run_for(secs(20));
    assert!(town.told(0, 0).last().expect("told").payload.has_details());
    clean(town);
}

#[test]
fn a_notice_that_waited_past_the_cutoff_loses_its_details_on_the_way_out() {
    // Worded with details just before the cut-off, sent again after it: the finished bytes are looked at once more.
    let timing = Timing { detail_cutoff_s: 60, ..Timing::default() };
    let knobs = Knobs { latency: Latency::Fixed(Span::from_millis(40)), ..Knobs::default() };
    let mut town = live(TownConfig { users: 1, timing, knobs, wait_max: secs(120), ..TownConfig::default() });
    town.use_app(0, 0);
    town.run_for(secs(55));
    town.turn_apns(|knobs| knobs.requests_lost = Share(1_000_000));
    town.deliver(0, "secret plans");
    town.run_for(secs(6));
    assert_eq!(town.world.stats(0).pushes_in_flight, 1, "worded and sent, never answered");
    town.turn_apns(|knobs| knobs.requests_lost = Share(0));
    town.run_for(secs(60));
    let last = town.told(0, 0).last().expect("told at last").payload.clone();
    assert!(last.is_alert() && !last.has_details(), "{last:?}");
    assert_eq!(town.world.stats(0).second_look, 1);
    clean(town);
}

#[test]
fn the_badge_follows_reading_and_deleting_elsewhere() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    for n in 0..3 {
        town.deliver(0, &format!("mail {n}"));
    }
    town.run_for(secs(30));
    town.read(0, 0);
    town.run_for(secs(30));
    town.delete(0, 1);
    town.run_for(secs(30));
    let badges: Vec<_> = town.told(0, 0).iter().filter_map(|push| push.payload.badge).collect();
    assert_eq!(badges.last(), Some(&1), "{badges:?}");
    clean(town);
}

#[test]
fn a_mail_read_before_its_push_is_not_told() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    let before = town.told(0, 0).len();
    town.deliver(0, "read at once");
    town.run_for(Span::from_millis(500));
    town.read(0, 0);
    town.run_for(secs(30));
    let alerts = town.told(0, 0)[before..].iter().filter(|push| push.payload.is_alert()).count();
    assert_eq!(alerts, 0);
    assert_eq!(town.world.ledger().superseded, 1);
    clean(town);
}

#[test]
fn what_its_owner_puts_into_a_folder_himself_is_no_news_and_counts_for_the_badge() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    town.deliver(0, "from somebody");
    town.run_for(secs(20));
    assert_eq!((alerts(&town, 0), badge(&town, 0)), (1, Some(1)));
    // A draft; a mail that he takes over from another account; a copy that he makes.
    for (read, unread) in [(true, 1), (false, 2)] {
        let mail = Mail { subject: "from himself".into(), ..town.mail() };
        town.put_mail(0, mail, read);
        town.run_for(secs(20));
        assert_eq!((alerts(&town, 0), badge(&town, 0)), (1, Some(unread)), "read: {read}");
    }
    town.copy_mail(0, 0, INBOX);
    town.run_for(secs(20));
    assert_eq!((alerts(&town, 0), badge(&town, 0)), (1, Some(3)));
    clean(town);
}

#[test]
fn a_stopped_user_hears_nothing_until_he_registers_again() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    town.deliver(0, "under way");
    town.stop(0);
    town.run_for(secs(30));
    town.deliver(0, "while stopped");
    town.run_for(secs(30));
    assert!(town.told(0, 0).iter().all(|push| !push.payload.is_alert()));
    town.register_again(0, 0);
    town.run_for(secs(5));
    town.deliver(0, "back again");
    town.run_for(secs(30));
    let alerts = town.told(0, 0).into_iter().filter(|push| push.payload.is_alert()).count();
    assert_eq!(alerts, 1);
    clean(town);
}

#[test]
fn a_lost_phone_stays_stopped_when_another_of_its_user_registers() {
    let mut town = live(TownConfig { users: 1, phones: 2, ..TownConfig::default() });
    town.stop(0);
    town.run_for(secs(10));
    town.register_again(0, 1);
    town.run_for(secs(5));
    let alerts = |town: &Town| {
        [0, 1].map(|phone| town.told(0, phone).into_iter().filter(|push| push.payload.is_alert()).count())
    };
    town.deliver(0, "for the new phone");
    town.run_for(secs(30));
    assert_eq!((alerts(&town), town.world.stats(0).users_stopped), ([0, 1], 0));
    assert_eq!(town.told(0, 0).iter().filter(|push| push.at.time > at(15)).count(), 0, "no badge either");
    // Nor after a restart, nor when the owner says again what is stored.
    town.world.crash(0);
    town.run_for(secs(30));
    town.assign_again(0, true, |_| {});
    town.deliver(0, "after a restart");
    town.run_for(secs(30));
    assert_eq!(alerts(&town), [0, 2]);
    town.remove_phone(0, 1);
    town.run_for(secs(1));
    assert_eq!(town.world.stats(0).users_stopped, 1, "all that are left");
    town.register_again(0, 0);
    town.run_for(secs(5));
    town.deliver(0, "found again");
    town.run_for(secs(30));
    assert_eq!((alerts(&town), town.world.stats(0).users_stopped), ([1, 2], 0));
    clean(town);
}

#[test]
fn a_stop_ends_what_waits_for_the_phones_that_are_there_and_not_for_one_that_registers_right_after() {
    let mut town = live(TownConfig { users: 1, phones: 2, ..TownConfig::default() });
    town.deliver(0, "still settling");
    town.run_for(Span::from_millis(500));
    town.stop(0);
    town.register_again(0, 1);
    town.deliver(0, "for the second phone");
    town.run_for(secs(30));
    let told = [0, 1].map(|phone| town.told(0, phone).iter().filter(|push| push.payload.is_alert()).count());
    assert_eq!(told, [0, 1]);
    assert_eq!(town.world.ledger().suppressed[Suppressed::Stopped as usize], 3);
    clean(town);
}

#[test]
fn a_token_gone_after_its_registration_is_dropped() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    town.run_for(secs(5));
    town.uninstall(0, 0);
    town.run_for(secs(5));
    town.deliver(0, "to nobody");
    town.run_for(secs(30));
    assert!(town.world.reports.iter().any(|(_, report)| matches!(report, Report::DeviceGone { .. })));
    assert_eq!(town.world.stats(0).devices, 0);
    clean(town);
}

#[test]
fn a_token_gone_before_its_registration_is_kept() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    town.run_for(secs(60));
    // The provider still believes an older removal; the app has registered since.
    let since = UnixMillis(town.world.now().unix.0 - 120_000);
    let device = town.people[0].phones[0].device;
    town.world.apns[0].set_gone(device, since);
    town.deliver(0, "for a phone that came back");
    town.run_for(Span::from_millis(2_500));
    assert_eq!((town.world.stats(0).tokens_kept, town.world.stats(0).devices), (1, 1));
    assert!(!town.world.reports.iter().any(|(_, report)| matches!(report, Report::DeviceGone { .. })));
    town.register_again(0, 0);
    town.run_for(secs(60));
    let alerts = town.told(0, 0).into_iter().filter(|push| push.payload.is_alert()).count();
    assert_eq!(alerts, 1, "told once the provider knows the token again");
    clean(town);
}

#[test]
fn a_user_stands_in_the_ring_once_however_many_things_happen() {
    let timing = Timing { settle_ms: 0, min_interval_ms: 0, ..Timing::default() };
    let mut town = live(TownConfig { users: 1, phones: 3, timing, ..TownConfig::default() });
    for n in 0..20 {
        town.deliver(0, &format!("mail {n}"));
        town.world.check(0).expect("at any moment");
        town.run_for(Span(300));
        town.world.check(0).expect("at any moment");
    }
    town.run_for(secs(60));
    clean(town);
}

#[test]
fn a_push_whose_answer_is_lost_goes_out_again_under_its_own_id() {
    let mut town = live(TownConfig { users: 1, wait_max: secs(120), ..TownConfig::default() });
    town.run_for(secs(5));
    town.turn_apns(|knobs| knobs.answers_lost = Share(1_000_000));
    town.deliver(0, "heard, but not confirmed");
    town.run_for(secs(10));
    town.turn_apns(|knobs| knobs.answers_lost = Share(0));
    town.run_for(secs(60));
    let alerts: Vec<_> = town.told(0, 0).into_iter().filter(|push| push.payload.is_alert()).collect();
    assert!(alerts.len() >= 2, "sent again");
    assert!(alerts.iter().all(|push| push.apns_id == alerts[0].apns_id));
    assert!(town.world.stats(0).resends_ambiguous >= 1);
    clean(town);
}

#[test]
fn a_push_whose_answer_is_lost_stays_as_it_is_though_its_second_attempt_is_refused() {
    type Refuse = fn(&mut Knobs, bool);
    let refusals: [(&str, Refuse); 4] = [
        ("by the connection", |knobs, on| {
            knobs.reset_code = 7;
            knobs.resets_before = Share::percent(if on { 100 } else { 0 });
        }),
        ("for the time being", |knobs, on| {
            knobs.unavailable_until = if on { Time::NEVER } else { Time(0) };
        }),
        ("for the phone's sake", |knobs, on| {
            knobs.device_rate = on.then_some(Rate { per_s: 0, burst: 0 });
        }),
        ("for its token", |knobs, on| {
            let age_max = if on { Span::ZERO } else { TokenRules::default().age_max };
            knobs.tokens = TokenRules { age_max, ..TokenRules::default() };
        }),
    ];
    for (how, refuse) in refusals {
        let tokens = Some(secs(50 * 60));
        let config = TownConfig { users: 1, tokens, wait_max: secs(600), ..TownConfig::default() };
        let mut town = live(config);
        town.run_for(secs(5));
        town.turn_apns(|knobs| knobs.answers_lost = Share::percent(100));
        town.deliver(0, "heard, but not confirmed");
        town.run_for(secs(10));
        town.turn_apns(|knobs| {
            knobs.answers_lost = Share(0);
            refuse(knobs, true);
        });
        town.deliver(0, "meanwhile");
        town.run_for(secs(40));
        town.turn_apns(|knobs| refuse(knobs, false));
        town.run_for(secs(600));
        let told: Vec<_> = town.told(0, 0).into_iter().filter(|push| push.payload.is_alert()).collect();
        let again: Vec<_> = told.iter().filter(|push| push.apns_id == told[0].apns_id).collect();
        assert_eq!(again.len(), 2, "refused {how}: {told:#?}");
        assert_eq!(again[0].payload, again[1].payload, "refused {how}: the same bytes under the same id");
        assert_eq!(told.len(), 3, "refused {how}: and one of what came meanwhile");
        clean(town);
    }
}

#[test]
fn a_crash_loses_no_mail_and_tells_none_twice() {
    for after_us in [0, 100, 1_000, 500_000, 1_999_000, 2_000_500, 2_001_000, 2_050_000, 3_000_000] {
        let config = TownConfig { users: 4, phones: 2, wait_max: secs(120), ..TownConfig::default() };
        let mut town = live(config);
        town.run_for(secs(5));
        town.deliver(0, "one");
        town.deliver(1, "a");
        town.deliver(1, "b");
        town.run_for(Span(after_us));
        town.world.crash(0);
        town.deliver(2, "while it starts");
        assert!(town.run_until_live(secs(120)), "crash after {after_us} µs: {:?}", town.world.stats(0));
        town.run_for(secs(60));
        assert!(town.is_quiet());
        clean(town);
    }
}

#[test]
fn after_a_restart_living_subscriptions_are_used_again() {
    let mut town = live(TownConfig { users: 50, ..TownConfig::default() });
    let before = town.world.exchanges[0].stats().count_all(Operation::Subscribe);
    town.world.crash(0);
    assert!(town.run_until_live(secs(60)));
    assert_eq!(town.world.exchanges[0].stats().count_all(Operation::Subscribe), before);
    town.deliver(7, "after the restart");
    town.run_for(secs(30));
    clean(town);
}

#[test]
fn a_restarted_back_end_costs_new_subscriptions_and_no_mail() {
    let exchange = ExchangeConfig {
        back_ends: vec!["ex1.example.com".into(), "ex2.example.com".into()],
        ..ExchangeConfig::default()
    };
    let mut town = live(TownConfig { users: 20, exchange, wait_max: secs(600), ..TownConfig::default() });
    town.run_for(secs(5));
    let now = town.world.now();
    town.world.exchanges[0].restart_back_end(now, 0);
    town.world.collect();
    for person in 0..20 {
        town.deliver(person, "during the restart");
    }
    town.run_for(secs(600));
    assert_eq!(town.world.stats(0).users_live, 20);
    for person in 0..20 {
        town.deliver(person, "after the restart");
    }
    town.run_for(secs(60));
    clean(town);
}

#[test]
fn a_stream_that_goes_silent_is_noticed_and_caught_up() {
    let mut town = live(TownConfig { users: 3, wait_max: secs(600), ..TownConfig::default() });
    town.run_for(secs(5));
    let key = town.world.exchanges[0].streams()[0].key;
    town.world.exchanges[0].go_silent(key, Silence::Blackhole);
    town.deliver(0, "into the void");
    town.run_for(secs(300));
    let alerts = town.told(0, 0).into_iter().filter(|push| push.payload.is_alert()).count();
    assert_eq!(alerts, 1);
    clean(town);
}

#[test]
fn a_wrong_password_is_tried_once_and_a_right_one_heals_it() {
    let wrong = |server: &mut carillon_core::shard::MailServer| {
        server.credential = MailCredential::Basic { user: "EX\\carillon".into(), password: "wrong".into() };
    };
    let mut town = Town::new(TownConfig {
        users: 300,
        mail_server: Box::new(wrong),
        wait_max: secs(600),
        ..TownConfig::default()
    });
    town.run_for(secs(600));
    let refused = town.world.exchanges[0].stats().statuses.get(&401).copied().unwrap_or(0);
    assert_eq!(refused, 1, "one attempt, then a long rest");
    let told = town.world.reports.iter();
    assert_eq!(told.filter(|(_, report)| matches!(report, Report::MailCredentialRefused { .. })).count(), 1);
    let credential = MailCredential::Basic { user: "EX\\carillon".into(), password: "correct horse".into() };
    town.world.command(0, Command::SetMailCredential { server: MailServerId(0), credential });
    assert!(town.run_until_live(secs(120)), "{:?}", town.world.stats(0));
    town.deliver(250, "at last");
    town.run_for(secs(30));
    clean(town);
}

#[test]
fn a_right_that_was_missing_is_told_once_and_with_it_all_mailboxes_go_live_at_once() {
    for users in [1, 3, 250] {
        let mut town = Town::new(TownConfig { users, wait_max: secs(1200), ..TownConfig::default() });
        let account = town.world.exchanges[0].account("EX\\carillon").expect("the town's account");
        let allow = |town: &mut Town, right| {
            town.world.exchanges[0].change_account(account, |account| account.impersonation = right);
        };
        allow(&mut town, ImpersonationRight::None);
        town.run_for(secs(290));
        let told = town.world.reports.iter();
        let told = told.filter(|(_, report)| matches!(report, Report::MailServerTrouble { .. })).count();
        assert_eq!(told, 1, "{users} users");
        let asked = town.world.exchanges[0].stats().count_all(Operation::Subscribe);
        let asked = asked + town.world.exchanges[0].stats().faults.values().sum::<u64>();
        assert!(asked <= 6, "{asked} requests of {users} users within five minutes");

        allow(&mut town, ImpersonationRight::All);
        let credential =
            MailCredential::Basic { user: "EX\\carillon".into(), password: "correct horse".into() };
        town.world.command(0, Command::SetMailCredential { server: MailServerId(0), credential });
        assert!(town.run_until_live(secs(60)), "{users} users: {:?}", town.world.stats(0));
        let well = town.world.reports.iter();
        assert_eq!(well.filter(|(_, report)| matches!(report, Report::MailServerWell { .. })).count(), 1);
        town.deliver(users - 1, "at last");
        town.run_for(secs(30));
        clean(town);
    }
}

#[test]
fn what_is_no_stream_ends_its_connection_with_a_typed_reason_and_disturbs_no_other() {
    let cohorts = |server: &mut carillon_core::shard::MailServer| server.cohort_users_max = 5;
    type Harm = fn(&mut Exchange, u64);
    let harms: [(Harm, &str); 3] = [
        (|exchange, stream| exchange.inject(stream, b"<html><body>oops".repeat(9)), "soap_not_an_envelope"),
        (|exchange, stream| exchange.inject(stream, vec![0; 100]), "soap_text_outside"),
        (|exchange, stream| exchange.inject_oversized(stream, 5 << 20), "soap_too_large"),
    ];
    for (harm, code) in harms {
        let mut town = live(TownConfig {
            users: 10,
            mail_server: Box::new(cohorts),
            wait_max: secs(300),
            ..TownConfig::default()
        });
        town.run_for(secs(30));
        let streams = town.world.exchanges[0].stream_keys();
        let [harmed, other] = streams[..] else { panic!("{streams:?}") };
        let before = town.world.reports.len();
        harm(&mut town.world.exchanges[0], harmed);
        town.world.collect();
        for person in 0..10 {
            town.deliver(person, "meanwhile");
        }
        town.run_for(secs(120));
        let troubles = town.world.reports[before..].iter();
        let codes: Vec<&str> = troubles
            .filter_map(|(_, report)| match report {
                Report::Unwatched { trouble, .. } => Some(&*trouble.code),
                _ => None,
            })
            .collect();
        assert_eq!(codes, [code; 5], "the five of the one stream");
        assert!(town.world.exchanges[0].stream_keys().contains(&other), "{code}: the other stream goes on");
        assert_eq!(town.world.stats(0).users_live, 10, "{code}");
        clean(town);
    }
}

#[test]
fn answers_that_are_no_soap_are_asked_for_again_more_slowly() {
    for answer in [
        Override::Html,
        Override::LogonRedirect,
        Override::MalformedXml,
        Override::Oversized(20 << 20),
        Override::InternalError { retry_after_s: None },
    ] {
        let mut town = Town::new(TownConfig { users: 20, wait_max: secs(600), ..TownConfig::default() });
        town.world.exchanges[0].answer_next(1_000_000, None, answer.clone());
        town.run_for(secs(300));
        let asked: u64 = town.world.exchanges[0].stats().statuses.values().sum();
        assert!((3..30).contains(&asked), "{answer:?}: {asked} requests of 20 users in five minutes");
        let told = town.world.reports.iter();
        let told = told.filter(|(_, report)| matches!(report, Report::MailServerTrouble { .. })).count();
        assert_eq!(told, 1, "{answer:?}");
        town.world.exchanges[0].clear_orders();
        assert!(town.run_until_live(secs(300)), "{answer:?}: {:?}", town.world.stats(0));
        town.deliver(7, "at last");
        town.run_for(secs(30));
        clean(town);
    }
}

#[test]
fn a_refusal_of_what_was_asked_with_the_old_password_says_nothing_of_the_new_one() {
    let mut town = live(TownConfig { users: 12, wait_max: secs(60), ..TownConfig::default() });
    town.run_for(secs(20));
    let account = town.world.exchanges[0].account("EX\\carillon").expect("the town's account");
    town.world.exchanges[0].set_password(account, "battery staple");
    for person in 0..12 {
        town.deliver(person, "asked for with the old password");
    }
    // The refusals are on their way when the engine is told of the new one.
    while town.world.exchanges[0].stats().refused == 0 {
        town.run_for(Span(100));
    }
    let credential = MailCredential::Basic { user: "EX\\carillon".into(), password: "battery staple".into() };
    town.world.command(0, Command::SetMailCredential { server: MailServerId(0), credential });
    town.run_for(secs(50));
    let told = town.world.reports.iter();
    assert_eq!(told.filter(|(_, report)| matches!(report, Report::MailCredentialRefused { .. })).count(), 0);
    for person in 0..12 {
        assert!(town.told(person, 0).iter().any(|push| push.payload.is_alert()), "person {person}");
    }
    clean(town);
}

#[test]
fn a_new_credential_does_not_shorten_what_a_busy_server_asked_for() {
    let mut town = Town::new(TownConfig { users: 5, wait_max: secs(600), ..TownConfig::default() });
    let now = town.world.now();
    town.world.exchanges[0].set_busy(now, BusyScope::All, secs(300), BusyShape::Fault, false);
    town.run_for(secs(60));
    let credential = MailCredential::Basic { user: "EX\\carillon".into(), password: "correct horse".into() };
    town.world.command(0, Command::SetMailCredential { server: MailServerId(0), credential });
    assert!(!town.run_until_live(secs(200)));
    assert!(town.run_until_live(secs(120)), "{:?}", town.world.stats(0));
    // The strict server would say if anybody had called while it was busy.
    clean(town);
}

#[test]
fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    for shape in [BusyShape::Fault, BusyShape::Message, BusyShape::Inner] {
        let mut town = Town::new(TownConfig { users: 30, wait_max: secs(600), ..TownConfig::default() });
        let now = town.world.now();
        town.world.exchanges[0].set_busy(now, BusyScope::All, secs(30), shape, false);
        town.run_for(secs(300));
        assert_eq!(town.world.stats(0).users_live, 30, "{shape:?}");
        clean(town);
    }
}

/// The server becomes busy, closes the stream, and is itself again a minute later.
fn busy_for_a_minute(mut town: Town) {
    let now = town.world.now();
    town.world.exchanges[0].set_busy(now, BusyScope::All, secs(60), BusyShape::Fault, false);
    let stream = town.world.exchanges[0].stream_keys()[0];
    town.world.exchanges[0].close_stream(now, stream);
    town.world.collect();
    town.run_for(secs(300));
    assert_eq!(town.world.stats(0).users_live, 1);
    clean(town);
}

#[test]
fn a_stream_whose_connection_is_made_when_the_server_becomes_busy_does_not_ask_for_it() {
    let mut town = live(TownConfig { users: 1, wait_max: secs(600), ..TownConfig::default() });
    town.world.net.delay = secs(1);
    town.deliver(0, "its fetch hears that the server is busy");
    town.run_for(Span::from_millis(1_500));
    busy_for_a_minute(town);
}

#[test]
fn a_call_whose_connection_is_made_when_the_server_becomes_busy_stays_back() {
    let timing = Timing { settle_ms: 5_000, ..Timing::default() };
    let mut town = live(TownConfig { users: 1, timing, wait_max: secs(600), ..TownConfig::default() });
    // Long enough for the server to have closed the idle connection.
    town.run_for(secs(150));
    town.world.net.delay = secs(1);
    town.deliver(0, "the stream hears that the server is busy");
    busy_for_a_minute(town);
}

#[test]
fn ten_thousand_users_share_at_most_sixty_streams() {
    let mut town = live(TownConfig { users: 10_000, vigilant: false, ..TownConfig::default() });
    town.run_for(secs(60));
    assert_eq!(town.world.stats(0).streams, 50);
    assert_eq!(town.world.exchanges[0].streams().len(), 50);
}

#[test]
fn equal_seeds_give_equal_traces() {
    let day = || {
        let mut town = live(TownConfig { users: 10, ..TownConfig::default() });
        town.world.net.fragment_bytes_max = Some(50);
        for n in 0..30 {
            town.deliver(n % 10, &format!("mail {n}"));
            town.run_for(Span::from_millis(700));
        }
        town.run_for(secs(60));
        town.world.trace()
    };
    assert_eq!(day(), day());
}

#[test]
fn what_the_second_look_looks_for_is_what_the_composer_writes() {
    assert!(carries_details(br#"{"aps":{"alert":{"title":"Jane","body":"x"}}}"#));
}
