//! PEM files named in the configuration. Every error is one line that names the file.

use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::ClientCertificate;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Certificates, in the order of the file; at least one.
///
/// # Errors
/// [`FileError`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(all) if all.is_empty() => Err(fault(path, "has no certificate in PEM form".to_owned())),
        Ok(all) => Ok(all),
        Err(error) => Err(fault(path, reason(&error, "certificate"))),
    }
}

/// A private key (PKCS#8, PKCS#1 or SEC1).
///
/// # Errors
/// [`FileError`].
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| fault(path, reason(&error, "private key")))
}

/// A client certificate with its key.
///
/// # Errors
/// [`FileError`].
pub fn client(
    client: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), FileError> {
    Ok((certificates(&client.cert_file)?, private_key(&client.key_file)?))
}

fn fault(path: &Path, reason: String) -> FileError {
    FileError { path: path.to_owned(), reason }
}

fn reason(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::Io(error) if error.kind() == std::io::ErrorKind::NotFound => "no such file".to_owned(),
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => format!("has no {what} in PEM form"),
        error => format!("is not a PEM file ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_file_is_named_with_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pem");
        let text = |path: &Path| certificates(path).unwrap_err().to_string();
        assert!(text(&file).ends_with("a.pem: no such file"), "{}", text(&file));
        for (bad, said) in [
            ("", "has no certificate in PEM form"),
            ("hello", "has no certificate in PEM form"),
            ("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "is not a PEM file"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "is not a PEM file"),
        ] {
            std::fs::write(&file, bad).unwrap();
            assert!(text(&file).contains(said), "{bad:?}: {}", text(&file));
        }
        assert!(private_key(&file).unwrap_err().to_string().contains("a.pem"));
    }
}
