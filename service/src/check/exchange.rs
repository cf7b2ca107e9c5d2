//! Exchange, step by step: name, TCP, TLS, log-on, impersonation, streaming.

use std::time::Duration;

use carillon_core::ews::{
    Action, Caller, EwsError, ResponseCode, Route, SchemaVersion, StreamBreak, StreamEvent, http_request,
    request, response,
};
use carillon_core::http1::{Cookies, Response};
use carillon_core::names::{SmtpAddress, SubscriptionId};
use carillon_core::shard::{Endpoint, EndpointId, MailCredential, MailServer, Protocol};

use super::Findings;
use crate::blocking::{self, Calls, Failure, TlsStream};
use crate::bridge::exchange_server;
use crate::config::Exchange;

pub(super) fn check(exchange: &Exchange, user: Option<&SmtpAddress>, findings: &mut Findings<'_>) {
    let what = |step: &str| format!("exchange {} {step}", exchange.name);
    let resolved = blocking::resolve(&exchange.host, exchange.port);
    let Some(addresses) =
        findings.step(&what("name"), resolved, |found| super::addresses(&exchange.host, found))
    else {
        return;
    };
    let connected = blocking::connect(&addresses);
    let Some(stream) = findings.step(&what("tcp"), connected, |stream| match stream.peer_addr() {
        Ok(address) => format!("connected to {address}"),
        Err(_) => "connected".to_owned(),
    }) else {
        return;
    };
    let secured = blocking::client_config(exchange.ca_file.as_deref(), exchange.client.as_ref(), b"http/1.1")
        .and_then(|config| blocking::handshake(stream, config, &exchange.host, false));
    let Some(stream) = findings.step(&what("tls"), secured, |_| "the certificate is trusted".to_owned())
    else {
        return;
    };
    Session::new(exchange, Calls::new(stream), &addresses).check(user, findings, &what);
}

struct Session<'a> {
    exchange: &'a Exchange,
    addresses: &'a [std::net::SocketAddr],
    calls: Option<Calls>,
    endpoint: Endpoint,
    server: MailServer,
    version: SchemaVersion,
    cookies: Cookies,
}

/// What a call failed of: the way to the server, or the server's own words.
enum CallError {
    Way(Failure),
    Ews(EwsError),
}

impl<'a> Session<'a> {
    fn new(exchange: &'a Exchange, calls: Calls, addresses: &'a [std::net::SocketAddr]) -> Session<'a> {
        Session {
            exchange,
            addresses,
            calls: Some(calls),
            endpoint: Endpoint {
                host: exchange.host.clone(),
                port: exchange.port,
                protocol: Protocol::Http1,
            },
            server: exchange_server(
                exchange,
                EndpointId(0),
                concat!("Carillon/", env!("CARGO_PKG_VERSION"), " (check)"),
            ),
            version: SchemaVersion::default(),
            cookies: Cookies::default(),
        }
    }

    fn check(
        mut self,
        user: Option<&SmtpAddress>,
        findings: &mut Findings<'_>,
        what: &dyn Fn(&str) -> String,
    ) {
        let impersonate = user.is_some() && self.exchange.impersonate;
        let anchor = match user {
            Some(user) => user.clone(),
            None => match own_address(&self.exchange.credential) {
                Some(address) => address,
                None => {
                    findings.note(
                        &what("log-on"),
                        "not tried: give --user ADDRESS, the address of any mailbox on this server",
                    );
                    return;
                }
            },
        };
        let mailbox = &anchor;
        let folder =
            self.call(|version| request::get_folder(&Caller { version, mailbox, impersonate }, &[]), &anchor);
        match folder.and_then(|body| response::get_folder(&body).map_err(CallError::Ews)) {
            Ok(counts) => {
                findings.well(&what("log-on"), "the credential is accepted");
                findings.well(&what("version"), self.version.name());
                let inbox = format!("the inbox of {} can be read, {} unread", anchor.as_str(), counts.unread);
                let step = if impersonate { "impersonation" } else { "mailbox" };
                findings.well(&what(step), &inbox);
            }
            Err(CallError::Way(failure)) => return findings.wrong(&what("log-on"), &failure),
            Err(CallError::Ews(error)) => {
                // Without a user the service account's own mailbox was asked for: it need not have one.
                let no_mailbox = user.is_none()
                    && matches!(error.action(), Action::MailboxGone | Action::AwaitStore)
                    && self.exchange.impersonate;
                if !no_mailbox {
                    return self.refused(&error, findings, what);
                }
                findings.well(&what("log-on"), "the credential is accepted (the account has no mailbox)");
                findings.well(&what("version"), self.version.name());
            }
        }
        if user.is_none() {
            if self.exchange.impersonate {
                findings.note(&what("impersonation"), "not tried: give --user ADDRESS");
            }
            return;
        }
        self.subscribe(impersonate, &anchor, findings, what);
    }

    /// A subscription is what streaming needs; it is ended at once.
    fn subscribe(
        mut self,
        impersonate: bool,
        anchor: &SmtpAddress,
        findings: &mut Findings<'_>,
        what: &dyn Fn(&str) -> String,
    ) {
        let folders = self.exchange.folders.clone();
        let mailbox = anchor;
        let body = self
            .call(|version| request::subscribe(&Caller { version, mailbox, impersonate }, &folders), anchor)
            .and_then(|body| response::subscribe(&body).map_err(CallError::Ews));
        match body {
            Ok(id) => {
                findings.well(&what("subscription"), "the mailbox can be subscribed to");
                match self.stream(&id, impersonate, anchor) {
                    Ok(()) => findings.well(&what("streaming"), "a notification stream opens and tells so"),
                    Err(CallError::Way(failure)) => findings.wrong(&what("streaming"), &failure),
                    Err(CallError::Ews(error)) => findings.wrong(&what("streaming"), &self::failure(&error)),
                }
                let ended = self
                    .call(
                        |version| request::unsubscribe(&Caller { version, mailbox, impersonate }, &id),
                        anchor,
                    )
                    .and_then(|body| response::unsubscribe(&body).map_err(CallError::Ews));
                if ended.is_err() {
                    findings.note(
                        &what("streaming"),
                        "the trial subscription could not be ended; it ends by itself after 30 minutes",
                    );
                }
            }
            Err(CallError::Way(failure)) => findings.wrong(&what("subscription"), &failure),
            Err(CallError::Ews(error)) => findings.wrong(&what("subscription"), &failure(&error)),
        }
    }

    /// Opens a stream, as the service does, and waits for its first envelope.
    fn stream(
        &mut self,
        id: &SubscriptionId,
        impersonate: bool,
        anchor: &SmtpAddress,
    ) -> Result<(), CallError> {
        let caller = Caller { version: self.version, mailbox: anchor, impersonate };
        let body = request::get_streaming_events(&caller, &[id], 1);
        let route = Route::Cohort { anchor, cookies: self.cookies.as_str() };
        let request = http_request(&self.endpoint, &self.server, route, request_id(), &body)
            .map_err(|error| CallError::Way(Failure::new(error.to_string(), "correct the configuration")))?;
        let mut stream = self.dial().map_err(CallError::Way)?;
        match blocking::first_of_stream(&mut stream, request).map_err(CallError::Way)? {
            StreamEvent::Failed { error, .. } => Err(CallError::Ews(error)),
            StreamEvent::Broken(StreamBreak::NotOpened | StreamBreak::Ended | StreamBreak::Silent) => {
                Err(CallError::Way(Failure::new(
                    "calls are answered, and nothing of a notification stream comes through: something between buffers or \
                     cuts it",
                    "switch the buffering of answers off for EWS in the proxy or load balancer before Exchange (nginx: \
                     proxy_buffering off), with an idle timeout above 120 s; until then mailboxes are looked into once a \
                     minute only",
                )))
            }
            StreamEvent::Broken(broken) => {
                Err(CallError::Way(Failure::new(broken.to_string(), "look at the proxy before Exchange")))
            }
            StreamEvent::Opened
            | StreamEvent::Heartbeat
            | StreamEvent::Notification { .. }
            | StreamEvent::Closed => Ok(()),
        }
    }

    /// Says which step it was that the server refused, and that the steps before it are well.
    fn refused(&self, error: &EwsError, findings: &mut Findings<'_>, what: &dyn Fn(&str) -> String) {
        let failure = failure(error);
        match error.code {
            ResponseCode::Auth | ResponseCode::AuthOffer => findings.wrong(&what("log-on"), &failure),
            ResponseCode::NotSoap
            | ResponseCode::Redirect
            | ResponseCode::Malformed
            | ResponseCode::Http(_)
            | ResponseCode::Forbidden => findings.wrong(&what("ews"), &failure),
            ResponseCode::ErrorImpersonateUserDenied
            | ResponseCode::ErrorImpersonationDenied
            | ResponseCode::ErrorImpersonationFailed
            | ResponseCode::ErrorInvalidExchangeImpersonationHeaderData => {
                findings.well(&what("log-on"), "the credential is accepted");
                findings.wrong(&what("impersonation"), &failure);
            }
            _ => {
                findings.well(&what("log-on"), "the credential is accepted");
                findings.wrong(&what("mailbox"), &failure);
            }
        }
    }

    /// One call, in the highest version that the server takes.
    fn call(
        &mut self,
        body: impl Fn(SchemaVersion) -> Vec<u8>,
        anchor: &SmtpAddress,
    ) -> Result<Vec<u8>, CallError> {
        loop {
            let answer = self.call_once(&body(self.version), anchor)?;
            let result = response::http(&answer).map(<[u8]>::to_vec).and_then(|body| {
                // A version that the server does not know is a fault, which may come with status 200.
                match response::get_folder(&body) {
                    Err(error) if error.action() == Action::LowerVersion => Err(error),
                    Ok(_) | Err(_) => Ok(body),
                }
            });
            match result {
                Err(error) if error.action() == Action::LowerVersion => match self.version.lower() {
                    Some(lower) => self.version = lower,
                    None => return Err(CallError::Ews(error)),
                },
                Err(error) => return Err(CallError::Ews(error)),
                Ok(body) => return Ok(body),
            }
        }
    }

    fn call_once(&mut self, body: &[u8], anchor: &SmtpAddress) -> Result<Response, CallError> {
        let route = Route::Cohort { anchor, cookies: self.cookies.as_str() };
        let request = http_request(&self.endpoint, &self.server, route, request_id(), body)
            .map_err(|error| CallError::Way(Failure::new(error.to_string(), "correct the configuration")))?;
        let mut calls = match self.calls.take().filter(Calls::reusable) {
            Some(calls) => calls,
            None => self.reconnect().map_err(CallError::Way)?,
        };
        let time = Duration::from_secs(u64::from(self.exchange.call_timeout_s));
        let answer = calls.call(request, time).map_err(|broken| CallError::Way(broken.into()))?;
        self.cookies.absorb(&answer.head);
        self.calls = Some(calls);
        Ok(answer)
    }

    fn reconnect(&self) -> Result<Calls, Failure> {
        Ok(Calls::new(self.dial()?))
    }

    fn dial(&self) -> Result<TlsStream, Failure> {
        let exchange = self.exchange;
        let config =
            blocking::client_config(exchange.ca_file.as_deref(), exchange.client.as_ref(), b"http/1.1")?;
        let stream = blocking::connect(self.addresses)?;
        blocking::handshake(stream, config, &exchange.host, false)
    }
}

/// The service account's own address, where its name is one.
fn own_address(credential: &MailCredential) -> Option<SmtpAddress> {
    match credential {
        MailCredential::Basic { user, .. } => SmtpAddress::parse(user).ok(),
        MailCredential::Bearer { .. } | MailCredential::ClientCertificate => None,
    }
}

/// The engine's own words for an error, apart into what happened and what to do.
fn failure(error: &EwsError) -> Failure {
    let text = error.trouble().text;
    match text.split_once("; ") {
        Some((what, advice)) => Failure::new(what, advice),
        None => Failure::new(text.as_ref(), "look at the Exchange server"),
    }
}

/// A UUID (version 4) for Exchange's logs; nothing depends on it but finding the call there.
fn request_id() -> u128 {
    let mut bytes = [0; 16];
    // Without entropy the id is not unique; the call works as well.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    u128::from_be_bytes(bytes)
}
