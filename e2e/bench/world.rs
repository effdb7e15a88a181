//! The same 10,000 pods in both servers: a real control plane, fake kubelets, Outrigger, the peer.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::Method;
use outrigger_e2e::kubelet::{FakeKubelet, Health, Source};
use outrigger_e2e::load::{Load, Node};
use outrigger_e2e::outrigger::{Options, metrics_plugin};
use outrigger_e2e::{ControlPlane, Outrigger, Peer, peer, until};
use serde_json::{Value, json};

use crate::client::{Target, send_all};

pub(crate) const NODES: usize = 100;
pub(crate) const PODS: usize = 100;
/// Seconds between scrapes. After the last one the kubelets refuse, so that no scrape falls into a measurement; rows stay for
/// four of these.
pub(crate) const RESOLUTION: u32 = 90;

/// How Outrigger runs.
pub(crate) fn options(name: &str, address: [u8; 4]) -> Options {
    Options {
        name: name.to_owned(),
        address: Ipv4Addr::from(address),
        resolution: RESOLUTION,
        plugins: vec![metrics_plugin()],
        arguments: Vec::new(),
    }
}

/// Nodes and pods in kube-apiserver, and a kubelet for each node.
pub(crate) async fn populate(control_plane: &ControlPlane) -> Result<Vec<Arc<FakeKubelet>>> {
    let admin = Target::new(
        control_plane.address(),
        "localhost",
        &control_plane.ca().certificate(),
        Some(control_plane.admin()),
        &[],
    )?;
    let (mut kubelets, mut nodes, mut pods, mut statuses) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for n in 0..NODES {
        let name = format!("node-{n:03}");
        let own = Load {
            millicores: 500,
            bytes: 4 << 30,
        };
        let truth = Arc::new(Node::new(&name, own));
        let address = Ipv4Addr::new(127, 96, 100, u8::try_from(n + 1)?);
        for p in 0..PODS {
            let pod = format!("pod-{n:03}-{p:03}");
            let namespace = format!("team-{}", p % 10);
            let load = Load {
                millicores: u64::try_from(p + 1)?,
                bytes: u64::try_from(p + 1)? << 20,
            };
            truth.run(&namespace, &pod, &pod, &[("main".to_owned(), load)]);
            let object = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": pod, "labels": {"app": format!("app-{}", p % 50), "pod-template-hash": "5d4f8c7b9", "team": format!("t{}", p % 10)}},
                "spec": {"nodeName": name, "containers": [{"name": "main", "image": "none"}]},
            });
            pods.push((
                format!("/api/v1/namespaces/{namespace}/pods"),
                Bytes::from(object.to_string()),
            ));
            let running = json!({"status": {"phase": "Running"}});
            let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/status");
            statuses.push((path, Bytes::from(running.to_string())));
        }
        let kubelet =
            tokio::task::block_in_place(|| FakeKubelet::start(control_plane, &name, address, Source::Truth(Arc::clone(&truth))))?;
        let node = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {
                "addresses": [{"type": "InternalIP", "address": address.to_string()}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.address().port()}},
            },
        });
        nodes.push(("/api/v1/nodes".to_owned(), Bytes::from(node.to_string())));
        kubelets.push(Arc::new(kubelet));
    }
    let namespaces = (0..10)
        .map(|n| {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("team-{n}")}});
            ("/api/v1/namespaces".to_owned(), Bytes::from(namespace.to_string()))
        })
        .collect();
    send_all(&admin, Method::POST, namespaces).await?;
    send_all(&admin, Method::POST, nodes).await?;
    send_all(&admin, Method::POST, pods).await?;
    send_all(&admin, Method::PATCH, statuses).await?;
    Ok(kubelets)
}

/// Waits until Outrigger serves all pods, stops the kubelets, and gives the peer the same objects.
pub(crate) async fn share(
    control_plane: &ControlPlane,
    outrigger: &Outrigger,
    theirs: &Peer,
    kubelets: &[Arc<FakeKubelet>],
) -> Result<()> {
    let path = "/apis/metrics.k8s.io/v1beta1/pods";
    let list: Value = tokio::task::block_in_place(|| {
        let admin = outrigger.client(Some(control_plane.admin()))?;
        until(
            "Outrigger serves every pod",
            Duration::from_secs(u64::from(RESOLUTION) * 4),
            || {
                let list = admin.document(path)?;
                let all = items(&list).len();
                ensure!(all == NODES * PODS, "{all} pods");
                Ok(list)
            },
        )
    })?;
    for kubelet in kubelets {
        kubelet.fall(Health::Failing);
    }
    let requests = items(&list)
        .iter()
        .map(|item| {
            (
                peer::collection("pods", item),
                Bytes::from(peer::made("pods", item).to_string()),
            )
        })
        .collect();
    let admin = Target::new(theirs.address(), "localhost", theirs.ca(), Some(control_plane.admin()), &[])?;
    send_all(&admin, Method::POST, requests).await
}

fn items(list: &Value) -> &[Value] {
    list.get("items")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}
