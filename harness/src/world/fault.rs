//! What the world does to shards and their connections, and how often it has.
//!
//! Each is counted where it has its effect, not where it is drawn: a fault that is drawn and does nothing must not look
//! like one.

use std::collections::BTreeMap;

use carillon_core::shard::CloseReason;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A connection was refused.
    Refused,
    /// The name of a server had no address.
    NameNotFound,
    /// Nobody trusted a server's certificate.
    Untrusted,
    /// TLS could not be agreed on.
    HandshakeBroken,
    /// Nobody answered.
    ConnectTimeout,
    /// There was no way to a server.
    Unreachable,
    /// A connection was reset.
    Reset,
    /// TLS broke under way.
    TlsBroken,
    /// A socket failed under way.
    SocketBroken,
    /// A connection stood still, and went on.
    Stall,
    /// A connection stood still until its peer gave it up.
    StallForEver,
    /// A peer's side ended before what it had to say was said.
    HalfClose,
    /// A message came in pieces.
    Pieces,
    /// They came at different times.
    PiecesApart,
    /// A message came byte by byte.
    SingleBytes,
    /// A message came after one that had left later, as its connection is slower than the other.
    Overtaken,
    /// A shard's process died; its kernel still sent what it had been given.
    Crash,
    /// A shard's process died with what it had to send.
    CrashUnsent,
    /// The power failed.
    PowerFailure,
    /// It took something with it that had been written.
    WrittenLost,
    /// A shard's process died while reports waited for room on the disk.
    JournalUnwritten,
    /// It died after the journal had given reports up, as the store took nothing for so long.
    JournalFull,
    /// Its journal was damaged when it started again.
    JournalDamaged,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 23] = [
        Fault::Refused,
        Fault::NameNotFound,
        Fault::Untrusted,
        Fault::HandshakeBroken,
        Fault::ConnectTimeout,
        Fault::Unreachable,
        Fault::Reset,
        Fault::TlsBroken,
        Fault::SocketBroken,
        Fault::Stall,
        Fault::StallForEver,
        Fault::HalfClose,
        Fault::Pieces,
        Fault::PiecesApart,
        Fault::SingleBytes,
        Fault::Overtaken,
        Fault::Crash,
        Fault::CrashUnsent,
        Fault::PowerFailure,
        Fault::WrittenLost,
        Fault::JournalUnwritten,
        Fault::JournalFull,
        Fault::JournalDamaged,
    ];

    /// Why a connection did not come about.
    pub(super) fn of_connect(reason: &CloseReason) -> Fault {
        match reason {
            CloseReason::NameNotFound(_) => Fault::NameNotFound,
            CloseReason::Untrusted(_) => Fault::Untrusted,
            CloseReason::Tls(_) => Fault::HandshakeBroken,
            CloseReason::ConnectTimeout => Fault::ConnectTimeout,
            CloseReason::Refused => Fault::Refused,
            CloseReason::Io(_) | CloseReason::Eof | CloseReason::Reset => Fault::Unreachable,
        }
    }

    /// Why a connection broke.
    pub(super) fn of_break(reason: &CloseReason) -> Fault {
        match reason {
            CloseReason::Tls(_) => Fault::TlsBroken,
            CloseReason::Io(_) => Fault::SocketBroken,
            CloseReason::Eof
            | CloseReason::Reset
            | CloseReason::Refused
            | CloseReason::ConnectTimeout
            | CloseReason::NameNotFound(_)
            | CloseReason::Untrusted(_) => Fault::Reset,
        }
    }
}

/// How often each fault has struck.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Struck(BTreeMap<Fault, u64>);

impl Struck {
    pub(super) fn note(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// How often this one.
    pub fn times(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }
}
