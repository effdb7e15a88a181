//! The kustomization: its overlays render, a cluster takes them, and what is promised of them is in them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use outrigger_e2e::{promise, scratch};
use serde_json::{Value, json};

use crate::house::{arguments, deploy, documents, house, one, takes, upstream};

const OVERLAYS: [&str; 4] = ["release", "high-availability", "cert-manager", "given-certificate"];

/// The folder of an overlay; one that wants files has them in a copy.
fn overlay(name: &str) -> Result<PathBuf> {
    let path = format!("overlays/{name}");
    if name != "given-certificate" {
        return Ok(deploy("metrics").join(path));
    }
    let (copy, ca) = (scratch::folder("metrics")?, house()?.control_plane.ca());
    copy_all(&deploy("metrics"), &copy)?;
    let pair = ca.server("given", &["metrics-server.kube-system.svc"])?;
    let folder = copy.join(path);
    for (from, to) in [
        (&ca.certificate(), "ca.crt"),
        (&pair.certificate, "tls.crt"),
        (&pair.key, "tls.key"),
    ] {
        std::fs::copy(from, folder.join(to))?;
    }
    Ok(folder)
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_all(&path, &to)?;
        } else {
            std::fs::copy(&path, &to)?;
        }
    }
    Ok(())
}

#[test]
fn a_cluster_takes_every_overlay() {
    promise(|| {
        let house = house()?;
        for name in OVERLAYS {
            let rendered = house.kustomize(&overlay(name)?).with_context(|| name)?;
            house.accepts(&rendered).with_context(|| name)?;
            let all = documents(&rendered)?;
            for document in &all {
                let labels = &document["metadata"]["labels"];
                ensure!(labels["k8s-app"] == "metrics-server", "{name}: {document}");
            }
            for version in ["v1", "v1beta1"] {
                let spec = &one(&all, "APIService", &format!("{version}.metrics.k8s.io"))?["spec"];
                ensure!(spec.get("insecureSkipTLSVerify").is_none(), "{name}: {spec}");
            }
            for arguments in arguments(&all) {
                let (taken, why) = takes(&arguments)?;
                ensure!(taken, "{name}: {arguments:?}: {why}");
            }
        }
        Ok(())
    })
}

#[test]
fn components_yaml_is_the_release_overlay() {
    promise(|| {
        let (rendered, file) = (house()?.kustomize(&overlay("release")?)?, deploy("metrics/components.yaml"));
        if std::env::var_os("OUTRIGGER_UPDATE").is_some() {
            std::fs::write(&file, &rendered)?;
        }
        ensure!(
            std::fs::read_to_string(&file).unwrap_or_default() == rendered,
            "deploy/metrics/components.yaml is not what the release overlay renders: run this test with OUTRIGGER_UPDATE=1"
        );
        Ok(())
    })
}

#[test]
fn each_way_to_a_certificate_is_whole() {
    promise(|| {
        let house = house()?;
        let of = |name: &str| documents(&house.kustomize(&overlay(name)?)?);
        let has = |all: &[Value], flag: &str| arguments(all).iter().flatten().any(|a| a.starts_with(flag));

        let own = of("release")?;
        ensure!(has(&own, "--ca-secret=kube-system/metrics-server-ca"));
        let role = one(&own, "Role", "metrics-server:authority")?;
        ensure!(role["rules"][1]["resourceNames"] == json!(["metrics-server-ca"]), "{role}");

        let given = of("given-certificate")?;
        ensure!(!has(&given, "--ca-secret") && has(&given, "--tls-cert-file=/certificates/tls.crt"));
        let bundle = BASE64_STANDARD.encode(std::fs::read(house.control_plane.ca().certificate())?);
        for version in ["v1", "v1beta1"] {
            let service = one(&given, "APIService", &format!("{version}.metrics.k8s.io"))?;
            // kustomize breaks the lines of what it takes from a Secret; whoever reads base64 reads over that.
            let given = service["spec"]["caBundle"].as_str().unwrap_or_default().replace('\n', "");
            ensure!(given == bundle, "{service}");
        }

        let theirs = of("cert-manager")?;
        ensure!(!has(&theirs, "--ca-secret") && has(&theirs, "--tls-private-key-file=/certificates/tls.key"));
        let certificate = one(&theirs, "Certificate", "metrics-server")?;
        ensure!(
            certificate["spec"]["dnsNames"] == json!(["metrics-server.kube-system.svc"]),
            "{certificate}"
        );
        let volumes = &one(&theirs, "Deployment", "metrics-server")?["spec"]["template"]["spec"]["volumes"];
        ensure!(
            volumes[1]["secret"]["secretName"] == certificate["spec"]["secretName"],
            "{volumes}"
        );
        for version in ["v1", "v1beta1"] {
            let service = one(&theirs, "APIService", &format!("{version}.metrics.k8s.io"))?;
            let from = &service["metadata"]["annotations"]["cert-manager.io/inject-ca-from"];
            ensure!(from == "kube-system/metrics-server", "{service}");
        }
        for rendered in [&given, &theirs] {
            let secrets = |rule: &Value| rule["resources"].to_string().contains("secrets");
            let may = rendered
                .iter()
                .flat_map(|d| d["rules"].as_array().into_iter().flatten())
                .any(secrets);
            ensure!(!may, "a right to Secrets that nothing needs");
        }
        Ok(())
    })
}

#[test]
fn two_replicas_are_on_two_nodes_and_never_both_evicted() {
    promise(|| {
        let all = documents(&house()?.kustomize(&overlay("high-availability")?)?)?;
        let spec = &one(&all, "Deployment", "metrics-server")?["spec"];
        let apart = &spec["template"]["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
        ensure!(
            spec["replicas"] == 2 && apart["topologyKey"] == "kubernetes.io/hostname",
            "{spec}"
        );
        let container = &spec["template"]["spec"]["containers"][0];
        for argument in ["--share-collection", "--peer-advertise-ip=$(POD_IP)"] {
            ensure!(
                container["args"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|arg| arg == argument)),
                "{container}"
            );
        }
        ensure!(container["env"][0]["name"] == "POD_IP", "{container}");
        let places = &one(&all, "Role", "metrics-server:replicas")?["rules"][1]["resourceNames"];
        ensure!(places.as_array().is_some_and(|places| places.len() == 8), "{places}");
        let budget = one(&all, "PodDisruptionBudget", "metrics-server")?;
        ensure!(budget["spec"]["minAvailable"] == 1, "{budget}");
        ensure!(budget["spec"]["selector"] == spec["selector"], "{budget}");
        Ok(())
    })
}

/// What of metrics-server's objects must be the same, as JSON pointers.
const SAME: [(&str, &str, &[&str]); 3] = [
    ("Service", "metrics-server", &["/spec", "/metadata/labels"]),
    (
        "APIService",
        "v1beta1.metrics.k8s.io",
        &[
            "/metadata/labels",
            "/spec/service",
            "/spec/groupPriorityMinimum",
            "/spec/versionPriority",
        ],
    ),
    (
        "Deployment",
        "metrics-server",
        &[
            "/metadata/labels",
            "/spec/selector",
            "/spec/strategy",
            "/spec/template/metadata",
            "/spec/template/spec/serviceAccountName",
            "/spec/template/spec/priorityClassName",
            "/spec/template/spec/nodeSelector",
            "/spec/template/spec/volumes",
            "/spec/template/spec/containers/0/name",
            "/spec/template/spec/containers/0/ports",
            "/spec/template/spec/containers/0/readinessProbe",
            "/spec/template/spec/containers/0/livenessProbe",
            "/spec/template/spec/containers/0/resources",
            "/spec/template/spec/containers/0/securityContext",
            "/spec/template/spec/containers/0/volumeMounts",
        ],
    ),
];

#[test]
fn the_objects_are_metrics_servers() {
    promise(|| {
        let house = house()?;
        for (theirs, ours) in [("release", "release"), ("release-ha-1.21+", "high-availability")] {
            let theirs = documents(&house.kustomize(&upstream()?.join("manifests/overlays").join(theirs))?)?;
            let ours = documents(&house.kustomize(&overlay(ours)?)?)?;
            for (kind, name, pointers) in SAME {
                let (theirs, ours) = (one(&theirs, kind, name)?, one(&ours, kind, name)?);
                for pointer in pointers {
                    let (theirs, ours) = (theirs.pointer(pointer), ours.pointer(pointer));
                    ensure!(
                        theirs.is_some() && theirs == ours,
                        "{kind} {pointer}: {theirs:?} and {ours:?}"
                    );
                }
            }
            let names = |all: &[Value]| -> BTreeSet<String> {
                let name = |d: &Value| format!("{} {}", d["kind"], d["metadata"]["name"]);
                all.iter().map(name).collect()
            };
            let missing: Vec<String> = names(&theirs).difference(&names(&ours)).cloned().collect();
            ensure!(missing.is_empty(), "metrics-server has also {missing:?}");
        }
        Ok(())
    })
}
