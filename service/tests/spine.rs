//! The whole way on real sockets: a mail in Exchange rings a phone, whatever happens to the process meanwhile.

#[allow(dead_code, reason = "each of the tests uses a part of it")]
mod process_support;

use std::collections::BTreeMap;
use std::time::Duration;

use carillon_harness::apns::{AlertKind, Delivery};
use carillon_harness::exchange::{ExchangeConfig, Operation};
use process_support::{Process, Site, wait};
use sqlx::{ConnectOptions, Executor};

const USERS: usize = 6;

/// What the phones were told, and how many mails there were to tell.
#[derive(Default)]
struct Phones {
    deliveries: Vec<Delivery>,
    mails: [usize; USERS],
}

impl Phones {
    fn deliver(&mut self, site: &Site, user: usize, subject: &str) {
        site.deliver(user, subject);
        self.mails[user] += 1;
    }

    fn hear(&mut self, site: &Site) {
        site.apns.with(|apns, _| self.deliveries.extend(std::iter::from_fn(|| apns.poll_delivery())));
    }

    /// For each user: the notices, how many mails each tells of, and the newest of them by name. A push that came again
    /// under its own name is the same notice.
    fn notices(&self, user: usize) -> BTreeMap<u128, (usize, Vec<u64>)> {
        let mut notices = BTreeMap::new();
        let told = self.deliveries.iter().filter(|delivery| delivery.tag == user as u64);
        for delivery in told.filter(|delivery| delivery.payload.is_alert()) {
            assert_eq!(delivery.fault, None);
            assert_eq!(delivery.duplicate, notices.contains_key(&delivery.apns_id));
            let payload = &delivery.payload;
            notices.insert(delivery.apns_id, (payload.n as usize, payload.items.clone()));
        }
        notices
    }

    /// Waits until every mail was told, and sees that none was told twice.
    #[track_caller]
    fn all_told(&mut self, site: &Site) {
        let told = |phones: &Phones| -> Vec<usize> {
            (0..USERS).map(|user| phones.notices(user).values().map(|(n, _)| n).sum()).collect()
        };
        let phones = std::cell::RefCell::new(self);
        let shows = || format!("{:?} of {:?}; {}", told(&phones.borrow()), phones.borrow().mails, site.log());
        wait("every mail to be told", shows, || {
            phones.borrow_mut().hear(site);
            told(&phones.borrow()).iter().zip(phones.borrow().mails).all(|(told, mails)| *told >= mails)
        });
        // What comes too much would come now.
        std::thread::sleep(Duration::from_millis(700));
        let phones = phones.into_inner();
        phones.hear(site);
        for user in 0..USERS {
            let notices = phones.notices(user);
            let told: usize = notices.values().map(|(n, _)| n).sum();
            assert_eq!(told, phones.mails[user], "user {user}: {notices:?}");
            let mut items: Vec<u64> = notices.into_values().flat_map(|(_, items)| items).collect();
            items.sort_unstable();
            assert!(items.is_sorted_by(|a, b| a < b), "user {user}: a mail was told in two notices");
        }
    }
}

fn subscribed(site: &Site) -> u64 {
    site.exchange.with(|exchange, _| exchange.stats().count_all(Operation::Subscribe))
}

fn clean(site: &Site, mut process: Process) {
    let ledger = process.status()["ledger"].clone();
    process.signal("TERM");
    assert_eq!(process.ended(), 0, "{ledger}");
    site.exchange.with(|exchange, _| assert_eq!(exchange.violations(), &[] as &[String]));
    assert!(!site.log().contains("panicked"), "{}", site.log());
    for private in ["Lunch", "Jane Doe", "@example.com", process_support::PASSWORD] {
        assert!(!site.log().contains(private), "{private} stands in the log");
    }
}

#[test]
fn a_mail_rings_a_phone_and_a_kill_in_the_middle_loses_nothing_and_tells_nothing_twice() {
    let site = Site::new(USERS, ExchangeConfig::default());
    let mut phones = Phones::default();
    let mut process = site.start();
    process.register(USERS);
    process.live(USERS as u64);

    phones.deliver(&site, 3, "Lunch?");
    phones.all_told(&site);
    let first = phones.deliveries.iter().find(|delivery| delivery.payload.is_alert()).unwrap();
    let expected = AlertKind::Details {
        title: "Jane Doe".to_owned(),
        subtitle: "Lunch?".to_owned(),
        body: "body of Lunch?".to_owned(),
    };
    assert_eq!((first.tag, &first.payload.alert, first.payload.badge), (3, &expected, Some(1)));

    let before = subscribed(&site);
    for at in 0..240 {
        if at == 80 || at == 170 {
            process.child.kill().unwrap();
            process.child.wait().unwrap();
        }
        phones.deliver(&site, at % USERS, &format!("Lunch {at}"));
        std::thread::sleep(Duration::from_millis(8));
        phones.hear(&site);
        if at == 100 || at == 190 {
            process = site.start();
        }
    }
    phones.all_told(&site);
    process.live(USERS as u64);
    assert_eq!(subscribed(&site), before, "subscriptions that live are used again");
    clean(&site, process);
}

#[test]
fn while_the_database_is_locked_pushes_go_on_and_even_a_kill_then_loses_nothing() {
    let site = Site::new(USERS, ExchangeConfig::default());
    let mut phones = Phones::default();
    let mut process = site.start();
    process.register(USERS);
    process.live(USERS as u64);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(site.path("carillon.db"));
    let mut stranger = runtime.block_on(options.connect()).unwrap();
    runtime.block_on(stranger.execute("BEGIN IMMEDIATE")).unwrap();

    for user in 0..USERS {
        phones.deliver(&site, user, "Lunch while the database is locked");
    }
    phones.all_told(&site);
    site.logged("the store fails; pushes go on", 1);
    assert!(
        process.status()["store"].to_string().contains("locked by another process"),
        "{}",
        process.status()
    );
    let (status, text) = process.put("u0", r#"{"address":"u0@example.com","token":"abcdef0123456789"}"#);
    assert_eq!(status, 503, "{text}");
    site.logged("the store fails; API requests are refused", 1);
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    runtime.block_on(stranger.execute("ROLLBACK")).unwrap();
    drop(stranger);

    process = site.start();
    process.live(USERS as u64);
    phones.deliver(&site, 1, "Lunch with a database");
    phones.all_told(&site);
    clean(&site, process);
}

#[test]
fn a_database_that_is_damaged_while_it_is_used_is_said_and_pushes_go_on() {
    use std::io::{Seek, Write};
    let site = Site::new(USERS, ExchangeConfig::default());
    let mut phones = Phones::default();
    let process = site.start();
    process.register(USERS);
    process.live(USERS as u64);
    for name in ["carillon.db", "carillon.db-wal"] {
        let mut file = std::fs::File::options().write(true).open(site.path(name)).unwrap();
        let bytes = file.metadata().unwrap().len();
        file.rewind().unwrap();
        file.write_all(&vec![0x55; bytes as usize]).unwrap();
    }
    for user in 0..USERS {
        phones.deliver(&site, user, "Lunch without a database");
    }
    phones.all_told(&site);
    // What SQLite has in memory is whole; who reads the file finds out.
    assert_eq!(process.get("/v1/users/u0").0, 503);
    let told = site.logged("the store fails; API requests are refused", 1);
    assert!(told[0].contains("carillon.db is damaged"), "{}", told[0]);
}

#[test]
fn an_orderly_end_saves_all_and_the_next_start_goes_on_from_there() {
    let site = Site::new(USERS, ExchangeConfig::default());
    let mut phones = Phones::default();
    let mut process = site.start();
    process.register(USERS);
    process.live(USERS as u64);
    let before = subscribed(&site);
    let caught_up = || site.exchange.with(|exchange, _| exchange.stats().count_all(Operation::FindItem));
    let first = caught_up();
    for round in 0..3 {
        for user in 0..USERS {
            phones.deliver(&site, user, &format!("before {round}"));
        }
        // Some notices wait, some are on their way.
        std::thread::sleep(Duration::from_millis(40 * round));
        process.signal("TERM");
        assert_eq!(process.ended(), 0);
        for user in 0..3 {
            phones.deliver(&site, user, &format!("meanwhile {round}"));
        }
        phones.hear(&site);
        process = site.start();
        process.live(USERS as u64);
        phones.all_told(&site);
    }
    assert_eq!(subscribed(&site), before, "subscriptions that live are used again");
    assert_eq!(caught_up() - first, 3 * USERS as u64, "each mailbox is caught up once at each start");
    assert_eq!(site.log().matches("ended, all saved").count(), 3, "{}", site.log());
    clean(&site, process);
}

#[test]
fn whose_last_phone_is_gone_is_forgotten_everywhere_and_their_subscription_is_given_back() {
    let site = Site::new(USERS, ExchangeConfig::default());
    let mut phones = Phones::default();
    let mut process = site.start();
    process.register(USERS);
    process.live(USERS as u64);
    phones.deliver(&site, 3, "Lunch?");
    phones.all_told(&site);
    let device = phones.deliveries.iter().find(|delivery| delivery.tag == 3).unwrap().device;
    site.apns.with(|apns, now| apns.set_gone(device, now.unix));
    let given_back = || site.exchange.with(|exchange, _| exchange.stats().count_all(Operation::Unsubscribe));
    let before = given_back();

    site.deliver(3, "to nobody any more");
    site.logged("its registration was removed", 1);
    wait("the subscription to be given back", || site.log(), || given_back() == before + 1);
    let gone = || {
        let status = process.status();
        (status["users"].as_u64(), status["devices"].as_u64(), status["live"].as_u64())
    };
    let others = Some(USERS as u64 - 1);
    wait("the counts to fall", || process.status().to_string(), || gone() == (others, others, others));
    assert_eq!(process.get("/v1/users/u3").0, 404);

    // The others go on, also after a restart.
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    process = site.start();
    process.live(USERS as u64 - 1);
    phones.deliver(&site, 4, "still here");
    phones.all_told(&site);
    clean(&site, process);
}
