//! Requests to mail servers as bytes: who asks, for whom, by which route.

use super::cohort::CohortId;
use super::config::MailServerId;
use super::core::ShardCore;
use crate::ews::{Caller, Route, http_request, request};
use crate::names::SubscriptionId;
use crate::user::UserId;

impl ShardCore {
    /// An EWS request. `None` if the configuration has characters that cannot stand in one.
    pub(super) fn encode_call(
        &mut self,
        server: MailServerId,
        route: Route<'_>,
        body: &[u8],
    ) -> Option<Vec<u8>> {
        let request_id = self.rng.uuid_v4();
        let server = self.mail_server(server);
        let endpoint = &self.config.endpoints[usize::from(server.endpoint.0)];
        http_request(endpoint, server, route, request_id, body).ok()
    }

    /// The request for a cohort's stream: routed by the anchor, on the anchor's budget.
    pub(super) fn encode_stream(
        &mut self,
        cohort_id: CohortId,
        users: &[UserId],
        minutes: u8,
    ) -> Option<Vec<u8>> {
        let cohort = self.cohorts.get(cohort_id)?;
        let server = cohort.server;
        let (anchor, cookies) = (cohort.anchor.clone()?, cohort.cookies.clone());
        let charged = self.charged_address(cohort_id)?;
        let caller = Caller {
            version: self.servers[usize::from(server.0)].version,
            mailbox: &charged,
            impersonate: self.mail_server(server).impersonate,
        };
        let ids: Vec<&SubscriptionId> =
            users.iter().filter_map(|id| self.users.get(*id)?.subscription.as_ref()).collect();
        let body = request::get_streaming_events(&caller, &ids, minutes);
        self.encode_call(server, Route::Cohort { anchor: &anchor, cookies: cookies.as_str() }, &body)
    }
}
