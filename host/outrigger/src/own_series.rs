//! Plugins' own series in /metrics: `outrigger_plugin_PLUGIN_NAME`, with the plugin's name as a label.
//!
//! Shown is what the served version declares. Names are made of names, so two plugins could mean one series, or a plugin one of the
//! host's; whoever comes second is not shown, and the log says so.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use outrigger_api::manifest::SeriesKind;
use outrigger_catalog::Catalog;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::means::Shelf;

/// Shows them when somebody looks.
pub(crate) struct OwnSeries {
    catalog: Arc<Catalog>,
    shelf: Shelf,
    said: Mutex<BTreeSet<String>>,
}

/// What follows `outrigger_plugin_` in the host's own names begins with one of these.
const OURS: [&str; 10] = [
    "calls", "rows_", "log_", "host_", "loads", "limit", "state", "compile", "faults", "swap",
];

// === impl OwnSeries ===

impl OwnSeries {
    pub(crate) fn of(catalog: Arc<Catalog>, shelf: Shelf) -> Self {
        Self {
            catalog,
            shelf,
            said: Mutex::default(),
        }
    }

    fn hidden(&self, name: &str, plugin: &str) {
        if self
            .said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned())
        {
            tracing::warn!(plugin, "the series {name} has the name of another and is not shown");
        }
    }
}

impl std::fmt::Debug for OwnSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnSeries").finish_non_exhaustive()
    }
}

impl Collector for OwnSeries {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let snapshot = self.catalog.snapshot();
        let served = |plugin: &str| snapshot.plugins().get(plugin);
        let mut names = BTreeSet::new();
        for (plugin, series) in self.shelf.kept(|plugin| served(plugin).is_some()) {
            let Some(version) = served(&plugin) else { continue };
            for family in series.families() {
                let declared = &family.declared;
                let shown = version.guest.manifest().series.iter().any(|s| s.name == declared.name);
                let name = name(&plugin, &declared.name);
                if !shown {
                    continue;
                }
                let short = name.strip_prefix(PREFIX).unwrap_or_default();
                if OURS.iter().any(|ours| short.starts_with(ours)) || !names.insert(name.clone()) {
                    self.hidden(&name, &plugin);
                    continue;
                }
                let kind = match declared.kind {
                    SeriesKind::Counter => MetricType::Counter,
                    SeriesKind::Gauge => MetricType::Gauge,
                };
                let help: String = declared.help.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                let mut all = encoder.encode_descriptor(&name, &help, None, kind)?;
                for (values, value) in &family.values {
                    let own = declared
                        .labels
                        .iter()
                        .zip(values)
                        .map(|(name, value)| (name.as_str(), value.as_str()));
                    let labels: Vec<(&str, &str)> = std::iter::once(("plugin", plugin.as_str())).chain(own).collect();
                    let metric = all.encode_family(&labels)?;
                    match declared.kind {
                        SeriesKind::Counter => ConstCounter::new(*value).encode(metric)?,
                        SeriesKind::Gauge => ConstGauge::new(*value).encode(metric)?,
                    }
                }
            }
        }
        Ok(())
    }
}

const PREFIX: &str = "outrigger_plugin_";

/// The name in the exposition; a counter's `_total` is the encoder's.
fn name(plugin: &str, series: &str) -> String {
    format!("{PREFIX}{}_{series}", plugin.replace('-', "_"))
}
