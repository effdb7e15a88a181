//! Swap and local storage beside CPU and memory, when the operator wants them.

use anyhow::{Context, Result, ensure};
use outrigger_e2e::wait::{LATER, SOON};
use outrigger_e2e::{promise, until};
use serde_json::Value;

use crate::house::{House, house};

const SWAPPER: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: swapper
  annotations: {load.e2e/a: 30m 64Mi, beside.e2e/a: swap=32Mi disk=12Mi, load.e2e/b: 10m 16Mi, beside.e2e/b: swap=16Mi}
spec:
  nodeSelector: {kubernetes.io/hostname: ash}
  containers: [{name: a, image: none}, {name: b, image: none}]
"#;

const POD: &str = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/swapper";

/// Keys of every usage there is: of both containers and of the node.
fn keys(house: &House) -> Result<Vec<String>> {
    let pod = house.document(POD)?;
    let node = house.document("/apis/metrics.k8s.io/v1/nodes/ash")?;
    let containers = pod["containers"]
        .as_array()
        .context("containers")?
        .iter()
        .map(|c| &c["usage"]);
    let keys = |usage: &Value| -> Result<String> {
        let keys: Vec<&str> = usage.as_object().context("usage")?.keys().map(String::as_str).collect();
        Ok(keys.join(","))
    };
    containers.chain([&node["usage"]]).map(keys).collect()
}

#[test]
fn kubectl_top_shows_swap_when_it_is_switched_on() {
    promise(|| {
        let house = house()?;
        let kubectl = &house.kubectl;
        kubectl.apply(SWAPPER)?;
        until("by default there is CPU and memory", LATER, || {
            let keys = keys(house)?;
            ensure!(keys == ["cpu,memory", "cpu,memory", "cpu,memory"], "{keys:?}");
            Ok(())
        })?;

        house.serve_usage(&["swap", "ephemeral-storage"])?;
        until("all of it is served without a restart", LATER, || {
            let keys = keys(house)?;
            let all = "cpu,ephemeral-storage,memory,swap";
            ensure!(keys == [all, all, all], "{keys:?}");
            Ok(())
        })?;
        let pod = house.document(POD)?;
        for (container, swap, storage) in [("a", "32Mi", "12Mi"), ("b", "16Mi", "0")] {
            let usage = pod["containers"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|c| c["name"] == container);
            let usage = &usage.with_context(|| format!("{container}: {pod}"))?["usage"];
            ensure!(
                usage["swap"] == swap && usage["ephemeral-storage"] == storage,
                "{container}: {usage}"
            );
        }

        // kubectl rounds CPU up to whole millicores. The node's swap is of 1 GiB.
        for protobuf in ["true", "false"] {
            for (arguments, heading, columns) in [
                (
                    "top pod swapper --show-swap",
                    "SWAP(bytes)",
                    vec![(0, "swapper"), (2, "80Mi"), (3, "48Mi")],
                ),
                (
                    "top pod swapper --containers --show-swap --sort-by=cpu",
                    "SWAP(bytes)",
                    vec![(0, "swapper"), (1, "a"), (3, "64Mi"), (4, "32Mi")],
                ),
                (
                    "top node ash --show-swap",
                    "SWAP(%)",
                    vec![(0, "ash"), (5, "48Mi"), (6, "4%")],
                ),
            ] {
                until(arguments, SOON, || {
                    let out = kubectl.run(&format!("{arguments} --use-protocol-buffers={protobuf}"))?;
                    let mut lines = out.lines();
                    let heads = lines.next().unwrap_or_default();
                    let words: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
                    let fits = columns.iter().all(|(at, word)| words.get(*at) == Some(word));
                    ensure!(heads.contains(heading) && fits, "{out}");
                    Ok(())
                })?;
            }
        }
        let table = kubectl.run("get podmetrics swapper")?;
        let heading: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
        ensure!(heading == ["NAME", "CPU", "MEMORY", "WINDOW"], "{table}");

        house.serve_usage(&[])?;
        until("and off again", LATER, || {
            let keys = keys(house)?;
            ensure!(keys == ["cpu,memory", "cpu,memory", "cpu,memory"], "{keys:?}");
            Ok(())
        })?;
        kubectl.run("delete pod swapper --now --wait=false")?;
        Ok(())
    })
}
