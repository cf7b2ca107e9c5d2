//! What the world can do to a town: stories of connections, clocks, tokens and power.

use carillon_core::time::Span;
use carillon_harness::world::Clock;
use carillon_harness::world::story::{clean, live, secs};
use carillon_harness::world::town::{MAIL, PUSH, Town, TownConfig};

#[test]
fn connections_that_stand_still_are_given_up_and_what_came_meanwhile_is_told() {
    let mut town = live(TownConfig { wait_max: secs(1_200), ..TownConfig::default() });
    town.world.net.stalls = 500_000;
    town.deliver(0, "into the silence");
    town.run_for(secs(20));
    town.world.net.stalls = 0;
    town.run_for(secs(900));
    assert!(town.told(0, 0).iter().any(|push| push.payload.is_alert()));
    clean(town);
}

#[test]
fn a_side_that_ends_early_loses_no_mail() {
    let mut town = live(TownConfig { wait_max: secs(1_200), ..TownConfig::default() });
    town.world.net.half_closes = 300_000;
    for _ in 0..5 {
        town.deliver(0, "while sides end");
        town.run_for(secs(10));
    }
    town.world.net.half_closes = 0;
    town.run_for(secs(900));
    assert_eq!(clean(town).mails, 5);
}

#[test]
fn a_mail_servers_clock_that_is_off_and_is_set_loses_no_mail_of_a_gap() {
    let mut town = live(TownConfig { wait_max: secs(600), ..TownConfig::default() });
    for ahead_ms in [0, 20_000, -20_000, 5_000] {
        town.world.set_clock(MAIL, Clock { ahead_ms, drift_ppm: 200 });
        town.deliver(0, "told by an event");
        town.run_for(secs(60));
        town.world.crash(0);
        town.deliver(0, "found by looking");
        town.run_for(secs(60));
    }
    assert_eq!(clean(town).lost.count, 0);
}

#[test]
fn provider_tokens_are_renewed_through_the_day_within_the_budget() {
    let mut town = live(TownConfig { tokens: Some(secs(25 * 60)), shards: 2, ..TownConfig::default() });
    town.world.set_clock(PUSH, Clock { ahead_ms: -240_000, drift_ppm: 0 });
    for _ in 0..18 {
        town.deliver(0, "every ten minutes");
        town.deliver(1, "every ten minutes");
        town.run_for(secs(600));
    }
    let refused = &town.world.apns[0].stats().refused;
    assert!(refused.is_empty(), "{refused:?}");
    clean(town);
}

#[test]
fn tokens_that_look_expired_for_a_while_cost_no_mail() {
    let mut town =
        live(TownConfig { tokens: Some(secs(50 * 60)), wait_max: secs(3_600), ..TownConfig::default() });
    town.turn_apns(|knobs| knobs.tokens.age_max = Span::ZERO);
    town.run_for(secs(2));
    town.deliver(0, "refused at first");
    town.run_for(secs(120));
    assert!(!town.told(0, 0).iter().any(|push| push.payload.is_alert()));
    town.turn_apns(|knobs| knobs.tokens.age_max = secs(3_600));
    town.run_for(secs(3_600));
    assert!(town.told(0, 0).iter().any(|push| push.payload.is_alert()));
    clean(town);
}

#[test]
fn a_loss_of_power_tells_again_what_was_told_in_the_last_second_and_nothing_older() {
    let mut town = live(TownConfig::default());
    let alerts = |town: &Town| town.told(0, 0).iter().filter(|push| push.payload.is_alert()).count();
    town.deliver(0, "told long ago");
    town.run_for(secs(10));
    town.lose_power(secs(1));
    town.run_for(secs(60));
    assert_eq!(alerts(&town), 1);
    town.deliver(0, "told just now");
    while alerts(&town) == 1 {
        town.run_for(Span::from_millis(10));
    }
    town.lose_power(secs(1));
    town.run_for(secs(60));
    assert_eq!(alerts(&town), 3);
    clean(town);
}

#[test]
fn a_registration_of_the_last_second_that_a_loss_of_power_takes_is_made_again() {
    let mut town = live(TownConfig::default());
    town.stop(0);
    town.run_for(secs(10));
    town.register_again(0, 0);
    town.run_for(Span::from_millis(300));
    town.lose_power(Span::from_millis(900));
    town.run_for(secs(30));
    town.deliver(0, "to whom has registered");
    town.run_for(secs(30));
    assert!(town.told(0, 0).iter().any(|push| push.payload.is_alert()));
    clean(town);
}
