//! Each kind of fault is found, and nothing else is.

use std::sync::Arc;

use carillon_core::rng::Rng;
use carillon_core::shard::UnsettledNotice;
use carillon_core::time::{Now, Span, Time, UnixMillis};
use proptest::prelude::*;

use super::*;
use crate::apns::device::{Arrival, Device};
use crate::apns::{AlertKind, Delivery, DeviceIx, Payload, PayloadFault, PushType};
use crate::peer::PeerConn;
use crate::phone::Wants;

const CUTOFF_S: u64 = 43_200;
const START_MS: u64 = 1_750_000_000_000;

fn rules() -> Rules {
    Rules {
        detail_cutoff: Span::from_secs(CUTOFF_S),
        wait_max: Span::from_secs(20),
        crossing_max: Span::from_secs(1),
        look_max: Span::ZERO,
        clock_set_max: Span::ZERO,
        transit_max: Span::from_secs(1),
    }
}

fn at(s: u64) -> Time {
    Time(0) + Span::from_secs(s)
}

fn now(s: u64) -> Now {
    Now { time: at(s), unix: UnixMillis(START_MS + s * 1_000) }
}

fn push(s: u64, apns_id: u128, badge: u32, n: u32, items: &[u64]) -> Delivery {
    let alert = if n == 0 { AlertKind::None } else { AlertKind::Generic };
    Delivery {
        at: now(s),
        conn: PeerConn(1),
        device: DeviceIx(0),
        tag: 0,
        token: Arc::from("aa"),
        topic: Arc::from("com.example.mail"),
        apns_id,
        duplicate: false,
        n_before: 0,
        push_type: PushType::Alert,
        priority: 10,
        expiration_s: None,
        collapse_id: None,
        payload: Payload {
            badge: Some(badge),
            alert,
            sound: n > 0,
            by_key: n > 0,
            time_sensitive: false,
            thread: None,
            account: Some(1),
            n,
            items: items.to_vec(),
        },
        fault: None,
        bytes: 100,
    }
}

fn again(first: &Delivery, s: u64) -> Delivery {
    Delivery { at: now(s), duplicate: true, n_before: first.payload.n, ..first.clone() }
}

fn with_details(mut push: Delivery) -> Delivery {
    push.payload.alert = AlertKind::Details { title: "Jane".into(), subtitle: "".into(), body: "".into() };
    push
}

/// One user with one phone, registered and used at 100 s.
struct Desk {
    audit: Audit,
    user: UserIx,
    phone: PhoneIx,
}

impl Desk {
    fn new() -> Desk {
        let mut audit = Audit::new(rules());
        let user = audit.add_user(2);
        let phone = audit.add_phone(user, at(100), now(100).unix, Wants::default());
        Desk { audit, user, phone }
    }

    fn arrived(&mut self, item: u64, s: u64) -> &mut Desk {
        self.audit.arrived(self.user, item, at(s));
        self
    }

    fn told(&mut self, push: &Delivery) -> &mut Desk {
        self.audit.left(self.phone, push.at, &push.payload);
        self.audit.delivered(self.phone, push, |_| {});
        self
    }

    /// The faults, with their counts.
    fn faults(self) -> Vec<(&'static str, u64)> {
        let report = self.audit.finish(now(100_000));
        let found = report.findings().into_iter().filter(|(_, finding)| finding.count > 0);
        found.map(|(name, finding)| (name, finding.count)).collect()
    }
}

#[test]
fn a_run_without_faults_is_clean() {
    let mut desk = Desk::new();
    desk.arrived(1, 200).told(&with_details(push(202, 1, 3, 1, &[1])));
    desk.arrived(2, 300).arrived(3, 301).told(&push(303, 2, 5, 2, &[3, 2]));
    desk.audit.read(desk.user, 2, at(400));
    desk.told(&push(401, 3, 4, 0, &[]));
    let report = desk.audit.finish(now(500));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.mails, report.tellings_owed, report.told_by_name, report.pushes), (3, 3, 3, 3));
    assert_eq!((report.details, report.generic_within_cutoff, report.badge_only), (1, 1, 1));
    assert_eq!(report.badges_checked, 1);
}

#[test]
fn a_mail_told_by_name_gives_its_latency() {
    let mut desk = Desk::new();
    desk.arrived(1, 200);
    let mut told = Vec::new();
    desk.audit.delivered(desk.phone, &push(203, 1, 3, 1, &[1]), |one| told.push(one));
    desk.audit.delivered(desk.phone, &push(204, 2, 3, 1, &[1]), |one| told.push(one));
    let Desk { user, phone, .. } = desk;
    assert_eq!(told, [Told { user, phone, item: 1, arrived: at(200), took: Span::from_secs(3) }]);
}

#[test]
fn a_mail_never_told_is_lost() {
    let mut desk = Desk::new();
    desk.arrived(1, 200).arrived(2, 300).told(&push(302, 1, 4, 1, &[2]));
    assert_eq!(desk.audit.owed(), 1);
    let report = desk.audit.finish(now(500));
    assert_eq!((report.lost.count, report.lost.examples[0].item), (1, Some(1)));
}

#[test]
fn a_mail_told_to_one_phone_is_lost_on_the_other() {
    let mut desk = Desk::new();
    let second = desk.audit.add_phone(desk.user, at(100), now(100).unix, Wants::default());
    desk.arrived(1, 200).told(&push(202, 1, 3, 1, &[1]));
    let report = desk.audit.finish(now(500));
    assert_eq!((report.lost.count, report.lost.examples[0].phone), (1, second));
    // The other phone was never sent a badge either.
    assert_eq!((report.wrong_badges.count, report.wrong_badges.examples[0].phone), (1, second));
}

#[test]
fn a_mail_told_twice_is_a_duplicate() {
    let mut desk = Desk::new();
    desk.arrived(1, 200).told(&push(202, 1, 3, 1, &[1])).told(&push(203, 2, 3, 1, &[1]));
    assert_eq!(desk.faults(), [("duplicates", 1)]);
}

#[test]
fn a_resend_that_the_provider_recognises_is_none() {
    let mut desk = Desk::new();
    let first = push(202, 1, 3, 1, &[1]);
    desk.arrived(1, 200).told(&first).told(&again(&first, 210));
    let report = desk.audit.finish(now(500));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.duplicates_recognised, 1);
}

#[test]
fn a_resend_that_tells_more_than_before_tells_just_that() {
    let mut desk = Desk::new();
    let first = push(202, 1, 3, 1, &[1]);
    desk.arrived(1, 200).told(&first).arrived(2, 203).arrived(3, 204);
    let mut more = again(&first, 210);
    more.payload = push(210, 1, 5, 3, &[3]).payload;
    desk.told(&more);
    assert_eq!(desk.faults(), []);
}

#[test]
fn numbers_tell_mails_that_are_not_named() {
    let mut desk = Desk::new();
    for item in 1..=9 {
        desk.arrived(item, 200);
    }
    desk.told(&push(202, 1, 11, 9, &[9, 8, 7, 6]));
    let report = desk.audit.finish(now(500));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.told_by_name, report.told_by_number), (4, 5));
}

#[test]
fn a_number_too_small_is_a_loss_and_one_too_large_a_duplicate() {
    for (n, faults) in [(8, [("lost", 1)]), (10, [("duplicates", 1)])] {
        let mut desk = Desk::new();
        for item in 1..=9 {
            desk.arrived(item, 200);
        }
        desk.told(&push(202, 1, 11, n, &[9, 8, 7, 6]));
        assert_eq!(desk.faults(), faults);
    }
}

#[test]
fn a_mail_told_by_number_and_again_by_name_is_a_duplicate() {
    let mut desk = Desk::new();
    for item in 1..=5 {
        desk.arrived(item, 200);
    }
    desk.told(&push(202, 1, 7, 5, &[5, 4, 3, 2])).told(&push(203, 2, 7, 1, &[1]));
    assert_eq!(desk.faults(), [("duplicates", 1)]);
}

#[test]
fn a_number_does_not_tell_mails_that_came_later() {
    let mut desk = Desk::new();
    desk.arrived(1, 200).told(&push(202, 1, 3, 2, &[1])).arrived(2, 300).told(&push(302, 2, 4, 0, &[]));
    assert_eq!(desk.faults(), [("lost", 1), ("duplicates", 1)]);
}

#[test]
fn a_mail_read_before_it_was_told_may_be_told_or_not() {
    for told in [false, true] {
        let mut desk = Desk::new();
        desk.arrived(1, 200);
        desk.audit.read(desk.user, 1, at(201));
        if told {
            desk.told(&push(201, 1, 2, 1, &[1]));
        }
        assert_eq!(desk.faults(), []);
    }
}

#[test]
fn a_mail_read_after_the_longest_wait_had_to_be_told() {
    let mut desk = Desk::new();
    desk.arrived(1, 200);
    desk.audit.deleted(desk.user, 1, at(221), true);
    assert_eq!(desk.faults(), [("lost", 1)]);
}

#[test]
fn told_long_after_it_was_read_is_found() {
    let mut desk = Desk::new();
    desk.arrived(1, 200);
    desk.audit.read(desk.user, 1, at(201));
    desk.told(&push(203, 1, 2, 1, &[1]));
    assert_eq!(desk.faults(), [("told_after_gone", 1)]);
}

#[test]
fn what_was_put_down_before_a_mail_was_read_may_be_told_after_it() {
    for (put_down_s, faults) in [(201, &[][..]), (240, &[("told_after_gone", 1)])] {
        let mut desk = Desk::new();
        desk.arrived(1, 200);
        desk.audit.read(desk.user, 1, at(202));
        desk.audit.put_down(at(put_down_s), UnsettledNotice { apns_id: 1, mails: 1, newest: 1 });
        desk.told(&push(290, 1, 2, 1, &[1]));
        assert_eq!(desk.faults(), faults, "put down at {put_down_s} s");
    }
}

#[test]
fn who_can_neither_hear_nor_ask_may_tell_what_was_read() {
    for (deaf_s, faults) in [(190..210, &[][..]), (280..300, &[]), (230..250, &[("told_after_gone", 1)])] {
        let mut desk = Desk::new();
        desk.arrived(1, 200);
        desk.audit.deaf(at(deaf_s.start), at(deaf_s.end));
        desk.audit.read(desk.user, 1, at(202));
        desk.told(&push(290, 1, 2, 1, &[1]));
        assert_eq!(desk.faults(), faults, "deaf in {deaf_s:?}");
    }
    let mut desk = Desk::new();
    desk.arrived(1, 200);
    desk.audit.read(desk.user, 1, at(202));
    desk.audit.unheard(1);
    desk.told(&push(290, 1, 2, 1, &[1]));
    assert_eq!(desk.faults(), []);
}

#[test]
fn details_after_the_cutoff_are_found_and_use_of_the_app_begins_anew() {
    let day_s = 100 + CUTOFF_S + 2;
    let details = |used: bool| {
        let mut desk = Desk::new();
        desk.arrived(1, day_s);
        if used {
            desk.audit.touched(desk.phone, now(day_s - 10).unix);
        }
        desk.told(&with_details(push(day_s, 1, 3, 1, &[1])));
        desk.faults()
    };
    assert_eq!(details(false), [("details_after_cutoff", 1)]);
    assert_eq!(details(true), []);
}

#[test]
fn details_in_a_resend_after_the_cutoff_are_found() {
    let mut desk = Desk::new();
    let first = with_details(push(202, 1, 3, 1, &[1]));
    desk.arrived(1, 200).told(&first).told(&again(&first, 100 + CUTOFF_S + 2));
    assert_eq!(desk.faults(), [("details_after_cutoff", 1)]);
}

#[test]
fn details_after_the_cutoff_are_found_though_nobody_accepted_the_push() {
    let late = with_details(push(100 + CUTOFF_S + 2, 1, 3, 1, &[1]));
    let mut desk = Desk::new();
    desk.audit.left(desk.phone, late.at, &late.payload);
    assert_eq!(desk.faults(), [("details_after_cutoff", 1)]);
}

#[test]
fn details_that_nobody_wants_are_found() {
    let mut desk = Desk::new();
    let wants = Wants { details: false, ..Wants::default() };
    desk.phone = desk.audit.add_phone(desk.user, at(150), now(150).unix, wants);
    desk.arrived(1, 200).told(&with_details(push(202, 1, 3, 1, &[1])));
    let report = desk.audit.finish(now(500));
    assert_eq!(report.details_after_cutoff.count, 1);
}

#[test]
fn a_wrong_last_badge_is_found() {
    let mut desk = Desk::new();
    desk.arrived(1, 200).told(&push(202, 1, 4, 1, &[1]));
    assert_eq!(desk.faults(), [("wrong_badges", 1)]);
    let mut desk = Desk::new();
    desk.arrived(1, 200).told(&push(202, 1, 4, 1, &[1])).told(&push(203, 2, 3, 0, &[]));
    assert_eq!(desk.faults(), []);
}

#[test]
fn a_badge_set_back_by_a_late_resend_is_found() {
    let mut desk = Desk::new();
    let first = push(202, 1, 3, 1, &[1]);
    desk.arrived(1, 200).told(&first).arrived(2, 203).told(&push(204, 2, 4, 1, &[2]));
    desk.told(&again(&first, 210));
    assert_eq!(desk.faults(), [("wrong_badges", 1)]);
}

#[test]
fn a_mail_marked_as_unread_again_counts_for_the_badge_alone() {
    let mut desk = Desk::new();
    desk.arrived(1, 200).told(&push(202, 1, 3, 1, &[1]));
    desk.audit.read(desk.user, 1, at(300));
    desk.audit.unread_again(desk.user, 1);
    // One from before, read.
    desk.audit.read(desk.user, 77, at(301));
    desk.told(&push(302, 2, 2, 0, &[]));
    assert_eq!(desk.faults(), []);
}

#[test]
fn pushes_to_a_stopped_user_are_found_and_what_he_missed_is_not_owed() {
    let mut desk = Desk::new();
    desk.audit.stopped(desk.user, at(150));
    desk.arrived(1, 200).told(&push(202, 1, 3, 0, &[]));
    assert_eq!(desk.faults(), [("told_after_stop", 1)]);

    let mut desk = Desk::new();
    desk.audit.stopped(desk.user, at(150));
    desk.arrived(1, 200);
    desk.audit.register_again(desk.phone, at(250), now(250).unix);
    desk.arrived(2, 300).told(&push(302, 1, 4, 1, &[2]));
    assert_eq!(desk.faults(), []);
}

#[test]
fn pushes_to_a_phone_that_is_gone_are_found() {
    let mut desk = Desk::new();
    desk.audit.phone_gone(desk.phone, at(150));
    desk.arrived(1, 200).told(&push(202, 1, 3, 1, &[1]));
    assert_eq!(desk.faults(), [("told_after_removal", 1), ("told_unwanted", 1)]);
}

#[test]
fn a_phone_that_comes_back_is_owed_what_comes_then() {
    let mut desk = Desk::new();
    for item in 1..=5 {
        desk.arrived(item, 140);
    }
    desk.told(&push(142, 1, 7, 5, &[5, 4, 3, 2]));
    desk.audit.phone_gone(desk.phone, at(170));
    desk.arrived(6, 200);
    desk.audit.register_again(desk.phone, at(250), now(250).unix);
    desk.arrived(7, 300);
    assert_eq!(desk.audit.owed(), 1);
    desk.told(&push(302, 2, 9, 1, &[7]));
    assert_eq!(desk.faults(), []);
}

#[test]
fn what_was_lost_before_a_phone_went_stays_lost() {
    let mut desk = Desk::new();
    desk.arrived(1, 110);
    desk.audit.phone_gone(desk.phone, at(170));
    desk.audit.register_again(desk.phone, at(250), now(250).unix);
    assert_eq!(desk.faults(), [("lost", 1)]);
}

#[test]
fn a_mail_from_before_the_registration_is_found() {
    let mut desk = Desk::new();
    desk.arrived(1, 50);
    desk.phone = desk.audit.add_phone(desk.user, at(100), now(100).unix, Wants::default());
    desk.told(&push(202, 1, 3, 1, &[1]));
    let report = desk.audit.finish(now(500));
    assert_eq!(report.told_unwanted.count, 1);
}

#[test]
fn somebody_elses_mail_is_found() {
    let mut desk = Desk::new();
    let other = desk.audit.add_user(0);
    desk.audit.arrived(other, 5, at(200));
    desk.told(&push(202, 1, 2, 1, &[5])).told(&push(203, 2, 2, 1, &[6]));
    assert_eq!(desk.faults(), [("foreign", 2)]);
}

#[test]
fn somebody_elses_mail_is_reported_before_every_other_fault() {
    assert_eq!(AuditReport::default().findings()[0].0, "foreign");
}

#[test]
fn a_push_for_a_phone_that_nobody_knows_is_found() {
    let mut desk = Desk::new();
    desk.phone = PhoneIx(9);
    desk.told(&push(202, 1, 2, 1, &[5]));
    assert_eq!(desk.faults(), [("foreign", 1)]);
}

#[test]
fn a_malformed_payload_is_found() {
    let mut desk = Desk::new();
    desk.arrived(1, 200).arrived(2, 200).told(&push(202, 1, 4, 1, &[1, 2]));
    assert_eq!(desk.faults(), [("malformed", 1)]);
    let mut desk = Desk::new();
    let broken = Delivery { fault: Some(PayloadFault::Shape), ..push(202, 1, 3, 1, &[1]) };
    desk.arrived(1, 200).told(&broken);
    assert_eq!(desk.faults(), [("malformed", 1)]);
}

#[test]
fn a_mail_in_two_places_on_the_screen_is_found() {
    let arrival = |apns_id, collapse_id: &str, items: &[u64]| Arrival {
        apns_id,
        collapse_id: Some(collapse_id.into()),
        alert: true,
        items: items.to_vec(),
        ..Arrival::default()
    };
    let shown_twice = |second: &str| {
        let (mut desk, mut device) = (Desk::new(), Device::default());
        device.take(now(200), arrival(1, "a", &[1]));
        device.take(now(201), arrival(2, second, &[2, 1]));
        desk.audit.check_screen(desk.phone, &device, now(300));
        desk.faults()
    };
    assert_eq!(shown_twice("a"), []);
    assert_eq!(shown_twice("b"), [("shown_twice", 1)]);
}

#[test]
fn examples_are_bounded_and_counts_are_not() {
    let mut desk = Desk::new();
    for item in 0..100 {
        desk.arrived(item, 200);
    }
    let report = desk.audit.finish(now(500));
    assert_eq!((report.lost.count, report.lost.examples.len()), (100, EXAMPLES_MAX));
}

/// An engine that keeps the rules: holds mails back for a while, tells them in one push, names the newest four, and
/// resends some. With `reads`, its user reads mails. `fault` spoils the number in this push.
fn play(seed: u64, reads: bool, fault: Option<u64>) -> AuditReport {
    let mut rng = Rng::new(seed);
    let mut audit = Audit::new(rules());
    let user = audit.add_user(0);
    let phone = audit.add_phone(user, at(0), now(0).unix, Wants::default());
    let (mut pending, mut unread, mut item, mut pushes) = (Vec::new(), Vec::new(), 0u64, 0);
    let mut last_push_s = 0;
    for s in 10..400 {
        if rng.chance(1, 3) {
            for _ in 0..rng.below(8) {
                item += 1;
                audit.arrived(user, item, at(s));
                pending.push(item);
                unread.push(item);
            }
        }
        if reads && rng.chance(1, 5) && !unread.is_empty() {
            let read = unread.swap_remove(rng.below(unread.len() as u64) as usize);
            audit.read(user, read, at(s));
            // The engine may have heard of it or not.
            if rng.chance(1, 2) {
                pending.retain(|one| *one != read);
            }
        }
        if s == 399 || s - last_push_s > 15 || rng.chance(1, 4) {
            last_push_s = s;
            pushes += 1;
            let mut n = pending.len() as u32;
            let mut named: Vec<u64> = pending.iter().rev().take(4).copied().collect();
            if fault == Some(pushes) {
                if n == 0 || rng.chance(1, 2) {
                    n += 1;
                } else {
                    n -= 1;
                    named.truncate(n as usize);
                }
            }
            let told = push(s, pushes.into(), unread.len() as u32, n, &named);
            pending.clear();
            audit.delivered(phone, &told, |_| {});
            if rng.chance(1, 3) {
                audit.delivered(phone, &again(&told, s), |_| {});
            }
        }
    }
    audit.finish(now(500))
}

const ELSEWHERE: Place = Place { watched: false, counts: false };
const PROJECTS: Place = Place { watched: true, counts: false };

#[test]
fn a_mail_that_is_heard_to_move_is_told_once_under_either_id_and_counts_where_it_lies() {
    let moved = |to, told_again: bool, badge| {
        let mut desk = Desk::new();
        desk.arrived(1, 200).told(&push(202, 1, 3, 1, &[1]));
        desk.audit.moved(desk.user, 1, 2, at(300), to, true);
        desk.told(&push(310, 2, badge, u32::from(told_again), if told_again { &[2] } else { &[] }));
        desk.faults()
    };
    assert_eq!(moved(PROJECTS, false, 2), []);
    assert_eq!(moved(PROJECTS, true, 2), [("duplicates", 1)]);
    assert_eq!(moved(Place::INBOX, false, 3), []);
    assert_eq!(moved(ELSEWHERE, false, 3), [("wrong_badges", 1)]);
    let mut desk = Desk::new();
    desk.arrived(1, 200);
    desk.audit.moved(desk.user, 1, 2, at(201), PROJECTS, true);
    assert_eq!(desk.faults(), [("lost", 1)]);
}

#[test]
fn a_mail_that_moves_unheard_may_be_told_again() {
    let mut desk = Desk::new();
    desk.arrived(1, 200).told(&push(202, 1, 3, 1, &[1]));
    desk.audit.deaf(at(300), at(600));
    desk.audit.moved(desk.user, 1, 2, at(300), PROJECTS, true);
    desk.told(&push(310, 2, 2, 1, &[2]));
    assert_eq!(desk.faults(), []);
}

proptest! {
    #[test]
    fn an_engine_that_keeps_the_rules_is_never_blamed(seed: u64) {
        let report = play(seed, true, None);
        let blamed: Vec<_> = report.findings().into_iter().filter(|(name, finding)| {
            // A mail read while it waited is told late by this engine.
            *name != "told_after_gone" && finding.count > 0
        }).map(|(name, finding)| (name, finding.clone())).collect();
        prop_assert!(blamed.is_empty(), "{blamed:?}");
    }
}

#[test]
fn an_engine_that_miscounts_once_is_found() {
    for seed in 0..100 {
        let report = play(seed, false, Some(seed % 40 + 1));
        assert_eq!(report.lost.count + report.duplicates.count, 1, "seed {seed}");
    }
    // Among mails that were read some may make up for one that was lost, and the audit never guesses.
    let found = (0..200).filter(|seed| {
        let report = play(*seed, true, Some(seed % 40 + 1));
        report.lost.count + report.duplicates.count > 0
    });
    assert!(found.count() >= 50);
}

/// What a phone is sent that wants `wants` since 150 s.
fn sent_to(wants: Wants, push: &Delivery) -> Vec<(&'static str, u64)> {
    let mut desk = Desk::new();
    desk.audit.wants(desk.phone, at(150), wants);
    desk.audit.left(desk.phone, push.at, &push.payload);
    desk.faults()
}

#[test]
fn an_alert_a_badge_a_sound_and_a_text_that_nobody_wants_are_found() {
    let all = Wants::default();
    let alert = push(202, 1, 4, 1, &[1]);
    let badge = push(202, 1, 3, 0, &[]);
    assert_eq!(sent_to(all, &alert), []);
    let fault: &[_] = &[("told_unwanted", 1)];
    assert_eq!(sent_to(Wants { alerts: false, ..all }, &alert), fault);
    assert_eq!(sent_to(Wants { badge: false, ..all }, &alert), fault);
    assert_eq!(sent_to(Wants { badge: false, ..all }, &badge), fault);
    assert_eq!(sent_to(Wants { sound: false, ..all }, &alert), fault);
    assert_eq!(sent_to(Wants { localized: false, ..all }, &alert), fault);
    assert_eq!(sent_to(Wants { details: false, ..all }, &with_details(alert)), [("details_after_cutoff", 1)]);
    assert_eq!(sent_to(Wants { alerts: false, sound: false, localized: false, ..all }, &badge), []);
}

#[test]
fn an_alert_without_its_sound_or_its_text_is_found() {
    let mut mute = push(202, 1, 4, 1, &[1]);
    mute.payload.sound = false;
    assert_eq!(sent_to(Wants::default(), &mute), [("told_unwanted", 1)]);
    let mut english = push(202, 1, 4, 1, &[1]);
    english.payload.by_key = false;
    assert_eq!(sent_to(Wants::default(), &english), [("told_unwanted", 1)]);
    assert_eq!(sent_to(Wants { localized: false, ..Wants::default() }, &english), []);
}

#[test]
fn what_is_sent_in_the_moment_of_a_change_may_follow_either() {
    for wants in [Wants::default(), Wants { alerts: false, badge: false, ..Wants::default() }] {
        assert_eq!(sent_to(wants, &push(150, 1, 4, 1, &[1])), []);
    }
}

#[test]
fn who_was_let_off_by_a_refusal_is_not_lost_and_may_be_told() {
    let refused = push(202, 1, 4, 2, &[2]);
    let mut desk = Desk::new();
    desk.arrived(1, 200).arrived(2, 201);
    desk.audit.refused(desk.phone, at(202), &refused.payload);
    desk.told(&push(210, 2, 4, 0, &[]));
    assert_eq!(desk.faults(), [], "one by name, one by number");
    let mut desk = Desk::new();
    desk.arrived(1, 200).arrived(2, 201);
    desk.audit.refused(desk.phone, at(202), &refused.payload);
    desk.told(&push(203, 1, 4, 2, &[1, 2]));
    assert_eq!(desk.faults(), []);
    let mut desk = Desk::new();
    desk.arrived(1, 200).arrived(2, 201).arrived(3, 204);
    desk.audit.refused(desk.phone, at(202), &refused.payload);
    desk.told(&push(210, 2, 5, 0, &[]));
    assert_eq!(desk.faults(), [("lost", 1)], "the one that came after it");
}
