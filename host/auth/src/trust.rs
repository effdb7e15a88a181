//! Whom we believe: the CA bundles, names and headers of the moment.
//!
//! A [`Trust`] is one snapshot, made by the binary from flags or from the ConfigMap
//! `kube-system/extension-apiserver-authentication` and swapped whole through a [`SharedTrust`]: no request ever sees the new
//! CA with the old allowed names. Each has a generation, so that what was concluded under an older one is concluded again.
//!
//! Chains are judged here with webpki, outside the handshake (see [`crate::handshake`]). As in Go, a root that has expired is
//! no root.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, header};
use rustls::DistinguishedName;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The trust of the moment; `store` swaps it for every request that comes after.
pub type SharedTrust = Arc<ArcSwap<Trust>>;

/// One snapshot of whom we believe.
#[derive(Debug)]
pub struct Trust {
    generation: u64,
    front_proxy: Option<FrontProxy>,
    clients: Option<Authorities>,
    hints: Vec<DistinguishedName>,
    stripped: Vec<HeaderName>,
    stripped_prefixes: Vec<String>,
}

/// A bundle of certificate authorities.
#[derive(Debug, Clone)]
pub struct Authorities {
    anchors: Vec<Anchor>,
}

/// The proxy (kube-apiserver's aggregator) that may speak for others, and how it does.
#[derive(Debug, Clone)]
pub struct FrontProxy {
    pub(crate) authorities: Authorities,
    pub(crate) allowed_names: Vec<String>,
    pub(crate) user: Vec<HeaderName>,
    pub(crate) uid: Vec<HeaderName>,
    pub(crate) group: Vec<HeaderName>,
    pub(crate) extra_prefixes: Vec<String>,
}

/// Header names as flags and the ConfigMap give them; their case does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderNames {
    /// `--requestheader-username-headers`: the first with a value wins.
    pub user: Vec<String>,
    /// `--requestheader-uid-headers`: the first with a value wins. Absent before Kubernetes 1.32: give an empty list.
    pub uid: Vec<String>,
    /// `--requestheader-group-headers`: all values of all count.
    pub group: Vec<String>,
    /// `--requestheader-extra-headers-prefix`.
    pub extra_prefixes: Vec<String>,
}

/// Why a bundle or header list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The text is not PEM; nothing of it is used.
    #[error("the CA bundle is not PEM: {0}")]
    Pem(rustls_pki_types::pem::Error),
    /// There is no certificate in the bundle. An absent bundle is `None`, not an empty one.
    #[error("the CA bundle holds no certificate")]
    Empty,
    /// A certificate of the bundle cannot be read.
    #[error("certificate {0} of the CA bundle cannot be read")]
    Certificate(usize),
    /// An empty or impossible header name.
    #[error("{0:?} is no name of a header")]
    Header(String),
    /// Nobody could ever authenticate without one.
    #[error("a front proxy needs at least one username header")]
    NoUserHeader,
}

#[derive(Debug, Clone)]
struct Anchor {
    anchor: TrustAnchor<'static>,
    not_before: i64,
    not_after: i64,
}

// === impl Trust ===

impl Trust {
    /// A snapshot. `front_proxy` is the requestheader part, `clients` the client CA; without either, that way in has no opinion.
    #[must_use]
    pub fn new(front_proxy: Option<FrontProxy>, clients: Option<Authorities>) -> Self {
        static GENERATIONS: AtomicU64 = AtomicU64::new(1);
        let names = HeaderNames::default();
        // The usual names are stripped whatever is configured: nobody downstream should ever find one and believe it.
        let mut stripped = vec![header::AUTHORIZATION];
        stripped.extend(
            [&names.user, &names.uid, &names.group]
                .into_iter()
                .flatten()
                .filter_map(|name| name.parse().ok()),
        );
        let mut stripped_prefixes = names.extra_prefixes;
        if let Some(proxy) = &front_proxy {
            stripped.extend([&proxy.user, &proxy.uid, &proxy.group].into_iter().flatten().cloned());
            stripped_prefixes.extend(proxy.extra_prefixes.iter().cloned());
        }
        stripped.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        stripped.dedup();
        stripped_prefixes.sort();
        stripped_prefixes.dedup();
        let mut hints: Vec<DistinguishedName> = Vec::new();
        for subject in front_proxy
            .iter()
            .map(|p| &p.authorities)
            .chain(&clients)
            .flat_map(Authorities::subjects)
        {
            if hints.iter().all(|known| known.as_ref() != subject.as_ref()) {
                hints.push(subject);
            }
        }
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        Self {
            generation,
            front_proxy,
            clients,
            hints,
            stripped,
            stripped_prefixes,
        }
    }

    /// Nobody: every certificate is a stranger's and no header is believed.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new(None, None)
    }

    /// In a cell from which everybody reads.
    #[must_use]
    pub fn shared(self) -> SharedTrust {
        Arc::new(ArcSwap::from_pointee(self))
    }

    /// Differs between any two snapshots of this process.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The requestheader part.
    #[must_use]
    pub fn front_proxy(&self) -> Option<&FrontProxy> {
        self.front_proxy.as_ref()
    }

    /// The client CA.
    #[must_use]
    pub fn clients(&self) -> Option<&Authorities> {
        self.clients.as_ref()
    }

    /// Subjects of all authorities: what the handshake tells clients, so that they choose the right certificate or none.
    #[must_use]
    pub fn hints(&self) -> &[DistinguishedName] {
        &self.hints
    }

    /// Removes every header that could claim an identity, and `Authorization`.
    pub fn strip(&self, headers: &mut HeaderMap) {
        for name in &self.stripped {
            headers.remove(name);
        }
        while let Some(name) = self.claiming(headers) {
            headers.remove(name);
        }
    }

    fn claiming(&self, headers: &HeaderMap) -> Option<HeaderName> {
        headers
            .keys()
            .find(|name| self.stripped_prefixes.iter().any(|p| name.as_str().starts_with(p.as_str())))
            .cloned()
    }
}

// === impl Authorities ===

impl Authorities {
    /// Reads a PEM bundle. Other PEM sections in it are skipped.
    ///
    /// # Errors
    /// [`TrustError`] if a certificate cannot be read or there is none: half a bundle is never used.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TrustError> {
        let mut anchors = Vec::new();
        for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let der = certificate.map_err(TrustError::Pem)?;
            let anchor = webpki::anchor_from_trusted_cert(&der)
                .map_err(|_| TrustError::Certificate(index))?
                .to_owned();
            let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| TrustError::Certificate(index))?;
            let validity = parsed.validity();
            anchors.push(Anchor {
                anchor,
                not_before: validity.not_before.timestamp(),
                not_after: validity.not_after.timestamp(),
            });
        }
        if anchors.is_empty() {
            Err(TrustError::Empty)
        } else {
            Ok(Self { anchors })
        }
    }

    /// Whether a chain (leaf first) leads here and its leaf may be used by a client.
    ///
    /// # Errors
    /// webpki's reason.
    pub fn verify(&self, chain: &[CertificateDer<'static>], now: Duration) -> Result<(), webpki::Error> {
        let (leaf, intermediates) = chain.split_first().ok_or(webpki::Error::UnknownIssuer)?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let anchors: Vec<TrustAnchor<'_>> = self
            .anchors
            .iter()
            .filter(|a| a.not_before <= seconds && seconds <= a.not_after)
            .map(|a| a.anchor.clone())
            .collect();
        let now = UnixTime::since_unix_epoch(now);
        EndEntityCert::try_from(leaf)?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                intermediates,
                now,
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map(|_path| ())
    }

    fn subjects(&self) -> impl Iterator<Item = DistinguishedName> + '_ {
        self.anchors.iter().map(|a| DistinguishedName::in_sequence(&a.anchor.subject))
    }
}

// === impl FrontProxy ===

impl FrontProxy {
    /// A proxy whose certificate comes from `authorities` under one of `allowed_names` (any, if the list is empty).
    ///
    /// # Errors
    /// [`TrustError`] for an unusable header name.
    pub fn new(authorities: Authorities, allowed_names: Vec<String>, names: &HeaderNames) -> Result<Self, TrustError> {
        let parse = |list: &[String]| {
            list.iter()
                .map(|n| n.trim().parse().map_err(|_| TrustError::Header(n.clone())))
                .collect::<Result<Vec<HeaderName>, _>>()
        };
        let user = parse(&names.user)?;
        if user.is_empty() {
            return Err(TrustError::NoUserHeader);
        }
        let prefixes = parse(&names.extra_prefixes)?;
        Ok(Self {
            authorities,
            allowed_names,
            user,
            uid: parse(&names.uid)?,
            group: parse(&names.group)?,
            extra_prefixes: prefixes.into_iter().map(|p| p.as_str().to_owned()).collect(),
        })
    }
}

// === impl HeaderNames ===

impl Default for HeaderNames {
    /// The names that every distribution uses.
    fn default() -> Self {
        Self {
            user: vec!["x-remote-user".into()],
            uid: vec!["x-remote-uid".into()],
            group: vec!["x-remote-group".into()],
            extra_prefixes: vec!["x-remote-extra-".into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_bundle_is_never_used() {
        let key = rcgen::KeyPair::generate().unwrap();
        let good = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (name, pem, want) in [
            ("one", good.clone(), Some(1)),
            ("two, with text between", format!("# first\n{good}\nsecond\n{good}"), Some(2)),
            ("a key beside it", format!("{}{good}", key.serialize_pem()), Some(1)),
            ("nothing", String::new(), None),
            ("no PEM", "hello".into(), None),
            ("one of two broken", format!("{good}{broken}"), None),
        ] {
            assert_eq!(
                Authorities::from_pem(pem.as_bytes()).ok().map(|a| a.anchors.len()),
                want,
                "{name}"
            );
        }
    }

    #[test]
    fn header_names_are_checked() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        let usual = HeaderNames::default;
        for (name, names, ok) in [
            ("usual", usual(), true),
            (
                "blanks around",
                HeaderNames {
                    user: vec![" X-Remote-User ".into()],
                    ..usual()
                },
                true,
            ),
            ("no uid", HeaderNames { uid: vec![], ..usual() }, true),
            ("no user", HeaderNames { user: vec![], ..usual() }, false),
            (
                "empty",
                HeaderNames {
                    group: vec![String::new()],
                    ..usual()
                },
                false,
            ),
            (
                "impossible",
                HeaderNames {
                    extra_prefixes: vec!["a b".into()],
                    ..usual()
                },
                false,
            ),
        ] {
            let authorities = Authorities::from_pem(pem.as_bytes()).unwrap();
            assert_eq!(FrontProxy::new(authorities, vec![], &names).is_ok(), ok, "{name}");
        }
    }
}
