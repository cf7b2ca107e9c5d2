//! Secrets at rest: sealed with a key that lives beside the database, so that a copy of the database alone tells none.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};

use crate::private;

/// The key beside the database, and what is derived from it.
pub struct Vault {
    sealing: LessSafeKey,
    item_key: [u8; 16],
    random: SystemRandom,
}

/// Why there is no vault. One line that names the file.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Reading or making the file failed.
    #[error("key file {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is not what Carillon wrote.
    #[error("key file {} is damaged: put its backup in place, or remove it (stored provider tokens are then minted anew)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Others may read the file.
    #[error("key file {} may be read by others (mode {mode:o}): chmod 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl Vault {
    /// Opens the key file, and makes it (mode 0600, 32 random bytes in base64) if it is not there.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn open(path: &Path) -> Result<Vault, VaultError> {
        let file_error = |error| VaultError::File { path: path.to_owned(), error };
        let random = SystemRandom::new();
        let text = match fs::read_to_string(path) {
            // The first start of an earlier version made the file before it wrote the key: a kill or a full disk between
            // the two left it empty, and nothing was ever sealed with it.
            Ok(text) if text.trim().is_empty() => {
                let file = path.display();
                tracing::warn!(
                    %file,
                    "the key file is empty, as an interrupted first start leaves it: a new key is made. If there was a key \
                     in it, put its backup in place and restart"
                );
                make(path, &random).map_err(file_error)?
            }
            Ok(text) => {
                let mode = fs::metadata(path).map_err(file_error)?.permissions().mode() & 0o777;
                if mode & 0o077 != 0 {
                    return Err(VaultError::Exposed { path: path.to_owned(), mode });
                }
                text
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(path, &random).map_err(file_error)?
            }
            Err(error) => return Err(file_error(error)),
        };
        let damaged = || VaultError::Damaged { path: path.to_owned() };
        let key = STANDARD.decode(text.trim()).map_err(|_| damaged())?;
        if key.len() != KEY_BYTES {
            return Err(damaged());
        }
        let master = Salt::new(HKDF_SHA256, b"carillon").extract(&key);
        let mut sealing = [0; KEY_BYTES];
        let mut item_key = [0; 16];
        derive(&master, b"seal", &mut sealing);
        derive(&master, b"item key", &mut item_key);
        let sealing = UnboundKey::new(&AES_256_GCM, &sealing).expect("a key of AES-256's length");
        Ok(Vault { sealing: LessSafeKey::new(sealing), item_key, random })
    }

    /// Key of the hashes that name mails outside ([`carillon_core::user::item_hash`]). The same as long as the file is.
    pub fn item_key(&self) -> [u8; 16] {
        self.item_key
    }

    /// Seals `secret`. It opens only for the same `purpose`.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        // Fails only where the operating system has no randomness at all; sealing with a known nonce would be worse.
        self.random.fill(&mut nonce).expect("the operating system gives randomness");
        let mut body = secret.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.sealing
            .seal_in_place_append_tag(unique, Aad::from(purpose.as_bytes()), &mut body)
            .expect("a secret is shorter than AES-GCM's 64 GiB");
        [nonce.as_slice(), &body].concat()
    }

    /// Opens what was sealed for `purpose`; `None` when it was sealed with another key, or changed.
    pub fn open_sealed(&self, purpose: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let secret = self.sealing.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut body).ok()?;
        Some(secret.to_vec())
    }
}

fn make(path: &Path, random: &SystemRandom) -> io::Result<String> {
    let mut key = [0; KEY_BYTES];
    random.fill(&mut key).map_err(|_| io::Error::other("no randomness"))?;
    let text = STANDARD.encode(key);
    private::write_whole(path, format!("{text}\n").as_bytes())?;
    Ok(text)
}

fn derive(master: &ring::hkdf::Prk, info: &[u8], out: &mut [u8]) {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let length = Length(out.len());
    let info = [info];
    let okm = master.expand(&info, length).expect("HKDF gives up to 8,160 bytes");
    okm.fill(out).expect("the length that was asked for");
}

const KEY_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_file_and_purpose_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        let vault = Vault::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = vault.seal("token", b"secret");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_ne!(sealed, vault.seal("token", b"secret"), "each has its own nonce");

        let again = Vault::open(&path).unwrap();
        assert_eq!(again.item_key(), vault.item_key());
        assert_eq!(again.open_sealed("token", &sealed).as_deref(), Some(b"secret".as_slice()));
        assert_eq!(again.open_sealed("other", &sealed), None);
        assert_eq!(again.open_sealed("token", &sealed[1..]), None);
        assert_eq!(again.open_sealed("token", b"short"), None);

        let other = Vault::open(&dir.path().join("b.key")).unwrap();
        assert_eq!(other.open_sealed("token", &sealed), None);
        assert_ne!(other.item_key(), vault.item_key());
    }

    #[test]
    fn a_key_file_that_others_may_read_or_that_is_damaged_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        Vault::open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let text = Vault::open(&path).err().unwrap().to_string();
        assert!(text.contains("a.key") && text.contains("chmod 600"), "{text}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "AAAA").unwrap();
        assert!(matches!(Vault::open(&path), Err(VaultError::Damaged { .. })));
    }

    #[test]
    fn an_empty_key_file_of_an_interrupted_start_gets_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        for left in ["", "\n"] {
            fs::write(&path, left).unwrap();
            let vault = Vault::open(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(Vault::open(&path).unwrap().item_key(), vault.item_key(), "the key is kept");
        }
        // Half a key is no empty file: it may be all that is left of one that is in use.
        fs::write(&path, "AAAAAAAA").unwrap();
        assert!(matches!(Vault::open(&path), Err(VaultError::Damaged { .. })));
    }

    /// Computed with another implementation of HKDF (RFC 5869) over HMAC-SHA-256: an update must not change either key.
    #[test]
    fn the_keys_that_come_from_a_key_file_never_change_and_neither_tells_of_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        fs::write(&path, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let vault = Vault::open(&path).unwrap();
        assert_eq!(vault.item_key(), ITEM_KEY);

        // What the sealing key is shows in what it opens: made with another implementation of AES-256-GCM.
        assert_eq!(vault.open_sealed("purpose", &SEALED).as_deref(), Some(b"a secret".as_slice()));
        assert_ne!(SEALING_KEY[..16], ITEM_KEY, "the item key is handed out");
    }

    const ITEM_KEY: [u8; 16] =
        [0xbd, 0x85, 0xa5, 0xba, 0x55, 0x47, 0x53, 0x64, 0x0b, 0x75, 0x51, 0x52, 0xd9, 0xc2, 0xab, 0x7b];
    const SEALING_KEY: [u8; 32] = [
        0xcf, 0x58, 0xb3, 0x9f, 0xa2, 0x8d, 0x64, 0x5c, 0x9e, 0xc4, 0xae, 0x7a, 0x22, 0xc4, 0xd8, 0x65, 0x96,
        0xfa, 0xbf, 0xfa, 0x0c, 0x05, 0xab, 0x1d, 0xca, 0x47, 0x0f, 0x58, 0x3e, 0xae, 0xcf, 0xea,
    ];
    /// Nonce, text, tag.
    const SEALED: [u8; 36] = [
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x01, 0xbf, 0x78, 0x1c, 0xd8,
        0x52, 0x55, 0x29, 0x36, 0x95, 0x19, 0xc9, 0xfe, 0x69, 0xf7, 0xe4, 0x0d, 0xc0, 0xca, 0x81, 0xed, 0xba,
        0xc6, 0x79,
    ];
}
