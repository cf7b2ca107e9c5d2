//! Who gets the room that there is, and whom the trouble of others does not hold up.

use super::*;

#[test]
fn the_last_of_a_users_phones_rings_though_there_is_room_for_fewer_and_mail_keeps_coming() {
    let timing = Timing { min_interval_ms: 0, settle_ms: 500, ..Timing::default() };
    let knobs = Knobs { streams_max: 1, ..answers_in(secs(2)) };
    let push_service = Box::new(|service: &mut PushService| service.lanes = 1);
    let mut town =
        live(TownConfig { users: 1, phones: 2, timing, knobs, push_service, ..TownConfig::default() });
    for _ in 0..60 {
        town.deliver(0, "and another");
        town.run_for(ms(700));
    }
    let alerts = |phone| town.told(0, phone).into_iter().filter(|push| push.payload.is_alert()).count();
    let (first, last) = (alerts(0), alerts(1));
    assert!(first >= 5 && last >= 5, "in turn: {first} and {last}");
    town.run_for(secs(30));
    clean(town);
}

#[test]
fn a_users_three_phones_ring_equally_often_though_there_is_room_for_two() {
    let timing = Timing { min_interval_ms: 0, settle_ms: 500, ..Timing::default() };
    let knobs = Knobs { streams_max: 1, ..answers_in(secs(2)) };
    let push_service = Box::new(|service: &mut PushService| service.lanes = 2);
    let mut town =
        live(TownConfig { users: 1, phones: 3, timing, knobs, push_service, ..TownConfig::default() });
    for _ in 0..150 {
        town.deliver(0, "and another");
        town.run_for(ms(700));
    }
    let alerts = |phone| town.told(0, phone).into_iter().filter(|push| push.payload.is_alert()).count();
    let alerts = [alerts(0), alerts(1), alerts(2)];
    let (most, least) = (alerts.iter().max(), alerts.iter().min());
    assert!(*least.unwrap() >= 20 && most.unwrap() - least.unwrap() <= 3, "in turn: {alerts:?}");
    town.run_for(secs(30));
    clean(town);
}

#[test]
fn a_phone_for_which_there_was_no_room_rings_as_soon_as_there_is_and_the_others_rest() {
    let timing =
        Timing { min_interval_ms: 20_000, max_delay_ms: 30_000, settle_ms: 1_000, ..Timing::default() };
    let knobs = Knobs { streams_max: 2, ..answers_in(ms(50)) };
    let push_service = Box::new(|service: &mut PushService| service.lanes = 1);
    let mut town =
        live(TownConfig { users: 1, phones: 3, timing, knobs, push_service, ..TownConfig::default() });
    town.deliver(0, "for all three");
    town.run_for(secs(5));
    let alerts =
        |town: &Town, phone| town.told(0, phone).into_iter().filter(|push| push.payload.is_alert()).count();
    assert_eq!([0, 1, 2].map(|phone| alerts(&town, phone)), [1; 3]);
    town.deliver(0, "too soon after the last one");
    town.run_for(secs(10));
    assert_eq!([0, 1, 2].map(|phone| alerts(&town, phone)), [1; 3]);
    town.run_for(secs(15));
    assert_eq!([0, 1, 2].map(|phone| alerts(&town, phone)), [2; 3]);
    // The badge alone, too.
    town.read(0, 1);
    town.run_for(secs(25));
    assert_eq!([0, 1, 2].map(|phone| town.told(0, phone).last().unwrap().payload.badge), [Some(1); 3]);
    clean(town);
}

/// Of 40 people who wait for the end of an outage, those who are stopped or read their mail meanwhile stand in nobody's way.
#[test]
fn after_an_outage_the_first_push_does_not_wait_for_those_who_have_nothing_more_to_be_told() {
    let mut town = live(TownConfig { users: 40, wait_max: secs(3_600), ..TownConfig::default() });
    let now = town.world.now();
    town.world.apns[0].fail_for(now, secs(1_800));
    deliver_to_all(&mut town, "in the outage");
    town.run_for(secs(1_200));
    (0..25).for_each(|person| town.stop(person));
    (25..35).for_each(|person| town.read(person, 0));
    town.run_for(secs(599));
    let told = |town: &Town| {
        (35..40).filter(|person| town.told(*person, 0).last().unwrap().payload.is_alert()).count()
    };
    assert_eq!(told(&town), 0);
    // One push tries each minute; when it is accepted, the others follow.
    town.run_for(secs(65));
    assert_eq!(told(&town), 5);
    assert_eq!(recoveries(&town), 1);
    assert!(town.is_quiet());
    clean(town);
}

/// Those who got room first look at mails that changed meanwhile. The last, whose mail did not, need not wait for that.
#[test]
fn room_that_somebody_was_given_and_cannot_use_yet_is_the_next_ones() {
    let exchange = ExchangeConfig { call_time: ms(300), ..ExchangeConfig::default() };
    let knobs = Knobs { streams_max: 10, ..Knobs::default() };
    let mut town = live(TownConfig { users: 30, exchange, knobs, ..TownConfig::default() });
    let now = town.world.now();
    town.world.apns[0].fail_for(now, secs(60));
    deliver_to_all(&mut town, "to everybody");
    run_until(&mut town, secs(30), |town| !troubles(town).is_empty());
    town.run_for(ms(400));
    for person in 0..29 {
        let row = &town.people[person];
        let item = ItemId::parse(&row.mails[0]).unwrap();
        let touched = Command::Signal { user: row.key, signal: MailSignal::Touched { item } };
        town.world.command(0, touched);
    }
    town.turn_apns(|knobs| knobs.unavailable_until = Time(0));
    town.run_for(secs(60));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 30)]));
    assert!(town.is_quiet());
    clean(town);
}

#[test]
fn who_has_nothing_more_to_be_told_is_no_try_of_a_broken_app() {
    let mut town = Town::new(TownConfig { users: 50, wait_max: secs(3_600), ..TownConfig::default() });
    move_to_sandbox(&mut town, 0..50);
    assert!(town.run_until_live(secs(60)));
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(900));
    assert_eq!(troubles(&town), ["BadDeviceToken"]);
    (0..40).for_each(|person| town.stop(person));
    for person in 40..50 {
        register_at(&mut town, person, Environment::Production);
    }
    // The longest between two tries is five minutes.
    town.run_for(secs(310));
    assert_eq!(recoveries(&town), 1);
    for person in 40..50 {
        assert_eq!(town.told(person, 0).iter().filter(|push| push.payload.is_alert()).count(), 1);
    }
    assert!(town.is_quiet());
    clean(town);
}

/// The second attempt shows that the provider cannot have taken the first. What is told then is told under an id that never
/// stood for anything else.
#[test]
fn a_lost_push_to_a_token_that_is_not_known_is_told_anew_under_another_id() {
    let mut town = live(TownConfig { users: 1, wait_max: secs(3_600), ..TownConfig::default() });
    move_to_sandbox(&mut town, 0..1);
    town.turn_apns(|knobs| knobs.requests_lost = Share::percent(100));
    town.deliver(0, "one");
    run_until(&mut town, secs(300), |town| town.world.stats(0).resends_ambiguous > 0);
    town.turn_apns(|knobs| knobs.requests_lost = Share(0));
    let refused = |town: &Town| town.world.apns[0].stats().refused_for(Reason::BadDeviceToken);
    run_until(&mut town, secs(300), |town| refused(town) == 1);
    town.deliver(0, "two");
    town.run_for(secs(5));
    town.register_again(0, 0);
    town.run_for(secs(30));
    let put_down = town.world.reports.iter().filter_map(|(_, report)| match report {
        Report::Device { unsettled: Some(notice), .. } => Some(*notice),
        _ => None,
    });
    let put_down: Vec<_> = put_down.collect();
    let lost = put_down.first().unwrap();
    let alerts: Vec<_> = town.told(0, 0).into_iter().filter(|push| push.payload.is_alert()).collect();
    let [both] = alerts[..] else { panic!("one alert for both: {alerts:?}") };
    assert_eq!((lost.mails, put_down.last().unwrap().mails), (1, 2));
    // But for its last bit, which says how it is worded.
    assert_ne!(lost.apns_id | 1, both.apns_id | 1);
    assert!(town.is_quiet());
}

#[test]
fn what_is_wrong_with_one_push_service_holds_up_nobody_at_the_other() {
    let sandbox = TownConfig { users: 40, sandbox: true, wait_max: secs(900), ..TownConfig::default() };
    let mut town = live(sandbox);
    let until = town.world.now().time + secs(300);
    town.turn_push_service(1, |knobs| knobs.unavailable_until = until);
    for n in 0..10 {
        deliver_to_all(&mut town, &format!("mail {n}"));
        town.run_for(secs(20));
        for person in 0..40 {
            let alerts = town.told(person, 0).into_iter().filter(|push| push.payload.is_alert()).count();
            assert_eq!(alerts, if person % 2 == 0 { n + 1 } else { 0 }, "{person} after mail {n}");
        }
    }
    town.run_for(secs(600));
    assert!((0..40).all(|person| town.told(person, 0).iter().any(|push| push.payload.is_alert())));
    assert!(town.world.apns[1].stats().strict.is_clean());
    clean(town);
}
