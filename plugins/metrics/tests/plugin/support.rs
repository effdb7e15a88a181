//! Kubelets of paper: summaries from a few numbers, and the recorded series of a real one.

use std::collections::BTreeMap;

use outrigger_plugin_metrics::time::Rfc3339;
use serde_json::{Value, json};

/// Some moment from which tests count their seconds.
pub(crate) const T0: i64 = 1_795_260_000;
/// One CPU second in a counter.
pub(crate) const CORE_SECOND: u64 = 1_000_000_000;
pub(crate) const MIB: u64 = 1 << 20;

/// One cgroup as the kubelet shows it. Times are seconds after [`T0`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cgroup {
    pub(crate) start: Option<i64>,
    pub(crate) time: i64,
    pub(crate) counter: u64,
    pub(crate) reported: Option<u64>,
    pub(crate) memory: u64,
}

impl Cgroup {
    pub(crate) fn at(time: i64, counter: u64) -> Self {
        Self {
            time,
            counter,
            memory: MIB,
            ..Self::default()
        }
    }

    pub(crate) fn started(self, start: i64) -> Self {
        Self {
            start: Some(start),
            ..self
        }
    }

    pub(crate) fn reporting(self, reported: u64) -> Self {
        Self {
            reported: Some(reported),
            ..self
        }
    }

    pub(crate) fn memory(self, memory: u64) -> Self {
        Self { memory, ..self }
    }

    fn json(&self) -> Value {
        let time = Rfc3339(T0 + self.time).to_string();
        let mut cpu = json!({"time": time, "usageCoreNanoSeconds": self.counter, "psi": {"full": {"total": 0}}});
        if let Some(reported) = self.reported {
            cpu["usageNanoCores"] = reported.into();
        }
        let mut stats = json!({"cpu": cpu, "memory": {"time": time, "workingSetBytes": self.memory}});
        if let Some(start) = self.start {
            stats["startTime"] = Rfc3339(T0 + start).to_string().into();
        }
        stats
    }
}

/// A summary under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paper {
    node: Option<Cgroup>,
    pods: BTreeMap<(String, String), Vec<(String, Cgroup)>>,
}

impl Paper {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn node(mut self, node: Cgroup) -> Self {
        self.node = Some(node);
        self
    }

    /// A container of a pod in `default`.
    pub(crate) fn container(self, pod: &str, name: &str, cgroup: Cgroup) -> Self {
        self.container_in("default", pod, name, cgroup)
    }

    pub(crate) fn container_in(mut self, namespace: &str, pod: &str, name: &str, cgroup: Cgroup) -> Self {
        self.pods
            .entry((namespace.to_owned(), pod.to_owned()))
            .or_default()
            .push((name.to_owned(), cgroup));
        self
    }

    pub(crate) fn value(&self) -> Value {
        let mut summary = json!({"node": {"nodeName": "n"}, "pods": []});
        if let Some(node) = &self.node {
            summary["node"] = node.json();
        }
        let pods = self.pods.iter().map(|((namespace, name), containers)| {
            let containers: Vec<Value> = containers
                .iter()
                .map(|(name, cgroup)| {
                    let mut container = cgroup.json();
                    container["name"] = name.as_str().into();
                    container
                })
                .collect();
            json!({"podRef": {"namespace": namespace, "name": name, "uid": "u"}, "containers": containers})
        });
        summary["pods"] = pods.collect();
        summary
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.value().to_string().into_bytes()
    }
}

/// One sample of the recorded series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    pub(crate) poll: usize,
    /// Seconds after [`T0`].
    pub(crate) cgroup: Cgroup,
    /// The sample's true instant in milliseconds since 1970, where `/metrics/resource` showed the same sample.
    pub(crate) truth: Option<i64>,
}

/// The recorded series by `namespace/pod/container`, or `node`.
pub(crate) fn series() -> BTreeMap<String, Vec<Recorded>> {
    let mut series = BTreeMap::<String, Vec<Recorded>>::new();
    for line in include_str!("../fixtures/series.tsv").lines().filter(|l| !l.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [poll, entity, time, counter, reported, start, truth] = columns[..] else {
            panic!("{line}")
        };
        let cgroup = Cgroup {
            start: start.parse::<i64>().ok().map(|s| s - T0),
            time: time.parse::<i64>().unwrap() - T0,
            counter: counter.parse().unwrap(),
            reported: reported.parse().ok(),
            memory: MIB,
        };
        let recorded = Recorded {
            poll: poll.parse().unwrap(),
            cgroup,
            truth: truth.parse().ok(),
        };
        series.entry(entity.to_owned()).or_default().push(recorded);
    }
    series
}

/// The summary of one poll of the series.
pub(crate) fn poll(series: &BTreeMap<String, Vec<Recorded>>, poll: usize) -> Paper {
    let mut paper = Paper::new();
    for (entity, samples) in series {
        let Some(sample) = samples.iter().find(|s| s.poll == poll) else {
            continue;
        };
        paper = match entity.split('/').collect::<Vec<_>>()[..] {
            [namespace, pod, container] => paper.container_in(namespace, pod, container, sample.cgroup),
            _ => paper.node(sample.cgroup),
        };
    }
    paper
}
