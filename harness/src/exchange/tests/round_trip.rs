//! Carillon's own client against this server.

use carillon_core::ews::{
    Action, Caller, MailEvent, Route, SchemaVersion, StreamBreak, StreamConn, StreamEvent, http_request,
    request, response,
};
use carillon_core::http1::{CallConn, Cookies, Response};
use carillon_core::names::{FolderId, ItemId, SmtpAddress, SubscriptionId};
use carillon_core::shard::{Endpoint, EndpointId, MailCredential, MailServer, Protocol};

use super::*;

/// Bytes go to and fro in pieces of this size.
struct Client {
    lab: Lab,
    cookies: Cookies,
    piece: usize,
    ids: u128,
}

fn smtp(address: &str) -> SmtpAddress {
    SmtpAddress::parse(address).unwrap()
}

impl Client {
    fn new(config: ExchangeConfig, piece: usize) -> Client {
        Client { lab: Lab::with(config), cookies: Cookies::default(), piece, ids: 0 }
    }

    fn request(&mut self, route: Route<'_>, body: &[u8]) -> Vec<u8> {
        let endpoint = Endpoint { host: "mail.example.com".into(), port: 443, protocol: Protocol::Http1 };
        let credential =
            MailCredential::Basic { user: "EXAMPLE\\carillon".into(), password: "secret".into() };
        let server = MailServer::new(EndpointId(0), credential);
        self.ids += 1;
        http_request(&endpoint, &server, route, self.ids, body).unwrap()
    }

    fn deliver_to_server(&mut self, conn: PeerConn, bytes: &[u8]) {
        for piece in bytes.chunks(self.piece) {
            self.lab.exchange.received(self.lab.now, conn, piece);
        }
    }

    fn call(&mut self, route: Route<'_>, body: &[u8]) -> Response {
        let bytes = self.request(route, body);
        let conn = self.lab.connect();
        let mut call = CallConn::new();
        call.send(self.lab.now.time, bytes, Span::from_secs(100));
        let mut out = Vec::new();
        while call.drain(&mut out, self.piece) {}
        self.deliver_to_server(conn, &out);
        loop {
            let mut back = Vec::new();
            let output = self.lab.exchange.drain(self.lab.now, conn, &mut back, self.piece);
            call.feed(self.lab.now.time, &back).unwrap();
            if output.close.is_some() {
                call.feed_eof().unwrap();
            }
            if let Some(response) = call.poll() {
                if output.close.is_none() {
                    self.lab.exchange.closed(self.lab.now, conn);
                }
                self.cookies.absorb(&response.head);
                return response;
            }
            assert!(output.more && output.close.is_none(), "the answer is not whole");
        }
    }

    fn group(&mut self, body: &[u8]) -> Response {
        let cookies = self.cookies.as_str().to_owned();
        self.call(Route::Cohort { anchor: &smtp("anna@example.com"), cookies: &cookies }, body)
    }

    fn subscribe(&mut self, address: &str) -> SubscriptionId {
        let who = smtp(address);
        let caller = Caller { version: SchemaVersion::default(), mailbox: &who, impersonate: true };
        let reply = self.group(&request::subscribe(&caller, &[]));
        response::subscribe(response::http(&reply).unwrap()).unwrap()
    }

    fn open(&mut self, ids: &[&SubscriptionId]) -> (PeerConn, StreamConn) {
        let anchor = smtp("anna@example.com");
        let caller = Caller { version: SchemaVersion::default(), mailbox: &anchor, impersonate: true };
        let body = request::get_streaming_events(&caller, ids, 29);
        let cookies = self.cookies.as_str().to_owned();
        let bytes = self.request(Route::Cohort { anchor: &anchor, cookies: &cookies }, &body);
        let idle = Span::from_secs(120);
        let mut stream = StreamConn::open(self.lab.now.time, bytes, idle, Span::from_secs(30 * 60));
        let conn = self.lab.connect();
        let mut out = Vec::new();
        while stream.drain(&mut out, self.piece) {}
        self.deliver_to_server(conn, &out);
        (conn, stream)
    }

    /// Everything that the stream has to say.
    fn events(&mut self, conn: PeerConn, stream: &mut StreamConn) -> Vec<StreamEvent> {
        let mut events = Vec::new();
        loop {
            let mut back = Vec::new();
            let output = self.lab.exchange.drain(self.lab.now, conn, &mut back, self.piece);
            stream.feed(self.lab.now.time, &back);
            if output.close.is_some() {
                stream.feed_eof();
            }
            while let Some(event) = stream.poll() {
                events.push(event);
            }
            if !output.more || output.close.is_some() {
                return events;
            }
        }
    }
}

#[test]
fn a_mail_travels_from_subscription_to_details() {
    for piece in [1, 2, 3, 7, 1_000, usize::MAX] {
        let mut client = Client::new(two_back_ends(), piece);
        let anna = client.subscribe("anna@example.com");
        let dora = client.subscribe("dora@example.com");
        let (conn, mut stream) = client.open(&[&anna, &dora]);
        assert_eq!(client.events(conn, &mut stream), [StreamEvent::Opened]);
        let item = client.lab.exchange.deliver(
            client.lab.now,
            MailboxKey(3),
            Mail {
                subject: "Grüße & <Küsse> 🎉".to_owned(),
                body: "Zeile 1\r\nZeile 2".to_owned(),
                sender: Sender {
                    name: "Jürgen \"J\" O'Neil".to_owned(),
                    address: "j@example.net".to_owned(),
                    routing: Routing::Smtp,
                },
                importance: Importance::High,
                ..Mail::default()
            },
        );
        let events = client.events(conn, &mut stream);
        let [StreamEvent::Notification { subscription, events }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(subscription, &dora);
        let item = ItemId::parse(&item).unwrap();
        let inbox = FolderId::parse(&client.lab.exchange.folder_id(MailboxKey(3), INBOX)).unwrap();
        let at = UnixMillis(client.lab.now.unix.as_secs() * 1_000);
        assert_eq!(events[0], MailEvent::Created { item: item.clone(), parent: inbox.clone(), at });
        assert_eq!(events[1], MailEvent::NewMail { item: item.clone(), parent: inbox.clone(), at });
        let MailEvent::FolderModified { folder, unread: Some(1), .. } = &events[2] else {
            panic!("{events:?}")
        };
        assert_eq!((folder, events.len()), (&inbox, 3));

        let who = smtp("dora@example.com");
        let caller = Caller { version: SchemaVersion::default(), mailbox: &who, impersonate: true };
        let reply = client.call(Route::Mailbox(&who), &request::get_item(&caller, &[&item]));
        let fetched = response::get_item(response::http(&reply).unwrap()).unwrap().remove(0).unwrap();
        assert_eq!(fetched.id, item);
        assert_eq!(&*fetched.details.subject, "Grüße & <Küsse> 🎉");
        assert_eq!(&*fetched.details.sender, "Jürgen \"J\" O'Neil");
        assert_eq!(&*fetched.details.sender_address, "j@example.net");
        assert!(fetched.details.high_importance && !fetched.details.read);

        let reply =
            client.call(Route::Mailbox(&who), &request::find_item_newest(&caller, None, 25, 0, false));
        let page = response::find_item(response::http(&reply).unwrap()).unwrap();
        assert_eq!((page.items.len(), page.last, &page.items[0].id), (1, true, &item));
        let reply = client.call(Route::Mailbox(&who), &request::get_folder(&caller, &[]));
        let counts = response::get_folder(response::http(&reply).unwrap()).unwrap();
        assert_eq!((counts.folder, counts.unread, counts.total), (inbox, 1, Some(1)));
        let reply = client.group(&request::unsubscribe(&caller, &dora));
        response::unsubscribe(response::http(&reply).unwrap()).unwrap();
        client.lab.is_clean();
    }
}

#[test]
fn every_dress_of_a_stream_is_understood_at_every_split() {
    for style in [EnvelopeStyle::Default, EnvelopeStyle::S, EnvelopeStyle::Soap11, EnvelopeStyle::Soap] {
        for lead in [Lead::Nothing, Lead::Declaration, Lead::Bom, Lead::Blank] {
            for (chunks, piece) in [(Chunks::Envelope, 1), (Chunks::Bytes(5), 3), (Chunks::Glued, usize::MAX)]
            {
                let mut client = Client::new(ExchangeConfig::default(), piece);
                client.lab.exchange.faults.style = style;
                client.lab.exchange.faults.lead = lead;
                client.lab.exchange.faults.chunks = chunks;
                let anna = client.subscribe("anna@example.com");
                for _ in 0..20 {
                    client.lab.deliver(ANNA);
                }
                let (conn, mut stream) = client.open(&[&anna]);
                let events = client.events(conn, &mut stream);
                assert_eq!(events[0], StreamEvent::Opened, "{style:?} {lead:?} {chunks:?}");
                let mails: usize = events
                    .iter()
                    .map(|event| match event {
                        StreamEvent::Notification { events, .. } => {
                            events.iter().filter(|one| matches!(one, MailEvent::NewMail { .. })).count()
                        }
                        _ => 0,
                    })
                    .sum();
                assert_eq!(mails, 20);
                client.lab.exchange.close_stream(client.lab.now, client.lab.exchange.stream_keys()[0]);
                assert_eq!(client.events(conn, &mut stream), [StreamEvent::Closed]);
            }
        }
    }
}

#[test]
fn all_that_a_person_does_is_understood() {
    let mut client = Client::new(ExchangeConfig::default(), 11);
    let anna = client.subscribe("anna@example.com");
    let (conn, mut stream) = client.open(&[&anna]);
    let item = client.lab.deliver(ANNA);
    client.events(conn, &mut stream);
    let now = client.lab.now;
    client.lab.exchange.mark_read(now, ANNA, &item, true);
    let copy = client.lab.exchange.copy_item(now, ANNA, &item, JUNK_EMAIL).unwrap();
    let moved = client.lab.exchange.move_item(now, ANNA, &item, DELETED_ITEMS).unwrap();
    let last = client.lab.deliver(ANNA);
    client.lab.exchange.delete(now, ANNA, &last);
    let events = client.events(conn, &mut stream);
    let [StreamEvent::Notification { events, .. }] = &events[..] else { panic!("{events:?}") };
    let id = |text: &str| ItemId::parse(text).unwrap();
    assert!(matches!(&events[0], MailEvent::ItemModified { item: one, .. } if *one == id(&item)));
    assert!(matches!(&events[1], MailEvent::FolderModified { unread: Some(0), .. }));
    assert!(events.iter().any(
        |one| matches!(one, MailEvent::Moved { item: new, old_item, .. } if *new == id(&moved) && *old_item == id(&item))
    ));
    assert!(events.iter().any(|one| matches!(one, MailEvent::Deleted { item, .. } if *item == id(&last))));
    assert!(!events.iter().any(|one| matches!(one, MailEvent::Copied { .. })), "copies were not asked for");
    assert!(client.lab.exchange.delete(now, ANNA, &copy));
}

#[test]
fn errors_on_streams_are_understood() {
    let mut client = Client::new(ExchangeConfig::default(), 13);
    let anna = client.subscribe("anna@example.com");
    let ben = client.subscribe("ben@example.com");
    let bad = SubscriptionId::parse("bad").unwrap();
    let (conn, mut stream) = client.open(&[&anna, &bad]);
    let events = client.events(conn, &mut stream);
    let [StreamEvent::Failed { error, bad_ids }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((error.action(), &bad_ids[..]), (Action::Resubscribe, &[bad][..]));
    client.lab.exchange.closed(client.lab.now, conn);

    let (conn, mut stream) = client.open(&[&anna, &ben]);
    client.events(conn, &mut stream);
    let (second, mut other) = client.open(&[&ben]);
    assert_eq!(client.events(second, &mut other), [StreamEvent::Opened]);
    let events = client.events(conn, &mut stream);
    assert!(
        matches!(&events[0], StreamEvent::Failed { error, bad_ids } if error.action() == Action::StepAside && bad_ids.is_empty()),
        "{events:?}"
    );

    let now = client.lab.now;
    client.lab.exchange.move_mailbox(now, BEN, 0);
    let events = client.events(second, &mut other);
    assert!(
        matches!(&events[0], StreamEvent::Failed { error, bad_ids } if error.action() == Action::AwaitMove && bad_ids[..] == [ben.clone()]),
        "{events:?}"
    );

    let (conn, mut stream) = client.open(&[&anna]);
    client.events(conn, &mut stream);
    let key = *client.lab.exchange.stream_keys().last().unwrap();
    client.lab.exchange.end_stream_unclean(now, key);
    assert_eq!(client.events(conn, &mut stream), [StreamEvent::Broken(StreamBreak::Ended)]);
}

#[test]
fn busy_is_understood_in_its_three_shapes() {
    for shape in [BusyShape::Fault, BusyShape::Message, BusyShape::Inner] {
        for soap12 in [false, true] {
            let mut client = Client::new(ExchangeConfig::default(), 1_000);
            client.lab.exchange.faults.soap12_faults = soap12;
            let now = client.lab.now;
            client.lab.exchange.set_busy(now, BusyScope::All, Span::from_millis(297_749), shape, false);
            let who = smtp("anna@example.com");
            let caller = Caller { version: SchemaVersion::default(), mailbox: &who, impersonate: true };
            let reply = client.call(Route::Mailbox(&who), &request::get_folder(&caller, &[]));
            let error = response::http(&reply).and_then(response::get_folder).unwrap_err();
            assert_eq!(error.action(), Action::BackOffAccount { ms: 297_749 }, "{shape:?} {soap12}");
        }
    }
}

#[test]
fn what_is_no_soap_is_understood_too() {
    let ask = |answer: Override, transfer: Transfer| {
        let mut client = Client::new(ExchangeConfig::default(), 5);
        client.lab.exchange.faults.transfer = transfer;
        client.lab.exchange.answer_next(1, None, answer);
        let who = smtp("anna@example.com");
        let caller = Caller { version: SchemaVersion::default(), mailbox: &who, impersonate: true };
        let reply = client.call(Route::Mailbox(&who), &request::get_folder(&caller, &[]));
        response::http(&reply).and_then(response::get_folder).unwrap_err()
    };
    for transfer in [Transfer::Chunked, Transfer::Length, Transfer::Close] {
        assert_eq!(ask(Override::Unauthorized, transfer).action(), Action::AuthFailed);
        assert_eq!(ask(Override::LogonRedirect, transfer).action(), Action::RetryConnection);
        assert_eq!(ask(Override::Html, transfer).action(), Action::RetryConnection);
        assert_eq!(ask(Override::MalformedXml, transfer).action(), Action::RetryConnection);
        let error = ask(Override::Unavailable { retry_after_s: Some(9) }, transfer);
        assert_eq!((error.action(), error.back_off_ms), (Action::RetryConnection, Some(9_000)));
    }
}

#[test]
fn an_older_server_is_spoken_to_in_its_version() {
    let config = ExchangeConfig { version_max: Version::Exchange2010_SP2, ..ExchangeConfig::default() };
    let mut client = Client::new(config, 1_000);
    let item = ItemId::parse(&client.lab.deliver(ANNA)).unwrap();
    let who = smtp("anna@example.com");
    let ask = |client: &mut Client, version| {
        let caller = Caller { version, mailbox: &who, impersonate: true };
        let reply = client.call(Route::Mailbox(&who), &request::get_item(&caller, &[&item]));
        response::http(&reply).and_then(response::get_item)
    };
    let error = ask(&mut client, SchemaVersion::Exchange2013Sp1).unwrap_err();
    assert_eq!(error.action(), Action::LowerVersion);
    let version = SchemaVersion::Exchange2013Sp1.lower().unwrap();
    assert_eq!(&*ask(&mut client, version).unwrap()[0].as_ref().unwrap().details.subject, "Lunch?");
}

#[test]
fn old_ids_are_converted() {
    let mut client = Client::new(ExchangeConfig::default(), 1_000);
    client.lab.exchange.faults.legacy_ids = true;
    let anna = client.subscribe("anna@example.com");
    let new = client.lab.deliver(ANNA);
    let (conn, mut stream) = client.open(&[&anna]);
    let events = client.events(conn, &mut stream);
    let StreamEvent::Notification { events, .. } = &events[1] else { panic!("{events:?}") };
    let MailEvent::NewMail { item: old, .. } = &events[1] else { panic!("{events:?}") };
    let who = smtp("anna@example.com");
    let caller = Caller { version: SchemaVersion::default(), mailbox: &who, impersonate: true };
    let reply = client.call(Route::Mailbox(&who), &request::get_item(&caller, &[old]));
    let error =
        response::get_item(response::http(&reply).unwrap()).unwrap().remove(0).map(|_| ()).unwrap_err();
    assert_eq!(error.action(), Action::ConvertId);
    let reply = client.call(Route::Mailbox(&who), &request::convert_id(&caller, &[old]));
    let converted = response::convert_id(response::http(&reply).unwrap()).unwrap().remove(0).unwrap();
    assert_eq!(converted.as_str(), new);
}
