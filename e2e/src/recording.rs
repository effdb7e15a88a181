//! What one real kubelet said, said again as if it were now.
//!
//! `fixtures/real-kubelet.jsonl` holds sixteen answers of a kubelet v1.36.3 with containerd, 15 s apart, to
//! `/stats/summary?only_cpu_and_memory=true`, without PSI, swap and system containers. Its pods: `burner` (50m, steady), `hog`
//! (50 MiB), `with-sidecar`, `two`, `crasher`, `with-init`, `host-net`, and a static pod. Every time is moved by the same
//! number of whole seconds, so the times stay as cut as they were and never lie in the future.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

const ANSWERS: &str = include_str!("../fixtures/real-kubelet.jsonl");

/// A recording that is being played.
#[derive(Debug)]
pub struct Recording {
    answers: Vec<(Timestamp, Value)>,
    shift: SignedDuration,
}

#[derive(Deserialize)]
struct Line {
    at: f64,
    summary: Value,
}

// === impl Recording ===

impl Recording {
    /// Begins to play at the fourth answer, when every container is older than its first sample.
    ///
    /// # Errors
    /// The fixture is damaged.
    pub fn play() -> Result<Self> {
        let mut answers = Vec::new();
        for line in ANSWERS.lines() {
            let line: Line = serde_json::from_str(line).context("fixtures/real-kubelet.jsonl")?;
            answers.push((
                Timestamp::UNIX_EPOCH.checked_add(SignedDuration::try_from_secs_f64(line.at)?)?,
                line.summary,
            ));
        }
        let (from, _) = answers.get(3).context("a recording of four answers at least")?;
        let shift = SignedDuration::from_secs(Timestamp::now().duration_since(*from).as_secs());
        Ok(Self { answers, shift })
    }

    /// The namespaces, names and containers of all pods that it ever speaks of.
    #[must_use]
    pub fn pods(&self) -> BTreeSet<(String, String, Vec<String>)> {
        let field = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let all = self.answers.iter().flat_map(|(_, summary)| list(summary, "pods"));
        all.map(|pod| {
            let mut containers: Vec<_> = list(&pod, "containers").iter().map(|c| field(c, "/name")).collect();
            containers.sort();
            (field(&pod, "/podRef/namespace"), field(&pod, "/podRef/name"), containers)
        })
        .collect()
    }

    /// What the kubelet says now; after the end, its last words.
    #[must_use]
    pub fn summary(&self) -> Value {
        self.summary_at(Timestamp::now())
    }

    fn summary_at(&self, now: Timestamp) -> Value {
        let then = now - self.shift;
        let said = self.answers.iter().rev().find(|(at, _)| *at <= then).or(self.answers.first());
        let mut summary = said.map(|(_, summary)| summary.clone()).unwrap_or_default();
        self.move_times(&mut summary);
        summary
    }

    fn move_times(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    match value {
                        Value::String(text) if key == "time" || key == "startTime" => {
                            if let Ok(time) = text.parse::<Timestamp>() {
                                *text = (time + self.shift).to_string();
                            }
                        }
                        _ => self.move_times(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.move_times(item)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_of_the_recent_past() {
        let recording = Recording::play().unwrap();
        for later in 0..120 {
            let now = Timestamp::now() + SignedDuration::from_secs(later);
            let summary = recording.summary_at(now);
            let pods = summary["pods"].as_array().unwrap();
            assert!(!pods.is_empty());
            for pod in pods {
                for container in pod["containers"].as_array().unwrap() {
                    let time: Timestamp = container["cpu"]["time"].as_str().unwrap().parse().unwrap();
                    let age = now.duration_since(time);
                    assert!(
                        time.subsec_nanosecond() == 0 && !age.is_negative() && age < SignedDuration::from_secs(60),
                        "{age} {container}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_pods_are_known() {
        let pods = Recording::play().unwrap().pods();
        assert!(
            pods.contains(&("default".into(), "burner".into(), vec!["burn".into()])),
            "{pods:?}"
        );
        assert!(
            pods.iter()
                .any(|(namespace, name, _)| namespace == "kube-system" && name == "static-real-0"),
            "{pods:?}"
        );
    }
}
