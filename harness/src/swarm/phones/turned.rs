//! What is turned at push services for a while, each thing by itself.

use super::super::run::Life;
use crate::apns::{Knobs, Latency, Rate, Reason, Share, WindowPolicy};

/// What is turned at a push service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Streams on one connection.
    Streams(u32),
    /// When the window is opened again.
    Window(WindowPolicy),
    /// What an answer takes.
    Latency(Latency),
    /// What one device takes.
    DeviceRate(Rate),
    /// So many are refused for this reason.
    Refused(Share, Reason),
    /// So many streams are refused before anything is processed.
    RefusedStreams(Share),
    /// Each connection gets GOAWAY after so many streams, with so many left unprocessed.
    Goaways(u32, u32),
    /// Connections with more answers of status 400 are sent away.
    Faults(u32),
    /// Answers take longer with the connection's age, by so many microseconds for each second.
    Aging(u32),
    /// Provider tokens within twenty minutes.
    TokenBudget(usize),
}

impl Turned {
    pub(super) fn apply(self, knobs: &mut Knobs) {
        match self {
            Turned::Streams(streams) => knobs.streams_max = streams,
            Turned::Window(policy) => knobs.window = policy,
            Turned::Latency(latency) => knobs.latency = latency,
            Turned::DeviceRate(rate) => knobs.device_rate = Some(rate),
            Turned::Refused(share, reason) => (knobs.refusals, knobs.refusal) = (share, reason),
            Turned::Goaways(after, unprocessed) => {
                (knobs.goaway_after_streams, knobs.goaway_unprocessed) = (Some(after), unprocessed);
            }
            Turned::Faults(faults) => knobs.faults_max = Some(faults),
            Turned::Aging(growth) => knobs.latency_growth_us_per_s = growth,
            Turned::TokenBudget(tokens) => knobs.tokens.tokens_max = tokens,
            Turned::RefusedStreams(share) => {
                (knobs.resets_before, knobs.reset_code) = (share, REFUSED_STREAM)
            }
        }
    }

    /// As it is on a good day.
    fn undo(self, knobs: &mut Knobs, good: &Knobs) {
        match self {
            Turned::Streams(_) => knobs.streams_max = good.streams_max,
            Turned::Window(_) => knobs.window = good.window,
            Turned::Latency(_) => knobs.latency = good.latency,
            Turned::DeviceRate(_) => knobs.device_rate = good.device_rate,
            Turned::Refused(..) => knobs.refusals = good.refusals,
            Turned::Goaways(..) => knobs.goaway_after_streams = good.goaway_after_streams,
            Turned::Faults(_) => knobs.faults_max = good.faults_max,
            Turned::Aging(_) => knobs.latency_growth_us_per_s = good.latency_growth_us_per_s,
            Turned::TokenBudget(_) => knobs.tokens.tokens_max = good.tokens.tokens_max,
            Turned::RefusedStreams(_) => {
                (knobs.resets_before, knobs.reset_code) = (good.resets_before, good.reset_code);
            }
        }
    }
}

const REFUSED_STREAM: u32 = 7;

impl Life {
    pub(super) fn turn_all(&mut self, change: impl Fn(&mut Knobs)) {
        for service in 0..self.town.world.apns.len() {
            self.town.turn_push_service(service, &change);
        }
    }

    /// Turns back what has been turned for long enough. What was turned since in the same way stays so.
    pub(in super::super) fn turn_back(&mut self) {
        let now = self.town.world.now().time;
        let good = self.knobs.clone();
        let over: Vec<_> = self.turned.extract_if(.., |(until, _)| *until <= now).collect();
        let lasting: Vec<_> = self.turned.iter().map(|(_, turned)| *turned).collect();
        self.turn_all(|knobs| {
            over.iter().for_each(|(_, turned)| turned.undo(knobs, &good));
            lasting.iter().for_each(|turned| turned.apply(knobs));
        });
    }

    /// Whatever is turned is turned again, after everything was turned back.
    pub(in super::super) fn turn_again(&mut self) {
        let lasting: Vec<_> = self.turned.iter().map(|(_, turned)| *turned).collect();
        self.turn_all(|knobs| lasting.iter().for_each(|turned| turned.apply(knobs)));
    }
}
