//! Secrets at rest: sealed with a key that lives beside the database, so that a copy of the database alone tells none.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};

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
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(format!("{text}\n").as_bytes())?;
    file.sync_all()?;
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
}
