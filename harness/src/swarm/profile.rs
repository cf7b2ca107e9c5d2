//! Profiles of days, in TOML: from which ranges a plan is drawn.

use carillon_core::rng::Rng;
use carillon_core::time::Span;
use serde::Deserialize;

/// The profiles that come with the program, by name.
pub const BUILTIN: [(&str, &str); 2] = [
    ("swarm", include_str!("../../../profiles/days/swarm.toml")),
    ("day-500", include_str!("../../../profiles/days/day-500.toml")),
];

/// What of a day is drawn, and from which ranges. `profiles/days/swarm.toml` says what each number means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// One line for who looks for one.
    pub about: String,
    pub(super) people: People,
    pub(super) engine: Engine,
    pub(super) exchange: Exchange,
    pub(super) apns: Apns,
    pub(super) phones: Phones,
    pub(super) network: Network,
    pub(super) day: Day,
    pub(super) habits: Habits,
    pub(super) faults: Faults,
    pub(super) owner: Owner,
    pub(super) mailboxes: Mailboxes,
    pub(super) folders: Folders,
    pub(super) oddities: Oddities,
    pub(super) disk: Disk,
}

/// A number, a range of which both ends are included, or one of several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a number, a range such as [10, 20], or one of several: { any = [1, 2, 5] }")]
pub(super) enum Range {
    Number(u64),
    Between([u64; 2]),
    Any { any: Vec<u64> },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct People {
    pub users: Range,
    pub phones: Range,
    pub choosers_percent: Range,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Engine {
    pub shards: Range,
    pub settle_ms: Range,
    pub min_interval_ms: Range,
    pub max_delay_more_ms: Range,
    pub detail_cutoff_s: Range,
    pub cohort_users_max: Range,
    pub stream_minutes: Range,
    pub calls_max: Range,
    pub sync_percent: Range,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exchange {
    pub servers: Range,
    pub back_ends: Range,
    pub heartbeat_s: Range,
    pub call_ms: Range,
    pub detached_ttl_s: Range,
    pub hanging_connections_max: Range,
    pub concurrency_max: Range,
    pub clock_ahead_ms: Range,
    pub full_access_percent: Range,
    pub numbered_percent: Range,
    pub clock_jump_ms: Range,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Apns {
    pub streams_max: Range,
    pub answer_ms_min: Range,
    pub answer_more_ms: Range,
    pub clock_behind_ms: Range,
    pub clock_jump_ms: Range,
    pub tokens_percent: Range,
    pub sandbox_percent: Range,
    pub renew_minutes: Range,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Phones {
    pub two_apps_percent: Range,
    pub made_up_percent: Range,
    pub kinds: Range,
    pub times: Range,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    pub delay_us: Range,
    pub jitter_us: Range,
    pub fragment_bytes_max: Range,
    pub piece_gap_us: Range,
    pub crumbs_percent: Range,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Day {
    pub length_s: Range,
    pub office_hours: u64,
    pub office_percent: u64,
    pub deliveries_per_user_hour: Range,
    pub mails_per_delivery: Range,
    pub react_s: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Habits {
    pub read: u64,
    pub delete: u64,
    pub use_app: u64,
    pub register: u64,
    pub uninstall: u64,
    pub stop: u64,
    pub nothing: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Faults {
    pub per_hour: Range,
    pub network_per_hour: Range,
    pub power_failures_per_hour: Range,
    pub clock_jumps_per_hour: Range,
    pub drift_ppm: Range,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Owner {
    pub comings_percent: Range,
    pub comings_per_hour: Range,
    pub credentials_percent: Range,
    pub credentials_per_hour: Range,
    pub mail_tokens_percent: Range,
    pub patience_s: Range,
    pub restarts_percent: Range,
    pub restarts_per_hour: Range,
    pub timings_percent: Range,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mailboxes {
    pub kinds: Range,
    pub per_hour: Range,
    pub hangs_percent: Range,
    pub proxies_percent: Range,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Oddities {
    pub percent: Range,
    pub per_hour: Range,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Folders {
    pub percent: Range,
    pub per_hour: Range,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Disk {
    pub percent: Range,
    pub per_hour: Range,
    pub journal_room: Range,
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// Names what is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Profile, String> {
        let profile: Profile = toml::from_str(text).map_err(|error| error.to_string())?;
        let ranges = profile.ranges();
        if let Some((name, range)) = ranges.iter().find(|(_, range)| !range.is_sound()) {
            return Err(format!(
                "{name} = {range:?}: a range needs its lower end first, and one of several needs any"
            ));
        }
        let least = |range: &Range, least: u64| range.bounds().0 >= least;
        if !least(&profile.people.users, 1) || !least(&profile.people.phones, 1) {
            return Err("people: a day needs at least one user with one phone".to_owned());
        }
        let exchange = &profile.exchange;
        if [&profile.engine.shards, &exchange.servers, &exchange.back_ends]
            .iter()
            .any(|range| !least(range, 1))
        {
            return Err("engine and exchange: a day needs at least one shard, server and back end".to_owned());
        }
        if profile.exchange.back_ends.bounds().1 > 3 {
            return Err("exchange: a mail server has at most three back ends here".to_owned());
        }
        if !least(&profile.day.length_s, 120) {
            return Err(
                "day: length_s is at least 120, of which a minute passes before anything happens".to_owned()
            );
        }
        if profile.habits.sum() == 0 {
            return Err("habits: at least one must have some weight".to_owned());
        }
        Ok(profile)
    }

    /// One of [`BUILTIN`], or the file of this name.
    ///
    /// # Errors
    /// It cannot be read, or is no profile.
    pub fn load(name: &str) -> Result<Profile, String> {
        if let Some((_, text)) = BUILTIN.iter().find(|(known, _)| *known == name) {
            return Profile::parse(text);
        }
        let known: Vec<&str> = BUILTIN.iter().map(|(name, _)| *name).collect();
        let text = std::fs::read_to_string(name).map_err(|error| {
            format!("no profile {name}: it is none of {}, and as a file: {error}", known.join(", "))
        })?;
        Profile::parse(&text).map_err(|error| format!("{name}: {error}"))
    }

    fn ranges(&self) -> Vec<(&'static str, &Range)> {
        let Profile {
            people,
            engine,
            exchange,
            apns,
            phones,
            network,
            day,
            faults,
            owner,
            mailboxes,
            folders,
            oddities,
            disk,
            ..
        } = self;
        vec![
            ("users", &people.users),
            ("phones", &people.phones),
            ("choosers_percent", &people.choosers_percent),
            ("shards", &engine.shards),
            ("settle_ms", &engine.settle_ms),
            ("min_interval_ms", &engine.min_interval_ms),
            ("max_delay_more_ms", &engine.max_delay_more_ms),
            ("detail_cutoff_s", &engine.detail_cutoff_s),
            ("cohort_users_max", &engine.cohort_users_max),
            ("stream_minutes", &engine.stream_minutes),
            ("calls_max", &engine.calls_max),
            ("sync_percent", &engine.sync_percent),
            ("servers", &exchange.servers),
            ("back_ends", &exchange.back_ends),
            ("heartbeat_s", &exchange.heartbeat_s),
            ("call_ms", &exchange.call_ms),
            ("detached_ttl_s", &exchange.detached_ttl_s),
            ("hanging_connections_max", &exchange.hanging_connections_max),
            ("concurrency_max", &exchange.concurrency_max),
            ("clock_ahead_ms", &exchange.clock_ahead_ms),
            ("full_access_percent", &exchange.full_access_percent),
            ("numbered_percent", &exchange.numbered_percent),
            ("exchange.clock_jump_ms", &exchange.clock_jump_ms),
            ("clock_behind_ms", &apns.clock_behind_ms),
            ("apns.clock_jump_ms", &apns.clock_jump_ms),
            ("tokens_percent", &apns.tokens_percent),
            ("sandbox_percent", &apns.sandbox_percent),
            ("renew_minutes", &apns.renew_minutes),
            ("power_failures_per_hour", &faults.power_failures_per_hour),
            ("clock_jumps_per_hour", &faults.clock_jumps_per_hour),
            ("drift_ppm", &faults.drift_ppm),
            ("two_apps_percent", &phones.two_apps_percent),
            ("kinds", &phones.kinds),
            ("times", &phones.times),
            ("streams_max", &apns.streams_max),
            ("answer_ms_min", &apns.answer_ms_min),
            ("answer_more_ms", &apns.answer_more_ms),
            ("delay_us", &network.delay_us),
            ("jitter_us", &network.jitter_us),
            ("fragment_bytes_max", &network.fragment_bytes_max),
            ("piece_gap_us", &network.piece_gap_us),
            ("crumbs_percent", &network.crumbs_percent),
            ("length_s", &day.length_s),
            ("deliveries_per_user_hour", &day.deliveries_per_user_hour),
            ("mails_per_delivery", &day.mails_per_delivery),
            ("per_hour", &faults.per_hour),
            ("network_per_hour", &faults.network_per_hour),
            ("comings_percent", &owner.comings_percent),
            ("comings_per_hour", &owner.comings_per_hour),
            ("credentials_percent", &owner.credentials_percent),
            ("credentials_per_hour", &owner.credentials_per_hour),
            ("mail_tokens_percent", &owner.mail_tokens_percent),
            ("patience_s", &owner.patience_s),
            ("restarts_percent", &owner.restarts_percent),
            ("restarts_per_hour", &owner.restarts_per_hour),
            ("timings_percent", &owner.timings_percent),
            ("mailboxes.kinds", &mailboxes.kinds),
            ("mailboxes.per_hour", &mailboxes.per_hour),
            ("mailboxes.hangs_percent", &mailboxes.hangs_percent),
            ("mailboxes.proxies_percent", &mailboxes.proxies_percent),
            ("folders.percent", &folders.percent),
            ("folders.per_hour", &folders.per_hour),
            ("oddities.percent", &oddities.percent),
            ("oddities.per_hour", &oddities.per_hour),
            ("disk.percent", &disk.percent),
            ("disk.per_hour", &disk.per_hour),
            ("journal_room", &disk.journal_room),
        ]
    }
}

impl Range {
    pub(super) fn draw(&self, rng: &mut Rng) -> u64 {
        match self {
            Range::Number(number) => *number,
            Range::Between([low, high]) => low + rng.below(high - low + 1),
            Range::Any { any } => any[rng.below(any.len() as u64) as usize],
        }
    }

    /// Of seconds, to the microsecond.
    pub(super) fn draw_seconds(&self, rng: &mut Rng) -> Span {
        match self {
            Range::Between([low, high]) => {
                Span::from_secs(*low) + Span(rng.below(((high - low) * 1_000_000).max(1)))
            }
            Range::Number(_) | Range::Any { .. } => Span::from_secs(self.draw(rng)),
        }
    }

    fn is_sound(&self) -> bool {
        match self {
            Range::Number(_) => true,
            Range::Between([low, high]) => low <= high,
            Range::Any { any } => !any.is_empty(),
        }
    }

    fn bounds(&self) -> (u64, u64) {
        match self {
            Range::Number(number) => (*number, *number),
            Range::Between([low, high]) => (*low, *high),
            Range::Any { any } => {
                (any.iter().copied().min().unwrap_or(0), any.iter().copied().max().unwrap_or(0))
            }
        }
    }
}

impl Habits {
    pub(super) fn sum(&self) -> u64 {
        let Habits { read, delete, use_app, register, uninstall, stop, nothing } = self;
        read + delete + use_app + register + uninstall + stop + nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_profiles_that_come_with_the_program_can_be_read() {
        for (name, text) in BUILTIN {
            Profile::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn a_profile_says_what_is_wrong_with_it() {
        let with = |from: &str, to: &str| Profile::parse(&BUILTIN[0].1.replace(from, to)).unwrap_err();
        assert!(with("users = [1, 12]", "users = [12, 1]").contains("users"));
        assert!(with("users = [1, 12]", "users = 0").contains("at least one user"));
        assert!(with("users = [1, 12]", "uzers = 1").contains("uzers"));
        assert!(with("users = [1, 12]", "users = \"many\"").contains("a range such as"));
        assert!(Profile::load("no-such-file").unwrap_err().contains("day-500"));
    }
}
