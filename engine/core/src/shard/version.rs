//! In which version of EWS a server is asked.

use super::MailServerId;
use super::core::ShardCore;
use crate::ews::{EwsError, ResponseCode, SchemaVersion};

impl ShardCore {
    /// The request is one that this server does not know: ask in an older manner. False if there is none.
    pub(super) fn lower_version(&mut self, server_id: MailServerId, asked_in: SchemaVersion) -> bool {
        let server = &mut self.servers[usize::from(server_id.0)];
        if server.version < asked_in {
            return true;
        }
        match server.version.lower() {
            Some(lower) => {
                server.version = lower;
                server.version_works = false;
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
        let lowered = self.lower_version(server_id, asked_in);
        if !lowered {
            self.servers[usize::from(server_id.0)].version = SchemaVersion::default();
        }
        lowered
    }

    /// Something asked in this version has succeeded.
    pub(super) fn version_worked(&mut self, server_id: MailServerId, version: SchemaVersion) {
        let server = &mut self.servers[usize::from(server_id.0)];
        server.version_works |= server.version == version;
    }
}
