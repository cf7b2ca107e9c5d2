//! One connection: a socket, and TLS on it once it is connected.
//!
//! mio's contract (documentation of `mio::Poll`, `mio::net::TcpStream`) is cited where a branch exists because of it.

use std::io::{self, BufRead, Read};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use carillon_core::http1;
use carillon_core::shard::CloseReason;
use mio::net::TcpStream;
use rustls::ClientConnection;
use socket2::{SockRef, TcpKeepalive};

use crate::tls::{Target, close_reason};

/// Begins to connect. The socket is not connected yet: see [`connected`].
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    // Writes are gathered by ourselves; nothing is gained by the kernel's waiting for more.
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    Ok(socket)
}

/// Whether a connect has come through. `TcpStream::connect`, steps 3 to 6: after a writable event `take_error` tells of
/// a failure; then `peer_addr` tells a connected socket from a spurious event.
pub(crate) fn connected(socket: &TcpStream) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        // EINPROGRESS has no `ErrorKind` of its own that is stable; NotConnected is what Linux gives.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Which of the core's reasons an error of a socket is.
pub(crate) fn io_reason(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => CloseReason::Refused,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => CloseReason::Reset,
        _ => CloseReason::Io(error.to_string().into()),
    }
}

/// A connected socket with TLS.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) socket: TcpStream,
    /// Whom it connects to.
    pub(crate) address: SocketAddr,
    tls: ClientConnection,
    open: bool,
    /// [`Wire::finish`] was called.
    finished: bool,
    /// Bytes that [`Wire::discard`] has read.
    discarded: usize,
    /// System calls on the socket since [`Wire::take_calls`].
    calls: u64,
}

/// What reading brings, in order.
#[derive(Debug)]
pub(crate) enum Arrival<'a> {
    /// The handshake is done and the protocol agreed on.
    Opened,
    /// Decrypted bytes, at most one TLS record.
    Bytes(&'a [u8]),
}

/// Why reading stopped.
#[derive(Debug)]
pub(crate) enum ReadEnd {
    /// The socket is empty: an event will tell when it is not.
    WouldBlock,
    /// There may be more, but others have their turn: no event will tell, read again next turn.
    Budget,
    /// The connection is over.
    Closed(CloseReason),
}

impl Wire {
    /// Begins the handshake on a connected socket; [`Wire::write`] sends its first message.
    pub(crate) fn new(address: SocketAddr, socket: TcpStream, target: &Target) -> Result<Wire, CloseReason> {
        let tls = target.client()?;
        Ok(Wire { socket, address, tls, open: false, finished: false, discarded: 0, calls: 0 })
    }

    /// Whether the handshake is done.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Reads at most as much as `scratch` holds: a turn's budget. `bytes_read` counts what came from the socket.
    pub(crate) fn read(
        &mut self,
        target: &Target,
        scratch: &mut [u8],
        bytes_read: &mut u64,
        mut arrived: impl FnMut(Arrival<'_>),
    ) -> ReadEnd {
        let mut left = scratch.len();
        while left > 0 {
            self.calls += 1;
            // "Draining readiness": until WouldBlock, also after a short read.
            match self.socket.read(&mut scratch[..left]) {
                Ok(0) => {
                    let during = "the server closed the connection during the TLS handshake; if it lasts, see that \
                                  it has room for more connections";
                    return ReadEnd::Closed(match self.open {
                        true => CloseReason::Eof,
                        false => CloseReason::Tls(during.into()),
                    });
                }
                Ok(len) => {
                    left -= len;
                    *bytes_read += len as u64;
                    if let Err(reason) = self.decrypt(target, &scratch[..len], &mut arrived) {
                        // Tell the server which alert we have for it, if it takes that at once.
                        let _ = self.write();
                        return ReadEnd::Closed(reason);
                    }
                }
                // "Spurious events": not an error, wait for another event.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return ReadEnd::WouldBlock,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return ReadEnd::Closed(io_reason(&error)),
            }
        }
        ReadEnd::Budget
    }

    fn decrypt(
        &mut self,
        target: &Target,
        mut encrypted: &[u8],
        arrived: &mut impl FnMut(Arrival<'_>),
    ) -> Result<(), CloseReason> {
        if !self.open
            && let Some(status) = http1::status_in_clear(encrypted)
        {
            return Err(CloseReason::Tls(http1::in_clear(status).into()));
        }
        while !encrypted.is_empty() {
            // rustls takes what its buffer has room for; what it cannot take at all is a record beyond TLS's bounds.
            self.tls.read_tls(&mut encrypted).map_err(|error| CloseReason::Tls(error.to_string().into()))?;
            let state = self.tls.process_new_packets().map_err(|error| close_reason(&error))?;
            if !self.open && !self.tls.is_handshaking() {
                target.check_alpn(&self.tls)?;
                self.open = true;
                arrived(Arrival::Opened);
            }
            self.take_plaintext(arrived);
            if state.peer_has_closed() {
                return Err(CloseReason::Eof);
            }
        }
        Ok(())
    }

    fn take_plaintext(&mut self, arrived: &mut impl FnMut(Arrival<'_>)) {
        let mut reader = self.tls.reader();
        // Empty after `close_notify`, WouldBlock when nothing more is decrypted: both mean that this was all for now.
        while let Ok(bytes) = reader.fill_buf()
            && !bytes.is_empty()
        {
            let len = bytes.len();
            arrived(Arrival::Bytes(bytes));
            reader.consume(len);
        }
    }

    /// Whether [`Wire::write`] has something to write.
    pub(crate) fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Takes bytes over for encryption. Only when [`Wire::write`] has said that all is written.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        use std::io::Write;
        self.tls.writer().write_all(bytes).expect("rustls' buffer is in memory and has no limit");
    }

    /// Announces that no more bytes will follow.
    pub(crate) fn put_close_notify(&mut self) {
        self.tls.send_close_notify();
    }

    /// Writes what waits, as far as the socket takes it. True: all is written. False: a writable event will tell when
    /// to go on.
    pub(crate) fn write(&mut self) -> io::Result<(bool, usize)> {
        let mut written = 0;
        while self.tls.wants_write() {
            self.calls += 1;
            match self.tls.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => written += len,
                // "Draining readiness": only now will there be another event.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((false, written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((true, written))
    }

    /// Sends FIN, once: everything is written. Each further call would make a writable event of its own.
    pub(crate) fn finish(&mut self) {
        if !mem::replace(&mut self.finished, true) {
            self.calls += 1;
            // An error means that the peer was faster.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
    }

    /// Whether nothing more will be written: a writable event means nothing any more.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Reads and drops, so that closing the socket does not turn into a reset that overtakes our last bytes. Closed: the
    /// peer has closed, too, or goes on sending as if it would never end.
    pub(crate) fn discard(&mut self, scratch: &mut [u8]) -> ReadEnd {
        let mut left = scratch.len();
        while left > 0 {
            if self.discarded >= DISCARDED_BYTES_MAX {
                return ReadEnd::Closed(CloseReason::Eof);
            }
            self.calls += 1;
            match self.socket.read(scratch) {
                Ok(0) => return ReadEnd::Closed(CloseReason::Eof),
                Ok(len) => {
                    left = left.saturating_sub(len);
                    self.discarded += len;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return ReadEnd::WouldBlock,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return ReadEnd::Closed(io_reason(&error)),
            }
        }
        ReadEnd::Budget
    }

    /// System calls on the socket since this was last asked: reads, writes and shutdowns.
    pub(crate) fn take_calls(&mut self) -> u64 {
        mem::take(&mut self.calls)
    }
}

/// What a peer may still send after we have closed, in bytes: more than the answers that can be on their way. Reading
/// on would cost a processor core for as long as the peer likes.
const DISCARDED_BYTES_MAX: usize = 1024 * 1024;

/// Silence after which the kernel asks whether the other side is still there. Below the shortest idle time-out of
/// common firewalls and load balancers (60 s).
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Between two such questions. Linux gives up after nine.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
