//! An APIService and what it leads to: Service, endpoints, certificate, and what the aggregator says of it, in the order in which
//! the aggregator's own availability check goes (kube-aggregator `remote_available_controller.go`). The first failure is the
//! cause; the rest follows from it.

use http::StatusCode;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec};

use crate::certificate::{Bundle, Flaw, ends, ends_soon, judge_server};
use crate::condition::Condition;
use crate::dial::Seen;
use crate::examination::Tried;
use crate::report::{Finding, Row};
use crate::words::{Meaning, meaning};
use crate::world::{Answer, NoAnswer};

/// A Service that APIServices name, and what is known of it.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) at: At,
    pub(crate) service: Result<Service, NoAnswer>,
    pub(crate) slices: Result<Vec<EndpointSlice>, NoAnswer>,
    /// The host itself, or what was tried in vain.
    pub(crate) seen: Result<Seen, Tried>,
}

/// Where an APIService points.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: i32,
}

/// An APIService as far as names go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) name: &'a str,
    pub(crate) spec: &'a APIServiceSpec,
}

// === impl At ===

impl At {
    /// None if kube-apiserver serves the version itself.
    pub(crate) fn of(service: &APIService) -> Option<Self> {
        let named = service.spec.as_ref()?.service.as_ref()?;
        Some(Self {
            namespace: named.namespace.clone().unwrap_or_default(),
            service: named.name.clone().unwrap_or_default(),
            port: named.port.unwrap_or(443),
        })
    }

    /// The name that the aggregator wants in the certificate.
    pub(crate) fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.service)
    }
}

// === impl Named ===

impl<'a> Named<'a> {
    pub(crate) fn of(service: &'a APIService) -> Option<Self> {
        Some(Self {
            name: service.metadata.name.as_deref()?,
            spec: service.spec.as_ref()?,
        })
    }

    /// `GROUP/VERSION`.
    pub(crate) fn version(&self) -> String {
        format!(
            "{}/{}",
            self.spec.group.as_deref().unwrap_or_default(),
            self.spec.version.as_deref().unwrap_or_default()
        )
    }

    pub(crate) fn row(&self, what: &str) -> String {
        format!("apiservice/{}/{what}", self.name)
    }
}

/// What the object itself says: where it points, its priorities, its bundle.
pub(crate) fn judge_object(service: &APIService, crds: &[String], now: i64) -> Vec<Row> {
    let Some(named) = Named::of(service) else {
        return Vec::new();
    };
    let name = named.name;
    let own = format!("apiservice/{name}");
    let Some(at) = At::of(service) else {
        return vec![Row::new(own, Condition::ApiServiceLocal { name: name.into() })];
    };
    let mut rows = vec![Row::fine(own, format!("served by {}", at.path()))];
    for (field, value, range) in [
        ("groupPriorityMinimum", named.spec.group_priority_minimum, 1..=20_000),
        ("versionPriority", named.spec.version_priority, 1..=1_000),
    ] {
        if !range.contains(&value) {
            rows.push(Row::new(
                named.row("priority"),
                Condition::PriorityInvalid {
                    name: name.into(),
                    field: field.into(),
                    value: value.to_string(),
                    range: format!("{} to {}", range.start(), range.end()),
                },
            ));
        }
    }
    let group = named.spec.group.as_deref().unwrap_or_default();
    let of_group = |crd: &&String| crd.split_once('.').is_some_and(|(_, rest)| rest == group);
    for crd in crds.iter().filter(of_group) {
        rows.push(Row::new(
            named.row("group"),
            Condition::GroupShared {
                name: name.into(),
                crd: crd.clone(),
            },
        ));
    }
    rows.push(Row::new(named.row("ca-bundle"), bundle_finding(&named, now)));
    rows
}

fn bundle_finding(named: &Named<'_>, now: i64) -> Finding {
    let name = named.name;
    if named.spec.insecure_skip_tls_verify == Some(true) {
        return Condition::VerificationSkipped { name: name.into() }.into();
    }
    match bundle(named.spec) {
        None => Condition::BundleMissing { name: name.into() }.into(),
        Some(Err(why)) => Condition::BundleUnreadable { name: name.into(), why }.into(),
        Some(Ok(bundle)) => match bundle.judge(&format!("caBundle of APIService {name}"), now) {
            Some(advice) => advice.into(),
            None => Finding::Fine(format!("good until {}", bundle.until())),
        },
    }
}

fn bundle(spec: &APIServiceSpec) -> Option<Result<Bundle, String>> {
    let pem = spec.ca_bundle.as_ref().filter(|bytes| !bytes.0.is_empty())?;
    Some(Bundle::from_pem(&pem.0))
}

/// The Service, its port, and whether anybody is behind it.
pub(crate) fn judge_service(named: &Named<'_>, behind: &Behind) -> Vec<Row> {
    let at = &behind.at;
    let row = named.row("service");
    let service = match &behind.service {
        Ok(service) => service,
        Err(NoAnswer::NotFound) => {
            return vec![Row::new(
                row,
                Condition::ServiceMissing {
                    name: named.name.into(),
                    service: at.path(),
                },
            )];
        }
        Err(error) => return vec![Row::new(row, error.skip("get services"))],
    };
    let spec = service.spec.clone().unwrap_or_default();
    // As upstream: only a ClusterIP Service has ports and endpoints that can be judged.
    if spec.type_.as_deref().is_some_and(|kind| kind != "ClusterIP") {
        return vec![Row::fine(
            row,
            format!("{} is of type {}", at.path(), spec.type_.unwrap_or_default()),
        )];
    }
    let ports = spec.ports.unwrap_or_default();
    let Some(port) = ports.iter().find(|p| p.port == at.port) else {
        let has: Vec<String> = ports.iter().map(|p| p.port.to_string()).collect();
        return vec![Row::new(
            row,
            Condition::ServicePortMissing {
                name: named.name.into(),
                service: at.path(),
                port: at.port.to_string(),
                ports: if has.is_empty() { "none".into() } else { has.join(", ") },
            },
        )];
    };
    let mut rows = vec![Row::fine(row, format!("{} has port {}", at.path(), at.port))];
    let port = port.name.as_deref().unwrap_or_default();
    let row = named.row("endpoints");
    rows.push(match &behind.slices {
        Err(error) => Row::new(row, error.skip("list endpointslices")),
        Ok(slices) => match ready(slices, port).len() {
            0 => Row::new(
                row,
                Condition::EndpointsMissing {
                    service: at.path(),
                    namespace: at.namespace.clone(),
                },
            ),
            count => Row::fine(row, format!("{count} ready")),
        },
    });
    rows
}

/// The ready addresses behind a port, each with the port that listens.
pub(crate) fn ready(slices: &[EndpointSlice], port: &str) -> Vec<(String, u16)> {
    let mut found = Vec::new();
    for slice in slices {
        let listens = slice
            .ports
            .iter()
            .flatten()
            .find(|p| p.name.as_deref().unwrap_or_default() == port);
        let Some(listens) = listens else { continue };
        let number = listens.port.and_then(|p| u16::try_from(p).ok()).unwrap_or_default();
        for endpoint in slice.endpoints.iter().flatten() {
            // Absent is ready (discovery/v1).
            if endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(false) {
                continue;
            }
            found.extend(endpoint.addresses.iter().map(|address| (address.clone(), number)));
        }
    }
    found
}

/// The certificate that the host shows, against what this APIService wants.
pub(crate) fn judge_certificate(named: &Named<'_>, behind: &Behind, now: i64) -> Option<Row> {
    let seen = behind.seen.as_ref().ok()?;
    let row = named.row("certificate");
    if named.spec.insecure_skip_tls_verify == Some(true) {
        return Some(Row::fine(row, "not verified by kube-apiserver"));
    }
    let bundle = bundle(named.spec).and_then(Result::ok);
    let wanted = behind.at.host();
    let finding = match judge_server(&seen.chain, &wanted, bundle.as_ref(), now) {
        Ok(()) => match ends_soon(&seen.chain, now) {
            Some(when) => Condition::CertificateExpiring { when }.into(),
            None => Finding::Fine(format!("for {wanted}, until {}", ends(&seen.chain))),
        },
        Err(Flaw::Unreadable(why)) => Condition::CertificateUnreadable { why }.into(),
        Err(Flaw::Expired(when)) => Condition::CertificateExpired {
            when: format!(" ({when})"),
        }
        .into(),
        Err(Flaw::NotYet(when)) => Condition::CertificateNotYet { when }.into(),
        Err(Flaw::Name(names)) => Condition::CertificateName { wanted, names }.into(),
        Err(Flaw::Signer) => Condition::BundleWrong { name: named.name.into() }.into(),
    };
    Some(Row::new(row, finding))
}

/// What the aggregator says of it.
pub(crate) fn judge_available(service: &APIService, at: &At) -> Option<Row> {
    let named = Named::of(service)?;
    let row = named.row("available");
    let conditions = service.status.as_ref().and_then(|status| status.conditions.as_ref());
    let available = conditions.into_iter().flatten().find(|c| c.type_ == "Available");
    let Some(available) = available.filter(|c| c.status != "Unknown") else {
        return Some(Row::new(row, Condition::AvailabilityUnknown { name: named.name.into() }));
    };
    let message = available.message.clone().unwrap_or_default();
    if available.status == "True" {
        return Some(Row::fine(row, message));
    }
    let reason = available.reason.clone().unwrap_or_default();
    let finding = failure(&named, at, &message).unwrap_or_else(|| Condition::Unavailable {
        name: named.name.into(),
        reason,
        message,
    });
    Some(Row::new(row, finding))
}

/// What came back for `/apis/G/V` through the aggregator.
pub(crate) fn judge_answer(named: &Named<'_>, at: &At, answer: &Result<Answer, NoAnswer>) -> Row {
    let row = named.row("answers");
    let name = named.name.to_owned();
    let path = format!("get /apis/{}", named.version());
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Row::new(row, error.skip(&path)),
    };
    let said = answer.said();
    let condition = match answer.status {
        StatusCode::OK => return Row::fine(row, "through kube-apiserver, in time"),
        StatusCode::FORBIDDEN => NoAnswer::Denied.skip(&path),
        // kube-apiserver itself knows us: the first check has seen that.
        StatusCode::UNAUTHORIZED => Condition::HostDisbelieves { name },
        StatusCode::NOT_FOUND => Condition::VersionNotServed {
            name,
            version: named.version(),
        },
        status => failure(named, at, &said).unwrap_or(Condition::HostAnswers {
            name,
            status: status.to_string(),
            said,
        }),
    };
    Row::new(row, condition)
}

/// The condition behind Go's words; none if they say nothing that is known.
fn failure(named: &Named<'_>, at: &At, words: &str) -> Option<Condition> {
    let name = named.name.to_owned();
    Some(match meaning(words)? {
        Meaning::UntrustedAuthority => Condition::BundleWrong { name },
        Meaning::WrongName => Condition::CertificateName {
            wanted: at.host(),
            names: String::new(),
        },
        Meaning::OutOfTime => Condition::CertificateExpired { when: String::new() },
        Meaning::NotReached => Condition::HostUnreachable {
            name,
            namespace: at.namespace.clone(),
            why: words.trim_start_matches(": ").to_owned(),
        },
        Meaning::Answered(401) => Condition::HostDisbelieves { name },
        Meaning::Answered(404) => Condition::VersionNotServed {
            name,
            version: named.version(),
        },
        Meaning::Answered(code) => Condition::HostAnswers {
            name,
            status: code.to_string(),
            said: String::new(),
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: Value, status: Value) -> APIService {
        let mut all = json!({"group": "metrics.k8s.io", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"name": "metrics-server", "namespace": "kube-system"}});
        for (key, value) in spec.as_object().unwrap() {
            all[key] = value.clone();
        }
        serde_json::from_value(json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1.metrics.k8s.io"}, "spec": all, "status": status}))
        .unwrap()
    }

    fn codes(rows: &[Row]) -> Vec<&'static str> {
        rows.iter().filter_map(|r| r.finding.code()).collect()
    }

    #[test]
    fn the_object() {
        let crds = ["pods.other.io".to_owned(), "fakes.metrics.k8s.io".to_owned()];
        let cases: [(&str, Value, &[String], &[&str]); 6] = [
            ("no bundle", json!({}), &[], &["bundle-missing"]),
            ("garbage", json!({"caBundle": "Z2FyYmFnZQ=="}), &[], &["bundle-unreadable"]),
            (
                "unverified",
                json!({"insecureSkipTLSVerify": true}),
                &[],
                &["verification-skipped"],
            ),
            ("local", json!({"service": null}), &[], &["apiservice-local"]),
            (
                "priorities",
                json!({"groupPriorityMinimum": 20001, "versionPriority": 0}),
                &[],
                &["priority-invalid", "priority-invalid", "bundle-missing"],
            ),
            ("a CRD of the group", json!({}), &crds, &["group-shared", "bundle-missing"]),
        ];
        for (case, spec, crds, expected) in cases {
            assert_eq!(
                codes(&judge_object(&service(spec, json!(null)), crds, 1_800_000_000)),
                expected,
                "{case}"
            );
        }
    }

    #[test]
    fn the_service_and_who_is_behind_it() {
        let object = service(json!({}), json!(null));
        let named = Named::of(&object).unwrap();
        let made = |ports: Value| -> Result<Service, NoAnswer> {
            Ok(serde_json::from_value(json!({"spec": {"type": "ClusterIP", "ports": ports}})).unwrap())
        };
        let slice = |name: &str, ready: Value| -> Result<Vec<EndpointSlice>, NoAnswer> {
            Ok(vec![
                serde_json::from_value(json!({"addressType": "IPv4", "ports": [{"name": name, "port": 10250}],
                    "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]}))
                .unwrap(),
            ])
        };
        let https = || made(json!([{"name": "https", "port": 443}]));
        for (case, service, slices, expected) in [
            ("well", https(), slice("https", json!(true)), vec![]),
            ("readiness not said", https(), slice("https", json!(null)), vec![]),
            (
                "missing",
                Err(NoAnswer::NotFound),
                slice("https", json!(true)),
                vec!["service-missing"],
            ),
            (
                "no right",
                Err(NoAnswer::Denied),
                slice("https", json!(true)),
                vec!["not-permitted"],
            ),
            (
                "other port",
                made(json!([{"port": 8443}])),
                slice("", json!(true)),
                vec!["service-port-missing"],
            ),
            ("not ready", https(), slice("https", json!(false)), vec!["endpoints-missing"]),
            ("other name", https(), slice("http", json!(true)), vec!["endpoints-missing"]),
            ("no slice", https(), Ok(vec![]), vec!["endpoints-missing"]),
        ] {
            let behind = Behind {
                at: At::of(&object).unwrap(),
                service,
                slices,
                seen: Err(Tried::Found(String::new())),
            };
            assert_eq!(codes(&judge_service(&named, &behind)), expected, "{case}");
        }
    }

    #[test]
    fn what_the_aggregator_says() {
        let condition = |status: &str, message: &str| {
            json!({"conditions": [{"type": "Available", "status": status,
            "reason": "FailedDiscoveryCheck", "message": message}]})
        };
        let failing = |words: &str| {
            condition(
                "False",
                &format!("failing or missing response from https://10.0.0.1:443/apis/metrics.k8s.io/v1: {words}"),
            )
        };
        for (case, status, expected) in [
            ("passed", condition("True", "all checks passed"), None),
            ("not looked", json!(null), Some("availability-unknown")),
            (
                "refused",
                failing("dial tcp 10.0.0.1:443: connect: connection refused"),
                Some("host-unreachable"),
            ),
            (
                "CA",
                failing("tls: failed to verify certificate: x509: certificate signed by unknown authority"),
                Some("bundle-wrong"),
            ),
            (
                "401",
                failing("bad status from https://10.0.0.1:443/apis/metrics.k8s.io/v1: 401"),
                Some("host-disbelieves"),
            ),
            (
                "404",
                failing("bad status from https://10.0.0.1:443/apis/metrics.k8s.io/v1: 404"),
                Some("version-not-served"),
            ),
            (
                "500",
                failing("bad status from https://10.0.0.1:443/apis/metrics.k8s.io/v1: 500"),
                Some("host-answers"),
            ),
            ("unheard of", condition("False", "the moon is full"), Some("unavailable")),
        ] {
            let object = service(json!({}), status);
            let row = judge_available(&object, &At::of(&object).unwrap()).unwrap();
            assert_eq!(row.finding.code(), expected, "{case}");
        }
    }
}
