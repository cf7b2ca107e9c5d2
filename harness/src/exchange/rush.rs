//! Who was told that the server is busy comes back with half as many calls at once: all of them would only make it busy
//! again (reference §4.4).

use carillon_core::time::{Span, Time};

use super::server::Phase;
use super::state::Exchange;
use crate::peer::PeerConn;

/// A client that was told to wait, on its way back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Return {
    first: Time,
    until: Time,
    /// Calls answered and streams opened since. A full window of them may widen it again.
    answers: u32,
    /// When a call of it was last let in.
    admitted: Time,
}

/// A wait shorter than this says nothing: calls from before it may still come in.
const WAIT_MIN: Span = Span::from_secs(5);

/// Answers from so long before the wait may be heard after its beginning, and count as successes.
const ECHO: Span = Span::from_secs(2);

impl Exchange {
    /// A client's process died: the next one begins without having been told to wait, whatever the server still does for
    /// the one before.
    pub fn client_died(&mut self, client: &str) {
        self.returns.retain(|known, _| **known != *client);
    }

    /// An ordinary call has come. `wait`: it is refused, and told to wait until then.
    pub(super) fn watch_rush(&mut self, now: Time, conn: PeerConn, wait: Option<Time>) {
        let Some(calls_max) = self.config.strict.calls_max else { return };
        let allowed = usize::from(calls_max / 2).max(1);
        let Some(client) = self.conns.get(&conn).map(|row| row.hello.client.clone()) else { return };
        let working = |row: &&super::server::Conn| {
            row.hello.client == client && matches!(row.phase, Phase::Working { .. })
        };
        let in_flight = 1 + self.conns.values().filter(working).count();
        let row = self.returns.entry(client).or_insert(Return {
            first: now,
            until: Time(0),
            answers: u32::MAX,
            admitted: Time(0),
        });
        let Some(until) = wait else {
            row.admitted = now;
            let returning = now >= row.until && (row.answers as usize) < allowed;
            if returning && row.until.since(row.first) >= WAIT_MIN && in_flight > allowed {
                row.answers = u32::MAX;
                self.violations.add(format!(
                    "{in_flight} calls at once right after the back-off, of a client that has at most {calls_max}"
                ));
            }
            return;
        };
        if row.until <= now {
            row.first = now;
            // Successes under way would widen the window, and nobody could say by how much.
            row.answers = if now.since(row.admitted) < ECHO { u32::MAX } else { 0 };
        }
        row.until = row.until.max(until);
    }

    /// Nobody knows what this client has heard.
    pub(super) fn forget_return(&mut self, conn: PeerConn) {
        let client = self.conns.get(&conn).map(|row| &row.hello.client);
        if let Some(row) = client.and_then(|client| self.returns.get_mut(client)) {
            row.answers = u32::MAX;
        }
    }

    /// A call was answered, or a stream is about to be opened.
    pub(super) fn note_answer(&mut self, conn: PeerConn) {
        let Some(client) = self.conns.get(&conn).map(|row| &row.hello.client) else { return };
        if let Some(row) = self.returns.get_mut(client) {
            row.answers = row.answers.saturating_add(1);
        }
    }
}
