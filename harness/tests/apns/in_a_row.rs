//! What counts only in a row begins anew with a success: so many as are let pass, one that is accepted, and as many again.

use super::*;
use carillon_core::limits::{DOUBTED_USERS_MAX, SERVICE_FAILURES_MAX, STALE_GONE_MAX};

/// Everything is refused for this reason, until so many more were.
fn refuse(town: &mut Town, reason: Reason, times: u64) {
    let refused = |town: &Town| town.world.apns[0].stats().refused_for(reason);
    let before = refused(town);
    town.turn_apns(|knobs| (knobs.refusals, knobs.refusal) = (Share::percent(100), reason));
    run_until(town, secs(1_200), |town| refused(town) == before + times);
    town.turn_apns(|knobs| knobs.refusals = Share(0));
}

fn one_phone() -> Town {
    let knobs = answers_in(ms(20));
    live(TownConfig { users: 1, knobs, wait_max: secs(1_800), vigilant: false, ..TownConfig::default() })
}

#[test]
fn a_token_that_is_called_gone_too_early_now_and_then_keeps_all_its_mail() {
    let mut town = one_phone();
    let device = town.people[0].phones[0].device;
    for round in 0..4 {
        let yesterday = UnixMillis(town.world.now().unix.0 - 86_400_000);
        town.world.apns[0].distrust(device, yesterday, STALE_GONE_MAX.into());
        town.deliver(0, "told at last");
        town.run_for(secs(60));
        assert_eq!(story::mails_told(&town, 0), round + 1);
    }
    let stale = town.world.stats(0).tokens_kept;
    assert_eq!(stale, 4 * u64::from(STALE_GONE_MAX), "the answers came");
    clean(town);
}

#[test]
fn a_token_that_is_called_gone_too_early_once_too_often_in_a_row_gives_its_notice_up() {
    let mut town = one_phone();
    let device = town.people[0].phones[0].device;
    let yesterday = UnixMillis(town.world.now().unix.0 - 86_400_000);
    town.world.apns[0].distrust(device, yesterday, u32::from(STALE_GONE_MAX) + 1);
    town.deliver(0, "never told");
    town.run_for(secs(60));
    assert_eq!((story::mails_told(&town, 0), town.world.stats(0).devices), (0, 1));
    town.deliver(0, "told");
    town.run_for(secs(60));
    assert_eq!(story::mails_told(&town, 0), 1);
}

#[test]
fn a_service_that_fails_often_and_works_in_between_is_never_left_alone() {
    for reason in [Reason::ServiceUnavailable, Reason::InternalServerError] {
        let mut town = one_phone();
        for round in 0..4 {
            town.deliver(0, "told at last");
            refuse(&mut town, reason, u64::from(SERVICE_FAILURES_MAX) - 1);
            town.run_for(secs(70));
            assert_eq!(story::mails_told(&town, 0), round + 1);
        }
        assert_eq!(troubles(&town), Vec::<String>::new(), "{reason:?}");
        // One more in a row is one too many.
        town.deliver(0, "during an outage");
        refuse(&mut town, reason, u64::from(SERVICE_FAILURES_MAX));
        town.run_for(secs(70));
        assert_eq!((troubles(&town), recoveries(&town)), (vec!["provider_unavailable".to_owned()], 1));
        clean(town);
    }
}

#[test]
fn who_is_refused_by_a_few_users_at_a_time_and_accepted_in_between_is_never_broken() {
    let users = 5 * DOUBTED_USERS_MAX;
    let config =
        TownConfig { users, knobs: answers_in(ms(20)), wait_max: secs(600), ..TownConfig::default() };
    let mut town = live(config);
    for round in 0..4 {
        // The last of all is always well.
        let some = (round * DOUBTED_USERS_MAX)..(round * DOUBTED_USERS_MAX + DOUBTED_USERS_MAX - 1);
        move_to_sandbox(&mut town, some.clone());
        some.for_each(|person| _ = town.deliver(person, "to a token that nobody knows"));
        town.run_for(secs(15));
        town.deliver(users - 1, "to a good one");
        town.run_for(secs(15));
    }
    assert_eq!(troubles(&town), Vec::<String>::new());
    let refused = town.world.apns[0].stats().refused_for(Reason::BadDeviceToken);
    assert_eq!(refused, 4 * (DOUBTED_USERS_MAX as u64 - 1), "each once");
}

/// The first pause after a success is short, however long the last one before it was.
#[test]
fn pauses_of_a_device_and_of_the_service_begin_small_again_after_a_success() {
    // 429 grows by device; 403 pauses the service.
    for reason in [Reason::TooManyRequests, Reason::Forbidden] {
        let mut town = one_phone();
        for round in 0..3 {
            town.deliver(0, "told at last");
            refuse(&mut town, reason, 6);
            run_until(&mut town, secs(70), |town| story::mails_told(town, 0) == 2 * round + 1);
            // What comes now is refused once, and tried again soon.
            town.deliver(0, "soon after");
            refuse(&mut town, reason, 1);
            let from = town.world.now().time;
            run_until(&mut town, secs(70), |town| story::mails_told(town, 0) == 2 * round + 2);
            let waited = town.world.now().time.since(from);
            assert!(waited < secs(3), "{reason:?}, round {round}: {waited:?}");
        }
        clean(town);
    }
}

#[test]
fn a_lane_that_works_is_replaced_at_once_each_time_it_breaks() {
    let mut town = one_phone();
    for round in 0..6 {
        let conn = connections(&town)[0];
        let before = town.world.apns[0].stats().connections;
        town.world.apns[0].reset_connection(conn);
        town.world.collect();
        run_until(&mut town, secs(1), |town| town.world.apns[0].stats().connections > before);
        town.deliver(0, "over the next one");
        run_until(&mut town, secs(10), |town| story::mails_told(town, 0) == round + 1);
        town.run_for(secs(10));
    }
    assert_eq!(troubles(&town), Vec::<String>::new());
    clean(town);
}
