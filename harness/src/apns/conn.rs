//! One client's connection: its binding, its limit of streams, its way out.

use std::collections::VecDeque;

use carillon_core::h2pump::{ServerConfig, ServerPump, WindowPolicy as PumpWindow};
use carillon_core::time::{Span, Time};

use super::answer::Refusal;
use super::auth::Binding;
use super::knobs::{Knobs, WindowPolicy};
use super::peer::Goaway;
use super::registry::Registry;
use super::service::GoneSince;

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) pump: ServerPump,
    pub(super) client: String,
    pub(super) binding: Binding,
    pub(super) opened: Time,
    /// Waits in the list of connections that have something to say.
    pub(super) is_ready: bool,
    /// Nothing is read and nothing written any more.
    pub(super) silent: bool,
    /// To be reset.
    pub(super) reset: bool,
    /// Over: to be closed when all is written.
    pub(super) over: bool,
    /// Requests that came, processed or not.
    pub(super) requests: u32,
    /// The newest stream whose request was processed.
    pub(super) processed_stream: u32,
    /// Answers that wait for their time.
    pub(super) waiting: u32,
    /// When the last of them leaves.
    pub(super) last_due: Time,
    pub(super) exit: Exit,
    pub(super) grant_at: Time,
    /// When our first SETTINGS have to be acknowledged (RFC 9113 §6.5.3); [`Time::NEVER`] once they are.
    acknowledge_by: Time,
    /// Answers with status 400.
    pub(super) faults: u32,
    /// Streams are up to [`Knobs::streams_max`].
    authenticated: bool,
    /// Down to one stream after a refusal.
    dropped: bool,
    /// The limit last sent.
    streams_max: u32,
    /// Tokens whose 410 waits to be written.
    gone: Vec<GoneSince>,
    /// Tokens whose 410 was written a moment ago.
    told: VecDeque<(Time, GoneSince)>,
}

/// How far a connection is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// It stays.
    Stays,
    /// The next requests go unprocessed, then it is sent away; at the latest at `until`.
    Swallowing { how: Goaway, left: u32, until: Time },
    /// The first of two `GOAWAY`s was sent; the real one follows.
    Announced { how: Goaway, at: Time },
    /// Sent away: nothing above `last_stream` is processed; closed at `close_at` or when the last answer has left.
    SentAway { last_stream: u32, close_at: Time },
}

/// An answer that waits for its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) conn: crate::peer::PeerConn,
    pub(super) stream: u32,
    pub(super) apns_id: u128,
    pub(super) result: Result<(), Refusal>,
    pub(super) authenticated: bool,
    pub(super) gone: Option<GoneSince>,
}

/// What an empty window is refilled to (RFC 9113 §6.9.2).
const WINDOW_BYTES: u32 = 65_535;
/// How long a connection that was sent away stays open at least, for the client to read why.
pub(super) const LINGER: Span = Span::from_millis(1_000);
/// How long further requests are waited for before a `GOAWAY` that is to leave some unprocessed.
pub(super) const SWALLOW_WAIT: Span = Span::from_millis(500);
/// Between the two `GOAWAY`s of a graceful close: more than a round trip.
pub(super) const GRACE: Span = Span::from_millis(200);
/// How long a client may take to acknowledge our SETTINGS.
pub(super) const SETTINGS_WAIT: Span = Span::from_secs(10);
/// How long a client that was killed may have had an answer in its hands without having written it down: reading it,
/// deciding and writing are one turn, of milliseconds, and the rest is for a machine that is busy.
const KNOWN_AFTER: Span = Span::from_secs(1);
/// SETTINGS_TIMEOUT (RFC 9113 §7).
const SETTINGS_TIMEOUT: u32 = 4;
/// The largest payload is 5,120 bytes: whatever is longer need not be kept.
const BODY_BYTES_MAX: usize = 6 * 1024;

impl Conn {
    pub(super) fn new(now: Time, client: String, binding: Binding, knobs: &Knobs) -> Conn {
        let authenticated = matches!(binding, Binding::Certificate(_) | Binding::UnknownCertificate);
        let streams_max = if authenticated { knobs.streams_max } else { knobs.streams_before_auth };
        let mut pump = ServerPump::new(ServerConfig {
            streams_max: Some(streams_max),
            window: PumpWindow::Manual,
            body_bytes_max: BODY_BYTES_MAX,
            ..ServerConfig::default()
        });
        pump.set_answers_pings(!knobs.ping_unanswered);
        let grant_at = match knobs.window {
            WindowPolicy::Every(span) => now + span,
            WindowPolicy::Immediate | WindowPolicy::AtHalf | WindowPolicy::Never => Time::NEVER,
        };
        Conn {
            pump,
            client,
            binding,
            opened: now,
            is_ready: false,
            silent: false,
            reset: false,
            over: false,
            requests: 0,
            processed_stream: 0,
            waiting: 0,
            last_due: Time(0),
            exit: Exit::Stays,
            grant_at,
            acknowledge_by: now + SETTINGS_WAIT,
            faults: 0,
            authenticated,
            dropped: false,
            streams_max,
            gone: Vec::new(),
            told: VecDeque::new(),
        }
    }

    /// Feels turned knobs.
    pub(super) fn turn(&mut self, now: Time, knobs: &Knobs) {
        self.pump.set_answers_pings(!knobs.ping_unanswered);
        self.grant_at = match knobs.window {
            WindowPolicy::Every(span) => self.grant_at.min(now + span),
            WindowPolicy::Immediate | WindowPolicy::AtHalf | WindowPolicy::Never => Time::NEVER,
        };
        self.limit_streams(knobs);
        self.give_credit(knobs);
    }

    /// Notes what an answer means for the limit of streams.
    pub(super) fn answered(&mut self, accepted: bool, authenticated: bool, knobs: &Knobs) {
        self.authenticated |= authenticated;
        self.dropped = knobs.streams_drop_on_refusal && !accepted;
        self.limit_streams(knobs);
    }

    /// A 410 for this token is among what waits to be written.
    pub(super) fn tells_gone(&mut self, gone: GoneSince) {
        self.gone.push(gone);
    }

    /// All that waited has been written: the client can know of it.
    pub(super) fn has_told(&mut self, now: Time, registry: &mut Registry) {
        while self.told.front().is_some_and(|(at, _)| now.since(*at) >= KNOWN_AFTER) {
            self.told.pop_front();
        }
        for gone in self.gone.drain(..) {
            registry.row_mut(gone.device).set_told(gone.since, true);
            self.told.push_back((now, gone));
        }
    }

    /// What was written only just now may have been lost: with the connection, with the client, or on its way.
    pub(super) fn takes_back(&mut self, now: Time, registry: &mut Registry) {
        let recent = self.told.drain(..).filter(|(at, _)| now.since(*at) < KNOWN_AFTER);
        for (_, gone) in recent {
            registry.row_mut(gone.device).set_told(gone.since, false);
        }
    }

    /// Opens the connection's window as the policy says, after bytes came. True: something was written.
    pub(super) fn give_credit(&mut self, knobs: &Knobs) -> bool {
        let owed = self.pump.owed();
        let due = match knobs.window {
            WindowPolicy::Immediate => owed > 0,
            WindowPolicy::AtHalf => owed >= WINDOW_BYTES / 2,
            WindowPolicy::Every(_) | WindowPolicy::Never => false,
        };
        if due {
            self.pump.grant(owed);
        }
        due
    }

    /// Opens the window at its interval. True: something was written.
    pub(super) fn give_credit_in_time(&mut self, now: Time, knobs: &Knobs) -> bool {
        let WindowPolicy::Every(span) = knobs.window else { return false };
        if self.grant_at > now {
            return false;
        }
        self.grant_at = now + span;
        let owed = self.pump.owed();
        self.pump.grant(owed);
        owed > 0
    }

    /// Takes bytes from the client.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.pump.feed(bytes);
        if self.pump.is_acknowledged() {
            self.acknowledge_by = Time::NEVER;
        }
    }

    /// Gives up a client that never acknowledged our SETTINGS. True: it was given up.
    pub(super) fn gives_up(&mut self, now: Time) -> bool {
        if self.acknowledge_by > now {
            return false;
        }
        self.acknowledge_by = Time::NEVER;
        self.pump.goaway(0, SETTINGS_TIMEOUT, b"");
        self.over = true;
        true
    }

    /// Begins to send the client away.
    pub(super) fn begin_exit(&mut self, now: Time, how: Goaway) {
        if self.exit != Exit::Stays {
            return;
        }
        if how.unprocessed > 0 {
            self.exit = Exit::Swallowing { how, left: how.unprocessed, until: now + SWALLOW_WAIT };
        } else if how.twice {
            self.pump.goaway((1 << 31) - 1, 0, &debug_data(how));
            self.exit = Exit::Announced { how, at: now + GRACE };
        } else {
            self.send_away(now, how, self.pump.last_stream());
        }
    }

    /// Whether this request is to be left unprocessed because the client is being sent away.
    pub(super) fn swallows(&mut self, now: Time, stream: u32) -> bool {
        match &mut self.exit {
            Exit::Stays | Exit::Announced { .. } => false,
            Exit::SentAway { last_stream, .. } => stream > *last_stream,
            // A stream below one already processed cannot be called unprocessed any more.
            Exit::Swallowing { .. } if stream < self.processed_stream => false,
            Exit::Swallowing { how, left, .. } => {
                let how = *how;
                *left -= 1;
                if *left == 0 {
                    self.send_away(now, how, self.processed_stream);
                }
                true
            }
        }
    }

    /// Does what is due on the way out. True: something was written, or it is over.
    pub(super) fn go_on(&mut self, now: Time) -> bool {
        match self.exit {
            Exit::Swallowing { how, until, .. } if until <= now => {
                self.send_away(now, how, self.processed_stream);
                true
            }
            Exit::Announced { how, at } if at <= now => {
                self.send_away(now, how, self.pump.last_stream());
                true
            }
            Exit::SentAway { close_at, .. } if close_at <= now && self.waiting == 0 && !self.over => {
                self.over = true;
                true
            }
            Exit::Stays | Exit::Swallowing { .. } | Exit::Announced { .. } | Exit::SentAway { .. } => false,
        }
    }

    /// When something is due by itself.
    pub(super) fn next_deadline(&self) -> Time {
        if self.silent {
            return Time::NEVER;
        }
        let exit = match self.exit {
            Exit::Stays => Time::NEVER,
            Exit::Swallowing { until, .. } => until,
            Exit::Announced { at, .. } => at,
            // With answers still to come, the last of them wakes us.
            Exit::SentAway { close_at, .. } if self.waiting == 0 && !self.over => close_at,
            Exit::SentAway { .. } => Time::NEVER,
        };
        exit.min(self.grant_at).min(self.acknowledge_by)
    }

    fn send_away(&mut self, now: Time, how: Goaway, last_stream: u32) {
        self.pump.goaway(last_stream, 0, &debug_data(how));
        self.exit = Exit::SentAway { last_stream, close_at: now + LINGER };
    }

    fn limit_streams(&mut self, knobs: &Knobs) {
        let limit = match (self.dropped, self.authenticated) {
            (true, _) => 1,
            (false, true) => knobs.streams_max,
            (false, false) => knobs.streams_before_auth,
        };
        if limit != self.streams_max {
            self.streams_max = limit;
            self.pump.set_streams_max(limit);
        }
    }
}

fn debug_data(how: Goaway) -> Vec<u8> {
    Refusal::from(how.reason).body().into_bytes()
}
