//! When what happens: drawn from the seed before the first mail.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use carillon_core::rng::Rng;
use carillon_core::time::{Span, Time};

use crate::profile::{Faults, Plan};

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    /// A mail for this user.
    Mail(u32),
    /// This mail is read elsewhere.
    Read(u64),
    /// This mail is deleted.
    Delete(u64),
    /// Something breaks.
    Fault(Fault),
}

/// Something that breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub(crate) enum Fault {
    StreamReset,
    StreamCut,
    ServerBusy,
    SilentStream,
    BackEndRestart,
    Goaway,
    LaneReset,
    StreamAbort,
    Unavailable,
    ThrottledDevice,
    GoneDevice,
    KillService,
}

/// What is still to come.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    heap: BinaryHeap<Reverse<(Time, u64, Act)>>,
    serial: u64,
}

impl Schedule {
    /// The mails and faults of a run that starts to play at `start`. Says how many mails there are, and when the last
    /// one comes.
    pub(crate) fn draw(plan: &Plan, rng: &mut Rng, start: Time) -> (Schedule, u64, Time) {
        let mut schedule = Schedule::default();
        let mut mails = Vec::new();
        let load = &plan.load;
        let users = u64::from(plan.people.users);
        let length = Span::from_secs(load.duration_s.into());
        let end = start + length;
        if load.storm_ms > 0 {
            let span = u64::from(load.storm_ms) * 1_000;
            mails.extend((0..plan.people.users).map(|user| (start + Span(rng.below(span)), user)));
        }
        for _ in 0..u64::from(load.mails_per_s) * u64::from(load.duration_s) {
            // Points that are drawn evenly are a Poisson process, given how many there are.
            mails.push((start + Span(rng.below(length.0)), rng.below(users) as u32));
        }
        if load.burst_every_s.1 > 0 {
            bursts(plan, rng, start, end, &mut mails);
        }
        let last = mails.iter().map(|(at, _)| *at).max().unwrap_or(start);
        let count = mails.len() as u64;
        for (at, user) in mails {
            schedule.add(at, Act::Mail(user));
        }
        for (fault, times) in faults(&plan.faults) {
            for _ in 0..times {
                let at = start + Span(moment(fault, length, rng));
                schedule.add(at, Act::Fault(fault));
            }
        }
        (schedule, count, last)
    }

    /// Mails at an even rate for so long, at random times. Says how many.
    pub(crate) fn add_mails(
        &mut self,
        users: u32,
        mails_per_s: f64,
        length: Span,
        rng: &mut Rng,
        start: Time,
    ) -> u64 {
        let count = (mails_per_s * length.0 as f64 / 1e6).round() as u64;
        for _ in 0..count {
            self.add(start + Span(rng.below(length.0)), Act::Mail(rng.below(users.into()) as u32));
        }
        count
    }

    /// Something more.
    pub(crate) fn add(&mut self, at: Time, act: Act) {
        self.serial += 1;
        self.heap.push(Reverse((at, self.serial, act)));
    }

    /// What is due by `now`, in order.
    pub(crate) fn pop(&mut self, now: Time) -> Option<Act> {
        let Reverse((at, _, act)) = self.heap.peek().copied()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some(act)
    }

    /// When something is due next.
    pub(crate) fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }
}

/// Mails that come together.
fn bursts(plan: &Plan, rng: &mut Rng, start: Time, end: Time, mails: &mut Vec<(Time, u32)>) {
    let load = &plan.load;
    let mut at = start;
    loop {
        at = at + Span::from_secs(load.burst_every_s.draw(rng).max(1).into());
        let span = Span::from_millis(load.burst_ms.draw(rng).into());
        if at + span >= end {
            return;
        }
        for _ in 0..load.burst_mails.draw(rng) {
            mails.push((at + Span(rng.below(span.0 + 1)), rng.below(plan.people.users.into()) as u32));
        }
    }
}

/// When a fault happens, in microseconds from the start.
fn moment(fault: Fault, length: Span, rng: &mut Rng) -> u64 {
    let part = |from: u64, to: u64, rng: &mut Rng| length.0 / 100 * (from + rng.below(to - from));
    match fault {
        // In the middle: there is something in flight, and time to catch up under load.
        Fault::KillService => part(45, 55, rng),
        // Early: it takes a minute to notice.
        Fault::SilentStream => part(5, 15, rng),
        Fault::StreamReset
        | Fault::StreamCut
        | Fault::ServerBusy
        | Fault::BackEndRestart
        | Fault::Goaway
        | Fault::LaneReset
        | Fault::StreamAbort
        | Fault::Unavailable
        | Fault::ThrottledDevice
        | Fault::GoneDevice => part(5, 95, rng),
    }
}

fn faults(plan: &Faults) -> [(Fault, u32); 12] {
    [
        (Fault::StreamReset, plan.stream_resets),
        (Fault::StreamCut, plan.stream_cuts),
        (Fault::ServerBusy, plan.server_busy),
        (Fault::SilentStream, plan.silent_streams),
        (Fault::BackEndRestart, plan.back_end_restarts),
        (Fault::Goaway, plan.goaways),
        (Fault::LaneReset, plan.lane_resets),
        (Fault::StreamAbort, plan.stream_aborts),
        (Fault::Unavailable, plan.unavailable),
        (Fault::ThrottledDevice, plan.throttled_devices),
        (Fault::GoneDevice, plan.gone_devices),
        (Fault::KillService, plan.kill_service),
    ]
}

impl Fault {
    /// Its name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Fault::StreamReset => "stream_resets",
            Fault::StreamCut => "stream_cuts",
            Fault::ServerBusy => "server_busy",
            Fault::SilentStream => "silent_streams",
            Fault::BackEndRestart => "back_end_restarts",
            Fault::Goaway => "goaways",
            Fault::LaneReset => "lane_resets",
            Fault::StreamAbort => "stream_aborts",
            Fault::Unavailable => "unavailable",
            Fault::ThrottledDevice => "throttled_devices",
            Fault::GoneDevice => "gone_devices",
            Fault::KillService => "kill_service",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{BUILTIN, Profile};

    fn drawn(profile: usize, seed: u64) -> (Vec<(Time, Act)>, u64, Time, Plan) {
        let plan = Profile::parse(BUILTIN[profile].0, BUILTIN[profile].1).unwrap().draw(seed);
        let (mut schedule, count, last) = Schedule::draw(&plan, &mut Rng::new(seed), Time(1_000_000));
        let mut acts = Vec::new();
        while let Some(at) = schedule.next() {
            acts.push((at, schedule.pop(at).unwrap()));
        }
        (acts, count, last, plan)
    }

    #[test]
    fn equal_seeds_give_equal_schedules() {
        assert_eq!(drawn(3, 5).0, drawn(3, 5).0);
        assert_ne!(drawn(3, 5).0, drawn(3, 6).0);
    }

    #[test]
    fn a_storm_reaches_each_user_once_within_its_time() {
        let (acts, count, last, plan) = drawn(2, 1);
        let mut users: Vec<u32> = acts
            .iter()
            .map(|(at, act)| match act {
                Act::Mail(user) => {
                    assert!(*at < Time(2_000_000));
                    *user
                }
                Act::Read(_) | Act::Delete(_) | Act::Fault(_) => panic!("{act:?} in a storm"),
            })
            .collect();
        users.sort_unstable();
        users.dedup();
        assert_eq!(users.len() as u64, count);
        assert_eq!(count, u64::from(plan.people.users));
        assert_eq!(acts.last().unwrap().0, last);
    }

    #[test]
    fn every_fault_of_a_rough_day_is_scheduled_as_often_as_drawn() {
        let (acts, _, _, plan) = drawn(3, 9);
        for (fault, times) in faults(&plan.faults) {
            assert!(times > 0, "{fault:?}");
            let found = acts.iter().filter(|(_, act)| *act == Act::Fault(fault)).count();
            assert_eq!(found, times as usize, "{fault:?}");
        }
    }
}
