//! An HTTP/2 server that answers every request with 200 and does nothing else: what it costs is nobody's figure.
//!
//! It reads frames without decoding header fields, so it takes what each client sends. Blocking, one thread a connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What arrived so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Requests that were whole, each answered.
    pub requests: AtomicU64,
    /// Bytes of the newest request's body.
    pub body_bytes: AtomicU64,
}

/// Listens on loopback, and serves until the process ends.
pub(crate) fn start(tls: Arc<ServerConfig>, counters: Arc<Counters>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name("sink".into()).spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let (tls, counters) = (Arc::clone(&tls), Arc::clone(&counters));
            // A client that goes away ends its connection's thread: nothing is lost that anybody measures.
            std::thread::spawn(move || serve(socket, tls, &counters));
        }
    })?;
    Ok(address)
}

fn serve(socket: TcpStream, tls: Arc<ServerConfig>, counters: &Counters) -> Option<()> {
    socket.set_nodelay(true).ok()?;
    let mut stream = StreamOwned::new(ServerConnection::new(tls).ok()?, socket);
    let mut conn = Connection::default();
    let mut out = settings();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if !out.is_empty() {
            stream.write_all(&out).ok()?;
            out.clear();
        }
        let got = stream.read(&mut buffer).ok().filter(|got| *got > 0)?;
        conn.feed(&buffer[..got], &mut out, counters)?;
    }
}

/// What is known of one connection between two reads.
#[derive(Debug, Default)]
struct Connection {
    preface_seen: bool,
    input: Vec<u8>,
    /// Bytes of DATA since the connection's window was last opened.
    received: u32,
    /// Bytes of DATA of the request that is coming in; clients here send a request's frames in one go.
    body_bytes: u64,
}

impl Connection {
    /// Takes bytes in and appends the answers. `None`: this is no HTTP/2 client.
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>, counters: &Counters) -> Option<()> {
        self.input.extend_from_slice(bytes);
        let mut at = 0;
        if !self.preface_seen {
            if self.input.len() < PREFACE.len() {
                return Some(());
            }
            if !self.input.starts_with(PREFACE) {
                return None;
            }
            (self.preface_seen, at) = (true, PREFACE.len());
        }
        while let Some(head) = self.input.get(at..at + FRAME_HEAD) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let (kind, flags) = (head[3], head[4]);
            let stream = [head[5] & 0x7f, head[6], head[7], head[8]];
            let Some(payload) = self.input.get(at + FRAME_HEAD..at + FRAME_HEAD + length) else { break };
            match kind {
                DATA => {
                    self.received += length as u32;
                    self.body_bytes += length as u64;
                }
                SETTINGS if flags & ACK == 0 => frame(out, SETTINGS, ACK, [0; 4], &[]),
                PING if flags & ACK == 0 => frame(out, PING, ACK, [0; 4], payload),
                _ => {}
            }
            if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                frame(out, HEADERS, END_HEADERS | END_STREAM, stream, &[STATUS_200]);
                counters.body_bytes.store(self.body_bytes, Ordering::Relaxed);
                counters.requests.fetch_add(1, Ordering::Relaxed);
                self.body_bytes = 0;
            }
            at += FRAME_HEAD + length;
        }
        self.input.drain(..at);
        if self.received > WINDOW_STEP {
            frame(out, WINDOW_UPDATE, 0, [0; 4], &self.received.to_be_bytes());
            self.received = 0;
        }
        Some(())
    }
}

/// The server's first frames: streams enough, and a connection window that never holds a client up.
fn settings() -> Vec<u8> {
    let mut out = Vec::new();
    let mut payload = Vec::new();
    payload.extend_from_slice(&3_u16.to_be_bytes());
    payload.extend_from_slice(&1_000_u32.to_be_bytes());
    frame(&mut out, SETTINGS, 0, [0; 4], &payload);
    frame(&mut out, WINDOW_UPDATE, 0, [0; 4], &(1_u32 << 30).to_be_bytes());
    out
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: [u8; 4], payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream);
    out.extend_from_slice(payload);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200`, the static table's field 8 (RFC 7541, appendix A).
const STATUS_200: u8 = 0x88;
/// DATA after which the connection's window is opened again.
const WINDOW_STEP: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_and_answered_wherever_the_bytes_are_cut() {
        let mut bytes = PREFACE.to_vec();
        frame(&mut bytes, SETTINGS, 0, [0; 4], &[]);
        for stream in [1, 3] {
            frame(&mut bytes, HEADERS, END_HEADERS, [0, 0, 0, stream], &[0x83]);
            frame(&mut bytes, DATA, END_STREAM, [0, 0, 0, stream], &[b'x'; 254]);
        }
        let whole = answers(&[&bytes]);
        assert_eq!((whole.1, whole.2), (2, 254));
        for cut in 0..bytes.len() {
            assert_eq!(answers(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        }
        let mut expected = Vec::new();
        frame(&mut expected, SETTINGS, ACK, [0; 4], &[]);
        for stream in [1, 3] {
            frame(&mut expected, HEADERS, END_HEADERS | END_STREAM, [0, 0, 0, stream], &[STATUS_200]);
        }
        assert_eq!(whole.0, expected);
    }

    #[test]
    fn what_is_no_http2_is_refused() {
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert_eq!(Connection::default().feed(request, &mut Vec::new(), &Counters::default()), None);
    }

    fn answers(pieces: &[&[u8]]) -> (Vec<u8>, u64, u64) {
        let (mut conn, mut out, counters) = (Connection::default(), Vec::new(), Counters::default());
        for piece in pieces {
            conn.feed(piece, &mut out, &counters).unwrap();
        }
        (out, counters.requests.load(Ordering::Relaxed), counters.body_bytes.load(Ordering::Relaxed))
    }
}
