//! How many files and sockets the process may have open, and who gets how many.
//!
//! Everything shares one limit. When it is reached nothing can be opened any more, and whoever makes connections to the API
//! could keep the engine from its own: so the API gets a part that leaves the engine enough.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// For the database, its log, the journal, the resolver, standard streams and whatever a moment needs.
const OTHERS: u64 = 64;

/// For the journal and the event queue of each shard.
const OTHERS_OF_SHARD: u64 = 8;

/// The API keeps so many connections however tight it is.
const API_MIN: u64 = 16;

/// Raises the soft limit to the hard one: 1,024, the usual soft one, is for programs that cannot count further. Returns
/// what holds then; `None`: as many as there are.
pub fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, limit = current, "the limit of open files cannot be raised");
            current
        }
    }
}

/// How the limit is shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Streams: twice as many as there are cohorts, since one takes over from another.
    pub streams: u64,
    /// Ordinary calls.
    pub calls: u64,
    /// Connections to push services, as many again for those that take over.
    pub lanes: u64,
    /// Connections of the API.
    pub api: u64,
    /// Whether the API gets as many as are configured.
    pub fits: bool,
}

impl Shares {
    /// Under this limit, with so many shards and users.
    pub fn new(limit: Option<u64>, config: &Config, shards: u64, users: u64) -> Shares {
        let cohorts = |users_max: u16| (users / shards.max(1)).div_ceil(u64::from(users_max.max(1))).max(1);
        let streams: u64 = config.exchange.iter().map(|one| 2 * cohorts(one.cohort_users_max)).sum();
        let calls: u64 = config.exchange.iter().map(|one| u64::from(one.calls_max)).sum();
        let lanes: u64 = config.push.iter().map(|one| 2 * u64::from(one.lanes)).sum();
        let (streams, calls, lanes) = (shards * streams, shards * calls, shards * lanes);
        let wanted = config.api.connections_max as u64;
        let engine = streams + calls + lanes + shards * OTHERS_OF_SHARD + OTHERS;
        // Half of what is left stays free: there will be more users, and they need more streams.
        let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(engine) / 2);
        let api = wanted.min(left.max(API_MIN));
        Shares { streams, calls, lanes, api, fits: api == wanted && left >= API_MIN }
    }

    /// Says what does not fit.
    pub fn tell(&self, limit: Option<u64>) {
        let Shares { streams, calls, lanes, api, fits } = *self;
        if !fits {
            tracing::warn!(
                limit,
                streams,
                calls,
                lanes,
                api,
                "the limit of open files is low: the API takes fewer connections than [api] connections_max, so that the \
                 engine has enough. To do: raise the limit (LimitNOFILE of the systemd unit, ulimit -n), or lower \
                 connections_max"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_api_gets_what_is_configured_or_half_of_what_the_engine_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = testing::config(dir.path());
        config.api.connections_max = 512;
        (config.exchange[0].cohort_users_max, config.exchange[0].calls_max) = (200, 8);
        config.push[0].lanes = 2;
        let shares = |limit, users| Shares::new(limit, &config, 2, users);
        let engine = |streams: u64| streams + 16 + 8 + 16 + 64;
        for (limit, users, streams, api, fits) in [
            (None, 10_000, 100, 512, true),
            (Some(65_536), 10_000, 100, 512, true),
            (Some(1_024), 0, 4, (1_024 - engine(4)) / 2, false),
            (Some(1_024), 10_000, 100, (1_024 - engine(100)) / 2, false),
            (Some(engine(100) + 1_024), 10_000, 100, 512, true),
            (Some(engine(100) + 1_023), 10_000, 100, 511, false),
            (Some(100), 10_000, 100, API_MIN, false),
        ] {
            let expected = Shares { streams, calls: 16, lanes: 8, api, fits };
            assert_eq!(shares(limit, users), expected, "{limit:?} {users}");
        }
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise(), hard);
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }
}
