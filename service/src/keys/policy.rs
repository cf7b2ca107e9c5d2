//! When a provider token is minted: Apple's budget as a value, with time as an argument.
//!
//! Apple wants a token renewed "no more than once every 20 minutes and no less than once every 60 minutes", and answers
//! 429 `TooManyProviderTokenUpdates` to who mints more often ("Establishing a token-based connection to APNs").

use carillon_core::time::UnixMillis;

/// Between two tokens of one key, at least.
pub const MINT_GAP_MS: u64 = 20 * MINUTE_MS;

/// Age at which a token is replaced; up to [`RENEW_JITTER_MS`] more, so that nodes do not renew in step.
pub const RENEW_AFTER_MS: u64 = 45 * MINUTE_MS;

/// See [`RENEW_AFTER_MS`]. Together 50 minutes: ten are left for the store, and for clocks that differ.
pub const RENEW_JITTER_MS: u64 = 5 * MINUTE_MS;

/// A token from further in the future than this was minted by a clock that was wrong.
const CLOCK_SLACK_MS: u64 = MINUTE_MS;

const MINUTE_MS: u64 = 60_000;

/// The life of one signing key's token.
#[derive(Clone, Copy, Debug)]
pub struct Minting {
    issued: Option<UnixMillis>,
    renew_after_ms: u64,
    refused: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Mint now.
    Now,
    /// Not before this time.
    At(UnixMillis),
}

/// What the provider's refusal of a token means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Of a token that is no longer the current one: nothing to do.
    Old,
    /// Of the current one, old enough to be replaced at once.
    Replace,
    /// Of the current one, minted so lately that another may not be minted yet: the clock, the key or its ids are wrong,
    /// or too many tokens were minted elsewhere. Another comes at this time.
    Suspicious(UnixMillis),
}

impl Minting {
    /// `issued` is the `iat` of the stored token, if there is one; `jitter` is any number.
    pub fn new(issued: Option<UnixMillis>, jitter: u64) -> Minting {
        Minting { issued, renew_after_ms: RENEW_AFTER_MS + jitter % (RENEW_JITTER_MS + 1), refused: false }
    }

    /// Whether the time has come.
    pub fn due(&self, now: UnixMillis) -> Due {
        let Some(issued) = self.issued else { return Due::Now };
        if issued.millis_since(now) > CLOCK_SLACK_MS {
            // The clock was put back since: nobody will accept this token.
            return Due::Now;
        }
        let after_ms = if self.refused { MINT_GAP_MS } else { self.renew_after_ms };
        let at = UnixMillis(issued.0.saturating_add(after_ms));
        if now >= at { Due::Now } else { Due::At(at) }
    }

    /// A token was minted.
    pub fn minted(&mut self, at: UnixMillis) {
        (self.issued, self.refused) = (Some(at), false);
    }

    /// The provider refused the token of that `iat`.
    pub fn refused(&mut self, issued: UnixMillis, now: UnixMillis) -> Refusal {
        if self.issued != Some(issued) {
            return Refusal::Old;
        }
        self.refused = true;
        match self.due(now) {
            Due::Now => Refusal::Replace,
            Due::At(at) => Refusal::Suspicious(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> UnixMillis {
        UnixMillis(1_700_000_000_000 + minutes * MINUTE_MS)
    }

    #[test]
    fn a_first_start_mints_at_once_and_a_restart_uses_what_is_stored() {
        assert_eq!(Minting::new(None, 0).due(at(0)), Due::Now);
        assert_eq!(Minting::new(Some(at(0)), 0).due(at(1)), Due::At(at(45)));
        assert_eq!(Minting::new(Some(at(0)), 0).due(at(51)), Due::Now);
    }

    #[test]
    fn a_token_is_renewed_between_45_and_50_minutes_whatever_the_jitter() {
        for jitter in [0, 1, MINUTE_MS, RENEW_JITTER_MS, u64::MAX] {
            let minting = Minting::new(Some(at(0)), jitter);
            let Due::At(when) = minting.due(at(0)) else { panic!("due at once") };
            assert!(when >= at(45) && when <= at(50), "{jitter}");
        }
    }

    #[test]
    fn a_refused_token_is_replaced_but_never_within_twenty_minutes() {
        let mut minting = Minting::new(Some(at(0)), 0);
        assert_eq!(minting.refused(at(0), at(5)), Refusal::Suspicious(at(20)));
        assert_eq!(minting.due(at(19)), Due::At(at(20)));
        assert_eq!(minting.due(at(20)), Due::Now);
        minting.minted(at(20));
        assert_eq!(minting.refused(at(0), at(21)), Refusal::Old, "an answer to the token before");
        assert_eq!(minting.due(at(21)), Due::At(at(65)));
        assert_eq!(minting.refused(at(20), at(41)), Refusal::Replace);
    }

    #[test]
    fn whatever_is_refused_whenever_the_gap_between_tokens_holds() {
        // A provider that refuses every token at once, looked at every ten seconds for a day.
        let mut minting = Minting::new(None, 12_345);
        let mut last: Option<UnixMillis> = None;
        let mut minted = 0;
        for step in 0..8_640 {
            let now = UnixMillis(at(0).0 + step * 10_000);
            if minting.due(now) == Due::Now {
                if let Some(last) = last {
                    assert!(now.millis_since(last) >= MINT_GAP_MS);
                }
                minting.minted(now);
                (last, minted) = (Some(now), minted + 1);
            }
            minting.refused(last.unwrap(), now);
        }
        assert_eq!(minted, 72);
    }

    #[test]
    fn a_token_from_the_future_is_replaced() {
        let minting = Minting::new(Some(at(10)), 0);
        assert_eq!(minting.due(at(0)), Due::Now);
        assert_eq!(
            Minting::new(Some(UnixMillis(at(0).0 + 30_000)), 0).due(at(0)),
            Due::At(UnixMillis(at(45).0 + 30_000))
        );
    }
}
