//! What the operator sees of background work.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::collectors::board::{Board, Failing};

/// Labels of a collector's series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Of {
    pub(crate) plugin: String,
    pub(crate) collector: String,
}

/// Labels of a collector's outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    pub(crate) plugin: String,
    pub(crate) collector: String,
    pub(crate) result: &'static str,
}

/// Series of this room.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) ticks: Family<Outcome, Counter>,
    pub(crate) duration: Family<Of, Histogram>,
    /// Those for a node, under metrics-server's name.
    pub(crate) of_node: Histogram,
    pub(crate) complaints: Family<Of, Counter>,
    pub(crate) skipped: Family<Of, Counter>,
    /// Ticks of other replicas.
    pub(crate) heard: Family<Outcome, Counter>,
    pub(crate) board: Arc<Board>,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the series.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let buckets: fn() -> Histogram = || {
            Histogram::new([
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            ])
        };
        let this = Self {
            ticks: Family::default(),
            duration: Family::new_with_constructor(buckets),
            // Upstream's of a resolution of 15 s.
            of_node: Histogram::new([
                0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 12.5, 15.0, 22.5, 30.0,
            ]),
            complaints: Family::default(),
            skipped: Family::default(),
            heard: Family::default(),
            board: Arc::default(),
        };
        registry.register_collector(Box::new(Failing(this.board.clone())));
        registry.register(
            "outrigger_collector_ticks",
            "Ticks of collectors by result: success, refused (the plugin said so), failed (trap, deadline, limit)",
            this.ticks.clone(),
        );
        registry.register(
            "outrigger_collector_tick_duration_seconds",
            "Time from the start of a tick to its rows, waiting for a place included",
            this.duration.clone(),
        );
        registry.register(
            "metrics_server_manager_tick_duration_seconds",
            "[ALPHA] The total time spent collecting and storing metrics in seconds: of one node here, which has a tick of its own",
            this.of_node.clone(),
        );
        registry.register(
            "outrigger_collector_bad_rows",
            "Rows that a plugin returned and that were left out because they are malformed",
            this.complaints.clone(),
        );
        registry.register(
            "outrigger_collector_ticks_skipped",
            "Ticks that fell due while the one before was still under way",
            this.skipped.clone(),
        );
        registry.register(
            "outrigger_collector_ticks_heard",
            "Ticks of other replicas whose outcome was taken over, by result: success, failed",
            this.heard.clone(),
        );
        this
    }
}
