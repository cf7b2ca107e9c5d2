//! What the shards of one engine tell each other of the account that they share at a mail server.
//!
//! Exchange counts refused log-ins and charges its budgets by account, whatever connection they come by. So one shard
//! tries a credential for all, and a pause that the server asks of one is kept by all. Shards share no memory: each
//! says what it learns as an [`super::Effect::Account`], whoever drives them hands that to the one [`Accounts`], and
//! gives each shard what it is to hear as an [`super::Input::Account`].

use std::collections::VecDeque;

use super::command::MailCredential;
use super::config::MailServerId;
use super::refusals::Refusals;
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
    /// The server refused the credential.
    Refused {
        /// Which.
        credential: MailCredential,
        /// When that was heard.
        at: Time,
    },
    /// The server wants to be left alone until then.
    Busy(Time),
}

/// What a shard is to hear of a mail server's account: the latest of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountNews {
    /// What is known of a credential. It may be one that this shard does not have yet, or not any more.
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
    Refused {
        /// How often, and until when nobody tries it.
        refusals: Refusals,
        /// It is this shard's to tell a person.
        tell: bool,
    },
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
    refused: Option<(MailCredential, Refusals)>,
    /// The last credential that worked.
    worked: Option<MailCredential>,
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
        match &word {
            AccountWord::TurnWanted => account.wanted.push_back(from),
            AccountWord::TurnOver => account.end_turn(from),
            AccountWord::Proven(credential) => {
                account.refused.take_if(|(refused, _)| refused == credential);
                account.worked = Some(credential.clone());
                let verdict = Some((credential.clone(), Verdict::Proven));
                account.news.iter_mut().for_each(|news| news.verdict.clone_from(&verdict));
            }
            AccountWord::Refused { credential, at } => account.note_refusal(from, credential, *at),
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
                let verdict = account
                    .refused
                    .clone()
                    .map(|(credential, refusals)| (credential, Verdict::Refused { refusals, tell: false }));
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
    /// The refusals of all shards are counted as one. Everybody hears the sum, also who said the last one.
    fn note_refusal(&mut self, from: u16, credential: &MailCredential, at: Time) {
        let before = self.refused.as_ref().filter(|(refused, _)| refused == credential);
        let worked = self.worked.as_ref() == Some(credential);
        let refusals = Refusals::note(before.map(|(_, refusals)| *refusals), at, worked);
        self.refused = Some((credential.clone(), refusals));
        for (shard, news) in self.news.iter_mut().enumerate() {
            // Whoever is about to hear the same already does not become the one to tell, nor the other way round.
            let waiting = news.verdict.as_ref().and_then(|(known, verdict)| match verdict {
                Verdict::Refused { refusals: one, tell }
                    if known == credential && one.are_final() == refusals.are_final() =>
                {
                    Some(*tell)
                }
                Verdict::Refused { .. } | Verdict::Proven => None,
            });
            let tell = waiting.unwrap_or(shard == usize::from(from));
            news.verdict = Some((credential.clone(), Verdict::Refused { refusals, tell }));
        }
    }

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

    fn refused(password: &str, at: Time) -> AccountWord {
        AccountWord::Refused { credential: basic(password), at }
    }

    /// What this shard hears of a refused password: which, whether for good, and whether it is to tell.
    fn verdict(news: &AccountNews) -> Option<(MailCredential, bool, bool)> {
        news.verdict.clone().map(|(credential, verdict)| match verdict {
            Verdict::Proven => panic!("{credential:?} works"),
            Verdict::Refused { refusals, tell } => (credential, refusals.are_final(), tell),
        })
    }

    #[test]
    fn one_shard_at_a_time_has_the_turn_and_the_next_hears_what_came_of_it_before_it_has_its_own() {
        let mut accounts = Accounts::new(3, 1);
        for shard in [2, 0, 1] {
            accounts.tell(shard, SERVER, AccountWord::TurnWanted);
        }
        assert_eq!(accounts.waiting().collect::<Vec<_>>(), [2]);
        assert!(heard(&mut accounts, 2).turn);
        accounts.tell(2, SERVER, refused("wrong", Time(1)));
        accounts.tell(2, SERVER, AccountWord::TurnOver);
        let first = heard(&mut accounts, 0);
        assert_eq!((verdict(&first), first.turn), (Some((basic("wrong"), true, false)), true));
        let second = heard(&mut accounts, 1);
        assert_eq!((verdict(&second), second.turn), (Some((basic("wrong"), true, false)), false));
        accounts.tell(0, SERVER, AccountWord::TurnOver);
        assert!(heard(&mut accounts, 1).turn);
        let own = heard(&mut accounts, 2);
        assert_eq!(verdict(&own), Some((basic("wrong"), true, true)), "it is the one to tell");
    }

    #[test]
    fn refusals_on_all_shards_are_one_count_and_one_of_them_tells() {
        let mut accounts = Accounts::new(4, 1);
        accounts.tell(3, SERVER, AccountWord::Proven(basic("right so far")));
        for n in 0..2 * crate::limits::REFUSALS_MAX {
            accounts.tell(u16::from(n % 4), SERVER, refused("right so far", Time(1 + u64::from(n))));
        }
        let heard: Vec<_> = (0..4).map(|shard| verdict(&heard(&mut accounts, shard)).unwrap()).collect();
        assert!(heard.iter().all(|(_, is_final, _)| *is_final), "too many were under way for another try");
        assert_eq!(heard.iter().filter(|(_, _, tell)| *tell).count(), 1);
    }

    #[test]
    fn a_shard_that_begins_anew_knows_whether_a_credential_has_worked() {
        let mut accounts = Accounts::new(2, 1);
        accounts.tell(0, SERVER, AccountWord::Proven(basic("right")));
        accounts.forget(0);
        accounts.tell(0, SERVER, refused("right", Time(1)));
        assert_eq!(verdict(&heard(&mut accounts, 1)), Some((basic("right"), false, false)));
        accounts.tell(0, SERVER, refused("another", Time(2)));
        assert_eq!(verdict(&heard(&mut accounts, 1)), Some((basic("another"), true, false)));
    }

    #[test]
    fn who_has_not_listened_hears_the_latest() {
        let mut accounts = Accounts::new(2, 1);
        accounts.tell(0, SERVER, refused("wrong", Time(1)));
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
        accounts.tell(0, SERVER, refused("wrong", Time(1)));
        accounts.forget(0);
        assert_eq!(verdict(&heard(&mut accounts, 0)), Some((basic("wrong"), true, false)));
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
