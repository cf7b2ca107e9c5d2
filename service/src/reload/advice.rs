//! What to do about a credential, in words that can be followed without looking anything up.

use carillon_core::ews::{Action, EwsError, ResponseCode};
use carillon_core::shard::{MailCredential, Trouble};

use crate::config::Exchange;

/// What to do after the credential was refused.
pub fn after_refusal(exchange: &Exchange) -> String {
    let process = std::process::id();
    let correct = match (&exchange.credential, &exchange.secret_file, &exchange.client) {
        (MailCredential::Basic { .. }, Some(file), _) => {
            let file = file.display();
            format!("write the right password into {file}: it is taken up within seconds, without a restart")
        }
        (MailCredential::Bearer { .. }, Some(file), _) => {
            let file = file.display();
            format!("write another access token into {file}: it is taken up within seconds, without a restart")
        }
        (MailCredential::ClientCertificate, _, Some(client)) => {
            let (cert, key) = (client.cert_file.display(), client.key_file.display());
            format!(
                "put a certificate that Exchange knows into {cert}, and its key into {key}: they are taken up within \
                 seconds, without a restart"
            )
        }
        (MailCredential::Basic { .. } | MailCredential::Bearer { .. } | MailCredential::ClientCertificate, _, _) => {
            "set the environment variable that password_env or token_env names, and restart (a file needs no restart)".to_owned()
        }
    };
    format!(
        "{correct}; if it is right already, unlock or allow the account and then run `kill -HUP {process}` to have it \
         tried at once"
    )
}

/// What to do about a trouble that waits for a person. `None` for one that is tried again within a minute anyway.
pub fn after_trouble(trouble: &Trouble) -> Option<String> {
    let waits = match &*trouble.code {
        "ews_forbidden" | "ews_http_status" | "ews_auth_offer" => true,
        code => {
            let known = ResponseCode::parse(code).filter(|code| !matches!(code, ResponseCode::Unknown(_)));
            known.is_some_and(|code| EwsError::new(code, "", None).action() == Action::Alarm)
        }
    };
    let process = std::process::id();
    waits.then(|| {
        format!("; when that is done, run `kill -HUP {process}` to have it tried at once, or wait up to 30 minutes")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn only_what_waits_for_a_person_asks_one_to_do_something() {
        let trouble = |code: &str| Trouble { code: code.into(), text: "".into() };
        for code in ["ErrorImpersonateUserDenied", "ews_forbidden", "ews_auth_offer"] {
            assert!(after_trouble(&trouble(code)).unwrap().contains("kill -HUP"), "{code}");
        }
        for code in ["connect_timeout", "ErrorServerBusy", "tls_untrusted", ""] {
            assert_eq!(after_trouble(&trouble(code)), None, "{code}");
        }
    }

    #[test]
    fn the_place_of_the_right_credential_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut exchange = testing::config(dir.path()).exchange.remove(0);
        exchange.credential = MailCredential::Basic { user: "svc".into(), password: "hunter2".into() };
        exchange.secret_file = Some("/etc/carillon/exchange.password".into());
        let text = after_refusal(&exchange);
        assert!(text.contains("into /etc/carillon/exchange.password: it is taken up"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("svc"), "{text}");
        exchange.secret_file = None;
        assert!(after_refusal(&exchange).contains("password_env"));
    }
}
