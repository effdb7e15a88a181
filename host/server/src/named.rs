//! Certificates for names (`--tls-sni-cert-key`): which of them a client that says a name gets.
//!
//! As in apiserver (`dynamiccertificates/named_certificates.go`): a full name wins over one with a wildcard, patterns that were
//! given win over names that were read out of a certificate, and an earlier pair over a later one. A wildcard stands for one
//! label. Certificates are not chosen by IP address: a client that connects to one says no name, and gets the
//! main certificate.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use outrigger_api::manifest::is_dns_subdomain;
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;

/// One pair of files, and the names that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Domain names, maybe with a leading `*.`; none for those in the certificate.
    pub names: Vec<String>,
}

/// Why a pair's text cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPair {
    /// Not two files.
    #[error("expected comma separated certificate and key file paths")]
    Files,
    /// An empty name.
    #[error("empty names list is not allowed")]
    NoName,
    /// Certificates are not chosen by address here.
    #[error(
        "{0} is an IP address: certificates are chosen by the name that a client says, and none says an address; leave it out"
    )]
    Address(String),
}

/// Keys by name.
#[derive(Debug, Default)]
pub(crate) struct ByName(HashMap<String, Arc<CertifiedKey>>);

// === impl Named ===

impl FromStr for Named {
    type Err = BadPair;

    /// Reads `CERT,KEY` or `CERT,KEY:NAME,NAME…` (component-base `cli/flag/namedcertkey_flag.go`).
    fn from_str(text: &str) -> Result<Self, BadPair> {
        let text = text.trim();
        let (files, names) = match text.split_once(':') {
            Some((files, names)) => (files, names.split(',').map(|n| n.trim().to_lowercase()).collect()),
            None => (text, Vec::new()),
        };
        if names.iter().any(String::is_empty) {
            return Err(BadPair::NoName);
        }
        if let Some(address) = names.iter().find(|name| name.parse::<IpAddr>().is_ok()) {
            return Err(BadPair::Address(address.clone()));
        }
        let mut parts = files.split(',').map(str::trim);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(certificate), Some(key), None) if !certificate.is_empty() && !key.is_empty() => Ok(Self {
                certificate: certificate.into(),
                key: key.into(),
                names,
            }),
            _ => Err(BadPair::Files),
        }
    }
}

// === impl ByName ===

impl ByName {
    /// Of pairs in the order of their flags, each with the names that were given for it.
    pub(crate) fn new<'a>(pairs: impl DoubleEndedIterator<Item = (&'a [String], Arc<CertifiedKey>)>) -> Self {
        let (mut read, mut given) = (HashMap::new(), HashMap::new());
        // Backwards, so that an earlier pair overwrites a later one.
        for (names, key) in pairs.rev() {
            for name in names {
                given.insert(name.clone(), Arc::clone(&key));
            }
            if names.is_empty() {
                for name in names_of(&key) {
                    read.insert(name, Arc::clone(&key));
                }
            }
        }
        read.extend(given);
        Self(read)
    }

    /// The key for a name that a client says.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        if self.0.is_empty() {
            return None;
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let wild = || {
            name.split_once('.')
                .and_then(|(_, parent)| self.0.get(&format!("*.{parent}")))
        };
        self.0.get(&name).or_else(wild).cloned()
    }
}

/// The common name, if it is a domain name, and the DNS names of a certificate.
fn names_of(key: &CertifiedKey) -> Vec<String> {
    let Some(leaf) = key.cert.first() else { return Vec::new() };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(leaf) else {
        return Vec::new();
    };
    let mut names: Vec<String> = certificate
        .subject()
        .iter_common_name()
        .last()
        .and_then(|name| name.as_str().ok())
        .filter(|name| is_dns_subdomain(name.trim_start_matches("*.")) && name.parse::<IpAddr>().is_err())
        .map(str::to_lowercase)
        .into_iter()
        .collect();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        names.extend(alternatives.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_lowercase()),
            _ => None,
        }));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of component-base `namedcertkey_flag_test.go`.
    #[test]
    fn pairs_are_read() {
        type Row<'a> = (&'a str, Result<(&'a str, &'a str, &'a [&'a str]), BadPair>);
        let rows: [Row<'_>; 10] = [
            ("foo.crt,foo.key", Ok(("foo.crt", "foo.key", &[]))),
            ("  foo.crt , foo.key    ", Ok(("foo.crt", "foo.key", &[]))),
            ("foo.crt,foo.key:abc", Ok(("foo.crt", "foo.key", &["abc"]))),
            (
                "foo.crt,foo.key: *.abc.com , Def",
                Ok(("foo.crt", "foo.key", &["*.abc.com", "def"])),
            ),
            ("foo.crt,foo.key:", Err(BadPair::NoName)),
            ("foo.crt,foo.key:,", Err(BadPair::NoName)),
            ("foo.crt", Err(BadPair::Files)),
            ("", Err(BadPair::Files)),
            ("a,b,c", Err(BadPair::Files)),
            ("foo.crt,foo.key:10.0.0.1", Err(BadPair::Address("10.0.0.1".into()))),
        ];
        for (text, want) in rows {
            let want = want.map(|(certificate, key, names)| Named {
                certificate: certificate.into(),
                key: key.into(),
                names: names.iter().map(|n| (*n).to_owned()).collect(),
            });
            assert_eq!(text.parse::<Named>(), want, "{text:?}");
        }
    }

    fn key(names: &[&str]) -> Arc<CertifiedKey> {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let pair = crate::Authority::create("test")
            .unwrap()
            .serving(&names, std::time::Duration::from_secs(60))
            .unwrap();
        crate::certificates::load(
            &rustls::crypto::ring::default_provider(),
            pair,
            std::path::Path::new("memory"),
        )
        .unwrap()
        .key
    }

    /// The cases of apiserver `named_certificates_test.go`.
    #[test]
    fn the_best_name_wins() {
        let (first, second, wild) = (key(&["test.com", "x.y.com"]), key(&["test.com"]), key(&["*.test.com"]));
        let patterns = |list: &[&str]| -> Vec<String> { list.iter().map(|p| (*p).to_owned()).collect() };
        let (none, given, star) = (patterns(&[]), patterns(&["other.com"]), patterns(&["*.y.com"]));
        let of = |pairs: &[(&Vec<String>, &Arc<CertifiedKey>)], name: &str| {
            let by_name = ByName::new(pairs.iter().map(|(names, key)| (names.as_slice(), Arc::clone(key))));
            by_name.get(name)
        };
        let is = |got: Option<Arc<CertifiedKey>>, want: Option<&Arc<CertifiedKey>>| match (&got, want) {
            (Some(got), Some(want)) => Arc::ptr_eq(got, want),
            (None, None) => true,
            _ => false,
        };
        for (name, pairs, asked, want) in [
            ("no pairs", &[][..], "test.com", None),
            ("names of the certificate", &[(&none, &first)], "test.com", Some(&first)),
            ("in other letters", &[(&none, &first)], "Test.COM.", Some(&first)),
            (
                "an earlier pair wins",
                &[(&none, &first), (&none, &second)],
                "test.com",
                Some(&first),
            ),
            ("given names replace its own", &[(&given, &first)], "test.com", None),
            (
                "given names win",
                &[(&none, &first), (&patterns(&["test.com"]), &second)],
                "test.com",
                Some(&second),
            ),
            ("a wildcard", &[(&none, &wild)], "a.test.com", Some(&wild)),
            ("one label only", &[(&none, &wild)], "a.b.test.com", None),
            ("not the bare domain", &[(&none, &wild)], "test.com", None),
            (
                "a full name beats a wildcard",
                &[(&star, &second), (&none, &first)],
                "x.y.com",
                Some(&first),
            ),
            ("nobody's name", &[(&none, &first)], "nobody.com", None),
        ] {
            assert!(is(of(pairs, asked), want), "{name}");
        }
    }
}
