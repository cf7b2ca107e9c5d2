use std::fs;
use std::path::Path;

use carillon_core::shard::MailCredential;

use super::*;
use crate::auth::Role;

/// A folder with the secrets that configurations here name.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("gateway.token"), "  gateway-0123456789\n").unwrap();
    fs::write(dir.path().join("admin.token"), "admin-0123456789ab\n").unwrap();
    fs::write(dir.path().join("exchange.password"), "hunter2 hunter2\r\n").unwrap();
    dir
}

fn parse(dir: &Path, text: &str) -> Result<Config, ConfigError> {
    Config::parse(&dir.join("carillon.toml"), text, &|name| {
        (name == "SECRET").then(|| " from-environment ".into())
    })
}

/// The complaints about `text`, without the folder's name.
fn complaints(text: &str) -> Vec<String> {
    let dir = folder();
    let Err(error) = parse(dir.path(), text) else { return Vec::new() };
    let prefix = format!("{}/", dir.path().display());
    error.complaints.iter().map(|complaint| complaint.replace(&prefix, "")).collect()
}

const SMALL: &str = r#"[api]
cert_file = "api.crt"
key_file = "api.key"
gateway_token_file = "gateway.token"
admin_token_file = "admin.token"
[store]
path = "carillon.db"
[[exchange]]
name = "main"
url = "https://mail.example.com"
user = 'EXAMPLE\svc'
password_file = "exchange.password"
[[push]]
name = "apns"
topics = ["com.example.mail"]
key_file = "a.p8"
key_id = "ABCDE12345"
team_id = "TEAM123456"
"#;

#[test]
fn the_example_parses_and_shows_every_default_as_it_is() {
    let dir = folder();
    let example = parse(dir.path(), EXAMPLE).unwrap();
    let small = parse(dir.path(), SMALL).unwrap();
    assert_eq!(example.timing, small.timing);
    // Each commented key, switched on: still no unknown key, and the same values as without.
    let alternatives =
        ["_env", "#token_file", "client_", "cert_key_file", "#cert_file = \"apns", "ca_file", "environment"];
    let on: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') && !alternatives.iter().any(|text| line.contains(text)) => {
                format!("{key}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let on = parse(dir.path(), &on).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(format!("{on:?}"), format!("{example:?}"));
}

#[test]
fn the_example_names_every_key() {
    // What is allowed in a table is told when a key in it is unknown.
    for table in ["[api]", "[store]", "[engine]", "[timing]", "[log]", "[[exchange]]", "[[push]]"] {
        let complaint =
            complaints(&EXAMPLE.replace(&format!("\n{table}\n"), &format!("\n{table}\nzzzzzzzz = 1\n")));
        let (_, allowed) = complaint[0].split_once(": ").unwrap().1.rsplit_once(": ").unwrap();
        let part = EXAMPLE.split(&format!("\n{table}\n")).nth(1).unwrap().split("\n[").next().unwrap();
        for key in allowed.split(", ") {
            let named = part.contains(&format!("{key} = ")) || part.contains(&format!("[[api.{key}]]"));
            assert!(named, "{table} {key}");
        }
    }
}

#[test]
fn paths_begin_at_the_file_and_secrets_are_trimmed_and_hidden() {
    let dir = folder();
    let config = parse(
        dir.path(),
        &SMALL.replace("admin_token_file = \"admin.token\"", "admin_token_env = \"SECRET\""),
    )
    .unwrap();
    assert_eq!(config.store.path, dir.path().join("carillon.db"));
    assert_eq!(config.api.tokens[0].secret.expose(), "gateway-0123456789");
    assert_eq!(config.api.tokens[1].secret.expose(), "from-environment");
    let password = Box::from("hunter2 hunter2");
    assert_eq!(
        config.exchange[0].credential,
        MailCredential::Basic { user: r"EXAMPLE\svc".into(), password }
    );
    assert_eq!(&*config.exchange[0].path, "/EWS/Exchange.asmx");
    assert_eq!((&*config.push[0].host, config.push[0].port), ("api.push.apple.com", 443));
    let shown = format!("{config:?}");
    for secret in ["hunter2", "gateway-0123", "from-environment"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn unknown_keys_are_named_with_line_and_nearest_key() {
    assert_eq!(
        complaints(&format!("{SMALL}lanse = 3\n[timing]\nsetle_ms = 1\n[stroe]\nx = 1\n")),
        [
            "carillon.toml:19: unknown key \"lanse\"; did you mean \"lanes\"? Allowed in [[push]] \"apns\": name, \
             environment, url, ca_file, topics, cert_file, cert_key_file, key_file, key_id, team_id, lanes, lane_window_max",
            "carillon.toml:21: unknown key \"setle_ms\"; did you mean \"settle_ms\"? Allowed in [timing]: settle_ms, \
             vip_settle_ms, min_interval_ms, max_delay_ms, detail_cutoff_s, alert_expiry_s, news_max_s",
            "carillon.toml:22: unknown key \"stroe\"; did you mean \"store\"? Allowed in here: api, store, engine, timing, \
             log, exchange, push",
        ]
    );
}

#[test]
fn values_out_of_range_or_of_the_wrong_kind_are_named_with_what_is_allowed() {
    let bad = SMALL
        .replace("[store]", "requests_per_s = 0\nmetrics_open = \"yes\"\n[store]")
        .replace("[[push]]", "stream_minutes = 31\nstream_idle_s = -5\nfolders = [\"a b\"]\n[[push]]")
        .replace("[\"com.example.mail\"]", "\"com.example.mail\"")
        .replace(
            "[[exchange]]",
            "[timing]\ndetail_cutoff_s = 259201\n[log]\nlevel = \"info,,=\"\nformat = \"xml\"\n[[exchange]]",
        );
    assert_eq!(
        complaints(&bad),
        [
            "carillon.toml:6: [api] requests_per_s: 0 is not within 1 to 1000000 requests a second",
            "carillon.toml:7: [api] metrics_open: is of type string, but must be true or false",
            "carillon.toml:11: [timing] detail_cutoff_s: 259201 is not within 0 to 259200 seconds",
            "carillon.toml:13: [log] level: \"info,,=\" is no level: error, warn, info, debug or trace, or info,carillon=debug",
            "carillon.toml:14: [log] format: \"xml\" is no format: text or json",
            "carillon.toml:20: [[exchange]] \"main\" stream_minutes: 31 is not within 1 to 30 minutes",
            "carillon.toml:21: [[exchange]] \"main\" stream_idle_s: -5 is not within 60 to 300 seconds",
            "carillon.toml:22: [[exchange]] \"main\" folders: \"a b\" is not an Exchange id (base64)",
            "carillon.toml:25: [[push]] \"apns\" topics: is of type string, but must be a list of texts, such as [\"a\", \"b\"]",
        ]
    );
}

#[test]
fn what_is_missing_or_contradicts_itself_is_said() {
    for (from, to, said) in [
        (
            "path = \"carillon.db\"\n",
            "",
            "carillon.toml:6: [store] needs path, such as path = \"carillon.db\"",
        ),
        (
            "cert_file = \"api.crt\"\n",
            "",
            "carillon.toml:1: [api] needs cert_file, such as cert_file = \"api.crt\"",
        ),
        (
            "gateway_token_file = \"gateway.token\"\n",
            "gateway_token_file = \"gateway.token\"\ngateway_token_env = \"SECRET\"\n",
            "carillon.toml:5: [api] gateway_token_env: give either gateway_token_file or gateway_token_env, not both",
        ),
        (
            "\"admin.token\"",
            "\"gateway.token\"",
            "carillon.toml:5: [api] admin_token_file: is the same token as that of \"gateway\": nobody could tell the two apart",
        ),
        (
            "\"admin.token\"",
            "\"./missing\"",
            "carillon.toml:5: [api] admin_token_file: ./missing: No such file or directory (os error 2)",
        ),
        (
            "password_file = \"exchange.password\"",
            "password_env = \"NO_SUCH\"",
            "carillon.toml:12: [[exchange]] \"main\" password_env: the environment variable NO_SUCH is not set, or not UTF-8",
        ),
        (
            "https://mail",
            "http://mail",
            "carillon.toml:10: [[exchange]] \"main\" url: \"http://mail.example.com\" must begin with https://: nothing is sent in clear",
        ),
        (
            "\"ABCDE12345\"",
            "\"short\"",
            "carillon.toml:17: [[push]] \"apns\" key_id: \"short\" is not one of Apple's ids: 10 letters and digits",
        ),
        (
            "team_id = \"TEAM123456\"\n",
            "",
            "carillon.toml:13: [[push]] \"apns\" needs team_id too: key_file, key_id and team_id belong together",
        ),
        (
            "key_file = \"a.p8\"",
            "cert_file = \"a\"\ncert_key_file = \"b\"",
            "carillon.toml:13: [[push]] \"apns\" has both a token key (key_file) and a certificate (cert_file): choose one",
        ),
        (
            "name = \"apns\"\n",
            "name = \"apns\"\nenvironment = \"sandboxx\"\n",
            "carillon.toml:15: [[push]] \"apns\" environment: \"sandboxx\" is no environment: production or sandbox; did you mean \"sandbox\"?",
        ),
    ] {
        assert!(SMALL.contains(from), "{from}");
        // The key of an API table also stands in [[push]]: only the first is meant.
        let found = complaints(&SMALL.replacen(from, to, 1));
        assert!(found.iter().any(|complaint| complaint == said), "{said}\n{found:#?}");
    }
}

#[test]
fn each_of_several_tokens_has_a_name_and_a_role() {
    let dir = folder();
    fs::write(dir.path().join("west.token"), "west-0123456789ab").unwrap();
    let west = "[[api.token]]\nname = \"west\"\nrole = \"gateway\"\nfile = \"west.token\"\n";
    let ops = "[[api.token]]\nname = \"ops\"\nrole = \"admin\"\nenv = \"SECRET\"\n";
    let with = |tables: &str| SMALL.replace("[store]", &format!("{tables}[store]"));
    let config = parse(dir.path(), &with(&format!("{west}{ops}"))).unwrap();
    let tokens: Vec<_> =
        config.api.tokens.iter().map(|one| (&*one.name, one.role, one.secret.expose())).collect();
    assert_eq!(
        tokens,
        [
            ("gateway", Role::Gateway, "gateway-0123456789"),
            ("admin", Role::Admin, "admin-0123456789ab"),
            ("west", Role::Gateway, "west-0123456789ab"),
            ("ops", Role::Admin, "from-environment"),
        ]
    );
    let short = "gateway_token_file = \"gateway.token\"\nadmin_token_file = \"admin.token\"\n";
    let alone = parse(dir.path(), &with(ops).replace(short, "")).unwrap();
    assert_eq!((alone.api.tokens.len(), &*alone.api.tokens[0].name), (1, "ops"), "no short form is needed");
    let told = |tables: &str| parse(dir.path(), &with(tables)).unwrap_err().to_string();
    for (table, said) in [
        (west.replace("\"west\"", "\"admin\""), "[[api.token]] \"admin\" has the name of an earlier token"),
        (west.replace("west.token", "admin.token"), "file: is the same token as that of \"admin\""),
        (west.replace("\"gateway\"", "\"boss\""), "role: \"boss\" is no role: gateway or admin"),
        (west.replace("role", "#role"), "[[api.token]] \"west\" needs role"),
        (west.replace("file", "#file"), "[[api.token]] \"west\" needs file or env"),
        (west.replace("name", "#name"), "[[api.token]] needs name"),
        (
            format!("{west}secret = 1\n"),
            "unknown key \"secret\"; Allowed in [[api.token]] \"west\": name, role, file, env",
        ),
    ] {
        let error = told(&table);
        assert!(error.contains(said) && !error.contains('\n'), "{said}\n{error}");
    }
}

#[test]
fn a_secret_where_it_does_not_belong_is_not_repeated() {
    for (from, to, said) in [
        (
            "https://mail",
            "https://svc:hunter2@mail",
            "url: \"https://…@mail.example.com\" must have neither user",
        ),
        (
            "https://mail.example.com",
            "https://mail.example.com/?key=hunter2",
            "url: \"https://mail.example.com/\" must",
        ),
        ("https://mail.example.com", "http://svc:hunter2@mail.example.com", "must begin with https://"),
        (
            "password_file = \"exchange.password\"",
            "password_env = \"hunter2secret\"",
            "password_env: names no environment",
        ),
        ("\"exchange.password\"", "\"hunter2secret\"", "password_file: there is no such file"),
        ("\"admin.token\"", "\"hunter2-0123456789\"", "admin_token_file: there is no such file"),
        ("\"ABCDE12345\"", "\"hunter2hunter2\"", "key_id: the value (not repeated here"),
        ("[\"com.example.mail\"]", "[\"hunter2secret!\"]", "topics: the value (not repeated here"),
    ] {
        let told = complaints(&SMALL.replacen(from, to, 1));
        assert!(told.iter().any(|complaint| complaint.contains(said)), "{said}: {told:?}");
        assert!(!told.concat().contains("hunter2"), "{told:?}");
    }
}

#[test]
fn domains_are_taken_in_any_case() {
    let dir = folder();
    let with = |domains: &str| SMALL.replace("user = '", &format!("domains = {domains}\nuser = '"));
    let config = parse(dir.path(), &with("[\"Example.COM\", \"example.org\"]")).unwrap();
    assert_eq!(config.exchange[0].domains, ["example.com".into(), "example.org".into()]);
    let told = complaints(&with("[\"@example.com\"]"));
    assert!(told.len() == 1 && told[0].contains("is no domain such as example.com"), "{told:?}");
}

#[test]
fn an_access_token_takes_the_place_of_user_and_password() {
    let dir = folder();
    std::fs::write(dir.path().join("exchange.token"), "eyJ0.abc-_.def\n").unwrap();
    let logon = "user = 'EXAMPLE\\svc'\npassword_file = \"exchange.password\"";
    let config = parse(dir.path(), &SMALL.replace(logon, "token_file = \"exchange.token\"")).unwrap();
    assert_eq!(config.exchange[0].credential, MailCredential::Bearer { token: "eyJ0.abc-_.def".into() });
    assert_eq!(config.exchange[0].secret_file, Some(dir.path().join("exchange.token")));
    assert!(!format!("{config:?}").contains("eyJ0"));
    let env = SMALL.replace(logon, "token_env = \"SECRET\"");
    let config = parse(dir.path(), &env).unwrap();
    assert_eq!(config.exchange[0].credential, MailCredential::Bearer { token: "from-environment".into() });

    let both = SMALL.replace(logon, &format!("{logon}\ntoken_env = \"SECRET\""));
    assert!(complaints(&both)[0].contains("has a token and a user or password"), "{:?}", complaints(&both));
    std::fs::write(dir.path().join("exchange.token"), "two words").unwrap();
    let error = parse(dir.path(), &SMALL.replace(logon, "token_file = \"exchange.token\"")).unwrap_err();
    assert!(error.to_string().contains("nothing but the token") && !error.to_string().contains("two words"));
}

#[test]
fn two_services_of_one_key_share_a_team() {
    let dir = folder();
    let second = SMALL.split("[[push]]").nth(1).unwrap().replace("\"apns\"", "\"sandbox\"");
    let config = parse(dir.path(), &format!("{SMALL}[[push]]{second}")).unwrap();
    assert_eq!((config.push.len(), config.teams.len()), (2, 1));
    let same = complaints(&format!("{SMALL}[[push]]{}", second.replace("sandbox", "apns")));
    assert_eq!(same, ["carillon.toml:1: two [[push]] have the name \"apns\""]);
    let other = complaints(&format!("{SMALL}[[push]]{}", second.replace("a.p8", "b.p8")));
    assert!(other[0].contains("another key_file"), "{other:?}");
}

#[test]
fn broken_toml_and_a_missing_file_are_one_line() {
    let broken = complaints("[api]\nlisten = \n");
    assert_eq!(broken.len(), 1);
    assert!(broken[0].starts_with("carillon.toml:2: "), "{broken:?}");
    let missing = Config::load(Path::new("/nonexistent/carillon.toml")).unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent/carillon.toml: no such file; "), "{missing}");
    assert!(!missing.contains('\n'));
}

#[test]
fn a_complaint_is_one_plain_line_whatever_stands_in_the_file() {
    for (old, new) in [
        ("name = \"main\"", "name = \"a\\nb\\u001b[2J\""),
        ("name = \"main\"", "name = \"main\"\n\"a\\nb\" = 1"),
        ("url = \"https://mail.example.com\"", "url = \"\"\"https://\nx\"\"\""),
        ("name = \"main\"", "name = \"main\u{1b}[2J\""),
    ] {
        let told = complaints(&SMALL.replace(old, new));
        assert!(!told.is_empty(), "{new}");
        for complaint in told {
            assert!(!complaint.contains(char::is_control), "{complaint:?}");
        }
    }
}

#[test]
fn a_port_that_is_none_is_not_taken_for_443() {
    let with = |url: &str| SMALL.replace("https://mail.example.com", url);
    for bad in ["https://mail.example.com:99999", "https://mail.example.com:0", "https://[::1]:70000/EWS"] {
        let told = complaints(&with(bad));
        assert!(told.len() == 1 && told[0].contains("has no port from 1 to 65535"), "{bad}: {told:?}");
    }
    let dir = folder();
    for (url, host, port) in [
        ("https://mail.example.com:", "mail.example.com", 443),
        ("https://mail.example.com:8443/EWS", "mail.example.com", 8443),
        ("https://[::1]", "::1", 443),
        ("https://[::1]:8443", "::1", 8443),
    ] {
        let config = parse(dir.path(), &with(url)).unwrap();
        assert_eq!((&*config.exchange[0].host, config.exchange[0].port), (host, port), "{url}");
    }
}

#[test]
fn a_file_that_is_too_long_is_no_secret() {
    let dir = folder();
    fs::write(dir.path().join("admin.token"), "x".repeat(70_000)).unwrap();
    let error = parse(dir.path(), SMALL).unwrap_err();
    assert!(
        error.complaints.len() == 1 && error.complaints[0].contains("admin.token: longer than"),
        "{error}"
    );
}

#[test]
fn a_log_level_that_its_parser_cannot_count_is_refused() {
    for level in [" info", "info ", "   6    \u{fffd}[æ", "info,größe=debug"] {
        let complaints = complaints(&format!("{SMALL}[log]\nlevel = \"{level}\"\n"));
        assert!(matches!(&complaints[..], [one] if one.contains("is no level")), "{level:?}: {complaints:?}");
    }
}
