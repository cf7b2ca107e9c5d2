//! Time stamps of the push service, and expirations, which it reads by its own clock: missing, or an hour off.

use super::*;

const HOUR_MS: i64 = 3_600_000;

/// A town that has been up for two hours, and whose push service's clock is so far ahead of the engine's.
fn town(ahead_ms: i64, timing: Timing) -> Town {
    let mut town = live(TownConfig { users: 2, timing, wait_max: secs(60), ..TownConfig::default() });
    town.world.set_clock(PUSH, Clock { ahead_ms, drift_ppm: 0 });
    town.run_for(secs(7_200));
    town
}

fn gone(town: &Town) -> usize {
    town.world.reports.iter().filter(|(_, report)| matches!(report, Report::DeviceGone { .. })).count()
}

fn gone_answers(town: &Town) -> u64 {
    town.world.apns[0].stats().refused_for(Reason::Unregistered)
}

fn alerts(town: &Town, person: usize) -> usize {
    town.told(person, 0).iter().filter(|push| push.payload.is_alert()).count()
}

#[test]
fn a_phone_that_is_gone_is_removed_also_by_a_clock_that_is_an_hour_off() {
    for ahead_ms in [-HOUR_MS, 0, HOUR_MS] {
        let mut town = town(ahead_ms, Timing::default());
        town.uninstall(0, 0);
        town.deliver(0, "to nobody");
        town.run_for(secs(60));
        // An hour ahead, its stamp is of a future that shows nothing but that the clocks differ.
        let (removed, answers) = if ahead_ms > 0 { (0, 4..=5) } else { (1, 1..=1) };
        assert_eq!(gone(&town), removed, "{ahead_ms}");
        assert!(answers.contains(&gone_answers(&town)), "{ahead_ms}: {}", gone_answers(&town));
        assert!(town.is_quiet());
        town.run_for(secs(3_600));
        town.deliver(0, "to nobody");
        town.run_for(secs(60));
        assert_eq!((gone(&town), town.world.stats(0).devices), (1, 1), "{ahead_ms}");
        assert!(gone_answers(&town) <= 6);
        clean(town);
    }
}

#[test]
fn a_410_from_before_the_registration_removes_nobody_also_by_a_clock_that_is_an_hour_off() {
    for ahead_ms in [-HOUR_MS, 0, HOUR_MS] {
        let mut town = town(ahead_ms, Timing::default());
        town.uninstall(0, 0);
        let since = town.world.now_of(PUSH).unix;
        town.run_for(secs(300));
        town.register_again(0, 0);
        town.run_for(secs(30));
        let device = town.people[0].phones[0].device;
        town.world.apns[0].distrust(device, since, 2);
        town.deliver(0, "still here");
        town.run_for(secs(30));
        assert_eq!((gone(&town), gone_answers(&town), alerts(&town, 0)), (0, 2, 1), "{ahead_ms}");
        clean(town);
    }
}

#[test]
fn a_410_without_a_time_stamp_removes_nobody() {
    let mut town = live(TownConfig { users: 2, wait_max: secs(60), ..TownConfig::default() });
    town.turn_apns(|knobs| knobs.gone_stamps = false);
    let device = town.people[0].phones[0].device;
    let since = town.world.now_of(PUSH).unix;
    town.world.apns[0].distrust(device, since, 2);
    town.deliver(0, "still here");
    town.run_for(secs(30));
    assert_eq!((gone(&town), gone_answers(&town), alerts(&town, 0)), (0, 2, 1));
    // Who is really gone is tried a few times, and then no more than with each notice and its badge.
    town.uninstall(1, 0);
    for most in [5, 7, 9] {
        town.deliver(1, "to nobody");
        town.run_for(secs(60));
        assert_eq!(gone(&town), 0);
        assert!(gone_answers(&town) <= 2 + most, "{}", gone_answers(&town));
    }
    town.turn_apns(|knobs| knobs.gone_stamps = true);
    town.deliver(1, "to nobody");
    town.run_for(secs(60));
    assert_eq!((gone(&town), town.world.stats(0).devices), (1, 1));
    assert!(town.is_quiet());
    clean(town);
}

#[test]
fn an_alert_of_short_life_is_shown_also_by_a_clock_that_is_an_hour_off() {
    for ahead_ms in [-HOUR_MS, 0, HOUR_MS] {
        for alert_expiry_s in [0, 60, 600, 3_000] {
            let mut town = town(ahead_ms, Timing { alert_expiry_s, ..Timing::default() });
            town.deliver(0, "look");
            town.run_for(secs(10));
            let device = town.people[0].phones[0].device;
            let shown = town.world.apns[0].row(device).device.shown().len();
            assert_eq!(
                (alerts(&town, 0), shown),
                (1, 1),
                "{ahead_ms} ms ahead, to live for {alert_expiry_s} s"
            );
            clean(town);
        }
    }
}

#[test]
fn an_alert_without_a_life_is_kept_for_no_phone_that_is_off() {
    for (alert_expiry_s, shown) in [(0, 0), (60, 1)] {
        let mut town = town(0, Timing { alert_expiry_s, ..Timing::default() });
        let device = town.people[0].phones[0].device;
        let now = town.world.now_of(PUSH);
        town.world.apns[0].set_online(now, device, false);
        town.deliver(0, "look");
        town.run_for(secs(30));
        let now = town.world.now_of(PUSH);
        town.world.apns[0].set_online(now, device, true);
        assert_eq!(town.world.apns[0].row(device).device.shown().len(), shown);
        clean(town);
    }
}
