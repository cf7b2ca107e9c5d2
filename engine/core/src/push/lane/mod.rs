//! A lane: one HTTP/2 connection to APNs with its window of pushes in flight.
//!
//! What it knows of HTTP/2 is the face of [`ClientPump`]; another framer with that face can take its place.

mod types;

#[cfg(test)]
mod tests;

pub use self::types::{Blocked, LaneConfig, LaneError, LaneEvent, NoRoom};

use std::collections::VecDeque;

use bytes::Bytes;
use http::uri::Authority;

use super::window::Window;
use super::{
    Certainty, ConnectionFate, Outcome, PushRequest, Reason, RetryScope, apns, classify, classify::farewell,
};
use crate::h2pump::{ClientConfig, ClientEvent, ClientPump, Failure, Flight, OpenError, Response, code};
use crate::limits::{ANSWER_BYTES_MAX, APNS_PAYLOAD_BYTES_MAX, OUTPUT_BYTES_MAX};
use crate::time::{Span, Time};

/// One HTTP/2 connection to APNs.
#[derive(Debug)]
pub struct Lane {
    config: LaneConfig,
    authority: Option<Authority>,
    pump: ClientPump<Sent>,
    window: Window,
    phase: Phase,
    events: VecDeque<LaneEvent>,
    /// Streams in the order of sending; settled ones are taken out now and then.
    sent: VecDeque<(Time, u32)>,
    opened: Time,
    heard: Time,
    pinged: Option<Time>,
    pushes: u64,
    /// Pushes without an answer, and answers that raise doubt, since the last good answer.
    unanswered_in_row: u32,
    doubts_in_row: u32,
    /// Since when there was neither room nor anything in flight that could make some.
    starved_since: Option<Time>,
    /// Bytes of a payload, on the average of the last few.
    payload_bytes: u64,
    /// Since when the send window is spent, and how long it was the last few times until it was opened.
    spent_since: Option<Time>,
    credit_us: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    flight: u64,
    at: Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    GoingAway,
    /// To be told when the pump has settled everything.
    Losing(LaneError),
    Over,
}

impl Lane {
    /// A connection whose TLS handshake (with ALPN `h2`) is done.
    pub fn new(now: Time, config: LaneConfig) -> Lane {
        let authority = Authority::try_from(&*config.authority).ok();
        let pump = ClientPump::new(ClientConfig {
            initial_streams_max: 1,
            streams_max: usize::from(config.window_max).max(1),
            answer_bytes_max: ANSWER_BYTES_MAX,
            output_bytes_max: OUTPUT_BYTES_MAX,
            input_bytes_max: OUTPUT_BYTES_MAX,
        });
        let mut lane = Lane {
            window: Window::new(config.first_window, config.window_max),
            phase: Phase::Open,
            events: VecDeque::new(),
            sent: VecDeque::new(),
            opened: now,
            heard: now,
            pinged: None,
            pushes: 0,
            unanswered_in_row: 0,
            doubts_in_row: 0,
            starved_since: None,
            payload_bytes: 0,
            spent_since: None,
            credit_us: 0,
            config,
            authority,
            pump,
        };
        if lane.authority.is_none() {
            lane.lose(now, LaneError::BadAuthority);
        }
        lane.settle(now);
        lane
    }

    /// Takes bytes from the provider, cut anywhere.
    pub fn feed(&mut self, now: Time, data: &[u8]) {
        self.heard = now;
        self.pinged = None;
        self.pump.feed(data);
        self.settle(now);
    }

    /// Appends at most `bytes_max` bytes for the provider to `out`. True: there is more.
    ///
    /// A push whose last byte has not left here is safe to send elsewhere when the connection fails.
    pub fn drain(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        self.pump.drain(out, bytes_max)
    }

    /// Pushes of any size that may be sent now. Ask again after each: small ones leave room for more than this said.
    pub fn room(&self) -> usize {
        if self.phase != Phase::Open || self.pump.is_clogged() || self.is_doubtful() {
            return 0;
        }
        let streams = self.pump.streams_max().min(self.window.limit());
        let windows = self.pump.send_window().max(0) as usize / APNS_PAYLOAD_BYTES_MAX;
        streams.saturating_sub(self.pump.in_flight()).min(windows)
    }

    /// Sends a push. `flight` names it in [`LaneEvent::Settled`], which comes in any case.
    ///
    /// # Errors
    /// [`NoRoom`]: nothing was taken.
    pub fn send(&mut self, now: Time, flight: u64, push: &PushRequest<'_>) -> Result<(), NoRoom> {
        let window_full = self.pump.in_flight() >= self.window.limit();
        if self.phase != Phase::Open || window_full || self.pump.is_clogged() || self.is_doubtful() {
            return Err(NoRoom);
        }
        let Some(authority) = &self.authority else { return Err(NoRoom) };
        if push.payload.len() > APNS_PAYLOAD_BYTES_MAX {
            self.settled(now, Sent { flight, at: now }, Outcome::TooLarge);
            return Ok(());
        }
        let head = match apns::head(authority, push) {
            Ok(head) => head,
            Err(reason) => {
                self.settled(now, Sent { flight, at: now }, Outcome::Rejected(reason));
                return Ok(());
            }
        };
        let body = Bytes::copy_from_slice(push.payload);
        match self.pump.open(head, body, Sent { flight, at: now }) {
            Ok(stream) => {
                self.sent.push_back((now, stream));
                self.payload_bytes = blend(self.payload_bytes, push.payload.len() as u64);
                self.pushes += 1;
                if self.pushes >= self.config.pushes_max {
                    self.go_away(Reason::new("Retired"), false);
                }
            }
            Err(OpenError::Malformed) => {
                let outcome = Outcome::Rejected(Reason::new("Unsendable"));
                self.settled(now, Sent { flight, at: now }, outcome);
            }
            Err(OpenError::Closed | OpenError::Streams | OpenError::Window) => return Err(NoRoom),
        }
        self.settle(now);
        Ok(())
    }

    /// The next event.
    pub fn poll(&mut self, now: Time) -> Option<LaneEvent> {
        if self.events.is_empty() {
            // Draining may have let the pump go on.
            self.settle(now);
        }
        self.events.pop_front()
    }

    /// When [`Lane::on_deadline`] is due. It may be called early.
    pub fn next_deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Open | Phase::GoingAway => {}
            Phase::Losing(_) | Phase::Over => return None,
        }
        let answer = self.sent.front().map(|(at, _)| *at + self.config.response_timeout);
        let settings = (!self.pump.has_settings()).then_some(self.opened + self.config.settings_timeout);
        let ping = match self.pinged {
            Some(at) => at + self.config.ping_timeout,
            None => self.ping_at(),
        };
        let starved = self.starved_since.map(|at| at + self.config.response_timeout);
        [answer, settings, Some(ping), starved].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn on_deadline(&mut self, now: Time) {
        if matches!(self.phase, Phase::Losing(_) | Phase::Over) {
            return;
        }
        if !self.pump.has_settings() && now >= self.opened + self.config.settings_timeout {
            return self.lose(now, LaneError::NoSettings);
        }
        match self.pinged {
            Some(at) if now >= at + self.config.ping_timeout => {
                return self.lose(now, LaneError::Silent);
            }
            None if now >= self.ping_at() => self.ping(now),
            Some(_) | None => {}
        }
        self.give_up_unanswered(now);
        if self.starved_since.is_some_and(|at| now >= at + self.config.response_timeout) {
            self.go_away(Reason::new("Starved"), false);
        }
        self.settle(now);
    }

    /// The transport is gone. Every push in flight is settled: safe when its last byte never left through
    /// [`Lane::drain`] or a GOAWAY left it out, otherwise ambiguous.
    pub fn closed(&mut self, now: Time) {
        self.pump.closed();
        self.settle(now);
        self.phase = Phase::Over;
        self.events.retain(|event| !matches!(event, LaneEvent::Lost(_)));
    }

    /// Stops taking pushes. When all in flight are settled, [`LaneError::Finished`] comes.
    pub fn retire(&mut self, now: Time) {
        self.go_away(Reason::new("Retired"), false);
        self.settle(now);
    }

    /// Pushes without an answer.
    pub fn in_flight(&self) -> usize {
        self.pump.in_flight()
    }

    /// Whether pushes can ever be taken again.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Why there is no room; `None` when there is, and when the lane is not open.
    pub fn blocked(&self) -> Option<Blocked> {
        if self.phase != Phase::Open || self.room() > 0 {
            None
        } else if self.is_doubtful() {
            Some(Blocked::Silence)
        } else if self.pump.is_clogged() {
            Some(Blocked::Output)
        } else if self.pump.in_flight() >= self.pump.streams_max() {
            Some(Blocked::Streams)
        } else if self.pump.in_flight() >= self.window.limit() {
            Some(Blocked::Window)
        } else {
            Some(Blocked::Bytes)
        }
    }

    /// Bytes that wait to be drained.
    pub fn unsent_bytes(&self) -> usize {
        self.pump.unsent_bytes()
    }

    /// Whether it keeps to its bounds: what is in flight to our own, and what it would let in now to the provider's limit
    /// of streams, to its own window and to the send window in bytes. More may be in flight than the limits of now, which
    /// fall while it is.
    ///
    /// # Errors
    /// Says which does not hold.
    pub fn check(&self) -> Result<(), String> {
        let (in_flight, room) = (self.pump.in_flight(), self.room());
        let window_max = usize::from(self.config.window_max);
        if in_flight > window_max {
            return Err(format!("{in_flight} pushes in flight on a lane, {window_max} is the most"));
        }
        let full = in_flight + room;
        let (streams, window, bytes) =
            (self.pump.streams_max(), self.window.limit(), self.pump.send_window());
        if room > 0 && (full > streams || full > window || (room * APNS_PAYLOAD_BYTES_MAX) as i64 > bytes) {
            return Err(format!(
                "a lane with {in_flight} in flight has room for {room}: {streams} streams, a window of {window} and {bytes} \
                 bytes are granted"
            ));
        }
        Ok(())
    }

    /// How many pushes it carries in `span` as things are: a full set of streams in each answer's time, and a full send
    /// window in the time in which credit comes back. `None` before the first answer.
    pub fn carries(&self, span: Span) -> Option<u64> {
        let answer_us = self.window.usual().0;
        if answer_us == 0 {
            return None;
        }
        let streams = self.pump.streams_max() as u64 * span.0 / answer_us;
        let window = CONNECTION_WINDOW_BYTES / self.payload_bytes.max(1);
        Some(streams.min(window * span.0 / answer_us.max(self.credit_us)))
    }

    /// Begins small again, as after an outage: what has piled up is not to come back all at once.
    pub fn slow_down(&mut self) {
        self.window.begin_again();
    }

    /// Takes what the pump has to say, and draws the conclusions.
    fn settle(&mut self, now: Time) {
        while let Some(event) = self.pump.poll() {
            match event {
                ClientEvent::Answered { flight, response } => self.answered(now, flight, &response),
                ClientEvent::Failed { flight, failure } => self.failed(now, flight, failure),
                ClientEvent::Pong => {}
                ClientEvent::GoAway { code, debug, .. } => {
                    let (reason, refused) =
                        farewell(&debug).unwrap_or_else(|| (Reason::new(code_name(code)), false));
                    self.go_away(reason, refused);
                }
                ClientEvent::Closed { error } => self.over(error),
            }
        }
        if self.phase == Phase::GoingAway && self.pump.in_flight() == 0 {
            // Says GOAWAY in turn, if there is room for it.
            self.pump.finish();
            self.over(None);
        }
        self.tidy();
        self.account(now);
    }

    fn answered(&mut self, now: Time, flight: Flight<Sent>, response: &Response) {
        let body = response.whole.then_some(&response.body[..]);
        let retry_after = response.headers.get(http::header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok());
        let classified = classify(response.status, body, retry_after);
        let sent = flight.tag;
        let proof = match &classified.outcome {
            Outcome::Accepted
            | Outcome::TokenGone { .. }
            | Outcome::TokenSuspect(_)
            | Outcome::Throttled { .. }
            | Outcome::TooLarge
            | Outcome::Rejected(_) => true,
            Outcome::AuthStale(_)
            | Outcome::TooManyTokens(_)
            | Outcome::ServiceRefused(_)
            | Outcome::Retry { .. } => false,
        };
        self.window.answered(now, sent.at, self.pump.in_flight() + 1, proof);
        self.unanswered_in_row = 0;
        let name = Reason::new(&format!("Http{}", response.status));
        match classified.connection {
            ConnectionFate::Keep => self.doubts_in_row = 0,
            ConnectionFate::Doubt => {
                self.doubts_in_row += 1;
                if self.doubts_in_row >= DOUBTS_MAX {
                    self.go_away(name, false);
                }
            }
            ConnectionFate::Replace => match &classified.outcome {
                Outcome::ServiceRefused(reason) => self.go_away(reason.clone(), true),
                Outcome::AuthStale(reason) | Outcome::TokenSuspect(reason) | Outcome::Rejected(reason) => {
                    self.go_away(reason.clone(), false)
                }
                Outcome::Accepted
                | Outcome::TokenGone { .. }
                | Outcome::TooManyTokens(_)
                | Outcome::Throttled { .. }
                | Outcome::TooLarge
                | Outcome::Retry { .. } => self.go_away(name, false),
            },
        }
        self.settled(now, sent, classified.outcome);
    }

    fn failed(&mut self, now: Time, flight: Flight<Sent>, failure: Failure) {
        let certainty = match failure {
            Failure::NotProcessed => Certainty::Safe,
            Failure::Reset(code::REFUSED_STREAM) => {
                self.window.refused(now, flight.tag.at);
                Certainty::Safe
            }
            Failure::Reset(_) | Failure::Lost => certainty(&flight),
        };
        self.settled(now, flight.tag, Outcome::Retry { certainty, scope: RetryScope::Lane });
    }

    fn give_up_unanswered(&mut self, now: Time) {
        while let Some((at, stream)) = self.sent.front().copied()
            && at + self.config.response_timeout <= now
        {
            self.sent.pop_front();
            // It may have been settled long ago.
            let Some(flight) = self.pump.cancel(stream) else { continue };
            self.window.unanswered(now, at);
            let outcome = Outcome::Retry { certainty: certainty(&flight), scope: RetryScope::Lane };
            self.settled(now, flight.tag, outcome);
            self.unanswered_in_row += 1;
            if self.pinged.is_none() {
                self.ping(now);
            }
            if self.unanswered_in_row >= UNANSWERED_MAX {
                self.go_away(Reason::new("Unanswered"), false);
            }
        }
    }

    fn settled(&mut self, now: Time, sent: Sent, outcome: Outcome) {
        let took = now.since(sent.at);
        self.events.push_back(LaneEvent::Settled { flight: sent.flight, outcome, took });
    }

    fn ping_at(&self) -> Time {
        let idle = self.heard + self.config.ping_idle;
        match self.sent.front() {
            Some((at, _)) => idle.min(self.heard.max(*at) + self.config.ping_busy),
            None => idle,
        }
    }

    /// Whether nothing has been heard since a PING, and pushes wait: perhaps it died, so that it gets no more of them.
    fn is_doubtful(&self) -> bool {
        self.pinged.is_some() && self.pump.in_flight() > 0
    }

    fn ping(&mut self, now: Time) {
        self.pinged = Some(now);
        self.pump.ping();
    }

    fn go_away(&mut self, reason: Reason, refused: bool) {
        if self.phase == Phase::Open {
            self.phase = Phase::GoingAway;
            self.events.push_back(LaneEvent::GoingAway { reason, refused });
        }
    }

    fn lose(&mut self, now: Time, error: LaneError) {
        self.phase = Phase::Losing(error);
        self.pump.closed();
        self.settle(now);
    }

    /// The pump has settled everything and is closed.
    fn over(&mut self, error: Option<Box<str>>) {
        let error = match (std::mem::replace(&mut self.phase, Phase::Over), error) {
            (Phase::Losing(error), _) => error,
            (Phase::GoingAway, _) => LaneError::Finished,
            (Phase::Open, Some(text)) => LaneError::Protocol(text),
            (Phase::Open, None) => LaneError::Finished,
            (Phase::Over, _) => return,
        };
        self.events.push_back(LaneEvent::Lost(error));
    }

    /// Forgets settled streams: at the front always, elsewhere when they are the most.
    fn tidy(&mut self) {
        while let Some((_, stream)) = self.sent.front()
            && !self.pump.is_waiting(*stream)
        {
            self.sent.pop_front();
        }
        if self.sent.len() > 2 * self.pump.in_flight() + SENT_SPARE {
            let pump = &self.pump;
            self.sent.retain(|(_, stream)| pump.is_waiting(*stream));
        }
    }

    fn account(&mut self, now: Time) {
        let blocked = self.blocked();
        match (self.spent_since, blocked == Some(Blocked::Bytes)) {
            (None, true) => self.spent_since = Some(now),
            (Some(since), false) => {
                self.spent_since = None;
                self.credit_us = blend(self.credit_us, now.since(since).0);
            }
            (None, false) | (Some(_), true) => {}
        }
        // With SETTINGS still to come there is another deadline.
        let starved = blocked.is_some() && self.pump.in_flight() == 0;
        self.starved_since = starved.then(|| self.starved_since.unwrap_or(now));
    }
}

/// A moving average over about eight values; the first counts whole.
fn blend(average: u64, value: u64) -> u64 {
    if average == 0 { value } else { (average * 7 + value) / 8 }
}

fn certainty(flight: &Flight<Sent>) -> Certainty {
    if flight.left { Certainty::Ambiguous } else { Certainty::Safe }
}

/// The name of an error code (RFC 9113 §7).
fn code_name(code: u32) -> &'static str {
    match code {
        code::NO_ERROR => "NoError",
        code::PROTOCOL_ERROR => "ProtocolError",
        code::INTERNAL_ERROR => "InternalError",
        code::FLOW_CONTROL_ERROR => "FlowControlError",
        code::REFUSED_STREAM => "RefusedStream",
        code::CANCEL => "Cancel",
        code::ENHANCE_YOUR_CALM => "EnhanceYourCalm",
        _ => "OtherError",
    }
}

/// Pushes in a row without an answer that make a lane retire: one may be lost on the way, several mean the connection.
const UNANSWERED_MAX: u32 = 3;

/// Internal errors (500) in a row that make a lane retire: seen on connections that had been idle past their token.
const DOUBTS_MAX: u32 = 3;

/// What a connection's send window is opened to: no provider has been seen to go beyond the value that it begins with (RFC
/// 9113 §6.9.2).
const CONNECTION_WINDOW_BYTES: u64 = 65_535;

/// Settled streams that may stand in the row of those sent before it is swept.
const SENT_SPARE: usize = 64;
