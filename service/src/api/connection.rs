//! A connection of the API below its TLS: who stands behind it, how long it may take to read what is written to it, and
//! how it is closed.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use super::places::{Closed, Place};

/// How long a connection that is being closed is read on: a caller that still writes gets the answer that way. The end of
/// a socket with unread bytes in it is a reset, which may overtake the answer.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// How much is read then. The parts that `carillon devices import` sends have half of it.
const LINGER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long a connection may last, and its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// In which at least something of what is written must be read.
    pub write_time: Duration,
    /// For a connection without a token, all in all. An answer in its second half is said to be its last.
    pub stranger_time: Duration,
    /// After which the next answer on a connection is its last.
    pub life_time: Duration,
}

/// What a request knows of the connection that it came on.
#[derive(Clone, Debug)]
pub struct Origin {
    place: Arc<Place>,
    times: Times,
}

impl Origin {
    /// A valid token was shown.
    pub fn know(&self) {
        self.place.know();
    }

    /// Where it comes from.
    pub fn address(&self) -> IpAddr {
        self.place.address()
    }

    /// Whether the next answer is to be the last.
    pub fn is_old(&self) -> bool {
        let most = if self.place.is_known() { self.times.life_time } else { self.times.stranger_time / 2 };
        self.place.age() >= most
    }
}

/// The address that requests without a connection have: those of tests.
pub const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A connection in its place.
pub struct Connection<S> {
    stream: S,
    origin: Origin,
    /// Says that somebody else gets the place; `None` when that cannot happen any more.
    leave: Option<oneshot::Receiver<()>>,
    /// Until when it must have shown a token.
    stranger: Option<Pin<Box<Sleep>>>,
    /// Until when something must have been read, while what was written waits.
    unread: Option<Pin<Box<Sleep>>>,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Connection<S> {
    /// Over `stream`.
    pub fn new(stream: S, place: Arc<Place>, leave: oneshot::Receiver<()>, times: Times) -> Connection<S> {
        Connection {
            stream,
            origin: Origin { place, times },
            leave: Some(leave),
            stranger: Some(Box::pin(sleep(times.stranger_time))),
            unread: None,
            linger: None,
        }
    }

    /// For its requests.
    pub fn origin(&self) -> Origin {
        self.origin.clone()
    }

    /// Whether it may go on. To be asked wherever it waits.
    fn may_stay(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(leave) = &mut self.leave {
            match Pin::new(leave).poll(cx) {
                Poll::Ready(Ok(())) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Poll::Ready(Err(_)) => self.leave = None,
                Poll::Pending => {}
            }
        }
        if let Some(stranger) = &mut self.stranger
            && stranger.as_mut().poll(cx).is_ready()
        {
            self.stranger = None;
            if !self.origin.place.is_known() {
                self.origin.place.closing(Closed::Stranger);
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    /// What a write came to: with progress the time begins anew.
    fn watch<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.unread = None;
            return done;
        }
        self.may_stay(cx)?;
        let time = self.origin.times.write_time;
        let unread = self.unread.get_or_insert_with(|| Box::pin(sleep(time)));
        ready!(unread.as_mut().poll(cx));
        self.origin.place.closing(Closed::NotRead);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_pending() {
            self.may_stay(cx)?;
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            // Nothing more is read by that.
            Poll::Ready(flushed) => Poll::Ready(flushed),
            Poll::Pending => self.watch(cx, Poll::Pending),
        }
    }

    /// Says that nothing more comes, and reads on for a while.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.watch(cx, shut))?;
        }
        let (end, left) = this.linger.get_or_insert_with(|| (Box::pin(sleep(LINGER_TIME)), LINGER_BYTES_MAX));
        let mut thrown_away = [std::mem::MaybeUninit::uninit(); 4 * 1024];
        loop {
            let mut buf = ReadBuf::uninit(&mut thrown_away);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() && *left > buf.filled().len() => {
                    *left -= buf.filled().len();
                }
                // The end, or enough.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(end.as_mut().poll(cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::places::{PlaceBounds, Places};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const TIMES: Times = Times {
        write_time: Duration::from_millis(400),
        stranger_time: Duration::from_millis(800),
        life_time: Duration::from_millis(1_600),
    };

    fn places() -> Places {
        Places::new(PlaceBounds { all: 2, strangers: 2, one_address: 1 })
    }

    /// The service's end and the caller's, with room for 64 bytes in between.
    fn pair(places: &Places) -> (Connection<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(64);
        let (place, leave) = places.take(NOWHERE).unwrap();
        (Connection::new(ours, place, leave, TIMES), theirs)
    }

    #[tokio::test]
    async fn who_reads_nothing_is_let_go_after_the_write_time_and_who_reads_slowly_is_not() {
        let places = places();
        let (mut connection, mut caller) = pair(&places);
        connection.origin().know();
        let reader = tokio::spawn(async move {
            let mut byte = [0];
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                caller.read_exact(&mut byte).await.unwrap();
            }
            // And from here on nothing.
            std::future::pending::<()>().await;
        });
        let started = tokio::time::Instant::now();
        let error = connection.write_all(&[0; 1_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= Duration::from_millis(10 * 100 + 400), "{:?}", started.elapsed());
        assert_eq!(places.closed()[Closed::NotRead as usize], 1);
        reader.abort();
    }

    #[tokio::test]
    async fn a_connection_without_a_token_ends_after_its_time_and_one_with_a_token_does_not() {
        let places = places();
        let (mut stranger, _caller) = pair(&places);
        let started = tokio::time::Instant::now();
        let error = stranger.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= TIMES.stranger_time);
        drop(stranger);
        let (mut known, mut caller) = pair(&places);
        known.origin().know();
        tokio::spawn(async move {
            tokio::time::sleep(TIMES.stranger_time * 2).await;
            caller.write_all(b"x").await.unwrap();
            std::future::pending::<()>().await;
        });
        assert_eq!(known.read_u8().await.unwrap(), b'x');
        assert_eq!(places.closed(), [0, 0, 0, 1]);
    }

    #[tokio::test]
    async fn who_has_to_make_room_is_let_go_at_once_wherever_it_waits() {
        let places = places();
        let (mut reads, _one) = pair(&places);
        let waits = tokio::spawn(async move { reads.read_u8().await });
        tokio::task::yield_now().await;
        let (mut writes, _two) = pair(&places);
        assert_eq!(waits.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        let waits = tokio::spawn(async move { writes.write_all(&[0; 1_000]).await });
        tokio::task::yield_now().await;
        let _third = pair(&places);
        assert_eq!(waits.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn what_a_caller_still_writes_is_read_before_the_end_but_not_for_ever() {
        let places = places();
        let (mut connection, mut caller) = pair(&places);
        let writer = tokio::spawn(async move { caller.write_all(&vec![0; 1024 * 1024]).await });
        connection.shutdown().await.unwrap();
        writer.await.unwrap().expect("all of it is read");

        let (mut connection, mut endless) = pair(&places);
        let writer = tokio::spawn(async move { while endless.write_all(&[0; 4_096]).await.is_ok() {} });
        connection.shutdown().await.unwrap();
        drop(connection);
        writer.await.unwrap();

        let (mut connection, _silent) = pair(&places);
        let started = tokio::time::Instant::now();
        connection.shutdown().await.unwrap();
        assert!(started.elapsed() >= LINGER_TIME);
    }

    #[tokio::test]
    async fn the_answers_of_an_old_connection_are_its_last() {
        let places = places();
        let (connection, _caller) = pair(&places);
        let origin = connection.origin();
        assert!(!origin.is_old());
        tokio::time::sleep(TIMES.stranger_time / 2).await;
        assert!(origin.is_old(), "half the time of a stranger");
        origin.know();
        assert!(!origin.is_old());
        tokio::time::sleep(TIMES.life_time).await;
        assert!(origin.is_old());
    }
}
