//! The simulated Exchange, as far as it reads what a client sends: the front that cuts and checks requests, and the calls
//! themselves. Input: how to cut (1 byte), then requests, each with how it is made and its length.

use carillon_core::http1::{ResponseReader, Step};
use carillon_core::time::{Now, Span, Time, UnixMillis};
use carillon_harness::exchange::{Account, Exchange, ExchangeConfig, Mail, MailboxKey, MailboxSpec};
use carillon_harness::peer::{Hello, Peer, PeerConn};
use quick_xml::events::Event;

use crate::input::{Input, cut};

/// Requests that come in pieces or whole are answered alike, and each answer is one that a client can read.
pub fn check(data: &[u8]) {
    let Some((how, script)) = data.split_first() else { return };
    let whole = lived(0, script);
    // Byte by byte takes ten times as long, and pieces of all sizes have such of one byte among them.
    if *how > 1 {
        assert_eq!(String::from_utf8_lossy(&whole), String::from_utf8_lossy(&lived(*how, script)));
    }
    read_answers(&whole);
}

/// All that the server says on one connection, but for `100 Continue`: who sends the whole is not told to go on.
fn lived(how: u8, script: &[u8]) -> Vec<u8> {
    let mut lab = Lab::new();
    let mut input = Input::new(script);
    for _ in 0..REQUESTS_MAX {
        if input.is_empty() || lab.closed {
            break;
        }
        let request = lab.request(&mut input);
        for piece in cut(how, &request) {
            lab.exchange.received(lab.now, CONN, piece);
        }
        lab.hear();
        if input.flag() {
            lab.pass(Span::from_secs(40));
        }
    }
    lab.said
}

const CONN: PeerConn = PeerConn(1);
const REQUESTS_MAX: usize = 8;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

struct Lab {
    exchange: Exchange,
    now: Now,
    said: Vec<u8>,
    closed: bool,
    item: String,
}

impl Lab {
    fn new() -> Lab {
        let now = Now { time: Time(1_000_000), unix: UnixMillis(1_700_000_000_000) };
        let mut exchange = Exchange::new(ExchangeConfig::default());
        exchange.add_account(Account::service("svc", "secret"));
        for name in ["anna", "ben"] {
            let address = format!("{name}@example.com");
            let proxies = vec![format!("{name}.old@example.com")];
            exchange.add_mailbox(MailboxSpec { address, proxies, ..MailboxSpec::default() });
        }
        let mail = Mail { subject: "<b>&\u{1}".to_owned(), body: "Hello".to_owned(), ..Mail::default() };
        let item = exchange.deliver(now, MailboxKey(0), mail);
        exchange.accepted(now, CONN, Hello { client: "192.0.2.1".to_owned(), ..Hello::default() });
        Lab { exchange, now, said: Vec::new(), closed: false, item }
    }

    /// As it is, or with a head (and envelope) that gets it as far as its content deserves.
    fn request(&self, input: &mut Input<'_>) -> Vec<u8> {
        let how = input.u8();
        let len = usize::from(input.u16() % 2_048);
        let bytes = self.filled_in(input.bytes(len));
        if how.is_multiple_of(4) {
            return bytes;
        }
        let extra = if how & 4 == 4 { input.text().into_bytes() } else { Vec::new() };
        let body = if how % 4 == 1 { bytes } else { envelope(how, &bytes) };
        let mut request =
            b"POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: mail.example.com\r\nContent-Type: text/xml\r\n\
            Authorization: Basic c3ZjOnNlY3JldA==\r\nX-AnchorMailbox: anna@example.com\r\n"
                .to_vec();
        if how & 8 == 8 {
            request.extend_from_slice(b"X-PreferServerAffinity: true\r\nExpect: 100-continue\r\n");
        }
        request.extend_from_slice(&extra);
        if how & 16 == 16 {
            request.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(1 + usize::from(how)) {
                request.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
                request.extend_from_slice(chunk);
                request.extend_from_slice(b"\r\n");
            }
            request.extend_from_slice(b"0\r\n\r\n");
        } else {
            request.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            request.extend_from_slice(&body);
        }
        request
    }

    /// Bytes that XML cannot have stand for what the server gave: ids of a subscription and a mail, a state.
    fn filled_in(&self, bytes: &[u8]) -> Vec<u8> {
        let given = |byte: u8| match byte {
            1 => self.last("SubscriptionId"),
            2 => self.item.clone(),
            _ => self.last("SyncState"),
        };
        let mut filled = Vec::with_capacity(bytes.len());
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                // Once each: many would only be long.
                1..=3 if !bytes[..at].contains(byte) => filled.extend_from_slice(given(*byte).as_bytes()),
                other => filled.push(*other),
            }
        }
        filled
    }

    /// The text of the last such element that was said.
    fn last(&self, name: &str) -> String {
        let said = String::from_utf8_lossy(&self.said);
        let begin = format!("{name}>");
        let inner = said.rsplit(&*begin).find_map(|behind| behind.split_once("</").map(|(inner, _)| inner));
        inner.unwrap_or_default().to_owned()
    }

    fn hear(&mut self) {
        let mut heard = Vec::new();
        loop {
            let output = self.exchange.drain(self.now, CONN, &mut heard, 64 * 1024);
            self.closed |= output.close.is_some();
            if !output.more || self.closed {
                break;
            }
        }
        while let Some(at) = heard.windows(CONTINUE.len()).position(|window| window == CONTINUE) {
            heard.drain(at..at + CONTINUE.len());
        }
        self.said.append(&mut heard);
    }

    fn pass(&mut self, span: Span) {
        let until = self.now.time + span;
        while let Some(due) = self.exchange.next_deadline().filter(|due| *due <= until) {
            self.set_time(due.max(self.now.time));
            self.exchange.tick(self.now);
            assert!(self.exchange.next_deadline().is_none_or(|next| next > due), "what was due is done");
            self.hear();
        }
        self.set_time(until);
    }

    fn set_time(&mut self, time: Time) {
        self.now.unix.0 += time.since(self.now.time).as_millis();
        self.now.time = time;
    }
}

fn envelope(how: u8, body: &[u8]) -> Vec<u8> {
    const VERSIONS: [&str; 4] = ["Exchange2013_SP1", "Exchange2007", "Exchange2016", "Exchange2010_SP1"];
    let version = VERSIONS[usize::from(how >> 5) % 4];
    let mut envelope = format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\" \
         xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\"><s:Header>\
         <t:RequestServerVersion Version=\"{version}\"/>"
    );
    // The rest of the header is the script's own, if it has one.
    let own_header = body.starts_with(b"<t:");
    if !own_header {
        envelope.push_str(
            "<t:ExchangeImpersonation><t:ConnectingSID><t:SmtpAddress>anna@example.com</t:SmtpAddress>\
             </t:ConnectingSID></t:ExchangeImpersonation></s:Header><s:Body>",
        );
    }
    [envelope.as_bytes(), body, b"</s:Body></s:Envelope>"].concat()
}

/// Whole answers, one after the other, and XML where they say that it is.
fn read_answers(mut said: &[u8]) {
    let mut reader = ResponseReader::new();
    let (mut head, mut body) = (None, Vec::new());
    loop {
        match reader.step(&mut said) {
            Ok(Step::Head(next)) => {
                assert!(matches!(next.status, 200 | 302 | 400..=405 | 411 | 413 | 415 | 429 | 500..=503));
                head = Some(next);
            }
            Ok(Step::Body(bytes)) => body.extend_from_slice(bytes),
            Ok(Step::More) => return,
            Ok(Step::End) => {
                let Some(head) = head.take() else { panic!("an end without a beginning") };
                if &*head.content_type == "text/xml" {
                    well_formed(&body);
                }
                body.clear();
                reader = ResponseReader::new();
            }
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(said)),
        }
    }
}

/// A stream's body holds several documents, one after the other.
fn well_formed(body: &[u8]) {
    let text = std::str::from_utf8(body).expect("XML of ours is UTF-8");
    for document in text.split("<?xml").filter(|document| !document.trim().is_empty()) {
        let (_, document) = document.split_once("?>").unwrap_or(("", document));
        let mut reader = quick_xml::Reader::from_str(document);
        loop {
            match reader.read_event() {
                Ok(Event::Eof) => break,
                Ok(Event::Text(text)) => {
                    let plain = |c: char| c >= ' ' || matches!(c, '\t' | '\n' | '\r');
                    assert!(text.xml10_content().chars().all(plain), "{document}");
                }
                Ok(_) => {}
                Err(error) => panic!("{error}: {document}"),
            }
        }
    }
}
