//! What a phone is to be told, by examples.

use super::*;

const RULES: Rules = Rules {
    detail_cutoff: Span::from_secs(43_200),
    wait_max: Span::from_secs(20),
    crossing_max: Span::from_secs(1),
    look_max: Span::ZERO,
    clock_set_max: Span::ZERO,
    transit_max: Span::from_secs(1),
};

fn at(s: u64) -> Time {
    Time(0) + Span::from_secs(s)
}

fn mail(arrived_s: u64) -> Mail {
    Mail { item: 1, at: at(arrived_s), gone: Time::NEVER, unread: true, counts: true, moved_in: false }
}

fn phone() -> Phone {
    Phone {
        since: at(100),
        present_since: at(100),
        until: Time::NEVER,
        active: UnixMillis(1_000_000),
        wants: vec![(Time(0), Wants::default())],
        stops: Vec::new(),
    }
}

#[test]
fn a_mail_that_stays_has_to_be_told() {
    assert_eq!(phone().duty(&mail(200), &User::default(), &RULES), Duty::Must);
}

#[test]
fn a_mail_read_while_it_may_still_wait_need_not_be_told() {
    let read = |s| Mail { gone: at(s), ..mail(200) };
    assert_eq!(phone().duty(&read(220), &User::default(), &RULES), Duty::May);
    assert_eq!(phone().duty(&read(221), &User::default(), &RULES), Duty::Must);
}

#[test]
fn a_mail_from_before_the_registration_is_not_told() {
    assert_eq!(phone().duty(&mail(98), &User::default(), &RULES), Duty::MustNot);
    assert_eq!(phone().duty(&mail(100), &User::default(), &RULES), Duty::May);
    assert_eq!(phone().duty(&mail(101), &User::default(), &RULES), Duty::Must);
}

#[test]
fn a_phone_that_goes_need_not_be_told_any_more_and_later_must_not() {
    let gone = Phone { until: at(210), ..phone() };
    assert_eq!(gone.duty(&mail(150), &User::default(), &RULES), Duty::Must);
    assert_eq!(gone.duty(&mail(200), &User::default(), &RULES), Duty::May);
    assert_eq!(gone.duty(&mail(212), &User::default(), &RULES), Duty::MustNot);
}

#[test]
fn a_stop_lets_off_the_mails_around_it() {
    let phone = Phone { stops: vec![Stop { from: at(300), to: at(400) }], ..phone() };
    for (arrived_s, duty) in
        [(279, Duty::Must), (280, Duty::May), (350, Duty::May), (401, Duty::May), (402, Duty::Must)]
    {
        assert_eq!(phone.duty(&mail(arrived_s), &User::default(), &RULES), duty, "{arrived_s}");
    }
    for (s, stopped) in [(301, false), (302, true), (399, true), (400, false)] {
        assert_eq!(phone.surely_stopped(at(s), &RULES), stopped, "{s}");
    }
}

#[test]
fn details_end_with_the_cutoff() {
    let last = 1_000_000 + 43_200_000 + 1_000 - 1;
    let now = |unix_ms| Now { time: at(300), unix: UnixMillis(unix_ms) };
    assert!(phone().details_allowed(now(last), &RULES));
    assert!(!phone().details_allowed(now(last + 1), &RULES));
    let unwanted = Phone { wants: vec![(Time(0), Wants { details: false, ..Wants::default() })], ..phone() };
    assert!(!unwanted.details_allowed(now(1_000_000), &RULES));
}

#[test]
fn what_its_user_wants_changes_with_time() {
    let silent = Wants { alerts: false, ..Wants::default() };
    let mut phone = Phone { wants: vec![(Time(0), Wants::default()), (at(300), silent)], ..phone() };
    // Whoever waits when alerts end need not be told, whoever comes later must not.
    for (arrived_s, duty) in
        [(278, Duty::Must), (279, Duty::May), (301, Duty::May), (302, Duty::MustNot), (400, Duty::MustNot)]
    {
        assert_eq!(phone.duty(&mail(arrived_s), &User::default(), &RULES), duty, "{arrived_s}");
    }
    phone.wants.push((at(500), Wants::default()));
    // The mail of the meantime may be heard of late.
    for (arrived_s, duty) in [(400, Duty::May), (500, Duty::May), (501, Duty::Must)] {
        assert_eq!(phone.duty(&mail(arrived_s), &User::default(), &RULES), duty, "{arrived_s}");
    }
    let wanted = |s| phone.wanted(at(s), at(s)).map(|wants| wants.alerts).collect::<Vec<_>>();
    assert_eq!(
        [wanted(299), wanted(300), wanted(301), wanted(500)],
        [vec![true], vec![true, false], vec![false], vec![false, true]]
    );
}

#[test]
fn the_badge_is_what_is_unread() {
    let read = Mail { unread: false, ..mail(5) };
    let user = User { mails: vec![mail(4), read], unread_before: 7, ..User::default() };
    assert_eq!(user.unread(), 8);
}

#[test]
fn a_mail_that_was_moved_here_may_be_told_or_was_told_before() {
    let mail = Mail { moved_in: true, ..mail(200) };
    assert_eq!(phone().duty(&mail, &User::default(), &RULES), Duty::May);
}
