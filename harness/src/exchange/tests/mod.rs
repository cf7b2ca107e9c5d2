//! Drives the server in memory with raw HTTP.

mod faults;
mod http;
mod limits;
mod round_trip;
mod store;
mod streams;
mod strict;

use carillon_core::time::{Now, Span, Time, UnixMillis};

use super::*;
use crate::peer::{Close, Hello, Peer, PeerConn};

const NAMESPACES: &str = "xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
    xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\" \
    xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\"";

/// The server, a clock, and what goes with it.
struct Lab {
    exchange: Exchange,
    now: Now,
    service: AccountKey,
    next_conn: u64,
    next_request: u64,
    /// `X-BackEndOverrideCookie`, once the server gave one.
    cookie: Option<String>,
    /// Further header lines for the next call.
    extra: String,
    password: String,
}

#[derive(Clone, Debug)]
struct Got {
    status: u16,
    head: String,
    body: String,
}

impl Got {
    fn parse(bytes: &[u8]) -> Got {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
        let status = head[9..12].parse().unwrap();
        let body = if head.contains("Transfer-Encoding: chunked") { dechunk(body) } else { body.to_owned() };
        Got { status, head: head.to_owned(), body }
    }

    /// The text of the first element with this name.
    fn text(&self, name: &str) -> Option<String> {
        all_text(&self.body, name).into_iter().next()
    }

    fn code(&self) -> String {
        self.text("ResponseCode").unwrap_or_default()
    }

    #[track_caller]
    fn is(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.body);
    }
}

fn all_text(body: &str, name: &str) -> Vec<String> {
    let pattern = format!(":{name}");
    body.match_indices(&pattern)
        .filter(|(at, _)| {
            let start = body[..*at].rfind('<').unwrap();
            body[start + 1..*at].chars().all(char::is_alphanumeric) && !body[start..].starts_with("</")
        })
        .filter_map(|(at, _)| {
            let rest = &body[at + pattern.len()..];
            let rest = rest.strip_prefix('>').or_else(|| Some(rest.strip_prefix(' ')?.split_once('>')?.1))?;
            Some(rest[..rest.find("</")?].to_owned())
        })
        .collect()
}

/// The body of a chunked response as far as it came; `∎` where it ended.
fn dechunk(mut text: &str) -> String {
    let mut body = Vec::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return String::from_utf8(body).unwrap();
        }
        body.extend_from_slice(&rest.as_bytes()[..size]);
        text = rest.get(size + 2..).unwrap();
    }
    String::from_utf8(body).unwrap()
}

fn soap_as(version: &str, header: &str, body: &str) -> String {
    let version = if version.is_empty() {
        String::new()
    } else {
        format!("<t:RequestServerVersion Version=\"{version}\"/>")
    };
    format!(
        "<s:Envelope {NAMESPACES}><s:Header>{version}{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )
}

fn impersonate(address: &str) -> String {
    format!(
        "<t:ExchangeImpersonation><t:ConnectingSID><t:SmtpAddress>{address}</t:SmtpAddress></t:ConnectingSID>\
         </t:ExchangeImpersonation>"
    )
}

const EVENTS: &str = "<t:EventTypes><t:EventType>NewMailEvent</t:EventType><t:EventType>CreatedEvent</t:EventType>\
    <t:EventType>ModifiedEvent</t:EventType><t:EventType>MovedEvent</t:EventType>\
    <t:EventType>DeletedEvent</t:EventType></t:EventTypes>";

fn subscribe_body(folders: &str) -> String {
    format!(
        "<m:Subscribe><m:StreamingSubscriptionRequest><t:FolderIds>{folders}</t:FolderIds>{EVENTS}\
         </m:StreamingSubscriptionRequest></m:Subscribe>"
    )
}

const INBOX_ID: &str = "<t:DistinguishedFolderId Id=\"inbox\"/>";

fn stream_body(ids: &[String], minutes: &str) -> String {
    let ids: String = ids.iter().map(|id| format!("<t:SubscriptionId>{id}</t:SubscriptionId>")).collect();
    format!(
        "<m:GetStreamingEvents><m:SubscriptionIds>{ids}</m:SubscriptionIds><m:ConnectionTimeout>{minutes}\
         </m:ConnectionTimeout></m:GetStreamingEvents>"
    )
}

fn get_item_body(ids: &[&str]) -> String {
    let ids: String = ids.iter().map(|id| format!("<t:ItemId Id=\"{id}\"/>")).collect();
    format!(
        "<m:GetItem><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>\
         <t:FieldURI FieldURI=\"item:Subject\"/><t:FieldURI FieldURI=\"item:Preview\"/>\
         <t:FieldURI FieldURI=\"message:From\"/></t:AdditionalProperties></m:ItemShape><m:ItemIds>{ids}</m:ItemIds>\
         </m:GetItem>"
    )
}

const GET_FOLDER: &str = "<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>\
    <t:FieldURI FieldURI=\"folder:UnreadCount\"/></t:AdditionalProperties></m:FolderShape><m:FolderIds>\
    <t:DistinguishedFolderId Id=\"inbox\"/></m:FolderIds></m:GetFolder>";

const ANNA: MailboxKey = MailboxKey(0);
const BEN: MailboxKey = MailboxKey(1);

impl Lab {
    fn new() -> Lab {
        Lab::with(ExchangeConfig::default())
    }

    fn with(config: ExchangeConfig) -> Lab {
        let count = config.back_ends.len();
        let mut exchange = Exchange::new(config);
        let service = exchange.add_account(Account::service("EXAMPLE\\carillon", "secret"));
        for (at, name) in ["anna", "ben", "cleo", "dora"].into_iter().enumerate() {
            exchange.add_mailbox(MailboxSpec {
                address: format!("{name}@example.com"),
                proxies: vec![format!("{name}.old@example.com")],
                back_end: at.min(count - 1) * usize::from(at == 3),
                ..MailboxSpec::default()
            });
        }
        Lab {
            exchange,
            now: Now { time: Time(1_000_000), unix: UnixMillis(1_700_000_000_000) },
            service,
            next_conn: 0,
            next_request: 0,
            cookie: None,
            extra: String::new(),
            password: "secret".to_owned(),
        }
    }

    fn wait(&mut self, span: Span) {
        let until = self.now.time + span;
        while let Some(due) = self.exchange.next_deadline().filter(|due| *due <= until) {
            self.set_time(due.max(self.now.time));
            self.exchange.tick(self.now);
        }
        self.set_time(until);
        self.exchange.tick(self.now);
    }

    fn set_time(&mut self, time: Time) {
        self.now.unix.0 += time.since(self.now.time).as_millis();
        self.now.time = time;
    }

    fn connect(&mut self) -> PeerConn {
        self.next_conn += 1;
        let conn = PeerConn(self.next_conn);
        self.exchange.accepted(self.now, conn, Hello { client: "127.0.0.1".to_owned(), ..Hello::default() });
        conn
    }

    /// Takes all that the server has to say on a connection.
    fn read(&mut self, conn: PeerConn) -> (Vec<u8>, Option<Close>) {
        let mut out = Vec::new();
        loop {
            let output = self.exchange.drain(self.now, conn, &mut out, 64 * 1024);
            if !output.more || output.close.is_some() {
                return (out, output.close);
            }
        }
    }

    fn read_text(&mut self, conn: PeerConn) -> String {
        String::from_utf8(self.read(conn).0).unwrap()
    }

    fn head(&mut self, anchor: &str, affinity: bool) -> String {
        use base64::Engine as _;
        let credential =
            base64::engine::general_purpose::STANDARD.encode(format!("EXAMPLE\\carillon:{}", self.password));
        self.next_request += 1;
        let mut head = format!(
            "POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: mail.example.com\r\nContent-Type: text/xml; charset=utf-8\r\n\
             User-Agent: test\r\nAuthorization: Basic {credential}\r\nclient-request-id: {}\r\n\
             X-AnchorMailbox: {anchor}\r\n{}",
            self.next_request,
            std::mem::take(&mut self.extra),
        );
        if affinity {
            head.push_str("X-PreferServerAffinity: true\r\n");
            if let Some(cookie) = &self.cookie {
                head.push_str(&format!("Cookie: X-BackEndOverrideCookie={cookie}\r\n"));
            }
        }
        head
    }

    fn send(&mut self, conn: PeerConn, head: &str, body: &str) {
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        self.exchange.received(self.now, conn, request.as_bytes());
    }

    /// A call on its own connection.
    fn post(&mut self, head: &str, body: &str) -> Got {
        let conn = self.connect();
        self.send(conn, head, body);
        let (bytes, closed) = self.read(conn);
        if closed.is_none() {
            self.exchange.closed(self.now, conn);
        }
        let got = Got::parse(&bytes);
        if let Some((_, rest)) = got.head.split_once("X-BackEndOverrideCookie=") {
            self.cookie = rest.split(';').next().map(str::to_owned);
        }
        got
    }

    /// An ordinary call for a mailbox.
    fn call(&mut self, address: &str, body: &str) -> Got {
        let head = self.head(address, false);
        self.post(&head, &soap_as("Exchange2013_SP1", &impersonate(address), body))
    }

    /// A call with affinity to the group of `anna`.
    fn group_call(&mut self, address: &str, body: &str) -> Got {
        let head = self.head("anna@example.com", true);
        self.post(&head, &soap_as("Exchange2013_SP1", &impersonate(address), body))
    }

    #[track_caller]
    fn subscribe(&mut self, address: &str) -> String {
        let got = self.group_call(address, &subscribe_body(INBOX_ID));
        got.is(200, "NoError");
        got.text("SubscriptionId").unwrap()
    }

    /// Opens a stream and leaves it open.
    fn open(&mut self, ids: &[String]) -> PeerConn {
        self.open_as("anna@example.com", ids)
    }

    fn open_as(&mut self, address: &str, ids: &[String]) -> PeerConn {
        let conn = self.connect();
        let head = self.head("anna@example.com", true);
        let body = soap_as("Exchange2013_SP1", &impersonate(address), &stream_body(ids, "30"));
        self.send(conn, &head, &body);
        conn
    }

    /// A stream of `addresses` with its opening read.
    fn streaming(&mut self, addresses: &[&str]) -> (PeerConn, Vec<String>) {
        let ids: Vec<String> = addresses.iter().map(|address| self.subscribe(address)).collect();
        let conn = self.open(&ids);
        let opening = Got::parse(&self.read(conn).0);
        assert_eq!(
            (opening.status, opening.text("ConnectionStatus").as_deref()),
            (200, Some("OK")),
            "{opening:?}"
        );
        (conn, ids)
    }

    fn deliver(&mut self, mailbox: MailboxKey) -> String {
        let mail = Mail {
            subject: "Lunch?".to_owned(),
            body: "At noon, as usual.".to_owned(),
            sender: Sender {
                name: "Zoë".to_owned(),
                address: "zoe@example.net".to_owned(),
                routing: Routing::Smtp,
            },
            ..Mail::default()
        };
        self.exchange.deliver(self.now, mailbox, mail)
    }

    /// What a stream says now, without chunk framing.
    fn news(&mut self, conn: PeerConn) -> String {
        let text = self.read_text(conn);
        dechunk(&text)
    }

    #[track_caller]
    fn is_clean(&self) {
        assert_eq!(self.exchange.violations(), &[] as &[String]);
    }

    #[track_caller]
    fn violated(&self, what: &str) {
        let list = self.exchange.violations();
        assert!(list.iter().any(|one| one.contains(what)), "{what:?} is not in {list:?}");
    }
}

fn two_back_ends() -> ExchangeConfig {
    ExchangeConfig {
        back_ends: vec!["ex1.example.com".to_owned(), "ex2.example.com".to_owned()],
        ..ExchangeConfig::default()
    }
}
