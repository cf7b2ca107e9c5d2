//! Device tokens: which app and environment each belongs to, and whether it still lives.

use std::collections::HashMap;
use std::sync::Arc;

use carillon_core::time::{Now, Span, Time, UnixMillis};

use super::answer::{Reason, Refusal};
use super::auth::Environment;
use super::device::Device;
use super::knobs::Rate;

/// A device token in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceIx(pub u32);

/// What an app does when it registers for pushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSpec<'a> {
    /// Lower-case hex.
    pub token: &'a str,
    /// The app's bundle id.
    pub bundle: &'a str,
    /// Where the token is good.
    pub environment: Environment,
    /// The owner's own number; comes back in each delivery.
    pub tag: u64,
}

/// One token.
#[derive(Debug)]
pub struct Row {
    /// Lower-case hex.
    pub token: Arc<str>,
    /// Bundle id of its app.
    pub bundle: Arc<str>,
    /// Where it is good.
    pub environment: Environment,
    /// The owner's own number.
    pub tag: u64,
    /// The phone.
    pub device: Device,
    gone: Option<Gone>,
    /// Tokens that the app had before: a client may still push to them.
    formers: Vec<Former>,
    /// When the bucket is full again (generic cell rate).
    rate_full_at: Time,
    throttled_until: Time,
    /// `throttled_until` is told (`retry-after`).
    throttled_aloud: bool,
}

/// A token that was replaced. Without `gone` it is still good.
#[derive(Debug)]
struct Former {
    token: Arc<str>,
    bundle: Arc<str>,
    environment: Environment,
    gone: Option<Gone>,
}

#[derive(Debug)]
struct Gone {
    reason: Reason,
    since: UnixMillis,
    /// A client can know it.
    told: bool,
    /// After so many answers it is believed again.
    answers: Option<u32>,
}

/// The tokens of both environments that this service has heard of.
#[derive(Debug, Default)]
pub struct Registry {
    rows: Vec<Row>,
    by_token: HashMap<Arc<str>, DeviceIx>,
}

impl Registry {
    /// Takes a token in, or revives it: the phone registered (again).
    pub fn register(&mut self, spec: &TokenSpec<'_>) -> DeviceIx {
        if let Some(at) = self.by_token.get(spec.token) {
            let row = &mut self.rows[at.0 as usize];
            row.bundle = spec.bundle.into();
            row.environment = spec.environment;
            row.tag = spec.tag;
            row.gone = None;
            return *at;
        }
        let at = DeviceIx(u32::try_from(self.rows.len()).unwrap_or(u32::MAX));
        let token: Arc<str> = spec.token.into();
        // Bundle ids are few: a row shares its neighbour's.
        let bundle = match self.rows.last() {
            Some(last) if *last.bundle == *spec.bundle => last.bundle.clone(),
            _ => spec.bundle.into(),
        };
        self.by_token.insert(token.clone(), at);
        self.rows.push(Row {
            token,
            bundle,
            environment: spec.environment,
            tag: spec.tag,
            device: Device::default(),
            gone: None,
            formers: Vec::new(),
            rate_full_at: Time(0),
            throttled_until: Time(0),
            throttled_aloud: false,
        });
        at
    }

    /// An app gets another token. The one before answers 410 since then if it did not do so already; without `since` it stays
    /// good.
    pub fn renew(&mut self, at: DeviceIx, token: &str, since: Option<UnixMillis>) {
        let row = &mut self.rows[at.0 as usize];
        let token: Arc<str> = token.into();
        self.by_token.insert(token.clone(), at);
        let reason = Reason::ExpiredToken;
        let expired = since.map(|since| Gone { reason, since, told: false, answers: None });
        let gone = row.gone.take().or(expired);
        let former = std::mem::replace(&mut row.token, token);
        let (bundle, environment) = (row.bundle.clone(), row.environment);
        row.formers.push(Former { token: former, bundle, environment, gone });
    }

    /// Which row this token has.
    pub fn find(&self, token: &str) -> Option<DeviceIx> {
        self.by_token.get(token).copied()
    }

    /// The row.
    ///
    /// # Panics
    /// For a number that this registry did not give.
    pub fn row(&self, at: DeviceIx) -> &Row {
        &self.rows[at.0 as usize]
    }

    /// The row.
    ///
    /// # Panics
    /// For a number that this registry did not give.
    pub fn row_mut(&mut self, at: DeviceIx) -> &mut Row {
        &mut self.rows[at.0 as usize]
    }

    /// All rows, in the order of their registration.
    pub fn iter(&self) -> impl Iterator<Item = (DeviceIx, &Row)> {
        self.rows.iter().enumerate().map(|(at, row)| (DeviceIx(at as u32), row))
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// A live or gone token answers for itself.
impl Row {
    /// The app was removed, or the token was replaced.
    pub fn set_gone(&mut self, reason: Reason, since: UnixMillis) {
        self.gone = Some(Gone { reason, since, told: false, answers: None });
    }

    /// A live token is taken for gone since before its registration, in so many answers.
    pub fn distrust(&mut self, since: UnixMillis, answers: u32) {
        if self.gone.is_none() && answers > 0 {
            let reason = Reason::Unregistered;
            self.gone = Some(Gone { reason, since, told: false, answers: Some(answers) });
        }
    }

    /// The service knows it in the other environment, or for another app.
    pub fn misplace(&mut self, environment: Environment, bundle: &str) {
        self.environment = environment;
        self.bundle = bundle.into();
    }

    /// The app and the environment of one of its tokens.
    pub fn home_of(&self, token: &str) -> (&str, Environment) {
        match self.formers.iter().find(|former| *former.token == *token) {
            Some(former) => (&former.bundle, former.environment),
            None => (&self.bundle, self.environment),
        }
    }

    /// Whether it answers 410.
    pub fn is_gone(&self) -> bool {
        self.gone.is_some()
    }

    /// 429 for everything until then; `aloud` says so in each (`retry-after`).
    pub fn throttle(&mut self, until: Time, aloud: bool) {
        self.throttled_until = until;
        self.throttled_aloud = aloud;
    }

    /// Refuses when the token is gone. True beside it: the client could know ([`Row::set_told`]).
    pub fn check_alive(&mut self, token: &str) -> Result<(), (Refusal, bool)> {
        let former = self.formers.iter_mut().find(|former| *former.token == *token);
        let place = former.map_or(&mut self.gone, |former| &mut former.gone);
        match place {
            None => Ok(()),
            Some(gone) => {
                let (refusal, told) = (Refusal { since: Some(gone.since), ..gone.reason.into() }, gone.told);
                if let Some(answers) = &mut gone.answers {
                    *answers -= 1;
                    if *answers == 0 {
                        *place = None;
                    }
                }
                Err((refusal, told))
            }
        }
    }

    /// Whether a client can know that the token is gone since then: an answer that says so has left, and was not lost with
    /// its connection.
    pub fn set_told(&mut self, since: UnixMillis, told: bool) {
        let formers = self.formers.iter_mut().map(|former| &mut former.gone);
        for gone in formers.chain([&mut self.gone]).flatten().filter(|gone| gone.since == since) {
            // Who is distrusted is not gone, and may go on.
            gone.told = told && gone.answers.is_none();
        }
    }

    /// Refuses when there were too many pushes to this device.
    pub fn check_rate(&mut self, now: Now, rate: Option<Rate>) -> Result<(), Refusal> {
        if now.time < self.throttled_until {
            let left_s = self.throttled_until.since(now.time).0.div_ceil(1_000_000);
            let retry_after_s = self.throttled_aloud.then_some(left_s);
            return Err(Refusal { retry_after_s, ..Reason::TooManyRequests.into() });
        }
        let Some(rate) = rate else { return Ok(()) };
        let each = Span(1_000_000 / u64::from(rate.per_s.max(1)));
        let tolerance = Span(each.0 * u64::from(rate.burst.max(1)));
        let full_at = self.rate_full_at.max(now.time) + each;
        if full_at.since(now.time) > tolerance {
            return Err(Reason::TooManyRequests.into());
        }
        self.rate_full_at = full_at;
        Ok(())
    }
}
