//! What the audit log says of itself, under upstream's names (apiserver `pkg/audit/metrics.go`).

use std::sync::Arc;

use outrigger_audit::Level;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The families.
#[derive(Debug)]
pub struct AuditMetrics {
    pub(crate) events: Counter,
    pub(crate) rejected: Counter,
    levels: [Counter; Level::ALL.len()],
    errors: Family<Plugin, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Plugin {
    plugin: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLevel {
    level: &'static str,
}

// === impl AuditMetrics ===

impl AuditMetrics {
    /// Registers all families.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Arc<Self> {
        let levels = Family::<OfLevel, Counter>::default();
        let this = Self {
            events: Counter::default(),
            rejected: Counter::default(),
            levels: Level::ALL.map(|level| levels.get_or_create_owned(&OfLevel { level: level.name() })),
            errors: Family::default(),
        };
        registry.register(
            "apiserver_audit_event",
            "[ALPHA] Counter of audit events generated and sent to the audit backend",
            this.events.clone(),
        );
        registry.register(
            "apiserver_audit_level",
            "[ALPHA] Counter of policy levels for audit events (1 per request)",
            levels,
        );
        registry.register(
            "apiserver_audit_requests_rejected",
            "[ALPHA] Counter of apiserver requests rejected due to an error in audit logging backend",
            this.rejected.clone(),
        );
        registry.register(
            "apiserver_audit_error",
            "[ALPHA] Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error",
            this.errors.clone(),
        );
        Arc::new(this)
    }

    /// `log` for what could not be written, `buffered` for what found no place, `truncate` for what is too large.
    pub(crate) fn error(&self, plugin: &'static str) {
        self.errors.get_or_create(&Plugin { plugin }).inc();
    }

    pub(crate) fn level(&self, level: Level) {
        if let Some(counter) = self.levels.get(level as usize) {
            counter.inc();
        }
    }
}
