//! What the operator sees of controllers: client-go's series of work queues, and reconciles by result.
//!
//! Names, help and buckets are those of component-base `metrics/prometheus/workqueue`; the queue's name is `PLUGIN/CONTROLLER`. What
//! stands at a moment (depth, work under way) is read when somebody looks. A controller that is gone takes its series along.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::queue::Queue;

/// client-go's label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    name: String,
}

/// Labels of a controller's outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Result {
    pub(crate) plugin: String,
    pub(crate) controller: String,
    pub(crate) result: &'static str,
}

/// Series of all controllers.
#[derive(Clone)]
pub(crate) struct Series {
    adds: Family<Name, Counter>,
    retries: Family<Name, Counter>,
    waited: Family<Name, Histogram>,
    worked: Family<Name, Histogram>,
    reconciles: Family<Result, Counter>,
    now: Arc<Now>,
}

/// The queues that there are.
#[derive(Default)]
struct Now(Mutex<BTreeMap<String, Weak<Queue>>>);

/// [`Now`], as the registry wants it.
struct Looking(Arc<Now>);

/// Series of one queue.
pub(crate) struct OfQueue {
    adds: Counter,
    retries: Counter,
    waited: Histogram,
    worked: Histogram,
}

/// How one reconcile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Success,
    Again,
    Refused,
    Failed,
}

/// `ExponentialBuckets(10e-9, 10, 10)`.
fn buckets() -> Histogram {
    Histogram::new([1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0])
}

// === impl Ended ===

impl Ended {
    pub(crate) const ALL: [Self; 4] = [Self::Success, Self::Again, Self::Refused, Self::Failed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Again => "again",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

// === impl Series ===

impl Series {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self {
            adds: Family::default(),
            retries: Family::default(),
            waited: Family::new_with_constructor(buckets as fn() -> Histogram),
            worked: Family::new_with_constructor(buckets as fn() -> Histogram),
            reconciles: Family::default(),
            now: Arc::default(),
        };
        registry.register(
            "workqueue_adds",
            "[BETA] Total number of adds handled by workqueue",
            this.adds.clone(),
        );
        registry.register(
            "workqueue_retries",
            "[BETA] Total number of retries handled by workqueue",
            this.retries.clone(),
        );
        registry.register(
            "workqueue_queue_duration_seconds",
            "[BETA] How long in seconds an item stays in workqueue before being requested",
            this.waited.clone(),
        );
        registry.register(
            "workqueue_work_duration_seconds",
            "[BETA] How long in seconds processing an item from workqueue takes",
            this.worked.clone(),
        );
        registry.register(
            "outrigger_controller_reconciles",
            "Reconciles of controllers by result: success, again (after a time), refused (the plugin said so), failed (trap, deadline, \
             limit)",
            this.reconciles.clone(),
        );
        registry.register_collector(Box::new(Looking(this.now.clone())));
        this
    }

    /// The series of a queue called so.
    pub(crate) fn of(&self, name: &str) -> OfQueue {
        let name = Name { name: name.to_owned() };
        OfQueue {
            adds: self.adds.get_or_create_owned(&name),
            retries: self.retries.get_or_create_owned(&name),
            waited: self.waited.get_or_create_owned(&name),
            worked: self.worked.get_or_create_owned(&name),
        }
    }

    /// From now on it is looked at.
    pub(crate) fn watch(&self, name: &str, queue: &Arc<Queue>) {
        self.now.queues().insert(name.to_owned(), Arc::downgrade(queue));
    }

    pub(crate) fn ended(&self, plugin: &str, controller: &str, how: Ended) {
        self.reconciles.get_or_create(&result(plugin, controller, how)).inc();
    }

    /// The controller is gone.
    pub(crate) fn forget(&self, plugin: &str, controller: &str) {
        let name = Name {
            name: name(plugin, controller),
        };
        self.adds.remove(&name);
        self.retries.remove(&name);
        self.waited.remove(&name);
        self.worked.remove(&name);
        for how in Ended::ALL {
            self.reconciles.remove(&result(plugin, controller, how));
        }
        self.now.queues().remove(&name.name);
    }
}

/// What a controller's queue is called.
pub(crate) fn name(plugin: &str, controller: &str) -> String {
    format!("{plugin}/{controller}")
}

fn result(plugin: &str, controller: &str, how: Ended) -> Result {
    Result {
        plugin: plugin.to_owned(),
        controller: controller.to_owned(),
        result: how.name(),
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").finish_non_exhaustive()
    }
}

// === impl OfQueue ===

impl OfQueue {
    /// Nobody looks at them.
    #[cfg(test)]
    pub(crate) fn unseen() -> Self {
        Self {
            adds: Counter::default(),
            retries: Counter::default(),
            waited: buckets(),
            worked: buckets(),
        }
    }

    pub(crate) fn added(&self) {
        self.adds.inc();
    }

    pub(crate) fn again(&self) {
        self.retries.inc();
    }

    pub(crate) fn taken(&self, waited: Duration) {
        self.waited.observe(waited.as_secs_f64());
    }

    pub(crate) fn worked(&self, took: Duration) {
        self.worked.observe(took.as_secs_f64());
    }
}

// === impl Now ===

impl Now {
    fn queues(&self) -> MutexGuard<'_, BTreeMap<String, Weak<Queue>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Looking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looking").finish_non_exhaustive()
    }
}

impl Collector for Looking {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::result::Result<(), fmt::Error> {
        let queues: Vec<(String, Arc<Queue>)> = self
            .0
            .queues()
            .iter()
            .filter_map(|(name, queue)| Some((name.clone(), queue.upgrade()?)))
            .collect();
        if queues.is_empty() {
            return Ok(());
        }
        type Number = fn(&Queue) -> f64;
        let families: [(&str, &str, Number); 3] = [
            ("workqueue_depth", "[BETA] Current depth of workqueue", |queue| {
                f64::from(u32::try_from(queue.depth()).unwrap_or(u32::MAX))
            }),
            (
                "workqueue_unfinished_work_seconds",
                "[BETA] How many seconds of work has been done that is in progress and hasn't been observed by work_duration. Large values \
                 indicate stuck threads. One can deduce the number of stuck threads by observing the rate at which this increases",
                |queue| queue.working().iter().map(Duration::as_secs_f64).sum(),
            ),
            (
                "workqueue_longest_running_processor_seconds",
                "[BETA] How many seconds has the longest running processor for workqueue been running",
                |queue| queue.working().iter().max().map_or(0.0, Duration::as_secs_f64),
            ),
        ];
        for (family, help, number) in families {
            let mut family = encoder.encode_descriptor(family, help, None, MetricType::Gauge)?;
            for (name, queue) in &queues {
                let labels = [("name", name.as_str())];
                ConstGauge::new(number(queue)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
