//! Provider tokens: ES256 JWTs as Apple wants them (RFC 7515, RFC 7518 §3.4; Apple, "Establishing a token-based
//! connection to APNs"), and the keys that sign them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use carillon_core::time::UnixMillis;
use ring::hmac;
use ring::rand::SecureRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde::Deserialize;

/// A JWT taken apart, its signature not yet looked at.
#[derive(Clone, Debug)]
pub struct Unverified<'a> {
    /// Which key it claims to be signed with.
    pub kid: String,
    /// Which team it claims to speak for.
    pub team: String,
    /// When it says that it was made, in seconds since the epoch.
    pub issued_s: u64,
    signed: &'a str,
    signature: Vec<u8>,
}

/// A key with which provider tokens are signed: what Apple hands out as a `.p8` file.
pub struct ProviderKey {
    pkcs8: Vec<u8>,
    pair: EcdsaKeyPair,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    iat: u64,
}

/// A longer token is none of Apple's form: two ids, a number and a signature need some 200 bytes.
const TOKEN_BYTES_MAX: usize = 1_024;

impl<'a> Unverified<'a> {
    /// Takes `jwt` apart. `None` when it is not an ES256 token in base64url without padding with `kid`, `iss` and `iat`
    /// and a signature of 64 raw bytes.
    pub fn parse(jwt: &'a str) -> Option<Unverified<'a>> {
        if jwt.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = jwt.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).ok()?;
        let signature = decode(signature)?;
        if header.alg != "ES256" || signature.len() != 64 {
            return None;
        }
        Some(Unverified { kid: header.kid, team: claims.iss, issued_s: claims.iat, signed, signature })
    }

    /// Whether `public_key` made the signature: an uncompressed point (65 bytes), or what a [`WorldKey`] shares.
    pub fn is_signed_by(&self, public_key: &[u8]) -> bool {
        if public_key.len() == WORLD_KEY_BYTES {
            let key = hmac::Key::new(hmac::HMAC_SHA512, public_key);
            return hmac::verify(&key, self.signed.as_bytes(), &self.signature).is_ok();
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public_key)
            .verify(self.signed.as_bytes(), &self.signature)
            .is_ok()
    }
}

/// A key of the deterministic world. An ECDSA signature draws entropy, and equal seeds must give equal bytes: this one
/// signs with a keyed hash as long as a signature, whose key the simulated service knows.
#[derive(Clone, Copy)]
pub struct WorldKey([u8; WORLD_KEY_BYTES]);

const WORLD_KEY_BYTES: usize = 32;

impl WorldKey {
    /// The key of this number.
    pub fn new(number: u64) -> WorldKey {
        let mut bytes = *b"a key that only a world may use.";
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        WorldKey(bytes)
    }

    /// What the service is given in place of a public key.
    pub fn shared(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// A provider token of this key.
    pub fn sign(&self, team: &str, kid: &str, issued: UnixMillis) -> String {
        let header = format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#);
        let claims = format!(r#"{{"iss":"{team}","iat":{}}}"#, issued.as_secs());
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, &self.0), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }
}

impl std::fmt::Debug for WorldKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorldKey(…)")
    }
}

impl ProviderKey {
    /// A new key.
    ///
    /// # Panics
    /// When `random` fails.
    pub fn generate(random: &dyn SecureRandom) -> ProviderKey {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, random)
            .expect("randomness is at hand");
        ProviderKey::from_pkcs8(pkcs8.as_ref(), random).expect("a fresh key is well-formed")
    }

    /// The key in this PKCS#8 document (DER); `None` when there is no P-256 key in it.
    pub fn from_pkcs8(pkcs8: &[u8], random: &dyn SecureRandom) -> Option<ProviderKey> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, random).ok()?;
        Some(ProviderKey { pkcs8: pkcs8.to_vec(), pair })
    }

    /// The `.p8` file's text.
    pub fn to_p8(&self) -> String {
        let text = STANDARD.encode(&self.pkcs8);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or("")).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    }

    /// The public half: an uncompressed point, 65 bytes.
    pub fn public_key(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// A provider token of this key.
    ///
    /// # Panics
    /// When `random` fails.
    pub fn sign(&self, team: &str, kid: &str, issued: UnixMillis, random: &dyn SecureRandom) -> String {
        let header = format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#);
        let claims = format!(r#"{{"iss":"{team}","iat":{}}}"#, issued.as_secs());
        self.sign_text(&header, &claims, random)
    }

    /// As [`ProviderKey::sign`], with any header and claims: for tokens that are wrong on purpose.
    ///
    /// # Panics
    /// When `random` fails.
    pub fn sign_text(&self, header: &str, claims: &str, random: &dyn SecureRandom) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(random, signed.as_bytes()).expect("randomness is at hand");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

impl std::fmt::Debug for ProviderKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProviderKey(…)")
    }
}
