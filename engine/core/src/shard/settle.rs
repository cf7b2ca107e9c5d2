//! What became of a push, and what follows from it.

use super::core::ShardCore;
use super::flight::{Flight, FlightId};
use super::{Effect, Effects, Report};
use crate::ledger::{Station, Superseded, Suppressed};
use crate::limits::{CLOCK_SKEW_MS_MAX, PUSH_BACK_OFF, STALE_GONE_MAX};
use crate::push::{Certainty, Outcome, RetryScope};
use crate::time::{Now, Span, UnixMillis};
use crate::user::{DeviceId, UserId};

impl ShardCore {
    /// The fate of one push.
    pub(super) fn settle(&mut self, now: Now, flight_id: FlightId, outcome: Outcome, fx: &mut Effects) {
        let Some(flight) = self.flights.get_mut(flight_id) else { return };
        flight.lane = None;
        let (user_id, service) = (flight.user, flight.service);
        self.stats.answers[answer_index(&outcome)] += 1;
        match outcome {
            Outcome::Accepted => {
                if let Some(flight) = self.flights.get(flight_id) {
                    let (device, proves) = (flight.device, !flight.token_stale);
                    self.app_worked(now, service, device, proves, fx);
                }
                self.service_worked(service, fx);
                self.accepted(flight_id, fx);
            }
            // It was sent to a token that has been replaced meanwhile, or that may have become right.
            Outcome::TokenGone { .. } if flight.token_stale => {
                self.not_processed(now, flight_id, Span::ZERO, fx);
            }
            Outcome::TokenSuspect(_) if flight.registered_since => {
                self.never_taken(now, flight_id, fx);
            }
            Outcome::TokenGone { since } => self.token_gone(now, flight_id, since, fx),
            Outcome::TokenSuspect(reason) => self.token_doubted(now, flight_id, &reason, fx),
            Outcome::AuthStale(reason) => {
                let used = flight.jwt.clone();
                self.not_processed(now, flight_id, Span::ZERO, fx);
                if let Some(used) = used {
                    self.token_refused(now, service, &used, &reason, fx);
                }
            }
            Outcome::TooManyTokens(reason) => {
                let used = flight.jwt.clone();
                self.not_processed(now, flight_id, Span::ZERO, fx);
                if let Some(used) = used {
                    self.token_over_budget(now, service, &used, &reason, fx);
                }
            }
            Outcome::ServiceRefused(reason) => {
                self.not_processed(now, flight_id, Span::ZERO, fx);
                self.refuse_service(now, service, &reason, fx);
            }
            Outcome::Throttled { retry_ms } => {
                let wait = self.device_back_off(flight_id);
                let asked = retry_ms.map_or(Span::ZERO, Span::from_millis);
                self.not_processed(now, flight_id, wait.max(asked), fx);
            }
            Outcome::TooLarge => self.refused_for_good(now, flight_id, "PayloadTooLarge", fx),
            Outcome::Rejected(reason) => self.refused_for_good(now, flight_id, reason.as_str(), fx),
            Outcome::Retry { certainty, scope } => {
                match (certainty, scope) {
                    (Certainty::Safe, RetryScope::Lane) => {
                        self.not_processed(now, flight_id, Span::ZERO, fx);
                    }
                    (Certainty::Safe, RetryScope::Service) => {
                        let wait = self.device_back_off(flight_id);
                        self.not_processed(now, flight_id, wait, fx);
                    }
                    (Certainty::Ambiguous, RetryScope::Lane | RetryScope::Service) => {
                        self.perhaps_processed(now, flight_id, scope, fx);
                    }
                }
                if scope == RetryScope::Service {
                    self.service_failed(now, service, fx);
                }
            }
        }
        // Whatever became of it: the device may be gone, and others of the user waited for this one.
        self.tidy(user_id);
        self.look_due(now, user_id, fx);
        self.use_room(now, service, fx);
    }

    fn accepted(&mut self, flight_id: FlightId, fx: &mut Effects) {
        let Some(flight) = self.end_flight(flight_id, Station::Accepted) else { return };
        if flight.mails > 0 {
            fx.push(Effect::Accepted(flight.times));
        }
        let Some(device) = self.devices.get_mut(flight.device) else { return };
        (device.failures, device.stale_gones) = (0, 0);
        // What another phone shows, or the app before it was installed anew, says nothing about this one.
        let badge = flight.badge.filter(|_| !flight.token_stale).or(device.badge);
        let changed = badge != device.badge || flight.mails > 0;
        device.badge = badge;
        if flight.mails > 0 {
            device.unsettled = None;
        }
        let (key, unsettled) = (device.key, device.unsettled.map(|unsettled| unsettled.notice));
        if changed && let Some(user) = self.users.get(flight.user) {
            fx.report(Report::Device { user: user.key, device: key, badge, unsettled });
        }
    }

    /// 410: believed only if it is younger than the registration. Without a time stamp, or with one from a future that
    /// shows that the clocks differ, nobody can say that it is.
    fn token_gone(&mut self, now: Now, flight_id: FlightId, since: Option<UnixMillis>, fx: &mut Effects) {
        let Some(flight) = self.flights.get(flight_id) else { return };
        let (user_id, device_id) = (flight.user, flight.device);
        let Some(device) = self.devices.get_mut(device_id) else {
            self.end_flight(flight_id, Station::Returned);
            return;
        };
        let comparable = |since: &UnixMillis| since.millis_since(now.unix) <= CLOCK_SKEW_MS_MAX;
        let is_gone = since.filter(comparable).is_some_and(|since| since > device.registered);
        if is_gone || planted!(StaleGoneBelieved) {
            let device_key = device.key;
            if planted!(GoneKept) {
                return self.refused_for_good(now, flight_id, "Unregistered", fx);
            }
            self.end_flight(flight_id, Station::Returned);
            self.remove_device(user_id, device_id, Suppressed::TokenGone);
            if let Some(user) = self.users.get(user_id) {
                fx.report(Report::DeviceGone { user: user.key, device: device_key, since });
            }
            return;
        }
        self.stats.tokens_kept += 1;
        if device.stale_gones >= STALE_GONE_MAX {
            self.say_given_up(now, flight_id, "Unregistered", STALE, fx);
            if let Some(flight) = self.end_flight(flight_id, Station::Returned) {
                self.give_up(&flight, Suppressed::Rejected, fx);
            }
            return;
        }
        device.stale_gones += 1;
        let wait = self.device_back_off(flight_id);
        self.not_processed(now, flight_id, wait, fx);
    }

    /// This attempt was not processed. What became of an earlier one may be unknown: then the push stays as it is.
    fn not_processed(&mut self, now: Now, flight_id: FlightId, wait: Span, fx: &mut Effects) {
        if self.flights.get(flight_id).is_some_and(|flight| flight.ambiguous > 0) {
            return self.send_again(now, flight_id, wait, fx);
        }
        self.stats.resends_safe += 1;
        self.come_back(now, flight_id, wait, fx);
    }

    /// Nobody knows whether this attempt was processed. After the first loss of a lane it goes out again at once; a service
    /// that fails is given time.
    fn perhaps_processed(&mut self, now: Now, flight_id: FlightId, scope: RetryScope, fx: &mut Effects) {
        if planted!(AmbiguousTakenForSafe) {
            return self.come_back(now, flight_id, Span::ZERO, fx);
        }
        let Some(flight) = self.flights.get_mut(flight_id) else { return };
        flight.apns_id ^= u128::from(planted!(NewApnsId));
        flight.ambiguous = flight.ambiguous.saturating_add(1);
        let wait = match (flight.ambiguous, scope) {
            (1, RetryScope::Lane) => Span::ZERO,
            (n, RetryScope::Lane) => self.jittered(PUSH_BACK_OFF.0, PUSH_BACK_OFF.1, n - 2),
            (n, RetryScope::Service) => self.jittered(PUSH_BACK_OFF.0, PUSH_BACK_OFF.1, n - 1),
        };
        self.send_again(now, flight_id, wait, fx);
    }

    /// The push was certainly never processed: its mails wait again, and fold with what came since.
    pub(super) fn come_back(&mut self, now: Now, flight_id: FlightId, wait: Span, fx: &mut Effects) {
        let Some(flight) = self.end_flight(flight_id, Station::Returned) else { return };
        if let Some(why) = self.unwanted(&flight) {
            return self.give_up(&flight, why, fx);
        }
        if let Some(device) = self.devices.get_mut(flight.device) {
            device.not_before = device.not_before.max(now.time + wait);
        }
        if let Some(user) = self.users.get_mut(flight.user) {
            if flight.mails > 0 {
                user.pending.mark_waiting(flight.times.signalled);
            }
            // What was due stays due: the interval was kept before the first attempt.
            user.told_at = None;
        }
    }

    /// The same bytes under the same `apns-id`, on whichever lane has room then.
    fn send_again(&mut self, now: Now, flight_id: FlightId, wait: Span, fx: &mut Effects) {
        let Some(flight) = self.flights.get_mut(flight_id) else { return };
        flight.not_before = now.time + wait;
        let service = flight.service;
        let expired = now.time.since(flight.times.signalled)
            > Span::from_secs(self.config.timing.alert_expiry_s.into());
        let Some(flight) = self.flights.get(flight_id) else { return };
        let unwanted = self.unwanted(flight);
        if expired || unwanted.is_some() {
            if unwanted.is_none() {
                self.say_given_up(now, flight_id, "expired", EXPIRED, fx);
            }
            let Some(flight) = self.end_flight(flight_id, Station::Returned) else { return };
            if let Some(why) = unwanted {
                self.give_up(&flight, why, fx);
            } else {
                self.stats.ledger.enter(Station::Expired, u64::from(flight.mails));
                self.forget_owed(&flight, fx);
            }
            return;
        }
        self.stats.resends_ambiguous += 1;
        self.wait_for_lane(flight_id);
        self.note_blocked(now, service, fx);
    }

    /// Why a notice that did not go through is not to be sent again.
    fn unwanted(&self, flight: &Flight) -> Option<Suppressed> {
        let Some(device) = self.devices.get(flight.device) else { return Some(Suppressed::Removed) };
        let wanted = if flight.mails > 0 { device.settings.alerts } else { device.settings.badge };
        if device.stopped && !planted!(StopIgnored) {
            Some(Suppressed::Stopped)
        } else {
            (!wanted).then_some(Suppressed::AlertsOff)
        }
    }

    /// The provider will not take this notice: its mails are not told to this device.
    fn give_up(&mut self, flight: &Flight, why: Suppressed, fx: &mut Effects) {
        if self.devices.get(flight.device).is_none() {
            return;
        }
        self.stats.ledger.enter(Station::Suppressed(why), u64::from(flight.mails));
        self.forget_owed(flight, fx);
        let Some(device) = self.devices.get_mut(flight.device) else { return };
        if flight.mails == 0 && why == Suppressed::Rejected {
            // A badge that is refused for good is not offered again until it changes.
            device.badge = flight.badge;
        }
    }

    fn refused_for_good(&mut self, now: Now, flight_id: FlightId, code: &str, fx: &mut Effects) {
        self.say_given_up(now, flight_id, code, REFUSED, fx);
        if let Some(flight) = self.end_flight(flight_id, Station::Returned) {
            self.give_up(&flight, Suppressed::Rejected, fx);
        }
    }

    /// A push is about to be given up.
    fn say_given_up(&mut self, now: Now, flight_id: FlightId, code: &str, why: &str, fx: &mut Effects) {
        if let Some(flight) = self.flights.get(flight_id) {
            let (user_id, device_id) = (flight.user, flight.device);
            self.report_given_up(now, user_id, device_id, code, why, fx);
        }
    }

    fn forget_owed(&mut self, flight: &Flight, fx: &mut Effects) {
        let Some(device) = self.devices.get_mut(flight.device) else { return };
        device.owed -= flight.mails;
        device.told_seq = flight.to_seq;
        device.unsettled = None;
        let (key, badge) = (device.key, device.badge);
        if let Some(user) = self.users.get(flight.user) {
            fx.report(Report::Device { user: user.key, device: key, badge, unsettled: None });
        }
    }

    /// Takes a flight out of the air. `Returned` gives its mails back to the device, whatever follows.
    fn end_flight(&mut self, flight_id: FlightId, station: Station) -> Option<Flight> {
        let flight = self.flights.remove(flight_id)?;
        self.stats.pushes_in_flight -= 1;
        self.stats.ledger.enter(station, u64::from(flight.mails));
        if let Some(user) = self.users.get_mut(flight.user) {
            user.flights = user.flights.saturating_sub(1);
        }
        match self.devices.get_mut(flight.device) {
            Some(device) => {
                device.flight = None;
                if station == Station::Returned {
                    device.owed += flight.mails;
                    device.told_seq = flight.from_seq;
                }
            }
            None if station == Station::Returned => {
                self.stats.ledger.enter(Station::Suppressed(Suppressed::Removed), u64::from(flight.mails));
            }
            None => {}
        }
        Some(flight)
    }

    /// The device of a flight was removed or stopped. A push that waits to be sent again ends here; one that is
    /// on a lane is ended by its answer.
    pub(super) fn end_unsent(&mut self, flight_id: FlightId, why: Suppressed) {
        if self.flights.get(flight_id).is_some_and(|flight| flight.lane.is_some()) {
            return;
        }
        let Some(flight) = self.flights.remove(flight_id) else { return };
        self.stats.pushes_in_flight -= 1;
        self.stats.ledger.enter(Station::Returned, u64::from(flight.mails));
        self.stats.ledger.enter(Station::Suppressed(why), u64::from(flight.mails));
        if let Some(user) = self.users.get_mut(flight.user) {
            user.flights = user.flights.saturating_sub(1);
        }
        if let Some(device) = self.devices.get_mut(flight.device) {
            device.flight = None;
        }
    }

    /// Notices of an earlier life have been looked up, or cannot be: they may go out again.
    pub(super) fn resolve_unsettled(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get(user_id) else { return };
        let devices: Vec<DeviceId> = user.devices.clone();
        let looked_up = user.server.is_some();
        for device_id in devices {
            let Some(user) = self.users.get(user_id) else { return };
            let Some(device) = self.devices.get_mut(device_id) else { continue };
            let Some(unsettled) =
                device.unsettled.as_mut().filter(|unsettled| unsettled.frozen && !unsettled.resolved)
            else {
                continue;
            };
            unsettled.resolved = true;
            let mails = u32::from(unsettled.notice.mails);
            if looked_up && mails == 1 {
                // The look has not found it: read or deleted meanwhile. If it had been accepted, the phone has it; if
                // not, nobody misses it.
                device.unsettled = None;
                let gone = mails.min(device.owed);
                device.owed -= gone;
                self.stats.ledger.enter(Station::Superseded(Superseded::Gone), u64::from(gone));
                let (key, badge) = (device.key, device.badge);
                fx.report(Report::Device { user: user.key, device: key, badge, unsettled: None });
            }
        }
        self.tidy(user_id);
        self.look_due(now, user_id, fx);
    }

    fn device_back_off(&mut self, flight_id: FlightId) -> Span {
        let device_id = self.flights.get(flight_id).map(|flight| flight.device);
        let Some(device) = device_id.and_then(|id| self.devices.get_mut(id)) else { return Span::ZERO };
        let failures = device.failures;
        device.failures = failures.saturating_add(1);
        self.jittered(PUSH_BACK_OFF.0, PUSH_BACK_OFF.1, failures)
    }
}

const REFUSED: &str = "The provider refuses this push for good, and not because of its token or of our configuration: \
                       that is a mistake of this service, or an answer that it does not know. Report it to its makers.";
const STALE: &str = "The provider says again and again that the token is gone since before it was registered: the clocks of \
                     this host and of the provider differ, or the app must register again.";
const EXPIRED: &str = "The provider could not be reached, or did not say what became of the push, until it was no news any \
                       more.";

fn answer_index(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Accepted => 0,
        Outcome::TokenGone { .. } => 1,
        Outcome::TokenSuspect(_) => 2,
        Outcome::AuthStale(_) | Outcome::TooManyTokens(_) => 3,
        Outcome::ServiceRefused(_) => 4,
        Outcome::Throttled { .. } => 5,
        Outcome::TooLarge => 6,
        Outcome::Retry { .. } => 7,
        Outcome::Rejected(_) => 8,
    }
}
