//! The pipe between `h2` and a pump: two buffers that look like a socket.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both buffers. The pump holds one handle, `h2` the other; they are never used at the same time, so the lock is free.
#[derive(Clone, Debug)]
pub(super) struct Pipe {
    buffers: Arc<Mutex<Buffers>>,
    output_bytes_max: usize,
}

#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// From the wire, not yet read by `h2`.
    pub(super) input: BytesMut,
    /// The wire has ended.
    pub(super) eof: bool,
    /// Written by `h2`, not yet drained.
    pub(super) output: BytesMut,
    /// `h2` wanted to write and could not.
    pub(super) blocked: bool,
}

impl Pipe {
    /// `h2` is held back while `output_bytes_max` bytes wait; one write (a frame, 16 KiB) may go beyond.
    pub(super) fn new(output_bytes_max: usize) -> Pipe {
        Pipe { buffers: Arc::default(), output_bytes_max }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Buffers> {
        // Nothing that holds the lock can panic half-way; the buffers are sound whatever else did.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut buffers = self.lock();
        if buffers.input.is_empty() {
            // No waker is kept: the pump polls again after each feed.
            return if buffers.eof { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        let taken = buf.remaining().min(buffers.input.len());
        buf.put_slice(&buffers.input[..taken]);
        buffers.input.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut buffers = self.lock();
        if buffers.output.len() >= self.output_bytes_max {
            buffers.blocked = true;
            return Poll::Pending;
        }
        buffers.output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        // Otherwise h2 chains DATA from 256 bytes on, and flushes for each.
        false
    }
}
