//! Whom HTTPS believes: the system's authorities, or the one that the operator named for a plugin.
//!
//! The system's are read once for the process; a machine that has none (an image without certificates) is a sentence at the first
//! HTTPS request, not a host that does not start.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Authorities as rustls takes them.
#[derive(Clone)]
pub struct Roots(Arc<ClientConfig>);

/// Why there are none.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read.
    #[error("the authority {path:?} cannot be read: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// There is nothing usable in it.
    #[error("the authority {path:?} has no certificate in PEM that can be used")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The system has none.
    #[error("this machine knows no certificate authorities; install ca-certificates, or name a caFile in the grant")]
    NoSystemRoots,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

// === impl Roots ===

impl Roots {
    /// The system's authorities.
    ///
    /// # Errors
    /// There are none.
    pub fn system() -> Result<Self, RootsError> {
        static SYSTEM: OnceLock<Result<Roots, RootsError>> = OnceLock::new();
        SYSTEM
            .get_or_init(|| {
                let mut store = RootCertStore::empty();
                let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if added == 0 {
                    return Err(RootsError::NoSystemRoots);
                }
                Self::of(store)
            })
            .clone()
    }

    /// The authorities in a PEM file, and no others.
    ///
    /// # Errors
    /// The file cannot be read, or has no certificate.
    pub fn file(path: &Path) -> Result<Self, RootsError> {
        let pem = std::fs::read(path).map_err(|e| RootsError::Unreadable {
            path: path.to_owned(),
            why: e.to_string(),
        })?;
        let mut store = RootCertStore::empty();
        let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
        let (added, _) = store.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(RootsError::Empty { path: path.to_owned() });
        }
        Self::of(store)
    }

    fn of(store: RootCertStore) -> Result<Self, RootsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| RootsError::Tls(e.to_string()))?
            .with_root_certificates(store)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        self.0.clone()
    }
}

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roots").finish_non_exhaustive()
    }
}
