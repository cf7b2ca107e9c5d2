//! The front end: who calls, to which back end, with what headers. What comes through becomes a typed call.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carillon_core::time::{Now, Span};

use super::account::{AccountKey, Caller, REFUSALS_MAX, Refused, SOON, TokenKind};
use super::budget::{BudgetKey, Refusal};
use super::code::Code;
use super::config::CertificateRule;
use super::faults::Override;
use super::ids::{StoreId, guid_text};
use super::mailbox::MailboxKey;
use super::reply::{Fault, ordinary, push_failure};
use super::request::{BadCall, Body, Call, FolderRef, Impersonation};
use super::state::Exchange;
use super::stats::Operation;
use super::version::Version;
use super::wire::HttpRequest;
use crate::peer::PeerConn;

/// An HTTP answer with a whole body.
#[derive(Debug)]
pub(super) struct HttpReply {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub close: bool,
}

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// A reply, the budget that pays for it, and how late it comes.
    Reply { reply: HttpReply, charge: Option<(BudgetKey, Operation)>, late: Span },
    /// Nothing ever.
    Never { charge: Option<(BudgetKey, Operation)> },
    /// A stream, which exists already.
    Stream { key: u64, headers: Vec<(&'static str, String)> },
}

/// What an operation knows of its call.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub now: Now,
    pub conn: PeerConn,
    pub caller: Caller,
    /// The mailbox on which it acts: the impersonated one or the caller's own.
    pub mailbox: Option<MailboxKey>,
    pub budget: BudgetKey,
    pub back_end: usize,
    pub anchor: Option<Box<str>>,
    /// It came with an affinity cookie.
    pub pinned: bool,
    pub primary_smtp: bool,
    pub version: Option<Version>,
}

/// How an operation is answered.
#[derive(Debug)]
pub(super) enum Done {
    /// Response messages.
    Messages(String),
    /// The body of a stream that ended before it began.
    StreamBody(Vec<u8>),
    Stream(u64),
    Fault(Fault),
    Never,
}

/// What became of a call that was let in.
#[derive(Debug)]
struct Admitted {
    done: Done,
    charged: Option<BudgetKey>,
    late: Span,
}

/// Stands in [`Mail::subject_on_wire`](super::Mail::subject_on_wire) for a byte that is no UTF-8.
const NOT_UTF8: char = '\u{e000}';

const XML: &str = "text/xml; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

impl HttpReply {
    /// A page for people.
    pub(super) fn page(status: u16, title: &str) -> HttpReply {
        HttpReply {
            status,
            content_type: HTML,
            headers: Vec::new(),
            body: format!(
                "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\" \
                 \"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd\">\r\n<html><head><title>{title}</title></head>\
                 <body><h1>{title}</h1><br></body></html>\r\n"
            )
            .into_bytes(),
            close: false,
        }
    }

    fn xml(status: u16, body: impl Into<Vec<u8>>) -> HttpReply {
        HttpReply { status, content_type: XML, headers: Vec::new(), body: body.into(), close: false }
    }

    pub(super) fn closing(mut self) -> HttpReply {
        self.close = true;
        self
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> HttpReply {
        self.headers.push((name, value.into()));
        self
    }
}

impl Exchange {
    pub(super) fn answer(&mut self, now: Now, conn: PeerConn, request: &HttpRequest) -> Answer {
        let plain = |reply: HttpReply| Answer::Reply { reply, charge: None, late: Span::ZERO };
        let mut headers = self.correlate(conn, request);
        let credential = request.header("authorization").unwrap_or_default();
        self.check_sent_away(now.time, conn, credential);
        if let Some(order) = self.take_override(now.time, None) {
            return plain(self.overridden(now, conn, credential, &order));
        }
        let path = request.path.split('?').next().unwrap_or_default();
        if !path.eq_ignore_ascii_case("/EWS/Exchange.asmx") {
            return plain(HttpReply::page(404, "404 - File or directory not found."));
        }
        let caller = match self.authenticate(now, conn, request) {
            Ok(caller) => caller,
            Err(reply) => return plain(reply),
        };
        match request.method.as_str() {
            "POST" => {}
            "GET" => return plain(HttpReply::page(200, "Service")),
            _ => return plain(HttpReply::page(405, "405 - Method Not Allowed").with("Allow", "GET, POST")),
        }
        let content_type = request.header("content-type").unwrap_or_default().to_ascii_lowercase();
        let charset_ok =
            content_type.split_once("charset=").is_none_or(|(_, v)| v.trim_matches('"') == "utf-8");
        if content_type.split(';').next().map(str::trim) != Some("text/xml") || !charset_ok {
            return plain(HttpReply::page(415, "415 - Unsupported Media Type"));
        }
        let call = match Call::parse(&request.body) {
            Ok(call) => call,
            Err(bad) => return plain(self.refuse_call(bad)),
        };
        let operation = call.body.operation();
        if let Some(order) = self.take_override(now.time, Some(operation)) {
            return plain(self.overridden(now, conn, credential, &order));
        }
        let (back_end, anchor) = self.route(request, caller, operation, &mut headers);
        let done = self.admit(now, conn, request, caller, &call, back_end, anchor);
        let (done, charge, late) = match done {
            Ok(Admitted { done, charged, late }) => {
                // A stream pays for itself, for as long as it is open.
                let ordinary = charged.filter(|_| operation != Operation::GetStreamingEvents);
                (done, ordinary.map(|budget| (budget, operation)), late)
            }
            Err(fault) => (Done::Fault(fault), None, Span::ZERO),
        };
        let mut reply = match done {
            Done::Never => return Answer::Never { charge },
            Done::Stream(key) => return Answer::Stream { key, headers },
            Done::StreamBody(body) => HttpReply::xml(200, body),
            Done::Messages(messages) => {
                HttpReply::xml(200, self.garbled(ordinary(operation, &self.info, &messages)))
            }
            Done::Fault(fault) => self.fault(&fault),
        };
        reply.headers = headers;
        Answer::Reply { reply, charge, late }
    }

    /// As it goes over the wire: [`NOT_UTF8`] is a byte that is none.
    fn garbled(&mut self, text: String) -> Vec<u8> {
        if !text.contains(NOT_UTF8) {
            return text.into_bytes();
        }
        let mut bytes = Vec::with_capacity(text.len());
        for (at, part) in text.split(NOT_UTF8).enumerate() {
            bytes.extend((at > 0).then_some(0xe9));
            bytes.extend_from_slice(part.as_bytes());
        }
        self.stats.not_utf8 += 1;
        bytes
    }

    fn fault(&mut self, fault: &Fault) -> HttpReply {
        *self.stats.faults.entry(fault.code).or_default() += 1;
        HttpReply::xml(500, fault.envelope(self.faults.soap12_faults))
    }

    fn refuse_call(&mut self, bad: BadCall) -> HttpReply {
        let fault = match bad {
            BadCall::Malformed => {
                return HttpReply { body: Vec::new(), ..HttpReply::page(400, "") }.closing();
            }
            BadCall::VersionMismatch => {
                Fault::soap("VersionMismatch", "The SOAP version of the request is not 1.1.")
            }
            BadCall::MustUnderstand => Fault::soap("MustUnderstand", "A header was not understood."),
            BadCall::UnknownOperation(name) => Fault::saying(
                Code::ErrorInvalidRequest,
                format!("The request is invalid: no operation '{name}'."),
            ),
            BadCall::Schema(what) => Fault::saying(
                Code::ErrorSchemaValidation,
                format!("The request failed schema validation: {what}"),
            ),
            BadCall::TwoAccessModes => Fault::new(Code::ErrorMoreThanOneAccessModeSpecified),
        };
        self.fault(&fault)
    }

    /// Checks everything between the parsed call and its operation, and runs it.
    #[allow(clippy::too_many_arguments)]
    fn admit(
        &mut self,
        now: Now,
        conn: PeerConn,
        request: &HttpRequest,
        caller: Caller,
        call: &Call,
        back_end: usize,
        anchor: Option<Box<str>>,
    ) -> Result<Admitted, Fault> {
        let operation = call.body.operation();
        self.check_version(call)?;
        if let Some(action) = request.header("soapaction") {
            let action = action.trim_matches('"').rsplit('/').next().unwrap_or_default();
            if !action.is_empty() && action != operation.as_str() {
                return Err(Fault::new(Code::ErrorInvalidRequest));
            }
        }
        let (mailbox, impersonated, primary_smtp) = self.access(caller, call)?;
        let meant = if impersonated.is_none() { self.named_mailbox(&call.body).or(mailbox) } else { mailbox };
        self.check_headers(request, operation, meant, anchor.as_deref());
        let budget = impersonated.map_or(BudgetKey::Account(caller.account), BudgetKey::Copy);
        let context = Context {
            now,
            conn,
            caller,
            mailbox,
            budget,
            back_end,
            anchor,
            pinned: request.cookie("X-BackEndOverrideCookie").is_some(),
            primary_smtp,
            version: call.version,
        };
        self.note_asked(&context, &call.body);
        let admitted = self.throttle(now.time, conn, budget, operation);
        // Refused at the door, a call takes nobody's place.
        let charged = admitted.is_ok().then_some(budget);
        if operation == Operation::GetStreamingEvents {
            self.note_answer(conn);
        } else {
            let told = self.told.get(&budget).filter(|_| admitted.is_err());
            self.watch_rush(now.time, conn, told.map(|told| told.until));
        }
        let slow = meant.and_then(|mailbox| self.slow.get(&mailbox)).copied();
        if slow == Some(None) && admitted.is_ok() {
            self.stats.calls_hung += 1;
            return Ok(Admitted { done: Done::Never, charged, late: Span::ZERO });
        }
        let late = slow.flatten().unwrap_or(Span::ZERO);
        self.stats.calls_slow += u64::from(late > Span::ZERO);
        let refused = admitted.and_then(|()| self.ordered(&context, &call.body).map_or(Ok(()), Err));
        let done = match refused {
            Ok(()) => self.operate(&context, &call.body),
            Err(Refusal::Fault(fault)) => Done::Fault(fault),
            Err(Refusal::Message(failure)) if operation == Operation::GetStreamingEvents => {
                self.stats.respond(operation, failure.code);
                Done::StreamBody(self.error_envelope(&failure, &[]))
            }
            Err(Refusal::Message(failure)) => {
                // A batch has one message for each of its items.
                let count = match &call.body {
                    Body::GetItem { ids, .. } => ids.len(),
                    Body::ConvertId { ids } => ids.len(),
                    Body::GetFolder { folders, .. } => folders.len(),
                    Body::FindItem(find) => find.folders.len(),
                    Body::Subscribe(_)
                    | Body::Unsubscribe { .. }
                    | Body::GetStreamingEvents { .. }
                    | Body::SyncFolderItems(_) => 1,
                };
                let mut messages = String::new();
                for _ in 0..count {
                    self.stats.respond(operation, failure.code);
                    push_failure(&mut messages, operation, &failure, "");
                }
                Done::Messages(messages)
            }
        };
        Ok(Admitted { done, charged, late })
    }

    fn check_version(&self, call: &Call) -> Result<(), Fault> {
        let version = call.version.unwrap_or(Version::Exchange2007);
        if version > self.config.version_max {
            return Err(Fault::new(self.config.version_too_new));
        }
        let (needed, shape) = match &call.body {
            Body::Subscribe(_) | Body::GetStreamingEvents { .. } => (Version::Exchange2010_SP1, None),
            Body::Unsubscribe { .. } | Body::GetFolder { .. } | Body::ConvertId { .. } => {
                (Version::Exchange2007, None)
            }
            Body::GetItem { shape, .. } => (Version::Exchange2007, Some(shape)),
            Body::FindItem(find) => (Version::Exchange2007, Some(&find.shape)),
            Body::SyncFolderItems(sync) => (Version::Exchange2007, Some(&sync.shape)),
        };
        if version < needed {
            return Err(Fault::new(Code::ErrorInvalidServerVersion));
        }
        if shape.is_some_and(|shape| version < shape.version_min) {
            return Err(Fault::new(Code::ErrorIncorrectSchemaVersion));
        }
        Ok(())
    }

    /// On whose mailbox the call acts, who is impersonated, and whether by `PrimarySmtpAddress`.
    fn access(
        &self,
        caller: Caller,
        call: &Call,
    ) -> Result<(Option<MailboxKey>, Option<MailboxKey>, bool), Fault> {
        let account = &self.accounts[usize::from(caller.account.0)].spec;
        let Some(impersonation) = &call.impersonation else {
            if caller.must_impersonate {
                return Err(Fault::new(Code::ErrorInvalidExchangeImpersonationHeaderData));
            }
            return Ok((account.mailbox, None, false));
        };
        let by_address = |address: &str| self.addresses.get(&address.to_ascii_lowercase()).copied();
        let (target, primary_smtp) = match impersonation {
            Impersonation::PrincipalName(name) => {
                let target = self.principals.get(&name.to_ascii_lowercase()).copied();
                (target.ok_or_else(|| Fault::new(Code::ErrorInvalidUserPrincipalName))?, false)
            }
            Impersonation::Sid => return Err(Fault::new(Code::ErrorInvalidUserSid)),
            Impersonation::SmtpAddress(address) if !address.contains('@') => {
                return Err(Fault::new(Code::ErrorInvalidSmtpAddress));
            }
            Impersonation::SmtpAddress(address) => {
                (by_address(address).ok_or_else(|| Fault::new(Code::ErrorNonExistentMailbox))?.0, false)
            }
            Impersonation::PrimarySmtpAddress(address) => {
                let (target, primary) =
                    by_address(address).ok_or_else(|| Fault::new(Code::ErrorNonExistentMailbox))?;
                if !primary {
                    return Err(Fault::new(Code::ErrorNonPrimarySmtpAddress));
                }
                (target, true)
            }
        };
        if !account.impersonation.covers(target) {
            return Err(Fault::new(Code::ErrorImpersonateUserDenied));
        }
        Ok((Some(target), Some(target), primary_smtp))
    }

    /// The back end that gets the call (reference §4.4): the cookie decides if affinity is asked for, otherwise the
    /// anchor. A new cookie for an anchor that has one already points to the next back end: the front end balances, and
    /// whoever loses the cookie loses the group.
    fn route(
        &mut self,
        request: &HttpRequest,
        caller: Caller,
        operation: Operation,
        headers: &mut Vec<(&'static str, String)>,
    ) -> (usize, Option<Box<str>>) {
        let count = self.config.back_ends.len();
        let anchor: Option<Box<str>> =
            request.header("x-anchormailbox").map(|anchor| anchor.to_ascii_lowercase().into());
        let home = anchor
            .as_ref()
            .and_then(|anchor| self.addresses.get(&**anchor))
            .map(|(mailbox, _)| self.box_of(*mailbox).spec.back_end)
            .unwrap_or(self.accounts[usize::from(caller.account.0)].spec.back_end.min(count - 1));
        let prefers =
            request.header("x-preferserveraffinity").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        if !prefers || !operation.needs_affinity() {
            headers.push(("X-CalculatedBETarget", self.config.back_ends[home].clone()));
            return (home, anchor);
        }
        let pinned = request.cookie("X-BackEndOverrideCookie").and_then(|cookie| {
            let (name, number) = cookie.split_once('~')?;
            let back_end = self.config.back_ends.iter().position(|one| one == name)?;
            (self.generations[back_end].to_string() == number).then_some(back_end)
        });
        let back_end = pinned.unwrap_or_else(|| {
            let given = self.cookies.entry(anchor.clone().unwrap_or_default()).or_default();
            let back_end = (home + *given) % count;
            *given += 1;
            let name = &self.config.back_ends[back_end];
            let number = self.generations[back_end];
            let session = self.rng.uuid_v4();
            headers.push(("Set-Cookie", format!("exchangecookie={session:032x}; path=/; HttpOnly")));
            headers.push((
                "Set-Cookie",
                format!("X-BackEndOverrideCookie={name}~{number}; path=/; secure; HttpOnly"),
            ));
            back_end
        });
        headers.push(("X-CalculatedBETarget", self.config.back_ends[back_end].clone()));
        (back_end, anchor)
    }

    /// The mailbox that a call names by itself: explicitly beside a folder, or by an id.
    fn named_mailbox(&self, body: &Body) -> Option<MailboxKey> {
        let by_id = |text: &str| Some(self.box_by_guid(StoreId::parse(text)?.mailbox)?.key);
        let by_folder = |folder: &FolderRef| match folder {
            FolderRef::Id(text) => by_id(text),
            FolderRef::Distinguished { mailbox, .. } => {
                Some(self.addresses.get(&mailbox.as_ref()?.to_ascii_lowercase())?.0)
            }
        };
        match body {
            Body::GetItem { ids, .. } => by_id(&ids.first()?.id),
            Body::GetFolder { folders, .. } => by_folder(folders.first()?),
            Body::FindItem(find) => by_folder(find.folders.first()?),
            Body::SyncFolderItems(sync) => by_folder(&sync.folder),
            Body::ConvertId { .. }
            | Body::Subscribe(_)
            | Body::Unsubscribe { .. }
            | Body::GetStreamingEvents { .. } => None,
        }
    }

    /// Records headers that a client must send and did not, or must not and did.
    fn check_headers(
        &mut self,
        request: &HttpRequest,
        operation: Operation,
        mailbox: Option<MailboxKey>,
        anchor: Option<&str>,
    ) {
        if !self.config.strict.headers {
            return;
        }
        let name = operation.as_str();
        let affinity = operation.needs_affinity();
        let compresses = request
            .header("accept-encoding")
            .is_some_and(|v| v.split(',').any(|one| !one.trim().eq_ignore_ascii_case("identity")));
        match anchor {
            None => self.violations.add(format!("{name} without X-AnchorMailbox")),
            Some(anchor) => {
                let anchored = self.addresses.get(anchor).map(|(key, _)| *key);
                if anchored.is_none() && !self.former.contains_key(anchor) {
                    self.violations.add(format!("{name} with an X-AnchorMailbox that is no mailbox"));
                } else if !affinity && anchored.is_some() && anchored != mailbox {
                    self.violations.add(format!("{name} with the X-AnchorMailbox of another mailbox"));
                }
            }
        }
        if affinity && request.header("x-preferserveraffinity").is_none() {
            self.violations.add(format!("{name} without X-PreferServerAffinity"));
        }
        if request.header("x-backendoverridecookie").is_some() {
            self.violations.add(format!("{name} with the affinity cookie as a header"));
        }
        if !affinity && request.cookie("X-BackEndOverrideCookie").is_some() {
            self.violations.add(format!("{name} with an affinity cookie, which only a group's calls carry"));
        }
        if operation == Operation::GetStreamingEvents && compresses {
            self.violations.add(format!("{name} with Accept-Encoding: a stream must not be compressed"));
        }
        if request.header("user-agent").is_none() {
            self.violations.add(format!("{name} without User-Agent"));
        }
    }

    /// Echoes the client's correlation id, and says ours.
    fn correlate(&mut self, conn: PeerConn, request: &HttpRequest) -> Vec<(&'static str, String)> {
        let ours = self.rng.uuid_v4();
        let mut headers = vec![("request-id", String::from_utf8_lossy(&guid_text(ours)).into_owned())];
        let strict = self.config.strict.headers && request.method == "POST";
        match request.header("client-request-id") {
            Some(theirs) => {
                if request.header("return-client-request-id").is_some_and(|v| v.eq_ignore_ascii_case("true"))
                {
                    headers.push(("client-request-id", theirs.to_owned()));
                }
                if let Some(row) = self.conns.get_mut(&conn) {
                    if strict && row.last_request_id == theirs {
                        self.violations.add("a client-request-id is used twice".to_owned());
                    }
                    theirs.clone_into(&mut row.last_request_id);
                }
            }
            None if strict => self.violations.add("a call without client-request-id".to_owned()),
            None => {}
        }
        headers
    }

    fn challenge(&self, invalid_token: bool) -> HttpReply {
        let mut reply = HttpReply { body: Vec::new(), ..HttpReply::page(401, "") };
        if self.config.basic {
            reply = reply.with("WWW-Authenticate", format!("Basic realm=\"{}\"", self.config.host));
        }
        if self.config.bearer {
            let realm =
                "client_id=\"00000002-0000-0ff1-ce00-000000000000\", token_types=\"app_asserted_user_v1\"";
            let error = if invalid_token { ", error=\"invalid_token\"" } else { "" };
            reply = reply.with("WWW-Authenticate", format!("Bearer {realm}{error}"));
        }
        if self.config.windows_auth {
            for scheme in ["Negotiate", "NTLM"] {
                reply = reply.with("WWW-Authenticate", scheme);
            }
        }
        reply
    }

    fn authenticate(&mut self, now: Now, conn: PeerConn, request: &HttpRequest) -> Result<Caller, HttpReply> {
        let certificate = self.conns.get(&conn).and_then(|row| row.hello.certificate.clone());
        match self.config.certificate {
            CertificateRule::Ignored => {}
            CertificateRule::Required if certificate.is_none() => {
                return Err(HttpReply::page(403, "403.7 - Client certificate required"));
            }
            CertificateRule::Required => {}
            CertificateRule::Mapped => {
                let found = certificate.and_then(|der| {
                    self.accounts.iter().position(|row| row.spec.certificate.as_ref() == Some(&der))
                });
                if let Some(at) = found {
                    return self.allow(AccountKey(at as u16), false);
                }
            }
        }
        let Some(credential) = request.header("authorization") else {
            self.stats.refused += 1;
            return Err(self.challenge(false));
        };
        let found = match credential.split_once(' ') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("basic") && self.config.basic => {
                self.log_in(rest.trim())
            }
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") && self.config.bearer => {
                match self.token(now, rest.trim()) {
                    Ok(caller) => Some(caller),
                    Err(reply) => {
                        self.note_refused(now, conn, credential);
                        return Err(reply);
                    }
                }
            }
            _ => None,
        };
        match found {
            Some(caller) => {
                self.refused.remove(credential);
                self.taken.insert(credential.to_owned(), 0);
                self.allow(caller.account, caller.must_impersonate)
            }
            None => {
                self.note_refused(now, conn, credential);
                Err(self.challenge(false))
            }
        }
    }

    fn allow(&self, account: AccountKey, must_impersonate: bool) -> Result<Caller, HttpReply> {
        if self.accounts[usize::from(account.0)].spec.ews_enabled {
            Ok(Caller { account, must_impersonate })
        } else {
            Err(HttpReply::page(403, "403 - Forbidden: Access is denied."))
        }
    }

    fn log_in(&mut self, encoded: &str) -> Option<Caller> {
        let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (name, password) = decoded.split_once(':')?;
        let account = *self.account_names.get(&name.to_ascii_lowercase())?;
        let row = &mut self.accounts[usize::from(account.0)];
        if row.locked {
            return None;
        }
        let known = [row.spec.password.as_deref(), row.earlier_password.as_deref()];
        if known.contains(&Some(password)) {
            row.failures = 0;
            return Some(Caller { account, must_impersonate: false });
        }
        row.failures += 1;
        row.locked = self.config.lockout_failures.is_some_and(|max| row.failures >= max);
        None
    }

    fn token(&self, now: Now, token: &str) -> Result<Caller, HttpReply> {
        let refuse = |number: &str, why: &str| {
            self.challenge(true).with(
                "x-ms-diagnostics",
                format!("{number};reason=\"{why}\";error_category=\"invalid_token\""),
            )
        };
        for (at, row) in self.accounts.iter().enumerate() {
            let Some((_, kind, expires)) = row.spec.tokens.iter().find(|(one, _, _)| one == token) else {
                continue;
            };
            if expires.is_some_and(|expires| expires <= now.unix) {
                return Err(refuse("2000002", "The token has expired"));
            }
            return Ok(Caller {
                account: AccountKey(at as u16),
                must_impersonate: *kind == TokenKind::AppOnly,
            });
        }
        Err(refuse("2000000", "The token has an invalid signature"))
    }

    /// Counts a refused credential, and records whoever keeps trying it.
    fn note_refused(&mut self, now: Now, conn: PeerConn, credential: &str) {
        // It left before the refusal of another was heard.
        let late = self.is_late(conn);
        self.stats.refused += 1;
        let rules = &self.config.strict;
        let looked_at = self.config.basic || self.config.bearer;
        let refused = Refused { first: now.time, last: now.time, soon: 0, by: conn };
        let row = self.refused.entry(credential.to_owned()).or_insert(refused);
        let rested = now.time.since(row.last);
        let soon = SOON.get(row.soon).filter(|_| self.taken.contains_key(credential));
        if rested >= rules.refused_credential_rest {
            row.first = now.time;
        } else if now.time > row.first + rules.refused_credential_grace && !late && looked_at {
            match soon {
                Some(rest) if rested >= *rest => {
                    row.soon += 1;
                    row.first = now.time;
                }
                Some(_) | None => {
                    let after_ms = rested.as_millis();
                    self.violations.add(format!("a refused credential is tried again after {after_ms} ms"));
                }
            }
        }
        row.last = now.time;
        row.by = conn;
        self.count_refusal(credential);
    }

    /// A credential that was taken before is refused, whether it is wrong by now or not: whoever asks cannot tell.
    fn count_refusal(&mut self, credential: &str) {
        if !self.config.basic && !self.config.bearer {
            // Nobody has looked at it.
            return;
        }
        let Some(count) = self.taken.get_mut(credential) else { return };
        *count += 1;
        if *count == REFUSALS_MAX {
            self.violations
                .add(format!("a credential was used {count} times in a row although it was refused"));
        }
    }

    fn overridden(&mut self, now: Now, conn: PeerConn, credential: &str, order: &Override) -> HttpReply {
        let mut later = |reply: HttpReply, retry_after_s: Option<u32>| match retry_after_s {
            Some(s) => {
                self.note_sent_away(now.time, conn, credential, Span::from_secs(s.into()));
                reply.with("Retry-After", s.to_string())
            }
            None => reply,
        };
        match order {
            Override::Unavailable { retry_after_s } => {
                later(HttpReply::page(503, "Service Unavailable"), *retry_after_s)
            }
            Override::TooManyRequests { retry_after_s } => {
                later(HttpReply::page(429, "429 - Too Many Requests."), *retry_after_s)
            }
            Override::Forbidden { retry_after_s } => {
                later(HttpReply::page(403, "403 - Forbidden: Access is denied."), *retry_after_s)
            }
            Override::InternalError { retry_after_s } => {
                later(HttpReply::page(500, "500 - Internal server error."), *retry_after_s)
            }
            Override::Status(status) => {
                if matches!(status, 401 | 440 | 456) {
                    self.count_refusal(credential);
                }
                HttpReply::page(*status, "The page cannot be displayed")
            }
            Override::Unauthorized => {
                self.count_refusal(credential);
                self.challenge(false)
            }
            Override::Fault(code) => self.fault(&Fault::new(*code)),
            Override::LogonRedirect => {
                let url = format!("https://{}/owa/auth/logon.aspx?replaceCurrent=1", self.config.host);
                HttpReply::page(302, "Object moved").with("Location", url)
            }
            Override::Html => HttpReply::page(200, "Outlook"),
            Override::MalformedXml => HttpReply::xml(
                200,
                "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><m:X</s:Body>",
            ),
            Override::Oversized(bytes) => {
                let filler = "x".repeat(*bytes);
                HttpReply::xml(200, ordinary(Operation::GetItem, &self.info, &filler))
            }
        }
    }
}
