//! The ConfigMap in which kube-apiserver says whom its aggregator speaks as. `serve` reads it with the same parser.

use k8s_openapi::api::core::v1::ConfigMap;
use outrigger_cluster::trust::{NAME, NAMESPACE, TrustError};
use outrigger_cluster::{Advice, RequestHeaderTrust};
use rustls_pki_types::CertificateDer;

use crate::certificate::{Bundle, Usage, common_name};
use crate::condition::Condition;
use crate::report::{Finding, Row};
use crate::world::{NoAnswer, World};

const MAP: &str = "trust/configmap";
const PROXY_CA: &str = "trust/requestheader-client-ca-file";
const CLIENT_CA: &str = "trust/client-ca-file";
const NAMES: &str = "trust/requestheader-allowed-names";
const PROXY: &str = "trust/front-proxy-certificate";

/// Looks at the ConfigMap, and at the front proxy's certificate if it was given.
pub(crate) async fn look(world: &World, proxy: Option<&[CertificateDer<'static>]>, now: i64) -> Vec<Row> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}");
    judge(&world.read::<ConfigMap>(&path).await, proxy, now)
}

fn judge(map: &Result<ConfigMap, NoAnswer>, proxy: Option<&[CertificateDer<'static>]>, now: i64) -> Vec<Row> {
    let data = match map {
        Ok(map) => map.data.clone().unwrap_or_default(),
        Err(NoAnswer::NotFound) => return vec![Row::new(MAP, Advice::TrustMissing {})],
        Err(error) => return vec![Row::new(MAP, error.skip(&format!("get configmap {NAMESPACE}/{NAME}")))],
    };
    let trust = match RequestHeaderTrust::parse(|key| data.get(key).map(String::as_str)) {
        Ok(trust) => trust,
        Err(error) => return vec![Row::new(MAP, malformed(&error))],
    };
    let mut rows = vec![Row::fine(MAP, format!("{NAMESPACE}/{NAME} can be read"))];
    let proxy_ca = trust
        .requestheader_client_ca_pem
        .as_deref()
        .map(|pem| Bundle::from_pem(pem.as_bytes()));
    rows.push(match &proxy_ca {
        None => Row::new(PROXY_CA, Advice::FrontProxyMissing {}),
        Some(bundle) => Row::new(PROXY_CA, authority("requestheader-client-ca-file", bundle, now)),
    });
    if let Some(pem) = &trust.client_ca_pem {
        rows.push(Row::new(
            CLIENT_CA,
            authority("client-ca-file", &Bundle::from_pem(pem.as_bytes()), now),
        ));
    }
    let allowed = if trust.allowed_names.is_empty() {
        "any".to_owned()
    } else {
        trust.allowed_names.join(", ")
    };
    rows.push(Row::fine(NAMES, allowed.clone()));
    if let (Some(chain), Some(Ok(bundle))) = (proxy, &proxy_ca) {
        rows.push(Row::new(PROXY, front_proxy(chain, bundle, &trust.allowed_names, now)));
    }
    rows
}

fn malformed(error: &TrustError) -> Finding {
    let (key, should) = match error {
        TrustError::NotAList { key, .. } => (*key, "a JSON array of strings"),
        TrustError::NoCertificate { key } => (*key, "a bundle of PEM certificates"),
        other => {
            return Condition::NotAnswered {
                what: "the ConfigMap".into(),
                why: other.to_string(),
            }
            .into();
        }
    };
    Advice::TrustMalformed {
        key: key.into(),
        should: should.into(),
    }
    .into()
}

fn authority(key: &str, bundle: &Result<Bundle, String>, now: i64) -> Finding {
    match bundle {
        Err(_) => Advice::TrustMalformed {
            key: key.into(),
            should: "a bundle of PEM certificates".into(),
        }
        .into(),
        Ok(bundle) => match bundle.judge(&format!("{key} in ConfigMap {NAMESPACE}/{NAME}"), now) {
            Some(advice) => advice.into(),
            None => Finding::Fine(format!("good until {}", bundle.until())),
        },
    }
}

fn front_proxy(chain: &[CertificateDer<'static>], bundle: &Bundle, allowed: &[String], now: i64) -> Finding {
    if let Err(why) = bundle.signs(chain, Usage::Client, now) {
        return Condition::ProxyUntrusted { why }.into();
    }
    let name = chain.first().and_then(common_name).unwrap_or_default();
    if !allowed.is_empty() && !allowed.contains(&name) {
        return Condition::ProxyNameRefused {
            name,
            allowed: allowed.join(", "),
        }
        .into();
    }
    Finding::Fine(format!("{name} is believed"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use rcgen::{
        BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        date_time_ymd,
    };

    use super::*;

    fn ca(until: i32) -> (String, Issuer<'static, KeyPair>) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
    }

    fn codes(rows: &[Row]) -> Vec<&'static str> {
        rows.iter().filter_map(|r| r.finding.code()).collect()
    }

    fn map(entries: &[(&str, &str)]) -> Result<ConfigMap, NoAnswer> {
        let data: BTreeMap<String, String> = entries.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Ok(ConfigMap {
            data: Some(data),
            ..ConfigMap::default()
        })
    }

    #[test]
    fn the_configmap_is_judged_key_by_key() {
        let now = "2026-06-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second();
        let ((good, _), (old, _)) = (ca(2040), ca(2025));
        const CA: &str = "requestheader-client-ca-file";
        let cases: [(&str, Result<ConfigMap, NoAnswer>, &[&str]); 9] = [
            ("all there", map(&[(CA, &good), ("client-ca-file", &good)]), &[]),
            (
                "no uid headers, as before 1.32",
                map(&[(CA, &good), ("requestheader-username-headers", "[]")]),
                &[],
            ),
            ("gone", Err(NoAnswer::NotFound), &["trust-missing"]),
            ("no right", Err(NoAnswer::Denied), &["not-permitted"]),
            ("slow", Err(NoAnswer::Deadline(std::time::Duration::ZERO)), &["not-answered"]),
            ("no front proxy", map(&[("client-ca-file", &good)]), &["front-proxy-missing"]),
            ("no PEM", map(&[(CA, "garbage")]), &["trust-malformed"]),
            (
                "no list",
                map(&[(CA, &good), ("requestheader-allowed-names", "front-proxy-client")]),
                &["trust-malformed"],
            ),
            ("expired", map(&[(CA, &old)]), &["authority-expired"]),
        ];
        for (case, map, expected) in cases {
            assert_eq!(codes(&judge(&map, None, now)), expected, "{case}");
        }
    }

    #[test]
    fn a_front_proxy_must_be_signed_and_named() {
        let now = "2026-06-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second();
        let ((pem, issuer), (other, _)) = (ca(2040), ca(2040));
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "front-proxy-client");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let chain = vec![
            params
                .signed_by(&KeyPair::generate().unwrap(), &issuer)
                .unwrap()
                .der()
                .clone(),
        ];
        const CA: &str = "requestheader-client-ca-file";
        for (case, ca, names, expected) in [
            ("named", &pem, r#"["front-proxy-client"]"#, vec![]),
            ("any name", &pem, "[]", vec![]),
            ("another name", &pem, r#"["aggregator"]"#, vec!["proxy-name-refused"]),
            ("another CA", &other, "[]", vec!["proxy-untrusted"]),
        ] {
            let map = map(&[(CA, ca), ("requestheader-allowed-names", names)]);
            assert_eq!(codes(&judge(&map, Some(&chain), now)), expected, "{case}");
        }
    }
}
