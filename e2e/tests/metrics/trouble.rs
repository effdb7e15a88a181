//! What breaks stays where it breaks.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use outrigger_e2e::kubelet::Health;
use outrigger_e2e::load::Load;
use outrigger_e2e::wait::{LATER, SOON};
use outrigger_e2e::{promise, until};
use serde_json::json;

use crate::house::house;

#[test]
fn a_sick_kubelet_hides_nobody_and_is_remembered_for_a_while() {
    promise(|| {
        let house = house()?;
        let api = house.control_plane.api();
        let trap = TcpListener::bind("127.96.100.250:0")?;
        let elsewhere = format!("https://{}/stats/summary", trap.local_addr()?);
        let caught = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&caught);
        std::thread::spawn(move || trap.incoming().for_each(|_| _ = count.fetch_add(1, Ordering::SeqCst)));

        let wards = [
            ("sick-failing", Health::Failing),
            ("sick-hanging", Health::Hanging),
            ("sick-garbled", Health::Garbled),
            ("sick-redirecting", Health::Redirecting(elsewhere)),
        ];
        let mut kubelets = Vec::new();
        for name in wards.iter().map(|(name, _)| *name).chain(["sick-torn"]) {
            kubelets.push(house.fleet.add(
                &house.control_plane,
                name,
                Load {
                    millicores: 50,
                    bytes: 64 << 20,
                },
                false,
            )?);
            for pod in ["first", "second"] {
                let pod = json!({
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": format!("{pod}-{name}"), "annotations": {"load.e2e/a": "20m 8Mi", "load.e2e/b": "30m 8Mi"}},
                    "spec": {
                        "nodeSelector": {"kubernetes.io/hostname": name},
                        "containers": [{"name": "a", "image": "none"}, {"name": "b", "image": "none"}],
                    },
                });
                house.kubectl.apply(&pod.to_string())?;
            }
        }
        let path = |name: &str| format!("/apis/metrics.k8s.io/v1/nodes/{name}");
        let pod = |name: &str| format!("/apis/metrics.k8s.io/v1/namespaces/default/pods/first-{name}");
        until("all of them have metrics while they are well", LATER, || {
            for name in wards.iter().map(|(name, _)| *name).chain(["sick-torn"]) {
                house.document(&path(name))?;
                house.document(&pod(name))?;
            }
            Ok(())
        })?;

        for (kubelet, (_, health)) in kubelets.iter().zip(&wards) {
            kubelet.fall(health.clone());
        }
        kubelets.last().context("sick-torn")?.fall(Health::Torn);
        let asked: Vec<u64> = kubelets.iter().map(|kubelet| kubelet.asked()).collect();
        until("each is asked while it is sick", SOON, || {
            for ((kubelet, before), (name, _)) in kubelets.iter().zip(&asked).zip(&wards) {
                ensure!(kubelet.asked() > *before, "{name} was not");
            }
            Ok(())
        })?;
        for (name, _) in &wards {
            house.document(&path(name)).context("the last good rows are still served")?;
            house.document(&pod(name)).context("the last good rows are still served")?;
        }
        // The others: as fresh as ever. And what is right on the torn node is served.
        for healthy in [
            "nodes/ash",
            "namespaces/shop/pods/burner",
            "nodes/sick-torn",
            "namespaces/default/pods/second-sick-torn",
        ] {
            house.advances(healthy)?;
        }
        until("what is too old is no longer served", LATER, || {
            for (name, _) in &wards {
                ensure!(api.get(&path(name))?.status == 404, "{name} is");
            }
            Ok(())
        })?;
        ensure!(
            caught.load(Ordering::SeqCst) == 0,
            "nobody follows a kubelet's redirect with a token"
        );
        for kubelet in &kubelets {
            kubelet.fall(Health::Well);
        }
        until("they are back when they are well", LATER, || {
            wards.iter().try_for_each(|(name, _)| house.document(&path(name)).map(drop))
        })?;

        let metrics = || -> Result<String> {
            let root = house.outrigger.client(Some(house.control_plane.admin()))?;
            Ok(root.get("/metrics")?.ok()?.text())
        };
        let of_node = r#"node="sick-failing""#;
        let said = metrics()?;
        for result in ["true", "false"] {
            let series = format!("metrics_server_kubelet_request_total{{success=\"{result}\"}} ");
            let count = said.lines().find_map(|line| line.strip_prefix(&series)).context(series)?;
            ensure!(count.parse::<f64>()? > 0.0, "{result}: {count}");
        }
        ensure!(said.contains(of_node), "{said}");
        house.kubectl.run("delete node sick-failing")?;
        until("a node that is gone leaves no series", SOON, || {
            let said = metrics()?;
            ensure!(!said.contains(of_node), "{said}");
            Ok(())
        })
    })
}

#[test]
fn a_deleted_pod_is_gone_at_once() {
    promise(|| {
        let house = house()?;
        house.kubectl.run("run brief --image=none --restart=Never")?;
        let path = "/apis/metrics.k8s.io/v1/namespaces/default/pods/brief";
        until("the pod has metrics", SOON, || house.document(path))?;
        house.kubectl.run("delete pod brief --now")?;
        // kubectl has waited until the pod is gone: only the watch's own way lies between.
        until("its metrics are gone as well", SOON, || {
            let answer = house.control_plane.api().get(path)?;
            ensure!(
                answer.status == 404 && answer.json()?["message"] == r#"pods "brief" not found"#,
                "{}",
                answer.text()
            );
            Ok(())
        })
    })
}

#[test]
fn a_namespace_can_be_deleted() {
    promise(|| {
        let house = house()?;
        house.kubectl.run("create namespace ending")?;
        house
            .kubectl
            .run("create deployment web -n ending --image=none --replicas=2")?;
        until("its pods have metrics", SOON, || {
            let list = house.document("/apis/metrics.k8s.io/v1/namespaces/ending/pods")?;
            ensure!(crate::house::items(&list).len() == 2, "{list}");
            Ok(())
        })?;
        house.kubectl.run("delete namespace ending --timeout=90s")?;
        Ok(())
    })
}
