//! Starting an engine.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use carillon_core::rng::Rng;
use carillon_core::shard::{PushService, ShardConfig, ShardCore};
use carillon_core::time::Now;
use mio::{Poll, Waker};

use crate::accounts::SharedAccounts;
use crate::clock::Clock;
use crate::handle::{Ended, EngineHandle, Shared};
use crate::journal::Journal;
use crate::links::Links;
use crate::mailbox::{Mailbox, Outbox, Reports};
use crate::resolve::{self, Resolve, Resolver};
use crate::settings::{EngineConfig, StartError};
use crate::shard::{Core, CountOut, Parts, Shard, WAKER};
use crate::tls::Target;

/// Starts engines.
#[derive(Debug)]
pub enum Engine {}

impl Engine {
    /// Starts the shards' threads. Nothing connects before users are assigned.
    ///
    /// # Errors
    /// [`StartError`]; then nothing runs.
    pub fn start(config: EngineConfig) -> Result<(EngineHandle, Reports), StartError> {
        start_with(config, ShardCore::new, Arc::new(resolve::system))
    }
}

/// [`Engine::start`] with another core, made by `make` on each shard's thread, and other addresses behind names.
///
/// # Errors
/// As [`Engine::start`].
pub fn start_with<C, F>(
    config: EngineConfig,
    make: F,
    resolve: Arc<Resolve>,
) -> Result<(EngineHandle, Reports), StartError>
where
    C: Core + 'static,
    F: Fn(Now, ShardConfig) -> C + Send + Sync + 'static,
{
    check(&config.shard, config.endpoints_tls.len())?;
    let targets = config.shard.endpoints.iter().zip(&config.endpoints_tls);
    let targets = targets.map(|(endpoint, tls)| Target::new(endpoint, tls)).collect::<Result<Vec<_>, _>>()?;
    let shards = match config.shards {
        0 => thread::available_parallelism().map_or(1, usize::from),
        shards => shards,
    };
    let shards = u16::try_from(shards).map_err(|_| StartError::Config("more than 65,535 shards".into()))?;
    if let Some(dir) = &config.journal_dir {
        make_private(dir).map_err(|error| StartError::Journal(dir.clone(), error))?;
    }

    let clock = Clock::start();
    let make = Arc::new(make);
    let resolver = Resolver::new(resolve);
    let outbox = Arc::new(Outbox::new(config.reports_waiting_max, usize::from(shards)));
    let ended = Arc::new(Ended::new(usize::from(shards)));
    let mut seeds = Rng::new(config.shard.seed);
    let mut cores = if config.pin { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() }
        .into_iter()
        .cycle();

    // Everything that can fail comes first, so that a failure leaves no threads behind.
    let mut prepared = Vec::new();
    let mut shard_targets = Vec::new();
    for number in 0..shards {
        let poll = Poll::new().map_err(StartError::System)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(StartError::System)?;
        let mailbox = Arc::new(Mailbox::new(waker, config.commands_waiting_max, targets.len()));
        let registry = poll.registry().try_clone().map_err(StartError::System)?;
        let targets: Vec<Target> = targets.iter().map(Target::for_shard).collect();
        shard_targets.push(targets.clone());
        let links = Links::new(
            registry,
            targets,
            resolver.clone(),
            Arc::clone(&mailbox),
            config.connect_timeout,
            config.read_bytes_per_turn,
        );
        let journal = match &config.journal_dir {
            Some(dir) => Some(
                Journal::create(dir, config.epoch, number)
                    .map_err(|(path, error)| StartError::Journal(path, error))?,
            ),
            None => None,
        };
        let shard = ShardConfig { shard: number, seed: seeds.next_u64(), ..config.shard.clone() };
        let outbox = Arc::clone(&outbox);
        prepared.push((shard, Parts { number, poll, clock, links, mailbox, outbox, journal }));
    }

    let mailboxes: Vec<_> = prepared.iter().map(|(_, parts)| Arc::clone(&parts.mailbox)).collect();
    let accounts = Arc::new(SharedAccounts::new(mailboxes.clone(), config.shard.mail_servers.len()));
    let mut shared = Shared {
        mailboxes,
        threads: Mutex::default(),
        ended: Arc::clone(&ended),
        epoch: config.epoch,
        endpoints: config.shard.endpoints.clone(),
        targets: shard_targets,
    };
    for (shard, parts) in prepared {
        let make = Arc::clone(&make);
        let core = cores.next();
        let accounts = Arc::clone(&accounts);
        let count_out = CountOut {
            number: parts.number,
            accounts: Arc::clone(&accounts),
            mailbox: Arc::clone(&parts.mailbox),
            outbox: Arc::clone(&outbox),
            ended: Arc::clone(&ended),
        };
        let spawned: io::Result<_> =
            thread::Builder::new().name(format!("carillon-{}", parts.number)).spawn(move || {
                let _count_out = count_out;
                if let Some(core) = core {
                    // A wish: containers may forbid it, and the engine works without.
                    core_affinity::set_for_current(core);
                }
                let core = make(parts.clock.now(), shard);
                Shard::new(core, parts, accounts).run();
            });
        // Dropping `shared` ends the shards that run already.
        let thread = spawned.map_err(StartError::System)?;
        shared.threads.get_mut().expect("nobody else has it").push(thread);
    }
    Ok((EngineHandle { shared: Arc::new(shared) }, Reports { outbox }))
}

/// The journal has addresses, subscriptions and cookies in it: its folder is closed to other accounts, whatever the umask.
fn make_private(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mode = std::fs::metadata(dir)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        std::fs::set_permissions(dir, Permissions::from_mode(mode & 0o700))?;
    }
    Ok(())
}

fn check(shard: &ShardConfig, tls: usize) -> Result<(), StartError> {
    let endpoints = shard.endpoints.len();
    if tls != endpoints {
        return Err(StartError::Config(format!("{endpoints} endpoints, but TLS settings for {tls}")));
    }
    let mail_servers = shard.mail_servers.iter().map(|server| server.endpoint);
    let used = mail_servers.chain(shard.push_services.iter().map(|PushService { endpoint, .. }| *endpoint));
    match used.into_iter().find(|endpoint| usize::from(endpoint.0) >= endpoints) {
        Some(endpoint) => {
            Err(StartError::Config(format!("endpoint {} is used, but there are {endpoints}", endpoint.0)))
        }
        None => Ok(()),
    }
}
