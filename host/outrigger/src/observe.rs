//! Series that no room owns: kubelet requests under metrics-server's names, plugin loads, rows in tables, what plugins did.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outrigger_catalog::{Catalog, Failure};
use outrigger_cluster::KubeletObserver;
use outrigger_sandbox::Counts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfNode {
    node: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Success {
    success: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Load {
    file: String,
    result: &'static str,
}

/// Kubelet requests, under metrics-server's names.
#[derive(Debug, Clone)]
pub(crate) struct KubeletSeries {
    duration: Family<OfNode, Histogram, fn() -> Histogram>,
    total: Family<Success, Counter>,
    last: Family<OfNode, Gauge<f64, std::sync::atomic::AtomicU64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPlugin {
    plugin: String,
}

/// Loads of plugin files, and versions that were sent back.
#[derive(Debug, Clone, Default)]
pub(crate) struct LoadSeries {
    loads: Family<Load, Counter>,
    rollbacks: Family<OfPlugin, Counter>,
}

/// Rows in tables, counted when somebody looks.
#[derive(Clone, Default)]
pub(crate) struct RowSeries(Arc<OnceLock<Arc<Catalog>>>);

/// What the sandbox counts of each plugin that is served, read when somebody looks. A new version begins at zero.
pub(crate) struct PluginSeries(Arc<Catalog>);

// === impl KubeletSeries ===

impl KubeletSeries {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        // prometheus.DefBuckets, as metrics-server has them.
        let buckets: fn() -> Histogram = || Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let this = Self {
            duration: Family::new_with_constructor(buckets),
            total: Family::default(),
            last: Family::default(),
        };
        registry.register(
            "metrics_server_kubelet_request_duration_seconds",
            "[ALPHA] Duration of requests to Kubelet API in seconds",
            this.duration.clone(),
        );
        registry.register(
            "metrics_server_kubelet_request",
            "[ALPHA] Number of requests sent to Kubelet API",
            this.total.clone(),
        );
        registry.register(
            "metrics_server_kubelet_last_request_time_seconds",
            "[ALPHA] Time of last request performed to Kubelet API since unix epoch in seconds",
            this.last.clone(),
        );
        this
    }
}

impl KubeletObserver for KubeletSeries {
    fn request(&self, node: &str, took: Duration, ok: bool) {
        let of = OfNode { node: node.to_owned() };
        self.duration.get_or_create(&of).observe(took.as_secs_f64());
        self.last
            .get_or_create(&of)
            .set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        self.total
            .get_or_create(&Success {
                success: if ok { "true" } else { "false" },
            })
            .inc();
    }

    fn gone(&self, node: &str) {
        let of = OfNode { node: node.to_owned() };
        self.duration.remove(&of);
        self.last.remove(&of);
    }
}

// === impl LoadSeries ===

impl LoadSeries {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register(
            "outrigger_plugin_loads",
            "Loads of plugin files by result: success, failure",
            this.loads.clone(),
        );
        registry.register(
            "outrigger_plugin_rollbacks",
            "New versions of a plugin that failed their first calls, so that the version before is back",
            this.rollbacks.clone(),
        );
        this
    }

    /// What the plugin folder calls.
    pub(crate) fn heard(&self, path: &Path, outcome: Result<(), &Failure>) {
        if let Err(failure) = outcome.as_ref()
            && failure.rolled_back
        {
            let plugin = failure.plugin.clone();
            self.rollbacks.get_or_create(&OfPlugin { plugin }).inc();
            return;
        }
        let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let result = if outcome.is_ok() { "success" } else { "failure" };
        self.loads.get_or_create(&Load { file, result }).inc();
    }
}

// === impl RowSeries ===

impl RowSeries {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register_collector(Box::new(this.clone()));
        this
    }

    /// From now on this catalog's tables are counted.
    pub(crate) fn count(&self, catalog: Arc<Catalog>) {
        // Told once; a second catalog would be a mistake of the wiring and changes nothing.
        let _ = self.0.set(catalog);
    }
}

impl std::fmt::Debug for RowSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowSeries").finish_non_exhaustive()
    }
}

impl Collector for RowSeries {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(catalog) = self.0.get() else { return Ok(()) };
        let snapshot = catalog.snapshot();
        let kind = prometheus_client::metrics::MetricType::Gauge;
        let mut rows = encoder.encode_descriptor("outrigger_table_rows", "Rows held in tables", None, kind)?;
        for (plugin, resource, table) in snapshot.tables() {
            let count = i64::try_from(table.snapshot().len()).unwrap_or(i64::MAX);
            let labels = [("plugin", plugin), ("resource", resource)];
            ConstGauge::new(count).encode(rows.encode_family(&labels)?)?;
        }
        let points = |resource: &str, of: fn(&[u8]) -> usize| {
            let mut tables = snapshot.tables().filter(|(_, name, _)| *name == resource);
            tables.next().map(|(_, _, table)| {
                let rows = table.snapshot();
                rows.iter(SystemTime::now()).map(|entry| of(&entry.row.fields)).sum::<usize>()
            })
        };
        let (nodes, containers) = (
            points("metrics.k8s.io/nodes", |_| 1),
            points("metrics.k8s.io/pods", |fields| {
                fields.windows(USAGE.len()).filter(|w| *w == USAGE).count()
            }),
        );
        if let (Some(nodes), Some(containers)) = (nodes, containers) {
            let help = "[ALPHA] Number of metrics points stored.";
            let mut family = encoder.encode_descriptor("metrics_server_storage_points", help, None, kind)?;
            for (of, count) in [("node", nodes), ("container", containers)] {
                ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX)).encode(family.encode_family(&[("type", of)])?)?;
            }
        }
        Ok(())
    }
}

/// A container's usage begins so, and nothing else of a PodMetrics does: within a text, quotes are escaped.
const USAGE: &[u8] = b"\"usage\":";

// === impl PluginSeries ===

impl PluginSeries {
    pub(crate) fn of(catalog: Arc<Catalog>) -> Self {
        Self(catalog)
    }
}

impl std::fmt::Debug for PluginSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginSeries").finish_non_exhaustive()
    }
}

impl Collector for PluginSeries {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let snapshot = self.0.snapshot();
        let all: Vec<(&str, Counts)> = snapshot
            .plugins()
            .iter()
            .filter_map(|(name, plugin)| Some((&**name, plugin.guest.counts()?)))
            .collect();
        if all.is_empty() {
            return Ok(());
        }
        // Name, help, whether it only grows, and the numbers of a plugin with one further label.
        type Numbers = fn(&Counts) -> Vec<(&'static str, &'static str, u64)>;
        let families: [(&str, &str, bool, Numbers); 9] = [
            (
                "outrigger_plugin_calls",
                "Calls into a plugin by result: success, or why there was none",
                true,
                |c| {
                    let failed = c.failed.iter().map(|(reason, n)| ("result", *reason, *n));
                    [("result", "success", c.succeeded)].into_iter().chain(failed).collect()
                },
            ),
            (
                "outrigger_plugin_calls_in_flight",
                "Calls into a plugin that run now",
                false,
                |c| vec![("", "", c.in_flight)],
            ),
            (
                "outrigger_plugin_calls_waiting",
                "Calls into a plugin that wait for a slot now",
                false,
                |c| vec![("", "", c.waiting)],
            ),
            (
                "outrigger_plugin_set_aside",
                "Calls of a plugin, or kinds of calls, that are set aside now because they keep failing",
                false,
                |c| vec![("", "", c.aside)],
            ),
            (
                "outrigger_plugin_rows_refused",
                "Rows of a plugin that were left out",
                true,
                |c| vec![("", "", c.rows_refused)],
            ),
            ("outrigger_plugin_log_lines", "Lines that a plugin logged", true, |c| {
                vec![("", "", c.lines)]
            }),
            (
                "outrigger_plugin_log_lines_dropped",
                "Lines of a plugin that were dropped, being over a limit",
                true,
                |c| vec![("", "", c.lines_dropped)],
            ),
            (
                "outrigger_plugin_host_calls",
                "Calls of a plugin to the host by capability",
                true,
                |c| {
                    c.capabilities
                        .iter()
                        .map(|c| ("capability", c.capability.name(), c.calls))
                        .collect()
                },
            ),
            (
                "outrigger_plugin_host_calls_denied",
                "Calls of a plugin to the host that were denied, by capability",
                true,
                |c| {
                    c.capabilities
                        .iter()
                        .map(|c| ("capability", c.capability.name(), c.denials))
                        .collect()
                },
            ),
        ];
        for (name, help, grows, numbers) in families {
            let kind = if grows { MetricType::Counter } else { MetricType::Gauge };
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (plugin, counts) in &all {
                for (label, value, n) in numbers(counts) {
                    let labels = [("plugin", *plugin), (label, value)];
                    let labels = if label.is_empty() { labels.get(..1) } else { labels.get(..) }.unwrap_or_default();
                    let metric = family.encode_family(&labels)?;
                    if grows {
                        ConstCounter::new(n).encode(metric)?;
                    } else {
                        ConstGauge::new(i64::try_from(n).unwrap_or(i64::MAX)).encode(metric)?;
                    }
                }
            }
        }
        let help = "CPU time that a plugin's calls have used";
        let mut cpu = encoder.encode_descriptor("outrigger_plugin_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
        for (plugin, counts) in &all {
            ConstCounter::new(counts.cpu.as_secs_f64()).encode(cpu.encode_family(&[("plugin", *plugin)])?)?;
        }
        let help = "What a plugin may use at most, by limit, in bytes, seconds or numbers";
        let mut limits = encoder.encode_descriptor("outrigger_plugin_limit", help, None, MetricType::Gauge)?;
        for (name, plugin) in snapshot.plugins() {
            let Some(plugin) = plugin.guest.sandboxed() else { continue };
            for (limit, most) in plugin.limits().figures() {
                let labels = [("plugin", &**name), ("limit", limit)];
                ConstGauge::new(most).encode(limits.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_gone_leaves_no_series() {
        let mut registry = Registry::default();
        let series = KubeletSeries::register(&mut registry);
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        series.request("a", Duration::from_millis(7), true);
        series.request("b", Duration::from_millis(7), false);
        series.gone("a");
        let said = text();
        assert!(!said.contains(r#"node="a""#) && said.contains(r#"node="b""#), "{said}");
        for result in ["true", "false"] {
            let line = format!("metrics_server_kubelet_request_total{{success=\"{result}\"}} 1");
            assert!(said.contains(&line), "{line} is not in\n{said}");
        }
    }
}
