//! From a wish to an established connection: the waiting line, look-up, TCP connect, handshake, and their time limits.

use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use carillon_core::arena::{Arena, Id};
use carillon_core::limits::CONNECTS_IN_FLIGHT_MAX;
use carillon_core::shard::{CloseReason, EndpointId, Input};
use carillon_core::time::{Span, Time};
use mio::net::TcpStream;
use mio::{Interest, Token};

use super::{LOOKUPS_MAX, Link, Links, Lookups, Stage, list};
use crate::link::{Wire, connect, connected, io_reason};
use crate::mailbox::Addresses;
use crate::resolve::Lookup;

impl Links {
    /// When [`Links::expire`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let connecting =
            self.connecting.iter().filter_map(|id| self.links.get(*id)).map(Link::connect_deadline);
        connecting.chain(self.lingering.front().map(|(deadline, _)| *deadline)).min()
    }

    /// An endpoint to which a connect waits and may begin. Each has its share of the limit: one that swallows every SYN
    /// takes no place from the others.
    pub(super) fn next_to_connect(&self) -> Option<usize> {
        let share = (CONNECTS_IN_FLIGHT_MAX / self.targets.len().max(1)).max(1);
        let to = |at: usize| {
            let links = self.connecting.iter().filter_map(|id| self.links.get(*id));
            links.filter(|link| usize::from(link.endpoint.0) == at).count()
        };
        (0..self.waiting.len()).find(|at| !self.waiting[*at].is_empty() && to(*at) < share)
    }

    /// Lets waiting connects begin, as far as the limit allows.
    pub(crate) fn start_connects(&mut self, now: Time, feed: &mut impl FnMut(Input<'_>)) {
        while let Some(at) = self.next_to_connect()
            && let Some(id) = self.waiting[at].pop_front()
        {
            let Some(link) = self.links.get_mut(id) else { continue };
            link.deadline = now + self.connect_timeout;
            self.connecting.push(id);
            let at = usize::from(link.endpoint.0);
            let target = &self.targets[at];
            if let Ok(address) = target.host.parse::<IpAddr>() {
                let address = SocketAddr::new(address, target.port);
                self.try_next(id, now, Vec::new(), vec![address], CloseReason::Refused, feed);
                continue;
            }
            link.stage = Stage::Resolving;
            let endpoint = link.endpoint;
            if let Err(text) = self.look_up(now, endpoint) {
                self.ended(id, CloseReason::NameNotFound(text), feed);
            }
        }
    }

    /// Asks for the addresses of an endpoint, unless somebody has asked just now: whoever connects to the same endpoint
    /// shares the answer. After the time of a connect nobody trusts in an answer any more, and the next one asks anew.
    fn look_up(&mut self, now: Time, endpoint: EndpointId) -> Result<(), Box<str>> {
        let lookups = &mut self.lookups[usize::from(endpoint.0)];
        if lookups.running > 0 && now.since(lookups.begun) < self.connect_timeout {
            return Ok(());
        }
        if lookups.running == LOOKUPS_MAX {
            return Err("the system's resolver does not return from its last look-ups of the name".into());
        }
        let target = &self.targets[usize::from(endpoint.0)];
        let (host, port) = (target.host.clone(), target.port);
        self.resolver.ask(Lookup { endpoint, host, port, asker: Arc::clone(&self.mailbox) })?;
        *lookups = Lookups { begun: now, running: lookups.running + 1 };
        Ok(())
    }

    /// The resolver has answered.
    pub(crate) fn resolved(
        &mut self,
        now: Time,
        endpoint: EndpointId,
        addresses: Addresses,
        feed: &mut impl FnMut(Input<'_>),
    ) {
        let at = usize::from(endpoint.0);
        self.lookups[at].running -= 1;
        // A failure that comes late is no word on the look-up that was begun since.
        if addresses.is_err() && self.lookups[at].running > 0 {
            return;
        }
        for id in self.connecting.clone() {
            let Some(link) = self.links.get(id) else { continue };
            if link.endpoint != endpoint || !matches!(link.stage, Stage::Resolving) {
                continue;
            }
            match &addresses {
                Ok(addresses) => {
                    let mut addresses: Vec<_> = addresses.iter().rev().copied().collect();
                    // False comes before true, and the last one is tried first.
                    addresses.sort_by_key(|address| Some(*address) != self.avoided[at]);
                    self.try_next(id, now, Vec::new(), addresses, CloseReason::Refused, feed);
                }
                Err(words) => self.ended(id, CloseReason::NameNotFound(words.clone()), feed),
            }
        }
    }

    /// Gives up what took too long.
    pub(crate) fn expire(&mut self, now: Time, feed: &mut impl FnMut(Input<'_>)) {
        let late = |links: &Arena<Link>, id| links.get(id).is_some_and(|link| link.connect_deadline() <= now);
        let expired: Vec<_> = self.connecting.iter().copied().filter(|id| late(&self.links, *id)).collect();
        for id in expired {
            let Some(link) = self.links.get_mut(id) else { continue };
            match mem::replace(&mut link.stage, Stage::Resolving) {
                Stage::Connecting { attempts, others, .. } if now < link.deadline => {
                    self.try_next(id, now, attempts, others, CloseReason::ConnectTimeout, feed);
                }
                stage => {
                    link.stage = stage;
                    self.ended(id, CloseReason::ConnectTimeout, feed);
                }
            }
        }
        while let Some((deadline, id)) = self.lingering.front().copied()
            && deadline <= now
        {
            self.lingering.pop_front();
            self.remove(id);
        }
    }

    /// Begins to connect to the last of `others`, or to one before it if that fails at once, beside the attempts that are
    /// under way. So an address that swallows everything costs [`ATTEMPT_DELAY`], not the time of the whole connect
    /// (RFC 8305, "Happy Eyeballs", section 5).
    fn try_next(
        &mut self,
        id: Id<Link>,
        now: Time,
        mut attempts: Vec<(SocketAddr, TcpStream)>,
        mut others: Vec<SocketAddr>,
        mut failure: CloseReason,
        feed: &mut impl FnMut(Input<'_>),
    ) {
        while let Some(address) = others.pop() {
            let token = Token(id.to_bits() as usize);
            let connecting = connect(address).and_then(|mut socket| {
                self.registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
                Ok(socket)
            });
            match connecting {
                Ok(socket) => {
                    attempts.push((address, socket));
                    break;
                }
                Err(error) => failure = io_reason(&error),
            }
        }
        if attempts.is_empty() {
            return self.ended(id, failure, feed);
        }
        let next = if others.is_empty() { Time::NEVER } else { now + ATTEMPT_DELAY };
        if let Some(link) = self.links.get_mut(id) {
            link.stage = Stage::Connecting { attempts, next, others };
        }
    }

    /// Looks which attempt of a link has come through, and which has failed.
    pub(super) fn check_connect(&mut self, id: Id<Link>, now: Time, feed: &mut impl FnMut(Input<'_>)) {
        let Some(link) = self.links.get_mut(id) else { return };
        let Stage::Connecting { attempts, others, .. } = &mut link.stage else { return };
        let (mut established, mut failure) = (None, None);
        let mut at = 0;
        while at < attempts.len() && established.is_none() {
            match connected(&attempts[at].1) {
                Ok(false) => at += 1,
                Ok(true) => established = Some(attempts.swap_remove(at)),
                Err(error) => {
                    let (_, mut socket) = attempts.swap_remove(at);
                    let _ = self.registry.deregister(&mut socket);
                    failure = Some(io_reason(&error));
                }
            }
        }
        let Some((address, socket)) = established else {
            if let Some(failure) = failure {
                let (attempts, others) = (mem::take(attempts), mem::take(others));
                self.try_next(id, now, attempts, others, failure, feed);
            }
            return;
        };
        match Wire::new(address, socket, &self.targets[usize::from(link.endpoint.0)]) {
            Ok(wire) => {
                // The other attempts end with their sockets.
                link.stage = Stage::Wired(Box::new(wire));
                list(&mut self.unflushed, &mut link.in_unflushed, id);
                // The event that told of the connect may have told of bytes or an end, too.
                list(&mut self.ready, &mut link.in_ready, id);
            }
            Err(reason) => self.ended(id, reason, feed),
        }
    }
}

/// How long an address is tried alone before the next one is tried beside it (RFC 8305, section 8).
const ATTEMPT_DELAY: Span = Span::from_millis(250);
