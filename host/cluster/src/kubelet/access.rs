//! What proves us to kubelets, and kubelets to us: a CA, a token, a client certificate; and the TLS settings made of them.
//!
//! Unless told otherwise they are those of the connection to kube-apiserver, as in metrics-server. One thing is not
//! inherited: a kubeconfig's `insecure-skip-tls-verify` speaks of kube-apiserver, so kubelets are verified all the same.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderValue;
use kube::Config;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::ExposeSecret as _;

use super::KubeletOptions;
use crate::{Anybody, material};

/// How kubelets and we prove ourselves.
#[derive(Clone, Default)]
pub struct KubeletAccess {
    /// Who must have signed a kubelet's certificate; none believes anybody.
    pub authority: Option<Authority>,
    /// Our client certificate and its key.
    pub identity: Option<(Pem, Pem)>,
    /// Our bearer token. Never sent over plain HTTP.
    pub token: Option<Token>,
    /// Plain HTTP, without any credential.
    pub plain: bool,
}

/// Trusted roots.
#[derive(Clone)]
pub enum Authority {
    /// A PEM file, followed.
    File(PathBuf),
    /// DER certificates.
    Der(Vec<Vec<u8>>),
}

/// PEM text.
#[derive(Clone)]
pub enum Pem {
    /// In a file, followed.
    File(PathBuf),
    /// Here.
    Text(Vec<u8>),
}

/// A bearer token.
#[derive(Clone)]
pub enum Token {
    /// In a file, followed.
    File(PathBuf),
    /// Here.
    Text(String),
}

/// Why settings make no access.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// There is nothing to verify kubelets with.
    #[error("no CA to verify kubelets with: the kubeconfig names none; give --kubelet-certificate-authority")]
    NoAuthority,
    /// The kubeconfig's credentials come from a program.
    #[error(
        "the kubeconfig's user gets its credentials from a program (exec or auth-provider), which kubelets are not asked with; \
         use a service account, or give --kubelet-client-certificate and --kubelet-client-key"
    )]
    Program,
    /// A file cannot be read.
    #[error("cannot read {what} for kubelets: {source}")]
    File {
        /// What is in it.
        what: &'static str,
        /// What the system says; names the file.
        source: io::Error,
    },
    /// A file's content, or a kubeconfig's data, is not what it should be.
    #[error("{what} for kubelets cannot be used: {why}")]
    Content {
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
}

// === impl KubeletAccess ===

impl KubeletAccess {
    /// The access of these settings: the flags' files, else those of the connection to kube-apiserver.
    ///
    /// # Errors
    /// Settings that cannot work; each says what to do.
    pub fn from_config(config: &Config, options: &KubeletOptions) -> Result<Self, AccessError> {
        if options.completely_insecure {
            return Ok(Self {
                plain: true,
                ..Self::default()
            });
        }
        let user = &config.auth_info;
        let identity = match (&options.client_certificate, &options.client_key) {
            (Some(certificate), Some(key)) => Some((Pem::File(certificate.clone()), Pem::File(key.clone()))),
            _ => {
                let certificate = pem(
                    CERTIFICATE,
                    user.client_certificate_data.as_deref(),
                    user.client_certificate.as_deref(),
                )?;
                let key = pem(
                    KEY,
                    user.client_key_data.as_ref().map(|key| key.expose_secret()),
                    user.client_key.as_deref(),
                )?;
                certificate.zip(key)
            }
        };
        let token = match (&user.token_file, &user.token) {
            (Some(file), _) => Some(Token::File(file.into())),
            (None, Some(token)) => Some(Token::Text(token.expose_secret().to_owned())),
            (None, None) => None,
        };
        if identity.is_none() && token.is_none() && (user.exec.is_some() || user.auth_provider.is_some()) {
            return Err(AccessError::Program);
        }
        Ok(Self {
            authority: Self::authority(config, options)?,
            identity,
            token,
            plain: false,
        })
    }

    fn authority(config: &Config, options: &KubeletOptions) -> Result<Option<Authority>, AccessError> {
        if options.insecure_tls {
            return Ok(None);
        }
        let file = options.certificate_authority.as_ref().or(config.root_cert_file.as_ref());
        match (file, &config.root_cert) {
            (Some(file), _) => Ok(Some(Authority::File(file.clone()))),
            (None, Some(der)) => Ok(Some(Authority::Der(der.clone()))),
            (None, None) => Err(AccessError::NoAuthority),
        }
    }

    /// The files that the TLS settings are made of.
    pub(super) fn tls_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        if let Some(Authority::File(path)) = &self.authority {
            files.push(path.clone());
        }
        if let Some((certificate, key)) = &self.identity {
            files.extend([certificate, key].into_iter().filter_map(|pem| match pem {
                Pem::File(path) => Some(path.clone()),
                Pem::Text(_) => None,
            }));
        }
        files
    }

    /// The file of the token.
    pub(super) fn token_file(&self) -> Option<PathBuf> {
        match &self.token {
            Some(Token::File(path)) => Some(path.clone()),
            _ => None,
        }
    }

    /// The Authorization header as it is now.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, AccessError> {
        const WHAT: &str = "the bearer token";
        let text = match &self.token {
            None => return Ok(None),
            Some(Token::Text(text)) => text.clone(),
            Some(Token::File(path)) => String::from_utf8(read(WHAT, path)?).map_err(|error| content(WHAT, &error))?,
        };
        let token = text.trim();
        if token.is_empty() {
            return Err(AccessError::Content {
                what: WHAT,
                why: "it is empty".into(),
            });
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| content(WHAT, &error))?;
        // Keeps it out of hyper's and h2's logs and out of header compression tables.
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// The TLS settings as they are now.
    pub(super) fn tls(&self) -> Result<ClientConfig, AccessError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| content("TLS", &error))?;
        let builder = match &self.authority {
            Some(authority) => builder.with_root_certificates(roots(authority)?),
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody::new(provider))),
        };
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(&text(CERTIFICATE, certificate)?)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| content(CERTIFICATE, &error))?;
                let key = PrivateKeyDer::from_pem_slice(&text(KEY, key)?).map_err(|error| content(KEY, &error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| content(CERTIFICATE, &error))
            }
        }
    }
}

/// Says what there is, never what it is.
impl fmt::Debug for KubeletAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeletAccess")
            .field("verifies", &self.authority.is_some())
            .field("certificate", &self.identity.is_some())
            .field("token", &self.token.is_some())
            .field("plain", &self.plain)
            .finish()
    }
}

const CERTIFICATE: &str = "the client certificate";
const KEY: &str = "the client key";
const CA: &str = "the certificate authority";

fn roots(authority: &Authority) -> Result<RootCertStore, AccessError> {
    let mut store = RootCertStore::empty();
    match authority {
        Authority::Der(all) => {
            for der in all {
                store
                    .add(CertificateDer::from(der.clone()))
                    .map_err(|error| content(CA, &error))?;
            }
        }
        Authority::File(path) => {
            for certificate in CertificateDer::pem_slice_iter(&read(CA, path)?) {
                store
                    .add(certificate.map_err(|error| content(CA, &error))?)
                    .map_err(|error| content(CA, &error))?;
            }
        }
    }
    if store.is_empty() {
        return Err(AccessError::Content {
            what: CA,
            why: "it holds no certificate".into(),
        });
    }
    Ok(store)
}

/// Data before file, as client-go has it.
fn pem(what: &'static str, data: Option<&str>, file: Option<&str>) -> Result<Option<Pem>, AccessError> {
    use base64::Engine as _;
    match (data, file) {
        (Some(data), _) => {
            let text = base64::engine::general_purpose::STANDARD
                .decode(data.trim())
                .map_err(|error| content(what, &error))?;
            Ok(Some(Pem::Text(text)))
        }
        (None, Some(file)) => Ok(Some(Pem::File(file.into()))),
        (None, None) => Ok(None),
    }
}

fn text(what: &'static str, pem: &Pem) -> Result<Vec<u8>, AccessError> {
    match pem {
        Pem::Text(text) => Ok(text.clone()),
        Pem::File(path) => read(what, path),
    }
}

fn read(what: &'static str, path: &std::path::Path) -> Result<Vec<u8>, AccessError> {
    material::read(path).map_err(|source| AccessError::File { what, source })
}

fn content(what: &'static str, error: &dyn fmt::Display) -> AccessError {
    AccessError::Content {
        what,
        why: error.to_string(),
    }
}
