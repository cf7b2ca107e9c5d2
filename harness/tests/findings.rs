//! The judges are judged: each thing that the audit and the push service can object to is found, through the whole world, when
//! the engine makes the mistake. Without the mistake the same story is clean.

use std::collections::BTreeSet;

use carillon_core::names::SmtpAddress;
use carillon_core::planted::{Mistake, plant};
use carillon_core::shard::{DeviceSettings, Timing, VipRules};
use carillon_harness::apns::{PayloadFault, Reason, Share, StrictFault};
use carillon_harness::audit::AuditReport;
use carillon_harness::exchange::Silence;
use carillon_harness::world::story::{live, secs};
use carillon_harness::world::town::{Town, TownConfig};

/// What is found, by which mistake, in which story.
const STORIES: [(&str, Mistake, fn() -> Town); 13] = [
    ("lost", Mistake::NoCatchUp, a_mail_in_a_gap),
    ("duplicates", Mistake::ToldForgotten, a_restart_after_a_mail),
    ("details_after_cutoff", Mistake::CutoffByMinutes, a_refused_push_to_an_idle_app),
    ("wrong_badges", Mistake::BadgeLate, a_mail_that_is_read),
    ("told_after_gone", Mistake::GoneIgnored, a_mail_that_is_read_while_it_waits),
    ("told_after_stop", Mistake::StopIgnored, a_stop_while_a_push_is_lost),
    ("told_after_removal", Mistake::RemovalIgnored, a_phone_that_is_removed),
    ("told_unwanted", Mistake::SettingsIgnored, a_phone_that_wants_no_alerts),
    ("shown_twice", Mistake::PlaceOfItsOwn, a_loss_of_power_right_after_a_mail),
    ("foreign", Mistake::TokenOfAnother, a_mail_for_the_second_of_two),
    ("wrong_account", Mistake::AccountKept, another_address),
    ("wrong_level", Mistake::VipByCase, a_vip_sender_in_capitals),
    ("malformed", Mistake::MailsMiscounted, a_mail_for_the_second_of_two),
];

/// As [`STORIES`], of what the push service lets pass and objects to.
const STRICT_STORIES: [(StrictFault, Mistake, fn() -> Town); 3] = [
    (StrictFault::ResendOtherCollapseId, Mistake::ResendMoves, a_push_that_is_worded_anew),
    (StrictFault::PushedAfterGone, Mistake::GoneKept, an_app_that_is_gone),
    (StrictFault::Payload(PayloadFault::Mails), Mistake::MailsMiscounted, a_mail_for_the_second_of_two),
];

fn found(report: &AuditReport) -> BTreeSet<&'static str> {
    let found = report.findings().into_iter().filter(|(_, finding)| finding.count > 0);
    found.map(|(name, _)| name).collect()
}

#[test]
fn each_finding_of_the_audit_is_found_when_the_engine_makes_the_mistake_and_only_then() {
    for (finding, mistake, story) in STORIES {
        assert_eq!(found(&story().finish()), BTreeSet::new(), "{finding}, without the mistake");
        let _planted = plant(mistake);
        let found = found(&story().finish());
        assert!(found.contains(finding), "{finding} by {mistake:?}: {found:?}");
    }
    let all: BTreeSet<&str> = AuditReport::default().findings().into_iter().map(|(name, _)| name).collect();
    let told: BTreeSet<&str> = STORIES.iter().map(|(finding, ..)| *finding).collect();
    assert_eq!(told, all, "each has its story");
}

#[test]
fn what_the_push_service_lets_pass_and_objects_to_is_noted_when_the_engine_makes_the_mistake_and_only_then() {
    for (fault, mistake, story) in STRICT_STORIES {
        let times = |town: &Town| town.world.apns[0].stats().strict.count(fault);
        assert_eq!(times(&story()), 0, "{fault:?}, without the mistake");
        let _planted = plant(mistake);
        assert!(times(&story()) > 0, "{fault:?} by {mistake:?}");
    }
}

fn config() -> TownConfig {
    // An engine that makes mistakes would not stand being looked through.
    TownConfig { users: 2, vigilant: false, ..TownConfig::default() }
}

fn town() -> Town {
    let mut town = live(config());
    town.run_for(secs(10));
    town
}

fn a_mail_in_a_gap() -> Town {
    let mut town = town();
    let exchange = &mut town.world.exchanges[0];
    let stream = exchange.stream_of(town.people[1].mailbox).expect("watched");
    exchange.go_silent(stream, Silence::Blackhole);
    town.deliver(1, "what the stream swallows");
    town.run_for(secs(400));
    town
}

fn a_restart_after_a_mail() -> Town {
    let mut town = town();
    town.deliver(1, "before the restart");
    town.run_for(secs(20));
    town.world.crash(0);
    town.run_for(secs(120));
    town
}

/// Details leave in a push that is refused: they have left all the same.
fn a_refused_push_to_an_idle_app() -> Town {
    let mut town = town();
    town.turn_apns(|knobs| (knobs.refusals, knobs.refusal) = (Share::percent(100), Reason::BadCollapseId));
    // The app was used at the start.
    let cutoff = secs(Timing::default().detail_cutoff_s.into());
    town.run_for(secs(cutoff.0 / 1_000_000 - town.world.now().time.0 / 1_000_000 + 5));
    town.deliver(1, "some seconds past the cut-off");
    town.run_for(secs(20));
    assert!(town.world.apns[0].stats().refused_for(Reason::BadCollapseId) > 0);
    town
}

fn a_mail_that_is_read() -> Town {
    let mut town = town();
    town.deliver(1, "read at once");
    town.run_for(secs(20));
    town.read(1, 0);
    town.run_for(secs(60));
    town
}

fn a_mail_that_is_read_while_it_waits() -> Town {
    let timing = Timing { min_interval_ms: 60_000, max_delay_ms: 60_000, ..Timing::default() };
    let mut town = live(TownConfig { timing, wait_max: secs(120), ..config() });
    town.run_for(secs(10));
    town.deliver(1, "told");
    town.run_for(secs(10));
    town.deliver(1, "waits for the interval");
    town.run_for(secs(3));
    town.read(1, 1);
    town.run_for(secs(120));
    town
}

fn a_stop_while_a_push_is_lost() -> Town {
    let mut town = live(TownConfig { wait_max: secs(300), ..config() });
    town.run_for(secs(10));
    town.turn_apns(|knobs| knobs.requests_lost = Share::percent(100));
    town.deliver(1, "lost on its way");
    town.run_for(secs(10));
    town.stop(1);
    town.turn_apns(|knobs| knobs.requests_lost = Share(0));
    town.run_for(secs(200));
    town
}

fn a_phone_that_is_removed() -> Town {
    let mut town = town();
    town.remove_phone(1, 0);
    town.run_for(secs(10));
    town.deliver(1, "to nobody");
    town.run_for(secs(20));
    town
}

fn a_phone_that_wants_no_alerts() -> Town {
    let mut town = town();
    town.choose(1, 0, &DeviceSettings { alerts: false, ..DeviceSettings::default() });
    town.run_for(secs(10));
    town.deliver(1, "badge alone");
    town.run_for(secs(20));
    town
}

fn a_loss_of_power_right_after_a_mail() -> Town {
    let mut town = town();
    let told = |town: &Town| town.told(1, 0).iter().any(|push| push.payload.has_details());
    town.deliver(1, "told, and forgotten");
    while !told(&town) {
        town.run_for(carillon_core::time::Span::from_millis(10));
    }
    town.lose_power(secs(1));
    town.run_for(secs(120));
    assert!(town.told(1, 0).iter().filter(|push| push.payload.has_details()).count() > 1, "told again");
    town
}

fn a_mail_for_the_second_of_two() -> Town {
    let mut town = town();
    town.deliver(1, "to the second");
    town.run_for(secs(20));
    town
}

fn another_address() -> Town {
    let mut town = town();
    let address = "another.name@example.com";
    let mailbox = town.people[1].mailbox;
    town.world.exchanges[0].rename_mailbox(mailbox, address);
    let address = SmtpAddress::parse(address).expect("an address");
    town.assign_again(1, false, |assign| assign.address = address);
    town.run_for(secs(60));
    town.deliver(1, "to the new address");
    town.run_for(secs(20));
    town
}

fn a_vip_sender_in_capitals() -> Town {
    let mut town = town();
    town.set_vip(1, VipRules { high_importance: false, senders: Box::new(["boss@example.org".into()]) });
    town.run_for(secs(10));
    let mut mail = town.mail();
    mail.sender.address = "BOSS@EXAMPLE.ORG".to_owned();
    town.deliver_mail(1, mail);
    town.run_for(secs(20));
    town
}

/// A push is lost, and before it goes out again its user wants no details any more.
fn a_push_that_is_worded_anew() -> Town {
    let mut town = live(TownConfig { wait_max: secs(300), ..config() });
    town.run_for(secs(10));
    town.turn_apns(|knobs| knobs.answers_lost = Share::percent(100));
    town.deliver(1, "whose answer is lost");
    town.run_for(secs(10));
    town.choose(1, 0, &DeviceSettings { details: false, ..DeviceSettings::default() });
    town.turn_apns(|knobs| knobs.answers_lost = Share(0));
    town.run_for(secs(200));
    town
}

fn an_app_that_is_gone() -> Town {
    let mut town = town();
    town.run_for(secs(10));
    town.uninstall(1, 0);
    for _ in 0..3 {
        town.deliver(1, "to nobody");
        town.run_for(secs(20));
    }
    town
}
