//! Hearing the engine's reports, on a thread of its own: it never waits for the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use carillon_core::names::UserKey;
use carillon_core::shard::{DroppedFolder, MailServerId, Report, Trouble};
use carillon_engine::{Numbered, Reports};
use tokio::sync::mpsc;

use super::keeper::Keeper;
use crate::clock;
use crate::config::Config;
use crate::directory::{Counts, Directory, Health, Watch};
use crate::few::{Few, Hourly};
use crate::keys::Refused;
use crate::reload;

/// How long one wait for reports takes at most, and so how late the end of the engine is noticed.
const RECEIVE_TIME: Duration = Duration::from_millis(200);

/// The least time between two log lines about how many users are watched.
const SUMMARY_EVERY: Duration = Duration::from_secs(10);

/// So many of the mailboxes in trouble are named with their number.
const FIRST_SHOWN: usize = 10;

/// What the one who hears reports needs.
pub struct Intake {
    /// For names in the log.
    pub config: Arc<Config>,
    /// Who is told what is known right now.
    pub directory: Arc<Directory>,
    /// Who is told what is to be stored.
    pub keeper: Arc<Keeper>,
    /// Who is told of tokens that a provider refused.
    pub refusals: mpsc::Sender<Refused>,
    /// Which life of the engine this is.
    pub epoch: u64,
    /// Counts [`Report::Drained`].
    pub drained: Arc<AtomicU64>,
    /// Lines about single mailboxes.
    pub lines: Lines,
}

/// What may come by the thousand, each kind by itself.
#[derive(Debug, Default)]
pub struct Lines {
    unwatched: Few,
    watched: Few,
    unreadable: Few,
    /// Whoever sends the same odd mail again and again gets one line an hour for each mailbox.
    unreadable_in: Hourly<UserKey>,
}

impl Intake {
    /// Hears reports until the engine has ended and all are heard.
    pub fn run(self, mut reports: Reports) {
        let mut summary = (Instant::now(), self.directory.counts());
        while !reports.is_finished() {
            let batch = reports.recv(RECEIVE_TIME);
            if !batch.is_empty() {
                self.hear(&batch);
            }
            if summary.0.elapsed() >= SUMMARY_EVERY {
                let counts = self.directory.counts();
                if counts != (Counts { devices: counts.devices, ..summary.1 }) {
                    let Counts { users, live, polling, unwatched, .. } = counts;
                    let first: Vec<u64> =
                        self.directory.first_unwatched(FIRST_SHOWN).iter().map(|(user, _)| user.0).collect();
                    match unwatched {
                        0 => tracing::info!(users, live, polling, unwatched, "mailboxes"),
                        _ => tracing::info!(users, live, polling, unwatched, ?first, "mailboxes"),
                    }
                }
                summary = (Instant::now(), counts);
            }
        }
    }

    fn hear(&self, batch: &[Numbered]) {
        let now = clock::now();
        // What is to be stored goes first: the rest of a report may take a while.
        self.keeper.add(|pending| {
            for Numbered { shard, seq, report } in batch.iter().filter(|numbered| numbered.seq > 0) {
                pending.absorb(report, Some(now));
                pending.reached(self.epoch, *shard, *seq);
            }
        });
        for numbered in batch {
            self.note(numbered.shard, &numbered.report);
        }
    }

    fn note(&self, shard: u16, report: &Report) {
        match report {
            Report::Watched { .. }
            | Report::Noticed { .. }
            | Report::Synced { .. }
            | Report::Device { .. }
            | Report::DeviceGone { .. } => {}
            Report::Live { user } => {
                if let Some(Watch::Unwatched(_)) = self.directory.set_watch(*user, Watch::Live)
                    && let Some(held_back) = self.lines.watched.take()
                {
                    tracing::info!(user = user.0, held_back, "a mailbox is watched again");
                }
            }
            Report::Unreadable { user, trouble } => {
                if let Some(Trouble { code, text }) = trouble
                    && let Some(before) = self.lines.unreadable_in.take(*user)
                    && let Some(held_back) = self.lines.unreadable.take()
                {
                    tracing::warn!(user = user.0, %code, before, held_back, "a mail cannot be read: {text}");
                }
                self.directory.set_unreadable(*user, trouble.clone().map(Arc::new));
            }
            Report::Polled { user, trouble } => {
                self.directory.set_watch(*user, Watch::Polling(Arc::new(trouble.clone())));
            }
            Report::Misplaced { user, trouble } => {
                tracing::debug!(user = user.0, code = %trouble.code, "mailbox not found where it was: {}", trouble.text);
            }
            // Nobody else is known to own a mailbox of ours: the shard takes it back by itself after a while.
            Report::Unwatched { user, trouble } | Report::Taken { user, trouble } => {
                let watch = Watch::Unwatched(Arc::new(trouble.clone()));
                if self.directory.set_watch(*user, watch).is_some()
                    && let Some(held_back) = self.lines.unwatched.take()
                {
                    let Trouble { code, text } = trouble;
                    tracing::warn!(user = user.0, %code, held_back, "a mailbox is not watched: {text}");
                }
            }
            Report::GivenUp { user, device, service, trouble: Trouble { code, text }, unreported } => {
                let (push, user, device) = (self.push(service.0), user.0, device.0);
                tracing::warn!(push, user, device, %code, unreported, "a push was given up: {text}");
            }
            Report::TeamTokenStale { team, issued } => {
                // When this is full, the keeper of tokens has enough news of the same kind.
                let _ = self.refusals.try_send((*team, *issued));
            }
            Report::MailCredentialRefused { server, trouble } => {
                let refused = Health::Refused(Arc::new(trouble.clone()));
                // Each shard finds out for itself; people need to hear of it once.
                let known = matches!(self.directory.mail_server(*server), Health::Refused(_));
                if self.directory.set_mail_server(*server, shard, refused).is_some() && !known {
                    let (exchange, Trouble { code, text }) = (self.exchange(server.0), trouble);
                    let configured = self.config.exchange.get(usize::from(server.0));
                    let advice = configured.map(reload::after_refusal).unwrap_or_default();
                    tracing::error!(
                        exchange, %code,
                        "Exchange refuses the credential; nothing is sent but one request in 15 minutes, so that the account \
                         is not locked. To do: {advice}. ({text})"
                    );
                }
            }
            Report::MailTokenStale { server, trouble } => {
                let refused = Health::Refused(Arc::new(trouble.clone()));
                if self.directory.set_mail_server(*server, shard, refused).is_some() {
                    let (exchange, Trouble { code, text }) = (self.exchange(server.0), trouble);
                    let configured = self.config.exchange.get(usize::from(server.0));
                    let advice = configured.map(reload::after_refusal).unwrap_or_default();
                    tracing::warn!(
                        exchange, %code,
                        "Exchange no longer takes the access token; streams that are open go on, nothing new is asked. To \
                         do: {advice}. ({text})"
                    );
                }
            }
            Report::MailServerTrouble { server, trouble } => {
                let health = Health::Trouble(Arc::new(trouble.clone()));
                self.mail_server_is(*server, self.directory.set_mail_server(*server, shard, health));
            }
            Report::MailServerWell { server } => {
                self.mail_server_is(*server, self.directory.set_mail_server(*server, shard, Health::Well));
            }
            Report::FoldersDropped { user, folders } => {
                for DroppedFolder { id, trouble } in
                    self.directory.set_dropped_folders(*user, folders.clone())
                {
                    tracing::warn!(
                        user = user.0, folder = id.as_str(), code = %trouble.code,
                        "a chosen folder cannot be watched; the inbox and the other folders are. To do: have the app \
                         choose folders of this mailbox alone. ({})",
                        trouble.text
                    );
                }
            }
            Report::MailServerNoted { server, note } => {
                if self.directory.note_mail_server(*server, note) {
                    let (exchange, Trouble { code, text }) = (self.exchange(server.0), note);
                    tracing::warn!(exchange, %code, "a peculiarity of this Exchange: {text}");
                }
            }
            Report::PushServiceTrouble { service, trouble } => {
                if self.directory.set_push_service(*service, Health::Trouble(Arc::new(trouble.clone()))) {
                    let (push, Trouble { code, text }) = (self.push(service.0), trouble);
                    tracing::warn!(push, %code, "the push service is in trouble: {text}");
                }
            }
            Report::PushServiceWell { service } => {
                if self.directory.set_push_service(*service, Health::Well) {
                    tracing::info!(push = self.push(service.0), "the push service works again");
                }
            }
            Report::Drained => {
                self.drained.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// How a mail server does by now, if that is news: with one shard's trouble over, another's may show.
    fn mail_server_is(&self, server: MailServerId, news: Option<Health>) {
        let exchange = self.exchange(server.0);
        match &news {
            None => {}
            Some(Health::Well) => tracing::info!(exchange, "Exchange works again"),
            Some(Health::Trouble(trouble) | Health::Refused(trouble)) => {
                let Trouble { code, text } = &**trouble;
                let advice = reload::after_trouble(trouble).unwrap_or_default();
                tracing::warn!(exchange, %code, "Exchange is in trouble: {text}{advice}");
            }
        }
    }

    fn exchange(&self, at: u16) -> &str {
        self.config.exchange.get(usize::from(at)).map_or("", |exchange| &exchange.name)
    }

    fn push(&self, at: u16) -> &str {
        self.config.push.get(usize::from(at)).map_or("", |push| &push.name)
    }
}
