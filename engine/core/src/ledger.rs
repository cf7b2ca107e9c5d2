//! The account of every mail: what became of it, and why.
//!
//! The unit is a *telling*: one mail for one device. A signal for a user with two devices opens two tellings. Entering
//! one station leaves another, so at any moment
//! `folded = accepted + superseded + suppressed + expired + waiting + in flight` for each shard.

/// Why a mail was not told to a device although nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suppressed {
    /// Notifications of the user are stopped.
    Stopped,
    /// The device's settings want no alerts.
    AlertsOff,
    /// The provider says that the token is gone.
    TokenGone,
    /// The device or its user was removed.
    Removed,
    /// The provider refused the push for good (a configuration error, or ours).
    Rejected,
}

/// Why a mail no longer needed telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Superseded {
    /// Read, deleted or moved away before it was told.
    Gone,
}

/// A step in a mail's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Station {
    /// The mail source reported a new mail (counted once for a mail, not for each device).
    Signalled,
    /// The signal was a mail already known (counted once for a mail).
    Duplicate,
    /// The mail waits in the row of its user.
    Folded,
    /// Its details were fetched (counted once for a mail).
    Fetched,
    /// A push that covers it was handed to a lane.
    Offered,
    /// A push that covered it came back unsent or refused for now: it waits again.
    Returned,
    /// The provider accepted a push that covers it.
    Accepted,
    /// Not told, on purpose.
    Suppressed(Suppressed),
    /// Not told, no longer of interest.
    Superseded(Superseded),
    /// Not told within the time in which it would have been news.
    Expired,
}

impl Suppressed {
    /// All reasons, for tables.
    pub const ALL: [Suppressed; 5] = [
        Suppressed::Stopped,
        Suppressed::AlertsOff,
        Suppressed::TokenGone,
        Suppressed::Removed,
        Suppressed::Rejected,
    ];

    /// The reason's name in metrics and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Suppressed::Stopped => "stopped",
            Suppressed::AlertsOff => "alerts_off",
            Suppressed::TokenGone => "token_gone",
            Suppressed::Removed => "removed",
            Suppressed::Rejected => "rejected",
        }
    }
}

/// The sums of a shard. All counters only grow, except the two gauges at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Mails that the sources reported.
    pub signalled: u64,
    /// Reports of a mail already known.
    pub duplicate: u64,
    /// Tellings opened.
    pub folded: u64,
    /// Mails whose details were fetched.
    pub fetched: u64,
    /// Tellings handed to a lane (again after each return).
    pub offered: u64,
    /// Tellings that came back from a lane.
    pub returned: u64,
    /// Tellings that the provider accepted.
    pub accepted: u64,
    /// Tellings not made, by [`Suppressed::ALL`]'s order.
    pub suppressed: [u64; Suppressed::ALL.len()],
    /// Tellings not needed any more.
    pub superseded: u64,
    /// Tellings too late to be news.
    pub expired: u64,
    /// Tellings that wait in rows.
    pub waiting: u64,
    /// Tellings in pushes that have no answer yet.
    pub in_flight: u64,
}

impl Ledger {
    /// Moves `n` into `station`, out of where they were.
    pub fn enter(&mut self, station: Station, n: u64) {
        match station {
            Station::Signalled => self.signalled += n,
            Station::Duplicate => self.duplicate += n,
            Station::Folded => {
                self.folded += n;
                self.waiting += n;
            }
            Station::Fetched => self.fetched += n,
            Station::Offered => {
                self.offered += n;
                self.waiting -= n;
                self.in_flight += n;
            }
            Station::Returned => {
                self.returned += n;
                self.in_flight -= n;
                self.waiting += n;
            }
            Station::Accepted => {
                self.accepted += n;
                self.in_flight -= n;
            }
            Station::Suppressed(why) => {
                self.suppressed[why as usize] += n;
                self.waiting -= n;
            }
            Station::Superseded(Superseded::Gone) => {
                self.superseded += n;
                self.waiting -= n;
            }
            Station::Expired => {
                self.expired += n;
                self.waiting -= n;
            }
        }
    }

    /// Adds the sums of another shard.
    pub fn add(&mut self, other: &Ledger) {
        self.signalled += other.signalled;
        self.duplicate += other.duplicate;
        self.folded += other.folded;
        self.fetched += other.fetched;
        self.offered += other.offered;
        self.returned += other.returned;
        self.accepted += other.accepted;
        for (mine, theirs) in self.suppressed.iter_mut().zip(other.suppressed) {
            *mine += theirs;
        }
        self.superseded += other.superseded;
        self.expired += other.expired;
        self.waiting += other.waiting;
        self.in_flight += other.in_flight;
    }

    /// Whether every telling is in exactly one place.
    pub fn balances(&self) -> bool {
        let ended = self.accepted + self.suppressed.iter().sum::<u64>() + self.superseded + self.expired;
        self.folded == ended + self.waiting + self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_through_the_stations_balances() {
        let mut ledger = Ledger::default();
        ledger.enter(Station::Signalled, 3);
        ledger.enter(Station::Folded, 6);
        ledger.enter(Station::Superseded(Superseded::Gone), 1);
        ledger.enter(Station::Suppressed(Suppressed::Stopped), 1);
        ledger.enter(Station::Offered, 4);
        assert!(ledger.balances());
        ledger.enter(Station::Returned, 2);
        ledger.enter(Station::Expired, 1);
        ledger.enter(Station::Accepted, 2);
        assert!(ledger.balances());
        assert_eq!((ledger.waiting, ledger.in_flight), (1, 0));
    }

    #[test]
    fn reasons_have_their_place_in_the_table() {
        for (at, why) in Suppressed::ALL.iter().enumerate() {
            assert_eq!(*why as usize, at);
        }
    }
}
