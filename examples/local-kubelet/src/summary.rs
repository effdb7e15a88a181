//! `stats/v1alpha1.Summary`, the form in which a kubelet says what a [`Sample`] holds.
//!
//! Field names, their order and whole seconds are the kubelet's. What was not measured is absent, as upstream's pointers are.

use jiff::Timestamp;
use serde::Serialize;

use crate::names;
use crate::proc::Interface;
use crate::sample::{self, Sample};

/// `/stats/summary`.
#[derive(Debug, Serialize)]
pub struct Summary<'a> {
    node: Node<'a>,
    pods: Vec<PodStats<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node<'a> {
    node_name: &'a str,
    start_time: Seconds,
    cpu: Cpu,
    memory: Memory,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Network<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fs: Option<Fs>,
    swap: Option<Swap>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodStats<'a> {
    pod_ref: PodRef<'a>,
    start_time: Seconds,
    containers: Vec<ContainerStats<'a>>,
    cpu: Cpu,
    memory: Memory,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap: Option<Swap>,
}

#[derive(Debug, Serialize)]
struct PodRef<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStats<'a> {
    name: &'a str,
    start_time: Seconds,
    cpu: Cpu,
    memory: Memory,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap: Option<Swap>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cpu {
    time: Seconds,
    usage_nano_cores: u64,
    usage_core_nano_seconds: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    time: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_bytes: Option<u64>,
    usage_bytes: u64,
    working_set_bytes: u64,
    rss_bytes: u64,
    page_faults: u64,
    major_page_faults: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Swap {
    time: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_available_bytes: Option<u64>,
    swap_usage_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Network<'a> {
    time: Seconds,
    #[serde(flatten)]
    main: InterfaceStats<'a>,
    interfaces: Vec<InterfaceStats<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InterfaceStats<'a> {
    name: &'a str,
    rx_bytes: u64,
    rx_errors: u64,
    tx_bytes: u64,
    tx_errors: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Fs {
    time: Seconds,
    available_bytes: u64,
    capacity_bytes: u64,
    used_bytes: u64,
    inodes_free: u64,
    inodes: u64,
    inodes_used: u64,
}

/// A time as the kubelet writes it: RFC 3339, UTC, cut to whole seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seconds(pub(crate) Timestamp);

// === impl Summary ===

impl<'a> Summary<'a> {
    /// What the kubelet of `node` says; `only_cpu_and_memory` leaves out the network and the file system.
    #[must_use]
    pub fn of(sample: &'a Sample, node: &'a str, only_cpu_and_memory: bool) -> Self {
        let time = Seconds(sample.usage.at);
        let full = !only_cpu_and_memory;
        Self {
            node: Node {
                node_name: node,
                start_time: Seconds(sample.booted),
                cpu: Cpu::of(&sample.usage),
                memory: Memory::of(&sample.usage),
                network: Network::of(sample, time).filter(|_| full),
                fs: sample.disk.map(|disk| Fs::of(disk, time)).filter(|_| full),
                swap: Swap::of(&sample.usage),
            },
            pods: sample.pods.iter().map(|pod| PodStats::of(pod, sample, node)).collect(),
        }
    }
}

// === private parts ===

impl<'a> PodStats<'a> {
    fn of(pod: &'a sample::Pod, sample: &Sample, node: &str) -> Self {
        Self {
            pod_ref: PodRef {
                name: &pod.name,
                namespace: pod.namespace,
                uid: uid(pod, sample, node),
            },
            start_time: Seconds(pod.started),
            containers: pod.containers.iter().map(ContainerStats::of).collect(),
            cpu: Cpu::of(&pod.usage),
            memory: Memory::of(&pod.usage),
            swap: Swap::of(&pod.usage),
        }
    }
}

impl<'a> ContainerStats<'a> {
    fn of(container: &'a sample::Container) -> Self {
        Self {
            name: &container.name,
            start_time: Seconds(container.started),
            cpu: Cpu::of(&container.usage),
            memory: Memory::of(&container.usage),
            swap: Swap::of(&container.usage),
        }
    }
}

impl Cpu {
    fn of(usage: &sample::Usage) -> Self {
        Self {
            time: Seconds(usage.at),
            usage_nano_cores: usage.rate,
            usage_core_nano_seconds: usage.cpu,
        }
    }
}

impl Memory {
    fn of(usage: &sample::Usage) -> Self {
        let m = &usage.memory;
        Self {
            time: Seconds(usage.at),
            available_bytes: m.limit.map(|limit| limit.saturating_sub(m.working_set)),
            usage_bytes: m.usage,
            working_set_bytes: m.working_set,
            rss_bytes: m.rss,
            page_faults: m.faults.all,
            major_page_faults: m.faults.major,
        }
    }
}

impl Swap {
    fn of(usage: &sample::Usage) -> Option<Self> {
        let used = usage.memory.swap?;
        let free = usage.memory.swap_limit.map(|limit| limit.saturating_sub(used));
        Some(Self {
            time: Seconds(usage.at),
            swap_available_bytes: free,
            swap_usage_bytes: used,
        })
    }
}

impl<'a> Network<'a> {
    /// The kubelet speaks of the interface that the default route leaves by; without one there is nothing to say.
    fn of(sample: &'a Sample, time: Seconds) -> Option<Self> {
        let (interfaces, leads_out) = &sample.network;
        let main = interfaces
            .iter()
            .find(|interface| Some(&interface.name) == leads_out.as_ref())?;
        let others = interfaces
            .iter()
            .filter(|interface| interface.name != "lo")
            .map(InterfaceStats::of)
            .collect();
        Some(Self {
            time,
            main: InterfaceStats::of(main),
            interfaces: others,
        })
    }
}

impl<'a> InterfaceStats<'a> {
    fn of(i: &'a Interface) -> Self {
        Self {
            name: &i.name,
            rx_bytes: i.rx_bytes,
            rx_errors: i.rx_errors,
            tx_bytes: i.tx_bytes,
            tx_errors: i.tx_errors,
        }
    }
}

impl Fs {
    fn of(disk: sample::Disk, time: Seconds) -> Self {
        Self {
            time,
            available_bytes: disk.available,
            capacity_bytes: disk.capacity,
            used_bytes: disk.used,
            inodes_free: disk.inodes_free,
            inodes: disk.inodes,
            inodes_used: disk.inodes.saturating_sub(disk.inodes_free),
        }
    }
}

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = Timestamp::from_second(self.0.as_second()).unwrap_or(self.0);
        serializer.collect_str(&whole)
    }
}

/// A pod is the same as long as the machine is up and it did not start anew.
pub(crate) fn uid(pod: &sample::Pod, sample: &Sample, node: &str) -> String {
    names::uid(&[
        node,
        pod.namespace,
        &pod.name,
        &sample.booted.to_string(),
        &pod.started.to_string(),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::PodList;
    use crate::proc::Faults;

    fn sample() -> Sample {
        let at: Timestamp = "2026-11-21T10:41:37.987654321Z".parse().unwrap();
        let started: Timestamp = "2026-11-21T10:30:15.5Z".parse().unwrap();
        let memory = sample::Memory {
            usage: 1000,
            working_set: 600,
            rss: 300,
            limit: Some(4096),
            faults: Faults { all: 9, major: 1 },
            swap: Some(5),
            swap_limit: None,
        };
        let usage = sample::Usage {
            at,
            cpu: 34_239_689_715,
            rate: 49_966_440,
            memory,
        };
        let unlimited = sample::Usage {
            memory: sample::Memory {
                limit: None,
                swap: None,
                ..memory
            },
            ..usage
        };
        let container = sample::Container {
            name: "cc".to_owned(),
            started,
            usage: unlimited,
        };
        let pod = sample::Pod {
            namespace: "processes",
            name: "bash".to_owned(),
            started,
            usage: unlimited,
            containers: vec![container],
        };
        let interface = |name: &str| Interface {
            name: name.to_owned(),
            rx_bytes: 1,
            rx_errors: 2,
            tx_bytes: 3,
            tx_errors: 4,
        };
        Sample {
            booted: started,
            usage,
            pods: vec![pod],
            network: (vec![interface("lo"), interface("eth0")], Some("eth0".to_owned())),
            disk: Some(sample::Disk {
                capacity: 10,
                available: 4,
                used: 5,
                inodes: 8,
                inodes_free: 3,
            }),
        }
    }

    #[test]
    fn a_summary_has_the_kubelets_form_and_whole_seconds() {
        let sample = sample();
        let summary: Value = serde_json::to_value(Summary::of(&sample, "laptop", true)).unwrap();
        let cpu =
            json!({"time": "2026-11-21T10:41:37Z", "usageNanoCores": 49_966_440, "usageCoreNanoSeconds": 34_239_689_715_u64});
        let memory = json!({"time": "2026-11-21T10:41:37Z", "usageBytes": 1000, "workingSetBytes": 600, "rssBytes": 300,
                            "pageFaults": 9, "majorPageFaults": 1});
        let mut node_memory = memory.clone();
        node_memory["availableBytes"] = json!(3496);
        let uid = summary["pods"][0]["podRef"]["uid"].clone();
        let expected = json!({
            "node": {"nodeName": "laptop", "startTime": "2026-11-21T10:30:15Z", "cpu": cpu, "memory": node_memory,
                     "swap": {"time": "2026-11-21T10:41:37Z", "swapUsageBytes": 5}},
            "pods": [{"podRef": {"name": "bash", "namespace": "processes", "uid": uid}, "startTime": "2026-11-21T10:30:15Z",
                      "containers": [{"name": "cc", "startTime": "2026-11-21T10:30:15Z", "cpu": cpu, "memory": memory}],
                      "cpu": cpu, "memory": memory}]
        });
        assert_eq!(summary, expected);
    }

    #[test]
    fn the_full_form_has_network_and_file_system() {
        let sample = sample();
        let node = serde_json::to_value(Summary::of(&sample, "laptop", false)).unwrap()["node"].take();
        assert_eq!(node["network"]["name"], "eth0");
        assert_eq!(node["network"]["interfaces"].as_array().map(Vec::len), Some(1), "not lo");
        assert_eq!(node["fs"]["inodesUsed"], 5);
    }

    #[test]
    fn the_pods_are_those_of_the_summary() {
        let sample = sample();
        let pods = serde_json::to_value(PodList::of(&sample, "laptop")).unwrap();
        let summary = serde_json::to_value(Summary::of(&sample, "laptop", true)).unwrap();
        assert_eq!((&pods["kind"], &pods["apiVersion"]), (&json!("PodList"), &json!("v1")));
        let pod = &pods["items"][0];
        for field in ["name", "namespace", "uid"] {
            assert_eq!(pod["metadata"][field], summary["pods"][0]["podRef"][field], "{field}");
        }
        assert_eq!(
            (&pod["spec"]["nodeName"], &pod["status"]["phase"]),
            (&json!("laptop"), &json!("Running"))
        );
        assert_eq!(pod["spec"]["containers"], json!([{"name": "cc"}]));
        assert_eq!(
            pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"],
            "2026-11-21T10:30:15Z"
        );
    }
}
