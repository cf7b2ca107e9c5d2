//! Tokens that the push service does not know: one user's are nobody else's affair, however many there are; a whole app's are noticed,
//! and no phone is lost.

use super::*;

/// So long after a mail its phone has surely rung, if nothing holds it up.
const SOON: Span = Span::from_secs(15);

fn refused(town: &Town) -> u64 {
    town.world.apns[0].stats().refused_for(Reason::BadDeviceToken)
}

/// A town in which everybody was told of a mail.
fn well(users: usize) -> Town {
    let config =
        TownConfig { users, knobs: answers_in(ms(60)), wait_max: secs(7_200), ..TownConfig::default() };
    let mut town = live(config);
    deliver_to_all(&mut town, "before");
    town.run_for(secs(20));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, users)]));
    town
}

/// Mail comes for one of these people after the other, each after so long; each is told soon.
fn each_is_told(town: &mut Town, people: std::ops::Range<usize>, pause: Span, mails: usize) {
    for person in people.cycle().take(mails) {
        let before = story::alerts(town, person);
        town.deliver(person, "to somebody else");
        town.run_for(SOON);
        assert_eq!(story::alerts(town, person), before + 1, "{person} was not told in time");
        town.run_for(pause);
    }
}

/// One try in thirty seconds, after the first ones that come together.
fn tries(devices: u64, span: Span) -> u64 {
    devices + 2 + span.0 / 30_000_000
}

#[test]
fn one_users_made_up_tokens_hold_up_nobody_else_however_often_they_are_registered() {
    for every in [secs(1), secs(25), secs(100_000)] {
        let mut town = well(20);
        let begin = town.world.now().time;
        town.make_tokens_up(0, 15, every);
        town.run_for(secs(5));
        town.deliver(0, "to whoever makes tokens up");
        town.run_for(secs(5));
        each_is_told(&mut town, 1..20, secs(15), 60);
        assert_eq!(troubles(&town), Vec::<String>::new());
        let (refused, most) = (refused(&town), tries(15, town.world.now().time.since(begin)));
        assert!((15..=most).contains(&refused), "{refused} pushes to made-up tokens, {most} at most");
        town.stop_making_tokens_up();
        town.run_for(secs(120));
        assert!(town.is_quiet());
        clean(town);
    }
}

#[test]
fn a_tester_with_eight_development_builds_is_nobody_elses_trouble() {
    let mut town = well(10);
    town.make_tokens_up(3, 8, secs(100_000));
    for _ in 0..20 {
        town.deliver(3, "to the tester");
        town.run_for(secs(20));
    }
    assert_eq!(refused(&town), 8, "each build was tried once");
    assert_eq!(story::alerts(&town, 3), 21, "the tester's own phone rings on");
    each_is_told(&mut town, 0..10, secs(1), 20);
    assert_eq!(troubles(&town), Vec::<String>::new());
    clean(town);
}

#[test]
fn made_up_tokens_hold_up_nobody_right_after_a_start_either() {
    let mut town = well(20);
    town.make_tokens_up(0, 12, secs(25));
    town.world.crash(0);
    // Nobody has anything to be told for a while: in this life no token is known to be good, and nothing was ever accepted.
    town.run_for(secs(150));
    assert_eq!((troubles(&town), recoveries(&town)), (vec!["BadDeviceToken".to_owned()], 0));
    each_is_told(&mut town, 1..20, secs(15), 40);
    assert_eq!(recoveries(&town), troubles(&town).len(), "told of, and over");
    town.stop_making_tokens_up();
    town.run_for(secs(120));
    assert!(town.is_quiet());
    clean(town);
}

#[test]
fn whoever_was_told_before_is_told_while_the_breaker_is_open() {
    let mut town = well(30);
    // Ten people with tokens that nobody knows, all at once: it looks like everybody's trouble.
    (0..10).for_each(|person| town.make_tokens_up(person, 4, secs(100_000)));
    town.run_for(secs(10));
    assert_eq!((troubles(&town), recoveries(&town)), (vec!["BadDeviceToken".to_owned()], 0));
    let before = refused(&town);
    town.deliver(20, "while it is open");
    town.run_for(SOON);
    assert_eq!((story::alerts(&town, 20), recoveries(&town)), (2, 1), "told at once, and that closes it");
    // Each of the others has one more chance, and no more.
    town.run_for(secs(600));
    assert!(refused(&town) <= before + 40, "{before}, then {}", refused(&town));
    each_is_told(&mut town, 0..30, secs(1), 30);
    town.stop_making_tokens_up();
    town.run_for(secs(60));
    assert!(town.is_quiet());
    clean(town);
}

#[test]
fn among_many_wrong_tokens_that_register_again_and_again_the_right_ones_are_tried_soon() {
    let mut town = well(30);
    (0..10).for_each(|person| town.make_tokens_up(person, 4, secs(25)));
    // In this life nobody's token is known to be good yet, and those that are not come first.
    town.world.crash(0);
    town.run_for(secs(60));
    assert_eq!(troubles(&town).last().map(String::as_str), Some("BadDeviceToken"));
    town.deliver(20, "held back until tried");
    // Every other try is of somebody who was not refused, and a try comes within thirty seconds of each registration.
    town.run_for(secs(75));
    assert_eq!(story::alerts(&town, 20), 2);
    each_is_told(&mut town, 20..21, secs(1), 10);
    town.stop_making_tokens_up();
    town.run_for(secs(120));
    assert!(town.is_quiet());
    clean(town);
}

#[test]
fn a_small_office_whose_app_was_updated_to_the_wrong_environment_is_told_of_and_keeps_its_phones() {
    let mut town = well(3);
    (0..3).for_each(|person| town.misplace_token(person, 0, true));
    deliver_to_all(&mut town, "to wrong tokens");
    town.run_for(secs(120));
    assert_eq!((troubles(&town), recoveries(&town)), (vec!["BadDeviceToken".to_owned()], 0));
    assert_eq!((town.world.stats(0).devices, alerts_by_phone(&town)), (3, BTreeMap::from([(1, 3)])));
    town.run_for(secs(1_200));
    assert!(refused(&town) < 15, "one try now and then: {}", refused(&town));
    // The right build comes, and each app registers in its own time. The first to do so is told of what waited.
    for person in 0..3 {
        town.renew_push_token(person, 0, false);
        town.run_for(secs(40));
        town.deliver(person, "to the right token");
        town.run_for(SOON);
        assert_eq!(story::mails_told(&town, person), if person == 0 { 3 } else { 2 }, "{person}");
    }
    assert_eq!(recoveries(&town), 1);
    assert!(town.is_quiet());
}

#[test]
fn a_user_whose_tokens_were_often_refused_is_told_soon_after_the_right_one_came() {
    let mut town = well(2);
    for _ in 0..6 {
        town.misplace_token(0, 0, true);
        town.deliver(1, "works");
        town.run_for(secs(20));
    }
    assert!((2..=6).contains(&refused(&town)));
    town.renew_push_token(0, 0, false);
    town.deliver(0, "at the right one");
    town.run_for(secs(40));
    assert_eq!(story::mails_told(&town, 0), 2);
    // And what was refused before is forgotten: the next wrong one is tried at once.
    let before = refused(&town);
    town.misplace_token(0, 0, true);
    town.run_for(SOON);
    assert_eq!(refused(&town), before + 1);
}
