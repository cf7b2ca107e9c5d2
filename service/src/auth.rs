//! Who may call the API: two bearer tokens, kept apart.

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

use crate::config::Secret;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Register, touch, read and remove devices.
    Gateway,
    /// Everything.
    Admin,
}

/// The tokens that are known, as digests: comparing takes the same time whatever is presented, and whatever its length.
pub struct Auth {
    gateway: Option<[u8; 32]>,
    admin: Option<[u8; 32]>,
}

impl Auth {
    /// A role whose token is `None` cannot be taken by anybody.
    pub fn new(gateway: Option<&Secret>, admin: Option<&Secret>) -> Auth {
        let fingerprint = |secret: &Secret| sha256(secret.expose());
        Auth { gateway: gateway.map(fingerprint), admin: admin.map(fingerprint) }
    }

    /// The role that `presented` (what stands after `Bearer `) stands for.
    pub fn role(&self, presented: &str) -> Option<Role> {
        let presented = sha256(presented);
        let matches = |known: &Option<[u8; 32]>| {
            // Both are compared in any case, so that the time tells nothing of which one is set or matched.
            let (is_set, known) = (known.is_some(), known.unwrap_or([0; 32]));
            bool::from(presented.ct_eq(&known)) & is_set
        };
        let (gateway, admin) = (matches(&self.gateway), matches(&self.admin));
        if admin {
            return Some(Role::Admin);
        }
        gateway.then_some(Role::Gateway)
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

    #[test]
    fn each_token_gives_its_own_role_and_nothing_else_gives_any() {
        let (gateway, admin) = (Secret::new("gate".into()), Secret::new("boss".into()));
        let auth = Auth::new(Some(&gateway), Some(&admin));
        assert_eq!(auth.role("gate"), Some(Role::Gateway));
        assert_eq!(auth.role("boss"), Some(Role::Admin));
        for wrong in ["", "gat", "gate ", "Gate", "bossboss"] {
            assert_eq!(auth.role(wrong), None, "{wrong}");
        }
        assert_eq!(Auth::new(None, None).role(""), None);
        assert_eq!(Auth::new(Some(&gateway), None).role("boss"), None);
    }
}
