//! TLS settings become rustls configurations: at start, and when certificates are renewed.

use std::sync::{Arc, PoisonError, RwLock};

use carillon_core::shard::{CloseReason, Endpoint, Protocol};
use rustls::client::Resumption;
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::ServerName;

use crate::settings::{StartError, TlsSettings};

/// An endpoint, ready to connect to. Clones share their TLS.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    protocol: Protocol,
    server_name: ServerName<'static>,
    /// Read once for each connection, written when certificates are renewed.
    tls: Arc<RwLock<Arc<ClientConfig>>>,
}

impl Target {
    pub(crate) fn new(endpoint: &Endpoint, settings: &TlsSettings) -> Result<Target, StartError> {
        let fail = |text: String| StartError::Tls { host: endpoint.host.clone(), text };
        let mut roots = RootCertStore::empty();
        if settings.web_roots {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for root in &settings.extra_roots {
            roots
                .add(root.clone())
                .map_err(|error| fail(format!("a CA certificate cannot be used: {error}")))?;
        }
        if roots.is_empty() {
            return Err(fail("no certificate authority is trusted: every connection would fail".into()));
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| fail(error.to_string()))?
            .with_root_certificates(roots);
        let mut tls = match &settings.client {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(|error| {
                    fail(format!("the client certificate or its key cannot be used: {error}"))
                })?
            }
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![alpn(endpoint.protocol).to_vec()];
        let name = settings.server_name.as_deref().unwrap_or(&endpoint.host);
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|_| fail(format!("{name:?} is neither a host name nor an address")))?;
        Ok(Target {
            host: endpoint.host.clone(),
            port: endpoint.port,
            protocol: endpoint.protocol,
            server_name,
            tls: Arc::new(RwLock::new(Arc::new(tls))),
        })
    }

    /// The same endpoint for another shard: shards do not contend for one cache of sessions.
    pub(crate) fn for_shard(&self) -> Target {
        let tls = Arc::new(RwLock::new(Arc::new(self.own_sessions())));
        Target { tls, ..self.clone() }
    }

    /// Connections from now on are made as `renewed` makes them. No session of before is resumed: it would go on with
    /// the old certificate.
    pub(crate) fn renew(&self, renewed: &Target) {
        let tls = Arc::new(renewed.own_sessions());
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    fn own_sessions(&self) -> ClientConfig {
        let mut tls = ClientConfig::clone(&self.tls());
        tls.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        tls
    }

    fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Our side of a handshake.
    pub(crate) fn client(&self) -> Result<ClientConnection, CloseReason> {
        let mut client = ClientConnection::new(self.tls(), self.server_name.clone())
            .map_err(|error| close_reason(&error))?;
        // What waits is bounded by whom it comes from: the core is drained only when nothing waits.
        client.set_buffer_limit(None);
        Ok(client)
    }

    /// Whether the server agreed on a protocol that we can speak.
    pub(crate) fn check_alpn(&self, client: &ClientConnection) -> Result<(), CloseReason> {
        match (self.protocol, client.alpn_protocol()) {
            // Old front ends of Exchange know no ALPN and speak HTTP/1.1.
            (Protocol::Http1, None) => Ok(()),
            (protocol, Some(agreed)) if agreed == alpn(protocol) => Ok(()),
            (Protocol::Http1 | Protocol::Http2, agreed) => {
                let agreed = agreed.map_or("no protocol".into(), String::from_utf8_lossy);
                let wanted = String::from_utf8_lossy(alpn(self.protocol));
                let text = format!("the server agreed on {agreed} (ALPN), but {wanted} is needed");
                Err(CloseReason::Tls(text.into()))
            }
        }
    }
}

/// Which of the core's reasons a TLS failure is.
pub(crate) fn close_reason(error: &rustls::Error) -> CloseReason {
    match error {
        rustls::Error::InvalidCertificate(why) => {
            let (what, advice) = certificate_fault(why);
            CloseReason::Untrusted(format!("{what}; {advice}").into())
        }
        rustls::Error::AlertReceived(
            AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate,
        ) => {
            // Only we present a certificate that the other side could complain of.
            let advice = "the server does not accept our client certificate, or wants one and gets none: see that it \
                          is there, still valid, and of an authority that the server trusts";
            CloseReason::Tls(format!("{error}; {advice}").into())
        }
        rustls::Error::NoCertificatesPresented => CloseReason::Untrusted(error.to_string().into()),
        _ => CloseReason::Tls(error.to_string().into()),
    }
}

/// What is wrong with a server's certificate, and what to do, for a person.
pub fn certificate_fault(why: &CertificateError) -> (String, &'static str) {
    let words = rustls::Error::InvalidCertificate(why.clone()).to_string();
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            format!("{words}: it was signed by an authority that is not trusted here"),
            "if its authority is your own, give that authority's certificate as ca_file",
        ),
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            (words, "renew the certificate on the server, unless the clock of this machine is wrong")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            words,
            "use a name in the URL that stands in the certificate, or have the server present one for this name",
        ),
        CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => {
            let signed_with =
                outdated(signature_algorithm_id).unwrap_or("an algorithm that is not supported here");
            (
                format!(
                    "the server's certificate, or one between it and its authority, is signed with {signed_with}"
                ),
                "have the server present certificates that are signed with SHA-256 or better",
            )
        }
        _ => (words, "have the server present a right certificate"),
    }
}

/// Signatures that nobody accepts any more, by their object identifiers.
fn outdated(algorithm: &[u8]) -> Option<&'static str> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    let is = |start: &[u8], last: u8| {
        let id = [start, &[last]].concat();
        algorithm.windows(id.len()).any(|window| window == id)
    };
    match () {
        () if is(RSA, 5) || is(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04], 1) => Some("SHA-1"),
        () if is(RSA, 4) => Some("MD5"),
        () => None,
    }
}

fn alpn(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Http1 => b"http/1.1",
        Protocol::Http2 => b"h2",
    }
}

/// TLS sessions kept for resumption, per endpoint and shard.
const SESSIONS_MAX: usize = 64;
