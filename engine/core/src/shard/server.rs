//! What the shard knows of a mail server, and the calls that it has in flight there.

use std::collections::VecDeque;

use super::blame::Blame;
use super::farewell::{Farewell, Farewells};
use super::holders::Holders;
use super::slow::Latency;
use super::version::Newer;
use super::{ConnId, Refusals, Trouble};
use crate::ews::{CONNECTIONS_WAIT_MS, EwsError, SchemaVersion};
use crate::limits::{KNOWN_LOOK_BACK, STREAM_OPENS_PER_S};
use crate::names::SmtpAddress;
use crate::time::{Now, Span, Time, UnixMillis};
use crate::user::UserId;
use crate::wheel::TimerSlot;

/// What the shard knows of one mail server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) version: SchemaVersion,
    /// Something asked in this version has succeeded.
    pub(super) version_works: bool,
    /// When it is asked in a newer one again.
    pub(super) newer: Newer,
    /// Its clock, by the `Date` of its answers.
    clock: Option<ServerClock>,
    /// Its events have had ids of an old form: those of new mails are converted before anything else.
    pub(super) old_ids: bool,
    /// A request has succeeded since the credential came or was refused, on this shard or on another. Until then one
    /// request at a time over all shards: fifty parallel log-ins with a wrong password lock an account.
    pub(super) proven: bool,
    /// Whether this shard may make that one request.
    pub(super) turn: Turn,
    /// Counts the credentials. A connection belongs to the one that it was opened with.
    pub(super) credential: u32,
    /// Nothing is sent before: the server asked for it, refused the credential, or cannot be reached.
    pub(super) not_before: Time,
    /// As `not_before`, for what the server itself asked for: no new credential shortens it.
    pub(super) busy_until: Time,
    /// Connections in a row that could not be made or broke off.
    pub(super) connect_failures: u8,
    /// The trouble of which the owner was told, who waits to hear of its end.
    pub(super) trouble: Option<Trouble>,
    /// The present credential was refused, by what all shards have heard.
    pub(super) refusals: Option<Refusals>,
    /// This shard's own request was refused; what that means is still to be heard.
    pub(super) last_refusal: Option<Box<EwsError>>,
    /// The present credential has worked at some time.
    pub(super) worked: bool,
    /// Times in a row that the server was closed to whoever asked.
    pub(super) closures: u8,
    /// What mailboxes were refused with, one after the other.
    pub(super) blame: Blame,
    /// Calls that may be in flight: halves when the server is busy, grows by one with each full window of successes.
    pub(super) window: u16,
    pub(super) successes: u16,
    pub(super) in_flight: u16,
    /// How long most calls take.
    pub(super) latency: Latency,
    /// When a call was last answered.
    pub(super) answered_at: Time,
    /// Slow calls given up for others since one was last answered promptly.
    pub(super) yields: u8,
    /// No slow call is given up before.
    pub(super) yield_not_before: Time,
    pub(super) conns: Vec<ConnId>,
    /// Users whose notices wait for details.
    pub(super) urgent: VecDeque<UserId>,
    /// Users to be caught up or counted.
    pub(super) routine: VecDeque<UserId>,
    /// Users of whom the last call was slow, whatever they need.
    pub(super) slow: VecDeque<UserId>,
    /// Users to be subscribed, at their own pace.
    pub(super) subscribes: VecDeque<UserId>,
    pub(super) subscribe_not_before: Time,
    pub(super) stream_not_before: Time,
    /// Streams in a row, over all cohorts, that told nothing, or nothing but their opening; and whether one of them was
    /// open.
    pub(super) streams_lost: u8,
    pub(super) lost_when_open: bool,
    /// What the owner was told of it.
    pub(super) stream_trouble: Option<Box<Trouble>>,
    /// Users to be looked into without a stream, at their own pace.
    pub(super) polls: VecDeque<UserId>,
    pub(super) poll_not_before: Time,
    /// When the pause after which the window was last halved ends.
    pub(super) slowed_until: Time,
    /// When the window was last halved because the account has too many calls in flight.
    pub(super) narrowed_at: Time,
    /// The window does not grow before.
    pub(super) widen_not_before: Time,
    pub(super) farewells: Farewells,
    pub(super) holders: Holders,
    /// A stream of several mailboxes has told something.
    pub(super) groups_work: bool,
    /// Streams of several mailboxes are refused: each mailbox has one of its own.
    pub(super) ungroupable: bool,
    /// Mailboxes of this server on this shard.
    pub(super) mailboxes: usize,
    /// For the end of a pause: whoever waits for the server looks at what he may do.
    pub(super) timer: TimerSlot,
    /// For the next subscription that the pace allows. Nobody but the queue waits for it.
    pub(super) pace_timer: TimerSlot,
}

/// What is known of a mail server's clock. By our monotonic clock, which nobody sets.
#[derive(Clone, Copy, Debug)]
struct ServerClock {
    /// Milliseconds since 1970 by the server's clock when our monotonic clock stood at zero, at least.
    at_zero_ms: i64,
    heard: Time,
}

/// The turn to try a credential that nobody has shown to work yet ([`super::Accounts`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Not wanted.
    None,
    /// Asked for.
    Wanted,
    /// Ours, and nothing sent on it yet. Never outlasts the input that brings it.
    Ours,
    /// Ours, for the call on this connection.
    Used(ConnId),
}

/// Which credential a request was made with, and what its success shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// With the present one, on the turn to try it: a success proves it.
    OnTurn,
    /// With the present one. After a refusal, a success shows only that the request was faster.
    WithPresent,
    /// With an earlier one: of the present one nothing is known by it.
    WithEarlier,
}

/// A call in flight.
#[derive(Clone, Debug)]
pub(super) enum Job {
    /// `watch`: what the answer is about ([`User::watch`]).
    OfUser {
        user: UserId,
        watch: u8,
        ask: Ask,
    },
    Unsubscribe(Box<Farewell>),
}

/// What is asked for a user.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// On which way; filled in as it is sent.
    Subscribe(Option<Behind>),
    /// With the mails that were asked for, in order ([`crate::user::Item::hash`]).
    Fetch(Vec<u64>),
    /// The first half of a fetch whose ids are of an old form; as [`Ask::Fetch`].
    Convert(Vec<u64>),
    /// A page of a folder. `ids_alone`: without what an alert shows.
    CatchUp {
        ids_alone: bool,
    },
    Badge,
}

/// The way on which a subscription is made, and on which alone it can be asked for.
#[derive(Clone, Debug)]
pub(super) struct Behind {
    pub(super) anchor: SmtpAddress,
    pub(super) cookies: Box<str>,
}

impl Job {
    /// Who needs it.
    pub(super) fn user(&self) -> Option<UserId> {
        match self {
            Job::OfUser { user, .. } => Some(*user),
            Job::Unsubscribe(_) => None,
        }
    }

    /// On whose mailbox's budget it is, under impersonation. He may be gone.
    pub(super) fn charged(&self) -> UserId {
        match self {
            Job::OfUser { user, .. } => *user,
            Job::Unsubscribe(farewell) => farewell.user,
        }
    }
}

impl Server {
    pub(super) fn new(calls_max: u16, timer: TimerSlot, pace_timer: TimerSlot) -> Server {
        Server {
            version: SchemaVersion::default(),
            version_works: false,
            newer: Newer::default(),
            clock: None,
            old_ids: false,
            proven: false,
            turn: Turn::None,
            credential: 0,
            not_before: Time(0),
            busy_until: Time(0),
            connect_failures: 0,
            trouble: None,
            refusals: None,
            last_refusal: None,
            worked: false,
            closures: 0,
            blame: Blame::default(),
            window: calls_max,
            successes: 0,
            in_flight: 0,
            latency: Latency::default(),
            answered_at: Time(0),
            yields: 0,
            yield_not_before: Time(0),
            conns: Vec::new(),
            urgent: VecDeque::new(),
            routine: VecDeque::new(),
            slow: VecDeque::new(),
            subscribes: VecDeque::new(),
            subscribe_not_before: Time(0),
            stream_not_before: Time(0),
            streams_lost: 0,
            lost_when_open: false,
            stream_trouble: None,
            polls: VecDeque::new(),
            poll_not_before: Time(0),
            slowed_until: Time(0),
            narrowed_at: Time(0),
            widen_not_before: Time(0),
            farewells: Farewells::default(),
            holders: Holders::default(),
            groups_work: false,
            ungroupable: false,
            mailboxes: 0,
            timer,
            pace_timer,
        }
    }

    pub(super) fn has_conn(&self, conn: ConnId) -> bool {
        self.conns.contains(&conn)
    }

    /// The window, and what is out, are within what the settings grant. More may be out than the window would let out now:
    /// it shrinks while they are.
    pub(super) fn check_window(&self, calls_max: u16) -> Result<(), String> {
        let Server { window, in_flight, .. } = self;
        if (1..=calls_max).contains(window) && *in_flight <= calls_max {
            return Ok(());
        }
        Err(format!("{in_flight} calls are out in a window of {window}, {calls_max} is the most"))
    }

    /// What an answer's `Date` says of the server's clock: it was read, to the second, while the answer was on its way. So
    /// it is ahead by what is seen now at least, and by a second and the answer's time more at most. The quickest answer
    /// says most, and one that was held up next to nothing; what contradicts is a clock that was set.
    ///
    /// If it was set back by more than floors trail mails ([`KNOWN_LOOK_BACK`]): from when on, by itself, mails may be dated
    /// that came since. It was right when it was last heard.
    pub(super) fn hear_clock(&mut self, now: Time, date_s: u64, took: Span) -> Option<UnixMillis> {
        let least = (date_s * 1_000).cast_signed() - millis(now);
        let most = least.saturating_add_unsigned(1_000 + took.as_millis());
        let known = self.clock;
        let at_zero_ms = known.map(|known| known.at_zero_ms).filter(|known| (least..=most).contains(known));
        self.clock = Some(ServerClock { at_zero_ms: at_zero_ms.unwrap_or(least), heard: now });
        let known = known?;
        let set_back = most.saturating_add_unsigned(KNOWN_LOOK_BACK.as_millis()) < known.at_zero_ms;
        set_back.then(|| unix(least.saturating_add(millis(known.heard))))
    }

    /// The time by the server's clock; by ours as long as nothing was heard of it.
    pub(super) fn present(&self, now: Now) -> UnixMillis {
        self.clock.map_or(now.unix, |clock| unix(clock.at_zero_ms.saturating_add(millis(now.time))))
    }

    /// By how much the server's clock is ahead of ours, if it was heard.
    pub(super) fn clock_ahead_ms(&self, now: Now) -> Option<i64> {
        self.clock.map(|_| self.present(now).0.cast_signed() - now.unix.0.cast_signed())
    }

    /// When the next stream may be opened. Each answer is for one.
    pub(super) fn stream_slot(&mut self, now: Time) -> Time {
        let slot = self.stream_not_before.max(now);
        self.stream_not_before = slot + Span(1_000_000 / STREAM_OPENS_PER_S);
        slot
    }

    /// Half as many calls from now on, once for all answers to what was under way.
    pub(super) fn slow_down(&mut self, now: Time, until: Time) {
        if now >= self.slowed_until && !planted!(WindowKept) {
            self.window = (self.window / 2).max(1);
            self.successes = 0;
        }
        self.slowed_until = self.slowed_until.max(until);
    }

    /// Half as many calls from now on, once for all that were sent before it was known, and no more for a while: how many
    /// are too many is known now, and each refused one makes a mailbox wait.
    pub(super) fn narrow(&mut self, now: Time, sent: Time) {
        if sent >= self.narrowed_at {
            self.window = (self.window / 2).max(1);
            self.narrowed_at = now;
        }
        self.successes = 0;
        self.widen_not_before = now + Span::from_millis(CONNECTIONS_WAIT_MS);
    }

    pub(super) fn forget_conn(&mut self, conn: ConnId) {
        self.conns.retain(|known| *known != conn);
    }

    pub(super) fn has_work(&self) -> bool {
        !(self.urgent.is_empty()
            && self.routine.is_empty()
            && self.slow.is_empty()
            && self.polls.is_empty()
            && self.subscribes.is_empty()
            && self.farewells.is_empty())
    }
}

fn millis(time: Time) -> i64 {
    (time.0 / 1_000).cast_signed()
}

fn unix(ms: i64) -> UnixMillis {
    UnixMillis(ms.max(0).cast_unsigned())
}
