//! Controllers behind a real control plane: `examples/config-keeper` keeps ConfigMaps in step with Services, whatever happens to the
//! ConfigMaps, to the host, and to the leader.

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use outrigger_e2e::kubectl::Kubectl;
use outrigger_e2e::outrigger::{Options, account, example};
use outrigger_e2e::wait::{LATER, SOON};
use outrigger_e2e::{ControlPlane, Outrigger, promise, until};
use serde_json::{Value, json};

const PLUGIN: &str = "config-keeper";
const ASKS: &str = "config-keeper.example.com/address";

/// What README.md of the example tells the operator to grant.
fn grant(kubectl: &Kubectl) -> Result<()> {
    let user = format!("outrigger:plugin:{PLUGIN}");
    let role = |name: &str, rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
    let binding = |name: &str, subject: Value| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}, "subjects": [subject],
        })
    };
    let host = json!({"kind": "ServiceAccount", "name": "metrics-server", "namespace": "kube-system"});
    let plugin = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user});
    let items = [
        role(
            "outrigger-as-config-keeper",
            json!([{"apiGroups": [""], "resources": ["users", "groups"], "resourceNames": [user, "outrigger:plugins"], "verbs": ["impersonate"]}]),
        ),
        binding("outrigger-as-config-keeper", host),
        role(
            "config-keeper",
            json!([
                {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch", "create", "update", "delete"]},
            ]),
        ),
        binding("config-keeper", plugin),
    ];
    kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
    Ok(())
}

/// A host with the example, and the controllers' election.
fn host(control_plane: &ControlPlane, kubeconfig: &std::path::Path, name: &str, address: Ipv4Addr) -> Result<Outrigger> {
    let options = Options {
        name: name.to_owned(),
        address,
        plugins: vec![example(PLUGIN)],
        arguments: vec![format!("--grant={PLUGIN}=objects")],
        resolution: 15,
    };
    Outrigger::start(control_plane, kubeconfig, &options)
}

fn ask_for(kubectl: &Kubectl, namespace: &str, service: &str, map: &str) -> Result<()> {
    kubectl.run(&format!("create service clusterip {service} --tcp=80:80 -n {namespace}"))?;
    kubectl.run(&format!("annotate service {service} {ASKS}={map} -n {namespace}"))?;
    Ok(())
}

/// What a ConfigMap says, if it is there.
fn data(kubectl: &Kubectl, namespace: &str, name: &str) -> Result<Value> {
    let text = kubectl.run(&format!("get configmap {name} -n {namespace} -o json"))?;
    Ok(serde_json::from_str::<Value>(&text)?
        .get_mut("data")
        .map(Value::take)
        .unwrap_or_default())
}

fn in_step(kubectl: &Kubectl, namespace: &str, service: &str, map: &str) -> Result<()> {
    let found = data(kubectl, namespace, map)?;
    let wanted = json!({"host": format!("{service}.{namespace}.svc"), "port-80-80": "80"});
    ensure!(found == wanted, "{found}");
    Ok(())
}

fn gone(kubectl: &Kubectl, namespace: &str, map: &str) -> Result<()> {
    let left = kubectl.run(&format!("get configmap {map} -n {namespace} --ignore-not-found -o name"))?;
    ensure!(left.trim().is_empty(), "{left} is still there");
    Ok(())
}

fn holder(kubectl: &Kubectl) -> Result<String> {
    Ok(kubectl
        .run("get lease outrigger -n kube-system -o jsonpath={.spec.holderIdentity}")?
        .trim()
        .to_owned())
}

fn metric(host: &Outrigger, control_plane: &ControlPlane, line: &str) -> Result<()> {
    let text = host.client(Some(control_plane.admin()))?.get("/metrics")?.ok()?.text();
    ensure!(text.contains(line), "{line} is not in /metrics");
    Ok(())
}

/// Each test has a control plane of its own, and both keep the host's kubeconfig in one place.
static ALONE: Mutex<()> = Mutex::new(());

const LEADS: &str = r#"leader_election_master_status{name="outrigger"} 1"#;
const WAITS: &str = r#"leader_election_master_status{name="outrigger"} 0"#;

#[test]
fn config_maps_are_kept_in_step_with_services() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    promise(|| {
        let control_plane = ControlPlane::start_in("controllers")?;
        let kubectl = control_plane.kubectl()?;
        let kubeconfig = account(&control_plane)?;
        let one = host(&control_plane, &kubeconfig, "one", Ipv4Addr::new(127, 96, 0, 41))?;

        // Without rights the controller waits, says once for what, and begins when it has them.
        until("the log says what is missing", SOON, || {
            ensure!(
                one.program()
                    .log()
                    .contains("may not act as user outrigger:plugin:config-keeper"),
                "not yet"
            );
            Ok(())
        })?;
        kubectl.run("create namespace main")?;
        ask_for(&kubectl, "main", "web", "web-address")?;
        gone(&kubectl, "main", "web-address")?;
        grant(&kubectl)?;
        until("the first ConfigMap", LATER, || {
            in_step(&kubectl, "main", "web", "web-address")
        })?;

        ask_for(&kubectl, "main", "api", "api-address")?;
        until("one for a new Service", SOON, || {
            in_step(&kubectl, "main", "api", "api-address")
        })?;
        kubectl.run_with(
            &[
                "patch",
                "configmap",
                "web-address",
                "-n",
                "main",
                "-p",
                r#"{"data": {"host": "elsewhere", "more": "1"}}"#,
            ],
            "",
        )?;
        until("an edit is undone", SOON, || in_step(&kubectl, "main", "web", "web-address"))?;
        kubectl.run("delete configmap web-address -n main")?;
        until("a deleted one comes back", SOON, || {
            in_step(&kubectl, "main", "web", "web-address")
        })?;
        metric(
            &one,
            &control_plane,
            r#"workqueue_adds_total{name="config-keeper/addresses"}"#,
        )?;
        metric(&one, &control_plane, LEADS)?;

        // kube-apiserver knows who it was.
        let text = kubectl.run("get configmap web-address -n main -o json --show-managed-fields")?;
        let made: Value = serde_json::from_str(&text)?;
        let owner = made.pointer("/metadata/ownerReferences/0/kind").and_then(Value::as_str);
        ensure!(owner == Some("Service"), "{made}");

        kubectl.run("delete service web -n main")?;
        until("it goes with its Service", LATER, || gone(&kubectl, "main", "web-address"))?;

        // kill -9: what changes meanwhile is seen by the next one, which takes the lead when the lease has run out.
        drop(one);
        kubectl.run("delete configmap api-address -n main")?;
        ask_for(&kubectl, "main", "late", "late-address")?;
        let _two = host(&control_plane, &kubeconfig, "two", Ipv4Addr::new(127, 96, 0, 42))?;
        until("what was deleted meanwhile is back", LATER, || {
            in_step(&kubectl, "main", "api", "api-address")
        })?;
        until("what was asked for meanwhile is there", SOON, || {
            in_step(&kubectl, "main", "late", "late-address")
        })?;
        Ok(())
    })
}

const WORKS: &str = r#"outrigger_controller_reconciles_total{plugin="config-keeper",controller="addresses",result="#;

/// Who leads reconciles, who waits does not; whichever way the leader ends, the other one takes over.
#[test]
fn one_replica_leads_and_another_takes_over() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    promise(|| {
        let control_plane = ControlPlane::start_in("leaders")?;
        let kubectl = control_plane.kubectl()?;
        let kubeconfig = account(&control_plane)?;
        let one = host(&control_plane, &kubeconfig, "first", Ipv4Addr::new(127, 96, 0, 51))?;
        until("the log says what is missing", SOON, || {
            let sentence = "may not act as user outrigger:plugin:config-keeper";
            ensure!(one.program().log().contains(sentence), "{}", one.program().log());
            Ok(())
        })?;
        grant(&kubectl)?;
        until("the first one leads", LATER, || metric(&one, &control_plane, LEADS))?;
        until("it works", LATER, || metric(&one, &control_plane, WORKS))?;
        let leader = holder(&kubectl)?;

        let two = host(&control_plane, &kubeconfig, "second", Ipv4Addr::new(127, 96, 0, 52))?;
        until("the other replica waits", SOON, || metric(&two, &control_plane, WAITS))?;
        metric(&one, &control_plane, LEADS)?;
        ensure!(holder(&kubectl)? == leader, "the lead has changed without a reason");

        // kill -9: the lease has to run out.
        drop(one);
        until("the survivor leads", LATER, || metric(&two, &control_plane, LEADS))?;
        until("the survivor works", SOON, || metric(&two, &control_plane, WORKS))?;
        ensure!(holder(&kubectl)? != leader, "the lease still names the one that was killed");

        // In order: the lease is given up, and taken at the next look.
        let three = host(&control_plane, &kubeconfig, "third", Ipv4Addr::new(127, 96, 0, 53))?;
        until("the third replica waits", SOON, || metric(&three, &control_plane, WAITS))?;
        ensure!(
            metric(&three, &control_plane, WORKS).is_err(),
            "it reconciles without the lead"
        );
        two.program().terminate()?;
        until("the leader has ended", SOON, || {
            two.program().ended()?.map(drop).context("it still runs")
        })?;
        ensure!(
            two.program().log().contains("the lease is given up"),
            "{}",
            two.program().log()
        );
        until("the third replica leads", SOON, || metric(&three, &control_plane, LEADS))?;
        until("the third replica works", SOON, || metric(&three, &control_plane, WORKS))?;
        Ok(())
    })
}
