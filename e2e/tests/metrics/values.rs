//! The figures are true, and of the objects that live now.

use anyhow::{Context, Result, ensure};
use outrigger_e2e::quantity::{bytes, millicores};
use outrigger_e2e::wait::{LATER, SOON};
use outrigger_e2e::{promise, until};
use serde_json::Value;

use crate::house::{TRUTH, about, house, items};

/// The containers of a PodMetrics are those of the truth, with its figures.
fn judge_pods(list: &Value) -> Result<()> {
    let mut judged = 0;
    for pod in items(list) {
        let name = pod["metadata"]["name"].as_str().context("a name")?;
        ensure!(pod["metadata"]["labels"]["app"] == name, "labels are the live pod's: {pod}");
        ensure!(pod["window"].is_string() && pod["timestamp"].is_string(), "{pod}");
        for container in pod["containers"].as_array().context("containers")? {
            let truth = TRUTH.iter().find(|(p, c, ..)| *p == name && container["name"] == *c);
            let (_, _, cpu, memory) = truth.with_context(|| format!("{name} has no such container: {container}"))?;
            about(millicores(&container["usage"])?, *cpu as f64).with_context(|| format!("{name}: {container}"))?;
            ensure!(bytes(&container["usage"])? == memory << 20, "{name}: {container}");
            judged += 1;
        }
    }
    ensure!(judged == TRUTH.len(), "{judged} containers: {list}");
    Ok(())
}

#[test]
fn pods_read_as_they_run() {
    promise(|| {
        let house = house()?;
        let path = "/apis/metrics.k8s.io/v1/namespaces/shop/pods";
        until("all containers read as they run", SOON, || judge_pods(&house.document(path)?))?;
        // And not by accident: whatever samples meet, the figures stay.
        for _ in 0..4 {
            house.advances("namespaces/shop/pods/burner")?;
            judge_pods(&house.document(path)?)?;
        }
        Ok(())
    })
}

#[test]
fn nodes_read_as_they_run() {
    promise(|| {
        let house = house()?;
        for node in ["ash", "birch"] {
            // Pods come and go in other tests: the truth is taken before and after.
            until(node, LATER, || {
                let before = house.fleet.load_of(node).context("a node")?;
                let usage = house.document(&format!("/apis/metrics.k8s.io/v1beta1/nodes/{node}"))?["usage"].clone();
                ensure!(Some(before) == house.fleet.load_of(node), "the truth moved");
                ensure!(bytes(&usage)? == before.bytes, "{usage}, and the truth is {before:?}");
                about(millicores(&usage)?, before.millicores as f64)
            })?;
        }
        Ok(())
    })
}

#[test]
fn a_real_kubelets_answers_read_as_the_pods_ran() {
    promise(|| {
        let house = house()?;
        let of = |pod: &str| -> Result<Vec<Value>> {
            let pod = house.document(&format!("/apis/metrics.k8s.io/v1/namespaces/default/pods/{pod}"))?;
            Ok(pod["containers"].as_array().context("containers")?.clone())
        };
        until("every recorded pod has metrics", LATER, || {
            ["burner", "hog", "with-sidecar", "with-init", "two"]
                .iter()
                .try_for_each(|pod| of(pod).map(drop))
        })?;
        for _ in 0..2 {
            let burner = of("burner")?;
            let cpu = millicores(&burner[0]["usage"])?;
            ensure!(
                burner.len() == 1 && (49.0..=51.0).contains(&cpu),
                "the burner ran at 50 m: {burner:?}"
            );
            house.advances("namespaces/default/pods/burner")?;
        }
        let memory = bytes(&of("hog")?[0]["usage"])?;
        ensure!(memory.abs_diff(50 << 20) < 5 << 20, "the hog held 50 MiB: {memory}");
        for (pod, containers) in [
            ("with-sidecar", vec!["main", "proxy"]),
            ("with-init", vec!["main"]),
            ("two", vec!["a", "b"]),
        ] {
            let list = of(pod)?;
            let mut names: Vec<&str> = list.iter().filter_map(|c| c["name"].as_str()).collect();
            names.sort_unstable();
            ensure!(names == containers, "{pod}: {names:?}");
        }
        Ok(())
    })
}

#[test]
fn a_changed_load_is_followed() {
    promise(|| {
        let house = house()?;
        let pod = r#"{"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "mover", "annotations": {"load.e2e/main": "10m 8Mi"}, "labels": {"color": "red"}},
            "spec": {"containers": [{"name": "main", "image": "none"}]}}"#;
        house.kubectl.apply(pod)?;
        let path = "/apis/metrics.k8s.io/v1/namespaces/default/pods/mover";
        let reads = |cpu: f64, memory: u64| {
            until(&format!("mover uses {cpu} m"), SOON, || {
                let usage = house.document(path)?["containers"][0]["usage"].clone();
                ensure!(bytes(&usage)? == memory << 20, "{usage}");
                about(millicores(&usage)?, cpu)
            })
        };
        reads(10.0, 8)?;
        house.kubectl.run("annotate pod mover --overwrite load.e2e/main=400m")?;
        house.kubectl.run("label pod mover --overwrite color=blue")?;
        until("the label follows", SOON, || {
            let labels = house.document(path)?["metadata"]["labels"].clone();
            ensure!(labels["color"] == "blue", "{labels}");
            Ok(())
        })?;
        reads(400.0, 0)?;
        house.kubectl.run("delete pod mover --now")?;
        Ok(())
    })
}
