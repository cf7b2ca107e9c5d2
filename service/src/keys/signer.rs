//! Signing provider tokens: ES256 with Apple's `.p8` keys.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carillon_core::time::UnixMillis;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

use crate::config::Team;

/// One signing key, ready to sign.
pub struct Signer {
    team_id: Box<str>,
    key_id: Box<str>,
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

/// A `.p8` file that cannot be used. One line that names it.
#[derive(Debug, thiserror::Error)]
#[error("signing key {}: {reason}", path.display())]
pub struct SignerError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Signer {
    /// Reads the key of a team.
    ///
    /// # Errors
    /// [`SignerError`].
    pub fn load(team: &Team) -> Result<Signer, SignerError> {
        let fail = |reason: String| SignerError { path: team.key_file.clone(), reason };
        let pem = read(&team.key_file).map_err(fail)?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| {
            fail("is not a PEM file with a PKCS#8 private key, as Apple's .p8 files are".into())
        })?;
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random)
                .map_err(|error| fail(format!("is not an EC key on P-256 with its public half ({error})")))?;
        Ok(Signer { team_id: team.team_id.clone(), key_id: team.key_id.clone(), pair, random })
    }

    /// The team.
    pub fn team_id(&self) -> &str {
        &self.team_id
    }

    /// The key.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// A provider token of that `iat` (whole seconds of it), without `bearer` (RFC 7515 §7.1; signature as RFC 7518 §3.4
    /// has it: R and S, 64 bytes).
    pub fn mint(&self, issued: UnixMillis) -> String {
        // Both ids are letters and digits: nothing to escape.
        let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.key_id);
        let claims = format!(r#"{{"iss":"{}","iat":{}}}"#, self.team_id, issued.as_secs());
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self
            .pair
            .sign(&self.random, signed.as_bytes())
            .expect("signing fails only where the operating system has no randomness");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("team_id", &self.team_id)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => error.to_string(),
    })
}
