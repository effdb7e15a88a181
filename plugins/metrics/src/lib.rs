//! metrics.k8s.io from the kubelets' summaries: what `kubectl top` and the autoscalers read.
//!
//! Once per tick and node: the kubelet's `/stats/summary` becomes a [`Summary`](summary::Summary), the rates since the last
//! tick ([`rates`]), and rows ([`rows`]). All between the kubelet's bytes and the rows is a pure function of those
//! bytes and of the state, so all of it is tested natively, against recordings of a real kubelet.
//!
//! What it must never do: serve part of a pod, serve a rate that no counter backs, or lose a neighbour over one damaged entry.

pub mod clocks;
pub mod configuration;
pub mod history;
pub mod rates;
pub mod rows;
pub mod state;
pub mod summary;
pub mod time;
mod tolerant;

use outrigger_sdk::prelude::*;
use outrigger_sdk::serde_json::{Value, json};

use crate::clocks::Moment;
use crate::configuration::Configuration;
use crate::state::SCHEMA;
use crate::summary::Summary;

/// One node's usage and its pods'.
#[derive(Debug)]
pub struct Summaries;

impl Collector for Summaries {
    const NAME: &'static str = "summaries";
    const EACH: Each = Each::Node;
    /// metrics-server's default of `--metric-resolution`.
    const INTERVAL_SECONDS: u32 = 60;
    const FILLS: &'static [&'static str] = &[rows::NODES, rows::PODS];
    const STATE_SCHEMA: u32 = SCHEMA;
    type State = Bytes;

    fn collect(host: &(impl Kubelet + Config + Clock + Log), node: &str, last: Bytes) -> Result<Collected<Bytes>, Error> {
        let configuration = Configuration::of(host)?;
        let answer = host.summary(node, configuration.detail())?;
        let read = Moment(host.monotonic());
        let summary = Summary::read(&answer).map_err(Error::failed)?;
        let (next, samples) = rates::advance(state::State::read(&last.0), &summary, read);
        if let Some(leap) = samples.leap {
            host.info(format_args!(
                "the clock of {node} has leapt by {leap} s; its rates start anew"
            ));
        }
        if samples.waiting > 0 {
            let pods = summary.pods.len();
            host.debug(format_args!(
                "{node}: {} of {pods} pods have a container without a rate",
                samples.waiting
            ));
        }
        Ok(Collected::new(rows::rows(node, &samples, configuration), Bytes(next.write())))
    }
}

/// What is served: upstream's two resources, in both versions alike. Their descriptions are upstream's too.
fn about() -> Manifest {
    let resource = |kind, plural, scope| {
        // An empty singular lets clients take the lower-cased kind, so that `kubectl get nodemetrics` works.
        Resource::table(kind, plural, scope)
            .group("metrics.k8s.io")
            .version("v1")
            .version("v1beta1")
            .column(Column::string("cpu").format("quantity"))
            .column(Column::string("memory").format("quantity"))
            .column(Column::string("Window").format("duration"))
            .protobuf()
    };
    manifest!()
        .name("metrics")
        .needs(
            "kubelet",
            "reads CPU and memory of each node and its containers from /stats/summary",
        )
        .needs("config", "is told which usage to serve besides: swap, ephemeral-storage")
        .config(Configuration::schema())
        .resource(
            resource("NodeMetrics", rows::NODES, Scope::Cluster)
                .shadow(Shadow::Nodes)
                .description("NodeMetrics sets resource usage metrics of a node.")
                .schema(schema("usage", usage_schema())),
        )
        .resource(
            resource("PodMetrics", rows::PODS, Scope::Namespaced)
                .shadow(Shadow::Pods)
                .description("PodMetrics sets resource usage metrics of a pod.")
                .schema(schema("containers", containers_schema())),
        )
}

/// The fields that both kinds have, and the one that they have not.
fn schema(field: &str, of: Value) -> Value {
    let mut schema = json!({
        "type": "object",
        "required": ["timestamp", "window", field],
        "properties": {
            "timestamp": {
                "type": "string",
                "format": "date-time",
                "description": "The following fields define time interval from which metrics were collected from the interval \
                                [Timestamp-Window, Timestamp].",
            },
            "window": {"type": "string", "description": "The window as a Go duration, such as 15.042s."},
        },
    });
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert(field.to_owned(), of);
    }
    schema
}

fn containers_schema() -> Value {
    json!({
        "type": "array",
        "x-kubernetes-list-type": "atomic",
        "description": "Metrics for all containers are collected within the same time window.",
        "items": {
            "type": "object",
            "description": "ContainerMetrics sets resource usage metrics of a container.",
            "required": ["name", "usage"],
            "properties": {
                "name": {"type": "string", "description": "Container name corresponding to the one from pod.spec.containers."},
                "usage": usage_schema(),
            },
        },
    })
}

/// A ResourceList.
fn usage_schema() -> Value {
    json!({
        "type": "object",
        "description": "The memory usage is the memory working set.",
        "additionalProperties": {"type": "string", "format": "quantity", "description": "A quantity, such as 50m or 12240Ki."},
    })
}

plugin! { manifest: about, collectors: [Summaries] }
