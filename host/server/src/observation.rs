//! Who looks on while requests are answered: the audit log and traces. Both are off unless configured, and then cost one test.

use std::sync::Arc;

use outrigger_auth::authorize::Refused;

use crate::audit::{Audit, Notebook};
use crate::traces::Tracer;

/// Those who look on.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// The audit log, if there is a policy for it.
    pub audit: Option<Arc<Audit>>,
    /// Traces, if there is a configuration for them.
    pub tracer: Option<Arc<Tracer>>,
}

// === impl Observation ===

impl Observation {
    /// Whether anybody does.
    pub(crate) fn is_on(&self) -> bool {
        self.audit.is_some() || self.tracer.is_some()
    }

    /// Whether anybody wants to know when a request arrived.
    pub(crate) fn wants_time(&self) -> bool {
        self.is_on()
    }
}

/// What the authorizer said, as annotations (apiserver `endpoints/filters/authorization.go`).
pub(crate) fn decided(audit: &Notebook, outcome: &Result<(), Refused>) {
    const DECISION: &str = "authorization.k8s.io/decision";
    const REASON: &str = "authorization.k8s.io/reason";
    match outcome {
        Ok(()) => {
            audit.annotate(DECISION, "allow");
            audit.annotate(REASON, "");
        }
        Err(Refused::Denied(reason)) => {
            audit.annotate(DECISION, "forbid");
            audit.annotate(REASON, reason);
        }
        Err(Refused::NoAnswer(_)) => audit.annotate(REASON, "internal error"),
    }
}
