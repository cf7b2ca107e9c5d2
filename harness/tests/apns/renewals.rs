//! Tokens that are replaced while something is on its way, and mails that are read while it waits.

use super::*;

/// One person; answers take two seconds, so that things can happen before they come.
fn slow_answers() -> Town {
    let config =
        TownConfig { users: 1, knobs: answers_in(secs(2)), wait_max: secs(900), ..TownConfig::default() };
    live(config)
}

fn alerts(town: &Town) -> Vec<u128> {
    let told = town.told(0, 0).into_iter().filter(|push| push.payload.is_alert());
    told.map(|push| push.apns_id).collect()
}

#[test]
fn a_token_that_is_gone_counts_for_nothing_once_it_was_replaced() {
    let mut town = slow_answers();
    town.expire_token(0, 0);
    town.deliver(0, "to the token before");
    run_until(&mut town, secs(10), |town| in_flight(town) > 0);
    town.run_for(ms(500));
    // The push service's clock is ahead: the old token seems to have gone after the new one was registered.
    let device = town.people[0].phones[0].device;
    let later = UnixMillis(town.world.now().unix.0 + 60_000);
    town.world.apns[0].set_expired(device, later);
    town.renew_push_token(0, 0, false);
    town.run_for(secs(30));
    assert_eq!(town.world.stats(0).devices, 1, "the device stays");
    assert_eq!(alerts(&town).len(), 1, "at the new token");
    clean(town);
}

#[test]
fn a_wrong_token_counts_for_nothing_once_its_app_has_registered_again() {
    let mut town = slow_answers();
    town.deliver(0, "works");
    town.run_for(secs(30));
    for renewed in [false, true] {
        let before = alerts(&town).len();
        town.misplace_token(0, 0, true);
        town.deliver(0, "to the wrong token");
        run_until(&mut town, secs(20), |town| in_flight(town) > 0);
        town.run_for(ms(500));
        match renewed {
            true => town.renew_push_token(0, 0, false),
            false => town.register_again(0, 0),
        }
        // The refusal comes after that.
        town.run_for(secs(30));
        assert_eq!(alerts(&town).len(), before + 1, "{renewed}");
    }
    clean(town);
}

#[test]
fn a_notice_that_the_old_token_may_have_shown_keeps_its_id_at_the_new_one_though_that_is_refused() {
    let config = TownConfig { users: 1, wait_max: secs(900), ..TownConfig::default() };
    let mut town = live(config);
    town.turn_apns(|knobs| knobs.answers_lost = Share::percent(100));
    town.deliver(0, "taken, and nobody knows");
    town.run_for(secs(5));
    let first = alerts(&town);
    town.misplace_token(0, 0, false);
    town.turn_apns(|knobs| knobs.answers_lost = Share(0));
    town.run_for(secs(60));
    town.renew_push_token(0, 0, false);
    town.run_for(secs(400));
    let all = alerts(&town);
    assert!(all.len() >= 2 && all.iter().all(|id| *id == first[0]), "{all:x?}");
    clean(town);
}

#[test]
fn a_notice_to_the_old_token_goes_to_the_new_one_though_the_engine_dies_between() {
    let mut town = live(TownConfig { users: 1, wait_max: secs(900), ..TownConfig::default() });
    town.turn_apns(|knobs| (knobs.refusals, knobs.refusal) = (Share::percent(100), Reason::Forbidden));
    town.deliver(0, "waits");
    town.run_for(secs(10));
    town.renew_push_token(0, 0, false);
    town.world.crash(0);
    town.turn_apns(|knobs| knobs.refusals = Share(0));
    town.run_for(secs(120));
    assert_eq!(alerts(&town).len(), 1);
    clean(town);
}

#[test]
fn a_mail_that_is_read_while_its_push_is_refused_again_and_again_is_not_told_afterwards() {
    for reason in [Reason::Forbidden, Reason::TooManyRequests, Reason::ServiceUnavailable] {
        let mut town = live(TownConfig { users: 1, wait_max: secs(60), ..TownConfig::default() });
        town.turn_apns(|knobs| (knobs.refusals, knobs.refusal) = (Share::percent(100), reason));
        town.deliver(0, "read meanwhile");
        // Long after it was due.
        town.run_for(secs(30));
        town.read(0, 0);
        town.run_for(secs(1));
        town.turn_apns(|knobs| knobs.refusals = Share(0));
        town.run_for(secs(120));
        assert_eq!(alerts(&town), [], "{reason:?}");
        clean(town);
    }
}
