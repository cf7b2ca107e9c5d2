//! A push service, step by step: name, TCP, TLS, HTTP/2, credential.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use carillon_core::h2pump::{ClientConfig, ClientEvent, ClientPump};
use carillon_core::limits::{ANSWER_BYTES_MAX, OUTPUT_BYTES_MAX};
use carillon_core::names::DeviceToken;
use carillon_core::push::{Lane, LaneConfig, LaneEvent, NoRoom, Outcome, PushRequest, PushType};
use carillon_core::time::Time;

use super::Findings;
use crate::blocking::{self, Failure, TlsStream};
use crate::clock;
use crate::config::{Config, Push, PushCredential};
use crate::keys::Signer;

/// How long the service may take for the trial push.
const TRIAL_TIME: Duration = Duration::from_secs(15);

/// The token of no device: the service looks at the credential and the topic first, then refuses this.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

pub(super) fn check(config: &Config, push: &Push, findings: &mut Findings<'_>) {
    let what = |step: &str| format!("push {} {step}", push.name);
    let resolved = blocking::resolve(&push.host, push.port);
    let Some(addresses) = findings.step(&what("name"), resolved, |found| super::addresses(&push.host, found))
    else {
        return;
    };
    let connected = blocking::connect(&addresses);
    let Some(stream) = findings.step(&what("tcp"), connected, |_| "connected".to_owned()) else { return };
    let client = match &push.auth {
        PushCredential::Certificate(client) => Some(client),
        PushCredential::Team(_) => None,
    };
    let secured = blocking::client_config(push.ca_file.as_deref(), client, b"h2")
        .and_then(|tls| blocking::handshake(stream, tls, &push.host, true));
    let Some(stream) = findings.step(&what("tls"), secured, |_| "the certificate is trusted".to_owned())
    else {
        return;
    };
    match &push.auth {
        PushCredential::Certificate(_) => {
            let tried = trial(push, stream);
            findings.step(&what("credential"), tried, Clone::clone);
        }
        PushCredential::Team(team) => {
            findings.step(&what("http/2"), settings(push, stream), |()| "the service answers".to_owned());
            findings.step(&what("key"), sign(config, *team), |()| {
                "a provider token can be signed; whether the service takes it shows with the first push"
                    .to_owned()
            });
        }
    }
}

/// Signs a token, and presents it to nobody: the service counts new tokens of a key, and a running Carillon uses one.
fn sign(config: &Config, team: u16) -> Result<(), Failure> {
    let team = config.teams.get(usize::from(team)).ok_or_else(|| {
        Failure::new("the signing key is not configured", "set key_file, key_id and team_id")
    })?;
    let signer = Signer::load(team)
        .map_err(|error| Failure::new(error.to_string(), "give the .p8 file as Apple gave it out"))?;
    signer.mint(clock::now());
    Ok(())
}

/// Waits for the service's SETTINGS: that it speaks HTTP/2 with us.
fn settings(push: &Push, mut stream: TlsStream) -> Result<(), Failure> {
    let mut pump: ClientPump<()> = ClientPump::new(ClientConfig {
        initial_streams_max: 1,
        streams_max: 1,
        answer_bytes_max: ANSWER_BYTES_MAX,
        output_bytes_max: OUTPUT_BYTES_MAX,
        input_bytes_max: OUTPUT_BYTES_MAX,
    });
    let started = Instant::now();
    while !pump.has_settings() {
        if let Some(ClientEvent::Closed { .. }) = pump.poll() {
            return Err(silent(push));
        }
        let written = write(&mut stream, |out| pump.drain(out, OUTPUT_BYTES_MAX));
        match read(&mut stream, started)? {
            Some(bytes) => pump.feed(&bytes),
            None => return Err(written.err().unwrap_or_else(|| silent(push))),
        }
    }
    Ok(())
}

/// Sends a push to nobody. What the service says against it tells whether it takes certificate and topic.
fn trial(push: &Push, mut stream: TlsStream) -> Result<String, Failure> {
    let token =
        DeviceToken::parse(NOBODY).map_err(|error| Failure::new(error.to_string(), "please report this"))?;
    let topic = push
        .topics
        .first()
        .ok_or_else(|| Failure::new("no topic is configured", "set topics to the app's bundle id"))?;
    let started = Instant::now();
    let now = || Time(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
    let authority = format!("{}:{}", push.host, push.port);
    let mut lane = Lane::new(now(), LaneConfig::apns(&authority, false));
    let request = PushRequest {
        token: &token,
        topic,
        jwt: None,
        apns_id: u128::from(clock::random_u64()) << 64 | u128::from(clock::random_u64()),
        push_type: PushType::Alert,
        priority: 5,
        expiration_s: 0,
        collapse_id: None,
        payload: b"{\"aps\":{}}",
    };
    lane.send(now(), 0, &request).map_err(|NoRoom| silent(push))?;
    loop {
        while let Some(event) = lane.poll(now()) {
            match event {
                LaneEvent::Settled { outcome, .. } => return verdict(&outcome, topic.as_str()),
                LaneEvent::GoingAway { reason, refused: true } => return Err(refused(reason.as_str())),
                LaneEvent::GoingAway { .. } => {}
                LaneEvent::Lost(error) => {
                    return Err(Failure::new(error.to_string(), "check host and port of the push service"));
                }
            }
        }
        lane.on_deadline(now());
        // Where writing fails, the service may have said why: what it said is read until its end.
        let _ = write(&mut stream, |out| lane.drain(out, OUTPUT_BYTES_MAX));
        match read(&mut stream, started)? {
            Some(bytes) => lane.feed(now(), &bytes),
            None => lane.closed(now()),
        }
    }
}

fn verdict(outcome: &Outcome, topic: &str) -> Result<String, Failure> {
    match outcome {
        Outcome::Accepted | Outcome::TokenGone { .. } | Outcome::TokenSuspect(_) => {
            Ok(format!("the service takes the certificate for {topic}"))
        }
        Outcome::AuthStale(reason) | Outcome::ServiceRefused(reason) | Outcome::Rejected(reason) => {
            Err(refused(reason.as_str()))
        }
        Outcome::TooManyTokens(_) | Outcome::Throttled { .. } | Outcome::TooLarge | Outcome::Retry { .. } => {
            Err(Failure::new(
                "the service could not serve the trial push",
                "try again in a minute; look at the provider's status page if it lasts",
            ))
        }
    }
}

fn refused(reason: &str) -> Failure {
    Failure::new(
        format!("the service refuses the credential or the topic ({reason})"),
        "see that certificate, environment (production or sandbox) and topics belong together, and that it has not expired",
    )
}

fn silent(push: &Push) -> Failure {
    Failure::new(
        format!("{} closes the connection or says nothing in HTTP/2", push.host),
        "check host and port, and with a client certificate whether it has expired",
    )
}

fn write(stream: &mut TlsStream, drain: impl FnOnce(&mut Vec<u8>) -> bool) -> Result<(), Failure> {
    let mut out = Vec::new();
    drain(&mut out);
    stream.write_all(&out).and_then(|()| stream.flush()).map_err(|error| broken(&error))
}

/// Some bytes; `None` at the end.
fn read(stream: &mut TlsStream, started: Instant) -> Result<Option<Vec<u8>>, Failure> {
    let left = TRIAL_TIME.checked_sub(started.elapsed()).filter(|left| !left.is_zero());
    let left = left.ok_or_else(|| broken(&io::ErrorKind::TimedOut.into()))?;
    let _ = stream.sock.set_read_timeout(Some(left));
    let mut bytes = vec![0; 16 * 1024];
    match blocking::read(stream, &mut bytes) {
        Ok(0) => Ok(None),
        Ok(n) => {
            bytes.truncate(n);
            Ok(Some(bytes))
        }
        Err(error) => Err(broken(&error)),
    }
}

fn broken(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Failure::new("the service says nothing", "check what stands in between (proxy, firewall)")
        }
        // With TLS 1.3 a server tells of a client certificate that it does not like only after the handshake.
        _ => Failure::new(
            format!("the connection broke off ({error})"),
            "check the client certificate, and what stands in between",
        ),
    }
}
