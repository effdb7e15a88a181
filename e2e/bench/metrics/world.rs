//! The nodes and pods of a fleet in kube-apiserver.

use anyhow::Result;
use bytes::Bytes;
use http::Method;
use outrigger_e2e::ControlPlane;
use serde_json::{Value, json};

use super::kubelets::{self, Kubelets};
use super::truth::{Place, Size, TEAMS, container_name, node_name};
use crate::client::{Target, send_all};

/// Connections to kube-apiserver, each with sixteen requests in flight.
const CONNECTIONS: usize = 4;

/// Creates all that a fleet is.
pub(crate) async fn populate(control_plane: &ControlPlane, size: Size, kubelets: &Kubelets) -> Result<()> {
    let namespaces = (0..TEAMS).map(|team| {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("team-{team}")}});
        ("/api/v1/namespaces".to_owned(), namespace)
    });
    send(control_plane, &Method::POST, namespaces.collect()).await?;
    let mut nodes = Vec::new();
    for node in 0..size.nodes {
        let name = node_name(node);
        let object = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": format!("zone-{}", node % 3),
            }},
            "status": {
                "addresses": [{"type": "InternalIP", "address": kubelets::address(node)?.to_string()}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelets.port(node)?}},
                "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"},
            },
        });
        nodes.push(("/api/v1/nodes".to_owned(), object));
    }
    send(control_plane, &Method::POST, nodes).await?;
    let places: Vec<Place> = size.places().collect();
    run(control_plane, &places, size.containers).await
}

/// Creates pods, which run at once.
pub(crate) async fn run(control_plane: &ControlPlane, places: &[Place], containers: usize) -> Result<()> {
    let collection = |place: &Place| format!("/api/v1/namespaces/{}/pods", place.namespace());
    let pods = places.iter().map(|place| (collection(place), pod(*place, containers)));
    send(control_plane, &Method::POST, pods.collect()).await?;
    let statuses = places.iter().map(|place| {
        let mut pod = pod(*place, containers);
        if let Some(fields) = pod.as_object_mut() {
            fields.insert("status".to_owned(), json!({"phase": "Running"}));
        }
        (format!("{}/{}/status", collection(place), place.name()), pod)
    });
    send(control_plane, &Method::PUT, statuses.collect()).await
}

fn pod(place: Place, containers: usize) -> Value {
    let containers: Vec<Value> = (0..containers)
        .map(|index| json!({"name": container_name(index), "image": "none"}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": place.name(), "namespace": place.namespace(),
            "labels": {"app": place.app(), "pod-template-hash": "5d4f8c7b9", "app.kubernetes.io/part-of": place.namespace()},
        },
        "spec": {"nodeName": node_name(place.node), "containers": containers},
    })
}

async fn send(control_plane: &ControlPlane, method: &Method, requests: Vec<(String, Value)>) -> Result<()> {
    let ca = control_plane.ca().certificate();
    let admin = Target::new(control_plane.address(), "localhost", &ca, Some(control_plane.admin()), &[])?;
    let mut requests: Vec<(String, Bytes)> = requests
        .into_iter()
        .map(|(path, body)| (path, Bytes::from(body.to_string())))
        .collect();
    let share = requests.len().div_ceil(CONNECTIONS).max(1);
    let mut tasks = tokio::task::JoinSet::new();
    while !requests.is_empty() {
        let some = requests.split_off(requests.len().saturating_sub(share));
        let (admin, method) = (admin.clone(), method.clone());
        tasks.spawn(async move { send_all(&admin, method, some).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
