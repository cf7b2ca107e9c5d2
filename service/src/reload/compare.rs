//! What of a changed configuration can be taken up while the service runs, and what needs a restart.

use crate::config::{Api, Config, Exchange, Log, Push, PushCredential};

/// What has changed and needs a restart, in the words of the file.
pub(super) fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let tables = [
        ("[api] (other than cert_file and key_file)", fixed_api(&old.api) != fixed_api(&new.api)),
        ("[store]", old.store != new.store),
        ("[engine]", old.engine != new.engine),
        ("[log] format", old.log.format != new.log.format),
    ];
    let mut changed: Vec<String> =
        tables.into_iter().filter(|(_, changed)| *changed).map(|(table, _)| table.to_owned()).collect();
    let names = |all: &[Exchange]| all.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    changed.extend(lists("exchange", &names(&old.exchange), &names(&new.exchange)));
    for (was, is) in pairs(&old.exchange, &new.exchange, |one| &one.name) {
        if !same_exchange(was, is) {
            changed.push(format!(
                "[[exchange]] \"{}\" (with its credential, as something else has changed too)",
                is.name
            ));
        }
    }
    let names = |all: &[Push]| all.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    changed.extend(lists("push", &names(&old.push), &names(&new.push)));
    for (was, is) in pairs(&old.push, &new.push, |one| &one.name) {
        if !same_push((old, was), (new, is)) {
            changed.push(format!("[[push]] \"{}\"", is.name));
        }
    }
    changed
}

/// Whether the two differ in nothing but who we are there and whom we trust.
pub(super) fn same_exchange(old: &Exchange, new: &Exchange) -> bool {
    let fixed = |one: &Exchange| Exchange {
        credential: old.credential.clone(),
        secret_file: None,
        client: None,
        ca_file: None,
        ..one.clone()
    };
    fixed(old) == fixed(new)
}

/// Whether the two differ in nothing but the certificates.
pub(super) fn same_push((old_config, old): (&Config, &Push), (new_config, new): (&Config, &Push)) -> bool {
    let same_auth = match (&old.auth, &new.auth) {
        (PushCredential::Team(was), PushCredential::Team(is)) => {
            old_config.teams.get(usize::from(*was)) == new_config.teams.get(usize::from(*is))
        }
        (PushCredential::Certificate(_), PushCredential::Certificate(_)) => true,
        (PushCredential::Team(_), PushCredential::Certificate(_))
        | (PushCredential::Certificate(_), PushCredential::Team(_)) => false,
    };
    let fixed = |one: &Push| Push { auth: old.auth.clone(), ca_file: None, ..one.clone() };
    same_auth && fixed(old) == fixed(new)
}

/// The log with another level.
pub(super) fn with_level(log: &Log, level: &str) -> Log {
    Log { level: level.to_owned(), format: log.format }
}

fn fixed_api(api: &Api) -> Api {
    Api { cert_file: Default::default(), key_file: Default::default(), ..api.clone() }
}

fn lists(key: &str, old: &[Box<str>], new: &[Box<str>]) -> Vec<String> {
    let gone =
        old.iter().filter(|name| !new.contains(name)).map(|name| format!("[[{key}]] \"{name}\" (removed)"));
    let come =
        new.iter().filter(|name| !old.contains(name)).map(|name| format!("[[{key}]] \"{name}\" (new)"));
    gone.chain(come).collect()
}

fn pairs<'c, T>(old: &'c [T], new: &'c [T], name: impl Fn(&T) -> &str) -> Vec<(&'c T, &'c T)> {
    let of_name = |was: &T| new.iter().find(|is| name(is) == name(was));
    old.iter().filter_map(|was| Some((was, of_name(was)?))).collect()
}

#[cfg(test)]
mod tests {
    use carillon_core::shard::MailCredential;

    use super::*;
    use crate::testing;

    #[test]
    fn what_can_be_taken_up_is_told_apart_from_what_needs_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let old = testing::config(dir.path());
        type Change = fn(&mut Config);
        let free: [Change; 5] = [
            |_| {},
            |new| new.timing.settle_ms += 1,
            |new| new.log.level = "debug".into(),
            |new| new.api.cert_file = "other.crt".into(),
            |new| {
                new.exchange[0].credential =
                    MailCredential::Basic { user: "other".into(), password: "new".into() };
                new.exchange[0].ca_file = Some("ca.pem".into());
            },
        ];
        for (at, change) in free.into_iter().enumerate() {
            let mut new = old.clone();
            change(&mut new);
            assert_eq!(needs_restart(&old, &new), [] as [&str; 0], "{at}");
        }
        let bound: [(Change, &str); 7] = [
            (|new| new.api.requests_per_s += 1, "[api]"),
            (|new| new.api.tokens.clear(), "[api]"),
            (|new| new.store.path = "b.db".into(), "[store]"),
            (|new| new.engine.pin = true, "[engine]"),
            (|new| new.exchange[0].host = "elsewhere.example.com".into(), "[[exchange]] \"main\" (with its"),
            (|new| new.exchange.clear(), "[[exchange]] \"main\" (removed)"),
            (|new| new.push[0].lanes += 1, "[[push]] \"apns\""),
        ];
        for (change, said) in bound {
            let mut new = old.clone();
            change(&mut new);
            let changed = needs_restart(&old, &new);
            assert!(changed.len() == 1 && changed[0].starts_with(said), "{said}: {changed:?}");
        }
    }
}
