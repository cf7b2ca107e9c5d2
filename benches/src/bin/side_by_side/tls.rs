//! One authority, one certificate and one cipher suite for everything that is measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Certificates in a folder of this run.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    /// The authority.
    pub ca: PathBuf,
    /// The servers' certificate for `localhost` and 127.0.0.1.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them.
    pub(crate) fn write(folder: &Path) -> Result<Certificates, Box<dyn std::error::Error>> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "side_by_side authority");
        let ca_cert = ca.self_signed(&ca_key)?;
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let cert = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?;
        let paths = Certificates {
            ca: folder.join("ca.crt"),
            cert: folder.join("srv.crt"),
            key: folder.join("srv.key"),
        };
        std::fs::write(&paths.ca, ca_cert.pem())?;
        std::fs::write(&paths.cert, cert.pem())?;
        std::fs::write(&paths.key, key.serialize_pem())?;
        Ok(paths)
    }

    /// A server's side.
    pub(crate) fn server(&self, alpn: &[u8]) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error>> {
        let chain = vec![CertificateDer::from_pem_file(&self.cert)?];
        let mut config = ServerConfig::builder_with_provider(one_suite())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&self.key)?)?;
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(Arc::new(config))
    }
}

/// A client's side of HTTP/2.
pub(crate) fn client(ca: &Path) -> Result<Arc<ClientConfig>, Box<dyn std::error::Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let mut config = ClientConfig::builder_with_provider(one_suite())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Clients differ in what they like best; with one suite there is nothing to choose.
fn one_suite() -> Arc<rustls::crypto::CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites = vec![TLS13_AES_128_GCM_SHA256];
    Arc::new(provider)
}
