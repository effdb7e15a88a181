//! The chart with each of [`CASES`]: helm finds no fault, a cluster takes it, the binary takes its flags. What is nonsense is refused.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::control_plane::repository;
use outrigger_e2e::promise;
use serde_json::{Value, json};

use crate::house::{NAMESPACE, arguments, deploy, documents, house, one, takes, upstream};
use crate::values::{CASES, NONSENSE};

fn chart() -> String {
    deploy("helm/outrigger").display().to_string()
}

#[test]
fn a_cluster_takes_whatever_the_chart_renders() {
    promise(|| {
        let house = house()?;
        for (name, values, needles) in CASES {
            house
                .helm(&["lint", "--strict", &chart(), "--values", "-"], values)
                .with_context(|| name)?;
            let rendered = house.render(values).with_context(|| name)?;
            house.accepts(&rendered).with_context(|| name)?;
            for needle in needles {
                let (wanted, text) = needle.strip_prefix('!').map_or((true, *needle), |text| (false, text));
                ensure!(rendered.contains(text) == wanted, "{name}: {needle}\n{rendered}");
            }
            for arguments in arguments(&documents(&rendered)?) {
                let (taken, why) = takes(&arguments)?;
                ensure!(taken, "{name}: {arguments:?}: {why}");
            }
        }
        Ok(())
    })
}

#[test]
fn nonsense_is_refused_with_the_value_that_is_wrong() {
    promise(|| {
        let house = house()?;
        for (values, expected) in NONSENSE {
            let refused = house.render(values).err().with_context(|| format!("{values} passed"))?;
            ensure!(format!("{refused:#}").contains(expected), "{values}: {refused:#}");
        }
        Ok(())
    })
}

/// Paths of all values, as far as they are objects of named fields.
fn paths(values: &Value, before: &str, to: &mut BTreeSet<String>) {
    for (name, value) in values.as_object().into_iter().flatten() {
        let path = format!("{before}{name}");
        paths(value, &format!("{path}."), to);
        to.insert(path);
    }
}

#[test]
fn values_are_metrics_servers_where_they_mean_the_same() {
    promise(|| {
        let read = |path: std::path::PathBuf| -> Result<Value> { Ok(serde_saphyr::from_str(&std::fs::read_to_string(path)?)?) };
        let theirs = read(upstream()?.join("charts/metrics-server/values.yaml"))?;
        let ours = read(deploy("helm/outrigger/values.yaml"))?;
        let (mut them, mut us) = (BTreeSet::new(), BTreeSet::new());
        paths(&theirs, "", &mut them);
        paths(&ours, "", &mut us);
        // What has no meaning here: the memory that a host needs does not grow as that one's does; PodSecurityPolicy is gone.
        let meaningless = |path: &&String| !path.starts_with("addonResizer") && *path != "rbac.pspEnabled";
        let missing: Vec<&String> = them.difference(&us).filter(meaningless).collect();
        ensure!(missing.is_empty(), "metrics-server's chart also has {missing:?}");
        Ok(())
    })
}

#[test]
fn the_schema_knows_every_value_and_every_grant() {
    promise(|| {
        let text = std::fs::read_to_string(deploy("helm/outrigger/values.schema.json"))?;
        let schema: Value = serde_json::from_str(&text)?;
        let values: Value = serde_saphyr::from_str(&std::fs::read_to_string(deploy("helm/outrigger/values.yaml"))?)?;
        let names =
            |value: &Value| -> BTreeSet<String> { value.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect() };
        let mut known = names(&schema["properties"]);
        // helm's own, which every chart gets.
        ensure!(known.remove("global"));
        ensure!(known == names(&values), "{known:?} and {:?}", names(&values));
        let grants: Value = serde_json::from_str(&std::fs::read_to_string(repository().join("docs/grants.schema.json"))?)?;
        ensure!(
            schema["$defs"] == grants["$defs"],
            "values.schema.json has other grants than docs/grants.schema.json"
        );
        Ok(())
    })
}

#[test]
fn rights_follow_grants() {
    promise(|| {
        let house = house()?;
        let (_, values, _) = CASES
            .iter()
            .find(|(name, ..)| *name == "plugins of one's own")
            .context("a case")?;
        let all = documents(&house.render(values)?)?;
        let role = one(&all, "ClusterRole", "outrigger:impersonate-plugins")?;
        ensure!(
            role["rules"][0]["resourceNames"] == json!(["outrigger:plugin:harbor"]),
            "{role}"
        );
        let role = one(&all, "Role", "outrigger:impersonate-master")?;
        ensure!(
            role["metadata"]["namespace"] == "harbor" && role["rules"][0]["resourceNames"] == json!(["master"]),
            "{role}"
        );
        let role = one(&all, "Role", "outrigger:secret-keys")?;
        ensure!(
            role["metadata"]["namespace"] == "harbor" && role["rules"][0]["verbs"] == json!(["get"]),
            "{role}"
        );
        let role = one(&all, "ClusterRole", "system:outrigger")?;
        ensure!(
            !role.to_string().contains("nodes"),
            "a right to kubelets that no plugin needs: {role}"
        );
        let role = one(&all, "ClusterRole", "system:outrigger:authority")?;
        ensure!(
            role["rules"][1]["resourceNames"] == json!(["v1.harbor.example.com", "v1beta1.harbor.example.com"]),
            "{role}"
        );
        let grants = &one(&all, "ConfigMap", "outrigger-grants")?["data"]["grants.yaml"];
        let file: Value = serde_saphyr::from_str(grants.as_str().context("a file")?)?;
        ensure!(
            file["kind"] == "Grants" && file["plugins"]["harbor"]["limits"]["memory"] == "128Mi",
            "{file}"
        );
        // The same grants by default mean metrics, and nobody is played.
        let all = documents(&house.render("")?)?;
        ensure!(
            one(&all, "ClusterRole", "system:outrigger")?
                .to_string()
                .contains("nodes/stats")
        );
        ensure!(one(&all, "ClusterRole", "outrigger:impersonate-plugins").is_err());
        Ok(())
    })
}

#[test]
fn a_release_is_installed_changed_and_removed() {
    promise(|| {
        let house = house()?;
        let release =
            |verb: &str, values: &str| house.helm(&[verb, "trip", &chart(), "--namespace", NAMESPACE, "--values", "-"], values);
        // Another group than the other tests', which all share the cluster.
        let apis = "apiService: {create: false}\napiServices: [{group: trip.example.com, versions: [v1]}]\n";
        let notes = release("install", &format!("{apis}tls: {{type: helm}}"))?;
        ensure!(notes.contains("apiservice/v1.trip.example.com"), "{notes}");
        let bundle = || -> Result<(String, String)> {
            let path = "jsonpath={.spec.caBundle}";
            let secret = "jsonpath={.data.ca\\.crt}";
            Ok((
                house.kubectl.run(&format!("get apiservice v1.trip.example.com -o {path}"))?,
                house
                    .kubectl
                    .run(&format!("get secret trip-outrigger-tls -n {NAMESPACE} -o {secret}"))?,
            ))
        };
        let first = bundle()?;
        ensure!(first.0 == first.1 && !first.0.is_empty(), "{first:?}");
        release("upgrade", &format!("{apis}tls: {{type: helm}}\nreplicas: 2"))?;
        ensure!(bundle()? == first, "another authority after an upgrade");

        release("upgrade", &format!("{apis}persistence: {{enabled: true}}"))?;
        let service = house.kubectl.run("get apiservice v1.trip.example.com -o jsonpath={.spec}")?;
        ensure!(!service.contains("caBundle"), "{service}");
        house.helm(&["uninstall", "trip", "--namespace", NAMESPACE], "")?;
        let left = house.kubectl.run(&format!(
            "get all,pvc,cm,roles,apiservices -n {NAMESPACE} -l app.kubernetes.io/instance=trip -o name"
        ))?;
        let left: Vec<&str> = left
            .lines()
            .filter(|name| !name.starts_with("pod/") && !name.starts_with("replicaset"))
            .collect();
        ensure!(left == ["persistentvolumeclaim/trip-outrigger"], "{left:?}");
        Ok(())
    })
}
