//! Who may push: team keys, apps, client certificates, and what a connection is bound to.

use std::collections::{BTreeMap, HashMap, VecDeque};

use carillon_core::time::{Now, Span, Time};

use super::answer::Reason;
use super::jwt::Unverified;
use super::request::PushType;

/// One of Apple's two worlds: a token of one is unknown in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Environment {
    /// `api.push.apple.com`.
    Production,
    /// `api.sandbox.push.apple.com`.
    Sandbox,
}

/// A signing key, as the developer account knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamKey {
    /// Ten characters.
    pub team: String,
    /// Ten characters.
    pub kid: String,
    /// Uncompressed P-256 point, 65 bytes; of a [`WorldKey`](super::WorldKey), what it shares.
    pub public_key: Vec<u8>,
    /// For which topics.
    pub scope: KeyScope,
    /// For which environment; `None`: both (keys from before 2025).
    pub environment: Option<Environment>,
}

/// What a key is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyScope {
    /// All apps of the team.
    Team,
    /// These bundle ids only.
    Topics(Vec<String>),
}

/// A client certificate that Apple issued. It is recognised by its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// DER.
    pub der: Vec<u8>,
    /// The topics it is good for, with suffixes; with a single one the header may be left out.
    pub topics: Vec<String>,
    /// For which environment; `None`: both.
    pub environment: Option<Environment>,
}

/// What a connection is bound to by its first push or its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// No push yet.
    Unbound,
    /// A team, by a provider token.
    Team {
        /// Which.
        team: String,
        /// Whether the first key was good for all its topics.
        whole_team: bool,
        /// Since when: apps added later are not known on this connection.
        since: Time,
    },
    /// A known certificate, by its number.
    Certificate(usize),
    /// A certificate that nobody issued.
    UnknownCertificate,
}

/// By what right a push goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// This key.
    Key(usize),
    /// This certificate.
    Certificate(usize),
}

/// Limits of provider tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// The greatest age of a provider token.
    pub age_max: Span,
    /// How far ahead of our clock its `iat` may be. A clock that is an hour off gives `ExpiredProviderToken`.
    pub future_max: Span,
    /// Different tokens from one address within [`TokenRules::window`]; one more is refused.
    pub tokens_max: usize,
    /// See there.
    pub window: Span,
}

impl Default for TokenRules {
    fn default() -> TokenRules {
        TokenRules {
            age_max: Span::from_secs(3_600),
            future_max: Span::from_secs(300),
            tokens_max: 2,
            window: Span::from_secs(20 * 60),
        }
    }
}

/// The developer accounts.
#[derive(Debug, Default)]
pub struct Accounts {
    keys: Vec<TeamKey>,
    certificates: Vec<Certificate>,
    apps: HashMap<Box<str>, App>,
    /// Tokens whose signature was found good: verifying costs fifty times the rest of a push.
    verified: HashMap<Box<str>, Verified>,
    verified_order: VecDeque<Box<str>>,
    /// Tokens seen, by client address.
    seen: BTreeMap<String, Vec<Seen>>,
}

#[derive(Debug)]
struct App {
    team: String,
    added: Time,
}

#[derive(Clone, Copy, Debug)]
struct Verified {
    key: usize,
    issued_s: u64,
    /// Names the token among [`Seen`].
    serial: u64,
}

#[derive(Debug)]
struct Seen {
    serial: u64,
    first: Time,
}

/// Provider tokens whose verification is remembered.
const VERIFIED_MAX: usize = 256;

impl Accounts {
    /// Takes in a key.
    pub fn add_key(&mut self, key: TeamKey) {
        self.keys.push(key);
    }

    /// Forgets a key: its tokens are `InvalidProviderToken` from now on.
    pub fn revoke_key(&mut self, kid: &str) {
        for key in &mut self.keys {
            if key.kid == kid {
                // The place stays, so that numbers in use keep their meaning; no token names an empty key id.
                key.kid.clear();
                key.public_key.clear();
            }
        }
        self.verified.clear();
        self.verified_order.clear();
    }

    /// Takes in an app of a team.
    pub fn add_app(&mut self, now: Now, bundle: &str, team: &str) {
        self.apps.insert(bundle.into(), App { team: team.to_owned(), added: now.time });
    }

    /// Takes in a certificate.
    pub fn add_certificate(&mut self, certificate: Certificate) {
        self.certificates.push(certificate);
    }

    /// What a connection that presents `certificate` starts with.
    pub fn bind(&self, certificate: Option<&[u8]>) -> Binding {
        match certificate {
            None => Binding::Unbound,
            Some(der) => match self.certificates.iter().position(|known| known.der == der) {
                Some(at) => Binding::Certificate(at),
                None => Binding::UnknownCertificate,
            },
        }
    }

    /// By what right a push with this `authorization` header goes on; binds the connection.
    pub fn authorise(
        &mut self,
        now: Now,
        here: Environment,
        rules: &TokenRules,
        client: &str,
        binding: &mut Binding,
        authorization: Option<Option<&str>>,
    ) -> Result<Grant, Reason> {
        match binding {
            Binding::UnknownCertificate => return Err(Reason::BadCertificate),
            Binding::Certificate(at) => {
                let fits = self.certificates[*at].environment.is_none_or(|only| only == here);
                return if fits {
                    Ok(Grant::Certificate(*at))
                } else {
                    Err(Reason::BadCertificateEnvironment)
                };
            }
            Binding::Unbound | Binding::Team { .. } => {}
        }
        let jwt = bearer(authorization.ok_or(Reason::MissingProviderToken)?)?;
        let verified = self.verify(jwt)?;
        let key = &self.keys[verified.key];
        if matches!(binding, Binding::Team { team, .. } if *team != key.team) {
            return Err(Reason::InvalidProviderToken);
        }
        let (now_s, age_s) = (now.unix.as_secs(), now.unix.as_secs().saturating_sub(verified.issued_s));
        let ahead_s = verified.issued_s.saturating_sub(now_s);
        if Span::from_secs(age_s) > rules.age_max || Span::from_secs(ahead_s) > rules.future_max {
            return Err(Reason::ExpiredProviderToken);
        }
        Self::note_token(&mut self.seen, now.time, rules, client, verified.serial)?;
        if key.environment.is_some_and(|only| only != here) {
            return Err(Reason::BadEnvironmentKeyIdInToken);
        }
        let whole_team = key.scope == KeyScope::Team;
        match binding {
            Binding::Team { whole_team: first, .. } if *first != whole_team => {
                return Err(Reason::UnrelatedKeyIdInToken);
            }
            Binding::Team { .. } | Binding::Certificate(_) | Binding::UnknownCertificate => {}
            Binding::Unbound => {
                *binding = Binding::Team { team: key.team.clone(), whole_team, since: now.time };
            }
        }
        Ok(Grant::Key(verified.key))
    }

    /// The bundle id that `topic` stands for, if the grant covers it and its suffix fits the push type.
    pub fn bundle<'a>(
        &'a self,
        grant: Grant,
        binding: &Binding,
        push_type: PushType,
        topic: Option<Option<&'a str>>,
    ) -> Result<&'a str, Reason> {
        let topic = match (topic, grant) {
            (Some(Some(topic)), _) if !topic.is_empty() => topic,
            (Some(_), _) => return Err(Reason::BadTopic),
            (None, Grant::Certificate(at)) => match self.certificates[at].topics.as_slice() {
                [only] => only,
                _ => return Err(Reason::MissingTopic),
            },
            (None, Grant::Key(_)) => return Err(Reason::MissingTopic),
        };
        if let Grant::Certificate(at) = grant
            && !self.certificates[at].topics.iter().any(|covered| covered == topic)
        {
            return Err(Reason::TopicDisallowed);
        }
        let suffix_of_any = |topic: &'a str| {
            let suffixes =
                PushType::ALL.iter().map(|(.., suffix)| *suffix).filter(|suffix| !suffix.is_empty());
            suffixes
                .filter_map(|suffix| topic.strip_suffix(suffix))
                .find(|bundle| self.apps.contains_key(*bundle))
        };
        let (bundle, suffix_fits) = if push_type == PushType::Mdm || self.apps.contains_key(topic) {
            (topic, push_type.suffix().is_empty())
        } else {
            let bundle = suffix_of_any(topic).ok_or(Reason::TopicDisallowed)?;
            (
                bundle,
                topic.len() == bundle.len() + push_type.suffix().len() && topic.ends_with(push_type.suffix()),
            )
        };
        if let Grant::Key(at) = grant {
            let (key, app) = (&self.keys[at], self.apps.get(bundle));
            let known_since = match binding {
                Binding::Team { since, .. } => *since,
                Binding::Unbound | Binding::Certificate(_) | Binding::UnknownCertificate => Time::NEVER,
            };
            let covered = match &key.scope {
                KeyScope::Team => true,
                KeyScope::Topics(bundles) => bundles.iter().any(|covered| covered == bundle),
            };
            if !covered || app.is_none_or(|app| app.team != key.team || app.added > known_since) {
                return Err(Reason::TopicDisallowed);
            }
        }
        if suffix_fits { Ok(bundle) } else { Err(Reason::BadTopic) }
    }

    fn verify(&mut self, jwt: &str) -> Result<Verified, Reason> {
        if let Some(verified) = self.verified.get(jwt) {
            return Ok(*verified);
        }
        let token = Unverified::parse(jwt).ok_or(Reason::InvalidProviderToken)?;
        let key = self
            .keys
            .iter()
            .position(|key| !key.kid.is_empty() && key.kid == token.kid && key.team == token.team)
            .filter(|at| token.is_signed_by(&self.keys[*at].public_key))
            .ok_or(Reason::InvalidProviderToken)?;
        if self.verified_order.len() >= VERIFIED_MAX
            && let Some(oldest) = self.verified_order.pop_front()
        {
            self.verified.remove(&oldest);
        }
        let verified = Verified { key, issued_s: token.issued_s, serial: fingerprint(jwt) };
        self.verified.insert(jwt.into(), verified);
        self.verified_order.push_back(jwt.into());
        Ok(verified)
    }

    /// Counts a token against its address. A token that was refused does not count, and those known go on working.
    fn note_token(
        seen: &mut BTreeMap<String, Vec<Seen>>,
        now: Time,
        rules: &TokenRules,
        client: &str,
        serial: u64,
    ) -> Result<(), Reason> {
        if !seen.contains_key(client) {
            seen.insert(client.to_owned(), Vec::new());
        }
        let Some(tokens) = seen.get_mut(client) else { return Ok(()) };
        if tokens.iter().any(|token| token.serial == serial) {
            return Ok(());
        }
        // A token older than its greatest age cannot come back.
        tokens.retain(|token| now.since(token.first) <= rules.age_max + rules.future_max + rules.window);
        let recent = tokens.iter().filter(|token| now.since(token.first) < rules.window).count();
        if recent >= rules.tokens_max {
            return Err(Reason::TooManyProviderTokenUpdates);
        }
        tokens.push(Seen { serial, first: now });
        Ok(())
    }
}

/// The JWT of an `authorization` header. The scheme's case does not matter (RFC 9110 §11.1).
fn bearer(authorization: Option<&str>) -> Result<&str, Reason> {
    let (scheme, jwt) =
        authorization.and_then(|text| text.split_once(' ')).ok_or(Reason::InvalidProviderToken)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(jwt) } else { Err(Reason::InvalidProviderToken) }
}

fn fingerprint(jwt: &str) -> u64 {
    carillon_core::user::item_hash(b"provider tokens.", jwt)
}
