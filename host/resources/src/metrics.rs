//! What reading counts: watches under upstream's names (apiserver `endpoints/metrics/metrics.go`), and the lists that they are polled from.

use std::sync::Arc;
use std::time::Duration;

use outrigger_api::request_info::RequestInfo;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::freshness::{Freshness, Shown};

/// The families.
#[derive(Debug, Clone)]
pub struct ReadMetrics {
    events: Family<Resource, Counter>,
    sizes: Family<Resource, Histogram, fn() -> Histogram>,
    lists: Family<Scoped, Histogram, fn() -> Histogram>,
    polls: Family<Polled, Counter>,
    pub(crate) freshness: Arc<Freshness>,
}

/// Those of one watch.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    events: Counter,
    sizes: Histogram,
    lists: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resource {
    group: String,
    version: String,
    resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Polled {
    plugin: String,
    group: String,
    resource: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Scoped {
    group: String,
    version: String,
    resource: String,
    scope: &'static str,
}

/// 1 KiB to 128 KiB.
const SIZES: [f64; 8] = [1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131_072.0];
const LISTS: [f64; 17] = [
    0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];

// === impl ReadMetrics ===

impl ReadMetrics {
    /// Registers the families.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        let events = "[ALPHA] Number of events sent in watch clients";
        registry.register("apiserver_watch_events", events, this.events.clone());
        let sizes = "[ALPHA] Watch event size distribution in bytes";
        registry.register("apiserver_watch_events_sizes", sizes, this.sizes.clone());
        let lists = "[BETA] Response latency distribution in seconds for watch list requests broken by group, version, resource and scope.";
        registry.register("apiserver_watch_list_duration_seconds", lists, this.lists.clone());
        let polls = "Lists of virtual resources that were asked of plugins for all callers, by outcome: success or error";
        registry.register("outrigger_polls", polls, this.polls.clone());
        registry.register_collector(Box::new(Shown(this.freshness.clone())));
        this
    }

    /// A plugin was asked for the shared list of a resource.
    pub(crate) fn polled(&self, plugin: &str, group: &str, resource: &str, well: bool) {
        let of = Polled {
            plugin: plugin.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            outcome: if well { "success" } else { "error" },
        };
        self.polls.get_or_create(&of).inc();
    }

    /// Only for resources that are served, so their number is bounded.
    pub(crate) fn series(&self, info: &RequestInfo) -> Series {
        let of = Resource {
            group: info.api_group.clone(),
            version: info.api_version.clone(),
            resource: info.resource.clone(),
        };
        let scope = match (info.name.is_empty(), info.namespace.is_empty()) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        };
        let scoped = Scoped {
            group: info.api_group.clone(),
            version: info.api_version.clone(),
            resource: info.resource.clone(),
            scope,
        };
        Series {
            events: self.events.get_or_create_owned(&of),
            sizes: self.sizes.get_or_create_owned(&of),
            lists: self.lists.get_or_create_owned(&scoped),
        }
    }
}

impl Default for ReadMetrics {
    /// Families that nobody sees.
    fn default() -> Self {
        Self {
            events: Family::default(),
            sizes: Family::new_with_constructor(|| Histogram::new(SIZES)),
            lists: Family::new_with_constructor(|| Histogram::new(LISTS)),
            polls: Family::default(),
            freshness: Arc::default(),
        }
    }
}

// === impl Series ===

impl Series {
    /// One event of so many bytes was written.
    #[expect(clippy::cast_precision_loss, reason = "an event has at most some MiB")]
    pub(crate) fn event(&self, bytes: usize) {
        self.events.inc();
        self.sizes.observe(bytes as f64);
    }

    /// The initial events of a watch list are written.
    pub(crate) fn listed(&self, took: Duration) {
        self.lists.observe(took.as_secs_f64());
    }
}
