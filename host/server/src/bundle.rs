//! A bundle of certificate authorities, as a `caBundle` carries it: a set of certificates, whatever their order and spacing.

use std::fmt;
use std::time::SystemTime;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::ca::Leaf;
use crate::private_key::armoured;

/// Whom to believe. No certificate twice, and each can be read.
#[derive(Clone, Default)]
pub struct Bundle(Vec<CertificateDer<'static>>);

// === impl Bundle ===

impl Bundle {
    /// Reads PEM; text around the certificates does not count. None if one of them cannot be read, or there is none.
    #[must_use]
    pub fn read(pem: &[u8]) -> Option<Self> {
        let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
        let whole = |der: &CertificateDer<'_>| x509_parser::parse_x509_certificate(der).is_ok_and(|(rest, _)| rest.is_empty());
        (!all.is_empty() && all.iter().all(whole)).then(|| all.into_iter().collect())
    }

    /// As `caBundle` wants it.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.iter().map(|der| armoured("CERTIFICATE", der)).collect()
    }

    /// Each of them in DER.
    #[must_use]
    pub fn ders(&self) -> Vec<Vec<u8>> {
        self.0.iter().map(|der| der.to_vec()).collect()
    }

    /// Both; what is in this one comes first.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).cloned().collect()
    }

    /// Without those whose time is over.
    #[must_use]
    pub fn without_over(&self, now: SystemTime) -> Self {
        self.0.iter().filter(|der| !is_over(der, now)).cloned().collect()
    }

    /// Whether both believe the same.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().all(|der| other.has(der))
    }

    /// Whether a client that believes this bundle, and nobody else, believes a server that shows this leaf to be `name`.
    #[must_use]
    pub fn vouches_for(&self, leaf: &Leaf, name: &str, now: SystemTime) -> bool {
        let chain = CertificateDer::pem_slice_iter(leaf.pair().certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
        let anchors: Vec<_> = self
            .0
            .iter()
            .filter_map(|der| webpki::anchor_from_trusted_cert(der).ok())
            .collect();
        let (Ok(chain), Ok(name)) = (chain, ServerName::try_from(name)) else {
            return false;
        };
        let Some((first, between)) = chain.split_first() else {
            return false;
        };
        let time = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        EndEntityCert::try_from(first).is_ok_and(|leaf| {
            leaf.verify_for_usage(algorithms, &anchors, between, time, KeyUsage::server_auth(), None, None)
                .is_ok()
                && leaf.verify_is_valid_for_subject_name(&name).is_ok()
        })
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, der: &CertificateDer<'_>) -> bool {
        self.0.iter().any(|own| own == der)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter()
    }
}

impl FromIterator<CertificateDer<'static>> for Bundle {
    fn from_iter<I: IntoIterator<Item = CertificateDer<'static>>>(all: I) -> Self {
        let mut bundle = Self::default();
        for der in all {
            if !bundle.has(&der) {
                bundle.0.push(der);
            }
        }
        bundle
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bundle({})", self.0.len())
    }
}

/// When a certificate ends; none if it cannot be read.
pub(crate) fn end(der: &[u8]) -> Option<SystemTime> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds))
}

fn is_over(der: &[u8], now: SystemTime) -> bool {
    end(der).is_none_or(|end| end <= now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Authority;

    fn authority(name: &str, lifetime: u64) -> (Authority, Bundle) {
        let authority = Authority::create_at(name, SystemTime::now(), Duration::from_secs(lifetime)).unwrap();
        let bundle = Bundle::read(authority.pem().as_bytes()).unwrap();
        (authority, bundle)
    }

    #[test]
    fn a_bundle_is_a_set() {
        let ((a, of_a), (_, of_b)) = (authority("a", 600), authority("b", 10));
        let both = of_a.and(&of_b);
        assert!(both.is_as(&of_b.and(&of_a)) && !both.is_as(&of_a) && !of_a.is_as(&of_b));
        assert!(both.and(&of_a).is_as(&both), "nobody twice");
        assert!(Bundle::read(both.pem().as_bytes()).unwrap().is_as(&both));
        let around = format!("my authority:\n{}\n\n{}", a.pem(), of_b.pem());
        assert!(
            Bundle::read(around.as_bytes()).unwrap().is_as(&both),
            "spacing does not count"
        );
        assert!(both.without_over(SystemTime::now() + Duration::from_secs(60)).is_as(&of_a));
        let broken = a.pem().replace("MII", "AAA");
        for (name, pem) in [
            ("nothing", ""),
            ("no PEM", "x"),
            ("no certificate", &broken),
            ("a key", &a.key_pem()),
        ] {
            assert!(Bundle::read(pem.as_bytes()).is_none(), "{name}");
        }
    }
}
