//! What the operator may switch on: swap and local storage beside CPU and memory.

use outrigger_plugin_metrics::{Plugin, Summaries};
use outrigger_sdk::Plugin as _;
use outrigger_sdk::prelude::*;
use outrigger_sdk::serde_json::{self, Value, json};

const FULL: &str = include_str!("../fixtures/summary.json");

/// The real full answer, where the sidecar pod's `main` has some swap, and its proxy says nothing of it.
fn swapping(second: u64) -> String {
    let mut summary: Value = serde_json::from_str(FULL).unwrap();
    summary["node"]["swap"]["swapUsageBytes"] = json!(7 << 20);
    let time = json!(format!("2026-11-21T10:42:{second:02}Z"));
    let later = |stats: &mut Value| {
        stats["cpu"]["time"] = time.clone();
        let counter = stats["cpu"]["usageCoreNanoSeconds"].as_u64().unwrap() + second * 50_000_000;
        stats["cpu"]["usageCoreNanoSeconds"] = json!(counter);
    };
    later(&mut summary["node"]);
    for pod in summary["pods"].as_array_mut().unwrap() {
        let sidecar = pod["podRef"]["name"] == "with-sidecar";
        for container in pod["containers"].as_array_mut().unwrap() {
            later(container);
            if sidecar && container["name"] == "main" {
                container["swap"]["swapUsageBytes"] = json!(3 << 20);
            } else if sidecar {
                container.as_object_mut().unwrap().remove("swap");
            }
        }
    }
    summary.to_string()
}

/// Two ticks under this configuration: the rows, and how much was asked for.
fn ticks(host: fake::Host) -> (Vec<Row>, Detail) {
    let host = host.answering("n", swapping(0)).answering("n", swapping(15));
    let mut target = fake::Target::<Summaries>::new("n");
    target.tick(&host).unwrap();
    host.pass(15_000_000_000);
    (target.tick(&host).unwrap(), host.asked()[0].1)
}

/// Key → quantity of each container of `with-sidecar`, then of the node; and the row's cells.
fn usages(rows: &[Row]) -> (Vec<Value>, Vec<String>) {
    let find = |name: &str| rows.iter().find(|r| r.key().2 == name).unwrap();
    let (pod, node) = (find("with-sidecar"), find("n"));
    let fields = |row: &Row| -> Value { serde_json::from_str(row.fields_json()).unwrap() };
    let containers = fields(pod)["containers"].as_array().unwrap().clone();
    let all = containers
        .iter()
        .map(|c| c["usage"].clone())
        .chain([fields(node)["usage"].clone()]);
    let columns = [pod, node].map(|row| {
        serde_json::from_str::<Vec<Value>>(row.cells_json())
            .unwrap()
            .len()
            .to_string()
    });
    (all.collect(), columns.to_vec())
}

#[test]
fn keys_come_as_configured_and_only_as_the_kubelet_has_them() {
    let keys = |usage: &Value| usage.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(",");
    let none = ["cpu,memory", "cpu,memory", "cpu,memory"];
    let swap = ["cpu,memory,swap", "cpu,memory", "cpu,memory,swap"];
    let storage = [
        "cpu,ephemeral-storage,memory",
        "cpu,ephemeral-storage,memory",
        "cpu,ephemeral-storage,memory",
    ];
    let both = [
        "cpu,ephemeral-storage,memory,swap",
        "cpu,ephemeral-storage,memory",
        "cpu,ephemeral-storage,memory,swap",
    ];
    for (name, host, expected, detail) in [
        ("by default", fake::Host::new(), none, Detail::CpuAndMemory),
        ("not granted", fake::Host::new().denying("config"), none, Detail::CpuAndMemory),
        (
            "nothing",
            fake::Host::new().configured(&json!({"usage": []})),
            none,
            Detail::CpuAndMemory,
        ),
        (
            "swap",
            fake::Host::new().configured(&json!({"usage": ["swap"]})),
            swap,
            Detail::CpuAndMemory,
        ),
        (
            "storage",
            fake::Host::new().configured(&json!({"usage": ["ephemeral-storage"]})),
            storage,
            Detail::Full,
        ),
        (
            "both",
            fake::Host::new().configured(&json!({"usage": ["swap", "ephemeral-storage"]})),
            both,
            Detail::Full,
        ),
    ] {
        let (rows, asked) = ticks(host);
        let (usages, columns) = usages(&rows);
        assert_eq!(usages.iter().map(keys).collect::<Vec<_>>(), expected, "{name}");
        assert_eq!(asked, detail, "{name}");
        assert_eq!(columns, ["3", "3"], "{name}: a Table has the manifest's columns");
    }
}

#[test]
fn figures_are_the_kubelets() {
    let (rows, _) = ticks(fake::Host::new().configured(&json!({"usage": ["swap", "ephemeral-storage"]})));
    let (usages, _) = usages(&rows);
    let summary: Value = serde_json::from_str(FULL).unwrap();
    let used = |stats: &Value, of: &str| stats[of]["usedBytes"].as_u64().unwrap();
    let pods = summary["pods"].as_array().unwrap();
    let pod = pods.iter().find(|p| p["podRef"]["name"] == "with-sidecar").unwrap();
    for (usage, name) in usages.iter().zip(["main", "proxy"]) {
        let container = pod["containers"]
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["name"] == name)
            .unwrap();
        let expected = used(container, "rootfs") + used(container, "logs");
        assert_eq!(usage["ephemeral-storage"], quantity::memory(expected).as_str(), "{name}");
    }
    assert_eq!(usages[0]["swap"], "3Mi");
    let node = &usages[2];
    assert_eq!(node["swap"], "7Mi");
    let fs = used(&summary["node"], "fs");
    assert_eq!(node["ephemeral-storage"], quantity::memory(fs).as_str());
}

#[test]
fn the_manifest_asks_for_it_and_has_a_schema() {
    let manifest = serde_json::to_value(Plugin::manifest()).unwrap();
    let asked: Vec<&Value> = manifest["capabilities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(asked, ["kubelet", "config"]);
    let keys = &manifest["config"]["properties"]["usage"]["items"]["enum"];
    assert_eq!(keys, &json!(["swap", "ephemeral-storage"]));
    assert_eq!(manifest["config"]["additionalProperties"], false);
}
