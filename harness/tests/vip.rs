//! Mail that goes first: which it is, how soon it is told, and that nobody outside can make a phone ring without end.

use carillon_core::shard::{Timing, VipRules};
use carillon_core::time::{Span, Time};
use carillon_harness::apns::{Delivery, Knobs, Latency};
use carillon_harness::exchange::{ExchangeConfig, Importance, Mail, Operation};
use carillon_harness::world::story::{alerts, clean, live, mails_told, secs, times};
use carillon_harness::world::town::{Town, TownConfig};

/// What a look at a mail and the way to the phone take together, at most.
const LOOK: Span = Span::from_millis(500);

fn timing() -> Timing {
    Timing { settle_ms: 2_000, vip_settle_ms: 250, min_interval_ms: 5_000, ..Timing::default() }
}

fn town(vip: VipRules) -> Town {
    let call_time = Span::from_millis(100);
    let exchange = ExchangeConfig { call_time, record_asked: true, ..ExchangeConfig::default() };
    let knobs = Knobs { latency: Latency::Fixed(Span::from_millis(60)), ..Knobs::default() };
    let mut town = live(TownConfig { timing: timing(), exchange, knobs, ..TownConfig::default() });
    town.set_vip(0, vip);
    town.run_for(secs(20));
    town
}

fn important() -> VipRules {
    VipRules { high_importance: true, senders: Box::default() }
}

fn from_boss() -> VipRules {
    VipRules { high_importance: false, senders: Box::new(["boss@example.org".into()]) }
}

fn urgent(town: &Town) -> Mail {
    Mail { importance: Importance::High, ..town.mail() }
}

fn boss(town: &Town) -> Mail {
    let mut mail = town.mail();
    mail.sender.address = "Boss@Example.ORG".to_owned();
    mail
}

/// The alerts of the first person: when each came, of how many mails, and whether it breaks through a Focus.
fn rings(town: &Town) -> Vec<(Time, u32, bool)> {
    let alerts = town.told(0, 0).into_iter().filter(|push| push.payload.is_alert());
    alerts.map(|push: &Delivery| (push.at.time, push.payload.n, push.payload.time_sensitive)).collect()
}

#[test]
fn vip_mail_is_told_after_its_own_short_time_and_breaks_through_a_focus_however_its_sender_is_spelled() {
    for (rules, mail) in [(important(), urgent as fn(&Town) -> Mail), (from_boss(), boss)] {
        let mut town = town(rules);
        // Ordinary mail was told a moment ago: it would have to wait for the interval.
        town.deliver(0, "ordinary");
        town.run_for(secs(3));
        let mail = mail(&town);
        let from = town.world.now().time;
        town.deliver_mail(0, mail);
        town.run_for(Span::from_millis(timing().vip_settle_ms.into()) + LOOK);
        let [(_, 1, false), (at, 1, true)] = rings(&town)[..] else { panic!("{:?}", rings(&town)) };
        assert!(at.since(from) >= Span::from_millis(timing().vip_settle_ms.into()), "{:?}", at.since(from));
        town.run_for(secs(20));
        clean(town);
    }
}

#[test]
fn ordinary_mail_that_comes_while_vip_mail_is_on_its_way_goes_as_ordinary_mail_does() {
    let mut town = town(important());
    let mail = urgent(&town);
    town.deliver_mail(0, mail);
    // The push is out, and its answer is not here yet.
    while town.world.stats(0).pushes_in_flight == 0 {
        town.run_for(Span::from_millis(5));
    }
    town.deliver(0, "ordinary");
    town.run_for(secs(4));
    assert_eq!(alerts(&town, 0), 1, "it waits for the interval");
    town.run_for(secs(6));
    let [(_, 1, true), (_, 1, false)] = rings(&town)[..] else { panic!("{:?}", rings(&town)) };
    clean(town);
}

#[test]
fn vip_mail_that_was_read_before_it_was_told_leaves_the_rest_ordinary() {
    let mut town = town(important());
    town.deliver(0, "ordinary");
    let mail = urgent(&town);
    town.deliver_mail(0, mail);
    town.run_for(Span::from_millis(150));
    town.read(0, 1);
    town.run_for(secs(20));
    let [(_, 1, false)] = rings(&town)[..] else { panic!("{:?}", rings(&town)) };
    clean(town);
}

#[test]
fn a_flood_of_vip_mail_rings_four_times_at_once_and_then_at_the_interval() {
    let mut town = town(important());
    let begin = town.world.now().time;
    for _ in 0..1_200 {
        let mail = urgent(&town);
        town.deliver_mail(0, mail);
        town.run_for(Span::from_millis(50));
    }
    let rung = rings(&town);
    let (burst, steady) = (4, 12);
    assert!((steady..=burst + steady + 1).contains(&rung.len()), "{} alerts in a minute", rung.len());
    let early = rung.iter().filter(|(at, ..)| at.since(begin) < secs(5)).count();
    assert!((3..=5).contains(&early), "some at once: {early}");
    let asked = times(&mut town, Operation::GetItem, 0).len();
    assert!(asked <= 4 * rung.len(), "{asked} looks for {} alerts", rung.len());
    town.run_for(secs(60));
    assert_eq!(mails_told(&town, 0), 1_200);
    // After a quiet minute mail may go first again.
    let (before, from) = (alerts(&town, 0), town.world.now().time);
    let mail = urgent(&town);
    town.deliver_mail(0, mail);
    town.run_for(Span::from_millis(timing().vip_settle_ms.into()) + LOOK);
    assert_eq!(alerts(&town, 0), before + 1, "{:?}", rings(&town).last().map(|last| last.0.since(from)));
    clean(town);
}

#[test]
fn while_vip_mail_floods_others_are_told_which_mail_goes_first_all_the_same() {
    let mut town = town(from_boss());
    for _ in 0..40 {
        let mail = boss(&town);
        town.deliver_mail(0, mail);
        town.run_for(Span::from_millis(250));
    }
    town.run_for(secs(10));
    assert!(rings(&town).iter().all(|(.., first)| *first), "{:?}", rings(&town));
    clean(town);
}
