//! How long the engine took: from a mail's first byte on the wire to the push's arrival, less the time for which the
//! mail was to wait.
//!
//! A notice is charged for the *first* mail that it tells a phone of, as that one started it; mails that folded into it
//! while it waited are not charged. From its first byte on the wire a mail has to wait
//!
//! - to settle: `settle_ms`, or with VIP mail in the notice `vip_settle_ms` after the first mail, and not before the VIP
//!   mail has come;
//! - without VIP mail, for the rest of `min_interval_ms` since the user's push before, counted from that push's arrival
//!   here (it was written a moment earlier, so that this is charged a moment too little);
//! - together no longer than `max_delay_ms`.
//!
//! Not measured: notices of which a mail was read or deleted before they were told (which deadline is left then is the
//! engine's business), mails that were not streamed but found by a look into the mailbox, and pushes that came again.

use std::collections::VecDeque;

use carillon_core::time::{Span, Time};
use hdrhistogram::Histogram;

use crate::control::Percentiles;
use crate::profile::Service;

/// The measurement.
pub(crate) struct Latency {
    settle: Span,
    vip_settle: Span,
    interval: Span,
    delay_max: Span,
    users: Vec<User>,
    phones: Vec<Phone>,
    all: Histogram<u64>,
    now: Histogram<u64>,
    step: Histogram<u64>,
}

#[derive(Default)]
struct User {
    /// Mails that some phone was not told of, oldest first.
    mails: VecDeque<Mail>,
    next_seq: u64,
    phones: Vec<usize>,
    last_push: Option<Time>,
    /// The newest mail of the round of pushes that was seen last, and the push before that round.
    round: Option<(u64, Option<Time>)>,
}

#[derive(Clone, Copy)]
struct Mail {
    seq: u64,
    item: u64,
    on_wire: Option<Time>,
    vip: bool,
    /// A mail before it was read or deleted while it waited.
    disturbed: bool,
}

struct Phone {
    user: usize,
    /// The first mail that it was not told of; `None` for a phone without alerts.
    next_seq: Option<u64>,
}

impl Latency {
    /// Nobody yet.
    pub(crate) fn new(service: &Service) -> Latency {
        // Microseconds up to an hour, to three digits: within its bounds by construction.
        let histogram = || Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are constants");
        Latency {
            settle: Span::from_millis(service.settle_ms.into()),
            vip_settle: Span::from_millis(service.vip_settle_ms.into()),
            interval: Span::from_millis(service.min_interval_ms.into()),
            delay_max: Span::from_millis(service.max_delay_ms.into()),
            users: Vec::new(),
            phones: Vec::new(),
            all: histogram(),
            now: histogram(),
            step: histogram(),
        }
    }

    /// A user, numbered from 0.
    pub(crate) fn add_user(&mut self) {
        self.users.push(User::default());
    }

    /// A phone, numbered from 0.
    pub(crate) fn add_phone(&mut self, user: usize, alerts: bool) {
        self.users[user].phones.push(self.phones.len());
        self.phones.push(Phone { user, next_seq: alerts.then_some(0) });
    }

    /// The phone is gone: nothing waits for it any more.
    pub(crate) fn phone_gone(&mut self, phone: usize) {
        self.phones[phone].next_seq = None;
        self.tidy(self.phones[phone].user);
    }

    /// A mail came.
    pub(crate) fn mail(&mut self, user: usize, item: u64, vip: bool) {
        let row = &mut self.users[user];
        row.mails.push_back(Mail { seq: row.next_seq, item, on_wire: None, vip, disturbed: false });
        row.next_seq += 1;
        self.tidy(user);
    }

    /// It was handed to the socket.
    pub(crate) fn on_wire(&mut self, user: usize, item: u64, at: Time) {
        if let Some(mail) = self.users[user].mails.iter_mut().rev().find(|mail| mail.item == item) {
            mail.on_wire.get_or_insert(at);
        }
    }

    /// It was read or deleted.
    pub(crate) fn gone(&mut self, user: usize, item: u64) {
        let mails = &mut self.users[user].mails;
        if let Some(at) = mails.iter().position(|mail| mail.item == item) {
            mails.iter_mut().for_each(|mail| mail.disturbed = true);
            mails.remove(at);
        }
    }

    /// A push arrived. Gives the latency if it could be measured.
    pub(crate) fn push(&mut self, phone: usize, at: Time, alert: bool, items: &[u64]) -> Option<Span> {
        let user = self.phones[phone].user;
        let row = &mut self.users[user];
        let before = row.last_push.replace(at);
        let next = self.phones[phone].next_seq.filter(|_| alert)?;
        let newest = row.mails.iter().filter(|mail| items.contains(&mail.item)).map(|mail| mail.seq).max()?;
        let told_before = match row.round {
            Some((seq, told_before)) if seq >= newest => told_before,
            Some(_) | None => {
                row.round = Some((newest, before));
                before
            }
        };
        let covered: Vec<Mail> =
            row.mails.iter().filter(|mail| (next..=newest).contains(&mail.seq)).copied().collect();
        let sample = self.measure(&covered, told_before, at);
        self.phones[phone].next_seq = Some(newest.max(next.saturating_sub(1)) + 1);
        self.tidy(user);
        if let Some(span) = sample {
            self.all.saturating_record(span.0.max(1));
            self.now.saturating_record(span.0.max(1));
            self.step.saturating_record(span.0.max(1));
        }
        sample
    }

    /// Since the start.
    pub(crate) fn all(&self) -> Percentiles {
        percentiles(&self.all)
    }

    /// Since this was last asked.
    pub(crate) fn take_now(&mut self) -> Percentiles {
        let now = percentiles(&self.now);
        self.now.reset();
        now
    }

    /// Since the step began that this ends.
    pub(crate) fn take_step(&mut self) -> Percentiles {
        let step = percentiles(&self.step);
        self.step.reset();
        step
    }

    /// How much later than due a notice came that covers these mails.
    fn measure(&self, covered: &[Mail], told_before: Option<Time>, at: Time) -> Option<Span> {
        let first = covered.first()?.on_wire?;
        if covered.iter().any(|mail| mail.disturbed || mail.on_wire.is_none()) {
            return None;
        }
        let rested = told_before.map_or(Time(0), |told| told + self.interval);
        let mut due = (first + self.settle).max(rested);
        if let Some(vip) = covered.iter().filter(|mail| mail.vip).filter_map(|mail| mail.on_wire).min() {
            due = due.min((first + self.vip_settle).max(vip));
        }
        Some(at.since(due.min(first + self.delay_max)))
    }

    /// Forgets mails that every phone was told of.
    fn tidy(&mut self, user: usize) {
        let row = &mut self.users[user];
        let open =
            row.phones.iter().filter_map(|phone| self.phones[*phone].next_seq).min().unwrap_or(u64::MAX);
        while row.mails.front().is_some_and(|mail| mail.seq < open) {
            row.mails.pop_front();
        }
    }
}

fn percentiles(of: &Histogram<u64>) -> Percentiles {
    let ms = |us: u64| us as f64 / 1_000.0;
    Percentiles {
        count: of.len(),
        p50: ms(of.value_at_quantile(0.5)),
        p90: ms(of.value_at_quantile(0.9)),
        p99: ms(of.value_at_quantile(0.99)),
        p999: ms(of.value_at_quantile(0.999)),
        max: ms(of.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(0) + Span::from_millis(ms)
    }

    fn latency(phones: usize) -> Latency {
        let service = Service {
            settle_ms: 2_000,
            vip_settle_ms: 200,
            min_interval_ms: 5_000,
            max_delay_ms: 15_000,
            ..Service::default()
        };
        let mut latency = Latency::new(&service);
        latency.add_user();
        (0..phones).for_each(|_| latency.add_phone(0, true));
        latency
    }

    fn mail(latency: &mut Latency, item: u64, vip: bool, ms: u64) {
        latency.mail(0, item, vip);
        latency.on_wire(0, item, at(ms));
    }

    #[test]
    fn settling_is_not_charged_and_the_first_mail_counts() {
        let mut latency = latency(1);
        mail(&mut latency, 1, false, 10_000);
        mail(&mut latency, 2, false, 11_900);
        assert_eq!(latency.push(0, at(12_003), true, &[1, 2]), Some(Span::from_millis(3)));
    }

    #[test]
    fn the_interval_is_not_charged_and_each_phone_is_measured() {
        let mut latency = latency(2);
        mail(&mut latency, 1, false, 10_000);
        assert_eq!(latency.push(0, at(12_001), true, &[1]), Some(Span::from_millis(1)));
        assert_eq!(latency.push(1, at(12_004), true, &[1]), Some(Span::from_millis(4)));
        mail(&mut latency, 2, false, 12_500);
        // 12,004 + 5,000.
        assert_eq!(latency.push(0, at(17_006), true, &[2]), Some(Span::from_millis(2)));
        assert_eq!(latency.push(1, at(17_009), true, &[2]), Some(Span::from_millis(5)));
        assert!(latency.users[0].mails.is_empty());
    }

    #[test]
    fn vip_mail_shortens_the_wait() {
        let mut latency = latency(1);
        mail(&mut latency, 1, false, 10_000);
        mail(&mut latency, 2, true, 10_900);
        assert_eq!(latency.push(0, at(10_902), true, &[2]), Some(Span::from_millis(2)));
        mail(&mut latency, 3, true, 11_000);
        assert_eq!(latency.push(0, at(11_201), true, &[3]), Some(Span::from_millis(1)));
    }

    #[test]
    fn what_was_read_meanwhile_is_not_measured() {
        let mut latency = latency(1);
        mail(&mut latency, 1, false, 10_000);
        mail(&mut latency, 2, false, 10_500);
        latency.gone(0, 1);
        assert_eq!(latency.push(0, at(13_000), true, &[2]), None);
        mail(&mut latency, 3, false, 20_000);
        assert_eq!(latency.push(0, at(22_007), true, &[3]), Some(Span::from_millis(7)));
        assert_eq!(latency.all().count, 1);
    }

    #[test]
    fn a_late_push_shows() {
        let mut latency = latency(1);
        mail(&mut latency, 1, false, 10_000);
        latency.push(0, at(12_500), true, &[1]);
        let all = latency.all();
        assert!((499.0..502.0).contains(&all.max), "{all:?}");
        assert_eq!(latency.take_now().count, 1);
        assert_eq!(latency.take_now().count, 0);
    }

    #[test]
    fn each_percentile_is_the_one_of_its_name() {
        let mut latency = latency(1);
        // 1 to 1,000 ms late, each once.
        for late in 1..=1_000 {
            mail(&mut latency, late, false, late * 20_000);
            latency.push(0, at(late * 20_000 + 2_000 + late), true, &[late]);
        }
        for percentiles in [latency.all(), latency.take_now()] {
            assert_eq!(percentiles.count, 1_000);
            let Percentiles { p50, p90, p99, p999, max, .. } = percentiles;
            for (figure, exact) in [(p50, 500.0), (p90, 900.0), (p99, 990.0), (p999, 999.0), (max, 1_000.0)] {
                // Three digits are kept.
                assert!((exact - 0.5..=exact * 1.001).contains(&figure), "{figure} for {exact}");
            }
        }
    }
}
