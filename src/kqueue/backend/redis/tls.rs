//! TLS to a server, with the options of PHP's streams.
//!
//! Accepts the same certificates as PHP: with the name in the common name only, trusted by being listed themselves, or
//! not verified at all.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion, version,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::Scheme;
use super::certificate::Certificate;
use super::settings::TlsSettings;
use crate::backend::BackendError;

static TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];
static TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// TLS configuration for the servers of one connection.
pub(super) struct Tls {
    settings: TlsSettings,
    versions: &'static [&'static SupportedProtocolVersion],
    /// Built from the files; rebuilt after a failed connection, since certificates are renewed.
    made: RefCell<Option<Arc<ClientConfig>>>,
}

impl Tls {
    /// Reads the files, to report unusable ones early.
    pub(super) fn new(settings: TlsSettings, scheme: Scheme) -> Result<Self, BackendError> {
        let unsupported = match &settings {
            TlsSettings { passphrase: Some(_), .. } => Some(("passphrase", "use an unencrypted key: openssl pkey")),
            TlsSettings { peer_fingerprint: Some(_), .. } => {
                Some(("peer_fingerprint", "set `cafile` to the certificate"))
            }
            _ => None,
        };
        if let Some((key, fix)) = unsupported {
            return Err(BackendError::Settings(format!("redis over TLS: `{key}` is not supported; {fix}")));
        }
        let versions: &[_] = match scheme {
            Scheme::Tls12 => TLS12,
            Scheme::Tls13 => TLS13,
            Scheme::Plain | Scheme::Tls => rustls::ALL_VERSIONS,
        };
        let tls = Self { settings, versions, made: RefCell::default() };
        tls.config().map_err(|e| BackendError::Settings(format!("redis over TLS: {e}")))?;
        if !tls.settings.verify_peer {
            tracing::warn!(
                "redis over TLS: the app disables `verify_peer`, so the server is not authenticated; \
                 fix: set `verify_peer` and `cafile` in config/database.php"
            );
        }
        Ok(tls)
    }

    /// Performs the TLS handshake with `host` over a stream.
    pub(super) async fn over<S>(&self, stream: S, host: &str) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.settings.peer_name.as_deref().unwrap_or(host);
        let invalid = |_| io::Error::other(format!("TLS: `{name}` is not a valid server name"));
        let server = ServerName::try_from(name).map_err(invalid)?.to_owned();
        let connector = TlsConnector::from(self.config()?);
        connector.connect(server, stream).await.map_err(|e| {
            let ca =
                if e.to_string().contains("CaUsedAsEndEntity") { "; the server presents a CA certificate" } else { "" };
            io::Error::new(e.kind(), format!("TLS: {e}{ca}"))
        })
    }

    /// Makes the next connection read the files again.
    pub(super) fn forget(&self) {
        self.made.take();
    }

    fn config(&self) -> io::Result<Arc<ClientConfig>> {
        if let Some(made) = &*self.made.borrow() {
            return Ok(made.clone());
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(self.verifier(provider.clone())?);
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(self.versions);
        let builder = builder.map_err(io::Error::other)?.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match &self.settings.local_cert {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let key_file = self.settings.local_pk.as_ref().unwrap_or(file);
                let (chain, key) = (certificates(file)?, private_key(key_file)?);
                let key = provider.key_provider.load_private_key(key);
                let key = key.map_err(|e| unusable("`local_pk`", key_file, &e))?;
                // Not checked here: the server decides whether it accepts the certificate.
                let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
                builder.with_client_cert_resolver(Arc::new(shown))
            }
        };
        config.enable_sni = self.settings.sni;
        let config = Arc::new(config);
        self.made.replace(Some(config.clone()));
        Ok(config)
    }

    fn verifier(&self, provider: Arc<CryptoProvider>) -> io::Result<Verifier> {
        let TlsSettings { verify_peer, verify_peer_name, allow_self_signed, cafile, capath, .. } = &self.settings;
        let mut trusted = Vec::new();
        if *verify_peer {
            if let Some(file) = cafile {
                trusted.extend(certificates(file)?);
            }
            if let Some(directory) = capath {
                trusted.extend(certificates_in(directory)?);
            }
            if cafile.is_none() && capath.is_none() {
                trusted = rustls_native_certs::load_native_certs().certs;
            }
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let (peer, name, self_signed) = (*verify_peer, *verify_peer_name, *allow_self_signed);
        Ok(Verifier { peer, name, self_signed, roots, trusted, provider })
    }
}

fn unusable(key: &str, file: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{key} {}: {error}", file.display()))
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let unusable = |e| unusable("certificates in", file, &e);
    let all: Vec<_> =
        CertificateDer::pem_file_iter(file).map_err(unusable)?.collect::<Result<_, _>>().map_err(unusable)?;
    if all.is_empty() {
        return Err(io::Error::other(format!("no certificate found in {}", file.display())));
    }
    Ok(all)
}

/// Certificates of all files in a directory that contain any.
fn certificates_in(directory: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let entries = std::fs::read_dir(directory).map_err(|e| unusable("`capath`", directory, &e))?;
    Ok(entries.flatten().filter_map(|entry| certificates(&entry.path()).ok()).flatten().collect())
}

fn private_key(file: &Path) -> io::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(file).map_err(|e| unusable("key in", file, &e))
}

/// Verifies a server's certificate as OpenSSL does for PHP.
#[derive(Debug)]
struct Verifier {
    peer: bool,
    name: bool,
    self_signed: bool,
    roots: RootCertStore,
    /// Certificates in `roots`, which may include a server's own.
    trusted: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn is_trusted(&self, der: &CertificateDer<'_>, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let own = Certificate::parse(der);
        let by_itself = self.trusted.iter().any(|trusted| trusted == der)
            || (self.self_signed && own.as_ref().is_some_and(Certificate::is_self_signed));
        if by_itself {
            let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            return match own.and_then(|own| own.is_valid_at(now)) {
                Some(true) => Ok(()),
                Some(false) => Err(CertificateError::Expired.into()),
                None => Err(CertificateError::BadEncoding.into()),
            };
        }
        let algorithms = self.provider.signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(der)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, chain, now, algorithms)
    }

    fn is_named(&self, der: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
        let verified = ParsedCertificate::try_from(der).and_then(|parsed| verify_server_name(&parsed, name));
        let common = || Certificate::parse(der).is_some_and(|own| own.is_called(&name.to_str()));
        verified.or_else(|e| if common() { Ok(()) } else { Err(e) })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        der: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.peer {
            self.is_trusted(der, chain, now)?;
        }
        if self.name {
            self.is_named(der, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.peer {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(message, der, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.peer {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, der, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
