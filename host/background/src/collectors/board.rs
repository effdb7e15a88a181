//! How the last tick of each collector and target went.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outrigger_api::time::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Serialize;

use super::Job;

/// The last ticks of one collector.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectorStatus {
    /// The plugin's name.
    pub plugin: String,
    /// The collector's name in its manifest.
    pub collector: String,
    /// Each of its targets.
    pub targets: Vec<TargetStatus>,
}

/// The last ticks of one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// The node, or the object's key; empty for a collector that runs once for all.
    pub target: String,
    /// When a tick succeeded for the last time.
    pub last_success: Option<Timestamp>,
    /// When one failed for the last time.
    pub last_failure: Option<Timestamp>,
    /// What that one said, in one sentence.
    pub last_error: Option<String>,
    /// How long the last tick took, waiting for a place included, in seconds.
    pub last_duration_seconds: Option<f64>,
    /// Failures since the last success.
    pub failures: u32,
    /// When another replica's tick brought rows for the last time; absent if none ever did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heard: Option<Timestamp>,
    /// Seconds until the next tick here; 0 if it is due or under way.
    pub due_in_seconds: f64,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Board(Mutex<BTreeMap<Job, Last>>);

/// [`Board`], as the registry wants it: how many targets are not well, never which.
pub(crate) struct Failing(pub(crate) Arc<Board>);

#[derive(Default)]
struct Last {
    success: Option<Timestamp>,
    failure: Option<(Timestamp, String)>,
    took: Option<Duration>,
    failures: u32,
    heard: Option<Timestamp>,
    /// Since the start of all.
    due: Duration,
}

/// Characters of an error that are kept.
const ERROR_CHARS: usize = 500;

// === impl Board ===

impl Board {
    /// The next tick of a job is due then.
    pub(super) fn due(&self, job: &Job, due: Duration) {
        self.on(job, |last| last.due = due);
    }

    /// A tick has ended; how many have failed in a row by now.
    pub(super) fn ended(&self, job: &Job, took: Duration, error: Option<&dyn fmt::Display>) -> u32 {
        self.on(job, |last| {
            last.took = Some(took);
            match error {
                None => {
                    last.success = Some(Timestamp::now());
                    last.failures = 0;
                }
                Some(error) => {
                    last.failure = Some((Timestamp::now(), error.to_string().chars().take(ERROR_CHARS).collect()));
                    last.failures = last.failures.saturating_add(1);
                }
            }
            last.failures
        })
    }

    /// Another replica brought rows: the target is well.
    pub(super) fn brought(&self, job: &Job) {
        self.on(job, |last| {
            last.heard = Some(Timestamp::now());
            last.failures = 0;
        });
    }

    /// Its failures are another version's.
    pub(super) fn forgive(&self, job: &Job) {
        self.on(job, |last| last.failures = 0);
    }

    /// The job is gone.
    pub(super) fn forget(&self, job: &Job) {
        self.all().remove(job);
    }

    /// When the job that is due first is due.
    pub(super) fn earliest(&self) -> Option<Duration> {
        self.all().values().map(|last| last.due).min()
    }

    pub(super) fn status(&self, now: Duration) -> Vec<CollectorStatus> {
        let mut status: Vec<CollectorStatus> = Vec::new();
        for (job, last) in &*self.all() {
            let target = TargetStatus {
                target: job.target.to_string(),
                last_success: last.success,
                last_failure: last.failure.as_ref().map(|(at, _)| *at),
                last_error: last.failure.as_ref().map(|(_, error)| error.clone()),
                last_duration_seconds: last.took.map(|took| took.as_secs_f64()),
                failures: last.failures,
                last_heard: last.heard,
                due_in_seconds: last.due.saturating_sub(now).as_secs_f64(),
            };
            match status.last_mut() {
                Some(known) if known.plugin == *job.plugin && known.collector == *job.collector => known.targets.push(target),
                _ => status.push(CollectorStatus {
                    plugin: job.plugin.to_string(),
                    collector: job.collector.to_string(),
                    targets: vec![target],
                }),
            }
        }
        status
    }

    fn on<T>(&self, job: &Job, what: impl FnOnce(&mut Last) -> T) -> T {
        let mut all = self.all();
        match all.get_mut(job) {
            Some(last) => what(last),
            None => what(all.entry(job.clone()).or_default()),
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Job, Last>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("jobs", &self.all().len()).finish()
    }
}

impl fmt::Debug for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Collector for Failing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut counts: BTreeMap<(Arc<str>, Arc<str>), (i64, i64)> = BTreeMap::new();
        for (job, last) in &*self.0.all() {
            let (all, failing) = counts.entry((job.plugin.clone(), job.collector.clone())).or_default();
            *all += 1;
            *failing += i64::from(last.failures > 0);
        }
        if counts.is_empty() {
            return Ok(());
        }
        type Number = fn(&(i64, i64)) -> i64;
        let families: [(&str, &str, Number); 2] = [
            ("outrigger_collector_targets", "Targets of a collector", |(all, _)| *all),
            (
                "outrigger_collector_targets_failing",
                "Targets of a collector whose last tick did not succeed",
                |(_, failing)| *failing,
            ),
        ];
        for (name, help, number) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for ((plugin, collector), count) in &counts {
                let labels = [("plugin", &**plugin), ("collector", &**collector)];
                ConstGauge::new(number(count)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
