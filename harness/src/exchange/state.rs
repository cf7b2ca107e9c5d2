//! The server as a value: all that it holds.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use carillon_core::rng::Rng;
use carillon_core::time::{Span, Time};

use super::account::{Account, AccountKey, AccountRow, Refused};
use super::budget::{BudgetKey, Load, Told};
use super::config::ExchangeConfig;
use super::control::OnWire;
use super::deadline::Deadlines;
use super::faults::{Busy, Faults, StandingOverride};
use super::mailbox::{Mailbox, MailboxKey, MailboxSpec};
use super::order::{Asked, Refuse, Stop};
use super::reply;
use super::rush::Return;
use super::server::Conn;
use super::stats::Stats;
use super::stream::Stream;
use super::strict::Violations;
use super::subscription::Subscription;
use crate::peer::PeerConn;

/// A simulated Exchange organisation. See the [module](super) for how it is used.
pub struct Exchange {
    /// How it behaves on the wire just now; may be changed at any time.
    pub faults: Faults,
    pub(super) config: ExchangeConfig,
    /// Attributes of `ServerVersionInfo`.
    pub(super) info: String,
    pub(super) rng: Rng,
    pub(super) accounts: Vec<AccountRow>,
    pub(super) account_names: HashMap<String, AccountKey>,
    pub(super) mailboxes: Vec<Mailbox>,
    /// By address in lower case; true for the primary one.
    pub(super) addresses: HashMap<String, (MailboxKey, bool)>,
    pub(super) principals: HashMap<String, MailboxKey>,
    /// Addresses that were those of mailboxes and are nobody's now; their mailboxes may come back.
    pub(super) former: HashMap<String, (MailboxKey, bool)>,
    /// Mailboxes that were made elsewhere, by GUID.
    pub(super) immigrants: HashMap<u128, MailboxKey>,
    pub(super) subscriptions: BTreeMap<u64, Subscription>,
    pub(super) subscription_ids: HashMap<Box<str>, u64>,
    pub(super) next_subscription: u64,
    /// The last number given out since the server's start, and the highest ever ([`super::SubscriptionIds::Numbered`]).
    pub(super) subscription_number: u32,
    pub(super) subscription_number_max: u32,
    pub(super) streams: BTreeMap<u64, Stream>,
    pub(super) next_stream: u64,
    pub(super) conns: HashMap<PeerConn, Conn>,
    /// Of each client: since when it is counted how many of its connections ended without a request, and how many did.
    pub(super) unasked: HashMap<String, (Time, u32)>,
    pub(super) ready: VecDeque<PeerConn>,
    pub(super) deadlines: Deadlines,
    pub(super) loads: HashMap<BudgetKey, Load>,
    pub(super) told: HashMap<BudgetKey, Told>,
    /// Whom the front end has told by when to come again, by credential.
    pub(super) sent_away: HashMap<String, Told>,
    /// Clients that were told to wait. Kept only where [`super::StrictRules::calls_max`] is known.
    pub(super) returns: HashMap<String, Return>,
    pub(super) busy: Vec<Busy>,
    pub(super) busy_turn: usize,
    pub(super) overrides: VecDeque<StandingOverride>,
    /// One number per back end, in the affinity cookie; a restart makes a new one.
    pub(super) generations: Vec<u64>,
    /// Cookies given out per anchor.
    pub(super) cookies: HashMap<Box<str>, usize>,
    pub(super) refuses: Vec<Refuse>,
    /// Mailboxes whose calls are answered late, or never.
    pub(super) slow: BTreeMap<MailboxKey, Option<Span>>,
    pub(super) stops: Vec<Stop>,
    pub(super) asked: Vec<Asked>,
    pub(super) refused: HashMap<String, Refused>,
    /// Credentials that were taken at some time, and how often each was refused since.
    pub(super) taken: HashMap<String, u32>,
    /// Mailboxes that changed hands within the client.
    pub(super) parted: BTreeSet<MailboxKey>,
    /// On which connections an id was reported as bad.
    pub(super) reported: HashMap<String, Vec<PeerConn>>,
    pub(super) stats: Stats,
    pub(super) violations: Violations,
    pub(super) on_wire: Vec<OnWire>,
    /// Mailboxes that some stream watches.
    pub(super) watched: usize,
}

impl Exchange {
    /// An organisation without accounts and mailboxes.
    ///
    /// # Panics
    /// Without a back end.
    pub fn new(config: ExchangeConfig) -> Exchange {
        assert!(!config.back_ends.is_empty(), "an Exchange organisation has at least one back end");
        let mut rng = Rng::new(config.seed);
        let generations = config.back_ends.iter().map(|_| 1_941_000_000 + rng.below(1_000_000)).collect();
        Exchange {
            faults: Faults::default(),
            info: reply::version_info(config.version_max),
            config,
            rng,
            accounts: Vec::new(),
            account_names: HashMap::new(),
            mailboxes: Vec::new(),
            addresses: HashMap::new(),
            principals: HashMap::new(),
            former: HashMap::new(),
            immigrants: HashMap::new(),
            subscriptions: BTreeMap::new(),
            subscription_ids: HashMap::new(),
            next_subscription: 1,
            subscription_number: 0,
            subscription_number_max: 0,
            streams: BTreeMap::new(),
            next_stream: 1,
            conns: HashMap::new(),
            unasked: HashMap::new(),
            ready: VecDeque::new(),
            deadlines: Deadlines::default(),
            loads: HashMap::new(),
            told: HashMap::new(),
            sent_away: HashMap::new(),
            returns: HashMap::new(),
            busy: Vec::new(),
            busy_turn: 0,
            overrides: VecDeque::new(),
            generations,
            cookies: HashMap::new(),
            refuses: Vec::new(),
            slow: BTreeMap::new(),
            stops: Vec::new(),
            asked: Vec::new(),
            refused: HashMap::new(),
            taken: HashMap::new(),
            parted: BTreeSet::new(),
            reported: HashMap::new(),
            stats: Stats::default(),
            violations: Violations::default(),
            on_wire: Vec::new(),
            watched: 0,
        }
    }

    /// Adds an account.
    pub fn add_account(&mut self, account: Account) -> AccountKey {
        let key = AccountKey(self.accounts.len() as u16);
        for name in &account.names {
            self.account_names.insert(name.to_ascii_lowercase(), key);
        }
        self.accounts.push(AccountRow { spec: account, earlier_password: None, failures: 0, locked: false });
        key
    }

    /// Adds a mailbox with its well-known folders.
    ///
    /// # Panics
    /// If one of its addresses is taken or its back end does not exist: a mistake of the workload.
    pub fn add_mailbox(&mut self, spec: MailboxSpec) -> MailboxKey {
        assert!(spec.back_end < self.config.back_ends.len(), "{}: no such back end", spec.address);
        let key = MailboxKey(self.mailboxes.len() as u32);
        let random =
            (u128::from(self.rng.next_u64()) << 64) | (u128::from(self.rng.next_u64()) & !0xffff_ffff);
        let guid = random | u128::from(key.0);
        let addresses = std::iter::once((&spec.address, true)).chain(spec.proxies.iter().map(|p| (p, false)));
        for (address, primary) in addresses {
            let before = self.addresses.insert(address.to_ascii_lowercase(), (key, primary));
            assert!(before.is_none(), "{address} belongs to another mailbox");
        }
        let principal = spec.principal_name.as_ref().unwrap_or(&spec.address).to_ascii_lowercase();
        self.principals.insert(principal, key);
        self.mailboxes.push(Mailbox::new(key, guid, spec));
        key
    }

    pub(super) fn box_of(&self, key: MailboxKey) -> &Mailbox {
        &self.mailboxes[key.0 as usize]
    }

    pub(super) fn box_mut(&mut self, key: MailboxKey) -> &mut Mailbox {
        &mut self.mailboxes[key.0 as usize]
    }

    /// The mailbox with this GUID.
    pub(super) fn box_by_guid(&self, guid: u128) -> Option<&Mailbox> {
        let own = self.mailboxes.get(guid as u32 as usize).filter(|mailbox| mailbox.guid == guid);
        own.or_else(|| self.immigrants.get(&guid).map(|key| self.box_of(*key)))
    }

    /// Notes a connection that has something to say.
    pub(super) fn wake(&mut self, key: PeerConn) {
        if let Some(conn) = self.conns.get_mut(&key)
            && !conn.ready
        {
            conn.ready = true;
            if !std::mem::replace(&mut conn.queued, true) {
                self.ready.push_back(key);
            }
        }
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("mailboxes", &self.mailboxes.len())
            .field("subscriptions", &self.subscriptions.len())
            .field("streams", &self.streams.len())
            .finish()
    }
}
