//! How much room each node has left: a Kubernetes API of one's own, in one file.

use outrigger_sdk::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// Asked by the host every 15 seconds, for every node.
pub struct Headrooms;

/// What `kubectl explain headroom` explains and `kubectl get headrooms -o yaml` shows.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Headroom {
    /// Memory that can be used before the kubelet begins to evict pods.
    memory_available: String,
    /// CPU in use, averaged over the kubelet's last two samples.
    cpu_used: String,
    /// How many pods the kubelet measures.
    pods: usize,
}

impl Collector for Headrooms {
    const NAME: &'static str = "headrooms";
    const EACH: Each = Each::Node;
    const INTERVAL_SECONDS: u32 = 15;
    const FILLS: &'static [&'static str] = &["headrooms"];
    type State = ();

    fn collect(host: &impl Kubelet, node: &str, _: ()) -> Result<Collected<()>, Error> {
        let summary: Value = serde_json::from_slice(&host.summary(node, Detail::CpuAndMemory)?)?;
        let missing = |path| Error::Failed(format!("no {path} in the summary"));
        let number = |path| summary.pointer(path).and_then(Value::as_u64).ok_or(missing(path));
        let now = Headroom {
            memory_available: quantity::memory(number("/node/memory/availableBytes")?).to_string(),
            cpu_used: quantity::cpu(number("/node/cpu/usageNanoCores")?).to_string(),
            pods: summary.pointer("/pods").and_then(Value::as_array).map_or(0, Vec::len),
        };
        let cells = (&now.memory_available, &now.cpu_used, now.pods);
        Ok(Collected::empty().row(Row::of("headrooms").name(node).fields(&now).cells(&cells)))
    }
}

fn about() -> Manifest {
    let headrooms = Resource::table("Headroom", "headrooms", Scope::Cluster)
        .group("hello.example.com")
        .version("v1")
        .description("The room left on a node, as its kubelet last measured it.")
        .column(Column::string("Memory available"))
        .column(Column::string("CPU used"))
        .column(Column::integer("Pods"))
        .schema(schema_of::<Headroom>());
    manifest!()
        .name("hello")
        .needs("kubelet", "reads what each node has left")
        .resource(headrooms)
}

plugin! { manifest: about, collectors: [Headrooms] }
