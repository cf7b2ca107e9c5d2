use bytes::Bytes;
use proptest::prelude::*;

use super::*;

type Client = ClientPump<u32>;

fn client() -> Client {
    ClientPump::new(ClientConfig {
        initial_streams_max: 1,
        streams_max: 1_000,
        answer_bytes_max: 4_096,
        output_bytes_max: 64 * 1024,
        input_bytes_max: 64 * 1024,
    })
}

fn request(path: &str) -> http::Request<()> {
    let uri = format!("https://push.test{path}");
    http::Request::post(uri).version(http::Version::HTTP_2).body(()).unwrap()
}

/// Carries bytes both ways, `cut` at a time, until both are silent.
fn carry(client: &mut Client, server: &mut ServerPump, cut: usize) {
    let mut bytes = Vec::new();
    loop {
        let mut idle = true;
        bytes.clear();
        client.drain(&mut bytes, cut);
        if !bytes.is_empty() {
            idle = false;
            server.feed(&bytes);
        }
        bytes.clear();
        server.drain(&mut bytes, cut);
        if !bytes.is_empty() {
            idle = false;
            client.feed(&bytes);
        }
        if idle {
            return;
        }
    }
}

fn pair(config: ServerConfig) -> (Client, ServerPump) {
    let (mut client, mut server) = (client(), ServerPump::new(config));
    carry(&mut client, &mut server, 4_096);
    (client, server)
}

fn next_request(server: &mut ServerPump) -> Request {
    match server.poll() {
        Some(ServerEvent::Request(request)) => *request,
        other => panic!("{other:?}"),
    }
}

fn plain(status: u16, body: &[u8]) -> Answer<'_> {
    Answer { status, headers: &[], body, data_bytes_max: 0, empty_tail: false }
}

fn answered(client: &mut Client) -> (u32, Response) {
    match client.poll() {
        Some(ClientEvent::Answered { flight, response }) => (flight.tag, response),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn requests_and_answers_pass_whole_however_the_bytes_are_cut(
        cut in 1..600usize,
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5_000), 1..8),
        piece in 0..700usize,
        empty_tail: bool,
    ) {
        let (mut client, mut server) = pair(ServerConfig { window: WindowPolicy::Immediate, ..ServerConfig::default() });
        for (tag, body) in bodies.iter().enumerate() {
            client.open(request("/3/device/00"), Bytes::from(body.clone()), tag as u32).unwrap();
        }
        carry(&mut client, &mut server, cut);
        for body in &bodies {
            let request = next_request(&mut server);
            prop_assert_eq!(&request.body, body);
            prop_assert_eq!(request.head.uri.path(), "/3/device/00");
            let echo = &body[..body.len().min(4_096)];
            let answer = Answer { status: 200, headers: &[("x", "y")], body: echo, data_bytes_max: piece, empty_tail };
            server.respond(request.stream, &answer).unwrap();
        }
        carry(&mut client, &mut server, cut);
        let mut tags = vec![];
        while let Some(event) = client.poll() {
            let ClientEvent::Answered { flight, response } = event else { panic!("{event:?}") };
            prop_assert!(flight.left && response.whole);
            prop_assert_eq!(&response.headers["x"], "y");
            let body = &bodies[flight.tag as usize];
            prop_assert_eq!(&response.body[..], &body[..body.len().min(4_096)]);
            tags.push(flight.tag);
        }
        tags.sort_unstable();
        prop_assert_eq!(tags, (0..bodies.len() as u32).collect::<Vec<_>>());
        prop_assert_eq!(client.in_flight(), 0);
        prop_assert_eq!(client.send_window(), 65_535);
    }
}

#[test]
fn one_stream_until_settings_and_the_newest_limit_at_once() {
    let mut client = client();
    let mut server = ServerPump::new(ServerConfig::default());
    assert!(!client.has_settings());
    assert_eq!(client.streams_max(), 1);
    carry(&mut client, &mut server, 7);
    assert!(client.has_settings() && server.is_acknowledged());
    assert_eq!(client.streams_max(), 1_000);
    for limit in [1, 500, 0, 2] {
        server.set_streams_max(limit);
        carry(&mut client, &mut server, 3);
        assert_eq!(client.streams_max(), limit as usize);
        assert!(server.is_acknowledged());
    }
    for tag in 0..2 {
        client.open(request("/"), Bytes::new(), tag).unwrap();
    }
    assert_eq!(client.open(request("/"), Bytes::new(), 2), Err(OpenError::Streams));
    server.set_streams_max(1);
    carry(&mut client, &mut server, 100);
    let first = next_request(&mut server);
    let second = next_request(&mut server);
    assert!(server.poll().is_none(), "streams opened before the change are no violation");
    server.respond(first.stream, &plain(200, b"")).unwrap();
    carry(&mut client, &mut server, 100);
    assert_eq!(client.open(request("/"), Bytes::new(), 3), Err(OpenError::Streams));
    server.respond(second.stream, &plain(200, b"")).unwrap();
    carry(&mut client, &mut server, 100);
    client.open(request("/"), Bytes::new(), 3).unwrap();
}

#[test]
fn a_request_that_is_broken_off_is_told_with_what_has_come() {
    let (mut client, mut server) = pair(ServerConfig::default());
    for tag in [0, 1] {
        client.open(request("/"), Bytes::from(vec![b'x'; 1_000]), tag).unwrap();
    }
    let mut bytes = Vec::new();
    client.drain(&mut bytes, usize::MAX);
    server.feed(&bytes[..bytes.len() - 400]);
    assert_eq!(next_request(&mut server).body.len(), 1_000);
    assert!(server.poll().is_none());
    server.closed();
    match server.poll() {
        Some(ServerEvent::Dropped(request)) => assert_eq!((request.body.len(), request.whole), (600, false)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_is_held_to_the_limit_that_it_knew_when_it_opened_a_stream_however_late_that_comes() {
    let (mut client, mut server) = pair(ServerConfig { streams_max: Some(2), ..ServerConfig::default() });
    let mut bytes = Vec::new();
    // Two requests, and then the acknowledgement of a limit of one, arrive together.
    for tag in [0, 1] {
        client.open(request("/"), Bytes::from_static(b"{}"), tag).unwrap();
    }
    server.set_streams_max(1);
    server.drain(&mut bytes, usize::MAX);
    client.feed(&bytes);
    carry(&mut client, &mut server, usize::MAX);
    let (first, second) = (next_request(&mut server), next_request(&mut server));
    server.respond(first.stream, &plain(200, b"")).unwrap();
    carry(&mut client, &mut server, usize::MAX);
    // One is given up, and the next arrives together with the news of it.
    client.cancel(second.stream);
    client.open(request("/"), Bytes::new(), 2).unwrap();
    carry(&mut client, &mut server, usize::MAX);
    let mut events = std::iter::from_fn(|| server.poll());
    assert!(matches!(events.next(), Some(ServerEvent::Cancelled { .. })));
    assert!(matches!(events.next(), Some(ServerEvent::Request(request)) if request.stream > second.stream));
    assert!(events.next().is_none());
}

#[test]
fn a_client_that_opens_too_many_streams_is_refused() {
    // A raw client: h2's would hold the second request back.
    let mut server = ServerPump::new(ServerConfig { streams_max: Some(1), ..ServerConfig::default() });
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let settings = |flags| FrameHead { length: 0, kind: kind::SETTINGS, flags, stream: 0 }.encode();
    bytes.extend(settings(0));
    bytes.extend(settings(1));
    for stream in [1, 3] {
        // :method POST, :scheme https, :path /, :authority a
        let block = [0x83, 0x87, 0x84, 0x41, 1, b'a'];
        bytes.extend(FrameHead { length: 6, kind: kind::HEADERS, flags: 4, stream }.encode());
        bytes.extend(block);
        bytes.extend(FrameHead { length: 1, kind: kind::DATA, flags: 1, stream }.encode());
        bytes.push(b'{');
    }
    bytes.extend(FrameHead { length: 5, kind: kind::PRIORITY, flags: 0, stream: 1 }.encode());
    bytes.extend([0, 0, 0, 0, 9]);
    server.feed(&bytes);
    let mut seen = vec![];
    while let Some(event) = server.poll() {
        seen.push(match event {
            ServerEvent::Violation(violation) => format!("{violation:?}"),
            ServerEvent::Request(request) => format!("request {}", request.stream),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(seen, ["Priority", "request 1", "TooManyStreams { stream: 3, limit: 1 }"]);
    let mut out = Vec::new();
    server.drain(&mut out, usize::MAX);
    let refusal: &[u8] = &[0, 0, 4, kind::RST_STREAM, 0, 0, 0, 0, 3, 0, 0, 0, 7];
    assert!(out.windows(refusal.len()).any(|window| window == refusal));
}

#[test]
fn a_short_connection_window_holds_the_headers_too() {
    let (mut client, mut server) =
        pair(ServerConfig { window: WindowPolicy::Manual, ..ServerConfig::default() });
    for tag in 0..16 {
        client.open(request("/"), Bytes::from(vec![b'x'; 4_000]), tag).unwrap();
    }
    assert_eq!(client.send_window(), 1_535);
    let body = Bytes::from(vec![b'x'; 1_536]);
    assert_eq!(client.open(request("/"), body.clone(), 16), Err(OpenError::Window));
    carry(&mut client, &mut server, 999);
    assert_eq!(server.owed(), 64_000);
    assert_eq!(client.send_window(), 1_535);
    server.grant(1);
    carry(&mut client, &mut server, 999);
    client.open(request("/"), body, 16).unwrap();
    assert_eq!(client.send_window(), 0);
    carry(&mut client, &mut server, 999);
    assert_eq!(server.streams_open(), 17);
}

#[test]
fn the_window_policies_give_credit_back() {
    for (policy, after) in [(WindowPolicy::Immediate, 65_535), (WindowPolicy::AtHalf, 64_535)] {
        let (mut client, mut server) = pair(ServerConfig { window: policy, ..ServerConfig::default() });
        for tag in 0..34 {
            client.open(request("/"), Bytes::from(vec![b'x'; 1_000]), tag).unwrap();
        }
        carry(&mut client, &mut server, 999);
        assert_eq!(client.send_window(), after, "{policy:?}");
    }
}

#[test]
fn a_cancelled_request_gives_back_what_had_not_left_h2() {
    let (mut client, mut server) = pair(ServerConfig::default());
    let first = client.open(request("/"), Bytes::from(vec![b'x'; 1_000]), 1).unwrap();
    let flight = client.cancel(first).unwrap();
    assert!(!flight.left && client.cancel(first).is_none());
    assert!(client.send_window() >= 64_535);
    carry(&mut client, &mut server, 999);
    let second = client.open(request("/"), Bytes::from_static(b"{}"), 2).unwrap();
    carry(&mut client, &mut server, 999);
    assert!(client.cancel(second).unwrap().left);
    // The answer crosses the reset on the wire.
    let mut requests = vec![];
    while let Some(event) = server.poll() {
        if let ServerEvent::Request(request) = event {
            requests.push(request.stream);
        }
    }
    assert!(requests.contains(&second));
    server.respond(second, &plain(200, b"late")).unwrap();
    carry(&mut client, &mut server, 999);
    assert!(client.poll().is_none(), "a late answer is swallowed");
    client.open(request("/"), Bytes::from_static(b"{}"), 3).unwrap();
    carry(&mut client, &mut server, 999);
    let third = std::iter::from_fn(|| server.poll()).find_map(|event| match event {
        ServerEvent::Request(request) => Some(request.stream),
        _ => None,
    });
    server.respond(third.unwrap(), &plain(200, b"")).unwrap();
    carry(&mut client, &mut server, 999);
    assert_eq!(answered(&mut client).0, 3);
}

#[test]
fn a_reset_names_its_code_and_the_server_hears_of_cancels() {
    let (mut client, mut server) = pair(ServerConfig::default());
    for tag in 0..2 {
        client.open(request("/"), Bytes::from_static(b"{}"), tag).unwrap();
    }
    carry(&mut client, &mut server, 50);
    let first = next_request(&mut server).stream;
    let second = next_request(&mut server).stream;
    assert!(server.reset(first, code::REFUSED_STREAM));
    carry(&mut client, &mut server, 50);
    match client.poll() {
        Some(ClientEvent::Failed { flight, failure: Failure::Reset(code::REFUSED_STREAM) }) => {
            assert_eq!(flight.tag, 0);
        }
        other => panic!("{other:?}"),
    }
    client.cancel(second).unwrap();
    carry(&mut client, &mut server, 50);
    match server.poll() {
        Some(ServerEvent::Cancelled { stream, code: code::CANCEL }) => assert_eq!(stream, second),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.respond(second, &plain(200, b"")), Err(RespondError::Gone));
}

#[test]
fn goaway_leaves_out_later_streams_and_earlier_ones_are_answered() {
    let (mut client, mut server) = pair(ServerConfig::default());
    for tag in 0..4 {
        client.open(request("/"), Bytes::from_static(b"{}"), tag).unwrap();
    }
    carry(&mut client, &mut server, 50);
    let streams: Vec<u32> = (0..4).map(|_| next_request(&mut server).stream).collect();
    server.goaway(u32::MAX >> 1, code::NO_ERROR, b"");
    server.goaway(streams[1], code::NO_ERROR, br#"{"reason":"Shutdown"}"#);
    carry(&mut client, &mut server, 50);
    let mut not_processed = vec![];
    let mut last = u32::MAX;
    while let Some(event) = client.poll() {
        match event {
            ClientEvent::GoAway { last_stream, debug, .. } => {
                assert!(last_stream < last);
                last = last_stream;
                assert!(debug.is_empty() || debug.starts_with(br#"{"reason""#));
            }
            ClientEvent::Failed { flight, failure: Failure::NotProcessed } => not_processed.push(flight.tag),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((last, not_processed), (streams[1], vec![2, 3]));
    assert_eq!(client.open(request("/"), Bytes::new(), 9), Err(OpenError::Closed));
    server.respond(streams[0], &plain(200, b"")).unwrap();
    carry(&mut client, &mut server, 50);
    assert_eq!(answered(&mut client).0, 0);
    client.closed();
    match client.poll() {
        Some(ClientEvent::Failed { flight, failure: Failure::Lost }) => {
            assert_eq!((flight.tag, flight.left), (1, true));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(client.poll(), Some(ClientEvent::Closed { .. })));
    assert!(client.poll().is_none());
}

#[test]
fn an_early_answer_is_an_answer() {
    let (mut client, mut server) = pair(ServerConfig { body_bytes_max: 100, ..ServerConfig::default() });
    client.open(request("/"), Bytes::from(vec![b'x'; 40_000]), 1).unwrap();
    let mut bytes = Vec::new();
    client.drain(&mut bytes, 20_000);
    server.feed(&bytes);
    let request = next_request(&mut server);
    assert!(!request.whole && request.body.len() == 100);
    server.respond(request.stream, &plain(413, br#"{"reason":"PayloadTooLarge"}"#)).unwrap();
    carry(&mut client, &mut server, 999);
    let (tag, response) = answered(&mut client);
    assert_eq!((tag, response.status, response.whole), (1, 413, true));
}

#[test]
fn a_giant_answer_is_cut_and_its_stream_reset() {
    let (mut client, mut server) = pair(ServerConfig::default());
    client.open(request("/"), Bytes::new(), 1).unwrap();
    client.open(request("/"), Bytes::new(), 2).unwrap();
    carry(&mut client, &mut server, 999);
    let giant = vec![b'x'; 3 << 20];
    let first = next_request(&mut server).stream;
    server.respond(first, &plain(400, &giant)).unwrap();
    carry(&mut client, &mut server, 9_999);
    let (_, response) = answered(&mut client);
    assert_eq!((response.status, response.body.len(), response.whole), (400, 4_096, false));
    let second = next_request(&mut server).stream;
    server.respond(second, &plain(200, b"")).unwrap();
    carry(&mut client, &mut server, 9_999);
    assert_eq!(answered(&mut client).0, 2);
}

#[test]
fn pings_are_answered_unless_the_server_is_told_not_to() {
    let (mut client, mut server) = pair(ServerConfig::default());
    for _ in 0..2 {
        client.ping();
        carry(&mut client, &mut server, 5);
        assert!(matches!(client.poll(), Some(ClientEvent::Pong)));
    }
    server.set_answers_pings(false);
    client.ping();
    carry(&mut client, &mut server, 5);
    assert!(client.poll().is_none());
    server.ping();
    carry(&mut client, &mut server, 5);
    assert!(matches!(server.poll(), Some(ServerEvent::Pong)));
}

#[test]
fn unknown_frames_and_settings_are_ignored() {
    let (mut client, mut server) = pair(ServerConfig::default());
    server.send_settings(&[(0xabcd, 7), (1, 0)]);
    server.raw(&[0, 0, 2, 0xee, 0xff, 0, 0, 0, 0, 1, 2]);
    client.open(request("/"), Bytes::new(), 1).unwrap();
    carry(&mut client, &mut server, 1);
    let stream = next_request(&mut server).stream;
    server.respond(stream, &plain(200, b"")).unwrap();
    carry(&mut client, &mut server, 1);
    assert_eq!(answered(&mut client).0, 1);
    assert!(server.is_acknowledged());
}

#[test]
fn what_has_not_wholly_left_is_known() {
    let (mut client, mut server) = pair(ServerConfig::default());
    client.open(request("/1"), Bytes::from_static(b"{}"), 1).unwrap();
    carry(&mut client, &mut server, 999);
    client.open(request("/2"), Bytes::from_static(b"{}"), 2).unwrap();
    let mut bytes = Vec::new();
    // HEADERS of the second, and all of its DATA but for the last byte.
    assert!(!client.drain(&mut bytes, usize::MAX));
    let len = bytes.len();
    let (mut client, mut server) = pair(ServerConfig::default());
    client.open(request("/1"), Bytes::from_static(b"{}"), 1).unwrap();
    carry(&mut client, &mut server, 999);
    client.open(request("/2"), Bytes::from_static(b"{}"), 2).unwrap();
    assert!(client.drain(&mut Vec::new(), len - 1));
    client.closed();
    let mut left = vec![];
    while let Some(event) = client.poll() {
        if let ClientEvent::Failed { flight, failure: Failure::Lost } = event {
            left.push((flight.tag, flight.left));
        }
    }
    assert_eq!(left, [(1, true), (2, false)]);
}

#[test]
fn malformed_bytes_end_the_connection_with_words() {
    let malformed: [&[u8]; 6] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        // SETTINGS with a length that is no multiple of six.
        &[0, 0, 5, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5],
        // DATA on stream 0; HEADERS on a stream that was never opened; WINDOW_UPDATE of 0; overflow.
        &[0, 0, 1, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0, 1, 1, 5, 0, 0, 0, 9, 0x88],
        &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff],
    ];
    for bytes in malformed {
        let (mut client, mut server) = pair(ServerConfig::default());
        client.open(request("/"), Bytes::from_static(b"{}"), 1).unwrap();
        carry(&mut client, &mut server, 999);
        client.feed(bytes);
        assert!(
            matches!(client.poll(), Some(ClientEvent::Failed { failure: Failure::Lost, .. })),
            "{bytes:?}"
        );
        match client.poll() {
            Some(ClientEvent::Closed { error: Some(text) }) => assert!(!text.is_empty()),
            other => panic!("{bytes:?}: {other:?}"),
        }
        client.feed(bytes);
        assert!(client.poll().is_none());
        assert_eq!(client.open(request("/"), Bytes::new(), 2), Err(OpenError::Streams));
    }
}

#[test]
fn a_peer_that_sends_and_never_reads_is_shut_out() {
    let (mut client, _server) = pair(ServerConfig::default());
    // PINGs want answers; nobody drains them.
    let ping = [0, 0, 8, kind::PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8].repeat(100);
    for _ in 0..200 {
        client.feed(&ping);
    }
    match client.poll() {
        Some(ClientEvent::Closed { error: Some(text) }) => assert!(text.contains("without reading")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_sends_and_never_reads_is_shut_out() {
    let (_client, mut server) = pair(ServerConfig::default());
    let ping = [0, 0, 8, kind::PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8].repeat(1_000);
    for _ in 0..100 {
        server.feed(&ping);
    }
    match server.poll() {
        Some(ServerEvent::Closed { error: Some(text) }) => assert!(text.contains("without reading")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn thousands_of_late_answers_do_not_end_the_connection() {
    let (mut client, mut server) = pair(ServerConfig::default());
    for tag in 0..3_000 {
        let stream = client.open(request("/"), Bytes::from_static(b"{}"), tag).unwrap();
        let mut bytes = Vec::new();
        while client.drain(&mut bytes, 999) {}
        server.feed(&bytes);
        next_request(&mut server);
        server.respond(stream, &plain(200, b"late")).unwrap();
        client.cancel(stream).unwrap();
        carry(&mut client, &mut server, 999);
        assert!(client.poll().is_none() && server.poll().is_none(), "after {tag}");
    }
    client.open(request("/"), Bytes::new(), 3_000).unwrap();
    carry(&mut client, &mut server, 999);
    let stream = next_request(&mut server).stream;
    server.respond(stream, &plain(200, b"")).unwrap();
    carry(&mut client, &mut server, 999);
    assert_eq!(answered(&mut client).0, 3_000);
}

#[test]
fn a_body_passes_through_a_stream_window_smaller_than_itself() {
    let config =
        ServerConfig { stream_window_bytes: 100, window: WindowPolicy::Immediate, ..ServerConfig::default() };
    let (mut client, mut server) = pair(config);
    for tag in 0..3 {
        client.open(request("/"), Bytes::from(vec![tag as u8; 4_096]), tag).unwrap();
    }
    assert_eq!(client.send_window(), 65_535 - 3 * 4_096);
    carry(&mut client, &mut server, 999);
    for tag in 0..3 {
        let request = next_request(&mut server);
        assert_eq!(request.body, vec![tag as u8; 4_096]);
        server.respond(request.stream, &plain(200, b"")).unwrap();
    }
    carry(&mut client, &mut server, 999);
    assert_eq!((client.in_flight(), client.send_window()), (0, 65_535));
}

#[test]
fn what_stands_on_the_wire_is_sound_under_small_output_buffers() {
    // Frames of ours are put in only between frames of h2, however it is held back.
    let config = ServerConfig { output_bytes_max: 64, ..ServerConfig::default() };
    let (mut client, mut server) = pair(config);
    for tag in 0..20 {
        client.open(request("/"), Bytes::from_static(b"{}"), tag).unwrap();
    }
    carry(&mut client, &mut server, 40);
    let body = vec![b'x'; 3_000];
    for limit in 0..20 {
        let stream = next_request(&mut server).stream;
        server.respond(stream, &plain(400, &body)).unwrap();
        server.set_streams_max(100 + limit);
        server.ping();
    }
    carry(&mut client, &mut server, 7);
    for _ in 0..20 {
        assert_eq!(answered(&mut client).1.body, body);
    }
    assert_eq!(client.streams_max(), 119);
    assert!(server.is_acknowledged());
}
