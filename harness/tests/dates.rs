//! Mails that say that they were received in the future, and mail servers whose clocks jump: none of it may hide other mail.

use carillon_core::names::{FolderId, SmtpAddress};
use carillon_core::shard::{AssignUser, CatchUp, Command, MailServerId};
use carillon_core::time::{Span, UnixMillis};
use carillon_harness::exchange::{INBOX, Mail};
use carillon_harness::world::Clock;
use carillon_harness::world::story::{
    alerts, clean, live, lose_subscriptions, mails_told, minutes, secs, subjects, until_live,
};
use carillon_harness::world::town::{MAIL, Town, TownConfig};

const DAY_MS: u64 = 86_400_000;

fn town_of(users: usize, catch_up: CatchUp) -> TownConfig {
    TownConfig {
        users,
        wait_max: minutes(60),
        mail_server: Box::new(move |server| server.catch_up = catch_up),
        ..TownConfig::default()
    }
}

/// A mail that says it was received so many days from now.
fn mail_of_the_future(town: &Town, days: u64, subject: &str) -> Mail {
    let now = town.world.now_of(MAIL).unix;
    Mail { subject: subject.into(), received: Some(UnixMillis(now.0 + days * DAY_MS)), ..town.mail() }
}

/// Everybody's subscription is lost, each gets a mail in the gap, and is told of it, and of no other.
fn gap(town: &mut Town, people: usize) {
    let before: Vec<u32> = (0..people).map(|person| mails_told(town, person)).collect();
    lose_subscriptions(town);
    for person in 0..people {
        town.deliver(person, "in a gap");
    }
    town.run_for(minutes(2));
    for (person, before) in before.into_iter().enumerate() {
        assert_eq!(mails_told(town, person) - before, 1, "person {person}");
    }
}

#[test]
fn a_mail_dated_in_the_future_is_told_once_and_hides_none_of_later_gaps() {
    for catch_up in [CatchUp::Find, CatchUp::Sync] {
        for in_a_gap in [false, true] {
            let mut town = live(town_of(2, catch_up));
            town.run_for(secs(20));
            if in_a_gap {
                lose_subscriptions(&mut town);
            }
            let mail = mail_of_the_future(&town, 365, "from next year");
            town.deliver_mail(0, mail);
            town.run_for(minutes(2));
            assert_eq!(subjects(&town), ["from next year"], "{catch_up:?}, in a gap: {in_a_gap}");
            for round in 0..12 {
                // Long after its event has been forgotten, too.
                town.run_for(minutes(10));
                town.deliver(0, "as it comes");
                town.run_for(secs(30));
                if round % 3 == 0 {
                    gap(&mut town, 2);
                }
                if round % 5 == 0 {
                    town.world.crash(0);
                    town.deliver(0, "while away");
                    town.run_for(minutes(2));
                }
            }
            clean(town);
        }
    }
}

/// Nobody fetched it, so that its date was never seen while its hash was known.
#[test]
fn many_mails_dated_in_the_future_hide_none_and_each_is_told_once() {
    for catch_up in [CatchUp::Find, CatchUp::Sync] {
        let mut town = live(town_of(1, catch_up));
        town.run_for(secs(20));
        lose_subscriptions(&mut town);
        for days in 0..40 {
            let mail = mail_of_the_future(&town, 365 + days, "imported");
            town.deliver_mail(0, mail);
        }
        town.deliver(0, "an ordinary one below them");
        town.run_for(minutes(2));
        assert_eq!(mails_told(&town, 0), 41, "{catch_up:?}");
        for _ in 0..3 {
            town.run_for(minutes(30));
            gap(&mut town, 1);
            town.world.crash(0);
            town.run_for(minutes(2));
        }
        clean(town);
    }
}

/// A catch-up reads the newest first and looks at 200: those from the future do not count.
#[test]
fn an_inbox_with_hundreds_of_mails_dated_in_the_future_on_top_is_caught_up_below_them() {
    let mut town = Town::new(town_of(1, CatchUp::Find));
    let mailbox = town.people[0].mailbox;
    for days in 0..450 {
        let (now, mail) = (town.world.now_of(MAIL), mail_of_the_future(&town, 100 + days, "imported"));
        town.world.exchanges[0].put(now, mailbox, mail, true);
    }
    let mut town = until_live(town);
    town.run_for(secs(30));
    assert_eq!(alerts(&town, 0), 0);
    gap(&mut town, 1);
    town.run_for(minutes(30));
    gap(&mut town, 1);
    clean(town);
}

#[test]
fn what_lay_there_at_the_registration_is_not_told_though_it_is_dated_in_the_future() {
    for catch_up in [CatchUp::Find, CatchUp::Sync] {
        let mut town = Town::new(town_of(2, catch_up));
        let mailbox = town.people[0].mailbox;
        for days in 1..40 {
            let (now, mail) = (town.world.now_of(MAIL), mail_of_the_future(&town, 100 * days, "imported"));
            // Unread: what is read is told to nobody anyway.
            town.world.exchanges[0].put(now, mailbox, mail, false);
        }
        let mut town = until_live(town);
        town.run_for(secs(30));
        assert_eq!(alerts(&town, 0), 0, "{catch_up:?}");
        // Before anything else about him is stored.
        town.world.crash(0);
        town.run_for(secs(30));
        assert_eq!(alerts(&town, 0), 0, "{catch_up:?}, after a crash");
        for _ in 0..3 {
            town.run_for(minutes(20));
            gap(&mut town, 2);
            town.world.crash(0);
            town.run_for(minutes(2));
        }
        // What comes later is news, though it says that it is from the future as well.
        lose_subscriptions(&mut town);
        let mail = mail_of_the_future(&town, 10_000, "from later still");
        town.deliver_mail(0, mail);
        town.run_for(minutes(2));
        assert_eq!(subjects(&town).last().map(String::as_str), Some("from later still"), "{catch_up:?}");
        assert_eq!(mails_told(&town, 0), 4, "{catch_up:?}");
    }
}

#[test]
fn what_lay_in_a_folder_before_it_was_chosen_is_not_told_though_it_is_dated_in_the_future() {
    for catch_up in [CatchUp::Find, CatchUp::Sync] {
        let mut town = live(town_of(1, catch_up));
        town.run_for(secs(20));
        let (key, mailbox) = (town.people[0].key, town.people[0].mailbox);
        let folder = town.world.exchanges[0].add_folder(mailbox, "Projects");
        let mail = Mail { folder, ..mail_of_the_future(&town, 365, "imported") };
        let now = town.world.now_of(MAIL);
        town.world.exchanges[0].put(now, mailbox, mail, false);
        let id = FolderId::parse(&town.world.exchanges[0].folder_id(mailbox, folder)).expect("an id");
        let address = SmtpAddress::parse(town.world.exchanges[0].address(mailbox)).expect("an address");
        let assign = AssignUser { folders: vec![id], ..AssignUser::new(key, address, Some(MailServerId(0))) };
        town.world.command(0, Command::AssignUser(Box::new(assign)));
        town.run_for(minutes(2));
        assert_eq!(alerts(&town, 0), 0, "{catch_up:?}");
        town.world.crash(0);
        town.run_for(minutes(2));
        assert_eq!(alerts(&town, 0), 0, "{catch_up:?}, after a crash");
        // But what comes into it in a gap is.
        lose_subscriptions(&mut town);
        let mail = Mail { folder, ..mail_of_the_future(&town, 400, "came in a gap") };
        let now = town.world.now_of(MAIL);
        town.world.exchanges[0].deliver(now, mailbox, mail);
        town.run_for(minutes(2));
        assert_eq!(subjects(&town), ["came in a gap"], "{catch_up:?}");
    }
}

/// As after the resume of a virtual machine.
#[test]
fn a_mail_servers_clock_that_was_ahead_for_a_while_hides_nothing_afterwards() {
    for catch_up in [CatchUp::Find, CatchUp::Sync] {
        for ahead in [Span::from_secs(3_600), Span::from_secs(86_400)] {
            let ahead_ms = ahead.as_millis() as i64;
            let mut town = live(TownConfig { clock_set_max: ahead, ..town_of(4, catch_up) });
            town.run_for(minutes(10));
            town.world.set_clock(MAIL, Clock { ahead_ms, ..Clock::default() });
            for n in 0..20 {
                town.deliver(0, "while the clock is wrong");
                if n == 10 {
                    town.deliver(1, "while the clock is wrong");
                }
                town.run_for(secs(30));
            }
            let told = mails_told(&town, 0);
            assert_eq!((told, mails_told(&town, 1)), (20, 1), "{catch_up:?}");
            town.world.set_clock(MAIL, Clock::default());
            for round in 0..3 {
                town.run_for(minutes(3));
                gap(&mut town, 4);
                if round == 1 {
                    town.world.crash(0);
                    town.run_for(minutes(2));
                }
            }
            clean(town);
        }
    }
}

/// The other way about: mails that come after it are dated before those that were told.
#[test]
fn a_mail_servers_clock_that_is_set_back_by_hours_hides_nothing() {
    for catch_up in [CatchUp::Find, CatchUp::Sync] {
        for crash in [false, true] {
            let mut town = live(TownConfig { clock_set_max: secs(10_800), ..town_of(3, catch_up) });
            for _ in 0..5 {
                town.run_for(minutes(10));
                town.deliver(0, "as it comes");
                town.run_for(secs(30));
            }
            town.run_for(secs(30));
            lose_subscriptions(&mut town);
            if crash {
                town.world.crash(0);
            }
            town.world.set_clock(MAIL, Clock { ahead_ms: -10_800_000, ..Clock::default() });
            for person in 0..3 {
                town.deliver(person, "in the gap in which it was set back");
            }
            town.run_for(minutes(2));
            assert_eq!([0, 1, 2].map(|person| mails_told(&town, person)), [6, 1, 1], "{catch_up:?}, {crash}");
            for _ in 0..2 {
                town.run_for(minutes(10));
                gap(&mut town, 3);
            }
            clean(town);
        }
    }
}

/// All that was told lies in the server's future from then on, and far more than a row knows by name.
#[test]
fn what_was_told_before_a_clock_went_behind_is_told_to_nobody_again_however_often_the_engine_starts() {
    for catch_up in [CatchUp::Find, CatchUp::Sync] {
        let mut town = live(TownConfig { clock_set_max: secs(10_800), ..town_of(1, catch_up) });
        told_in_two_hours(&mut town);
        town.world.set_clock(MAIL, Clock { ahead_ms: -10_800_000, ..Clock::default() });
        for restart in 0..4 {
            gap(&mut town, 1);
            let before = mails_told(&town, 0);
            town.world.crash(0);
            town.run_for(minutes(2));
            assert_eq!(mails_told(&town, 0), before, "{catch_up:?}, restart {restart}");
        }
        clean(town);
    }
}

/// Mails dated in the future stand above them, so that nothing says how far the server's clock had come. Who cannot know
/// tells once more, but not at each look.
#[test]
fn what_was_told_before_a_clock_went_behind_is_not_told_at_each_look_though_there_is_mail_of_the_future() {
    let mut town = live(TownConfig { clock_set_max: secs(10_800), ..town_of(1, CatchUp::Find) });
    for days in 0..40 {
        let mail = mail_of_the_future(&town, 365 + days, "imported");
        town.deliver_mail(0, mail);
    }
    told_in_two_hours(&mut town);
    town.world.set_clock(MAIL, Clock { ahead_ms: -10_800_000, ..Clock::default() });
    for crash in [false, true, true] {
        if crash {
            town.world.crash(0);
        } else {
            lose_subscriptions(&mut town);
        }
        town.run_for(minutes(2));
        for _ in 0..4 {
            gap(&mut town, 1);
            town.run_for(minutes(1));
        }
    }
}

fn told_in_two_hours(town: &mut Town) {
    for _ in 0..6 {
        for _ in 0..10 {
            town.deliver(0, "as it comes");
        }
        town.run_for(minutes(20));
    }
}

/// It is young by the clock that stamped it, which is behind ours by more than mail is news.
#[test]
fn mail_of_a_gap_is_news_by_the_clock_of_its_server() {
    for ahead_ms in [-3 * DAY_MS as i64, 3 * DAY_MS as i64] {
        let mut town = Town::new(town_of(1, CatchUp::Find));
        town.world.set_clock(MAIL, Clock { ahead_ms, ..Clock::default() });
        let mut town = until_live(town);
        town.run_for(minutes(10));
        gap(&mut town, 1);
        let inbox = town.world.exchanges[0].items(town.people[0].mailbox, INBOX).len();
        assert_eq!((inbox, alerts(&town, 0)), (1, 1), "{ahead_ms}");
        clean(town);
    }
}
