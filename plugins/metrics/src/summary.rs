//! What a kubelet said: `/stats/summary` (`stats/v1alpha1.Summary`), down to the few fields that make a rate.
//!
//! A kubelet's answer is foreign input, and one entity in it may be damaged while hundreds are fine. So every member is
//! read *tolerantly*: a value of another type, a negative number or a time that is none becomes "absent", in one pass and
//! without a second attempt, and never hides what stands beside it. Only what is no summary at all (not JSON, cut off,
//! neither `node` nor `pods`) is an error: then the host keeps the rows of the last good tick, whereas an empty answer
//! would take them away.
//!
//! Names borrow from the input. Pods come out by namespace and name and containers by name, each once, because the
//! kubelet's order changes from answer to answer. Where it names one twice (a static pod and its successor), the one that
//! started last counts.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde::de::{Deserialize, MapAccess};

use crate::tolerant::{List, Members, Object, instant, number, object, skip, text};

/// The longest name that Kubernetes allows; nothing with a longer or an empty one is kept.
const LONGEST_NAME: usize = 253;

/// One node's answer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary<'a> {
    /// The node's root cgroup; none if the kubelet left `node` out.
    pub node: Option<Stats>,
    /// Its pods by namespace and name.
    pub pods: Vec<Pod<'a>>,
}

/// One pod of a [`Summary`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pod<'a> {
    /// Namespace.
    pub namespace: Cow<'a, str>,
    /// Name. The uid is not kept: a static pod's is not the one that the API knows.
    pub name: Cow<'a, str>,
    /// Its containers by name, as far as the kubelet lists them: running ones, sidecars and the init container of the
    /// moment. What stands in the list and cannot be named is one container with an empty name and no stats, so that
    /// nobody takes the rest for the whole pod.
    pub containers: Vec<Container<'a>>,
    /// When it started.
    start: Option<i64>,
}

/// One container of a [`Pod`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Container<'a> {
    /// Name.
    pub name: Cow<'a, str>,
    /// What was measured.
    pub stats: Stats,
}

/// One cgroup's sample. Each field is absent if the kubelet left it out or wrote nonsense.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// When the container started, in seconds since 1970. Not trustworthy for a node.
    pub start: Option<i64>,
    /// When the sample was taken, in seconds since 1970, truncated by the kubelet.
    pub time: Option<i64>,
    /// CPU used since the start, in core-nanoseconds.
    pub counter: Option<u64>,
    /// The kubelet's own rate between its last two samples, in nanocores.
    pub reported: Option<u64>,
    /// Memory: the working set in bytes.
    pub memory: Option<u64>,
    /// Swap in bytes.
    pub swap: Option<u64>,
    /// Local storage in bytes, as the kubelet counts it against limits: what a container wrote to its root file system and to its
    /// logs; of a node, what is used of the file system that pods share. Only the full summary has it.
    pub storage: Option<u64>,
}

/// Why bytes are no summary.
#[derive(Debug, thiserror::Error)]
pub enum NoSummary {
    /// Not JSON, or cut off.
    #[error("the kubelet's summary is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON, but of something else.
    #[error("the kubelet's answer is JSON, but not a summary: {0}")]
    Other(&'static str),
}

// === impl Summary ===

impl<'a> Summary<'a> {
    /// Reads a kubelet's answer.
    ///
    /// # Errors
    /// [`NoSummary`] for garbage as a whole; damage within becomes absent fields.
    pub fn read(bytes: &'a [u8]) -> Result<Self, NoSummary> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let Object(root) = Object::<Root<'a>>::deserialize(&mut reader)?;
        reader.end()?;
        let root = root.ok_or(NoSummary::Other("it is no object"))?;
        if root.pods == Some(None) {
            return Err(NoSummary::Other("its pods are no list"));
        }
        if root.node.is_none() && root.pods.is_none() {
            return Err(NoSummary::Other("it has neither node nor pods"));
        }
        Ok(Self {
            node: root.node,
            pods: in_order(root.pods.flatten().unwrap_or_default()),
        })
    }
}

/// Pods by name, each once, and so their containers.
fn in_order(mut pods: Vec<Pod<'_>>) -> Vec<Pod<'_>> {
    pods.retain(|pod| nameable(&pod.namespace) && nameable(&pod.name));
    // The latest start comes first among equals and is the one that stays.
    pods.sort_unstable_by(|a, b| by_name(a, b).then(b.start.cmp(&a.start)));
    pods.dedup_by(|later, kept| by_name(later, kept).is_eq());
    for pod in &mut pods {
        let latest = |c: &Container<'_>| (c.stats.start, c.stats.time);
        for container in pod.containers.iter_mut().filter(|c| !nameable(&c.name)) {
            *container = Container::default();
        }
        pod.containers
            .sort_unstable_by(|a, b| a.name.cmp(&b.name).then_with(|| latest(b).cmp(&latest(a))));
        pod.containers.dedup_by(|later, kept| later.name == kept.name);
    }
    pods
}

fn by_name(a: &Pod<'_>, b: &Pod<'_>) -> Ordering {
    a.namespace.cmp(&b.namespace).then_with(|| a.name.cmp(&b.name))
}

fn nameable(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_NAME
}

// === the document, member by member ===

/// The outermost object. `pods` tells absent (and null, as Go writes an empty list) from a list and from anything else.
#[derive(Default)]
struct Root<'a> {
    node: Option<Stats>,
    pods: Option<Option<Vec<Pod<'a>>>>,
}

/// A member of `containers`.
#[derive(Default)]
struct Listed<'a> {
    name: Cow<'a, str>,
    stats: Stats,
    rootfs: Option<u64>,
    logs: Option<u64>,
}

/// `node`.
#[derive(Default)]
struct Machine {
    stats: Stats,
    fs: Option<u64>,
}

/// `podRef`.
#[derive(Default)]
struct Reference<'a> {
    namespace: Cow<'a, str>,
    name: Cow<'a, str>,
}

/// `cpu`.
#[derive(Default)]
struct Cpu {
    time: Option<i64>,
    counter: Option<u64>,
    reported: Option<u64>,
}

/// `memory`.
#[derive(Default)]
struct Memory {
    working_set: Option<u64>,
}

/// `swap`.
#[derive(Default)]
struct Swap {
    used: Option<u64>,
}

/// `fs`, `rootfs`, `logs`.
#[derive(Default)]
struct FileSystem {
    used: Option<u64>,
}

/// What of the next value, a file system, is used.
fn used<'de, A: MapAccess<'de>>(from: &mut A) -> Result<Option<u64>, A::Error> {
    Ok(object(from)?.and_then(|FileSystem { used }| used))
}

impl<'a> From<Listed<'a>> for Container<'a> {
    fn from(
        Listed {
            name,
            stats,
            rootfs,
            logs,
        }: Listed<'a>,
    ) -> Self {
        // Half of it would be a wrong value.
        let storage = rootfs.zip(logs).map(|(rootfs, logs)| rootfs.saturating_add(logs));
        Self {
            name,
            stats: Stats { storage, ..stats },
        }
    }
}

impl<'de> Members<'de> for Root<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, from: &mut A) -> Result<(), A::Error> {
        match key {
            "node" => {
                self.node = object(from)?.map(|Machine { stats, fs }| Stats { storage: fs, ..stats });
            }
            "pods" => {
                self.pods = match from.next_value()? {
                    List::Null => None,
                    List::Other => Some(None),
                    List::Of(pods) => Some(Some(pods)),
                }
            }
            _ => skip(from)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Pod<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, from: &mut A) -> Result<(), A::Error> {
        match key {
            "podRef" => {
                let Reference { namespace, name } = object(from)?.unwrap_or_default();
                (self.namespace, self.name) = (namespace, name);
            }
            "startTime" => self.start = instant(from)?,
            "containers" => {
                self.containers = match from.next_value::<List<Listed<'de>>>()? {
                    List::Of(containers) => containers.into_iter().map(Container::from).collect(),
                    List::Null => Vec::new(),
                    List::Other => vec![Container::default()],
                }
            }
            _ => skip(from)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Reference<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, from: &mut A) -> Result<(), A::Error> {
        match key {
            "namespace" => self.namespace = text(from)?.unwrap_or_default(),
            "name" => self.name = text(from)?.unwrap_or_default(),
            _ => skip(from)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Machine {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, from: &mut A) -> Result<(), A::Error> {
        match key {
            "fs" => self.fs = used(from)?,
            _ => self.stats.member(key, from)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Listed<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, from: &mut A) -> Result<(), A::Error> {
        match key {
            "name" => self.name = text(from)?.unwrap_or_default(),
            "rootfs" => self.rootfs = used(from)?,
            "logs" => self.logs = used(from)?,
            _ => self.stats.member(key, from)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Stats {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, from: &mut A) -> Result<(), A::Error> {
        match key {
            "startTime" => self.start = instant(from)?,
            "cpu" => {
                let Cpu { time, counter, reported } = object(from)?.unwrap_or_default();
                (self.time, self.counter, self.reported) = (time, counter, reported);
            }
            "memory" => self.memory = object(from)?.and_then(|Memory { working_set }| working_set),
            "swap" => self.swap = object(from)?.and_then(|Swap { used }| used),
            _ => skip(from)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Cpu {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, from: &mut A) -> Result<(), A::Error> {
        match key {
            "time" => self.time = instant(from)?,
            "usageCoreNanoSeconds" => self.counter = number(from)?,
            "usageNanoCores" => self.reported = number(from)?,
            _ => skip(from)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Memory {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, from: &mut A) -> Result<(), A::Error> {
        match key {
            "workingSetBytes" => self.working_set = number(from)?,
            _ => skip(from)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Swap {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, from: &mut A) -> Result<(), A::Error> {
        match key {
            "swapUsageBytes" => self.used = number(from)?,
            _ => skip(from)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for FileSystem {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, from: &mut A) -> Result<(), A::Error> {
        match key {
            "usedBytes" => self.used = number(from)?,
            _ => skip(from)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Summary<'_> {
        Summary::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_summary_is_read() {
        let summary = read(
            r#"{"node":{"nodeName":"n","startTime":"2026-11-21T09:54:03Z","cpu":{"time":"2026-11-21T11:28:13Z","usageNanoCores":7,
               "usageCoreNanoSeconds":18446744073709551615,"psi":{"full":{"total":0}}},"memory":{"workingSetBytes":9,"usageBytes":1}},
               "pods":[{"podRef":{"name":"p","namespace":"d","uid":"u"},"containers":[{"name":"c","cpu":null,"rootfs":{}}],"volume":[1]}]}"#,
        );
        let node = Stats {
            start: Some(1_795_254_843),
            time: Some(1_795_260_493),
            counter: Some(u64::MAX),
            reported: Some(7),
            memory: Some(9),
            ..Stats::default()
        };
        assert_eq!(summary.node, Some(node));
        let [pod] = &summary.pods[..] else { panic!("{summary:?}") };
        assert_eq!((&*pod.namespace, &*pod.name), ("d", "p"));
        assert!(matches!(pod.namespace, Cow::Borrowed(_)));
        assert_eq!(
            pod.containers,
            [Container {
                name: "c".into(),
                stats: Stats::default()
            }]
        );
    }

    #[test]
    fn one_value_of_a_wrong_type_is_one_absent_field() {
        let good = Stats {
            start: None,
            time: Some(1_795_260_493),
            counter: Some(5),
            reported: Some(6),
            ..Stats::default()
        };
        for (name, value, expected) in [
            ("usageCoreNanoSeconds", "-5", Stats { counter: None, ..good }),
            ("usageCoreNanoSeconds", "5.5", Stats { counter: None, ..good }),
            (
                "usageCoreNanoSeconds",
                "18446744073709551616",
                Stats { counter: None, ..good },
            ),
            ("usageCoreNanoSeconds", "[[1,{}]]", Stats { counter: None, ..good }),
            ("usageNanoCores", "{\"a\":[1]}", Stats { reported: None, ..good }),
            ("usageNanoCores", "true", Stats { reported: None, ..good }),
            ("time", "7", Stats { time: None, ..good }),
            ("time", "\"soon\"", Stats { time: None, ..good }),
            ("time", "\"2026-11-21T11:28:1\\u0033Z\"", good),
            ("time", "null", Stats { time: None, ..good }),
        ] {
            let mut members = [
                ("time", r#""2026-11-21T11:28:13Z""#),
                ("usageCoreNanoSeconds", "5"),
                ("usageNanoCores", "6"),
            ];
            members.iter_mut().find(|m| m.0 == name).unwrap().1 = value;
            let cpu: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let text = format!(r#"{{"node":{{"cpu":{{{}}}}}}}"#, cpu.join(","));
            assert_eq!(read(&text).node, Some(expected), "{text}");
        }
    }

    #[test]
    fn swap_and_storage_are_whole_or_absent() {
        for (name, container, swap, storage) in [
            ("neither", "", None, None),
            ("swap", r#","swap":{"time":"x","swapUsageBytes":7}"#, Some(7), None),
            ("no swap on this node", r#","swap":{"time":"x"}"#, None, None),
            (
                "root and logs",
                r#","rootfs":{"capacityBytes":9,"usedBytes":3},"logs":{"usedBytes":4,"inodes":1}"#,
                None,
                Some(7),
            ),
            ("half", r#","rootfs":{"usedBytes":3},"logs":{"usedBytes":-4}"#, None, None),
            ("no objects", r#","rootfs":3,"logs":[4],"swap":"none""#, None, None),
        ] {
            let text =
                format!(r#"{{"pods":[{{"podRef":{{"namespace":"a","name":"b"}},"containers":[{{"name":"c"{container}}}]}}]}}"#);
            let stats = read(&text).pods[0].containers[0].stats;
            assert_eq!((stats.swap, stats.storage), (swap, storage), "{name}");
        }
        let node = read(r#"{"node":{"fs":{"usedBytes":5},"rootfs":{"usedBytes":1},"swap":{"swapUsageBytes":0}}}"#).node;
        assert_eq!(node.map(|n| (n.swap, n.storage)), Some((Some(0), Some(5))));
    }

    #[test]
    fn pods_and_containers_come_by_name_and_once() {
        let pod = |namespace: &str, name: &str, start: &str, containers: &str| {
            format!(
                r#"{{"podRef":{{"namespace":"{namespace}","name":"{name}"}},"startTime":"{start}","containers":[{containers}]}}"#
            )
        };
        let (early, late) = ("2026-11-21T11:00:00Z", "2026-11-21T12:00:00Z");
        let container = |name: &str, start: &str, memory: u64| {
            format!(r#"{{"name":"{name}","startTime":"{start}","memory":{{"workingSetBytes":{memory}}}}}"#)
        };
        let pods = [
            pod(
                "b",
                "a",
                early,
                &[container("y", early, 1), container("x", late, 2), container("x", early, 3)].join(","),
            ),
            pod("a", "z", late, &container("new", late, 4)),
            pod("a", "z", early, &container("old", early, 5)),
            pod("", "nameless", early, ""),
            "7".to_owned(),
            pod("a", &"x".repeat(254), early, ""),
        ];
        let text = format!(r#"{{"pods":[{}]}}"#, pods.join(","));
        let seen: Vec<_> = read(&text)
            .pods
            .iter()
            .map(|p| {
                let containers = p.containers.iter().map(|c| format!("{}={}", c.name, c.stats.memory.unwrap()));
                format!("{}/{} {}", p.namespace, p.name, containers.collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(seen, ["a/z new=4", "b/a x=2 y=1"]);
    }

    #[test]
    fn what_is_no_summary_is_an_error() {
        for text in [
            "",
            "{",
            "[]",
            "7",
            "{}",
            r#"{"kind":"Status"}"#,
            r#"{"pods":{}}"#,
            r#"{"node":7}"#,
            r#"{"pods":[]} x"#,
            r#"{"pods":["#,
        ] {
            assert!(Summary::read(text.as_bytes()).is_err(), "{text}");
        }
        for text in [r#"{"pods":[]}"#, r#"{"node":{}}"#, r#"{"node":{},"pods":null}"#] {
            assert!(Summary::read(text.as_bytes()).is_ok(), "{text}");
        }
    }
}
