//! A mail in Exchange rings a phone: the engine's core between the strict peers, in virtual time.

use carillon_core::time::Span;
use carillon_harness::apns::AlertKind;
use carillon_harness::world::town::{Town, TownConfig};

fn live(config: TownConfig) -> Town {
    let mut town = Town::new(config);
    assert!(
        town.run_until_live(Span::from_secs(60)),
        "not live: {:?} {:?}",
        town.world.stats(0),
        town.world.reports
    );
    town
}

#[test]
fn a_mail_rings_a_phone_with_its_sender_and_subject() {
    let mut town = live(TownConfig::default());
    town.deliver(1, "Lunch?");
    town.run_for(Span::from_secs(10));
    let told = town.told(1, 0);
    assert_eq!(told.len(), 1, "{told:?}");
    let expected = AlertKind::Details {
        title: "Jane Doe".into(),
        subtitle: "Lunch?".into(),
        body: "body of Lunch?".into(),
    };
    assert_eq!((&told[0].payload.alert, told[0].payload.badge), (&expected, Some(1)));
    let report = town.finish();
    assert!(report.is_clean(), "{report:?}");
}
