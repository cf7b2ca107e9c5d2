//! Who may call the API: bearer tokens, each with a name and a role.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

use crate::config::ApiToken;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Register, touch, read and remove devices.
    Gateway,
    /// Everything.
    Admin,
}

/// A caller whose token is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Which of the configured tokens it is.
    pub at: usize,
    /// What it may do.
    pub role: Role,
    /// Its name in the configuration, for the log.
    pub name: Arc<str>,
}

/// The tokens that are known, as digests: comparing takes the same time whatever is presented, and whatever its length.
pub struct Auth {
    known: Vec<(Caller, [u8; 32])>,
}

impl Auth {
    /// Takes these tokens.
    pub fn new(tokens: &[ApiToken]) -> Auth {
        let known = tokens.iter().enumerate().map(|(at, token)| {
            let caller = Caller { at, role: token.role, name: (*token.name).into() };
            (caller, sha256(token.secret.expose()))
        });
        Auth { known: known.collect() }
    }

    /// Who presents this (what stands after `Bearer `).
    pub fn caller(&self, presented: &str) -> Option<&Caller> {
        let presented = sha256(presented);
        let mut found = None;
        // All are compared in any case, so that the time tells nothing of which one matched.
        for (caller, known) in &self.known {
            if bool::from(presented.ct_eq(known)) {
                found = Some(caller);
            }
        }
        found
    }

    /// How many tokens there are.
    pub fn count(&self) -> usize {
        self.known.len()
    }
}

fn sha256(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn each_token_gives_its_own_name_and_role_and_nothing_else_gives_any() {
        let token = |name: &str, role, secret: &str| ApiToken {
            name: name.into(),
            role,
            secret: Secret::new(secret.to_owned()),
        };
        let auth = Auth::new(&[
            token("east", Role::Gateway, "gate"),
            token("west", Role::Gateway, "gate2"),
            token("ops", Role::Admin, "boss"),
        ]);
        let who =
            |presented: &str| auth.caller(presented).map(|caller| (&*caller.name, caller.role, caller.at));
        assert_eq!(who("gate"), Some(("east", Role::Gateway, 0)));
        assert_eq!(who("gate2"), Some(("west", Role::Gateway, 1)));
        assert_eq!(who("boss"), Some(("ops", Role::Admin, 2)));
        for wrong in ["", "gat", "gate ", "Gate", "bossboss"] {
            assert_eq!(who(wrong), None, "{wrong}");
        }
        assert_eq!(Auth::new(&[]).caller(""), None);
    }
}
