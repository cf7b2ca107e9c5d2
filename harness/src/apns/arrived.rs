//! What arrives, whatever becomes of it.

use carillon_core::h2pump::Request;
use carillon_core::time::Now;

use super::answer::Reason;
use super::payload::Payload;
use super::registry::{DeviceIx, Registry};
use super::request::{Head, route};
use crate::peer::PeerConn;

/// A push request that arrived: accepted, refused, lost in the service or left without an answer. Whole; or broken off,
/// with details in the part that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// When.
    pub at: Now,
    /// On which connection.
    pub conn: PeerConn,
    /// For which device.
    pub device: DeviceIx,
    /// The number that the device was registered with.
    pub tag: u64,
    /// What it says.
    pub payload: Payload,
    /// Why it was refused; `None` when it was not, or never came to be judged.
    pub refused: Option<Reason>,
}

impl Arrived {
    /// Looks at a request before anything is done with it. `None`: it is for no token that was ever registered.
    pub(super) fn read(
        registry: &Registry,
        at: Now,
        conn: PeerConn,
        head: &Head<'_>,
        body: &[u8],
    ) -> Option<Arrived> {
        let device = registry.find(route(head).ok()?)?;
        let background = head.headers.get("apns-push-type").is_some_and(|value| value == "background");
        let (payload, _) = Payload::read(body, background);
        Some(Arrived { at, conn, device, tag: registry.row(device).tag, payload, refused: None })
    }

    /// As [`Arrived::read`], of a request that nobody will answer. `None` also for one that was broken off before it showed
    /// anything of a mail.
    pub(super) fn read_dropped(
        registry: &Registry,
        at: Now,
        conn: PeerConn,
        head: &Head<'_>,
        request: &Request,
    ) -> Option<Arrived> {
        let arrived = Arrived::read(registry, at, conn, head, &request.body)?;
        if request.whole {
            return Some(arrived);
        }
        Some(Arrived { payload: Payload::read_part(&request.body)?, ..arrived })
    }
}
