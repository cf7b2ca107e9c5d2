//! Connections that the service ends: what was on its way is answered, what came too late is left out.

use super::*;

#[test]
fn a_goaway_lets_what_is_on_its_way_be_answered_and_then_closes() {
    let mut wire = Wire::warm(slow(3_000));
    wire.open_all(0, 3);
    wire.run();
    wire.apns.goaway(wire.now, CONN, Goaway::default());
    wire.run();
    assert_eq!(wire.debug, br#"{"reason":"Shutdown"}"#);
    assert!(wire.open(9).is_err());
    wire.advance(Span::from_secs(2));
    assert_eq!((wire.answers.len(), wire.closed), (0, None));
    wire.advance(Span::from_secs(2));
    assert_eq!((wire.statuses(), wire.closed), (vec![200; 3], Some(Close::Orderly)));
    assert!(wire.apns.connections().is_empty());
    assert_eq!(wire.apns.next_deadline(), None);
}

#[test]
fn a_goaway_leaves_as_many_unprocessed_as_was_said() {
    let mut wire = Wire::warm(slow(100));
    wire.deliveries();
    wire.open_all(0, 4);
    wire.run();
    wire.apns.goaway(wire.now, CONN, Goaway { unprocessed: 3, ..Goaway::default() });
    assert_eq!(wire.open_all(10, 5), 5);
    wire.advance(Span::from_millis(200));
    assert_eq!(wire.deliveries(), 4);
    assert_eq!(wire.answers.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(wire.failures.len(), 5);
    assert!(wire.failures.values().all(|failure| *failure == Failure::NotProcessed));
}

#[test]
fn a_goaway_does_not_wait_for_ever_for_requests_to_leave_out() {
    let mut wire = Wire::warm(Knobs::default());
    wire.apns.goaway(wire.now, CONN, Goaway { unprocessed: 3, ..Goaway::default() });
    wire.open(1).unwrap();
    wire.advance(Span::from_millis(499));
    assert_eq!(wire.last_stream, None);
    wire.advance(Span::from_millis(1));
    assert_eq!(wire.failures[&1], Failure::NotProcessed);
    wire.advance(Span::from_secs(1));
    assert_eq!(wire.closed, Some(Close::Orderly));
}

#[test]
fn a_graceful_goaway_comes_twice() {
    let mut wire = Wire::warm(slow(1_000));
    wire.open(1).unwrap();
    wire.run();
    wire.apns.goaway(wire.now, CONN, Goaway { twice: true, ..Goaway::default() });
    wire.run();
    assert_eq!(wire.last_stream, Some((1 << 31) - 1));
    wire.advance(Span::from_millis(200));
    assert_eq!(wire.last_stream, Some(3));
    wire.advance(Span::from_secs(2));
    assert_eq!((wire.statuses(), wire.closed), (vec![200], Some(Close::Orderly)));
}

#[test]
fn a_goaway_comes_by_itself_after_so_many_streams() {
    let mut wire = Wire::warm(Knobs::default());
    wire.deliveries();
    wire.apns.turn(wire.now, |knobs| {
        knobs.goaway_after_streams = Some(11);
        knobs.goaway_unprocessed = 2;
    });
    wire.open_all(0, 20);
    wire.advance(Span::from_secs(2));
    // Bodies do not come in the order of their streams: one below the last may be processed after the others.
    let (answered, failed) = (wire.answers.len(), wire.failures.len());
    assert!(answered >= 10 && failed >= 2 && answered + failed == 20, "{answered} {failed}");
    assert_eq!(wire.deliveries(), answered);
    assert!(wire.failures.values().all(|failure| *failure == Failure::NotProcessed));
    assert_eq!(wire.apns.stats().goaways, 1);
}
