//! The words in which a client's pump is spoken to.

/// What a client's pump is built with.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Streams that may be open before the peer's SETTINGS have arrived.
    pub initial_streams_max: usize,
    /// Streams that may ever be open at once, whatever the peer allows. Worst-case memory is this times
    /// (`answer_bytes_max` + one payload + 600 bytes), besides the pipe.
    pub streams_max: usize,
    /// Bytes of one response's body that are kept; the rest is refused.
    pub answer_bytes_max: usize,
    /// Bytes that may wait for [`ClientPump::drain`](super::ClientPump::drain) before `h2` is held back.
    pub output_bytes_max: usize,
    /// Bytes from the peer that may wait because `h2` is held back; more closes the connection.
    pub input_bytes_max: usize,
}

/// A request and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight<T> {
    /// What the caller gave it.
    pub tag: T,
    /// Its stream.
    pub stream: u32,
    /// Whether all of its bytes have left through [`ClientPump::drain`](super::ClientPump::drain). A request that
    /// has not wholly left cannot have been processed (RFC 9113 §8.1: it is complete only with END_STREAM).
    pub left: bool,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// `:status`.
    pub status: u16,
    /// The other fields.
    pub headers: http::HeaderMap,
    /// The body, or its beginning.
    pub body: Vec<u8>,
    /// Whether the body is whole: not cut by its bound nor by a reset.
    pub whole: bool,
}

/// Why a request will get no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The peer's GOAWAY leaves this stream out (RFC 9113 §6.8): not processed.
    NotProcessed,
    /// RST_STREAM with this code; REFUSED_STREAM means not processed (RFC 9113 §8.7).
    Reset(u32),
    /// The connection failed.
    Lost,
}

/// What happened on a client's connection.
#[derive(Debug)]
pub enum ClientEvent<T> {
    /// A whole response (or its beginning: [`Response::whole`]).
    Answered {
        /// Whose.
        flight: Flight<T>,
        /// What.
        response: Response,
    },
    /// No answer will come.
    Failed {
        /// Whose.
        flight: Flight<T>,
        /// Why.
        failure: Failure,
    },
    /// The answer to [`ClientPump::ping`](super::ClientPump::ping).
    Pong,
    /// The peer takes no more streams. Open ones up to `last_stream` may still be answered.
    GoAway {
        /// The lowest that the peer has named so far.
        last_stream: u32,
        /// Error code.
        code: u32,
        /// Debug data, cut at 248 bytes.
        debug: Box<[u8]>,
    },
    /// The connection is over: drain what is left, then close. The last event; with the words of `h2` if it failed.
    Closed {
        /// What went wrong, without anything from a request.
        error: Option<Box<str>>,
    },
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The connection is closed, or the peer went away.
    Closed,
    /// As many streams are open as are allowed.
    Streams,
    /// The connection's send window is too short for the body. Its HEADERS are held too, so that another connection can
    /// take the request.
    Window,
    /// `h2` refuses the request as malformed.
    Malformed,
}
