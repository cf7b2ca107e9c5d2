//! What the service answers: tokens that are gone or of the other environment, 429, and outages.

use super::*;
use carillon_core::limits::GIVEN_UP_PER_MINUTE;

#[test]
fn a_thousand_phones_gone_at_once_are_each_removed_once() {
    let knobs = answers_in(ms(30));
    let mut town = live(TownConfig { users: 1_000, knobs, vigilant: false, ..TownConfig::default() });
    // A hundred of them come back before anybody pushes: their registration is younger than the removal.
    for person in 0..1_000 {
        town.uninstall(person, 0);
    }
    town.run_for(secs(10));
    for person in 0..100 {
        town.register_again(person, 0);
    }
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(60));
    let mut gone: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, report) in &town.world.reports {
        if let Report::DeviceGone { user, .. } = report {
            *gone.entry(user.0).or_default() += 1;
        }
    }
    assert_eq!(gone.len(), 900);
    assert!(gone.iter().all(|(user, times)| *user >= 100 && *times == 1));
    assert_eq!(town.world.stats(0).devices, 100);
    assert_eq!(town.world.apns[0].stats().refused_for(Reason::Unregistered), 900, "each was pushed to once");
    assert!(town.world.ledger().balances() && town.is_quiet());
    assert_eq!(troubles(&town), Vec::<String>::new(), "phones come and go");
    clean(town);
}

#[test]
fn a_throttled_phone_waits_alone_and_its_notice_goes_on_folding() {
    let mut town = live(TownConfig { users: 2, phones: 2, wait_max: secs(120), ..TownConfig::default() });
    let until = town.world.now().time + secs(45);
    let device = town.people[0].phones[0].device;
    town.world.apns[0].throttle(device, until);
    let before = town.told(0, 0).len();
    for n in 0..4 {
        town.deliver(0, &format!("mail {n}"));
        town.deliver(1, &format!("mail {n}"));
        town.run_for(secs(10));
    }
    assert_eq!(town.told(0, 0).len(), before);
    for (person, phone) in [(0, 1), (1, 0), (1, 1)] {
        let alerts = town.told(person, phone).into_iter().filter(|push| push.payload.is_alert()).count();
        assert_eq!(alerts, 4, "person {person}, phone {phone}");
    }
    let refused = town.world.apns[0].stats().refused_for(Reason::TooManyRequests);
    assert!((2..=10).contains(&refused), "more and more slowly: {refused}");
    town.run_for(secs(60));
    let told = town.told(0, 0);
    let alerts: Vec<_> = told[before..].iter().filter(|push| push.payload.is_alert()).collect();
    assert_eq!(alerts.len(), 1, "one notice");
    assert_eq!((alerts[0].payload.n, alerts[0].payload.badge), (4, Some(4)), "with the newest state");
    assert_eq!(troubles(&town), Vec::<String>::new(), "nobody's business");
    clean(town);
}

#[test]
fn a_throttled_phone_waits_for_as_long_as_the_service_asks() {
    let mut town = live(TownConfig { users: 2, wait_max: secs(200), ..TownConfig::default() });
    let until = town.world.now().time + secs(100);
    let device = town.people[0].phones[0].device;
    town.world.apns[0].throttle_aloud(device, until);
    let before = town.told(0, 0).len();
    for person in [0, 1] {
        town.deliver(person, "for both");
    }
    town.run_for(secs(98));
    let refused = |town: &Town| town.world.apns[0].stats().refused_for(Reason::TooManyRequests);
    assert_eq!((refused(&town), town.told(0, 0).len()), (1, before), "asked once");
    assert_eq!(story::alerts(&town, 1), 1, "alone");
    town.run_for(secs(4));
    assert_eq!((refused(&town), story::alerts(&town, 0)), (1, 1), "and at once when it may");
    clean(town);
}

#[test]
fn after_half_an_hour_of_503_each_phone_gets_one_push_with_its_newest_state() {
    let config = TownConfig {
        users: 1_000,
        knobs: answers_in(ms(40)),
        wait_max: secs(2_100),
        vigilant: false,
        ..TownConfig::default()
    };
    let mut town = live(config);
    let (now, before) = (town.world.now(), town.world.apns[0].stats().requests);
    town.world.apns[0].fail_for(now, secs(1_800));
    let told_before = town.deliveries.len();
    for round in 0..3 {
        deliver_to_all(&mut town, &format!("round {round}"));
        town.run_for(secs(590));
    }
    let asked = town.world.apns[0].stats().requests - before;
    assert!(asked < 1_000, "half an hour of refusals: {asked} requests");
    assert!(town.world.apns[0].stats().connections <= 4, "no storm of connections");
    assert_eq!(troubles(&town), ["provider_unavailable"], "one report");
    assert_eq!(town.deliveries.len(), told_before);
    town.run_for(secs(120));
    assert_eq!(recoveries(&town), 1);
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 1_000)]));
    for push in &town.deliveries[told_before..] {
        assert_eq!((push.payload.n, push.payload.badge), (3, Some(3)), "the newest state");
    }
    assert_eq!(town.deliveries.len(), told_before + 1_000, "one push for each phone");
    clean(town);
}

#[test]
fn tokens_of_the_other_environment_open_the_breaker_and_no_phone_is_lost() {
    let config = TownConfig {
        users: 1_000,
        knobs: answers_in(ms(40)),
        wait_max: secs(3_600),
        vigilant: false,
        ..TownConfig::default()
    };
    let mut town = Town::new(config);
    move_to_sandbox(&mut town, 0..1_000);
    assert!(town.run_until_live(secs(60)));
    town.run_for(secs(60));
    let refused = |town: &Town| town.world.apns[0].stats().refused_for(Reason::BadDeviceToken);
    let first = refused(&town);
    assert!(first < 150, "what was in flight when it opened: {first}");
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(1_200));
    assert!((2..30).contains(&(refused(&town) - first)), "one try now and then: {}", refused(&town) - first);
    assert_eq!(troubles(&town), ["BadDeviceToken"], "one report");
    assert_eq!((town.world.stats(0).devices, recoveries(&town)), (1_000, 0));
    assert!(town.world.apns[0].stats().connections <= 2);

    for person in 0..1_000 {
        register_at(&mut town, person, Environment::Production);
    }
    town.run_for(secs(400));
    assert_eq!(recoveries(&town), 1);
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 1_000)]), "one push with the newest state");
    assert!(town.is_quiet());
    clean(town);
}

#[test]
fn who_registers_again_while_the_breaker_is_open_is_tried_first() {
    let config = TownConfig { users: 50, wait_max: secs(3_600), ..TownConfig::default() };
    let mut town = Town::new(config);
    move_to_sandbox(&mut town, 0..50);
    assert!(town.run_until_live(secs(60)));
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(600));
    town.register_again(37, 0);
    town.run_for(secs(40));
    assert_eq!(town.told(37, 0).iter().filter(|push| push.payload.is_alert()).count(), 1);
    assert!(recoveries(&town) >= 1);
    // His token is right: he is told at once, whatever becomes of the others. These get their second chance, and are
    // left alone until they register.
    for n in 0..4 {
        town.deliver(37, "in time");
        town.run_for(secs(60));
        let told = town.told(37, 0).iter().filter(|push| push.payload.is_alert()).count();
        assert_eq!(told, n + 2);
    }
    let refused = town.world.apns[0].stats().refused_for(Reason::BadDeviceToken);
    assert!(refused <= 3 * 49, "{refused}");
    town.run_for(secs(1_200));
    assert_eq!(town.world.apns[0].stats().refused_for(Reason::BadDeviceToken), refused);
    assert_eq!(recoveries(&town), troubles(&town).len());
    assert!(town.is_quiet());
    assert_eq!(town.world.stats(0).devices, 50, "nobody is deleted for it");
}

#[test]
fn a_few_bad_tokens_among_good_ones_are_these_phones_own() {
    let mut town = live(TownConfig { users: 100, knobs: answers_in(ms(40)), ..TownConfig::default() });
    move_to_sandbox(&mut town, 10..15);
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(30));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(0, 5), (1, 95)]));
    assert_eq!(town.world.apns[0].stats().refused_for(Reason::BadDeviceToken), 5, "each was tried once");
    deliver_to_all(&mut town, "again");
    town.run_for(secs(30));
    assert_eq!(town.world.apns[0].stats().refused_for(Reason::BadDeviceToken), 5, "and never again");
    assert_eq!(troubles(&town), Vec::<String>::new());
    assert!(town.is_quiet());
}

#[test]
fn a_first_phone_whose_token_is_not_known_is_a_trouble_to_be_told() {
    let mut town = Town::new(TownConfig { users: 1, wait_max: secs(3_600), ..TownConfig::default() });
    move_to_sandbox(&mut town, 0..1);
    town.run_for(secs(120));
    assert_eq!(troubles(&town), ["BadDeviceToken"], "nothing ever went through: people have to know");
    register_at(&mut town, 0, Environment::Production);
    town.deliver(0, "at last");
    town.run_for(secs(310));
    assert_eq!(town.told(0, 0).iter().filter(|push| push.payload.is_alert()).count(), 1);
    assert_eq!(recoveries(&town), 1);
    clean(town);
}

#[test]
fn half_an_hour_of_500_ends_as_well() {
    let config = TownConfig {
        users: 300,
        knobs: answers_in(ms(40)),
        wait_max: secs(2_100),
        vigilant: false,
        ..TownConfig::default()
    };
    let mut town = live(config);
    let before = town.world.apns[0].stats().requests;
    town.turn_apns(|knobs| knobs.internal_errors = Share(1_000_000));
    for round in 0..3 {
        deliver_to_all(&mut town, &format!("round {round}"));
        town.run_for(secs(600));
    }
    let asked = town.world.apns[0].stats().requests - before;
    assert!(asked < 400, "half an hour of refusals: {asked} requests");
    assert_eq!(troubles(&town), ["provider_unavailable"], "one report");
    town.turn_apns(|knobs| knobs.internal_errors = Share(0));
    town.run_for(secs(120));
    assert!(town.is_quiet() && recoveries(&town) == 1);
    for person in 0..300 {
        let told = town.told(person, 0);
        let alerts: Vec<_> = told.iter().filter(|push| push.payload.is_alert()).collect();
        // A 500 may come after the push was taken on: those in doubt go out as they were, before anything newer.
        assert!(alerts.len() == 1 && alerts[0].payload.n == 3 || alerts.len() == 2, "person {person}");
        assert_eq!(alerts.last().and_then(|push| push.payload.badge), Some(3));
    }
    clean(town);
}

/// What was given up, by the reason.
fn given_up(town: &Town) -> Vec<(String, u64, u32)> {
    let told = town.world.reports.iter();
    told.filter_map(|(_, report)| match report {
        Report::GivenUp { user, trouble, unreported, .. } => {
            assert!(!trouble.text.is_empty());
            Some((trouble.code.to_string(), user.0, *unreported))
        }
        _ => None,
    })
    .collect()
}

#[test]
fn a_push_that_is_given_up_is_told_of_with_its_mailbox_and_the_reason() {
    for reason in [Reason::BadCollapseId, Reason::PayloadTooLarge] {
        let mut town = live(TownConfig { users: 3, wait_max: secs(900), ..TownConfig::default() });
        assert_eq!(given_up(&town), []);
        town.turn_apns(|knobs| (knobs.refusals, knobs.refusal) = (Share::percent(100), reason));
        town.deliver(2, "refused for good");
        town.run_for(secs(20));
        // The alert, and then its badge alone.
        let told = given_up(&town);
        assert!((1..=2).contains(&told.len()), "{told:?}");
        assert!(told.iter().all(|one| *one == (reason.text().to_owned(), 2, 0)), "{told:?}");
    }
    // A token that nobody knows, among others that are good.
    let mut town = live(TownConfig { users: 3, wait_max: secs(900), ..TownConfig::default() });
    move_to_sandbox(&mut town, 1..2);
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(100));
    assert_eq!(given_up(&town), [("BadDeviceToken".to_owned(), 1, 0)]);
}

#[test]
fn pushes_that_are_given_up_by_the_hundred_are_told_of_ten_times_a_minute_and_counted() {
    let mut town = live(TownConfig { users: 200, wait_max: secs(900), ..TownConfig::default() });
    town.turn_apns(|knobs| (knobs.refusals, knobs.refusal) = (Share::percent(100), Reason::BadPriority));
    deliver_to_all(&mut town, "refused for good");
    town.run_for(secs(20));
    let most = usize::from(GIVEN_UP_PER_MINUTE);
    assert_eq!(given_up(&town).len(), most);
    town.run_for(secs(60));
    town.deliver(0, "refused as well");
    town.run_for(secs(20));
    let told = given_up(&town);
    // A badge that changes alone is refused, too.
    assert!(told.len() > most && told.len() <= 2 * most, "{told:?}");
    assert!(told[most].2 >= 200 - u32::from(GIVEN_UP_PER_MINUTE), "how many there were between: {told:?}");
}
