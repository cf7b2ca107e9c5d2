//! The end of an outage: what has piled up leaves a few at first, then more, and never all at once.

use super::*;

/// Pushes that go out once the first is accepted again: the window of a lane that was slowed down.
const FIRST_WINDOW: usize = 16;

const PHONES: usize = 600;

/// A town whose lane has grown to carry a push to each phone at once, before its push service fails for so long. Meanwhile
/// each phone has something to be told. Answers take 100 ms.
fn failing(fail: impl FnOnce(&mut Town), outage: Span) -> Town {
    let config = TownConfig {
        users: PHONES,
        knobs: answers_in(ms(100)),
        wait_max: secs(3_600),
        vigilant: false,
        ..TownConfig::default()
    };
    let mut town = live(config);
    for round in 0..3 {
        deliver_to_all(&mut town, &format!("before, {round}"));
        town.run_for(secs(60));
    }
    assert!(most_within(&town, ms(100), Time(0)) > PHONES / 10 * 9, "one window holds them all");
    fail(&mut town);
    deliver_to_all(&mut town, "meanwhile");
    town.run_for(outage);
    assert_eq!(troubles(&town), ["provider_unavailable"]);
    town
}

/// The most pushes that arrived, and were accepted, within any such time from then on.
fn most_within(town: &Town, span: Span, from: Time) -> usize {
    let at: Vec<Time> = town.deliveries.iter().map(|push| push.at.time).filter(|at| *at >= from).collect();
    let within = |first: &Time| at.iter().filter(|at| (*first..*first + span).contains(at)).count();
    at.iter().map(within).max().unwrap_or(0)
}

fn comes_back_slowly(town: &mut Town, what: &str) {
    let (from, told) = (town.world.now().time, town.deliveries.len());
    run_until(town, secs(90), |town| town.deliveries.len() > told);
    town.run_for(ms(90));
    assert_eq!(town.deliveries.len(), told + 1, "{what}: one tries, until its answer comes");
    run_until(town, ms(20), |town| town.deliveries.len() > told + 1);
    // None of these is answered yet.
    town.run_for(ms(90));
    let few = town.deliveries.len() - told - 1;
    assert!((1..=FIRST_WINDOW).contains(&few), "{what}: {few} after the first accept");
    town.run_for(secs(60));
    assert!(town.is_quiet() && recoveries(town) == 1, "{what}");
    let most = most_within(town, ms(100), from);
    assert!(most <= PHONES / 2, "{what}: {most} within 100 ms");
}

#[test]
fn after_503_a_few_go_first_and_never_all_at_once() {
    let fail = |town: &mut Town| town.turn_apns(|knobs| knobs.unavailable_until = Time::NEVER);
    let mut town = failing(fail, secs(900));
    town.turn_apns(|knobs| knobs.unavailable_until = Time(0));
    comes_back_slowly(&mut town, "503");
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(4, PHONES)]));
    clean(town);
}

/// A lane on which 500 came three times is replaced: the push that is accepted may be the first on its lane, or a later one.
#[test]
fn after_500_a_few_go_first_and_never_all_at_once() {
    for minutes in [15, 16, 17] {
        let fail = |town: &mut Town| town.turn_apns(|knobs| knobs.internal_errors = Share(1_000_000));
        let mut town = failing(fail, secs(60 * minutes));
        town.turn_apns(|knobs| knobs.internal_errors = Share(0));
        comes_back_slowly(&mut town, &format!("500 for {minutes} min"));
        clean(town);
    }
}

/// Apple asks not to retry at once what was answered with 5xx.
/// Nobody knows whether the phone has it. The mail is too old to be told by now, but not if it was never tried.
#[test]
fn a_push_in_doubt_is_not_sent_again_when_its_alert_has_expired() {
    for (away, alerts) in [(secs(40), 1), (secs(90), 0)] {
        let timing = Timing { alert_expiry_s: 60, ..Timing::default() };
        let mut town = live(TownConfig { users: 1, timing, wait_max: secs(600), ..TownConfig::default() });
        town.turn_apns(|knobs| knobs.requests_lost = Share::percent(100));
        town.deliver(0, "swallowed");
        town.run_for(away);
        let expired = town.world.ledger().expired;
        assert_eq!((story::alerts(&town, 0), expired), (0, 1 - alerts as u64));
        town.turn_apns(|knobs| knobs.requests_lost = Share(0));
        town.run_for(secs(300));
        assert_eq!(story::alerts(&town, 0), alerts, "away for {away:?}");
        assert!(town.is_quiet());
        town.deliver(0, "in time");
        town.run_for(secs(20));
        assert_eq!(story::alerts(&town, 0), alerts + 1);
        // The audit knows of no alert that expires.
        assert!(town.world.apns[0].stats().strict.is_clean());
    }
}

#[test]
fn a_push_that_failed_inside_the_service_waits_before_it_is_sent_again() {
    let mut town = live(TownConfig { users: 1, ..TownConfig::default() });
    town.turn_apns(|knobs| knobs.internal_errors = Share(1_000_000));
    let errors = |town: &Town| town.world.apns[0].stats().refused_for(Reason::InternalServerError);
    town.deliver(0, "once");
    run_until(&mut town, secs(30), |town| errors(town) == 1);
    town.turn_apns(|knobs| knobs.internal_errors = Share(0));
    let (from, told) = (town.world.now().time, town.deliveries.len());
    run_until(&mut town, secs(5), |town| town.deliveries.len() > told);
    let waited = town.world.now().time.since(from);
    assert!(waited >= ms(500), "{waited:?}");
    clean(town);
}
