//! A certificate authority as a Secret keeps it: who signs, whom to believe, and when another one is due. Pure: nothing is read or
//! written here, and the time is the caller's.
//!
//! The keys are those of a Secret of type `kubernetes.io/tls` and of cert-manager's `Certificate` with `isCA`: `tls.crt` and `tls.key`
//! sign, `ca.crt` is whom clients are to believe. In ours `ca.crt` holds the present authority and those before it that are not over; in
//! cert-manager's `tls.crt` may be an intermediate, and `ca.crt` the root above it. Whatever the keys say is tried before it counts: a
//! leaf made with them must be one that `ca.crt` vouches for.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;

use crate::authority::{Authority, AuthorityError, PemPair};
use crate::bundle::{Bundle, end};
use crate::private_key::{armoured, pkcs8};

/// What the Secret holds.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pems {
    /// `tls.crt`.
    pub certificate: String,
    /// `tls.key`.
    pub key: String,
    /// `ca.crt`.
    pub bundle: String,
}

/// An authority that can sign and that its bundle vouches for.
pub struct Ca {
    authority: Authority,
    /// What stands between a leaf and the bundle, PEM; empty if the authority is its own.
    between: String,
    bundle: Bundle,
    begins: SystemTime,
    ends: SystemTime,
    pems: Pems,
}

/// A serving certificate with its key, and its time.
#[derive(Debug, Clone)]
pub struct Leaf {
    pair: PemPair,
    made: SystemTime,
    ends: SystemTime,
}

/// Why what the Secret holds is no authority. Each is about one key of it.
#[derive(Debug, thiserror::Error)]
pub enum NotACa {
    /// No or broken PEM.
    #[error("its {0} holds no readable certificate in PEM")]
    NoCertificate(&'static str),
    /// A leaf, say.
    #[error("the certificate in its tls.crt is not an authority (basicConstraints CA:TRUE, keyUsage keyCertSign)")]
    NotAnAuthority,
    /// Of another kind, or broken.
    #[error("its tls.key holds no private key in PEM that can sign here (RSA, P-256, P-384 or Ed25519)")]
    NoKey,
    /// Of somebody else.
    #[error("its tls.key is not the key of the certificate in its tls.crt")]
    AnothersKey,
    /// Nobody believes it any more.
    #[error("the certificate in its tls.crt has ended")]
    Over,
    /// Somebody's clock is wrong.
    #[error("the certificate in its tls.crt begins in the future")]
    NotYet,
    /// A leaf under it would be believed by nobody.
    #[error("its ca.crt does not vouch for {0:?} under its tls.crt")]
    NotVouchedFor(String),
    /// rcgen's reason.
    #[error("its tls.crt and tls.key cannot sign: {0}")]
    CannotSign(#[from] AuthorityError),
}

// === impl Pems ===

impl Pems {
    /// Whether nobody has put anything in yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificate.is_empty() && self.key.is_empty() && self.bundle.is_empty()
    }
}

impl fmt::Debug for Pems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pems")
            .field("certificate", &self.certificate)
            .field("bundle", &self.bundle)
            .finish_non_exhaustive()
    }
}

// === impl Ca ===

impl Ca {
    /// A new one, alone in its bundle.
    ///
    /// # Errors
    /// [`AuthorityError`] if the system gives no key.
    pub fn create(lifetime: Duration, now: SystemTime) -> Result<Self, AuthorityError> {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        // Two authorities of one name and different keys confuse clients that look issuers up by name.
        let authority = Authority::create_at(&format!("outrigger-ca@{seconds}"), now, lifetime)?;
        let pems = Pems {
            certificate: authority.pem().to_owned(),
            key: authority.key_pem(),
            bundle: authority.pem().to_owned(),
        };
        Ok(Self {
            between: String::new(),
            bundle: Bundle::read(pems.bundle.as_bytes()).unwrap_or_default(),
            begins: now,
            ends: now + lifetime,
            authority,
            pems,
        })
    }

    /// What a Secret says; `names` are those that leaves will have. Without a `ca.crt` the certificate itself is believed.
    ///
    /// # Errors
    /// [`NotACa`]: it must not be used, and not be written over either.
    pub fn read(pems: &Pems, names: &[String], now: SystemTime) -> Result<Self, NotACa> {
        let chain = Bundle::read(pems.certificate.as_bytes()).ok_or(NotACa::NoCertificate("tls.crt"))?;
        let bundle = match pems.bundle.trim() {
            "" => chain.clone(),
            pem => Bundle::read(pem.as_bytes()).ok_or(NotACa::NoCertificate("ca.crt"))?,
        };
        let own = chain.iter().next().ok_or(NotACa::NoCertificate("tls.crt"))?;
        let (_, x509) = x509_parser::parse_x509_certificate(own).map_err(|_| NotACa::NoCertificate("tls.crt"))?;
        let may_sign = x509
            .key_usage()
            .ok()
            .flatten()
            .is_none_or(|usage| usage.value.key_cert_sign());
        if !x509.is_ca() || !may_sign {
            return Err(NotACa::NotAnAuthority);
        }
        let key = pkcs8(&pems.key, x509.public_key().raw).ok_or(NotACa::NoKey)?;
        let authority = Authority::from_pem(&armoured("CERTIFICATE", own), &key).map_err(|_| NotACa::NoKey)?;
        if authority.public_key() != &*x509.public_key().subject_public_key.data {
            return Err(NotACa::AnothersKey);
        }
        let time = |at: i64| {
            u64::try_from(at)
                .ok()
                .map(|at| SystemTime::UNIX_EPOCH + Duration::from_secs(at))
        };
        let (Some(begins), Some(ends)) = (time(x509.validity().not_before.timestamp()), end(own)) else {
            return Err(NotACa::Over);
        };
        if ends <= now {
            return Err(NotACa::Over);
        }
        if now < begins {
            return Err(NotACa::NotYet);
        }
        let is_its_own = |der: &CertificateDer<'_>| {
            x509_parser::parse_x509_certificate(der).is_ok_and(|(_, x509)| x509.issuer() == x509.subject())
        };
        let between = chain.iter().filter(|der| !is_its_own(der));
        let ca = Self {
            authority,
            between: between.map(|der| armoured("CERTIFICATE", der)).collect(),
            bundle,
            begins,
            ends,
            pems: pems.clone(),
        };
        let leaf = ca.issue(names, ends.duration_since(now).unwrap_or_default(), now)?;
        match names.iter().find(|name| !ca.bundle.vouches_for(&leaf, name, now)) {
            Some(name) => Err(NotACa::NotVouchedFor(name.clone())),
            None => Ok(ca),
        }
    }

    /// What has to be kept in its place: a new authority when a third of this one's time is left (its own, or `lifetime`, whichever is
    /// less), which believes this one too; or the same without those that are over. None while all is well.
    ///
    /// # Errors
    /// [`AuthorityError`] if the system gives no key.
    pub fn successor(&self, lifetime: Duration, now: SystemTime) -> Result<Option<Pems>, AuthorityError> {
        let whole = self.ends.duration_since(self.begins).unwrap_or_default();
        let left = self.ends.duration_since(now).unwrap_or_default();
        let before = self.bundle.without_over(now);
        if left < whole.min(lifetime) / 3 {
            let next = Self::create(lifetime, now)?;
            return Ok(Some(Pems {
                bundle: next.bundle.and(&before).pem(),
                ..next.pems
            }));
        }
        Ok((!before.is_as(&self.bundle)).then(|| Pems {
            bundle: before.pem(),
            ..self.pems.clone()
        }))
    }

    /// A leaf for these names, which does not outlive its authority.
    ///
    /// # Errors
    /// [`AuthorityError`] for an impossible name.
    pub fn issue(&self, names: &[String], lifetime: Duration, now: SystemTime) -> Result<Leaf, AuthorityError> {
        let lifetime = lifetime.min(self.ends.duration_since(now).unwrap_or_default());
        let mut pair = self.authority.serving_at(names, now, lifetime)?;
        pair.certificate.push_str(&self.between);
        Ok(Leaf {
            pair,
            made: now,
            ends: now + lifetime,
        })
    }

    /// As the Secret holds it.
    #[must_use]
    pub fn pems(&self) -> &Pems {
        &self.pems
    }

    /// Whom to believe.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.ends <= now
    }

    /// Whether both sign with one key under one certificate.
    #[must_use]
    pub fn signs_as(&self, other: &Self) -> bool {
        self.pems.certificate == other.pems.certificate && self.pems.key == other.pems.key
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca")
            .field("bundle", &self.bundle)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

// === impl Leaf ===

impl Leaf {
    /// The chain, leaf first, and the key.
    #[must_use]
    pub fn pair(&self) -> &PemPair {
        &self.pair
    }

    /// Whether less than a third of its time is left.
    #[must_use]
    pub fn is_aging(&self, now: SystemTime) -> bool {
        let whole = self.ends.duration_since(self.made).unwrap_or_default();
        self.ends.duration_since(now).unwrap_or_default() < whole / 3
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.ends <= now
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

    use super::*;

    /// As cert-manager writes them: certificate and key.
    pub(crate) const CERT_MANAGER_RSA: (&str, &str) =
        (include_str!("../testdata/ca-rsa.crt"), include_str!("../testdata/ca-rsa.key"));
    pub(crate) const CERT_MANAGER_EC: (&str, &str) =
        (include_str!("../testdata/ca-ec.crt"), include_str!("../testdata/ca-ec.key"));

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn names() -> Vec<String> {
        ["metrics-server.kube-system.svc", "127.0.0.1"].map(str::to_owned).to_vec()
    }

    fn pems(certificate: &str, key: &str, bundle: &str) -> Pems {
        Pems {
            certificate: certificate.into(),
            key: key.into(),
            bundle: bundle.into(),
        }
    }

    /// An intermediate under a root: chain, key, root.
    fn intermediate() -> Pems {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = params("root").self_signed(&root_key).unwrap();
        let between = params("between")
            .signed_by(&key, &Issuer::new(params("root"), root_key))
            .unwrap();
        pems(&between.pem(), &key.serialize_pem(), &root.pem())
    }

    #[test]
    fn what_others_make_is_used() {
        let now = SystemTime::now();
        let own = Ca::create(DAY, now).unwrap().pems().clone();
        let (rsa, ec) = (CERT_MANAGER_RSA, CERT_MANAGER_EC);
        for (name, pems) in [
            ("our own", own.clone()),
            ("without ca.crt", pems(&own.certificate, &own.key, "")),
            ("RSA in PKCS#1", pems(rsa.0, rsa.1, rsa.0)),
            ("P-256 in SEC 1", pems(ec.0, ec.1, ec.0)),
            ("an intermediate", intermediate()),
            ("more than itself in ca.crt", pems(ec.0, ec.1, &(rsa.0.to_owned() + ec.0))),
        ] {
            let ca = Ca::read(&pems, &names(), now).unwrap_or_else(|error| panic!("{name}: {error}"));
            let leaf = ca.issue(&names(), DAY, now).unwrap();
            assert!(
                ca.bundle().vouches_for(&leaf, "metrics-server.kube-system.svc", now),
                "{name}"
            );
            assert!(!ca.bundle().vouches_for(&leaf, "other.kube-system.svc", now), "{name}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_sentence() {
        let now = SystemTime::now();
        let own = Ca::create(DAY, now).unwrap();
        let other = Ca::create(DAY, now).unwrap();
        let leaf = own.issue(&names(), DAY, now).unwrap();
        let (own, other) = (own.pems(), other.pems());
        for (name, pems, sentence) in [
            ("empty", Pems::default(), "its tls.crt holds no readable"),
            ("text", pems("x", "y", "z"), "its tls.crt holds no readable"),
            (
                "a broken bundle",
                pems(&own.certificate, &own.key, "x"),
                "its ca.crt holds no readable",
            ),
            ("no key", pems(&own.certificate, "", &own.bundle), "its tls.key holds no"),
            (
                "a leaf",
                pems(&leaf.pair().certificate, &leaf.pair().key, &own.bundle),
                "is not an authority",
            ),
            (
                "another's key",
                pems(&own.certificate, &other.key, &own.bundle),
                "is not the key of",
            ),
            (
                "another's bundle",
                pems(&own.certificate, &own.key, &other.bundle),
                "does not vouch for",
            ),
        ] {
            let refused = Ca::read(&pems, &names(), now).unwrap_err().to_string();
            assert!(refused.contains(sentence), "{name}: {refused}");
        }
        assert!(matches!(Ca::read(own, &names(), now + DAY * 2), Err(NotACa::Over)));
        assert!(matches!(Ca::read(own, &names(), now - DAY), Err(NotACa::NotYet)));
        assert!(!format!("{own:?}").contains("PRIVATE"), "a key is never printed");
    }

    #[test]
    fn an_authority_is_followed_by_another_in_time() {
        let now = SystemTime::now();
        let first = Ca::create(DAY * 30, now).unwrap();
        let read = |pems: &Pems, at| Ca::read(pems, &names(), at).unwrap();
        assert_eq!(first.successor(DAY * 30, now + DAY * 19).unwrap(), None);
        let late = now + DAY * 21;
        let second = read(&first.successor(DAY * 30, late).unwrap().unwrap(), late);
        assert!(!second.signs_as(&first) && second.bundle().is_as(&second.bundle().and(first.bundle())));
        let (old, new) = (
            first.issue(&names(), DAY, late).unwrap(),
            second.issue(&names(), DAY, late).unwrap(),
        );
        let vouches = |bundle: &Bundle, leaf| bundle.vouches_for(leaf, "127.0.0.1", late);
        assert!(vouches(second.bundle(), &old) && vouches(second.bundle(), &new));
        assert!(vouches(first.bundle(), &old) && !vouches(first.bundle(), &new));
        assert_eq!(second.successor(DAY * 30, late).unwrap(), None);
        let over = now + DAY * 31;
        let alone = read(&second.successor(DAY * 30, over).unwrap().unwrap(), over);
        assert!(alone.signs_as(&second) && !alone.bundle().is_as(second.bundle()));
        assert_eq!(alone.successor(DAY * 30, over).unwrap(), None, "who is over has left");

        // A shorter --ca-lifetime does not make a long-lived authority old at once.
        assert_eq!(first.successor(DAY, now + DAY * 29).unwrap(), None);
    }

    #[test]
    fn a_leaf_is_renewed_in_time_and_never_outlives_its_authority() {
        let now = SystemTime::now();
        let ca = Ca::create(DAY * 3, now).unwrap();
        for (lifetime, young, aging) in [(DAY, DAY / 2, DAY * 3 / 4), (DAY * 90, DAY, DAY * 5 / 2)] {
            let leaf = ca.issue(&names(), lifetime, now).unwrap();
            assert!(!leaf.is_aging(now + young) && leaf.is_aging(now + aging), "{lifetime:?}");
            assert!(!leaf.is_over(now + aging) && leaf.is_over(now + DAY * 3), "{lifetime:?}");
        }
    }
}
