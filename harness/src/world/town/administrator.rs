//! Whoever keeps the engine's accounts at a town's mail servers: changes passwords and tokens, hears from the engine that a
//! credential is refused, and after a while hands in the right one.

use carillon_core::shard::{Command, MailCredential, MailServerId, Report};
use carillon_core::time::{Span, Time};

use super::Town;
use crate::exchange::{Account, AccountKey, ImpersonationRight, TokenKind};
use crate::world::PeerAt;

/// The name under which the engine logs in everywhere.
const ACCOUNT: &str = "EX\\carillon";

/// The password at the beginning.
const FIRST_PASSWORD: &str = "correct horse";

/// The token at the beginning, where tokens are used.
const FIRST_TOKEN: &str = "a first token";

/// What is to be done, and what was heard.
#[derive(Debug, Default)]
pub(super) struct Administrator {
    with_tokens: bool,
    /// From hearing that a credential is refused to handing one in; without, he does not listen.
    patience: Option<Span>,
    /// For each mail server.
    servers: Vec<Keys>,
    /// What he has planned, and at which mail server.
    plans: Vec<(Time, usize, Step)>,
    reports_heard: usize,
    /// How often he was told of one refusal more than once.
    nagged: u32,
}

#[derive(Debug, Default)]
struct Keys {
    /// How often the credential was changed.
    changes: u32,
    /// He was told that it is refused, and has not been told that it works.
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The mail server takes the present credential.
    Begin,
    /// The engine gets the present credential.
    HandIn,
    /// The mail server no longer takes the one before.
    EndEarlier,
}

/// How a credential is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At the mail server alone: the engine's is wrong until somebody hears of it.
    Unannounced,
    /// The engine gets the new one while the mail server still takes the earlier one, too.
    WithOverlap,
    /// The engine gets the new one before the mail server knows it.
    TooEarly,
}

impl Administrator {
    /// For so many mail servers.
    pub(super) fn new(servers: usize, with_tokens: bool, patience: Option<Span>) -> Administrator {
        let servers = (0..servers).map(|_| Keys::default()).collect();
        Administrator { with_tokens, patience, servers, ..Administrator::default() }
    }

    /// The account as it is made.
    pub(super) fn account(with_tokens: bool, full_access: bool) -> Account {
        let mut account = Account::service(ACCOUNT, FIRST_PASSWORD);
        if full_access {
            account.impersonation = ImpersonationRight::None;
        }
        if with_tokens {
            account.tokens.push((FIRST_TOKEN.to_owned(), kind_of(&account), None));
        }
        account
    }

    /// What the engine begins with.
    pub(super) fn first(with_tokens: bool) -> MailCredential {
        match with_tokens {
            true => MailCredential::Bearer { token: FIRST_TOKEN.into() },
            false => MailCredential::Basic { user: ACCOUNT.into(), password: FIRST_PASSWORD.into() },
        }
    }

    /// When he does something next.
    pub(super) fn due(&self) -> Time {
        self.plans.iter().map(|(at, ..)| *at).min().unwrap_or(Time::NEVER)
    }

    fn present(&self, server: usize) -> MailCredential {
        match self.servers[server].changes {
            0 => Administrator::first(self.with_tokens),
            n if self.with_tokens => MailCredential::Bearer { token: format!("token {n}").into() },
            n => {
                MailCredential::Basic { user: ACCOUNT.into(), password: format!("battery staple {n}").into() }
            }
        }
    }
}

/// A token acts for everybody, if its account may.
fn kind_of(account: &Account) -> TokenKind {
    match account.impersonation {
        ImpersonationRight::None => TokenKind::Delegated,
        ImpersonationRight::All | ImpersonationRight::Some(_) => TokenKind::AppOnly,
    }
}

impl Town {
    /// The credential at one mail server is changed. With an overlap, or too early, what is to follow does so after
    /// `later`.
    pub fn change_credential(&mut self, server: usize, change: Change, later: Span) {
        // One change after the other.
        if self.administrator.plans.iter().any(|(_, other, _)| *other == server) {
            return;
        }
        self.administrator.servers[server].changes += 1;
        let now = self.world.now().time;
        let steps = match change {
            Change::Unannounced => vec![(now, Step::Begin), (now, Step::EndEarlier)],
            Change::WithOverlap => {
                vec![(now, Step::Begin), (now + later, Step::HandIn), (now + later + later, Step::EndEarlier)]
            }
            Change::TooEarly => {
                vec![(now, Step::HandIn), (now + later, Step::Begin), (now + later, Step::EndEarlier)]
            }
        };
        self.administrator.plans.extend(steps.into_iter().map(|(at, step)| (at, server, step)));
        self.administrate();
    }

    /// All that the administrator has planned happens now, and every mail server's credential is handed in once more.
    pub fn put_credentials_right(&mut self) {
        let now = self.world.now().time;
        self.administrator.plans.iter_mut().for_each(|plan| plan.0 = now);
        self.administrate();
        let changed = |keys: &Keys| keys.changes > 0;
        let servers: Vec<usize> = (0..self.world.exchanges.len())
            .filter(|server| changed(&self.administrator.servers[*server]))
            .collect();
        servers.into_iter().for_each(|server| self.hand_in(server));
    }

    /// How often the administrator was told of one refusal more than once.
    pub fn nagged(&self) -> u32 {
        self.administrator.nagged
    }

    /// The engine's account at a mail server.
    pub fn account(&self, server: usize) -> AccountKey {
        self.world.exchanges[server].account(ACCOUNT).expect("the town's account")
    }

    /// The administrator does what is due.
    pub(super) fn administrate(&mut self) {
        let now = self.world.now().time;
        while let Some(at) = self.administrator.plans.iter().position(|(due, ..)| *due <= now) {
            let (_, server, step) = self.administrator.plans.remove(at);
            match step {
                Step::Begin => self.begin(server),
                Step::HandIn => self.hand_in(server),
                Step::EndEarlier => self.end_earlier(server),
            }
        }
    }

    /// The mail server takes the present credential, beside the one before.
    fn begin(&mut self, server: usize) {
        let account = self.account(server);
        let exchange = &mut self.world.exchanges[server];
        match self.administrator.present(server) {
            MailCredential::Basic { password, .. } => exchange.change_password(account, &password),
            MailCredential::Bearer { token } => exchange.change_account(account, |account| {
                let kind = kind_of(account);
                account.tokens.push((token.into(), kind, None));
            }),
            MailCredential::ClientCertificate => {}
        }
    }

    fn end_earlier(&mut self, server: usize) {
        let account = self.account(server);
        let now = self.world.now_of(PeerAt::Exchange(server)).unix;
        let exchange = &mut self.world.exchanges[server];
        exchange.end_earlier_password(account);
        exchange.change_account(account, |account| {
            let earlier = account.tokens.len().saturating_sub(1);
            account.tokens[..earlier].iter_mut().for_each(|(_, _, expires)| *expires = Some(now));
        });
    }

    /// Every shard gets the present credential.
    fn hand_in(&mut self, server: usize) {
        let credential = self.administrator.present(server);
        self.administrator.servers[server].told = false;
        self.world.exchanges[server].may_try_again();
        for shard in 0..self.world.shards() {
            let credential = credential.clone();
            let server = MailServerId(server as u16);
            self.world.command(shard, Command::SetMailCredential { server, credential });
        }
    }

    /// What the engine reports of credentials.
    pub(super) fn hear_of_credentials(&mut self) {
        let now = self.world.now().time;
        let Administrator { patience, servers, plans, reports_heard, nagged, .. } = &mut self.administrator;
        let heard = std::mem::replace(reports_heard, self.world.reports.len());
        for (_, report) in &self.world.reports[heard..] {
            match report {
                Report::MailCredentialRefused { server, .. } | Report::MailTokenStale { server, .. } => {
                    let number = usize::from(server.0);
                    *nagged += u32::from(std::mem::replace(&mut servers[number].told, true));
                    // He waits until the mail server knows it.
                    let known = |plan: &&(Time, usize, Step)| plan.1 == number && plan.2 == Step::Begin;
                    let known_at = plans.iter().filter(known).map(|plan| plan.0).max().unwrap_or(now);
                    let at = patience.map(|patience| known_at.max(now) + patience);
                    plans.extend(at.map(|at| (at, number, Step::HandIn)));
                }
                Report::MailServerWell { server } => servers[usize::from(server.0)].told = false,
                _ => {}
            }
        }
    }
}
