//! `v1.PodList`: the pods of a [`Sample`] as a reader of core/v1 knows them.
//!
//! It has what was observed and no more: names, when they started, that they run. Its uids are those of the summary.

use serde::Serialize;

use crate::sample::{self, Sample};
use crate::summary::{Seconds, uid};

/// `/pods`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodList<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    items: Vec<Pod<'a>>,
}

#[derive(Debug, Serialize)]
struct Empty {}

#[derive(Debug, Serialize)]
struct Pod<'a> {
    metadata: Metadata<'a>,
    spec: Spec<'a>,
    status: Status<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: String,
    creation_timestamp: Seconds,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    containers: Vec<Named<'a>>,
    node_name: &'a str,
}

#[derive(Debug, Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    phase: &'static str,
    conditions: [Condition; 1],
    start_time: Seconds,
    container_statuses: Vec<ContainerStatus<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    kind: &'static str,
    status: &'static str,
    last_transition_time: Seconds,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus<'a> {
    name: &'a str,
    state: State,
    ready: bool,
    restart_count: u32,
    image: &'static str,
    #[serde(rename = "imageID")]
    image_id: &'static str,
}

#[derive(Debug, Serialize)]
struct State {
    running: Running,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    started_at: Seconds,
}

// === impl PodList ===

impl<'a> PodList<'a> {
    /// The pods of `node`. All of them run: what ended is not sampled.
    #[must_use]
    pub fn of(sample: &'a Sample, node: &'a str) -> Self {
        let items = sample.pods.iter().map(|pod| Pod::of(pod, sample, node)).collect();
        Self {
            kind: "PodList",
            api_version: "v1",
            metadata: Empty {},
            items,
        }
    }
}

// === impl Pod ===

impl<'a> Pod<'a> {
    fn of(pod: &'a sample::Pod, sample: &Sample, node: &'a str) -> Self {
        let start_time = Seconds(pod.started);
        let status = |container: &'a sample::Container| ContainerStatus {
            name: &container.name,
            state: State {
                running: Running {
                    started_at: Seconds(container.started),
                },
            },
            ready: true,
            restart_count: 0,
            image: "",
            image_id: "",
        };
        Self {
            metadata: Metadata {
                name: &pod.name,
                namespace: pod.namespace,
                uid: uid(pod, sample, node),
                creation_timestamp: start_time,
            },
            spec: Spec {
                containers: pod.containers.iter().map(|c| Named { name: &c.name }).collect(),
                node_name: node,
            },
            status: Status {
                phase: "Running",
                conditions: [Condition {
                    kind: "Ready",
                    status: "True",
                    last_transition_time: start_time,
                }],
                start_time,
                container_statuses: pod.containers.iter().map(status).collect(),
            },
        }
    }
}
