//! What an embedder holds.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use carillon_core::names::{DeviceKey, UserKey};
use carillon_core::rng::Rng;
use carillon_core::shard::{
    AssignUser, Command, DeviceSpec, Endpoint, EndpointId, MailCredential, MailServerId, TeamId, Timing,
};
use carillon_core::signal::MailSignal;
use carillon_core::time::UnixMillis;

use crate::mailbox::Mailbox;
use crate::settings::{StartError, TlsSettings};
use crate::stats::{EngineStats, JournalStats, snapshot};
use crate::tls::Target;

/// Commands to a running engine. Clones command the same engine; when the last one is dropped, the engine shuts down.
///
/// No method waits. A command about a user goes to the shard that owns him, always the same; commands of one thread
/// about one user arrive in order. A command to all shards that is [`Refused::Busy`] may have reached some: give it
/// again, it does no harm twice.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    pub(crate) shared: Arc<Shared>,
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The shard's queue is full: it works off what it has, or waits for its reports to be received. Try again later.
    Busy,
    /// The engine was shut down, or the shard has ended.
    Stopped,
}

/// A shutdown that took longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StillRunning {
    /// Shards that have not ended.
    pub shards: usize,
}

impl EngineHandle {
    /// Watch a user's mailbox, or change what is known of him.
    ///
    /// # Errors
    /// [`Refused`], as all commands.
    pub fn assign(&self, user: AssignUser) -> Result<(), Refused> {
        self.send_user(user.user, Command::AssignUser(Box::new(user)))
    }

    /// Forget a user and his devices.
    pub fn drop_user(&self, user: UserKey) -> Result<(), Refused> {
        self.send_user(user, Command::DropUser { user })
    }

    /// Add or refresh a device.
    pub fn register_device(&self, user: UserKey, device: DeviceSpec) -> Result<(), Refused> {
        self.send_user(user, Command::RegisterDevice { user, device: Box::new(device) })
    }

    /// Forget a device.
    pub fn remove_device(&self, user: UserKey, device: DeviceKey) -> Result<(), Refused> {
        self.send_user(user, Command::RemoveDevice { user, device })
    }

    /// The device's app was used at `at`.
    pub fn touch_device(&self, user: UserKey, device: DeviceKey, at: UnixMillis) -> Result<(), Refused> {
        self.send_user(user, Command::TouchDevice { user, device, at })
    }

    /// Stop all notifications of a user until a device of his registers again.
    pub fn stop_user(&self, user: UserKey) -> Result<(), Refused> {
        self.send_user(user, Command::StopUser { user })
    }

    /// A mail source outside the engine tells of a change in a user's mailbox.
    pub fn signal(&self, user: UserKey, signal: MailSignal) -> Result<(), Refused> {
        self.send_user(user, Command::Signal { user, signal })
    }

    /// The provider token of a team from now on; `issued` is its `iat`.
    pub fn set_team_token(&self, team: TeamId, jwt: Arc<str>, issued: UnixMillis) -> Result<(), Refused> {
        self.send_all(|| Command::SetTeamToken { team, jwt: Arc::clone(&jwt), issued })
    }

    /// The credential for a mail server from now on.
    pub fn set_mail_credential(
        &self,
        server: MailServerId,
        credential: MailCredential,
    ) -> Result<(), Refused> {
        self.send_all(|| Command::SetMailCredential { server, credential: credential.clone() })
    }

    /// Whom an endpoint trusts and who we are to it, for all connections made from now on; open ones go on. What a
    /// refusal had stopped is started by [`EngineHandle::set_mail_credential`].
    ///
    /// # Errors
    /// [`StartError`]; then everything stays as it was.
    ///
    /// # Panics
    /// For an endpoint that the engine does not have.
    pub fn set_tls(&self, endpoint: EndpointId, settings: &TlsSettings) -> Result<(), StartError> {
        let at = usize::from(endpoint.0);
        let renewed = Target::new(&self.shared.endpoints[at], settings)?;
        self.shared.targets.iter().for_each(|targets| targets[at].renew(&renewed));
        Ok(())
    }

    /// New times and intervals.
    pub fn set_timing(&self, timing: Timing) -> Result<(), Refused> {
        self.send_all(|| Command::SetTiming(timing))
    }

    /// Send what is due and take no more on. Each shard reports [`carillon_core::shard::Report::Drained`] when nothing
    /// is in flight any more.
    pub fn drain(&self) -> Result<(), Refused> {
        self.send_all(|| Command::Drain)
    }

    /// Everything that `shard` reported up to number `seq` is stored: its journal may let go of it.
    ///
    /// # Panics
    /// For a shard that the engine does not have.
    pub fn stored(&self, shard: u16, seq: u64) {
        self.shared.mailboxes[usize::from(shard)].set_stored(seq);
    }

    /// The number of shards.
    pub fn shards(&self) -> usize {
        self.shared.mailboxes.len()
    }

    /// The shard that owns a user: the same in every engine with as many shards.
    pub fn shard_of(&self, user: UserKey) -> u16 {
        // SplitMix64's finaliser spreads keys that were given out in order.
        Rng::new(user.0).below(self.shared.mailboxes.len() as u64) as u16
    }

    /// The epoch that names this run in the journal.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// What each shard counted up to its last turn.
    pub fn stats(&self) -> EngineStats {
        snapshot(self.shared.mailboxes.iter().map(|mailbox| &mailbox.published))
    }

    /// How the journal does, as of each shard's last turn. Cheaper than [`EngineHandle::stats`].
    pub fn journal(&self) -> JournalStats {
        let mut journal = JournalStats::default();
        for mailbox in &self.shared.mailboxes {
            let published = mailbox.published.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            journal.add(&published.shell);
        }
        journal
    }

    /// Whether all shards run and take commands.
    pub fn is_running(&self) -> bool {
        self.shared.mailboxes.iter().all(|mailbox| !mailbox.ended() && !mailbox.is_shut_down())
    }

    /// Closes all connections in good order, ends all shards, and waits for that, at most `timeout`. Call
    /// [`EngineHandle::drain`] first and wait for its reports, or pushes in flight are left unsettled. Keep receiving
    /// reports meanwhile: what finds no room after half a second is in the journal only.
    ///
    /// # Errors
    /// When some shard has not ended in time. It goes on ending.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), StillRunning> {
        self.shared.shut_down();
        self.shared.ended.wait(timeout)?;
        let threads = std::mem::take(&mut *self.shared.threads.lock().unwrap());
        for thread in threads {
            // A shard that panicked has already told so on stderr; there is nothing to add.
            let _ = thread.join();
        }
        Ok(())
    }

    fn send_user(&self, user: UserKey, command: Command) -> Result<(), Refused> {
        self.shared.mailboxes[usize::from(self.shard_of(user))].command(command)
    }

    fn send_all(&self, command: impl Fn() -> Command) -> Result<(), Refused> {
        self.shared.mailboxes.iter().try_for_each(|mailbox| mailbox.command(command()))
    }
}

impl Mailbox {
    fn command(&self, command: Command) -> Result<(), Refused> {
        if self.ended() || self.is_shut_down() {
            return Err(Refused::Stopped);
        }
        self.send(command).map_err(|_| Refused::Busy)
    }
}

/// What all handles of one engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) ended: Arc<Ended>,
    pub(crate) epoch: u64,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Of each shard, in the order of `endpoints`.
    pub(crate) targets: Vec<Vec<Target>>,
}

impl Shared {
    fn shut_down(&self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.shut_down());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Counts shards out.
#[derive(Debug)]
pub(crate) struct Ended {
    running: Mutex<usize>,
    changed: Condvar,
}

impl Ended {
    pub(crate) fn new(shards: usize) -> Ended {
        Ended { running: Mutex::new(shards), changed: Condvar::new() }
    }

    pub(crate) fn count(&self) {
        *self.running.lock().unwrap() -= 1;
        self.changed.notify_all();
    }

    fn wait(&self, timeout: Duration) -> Result<(), StillRunning> {
        let until = Instant::now() + timeout;
        let mut running = self.running.lock().unwrap();
        while *running > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StillRunning { shards: *running });
            }
            running = self.changed.wait_timeout(running, left).unwrap().0;
        }
        Ok(())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Busy => "the engine is busy: its queue of commands is full; try again later",
            Refused::Stopped => "the engine has stopped",
        })
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for StillRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shard(s) did not end in time", self.shards)
    }
}

impl std::error::Error for StillRunning {}
