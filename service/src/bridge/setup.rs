//! The configuration as the engine wants it.

use std::path::PathBuf;

use carillon_core::shard::{
    Endpoint, EndpointId, MailServer, Protocol, PushAuth, PushService, ShardConfig, TeamId,
};
use carillon_engine::{EngineConfig, TlsSettings};

use crate::clock;
use crate::config::{ClientCertificate, Config, Exchange, Push, PushCredential};
use crate::files::{self, FileError};

/// What Exchange sees as `User-Agent`.
const USER_AGENT: &str = concat!("Carillon/", env!("CARGO_PKG_VERSION"));

/// All that the engine needs to start. The endpoints are those of each `[[exchange]]`, then those of each `[[push]]`.
///
/// # Errors
/// A certificate or key file that cannot be used.
pub fn engine_config(config: &Config, item_key: [u8; 16], epoch: u64) -> Result<EngineConfig, FileError> {
    let mut endpoints = Vec::new();
    let mut endpoints_tls = Vec::new();
    let mut endpoint = |host: &str, port, protocol, tls| {
        let id = EndpointId(endpoints.len() as u16);
        endpoints.push(Endpoint { host: host.into(), port, protocol });
        endpoints_tls.push(tls);
        id
    };
    let mut mail_servers = Vec::new();
    for exchange in &config.exchange {
        let tls = exchange_tls(exchange)?;
        let endpoint = endpoint(&exchange.host, exchange.port, Protocol::Http1, tls);
        mail_servers.push(exchange_server(exchange, endpoint, USER_AGENT));
    }
    let mut push_services = Vec::new();
    for push in &config.push {
        let auth = match &push.auth {
            PushCredential::Team(team) => PushAuth::Team(TeamId(*team)),
            PushCredential::Certificate(_) => PushAuth::Certificate,
        };
        let tls = push_tls(push)?;
        push_services.push(PushService {
            endpoint: endpoint(&push.host, push.port, Protocol::Http2, tls),
            auth,
            lanes: push.lanes,
            lane_window_max: push.lane_window_max,
        });
    }
    let shard = ShardConfig {
        shard: 0,
        seed: clock::random_u64(),
        endpoints,
        mail_servers,
        push_services,
        timing: config.timing,
        item_key,
    };
    Ok(EngineConfig {
        shards: config.engine.shards,
        pin: config.engine.pin,
        read_bytes_per_turn: config.engine.read_bytes_per_turn,
        journal_dir: Some(journal_dir(config)),
        epoch,
        ..EngineConfig::new(shard, endpoints_tls)
    })
}

/// The endpoint of the `[[exchange]]` at this place.
pub fn exchange_endpoint(at: usize) -> EndpointId {
    EndpointId(at as u16)
}

/// An `[[exchange]]` as the engine wants it.
pub fn exchange_server(exchange: &Exchange, endpoint: EndpointId, user_agent: &str) -> MailServer {
    MailServer {
        endpoint,
        path: exchange.path.clone(),
        credential: exchange.credential.clone(),
        impersonate: exchange.impersonate,
        user_agent: user_agent.into(),
        folders: exchange.folders.clone(),
        catch_up: exchange.catch_up,
        badge: exchange.badge,
        cohort_users_max: exchange.cohort_users_max,
        stream_minutes: exchange.stream_minutes,
        stream_idle_s: exchange.stream_idle_s,
        calls_max: exchange.calls_max,
        call_timeout_s: exchange.call_timeout_s,
        subscribes_per_s: exchange.subscribes_per_s,
    }
}

/// The endpoint of the `[[push]]` at this place.
pub fn push_endpoint(config: &Config, at: usize) -> EndpointId {
    EndpointId((config.exchange.len() + at) as u16)
}

/// Whom an `[[exchange]]` trusts and who we are to it, as its files say now.
///
/// # Errors
/// A certificate or key file that cannot be used.
pub fn exchange_tls(exchange: &Exchange) -> Result<TlsSettings, FileError> {
    tls(exchange.ca_file.as_ref(), exchange.client.as_ref())
}

/// Whom a `[[push]]` trusts and who we are to it, as its files say now.
///
/// # Errors
/// A certificate or key file that cannot be used.
pub fn push_tls(push: &Push) -> Result<TlsSettings, FileError> {
    let client = match &push.auth {
        PushCredential::Team(_) => None,
        PushCredential::Certificate(client) => Some(client),
    };
    tls(push.ca_file.as_ref(), client)
}

/// Where the engine's journal is: beside the database.
pub fn journal_dir(config: &Config) -> PathBuf {
    beside(config, ".journal")
}

/// Where the key of sealed secrets is: beside the database.
pub fn key_file(config: &Config) -> PathBuf {
    beside(config, ".key")
}

fn beside(config: &Config, suffix: &str) -> PathBuf {
    let mut path = config.store.path.clone().into_os_string();
    path.push(suffix);
    path.into()
}

fn tls(ca_file: Option<&PathBuf>, client: Option<&ClientCertificate>) -> Result<TlsSettings, FileError> {
    Ok(TlsSettings {
        extra_roots: ca_file.map(|file| files::certificates(file)).transpose()?.unwrap_or_default(),
        client: client.map(files::client).transpose()?,
        ..TlsSettings::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn each_server_and_push_service_has_the_endpoint_that_leads_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = testing::config(dir.path());
        for (at, name) in ["second", "third"].into_iter().enumerate() {
            let port = 20 + at as u16;
            config.exchange.push(Exchange { name: name.into(), port, ..config.exchange[0].clone() });
            config.push.push(Push { name: name.into(), port: port + 10, ..config.push[0].clone() });
        }
        config.push.pop();
        let shard = engine_config(&config, [0; 16], 1).unwrap().shard;
        let port = |endpoint: EndpointId| shard.endpoints[usize::from(endpoint.0)].port;
        for (at, exchange) in config.exchange.iter().enumerate() {
            assert_eq!(port(exchange_endpoint(at)), exchange.port);
            assert_eq!(port(shard.mail_servers[at].endpoint), exchange.port);
        }
        for (at, push) in config.push.iter().enumerate() {
            assert_eq!(port(push_endpoint(&config, at)), push.port);
            assert_eq!(port(shard.push_services[at].endpoint), push.port);
        }
        assert_eq!(shard.endpoints.len(), 5);
    }
}
