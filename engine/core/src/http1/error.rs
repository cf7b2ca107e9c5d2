//! What can be wrong with an HTTP/1.1 answer. Each ends the connection: after one of them nobody knows where the next
//! answer begins.

use std::fmt;

use crate::shard::Trouble;

/// Why a connection's bytes are no usable HTTP/1.1 answer. The fault is the server's, or that of something between us
/// and it (proxy, load balancer), except [`HttpError::Timeout`], where nobody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// The head is longer than [`crate::limits::HEAD_BYTES_MAX`] (with interim answers before it) or has more than
    /// [`crate::limits::HEADER_LINES_MAX`] lines.
    HeadTooLarge,
    /// The head is not HTTP/1.x: status line, a header's name or value, a folded line (RFC 9112 §5.2).
    HeadMalformed,
    /// 101: nobody asked to switch protocols.
    Upgrade,
    /// `Content-Length` and `Transfer-Encoding` together (RFC 9112 §6.3: ought to be handled as an error).
    LengthAndCoding,
    /// `Content-Length` is no number, too large a number, or said twice with different numbers.
    LengthMalformed,
    /// A transfer coding other than one `chunked`, or one in HTTP/1.0.
    TransferCoding,
    /// A content coding (gzip …) although none was asked for.
    ContentCoding,
    /// A chunk does not begin or end as RFC 9112 §7.1 says.
    ChunkMalformed,
    /// A chunk's first line is longer than [`crate::limits::CHUNK_LINE_BYTES_MAX`].
    ChunkLineTooLong,
    /// The trailer is longer than [`crate::limits::TRAILER_BYTES_MAX`].
    TrailerTooLarge,
    /// The body is longer than [`crate::limits::BODY_BYTES_MAX`].
    BodyTooLarge,
    /// Bytes came that answer no request.
    Unsolicited,
    /// The connection ended before the first byte of an answer. On a connection that was used before, the server had
    /// most likely closed it for idleness, without having seen the request.
    NoAnswer,
    /// The connection ended in the middle of an answer.
    Truncated,
    /// The answer took longer than it may.
    Timeout,
}

impl HttpError {
    /// All of them, for tables.
    pub const ALL: [HttpError; 15] = [
        HttpError::HeadTooLarge,
        HttpError::HeadMalformed,
        HttpError::Upgrade,
        HttpError::LengthAndCoding,
        HttpError::LengthMalformed,
        HttpError::TransferCoding,
        HttpError::ContentCoding,
        HttpError::ChunkMalformed,
        HttpError::ChunkLineTooLong,
        HttpError::TrailerTooLarge,
        HttpError::BodyTooLarge,
        HttpError::Unsolicited,
        HttpError::NoAnswer,
        HttpError::Truncated,
        HttpError::Timeout,
    ];

    /// A stable name for metrics and alarms.
    pub const fn name(self) -> &'static str {
        match self {
            HttpError::HeadTooLarge => "http_head_too_large",
            HttpError::HeadMalformed => "http_head_malformed",
            HttpError::Upgrade => "http_upgrade",
            HttpError::LengthAndCoding => "http_length_and_coding",
            HttpError::LengthMalformed => "http_length_malformed",
            HttpError::TransferCoding => "http_transfer_coding",
            HttpError::ContentCoding => "http_content_coding",
            HttpError::ChunkMalformed => "http_chunk_malformed",
            HttpError::ChunkLineTooLong => "http_chunk_line_too_long",
            HttpError::TrailerTooLarge => "http_trailer_too_large",
            HttpError::BodyTooLarge => "http_body_too_large",
            HttpError::Unsolicited => "http_unsolicited",
            HttpError::NoAnswer => "http_no_answer",
            HttpError::Truncated => "http_truncated",
            HttpError::Timeout => "http_timeout",
        }
    }

    /// For a person: what happened and what to do.
    pub fn trouble(self) -> Trouble {
        Trouble { code: self.name().into(), text: self.to_string().into() }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HttpError::HeadTooLarge => {
                "the server's answer has a head beyond every bound: check that the URL leads to Exchange"
            }
            HttpError::HeadMalformed => {
                "the server does not answer in HTTP/1.1: check host, port and what stands in between"
            }
            HttpError::Upgrade => "the server switched protocols unasked: check the proxy in front of it",
            HttpError::LengthAndCoding => {
                "the server's answer states two lengths that exclude each other: check the proxy in front of it"
            }
            HttpError::LengthMalformed => {
                "the server's answer states a length that is none: check the proxy in front of it"
            }
            HttpError::TransferCoding => {
                "the server's answer has a transfer coding other than chunked: check the proxy in front of it"
            }
            HttpError::ContentCoding => {
                "the server's answer is compressed although that was not asked for: switch compression off in the \
                 proxy in front of it"
            }
            HttpError::ChunkMalformed | HttpError::ChunkLineTooLong | HttpError::TrailerTooLarge => {
                "the server's answer is wrongly chunked: check the proxy in front of it"
            }
            HttpError::BodyTooLarge => {
                "the server's answer is beyond every bound: check that the URL leads to Exchange"
            }
            HttpError::Unsolicited => {
                "the server sent something that answers no request: check the proxy in front of it"
            }
            HttpError::NoAnswer => {
                "the server closed the connection without an answer: it is tried again; if it lasts, look at the \
                 server's or load balancer's log"
            }
            HttpError::Truncated => {
                "the connection ended in the middle of an answer: it is tried again; if it lasts, look at the server's \
                 or load balancer's log"
            }
            HttpError::Timeout => {
                "the server did not answer in time: it is tried again; if it lasts, look at the server's load"
            }
        })
    }
}

impl std::error::Error for HttpError {}
