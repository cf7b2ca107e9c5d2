//! What Apple's push service can do to a client, and what the phones notice of it: the engine's core against the strict
//! peer, in virtual time.

use std::collections::BTreeMap;

use carillon_core::names::ItemId;
use carillon_core::shard::{BLOCKED, Command, PushAuth, PushService, Report, TeamId, Timing};
use carillon_core::signal::MailSignal;
use carillon_core::time::{Span, Time, UnixMillis};
use carillon_harness::apns::{
    Environment, Goaway, KeyScope, Knobs, Latency, ProviderKey, Reason, Share, TeamKey, TokenSpec,
    WindowPolicy,
};
use carillon_harness::audit::AuditReport;
use carillon_harness::exchange::ExchangeConfig;
use carillon_harness::peer::PeerConn;
use carillon_harness::world::story::{self, secs};
use carillon_harness::world::town::{APP, Town, TownConfig};
use ring::rand::SystemRandom;

/// A town whose mailboxes are watched and whose phones show their first badge.
fn live(config: TownConfig) -> Town {
    let mut town = story::live(config);
    town.run_for(secs(20));
    assert!(town.is_quiet());
    town
}

fn clean(town: Town) -> AuditReport {
    let strict = &town.world.apns[0].stats().strict;
    assert!(strict.is_clean(), "the push service complains: {strict:?}");
    assert_eq!(town.world.apns[0].stats().connections_broken, 0);
    story::clean(town)
}

fn ms(ms: u64) -> Span {
    Span::from_millis(ms)
}

/// Answers take so long, as over a real distance.
fn answers_in(span: Span) -> Knobs {
    Knobs { latency: Latency::Fixed(span), ..Knobs::default() }
}

fn deliver_to_all(town: &mut Town, subject: &str) {
    for person in 0..town.people.len() {
        town.deliver(person, subject);
    }
}

/// Lets time pass in small steps until `done`.
fn run_until(town: &mut Town, limit: Span, mut done: impl FnMut(&Town) -> bool) {
    let until = town.world.now().time + limit;
    while !done(town) {
        assert!(town.world.now().time < until, "not within {limit:?}: {:?}", town.world.stats(0));
        town.run_for(ms(1));
    }
}

fn in_flight(town: &Town) -> u64 {
    town.world.stats(0).pushes_in_flight
}

/// How many alerts each phone was sent, accepted repetitions included: number of alerts → phones.
fn alerts_by_phone(town: &Town) -> BTreeMap<usize, usize> {
    let mut phones = BTreeMap::new();
    for person in 0..town.people.len() {
        let alerts = town.told(person, 0).into_iter().filter(|push| push.payload.is_alert()).count();
        *phones.entry(alerts).or_default() += 1;
    }
    phones
}

fn connections(town: &Town) -> Vec<PeerConn> {
    town.world.apns[0].connections()
}

fn goaway(town: &mut Town, conn: PeerConn, how: Goaway) {
    let now = town.world.now();
    town.world.apns[0].goaway(now, conn, how);
    town.world.collect();
}

fn troubles(town: &Town) -> Vec<String> {
    let told = town.world.reports.iter();
    told.filter_map(|(_, report)| match report {
        Report::PushServiceTrouble { trouble, .. } => Some(trouble.code.to_string()),
        _ => None,
    })
    .collect()
}

fn recoveries(town: &Town) -> usize {
    town.world.reports.iter().filter(|(_, report)| matches!(report, Report::PushServiceWell { .. })).count()
}

#[test]
fn the_limit_of_streams_falls_to_one_and_rises_again() {
    let mut town = live(TownConfig { users: 300, knobs: answers_in(ms(40)), ..TownConfig::default() });
    deliver_to_all(&mut town, "to everybody");
    run_until(&mut town, secs(5), |town| in_flight(town) > 50);
    town.turn_apns(|knobs| knobs.streams_max = 1);
    town.run_for(ms(200));
    let before = town.world.apns[0].stats().requests;
    town.run_for(secs(1));
    let lanes = town.world.stats(0).lanes;
    let now = town.world.apns[0].stats().requests;
    assert!(now - before <= 25 * lanes, "one at a time on each of {lanes} lanes: {}", now - before);
    assert!(now - before >= 20, "and no rest between them: {}", now - before);
    town.turn_apns(|knobs| knobs.streams_max = 500);
    town.run_for(secs(1));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 300)]));
    clean(town);
}

#[test]
fn a_goaway_that_leaves_pushes_unprocessed_has_them_sent_elsewhere_once() {
    for how in [
        Goaway { unprocessed: 0, ..Goaway::default() },
        Goaway { unprocessed: 7, ..Goaway::default() },
        Goaway { twice: true, ..Goaway::default() },
    ] {
        let mut town = live(TownConfig { users: 300, knobs: answers_in(ms(50)), ..TownConfig::default() });
        deliver_to_all(&mut town, "to everybody");
        run_until(&mut town, secs(5), |town| in_flight(town) > 30);
        for conn in connections(&town) {
            goaway(&mut town, conn, how);
        }
        town.run_for(secs(5));
        assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 300)]), "{how:?}");
        let stats = town.world.stats(0);
        assert_eq!(stats.resends_ambiguous, 0, "{how:?}: GOAWAY says what was processed");
        assert_eq!(town.world.apns[0].stats().duplicates, 0);
        assert_eq!(troubles(&town), Vec::<String>::new());
        clean(town);
    }
}

#[test]
fn after_a_reset_pushes_in_doubt_go_out_again_under_their_own_ids() {
    let mut town = live(TownConfig { users: 300, knobs: answers_in(ms(50)), ..TownConfig::default() });
    deliver_to_all(&mut town, "to everybody");
    run_until(&mut town, secs(5), |town| in_flight(town) > 50);
    for conn in connections(&town) {
        town.world.apns[0].reset_connection(conn);
    }
    town.world.collect();
    town.run_for(secs(10));
    assert!(town.world.stats(0).resends_ambiguous > 30);
    for person in 0..300 {
        let told = town.told(person, 0);
        let alerts: Vec<_> = told.iter().filter(|push| push.payload.is_alert()).collect();
        assert!(alerts.iter().all(|push| push.apns_id == alerts[0].apns_id), "person {person}");
    }
    clean(town);
}

#[test]
fn a_connection_that_died_silently_is_found_by_ping_and_its_pushes_go_elsewhere() {
    let mut town = live(TownConfig { users: 100, knobs: answers_in(ms(50)), ..TownConfig::default() });
    deliver_to_all(&mut town, "to everybody");
    run_until(&mut town, secs(5), |town| in_flight(town) > 10);
    let dead = connections(&town);
    for conn in &dead {
        town.world.apns[0].go_silent(*conn);
    }
    let since = town.world.now().time;
    town.run_for(secs(15));
    assert!(town.is_quiet(), "{:?}", town.world.stats(0));
    let last = town.deliveries.iter().map(|push| push.at.time).max().expect("told");
    assert!(last.since(since) < secs(12), "{:?}", last.since(since));
    assert!(town.world.stats(0).resends_ambiguous > 10);
    for person in 0..100 {
        let told = town.told(person, 0);
        let alerts: Vec<_> = told.iter().filter(|push| push.payload.is_alert()).collect();
        assert!(!alerts.is_empty() && alerts.iter().all(|push| push.apns_id == alerts[0].apns_id));
    }
    assert!(dead.iter().all(|conn| !connections(&town).contains(conn)), "closed");
    clean(town);
}

#[test]
fn a_notice_sent_again_after_a_crash_takes_its_own_place_on_the_screen() {
    // The cut-off is behind the app at first and it is used meanwhile; and the other way about.
    for used_first in [false, true] {
        let timing = Timing { detail_cutoff_s: 60, ..Timing::default() };
        let mut town = live(TownConfig { users: 1, timing, wait_max: secs(120), ..TownConfig::default() });
        town.run_for(secs(120));
        if used_first {
            town.use_app(0, 0);
            town.run_for(secs(56));
        }
        town.turn_apns(|knobs| knobs.latency = Latency::Fixed(secs(12)));
        town.deliver(0, "secret plans");
        town.run_for(ms(2_500));
        let first = town.told(0, 0).last().expect("sent").payload.has_details();
        assert_eq!(first, used_first);
        if !used_first {
            town.use_app(0, 0);
        }
        town.run_for(secs(2));
        town.world.crash(0);
        town.run_for(secs(60));
        let told = town.told(0, 0);
        let alerts: Vec<_> = told.iter().filter(|push| push.payload.is_alert()).collect();
        assert_eq!(alerts.len(), 2, "nobody knew what had become of the first");
        assert!(alerts[1].duplicate && alerts[1].collapse_id == alerts[0].collapse_id);
        assert!(!alerts[1].payload.has_details());
        clean(town);
    }
}

#[test]
fn a_notice_keeps_its_place_on_the_screen_though_its_details_and_its_mail_are_gone() {
    let timing = Timing { detail_cutoff_s: 60, ..Timing::default() };
    let mut town = live(TownConfig { users: 1, timing, wait_max: secs(120), ..TownConfig::default() });
    town.use_app(0, 0);
    town.run_for(secs(50));
    town.turn_apns(|knobs| knobs.answers_lost = Share::percent(100));
    town.deliver(0, "secret plans");
    town.run_for(secs(5));
    town.turn_apns(|knobs| knobs.answers_lost = Share(0));
    town.read(0, 0);
    town.run_for(secs(60));
    let told = town.told(0, 0);
    let alerts: Vec<_> = told.iter().filter(|push| push.payload.is_alert()).collect();
    assert_eq!(alerts.iter().map(|push| push.payload.has_details()).collect::<Vec<_>>(), [true, false]);
    assert_eq!(alerts[0].collapse_id, alerts[1].collapse_id);
    let strict = &town.world.apns[0].stats().strict;
    assert!(strict.is_clean(), "the push service complains: {strict:?}");
}

#[test]
fn an_idle_connection_that_died_is_replaced_before_anybody_needs_it() {
    let mut town = live(TownConfig { users: 3, ..TownConfig::default() });
    let dead = connections(&town);
    for conn in &dead {
        town.world.apns[0].go_silent(*conn);
    }
    town.run_for(secs(70));
    assert!(town.world.stats(0).lanes >= 1);
    assert!(connections(&town).iter().any(|conn| !dead.contains(conn)), "another one");
    town.deliver(0, "after the night");
    town.run_for(secs(3));
    assert_eq!(town.told(0, 0).iter().filter(|push| push.payload.is_alert()).count(), 1);
    assert_eq!(town.world.stats(0).resends_ambiguous, 0);
    clean(town);
}

#[test]
fn a_thousand_phones_gone_at_once_are_each_removed_once() {
    let knobs = answers_in(ms(30));
    let mut town = live(TownConfig { users: 1_000, knobs, vigilant: false, ..TownConfig::default() });
    // A hundred of them come back before anybody pushes: their registration is younger than the removal.
    for person in 0..1_000 {
        town.uninstall(person, 0);
    }
    town.run_for(secs(10));
    for person in 0..100 {
        town.register_again(person, 0);
    }
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(60));
    let mut gone: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, report) in &town.world.reports {
        if let Report::DeviceGone { user, .. } = report {
            *gone.entry(user.0).or_default() += 1;
        }
    }
    assert_eq!(gone.len(), 900);
    assert!(gone.iter().all(|(user, times)| *user >= 100 && *times == 1));
    assert_eq!(town.world.stats(0).devices, 100);
    assert_eq!(town.world.apns[0].stats().refused_for(Reason::Unregistered), 900, "each was pushed to once");
    assert!(town.world.ledger().balances() && town.is_quiet());
    assert_eq!(troubles(&town), Vec::<String>::new(), "phones come and go");
    clean(town);
}

#[test]
fn a_throttled_phone_waits_alone_and_its_notice_goes_on_folding() {
    let mut town = live(TownConfig { users: 2, phones: 2, wait_max: secs(120), ..TownConfig::default() });
    let until = town.world.now().time + secs(45);
    let device = town.people[0].phones[0].device;
    town.world.apns[0].throttle(device, until);
    let before = town.told(0, 0).len();
    for n in 0..4 {
        town.deliver(0, &format!("mail {n}"));
        town.deliver(1, &format!("mail {n}"));
        town.run_for(secs(10));
    }
    assert_eq!(town.told(0, 0).len(), before);
    for (person, phone) in [(0, 1), (1, 0), (1, 1)] {
        let alerts = town.told(person, phone).into_iter().filter(|push| push.payload.is_alert()).count();
        assert_eq!(alerts, 4, "person {person}, phone {phone}");
    }
    let refused = town.world.apns[0].stats().refused_for(Reason::TooManyRequests);
    assert!((2..=10).contains(&refused), "more and more slowly: {refused}");
    town.run_for(secs(60));
    let told = town.told(0, 0);
    let alerts: Vec<_> = told[before..].iter().filter(|push| push.payload.is_alert()).collect();
    assert_eq!(alerts.len(), 1, "one notice");
    assert_eq!((alerts[0].payload.n, alerts[0].payload.badge), (4, Some(4)), "with the newest state");
    assert_eq!(troubles(&town), Vec::<String>::new(), "nobody's business");
    clean(town);
}

#[test]
fn after_half_an_hour_of_503_each_phone_gets_one_push_with_its_newest_state() {
    let config = TownConfig {
        users: 1_000,
        knobs: answers_in(ms(40)),
        wait_max: secs(2_100),
        vigilant: false,
        ..TownConfig::default()
    };
    let mut town = live(config);
    let (now, before) = (town.world.now(), town.world.apns[0].stats().requests);
    town.world.apns[0].fail_for(now, secs(1_800));
    let told_before = town.deliveries.len();
    for round in 0..3 {
        deliver_to_all(&mut town, &format!("round {round}"));
        town.run_for(secs(590));
    }
    let asked = town.world.apns[0].stats().requests - before;
    assert!(asked < 1_000, "half an hour of refusals: {asked} requests");
    assert!(town.world.apns[0].stats().connections <= 4, "no storm of connections");
    assert_eq!(troubles(&town), ["provider_unavailable"], "one report");
    assert_eq!(town.deliveries.len(), told_before);
    town.run_for(secs(120));
    assert_eq!(recoveries(&town), 1);
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 1_000)]));
    for push in &town.deliveries[told_before..] {
        assert_eq!((push.payload.n, push.payload.badge), (3, Some(3)), "the newest state");
    }
    assert_eq!(town.deliveries.len(), told_before + 1_000, "one push for each phone");
    clean(town);
}

#[test]
fn a_spent_send_window_slows_pushes_opens_another_connection_and_loses_nothing() {
    let knobs = Knobs { window: WindowPolicy::Every(secs(1)), ..answers_in(ms(20)) };
    let mut town = live(TownConfig { users: 1_500, knobs, vigilant: false, ..TownConfig::default() });
    assert_eq!(town.world.stats(0).lanes, 1);
    let (mark, told_before) = (town.world.stats(0).blocked_us, town.deliveries.len());
    let since = town.world.now().time;
    deliver_to_all(&mut town, "some four hundred bytes each");
    town.run_for(secs(20));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 1_500)]));
    let stats = town.world.stats(0);
    assert_eq!(stats.lanes, 2, "as many as the configuration allows");
    // 65,535 bytes a second on each of two connections carry them in so long.
    let pushes = &town.deliveries[told_before..];
    let bytes: u32 = pushes.iter().map(|push| push.bytes).sum();
    let took = pushes.iter().map(|push| push.at.time).max().expect("told").since(since).as_millis();
    let lanes_ms = u64::from(bytes) * 1_000 / (2 * 65_535);
    assert!(took < lanes_ms + 5_000, "{took} ms for {bytes} bytes");
    let blocked = |cause: &str| {
        let at = BLOCKED.iter().position(|name| *name == cause).expect("a cause");
        Span(stats.blocked_us[at] - mark[at])
    };
    assert!(blocked("bytes") > secs(2), "{:?}", stats.blocked_us);
    assert!(blocked("bytes") > blocked("window") && blocked("streams") == Span::ZERO);
    clean(town);
}

#[test]
fn a_burst_that_one_connection_carries_opens_no_other() {
    let mut town = live(TownConfig {
        users: 1_500,
        knobs: answers_in(ms(40)),
        vigilant: false,
        ..TownConfig::default()
    });
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(10));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 1_500)]));
    assert_eq!(town.world.apns[0].stats().connections, 1);
    clean(town);
}

/// Which of the phones the push service knows in the other environment only.
fn move_to_sandbox(town: &mut Town, people: std::ops::Range<usize>) {
    for person in people {
        register_at(town, person, Environment::Sandbox);
    }
}

fn register_at(town: &mut Town, person: usize, environment: Environment) {
    let spec = &town.people[person].phones[0].spec;
    let token = TokenSpec { token: spec.token.as_str(), bundle: APP, environment, tag: spec.device.0 };
    town.world.apns[0].register(&token);
}

#[test]
fn tokens_of_the_other_environment_open_the_breaker_and_no_phone_is_lost() {
    let config = TownConfig {
        users: 1_000,
        knobs: answers_in(ms(40)),
        wait_max: secs(3_600),
        vigilant: false,
        ..TownConfig::default()
    };
    let mut town = Town::new(config);
    move_to_sandbox(&mut town, 0..1_000);
    assert!(town.run_until_live(secs(60)));
    town.run_for(secs(60));
    let refused = |town: &Town| town.world.apns[0].stats().refused_for(Reason::BadDeviceToken);
    let first = refused(&town);
    assert!(first < 150, "what was in flight when it opened: {first}");
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(1_200));
    assert!((2..30).contains(&(refused(&town) - first)), "one try now and then: {}", refused(&town) - first);
    assert_eq!(troubles(&town), ["BadDeviceToken"], "one report");
    assert_eq!((town.world.stats(0).devices, recoveries(&town)), (1_000, 0));
    assert!(town.world.apns[0].stats().connections <= 2);

    for person in 0..1_000 {
        register_at(&mut town, person, Environment::Production);
    }
    town.run_for(secs(400));
    assert_eq!(recoveries(&town), 1);
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 1_000)]), "one push with the newest state");
    assert!(town.is_quiet());
    clean(town);
}

#[test]
fn who_registers_again_while_the_breaker_is_open_is_tried_first() {
    let config = TownConfig { users: 50, wait_max: secs(3_600), ..TownConfig::default() };
    let mut town = Town::new(config);
    move_to_sandbox(&mut town, 0..50);
    assert!(town.run_until_live(secs(60)));
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(600));
    town.register_again(37, 0);
    town.run_for(secs(40));
    assert_eq!(town.told(37, 0).iter().filter(|push| push.payload.is_alert()).count(), 1);
    assert!(recoveries(&town) >= 1);
    // His token is right: he is told at once, whatever becomes of the others. These get their second chance, and are
    // left alone until they register.
    for n in 0..4 {
        town.deliver(37, "in time");
        town.run_for(secs(60));
        let told = town.told(37, 0).iter().filter(|push| push.payload.is_alert()).count();
        assert_eq!(told, n + 2);
    }
    let refused = town.world.apns[0].stats().refused_for(Reason::BadDeviceToken);
    assert!(refused <= 3 * 49, "{refused}");
    town.run_for(secs(1_200));
    assert_eq!(town.world.apns[0].stats().refused_for(Reason::BadDeviceToken), refused);
    assert_eq!(recoveries(&town), troubles(&town).len());
    assert!(town.is_quiet());
    assert_eq!(town.world.stats(0).devices, 50, "nobody is deleted for it");
}

#[test]
fn a_few_bad_tokens_among_good_ones_are_these_phones_own() {
    let mut town = live(TownConfig { users: 100, knobs: answers_in(ms(40)), ..TownConfig::default() });
    move_to_sandbox(&mut town, 10..15);
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(30));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(0, 5), (1, 95)]));
    assert_eq!(town.world.apns[0].stats().refused_for(Reason::BadDeviceToken), 5, "each was tried once");
    deliver_to_all(&mut town, "again");
    town.run_for(secs(30));
    assert_eq!(town.world.apns[0].stats().refused_for(Reason::BadDeviceToken), 5, "and never again");
    assert_eq!(troubles(&town), Vec::<String>::new());
    assert!(town.is_quiet());
}

#[test]
fn a_first_phone_whose_token_is_not_known_is_a_trouble_to_be_told() {
    let mut town = Town::new(TownConfig { users: 1, wait_max: secs(3_600), ..TownConfig::default() });
    move_to_sandbox(&mut town, 0..1);
    town.run_for(secs(120));
    assert_eq!(troubles(&town), ["BadDeviceToken"], "nothing ever went through: people have to know");
    register_at(&mut town, 0, Environment::Production);
    town.deliver(0, "at last");
    town.run_for(secs(310));
    assert_eq!(town.told(0, 0).iter().filter(|push| push.payload.is_alert()).count(), 1);
    assert_eq!(recoveries(&town), 1);
    clean(town);
}

#[test]
fn half_an_hour_of_500_ends_as_well() {
    let config = TownConfig {
        users: 300,
        knobs: answers_in(ms(40)),
        wait_max: secs(2_100),
        vigilant: false,
        ..TownConfig::default()
    };
    let mut town = live(config);
    let before = town.world.apns[0].stats().requests;
    town.turn_apns(|knobs| knobs.internal_errors = Share(1_000_000));
    for round in 0..3 {
        deliver_to_all(&mut town, &format!("round {round}"));
        town.run_for(secs(600));
    }
    let asked = town.world.apns[0].stats().requests - before;
    assert!(asked < 400, "half an hour of refusals: {asked} requests");
    assert_eq!(troubles(&town), ["provider_unavailable"], "one report");
    town.turn_apns(|knobs| knobs.internal_errors = Share(0));
    town.run_for(secs(120));
    assert!(town.is_quiet() && recoveries(&town) == 1);
    for person in 0..300 {
        let told = town.told(person, 0);
        let alerts: Vec<_> = told.iter().filter(|push| push.payload.is_alert()).collect();
        // A 500 may come after the push was taken on: those in doubt go out as they were, before anything newer.
        assert!(alerts.len() == 1 && alerts[0].payload.n == 3 || alerts.len() == 2, "person {person}");
        assert_eq!(alerts.last().and_then(|push| push.payload.badge), Some(3));
    }
    clean(town);
}

/// Who owns the signing key and hands provider tokens in, as the service does.
struct Signer {
    key: ProviderKey,
    random: SystemRandom,
    /// How far its clock is from Apple's, in milliseconds.
    skew_ms: i64,
}

impl Signer {
    const TEAM: &str = "TEAM000001";
    const KEY: &str = "KEY0000002";

    /// A town that pushes with provider tokens; none has been handed in yet.
    fn found(config: TownConfig) -> (Town, Signer) {
        let random = SystemRandom::new();
        let key = ProviderKey::generate(&random);
        let push_service = |service: &mut PushService| service.auth = PushAuth::Team(TeamId(0));
        let mut town = Town::new(TownConfig { push_service: Box::new(push_service), ..config });
        town.world.apns[0].add_key(TeamKey {
            team: Signer::TEAM.to_owned(),
            kid: Signer::KEY.to_owned(),
            public_key: key.public_key().to_vec(),
            scope: KeyScope::Team,
            environment: None,
        });
        (town, Signer { key, random, skew_ms: 0 })
    }

    /// Makes a token and hands it in. The engine's clock is the signer's.
    fn hand_in(&self, town: &mut Town) {
        let now = town.world.now().unix;
        let issued = UnixMillis(now.0.saturating_add_signed(self.skew_ms));
        let jwt = self.key.sign(Signer::TEAM, Signer::KEY, issued, &self.random);
        town.world.command(0, Command::SetTeamToken { team: TeamId(0), jwt: jwt.into(), issued: now });
    }
}

fn stale_tokens(town: &Town) -> usize {
    town.world.reports.iter().filter(|(_, report)| matches!(report, Report::TeamTokenStale { .. })).count()
}

#[test]
fn a_provider_token_renewed_under_load_loses_no_push_and_sends_none_twice() {
    let (mut town, signer) = Signer::found(TownConfig {
        users: 200,
        knobs: answers_in(ms(80)),
        vigilant: false,
        ..TownConfig::default()
    });
    for _ in 0..4 {
        signer.hand_in(&mut town);
        for _ in 0..9 {
            // The next token comes while pushes with the one before are on their way.
            for _ in 0..20 {
                town.deliver(7, "in between");
                town.run_for(secs(14));
            }
            deliver_to_all(&mut town, "to everybody");
            run_until(&mut town, secs(20), |town| in_flight(town) > 50);
        }
    }
    town.run_for(secs(60));
    assert!(town.is_quiet());
    let apns = town.world.apns[0].stats();
    assert!(apns.refused.is_empty(), "{:?}", apns.refused);
    assert_eq!((apns.duplicates, apns.connections), (0, 1));
    assert_eq!(stale_tokens(&town), 0);
    clean(town);
}

#[test]
fn pushes_refused_for_an_expired_token_go_out_once_with_the_next() {
    let config =
        TownConfig { users: 200, knobs: answers_in(ms(80)), wait_max: secs(300), ..TownConfig::default() };
    let (mut town, signer) = Signer::found(config);
    signer.hand_in(&mut town);
    assert!(town.run_until_live(secs(60)));
    town.run_for(secs(3_600));
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(30));
    assert_eq!(stale_tokens(&town), 1, "told once");
    assert!(town.world.apns[0].stats().refused_for(Reason::ExpiredProviderToken) < 200, "not by each push");
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(0, 200)]), "everything waits");
    signer.hand_in(&mut town);
    town.run_for(secs(10));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 200)]));
    assert_eq!(town.world.apns[0].stats().duplicates, 0);
    assert_eq!(town.world.apns[0].stats().refused_for(Reason::TooManyProviderTokenUpdates), 0);
    clean(town);
}

#[test]
fn a_token_beyond_apples_budget_is_left_for_the_one_before() {
    let (mut town, signer) =
        Signer::found(TownConfig { users: 100, knobs: answers_in(ms(80)), ..TownConfig::default() });
    // Something else at the same address has used up half of the budget.
    town.turn_apns(|knobs| knobs.tokens.tokens_max = 1);
    signer.hand_in(&mut town);
    assert!(town.run_until_live(secs(60)));
    town.run_for(secs(300));
    signer.hand_in(&mut town);
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(20));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 100)]), "with the token before");
    assert!(town.world.apns[0].stats().refused_for(Reason::TooManyProviderTokenUpdates) > 0);
    assert_eq!((stale_tokens(&town), town.world.apns[0].stats().duplicates), (1, 0));
    town.run_for(secs(1_200));
    signer.hand_in(&mut town);
    deliver_to_all(&mut town, "again");
    town.run_for(secs(20));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(2, 100)]));
    assert_eq!(troubles(&town), Vec::<String>::new());
    clean(town);
}

#[test]
fn a_first_token_beyond_apples_budget_is_tried_again_slowly() {
    let config =
        TownConfig { users: 100, knobs: answers_in(ms(80)), wait_max: secs(1_300), ..TownConfig::default() };
    let (mut town, signer) = Signer::found(config);
    town.turn_apns(|knobs| knobs.tokens.tokens_max = 0);
    signer.hand_in(&mut town);
    assert!(town.run_until_live(secs(60)));
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(1_200));
    let refused = town.world.apns[0].stats().refused_for(Reason::TooManyProviderTokenUpdates);
    assert!((10..60).contains(&refused), "{refused}");
    assert_eq!(troubles(&town), ["TooManyProviderTokenUpdates"]);
    assert_eq!(stale_tokens(&town), 0, "another token would make it worse");
    town.turn_apns(|knobs| knobs.tokens.tokens_max = 2);
    town.run_for(secs(70));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 100)]));
    assert_eq!(recoveries(&town), 1);
    clean(town);
}

#[test]
fn a_clock_that_is_an_hour_off_is_told_once_and_set_right_it_needs_no_restart() {
    for skew_ms in [-3_600_000, 3_600_000] {
        let config = TownConfig {
            users: 100,
            knobs: answers_in(ms(80)),
            wait_max: secs(3_600),
            ..TownConfig::default()
        };
        let (mut town, mut signer) = Signer::found(config);
        signer.skew_ms = skew_ms;
        // A second behind an hour, so that it is refused at once.
        signer.skew_ms -= if skew_ms < 0 { 1_000 } else { 0 };
        signer.hand_in(&mut town);
        assert!(town.run_until_live(secs(60)));
        deliver_to_all(&mut town, "to everybody");
        // The owner makes another token after each twenty minutes, as Apple lets him.
        for _ in 0..2 {
            town.run_for(secs(1_200));
            signer.hand_in(&mut town);
        }
        town.run_for(secs(10));
        assert_eq!(troubles(&town), ["ExpiredProviderToken"], "told once");
        let refused = town.world.apns[0].stats().refused_for(Reason::ExpiredProviderToken);
        assert!(refused <= 3, "one push for each token: {refused}");
        assert!(town.world.apns[0].stats().connections < 10);
        assert_eq!(alerts_by_phone(&town), BTreeMap::from([(0, 100)]));
        signer.skew_ms = 0;
        signer.hand_in(&mut town);
        town.run_for(secs(10));
        assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 100)]), "{skew_ms}");
        assert_eq!(recoveries(&town), 1);
        clean(town);
    }
}

#[test]
fn a_key_that_is_refused_is_a_trouble_and_nothing_is_stormed() {
    let config =
        TownConfig { users: 100, knobs: answers_in(ms(80)), wait_max: secs(1_300), ..TownConfig::default() };
    let (mut town, mut signer) = Signer::found(config);
    let right = std::mem::replace(&mut signer.key, ProviderKey::generate(&signer.random));
    signer.hand_in(&mut town);
    assert!(town.run_until_live(secs(60)));
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(1_200));
    assert_eq!(troubles(&town), ["InvalidProviderToken"], "told once");
    assert!(town.world.apns[0].stats().connections < 60, "{}", town.world.apns[0].stats().connections);
    signer.key = right;
    signer.hand_in(&mut town);
    town.run_for(secs(70));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 100)]));
    assert_eq!(recoveries(&town), 1);
    clean(town);
}

#[test]
fn the_last_of_a_users_phones_rings_though_there_is_room_for_fewer_and_mail_keeps_coming() {
    let timing = Timing { min_interval_ms: 0, settle_ms: 500, ..Timing::default() };
    let knobs = Knobs { streams_max: 1, ..answers_in(secs(2)) };
    let push_service = Box::new(|service: &mut PushService| service.lanes = 1);
    let mut town =
        live(TownConfig { users: 1, phones: 2, timing, knobs, push_service, ..TownConfig::default() });
    for _ in 0..60 {
        town.deliver(0, "and another");
        town.run_for(ms(700));
    }
    let alerts = |phone| town.told(0, phone).into_iter().filter(|push| push.payload.is_alert()).count();
    let (first, last) = (alerts(0), alerts(1));
    assert!(first >= 5 && last >= 5, "in turn: {first} and {last}");
    town.run_for(secs(30));
    clean(town);
}

#[test]
fn a_users_three_phones_ring_equally_often_though_there_is_room_for_two() {
    let timing = Timing { min_interval_ms: 0, settle_ms: 500, ..Timing::default() };
    let knobs = Knobs { streams_max: 1, ..answers_in(secs(2)) };
    let push_service = Box::new(|service: &mut PushService| service.lanes = 2);
    let mut town =
        live(TownConfig { users: 1, phones: 3, timing, knobs, push_service, ..TownConfig::default() });
    for _ in 0..150 {
        town.deliver(0, "and another");
        town.run_for(ms(700));
    }
    let alerts = |phone| town.told(0, phone).into_iter().filter(|push| push.payload.is_alert()).count();
    let alerts = [alerts(0), alerts(1), alerts(2)];
    let (most, least) = (alerts.iter().max(), alerts.iter().min());
    assert!(*least.unwrap() >= 20 && most.unwrap() - least.unwrap() <= 3, "in turn: {alerts:?}");
    town.run_for(secs(30));
    clean(town);
}

/// Of 40 people who wait for the end of an outage, those who are stopped or read their mail meanwhile stand in nobody's way.
#[test]
fn after_an_outage_the_first_push_does_not_wait_for_those_who_have_nothing_more_to_be_told() {
    let mut town = live(TownConfig { users: 40, wait_max: secs(3_600), ..TownConfig::default() });
    let now = town.world.now();
    town.world.apns[0].fail_for(now, secs(1_800));
    deliver_to_all(&mut town, "in the outage");
    town.run_for(secs(1_200));
    (0..25).for_each(|person| town.stop(person));
    (25..35).for_each(|person| town.read(person, 0));
    town.run_for(secs(599));
    let told = |town: &Town| {
        (35..40).filter(|person| town.told(*person, 0).last().unwrap().payload.is_alert()).count()
    };
    assert_eq!(told(&town), 0);
    // One push tries each minute; when it is accepted, the others follow.
    town.run_for(secs(65));
    assert_eq!(told(&town), 5);
    assert_eq!(recoveries(&town), 1);
    assert!(town.is_quiet());
    clean(town);
}

/// Those who got room first look at mails that changed meanwhile. The last, whose mail did not, need not wait for that.
#[test]
fn room_that_somebody_was_given_and_cannot_use_yet_is_the_next_ones() {
    let exchange = ExchangeConfig { call_time: ms(300), ..ExchangeConfig::default() };
    let knobs = Knobs { streams_max: 10, ..Knobs::default() };
    let mut town = live(TownConfig { users: 30, exchange, knobs, ..TownConfig::default() });
    let now = town.world.now();
    town.world.apns[0].fail_for(now, secs(60));
    deliver_to_all(&mut town, "to everybody");
    run_until(&mut town, secs(30), |town| !troubles(town).is_empty());
    town.run_for(ms(400));
    for person in 0..29 {
        let row = &town.people[person];
        let item = ItemId::parse(&row.mails[0]).unwrap();
        let touched = Command::Signal { user: row.key, signal: MailSignal::Touched { item } };
        town.world.command(0, touched);
    }
    town.turn_apns(|knobs| knobs.unavailable_until = Time(0));
    town.run_for(secs(60));
    assert_eq!(alerts_by_phone(&town), BTreeMap::from([(1, 30)]));
    assert!(town.is_quiet());
    clean(town);
}

#[test]
fn who_has_nothing_more_to_be_told_is_no_try_of_a_broken_app() {
    let mut town = Town::new(TownConfig { users: 50, wait_max: secs(3_600), ..TownConfig::default() });
    move_to_sandbox(&mut town, 0..50);
    assert!(town.run_until_live(secs(60)));
    deliver_to_all(&mut town, "to everybody");
    town.run_for(secs(900));
    assert_eq!(troubles(&town), ["BadDeviceToken"]);
    (0..40).for_each(|person| town.stop(person));
    for person in 40..50 {
        register_at(&mut town, person, Environment::Production);
    }
    // The longest between two tries is five minutes.
    town.run_for(secs(310));
    assert_eq!(recoveries(&town), 1);
    for person in 40..50 {
        assert_eq!(town.told(person, 0).iter().filter(|push| push.payload.is_alert()).count(), 1);
    }
    assert!(town.is_quiet());
    clean(town);
}

/// The second attempt shows that the provider cannot have taken the first. What is told then is told under an id that never
/// stood for anything else.
#[test]
fn a_lost_push_to_a_token_that_is_not_known_is_told_anew_under_another_id() {
    let mut town = live(TownConfig { users: 1, wait_max: secs(3_600), ..TownConfig::default() });
    move_to_sandbox(&mut town, 0..1);
    town.turn_apns(|knobs| knobs.requests_lost = Share::percent(100));
    town.deliver(0, "one");
    run_until(&mut town, secs(300), |town| town.world.stats(0).resends_ambiguous > 0);
    town.turn_apns(|knobs| knobs.requests_lost = Share(0));
    let refused = |town: &Town| town.world.apns[0].stats().refused_for(Reason::BadDeviceToken);
    run_until(&mut town, secs(300), |town| refused(town) == 1);
    town.deliver(0, "two");
    town.run_for(secs(5));
    town.register_again(0, 0);
    town.run_for(secs(30));
    let put_down = town.world.reports.iter().filter_map(|(_, report)| match report {
        Report::Device { unsettled: Some(notice), .. } => Some(*notice),
        _ => None,
    });
    let put_down: Vec<_> = put_down.collect();
    let lost = put_down.first().unwrap();
    let alerts: Vec<_> = town.told(0, 0).into_iter().filter(|push| push.payload.is_alert()).collect();
    let [both] = alerts[..] else { panic!("one alert for both: {alerts:?}") };
    assert_eq!((lost.mails, put_down.last().unwrap().mails), (1, 2));
    // But for its last bit, which says how it is worded.
    assert_ne!(lost.apns_id | 1, both.apns_id | 1);
    assert!(town.is_quiet());
}

#[test]
fn what_is_wrong_with_one_push_service_holds_up_nobody_at_the_other() {
    let sandbox = TownConfig { users: 40, sandbox: true, wait_max: secs(900), ..TownConfig::default() };
    let mut town = live(sandbox);
    let until = town.world.now().time + secs(300);
    town.turn_push_service(1, |knobs| knobs.unavailable_until = until);
    for n in 0..10 {
        deliver_to_all(&mut town, &format!("mail {n}"));
        town.run_for(secs(20));
        for person in 0..40 {
            let alerts = town.told(person, 0).into_iter().filter(|push| push.payload.is_alert()).count();
            assert_eq!(alerts, if person % 2 == 0 { n + 1 } else { 0 }, "{person} after mail {n}");
        }
    }
    town.run_for(secs(600));
    assert!((0..40).all(|person| town.told(person, 0).iter().any(|push| push.payload.is_alert())));
    assert!(town.world.apns[1].stats().strict.is_clean());
    clean(town);
}
