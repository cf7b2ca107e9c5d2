//! How many connections a backlog is worth: bytes of send window for each round trip of its credit.

use super::*;

/// Certificates, up to eight lanes, and send windows that are opened at this interval. The one lane that stands has grown
/// its own window, and knows how long credit takes.
fn town(users: usize, credit: Span) -> Town {
    let knobs = Knobs { window: WindowPolicy::Every(credit), ..answers_in(ms(2)) };
    let push_service = Box::new(|service: &mut PushService| service.lanes = 8);
    live(TownConfig { users, knobs, push_service, vigilant: false, ..TownConfig::default() })
}

/// Pushes that one send window of 65,535 bytes holds: it is used until less than the largest payload is left.
fn window_pushes(town: &Town, from: usize) -> usize {
    let pushes = &town.deliveries[from..];
    let bytes: usize = pushes.iter().map(|push| push.bytes as usize).sum();
    (65_535 - 4_096) * pushes.len() / bytes + 1
}

#[test]
fn a_backlog_that_one_connection_carries_in_100_ms_opens_no_other() {
    let mut town = town(650, ms(50));
    let told = town.deliveries.len();
    for n in 0..5 {
        deliver_to_all(&mut town, &format!("to everybody, {n}"));
        town.run_for(secs(20) + ms(11));
    }
    let window = window_pushes(&town, told);
    assert!(
        650 > window * 2 && 650 - window < window * 2,
        "more than it holds, fewer than it carries: {window}"
    );
    assert!(town.world.stats(0).blocked_us[2] > 0, "{:?} waited for bytes", town.world.stats(0).blocked_us);
    assert_eq!(town.world.apns[0].stats().connections, 1);
    clean(town);
}

/// So many connections: the first at once, another each second while more waits than those that stand carry in 100 ms, which
/// with credit each second is a tenth of their send windows.
fn lanes_needed(pushes: usize, window: usize) -> u64 {
    let (mut lanes, mut sent) = (1, window);
    loop {
        sent += lanes * window;
        if pushes.saturating_sub(sent) <= lanes * window / 10 {
            return lanes as u64;
        }
        lanes += 1;
        sent += window;
    }
}

#[test]
fn slow_credit_opens_as_many_connections_as_the_backlog_needs() {
    for (users, lanes) in [(200, 1), (600, 2), (1_000, 2), (1_250, 2), (1_500, 3), (2_600, 4)] {
        let mut town = town(users, secs(1));
        let told = town.deliveries.len();
        deliver_to_all(&mut town, "to everybody");
        for _ in 0..400 {
            town.run_for(ms(50));
            assert_eq!(town.world.check(0), Ok(()));
        }
        let window = window_pushes(&town, told);
        assert_eq!(lanes_needed(users, window), lanes, "{users} pushes, {window} in a send window");
        let stats = town.world.apns[0].stats();
        assert_eq!((stats.connections, town.world.stats(0).lanes), (lanes, lanes), "for {users} pushes");
        clean(town);
    }
}
