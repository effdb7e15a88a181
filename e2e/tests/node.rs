//! One real kubelet, real containers: what they use, by a kernel's account. Run by `e2e/node/test`.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::node::{IMAGE, NAME, RealNode};
use outrigger_e2e::outrigger::{Options, account, metrics_plugin};
use outrigger_e2e::quantity::{bytes, millicores};
use outrigger_e2e::wait::LATER;
use outrigger_e2e::{ControlPlane, Outrigger, promise, until};
use serde_json::{Value, json};

/// A pod on the real node; its containers are name and arguments.
fn pod(name: &str, init: &[Value], containers: &[(&str, &str)]) -> Value {
    let containers: Vec<Value> = containers
        .iter()
        .map(|(name, arguments)| container(name, arguments))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "nodeName": NAME, "hostNetwork": true, "dnsPolicy": "Default", "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1, "initContainers": init, "containers": containers,
        },
    })
}

fn container(name: &str, arguments: &str) -> Value {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    json!({"name": name, "image": IMAGE, "imagePullPolicy": "Never", "args": arguments})
}

#[test]
#[ignore = "needs root and containerd: e2e/node/test"]
fn a_real_kubelets_containers_read_as_they_run() {
    promise(|| {
        let control_plane = ControlPlane::start()?;
        let node = RealNode::start(&control_plane)?;
        let kubectl = control_plane.kubectl()?;
        let mut sidecar = container("proxy", "-millicores=20");
        sidecar["restartPolicy"] = json!("Always");
        let pods = [
            pod("burner", &[], &[("burn", "-millicores=50")]),
            pod("hog", &[], &[("hog", "-mib=50")]),
            pod("with-sidecar", &[sidecar], &[("main", "-millicores=30")]),
            pod(
                "with-init",
                &[container("prepare", "-after=5s -millicores=100")],
                &[("main", "-millicores=10")],
            ),
        ];
        for pod in &pods {
            kubectl.apply(&pod.to_string())?;
        }
        kubectl
            .run("wait --for=condition=Ready pod --all --timeout=120s")
            .context("the containers run")?;

        let kubeconfig = account(&control_plane)?;
        let options = Options {
            name: "outrigger".to_owned(),
            address: Ipv4Addr::new(127, 96, 0, 12),
            resolution: 10,
            plugins: vec![metrics_plugin()],
            arguments: ["--kubelet-request-timeout=5s", "--grant=metrics=kubelet,config"]
                .map(str::to_owned)
                .to_vec(),
        };
        let outrigger = Outrigger::start(&control_plane, &kubeconfig, &options)?;
        outrigger.register(&control_plane, "metrics.k8s.io", &["v1", "v1beta1"])?;
        outrigger.ready()?;

        let of = |pod: &str| {
            control_plane
                .api()
                .document(&format!("/apis/metrics.k8s.io/v1/namespaces/default/pods/{pod}"))
        };
        let judge = |pod: &str, name: &str, cpu: f64| -> Result<String> {
            let metrics = of(pod)?;
            let containers = metrics["containers"].as_array().context("containers")?;
            let found = containers
                .iter()
                .find(|c| c["name"] == name)
                .with_context(|| format!("no {name}: {metrics}"))?;
            let used = millicores(&found["usage"])?;
            ensure!(
                (used - cpu).abs() <= 5.0,
                "{pod}/{name} runs at {cpu} m and reads {used} m: {metrics}"
            );
            Ok(metrics["timestamp"].as_str().context("a timestamp")?.to_owned())
        };
        for (pod, name, cpu) in [
            ("burner", "burn", 50.0),
            ("with-sidecar", "proxy", 20.0),
            ("with-sidecar", "main", 30.0),
            ("with-init", "main", 10.0),
        ] {
            until(&format!("{pod}/{name} reads as it runs"), LATER, || judge(pod, name, cpu))?;
        }
        // And goes on doing so, sample after sample.
        for _ in 0..3 {
            let before = judge("burner", "burn", 50.0)?;
            until("the burner's metrics advance", LATER, || {
                node.program().runs()?;
                let now = judge("burner", "burn", 50.0)?;
                ensure!(now > before, "still {before}");
                Ok(())
            })?;
        }
        let hog = bytes(&of("hog")?["containers"][0]["usage"])?;
        ensure!(
            hog.abs_diff(50 << 20) <= 5 << 20,
            "the hog holds 50 MiB and reads {hog} bytes"
        );
        for (pod, expected) in [("with-sidecar", ["main", "proxy"].as_slice()), ("with-init", &["main"])] {
            let metrics = of(pod)?;
            let mut names: Vec<&str> = metrics["containers"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|c| c["name"].as_str())
                .collect();
            names.sort_unstable();
            ensure!(names == expected, "{pod}: {names:?}");
        }
        let out = kubectl.run("top node --no-headers")?;
        ensure!(out.starts_with(NAME) && !out.contains("unknown"), "{out}");
        println!("{out}{}", kubectl.run("top pod --containers")?);

        kubectl.run("delete pod --all --timeout=60s")?;
        until("metrics of deleted pods are gone", LATER, || {
            let list = control_plane.api().document("/apis/metrics.k8s.io/v1/pods")?;
            ensure!(list["items"].as_array().is_some_and(Vec::is_empty), "{list}");
            Ok(())
        })
    });
}
