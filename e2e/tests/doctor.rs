//! `outrigger doctor` against a real control plane: a healthy cluster has nothing wrong, and each breakage is found, named, and
//! nothing else is blamed. One cluster for all; whoever breaks something holds the lock and mends it.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use outrigger_e2e::kubectl::Kubectl;
use outrigger_e2e::load::Load;
use outrigger_e2e::outrigger::{Options, account, metrics_plugin};
use outrigger_e2e::pki::{Authority, Pair};
use outrigger_e2e::wait::{LATER, until};
use outrigger_e2e::{ControlPlane, Fleet, Outrigger, promise, scratch};
use serde_json::Value;

const V1: &str = "apiservice/v1.metrics.k8s.io";
const V1BETA1: &str = "apiservice/v1beta1.metrics.k8s.io";
const NAMES: [&str; 2] = ["metrics-server.kube-system.svc", "localhost"];
const MAP: &str = "configmap -n kube-system extension-apiserver-authentication";

/// Rows and their codes.
type Wrong = &'static [(&'static str, &'static str)];

struct House {
    control_plane: ControlPlane,
    #[expect(dead_code, reason = "held so that its kubelets listen")]
    fleet: Fleet,
    kubectl: Kubectl,
    admin: PathBuf,
    kubeconfig: PathBuf,
    /// What the host serves under; written over by tests.
    shown: Pair,
    outrigger: Mutex<Option<Outrigger>>,
}

static HOUSE: LazyLock<Result<House, String>> = LazyLock::new(|| House::build().map_err(|reason| format!("{reason:#}")));
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

// === impl House ===

impl House {
    fn build() -> Result<Self> {
        let control_plane = ControlPlane::start()?;
        let kubectl = control_plane.kubectl()?;
        let fleet = Fleet::new(&control_plane)?;
        let load = Load {
            millicores: 100,
            bytes: 1 << 30,
        };
        fleet.add(&control_plane, "ash", load, true)?;
        kubectl.apply(
            r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "burner", "annotations": {"load.e2e/burn": "50m 64Mi"}},
                "spec": {"containers": [{"name": "burn", "image": "none"}]}}"#,
        )?;
        let kubeconfig = account(&control_plane)?;
        let admin = control_plane.kubeconfig_of("doctor", control_plane.admin())?;
        let folder = scratch::folder("shown")?;
        let shown = Pair {
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
        };
        let house = Self {
            control_plane,
            fleet,
            kubectl,
            admin,
            kubeconfig,
            shown,
            outrigger: Mutex::new(None),
        };
        house.show(&house.control_plane.ca().server("host", &NAMES)?)?;
        // The host's certificate is the cluster's: a caBundle is what signs it.
        let own = scratch::folder("outrigger/certificates")?;
        std::fs::copy(house.control_plane.ca().certificate(), own.join("ca.crt"))?;
        house.serve()?;
        Ok(house)
    }

    /// Starts the host and puts it behind the aggregator.
    fn serve(&self) -> Result<()> {
        let options = Options {
            name: "outrigger".into(),
            address: Ipv4Addr::new(127, 96, 0, 10),
            resolution: 3,
            plugins: vec![metrics_plugin()],
            arguments: vec![
                format!("--tls-cert-file={}", self.shown.certificate.display()),
                format!("--tls-private-key-file={}", self.shown.key.display()),
            ],
        };
        let outrigger = Outrigger::start(&self.control_plane, &self.kubeconfig, &options)?;
        outrigger.register(&self.control_plane, "metrics.k8s.io", &["v1", "v1beta1"])?;
        outrigger.ready()?;
        *self.host() = Some(outrigger);
        Ok(())
    }

    fn host(&self) -> MutexGuard<'_, Option<Outrigger>> {
        self.outrigger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers the host anew: Service, endpoints, APIServices as they should be.
    fn register(&self) -> Result<()> {
        let host = self.host();
        let host = host.as_ref().context("no host")?;
        host.register(&self.control_plane, "metrics.k8s.io", &["v1", "v1beta1"])
    }

    fn show(&self, pair: &Pair) -> Result<()> {
        for (from, to) in [(&pair.key, &self.shown.key), (&pair.certificate, &self.shown.certificate)] {
            std::fs::copy(from, to)?;
        }
        Ok(())
    }

    fn doctor(&self, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        Self::doctor_as(&self.admin, arguments)
    }

    fn doctor_as(kubeconfig: &Path, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let binary = std::env::var_os("OUTRIGGER_BIN").map_or_else(
            || outrigger_e2e::control_plane::repository().join("target/debug/outrigger"),
            PathBuf::from,
        );
        let output = Command::new(&binary)
            .arg("doctor")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(arguments)
            .output()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        ensure!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok((output.status.code(), String::from_utf8(output.stdout)?))
    }

    /// All that is wrong: rows and codes of FAIL and WARN.
    fn findings(&self, arguments: &[&str]) -> Result<(BTreeSet<(String, String)>, String)> {
        let (code, text) = self.doctor(&[&["--output=json"], arguments].concat())?;
        let document: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let text_of = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
        let checks = document["checks"].as_array().context("checks")?;
        let of = |status: &[&str]| -> BTreeSet<(String, String)> {
            let wrong = checks
                .iter()
                .filter(|c| status.contains(&c["status"].as_str().unwrap_or_default()));
            wrong.map(|c| (text_of(c, "check"), text_of(c, "code"))).collect()
        };
        let failed = !of(&["FAIL"]).is_empty();
        ensure!(code == Some(i32::from(failed)), "exit code {code:?}: {text}");
        Ok((of(&["FAIL", "WARN"]), text))
    }

    /// Waits until exactly this is wrong, and returns the document.
    fn finds(&self, what: &str, arguments: &[&str], expected: &[(&str, &str)]) -> Result<String> {
        let expected: BTreeSet<(String, String)> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        until(what, LATER, || {
            let (found, text) = self.findings(arguments)?;
            ensure!(found == expected, "found {found:?}\n{text}");
            Ok(text)
        })
    }

    fn well(&self) -> Result<String> {
        self.finds("nothing is wrong", &[], &[])
    }
}

/// The house, well, and nobody else in it.
fn house() -> Result<(&'static House, MutexGuard<'static, ()>)> {
    let one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let house = HOUSE.as_ref().map_err(|reason| anyhow!("{reason}"))?;
    house.well()?;
    Ok((house, one))
}

fn rbac() -> Result<String> {
    outrigger_e2e::outrigger::rbac("metrics-server")
}

fn bundle(ca: &Path) -> Result<String> {
    let pem = std::fs::read(ca)?;
    Ok(format!(r#"{{"spec":{{"caBundle":"{}"}}}}"#, BASE64_STANDARD.encode(pem)))
}

#[test]
fn a_healthy_cluster_has_nothing_wrong() {
    promise(|| {
        let (house, _one) = house()?;
        let (code, text) = house.doctor(&[])?;
        ensure!(code == Some(0), "{text}");
        for row in [
            "kube-apiserver",
            "clock/kube-apiserver",
            "trust/configmap",
            "rights/tokenreviews",
            "rights/nodes/stats",
            "host/kube-system/metrics-server/readyz",
            "apiservice/v1.metrics.k8s.io/certificate",
            "apiservice/v1.metrics.k8s.io/available",
            "apiservice/v1beta1.metrics.k8s.io/openapi-v2",
            "apiservice/v1beta1.metrics.k8s.io/list/pods",
            "kubelet/ash/certificate",
            "namespaces",
        ] {
            let line = text.lines().find(|line| line.split_whitespace().nth(1) == Some(row));
            ensure!(line.is_some_and(|line| line.starts_with("OK ")), "{row}: {line:?}\n{text}");
        }
        ensure!(!text.contains('\x1b'), "colours without a terminal: {text}");
        // A proxy of loopback addresses is what kube-apiserver refuses: the one thing that cannot be seen here.
        let skipped: Vec<&str> = text.lines().filter(|line| line.starts_with("SKIP")).collect();
        ensure!(skipped.len() == 1 && skipped[0].contains("kubelet/ash "), "{skipped:?}");
        ensure!(
            text.lines().last().is_some_and(|l| l.contains(" 0 WARN, 0 FAIL, 1 SKIP")),
            "{text}"
        );
        Ok(())
    })
}

#[test]
fn a_right_that_was_taken_away_is_named_with_what_grants_it() {
    promise(|| {
        let (house, _one) = house()?;
        let cases: [(&str, Wrong, &str); 3] = [
            (
                "clusterrolebinding metrics-server:system:auth-delegator",
                &[
                    ("rights/tokenreviews", "reviews-denied"),
                    ("rights/subjectaccessreviews", "reviews-denied"),
                ],
                "create clusterrolebinding metrics-server:system:auth-delegator --clusterrole=system:auth-delegator \
                 --serviceaccount=kube-system:metrics-server",
            ),
            (
                "rolebinding -n kube-system metrics-server-auth-reader",
                &[("rights/extension-apiserver-authentication", "trust-denied")],
                "create rolebinding metrics-server-auth-reader -n kube-system --role=extension-apiserver-authentication-reader \
                 --serviceaccount=kube-system:metrics-server",
            ),
            (
                "clusterrolebinding system:metrics-server",
                &[
                    ("rights/nodes", "read-denied"),
                    ("rights/pods", "read-denied"),
                    ("rights/nodes/stats", "read-denied"),
                ],
                "",
            ),
        ];
        for (object, expected, cure) in cases {
            house.kubectl.run(&format!("delete {object}"))?;
            let text = house.finds(object, &[], expected)?;
            if cure.is_empty() {
                house.kubectl.apply(&rbac()?)?;
            } else {
                // The command of the sentence is the cure.
                ensure!(text.contains(&format!("kubectl {cure}")), "{cure}: {text}");
                house.kubectl.run(cure)?;
            }
            house.well()?;
        }
        house.kubectl.apply(&rbac()?)?;
        Ok(())
    })
}

#[test]
fn a_damaged_configmap_is_named_and_its_cure_works() {
    promise(|| {
        let (house, _one) = house()?;
        let patch = r#"{"data":{"requestheader-client-ca-file":"garbage"}}"#;
        house.kubectl.run_with(
            &[&["patch"], &MAP.split(' ').collect::<Vec<_>>()[..], &["-p", patch]].concat(),
            "",
        )?;
        house.finds("a damaged ConfigMap", &[], &[("trust/configmap", "trust-malformed")])?;
        house.kubectl.run(&format!("delete {MAP}"))?;
        house.well().map(drop)
    })
}

#[test]
fn a_wrong_bundle_is_found_from_the_certificate_and_from_the_aggregators_words() {
    promise(|| {
        let (house, _one) = house()?;
        let other = Authority::new(&scratch::folder("other")?, "other")?;
        let patch = bundle(&other.certificate())?;
        house.kubectl.run_with(
            &["patch", "apiservice", "v1.metrics.k8s.io", "--type=merge", "-p", &patch],
            "",
        )?;
        house.finds("seen", &[], &[(&format!("{V1}/certificate"), "bundle-wrong")])?;
        // Without a way to the host all that there is are Go's words.
        house.finds(
            "heard",
            &["--server=https://127.0.0.1:1"],
            &[
                ("host/kube-system/metrics-server", "given-host-unreachable"),
                (&format!("{V1}/available"), "bundle-wrong"),
            ],
        )?;
        house.register()?;
        house.well().map(drop)
    })
}

#[test]
fn a_service_without_endpoints_and_one_that_is_not_there() {
    promise(|| {
        let (house, _one) = house()?;
        house.kubectl.run("delete endpointslice -n kube-system metrics-server")?;
        house.finds(
            "no endpoints",
            &[],
            &[
                (&format!("{V1}/endpoints"), "endpoints-missing"),
                (&format!("{V1BETA1}/endpoints"), "endpoints-missing"),
            ],
        )?;
        house.register()?;
        house.well()?;
        let patch = r#"{"spec":{"service":{"name":"nowhere"}}}"#;
        house
            .kubectl
            .run_with(&["patch", "apiservice", "v1.metrics.k8s.io", "--type=merge", "-p", patch], "")?;
        house.finds("no Service", &[], &[(&format!("{V1}/service"), "service-missing")])?;
        house.register()?;
        house.well()?;
        house
            .finds(
                "no APIService",
                &["--api-service=v1.nothing.example.com"],
                &[("apiservice/v1.nothing.example.com", "apiservice-missing")],
            )
            .map(drop)
    })
}

#[test]
fn an_expired_certificate_is_named() {
    promise(|| {
        let (house, _one) = house()?;
        house.show(&house.control_plane.ca().expired_server("expired", &NAMES)?)?;
        let expected = [
            (format!("{V1}/certificate"), "certificate-expired"),
            (format!("{V1BETA1}/certificate"), "certificate-expired"),
        ];
        let expected: Vec<(&str, &str)> = expected.iter().map(|(a, b)| (a.as_str(), *b)).collect();
        let text = house.finds("expired", &[], &expected)?;
        ensure!(text.contains("2021-01-01"), "{text}");
        house.show(&house.control_plane.ca().server("elsewhere", &["elsewhere.svc"])?)?;
        let expected: Vec<(&str, &str)> = expected.iter().map(|(a, _)| (*a, "certificate-name")).collect();
        let text = house.finds("another name", &[], &expected)?;
        ensure!(text.contains("it is for elsewhere.svc"), "{text}");
        house.show(&house.control_plane.ca().server("host", &NAMES)?)?;
        house.well().map(drop)
    })
}

#[test]
fn a_host_that_does_not_run() {
    promise(|| {
        let (house, _one) = house()?;
        drop(house.host().take());
        until("it is named, and nothing else", LATER, || {
            let (found, text) = house.findings(&[])?;
            // Whether the aggregator has looked already decides which row is the first to say so.
            let found: BTreeSet<(String, String)> = found
                .into_iter()
                .map(|(check, code)| {
                    (
                        check.trim_end_matches("/available").trim_end_matches("/answers").to_owned(),
                        code,
                    )
                })
                .collect();
            let expected = [V1, V1BETA1].map(|row| (row.to_owned(), "host-unreachable".to_owned()));
            ensure!(found == BTreeSet::from(expected), "found {found:?}\n{text}");
            Ok(())
        })?;
        house.serve()?;
        house.well().map(drop)
    })
}

#[test]
fn a_namespace_that_somebody_elses_apiservice_holds_up() {
    promise(|| {
        let (house, _one) = house()?;
        house.kubectl.apply(
            r#"{"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.broken.example.com"},
                "spec": {"group": "broken.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
                    "insecureSkipTLSVerify": true, "service": {"name": "nowhere", "namespace": "default"}}}"#,
        )?;
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        until("kube-apiserver knows that it does not answer", LATER, || {
            let groups = house
                .control_plane
                .api()
                .get_with("/apis", &[("accept", accept)])?
                .ok()?
                .text();
            ensure!(groups.contains("Stale"), "{groups}");
            Ok(())
        })?;
        house.kubectl.run("create namespace stuck")?;
        house.kubectl.run("delete namespace stuck --wait=false")?;
        let text = house.finds("it is named", &[], &[("namespace/stuck", "namespace-stuck")])?;
        ensure!(
            text.contains("because APIService v1.broken.example.com cannot be discovered"),
            "{text}"
        );
        house.kubectl.run("delete apiservice v1.broken.example.com")?;
        house.well().map(drop)
    })
}

#[test]
fn who_may_not_look_is_told_so() {
    promise(|| {
        let (house, _one) = house()?;
        let pair = house.control_plane.ca().user("curious", None)?;
        let curious = house.control_plane.kubeconfig_of("curious", &pair)?;
        let (code, text) = House::doctor_as(&curious, &[])?;
        ensure!(code == Some(0) && text.contains(" 0 WARN, 0 FAIL, "), "{text}");
        for row in ["trust/configmap", "rights/tokenreviews", "apiservices", "namespaces"] {
            let line = text.lines().find(|line| line.split_whitespace().nth(1) == Some(row));
            ensure!(
                line.is_some_and(|line| line.starts_with("SKIP") && line.contains("you may not")),
                "{row}: {line:?}\n{text}"
            );
        }
        Ok(())
    })
}
