//! Mails that cannot be read, and mail servers that cannot read them: only the one mail lacks its details.

use carillon_core::shard::{CatchUp, Report};
use carillon_core::time::Span;
use carillon_harness::exchange::{Code, Mail, Operation};
use carillon_harness::world::story::{
    alerts, clean, live, lose_subscriptions, mails_told, minutes, secs, subjects,
};
use carillon_harness::world::town::{Town, TownConfig};

/// What is no XML 1.0, is no UTF-8, or is XML that others refuse; and what of it is shown, if anything is.
const ODD: [(&str, Option<&str>); 8] = [
    ("A&nbsp;B", Some("A B")),
    ("Inv&#x1A;oice", Some("Invoice")),
    ("Hi &#xD83D;&#xDE00;!", Some("Hi 😀!")),
    ("half &#xD83D; a", Some("half \u{fffd} a")),
    ("caf\u{e000}", None),
    ("R&D", None),
    ("a < b", None),
    ("<t:b>", None),
];

fn town(catch_up: CatchUp) -> Town {
    live(TownConfig {
        users: 2,
        wait_max: minutes(5),
        mail_server: Box::new(move |server| server.catch_up = catch_up),
        ..TownConfig::default()
    })
}

fn odd(town: &Town, on_wire: &str) -> Mail {
    Mail { subject: "odd".into(), subject_on_wire: Some(on_wire.into()), ..town.mail() }
}

/// What was last reported of mails that cannot be read in the first mailbox.
fn unreadable(town: &Town) -> Option<String> {
    let said = town.world.reports.iter().rev().find_map(|(_, report)| match report {
        Report::Unreadable { user, trouble } if *user == town.people[0].key => Some(trouble.clone()),
        _ => None,
    });
    said.flatten().map(|trouble| format!("{}: {}", trouble.code, trouble.text))
}

#[test]
fn a_mail_that_cannot_be_read_is_told_without_details_as_soon_as_others_are_with_them() {
    for (on_wire, shown) in ODD {
        let mut town = town(CatchUp::Find);
        let mail = odd(&town, on_wire);
        town.deliver_mail(0, mail);
        town.run_for(secs(5));
        let told = subjects(&town);
        assert_eq!(told.len(), 1, "{on_wire}");
        match shown {
            Some(shown) => assert_eq!(told, [shown], "{on_wire}"),
            None => assert!(!town.told(0, 0)[0].payload.has_details(), "{on_wire}: {told:?}"),
        }
        assert_eq!(unreadable(&town).is_some(), shown.is_none(), "{on_wire}: {:?}", unreadable(&town));
        // Nobody is held back by it: the next mail has its details at once.
        town.run_for(secs(30));
        town.deliver(0, "after it");
        town.run_for(secs(4));
        assert_eq!(subjects(&town).last().map(String::as_str), Some("after it"), "{on_wire}");
        assert_eq!(unreadable(&town), None, "that could be read");
        clean(town);
    }
}

#[test]
fn of_several_mails_that_wait_only_the_one_that_cannot_be_read_lacks_its_details() {
    let mut town = town(CatchUp::Find);
    let rules = carillon_core::shard::VipRules { high_importance: true, senders: Box::default() };
    // Each is looked at as it comes; so several are asked for at once.
    town.set_vip(0, rules);
    town.run_for(secs(1));
    town.deliver(0, "read before it is told");
    town.deliver_mail(0, odd(&town, "caf\u{e000}"));
    town.deliver(0, "readable");
    town.run_for(Span::from_millis(900));
    // The odd one goes, and one of the others: the last has what the batch could not give.
    town.delete(0, 1);
    town.read(0, 0);
    town.run_for(secs(10));
    assert_eq!(subjects(&town), ["readable"]);
    clean(town);
}

#[test]
fn a_page_with_a_mail_that_cannot_be_read_is_caught_up_and_says_so() {
    for catch_up in [CatchUp::Find, CatchUp::Sync] {
        for (on_wire, shown) in ODD {
            let mut town = town(catch_up);
            let mail = odd(&town, on_wire);
            town.deliver_mail(0, mail);
            town.run_for(minutes(3));
            for round in 1..4 {
                lose_subscriptions(&mut town);
                town.deliver(0, "in a gap");
                town.deliver(1, "in a gap");
                town.run_for(secs(60));
                assert_eq!(
                    (alerts(&town, 0), alerts(&town, 1)),
                    (round + 1, round),
                    "{catch_up:?}, {on_wire}"
                );
                assert_eq!(subjects(&town).last().map(String::as_str), Some("in a gap"), "with its details");
                assert!(town.is_live(0) && town.is_live(1), "{catch_up:?}, {on_wire}");
                let said = unreadable(&town);
                let expected = catch_up == CatchUp::Find && shown.is_none();
                assert_eq!(said.is_some(), expected, "{catch_up:?}, {on_wire}: {said:?}");
                assert!(
                    said.is_none_or(|said| said.starts_with("mail_unreadable: ")),
                    "{catch_up:?}, {on_wire}"
                );
                town.run_for(minutes(12));
            }
            // Once it is gone, everything can be read again.
            town.delete(0, 0);
            lose_subscriptions(&mut town);
            town.run_for(minutes(1));
            assert_eq!(unreadable(&town), None, "{catch_up:?}, {on_wire}");
            clean(town);
        }
    }
}

/// Codes that Exchange gives for single mails; most stand in no table of ours.
#[test]
fn a_mail_that_exchange_refuses_to_give_out_holds_no_other_back_whatever_the_code() {
    let codes = [
        Code::ErrorItemCorrupt,
        Code::ErrorCorruptData,
        Code::ErrorContentConversionFailed,
        Code::ErrorMimeContentConversionFailed,
        Code::ErrorMessageSizeExceeded,
        Code::ErrorInvalidPropertyRequest,
        Code::ErrorInternalServerError,
        Code::ErrorAccessDenied,
        Code::ErrorQuotaExceeded,
    ];
    for code in codes {
        let mut town = town(CatchUp::Find);
        town.deliver(0, "refused");
        let (id, mailbox) = (town.people[0].mails[0].clone(), town.people[0].mailbox);
        town.world.exchanges[0].refuse_item(mailbox, &id, code);
        town.run_for(secs(5));
        let told = town.told(0, 0);
        assert!(told.len() == 1 && !told[0].payload.has_details(), "{code}: {told:?}");
        assert!(unreadable(&town).is_some_and(|said| said.contains(code.as_str())), "{code}");
        for n in 1..4 {
            town.deliver(0, "after it");
            town.run_for(secs(if n == 1 { 25 } else { 10 }));
            assert_eq!(subjects(&town).last().map(String::as_str), Some("after it"), "{code}");
        }
        assert_eq!((mails_told(&town, 0), unreadable(&town)), (4, None), "{code}");
        assert!(
            !town.world.reports.iter().any(|(_, report)| matches!(report, Report::Unwatched { .. })),
            "{code}"
        );
        let asked = town.world.exchanges[0].stats().count(Operation::GetItem, code);
        assert!((1..=2).contains(&asked), "{code}: asked {asked} times");
        clean(town);
    }
}

/// As for a mail that no conversion gets through: the list of a folder fails as a whole because of it.
#[test]
fn a_folder_that_cannot_be_listed_with_texts_is_listed_by_ids_and_dates() {
    for code in [Code::ErrorCorruptData, Code::ErrorContentConversionFailed, Code::ErrorInternalServerError] {
        let mut town = town(CatchUp::Find);
        town.run_for(minutes(1));
        let mailbox = town.people[0].mailbox;
        town.world.exchanges[0].fail_texts(mailbox, Some(code));
        for round in 1..3 {
            lose_subscriptions(&mut town);
            town.deliver(0, "in a gap");
            town.run_for(secs(30));
            assert_eq!(alerts(&town, 0), round, "{code}");
            assert!(unreadable(&town).is_some_and(|said| said.contains(code.as_str())), "{code}");
            town.run_for(minutes(2));
        }
        town.world.exchanges[0].fail_texts(mailbox, None);
        lose_subscriptions(&mut town);
        town.run_for(secs(30));
        assert_eq!(unreadable(&town), None);
        clean(town);
    }
}
