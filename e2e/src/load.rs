//! A node whose truth is known: what its containers use is given, and its summaries say it the way a real kubelet does.
//!
//! Counters integrate the load over real time, to the nanosecond. Everything is sampled on a clock of its own (1–4 s apart
//! here, 10–30 s on a real node): a summary shows the last sample of each, its time cut to whole seconds, and
//! `usageNanoCores` made of the exact times of that sample and the one before. A container younger than ten seconds is
//! sampled anew for every answer, and its first sample has rate 0. The order of containers changes from answer to answer.
//! `/metrics/resource` says the same samples with their milliseconds.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::exposition::{self, Exposition};

const SECOND: u64 = 1_000_000_000;
const MIB: u64 = 1 << 20;

/// Memory of a node.
const CAPACITY: u64 = 8 << 30;

/// What something uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// CPU, in thousandths of a core.
    pub millicores: u64,
    /// Working set, in bytes.
    pub bytes: u64,
}

/// What a container uses that is no part of its [`Load`]: nobody has to say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beside {
    /// Swap, in bytes.
    pub swap: u64,
    /// Written to its root file system and its logs, in bytes.
    pub disk: u64,
}

/// A node and its pods.
#[derive(Debug)]
pub struct Node {
    name: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    started: u64,
    answers: usize,
    own: Load,
    whole: Meter,
    pods: BTreeMap<(String, String), Pod>,
}

#[derive(Debug)]
struct Pod {
    uid: String,
    whole: Meter,
    containers: Vec<(String, Meter)>,
    beside: BTreeMap<String, Beside>,
}

/// A counter, and the clock on which it is read.
#[derive(Debug, Clone)]
struct Meter {
    started: u64,
    period: u64,
    /// Load from each of these instants on, and the counter (in core-nanoseconds) at it.
    since: Vec<(u64, Load, u64)>,
    /// The last sample that was taken for an answer.
    fresh: Option<Sample>,
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    at: u64,
    counter: u64,
    rate: u64,
    bytes: u64,
}

// === impl Load ===

impl Load {
    /// `50m 64Mi`, either part alone, in any order.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut load = Self::default();
        for part in text.split_whitespace() {
            if let Some(mib) = part.strip_suffix("Mi") {
                load.bytes = mib.parse::<u64>().ok()? * MIB;
            } else {
                load.millicores = part.strip_suffix('m')?.parse().ok()?;
            }
        }
        Some(load)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            millicores: self.millicores + other.millicores,
            bytes: self.bytes + other.bytes,
        }
    }
}

// === impl Node ===

impl Node {
    /// A node that uses `own` by itself, besides its pods.
    #[must_use]
    pub fn new(name: &str, own: Load) -> Self {
        // A node is older than its first question: it has samples at once.
        let started = now() - 60 * SECOND;
        let state = State {
            started,
            answers: 0,
            own,
            whole: Meter::new(name, started, own),
            pods: BTreeMap::new(),
        };
        Self {
            name: name.to_owned(),
            state: Mutex::new(state),
        }
    }

    /// From now on this pod runs here, with these containers.
    pub fn run(&self, namespace: &str, name: &str, uid: &str, containers: &[(String, Load)]) {
        let now = now();
        self.change(now, |pods| {
            let key = format!("{namespace}/{name}");
            let whole = containers.iter().fold(Load::default(), |sum, (_, load)| sum.plus(*load));
            let containers = containers
                .iter()
                .map(|(c, load)| (c.clone(), Meter::new(&format!("{key}/{c}"), now, *load)))
                .collect();
            let pod = Pod {
                uid: uid.to_owned(),
                whole: Meter::new(&key, now, whole),
                containers,
                beside: BTreeMap::new(),
            };
            pods.insert((namespace.to_owned(), name.to_owned()), pod);
        });
    }

    /// From now on this container uses this much.
    pub fn set(&self, namespace: &str, name: &str, container: &str, load: Load) {
        let now = now();
        self.change(now, |pods| {
            let Some(pod) = pods.get_mut(&(namespace.to_owned(), name.to_owned())) else {
                return;
            };
            for (_, meter) in pod.containers.iter_mut().filter(|(c, _)| c == container) {
                meter.set(now, load);
            }
            let whole = pod
                .containers
                .iter()
                .fold(Load::default(), |sum, (_, meter)| sum.plus(meter.load()));
            pod.whole.set(now, whole);
        });
    }

    /// This container ends and begins anew: its counter starts from zero.
    pub fn restart(&self, namespace: &str, name: &str, container: &str) {
        let now = now();
        self.change(now, |pods| {
            let pod = pods.get_mut(&(namespace.to_owned(), name.to_owned()));
            let containers = pod.into_iter().flat_map(|pod| pod.containers.iter_mut());
            for (_, meter) in containers.filter(|(c, _)| c == container) {
                *meter = Meter::new(&format!("{namespace}/{name}/{container}"), now, meter.load());
            }
        });
    }

    /// From now on this container has this much swap and storage.
    pub fn set_beside(&self, namespace: &str, name: &str, container: &str, beside: Beside) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pod) = state.pods.get_mut(&(namespace.to_owned(), name.to_owned())) {
            pod.beside.insert(container.to_owned(), beside);
        }
    }

    /// From now on this pod no longer runs here.
    pub fn stop(&self, namespace: &str, name: &str) {
        self.change(now(), |pods| {
            pods.remove(&(namespace.to_owned(), name.to_owned()));
        });
    }

    /// What the node uses now, its pods included.
    #[must_use]
    pub fn load(&self) -> Load {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).whole.load()
    }

    /// The answer to `/stats/summary?only_cpu_and_memory=true`.
    #[must_use]
    pub fn summary(&self) -> Value {
        self.summary_at(now(), false)
    }

    /// The answer to `/stats/summary`.
    #[must_use]
    pub fn full_summary(&self) -> Value {
        self.summary_at(now(), true)
    }

    /// The answer to `/metrics/resource`.
    #[must_use]
    pub fn resource(&self) -> Vec<u8> {
        self.resource_at(now())
    }

    fn resource_at(&self, now: u64) -> Vec<u8> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = state.whole.exposed(now);
        let mut pods = Vec::new();
        for ((namespace, name), pod) in &mut state.pods {
            let containers = pod.containers.iter_mut().map(|(name, meter)| (&**name, meter.exposed(now)));
            pods.push(exposition::Pod {
                namespace,
                name,
                uid: &pod.uid,
                containers: containers.collect(),
                whole: pod.whole.exposed(now),
            });
        }
        let node = &self.name;
        Exposition {
            node,
            whole,
            pods,
            capacity: CAPACITY,
        }
        .resource()
    }

    fn change(&self, now: u64, change: impl FnOnce(&mut BTreeMap<(String, String), Pod>)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state.pods);
        let whole = state.pods.values().fold(state.own, |sum, pod| sum.plus(pod.whole.load()));
        state.whole.set(now, whole);
    }

    fn summary_at(&self, now: u64, full: bool) -> Value {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answers += 1;
        let turn = state.answers;
        let (started, node) = (state.started, state.whole.read(now));
        let mut all = Beside::default();
        let mut pods = Vec::new();
        for ((namespace, name), pod) in &mut state.pods {
            let mut containers: Vec<Value> = Vec::new();
            for (container, meter) in &mut pod.containers {
                let beside = pod.beside.get(container).copied().unwrap_or_default();
                (all.swap, all.disk) = (all.swap + beside.swap, all.disk + beside.disk);
                let mut container = entity(meter.started, meter.read(now), [("name", json!(container)), swap(beside)]);
                if full {
                    add(&mut container, file_system("rootfs", beside.disk / 4 * 3));
                    add(&mut container, file_system("logs", beside.disk - beside.disk / 4 * 3));
                }
                containers.push(container);
            }
            if let Some(middle) = turn.checked_rem(containers.len()) {
                containers.rotate_left(middle);
            }
            let reference = json!({"name": name, "namespace": namespace, "uid": pod.uid});
            let whole = pod.whole.read(now);
            pods.push(entity(
                pod.whole.started,
                whole,
                [("podRef", reference), ("containers", json!(containers))],
            ));
        }
        let mut node = entity(started, node, [("nodeName", json!(self.name)), swap(all)]);
        if full {
            add(&mut node, file_system("fs", all.disk));
        }
        json!({"node": node, "pods": pods})
    }
}

// === impl Meter ===

impl Meter {
    fn new(name: &str, started: u64, load: Load) -> Self {
        let mut hash = DefaultHasher::new();
        name.hash(&mut hash);
        Self {
            started,
            period: SECOND + hash.finish() % (3 * SECOND),
            since: vec![(started, load, 0)],
            fresh: None,
        }
    }

    fn load(&self) -> Load {
        self.since.last().map(|(_, load, _)| *load).unwrap_or_default()
    }

    fn set(&mut self, at: u64, load: Load) {
        if load != self.load() {
            self.since.push((at, load, self.counter(at)));
        }
    }

    fn counter(&self, at: u64) -> u64 {
        let Some((since, load, counter)) = self.since.iter().rev().find(|(since, ..)| *since <= at) else {
            return 0;
        };
        counter + (at - since) / 1000 * load.millicores
    }

    fn read(&mut self, now: u64) -> Sample {
        let age = now.saturating_sub(self.started);
        if age < 10 * SECOND {
            let sample = self.sample(now, self.fresh.map(|last| last.at));
            self.fresh = Some(sample);
            return sample;
        }
        let last = self.started + age / self.period * self.period;
        match self.fresh {
            Some(fresh) if fresh.at >= last => fresh,
            _ => self.sample(last, Some(last - self.period)),
        }
    }

    fn exposed(&mut self, now: u64) -> exposition::Sample {
        let Sample {
            at,
            counter,
            rate,
            bytes,
        } = self.read(now);
        let started = self.started;
        exposition::Sample {
            started,
            at,
            counter,
            rate,
            bytes,
        }
    }

    /// A counter that has been read only once has no rate yet.
    fn sample(&self, at: u64, before: Option<u64>) -> Sample {
        let counter = self.counter(at);
        let rate = before.filter(|before| *before < at).map_or(0, |before| {
            let rate = u128::from(counter - self.counter(before)) * u128::from(SECOND) / u128::from(at - before);
            u64::try_from(rate).unwrap_or(u64::MAX)
        });
        let bytes = self
            .since
            .iter()
            .rev()
            .find(|(since, ..)| *since <= at)
            .map_or(0, |(_, load, _)| load.bytes);
        Sample {
            at,
            counter,
            rate,
            bytes,
        }
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| u64::try_from(d.as_nanos()).ok())
        .unwrap_or_default()
}

/// RFC 3339 with whole seconds, cut, as metav1.Time is written.
fn time(nanoseconds: u64) -> String {
    i64::try_from(nanoseconds / SECOND)
        .ok()
        .and_then(|s| jiff::Timestamp::from_second(s).ok())
        .map(|t| t.to_string())
        .unwrap_or_default()
}

fn entity<const N: usize>(started: u64, sample: Sample, more: [(&str, Value); N]) -> Value {
    let at = time(sample.at);
    let mut value = json!({
        "startTime": time(started),
        "cpu": {"time": at, "usageNanoCores": sample.rate, "usageCoreNanoSeconds": sample.counter},
        "memory": {
            "time": at, "availableBytes": CAPACITY.saturating_sub(sample.bytes), "usageBytes": sample.bytes + MIB, "workingSetBytes": sample.bytes, "rssBytes": sample.bytes,
            "pageFaults": 0, "majorPageFaults": 0,
        },
        "swap": {"time": at, "swapUsageBytes": 0},
    });
    for member in more {
        add(&mut value, member);
    }
    value
}

fn add(to: &mut Value, (key, what): (&str, Value)) {
    if let Some(fields) = to.as_object_mut() {
        fields.insert(key.to_owned(), what);
    }
}

fn swap(beside: Beside) -> (&'static str, Value) {
    ("swap", json!({"time": time(now()), "swapUsageBytes": beside.swap}))
}

fn file_system(name: &str, used: u64) -> (&str, Value) {
    (
        name,
        json!({"time": time(now()), "capacityBytes": CAPACITY, "usedBytes": used, "inodesUsed": 1}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_read_from_text() {
        let table = [
            (
                "50m 64Mi",
                Some(Load {
                    millicores: 50,
                    bytes: 64 * MIB,
                }),
            ),
            (
                "64Mi 50m",
                Some(Load {
                    millicores: 50,
                    bytes: 64 * MIB,
                }),
            ),
            ("7m", Some(Load { millicores: 7, bytes: 0 })),
            ("", Some(Load::default())),
            ("half a core", None),
            ("50", None),
        ];
        for (text, load) in table {
            assert_eq!(Load::parse(text), load, "{text:?}");
        }
    }

    #[test]
    fn a_rate_is_the_load_and_a_counter_never_turns_back() {
        let start = 1_000_000 * SECOND + 123;
        let mut meter = Meter::new(
            "x",
            start,
            Load {
                millicores: 250,
                bytes: MIB,
            },
        );
        meter.set(
            start + 20 * SECOND,
            Load {
                millicores: 500,
                bytes: 2 * MIB,
            },
        );
        let mut last = 0;
        for tenth in 0..600 {
            let now = start + tenth * SECOND / 10;
            let sample = meter.read(now);
            assert!(sample.at <= now && sample.counter >= last, "{sample:?} at {now}");
            last = sample.counter;
            if (110..200).contains(&tenth) {
                assert!(sample.rate.abs_diff(250_000_000) < 1000, "{sample:?}");
            }
            if tenth > 300 {
                assert!(sample.rate.abs_diff(500_000_000) < 1000, "{sample:?}");
                assert_eq!(sample.bytes, 2 * MIB);
                assert!(now - sample.at < 4 * SECOND);
            }
        }
        assert_eq!(meter.counter(start + 60 * SECOND), 25 * SECOND);
    }

    #[test]
    fn a_node_uses_what_its_pods_use_and_itself() {
        let node = Node::new(
            "n",
            Load {
                millicores: 100,
                bytes: MIB,
            },
        );
        node.run(
            "a",
            "p",
            "1",
            &[
                (
                    "x".into(),
                    Load {
                        millicores: 50,
                        bytes: MIB,
                    },
                ),
                ("y".into(), Load { millicores: 1, bytes: 0 }),
            ],
        );
        node.set(
            "a",
            "p",
            "y",
            Load {
                millicores: 10,
                bytes: MIB,
            },
        );
        assert_eq!(
            node.load(),
            Load {
                millicores: 160,
                bytes: 3 * MIB
            }
        );
        let (first, second) = (node.summary(), node.summary());
        let order = |summary: &Value| summary["pods"][0]["containers"][0]["name"].clone();
        assert_ne!(order(&first), order(&second), "the order of containers changes");
        assert_eq!(
            first["pods"][0]["containers"][0]["cpu"]["usageNanoCores"], 0,
            "the first sample has no rate"
        );
        let resource = String::from_utf8(node.resource()).unwrap();
        assert!(
            resource.contains("container_memory_working_set_bytes{container=\"y\",namespace=\"a\",pod=\"p\"} 1.048576e+06 "),
            "{resource}"
        );
        let counter = |node: &Node| node.summary()["pods"][0]["containers"][0]["cpu"]["usageCoreNanoSeconds"].as_u64();
        let before = counter(&node);
        node.restart("a", "p", "x");
        node.restart("a", "p", "y");
        assert!(counter(&node) < before, "a restarted counter begins anew");
        node.stop("a", "p");
        assert_eq!(
            node.load(),
            Load {
                millicores: 100,
                bytes: MIB
            }
        );
        assert_eq!(node.summary()["pods"], json!([]));
    }
}
