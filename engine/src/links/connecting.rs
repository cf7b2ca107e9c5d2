//! From a wish to an established connection: the waiting line, look-up, TCP connect, handshake, and their time limits.

use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use carillon_core::arena::{Arena, Id};
use carillon_core::limits::CONNECTS_IN_FLIGHT_MAX;
use carillon_core::shard::{CloseReason, EndpointId, Input};
use carillon_core::time::{Span, Time};
use mio::{Interest, Token};

use super::{Link, Links, Stage, list};
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

    /// Lets waiting connects begin, as far as the limit allows.
    pub(crate) fn start_connects(&mut self, now: Time, feed: &mut impl FnMut(Input<'_>)) {
        while self.connecting.len() < CONNECTS_IN_FLIGHT_MAX
            && let Some(id) = self.waiting.pop_front()
        {
            let Some(link) = self.links.get_mut(id) else { continue };
            link.deadline = now + self.connect_timeout;
            self.connecting.push(id);
            let target = &self.targets[usize::from(link.endpoint.0)];
            if let Ok(address) = target.host.parse::<IpAddr>() {
                let address = SocketAddr::new(address, target.port);
                self.connect_next(id, now, vec![address], CloseReason::Refused, feed);
                continue;
            }
            link.stage = Stage::Resolving;
            let endpoint = link.endpoint;
            // Whoever connects to the same endpoint shares the answer.
            let asked = &mut self.lookups[usize::from(endpoint.0)];
            if !mem::replace(asked, true) {
                let (host, port) = (target.host.clone(), target.port);
                let lookup = Lookup { endpoint, host, port, asker: Arc::clone(&self.mailbox) };
                if let Err(text) = self.resolver.ask(lookup) {
                    *asked = false;
                    self.ended(id, CloseReason::NameNotFound(text), feed);
                }
            }
        }
    }

    /// The resolver has answered.
    pub(crate) fn resolved(
        &mut self,
        now: Time,
        endpoint: EndpointId,
        addresses: Addresses,
        feed: &mut impl FnMut(Input<'_>),
    ) {
        self.lookups[usize::from(endpoint.0)] = false;
        for id in self.connecting.clone() {
            let Some(link) = self.links.get(id) else { continue };
            if link.endpoint != endpoint || !matches!(link.stage, Stage::Resolving) {
                continue;
            }
            match &addresses {
                Ok(addresses) => {
                    let addresses = addresses.iter().rev().copied().collect();
                    self.connect_next(id, now, addresses, CloseReason::Refused, feed);
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
                Stage::Connecting { mut socket, others, .. } if now < link.deadline => {
                    let _ = self.registry.deregister(&mut socket);
                    self.connect_next(id, now, others, CloseReason::ConnectTimeout, feed);
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

    /// Connects to the last of `addresses`, or to one before it if that fails at once.
    fn connect_next(
        &mut self,
        id: Id<Link>,
        now: Time,
        mut addresses: Vec<SocketAddr>,
        mut failure: CloseReason,
        feed: &mut impl FnMut(Input<'_>),
    ) {
        while let Some(address) = addresses.pop() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            let token = Token(id.to_bits() as usize);
            let connecting = connect(address).and_then(|mut socket| {
                self.registry.register(&mut socket, token, interest)?;
                Ok(socket)
            });
            match connecting {
                Ok(socket) => {
                    let Some(link) = self.links.get_mut(id) else { return };
                    // Each address has its share of the time that is left.
                    let share = link.deadline.since(now).0 / (addresses.len() as u64 + 1);
                    let deadline = now + Span(share);
                    link.stage = Stage::Connecting { socket, deadline, others: addresses };
                    return;
                }
                Err(error) => failure = io_reason(&error),
            }
        }
        self.ended(id, failure, feed);
    }

    pub(super) fn check_connect(&mut self, id: Id<Link>, now: Time, feed: &mut impl FnMut(Input<'_>)) {
        let Some(link) = self.links.get_mut(id) else { return };
        let Stage::Connecting { socket, .. } = &link.stage else { return };
        let established = connected(socket);
        if matches!(established, Ok(false)) {
            return;
        }
        let Stage::Connecting { mut socket, others, .. } = mem::replace(&mut link.stage, Stage::Resolving)
        else {
            return;
        };
        match established {
            Ok(_) => match Wire::new(socket, &self.targets[usize::from(link.endpoint.0)]) {
                Ok(wire) => {
                    link.stage = Stage::Wired(Box::new(wire));
                    list(&mut self.unflushed, &mut link.in_unflushed, id);
                    // The event that told of the connect may have told of bytes or an end, too.
                    list(&mut self.ready, &mut link.in_ready, id);
                }
                Err(reason) => self.ended(id, reason, feed),
            },
            Err(error) => {
                let _ = self.registry.deregister(&mut socket);
                self.connect_next(id, now, others, io_reason(&error), feed);
            }
        }
    }
}
