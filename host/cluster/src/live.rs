//! Against a real control plane, by hand: `OUTRIGGER_LIVE_KUBECONFIG=… cargo test -p outrigger-cluster live -- --ignored --nocapture`.
//! Expects an administrator's kubeconfig; makes two nodes and a namespace with pods, and takes them away again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use outrigger_api::identity::Identity;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::reviews::{AccessQuestion, ResourceQuestion, Reviews, Subject};
use crate::scripted::until;
use crate::{ClusterOptions, connect, nodes, pods, trust};

const SPACE: &str = "outrigger-live";

#[tokio::test]
#[ignore = "needs a real control plane"]
async fn a_real_control_plane() {
    let kubeconfig = std::env::var_os("OUTRIGGER_LIVE_KUBECONFIG")
        .expect("OUTRIGGER_LIVE_KUBECONFIG")
        .into();
    let cluster = connect(&ClusterOptions {
        kubeconfig: Some(kubeconfig),
        version: "live".into(),
    })
    .await
    .unwrap();
    let client = cluster.client.clone();
    let (all_nodes, spaces) = (Api::<Node>::all(client.clone()), Api::<Namespace>::all(client.clone()));
    let in_space = Api::<Pod>::namespaced(client.clone(), SPACE);

    let start = Instant::now();
    let cancel = CancellationToken::new();
    let (node_index, node_task) = nodes::follow(client.clone(), Some("!outrigger-live-skip"), cancel.clone());
    let (pod_index, pod_task) = pods::follow(client.clone(), cancel.clone());
    until("first lists", || node_index.synced() && pod_index.synced()).await;
    println!("synced after {:?}: {node_index:?}, {pod_index:?}", start.elapsed());

    spaces
        .create(
            &PostParams::default(),
            &serde_json::from_value(json!({"metadata": {"name": SPACE}})).unwrap(),
        )
        .await
        .unwrap();
    for (name, labels) in [
        ("live-a", json!({"zone": "x"})),
        ("live-skip", json!({"outrigger-live-skip": "1"})),
    ] {
        let node = json!({"metadata": {"name": name, "labels": labels}});
        all_nodes
            .create(&PostParams::default(), &serde_json::from_value(node).unwrap())
            .await
            .unwrap();
    }
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "10.1.2.3"}, {"type": "Hostname", "address": "live-a"}],
        "conditions": [{"type": "Ready", "status": "True"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10251}},
    }});
    all_nodes
        .patch_status("live-a", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
    until("node status", || {
        node_index
            .get("live-a")
            .is_some_and(|n| n.ready && n.kubelet_port == Some(10251))
    })
    .await;
    assert!(node_index.get("live-skip").is_none(), "the selector leaves it out");

    for name in ["p1", "p2"] {
        let pod = json!({"metadata": {"name": name, "labels": {"app": "live"}},
            "spec": {"nodeName": "live-a", "containers": [{"name": "c", "image": "none"}]}});
        in_space
            .create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
            .await
            .unwrap();
    }
    let phase = |phase: &str| json!({"status": {"phase": phase}});
    assert!(pod_index.get(SPACE, "p1").is_none(), "pending");
    in_space
        .patch_status("p1", &PatchParams::default(), &Patch::Merge(&phase("Running")))
        .await
        .unwrap();
    let start = Instant::now();
    until("p1 runs", || {
        pod_index
            .get(SPACE, "p1")
            .is_some_and(|l| l.get("app").is_some_and(|a| a == "live"))
    })
    .await;
    println!("running pod seen after {:?}", start.elapsed());
    in_space
        .patch_status("p1", &PatchParams::default(), &Patch::Merge(&phase("Succeeded")))
        .await
        .unwrap();
    until("p1 has ended", || pod_index.get(SPACE, "p1").is_none()).await;

    let first = trust::read(&client)
        .await
        .unwrap()
        .expect("kube-apiserver writes the ConfigMap");
    assert_eq!(first.username_headers, ["X-Remote-User"]);
    assert!(first.requestheader_client_ca_pem.is_some() && first.client_ca_pem.is_some());
    println!("allowed names {:?}, uid headers {:?}", first.allowed_names, first.uid_headers);

    let reviews = Reviews::new(client.clone());
    let ask = |name: &str, group: &str| AccessQuestion {
        user: Identity {
            name: name.into(),
            uid: String::new(),
            groups: vec![group.into()],
            extra: BTreeMap::new(),
        },
        subject: Subject::Resource(ResourceQuestion {
            verb: "list".into(),
            group: "metrics.k8s.io".into(),
            version: "v1beta1".into(),
            resource: "pods".into(),
            namespace: SPACE.into(),
            label_selector: "app=live".into(),
            field_selector: "metadata.name=p1".into(),
            ..ResourceQuestion::default()
        }),
    };
    let yes = reviews.review_access(&ask("root", "system:masters")).await.unwrap();
    let no = reviews.review_access(&ask("nobody", "system:authenticated")).await.unwrap();
    println!("{yes:?} {no:?}");
    assert!(yes.allowed && !no.allowed);
    let path = AccessQuestion {
        subject: Subject::Path {
            verb: "get".into(),
            path: "/version".into(),
        },
        ..ask("x", "system:authenticated")
    };
    assert!(reviews.review_access(&path).await.unwrap().allowed);

    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), SPACE);
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": []}})).unwrap();
    let mut token = None;
    for _ in 0..50 {
        match accounts
            .create_subresource::<_, TokenRequest>("token", "default", &PostParams::default(), &request)
            .await
        {
            Ok(made) => {
                token = made.status.and_then(|s| s.token);
                break;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    let who = reviews
        .review_token(&token.expect("a token"), &[])
        .await
        .unwrap()
        .expect("known");
    println!("{who:?}");
    assert_eq!(who.name, format!("system:serviceaccount:{SPACE}:default"));
    assert_eq!(reviews.review_token("nonsense", &[]).await.unwrap(), None);

    // Room for a restart of kube-apiserver by hand: what is known stays, and what changed meanwhile arrives.
    if let Ok(seconds) = std::env::var("OUTRIGGER_LIVE_PAUSE") {
        println!("pausing {seconds} s");
        let end = Instant::now() + Duration::from_secs(seconds.parse().unwrap());
        while Instant::now() < end {
            assert!(node_index.get("live-a").is_some(), "what is known stays");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        in_space
            .patch_status("p2", &PatchParams::default(), &Patch::Merge(&phase("Running")))
            .await
            .unwrap();
        let start = Instant::now();
        until("p2 after the pause", || pod_index.get(SPACE, "p2").is_some()).await;
        println!("seen {:?} after the change", start.elapsed());
    }

    for name in ["live-a", "live-skip"] {
        all_nodes.delete(name, &DeleteParams::default()).await.unwrap();
    }
    spaces.delete(SPACE, &DeleteParams::default()).await.unwrap();
    until("node gone", || node_index.get("live-a").is_none()).await;
    cancel.cancel();
    node_task.await.unwrap();
    pod_task.await.unwrap();
}
