//! Flags of how kubelets are asked, together as an operator would give them.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use outrigger_e2e::quantity::millicores;
use outrigger_e2e::wait::{LATER, SOON};
use outrigger_e2e::{Outrigger, promise, until};

use crate::house::{about, house, items, options};

/// A resolution of one second, one node of three, and certificates that must name it.
#[test]
fn selected_nodes_are_asked_each_second_by_their_names() {
    promise(|| {
        let house = house()?;
        let mut options = options("settings", [127, 96, 0, 13]);
        options.resolution = 1;
        options
            .arguments
            .extend(["--node-selector=kubernetes.io/hostname=ash", "--kubelet-verify-by-node-name"].map(str::to_owned));
        let pod = |name: &str, node: &str| {
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, annotations: {{load.e2e/c: 70m 16Mi}}}}, \
                 spec: {{nodeSelector: {{kubernetes.io/hostname: {node}}}, containers: [{{name: c, image: none}}]}}}}"
            )
        };
        house.kubectl.apply(&pod("chosen", "ash"))?;
        house.kubectl.apply(&pod("left-out", "birch"))?;
        let server = Outrigger::start(&house.control_plane, &house.kubeconfig, &options)?;
        server.ready()?;
        let client = server.client(Some(house.control_plane.admin()))?;
        let path = |what: &str| format!("/apis/metrics.k8s.io/v1/{what}");
        until("the pod of the selected node has metrics", LATER, || {
            client.document(&path("namespaces/default/pods/chosen"))
        })?;
        let nodes = client.document(&path("nodes"))?;
        ensure!(
            items(&nodes).len() == 1 && items(&nodes)[0]["metadata"]["name"] == "ash",
            "{nodes}"
        );
        for absent in ["nodes/birch", "namespaces/default/pods/left-out"] {
            ensure!(client.get(&path(absent))?.status == 404, "{absent}");
        }
        // No value is far off, not even the first, of which five cut seconds are all that is known; soon all are right.
        let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
        until("five samples have been served", SOON, || {
            let pod = client.document(&path("namespaces/default/pods/chosen"))?;
            let cpu = millicores(&pod["containers"][0]["usage"])?;
            seen.insert(pod["timestamp"].as_str().context("a timestamp")?.to_owned());
            if !(52.0..=88.0).contains(&cpu) {
                wrong.push(pod.to_string());
            }
            about(cpu, 70.0).with_context(|| pod.to_string())?;
            ensure!(seen.len() >= 5, "{seen:?}");
            Ok(())
        })?;
        ensure!(wrong.is_empty(), "{wrong:#?}");
        house.kubectl.run("delete pod chosen left-out --now --wait=false")?;
        Ok(())
    })
}
