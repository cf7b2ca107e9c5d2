//! In which version of EWS a server is asked.

use super::MailServerId;
use super::core::ShardCore;
use crate::ews::{EwsError, ResponseCode, SchemaVersion};
use crate::limits::{NEWER_VERSION_RETRY_MAX, NEWER_VERSION_UNPROVEN_RETRY, NEWER_VERSION_WORKED_RETRY};
use crate::time::{Now, Span, Time};

/// When a server that is asked in an older version is asked in the newest again: what lowered it may have been one stray
/// answer, or a mailbox that is older than its server. One call asks, and all others only after that has succeeded.
#[derive(Debug, Default)]
pub(super) struct Newer {
    /// Not before then.
    at: Time,
    /// Such a call was sent.
    out: bool,
    /// The newest version has worked at this server.
    worked: bool,
    /// How often it has been given up.
    refused: u8,
}

impl Newer {
    /// The newest version is given up for a while; for longer if it never worked.
    fn give_up(&mut self, now: Time) {
        let first = if self.worked { NEWER_VERSION_WORKED_RETRY } else { NEWER_VERSION_UNPROVEN_RETRY };
        self.put_off(now, first);
        self.refused = self.refused.saturating_add(1);
    }

    fn put_off(&mut self, now: Time, first: Span) {
        let pause = first.0.saturating_mul(1 << self.refused.min(20)).min(NEWER_VERSION_RETRY_MAX.0);
        self.at = now + Span(pause);
        self.out = false;
    }
}

impl ShardCore {
    /// The version for the next call: now and then the newest, although the server is asked in an older one.
    pub(super) fn version_for_call(&mut self, now: Now, server_id: MailServerId) -> SchemaVersion {
        let server = &self.servers[usize::from(server_id.0)];
        let newest = SchemaVersion::default();
        if server.version < newest && now.time >= server.newer.at { newest } else { server.version }
    }

    /// A call was sent in this version.
    pub(super) fn version_sent(&mut self, now: Now, server_id: MailServerId, version: SchemaVersion) {
        let server = &mut self.servers[usize::from(server_id.0)];
        if version > server.version {
            // Until its answer comes, and if none does, no other.
            server.newer.put_off(now.time, NEWER_VERSION_WORKED_RETRY);
            server.newer.out = true;
        }
    }

    /// The request is one that this server does not know: ask in an older manner. False if there is none.
    pub(super) fn lower_version(
        &mut self,
        now: Now,
        server_id: MailServerId,
        asked_in: SchemaVersion,
    ) -> bool {
        let server = &mut self.servers[usize::from(server_id.0)];
        if server.version < asked_in {
            if server.newer.out {
                server.newer.give_up(now.time);
            }
            return true;
        }
        match server.version.lower() {
            Some(lower) => {
                server.version = lower;
                server.version_works = false;
                server.newer.give_up(now.time);
                true
            }
            None => false,
        }
    }

    /// A server that does not know a version's name may call the whole request invalid (exchange-ews §1.2). As long as
    /// nothing has succeeded there in this version, that is a reason to ask in an older one. False if there is none, or if it
    /// is not the version: then the newest is as good as any.
    pub(super) fn doubt_version(
        &mut self,
        now: Now,
        server_id: MailServerId,
        error: &EwsError,
        asked_in: SchemaVersion,
    ) -> bool {
        let server = &mut self.servers[usize::from(server_id.0)];
        if !matches!(error.code, ResponseCode::ErrorSchemaValidation | ResponseCode::ErrorInvalidRequest)
            || (server.version == asked_in && server.version_works)
        {
            return false;
        }
        let lowered = self.lower_version(now, server_id, asked_in);
        if !lowered {
            self.servers[usize::from(server_id.0)].version = SchemaVersion::default();
        }
        lowered
    }

    /// Something asked in this version has succeeded.
    pub(super) fn version_worked(&mut self, server_id: MailServerId, version: SchemaVersion) {
        let server = &mut self.servers[usize::from(server_id.0)];
        server.newer.worked |= version == SchemaVersion::default();
        if version > server.version && std::mem::take(&mut server.newer.out) {
            server.version = version;
        }
        server.version_works |= server.version == version;
    }
}
