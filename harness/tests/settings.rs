//! Settings that change while something is on its way: what a phone's user does not want any more does not come.

use carillon_core::shard::{DeviceSettings, Timing};
use carillon_core::time::Span;
use carillon_harness::apns::{Delivery, Share};
use carillon_harness::world::story::{alerts, badge, clean, live, secs};
use carillon_harness::world::town::{Town, TownConfig};

fn all() -> DeviceSettings {
    DeviceSettings::default()
}

/// One person whose phone shows its first badge; a mail may wait for long.
fn one_person() -> Town {
    let mut town = live(TownConfig { users: 1, wait_max: secs(600), ..TownConfig::default() });
    town.run_for(secs(20));
    town
}

fn last(town: &Town) -> &Delivery {
    town.told(0, 0).last().expect("told")
}

#[test]
fn mail_that_waits_when_alerts_are_turned_off_is_not_told_any_more() {
    let mut town = one_person();
    let until = town.world.now().time + secs(60);
    let device = town.people[0].phones[0].device;
    town.world.apns[0].throttle(device, until);
    town.deliver(0, "too late");
    town.run_for(secs(20));
    town.choose(0, 0, &DeviceSettings { alerts: false, ..all() });
    town.run_for(secs(100));
    assert_eq!((alerts(&town, 0), badge(&town, 0)), (0, Some(1)), "the badge alone");
    town.choose(0, 0, &all());
    town.deliver(0, "in time");
    town.run_for(secs(10));
    assert_eq!((alerts(&town, 0), last(&town).payload.n), (1, 1), "nothing of the meantime");
    clean(town);
}

#[test]
fn a_notice_in_doubt_does_not_go_out_again_to_a_phone_that_wants_no_alerts() {
    let mut town = one_person();
    town.turn_apns(|knobs| knobs.requests_lost = Share::percent(100));
    town.deliver(0, "lost on the way");
    town.run_for(secs(5));
    town.choose(0, 0, &DeviceSettings { alerts: false, ..all() });
    town.run_for(secs(120));
    town.turn_apns(|knobs| knobs.requests_lost = Share(0));
    town.run_for(secs(120));
    assert!(town.is_quiet());
    assert_eq!((alerts(&town, 0), badge(&town, 0)), (0, Some(1)));
    clean(town);
}

#[test]
fn alerts_that_were_turned_off_stay_so_though_the_engine_dies() {
    let mut town = one_person();
    town.turn_apns(|knobs| knobs.requests_lost = Share::percent(100));
    town.deliver(0, "lost on the way");
    town.run_for(secs(5));
    town.choose(0, 0, &DeviceSettings { alerts: false, ..all() });
    town.world.crash(0);
    town.turn_apns(|knobs| knobs.requests_lost = Share(0));
    town.run_for(secs(120));
    assert_eq!((alerts(&town, 0), badge(&town, 0)), (0, Some(1)));
    clean(town);
}

#[test]
fn a_notice_in_doubt_goes_out_again_as_its_user_wants_it_by_now() {
    let mut town = one_person();
    town.turn_apns(|knobs| knobs.answers_lost = Share::percent(100));
    town.deliver(0, "secret plans");
    town.run_for(secs(5));
    let first = last(&town).clone();
    assert!(first.payload.has_details() && first.payload.sound);
    town.choose(
        0,
        0,
        &DeviceSettings { details: false, badge: false, localized: false, sound: None, ..all() },
    );
    town.run_for(secs(60));
    town.turn_apns(|knobs| knobs.answers_lost = Share(0));
    town.run_for(secs(120));
    let again = last(&town);
    assert!(again.duplicate && again.collapse_id == first.collapse_id, "in its place on the screen");
    let payload = &again.payload;
    assert_eq!(
        (payload.has_details(), payload.sound, payload.by_key, payload.badge),
        (false, false, false, None)
    );
    clean(town);
}

#[test]
fn a_badge_in_doubt_does_not_go_out_again_to_a_phone_that_wants_none_and_comes_when_it_does() {
    let timing = Timing { min_interval_ms: 0, settle_ms: 0, ..Timing::default() };
    let mut town = live(TownConfig { users: 1, wait_max: secs(600), timing, ..TownConfig::default() });
    town.deliver(0, "one");
    town.deliver(0, "two");
    town.run_for(secs(20));
    town.turn_apns(|knobs| knobs.requests_lost = Share::percent(100));
    town.read(0, 0);
    town.run_for(secs(5));
    town.choose(0, 0, &DeviceSettings { badge: false, ..all() });
    town.run_for(secs(120));
    town.turn_apns(|knobs| knobs.requests_lost = Share(0));
    town.run_for(Span::from_secs(120));
    assert_eq!(badge(&town, 0), Some(2), "as it was");
    town.choose(0, 0, &all());
    town.run_for(secs(30));
    assert_eq!(badge(&town, 0), Some(1));
    clean(town);
}

#[test]
fn a_mail_that_a_phone_did_not_want_to_hear_of_takes_none_away_from_it_when_it_is_read() {
    let timing = Timing { settle_ms: 20_000, max_delay_ms: 60_000, ..Timing::default() };
    let mut town = live(TownConfig { users: 1, phones: 2, timing, ..TownConfig::default() });
    town.choose(0, 1, &DeviceSettings { alerts: false, ..all() });
    town.deliver(0, "for the first phone alone");
    town.run_for(secs(2));
    town.choose(0, 1, &all());
    town.deliver(0, "for both");
    town.run_for(secs(2));
    town.read(0, 0);
    town.run_for(secs(60));
    let told = |phone: usize| -> Vec<u32> {
        town.told(0, phone).iter().filter(|push| push.payload.is_alert()).map(|push| push.payload.n).collect()
    };
    assert_eq!((told(0), told(1)), (vec![1], vec![1]));
    clean(town);
}
