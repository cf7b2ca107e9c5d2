//! What the simulated service counts, and what it noticed.

use std::collections::BTreeMap;

use super::answer::Reason;
use super::payload::PayloadFault;

/// Counters. They only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApnsStats {
    /// Connections accepted.
    pub connections: u64,
    /// Requests whose head and body are whole.
    pub requests: u64,
    /// Pushes answered with 200, those that came again included.
    pub accepted: u64,
    /// Pushes that came again under an `apns-id` already accepted.
    pub duplicates: u64,
    /// Pushes to tokens that no phone ever had.
    pub unknown_tokens: u64,
    /// Refusals by reason.
    pub refused: BTreeMap<Reason, u64>,
    /// Requests left without processing and without answer, on purpose.
    pub unprocessed: u64,
    /// Answers not given although the request was processed, on purpose.
    pub unanswered: u64,
    /// Streams reset on purpose.
    pub resets: u64,
    /// `GOAWAY`s sent on purpose.
    pub goaways: u64,
    /// Streams that the client gave up before they were answered.
    pub cancelled: u64,
    /// Connections that ended because the client broke the protocol.
    pub connections_broken: u64,
    /// Accepted payload bytes.
    pub payload_bytes: u64,
    /// What a strict reader objects to although the service lets it pass.
    pub strict: StrictReport,
}

impl ApnsStats {
    /// How many pushes were refused for this reason.
    pub fn refused_for(&self, reason: Reason) -> u64 {
        self.refused.get(&reason).copied().unwrap_or(0)
    }
}

/// Something that the live service may let pass and that is wrong all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StrictFault {
    /// TLS agreed on no protocol.
    AlpnMissing,
    /// No `:authority`.
    AuthorityMissing,
    /// An `:authority` that is not ours.
    AuthorityWrong,
    /// No `apns-push-type`.
    PushTypeMissing,
    /// `apns-id` not in lower case.
    ApnsIdUnusual,
    /// Device token not in lower case.
    TokenUpperCase,
    /// `content-encoding`: payloads go uncompressed.
    ContentEncoding,
    /// `authorization` beside a client certificate.
    TwoCredentials,
    /// A resend whose collapse id is not that of the first sending: the phone would show both.
    ResendOtherCollapseId,
    /// A push to a token after an answer that it is gone, which the client could know: it was handed to its connection, and
    /// that lived on for a second or still lives.
    PushedAfterGone,
    /// A header list beyond 8,000 bytes, the live service's limit.
    HeaderListTooLarge,
    /// A PRIORITY frame.
    PriorityFrame,
    /// A stream beyond the limit that the client had acknowledged.
    StreamOverLimit,
    /// Wrong in the payload.
    Payload(PayloadFault),
}

/// Faults that do not show in answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StrictReport {
    /// How often each.
    pub counts: BTreeMap<StrictFault, u64>,
}

impl StrictReport {
    /// Notes one.
    pub fn note(&mut self, fault: StrictFault) {
        *self.counts.entry(fault).or_default() += 1;
    }

    /// How often this one.
    pub fn count(&self, fault: StrictFault) -> u64 {
        self.counts.get(&fault).copied().unwrap_or(0)
    }

    /// Whether there is nothing to object to.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }
}
