//! Servers that are given by name: look-ups that are slow, fail or hang, and names with several addresses.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crate::rig::{Identity, Order, Rig, Seen, handshake, identity, rig_with_names, serve_all, swallowing};
use carillon_core::shard::{CloseReason, ConnId, Endpoint, EndpointId, Protocol};
use carillon_core::time::Span;
use carillon_engine::EngineConfig;

fn unchanged(_: &mut EngineConfig) {}

/// A server that shakes hands and waits for the end.
fn server(identity: &Identity) -> (Endpoint, SocketAddr) {
    serve_all(identity.server_config(&[]), Protocol::Http1, |mut stream| {
        let _ = handshake(&mut stream).and_then(|()| std::io::copy(&mut stream, &mut std::io::sink()));
    })
}

fn named(name: &str) -> Endpoint {
    Endpoint { host: name.into(), port: 1, protocol: Protocol::Http1 }
}

fn trusted(identity: &Identity) -> carillon_engine::TlsSettings {
    carillon_engine::TlsSettings { server_name: Some("localhost".into()), ..identity.trusted() }
}

/// Keeps look-ups waiting until it is opened.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn set(&self, open: bool) {
        *self.0.lock().unwrap() = open;
        self.1.notify_all();
    }

    fn pass(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap());
    }
}

fn open(rig: &Rig, endpoint: u16) -> ConnId {
    rig.order([Order::Open(EndpointId(endpoint))]);
    match rig.see_news() {
        Seen::Opening(conn) => conn,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_is_looked_up_for_each_connection_and_once_for_those_at_the_same_time() {
    let identity = identity();
    let (endpoint, _) = server(&identity);
    let (lookups, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Gate::default()));
    let rig = {
        let (lookups, gate) = (Arc::clone(&lookups), Arc::clone(&gate));
        rig_with_names(vec![(endpoint, identity.trusted())], unchanged, move |host, port| {
            lookups.fetch_add(1, Ordering::Relaxed);
            gate.pass();
            carillon_engine::shell::resolve(host, port)
        })
    };
    gate.set(true);
    for before in 0..3 {
        assert_eq!(lookups.load(Ordering::Relaxed), before);
        let conn = rig.connect();
        rig.order([Order::Close(conn)]);
    }
    gate.set(false);
    let (first, second) = (rig.open(), rig.open());
    rig.turn();
    gate.set(true);
    let mut opened = [rig.see_news(), rig.see_news()];
    opened.sort_by_key(|seen| *seen != Seen::Opened(first));
    assert_eq!(opened, [Seen::Opened(first), Seen::Opened(second)]);
    assert_eq!(lookups.load(Ordering::Relaxed), 4, "two at once share an answer");
    rig.connect();
    assert_eq!(lookups.load(Ordering::Relaxed), 5);
}

#[test]
fn a_look_up_that_failed_is_made_again_for_the_next_connection() {
    let identity = identity();
    let (_, address) = server(&identity);
    let lookups = AtomicUsize::new(0);
    let rig =
        rig_with_names(
            vec![(named("mail.example"), trusted(&identity))],
            unchanged,
            move |_, _| match lookups.fetch_add(1, Ordering::Relaxed) {
                0 | 1 | 3 => Err("the name server is silent".into()),
                _ => Ok(vec![address]),
            },
        );
    let failed = CloseReason::NameNotFound("the name server is silent".into());
    assert_eq!(rig.connect_in_vain(), failed);
    assert_eq!(rig.connect_in_vain(), failed);
    rig.connect();
    assert_eq!(rig.connect_in_vain(), failed);
    rig.connect();
}

#[test]
fn a_name_whose_look_up_hangs_holds_up_no_other_name() {
    let identity = identity();
    let (_, address) = server(&identity);
    let gate = Arc::new(Gate::default());
    let endpoints = ["slow.example", "quick.example"].map(|name| (named(name), trusted(&identity)));
    let rig = {
        let gate = Arc::clone(&gate);
        rig_with_names(endpoints.into(), unchanged, move |host, _| {
            if host == "slow.example" {
                gate.pass();
            }
            Ok(vec![address])
        })
    };
    let slow = open(&rig, 0);
    for _ in 0..3 {
        let quick = open(&rig, 1);
        assert_eq!(rig.see_news(), Seen::Opened(quick));
    }
    gate.set(true);
    assert_eq!(rig.see_news(), Seen::Opened(slow));
}

#[test]
fn look_ups_that_never_return_are_made_anew_up_to_a_bound_and_forgotten_once_they_do() {
    let identity = identity();
    let (_, address) = server(&identity);
    let (lookups, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Gate::default()));
    let rig = {
        let (lookups, gate) = (Arc::clone(&lookups), Arc::clone(&gate));
        let short = |config: &mut EngineConfig| config.connect_timeout = Span::from_millis(200);
        rig_with_names(vec![(named("mail.example"), trusted(&identity))], short, move |_, _| {
            let number = lookups.fetch_add(1, Ordering::Relaxed);
            gate.pass();
            // The first ones fail in the end; the last word counts.
            if number < 3 { Err("time-out".into()) } else { Ok(vec![address]) }
        })
    };
    for asked in 1..=4 {
        assert_eq!(rig.connect_in_vain(), CloseReason::ConnectTimeout);
        assert_eq!(lookups.load(Ordering::Relaxed), asked, "nobody trusts in an answer that is overdue");
    }
    for _ in 0..2 {
        let reason = rig.connect_in_vain();
        assert!(
            matches!(&reason, CloseReason::NameNotFound(words) if words.contains("does not return")),
            "{reason:?}"
        );
    }
    assert_eq!(lookups.load(Ordering::Relaxed), 4);
    gate.set(true);
    // As soon as the answers are in, there is room for others.
    let opened = |conn| match rig.see_news() {
        Seen::Opened(opened) => opened == conn,
        Seen::Closed(closed, CloseReason::NameNotFound(_)) if closed == conn => false,
        other => panic!("{other:?}"),
    };
    assert!((0..1_000).any(|_| opened(rig.open())), "the name is never looked up again");
    rig.connect();
}

#[test]
fn an_address_that_answers_nothing_takes_a_part_of_the_time_only() {
    let identity = identity();
    let (_, address) = server(&identity);
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (one, other) = (swallowing(), swallowing());
    for addresses in [
        vec![one.address, address],
        vec![one.address, other.address, refusing, address],
        vec![refusing, one.address, address, other.address],
    ] {
        let rig =
            rig_with_names(vec![(named("mail.example"), trusted(&identity))], unchanged, move |_, _| {
                Ok(addresses.clone())
            });
        rig.connect();
        rig.connect();
        rig.turn();
        let shell = &rig.engine.stats().shells[0];
        assert_eq!((shell.links_open, shell.connects_in_flight, shell.connects_failed), (2, 0, 0));
    }
    // Beside one that is slow, others are tried; it is not given up for them.
    let rig = rig_with_names(
        vec![(named("mail.example"), trusted(&identity))],
        |config| config.connect_timeout = Span::from_millis(700),
        move |_, _| Ok(vec![one.address, refusing]),
    );
    assert_eq!(rig.connect_in_vain(), CloseReason::ConnectTimeout);
}

#[test]
fn an_address_that_takes_connections_but_does_not_shake_hands_is_tried_last_from_then_on() {
    let identity = identity();
    let (_, address) = server(&identity);
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = vec![hanging.local_addr().unwrap(), address];
    let rig = rig_with_names(
        vec![(named("mail.example"), trusted(&identity))],
        |config| config.connect_timeout = Span::from_millis(1_000),
        move |_, _| Ok(addresses.clone()),
    );
    assert_eq!(rig.connect_in_vain(), CloseReason::ConnectTimeout);
    for _ in 0..3 {
        rig.connect();
    }
}
