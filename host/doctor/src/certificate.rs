//! Certificates and bundles, judged as Go's verifier judges them: first their time, then their names, then who signed them.

use jiff::Timestamp;
use outrigger_cluster::Advice;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What ends sooner is worth a warning: 30 days, in seconds.
const SOON: i64 = 30 * 24 * 3600;

/// Certificate authorities.
#[derive(Debug, Clone)]
pub(crate) struct Bundle {
    authorities: Vec<Authority>,
}

#[derive(Debug, Clone)]
struct Authority {
    der: CertificateDer<'static>,
    from: i64,
    until: i64,
}

/// What is wrong with a certificate that somebody shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flaw {
    Unreadable(String),
    Expired(String),
    NotYet(String),
    /// `; it is for …`.
    Name(String),
    Signer,
}

/// What a server's certificate is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    Server,
    Client,
}

// === impl Bundle ===

impl Bundle {
    /// Reads PEM; the error says what it is instead.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let all: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("it is not PEM ({error})"))?;
        Self::from_der(all)
    }

    pub(crate) fn from_der(all: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        if all.is_empty() {
            return Err("there is no certificate in it".into());
        }
        let mut authorities = Vec::new();
        for (index, der) in all.into_iter().enumerate() {
            let (from, until) = times(&der).ok_or_else(|| format!("certificate {} in it cannot be read", index + 1))?;
            authorities.push(Authority { der, from, until });
        }
        Ok(Self { authorities })
    }

    /// Whether any of it is still good, and for how long. `what` names the bundle.
    pub(crate) fn judge(&self, what: &str, now: i64) -> Option<Advice> {
        let last = self.authorities.iter().map(|a| a.until).max()?;
        let first = self.authorities.iter().map(|a| a.from).min()?;
        let bundle = what.to_owned();
        if last < now {
            Some(Advice::AuthorityExpired { bundle, when: day(last) })
        } else if first > now {
            Some(Advice::AuthorityNotYet {
                bundle,
                when: day(first),
            })
        } else if last < now + SOON {
            Some(Advice::AuthorityExpiring { bundle, when: day(last) })
        } else {
            None
        }
    }

    /// The last day on which any of it is good.
    pub(crate) fn until(&self) -> String {
        self.authorities.iter().map(|a| a.until).max().map(day).unwrap_or_default()
    }

    /// Whether a chain (leaf first) leads here. An expired authority is none, and one that shows itself is good, as in Go.
    pub(crate) fn signs(&self, chain: &[CertificateDer<'static>], usage: Usage, now: i64) -> Result<(), String> {
        let (leaf, intermediates) = chain.split_first().ok_or("no certificate")?;
        let good: Vec<&Authority> = self.authorities.iter().filter(|a| a.from <= now && now <= a.until).collect();
        if good.iter().any(|a| a.der == *leaf) {
            return Ok(());
        }
        let anchors: Vec<TrustAnchor<'_>> = good
            .iter()
            .filter_map(|a| webpki::anchor_from_trusted_cert(&a.der).ok())
            .collect();
        let usage = match usage {
            Usage::Server => KeyUsage::server_auth(),
            Usage::Client => KeyUsage::client_auth(),
        };
        let seconds = u64::try_from(now).unwrap_or_default();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        EndEntityCert::try_from(leaf)
            .and_then(|leaf| {
                leaf.verify_for_usage(
                    webpki::ALL_VERIFICATION_ALGS,
                    &anchors,
                    intermediates,
                    time,
                    usage,
                    None,
                    None,
                )
                .map(|_| ())
            })
            .map_err(|error| error.to_string())
    }
}

/// Judges what a server shows: in its time, for that name, and signed by the bundle if there is one to compare with.
pub(crate) fn judge_server(chain: &[CertificateDer<'static>], name: &str, bundle: Option<&Bundle>, now: i64) -> Result<(), Flaw> {
    let leaf = chain.first().ok_or_else(|| Flaw::Unreadable("none was shown".into()))?;
    let (from, until) = times(leaf).ok_or_else(|| Flaw::Unreadable("it is no X.509".into()))?;
    if until < now {
        return Err(Flaw::Expired(day(until)));
    }
    if from > now {
        return Err(Flaw::NotYet(day(from)));
    }
    let wanted = ServerName::try_from(name.to_owned()).map_err(|_| Flaw::Unreadable(format!("{name:?} is no name")))?;
    let parsed = EndEntityCert::try_from(leaf).map_err(|error| Flaw::Unreadable(error.to_string()))?;
    if parsed.verify_is_valid_for_subject_name(&wanted).is_err() {
        return Err(Flaw::Name(presented(leaf)));
    }
    match bundle {
        Some(bundle) => bundle.signs(chain, Usage::Server, now).map_err(|_| Flaw::Signer),
        None => Ok(()),
    }
}

/// The day on which it ends, if that is soon.
pub(crate) fn ends_soon(chain: &[CertificateDer<'static>], now: i64) -> Option<String> {
    let (_, until) = times(chain.first()?)?;
    (until < now + SOON).then(|| day(until))
}

/// The day on which it ends.
pub(crate) fn ends(chain: &[CertificateDer<'static>]) -> String {
    chain.first().and_then(times).map(|(_, until)| day(until)).unwrap_or_default()
}

/// The common name of the subject.
pub(crate) fn common_name(der: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    Some(name)
}

fn times(der: &CertificateDer<'_>) -> Option<(i64, i64)> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let validity = parsed.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

fn presented(der: &CertificateDer<'_>) -> String {
    let names = || -> Option<Vec<String>> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let san = parsed.subject_alternative_name().ok()??;
        let names = san.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes)
                    .ok()
                    .map(|b| std::net::IpAddr::from(b).to_string()),
                _ => <[u8; 16]>::try_from(*bytes)
                    .ok()
                    .map(|b| std::net::IpAddr::from(b).to_string()),
            },
            _ => None,
        });
        Some(names.collect())
    };
    match names() {
        Some(names) if !names.is_empty() => format!("; it is for {}", names.join(", ")),
        _ => "; it names nobody (no subject alternative name)".into(),
    }
}

/// A day and minute that everybody reads the same way.
fn day(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| second.to_string(), |t| t.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    struct Ca {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    fn ca(name: &str, years: (i32, i32)) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        Ca {
            pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn leaf(ca: &Ca, name: &str, years: (i32, i32)) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        vec![
            params
                .signed_by(&KeyPair::generate().unwrap(), &ca.issuer)
                .unwrap()
                .der()
                .clone(),
        ]
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn a_servers_certificate_is_judged_as_go_does() {
        let now = at("2026-06-01T00:00:00Z");
        let (right, other, old) = (ca("right", (2020, 2040)), ca("other", (2020, 2040)), ca("old", (2020, 2025)));
        let name = "metrics-server.kube-system.svc";
        let bundle = |ca: &Ca| Bundle::from_pem(ca.pem.as_bytes()).unwrap();
        let both = Bundle::from_pem(format!("{}{}", other.pem, right.pem).as_bytes()).unwrap();
        let good = leaf(&right, name, (2025, 2030));
        let cases = [
            ("good", good.clone(), Some(bundle(&right)), Ok(())),
            ("one of two authorities", good.clone(), Some(both), Ok(())),
            ("not compared", good.clone(), None, Ok(())),
            ("another authority", good.clone(), Some(bundle(&other)), Err(Flaw::Signer)),
            (
                "an authority that has expired",
                leaf(&old, name, (2024, 2030)),
                Some(bundle(&old)),
                Err(Flaw::Signer),
            ),
            (
                "expired, which counts before all else",
                leaf(&other, "else.where.svc", (2020, 2026)),
                Some(bundle(&right)),
                Err(Flaw::Expired("2026-01-01 00:00 UTC".into())),
            ),
            (
                "not yet",
                leaf(&right, name, (2027, 2030)),
                Some(bundle(&right)),
                Err(Flaw::NotYet("2027-01-01 00:00 UTC".into())),
            ),
            (
                "other names",
                leaf(&right, "else.where.svc", (2025, 2030)),
                Some(bundle(&right)),
                Err(Flaw::Name("; it is for else.where.svc".into())),
            ),
            ("none", Vec::new(), None, Err(Flaw::Unreadable("none was shown".into()))),
        ];
        for (case, chain, bundle, expected) in cases {
            assert_eq!(judge_server(&chain, name, bundle.as_ref(), now), expected, "{case}");
        }
        assert_eq!(ends_soon(&good, now), None);
        assert!(ends_soon(&good, at("2029-12-20T00:00:00Z")).is_some());
        // A certificate that signs itself and stands in the bundle is good, as in Go.
        let own = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap();
        let shown = Bundle::from_pem(own.pem().as_bytes()).unwrap();
        assert_eq!(judge_server(&[own.der().clone()], name, Some(&shown), now), Ok(()));
    }

    #[test]
    fn a_bundle_is_as_good_as_its_best_authority() {
        let (old, young) = (ca("old", (2020, 2025)), ca("young", (2024, 2040)));
        let both = Bundle::from_pem(format!("{}{}", old.pem, young.pem).as_bytes()).unwrap();
        let only = Bundle::from_pem(old.pem.as_bytes()).unwrap();
        let codes = |bundle: &Bundle, now: &str| bundle.judge("it", at(now)).map(|a| a.sentence().code);
        assert_eq!(codes(&both, "2026-01-01T00:00:00Z"), None);
        assert_eq!(codes(&only, "2026-01-01T00:00:00Z"), Some("authority-expired"));
        assert_eq!(codes(&only, "2024-12-15T00:00:00Z"), Some("authority-expiring"));
        assert_eq!(codes(&only, "2019-01-01T00:00:00Z"), Some("authority-not-yet"));
        for garbage in ["", "no", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Bundle::from_pem(garbage.as_bytes()).is_err(), "{garbage:?}");
        }
    }
}
