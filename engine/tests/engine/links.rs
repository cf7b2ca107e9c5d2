//! The shell against real sockets: what connections give and take, and how they end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::rig::{
    Identity, Order, Rig, Seen, Server, endpoint, handshake, identity, rig, serve, server_builder,
};
use carillon_core::limits::{CONNECTS_IN_FLIGHT_MAX, OUTPUT_BYTES_MAX};
use carillon_core::shard::{CloseReason, ConnId, Endpoint, EndpointId, Protocol};
use carillon_core::time::Span;
use carillon_engine::{EngineConfig, TlsSettings};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use socket2::SockRef;

const MIB: usize = 1024 * 1024;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn unchanged(_: &mut EngineConfig) {}

#[test]
fn a_mebibyte_goes_both_ways_unharmed() {
    let identity = identity();
    let server = serve(identity.server_config(&[b"h2"]), Protocol::Http2, |mut stream| {
        let mut received = vec![0; MIB];
        stream.read_exact(&mut received).unwrap();
        stream.write_all(&received).unwrap();
        stream.flush().unwrap();
        // The client's good-bye.
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        (stream.conn.alpn_protocol().unwrap().to_vec(), stream.sock.nodelay())
    });
    let rig = rig(vec![(server.endpoint.clone(), identity.trusted())], unchanged);
    let conn = rig.connect();
    rig.order([Order::Send(conn, pattern(MIB))]);
    assert!(rig.receive(conn, MIB) == pattern(MIB));
    assert_eq!(rig.engine.stats().shells[0].links_open, 1);
    rig.order([Order::Close(conn)]);
    assert_eq!(server.join().0, b"h2");
    rig.turn();
    let stats = &rig.engine.stats().shells[0];
    assert!(stats.bytes_read > MIB as u64 && stats.bytes_written > MIB as u64, "{stats:?}");
}

#[test]
fn the_core_hears_of_room_when_all_is_written() {
    let identity = identity();
    let server = serve(identity.server_config(&[]), Protocol::Http1, |mut stream| {
        stream.read_exact(&mut [0; 5]).unwrap();
    });
    let rig = rig(vec![(server.endpoint.clone(), identity.trusted())], unchanged);
    let conn = rig.connect();
    rig.order([Order::Send(conn, b"hello".to_vec())]);
    while rig.see() != Seen::Room(conn) {}
    server.join();
}

#[test]
fn a_name_is_looked_up_and_its_addresses_are_tried_in_turn() {
    let identity = identity();
    let server = serve(identity.server_config(&[]), Protocol::Http1, |mut stream| {
        stream.write_all(b"here").unwrap();
        stream.conn.server_name().map(str::to_owned)
    });
    // Where `localhost` is ::1 first, nobody listens there.
    let endpoint = Endpoint { host: "localhost".into(), ..server.endpoint.clone() };
    let rig = rig(vec![(endpoint, identity.trusted())], unchanged);
    let conn = rig.connect();
    assert_eq!(rig.receive(conn, 4), b"here");
    assert_eq!(server.join().as_deref(), Some("localhost"), "SNI");
}

#[test]
fn a_name_that_does_not_resolve_is_told_as_that() {
    let endpoint = Endpoint { host: "mail.invalid".into(), port: 443, protocol: Protocol::Http1 };
    let rig = rig(vec![(endpoint, TlsSettings::default())], unchanged);
    let reason = rig.connect_in_vain();
    assert!(matches!(reason, CloseReason::NameNotFound(_)), "{reason:?}");
    rig.turn();
    assert_eq!(rig.engine.stats().shells[0].connects_failed, 1);
}

#[test]
fn a_port_where_nobody_listens_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = endpoint(&listener, Protocol::Http1);
    drop(listener);
    let rig = rig(vec![(endpoint, TlsSettings::default())], unchanged);
    assert_eq!(rig.connect_in_vain(), CloseReason::Refused);
}

#[test]
fn a_server_that_never_shakes_hands_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = endpoint(&listener, Protocol::Http1);
    let rig = rig(vec![(endpoint, TlsSettings::default())], |config| {
        config.connect_timeout = Span::from_millis(300);
    });
    assert_eq!(rig.connect_in_vain(), CloseReason::ConnectTimeout);
}

#[test]
fn a_server_that_is_not_a_tls_server_is_told_as_that() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = endpoint(&listener, Protocol::Http1);
    let server = std::thread::spawn(move || {
        listener.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let rig = rig(vec![(endpoint, TlsSettings::default())], unchanged);
    let reason = rig.connect_in_vain();
    assert!(matches!(reason, CloseReason::Tls(_)), "{reason:?}");
    server.join().unwrap();
}

#[test]
fn at_most_so_many_connects_are_in_flight() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = endpoint(&listener, Protocol::Http1);
    let rig = rig(vec![(endpoint, TlsSettings::default())], |config| {
        config.connect_timeout = Span::from_millis(1_500);
    });
    let wanted = 2 * CONNECTS_IN_FLIGHT_MAX + 1;
    rig.order((0..wanted).map(|_| Order::Open(EndpointId(0))));
    rig.turn();
    let shell = &rig.engine.stats().shells[0];
    assert_eq!(shell.connects_in_flight as usize, CONNECTS_IN_FLIGHT_MAX);
    assert_eq!(shell.connects_waiting as usize, wanted - CONNECTS_IN_FLIGHT_MAX);
    // Three rounds of giving up.
    for _ in 0..wanted {
        assert!(matches!(rig.see_news(), Seen::Closed(_, CloseReason::ConnectTimeout)));
    }
    rig.turn();
    assert_eq!(rig.engine.stats().shells[0].connects_failed as usize, wanted);
}

#[test]
fn a_server_that_answers_no_connect_keeps_connects_to_another_not_waiting() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mine = identity();
    let server = serve(mine.server_config(&[]), Protocol::Http1, |mut stream| handshake(&mut stream));
    let endpoints = vec![
        (endpoint(&silent, Protocol::Http1), TlsSettings::default()),
        (server.endpoint.clone(), mine.trusted()),
    ];
    let rig = rig(endpoints, unchanged);
    rig.order((0..2 * CONNECTS_IN_FLIGHT_MAX).map(|_| Order::Open(EndpointId(0))));
    rig.order([Order::Open(EndpointId(1))]);
    let first = std::iter::repeat_with(|| rig.see_news()).find(|seen| !matches!(seen, Seen::Opening(_)));
    assert!(matches!(first, Some(Seen::Opened(_))), "{first:?}, before any of the others is given up");
    rig.turn();
    let shell = &rig.engine.stats().shells[0];
    assert_eq!(shell.connects_in_flight as usize, CONNECTS_IN_FLIGHT_MAX / 2, "its share, and no more");
    let _ = server.join();
}

#[test]
fn an_unknown_authority_is_untrusted_and_both_sides_are_told() {
    let (mine, theirs) = (identity(), identity());
    let server = serve(theirs.server_config(&[]), Protocol::Http1, |mut stream| handshake(&mut stream));
    let rig = rig(vec![(server.endpoint.clone(), mine.trusted())], unchanged);
    let CloseReason::Untrusted(words) = rig.connect_in_vain() else { panic!("not untrusted") };
    assert!(words.contains("authority that is not trusted"), "{words}");
    let told = server.join().unwrap_err().to_string();
    assert!(told.contains("UnknownCA") || told.contains("BadCertificate"), "the server is told, too: {told}");
}

#[test]
fn a_certificate_for_another_name_is_untrusted() {
    let identity = identity();
    let server = serve(identity.server_config(&[]), Protocol::Http1, |mut stream| handshake(&mut stream));
    let tls = TlsSettings { server_name: Some("mail.example.com".into()), ..identity.trusted() };
    let rig = rig(vec![(server.endpoint.clone(), tls)], unchanged);
    let reason = rig.connect_in_vain();
    assert!(
        matches!(&reason, CloseReason::Untrusted(words) if words.contains("mail.example.com")),
        "{reason:?}"
    );
    server.join().unwrap_err();
}

#[test]
fn http2_must_be_agreed_on_and_http1_may_be() {
    let identity = identity();
    let refused: [&[&[u8]]; 2] = [&[], &[b"http/1.1"]];
    for alpn in refused {
        let server =
            serve(identity.server_config(alpn), Protocol::Http2, |mut stream| handshake(&mut stream));
        let rig = rig(vec![(server.endpoint.clone(), identity.trusted())], unchanged);
        let reason = rig.connect_in_vain();
        assert!(matches!(reason, CloseReason::Tls(_)), "{alpn:?}: {reason:?}");
        let _ = server.join();
    }
    let accepted: [&[&[u8]]; 2] = [&[], &[b"h2", b"http/1.1"]];
    for alpn in accepted {
        let server =
            serve(identity.server_config(alpn), Protocol::Http1, |mut stream| handshake(&mut stream));
        let rig = rig(vec![(server.endpoint.clone(), identity.trusted())], unchanged);
        rig.connect();
        server.join().unwrap();
    }
}

/// A server that wants a certificate which `authority` has signed.
fn demanding(identity: &Identity, authority: &Identity) -> rustls::ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    server_builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())
        .unwrap()
}

#[test]
fn a_client_certificate_is_shown_when_asked_for() {
    let (identity, client) = (identity(), identity());
    let server = serve(demanding(&identity, &client), Protocol::Http1, |mut stream| {
        handshake(&mut stream).unwrap();
        stream.conn.peer_certificates().unwrap()[0].to_vec()
    });
    let shown = Some((vec![client.certificate.clone()], client.key.clone_key()));
    let rig =
        rig(vec![(server.endpoint.clone(), TlsSettings { client: shown, ..identity.trusted() })], unchanged);
    rig.connect();
    assert_eq!(server.join(), client.certificate.to_vec());
}

#[test]
fn a_peer_that_does_not_read_holds_up_its_own_bytes_alone() {
    const OFFERED: usize = 64 * MIB;
    let identity = identity();
    let (go, gate) = channel();
    let server = serve(identity.server_config(&[]), Protocol::Http1, move |mut stream| {
        SockRef::from(&stream.sock).set_recv_buffer_size(64 * 1024).unwrap();
        handshake(&mut stream).unwrap();
        gate.recv().unwrap();
        let mut left = OFFERED;
        let mut buffer = vec![0; 256 * 1024];
        while left > 0 {
            left -= stream.read(&mut buffer).unwrap();
        }
    });
    let other = serve(identity.server_config(&[]), Protocol::Http1, |mut stream| {
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
    });
    let tls = identity.trusted();
    let rig = rig(vec![(server.endpoint.clone(), tls.clone()), (other.endpoint.clone(), tls)], unchanged);
    let conn = rig.connect();
    rig.order([Order::Send(conn, vec![7; OFFERED])]);
    // The socket is full when further turns take nothing more.
    let mut still_turns = 0;
    let mut drained = 0;
    while still_turns < 50 {
        rig.turn();
        still_turns = if rig.drained() == drained { still_turns + 1 } else { 0 };
        drained = rig.drained();
    }
    assert!((OUTPUT_BYTES_MAX..16 * MIB).contains(&drained), "{drained} bytes were taken from the core");

    rig.order([Order::Open(EndpointId(1))]);
    let Seen::Opening(quick) = rig.see_news() else { panic!() };
    assert_eq!(rig.see_news(), Seen::Opened(quick));
    rig.order([Order::Send(quick, b"ping".to_vec())]);
    assert_eq!(rig.receive(quick, 4), b"ping", "the neighbour is not held up");

    go.send(()).unwrap();
    server.join();
    other.join();
    assert_eq!(rig.drained(), OFFERED + 4);
}

#[test]
fn a_reset_is_told_as_that() {
    let identity = identity();
    let server = serve(identity.server_config(&[]), Protocol::Http1, |mut stream| {
        handshake(&mut stream).unwrap();
        stream.read_exact(&mut [0; 2]).unwrap();
        SockRef::from(&stream.sock).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let rig = rig(vec![(server.endpoint.clone(), identity.trusted())], unchanged);
    let conn = rig.connect();
    rig.order([Order::Send(conn, b"hi".to_vec())]);
    assert_eq!(rig.closed(conn), CloseReason::Reset);
    server.join();
    rig.turn();
    assert_eq!(rig.engine.stats().shells[0].links_open, 0);
}

#[test]
fn a_peer_that_is_done_is_heard_to_the_end_and_answered_with_good_bye() {
    let identity = identity();
    let server = serve(identity.server_config(&[]), Protocol::Http1, |mut stream| {
        handshake(&mut stream).unwrap();
        stream.write_all(&pattern(100_000)).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
        // Our side is still open: the client's close_notify, then its FIN.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).map(|_| rest.len())
    });
    let rig = rig(vec![(server.endpoint.clone(), identity.trusted())], unchanged);
    let conn = rig.connect();
    assert!(rig.receive(conn, 100_000) == pattern(100_000));
    assert_eq!(rig.closed(conn), CloseReason::Eof);
    assert_eq!(server.join().unwrap(), 0);
}

#[test]
fn what_a_peer_says_before_it_breaks_off_is_heard_although_writing_fails() {
    let identity = identity();
    let (go, gate) = channel();
    let (broken, done) = channel();
    let server = serve(identity.server_config(&[]), Protocol::Http1, move |mut stream| {
        handshake(&mut stream).unwrap();
        // There is something that will never be read: the kernel answers the end with a reset.
        stream.sock.peek(&mut [0; 1]).unwrap();
        gate.recv().unwrap();
        stream.write_all(b"going away").unwrap();
        stream.flush().unwrap();
        drop(stream);
        broken.send(()).unwrap();
    });
    let rig = rig(vec![(server.endpoint.clone(), identity.trusted())], unchanged);
    let conn = rig.connect();
    rig.order([Order::Send(conn, vec![1; 100_000])]);
    while rig.see() != Seen::Room(conn) {}
    write_before_reading(&rig, conn, &go, &done);
    assert_eq!(rig.receive(conn, 10), b"going away");
    assert_eq!(rig.closed(conn), CloseReason::Reset);
    server.join();
}

/// Has the server break off (`go`, then `done`) while the shard stands still: the shard writes before it has looked whether
/// there is something to read.
fn write_before_reading(rig: &Rig, conn: ConnId, go: &Sender<()>, done: &Receiver<()>) {
    let (resume, blocked) = channel();
    rig.order([Order::Block(blocked), Order::Send(conn, vec![2; 100_000])]);
    assert_eq!(rig.see_news(), Seen::Blocked);
    go.send(()).unwrap();
    done.recv().unwrap();
    resume.send(()).unwrap();
}

/// With TLS 1.3 the client may write before the server has looked at its certificate.
#[test]
fn why_a_server_refuses_our_certificate_is_told_although_writing_fails_before_that_is_read() {
    let identity = identity();
    let (go, gate) = channel();
    let (broken, done) = channel();
    let server = serve(demanding(&identity, &identity), Protocol::Http1, move |mut stream| {
        // The server's part of the handshake; then what the client shows, and more than is read of it, stands waiting.
        while !stream.conn.wants_write() {
            stream.conn.read_tls(&mut stream.sock).unwrap();
            stream.conn.process_new_packets().unwrap();
        }
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut stream.sock).unwrap();
        }
        gate.recv().unwrap();
        handshake(&mut stream).unwrap_err();
        drop(stream);
        broken.send(()).unwrap();
    });
    let rig = rig(vec![(server.endpoint.clone(), identity.trusted())], unchanged);
    let conn = rig.connect();
    rig.order([Order::Send(conn, vec![1; 100_000])]);
    while rig.see() != Seen::Room(conn) {}
    write_before_reading(&rig, conn, &go, &done);
    let CloseReason::Tls(why) = rig.closed(conn) else { panic!("what the write said") };
    assert!(why.contains("does not accept our client certificate"), "{why}");
    server.join();
}

#[test]
fn a_closed_connection_still_writes_what_was_taken_and_its_name_is_free() {
    let identity = identity();
    let server: Server<io::Result<Vec<u8>>> =
        serve(identity.server_config(&[]), Protocol::Http1, |mut stream| {
            let mut received = Vec::new();
            stream.read_to_end(&mut received).map(|_| received)
        });
    let rig = rig(vec![(server.endpoint.clone(), identity.trusted())], unchanged);
    let conn = rig.connect();
    rig.order([Order::Send(conn, pattern(200_000))]);
    while rig.see() != Seen::Room(conn) {}
    rig.order([Order::Close(conn), Order::Open(EndpointId(0))]);
    assert!(server.join().unwrap() == pattern(200_000), "ended by close_notify, or reading had failed");
    let Seen::Opening(next) = rig.see_news() else { panic!() };
    assert_eq!(next.index(), conn.index());
    assert_eq!(rig.closed(next), CloseReason::Refused, "the server took one connection only");
}
