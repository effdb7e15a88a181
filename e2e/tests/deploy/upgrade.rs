//! `kubectl apply` over metrics-server's own manifests takes its place, and back: the same objects, changed in place.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::control_plane::repository;
use outrigger_e2e::promise;
use serde_json::Value;

use crate::house::{House, deploy, own_house, upstream};

/// What must stay one object.
const OBJECTS: [&str; 7] = [
    "deployment/metrics-server",
    "service/metrics-server",
    "serviceaccount/metrics-server",
    "apiservice/v1beta1.metrics.k8s.io",
    "clusterrole/system:metrics-server",
    "clusterrolebinding/metrics-server:system:auth-delegator",
    "rolebinding/metrics-server-auth-reader",
];

/// The same of its chart, of which a release has its own names.
const RELEASED: &[&str] = &[
    "deployment/metrics-server",
    "service/metrics-server",
    "serviceaccount/metrics-server",
    "apiservice/v1beta1.metrics.k8s.io",
    "clusterrole/system:metrics-server",
];

fn get(house: &House, object: &str) -> Result<Value> {
    Ok(serde_json::from_str(
        &house.kubectl.run(&format!("get {object} -n kube-system -o json"))?,
    )?)
}

fn uids(house: &House, objects: &[&str]) -> Result<Vec<Value>> {
    objects
        .iter()
        .map(|object| Ok(get(house, object)?["metadata"]["uid"].clone()))
        .collect()
}

/// As the host does it, which is not the test's to show here.
fn trusted(house: &House) -> Result<()> {
    for version in ["v1", "v1beta1"] {
        let name = format!("{version}.metrics.k8s.io");
        let patch = r#"{"spec": {"caBundle": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCi0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K"}}"#;
        house.kubectl.run_with(
            &[
                "patch",
                "apiservice",
                &name,
                "--type=merge",
                "--field-manager=outrigger",
                "-p",
                patch,
            ],
            "",
        )?;
    }
    Ok(())
}

fn there_and_back(house: &House, theirs: &Path, ours: &Path) -> Result<()> {
    let apply = |manifests: &str| house.kubectl.apply(manifests);
    let (theirs, ours) = (house.kustomize(theirs)?, house.kustomize(ours)?);
    apply(&theirs).context("metrics-server's own")?;
    let before = uids(house, &OBJECTS)?;

    apply(&ours).context("ours over metrics-server's")?;
    ensure!(uids(house, &OBJECTS)? == before, "an object was made anew");
    let service = get(house, "apiservice/v1beta1.metrics.k8s.io")?;
    ensure!(service["spec"].get("insecureSkipTLSVerify").is_none(), "{service}");
    let pod = &get(house, "deployment/metrics-server")?["spec"]["template"]["spec"];
    ensure!(pod["containers"].as_array().is_some_and(|all| all.len() == 1), "{pod}");
    ensure!(pod["containers"][0]["args"][0] == "serve", "{pod}");
    let rules = get(house, "clusterrole/system:metrics-server")?["rules"].to_string();
    ensure!(rules.contains("nodes/stats") && !rules.contains("nodes/metrics"), "{rules}");

    trusted(house)?;
    let bundle =
        |house: &House| -> Result<Value> { Ok(get(house, "apiservice/v1beta1.metrics.k8s.io")?["spec"]["caBundle"].clone()) };
    let trust = bundle(house)?;
    apply(&ours).context("ours again")?;
    ensure!(bundle(house)? == trust, "what the host wrote is gone");
    house.kubectl.run_with(
        &["apply", "--server-side", "--dry-run=server", "--force-conflicts", "-f", "-"],
        &ours,
    )?;

    // kube-apiserver takes no caBundle beside insecureSkipTLSVerify, and the host would put it back: hence the page's commands.
    let refused = apply(&theirs).err().context("metrics-server's over a caBundle passed")?;
    ensure!(
        format!("{refused:#}").matches("is invalid").count() == 1 && format!("{refused:#}").contains("if caBundle is present"),
        "{refused:#}"
    );
    for command in page()? {
        house.kubectl.run(&command).with_context(|| command.clone())?;
    }
    apply(&theirs).context("metrics-server's over ours")?;
    ensure!(uids(house, &OBJECTS)? == before, "an object was made anew");
    let service = get(house, "apiservice/v1beta1.metrics.k8s.io")?;
    ensure!(service["spec"]["insecureSkipTLSVerify"] == true, "{service}");
    let pod = &get(house, "deployment/metrics-server")?["spec"]["template"]["spec"];
    ensure!(pod["containers"][0]["args"][0] == "--cert-dir=/tmp", "{pod}");
    ensure!(pod["volumes"].as_array().is_some_and(|all| all.len() == 1), "{pod}");
    Ok(())
}

/// The commands that lead back, before metrics-server's manifests are applied.
fn page() -> Result<Vec<String>> {
    let page = std::fs::read_to_string(repository().join("docs/in-a-cluster.md"))?;
    let (_, section) = page.split_once("## Back to metrics-server").context("no such heading")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let commands = section.lines().filter_map(|line| line.trim().strip_prefix("kubectl "));
    let (last, first): (Vec<&str>, Vec<&str>) = commands.partition(|command| command.starts_with("apply "));
    ensure!(last.len() == 1 && !first.is_empty(), "{last:?} {first:?}");
    Ok(first.into_iter().map(|command| command.replace('\'', "")).collect())
}

#[test]
fn metrics_server_is_replaced_in_place_and_comes_back() {
    promise(|| {
        let (house, theirs) = (own_house("manifests")?, upstream()?.join("manifests/overlays"));
        for (theirs, ours) in [
            (theirs.join("release"), "release"),
            (theirs.join("release-ha-1.21+"), "high-availability"),
        ] {
            there_and_back(&house, &theirs, &deploy("metrics/overlays").join(ours)).with_context(|| ours)?;
        }
        Ok(())
    })
}

#[test]
fn a_release_of_metrics_servers_chart_becomes_one_of_ours_and_comes_back() {
    promise(|| {
        let house = own_house("releases")?;
        let helm = |arguments: &str| house.helm(&arguments.split_whitespace().collect::<Vec<_>>(), "");
        let (theirs, ours) = (upstream()?.join("charts/metrics-server"), deploy("helm/outrigger"));
        helm(&format!("install metrics-server {} -n kube-system", theirs.display()))?;
        let before = uids(&house, RELEASED)?;
        // As docs/in-a-cluster.md says.
        let named = "--reset-values --set nameOverride=metrics-server";
        helm(&format!("upgrade metrics-server {} -n kube-system {named}", ours.display()))?;
        ensure!(uids(&house, RELEASED)? == before, "an object was made anew");
        let service = get(&house, "apiservice/v1beta1.metrics.k8s.io")?;
        ensure!(service["spec"].get("insecureSkipTLSVerify").is_none(), "{service}");
        helm("rollback metrics-server 1 -n kube-system")?;
        ensure!(uids(&house, RELEASED)? == before, "an object was made anew");
        Ok(())
    })
}
