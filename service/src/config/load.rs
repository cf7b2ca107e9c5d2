//! From the TOML text to [`Config`]: which keys there are, their defaults and ranges.

use std::net::SocketAddr;
use std::path::Path;

use axum::http::Uri;
use carillon_core::limits::{COHORT_USERS_MAX, DETAIL_CUTOFF_S_MAX, READ_BYTES_PER_TURN};
use carillon_core::names::{FolderId, SmtpAddress, Topic};
use carillon_core::shard::{BadgeCount, CatchUp, MailCredential, Timing};

use super::read::{ConfigError, Found, Section, Source, nearest};
use super::{
    Api, ApiToken, ClientCertificate, Config, EngineConfig, Exchange, Log, LogFormat, Push, PushCredential,
    Secret, StoreConfig, Team,
};
use crate::auth::Role;

impl Config {
    /// Reads `file` and the secrets that it names.
    ///
    /// # Errors
    /// Everything that is wrong, each with its line.
    pub fn load(file: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let hint = "name another file with --config, or begin with `carillon config example`";
            match error.kind() {
                std::io::ErrorKind::NotFound => ConfigError::file(file, format_args!("no such file; {hint}")),
                _ => ConfigError::file(file, error),
            }
        })?;
        Config::parse(file, &text, &|name| std::env::var(name).ok())
    }

    /// As [`Config::load`], with the text and the environment given. `file` is where relative paths begin, and what
    /// complaints name.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        file: &Path,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let source = Source::new(file, text, env);
        let document = source.parse()?;
        let config = read(file, &source, document.get_ref());
        source.finish()?;
        config.ok_or_else(|| ConfigError::file(file, "cannot be understood"))
    }
}

/// `None` only together with a complaint.
fn read(file: &Path, source: &Source<'_>, document: &toml::de::DeTable<'_>) -> Option<Config> {
    // The verbs of `Section` complain and go on, so that one run shows everything that is wrong.
    let mut root = Section::root(source, document);
    let api = api(root.table("api"));
    let store = store(root.table("store"));
    let engine = engine(root.table("engine"));
    let timing = timing(root.table("timing"));
    let log = log(root.table("log"));
    let exchange: Vec<_> = root.tables("exchange").into_iter().map(exchange).collect();
    let mut teams = Vec::new();
    let pushes = root.tables("push");
    if pushes.is_empty() {
        source.complain(1, "a [[push]] is needed: without one no device can be reached".to_owned());
    }
    let push: Vec<_> = pushes.into_iter().map(|section| push(section, &mut teams)).collect();
    root.finish();
    let exchange = exchange.into_iter().collect::<Option<Vec<_>>>()?;
    let push = push.into_iter().collect::<Option<Vec<_>>>()?;
    unique(source, "exchange", exchange.iter().map(|one| &*one.name));
    unique(source, "push", push.iter().map(|one| &*one.name));
    Some(Config {
        file: file.to_owned(),
        api: api?,
        store: store?,
        engine,
        timing,
        log,
        exchange,
        push,
        teams,
    })
}

fn api(mut section: Section<'_>) -> Option<Api> {
    let listen = match section.parsed("listen", |text| {
        text.parse::<SocketAddr>()
            .map_err(|_| "is not an address with a port, such as 127.0.0.1:8443".to_owned())
    }) {
        Some(found) => Some(found.value),
        None if section.has("listen") => None,
        None => Some(SocketAddr::from(([127, 0, 0, 1], 8443))),
    };
    let cert_file = section.needed_path("cert_file", "\"api.crt\"");
    let key_file = section.needed_path("key_file", "\"api.key\"");
    let tokens = tokens(&mut section);
    let connections_max = section.number("connections_max", 512, 16..=65_536, "connections") as usize;
    let body_bytes_max = section.number("body_bytes_max", 65_536, 1_024..=16_777_216, "bytes") as usize;
    let requests_per_s = section.number("requests_per_s", 5_000, 1..=1_000_000, "requests a second") as u32;
    let metrics_open = section.flag("metrics_open", false);
    section.finish();
    Some(Api {
        listen: listen?,
        cert_file: cert_file?,
        key_file: key_file?,
        tokens,
        connections_max,
        body_bytes_max,
        requests_per_s,
        metrics_open,
    })
}

/// The one token of each role that most need, and any number of named ones.
fn tokens(section: &mut Section<'_>) -> Vec<ApiToken> {
    let mut tokens: Vec<ApiToken> = Vec::new();
    let mut given = false;
    let short = [
        ("gateway", Role::Gateway, "gateway_token_file", "gateway_token_env"),
        ("admin", Role::Admin, "admin_token_file", "admin_token_env"),
    ];
    for (name, role, file_key, env_key) in short {
        given |= section.has(file_key) || section.has(env_key);
        let key = if section.has(file_key) { file_key } else { env_key };
        if let Some(found) = section.secret(file_key, env_key) {
            add_token(section, &mut tokens, key, (name.into(), role), found);
        }
    }
    for mut named in section.tables("token") {
        given = true;
        let name = name(&mut named);
        named.needed("role", "\"gateway\"");
        let role = named.parsed("role", |text| match text {
            "gateway" => Ok(Role::Gateway),
            "admin" => Ok(Role::Admin),
            _ => Err(format!("is no role: {}", suggest(text, &["gateway", "admin"]))),
        });
        if !named.has("file") && !named.has("env") {
            named.complain("needs file or env: where its token is read from");
        }
        let key = if named.has("file") { "file" } else { "env" };
        let secret = named.secret("file", "env");
        if let (Some(name), Some(role), Some(found)) = (name, role, secret) {
            if tokens.iter().any(|token| token.name == name) {
                named.complain("has the name of an earlier token");
            } else {
                add_token(&named, &mut tokens, key, (name, role.value), found);
            }
        }
        named.finish();
    }
    if !given {
        section.complain(
            "needs gateway_token_file or gateway_token_env, and the same for admin_token; or an [[api.token]]",
        );
    }
    tokens
}

fn add_token(
    section: &Section<'_>,
    tokens: &mut Vec<ApiToken>,
    key: &str,
    (name, role): (Box<str>, Role),
    Found { value, line }: Found<String>,
) {
    if value.len() < TOKEN_BYTES_MIN {
        let text = format!("the token is shorter than {TOKEN_BYTES_MIN} characters, and can be guessed");
        section.complain_at(line, key, text);
    }
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = "the token must be of printable ASCII characters without blanks (RFC 6750)";
        section.complain_at(line, key, text);
    }
    if let Some(other) = tokens.iter().find(|other| other.secret.expose() == value) {
        let text =
            format!("is the same token as that of \"{}\": nobody could tell the two apart", other.name);
        section.complain_at(line, key, text);
    }
    tokens.push(ApiToken { name, role, secret: Secret::new(value) });
}

fn store(mut section: Section<'_>) -> Option<StoreConfig> {
    let path = section.needed_path("path", "\"carillon.db\"");
    section.finish();
    Some(StoreConfig { path: path? })
}

fn engine(mut section: Section<'_>) -> EngineConfig {
    let shards = section.number("shards", 0, 0..=1_024, "threads (0: one a core)") as usize;
    let pin = section.flag("pin", false);
    let default = READ_BYTES_PER_TURN as u64;
    let read_bytes_per_turn =
        section.number("read_bytes_per_turn", default, 4_096..=1_048_576, "bytes") as usize;
    section.finish();
    EngineConfig { shards, pin, read_bytes_per_turn }
}

fn timing(mut section: Section<'_>) -> Timing {
    let default = Timing::default();
    let mut number = |key, default: u32, max: u32, unit| {
        section.number(key, u64::from(default), 0..=u64::from(max), unit) as u32
    };
    let timing = Timing {
        settle_ms: number("settle_ms", default.settle_ms, 60_000, "milliseconds"),
        vip_settle_ms: number("vip_settle_ms", default.vip_settle_ms, 60_000, "milliseconds"),
        min_interval_ms: number("min_interval_ms", default.min_interval_ms, 3_600_000, "milliseconds"),
        max_delay_ms: number("max_delay_ms", default.max_delay_ms, 3_600_000, "milliseconds"),
        detail_cutoff_s: number("detail_cutoff_s", default.detail_cutoff_s, DETAIL_CUTOFF_S_MAX, "seconds"),
        alert_expiry_s: number("alert_expiry_s", default.alert_expiry_s, 2_592_000, "seconds"),
        news_max_s: number("news_max_s", default.news_max_s, 2_592_000, "seconds"),
    };
    for (key, value) in [("settle_ms", timing.settle_ms), ("vip_settle_ms", timing.vip_settle_ms)] {
        if value > timing.max_delay_ms {
            section.complain(format_args!(
                "{key} ({value}) is longer than max_delay_ms ({}): mail would be held back longer than the longest delay",
                timing.max_delay_ms
            ));
        }
    }
    section.finish();
    timing
}

fn log(mut section: Section<'_>) -> Log {
    let level = section.parsed("level", |text| {
        // The parser miscounts behind a leading space, and panics if that leads into the middle of a character.
        let plain = text.is_ascii() && text.trim() == text;
        match plain.then(|| text.parse::<tracing_subscriber::filter::EnvFilter>()) {
            Some(Ok(_)) => Ok(text.to_owned()),
            _ => Err("is no level: error, warn, info, debug or trace, or info,carillon=debug".to_owned()),
        }
    });
    let format = section.parsed("format", |text| match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("is no format: text or json".to_owned()),
    });
    section.finish();
    Log {
        level: level.map_or_else(|| "info".to_owned(), |found| found.value),
        format: format.map_or(LogFormat::Text, |found| found.value),
    }
}

fn exchange(mut section: Section<'_>) -> Option<Exchange> {
    let name = name(&mut section);
    section.needed("url", "\"https://mail.example.com/EWS/Exchange.asmx\"");
    let url = section.parsed("url", |text| https(text, "/EWS/Exchange.asmx"));
    let user = section.text("user");
    let password = section.secret("password_file", "password_env");
    // Only a path that has been read: what is wrong with another was told already.
    let password_file =
        password.as_ref().and_then(|_| section.path("password_file")).map(|found| found.value);
    let password_given = section.has("password_file") || section.has("password_env");
    let token = section.secret("token_file", "token_env");
    let token_file = token.as_ref().and_then(|_| section.path("token_file")).map(|found| found.value);
    let token_given = section.has("token_file") || section.has("token_env");
    let client = client_certificate(&mut section, "client_cert_file", "client_key_file");
    let client_given = section.has("client_cert_file") || section.has("client_key_file");
    let credential = match (user, password) {
        (Some(_), _) | (_, Some(_)) if token_given => {
            section.complain("has a token and a user or password: Exchange takes one of them");
            None
        }
        (None, None) if token_given => match token {
            Some(found) if found.value.contains(|c: char| !c.is_ascii_graphic()) => {
                section.complain_at(found.line, "token_file", "must hold nothing but the token (RFC 6750)");
                None
            }
            found => found.map(|found| MailCredential::Bearer { token: found.value.into() }),
        },
        (Some(user), Some(password)) => {
            if user.value.contains(':') {
                section.complain_at(user.line, "user", "must not contain a colon (RFC 7617)");
            }
            Some(MailCredential::Basic { user: user.value.into(), password: password.value.into() })
        }
        (Some(_), None) if !password_given => {
            section.complain("has a user, but neither password_file nor password_env");
            None
        }
        (None, _) if password_given => {
            section.complain("has a password, but no user, such as user = 'EXAMPLE\\svc-carillon'");
            None
        }
        (None, None) if client_given => Some(MailCredential::ClientCertificate),
        (None, None) => {
            section.complain(
                "needs user with password_file or password_env, or token_file, or client_cert_file with \
                 client_key_file",
            );
            None
        }
        (Some(_), None) | (None, Some(_)) => None,
    };
    let impersonate = section.flag("impersonate", true);
    let ca_file = section.path("ca_file").map(|found| found.value);
    let domains = section.list("domains", domain);
    let folders = section.list("folders", |text| FolderId::parse(text).map_err(|error| error.to_string()));
    let catch_up = section.parsed("catch_up", |text| match text {
        "find" => Ok(CatchUp::Find),
        "sync" => Ok(CatchUp::Sync),
        _ => Err(format!("is no way of catching up: {}", suggest(text, &["find", "sync"]))),
    });
    let badge = section.parsed("badge", |text| match text {
        "inbox" => Ok(BadgeCount::Inbox),
        "watched" => Ok(BadgeCount::Watched),
        _ => Err(format!("is nothing that a badge counts: {}", suggest(text, &["inbox", "watched"]))),
    });
    let cohort_users_max =
        section.number("cohort_users_max", COHORT_USERS_MAX as u64, 1..=COHORT_USERS_MAX as u64, "users");
    let stream_minutes = section.number("stream_minutes", 29, 1..=30, "minutes");
    let stream_idle_s = section.number("stream_idle_s", 120, 60..=300, "seconds");
    let calls_max = section.number("calls_max", 8, 1..=1_000, "connections");
    let call_timeout_s = section.number("call_timeout_s", 100, 5..=600, "seconds");
    let subscribes_per_s = section.number("subscribes_per_s", 20, 1..=10_000, "subscriptions a second");
    section.finish();
    let (host, port, path) = url?.value;
    Some(Exchange {
        name: name?,
        host,
        port,
        path,
        credential: credential?,
        secret_file: password_file.or(token_file),
        client,
        impersonate,
        ca_file,
        domains: domains.map(|found| found.value).unwrap_or_default(),
        folders: folders.map(|found| found.value).unwrap_or_default(),
        catch_up: catch_up.map(|found| found.value).unwrap_or_default(),
        badge: badge.map(|found| found.value).unwrap_or_default(),
        cohort_users_max: cohort_users_max as u16,
        stream_minutes: stream_minutes as u8,
        stream_idle_s: stream_idle_s as u16,
        calls_max: calls_max as u16,
        call_timeout_s: call_timeout_s as u16,
        subscribes_per_s: subscribes_per_s as u32,
    })
}

fn push(mut section: Section<'_>, teams: &mut Vec<Team>) -> Option<Push> {
    let name = name(&mut section);
    let host = section
        .parsed("environment", |text| match text {
            "production" => Ok("api.push.apple.com"),
            "sandbox" => Ok("api.sandbox.push.apple.com"),
            _ => Err(format!("is no environment: {}", suggest(text, &["production", "sandbox"]))),
        })
        .map_or("api.push.apple.com", |found| found.value);
    let url_given = section.has("url");
    let url = section.parsed("url", |text| match https(text, "/")? {
        (host, port, path) if &*path == "/" => Ok((host, port, path)),
        _ => Err("must end after the host and port: the provider's path is added".to_owned()),
    });
    let ca_file = section.path("ca_file").map(|found| found.value);
    let topics = section.list("topics", |text| Topic::parse(text).map_err(|error| error.to_string()));
    match &topics {
        None if section.has("topics") => {}
        None => section.complain("needs topics, such as topics = [\"com.example.mail\"]"),
        Some(found) if found.value.is_empty() => {
            section.complain_at(found.line, "topics", "is empty: name at least one app");
        }
        Some(_) => {}
    }
    let auth = push_credential(&mut section, teams);
    let lanes = section.number("lanes", 2, 1..=64, "connections");
    let lane_window_max = section.number("lane_window_max", 1_000, 1..=10_000, "requests");
    section.finish();
    let (host, port) = match url {
        Some(Found { value: (host, port, _), .. }) => (host, port),
        None if url_given => return None,
        None => (host.into(), 443),
    };
    Some(Push {
        name: name?,
        host,
        port,
        ca_file,
        topics: topics?.value,
        auth: auth?,
        lanes: lanes as u8,
        lane_window_max: lane_window_max as u16,
    })
}

fn push_credential(section: &mut Section<'_>, teams: &mut Vec<Team>) -> Option<PushCredential> {
    let token_given = ["key_file", "key_id", "team_id"].iter().any(|key| section.has(key));
    let certificate_given = ["cert_file", "cert_key_file"].iter().any(|key| section.has(key));
    // Both are asked for in any case, so that all keys are known.
    let client = client_certificate(section, "cert_file", "cert_key_file");
    let key_file = section.path("key_file").map(|found| found.value);
    let key_id = section.parsed("key_id", apple_id);
    let team_id = section.parsed("team_id", apple_id);
    match (token_given, certificate_given) {
        (true, true) => {
            section.complain("has both a token key (key_file) and a certificate (cert_file): choose one");
            None
        }
        (false, false) => {
            section.complain("needs key_file, key_id and team_id, or cert_file with cert_key_file");
            None
        }
        (false, true) => client.map(PushCredential::Certificate),
        (true, false) => {
            for key in ["key_file", "key_id", "team_id"] {
                if !section.has(key) {
                    section.complain(format_args!(
                        "needs {key} too: key_file, key_id and team_id belong together"
                    ));
                }
            }
            let team = Team { team_id: team_id?.value, key_id: key_id?.value, key_file: key_file? };
            let same = |other: &Team| other.team_id == team.team_id && other.key_id == team.key_id;
            let at = match teams.iter().position(same) {
                Some(at) if teams[at].key_file != team.key_file => {
                    section.complain("names another key_file than an earlier [[push]] with the same key_id");
                    return None;
                }
                Some(at) => at,
                None => {
                    teams.push(team);
                    teams.len() - 1
                }
            };
            u16::try_from(at).ok().map(PushCredential::Team)
        }
    }
}

fn client_certificate(
    section: &mut Section<'_>,
    cert_key: &'static str,
    key_key: &'static str,
) -> Option<ClientCertificate> {
    let (cert, key) = (section.path(cert_key), section.path(key_key));
    match (section.has(cert_key), section.has(key_key)) {
        (true, false) => section.complain(format_args!("has {cert_key}, but not its private key: {key_key}")),
        (false, true) => section.complain(format_args!("has {key_key}, but not its certificate: {cert_key}")),
        (true, true) | (false, false) => {}
    }
    Some(ClientCertificate { cert_file: cert?.value, key_file: key?.value })
}

/// The name of a server or provider: it stands in registrations, logs and metrics.
fn name(section: &mut Section<'_>) -> Option<Box<str>> {
    section.needed("name", "\"main\"");
    let name = section.parsed("name", |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let good = !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(plain);
        good.then(|| Box::from(text)).ok_or_else(|| "must be 1 to 64 of letters, digits and - _ .".to_owned())
    });
    name.map(|found| found.value)
}

fn unique<'n>(source: &Source<'_>, key: &str, names: impl Iterator<Item = &'n str>) {
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            source.complain(1, format!("two [[{key}]] have the name \"{name}\""));
        }
        seen.push(name);
    }
}

/// Host, port and path of an `https` URL. `path` is the path where the URL has none.
fn https(text: &str, path: &str) -> Result<(Box<str>, u16, Box<str>), String> {
    let bad = || format!("is not a URL such as https://mail.example.com{path}");
    let uri: Uri = text.parse().map_err(|_| bad())?;
    let authority = uri.authority().ok_or_else(bad)?;
    if uri.scheme_str() != Some("https") {
        return Err("must begin with https://: nothing is sent in clear".to_owned());
    }
    if authority.as_str().contains('@') || uri.query().is_some() {
        return Err("must have neither user nor query".to_owned());
    }
    // `Uri` leaves a port that is none out without a word.
    let port = match authority.as_str().strip_prefix(authority.host()).unwrap_or_default() {
        "" | ":" => 443,
        port => match port.trim_start_matches(':').parse() {
            Ok(0) | Err(_) => return Err("has no port from 1 to 65535 behind its colon".to_owned()),
            Ok(port) => port,
        },
    };
    let host = authority.host();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(bad());
    }
    let path = if uri.path() == "/" { path } else { uri.path() };
    Ok((host.into(), port, path.into()))
}

/// A domain of addresses, without the @.
fn domain(text: &str) -> Result<Box<str>, String> {
    match SmtpAddress::parse(&format!("a@{text}")) {
        Ok(_) => Ok(text.to_ascii_lowercase().into()),
        Err(_) => Err("is no domain such as example.com".to_owned()),
    }
}

/// Team and key ids of Apple.
fn apple_id(text: &str) -> Result<Box<str>, String> {
    let good = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then(|| text.into()).ok_or_else(|| "is not one of Apple's ids: 10 letters and digits".to_owned())
}

fn suggest(text: &str, allowed: &[&str]) -> String {
    let list = allowed.join(" or ");
    match nearest(text, allowed) {
        Some(nearest) => format!("{list}; did you mean \"{nearest}\"?"),
        None => list,
    }
}

/// Shorter tokens can be guessed by trying: 16 characters of base64 are 96 bits.
const TOKEN_BYTES_MIN: usize = 16;

/// The longest name of a server or provider, in bytes.
const NAME_BYTES_MAX: usize = 64;
