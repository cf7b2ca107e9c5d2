//! Signals fold into the row, and the row says when its owner is to be told.

use super::core::ShardCore;
use super::fetch::wants_fetch;
use super::{Effects, Report};
use crate::ews::FoundItem;
use crate::ledger::{Station, Superseded, Suppressed};
use crate::names::ItemId;
use crate::notice::MailDetails;
use crate::signal::MailSignal;
use crate::time::{Now, Span, Time, UnixMillis};
use crate::user::{Calling, IdForm, Needs, UserId, is_after, item_hash};

impl ShardCore {
    /// Something happened in a mailbox.
    pub(super) fn signal(&mut self, now: Now, user_id: UserId, signal: MailSignal, fx: &mut Effects) {
        match signal {
            MailSignal::NewMail { item, received, vip } => {
                let server = self.users.get(user_id).and_then(|user| user.server);
                let id_form = match server {
                    Some(server) if self.servers[usize::from(server.0)].old_ids => IdForm::Old,
                    Some(_) | None => IdForm::Given,
                };
                self.fold(now, user_id, item, id_form, received, None, vip, fx);
            }
            MailSignal::Gone { item } => {
                let hash = item_hash(&self.config.item_key, item.as_str());
                self.mail_gone(now, user_id, hash, fx);
            }
            MailSignal::Touched { item } => {
                let hash = item_hash(&self.config.item_key, item.as_str());
                self.touched(now, user_id, hash, fx);
            }
            MailSignal::Unread { count } => {
                if let Some(user) = self.users.get_mut(user_id) {
                    user.unread_heard = Some(now.time);
                }
                self.set_unread(now, user_id, count, fx);
            }
            MailSignal::Gap => {
                if let Some(user) = self.users.get_mut(user_id)
                    && user.server.is_some()
                {
                    user.miss();
                    self.request_call(now, user_id, fx);
                }
            }
        }
    }

    /// A mail that waits has changed, perhaps been read. It is looked at when it is due; if that is over and it waits for a
    /// lane, or for what becomes of its push, then now.
    fn touched(&mut self, now: Now, user_id: UserId, hash: u64, fx: &mut Effects) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let Some(item) = user.pending.find_mut(hash) else { return };
        item.touched = true;
        item.touched_again |= user.calling == Calling::Out;
        let looks = user.due.is_some_and(|due| due > now.time);
        if !looks && user.server.is_some() && user.pending.items().iter().any(wants_fetch) {
            user.needs.add(Needs::FETCH);
            self.request_call(now, user_id, fx);
        }
    }

    /// One new mail.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one mail, taken apart by the two ways it can come"
    )]
    fn fold(
        &mut self,
        now: Now,
        user_id: UserId,
        id: ItemId,
        id_form: IdForm,
        received: UnixMillis,
        details: Option<MailDetails>,
        vip: bool,
        fx: &mut Effects,
    ) {
        let hash = item_hash(&self.config.item_key, id.as_str());
        let Some(user) = self.users.get_mut(user_id) else { return };
        if let Some(server) = user.server {
            let server = &self.servers[usize::from(server.0)];
            user.known.set_present(server.present(now));
            if let Some(ahead_ms) = server.clock_ahead_ms(now) {
                // From now on what is stored of him has its mails' time.
                user.known.hear_clock(ahead_ms);
            }
        } else {
            user.known.set_present(now.unix);
        }
        if user.known.contains(hash) {
            self.stats.ledger.enter(Station::Duplicate, 1);
            return;
        }
        self.stats.ledger.enter(Station::Signalled, 1);
        let gap = user.has_gap();
        user.known.add(hash, received, gap);
        let mut waits = false;
        for device_id in &user.devices {
            let Some(device) = self.devices.get_mut(*device_id) else { continue };
            self.stats.ledger.enter(Station::Folded, 1);
            let refused = if device.stopped {
                Some(Suppressed::Stopped)
            } else if !device.settings.alerts {
                Some(Suppressed::AlertsOff)
            } else if device.suspect {
                Some(Suppressed::Rejected)
            } else {
                None
            };
            match refused {
                Some(why) => self.stats.ledger.enter(Station::Suppressed(why), 1),
                None => {
                    if device.owed == 0 && device.flight.is_none() {
                        // Mails may wait for other phones of which this one wanted to hear nothing.
                        device.told_seq = user.pending.seq();
                    }
                    device.owed += 1;
                    waits = true;
                }
            }
        }
        if !waits {
            user.settle_known();
            return;
        }
        let vip = vip || details.as_ref().is_some_and(|details| is_vip(&user.vip, details));
        // Only a look tells whether this one goes first. If it may not, the look is taken when the notice is due.
        let first_from = user.vip_from(Span::from_millis(self.config.timing.min_interval_ms.into()));
        let peek = !vip && details.is_none() && user.looks_for_vip() && first_from <= now.time;
        user.pending.fold(now.time, id, hash, received, details, id_form);
        if vip {
            user.pending.set_vip(hash);
        }
        if peek {
            user.needs.add(Needs::FETCH);
            self.request_call(now, user_id, fx);
        }
        self.look_due(now, user_id, fx);
    }

    /// A mail that a look into the folder found. True if nobody is to be told of it, and that is to be stored: nothing else
    /// will say so.
    pub(super) fn found(&mut self, now: Now, user_id: UserId, item: FoundItem, fx: &mut Effects) -> bool {
        let hash = item_hash(&self.config.item_key, item.id.as_str());
        let Some(user) = self.users.get_mut(user_id) else { return false };
        let mut recalled = false;
        for device_id in &user.devices {
            let Some(unsettled) =
                self.devices.get_mut(*device_id).and_then(|device| device.unsettled.as_mut())
            else {
                continue;
            };
            if unsettled.frozen && unsettled.notice.newest == hash && !item.read {
                unsettled.resolved = true;
                recalled = true;
            }
        }
        if recalled {
            let vip = item.details.as_ref().is_some_and(|details| is_vip(&user.vip, details));
            user.pending.recall(item.id, hash, item.received, item.details);
            if vip {
                user.pending.set_vip(hash);
            }
            self.look_due(now, user_id, fx);
            return false;
        }
        user.known.dated(hash, item.received);
        if user.known.covers(hash, item.received) && !planted!(CatchUpTellsAgain) {
            if item.read {
                self.mail_gone(now, user_id, hash, fx);
            } else if let Some(waiting) = user.pending.find_mut(hash) {
                // It is still there, and this is how it looks now.
                waiting.touched = std::mem::take(&mut waiting.touched_again);
                let vip = item.details.as_ref().is_some_and(|details| is_vip(&user.vip, details));
                waiting.details = item.details.map(Box::new).or(waiting.details.take());
                if vip {
                    user.pending.set_vip(hash);
                    self.look_due(now, user_id, fx);
                }
            }
            return false;
        }
        if user.known.is_future(item.received) && user.looks_first() {
            // It lay there before: of all others the floor says so.
            user.known.learn(hash, item.received);
            return true;
        }
        let present = user.server.map_or(now.unix, |server| self.servers[usize::from(server.0)].present(now));
        // The server's clock may have been set since, or ours.
        let present = present.min(now.unix);
        let too_old = present.millis_since(item.received) > u64::from(self.config.timing.news_max_s) * 1_000;
        let read = item.read;
        self.fold(now, user_id, item.id, IdForm::Given, item.received, item.details, false, fx);
        if read {
            self.mail_gone(now, user_id, hash, fx);
        } else if too_old {
            self.drop_pending(now, user_id, hash, Station::Expired, fx);
        }
        false
    }

    /// A mail was read, deleted or moved: who was not told of it yet need not be.
    pub(super) fn mail_gone(&mut self, now: Now, user_id: UserId, hash: u64, fx: &mut Effects) {
        if planted!(GoneIgnored) {
            return;
        }
        self.drop_pending(now, user_id, hash, Station::Superseded(Superseded::Gone), fx);
    }

    fn drop_pending(&mut self, now: Now, user_id: UserId, hash: u64, station: Station, fx: &mut Effects) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let Some(item) = user.pending.remove(hash) else { return };
        for device_id in &user.devices {
            let Some(device) = self.devices.get_mut(*device_id) else { continue };
            // A frozen notice must go out as it was; only mails after it can still be taken back.
            let frozen = device.unsettled.filter(|unsettled| unsettled.frozen);
            let free = device.owed
                - frozen.map_or(0, |unsettled| u32::from(unsettled.notice.mails)).min(device.owed);
            if free > 0 && is_after(item.seq, device.told_seq) {
                device.owed -= 1;
                self.stats.ledger.enter(station, 1);
            }
        }
        self.tidy(user_id);
        self.look_due(now, user_id, fx);
    }

    /// The unread count, as a folder's event or a look at the folder says.
    pub(super) fn set_unread(&mut self, now: Now, user_id: UserId, count: u32, fx: &mut Effects) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        if user.unread.replace(count) != Some(count) {
            self.look_due(now, user_id, fx);
        }
    }

    pub(super) fn take_details(
        &mut self,
        user_id: UserId,
        hash: u64,
        received: Option<UnixMillis>,
        details: MailDetails,
    ) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        if let Some(received) = received {
            user.known.dated(hash, received);
        }
        let vip = is_vip(&user.vip, &details);
        let Some(item) = user.pending.find_mut(hash) else { return };
        item.details = Some(Box::new(details));
        item.touched = std::mem::take(&mut item.touched_again);
        if vip {
            user.pending.set_vip(hash);
        }
    }

    /// Works out when the user is to be told next, and sets his timer.
    pub(super) fn look_due(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        self.save_sync(user_id, fx);
        self.unpark_told(user_id);
        let frozen_first = self.frozen_first(user_id);
        let Some(user) = self.users.get_mut(user_id) else { return };
        let timing = &self.config.timing;
        let (mut alert_from, mut badge_from): (Option<Time>, Option<Time>) = (None, None);
        let (mut badge_waits, mut vip) = (false, false);
        if !user.stopped && !self.draining {
            for device in user.devices.iter().filter_map(|id| self.devices.get(*id)) {
                // What is held becomes due when the catch-up is done.
                if device.suspect || device.is_held() || (frozen_first && !device.is_frozen()) {
                    continue;
                }
                if device.parked.is_some() {
                    // Somebody will wake it; what it waits with grows no younger.
                    badge_waits |= device.owed == 0 && device.badge_due(user.unread).is_some();
                    continue;
                }
                if device.owed > 0 {
                    vip |= user.pending.has_vip(device.told_seq, user.pending.seq());
                    alert_from =
                        Some(alert_from.map_or(device.not_before, |from| from.min(device.not_before)));
                } else if device.badge_due(user.unread).is_some() {
                    badge_from =
                        Some(badge_from.map_or(device.not_before, |from| from.min(device.not_before)));
                }
            }
        }
        let interval = Span::from_millis(timing.min_interval_ms.into());
        let rested = |at: Option<Time>| at.map_or(Time(0), |at| at + interval);
        let longest = Span::from_millis(timing.max_delay_ms.into());
        let alert = alert_from.map(|from| {
            let since = user.pending.since().unwrap_or(now.time);
            let settle = Span::from_millis(if vip { timing.vip_settle_ms } else { timing.settle_ms }.into());
            let rested = rested(user.told_at);
            let rested = if vip { rested.min(user.vip_from(interval)) } else { rested };
            (since + settle).max(rested).min(since + longest).max(from)
        });
        badge_waits |= badge_from.is_some();
        user.badge_since = badge_waits.then(|| user.badge_since.unwrap_or(now.time));
        let badge = badge_from.zip(user.badge_since).map(|(from, since)| {
            let rested = rested(user.told_at.max(user.badge_told_at));
            let late = Span::from_secs(if planted!(BadgeLate) { 3_600 } else { 0 });
            (since + Span::from_millis(timing.settle_ms.into())).max(rested).min(since + longest).max(from)
                + late
        });
        user.due = match (alert, badge) {
            (Some(alert), Some(badge)) => Some(alert.min(badge)),
            (one, other) => one.or(other),
        };
        // Pushes on their way: the next round is looked at when they are settled.
        if user.flights > 0 {
            user.due = None;
        }
        self.arm_user(user_id);
    }

    /// Sets the user's one timer for the first of what waits for time alone.
    pub(super) fn arm_user(&mut self, user_id: UserId) {
        let Some(user) = self.users.get(user_id) else { return };
        let call = (!user.needs.is_empty() && user.calling == Calling::No && user.call_not_before > Time(0))
            .then_some(user.call_not_before);
        let due = user.due.filter(|_| !user.queued);
        match due.into_iter().chain(call).chain(user.recount_at).min() {
            Some(at) => self.wheel.arm(&user.timer, at),
            None => self.wheel.cancel(&user.timer),
        }
    }

    pub(super) fn user_timer(&mut self, now: Now, user_id: UserId, fx: &mut Effects) {
        let Some(user) = self.users.get(user_id) else { return };
        if user.due.is_some_and(|due| due <= now.time) {
            self.enqueue(user_id);
        }
        let Some(user) = self.users.get_mut(user_id) else { return };
        if user.recount_at.take_if(|at| *at <= now.time).is_some() {
            user.needs.add(Needs::BADGE);
            self.request_call(now, user_id, fx);
        }
        let Some(user) = self.users.get_mut(user_id) else { return };
        if user.call_not_before > Time(0) && user.call_not_before <= now.time {
            user.call_not_before = Time(0);
            let subscribing = user.needs.has(Needs::SUBSCRIBE);
            let cohort = user.cohort;
            self.request_call(now, user_id, fx);
            if let Some(cohort) = cohort.filter(|_| subscribing) {
                self.step_cohort(now, cohort, fx);
            }
        }
        self.arm_user(user_id);
        if planted!(TimerSetAgain)
            && let Some(user) = self.users.get(user_id)
        {
            self.wheel.arm(&user.timer, now.time);
        }
    }

    /// Puts the user into the ready ring, unless he stands there.
    pub(super) fn enqueue(&mut self, user_id: UserId) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        if planted!(NoQueuedBit) || !std::mem::replace(&mut user.queued, true) {
            self.ready.push_back(user_id);
        }
    }

    /// Gives up what nobody needs any more.
    pub(super) fn tidy(&mut self, user_id: UserId) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let owed = user.devices.iter().filter_map(|id| self.devices.get(*id)).any(|device| device.owed > 0);
        if !owed && user.flights == 0 {
            user.pending.clear();
            user.settle_known();
            user.needs.remove(Needs::FETCH);
        }
    }

    pub(super) fn report_noticed(&self, user_id: UserId, fx: &mut Effects) {
        if let Some(user) = self.users.get(user_id) {
            fx.report(Report::Noticed { user: user.key, notices: user.known.record(user.unread) });
        }
    }
}

fn is_vip(rules: &super::VipRules, details: &MailDetails) -> bool {
    if planted!(VipByCase) {
        return rules.senders.contains(&details.sender_address);
    }
    (rules.high_importance && details.high_importance)
        || rules.senders.iter().any(|sender| sender.eq_ignore_ascii_case(&details.sender_address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::VipRules;

    #[test]
    fn mail_of_a_vip_goes_first_however_the_address_is_spelled() {
        let rules = VipRules { high_importance: false, senders: Box::new(["boss@example.org".into()]) };
        let from = |address: &str| MailDetails { sender_address: address.into(), ..MailDetails::default() };
        for address in ["boss@example.org", "Boss@Example.ORG", "BOSS@EXAMPLE.ORG"] {
            assert!(is_vip(&rules, &from(address)), "{address}");
        }
        for address in ["", "oss@example.org", "boss@example.or", "boss@example.orgs"] {
            assert!(!is_vip(&rules, &from(address)), "{address}");
        }
        let important = MailDetails { high_importance: true, ..from("somebody@example.org") };
        assert!(!is_vip(&rules, &important));
        assert!(is_vip(&VipRules { high_importance: true, ..rules }, &important));
    }
}
