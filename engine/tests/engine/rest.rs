//! A shard sleeps while its connections rest, whatever state they are in: no event repeats itself, and nothing is asked
//! of a socket twice. Turns and system calls are counted for longer than a closing connection may linger.

use std::any::Any;
use std::io::{Read, Write, copy, sink};
use std::net::{Shutdown, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::sleep;
use std::time::Duration;

use crate::rig::{
    Order, PATIENCE, Rig, Seen, Stream, endpoint, handshake, identity, rig, rig_with_names, serve, swallowing,
};
use carillon_core::limits::{CONNECTS_IN_FLIGHT_MAX, OUTPUT_BYTES_MAX};
use carillon_core::shard::{CloseReason, ConnId, Endpoint, EndpointId, Protocol};
use carillon_engine::{EngineConfig, TlsSettings};
use socket2::SockRef;

const MIB: usize = 1024 * 1024;

/// Longer than a closed connection lingers.
const REST: Duration = Duration::from_millis(3_000);

/// For things that happen once: a FIN, its acknowledgement, a time limit.
const TURNS_MAX: u64 = 25;

/// An engine with a connection in some state, and what its peer is made of.
struct Case {
    name: &'static str,
    rig: Rig,
    before: (u64, u64),
    open_max: u64,
    _peer: Box<dyn Any>,
}

fn counts(rig: &Rig) -> (u64, u64) {
    let shell = &rig.engine.stats().shells[0];
    (shell.turns, shell.socket_calls)
}

/// Counts from now on; the connection is open at the end if `open_max` is 1.
fn case(name: &'static str, rig: Rig, peer: impl Any, open_max: u64) -> Case {
    Case { name, before: counts(&rig), rig, open_max, _peer: Box::new(peer) }
}

fn judge(cases: Vec<Case>) {
    sleep(REST);
    let figures: Vec<_> = cases
        .iter()
        .map(|case| {
            let (turns, calls) = counts(&case.rig);
            let open = case.rig.engine.stats().shells[0].links_open;
            (case.name, turns - case.before.0, calls - case.before.1, open)
        })
        .collect();
    for (case, (name, turns, calls, open)) in cases.iter().zip(&figures) {
        assert!(*turns <= TURNS_MAX && *calls <= 2 * TURNS_MAX, "{name}: {figures:#?}");
        assert_eq!(*open, case.open_max, "{name}: connections that are open at the end");
    }
}

fn unchanged(_: &mut EngineConfig) {}

/// A rig whose only server is wherever `listener` is, without TLS.
fn plain(listener: &TcpListener) -> Rig {
    rig(vec![(endpoint(listener, Protocol::Http1), TlsSettings::default())], unchanged)
}

/// A connection that is open, to a server that shakes hands and then does `then` until the other end of the channel is
/// dropped: the socket stays as it is.
fn connected(then: impl FnOnce(&mut Stream) + Send + 'static) -> (Rig, ConnId, Sender<()>) {
    let identity = identity();
    let (held, until) = channel();
    let server = serve(identity.server_config(&[]), Protocol::Http1, move |mut stream| {
        handshake(&mut stream).unwrap();
        then(&mut stream);
        hold(&until);
    });
    let rig = rig(vec![(server.endpoint.clone(), identity.trusted())], unchanged);
    let conn = rig.connect();
    (rig, conn, held)
}

fn hold(until: &Receiver<()>) {
    let _ = until.recv();
}

/// Offers more than the sockets take, and waits until they are full.
fn fill(rig: &Rig, conn: ConnId) {
    rig.order([Order::Send(conn, vec![7; 64 * MIB])]);
    let (mut still_turns, mut drained) = (0, 0);
    while still_turns < 30 {
        rig.turn();
        still_turns = if rig.drained() == drained { still_turns + 1 } else { 0 };
        drained = rig.drained();
    }
    assert!((OUTPUT_BYTES_MAX..32 * MIB).contains(&drained), "{drained} bytes were taken");
}

#[test]
fn a_connection_that_is_not_established_yet_costs_no_turns() {
    let named = || Endpoint { host: "mail.example".into(), port: 1, protocol: Protocol::Http1 };
    let mut cases = Vec::new();

    let (one, other) = (swallowing(), swallowing());
    let addresses = vec![one.address, other.address];
    let unanswered =
        rig_with_names(vec![(named(), TlsSettings::default())], unchanged, move |_, _| Ok(addresses.clone()));
    unanswered.order((0..=CONNECTS_IN_FLIGHT_MAX).map(|_| Order::Open(EndpointId(0))));
    // The second address has been tried as well.
    sleep(Duration::from_millis(400));
    let waiting = unanswered.engine.stats().shells[0].connects_waiting;
    assert_eq!(waiting, 1, "and one that waits for its turn");
    cases.push(case("connecting to two addresses that do not answer", unanswered, (one, other), 0));

    let (held, until) = channel::<()>();
    let until = std::sync::Mutex::new(until);
    let unresolved = rig_with_names(vec![(named(), TlsSettings::default())], unchanged, move |_, _| {
        hold(&until.lock().unwrap());
        Err("too late".into())
    });
    unresolved.open();
    cases.push(case("a look-up that hangs", unresolved, held, 0));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = plain(&listener);
    silent.open();
    let socket = listener.accept().unwrap();
    cases.push(case("handshaking with a server that says nothing", silent, (listener, socket), 0));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let halting = plain(&listener);
    halting.open();
    let (mut socket, _) = listener.accept().unwrap();
    // The head of a TLS record, and little of what it promises.
    socket.write_all(b"\x16\x03\x03\x04\x00\x02\x00").unwrap();
    cases.push(case("handshaking with a server that stops in the middle", halting, (listener, socket), 0));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let leaving = plain(&listener);
    let conn = leaving.open();
    let (socket, _) = listener.accept().unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let reason = leaving.closed(conn);
    assert!(matches!(reason, CloseReason::Tls(_)), "{reason:?}");
    cases.push(case("half closed during the handshake", leaving, (listener, socket), 0));
    judge(cases);
}

#[test]
fn an_open_connection_that_rests_costs_no_turns() {
    let mut cases = Vec::new();

    let (idle, _, held) = connected(|_| {});
    cases.push(case("idle", idle, held, 1));

    let (full, conn, held) = connected(|_| {});
    fill(&full, conn);
    cases.push(case("its socket is full", full, held, 1));

    let (told, said) = channel();
    let (full, conn, held) = connected(move |stream| {
        said.recv().unwrap();
        stream.write_all(&vec![1; 4 * MIB]).unwrap();
    });
    fill(&full, conn);
    told.send(()).unwrap();
    full.receive(conn, 4 * MIB);
    cases.push(case("its socket is full, and the peer has sent without reading", full, held, 1));

    let (part, conn, held) = connected(|stream| {
        stream.write_all(b"whole").unwrap();
        stream.flush().unwrap();
        // The head of a record of application data.
        stream.sock.write_all(b"\x17\x03\x03\x04\x00\x02\x00").unwrap();
    });
    part.receive(conn, 5);
    cases.push(case("the peer stops in the middle of a record", part, held, 1));
    judge(cases);
}

#[test]
fn a_connection_that_the_peer_ends_costs_no_turns() {
    let mut cases = Vec::new();

    let (told, said) = channel();
    let (ended, conn, held) = connected(move |stream| {
        said.recv().unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
    });
    fill(&ended, conn);
    told.send(()).unwrap();
    assert_eq!(ended.closed(conn), CloseReason::Eof);
    cases.push(case("half closed by a peer that does not read, while the socket is full", ended, held, 0));

    let (ended, conn, held) = connected(|stream| stream.sock.shutdown(Shutdown::Write).unwrap());
    assert_eq!(ended.closed(conn), CloseReason::Eof);
    cases.push(case("half closed by the peer, without a word", ended, held, 0));

    let (ended, conn, held) = connected(|stream| {
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    });
    assert_eq!(ended.closed(conn), CloseReason::Eof);
    cases.push(case("the peer says good-bye and sends no FIN", ended, held, 0));

    let (ended, conn, held) = connected(|stream| {
        stream.read_exact(&mut [0; 1]).unwrap();
        SockRef::from(&stream.sock).set_linger(Some(Duration::ZERO)).unwrap();
        // Closed with the duplicate, too.
        let socket = stream.sock.try_clone().unwrap();
        SockRef::from(&socket).shutdown(Shutdown::Both).unwrap();
    });
    ended.order([Order::Send(conn, vec![1])]);
    while !matches!(ended.see(), Seen::Closed(..)) {}
    cases.push(case("shut down by the peer, both ways", ended, held, 0));

    let identity = identity();
    let server = serve(identity.server_config(&[]), Protocol::Http1, |mut stream| {
        handshake(&mut stream).unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        SockRef::from(&stream.sock).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let reset = rig(vec![(server.endpoint.clone(), identity.trusted())], unchanged);
    let conn = reset.connect();
    reset.order([Order::Send(conn, vec![1])]);
    assert_eq!(reset.closed(conn), CloseReason::Reset);
    cases.push(case("reset by the peer", reset, (), 0));
    judge(cases);
}

#[test]
fn a_connection_that_we_close_costs_no_turns_although_the_peer_does_not_close_its_side() {
    let mut cases = Vec::new();
    let mut closed = |name, peer: (Rig, ConnId, Sender<()>), full: bool| {
        let (rig, conn, held) = peer;
        if full {
            fill(&rig, conn);
        }
        let mut case = case(name, rig, held, 0);
        // Of these the end itself is of interest.
        case.before = counts(&case.rig);
        case.rig.order([Order::Close(conn)]);
        cases.push(case);
    };
    closed("closed by us, the peer reads nothing and stays", connected(|_| {}), false);
    let reading = |stream: &mut Stream| drop(copy(stream, &mut sink()));
    closed("closed by us, the peer hears it and stays", connected(reading), false);
    closed("closed by us while the socket is full", connected(|_| {}), true);
    let polite = |stream: &mut Stream| {
        let _ = copy(stream, &mut sink());
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    };
    closed("closed by us, the peer says good-bye and sends no FIN", connected(polite), false);
    let late = |stream: &mut Stream| {
        let _ = copy(stream, &mut sink());
        stream.sock.write_all(&vec![0; 8 * 1024]).unwrap();
        sleep(Duration::from_millis(300));
        SockRef::from(&stream.sock).set_linger(Some(Duration::ZERO)).unwrap();
        SockRef::from(&stream.sock).shutdown(Shutdown::Both).unwrap();
    };
    closed("closed by us, the peer answers late and breaks off", connected(late), false);
    judge(cases);
}

#[test]
fn a_peer_that_goes_on_sending_after_our_end_is_left() {
    let identity = identity();
    let server = serve(identity.server_config(&[]), Protocol::Http1, |mut stream| {
        // Until the end is heard.
        copy(&mut stream, &mut sink()).unwrap();
        let mut sent = 0;
        while stream.sock.write_all(&[0; 64 * 1024]).is_ok() {
            sent += 64 * 1024;
        }
        sent
    });
    let rig = rig(vec![(server.endpoint.clone(), identity.trusted())], unchanged);
    let conn = rig.connect();
    rig.order([Order::Close(conn)]);
    let sent = server.join();
    assert!(sent < 32 * MIB, "{sent} bytes were taken from a peer with whom all was said");
    let begun = std::time::Instant::now();
    while rig.engine.stats().shells[0].links_open > 0 {
        assert!(begun.elapsed() < PATIENCE);
        sleep(Duration::from_millis(10));
    }
}
