//! Time passes: the world goes on, and the town hears what the engine reports and what its phones are told.

use carillon_core::shard::Report;
use carillon_core::time::{Span, Time};
use carillon_core::user::item_hash;

use super::Town;
use super::tokens::Tokens;
use crate::apns::Reason;
use crate::world::{Said, World};

impl Town {
    /// Lets time pass.
    pub fn run_for(&mut self, span: Span) {
        let until = self.world.now().time + span;
        loop {
            // Whatever is heard may be a reason to do something before the next thing happens.
            let due = self.token_due().min(self.administrator.due()).min(self.made_up_due());
            let due = due.max(self.world.now().time);
            let stop = until.min(due);
            let happened = self.world.step(stop);
            self.hear();
            if happened {
                continue;
            }
            if stop == until {
                return;
            }
            self.renew_token();
            self.administrate();
            self.register_made_up();
        }
    }

    /// Lets time pass until everybody's mailbox is watched. False if that takes longer than `limit`.
    pub fn run_until_live(&mut self, limit: Span) -> bool {
        let people = self.watched() as u64;
        let shards = self.people.iter().map(|person| person.shard).max().map_or(1, |last| last + 1);
        let live =
            |world: &World| (0..shards).map(|shard| world.stats(shard).users_live).sum::<u64>() == people;
        let done = self.world.run_until(limit, live);
        self.hear();
        done
    }

    pub(super) fn hear(&mut self) {
        self.hear_reports();
        for Said { at, user, address, vip } in std::mem::take(&mut self.world.said) {
            let account = item_hash(&self.item_key, address.as_str());
            self.audit.said(self.people[user.0 as usize].user, at, account, &vip);
        }
        while let Some((service, push)) = self.world.poll_push() {
            let phone = self.phones[&(service, push.device)];
            self.audit.left(phone, push.at, &push.payload);
            if push.refused.is_some_and(Reason::is_of_message) {
                self.audit.refused(phone, push.at.time, &push.payload);
            }
        }
        for service in 0..self.world.apns.len() {
            while let Some(mut delivery) = self.world.apns[service].poll_delivery() {
                // Stamped by the push service's clock; what may be told is judged by the engine's.
                delivery.at = self.world.now();
                let phone = self.phones[&(service, delivery.device)];
                self.audit.delivered(phone, &delivery, |_| {});
                self.deliveries.push(delivery);
            }
        }
        while let Some((user, since)) = self.world.poll_forgotten() {
            let now = self.world.now().time;
            let people = self.people.iter().filter(|person| person.key == user);
            people.for_each(|person| self.audit.killed(person.user, since, now));
        }
        self.hear_of_credentials();
    }

    /// What the engine has reported: whom it hears, which notices it has put down, and which token the push service refuses:
    /// another comes as soon as the budget allows, until then the same.
    fn hear_reports(&mut self) {
        let heard = std::mem::replace(&mut self.reports_heard, self.world.reports.len());
        let mut refused = false;
        for (at, report) in &self.world.reports[heard..] {
            match report {
                Report::Live { user } => _ = self.live.insert(*user, *at),
                Report::Polled { user, .. }
                | Report::Unwatched { user, .. }
                | Report::Misplaced { user, .. }
                | Report::Taken { user, .. } => _ = self.live.remove(user),
                Report::Device { unsettled: Some(notice), .. } => self.audit.put_down(*at, *notice),
                Report::TeamTokenStale { issued, .. } => {
                    refused |= self.tokens.as_mut().is_some_and(|tokens| tokens.refuse(*issued));
                }
                Report::Watched { .. }
                | Report::Unreadable { .. }
                | Report::Noticed { .. }
                | Report::Synced { .. }
                | Report::Device { unsettled: None, .. }
                | Report::DeviceGone { .. }
                | Report::GivenUp { .. }
                | Report::MailCredentialRefused { .. }
                | Report::MailTokenStale { .. }
                | Report::MailServerWell { .. }
                | Report::MailServerNoted { .. }
                | Report::FoldersDropped { .. }
                | Report::MailServerTrouble { .. }
                | Report::PushServiceTrouble { .. }
                | Report::PushServiceWell { .. }
                | Report::Drained => {}
            }
        }
        if refused {
            self.renew_token();
            self.hand_tokens_in(self.world.shards());
        }
    }

    /// When the next provider token is to be made; the service may refuse the present one at any step.
    fn token_due(&self) -> Time {
        let now = self.world.now();
        let due = self.tokens.as_ref().map(|tokens| tokens.due());
        due.map_or(Time::NEVER, |due| now.time + Span::from_millis(due.0.saturating_sub(now.unix.0)))
    }

    fn renew_token(&mut self) {
        let now = self.world.now();
        let Some(tokens) = self.tokens.as_mut() else { return };
        if tokens.due() <= now.unix {
            tokens.renew(now);
            self.hand_tokens_in(self.world.shards());
        }
    }

    pub(super) fn hand_tokens_in(&mut self, shards: usize) {
        let Some(command) = self.tokens.as_ref().map(Tokens::command) else { return };
        for shard in 0..shards {
            self.world.command(shard, command.clone());
        }
    }
}
