//! TLS as the listener speaks it: our certificate of the moment, any client certificate, HTTP/2 before HTTP/1.1, 1.2 or newer.
//!
//! The certificate can change under a running listener because it is looked up for each handshake. The hints about client
//! authorities are part of rustls' configuration, so that is made anew when the trust changes.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use outrigger_auth::SharedTrust;
use outrigger_auth::handshake::Possession;
use rustls::crypto::CryptoProvider;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Certificates;

/// `--tls-min-version`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// `VersionTLS12`.
    #[default]
    Tls12,
    /// `VersionTLS13`.
    Tls13,
}

/// Makes handshakes.
#[derive(Debug)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    certificates: Arc<Certificates>,
    trust: SharedTrust,
    versions: &'static [&'static SupportedProtocolVersion],
    current: ArcSwapOption<(u64, Arc<ServerConfig>)>,
}

// === impl Tls ===

impl Tls {
    /// With these certificates, under a trust that may be swapped (the authenticator's).
    #[must_use]
    pub fn new(certificates: Arc<Certificates>, trust: SharedTrust, min_version: MinVersion) -> Self {
        static FROM_12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
        static FROM_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
        let versions = match min_version {
            MinVersion::Tls12 => FROM_12,
            MinVersion::Tls13 => FROM_13,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Self {
            provider,
            certificates,
            trust,
            versions,
            current: ArcSwapOption::empty(),
        }
    }

    /// What shakes the next hand.
    ///
    /// # Errors
    /// rustls' reason; only if its provider and versions do not fit each other.
    pub fn acceptor(&self) -> Result<TlsAcceptor, rustls::Error> {
        let trust = self.trust.load_full();
        if let Some(current) = self.current.load().as_ref()
            && current.0 == trust.generation()
        {
            return Ok(TlsAcceptor::from(Arc::clone(&current.1)));
        }
        let generation = trust.generation();
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(self.versions)?
            .with_client_cert_verifier(Arc::new(Possession::new(Arc::clone(&self.provider), trust)))
            .with_cert_resolver(Arc::clone(&self.certificates) as Arc<dyn rustls::server::ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let config = Arc::new(config);
        self.current.store(Some(Arc::new((generation, Arc::clone(&config)))));
        Ok(TlsAcceptor::from(config))
    }
}
