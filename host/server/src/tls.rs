//! TLS as the listener speaks it: our certificate of the moment, any client certificate, HTTP/2 before HTTP/1.1, 1.2 or newer.
//!
//! The certificate can change under a running listener because it is looked up for each handshake. The hints about client
//! authorities are part of rustls' configuration, so that is made anew when the trust changes.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use outrigger_auth::SharedTrust;
use outrigger_auth::handshake::Possession;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::certificates::Certificates;
use crate::suites::Suites;

/// What an operator may choose.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Versions, cipher suites, curves.
    pub suites: Suites,
    /// `--disable-http2-serving`.
    pub http1_only: bool,
}

/// Makes handshakes.
#[derive(Debug)]
pub struct Tls {
    options: TlsOptions,
    certificates: Arc<Certificates>,
    trust: SharedTrust,
    current: ArcSwapOption<(u64, Arc<ServerConfig>)>,
}

// === impl Tls ===

impl Tls {
    /// With these certificates, under a trust that may be swapped (the authenticator's).
    #[must_use]
    pub fn new(certificates: Arc<Certificates>, trust: SharedTrust, options: TlsOptions) -> Self {
        Self {
            options,
            certificates,
            trust,
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
        let Suites { provider, versions } = &self.options.suites;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(Arc::new(Possession::new(Arc::clone(provider), trust)))
            .with_cert_resolver(Arc::clone(&self.certificates) as Arc<dyn rustls::server::ResolvesServerCert>);
        config.alpn_protocols = if self.options.http1_only {
            vec![b"http/1.1".to_vec()]
        } else {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        };
        let config = Arc::new(config);
        self.current.store(Some(Arc::new((generation, Arc::clone(&config)))));
        Ok(TlsAcceptor::from(config))
    }
}
