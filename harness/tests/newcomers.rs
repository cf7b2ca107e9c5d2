//! Who is new begins with the mails from his registration on, by the clock of his mail server, whenever that is set.

use carillon_core::time::{Now, Span, Time, UnixMillis};
use carillon_harness::exchange::{Code, Operation, Override, Silence};
use carillon_harness::world::Clock;
use carillon_harness::world::story::{
    alerts, badge, clean, live, lose_subscriptions, mails_told, secs, subjects, until_live,
};
use carillon_harness::world::town::{MAIL, Town, TownConfig};

/// His first mail comes by an event, before any look into his mailbox has succeeded, and is stored as dealt with.
#[test]
fn a_newcomers_mail_of_a_gap_is_told_though_nobody_has_looked_before_and_the_servers_clock_is_behind() {
    for ahead_ms in [-320_000, 0, 320_000] {
        let mut town = Town::new(TownConfig { users: 1, wait_max: secs(4_000), ..TownConfig::default() });
        town.world.set_clock(MAIL, Clock { ahead_ms, drift_ppm: 0 });
        let refusal = Override::InternalError { retry_after_s: None };
        town.world.exchanges[0].answer_next(10_000, Some(Operation::FindItem), refusal);
        town.run_for(secs(30));
        town.deliver(0, "by an event");
        town.run_for(secs(30));
        assert_eq!(alerts(&town, 0), 1, "{ahead_ms} ms ahead");
        town.world.net.failed_handshakes = 1_000_000;
        town.world.crash(0);
        town.deliver(0, "in the gap");
        let mailbox = town.people[0].mailbox;
        let now = town.world.now();
        town.world.exchanges[0].fail_subscriptions(now, &[mailbox], Code::ErrorSubscriptionNotFound, None);
        town.run_for(secs(30));
        town.world.net.failed_handshakes = 0;
        town.world.exchanges[0].clear_orders();
        town.run_for(secs(3_600));
        let told = mails_told(&town, 0);
        assert_eq!((told, badge(&town, 0)), (2, Some(2)), "{ahead_ms} ms ahead");
        clean(town);
    }
}

#[test]
fn a_gap_right_after_the_registration_is_caught_up_whatever_the_mail_server_s_clock_says() {
    for ahead_s in [0, -50, -300, 300] {
        let mut town = Town::new(TownConfig { users: 1, wait_max: secs(300), ..TownConfig::default() });
        town.world.set_clock(MAIL, Clock { ahead_ms: ahead_s * 1_000, drift_ppm: 0 });
        town.run_for(Span::from_millis(2));
        let mut town = until_live(town);
        town.run_for(secs(20));
        let stream = town.world.exchanges[0].stream_keys()[0];
        town.world.exchanges[0].go_silent(stream, Silence::Blackhole);
        town.deliver(0, "in the gap");
        town.run_for(secs(200));
        assert_eq!(alerts(&town, 0), 1, "{ahead_s} s ahead");
        clean(town);
    }
}

#[test]
fn what_was_there_before_the_registration_is_not_told_whatever_the_mail_server_s_clock_says() {
    for ahead_s in [0, -300, 300] {
        let mut town = Town::new(TownConfig { users: 1, ..TownConfig::default() });
        town.world.set_clock(MAIL, Clock { ahead_ms: ahead_s * 1_000, drift_ppm: 0 });
        let now = town.world.now_of(MAIL);
        let (earlier, mailbox) = (UnixMillis(now.unix.0 - 10_000), town.people[0].mailbox);
        let mail = town.mail();
        town.world.exchanges[0].deliver(Now { unix: earlier, ..now }, mailbox, mail);
        let mut town = until_live(town);
        town.run_for(secs(60));
        assert_eq!(alerts(&town, 0), 0, "{ahead_s} s ahead");
    }
}

/// What was known of the server's clock does not hold any more when he is registered.
#[test]
fn a_newcomer_begins_by_the_clock_that_was_set_while_his_server_was_in_use() {
    for set_to_ms in [-320_000, 320_000] {
        let mut town = live(TownConfig { users: 2, wait_max: secs(600), ..TownConfig::default() });
        town.drop_person(0);
        town.run_for(secs(30));
        town.world.set_clock(MAIL, Clock { ahead_ms: set_to_ms, drift_ppm: 0 });
        town.deliver(0, "while he is away");
        town.deliver(1, "whose details come with the time of day");
        town.run_for(secs(30));
        town.come_back(0, 0);
        town.run_for(secs(1));
        lose_subscriptions(&mut town);
        town.deliver(0, "in the gap");
        town.run_for(secs(120));
        assert_eq!(subjects(&town), ["in the gap"], "{set_to_ms} ms");
        clean(town);
    }
}

/// His server is off-line when he is registered, and its clock is set before it is back. The engine may die in between. If
/// the clock is set back, nothing tells mails from right before his registration from those right after it: all are told.
#[test]
fn a_newcomer_loses_no_mail_to_a_clock_that_is_set_around_his_registration() {
    for (set_to_ms, crash) in [(-300_000, false), (300_000, false), (-300_000, true), (300_000, true)] {
        let clock_set_max = secs(300);
        let config = TownConfig { users: 1, wait_max: secs(1_000), clock_set_max, ..TownConfig::default() };
        let mut town = live(config);
        town.drop_person(0);
        town.run_for(secs(100));
        town.deliver(0, "while he is away");
        town.run_for(secs(10));
        town.world.net.failed_handshakes = 1_000_000;
        town.come_back(0, 0);
        town.run_for(secs(10));
        town.deliver(0, "while the server cannot be reached");
        town.run_for(secs(10));
        if crash {
            town.world.crash(0);
        }
        town.world.set_clock(MAIL, Clock { ahead_ms: set_to_ms, drift_ppm: 0 });
        town.world.net.failed_handshakes = 0;
        town.run_for(secs(600));
        let told = mails_told(&town, 0);
        assert_eq!(told, if set_to_ms < 0 { 2 } else { 1 }, "{set_to_ms} ms, crash: {crash}");
        clean(town);
    }
}

/// The clock has been set right before he is registered, which nobody has heard yet.
#[test]
fn a_newcomer_loses_no_mail_to_a_clock_that_was_set_right_before_and_to_a_crash_before_he_is_told() {
    for ahead_ms in [-300_000, -20_000, 20_000, 300_000] {
        let config = TownConfig { users: 2, wait_max: secs(1_000), ..TownConfig::default() };
        let mut town = live(TownConfig { clock_set_max: secs(300), ..config });
        town.drop_person(0);
        town.run_for(secs(100));
        town.world.set_clock(MAIL, Clock { ahead_ms, drift_ppm: 0 });
        town.come_back(0, 0);
        town.run_for(secs(20));
        town.turn_apns(|knobs| knobs.unavailable_until = Time::NEVER);
        town.deliver(0, "not told before the crash");
        town.run_for(secs(10));
        town.world.crash(0);
        let mailbox = town.people[0].mailbox;
        let now = town.world.now();
        town.world.exchanges[0].fail_subscriptions(now, &[mailbox], Code::ErrorSubscriptionNotFound, None);
        town.world.set_clock(MAIL, Clock { ahead_ms: ahead_ms + 21_000, drift_ppm: 0 });
        town.run_for(secs(60));
        town.turn_apns(|knobs| knobs.unavailable_until = Time(0));
        town.run_for(secs(300));
        assert_eq!(alerts(&town, 0), 1, "{ahead_ms} ms ahead");
        clean(town);
    }
}
