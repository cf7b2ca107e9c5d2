//! Profiles: what a run is to be, in TOML. A number may be a range; a range is drawn from the seed.

mod builtin;

use std::path::Path;

use carillon_core::rng::Rng;
use serde::{Deserialize, Serialize};

pub(crate) use builtin::BUILTIN;

/// A profile as it stands in its file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// One line for `loadgen list`.
    pub about: String,
    people: PeopleRanges,
    service: ServiceRanges,
    load: LoadRanges,
    exchange: ExchangeRanges,
    apns: ApnsRanges,
    #[serde(default)]
    faults: FaultRanges,
    /// What the run must hold.
    #[serde(default)]
    pub budget: Budget,
}

/// A number, or two between which one is drawn, both included.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, expecting = "a number, or a range such as [10, 20]")]
enum Range {
    Number(u32),
    Between([u32; 2]),
}

/// Between these two, both included, drawn anew for each case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spread(pub u32, pub u32);

/// Declares one table of a profile: as it stands in the file, and as it is when its ranges are drawn.
macro_rules! table {
    (
        $(#[$meta:meta])* $drawn:ident from $ranges:ident {
            $($(#[$field_meta:meta])* $field:ident: $kind:tt $(= $default:expr)?,)*
        }
    ) => {
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $ranges {
            $($(#[serde(default = $default)])? $field: Range,)*
        }

        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub(crate) struct $drawn {
            $($(#[$field_meta])* pub $field: table!(@type $kind),)*
        }

        impl $ranges {
            fn draw(&self, rng: &mut Rng) -> $drawn {
                $drawn { $($field: table!(@draw $kind, self.$field, rng),)* }
            }

            fn all(&self) -> Vec<(&'static str, Range)> {
                vec![$((stringify!($field), self.$field),)*]
            }
        }
    };
    (@type once) => { u32 };
    (@type each) => { Spread };
    (@draw once, $range:expr, $rng:expr) => { $range.draw($rng) };
    (@draw each, $range:expr, $rng:expr) => { $range.spread() };
}

table! {
    /// Who there is.
    People from PeopleRanges {
        /// Mailboxes with a user each.
        users: once,
        /// Phones: each user has one, the others are spread.
        devices: once,
        /// Devices not used since before the cut-off.
        idle_percent: once = "zero",
        /// Devices that want no alerts.
        alerts_off_percent: once = "zero",
        /// Devices that want no sender and subject.
        details_off_percent: once = "zero",
        /// Users for whom mail of high importance is VIP mail.
        vip_percent: once = "zero",
        /// Unread mails in each inbox before the run.
        unread_before: each = "zero",
    }
}

table! {
    /// What goes into `carillon.toml`.
    Service from ServiceRanges {
        /// Shard threads; 0 for one a core.
        shards: once = "zero",
        /// `[timing] settle_ms`.
        settle_ms: once,
        /// `[timing] vip_settle_ms`.
        vip_settle_ms: once,
        /// `[timing] min_interval_ms`.
        min_interval_ms: once,
        /// `[timing] max_delay_ms`.
        max_delay_ms: once,
        /// `[timing] detail_cutoff_s`.
        detail_cutoff_s: once,
        /// `[[exchange]] stream_idle_s`.
        stream_idle_s: once = "stream_idle",
        /// `[[exchange]] calls_max`.
        calls_max: once = "calls",
        /// How often it is ended and started again when all mailboxes are watched, before the first mail.
        restarts: once = "zero",
    }
}

table! {
    /// The mail, and what people do with it.
    Load from LoadRanges {
        /// How long.
        duration_s: once,
        /// At random times, evenly.
        mails_per_s: once,
        /// One mail to each user, spread over so long, at the start; 0 for none.
        storm_ms: once = "zero",
        /// Between two bursts; 0 for none.
        burst_every_s: each = "zero",
        /// Mails of a burst.
        burst_mails: each = "zero",
        /// How long a burst lasts.
        burst_ms: each = "zero",
        /// Mails of high importance.
        high_percent: once = "zero",
        /// Mails that are read elsewhere.
        read_percent: once = "zero",
        /// So long after they came.
        read_after_ms: each = "zero",
        /// Mails that are deleted.
        delete_percent: once = "zero",
        /// So long after they came.
        delete_after_ms: each = "zero",
    }
}

table! {
    /// The simulated Exchange.
    ExchangeSide from ExchangeRanges {
        /// Back-end servers.
        back_ends: once = "one",
        /// What an ordinary call takes.
        call_ms: once = "zero",
        /// Between heartbeats on a quiet stream.
        heartbeat_s: once = "heartbeat",
    }
}

table! {
    /// The simulated APNs.
    ApnsSide from ApnsRanges {
        /// What an answer takes.
        answer_ms: each = "zero",
        /// Requests at once on one connection.
        streams_max: once = "thousand",
    }
}

table! {
    /// What goes wrong, and how often. The times are drawn from the seed.
    Faults from FaultRanges {
        /// EWS streams whose connection is reset.
        stream_resets: once = "zero",
        /// EWS streams cut within an envelope.
        stream_cuts: once = "zero",
        /// Times in which Exchange says `ErrorServerBusy`.
        server_busy: once = "zero",
        /// How long each.
        server_busy_ms: each = "zero",
        /// EWS streams that go silent without closing.
        silent_streams: once = "zero",
        /// Back ends that restart.
        back_end_restarts: once = "zero",
        /// `GOAWAY`s of APNs.
        goaways: once = "zero",
        /// APNs connections that are reset.
        lane_resets: once = "zero",
        /// Times when APNs resets all HTTP/2 streams of a connection that wait for an answer.
        stream_aborts: once = "zero",
        /// Times in which APNs answers 503.
        unavailable: once = "zero",
        /// How long each.
        unavailable_ms: each = "zero",
        /// Devices that get 429.
        throttled_devices: once = "zero",
        /// How long each.
        throttled_ms: each = "zero",
        /// Devices whose app is removed: 410.
        gone_devices: once = "zero",
        /// Times when `carillon serve` is killed and started again.
        kill_service: once = "zero",
    }
}

/// What a run must hold. Each line that is there is judged.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    /// Users at least.
    pub users_min: Option<f64>,
    /// Streaming connections at most, at any moment.
    pub streams_max: Option<f64>,
    /// Mails that were not told to a phone that should have been told.
    pub lost_max: Option<f64>,
    /// Mails told twice.
    pub duplicates_max: Option<f64>,
    /// Details on phones that were not used for the cut-off.
    pub details_after_cutoff_max: Option<f64>,
    /// What the strict peers saw that a client must never do.
    pub misbehaviour_max: Option<f64>,
    /// Half of the notices are faster.
    pub latency_p50_ms_max: Option<f64>,
    /// 99 of 100 notices are faster.
    pub latency_p99_ms_max: Option<f64>,
    /// CPU time of the engine's process under load, in percent of one core.
    pub engine_cpu_percent_max: Option<f64>,
    /// CPU time of the engine's process under load, for each push.
    pub engine_cpu_us_per_push_max: Option<f64>,
    /// Peak resident memory of the engine's process.
    pub engine_rss_mib_max: Option<f64>,
    /// From the last mail to the last accepted push.
    pub accepted_after_last_mail_ms_max: Option<f64>,
    /// From the start of the processes until every mailbox is watched.
    pub live_s_max: Option<f64>,
    /// The whole run.
    pub duration_s_max: Option<f64>,
    /// From the start of the service with all users stored until every mailbox is watched again.
    pub restart_live_s_max: Option<f64>,
    /// From SIGTERM to the end of the service.
    pub shutdown_s_max: Option<f64>,
    /// The slowest answer of `/v1/status` and `/metrics` under load.
    pub api_ms_max: Option<f64>,
    /// By how much the resident memory of the engine's process grows under load.
    pub engine_rss_growth_percent_max: Option<f64>,
    /// What the resident memory of the engine's process grows by until every mailbox is watched, for each user.
    pub engine_bytes_per_user_max: Option<f64>,
}

/// A profile whose ranges are drawn: with the seed, all that a run depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub(crate) struct Plan {
    pub people: People,
    pub service: Service,
    pub load: Load,
    pub exchange: ExchangeSide,
    pub apns: ApnsSide,
    pub faults: Faults,
}

impl Profile {
    /// Reads a profile: by the name of a built-in one, or from a file. Gives its short name too.
    pub(crate) fn find(name: &str) -> Result<(String, Profile), String> {
        if let Some((name, text)) = BUILTIN.iter().find(|(known, _)| *known == name) {
            return Ok(((*name).to_owned(), Profile::parse(name, text)?));
        }
        let path = Path::new(name);
        let text = std::fs::read_to_string(path).map_err(|error| {
            let known: Vec<&str> = BUILTIN.iter().map(|(name, _)| *name).collect();
            format!("{name} is neither a profile ({}) nor a file that can be read: {error}", known.join(", "))
        })?;
        let short =
            path.file_stem().map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned());
        Ok((short, Profile::parse(name, &text)?))
    }

    /// Reads the text of a profile. Unknown keys are errors; `name` stands in them.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Profile, String> {
        let profile: Profile = toml::from_str(text).map_err(|error| format!("{name}: {error}"))?;
        profile.check().map_err(|error| format!("{name}: {error}"))?;
        Ok(profile)
    }

    /// Draws the ranges. Equal seeds give equal plans.
    pub(crate) fn draw(&self, seed: u64) -> Plan {
        let mut rng = Rng::new(seed ^ 0x7072_6f66_696c_6521);
        Plan {
            people: self.people.draw(&mut rng),
            service: self.service.draw(&mut rng),
            load: self.load.draw(&mut rng),
            exchange: self.exchange.draw(&mut rng),
            apns: self.apns.draw(&mut rng),
            faults: self.faults.draw(&mut rng),
        }
    }

    fn check(&self) -> Result<(), String> {
        let tables = [
            ("people", self.people.all()),
            ("service", self.service.all()),
            ("load", self.load.all()),
            ("exchange", self.exchange.all()),
            ("apns", self.apns.all()),
            ("faults", self.faults.all()),
        ];
        for (table, fields) in tables {
            for (key, range) in fields {
                let Spread(low, high) = range.spread();
                if low > high {
                    return Err(format!("[{table}] {key}: the range [{low}, {high}] is upside down"));
                }
                if key.ends_with("_percent") && high > 100 {
                    return Err(format!("[{table}] {key}: {high} is more than 100 percent"));
                }
            }
        }
        let at_least = |name: &str, range: Range, least: u32| match range.spread() {
            Spread(low, _) if low < least => Err(format!("{name} has to be at least {least}")),
            Spread(..) => Ok(()),
        };
        at_least("[people] users", self.people.users, 1)?;
        at_least("[load] duration_s", self.load.duration_s, 1)?;
        at_least("[exchange] back_ends", self.exchange.back_ends, 1)?;
        if self.people.devices.spread().0 < self.people.users.spread().1 {
            return Err("[people] devices: each user has at least one".to_owned());
        }
        if self.people.devices.spread().1 > self.people.users.spread().0 * DEVICES_PER_USER_MAX {
            return Err(format!("[people] devices: a user has at most {DEVICES_PER_USER_MAX}"));
        }
        Ok(())
    }
}

impl Range {
    fn spread(self) -> Spread {
        match self {
            Range::Number(number) => Spread(number, number),
            Range::Between([low, high]) => Spread(low, high),
        }
    }

    fn draw(self, rng: &mut Rng) -> u32 {
        self.spread().draw(rng)
    }
}

impl Spread {
    /// One case.
    pub(crate) fn draw(self, rng: &mut Rng) -> u32 {
        let Spread(low, high) = self;
        low + rng.below(u64::from(high.saturating_sub(low)) + 1) as u32
    }
}

impl Default for FaultRanges {
    fn default() -> FaultRanges {
        toml::from_str("").expect("every fault may be left out")
    }
}

/// Phones of one user: less than the engine's bound, so that spreading them needs no second try.
pub(crate) const DEVICES_PER_USER_MAX: u32 = 4;

fn zero() -> Range {
    Range::Number(0)
}

fn one() -> Range {
    Range::Number(1)
}

fn thousand() -> Range {
    Range::Number(1_000)
}

fn heartbeat() -> Range {
    Range::Number(45)
}

fn calls() -> Range {
    Range::Number(8)
}

fn stream_idle() -> Range {
    Range::Number(120)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "about = 'x'\n[people]\nusers = 10\ndevices = [12, 20]\n[service]\nsettle_ms = 1\n\
        vip_settle_ms = 1\nmin_interval_ms = 1\nmax_delay_ms = 1\ndetail_cutoff_s = 1\n[load]\nduration_s = 1\n\
        mails_per_s = 1\n[exchange]\n[apns]\n";

    #[test]
    fn every_builtin_profile_is_read_and_has_a_budget() {
        for (name, text) in BUILTIN {
            let profile = Profile::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
            assert!(!profile.about.is_empty());
            assert_eq!(profile.budget.lost_max, Some(0.0), "{name}");
            assert_eq!(profile.budget.duplicates_max, Some(0.0), "{name}");
        }
    }

    #[test]
    fn ranges_are_drawn_from_the_seed() {
        let profile = Profile::parse("x", LEAST).unwrap();
        assert_eq!(profile.draw(5), profile.draw(5));
        let drawn: Vec<u32> = (0..200).map(|seed| profile.draw(seed).people.devices).collect();
        assert_eq!(drawn.iter().min(), Some(&12));
        assert_eq!(drawn.iter().max(), Some(&20));
    }

    #[test]
    fn unknown_keys_are_errors_that_name_them() {
        for (from, to) in [
            ("mails_per_s", "mails_per_sec"),
            ("[apns]", "[apns]\nfoo = 1\n"),
            ("[apns]", "[budget]\nx = 1\n[apns]"),
        ] {
            let error = Profile::parse("x.toml", &LEAST.replace(from, to)).unwrap_err();
            assert!(
                error.contains("x.toml") && error.contains("unknown field") && error.contains("line"),
                "{error}"
            );
        }
    }

    #[test]
    fn bad_numbers_are_errors_that_name_the_key() {
        for (from, to, named) in [
            ("devices = [12, 20]", "devices = [20, 12]", "devices"),
            ("devices = [12, 20]", "devices = 9", "devices"),
            ("devices = [12, 20]", "devices = 1000", "devices"),
            ("users = 10", "users = 0", "users"),
            ("devices = [12, 20]", "devices = 12\nidle_percent = 101", "idle_percent"),
            ("settle_ms = 1\n", "settle_ms = \"1\"\n", "settle_ms"),
        ] {
            let error = Profile::parse("x.toml", &LEAST.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
