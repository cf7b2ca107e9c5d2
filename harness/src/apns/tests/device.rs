//! The phone.

use super::*;
use crate::apns::device::{Arrival, BACKGROUND_PER_HOUR, Device, DeviceCounts, RECENT_IDS_MAX, SHOWN_MAX};

fn mail(apns_id: u128, collapse_id: &str, badge: u32, items: &[u64]) -> Arrival {
    Arrival {
        apns_id,
        collapse_id: Some(collapse_id.into()),
        expiration_s: None,
        background: false,
        alert: true,
        badge: Some(badge),
        n: items.len() as u32,
        items: items.to_vec(),
        details: false,
    }
}

fn items(device: &Device) -> Vec<Vec<u64>> {
    device.shown().iter().map(|shown| shown.items.clone()).collect()
}

#[test]
fn a_phone_that_is_on_shows_what_comes() {
    let mut device = Device::default();
    assert_eq!(device.take(start(), mail(1, "a", 1, &[10])), None);
    assert_eq!(device.take(start(), mail(2, "b", 2, &[11])), None);
    assert_eq!((items(&device), device.badge()), (vec![vec![10], vec![11]], Some(2)));
}

#[test]
fn an_equal_collapse_id_takes_the_place() {
    let mut device = Device::default();
    device.take(start(), mail(1, "a", 1, &[10]));
    device.take(start(), mail(2, "a", 2, &[10, 11]));
    assert_eq!(items(&device), vec![vec![10, 11]]);
}

#[test]
fn a_push_without_badge_leaves_the_badge_and_one_without_alert_the_screen() {
    let mut device = Device::default();
    device.take(start(), mail(1, "a", 4, &[10]));
    device.take(start(), Arrival { badge: None, ..mail(2, "b", 0, &[11]) });
    assert_eq!(device.badge(), Some(4));
    device.take(start(), Arrival { alert: false, ..mail(3, "c", 0, &[]) });
    assert_eq!((items(&device).len(), device.badge()), (2, Some(0)));
}

#[test]
fn the_same_apns_id_is_recognised_and_shows_nothing_twice() {
    let mut device = Device::default();
    // Without collapse id nothing would replace it.
    let push = Arrival { collapse_id: None, ..mail(1, "", 1, &[10]) };
    assert!(device.take(start(), push.clone()).is_none());
    let again = device.take(start(), push).unwrap();
    assert_eq!((again.n, again.same_collapse_id), (1, true));
    assert_eq!((items(&device), device.counts.duplicates), (vec![vec![10]], 1));
    assert!(!device.take(start(), mail(1, "other", 1, &[10])).unwrap().same_collapse_id);
}

#[test]
fn a_late_resend_of_an_old_state_spoils_the_badge() {
    let mut device = Device::default();
    device.take(start(), mail(1, "a", 1, &[10]));
    device.take(start(), mail(2, "b", 2, &[11]));
    device.take(start(), mail(1, "a", 1, &[10]));
    assert_eq!(device.badge(), Some(1));
}

#[test]
fn the_ids_that_a_phone_remembers_are_bounded() {
    let mut device = Device::default();
    for id in 0..=RECENT_IDS_MAX as u128 {
        assert!(device.take(start(), mail(id, "a", 1, &[10])).is_none());
    }
    assert!(device.take(start(), mail(1, "a", 1, &[10])).is_some());
    assert!(device.take(start(), mail(0, "a", 1, &[10])).is_none(), "the oldest was forgotten");
}

#[test]
fn a_screen_is_bounded() {
    let mut device = Device::default();
    for id in 0..100u64 {
        device.take(start(), mail(id.into(), &id.to_string(), 1, &[id]));
    }
    assert_eq!(device.shown().len(), SHOWN_MAX);
    assert_eq!(device.shown().last().unwrap().items, [99]);
    device.clear_screen();
    assert!(device.shown().is_empty());
}

#[test]
fn for_a_phone_that_is_off_only_the_newest_is_kept() {
    let mut device = Device::default();
    device.set_online(start(), false);
    device.take(start(), mail(1, "a", 1, &[10]));
    device.take(start(), mail(2, "b", 2, &[11]));
    assert_eq!((items(&device).len(), device.badge(), device.has_stored()), (0, None, true));
    device.set_online(start(), true);
    assert_eq!((items(&device), device.badge()), (vec![vec![11]], Some(2)));
    let counts = DeviceCounts { delivered: 1, coalesced: 1, ..DeviceCounts::default() };
    assert_eq!((device.counts, device.has_stored()), (counts, false));
}

#[test]
fn expiration_zero_is_one_attempt() {
    let mut device = Device::default();
    let once = |id| Arrival { expiration_s: Some(0), ..mail(id, "a", 1, &[10]) };
    device.take(start(), once(1));
    assert_eq!(device.counts.delivered, 1);
    device.set_online(start(), false);
    device.take(start(), once(2));
    assert_eq!((device.counts.expired, device.has_stored()), (1, false));
}

#[test]
fn what_is_stored_expires() {
    let mut device = Device::default();
    device.set_online(start(), false);
    let expiration_s = Some(start().unix.as_secs() + 60);
    device.take(start(), Arrival { expiration_s, ..mail(1, "a", 1, &[10]) });
    device.set_online(later(start(), Span::from_secs(61)), true);
    assert_eq!((items(&device).len(), device.badge(), device.counts.expired), (0, None, 1));
}

#[test]
fn a_push_that_expired_on_its_way_is_dropped() {
    let mut device = Device::default();
    let expiration_s = Some(start().unix.as_secs() - 1);
    device.take(start(), Arrival { expiration_s, ..mail(1, "a", 1, &[10]) });
    assert_eq!((device.counts.expired, device.counts.delivered), (1, 0));
}

#[test]
fn background_pushes_have_a_budget() {
    let mut device = Device::default();
    let wake = |id| Arrival { apns_id: id, background: true, ..Arrival::default() };
    for id in 0..10 {
        device.take(start(), wake(id));
    }
    assert_eq!(device.counts.delivered as usize, BACKGROUND_PER_HOUR);
    assert_eq!(device.counts.background_dropped as usize, 10 - BACKGROUND_PER_HOUR);
    device.take(later(start(), Span::from_secs(3_600)), wake(11));
    assert_eq!(device.counts.delivered as usize, BACKGROUND_PER_HOUR + 1);
}

#[test]
fn a_resend_is_a_delivery_marked_as_duplicate() {
    let mut bench = Bench::new();
    let mut push = bench.push();
    push.set("apns-collapse-id", "a");
    push.body =
        br#"{"aps":{"alert":"New mail"},"m":{"a":"0000000000000001","n":1,"i":["000000000000000a"]}}"#
            .to_vec();
    assert_eq!(bench.refusal(&push), None);
    assert_eq!(bench.refusal(&push), None);
    let (first, second) = (bench.service.poll_delivery().unwrap(), bench.service.poll_delivery().unwrap());
    assert_eq!((first.duplicate, first.n_before), (false, 0));
    assert_eq!((second.duplicate, second.n_before), (true, 1));
    assert_eq!(bench.service.stats.duplicates, 1);
    assert!(bench.service.stats.strict.is_clean());
    push.set("apns-collapse-id", "b");
    assert_eq!(bench.refusal(&push), None);
    assert_eq!(bench.service.stats.strict.count(StrictFault::ResendOtherCollapseId), 1);
}
