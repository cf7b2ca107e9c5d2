//! How a town is made: all that can differ between two of them.

use carillon_core::shard::{MailServer, PushService, Timing};
use carillon_core::time::Span;

use crate::apns::Knobs;
use crate::exchange::ExchangeConfig;

/// How a town is made.
pub struct TownConfig {
    /// Everything that can differ follows from it.
    pub seed: u64,
    /// Mailboxes.
    pub users: usize,
    /// Phones of each user.
    pub phones: usize,
    /// Shards over which users are spread.
    pub shards: usize,
    /// The organisation.
    pub exchange: ExchangeConfig,
    /// The push service.
    pub knobs: Knobs,
    /// Times of the engine.
    pub timing: Timing,
    /// Mail servers, over which users are spread.
    pub mail_servers: usize,
    /// Some phones have an app that is registered with the second push service, the sandbox: of each two in a row, one.
    pub sandbox: bool,
    /// The service account has full access to all mailboxes, and may impersonate nobody: everything counts against its own
    /// budget.
    pub full_access: bool,
    /// Of each user's phones, every other has the second app.
    pub two_apps: bool,
    /// People who have chosen a folder beside the inbox.
    pub choosers: Vec<usize>,
    /// The engine's side of each mail server.
    pub mail_server: Box<dyn Fn(&mut MailServer)>,
    /// The engine's side of the push service.
    pub push_service: Box<dyn Fn(&mut PushService)>,
    /// The longest that a mail may lawfully wait in this town.
    pub wait_max: Span,
    /// [`Rules::clock_set_max`](crate::phone::Rules::clock_set_max).
    pub clock_set_max: Span,
    /// Pushes go with a provider token, which is renewed after so long (at least 20 minutes); otherwise with a client
    /// certificate.
    pub tokens: Option<Span>,
    /// The engine logs in to mail servers by bearer tokens.
    pub mail_tokens: bool,
    /// From the engine's word that a mail server refuses its credential until the right one is handed in; without, nobody
    /// listens.
    pub patience: Option<Span>,
    /// Shards are looked through as they go ([`WorldConfig::vigilant`](crate::world::WorldConfig::vigilant)).
    pub vigilant: bool,
}

impl Default for TownConfig {
    fn default() -> TownConfig {
        TownConfig {
            seed: 1,
            users: 3,
            phones: 1,
            shards: 1,
            exchange: ExchangeConfig::default(),
            knobs: Knobs::default(),
            timing: Timing::default(),
            mail_servers: 1,
            sandbox: false,
            two_apps: false,
            full_access: false,
            choosers: Vec::new(),
            mail_server: Box::new(|_| {}),
            push_service: Box::new(|_| {}),
            wait_max: Span::from_secs(60),
            clock_set_max: Span::ZERO,
            tokens: None,
            mail_tokens: false,
            patience: None,
            vigilant: true,
        }
    }
}
