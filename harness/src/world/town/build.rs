//! Builds a town: its servers, what the engine is told of them, and the people.

use std::collections::HashMap;

use carillon_core::limits::FETCH_WAIT_MAX;
use carillon_core::shard::{
    Endpoint, EndpointId, MailServer, Protocol, PushAuth, PushService, ShardConfig, TeamId,
};
use carillon_core::time::{Now, Span, Time};

use super::administrator::Administrator;
use super::tokens::{KEY_ID, TEAM, Tokens};
use super::{APPS, ENVIRONMENTS, MAIL, PUSH, START, Town, TownConfig};
use crate::apns::{Apns, Certificate, KeyScope, TeamKey, WorldKey};
use crate::audit::Audit;
use crate::exchange::{Exchange, ExchangeConfig, MailboxKey};
use crate::phone::Rules;
use crate::world::{PeerAt, World, WorldConfig};

/// What the engine shows to push services that want no provider token.
const CERTIFICATE: &[u8] = b"a client certificate";

/// The engine's key for hashes of item ids.
const ITEM_KEY: [u8; 16] = *b"a key for tests!";

impl Town {
    /// Builds the town; everybody registers at once. Nothing has run yet.
    pub fn new(config: TownConfig) -> Town {
        let start = Now { time: Time(0), unix: START };
        let key = WorldKey::new(config.seed);
        let exchanges = (0..config.mail_servers).map(|number| exchange(&config, number)).collect();
        let push_services = 1 + usize::from(config.sandbox);
        let apns = (0..push_services).map(|number| apns(&config, number, &key, start)).collect();
        let tokens = config.tokens.map(|renew_after| Tokens::new(key, renew_after, start));
        let (shard, routes) = shard(&config, push_services);
        let badge = shard.mail_servers[0].badge;
        let with_certificate = shard.push_services[0].auth == PushAuth::Certificate;
        let rules = Rules {
            detail_cutoff: Span::from_secs(config.timing.detail_cutoff_s.into()),
            wait_max: config.wait_max,
            crossing_max: Span::from_secs(2),
            // Judged by when it left.
            look_max: FETCH_WAIT_MAX,
            clock_set_max: config.clock_set_max,
            transit_max: Span::ZERO,
        };
        let world = World::new(
            WorldConfig {
                seed: config.seed,
                start: START,
                shards: config.shards,
                shard,
                routes,
                certificate: with_certificate.then(|| CERTIFICATE.to_vec()),
                vigilant: config.vigilant,
            },
            exchanges,
            apns,
        );
        let mut town = Town {
            world,
            audit: Audit::new(rules),
            people: Vec::new(),
            deliveries: Vec::new(),
            live: HashMap::new(),
            phones: HashMap::new(),
            tokens,
            administrator: Administrator::new(config.mail_servers, config.mail_tokens, config.patience),
            made_up: Vec::new(),
            badge,
            two_apps: config.two_apps,
            reports_heard: 0,
            item_key: ITEM_KEY,
        };
        town.hand_tokens_in(config.shards);
        let back_ends = config.exchange.back_ends.len();
        for number in 0..config.users {
            let chooses = config.choosers.contains(&number);
            town.settle_person(number, config.phones, config.shards, number % back_ends, chooses);
        }
        town
    }
}

/// One of the organisation's mail servers.
fn exchange(config: &TownConfig, number: usize) -> Exchange {
    let seed = config.seed.wrapping_add(number as u64);
    let mut exchange = Exchange::new(ExchangeConfig { seed, ..config.exchange.clone() });
    let mut account = Administrator::account(config.mail_tokens, config.full_access);
    if config.full_access {
        account.full_access = (0..config.users as u32).map(MailboxKey).collect();
    }
    exchange.add_account(account);
    exchange
}

/// One of the push services.
fn apns(config: &TownConfig, number: usize, key: &WorldKey, start: Now) -> Apns {
    let seed = config.seed.wrapping_add(number as u64);
    let mut apns = Apns::new(ENVIRONMENTS[number], config.knobs.clone(), seed);
    APPS.iter().for_each(|app| apns.add_app(start, app, TEAM));
    apns.add_key(TeamKey {
        team: TEAM.to_owned(),
        kid: KEY_ID.to_owned(),
        public_key: key.shared(),
        scope: KeyScope::Team,
        environment: None,
    });
    apns.add_certificate(Certificate {
        der: CERTIFICATE.to_vec(),
        topics: APPS.map(str::to_owned).to_vec(),
        environment: None,
    });
    apns
}

/// What each shard is told of the servers, and where its endpoints lead.
fn shard(config: &TownConfig, push_services: usize) -> (ShardConfig, Vec<PeerAt>) {
    let (mut endpoints, mut routes) = (Vec::new(), Vec::new());
    let mut add = |host: String, protocol: Protocol, leads_to: PeerAt| {
        endpoints.push(Endpoint { host: host.into(), port: 443, protocol });
        routes.push(leads_to);
        EndpointId(endpoints.len() as u16 - 1)
    };
    let mail = add("mail.example.com".to_owned(), Protocol::Http1, MAIL);
    let push = add("api.push.apple.com".to_owned(), Protocol::Http2, PUSH);
    let mut mail_servers = Vec::new();
    for number in 0..config.mail_servers {
        let endpoint = match number {
            0 => mail,
            _ => add(format!("mail{number}.example.com"), Protocol::Http1, PeerAt::Exchange(number)),
        };
        let mut server = MailServer {
            impersonate: !config.full_access,
            subscribes_per_s: 1_000,
            ..MailServer::new(endpoint, Administrator::first(config.mail_tokens))
        };
        (config.mail_server)(&mut server);
        mail_servers.push(server);
    }
    let auth = if config.tokens.is_some() { PushAuth::Team(TeamId(0)) } else { PushAuth::Certificate };
    let mut sides = Vec::new();
    for number in 0..push_services {
        let endpoint = match number {
            0 => push,
            _ => add("api.sandbox.push.apple.com".to_owned(), Protocol::Http2, PeerAt::Apns(number)),
        };
        let mut side = PushService { endpoint, auth, lanes: 2, lane_window_max: 1_000 };
        (config.push_service)(&mut side);
        sides.push(side);
    }
    let shard = ShardConfig {
        shard: 0,
        seed: 0,
        endpoints,
        mail_servers,
        push_services: sides,
        timing: config.timing,
        item_key: ITEM_KEY,
    };
    (shard, routes)
}
