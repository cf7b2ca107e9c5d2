//! What the shards of one engine tell each other of the account that they share at a mail server.
//!
//! Exchange counts refused log-ins and charges its budgets by account, whatever connection they come by. So one shard
//! tries a credential for all, and a pause that the server asks of one is kept by all. Shards share no memory: each
//! says what it learns as an [`super::Effect::Account`], whoever drives them hands that to the one [`Accounts`], and
//! gives each shard what it is to hear as an [`super::Input::Account`].

use std::collections::VecDeque;

use super::command::MailCredential;
use super::config::MailServerId;
use crate::time::Time;

/// What a shard says of a mail server's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountWord {
    /// There are calls to make and nobody has shown yet that the credential works: may I try it with one?
    TurnWanted,
    /// The call that the turn was for has ended, or there is none to make any more.
    TurnOver,
    /// The credential works.
    Proven(MailCredential),
    /// The server refuses the credential.
    Refused(MailCredential),
    /// The server wants to be left alone until then.
    Busy(Time),
}

/// What a shard is to hear of a mail server's account: the latest of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountNews {
    /// What another shard learnt of a credential. It may be one that this shard does not have yet, or not any more.
    pub verdict: Option<(MailCredential, Verdict)>,
    /// Until when another shard was asked to leave the server alone.
    pub busy_until: Option<Time>,
    /// It is this shard's turn to try the credential with one call. To be taken in after the rest.
    pub turn: bool,
}

/// What a mail server said of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Proven,
    /// It is refused.
    Refused,
}

/// The place where words of shards become news for the others. At each mail server one shard at most has the turn; it
/// goes to those who want it in the order of asking.
#[derive(Debug)]
pub struct Accounts {
    shards: u16,
    servers: Vec<Account>,
}

#[derive(Debug, Default)]
struct Account {
    turn: Option<u16>,
    wanted: VecDeque<u16>,
    /// For who comes later: what the server asked for holds for him, too.
    busy_until: Option<Time>,
    /// As `busy_until`: the last credential that was refused and has not worked since.
    refused: Option<MailCredential>,
    /// Of each shard.
    news: Vec<AccountNews>,
}

impl Accounts {
    /// For so many shards and mail servers, of which nothing is known.
    pub fn new(shards: u16, mail_servers: usize) -> Accounts {
        let account =
            || Account { news: vec![AccountNews::default(); usize::from(shards)], ..Account::default() };
        Accounts { shards, servers: (0..mail_servers).map(|_| account()).collect() }
    }

    /// A shard says something. Words of one shard must come in the order in which it said them.
    pub fn tell(&mut self, from: u16, server: MailServerId, word: AccountWord) {
        let Some(account) = self.servers.get_mut(usize::from(server.0)) else { return };
        let verdict = |credential, verdict| {
            move |news: &mut AccountNews| news.verdict = Some((MailCredential::clone(credential), verdict))
        };
        match &word {
            AccountWord::TurnWanted => account.wanted.push_back(from),
            AccountWord::TurnOver => account.end_turn(from),
            AccountWord::Proven(credential) => {
                account.refused.take_if(|refused| refused == credential);
                account.others(from, verdict(credential, Verdict::Proven));
            }
            AccountWord::Refused(credential) => {
                account.refused = Some(credential.clone());
                account.others(from, verdict(credential, Verdict::Refused));
            }
            AccountWord::Busy(until) => {
                account.busy_until = account.busy_until.max(Some(*until));
                account.others(from, |news| news.busy_until = news.busy_until.max(Some(*until)));
            }
        }
        account.give_turn();
    }

    /// A shard has ended, or begins anew: it wants nothing any more, and knows nothing.
    pub fn forget(&mut self, shard: u16) {
        for account in &mut self.servers {
            account.wanted.retain(|wanting| *wanting != shard);
            account.end_turn(shard);
            if let Some(news) = account.news.get_mut(usize::from(shard)) {
                let verdict = account.refused.clone().map(|credential| (credential, Verdict::Refused));
                *news = AccountNews { verdict, busy_until: account.busy_until, turn: false };
            }
            account.give_turn();
        }
    }

    /// Takes out what a shard is to hear.
    pub fn hear(&mut self, shard: u16) -> Vec<(MailServerId, AccountNews)> {
        let mut heard = Vec::new();
        for (at, account) in self.servers.iter_mut().enumerate() {
            let news = account.news.get_mut(usize::from(shard)).map(std::mem::take);
            if let Some(news) = news.filter(|news| *news != AccountNews::default()) {
                heard.push((MailServerId(at as u16), news));
            }
        }
        heard
    }

    /// The shards for which there is something to hear.
    pub fn waiting(&self) -> impl Iterator<Item = u16> + '_ {
        let nothing = AccountNews::default();
        (0..self.shards).filter(move |shard| {
            self.servers.iter().any(|account| account.news[usize::from(*shard)] != nothing)
        })
    }
}

impl Account {
    fn others(&mut self, from: u16, change: impl Fn(&mut AccountNews)) {
        let others = self.news.iter_mut().enumerate().filter(|(shard, _)| *shard != usize::from(from));
        others.for_each(|(_, news)| change(news));
    }

    fn end_turn(&mut self, shard: u16) {
        if self.turn == Some(shard) {
            self.turn = None;
        }
    }

    fn give_turn(&mut self) {
        if self.turn.is_none()
            && let Some(shard) = self.wanted.pop_front()
            && let Some(news) = self.news.get_mut(usize::from(shard))
        {
            self.turn = Some(shard);
            news.turn = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: MailServerId = MailServerId(0);

    fn heard(accounts: &mut Accounts, shard: u16) -> AccountNews {
        accounts.hear(shard).pop().map(|(_, news)| news).unwrap_or_default()
    }

    fn basic(password: &str) -> MailCredential {
        MailCredential::Basic { user: "EX\\carillon".into(), password: password.into() }
    }

    #[test]
    fn one_shard_at_a_time_has_the_turn_and_the_next_hears_what_came_of_it_before_it_has_its_own() {
        let mut accounts = Accounts::new(3, 1);
        for shard in [2, 0, 1] {
            accounts.tell(shard, SERVER, AccountWord::TurnWanted);
        }
        assert_eq!(accounts.waiting().collect::<Vec<_>>(), [2]);
        assert!(heard(&mut accounts, 2).turn);
        accounts.tell(2, SERVER, AccountWord::Refused(basic("wrong")));
        accounts.tell(2, SERVER, AccountWord::TurnOver);
        let refused = Some((basic("wrong"), Verdict::Refused));
        let first = heard(&mut accounts, 0);
        assert_eq!((first.verdict, first.turn), (refused.clone(), true));
        let second = heard(&mut accounts, 1);
        assert_eq!((second.verdict, second.turn), (refused, false));
        accounts.tell(0, SERVER, AccountWord::TurnOver);
        assert!(heard(&mut accounts, 1).turn);
        assert_eq!(heard(&mut accounts, 2), AccountNews::default(), "its own words are no news to it");
    }

    #[test]
    fn who_has_not_listened_hears_the_latest() {
        let mut accounts = Accounts::new(2, 1);
        accounts.tell(0, SERVER, AccountWord::Refused(basic("wrong")));
        accounts.tell(0, SERVER, AccountWord::Proven(basic("right")));
        accounts.tell(0, SERVER, AccountWord::Busy(Time(9)));
        accounts.tell(0, SERVER, AccountWord::Busy(Time(7)));
        let news = heard(&mut accounts, 1);
        assert_eq!(news.verdict, Some((basic("right"), Verdict::Proven)));
        assert_eq!(news.busy_until, Some(Time(9)));
        assert!(accounts.hear(1).is_empty());
    }

    #[test]
    fn a_shard_that_begins_anew_leaves_a_busy_server_alone_as_the_others_do() {
        let mut accounts = Accounts::new(2, 1);
        accounts.tell(0, SERVER, AccountWord::Busy(Time(9)));
        assert_eq!(heard(&mut accounts, 1).busy_until, Some(Time(9)));
        for shard in [0, 1] {
            accounts.forget(shard);
            assert_eq!(heard(&mut accounts, shard).busy_until, Some(Time(9)));
        }
    }

    #[test]
    fn a_shard_that_begins_anew_does_not_try_what_was_refused() {
        let mut accounts = Accounts::new(2, 1);
        accounts.tell(0, SERVER, AccountWord::Refused(basic("wrong")));
        accounts.forget(0);
        assert_eq!(heard(&mut accounts, 0).verdict, Some((basic("wrong"), Verdict::Refused)));
        accounts.tell(1, SERVER, AccountWord::Proven(basic("wrong")));
        accounts.forget(0);
        assert_eq!(heard(&mut accounts, 0).verdict, None, "it is right by now");
    }

    #[test]
    fn a_shard_that_ends_leaves_its_turn_to_the_next() {
        let mut accounts = Accounts::new(2, 1);
        accounts.tell(0, SERVER, AccountWord::TurnWanted);
        accounts.tell(1, SERVER, AccountWord::TurnWanted);
        accounts.forget(0);
        assert!(accounts.hear(0).is_empty());
        assert!(heard(&mut accounts, 1).turn);
    }
}
