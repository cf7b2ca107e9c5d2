//! Carillon's public API, as a device's gateway and an administrator would use it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::people::{People, TOPIC, address, device_id, user_id};

/// A client with the run's own roots.
pub(super) struct Api {
    agent: ureq::Agent,
    base: String,
    admin: String,
}

/// `GET /v1/status`, as far as it is needed here.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Status {
    pub live: u64,
    pub users_ready: u64,
    pub lanes: u64,
    pub ledger: Ledger,
    pub latency_us: BTreeMap<String, BTreeMap<String, u64>>,
    pub mail_servers: Vec<Part>,
    pub push_services: Vec<Part>,
}

/// The engine's own account, since its process started.
#[derive(Clone, Debug, Default, Deserialize, serde::Serialize)]
#[allow(missing_docs)]
pub(crate) struct Ledger {
    pub signalled: u64,
    pub duplicate: u64,
    pub folded: u64,
    pub fetched: u64,
    pub offered: u64,
    pub returned: u64,
    pub accepted: u64,
    pub suppressed: BTreeMap<String, u64>,
    pub superseded: u64,
    pub expired: u64,
    pub waiting: u64,
    pub in_flight: u64,
}

impl Ledger {
    /// Every telling is in exactly one place.
    pub(crate) fn balances(&self) -> bool {
        let ended = self.accepted + self.suppressed.values().sum::<u64>() + self.superseded + self.expired;
        self.folded == ended + self.waiting + self.in_flight
    }

    /// Adds the account of an earlier process. What was open when that one was killed is left out: it is opened anew by
    /// the next one, or had been accepted.
    pub(crate) fn add_ended(&mut self, before: &Ledger) {
        self.signalled += before.signalled;
        self.duplicate += before.duplicate;
        self.folded += before.folded - before.waiting - before.in_flight;
        self.fetched += before.fetched;
        self.offered += before.offered;
        self.returned += before.returned;
        self.accepted += before.accepted;
        for (why, count) in &before.suppressed {
            *self.suppressed.entry(why.clone()).or_default() += count;
        }
        self.superseded += before.superseded;
        self.expired += before.expired;
    }

    /// And nothing is open any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting == 0 && self.in_flight == 0
    }
}

/// A mail server or a push service.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Part {
    pub name: String,
    pub state: String,
    pub trouble: Option<Trouble>,
}

/// What is wrong with it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Trouble {
    pub code: String,
    pub text: String,
}

#[derive(Deserialize)]
struct Imported {
    created: u64,
    refreshed: u64,
    refused: u64,
    errors: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Registered {
    item_key: Option<String>,
}

impl Api {
    pub(super) fn new(base: &str, ca: &Path, admin: &str) -> Result<Api, String> {
        let pem = std::fs::read(ca).map_err(|error| format!("cannot read {}: {error}", ca.display()))?;
        let root = Certificate::from_pem(&pem).map_err(|error| format!("{}: {error}", ca.display()))?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[root]))
            .unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .proxy(None)
            .build();
        Ok(Api { agent: config.new_agent(), base: base.to_owned(), admin: format!("Bearer {admin}") })
    }

    pub(super) fn status(&self) -> Result<Status, String> {
        let what = "GET /v1/status";
        let url = format!("{}/v1/status", self.base);
        let response = self.agent.get(url).header("authorization", &self.admin).call();
        read(what, response)
    }

    /// Asks for the metrics, and looks at none of them.
    pub(super) fn metrics(&self) -> Result<(), String> {
        let url = format!("{}/metrics", self.base);
        let response = self.agent.get(url).header("authorization", &self.admin).call();
        let mut response = response.map_err(|error| format!("GET /metrics: {error}"))?;
        let text = response.body_mut().read_to_string().map_err(|error| format!("GET /metrics: {error}"))?;
        match response.status().is_success() && text.contains("carillon_") {
            true => Ok(()),
            false => Err(format!("GET /metrics: {}", response.status())),
        }
    }

    /// Registers one phone, as a gateway does. Gives the key of the hashes that name mails.
    pub(super) fn register(&self, people: &People, phone: usize) -> Result<String, String> {
        let (user, device) = (user_id(people.phones[phone].person), device_id(people.phones[phone].number));
        let url = format!("{}/v1/users/{user}/devices/{device}", self.base);
        let body = registration(people, phone).to_string();
        let request = self.agent.put(url).header("authorization", &self.admin);
        let answer: Registered =
            read("PUT …/devices/…", request.header("content-type", "application/json").send(&body))?;
        answer.item_key.ok_or_else(|| "the answer to a registration has no item_key".to_owned())
    }

    /// Registers a slice of the phones at once.
    pub(super) fn import(&self, people: &People, phones: std::ops::Range<usize>) -> Result<(), String> {
        let what = "POST /v1/devices/import";
        let count = phones.len() as u64;
        let mut body = String::new();
        for phone in phones {
            body.push_str(&registration(people, phone).to_string());
            body.push('\n');
        }
        let url = format!("{}/v1/devices/import", self.base);
        let request = self.agent.post(url).header("authorization", &self.admin);
        let answer: Imported =
            read(what, request.header("content-type", "application/x-ndjson").send(&body))?;
        if answer.refused > 0 || answer.created + answer.refreshed != count {
            let first = answer.errors.first().map_or_else(String::new, |error| format!(": {error}"));
            return Err(format!("{what}: {} of {count} registrations were refused{first}", answer.refused));
        }
        Ok(())
    }
}

fn registration(people: &People, phone: usize) -> serde_json::Value {
    let phone = &people.phones[phone];
    let person = &people.persons[phone.person as usize];
    let mut body = json!({
        "user": user_id(phone.person),
        "device": device_id(phone.number),
        "address": address(phone.person),
        "token": phone.token,
        "topic": TOPIC,
        "grouping": format!("group{}", person.back_end),
        "settings": { "alerts": phone.alerts, "details": phone.details },
        "active_at_ms": phone.active.0,
    });
    if person.vip {
        body["vip"] = json!({ "high_importance": true });
    }
    body
}

fn read<T: serde::de::DeserializeOwned>(
    what: &str,
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<T, String> {
    let mut response = response.map_err(|error| format!("{what}: {error}"))?;
    let text = response.body_mut().read_to_string().map_err(|error| format!("{what}: {error}"))?;
    if !response.status().is_success() {
        return Err(format!("{what}: {}: {}", response.status(), text.trim()));
    }
    serde_json::from_str(&text).map_err(|error| format!("{what}: an answer that is none: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_balances_only_when_every_telling_is_in_one_place() {
        let mut ledger =
            Ledger { folded: 10, accepted: 6, superseded: 1, expired: 0, waiting: 2, ..Ledger::default() };
        assert!(!ledger.balances());
        ledger.suppressed.insert("stopped".into(), 1);
        assert!(ledger.balances() && !ledger.is_settled());
    }

    #[test]
    fn the_account_of_a_killed_process_counts_what_it_had_ended() {
        let suppressed = BTreeMap::from([("stopped".to_owned(), 1)]);
        let before =
            Ledger { folded: 10, accepted: 6, waiting: 2, in_flight: 1, suppressed, ..Ledger::default() };
        let mut ledger = Ledger { folded: 4, accepted: 4, ..Ledger::default() };
        ledger.add_ended(&before);
        assert_eq!((ledger.folded, ledger.accepted, ledger.suppressed["stopped"]), (11, 10, 1));
        assert!(ledger.balances() && ledger.is_settled());
    }
}
