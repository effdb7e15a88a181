//! Certificate authorities for tests, and what they sign: servers, users, and the key of service-account tokens.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate authority, with a folder in which its files lie.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    name: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key (PKCS#8).
    pub key: PathBuf,
}

/// The rustls provider of all tests.
#[must_use]
pub fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    std::sync::Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates of a PEM file as trust anchors.
///
/// # Errors
/// The file cannot be read or holds something else.
pub fn roots(file: &Path) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).with_context(|| format!("cannot read {}", file.display()))? {
        store.add(certificate?)?;
    }
    Ok(store)
}

/// A key pair for service-account tokens: the private and the public key.
///
/// # Errors
/// The files cannot be written.
pub fn token_keys(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let key = KeyPair::generate()?;
    let files = (folder.join("service-account.key"), folder.join("service-account.pub"));
    std::fs::write(&files.0, key.serialize_pem())?;
    std::fs::write(&files.1, key.public_key_pem())?;
    Ok(files)
}

// === impl Authority ===

impl Authority {
    /// Makes an authority; its certificate is `FOLDER/NAME.crt`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("outrigger-e2e-{name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate()?;
        std::fs::write(folder.join(format!("{name}.crt")), params.self_signed(&key)?.pem())?;
        Ok(Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.join(format!("{}.crt", self.name))
    }

    /// Signs a server's certificate for DNS names and IP addresses.
    ///
    /// # Errors
    /// A name is none, or the files cannot be written.
    pub fn server(&self, name: &str, names: &[&str]) -> Result<Pair> {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        self.sign(
            name,
            CertificateParams::new(names)?,
            ExtendedKeyUsagePurpose::ServerAuth,
            None,
        )
    }

    /// As [`Authority::server`], but the certificate ended years ago.
    ///
    /// # Errors
    /// See there.
    pub fn expired_server(&self, name: &str, names: &[&str]) -> Result<Pair> {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.sign(name, params, ExtendedKeyUsagePurpose::ServerAuth, None)
    }

    /// Signs a user's certificate: `name` becomes the user, `group` its one group (rcgen writes no second O).
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn user(&self, name: &str, group: Option<&str>) -> Result<Pair> {
        self.sign(name, CertificateParams::default(), ExtendedKeyUsagePurpose::ClientAuth, group)
    }

    fn sign(
        &self,
        name: &str,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
        group: Option<&str>,
    ) -> Result<Pair> {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let file = format!("{}-{}", self.name, name.replace(['/', ':'], "-"));
        let pair = Pair {
            certificate: self.folder.join(format!("{file}.crt")),
            key: self.folder.join(format!("{file}.key")),
        };
        std::fs::write(&pair.certificate, params.signed_by(&key, &self.issuer)?.pem())?;
        std::fs::write(&pair.key, key.serialize_pem())?;
        Ok(pair)
    }
}

// === impl Pair ===

impl Pair {
    /// As rustls wants it.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn load(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)?.collect::<Result<_, _>>()?;
        Ok((chain, PrivateKeyDer::from_pem_file(&self.key)?))
    }
}
