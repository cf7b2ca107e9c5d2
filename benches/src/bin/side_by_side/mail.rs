//! A mail server that costs next to nothing: the EWS answers that a client needs, written from templates, and new mail
//! as fast as pushes arrive.
//!
//! It keeps [`IN_FLIGHT`] mails on their way: for each push that arrives the next user gets a mail. Blocking, one thread a
//! connection.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carillon_benches::exchange::{STREAM_HEAD, item, item_id, push_chunk, response};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::sink::Counters;

/// Mails on their way at one time: as many as requests in flight of the clients that only push.
pub(crate) const IN_FLIGHT: u64 = 100;

/// A running server.
#[derive(Debug)]
pub(crate) struct MailServer {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// By subscription id: the stream that tells of it.
    streams: Mutex<HashMap<String, Sender<String>>>,
    subject_bytes: AtomicUsize,
    /// No more mail.
    stop: AtomicBool,
}

impl Shared {
    fn streams(&self) -> MutexGuard<'_, HashMap<String, Sender<String>>> {
        self.streams.lock().expect("no thread panics while it holds the streams")
    }
}

impl MailServer {
    /// Listens on loopback, and serves until the process ends.
    pub(crate) fn start(tls: Arc<ServerConfig>) -> std::io::Result<MailServer> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        std::thread::Builder::new().name("mail".into()).spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (tls, shared) = (Arc::clone(&tls), Arc::clone(&accepting));
                std::thread::spawn(move || serve(socket, tls, &shared));
            }
        })?;
        Ok(MailServer { address, shared })
    }

    /// Mailboxes that a stream watches.
    pub(crate) fn watched(&self) -> usize {
        self.shared.streams().len()
    }

    /// How long the subjects of mails are from now on.
    pub(crate) fn set_subject_bytes(&self, bytes: usize) {
        self.shared.subject_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Lets mail come until [`MailServer::stop`].
    pub(crate) fn play(&self, counters: Arc<Counters>) {
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || feed(&shared, &counters));
    }

    /// No more mail.
    pub(crate) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn feed(shared: &Shared, counters: &Counters) {
    let mut streams: Vec<(String, Sender<String>)> =
        shared.streams().iter().map(|(id, stream)| (id.clone(), stream.clone())).collect();
    // Neighbors in this order are in different cohorts: an order of a hash would differ from run to run.
    streams.sort_by(|(a, _), (b, _)| a.chars().rev().cmp(b.chars().rev()));
    let before = counters.requests.load(Ordering::Relaxed);
    let mut sent = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        let arrived = counters.requests.load(Ordering::Relaxed) - before;
        if sent >= arrived + IN_FLIGHT {
            std::thread::sleep(Duration::from_micros(20));
            continue;
        }
        let (id, stream) = &streams[sent as usize % streams.len()];
        sent += 1;
        if stream.send(new_mail(id, sent)).is_err() {
            return;
        }
    }
}

fn serve(socket: TcpStream, tls: Arc<ServerConfig>, shared: &Shared) -> Option<()> {
    socket.set_nodelay(true).ok()?;
    let mut stream = StreamOwned::new(ServerConnection::new(tls).ok()?, socket);
    let mut input = Vec::new();
    loop {
        let body = read_request(&mut stream, &mut input)?;
        if let Some(ids) = body.contains("<m:GetStreamingEvents>").then(|| texts(&body, "t:SubscriptionId")) {
            let (sender, events) = channel();
            // The stream that had these ends, as at Exchange: its sender goes.
            shared.streams().extend(ids.into_iter().map(|id| (id, sender.clone())));
            drop(sender);
            return tell(&mut stream, &events);
        }
        let answer = answer(&body, shared.subject_bytes.load(Ordering::Relaxed));
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        stream.write_all((head + &answer).as_bytes()).ok()?;
    }
}

/// The body of the next request.
fn read_request(stream: &mut impl Read, input: &mut Vec<u8>) -> Option<String> {
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&input[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
            let total = end + 4 + length.trim().parse::<usize>().ok()?;
            if input.len() >= total {
                let body = String::from_utf8_lossy(&input[end + 4..total]).into_owned();
                input.drain(..total);
                return Some(body);
            }
        }
        let got = stream.read(&mut buffer).ok().filter(|got| *got > 0)?;
        input.extend_from_slice(&buffer[..got]);
    }
}

/// Writes a stream: its head, that it stands, then each event in a chunk of its own.
fn tell(stream: &mut impl Write, events: &Receiver<String>) -> Option<()> {
    let mut out = STREAM_HEAD.as_bytes().to_vec();
    push_chunk(&mut out, &stream_envelope("<m:ConnectionStatus>OK</m:ConnectionStatus>"));
    loop {
        stream.write_all(&out).ok()?;
        out.clear();
        let first = match events.recv_timeout(HEARTBEAT) {
            Ok(event) => event,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                stream_envelope("<m:ConnectionStatus>OK</m:ConnectionStatus>")
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                push_chunk(&mut out, &stream_envelope("<m:ConnectionStatus>Closed</m:ConnectionStatus>"));
                out.extend_from_slice(b"0\r\n\r\n");
                return stream.write_all(&out).ok();
            }
        };
        push_chunk(&mut out, &first);
        for event in events.try_iter() {
            push_chunk(&mut out, &event);
        }
    }
}

/// The answer to an ordinary call.
fn answer(body: &str, subject_bytes: usize) -> String {
    let mailbox = texts(body, "t:SmtpAddress").pop().unwrap_or_default();
    if body.contains("<m:Subscribe>") {
        message("Subscribe", &format!("<m:SubscriptionId>{}</m:SubscriptionId>", subscription(&mailbox)))
    } else if body.contains("<m:GetFolder>") {
        let folder = folder(&subscription(&mailbox));
        message(
            "GetFolder",
            &format!(
                "<m:Folders><t:Folder><t:FolderId Id=\"{folder}\" ChangeKey=\"AQAA\"/><t:TotalCount>0</t:TotalCount>\
                 <t:UnreadCount>0</t:UnreadCount></t:Folder></m:Folders>"
            ),
        )
    } else if body.contains("<m:GetItem>") {
        let folder = folder(&subscription(&mailbox));
        let items: String = attributes(body, "<t:ItemId Id=\"")
            .map(|id| {
                format!(
                    "<m:GetItemResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>\
                     <m:Items>{}</m:Items></m:GetItemResponseMessage>",
                    item(id, &folder, &now(), &"s".repeat(subject_bytes))
                )
            })
            .collect();
        response("GetItem", &items)
    } else if body.contains("<m:FindItem") {
        message(
            "FindItem",
            "<m:RootFolder IndexedPagingOffset=\"0\" TotalItemsInView=\"0\" IncludesLastItemInRange=\"true\">\
             <t:Items/></m:RootFolder>",
        )
    } else {
        message("Unsubscribe", "")
    }
}

/// What Exchange says of one new mail: created, delivered, and the folder's count.
fn new_mail(subscription: &str, number: u64) -> String {
    let (item, folder, now) = (item_id(number), folder(subscription), now());
    let about = format!(
        "<t:TimeStamp>{now}</t:TimeStamp><t:ItemId Id=\"{item}\" ChangeKey=\"CQAAAA==\"/>\
         <t:ParentFolderId Id=\"{folder}\" ChangeKey=\"AQAAAA==\"/>"
    );
    stream_envelope(&format!(
        "<m:Notifications><m:Notification><t:SubscriptionId>{subscription}</t:SubscriptionId>\
         <t:CreatedEvent>{about}</t:CreatedEvent><t:NewMailEvent>{about}</t:NewMailEvent>\
         <t:ModifiedEvent><t:TimeStamp>{now}</t:TimeStamp><t:FolderId Id=\"{folder}\" ChangeKey=\"AQAAAA==\"/>\
         <t:ParentFolderId Id=\"cm9vdA==\" ChangeKey=\"AQAAAA==\"/><t:UnreadCount>{UNREAD}</t:UnreadCount></t:ModifiedEvent>\
         </m:Notification></m:Notifications>"
    ))
}

fn message(operation: &str, inner: &str) -> String {
    response(
        operation,
        &format!(
            "<m:{operation}ResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>{inner}\
             </m:{operation}ResponseMessage>"
        ),
    )
}

fn stream_envelope(inner: &str) -> String {
    format!(
        "<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap11:Header \
         xmlns:soap11=\"http://schemas.xmlsoap.org/soap/envelope/\"><ServerVersionInfo MajorVersion=\"15\" \
         MinorVersion=\"1\" MajorBuildNumber=\"2507\" MinorBuildNumber=\"6\" xmlns=\"{T}\"/></soap11:Header>\
         <soap11:Body xmlns:soap11=\"http://schemas.xmlsoap.org/soap/envelope/\"><m:GetStreamingEventsResponse \
         xmlns:t=\"{T}\" xmlns:m=\"{M}\"><m:ResponseMessages><m:GetStreamingEventsResponseMessage \
         ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>{inner}\
         </m:GetStreamingEventsResponseMessage></m:ResponseMessages></m:GetStreamingEventsResponse></soap11:Body>\
         </Envelope>"
    )
}

/// The texts of all elements of this name.
fn texts(body: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    body.split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned())).collect()
}

/// What stands between `start` and the next quotation mark, at each place.
fn attributes<'a>(body: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    body.split(start).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0))
}

/// Ids are as long as Exchange's, and name the mailbox.
fn subscription(mailbox: &str) -> String {
    format!("JwBkYjUyLmV4YW1wbGUuY29tEAAAAHr3dCy0EexHl0bYTNTVZmXIJvr1{:0>32}", hex(mailbox))
}

fn folder(subscription: &str) -> String {
    format!("AAMkADU1ZjQ3{}AuAAAAAAD7qQ3vVAAA", &subscription[subscription.len() - 32..])
}

/// The last 16 bytes before the `@`, in hex: base64 letters only.
fn hex(mailbox: &str) -> String {
    let name = mailbox.split('@').next().unwrap_or_default();
    name.bytes()
        .rev()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect()
}

/// The present as `xs:dateTime`, in whole seconds.
fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, in eras of 400 years (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

const T: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
const M: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";
/// Ten digits: a badge that brings the body of an alert without details nearer to the length of the others.
const UNREAD: u32 = 2_000_000_000;
/// Between two signs of life on a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(20);
