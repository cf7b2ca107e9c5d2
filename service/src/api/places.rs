//! Places for connections: who keeps one, and who gives way.
//!
//! A connection begins as a stranger's. The first request with a valid token makes it a known caller's, and from then on
//! nobody takes its place. Strangers share what is left, and one address only a part of that. When all of it is taken, a
//! newcomer takes the place of the stranger that has been there the longest at the address with the most: whoever fills
//! the places without a token keeps nobody out, and loses them first.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// So long after the first connection that was closed against its will the log says so: more follow, as a rule.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// The least time between two such lines.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceBounds {
    /// For all together.
    pub all: usize,
    /// For strangers. The others are kept for callers with a token.
    pub strangers: usize,
    /// For the strangers of one address.
    pub one_address: usize,
}

impl PlaceBounds {
    /// A quarter is kept for callers with a token; one address gets a quarter of the rest.
    pub fn of(all: usize) -> PlaceBounds {
        let strangers = all - all / 4;
        PlaceBounds { all, strangers, one_address: (strangers / 4).max(1) }
    }
}

/// Why a connection was closed against the will of whoever made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// All places are taken by callers with a token.
    Full,
    /// A newcomer took its place.
    Displaced,
    /// It did not read what was written to it.
    NotRead,
    /// It was there for long, and showed no token.
    Stranger,
}

impl Closed {
    /// All of them.
    pub const ALL: [Closed; 4] = [Closed::Full, Closed::Displaced, Closed::NotRead, Closed::Stranger];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Closed::Full => "full",
            Closed::Displaced => "displaced",
            Closed::NotRead => "not_read",
            Closed::Stranger => "stranger",
        }
    }
}

/// All places.
#[derive(Clone, Debug)]
pub struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: PlaceBounds,
    closed: [AtomicU64; Closed::ALL.len()],
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    open: usize,
    /// In the order of their coming.
    strangers: BTreeMap<u64, Stranger>,
    addresses: HashMap<IpAddr, usize>,
    /// What the log has not said yet.
    untold: [u64; Closed::ALL.len()],
    /// The address that lost a connection last.
    last: Option<IpAddr>,
    tells: bool,
    told_at: Option<Instant>,
}

#[derive(Debug)]
struct Stranger {
    address: IpAddr,
    /// Says that the place is given to another.
    leave: oneshot::Sender<()>,
}

/// Somebody's place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    number: u64,
    address: IpAddr,
    known: AtomicBool,
    since: Instant,
}

impl Places {
    /// Nobody is there yet.
    pub fn new(bounds: PlaceBounds) -> Places {
        Places(Arc::new(Shared { bounds, closed: Default::default(), inner: Mutex::default() }))
    }

    /// A place for a connection from `address`, and what says that it must be given up. `None`: none is left.
    pub fn take(&self, address: IpAddr) -> Option<(Arc<Place>, oneshot::Receiver<()>)> {
        let address = share(address);
        let bounds = self.0.bounds;
        let mut inner = self.lock();
        let of_address = inner.addresses.get(&address).copied().unwrap_or(0);
        let gives_way = if of_address >= bounds.one_address {
            inner.oldest(address)
        } else if inner.strangers.len() >= bounds.strangers || inner.open >= bounds.all {
            inner.crowd().and_then(|crowd| inner.oldest(crowd))
        } else {
            None
        };
        if let Some(number) = gives_way
            && let Some(stranger) = inner.forget(number)
        {
            // Its place counts as free at once: a connection that is told to leave does nothing else any more.
            inner.open -= 1;
            let _ = stranger.leave.send(());
            self.note(&mut inner, Closed::Displaced, stranger.address);
        }
        if inner.open >= bounds.all {
            self.note(&mut inner, Closed::Full, address);
            return None;
        }
        inner.open += 1;
        inner.next += 1;
        let number = inner.next;
        let (leave, left) = oneshot::channel();
        inner.strangers.insert(number, Stranger { address, leave });
        *inner.addresses.entry(address).or_default() += 1;
        let place = Place {
            places: self.clone(),
            number,
            address,
            known: AtomicBool::new(false),
            since: Instant::now(),
        };
        Some((Arc::new(place), left))
    }

    /// Connections that are open: of callers with a token, of strangers.
    pub fn open(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.open - inner.strangers.len(), inner.strangers.len())
    }

    /// How many connections were closed for each reason, in the order of [`Closed::ALL`].
    pub fn closed(&self) -> [u64; Closed::ALL.len()] {
        std::array::from_fn(|at| self.0.closed[at].load(Ordering::Relaxed))
    }

    fn note(&self, inner: &mut Inner, why: Closed, address: IpAddr) {
        self.0.closed[why as usize].fetch_add(1, Ordering::Relaxed);
        if why == Closed::Stranger {
            // A load balancer that keeps a connection is no trouble.
            return;
        }
        inner.untold[why as usize] += 1;
        inner.last = Some(address);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if std::mem::replace(&mut inner.tells, true) {
            return;
        }
        let rest = inner.told_at.map_or(Duration::ZERO, |at| TELL_EVERY.saturating_sub(at.elapsed()));
        let places = self.clone();
        runtime.spawn(async move {
            tokio::time::sleep(rest.max(TELL_AFTER)).await;
            places.tell();
        });
    }

    fn tell(&self) {
        let (untold, last, open, strangers) = {
            let mut inner = self.lock();
            inner.tells = false;
            inner.told_at = Some(Instant::now());
            (std::mem::take(&mut inner.untold), inner.last, inner.open, inner.strangers.len())
        };
        let [full, displaced, not_read, _] = untold;
        let last_address = last.map(|address| address.to_string()).unwrap_or_default();
        tracing::warn!(
            refused = full, displaced, not_read, open, strangers, %last_address,
            "API connections were closed: refused (all places are in use by callers with a token), displaced (too many \
             without a token), not_read (the caller does not read its answers). To do: keep that address away from the \
             API, or raise [api] connections_max"
        );
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way through a change.
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn oldest(&self, address: IpAddr) -> Option<u64> {
        self.strangers.iter().find(|(_, stranger)| stranger.address == address).map(|(number, _)| *number)
    }

    /// The address with the most strangers.
    fn crowd(&self) -> Option<IpAddr> {
        self.addresses.iter().max_by_key(|(_, count)| **count).map(|(address, _)| *address)
    }

    fn forget(&mut self, number: u64) -> Option<Stranger> {
        let stranger = self.strangers.remove(&number)?;
        if let Some(count) = self.addresses.get_mut(&stranger.address) {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&stranger.address);
            }
        }
        Some(stranger)
    }
}

impl Place {
    /// A valid token was shown: the place is kept from now on.
    pub fn know(&self) {
        if !self.known.swap(true, Ordering::Relaxed) {
            let mut inner = self.places.lock();
            if inner.forget(self.number).is_none() {
                // Too late: another has it.
                self.known.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Whether a valid token was shown.
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Where the connection comes from: of IPv6, the network.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// For how long it is there.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// The connection is being closed for this.
    pub fn closing(&self, why: Closed) {
        let mut inner = self.places.lock();
        self.places.note(&mut inner, why, self.address);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.places.lock();
        if self.is_known() || inner.forget(self.number).is_some() {
            inner.open -= 1;
        }
    }
}

/// What counts as one address: of IPv6, the 64 bits that one customer gets.
pub fn share(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: PlaceBounds = PlaceBounds { all: 8, strangers: 6, one_address: 3 };

    fn from(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    type Taken = (Arc<Place>, oneshot::Receiver<()>);

    fn must_leave(taken: &mut Taken) -> bool {
        taken.1.try_recv().is_ok()
    }

    #[test]
    fn a_stranger_with_too_many_connections_loses_the_oldest_and_nobody_else_does() {
        let places = Places::new(BOUNDS);
        let mut other = places.take(from(1)).unwrap();
        let mut crowd: Vec<Taken> = (0..5).map(|_| places.take(from(2)).unwrap()).collect();
        let left: Vec<bool> = crowd.iter_mut().map(must_leave).collect();
        assert_eq!(left, [true, true, false, false, false]);
        assert!(!must_leave(&mut other));
        assert_eq!((places.open(), places.closed()), ((0, 4), [0, 2, 0, 0]));
        drop(crowd);
        assert_eq!(places.open(), (0, 1));
    }

    #[test]
    fn with_all_places_of_strangers_taken_the_address_with_the_most_gives_way() {
        let places = Places::new(BOUNDS);
        let mut all: Vec<Taken> = [3, 4, 4, 4, 5, 5].map(|last| places.take(from(last)).unwrap()).into();
        let newcomer = places.take(from(6)).unwrap();
        let left: Vec<bool> = all.iter_mut().map(must_leave).collect();
        assert_eq!(left, [false, true, false, false, false, false]);
        drop(newcomer);
        assert_eq!(places.open(), (0, 5));
    }

    #[test]
    fn who_has_shown_a_token_keeps_the_place_and_strangers_never_take_them_all() {
        let places = Places::new(BOUNDS);
        let mut callers: Vec<Taken> = Vec::new();
        for _ in 0..3 {
            let caller = places.take(from(9)).unwrap();
            caller.0.know();
            caller.0.know();
            callers.push(caller);
        }
        // From as many addresses as it likes.
        let _crowd: Vec<Taken> = (10..60).map(|last| places.take(from(last)).unwrap()).collect();
        assert_eq!(places.open(), (3, 5));
        // And still the next caller gets in, and stays.
        let late = places.take(from(9)).unwrap();
        late.0.know();
        assert!(late.0.is_known());
        assert!(callers.iter_mut().all(|caller| !must_leave(caller)));
    }

    #[test]
    fn when_all_places_are_known_callers_the_next_is_refused_until_one_goes() {
        let places = Places::new(BOUNDS);
        let mut callers: Vec<Taken> = (0..8)
            .map(|_| {
                let caller = places.take(from(1)).unwrap();
                caller.0.know();
                caller
            })
            .collect();
        assert!(places.take(from(2)).is_none());
        assert_eq!((places.open(), places.closed()), ((8, 0), [1, 0, 0, 0]));
        callers.pop();
        assert!(places.take(from(2)).is_some());
        assert_eq!(places.open(), (7, 0));
    }

    #[test]
    fn who_was_told_to_leave_gets_no_place_back_by_a_late_token() {
        let places = Places::new(PlaceBounds { all: 1, strangers: 1, one_address: 1 });
        let first = places.take(from(1)).unwrap();
        let second = places.take(from(1)).unwrap();
        first.0.know();
        assert!(!first.0.is_known());
        drop(first);
        assert_eq!(places.open(), (0, 1));
        drop(second);
        assert_eq!(places.open(), (0, 0));
    }

    #[test]
    fn a_network_of_ipv6_and_a_mapped_address_count_as_one() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(share(parse("2001:db8:1:2:3:4:5:6")), share(parse("2001:db8:1:2::1")));
        assert_ne!(share(parse("2001:db8:1:2::1")), share(parse("2001:db8:1:3::1")));
        assert_eq!(share(parse("::ffff:10.0.0.1")), parse("10.0.0.1"));
    }
}
