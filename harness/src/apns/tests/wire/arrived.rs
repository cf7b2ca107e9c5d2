//! What has arrived is seen whatever becomes of it, and of a request that is broken off half-way whatever details came.

use super::*;
use crate::audit::Audit;
use crate::phone::{Rules, Wants};

#[test]
fn what_arrives_whole_is_seen_whatever_becomes_of_it() {
    let seen = |knobs: Knobs, gone: bool| {
        let mut wire = Wire::warm(knobs);
        while wire.apns.poll_arrived().is_some() {}
        wire.deliveries();
        if gone {
            wire.apns.set_gone(wire.device, UnixMillis(17));
        }
        wire.open(1).unwrap();
        wire.run();
        assert_eq!(wire.deliveries(), 0);
        std::iter::from_fn(|| wire.apns.poll_arrived()).map(|push| (push.tag, push.payload.badge)).collect()
    };
    let lost = Share(1_000_000);
    let cases: [Vec<(u64, Option<u32>)>; 3] = [
        seen(Knobs::default(), true),
        seen(Knobs { requests_lost: lost, ..Knobs::default() }, false),
        seen(Knobs { unavailable_until: Time::NEVER, ..Knobs::default() }, false),
    ];
    assert!(cases.iter().all(|case| *case == [(42, Some(3))]), "{cases:?}");
}

#[test]
fn a_request_that_crosses_with_goaway_is_seen() {
    const BODY: &str = r#"{"aps":{"alert":{"title":"Jane","subtitle":"Lunch","body":"At noon?"}},"m":{"a":"00000000000000aa","n":1,"i":[]}}"#;
    let mut wire = Wire::warm(Knobs::default());
    while wire.apns.poll_arrived().is_some() {}
    // A GOAWAY that the client has not heard of yet.
    wire.apns.goaway(wire.now, CONN, Goaway::default());
    wire.open_with(1, |push| push.body = BODY.into()).unwrap();
    wire.run();
    let seen = wire.apns.poll_arrived().expect("it came whole");
    assert!(seen.payload.has_details());
    assert!(wire.apns.poll_arrived().is_none());
}

/// A request whose body stops after so many of its bytes, when the connection ends; what is seen of it.
fn broken_off_after(body: &'static str, bytes: usize) -> Option<Arrived> {
    let mut wire = Wire::warm(Knobs::default());
    while wire.apns.poll_arrived().is_some() {}
    wire.open_with(1, |push| push.body = body.into()).unwrap();
    let mut request = Vec::new();
    while wire.client.drain(&mut request, 16 * 1024) {}
    let cut = request.len() - body.len() + bytes;
    for piece in request[..cut].chunks(7) {
        wire.apns.received(wire.now, CONN, piece);
    }
    wire.apns.closed(wire.now, CONN);
    let arrived = wire.apns.poll_arrived();
    assert!(wire.apns.poll_arrived().is_none());
    arrived
}

#[test]
fn details_of_a_request_that_is_broken_off_are_seen_as_far_as_they_came() {
    const BODY: &str = r#"{"aps":{"badge":3,"alert":{"title":"Jane","subtitle":"Lunch","body":"At noon?"}}}"#;
    let first = BODY.find("Jane").unwrap() + 1;
    for bytes in 0..BODY.len() {
        let seen = broken_off_after(BODY, bytes);
        assert_eq!(seen.is_some(), bytes >= first, "{bytes} bytes");
        if let Some(seen) = seen {
            assert!(seen.tag == 42 && seen.payload.has_details());
        }
    }
    let whole = broken_off_after(BODY, BODY.len()).expect("it came whole");
    let details = |title: &str, subtitle: &str, body: &str| AlertKind::Details {
        title: title.into(),
        subtitle: subtitle.into(),
        body: body.into(),
    };
    assert_eq!(whole.payload.alert, details("Jane", "Lunch", "At noon?"));
    let at = BODY.find("nch").unwrap();
    assert_eq!(broken_off_after(BODY, at).unwrap().payload.alert, details("Jane", "Lu", ""));
}

#[test]
fn what_is_broken_off_without_details_is_nobodys_business() {
    for body in [
        r#"{"aps":{"badge":3,"alert":"New mail","sound":"default"},"m":{"a":"00000000000000aa","n":1,"i":[]}}"#,
        r#"{"aps":{"badge":3,"alert":"12 new messages"},"m":{"a":"00000000000000aa","n":12,"i":[]}}"#,
        r#"{"aps":{"alert":{"loc-key":"NEW_MAIL"}},"m":{"a":"00000000000000aa","n":1,"i":[]}}"#,
    ] {
        for bytes in 0..body.len() {
            assert_eq!(broken_off_after(body, bytes), None, "{}", &body[..bytes]);
        }
    }
}

#[test]
fn the_audit_notices_details_past_the_cut_off_in_half_a_request() {
    let rules = Rules {
        detail_cutoff: Span::from_secs(60),
        wait_max: Span::from_secs(20),
        crossing_max: Span::from_secs(1),
        look_max: Span::ZERO,
        clock_set_max: Span::ZERO,
        transit_max: Span::from_secs(1),
    };
    for (used_s_ago, faults) in [(10, 0), (100, 1)] {
        let body = r#"{"aps":{"alert":{"title":"Jane","subtitle":"Lunch","body":"At noon?"}}}"#;
        let seen = broken_off_after(body, body.find("nch").unwrap()).expect("details");
        let mut audit = Audit::new(rules);
        let user = audit.add_user(0);
        let active = UnixMillis(seen.at.unix.0 - used_s_ago * 1_000);
        let phone = audit.add_phone(user, Time(0), active, Wants::default());
        audit.left(phone, seen.at, &seen.payload);
        assert_eq!(audit.finish(seen.at).details_after_cutoff.count, faults);
    }
}
