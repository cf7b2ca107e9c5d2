//! A GetStreamingEvents connection, from its request to its end.

use std::collections::VecDeque;
use std::fmt;

use super::code::ResponseCode;
use super::error::EwsError;
use super::event::{ConnectionStatus, MailEvent, Notification, parse_stream_message};
use super::response::http;
use crate::http1::{Head, HttpError, Response, ResponseReader, Step, drain};
use crate::limits::{BODY_BYTES_MAX, STREAM_OPEN_TIMEOUT};
use crate::names::SubscriptionId;
use crate::shard::Trouble;
use crate::soap::{FrameError, Framer};
use crate::time::{Span, Time};

/// One streaming connection: chunked decoder, envelope framer, event parser and watchdog.
///
/// To be polled until it has nothing more after each [`StreamConn::feed`], [`StreamConn::feed_eof`] and
/// [`StreamConn::on_deadline`]. Once it [`StreamConn::is_over`], the socket is to be closed: every kind of end (the
/// server's word, end of file, silence, nonsense) comes out of the same door, as one last event.
pub struct StreamConn {
    out: Vec<u8>,
    out_sent: usize,
    reader: ResponseReader,
    head: Option<Box<Head>>,
    state: State,
    events: VecDeque<StreamEvent>,
    /// How the bytes ended, to be told after what came before.
    end: Option<StreamBreak>,
    opened: bool,
    /// When the opening envelope is due; `None` after the first envelope.
    open_until: Option<Time>,
    heard: Time,
    idle: Span,
    lifetime_until: Time,
}

enum State {
    /// For the head.
    Waiting,
    /// Envelopes come.
    Streaming(Framer),
    /// The answer is no stream; its body says why.
    Refused(Vec<u8>),
    /// Nothing more is of interest.
    Over,
}

/// What a stream tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// The opening envelope was seen: the connection is live.
    Opened,
    /// Nothing new, but alive.
    Heartbeat,
    /// News of one mailbox.
    Notification {
        /// Whose.
        subscription: SubscriptionId,
        /// In the server's order.
        events: Vec<MailEvent>,
    },
    /// The server said what is wrong: in an envelope of the stream, in a SOAP fault, or by an HTTP answer that is no
    /// stream (401, 503, a redirect, a page in HTML). After the latter two the stream is over. After the first it goes on
    /// by itself, but where `bad_ids` are named Exchange sends nothing for the good ones any more: unless
    /// [`EwsError::action`] is [`super::Action::CatchUp`], close it and open another without them.
    Failed {
        /// What is wrong.
        error: EwsError,
        /// The subscriptions that it is about; none: the whole connection.
        bad_ids: Vec<SubscriptionId>,
    },
    /// The server ended the stream in good order. The last event.
    Closed,
    /// The stream ended without a word of the server. The last event.
    Broken(StreamBreak),
}

/// How a stream ended that was not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamBreak {
    /// The body or the connection ended without `Closed`.
    Ended,
    /// No opening envelope within [`STREAM_OPEN_TIMEOUT`].
    NotOpened,
    /// No byte for the idle time, not even a heartbeat.
    Silent,
    /// Beyond its lifetime, and not closed by the server.
    Overdue,
    /// The bytes are no HTTP.
    Http(HttpError),
    /// The body is no sequence of envelopes.
    Frame(FrameError),
    /// An envelope cannot be read. With what is wrong about it.
    Malformed(Box<str>),
}

impl StreamConn {
    /// Opens the stream on a fresh connection. `request` is head and body ([`super::http_request`]), `idle` the silence
    /// after which it is taken for dead, `lifetime` the `ConnectionTimeout` with some allowance.
    pub fn open(now: Time, request: Vec<u8>, idle: Span, lifetime: Span) -> StreamConn {
        StreamConn {
            out: request,
            out_sent: 0,
            reader: ResponseReader::new(),
            head: None,
            state: State::Waiting,
            events: VecDeque::new(),
            end: None,
            opened: false,
            open_until: Some(now + STREAM_OPEN_TIMEOUT),
            heard: now,
            idle,
            lifetime_until: now + lifetime,
        }
    }

    /// Bytes from the server. What is wrong with them comes out of [`StreamConn::poll`].
    pub fn feed(&mut self, now: Time, data: &[u8]) {
        self.heard = now;
        let mut input = data;
        while self.end.is_none() && !self.is_over() {
            match self.reader.step(&mut input) {
                Ok(Step::More) => return,
                Ok(Step::Head(head)) => self.begin(head),
                Ok(Step::Body(bytes)) => match &mut self.state {
                    State::Streaming(framer) => framer.feed(bytes),
                    State::Refused(body) if body.len() + bytes.len() <= BODY_BYTES_MAX => {
                        body.extend_from_slice(bytes);
                    }
                    // The status has to tell enough.
                    State::Refused(_) => self.refuse(),
                    State::Waiting | State::Over => return,
                },
                Ok(Step::End) => self.ended(),
                Err(error) if matches!(self.state, State::Refused(_)) => {
                    // A body that breaks off takes nothing back of what the status says.
                    debug_assert!(error != HttpError::NoAnswer, "there was a head");
                    self.refuse();
                }
                Err(error) => self.end = Some(StreamBreak::Http(error)),
            }
        }
    }

    /// The server ended its side.
    pub fn feed_eof(&mut self) {
        if self.end.is_some() {
            return;
        }
        match (&self.state, self.reader.finish()) {
            (State::Waiting, Err(error)) => self.end = Some(StreamBreak::Http(error)),
            (State::Waiting | State::Streaming(_) | State::Refused(_), _) => self.ended(),
            (State::Over, _) => {}
        }
    }

    /// What happened, in order.
    pub fn poll(&mut self) -> Option<StreamEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let State::Streaming(framer) = &mut self.state else { break };
            match framer.next() {
                Ok(Some(envelope)) => {
                    let message = parse_stream_message(envelope);
                    self.take(message);
                }
                Ok(None) => break,
                Err(error) => self.finish(StreamEvent::Broken(StreamBreak::Frame(error))),
            }
        }
        let end = self.end.take()?;
        self.finish(StreamEvent::Broken(end));
        self.events.pop_front()
    }

    /// Bytes of the request that wait to be drained.
    pub fn unsent_bytes(&self) -> usize {
        self.out.len() - self.out_sent
    }

    /// Appends at most `max` bytes of the request to `out`. True: there is more.
    pub fn drain(&mut self, out: &mut Vec<u8>, max: usize) -> bool {
        drain(&mut self.out, &mut self.out_sent, out, max)
    }

    /// When [`StreamConn::on_deadline`] is due: for the opening envelope, silence, or the end of the lifetime.
    pub fn next_deadline(&self) -> Option<Time> {
        if self.is_over() {
            return None;
        }
        let idle = self.heard + self.idle;
        Some(self.open_until.map_or(idle, |open| open.min(idle)).min(self.lifetime_until))
    }

    /// Looks at the time.
    pub fn on_deadline(&mut self, now: Time) {
        let why = if self.is_over() {
            return;
        } else if self.lifetime_until <= now {
            StreamBreak::Overdue
        } else if self.open_until.is_some_and(|open| open <= now) {
            StreamBreak::NotOpened
        } else if self.heard + self.idle <= now {
            StreamBreak::Silent
        } else {
            return;
        };
        match self.state {
            State::Refused(_) => self.refuse(),
            State::Waiting | State::Streaming(_) | State::Over => self.finish(StreamEvent::Broken(why)),
        }
    }

    /// Whether the last event has been made (it may still wait to be polled): close the socket after it.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Whether the opening envelope was seen.
    pub fn is_open(&self) -> bool {
        self.opened && !self.is_over()
    }

    /// The answer's head, once it came: it may set cookies.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_deref()
    }

    fn begin(&mut self, head: Box<Head>) {
        let streams = head.status == 200 && !head.content_type.contains("html");
        self.state = if streams { State::Streaming(Framer::new()) } else { State::Refused(Vec::new()) };
        self.head = Some(head);
    }

    /// The body ended.
    fn ended(&mut self) {
        match self.state {
            State::Refused(_) => self.refuse(),
            State::Waiting | State::Streaming(_) => self.end = Some(StreamBreak::Ended),
            State::Over => {}
        }
    }

    /// Tells why there is no stream.
    fn refuse(&mut self) {
        let State::Refused(body) = std::mem::replace(&mut self.state, State::Over) else { return };
        let head = self.head.as_deref().cloned().unwrap_or_default();
        let response = Response { head, body, took: Span::ZERO };
        let error = http(&response).err();
        let error = error.unwrap_or_else(|| EwsError::new(ResponseCode::NotSoap, "", None));
        self.finish(StreamEvent::Failed { error, bad_ids: Vec::new() });
    }

    /// Turns an envelope into events: news, then what is wrong, then the end.
    fn take(&mut self, message: Result<super::StreamMessage, EwsError>) {
        let message = match message {
            Ok(message) => message,
            Err(error) if error.code == ResponseCode::Malformed => {
                return self.finish(StreamEvent::Broken(StreamBreak::Malformed(error.message)));
            }
            Err(error) => return self.finish(StreamEvent::Failed { error, bad_ids: Vec::new() }),
        };
        self.open_until = None;
        let closed = message.status == Some(ConnectionStatus::Closed);
        let goes_on = message.status == Some(ConnectionStatus::Ok) || (message.error.is_none() && !closed);
        let silent = message.notifications.is_empty() && message.error.is_none() && !closed;
        if goes_on && !self.opened {
            self.opened = true;
            self.events.push_back(StreamEvent::Opened);
        } else if silent {
            self.events.push_back(StreamEvent::Heartbeat);
        }
        for Notification { subscription, events } in message.notifications {
            self.events.push_back(StreamEvent::Notification { subscription, events });
        }
        if let Some(error) = message.error {
            self.events.push_back(StreamEvent::Failed { error, bad_ids: message.bad_ids });
        }
        if closed {
            self.finish(StreamEvent::Closed);
        }
    }

    /// The last event.
    fn finish(&mut self, event: StreamEvent) {
        self.events.push_back(event);
        self.state = State::Over;
        self.end = None;
        self.out = Vec::new();
        self.out_sent = 0;
    }
}

impl fmt::Debug for StreamConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The request has credentials.
        f.debug_struct("StreamConn")
            .field("unsent_bytes", &self.unsent_bytes())
            .field("opened", &self.opened)
            .field("over", &self.is_over())
            .field("heard", &self.heard)
            .field("lifetime_until", &self.lifetime_until)
            .finish_non_exhaustive()
    }
}

impl StreamBreak {
    /// For a person: what happened and what to do.
    pub fn trouble(&self) -> Trouble {
        let code = match self {
            StreamBreak::Ended => "stream_ended",
            StreamBreak::NotOpened => "stream_not_opened",
            StreamBreak::Silent => "stream_silent",
            StreamBreak::Overdue => "stream_overdue",
            StreamBreak::Http(error) => error.name(),
            StreamBreak::Frame(error) => error.name(),
            StreamBreak::Malformed(_) => "stream_malformed",
        };
        Trouble { code: code.into(), text: self.to_string().into() }
    }
}

impl fmt::Display for StreamBreak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const AGAIN: &str =
            "it is opened again; look at the proxy or load balancer in front of Exchange if it lasts";
        match self {
            StreamBreak::Ended => write!(f, "the notification stream broke off; {AGAIN}"),
            StreamBreak::NotOpened => {
                write!(
                    f,
                    "Exchange did not begin the notification stream in time; {AGAIN} (it must not buffer answers)"
                )
            }
            StreamBreak::Silent => {
                write!(
                    f,
                    "the notification stream fell silent; {AGAIN} (its idle timeout must be over 120 s)"
                )
            }
            StreamBreak::Overdue => {
                write!(f, "Exchange did not end the notification stream in time; {AGAIN}")
            }
            StreamBreak::Http(error) => error.fmt(f),
            StreamBreak::Frame(error) => write!(f, "{error}; {AGAIN}"),
            StreamBreak::Malformed(what) => write!(f, "{what}; {AGAIN}"),
        }
    }
}
