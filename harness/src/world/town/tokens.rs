//! Whoever holds a town's signing key: hands in provider tokens, renews them, and keeps Apple's budget (a new token "no
//! more than once every 20 minutes").

use carillon_core::shard::{Command, TeamId};
use carillon_core::time::{Now, Span, UnixMillis};

use crate::apns::WorldKey;

/// The key with its present token.
#[derive(Debug)]
pub(super) struct Tokens {
    key: WorldKey,
    renew_after: Span,
    issued: UnixMillis,
    /// The service refused the present token: it is replaced as soon as the budget allows.
    refused: bool,
}

/// The town's team.
pub(super) const TEAM: &str = "TEAM000001";

/// Its key's id.
pub(super) const KEY_ID: &str = "KEY0000001";

/// Between two tokens, at least.
const MINT_GAP: Span = Span::from_secs(20 * 60);

impl Tokens {
    /// A first token, made now.
    pub(super) fn new(key: WorldKey, renew_after: Span, now: Now) -> Tokens {
        Tokens { key, renew_after: renew_after.max(MINT_GAP), issued: now.unix, refused: false }
    }

    /// The command that hands in the present token.
    pub(super) fn command(&self) -> Command {
        let jwt = self.key.sign(TEAM, KEY_ID, self.issued);
        Command::SetTeamToken { team: TeamId(0), jwt: jwt.into(), issued: self.issued }
    }

    /// When the next token is due.
    pub(super) fn due(&self) -> UnixMillis {
        let after = if self.refused { MINT_GAP } else { self.renew_after };
        UnixMillis(self.issued.0 + after.as_millis())
    }

    /// Makes another.
    pub(super) fn renew(&mut self, now: Now) {
        (self.issued, self.refused) = (now.unix, false);
    }

    /// The service refused the token of that time. False if it is no longer the present one.
    pub(super) fn refuse(&mut self, issued: UnixMillis) -> bool {
        let present = self.issued == issued;
        self.refused |= present;
        present
    }
}
