//! Versions, cipher suites and curves by the names that Go has for them (component-base `cli/flag/ciphersuites_flag.go`), as far as
//! rustls has the things.
//!
//! rustls has no TLS below 1.2, no CBC, no RSA key exchange, no RC4 and no 3DES. Who asks for one of these is told so at the start:
//! leaving it out silently would be another server than the one that was asked for. As in Go, a list of suites only
//! chooses among those of TLS 1.2; the suites of 1.3 are always on.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{CipherSuite, NamedGroup, SupportedCipherSuite, SupportedProtocolVersion};

/// `--tls-min-version`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// `VersionTLS12`.
    #[default]
    Tls12,
    /// `VersionTLS13`.
    Tls13,
}

/// What a handshake may use.
#[derive(Debug, Clone)]
pub struct Suites {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
}

/// Why a name cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSuite {
    /// Go's sentence.
    #[error("unknown tls version {0:?}")]
    UnknownVersion(String),
    /// Go has it, rustls has not.
    #[error("--tls-min-version: {0} is not spoken here, TLS begins at 1.2; give VersionTLS12 or VersionTLS13")]
    OldVersion(String),
    /// Go's sentence.
    #[error("Cipher suite {0} not supported or doesn't exist")]
    UnknownSuite(String),
    /// Go has it, rustls has not.
    #[error(
        "--tls-cipher-suites: {0} is not implemented by rustls, which has no CBC mode, no RSA key exchange, no RC4 and no 3DES; leave \
         it out"
    )]
    NoSuchSuite(String),
    /// Go has it or not, rustls has not.
    #[error("--tls-curve-preferences: curve {0} is not implemented here; there are 23 (P-256), 24 (P-384) and 29 (X25519)")]
    NoSuchCurve(i32),
}

/// Suites that Go prefers and rustls has, by Go's names; the last two are older names of the same things.
const SUITES: [(&str, CipherSuite); 11] = [
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Suites that Go has (the first four preferred, the others insecure) and rustls has not.
const GO_ALONE: [&str; 16] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

static FROM_12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
static FROM_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

// === impl MinVersion ===

impl MinVersion {
    /// By Go's name; the empty one is the default.
    ///
    /// # Errors
    /// [`BadSuite`] for versions that Go does not know and for those before 1.2.
    pub fn named(name: &str) -> Result<Self, BadSuite> {
        match name {
            "" | "VersionTLS12" => Ok(Self::Tls12),
            "VersionTLS13" => Ok(Self::Tls13),
            "VersionTLS10" | "VersionTLS11" => Err(BadSuite::OldVersion(name.into())),
            _ => Err(BadSuite::UnknownVersion(name.into())),
        }
    }
}

// === impl Suites ===

impl Suites {
    /// `--tls-min-version`, `--tls-cipher-suites` and `--tls-curve-preferences`; an empty list means all that there are.
    ///
    /// # Errors
    /// [`BadSuite`] for the first that cannot be had.
    pub fn new(min_version: MinVersion, suites: &[String], curves: &[i32]) -> Result<Self, BadSuite> {
        let mut provider = rustls::crypto::ring::default_provider();
        if !suites.is_empty() {
            let wanted = suites.iter().map(|name| suite(name)).collect::<Result<Vec<_>, _>>()?;
            let is_13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
            provider.cipher_suites.retain(|s| is_13(s) || wanted.contains(&s.suite()));
        }
        if !curves.is_empty() {
            let wanted = curves
                .iter()
                .map(|id| curve(&provider.kx_groups, *id))
                .collect::<Result<Vec<_>, _>>()?;
            provider.kx_groups.retain(|group| wanted.contains(&group.name()));
        }
        Ok(Self {
            provider: Arc::new(provider),
            versions: match min_version {
                MinVersion::Tls12 => FROM_12,
                MinVersion::Tls13 => FROM_13,
            },
        })
    }

    /// The names that [`Suites::new`] takes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SUITES.iter().map(|(name, _)| *name)
    }
}

impl Default for Suites {
    /// TLS 1.2 and 1.3, all suites, all curves.
    fn default() -> Self {
        Self {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            versions: FROM_12,
        }
    }
}

fn suite(name: &str) -> Result<CipherSuite, BadSuite> {
    if GO_ALONE.contains(&name) {
        return Err(BadSuite::NoSuchSuite(name.into()));
    }
    let found = SUITES.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, suite)| *suite)
        .ok_or_else(|| BadSuite::UnknownSuite(name.into()))
}

fn curve(groups: &[&'static dyn SupportedKxGroup], id: i32) -> Result<NamedGroup, BadSuite> {
    groups
        .iter()
        .map(|group| group.name())
        .find(|name| i32::from(u16::from(*name)) == id)
        .ok_or(BadSuite::NoSuchCurve(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites_of(names: &[&str]) -> Result<usize, BadSuite> {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        Suites::new(MinVersion::Tls12, &names, &[]).map(|s| s.provider.cipher_suites.len())
    }

    #[test]
    fn suites_have_gos_names() {
        for (name, _) in SUITES {
            assert!(suites_of(&[name]).is_ok(), "{name}");
        }
        for name in GO_ALONE {
            assert_eq!(suites_of(&[name]), Err(BadSuite::NoSuchSuite(name.into())));
        }
        for (names, want) in [
            (&[][..], 9),
            (&["TLS_AES_128_GCM_SHA256"], 3),
            (&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"], 4),
            (
                &[
                    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
                    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
                ],
                4,
            ),
        ] {
            assert_eq!(suites_of(names), Ok(want), "{names:?}");
        }
        let unknown = suites_of(&["TLS_NULL"]).unwrap_err();
        assert_eq!(unknown.to_string(), "Cipher suite TLS_NULL not supported or doesn't exist");
    }

    #[test]
    fn versions_have_gos_names() {
        for (name, want) in [
            ("", Ok(MinVersion::Tls12)),
            ("VersionTLS12", Ok(MinVersion::Tls12)),
            ("VersionTLS13", Ok(MinVersion::Tls13)),
            ("VersionTLS11", Err(BadSuite::OldVersion("VersionTLS11".into()))),
            ("VersionTLS10", Err(BadSuite::OldVersion("VersionTLS10".into()))),
            ("TLS12", Err(BadSuite::UnknownVersion("TLS12".into()))),
        ] {
            assert_eq!(MinVersion::named(name), want, "{name}");
        }
    }

    #[test]
    fn curves_have_gos_numbers() {
        for (ids, want) in [
            (&[][..], Ok(3)),
            (&[23], Ok(1)),
            (&[29, 24], Ok(2)),
            (&[25], Err(BadSuite::NoSuchCurve(25))),
            (&[4588], Err(BadSuite::NoSuchCurve(4588))),
            (&[-1], Err(BadSuite::NoSuchCurve(-1))),
        ] {
            let got = Suites::new(MinVersion::Tls13, &[], ids).map(|s| s.provider.kx_groups.len());
            assert_eq!(got, want, "{ids:?}");
        }
    }
}
