//! Log-in by an access token that somebody hands in, and what a server says that wants to be logged in to otherwise.

use carillon_core::shard::{Command, MailCredential, MailServer, MailServerId, Report, Trouble};
use carillon_core::time::{Span, UnixMillis};
use carillon_harness::exchange::{ExchangeConfig, TokenKind};
use carillon_harness::world::story::{alerts, clean, minutes};
use carillon_harness::world::town::{START, Town, TownConfig};

const SHARDS: usize = 2;
const USERS: usize = 12;

fn bearer(token: &str) -> MailCredential {
    MailCredential::Bearer { token: token.into() }
}

/// A town that logs in with the token `first`.
fn town(exchange: ExchangeConfig, change: impl Fn(&mut MailServer) + 'static) -> Town {
    let mail_server = move |server: &mut MailServer| {
        server.credential = bearer("first");
        change(server);
    };
    Town::new(TownConfig {
        users: USERS,
        shards: SHARDS,
        exchange,
        mail_server: Box::new(mail_server),
        wait_max: minutes(120),
        ..TownConfig::default()
    })
}

/// Somebody issues a token that acts for everybody, good until so many minutes after the start.
fn issue(town: &mut Town, token: &str, good_for_m: u64) {
    let account = town.world.exchanges[0].account("EX\\carillon").expect("the town's account");
    let expires = UnixMillis(START.0 + minutes(good_for_m).as_millis());
    town.world.exchanges[0].change_account(account, |account| {
        account.tokens.push((token.to_owned(), TokenKind::AppOnly, Some(expires)));
    });
}

fn hand_in(town: &mut Town, token: &str) {
    for shard in 0..SHARDS {
        let command = Command::SetMailCredential { server: MailServerId(0), credential: bearer(token) };
        town.world.command(shard, command);
    }
}

fn refused(town: &Town) -> u64 {
    town.world.exchanges[0].stats().refused
}

fn live(town: &Town) -> u64 {
    (0..SHARDS).map(|shard| town.world.stats(shard).users_live).sum()
}

/// What was told of stale tokens, refused credentials and other trouble.
fn told(town: &Town) -> (Vec<Trouble>, Vec<Trouble>, Vec<Trouble>) {
    let mut told = (Vec::new(), Vec::new(), Vec::new());
    for (_, report) in &town.world.reports {
        match report {
            Report::MailTokenStale { trouble, .. } => told.0.push(trouble.clone()),
            Report::MailCredentialRefused { trouble, .. } => told.1.push(trouble.clone()),
            Report::MailServerTrouble { trouble, .. } => told.2.push(trouble.clone()),
            _ => {}
        }
    }
    told
}

#[test]
fn a_token_that_expires_under_open_streams_is_asked_for_once_and_nothing_is_lost() {
    let mut town = town(ExchangeConfig::default(), |_| {});
    issue(&mut town, "first", 10);
    issue(&mut town, "second", 60);
    assert!(town.run_until_live(minutes(1)));
    town.run_for(minutes(11));
    assert_eq!(refused(&town), 0, "nothing was asked since");

    for person in 0..USERS {
        town.deliver(person, "while the token is stale");
        town.run_for(Span::from_secs(2));
    }
    town.run_for(Span::from_secs(20));
    let tried = refused(&town);
    assert!((1..=4).contains(&tried), "it is tried again a few times: {tried}");
    assert_eq!(live(&town), USERS as u64, "streams go on");
    let (stale, not_accepted, trouble) = told(&town);
    assert_eq!((stale.len(), not_accepted.len(), trouble.len()), (1, 0, 0));
    assert!(stale[0].text.contains("expired"), "{}", stale[0].text);
    for person in 0..USERS {
        assert_eq!(alerts(&town, person), 1, "told, though without details");
    }

    hand_in(&mut town, "second");
    town.run_for(Span::from_secs(20));
    town.deliver(3, "with the new token");
    town.run_for(Span::from_secs(20));
    let last = town.told(3, 0).last().expect("told").payload.clone();
    assert!(last.has_details(), "{last:?}");
    assert_eq!((refused(&town), live(&town)), (tried, USERS as u64));
    clean(town);
}

#[test]
fn streams_that_end_while_the_token_is_stale_come_back_with_the_next_token_and_mail_is_caught_up() {
    let mut town = town(ExchangeConfig::default(), |_| {});
    issue(&mut town, "first", 10);
    issue(&mut town, "second", 120);
    assert!(town.run_until_live(minutes(1)));
    town.run_for(minutes(40));
    assert_eq!(live(&town), 0, "the streams ended after their half hour");
    assert!((1..=6).contains(&refused(&town)), "{} refusals", refused(&town));
    assert_eq!(told(&town).0.len(), 1);
    town.deliver(5, "while nobody listens");
    hand_in(&mut town, "second");
    assert!(town.run_until_live(minutes(1)));
    town.run_for(Span::from_secs(30));
    assert_eq!(alerts(&town, 5), 1);
    clean(town);
}

#[test]
fn a_token_that_is_refused_right_after_it_was_handed_in_is_a_refused_credential() {
    let mut town = town(ExchangeConfig::default(), |_| {});
    issue(&mut town, "first", 10);
    issue(&mut town, "third", 120);
    assert!(town.run_until_live(minutes(1)));
    town.run_for(minutes(11));
    town.deliver(0, "while the token is stale");
    town.run_for(Span::from_secs(20));
    let before = refused(&town);
    hand_in(&mut town, "second, which nobody issued");
    town.run_for(minutes(14));
    let (stale, not_accepted, _) = told(&town);
    let tries = refused(&town) - before;
    assert_eq!((stale.len(), not_accepted.len(), tries), (1, 1, 1), "one try for one that never worked");
    let before = refused(&town);
    hand_in(&mut town, "third");
    town.run_for(minutes(1));
    assert_eq!((refused(&town), live(&town)), (before, USERS as u64));
    clean(town);
}

#[test]
fn a_token_for_the_application_without_impersonation_is_told_as_that() {
    let mut town = town(ExchangeConfig::default(), |server| server.impersonate = false);
    issue(&mut town, "first", 600);
    town.run_for(minutes(4));
    let (stale, not_accepted, trouble) = told(&town);
    assert_eq!((stale.len(), not_accepted.len(), trouble.len()), (0, 0, SHARDS));
    assert_eq!(&*trouble[0].code, "ErrorInvalidExchangeImpersonationHeaderData");
    assert!(trouble[0].text.contains("impersonate"), "{}", trouble[0].text);
}

#[test]
fn a_server_that_offers_only_windows_log_in_is_told_as_that_and_not_as_a_wrong_password() {
    let exchange =
        ExchangeConfig { basic: false, bearer: false, windows_auth: true, ..ExchangeConfig::default() };
    let password = |server: &mut MailServer| {
        server.credential =
            MailCredential::Basic { user: "EX\\carillon".into(), password: "correct horse".into() };
    };
    let mut town = town(exchange, password);
    town.run_for(minutes(4));
    let (stale, not_accepted, trouble) = told(&town);
    assert_eq!((stale.len(), not_accepted.len(), trouble.len()), (0, 0, SHARDS));
    assert_eq!(&*trouble[0].code, "ews_auth_offer");
    for words in ["offers Negotiate, NTLM", "Basic", "bearer token"] {
        assert!(trouble[0].text.contains(words), "{words}: {}", trouble[0].text);
    }
    assert_eq!(refused(&town), SHARDS as u64, "one request of each shard in five minutes");
}
