//! What the world can do to a town: stories of connections, clocks, tokens and power.

use carillon_core::time::Span;
use carillon_harness::apns::{Reason, Share};
use carillon_harness::world::story::{alerts, clean, live, secs, until_live};
use carillon_harness::world::town::{MAIL, PUSH, Town, TownConfig};
use carillon_harness::world::{Clock, Fault};

/// Whether this has happened at all: a story of a fault that does not strike would tell nothing.
fn struck(town: &Town, fault: Fault) -> bool {
    town.world.struck().times(fault) > 0
}

#[test]
fn connections_that_stand_still_are_given_up_and_what_came_meanwhile_is_told() {
    let mut town = live(TownConfig { wait_max: secs(1_200), ..TownConfig::default() });
    town.world.net.stalls = 500_000;
    town.deliver(0, "into the silence");
    town.run_for(secs(20));
    town.world.net.stalls = 0;
    town.run_for(secs(900));
    assert!(struck(&town, Fault::Stall) && struck(&town, Fault::StallForEver));
    assert!(town.told(0, 0).iter().any(|push| push.payload.is_alert()));
    clean(town);
}

#[test]
fn a_connection_that_stands_still_for_ever_is_given_up_before_its_peer_closes_it() {
    let mut town = live(TownConfig { wait_max: secs(400), ..TownConfig::default() });
    town.world.net.stalls = 1_000_000;
    // Nothing that stands still now goes on before the story is over.
    town.world.net.stall_max = secs(100_000);
    town.deliver(0, "into the silence");
    town.run_for(secs(2));
    town.world.net.stalls = 0;
    town.run_for(secs(300));
    assert!(alerts(&town, 0) > 0, "the peer would have closed after 600 s");
    town.run_for(secs(300));
    assert!(struck(&town, Fault::StallForEver));
    clean(town);
}

#[test]
fn a_side_that_ends_early_loses_no_mail() {
    let mut town = live(TownConfig { wait_max: secs(1_200), ..TownConfig::default() });
    town.world.net.half_closes = 300_000;
    for _ in 0..5 {
        town.deliver(0, "while sides end");
        town.run_for(secs(10));
    }
    town.world.net.half_closes = 0;
    town.run_for(secs(900));
    assert!(struck(&town, Fault::HalfClose));
    assert_eq!(clean(town).mails, 5);
}

#[test]
fn what_comes_byte_by_byte_is_read_and_told() {
    let mut town = Town::new(TownConfig::default());
    town.world.net.fragment_bytes_max = Some(1);
    town.world.net.piece_gap_max = Span(100);
    let mut town = until_live(town);
    for person in 0..3 {
        town.deliver(person, "in crumbs — in Krümeln");
    }
    town.run_for(secs(30));
    assert!(struck(&town, Fault::SingleBytes) && struck(&town, Fault::PiecesApart));
    assert!((0..3).all(|person| alerts(&town, person) == 1));
    clean(town);
}

#[test]
fn what_is_overtaken_on_a_faster_connection_is_taken_in_rightly() {
    let mut town = live(TownConfig { users: 6, wait_max: secs(120), ..TownConfig::default() });
    // Apart from that, all connections are equally fast.
    town.world.net.jitter = Span::ZERO;
    town.world.net.lag_max = secs(2);
    for _ in 0..4 {
        town.world.crash(0);
        for person in 0..6 {
            town.deliver(person, "by one road or another");
        }
        town.run_for(secs(30));
        (0..6).for_each(|person| town.read(person, 0));
        town.run_for(secs(30));
    }
    assert!(struck(&town, Fault::Overtaken));
    assert_eq!(clean(town).mails, 24);
}

#[test]
fn connections_whose_tls_or_socket_breaks_lose_no_mail() {
    let mut town = live(TownConfig { wait_max: secs(600), ..TownConfig::default() });
    town.world.net.resets = 200_000;
    for _ in 0..10 {
        town.deliver(0, "while connections break");
        town.run_for(secs(10));
    }
    town.world.net.resets = 0;
    town.run_for(secs(400));
    let kinds = [Fault::TlsBroken, Fault::SocketBroken, Fault::Reset];
    assert!(kinds.into_iter().all(|kind| struck(&town, kind)));
    assert_eq!(clean(town).mails, 10);
}

#[test]
fn connections_that_do_not_come_about_for_whatever_reason_lose_no_mail() {
    let mut town = live(TownConfig { wait_max: secs(1_200), ..TownConfig::default() });
    (town.world.net.refused, town.world.net.failed_handshakes) = (200_000, 900_000);
    town.world.crash(0);
    town.deliver(0, "while nobody gets through");
    town.run_for(secs(600));
    (town.world.net.refused, town.world.net.failed_handshakes) = (0, 0);
    town.run_for(secs(400));
    let kinds = [Fault::Refused, Fault::NameNotFound, Fault::Untrusted, Fault::HandshakeBroken];
    assert!(kinds.into_iter().all(|kind| struck(&town, kind)), "{:?}", town.world.struck());
    assert_eq!(clean(town).lost.count, 0);
}

#[test]
fn a_mail_servers_clock_that_is_off_and_is_set_loses_no_mail_of_a_gap() {
    let mut town = live(TownConfig { wait_max: secs(600), ..TownConfig::default() });
    for ahead_ms in [0, 20_000, -20_000, 5_000] {
        town.world.set_clock(MAIL, Clock { ahead_ms, drift_ppm: 200 });
        town.deliver(0, "told by an event");
        town.run_for(secs(60));
        town.world.crash(0);
        town.deliver(0, "found by looking");
        town.run_for(secs(60));
    }
    assert_eq!(clean(town).lost.count, 0);
}

#[test]
fn provider_tokens_are_renewed_through_the_day_within_the_budget() {
    let mut town = live(TownConfig { tokens: Some(secs(25 * 60)), shards: 2, ..TownConfig::default() });
    town.world.set_clock(PUSH, Clock { ahead_ms: -240_000, drift_ppm: 0 });
    for _ in 0..18 {
        town.deliver(0, "every ten minutes");
        town.deliver(1, "every ten minutes");
        town.run_for(secs(600));
    }
    let refused = &town.world.apns[0].stats().refused;
    assert!(refused.is_empty(), "{refused:?}");
    clean(town);
}

#[test]
fn tokens_that_look_expired_for_a_while_cost_no_mail() {
    let mut town =
        live(TownConfig { tokens: Some(secs(50 * 60)), wait_max: secs(3_600), ..TownConfig::default() });
    town.turn_apns(|knobs| knobs.tokens.age_max = Span::ZERO);
    town.run_for(secs(2));
    town.deliver(0, "refused at first");
    town.run_for(secs(120));
    assert!(!town.told(0, 0).iter().any(|push| push.payload.is_alert()));
    town.turn_apns(|knobs| knobs.tokens.age_max = secs(3_600));
    town.run_for(secs(3_600));
    assert!(town.told(0, 0).iter().any(|push| push.payload.is_alert()));
    clean(town);
}

#[test]
fn a_loss_of_power_tells_again_what_was_told_in_the_last_second_and_nothing_older() {
    let mut town = live(TownConfig::default());
    let alerts = |town: &Town| town.told(0, 0).iter().filter(|push| push.payload.is_alert()).count();
    town.deliver(0, "told long ago");
    town.run_for(secs(10));
    town.lose_power(secs(1));
    town.run_for(secs(60));
    assert_eq!(alerts(&town), 1);
    assert!(!struck(&town, Fault::WrittenLost));
    town.deliver(0, "told just now");
    while alerts(&town) == 1 {
        town.run_for(Span::from_millis(10));
    }
    town.lose_power(secs(1));
    town.run_for(secs(60));
    assert_eq!(alerts(&town), 3);
    clean(town);
}

#[test]
fn a_notice_that_was_put_down_stays_so_when_its_user_is_assigned_again_after_a_loss_of_power() {
    let mut town = live(TownConfig { wait_max: secs(1_200), ..TownConfig::default() });
    town.turn_apns(|knobs| (knobs.refusals, knobs.refusal) = (Share(1_000_000), Reason::TopicDisallowed));
    town.deliver(0, "refused for our configuration");
    town.run_for(secs(30));
    town.use_app(0, 0);
    town.run_for(Span::from_millis(300));
    // The app's last use is gone, and is told again by whoever assigns the user again.
    town.lose_power(secs(1));
    town.run_for(secs(30));
    town.lose_power(secs(1));
    town.turn_apns(|knobs| knobs.refusals = Share(0));
    town.run_for(secs(600));
    assert_eq!(town.told(0, 0).iter().filter(|push| push.payload.is_alert()).count(), 1);
    clean(town);
}

#[test]
fn a_registration_of_the_last_second_that_a_loss_of_power_takes_is_made_again() {
    let mut town = live(TownConfig::default());
    town.stop(0);
    town.run_for(secs(10));
    town.register_again(0, 0);
    town.run_for(Span::from_millis(300));
    town.lose_power(Span::from_millis(900));
    assert!(struck(&town, Fault::WrittenLost));
    town.run_for(secs(30));
    town.deliver(0, "to whom has registered");
    town.run_for(secs(30));
    assert!(town.told(0, 0).iter().any(|push| push.payload.is_alert()));
    clean(town);
}
