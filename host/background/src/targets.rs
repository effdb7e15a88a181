//! For what collectors run.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// The names of a cluster's nodes, as they come and go.
pub trait Targets: Send + Sync {
    /// The set now, and every change of it.
    fn nodes(&self) -> watch::Receiver<Arc<BTreeSet<Arc<str>>>>;
}
