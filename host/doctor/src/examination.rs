//! Everything is looked at, in this order of reading: kube-apiserver, its front proxy's trust, our account and its rights, each
//! host, each APIService, kubelets, namespaces. What does not depend on each other is asked at the same time.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use outrigger_cluster::Cluster;
use outrigger_cluster::advice::Severity;
use rustls_pki_types::CertificateDer;

use crate::aggregated::{self, Documents};
use crate::apiservice::{
    At, Behind, Named, judge_answer, judge_available, judge_certificate, judge_object, judge_service, ready,
};
use crate::condition::Condition;
use crate::report::{Report, Row, blame_first};
use crate::world::{NoAnswer, World};
use crate::{apiserver, dial, kubelets, namespaces, rights, trust};

/// What is served unless somebody says otherwise.
const METRICS: &str = "metrics.k8s.io";
const DEFAULTS: [&str; 2] = ["v1.metrics.k8s.io", "v1beta1.metrics.k8s.io"];
/// deploy/metrics/base/rbac.yaml's, and metrics-server's.
const ACCOUNT: (&str, &str) = ("kube-system", "metrics-server");
/// An address that does not answer in this time is not to be reached from here.
const DIAL: Duration = Duration::from_secs(2);
/// Endpoints that are tried when the Service's own address is not to be reached.
const ENDPOINTS: usize = 2;

/// What to look at, and as whom.
#[derive(Debug, Clone)]
pub struct Options {
    /// kube-apiserver, as whoever looks.
    pub cluster: Cluster,
    /// The longest that one question may take; OpenAPI v2 may take three times as long.
    pub deadline: Duration,
    /// The host's service account, namespace and name; none to find it by the pods behind the Service.
    pub account: Option<(String, String)>,
    /// Names of APIServices; empty for those of metrics and all others with the same Service.
    pub api_services: Vec<String>,
    /// Host and port at which the host answers here, as through a port-forward; none to try the Service's own addresses.
    pub server: Option<String>,
    /// Kubelets that are looked at.
    pub max_nodes: usize,
    /// The front proxy's certificate chain, if it is at hand (`--proxy-client-cert-file` of kube-apiserver).
    pub front_proxy: Option<Vec<CertificateDer<'static>>>,
}

/// Looks at everything.
pub async fn examine(options: Options) -> Report {
    let world = World {
        cluster: options.cluster.clone(),
        deadline: options.deadline,
    };
    let now = Timestamp::now().as_second();
    let mut rows = apiserver::look(&world).await;
    if rows.first().is_some_and(|r| r.finding.severity() == Some(Severity::Fail)) {
        let from = "kube-apiserver".to_owned();
        rows.push(Row::new("everything else", Condition::Follows { from }));
        return Report { rows };
    }
    let listed: Result<List<APIService>, NoAnswer> = world.read("/apis/apiregistration.k8s.io/v1/apiservices").await;
    let (all, unread) = match listed {
        Ok(list) => (list.items, None),
        Err(error) => (Vec::new(), Some(Row::new("apiservices", error.skip("list apiservices")))),
    };
    let chosen = if unread.is_some() {
        Chosen::default()
    } else {
        choose(&all, &options.api_services)
    };
    let places: BTreeSet<At> = chosen.services.iter().filter_map(|s| At::of(s)).collect();
    let metrics = chosen
        .services
        .iter()
        .any(|s| s.spec.as_ref().and_then(|spec| spec.group.as_deref()) == Some(METRICS));

    let (trust, behind, documents, kubelets, namespaces) = futures::join!(
        trust::look(&world, options.front_proxy.as_deref(), now),
        join_all(
            places
                .into_iter()
                .map(|at| stand_behind(&world, at, options.server.as_deref()))
        ),
        Documents::read(&world),
        async {
            if metrics {
                kubelets::look(&world, options.max_nodes, now).await
            } else {
                Vec::new()
            }
        },
        namespaces::look(&world, &all),
    );
    let account = match &options.account {
        Some(account) => account.clone(),
        None => account_of(&world, &behind).await,
    };
    let (rights, services) = futures::join!(
        rights::look(&world, &account.0, &account.1, metrics),
        join_all(chosen.services.iter().map(|s| one(&world, s, &behind, &documents, now)))
    );
    rows.extend(trust);
    rows.extend(rights);
    rows.extend(behind.iter().flat_map(judge_host));
    rows.extend(unread);
    rows.extend(chosen.missing);
    rows.extend(services.into_iter().flatten());
    rows.extend(kubelets);
    rows.extend(namespaces);
    Report { rows }
}

#[derive(Default)]
struct Chosen<'a> {
    services: Vec<&'a APIService>,
    missing: Vec<Row>,
}

/// The named ones; or those of metrics, and whatever else has the same Service.
fn choose<'a>(all: &'a [APIService], named: &[String]) -> Chosen<'a> {
    let find = |name: &str| all.iter().find(|s| s.metadata.name.as_deref() == Some(name));
    let missing = |name: &str| {
        Row::new(
            format!("apiservice/{name}"),
            Condition::ApiServiceMissing { name: name.into() },
        )
    };
    let mut chosen = Chosen::default();
    if !named.is_empty() {
        for name in named {
            match find(name) {
                Some(service) => chosen.services.push(service),
                None => chosen.missing.push(missing(name)),
            }
        }
        return chosen;
    }
    let usual: Vec<&APIService> = DEFAULTS.iter().filter_map(|name| find(name)).collect();
    if usual.is_empty() {
        chosen.missing.extend(DEFAULTS.last().map(|name| missing(name)));
        return chosen;
    }
    let ours: Vec<At> = usual.iter().filter_map(|s| At::of(s)).collect();
    let is_ours = |service: &&APIService| {
        usual.iter().any(|u| u.metadata.name == service.metadata.name)
            || At::of(service).is_some_and(|at| {
                ours.iter()
                    .any(|o| (&o.namespace, &o.service) == (&at.namespace, &at.service))
            })
    };
    chosen.services = all.iter().filter(is_ours).collect();
    chosen
}

async fn stand_behind(world: &World, at: At, server: Option<&str>) -> Behind {
    let (namespace, name) = (&at.namespace, &at.service);
    let service = format!("/api/v1/namespaces/{namespace}/services/{name}");
    let slices = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{name}"
    );
    let (service, slices) = futures::join!(world.read::<Service>(&service), world.read::<List<EndpointSlice>>(&slices));
    let slices = slices.map(|list| list.items);
    let seen = match server {
        Some(server) => dial::look(server, &at.host(), world.deadline).await,
        None => {
            search(
                &at,
                service.as_ref().ok(),
                slices.as_deref().unwrap_or_default(),
                world.deadline,
            )
            .await
        }
    };
    let seen = match (seen, server) {
        (Err(why), Some(server)) => Err(Tried::Given(server.to_owned(), why)),
        (Err(tried), None) => Err(Tried::Found(tried)),
        (Ok(seen), _) => Ok(seen),
    };
    Behind {
        at,
        service,
        slices,
        seen,
    }
}

/// Why the host was not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tried {
    /// The user named the address.
    Given(String, String),
    /// The Service's own addresses, as this machine reaches them or not.
    Found(String),
}

/// The Service's own address, then some endpoints: in the cluster, or on a node, one of them answers.
async fn search(at: &At, service: Option<&Service>, slices: &[EndpointSlice], deadline: Duration) -> Result<dial::Seen, String> {
    let spec = service.and_then(|s| s.spec.as_ref());
    let ip = spec
        .and_then(|s| s.cluster_ip.as_deref())
        .filter(|ip| !ip.is_empty() && *ip != "None");
    let mut places: Vec<String> = Vec::new();
    if let (Some(ip), Ok(port)) = (ip, u16::try_from(at.port)) {
        places.push(dial::at(ip, port));
    }
    let ports = spec.and_then(|s| s.ports.as_deref()).unwrap_or_default();
    let named = ports.iter().find(|p| p.port == at.port).and_then(|p| p.name.as_deref());
    let endpoints = ready(slices, named.unwrap_or_default());
    places.extend(
        endpoints
            .iter()
            .take(ENDPOINTS)
            .map(|(address, port)| dial::at(address, *port)),
    );
    let mut tried = Vec::new();
    for place in places {
        match dial::look(&place, &at.host(), DIAL.min(deadline)).await {
            Ok(seen) => return Ok(seen),
            Err(why) => tried.push(format!("{place}: {why}")),
        }
    }
    Err(if tried.is_empty() {
        "it has no address".into()
    } else {
        tried.join("; ")
    })
}

/// Health and clock of a host.
fn judge_host(behind: &Behind) -> Vec<Row> {
    let at = &behind.at;
    let own = format!("host/{}/{}", at.namespace, at.service);
    let seen = match &behind.seen {
        Ok(seen) => seen,
        Err(Tried::Given(server, why)) => {
            let (server, why) = (server.clone(), why.clone());
            return vec![Row::new(own, Condition::GivenHostUnreachable { server, why })];
        }
        Err(Tried::Found(tried)) => {
            return vec![Row::new(
                own,
                Condition::HostNotReached {
                    tried: tried.clone(),
                    namespace: at.namespace.clone(),
                    service: at.service.clone(),
                    port: at.port.to_string(),
                },
            )];
        }
    };
    let mut rows = vec![Row::fine(own.clone(), format!("answers at {}", seen.at))];
    for probe in &seen.probes {
        let row = format!("{own}{}", probe.path);
        let failing = probe.failing();
        rows.push(if failing.is_empty() {
            Row::fine(row, "ok")
        } else {
            let check = failing.join(", ");
            let probe = probe.path.to_owned();
            Row::new(row, Condition::CheckFails { probe, check })
        });
    }
    let whose = format!("the host at {}", seen.at);
    rows.push(Row::new(format!("clock/{own}"), apiserver::clock(&whose, seen.ahead)));
    rows
}

/// Whom the pods behind the Services run as; deploy/metrics/base/rbac.yaml's account if there is no pod to ask.
async fn account_of(world: &World, behind: &[Behind]) -> (String, String) {
    for behind in behind {
        let slices = behind.slices.as_deref().unwrap_or_default();
        let pods = slices
            .iter()
            .flat_map(|s| s.endpoints.iter().flatten())
            .filter_map(|e| e.target_ref.as_ref());
        let pod = pods
            .filter(|target| target.kind.as_deref() == Some("Pod"))
            .find_map(|target| target.name.as_deref());
        let Some(pod) = pod else { continue };
        let namespace = &behind.at.namespace;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
        let account = world.read::<Pod>(&path).await.ok().and_then(|p| p.spec?.service_account_name);
        if let Some(account) = account {
            return (namespace.clone(), account);
        }
    }
    (ACCOUNT.0.into(), ACCOUNT.1.into())
}

/// All rows of one APIService; what follows from its first failure says so.
async fn one(world: &World, service: &APIService, behind: &[Behind], documents: &Documents, now: i64) -> Vec<Row> {
    let mut rows = judge_object(service, &documents.crds, now);
    let at = At::of(service);
    let behind = behind.iter().find(|b| Some(&b.at) == at.as_ref());
    if let (Some(named), Some(behind)) = (Named::of(service), behind) {
        rows.extend(judge_service(&named, behind));
        rows.extend(judge_certificate(&named, behind, now));
        rows.extend(judge_available(service, &behind.at));
        let answer = world.get(&format!("/apis/{}", named.version()), "application/json").await;
        rows.push(judge_answer(&named, &behind.at, &answer));
        let resources = answer.and_then(|answer| answer.document::<APIResourceList>());
        rows.extend(documents.judge(&named));
        if let Ok(resources) = &resources {
            rows.extend(aggregated::lists(world, &named, resources).await);
        }
    }
    blame_first(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str, at: Option<&str>) -> APIService {
        let (version, group) = name.split_once('.').unwrap();
        let service = at.map(|name| json!({"name": name, "namespace": "kube-system"}));
        serde_json::from_value(
            json!({"metadata": {"name": name}, "spec": {"group": group, "version": version,
            "groupPriorityMinimum": 1, "versionPriority": 1, "service": service}}),
        )
        .unwrap()
    }

    #[test]
    fn which_apiservices_are_looked_at() {
        let all = [
            service("v1.apps", None),
            service("v1beta1.metrics.k8s.io", Some("metrics-server")),
            service("v1.hello.example.com", Some("metrics-server")),
            service("v1beta1.custom.metrics.k8s.io", Some("adapter")),
        ];
        let names = |chosen: &Chosen<'_>| {
            let found = chosen.services.iter().map(|s| s.metadata.name.clone().unwrap());
            let missing = chosen.missing.iter().map(|r| format!("no {}", r.check));
            found.chain(missing).collect::<Vec<_>>()
        };
        let named = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        for (case, all, asked, expected) in [
            (
                "metrics, and its neighbour on the same host",
                &all[..],
                named(&[]),
                vec!["v1beta1.metrics.k8s.io", "v1.hello.example.com"],
            ),
            (
                "named",
                &all[..],
                named(&["v1beta1.custom.metrics.k8s.io", "v1.x.io"]),
                vec!["v1beta1.custom.metrics.k8s.io", "no apiservice/v1.x.io"],
            ),
            ("none", &all[..1], named(&[]), vec!["no apiservice/v1beta1.metrics.k8s.io"]),
        ] {
            assert_eq!(names(&choose(all, &asked)), expected, "{case}");
        }
    }

    #[test]
    fn a_host_that_is_not_seen_is_no_failure_unless_it_was_named() {
        let behind = |seen| Behind {
            at: At {
                namespace: "kube-system".into(),
                service: "metrics-server".into(),
                port: 443,
            },
            service: Err(NoAnswer::NotFound),
            slices: Ok(Vec::new()),
            seen,
        };
        let probe = |path, status: u16, text: &str| dial::Probe {
            path,
            status: http::StatusCode::from_u16(status).unwrap(),
            text: text.into(),
        };
        let seen = |probes| dial::Seen {
            at: "10.0.0.1:443".into(),
            chain: Vec::new(),
            probes,
            ahead: Some(0),
        };
        let well = vec![probe("/livez", 200, "ok"), probe("/readyz", 200, "ok")];
        let red = vec![
            probe("/livez", 200, "ok"),
            probe("/readyz", 500, "[-]plugins-loaded failed: reason withheld\n"),
        ];
        for (case, seen, expected) in [
            ("well", Ok(seen(well)), vec![]),
            ("not ready", Ok(seen(red)), vec!["check-fails"]),
            ("out of reach", Err(Tried::Found("x".into())), vec!["host-not-reached"]),
            (
                "named",
                Err(Tried::Given("x".into(), "y".into())),
                vec!["given-host-unreachable"],
            ),
        ] {
            let codes: Vec<_> = judge_host(&behind(seen)).iter().filter_map(|r| r.finding.code()).collect();
            assert_eq!(codes, expected, "{case}");
        }
    }
}
