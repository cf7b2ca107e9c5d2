//! Connections: their limits of streams and bytes, GOAWAY, resets and silence.

use super::*;

#[test]
fn the_limit_of_streams_falls_to_one_and_rises_again() {
    let mut town = live(TownConfig { users: 300, knobs: answers_in(ms(40)), ..TownConfig::default() });
    deliver_to_all(&mut town, "to everybody");
    run_until(&mut town, secs(5), |town| in_flight(town) > 50);
    town.turn_apns(|knobs| knobs.streams_max = 1);
    town.run_for(ms(200));
    let before = town.world.apns[0].stats().requests;
    town.run_for(secs(1));
    let lanes = town.world.stats(0).lanes;
    let now = town.world.apns[0].stats().requests;
    assert!(now - before <= 25 * lanes, "one at a time on each of {lanes} lanes: {}", now - before);
    assert!(now - before >= 20, "and no rest between them: {}", now - before);
    town.turn_apns(|knobs| knobs.streams_max = 500);
    town.run_for(secs(1));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 300)]));
    clean(town);
}

#[test]
fn a_goaway_that_leaves_pushes_unprocessed_has_them_sent_elsewhere_once() {
    for how in [
        Goaway { unprocessed: 0, ..Goaway::default() },
        Goaway { unprocessed: 7, ..Goaway::default() },
        Goaway { twice: true, ..Goaway::default() },
    ] {
        let mut town = live(TownConfig { users: 300, knobs: answers_in(ms(50)), ..TownConfig::default() });
        deliver_to_all(&mut town, "to everybody");
        run_until(&mut town, secs(5), |town| in_flight(town) > 30);
        for conn in connections(&town) {
            goaway(&mut town, conn, how);
        }
        town.run_for(secs(5));
        assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 300)]), "{how:?}");
        let stats = town.world.stats(0);
        assert_eq!(stats.resends_ambiguous, 0, "{how:?}: GOAWAY says what was processed");
        assert_eq!(town.world.apns[0].stats().duplicates, 0);
        assert_eq!(troubles(&town), Vec::<String>::new());
        clean(town);
    }
}

#[test]
fn after_a_reset_pushes_in_doubt_go_out_again_under_their_own_ids() {
    let mut town = live(TownConfig { users: 300, knobs: answers_in(ms(50)), ..TownConfig::default() });
    deliver_to_all(&mut town, "to everybody");
    run_until(&mut town, secs(5), |town| in_flight(town) > 50);
    for conn in connections(&town) {
        town.world.apns[0].reset_connection(conn);
    }
    town.world.collect();
    town.run_for(secs(10));
    assert!(town.world.stats(0).resends_ambiguous > 30);
    for person in 0..300 {
        let told = town.told(person, 0);
        let alerts: Vec<_> = told.iter().filter(|push| push.payload.is_alert()).collect();
        assert!(alerts.iter().all(|push| push.apns_id == alerts[0].apns_id), "person {person}");
    }
    clean(town);
}

#[test]
fn a_connection_that_died_silently_is_found_by_ping_and_its_pushes_go_elsewhere() {
    let mut town = live(TownConfig { users: 100, knobs: answers_in(ms(50)), ..TownConfig::default() });
    deliver_to_all(&mut town, "to everybody");
    run_until(&mut town, secs(5), |town| in_flight(town) > 10);
    let dead = connections(&town);
    for conn in &dead {
        town.world.apns[0].go_silent(*conn);
    }
    let since = town.world.now().time;
    town.run_for(secs(15));
    assert!(town.is_quiet(), "{:?}", town.world.stats(0));
    let last = town.deliveries.iter().map(|push| push.at.time).max().expect("told");
    assert!(last > since && last.since(since) < secs(12), "{:?}", last.since(since));
    assert!(town.world.stats(0).resends_ambiguous > 10);
    for person in 0..100 {
        let told = town.told(person, 0);
        let alerts: Vec<_> = told.iter().filter(|push| push.payload.is_alert()).collect();
        assert!(!alerts.is_empty() && alerts.iter().all(|push| push.apns_id == alerts[0].apns_id));
    }
    assert!(dead.iter().all(|conn| !connections(&town).contains(conn)), "closed");
    clean(town);
}

#[test]
fn a_notice_sent_again_after_a_crash_takes_its_own_place_on_the_screen() {
    // The cut-off is behind the app at first and it is used meanwhile; and the other way about.
    for used_first in [false, true] {
        let timing = Timing { detail_cutoff_s: 60, ..Timing::default() };
        let mut town = live(TownConfig { users: 1, timing, wait_max: secs(120), ..TownConfig::default() });
        town.run_for(secs(120));
        if used_first {
            town.use_app(0, 0);
            town.run_for(secs(56));
        }
        town.turn_apns(|knobs| knobs.latency = Latency::Fixed(secs(12)));
        town.deliver(0, "secret plans");
        town.run_for(ms(2_500));
        let first = town.told(0, 0).last().expect("sent").payload.has_details();
        assert_eq!(first, used_first);
        if !used_first {
            town.use_app(0, 0);
        }
        town.run_for(secs(2));
        town.world.crash(0);
        town.run_for(secs(60));
        let told = town.told(0, 0);
        let alerts: Vec<_> = told.iter().filter(|push| push.payload.is_alert()).collect();
        assert_eq!(alerts.len(), 2, "nobody knew what had become of the first");
        assert!(alerts[1].duplicate && alerts[1].collapse_id == alerts[0].collapse_id);
        assert!(!alerts[1].payload.has_details());
        clean(town);
    }
}

#[test]
fn a_notice_keeps_its_place_on_the_screen_though_its_details_and_its_mail_are_gone() {
    let timing = Timing { detail_cutoff_s: 60, ..Timing::default() };
    let mut town = live(TownConfig { users: 1, timing, wait_max: secs(120), ..TownConfig::default() });
    town.use_app(0, 0);
    town.run_for(secs(50));
    town.turn_apns(|knobs| knobs.answers_lost = Share::percent(100));
    town.deliver(0, "secret plans");
    town.run_for(secs(5));
    town.turn_apns(|knobs| knobs.answers_lost = Share(0));
    town.read(0, 0);
    town.run_for(secs(60));
    let told = town.told(0, 0);
    let alerts: Vec<_> = told.iter().filter(|push| push.payload.is_alert()).collect();
    assert_eq!(alerts.iter().map(|push| push.payload.has_details()).collect::<Vec<_>>(), [true, false]);
    assert_eq!(alerts[0].collapse_id, alerts[1].collapse_id);
    let strict = &town.world.apns[0].stats().strict;
    assert!(strict.is_clean(), "the push service complains: {strict:?}");
}

#[test]
fn an_idle_connection_that_died_is_replaced_before_anybody_needs_it() {
    let mut town = live(TownConfig { users: 3, ..TownConfig::default() });
    let dead = connections(&town);
    for conn in &dead {
        town.world.apns[0].go_silent(*conn);
    }
    town.run_for(secs(70));
    assert!(town.world.stats(0).lanes >= 1);
    assert!(connections(&town).iter().any(|conn| !dead.contains(conn)), "another one");
    town.deliver(0, "after the night");
    town.run_for(secs(3));
    assert_eq!(town.told(0, 0).iter().filter(|push| push.payload.is_alert()).count(), 1);
    assert_eq!(town.world.stats(0).resends_ambiguous, 0);
    clean(town);
}

#[test]
fn a_spent_send_window_slows_pushes_opens_another_connection_and_loses_nothing() {
    let knobs = Knobs { window: WindowPolicy::Every(secs(1)), ..answers_in(ms(20)) };
    let mut town = live(TownConfig { users: 1_500, knobs, vigilant: false, ..TownConfig::default() });
    assert_eq!(town.world.stats(0).lanes, 1);
    let (mark, told_before) = (town.world.stats(0).blocked_us, town.deliveries.len());
    let since = town.world.now().time;
    deliver_to_all(&mut town, "some four hundred bytes each");
    town.run_for(secs(20));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 1_500)]));
    let stats = town.world.stats(0);
    assert_eq!(town.world.check(0), Ok(()));
    assert_eq!(stats.lanes, 2, "as many as the configuration allows");
    // 65,535 bytes a second on each of two connections carry them in so long.
    let pushes = &town.deliveries[told_before..];
    let bytes: u32 = pushes.iter().map(|push| push.bytes).sum();
    let took = pushes.iter().map(|push| push.at.time).max().expect("told").since(since).as_millis();
    let lanes_ms = u64::from(bytes) * 1_000 / (2 * 65_535);
    assert!(took < lanes_ms + 5_000, "{took} ms for {bytes} bytes");
    let blocked = |cause: &str| {
        let at = BLOCKED.iter().position(|name| *name == cause).expect("a cause");
        Span(stats.blocked_us[at] - mark[at])
    };
    assert!(blocked("bytes") > secs(2), "{:?}", stats.blocked_us);
    assert!(blocked("bytes") > blocked("window") && blocked("streams") == Span::ZERO);
    clean(town);
}

#[test]
fn a_burst_that_one_connection_carries_opens_no_other() {
    let mut town = live(TownConfig {
        users: 1_500,
        knobs: answers_in(ms(40)),
        vigilant: false,
        ..TownConfig::default()
    });
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(10));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 1_500)]));
    assert_eq!(town.world.apns[0].stats().connections, 1);
    clean(town);
}
