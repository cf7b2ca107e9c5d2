//! What gets lost on the way, is reset, or falls silent.

use super::*;

#[test]
fn lost_requests_are_not_processed_and_lost_answers_are() {
    for (knobs, delivered) in [
        (Knobs { requests_lost: Share::percent(100), ..Knobs::default() }, 0),
        (Knobs { answers_lost: Share::percent(100), ..Knobs::default() }, 5),
    ] {
        let mut wire = Wire::warm(Knobs::default());
        wire.deliveries();
        wire.apns.set_knobs(wire.now, knobs);
        wire.open_all(0, 5);
        wire.advance(Span::from_secs(60));
        assert!(wire.answers.is_empty() && wire.failures.is_empty());
        assert_eq!((wire.deliveries(), wire.client.in_flight()), (delivered, 5));
    }
}

#[test]
fn resets_before_are_not_processed_and_resets_after_are() {
    let (before, after) = (Share::percent(100), Share::percent(100));
    for (knobs, failure, delivered) in [
        (Knobs { resets_before: before, reset_code: 7, ..Knobs::default() }, Failure::Reset(7), 0),
        (Knobs { resets_before: before, reset_code: 2, ..Knobs::default() }, Failure::Reset(2), 0),
        (Knobs { resets_after: after, reset_code: 2, ..Knobs::default() }, Failure::Reset(2), 1),
        (Knobs { resets_after: after, reset_code: 7, ..Knobs::default() }, Failure::Reset(8), 1),
    ] {
        let mut wire = Wire::warm(Knobs::default());
        wire.deliveries();
        wire.apns.set_knobs(wire.now, knobs);
        wire.open(1).unwrap();
        wire.run();
        assert_eq!((wire.failures.remove(&1), wire.deliveries()), (Some(failure), delivered));
    }
}

#[test]
fn streams_that_wait_are_reset_on_command() {
    let mut wire = Wire::warm(slow(100));
    wire.open_all(0, 3);
    wire.run();
    wire.apns.reset_streams(CONN, 2);
    wire.run();
    assert_eq!(wire.failures.len(), 3);
    wire.open(9).unwrap();
    wire.advance(Span::from_secs(1));
    assert_eq!(wire.statuses(), [200]);
}

#[test]
fn a_silent_connection_stays_open_and_says_nothing() {
    let mut wire = Wire::warm(slow(10));
    wire.open(1).unwrap();
    wire.run();
    wire.apns.go_silent(CONN);
    wire.client.ping();
    wire.open(2).unwrap();
    wire.deliveries();
    wire.advance(Span::from_secs(600));
    assert_eq!((wire.answers.len(), wire.pongs, wire.closed), (0, 0, None));
    assert_eq!(wire.deliveries(), 0);
}

#[test]
fn a_reset_connection_is_gone_at_once() {
    let mut wire = Wire::warm(slow(10));
    wire.open(1).unwrap();
    wire.run();
    wire.apns.reset_connection(CONN);
    wire.run();
    assert_eq!((wire.closed, wire.failures[&1]), (Some(Close::Reset), Failure::Lost));
    assert_eq!(wire.apns.next_deadline(), None);
}

#[test]
fn pings_are_answered_unless_they_are_not() {
    let mut wire = Wire::warm(Knobs::default());
    wire.client.ping();
    wire.run();
    assert_eq!(wire.pongs, 1);
    wire.apns.turn(wire.now, |knobs| knobs.ping_unanswered = true);
    wire.client.ping();
    wire.run();
    wire.open(1).unwrap();
    wire.run();
    assert_eq!((wire.pongs, wire.statuses()), (1, vec![200]));
}
