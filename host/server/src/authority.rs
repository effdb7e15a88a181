//! Our own certificate authority: for serving certificates whose CA goes into `caBundle`, and for client certificates of
//! `outrigger run`.
//!
//! The authority is made once and kept; what it issues is short-lived and made anew. Its key is as secret as the certificates
//! are trusted: it is written readable by the owner alone.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Longer than anybody keeps a cluster without touching it.
pub(crate) const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Clocks differ.
const BACKDATED: Duration = Duration::from_secs(3600);

/// A certificate authority with its key.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct PemPair {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS#8.
    pub key: String,
}

/// What cannot be made or read.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct AuthorityError {
    what: &'static str,
    source: rcgen::Error,
}

// === impl Authority ===

impl Authority {
    /// A new authority with a name for people.
    ///
    /// # Errors
    /// [`AuthorityError`] if the system gives no key.
    pub fn create(name: &str) -> Result<Self, AuthorityError> {
        Self::create_at(name, SystemTime::now(), CA_LIFETIME)
    }

    /// The same for a time of its own.
    ///
    /// # Errors
    /// As [`Authority::create`].
    pub(crate) fn create_at(name: &str, now: SystemTime, lifetime: Duration) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate().map_err(|source| AuthorityError {
            what: "cannot make a key",
            source,
        })?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        lasting(&mut params, now, lifetime);
        let pem = params
            .self_signed(&key)
            .map_err(|source| AuthorityError {
                what: "cannot sign the CA certificate",
                source,
            })?
            .pem();
        Ok(Self {
            pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// An authority made earlier.
    ///
    /// # Errors
    /// [`AuthorityError`] if either cannot be read.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key).map_err(|source| AuthorityError {
            what: "cannot read the CA key",
            source,
        })?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(|source| AuthorityError {
            what: "cannot read the CA certificate",
            source,
        })?;
        Ok(Self {
            pem: certificate.to_owned(),
            issuer,
        })
    }

    /// The CA certificate: `caBundle`, `certificate-authority-data`.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The CA's key; only for keeping it.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The public half of its key, as a certificate carries it.
    pub(crate) fn public_key(&self) -> &[u8] {
        self.issuer.key().public_key_raw()
    }

    /// A serving certificate for DNS names and IP addresses.
    ///
    /// # Errors
    /// [`AuthorityError`] for an impossible name.
    pub fn serving(&self, names: &[String], lifetime: Duration) -> Result<PemPair, AuthorityError> {
        self.serving_at(names, SystemTime::now(), lifetime)
    }

    /// The same, from another time than this.
    ///
    /// # Errors
    /// As [`Authority::serving`].
    pub(crate) fn serving_at(&self, names: &[String], now: SystemTime, lifetime: Duration) -> Result<PemPair, AuthorityError> {
        let mut params = CertificateParams::new(names).map_err(|source| AuthorityError {
            what: "cannot serve under such a name",
            source,
        })?;
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, names.first().map_or("outrigger", String::as_str));
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth, now, lifetime)
    }

    /// A client certificate: the user is the common name, the group the organization (one: rcgen keeps one value per type).
    ///
    /// # Errors
    /// [`AuthorityError`] if it cannot be made.
    pub fn client(&self, user: &str, group: Option<&str>, lifetime: Duration) -> Result<PemPair, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth, SystemTime::now(), lifetime)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<PemPair, AuthorityError> {
        let key = KeyPair::generate().map_err(|source| AuthorityError {
            what: "cannot make a key",
            source,
        })?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        lasting(&mut params, now, lifetime);
        let certificate = params.signed_by(&key, &self.issuer).map_err(|source| AuthorityError {
            what: "cannot sign the certificate",
            source,
        })?;
        Ok(PemPair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

// === impl PemPair ===

impl std::fmt::Debug for PemPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PemPair")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

fn lasting(params: &mut CertificateParams, now: SystemTime, lifetime: Duration) {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + now.saturating_add(lifetime);
}
