//! Faults as data: switches that may be turned at any time. Faults that happen once are methods of
//! [`Exchange`](super::Exchange).

use carillon_core::time::{Span, Time};

use super::code::Code;
use super::mailbox::MailboxKey;
use super::stats::Operation;
use crate::peer::Close;

/// How the server behaves on the wire just now.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Quiet streams get heartbeats.
    pub heartbeats: bool,
    /// Each [`Peer::drain`](crate::peer::Peer::drain) gives at most this many bytes: split writes.
    pub drain_bytes_max: Option<usize>,
    /// How the envelopes of a stream become HTTP chunks.
    pub chunks: Chunks,
    /// Prefixes on the envelopes of streams.
    pub style: EnvelopeStyle,
    /// What stands before each envelope of a stream.
    pub lead: Lead,
    /// Faults come in SOAP 1.2.
    pub soap12_faults: bool,
    /// What becomes of the good ids when some of a stream's ids are bad.
    pub bad_id_mix: BadIdMix,
    /// How the body of an ordinary reply is delimited. Exchange uses chunks.
    pub transfer: Transfer,
    /// Subscriptions made with `PrimarySmtpAddress` impersonation never yield an event (seen with exchangelib).
    pub primary_smtp_is_mute: bool,
    /// Events carry item ids in the old format, which GetItem refuses (Exchange Online, incident EX698071).
    pub legacy_ids: bool,
    /// ConvertId calls every id malformed.
    pub no_conversion: bool,
    /// What stands before the server and does not let streams through that are opened from now on.
    pub proxy: Option<Proxy>,
    /// After a mail is read, deleted or moved, the folder's event tells how many were unread before (Gromox).
    pub stale_counts: bool,
}

/// What something between client and server can do to streams. Ordinary answers pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Only the head of a stream passes: the proxy waits for the end of the answer, and what it holds is lost when the
    /// client closes. nginx does so by default.
    Buffers,
    /// The first envelope passes, and nothing after it.
    BuffersRest,
    /// The connection is cut after so long, whatever is said on it.
    Cuts(Span),
    /// An answer without a body takes the stream's place.
    Empties,
}

/// How the envelopes of a stream become HTTP chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunks {
    /// One chunk an envelope, as Exchange does.
    Envelope,
    /// Chunks of at most so many bytes: they split envelopes and characters.
    Bytes(usize),
    /// All envelopes that are ready in one chunk.
    Glued,
}

/// Prefixes on the envelopes of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeStyle {
    /// `<Envelope xmlns=…><soap11:Header xmlns:soap11=…>`: what Exchange streams.
    Default,
    /// `<s:Envelope xmlns:s=…>`.
    S,
    /// `<soap11:Envelope xmlns:soap11=…>`.
    Soap11,
    /// `<SOAP:Envelope xmlns:SOAP=…>`, as Gromox.
    Soap,
}

/// What stands before each envelope of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// Nothing, as Exchange.
    Nothing,
    /// An XML declaration.
    Declaration,
    /// A byte-order mark.
    Bom,
    /// Blanks and line ends.
    Blank,
}

/// What becomes of the good ids when some of a stream's ids are bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadIdMix {
    /// The connection stays, with heartbeats, and never tells anything of the good ids: Exchange.
    Silence,
    /// The body ends after the error.
    End,
}

/// How the body of an ordinary reply is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// `Content-Length`.
    Length,
    /// Neither: the connection closes after the body.
    Close,
}

/// How a connection that was given up while it was idle says so when something comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// It ends without a word.
    Ends,
    /// It is reset.
    Resets,
    /// With 408, which nobody has asked for.
    Says408,
}

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// So many bytes still come; zero cuts at once.
    pub after_bytes: u64,
    /// FIN or RST.
    pub how: Close,
}

/// A stream that is open and says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The server writes into a dead path: what it tells meanwhile is lost.
    Blackhole,
    /// The server hangs: what happens meanwhile is told to the next reader.
    Stall,
}

/// Who is told `ErrorServerBusy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyScope {
    /// Every caller.
    All,
    /// Callers of one mailbox's budget.
    Mailbox(MailboxKey),
}

/// The three forms in which Exchange says that it is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyShape {
    /// HTTP 500 with a SOAP fault, the back-off in `detail/MessageXml`.
    Fault,
    /// HTTP 200, `ErrorServerBusy` in the response message with `m:MessageXml`.
    Message,
    /// HTTP 200, `ErrorInternalServerError` whose `MessageXml` names `ErrorServerBusy` as the inner error.
    Inner,
    /// One after the other.
    Rotate,
}

/// An answer that the front end gives in place of the real one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Override {
    /// 503 without XML.
    Unavailable {
        /// `Retry-After` in seconds.
        retry_after_s: Option<u32>,
    },
    /// 429 without XML, as of a proxy that limits requests.
    TooManyRequests {
        /// `Retry-After` in seconds.
        retry_after_s: Option<u32>,
    },
    /// 403 without XML.
    Forbidden {
        /// `Retry-After` in seconds.
        retry_after_s: Option<u32>,
    },
    /// 500 without XML.
    InternalError {
        /// `Retry-After` in seconds.
        retry_after_s: Option<u32>,
    },
    /// Any other status, with a page for people.
    Status(u16),
    /// 401 although the credentials are right.
    Unauthorized,
    /// 500 with a SOAP fault of this code.
    Fault(Code),
    /// 302 to a log-on page.
    LogonRedirect,
    /// 200 with a page for people.
    Html,
    /// 200 with XML that is not well-formed.
    MalformedXml,
    /// 200 with an envelope of about so many bytes.
    Oversized(usize),
}

/// A standing order for the next requests, or for those of some time.
#[derive(Clone, Debug)]
pub(super) struct StandingOverride {
    pub left: u32,
    pub until: Time,
    pub only: Option<Operation>,
    pub answer: Override,
}

/// A time of being busy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy {
    pub scope: BusyScope,
    pub until: Time,
    pub shape: BusyShape,
    /// Leave `BackOffMilliseconds` out.
    pub mute: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            heartbeats: true,
            drain_bytes_max: None,
            chunks: Chunks::Envelope,
            style: EnvelopeStyle::Default,
            lead: Lead::Nothing,
            soap12_faults: false,
            bad_id_mix: BadIdMix::Silence,
            transfer: Transfer::Chunked,
            primary_smtp_is_mute: false,
            legacy_ids: false,
            no_conversion: false,
            proxy: None,
            stale_counts: false,
        }
    }
}

impl Busy {
    /// How long a caller at `now` should wait.
    pub(super) fn rest(&self, now: Time) -> Span {
        self.until.since(now)
    }
}
