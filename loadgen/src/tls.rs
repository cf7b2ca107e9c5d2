//! The run's own certificates: a CA that lives as long as the run's folder.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The CA's certificate.
pub(crate) const CA_CERT: &str = "ca.pem";
/// Certificate and key of both peers.
pub(crate) const PEER_CERT: &str = "peer.pem";
pub(crate) const PEER_KEY: &str = "peer.key";
/// Certificate and key of Carillon's API.
pub(crate) const API_CERT: &str = "api.pem";
pub(crate) const API_KEY: &str = "api.key";

/// Writes all certificates into the run's folder.
pub(crate) fn write_all(folder: &Path) -> Result<(), String> {
    let fail = |error: rcgen::Error| format!("cannot make certificates: {error}");
    let mut params = CertificateParams::new(Vec::new()).map_err(fail)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, "loadgen: CA of one run");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(fail)?).map_err(fail)?;
    write(folder, CA_CERT, &ca.pem())?;
    for (cert, key) in [(PEER_CERT, PEER_KEY), (API_CERT, API_KEY)] {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let pair = KeyPair::generate().map_err(fail)?;
        let signed = CertificateParams::new(names).map_err(fail)?.signed_by(&pair, &ca).map_err(fail)?;
        write(folder, cert, &signed.pem())?;
        write(folder, key, &pair.serialize_pem())?;
    }
    Ok(())
}

/// Writes a file that only its owner may read.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let path = folder.join(name);
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// What a peer serves TLS with.
pub(crate) fn server_config(cert: &Path, key: &Path, alpn: &[u8]) -> Result<ServerConfig, String> {
    let fail = |error: &dyn std::fmt::Display| format!("cannot serve TLS with {}: {error}", cert.display());
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect).map_err(|error| fail(&error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| fail(&error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| fail(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| fail(&error))?;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}
