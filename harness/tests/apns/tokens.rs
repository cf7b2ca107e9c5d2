//! Provider tokens: their age, their budget, clocks and keys.

use super::*;

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
