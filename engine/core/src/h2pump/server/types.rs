//! The words in which a server's pump is spoken to.

/// What a server's pump is built with.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// SETTINGS_MAX_CONCURRENT_STREAMS of the first SETTINGS; `None` leaves it out (no limit).
    pub streams_max: Option<u32>,
    /// SETTINGS_INITIAL_WINDOW_SIZE, in bytes.
    pub stream_window_bytes: u32,
    /// SETTINGS_HEADER_TABLE_SIZE, in bytes; `None` leaves it out (4,096).
    pub header_table_bytes: Option<u32>,
    /// SETTINGS_MAX_HEADER_LIST_SIZE, in bytes. Larger requests are answered with 431 by `h2`.
    pub header_list_bytes_max: u32,
    /// When the client gets credit back on the connection's window, which begins with 65,535 bytes.
    pub window: WindowPolicy,
    /// Bytes of one request's body that are kept; a larger one is told of when it passes this ([`Request::whole`]).
    pub body_bytes_max: usize,
    /// Bytes that may wait for [`ServerPump::drain`](super::ServerPump::drain) before `h2` is held back.
    pub output_bytes_max: usize,
}

impl Default for ServerConfig {
    /// What has been seen of APNs with certificate authentication.
    fn default() -> ServerConfig {
        ServerConfig {
            streams_max: Some(1_000),
            stream_window_bytes: 65_535,
            header_table_bytes: Some(4_096),
            header_list_bytes_max: 8_000,
            window: WindowPolicy::AtHalf,
            body_bytes_max: 16 * 1024,
            output_bytes_max: 256 * 1024,
        }
    }
}

/// When the client gets credit back on the connection's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowPolicy {
    /// With every DATA frame.
    Immediate,
    /// When half of the window is used up.
    AtHalf,
    /// When [`ServerPump::grant`](super::ServerPump::grant) is called.
    Manual,
}

/// A request whose body has come.
#[derive(Debug)]
pub struct Request {
    /// Its stream.
    pub stream: u32,
    /// Method, URI (with scheme and authority), header fields.
    pub head: http::request::Parts,
    /// The body, at most [`ServerConfig::body_bytes_max`] bytes of it.
    pub body: Vec<u8>,
    /// False: the body is larger, and the rest of it is thrown away as it comes; or it was broken off.
    pub whole: bool,
}

/// What happened on a server's connection.
#[derive(Debug)]
pub enum ServerEvent {
    /// A request to be answered.
    Request(Box<Request>),
    /// A request that nobody may answer: its stream or the connection ended before all of its body had come, or it came
    /// after our GOAWAY. With what has come of it, for whoever looks at what clients send.
    Dropped(Box<Request>),
    /// The client reset a stream that had no answer yet.
    Cancelled {
        /// Which.
        stream: u32,
        /// Its error code.
        code: u32,
    },
    /// The client broke a rule that this pump looks after; what was done about it is in the variant's text.
    Violation(Violation),
    /// The client answered [`ServerPump::ping`](super::ServerPump::ping).
    Pong,
    /// The client sent GOAWAY.
    WentAway {
        /// Its error code.
        code: u32,
    },
    /// The connection is over: drain what is left, then close. The last event; with the words of `h2` if it failed.
    Closed {
        /// What went wrong.
        error: Option<Box<str>>,
    },
}

/// A rule that a client broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// More streams than SETTINGS_MAX_CONCURRENT_STREAMS; reset with REFUSED_STREAM.
    TooManyStreams {
        /// The stream that was too many.
        stream: u32,
        /// The limit.
        limit: u32,
    },
    /// More DATA than the connection's window; GOAWAY with FLOW_CONTROL_ERROR was sent.
    WindowOverrun,
    /// A PRIORITY frame (Apple: do not send); otherwise ignored.
    Priority,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// `:status`.
    pub status: u16,
    /// Other fields; names in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body; empty: END_STREAM stands on HEADERS.
    pub body: &'a [u8],
    /// Bytes per DATA frame; 0: as few frames as possible.
    pub data_bytes_max: usize,
    /// END_STREAM stands on an empty DATA frame of its own.
    pub empty_tail: bool,
}

/// Why an answer could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RespondError {
    /// The stream is gone: answered, reset, or the connection is closed.
    Gone,
    /// Status or fields cannot stand in a response.
    Malformed,
}
